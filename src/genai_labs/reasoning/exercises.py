"""The exercises of the companion notebook, checked: compared with the package's formulas and with PyTorch.

Each check calls the learner's function on small inputs, prints one line ("Right: ..." or "Not yet: ..."), and gives
back nothing. A usual mistake is named where it explains every number of every input.
"""

from __future__ import annotations

import dis
import os
from collections.abc import Callable, Sequence
from inspect import signature
from textwrap import shorten
from types import CodeType
from typing import Any

import numpy as np
import torch

from genai_labs.errors import LabError
from genai_labs.reasoning import mistakes
from genai_labs.reasoning.calculator import calculate
from genai_labs.reasoning.problems import pass_at_k
from genai_labs.reasoning.town import recall_at
from genai_labs.rlhf.group import group_advantages
from genai_labs.show.checking import Unanswered, answered, numbers, tell, wrong

Cases = Sequence[tuple[Any, ...]]
NEAR = 1e-4
RAN, TAKEN = "Did something run it?", "What does it do with a node of another kind?"
REFUSED = {  # what a calculator of whole numbers, +, - and * does not take, by a question for whoever takes it
    RAN: ("__import__('os').getcwd()", "abs(5)", "x + 1"),
    "What is the type of node.value?": ("'a' * 3", "1.5 + 1", "True + 1", "2j", "b'a' * 2", "'a'", "None"),
    "Which types of node.op are asked for?": ("2 ** 9", "7 / 2", "7 // 2", "7 % 2", "1 << 3", "6 ^ 3"),
    "Which kinds of node are asked for?": ("1 < 2", "[1]", "1 if 2 else 3"),
    "Is a sign in front of a number a BinOp?": ("-5", "+5", "~5"),
    "What does ast.parse raise for it?": ("2 +", "2 2", "((", ""),
}


@tell("the advantages of a group", start="Begin with the mean of each row: rewards.mean(1, keepdim=True).")
def check_group_advantages(answer: Any) -> str:
    """answer: rewards [problems, group] to advantages [problems, group]: in standard deviations of the group."""
    draw = torch.Generator().manual_seed(0)
    cases: Cases = [
        (torch.tensor([[1.0, 0, 0, 0], [1, 1, 0, 1], [0, 1, 1, 0]]),),
        (torch.rand(5, 8, generator=draw) * 3,),
        (torch.rand(4, 4, generator=draw) / 10,),  # small enough to tell where 0.0001 was added
    ]

    def ours(rewards: torch.Tensor) -> torch.Tensor:
        return group_advantages(rewards.flatten(), rewards.shape[1]).view_as(rewards)

    same = torch.tensor([[1.0, 1, 1], [0, 0, 0]])
    agreeing = numbers(answered(answer, same), (2, 3), "the advantages of groups whose rewards are all the same")
    _compare_all(
        answer, cases, ours, mistakes.group_mistakes, "What is a group, a row or a column? And what is added to what?"
    )
    if not np.all(np.abs(agreeing) < NEAR):
        wrong("where all rewards of a group are the same, each advantage has to be 0. What is divided by what there?")
    return "68 advantages in 12 groups are the package's, and a group that is right or wrong throughout gets 0"


@tell(
    "pass@k", start="Use math.comb: in how many ways can k of n attempts be drawn, in how many are all of them wrong?"
)
def check_pass_at_k(answer: Any) -> str:
    """answer: (n attempts, c right ones, k) to the chance that one or more of k attempts are right, a number."""
    cases: Cases = [(16, c, k) for c in (1, 3, 8, 14) for k in (1, 4, 16)] + [(8, 0, 4), (8, 8, 2), (5, 3, 4)]
    _compare_all(
        answer, cases, lambda n, c, k: pass_at_k([c], n, k)[0], mistakes.pass_mistakes, "When are all k of them wrong?"
    )
    return f"{len(cases)} cases, also those with none and with all attempts right, are as in Chen et al. 2021"


