"""The guesses of a class: read from notebooks and lessons.json without running anything, counted, and drawn."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import nbformat
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from nbformat.v4 import new_code_cell, new_notebook, new_output

from genai_labs.__main__ import main
from genai_labs.course.runner import COMPANIONS, LAB_NOTEBOOKS
from genai_labs.errors import LabError
from genai_labs.paths import NOTEBOOKS, RESULTS
from genai_labs.show import predictions
from genai_labs.show.lessons import lesson
from genai_labs.show.predictions import predict, predictions_table
from genai_labs.teaching import calibration as command
from genai_labs.teaching.class_files import OWN, STORED, ClassGuess, _typed, learner_of, read_class, read_file


@pytest.fixture(autouse=True)
def nothing_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GENAI_LABS_OUT", str(tmp_path / "build"))
    monkeypatch.setattr(predictions, "_guesses", {})
    monkeypatch.setattr(predictions, "_met", {})


def handed_in(path: Path, guesses: dict[str, float | None], run: bool = True) -> Path:
    """A learner's notebook with these guesses typed in, and, if it was run, the real table at its end."""
    cells = [new_code_cell(f"predict({id!r}, {guess}, naive=0.1)") for id, guess in guesses.items()]
    if run:
        predictions._guesses.clear()
        predictions._met.clear()
        for id, guess in guesses.items():
            predict(id, guess, naive=0.1)
            scores = 0.3 + np.random.default_rng(0).normal(0, 0.05, 60)
            lesson(
                id, "It is so", scores, metric="a rather long, score", show=False, bounds=(None, 9.0), expect="between"
            )
        card = predictions_table()
        shown = new_output("execute_result", data={"text/plain": card.text, "text/html": card.html})
        cells.append(new_code_cell("predictions_table()", outputs=[shown]))
    path.parent.mkdir(parents=True, exist_ok=True)
    nbformat.write(new_notebook(cells=cells), path)
    return path


def test_a_pattern_that_the_shell_hands_on_stands_for_the_files_that_fit(tmp_path: Path) -> None:
    """As shells of Windows do; a file whose own name looks like a pattern is that file."""
    names = ("anna/lab1_prompting.ipynb", "ben/lab1_prompting.ipynb", "ben/lab2[1].ipynb")
    made = [handed_in(tmp_path / name, {"1.1": 0.3}) for name in names]
    assert command.filled_in([tmp_path / "*" / "lab1*.ipynb", made[2]]) == made
    missing = tmp_path / "*.json"
    assert command.filled_in([missing]) == [missing], "so that it is named as one that cannot be read"


def test_guesses_are_read_from_the_table_at_the_end_of_a_notebook(tmp_path: Path) -> None:
    path = handed_in(tmp_path / "anna.ipynb", {"1.1": 0.3, "1.2": -2, "1.4": None, "2.10": 1e-3})
    rows = {row.lesson: row for row in read_file(path)}
    assert set(rows) == {"1.1", "1.2", "2.10"}, "1.4 is the naive reader's"
    assert {row.learner for row in rows.values()} == {"anna"}
    assert {row.held_against for row in rows.values()} == {OWN}
    assert rows["1.2"].guess == -2
    assert rows["2.10"].guess == pytest.approx(1e-3)
    (measured,) = {(row.low, row.high) for row in rows.values()}
    assert 0.27 < measured[0] < 0.3 < measured[1] < 0.33


def test_a_table_whose_numbers_vary_between_machines_is_read_too(tmp_path: Path) -> None:
    notebook = nbformat.read(handed_in(tmp_path / "ben.ipynb", {"1.1": 0.3}), as_version=4)
    data = notebook.cells[-1].outputs[0].data
    data["text/plain"] = (
        data["text/plain"].replace("[", "[\N{ALMOST EQUAL TO}").replace(", 0", ", \N{ALMOST EQUAL TO}0")
    )
    nbformat.write(notebook, tmp_path / "ben.ipynb")
    (row,) = read_file(tmp_path / "ben.ipynb")
    assert row.low < 0.3 < row.high


def test_a_notebook_that_was_not_run_is_held_against_the_stored_results(tmp_path: Path) -> None:
    path = handed_in(tmp_path / "cleo.ipynb", {"1.1": 0.97, "1.2": None, "9.9": 3}, run=False)
    stored = json.loads((RESULTS / "lab1_seeds.json").read_text(encoding="utf-8"))["lessons"][0]["seeds"]["0"]
    assert read_file(path) == [ClassGuess("cleo", "1.1", 0.97, stored["low"], stored["high"], STORED)]


