"""Handouts: nothing is given away in the student version, solutions fill every stub, slides fetch nothing."""

from __future__ import annotations

import ast
import json
import re
import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any

import nbformat
import pytest

from genai_labs.__main__ import main
from genai_labs.course.execution import execute, kernel_environment
from genai_labs.course.notebooks import find_problems
from genai_labs.course.runner import EVERY_NOTEBOOK, LAB_NOTEBOOKS
from genai_labs.course.working_copy import read_notebook
from genai_labs.errors import LabError
from genai_labs.loading import models
from genai_labs.loading.profiles import load_profile
from genai_labs.paths import NOTEBOOKS
from genai_labs.prompting import exercises as check
from genai_labs.teaching import handout, otter, slides
from genai_labs.teaching.handout import as_node, solutions_version, student_version, taken_out
from genai_labs.teaching.stubs import SOLUTION, find_exercises, is_stub, without_solutions
from tests.browsers import find_browser


@cache
def course(lab: int) -> dict[str, Any]:
    return read_notebook(NOTEBOOKS / EVERY_NOTEBOOK[lab])


EXERCISES = [(lab, number) for lab in EVERY_NOTEBOOK for number in range(len(find_exercises(course(lab))))]


def everything(notebook: dict[str, Any]) -> str:
    return "\n".join(cell["source"] for cell in notebook["cells"])


def tokens(code: str) -> list[str]:
    """The lines of a solution that say something: neither imports nor headers, of which a stub has the same."""
    lines = (line.strip() for line in code.splitlines())
    return [line for line in lines if len(line) > 25 and not line.startswith(("import ", "from ", "def ", "class "))]


def made_up(*cells: tuple[str, str]) -> dict[str, Any]:
    made: list[dict[str, Any]] = [
        {"cell_type": kind, "id": f"c{i}", "metadata": {}, "source": text} for i, (kind, text) in enumerate(cells)
    ]
    for cell in made:
        if cell["cell_type"] == "code":
            cell |= {"outputs": [{"output_type": "stream", "name": "stdout", "text": "42\n"}], "execution_count": 1}
    return {"cells": made, "metadata": {}, "nbformat": 4, "nbformat_minor": 5}


FOLDED = """Write it.

<details><summary>Solution</summary>

```python
def my_x(n):
    return 6 * n
```
Why.
</details>"""
HINT = re.compile(r"<summary>Hint</summary>(.*?)</details>", re.DOTALL)
STUB = 'import math\n\n\ndef my_x(n):\n    """Six."""\n    ...\n\n\ncheck.check_x(my_x)'


@pytest.mark.parametrize("lab", EVERY_NOTEBOOK)
def test_the_student_version_gives_nothing_away(lab: int) -> None:
    given = student_version(course(lab))
    assert [cell["id"] for cell in given["cells"]] == [cell["id"] for cell in course(lab)["cells"]]
    assert all(not cell["outputs"] and cell["execution_count"] is None for cell in given["cells"] if "outputs" in cell)
    text = everything(given)
    assert "<summary>Solution</summary>" not in text
    assert "<summary>Hint</summary>" in text
    solutions = SOLUTION.findall(everything(course(lab)))
    assert (
        len(solutions)
        == everything(course(lab)).count("<summary>Solution</summary>")
        > (9 if lab in LAB_NOTEBOOKS else 4)
    )
    for solution in solutions:
        assert tokens(solution)
        told = {line for hint in HINT.findall(everything(course(lab))) for line in tokens(solution) if line in hint}
        assert {line for line in tokens(solution) if line in text} <= told
        assert len(told) < len(tokens(solution)), "a hint is no solution"


@pytest.mark.parametrize("lab", EVERY_NOTEBOOK)
def test_the_solutions_version_has_no_stub_left(lab: int) -> None:
    codes = [cell["source"] for cell in course(lab)["cells"] if cell["cell_type"] == "code"]
    assert (
        len(find_exercises(course(lab)))
        == sum("check.check_" in code for code in codes)
        > (5 if lab in LAB_NOTEBOOKS else 4)
    )
    solved = solutions_version(course(lab))
    left = [cell["id"] for cell in solved["cells"] if cell["cell_type"] == "code" and is_stub(cell["source"])]
    assert left == []
    for exercise in find_exercises(course(lab)):
        source = solved["cells"][exercise.place]["source"]
        assert exercise.solution.strip() in source
        assert source.endswith(exercise.call)
        assert all(line in source for line in exercise.stub.splitlines() if line.startswith(("import ", "from ")))


