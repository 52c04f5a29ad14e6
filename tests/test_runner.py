"""Running labs headless, on small notebooks."""

import errno
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nbformat
import psutil
import pytest
from nbformat import NotebookNode
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from genai_labs.course import execution, runner
from genai_labs.course.execution import HEADLESS
from genai_labs.course.runner import LESSONS, find_notebooks, refresh_notebooks, run_labs
from genai_labs.errors import LabError
from genai_labs.system import files

RECORD = """
import json, os, pathlib
row = dict(lab=1, id="1.1", claim="One beats none.", metric="ROUGE-1", unit="points", effect=0.25, low=0.125,
           high=0.5, n=200, holds=True, verdict="holds", seed=0, profile="mini", versions={})
pathlib.Path(os.environ["GENAI_LABS_OUT"], "lessons.json").write_text(json.dumps([row]))
"""


def row(lab: int = 1, **changes: Any) -> dict[str, Any]:
    measured = {"metric": "ROUGE-1", "effect": 0.2, "low": 0.1, "high": 0.3, "n": 200, "holds": True}
    made = {
        "lab": lab,
        "id": f"{lab}.1",
        "claim": "One beats none.",
        **measured,
        "seed": 0,
        "profile": "mini",
    }
    return {**made, "unit": "", "verdict": "holds", **changes}


def notebook(*sources: str) -> NotebookNode:
    """A notebook with a heading before every code cell: "Part 1", "Part 2", ..."""
    cells = []
    for number, source in enumerate(sources, start=1):
        cells += [new_markdown_cell(f"## Part {number}"), new_code_cell(source)]
    return new_notebook(cells=cells)


