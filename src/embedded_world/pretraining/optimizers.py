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


class StackedMuon(torch.optim.Optimizer):
    """Muon (Jordan et al. 2024) with all matrices of one shape orthogonalized at once, as few kernels as possible.

    The same update as torch.optim.Muon with adjust_lr_fn="match_rms_adamw" and Nesterov momentum: a test compares both.
    """

    def __init__(
        self,
        parameters: list[torch.nn.Parameter],
        lr: float,
        momentum: float = 0.95,
        weight_decay: float = 0.01,
        ns_steps: int = 4,
    ) -> None:
        shapes: dict[torch.Size, list[torch.nn.Parameter]] = {}
        for parameter in parameters:
            shapes.setdefault(parameter.shape, []).append(parameter)
        groups = [{"params": found} for found in shapes.values()]
        super().__init__(groups, {"lr": lr, "momentum": momentum, "weight_decay": weight_decay, "ns_steps": ns_steps})

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """One update of all matrices, which have to have gradients."""
        for group in self.param_groups:
            found = group["params"]
            gradients = torch.stack([p.grad for p in found])
            state = self.state[found[0]]
            if "momentum" not in state:
                state["momentum"] = torch.zeros_like(gradients)
            state["momentum"].lerp_(gradients, 1 - group["momentum"])
            update = gradients.lerp(state["momentum"], group["momentum"])
            update = orthogonalized(update, group["ns_steps"])
            rate = group["lr"] * 0.2 * max(found[0].shape) ** 0.5
            torch._foreach_mul_(found, 1 - group["lr"] * group["weight_decay"])
            torch._foreach_add_(found, list(update.to(found[0].dtype).unbind(0)), alpha=-rate)


def orthogonalized(matrices: torch.Tensor, steps: int) -> torch.Tensor:
    """The nearest semi-orthogonal matrices, roughly, by Newton-Schulz steps in bf16. matrices: [n, rows, columns]."""
    x = matrices.bfloat16()
    tall = x.shape[1] > x.shape[2]
    x = x.transpose(1, 2) if tall else x
    x = x / x.norm(dim=(1, 2), keepdim=True).clamp(min=1e-7)
    for _ in range(steps):
        gram = x @ x.transpose(1, 2)
        x = 3.4445 * x + (-4.7750 * gram + 2.0315 * gram @ gram) @ x
    return x.transpose(1, 2) if tall else x
