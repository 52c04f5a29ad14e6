"""Lessons: claims that are measured in front of the learner, each with an interval and a verdict.

Every lesson is written into lessons.json with its verdict, whatever that is: a claim that does not hold says
so, and the run that contains it fails.
"""

import json
import math
import platform
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any, Literal

import numpy as np
from IPython.core.getipython import get_ipython
from IPython.display import display
from numpy.typing import ArrayLike

from genai_labs import paths
from genai_labs.errors import LabError
from genai_labs.inputs.arguments import as_text
from genai_labs.loading.profiles import loaded_profile
from genai_labs.scoring.metrics import SEED, Interval, paired_bootstrap
from genai_labs.show.cards import NOTE, TEXT, Card, box, escape, tinted
from genai_labs.show.display import ABOUT, show_table
from genai_labs.system import files

HOLDS = "holds"
NO_CHANGE = "no detectable change"
SMALLER = "smaller than claimed"
NOT_SHOWN = "not shown"
OPPOSITE = "the opposite holds"
TOO_FEW = "too few to tell"

# verdict -> (sign, colour): the sign and the words say what the colour says
LOOKS = {
    HOLDS: ("\N{CHECK MARK}", "#1a7f37"),
    NO_CHANGE: ("\N{WHITE CIRCLE}", "#57606a"),
    SMALLER: ("<", "#9a6700"),
    NOT_SHOWN: ("?", "#9a6700"),
    OPPOSITE: ("\N{MULTIPLICATION SIGN}", "#b42318"),
    TOO_FEW: ("\N{HORIZONTAL ELLIPSIS}", "#57606a"),
}

ID = r"\d{1,9}\.\d{1,9}[a-z]?"
TEXTS = ("id", "claim", "metric", "unit", "verdict")  # of a row of lessons.json
FEWEST = 20
DECIMALS = 4  # of the numbers in lessons.json; verdicts are passed on these numbers, too

Expect = Literal["higher", "lower", "between"]
Bounds = tuple[float | None, float | None]


@dataclass(frozen=True)
class Expectation:
    """What must be true of the interval for a claim to hold.

    expect: "higher" or "lower": a lies above or below b by at_least or more; "between": a - b, or a itself,
    lies within bounds, where None leaves a side open. level: one score is measured and not a difference, so
    that at_least, not 0, parts the claim from its opposite.
    """

    expect: Expect = "higher"
    at_least: float = 0.0
    bounds: Bounds | None = None
    level: bool = False

    def judge(self, interval: Interval) -> tuple[str, str]:
        """The verdict, and the reason for it in a sentence."""
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


@dataclass(frozen=True, repr=False)
class Lesson:
    """A claim and what was measured: numbers rounded to four decimals, a verdict and its reason."""

    id: str
    claim: str
    metric: str
    unit: str
    interval: Interval
    verdict: str
    reason: str
    seed: int
    profile: str
    expectation: Expectation
    of: str = "dialogues"
    digits: int = 3
    shown_in: str | None = None  # the run of a cell that has shown the card
    varies: bool = False

    @property
    def holds(self) -> bool:
        return self.verdict == HOLDS

    @property
    def card(self) -> Card:
        """The lesson as a card that shows itself."""
        return Card(_html_card(self), _text_card(self))

    def row(self) -> dict[str, Any]:
        """The lesson as it stands in lessons.json."""
        return {
            "lab": int(self.id.split(".")[0]),
            "id": self.id,
            "claim": self.claim,
            "metric": self.metric,
            "unit": self.unit,
            **self.interval._asdict(),
            "verdict": self.verdict,
            "holds": self.holds,
            "seed": self.seed,
            "profile": self.profile,
            "versions": versions(),
        }

    def __repr__(self) -> str:
        return _text_card(self)

    def _ipython_display_(self) -> None:
        # A cell that ends with lesson(...) has shown the card already: do not show it twice.
        if self.shown_in is None or self.shown_in != _cell_run():
            display(self.card)


_measured: dict[str, Lesson] = {}


