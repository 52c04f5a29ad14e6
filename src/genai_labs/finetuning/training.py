"""Fine-tuning with transformers' Seq2SeqTrainer: full or LoRA, with curves, checkpoints, and resuming after a kill.

What is set, and why: batches are padded to their own longest row and made of rows of similar length (padding is work
for nothing); padded labels are masked; bf16 autocast where the hardware has it (fp16 never: T5 overflows in it); the
best checkpoint by validation loss is what is kept.

To be read from top to bottom: :func:`finetune`, the model that it prepares, the trainer that it makes, the training,
the result. How steps are shared among processes stands in ``trainer.py``, going on after an interruption in
``checkpoints.py``, what is shown meanwhile in ``watch.py``.
"""

from __future__ import annotations

import copy
import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from peft import PeftModel
from transformers import (
    PreTrainedModel,
    PreTrainedTokenizerBase,
    PrinterCallback,
    Seq2SeqTrainingArguments,
    set_seed,
)

from genai_labs.errors import Interrupted, LabError
from genai_labs.finetuning import lora, memory
from genai_labs.finetuning.checkpoints import (
    best_checkpoint,
    last_checkpoint,
    load_weights,
    make_ready,
    what_interruption_leaves,
    what_is_kept,
    whole_checkpoints,
)
from genai_labs.finetuning.examples import FEWEST, MULTIPLES, Feature, check_size, collate
from genai_labs.finetuning.plan import Plan
from genai_labs.finetuning.trainer import ByLength, Trainer, check_processes
from genai_labs.finetuning.watch import Watch, loss_curves
from genai_labs.loading import shortage
from genai_labs.show import display
from genai_labs.system import processes, run_folder
from genai_labs.system.devices import best_device, has_bf16
from genai_labs.system.processes import process_count, process_state


def finetune(
    base: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    train: Sequence[Feature],
    validation: Sequence[Feature],
    plan: Plan,
    folder: Path,
    resume: bool = True,
    fewest: int = FEWEST,
) -> FineTuning:
    """Train a copy of ``base`` by ``plan``; ``base`` itself is left alone.

    ``folder`` holds the checkpoints, one after each epoch. If a run of the same plan, on the same examples and from the
    same weights, was interrupted there, at any moment, it goes on from its last checkpoint and ends as an unbroken run
    would have; if it was finished there, its result is handed out again and nothing is trained. resume: False trains
    anew. With several processes each reads its share of every batch, so that the steps are those of one process, and
    one of them writes. Raises LabError for fewer than ``fewest`` examples to train on, a loss that diverges, a full
    disk, memory that runs out, another process that ends, and for a folder in which another run is running or a run of
    another plan was left unfinished; Interrupted, a KeyboardInterrupt that says what is kept, if somebody stops it.
    """
    check_size(train, plan.batch_size, fewest)
    if not validation:
        raise LabError("There are no validation examples, so nobody could say where to stop. Pass at least a hundred.")
    check_processes(plan.batch_size)
    with run_folder.locked_run(folder):
        make_ready(folder, base, plan, train, validation, resume)
        set_seed(plan.seed)
        memory.release()  # what was generated before has left gaps
        with shortage.in_words("making room to train", _less_memory(plan)):
            run = FineTuning(model_to_train(base, plan), plan, folder, len(train))
        if finished := run_folder.result(folder):
            run.restore(finished)
        else:
            watch = Watch(plan.epochs, len(train), folder)
            _train(run, make_trainer(run.model, tokenizer, train, validation, plan, watch), watch)
        _set_to_rest(run.model, base, plan)
        return run


def model_to_train(base: PreTrainedModel, plan: Plan) -> PreTrainedModel | PeftModel:
    """What will be trained: a full copy of the base, or an adapter on its very weights."""
    if plan.method == "lora":
        config = lora.lora_config(plan.rank, plan.alpha, plan.targets, plan.within)
        model: PreTrainedModel | PeftModel = lora.attach(base, config, seed=plan.seed)
    else:
        _check_precision(base)
        model = copy.deepcopy(base).requires_grad_(True)
    if plan.checkpointing:
        model.activation_checkpointing_enable()
    _set_dropout(model, plan.dropout)
    _set_encoder_attention(model, "eager")
    return model


