"""The exercises of a notebook: the stub that a learner fills in, the solution folded above it, and its check."""

from __future__ import annotations

import ast
import re
from dataclasses import dataclass
from typing import Any

from genai_labs.errors import LabError

SOLUTION = re.compile(r"<details><summary>Solution</summary>\n\n```python\n(.*?)```.*?</details>\n?", re.DOTALL)
PROMISE = ("Each has a hint and a solution to unfold.", "Each has a hint to unfold.")


@dataclass(frozen=True)
class Exercise:
    """An exercise with a check. place: of its cell of code among the notebook's cells."""

    name: str  # of its check, such as "training_bytes"
    place: int
    text: str
    stub: str
    solution: str
    call: str  # the last line of the stub's cell, such as "check.check_training_bytes(my_training_bytes)"

    @property
    def solved(self) -> str:
        """The stub's cell with the solution in place of the stub: imports before it and the check after it stay."""
        (node,) = [node for node in ast.parse(self.stub).body if _is_stub(node)]
        lines = self.stub.splitlines()
        before, after = lines[: node.lineno - 1], lines[node.end_lineno :]
        return "\n".join([*before, self.solution.rstrip(), *after])


def find_exercises(notebook: dict[str, Any]) -> list[Exercise]:
    """The exercises with a check, in order. Raises LabError for a stub whose solution is not in the cell above it."""
    cells = notebook["cells"]
    found = []
    for place, cell in enumerate(cells):
        if cell["cell_type"] != "code" or not is_stub(cell["source"]):
            continue
        above = cells[place - 1]["source"] if place else ""
        solutions = SOLUTION.findall(above)
        if len(solutions) != 1:
            raise LabError(
                f"No handout can be made, because the cell {cell['id']} is a stub, and the cell above it has "
                f"{len(solutions)} solutions. Write one there, as the other exercises have it."
            )
        call = cell["source"].rstrip().splitlines()[-1]
        found.append(Exercise(_name(call), place, above, cell["source"], solutions[0], call))
    return found


def is_stub(code: str) -> bool:
    """Whether a cell holds a function or class to be filled in, and a check of it."""
    if "check.check_" not in code:
        return False
    return any(_is_stub(node) for node in ast.parse(code).body)


def without_solutions(text: str) -> str:
    """A cell of text without the solutions folded in it."""
    return SOLUTION.sub("", text).replace(*PROMISE).rstrip("\n")


def _is_stub(node: ast.stmt) -> bool:
    if isinstance(node, ast.ClassDef):
        return any(_is_stub(each) for each in node.body)
    return isinstance(node, ast.FunctionDef) and ast.unparse(node.body[-1]) == "..."


def _name(call: str) -> str:
    return call.removeprefix("check.check_").split("(")[0]
