"""``python -m genai_labs handout``: versions of the labs for a class, made from the committed notebooks.

For each lab and the companion: a student version (no solutions, no outputs), a solutions version (every stub filled
in), slides, and a page for printing. With --otter also an assignment for otter-grader; with --bands the table in
docs/instructors.md.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from genai_labs.course.runner import find_notebooks, name_of_lab, to_html, write_notebook
from genai_labs.course.working_copy import blank, read_notebook
from genai_labs.errors import LabError
from genai_labs.inputs.helptext import plain
from genai_labs.inputs.options import whole_number, writable_folder
from genai_labs.paths import BUILD
from genai_labs.system import files
from genai_labs.teaching import bands, slides
from genai_labs.teaching.otter import assignment
from genai_labs.teaching.stubs import find_exercises, without_solutions

if TYPE_CHECKING:
    from nbformat import NotebookNode

NO_BROWSER = (
    "No PDF was made, because there is no Chromium, Chrome or Edge on this machine. Open the pages in {folder} in any "
    "browser and print them to a file there."
)


def main(argv: Sequence[str] | None = None) -> int:
    """Write handouts of labs, or the bands. Raises LabError where something cannot be read or written."""
    parser = argparse.ArgumentParser(prog="python -m genai_labs handout", description=plain(__doc__))
    parser.add_argument(
        "labs", nargs="*", type=whole_number(1, 4), metavar="LAB", help="1, 2, 3, or 4 for the companion (default: all)"
    )
    parser.add_argument(
        "--out", type=writable_folder, default=BUILD / "handout", help="where to (default: build/handout)"
    )
    parser.add_argument("--otter", action="store_true", help="an assignment for otter-grader, too")
    parser.add_argument("--no-pdf", action="store_true", help="leave out the PDF files, which take a browser")
    parser.add_argument("--bands", action="store_true", help="only renew the expected results in docs/instructors.md")
    args = parser.parse_args(argv)
    if args.bands:
        print(bands.renew())
        return 0
    for lab, path in find_notebooks(args.labs).items():
        notebook = read_course(path)
        write_handout(notebook, lab, path.stem, args.out)
        if args.otter:
            with files.faults_in_words(args.out):
                write_notebook(assignment(notebook, lab), _folder(args.out, "otter") / path.name)
    made = sorted(each.name for each in args.out.iterdir() if each.is_dir())
    print(f"The handouts are in {args.out}: {', '.join(made)}")
    if not args.no_pdf:
        print_pages(args.out / "print")
    return 0


def read_course(path: Path) -> dict[str, Any]:
    """A committed notebook. Raises LabError where it cannot be read."""
    try:
        return read_notebook(path)
    except (OSError, ValueError) as error:
        raise LabError(
            f"No handout can be made of {path.name}, because it cannot be read: {error}. To get the committed one "
            f"back: git checkout -- notebooks/{path.name}"
        ) from error


def write_handout(notebook: dict[str, Any], lab: int, name: str, out: Path) -> None:
    """Write all versions of one lab. Raises LabError where they cannot be written."""
    shown, title = as_node(taken_out(notebook)), name_of_lab(lab)
    with files.faults_in_words(out):
        write_notebook(as_node(student_version(notebook)), _folder(out, "student") / f"{name}_student.ipynb")
        write_notebook(as_node(solutions_version(notebook)), _folder(out, "solutions") / f"{name}_solutions.ipynb")
        files.write_whole(_folder(out, "slides") / f"{name}.html", slides.to_slides(shown, title))
        files.write_whole(_folder(out, "print") / f"{name}.html", slides.to_paper(to_html(shown, title)))


def student_version(notebook: dict[str, Any]) -> dict[str, Any]:
    """The notebook without solutions, outputs and counts."""
    return blank(taken_out(notebook))


def taken_out(notebook: dict[str, Any]) -> dict[str, Any]:
    """The notebook without solutions; outputs stay."""
    return {
        **notebook,
        "cells": [
            {**cell, "source": without_solutions(cell["source"])} if cell["cell_type"] == "markdown" else cell
            for cell in notebook["cells"]
        ],
    }


def solutions_version(notebook: dict[str, Any]) -> dict[str, Any]:
    """The notebook with the solution in place of each stub. Outputs are left out, since running it gives others."""
    cells = list(notebook["cells"])
    for exercise in find_exercises(notebook):
        cells[exercise.place] = {**cells[exercise.place], "source": exercise.solved}
    return blank({**notebook, "cells": cells})


def as_node(notebook: dict[str, Any]) -> NotebookNode:
    """The notebook as nbformat has it."""
    import nbformat

    return nbformat.reads(json.dumps(notebook), as_version=4)


def print_pages(folder: Path) -> None:
    """Print every page of a folder to a PDF beside it, if there is a browser; say so if not."""
    browser = slides.find_chromium()
    if browser is None:
        print(NO_BROWSER.format(folder=folder))
        return
    for page in sorted(folder.glob("*.html")):
        if problem := slides.print_page(page, page.with_suffix(".pdf"), browser):
            print(
                f"{page.with_suffix('.pdf').name} was not made: {problem}. Open {page} in a browser and print it there."
            )


def _folder(out: Path, name: str) -> Path:
    (out / name).mkdir(parents=True, exist_ok=True)
    return out / name
