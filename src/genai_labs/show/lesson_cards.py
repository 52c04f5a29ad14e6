"""How a lesson looks: its card in HTML and in plain text, with the interval drawn to scale."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from IPython.core.getipython import get_ipython
from IPython.display import display

from genai_labs.scoring.intervals import Interval
from genai_labs.show.cards import ABOUT, IN_WORDS, NOTE, TEXT, Card, box, escape, passed_over, tinted, unmarked
from genai_labs.show.predictions import Guess, beside_measured
from genai_labs.show.results import versions
from genai_labs.show.verdicts import HOLDS, LOOKS, Expectation


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
    selected: bool = False  # whether n varies, too
    clusters: int = 0  # how many situations the dialogues are of
    p: float = 1.0  # the smallest error, 1 minus level, with which the interval still shows the claim
    guess: Guess | None = None  # what was expected before
    sides: tuple[float, float] | None = None  # the means of both scores that were compared
    beside: tuple[tuple[str, float], ...] = ()  # what else to see on the scale, such as chance: name and number

    @property
    def holds(self) -> bool:
        return self.verdict == HOLDS

    @property
    def name(self) -> str:
        return f"{'Open question' if self.expectation.answers else 'Lesson'} {self.id}"

    @property
    def smallest_effect(self) -> float:
        """What would have been found with a chance of 80 %: 2.8 standard errors, and 3.92 of these are an interval."""
        return round(2.8 / 3.92 * (self.interval.high - self.interval.low), 4)

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
            "clusters": self.clusters,
            "smallest_effect": self.smallest_effect,
            "p": self.p,
            "varies": self.varies,
            "selected": self.selected,
        }

    def __repr__(self) -> str:
        return _text_card(self)

    def _ipython_display_(self) -> None:
        # A cell that ends with lesson(...) has shown the card already: do not show it twice.
        if self.shown_in is None or self.shown_in != cell_run():
            display(self.card)


def cell_run() -> str | None:
    """What tells one run of a notebook cell from every other; None outside of a notebook."""
    shell = get_ipython()
    if shell is None:
        return None
    if hasattr(shell, "get_parent"):  # a kernel: nbval runs all cells under one execution count
        return str(shell.get_parent()["header"]["msg_id"])
    return str(shell.execution_count)


def measured_in_words(lesson: Lesson) -> tuple[str, str, str, str]:
    """The effect, both sides of it (empty for a single score), its 95 % interval, and how many were scored."""
    sign = "" if lesson.expectation.level else "+"
    mark = ABOUT if lesson.varies else ""
    effect, low, high = (f"{mark}{number:{sign}z.{lesson.digits}f}" for number in lesson.interval[:3])
    counted = ABOUT if lesson.selected else ""
    count = f"n = {counted}{lesson.interval.n} {lesson.of}"
    count += f" of {counted}{lesson.clusters} situations" if lesson.clusters < lesson.interval.n else ""
    shown = f"{mark}{lesson.smallest_effect:.{lesson.digits}f}"
    count += f", could have shown {shown} or more" if lesson.smallest_effect and not lesson.expectation.level else ""
    both = " against ".join(f"{mark}{number:z.{lesson.digits}f}" for number in lesson.sides or ())
    return effect, both, f"[{low}, {high}]", count


def scale_in_words(lesson: Lesson) -> str:
    """What is known of the scale; nothing where nothing is."""
    known = ", ".join(f"{name} {number:.{lesson.digits}f}" for name, number in lesson.beside)
    return f"For comparison: {known}. " if known else ""


def guess_in_words(lesson: Lesson) -> str:
    """The guess and where it lies; nothing without one."""
    if lesson.guess is None:
        return ""
    return beside_measured(lesson.guess, lesson.interval.low, lesson.interval.high, lesson.digits)


def html_badge(lesson: Lesson) -> str:
    """The verdict as white words on its colour."""
    sign, color = LOOKS[lesson.verdict]
    badge = f"background:{color};color:#ffffff;border-radius:10px;padding:2px 10px;font-weight:bold;"
    return f'<span style="{badge}">{escape(sign)} {lesson.verdict}</span>'


def _effect_and_certainty(lesson: Lesson) -> tuple[str, str]:
    """The effect with its unit and both sides, and how sure it is."""
    effect, both, interval, count = measured_in_words(lesson)
    unit = lesson.unit or lesson.metric
    return f"{effect} {unit}{f' ({both})' if both else ''}", f"95 % interval {interval}, {count}"


def _text_card(lesson: Lesson) -> str:
    effect, certainty = _effect_and_certainty(lesson)
    guess = f"\n  {words}" if (words := guess_in_words(lesson)) else ""
    return (
        f"{lesson.name}: {lesson.verdict}\n  {lesson.claim}\n  {effect}, {certainty}\n"
        f"  {lesson.metric}. {scale_in_words(lesson)}{lesson.reason}{guess}"
    )


def _html_card(lesson: Lesson) -> str:
    color = LOOKS[lesson.verdict][1]
    effect, certainty = map(escape, _effect_and_certainty(lesson))
    first, *more = effect.split(" ")
    big = " ".join([first, *map(unmarked, more)])  # the sign stands once, before the effect
    return box(
        f"<div><b>{escape(lesson.name)}</b> &nbsp; {html_badge(lesson)}</div>",
        f'<div style="font-size:16px;margin:6px 0;">{escape(lesson.claim)}</div>',
        f'<div><b style="font-size:18px;">{big}</b> &nbsp; {unmarked(certainty)}</div>',
        _html_scale(lesson),
        f'<div style="{NOTE}">{escape(lesson.metric)}. {escape(scale_in_words(lesson) + lesson.reason)}</div>',
        f'<div style="{NOTE}">{escape(guess_in_words(lesson))}</div>' if lesson.guess else "",
        style=f"border-left:6px solid {color};max-width:720px;",
    )


def _guessed(lesson: Lesson) -> list[float]:
    return lesson.guess.numbers if lesson.guess else []


def on_scale(lesson: Lesson) -> list[float]:
    """All numbers to be seen on the scale, rounded as they are shown, so that the HTML is as stable as they are."""
    numbers = [*lesson.interval[:3], *_guessed(lesson), *dict(lesson.beside).values()]
    return [*(round(number, lesson.digits) for number in numbers), *lesson.expectation.marks()]


def html_strip(lesson: Lesson, place: Callable[[float], int]) -> str:
    """The interval as a bar with a dot, and the numbers that matter as upright lines, the guess as a diamond.

    place: where a number stands, in percent of the width of what it is put into, which must be 22 pixels high.
    """
    ink = f"color-mix(in srgb,{LOOKS[lesson.verdict][1]} 80%,{TEXT})"  # a little darker on light, lighter on dark
    effect, low, high = (place(round(number, lesson.digits)) for number in lesson.interval[:3])
    lines = [(mark, "dashed" if mark else "solid") for mark in lesson.expectation.marks()]
    lines += [(round(number, lesson.digits), "dotted") for _, number in lesson.beside]
    diamond = f"margin-left:-7px;top:4px;width:10px;height:10px;border:2px solid {TEXT};transform:rotate(45deg);"
    styles = [
        *(f"left:{place(round(guess, lesson.digits))}%;{diamond}" for guess in _guessed(lesson)),
        *(f"left:{place(number)}%;top:0;height:22px;border-left:2px {line} {TEXT};" for number, line in lines),
        f"left:{low}%;width:{max(high - low, 1)}%;top:8px;height:6px;background:{ink};",
        f"left:{effect}%;margin-left:-6px;top:5px;width:12px;height:12px;border-radius:6px;background:{ink};",
    ]
    return "".join(f'<div style="position:absolute;{style}"></div>' for style in styles)


def _html_scale(lesson: Lesson) -> str:
    """The strip on a scale that just holds all its numbers between 5 and 95 percent of its width, and its key."""
    least, most = min(on_scale(lesson)), max(on_scale(lesson))  # a guess far off widens it
    pieces = html_strip(lesson, lambda number: round(5 + 90 * (number - least) / ((most - least) or 1.0)))
    scale = f"position:relative;height:22px;max-width:480px;margin-top:8px;background:{tinted(TEXT, 9)};"
    key = [f"{'dashed' if mark else 'solid'} line: {words}" for mark, words in lesson.expectation.marks().items()]
    key += [f"dotted line: {name}" for name, _ in lesson.beside]
    key += [f"diamond: guess {round(guess, lesson.digits):g}" for guess in _guessed(lesson)]
    key += [IN_WORDS] if lesson.varies else []
    strip = f'<div style="{scale}">{passed_over(pieces, lesson.varies)}</div>'
    return f'{strip}<div style="{NOTE}margin-top:2px;">{escape("; ".join(key))}</div>'