def test_a_guess_in_a_companion_that_was_not_run_is_held_against_the_stored_results(tmp_path: Path) -> None:
    (row,) = read_file(handed_in(tmp_path / "cleo" / COMPANIONS[4], {"4.1": 0.97}, run=False))
    assert (row.learner, row.lesson, row.guess, row.held_against) == ("cleo", "4.1", 0.97, STORED)


def test_guesses_are_read_from_lessons_json(tmp_path: Path) -> None:
    predict("1.1", 0.31, naive=0.1)
    predict("1.2", None, naive=0.1)
    for id in ("1.1", "1.2", "1.3"):
        scores = 0.3 + np.random.default_rng(0).normal(0, 0.05, 60)
        lesson(id, "It is so", scores, metric="score", show=False, bounds=(None, 9.0), expect="between")
    (row,) = read_file(tmp_path / "build" / "lessons.json")
    assert (row.lesson, row.guess, row.learner) == ("1.1", 0.31, tmp_path.name)


@pytest.mark.parametrize("lab", LAB_NOTEBOOKS)
def test_the_committed_notebooks_hold_guesses_of_nobody(lab: int) -> None:
    assert read_file(NOTEBOOKS / LAB_NOTEBOOKS[lab]) == []


@pytest.mark.parametrize("lab", LAB_NOTEBOOKS)
def test_every_question_for_a_guess_is_one_that_can_be_read(lab: int, tmp_path: Path) -> None:
    notebook = nbformat.read(NOTEBOOKS / LAB_NOTEBOOKS[lab], as_version=4)
    asked = 0
    for cell in notebook.cells:
        if cell.cell_type == "code":
            asked += cell.source.count(", None, naive=")
            cell.source, cell.outputs = cell.source.replace(", None, naive=", ", 0.25, naive="), []
    nbformat.write(notebook, tmp_path / "dora.ipynb")
    rows = read_file(tmp_path / "dora.ipynb")
    assert len(rows) == asked > 5
    assert {row.guess for row in rows} == {0.25}


@pytest.mark.parametrize(
    ("path", "learner"),
    [
        ("anna.ipynb", "anna"),
        ("class/anna/lab1_prompting.ipynb", "anna"),
        ("class/ben/build/lessons.json", "ben"),
        ("class/cleo/work/lab2_fine_tuning.ipynb", "cleo"),
        ("class/lab 1 by dora.ipynb", "lab 1 by dora"),
        ("class/emil/week3_reasoning_and_retrieval.ipynb", "emil"),
        ("class/anna/lab1_prompting.nbconvert.ipynb", "anna"),
        ("class/ben/lab1_prompting-Copy1.ipynb", "ben"),
        ("class/cleo/lab2_fine_tuning - Copy (2).ipynb", "cleo"),
        ("class/dora/Copy of lab3_ppo_detox (1).ipynb", "dora"),
        ("class/emil-Copy2.ipynb", "emil"),
        ("class/gina/lab1_prompting 2.ipynb", "gina"),
        ("class/hugo/lab1_prompting-1.ipynb", "hugo"),
        ("class/ida/.ipynb_checkpoints/lab1_prompting-checkpoint.ipynb", "ida"),
        ("class/jan/build/lessons (1).json", "jan"),
        ("class/student (1).ipynb", "student (1)"),
        ("class/fay.nbconvert.ipynb", "fay"),
    ],
)
def test_a_file_is_of_the_learner_after_whom_it_or_its_folder_is_called_and_so_are_its_copies(
    path: str, learner: str
) -> None:
    assert learner_of(Path(path)) == learner


def test_files_of_one_lab_in_one_folder_are_of_those_after_whom_they_are_called() -> None:
    names = ("lab1_anna", "lab1_anna-Copy1", "lab1_prompting_ben", "lab1_prompting", "lab2_cleo", "week3_dora")
    paths = [Path("class") / f"{name}.ipynb" for name in names]
    assert [learner_of(path, paths) for path in paths] == ["anna", "anna", "ben", "class", "cleo", "dora"]
    own = [Path("emil") / f"lab1_prompting{end}.ipynb" for end in ("", "_student", "_student (1)", "_final", "_v2")]
    assert {learner_of(path, own) for path in own} == {"emil"}


def test_folders_side_by_side_name_the_learners_whatever_their_files_are_called() -> None:
    ends = {"anna": ("_executed", "_mine", "_by_me"), "ben": ("", "_old")}
    paths = [Path("class") / who / f"lab1_prompting{end}.ipynb" for who in ends for end in ends[who]]
    assert [learner_of(path, paths) for path in paths] == ["anna"] * 3 + ["ben"] * 2
    alone = [Path("anna") / f"lab1_prompting{end}.ipynb" for end in ("", "_backup", "_old", "_final_v2")]
    assert {learner_of(path, alone) for path in alone} == {"anna"}
    by_lab = [Path("class") / each for each in ("lab1/lab1_anna.ipynb", "lab1/lab1_ben.ipynb", "lab2/lab2_anna.ipynb")]
    mixed = [*by_lab, Path("class/cem/lab1_prompting.ipynb")]
    assert [learner_of(path, mixed) for path in mixed] == ["anna", "ben", "anna", "cem"]


