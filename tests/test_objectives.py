"""docs/objectives.md: every objective has a section, and a lesson, an exercise or a question that meets it."""

from __future__ import annotations

import re
from functools import cache

import nbformat
import pytest

from genai_labs.course.runner import EVERY_NOTEBOOK
from genai_labs.paths import NOTEBOOKS, ROOT
from genai_labs.show.quiz import quiz_questions

PAGE = ROOT / "docs" / "objectives.md"
COURSE = {  # what the three weeks are to teach
    1: "pre-training against fine-tuning, transformer, life cycle, memory, scaling laws, without an instruction, "
    "zero shot, one-shot and few-shot, generation settings",
    2: "full fine-tuning, PEFT and LoRA, ROUGE, savings outweigh, instruction fine-tuning, catastrophic forgetting, "
    "remedies",
    3: "PPO, hate-speech, RLHF, reward models from human labels, chain of thought, knowledge cut-offs, retrieval",
}


def rows() -> list[list[str]]:
    found = [
        line.strip("|").split("|") for line in PAGE.read_text(encoding="utf-8").splitlines() if line[:3] in "| 1| 2| 3"
    ]
    return [[cell.strip() for cell in row] for row in found if len(row) == 5]


@cache
def lab_text(lab: int, kind: str) -> str:
    cells = nbformat.read(NOTEBOOKS / EVERY_NOTEBOOK[lab], as_version=4).cells
    return "\n".join(cell.source for cell in cells if cell.cell_type == kind)


def sections(where: str) -> list[tuple[int, int]]:
    """(lab, section) of each section that is named, such as in "Lab 1, sections 2 to 4 and 6; Lab 2, section 1"."""
    found = []
    for lab, named in re.findall(r"Lab (\d), sections? ([\d ,toand]+)", where.replace("Companion", "Lab 4")):
        spans = re.findall(r"(\d+)(?: to (\d+))?", named)
        found += [(int(lab), number) for low, high in spans for number in range(int(low), int(high or low) + 1)]
    return found


@pytest.mark.parametrize("week", COURSE)
def test_every_objective_of_the_course_has_a_row(week: int) -> None:
    objectives = " | ".join(row[1] for row in rows() if row[0] == str(week))
    assert [each for each in COURSE[week].split(", ") if each not in objectives] == []


@pytest.mark.parametrize("row", rows(), ids=lambda row: row[1])
def test_what_a_row_names_exists(row: list[str]) -> None:
    week, _, where, lessons, practised = row
    assert sections(where)
    for lab, number in sections(where):
        assert re.search(rf"^## {number}\. ", lab_text(lab, "markdown"), re.MULTILINE), f"Lab {lab}, section {number}"
    for lesson in filter(None, lessons.split(", ")):
        assert re.search(rf'(lesson|open_question)\(\s*"{re.escape(lesson)}"', lab_text(int(lesson[0]), "code")), lesson
    for name in re.findall(r"`(check_\w+)`", practised):
        assert any(f"check.{name}(" in lab_text(lab, "code") for lab in EVERY_NOTEBOOK), name
    for quiz, question in re.findall(r"quiz (\d), question (\d)", practised):
        assert int(question) <= len(quiz_questions()[int(quiz)])
    assert lessons or re.search(r"check_|question", practised), "nothing meets this objective"


def test_a_row_is_understood() -> None:
    assert sections("Lab 1, sections 1 and 5; Lab 2, section 4") == [(1, 1), (1, 5), (2, 4)]
    assert sections("Lab 2, sections 5 to 7, 9 and 10") == [(2, 5), (2, 6), (2, 7), (2, 9), (2, 10)]
    assert len(rows()) > 25


def test_every_lesson_and_every_exercise_serves_an_objective() -> None:
    page = PAGE.read_text(encoding="utf-8")
    code = "\n".join(lab_text(lab, "code") for lab in EVERY_NOTEBOOK)
    lessons = set(re.findall(r'(?:lesson|open_question)\(\s*"(\d\.\d+)"', code))
    assert {lesson for lesson in lessons if not re.search(rf"(?<![\d.]){re.escape(lesson)}(?!\d)", page)} == set()
    assert {name for name in re.findall(r"check\.(check_\w+)\(", code) if f"`{name}`" not in page} == set()
    questions = [(week, number) for week, each in quiz_questions().items() for number in range(1, len(each) + 1)]
    assert [q for q in questions if f"quiz {q[0]}, question {q[1]}" not in page] == []
