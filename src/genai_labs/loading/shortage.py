"""What is said when memory runs out, on a processor or a GPU, and when the disk is full."""

from __future__ import annotations

import errno
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from genai_labs.errors import LabError
from genai_labs.loading import profiles

# What torch and the libraries under it say; "std::bad_alloc" comes as a MemoryError.
WORDS = ("out of memory", "can't allocate memory", "cannot allocate memory", "not enough memory", "could not create a")
FULL_DISK = ("No space left", "PytorchStreamWriter failed", "os error 28")


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory ran out."""
    import torch  # here, because it takes seconds to import

    return isinstance(error, (MemoryError, torch.OutOfMemoryError)) or (
        isinstance(error, (RuntimeError, OSError)) and any(words in str(error).lower() for words in WORDS)
    )


def is_full_disk(error: BaseException) -> bool:
    """Whether an error says that the disk is full, as the system, torch and safetensors say it."""
    if isinstance(error, OSError) and error.errno == errno.ENOSPC:
        return True
    return any(words in str(error) for words in FULL_DISK)


@contextmanager
def in_words(doing: str, remedy: str = "", kept: Callable[[], str] = str) -> Iterator[None]:
    """Say in words that memory ran out or the disk is full; other errors pass.

    doing: what was being done. remedy: against too little memory, short of a smaller model. kept: says what of it is
    not lost. Raises LabError.
    """
    try:
        yield
    except Exception as error:
        if is_full_disk(error):
            parts = (f"The disk is full, so that {doing} had to stop.", kept(), "Make room and run it again.")
            raise LabError(" ".join(part for part in parts if part)) from error
        if not is_out_of_memory(error):
            raise
        message = " ".join(part for part in (why(doing, error), kept(), remedy, smaller()) if part)
        raise LabError(message) from error


def why(doing: str, error: BaseException) -> str:
    """What happened, and how much is free now."""
    import torch

    from genai_labs.system.devices import memory_free

    place = "GPU" if torch.cuda.is_available() else "machine"
    first = (str(error).strip().splitlines() or [type(error).__name__])[0]
    first = re.sub(r"^\[enforce fail [^]]*\] err == 0\. |\.? Error code.*", "", first)  # torch's own place and number
    return f"Memory ran out while {doing}: {first[:160]}. {memory_free():.1f} GB of this {place}'s memory are free now."


def smaller() -> str:
    """What to load instead."""
    names = list(profiles.PROFILES)
    size = names.index(profiles.loaded_profile())
    if not size:
        return "Close other programs and run it again."
    other = f"the smaller profile {names[size - 1]}" if size > 1 else "the embedded world"
    return f"Else close other programs, or take {other} ({profiles.VARIABLE}={names[size - 1]})."
