"""How finely each matrix of the T5 is stored: finely where a step would soonest change a word.

A greedy text changes where two candidates for a token are close. So the margin between the two likeliest tokens, where
it is smallest in a text, is what must not move: its squared gradient, averaged over texts and over the weights of a
matrix, says how much the matrix matters, and its step is inversely proportional to the root of that, which moves the
margin least for a given number of bits. (Squared gradients as the measure: Optimal Brain Damage, LeCun et al. 1989,
https://proceedings.neurips.cc/paper/1989/hash/6c9882bbac1c7093bd25041881277658-Abstract.html.)
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from course_site.packing import LOW, Numbers, Rounded, rounded
from genai_labs.loading import data
from genai_labs.loading.profiles import Profile
from genai_labs.prompting import generation, prompts
from genai_labs.rlhf.dialogues import ppo_dialogues

BITS = 11.03  # of a weight, on average
EACH = 60  # training dialogues of each kind that say what matters
LARGE = 64  # rows and columns of a matrix that is stored in steps


def round_matrices(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, profile: Profile) -> dict[str, Rounded]:
    """The large matrices of a T5 in steps, by name; all together take BITS for each weight. Takes half a minute."""
    matters = margin_gradients(model, tokenizer, calibration_dialogues(profile))
    weights = {name: p.detach().numpy() for name, p in model.named_parameters() if p.ndim == 2 and min(p.shape) > LARGE}
    steps = {name: float(matters[name].mean() ** -0.5) for name in weights}
    made = as_small_as(weights, steps, BITS)
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
