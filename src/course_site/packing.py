"""Weights as they travel to the browser: matrices as whole numbers of steps, all else in 16 bits, in one file.

The page turns every number back into fp32 and computes with that: what is saved is bytes to load, and what it costs is
one rounding of each weight, not of anything computed.
"""

from __future__ import annotations

import hashlib
import zlib
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

LOW = 6  # bits of a number that are as good as random, and are stored as they are; the others are compressed
MOST, BYTE = 127 << LOW, 127  # steps from 0, either way: of all numbers, and of those that fit into one byte
ALIGNED = 4  # bytes; every part begins at a multiple

Numbers = NDArray[np.float32]
Part = dict[str, Any]


class Rounded(NamedTuple):
    """A tensor as whole numbers of steps, int16 of its shape."""

    numbers: NDArray[np.int16]
    step: float

    def weights(self) -> Numbers:
        """The weights as the page computes them, fp32."""
        return (self.numbers * self.step).astype(np.float32)


def rounded(weights: Numbers, step: float) -> Rounded:
    """The nearest whole numbers of steps. Raises ValueError where a weight is more than MOST steps from 0."""
    numbers = np.rint(weights / step)
    if np.abs(numbers).max(initial=0) > MOST:
        raise ValueError("the steps are too small to be stored")
    return Rounded(numbers.astype(np.int16), step)


def in_bytes(weights: Numbers, most: int = BYTE) -> Rounded:
    """The weights in the smallest steps of which ``most`` reach the largest; at most BYTE, which fit into one byte."""
    return rounded(weights, max(float(np.abs(weights).max()) / most, 1e-12))


def low_bits(numbers: NDArray[np.int16]) -> bytes:
    """The LOW lowest bits of each number, four numbers in three bytes."""
    bits = (numbers.reshape(-1) & ((1 << LOW) - 1)).astype(np.uint32)
    fours = np.append(bits, np.zeros(-len(bits) % 4, np.uint32)).reshape(-1, 4)
    whole = fours[:, 0] | fours[:, 1] << 6 | fours[:, 2] << 12 | fours[:, 3] << 18
    return whole.astype("<u4").view(np.uint8).reshape(-1, 4)[:, :3].tobytes()


class Pack:
    """Collects tensors; each gets a place in the file and one in the memory that the page expands the file into."""

    def __init__(self) -> None:
        self.parts: list[Part] = []
        self.bytes = bytearray()
        self.memory = 0  # bytes of fp32
        self._known: dict[str, Part] = {}

    def add(self, numbers: Numbers, stored: Rounded | None = None) -> Part:
        """A tensor of a graph, in 16 bits or as it was ``stored``; the same tensor is kept once.

        The part says where: ``memory``, bytes into the expanded fp32; ``start``, bytes into the file; ``count``
        numbers; where it is stored in steps also ``step``, and ``high``, where the bits above LOW of its numbers
        start if one byte is not enough.
        """
        numbers = np.ascontiguousarray(numbers, np.float32)
        own = hashlib.sha256(numbers.tobytes()).hexdigest()
        if own not in self._known:
            part = {"memory": self.memory, **self.store(numbers, stored)}
            self.memory += 4 * numbers.size
            self.parts.append(part)
            self._known[own] = part
        return self._known[own]

    def store(self, numbers: Numbers, stored: Rounded | None = None) -> Part:
        """A tensor that belongs to no graph, without a place in their memory; else as :meth:`add`."""
        part: Part = {"count": numbers.size}
        if stored is None:
            return part | {"start": self._append(numbers.astype("<f2").tobytes())}
        if np.abs(stored.numbers).max(initial=0) <= BYTE:
            return part | {"start": self._append(stored.numbers.astype(np.int8).tobytes()), "step": stored.step}
        start = self._append(low_bits(stored.numbers))
        high = self._append((stored.numbers >> LOW).astype(np.int8).tobytes())
        return part | {"start": start, "high": high, "step": stored.step}

    def _append(self, data: bytes) -> int:
        start = len(self.bytes)
        self.bytes += data + bytes(-len(data) % ALIGNED)
        return start

    def compressed(self) -> bytes:
        """The file, gzipped; the same tensors give the same bytes.

        By the frequency of bytes alone: weights do not repeat, and looking for repetitions made the file 2 % larger.
        Memory level 6 makes short blocks, which follow how frequencies change.
        """
        packer = zlib.compressobj(9, zlib.DEFLATED, 16 + zlib.MAX_WBITS, 6, zlib.Z_HUFFMAN_ONLY)
        return packer.compress(bytes(self.bytes)) + packer.flush()
