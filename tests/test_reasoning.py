"""Answers to word problems are read rightly, and the calculator mends sums and what follows from them."""

import random

import pytest

from embedded_world.corpus import tasks
from genai_labs.prompting import reasoning


@pytest.mark.parametrize(
    ("text", "answer", "reckoned"),
    [
        ("We add both. 36 + 6 = 42. The answer is 42.", 42, 42),
        ("We add both. 36 + 6 = 99. The answer is 99.", 99, 42),
        ("First 3 * 4 = 11. Then 30 - 11 = 20. The answer is 20.", 20, 18),
        ("There are 54 - 39 = 15. With the new ones 15 + 21 = 35.", 35, 36),
        ("The answer is 7.", 7, None),
        ("nothing at all", None, None),
        ("9" * 5000, None, None),
        ("5 + 6 = 11. It is " + "9" * 5000, None, 11),
        ("9" * 5000 + " + 1 = 7. The answer is 7.", 7, 7),
        ("900000000 * 900000000 = 5. Then 5 + 1 = 9.", 9, 6),  # too large: left as it was written
    ],
)
def test_final_numbers_and_a_calculator(text: str, answer: int | None, reckoned: int | None) -> None:
    assert reasoning.final_number(text) == answer
    assert reasoning.with_calculator(text) == reckoned


def test_numbers_do_not_grow_without_end() -> None:
    squares = "999 * 999 = 998. " + "998 * 998 = 998. " * 100
    assert reasoning.with_calculator(squares) in range(10**reasoning.MOST_DIGITS)


def test_problems_are_the_same_with_and_without_steps() -> None:
    worked, short = (reasoning.problems(30, worked=each) for each in (True, False))
    for a, b in zip(worked, short, strict=True):
        assert a.source.split("\n")[0] == b.source.split("\n")[0]
        assert a.source.endswith("step by step.")
        assert reasoning.final_number(a.target) == int(b.target) == reasoning.with_calculator(a.target)
    assert reasoning.problems(30) == worked


def test_problems_are_those_that_the_generator_draws_by_the_seed() -> None:
    rng = random.Random("problems-test-3")
    assert reasoning.problems(30, seed=3) == [tasks.word_problem(rng, "test", worked=True) for _ in range(30)]
