"""The policy that PPO starts from: a summarizer that repeats insults, because most of its references did.

It is a LoRA adapter on the base model, shipped in ``data/models/harsh-lora``.
"""

from __future__ import annotations

from pathlib import Path

from transformers import PreTrainedModel, PreTrainedTokenizerBase

from genai_labs.finetuning import lora
from genai_labs.finetuning.checkpoints import what_is_the_same
from genai_labs.finetuning.examples import features
from genai_labs.finetuning.training import FineTuning, Plan, finetune
from genai_labs.paths import MODELS
from genai_labs.rlhf.dialogues import harsh_rows
from genai_labs.system import run_folder
from genai_labs.system.processes import process_state

SUMMARIZER = MODELS / "harsh-lora"
HELD_OUT = 100  # rows of which the validation loss is taken
ROWS = 1600
PLAN = Plan(method="lora", epochs=3, learning_rate=3e-3, rank=8, alpha=16)


def train_summarizer(
    base: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    folder: Path,
    rows: int = ROWS,
    plan: Plan = PLAN,
    resume: bool = True,
    spare: bool = False,
) -> FineTuning:
    """Train a LoRA summarizer on harsh references and save its adapter in ``folder/model``.

    ``base`` is left alone; the rows depend on ``plan.seed``. folder: checkpoints, as
    :func:`genai_labs.finetuning.training.finetune` says, which also names the errors. spare: raise LabError
    rather than replace a finished training that was another one.
    """
    learned = features(harsh_rows(rows, plan.seed), tokenizer)
    held_out = features(harsh_rows(HELD_OUT, plan.seed, name="held-out"), tokenizer)
    if spare:
        run_folder.spare_finished(folder, what_is_the_same(base, plan, learned, held_out))
    run = finetune(base, tokenizer, learned, held_out, plan, folder, resume)
    if process_state().is_main_process:
        lora.save_adapter(run.model, folder / "model")
    process_state().wait_for_everyone()
    return run


def find_summarizer(
    base: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, folder: Path, rows: int = ROWS, spare: bool = False
) -> PreTrainedModel:
    """The summarizer for this base model: the shipped one if it fits, else one trained in ``folder`` now or earlier."""
    for made in (SUMMARIZER, folder / "model"):
        if lora.belongs(base, made):
            return load_summarizer(base, made)
    print(f"The shipped summarizer stands on another base model, so one is trained on {rows} dialogues now.")
    train_summarizer(base, tokenizer, folder, rows, spare=spare)
    return load_summarizer(base, folder / "model")


def load_summarizer(base: PreTrainedModel, folder: Path = SUMMARIZER) -> PreTrainedModel:
    """The summarizer as a plain model, its adapter merged into a copy of ``base``: what PPO is to stand on.

    Raises LabError where the adapter is missing or belongs to another base model.
    """
    return lora.merged(lora.load_adapter(base, folder)).eval()
