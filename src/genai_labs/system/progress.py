"""How far long work has come: one bar a cell in a notebook, a line in a terminal, and nothing of it in a saved file.

In a notebook a bar is an output that is replaced in place and emptied at the end. Its metadata says that it is
progress, by which :func:`notebooks.strip_progress` finds it in a file. (The bars of ``tqdm.notebook`` are
widgets: a notebook that was saved with one says "Error displaying widget" when it is opened again.)
"""

from __future__ import annotations

import html
import os
import sys
import uuid
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

from tqdm import tqdm

MARK = "genai_labs_progress"  # stands in the metadata of every output that shows progress
DELAY = 0.3  # seconds: what is done sooner shows no bar
FORMAT = "{desc}: {percentage:3.0f} %|{bar}| {elapsed}, {remaining} left{postfix}"


T = TypeVar("T")


def bar(total: float, what: str, done: float = 0, shown: bool = True) -> tqdm[Any]:
    """A bar from ``done`` to ``total``, in whatever unit, with ``what`` in front; use it in a ``with`` statement.

    ``update(n)`` moves it on, ``set_postfix`` puts numbers behind it. It shows nothing where ``shown`` is False, where
    the variable TQDM_DISABLE is set, and in a notebook inside of another bar; a terminal shows that one below it.
    """
    kind = NotebookBar if in_notebook() else tqdm
    hidden = not shown or "TQDM_DISABLE" in os.environ or NotebookBar.inside
    return kind(
        total=total, initial=done, desc=what, bar_format=FORMAT, leave=False, delay=DELAY, miniters=0, disable=hidden
    )


def over(things: Collection[T], what: str, shown: bool = True) -> Iterator[T]:
    """The things one after the other, with a bar."""
    with bar(len(things), what, shown=shown) as moved:
        for thing in things:
            yield thing
            moved.update()


def in_notebook() -> bool:
    """Whether this Python runs the cells of a notebook."""
    try:
        from IPython.core.getipython import get_ipython
    except ImportError:
        return False
    return getattr(get_ipython(), "kernel", None) is not None


class Spot:
    """A place in the output of the cell that runs: what is shown in it can be replaced, and taken away again."""

    def __init__(self) -> None:
        self.id = uuid.uuid4().hex
        self.used = False

    def show(self, data: dict[str, Any], metadata: dict[str, Any] | None = None) -> None:
        """Show a MIME bundle (MIME type -> content) in place of what was there."""
        from IPython.display import publish_display_data  # from here, as IPython 7, Colab's, has it nowhere deeper

        marked = {MARK: True, **(metadata or {})}
        publish_display_data(data, marked, transient={"display_id": self.id}, update=self.used)
        self.used = True

    def show_object(self, shown: object) -> None:
        """Show what a cell would show of an object."""
        from IPython.core.interactiveshell import InteractiveShell

        formatter = InteractiveShell.instance().display_formatter
        assert formatter is not None
        self.show(*formatter.format(shown))

    def clear(self) -> None:
        """Show nothing."""
        if self.used:
            self.show({})


class Watch:
    """A bar and, in a notebook, a picture below it of what was measured so far."""

    def __init__(self, steps: int, what: str, done: int, shown: bool) -> None:
        self.bar = bar(steps, what, done, shown)
        self.picture = Spot()

    def show(self, numbers: dict[str, str], draw: Callable[[], object]) -> None:
        """Put numbers behind the bar, and a picture, drawn anew, below it."""
        self.bar.set_postfix(numbers)
        if not self.bar.disable and in_notebook():
            self.picture.show_object(draw())

    def close(self) -> None:
        """Take bar and picture away."""
        self.bar.close()
        self.picture.clear()


class NotebookBar(tqdm):
    """A tqdm bar in HTML that follows the theme of the notebook. Further bars of a cell appear in the same spot."""

    inside = False  # whether one is shown now
    monitor_interval = 0  # tqdm's own thread would redraw the bar into whichever cell runs then
    _spot, _cell = Spot(), -1

    def __init__(self, **settings: Any) -> None:
        super().__init__(gui=True, **settings)  # gui: tqdm prints nothing
        if not self.disable:
            NotebookBar.inside = True

    def display(self, msg: str | None = None, pos: int | None = None) -> None:
        """Draw the bar as it is now; called by tqdm, at most ten times a second."""
        spot = self._spot_of_this_cell()
        numbers = self.format_dict
        text = self.format_meter(**numbers | {"bar_format": FORMAT.replace("|{bar}|", "")})
        front, behind = text.split(" %", 1)
        spot.show({"text/plain": text, "text/html": _HTML.format(*map(html.escape, (front, behind)), self._share())})

    def _share(self) -> float:
        return min(self.n / self.total, 1.0) if self.total else 0.0

    @staticmethod
    def _spot_of_this_cell() -> Spot:
        from IPython.core.getipython import get_ipython

        cell = getattr(get_ipython(), "execution_count", -1)
        if cell != NotebookBar._cell:
            NotebookBar._spot, NotebookBar._cell = Spot(), cell
        return NotebookBar._spot

    def close(self) -> None:
        """Take the bar away."""
        if not self.disable:
            NotebookBar.inside = False
            NotebookBar._spot.clear()
        super().close()


_HTML = (
    '<div style="font-variant-numeric:tabular-nums;color:inherit;">{0} %'
    ' <progress value="{2:.3f}" max="1" style="width:16em;vertical-align:middle;accent-color:#0072b2;"></progress>'
    "{1}</div>"
)


@contextmanager
def saying(text: str) -> Iterator[None]:
    """Inside, a line in the output of a notebook's cell says what takes its time, where no bar can tell how long."""
    spot = Spot()
    if in_notebook() and "TQDM_DISABLE" not in os.environ:
        spot.show({"text/plain": text})
    try:
        yield
    finally:
        spot.clear()


@contextmanager
def others_silent() -> Iterator[None]:
    """Inside, transformers and datasets show no bars of their own, which would leave widgets in a notebook."""
    from transformers.utils import logging

    datasets = sys.modules.get("datasets")  # where nothing has imported it, it shows nothing
    switches = [(logging.is_progress_bar_enabled, logging.disable_progress_bar, logging.enable_progress_bar)]
    if datasets:
        switches.append(
            (datasets.is_progress_bar_enabled, datasets.disable_progress_bars, datasets.enable_progress_bars)
        )
    on = [(disable, enable) for enabled, disable, enable in switches if enabled()]
    for disable, _ in on:
        disable()
    try:
        yield
    finally:
        for _, enable in on:
            enable()
