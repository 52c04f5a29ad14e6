"""The exercises of the companion notebook: stubs are told what to do, usual mistakes by name, right answers pass."""

from __future__ import annotations

import ast
import math
import operator
import re
from collections.abc import Callable
from contextlib import redirect_stdout
from functools import cache
from inspect import signature
from io import StringIO
from typing import Any

import nbformat
import numpy as np
import pytest
import torch

from genai_labs.course.runner import COMPANIONS
from genai_labs.paths import NOTEBOOKS
from genai_labs.reasoning import exercises

Answer = Callable[..., Any]
SOLUTION = re.compile(r"<summary>Solution</summary>\n\n```python\n(.*?)```", re.DOTALL)
# Exercise: its check, and the name of the learner's function.
EXERCISES: dict[str, tuple[Answer, str]] = {
    "calculator": (exercises.check_calculator, "my_calculator"),
    "group": (exercises.check_group_advantages, "my_group_advantages"),
    "pass": (exercises.check_pass_at_k, "my_pass_at_k"),
    "recall": (exercises.check_recall, "my_recall"),
    "int8": (exercises.check_int8, "my_int8"),
}


@cache
def cells() -> dict[str, str]:
    """The sources of the notebook's cells, by id."""
    notebook = nbformat.read(NOTEBOOKS / COMPANIONS[4], as_version=4)
    return {cell.id: cell.source for cell in notebook.cells}


def told(check: Answer, answer: Any) -> str:
    """The one line that a check prints."""
    with redirect_stdout(StringIO()) as shown:
        assert check(answer) is None
    (line,) = shown.getvalue().splitlines()
    assert line.startswith(("Right: ", "Not yet: "))
    return line


def solved(name: str) -> Answer:
    """The folded solution of an exercise."""
    (code,) = SOLUTION.findall(cells()[f"comp-ex-{name}"])
    namespace: dict[str, Any] = {}
    exec(code, namespace)
    return namespace[EXERCISES[name][1]]


def scaled(weights: Any, steps: float, round_: Answer = torch.round) -> tuple[Any, Any]:
    scale = weights.abs().max() / steps
    return round_(weights / scale), scale


def from_left(expression: str) -> int:
    """Works out a sum from left to right, products when their turn comes; brackets are overlooked."""
    total, sign = 0, "+"
    for part in re.findall(r"\d+|[-+*]", expression):
        if part in "+-*":
            sign = part
        else:
            total = {"+": total + int(part), "-": total - int(part), "*": total * int(part)}[sign]
    return total


def always_plus(expression: str) -> int:
    return sum(map(int, re.findall(r"\d+", expression)))


def swapped(expression: str) -> int:
    def value(node: Any) -> Any:
        if isinstance(node, ast.Constant):
            return node.value
        left, right = value(node.right), value(node.left)
        return {ast.Add: left + right, ast.Sub: left - right, ast.Mult: left * right}[type(node.op)]

    return int(value(ast.parse(expression, mode="eval").body))


def walked(text: str, more: dict[Any, Any], raised: Any = ValueError, whole: Any = None) -> Any:
    """A calculator that walks the tree and takes ``more`` operators, lets an error through, or takes more numbers."""
    signs = {ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul} | more

    def value(node: Any) -> Any:
        if isinstance(node, ast.Constant) and (isinstance(node.value, whole) if whole else type(node.value) is int):
            return node.value
        if isinstance(node, ast.BinOp) and type(node.op) in signs:
            return signs[type(node.op)](value(node.left), value(node.right))
        if isinstance(node, ast.UnaryOp) and type(node.op) in signs:
            return signs[type(node.op)](value(node.operand))
        raise ValueError(text)

    try:
        return value(ast.parse(text, mode="eval").body)
    except SyntaxError as error:
        raise raised(text) from error


def filtered(text: str) -> Any:
    """Refuses by its letters what is no arithmetic, and has Python run the rest."""
    if not re.fullmatch(r"[(]?\d+( [-+*] [(]?\d+[)]?)*", text):
        raise ValueError(text)
    return eval(text)


def of_others(text: str, others: Any) -> Any:
    """Says the same of all nodes of another kind, and raises it where it is an error."""
    try:
        return walked(text, {})
    except ValueError:
        if isinstance(others, Exception):
            raise others from None
        return others


def by_method(text: str) -> int:
    class Calculator:
        def eval(self, text: str) -> int:
            return int(walked(text, {}))

    return Calculator().eval(text)


def from_builtins(text: str) -> Any:
    import builtins

    return builtins.eval(text) if re.fullmatch(r"[(]?\d+( [-+*] [(]?\d+[)]?)*", text) else walked("", {})


def centred(r: torch.Tensor) -> torch.Tensor:
    return r - r.mean(1, keepdim=True)


def group(r: torch.Tensor, **changes: Any) -> Any:
    return (r - r.mean(1, keepdim=True)) / (r.std(1, keepdim=True, **changes) + 1e-4)


