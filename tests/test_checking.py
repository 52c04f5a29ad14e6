"""How exercises are checked: one line, whatever the learner's function does."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from genai_labs.show.checking import Empty, Unanswered, answered, numbers, tell, what_it_changes, wrong


@tell("a double", "Return twice the number.")
def check_double(answer: Any) -> str:
    """Two numbers are doubled."""
    got = numbers(answered(answer, [1, 2]), (2,), "the doubles")
    if got.tolist() != [2, 4]:
        wrong(f"twice 1 and 2 are not {got.tolist()}.")
    return "2 numbers"


def line(capsys: pytest.CaptureFixture[str], answer: Any) -> str:
    """The one line that the check prints."""
    result = check_double(answer)
    assert result is None
    shown = capsys.readouterr().out
    assert shown.endswith("\n")
    assert shown.count("\n") == 1
    return shown.strip()


def fails(function: Any, *arguments: Any) -> str:
    """The sentence of what is not answered."""
    with pytest.raises(Unanswered) as told:
        answered(function, *arguments)
    return str(told.value)


@pytest.mark.parametrize("right", [lambda x: [2 * i for i in x], lambda x: torch.tensor(x) * 2, lambda x: np.add(x, x)])
def test_a_right_answer_is_called_right_in_one_line(capsys: pytest.CaptureFixture[str], right: Any) -> None:
    assert line(capsys, right) == "Right: 2 numbers."


def test_a_wrong_answer_is_told_with_its_numbers(capsys: pytest.CaptureFixture[str]) -> None:
    assert line(capsys, lambda x: x) == "Not yet: twice 1 and 2 are not [1.0, 2.0]."


@pytest.mark.parametrize("stub", [lambda x: None, lambda x: ..., None, ...])
def test_a_stub_is_told_a_first_step(capsys: pytest.CaptureFixture[str], stub: Any) -> None:
    assert line(capsys, stub) == "Not yet: the function gives back nothing so far. Return twice the number."


def leaves(x: list[int]) -> None:
    """Ends Python, or tries to."""
    raise SystemExit("bye")


def recurses(x: list[int]) -> Any:
    """Never comes to an end by itself."""
    return recurses(x)


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (lambda x: x[9], "stopped in line"),
        (lambda x: x[9], "with IndexError: list index out of range. Call it"),
        (lambda: 1, "TypeError"),
        (leaves, "SystemExit: bye"),
        (recurses, "RecursionError"),
        ([2, 4], "a function is needed, and a list was given"),
        (lambda x: "24", "the doubles came as a str"),
        (lambda x: {"a": 2}, "the doubles came as a dict"),
        (lambda x: ["2", "4"], "the doubles came as a list that holds other things"),
        (lambda x: [2, None], "the doubles came as a list that holds other things"),
        (lambda x: [[2], [4, 4]], "cannot be read as numbers"),
        (lambda x: [2, 4, 6], "the shape of the doubles is (3,), and (2,) is needed"),
        (lambda x: [2.0, float("nan")], "in 1 of 2 places of the doubles stands NaN"),
        (lambda x: torch.tensor([1j, 2j]), "the doubles came as a Tensor"),
        (lambda x: (1 / (i - 1) for i in x), "ZeroDivisionError"),
    ],
)
def test_what_is_absurd_is_told_in_words(capsys: pytest.CaptureFixture[str], answer: Any, words: str) -> None:
    shown = line(capsys, answer)
    assert shown.startswith("Not yet: ")
    assert words in shown


def test_an_answer_that_the_check_stumbles_over_is_told_too(capsys: pytest.CaptureFixture[str]) -> None:
    class Odd:
        def __array__(self, *_: Any, **__: Any) -> Any:
            raise ValueError("no\nway")

        def __eq__(self, other: object) -> bool:
            raise ValueError("incomparable")

    @tell("oddity")
    def check_oddity(answer: Any) -> str:
        return str(answered(answer) == 1)

    check_oddity(lambda: Odd())
    assert capsys.readouterr().out.startswith("Not yet: this answer (oddity) cannot be read (ValueError: incomparable)")
    assert "cannot be read as numbers (ValueError: no way)" in line(capsys, lambda x: Odd())


def test_an_interruption_goes_through() -> None:
    def interrupted(x: list[int]) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        check_double(interrupted)


def test_the_line_of_an_error_is_that_of_the_learners_own_code() -> None:
    def asked(x: list[int]) -> Any:
        return np.stack(x)  # fails inside numpy

    first: Callable[..., Any] = asked
    assert f"in line {first.__code__.co_firstlineno + 1} with" in fails(asked, [])


def test_a_long_error_is_cut() -> None:
    def talks(x: int) -> None:
        raise ValueError("word " * 1000)

    assert len(fails(talks, 1)) < 400


def test_arguments_are_copied() -> None:
    given = {"list": [[1], [2]], "array": np.ones(2), "tensor": torch.ones(2), "tuple": ([1],)}

    def spoils(x: dict[str, Any]) -> int:
        x["list"][0][0] = x["array"][0] = x["tensor"][0] = x["tuple"][0][0] = 9
        x["new"] = 1
        return 1

    assert answered(spoils, given) == 1
    assert str(given) == str({"list": [[1], [2]], "array": np.ones(2), "tensor": torch.ones(2), "tuple": ([1],)})


def test_what_is_changed_in_place_is_named() -> None:
    given = {"list": [1], "tensor": torch.ones(2)}

    def spoils(x: dict[str, Any], y: Any, z: Any) -> None:
        x["tensor"][0] = 9
        z[0] = 9

    both = what_it_changes(spoils, "x y z", given, [1], np.ones(2))
    assert both.startswith("; but your function changes x and z in place")
    one = what_it_changes(spoils, "x y", given, [1], np.ones(2))
    assert one.startswith("; but your function changes x in place")
    assert what_it_changes(lambda x, y: x, "x y", given, 3) == ""


def test_gradients_flow_through_copied_tensors() -> None:
    weight = torch.ones(2, requires_grad=True)
    answered(lambda w: (3 * w).sum(), weight).backward()
    assert weight.grad is not None
    assert weight.grad.tolist() == [3, 3]


def test_models_are_not_copied() -> None:
    layer = torch.nn.Linear(1, 1)
    assert answered(lambda given: given, layer) is layer


@pytest.mark.parametrize(
    "value", [3, 3.0, True, np.float32(3), torch.tensor(3), torch.tensor(3.0, dtype=torch.bfloat16)]
)
def test_single_numbers_are_numbers(value: Any) -> None:
    assert numbers(value, ()).dtype == np.float64


def test_lists_of_tensors_are_numbers() -> None:
    assert numbers([torch.tensor(1.0, requires_grad=True), 2], (2,)).tolist() == [1, 2]


def test_infinity_is_a_number() -> None:
    assert numbers([float("-inf")]).tolist() == [float("-inf")]


@pytest.mark.parametrize("nothing", [None, ...])
def test_no_value_is_empty(nothing: Any) -> None:
    with pytest.raises(Empty):
        numbers(nothing)
