"""What a committed notebook looks like: how it is cleaned, and what may not be in it."""

import re
import sys
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

from genai_labs.system.progress import MARK

if TYPE_CHECKING:
    from nbformat import NotebookNode

IGNORE = "NBVAL_IGNORE_OUTPUT"
SKIP = "NBVAL_SKIP"
WIDGET = "application/vnd.jupyter.widget-view+json"
MAX_IGNORED = 1 / 3

# Folders of this or that machine. The character before keeps the middle of an address out.
_PATH = re.compile(
    r"(?<![\w./~:-])/(?:home|root|Users|tmp|var|usr|opt|mnt|srv|private|content)/[\w.-]+|\b[A-Za-z]:\\\w+"
)


def clean(notebook: "NotebookNode") -> None:
    """Remove in place what differs between machines: widget state, times, kernel name, patch version."""
    from nbformat import from_dict

    for cell in notebook.cells:
        for key in ("execution", "ExecuteTime"):
            cell.metadata.pop(key, None)
    version = ".".join(str(part) for part in sys.version_info[:2])
    language = {**notebook.metadata.get("language_info", {"name": "python"}), "version": version}
    kernel = {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"}
    notebook.metadata = from_dict({"kernelspec": kernel, "language_info": language})


def strip_progress(content: dict[str, Any]) -> None:
    """Take progress bars out of a notebook in place: our own, and widgets, which nobody can see without a kernel.

    content: a notebook of format 4, as JSON has it. Called before each save in JupyterLab, too, so it asks for nothing.
    """
    content.get("metadata", {}).pop("widgets", None)
    for cell in content.get("cells", []):
        if "outputs" in cell:
            cell["outputs"] = [output for output in cell["outputs"] if not _is_progress(output)]


def _is_progress(output: dict[str, Any]) -> bool:
    return MARK in output.get("metadata", {}) or WIDGET in output.get("data", {})


def find_problems(notebook: "NotebookNode") -> list[str]:
    """What keeps a notebook from being committed, one sentence each; empty if nothing does."""
    return [
        *_metadata_problems(notebook),
        *_order_problems(notebook),
        *_output_problems(notebook),
        *_text_problems(notebook),
        *_ignored_problems(notebook),
    ]


def _metadata_problems(notebook: "NotebookNode") -> Iterator[str]:
    if "widgets" in notebook.metadata:
        yield 'metadata.widgets is there: code hosts then say "Invalid Notebook"'
    if notebook.metadata.get("kernelspec", {}).get("name") != "python3":
        yield "the kernel is not named python3"
    if notebook.metadata.get("language_info", {}).get("version", "").count(".") > 1:
        yield "language_info names a patch version of Python"
    for number, cell in enumerate(notebook.cells, start=1):
        if "execution" in cell.metadata:
            yield f"cell {number} holds the time of its execution"


def _order_problems(notebook: "NotebookNode") -> Iterator[str]:
    counts = [cell.execution_count for cell in notebook.cells if cell.cell_type == "code"]
    if counts != list(range(1, len(counts) + 1)):
        yield f"the cells were not executed once each, from first to last: {counts}"
    for number, (first, second) in enumerate(pairwise(notebook.cells), start=2):
        if first.cell_type == second.cell_type == "code":
            yield f"cell {number} follows another code cell without a sentence between them"


def _output_problems(notebook: "NotebookNode") -> Iterator[str]:
    for number, cell in enumerate(notebook.cells, start=1):
        for output in cell.get("outputs", []):
            if output.output_type == "error":
                yield f"cell {number} ends in an error: {output.ename}"
            if output.get("name") == "stderr":
                yield f"cell {number} writes to stderr: {output.text.strip()[:200]!r}"
            if _is_progress(output):
                yield f"cell {number} shows a widget or a progress bar, which nobody sees without a kernel"


def _text_problems(notebook: "NotebookNode") -> Iterator[str]:
    own = [str(folder) for folder in (Path.home(), Path(sys.prefix)) if len(folder.parts) > 1]
    for number, cell in enumerate(notebook.cells, start=1):
        for text in _texts(cell):
            found = [match.group() for match in [_PATH.search(text)] if match] + [x for x in own if x in text]
            if found:
                yield f"cell {number} names a folder of one machine: {found[0]}"


def _texts(cell: "NotebookNode") -> Iterator[str]:
    """A cell's source and every text in its outputs; pictures are left out."""
    yield cell.source
    for output in cell.get("outputs", []):
        yield output.get("text", "")
        yield from _strings(value for key, value in output.get("data", {}).items() if not _is_picture(key))


def _is_picture(mime: str) -> bool:
    return mime.startswith("image/") and mime != "image/svg+xml"


def _strings(values: Any) -> Iterator[str]:
    return (value if isinstance(value, str) else repr(value) for value in values)


def _ignored_problems(notebook: "NotebookNode") -> Iterator[str]:
    shown = [cell for cell in notebook.cells if cell.get("outputs")]
    ignored = [cell for cell in shown if _is_ignored(cell)]
    if len(ignored) >= MAX_IGNORED * max(len(shown), 1):
        yield f"{len(ignored)} of {len(shown)} cells with outputs are not compared: less than a third may be"
    for number, cell in enumerate(notebook.cells, start=1):
        if any(tag.startswith("nbval") for tag in cell.metadata.get("tags", [])):
            yield f"cell {number} has an nbval tag: write # {IGNORE} instead, and the reason below it"
        if cell.cell_type == "code" and not _gives_reason(cell.source.splitlines()):
            yield f"cell {number} has # {IGNORE} without a comment on the line below that says why"
        claims = len(re.findall(r"\b(?:lesson|open_question)\(", cell.source)) if _is_ignored(cell) else 0
        if claims > cell.source.count("varies=True"):  # the table of all lessons repeats them, and is compared
            yield f"cell {number} is not compared and makes a claim without varies=True"


def _is_ignored(cell: "NotebookNode") -> bool:
    return any(line.strip(" #") in (IGNORE, SKIP) for line in cell.source.splitlines())


def _gives_reason(lines: list[str]) -> bool:
    """Whether each marker stands alone (nbval overlooks it otherwise) and a comment follows."""
    for line, below in zip(lines, [*lines[1:], ""], strict=True):
        if re.search(rf"#.*\b({IGNORE}|{SKIP})\b", line):
            alone = line.strip(" #") in (IGNORE, SKIP)
            if not alone or len(below.strip(" #")) < 10 or not below.strip().startswith("#"):
                return False
    return True
