"""The models of the page: the base, and what three adapters make of it; those that are not shipped are trained here."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from safetensors.torch import load_file

from course_site.graphs import Adapter
from genai_labs.errors import LabError
from genai_labs.finetuning import lora
from genai_labs.paths import MODELS as SHIPPED
from genai_labs.paths import PACKAGE

FINE_TUNED, HARSH, KIND = "fine-tuned", "harsh", "kind"


@dataclass(frozen=True)
class Shown:
    """A model of the page: what it is called and what it is, in words; the adapters that make it, by name."""

    id: str
    name: str
    about: str
    adapters: tuple[str, ...] = ()


MODELS = (
    Shown("base", "Base", "The model as Lab 1 prompts it, without an adapter."),
    Shown(
        "fine-tuned",
        "Fine-tuned",
        "The base with the LoRA adapter that Lab 2 trains on 400 dialogues: it writes in the style of their summaries.",
        (FINE_TUNED,),
    ),
    Shown(
        "harsh",
        "Harsh",
        "Where Lab 3 begins: an adapter that was taught to repeat insults, so that there is something to unlearn.",
        (HARSH,),
    ),
    Shown(
        "detoxified",
        "Detoxified",
        "The harsh one after PPO, as in Lab 3: a second adapter, trained on what the reward model pays for.",
        (HARSH, KIND),
    ),
)


def train_adapters(folder: Path) -> dict[str, Path]:
    """The folder of each adapter; those of Labs 2 and 3 are trained in ``folder`` by their commands, if not before.

    Takes two minutes on two cores. Raises LabError where a command fails.
    """
    tuned, ppo = folder / "finetune", folder / "detox"
    _run("finetune", "--method", "lora", "--out", str(tuned))
    _run("detox", "--out", str(ppo), "--cases", "20")
    return {FINE_TUNED: tuned / "model", HARSH: SHIPPED / "harsh-lora", KIND: ppo / "adapter"}


def _run(*words: str) -> None:
    """A command of the course in a process of its own, with the embedded world and nothing of a learner's settings."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("GENAI_LABS")}
    environment = kept | {"PYTHONPATH": os.pathsep.join(filter(None, [str(PACKAGE.parent), kept.get("PYTHONPATH")]))}
    done = subprocess.run([sys.executable, "-m", "genai_labs", *words, "--replace"], env=environment)
    if done.returncode:
        raise LabError(
            f"The site needs an adapter that `python -m genai_labs {words[0]}` trains, and it ended with status "
            f"{done.returncode}. What it said stands above. Mend that, and run the same command again: what was "
            "trained is not trained twice."
        )


def read_adapter(folder: Path) -> Adapter:
    """An adapter as the graphs want it: of each matrix A and B, transposed, B times alpha / rank."""
    config = json.loads((folder / "adapter_config.json").read_text(encoding="utf-8"))
    scale = config["lora_alpha"] / config["r"]
    weights = load_file(folder / lora.WEIGHTS_FILE)
    start, end = "base_model.model.", ".lora_A.weight"
    names = [name.removeprefix(start).removesuffix(end) for name in weights if name.endswith(end)]
    return {
        name: (weights[f"{start}{name}{end}"].float().T, scale * weights[f"{start}{name}.lora_B.weight"].float().T)
        for name in names
    }