def lesson(
    id: str,
    claim: str,
    a: ArrayLike,
    b: ArrayLike | None = None,
    *,
    metric: str,
    unit: str = "",
    expect: Expect = "higher",
    at_least: float = 0.0,
    bounds: Bounds | None = None,
    seed: int = SEED,
    show: bool = True,
    of: str = "dialogues",
    fewest: int = FEWEST,
    digits: int = 3,
    varies: bool = False,
) -> Lesson:
    """Measures a claim, shows it as a card and writes it into lessons.json.

    id: lab and number, such as "1.4". claim: one sentence.
    a, b: scores of the same dialogues, shape (n,) or (n, rows); the effect is the mean of a - b, or of a.
    metric: what the scores are, such as "ROUGE-1 F"; unit: what the effect is counted in, if not in that.
    expect, at_least, bounds: what the claim says of the effect. "higher" and "lower": by at least at_least
    (the effect is -at_least or less for "lower"); "between": within bounds, (None, .1) for at most .1.
    of: what was scored. fewest: the smallest n accepted. digits: decimals shown on the card.
    varies: the scores rest on a training or on samples, so that their last digits depend on the machine: the card
    marks them with ≈, and the comparison of saved outputs passes over them, but not over the verdict.
    The verdict is "holds" when the whole 95 % interval is as expected; "the opposite holds" when all of it
    is on the other side of 0 (of at_least for a single score, of the bounds for "between"); "no detectable
    change" when it contains 0; "smaller than claimed" when the effect has the expected sign and all of the
    interval falls short of at_least; "not shown" when it contains at_least or a bound: the data leave that
    open; "too few to tell" when n is below `fewest` in another world than the embedded one.
    Raises LabError when n is below `fewest` in the embedded world, when scores do not pair up, and when the claim makes
    no sense.
    """
    _check_claim(id, expect, at_least, bounds, single=b is None)
    profile = loaded_profile()
    count = len(np.atleast_1d(np.asarray(a)))
    if count < fewest and profile == "mini":
        raise LabError(
            f"Lesson {id} is not taught: {count} {of} are too few for a claim, {fewest} are needed. "
            f"Score more of them, or state fewest={count} if so few are meant."
        )
    # Elsewhere the data are not ours, and a lab should not stop because they have little of something.
    interval = _rounded(paired_bootstrap(a, b, seed=seed)) if count >= 2 else Interval(0.0, 0.0, 0.0, count)
    expectation = Expectation(expect, at_least, bounds, level=b is None and bool(at_least or bounds))
    verdict, reason = expectation.judge(interval)
    if count < fewest:
        verdict, reason = TOO_FEW, f"{count} {of} are too few for a claim: {fewest} are needed."
    result = Lesson(
        id=id,
        claim=claim,
        metric=metric,
        unit=unit,
        interval=interval,
        verdict=verdict,
        reason=reason,
        seed=seed,
        profile=profile,
        expectation=expectation,
        of=of,
        digits=digits,
        shown_in=_cell_run() if show else None,
        varies=varies,
    )
    _measured[id] = result
    _write(result.row())
    if show:
        display(result.card)
    return result


def lessons_table(rows: Iterable[Mapping[str, Any]] | None = None) -> Card:
    """The lessons measured in this notebook so far, or those of `rows` as read_lessons gives them."""
    try:
        rows = [each.row() for each in _measured.values()] if rows is None else _checked(rows)
    except (ValueError, TypeError, OverflowError) as error:
        raise LabError(f"These are not rows of lessons ({error}). Pass what read_lessons gives.") from error
    if not rows:
        text = "No lesson has been measured yet: run the cells above first."
        return Card(box(escape(text)), text)
    return show_table([_table_row(row) for row in sorted(rows, key=_order)])


def lessons_path() -> Path:
    """lessons.json in the folder that labs write to."""
    return paths.output_folder() / "lessons.json"


def read_lessons(path: Path | None = None) -> list[dict[str, Any]]:
    """The rows of lessons.json, in the order of their ids; none when there is no such file.

    Raises LabError when the file is damaged.
    """
    path = path or lessons_path()
    try:
        return sorted(_checked(json.loads(path.read_text(encoding="utf-8"))), key=_order)
    except FileNotFoundError:
        return []
    except (ValueError, TypeError, OverflowError, RecursionError) as error:
        raise LabError(
            f"The lessons measured so far cannot be read: {path.name} is damaged ({error}). "
            f"Delete it ({path}) and run the lab again."
        ) from error