def _set_encoder_attention(model: PreTrainedModel | PeftModel, attention: str) -> None:
    """How the encoder attends. With gradients, on a CPU, written out ("eager") is a fifth faster than fused kernels."""
    if best_device().type == "cpu":
        model.get_encoder().set_attn_implementation(attention)


def _set_dropout(model: torch.nn.Module, share: float) -> None:
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = share
        elif isinstance(getattr(module, "dropout", None), float):  # attention keeps a number
            module.dropout = share  # type: ignore[assignment]


def make_trainer(
    model: PreTrainedModel | PeftModel,
    tokenizer: PreTrainedTokenizerBase,
    train: Sequence[Feature],
    validation: Sequence[Feature],
    plan: Plan,
    watch: Watch,
) -> Trainer:
    """The trainer with its settings."""
    pad = tokenizer.pad_token_id
    trainer = Trainer(
        model=model,
        args=arguments(plan, watch.folder),
        order=ByLength([len(row["input_ids"]) for row in train], plan.batch_size, plan.seed),
        train_dataset=list(train),
        eval_dataset=list(validation),
        data_collator=lambda rows: collate(rows, pad, multiples=MULTIPLES),
        callbacks=[watch],
    )
    trainer.remove_callback(PrinterCallback)  # the watch says what there is to say
    return trainer


def arguments(plan: Plan, folder: Path) -> Seq2SeqTrainingArguments:
    """The trainer's arguments for a plan."""
    device = best_device().type
    made = Seq2SeqTrainingArguments(
        output_dir=str(folder),
        num_train_epochs=plan.epochs,
        learning_rate=plan.learning_rate,
        warmup_steps=plan.warmup,
        lr_scheduler_type="linear",
        per_device_train_batch_size=plan.batch_size
        // process_state().num_processes,  # it says so in its log; see Shares
        per_device_eval_batch_size=plan.batch_size // process_count(),
        bf16=has_bf16(),
        use_cpu=device == "cpu",
        dataloader_pin_memory=device == "cuda",
        ddp_find_unused_parameters=False,
        eval_strategy="epoch",
        save_strategy="epoch",
        load_best_model_at_end=True,
        metric_for_best_model="eval_loss",
        greater_is_better=False,
        logging_strategy="epoch",
        logging_nan_inf_filter=False,
        disable_tqdm=True,
        report_to="none",
        remove_unused_columns=False,
        seed=plan.seed,
        data_seed=plan.seed,
    )
    made._n_gpu = min(made.n_gpu, 1)  # several GPUs want a process each (accelerate), not the trainer's own threads
    return made


def _train(run: FineTuning, trainer: Trainer, watch: Watch) -> None:
    """Train, from the last checkpoint if there is one, and note in ``run`` what was measured."""

    def kept() -> str:
        return what_is_kept(run.folder)

    with memory.watching() as peak, _about_tied_weights_silent():
        try:
            with processes.endings_in_words(kept), shortage.in_words("training", _less_memory(run.plan), kept):
                trainer.train(resume_from_checkpoint=last_checkpoint(run.folder))
        except KeyboardInterrupt:
            epoch = min(len(watch.history) + 1, watch.epochs)
            raise Interrupted(what_interruption_leaves(run.folder, epoch, watch.epochs)) from None
        finally:
            watch.close()
            trainer.accelerator.unwrap_model(run.model, keep_fp32_wrapper=False)
            memory.release()
    watch.check(last_checkpoint(run.folder))
    run.history, run.seconds, run.peak = watch.history, watch.seconds, peak.bytes
    run.best_epoch = round(min(run.history, key=lambda row: row["validation_loss"], default={"epoch": 0})["epoch"])
    if trainer.optimizer:
        run.memory = memory.measured(run.model, trainer.optimizer, watch.gradients)
    if trainer.is_world_process_zero():
        run_folder.finish(run.folder, run.measured(), whole_checkpoints)


