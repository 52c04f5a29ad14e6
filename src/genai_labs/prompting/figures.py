"""Figures of Lab 1: candidates for the next token, and settings of decoding in a plane of two scores."""

import itertools
from collections.abc import Mapping, Sequence
from typing import TypeAlias

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.transforms import Bbox
from numpy.typing import NDArray

from genai_labs.errors import LabError
from genai_labs.inputs.arguments import explained
from genai_labs.show.figures import (
    COLORS,
    STYLE,
    Estimate,
    Plot,
    add_legend,
    any_letter,
    estimate_in_words,
    figure_of,
    finished,
    label_value,
    look,
    name_rows,
    new_axes,
)

Settings: TypeAlias = Mapping[str, tuple[Estimate, Estimate]]  # label of a setting -> (x, y)
Place: TypeAlias = tuple[int, int]  # right of and above a point, in points (1/72 inch)
# Where a label may stand beside its point: near corners first, then farther up or down.
_PLACES: list[Place] = [(right, up) for far in (8, 18, 30) for right in (8, -8) for up in (far, -far)]


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
    axes = new_axes(0.8 + 0.3 * len(tokens), "probability of the next token (0 to 1)", "token", title)
    axes.barh(range(len(shown)), list(probabilities), color=COLORS[0], height=0.65)
    for place, probability in enumerate(probabilities):
        label_value(axes, f"{probability:.2f}", probability, place)
    name_rows(axes, shown)
    axes.set_xlim(0, min(1.0, 1.15 * max(probabilities, default=1)) + 0.04)
    lines = [f"{probability:.2f}  {token}" for token, probability in zip(shown, probabilities, strict=True)]
    return finished(axes, title or "probability of the next token", lines)


@explained
@matplotlib.rc_context(STYLE)
def sweep_plot(families: Mapping[str, Settings], xlabel: str, ylabel: str, xticks: Sequence[float] = ()) -> Plot:
    """Settings as points in a plane of two scores, with the 95 % intervals of both as crosses.

    families: name of a family of settings (such as "temperature") -> label of a setting -> (x, y). The points
    of a family are joined in the order given and share a marker. xticks: for a logarithmic x axis;
    then nothing is joined.
    """
    axes = new_axes(4.9, xlabel, ylabel, grid="both")
    if xticks:
        axes.set_xscale("log")
        axes.set_xticks(xticks, [f"{tick:g}" for tick in xticks])
        axes.set_xticks([], minor=True)
    for number, (family, settings) in enumerate(families.items()):
        _draw_family(axes, number, family, list(settings.values()), joined=not xticks)
    axes.margins(0.1)
    add_legend(axes)
    with any_letter():
        _label_points(axes, [(name, (x[0], y[0])) for each in families.values() for name, (x, y) in each.items()])
    lines = [
        f"{family}, {label}: {xlabel} {estimate_in_words(x)}; {ylabel} {estimate_in_words(y)}"
        for family, settings in families.items()
        for label, (x, y) in settings.items()
    ]
    return finished(axes, f"{ylabel} against {xlabel}", lines)


def _draw_family(axes: Axes, number: int, name: str, points: list[tuple[Estimate, Estimate]], joined: bool) -> None:
    color, marker, line = look(number)
    line = line if joined else "none"
    xs, ys = [x[0] for x, _ in points], [y[0] for _, y in points]
    axes.plot(xs, ys, color=color, marker=marker, ls=line, lw=1.2, ms=7, label=name)
    for x, y in points:
        axes.plot(x[1:3], [y[0], y[0]], color=color, lw=1, alpha=0.55)
        axes.plot([x[0], x[0]], y[1:3], color=color, lw=1, alpha=0.55)


def _label_points(axes: Axes, points: Sequence[tuple[str, tuple[float, float]]]) -> None:
    """A label beside each point, where it hides no other label and as little as possible of the lines."""
    figure_of(axes).draw_without_rendering()  # the layout decides how far apart points are
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
    scale = figure_of(axes).dpi / 72
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