def _checked(rows: Any) -> list[dict[str, Any]]:
    """The rows; ValueError or TypeError at the first that is no row of a lesson."""
    if not isinstance(rows, list):
        raise TypeError("a list is wanted")
    for row in rows:
        if not isinstance(row, dict) or not re.fullmatch(ID, str(row.get("id")), re.ASCII):
            raise ValueError(f"there is something that is no lesson: {row!r:.60}")
        texts, numbers = (row.get(name) for name in TEXTS), [row.get(name) for name in Interval._fields]
        if not all(isinstance(each, str) for each in texts) or row["verdict"] not in LOOKS:
            raise ValueError(f"lesson {row['id']} lacks a text")
        if not all(isinstance(each, (int, float)) and math.isfinite(each) for each in numbers):
            raise ValueError(f"lesson {row['id']} lacks a number")
        if (row.get("lab"), row.get("holds")) != (int(row["id"].split(".")[0]), row["verdict"] == HOLDS):
            raise ValueError(f"lesson {row['id']} contradicts itself")
    return rows


def _cell_run() -> str | None:
    """What tells one run of a notebook cell from every other; None outside of a notebook."""
    shell = get_ipython()
    if shell is None:
        return None
    if hasattr(shell, "get_parent"):  # a kernel: nbval runs all cells under one execution count
        return str(shell.get_parent()["header"]["msg_id"])
    return str(shell.execution_count)


def versions() -> dict[str, str]:
    """Versions of Python and of the packages that decide what a model says."""
    return {"python": platform.python_version()} | {
        name: _version(name) for name in ("torch", "transformers", "genai_labs")
    }


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "not installed"


def _check_claim(id: str, expect: str, at_least: float, bounds: Bounds | None, single: bool) -> None:
    problem = ""
    if not re.fullmatch(ID, as_text(id, "The id of a lesson"), re.ASCII):
        problem = 'its id must be lab and number, such as "1.4"'
    elif expect not in ("higher", "lower", "between"):
        problem = f'expect={expect!r} is none of "higher", "lower" and "between"'
    elif (expect == "between") != (bounds is not None) or bounds == (None, None):
        problem = 'expect="between" and bounds=(low, high) need each other, and one bound must be a number'
    elif bounds and None not in bounds and bounds[0] > bounds[1]:  # type: ignore[operator]
        problem = f"its lower bound {bounds[0]} is greater than its upper bound {bounds[1]}"
    elif at_least < 0 or (at_least and expect == "between"):
        problem = 'at_least is a size, 0 or more, for "higher" and "lower" only'
    elif single and expect == "lower" and at_least:
        problem = f'"at most x" is said of a single score with expect="between", bounds=(None, {at_least:g})'
    if problem:
        raise LabError(f"Lesson {id} cannot be measured: {problem}. Mend the call of lesson().")


def _rounded(interval: Interval) -> Interval:
    effect, low, high = (round(number, DECIMALS) + 0.0 for number in interval[:3])  # + 0.0 turns -0.0 into 0.0
    return Interval(effect, low, high, interval.n)


def _order(row: Mapping[str, Any]) -> tuple[int, int, str]:
    lab, number = str(row["id"]).split(".")
    return int(lab), int(number.rstrip("abcdefghijklmnopqrstuvwxyz")), number


def _write(row: dict[str, Any]) -> None:
    """The row takes its place in lessons.json, beside those that other labs write there at the same time."""
    path = lessons_path()
    with files.in_words(path.parent):
        path.parent.mkdir(parents=True, exist_ok=True)
        with files.locked(path.with_name(files.LESSONS_LOCK)):
            rows = [other for other in read_lessons(path) if other["id"] != row["id"]]
            text = json.dumps(sorted([*rows, row], key=_order), indent=1, ensure_ascii=False)
            files.write_whole(path, text + "\n")


# How a lesson looks