WRONG: dict[str, list[tuple[Answer, str]]] = {
    "calculator": [
        (lambda text: eval(text), "Did something run it?"),
        (filtered, "calls eval or exec"),
        (lambda text: filtered(text), "calls eval or exec"),
        (from_builtins, "calls eval or exec"),
        (lambda text: of_others(text, None), "yours gave nothing back. What does it do with a node of another kind?"),
        (lambda text: of_others(text, "error"), "'error'. What does it do with a node of another kind?"),
        (lambda text: of_others(text, TypeError()), "TypeError. What does it do with a node of another kind?"),
        (lambda text: float(walked(text, {})), "an int was asked for"),
        (lambda text: walked(text, {}, whole=(int, str, type(None))), "What is the type of node.value?"),
        (lambda text: walked(text, {ast.Div: operator.truediv}), "'7 / 2' has to be refused"),
        (lambda text: walked(text, {ast.FloorDiv: operator.floordiv}), "Which types of node.op are asked for?"),
        (lambda text: walked(text, {ast.USub: operator.neg}), "Is a sign in front of a number a BinOp?"),
        (lambda text: walked(text, {}, SyntaxError), "What does ast.parse raise for it?"),
        (lambda text: walked(text, {}, whole=int), "What is the type of node.value?"),
        (from_left, "products do not come before sums"),
        (always_plus, "every sign is read as"),
        (swapped, "left and right are swapped"),
        (float, "your function stopped"),
    ],
    "group": [
        (lambda r: (r - r.mean()) / (r.std() + 1e-4), "the mean of all problems"),
        (lambda r: (r - r.mean(0)) / (r.std(0) + 1e-4), "not over the attempts"),
        (lambda r: centred(r) / r.std(1, keepdim=True), "whose rewards are all the same stands NaN"),
        (lambda r: centred(r) / (r.std(1, keepdim=True) + 1e-8), "0.0001 is not added"),
        (lambda r: centred(r) / r.std(1, keepdim=True).clamp(min=1e-4), "0.0001 is not added"),
        (lambda r: r - r.mean(1, keepdim=True), "the standard deviation is missing"),
        (lambda r: -group(r), "the sign is turned"),
        (lambda r: r / (r.std(1, keepdim=True) + 1e-4), "the mean is not subtracted"),
        (lambda r: group(r, correction=0), "n - 1 is meant"),
        (lambda r: (r - r.mean(1, keepdim=True)) / (r.var(1, keepdim=True) + 1e-4), "divided by the variance"),
    ],
    "pass": [
        (lambda n, c, k: 1 - (1 - c / n) ** k, "with replacement"),
        (lambda n, c, k: math.comb(n - c, k) / math.comb(n, k), "all k are wrong"),
        (lambda n, c, k: c / n, "pass@1"),
        (lambda n, c, k: math.comb(c, k) / math.comb(n, k), "all k are right"),
    ],
    "recall": [
        (lambda f, p, k: sum(x in few[:k] for few, x in zip(f, p, strict=True)) / len(p) / k, "divided by k"),
        (lambda f, p, k: np.mean([x in few for few, x in zip(f, p, strict=True)]), "not at the first k"),
        (lambda f, p, k: sum(x in few[:k] for few, x in zip(f, p, strict=True)), "not their share"),
        (lambda f, p, k: sum(x in few[:k] for few, x in zip(f, p, strict=True)) / k, "not by the number of questions"),
        (lambda f, p, k: np.mean([x == few[k - 1] for few, x in zip(f, p, strict=True)]), "the k-th place alone"),
        (
            lambda f, p, k: np.mean([x in few[:k] for few, x in zip(f, p, strict=True)]) + 0.1 * (k == 2),
            "3, ...], places = [4, 5, 2, 0, 4], k = 2 a number is 0.5 and should be 0.4. Which of the places that",
        ),
        (lambda f, p, k: 1 - np.mean([x in few[:k] for few, x in zip(f, p, strict=True)]), "that fail"),
    ],
    "int8": [
        (lambda w: scaled(w, 127, torch.trunc), "cut off and not rounded"),
        (lambda w: scaled(w, 255), "divided by 255"),
        (lambda w: (scaled(w, 127)[0], 127 / w.abs().max()), "turned over"),
        (lambda w: (scaled(w, 127)[0] * w.abs().max() / 127, w.abs().max() / 127), "not the whole numbers"),
        (lambda w: scaled(w, 127)[::-1], "the two are exchanged"),
        (lambda w: scaled(w, 127)[0], "two results are needed"),
    ],
}


@pytest.mark.parametrize("name", EXERCISES)
def test_a_stub_says_how_to_begin_and_the_notebook_goes_on(name: str) -> None:
    check, function = EXERCISES[name]
    code = cells()[f"comp-ex-{name}-code"]
    namespace: dict[str, Any] = {"check": exercises}
    with redirect_stdout(StringIO()) as shown:
        exec(code, namespace)
    assert re.fullmatch(r"Not yet: the function gives back nothing so far\. .{20,}[.?]\n", shown.getvalue())
    assert namespace[function].__doc__
    assert code.endswith(f"check.{check.__name__}({function})")


@pytest.mark.parametrize("name", EXERCISES)
def test_the_folded_solution_is_right(name: str) -> None:
    text, (check, function) = cells()[f"comp-ex-{name}"], EXERCISES[name]
    assert re.match(r"\*\*Exercise: .+\*\* \(\d+ minutes, (easy|medium|harder)\)\. ", text)
    assert told(check, solved(name)).startswith("Right: ")
    stub: dict[str, Any] = {"check": exercises}
    with redirect_stdout(StringIO()):
        exec(cells()[f"comp-ex-{name}-code"], stub)
    assert signature(solved(name)) == signature(stub[function])


def test_a_method_may_be_called_eval() -> None:
    assert told(exercises.check_calculator, by_method).startswith("Right: ")


@pytest.mark.parametrize(("name", "answer", "said"), [(n, a, s) for n, each in WRONG.items() for a, s in each])
def test_a_usual_mistake_is_named(name: str, answer: Answer, said: str) -> None:
    line = told(EXERCISES[name][0], answer)
    assert line.startswith("Not yet: ")
    assert said in line
