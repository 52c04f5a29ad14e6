"""Lab 1 is a regression test: a wrong prompt makes nbval fail, and a wrong kernel is answered in words."""

import ast
import inspect
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest

from genai_labs.course import runner, seeds
from genai_labs.errors import Interrupted, LabError
from genai_labs.loading import data
from genai_labs.loading.profiles import lab_seed
from genai_labs.paths import DATA, NOTEBOOKS, ROOT
from genai_labs.prompting import prompts

LAB = NOTEBOOKS / "lab1_prompting.ipynb"
NEEDED = ("load_profile()", "models.load_model", "board = Scoreboard", "def summarize", '"zero-shot", summarize')


def excerpt(folder: Path) -> Path:
    """The cells of Lab 1 that lead to the one-shot outputs, with their saved outputs."""
    notebook = nbformat.read(LAB, as_version=4)
    cells = []
    for cell in notebook.cells:
        if cell.cell_type != "code":
            continue
        last = 'board.add("one-shot"' in cell.source
        if last or cell.source.startswith("exemplars = ") or any(words in cell.source for words in NEEDED):
            cells.append(cell)
        if last:
            break
    assert len(cells) == len(NEEDED) + 2
    notebook.cells = cells
    path = folder / "excerpt.ipynb"
    nbformat.write(notebook, path)
    return path


def nbval(notebook: Path, source: Path) -> subprocess.CompletedProcess[str]:
    """nbval on a notebook, with the package taken from ``source``."""
    command = [sys.executable, "-m", "pytest", "--nbval", "--nbval-current-env", "-q", "-c", os.devnull, str(notebook)]
    environment = os.environ | {"PYTHONPATH": str(source)}
    return subprocess.run(command, capture_output=True, text=True, env=environment, cwd=notebook.parent, check=False)


