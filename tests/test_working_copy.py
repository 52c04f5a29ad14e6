"""A learner's copy of a lab: without outputs, brought up to date, and nothing that the learner wrote is ever lost."""

import copy
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from nbformat import from_dict, validate

from genai_labs.course import merging
from genai_labs.course.merging import CHANGED, Changes, merge, name_cells
from genai_labs.course.working_copy import read_notebook, update_copy
from genai_labs.errors import LabError
from genai_labs.paths import NOTEBOOKS

Cell = dict[str, Any]


def code(name: str, source: str, **more: Any) -> Cell:
    return {
        "id": name,
        "cell_type": "code",
        "source": source,
        "metadata": {},
        "outputs": [],
        "execution_count": None,
    } | more


def words(name: str, source: str, **more: Any) -> Cell:
    return {"id": name, "cell_type": "markdown", "source": source, "metadata": {}} | more


def notebook(*cells: Cell) -> dict[str, Any]:
    return {"cells": [copy.deepcopy(cell) for cell in cells], "metadata": {}, "nbformat": 4, "nbformat_minor": 5}


def write(path: Path, content: dict[str, Any]) -> Path:
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(content), encoding="utf-8")
    return path


def sources(content: dict[str, Any]) -> list[str]:
    return [cell["source"] for cell in content["cells"]]


SHOWN: list[Cell] = [{"output_type": "stream", "name": "stdout", "text": "3\n"}]
A, B, C = words("a", "Predict."), code("b", "1 + 2"), words("c", "So it is.")
BASE = notebook(A, B, C)


@pytest.fixture
def lab(tmp_path: Path) -> Path:
    return write(tmp_path / "notebooks" / "lab.ipynb", BASE)


@pytest.fixture
def work(tmp_path: Path) -> Path:
    return tmp_path / "work"


@pytest.mark.parametrize("path", sorted(NOTEBOOKS.glob("*.ipynb")), ids=lambda path: path.name)
def test_a_copy_of_a_lab_holds_its_cells_and_gives_nothing_away(path: Path, tmp_path: Path) -> None:
    made, said = update_copy(path, tmp_path)
    copied, committed = json.loads(made.read_text(encoding="utf-8")), read_notebook(path)
    validate(from_dict(copied))
    assert said == ""
    assert sources(read_notebook(made)) == sources(committed)
    assert [cell["id"] for cell in copied["cells"]] == [cell["id"] for cell in committed["cells"]]
    assert all(
        cell["outputs"] == [] and cell["execution_count"] is None for cell in copied["cells"] if "outputs" in cell
    )


def test_a_copy_stays_as_it_is_while_the_course_is_the_same(lab: Path, work: Path) -> None:
    made, _ = update_copy(lab, work)
    write(made, notebook(A, code("b", "1 + 3", outputs=SHOWN, execution_count=1)))
    before = made.read_bytes()
    assert update_copy(lab, work) == (made, "")
    assert made.read_bytes() == before


def test_executing_the_committed_lab_again_is_no_update(lab: Path, work: Path) -> None:
    made, _ = update_copy(lab, work)
    write(made, notebook(A, code("b", "1 + 2", outputs=SHOWN, execution_count=7), C))
    before = made.read_bytes()
    write(lab, notebook(A, code("b", "1 + 2", outputs=SHOWN, execution_count=1), C))
    assert update_copy(lab, work)[1] == ""
    assert made.read_bytes() == before


def test_an_update_says_what_it_did_and_keeps_the_copy_as_it_was(lab: Path, work: Path) -> None:
    made, _ = update_copy(lab, work)
    write(made, notebook(A, code("b", "mine"), C))
    before = made.read_bytes()
    write(lab, notebook(words("a", "Guess."), code("b", "1 + 4"), C, words("d", "New.")))
    _, said = update_copy(lab, work)
    assert "1 cell changed as in the course; 1 cell new; 1 cell kept as you wrote it" in said
    assert (work / ".base" / "lab.before.ipynb").read_bytes() == before
    assert str(work / ".base" / "lab.before.ipynb") in said
    got = sources(read_notebook(made))
    assert got[:2] + got[3:] == ["Guess.", "mine", "So it is.", "New."]
    assert got[2].startswith(CHANGED)
    assert "```python\n1 + 4\n```" in got[2]
    assert update_copy(lab, work)[1] == ""


def test_an_update_that_broke_off_is_done_again_without_a_second_note(lab: Path, work: Path) -> None:
    made, _ = update_copy(lab, work)
    base = (work / ".base" / "lab.ipynb").read_bytes()
    write(made, notebook(A, code("b", "mine")))
    write(lab, notebook(words("a", "Guess."), code("b", "1 + 4"), words("d", "New.")))
    update_copy(lab, work)
    once = made.read_bytes()
    (work / ".base" / "lab.ipynb").write_bytes(base)  # as if the power had failed before this was written
    assert update_copy(lab, work)[1] == ""
    assert made.read_bytes() == once