@pytest.fixture
def labs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that takes the place of notebooks/."""
    folder = tmp_path / "notebooks"
    folder.mkdir()
    monkeypatch.setattr(runner, "NOTEBOOKS", folder)
    return folder


def write(folder: Path, made: NotebookNode, lab: int = 1) -> Path:
    path = folder / runner.LAB_NOTEBOOKS[lab]
    nbformat.write(made, path)
    return path


def stub_execution(monkeypatch: pytest.MonkeyPatch, rows: list[dict[str, Any]]) -> None:
    """No kernel: a lab is its lessons."""

    def execute(_: NotebookNode, __: Path, environment: dict[str, str], label: str) -> None:
        path = Path(environment["GENAI_LABS_OUT"], LESSONS)
        old = json.loads(path.read_text()) if path.exists() else []
        path.write_text(json.dumps(old + [made for made in rows if label == f"Lab {made['lab']}"]))

    monkeypatch.setattr(runner, "execute", execute)


def test_a_lab_shows_its_progress_by_section_and_leaves_notebook_page_and_lessons(labs: Path, tmp_path: Path) -> None:
    write(labs, notebook("print('hello <b>')", RECORD))
    program = (
        "import sys; from pathlib import Path; from genai_labs.course import runner\n"
        "runner.NOTEBOOKS = Path(sys.argv[1])\n"
        "status = runner.run_labs([1], 'mini', Path(sys.argv[2]))\n"
        "print('loaded:', sorted({'torch', 'transformers', 'datasets', 'matplotlib'} & set(sys.modules)))\n"
        "sys.exit(status)"
    )
    shown = {key: value for key, value in os.environ.items() if key not in HEADLESS}
    out = tmp_path / "new" / "out"
    command = [sys.executable, "-c", program, str(labs), str(out)]
    done = subprocess.run(command, env=shown, capture_output=True, text=True, encoding="utf-8")
    assert done.returncode == 0, done.stderr
    assert "Lab 1, Part 1" in done.stderr
    assert "4/4" in done.stderr
    assert "WARNING" not in done.stderr
    assert re.search(r"1\.1 +One beats none\. +0\.250 points +\[0\.125, 0\.500\] +200 +holds", done.stdout)
    assert "1 of 1 lessons hold." in done.stdout
    assert "loaded: []" in done.stdout  # memory is for the kernel
    executed = nbformat.read(out / "lab1.ipynb", as_version=4)
    assert executed.cells[1].outputs[0].text == "hello <b>\n"
    assert [cell.execution_count for cell in executed.cells[1::2]] == [1, 2]
    assert "hello &lt;b&gt;" in (out / "lab1.html").read_text(encoding="utf-8")


def test_the_page_waits_for_no_network() -> None:
    page = runner.to_html(notebook("1"), "Lab 1")
    fetched = re.findall(r"<(?:script|link|img|iframe)\b[^>]*(?:https?:)?//[^>]*>", page)
    assert fetched == []
    assert "mathjax" not in page.lower().replace("mathjax_ignore", "")
    assert "@import" not in page
    assert re.search(r"from ['\"]http|url\(['\"]?http", page) is None


def test_the_kernel_is_this_python_even_if_the_machine_has_another_of_that_name(
    labs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wrong = tmp_path / "jupyter" / "kernels" / "python3"
    wrong.mkdir(parents=True)
    spec = {"argv": ["no-such-program", "{connection_file}"], "display_name": "wrong", "language": "python"}
    (wrong / "kernel.json").write_text(json.dumps(spec))
    monkeypatch.setenv("JUPYTER_PATH", str(tmp_path / "jupyter"))
    monkeypatch.setenv("MPLBACKEND", "Agg")
    names = "GENAI_LABS_PROFILE GENAI_LABS_OUT HF_HUB_OFFLINE TQDM_DISABLE"
    source = (
        "import os, sys, json\n"
        f"names = '{names}'.split()\n"
        "inline = 'inline' in os.environ['MPLBACKEND']\n"
        "print(json.dumps([sys.executable, os.getcwd(), inline, *map(os.environ.get, names)]))"
    )
    made = notebook(source)
    monkeypatch.delenv("HF_HUB_OFFLINE")
    environment = execution.kernel_environment("mini", tmp_path)
    assert execution.execute(made, labs, environment, "Lab 1") is None
    found = json.loads(made.cells[1].outputs[0].text)
    assert found == [sys.executable, str(labs.resolve()), True, "mini", str(tmp_path), "1", "1"]


def test_other_profiles_may_use_the_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HF_HUB_OFFLINE")
    assert "HF_HUB_OFFLINE" not in execution.kernel_environment("small", tmp_path)


def test_a_folder_named_from_here_is_found_from_the_notebooks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "stick").mkdir()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GENAI_LABS_FOLDER", "stick")
    monkeypatch.setenv("GENAI_LABS_MODEL", "google/flan-t5-small@main")
    environment = execution.kernel_environment("flan-t5-small", tmp_path)
    assert environment["GENAI_LABS_FOLDER"] == str(tmp_path / "stick")
    assert environment["GENAI_LABS_MODEL"] == "google/flan-t5-small@main"


def test_a_failing_cell_is_told_in_words_and_the_notebook_is_kept_as_far_as_it_came(
    labs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    error = "from genai_labs.errors import LabError\nraise LabError('The file is gone. Fetch it.')"
    made = notebook("print('first')", error, "print('never')")
    made.cells[5].outputs = [new_output("stream", name="stdout", text="from an earlier run")]
    write(labs, made)
    assert run_labs([1], "mini", tmp_path) == 1
    told = capsys.readouterr().out
    assert 'stopped at cell 4, in the section "Part 2"' in told
    assert "raise LabError('The file is gone. Fetch it.')" in told
    assert "\n\nThe file is gone. Fetch it.\n\n" in told
    assert "Traceback" not in told
    kept = nbformat.read(tmp_path / "lab1.ipynb", as_version=4)
    assert kept.cells[1].outputs[0].text == "first\n"
    assert kept.cells[3].outputs[0].output_type == "error"
    assert kept.cells[5].outputs == []
    assert (tmp_path / "lab1.html").exists()


STOPPED = """
import sys
from pathlib import Path
from genai_labs import __main__ as command
from genai_labs.course import runner
runner.NOTEBOOKS = Path(sys.argv[1])
sys.exit(command.main(["run", "1", "2", "--out", sys.argv[2]]))
"""


@pytest.mark.parametrize(
    ("number", "status", "words"),
    [(signal.SIGINT, 130, "by Ctrl-C"), (signal.SIGTERM, 143, "from outside (SIGTERM)")],
    ids=["Ctrl-C", "SIGTERM"],
)
def test_a_stopped_run_keeps_the_notebook_as_far_as_it_came_and_stops_the_kernel(
    number: signal.Signals, status: int, words: str, labs: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    reached = "import os, pathlib, time\npathlib.Path(os.environ['GENAI_LABS_OUT'], 'pid').write_text(str(os.getpid()))"
    write(labs, notebook("print('first')", f"{reached}\nprint('begun', flush=True)\ntime.sleep(600)", "print('never')"))
    write(labs, notebook(RECORD), lab=2)
    command = [sys.executable, "-c", STOPPED, str(labs), str(out)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    pid = wait_for(out / "pid")
    time.sleep(0.3)  # until what the cell printed is here
    process.send_signal(number)
    told, errors = process.communicate(timeout=60)
    assert process.returncode == status
    assert "Traceback" not in told + errors
    said = f'Lab 1 was stopped {words} at cell 4, in the section "Part 2". The notebook as far as it came is'
    assert f"{said} {out / 'lab1.ipynb'}\n" in errors
    kept = nbformat.read(out / "lab1.ipynb", as_version=4)
    assert kept.cells[1].outputs[0].text == "first\n"
    assert kept.cells[3].outputs[0].text == "begun\n"
    assert kept.cells[5].outputs == []
    assert (out / "lab1.html").exists()
    assert not (out / "lab2.ipynb").exists()
    assert not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE


def wait_for(path: Path) -> int:
    """The number in a file, once it is there."""
    end = time.monotonic() + 60
    while time.monotonic() < end:
        if path.exists() and (text := path.read_text()):
            return int(text)
        time.sleep(0.05)
    raise AssertionError(f"{path.name} was never written")


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("raise MemoryError", r"^Memory ran out in this cell \(MemoryError\)\. Close other programs"),
        ('raise RuntimeError("can\'t allocate memory: 5 bytes")', "^Memory ran out in this cell .*5 bytes"),
        ("raise OSError(28, 'No space left on device')", "^The disk is full, so that this cell could not write"),
    ],
)
def test_memory_and_disk_that_run_out_in_a_cell_are_told_in_words(
    source: str, words: str, labs: Path, tmp_path: Path
) -> None:
    failure = execution.execute(notebook(source), labs, execution.kernel_environment("mini", tmp_path), "Lab 1")
    assert failure is not None
    assert re.search(words, failure.reason)


def test_a_folder_that_cannot_be_written_is_told_in_words(
    labs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(labs, notebook("1"))
    (tmp_path / "file").touch()
    for out in (tmp_path / "file", tmp_path / "file" / "out"):
        with pytest.raises(LabError, match=r"is a file and not a folder\. Name another folder to write to \(--out DIR"):
            run_labs([1], "mini", out)

    def fail(number: int) -> Callable[..., None]:
        def raise_it(*_: object, **__: object) -> None:
            raise OSError(number, os.strerror(number))

        return raise_it

    for number, words in ((errno.EROFS, "may only read there"), (errno.ENOSPC, "The disk is full")):
        with monkeypatch.context() as patch:
            patch.setattr(Path, "mkdir", fail(number))
            with pytest.raises(LabError, match=words):
                run_labs([1], "mini", tmp_path / "out")
    stub_execution(monkeypatch, [row()])
    monkeypatch.setattr(files, "write_whole", fail(errno.ENOSPC))
    with pytest.raises(LabError, match=r"The disk is full.*Make room and run it again"):
        run_labs([1], "mini", tmp_path / "out")


def test_two_runs_of_a_lab_at_once_are_refused_and_of_two_labs_are_not(
    labs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for lab in (1, 2):
        write(labs, notebook("1"), lab)
    stub_execution(monkeypatch, [row(lab=1), row(lab=2)])
    with files.locked(tmp_path / ".lab1.lock", "held"):
        with pytest.raises(LabError, match=r"Lab 1 is being run in .* by another process.*--out DIR"):
            run_labs([1, 2], "mini", tmp_path)
        assert run_labs([2], "mini", tmp_path) == 0
    assert run_labs([1], "mini", tmp_path) == 0


def test_a_run_trains_anew_and_leaves_what_other_labs_trained(
    labs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write(labs, notebook("1"))
    stub_execution(monkeypatch, [row()])
    for lab in (1, 2):
        (tmp_path / f"lab{lab}" / "run").mkdir(parents=True)
        (tmp_path / f"lab{lab}" / "run" / files.LOCK_FILE).touch()
    with (
        files.locked(tmp_path / "lab1" / "run" / files.LOCK_FILE, "held"),
        pytest.raises(LabError, match="A training is running in"),
    ):
        run_labs([1], "mini", tmp_path)
    assert run_labs([1], "mini", tmp_path) == 0
    assert "before is removed, so that all is trained now: run" in capsys.readouterr().out
    assert not (tmp_path / "lab1").exists()
    assert (tmp_path / "lab2" / "run").exists()


def test_a_run_removes_nothing_that_no_training_wrote(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    own, run = tmp_path / "lab1" / "mine" / "my_notes.txt", tmp_path / "lab1" / "summarizer" / "run" / "plan.json"
    own.parent.mkdir(parents=True)
    own.write_text("mine", encoding="utf-8")
    runner.forget_trainings(tmp_path / "lab1")
    assert own.exists()
    assert capsys.readouterr().out == ""
    run.parent.mkdir(parents=True)
    run.touch()
    runner.forget_trainings(tmp_path / "lab1")
    assert own.exists()
    assert not run.parents[1].exists()


FORGET = """
import sys
from pathlib import Path
from genai_labs.course import runner
print("ready", flush=True)
while True:
    runner.forget_lessons(Path(sys.argv[1]), [3])
    runner.files.write_whole(Path(sys.argv[1]) / "lessons.json", sys.argv[2])
