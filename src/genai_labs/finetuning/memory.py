"""What training costs in memory: predicted by a formula, and measured on the tensors that are really there.

Rajbhandari et al. 2019 (ZeRO), https://arxiv.org/abs/1910.02054: in fp32 every parameter takes 4 bytes; every trained
one takes 4 more for its gradient and 8 for Adam's two moments.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import psutil
import torch

BYTES = 4  # fp32


@dataclass(frozen=True)
class Memory:
    """Bytes of weights, gradients and optimizer state."""

    weights: int
    gradients: int
    optimizer: int

    @property
    def total(self) -> int:
        return self.weights + self.gradients + self.optimizer


def predicted(parameters: int, trained: int) -> Memory:
    """Memory of training ``trained`` of ``parameters`` numbers in fp32 with Adam, activations left out."""
    return Memory(BYTES * parameters, BYTES * trained, 2 * BYTES * trained)


def predicted_for(model: torch.nn.Module) -> Memory:
    """The formula for a model as it stands: the parameters that want gradients are trained."""
    sizes = [(p.numel(), p.requires_grad) for p in model.parameters()]
    return predicted(sum(n for n, _ in sizes), sum(n for n, trained in sizes if trained))


def measured(model: torch.nn.Module, optimizer: torch.optim.Optimizer, gradients: int) -> Memory:
    """Bytes of the tensors that exist; ``gradients`` as counted before the optimizer's step clears them."""
    state = [t for entry in optimizer.state.values() for t in entry.values() if torch.is_tensor(t) and t.dim()]
    return Memory(sum(p.nbytes for p in model.parameters()), gradients, sum(t.nbytes for t in state))


def activation_bytes(model: torch.nn.Module, batch: dict[str, torch.Tensor]) -> int:
    """Bytes that a forward pass on ``batch`` keeps until the backward pass, parameters left out.

    A layer keeps its inputs where a gradient has to flow through it, so it matters *where* trained parameters sit: in
    front of the first of them, nothing is kept.
    """
    own = {p.untyped_storage().data_ptr() for p in model.parameters()}
    kept: dict[int, int] = {}

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor.detach()  # with its history, a layer that keeps its output would keep itself for ever

    device = next(model.parameters()).device
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        loss = model(**{name: t.to(device) for name, t in batch.items()}).loss  # its graph holds what was packed
    del loss
    return sum(kept.values())


class Peak:
    """The most memory seen while watching, in bytes above what was taken at the start."""

    def __init__(self) -> None:
        self.start = self.most = taken()

    @property
    def bytes(self) -> int:
        return self.most - self.start


def taken() -> int:
    """Bytes this process takes now: on the GPU where there is one, else in main memory."""
    if torch.cuda.is_available():
        return torch.cuda.memory_allocated()
    return psutil.Process().memory_info().rss


@contextmanager
def watching() -> Iterator[Peak]:
    """Look at the memory every few hundredths of a second; the peak stands in what is yielded."""
    peak, done = Peak(), threading.Event()

    def look() -> None:
        while not done.wait(0.02):
            peak.most = max(peak.most, taken())

    watcher = threading.Thread(target=look, daemon=True)
    watcher.start()
    try:
        yield peak
    finally:
        done.set()
        watcher.join()
