"""Profiles: what a lab loads, and how much of it. The same notebooks run on every profile."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from genai_labs.errors import LabError
from genai_labs.paths import DIALOGUES, MODELS

VARIABLE = "GENAI_LABS_PROFILE"
SEED_VARIABLE = "GENAI_LABS_SEED"


@dataclass(frozen=True)
class Profile:
    """What to load. ``model`` and ``dataset`` are each a hub id or a local folder.

    test_dialogues: dialogues on which Lab 1 measures its claims. batch_size: prompts generated at a time. costs:
    minutes and gigabytes that each lab takes on 2 CPU cores, by its number. world: what stands behind it, in words.

    Of Lab 2: train_dialogues, validation_dialogues: what fine-tuning reads. scored_dialogues: test dialogues on which
    what was trained is scored. full, lora: settings of ``finetuning.training.Plan`` for either method. replayed: share
    of old tasks in a replay, 0 to 1. other_examples: examples of each other task. second_style_dialogues: what a
    second adapter is trained on.

    Of Lab 3: detox_cases: hostile and polite test dialogues. ppo_dialogues: what PPO writes about. ppo: settings of
    ``ppo.Settings``; ppo_hacking: what is changed in them to see the reward hacked.
    """

    name: str
    world: str
    model: str
    dataset: str
    test_dialogues: int
    batch_size: int
    max_new_tokens: int
    costs: Mapping[int, tuple[float, float]]
    train_dialogues: int
    validation_dialogues: int
    scored_dialogues: int
    other_examples: int
    second_style_dialogues: int
    replayed: float = 0.2
    full: Mapping[str, Any] = field(default_factory=dict)
    lora: Mapping[str, Any] = field(default_factory=dict)
    detox_cases: tuple[int, int] = (200, 200)
    ppo_dialogues: int = 1000
    ppo: Mapping[str, Any] = field(default_factory=dict)
    ppo_hacking: Mapping[str, Any] = field(default_factory=dict)

    def __repr__(self) -> str:
        costs = ", ".join(f"Lab {lab} about {m:g} minutes and {gb:g} GB" for lab, (m, gb) in self.costs.items())
        return f"profile {self.name}: {self.world}; on 2 CPU cores: {costs}"


PROFILES = {
    "mini": Profile(
        name="mini",
        world="the embedded world, a small T5 and a dialogue corpus made by this project",
        model=str(MODELS / "t5-mini"),
        dataset=str(DIALOGUES),
        test_dialogues=200,
        batch_size=200,
        max_new_tokens=60,
        costs={1: (1, 1.6), 2: (3.5, 3), 3: (3, 1.5)},
        train_dialogues=800,
        validation_dialogues=100,
        scored_dialogues=500,
        other_examples=300,
        second_style_dialogues=200,
        full={"epochs": 3, "learning_rate": 1.5e-4},
        lora={
            "epochs": 3,
            "learning_rate": 3e-4,
            "rank": 16,
            "alpha": 32,
            "targets": ("wi_0", "wi_1", "wo"),  # the feed-forward layers
            "within": "decoder",
        },
        detox_cases=(200, 400),
        ppo_hacking={
            "kl_coef": 0.0,
            "learning_rate": 4e-3,
            "anneal": False,
            "updates": 25,
            "most_kl": math.inf,
        },
    ),
}


def load_profile(name: str | None = None) -> Profile:
    """The profile called ``name``, else the one that GENAI_LABS_PROFILE names, else ``mini``.

    Raises LabError, with the names there are, if there is none of that name.
    """
    wanted = name or os.environ.get(VARIABLE) or "mini"
    if wanted not in PROFILES:
        raise LabError(
            f"There is no profile called {wanted!r}. A profile says what a lab loads. There are: "
            f"{', '.join(PROFILES)}. Name one of them in the lab's first cell or in {VARIABLE}."
        )
    return PROFILES[wanted]


def lab_seed() -> int:
    """The seed of this run of a lab, by which exemplars and samples are drawn: GENAI_LABS_SEED, or 0."""
    text = os.environ.get(SEED_VARIABLE, "0")
    if not text.isdigit():
        raise LabError(f"{SEED_VARIABLE} is {text!r}, which is not a whole number. Set it to 0, 1, 2, ... or unset it.")
    return int(text)
