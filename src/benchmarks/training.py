"""``python -m genai_labs bench train``: examples a second in training, ours against the recipe of the peers' labs.

The recipes differ in what they do to a batch and in the numbers they compute with; model, rows, optimizer
and machine are the same, and they are measured in turn. What a step is: putting the batch together, forward, backward,
clipping, optimizer. Validation and checkpoints are left out.
"""

from __future__ import annotations

import argparse
import random
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import chain, cycle, islice
from pathlib import Path
from statistics import median
from typing import Any

import torch
from tqdm.auto import tqdm
from transformers import set_seed

from benchmarks import alone, common
from benchmarks.flops import Count, count, peaks, synchronize
from benchmarks.time_shares import BETWEEN, GROUPS, where_time_goes
from benchmarks.verdict import interval_in_words, judge, verdict
from genai_labs.finetuning.examples import MULTIPLES, Feature, check_size, collate, features
from genai_labs.finetuning.loop import Weights, step, train_step
from genai_labs.finetuning.training import Plan, model_to_train
from genai_labs.inputs import batches
from genai_labs.inputs.helptext import plain
from genai_labs.loading.models import count_parameters
from genai_labs.show.results import table
from genai_labs.system.devices import has_bf16

ROWS = 800  # at most; as many as `finetune` trains on by default


@dataclass(frozen=True)
class Recipe:
    """A way to train."""

    name: str
    plan: Plan = field(default_factory=Plan)
    length: int | None = None  # to which every input and label is padded; None: to the longest of its batch
    masked: bool = True  # whether the loss leaves padding out
    weights: torch.dtype = torch.float32
    ours: bool = True  # the loop of ``finetune``, with matrix products in bf16 where the hardware has it

    @property
    def precision(self) -> str:
        """In what its matrix products are computed: "fp32" or "bf16"."""
        return "bf16" if self.weights == torch.bfloat16 or (self.ours and has_bf16()) else "fp32"


PEERS, PEERS_BF16, OURS, OURS_LORA = "peers", "peers, bf16 weights", "ours", "ours, LoRA"
RECIPES = (
    Recipe(PEERS, Plan(batch_size=8), 512, masked=False, ours=False),
    Recipe(PEERS_BF16, Plan(batch_size=8), 512, masked=False, weights=torch.bfloat16, ours=False),
    Recipe(OURS),
    Recipe(OURS_LORA, Plan(method="lora")),
)
BARS = {PEERS: 10.0, PEERS_BF16: 3.0}  # how many times as fast ours is to be


@dataclass(frozen=True)
class Round:
    """One round of one recipe."""

    seconds: float
    count: Count

    @property
    def rate(self) -> float:
        """Examples a second."""
        return self.count.examples / self.seconds


class Contender:
    """A recipe at work: a copy of the model, stepped from here. Ours steps as ``finetune`` does."""

    def __init__(self, recipe: Recipe, base: Any, tokenizer: Any) -> None:
        self.recipe, self.pad = recipe, tokenizer.pad_token_id
        self.model: Any = model_to_train(base, recipe.plan).to(recipe.weights).train()
        self.weights = Weights(self.model)
        self.optimizer = torch.optim.AdamW(
            self.weights.trained, recipe.plan.learning_rate, weight_decay=0.0, fused=True
        )

    def batches(self, rows: Sequence[Feature]) -> list[Sequence[Feature]]:
        """The rows cut into batches, in their order."""
        size = self.recipe.plan.batch_size
        return [rows[start : start + size] for start in range(0, len(rows), size)]

    def padded(self, rows: Sequence[Feature]) -> dict[str, torch.Tensor]:
        """A batch as it is read."""
        length = self.recipe.length
        batch = collate(rows, self.pad, length, length, mask=self.recipe.masked, multiples=MULTIPLES)
        return {name: tensor.to(self.model.device) for name, tensor in batch.items()}

    def step(self, rows: Sequence[Feature]) -> None:
        """One training step on one batch."""
        if self.recipe.ours:
            with self.weights.in_use():
                train_step(self.model, self.weights, self.optimizer, rows, self.pad, 1.0)
        else:
            step([self.model(**self.padded(rows)).loss], self.weights.trained, [self.optimizer], 1.0)
            self.model.zero_grad()

    def run(self, rows: Sequence[Feature], bar: Any) -> Round:
        """Train on the rows and look at the clock."""
        start = time.perf_counter()
        for batch in self.batches(rows):
            self.step(batch)
            bar.update()
        synchronize()
        seconds = time.perf_counter() - start
        read = (count(self.model, self.padded(batch), self.pad) for batch in self.batches(rows))
        return Round(seconds, sum(read, Count()))


