"""Run the labs without a browser: execute them, save what came out, and sum up what was measured."""

import asyncio
import json
import os
import re
import shutil
import signal
import time
from collections.abc import Callable
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from genai_labs.errors import Interrupted, LabError
from genai_labs.paths import NOTEBOOKS
from genai_labs.system import files

if TYPE_CHECKING:  # These take a second to import, and `--help` should not.
    from nbformat import NotebookNode

    from genai_labs.loading.profiles import Profile

LAB_NOTEBOOKS = {1: "lab1_prompting.ipynb", 2: "lab2_fine_tuning.ipynb", 3: "lab3_ppo_detox.ipynb"}
LESSONS = "lessons.json"

# glibc keeps freed memory instead of handing it back and asking anew: reading long prompts on a CPU has taken from a
# twentieth to two thirds less time with it, and no more memory at the peak. One pool of it for all threads: what a
# backward pass frees can then be used by the next forward pass, which runs in another thread.
KEEP_MEMORY = {
    "MALLOC_MMAP_THRESHOLD_": "1000000000",
    "MALLOC_TRIM_THRESHOLD_": "4000000000",
    "MALLOC_ARENA_MAX": "1",
}

# Progress bars are for people who watch. In a saved notebook they are debris, and tests would compare them.
HEADLESS = {
    "TQDM_DISABLE": "1",
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    "HF_DATASETS_DISABLE_PROGRESS_BARS": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    **KEEP_MEMORY,
}


@dataclass(frozen=True)
class Failure:
    """Where a notebook stopped, and why, in words."""

    cell: int
    section: str
    source: str
    reason: str


def run_labs(labs: list[int], profile: str, out: Path) -> int:
    """Execute labs in order; write `labN.ipynb`, `labN.html` and `lessons.json` to `out`; print the lessons.

    `labs` are numbers from 1 to 3; an empty list means every lab that exists. What earlier runs of them trained in
    `out` is removed, so that everything is trained now. Returns the exit status: 0, or 1 if a cell failed, a lesson
    does not hold, or a lab recorded none. Raises LabError for an unknown profile, for a lab that does not exist or that
    another process is running in `out`, where `out` cannot be written to, and for an older `lessons.json` that cannot
    be read; Interrupted if it is told to stop.
    """
    from genai_labs.loading.profiles import load_profile

    notebooks = can_run(find_notebooks(labs), load_profile(profile))
    out = out.resolve()
    with ExitStack() as held:
        with files.in_words(out):
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
    rows = [row for row in read_lessons(out) if row["lab"] in labs]
    print_lessons(rows)
    silent = sorted(set(labs) - {row["lab"] for row in rows})
    for lab in silent:
        print(f"Lab {lab} recorded no lesson.")
    print(f"The executed notebooks, their HTML and {LESSONS} are in {out}")
    return int(bool(failed or silent) or not all(row["holds"] for row in rows))


def _is_running(lab: int, out: Path) -> str:
    return (
        f"Lab {lab} is being run in {out} by another process right now, and the two would mix their results. Wait "
        "until it has ended, or write to another folder: --out DIR"
    )


def forget_trainings(folder: Path) -> None:
    """Remove what an earlier run of a lab trained. Raises LabError where a training is running there."""
    if not folder.is_dir():
        return
    for lock in folder.rglob(files.LOCK_FILE):
        busy = (
            f"A training is running in {lock.parent} right now (in a notebook that is still open?), and a run of the "
            "lab starts by removing it. Wait until it has ended or stop it, or write to another folder: --out DIR"
        )
        with files.locked(lock, busy):
            pass
    print(f"What was trained in {folder} before is removed, so that all is trained now.")
    with files.in_words(folder):
        shutil.rmtree(folder)


def find_notebooks(labs: list[int]) -> dict[int, Path]:
    """Number and path of each lab asked for, in order. With none asked for, those that exist.

    Raises LabError if a lab that was asked for by number does not exist, or if there is none at all.
    """
    found = {}
    for lab in sorted(set(labs)) or LAB_NOTEBOOKS:
        path = NOTEBOOKS / LAB_NOTEBOOKS.get(lab, f"lab{lab}.ipynb")
        if path.is_file():
            found[lab] = path
        elif labs:
            raise LabError(_no_such_lab(lab, path))
        else:
            print(f"Lab {lab} is left out: {path.name} is not written yet.")
    if not found:
        raise LabError(f"There is no lab in {NOTEBOOKS}. To get the labs back: git checkout -- notebooks")
    return found


def can_run(notebooks: dict[int, Path], profile: "Profile") -> dict[int, Path]:
    """Those of the notebooks that the profile's model can be run with here; says which are left out."""
    left_out = sorted(set(notebooks) - set(profile.costs_here))
    for lab in left_out:
        print(
            f"Lab {lab} is left out: {profile.name} is too large for it on this machine. docs/real-models.md "
            "says what a profile can run; a smaller one runs all labs."
        )
    if len(left_out) == len(notebooks):
        raise LabError(f"{profile.name} cannot run what was asked for on this machine. Take a smaller profile.")
    return {lab: path for lab, path in notebooks.items() if lab not in left_out}