@cache
def lab_model() -> dict[str, Any]:
    profile = load_profile("mini")
    model, tokenizer = models.load_model(profile)
    return {"profile": profile, "model": model, "tokenizer": tokenizer}


@pytest.mark.parametrize(("lab", "number"), EXERCISES)
def test_a_stub_asks_for_a_first_step_and_its_solution_passes(
    lab: int, number: int, capsys: pytest.CaptureFixture[str]
) -> None:
    """In the names that an assignment for otter-grader sets up, which are fewer than the lab's."""
    exercises = find_exercises(course(lab))
    namespace = dict(lab_model())
    exec(otter.setup(course(lab), exercises).replace(otter.MODEL, ""), namespace)
    exec(exercises[0].stub, namespace)  # it imports the checks
    exec(exercises[number].stub, namespace)
    assert capsys.readouterr().out.splitlines()[-1].startswith("Not yet: the function gives back nothing so far.")
    exec(exercises[number].solved, namespace)
    assert capsys.readouterr().out.startswith("Right: ")


def test_stubs_and_solutions_of_a_made_up_notebook() -> None:
    notebook = made_up(("markdown", FOLDED), ("code", STUB), ("markdown", "After."), ("code", "check.check_x(1)"))
    (exercise,) = find_exercises(notebook)
    assert (exercise.name, exercise.place) == ("x", 1)
    assert exercise.solved == "import math\n\n\ndef my_x(n):\n    return 6 * n\n\n\ncheck.check_x(my_x)"
    assert without_solutions(FOLDED) == "Write it."
    assert student_version(notebook)["cells"][1]["source"] == STUB
    assert notebook["cells"][1]["outputs"], "the notebook that was given is left as it was"


def test_a_stub_without_a_solution_is_told_in_words() -> None:
    with pytest.raises(LabError, match="cell c1 is a stub, and the cell above it has 0 solutions"):
        find_exercises(made_up(("markdown", "Write it."), ("code", STUB)))


def test_a_damaged_notebook_is_told_in_words(tmp_path: Path) -> None:
    (tmp_path / "lab1.ipynb").write_text("{", encoding="utf-8")
    with pytest.raises(LabError, match="git checkout -- notebooks/lab1.ipynb"):
        handout.read_course(tmp_path / "lab1.ipynb")


@pytest.mark.parametrize("lab", EVERY_NOTEBOOK)
def test_each_section_begins_a_column_of_slides(lab: int) -> None:
    made = slides.sections(as_node(taken_out(course(lab))))
    headings = re.findall(r"^## .*", everything(course(lab)), re.MULTILINE)
    first = [cell.source.splitlines()[0] for cell in made.cells if cell.metadata.slideshow.slide_type == "slide"]
    assert first[1:] == headings
    assert first[0].startswith(f"# Lab {lab}" if lab in LAB_NOTEBOOKS else "# Companion")
    assert {cell.metadata.slideshow.slide_type for cell in made.cells if cell.cell_type == "code"} == {"-"}
    assert len({cell.id for cell in made.cells}) == len(made.cells)


def test_a_heading_in_code_begins_no_slide() -> None:
    made = slides.sections(
        as_node(made_up(("markdown", "# T\n\n```\n## no\n```\n\n## 1. Yes\ntext"), ("code", "## no")))
    )
    assert [cell.source for cell in made.cells] == ["# T\n\n```\n## no\n```", "## 1. Yes\ntext", "## no"]


@pytest.mark.parametrize("lab", EVERY_NOTEBOOK)
def test_slides_and_pages_fetch_nothing_and_hold_no_solution(lab: int, tmp_path: Path) -> None:
    handout.write_handout(course(lab), lab, "lab", tmp_path)
    for kind in ("slides", "print"):
        page = (tmp_path / kind / "lab.html").read_text(encoding="utf-8")
        page = page.replace(
            re.sub(r"\s*//# source.*", "", (slides.REVEAL / "reveal.js").read_text(encoding="utf-8")), ""
        )
        assert not re.search(
            r"<(script|img|iframe)[^>]*\ssrc=(?![\"']?data:)|<link[^>]*href=|@import|url\((?!['\"]?data:)", page
        )
        assert "<summary>Solution</summary>" not in page
        assert "Lesson " in page, "the outputs are there"
    assert "Reveal.initialize" in (tmp_path / "slides" / "lab.html").read_text(encoding="utf-8")
    for kind in ("student", "solutions"):
        notebook = nbformat.read(tmp_path / kind / f"lab_{kind}.ipynb", as_version=4)
        nbformat.validate(notebook)
        assert [each for each in find_problems(notebook) if "executed" not in each] == []