def test_an_anonymous_class_is_named_nowhere(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    made = [handed_in(tmp_path / "anna" / f"lab1{end}.ipynb", {"1.1": 0.3}) for end in ("", "-Copy1")]
    made += [tmp_path / "dora" / "lab1.ipynb", handed_in(tmp_path / "cleo" / "lab1.ipynb", {"1.1": None})]
    made[2].parent.mkdir()
    made[2].write_text('{"dora"', encoding="utf-8")
    assert main(["calibration", *map(str, made), "--out", str(tmp_path / "out"), "--anonymous"]) == 0
    shown = capsys.readouterr().out
    assert not [name for name in ("anna", "dora", "cleo") if name in shown.replace(str(tmp_path / "out"), "")]
    assert "File 2 of 4: not counted, as another file of this learner has these lessons: 1.1." in shown
    assert "File 3 of 4 is left out, because it cannot be read" in shown
    assert "File 4 of 4 holds no guess" in shown


def test_a_lesson_of_a_learner_counts_once_and_bad_files_are_named(tmp_path: Path) -> None:
    good = handed_in(tmp_path / "anna" / "lab1_prompting.ipynb", {"1.1": 0.3})
    again = handed_in(tmp_path / "anna" / "work" / "lab1_prompting.ipynb", {"1.1": 5})
    (tmp_path / "bad.ipynb").write_text("{", encoding="utf-8")
    (tmp_path / "bad.json").write_text('[{"id": "1.1"}]', encoding="utf-8")
    empty = handed_in(tmp_path / "empty.ipynb", {"1.1": None})
    files = [
        good,
        again,
        tmp_path / "bad.ipynb",
        tmp_path / "bad.json",
        tmp_path / "gone.ipynb",
        tmp_path / "gone.json",
        empty,
    ]
    guesses, problems = read_class(files)
    assert [guess.guess for guess in guesses] == [0.3]
    assert len(problems) == 6
    assert problems[0] == f"{again}: not counted, as another file of anna has these lessons: 1.1."
    assert all(name in " ".join(problems) for name in ("bad.ipynb", "bad.json", "gone.ipynb", "gone.json", "empty"))


@settings(max_examples=60, deadline=None)
@given(st.text(max_size=40), st.text(max_size=80))
def test_odd_cells_and_outputs_are_passed_over(code: str, shown: str) -> None:
    from genai_labs.teaching.class_files import _table

    assert isinstance(_typed(f"predict({code}, 1, naive=0)"), list)
    for output in ({"data": {"text/plain": shown}}, {"data": shown}, shown, {"data": {"text/plain": [shown, 1]}}):
        assert isinstance(_table({"outputs": [output]}, "x"), list)


def test_code_of_a_learner_is_never_run(tmp_path: Path) -> None:
    mark = tmp_path / "ran"
    cells = [new_code_cell(f'predict("1.1", __import__("pathlib").Path({str(mark)!r}).touch() or 1, naive=0)')]
    nbformat.write(new_notebook(cells=cells), tmp_path / "eve.ipynb")
    assert read_file(tmp_path / "eve.ipynb") == []
    assert not mark.exists()


CHOOSE = (
    'predict("1.18", "They help", choices=("They help", "They distract", "no difference shown"), naive="They help")'
)


def chosen(path: Path, run: bool) -> Path:
    """A learner's notebook with a choice and a number, and, if it was run, the real table at its end."""
    cells = [new_code_cell(CHOOSE), new_code_cell('predict("1.1", 0.3, naive=0.1)')]
    if run:
        exec("\n".join(cell.source for cell in cells), {"predict": predict})
        for id in ("1.1", "1.18"):
            scores = 0.3 + np.random.default_rng(0).normal(0, 0.05, 60)
            lesson(id, "It is so", scores, metric="a score", show=False)
        cells.append(
            new_code_cell(outputs=[new_output("execute_result", data={"text/plain": predictions_table().text})])
        )
    nbformat.write(new_notebook(cells=cells), path)
    return path


def test_a_choice_is_read_whatever_its_capitals() -> None:
    ((_, guess),) = _typed(CHOOSE.replace("They help", " they HELP", 1))
    assert guess.value == "They help"
    assert _typed(CHOOSE.replace("They help", "perhaps", 1)) == []


@pytest.mark.parametrize("run", [True, False])
def test_choices_are_read_from_notebooks(run: bool, tmp_path: Path) -> None:
    rows = {row.lesson: row for row in read_file(chosen(tmp_path / "anna.ipynb", run))}
    assert (rows["1.1"].guess, rows["1.1"].guess_was) == (0.3, None)
    assert rows["1.18"].guess == "They help"
    low, high = rows["1.18"].low, rows["1.18"].high
    assert rows["1.18"].guess_was == ("as measured" if low > 0 else "not as measured")
    assert (0.27 < low < high < 0.33) is run


def test_choices_are_read_from_lessons_json_and_the_command_counts_them(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    chosen(tmp_path / "anna.ipynb", run=True)
    capsys.readouterr()
    assert main(["calibration", str(tmp_path / "build" / "lessons.json"), "--out", str(tmp_path / "out")]) == 0
    shown = capsys.readouterr().out
    assert "Lessons with choices" in shown
    assert "of these as measured" in shown
    assert "They help" in (tmp_path / "out" / "guesses.csv").read_text(encoding="utf-8")


def test_a_learner_who_only_chose_is_counted_too() -> None:
    (row,) = command.by_learner([ClassGuess("anna", "1.18", "They help", 0.1, 0.2, OWN, "as measured")])
    assert (row["guesses"], row["choices"], row["of these as measured"]) == (0, 1, 1)
    assert command.draw_learners([ClassGuess("anna", "1.18", "They help", 0.1, 0.2, OWN, "as measured")])


def class_of_three() -> list[ClassGuess]:
    def row(learner: str, lesson: str, guess: float) -> ClassGuess:
        return ClassGuess(learner, lesson, guess, 1.0, 2.0, OWN)

    return [
        *(row("anna", lesson, guess) for lesson, guess in (("1.2", 1.5), ("1.10", 1.0), ("1.3", 0.0))),
        *(row("ben", lesson, guess) for lesson, guess in (("1.2", 9.0), ("1.10", 2.5))),
        row("cleo", "1.2", 2.0),
    ]


def test_learners_and_lessons_are_counted_by_hand() -> None:
    learners = command.by_learner(class_of_three())
    assert [row["learner"] for row in learners] == ["cleo", "anna", "ben"]
    assert learners[1] == {
        "learner": "anna",
        "guesses": 3,
        "in the interval": 2,
        "too low": 1,
        "too high": 0,
        "widths off, median outside": 1.0,
        "share in the interval": pytest.approx(2 / 3),
    }
    lessons = command.by_lesson(class_of_three())
    assert [row["lesson"] for row in lessons] == ["1.3", "1.10", "1.2"]
    assert (lessons[2]["median guess"], lessons[2]["in the interval"], lessons[2]["too high"]) == (2.0, 2, 1)
    assert [command.widths_off(guess) for guess in class_of_three()] == [0, 0, -1, 7, 0.5, 0]


def test_pictures_say_in_text_what_they_show() -> None:
    text = str(command.draw_learners(class_of_three()))
    assert "ben: 0 in the interval, 0 too low, 2 too high" in text
    assert "1.2: 0.0, 0.0, 7.0" in str(command.draw_lesson_guesses(class_of_three()))


def test_the_command_writes_tables_and_pictures(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    files = [str(handed_in(tmp_path / f"{name}.ipynb", {"1.1": guess})) for name, guess in (("anna", 0.3), ("ben", 2))]
    out = tmp_path / "out"
    assert main(["calibration", *files, "--out", str(out), "--anonymous"]) == 0
    shown = capsys.readouterr().out
    assert "learner 1" in shown
    assert "anna" not in shown
    assert "anna" not in (out / "guesses.csv").read_text(encoding="utf-8")
    assert all((out / name).read_bytes()[:4] == b"\x89PNG" for name in ("learners.png", "lessons.png"))


def test_without_a_guess_the_command_says_what_a_guess_is(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    empty = handed_in(tmp_path / "empty.ipynb", {"1.1": None})
    assert main(["calibration", str(empty), "--out", str(tmp_path / "out")]) == 2
    assert 'predict("1.1", None, naive=0.3)' in capsys.readouterr().err
    with pytest.raises(LabError):
        command.main([str(empty)])


def test_a_name_with_a_dollar_or_a_tag_does_no_harm(tmp_path: Path) -> None:
    guesses: list[Any] = [ClassGuess("<b>$x$</b>", "1.1", 1.0, 0.0, 2.0, OWN)]
    assert command.draw_learners(guesses).png()[:4] == b"\x89PNG"