def test_where_nobody_knows_what_a_copy_was_made_from_all_of_it_is_the_learners(lab: Path, work: Path) -> None:
    made, _ = update_copy(lab, work)
    (work / ".base" / "lab.ipynb").write_text("damaged", encoding="utf-8")
    write(made, notebook(A, code("b", "mine"), words("x", "My note.")))
    update_copy(lab, work)
    got = sources(read_notebook(made))
    assert [text for text in got if not text.startswith(CHANGED)] == ["Predict.", "mine", "My note.", "So it is."]
    assert len(got) == 5


@pytest.mark.parametrize(
    "damaged",
    [
        b"",
        b"<<<<<<< HEAD",
        b"\xff\xfe\x00",
        b"[]",
        b"[" * 100_000,
        b'{"nbformat": 3}',
        b'{"nbformat": 4, "cells": [{}]}',
    ],
    ids=["empty", "conflict", "no text", "a list", "deep", "format 3", "no cells"],
)
def test_a_copy_that_cannot_be_read_is_kept_under_another_name(damaged: bytes, lab: Path, work: Path) -> None:
    made, _ = update_copy(lab, work)
    for number in (1, 2):
        made.write_bytes(damaged)
        _, said = update_copy(lab, work)
        assert (work / f"lab.damaged-{number}.ipynb").read_bytes() == damaged
        assert f"It is kept as lab.damaged-{number}.ipynb" in said
        assert sources(read_notebook(made)) == sources(BASE)


def test_a_copy_that_was_deleted_is_made_again(lab: Path, work: Path) -> None:
    made, _ = update_copy(lab, work)
    made.unlink()
    update_copy(lab, work)
    assert sources(read_notebook(made)) == sources(BASE)


def test_a_damaged_lab_is_told_in_words_and_the_copy_stays(lab: Path, work: Path) -> None:
    made, _ = update_copy(lab, work)
    before = made.read_bytes()
    lab.write_text("<<<<<<< HEAD", encoding="utf-8")
    with pytest.raises(LabError, match=r'lab.ipynb cannot be opened, because .* git checkout -- "notebooks/lab.ipynb"'):
        update_copy(lab, work)
    assert made.read_bytes() == before


def test_a_place_where_nothing_can_be_written_is_told_in_words(lab: Path, work: Path) -> None:
    work.write_text("a file, not a folder", encoding="utf-8")
    with pytest.raises(LabError, match="cannot be copied, because writing"):
        update_copy(lab, work)


