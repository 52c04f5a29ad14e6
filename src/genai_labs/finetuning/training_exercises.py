"""Checks of two exercises of Lab 2: one training step, and a mixture with old examples in it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any, NoReturn

import torch
from transformers import T5Config, T5ForConditionalGeneration

from genai_labs.finetuning.lora_exercises import fixed_draws
from genai_labs.show.checking import Empty, answered, numbers, tell, what_it_changes, wrong

RATE = 0.25  # the learning rate


@tell("training step", "Begin with the loss, model(**batch).loss, and let it find the gradients: loss.backward().")
def check_step(answer: Any) -> str:
    """Whether answer(model, batch, learning_rate, max_norm) does a step of SGD with clipping and returns the loss.

    Two steps on a T5 of some thousand random weights, with gradients that are clipped and with shorter ones, beside
    torch's ``clip_grad_norm_`` and ``SGD``: the way that the weights went may be off by a thousandth of its length.
    """
    for max_norm in (0.1, 20.0):
        model, batches = _small_t5(), [_t5_batch(number) for number in (0, 1)]
        start, losses, ways = _flat(model), [], []
        for batch in batches:
            try:
                losses.append(answered(answer, model, batch, RATE, max_norm))
            except Empty:
                if not torch.equal(_flat(model), start):
                    wrong("the weights have moved, but the function gives back nothing. Return the loss.")
                raise
            ways.append(_flat(model) - start)
        right_losses, right = _sgd_steps(batches, max_norm)
        if any(_differ(way, other) for way, other in zip(ways, right, strict=True)):
            _name_step(ways, right, batches, max_norm)
        for loss, other in zip(losses, right_losses, strict=True):
            if abs(float(numbers(loss, (), "the loss")) - other) > 1e-4:
                wrong(f"the weights are right, but the loss of that batch before the step is {other:.4f}. Return it.")
    return f"2 times 2 steps of {len(start):,} weights, as torch's SGD and clip_grad_norm_ do them"


def _small_t5() -> Any:
    config = T5Config(
        vocab_size=40,
        d_model=16,
        d_kv=8,
        d_ff=16,
        num_layers=1,
        num_heads=2,
        dropout_rate=0.0,
        decoder_start_token_id=0,
    )
    with fixed_draws(0):
        return T5ForConditionalGeneration(config)


def _t5_batch(number: int) -> dict[str, torch.Tensor]:
    draw = torch.Generator().manual_seed(number)
    ids = torch.randint(2, 40, (2, 3, 6), generator=draw)
    return {"input_ids": ids[0], "attention_mask": torch.ones_like(ids[0]), "labels": ids[1]}


def _flat(model: Any) -> torch.Tensor:
    return torch.cat([weight.detach().flatten() for weight in model.parameters()]).clone()


def _differ(way: torch.Tensor, other: torch.Tensor) -> bool:
    return not bool((way - other).norm() <= 1e-3 * other.norm() + 1e-6)  # NaN differs, too


def _sgd_steps(
    batches: Sequence[Mapping[str, torch.Tensor]], max_norm: float, rate: float = RATE, clip: str = "all", **how: bool
) -> tuple[list[float], list[torch.Tensor]]:
    """The losses, and the way from the start after each step. how: ``add``, gradients are not cleared; ``maximize``."""
    model = _small_t5()
    start, losses, ways = _flat(model), [], []
    optimizer = torch.optim.SGD(model.parameters(), rate, maximize=how.get("maximize", False))
    for batch in batches:
        if not how.get("add"):
            optimizer.zero_grad()
        loss = model(**batch).loss
        loss.backward()
        _clip_as(model, max_norm, clip)
        optimizer.step()
        losses.append(float(loss.detach()))
        ways.append(_flat(model) - start)
    return losses, ways


def _clip_as(model: Any, max_norm: float, clip: str) -> None:
    if clip == "all":
        torch.nn.utils.clip_grad_norm_(model.parameters(), max_norm)
    elif clip == "each":
        for weight in model.parameters():
            torch.nn.utils.clip_grad_norm_(weight, max_norm)
    elif clip == "value":
        torch.nn.utils.clip_grad_value_(model.parameters(), max_norm)
    elif clip == "always":
        length = torch.nn.utils.get_total_norm([weight.grad for weight in model.parameters()])
        for weight in model.parameters():
            weight.grad.mul_(max_norm / length)


def _name_step(ways: list[torch.Tensor], right: list[torch.Tensor], batches: Any, max_norm: float) -> NoReturn:
    """Tell which usual mistake moves the weights as the learner's steps did."""
    if not ways[0].norm() > 0:
        wrong(
            "no weight has moved. Are the gradients cleared before they are used, or new tensors made of the weights?"
        )
    far = ways[0].norm() / right[0].norm()
    mistakes: dict[str, dict[str, Any]] = {
        "the weights went up the gradient, not down: look at the sign.": {"maximize": True},
        f"the learning rate is missing: the weights moved {far:.0f} times as far as they should.": {"rate": 1.0},
        "the first step is right, the second is not: the gradients of the first batch are still in it. When are they "
        "cleared?": {"add": True},
        "each weight matrix was clipped apart. The norm is that of all gradients together.": {"clip": "each"},
        f"the gradients were not clipped: their norm was above {max_norm:g}.": {"clip": "none"},
        "each single number was clipped. The norm is that of all gradients together.": {"clip": "value"},
        "gradients below max_norm were stretched, or the loss is a sum. Clipping only shortens.": {"clip": "always"},
        "the gradients are not cleared, and they are not clipped.": {"clip": "none", "add": True},
    }
    for sentence, how in mistakes.items():
        others = _sgd_steps(batches, max_norm, **how)[1]
        if not any(_differ(way, other) for way, other in zip(ways, others, strict=True)):
            wrong(sentence)
    lengths = ", ".join(
        f"{way.norm():.4f} instead of {other.norm():.4f}" for way, other in zip(ways, right, strict=True)
    )
    wrong(f"the weights are not where torch's SGD takes them: they moved by {lengths}, after one and two steps.")


