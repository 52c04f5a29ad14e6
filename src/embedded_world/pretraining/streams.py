"""Batches for a long pre-training, made by processes of their own while the model trains."""

from __future__ import annotations

import multiprocessing
import queue
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from transformers import PreTrainedTokenizerFast

from embedded_world.corpus import reading

POOL = 256  # examples that a process draws at a time
WAITING = 200  # finished batches that may wait, of all processes together
KEPT = 3000  # batches that the trainer keeps to read again when none is new
# Lengths that batches are padded to. Few, since a GPU needs a tenth of a second to prepare for a new shape.
SOURCE_LENGTHS = (48, 80, 112, 144, 192, 256, 320, 448, 640, 1024)
TARGET_LENGTHS = (32, 72, 160)


@dataclass(frozen=True)
class Packed:
    """One batch: token numbers padded with 0, [examples, S] and [examples, T]; task of each example, by name."""

    sources: NDArray[np.int16]
    targets: NDArray[np.int16]
    tasks: tuple[str, ...]


class Packer:
    """Draws examples of a mixture and hands out batches of one length each, as soon as one is full."""

    def __init__(self, tokenizer: PreTrainedTokenizerFast, tokens: int) -> None:
        """tokens: places for source tokens in a batch."""
        self._tokenizer, self._tokens = tokenizer, tokens
        self._open: dict[tuple[int, int], list[tuple[list[int], list[int], str]]] = {}

    def draw(self, mixture: str, rng: random.Random) -> Iterator[Packed]:
        """The batches that a pool of new examples fills; the rest waits for the next pool."""
        examples = [reading.draw_example(mixture, rng) for _ in range(POOL)]
        sources = self._tokenizer([e.source for e in examples], verbose=False)["input_ids"]
        targets = self._tokenizer([e.target for e in examples], verbose=False)["input_ids"]
        for example, source, target in zip(examples, sources, targets, strict=True):
            if len(source) > SOURCE_LENGTHS[-1] or len(target) > TARGET_LENGTHS[-1]:
                continue
            shape = (_up(len(source), SOURCE_LENGTHS), _up(len(target), TARGET_LENGTHS))
            group = self._open.setdefault(shape, [])
            group.append((source, target, example.task))
            if len(group) == max(1, self._tokens // shape[0]):
                del self._open[shape]
                yield Packed(
                    _padded([x[0] for x in group], shape[0]),
                    _padded([x[1] for x in group], shape[1]),
                    tuple(x[2] for x in group),
                )


def _up(length: int, lengths: Sequence[int]) -> int:
    return next(each for each in lengths if length <= each)


def _padded(rows: Sequence[Sequence[int]], width: int) -> NDArray[np.int16]:
    table = np.zeros((len(rows), width), np.int16)
    for line, row in zip(table, rows, strict=True):
        line[: len(row)] = row
    return table


def _work(
    number: int, seed: str, phase: Any, mixtures: Sequence[str], folder: str, tokens: int, prepare: Any, out: Any
) -> None:
    if prepare is not None:
        prepare()
    tokenizer = PreTrainedTokenizerFast.from_pretrained(folder)
    made, before, packer = 0, -1, Packer(tokenizer, tokens)
    while (now := phase.value) >= 0:
        if now != before:
            before, packer = now, Packer(tokenizer, tokens)
        rng = random.Random(f"reader-{seed}-{now}-{number}-{made}")
        for packed in packer.draw(mixtures[now], rng):
            while phase.value == now:
                try:
                    out.put((now, packed), timeout=1)
                    break
                except queue.Full:
                    continue
        made += 1


class Stream:
    """Batches of one mixture after the other, from ``processes`` that make them; old ones again where none is new.

    seed: of the examples; a process's pools follow from it, the order in which they arrive does not. prepare:
    called first in each process.
    """

    def __init__(
        self,
        mixtures: Sequence[str],
        folder: str,
        tokens: int,
        processes: int,
        seed: str,
        prepare: Callable[[], None] | None = None,
    ) -> None:
        context = multiprocessing.get_context("fork" if "fork" in multiprocessing.get_all_start_methods() else None)
        self._phase = context.Value("i", 0)
        self._queue = context.Queue(WAITING)
        self._kept: list[Packed] = []
        self._ahead: list[Packed] = []  # of the next mixture, made before it begins
        self._waiting: list[Packed] = []
        self._now = 0
        self._rng = random.Random(f"stream-{seed}")
        self.new = self.again = 0
        arguments = (seed, self._phase, tuple(mixtures), folder, tokens, prepare, self._queue)
        self._processes = [
            context.Process(target=_work, args=(number, *arguments), daemon=True) for number in range(processes)
        ]
        for process in self._processes:
            process.start()

    def prepare(self, phase: int) -> None:
        """Let the processes make batches of another mixture from now on."""
        self._phase.value = phase

    def begin(self, phase: int) -> None:
        """Hand out batches of another mixture from now on."""
        self._phase.value = phase
        self._now = phase
        self._kept.clear()
        self._waiting, self._ahead = self._ahead, []

    def next(self) -> Packed:
        """The next batch: a new one, or, where none is ready, one read before; waits only for the first few."""
        while True:
            if self._waiting:
                return self._keep(self._waiting.pop())
            try:
                phase, packed = self._queue.get(block=len(self._kept) < 24, timeout=120)
            except queue.Empty:
                self.again += 1
                return self._rng.choice(self._kept)
            if phase == self._now:
                return self._keep(packed)
            if phase > self._now and len(self._ahead) < KEPT:
                self._ahead.append(packed)

    def _keep(self, packed: Packed) -> Packed:
        if len(self._kept) < KEPT:
            self._kept.append(packed)
        else:
            self._kept[self._rng.randrange(KEPT)] = packed
        self.new += 1
        return packed

    def close(self) -> None:
        """End the processes."""
        self._phase.value = -1
        for process in self._processes:
            process.terminate()
