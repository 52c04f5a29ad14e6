"""From the task mixture to padded batches, deterministic by seed and resumable at any batch."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from transformers import PreTrainedTokenizerFast

from embedded_world.corpus.tasks import Example, sample_example
from genai_labs.finetuning.examples import collate

POOL = 1024  # examples drawn at a time, sorted by length, cut into batches, shuffled
ACCUMULATE = 4  # batches an optimizer step


@dataclass(frozen=True)
class Batch:
    """``input_ids``, ``attention_mask`` [examples, source length]; ``labels`` [examples, target length], or -100."""

    input_ids: torch.Tensor
    attention_mask: torch.Tensor
    labels: torch.Tensor
    tasks: tuple[str, ...]


def padded(examples: Sequence[Example], sources: Sequence[list[int]], targets: Sequence[list[int]]) -> Batch:
    """One padded batch; padded positions are left out of the attention and of the loss."""
    rows = [
        {"input_ids": source, "attention_mask": [1] * len(source), "labels": target}
        for source, target in zip(sources, targets, strict=True)
    ]
    return Batch(**collate(rows, pad=0), tasks=tuple(e.task for e in examples))


def pool_of_steps(
    stage: int, number: int, seed: int, tokenizer: PreTrainedTokenizerFast, tokens: int, long_prompts: bool
) -> list[list[Batch]]:
    """The ``number``-th pool of a stage: 1,024 examples of the mixture, as optimizer steps of four batches each.

    Sorting by length keeps padding small but makes batches of one kind (all copying, all long prompts); a step that
    saw only one kind would undo what the last one learned. So each step accumulates four batches of any lengths, each
    of about a quarter of ``tokens`` source tokens.
    """
    rng = random.Random(f"pretraining-{seed}-{stage}-{number}")
    examples = [sample_example(stage, rng, long_prompts) for _ in range(POOL)]
    sources = tokenizer([e.source for e in examples])["input_ids"]
    targets = tokenizer([e.target for e in examples])["input_ids"]
    fitting = [i for i in range(POOL) if len(sources[i]) <= tokenizer.model_max_length]
    order = sorted(fitting, key=lambda i: len(sources[i]))
    batches = [
        padded([examples[i] for i in group], [sources[i] for i in group], [targets[i] for i in group])
        for group in _of_one_length(order, [len(s) for s in sources], tokens // ACCUMULATE)
    ]
    rng.shuffle(batches)
    return [batches[i : i + ACCUMULATE] for i in range(0, len(batches), ACCUMULATE)]


def _of_one_length(order: Sequence[int], lengths: Sequence[int], tokens: int, most: int = 64) -> Iterator[list[int]]:
    group: list[int] = []
    for i in order:
        if group and ((len(group) + 1) * lengths[i] > tokens or len(group) == most):
            yield group
            group = []
        group.append(i)
    if group:
        yield group
