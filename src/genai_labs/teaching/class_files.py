"""The guesses of a class, read from files that learners hand in: finished notebooks, or lessons.json of their runs.

Nothing in a file is executed. A guess in a notebook is read from the table at its end, which has what the learner's own
run measured beside it; where that table is missing, from its cells, and then it is held against the stored results.
"""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from genai_labs.course.runner import EVERY_NOTEBOOK
from genai_labs.course.working_copy import read_notebook
from genai_labs.errors import LabError
from genai_labs.paths import RESULTS
from genai_labs.show.predictions import MET, MISSED, NAIVE, YOU, Guess, as_chosen
from genai_labs.show.record import ID, read_lessons

OWN, STORED = "own run", "stored results"
NUMBER = r"[-+]?\d[\d,]*(?:\.\d+)?(?:e[-+]?\d+)?"
ROW = re.compile(
    rf"^({ID})\s+({NUMBER})\s+({YOU}|{NAIVE})\s.*\[\W?({NUMBER}), \W?({NUMBER})\]\s+(?:in the interval|too \w+)$",
    re.MULTILINE,
)
CHOICE_ROW = re.compile(
    rf"^({ID}) {{2,}}(\S.*?) {{2,}}({YOU}|{NAIVE})\s.*\[\W?({NUMBER}), \W?({NUMBER})\]\s+({MET}|{MISSED})$",
    re.MULTILINE,
)
# Names of files and folders that name no learner.
COMMON = re.compile(r"lessons|(?:lab|week)\d\w*|build|work|notebooks|\.ipynb_checkpoints")
# What a copy's name has more; a number in brackets only behind a name of the course, as there may be several students.
COPY = re.compile(r"^Copy of |(?:\.nbconvert|-checkpoint|[ _-]+[Cc]opy ?\(?\d*\)?)+$")
OF_THE_COURSE = re.compile(r"(?:Copy of )?(?:lessons|(?:lab|week)\d)")
NUMBERED_COPY = re.compile(COPY.pattern.replace("(?:", r"(?:[ _-]*\(\d+\)|", 1))
OF_A_LAB = re.compile(r"((?:lab|week)\d)(.*)")
# What else a learner's own file may be called.
VERSION = re.compile(r"(?:(?:student|solutions?|final|old|new|backup|executed|done|finished|draft|v?\d)[ _-]*)*")


@dataclass(frozen=True)
class ClassGuess:
    """What one learner expected of a lesson, and the interval that it is held against.

    guess: a number, or a choice; guess_was: of a choice whether it was as measured.
    """

    learner: str
    lesson: str
    guess: float | str
    low: float
    high: float
    held_against: str
    guess_was: str | None = None


def read_class(paths: Iterable[Path], anonymous: bool = False) -> tuple[list[ClassGuess], list[str]]:
    """The guesses that learners typed, each lesson of a learner once, and a sentence for each file with others or none.

    anonymous: the sentences number the files, whose names tell who handed them in.
    """
    found: dict[tuple[str, str], ClassGuess] = {}
    problems = []
    paths = list(paths)
    for number, path in enumerate(paths, start=1):
        name = f"File {number} of {len(paths)}" if anonymous else str(path)
        try:
            rows = read_file(path, learner_of(path, paths))
        except (LabError, OSError, ValueError) as error:
            why = "" if anonymous else f": {str(error)[:160]}"
            problems.append(f"{name} is left out, because it cannot be read{why}")
            continue
        if not rows:
            problems.append(f"{name} holds no guess that somebody typed.")
        again = [row.lesson for row in rows if (row.learner, row.lesson) in found]
        if again:
            who = "this learner" if anonymous else rows[0].learner
            problems.append(f"{name}: not counted, as another file of {who} has these lessons: {', '.join(again)}.")
        for row in rows:
            found.setdefault((row.learner, row.lesson), row)
    return list(found.values()), problems


def read_file(path: Path, learner: str = "") -> list[ClassGuess]:
    """The guesses of one file. Raises OSError, ValueError or LabError where it cannot be read.

    learner: whose it is, if :func:`learner_of` the path alone is not to say it.
    """
    learner = learner or learner_of(path)
    if path.suffix == ".json":
        if not path.is_file():
            raise FileNotFoundError("there is no such file")
        rows = [row for row in read_lessons(path) if row.get("guess_by") == YOU]
        return [
            ClassGuess(learner, row["id"], row["guess"], row["low"], row["high"], OWN, row.get("guess_was"))
            for row in rows
        ]
    cells = [cell for cell in read_notebook(path)["cells"] if cell["cell_type"] == "code"]
    measured = {row.lesson: row for cell in cells for row in _table(cell, learner)}
    asked = dict(pair for cell in cells for pair in _typed(cell["source"]))
    stored = {
        lesson: ClassGuess(
            learner,
            lesson,
            guess.value,
            *(ends := _stored()[lesson]),
            STORED,
            guess.was(*ends) if guess.choices else None,
        )
        for lesson, guess in asked.items()
        if lesson in _stored() and not measured
    }
    return [*measured.values(), *stored.values()]


