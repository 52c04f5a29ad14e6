"""How finely each matrix of the T5 is stored: finely where a step would soonest change a word.

A greedy text changes where two candidates for a token are close. So the margin between the two likeliest tokens, where
it is smallest in a text, is what must not move: its squared gradient, averaged over texts and over the weights of a
matrix, says how much the matrix matters, and its step is inversely proportional to the root of that, which moves the
margin least for a given number of bits. (Squared gradients as the measure: Optimal Brain Damage, LeCun et al. 1989,
https://proceedings.neurips.cc/paper/1989/hash/6c9882bbac1c7093bd25041881277658-Abstract.html.)

A matrix is rounded column by column, and what a column loses by it the columns after it make good, as far as what the
matrix reads lets them (GPTQ, Frantar et al. 2022, https://arxiv.org/abs/2210.17323). The table of embeddings, of which
a prompt reads single rows, is rounded to the nearest steps.
"""

from __future__ import annotations

from collections import Counter

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from course_site.packing import LOW, MOST, Numbers, Rounded, rounded
from genai_labs.loading import data
from genai_labs.loading.profiles import Profile
from genai_labs.prompting import generation, prompts
from genai_labs.rlhf.dialogues import ppo_dialogues

BITS = 10.8  # of a weight, on average
EACH = 60  # training dialogues of each kind that say what matters
LARGE = 64  # rows and columns of a matrix that is stored in steps
DAMPING = 0.01  # of the mean square of what a matrix reads, added to each square


def round_matrices(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, profile: Profile) -> dict[str, Rounded]:
    """The large matrices of a T5 in steps, by name; all together take BITS for each weight. Takes a minute."""
    dialogues = calibration_dialogues(profile)
    matters, read = margin_gradients(model, tokenizer, dialogues), moments_read(model, tokenizer, dialogues)
    weights = {name: p.detach().numpy() for name, p in model.named_parameters() if p.ndim == 2 and min(p.shape) > LARGE}
    left = {name: error_left(read[name]) if name in read else 1.0 for name in weights}
    steps = {name: float((matters[name].mean() * left[name]) ** -0.5) for name in weights}
    made = as_small_as(weights, steps, BITS)
    made |= {name: compensated(weights[name], made[name].step, moment) for name, moment in read.items() if name in made}
    return {**made, "lm_head.weight": made["shared.weight"]} if model.config.tie_word_embeddings else made


def calibration_dialogues(profile: Profile) -> list[str]:
    """Dialogues of all kinds from training splits: no test dialogue decides how a weight is rounded."""
    splits = [data.load_split(profile.dataset, split)[-EACH:] for split in ("train", "handwritten_train")]
    return [row.dialogue for rows in splits for row in rows] + ppo_dialogues(EACH)


def margin_gradients(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, dialogues: list[str]
) -> dict[str, Tensor]:
    """Of each parameter the mean squared gradient of the smallest margin in the greedy text about each dialogue."""
    asked = prompts.fit_all(prompts.zero_shot, dialogues, tokenizer)
    config = generation.greedy(128)
    texts = generation.generate(model, tokenizer, asked, config, progress=False)
    trained = [p.requires_grad for p in model.parameters()]
    model.requires_grad_(True)
    squares = {name: torch.zeros_like(p) for name, p in model.named_parameters()}
    for prompt, text in zip(asked, texts, strict=True):
        margin = smallest_margin(
            model, tokenizer(prompt)["input_ids"], tokenizer(text)["input_ids"][: config.max_new_tokens]
        )
        model.zero_grad()
        margin.backward()
        for name, p in model.named_parameters():
            if p.grad is not None:
                squares[name] += p.grad**2
    model.zero_grad(set_to_none=True)
    for p, was in zip(model.parameters(), trained, strict=True):
        p.requires_grad_(was)
    return {name: each / len(asked) for name, each in squares.items()}


