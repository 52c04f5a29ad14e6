"""``python -m genai_labs bench gpu``: training, evaluation and PPO on a GPU, at the shapes of FLAN-T5-base and -large.

Weights are random, since speed and memory do not depend on them; texts are those of the embedded world, or made-up
tokens of one length. What is measured is the package's own code: the trainer of ``finetune``, ``generation.generate``,
``ppo.roll_out`` and ``ppo.learn``.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

import torch
from tqdm.auto import tqdm
from transformers import GenerationConfig, T5Config, T5ForConditionalGeneration, set_seed

from benchmarks import growth as bench_grow
from benchmarks import ppo as bench_ppo
from benchmarks import training as bench
from benchmarks.on_paper import SHAPES, VOCABULARY, Shape
from genai_labs.errors import LabError
from genai_labs.finetuning import memory
from genai_labs.finetuning.training import Plan
from genai_labs.inputs.helptext import plain
from genai_labs.loading import data, models
from genai_labs.loading.profiles import load_profile
from genai_labs.prompting import generation, prompts
from genai_labs.scoring import toxicity
from genai_labs.show.results import table, versions
from genai_labs.system import shortage
from genai_labs.system.devices import best_device, has_bf16

TINY = Shape("tiny", 64, 128, 64, 2)  # to try the command out without a GPU
BY_NAME = {shape.name.removeprefix("flan-t5-"): shape for shape in (TINY, *SHAPES)}
HEAD = 64  # width of an attention head
SOURCE, TARGET = 512, 64  # tokens of a training row
WRITTEN = 60  # tokens of each summary in evaluation
BAR, BAR_OF = 0.35, ("base", "full training")  # share of the measured peak that is asked for
BATCH = {"tiny": 8, "small": 64, "base": 64, "large": 16, "xl": 4, "xxl": 1}  # rows a step, so that 80 GB hold them
MATRIX = {"cuda": 8192, "mps": 4096, "cpu": 1024}


def random_t5(shape: Shape) -> Any:
    """A T5 v1.1 of the shape with random weights and an lm_head of its own, on the best device, in eval mode."""
    config = T5Config(
        vocab_size=VOCABULARY,
        d_model=shape.d_model,
        d_ff=shape.d_ff,
        d_kv=HEAD,
        num_heads=shape.inner // HEAD,
        num_layers=shape.layers,
        num_decoder_layers=shape.layers,
        feed_forward_proj="gated-gelu",
        dropout_rate=0.0,
        decoder_start_token_id=0,
    )
    set_seed(bench.SEED)
    model: Any = T5ForConditionalGeneration(config)
    model.lm_head.weight = torch.nn.Parameter(torch.randn_like(model.lm_head.weight) / config.d_model**0.5)
    return model.eval().to(best_device())


def peak_memory(work: Callable[[], Any]) -> float:
    """Gigabytes that are taken at most while ``work`` is done: on the GPU, or of this process beyond what it has."""
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
        work()
        return torch.cuda.max_memory_allocated() / 1e9
    with memory.watching() as peak:
        work()
    return peak.bytes / 1e9


def train(base: Any, plan: Plan, rounds: int, peak: float) -> dict[str, Any]:
    """Steps of the trainer on rows of one length."""
    rows = bench_grow.made_up(plan.batch_size, SOURCE, VOCABULARY, TARGET)
    tokenizer = models.load_tokenizer(load_profile("mini"))
    with TemporaryDirectory() as folder:
        lane = bench.Lane(bench.Recipe(plan.method, plan), base, tokenizer, rows, Path(folder))
        with tqdm(desc=f"{plan.method} training", unit="step") as bar:
            most = peak_memory(lambda: lane.run(rows, bar))  # which is the step to warm up, too
            done = [lane.run(rows, bar) for _ in range(rounds)]
    flops = bench.step_flops(lane.model, plan.batch_size, SOURCE, TARGET)
    seconds = [each.seconds for each in done]
    return record_of(f"{plan.method} training", plan.batch_size * (SOURCE + TARGET), seconds, most, flops, peak)


def evaluate(base: Any, batch_size: int, rounds: int, peak: float) -> dict[str, Any]:
    """Summaries of the embedded world's dialogues, greedy, all of the same length."""
    profile = load_profile("mini")
    tokenizer = models.load_tokenizer(profile)
    asked = [prompts.zero_shot(row.dialogue) for row in data.load_split(profile.dataset, "test")[:batch_size]]
    config = GenerationConfig(do_sample=False, max_new_tokens=WRITTEN, min_new_tokens=WRITTEN)

    def write() -> None:
        generation.generate(base, tokenizer, asked, config, batch_size, progress=False)

    most = peak_memory(write)
    seconds = [timed(write) for _ in range(rounds)]
    read = max(len(row) for row in tokenizer(asked)["input_ids"])
    # A third of a training step's operations are those of the forward pass.
    flops = bench.step_flops(base.requires_grad_(True), len(asked), read, WRITTEN) // 3
    return record_of("evaluation", len(asked) * WRITTEN, seconds, most, flops, peak)


def learn_by_ppo(base: Any, rounds: int) -> dict[str, Any]:
    """Updates of PPO: sampling, scoring, the reward, learning."""
    profile = load_profile("mini")
    tokenizer = models.load_tokenizer(profile)
    rows = data.load_split(profile.dataset, "train")[: bench_ppo.SETTINGS.batch_size]
    asked = [prompts.zero_shot(row.dialogue) for row in rows]
    loop = bench_ppo.Ours(base, tokenizer, toxicity.load_classifier().rewards)
    most = peak_memory(lambda: loop.update(asked))
    seconds = [timed(lambda: loop.update(asked)) for _ in range(rounds)]
    return record_of("PPO update", len(asked) * bench_ppo.SETTINGS.max_new_tokens, seconds, most, None, None)


