"""From the task mixture to padded batches, deterministic by seed and resumable at any batch."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from transformers import PreTrainedTokenizerFast

from embedded_world.corpus.tasks import Example, sample

POOL = 1024  # examples drawn at a time, sorted by length, cut into batches, shuffled
ACCUMULATE = 4  # batches an optimizer step
MASKED = -100


@dataclass(frozen=True)
class Batch:
    """``input_ids``, ``attention_mask`` [examples, source length]; ``labels`` [examples, target length], or -100."""

    input_ids: torch.Tensor
    attention_mask: torch.Tensor
    labels: torch.Tensor
    tasks: tuple[str, ...]


def pad(rows: Sequence[Sequence[int]], value: int) -> torch.Tensor:
    """Rows of token ids as one [rows, longest] tensor."""
    longest = max(map(len, rows))
    return torch.tensor([list(row) + [value] * (longest - len(row)) for row in rows])


def collate(examples: Sequence[Example], sources: Sequence[Sequence[int]], targets: Sequence[Sequence[int]]) -> Batch:
    """One padded batch; padded positions are left out of the attention and of the loss."""
    input_ids = pad(sources, 0)
    lengths = torch.tensor([len(s) for s in sources])
    attention_mask = (torch.arange(input_ids.shape[1])[None] < lengths[:, None]).long()
    return Batch(input_ids, attention_mask, pad(targets, MASKED), tuple(e.task for e in examples))


def pool_of_steps(
    stage: int, number: int, seed: int, tokenizer: PreTrainedTokenizerFast, tokens: int, long_prompts: bool
) -> list[list[Batch]]:
    """The ``number``-th pool of a stage: 1,024 examples of the mixture, as optimizer steps of four batches each.

    Sorting by length keeps padding small but makes batches of one kind (all copying, all long prompts); a step that
    saw only one kind would undo what the last one learned. So each step accumulates four batches of any lengths, each
    of about a quarter of ``tokens`` source tokens.
    """
    rng = random.Random(f"pretraining-{seed}-{stage}-{number}")
    examples = [sample(stage, rng, long_prompts) for _ in range(POOL)]
    sources = tokenizer([e.source for e in examples])["input_ids"]
    targets = tokenizer([e.target for e in examples])["input_ids"]
    fitting = [i for i in range(POOL) if len(sources[i]) <= tokenizer.model_max_length]
    order = sorted(fitting, key=lambda i: len(sources[i]))
    batches = [
        collate([examples[i] for i in group], [sources[i] for i in group], [targets[i] for i in group])
        for group in _groups(order, [len(s) for s in sources], tokens // ACCUMULATE)
    ]
    rng.shuffle(batches)
    return [batches[i : i + ACCUMULATE] for i in range(0, len(batches), ACCUMULATE)]


def _groups(order: Sequence[int], lengths: Sequence[int], tokens: int, most: int = 64) -> Iterator[list[int]]:
    group: list[int] = []
    for i in order:
        if group and ((len(group) + 1) * lengths[i] > tokens or len(group) == most):
            yield group
            group = []
        group.append(i)
    if group:
        yield group
