"""Arguments that a learner types in a cell, checked before they are used."""

from __future__ import annotations

from collections.abc import Mapping, Set, Sized
from typing import Any

from genai_labs.errors import LabError


def is_list(given: Any) -> bool:
    """Whether something is a row of things in order: a list, an array, a column of a table."""
    return isinstance(given, Sized) and not isinstance(given, (str, bytes, Mapping, Set))


def as_texts(given: Any, what: str) -> list[str]:
    """The texts as a list. Raises LabError, which names them (``what``), where something else was given."""
    if not is_list(given):
        found = "One text" if isinstance(given, str) else f"Something of type {type(given).__name__}"
        raise LabError(f"{found} was given as {what}, and a list of texts is needed. Put it into a list: [text].")
    texts = list(given)
    if odd := [place for place, each in enumerate(texts) if not isinstance(each, str)]:
        raise LabError(
            f"The {what} hold something of type {type(texts[odd[0]]).__name__} at place {odd[0]}, and only texts can "
            "be read. Make a text of it, or leave it out."
        )
    return texts


def as_whole_number(given: Any, what: str, least: int) -> int:
    """The number. Raises LabError, which names it (``what``), where it is no whole number or below the least."""
    try:
        number = given.__index__()
    except (AttributeError, TypeError):
        number = None
    if number is None or number < least:
        raise LabError(f"{what} is {str(given)[:40]!r}, and has to be a whole number of at least {least}. Change it.")
    return int(number)
