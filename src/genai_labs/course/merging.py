"""A learner's notebook and a newer version of the course in one: a three-way merge, cell by cell.

Cells are told apart by their ids. Everything here is a plain dictionary as nbformat 4 defines it, with texts joined.
"""

import copy
import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, fields
from typing import Any, TypeAlias

Cell: TypeAlias = dict[str, Any]
Notebook: TypeAlias = dict[str, Any]

NOTE = "-course"  # ends the id of a cell that shows a new text of the course
CHANGED = (
    "**The course has changed the cell above since you changed it.** Yours was kept. This is the course's new text: "
    "take over what you like, then delete this cell."
)


@dataclass
class Changes:
    """How many cells an update has touched."""

    renewed: int = 0  # not changed by the learner: the course's new text
    added: int = 0
    removed: int = 0
    noted: int = 0  # changed on both sides: the learner's text, and the course's in a cell below
    missed: int = 0  # changed in the course, deleted by the learner: they stay deleted

    def __bool__(self) -> bool:
        return any(getattr(self, each.name) for each in fields(self))


@dataclass(frozen=True)
class Sides:
    """The cells of the three notebooks, by id."""

    base: dict[str, Cell]
    mine: dict[str, Cell]
    course: dict[str, Cell]


def merge(base: Notebook, mine: Notebook, course: Notebook) -> tuple[Notebook, Changes]:
    """The learner's notebook `mine` with what the course changed from `base` to `course`; arguments stay as they are.

    Where only one side changed a cell, its text is taken; where both did, the learner's stays and the course's new text
    stands in a Markdown cell below. Cells that the learner added or deleted stay added or deleted, and cells that the
    course has removed go unless the learner changed them. Every cell must have an id of its own (see `name_cells`).
    """
    sides = Sides(*({cell["id"]: cell for cell in each["cells"]} for each in (base, mine, course)))
    changes = Changes()
    cells = [cell for name in _order(sides) for cell in _merge_cell(name, sides, changes)]
    merged = {
        **mine,
        "cells": copy.deepcopy(cells),
        "metadata": _newer(base.get("metadata"), mine.get("metadata"), course.get("metadata")),
        "nbformat_minor": max(mine.get("nbformat_minor", 0), course["nbformat_minor"]),
    }
    return merged, changes


def name_cells(cells: Iterable[Cell]) -> None:
    """Give an id to each cell that has none, or one that an earlier cell has; the same ones each time."""
    taken: Counter[str] = Counter()
    cells = list(cells)
    given = {cell["id"] for cell in cells if isinstance(cell.get("id"), str)}
    for number, cell in enumerate(cells):
        name = cell.get("id")
        if not isinstance(name, str) or not name or taken[name]:
            name = cell["id"] = _free(f"own-{number}", given)
            given.add(name)
        taken[name] += 1


def _order(sides: Sides) -> list[str]:
    """All ids: in the course's order, or, where the learner has moved cells, in the learner's."""
    moved = [name for name in sides.mine if name in sides.base] != [name for name in sides.base if name in sides.mine]
    mine, course = list(sides.mine), list(sides.course)
    return _weave(mine, course) if moved else _weave(course, mine)


def _weave(main: list[str], other: list[str]) -> list[str]:
    """`main` with what only `other` has, each behind the one that it follows there."""
    order, known = list(main), set(main)
    place = 0
    for name in other:
        if name in known:
            place = order.index(name) + 1
        else:
            order.insert(place, name)
            place += 1
    return order


def _merge_cell(name: str, sides: Sides, changes: Changes) -> list[Cell]:
    """What becomes of one cell: itself, itself and a note, or nothing."""
    before, mine, course = sides.base.get(name), sides.mine.get(name), sides.course.get(name)
    if mine is None:
        return _not_in_mine(before, course, changes)
    if course is None:
        return _not_in_course(mine, sides, changes)
    if before is not None and _text(course) == _text(before) or _text(course) == _text(mine):
        return [{**mine, "metadata": _newer((before or course)["metadata"], mine["metadata"], course["metadata"])}]
    if before is not None and _text(mine) == _text(before):
        changes.renewed += 1
        return [{**course, "metadata": _newer(before["metadata"], mine["metadata"], course["metadata"])}]
    note = note_of(course, {*sides.mine, *sides.course})
    if any(_about(other) == name and _text(cell) == _text(note) for other, cell in sides.mine.items()):
        return [mine]  # an earlier update that broke off has shown it
    changes.noted += 1
    return [mine, note]


def _not_in_mine(before: Cell | None, course: Cell | None, changes: Changes) -> list[Cell]:
    if course is None:
        return []
    if before is None:
        changes.added += 1
        return [course]
    changes.missed += _text(course) != _text(before)
    return []


def _not_in_course(mine: Cell, sides: Sides, changes: Changes) -> list[Cell]:
    before = sides.base.get(mine["id"])
    if before is not None and _text(mine) == _text(before):
        changes.removed += 1
        return []
    return [] if _is_outdated_note(mine, sides) else [mine]


def _is_outdated_note(mine: Cell, sides: Sides) -> bool:
    """Whether a cell is a note of an earlier update that nobody has touched and that a later one has overtaken."""
    about = _about(mine["id"])
    before, now = sides.base.get(about), sides.course.get(about)
    if before is None or _text(mine) != _text(note_of(before)):
        return False
    return now is None or _text(now) != _text(before)


def _about(name: str) -> str:
    """The id of the cell that a note with this id is about; "" for other cells."""
    found = re.fullmatch(rf"(.*){NOTE}\d*", name, flags=re.DOTALL)
    return found[1] if found else ""


def note_of(course: Cell, taken: Iterable[str] = ()) -> Cell:
    """The course's text of a cell as a Markdown cell, which runs nothing and so spoils no answer.

    taken: ids that it may not have.
    """
    text = course["source"]
    if course["cell_type"] == "code":
        fence = "`" * max(3, 1 + max(map(len, re.findall("`+", text)), default=0))
        text = f"{fence}python\n{text}\n{fence}"
    note: Cell = {"cell_type": "markdown", "metadata": {}, "source": f"{CHANGED}\n\n{text}"}
    if "attachments" in course:
        note["attachments"] = course["attachments"]
    return {"id": _free(course["id"] + NOTE, taken), **note}


def _free(name: str, taken: Iterable[str]) -> str:
    number, free = 2, name
    while free in taken:
        free, number = f"{name}{number}", number + 1
    return free


def _text(cell: Cell) -> tuple[Any, ...]:
    """What a person writes in a cell."""
    return cell["cell_type"], cell["source"], cell.get("attachments") or None


def _newer(base: Any, mine: Any, course: Any) -> Any:
    return course if mine == base else mine
