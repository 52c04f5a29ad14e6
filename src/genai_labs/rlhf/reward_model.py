"""From people's choices to a reward model: train a scorer on preference pairs with trl's RewardTrainer.

The model gives one number a summary. It is trained so that the chosen summary gets a larger one than the rejected
(Bradley and Terry; Ouyang et al. 2022, https://arxiv.org/abs/2203.02155): loss = -log sigmoid(chosen - rejected).
"""

from __future__ import annotations

import contextlib
import io
import tempfile
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from datasets import Dataset
from numpy.typing import NDArray
from transformers import (
    AutoModelForSequenceClassification,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    TrainerCallback,
)
from transformers.utils import logging

from genai_labs.errors import LabError
from genai_labs.inputs.arguments import as_list_of
from genai_labs.loading import hub, pretrained
from genai_labs.rlhf.preferences import (
    Preference,
    agreement,
    count_votes,
    make_ballot,
    read_preferences,
    silence_pairs,
)
from genai_labs.scoring.metrics import Interval, paired_bootstrap
from genai_labs.scoring.toxicity import REWARD_MODEL, Classifier
from genai_labs.system import progress
from genai_labs.system.devices import best_device

HELD_OUT = 200
STEPS = 80
LEARNING_RATE = 1e-3
BATCH = 16
# For trl's trainers: no files and no lines, fp32, and no checkpointing, which saves memory that a small model does not
# need, and costs time.
PLAINLY: dict[str, Any] = {
    "gradient_checkpointing": False,
    "bf16": False,
    "logging_strategy": "no",
    "save_strategy": "no",
    "report_to": "none",
    "disable_tqdm": True,
}


@dataclass(frozen=True)
class RewardRun:
    """A trained reward model, whose one output is the reward.

    accuracy: share of held-out pairs ordered as the voters did, with its interval.
    """

    scorer: Classifier
    count: int
    accuracy: Interval
    seconds: float

    def rewards(self, texts: Sequence[str]) -> NDArray[np.float64]:
        """One number a text, shape (n,): larger is better. Only differences mean something."""
        return self.scorer.rewards(texts)


def split_preferences(rows: Sequence[Preference]) -> tuple[list[Preference], list[Preference]]:
    """Pairs to learn from, and the last 200, which are held out. No dialogue is in both.

    Raises LabError if nothing would be left to learn from.
    """
    rows = as_list_of(Preference, rows, "preference pairs")
    if len(rows) <= HELD_OUT:
        raise LabError(
            f"There are {len(rows)} preference pairs, and {HELD_OUT} are held out to measure accuracy, so none is left "
            "to learn from. Give more pairs (genai_labs.rlhf.reward_model.read_preferences)."
        )
    kept, held_out = list(rows[:-HELD_OUT]), list(rows[-HELD_OUT:])
    measured = {row.dialogue_id for row in held_out}
    return [row for row in kept if row.dialogue_id not in measured], held_out


def train_reward_model(
    rows: Sequence[Preference],
    count: int,
    seed: int = 0,
    start: str | Path = REWARD_MODEL,
    fresh: bool = True,
    steps: int = STEPS,
) -> RewardRun:
    """Train a reward model on ``count`` pairs and measure it on the held-out ones.

    start: hub id or folder of an encoder. fresh: take its shape and tokenizer alone, with random weights, so that all
    that the model knows comes from the labels; else its weights too, below a new head. steps: of 16 pairs each. The
    same seed draws the same pairs and the same random weights. Raises LabError if there are fewer pairs than asked for.
    """
    kept, held_out = split_preferences(rows)
    if not 1 <= count <= len(kept):
        raise LabError(
            f"{count} pairs were asked for, and there are {len(kept)} to learn from, as {HELD_OUT} are held out. "
            f"Ask for 1 to {len(kept)}."
        )
    order = np.random.default_rng(seed).permutation(len(kept))[:count]
    began = time.perf_counter()
    tokenizer = pretrained.read_tokenizer(hub.find(str(start)), "encoder")
    model = new_reward_model(start, fresh, seed)
    fit_reward_model([kept[i] for i in order], model, tokenizer, seed, steps)
    seconds = time.perf_counter() - began
    scorer = Classifier(model, tokenizer, 0, 0, "reward model")
    return RewardRun(scorer, count, pairwise_accuracy(scorer, held_out), seconds)


