"""Checks of Lab 2's exercises: what a learner wrote is compared with torch, transformers and peft, on several inputs.

For each usual mistake the check computes what it would have given on the same inputs, and names it where that fits.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NoReturn

import numpy as np
import torch
from torch.nn.functional import cross_entropy
from transformers.models.bart.modeling_bart import shift_tokens_right

from genai_labs.finetuning.examples import MASKED
from genai_labs.finetuning.lora_exercises import (
    check_adapter,
    check_lora_count,
    check_lora_linear,
    check_merging,
    recognise,
)
from genai_labs.finetuning.training_exercises import check_mixture, check_step
from genai_labs.show.checking import answered, numbers, tell, what_it_changes, wrong

END = 1  # the id of </s> in T5's vocabulary
LENGTHS = ((12, 7, 4, 9, 2), (3, 5, 3, 6, 6))  # of the summaries in two batches, </s> included
SOURCES = ((5, 12, 8, 10, 3), (6, 4, 2, 6, 5))  # of their prompts
IN_BITS = float(np.log(2))


@tell("labels", "Begin with a copy of the summaries, and find out at which places the padding stands.")
def check_labels(answer: Any) -> str:
    """Whether answer(batch, pad) makes the labels of a padded batch: its "targets", and -100 where they are padding.

    batch holds "input_ids" and "attention_mask" of the prompts and "targets", the summaries with </s>, each a tensor
    [rows, longest]. Two batches are tried, the second with another padding token than 0.
    """
    left_out = total = 0
    for number, pad in enumerate((0, 9)):
        batch = _padded_batch(number, pad)
        targets = batch["targets"].numpy()
        padding = targets == pad
        got = numbers(answered(answer, batch, pad), targets.shape, "the labels")
        right = np.where(padding, MASKED, targets)
        left_out, total = left_out + padding.sum(), total + padding.size
        if not np.array_equal(got, right):
            recognise(got, _mistaken_labels(batch, padding, pad))
            _first_difference(got, right, "labels", f"Compare that place with the summary's tokens; padding is {pad}.")
    note = what_it_changes(answer, "batch", batch, pad)
    return f"{total} labels in 2 batches, {left_out} of them left out{note}"


def _padded_batch(number: int, pad: int) -> dict[str, torch.Tensor]:
    rng = np.random.default_rng(number)

    def padded(lengths: Sequence[int], end: Sequence[int]) -> torch.Tensor:
        rows = [[*rng.integers(20, 100, length - 1).tolist(), *end] for length in lengths]
        width = max(max(LENGTHS[number]), max(SOURCES[number]))
        return torch.tensor([row + [pad] * (width - len(row)) for row in rows])

    read, targets = padded(SOURCES[number], [END]), padded(LENGTHS[number], [END])
    return {"input_ids": read, "attention_mask": (read != pad).long(), "targets": targets}


def _mistaken_labels(batch: Mapping[str, torch.Tensor], padding: Any, pad: int) -> dict[str, Any]:
    targets, source = batch["targets"].numpy(), batch["input_ids"].numpy()
    read = batch["attention_mask"].numpy() == 1
    size, real = padding.size, int((~padding).sum())
    kept = f"{size} of {size} positions count, and only {real} hold a summary's token"
    return {
        f"you left the padding in the labels (here the token {pad}): {kept}. Which number does the loss "
        "leave out?": targets,
        f"the padding is 0 now, which is a token like any other: {kept}. Which number does the "
        "loss leave out?": np.where(padding, 0, targets),
        f"the mask is on the wrong side: the padding counts ({int(padding.sum())} positions), and the {real} tokens of "
        "the summaries are left out. Which places should the loss not see?": np.where(padding, targets, MASKED),
        f"you left out </s>, too: {real - len(targets)} positions count instead of {real}. How is the model to "
        "learn where a summary ends?": np.where(padding | (targets == END), MASKED, targets),
        "you used the attention mask of the prompts: it says where the prompt is padded, not the "
        f"summary, and {int((padding & read).sum())} places of padding count. Where is the padding "
        "of the targets?": np.where(read, targets, MASKED),
        "these are the tokens of the prompts. What is the decoder to write?": np.where(read, source, MASKED),
        "every position is left out, so that nothing is learned. Which places should count?": np.full_like(
            targets, MASKED
        ),
        "this is a mask, ones and zeros, and labels are token ids. What do you do with the mask?": ~padding,
        "this is a mask of the padding, and labels are token ids. What do you do with the mask?": padding,
    }


def _first_difference(got: Any, right: Any, what: str, look: str) -> NoReturn:
    """Say how many numbers are not right, and which is the first."""
    places = np.argwhere(got != right)
    row, place = places[0].tolist()
    first = f"the first is {got[row, place]:g} in row {row + 1}, place {place + 1}"
    wrong(f"{len(places)} of {got.size} {what} are not right; {first}. {look}")


@tell("decoder's input", "Begin with a tensor of the labels' shape, and put the start token into its first column.")
def check_decoder_input(answer: Any) -> str:
    """Whether answer(labels, start, pad) is what the decoder reads in training, as transformers makes it.

    labels: tensor [rows, longest] with -100 for padding. The right result is ``shift_tokens_right`` of transformers.
    """
    for number, (start, pad) in enumerate(((0, 0), (7, 3))):
        targets = _padded_batch(number, 9)["targets"]
        labels = torch.where(targets == 9, MASKED, targets)
        right = shift_tokens_right(labels, pad, start).numpy()
        got = numbers(answered(answer, labels, start, pad), None, "the decoder's input")
        recognise(got, {} if np.array_equal(got, right) else _mistaken_inputs(labels.numpy(), right, start, pad))
        got = numbers(got, right.shape, "the decoder's input")
        if not np.array_equal(got, right):
            _first_difference(got, right, "tokens", f"The start token is {start} and padding is {pad} there.")
    return f"2 batches of {len(right)} rows, token by token the same as transformers makes them"


def _mistaken_inputs(labels: Any, right: Any, start: int, pad: int) -> dict[str, Any]:
    filled = np.where(labels == MASKED, pad, labels)
    first, padding = np.full((len(labels), 1), start), np.full((len(labels), 1), pad)
    masked = np.concatenate([first, labels[:, :-1]], 1)
    rolled = np.roll(filled, 1, 1)
    ahead = (
        "nothing is shifted: at each place the decoder reads the very token that it is to write there. What may it "
        "have read when it writes the first one?"
    )
    ended = f"the shape is {(len(labels), labels.shape[1] + 1)}, one token a row too many: the last one is still there."
    to_left = (
        "shifted left: at each place the decoder reads the token after the one it is to write. Which token comes "
        "before the first?"
    )
    return {
        ahead: filled,
        f"nothing is shifted, and {int((labels == MASKED).sum())} times -100 is left. What may the decoder have read "
        "when it writes the first token?": labels,
        to_left: np.concatenate([filled[:, 1:], padding], 1),
        f"{to_left} And -100 is left in.": np.concatenate([labels[:, 1:], np.full_like(first, MASKED)], 1),
        f"{to_left} And the first one came back at the end.": np.roll(filled, -1, 1),
        f"-100 is left in at {int((masked == MASKED).sum())} places: no token has that number, and the embedding "
        "cannot look it up. What stands for padding in an input?": masked,
        f"{ended} Does the decoder have to read what nothing is written after?": np.concatenate([first, filled], 1),
        f"{ended} And -100 is left in.": np.concatenate([first, labels], 1),
        "the last token of each row came back at its front. Which token does every row start with?": rolled,
        f"the rows start with padding ({pad}), not with the start token ({start}).": np.concatenate(
            [padding, filled[:, :-1]], 1
        ),
        "the start token took the place of the first label instead of going before it.": np.concatenate(
            [first, filled[:, 1:]], 1
        ),
        f"the start token ({start}) stands for the padding, too. Which number is padding?": np.where(
            masked == MASKED, start, masked
        ),
    }


@tell("loss", "Begin with the logarithm of the softmax over the vocabulary, the last dimension.")
def check_cross_entropy(answer: Any) -> str:
    """Whether answer(logits, labels) is the mean cross-entropy of the labels that count, in nats a token.

    logits: [rows, places, vocabulary]; labels: [rows, places], -100 where none counts. Four batches, the last with
    logits of some hundreds; torch's ``cross_entropy`` is the authority, to 1e-4 of its value.
    """
    losses = []
    for number, size in enumerate((1, 1, 3, 200)):
        logits, labels = _logits_and_labels(number, size)
        right = float(cross_entropy(logits.flatten(0, 1), labels.flatten()))
        got = numbers(answered(answer, logits, labels), None, "the loss")
        if got.size in (labels.numel(), int((labels != MASKED).sum())):
            wrong(f"you gave {got.size} losses, one a place. The loss is one number: which mean of them is it?")
        loss = float(numbers(got.squeeze(), (), "the loss"))
        if not np.isfinite(loss):
            wrong(
                f"the loss is {loss} for logits of some hundreds: a softmax rounds to 0. Is there a function for both?"
            )
        if abs(loss - right) > 1e-4 * right:
            recognise(np.array(loss), _mistaken_losses(logits, labels, loss), 1e-4 * abs(loss))
            wrong(f"the loss is {loss:.4f} and torch says {right:.4f}. Which places count, and what is added up there?")
        losses.append(loss)
    return f"{len(losses)} batches, as torch's cross_entropy says, from {min(losses):.2f} to {max(losses):.0f} nats"


def _logits_and_labels(number: int, size: float) -> tuple[torch.Tensor, torch.Tensor]:
    draw = torch.Generator().manual_seed(number)
    labels = torch.randint(2, 130, (4, 6), generator=draw)
    for row, length in enumerate(((6, 2, 4, 1), (5, 6, 3, 0), (2, 6, 6, 3), (1, 4, 6, 2))[number]):
        labels[row, length:] = MASKED
    return size * torch.randn(4, 6, 130, generator=draw), labels


@np.errstate(all="ignore")  # a row may have no label at all, and a perplexity be too large for fp32
def _mistaken_losses(logits: torch.Tensor, labels: torch.Tensor, loss: float) -> dict[str, Any]:
    def mean(logits: torch.Tensor, labels: torch.Tensor, reduction: str = "mean") -> Any:
        return cross_entropy(logits.flatten(0, 1), labels.flatten(), reduction=reduction).numpy()

    count, size, right = int((labels != MASKED).sum()), labels.numel(), mean(logits, labels)
    each = mean(logits, labels, "none").reshape(labels.shape)
    here = f"{loss:.3f} is"
    rows = np.array([row.sum() / (there != MASKED).sum() for row, there in zip(each, labels.numpy(), strict=True)])
    counts, chances = labels != MASKED, np.exp(-each[labels.numpy() != MASKED].astype(float))
    look = "Is there a function for softmax and logarithm?"
    floors = {
        f"{here} what {floor:g}, added to each probability, makes of it. {look}": -np.log(chances + floor).mean()
        for floor in 10.0 ** -np.arange(4, 21)
    }
    return floors | {
        f"{here} the sum over the {count} labels that count. A loss per token is a mean.": right * count,
        f"{here} the mean over all {size} places; only {count} of them count. By what is the sum divided?": right
        * (count / size),
        f"{here} the mean of the rows' means: a token of a short row counts more than one of a long row.": np.nanmean(
            rows
        ),
        f"{here} the mean over {len(rows)} rows, not over the {count} tokens.": right * count / len(rows),
        f"{here} what a softmax over the places gives. Which dimension is the vocabulary?": (
            -logits.log_softmax(1)[counts].gather(1, labels[counts][:, None]).mean().numpy()
        ),
        f"{here} the mean over {count} times {count} pairs of a place and a label. Which label has each place?": (
            -logits[counts].log_softmax(-1)[:, labels[counts]].mean().numpy()
        ),
        f"{here} in bits (log2). Which logarithm makes nats?": right / IN_BITS,
        f"{here} what a softmax of a softmax gives. Does the function that you use take logits or probabilities?": mean(
            logits.softmax(-1), labels
        ),
        f"{here} right but for its sign. Is a logarithm of a probability above or below 0?": -right,
        f"{here} the perplexity, the exponential of the loss.": np.exp(right),
        f"you graded the {size - count} masked places, too, as if token 0 were right there.": mean(
            logits, labels.clamp(min=0)
        ),
        f"you graded the {size - count} masked places, too: -100 is read as an index from the end.": mean(
            logits, labels % logits.shape[-1]
        ),
    }
