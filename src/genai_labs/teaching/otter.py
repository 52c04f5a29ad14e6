"""An assignment for otter-grader: the exercises of a lab as a notebook in the format of `otter assign`.

It holds the exercises and what their checks need, and not the lab, so that grading takes seconds. The format is
described at https://otter-grader.readthedocs.io, "Otter Assign Format".
"""

from __future__ import annotations

import ast
import builtins
from collections.abc import Callable, Iterable
from contextlib import redirect_stdout
from io import StringIO
from symtable import symtable
from typing import TYPE_CHECKING, Any

from genai_labs.errors import LabError
from genai_labs.teaching.stubs import Exercise, find_exercises, without_solutions

if TYPE_CHECKING:
    from nbformat import NotebookNode

MODEL = """from genai_labs.loading import models
from genai_labs.loading.profiles import load_profile

profile = load_profile("mini")
model, tokenizer = models.load_model(profile)"""
OF_MODEL = {"profile", "model", "tokenizer"}
EVERYWHERE = set(dir(builtins))


def complaint(check: Callable[..., None], *answer: Any) -> str:
    """What a check says of an answer that is not right; "" for one that is. For graders, who need yes or no."""
    with redirect_stdout(StringIO()) as said:
        check(*answer)
    return "" if said.getvalue().startswith("Right") else said.getvalue().strip()


def assignment(notebook: dict[str, Any], lab: int) -> NotebookNode:
    """The exercises of a lab as a master notebook for `otter assign`, one question of one point each.

    notebook: as `read_notebook` gives it. Raises LabError where an exercise needs a name that nothing provides.
    """
    from nbformat import from_dict
    from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_raw_cell

    exercises = find_exercises(notebook)
    config = f"# ASSIGNMENT CONFIG\nname: lab{lab}\ninit_cell: true\ncheck_all_cell: true\nexport_cell: true\n"
    cells = [new_raw_cell(config), new_markdown_cell(f"# Exercises of Lab {lab}")]
    cells.append(new_code_cell(setup(notebook, exercises)))
    for exercise in exercises:
        cells += [
            new_raw_cell(f"# BEGIN QUESTION\nname: {exercise.name}\npoints: 1"),
            new_markdown_cell(without_solutions(exercise.text)),
            new_raw_cell("# BEGIN SOLUTION"),
            new_code_cell(_either(exercise)),
            new_raw_cell("# END SOLUTION"),
            new_raw_cell("# BEGIN TESTS"),
            new_code_cell(_test(exercise)),
            new_raw_cell("# END TESTS"),
            new_raw_cell("# END QUESTION"),
        ]
    for number, cell in enumerate(cells):
        cell.id = f"lab{lab}-otter-{number:03}"
    kernel = {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"}
    return new_notebook(cells=cells, metadata=from_dict({"kernelspec": kernel}))


def setup(notebook: dict[str, Any], exercises: list[Exercise]) -> str:
    """The code that gives the exercises what they use of the lab: its imports, and its model where one is needed."""
    codes = [code for exercise in exercises for code in (exercise.stub, exercise.solved)]
    wanted = _used(codes) - _made(codes) - EVERYWHERE
    lines = {name: line for cell in notebook["cells"] for name, line in _imports(cell).items()}
    if missing := wanted - set(lines) - OF_MODEL:
        raise LabError(
            f"No assignment can be made, because its exercises use {', '.join(sorted(missing))}, which neither the "
            "lab's imports nor the model give. Import it in the stub's cell, or pass it to the check."
        )
    imports = sorted({lines[name] for name in wanted if name in lines})
    return "\n".join(
        [*imports, "from genai_labs.teaching.otter import complaint", *([MODEL] if wanted & OF_MODEL else [])]
    )


def _either(exercise: Exercise) -> str:
    """The cell of which otter keeps the solution for graders, and the stub, which stands in a text, for learners."""
    solution = f"# BEGIN SOLUTION NO PROMPT\n{exercise.solved}\n# END SOLUTION"
    return f"{solution}\nr''' # BEGIN PROMPT\n{exercise.stub}\n''' # END PROMPT"


def _test(exercise: Exercise) -> str:
    call = ast.parse(exercise.call, mode="eval").body
    assert isinstance(call, ast.Call)
    arguments = ", ".join(map(ast.unparse, [call.func, *call.args]))
    return f"assert not (said := complaint({arguments})), said"


def _used(codes: Iterable[str]) -> set[str]:
    """Names that pieces of code take from outside of any function: those they read, and those their functions do."""
    found: set[str] = set()
    tables = [symtable(code, "<cell>", "exec") for code in codes]
    while tables:
        table = tables.pop()
        top = table.get_type() == "module"
        found |= {each.get_name() for each in table.get_symbols() if each.is_referenced() and (top or each.is_global())}
        tables += table.get_children()
    return found


def _made(codes: Iterable[str]) -> set[str]:
    """Names that pieces of code define or import at their top level."""
    symbols = [symbol for code in codes for symbol in symtable(code, "<cell>", "exec").get_symbols()]
    return {symbol.get_name() for symbol in symbols if symbol.is_assigned() or symbol.is_imported()}


def _imports(cell: dict[str, Any]) -> dict[str, str]:
    """What a cell imports: name, and a line that imports it alone."""
    found = {}
    if cell["cell_type"] == "code":
        for node in ast.walk(ast.parse(cell["source"])):
            if isinstance(node, ast.Import | ast.ImportFrom):
                for alias in node.names:
                    alone = (
                        ast.Import([alias]) if isinstance(node, ast.Import) else ast.ImportFrom(node.module, [alias], 0)
                    )
                    found[alias.asname or alias.name.split(".")[0]] = ast.unparse(alone)
    return found
