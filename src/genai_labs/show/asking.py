"""A question below a cell: in JupyterLab a field for a number or a button for each choice, until it is answered."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence

import ipywidgets
from IPython.display import display

from genai_labs.errors import LabError


class Words(str):
    """A text that a notebook shows without quotation marks."""

    def __repr__(self) -> str:
        return str(self)


def can_answer() -> bool:
    """Whether somebody has opened the notebook in a browser: Jupyter's server tells such a kernel which one it is."""
    return "JPY_SESSION_NAME" in os.environ


class GuessField:
    """A field to type into, or a button for each choice. Once it is answered, or closed, words stand in its place.

    id: of the lesson. heard: takes the answer and gives back these words; the question stays where it raises LabError,
    with its message.
    """

    def __init__(self, id: str, choices: Sequence[str], heard: Callable[[str], str]) -> None:
        self.heard = heard
        field = (
            ipywidgets.ToggleButtons(options=choices, value=None)
            if choices
            else ipywidgets.Text(placeholder="a number, then Enter", continuous_update=False)
        )
        field.observe(self._take, "value")
        self.note = ipywidgets.Label(
            f"{id}: your guess, before you run what follows (without one, a naive reader's counts)"
        )
        self.box = ipywidgets.VBox([self.note, field])
        self.shown = display(self.box, display_id=True)

    def _take(self, change: dict[str, str]) -> None:
        if not change["new"].strip():
            return
        try:
            words = self.heard(change["new"].strip())
        except LabError as error:
            self.note.value = str(error)
        else:
            self.close(words)

    def close(self, words: str) -> None:
        """Show words in place of the question, which can be answered no longer."""
        if self.shown is not None:
            self.shown.update(Words(words))
        self.box.close()
