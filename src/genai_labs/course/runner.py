"""Run the labs without a browser: execute them, save what came out, and sum up what was measured."""

from __future__ import annotations

import shutil
import time
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from genai_labs.course.execution import Failure, execute, kernel_environment
from genai_labs.errors import Interrupted, LabError
from genai_labs.inputs.arguments import counted
from genai_labs.paths import NOTEBOOKS
from genai_labs.show.record import FILE as LESSONS
from genai_labs.show.record import failed_claim, forget_lessons, read_lessons
from genai_labs.show.verdicts import ANSWERS
from genai_labs.system import files

if TYPE_CHECKING:  # These take a second to import, and `--help` should not.
    from nbformat import NotebookNode

    from genai_labs.loading.profiles import Profile

LAB_NOTEBOOKS = {1: "lab1_prompting.ipynb", 2: "lab2_fine_tuning.ipynb", 3: "lab3_ppo_detox.ipynb"}
COMPANIONS = {4: "week3_reasoning_and_retrieval.ipynb"}  # run and checked like the labs, on the embedded world only
EVERY_NOTEBOOK = LAB_NOTEBOOKS | COMPANIONS


def name_of_lab(lab: int) -> str:
    """What a lab is called by its number: "Lab 1", or "Companion"."""
    return "Companion" if lab in COMPANIONS else f"Lab {lab}"


def run_labs(labs: list[int], profile: str, out: Path) -> int:
    """Execute labs in order; write `labN.ipynb`, `labN.html` and `lessons.json` to `out`; print the lessons.

    `labs` are numbers from 1 to 4, the companion being 4; an empty list means all that exist. What earlier runs of
    them trained in `out` is removed, so that everything is trained now. Returns the exit status: 0, or 1 if a cell
    failed, a lesson does not hold, or a lab recorded none. Raises LabError for an unknown profile, for a lab that does
    not exist or that another process is running in `out`, where `out` cannot be written to, and for an older
    `lessons.json` that cannot be read; Interrupted if it is told to stop.
    """
    from genai_labs.loading.profiles import load_profile

    notebooks = can_run(find_notebooks(labs), load_profile(profile))
    out = out.resolve()
    with ExitStack() as held:
        with files.faults_in_words(out):
            out.mkdir(parents=True, exist_ok=True)
            for lab in notebooks:
                held.enter_context(files.locked(out / f".lab{lab}.lock", _is_running(lab, out)))
            forget_lessons(out, list(notebooks))
        environment = kernel_environment(profile, out)
        failed = []
        for lab, path in notebooks.items():
            forget_trainings(out / f"lab{lab}")
            if not run_lab(lab, path, environment, out):
                failed.append(lab)
    return sum_up(list(notebooks), failed, out)


def sum_up(labs: list[int], failed: list[int], out: Path) -> int:
    """Print what the labs measured and where it is; the exit status."""
    rows = [row for row in read_lessons(out / LESSONS) if row["lab"] in labs]
    print_lessons(rows)
    silent = sorted(set(labs) - {row["lab"] for row in rows})
    for lab in silent:
        print(f"Lab {lab} recorded no lesson.")
    print(f"The executed notebooks, their HTML and {LESSONS} are in {out}")
    return int(bool(failed or silent) or any(failed_claim(row) for row in rows))


def _is_running(lab: int, out: Path) -> str:
    return (
        f"Lab {lab} is being run in {out} by another process right now, and the two would mix their results. Wait "
        "until it has ended, or write to another folder: --out DIR"
    )


