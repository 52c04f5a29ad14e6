"""Word problems of several kinds, and how many of them a model solves: at once, step by step, in one of k attempts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import comb

import numpy as np
from numpy.typing import NDArray
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from genai_labs.errors import LabError
from genai_labs.inputs.arguments import as_whole_number
from genai_labs.loading import lab_data
from genai_labs.loading.lab_data import Example
from genai_labs.prompting import generation
from genai_labs.prompting.prompts import PROBLEM_PROMPT, REASONING_PROMPT
from genai_labs.prompting.reasoning import final_number

LONGEST_SOLUTION = 48  # tokens; two steps in the words that the model was trained on take about 40


@dataclass(frozen=True)
class Problem:
    """A word problem, its answer, and the story it tells with other numbers, too."""

    story: str
    text: str
    answer: str


def of_kind(kind: str, count: int = 100, seed: int = 0) -> list[Problem]:
    """Problems of one kind by seed. Raises LabError, with the kinds there are, for another one."""
    rows = lab_data.read("reasoning/kinds.csv", "seed", "kind", "story", "problem", "answer")
    chosen = [row for row in rows if row["kind"] == kind]
    if not chosen:
        there = ", ".join(dict.fromkeys(row["kind"] for row in rows))
        raise LabError(f"There are no problems of the kind {str(kind)[:60]!r}. There are: {there}. Name one of them.")
    drawn = lab_data.draw(chosen, count, seed, f"problems of the kind {kind}")
    return [Problem(row["story"], row["problem"], row["answer"]) for row in drawn]


def to_practise(part: str = "practice") -> list[Problem]:
    """Problems to practise on ("practice") or to choose settings by ("validation"), with other numbers than tests."""
    rows = lab_data.read("reasoning/practice.csv", "part", "story", "problem", "answer")
    return [Problem(row["story"], row["problem"], row["answer"]) for row in rows if row["part"] == part]


def worded(problems: Sequence[Problem], worked: bool = True) -> list[Example]:
    """What the model is asked: to answer at once, or (``worked``) step by step; the target is the answer alone."""
    prompt = REASONING_PROMPT if worked else PROBLEM_PROMPT
    return [Example("word problem", prompt.format(problem=each.text), each.answer) for each in problems]


def is_right(text: str, answer: str) -> bool:
    """Whether the last whole number of a text is the answer."""
    return final_number(text) == int(answer)


def write_solutions(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, problems: Sequence[Problem], worked: bool = True
) -> list[str]:
    """The greedy solution of each problem."""
    asked = [each.source for each in worded(problems, worked)]
    return generation.generate(model, tokenizer, asked, generation.greedy(LONGEST_SOLUTION))


def solved(texts: Sequence[str], problems: Sequence[Problem]) -> NDArray[np.float64]:
    """1 where the text's answer is right and 0 elsewhere, [problems]."""
    return np.array([is_right(text, each.answer) for text, each in zip(texts, problems, strict=True)], float)


def attempts_right(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    problems: Sequence[Problem],
    attempts: int,
    seed: int = 0,
) -> NDArray[np.int_]:
    """How many of ``attempts`` solutions of each problem are right, sampled at temperature 1, [problems]."""
    asked = [each.source for each in worded(problems)]
    drawn = generation.sample(model, tokenizer, asked, {"": generation.sampling(LONGEST_SOLUTION)}, attempts, seed)[""]
    return np.array([sum(is_right(t, p.answer) for t in texts) for texts, p in zip(drawn, problems, strict=True)])


def pass_at_k(right: Sequence[int] | NDArray[np.int_], attempts: int, k: int) -> NDArray[np.float64]:
    """Of each problem the chance that one or more of k attempts are right, [problems]; unbiased from n >= k attempts.

    1 - C(n - c, k) / C(n, k) with c of n right: Chen et al. 2021, https://arxiv.org/abs/2107.03374, equation 1. Raises
    LabError where k attempts cannot be drawn from those that there are.
    """
    if as_whole_number(k, "k", 1) > attempts:
        raise LabError(f"pass@{k} cannot be told from {attempts} attempts. Make at least {k}, or take a smaller k.")
    return np.array([1 - comb(attempts - int(c), k) / comb(attempts, k) for c in right])