def take_turns(contenders: Sequence[Contender], rounds: Sequence[Sequence[Feature]]) -> dict[str, list[Round]]:
    """Measure the recipes in turn, A, B, C, A, B, C ..., each round on the same rows; one step each to warm up."""
    done: dict[str, list[Round]] = {contender.recipe.name: [] for contender in contenders}
    total = len(contenders) + sum(len(contender.batches(rows)) for contender in contenders for rows in rounds)
    with tqdm(total=total, desc="training", unit="step") as bar:
        for contender in contenders:
            contender.run(contender.batches(rounds[0])[0], bar)
        for rows in rounds:
            for contender in contenders:
                bar.set_postfix_str(contender.recipe.name)
                done[contender.recipe.name].append(contender.run(rows, bar))
    return done


def draw_rounds(rows: Sequence[Feature], rounds: int, steps: int) -> list[list[Feature]]:
    """The rows of each round: ``steps`` of our batches, drawn from those that our order of all rows makes."""
    size = Plan().batch_size
    order = batches.shuffled([len(row["input_ids"]) for row in rows], size, f"{common.SEED}-0")
    groups = [group for group in order if len(group) == size]
    random.Random(common.SEED).shuffle(groups)
    drawn = cycle(groups)
    return [[rows[i] for i in chain(*islice(drawn, steps))] for _ in range(rounds)]


def one_step(recipe: str, name: str, shared: Path) -> str:
    """What is to be known of one step in a process of its own (:mod:`benchmarks.alone`)."""
    set_seed(common.SEED)
    base, tokenizer, dialogues = common.model_and_dialogues(name, shared)
    rows = features(dialogues[:ROWS], tokenizer)
    (drawn,) = draw_rounds(rows, 1, 1)
    contender = Contender(next(r for r in RECIPES if r.name == recipe), base, tokenizer)
    return alone.answer(lambda: contender.step(contender.batches(drawn)[0]))


def measure_training(name: str, shared: Path, rounds: int, steps: int) -> dict[str, Any]:
    """Everything about one model; see :func:`training_page` for what is shown of it."""
    set_seed(common.SEED)
    base, tokenizer, dialogues = common.model_and_dialogues(name, shared)
    rows = features(dialogues[:ROWS], tokenizer)
    check_size(rows, Plan().batch_size)
    drawn = draw_rounds(rows, rounds, steps)
    contenders = [Contender(recipe, base, tokenizer) for recipe in runnable()]
    measured = take_turns(contenders, drawn)
    ours = next(contender for contender in contenders if contender.recipe.name == OURS)
    spent = where_time_goes(lambda: ours.step(ours.batches(drawn[0])[0]))
    return {
        "model": name,
        "parameters": count_parameters(base),
        "dialogues": len(rows),
        "recipes": [
            recipe_row(contender.recipe, measured, peaks())
            | {"peak_mb": alone.ask("train", contender.recipe.name, name, shared)["peak_mb"]}
            for contender in contenders
        ],
        "bars": bars_against_peers(name, measured),
        "where_time_goes": {group: round(share, 4) for group, share in spent.items()},
    }


def runnable() -> list[Recipe]:
    """The recipes to measure; bf16 weights only where the hardware computes in bf16, for elsewhere they take hours."""
    return [recipe for recipe in RECIPES if recipe.weights == torch.float32 or has_bf16()]


def recipe_row(recipe: Recipe, measured: dict[str, list[Round]], peaks: dict[str, float]) -> dict[str, Any]:
    """A recipe's row: medians of its rounds, and what was worked on in all of them."""
    rounds = measured[recipe.name]
    gflops = median(r.count.flops / r.seconds for r in rounds) / 1e9
    return {
        "recipe": recipe.name,
        "batch_size": recipe.plan.batch_size,
        "precision": recipe.precision,
        "examples": sum(r.count.examples for r in rounds),
        "rounds": [round(r.rate, 4) for r in rounds],
        "examples_per_second": round(median(r.rate for r in rounds), 4),
        "ratio_to_peers": round(median(ratios(measured, recipe.name, PEERS)), 4),
        "padding": round(sum((r.count for r in rounds), Count()).padding, 4),
        "gflops": round(gflops, 1),
        "share_of_peak": round(gflops / peaks[recipe.precision], 4),
    }