def test_a_failed_write_leaves_the_copy_as_it_was(lab: Path, work: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made, _ = update_copy(lab, work)
    write(made, notebook(A, code("b", "mine"), C))
    before = made.read_bytes()
    write(lab, notebook(words("a", "Guess."), B, C))

    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("genai_labs.system.files.os.replace", full)
    with pytest.raises(LabError, match="No space left"):
        update_copy(lab, work)
    assert made.read_bytes() == before
    assert {path.name for path in work.iterdir()} == {".base", "lab.ipynb"}


# Merging


def merged(mine: dict[str, Any], course: dict[str, Any]) -> tuple[list[str], Changes]:
    got, changes = merge(BASE, mine, course)
    return sources(got), changes


def test_a_cell_that_the_learner_moved_or_added_stays_where_it_was_put() -> None:
    course = notebook(A, B, words("d", "New."), C)
    added = merged(notebook(A, B, words("x", "mine"), C), course)[0]
    assert added == ["Predict.", "1 + 2", "mine", "New.", "So it is."]
    assert merged(notebook(C, A, B), course)[0] == ["So it is.", "Predict.", "1 + 2", "New."]


def test_the_course_may_move_cells() -> None:
    assert merged(notebook(A, B, words("x", "mine"), C), notebook(B, A, C))[0] == [
        "1 + 2",
        "mine",
        "Predict.",
        "So it is.",
    ]


def test_deleted_cells_stay_deleted_and_it_is_counted_when_the_course_has_changed_them() -> None:
    got, changes = merged(notebook(A, C), notebook(A, code("b", "1 + 4"), C))
    assert got == ["Predict.", "So it is."]
    assert changes == Changes(missed=1)


def test_a_cell_that_the_course_removed_goes_unless_the_learner_changed_it() -> None:
    assert merged(notebook(A, B, C), notebook(A, C)) == (["Predict.", "So it is."], Changes(removed=1))
    assert merged(notebook(A, code("b", "mine"), C), notebook(A, C))[0] == ["Predict.", "mine", "So it is."]


def test_outputs_stay_with_the_text_they_came_from() -> None:
    ran = code("b", "1 + 2", outputs=SHOWN, execution_count=1)
    same, _ = merge(BASE, notebook(A, ran, C), notebook(words("a", "Guess."), B, C))
    assert same["cells"][1] == ran
    other, _ = merge(BASE, notebook(A, ran, C), notebook(A, code("b", "1 + 4"), C))
    assert other["cells"][1] == code("b", "1 + 4")


def test_a_note_that_nobody_touched_gives_way_to_a_newer_one() -> None:
    first, second = notebook(A, code("b", "first"), C), notebook(A, code("b", "second"), C)
    mine, _ = merge(BASE, notebook(A, code("b", "mine"), C), first)
    after, _ = merge(first, mine, second)
    notes = [text for text in sources(after) if text.startswith(CHANGED)]
    assert len(notes) == 1
    assert "second" in notes[0]
    mine["cells"][2]["source"] += "\nI have read this."
    kept, _ = merge(first, mine, second)
    assert any("I have read this." in text for text in sources(kept))
    assert sum(text.startswith(CHANGED) for text in sources(kept)) == 2


def test_code_with_fences_in_it_is_quoted_as_it_is() -> None:
    note = merge(BASE, notebook(A, code("b", "mine"), C), notebook(A, code("b", "'''```python'''"), C))[0]["cells"][2]
    assert "\n````python\n'''```python'''\n````" in note["source"]


TEXTS = st.sampled_from(["", "x", "x = 1\n", "## Title", "```", "é \N{GRINNING FACE}", CHANGED])
NAMES = st.sampled_from([*"abcdef", "a-course", "b-course", "b-course2"])
CELLS = st.builds(lambda make, name, text: make(name, text), st.sampled_from([code, words]), NAMES, TEXTS)
COURSES = st.lists(CELLS, unique_by=lambda cell: cell["id"]).map(lambda cells: notebook(*cells))
OWN_TEXTS = st.text(st.characters(codec="utf-8"), max_size=20)
KINDS = st.sampled_from(["change", "delete", "add", "move", "turn", "no id", "same id"])
EDITS = st.lists(st.tuples(KINDS, st.integers(0, 30), OWN_TEXTS))


def edit(content: dict[str, Any], edits: list[tuple[str, int, str]]) -> dict[str, Any]:
    """What a learner, or a program she used, may do to the cells of a notebook."""
    cells = copy.deepcopy(content["cells"])
    for number, (kind, place, text) in enumerate(edits):
        if kind == "add" or not cells:
            cells.insert(place, words(f"own{number}", text))
            continue
        cell = cells[place % len(cells)]
        if kind == "change":
            cell["source"] = text
        elif kind == "delete":
            cells.remove(cell)
        elif kind == "move":
            cells.remove(cell)
            cells.insert(number, cell)
        elif kind == "turn":
            cell["cell_type"] = "raw"
        elif kind == "no id":
            cell.pop("id", None)
        else:
            cell["id"] = cells[0].get("id", "x")
    return {**content, "cells": cells}


Written = set[tuple[str, str, str]]


def written(content: dict[str, Any]) -> Written:
    """Id, kind and text of each cell."""
    return {(cell["id"], cell["cell_type"], cell["source"]) for cell in content["cells"]}


def names(cells: Written) -> set[str]:
    return {name for name, *_ in cells}


@settings(max_examples=300, deadline=None)
@given(base=COURSES, edits=EDITS, course=COURSES)
def test_whatever_a_learner_wrote_survives_every_update(base: Any, edits: Any, course: Any) -> None:
    mine = edit(base, edits)
    name_cells(mine["cells"])
    frozen = copy.deepcopy((base, mine, course))
    after, _ = merge(base, mine, course)
    assert (base, mine, course) == frozen
    notes = {merging.note_of(cell)["source"] for cell in base["cells"]}
    own, given_out, got = written(mine), written(base), written(after)
    assert {cell for cell in own - given_out if cell[2] not in notes} <= got
    assert len(names(got)) == len(after["cells"])
    # What the learner left alone is as in the course, and what the learner deleted is not there.
    deleted, changed = names(given_out) - names(own), names(own - given_out)
    assert {cell for cell in written(course) if cell[0] not in deleted | changed} <= got
    assert {cell for cell in written(course) if cell[0] in deleted}.isdisjoint(got)
    # Done once more, after a failure in between or with the new base, it changes nothing.
    assert written(merge(base, after, course)[0]) == got
    assert merge(course, after, course)[0] == after


@settings(max_examples=200, deadline=None)
@given(base=COURSES, course=COURSES)
def test_a_learner_who_wrote_nothing_gets_the_course_as_it_is(base: Any, course: Any) -> None:
    assert merge(base, copy.deepcopy(base), course)[0]["cells"] == course["cells"]


EDITED = st.builds(lambda course, edits: json.dumps(edit(course, edits)).encode(), COURSES, EDITS)


@settings(max_examples=100, deadline=None)
@given(content=st.one_of(st.binary(), EDITED))
def test_no_content_of_a_copy_is_lost_or_stops_an_update(
    content: bytes, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("any")
    lab = write(folder / "notebooks" / "lab.ipynb", BASE)
    made, _ = update_copy(lab, folder / "work")
    made.write_bytes(content)
    write(lab, notebook(A, code("b", "1 + 4"), C))
    update_copy(lab, folder / "work")
    read_notebook(made)
    assert content in [path.read_bytes() for path in (folder / "work").rglob("*.ipynb")]