def _no_such_lab(lab: int, path: Path) -> str:
    there = [str(number) for number, name in LAB_NOTEBOOKS.items() if (NOTEBOOKS / name).is_file()]
    return (
        f"There is no lab {lab}: {path.name} is not in {NOTEBOOKS.name}/.\n"
        f"Labs that exist: {', '.join(there) or 'none'}. To get lost ones back: git checkout -- notebooks"
    )


def kernel_environment(profile: str, out: Path) -> dict[str, str]:
    """Environment variables for the process that executes a lab."""
    environment = {**os.environ, **HEADLESS, "GENAI_LABS_PROFILE": profile, "GENAI_LABS_OUT": str(out)}
    # A backend chosen for scripts would keep the kernel from drawing into the notebook.
    environment.pop("MPLBACKEND", None)
    if profile == "mini":  # Everything it needs lies in the repository: nothing should wait for a network.
        environment["HF_HUB_OFFLINE"] = "1"
    return environment


def run_lab(lab: int, path: Path, environment: dict[str, str], out: Path) -> bool:
    """Execute one lab and write it to `out`, even if it stops half way. Returns whether it ran to its end."""
    import nbformat

    notebook = nbformat.read(path, as_version=4)
    start = time.perf_counter()
    try:
        failure = execute(notebook, path.parent, environment, label=f"Lab {lab}")
    except Interrupted as stopped:
        save(notebook, lab, out)
        message = f"{stopped} The notebook as far as it came is {out / f'lab{lab}.ipynb'}"
        raise Interrupted(message, stopped.status) from None
    seconds = time.perf_counter() - start
    save(notebook, lab, out)
    if failure:
        print(explain(failure, lab, out))
    else:
        print(f"Lab {lab} ran in {seconds:.0f} s.")
    return failure is None


def save(notebook: "NotebookNode", lab: int, out: Path) -> None:
    """Write an executed lab and its page to `out`. Raises LabError where they cannot be written."""
    with files.in_words(out):
        write_notebook(notebook, out / f"lab{lab}.ipynb")
        files.write_whole(out / f"lab{lab}.html", to_html(notebook, f"Lab {lab}"))


def write_notebook(notebook: "NotebookNode", path: Path) -> None:
    """Write a notebook as nbformat does, whole or not at all."""
    import nbformat

    files.write_whole(path, nbformat.writes(notebook).rstrip("\n") + "\n")


def execute(notebook: "NotebookNode", folder: Path, environment: dict[str, str], label: str) -> Failure | None:
    """Execute all cells in place with this very Python, in `folder`, under a progress bar on stderr.

    Old outputs are dropped first. Returns what stopped it, or None. Raises Interrupted if this process is told to stop
    (Ctrl-C or SIGTERM): the kernel is stopped then, and the outputs so far are in the notebook.
    """
    from nbclient.exceptions import CellControlSignal
    from tqdm import tqdm

    clear_outputs(notebook)
    sections = section_names(notebook)
    current = 0
    with tqdm(total=len(notebook.cells), unit="cell", desc=label) as bar:

        def show(cell: "NotebookNode", cell_index: int) -> None:
            nonlocal current
            bar.set_description(f"{label}, {sections[cell_index]}", refresh=False)
            bar.update(cell_index - current)
            bar.refresh()
            current = cell_index

        try:
            asyncio.run(_executed(notebook, folder, environment, show))
            bar.update()
        except _Told as told:
            name = {signal.SIGINT: "by Ctrl-C", signal.SIGTERM: "from outside (SIGTERM)"}[told.number]
            place = f'at cell {current + 1}, in the section "{sections[current]}"'
            raise Interrupted(f"{label} was stopped {name} {place}.", 128 + told.number) from None
        except (CellControlSignal, RuntimeError) as error:
            return Failure(current + 1, sections[current], notebook.cells[current].source, in_words(error))
    return None


class _Told(Exception):
    """This process was told to stop, by the signal of this number."""

    def __init__(self, number: signal.Signals) -> None:
        super().__init__(number)
        self.number = number


async def _executed(
    notebook: "NotebookNode", folder: Path, environment: dict[str, str], show: Callable[..., None]
) -> None:
    """Execute the cells. Raises what nbclient raises, and _Told, when the kernel is stopped, if told to stop."""
    from nbclient import NotebookClient

    task = asyncio.current_task()
    assert task is not None
    told: list[signal.Signals] = []

    def stop(number: signal.Signals) -> None:
        told.append(number)
        client.shutdown_kernel = "immediate"  # asked to end, it would interrupt the cell first, and complain
        task.cancel()

    class Client(NotebookClient):
        async def async_start_new_kernel(self, **kwargs: Any) -> None:
            """Start it, and take the place of nbclient's own handlers, which leave the execution hanging in the air."""
            with suppress(RuntimeError):  # there are none on Windows, nor outside of the main thread
                for number in (signal.SIGINT, signal.SIGTERM):
                    asyncio.get_running_loop().add_signal_handler(number, stop, number)
            await super().async_start_new_kernel(**kwargs)

    client = Client(
        notebook,
        km=own_kernel(),
        resources={"metadata": {"path": str(folder)}},
        timeout=None,
        startup_timeout=120,
        record_timing=False,
        store_widget_state=False,
        coalesce_streams=True,
        on_cell_start=show,
    )
    try:
        await client.async_execute(env=environment, cleanup_kc=True)
    except BaseException:
        if not task.cancelling():
            raise
        if client.km is not None and client.km.has_kernel:
            await client._async_cleanup_kernel()
        raise _Told(told[0] if told else signal.SIGINT) from None


