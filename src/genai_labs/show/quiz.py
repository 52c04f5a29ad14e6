"""Five questions a week, to be answered by letters in a cell, and each answer explained. All of it works offline.

Questions, options and explanations stand in data/quizzes.yaml. A wrong answer is told why it is wrong, and the right
letter is not said until somebody asks for it.
"""

from __future__ import annotations

from functools import cache
from typing import Any

from genai_labs.errors import LabError
from genai_labs.paths import DATA

FILE = DATA / "quizzes.yaml"
LETTERS = "abcd"
UNANSWERED = "Not answered yet."


@cache
def quiz_questions() -> dict[int, list[dict[str, Any]]]:
    """The questions of each week, as the file has them. Raises LabError where it is missing or damaged."""
    import yaml

    try:
        return dict(yaml.safe_load(FILE.read_text(encoding="utf-8")))
    except (OSError, TypeError, ValueError, yaml.YAMLError) as error:
        raise LabError(
            f"The quizzes cannot be read, because {FILE.name} is missing or damaged: {str(error)[:200]}. To get the "
            f"committed one back: git checkout -- data/{FILE.name}"
        ) from error


def quiz(week: int, answers: Any, solutions: bool = False) -> None:
    """Prints, for each question of a week, whether its answer is right, and why or why not.

    answers: a list with a letter for each question, such as ["b", None, "a", "d", None]; None: not answered.
    solutions: print the right answers with all explanations, too. An answer that cannot be read is said so in its line.
    Raises LabError where there is no such week.
    """
    questions = _of_week(week)
    given = list(answers) if isinstance(answers, (list, tuple)) else []
    if len(given) != len(questions):
        print(
            f"Not yet: a list of {len(questions)} answers is needed, a letter or None for each question, and "
            f'{str(answers)[:60]!r} was given. For example: answers = ["b", None, "a", None, None]'
        )
        return
    said = [_answer_in_words(question, _tidy(answer)) for question, answer in zip(questions, given, strict=True)]
    print(_tally(said), *(f"{number}. {line}" for number, line in enumerate(said, start=1)), sep="\n")
    for number, question in enumerate(questions if solutions else [], start=1):
        print(f"\n{number}. The right answer is {right_letter(question)}.")
        for letter, option in zip(LETTERS, question["options"], strict=True):
            print(f"   {letter}) {option['why']}")


def right_letter(question: dict[str, Any]) -> str:
    """The letter of the right option."""
    return next(letter for letter, option in zip(LETTERS, question["options"], strict=True) if "right" in option)


def where_to_read(question: dict[str, Any]) -> str:
    """The section that a question is about, and the lessons that measured it."""
    see = question["see"]
    lessons = " and ".join(see.get("lessons", []))
    measured = f" (lesson{'s' if ' and ' in lessons else ''} {lessons})" if lessons else ""
    return f'Lab {see["lab"]}, section "{see["section"]}"{measured}'


def _of_week(week: Any) -> list[dict[str, Any]]:
    if isinstance(week, bool) or not isinstance(week, int) or week not in quiz_questions():
        raise LabError(
            f"There is no quiz for week {str(week)[:20]!r}, as there are weeks 1, 2 and 3. Name one: quiz(1, answers)"
        )
    return quiz_questions()[week]


def _tidy(answer: Any) -> Any:
    """A letter in lower case and without a bracket; anything else as it is, but None for an Ellipsis."""
    if isinstance(answer, str):
        return answer.strip(" )(.").lower()
    return None if answer is Ellipsis else answer


def _answer_in_words(question: dict[str, Any], letter: Any) -> str:
    if letter is None:
        return UNANSWERED
    if not isinstance(letter, str) or len(letter) != 1 or letter not in LETTERS:
        return (
            f"Not yet: {str(letter)[:20]!r} is none of the letters {', '.join(LETTERS)}. Write one in quotation marks."
        )
    why = question["options"][LETTERS.index(letter)]["why"]
    if letter == right_letter(question):
        return f"Right: {why}"
    return f"Not yet, {letter} is wrong: {why} Read again: {where_to_read(question)}."


def _tally(said: list[str]) -> str:
    line = f"{sum(each.startswith('Right') for each in said)} of {len(said)} right"
    missing = [str(number) for number, each in enumerate(said, start=1) if each == UNANSWERED]
    return f"{line}; not answered yet: {', '.join(missing)}." if missing else f"{line}."
