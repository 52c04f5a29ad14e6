"""What is seen of a training while it runs: progress and curves, and a stop where a fine-tuning's loss diverges."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path

from genai_labs.errors import LabError
from genai_labs.show import display
from genai_labs.system import progress
from genai_labs.system.processes import process_state

MOST_LOSS = 3.0  # a loss this many times the first one is called diverging
History = Sequence[dict[str, float]]


class Watch:
    """A progress bar and, in a notebook, curves of what was measured so far; of several processes one shows them."""

    def __init__(self, steps: int, what: str, done: int) -> None:
        self.bar = progress.bar(steps, what, done=done, shown=process_state().is_main_process)
        self.curves = progress.Spot()

    def show(self, numbers: dict[str, str], draw: Callable[[], display.Plot]) -> None:
        """Put numbers behind the bar, and the curves below it."""
        self.bar.set_postfix(numbers)
        if not self.bar.disable and progress.in_notebook():
            self.curves.show_object(draw())

    def close(self) -> None:
        """Take bar and curves away."""
        self.bar.close()
        self.curves.clear()


def check_loss(history: History, folder: Path, last: Path | None) -> None:
    """Raise LabError if the last epoch's loss is no number or far too high; ``last`` is the last good checkpoint."""
    most = MOST_LOSS * max(history[0]["train_loss"], 1.0)
    for loss in (history[-1]["train_loss"], history[-1]["validation_loss"]):
        if not math.isfinite(loss) or loss > most:
            good = f"The last good checkpoint is {last.name} in {folder.name}" if last else "There is no checkpoint"
            raise LabError(
                f"The training was stopped because its loss diverged: it reached {loss:.3g}. The learning rate is "
                f"probably too high for this model. {good}. Train again with a third of the learning rate, in a new "
                "folder."
            )


def loss_curves(history: History) -> display.Plot:
    """Training and validation loss over the epochs."""
    curves = {
        label: [(row[name],) * 3 for row in history]
        for name, label in (("train_loss", "training"), ("validation_loss", "validation"))
    }
    return display.line_with_band([row["epoch"] for row in history], curves, "epoch", "loss (nats a token)")