@tell("recall at k", start="Is the right place among the first k that were found?")
def check_recall(answer: Any) -> str:
    """answer: (found, lists of places; places, the right one of each question; k) to the share of questions."""
    found = [[4, 2, 9, 1], [7, 3, 0, 5], [1, 6, 2, 8], [5, 9, 3, 7], [0, 4, 8, 6]]
    cases: Cases = [(found, [4, 5, 2, 0, 4], k) for k in (1, 2, 3, 4)] + [(found[:2], [9, 7], 3)]
    _compare_all(
        answer,
        cases,
        lambda found, places, k: recall_at(found, places, k).mean(),
        mistakes.recall_mistakes,
        "Which of the places that were found count at this k?",
    )
    return f"{len(cases)} shares of questions are right, for k from 1 to 4"


@tell(
    "the calculator",
    start="ast.parse(expression, mode='eval').body is a node: a Constant, or a BinOp with left, op, right.",
)
def check_calculator(answer: Any) -> str:
    """answer: an expression (text) to its value, an int; ValueError (or LabError) for all but whole numbers, + - *.

    A minus in front of a number is refused here, which the package's calculator takes. Nothing may be run by ``eval``.
    """
    good = ("51 + 78", "7 * 8 - 6", "2 + 3 * 4", "(2 + 3) * 4", "100 - 30 - 20", "12", "12 - 30")
    given = [answered(answer, text) for text in good]
    got = [numbers(value, (), f"the value of {text!r}").item() for text, value in zip(good, given, strict=True)]
    want = [calculate(text) for text in good]
    for said, values in mistakes.calculator_mistakes().items():
        if got == values:
            wrong(said)
    for text, mine, right in zip(good, got, want, strict=True):
        if mine != right:
            wrong(f"{text} is {right}, and your function gives {mine:g}. Which part of the tree comes first?")
    if odd := [value for value in given if not isinstance(value, (int, np.integer))]:
        wrong(f"all values are right, but one is a {type(odd[0]).__name__}, and an int was asked for.")
    for look, texts in REFUSED.items():
        for text in texts:
            _must_refuse(answer, text, look)
    if _runs(answer):
        wrong("all values are right, and your function calls eval or exec: it runs what it is given. Walk the tree.")
    refused = sum(map(len, REFUSED.values()))
    return f"{len(good)} expressions are worked out, and {refused} others refused, among them calls that would be run"


@tell("int8", start="The scale first: the largest absolute weight is to become 127.")
def check_int8(answer: Any) -> str:
    """answer: weights (tensor) to (whole numbers from -127 to 127 of the same shape, scale), symmetric."""
    draw = torch.Generator().manual_seed(1)
    cases = [
        torch.randn(6, 5, generator=draw),
        torch.tensor([0.1, -0.9, 0.4, 0.0]),
        -torch.rand(9, generator=draw) * 7,
    ]
    for weights in cases:
        result = answered(answer, weights)
        if not isinstance(result, (tuple, list)) or len(result) != 2:
            wrong("two results are needed, the whole numbers and the scale. Write: return numbers, scale.")
        if numbers(result[0], None).size == 1 and numbers(result[1], None).shape == tuple(weights.shape):
            wrong("the two are exchanged: the whole numbers come first, and then the scale.")
        whole, scale = (
            numbers(result[0], tuple(weights.shape), "the whole numbers"),
            numbers(result[1], None, "the scale"),
        )
        if scale.size != 1:
            wrong(f"one scale for the whole matrix is asked for, and yours has the shape {scale.shape}.")
        got, right_scale = float(scale.reshape(())), float(weights.abs().max()) / 127
        right = np.round(weights.double().numpy() / right_scale)
        if np.isclose(got, right_scale, rtol=1e-4) and np.array_equal(whole, right):
            continue
        for said, (others, other_scale) in mistakes.int8_mistakes(weights).items():
            if (
                np.isclose(got, other_scale, rtol=1e-4) and (np.abs(whole - others) > NEAR).sum() <= 1
            ):  # one on the edge
                wrong(said)
        if not np.isclose(got, right_scale, rtol=1e-4):
            wrong(f"the scale of these weights is {right_scale:.5f}, and yours is {got:.5f}. What becomes 127?")
        wrong("the scale is right, and the numbers are not the weights divided by it and rounded.")
    return "3 tensors are rounded to within half a step, and the largest weight of each is exact"