def new_reward_model(start: str | Path, fresh: bool, seed: int) -> PreTrainedModel:
    """A model of one output in fp32: the encoder of ``start``, or only its shape, below a new head."""
    torch.manual_seed(seed)
    if fresh:
        config = pretrained.read_config(hub.find(str(start)), "encoder")
        config.id2label = {0: "preferred"}
        config.label2id = {"preferred": 0}
        return AutoModelForSequenceClassification.from_config(config, dtype=torch.float32, trust_remote_code=False)
    level = logging.get_verbosity()
    logging.set_verbosity_error()  # that the head is new is the point, and no cause for a warning
    try:
        folder = hub.find(str(start))
        pretrained.check_folder(folder, "encoder")
        return pretrained.read_model(
            AutoModelForSequenceClassification, folder, "encoder", new_head=True, num_labels=1, dtype=torch.float32
        )
    finally:
        logging.set_verbosity(level)


def fit_reward_model(
    pairs: Sequence[Preference], model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, seed: int, steps: int
) -> None:
    """Train the model in place with trl's RewardTrainer, whose own bars and messages are left out."""
    from trl import RewardConfig, RewardTrainer

    # Given token ids, trl leaves the texts alone; it would add a second end token.
    encoded = Dataset.from_dict(
        {
            "chosen_ids": tokenizer([p.chosen for p in pairs])["input_ids"],
            "rejected_ids": tokenizer([p.rejected for p in pairs])["input_ids"],
        }
    )
    with (
        progress.bar(steps, f"reward model from {len(pairs)} pairs") as moved,
        progress.others_silent(),
        tempfile.TemporaryDirectory() as folder,
        # Into a buffer and not into None: whoever draws a bar flushes sys.stdout first.
        contextlib.redirect_stdout(io.StringIO()),
        warnings.catch_warnings(),
    ):
        warnings.simplefilter("ignore")
        settings = RewardConfig(
            output_dir=folder,
            max_steps=steps,
            per_device_train_batch_size=BATCH,
            learning_rate=LEARNING_RATE,
            warmup_steps=10,
            max_length=tokenizer.model_max_length,
            center_rewards_coefficient=0.01,
            use_cpu=best_device().type == "cpu",
            seed=seed,
            **PLAINLY,
        )
        trainer = RewardTrainer(
            model=model,
            args=settings,
            train_dataset=encoded,
            processing_class=tokenizer,
            callbacks=[Moved(moved.update)],
        )
        trainer.train()
    model.eval()


class Moved(TrainerCallback):
    """Calls a function after every step of a trainer."""

    def __init__(self, moved: Callable[[], object]) -> None:
        self.moved = moved

    def on_step_end(self, *_: object, **__: object) -> None:
        """One step is done."""
        self.moved()


def pairwise_right(scorer: RewardRun | Classifier, rows: Sequence[Preference]) -> NDArray[np.float64]:
    """1 for each pair whose chosen summary gets more than the rejected one, 0.5 for a tie, else 0; shape (n,)."""
    chosen, rejected = (scorer.rewards([getattr(row, side) for row in rows]) for side in ("chosen", "rejected"))
    return (chosen > rejected) + 0.5 * (chosen == rejected)


def pairwise_accuracy(scorer: RewardRun | Classifier, rows: Sequence[Preference]) -> Interval:
    """Share of pairs that the scorer orders as the voters did (a tie counts half), with its interval."""
    return paired_bootstrap(pairwise_right(scorer, rows))
