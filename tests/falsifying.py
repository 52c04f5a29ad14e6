"""Runs the cell that measures a lesson in a world made for it, to see that the lesson can fail."""

import ast
import contextlib
import io
import json
import os
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np

from genai_labs.course.runner import EVERY_NOTEBOOK
from genai_labs.loading import data, profiles
from genai_labs.paths import ROOT
from genai_labs.show import lessons, predictions
from genai_labs.show.lesson_cards import Lesson

CALL = re.compile(r'\b(lesson|open_question)\(\s*"([^"]+)"')


def lesson_cell(lab: int, id: str) -> str:
    """The source of the code cell of a lab's notebook that measures a lesson.

    Raises LookupError unless exactly one cell does.
    """
    found = [source for source in _code_cells(lab) if id in (each for _, each in CALL.findall(source))]
    if len(found) != 1:
        raise LookupError(f"{len(found)} cells of lab {lab} measure lesson {id}, one should.")
    return found[0]


def lesson_ids(lab: int) -> list[str]:
    """The ids of all lessons that a lab's notebook measures, in the order of its cells."""
    return [id for source in _code_cells(lab) for kind, id in CALL.findall(source) if kind == "lesson"]


def question_ids(lab: int) -> list[str]:
    """The ids of all open questions that a lab's notebook asks, in the order of its cells."""
    return [id for source in _code_cells(lab) for kind, id in CALL.findall(source) if kind == "open_question"]


def measured(lab: int, id: str, namespace: Mapping[str, Any], folder: Path) -> Lesson:
    """Run the cell of a lesson as it stands in the notebook, and give the lesson that it measured.

    namespace: the names that the cells before it would have left behind. It goes before what these cells import, which
    is there without being named, as is np. folder: where lessons.json is written. What the cell shows is thrown away.
    """
    source = lesson_cell(lab, id)
    with _elsewhere(folder):
        _run(source, f"lesson {id}", {"np": np, **_imported(lab, source), **namespace})
        return lessons._measured[id]


def prepared(lab: int, id: str, namespace: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """The names with which `measured` can run a lesson: those given, and those of the earlier cells that it rests on.

    Earlier cells are run as they stand, in their order: those that make a name or add outputs to a board which the
    lesson or another of these cells uses, and which `namespace` (or the `board` in it) does not hold.
    """
    source = lesson_cell(lab, id)
    given = set(namespace) | {f'"{name}' for name in getattr(namespace.get("board"), "outputs", ())}
    cells = _code_cells(lab)
    names = {"np": np, **_imported(lab, source), **namespace}
    wanted = _uses(source) - given
    chosen: list[int] = []
    for place in reversed(range(cells.index(source))):
        if _serves(_makes(cells[place]), wanted):
            chosen.append(place)
            wanted |= _uses(cells[place]) - given
    with _elsewhere(folder):
        for place in sorted(chosen):
            _run(cells[place], f"cell {place} of lab {lab}", names)
    return names


def _serves(made: frozenset[str], wanted: frozenset[str]) -> bool:
    starts = tuple(each for each in made if each.startswith('"'))
    return bool(made & wanted) or any(each.startswith(starts) for each in wanted)


def _run(source: str, what: str, names: dict[str, Any]) -> None:
    with contextlib.redirect_stdout(io.StringIO()):
        exec(compile(source, f"<{what}>", "exec"), names)


@contextlib.contextmanager
def _elsewhere(folder: Path) -> Iterator[None]:
    """What lessons write goes to a folder, and what is measured inside is forgotten outside."""
    where = {"GENAI_LABS_OUT": str(folder), "GENAI_LABS_PROFILE": "mini"}
    with (
        mock.patch.dict(os.environ, where),
        mock.patch.object(profiles, "loaded", None),
        mock.patch.dict(lessons._measured, clear=True),
        mock.patch.dict(predictions._met, clear=True),
        mock.patch.dict(predictions._guesses, clear=True),
    ):
        yield


@cache
def _code_cells(lab: int) -> tuple[str, ...]:
    path = ROOT / "notebooks" / EVERY_NOTEBOOK[lab]
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    return tuple("".join(cell["source"]) for cell in cells if cell["cell_type"] == "code")


@cache
def _imported(lab: int, last: str) -> dict[str, Any]:
    """What is imported by a lab's cells up to one of them; the rest of these cells is not run."""
    cells = _code_cells(lab)
    names: dict[str, Any] = {}
    for source in cells[: cells.index(last) + 1]:
        for statement in _imports(ast.parse(source)):
            exec(ast.unparse(statement), names)
    return names


def _imports(tree: ast.AST) -> Iterator[ast.stmt]:
    """Import statements outside of functions, those inside of `try` and `with` as well."""
    for child in ast.iter_child_nodes(tree):
        if isinstance(child, (ast.Import, ast.ImportFrom)):
            yield child
        elif not isinstance(child, (ast.FunctionDef, ast.ClassDef)):
            yield from _imports(child)


@cache
def _uses(source: str) -> frozenset[str]:
    """Names that a cell needs from elsewhere, and the texts in it, the latter with a quotation mark in front."""
    nodes = list(ast.walk(ast.parse(source)))
    named = [node for node in nodes if isinstance(node, ast.Name)]
    own = {node.id for node in named if isinstance(node.ctx, ast.Store)}
    own |= {node.arg for node in nodes if isinstance(node, ast.arg)}
    texts = {f'"{node.value}' for node in nodes if isinstance(node, ast.Constant) and isinstance(node.value, str)}
    return frozenset({node.id for node in named} - own | texts)


@cache
def _makes(source: str) -> frozenset[str]:
    """Names that a cell sets, and what it adds to a board (of an f-string the start), a quotation mark in front."""
    nodes = list(ast.walk(ast.parse(source)))
    made = {node.id for node in nodes if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)}
    made |= {node.name for node in nodes if isinstance(node, ast.FunctionDef)}
    return frozenset(made | {f'"{text}' for text in re.findall(r'\.add\(f?"([^"{]+)', source)})


def some_alike_first(rows: Sequence[data.Row], count: int) -> list[data.Row]:
    """In front so many that share a situation with others, then those that stand alone, then the rest.

    So that a world has dialogues of one situation, and not so few situations that a share of 1 among them tells little.
    """
    alike = Counter(row.situation for row in rows)
    rows = sorted(rows, key=lambda row: -alike[row.situation])
    return rows[:count] + sorted(rows[count:], key=lambda row: alike[row.situation])
