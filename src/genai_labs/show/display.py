"""What learners see: tables, texts side by side, and figures.

Every function here returns an object that shows itself when it is the last value of a cell; inside a loop,
hand it to IPython's `display`. Text from data and models is escaped wherever HTML is made. HTML takes background
and text colour, both, from JupyterLab's theme, or brings its own where there is none; figures are light paper with
round corners. So all of it reads in light and dark themes, and where styles are stripped.

What nbval 0.11 compares in strict mode: every stream (stdout, stderr) and every MIME type of an output,
text/plain and text/html included. It leaves out image/png, image/jpeg, widget views, metadata and execution
counts. So the HTML holds no random ids, and each figure carries its numbers as text/plain: the picture is not
compared, the numbers in it are.
"""

import contextlib
import difflib
import html
import io
import itertools
import math
import numbers
import re
import string
import textwrap
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal, TypeAlias, TypeVar

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.lines import Line2D
from matplotlib.patches import FancyBboxPatch
from matplotlib.text import Text
from matplotlib.transforms import Bbox
from numpy.typing import NDArray

from genai_labs.errors import LabError
from genai_labs.inputs.arguments import explained
from genai_labs.inputs.text import without_surrogates
from genai_labs.scoring.metrics import Interval

Estimate: TypeAlias = Interval | tuple[float, float, float]  # (mean, low, high) of a 95 % interval

INK = "#1b1b1b"  # of figures, which are pictures and know no theme
PAPER = "#f1f3f5"
# Of HTML: JupyterLab's theme, and where there is none, dark on white.
TEXT = "var(--jp-content-font-color1,#1b1b1b)"
CARD = "var(--jp-layout-color1,#ffffff)"
LINE = "var(--jp-border-color2,#c4c9d0)"
FONT = "font-family:system-ui,-apple-system,'Segoe UI',sans-serif;font-size:14px;line-height:1.45;"
BOX = (
    f"background:{CARD};color:{TEXT};{FONT}border:1px solid {LINE};border-radius:6px;padding:10px 14px;"
    "margin:6px 0;max-width:960px;overflow-x:auto;"
)
FITTING = "width:fit-content;"  # for a box that should be no wider than what is in it
CELL = f"color:{TEXT};{FONT}border:1px solid {LINE};padding:5px 10px;vertical-align:top;overflow-wrap:break-word;"
HEAD = CELL + "background:var(--jp-layout-color2,#e9edf3);font-weight:bold;"
TABLE = f"background:{CARD};color:{TEXT};border-collapse:collapse;margin:0;"
NOTE = f"color:var(--jp-ui-font-color1,#444b55);{FONT}font-size:12.5px;margin-top:6px;"


def tinted(color: str, percent: int) -> str:
    """The ground of a card with some of a colour, in every theme."""
    return f"color-mix(in srgb,{color} {percent}%,{CARD})"


# After Okabe and Ito: told apart with all kinds of colour vision; markers and line styles say the same.
COLORS = ("#0072b2", "#c2510a", "#00805c", "#a8548a", "#5b5b5b")
MARKERS = ("o", "s", "^", "D", "v")
LINES = ("-", "--", "-.", ":", (0, (5, 1, 1, 1, 1, 1)))
STYLE: dict[Any, Any] = {
    "font.family": "DejaVu Sans",  # comes with matplotlib: the same letters on every machine
    "font.size": 10,
    "axes.edgecolor": "#5a616b",
    "axes.labelcolor": INK,
    "axes.facecolor": "none",
    "text.color": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "text.parse_math": False,  # a dollar sign in a text is a dollar sign
}
GRID = "#d8dce1"
DOTS_PER_INCH = 160  # drawn at twice the size it is shown at, for sharp screens


@dataclass(frozen=True, repr=False)
class Card:
    """HTML for the notebook, and the same in plain text for terminals and tests."""

    html: str
    text: str

    def _repr_html_(self) -> str:
        return self.html

    def __repr__(self) -> str:
        return self.text


