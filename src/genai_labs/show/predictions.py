"""Predictions: what the learner expects before a lesson measures it, and in the end how good these guesses were.

A guess is a number typed into a cell, so that it works in every front end, stays in the notebook, and goes nowhere
else. Where none is typed, that of a naive reader stands in, who is named as such.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from numbers import Real
from typing import Any

from genai_labs.errors import LabError
from genai_labs.show.cards import Card, box, escape
from genai_labs.show.display import ABOUT, show_table
from genai_labs.show.record import ID, order

YOU, NAIVE = "you", "a naive reader"


@dataclass(frozen=True)
class Guess:
    """The effect that somebody expects of a lesson, in the unit of its card, and who that was."""

    value: float
    who: str


def place(guess: float, low: float, high: float) -> str:
    """Where a guess lies: "in the interval", "too low" or "too high"."""
    if low <= guess <= high:
        return "in the interval"
    return "too low" if guess < low else "too high"


_guesses: dict[str, Guess] = {}
_met: dict[str, dict[str, Any]] = {}  # rows of the lessons measured since, whose guesses can no longer be changed


def predict(id: str, guess: float | None = None, *, naive: float) -> None:
    """Notes a guess of the effect of a lesson, to be shown on its card and counted at the end of the lab.

    id: of the lesson, such as "1.4". guess: in the unit of the card; None: the naive reader's stands in.
    naive: what somebody would guess who has not thought about it. A guess that comes after the result was shown is not
    counted; the first one stays. Raises LabError where the guess is no finite number.
    """
    if not isinstance(id, str) or not re.fullmatch(ID, id, re.ASCII):
        raise LabError(f"{str(id)[:40]!r} is no lesson. A lesson's id is lab and number, such as 1.4.")
    if guess is not None and (isinstance(guess, bool) or not isinstance(guess, Real) or not math.isfinite(guess)):
        raise LabError(
            f"The guess for lesson {id} is {str(guess)[:40]!r}, which is no number. Write one, such as 0.1 or -2, "
            "or None."
        )
    new = Guess(float(naive), NAIVE) if guess is None else Guess(float(guess), YOU)
    if id in _met and _guesses.get(id, new) != new:
        print(f"Lesson {id} has been measured already, so this guess is not counted. Restart the kernel to guess anew.")
        return
    _guesses[id] = new
    if guess is None:
        print(f"You did not guess: {naive:g}, the guess of {NAIVE}, stands in for yours.")
    else:
        print(f"Your guess of {guess:g} is noted. Now measure.")


def guess_for(id: str) -> Guess | None:
    """The guess that was made for a lesson; None without one."""
    return _guesses.get(id)


def meet(row: Mapping[str, Any]) -> dict[str, Any]:
    """The row of a lesson that was measured, as it stands in lessons.json, with the guess that was made for it."""
    guess = _guesses.get(row["id"])
    _met[row["id"]] = dict(row) if guess is None else {**row, "guess": guess.value, "guess_by": guess.who}
    return _met[row["id"]]


def beside_measured(guess: Guess, low: float, high: float, digits: int) -> str:
    """The guess beside what was measured, as a sentence."""
    whose = "Your guess" if guess.who == YOU else f"The guess of {guess.who}"
    return f"{whose}: {guess.value:.{digits}f}, {place(guess.value, low, high)}."


def calibration(rows: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """How good guesses were, from rows of lessons.json: how many lay in the interval, too low, too high.

    "off": of those outside, the median distance to the nearer end in widths of the interval.
    """
    places = []
    off = []
    for row in rows:
        if "guess" not in row:
            continue
        places.append(place(row["guess"], row["low"], row["high"]))
        if places[-1] != "in the interval":
            width = max(row["high"] - row["low"], 1e-9)
            off.append(max(row["low"] - row["guess"], row["guess"] - row["high"]) / width)
    counts = {each: places.count(each) for each in ("in the interval", "too low", "too high")}
    middle = sorted(off)[len(off) // 2] if off else 0.0
    return {"guesses": len(places), **counts, "off": middle}


def predictions_table() -> Card:
    """The guesses of this notebook beside what was measured, and how well they were calibrated."""
    rows = sorted((row for row in _met.values() if "guess" in row), key=order)
    if not rows:
        text = "No guess has met its lesson yet: run the cells above first."
        return Card(box(escape(text)), text)
    found = calibration(rows)
    own = sum(row["guess_by"] == YOU for row in rows)
    title = (
        f"{found['guesses']} guesses, {own} of them yours: {found['in the interval']} in the interval, "
        f"{found['too low']} too low, {found['too high']} too high"
    )
    if off := found["off"]:
        mark = ABOUT if any(row["varies"] for row in rows) else ""
        title += f"; half of those outside are at least {mark}{off:.1f} widths of the interval away"
    return show_table([_table_line(row) for row in rows], title)


def _table_line(row: Mapping[str, Any]) -> dict[str, Any]:
    mark = ABOUT if row["varies"] else ""
    return {
        "lesson": row["id"],
        "guess": f"{row['guess']:g}",
        "by": row["guess_by"],
        "measured": f"{mark}{row['effect']:z.3f} {row['unit'] or row['metric']}",
        "95 % interval": f"[{mark}{row['low']:z.3f}, {mark}{row['high']:z.3f}]",
        "the guess was": place(row["guess"], row["low"], row["high"]),
    }
