"""Batches by length: every row in exactly one, similar lengths together."""

import pytest

from genai_labs.inputs.batches import by_length, shuffled

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


def test_shuffled_batches_depend_on_the_seed_alone_and_hold_rows_of_similar_length() -> None:
    lengths = [i % 17 for i in range(100)]
    first = shuffled(lengths, 8, "3-0")
    assert shuffled(lengths, 8, "3-0") == first != shuffled(lengths, 8, "3-1")
    assert sorted(sum(first, [])) == list(range(100))
    assert [len(batch) for batch in first] == [8] * 12 + [4]
    spans = [sorted(lengths[place] for place in batch) for batch in first[:-1]]
    assert all(span[-1] - span[0] <= 4 for span in spans), "rows of a batch differ much in length"
    assert spans != sorted(spans)
