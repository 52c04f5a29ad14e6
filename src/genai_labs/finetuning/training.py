"""Fine-tuning with transformers' Seq2SeqTrainer: full or LoRA, with curves, checkpoints, and resuming after a kill.

What is set, and why: batches are padded to their own longest row and made of rows of similar length (padding is work
for nothing); padded labels are masked; bf16 autocast where the hardware has it (fp16 never: T5 overflows in it); the
best checkpoint by validation loss is what is kept.
"""

from __future__ import annotations

import copy
import hashlib
import json
import logging
import math
import shutil
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

import torch
from peft import PeftModel, set_peft_model_state_dict
from safetensors.torch import load_file
from transformers import (
    PreTrainedModel,
    PreTrainedTokenizerBase,
    PrinterCallback,
    Seq2SeqTrainingArguments,
    TrainerCallback,
    set_seed,
)
from transformers.trainer_utils import rotate_checkpoints

from genai_labs.errors import Interrupted, LabError
from genai_labs.finetuning import lora, memory
from genai_labs.finetuning.examples import FEWEST, MULTIPLES, Feature, check_size, collate
from genai_labs.finetuning.trainer import ByLength, Trainer
from genai_labs.inputs.allowed import above, between, check, whole
from genai_labs.show import display
from genai_labs.system import processes, progress, run_folder, shortage
from genai_labs.system.devices import best_device, has_bf16
from genai_labs.system.processes import process_state as here

KEPT = 2  # checkpoints: the best one and the last one
MOST_LOSS = 3.0  # a loss this many times the first one is called diverging
ALLOWED = {
    "epochs": whole(1),
    "learning_rate": above(0),
    "batch_size": whole(1),
    "rank": whole(1),
    "alpha": above(0),
    "warmup": between(0, 1),
    "dropout": between(0, 1),
    "seed": whole(0, 2**32 - 1),
}


@dataclass(frozen=True)
class Plan:
    """How to fine-tune.

    method: "full" trains every weight; "lora" adapters of ``rank``, scaled by ``alpha`` / ``rank``, on the matrices
    called ``targets`` ``within`` the whole model, its encoder or its decoder.
    learning_rate: the highest, after ``warmup`` (share of all steps), falling linearly to 0. batch_size: examples a
    step, over all processes. dropout: share of activations dropped in training (T5's own default is 0.1; drawing the
    masks takes a tenth to a quarter of the time, and short trainings do not miss it). seed: order of the rows, and the
    adapter's start. checkpointing: whether a layer's activations are computed again in the backward pass instead of
    kept (gradient checkpointing): more time, much less memory.
    """

    method: Literal["full", "lora"] = "full"
    epochs: int = 3
    learning_rate: float = 1e-3
    batch_size: int = 16
    rank: int = 4
    alpha: int = 8
    targets: tuple[str, ...] = lora.ALL_LINEAR
    within: lora.Part = "model"
    warmup: float = 0.05
    dropout: float = 0.0
    seed: int = 0
    checkpointing: bool = False

    def __post_init__(self) -> None:
        if not isinstance(self.method, str) or self.method not in ("full", "lora"):
            raise LabError(f"There is no method {self.method!r}. The methods are full and lora. Choose one of them.")
        check(self, ALLOWED)


@dataclass
class Run:
    """A fine-tuning that has ended: the model, and what was measured on the way.

    history: one row an epoch: ``epoch``, ``train_loss`` (mean of the epoch) and ``validation_loss``, nats a token.
    seconds: training and validation. peak: bytes above what was taken before. memory: bytes of weights, gradients
    and optimizer state as they were. best_epoch: whose weights the model has.
    """

    model: PreTrainedModel | PeftModel
    plan: Plan
    folder: Path
    examples: int
    history: list[dict[str, float]] = field(default_factory=list)
    seconds: float = 0.0
    peak: int = 0
    memory: memory.Memory | None = None
    best_epoch: int = 0

    @property
    def throughput(self) -> float:
        """Training examples a second, validation included."""
        return self.examples * len(self.history) / self.seconds

    def curves(self) -> display.Plot:
        """Training and validation loss over the epochs."""
        return draw_curves(self.history)

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
            "best": _best_checkpoint(Path(last_checkpoint(self.folder) or "")),
        }


def load_weights(model: PreTrainedModel | PeftModel, checkpoint: Path) -> None:
    """Put the weights of a checkpoint into a model of the same plan."""
    if isinstance(model, PeftModel):
        set_peft_model_state_dict(model, load_file(checkpoint / "adapter_model.safetensors"))
    else:  # tied weights stand in the file once
        model.load_state_dict(load_file(checkpoint / "model.safetensors"), strict=False)


