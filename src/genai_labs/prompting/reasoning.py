"""Reasoning: word problems, answered at once or step by step, and a calculator for the steps.

Chain of thought: Wei et al. 2022, https://arxiv.org/abs/2201.11903. Where a model writes "36 + 6 =", a calculator says
what that is, as in Cobbe et al. 2021, https://arxiv.org/abs/2110.14168.
"""

from __future__ import annotations

import re

from genai_labs.inputs.arguments import as_text
from genai_labs.loading import lab_data
from genai_labs.loading.lab_data import Example
from genai_labs.prompting.prompts import PROBLEM_PROMPT, REASONING_PROMPT

SUM = re.compile(r"(\d+) ([-+*]) (\d+) = (\d+)")
MOST_DIGITS = 15  # of a number that is reckoned with: a model that goes on multiplying could write any


def problems(count: int = 200, worked: bool = True, seed: int = 0) -> list[Example]:
    """Word problems whose numbers no training had together in these places; the same with and without ``worked``."""
    rows = lab_data.read("reasoning/word_problems.csv", "seed", "problem", "reasoning", "answer")
    drawn = lab_data.draw(rows, count, seed, "word problems")
    if not worked:
        return [Example("word problem", PROBLEM_PROMPT.format(problem=row["problem"]), row["answer"]) for row in drawn]
    return [
        Example(
            "word problem, worked",
            REASONING_PROMPT.format(problem=row["problem"]),
            f"{row['reasoning']} The answer is {row['answer']}.",
        )
        for row in drawn
    ]


def final_number(text: str) -> int | None:
    """The last whole number of an answer, None if it holds none, or one of more than MOST_DIGITS digits."""
    found = re.findall(r"\d+", as_text(text, "The answer"))
    return _number(found[-1]) if found else None


def with_calculator(text: str) -> int | None:
    """What a worked solution comes to when each "a + b =" in it is reckoned right, None if there is none.

    A result that the model got wrong and used again in a later line is replaced there, too. A sum with a number of more
    than MOST_DIGITS digits is left unsolved, as the model wrote it.
    """
    mended: dict[int, int] = {}
    result = None
    for left, sign, right, wrote in SUM.findall(as_text(text, "The solution")):
        written, numbers = _number(wrote), [_number(left), _number(right)]
        result = written
        if None not in numbers:
            a, b = (mended.get(number, number) for number in numbers if number is not None)
            reckoned = {"+": a + b, "-": a - b, "*": a * b}[sign]
            if abs(reckoned) < 10**MOST_DIGITS:
                result = reckoned
                if written is not None:
                    mended[written] = reckoned
    return result


def _number(digits: str) -> int | None:
    return int(digits) if len(digits) <= MOST_DIGITS else None
