"""Every lesson of the companion notebook can fail: its cell is run in worlds without the effect, and in one with it.

What a model writes is made up here, from real problems and notes; what is counted, and how, is the notebook's own.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from genai_labs.loading.data import Row
from genai_labs.reasoning import problems, town
from genai_labs.reasoning.problems import Problem
from genai_labs.show.verdicts import HIGHER, HOLDS, LOWER, NO_CHANGE, NOT_SHOWN, OPEN, OPPOSITE, SMALLER
from tests.falsifying import lesson_ids, measured, prepared, question_ids

LAB = 4
Names = dict[str, Any]
KINDS = ("one step", "two steps", "sum above 100", "new story", "new story, never practised", "new story, two steps")
NEW = KINDS[3:5]
ATTEMPTS = 16


@cache
def asked() -> dict[str, list[Problem]]:
    return {kind: problems.of_kind(kind, 60) for kind in KINDS}


def told(count: int = 60) -> dict[str, list[str]]:
    """The story of each problem."""
    return {kind: [each.story for each in those[:count]] for kind, those in asked().items()}


def write(share: float) -> dict[str, list[str]]:
    """Solutions of all problems, of which the first ``share`` are right."""
    return {
        kind: [
            f"Words. 1 + 1 = {each.answer}. The answer is {each.answer if place < share * 60 else 999}."
            for place, each in enumerate(those)
        ]
        for kind, those in asked().items()
    }


def some(share: float, n: int = 100) -> NDArray[np.float64]:
    return (np.arange(n) < share * n).astype(float)


def texts_world(steps: float, at_once: float) -> Names:
    return {"asked": asked(), "stories": told(), "KINDS": KINDS, "by_steps": write(steps), "at_once": write(at_once)}


def aided_world(aided: float, alone: float) -> Names:
    solved = {kind: problems.solved(texts, asked()[kind]) for kind, texts in write(alone).items()}
    return {
        "asked": asked(),
        "stories": told(),
        "TOOL_KINDS": KINDS[:4],
        "solved_by_steps": solved,
        "interrupted": write(alone),
        "aided": write(aided),
    }


def practised_world(after: float, before: float) -> Names:
    made = {"solved_after": after, "solved_before": before}
    return {name: {kind: some(share, 60) for kind in NEW} for name, share in made.items()} | {"stories": told()}


def reach(after: float, before: float) -> Names:
    made = {"right_after": after, "right_before": before}
    names: Names = {name: {kind: 4 * some(share, 60) for kind in NEW} for name, share in made.items()}
    return names | {"ATTEMPTS": ATTEMPTS, "stories": told()}


def says(after: str, before: str) -> Names:
    return {
        "TESTED": NEW,
        "stories": told(30),
        "written_after": dict.fromkeys(NEW, [after] * 30),
        "written_before": dict.fromkeys(NEW, [before] * 30),
    }


HONEST, CONTRADICTING = "We take away. 51 - 13 = 38.", "We add both colors. 51 - 13 = 38."


def knowing(stale: float, by_heart: float = 0.5, reading: float = 0.5) -> Names:
    """Answers without a note, of which so many are stale, and shares read rightly from today's note."""
    facts = [fact for fact in town.read_town()[0] if fact.later][:40]
    stale_ones, right = [fact.answer for fact in facts], [fact.later_answer for fact in facts]

    def mixed(share: float, of: list[str]) -> list[str]:
        return [text if place < share * 40 else "nobody knows" for place, text in enumerate(of)]

    replies = {
        "by heart, today's note": mixed(by_heart, right),
        "nothing by heart, today's note": mixed(reading, right),
    }
    return {"changed": facts, "closed_book": mixed(stale, stale_ones), "later": right, "replies": replies}


def asked_of_town(count: int = 200, **names: Any) -> Names:
    """What was measured on so many questions about notes that are there, or that are not, whose kinds are counted."""
    there, missing = town.read_town()
    return {"wanted": there[:count], "mixed": missing[:count], **names}


def tools_world(both: float, search: float, neither: float = 0.0) -> Names:
    shares = {"both": both, "search": search, "calculator": 0.1, "neither": neither}
    every_third = {"both": np.arange(100) % 3 == 0}  # needs both tools
    return {"succeeded": {name: some(share) for name, share in shares.items()}, "of_kind": every_third}


