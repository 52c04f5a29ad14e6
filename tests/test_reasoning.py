"""Answers to word problems are read rightly, and the calculator mends sums and what follows from them."""

import random
import re
from functools import partial
from typing import Any

import pytest

from embedded_world.corpus import tasks
from genai_labs.errors import LabError
from genai_labs.loading.lab_data import Example
from genai_labs.prompting import reasoning
from tests.variants import Variant, assert_noticed


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
        ("999999999999999 + 1 = 5", 5, 5),
        ("999999999999999 + 999999999999999 = 5", 5, 5),
        ("999999999999998 + 1 = 5", 5, 999999999999999),
        ("100 + 100 = 5", 5, 200),
        ("It is " + "9" * 15, 999999999999999, None),
        ("It is " + "9" * 16, None, None),
    ],
)
def test_final_numbers_and_a_calculator(text: str, answer: int | None, reckoned: int | None) -> None:
    assert reasoning.final_number(text) == answer
    assert reasoning.with_calculator(text) == reckoned


def test_what_was_wrong_is_named() -> None:
    odd: Any = 5
    for call, words in (
        (lambda: reasoning.final_number(odd), "^The answer is to be a text"),
        (lambda: reasoning.with_calculator(odd), "^The solution is to be a text"),
        (lambda: reasoning.problems(10**6), "^1000000 word problems are needed"),
    ):
        with pytest.raises(LabError, match=words):
            call()


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
    assert ({each.task for each in worked}, {each.task for each in short}) == (
        {"word problem, worked"},
        {"word problem"},
    )
    assert reasoning.problems() == reasoning.problems(200, True, 0)


def test_problems_are_those_that_the_generator_draws_by_the_seed() -> None:
    rng = random.Random("problems-test-3")
    assert reasoning.problems(30, seed=3) == [tasks.word_problem(rng, "test", worked=True) for _ in range(30)]


# Checks, and wrong variants that they must notice.


def check_problems_are_drawn_by_seed_and_steps_lead_to_their_answers() -> None:
    assert reasoning.problems(20, seed=1) != reasoning.problems(20, seed=0)
    assert reasoning.problems(20, worked=False) != reasoning.problems(20)
    test_problems_are_the_same_with_and_without_steps()


def first_number(text: str) -> int | None:
    found = re.findall(r"\d+", text)
    return int(found[0]) if found and len(found[0]) < 16 else None


def line_by_line(text: str) -> int | None:
    """Reckons the last sum alone, with the numbers that the model wrote."""
    last = [each[0] for each in re.finditer(reasoning.SUM, text)][-1:]
    return CALCULATOR(last[0]) if last else None


def without_steps(count: int = 200, worked: bool = True, seed: int = 0) -> list[Example]:
    made = PROBLEMS(count, worked, seed)
    return [Example(each.task, each.source, each.target.split(". ")[-1]) for each in made]


CALCULATOR, PROBLEMS = reasoning.with_calculator, reasoning.problems
TEXTS: dict[str, tuple[str, Any, Any]] = {
    "slip": ("First 3 * 4 = 11. Then 30 - 11 = 20. The answer is 20.", 20, 18),
    "no sum": ("The answer is 7.", 7, None),
}
WRONG = {
    "the first number": Variant(
        reasoning, "final_number", first_number, partial(test_final_numbers_and_a_calculator, *TEXTS["slip"])
    ),
    "a slip is carried on": Variant(
        reasoning, "with_calculator", line_by_line, partial(test_final_numbers_and_a_calculator, *TEXTS["slip"])
    ),
    "what the model wrote": Variant(
        reasoning,
        "with_calculator",
        reasoning.final_number,
        partial(test_final_numbers_and_a_calculator, *TEXTS["no sum"]),
    ),
    "the same problems with every seed": Variant(
        reasoning,
        "problems",
        lambda count, worked=True, seed=0: PROBLEMS(count, worked),
        check_problems_are_drawn_by_seed_and_steps_lead_to_their_answers,
    ),
    "other problems without steps": Variant(
        reasoning,
        "problems",
        lambda count, worked=True, seed=0: PROBLEMS(count, worked, seed + 1 - worked),
        check_problems_are_drawn_by_seed_and_steps_lead_to_their_answers,
    ),
    "no steps": Variant(
        reasoning, "problems", without_steps, check_problems_are_drawn_by_seed_and_steps_lead_to_their_answers
    ),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_variant_is_noticed(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert_noticed(WRONG[name], monkeypatch)
