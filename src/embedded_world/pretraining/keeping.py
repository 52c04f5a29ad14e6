"""Where a pre-training stands, in one file: enough to go on as if nothing had happened."""

from __future__ import annotations

import json
from collections import defaultdict
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file


@dataclass
class Progress:
    """Where training stands: enough, with weights and optimizer state, to go on as if nothing had happened."""

    stage: int = 0
    pool: int = 0
    step: int = 0
    examples: int = 0
    seconds: float = 0.0


def save_checkpoint(
    folder: Path, model: torch.nn.Module, optimizer_list: list[torch.optim.Optimizer], progress: Progress
) -> None:
    """Write weights, optimizer state and progress in one safetensors file, replaced in one move."""
    tensors = {f"model.{k}": v.contiguous() for k, v in model.named_parameters()}
    for i, optimizer in enumerate(optimizer_list):
        for index, state in optimizer.state_dict()["state"].items():
            tensors |= {f"optimizer.{i}.{index}.{k}": v.contiguous() for k, v in state.items()}
    save_file(tensors, folder / "checkpoint.tmp", metadata={"progress": json.dumps(asdict(progress))})
    (folder / "checkpoint.tmp").replace(folder / "checkpoint.safetensors")


def resume(folder: Path, model: torch.nn.Module, optimizer_list: list[torch.optim.Optimizer]) -> Progress:
    """Load the newest checkpoint of ``folder`` into model and optimizers; where training stands (the start if none)."""
    path = folder / "checkpoint.safetensors"
    if not path.exists():
        return Progress()
    from safetensors import safe_open

    tensors = load_file(path)
    with safe_open(path, "pt") as file:
        progress = Progress(**json.loads(file.metadata()["progress"]))
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.copy_(tensors[f"model.{name}"])
    for i, optimizer in enumerate(optimizer_list):
        state: dict[int, dict[str, torch.Tensor]] = defaultdict(dict)
        for name, tensor in tensors.items():
            if name.startswith(f"optimizer.{i}."):
                _, _, index, key = name.split(".", 3)
                state[int(index)][key] = tensor
        optimizer.load_state_dict({"state": dict(state), "param_groups": optimizer.state_dict()["param_groups"]})
    return progress
