"""Batches of texts of similar length: little padding, little waste."""

from __future__ import annotations

from collections.abc import Iterator, Sequence, Sized


def by_length(rows: Sequence[Sized], size: int, longest_first: bool = False) -> Iterator[list[int]]:
    """The places of all rows in batches of ``size``, sorted by the length of the rows; equally long ones as they come.

    Results of a batch belong to its places, so that they can be put back in order.
    """
    order = sorted(range(len(rows)), key=lambda place: len(rows[place]), reverse=longest_first)
    for start in range(0, len(order), size):
        yield order[start : start + size]
