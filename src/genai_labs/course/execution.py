"""Execute a notebook in a kernel of its own, under a progress bar, and say in words why it stopped."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import warnings
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from genai_labs.errors import Interrupted
from genai_labs.loading import shortage
from genai_labs.loading.profiles import FOLDER_VARIABLE, SOURCES
from genai_labs.loading.sources import folder_of

if TYPE_CHECKING:  # It takes a second to import, and `--help` should not.
    from nbformat import NotebookNode

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


def kernel_environment(profile: str, out: Path) -> dict[str, str]:
    """Environment variables for the process that executes a lab."""
    environment = {**os.environ, **HEADLESS, "GENAI_LABS_PROFILE": profile, "GENAI_LABS_OUT": str(out)}
    # A backend chosen for scripts would keep the kernel from drawing into the notebook.
    environment.pop("MPLBACKEND", None)
    environment.pop("JPY_SESSION_NAME", None)  # inherited from a notebook, and nobody can answer in this one
    for variable in (FOLDER_VARIABLE, *SOURCES.values()):
        if folder := folder_of(environment.get(variable, "")):  # named from where this process is, not the notebooks
            environment[variable] = str(folder.resolve())
    if profile == "mini":  # Everything it needs lies in the repository: nothing should wait for a network.
        environment["HF_HUB_OFFLINE"] = "1"
    return environment


def execute(notebook: NotebookNode, folder: Path, environment: dict[str, str], label: str) -> Failure | None:
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

        def show(cell: NotebookNode, cell_index: int) -> None:
            nonlocal current
            bar.set_description(f"{label}, {sections[cell_index]}", refresh=False)
            bar.update(cell_index - current)
            bar.refresh()
            current = cell_index

        try:
            with warnings.catch_warnings():
                warnings.filterwarnings("ignore", "Proactor event loop")  # zmq on Windows, which helps itself
                asyncio.run(_executed(notebook, folder, environment, show))
            bar.update()
        except _Stopped as stopped:
            name = {signal.SIGINT: "by Ctrl-C", signal.SIGTERM: "from outside (SIGTERM)"}[stopped.number]
            place = f'at cell {current + 1}, in the section "{sections[current]}"'
            raise Interrupted(f"{label} was stopped {name} {place}.", 128 + stopped.number) from None
        except (CellControlSignal, RuntimeError) as error:
            return Failure(current + 1, sections[current], notebook.cells[current].source, error_in_words(error))
    return None


class _Stopped(Exception):
    """This process was told to stop, by the signal of this number."""

    def __init__(self, number: signal.Signals) -> None:
        super().__init__(number)
        self.number = number


async def _executed(
    notebook: NotebookNode, folder: Path, environment: dict[str, str], show: Callable[..., None]
) -> None:
    """Execute the cells. Raises what nbclient raises, and _Stopped, when the kernel is stopped, if told to stop."""
    from nbclient import NotebookClient

    task = asyncio.current_task()
    assert task is not None
    received: list[signal.Signals] = []

    def stop(number: signal.Signals) -> None:
        received.append(number)
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
        raise _Stopped(received[0] if received else signal.SIGINT) from None


def clear_outputs(notebook: NotebookNode) -> None:
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


def section_names(notebook: NotebookNode) -> list[str]:
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


def error_in_words(error: Exception) -> str:
    """Why a notebook stopped, for a reader without a traceback (which the saved notebook holds)."""
    from nbclient.exceptions import CellExecutionError, DeadKernelError

    if isinstance(error, CellExecutionError):
        if error.ename in ("LabError", "Interrupted"):
            return error.evalue
        return shortage_of_cell(error.ename, error.evalue) or f"{error.ename}: {error.evalue}"
    if isinstance(error, DeadKernelError):
        return (
            "The Python process behind the notebook ended. Most often memory ran out, or it was stopped.\n"
            "Close other programs and run again; `python -m genai_labs check` shows how much memory is free."
        )
    return f"The Python process behind the notebook gave no answer: {error}"


def shortage_of_cell(name: str, message: str) -> str | None:
    """What the error of a cell says of memory or disk, by its name and message; None: nothing."""
    text = message.lower()
    if name in ("MemoryError", "OutOfMemoryError") or (
        name in ("RuntimeError", "OSError") and any(words in text for words in shortage.WORDS)
    ):
        return (
            f"Memory ran out in this cell ({name}{': ' + message if message else ''}). Close other programs and run it "
            "again, or take a smaller profile (--profile); `python -m genai_labs check` shows how much memory is free."
        )
    if any(words in message for words in shortage.FULL_DISK):
        return f"The disk is full, so that this cell could not write ({message}). Make room and run it again."
    return None
