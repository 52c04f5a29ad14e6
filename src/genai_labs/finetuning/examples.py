"""From rows to what a training step reads: the instruction around each dialogue, token ids, masks and labels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from genai_labs.errors import LabError
from genai_labs.inputs import text
from genai_labs.inputs.arguments import as_list_of, as_whole_number
from genai_labs.loading.data import Row
from genai_labs.prompting import prompts
from genai_labs.prompting.generation import evaluating

MASKED = -100  # the label that torch's cross-entropy leaves out
FEWEST = 16
LONGEST_SUMMARY = 128  # tokens
LONGEST = 1_000_000  # tokens that can be asked for; the tokenizer's own bound is that of a processor's integers
# In training, widths are rounded up to a multiple. The libraries under torch prepare for each shape that they
# meet and remember it: with fewer shapes a run took a tenth less time and half the memory, for a little more padding.
MULTIPLES = (32, 8)

Feature = dict[str, list[int]]


def features(
    rows: Sequence[Row],
    tokenizer: PreTrainedTokenizerBase,
    instruction: str = prompts.DEFAULT_INSTRUCTION,
    longest_summary: int = LONGEST_SUMMARY,
) -> list[Feature]:
    """Each dialogue inside the instruction, with its first reference summary as labels; nothing is padded yet.

    Returns for each row ``input_ids`` and ``attention_mask`` of the prompt (at most the window, turns cut from the
    middle of the dialogue where it is longer) and ``labels``, the token ids of the summary with its end mark.
    Raises LabError for no rows, and where a summary leaves nothing to learn.
    """
    rows = as_list_of(Row, rows, "rows of a data set")
    if not rows:
        raise LabError(
            "There is nothing to train on: the data set is empty. Check that the split was read (and not filtered "
            "down to nothing), and pass at least a few hundred dialogues."
        )
    asked = prompts.fit_all(lambda d: prompts.zero_shot(d, instruction), [row.dialogue for row in rows], tokenizer)
    return encode_pairs(asked, [row.summary for row in rows], tokenizer, longest_summary)


def encode_pairs(
    sources: Sequence[str],
    targets: Sequence[str],
    tokenizer: PreTrainedTokenizerBase,
    longest_target: int = LONGEST_SUMMARY,
) -> list[Feature]:
    """Token ids of prompts and of the texts to be learned, cut to the window and to ``longest_target`` tokens.

    What the tokenizer does not know is replaced (:mod:`genai_labs.inputs.text`).
    """
    longest_target = min(as_whole_number(longest_target, "The number of tokens of the longest summary", 1), LONGEST)
    read = text.encode(sources, tokenizer, truncation=True, max_length=tokenizer.model_max_length)
    labels = text.encode(targets, tokenizer, truncation=True, max_length=longest_target)["input_ids"]
    for number, row in enumerate(labels):
        if not any(token != tokenizer.eos_token_id and token != MASKED for token in row):
            raise LabError(
                f"Example {number} has nothing to learn: all of its labels are masked or empty (its summary is "
                f"{targets[number][:40]!r}, cut to {longest_target} tokens). Remove the row, or let targets be longer."
            )
    pairs = zip(read["input_ids"], read["attention_mask"], labels, strict=True)
    return [{"input_ids": ids, "attention_mask": mask, "labels": row} for ids, mask, row in pairs]


def check_size(features: Sequence[Feature], batch_size: int, fewest: int = FEWEST) -> None:
    """Raise LabError for a data set with fewer than ``fewest`` examples, or smaller than a batch."""
    if len(features) < max(fewest, batch_size):
        why = "not one full batch" if len(features) < batch_size else "a model would learn these few by heart"
        raise LabError(
            f"The data set has {len(features)} examples, fewer than {max(fewest, batch_size)}: {why}. Pass more rows, "
            f"or a smaller batch size if you have at least {fewest}."
        )


def collate(
    rows: Sequence[Feature],
    pad: int,
    length: int | None = None,
    labels_length: int | None = None,
    mask: bool = True,
    multiples: tuple[int, int] = (1, 1),
) -> dict[str, Any]:
    """One padded batch of tensors, each [rows, longest], or of the width that ``length`` and ``labels_length`` say.

    ``multiples``: the longest is rounded up to a multiple, of inputs and of labels (see :data:`MULTIPLES`).

    Padded places get attention 0, and the label -100, which the loss leaves out. ``mask`` False puts the padding
    token there instead, the classic mistake: the model is then graded on padding.
    """
    widths = {"input_ids": length, "attention_mask": length, "labels": labels_length}

    def padded(name: str, value: int) -> torch.Tensor:
        multiple = multiples[name == "labels"]
        width = widths[name] or -(-max(len(row[name]) for row in rows) // multiple) * multiple
        return torch.tensor([row[name][:width] + [value] * (width - len(row[name])) for row in rows])

    return {
        "input_ids": padded("input_ids", pad),
        "attention_mask": padded("attention_mask", 0),
        "labels": padded("labels", MASKED if mask else pad),
    }


def losses(model: PreTrainedModel, rows: Sequence[Feature], pad: int, **padding: Any) -> NDArray[np.float64]:
    """The loss of each example, nats a token, shape [examples]; ``padding`` is passed on to :func:`collate`."""
    values = []
    with evaluating(model):
        for row in rows:
            batch = collate([row], pad, **padding)
            values.append(float(model(**{name: t.to(model.device) for name, t in batch.items()}).loss))
    return np.array(values)
