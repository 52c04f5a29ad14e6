"""Figures of Lab 2: small matrices, number by number."""

from collections.abc import Mapping

import matplotlib
import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from genai_labs.show.figures import PAPER, STYLE, Plot


@matplotlib.rc_context(STYLE)
def matrices(named: Mapping[str, NDArray[np.float64]]) -> Plot:
    """Small matrices side by side, every number in its cell, coloured by its value on one scale."""
    widths = [max(matrix.shape[1], 4) for matrix in named.values()]
    highest = max(matrix.shape[0] for matrix in named.values())
    figure = Figure(figsize=(9.5, 0.36 * highest + 0.9), facecolor=PAPER, layout="constrained")
    most = max(float(np.abs(matrix).max()) for matrix in named.values()) or 1.0
    spots = figure.subplots(1, len(named), squeeze=False, width_ratios=widths)[0]
    for axes, (name, matrix) in zip(spots, named.items(), strict=True):
        axes.imshow(matrix, cmap="PuOr", vmin=-1.6 * most, vmax=1.6 * most)
        for (row, column), value in np.ndenumerate(matrix):
            axes.text(column, row, f"{value:z.1f}", ha="center", va="center", size=8)
        axes.set_title(f"{name}\n{matrix.shape[0]} x {matrix.shape[1]} = {matrix.size} numbers", size=10)
        axes.set_xticks([])
        axes.set_yticks([])
    lines = [f"{name}: {m.shape[0]} x {m.shape[1]} = {m.size} numbers" for name, m in named.items()]
    return Plot(figure, "\n".join(["matrices", *lines]))
