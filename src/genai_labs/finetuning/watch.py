"""What is seen of a fine-tuning while it runs: progress, loss curves, and a stop where the loss diverges."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from transformers import TrainerCallback
from transformers.trainer_utils import rotate_checkpoints

from genai_labs.errors import LabError
from genai_labs.finetuning import memory
from genai_labs.show import display
from genai_labs.system import progress, run_folder

KEPT = 2  # checkpoints: the best one and the last one
MOST_LOSS = 3.0  # a loss this many times the first one is called diverging
NAMES = {"loss": "train_loss", "eval_loss": "validation_loss"}  # in the trainer's log, and in ours


class Watch(TrainerCallback):
    """Progress bar, live loss curve, history, gradients counted, and a stop when the loss diverges."""

    def __init__(self, epochs: int, examples: int, folder: Path) -> None:
        self.folder = folder
        self.history: list[dict[str, float]] = []
        self.gradients = 0
        self.diverged: float | None = None
        self.earlier_seconds = 0.0
        self.started = time.perf_counter()
        self.bar = progress.bar(1, "training", shown=False)
        self.curves = progress.Spot()
        self.epochs, self.examples = epochs, examples

    @property
    def seconds(self) -> float:
        """Since the training began, those before an interruption included."""
        return self.earlier_seconds + time.perf_counter() - self.started

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.history = _history(state.log_history)
        self.earlier_seconds = max((row.get("seconds", 0.0) for row in state.log_history), default=0.0)
        self.gradients = max((row.get("gradients", 0) for row in state.log_history), default=0)
        if state.best_global_step:  # where it lies now, should the folder have been moved
            state.best_model_checkpoint = str(self.folder / f"checkpoint-{state.best_global_step}")
        self.started = time.perf_counter()
        what = f"training on {self.examples} examples, {self.epochs} epochs"
        self.bar = progress.bar(state.max_steps, what, done=state.global_step, shown=state.is_world_process_zero)

    def on_pre_optimizer_step(self, args: Any, state: Any, control: Any, model: Any = None, **kwargs: Any) -> None:
        if not self.gradients:
            self.gradients = memory.gradient_bytes(model)

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.bar.update()

    def on_epoch_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        memory.release()

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **kwargs: Any) -> None:
        loss = (logs or {}).get("loss", (logs or {}).get("eval_loss"))
        first = next((float(row["loss"]) for row in state.log_history if "loss" in row), 0.0)
        if loss is not None and (not math.isfinite(loss) or loss > MOST_LOSS * max(first, 1.0)):
            self.diverged = loss
            control.should_training_stop = True
            control.should_save = False
        if state.log_history:
            state.log_history[-1] |= {"seconds": self.seconds, "gradients": self.gradients}

    def on_save(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Seal the checkpoint, and only then remove those that are no longer needed."""
        if state.is_world_process_zero:
            run_folder.seal(self.folder / f"checkpoint-{state.global_step}")
            rotate_checkpoints(str(self.folder), KEPT, state.best_model_checkpoint)

    def on_evaluate(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.history = _history(state.log_history)
        if self.history:
            last = self.history[-1]
            self.bar.set_postfix({name: f"{last[name]:.3f}" for name in ("train_loss", "validation_loss")})
            if not self.bar.disable and progress.in_notebook():
                self.curves.show_object(loss_curves(self.history))

    def close(self) -> None:
        """Take bar and curves away."""
        self.bar.close()
        self.curves.clear()

    def check(self, last: str | None) -> None:
        """Raise LabError if the loss diverged; ``last`` is the last good checkpoint."""
        if self.diverged is None:
            return
        where = f"{Path(last or '').name} in {self.folder.name}"
        good = f"The last good checkpoint is {where}" if last else "There is no checkpoint"
        raise LabError(
            f"The training was stopped because its loss diverged: it reached {self.diverged:.3g}. The learning rate is "
            f"probably too high for this model. {good}. Train again with a third of the learning rate, in a new folder."
        )


def _history(log: Sequence[dict[str, float]]) -> list[dict[str, float]]:
    """One row an epoch from the trainer's log."""
    rows: dict[int, dict[str, float]] = {}
    for entry in log:
        row = rows.setdefault(round(entry["epoch"]), {"epoch": round(entry["epoch"])})
        row |= {ours: entry[theirs] for theirs, ours in NAMES.items() if theirs in entry}
    return [row for row in rows.values() if len(row) == len(NAMES) + 1]


def loss_curves(history: Sequence[dict[str, float]]) -> display.Plot:
    """Training and validation loss over the epochs."""
    curves = {
        label: [(row[name],) * 3 for row in history]
        for name, label in (("train_loss", "training"), ("validation_loss", "validation"))
    }
    return display.line_with_band([row["epoch"] for row in history], curves, "epoch", "loss (nats a token)")