@pytest.mark.skipif(find_browser() is None, reason="there is no browser, or no playwright to drive it")
def test_slides_move_in_a_browser_and_ask_for_no_other_file(tmp_path: Path) -> None:
    from playwright.sync_api import sync_playwright

    (tmp_path / "lab.html").write_text(slides.to_slides(as_node(taken_out(course(2))), "Lab 2"), encoding="utf-8")
    asked, failed = [], []
    with sync_playwright() as play:
        browser = play.chromium.launch(executable_path=find_browser(), args=["--no-sandbox"])
        page = browser.new_page()
        page.on("request", lambda request: asked.append(request.url.split("?")[0]))
        page.on("pageerror", lambda error: failed.append(str(error)))
        page.goto((tmp_path / "lab.html").as_uri())
        page.wait_for_function("Reveal.isReady()")
        columns = page.evaluate("Reveal.getHorizontalSlides().length")
        page.keyboard.press("ArrowRight")
        heading = page.locator("section.present > section.present h2").inner_text()
        browser.close()
    assert [url for url in asked if not url.startswith("data:")] == [(tmp_path / "lab.html").as_uri()]
    assert failed == []
    assert columns == 1 + everything(course(2)).count("\n## ") + everything(course(2)).startswith("## ")
    assert heading.startswith("1. The task and the gap")


def test_the_command_writes_all_versions(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["handout", "2", "--out", str(tmp_path / "out"), "--otter", "--no-pdf"]) == 0
    assert "otter, print, slides, solutions, student" in capsys.readouterr().out
    made = {each.name for each in (tmp_path / "out").glob("*/*.ipynb")}
    stem = EVERY_NOTEBOOK[2].removesuffix(".ipynb")
    assert made == {f"{stem}_student.ipynb", f"{stem}_solutions.ipynb", f"{stem}.ipynb"}


def test_without_a_browser_it_says_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(slides, "find_chromium", lambda: None)
    handout.print_pages(tmp_path)
    assert "Open the pages in" in capsys.readouterr().out


def test_a_browser_is_found_where_windows_keeps_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slides.shutil, "which", lambda name: None)
    monkeypatch.setattr(slides, "PLACES", ("%NotSet%/x.exe", "%ProgramFiles(x86)%/Edge/msedge.exe"))
    monkeypatch.setenv("ProgramFiles(x86)", str(tmp_path))
    assert slides.find_chromium() is None
    (tmp_path / "Edge").mkdir()
    (tmp_path / "Edge" / "msedge.exe").touch()
    assert slides.find_chromium() == f"{tmp_path}/Edge/msedge.exe"


@pytest.mark.skipif(slides.find_chromium() is None, reason="there is no Chromium, Chrome or Edge")
def test_a_page_is_printed_by_a_browser(tmp_path: Path) -> None:
    (tmp_path / "a page.html").write_text("<title>x</title><p>Words.", encoding="utf-8")
    browser = slides.find_chromium()
    assert browser
    assert slides.print_page(tmp_path / "a page.html", tmp_path / "a page.pdf", browser) == ""
    assert (tmp_path / "a page.pdf").read_bytes()[:5] == b"%PDF-"


def test_a_browser_that_fails_is_told_with_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "page.html").write_text("x", encoding="utf-8")
    (tmp_path / "page.pdf").write_bytes(b"%PDF-1.4 of an earlier page")
    monkeypatch.setattr(slides, "find_chromium", lambda: shutil.which("false") or "/no/such/browser")
    handout.print_pages(tmp_path)
    assert "page.pdf was not made" in capsys.readouterr().out


@pytest.mark.parametrize("lab", EVERY_NOTEBOOK)
def test_an_assignment_is_in_the_format_of_otter_assign(lab: int) -> None:
    made, exercises = otter.assignment(course(lab), lab), find_exercises(course(lab))
    nbformat.validate(made)
    raw = [cell.source.splitlines()[0] for cell in made.cells if cell.cell_type == "raw"]
    block = [f"# {when} {what}" for what in ("SOLUTION", "TESTS") for when in ("BEGIN", "END")]
    assert raw == ["# ASSIGNMENT CONFIG", *["# BEGIN QUESTION", *block, "# END QUESTION"] * len(exercises)]
    names = re.findall(r"^name: (\w+)$", "\n".join(cell.source for cell in made.cells), re.MULTILINE)
    assert len(set(names)) == len(names) == 1 + len(exercises)
    for cell, exercise in zip(
        [c for c in made.cells if "BEGIN PROMPT" in c.source], find_exercises(course(lab)), strict=True
    ):
        solution, prompt = re.split(r"\n# END SOLUTION\nr''' # BEGIN PROMPT\n", cell.source)
        assert solution == f"# BEGIN SOLUTION NO PROMPT\n{exercise.solved}"
        assert prompt == f"{exercise.stub}\n''' # END PROMPT"
        assert isinstance(ast.parse(cell.source).body[-1], ast.Expr), "the stub is a text, which does nothing"
    tests = [cell.source for cell in made.cells if cell.source.startswith("assert")]
    assert len(tests) == len(exercises)
    assert all(
        re.fullmatch(r"assert not \(said := complaint\(check\.check_\w+, [mM]y\w+(, [\w.]+)*\)\), said", t)
        for t in tests
    )