def learner_of(path: Path, handed_in: Iterable[Path] = ()) -> str:
    """Whose file it is: its name, or that of the nearest folder above it which the course does not use itself.

    What the name of a copy has more ("-Copy1", ".nbconvert") is left out. handed_in: all files; where they lie in one
    folder, and several are of the same lab, as lab1_anna and lab1_ben are, what they are called besides names the
    learners. Where there are folders side by side, these name the learners.
    """
    (lab, own), folder = _called(path), _learners_folder(path.absolute())
    folders = {each: _learners_folder(each.absolute()) for each in (handed_in if own else ())}
    if all(folder == each or folder in each.parents for each in folders.values()):
        beside = {_called(each) for each in folders if folders[each] == folder}
        labs = [of for of, called in beside if called]
        if len(labs) > len(set(labs)):
            return own
    stem = _without_copy(path)
    known = lab and not own  # "lab1_prompting 2" is the course's, too
    return (folder.name if known or COMMON.fullmatch(stem) else stem) or stem


@cache
def _learners_folder(path: Path) -> Path:
    """The nearest folder above an absolute path which the course does not use itself."""
    return next((each for each in path.parents if each.name and not COMMON.fullmatch(each.name)), path.parent)


def _without_copy(path: Path) -> str:
    return (NUMBERED_COPY if OF_THE_COURSE.match(path.stem) else COPY).sub("", path.stem)


@cache
def _called(path: Path) -> tuple[str, str]:
    """Of which lab a notebook is, by its name ("lab1"), and what it is called besides; empty where nothing says it."""
    match = OF_A_LAB.fullmatch(_without_copy(path))
    if path.suffix != ".ipynb" or not match:
        return "", ""
    lab, rest = match.groups()
    for name in (Path(each).stem for each in EVERY_NOTEBOOK.values()):
        rest = rest.removeprefix(name.removeprefix(lab))
    own = rest.strip(" _-")
    return lab, "" if VERSION.fullmatch(own) else own


def _table(cell: dict[str, Any], learner: str) -> list[ClassGuess]:
    """What stands in the table of guesses that a cell shows; of guesses that the learner typed."""
    texts = []
    for output in cell.get("outputs", []):
        data = output.get("data", {}) if isinstance(output, dict) else {}
        text = data.get("text/plain", "") if isinstance(data, dict) else ""
        texts.append("".join(map(str, text)) if isinstance(text, list) else str(text))
    return [
        ClassGuess(learner, lesson, _as_float(guess), _as_float(low), _as_float(high), OWN)
        for text in texts
        for lesson, guess, who, low, high in ROW.findall(text)
        if who == YOU
    ] + [
        ClassGuess(learner, lesson, guess, _as_float(low), _as_float(high), OWN, was)
        for text in texts
        for lesson, guess, who, low, high, was in CHOICE_ROW.findall(text)
        if who == YOU
    ]


def _typed(code: str) -> list[tuple[str, Guess]]:
    """(lesson, guess) of each call of `predict` with a number or a choice typed in, read and not executed."""
    try:
        calls = [node for node in ast.walk(ast.parse(code)) if isinstance(node, ast.Call)]
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return []
    found = []
    for call in calls:
        if isinstance(call.func, ast.Name) and call.func.id == "predict" and len(call.args) == 2:
            try:
                lesson, guess = (ast.literal_eval(each) for each in call.args)
                named = {each.arg: ast.literal_eval(each.value) for each in call.keywords if each.arg != "naive"}
            except (ValueError, TypeError, SyntaxError, RecursionError, MemoryError):
                continue
            choices, level = named.get("choices", ()), named.get("level", 0.0)
            if (
                not isinstance(lesson, str)
                or not isinstance(level, (int, float))
                or not isinstance(choices, (tuple, list))
            ):
                continue
            guess = as_chosen(guess, choices)
            if isinstance(guess, (int, float)) and abs(guess) < 1e9 and not choices:
                found.append((lesson, Guess(float(guess), YOU)))
            elif isinstance(guess, str) and guess in choices and len(choices) in (2, 3):
                found.append((lesson, Guess(guess, YOU, tuple(choices), level)))
    return found


@cache
def _stored() -> dict[str, tuple[float, float]]:
    """The interval of each lesson in the stored results, first seed."""
    found = {}
    for path in sorted(RESULTS.glob("*_seeds.json")):
        for lesson in json.loads(path.read_text(encoding="utf-8")).get("lessons", ()):  # others are not of lessons
            row = next(iter(lesson["seeds"].values()))
            if row:
                found[lesson["id"]] = row["low"], row["high"]
    return found


def _as_float(text: str) -> float:
    return float(text.replace(",", ""))
