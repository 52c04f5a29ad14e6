"""Predictions: what the learner expects before a lesson measures it, and in the end how good these guesses were.

A guess is a number, or one of some choices: typed into a cell, which works in every front end, or in JupyterLab into
the field that such a cell shows (:mod:`genai_labs.show.asking`). It goes nowhere else. Where there is none, that of a
naive reader stands in, who is named as such.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from numbers import Real
from typing import Any

from IPython.display import display

from genai_labs.errors import LabError
from genai_labs.inputs.arguments import counted
from genai_labs.show.asking import GuessField, Words, can_answer
from genai_labs.show.cards import Card, box, escape
from genai_labs.show.display import ABOUT, show_table
from genai_labs.show.record import ID, order

YOU, NAIVE = "you", "a naive reader"
MET, MISSED = "as measured", "not as measured"


@dataclass(frozen=True)
class Guess:
    """What somebody expects of a lesson: its effect in the unit of its card, or a choice; and who that was.

    choices, level: those of :func:`predict`, where it is a choice.
    """

    value: float | str
    who: str
    choices: tuple[str, ...] = ()
    level: float = 0.0

    @property
    def numbers(self) -> list[float]:
        """The guess, where it can be drawn on a scale."""
        return [] if isinstance(self.value, str) else [self.value]

    def was(self, low: float, high: float) -> str:
        """Where it lies, see :func:`place`; of a choice whether it is what the interval says."""
        if not isinstance(self.value, str):
            return place(self.value, low, high)
        return MET if self.value == measured_choice(self.choices, self.level, low, high) else MISSED


def measured_choice(choices: Sequence[str], level: float, low: float, high: float) -> str | None:
    """The choice that an interval makes: the first above the level, the second below it, the third where it holds it.

    None where it holds the level and there are two choices only.
    """
    if low > level:
        return choices[0]
    if high < level:
        return choices[1]
    return choices[2] if len(choices) > 2 else None


def place(guess: float, low: float, high: float) -> str:
    """Where a guess lies: "in the interval", "too low" or "too high"."""
    if low <= guess <= high:
        return "in the interval"
    return "too low" if guess < low else "too high"


_guesses: dict[str, Guess] = {}
_fields: dict[str, GuessField] = {}  # those that stand open
_met: dict[str, dict[str, Any]] = {}  # rows of the lessons measured since, whose guesses can no longer be changed


def predict(
    id: str, guess: float | str | None = None, *, naive: float | str, choices: Sequence[str] = (), level: float = 0.0
) -> None:
    """Notes a guess of the effect of a lesson, to be shown on its card and counted at the end of the lab.

    id: of the lesson, such as "1.4". guess: in the unit of the card; None: the naive reader's stands in.
    naive: what somebody would guess who has not thought about it.
    choices: texts to choose from instead of a number: the first is right where the whole interval lies above `level`,
    the second where it lies below, a third where it holds `level`. guess and naive are then one of them.
    A guess that comes after the result was shown is not counted; the first one stays.
    Raises LabError where the guess is no finite number, or none of the choices.
    """
    if not isinstance(id, str) or not re.fullmatch(ID, id, re.ASCII):
        raise LabError(f"{str(id)[:40]!r} is no lesson. A lesson's id is lab and number, such as 1.4.")
    choices = _as_choices(id, choices)
    guess = as_chosen(guess, choices)
    for given in (naive,) if guess is None else (naive, guess):
        _check_guess(id, given, choices)
    if guess is None and id not in _met and can_answer():
        if (own := _guesses.get(id)) and own.who == YOU and own.choices == choices:  # the cell runs again
            display(Words(_keep_guess(id, own)))
        else:
            _keep_guess(id, Guess(naive if choices else float(naive), NAIVE, choices, level))

        def heard(answer: str) -> str:
            typed = answer if choices else _as_number(answer)
            _check_guess(id, typed, choices)
            return _keep_guess(id, Guess(typed, YOU, choices, level))

        _fields[id] = GuessField(id, choices, heard)
        return
    value, who = (naive, NAIVE) if guess is None else (guess, YOU)
    display(Words(_keep_guess(id, Guess(value if choices else float(value), who, choices, level))))


def _keep_guess(id: str, new: Guess) -> str:
    """Keep a guess, unless its lesson has been measured; what there is to say about it."""
    if id in _met and _guesses.get(id) != new:
        return f"Lesson {id} has been measured already, so this guess is not counted. Restart the kernel to guess anew."
    _guesses[id] = new
    said = new.value if isinstance(new.value, str) else f"{new.value:g}"
    if new.who == YOU:
        return f"Your guess of {said} is noted. Now measure."
    return f"You did not guess: {said}, the guess of {NAIVE}, stands in for yours."


def _as_number(typed: str) -> float | str:
    """What was typed as a number, with a point or a comma; as it is where it is none."""
    try:
        return float(typed.replace(",", "."))
    except ValueError:
        return typed


def _as_choices(id: str, choices: Sequence[str]) -> tuple[str, ...]:
    given = list(choices) if isinstance(choices, list | tuple) else [None]
    if all(isinstance(each, str) and each.strip() for each in given) and len(set(given)) == len(given) in (0, 2, 3):
        return tuple(map(str, given))
    raise LabError(
        f"The choices for lesson {id} are {str(choices)[:60]!r}. Write two or three different texts: what is right "
        'above the level, below it, and where the interval holds it, such as ("higher", "lower", "no change").'
    )


def as_chosen(guess: Any, choices: Sequence[Any]) -> Any:
    """The choice that a guess means, whatever its capitals and the blanks at its ends; without one, the guess."""
    meant = {str(each).strip().lower(): each for each in choices}
    return meant.get(guess.strip().lower(), guess) if isinstance(guess, str) and guess not in choices else guess


def _check_guess(id: str, guess: object, choices: tuple[str, ...]) -> None:
    if choices and guess not in choices:
        raise LabError(
            f"The guess for lesson {id} is {str(guess)[:40]!r}, which is none of the choices. Write one of them in "
            f"quotation marks ({', '.join(choices)}), or None."
        )
    if not choices and (isinstance(guess, bool) or not isinstance(guess, Real) or not math.isfinite(guess)):
        raise LabError(
            f"The guess for lesson {id} is {str(guess)[:40]!r}, which is no number. Write one without "
            "quotation marks, such as 0.1 or -2, or None."
        )


def guess_for(id: str) -> Guess | None:
    """The guess that was made for a lesson; None without one."""
    return _guesses.get(id)


def meet(row: Mapping[str, Any]) -> dict[str, Any]:
    """The row of a lesson that was measured, as it stands in lessons.json, with the guess that was made for it."""
    guess = _guesses.get(row["id"])
    if (field := _fields.pop(row["id"], None)) and guess:
        field.close(_keep_guess(row["id"], guess))
    _met[row["id"]] = dict(row) if guess is None else {**row, "guess": guess.value, "guess_by": guess.who}
    if guess and guess.choices:
        _met[row["id"]]["guess_was"] = guess.was(row["low"], row["high"])
    return _met[row["id"]]


def beside_measured(guess: Guess, low: float, high: float, digits: int) -> str:
    """The guess beside what was measured, as a sentence."""
    whose = "Your guess" if guess.who == YOU else f"The guess of {guess.who}"
    said = guess.value if isinstance(guess.value, str) else f"{guess.value:.{digits}f}"
    return f"{whose}: {said}, {guess.was(low, high)}."


def calibration(rows: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """How good guesses were, from rows of lessons.json: how many lay in the interval, too low, too high.

    "off": how far from the nearer end, in widths of the interval, at least half of those outside are (of two in the
    middle, the larger distance). Choices are left out: :func:`choices_met` counts them.
    """
    places = []
    off = []
    for row in rows:
        if isinstance(row.get("guess"), str | None):
            continue
        places.append(place(row["guess"], row["low"], row["high"]))
        if places[-1] != "in the interval":
            width = max(row["high"] - row["low"], 1e-9)
            off.append(max(row["low"] - row["guess"], row["guess"] - row["high"]) / width)
    counts = {each: places.count(each) for each in ("in the interval", "too low", "too high")}
    middle = sorted(off)[len(off) // 2] if off else 0.0
    return {"guesses": len(places), **counts, "off": middle}


def choices_met(rows: Iterable[Mapping[str, Any]]) -> tuple[int, int]:
    """How many guesses were choices, and how many of these were as measured, from rows of lessons.json."""
    found = [row["guess_was"] == MET for row in rows if isinstance(row.get("guess"), str)]
    return len(found), sum(found)


def predictions_table() -> Card:
    """The guesses of this notebook beside what was measured, and how well they were calibrated."""
    rows = sorted((row for row in _met.values() if "guess" in row), key=order)
    if not rows:
        text = "No guess has met its lesson yet: run the cells above first."
        return Card(box(escape(text)), text)
    found = calibration(rows)
    own = sum(row["guess_by"] == YOU for row in rows)
    chosen, met = choices_met(rows)
    whose = f"{own} of them yours" if len(rows) > 1 else "yours" if own else f"by {NAIVE}"
    title = (
        f"{counted(len(rows), 'guess', 'guesses')}, {whose}: {found['in the interval']} in the interval, "
        f"{found['too low']} too low, {found['too high']} too high"
    )
    if off := found["off"]:
        mark = ABOUT if any(row["varies"] for row in rows) else ""
        several = found["too low"] + found["too high"] > 1
        which = "half of those outside are at least" if several else "the one outside is"
        title += f"; {which} {mark}{off:.1f} widths of the interval away"
    title += f"; of {counted(chosen, 'choice')}, {met} as measured" if chosen else ""
    return show_table([_table_line(row) for row in rows], title)


def _table_line(row: Mapping[str, Any]) -> dict[str, Any]:
    mark = ABOUT if row["varies"] else ""
    return {
        "lesson": row["id"],
        "guess": row["guess"] if "guess_was" in row else f"{row['guess']:g}",
        "by": row["guess_by"],
        "measured": f"{mark}{row['effect']:z.3f} {row['unit'] or row['metric']}",
        "95 % interval": f"[{mark}{row['low']:z.3f}, {mark}{row['high']:z.3f}]",
        "the guess was": row.get("guess_was") or place(row["guess"], row["low"], row["high"]),
    }
