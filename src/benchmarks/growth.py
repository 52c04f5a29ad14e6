"""``python -m genai_labs bench grow``: how the time of training grows with rows, length, rank and batch.

The embedded model in the loop of ``finetune``, on rows of made-up tokens that are exactly as long as asked.
One quantity is changed at a time, and its values are measured in turn.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import matplotlib
import numpy as np
import torch
from tqdm.auto import tqdm

from benchmarks import common
from benchmarks.training import Contender, Recipe
from genai_labs.finetuning.training import Plan
from genai_labs.inputs.helptext import plain
from genai_labs.loading import models
from genai_labs.loading.profiles import load_profile
from genai_labs.show.results import table

LENGTH, TARGET = 192, 40  # tokens of a prompt and of a summary, where they are not what is changed
STEPS = 3  # of the optimizer, where rows are not what is changed


@dataclass(frozen=True)
class Growth:
    """One quantity: its values, and for each of them how to train and on what (rows and their length)."""

    name: str
    unit: str
    values: Sequence[int]
    plan: Callable[[int], Plan]
    rows: Callable[[int], int]
    length: Callable[[int], int]


GROWTHS = (
    Growth("rows", "training rows", (16, 32, 64, 128, 256), lambda v: Plan(), lambda v: v, lambda v: LENGTH),
    Growth("length", "tokens of a prompt", (64, 128, 256, 512), lambda v: Plan(), lambda v: 16 * STEPS, lambda v: v),
    Growth(
        "rank",
        "rank of the adapter",
        (1, 4, 16, 64, 128),
        lambda v: Plan(method="lora", rank=v, alpha=v),
        lambda v: 16 * STEPS,
        lambda v: LENGTH,
    ),
    Growth(
        "batch",
        "rows a step",
        (1, 2, 4, 8, 16, 32, 64),
        lambda v: Plan(batch_size=v),
        lambda v: v * STEPS,
        lambda v: LENGTH,
    ),
)


def measure_growth(growth: Growth, base: Any, tokenizer: Any, rounds: int) -> dict[str, Any]:
    """Seconds of each value in each round, one step each to warm up before; the exponent by which they grow.

    Seconds are those of all rows for ``rows``, else of one step. exponent: slope of log seconds over log values, by
    least squares: 1 where twice as much takes twice as long, 0 where it takes no longer.
    """
    contenders = []
    for value in growth.values:
        rows = common.made_up_rows(growth.rows(value), growth.length(value), len(tokenizer), TARGET)
        recipe = Recipe(f"{growth.name} {value}", growth.plan(value))
        contenders.append((Contender(recipe, base, tokenizer), rows))
    seconds: dict[int, list[float]] = {value: [] for value in growth.values}
    with tqdm(desc=growth.name, unit="step") as bar:
        for contender, rows in contenders:
            contender.run(contender.batches(rows)[0], bar)
        for _ in range(rounds):
            for value, (contender, rows) in zip(growth.values, contenders, strict=True):
                steps = 1 if growth.name == "rows" else len(contender.batches(rows))
                seconds[value].append(contender.run(rows, bar).seconds / steps)
    slope = np.polyfit(np.log(growth.values), np.log([median(seconds[value]) for value in growth.values]), 1)[0]
    return {
        "quantity": growth.name,
        "unit": growth.unit,
        "seconds": {str(value): [round(s, 5) for s in each] for value, each in seconds.items()},
        "exponent": round(float(slope), 3),
    }


def what(name: str) -> str:
    """What the seconds of a quantity are."""
    return "seconds an epoch" if name == "rows" else "seconds a step"


def draw_growth(growths: Sequence[dict[str, Any]], path: Path) -> None:
    """A plot for each quantity: median seconds over its values, the range of the rounds as a band; both logarithmic."""
    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, panels = plt.subplots(2, 2, figsize=(10, 7), facecolor="white", layout="constrained")
    for axes, growth in zip(panels.flat, growths, strict=True):
        values = [int(value) for value in growth["seconds"]]
        rounds = list(growth["seconds"].values())
        axes.fill_between(values, [min(r) for r in rounds], [max(r) for r in rounds], color="#1a5fa0", alpha=0.2, lw=0)
        middle = [median(r) for r in rounds]
        axes.plot(values, middle, color="#1a5fa0", marker="o", lw=1.8, label="measured (band: all rounds)")
        straight = [middle[0] * value / values[0] for value in values]
        axes.plot(values, straight, color="#5a616b", lw=1, ls="--", label="twice as much, twice as long")
        axes.set_xscale("log", base=2)
        axes.set_yscale("log")
        axes.set_xticks(values, [str(value) for value in values])
        axes.minorticks_off()
        axes.set_xlabel(growth["unit"])
        axes.set_ylabel(what(growth["quantity"]))
        axes.set_title(f"{growth['quantity']}: grows with the power {growth['exponent']:.2f}", fontsize=11)
        axes.grid(alpha=0.3)
        axes.legend(fontsize=8)
    figure.savefig(path, dpi=110, metadata={"Software": None})
    plt.close(figure)


def growth_page(record: dict[str, Any]) -> str:
    """The record as tables, with the picture."""
    parts = [
        "# How the time of training grows",
        f"{common.provenance(record)}. The embedded model ({record['parameters'] / 1e6:.1f} million parameters), rows "
        f"of made-up tokens: {LENGTH} in a prompt and {TARGET} in a summary, batches of 16, full training, where "
        "nothing else is said; adapters on all matrices for the rank. Medians of "
        f"{record['rounds']} rounds, in each of which the values "
        "took turns.",
        "![Seconds over rows, length, rank and batch](bench_grow.png)",
    ]
    for growth in record["growths"]:
        rows = [
            (value, f"{median(each):.3f}", f"{min(each):.3f} to {max(each):.3f}")
            for value, each in growth["seconds"].items()
        ]
        before_last, last = (median(each) for each in list(growth["seconds"].values())[-2:])
        parts += [
            f"## {growth['quantity'].capitalize()}",
            f"Over the whole range time grows with the power {growth['exponent']:.2f} (twice as much takes "
            f"{2 ** growth['exponent']:.2f} times as long); the last doubling takes {last / before_last:.1f} times as "
            "long.",
            table((growth["unit"], what(growth["quantity"]), "from to"), rows),
        ]
    return "\n\n".join(parts) + "\n"


def main(argv: Sequence[str] | None = None) -> int:
    """Measure; write ``results/bench_grow.json``, ``.md`` and ``.png``."""
    parser = argparse.ArgumentParser(prog="python -m genai_labs bench grow", description=plain(__doc__))
    common.run_options(parser, "grow")
    parser.add_argument("--threads", type=common.positive, help="threads of torch (default: torch's own choice)")
    args = parser.parse_args(argv)
    if args.threads:
        torch.set_num_threads(args.threads)
    base, tokenizer = models.load_model(load_profile("mini"))
    growths = [measure_growth(growth, base, tokenizer, args.rounds) for growth in GROWTHS]
    common.write_record(args, growth_page, parameters=models.count_parameters(base), growths=growths)
    draw_growth(growths, args.out / "bench_grow.png")
    return 0
