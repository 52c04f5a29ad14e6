"""``python -m genai_labs bench eval``: summaries a second in evaluation, ours against the recipe of the peers' labs.

The peers' labs give the model one dialogue at a time. Ours sorts dialogues by length, reads a few and writes about many
at a time. Model, prompts, precision and number of tokens are the same, and they are measured in turn.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median
from typing import Any

import torch
from tqdm.auto import tqdm
from transformers import GenerationConfig, set_seed

from benchmarks import alone, common
from benchmarks.flops import peaks
from benchmarks.verdict import interval_in_words, judge, verdict
from genai_labs.inputs.helptext import plain
from genai_labs.loading.models import count_parameters
from genai_labs.prompting import generation, prompts
from genai_labs.show.results import table

TOKENS = 60  # of each summary: all are written to that length, since random weights never come to an end
PEERS, OURS = "peers", "ours"
DIALOGUES = {PEERS: 8, OURS: 80}  # in a round; the peers' share is a part of ours, of every length
BARS = {"mini": 3.0, "flan-small": 2.5}  # how many times as fast ours is to be


def one_by_one(model: Any, tokenizer: Any, asked: Sequence[str]) -> None:
    """The peers' recipe: a dialogue at a time."""
    config = generation.complete(fixed_length(), model)
    for prompt in asked:
        ids = tokenizer(prompt, return_tensors="pt", truncation=True, max_length=tokenizer.model_max_length)
        with torch.no_grad():
            made = model.generate(input_ids=ids["input_ids"], generation_config=config)
        tokenizer.decode(made[0], skip_special_tokens=True)


def in_batches(model: Any, tokenizer: Any, asked: Sequence[str]) -> None:
    """The package's own way."""
    generation.generate(model, tokenizer, asked, fixed_length(), progress=False)


HEAD = ("model", "recipe", "summaries/s", "from to", "time for reading")
RECIPES: dict[str, Callable[[Any, Any, Sequence[str]], None]] = {PEERS: one_by_one, OURS: in_batches}


def fixed_length() -> GenerationConfig:
    """Greedy decoding of exactly TOKENS tokens."""
    return GenerationConfig(do_sample=False, max_new_tokens=TOKENS, min_new_tokens=TOKENS)


class Clock:
    """Seconds that a module has taken since they were last set to 0."""

    def __init__(self, module: Any) -> None:
        self.seconds, self.started = 0.0, 0.0
        module.register_forward_pre_hook(self.start)
        module.register_forward_hook(self.stop)

    def start(self, *_: Any) -> None:
        self.started = time.perf_counter()

    def stop(self, *_: Any) -> None:
        self.seconds += time.perf_counter() - self.started


def model_and_prompts(name: str, shared: Path) -> tuple[Any, Any, dict[str, list[str]]]:
    """Model, tokenizer, and the prompts of each recipe."""
    set_seed(common.SEED)
    model, tokenizer, rows = common.model_and_dialogues(name, shared)
    asked = prompts.fit_all(prompts.zero_shot, [row.dialogue for row in rows[: DIALOGUES[OURS]]], tokenizer)
    by_length = sorted(asked, key=len)
    chosen = {recipe: by_length[:: len(asked) // count][:count] for recipe, count in DIALOGUES.items()}
    return model.eval(), tokenizer, chosen


def one_evaluation(recipe: str, name: str, shared: Path) -> str:
    """What is to be known of one evaluation in a process of its own (:mod:`benchmarks.alone`)."""
    model, tokenizer, chosen = model_and_prompts(name, shared)
    return alone.answer(lambda: RECIPES[recipe](model, tokenizer, chosen[recipe]))


def measure_evaluation(name: str, shared: Path, rounds: int) -> dict[str, Any]:
    """Both recipes in turn on the same dialogues, once each to warm up; medians and ratio."""
    model, tokenizer, chosen = model_and_prompts(name, shared)
    rates: dict[str, list[float]] = {recipe: [] for recipe in RECIPES}
    reading: dict[str, list[float]] = {recipe: [] for recipe in RECIPES}
    clock = Clock(model.get_encoder())
    with tqdm(total=(rounds + 1) * len(RECIPES), desc=name, unit="round") as bar:
        for number in range(rounds + 1):
            for recipe, run in RECIPES.items():
                clock.seconds, start = 0.0, time.perf_counter()
                run(model, tokenizer, chosen[recipe])
                seconds = time.perf_counter() - start
                if number:
                    rates[recipe].append(len(chosen[recipe]) / seconds)
                    reading[recipe].append(clock.seconds / seconds)
                bar.update()
    ratios = [ours / peers for ours, peers in zip(rates[OURS], rates[PEERS], strict=True)]
    apart = {recipe: alone.ask("eval", recipe, name, shared) for recipe in RECIPES}
    return {
        "model": name,
        "parameters": count_parameters(model),
        "reading": {recipe: round(median(each), 4) for recipe, each in reading.items()},
        "peak_mb": {recipe: apart[recipe]["peak_mb"] for recipe in RECIPES},
        "share_of_peak": {
            recipe: round(apart[recipe]["gflop"] / len(chosen[recipe]) * median(rates[recipe]) / peaks()["fp32"], 4)
            for recipe in RECIPES
        },
        "rates": {recipe: [round(rate, 3) for rate in each] for recipe, each in rates.items()},
        "ratios": [round(ratio, 3) for ratio in ratios],
        **judge(ratios, BARS[name], digits=3),
    }


def evaluation_page(record: dict[str, Any]) -> str:
    """The record as a table."""
    rows = [
        (
            r["model"],
            recipe,
            f"{median(rates):.2f}",
            f"{min(rates):.2f} to {max(rates):.2f}",
            f"{r['reading'][recipe]:.0%}",
            r["peak_mb"][recipe],
            f"{r['share_of_peak'][recipe]:.1%}",
        )
        for r in record["models"]
        for recipe, rates in r["rates"].items()
    ]
    verdicts = [
        f"{r['model']}: ours is {r['ratio']:.1f} times as fast ({interval_in_words(r)}); at least {r['at_least']:g} "
        f"is asked for: {verdict(r)}."
        for r in record["models"]
    ]
    parts = [
        "# Summaries a second in evaluation",
        f"{common.provenance(record)}. Greedy, {TOKENS} tokens each, fp32; "
        f"{DIALOGUES[PEERS]} dialogues one by one against {DIALOGUES[OURS]} of ours, whose lengths they share. Medians "
        f"of {record['rounds']} rounds, in each of which the recipes took turns.",
        *record["skipped"],
        table((*HEAD, "memory at most (MB)", "of the peak"), rows),
        *verdicts,
    ]
    return "\n\n".join(parts) + "\n"


def main(argv: Sequence[str] | None = None) -> int:
    """Measure; write ``results/bench_eval.json`` and ``.md``; 1 if a bar is not met or no model could be measured."""
    parser = argparse.ArgumentParser(prog="python -m genai_labs bench eval", description=plain(__doc__))
    common.run_options(parser, "eval")
    common.model_options(parser)
    parser.add_argument("--alone", choices=tuple(RECIPES), help=argparse.SUPPRESS)
    args = parser.parse_args(argv)
    if args.alone:
        print(one_evaluation(args.alone, args.models[0], args.shared))
        return 0
    able = [name for name in args.models if not common.why_not(name, args.shared)]
    results = [measure_evaluation(name, args.shared, args.rounds) for name in able]
    return common.write_results(args, results, evaluation_page)
