"""Several processes that train one model: started by ``accelerate launch`` on GPUs, by ``torchrun`` on CPUs.

Each reads its share of a batch, and all take the steps that one process with the whole batch would take. With one
process a share is everything, a sum over processes is a sum, and nothing is sent.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

import torch
from accelerate import PartialState
from accelerate.utils import broadcast, reduce
from torch import Tensor

from genai_labs.errors import LabError
from genai_labs.system.devices import best_device

# What gloo and NCCL say when another process is gone.
LOST_PEER = ("by peer", "gloo", "nccl", "remote process")

Item = TypeVar("Item")


def process_state() -> PartialState:
    """Which process this is, and of how many; on CPUs they talk by gloo."""
    return PartialState(cpu=best_device().type == "cpu")


def process_count() -> int:
    """How many processes train together."""
    return process_state().num_processes


def share(items: Sequence[Item]) -> Sequence[Item]:
    """This process's share of a batch: process p of n has the items p, p + n, p + 2 n ..."""
    state = process_state()
    return items[state.process_index :: state.num_processes]


def total(x: Tensor) -> Tensor:
    """The sum over all elements, of all processes, a scalar."""
    return reduce(x.sum(), "sum") if process_count() > 1 else x.sum()


def mean(x: Tensor) -> Tensor:
    """The mean over all elements, of all processes, a scalar."""
    return total(x) / total(torch.ones_like(x)) if process_count() > 1 else x.mean()


def sum_gradients(parameters: Sequence[Tensor]) -> None:
    """Give all processes the sum of their gradients, so that all take the same step."""
    if process_count() > 1:
        for parameter in parameters:
            parameter.grad = reduce(parameter.grad, "sum")


def minibatches(mask: Tensor, size: int) -> Iterator[tuple[Tensor, float]]:
    """The rows of a batch in random order, ``size`` of all processes at a time.

    mask: [rows of this process, time], 1 at tokens that count. Yields this process's rows of a minibatch, and the share
    of the minibatch's tokens that they hold, by which its mean loss is to be weighed. A process that has none of them
    takes its first row with share 0, because all have to take part in every step.
    """
    state = process_state()
    order = torch.randperm(len(mask) * state.num_processes).to(mask.device)
    if state.num_processes > 1:
        order = broadcast(order)
    for chosen in order.split(size):
        rows = chosen[chosen % state.num_processes == state.process_index] // state.num_processes
        tokens = mask[rows].sum()
        weight = 1.0 if state.num_processes == 1 else float(tokens / total(tokens))
        yield (rows if len(rows) else rows.new_zeros(1)), weight


@contextmanager
def random_numbers(seed: int) -> Iterator[None]:
    """Random numbers of torch that depend on ``seed`` and process alone; outside it is as if none had been drawn."""
    with torch.random.fork_rng():
        torch.manual_seed(seed + 2**32 * process_state().process_index)
        yield


@contextmanager
def endings_in_words(kept: Callable[[], str]) -> Iterator[None]:
    """Say in words that another process of this run has ended, or that this one was sent SIGTERM.

    kept: says what of the run is left and how to go on from there. Raises LabError with it. The launcher sends SIGTERM
    to all processes as soon as one has ended; whoever waits for that one gets an error from gloo or NCCL.
    """

    def on_sigterm(*_: Any) -> None:
        raise _Terminated

    several = process_count() > 1
    catching = threading.current_thread() is threading.main_thread()  # only there may signals be caught
    after = signal.signal(signal.SIGTERM, on_sigterm) if catching else None
    try:
        yield
    except (_Terminated, RuntimeError) as error:
        lost_peer = several and any(words in str(error).lower() for words in LOST_PEER)
        if isinstance(error, RuntimeError) and not lost_peer:
            raise
        after = signal.SIG_IGN if several else after  # another SIGTERM must not cut the message short
        what = (
            "another of its processes has ended: it was killed, perhaps for lack of memory, or says why itself"
            if several
            else "it was told to end (SIGTERM)"
        )
        raise LabError(f"The training was stopped because {what}. {kept()}") from None
    finally:
        if catching:
            signal.signal(signal.SIGTERM, after)


class _Terminated(BaseException):
    """This process was sent SIGTERM."""