def timed(work: Callable[[], Any]) -> float:
    """Seconds that ``work`` takes, on the device too."""
    start = time.perf_counter()
    work()
    bench._synchronize()
    return time.perf_counter() - start


def record_of(
    work: str, tokens: int, seconds: Sequence[float], most: float, flops: int | None, peak: float | None
) -> dict[str, Any]:
    """What was measured of one work, in the units of the table. peak: GFLOP/s of a matrix product in bf16."""
    middle = median(seconds)
    return {
        "work": work,
        "seconds": round(middle, 4),
        "rounds": [round(each, 4) for each in seconds],
        "tokens_per_second": round(tokens / middle),
        "peak_gb": round(most, 2),
        "share_of_peak": None if flops is None or peak is None else round(flops / middle / 1e9 / peak, 4),
    }


def measure(name: str, rounds: int, batch_size: int, peak: float) -> dict[str, Any]:
    """All works at one shape."""
    base = random_t5(BY_NAME[name])
    works = [
        train(base, Plan(batch_size=batch_size), rounds, peak),
        train(base, Plan(method="lora", batch_size=batch_size, rank=32, alpha=32, targets=("q", "v")), rounds, peak),
        evaluate(base, batch_size, rounds, peak),
        learn_by_ppo(base, rounds),
    ]
    return {"shape": name, "parameters": models.count_parameters(base), "batch_size": batch_size, "works": works}


def as_markdown(record: dict[str, Any]) -> str:
    """The record as a table."""
    facts = ", ".join(f"{name} {value}" for name, value in (record["machine"] | record["versions"]).items())
    rows = [
        (
            f"{result['shape']} ({result['parameters'] / 1e6:,.0f} M)",
            work["work"],
            result["batch_size"],
            f"{work['seconds']:.3f}",
            f"{work['tokens_per_second']:,}",
            "" if work["share_of_peak"] is None else f"{work['share_of_peak']:.0%}",
            f"{work['peak_gb']:.1f}",
        )
        for result in record["shapes"]
        for work in result["works"]
    ]
    head = ("shape", "work", "rows", "seconds", "tokens/s", "of the peak", "memory at most, GB")
    ppo = bench_ppo.SETTINGS
    parts = [
        "# On a GPU",
        f"Made by `{record['command']}`: {facts}, seed {record['seed']}. Random weights. A training step reads rows of "
        f"{SOURCE} tokens with {TARGET} to write, in bf16 autocast where the device has it; evaluation writes "
        f"{WRITTEN} tokens about each of as many dialogues of the embedded world, greedily; a PPO update takes "
        f"{ppo.batch_size} of them, {ppo.epochs} epochs. Medians of {record['rounds']} rounds. The peak is that of a "
        f"matrix product here, {record['peak']:,.0f} GFLOP/s; operations are counted as in `bench train`. The memory "
        "of training holds the base, which is left alone, beside its copy.",
        table(head, rows),
        *(
            f"Full training at {shape}'s shape reaches {share:.0%} of the peak; at least {BAR:.0%} is asked for: "
            f"{'met' if share >= BAR else 'not met'}."
            for shape, share in bars(record)
        ),
    ]
    return "\n\n".join(parts) + "\n"


def bars(record: dict[str, Any]) -> list[tuple[str, float]]:
    """The share of the peak that the bar is about, if it was measured."""
    return [
        (result["shape"], work["share_of_peak"])
        for result in record["shapes"]
        for work in result["works"]
        if (result["shape"], work["work"]) == BAR_OF
    ]


def main(argv: Sequence[str] | None = None) -> int:
    """Measure; write ``results/bench_gpu.json`` and ``.md``; 1 if the bar is not met."""
    parser = argparse.ArgumentParser(prog="python -m genai_labs bench gpu", description=plain(__doc__))
    parser.add_argument("what", nargs="?", choices=("gpu",), default="gpu", help=argparse.SUPPRESS)
    parser.add_argument("--shapes", nargs="+", choices=tuple(BY_NAME), default=["base", "large"], help="default: both")
    parser.add_argument("--rounds", type=bench._positive, default=5, help="how often to measure (default: %(default)s)")
    parser.add_argument("--batch-size", type=bench._positive, help=f"rows a step (default: by shape, {BATCH})")
    parser.add_argument("--out", type=Path, default=bench.RESULTS, metavar="DIR", help="default: results/")
    args = parser.parse_args(argv)
    if best_device().type == "cpu" and set(args.shapes) != {"tiny"}:
        raise LabError(
            "There is no GPU here, and on a processor these shapes would take hours. Run this on a machine with one; "
            "`--shapes tiny` tries the command out anywhere."
        )
    peak = bench.peak(torch.bfloat16 if has_bf16() else torch.float32, MATRIX[best_device().type])
    batch = f" --batch-size {args.batch_size}" if args.batch_size else ""
    shapes = []
    with shortage.in_words("measuring", "Take a smaller --batch-size."):
        for name in args.shapes:
            shapes.append(measure(name, args.rounds, args.batch_size or BATCH[name], peak))
    record = {
        "command": f"python -m genai_labs bench gpu --shapes {' '.join(args.shapes)} --rounds {args.rounds}{batch}",
        "versions": versions(),
        "machine": bench.machine(),
        "seed": bench.SEED,
        "rounds": args.rounds,
        "peak": round(peak),
        "shapes": shapes,
    }
    args.out.mkdir(parents=True, exist_ok=True)
    (args.out / "bench_gpu.json").write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    (args.out / "bench_gpu.md").write_text(as_markdown(record), encoding="utf-8")
    print(as_markdown(record))
    return int(any(share < BAR for _, share in bars(record)))