@pytest.mark.parametrize("lab", EVERY_NOTEBOOK)
def test_by_the_rules_of_otter_a_learner_gets_the_stub_and_no_solution(lab: int) -> None:
    """Lines from BEGIN SOLUTION to END SOLUTION go, and so do those that end with BEGIN PROMPT or END PROMPT."""
    cells = [cell.source for cell in otter.assignment(course(lab), lab).cells if "BEGIN PROMPT" in cell.source]
    for source, exercise in zip(cells, find_exercises(course(lab)), strict=True):
        left = re.sub(r"^# BEGIN SOLUTION NO PROMPT$.*?^# END SOLUTION$\n", "", source, flags=re.MULTILINE | re.DOTALL)
        left = "\n".join(line for line in left.splitlines() if not line.endswith((" BEGIN PROMPT", " END PROMPT")))
        assert left == exercise.stub


@pytest.mark.slow
@pytest.mark.parametrize("lab", EVERY_NOTEBOOK)
def test_otter_makes_of_an_assignment_a_version_without_solutions(lab: int, tmp_path: Path) -> None:
    pytest.importorskip("otter", reason="otter-grader is not installed: pip install -e .[otter]")
    name = EVERY_NOTEBOOK[lab]
    nbformat.write(otter.assignment(course(lab), lab), tmp_path / name)
    command = [sys.executable, "-m", "otter", "assign", str(tmp_path / name), str(tmp_path / "made")]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    student = nbformat.read(tmp_path / "made" / "student" / name, as_version=4)
    text = "\n".join(cell.source for cell in student.cells)
    assert all(exercise.stub in text for exercise in find_exercises(course(lab)))
    assert all(exercise.solution.strip() not in text for exercise in find_exercises(course(lab)))


def test_a_grader_gets_yes_or_no(capsys: pytest.CaptureFixture[str]) -> None:
    assert otter.complaint(check.check_training_bytes, lambda parameters, trained: 4 * parameters + 12 * trained) == ""
    assert otter.complaint(check.check_training_bytes, lambda *_: None).startswith("Not yet")
    assert otter.complaint(check.check_training_bytes, lambda parameters, trained: 4 * parameters).startswith("Not yet")
    assert capsys.readouterr().out == ""


def test_what_an_exercise_uses_and_nothing_gives_is_told_in_words() -> None:
    notebook = made_up(("markdown", FOLDED.replace("6 * n", "unheard_of * n")), ("code", STUB))
    with pytest.raises(LabError, match="unheard_of"):
        otter.setup(notebook, find_exercises(notebook))


@pytest.mark.slow
@pytest.mark.parametrize("lab", EVERY_NOTEBOOK)
def test_the_student_version_runs_to_its_first_stub_and_is_told_a_first_step(lab: int, tmp_path: Path) -> None:
    (first, *_) = find_exercises(course(lab))
    notebook = as_node(student_version(course(lab)))
    notebook.cells = notebook.cells[: first.place + 1]
    assert execute(notebook, NOTEBOOKS, kernel_environment("mini", tmp_path), "student") is None
    assert "Not yet: the function gives back nothing so far." in json.dumps(notebook.cells[-1].outputs)


@pytest.mark.slow
@pytest.mark.parametrize("lab", EVERY_NOTEBOOK)
def test_the_solutions_version_runs_to_its_end(lab: int, tmp_path: Path) -> None:
    notebook = as_node(solutions_version(course(lab)))
    assert execute(notebook, NOTEBOOKS, kernel_environment("mini", tmp_path), "solutions") is None
    for exercise in find_exercises(course(lab)):
        assert '"Right: ' in json.dumps(notebook.cells[exercise.place].outputs), exercise.name
