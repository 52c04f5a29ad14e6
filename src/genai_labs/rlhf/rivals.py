"""What ``python -m genai_labs arena`` measured of PPO and its rivals (``results/arena.json``): a table and a figure."""

from __future__ import annotations

from typing import Any

import matplotlib
from matplotlib.figure import Figure

from genai_labs.show import display
from genai_labs.show.measured import read_measured

FILE = "arena"
# What is shown: kind of dialogue, measure, in words.
SHOWN: dict[tuple[str, str], str] = {
    ("hostile", "toxicity, judge"): "toxicity by the judge",
    ("hostile", "conflict reported"): "conflict reported",
    ("hostile", "right speaker"): "by the right speaker",
    ("hostile", "right kind"): "of the right kind",
    ("polite", "ROUGE-1"): "ROUGE-1, polite",
    ("polite", "content F1"): "content F1, polite",
    ("polite", "conflict reported"): "quarrels invented, polite",
    ("hostile", "KL"): "KL (nats)",
}
DRAWN = (("hostile", "toxicity, judge"), ("hostile", "right speaker"), ("polite", "content F1"))


def read_arena() -> dict[str, Any]:
    """The record as it was written. Raises LabError where it is missing or damaged."""
    return read_measured(FILE, "methods", "python -m genai_labs arena (an hour or more)")


def arena_table(record: dict[str, Any]) -> list[dict[str, Any]]:
    """A row for each method: means over dialogues and training seeds, and the seconds of one core that it took."""
    rows = []
    for name, method in record["methods"].items():
        measured = {words: method["measures"].get(": ".join(key)) for key, words in SHOWN.items()}
        shown = {words: found["interval"][0] if found else "" for words, found in measured.items()}
        rows.append({"method": name} | shown | {"seconds": round(method["cost"]["seconds"])})
    return rows


@matplotlib.rc_context(display.STYLE)
def arena_plot(record: dict[str, Any]) -> display.Plot:
    """Three measures side by side, a row for each method: mean and 95 % interval, and a ring for each training seed."""
    methods = record["methods"]
    figure = Figure(figsize=(9.6, 1.1 + 0.42 * len(methods)), facecolor=display.PAPER, layout="constrained")
    lines = []
    for place, key in enumerate(DRAWN):
        axes = figure.add_subplot(1, len(DRAWN), place + 1)
        for row, (name, method) in enumerate(methods.items()):
            found = method["measures"][": ".join(key)]
            mean, low, high = found["interval"][:3]
            axes.errorbar(
                mean, row, xerr=[[mean - low], [high - mean]], fmt="s", ms=5, color=display.COLORS[0], capsize=4
            )
            below = [row + 0.28] * len(found["seeds"])
            axes.plot(found["seeds"], below, "o", ms=4, mfc="none", color=display.COLORS[1])
            seeds = ", ".join(f"{x:.2f}" for x in found["seeds"])
            lines.append(f"  {SHOWN[key]}, {name}: {mean:.2f} [{low:.2f}, {high:.2f}]; seeds {seeds}")
        axes.set(xlabel=SHOWN[key], axisbelow=True)
        axes.set_yticks(range(len(methods)), list(methods) if place == 0 else [""] * len(methods))
        axes.set_ylim(len(methods) - 0.4, -0.6)
        axes.tick_params(axis="y", length=0)
        axes.grid(axis="x", color=display.GRID)
        axes.spines[["top", "right"]].set_visible(False)
    title = f"Figure: PPO and its rivals (squares: means with 95 % intervals; rings: {record['seeds']} training seeds)"
    return display.Plot(figure, "\n".join([title, *lines]))
