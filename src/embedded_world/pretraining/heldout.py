"""Held-out scores of the embedded model, task by task, on combinations of slots that pre-training never saw."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

from transformers import PreTrainedTokenizerFast, T5ForConditionalGeneration

from embedded_world.corpus import tasks
from genai_labs.loading.lab_data import Example
from genai_labs.prompting.generation import generate
from genai_labs.scoring.metrics import rouge_scores

COUNT = 200
SPLIT = "validation"

TASKS: dict[str, Callable[[random.Random], Example]] = {
    "copy": lambda rng: tasks.copy_text(rng, SPLIT),
    "next turn": lambda rng: tasks.next_turn(rng, SPLIT),
    "summarize, no exemplar": lambda rng: tasks.summary_example(rng, SPLIT),
    "summarize, 1 exemplar": lambda rng: tasks.summarize_like(rng, 1, 0.1, SPLIT),
    "summarize, 2 exemplars": lambda rng: tasks.summarize_like(rng, 2, 0.1, SPLIT),
    "topic": lambda rng: tasks.topic(rng, SPLIT),
    "question": lambda rng: tasks.question(rng, SPLIT),
    "note question": lambda rng: tasks.note_question(rng, SPLIT),
    "sum": lambda rng: tasks.sums(rng, SPLIT),
    "word problem": lambda rng: tasks.word_problem(rng, SPLIT, worked=False),
    "word problem, worked": lambda rng: tasks.word_problem(rng, SPLIT, worked=True),
}


def score_held_out(model: T5ForConditionalGeneration, tokenizer: PreTrainedTokenizerFast) -> dict[str, dict[str, Any]]:
    """For each task, over 200 held-out examples: share answered exactly, and mean ROUGE-1 F (both 0 to 1)."""
    return {name: score_task(name, make, model, tokenizer) for name, make in TASKS.items()}


def score_task(
    name: str,
    make: Callable[[random.Random], Example],
    model: T5ForConditionalGeneration,
    tokenizer: PreTrainedTokenizerFast,
) -> dict[str, Any]:
    """Exact share and ROUGE-1 of one task; a worked problem counts as exact when its final answer is right."""
    rng = random.Random(f"heldout-{name}")
    examples = [make(rng) for _ in range(COUNT)]
    outputs = generate(model, tokenizer, [e.source for e in examples], progress=False)
    targets = [e.target for e in examples]
    exact = [final_answer(o) == final_answer(t) for o, t in zip(outputs, targets, strict=True)]
    return {
        "n": COUNT,
        "exact": round(sum(exact) / COUNT, 3),
        "rouge1": round(float(rouge_scores(outputs, targets).mean()), 3),
    }


def final_answer(text: str) -> str:
    """What follows "The answer is", or the whole text where nothing is worked out."""
    return text.rsplit("The answer is", 1)[-1].strip().rstrip(".")
