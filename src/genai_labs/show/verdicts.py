"""Verdicts: what must be true of an interval for a claim to hold."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:  # a second and half a GB of libraries, which whoever only reads verdicts can do without
    from genai_labs.scoring.intervals import Interval

HOLDS = "holds"
NO_CHANGE = "no detectable change"
SMALLER = "smaller than claimed"
NOT_SHOWN = "not shown"
OPPOSITE = "the opposite holds"
TOO_FEW = "too few to tell"
HIGHER, LOWER, OPEN = "higher", "lower", "left open"  # answers to an open question, none of which is a failure
ANSWERS = (HIGHER, LOWER, OPEN)

# verdict -> (sign, colour): the sign and the words say what the colour says
LOOKS = {
    HOLDS: ("\N{CHECK MARK}", "#1a7f37"),
    NO_CHANGE: ("\N{WHITE CIRCLE}", "#57606a"),
    SMALLER: ("<", "#9a6700"),
    NOT_SHOWN: ("?", "#9a6700"),
    OPPOSITE: ("\N{MULTIPLICATION SIGN}", "#b42318"),
    TOO_FEW: ("\N{HORIZONTAL ELLIPSIS}", "#57606a"),
    HIGHER: ("\N{UPWARDS ARROW}", "#1a5fa0"),
    LOWER: ("\N{DOWNWARDS ARROW}", "#1a5fa0"),
    OPEN: ("\N{WHITE CIRCLE}", "#57606a"),
}

Expect = Literal["higher", "lower", "between"]
Bounds = tuple[float | None, float | None]


@dataclass(frozen=True)
class Expectation:
    """What must be true of the interval for a claim to hold.

    expect: "higher" or "lower": a lies above or below b by at_least or more; "between": a - b, or a itself,
    lies within bounds, where None leaves a side open. level: one score is measured and not a difference, so
    that at_least, not 0, parts the claim from its opposite. answers: of an open question, which claims nothing: what an
    effect above 0 says, and what one below 0 says.
    """

    expect: Expect = "higher"
    at_least: float = 0.0
    bounds: Bounds | None = None
    level: bool = False
    answers: tuple[str, str] | None = None

    def judge(self, interval: Interval) -> tuple[str, str]:
        """The verdict, and the reason for it in a sentence."""
        if self.answers is not None:
            return _judge_question(interval, *self.answers)
        if self.bounds is not None:
            return _judge_bounds(interval, self.bounds)
        if self.level:
            return _judge_level(interval, self.at_least)
        return _judge_difference(interval, 1 if self.expect == "higher" else -1, self.at_least)

    def marks(self) -> dict[float, str]:
        """The numbers that matter on the scale of the effect, and what they are."""
        if self.bounds is not None:
            return {bound: f"bound {bound:g}" for bound in self.bounds if bound is not None}
        sign = -1 if self.expect == "lower" else 1
        claimed = {sign * self.at_least: f"claimed {sign * self.at_least:g}"} if self.at_least else {}
        return claimed if self.level else {0.0: "0, no difference", **claimed}


def _judge_difference(interval: Interval, sign: int, at_least: float) -> tuple[str, str]:
    # near and far: the ends of the interval as seen from 0 in the direction of the claim
    near, far = (interval.low, interval.high) if sign > 0 else (-interval.high, -interval.low)
    claimed = f"{sign * at_least:zg}"
    above, below = ("above", "below") if sign > 0 else ("below", "above")
    if near <= 0 <= far:
        return NO_CHANGE, "The interval contains 0: scores like these also arise when nothing differs."
    if far < 0:
        return OPPOSITE, f"The whole interval lies {below} 0."
    if near >= at_least:
        return HOLDS, f"The whole interval lies {f'at or {above}' if at_least else above} {claimed}."
    if far < at_least:
        return SMALLER, f"There is a difference, but a smaller one than the claimed {claimed}."
    return NOT_SHOWN, f"There is a difference, but whether it reaches the claimed {claimed} is open."


def _judge_question(interval: Interval, higher: str, lower: str) -> tuple[str, str]:
    if interval.low > 0:
        return HIGHER, f"{higher}: the whole interval lies above 0."
    if interval.high < 0:
        return LOWER, f"{lower}: the whole interval lies below 0."
    return OPEN, "The interval contains 0, so this run does not tell."


def _judge_level(interval: Interval, at_least: float) -> tuple[str, str]:
    if interval.low >= at_least:
        return HOLDS, f"The whole interval lies at or above {at_least:g}."
    if interval.high < at_least:
        return OPPOSITE, f"The whole interval lies below the claimed {at_least:g}."
    return NOT_SHOWN, f"The interval contains {at_least:g}: whether the score reaches it is open."


def _judge_bounds(interval: Interval, bounds: Bounds) -> tuple[str, str]:
    low, high = (
        -float("inf") if bounds[0] is None else bounds[0],
        float("inf") if bounds[1] is None else bounds[1],
    )
    name = _bounds_in_words(bounds)
    if low <= interval.low and interval.high <= high:
        return HOLDS, f"The whole interval lies {name}."
    if interval.high < low or interval.low > high:
        return OPPOSITE, f"No part of the interval lies {name}."
    return NOT_SHOWN, f"Only a part of the interval lies {name}; more dialogues would narrow it."


def _bounds_in_words(bounds: Bounds) -> str:
    low, high = bounds
    if low is None or high is None:
        return f"at or below {high:g}" if high is not None else f"at or above {low:g}"
    return f"between {low:g} and {high:g}"
