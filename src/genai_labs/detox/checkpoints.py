"""Checkpoints of PPO: what was trained, the optimizer and the history, so that a killed run ends as an unbroken one."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from genai_labs import run_folder
from genai_labs.processes import here
from genai_labs.run_folder import DONE_FILE

WEIGHTS, OPTIMIZER, STATE = "trained.safetensors", "optimizer.pt", "state.json"
KEPT = 2

History = list[dict[str, float]]


class Trained(Protocol):
    """What has weights that training moves."""

    def trained(self) -> dict[str, Tensor]:
        """Their tensors by name."""
        ...


class Checkpoints:
    """The folder of a run, or nothing where ``folder`` is None.

    ``plan`` says what must be the same for a run to go on. Raises LabError where the folder holds an interrupted run of
    another plan, unless ``resume`` is False, which throws it away. With several processes one writes.
    """

    def __init__(self, folder: Path | None, plan: dict[str, Any], resume: bool = True) -> None:
        self.folder = folder
        if folder is not None:
            with here().main_process_first():
                if here().is_main_process:
                    run_folder.prepare(folder, plan, "update-*", whole, resume)

    def load(self, policy: Trained, optimizer: torch.optim.Optimizer) -> tuple[float, History] | None:
        """Put the last whole checkpoint into policy and optimizer; its KL coefficient and history, None without one."""
        if self.folder is None or not (found := whole(self.folder)):
            return None
        kept = load_file(found[-1] / WEIGHTS)
        with torch.no_grad():
            for name, tensor in policy.trained().items():
                tensor.copy_(kept[name])
        optimizer.load_state_dict(torch.load(found[-1] / OPTIMIZER, weights_only=True))
        state = json.loads((found[-1] / STATE).read_text(encoding="utf-8"))
        return state["kl_coef"], state["history"]

    def save(self, policy: Trained, optimizer: torch.optim.Optimizer, kl_coef: float, history: History) -> None:
        """Write a checkpoint; its state comes last, so one that was being written at a kill lacks it."""
        if self.folder is None or not here().is_main_process:
            return
        path = self.folder / f"update-{len(history):05d}"
        shutil.rmtree(path, ignore_errors=True)
        path.mkdir()
        save_file({n: t.detach().cpu().contiguous() for n, t in policy.trained().items()}, path / WEIGHTS)
        torch.save(optimizer.state_dict(), path / OPTIMIZER)
        (path / STATE).write_text(json.dumps({"kl_coef": kl_coef, "history": history}) + "\n", encoding="utf-8")
        for old in whole(self.folder)[:-KEPT]:
            shutil.rmtree(old)

    def finish(self) -> None:
        """Say that the run is done: the same call then starts anew."""
        if self.folder is not None and here().is_main_process:
            (self.folder / DONE_FILE).write_text("{}\n", encoding="utf-8")

    def how_to_go_on(self) -> str:
        """What to do after an interruption, in words."""
        if self.folder is None:
            return "The policy is as far as it came."
        found = whole(self.folder)
        place = f"after update {updates_done(found[-1])}" if found else "at the beginning"
        return f"The policy is as far as it came; the same call with a fresh Policy goes on {place}."

    def last_good(self) -> str:
        """The last good checkpoint, in words."""
        found = whole(self.folder) if self.folder is not None else []
        return f"The last good checkpoint is {found[-1].name}." if found else "There is no checkpoint."


def whole(folder: Path) -> list[Path]:
    """The whole checkpoints of a run, oldest first."""
    return sorted(path for path in folder.glob("update-*") if run_folder.reads(path / STATE))


def updates_done(checkpoint: Path) -> int:
    """After how many updates a checkpoint was written."""
    return int(checkpoint.name.rsplit("-", 1)[1])


def restore(policy: Trained, checkpoint: Path) -> None:
    """Put the weights of a checkpoint into a fresh policy of the same settings."""
    kept = load_file(checkpoint / WEIGHTS)
    with torch.no_grad():
        for name, tensor in policy.trained().items():
            tensor.copy_(kept[name])


def digest(texts: Sequence[str]) -> str:
    """A hash of texts in their order, 64 hexadecimal digits."""
    return hashlib.sha256(json.dumps(list(texts)).encode()).hexdigest()
