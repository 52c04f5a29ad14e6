"""Batches by length: every row in exactly one, similar lengths together."""

import pytest

from genai_labs.inputs.batches import by_length

ROWS = ["ccc", "a", "dddd", "bb", "x", "yy"]


@pytest.mark.parametrize(
    ("longest_first", "expected"), [(False, [[1, 4, 3, 5], [0, 2]]), (True, [[2, 0, 3, 5], [1, 4]])]
)
def test_rows_come_by_length_and_equally_long_ones_as_they_stand(
    longest_first: bool, expected: list[list[int]]
) -> None:
    assert list(by_length(ROWS, 4, longest_first)) == expected


def test_nothing_makes_no_batch() -> None:
    assert list(by_length([], 4)) == []
