"""Committed notebooks are executed, clean, explained. (Whether their outputs are right, nbval compares.)"""

import re
from collections.abc import Callable, Sequence
from pathlib import Path
from symtable import symtable

import nbformat
import pytest
from nbformat import NotebookNode
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output
from nbval.plugin import get_sanitize_patterns

from genai_labs.course.notebooks import WIDGET, clean, find_problems
from genai_labs.course.runner import EVERY_NOTEBOOK, LAB_NOTEBOOKS
from genai_labs.paths import NOTEBOOKS, ROOT


def good() -> NotebookNode:
    """A notebook with nothing amiss: four code cells with outputs, one of them left out of the comparison."""
    sources = ["1 + 1", "# NBVAL_IGNORE_OUTPUT\n# how long it takes differs\nrun()", "2", "3"]
    cells = []
    for count, source in enumerate(sources, start=1):
        output = new_output("stream", name="stdout", text=f"{count}/4 and/or see https://a.org/home/page\n")
        cells += [new_markdown_cell("Words."), new_code_cell(source, execution_count=count, outputs=[output])]
    made = new_notebook(cells=cells)
    clean(made)
    return made


def output(cell: int, **changes: object) -> Callable[[NotebookNode], None]:
    def damage(made: NotebookNode) -> None:
        made.cells[cell].outputs[0].update(changes)

    return damage


def source(cell: int, text: str) -> Callable[[NotebookNode], None]:
    def damage(made: NotebookNode) -> None:
        made.cells[cell].source = text

    return damage


def show_html(made: NotebookNode) -> None:
    made.cells[1].outputs = [new_output("display_data", data={"text/html": "<a href='/home/someone/x'>"})]


def show_widget(made: NotebookNode) -> None:
    made.cells[1].outputs = [new_output("display_data", data={"text/plain": "0%", WIDGET: {"model_id": "1"}})]


def end_in_error(made: NotebookNode) -> None:
    made.cells[7].outputs = [new_output("error", ename="NameError", evalue="x", traceback=[])]


def ignore_another(made: NotebookNode) -> None:
    made.cells[3].source = made.cells[1].source = "# NBVAL_IGNORE_OUTPUT\n# how long it takes differs"


DAMAGES: dict[str, tuple[Callable[[NotebookNode], None], str]] = {
    "widgets": (lambda made: made.metadata.update(widgets={}), "metadata.widgets"),
    "kernel": (lambda made: made.metadata.kernelspec.update(name="my-env"), "not named python3"),
    "patch version": (lambda made: made.metadata.language_info.update(version="3.11.7"), "patch version"),
    "time": (lambda made: made.cells[1].metadata.update(execution={}), "time of its execution"),
    "not executed": (lambda made: made.cells[3].update(execution_count=None), "not executed once each"),
    "out of order": (lambda made: made.cells[7].update(execution_count=9), "not executed once each"),
    "no words": (lambda made: made.cells.pop(2), "without a sentence"),
    "error": (end_in_error, "ends in an error: NameError"),
    "stderr": (output(1, name="stderr"), "writes to stderr"),
    "widget shown": (show_widget, "shows a widget"),
    "path": (output(1, text="saved in /home/someone/x"), "folder of one machine: /home/someone"),
    "home": (output(1, text=f"saved in {Path.home()}/x"), "folder of one machine"),
    "Windows path": (output(1, text=r"saved in C:\Users\x"), r"folder of one machine: C:\\Users"),
    "path in HTML": (show_html, "folder of one machine"),
    "path in source": (source(5, "open('/Users/someone/x')"), "folder of one machine"),
    "too many ignored": (ignore_another, "2 of 4 cells with outputs are not compared"),
    "no reason": (source(3, "# NBVAL_IGNORE_OUTPUT\nrun()"), "on the line below that says why"),
    "marker nbval overlooks": (
        source(3, "# NBVAL_IGNORE_OUTPUT: times differ\n# from run to run"),
        "says why",
    ),
    "claim": (source(3, "# NBVAL_IGNORE_OUTPUT\n# a training\nlesson('1.1', a)"), "a claim without varies=True"),
    "tag": (lambda made: made.cells[3].metadata.update(tags=["nbval-ignore-output"]), "nbval tag"),
}


