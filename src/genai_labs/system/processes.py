"""Several processes that train one model: started by ``accelerate launch`` on GPUs, by ``torchrun`` on CPUs."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from accelerate import PartialState

from genai_labs.errors import LabError
from genai_labs.system.devices import best_device

# What gloo and NCCL say when another process is gone.
GONE = ("by peer", "gloo", "nccl", "remote process")


def here() -> PartialState:
    """This process among its fellows, or alone; on CPUs they talk by gloo."""
    return PartialState(cpu=best_device().type == "cpu")


@contextmanager
def together(kept: Callable[[], str]) -> Iterator[None]:
    """Say in words that another process of this run has ended, or that this one is told to end.

    kept: says what of the run is left and how to go on from there. Raises LabError with it. The launcher tells all
    processes to end (SIGTERM) as soon as one has; whoever waits for that one gets an error from gloo or NCCL.
    """

    def told(*_: Any) -> None:
        raise _Told

    several = here().num_processes > 1
    catching = threading.current_thread() is threading.main_thread()  # only there may signals be caught
    after = signal.signal(signal.SIGTERM, told) if catching else None
    try:
        yield
    except (_Told, RuntimeError) as error:
        if isinstance(error, RuntimeError) and not (several and any(words in str(error).lower() for words in GONE)):
            raise
        after = signal.SIG_IGN if several else after  # there is no need to be told again before the message is out
        what = (
            "another of its processes has ended: it was killed, perhaps for lack of memory, or says why itself"
            if several
            else "it was told to end (SIGTERM)"
        )
        raise LabError(f"The training was stopped because {what}. {kept()}") from None
    finally:
        if catching:
            signal.signal(signal.SIGTERM, after)


class _Told(BaseException):
    """This process was told to end."""