@dataclass(frozen=True, repr=False)
class Plot:
    """A matplotlib figure, and its numbers in plain text for terminals, tests and screen readers."""

    figure: Figure
    text: str
    _png: list[bytes] = field(default_factory=list, compare=False)

    def _repr_png_(self) -> tuple[bytes, dict[str, Any]]:
        width, height = (round(inches * DOTS_PER_INCH / 2) for inches in self.figure.get_size_inches())
        return self.png(), {"width": width, "height": height, "alt": self.text}

    def __repr__(self) -> str:
        return self.text

    def png(self) -> bytes:
        """The picture as a PNG file, the same bytes each time."""
        if not self._png:
            buffer = io.BytesIO()
            with matplotlib.rc_context(STYLE), _any_letter():
                _lay_on_paper(self.figure)
                self.figure.savefig(buffer, format="png", dpi=DOTS_PER_INCH, metadata={"Software": None})
            self._png.append(buffer.getvalue())
        return self._png[0]


def _lay_on_paper(figure: Figure) -> None:
    """Give a figure round corners, with nothing behind them, and a margin: it should look well in a dark theme, too."""
    width, height = figure.get_size_inches()
    paper = FancyBboxPatch(
        (0.01, 0.01), width - 0.02, height - 0.02, boxstyle="round,pad=0,rounding_size=0.08",
        transform=figure.dpi_scale_trans, facecolor=figure.get_facecolor(), edgecolor="#c4c9d0", linewidth=1,
    )  # fmt: skip
    paper.set_figure(figure)
    figure.patch = paper  # type: ignore[assignment]
    layout = figure.get_layout_engine()
    if isinstance(layout, ConstrainedLayoutEngine):
        layout.set(w_pad=0.12, h_pad=0.12)