def _compare_all(
    answer: Any, cases: Cases, right: Callable[..., Any], usual: Callable[..., dict[str, Any]], look: str
) -> None:
    """Raises a sentence unless the answer is right in all cases: the mistake that explains all of them, or a number."""
    wanted = [np.asarray(right(*case), dtype=np.float64) for case in cases]
    got = [numbers(answered(answer, *case), want.shape) for case, want in zip(cases, wanted, strict=True)]
    if all(np.allclose(mine, want, atol=NEAR) for mine, want in zip(got, wanted, strict=True)):
        return
    explained = [usual(*case) for case in cases]
    for said in explained[0]:
        others = [np.asarray(each[said], dtype=np.float64) for each in explained]
        if all(np.allclose(mine, other, atol=NEAR) for mine, other in zip(got, others, strict=True)):
            wrong(said)
    for case, mine, want in zip(cases, got, wanted, strict=True):
        if not np.allclose(mine, want, atol=NEAR):
            place = np.unravel_index(np.abs(mine - want).argmax(), want.shape)
            wrong(f"for {_shown(right, case)} a number is {mine[place]:.6g} and should be {want[place]:.6g}. {look}")


def _shown(right: Callable[..., Any], case: tuple[Any, ...]) -> str:
    """The arguments by name; of a long list, its beginning."""
    said = [
        "a tensor" if isinstance(each, torch.Tensor) else shorten(str(each), 60, placeholder=" ...]") for each in case
    ]
    return ", ".join(f"{name} = {each}" for name, each in zip(signature(right).parameters, said, strict=True))


def _must_refuse(answer: Any, text: str, look: str) -> None:
    ran = False
    try:
        value = answer(text)
    except (ValueError, LabError, Unanswered):
        return
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # exit() is none that a caller can answer
        came = f"stopped with {type(error).__name__}"
    else:
        came = "gave nothing back" if value is None else f"gave {str(value)[:40]!r}"
        ran = str(value) in (os.getcwd(), "5")  # what these texts give where they are run
    look = TAKEN if look == RAN and not ran else look
    wrong(f"{text!r} has to be refused with a ValueError, and yours {came}. {look}")


def _runs(function: Any) -> bool:
    """Whether a function calls eval or exec, itself, in a function inside of it, or in one beside it that it names.

    A method of that name, or a function of the learner's own, is another thing.
    """
    there, home, seen = getattr(function, "__globals__", {}), getattr(function, "__module__", ""), set[CodeType]()
    left = [getattr(function, "__code__", None)]
    while left:
        code = left.pop()
        if isinstance(code, CodeType) and code not in seen:
            seen.add(code)
            beside = [there.get(name) for name in code.co_names]
            left += [getattr(each, "__code__", None) for each in beside if getattr(each, "__module__", 0) == home]
            left += code.co_consts
    return any(_calls_by_name(code, set(there)) for code in seen)


def _calls_by_name(code: CodeType, own: set[str]) -> bool:
    """Whether code names eval or exec as global names that are not the learner's own, or takes them from builtins."""
    named = {step.argval for step in dis.get_instructions(code) if step.opname in ("LOAD_GLOBAL", "LOAD_NAME")}
    named |= set(code.co_names) if {"builtins", "__builtins__"} & set(code.co_names) else set()
    return bool({"eval", "exec"} & named - own)