def forget_trainings(folder: Path) -> None:
    """Remove what an earlier run of a lab trained, folders that hold a training, and nothing else.

    Raises LabError where a training is running there.
    """
    for lock in folder.rglob(files.LOCK_FILE):
        busy = (
            f"A training is running in {lock.parent} right now (in a notebook that is still open?), and a run of the "
            "lab starts by removing it. Wait until it has ended or stop it, or write to another folder: --out DIR"
        )
        with files.locked(lock, busy):
            pass
    places = [path for name in (files.LOCK_FILE, files.PLAN_FILE) for path in folder.rglob(name)]
    trained = sorted({place.relative_to(folder).parts[0] for place in places if place.parent != folder})
    if not trained:
        return
    print(f"What was trained in {folder} before is removed, so that all is trained now: {', '.join(trained)}")
    with files.faults_in_words(folder):
        for name in trained:
            shutil.rmtree(folder / name)
        if not any(folder.iterdir()):
            folder.rmdir()


def find_notebooks(labs: list[int]) -> dict[int, Path]:
    """Number and path of each lab asked for, in order. With none asked for, those that exist.

    Raises LabError if a lab that was asked for by number does not exist, or if there is none at all.
    """
    found = {}
    for lab in sorted(set(labs)) or EVERY_NOTEBOOK:
        path = NOTEBOOKS / EVERY_NOTEBOOK.get(lab, f"lab{lab}.ipynb")
        if path.is_file():
            found[lab] = path
        elif labs:
            raise LabError(_no_such_lab(lab, path))
        else:
            print(f"Lab {lab} is left out: {path.name} is not written yet.")
    if not found:
        raise LabError(f"There is no lab in {NOTEBOOKS}. To get the labs back: git checkout -- notebooks")
    return found


def can_run(notebooks: dict[int, Path], profile: Profile) -> dict[int, Path]:
    """Those of the notebooks that the profile's model can be run with here; says which are left out."""
    fit = set(profile.costs_here) | (set(COMPANIONS) if profile.name == "mini" else set())
    left_out = sorted(set(notebooks) - fit)
    for lab in left_out:
        if lab in COMPANIONS:
            print(f"The companion ({lab}) is left out: its problems and notes are those of the embedded world (mini).")
            continue
        print(
            f"Lab {lab} is left out: {profile.name} is too large for it on this machine. docs/real-models.md "
            "says what a profile can run; a smaller one runs all labs."
        )
    if len(left_out) == len(notebooks):
        raise LabError(f"{profile.name} cannot run what was asked for on this machine. Take a smaller profile.")
    return {lab: path for lab, path in notebooks.items() if lab not in left_out}


def _no_such_lab(lab: int, path: Path) -> str:
    there = [str(number) for number, name in EVERY_NOTEBOOK.items() if (NOTEBOOKS / name).is_file()]
    return (
        f"There is no lab {lab}: {path.name} is not in {NOTEBOOKS.name}/.\n"
        f"Labs that exist: {', '.join(there) or 'none'}. To get it back: git checkout -- notebooks/{path.name}"
    )


def run_lab(lab: int, path: Path, environment: dict[str, str], out: Path) -> bool:
    """Execute one lab and write it to `out`, even if it stops half way. Returns whether it ran to its end."""
    import nbformat

    notebook = nbformat.read(path, as_version=4)
    start = time.perf_counter()
    try:
        failure = execute(notebook, path.parent, environment, label=f"Lab {lab}")
    except Interrupted as stopped:
        save_run(notebook, lab, out)
        message = f"{stopped} The notebook as far as it came is {out / f'lab{lab}.ipynb'}"
        raise Interrupted(message, stopped.status) from None
    seconds = time.perf_counter() - start
    save_run(notebook, lab, out)
    if failure:
        print(explain(failure, lab, out))
    else:
        print(f"Lab {lab} ran in {seconds:.0f} s.")
    return failure is None


def save_run(notebook: NotebookNode, lab: int, out: Path) -> None:
    """Write an executed lab and its page to `out`. Raises LabError where they cannot be written."""
    with files.faults_in_words(out):
        write_notebook(notebook, out / f"lab{lab}.ipynb")
        files.write_whole(out / f"lab{lab}.html", to_html(notebook, f"Lab {lab}"))