def clear_outputs(notebook: "NotebookNode") -> None:
    """Drop outputs and counts, so that a notebook that stops half way shows nothing from an earlier run."""
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None


def own_kernel() -> Any:
    """A kernel manager that starts the Python we run in.

    A kernel named "python3" that is installed elsewhere on the machine would be found first by its name, and
    would lack our packages. With no folders to search, Jupyter falls back on the interpreter it runs in.
    """
    from jupyter_client.kernelspec import KernelSpecManager
    from jupyter_client.manager import AsyncKernelManager

    return AsyncKernelManager(
        kernel_name="python3",
        kernel_spec_manager=KernelSpecManager(kernel_dirs=[]),
        transport_encryption=encryption(),
    )


def encryption() -> str:
    """Whether to encrypt what kernels say: yes where that can be, because kernels write a warning if it is not."""
    import zmq

    return "auto" if zmq.has("curve") else "disabled"


def section_names(notebook: "NotebookNode") -> list[str]:
    """For each cell the heading it stands under: the last one in the Markdown up to it, or "start"."""
    names, current = [], "start"
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            # A line in a fenced block that begins with # is code, not a heading.
            prose = re.sub(r"^```.*?^```", "", cell.source, flags=re.MULTILINE | re.DOTALL)
            headings = re.findall(r"^#+ +(.+?) *#*$", prose, flags=re.MULTILINE)
            current = headings[-1] if headings else current
        names.append(current)
    return names


def in_words(error: Exception) -> str:
    """Why a notebook stopped, for a reader without a traceback (which the saved notebook holds)."""
    from nbclient.exceptions import CellExecutionError, DeadKernelError

    from genai_labs.system import shortage

    if isinstance(error, CellExecutionError):
        if error.ename in ("LabError", "Interrupted"):
            return error.evalue
        return shortage.of_a_cell(error.ename, error.evalue) or f"{error.ename}: {error.evalue}"
    if isinstance(error, DeadKernelError):
        return (
            "The Python process behind the notebook ended. Most often memory ran out, or it was stopped.\n"
            "Close other programs and run again; `python -m genai_labs check` shows how much memory is free."
        )
    return f"The Python process behind the notebook gave no answer: {error}"


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


def to_html(notebook: "NotebookNode", title: str) -> str:
    """The notebook as one HTML page, pictures included, that needs no network to be read."""
    from nbconvert import HTMLExporter

    exporter = HTMLExporter(raw_template=_PAGE)
    page, _ = exporter.from_notebook_node(notebook, resources={"metadata": {"name": title}})
    return str(page)


def read_lessons(out: Path) -> list[dict[str, Any]]:
    """The rows that `genai_labs.show.lessons` recorded in `out`; empty if there are none.

    Read here again, because that module loads half a GB of libraries, and the kernel needs the memory. Raises
    LabError if the file is not a list of lessons.
    """
    path = out / LESSONS
    try:
        rows = json.loads(path.read_text(encoding="utf-8")) if path.exists() else []
        if not isinstance(rows, list):
            raise ValueError("no list")
        return [_as_lesson(row) for row in rows]
    except (OSError, ValueError, TypeError, KeyError, OverflowError, RecursionError) as error:
        reason = f"{type(error).__name__}: {error!s:.200}"
        raise LabError(f"{path} is not a list of lessons ({reason}). Delete it and run the labs again.") from error


def _as_lesson(row: dict[str, Any]) -> dict[str, Any]:
    """A row of LESSONS with its lab as a number. Raises whatever shows that something in it is missing or odd."""
    for name in ("effect", "low", "high"):
        float(row[name])
    if not isinstance(row["holds"], bool) or not all(isinstance(row[name], str) for name in ("id", "claim")):
        raise ValueError("a row has no verdict, id or claim")
    return {**row, "lab": int(row["lab"]), "n": int(row["n"])}


def forget_lessons(out: Path, labs: list[int]) -> None:
    """Remove what an earlier run recorded for these labs, and keep the other labs' lessons."""
    with files.locked(out / files.LESSONS_LOCK):
        rows = read_lessons(out)
        kept = [row for row in rows if row["lab"] not in labs]
        if kept != rows:
            files.write_whole(out / LESSONS, json.dumps(kept, indent=1, ensure_ascii=False) + "\n")


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
    print(f"{sum(row['holds'] for row in rows)} of {len(rows)} lessons hold.")


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
        with files.in_words(path.parent):
            write_notebook(notebook, path)
        print(f"{path.name} is refreshed.")
