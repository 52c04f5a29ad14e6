"""The shape of a scenario in YAML: what is missing, and what is of the wrong kind, in words.

Nothing that the file holds is written out here: a few lines of YAML can stand for gigabytes of text.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

Check = Callable[[Any, str], Iterator[str]]


def shape_problems(raw: Any) -> list[str]:
    """Why a parsed piece of YAML cannot be read as a scenario; empty if it can."""
    return list(_scenario(raw, ""))


def _is_text(value: Any, where: str) -> Iterator[str]:
    if not isinstance(value, str) or not value.strip():
        yield f"{where} has to be a text"


def _list_of(check: Check, least: int = 1, most: int | None = None) -> Check:
    def problems(value: Any, where: str) -> Iterator[str]:
        if not isinstance(value, list) or len(value) < least or (most is not None and len(value) > most):
            number = f"{least}" if most == least else f"{least} or more"
            yield f"{where} has to be a list of {number}"
            return
        for place, each in enumerate(value, start=1):
            yield from check(each, f"{where} {place}")

    return problems


def _with_parts(parts: dict[str, Check]) -> Check:
    def problems(value: Any, where: str) -> Iterator[str]:
        if not isinstance(value, dict):
            yield f"{where or 'a scenario'} has to have the parts {', '.join(parts)}"
            return
        for name, check in parts.items():
            place = f"{where}, {name}" if where else name
            if name in value:
                yield from check(value[name], place)
            else:
                yield f"{place} is missing"

    return problems


def _turn(value: Any, where: str) -> Iterator[str]:
    if not isinstance(value, dict) or len(value) != 1 or set(value) - {"A", "B"}:
        yield f"{where} has to be A or B with a list of phrasings"
    else:
        for speaker, phrasings in value.items():
            yield from _list_of(_is_text)(phrasings, f"{where}, {speaker}")


def _slots(value: Any, where: str) -> Iterator[str]:
    if not isinstance(value, dict) or not value:
        yield f"{where} has to be names, each with a list of values or the name of a pool"
        return
    for place, (name, spec) in enumerate(value.items(), start=1):
        shown = f"{where}, {name if isinstance(name, str) else place}"
        yield from (_is_text if isinstance(spec, str) else _list_of(_is_text))(spec, shown)


_scenario = _with_parts(
    {
        "id": _is_text,
        "topic": _is_text,
        "register": _is_text,
        "roles": _list_of(_is_text, 2, 2),
        "slots": _slots,
        "main": _list_of(_turn),
        "summary": _list_of(_is_text),
        "endings": _list_of(_with_parts({"name": _is_text, "turns": _list_of(_turn), "summary": _list_of(_is_text)})),
        "questions": _list_of(_with_parts({"q": _is_text, "a": _is_text}), least=0),
    }
)
