"""Settings that somebody types: what each may be, checked at once and answered in words."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field, fields
from numbers import Integral, Real
from typing import Any

from genai_labs.errors import LabError


@dataclass(frozen=True)
class Allowed:
    """What a setting may be, in words and as a question."""

    words: str
    fits: Callable[[object], bool]


def whole(least: int, most: float = math.inf) -> Allowed:
    """A whole number from ``least`` to ``most``."""
    words = f"a whole number from {least} on" if most == math.inf else f"a whole number from {least} to {most}"
    return Allowed(words, lambda x: isinstance(x, int) and not isinstance(x, bool) and least <= x <= most)


def above(low: float, infinite: bool = False) -> Allowed:
    """A number above ``low``; infinity only if ``infinite``."""
    return Allowed(f"a number above {low:g}", lambda x: _is_number(x, infinite) and x > low)  # type: ignore[operator]


def between(low: float, high: float = math.inf) -> Allowed:
    """A number from ``low`` to ``high``, both included; never infinite."""
    words = f"a number from {low:g} on" if high == math.inf else f"a number from {low:g} to {high:g}"
    return Allowed(words, lambda x: _is_number(x) and low <= x <= high)  # type: ignore[operator]


def or_none(allowed: Allowed) -> Allowed:
    """None, too."""
    return Allowed(f"{allowed.words}, or None", lambda x: x is None or allowed.fits(x))


def setting(default: Any, allowed: Allowed) -> Any:
    """A field of a dataclass, with what it may be."""
    return field(default=default, metadata={"allowed": allowed})


def check(settings: Any) -> None:
    """Raise LabError for the first :func:`setting` that is not what is allowed. numpy's numbers become Python's."""
    for each in fields(settings):
        name, allowed, value = each.name, each.metadata.get("allowed"), getattr(settings, each.name)
        if allowed is None:
            continue
        if isinstance(value, Real) and not isinstance(value, int | float):  # numpy's: a plan is also written as JSON
            value = int(value) if isinstance(value, Integral) else float(value)
            object.__setattr__(settings, name, value)
        if not allowed.fits(value):
            raise LabError(
                f"Nothing can be trained with {name}={value!r}: {name} must be {allowed.words}. Choose such a value."
            )


def _is_number(value: object, infinite: bool = False) -> bool:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return False
    try:
        return math.isfinite(value) or (infinite and value == math.inf)
    except OverflowError:  # a whole number beyond all floats
        return False