@contextlib.contextmanager
def _any_letter() -> Iterator[None]:
    """A model may emit any character, and a warning that the font lacks it would fail the comparison of outputs."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing")
        yield


Shown = TypeVar("Shown", Card, Plot)

ABOUT = "\N{ALMOST EQUAL TO}"  # stands before a number that may differ from machine to machine


def about(shown: Shown) -> Shown:
    """The same card or plot with every decimal fraction marked by \N{ALMOST EQUAL TO}, "about".

    For numbers that rest on a training: trained twice on one machine, a model is the same to the last bit, but another
    processor rounds differently, and a training adds such differences up. The comparison of saved outputs passes over
    numbers that are marked so (tests/nbval_sanitize.cfg), and over nothing else.
    """
    if isinstance(shown, Plot):
        return replace(shown, text=_marked(shown.text))
    html = re.sub(r"(?<=>)[^<>]+(?=<)", lambda between: _marked(between[0]), shown.html)
    return replace(shown, html=html, text=_marked(shown.text))


def _marked(text: str) -> str:
    return re.sub(rf"(?<![\w.,{ABOUT}+-])[-+]?\d[\d,]*\.\d+", lambda number: ABOUT + number[0], text)


def escape(text: object) -> str:
    """Text as it must stand in HTML: `<script>` shows as text and does nothing."""
    return html.escape(str(text), quote=True)


def box(*parts: str, style: str = "") -> str:
    """Finished pieces of HTML in one box that reads in every theme."""
    return f'<div style="{BOX}{style}">{"".join(parts)}</div>'


# Tables


@explained
def show_table(
    rows: pd.DataFrame | Iterable[Mapping[str, Any]] | Mapping[str, Sequence[Any]],
    caption: str | None = None,
    *,
    digits: int = 3,
) -> Card:
    """A table of a DataFrame, of rows as mappings, or of columns as lists.

    Floats and intervals are rounded to `digits`; a missing value shows as "-". An index with labels of its
    own becomes the first column.
    """
    frame = rows if isinstance(rows, pd.DataFrame) else _frame(rows)
    if not isinstance(frame.index, pd.RangeIndex):
        frame = frame.reset_index(names=frame.index.name or "")
    heads = [str(column) for column in frame.columns]
    values = [list(row) for row in frame.itertuples(index=False, name=None)]
    right = [all(_is_number(row[place]) for row in values) and bool(values) for place in range(len(heads))]
    cells = [[_cell(value, digits) for value in row] for row in values]
    return Card(_html_table(heads, cells, right, caption), _text_table(heads, cells, right, caption))


def _frame(rows: Iterable[Mapping[str, Any]] | Mapping[str, Sequence[Any]]) -> pd.DataFrame:
    # dtype=object keeps whole numbers whole in a column with gaps.
    return pd.DataFrame(dict(rows) if isinstance(rows, Mapping) else list(rows), dtype=object)


def _is_number(value: object) -> bool:
    return value is None or (isinstance(value, numbers.Real | Interval) and not isinstance(value, bool))


def _cell(value: object, digits: int) -> str:
    if isinstance(value, Interval):
        return f"{value:z.{digits}f}"
    if value is None or (isinstance(value, numbers.Real) and math.isnan(value)):
        return "-"
    if isinstance(value, bool | np.bool):
        return "yes" if value else "no"
    if isinstance(value, numbers.Real) and not isinstance(value, numbers.Integral):
        return f"{float(value):z.{digits}f}"  # z: no minus sign before a zero
    return str(value)


def _html_table(heads: list[str], cells: list[list[str]], right: list[bool], caption: str | None) -> str:
    wrap = [any(len(row[place]) > 24 for row in cells) for place in range(len(heads))]
    looks = list(zip(right, wrap, strict=True))
    body = [[_html_cell(escape(cell), *look) for cell, look in zip(row, looks, strict=True)] for row in cells]
    above = f'<div style="font-weight:bold;margin-bottom:6px;">{escape(caption)}</div>' if caption else ""
    return box(above, _table(heads, body, right, "table-layout:auto;"), style=FITTING)


def _table(heads: list[str], cells: list[list[str]], right: list[bool], style: str) -> str:
    """A table of heads that are text and cells that are HTML already."""
    sides = ["right" if end else "left" for end in right]
    top = "".join(
        f'<th style="{HEAD}text-align:{side};">{escape(head)}</th>' for head, side in zip(heads, sides, strict=True)
    )
    body = "".join(f"<tr>{''.join(row)}</tr>" for row in cells)
    return f'<table style="{TABLE}{style}"><thead><tr>{top}</tr></thead><tbody>{body}</tbody></table>'


def _html_cell(content: str, right: bool = False, wrap: bool = True, background: str = CARD) -> str:
    side, space = "right" if right else "left", "pre-wrap" if wrap else "nowrap"
    return f'<td style="{CELL}background:{background};text-align:{side};white-space:{space};">{content}</td>'


def _text_table(heads: list[str], cells: list[list[str]], right: list[bool], caption: str | None) -> str:
    lines = [heads, *([textwrap.shorten(cell, 60, placeholder=" ...") for cell in row] for row in cells)]
    widths = [max(len(line[place]) for line in lines) for place in range(len(heads))]
    pad: list[Callable[[str, int], str]] = [str.rjust if end else str.ljust for end in right]
    table = [
        "  ".join(put(cell, width) for put, cell, width in zip(pad, line, widths, strict=True)).rstrip()
        for line in lines
    ]
    return "\n".join([*([caption] if caption else []), *table])


# Texts


@explained
def show_dialogue(dialogue: str, summary: str | Sequence[str] | None = None) -> Card:
    """A dialogue turn by turn, with its summary or summaries below."""
    summaries = [summary] if isinstance(summary, str) else list(summary or [])
    turns = [_split_turn(line) for line in dialogue.splitlines() if line.strip()]
    shades = {speaker: shade for shade, speaker in enumerate(dict.fromkeys(speaker for speaker, _ in turns))}
    rows = [_labelled(speaker, said, (CARD, tinted("#0072b2", 8))[shades[speaker] % 2]) for speaker, said in turns]
    rows += [_labelled("Summary", text, tinted("#e0a100", 14)) for text in summaries]
    plain = [dialogue.strip(), *(f"Summary: {text}" for text in summaries)]
    table = f'<table style="{TABLE}table-layout:auto;">{"".join(rows)}</table>'
    return Card(box(table, style=FITTING), "\n".join(plain))


def _split_turn(line: str) -> tuple[str, str]:
    match = re.match(r"\s*(#Person\d+#):\s*(.*)", line)
    return (match[1], match[2]) if match else ("", line.strip())


def _labelled(label: str, text: str, background: str) -> str:
    cells = (f"<b>{escape(label)}</b>", escape(text))
    return f"<tr>{''.join(_html_cell(cell, background=background) for cell in cells)}</tr>"


@explained
def side_by_side(columns: Mapping[str, str | Sequence[str]], reference: str | None = None) -> Card:
    """Texts next to each other; the words that differ from the reference's are bold and underlined.

    columns: title -> text, or title -> one text for each row (all of the same number).
    reference: the title of the column that the others are compared with; None marks nothing.
    Case and punctuation are not compared. In plain text the marked words stand between asterisks.
    Raises LabError for an unknown reference and for columns of different lengths.
    """
    texts = {title: [text] if isinstance(text, str) else list(text) for title, text in columns.items()}
    _check_columns(texts, reference)
    rows = [dict(zip(texts, row, strict=True)) for row in zip(*texts.values(), strict=True)]
    marked = [
        {title: mark_changes(text, row[reference] if reference else text) for title, text in row.items()}
        for row in rows
    ]
    note = f"Bold and underlined: differs from {reference!r}." if reference else ""
    return Card(_html_columns(list(texts), marked, note), _text_columns(marked, reference))


Pieces = list[tuple[str, bool]]  # (text, is it marked), in order; the texts joined are the whole text


@explained
def mark_changes(text: str, reference: str) -> Pieces:
    """The text in pieces, each with whether it differs from the reference: new, or in another place."""
    words = re.findall(r"\S+", text)
    ours, theirs = ([_bare(word) for word in words], [_bare(word) for word in reference.split()])
    changed: set[int] = set()
    for kind, _, _, start, end in difflib.SequenceMatcher(None, theirs, ours, autojunk=False).get_opcodes():
        if kind in ("insert", "replace"):
            changed.update(place for place in range(start, end) if ours[place])
    return _joined(re.findall(r"\s+|\S+", text), changed)


def _bare(word: str) -> str:
    return word.strip(string.punctuation).casefold()


def _joined(parts: list[str], changed: set[int]) -> Pieces:
    """Neighbouring words of the same kind as one piece; the space between two marked words is marked too."""
    pieces: Pieces = []
    place = -1
    for part in parts:
        space = part.isspace()
        place += not space
        mark = (place in changed and place + 1 in changed) if space else place in changed
        if pieces and pieces[-1][1] == mark:
            pieces[-1] = (pieces[-1][0] + part, mark)
        else:
            pieces.append((part, mark))
    return pieces


def _check_columns(texts: Mapping[str, list[str]], reference: str | None) -> None:
    if reference is not None and reference not in texts:
        raise LabError(
            f"There is no column {reference!r} to compare with, because the columns are "
            f"{', '.join(map(repr, texts))}. Name one of them, or leave the reference out."
        )
    if len({len(column) for column in texts.values()}) > 1:
        sizes = ", ".join(f"{title!r} has {len(column)}" for title, column in texts.items())
        raise LabError(
            f"The texts cannot stand side by side: {sizes}, and a row needs one of each. Give columns of one length."
        )


def _html_columns(titles: list[str], rows: list[dict[str, Pieces]], note: str) -> str:
    cells = [[_html_cell(_html_pieces(pieces)) for pieces in row.values()] for row in rows]
    table = _table(titles, cells, [False] * len(titles), "table-layout:fixed;width:100%;")
    return box(table, f'<div style="{NOTE}">{escape(note)}</div>' if note else "")


def _html_pieces(pieces: Pieces) -> str:
    return "".join(f"<b><u>{escape(text)}</u></b>" if mark else escape(text) for text, mark in pieces)


def _text_columns(rows: list[dict[str, Pieces]], reference: str | None) -> str:
    blocks = ["\n".join(f"{title}: {_text_pieces(cell)}" for title, cell in row.items()) for row in rows]
    note = [f"(*...*: differs from {reference!r})"] if reference else []
    return "\n\n".join([*blocks, *note])


def _text_pieces(pieces: Pieces) -> str:
    return "".join(f"*{text}*" if mark else text for text, mark in pieces)


# Figures


@explained
@matplotlib.rc_context(STYLE)
def token_bars(tokens: Sequence[str], probabilities: Sequence[float], title: str | None = None) -> Plot:
    """The probabilities in [0, 1] of candidates for the next token, the first one on top."""
    if len(tokens) != len(probabilities):
        raise LabError(
            f"The bars cannot be drawn: there are {len(tokens)} tokens but {len(probabilities)} numbers. "
            "Give one probability for each token."
        )
    shown = [token.replace("\n", "\\n") or "(empty)" for token in tokens]
    axes = _axes(0.8 + 0.3 * len(tokens), "probability of the next token (0 to 1)", "token", title)
    axes.barh(range(len(shown)), list(probabilities), color=COLORS[0], height=0.65)
    for place, probability in enumerate(probabilities):
        _value_label(axes, f"{probability:.2f}", probability, place)
    _name_rows(axes, shown)
    axes.set_xlim(0, min(1.0, 1.15 * max(probabilities, default=1)) + 0.04)
    lines = [f"{probability:.2f}  {token}" for token, probability in zip(shown, probabilities, strict=True)]
    return _plot(axes, title or "probability of the next token", lines)


@explained
@matplotlib.rc_context(STYLE)
def score_bars(
    scores: Mapping[str, Estimate],
    xlabel: str,
    baselines: Mapping[str, float | Estimate] | None = None,
    title: str | None = None,
    digits: int = 2,
) -> Plot:
    """One bar with its 95 % interval for each (mean, low, high), baselines as lines across all of them."""
    marks = {name: _mean(value) for name, value in (baselines or {}).items()}
    axes = _axes(1.1 + 0.38 * len(scores) + 0.6 * bool(marks), xlabel, "", title)
    for place, (mean, low, high) in enumerate(estimate[:3] for estimate in scores.values()):
        axes.barh(place, mean, color="#9cc7e4", edgecolor=COLORS[0], height=0.6)
        axes.errorbar(mean, place, xerr=[[mean - low], [high - mean]], color=INK, capsize=4, lw=1.4)
        _value_label(axes, f"{mean:.{digits}f}", max(high, 0), place)
    for number, (name, value) in enumerate(marks.items(), start=1):
        color, _, line = _look(number)
        axes.axvline(value, color=color, ls=line, lw=1.8, label=f"{name}: {value:.{digits}f}")
    _name_rows(axes, list(scores))
    axes.margins(x=0.12)
    if marks:
        _legend(axes, title="baselines")
    lines = [f"{name}: {_estimate(value, digits)}" for name, value in scores.items()]
    lines += [f"baseline {name}: {value:.{digits}f}" for name, value in marks.items()]
    return _plot(axes, title or xlabel, lines)


@explained
@matplotlib.rc_context(STYLE)
def line_with_band(
    x: Sequence[float],
    series: Mapping[str, Sequence[Estimate]],
    xlabel: str,
    ylabel: str,
    title: str | None = None,
    digits: int = 2,
) -> Plot:
    """One line for each series over x, with its 95 % intervals as a band."""
    axes = _axes(3.6, xlabel, ylabel, title, grid="both")
    for number, (name, estimates) in enumerate(series.items()):
        means, lows, highs = ([estimate[part] for estimate in estimates] for part in range(3))
        color, marker, line = _look(number)
        axes.plot(x, means, label=name, lw=1.8, color=color, marker=marker, ls=line)
        axes.fill_between(x, lows, highs, color=color, alpha=0.15, lw=0)
    axes.set_xticks(list(x), [f"{value:g}" for value in x])
    _legend(axes)
    lines = [
        f"{name}, {xlabel} {value:g}: {_estimate(estimate, digits)}"
        for name, estimates in series.items()
        for value, estimate in zip(x, estimates, strict=True)
    ]
    return _plot(axes, title or f"{ylabel} against {xlabel}", lines)


Settings: TypeAlias = Mapping[str, tuple[Estimate, Estimate]]  # label of a setting -> (x, y)


@explained
@matplotlib.rc_context(STYLE)
def sweep_plot(
    families: Mapping[str, Settings], xlabel: str, ylabel: str, title: str | None = None, digits: int = 2
) -> Plot:
    """Settings as points in a plane of two scores, with the 95 % intervals of both as crosses.

    families: name of a family of settings (such as "temperature") -> label of a setting -> (x, y). The points
    of a family are joined in the order given and share a marker.
    """
    axes = _axes(4.9, xlabel, ylabel, title, grid="both")
    for number, (family, settings) in enumerate(families.items()):
        _draw_family(axes, number, family, list(settings.values()))
    axes.margins(0.1)
    _legend(axes)
    with _any_letter():
        _label_points(axes, [(name, (x[0], y[0])) for each in families.values() for name, (x, y) in each.items()])
    lines = [
        f"{family}, {label}: {xlabel} {_estimate(x, digits)}; {ylabel} {_estimate(y, digits)}"
        for family, settings in families.items()
        for label, (x, y) in settings.items()
    ]
    return _plot(axes, title or f"{ylabel} against {xlabel}", lines)


@matplotlib.rc_context(STYLE)
def matrices(named: Mapping[str, NDArray[np.float64]], title: str | None = None, digits: int = 1) -> Plot:
    """Small matrices side by side, every number in its cell, coloured by its value on one scale."""
    widths = [max(matrix.shape[1], 4) for matrix in named.values()]
    highest = max(matrix.shape[0] for matrix in named.values())
    figure = Figure(figsize=(9.5, 0.36 * highest + 0.9), facecolor=PAPER, layout="constrained")
    most = max(float(np.abs(matrix).max()) for matrix in named.values()) or 1.0
    spots = figure.subplots(1, len(named), squeeze=False, width_ratios=widths)[0]
    for axes, (name, matrix) in zip(spots, named.items(), strict=True):
        axes.imshow(matrix, cmap="PuOr", vmin=-1.6 * most, vmax=1.6 * most)
        for (row, column), value in np.ndenumerate(matrix):
            axes.text(column, row, f"{value:z.{digits}f}", ha="center", va="center", size=8)
        axes.set_title(f"{name}\n{matrix.shape[0]} x {matrix.shape[1]} = {matrix.size} numbers", size=10)
        axes.set_xticks([])
        axes.set_yticks([])
    lines = [f"{name}: {m.shape[0]} x {m.shape[1]} = {m.size} numbers" for name, m in named.items()]
    return Plot(figure, "\n".join([title or "matrices", *lines]))


def _draw_family(axes: Axes, number: int, name: str, points: list[tuple[Estimate, Estimate]]) -> None:
    color, marker, line = _look(number)
    xs, ys = [x[0] for x, _ in points], [y[0] for _, y in points]
    axes.plot(xs, ys, color=color, marker=marker, ls=line, lw=1.2, ms=7, label=name)
    for x, y in points:
        axes.plot(x[1:3], [y[0], y[0]], color=color, lw=1, alpha=0.55)
        axes.plot([x[0], x[0]], y[1:3], color=color, lw=1, alpha=0.55)


Place: TypeAlias = tuple[int, int]  # right of and above a point, in points (1/72 inch)

# Where a label may stand beside its point: near corners first, then farther up or down.
_PLACES: list[Place] = [(right, up) for far in (8, 18, 30) for right in (8, -8) for up in (far, -far)]


def _label_points(axes: Axes, points: Sequence[tuple[str, tuple[float, float]]]) -> None:
    """A label beside each point, where it hides no other label and as little as possible of the lines."""
    _root(axes).draw_without_rendering()  # the layout decides how far apart points are
    drawn = np.concatenate([_dots(axes, line) for line in axes.lines])
    placed: list[Bbox] = []
    for label, point in points:
        areas = _areas(axes, label, point)
        best = min(_PLACES, key=lambda place: _hidden(areas[place], drawn, placed))
        placed.append(areas[best])
        _note(axes, label, point, best)


def _dots(axes: Axes, line: Line2D) -> NDArray[np.float64]:
    """Places on the screen along a line, its points and 20 for each of its pieces: shape (number, 2)."""
    points = axes.transData.transform(line.get_xydata())
    steps = np.linspace(0, 1, 20)[:, None]
    pieces = [start + steps * (end - start) for start, end in itertools.pairwise(points)]
    return np.concatenate([points, *pieces])


def _areas(axes: Axes, label: str, point: tuple[float, float]) -> dict[Place, Bbox]:
    """What a label would cover of the screen at each of its possible places."""
    sample = axes.text(0, 0, label, size=9)
    size = sample.get_window_extent()
    sample.remove()
    x, y = axes.transData.transform(point)
    scale = _root(axes).dpi / 72
    lefts = {right: x + right * scale - (0 if right > 0 else size.width) for right, _ in _PLACES}
    return {
        (right, up): Bbox.from_bounds(lefts[right], y + up * scale - size.height / 2, size.width, size.height)
        for right, up in _PLACES
    }


def _hidden(area: Bbox, drawn: NDArray[np.float64], placed: list[Bbox]) -> int:
    """How much a label would hide: dots of lines, and other labels, which count for a hundred."""
    wide = area.padded(2)
    labels = sum(wide.overlaps(other) for other in placed)
    return 100 * labels + int(((drawn > wide.min) & (drawn < wide.max)).all(axis=1).sum())


def _note(axes: Axes, label: str, point: tuple[float, float], place: Place) -> None:
    side = "left" if place[0] > 0 else "right"
    far = {"arrowstyle": "-", "color": "#8a9099", "lw": 0.8} if abs(place[1]) > 8 else None
    axes.annotate(label, point, place, ha=side, va="center", size=9, textcoords="offset points", arrowprops=far)


Grid: TypeAlias = Literal["x", "both"]


def _axes(height: float, xlabel: str, ylabel: str, title: str | None, grid: Grid = "x") -> Axes:
    """An empty light figure without pyplot, which would show it a second time and keep it in memory."""
    figure = Figure(figsize=(8, height), facecolor=PAPER, layout="constrained")
    axes = figure.add_subplot()
    axes.set(xlabel=xlabel, ylabel=ylabel, axisbelow=True)
    axes.grid(axis=grid, color=GRID)
    axes.spines[["top", "right"]].set_visible(False)
    if title:
        axes.set_title(title, loc="left", fontweight="bold", fontsize=11)
    return axes


def _name_rows(axes: Axes, names: list[str]) -> None:
    axes.set_yticks(range(len(names)), [textwrap.fill(without_surrogates(name), 34) or " " for name in names])
    axes.invert_yaxis()
    axes.tick_params(axis="y", length=0)


def _look(number: int) -> tuple[str, str, Any]:
    """Colour, marker and line style of one of several series."""
    return COLORS[number % len(COLORS)], MARKERS[number % len(MARKERS)], LINES[number % len(LINES)]


def _value_label(axes: Axes, text: str, x: float, row: int) -> None:
    halo = {"facecolor": PAPER, "edgecolor": "none", "pad": 1, "alpha": 0.85}  # legible across a baseline
    axes.annotate(text, (x, row), (6, 0), textcoords="offset points", va="center_baseline", bbox=halo)


def _legend(axes: Axes, title: str = "") -> None:
    """Below the axes, where it hides nothing; long handles, so that line styles can be told apart."""
    handles, names = axes.get_legend_handles_labels()
    columns = 2 if len(names) == 4 else 3
    look = {"frameon": False, "handlelength": 3.5, "ncols": columns, "alignment": "left"}
    _root(axes).legend(handles, names, loc="outside lower center", title=title, **look)


def _mean(value: float | Estimate) -> float:
    return value[0] if isinstance(value, tuple) else value


def _estimate(value: Estimate, digits: int) -> str:
    mean, low, high = (f"{number:z.{digits}f}" for number in value[:3])
    return f"{mean} [{low}, {high}]" if value[1] < value[2] else mean  # a number that was not estimated has no interval


def _root(axes: Axes) -> Figure:
    figure = axes.get_figure(root=True)
    assert isinstance(figure, Figure)
    return figure


def _plot(axes: Axes, title: str, lines: list[str]) -> Plot:
    for text in _root(axes).findobj(Text):
        text.set_text(without_surrogates(text.get_text()))  # which no font can draw
    return Plot(_root(axes), "\n".join([f"Figure: {title}", *(f"  {line}" for line in lines)]))
