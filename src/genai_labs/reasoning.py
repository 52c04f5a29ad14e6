"""Reasoning: word problems, answered at once or step by step, and a calculator for the steps.

Chain of thought: Wei et al. 2022, https://arxiv.org/abs/2201.11903. Where a model writes "36 + 6 =", a calculator says
what that is: Gao et al. 2022, "PAL", https://arxiv.org/abs/2211.10435, in the small.
"""

from __future__ import annotations

import random
import re

from genai_labs.corpus import tasks
from genai_labs.corpus.tasks import Example

SUM = re.compile(r"(\d+) ([-+*]) (\d+) = (\d+)")


def problems(count: int = 200, worked: bool = True, seed: int = 0, split: str = "test") -> list[Example]:
    """Word problems with numbers that no training has seen; the same ones with and without steps (``worked``)."""
    rng = random.Random(f"problems-{split}-{seed}")
    return [tasks.word_problem(rng, split, worked) for _ in range(count)]


def final_number(text: str) -> int | None:
    """The last whole number of an answer, None if it holds none."""
    found = re.findall(r"\d+", text)
    return int(found[-1]) if found else None


def with_calculator(text: str) -> int | None:
    """What a worked solution comes to when each "a + b =" in it is reckoned right, None if there is none.

    A result that the model got wrong and used again in a later line is replaced there, too.
    """
    mended: dict[int, int] = {}
    result = None
    for left, sign, right, written in SUM.findall(text):
        a, b = (mended.get(int(number), int(number)) for number in (left, right))
        result = {"+": a + b, "-": a - b, "*": a * b}[sign]
        mended[int(written)] = result
    return result
