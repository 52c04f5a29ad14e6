"""Batches of texts of similar length: little padding, little waste."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence, Sized


def by_length(rows: Sequence[Sized], size: int, longest_first: bool = False) -> Iterator[list[int]]:
    """The places of all rows in batches of ``size``, sorted by the length of the rows; equally long ones as they come.

    Results of a batch belong to its places, so that they can be put back in order.
    """
    order = sorted(range(len(rows)), key=lambda place: len(rows[place]), reverse=longest_first)
    for start in range(0, len(order), size):
        yield order[start : start + size]


def shuffled(lengths: Sequence[int], size: int, seed: str) -> list[list[int]]:
    """The places of all rows in batches of ``size`` of similar length, in an order that depends on ``seed`` alone.

    Lengths are blurred by a tenth, so that by another seed a row meets other neighbours. The last batch may be smaller.
    """
    rng = random.Random(seed)
    blurred = [length * rng.uniform(0.95, 1.05) for length in lengths]
    order = sorted(range(len(blurred)), key=blurred.__getitem__)
    batches = [order[start : start + size] for start in range(0, len(order), size)]
    last = batches.pop()
    rng.shuffle(batches)
    return [*batches, last]
