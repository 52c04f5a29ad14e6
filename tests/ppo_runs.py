"""Short trainings by PPO on the small model, for the tests."""

import functools
from collections.abc import Sequence
from itertools import islice
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from genai_labs.loading import data, models
from genai_labs.loading.profiles import load_profile
from genai_labs.prompting import prompts
from genai_labs.rlhf import ppo

SHORT = ppo.Settings(
    updates=2,
    batch_size=8,
    minibatch=4,
    epochs=1,
    rank=4,
    alpha=4,
    learning_rate=1e-3,
    anneal=False,
    max_new_tokens=60,
    save_every=1,
)
History = list[dict[str, float]]


@functools.cache
def loaded() -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """The small model, with the dropout that T5 is usually configured with: PPO must not let it loose."""
    model, tokenizer = models.load_model(load_profile("mini"))
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.1
    return model, tokenizer


@functools.cache
def asked() -> list[str]:
    """Twenty prompts, each of a dialogue's first four turns."""
    begun = (row.dialogue.splitlines()[:4] for row in data.load_split(load_profile("mini").dataset, "train"))
    return [prompts.zero_shot("\n".join(turns)) for turns in islice((t for t in begun if len(t) == 4), 20)]


def shortness(texts: Sequence[str]) -> Tensor:
    """A reward that needs no classifier: fewer letters are better."""
    return torch.tensor([-len(text) / 50 for text in texts])


def trained(settings: ppo.Settings = SHORT, reward: Any = shortness, **options: Any) -> ppo.PPORun:
    """A run from a fresh policy."""
    policy = ppo.Policy(loaded()[0], settings)
    return ppo.train(policy, loaded()[1], options.pop("prompts", asked()), reward, settings, **options)


def stirred(settings: ppo.Settings = SHORT) -> ppo.Policy:
    """A policy in the middle of its training: adapter and value head say something."""
    policy = ppo.Policy(loaded()[0], settings)
    numbers = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, tensor in policy.trained().items():
            if "lora_A" not in name:
                tensor.copy_(0.05 * torch.randn(tensor.shape, generator=numbers))
    return policy


def without_seconds(history: History) -> History:
    """What two runs of the same settings have in common."""
    return [{name: value for name, value in row.items() if not name.endswith("_s")} for row in history]
