"""Profiles: what a lab loads, and how much of it. The same notebooks run on every profile."""

from __future__ import annotations

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

    test_dialogues: dialogues on which claims are measured. batch_size: prompts generated at a time. minutes and
    memory_gb: what Lab 1 takes on 2 CPU cores. train_dialogues, validation_dialogues: what fine-tuning reads. full,
    lora: settings of ``finetuning.training.Plan`` for either method. world: what stands behind it, in words.
    """

    name: str
    world: str
    model: str
    dataset: str
    test_dialogues: int
    batch_size: int
    max_new_tokens: int
    minutes: float
    memory_gb: float
    train_dialogues: int
    validation_dialogues: int
    full: Mapping[str, Any] = field(default_factory=dict)
    lora: Mapping[str, Any] = field(default_factory=dict)

    def __repr__(self) -> str:
        return (
            f"profile {self.name}: {self.world}; {self.test_dialogues} test dialogues, batches of {self.batch_size}, "
            f"about {self.minutes:g} minutes and {self.memory_gb:g} GB on 2 CPU cores"
        )


PROFILES = {
    "mini": Profile(
        name="mini",
        world="the embedded world, a small T5 and a dialogue corpus made by this project",
        model=str(MODELS / "t5-mini"),
        dataset=str(DIALOGUES),
        test_dialogues=200,
        batch_size=200,
        max_new_tokens=60,
        minutes=1.5,
        memory_gb=2.0,
        train_dialogues=600,
        validation_dialogues=100,
        full={"epochs": 4, "learning_rate": 1e-3},
        lora={"epochs": 5, "learning_rate": 5e-3, "rank": 4, "alpha": 8},
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
