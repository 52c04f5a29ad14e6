"""What a bench measures of one recipe in a process of its own: the memory it takes at most, and its operations.

Memory, because what one recipe leaves behind would count for the next; operations, because counting them costs time.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
from torch.utils.flop_counter import FlopCounterMode

from genai_labs.errors import LabError


def ask(what: str, recipe: str, model: str, shared: Path) -> dict[str, float]:
    """Start ``bench WHAT --alone RECIPE`` and read what :func:`answer` prints: ``peak_mb`` and ``gflop``."""
    command = [sys.executable, "-m", "genai_labs", "bench", what, "--models", model, "--shared", str(shared)]
    ran = subprocess.run([*command, "--alone", recipe], capture_output=True, text=True, check=False)
    if ran.returncode:
        raise LabError(f"{recipe} could not be measured on its own: {ran.stderr.strip()[-300:]}. Run it by hand.")
    return dict(json.loads(ran.stdout.splitlines()[-1]))


def answer(work: Callable[[], Any]) -> str:
    """Do the work twice: once to see how many megabytes this process takes at most, once to count operations."""
    work()
    most = peak_so_far() / 1e6
    with FlopCounterMode(display=False) as counter:  # matrix products, those inside attention too
        work()
    return json.dumps({"peak_mb": round(most), "gflop": round(counter.get_total_flops() / 1e9, 2)})


def peak_so_far() -> float:
    """Bytes that this process has taken at most.

    On Linux from /proc: what getrusage tells there begins with the memory of the process that started this one.
    """
    status = Path("/proc/self/status")
    if status.exists():
        line = next(line for line in status.read_text(encoding="utf-8").splitlines() if line.startswith("VmHWM"))
        return float(line.split()[1]) * 1024
    try:
        import resource
    except ImportError:  # on Windows, where psutil knows the same by another name
        return float(psutil.Process().memory_info().peak_wset)
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1.0 if sys.platform == "darwin" else 1024.0)
