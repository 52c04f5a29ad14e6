"""Arguments that a learner types in a cell, checked before they are used."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Set, Sized
from typing import Any, ParamSpec, TypeVar

from genai_labs.errors import LabError

P = ParamSpec("P")
R = TypeVar("R")
Thing = TypeVar("Thing")


def is_list(given: Any) -> bool:
    """Whether something is a row of things in order: a list, an array, a column of a table."""
    is_number = getattr(given, "ndim", 1) == 0  # numpy's numbers have a length that cannot be asked for
    return isinstance(given, Sized) and not isinstance(given, (str, bytes, Mapping, Set)) and not is_number


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


def as_text(given: Any, what: str) -> str:
    """The text. Raises LabError, which names it (``what``), where it is none."""
    if not isinstance(given, str):
        raise LabError(f"{what} is to be a text, and a {type(given).__name__} was given. Pass a text.")
    return given


def as_list_of(kind: type[Thing], given: Any, what: str) -> list[Thing]:
    """The things as a list. Raises LabError, which names them (``what``), where they are not all of the kind."""
    if not is_list(given):
        raise LabError(
            f"A list of {what} is needed, and a {type(given).__name__} was given. Put it into a list, if it is one of "
            "them: [it]."
        )
    things = list(given)
    if odd := [place for place, each in enumerate(things) if not isinstance(each, kind)]:
        raise LabError(
            f"Of the {what}, number {odd[0]} is a {type(things[odd[0]]).__name__}, and each is to be a "
            f"{kind.__name__}. Make one of it, or leave it out."
        )
    return things


def explained(function: Callable[P, R]) -> Callable[P, R]:
    """For functions that only show what they are given: what cannot be shown is said in words."""

    @functools.wraps(function)
    def checked(*args: P.args, **named: P.kwargs) -> R:
        try:
            return function(*args, **named)
        except (TypeError, ValueError, AttributeError, LookupError, ArithmeticError) as error:
            takes = (function.__doc__ or "").strip().splitlines()[0]
            raise LabError(
                f"{function.__name__} cannot show what it was given ({type(error).__name__}: {str(error)[:200]}). What "
                f"it shows: {takes} Look at help({function.__name__})."
            ) from error

    return checked


def as_whole_number(given: Any, what: str, least: int | None = None) -> int:
    """The number. Raises LabError, which names it (``what``), where it is no whole number or below the least."""
    try:
        number = given.__index__()
    except (AttributeError, TypeError):
        number = None
    if number is None or (least is not None and number < least):
        bound = "" if least is None else f" of at least {least}"
        shown = "too long to be shown" if number is not None and abs(number) > 10**40 else repr(given)[:40]
        raise LabError(f"{what} is {shown}, and has to be a whole number{bound}. Change it.")
    return int(number)


def counted(number: int, one: str, many: str = "") -> str:
    """The number with its noun: "1 guess", "2 guesses". many: where it is not the noun with an s."""
    return f"{number:,} {one if number == 1 else many or one + 's'}"
