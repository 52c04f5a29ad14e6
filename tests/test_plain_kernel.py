"""What a person runs: a kernel as JupyterLab starts it, with bars and without the variables of headless runs."""

import os
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient
from nbformat import NotebookNode
from nbformat.v4 import new_code_cell, new_notebook

from genai_labs.course.execution import HEADLESS, KEEP_MEMORY, own_kernel
from genai_labs.course.notebooks import find_problems, strip_progress
from genai_labs.course.runner import LAB_NOTEBOOKS
from genai_labs.paths import NOTEBOOKS
from genai_labs.system.progress import MARK, bar
from tests.browsers import find_browser

TRAIN_REWARD_MODEL = """
from genai_labs.rlhf import reward_model

rows = reward_model.read_preferences()
reward_model.train_reward_model(rows, 32, steps=2).accuracy.n
"""
SEVERAL_BARS = """
import time
from genai_labs.system.progress import bar, saying

print("before")
with saying("loading"):
    time.sleep(0.1)
for name in ("first", "second"):
    with bar(10, name) as moved:
        for _ in range(10):
            time.sleep(0.1)
            with bar(5, "inside") as hidden:
                hidden.update(5)
            moved.update()
    print("after", name)
"""
INTERRUPTED = """
import time
from genai_labs.system.progress import bar

with bar(2, "work") as moved:
    time.sleep(0.5)
    moved.update()
    raise KeyboardInterrupt
"""


class Watcher(NotebookClient):
    """A client that keeps what was shown as progress, cell by cell, and runs on when it is taken away."""

    def __init__(self, notebook: NotebookNode, **settings: Any) -> None:
        super().__init__(notebook, km=own_kernel(), timeout=None, coalesce_streams=True, **settings)
        self.seen: dict[int, list[dict[str, str]]] = {}

    def process_message(self, msg: dict[str, Any], cell: NotebookNode, cell_index: int) -> Any:
        content = msg["content"]
        if MARK in content.get("metadata", {}):
            self.seen.setdefault(cell_index, []).append(content["data"])
        return super().process_message(msg, cell, cell_index)


def run_plainly(notebook: NotebookNode, **variables: str) -> Watcher:
    """Execute all cells in place as JupyterLab would; raises what a cell raises."""
    plain = {name: value for name, value in os.environ.items() if name not in HEADLESS} | variables
    client = Watcher(notebook, resources={"metadata": {"path": str(NOTEBOOKS)}})
    client.execute(env=plain, cleanup_kc=True)
    return client


def shares(shown: list[dict[str, str]]) -> list[int]:
    """The percentages that bars showed, one after the other."""
    return [int(data["text/plain"].split(":")[1].split("%")[0]) for data in shown if "%" in data.get("text/plain", "")]


def kinds(notebook: NotebookNode) -> list[list[tuple[str, ...]]]:
    """For each cell the kinds of its outputs: streams by name, all else by its MIME types."""
    return [
        [(o.output_type, *([o.name] if "name" in o else sorted(o.get("data", {})))) for o in cell.get("outputs", [])]
        for cell in notebook.cells
    ]


def test_what_headless_runs_set_hides_bars_and_keeps_memory_and_nothing_else() -> None:
    bars = {"TQDM_DISABLE", "HF_HUB_DISABLE_PROGRESS_BARS", "HF_DATASETS_DISABLE_PROGRESS_BARS"}
    assert set(HEADLESS) == bars | {"HF_HUB_DISABLE_TELEMETRY"} | set(KEEP_MEMORY)


@pytest.mark.skipif(find_browser() is not None, reason="test_browser.py runs the labs in such a kernel, in JupyterLab")
@pytest.mark.parametrize("lab", LAB_NOTEBOOKS)
def test_a_lab_runs_to_its_end_with_bars_that_move_and_leave_nothing_behind(lab: int, tmp_path: Path) -> None:
    committed = nbformat.read(NOTEBOOKS / LAB_NOTEBOOKS[lab], as_version=4)
    made = nbformat.read(NOTEBOOKS / LAB_NOTEBOOKS[lab], as_version=4)
    client = run_plainly(made, GENAI_LABS_OUT=str(tmp_path))
    left = [output.data for cell in made.cells for output in cell.get("outputs", []) if MARK in output.metadata]
    assert left
    assert not any(left)  # emptied, each of them
    moved = [len(set(shares(shown))) for shown in client.seen.values()]
    assert sum(count >= 3 for count in moved) >= 5
    strip_progress(made)
    assert kinds(made) == kinds(committed)
    assert [problem for problem in find_problems(made) if "error" in problem or "stderr" in problem] == []


def test_a_reward_model_is_trained_while_bars_are_shown() -> None:
    client = run_plainly(new_notebook(cells=[new_code_cell(TRAIN_REWARD_MODEL)]))
    assert client.nb.cells[0].outputs[-1].data["text/plain"] == "200"


def test_a_cell_has_one_bar_at_a_time_in_one_place() -> None:
    client = run_plainly(new_notebook(cells=[new_code_cell(SEVERAL_BARS)]))
    outputs = client.nb.cells[0].outputs
    assert [o.text for o in outputs if o.output_type == "stream"] == ["before\nafter first\nafter second\n"]
    assert [o.data for o in outputs if o.output_type == "display_data"] == [{}, {}]  # "loading", and both bars
    texts = [data.get("text/plain", "") for data in client.seen[0]]
    assert texts[0] == "loading"
    assert {text.split(":")[0] for text in texts[1:]} == {"first", "second", ""}
    assert len(set(shares(client.seen[0]))) > 5
    assert 'value="0.500"' in str(client.seen[0])


def test_a_terminal_shows_a_bar_inside_of_another(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TQDM_DISABLE", raising=False)
    with bar(2, "outside"), bar(2, "inside") as moved:
        assert not moved.disable
    assert "a terminal shows that one below it" in " ".join((bar.__doc__ or "").split())


def test_a_bar_goes_when_its_work_is_interrupted() -> None:
    cell = new_code_cell(INTERRUPTED, metadata={"tags": ["raises-exception"]})
    asked = new_code_cell("from genai_labs.system.progress import NotebookBar\nNotebookBar.inside")
    client = run_plainly(new_notebook(cells=[cell, asked]))
    assert client.nb.cells[0].outputs[0].data == {}
    assert client.nb.cells[1].outputs[0].data["text/plain"] == "False"


def test_a_problem_is_told_by_the_line_of_the_cell_and_without_a_traceback() -> None:
    """What a learner can act on is the line they wrote and the message; the package's own lines say nothing to them."""
    source = "from genai_labs.inputs.arguments import as_whole_number\n\nas_whole_number(-1, 'tokens', 1)"
    notebook = new_notebook(cells=[new_code_cell(source)])
    NotebookClient(
        notebook, km=own_kernel(), resources={"metadata": {"path": str(NOTEBOOKS)}}, allow_errors=True
    ).execute()
    (shown,) = notebook.cells[0].outputs
    assert shown.ename == "LabError"
    assert shown.traceback[:3] == ["In line 3 of this cell:", "    as_whole_number(-1, 'tokens', 1)", ""]
    assert shown.traceback[3:] == [f"LabError: {shown.evalue}"]