def finetune(
    base: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    train: Sequence[Feature],
    validation: Sequence[Feature],
    plan: Plan,
    folder: Path,
    resume: bool = True,
    fewest: int = FEWEST,
) -> Run:
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
    _check_processes(plan)
    with run_folder.locked(folder):
        with here().main_process_first():
            if here().is_main_process:
                asked = _signature(base, plan, train, validation)
                run_folder.prepare(folder, asked, "checkpoint-*", _whole_checkpoints, resume)
                _check_disk(folder, base)
        set_seed(plan.seed)
        memory.release()  # what was generated before has left gaps
        with shortage.in_words("making room to train", _less_memory(plan)):
            model = prepare(base, plan)
        if measured := run_folder.result(folder):
            return _finished_before(measured, model, base, plan, folder, len(train))
        return _train(model, base, tokenizer, train, validation, plan, folder)


def _train(
    model: PreTrainedModel | PeftModel,
    base: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    train: Sequence[Feature],
    validation: Sequence[Feature],
    plan: Plan,
    folder: Path,
) -> Run:
    watch = Watch(plan.epochs, len(train), folder)
    trainer = make_trainer(model, tokenizer, train, validation, plan, folder, watch)
    start = time.perf_counter()
    with memory.watching() as peak, _about_tied_weights_silent():
        try:
            with (
                processes.endings_in_words(lambda: _kept(folder)),
                shortage.in_words("training", _less_memory(plan), lambda: _kept(folder)),
            ):
                trainer.train(resume_from_checkpoint=last_checkpoint(folder))
        except KeyboardInterrupt:
            raise Interrupted(_interrupted(watch, folder)) from None
        finally:
            watch.close()
            trainer.accelerator.unwrap_model(model, keep_fp32_wrapper=False)
            _set_to_rest(model, base, plan)
            memory.release()
    watch.check(folder)
    run = Run(
        model=model,
        plan=plan,
        folder=folder,
        examples=len(train),
        history=watch.history,
        seconds=watch.earlier_seconds + time.perf_counter() - start,
        peak=peak.bytes,
        memory=memory.measured(model, trainer.optimizer, watch.gradients) if trainer.optimizer else None,
        best_epoch=_best_epoch(watch.history),
    )
    if trainer.is_world_process_zero():
        run_folder.finish(folder, run.measured(), _whole_checkpoints)
    return run


def _finished_before(
    measured: dict[str, Any],
    model: PreTrainedModel | PeftModel,
    base: PreTrainedModel,
    plan: Plan,
    folder: Path,
    examples: int,
) -> Run:
    """The run that was finished in the folder, its best weights put into ``model``, which is fresh."""
    load_weights(model, folder / measured.pop("best"))
    _set_to_rest(model, base, plan)
    names = ("history", "seconds", "peak", "best_epoch")
    taken = memory.Memory(**measured["memory"]) if measured["memory"] else None
    return Run(model, plan, folder, examples, memory=taken, **{name: measured[name] for name in names})


def prepare(base: PreTrainedModel, plan: Plan) -> PreTrainedModel | PeftModel:
    """What will be trained: a full copy of the base, or an adapter on its very weights."""
    if plan.method == "lora":
        config = lora.lora_config(plan.rank, plan.alpha, plan.targets, plan.within)
        model: PreTrainedModel | PeftModel = lora.attach(base, config, seed=plan.seed)
    else:
        _check_weights(base)
        model = copy.deepcopy(base).requires_grad_(True)
    if plan.checkpointing:
        model.activation_checkpointing_enable()
    _set_dropout(model, plan.dropout)
    _set_reading(model, "eager")
    return model


