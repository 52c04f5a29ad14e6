"""The loss of a fine-tuning while it runs: its curves, and a stop where it diverges."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

from genai_labs.errors import LabError
from genai_labs.show import display

MOST_LOSS = 3.0  # a loss this many times the first one is called diverging
History = Sequence[dict[str, float]]


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
