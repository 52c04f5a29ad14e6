"""The notebooks that a learner works in: copies in work/, which updates of the course leave the learner's.

`work/.base/` holds what each copy was made from, or last brought up to date with: an update needs that to tell what the
learner has changed from what the course has. See docs/working-copy.md.
"""

import json
import shutil
from pathlib import Path
from typing import Any

from genai_labs.course.merging import Changes, Notebook, merge, name_cells
from genai_labs.errors import LabError
from genai_labs.paths import ROOT
from genai_labs.system.files import write_whole

WORK = ROOT / "work"


def update_copy(lab: Path, work: Path = WORK) -> tuple[Path, str]:
    """Make the copy of a lab in `work`, or bring it up to date. Returns its path, and what was done in words or "".

    What the learner wrote stays; a copy that cannot be read is kept under another name. Raises LabError if the lab
    cannot be read, or `work` not be written.
    """
    try:
        course = blank(read_notebook(lab))
    except (OSError, ValueError) as error:
        raise LabError(
            f"{lab.name} cannot be opened, because {lab} is damaged or cannot be read: {error}. To get the committed "
            f'one back (what you changed in it is lost then): git checkout -- "{lab.parent.name}/{lab.name}"'
        ) from error
    try:
        return work / lab.name, _update(course, work / lab.name, work / ".base" / lab.name)
    except OSError as error:
        raise LabError(
            f"{lab.name} cannot be copied, because writing {work} failed: {error}. Make room, or give yourself the "
            "right to write there, and try again. Nothing of yours is lost."
        ) from error


def _update(course: Notebook, path: Path, base_path: Path) -> str:
    base_path.parent.mkdir(parents=True, exist_ok=True)
    base = _read_base(base_path)
    said = ""
    if not path.exists():
        _save(course, path)
    else:
        try:
            mine = read_notebook(path)
        except ValueError as error:
            aside = set_aside(path)
            _save(course, path)
            said = f"{path.name} could not be read ({error}). It is kept as {aside.name}, and a new copy was made."
        else:
            said = "" if base == course else _bring_up_to_date(base, mine, course, path, base_path)
    if base != course:
        # The copy came first: if the power fails before this, the same update is done again, and changes nothing.
        _save(course, base_path)
    return said


def _read_base(path: Path) -> Notebook:
    """What the copy was made from. Where nobody knows, nothing: all that differs then counts as the learner's."""
    try:
        return read_notebook(path)
    except (OSError, ValueError):
        return {"cells": [], "metadata": {}}


def _bring_up_to_date(base: Notebook, mine: Notebook, course: Notebook, path: Path, base_path: Path) -> str:
    merged, changes = merge(base, mine, course)
    if merged == mine:
        return ""
    before = base_path.with_name(f"{path.stem}.before.ipynb")
    shutil.copyfile(path, before)
    _save(merged, path)
    return f"{path.name} is brought up to date: {changes_in_words(changes)}. As it was before: {before}"


def changes_in_words(changes: Changes) -> str:
    """What an update did."""
    counted = {
        "changed as in the course": changes.renewed,
        "new": changes.added,
        "removed as in the course": changes.removed,
        "kept as you wrote it, with the course's new text below": changes.noted,
        "that you deleted and the course has changed, not brought back": changes.missed,
    }
    said = [f"{count} {'cell' if count == 1 else 'cells'} {what}" for what, count in counted.items() if count]
    return "; ".join(said) or "only its settings changed"


def read_notebook(path: Path) -> Notebook:
    """A notebook of format 4 as a plain dictionary, with texts joined and an id for every cell.

    Raises OSError if there is no such file, ValueError (UnicodeError is one) with the reason if it is no notebook.
    """
    try:
        notebook = json.loads(path.read_text(encoding="utf-8-sig"))
    except RecursionError as error:
        raise ValueError("it is nested too deeply for a notebook") from error
    if not isinstance(notebook, dict) or notebook.get("nbformat") != 4:
        raise ValueError("it is not a notebook of format 4")
    cells = notebook.get("cells")
    if not isinstance(cells, list) or not all(_is_cell(cell) for cell in cells):
        raise ValueError("it holds something other than cells with texts")
    if not isinstance(notebook.get("nbformat_minor"), int):
        notebook["nbformat_minor"] = 0
    for cell in cells:
        cell["source"] = "".join(cell["source"])
        cell.setdefault("metadata", {})
    notebook.setdefault("metadata", {})
    name_cells(cells)
    return notebook


def _is_cell(cell: Any) -> bool:
    if not isinstance(cell, dict) or cell.get("cell_type") not in ("code", "markdown", "raw"):
        return False
    source = cell.get("source")
    return isinstance(source, str) or (isinstance(source, list) and all(isinstance(line, str) for line in source))


def blank(notebook: Notebook) -> Notebook:
    """The notebook without outputs and execution counts, so that nothing gives a prediction away."""
    empty: dict[str, Any] = {"outputs": [], "execution_count": None}
    cells = [{**cell, **empty} if cell["cell_type"] == "code" else cell for cell in notebook["cells"]]
    return {**notebook, "cells": cells}


def set_aside(path: Path) -> Path:
    """Give a file a name that is not taken yet, beside the old one. Returns that name."""
    number = 1
    while (aside := path.with_name(f"{path.stem}.damaged-{number}{path.suffix}")).exists():
        number += 1
    return path.rename(aside)


def _save(notebook: Notebook, path: Path) -> None:
    """Write as Jupyter does, in lines; a reader never sees half a file."""
    cells = [{**cell, "source": cell["source"].splitlines(keepends=True)} for cell in notebook["cells"]]
    write_whole(path, json.dumps({**notebook, "cells": cells}, indent=1, sort_keys=True) + "\n")
