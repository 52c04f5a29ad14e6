"""``python -m genai_labs bench train``: examples a second in training, ours against the recipe of the peers' labs.

The recipes differ in what they do to a batch and in the numbers they compute with; model, rows, trainer, optimizer
and machine are the same, and they are measured in turn. What a step is: putting the batch together, forward, backward,
clipping, optimizer. Validation and checkpoints are left out.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import random
import re
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import cache
from itertools import chain, cycle, islice
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

import torch
from tqdm.auto import tqdm
from transformers import AutoModelForSeq2SeqLM, set_seed

from benchmarks import alone as bench_alone
from genai_labs.finetuning.examples import MASKED, MULTIPLES, Feature, check_size, collate, features
from genai_labs.finetuning.training import ByLength, Plan, Watch, make_trainer, prepare
from genai_labs.inputs.helptext import plain
from genai_labs.inputs.options import whole_number
from genai_labs.loading import data, models, pretrained
from genai_labs.loading.profiles import load_profile
from genai_labs.paths import RESULTS, ROOT
from genai_labs.show.lessons import versions
from genai_labs.show.markdown import table
from genai_labs.system.devices import best_device, has_bf16

SHARED = ROOT.parent / "shared" / "data"
MODELS = ("mini", "flan-small")
FLAN_FILES = ("flan-t5-small/config.json", "flan-t5-small/tokenizer.json", "dialogsum/train.csv")
ROWS = 800  # at most; as many as `finetune` trains on by default
SEED = 0
_positive = whole_number(1)  # a type for argparse
MATRIX, SECONDS = 2048, 1.0  # rows and columns, and time, in the measurement of the peak


@dataclass(frozen=True)
class Recipe:
    """A way to train.

    length: every input and label is padded to so many tokens; None: to the longest of its batch. masked: whether the
    loss leaves padding out. weights: their type. autocast: matrix products in bf16 where the hardware has it.
    """

    name: str
    plan: Plan = field(default_factory=Plan)
    length: int | None = None
    masked: bool = True
    weights: torch.dtype = torch.float32
    autocast: bool = True

    @property
    def precision(self) -> str:
        """In what its matrix products are computed: "fp32" or "bf16"."""
        return "bf16" if self.weights == torch.bfloat16 or (self.autocast and has_bf16()) else "fp32"


PEERS, PEERS_BF16, OURS, OURS_LORA = "peers", "peers, bf16 weights", "ours", "ours, LoRA"
RECIPES = (
    Recipe(PEERS, Plan(batch_size=8), 512, masked=False, autocast=False),
    Recipe(PEERS_BF16, Plan(batch_size=8), 512, masked=False, weights=torch.bfloat16, autocast=False),
    Recipe(OURS),
    Recipe(OURS_LORA, Plan(method="lora")),
)
OTHERS = {  # with options of their own
    "eval": "benchmarks.evaluation",
    "ppo": "benchmarks.ppo",
    "grow": "benchmarks.growth",
    "gpu": "benchmarks.gpu",
}
BARS = {PEERS: 10.0, PEERS_BF16: 3.0}  # how many times as fast ours is to be


@dataclass(frozen=True)
class Count:
    """What was worked on.

    tokens: real ones, of inputs and labels; places: the same with padding; flops: by :func:`step_flops`, with padding.
    """

    examples: int = 0
    tokens: int = 0
    places: int = 0
    flops: int = 0

    def __add__(self, other: Count) -> Count:
        return Count(*(a + b for a, b in zip(vars(self).values(), vars(other).values(), strict=True)))

    @property
    def padding(self) -> float:
        """Share of the places that hold padding, 0 to 1."""
        return 1 - self.tokens / self.places


def count(model: torch.nn.Module, batch: dict[str, torch.Tensor], pad: int) -> Count:
    """Count a batch of :func:`collate`; ``pad`` is the padding token, which no real label is."""
    labels = batch["labels"]
    real = int(batch["attention_mask"].sum()) + int(((labels != MASKED) & (labels != pad)).sum())
    (rows, source), target = batch["input_ids"].shape, labels.shape[1]
    return Count(rows, real, rows * (source + target), step_flops(model, rows, source, target))


def step_flops(model: torch.nn.Module, rows: int, source: int, target: int) -> int:
    """Floating-point operations of a training step of a T5 on ``rows`` rows of ``source`` and ``target`` tokens.

    A matrix costs 6 operations a parameter and token that it sees, 2 forward and 4 backward (Kaplan et al. 2020,
    https://arxiv.org/abs/2001.08361, section 2.1); a frozen one 4, since its own gradient is not computed. The
    encoder's matrices and the keys and values of cross-attention see the source, all others, lm_head too, the target.
    The two products inside attention cost 12 x width for each pair of places (Chowdhery et al. 2022,
    https://arxiv.org/abs/2204.02311, appendix B). Lookups, norms, softmax and the optimizer are not counted.
    """
    total = 0
    for name, module in model.named_modules():
        if isinstance(module, torch.nn.Linear):
            tokens = target if _sees_target(name) else source
            total += (6 if module.weight.requires_grad else 4) * module.weight.numel() * tokens
    config: Any = model.config
    pairs = config.num_layers * source**2 + config.num_decoder_layers * target * (target + source)
    return rows * (total + 12 * config.num_heads * config.d_kv * pairs)


def _sees_target(name: str) -> bool:
    return not re.search(r"\bencoder\.|EncDecAttention\.[kv]\b", name)


@dataclass(frozen=True)
class Round:
    """One round of one recipe."""

    seconds: float
    count: Count

    @property
    def rate(self) -> float:
        """Examples a second."""
        return self.count.examples / self.seconds


class Lane:
    """A recipe at work: a copy of the model in the trainer that ``finetune`` makes, stepped from here."""

    def __init__(self, recipe: Recipe, base: Any, tokenizer: Any, rows: Sequence[Feature], folder: Path) -> None:
        self.recipe, self.pad = recipe, tokenizer.pad_token_id
        self.model = prepare(base, recipe.plan).to(recipe.weights)
        watch = Watch(recipe.plan.epochs, len(rows), folder)
        self.trainer: Any = make_trainer(self.model, tokenizer, rows, rows[:1], recipe.plan, watch)
        self.trainer.current_gradient_accumulation_steps = 1  # as its own loop sets it
        self.optimizer = self.trainer.create_optimizer()
        if recipe.autocast:
            self.model = self.trainer.accelerator.prepare(self.model)

    def batches(self, rows: Sequence[Feature]) -> list[Sequence[Feature]]:
        """The rows cut into batches, in their order."""
        size = self.recipe.plan.batch_size
        return [rows[start : start + size] for start in range(0, len(rows), size)]

    def step(self, rows: Sequence[Feature]) -> dict[str, torch.Tensor]:
        """One training step on one batch, which is returned."""
        length = self.recipe.length
        batch = collate(rows, self.pad, length, length, mask=self.recipe.masked, multiples=MULTIPLES)
        self.trainer.training_step(self.model, dict(batch))
        self.trainer.accelerator.clip_grad_norm_(self.model.parameters(), self.trainer.args.max_grad_norm)
        self.optimizer.step()
        self.model.zero_grad()
        return batch

    def run(self, rows: Sequence[Feature], bar: Any) -> Round:
        """Train on the rows and look at the clock."""
        seen = []
        start = time.perf_counter()
        for batch in self.batches(rows):
            seen.append(self.step(batch))
            bar.update()
        _synchronize()
        seconds = time.perf_counter() - start
        return Round(seconds, sum((count(self.model, batch, self.pad) for batch in seen), Count()))


def _synchronize() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    elif torch.backends.mps.is_available():
        torch.mps.synchronize()


def peak(dtype: torch.dtype, size: int | None = None) -> float:
    """GFLOP/s of this machine in a product of two square matrices: the best of at least 3, and of a second.

    size: their rows and columns (by default MATRIX).
    """
    size = size or MATRIX
    matrix = torch.randn(size, size, device=best_device()).to(dtype)
    times: list[float] = []
    while len(times) < 3 or sum(times) < SECONDS:
        start = time.perf_counter()
        matrix @ matrix
        _synchronize()
        times.append(time.perf_counter() - start)
    return 2 * size**3 / min(times) / 1e9


@cache
def peaks() -> dict[str, float]:
    """GFLOP/s of a matrix product here, by precision; bf16 only where the hardware has it."""
    types = {"fp32": torch.float32} | ({"bf16": torch.bfloat16} if has_bf16() else {})
    return {name: round(peak(dtype), 1) for name, dtype in types.items()}


# What an operator counts as: the first group whose pattern is found in its name.
GROUPS = {
    "matrix products": r"mm$|mm_|matmul|linear$",
    "loss": r"log_softmax|nll_loss",
    "attention and softmax": r"softmax|scaled_dot_product",
    "dropout masks": r"bernoulli|dropout",
    "optimizer and clipping": r"adam|_foreach|vector_norm",
    "copies": r"copy|clone|cat$|stack|fill_|zero|ones|full|index|embedding|empty|select|slice",
    "elementwise": r"add|sub|mul|div|pow|sqrt|mean|sum|tanh|gelu|neg|where|log|exp|abs|eq$|ne$|lt$|gt$|le$|ge$|min|max",
    "other operators": r"",
}
BETWEEN = "between operators (Python, autograd)"


def where_time_goes(lane: Lane, rows: Sequence[Feature]) -> dict[str, float]:
    """Shares of one step's time by kind of operator, adding up to 1, by torch.profiler (which adds time of its own)."""
    on_gpu = torch.cuda.is_available()
    kinds = torch.profiler.ProfilerActivity
    with torch.profiler.profile(activities=[kinds.CPU, *([kinds.CUDA] if on_gpu else [])]) as seen:
        start = time.perf_counter()
        lane.step(rows)
        _synchronize()
        seconds = time.perf_counter() - start
    operators = [e for e in seen.key_averages() if e.key.startswith("aten::")]
    return shares(((e.key, e.self_device_time_total if on_gpu else e.self_cpu_time_total) for e in operators), seconds)


def shares(operators: Iterable[tuple[str, float]], seconds: float) -> dict[str, float]:
    """Names of operators and their own microseconds as shares of ``seconds`` by group."""
    spent = dict.fromkeys(GROUPS, 0.0)
    for name, microseconds in operators:
        group = next(group for group, pattern in GROUPS.items() if re.search(pattern, name))
        spent[group] += microseconds / 1e6 / seconds
    return spent | {BETWEEN: max(0.0, 1 - sum(spent.values()))}


def race(lanes: Sequence[Lane], rounds: Sequence[Sequence[Feature]]) -> dict[str, list[Round]]:
    """Measure the recipes in turn, A, B, C, A, B, C ..., each round on the same rows; one step each to warm up."""
    done: dict[str, list[Round]] = {lane.recipe.name: [] for lane in lanes}
    total = len(lanes) + sum(len(lane.batches(rows)) for lane in lanes for rows in rounds)
    with tqdm(total=total, desc="training", unit="step") as bar:
        for lane in lanes:
            lane.run(lane.batches(rounds[0])[0], bar)
        for rows in rounds:
            for lane in lanes:
                bar.set_postfix_str(lane.recipe.name)
                done[lane.recipe.name].append(lane.run(rows, bar))
    return done


def draw_rounds(rows: Sequence[Feature], rounds: int, steps: int) -> list[list[Feature]]:
    """The rows of each round: ``steps`` of our batches, drawn from those that our order of all rows makes."""
    size = Plan().batch_size
    order = list(ByLength([len(row["input_ids"]) for row in rows], size, SEED))
    groups = [order[start : start + size] for start in range(0, len(order) - size + 1, size)]
    random.Random(SEED).shuffle(groups)
    drawn = cycle(groups)
    return [[rows[i] for i in chain(*islice(drawn, steps))] for _ in range(rounds)]


def why_not(name: str, shared: Path) -> str | None:
    """Why a model cannot be measured, in words; None if it can."""
    missing = [file for file in FLAN_FILES if not (shared / file).is_file()]
    if name != "flan-small" or not missing:
        return None
    return (
        f"{name} is left out: the shared data folder has no {', no '.join(missing)}. Name the folder that has them "
        "with --shared DIR."
    )


def load(name: str, shared: Path) -> tuple[Any, Any, list[data.Row]]:
    """Model, tokenizer and dialogues: the embedded ones, or FLAN-T5-small's configuration with DialogSum."""
    if name == "flan-small":
        model, tokenizer = flan_small(shared / "flan-t5-small")
        return model, tokenizer, data.load_split(str(shared / "dialogsum"), "train")
    profile = load_profile(name)
    return *models.load_model(profile), data.load_split(profile.dataset, "train")


def flan_small(folder: Path) -> tuple[Any, Any]:
    """A model of the configuration in ``folder`` with random weights, and the tokenizer.

    Its lm_head is its own, as in FLAN-T5's checkpoints; a model made from a configuration comes with a tied one.
    """
    config = pretrained.read_config(folder)
    model = AutoModelForSeq2SeqLM.from_config(config, trust_remote_code=False)
    model.lm_head.weight = torch.nn.Parameter(torch.randn_like(model.lm_head.weight) / config.d_model**0.5)
    return model, pretrained.read_tokenizer(folder)


def one_step(recipe: str, name: str, shared: Path) -> str:
    """What is to be known of one step in a process of its own (:mod:`benchmarks.alone`)."""
    set_seed(SEED)
    base, tokenizer, dialogues = load(name, shared)
    rows = features(dialogues[:ROWS], tokenizer)
    (drawn,) = draw_rounds(rows, 1, 1)
    with TemporaryDirectory() as folder:
        lane = Lane(next(r for r in RECIPES if r.name == recipe), base, tokenizer, rows, Path(folder))
        return bench_alone.answer(lambda: lane.step(lane.batches(drawn)[0]))


def measure(name: str, shared: Path, rounds: int, steps: int) -> dict[str, Any]:
    """Everything about one model; see :func:`as_markdown` for what is shown of it."""
    set_seed(SEED)
    base, tokenizer, dialogues = load(name, shared)
    rows = features(dialogues[:ROWS], tokenizer)
    check_size(rows, Plan().batch_size)
    drawn = draw_rounds(rows, rounds, steps)
    with TemporaryDirectory() as folder:
        lanes = [Lane(recipe, base, tokenizer, rows, Path(folder)) for recipe in runnable()]
        measured = race(lanes, drawn)
        ours = next(lane for lane in lanes if lane.recipe.name == OURS)
        spent = where_time_goes(ours, ours.batches(drawn[0])[0])
    return {
        "model": name,
        "parameters": models.count_parameters(base),
        "dialogues": len(rows),
        "recipes": [
            summarize(lane.recipe, measured, peaks())
            | {"peak_mb": bench_alone.ask("train", lane.recipe.name, name, shared)["peak_mb"]}
            for lane in lanes
        ],
        "bars": judge(name, measured),
        "where_time_goes": {group: round(share, 4) for group, share in spent.items()},
    }


def runnable() -> list[Recipe]:
    """The recipes to measure; bf16 weights only where the hardware computes in bf16, for elsewhere they take hours."""
    return [recipe for recipe in RECIPES if recipe.weights == torch.float32 or has_bf16()]


def summarize(recipe: Recipe, measured: dict[str, list[Round]], peaks: dict[str, float]) -> dict[str, Any]:
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


def judge(name: str, measured: dict[str, list[Round]]) -> list[dict[str, Any]]:
    """How many times as fast ours is, against what is asked for."""
    return [
        {
            "model": name,
            "against": other,
            "at_least": bar,
            "rounds": [round(r, 4) for r in ratios(measured, OURS, other)],
            "ratio": round(median(ratios(measured, OURS, other)), 4),
            "met": median(ratios(measured, OURS, other)) >= bar,
        }
        for other, bar in BARS.items()
        if other in measured
    ]


def machine() -> dict[str, Any]:
    """What the numbers depend on."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return {
        "device": torch.cuda.get_device_name(0) if torch.cuda.is_available() else "cpu",
        "cores": cores,
        "threads": torch.get_num_threads(),
        "instructions": torch.backends.cpu.get_cpu_capability(),
        "bf16": "yes" if has_bf16() else "no",
    }


def as_markdown(record: dict[str, Any]) -> str:
    """The record as tables."""
    facts = ", ".join(f"{name} {value}" for name, value in (record["machine"] | record["versions"]).items())
    reached = ", ".join(f"{value:,.0f} GFLOP/s in {name}" for name, value in record["peaks"].items())
    parts = [
        "# Training throughput",
        f"Made by `{record['command']}`: {facts}, seed {record['seed']}. Medians of {record['rounds']} rounds, in each "
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
    low, high = min(bar["rounds"]), max(bar["rounds"])
    verdict = "met" if bar["met"] else "not met"
    return (
        f"{bar['model']}: ours is {bar['ratio']:.1f} times as fast as {bar['against']} ({low:.1f} to {high:.1f}); "
        f"at least {bar['at_least']:g} is asked for: {verdict}."
    )


def _time_table(results: Sequence[dict[str, Any]]) -> str:
    head = ("share of the step", *(result["model"] for result in results))
    return table(
        head, [(g, *(f"{result['where_time_goes'][g]:.0%}" for result in results)) for g in (*GROUPS, BETWEEN)]
    )


def main(argv: Sequence[str] | None = None) -> int:
    """Measure; write ``results/bench_train.json`` and ``.md``; 1 if a bar is not met or no model could be measured."""
    if argv and argv[0] == "all":
        return max(main([what, *argv[1:]]) for what in ("train", "eval", "ppo"))
    if argv and argv[0] in OTHERS:
        return int(importlib.import_module(OTHERS[argv[0]]).main(argv))
    args = make_parser().parse_args(argv)
    if args.threads:
        torch.set_num_threads(args.threads)
    if args.alone:
        print(one_step(args.alone, args.models[0], args.shared))
        return 0
    skipped = [reason for name in args.models if (reason := why_not(name, args.shared))]
    if not has_bf16():
        skipped.append(f"{PEERS_BF16}: left out, because this processor does not compute in bfloat16.")
    able = [name for name in args.models if not why_not(name, args.shared)]
    results = [measure(name, args.shared, args.rounds, args.steps) for name in able]
    record = {
        "command": _command(args),
        "versions": versions(),
        "machine": machine(),
        "seed": SEED,
        "rounds": args.rounds,
        "steps": args.steps,
        "peaks": peaks(),
        "models": results,
        "skipped": skipped,
    }
    args.out.mkdir(parents=True, exist_ok=True)
    (args.out / "bench_train.json").write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    (args.out / "bench_train.md").write_text(as_markdown(record), encoding="utf-8")
    print(as_markdown(record))
    return int(not results or not all(bar["met"] for result in results for bar in result["bars"]))


def write(args: argparse.Namespace, results: list[dict[str, Any]], as_markdown: Callable[[dict[str, Any]], str]) -> int:
    """Write and print what a bench with bars (eval, ppo) measured; 1 if a bar is not met or nothing was measured."""
    threads = f" --threads {args.threads}" if getattr(args, "threads", None) else ""
    command = f"python -m genai_labs bench {args.what} --models {' '.join(args.models)} --rounds {args.rounds}"
    record = {
        "command": command + threads,
        "versions": versions(),
        "machine": machine(),
        "seed": SEED,
        "rounds": args.rounds,
        "models": results,
        "skipped": [reason for name in args.models if (reason := why_not(name, args.shared))],
    }
    args.out.mkdir(parents=True, exist_ok=True)
    path = args.out / f"bench_{args.what}"
    path.with_suffix(".json").write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    path.with_suffix(".md").write_text(as_markdown(record), encoding="utf-8")
    print(as_markdown(record))
    return int(not results or not all(result["met"] for result in results))


def make_parser() -> argparse.ArgumentParser:
    """The options."""
    parser = argparse.ArgumentParser(prog="python -m genai_labs bench", description=plain(__doc__))
    parser.add_argument("what", choices=("train", *OTHERS, "all"), help="what to measure (each has its --help)")
    parser.add_argument("--models", nargs="+", choices=MODELS, default=list(MODELS), help="default: all")
    parser.add_argument("--rounds", type=_positive, default=5, help="how often to measure (default: %(default)s)")
    parser.add_argument("--steps", type=_positive, default=2, help="our batches in a round (default: %(default)s)")
    parser.add_argument("--threads", type=_positive, help="threads of torch (default: torch's own choice)")
    parser.add_argument(
        "--shared",
        type=Path,
        default=SHARED,
        metavar="DIR",
        help="folder with flan-t5-small/ and dialogsum/ (default: ../shared/data beside the project)",
    )
    parser.add_argument("--out", type=Path, default=RESULTS, metavar="DIR", help="where to write (default: results/)")
    parser.add_argument("--alone", choices=[recipe.name for recipe in RECIPES], help=argparse.SUPPRESS)
    return parser


def _command(args: argparse.Namespace) -> str:
    # Without the folders, which differ from machine to machine.
    threads = f" --threads {args.threads}" if args.threads else ""
    return (
        f"python -m genai_labs bench {args.what} --models {' '.join(args.models)} --rounds {args.rounds} "
        f"--steps {args.steps}{threads}"
    )