def _set_to_rest(model: PreTrainedModel | PeftModel, base: PreTrainedModel, plan: Plan) -> None:
    """Undo what training leaves on a model: bf16 autocast around forward, checkpointing, no cache, training mode."""
    if plan.checkpointing:
        model.activation_checkpointing_disable()
    model.__dict__.pop("forward", None)  # accelerate leaves a copy of the method on the model
    model.config.use_cache = True
    model.eval()
    _set_encoder_attention(model, base.get_encoder().config._attn_implementation)


@dataclass
class FineTuning:
    """A fine-tuning that has ended: the model, and what was measured on the way."""

    model: PreTrainedModel | PeftModel
    """With the weights after the best epoch."""
    plan: Plan
    folder: Path
    """Of the checkpoints."""
    examples: int
    """As many as were trained on."""
    history: list[dict[str, float]] = field(default_factory=list)
    """One row an epoch: ``epoch``, ``train_loss`` (mean of the epoch) and ``validation_loss``, nats a token."""
    seconds: float = 0.0
    """Of training and validation."""
    peak: int = 0
    """Bytes above what was taken before."""
    memory: memory.Memory | None = None
    """Bytes of weights, gradients and optimizer state as they were."""
    best_epoch: int = 0
    """The one with the lowest validation loss."""

    @property
    def throughput(self) -> float:
        """Training examples a second, validation included."""
        return self.examples * len(self.history) / self.seconds

    def curves(self) -> display.Plot:
        """Training and validation loss over the epochs."""
        return loss_curves(self.history)

    def last(self) -> PreTrainedModel | PeftModel:
        """A copy with the weights after the last epoch, which need not be the best ones that ``model`` has."""
        checkpoint, model = last_checkpoint(self.folder), copy.deepcopy(self.model)
        if checkpoint is None or run_folder.damage(Path(checkpoint)):
            raise LabError(
                f"There is no checkpoint left in {self.folder.name}: it was deleted or damaged. Run the training again."
            )
        load_weights(model, Path(checkpoint))
        return model

    def measured(self) -> dict[str, Any]:
        """What is noted beside the checkpoints, so that the run can be handed out again."""
        return {
            "history": self.history,
            "seconds": self.seconds,
            "peak": self.peak,
            "memory": asdict(self.memory) if self.memory else None,
            "best_epoch": self.best_epoch,
            "best": best_checkpoint(Path(last_checkpoint(self.folder) or "")),
        }

    def restore(self, measured: dict[str, Any]) -> None:
        """Take over what :meth:`measured` noted, and the best weights."""
        load_weights(self.model, self.folder / measured["best"])
        self.history, self.seconds, self.peak = (measured[name] for name in ("history", "seconds", "peak"))
        self.memory = memory.Memory(**measured["memory"]) if measured["memory"] else None
        self.best_epoch = measured["best_epoch"]


def _less_memory(plan: Plan) -> str:
    """What takes less memory, in words."""
    steps = f"Take a smaller batch (batch_size={max(1, plan.batch_size // 2)}, it is {plan.batch_size})"
    steps += "" if plan.checkpointing else ", checkpointing=True"
    return steps + (", or method='lora'." if plan.method == "full" else ".")


def _check_precision(base: PreTrainedModel) -> None:
    """Raise LabError for a base whose weights have too few bits to be trained."""
    kinds = {str(p.dtype).removeprefix("torch.") for p in base.parameters()} - {"float32"}
    if kinds:
        needed = 4 * memory.BYTES * base.num_parameters()
        raise LabError(
            f"Full fine-tuning was asked for, but the model is stored in {', '.join(sorted(kinds))}, where small steps "
            "are rounded away: its profile is for adapters only. Train an adapter (method='lora'), or take a smaller "
            f"profile. Full training in fp32 would take {needed / 1e9:,.1f} GB for weights, gradients and Adam alone."
        )


@contextmanager
def _about_tied_weights_silent() -> Iterator[None]:
    """Weights that are tied stand in a file once; the trainer warns of the others as missing, and they are not."""
    logger = logging.getLogger("transformers.trainer")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)