def moments_read(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, dialogues: list[str]
) -> dict[str, NDArray[np.float64]]:
    """By the name of each matrix but the tied table, the mean of x x^T, [in, in], over all tokens x that it reads."""
    asked = prompts.fit_all(prompts.zero_shot, dialogues, tokenizer)
    config = generation.greedy(128)
    texts = generation.generate(model, tokenizer, asked, config, progress=False)
    sums: dict[str, Tensor] = {}
    counts: Counter[str] = Counter()

    def note(name: str, inputs: tuple[Tensor, ...]) -> None:
        x = inputs[0].detach().flatten(0, -2).double()
        sums[name] = sums.get(name, 0) + x.T @ x
        counts[name] += len(x)

    layers = [(f"{name}.weight", each) for name, each in model.named_modules() if isinstance(each, torch.nn.Linear)]
    hooks = [
        each.register_forward_hook(lambda _, inputs, __, name=name: note(name, inputs))
        for name, each in layers
        if each.weight is not model.get_input_embeddings().weight
    ]
    try:
        with torch.inference_mode():
            for prompt, text in zip(asked, texts, strict=True):
                ids = tokenizer(text)["input_ids"][: config.max_new_tokens]
                before = torch.tensor([[model.config.decoder_start_token_id, *ids[:-1]]])
                read = torch.tensor([tokenizer(prompt)["input_ids"]])
                model(input_ids=read, decoder_input_ids=before, use_cache=False)
    finally:
        for hook in hooks:
            hook.remove()
    return {name: (each / counts[name]).numpy() for name, each in sums.items()}


def _order_and_factor(moment: NDArray[np.float64]) -> tuple[NDArray[np.intp], NDArray[np.float64]]:
    """Columns by what is read through them, most first, and U of U^T U, the inverse of the moment in that order."""
    damped = moment + DAMPING * np.diag(moment).mean() * np.eye(len(moment))
    order = np.argsort(-np.diag(damped))
    return order, np.linalg.cholesky(np.linalg.inv(damped[np.ix_(order, order)])).T


def error_left(moment: NDArray[np.float64]) -> float:
    """Which share of the squared error of a product :func:`compensated` leaves, against the nearest steps; 0 to 1."""
    _, factor = _order_and_factor(moment)
    return float((1 / np.diag(factor) ** 2).mean() / np.diag(moment).mean())


def compensated(weights: Numbers, step: float, moment: NDArray[np.float64]) -> Rounded:
    """A matrix, [out, in], in whole steps, each column after another, the rest moved so that products change least."""
    order, factor = _order_and_factor(moment)
    left = weights[:, order].astype(np.float64)
    numbers = np.zeros(weights.shape, np.int16)
    for place, column in enumerate(order):
        numbers[:, column] = np.clip(np.rint(left[:, place] / step), -MOST, MOST)
        lost = (left[:, place] - numbers[:, column] * step) / factor[place, place]
        left[:, place + 1 :] -= np.outer(lost, factor[place, place + 1 :])
    return Rounded(numbers, step)


def smallest_margin(model: PreTrainedModel, prompt: list[int], text: list[int]) -> Tensor:
    """How far the likeliest token is before the second, in logits, where it is least, over all places of a text."""
    before = torch.tensor([[model.config.decoder_start_token_id, *text[:-1]]])
    logits = model(input_ids=torch.tensor([prompt]), decoder_input_ids=before, use_cache=False).logits[0]
    best = logits.topk(2).values  # [tokens, 2]
    return (best[:, 0] - best[:, 1]).min()


def as_small_as(weights: dict[str, Numbers], steps: dict[str, float], bits: float) -> dict[str, Rounded]:
    """The matrices in the smallest steps, all made larger or smaller together, that take at most ``bits`` a weight."""
    low, high = 1e-7, 1.0
    for _ in range(16):
        factor = (low * high) ** 0.5
        try:
            fits = _entropy(_in_steps(weights, steps, factor)) <= bits
        except ValueError:
            fits = False
        low, high = (low, factor) if fits else (factor, high)
    return _in_steps(weights, steps, high)


def _in_steps(weights: dict[str, Numbers], steps: dict[str, float], factor: float) -> dict[str, Rounded]:
    return {name: rounded(each, factor * steps[name]) for name, each in weights.items()}


def _entropy(made: dict[str, Rounded]) -> float:
    """Bits of a weight, LOW of them as they are, the others coded by how frequent they are in their matrix."""
    bits = 0.0
    for each in made.values():
        counts = np.unique(each.numbers >> LOW, return_counts=True)[1]
        bits += LOW * each.numbers.size + float((counts * np.log2(counts.sum() / counts)).sum())
    return bits / sum(each.numbers.size for each in made.values())
