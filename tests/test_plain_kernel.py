"""What a person runs: a kernel as JupyterLab starts it, with progress bars and without the variables of headless runs."""

import os

from nbclient import NotebookClient
from nbformat import NotebookNode
from nbformat.v4 import new_code_cell, new_notebook

from genai_labs.paths import NOTEBOOKS
from genai_labs.runner import HEADLESS, own_kernel

TRAIN_REWARD_MODEL = """
from genai_labs import preferences

rows = preferences.read_preferences()
preferences.train_reward_model(rows, 32, steps=2).accuracy.n
"""


def run_plainly(notebook: NotebookNode) -> NotebookNode:
    """Execute all cells in place as JupyterLab would; raises what a cell raises."""
    plain = {name: value for name, value in os.environ.items() if name not in HEADLESS}
    client = NotebookClient(notebook, km=own_kernel(), resources={"metadata": {"path": str(NOTEBOOKS)}}, timeout=None)
    client.execute(env=plain, cleanup_kc=True)
    return notebook


def test_a_reward_model_is_trained_while_bars_are_shown() -> None:
    made = run_plainly(new_notebook(cells=[new_code_cell(TRAIN_REWARD_MODEL)]))
    assert made.cells[0].outputs[-1].data["text/plain"] == "200"
