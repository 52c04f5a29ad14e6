"""What ``python -m genai_labs prices`` measured of PPO at several prices of KL (``results/lab3_prices.json``)."""

from __future__ import annotations

from typing import Any

import matplotlib
from matplotlib.figure import Figure

from genai_labs.show import display
from genai_labs.show.measured import read_measured

FILE = "lab3_prices"
STEPS = ("small steps", "large steps")
# What is measured: kind of dialogue and name. The first two are what PPO makes larger and what that costs.
MEASURED = (
    ("hostile", "reward"),
    ("hostile", "KL"),
    ("hostile", "toxicity, judge"),
    ("hostile", "conflict reported"),
    ("hostile", "right kind"),
    ("hostile", "content F1"),
    ("hostile", "grounded"),
    ("polite", "content F1"),
    ("polite", "conflict reported"),
)
DRAWN = ("reward", "right kind", "content F1")
TICKS = (2, 5, 10, 30, 100, 300)  # nats
WORDS = {"reward": "reward (logit), what was paid", "right kind": "right kind of reproach", "content F1": "content F1"}


def read_prices() -> dict[str, Any]:
    """The record as it was written. Raises LabError where it is missing or damaged."""
    return read_measured(FILE, "results", "python -m genai_labs prices (ten minutes or more)")


def prices_table(record: dict[str, Any]) -> list[dict[str, Any]]:
    """A row for each training: its steps, its price, and the means over dialogues and seeds."""
    return [
        {"steps": row["steps"], "price": row["price"]}
        | {f"{name}, {kind}": row["measures"][f"{kind}: {name}"]["interval"][0] for kind, name in MEASURED}
        for row in record["results"]
    ]


@matplotlib.rc_context(display.STYLE)
def prices_plot(record: dict[str, Any]) -> display.Plot:
    """What was paid, and two measures that nobody paid for, on hostile dialogues against the KL; each point a price."""
    figure = Figure(figsize=(10, 3.6), facecolor=display.PAPER, layout="constrained")
    lines = []
    for axes, name in zip(figure.subplots(1, len(DRAWN)), DRAWN, strict=True):
        for number, steps in enumerate(STEPS):
            rows = [row for row in record["results"] if row["steps"] == steps]
            kl = [row["measures"]["hostile: KL"]["interval"][0] for row in rows]
            found = [row["measures"][f"hostile: {name}"]["interval"][:3] for row in rows]
            ends = [[mean - low for mean, low, _ in found], [high - mean for mean, _, high in found]]
            look = {"color": display.COLORS[number], "marker": "os"[number], "ls": ("-", "--")[number]}
            axes.errorbar(kl, [mean for mean, *_ in found], yerr=ends, capsize=3, lw=1.2, ms=5, label=steps, **look)
            for row, x, (mean, low, high) in zip(rows, kl, found, strict=True):
                beside = (4, 5) if row["price"] else (4, -12)  # 0 lies near the next one
                axes.annotate(f"{row['price']:g}", (x, mean), beside, textcoords="offset points", fontsize=8)
                lines.append(
                    f"  {WORDS[name]}, {steps}, price {row['price']:g}, KL {x:.1f}: {mean:.2f} [{low:.2f}, {high:.2f}]"
                )
        axes.set(xscale="log", xlabel="KL (nats a summary)", title=WORDS[name])
        axes.set_xticks(TICKS, [str(tick) for tick in TICKS])
        axes.set_xticks([], minor=True)
        axes.grid(color=display.GRID)
        axes.spines[["top", "right"]].set_visible(False)
    figure.axes[0].legend(frameon=False, fontsize=8)
    return display.Plot(figure, "\n".join(["Figure: PPO at several prices of KL (numbers beside points)", *lines]))