def small_world(**means: float) -> Names:
    """Content F1 of dialogues of 60 situations, scattered around a mean for each model."""
    draw = np.random.default_rng(0)
    base = draw.normal(0.45, 0.1, 120)
    names = ("as it is", "int8", "pruned by 0.4", "student, untaught", "student, distilled")
    given = dict(zip(("int8", "pruned", "untaught", "distilled"), names[1:], strict=True))
    f1 = dict.fromkeys(names, base) | {
        given[name]: base + change + draw.normal(0, 0.02, 120) for name, change in means.items()
    }
    rows = [Row(str(i), "", ("",), "", f"situation {i // 2}") for i in range(120)]
    return {"f1": f1, "rows": rows, "grouped": [row.situation for row in rows]}


Make = Callable[[], Names]
# Lesson, what is so in the world, its names, the verdict.
WITHOUT: list[tuple[str, str, Make, str]] = [
    ("4.1", "steps bring nothing", lambda: texts_world(0.3, 0.3), NO_CHANGE),
    ("4.1", "steps bring a little", lambda: texts_world(0.5, 0.3), SMALLER),
    ("4.1", "steps harm", lambda: texts_world(0.1, 0.6), OPPOSITE),
    ("4.2", "steps bring nothing", lambda: texts_world(0.3, 0.3), NO_CHANGE),
    ("4.2", "steps harm", lambda: texts_world(0.1, 0.6), OPPOSITE),
    ("4.3", "steps bring much", lambda: texts_world(0.9, 0.1), OPPOSITE),
    ("4.3", "steps bring about 0.10", lambda: texts_world(0.2, 0.1), NOT_SHOWN),
    ("4.4", "the calculator changes nothing", lambda: aided_world(0.2, 0.2), NO_CHANGE),
    ("4.4", "the calculator brings about half", lambda: aided_world(0.7, 0.2), NOT_SHOWN),
    ("4.5", "practice changes nothing", lambda: practised_world(0.3, 0.3), NO_CHANGE),
    ("4.5", "practice harms", lambda: practised_world(0.1, 0.5), OPPOSITE),
    ("4.5", "practice helps, perhaps by 0.10", lambda: practised_world(0.45, 0.3), NOT_SHOWN),
    ("4.10", "what was learned is forgotten", lambda: knowing(0.2), OPPOSITE),
    ("4.10", "about as much is stale as claimed", lambda: knowing(0.75), NOT_SHOWN),
    ("4.12", "the search finds half", lambda: asked_of_town(recall={1: some(0.5, 200)}), OPPOSITE),
    ("4.12", "the search finds about as many", lambda: asked_of_town(recall={1: some(0.87, 200)}), NOT_SHOWN),
    ("4.13", "three notes are read like one", lambda: asked_of_town(100, correct=three(0.9, 0.9)), NO_CHANGE),
    ("4.13", "three notes help", lambda: asked_of_town(100, correct=three(0.95, 0.6)), OPPOSITE),
    ("4.14", "few are refused", lambda: asked_of_town(150, refused=some(0.4, 150)), OPPOSITE),
    ("4.14", "about as many are refused", lambda: asked_of_town(150, refused=some(0.72, 150)), NOT_SHOWN),
    ("4.15", "tools bring nothing", lambda: tools_world(0.3, 0.3, 0.3), NO_CHANGE),
    ("4.15", "tools bring a little", lambda: tools_world(0.3, 0.2), SMALLER),
    ("4.16", "the second tool brings nothing", lambda: tools_world(0.6, 0.6), NO_CHANGE),
    ("4.16", "the second tool brings a little", lambda: tools_world(0.48, 0.4), NO_CHANGE),
    ("4.16", "the second tool harms", lambda: tools_world(0.3, 0.8), OPPOSITE),
    ("4.17", "int8 costs much", lambda: small_world(int8=-0.2), OPPOSITE),
    ("4.17", "int8 costs about as much", lambda: small_world(int8=-0.03), NOT_SHOWN),
    ("4.17", "int8 costs 0.05", lambda: small_world(int8=-0.05), OPPOSITE),
    ("4.18", "pruning costs nothing", lambda: small_world(pruned=0.0), NO_CHANGE),
    ("4.18", "pruning helps", lambda: small_world(pruned=0.2), OPPOSITE),
    ("4.19", "distillation brings nothing", lambda: small_world(distilled=-0.3, untaught=-0.3), NO_CHANGE),
    ("4.19", "distillation brings a little", lambda: small_world(distilled=-0.25, untaught=-0.3), SMALLER),
    ("4.20", "the student is as good", lambda: small_world(distilled=0.0), NO_CHANGE),
    ("4.20", "the student is better", lambda: small_world(distilled=0.1), OPPOSITE),
]
WITH: list[tuple[str, Make]] = [
    ("4.1", lambda: texts_world(0.95, 0.05)),
    ("4.2", lambda: texts_world(0.95, 0.05)),
    ("4.3", lambda: texts_world(0.0, 0.0)),
    ("4.4", lambda: aided_world(0.95, 0.0)),
    ("4.5", lambda: practised_world(0.8, 0.3)),
    ("4.10", lambda: knowing(1.0)),
    ("4.12", lambda: asked_of_town(recall={1: some(0.96, 200)})),
    ("4.13", lambda: asked_of_town(100, correct=three(0.4, 0.95))),
    ("4.14", lambda: asked_of_town(150, refused=some(0.9, 150))),
    ("4.15", lambda: tools_world(0.9, 0.3)),
    ("4.16", lambda: tools_world(0.9, 0.3)),
    ("4.17", lambda: small_world(int8=-0.01)),
    ("4.18", lambda: small_world(pruned=-0.15)),
    ("4.19", lambda: small_world(distilled=-0.1, untaught=-0.4)),
    ("4.20", lambda: small_world(distilled=-0.1, untaught=-0.4)),
]
ASKED: list[tuple[str, Make, str]] = [
    ("4.6", lambda: practised_world(0.9, 0.2), HIGHER),
    ("4.6", lambda: practised_world(0.2, 0.9), LOWER),
    ("4.6", lambda: practised_world(0.4, 0.4), OPEN),
    ("4.7", lambda: reach(0.9, 0.5), HIGHER),
    ("4.7", lambda: reach(0.5, 0.9), LOWER),
    ("4.7", lambda: reach(0.6, 0.6), OPEN),
    ("4.8", lambda: reach(0.9, 0.5), HIGHER),
    ("4.8", lambda: reach(0.5, 0.9), LOWER),
    ("4.8", lambda: reach(0.6, 0.6), OPEN),
    ("4.9", lambda: says(CONTRADICTING, HONEST), HIGHER),
    ("4.9", lambda: says(HONEST, CONTRADICTING), LOWER),
    ("4.9", lambda: says(HONEST, HONEST), OPEN),
    ("4.11", lambda: knowing(1.0, by_heart=0.9, reading=0.5), HIGHER),
    ("4.11", lambda: knowing(1.0, by_heart=0.5, reading=1.0), LOWER),
    ("4.11", lambda: knowing(1.0, by_heart=0.8, reading=0.8), OPEN),
]
EARLIER = ("4.1", "4.2", "4.3", "4.4")  # the cells before count what was written


