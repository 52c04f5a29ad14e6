"""The training loop: from rows to batches, from a batch to losses, from losses to a step, from steps to an epoch.

Matrix products are computed in bf16 where the hardware has it (fp16 never: T5 overflows in it), while the optimizer
moves weights in fp32, in which small steps are not rounded away (Micikevicius et al. 2018,
https://arxiv.org/abs/1710.03740). Each process reads its share of a batch; a token weighs the same wherever it is read.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from transformers.activations import NewGELUActivation

from genai_labs.finetuning.examples import MASKED, MULTIPLES, Feature, collate
from genai_labs.inputs import batches
from genai_labs.system import processes
from genai_labs.system.devices import best_device, has_bf16

Batch = dict[str, torch.Tensor]
MOST_NORM = 1.0  # of all gradients together; longer ones are shortened to it
# Tokens that a processor reads at a time, padding included. Attention makes tensors of rows x heads x tokens x tokens.
# From 32 MB on, the C library takes each of them from the system and gives it back, page by page, at every layer: 512
# tokens took five times as long as 256. On a GPU there is no such step.
MOST_TOKENS = 4096


def pieces(rows: Sequence[Feature], pad: int) -> Iterator[Batch]:
    """This process's share of a batch, padded, on the device, in pieces of similar size.

    A process without a row reads the last one with all labels masked, because all have to take part in every step.
    """
    mine = processes.share(rows) or [rows[-1] | {"labels": [MASKED] * len(rows[-1]["labels"])}]
    tokens = len(mine) * max(len(row["input_ids"]) for row in mine)
    count = math.ceil(tokens / MOST_TOKENS) if best_device().type == "cpu" else 1
    size = math.ceil(len(mine) / count)
    for start in range(0, len(mine), size):
        batch = collate(mine[start : start + size], pad, multiples=MULTIPLES)
        yield {name: tensor.to(best_device()) for name, tensor in batch.items()}


def token_losses(model: Any, batch: Batch) -> torch.Tensor:
    """Cross-entropy of each label that is not masked, in nats, shape [labels].

    The last layer multiplies with the whole vocabulary, so it is given only the places that have a label.
    """
    labels = batch["labels"]
    counted = labels != MASKED
    last = model.get_output_embeddings()
    hook = last.register_forward_pre_hook(lambda _, given: (given[0][counted],))
    begun = model.prepare_decoder_input_ids_from_labels(labels)
    try:
        logits = model(**batch | {"labels": None}, decoder_input_ids=begun, use_cache=False).logits
    finally:
        hook.remove()
    return torch.nn.functional.cross_entropy(logits.float(), labels[counted], reduction="none")


def rate_factor(step: int, steps: int, warmup: float) -> float:
    """Share of the learning rate at a step (from 0 on): up in the share ``warmup`` of all steps, then down to 0."""
    rising = min(math.ceil(steps * warmup), steps - 1)  # the last step of all, or the only one, does learn
    return step / rising if step < rising else (steps - step) / max(1, steps - rising)


def step(
    losses: Iterable[torch.Tensor],
    weights: Sequence[torch.Tensor],
    optimizers: Iterable[torch.optim.Optimizer],
    factor: float,
) -> float:
    """One step of the optimizers that lowers the sum of the losses, over all processes; returns that sum.

    losses: each is computed when the gradients of the one before are there, so that activations of one at a time are
    kept. weights: those to be moved. factor: share of each group's ``initial_lr``. Nothing is moved where the sum is
    not a number.
    """
    mine = 0.0
    for loss in losses:
        loss.backward()
        mine += float(loss.detach())
    total = over_processes(mine)
    if not math.isfinite(total):
        return total
    processes.sum_gradients(weights)
    torch.nn.utils.clip_grad_norm_(weights, MOST_NORM)
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group["lr"] = factor * group.setdefault("initial_lr", group["lr"])
        optimizer.step()
    return total


class Weights:
    """The trained weights of a model in fp32, which optimizers move, and the copies in bf16 that it computes with.

    A copy is made when a weight was moved, and of frozen weights once; autocast would make it at every step. A
    gradient is added up in fp32 and its bf16 form is freed at once. What looks numbers up in a table stays in fp32,
    since a token's gradients are many small numbers to be added up, and gives out bf16.
    """

    def __init__(self, model: torch.nn.Module, dtype: torch.dtype | None = None) -> None:
        self.trained = [weight for weight in model.parameters() if weight.requires_grad]
        self.gradients = 0  # bytes that they took at most
        self.dtype = dtype or (torch.bfloat16 if has_bf16() else torch.float32)
        self.places = [
            (module, name, weight, torch.nn.Parameter(weight.detach().to(self.dtype), weight.requires_grad))
            for module in model.modules()
            for name, weight in module.named_parameters(recurse=False)
            if weight.dtype == torch.float32 != self.dtype and not isinstance(module, torch.nn.Embedding)
        ]
        self.tables = [module for module in model.modules() if isinstance(module, torch.nn.Embedding)]
        self.gelus = [each for each in model.modules() if isinstance(getattr(each, "act", None), NewGELUActivation)]

    @contextmanager
    def in_use(self) -> Iterator[None]:
        """Inside, the model computes with the copies; afterwards it has the weights in fp32 again."""
        hooks: list[Any] = [table.register_forward_hook(self._given_out) for table in self.tables]
        written_out: list[Any] = [module.act for module in self.gelus]
        for module in self.gelus:
            module.act = torch.nn.GELU("tanh")  # the same function in one pass instead of eight
        for module, name, weight, copied in self.places:
            setattr(module, name, copied)
            if weight.requires_grad:
                hooks.append(copied.register_post_accumulate_grad_hook(partial(_pass_on, weight)))
        try:
            yield
        finally:
            for module, name, weight, _ in self.places:
                setattr(module, name, weight)
            for module, act in zip(self.gelus, written_out, strict=True):
                module.act = act
            for hook in hooks:
                hook.remove()

    def _given_out(self, _: object, __: object, found: torch.Tensor) -> torch.Tensor:
        return found.to(self.dtype) if found.dtype == torch.float32 else found  # a base may be stored in bf16

    def refresh(self) -> None:
        """Make the copies anew of the weights that were moved, and forget the gradients."""
        self.gradients = max(self.gradients, sum(w.grad.nbytes for w in self.trained if w.grad is not None))
        with torch.no_grad():
            for _, _, weight, copied in self.places:
                if weight.requires_grad:
                    copied.copy_(weight)
        for weight in self.trained:
            weight.grad = None


def _pass_on(weight: torch.Tensor, copied: torch.Tensor) -> None:
    """Add the gradient of a copy to that of its weight."""
    assert copied.grad is not None
    weight.grad = copied.grad.float() if weight.grad is None else weight.grad + copied.grad
    copied.grad = None


def train_step(
    model: Any, weights: Weights, optimizer: torch.optim.Optimizer, rows: Sequence[Feature], pad: int, factor: float
) -> float:
    """One step on a batch of rows, which lowers the mean loss of its tokens; returns that mean, in nats."""
    tokens = count_tokens(rows)
    losses = (token_losses(model, batch).sum() / tokens for batch in pieces(rows, pad))
    mean = step(losses, weights.trained, [optimizer], factor)
    weights.refresh()
    return mean


def count_tokens(rows: Sequence[Feature]) -> int:
    """Labels that are not masked."""
    return sum(label != MASKED for row in rows for label in row["labels"])


def over_processes(part: float) -> float:
    """The sum over all processes."""
    return float(processes.total(torch.tensor(part, device=best_device())))


def mean_loss(model: Any, rows: Sequence[Feature], size: int, pad: int) -> float:
    """The mean loss of all tokens of the rows, in nats, read in batches of ``size`` rows by length."""
    model.eval()
    total = 0.0
    with torch.inference_mode():
        for places in batches.by_length([row["input_ids"] for row in rows], size):
            for batch in pieces([rows[place] for place in places], pad):
                total += float(token_losses(model, batch).sum())
    return over_processes(total) / count_tokens(rows)