def write_notebook(notebook: NotebookNode, path: Path) -> None:
    """Write a notebook as nbformat does, whole or not at all."""
    import nbformat

    files.write_whole(path, nbformat.writes(notebook).rstrip("\n") + "\n")


def explain(failure: Failure, lab: int, out: Path) -> str:
    """What to print when a lab stopped."""
    source = "\n".join("    " + line for line in failure.source.splitlines())
    return (
        f'\nLab {lab} stopped at cell {failure.cell}, in the section "{failure.section}". The cell is\n\n'
        f"{source}\n\nand this is what happened:\n\n{failure.reason}\n\n"
        f"The notebook as far as it came, with the full error, is {out / f'lab{lab}.ipynb'}\n"
    )


# The page is readable without a network, and fetches nothing: the labs hold no formulas, diagrams or widgets that would
# need a script.
_PAGE = """
{%- extends 'lab/index.html.j2' -%}
{%- block html_head_js_requirejs -%}{%- endblock -%}
{%- block html_head_js_mathjax -%}{%- endblock -%}
{%- block html_head_js_mermaidjs -%}{%- endblock -%}
"""


def to_html(notebook: NotebookNode, title: str) -> str:
    """The notebook as one HTML page, pictures included, that needs no network to be read."""
    from nbconvert import HTMLExporter

    exporter = HTMLExporter(raw_template=_PAGE)
    page, _ = exporter.from_notebook_node(notebook, resources={"metadata": {"name": title}})
    return str(page)


def print_lessons(rows: list[dict[str, Any]]) -> None:
    """Print one line for each lesson: claim, effect, interval, n and verdict."""
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD, title="What was measured", title_justify="left")
    for name in ("lab", "id", "claim", "effect", "95 % interval", "n", "verdict"):
        table.add_column(name, justify="right" if name in ("effect", "n") else "left", no_wrap=name != "claim")
    for row in rows:
        table.add_row(*(Text(cell) for cell in _lesson_cells(row)))
    console = Console()
    # A log file has no width of its own; claims are sentences and want some.
    Console(width=None if console.is_terminal else 120).print(table)
    asked = [row for row in rows if row.get("verdict") in ANSWERS]
    more = f" {counted(len(asked), 'open question')}: what was found stands in the table." if asked else ""
    print(f"{sum(row['holds'] for row in rows)} of {len(rows) - len(asked)} lessons hold.{more}")


def _lesson_cells(row: dict[str, Any]) -> list[str]:
    effect = f"{row['effect']:.3f} {row.get('unit') or ''}".rstrip()
    interval = f"[{row['low']:.3f}, {row['high']:.3f}]"
    verdict = row.get("verdict") or ("holds" if row["holds"] else "does not hold")
    return [str(row["lab"]), str(row["id"]), row["claim"], effect, interval, str(row["n"]), verdict]


def refresh_notebooks(labs: list[int]) -> None:
    """Execute labs on the embedded profile and write them back in place, as they are committed.

    An empty list means every lab that exists. Raises LabError, and leaves the file as it was, if a cell fails
    or the executed notebook is not fit to be committed (see `genai_labs.course.notebooks`).
    """
    import nbformat

    from genai_labs.course.notebooks import clean, find_problems

    for lab, path in find_notebooks(labs).items():
        notebook = nbformat.read(path, as_version=4)
        with TemporaryDirectory() as out:
            failure = execute(notebook, path.parent, kernel_environment("mini", Path(out)), label=f"Lab {lab}")
        if failure:
            raise LabError(f"{path.name} is left as it was, because cell {failure.cell} failed: {failure.reason}")
        clean(notebook)
        if problems := find_problems(notebook):
            raise LabError(f"{path.name} is left as it was. What is amiss:\n- " + "\n- ".join(problems))
        with files.faults_in_words(path.parent):
            write_notebook(notebook, path)
        print(f"{path.name} is refreshed.")
