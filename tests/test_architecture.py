"""The house keeps its shape: who imports whom, in how many floors, and how much of it a learner has to read."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable
from functools import cache
from graphlib import TopologicalSorter
from pathlib import Path

import nbformat
import pytest

from genai_labs.course.runner import COMPANIONS, EVERY_NOTEBOOK, LAB_NOTEBOOKS
from genai_labs.paths import NOTEBOOKS, PACKAGE, ROOT

SOURCE = PACKAGE.parent
PACKAGES = ("genai_labs", "embedded_world", "benchmarks", "course_site")
MOST_FLOORS = 10
MOST_LINES = 400
MOST_LINES_BEHIND_THE_LABS = 11107
MOST_LINES_OF_CHECKS = 2436  # of exercises and quizzes: no other cell needs them, and they hold the answers
MOST_LINES_OF_THE_COMPANION = 1200  # that no lab imports, its checks among them
CHECKS = ("exercises", "mistakes", "checking", "quiz")  # how the names of their modules end
COMMANDS = {"main", "make_parser"}  # by convention, a module that is a command has these


@cache
def modules() -> dict[str, Path]:
    """Every module of the four packages: its name, as an import writes it, and its file."""
    files = (path for package in PACKAGES for path in (SOURCE / package).rglob("*.py"))
    return {".".join(path.relative_to(SOURCE).with_suffix("").parts).removesuffix(".__init__"): path for path in files}


def imported(code: str) -> set[str]:
    """What some code imports of the four packages, wherever in it the import stands."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"write the package's name: {ast.unparse(node)}"
            full = {f"{node.module}.{alias.name}" for alias in node.names}
            names |= {name if name in modules() else str(node.module) for name in full}
    return {name for name in names if name.split(".")[0] in PACKAGES}


@cache
def imports() -> dict[str, set[str]]:
    """What each module imports."""
    return {name: imported(path.read_text(encoding="utf-8")) for name, path in modules().items()}


@cache
def lab_imports(lab: int) -> set[str]:
    """What the cells and the solutions of a lab's notebook import."""
    notebook = nbformat.read(NOTEBOOKS / EVERY_NOTEBOOK[lab], as_version=4)
    codes = [cell.source for cell in notebook.cells if cell.cell_type == "code"]
    texts = "\n".join(cell.source for cell in notebook.cells if cell.cell_type == "markdown")
    return set().union(*map(imported, [*codes, *re.findall(r"```python\n(.*?)```", texts, re.DOTALL)]))


def reached(names: Iterable[str]) -> set[str]:
    """These modules and all that they import, directly and indirectly."""
    found: set[str] = set()
    left = list(names)
    while left:
        name = left.pop()
        if name not in found:
            found.add(name)
            left += imports()[name]
    return found


def lines(name: str) -> int:
    """Lines of a module."""
    return len(modules()[name].read_text(encoding="utf-8").splitlines())


def foreign(names: Iterable[str]) -> set[str]:
    """Those of the generator, of the benchmarks and of the site."""
    return {name for name in names if name.split(".")[0] != "genai_labs"}


def test_imports_are_found_wherever_they_stand() -> None:
    code = "import os, benchmarks.ppo\ndef f():\n    from genai_labs import paths, nothing\n"
    assert imported(code) == {"benchmarks.ppo", "genai_labs.paths", "genai_labs"}
    assert {name.split(".")[0] for name in modules()} == set(PACKAGES)


def test_what_the_labs_import_knows_neither_the_generator_nor_the_benchmarks() -> None:
    own = [name for name in modules() if not foreign([name])]
    assert {name: foreign(imports()[name]) for name in own if foreign(imports()[name])} == {}


@pytest.mark.parametrize("lab", EVERY_NOTEBOOK)
def test_a_lab_imports_nothing_else_of_ours(lab: int) -> None:
    assert lab_imports(lab)
    assert foreign(lab_imports(lab)) == set()


def defined(name: str) -> set[str]:
    """The functions and classes that a module defines at its top level, private ones too."""
    tree = ast.parse(modules()[name].read_text(encoding="utf-8"))
    return {node.name for node in tree.body if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)}


def test_a_name_is_defined_once() -> None:
    places: dict[str, list[str]] = {}
    for module in modules():
        for name in defined(module) - COMMANDS:
            places.setdefault(name, []).append(module)
    twice = {name: where for name, where in places.items() if len(where) > 1}
    assert twice == {}


def test_no_module_imports_itself_by_way_of_others() -> None:
    TopologicalSorter(imports()).prepare()  # raises CycleError, which names the circle


def test_the_house_has_few_floors() -> None:
    """A module that imports none of ours stands on the first floor, any other one above all that it imports."""
    floor: dict[str, int] = {}
    for name in TopologicalSorter(imports()).static_order():
        floor[name] = 1 + max((floor[each] for each in imports()[name]), default=0)
    assert {name: number for name, number in floor.items() if number > MOST_FLOORS} == {}


def test_modules_are_short() -> None:
    assert {name: lines(name) for name in modules() if lines(name) > MOST_LINES} == {}


def test_little_stands_behind_the_labs() -> None:
    behind = reached(set().union(*map(lab_imports, LAB_NOTEBOOKS)))
    checks = {name for name in behind if name.endswith(CHECKS)}
    assert sum(map(lines, behind - checks)) <= MOST_LINES_BEHIND_THE_LABS
    assert sum(map(lines, checks)) <= MOST_LINES_OF_CHECKS
    assert not any(name.endswith(CHECKS) for each in behind - checks for name in imports()[each])


def test_little_more_stands_behind_the_companion() -> None:
    behind, labs = (reached(set().union(*map(lab_imports, those))) for those in (COMPANIONS, LAB_NOTEBOOKS))
    assert sum(map(lines, behind - labs)) <= MOST_LINES_OF_THE_COMPANION


def room(name: str) -> str:
    """Where a module lives: its folder in genai_labs, or one of the other packages."""
    package, *rest = name.split(".")
    return rest[0] if package == "genai_labs" and len(rest) > 1 else package


def test_the_drawing_shows_the_rooms_and_what_they_build_on() -> None:
    """Each arrow is an import, and each import goes down along arrows."""
    page = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    below: dict[str, set[str]] = {}
    for upper, lower in re.findall(r"^\s+(\w+)(?:\W.*)? --> (\w+)$", page, re.MULTILINE):
        below.setdefault(upper, set()).add(lower)
    real: dict[str, set[str]] = {"labs": {room(name) for lab in LAB_NOTEBOOKS for name in lab_imports(lab)}}
    real["companion"] = {room(name) for lab in COMPANIONS for name in lab_imports(lab)}
    for name, others in imports().items():
        if room(name) not in (name, "genai_labs"):  # the commands and what every room uses: errors, paths
            real.setdefault(room(name), set()).update(map(room, others))
    for upper, lowers in below.items():
        assert lowers <= real[upper], upper
    for upper, lowers in real.items():
        seen = {upper}
        while more := set().union(*(below.get(each, set()) for each in seen)) - seen:
            seen |= more
        assert lowers - {"genai_labs"} <= seen, upper