"""


def test_lessons_of_other_labs_survive_a_kill_while_some_are_forgotten(tmp_path: Path) -> None:
    rows = [row(lab=lab, id=f"{lab}.{number}", claim="Words. " * 500) for lab in (1, 2, 3) for number in range(1, 9)]
    for wait in (0.0, 0.004, 0.013):
        line = [sys.executable, "-c", FORGET, str(tmp_path), json.dumps(rows)]
        process = subprocess.Popen(line, stdout=subprocess.PIPE)
        assert process.stdout is not None
        process.stdout.readline()
        while not (tmp_path / LESSONS).exists():
            time.sleep(0.001)
        time.sleep(wait)
        process.kill()
        process.wait()
        kept = json.loads((tmp_path / LESSONS).read_text(encoding="utf-8"))
        assert [each["id"] for each in kept if each["lab"] < 3] == [each["id"] for each in rows if each["lab"] < 3]


def test_a_kernel_that_dies_is_told_in_words(labs: Path, tmp_path: Path) -> None:
    environment = execution.kernel_environment("mini", tmp_path)
    failure = execution.execute(notebook("1", "import os; os._exit(9)"), labs, environment, "Lab 1")
    assert failure is not None
    assert (failure.cell, failure.section) == (4, "Part 2")
    assert "memory ran out" in failure.reason


@pytest.mark.parametrize(
    ("rows", "status", "words"),
    [
        ([row()], 0, "1 of 1 lessons hold."),
        (
            [row(), row(id="1.2", holds=False, verdict="left open")],
            0,
            "hold. 1 open question: what was found stands",
        ),
        ([row(), row(id="1.2", holds=False, verdict="no detectable change")], 1, "no detectable change"),
        ([], 1, "Lab 1 recorded no lesson."),
        ([row(lab=2)], 1, "Lab 1 recorded no lesson."),
    ],
)
def test_the_exit_status_says_whether_every_lesson_holds(
    rows: list[dict[str, Any]],
    status: int,
    words: str,
    labs: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    write(labs, notebook("1"))
    stub_execution(monkeypatch, rows)
    assert run_labs([1], "mini", tmp_path) == status
    assert words in capsys.readouterr().out


def test_a_lesson_of_an_earlier_run_does_not_stand_in_for_one_that_is_no_longer_measured(
    labs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(labs, notebook("1"))
    (tmp_path / LESSONS).write_text(json.dumps([row(lab=1), row(lab=2)]))
    stub_execution(monkeypatch, [])
    assert run_labs([1], "mini", tmp_path) == 1
    assert [kept["lab"] for kept in json.loads((tmp_path / LESSONS).read_text())] == [2]


ODD_LESSONS = [
    '[{"lab": 1',
    "{}",
    "null",
    "[5]",
    "[{}]",
    "[" * 100_000,
    json.dumps([row(lab=float("inf"))]),  # type: ignore[arg-type]
    json.dumps([row(lab="one")]),  # type: ignore[arg-type]
    json.dumps([row(effect="much")]),
    json.dumps([row(n=float("inf"))]),
    json.dumps([row(holds=None)]),
    json.dumps([row(claim=5)]),
]


@pytest.mark.parametrize("content", ODD_LESSONS, ids=range(len(ODD_LESSONS)))
def test_lessons_that_cannot_be_read_are_named(content: str, tmp_path: Path) -> None:
    (tmp_path / LESSONS).write_text(content)
    with pytest.raises(LabError, match="Delete it"):
        runner.forget_lessons(tmp_path, [1])


def test_no_lab_holds_formulas_as_pages_have_no_script_that_sets_them() -> None:
    for path in find_notebooks([]).values():
        prose = "\n".join(c.source for c in nbformat.read(path, as_version=4).cells if c.cell_type == "markdown")
        assert not re.search(r"\$\$|\\\(|\\\[|\\begin\{|\$[^$\n]*[\\_^][^$\n]*\$", prose), path.name


def test_an_unknown_profile_stops_before_anything_runs(labs: Path, tmp_path: Path) -> None:
    write(labs, notebook("1"))
    with pytest.raises(LabError, match="mini"):
        run_labs([1], "no-such-profile", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_all_labs_means_those_that_exist_and_a_lab_asked_for_must_exist(
    labs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write(labs, notebook("1"))
    assert find_notebooks([]) == {1: path}
    assert "Lab 2 is left out: lab2_fine_tuning.ipynb is not written yet." in capsys.readouterr().out
    with pytest.raises(LabError, match=r"no lab 3.*\n.*exist: 1\."):
        find_notebooks([1, 3])


def test_a_run_of_nothing_is_no_success(labs: Path, tmp_path: Path) -> None:
    with pytest.raises(LabError, match="git checkout -- notebooks"):
        run_labs([], "mini", tmp_path)


def test_labs_run_in_order_and_once(labs: Path) -> None:
    for lab in (1, 2, 3):
        write(labs, notebook("1"), lab)
    assert list(find_notebooks([3, 1, 3])) == [1, 3]


def test_a_section_is_the_last_heading_and_code_in_text_is_none() -> None:
    cells = [
        new_code_cell("1"),
        new_markdown_cell("# Lab\n\n```python\n# a comment\n```\ntext # no heading"),
        new_code_cell("# comment"),
        new_markdown_cell("### 2. One shot ###\nWords."),
        new_markdown_cell("Only words."),
    ]
    sections = execution.section_names(new_notebook(cells=cells))
    assert sections == ["start", "Lab", "Lab", "2. One shot", "2. One shot"]


def test_refresh_executes_and_cleans_in_place(labs: Path) -> None:
    made = notebook("print(6 * 7)", "from tqdm import tqdm\nfor _ in tqdm(range(3)): pass\n'done'")
    made.metadata = {"widgets": {"x": {}}, "kernelspec": {"name": "old", "display_name": "old"}}
    made.cells[1].metadata["execution"] = {"iopub.execute_input": "2020-01-01"}
    path = write(labs, made)
    refresh_notebooks([1])
    clean = nbformat.read(path, as_version=4)
    assert clean.cells[1].outputs[0].text == "42\n"
    assert [output.output_type for output in clean.cells[3].outputs] == ["execute_result"]
    assert set(clean.metadata) == {"kernelspec", "language_info"}
    assert clean.metadata.kernelspec.name == "python3"
    assert re.fullmatch(r"3\.\d+", clean.metadata.language_info.version)
    assert clean.cells[1].metadata == {}
    nbformat.validate(clean)


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("import os; os.getcwd()", "folder of one machine"),
        ("import sys; print('careful', file=sys.stderr)", "writes to stderr"),
        ("from ipywidgets import IntSlider; IntSlider()", "shows a widget"),
        ("1 / 0", "ZeroDivisionError"),
    ],
)
def test_refresh_leaves_a_notebook_alone_that_is_not_fit_to_be_committed(source: str, words: str, labs: Path) -> None:
    path = write(labs, notebook(source))
    before = path.read_bytes()
    with pytest.raises(LabError, match=words):
        refresh_notebooks([1])
    assert path.read_bytes() == before