def test_a_clean_notebook_has_no_problems() -> None:
    assert find_problems(good()) == []


@pytest.mark.parametrize("name", DAMAGES)
def test_each_damage_is_found_and_nothing_else(name: str) -> None:
    damage, words = DAMAGES[name]
    made = good()
    damage(made)
    problems = find_problems(made)
    assert len(problems) == 1, problems
    assert re.search(words, problems[0])


def test_cleaning_mends_what_can_be_mended() -> None:
    made = good()
    for name in ("widgets", "kernel", "patch version", "time"):
        DAMAGES[name][0](made)
    clean(made)
    assert find_problems(made) == []


def test_lab_1_is_there_and_every_notebook_is_a_lab_or_a_companion() -> None:
    names = {path.name for path in NOTEBOOKS.glob("*.ipynb")}
    assert LAB_NOTEBOOKS[1] in names
    assert names <= set(EVERY_NOTEBOOK.values())


@pytest.mark.parametrize("path", sorted(NOTEBOOKS.glob("*.ipynb")), ids=lambda path: path.name)
def test_committed_notebooks_are_fit_to_be_read(path: Path) -> None:
    assert find_problems(nbformat.read(path, as_version=4)) == []


def rebound(codes: Sequence[str]) -> set[str]:
    """Names that some of these cells import and that some give to something else."""
    tables = [symtable(code, "<cell>", "exec") for code in codes]
    symbols = [symbol for table in tables for symbol in table.get_symbols()]
    imported = {symbol.get_name() for symbol in symbols if symbol.is_imported()}
    return imported & {symbol.get_name() for symbol in symbols if symbol.is_assigned() and not symbol.is_imported()}


def test_a_name_that_is_taken_twice_is_found() -> None:
    assert rebound(["from a import b, c", "c = [b for b in range(3)]"]) == {"c"}


@pytest.mark.parametrize("path", sorted(NOTEBOOKS.glob("*.ipynb")), ids=lambda path: path.name)
def test_cells_can_be_run_again_since_no_import_is_overwritten(path: Path) -> None:
    cells = nbformat.read(path, as_version=4).cells
    solutions = re.findall(
        r"```python\n(.*?)```", "\n".join(c.source for c in cells if c.cell_type == "markdown"), re.S
    )
    assert rebound([*(cell.source for cell in cells if cell.cell_type == "code"), *solutions]) == set()


@pytest.mark.parametrize(
    ("text", "compared_as"),
    [
        ("200 summaries in 1.4 s", "200 summaries in SECONDS"),
        ("took 12 ms, 143.5 dialogues/s", "took SECONDS, RATE dialogues/s"),
        ("2.3    [\N{ALMOST EQUAL TO}+0.03, \N{ALMOST EQUAL TO}+0.1]   in it", "2.3|[ABOUT,ABOUT]|in it"),
        ("2.3  [\N{ALMOST EQUAL TO}-0.003, \N{ALMOST EQUAL TO}0.12]    in it", "2.3|[ABOUT,ABOUT]|in it"),
        ("at 10:30 for 20 minutes, $12.50, ROUGE-1 0.61", "at 10:30 for 20 minutes, $12.50, ROUGE-1 0.61"),
    ],
)
def test_only_durations_and_addresses_are_left_out_of_the_comparison(text: str, compared_as: str) -> None:
    patterns = get_sanitize_patterns((ROOT / "tests" / "nbval_sanitize.cfg").read_text(encoding="utf-8"))
    for regex, replacement in patterns:
        text = re.sub(regex, replacement, text)
    assert text == compared_as
