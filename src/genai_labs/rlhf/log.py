"""The log of PPO: what is measured of each update, ``log.csv``, a progress bar, and curves that grow in a notebook."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import matplotlib
import torch
from matplotlib.figure import Figure
from torch import Tensor

from genai_labs.rlhf.policy import Rollout
from genai_labs.rlhf.settings import History, Settings
from genai_labs.show import display
from genai_labs.system import files, progress
from genai_labs.system.processes import mean, process_state, total

LOG_FILE = "log.csv"
# What is logged, defined once: shown in the lab, and the columns of the log. Responses are those of the policy that the
# update starts from.
METRICS: dict[str, str] = {
    "update": "number of the update, from 1",
    "score": "mean reward of the sampled responses (cut to score_clip), a logit, before the KL penalty",
    "score_std": "standard deviation of these scores, in the same units",
    "kl": "mean over responses of the summed log(policy / reference) of their tokens, nats a sequence",
    "kl_coef": "what a nat of KL costs, in units of the reward",
    "objective": "mean over responses of score minus kl_coef times KL, what PPO makes larger, in units of the reward",
    "entropy": "mean entropy of the policy's next-token distribution over response tokens, nats; near 0: no choice",
    "length": "mean number of tokens of a response, end token included",
    "ended": "share of responses that came to an end by themselves before the longest length, 0 to 1",
    "policy_loss": "clipped policy loss, mean over the optimizer's steps of the update",
    "value_loss": "clipped value loss (half a squared error), mean over the steps, in squared units of the reward",
    "explained": "share of the returns' variance that the value head foresaw, at most 1 (0: no better than a mean)",
    "policy_clipfrac": "share of tokens whose probability moved too far, so that clipping counts, mean over the steps",
    "value_clipfrac": "share of tokens whose value moved too far, so that clipping counts, mean over the steps",
    "approx_kl": "half the mean squared change of log-probabilities within the update, nats; mean over the steps",
    "gradient": "length of the gradient before it is cut to max_grad_norm, mean over the steps",
    "rollout_s": "seconds to read the prompts, to sample the responses and to score them by policy and reference",
    "reward_s": "seconds to compute the rewards",
    "update_s": "seconds to learn from them",
    "judged": "what the judge said of the policy before this update (empty where it was not asked)",
}
DRAWN = {
    "score": "reward (logit)",
    "judged": "toxicity by the judge (0 to 1)",
    "kl": "KL (nats a sequence)",
    "length": "length (tokens)",
    "value_loss": "value loss",
    "entropy": "entropy (nats a token)",
}
LEAST_VARIANCE = 1e-8  # the least variance that is divided by


def measure_update(
    number: int,
    rollout: Rollout,
    kl_coef: float,
    steps: Mapping[str, float],
    judged: float | None,
    settings: Settings,
) -> dict[str, float]:
    """The row of METRICS of one update, over the responses of all processes.

    steps: what :func:`genai_labs.rlhf.ppo.learn` measured. judged: None where the judge was not asked.
    """
    mask, kl, returns = rollout.mask, rollout.kl, rollout.returns
    score, responses, tokens = mean(rollout.scores), total(torch.ones_like(kl)), total(mask)

    def token_mean(x: Tensor) -> Tensor:
        return total(torch.where(mask.bool(), x, 0)) / tokens

    missed, spread = token_mean((returns - rollout.values) ** 2), token_mean((returns - token_mean(returns)) ** 2)
    row: dict[str, Any] = {
        "update": number,
        "score": score,
        "score_std": torch.sqrt(total((rollout.scores - score) ** 2) / (responses - 1)),
        "kl": mean(kl),
        "kl_coef": kl_coef,
        "objective": mean(rollout.scores - kl_coef * kl),
        "entropy": token_mean(rollout.entropy),
        "length": mean(mask.sum(1).float()),
        "ended": mean((mask.sum(1) < settings.max_new_tokens).float()),
        "explained": 1 - missed / spread.clamp_min(LEAST_VARIANCE),
        "rollout_s": rollout.seconds[0],
        "reward_s": rollout.seconds[1],
        **steps,
    }
    if judged is not None:
        row["judged"] = judged
    return {name: float(row[name]) for name in METRICS if name in row} | {"update": number}


class Log:
    """Writes and shows what is measured; ``history`` holds what an earlier run of the same training wrote."""

    def __init__(self, folder: Path | None, updates: int, history: History, name: str) -> None:
        self.history = list(history)
        main = process_state().is_main_process
        self.path = folder / LOG_FILE if folder is not None and main else None
        if self.path is not None:
            self._begin(self.path)
        self.watch = progress.Watch(updates, f"{name}, {updates} updates", len(history), main)

    def _begin(self, path: Path) -> None:
        """The log anew, up to the checkpoint: what an interrupted run wrote behind it will be done again."""
        text = io.StringIO()
        writer = csv.DictWriter(text, list(METRICS), lineterminator="\n")
        writer.writeheader()
        writer.writerows(self.history)
        files.write_whole(path, text.getvalue())

    def write(self, row: Mapping[str, float]) -> None:
        """Add a row."""
        self.history.append(dict(row))
        if self.path is not None:
            with self.path.open("a", encoding="utf-8", newline="") as file:
                csv.DictWriter(file, list(METRICS), lineterminator="\n").writerow(row)
        self.watch.bar.update()
        numbers = {name: f"{row[name]:.2f}" for name in ("score", "kl", "length")}
        self.watch.show(numbers, lambda: draw_curves(self.history))


@matplotlib.rc_context(display.STYLE)
def draw_curves(history: History) -> display.Plot:
    """The quantities of DRAWN that were measured, one panel each, over the updates."""
    names = [name for name in DRAWN if any(name in row for row in history)]
    figure = Figure(figsize=(9, 2.4 * -(-len(names) // 3)), facecolor=display.PAPER, layout="constrained")
    lines = []
    for place, name in enumerate(names):
        points = [(row["update"], row[name]) for row in history if name in row]
        axes = figure.add_subplot(-(-len(names) // 3), 3, place + 1)
        axes.plot(*zip(*points, strict=True), color=display.COLORS[0], marker="o", ms=3, lw=1.6)
        axes.set(xlabel="update", ylabel=DRAWN[name], axisbelow=True)
        axes.grid(color=display.GRID)
        axes.spines[["top", "right"]].set_visible(False)
        lines.append(
            f"  {DRAWN[name]}: {points[0][1]:.2f} at update {points[0][0]:.0f}, "
            f"{points[-1][1]:.2f} at update {points[-1][0]:.0f}"
        )
    return display.Plot(figure, "\n".join(["Figure: PPO over its updates", *lines]))
