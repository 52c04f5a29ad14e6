"""Where a training step spends its time, by kind of operator."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterable
from typing import Any

import torch

from benchmarks.flops import synchronize

# What an operator counts as: the first group whose pattern is found in its name.
GROUPS = {
    "matrix products": r"mm$|mm_|matmul|linear$",
    "loss": r"log_softmax|nll_loss",
    "attention and softmax": r"softmax|scaled_dot_product",
    "dropout masks": r"bernoulli|dropout",
    "optimizer and clipping": r"adam|_foreach|vector_norm",
    "copies": r"copy|clone|cat$|stack|fill_|zero|ones|full|index|embedding|empty|select|slice",
    "elementwise": r"add|sub|mul|div|pow|sqrt|mean|sum|tanh|gelu|neg|where|log|exp|abs|eq$|ne$|lt$|gt$|le$|ge$|min|max",
    "other operators": r"",
}
BETWEEN = "between operators (Python, autograd)"


def where_time_goes(step: Callable[[], Any]) -> dict[str, float]:
    """Shares of a step's time by kind of operator, adding up to 1, by torch.profiler (which adds time of its own)."""
    on_gpu = torch.cuda.is_available()
    kinds = torch.profiler.ProfilerActivity
    with torch.profiler.profile(activities=[kinds.CPU, *([kinds.CUDA] if on_gpu else [])]) as seen:
        start = time.perf_counter()
        step()
        synchronize()
        seconds = time.perf_counter() - start
    operators = [e for e in seen.key_averages() if e.key.startswith("aten::")]
    return shares(((e.key, e.self_device_time_total if on_gpu else e.self_cpu_time_total) for e in operators), seconds)


def shares(operators: Iterable[tuple[str, float]], seconds: float) -> dict[str, float]:
    """Names of operators and their own microseconds as shares of ``seconds`` by group."""
    spent = dict.fromkeys(GROUPS, 0.0)
    for name, microseconds in operators:
        group = next(group for group, pattern in GROUPS.items() if re.search(pattern, name))
        spent[group] += microseconds / 1e6 / seconds
    return spent | {BETWEEN: max(0.0, 1 - sum(spent.values()))}
