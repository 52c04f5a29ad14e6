"""Profiles: what a lab loads, and how much of it. The same notebooks run on every profile."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from genai_labs.errors import LabError
from genai_labs.paths import DATA, MODELS, READING

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

Costs = Mapping[int, tuple[float, float]]
Weights = Literal["fp32", "bf16", "8bit", "4bit"]
Chosen = dict[str, Any]  # settings by name; those that are not named stay as they are where they are defined


# What PPO needs to find out how to fool the reward model: KL is free, and the steps are large to the end.
HACKING: Chosen = {"kl_coef": 0.0, "learning_rate": 4e-3, "anneal": False, "updates": 25, "most_kl": math.inf}


@dataclass(frozen=True, kw_only=True)
class Profile:
    """What to load, and how much of it to use."""

    name: str
    world: str  # what stands behind it, in words
    # Each a hub id or a local folder.
    model: str
    dataset: str
    reward_model: str
    judge: str
    pretrained: str = ""  # the model before its instruction tuning; empty where it is not at hand
    lab_data: str = str(DATA)  # folder of what the labs need beside these, such as word problems
    disk: float = 0.0  # gigabytes to be fetched
    weights: Weights = "fp32"  # bf16 takes half the memory, and on it only adapters can be trained

    # Minutes and gigabytes that each lab takes, by its number; a lab that is not there cannot run (fine-tuning every
    # weight where only adapters are trained).
    costs: Costs  # on 2 CPU cores
    gpu_costs: Costs = field(default_factory=dict)  # on one GPU
    estimated: bool = True  # and not measured

    batch_size: int  # prompts written about at a time
    gpu_batch_size: int = 200
    max_new_tokens: int  # of a summary

    # Lab 1
    test_dialogues: int  # on which claims are measured

    # Lab 2
    train_dialogues: int
    validation_dialogues: int
    scored_dialogues: int  # test dialogues on which what was trained is scored
    other_examples: int  # of each other task
    second_style_dialogues: int  # what a second adapter is trained on
    full: Chosen  # of finetuning.plan.Plan
    lora: Chosen
    replayed: float = 0.2  # share of old tasks in a replay, 0 to 1

    # Lab 3
    detox_cases: tuple[int, int] = (200, 200)  # hostile and polite test dialogues
    harsh_dialogues: int = 1600  # what the summarizer that repeats insults is trained on where none is shipped
    ppo_dialogues: int = 1000  # what PPO writes about
    ppo: Chosen = field(default_factory=dict)  # of rlhf.settings.Settings
    ppo_hacking: Chosen = field(default_factory=HACKING.copy)  # what is changed to see the reward hacked

    def __repr__(self) -> str:
        parts = (f"{part.replace('_', ' ')} {Path(getattr(self, part)).name}" for part in SOURCES)
        lines = [
            f"profile {self.name}: {self.world}",
            ", ".join(parts),
            f"dialogues: {self.train_dialogues} to train on, {self.validation_dialogues} to validate, "
            f"{self.test_dialogues} to prompt, {self.scored_dialogues} to score what was trained",
            f"batches: {self.full['batch_size']} in training, {self.batch_size} in writing",
            f"precision: weights in {self.weights}, training in bf16 where the device has it",
            *(f"on {device}: {costs}" for device, costs in self._costs_in_words().items()),
        ]
        return "\n  ".join(lines)

    @property
    def costs_here(self) -> Costs:
        """Costs on this machine's device, of the labs that can run on it."""
        if not self.gpu_costs:
            return self.costs
        import torch  # here, because it takes seconds to import

        return self.gpu_costs if torch.cuda.is_available() else self.costs

    def _costs_in_words(self) -> dict[str, str]:
        guess = " (estimated)" if self.estimated else ""
        return {
            device + guess: ", ".join(f"Lab {lab} ({m:g} min, {gb:g} GB)" for lab, (m, gb) in costs.items())
            for device, costs in (("2 CPU cores", self.costs), ("one GPU", self.gpu_costs))
            if costs
        }


PROFILES = {
    "mini": Profile(
        name="mini",
        world="the embedded world, a small T5 and a dialogue corpus made by this project",
        model=str(MODELS / "t5-reader"),
        pretrained=str(MODELS / "t5-reader-pretrained"),
        dataset=str(READING),
        reward_model=str(MODELS / "hate-mini"),
        judge=str(MODELS / "judge-mini"),
        estimated=False,
        test_dialogues=100,
        batch_size=100,
        max_new_tokens=128,
        costs={1: (1.5, 1.6), 2: (5, 3), 3: (5, 2)},
        train_dialogues=400,
        validation_dialogues=100,
        scored_dialogues=200,
        other_examples=60,
        second_style_dialogues=200,
        full={"epochs": 2, "learning_rate": 1.5e-4, "batch_size": 16},
        lora={
            "epochs": 2,
            "batch_size": 16,
            "learning_rate": 5e-4,  # 3e-4 had a higher validation loss
            "rank": 16,
            "alpha": 32,
            "targets": ("wi_0", "wi_1", "wo"),  # the feed-forward layers
            "within": "decoder",
        },
        detox_cases=(200, 330),
        # Chosen on validation dialogues (results/lab3_settings.md): half the time of ppo.Settings. The hacking run has
        # 4 epochs, as 3.11 was not shown on a test seed with 3.
        ppo={"updates": 12, "epochs": 3, "kl_coef": 0.4},
        ppo_hacking=HACKING | {"updates": 12, "epochs": 4},
    ),
}


