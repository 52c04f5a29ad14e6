"""What surrounds the updates of PPO: interrupted runs go on, what is measured is kept, and stops are put in words."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from peft import PeftModel

from genai_labs.errors import Interrupted, LabError
from genai_labs.loading import shortage
from genai_labs.rlhf.checkpoints import Checkpoints, Judge, opened
from genai_labs.rlhf.checks import Collapse
from genai_labs.rlhf.log import Log, draw_curves
from genai_labs.rlhf.policy import Policy, Reward
from genai_labs.rlhf.settings import History, Settings
from genai_labs.show import display
from genai_labs.system import processes, run_folder


class RunRecord:
    """The updates of a run so far: ``history``, a row of METRICS each, and the KL coefficient of the next one."""

    def __init__(
        self, policy: Policy, optimizer: torch.optim.Optimizer, settings: Settings, checkpoints: Checkpoints
    ) -> None:
        self.policy, self.optimizer, self.settings, self.checkpoints = policy, optimizer, settings, checkpoints
        self.history: History = []
        self.kl_coef = settings.kl_coef
        if (kept := checkpoints.load(policy, optimizer)) is not None:
            self.kl_coef, self.history = kept
        self.log: Log | None = None

    def updates_left(self) -> range:
        """The numbers of the updates that are still to be done."""
        return range(len(self.history) + 1, self.settings.updates + 1)

    def is_saved(self, number: int) -> bool:
        """Whether a checkpoint is written after this update."""
        return number % self.settings.save_every == 0 or number == self.settings.updates

    def add(self, row: dict[str, float], kl_coef: float) -> None:
        """Log an update, and write a checkpoint if it is time; ``kl_coef`` is that of the next update."""
        self.history.append(row)
        self.kl_coef = kl_coef
        if self.log is not None:
            self.log.write(row)
        if self.is_saved(len(self.history)):
            self.checkpoints.save(self.policy, self.optimizer, kl_coef, self.history)

    @contextmanager
    def stops_in_words(self) -> Iterator[None]:
        """Say why the updates stopped, and what is kept. Raises LabError, and Interrupted if somebody stopped them."""
        settings, last_good = self.settings, self.checkpoints.last_good
        less = f"Take a smaller minibatch (it is {settings.minibatch}) or batch_size (it is {settings.batch_size})."
        try:
            with (
                processes.endings_in_words(last_good),
                shortage.in_words(f"training by {settings.name}", less, last_good),
            ):
                yield
        except KeyboardInterrupt:
            at = f"update {min(len(self.history) + 1, settings.updates)} of {settings.updates}"
            raise Interrupted(f"Interrupted in {at}. {self.checkpoints.how_to_go_on()}") from None
        except Collapse as sign:
            raise LabError(
                f"The training was stopped in update {len(self.history) + 1} because {sign}: the policy has "
                f"collapsed. {last_good()} Train again with a lower learning rate or a higher KL coefficient."
            ) from None


@dataclass
class PPORun:
    """A training by PPO that has ended.

    history: one row an update, the quantities of METRICS (``judged`` only where the judge was asked).
    folder: log and checkpoints (None: nothing was written).
    """

    policy: Policy
    settings: Settings
    folder: Path | None = None
    history: list[dict[str, float]] = field(default_factory=list)

    @property
    def model(self) -> PeftModel:
        """The policy without its value head: a summarizer with an adapter."""
        return self.policy.model

    @property
    def seconds(self) -> float:
        """All updates together, without what the judge took."""
        return sum(row["rollout_s"] + row["reward_s"] + row["update_s"] for row in self.history)

    def curves(self) -> display.Plot:
        """What was logged, drawn over the updates."""
        return draw_curves(self.history)


def plan_of_run(settings: Settings, prompts: Sequence[str]) -> dict[str, Any]:
    """What of a run, besides the weights that it starts from and the reward, is to be the same for it to go on."""
    return {"settings": asdict(settings), "prompts": run_folder.digest(list(prompts))}


@contextmanager
def recorded(
    policy: Policy,
    optimizer: torch.optim.Optimizer,
    prompts: Sequence[str],
    reward: Reward,
    settings: Settings,
    folder: Path | None,
    judge: Judge | None,
    resume: bool,
) -> Iterator[RunRecord]:
    """The record of a run in ``folder`` (None: nothing is written), gone on with from its last checkpoint.

    Of a finished run no update is left. See :func:`genai_labs.rlhf.ppo.train` for what is the same run.
    """
    with opened(folder, plan_of_run(settings, prompts), policy, reward, judge, resume) as checkpoints:
        record = RunRecord(policy, optimizer, settings, checkpoints)
        if checkpoints.finished():
            yield record
            return
        record.log = Log(folder, settings.updates, record.history, settings.name)
        try:
            with record.stops_in_words():
                yield record
                checkpoints.finish()
        finally:
            record.log.watch.close()
