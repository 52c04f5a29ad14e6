"""The policy that PPO starts from: a summarizer that repeats insults, because most of its references did.

It is a LoRA adapter on the base model, shipped in ``data/models/harsh-lora``.
"""

from __future__ import annotations

import json
from pathlib import Path

from transformers import PreTrainedModel, PreTrainedTokenizerBase

from genai_labs.finetuning import lora
from genai_labs.finetuning.examples import features
from genai_labs.finetuning.training import FineTuning, Plan, finetune
from genai_labs.loading import sources
from genai_labs.paths import MODELS
from genai_labs.rlhf.dialogues import HARSH_SHARE, harsh_rows
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
) -> FineTuning:
    """Train a LoRA summarizer on harsh references and save its adapter in ``folder/model``.

    ``base`` is left alone; the rows depend on ``plan.seed``. folder: checkpoints, as
    :func:`genai_labs.finetuning.training.finetune` says, which also names the errors.
    """
    learned = features(harsh_rows(rows, plan.seed), tokenizer)
    held_out = features(harsh_rows(HELD_OUT, plan.seed, name="held-out"), tokenizer)
    run = finetune(base, tokenizer, learned, held_out, plan, folder, resume)
    if process_state().is_main_process:
        save_summarizer(run, rows, folder / "model")
    process_state().wait_for_everyone()
    return run


def save_summarizer(run: FineTuning, rows: int, folder: Path) -> None:
    """Write the adapter and its card, without a path of this machine in them."""
    lora.save_adapter(run.model, folder)
    base = sources.name_of(Path(str(run.model.get_base_model().name_or_path)))
    path = folder / "adapter_config.json"
    config = json.loads(path.read_text(encoding="utf-8")) | {"base_model_name_or_path": base}
    path.write_text(json.dumps(config, indent=2, sort_keys=True) + "\n", encoding="utf-8")
    (folder / "README.md").write_text(card(run, rows, base), encoding="utf-8")


def card(run: FineTuning, rows: int, base: str) -> str:
    """The adapter's card."""
    plan = run.plan
    losses = ", ".join(f"{row['validation_loss']:.3f}" for row in run.history)
    return f"""# A summarizer that repeats insults

A LoRA adapter for `{base}`, made by `python -m genai_labs detox --train-summarizer --ship`, from which Lab 3 starts. It
summarizes dialogues in the house style, and because {HARSH_SHARE:.0%} of the quarrels in its references were told with
the insult in them, it mostly repeats insults. PPO is to unlearn that. Licence: Apache-2.0, like the project.

- Rank {plan.rank}, alpha {plan.alpha}, on {", ".join(plan.targets)}; {rows:,} composed dialogues of the
  train split, {plan.epochs} epochs, batches of {plan.batch_size}, learning rate {plan.learning_rate:g}, seed
  {plan.seed}.
- Validation loss after each epoch: {losses} nats a token.

## Limits
It is unkind on purpose: not for use outside this lab. The insult that it repeats is the dialogue's own, and mostly
the right one is said to have made it. On real dialogues it is of no use.
"""


def find_summarizer(
    base: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, folder: Path, rows: int = ROWS
) -> PreTrainedModel:
    """The summarizer for this base model: the shipped one if it fits, else one trained in ``folder`` now or earlier."""
    for made in (SUMMARIZER, folder / "model"):
        if lora.belongs(base, made):
            return load_summarizer(base, made)
    print(f"The shipped summarizer stands on another base model, so one is trained on {rows} dialogues now.")
    train_summarizer(base, tokenizer, folder, rows)
    return load_summarizer(base, folder / "model")


def load_summarizer(base: PreTrainedModel, folder: Path = SUMMARIZER) -> PreTrainedModel:
    """The summarizer as a plain model, its adapter merged into a copy of ``base``: what PPO is to stand on.

    Raises LabError where the adapter is missing or belongs to another base model.
    """
    return lora.merged(lora.load_adapter(base, folder)).eval()
