"""The checkpoints of a fine-tuning, and how an interrupted one is gone on with: which are whole, which is the best."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from peft import PeftModel, get_peft_model_state_dict, set_peft_model_state_dict
from safetensors.torch import load_file, save_file
from transformers import PreTrainedModel

from genai_labs.errors import LabError
from genai_labs.finetuning import lora, memory
from genai_labs.finetuning.examples import Feature
from genai_labs.finetuning.plan import Plan
from genai_labs.system import files, run_folder
from genai_labs.system.processes import process_state

STATE, OPTIMIZER = "state.json", "optimizer.pt"  # beside the weights


def make_ready(
    folder: Path,
    base: PreTrainedModel,
    plan: Plan,
    train: Sequence[Feature],
    validation: Sequence[Feature],
    resume: bool,
) -> None:
    """Make the folder ready for this run (:func:`run_folder.prepare`); one of several processes does.

    Two runs are the same if their plan, their examples and the weights that they start from are. resume: False throws
    away what an earlier run left, ``model`` too, which would be taken for this run's if it were interrupted. Raises
    LabError where the folder holds an interrupted run of another plan.
    """
    with process_state().main_process_first():
        if process_state().is_main_process:
            run_folder.prepare(
                folder, what_is_the_same(base, plan, train, validation), "checkpoint-*", whole_checkpoints, resume
            )
            if not resume:
                shutil.rmtree(folder / "model", ignore_errors=True)


def what_is_the_same(
    base: PreTrainedModel, plan: Plan, train: Sequence[Feature], validation: Sequence[Feature]
) -> dict[str, Any]:
    """What two runs have in common that are the same: plan, examples and the weights that they start from."""
    digest = run_folder.digest([list(train), list(validation)])
    return {"plan": asdict(plan), "examples": len(train), "digest": digest, "base": lora.fingerprint(base)}


def save(
    checkpoint: Path, model: PreTrainedModel | PeftModel, optimizer: torch.optim.Optimizer, state: dict[str, Any]
) -> None:
    """Write a checkpoint and seal it, and only then remove all but two: the best one and the newest of the others.

    state: what was measured so far, with ``history``, a row an epoch, and ``best``, the name of the best checkpoint.
    """
    checkpoint.mkdir(exist_ok=True)
    if isinstance(model, PeftModel):
        weights, name = get_peft_model_state_dict(model), "adapter_model.safetensors"
    else:  # tied weights once
        weights, name = dict(model.named_parameters()), "model.safetensors"
    save_file({key: tensor.detach().contiguous() for key, tensor in weights.items()}, checkpoint / name)
    torch.save(optimizer.state_dict(), checkpoint / OPTIMIZER)
    files.write_whole(checkpoint / STATE, json.dumps(state) + "\n")
    run_folder.seal(checkpoint)
    others = sorted((path for path in checkpoint.parent.glob("checkpoint-*") if path.name != state["best"]), key=_steps)
    for old in others[:-1]:
        shutil.rmtree(old)


def load(checkpoint: Path, model: PreTrainedModel | PeftModel, optimizer: torch.optim.Optimizer) -> dict[str, Any]:
    """Put weights and optimizer back as :func:`save` found them; returns the state."""
    load_weights(model, checkpoint)
    optimizer.load_state_dict(torch.load(checkpoint / OPTIMIZER, weights_only=True))
    return read_state(checkpoint)


def load_weights(model: PreTrainedModel | PeftModel, checkpoint: Path) -> None:
    """Put the weights of a checkpoint into a model of the same plan."""
    if isinstance(model, PeftModel):
        set_peft_model_state_dict(model, load_file(checkpoint / "adapter_model.safetensors"))
    else:  # tied weights stand in the file once
        model.load_state_dict(load_file(checkpoint / "model.safetensors"), strict=False)


def last_checkpoint(folder: Path) -> Path | None:
    """The newest whole checkpoint of a run; None if there is none."""
    return next(reversed(whole_checkpoints(folder)), None)


def whole_checkpoints(folder: Path) -> list[Path]:
    """Checkpoints that were written to their end, and the best one up to them too, by step."""
    sealed = [path for path in folder.glob("checkpoint-*") if run_folder.sealed(path)]
    names = {path.name for path in sealed}
    return sorted((path for path in sealed if read_state(path).get("best") in names), key=_steps)


def what_is_kept(folder: Path) -> str:
    """What of a run is left and how to go on from there, in words."""
    last = last_checkpoint(folder)
    if last is None:
        return "There is no checkpoint yet."
    return f"The checkpoint {last.name} in {folder.name} is whole: the same call goes on from there."


def what_interruption_leaves(folder: Path, epoch: int, epochs: int) -> str:
    """What is kept of a run that was interrupted in an epoch (counted from 1), in words."""
    where = f"Interrupted in epoch {epoch} of {epochs}."
    last = last_checkpoint(folder)
    if last is None:
        return f"{where} The first epoch was not at its end, so nothing is kept: the same cell starts anew."
    return (
        f"{where} What was trained up to the end of epoch {len(read_state(last)['history'])} is kept in the "
        f"folder {folder.name}: run the same cell (or command) again, and it goes on from there."
    )


def _steps(checkpoint: Path) -> int:
    return int(checkpoint.name.rsplit("-", 1)[1])


def read_state(checkpoint: Path) -> dict[str, Any]:
    """What was measured up to a checkpoint; {} where it cannot be read."""
    return run_folder.read_note(checkpoint / STATE) or {}


def check_room_for_checkpoints(folder: Path, model: torch.nn.Module) -> None:
    """Raise LabError where the disk has too little room for the checkpoints of a model that is to be trained."""
    # The best checkpoint, the last one and the one being written, each with trained weights and two moments.
    needed = 3 * 3 * memory.BYTES * sum(p.numel() for p in model.parameters() if p.requires_grad)
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise LabError(
            f"There is not enough room on the disk: checkpoints take up to {needed / 1e6:,.0f} MB, and "
            f"{free / 1e6:,.0f} MB are free where {folder.name} lies. Make room, or name a folder on another disk."
        )
