"""How well a model that reads does: scores on the test sets with intervals, and the weights that are scored."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file
from transformers import T5ForConditionalGeneration

from embedded_world.corpus import handwritten, reading_splits, tasks
from embedded_world.pretraining import model as models
from embedded_world.pretraining import tokenizer
from genai_labs.loading.data import Row, load_split
from genai_labs.paths import ROOT
from genai_labs.prompting import prompts
from genai_labs.prompting.generation import generate, greedy
from genai_labs.scoring.baselines import baselines
from genai_labs.scoring.content import content_f1, grounded
from genai_labs.scoring.intervals import paired_bootstrap
from genai_labs.scoring.metrics import rouge_scores
from genai_labs.scoring.truth import how_it_ended, who_did_what

NAMES = {"text": "t5-reader-pretrained", "polish": "t5-reader"}  # by the last phase of each
RESULTS = ROOT / "results" / "reader.json"
MOST_TOKENS = 100
# The shipped weights lie between those before and after the polish, this far along (Wortsman et al. 2022, "Robust
# fine-tuning of zero-shot models", https://arxiv.org/abs/2109.01903); of 0, .3, .5, .6, .7, .8 and 1 chosen on
# validation and development dialogues: reading by hand is kept, arithmetic comes back.
POLISHED = 0.6


def shipped_weights(work: Path, phase: str) -> dict[str, torch.Tensor]:
    """Weights after a phase, by name; those of the polish averaged with those before it, where they are kept."""
    weights = {name: weight.float() for name, weight in load_file(work / f"{phase}.safetensors").items()}
    before = work / "instructions.safetensors"
    if phase != "polish" or not before.exists():
        return weights
    earlier = load_file(before)
    return {name: torch.lerp(earlier[name].float(), weight, POLISHED) for name, weight in weights.items()}


def trained_model(
    work: Path, phase: str, vocabulary: int, shape: models.ModelShape = models.READS
) -> T5ForConditionalGeneration:
    """The model with the weights that are shipped of a phase, fp32."""
    made = models.new_model(vocabulary, tokenizer.WINDOW, 0, shape)
    weights = shipped_weights(work, phase)
    with torch.no_grad():
        for key, parameter in made.named_parameters():
            parameter.copy_(weights[key])
    return made


def sets() -> dict[str, tuple[list[Row], list[list[dict[str, Any]]] | None]]:
    """What the models are scored on: rows and, of composed dialogues, the records."""
    found: dict[str, tuple[list[Row], list[list[dict[str, Any]]] | None]] = {}
    for name, split in (("known", "test"), ("unseen", "unseen")):
        path = reading_splits.READING / f"truth_{split}.jsonl"
        truth = {t["id"]: t["told"] for t in map(json.loads, path.read_text(encoding="utf-8").splitlines())}
        rows = load_split(reading_splits.READING, split)
        found[name] = (rows, [truth[row.id] for row in rows])
    found["written by hand"] = ([Row(d.id, d.text, d.summaries, d.topic) for d in handwritten.written("test")], None)
    return found


def summaries(made: T5ForConditionalGeneration, words: Any, rows: Sequence[Row], shots: int = 1) -> list[str]:
    """The summary of each row, greedy, after ``shots`` exemplars of the train split."""
    exemplars = prompts.choose_exemplars(load_split(reading_splits.READING, "train"), shots, seed=0)
    asked = prompts.fit_all(lambda d: prompts.few_shot(d, exemplars), [row.dialogue for row in rows], words)
    return generate(made, words, asked, greedy(MOST_TOKENS))


def measure_reading(made: T5ForConditionalGeneration, words: Any, shots: int = 1) -> dict[str, Any]:
    """Scores of a model with intervals, beside the strongest baseline of each measure."""
    train = load_split(reading_splits.READING, "train")
    result: dict[str, Any] = {}
    for name, (rows, truth) in sets().items():
        written = summaries(made, words, rows, shots)
        others = baselines(rows, train)
        references, dialogues = [list(row.references) for row in rows], [row.dialogue for row in rows]
        table: dict[str, Any] = {"n": len(rows), "outputs": written[:12]}
        for measure_name, score in (("content F1", content_f1), ("ROUGE-1", rouge_scores)):
            own = score(written, references)
            beside = {each: score(texts, references) for each, texts in others.items()}
            best = max(beside, key=lambda each: float(beside[each].mean()))
            table[measure_name] = {
                "each": [round(float(x), 3) for x in own],
                "value": paired_bootstrap(own),
                "baselines": {each: round(float(scores.mean()), 3) for each, scores in beside.items()},
                "strongest": best,
                "above the strongest": paired_bootstrap(own, beside[best]),
                "above the fixed string": paired_bootstrap(own, beside["fixed string"]),
            }
        told = np.mean([grounded([each] * 1, [d]) for r, d in zip(references, dialogues, strict=True) for each in r])
        table["grounded"] = {
            "value": paired_bootstrap(grounded(written, dialogues)),
            "references": round(float(told), 3),
        }
        if truth is not None:
            table["who did what"] = {"value": paired_bootstrap(who_did_what(written, truth))}
            ends = how_it_ended(written, truth)
            table["how it ended"] = {"value": paired_bootstrap(ends[~np.isnan(ends)])}
        result[name] = table
    return result


def measure_word_problems(made: T5ForConditionalGeneration, words: Any, count: int = 300) -> dict[str, Any]:
    """Two-step problems with numbers never seen together, answered at once and step by step."""
    rng = random.Random("reader-problems")
    drawn: list[tuple[str, str, str]] = []
    while len(drawn) < count:
        problem = tasks.draw_problem(rng, "test")
        if problem[1].count("=") == 2:
            drawn.append(problem)
    right = {}
    for name, prompt in (("at once", prompts.PROBLEM_PROMPT), ("step by step", prompts.REASONING_PROMPT)):
        outputs = generate(made, words, [prompt.format(problem=p) for p, _, _ in drawn], greedy(80))
        last = [text.rstrip(".").split(" ")[-1] for text in outputs]
        right[name] = np.array([float(a == answer) for a, (_, _, answer) in zip(last, drawn, strict=True)])
    return {
        "n": count,
        **{name: paired_bootstrap(scores) for name, scores in right.items()},
        "difference": paired_bootstrap(right["step by step"], right["at once"]),
    }