def three(notes: float, one: float) -> Names:
    return {"the first three": some(notes), "the first note found": some(one)}


def verdict(id: str, names: Names, folder: Path) -> tuple[str, bool]:
    names = prepared(LAB, id, names, folder) if id in EARLIER else names
    found = measured(LAB, id, names, folder)
    return found.verdict, found.holds


@pytest.mark.parametrize(
    ("id", "make", "expected"), [pytest.param(i, m, v, id=f"{i}, {says_}") for i, says_, m, v in WITHOUT]
)
def test_a_lesson_does_not_hold_without_its_effect(id: str, make: Make, expected: str, tmp_path: Path) -> None:
    assert verdict(id, make(), tmp_path) == (expected, False)


@pytest.mark.parametrize(("id", "make"), WITH)
def test_a_lesson_holds_where_its_effect_is_large(id: str, make: Make, tmp_path: Path) -> None:
    assert verdict(id, make(), tmp_path) == (HOLDS, True)


@pytest.mark.parametrize(("id", "make", "answer"), ASKED)
def test_an_open_question_gets_the_answer_of_its_world(id: str, make: Make, answer: str, tmp_path: Path) -> None:
    assert verdict(id, make(), tmp_path)[0] == answer


def test_every_lesson_has_a_falsifier_and_every_question_a_world_for_each_answer() -> None:
    assert set(lesson_ids(LAB)) == {id for id, *_ in WITHOUT} == {id for id, _ in WITH}
    answers = {id: {answer for each, _, answer in ASKED if each == id} for id in question_ids(LAB)}
    assert answers == dict.fromkeys((id for id, *_ in ASKED), {HIGHER, LOWER, OPEN})
