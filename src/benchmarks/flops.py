"""Floating-point operations: those of a training step, counted, and the most that this machine does in a second."""

from __future__ import annotations

import re
import time
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch

from genai_labs.finetuning.examples import MASKED
from genai_labs.system.devices import best_device, has_bf16

MATRIX, SECONDS = 2048, 1.0  # rows and columns, and time, in the measurement of the peak


@dataclass(frozen=True)
class Count:
    """What was worked on.

    tokens: real ones, of inputs and labels; places: the same with padding; flops: by :func:`step_flops`, with padding.
    """

    examples: int = 0
    tokens: int = 0
    places: int = 0
    flops: int = 0

    def __add__(self, other: Count) -> Count:
        return Count(*(a + b for a, b in zip(vars(self).values(), vars(other).values(), strict=True)))

    @property
    def padding(self) -> float:
        """Share of the places that hold padding, 0 to 1."""
        return 1 - self.tokens / self.places


def count(model: torch.nn.Module, batch: dict[str, torch.Tensor], pad: int) -> Count:
    """Count a batch of :func:`collate`; ``pad`` is the padding token, which no real label is."""
    labels = batch["labels"]
    real = int(batch["attention_mask"].sum()) + int(((labels != MASKED) & (labels != pad)).sum())
    (rows, source), target = batch["input_ids"].shape, labels.shape[1]
    return Count(rows, real, rows * (source + target), step_flops(model, rows, source, target))


def step_flops(model: torch.nn.Module, rows: int, source: int, target: int) -> int:
    """Floating-point operations of a training step of a T5 on ``rows`` rows of ``source`` and ``target`` tokens.

    A matrix costs 6 operations a parameter and token that it sees, 2 forward and 4 backward (Kaplan et al. 2020,
    https://arxiv.org/abs/2001.08361, section 2.1); a frozen one 4, since its own gradient is not computed. The
    encoder's matrices and the keys and values of cross-attention see the source, all others, lm_head too, the target.
    The two products inside attention cost 12 x width for each pair of places (Chowdhery et al. 2022,
    https://arxiv.org/abs/2204.02311, appendix B). Lookups, norms, softmax and the optimizer are not counted.
    """
    total = 0
    for name, module in model.named_modules():
        if isinstance(module, torch.nn.Linear):
            tokens = target if _sees_target(name) else source
            total += (6 if module.weight.requires_grad else 4) * module.weight.numel() * tokens
    config: Any = model.config
    pairs = config.num_layers * source**2 + config.num_decoder_layers * target * (target + source)
    return rows * (total + 12 * config.num_heads * config.d_kv * pairs)


def _sees_target(name: str) -> bool:
    return not re.search(r"\bencoder\.|EncDecAttention\.[kv]\b", name)


def synchronize() -> None:
    """Wait until the device has done what it was asked for."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    elif torch.backends.mps.is_available():
        torch.mps.synchronize()


def peak(dtype: torch.dtype, size: int | None = None) -> float:
    """GFLOP/s of this machine in a product of two square matrices: the best of at least 3, and of a second.

    size: their rows and columns (by default MATRIX).
    """
    size = size or MATRIX
    matrix = torch.randn(size, size, device=best_device()).to(dtype)
    times: list[float] = []
    while len(times) < 3 or sum(times) < SECONDS:
        start = time.perf_counter()
        matrix @ matrix
        synchronize()
        times.append(time.perf_counter() - start)
    return 2 * size**3 / min(times) / 1e9


@cache
def peaks() -> dict[str, float]:
    """GFLOP/s of a matrix product here, by precision; bf16 only where the hardware has it."""
    types = {"fp32": torch.float32} | ({"bf16": torch.bfloat16} if has_bf16() else {})
    return {name: round(peak(dtype), 1) for name, dtype in types.items()}