def ratios(measured: dict[str, list[Round]], name: str, other: str) -> list[float]:
    """In each round: how many times as fast one recipe was as another, on the same rows."""
    return [a.rate / b.rate for a, b in zip(measured[name], measured[other], strict=True)]


def bars_against_peers(name: str, measured: dict[str, list[Round]]) -> list[dict[str, Any]]:
    """How many times as fast ours is, against what is asked for."""
    found = {other: ratios(measured, OURS, other) for other in BARS if other in measured}
    return [
        {"model": name, "against": other, "rounds": [round(r, 4) for r in rounds], **judge(rounds, BARS[other])}
        for other, rounds in found.items()
    ]


def training_page(record: dict[str, Any]) -> str:
    """The record as tables."""
    reached = ", ".join(f"{value:,.0f} GFLOP/s in {name}" for name, value in record["peaks"].items())
    parts = [
        "# Training throughput",
        f"{common.provenance(record)}. Medians of {record['rounds']} rounds, in each "
        "of which the recipes took turns on the same rows; ratios are of recipes in the same round. "
        f"Matrix products reach {reached} here. Memory is that of a process that makes one step, its libraries "
        "included.",
        *record["skipped"],
        _speed_table(record["models"]),
        *[_bar_in_words(bar) for result in record["models"] for bar in result["bars"]],
        "## Where a step of ours spends its time",
        _time_table(record["models"]),
    ]
    return "\n\n".join(parts) + "\n"


def _speed_table(results: Sequence[dict[str, Any]]) -> str:
    head = (
        "model",
        "recipe",
        "examples/s",
        "ratio to peers",
        "padding",
        "GFLOP/s",
        "of the peak",
        "memory at most (MB)",
    )
    rows = [
        (
            result["model"],
            f"{r['recipe']} (batch {r['batch_size']}, {r['precision']})",
            f"{r['examples_per_second']:.2f}",
            f"{r['ratio_to_peers']:.1f}",
            f"{r['padding']:.0%}",
            f"{r['gflops']:.0f}",
            f"{r['share_of_peak']:.0%}",
            r["peak_mb"],
        )
        for result in results
        for r in result["recipes"]
    ]
    return table(head, rows)


def _bar_in_words(bar: dict[str, Any]) -> str:
    return (
        f"{bar['model']}: ours is {bar['ratio']:.1f} times as fast as {bar['against']} ({interval_in_words(bar)}); at "
        f"least {bar['at_least']:g} is asked for: {verdict(bar)}."
    )


def _time_table(results: Sequence[dict[str, Any]]) -> str:
    head = ("share of the step", *(result["model"] for result in results))
    return table(
        head, [(g, *(f"{result['where_time_goes'][g]:.0%}" for result in results)) for g in (*GROUPS, BETWEEN)]
    )


def main(argv: Sequence[str] | None = None) -> int:
    """Measure; write ``results/bench_train.json`` and ``.md``; 1 if a bar is not met or no model could be measured."""
    parser = argparse.ArgumentParser(prog="python -m genai_labs bench train", description=plain(__doc__))
    common.run_options(parser, "train")
    common.model_options(parser)
    parser.add_argument("--steps", type=common.positive, default=2, help="our batches a round (default: %(default)s)")
    parser.add_argument("--threads", type=common.positive, help="threads of torch (default: torch's own choice)")
    parser.add_argument("--alone", choices=[recipe.name for recipe in RECIPES], help=argparse.SUPPRESS)
    args = parser.parse_args(argv)
    if args.threads:
        torch.set_num_threads(args.threads)
    if args.alone:
        print(one_step(args.alone, args.models[0], args.shared))
        return 0
    able = [name for name in args.models if not common.why_not(name, args.shared)]
    results = [measure_training(name, args.shared, args.rounds, args.steps) for name in able]
    without_bf16 = f"{PEERS_BF16}: left out, because this processor does not compute in bfloat16."
    skipped = [] if has_bf16() else [without_bf16]
    return common.write_results(args, results, training_page, skipped, steps=args.steps, peaks=peaks())