def _set_reading(model: PreTrainedModel | PeftModel, attention: str) -> None:
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
    folder: Path,
    watch: Watch,
) -> Trainer:
    """The trainer with its settings."""
    pad = tokenizer.pad_token_id
    trainer = Trainer(
        model=model,
        args=arguments(plan, folder),
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
        per_device_train_batch_size=plan.batch_size // here().num_processes,  # it says so in its log; see Shares
        per_device_eval_batch_size=plan.batch_size // here().num_processes,
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
            seconds = self.earlier_seconds + time.perf_counter() - self.started
            state.log_history[-1] |= {"seconds": seconds, "gradients": self.gradients}

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
                self.curves.show_object(draw_curves(self.history))

    def close(self) -> None:
        """Take bar and curves away."""
        self.bar.close()
        self.curves.clear()

    def check(self, folder: Path) -> None:
        """Raise LabError if the loss diverged, naming the last good checkpoint."""
        if self.diverged is None:
            return
        last = last_checkpoint(folder)
        good = f"The last good checkpoint is {Path(last).name} in {folder.name}" if last else "There is no checkpoint"
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


NAMES = {"loss": "train_loss", "eval_loss": "validation_loss"}


def draw_curves(history: Sequence[dict[str, float]]) -> display.Plot:
    """Training and validation loss over the epochs."""
    curves = {
        label: [(row[name],) * 3 for row in history]
        for name, label in (("train_loss", "training"), ("validation_loss", "validation"))
    }
    return display.line_with_band([row["epoch"] for row in history], curves, "epoch", "loss (nats a token)")


def _best_epoch(history: Sequence[dict[str, float]]) -> int:
    best = min(history, key=lambda row: row["validation_loss"], default={"epoch": 0})
    return round(best["epoch"])


def _signature(
    base: PreTrainedModel, plan: Plan, train: Sequence[Feature], validation: Sequence[Feature]
) -> dict[str, Any]:
    """What must be equal for a run to go on: the plan, the examples and the weights it starts from."""
    digest = hashlib.sha256(json.dumps([list(train), list(validation)]).encode()).hexdigest()
    return {"plan": asdict(plan), "examples": len(train), "digest": digest, "base": lora.fingerprint(base)}


def last_checkpoint(folder: Path) -> str | None:
    """The newest whole checkpoint of a run; None if there is none."""
    return next((str(path) for path in reversed(_whole_checkpoints(folder))), None)


def _whole_checkpoints(folder: Path) -> list[Path]:
    """Checkpoints that were written to their end, and the best one up to them too, by step."""
    sealed = [path for path in folder.glob("checkpoint-*") if run_folder.sealed(path)]
    names = {path.name for path in sealed}
    return sorted((path for path in sealed if _best_checkpoint(path) in names), key=_steps)


def _steps(checkpoint: Path) -> int:
    return int(checkpoint.name.rsplit("-", 1)[1])


def _state(checkpoint: Path) -> dict[str, Any]:
    return run_folder.read(checkpoint / "trainer_state.json") or {}


def _best_checkpoint(checkpoint: Path) -> str:
    """The name of the best checkpoint up to this one, which may be itself."""
    return f"checkpoint-{_state(checkpoint).get('best_global_step')}"


def _interrupted(watch: Watch, folder: Path) -> str:
    """What an interruption leaves, in words."""
    here_it_was = f"Interrupted in epoch {min(len(watch.history) + 1, watch.epochs)} of {watch.epochs}."
    last = last_checkpoint(folder)
    if last is None:
        return f"{here_it_was} The first epoch was not at its end, so nothing is kept: the same cell starts anew."
    return (
        f"{here_it_was} What was trained up to the end of epoch {round(_state(Path(last))['epoch'])} is kept in the "
        f"folder {folder.name}: run the same cell (or command) again, and it goes on from there."
    )


def _kept(folder: Path) -> str:
    """What of a run is left and how to go on from there, in words."""
    last = last_checkpoint(folder)
    if last is None:
        return "There is no checkpoint yet."
    return f"The checkpoint {Path(last).name} in {folder.name} is whole: the same call goes on from there."


def _less_memory(plan: Plan) -> str:
    """What takes less memory, in words."""
    steps = f"Take a smaller batch (batch_size={max(1, plan.batch_size // 2)}, it is {plan.batch_size})"
    steps += "" if plan.checkpointing else ", checkpointing=True"
    return steps + (", or method='lora'." if plan.method == "full" else ".")


def _check_weights(base: PreTrainedModel) -> None:
    """Raise LabError for a base whose weights have too few bits to be trained."""
    kinds = {str(p.dtype).removeprefix("torch.") for p in base.parameters()} - {"float32"}
    if kinds:
        needed = 4 * memory.BYTES * base.num_parameters()
        raise LabError(
            f"Full fine-tuning was asked for, but the model is stored in {', '.join(sorted(kinds))}, where small steps "
            "are rounded away: its profile is for adapters only. Train an adapter (method='lora'), or take a smaller "
            f"profile. Full training in fp32 would take {needed / 1e9:,.1f} GB for weights, gradients and Adam alone."
        )


def _check_processes(plan: Plan) -> None:
    """Raise LabError where a batch has fewer rows than there are processes."""
    count = here().num_processes
    if plan.batch_size < count:
        raise LabError(
            f"A batch of {plan.batch_size} rows cannot be shared among {count} processes: some would never have one. "
            f"Choose a batch size of at least {count}, or start fewer processes."
        )


def _check_disk(folder: Path, base: PreTrainedModel) -> None:
    # The best checkpoint, the last one and the one being written, each with weights and two moments.
    needed = 3 * 3 * memory.BYTES * sum(p.numel() for p in base.parameters())
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise LabError(
            f"There is not enough room on the disk: checkpoints take up to {needed / 1e6:,.0f} MB, and "
            f"{free / 1e6:,.0f} MB are free where {folder.name} lies. Make room, or name a folder on another disk."
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


def _set_to_rest(model: PreTrainedModel | PeftModel, base: PreTrainedModel, plan: Plan) -> None:
    """Undo what training leaves on a model: bf16 autocast around forward, checkpointing, no cache, training mode."""
    if plan.checkpointing:
        model.activation_checkpointing_disable()
    model.__dict__.pop("forward", None)  # accelerate leaves a copy of the method on the model
    model.config.use_cache = True
    model.eval()
    _set_reading(model, base.get_encoder().config._attn_implementation)
