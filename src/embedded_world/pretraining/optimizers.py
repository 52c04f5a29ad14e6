"""Muon for the weight matrices of the layers, AdamW for all else."""

from __future__ import annotations

from collections.abc import Mapping

import torch


def muon_and_adamw(
    model: torch.nn.Module, muon_rate: float, adamw_rates: Mapping[str, float]
) -> list[torch.optim.Optimizer]:
    """Both optimizers over all parameters of the model, each of which has one of them.

    muon_rate: learning rate of matrices. adamw_rates: by a part of a parameter's name, those that AdamW moves instead,
    each group at its own rate; the last one, "", is that of what is no matrix (norms and biases).
    """
    groups: dict[str, list[torch.nn.Parameter]] = {part: [] for part in adamw_rates}
    matrices: list[torch.nn.Parameter] = []
    for name, parameter in model.named_parameters():
        part = next(part for part in adamw_rates if part in name)
        (matrices if part == "" and parameter.ndim == 2 else groups[part]).append(parameter)
    adamw = [{"params": found, "lr": adamw_rates[part]} for part, found in groups.items() if found]
    return [
        torch.optim.Muon(matrices, lr=muon_rate, weight_decay=0.01, ns_steps=4, adjust_lr_fn="match_rms_adamw"),
        torch.optim.AdamW(adamw, betas=(0.9, 0.98), weight_decay=0.0),
    ]