# The settings of fine-tuning for FLAN-T5 are the usual ones for it, and have not been tuned here.
FLAN_FULL: Chosen = {"epochs": 2, "learning_rate": 1e-4, "batch_size": 8}
FLAN_LORA: Chosen = {**FLAN_FULL, "learning_rate": 5e-4, "rank": 32, "alpha": 32, "targets": ("q", "v")}
LARGE: Chosen = {"checkpointing": True}  # their activations would take more than their weights


def flan(
    size: str,
    million: int,
    disk: float,
    dialogues: int,
    costs: Costs,
    gpu_costs: Costs,
    weights: Weights = "fp32",
    training: Chosen | None = None,
) -> Profile:
    """FLAN-T5 of a size on DialogSum.

    dialogues: how many the model can be asked about in reasonable time. training: changes to the settings of both
    methods.
    """
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
        gpu_costs=gpu_costs,
        gpu_batch_size=64,
        weights=weights,
        train_dialogues=4 * dialogues,
        validation_dialogues=dialogues // 2,
        scored_dialogues=dialogues,
        other_examples=dialogues // 2,
        second_style_dialogues=dialogues,
        disk=disk,
        full={**FLAN_FULL, **(training or {})},
        lora={**FLAN_LORA, **(training or {})},
        detox_cases=(dialogues, dialogues),
        harsh_dialogues=400,
        ppo={"batch_size": 16, "minibatch": 4},
    )


PROFILES |= {
    profile.name: profile
    for profile in (
        flan("small", 77, 1.4, 100, {1: (15, 3), 2: (40, 5), 3: (40, 4)}, {1: (3, 2), 2: (5, 4), 3: (6, 4)}),
        flan("base", 248, 2.1, 100, {1: (45, 4), 2: (120, 8), 3: (120, 6)}, {1: (4, 3), 2: (8, 8), 3: (8, 6)}),
        flan(
            "large",
            783,
            4.2,
            50,
            {1: (70, 8), 2: (200, 20), 3: (200, 10)},
            {1: (6, 6), 2: (15, 20), 3: (15, 10)},
            training=LARGE,
        ),
        flan("xl", 2850, 12.5, 50, {1: (250, 9)}, {1: (10, 9), 3: (30, 20)}, weights="bf16", training=LARGE),
    )
}


def load_profile(name: str | None = None) -> Profile:
    """The profile called ``name``, else the one that GENAI_LABS_PROFILE names, else ``mini``.

    What the variables of SOURCES and GENAI_LABS_FOLDER name takes the place of what the profile says.
    Raises LabError, with the names there are, if there is none of that name.
    """
    wanted = os.environ.get(VARIABLE) or "mini" if name is None else name
    if not isinstance(wanted, str) or wanted not in PROFILES:
        raise LabError(
            f"There is no profile called {str(wanted)[:60]!r}. A profile says what a lab loads. There are: "
            f"{', '.join(PROFILES)}. Name one of them in the lab's first cell or in {VARIABLE}."
        )
    global loaded
    loaded = wanted
    profile = PROFILES[wanted]
    folder = os.environ.get(FOLDER_VARIABLE)
    carried = {part: str(Path(folder) / part) for part in SOURCES} if folder else {}
    named = {part: os.environ[variable] for part, variable in SOURCES.items() if os.environ.get(variable)}
    changes: dict[str, Any] = carried | named
    if "model" in changes:
        changes["pretrained"] = ""  # belongs to the profile's own model
    if wanted != "mini":
        changes |= on_gpu(profile)
        note_if_too_small(profile)
    return replace(profile, **changes) if changes else profile


def on_gpu(profile: Profile) -> dict[str, Any]:
    """What of a profile is another thing where there is a GPU."""
    import torch  # here, because it takes seconds to import

    return {"batch_size": profile.gpu_batch_size} if torch.cuda.is_available() else {}


loaded: str | None = None  # name of the profile that was loaded last in this process, by which lessons are recorded


def loaded_profile() -> str:
    """The name of the profile loaded last in this process, else the one that would be loaded."""
    return loaded or os.environ.get(VARIABLE) or "mini"


def note_if_too_small(profile: Profile, free: float | None = None) -> None:
    """Print a note where less memory is free than the profile's labs take, with a profile that fits.

    free: gigabytes, of the GPU where there is one; None: as they are now.
    """
    from genai_labs.system.devices import memory_free

    free = memory_free() if free is None else free
    most = {p.name: max(gigabytes for _, gigabytes in p.costs_here.values()) for p in PROFILES.values()}
    wanted = most[profile.name]
    if free >= wanted:
        return
    smaller = list(most)[: list(most).index(profile.name)]  # not all that take less memory are
    fitting = [name for name in smaller if most[name] <= free] or ["mini"]
    print(
        f"This machine may be too small for {profile.name}: its labs take up to {wanted:g} GB of memory, and "
        f"{free:.1f} GB are free. Close other programs, or take a smaller profile: {fitting[-1]}."
    )


def lab_seed() -> int:
    """The seed of this run of a lab, by which exemplars and samples are drawn: GENAI_LABS_SEED, or 0."""
    text = os.environ.get(SEED_VARIABLE, "0")
    if not re.fullmatch("[0-9]{1,9}", text):  # numpy's seeds end at 2**32
        raise LabError(
            f"{SEED_VARIABLE} is {text[:40]!r}, which is not a whole number of at most nine digits. Set it to 0, 1, 2, "
            "... or unset it."
        )
    return int(text)
