"""Checkpoints of PPO: what was trained, the optimizer and the history, so that a killed run ends as an unbroken one."""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import torch
from peft import PeftModel
from safetensors.torch import load_file, save_file

from genai_labs.rlhf.policy import Policy, Reward
from genai_labs.rlhf.settings import History
from genai_labs.system import files, run_folder
from genai_labs.system.processes import process_state
from genai_labs.system.run_folder import DONE_FILE

WEIGHTS, OPTIMIZER, STATE = "trained.safetensors", "optimizer.pt", "state.json"
KEPT = 2
# A reward is known by what it says of these.
PROBES = ("#Person1# thanks #Person2# for the tea.", "#Person1# calls #Person2# an idiot.", "They talk.", "")

Judge = Callable[[PeftModel], float]


class Checkpoints:
    """The checkpoints of a run, or nothing where ``folder`` is None. With several processes one writes."""

    def __init__(self, folder: Path | None) -> None:
        self.folder = folder

    def finished(self) -> bool:
        """Whether the folder holds a finished run, which is then only to be loaded; a printed line says so."""
        return self.folder is not None and run_folder.result(self.folder) is not None

    def load(self, policy: Policy, optimizer: torch.optim.Optimizer) -> tuple[float, History] | None:
        """Put the last whole checkpoint into policy and optimizer; its KL coefficient and history, None without one."""
        if self.folder is None or not (found := whole_updates(self.folder)):
            return None
        weights = load_file(found[-1] / WEIGHTS)
        with torch.no_grad():
            for name, tensor in policy.trained().items():
                tensor.copy_(weights[name])
        optimizer.load_state_dict(torch.load(found[-1] / OPTIMIZER, weights_only=True))
        state = _state(found[-1])
        return state["kl_coef"], state["history"]

    def save(self, policy: Policy, optimizer: torch.optim.Optimizer, kl_coef: float, history: History) -> None:
        """Write a checkpoint; its seal comes last, so one that was being written at a kill lacks it."""
        if self.folder is None or not process_state().is_main_process:
            return
        path = self.folder / f"update-{len(history):05d}"
        shutil.rmtree(path, ignore_errors=True)
        path.mkdir()
        save_file({n: t.detach().cpu().contiguous() for n, t in policy.trained().items()}, path / WEIGHTS)
        torch.save(optimizer.state_dict(), path / OPTIMIZER)
        files.write_whole(path / STATE, json.dumps({"kl_coef": kl_coef, "history": history}) + "\n")
        run_folder.seal(path)
        for old in whole_updates(self.folder)[:-KEPT]:
            shutil.rmtree(old)

    def finish(self) -> None:
        """Say that the run is done: the same call then hands it out again."""
        if self.folder is not None and process_state().is_main_process:
            run_folder.finish(self.folder, {}, whole_updates)

    def how_to_go_on(self) -> str:
        """What is kept after an interruption, and how to go on from it, in words."""
        if self.folder is None:
            return "The policy is as far as it came; nothing else is kept, as no folder was named."
        found = whole_updates(self.folder)
        if not found:
            return "There was no checkpoint yet, so nothing is kept: the same cell starts anew."
        done = len(_state(found[-1])["history"])
        return (
            f"What was trained up to update {done} is kept in the folder {self.folder.name}: run the same cell (or "
            "command) again, with a fresh Policy, and it goes on from there."
        )

    def last_good(self) -> str:
        """The last good checkpoint, in words."""
        found = whole_updates(self.folder) if self.folder is not None else []
        return f"The last good checkpoint is {found[-1].name}." if found else "There is no checkpoint."


@contextmanager
def opened(
    folder: Path | None, plan: dict[str, Any], policy: Policy, reward: Reward, judge: Judge | None, resume: bool
) -> Iterator[Checkpoints]:
    """The checkpoints in the folder of a run, which no other run may use meanwhile.

    ``plan``, the weights that the policy stands on and what the reward says are what must be the same for an
    interrupted run to go on, else LabError is raised. A finished one is handed out again if besides the judge is the
    same, and the policy is at the start of that run or at its end; else, and if ``resume`` is False, all starts anew.
    """
    with nullcontext() if folder is None else run_folder.locked_run(folder):
        if folder is not None:
            with process_state().main_process_first():
                if process_state().is_main_process:
                    plan = {**plan, "base": policy.fingerprint(), "reward": scores_of_probes(reward)}
                    run_folder.prepare(folder, plan, "update-*", whole_updates, resume)
                    if (folder / DONE_FILE).exists() and not _fits(folder, policy, judge):
                        run_folder.prepare(folder, plan, "update-*", whole_updates, resume=False)
        yield Checkpoints(folder)


def scores_of_probes(reward: Reward) -> list[float] | None:
    """The reward of a few texts that are always the same; None where it fails, which training will say in words."""
    try:
        return np.asarray(reward(list(PROBES)), dtype=float).ravel().round(4).tolist()
    except Exception:
        return None


def _fits(folder: Path, policy: Policy, judge: Judge | None) -> bool:
    """Whether a finished run is what training this policy, watched by this judge, would come to."""
    last = whole_updates(folder)[-1]
    first, kept = _state(last)["history"][0], load_file(last / WEIGHTS)
    if ("judged" in first) != (judge is not None):
        return False
    if all(torch.equal(tensor.detach().cpu(), kept[name]) for name, tensor in policy.trained().items()):
        return True
    if not _is_fresh(policy):
        return False
    return judge is None or math.isclose(float(judge(policy.model)), first["judged"], rel_tol=1e-3)


def _is_fresh(policy: Policy) -> bool:
    """Whether the adapter changes nothing yet and the value head says 0."""
    begin_at_zero = ("lora_B", "value_head")
    return not any(t.any() for name, t in policy.trained().items() if any(part in name for part in begin_at_zero))


def whole_updates(folder: Path) -> list[Path]:
    """The checkpoints of a run that were written to their end, oldest first."""
    return sorted(path for path in folder.glob("update-*") if run_folder.sealed(path))


def _state(checkpoint: Path) -> dict[str, Any]:
    return json.loads((checkpoint / STATE).read_text(encoding="utf-8"))
