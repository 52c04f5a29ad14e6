"""The lessons of one cell: shown when it has run, and where there are several, as one table with a common scale."""

from __future__ import annotations

from collections.abc import Sequence

from IPython.core.getipython import get_ipython
from IPython.display import display
from matplotlib.ticker import MaxNLocator

from genai_labs.show.cards import (
    ABOUT,
    CELL,
    IN_WORDS,
    LINE,
    NOTE,
    Card,
    box,
    escape,
    html_table,
    passed_over,
    unmarked,
)
from genai_labs.show.lesson_cards import (
    Lesson,
    guess_in_words,
    html_badge,
    html_strip,
    measured_in_words,
    on_scale,
    scale_in_words,
)

STRIP = "position:relative;height:22px;"
WIDTHS = ("36%", "11%", "31%", "22%")
FOOTNOTES = {
    "solid": "Solid line: 0, no difference.",
    "dashed": "Dashed line: what is claimed.",
    "diamond": "Diamond: the guess.",
    ABOUT: IN_WORDS,
}

_waiting: list[Lesson] = []


def show_with_cell(lesson: Lesson) -> None:
    """Show a lesson below everything else that its cell shows; outside of a notebook, at once."""
    shell = get_ipython()
    if shell is None:
        display(lesson.card)
        return
    if not _waiting:
        shell.events.register("post_execute", _show_waiting)
    _waiting.append(lesson)


def _show_waiting() -> None:
    shell = get_ipython()
    assert shell is not None  # who else calls this?
    shell.events.unregister("post_execute", _show_waiting)
    measured = list(_waiting)
    _waiting.clear()
    display(lessons_card(measured))


def lessons_card(measured: Sequence[Lesson]) -> Card:
    """One lesson as its own card, several as a table: a scale for each unit, named once and labelled."""
    if len(measured) == 1:
        return measured[0].card
    units: dict[str, list[Lesson]] = {}
    for lesson in measured:
        units.setdefault(lesson.unit or lesson.metric, []).append(lesson)
    texts = [_text_of_unit(unit, those) for unit, those in units.items()]
    tables = [_table_of_unit(unit, those) for unit, those in units.items()]
    notes = " ".join(words for key, words in FOOTNOTES.items() if any(key in _signs(each) for each in measured))
    note = f'<div style="{NOTE}">{escape(notes)}</div>'
    about = f"\n{FOOTNOTES[ABOUT]}" if any(each.varies for each in measured) else ""
    return Card(box(*tables, note), "\n".join(texts) + about)


def _signs(lesson: Lesson) -> set[str]:
    """The footnotes that a lesson needs."""
    signs = {"dashed" if mark else "solid" for mark in lesson.expectation.marks()}
    return (
        signs
        | ({"diamond"} if lesson.guess and lesson.guess.numbers else set())
        | ({ABOUT} if lesson.varies else set())
    )


def _text_of_unit(unit: str, those: Sequence[Lesson]) -> str:
    lines = [f"Measured in {unit}:"]
    for lesson in those:
        effect, both, certainty, count = measured_in_words(lesson)
        lines += [f"{lesson.name}: {lesson.verdict}", f"  {lesson.claim}"]
        lines += [f"  {effect}{f' ({both})' if both else ''}, 95 % interval {certainty}, {count}"]
        lines += [
            f"  {words}" for words in (_more_of_metric(lesson, unit), lesson.reason, guess_in_words(lesson)) if words
        ]
    return "\n".join(lines)


def _more_of_metric(lesson: Lesson, unit: str) -> str:
    """What the head of the table does not say of the metric, and what is known of the scale."""
    metric = f"{lesson.metric}. " if lesson.metric != unit else ""
    return (metric + scale_in_words(lesson)).strip()


def _table_of_unit(unit: str, those: Sequence[Lesson]) -> str:
    """A row a lesson, and below them the common axis."""
    shown = sorted(number for lesson in those for number in on_scale(lesson))
    ticks = MaxNLocator(nbins=4, steps=[1, 2, 5, 10]).tick_values(shown[0], shown[-1])

    def place(number: float) -> int:
        return round(4 + 92 * (number - ticks[0]) / (ticks[-1] - ticks[0]))

    varies = any(lesson.varies for lesson in those)
    grid = "".join(_placed(place(tick), f"top:0;height:22px;border-left:1px solid {LINE};") for tick in ticks)
    labels = "".join(
        _placed(place(tick), "width:60px;margin-left:-30px;text-align:center;", f"{tick:zg}")
        for tick in (round(float(tick), 6) for tick in ticks)
    )
    rows = [_row_of_lesson(lesson, unit, passed_over(grid + html_strip(lesson, place), varies)) for lesson in those]
    axis = f'<div style="{NOTE}{STRIP}margin:0;">{passed_over(labels, varies)}</div>'
    axis += f'<div style="{NOTE}margin-top:0;text-align:center;">{escape(unit)}</div>'
    rows.append([_column("", 0), _column("", 1), _column(axis, 2), _column("", 3)])
    heads = ["lesson", "effect", "95 % interval", "verdict"]
    return html_table(heads, rows, [False] * 4, "width:100%;min-width:720px;")


def _row_of_lesson(lesson: Lesson, unit: str, strip: str) -> list[str]:
    effect, both, certainty, count = measured_in_words(lesson)
    notes = " ".join(words for words in (f"{count}.", _more_of_metric(lesson, unit)) if words)
    asked = _small_print(guess_in_words(lesson)) if lesson.guess else ""
    sides = "".join(
        _small_print(each, whole=True) for each in both.replace(" against ", "|against ").split("|") if each
    )
    badge = f"<!--?-->{html_badge(lesson)}<!--/?-->" if lesson.expectation.answers else html_badge(lesson)
    return [
        _column(f"<b>{escape(lesson.name)}</b><br>{escape(lesson.claim)}{_small_print(notes)}", 0),
        _column(f'<b style="font-size:16px;white-space:nowrap;">{escape(effect)}</b>{sides}', 1),
        _column(f'<div style="{STRIP}">{strip}</div>{_small_print(certainty, whole=True)}', 2),
        _column(f"{badge}{_small_print(lesson.reason)}{asked}", 3),
    ]


def _column(content: str, column: int) -> str:
    return f'<td style="{CELL}width:{WIDTHS[column]};text-align:left;">{content}</td>'


def _small_print(words: str, whole: bool = False) -> str:
    """Small print, without the sign that stands at the effect already. whole: never broken over lines."""
    space = "white-space:nowrap;" if whole else ""
    return f'<div style="{NOTE}margin-top:2px;{space}">{unmarked(escape(words))}</div>'


def _placed(percent: int, style: str, text: str = "") -> str:
    return f'<div style="position:absolute;left:{percent}%;{style}">{text}</div>'