@tell("mixture", "Begin with how many old examples a mixture needs for that share: write the share as a fraction.")
def check_mixture(answer: Any) -> str:
    """Whether answer(new, old, share, seed) is all of new, and so many of old, drawn, that they are share of it all.

    new, old: lists of strings; share: 0 or more and below 1. One example more or fewer is right, too.
    """
    told = []
    for number, (size, share) in enumerate(((80, 0.2), (60, 0.5), (190, 0.05), (40, 0.0))):
        new, old = [f"new {place}" for place in range(size)], [f"old {place}" for place in range(400)]
        mixture = _mixture_rows(answered(answer, new, old, share, number))
        _check_rows(mixture, new, old, share)
        _check_order(mixture, new, old)
        if mixture != _mixture_rows(answered(answer, new, old, share, number)):
            wrong(f"called twice with seed {number}, it gives two mixtures. Where does the seed go?")
        other = _mixture_rows(answered(answer, new, old, share, number + 10))
        if share and [row in old for row in mixture] == [row in old for row in other]:
            wrong(f"with seeds {number} and {number + 10} the old ones stand in the same places. Where is the seed?")
        if share and {*mixture} == {*other}:
            wrong(f"with seeds {number} and {number + 10} the same old ones come in. Which ones is up to chance, too.")
        if note := what_it_changes(answer, "new old", new, old, share, number):
            wrong(f"the mixture is right{note}.")
        told.append(f"{sum(row.startswith('old') for row in mixture)} of {len(mixture)}")
    return f"old examples are {', '.join(told)}; all new ones are there, and the order is drawn by the seed"


def _mixture_rows(mixture: Any) -> list[str]:
    if isinstance(mixture, str) or not hasattr(mixture, "__iter__"):
        wrong(f"a list of examples is needed, and a {type(mixture).__name__} came back.")
    rows = list(mixture)
    if odd := [type(row).__name__ for row in rows if not isinstance(row, str)]:
        wrong(f"the mixture holds a {odd[0]}, not only examples. Are lists put into a list?")
    return rows


def _check_rows(mixture: list[str], new: list[str], old: list[str], share: float) -> None:
    """Compare what is in the mixture, whatever its order."""
    replayed = [row for row in mixture if row in set(old)]
    wanted = len(new) * share / (1 - share)
    if missing := set(new) - set(mixture):
        wrong(f"{len(missing)} of {len(new)} new examples are gone. Replay adds old ones and drops none.")
    if len(mixture) - len(replayed) > len(new):
        wrong(f"the mixture holds {len(mixture) - len(replayed)} new examples, and {len(new)} were given.")
    if len(set(replayed)) < len(replayed):
        wrong(f"{len(replayed)} old examples, and only {len(set(replayed))} different ones. Draw without putting back.")
    if abs(len(replayed) - wanted) <= 1 and bool(replayed) == bool(share):
        return
    shown = (
        f"{len(replayed)} old ones on {len(new)} new ones are {len(replayed) / max(1, len(mixture)):.3f} of the mixture"
    )
    if share and abs(len(replayed) - len(new) * share) <= 1:
        wrong(f"{shown}, not {share:g}: you took that share of the new examples. Of what is it the share?")
    wrong(f"{shown}, and {share:g} was asked for. How many old ones make it so?")


def _check_order(mixture: list[str], new: list[str], old: list[str]) -> None:
    """Compare the order of the mixture, and which old examples were drawn."""
    kinds = [row.startswith("old") for row in mixture]
    if any(kinds) and sum(a != b for a, b in pairwise(kinds)) < 2:
        wrong(
            f"the {sum(kinds)} old examples stand in one piece, {'first' if kinds[0] else 'last'}. Shuffle the mixture."
        )
    if any(kinds) and [row for row in mixture if row in set(new)] == new:  # by chance once in 10^9 at most
        wrong("the new examples stand in the order in which they were given. Shuffle all of the mixture.")
    half = len(old) // 2
    for name, rest in {"first": old[half:], "last": old[:half]}.items():
        if sum(kinds) >= 20 and set(mixture).isdisjoint(rest):  # by chance once in a million
            wrong(f"all {sum(kinds)} old ones are of the {name} half: sorted by task, that is a few. Draw from all.")
