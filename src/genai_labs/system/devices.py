"""The device that models run on: which one it is, what it computes in, and how much memory is free on it."""

from __future__ import annotations

import ctypes
import gc
import os
import sys

import psutil
import torch


def best_device() -> torch.device:
    """A CUDA GPU (of several that of this process), an Apple GPU unless GENAI_LABS_MPS is 0, or else the processor."""
    if torch.cuda.is_available():
        torch.set_float32_matmul_precision("high")  # fp32 products in TF32: several times as fast, 10 bits of mantissa
        return torch.device("cuda", int(os.environ.get("LOCAL_RANK", 0)))
    apple = os.environ.get("GENAI_LABS_MPS") != "0" and torch.backends.mps.is_available()
    return torch.device("mps" if apple else "cpu")


def has_bf16() -> bool:
    """Whether this machine computes in bfloat16 natively; elsewhere it trains in fp32. Never fp16: T5 overflows."""
    if torch.cuda.is_available():
        return torch.cuda.is_bf16_supported(including_emulation=False)
    return cpu_has_bf16()


def cpu_has_bf16() -> bool:
    """Whether the processor computes in bfloat16 natively."""
    if os.environ.get("ATEN_CPU_CAPABILITY", "").lower() in ("default", "avx2"):
        return False
    return torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()


def memory_free() -> float:
    """Free memory in gigabytes, of the GPU where there is one."""
    if torch.cuda.is_available():
        return torch.cuda.mem_get_info()[0] / 1e9
    return psutil.virtual_memory().available / 1e9


def release(collect: bool = True) -> None:
    """Give memory that nothing uses any more back to the system, where the C library keeps it (glibc).

    collect: look for unused objects that refer to one another, too, which takes a fifth of a second.
    """
    if collect:
        gc.collect()
    if sys.platform == "linux":
        trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
        if trim is not None:
            trim(0)