def test_swapping_few_shot_for_zero_shot_is_caught(tmp_path: Path) -> None:
    notebook = excerpt(tmp_path)
    copy = tmp_path / "copy"
    shutil.copytree(ROOT / "src", copy / "src", ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
    (copy / "data").symlink_to(DATA)
    sound = nbval(notebook, copy / "src")
    assert sound.returncode == 0, sound.stdout[-3000:]
    prompts = copy / "src" / "genai_labs" / "prompting" / "prompts.py"
    text = prompts.read_text(encoding="utf-8")
    broken = text.replace(
        '"\\n\\n\\n".join([*solved, zero_shot(dialogue, instruction)])', "zero_shot(dialogue, instruction)"
    )
    assert broken != text
    prompts.write_text(broken, encoding="utf-8")
    failed = nbval(notebook, copy / "src")
    assert failed.returncode == 1
    # The prompt that is shown, and what is written to it; all cells before are as they are saved.
    assert f"2 failed, {len(NEEDED)} passed" in failed.stdout, failed.stdout[-3000:]
    assert "one-shot" in failed.stdout


@pytest.mark.slow
@pytest.mark.parametrize("lab", [1, 2])
def test_two_runs_give_the_same_lessons(tmp_path: Path, lab: int) -> None:
    runs = []
    for name in ("first", "second"):
        assert runner.run_labs([lab], "mini", tmp_path / name) == 0
        runs.append((tmp_path / name / "lessons.json").read_bytes())
    assert runs[0] == runs[1]


def test_a_kernel_without_the_package_is_told_what_to_do(tmp_path: Path) -> None:
    cell = next(c.source for c in nbformat.read(LAB, as_version=4).cells if c.cell_type == "code")
    script = tmp_path / "cell.py"
    script.write_text(cell, encoding="utf-8")
    ran = subprocess.run([sys.executable, "-S", "-I", str(script)], capture_output=True, text=True, check=False)
    assert ran.returncode == 1
    assert "make lab" in ran.stderr
    assert "Traceback" not in ran.stderr


def test_the_committed_seeds_show_every_lesson_holding() -> None:
    record = json.loads((ROOT / "results" / "lab1_seeds.json").read_text(encoding="utf-8"))
    assert len(record["seeds"]) == 5
    assert len(record["lessons"]) >= 8
    assert [item["id"] for item in seeds.claims(record) if item["holds_on"] < item.get("measured_on", 5)] == []
    assert {item.get("measured_on", 5) for item in record["lessons"]} <= {1, 5}
    assert (ROOT / "results" / "lab1_seeds.md").read_text(encoding="utf-8") == seeds.as_markdown(record)


def test_seeds_are_summarized_lesson_by_lesson() -> None:
    def row(effect: float, holds: bool) -> dict[str, object]:
        verdict = "holds" if holds else "not shown"
        base = {"id": "1.2", "claim": "c", "metric": "m", "effect": effect, "low": 0.1, "high": 0.3, "n": 9}
        return base | {"verdict": verdict, "holds": holds}

    record = seeds.summarize(1, {0: [row(0.2, True)], 1: [row(0.1, False)], 2: []})
    assert record["lessons"][0]["holds_on"] == 1
    assert record["lessons"][0]["seeds"]["2"] is None
    assert "1 of 3" in seeds.as_markdown(record)
    assert "not shown" in seeds.as_markdown(record)


HELD = {"claim": "c", "metric": "m", "effect": 0.2, "low": 0.1, "high": 0.3, "n": 9, "verdict": "holds", "holds": True}


def test_where_a_seed_changes_nothing_a_lesson_was_measured_once() -> None:
    fixed, failing, varying, moving = ({"id": f"1.{number}"} | HELD | {"varies": number == 3} for number in range(1, 5))
    failing |= {"verdict": "not shown", "holds": False}
    runs = {seed: [fixed, failing, varying, moving | {"effect": 0.2 + seed / 100}] for seed in (0, 1, 2)}
    record = seeds.summarize(1, runs)
    counted = {item["id"]: (item["holds_on"], item["measured_on"]) for item in record["lessons"]}
    assert counted == {"1.1": (1, 1), "1.2": (0, 1), "1.3": (3, 3), "1.4": (3, 3)}
    page = seeds.as_markdown(record)
    assert page.count("| no training, no sampling: measured once |") == 1
    assert page.count("measured once, does not hold |") == 1
    assert page.count("| 3 of 3 |") == 2
    assert "half of all" in page
    (item,) = seeds.summarize(1, {0: [fixed]})["lessons"]
    assert "| 1 of 1 |" in seeds.as_markdown(seeds.summarize(1, {0: [fixed]}))
    assert (item["holds_on"], item["measured_on"]) == (1, 1)


def test_problems_of_each_seed_that_give_one_result_were_measured_on_each() -> None:
    runs = {seed: [{"id": id} | HELD for id in ("4.3", "4.15")] for seed in (0, 1, 2)}
    record = seeds.summarize(4, runs)
    counted = {item["id"]: (item["holds_on"], item["measured_on"]) for item in record["lessons"]}
    assert counted == {"4.3": (3, 3), "4.15": (1, 1)}
    assert "100 problems of its own" in seeds.as_markdown(record)


def test_the_answers_to_an_open_question_are_counted_and_fail_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    row = {"id": "1.1", "claim": "Which?", "metric": "m", "low": 0.1, "high": 0.3, "n": 9, "holds": False}
    verdicts = ["higher", "left open", "left open", "lower"]
    made = [row | {"effect": 0.1 * seed, "verdict": verdict} for seed, verdict in enumerate(verdicts)]
    monkeypatch.setattr(seeds, "run_with_seed", lambda lab, seed: [made[seed]])
    assert seeds.main(["1", "--seeds", "0", "1", "2", "3", "--out", str(tmp_path)]) == 0
    page = (tmp_path / "lab1_seeds.md").read_text(encoding="utf-8")
    assert "open question: higher on 1, left open on 2, lower on 1 |" in page


def test_a_seed_fails_where_a_lesson_fails_on_one_of_those_it_was_measured_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    row = {"id": "1.1", "claim": "c", "metric": "m", "effect": 0.2, "low": 0.1, "high": 0.3, "n": 9}
    for holds, code in ((True, 0), (False, 1)):
        made = row | {"verdict": "holds" if holds else "not shown", "holds": holds}
        monkeypatch.setattr(seeds, "run_with_seed", lambda lab, seed, made=made: [made])
        assert seeds.main(["1", "--seeds", "0", "1", "--out", str(tmp_path)]) == code


def test_a_seed_that_was_finished_is_not_run_again_after_an_interruption(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    ran: list[str] = []
    stops = {"1"}

    def run_lab(lab: int, path: Path, environment: dict[str, str], out: Path) -> bool:
        ran.append(environment["GENAI_LABS_SEED"])
        (out / f"lab{lab}" / "run").mkdir(parents=True)
        (out / f"lab{lab}.ipynb").touch()
        if ran[-1] in stops:
            raise Interrupted(
                f"Lab {lab} was stopped. The notebook as far as it came is {out / f'lab{lab}.ipynb'}", 130
            )
        record = {"lab": 1, "id": "1.4a", "unit": "", "seed": int(ran[-1]), "profile": "mini"} | HELD
        (out / "lessons.json").write_text(json.dumps([record]), encoding="utf-8")
        return ran[-1] != "2"  # where a cell fails

    monkeypatch.setenv("GENAI_LABS_OUT", str(tmp_path / "build"))
    monkeypatch.setattr(seeds, "run_lab", run_lab)
    line = ["1", "--seeds", "0", "1", "2", "--out", str(tmp_path)]
    with pytest.raises(Interrupted, match=r"stopped.*The same command goes on with seed 1") as stopped:
        seeds.main(line)
    assert [path for path in re.findall(r"/\S+ipynb", str(stopped.value)) if Path(path).exists()]
    assert not list(tmp_path.rglob("run"))[1:], "of a finished seed only the lessons are kept"
    stops.clear()
    assert seeds.main(line) == 0
    assert ran == ["0", "1", "1", "2"]
    assert "run with seed 0 before this command was interrupted" in capsys.readouterr().out
    assert [path.parent.name for path in tmp_path.rglob("lab1.ipynb")] == ["2"], "what failed stays to be looked at"
    assert seeds.main(line) == 0
    assert ran[4:] == ["0", "1", "2"], "a command that was not interrupted measures anew"


def test_a_seed_that_was_finished_by_other_code_or_settings_is_run_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    notebook = tmp_path / "lab.ipynb"
    notebook.write_text("one", encoding="utf-8")
    monkeypatch.setattr(seeds, "DATA", tmp_path)
    before = seeds.what_decides(notebook, {"GENAI_LABS_SEED": "0", "PATH": "/a"})
    assert seeds.what_decides(notebook, {"GENAI_LABS_SEED": "0", "PATH": "/b"}) == before
    assert seeds.what_decides(notebook, {"GENAI_LABS_SEED": "1"}) != before
    with monkeypatch.context() as patch:
        patch.setattr(seeds, "PACKAGE", tmp_path)
        assert seeds.what_decides(notebook, {"GENAI_LABS_SEED": "0"}) != before
    notebook.write_text("two", encoding="utf-8")
    assert seeds.what_decides(notebook, {"GENAI_LABS_SEED": "0"}) != before


def test_without_any_lesson_results_stay_as_they_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GENAI_LABS_OUT", str(tmp_path / "build"))
    monkeypatch.setattr(seeds, "run_with_seed", lambda lab, seed: [])
    with pytest.raises(LabError, match="Lab 1 recorded no lesson with any of 2 seeds"):
        seeds.main(["1", "--seeds", "0", "1", "--out", str(tmp_path)])
    assert not list(tmp_path.glob("lab1*"))


def test_every_seed_but_0_draws_half_of_the_test_rows() -> None:
    rows = list("abcdefghij")
    assert data.half_by_seed(rows, 0) == rows
    halves = [data.half_by_seed(rows, seed) for seed in range(1, 6)]
    assert all(len(half) == 5 and half == sorted(set(half)) for half in halves)
    assert len({tuple(half) for half in halves}) == 5
    assert halves[0] == data.half_by_seed(rows, 1)


@pytest.mark.parametrize("lab", runner.LAB_NOTEBOOKS)
def test_what_a_lab_measures_on_depends_on_the_seed(lab: int) -> None:
    notebook = nbformat.read(NOTEBOOKS / runner.LAB_NOTEBOOKS[lab], as_version=4)
    loading = [line for cell in notebook.cells if cell.cell_type == "code" for line in cell.source.splitlines()]
    loading = [line for line in loading if line.startswith(("test = ", "cases = "))]
    assert len(loading) == 1
    assert "data.half_by_seed(" in loading[0]
    assert ", SEED)" in loading[0]


# What is scored there is not known to share a situation: wordings, texts, problems, questions, other tasks.
WITHOUT_SITUATIONS: dict[int, set[str]] = {
    1: {"1.20", "1.21"},
    2: {"2.8", "2.9", "2.10", "2.12"},
    3: {"3.2", "3.14", "3.15", "3.16", "3.21"},
}


@pytest.mark.parametrize("lab", runner.LAB_NOTEBOOKS)
def test_lessons_on_test_dialogues_take_those_of_one_situation_together(lab: int) -> None:
    notebook = nbformat.read(NOTEBOOKS / runner.LAB_NOTEBOOKS[lab], as_version=4)
    cells = [ast.parse(cell.source) for cell in notebook.cells if cell.cell_type == "code"]
    calls = [node for cell in cells for node in ast.walk(cell) if isinstance(node, ast.Call)]
    asking = [c for c in calls if isinstance(c.func, ast.Name) and c.func.id in ("lesson", "open_question")]
    lessons = {ast.literal_eval(call.args[0]): call for call in asking}
    assert len(lessons) >= 14
    without = {id for id, call in lessons.items() if "clusters" not in {keyword.arg for keyword in call.keywords}}
    assert without == WITHOUT_SITUATIONS[lab]


def test_the_source_that_lab_1_shows_is_that_of_the_package() -> None:
    notebook = nbformat.read(NOTEBOOKS / runner.LAB_NOTEBOOKS[1], as_version=4)
    (shown,) = [cell for cell in notebook.cells if "inspect.getsource(prompts.choose_exemplars)" in cell.source]
    assert shown.outputs[0].text == inspect.getsource(prompts.choose_exemplars) + "\n"


def test_the_seed_comes_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GENAI_LABS_SEED", "4")
    assert lab_seed() == 4
    monkeypatch.setenv("GENAI_LABS_SEED", "four")
    with pytest.raises(LabError, match="not a whole number"):
        lab_seed()
