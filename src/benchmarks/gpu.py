"""``python -m genai_labs bench gpu``: training, evaluation and PPO on a GPU, at the shapes of FLAN-T5-base and -large.

Weights are random, since speed and memory do not depend on them; texts are those of the embedded world, or made-up
tokens of one length. What is measured is the package's own code: the loop of ``finetune``, ``generation.generate``,
``ppo.roll_out`` and ``ppo.learn``.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Sequence
from statistics import median
from typing import Any

import torch
from tqdm.auto import tqdm
from transformers import GenerationConfig, T5Config, T5ForConditionalGeneration, set_seed

from benchmarks import common
from benchmarks import ppo as bench_ppo
from benchmarks.flops import peak as matrix_peak
from benchmarks.flops import step_flops, synchronize
from benchmarks.on_paper import SHAPES, VOCABULARY, Shape
from benchmarks.training import Contender, Recipe
from benchmarks.verdict import interval_in_words, judge, verdict
from genai_labs.errors import LabError
from genai_labs.finetuning import memory
from genai_labs.finetuning.training import Plan
from genai_labs.inputs.helptext import plain
from genai_labs.loading import data, models, shortage
from genai_labs.loading.profiles import load_profile
from genai_labs.prompting import generation, prompts
from genai_labs.scoring import toxicity
from genai_labs.show.results import table
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
    set_seed(common.SEED)
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


def measure_steps(base: Any, plan: Plan, rounds: int, peak: float) -> dict[str, Any]:
    """Steps of the loop on rows of one length."""
    rows = common.made_up_rows(plan.batch_size, SOURCE, VOCABULARY, TARGET)
    tokenizer = models.load_tokenizer(load_profile("mini"))
    contender = Contender(Recipe(plan.method, plan), base, tokenizer)
    with tqdm(desc=f"{plan.method} training", unit="step") as bar:
        most = peak_memory(lambda: contender.run(rows, bar))  # which is the step to warm up, too
        done = [contender.run(rows, bar) for _ in range(rounds)]
    flops = step_flops(contender.model, plan.batch_size, SOURCE, TARGET)
    seconds = [each.seconds for each in done]
    return record_of(f"{plan.method} training", plan.batch_size * (SOURCE + TARGET), seconds, most, flops, peak)


def measure_writing(base: Any, batch_size: int, rounds: int, peak: float) -> dict[str, Any]:
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
    flops = step_flops(base.requires_grad_(True), len(asked), read, WRITTEN) // 3
    return record_of("evaluation", len(asked) * WRITTEN, seconds, most, flops, peak)


def measure_updates(base: Any, rounds: int) -> dict[str, Any]:
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
    synchronize()
    return time.perf_counter() - start


def record_of(
    work: str, tokens: int, seconds: Sequence[float], most: float, flops: int | None, peak: float | None
) -> dict[str, Any]:
    """What was measured of one work, in the units of the table. peak: GFLOP/s of a matrix product in bf16."""
    middle = median(seconds)
    shares = [] if flops is None or peak is None else [flops / each / 1e9 / peak for each in seconds]
    return {
        "work": work,
        "seconds": round(middle, 4),
        "rounds": [round(each, 4) for each in seconds],
        "tokens_per_second": round(tokens / middle),
        "peak_gb": round(most, 2),
        "shares_of_peak": [round(share, 4) for share in shares],
        "share_of_peak": round(median(shares), 4) if shares else None,
    }


def measure_shape(name: str, rounds: int, batch_size: int, peak: float) -> dict[str, Any]:
    """All works at one shape."""
    base = random_t5(BY_NAME[name])
    works = [
        measure_steps(base, Plan(batch_size=batch_size), rounds, peak),
        measure_steps(
            base, Plan(method="lora", batch_size=batch_size, rank=32, alpha=32, targets=("q", "v")), rounds, peak
        ),
        measure_writing(base, batch_size, rounds, peak),
        measure_updates(base, rounds),
    ]
    return {"shape": name, "parameters": models.count_parameters(base), "batch_size": batch_size, "works": works}


def gpu_page(record: dict[str, Any]) -> str:
    """The record as a table."""
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
        f"{common.provenance(record)}. Random weights. A training step reads rows of "
        f"{SOURCE} tokens with {TARGET} to write, in bf16 where the device has it; evaluation writes "
        f"{WRITTEN} tokens about each of as many dialogues of the embedded world, greedily; a PPO update takes "
        f"{ppo.batch_size} of them, {ppo.epochs} epochs. Medians of {record['rounds']} rounds. The peak is that of a "
        f"matrix product here, {record['peak']:,.0f} GFLOP/s; operations are counted as in `bench train`. The memory "
        "of training holds the base, which is left alone, beside its copy.",
        table(head, rows),
        *(
            f"Full training at {shape}'s shape reaches {bar['ratio']:.0%} of the peak "
            f"({interval_in_words(bar, '.0%')}); at least {BAR:.0%} is asked for: {verdict(bar)}."
            for shape, bar in full_training_bar(record)
        ),
    ]
    return "\n\n".join(parts) + "\n"


def full_training_bar(record: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    """The share of the peak that the bar is about, judged, if it was measured."""
    return [
        (result["shape"], judge(work["shares_of_peak"], BAR))
        for result in record["shapes"]
        for work in result["works"]
        if (result["shape"], work["work"]) == BAR_OF
    ]


def main(argv: Sequence[str] | None = None) -> int:
    """Measure; write ``results/bench_gpu.json`` and ``.md``; 1 if the bar is not met."""
    parser = argparse.ArgumentParser(prog="python -m genai_labs bench gpu", description=plain(__doc__))
    common.run_options(parser, "gpu")
    parser.add_argument("--shapes", nargs="+", choices=tuple(BY_NAME), default=["base", "large"], help="default: both")
    parser.add_argument("--batch-size", type=common.positive, help=f"rows a step (default: by shape, {BATCH})")
    args = parser.parse_args(argv)
    if best_device().type == "cpu" and set(args.shapes) != {"tiny"}:
        raise LabError(
            "There is no GPU here, and on a processor these shapes would take hours. Run this on a machine with one; "
            "`--shapes tiny` tries the command out anywhere."
        )
    peak = matrix_peak(torch.bfloat16 if has_bf16() else torch.float32, MATRIX[best_device().type])
    shapes = []
    with shortage.in_words("measuring", "Take a smaller --batch-size."):
        for name in args.shapes:
            shapes.append(measure_shape(name, args.rounds, args.batch_size or BATCH[name], peak))
    measured = {"peak": round(peak), "shapes": shapes}
    common.write_record(args, gpu_page, **measured)
    return int(any(not bar["met"] for _, bar in full_training_bar(measured)))