def _table_row(row: Mapping[str, Any]) -> dict[str, Any]:
    mark = ABOUT if row["id"] in _measured and _measured[row["id"]].varies else ""
    return {
        "lesson": row["id"],
        "claim": row["claim"],
        "effect": f"{mark}{row['effect']:z.3f} {row['unit'] or row['metric']}",
        "95 % interval": f"[{mark}{row['low']:z.3f}, {mark}{row['high']:z.3f}]",
        "n": row["n"],
        "verdict": f"{LOOKS[row['verdict']][0]} {row['verdict']}",
    }


def _measured_in_words(lesson: Lesson) -> tuple[str, str]:
    """The effect with its unit, and how sure it is."""
    sign = "" if lesson.expectation.level else "+"
    mark = ABOUT if lesson.varies else ""
    effect, low, high = (f"{mark}{number:{sign}z.{lesson.digits}f}" for number in lesson.interval[:3])
    certainty = f"95 % interval [{low}, {high}], n = {lesson.interval.n} {lesson.of}"
    return f"{effect} {lesson.unit or lesson.metric}", certainty


def _text_card(lesson: Lesson) -> str:
    effect, certainty = _measured_in_words(lesson)
    return (
        f"Lesson {lesson.id}: {lesson.verdict}\n  {lesson.claim}\n  {effect}, {certainty}\n"
        f"  {lesson.metric}. {lesson.reason}"
    )


def _html_card(lesson: Lesson) -> str:
    sign, color = LOOKS[lesson.verdict]
    effect, certainty = _measured_in_words(lesson)
    badge = f"background:{color};color:#ffffff;border-radius:10px;padding:2px 10px;font-weight:bold;"
    verdict = f'<span style="{badge}">{escape(sign)} {lesson.verdict}</span>'
    return box(
        f"<div><b>Lesson {escape(lesson.id)}</b> &nbsp; {verdict}</div>",
        f'<div style="font-size:16px;margin:6px 0;">{escape(lesson.claim)}</div>',
        f'<div><b style="font-size:18px;">{escape(effect)}</b> &nbsp; {escape(certainty)}</div>',
        _html_scale(lesson, color),
        f'<div style="{NOTE}">{escape(lesson.metric)}. {escape(lesson.reason)}</div>',
        style=f"border-left:6px solid {color};max-width:720px;",
    )


def _html_scale(lesson: Lesson, color: str) -> str:
    """The interval as a bar with a dot on a scale, and the numbers that matter as upright lines."""
    marks = lesson.expectation.marks()
    ink = f"color-mix(in srgb,{color} 80%,{TEXT})"  # a little darker on light, a little lighter on dark
    # Only numbers as shown enter, so that the HTML is as stable as they are.
    shown = [round(number, lesson.digits) for number in lesson.interval[:3]]
    effect, low, high = _percents(shown, [*shown, *marks])
    lines = [(_percents([mark], [*shown, *marks])[0], "dashed" if mark else "solid") for mark in marks]
    styles = [
        *(f"left:{place}%;top:0;height:22px;border-left:2px {line} {TEXT};" for place, line in lines),
        f"left:{low}%;width:{max(high - low, 1)}%;top:8px;height:6px;background:{ink};",
        f"left:{effect}%;margin-left:-6px;top:5px;width:12px;height:12px;border-radius:6px;background:{ink};",
    ]
    pieces = "".join(f'<div style="position:absolute;{style}"></div>' for style in styles)
    scale = f"position:relative;height:22px;max-width:480px;margin-top:8px;background:{tinted(TEXT, 9)};"
    key = "; ".join(f"{'dashed' if mark else 'solid'} line: {words}" for mark, words in marks.items())
    if lesson.varies:
        pieces = f"<!--{ABOUT}-->{pieces}<!--/{ABOUT}-->"
    return f'<div style="{scale}">{pieces}</div><div style="{NOTE}margin-top:2px;">{escape(key)}</div>'


def _percents(values: list[float], scale: list[float]) -> list[int]:
    """Places on a scale that just holds all its numbers between 5 and 95 percent of its width."""
    low, high = min(scale), max(scale)
    return [round(5 + 90 * (value - low) / ((high - low) or 1.0)) for value in values]
