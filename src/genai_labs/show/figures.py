"""Figures: pictures on light paper with round corners, each with its numbers in plain text.

Tests compare the numbers with the saved ones and not the picture, which differs from machine to machine.
"""

import contextlib
import io
import textwrap
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.patches import FancyBboxPatch
from matplotlib.text import Text

from genai_labs.inputs.arguments import explained
from genai_labs.inputs.text import without_surrogates
from genai_labs.scoring.intervals import Interval

Estimate: TypeAlias = Interval | tuple[float, float, float]  # (mean, low, high) of a 95 % interval
INK = "#1b1b1b"  # of figures, which are pictures and know no theme
PAPER = "#f1f3f5"
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
            with matplotlib.rc_context(STYLE), any_letter():
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
def any_letter() -> Iterator[None]:
    """A model may emit any character, and a warning that the font lacks it would fail the comparison of outputs."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing")
        yield


@explained
@matplotlib.rc_context(STYLE)
def score_bars(
    scores: Mapping[str, Estimate],
    xlabel: str,
    baselines: Mapping[str, float | Estimate] | None = None,
    title: str | None = None,
) -> Plot:
    """One bar with its 95 % interval for each (mean, low, high), baselines as lines across all of them."""
    marks = {name: x[0] if isinstance(x, tuple) else x for name, x in (baselines or {}).items()}
    axes = new_axes(1.1 + 0.38 * len(scores) + 0.6 * bool(marks), xlabel, "", title)
    for place, (mean, low, high) in enumerate(estimate[:3] for estimate in scores.values()):
        axes.barh(place, mean, color="#9cc7e4", edgecolor=COLORS[0], height=0.6)
        axes.errorbar(mean, place, xerr=[[mean - low], [high - mean]], color=INK, capsize=4, lw=1.4)
        label_value(axes, f"{mean:.2f}", max(high, 0), place)
    for number, (name, value) in enumerate(marks.items(), start=1):
        color, _, line = look(number)
        axes.axvline(value, color=color, ls=line, lw=1.8, label=f"{name}: {value:.2f}")
    name_rows(axes, list(scores))
    axes.margins(x=0.12)
    if marks:
        add_legend(axes, title="baselines")
    lines = [f"{name}: {estimate_in_words(value)}" for name, value in scores.items()]
    lines += [f"baseline {name}: {value:.2f}" for name, value in marks.items()]
    return finished(axes, title or xlabel, lines)


@explained
@matplotlib.rc_context(STYLE)
def line_with_band(x: Sequence[float], series: Mapping[str, Sequence[Estimate]], xlabel: str, ylabel: str) -> Plot:
    """One line for each series over x, with its 95 % intervals as a band."""
    axes = new_axes(3.6, xlabel, ylabel, grid="both")
    for number, (name, estimates) in enumerate(series.items()):
        means, lows, highs = ([estimate[part] for estimate in estimates] for part in range(3))
        color, marker, line = look(number)
        axes.plot(x, means, label=name, lw=1.8, color=color, marker=marker, ls=line)
        axes.fill_between(x, lows, highs, color=color, alpha=0.15, lw=0)
    axes.set_xticks(list(x), [f"{value:g}" for value in x])
    add_legend(axes)
    lines = [
        f"{name}, {xlabel} {value:g}: {estimate_in_words(estimate)}"
        for name, estimates in series.items()
        for value, estimate in zip(x, estimates, strict=True)
    ]
    return finished(axes, f"{ylabel} against {xlabel}", lines)


Grid: TypeAlias = Literal["x", "both"]


def new_axes(height: float, xlabel: str, ylabel: str, title: str | None = None, grid: Grid = "x") -> Axes:
    """An empty light figure without pyplot, which would show it a second time and keep it in memory."""
    figure = Figure(figsize=(8, height), facecolor=PAPER, layout="constrained")
    axes = figure.add_subplot()
    axes.set(xlabel=xlabel, ylabel=ylabel, axisbelow=True)
    axes.grid(axis=grid, color=GRID)
    axes.spines[["top", "right"]].set_visible(False)
    if title:
        axes.set_title(title, loc="left", fontweight="bold", fontsize=11)
    return axes


def name_rows(axes: Axes, names: list[str]) -> None:
    """Names beside the rows of bars, the first on top."""
    axes.set_yticks(range(len(names)), [textwrap.fill(without_surrogates(name), 34) or " " for name in names])
    axes.invert_yaxis()
    axes.tick_params(axis="y", length=0)


def look(number: int) -> tuple[str, str, Any]:
    """Colour, marker and line style of one of several series."""
    return COLORS[number % len(COLORS)], MARKERS[number % len(MARKERS)], LINES[number % len(LINES)]


def label_value(axes: Axes, text: str, x: float, row: int) -> None:
    """A number behind the end of a bar."""
    halo = {"facecolor": PAPER, "edgecolor": "none", "pad": 1, "alpha": 0.85}  # legible across a baseline
    axes.annotate(text, (x, row), (6, 0), textcoords="offset points", va="center_baseline", bbox=halo)


def add_legend(axes: Axes, title: str = "") -> None:
    """Below the axes, where it hides nothing; long handles, so that line styles can be told apart."""
    handles, names = axes.get_legend_handles_labels()
    columns = 2 if len(names) == 4 else 3
    look = {"frameon": False, "handlelength": 3.5, "ncols": columns, "alignment": "left"}
    figure_of(axes).legend(handles, names, loc="outside lower center", title=title, **look)


def estimate_in_words(value: Estimate) -> str:
    """Such as 0.61 [0.58, 0.64]; a number that was not estimated has no interval."""
    mean, low, high = (f"{number:z.2f}" for number in value[:3])
    return f"{mean} [{low}, {high}]" if value[1] < value[2] else mean


def figure_of(axes: Axes) -> Figure:
    """The whole figure that the axes are in."""
    figure = axes.get_figure(root=True)
    assert isinstance(figure, Figure)
    return figure


def finished(axes: Axes, title: str, lines: list[str]) -> Plot:
    """The figure with its title and numbers as text."""
    for text in figure_of(axes).findobj(Text):
        text.set_text(without_surrogates(text.get_text()))  # which no font can draw
    return Plot(figure_of(axes), "\n".join([f"Figure: {title}", *(f"  {line}" for line in lines)]))
