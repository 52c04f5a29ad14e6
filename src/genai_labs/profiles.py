"""Profiles: what a lab loads, and how much of it. The same notebooks run on every profile."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from genai_labs.errors import LabError
from genai_labs.paths import DIALOGUES, MODELS

VARIABLE = "GENAI_LABS_PROFILE"
SEED_VARIABLE = "GENAI_LABS_SEED"


# Where each part of a profile comes from can be set in the environment: a hub id (name@revision for a revision), or a
# local folder. GENAI_LABS_FOLDER names a folder made by `python -m genai_labs fetch --to`, which holds all four.
SOURCES = {
    "model": "GENAI_LABS_MODEL",
    "reward_model": "GENAI_LABS_REWARD_MODEL",
    "judge": "GENAI_LABS_JUDGE",
    "dataset": "GENAI_LABS_DATASET",
}
FOLDER_VARIABLE = "GENAI_LABS_FOLDER"


@dataclass(frozen=True)
class Profile:
    """What to load. ``model``, ``dataset``, ``reward_model`` and ``judge`` are each a hub id or a local folder.

    estimated: whether ``costs`` were estimated and not measured. disk: gigabytes to be fetched.

    test_dialogues: dialogues on which Lab 1 measures its claims. batch_size: prompts generated at a time. costs:
    minutes and gigabytes that each lab takes on 2 CPU cores, by its number. world: what stands behind it, in words.

    Of Lab 2: train_dialogues, validation_dialogues: what fine-tuning reads. scored_dialogues: test dialogues on which
    what was trained is scored. full, lora: settings of ``finetuning.training.Plan`` for either method. replayed: share
    of old tasks in a replay, 0 to 1. other_examples: examples of each other task. second_style_dialogues: what a
    second adapter is trained on.

    Of Lab 3: detox_cases: hostile and polite test dialogues. harsh_dialogues: what the summarizer that repeats insults
    is trained on where none is shipped. ppo_dialogues: what PPO writes about. ppo: settings of
    ``ppo.Settings``; ppo_hacking: what is changed in them to see the reward hacked.
    """

    name: str
    world: str
    model: str
    dataset: str
    reward_model: str
    judge: str
    test_dialogues: int
    batch_size: int
    max_new_tokens: int
    costs: Mapping[int, tuple[float, float]]
    train_dialogues: int
    validation_dialogues: int
    scored_dialogues: int
    other_examples: int
    second_style_dialogues: int
    estimated: bool = True
    disk: float = 0.0
    replayed: float = 0.2
    full: Mapping[str, Any] = field(default_factory=dict)
    lora: Mapping[str, Any] = field(default_factory=dict)
    detox_cases: tuple[int, int] = (200, 200)
    ppo_dialogues: int = 1000
    harsh_dialogues: int = 1600
    ppo: Mapping[str, Any] = field(default_factory=dict)
    ppo_hacking: Mapping[str, Any] = field(default_factory=dict)

    def __repr__(self) -> str:
        costs = ", ".join(f"Lab {lab} about {m:g} minutes and {gb:g} GB" for lab, (m, gb) in self.costs.items())
        other = "".join(
            f"; {part.replace('_', ' ')}: {Path(getattr(self, part)).name}"
            for part in SOURCES
            if self.name in PROFILES and getattr(self, part) != getattr(PROFILES[self.name], part)
        )
        guess = " (estimated)" if self.estimated else ""
        return f"profile {self.name}: {self.world}{other}; on 2 CPU cores{guess}: {costs}"


PROFILES = {
    "mini": Profile(
        name="mini",
        world="the embedded world, a small T5 and a dialogue corpus made by this project",
        model=str(MODELS / "t5-mini"),
        dataset=str(DIALOGUES),
        reward_model=str(MODELS / "hate-mini"),
        judge=str(MODELS / "judge-mini"),
        estimated=False,
        test_dialogues=200,
        batch_size=200,
        max_new_tokens=60,
        costs={1: (1, 1.6), 2: (4, 3), 3: (3, 1.5)},
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


# The settings of fine-tuning for FLAN-T5 are the usual ones for it, and have not been tuned here.
FLAN_FULL = {"epochs": 2, "learning_rate": 1e-4, "batch_size": 8}
FLAN_LORA = {"epochs": 2, "learning_rate": 5e-4, "batch_size": 8, "rank": 32, "alpha": 32, "targets": ("q", "v")}


def flan(size: str, million: int, disk: float, dialogues: int, costs: Mapping[int, tuple[float, float]]) -> Profile:
    """FLAN-T5 of a size on DialogSum. dialogues: how many the model can be asked about in reasonable time."""
    return Profile(
        name=f"flan-t5-{size}",
        world=f"FLAN-T5-{size} ({million:,} million parameters) on DialogSum, with hate-speech models made elsewhere",
        model=f"google/flan-t5-{size}",
        dataset="knkarthick/dialogsum",
        reward_model="facebook/roberta-hate-speech-dynabench-r4-target",
        judge="cardiffnlp/twitter-roberta-base-hate-latest",
        test_dialogues=dialogues,
        batch_size=16,
        max_new_tokens=80,
        costs=costs,
        train_dialogues=4 * dialogues,
        validation_dialogues=dialogues // 2,
        scored_dialogues=dialogues,
        other_examples=dialogues // 2,
        second_style_dialogues=dialogues,
        disk=disk,
        full=FLAN_FULL,
        lora=FLAN_LORA,
        detox_cases=(dialogues, dialogues),
        harsh_dialogues=400,
        ppo={"batch_size": 16, "minibatch": 4},
        ppo_hacking={"kl_coef": 0.0, "learning_rate": 4e-3, "anneal": False, "updates": 25, "most_kl": math.inf},
    )


PROFILES |= {
    profile.name: profile
    for profile in (
        flan("small", 77, 1.4, 100, {1: (15, 3), 2: (40, 5), 3: (40, 4)}),
        flan("base", 248, 2.1, 100, {1: (45, 4), 2: (120, 8), 3: (120, 6)}),
        flan("large", 783, 4.2, 50, {1: (70, 8), 2: (200, 20), 3: (200, 10)}),
    )
}


def load_profile(name: str | None = None) -> Profile:
    """The profile called ``name``, else the one that GENAI_LABS_PROFILE names, else ``mini``.

    What the variables of SOURCES and GENAI_LABS_FOLDER name takes the place of what the profile says.
    Raises LabError, with the names there are, if there is none of that name.
    """
    wanted = name or os.environ.get(VARIABLE) or "mini"
    if wanted not in PROFILES:
        raise LabError(
            f"There is no profile called {wanted!r}. A profile says what a lab loads. There are: "
            f"{', '.join(PROFILES)}. Name one of them in the lab's first cell or in {VARIABLE}."
        )
    _loaded.append(wanted)
    profile = PROFILES[wanted]
    folder = os.environ.get(FOLDER_VARIABLE)
    carried = {part: str(Path(folder) / part) for part in SOURCES} if folder else {}
    named = {part: os.environ[variable] for part, variable in SOURCES.items() if os.environ.get(variable)}
    changes: dict[str, Any] = carried | named
    if wanted != "mini":
        note_if_too_small(profile)
    return replace(profile, **changes) if changes else profile


_loaded: list[str] = []  # names of the profiles loaded in this process, in order


def loaded_profile() -> str:
    """The name of the profile loaded last in this process, else the one that would be loaded."""
    return _loaded[-1] if _loaded else os.environ.get(VARIABLE) or "mini"


def note_if_too_small(profile: Profile, free: float | None = None) -> None:
    """Print a note where less memory is free than the profile's labs take, with a profile that fits.

    free: gigabytes, of the GPU where there is one; None: as they are now.
    """
    if free is None:
        from genai_labs.devices import memory_free  # here, because torch takes seconds to import

        free = memory_free()
    wanted = max(gigabytes for _, gigabytes in profile.costs.values())
    if free >= wanted:
        return
    fitting = [p.name for p in PROFILES.values() if max(gb for _, gb in p.costs.values()) <= free] or ["mini"]
    print(
        f"This machine may be too small for {profile.name}: its labs take up to {wanted:g} GB of memory, and "
        f"{free:.1f} GB are free. Close other programs, or take a smaller profile: {fitting[-1]}."
    )


def lab_seed() -> int:
    """The seed of this run of a lab, by which exemplars and samples are drawn: GENAI_LABS_SEED, or 0."""
    text = os.environ.get(SEED_VARIABLE, "0")
    if not text.isdigit():
        raise LabError(f"{SEED_VARIABLE} is {text!r}, which is not a whole number. Set it to 0, 1, 2, ... or unset it.")
    return int(text)
