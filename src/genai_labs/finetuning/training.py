"""Fine-tuning, full or LoRA: epochs of steps, with curves, checkpoints, and resuming after a kill.

What is set, and why: batches are padded to their own longest row and made of rows of similar length (padding is work
for nothing); padded labels are masked; the best checkpoint by validation loss is what is kept.

To be read from top to bottom: :func:`finetune`, the model that it prepares, the training, the result. What happens in a
step stands in ``loop.py``, going on after an interruption in ``checkpoints.py``, what is said of its loss in
``watch.py``.
"""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import torch
from peft import PeftModel
from transformers import PreTrainedModel, PreTrainedTokenizerBase, set_seed

from genai_labs.errors import Interrupted, LabError
from genai_labs.finetuning import lora, memory, soft_prompts
from genai_labs.finetuning.checkpoints import (
    check_room_for_checkpoints,
    last_checkpoint,
    load,
    load_weights,
    make_ready,
    read_state,
    save,
    what_interruption_leaves,
    what_is_kept,
    whole_checkpoints,
)
from genai_labs.finetuning.examples import FEWEST, Feature, check_size
from genai_labs.finetuning.loop import Weights, mean_loss, rate_factor, train_step
from genai_labs.finetuning.plan import Plan
from genai_labs.finetuning.watch import check_loss, loss_curves
from genai_labs.inputs import batches
from genai_labs.loading import shortage
from genai_labs.show import display
from genai_labs.system import processes, progress, run_folder
from genai_labs.system.devices import best_device, release
from genai_labs.system.processes import process_state


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
        release()  # what was generated before has left gaps
        with shortage.in_words("making room to train", _less_memory(plan)):
            run = FineTuning(model_to_train(base, plan), plan, folder, len(train))
        if finished := run_folder.result(folder):
            run.restore(finished)
        else:
            check_room_for_checkpoints(folder, run.model)
            _train(run, tokenizer.pad_token_id, train, validation)
        _set_to_rest(run.model, base, plan)
        return run


def model_to_train(base: PreTrainedModel, plan: Plan) -> PreTrainedModel | PeftModel:
    """What will be trained: a full copy of the base, or an adapter on its very weights."""
    if plan.method == "lora":
        config = lora.lora_config(plan.rank, plan.alpha, plan.targets, plan.within)
        model: PreTrainedModel | PeftModel = lora.attach(base, config, seed=plan.seed)
    elif plan.method == "prompt":
        model = soft_prompts.attach_prompt(base, plan.virtual_tokens, plan.seed)
    else:
        _check_precision(base)
        model = copy.deepcopy(base).to(best_device()).requires_grad_(True)
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


def _train(run: FineTuning, pad: int, train: Sequence[Feature], validation: Sequence[Feature]) -> None:
    """Train, from the last checkpoint if there is one, and note in ``run`` what was measured."""

    kept = partial(what_is_kept, run.folder)
    with memory.watching() as peak:
        try:
            with processes.endings_in_words(kept), shortage.in_words("training", _less_memory(run.plan), kept):
                _train_epochs(run, pad, train, validation)
        except KeyboardInterrupt:
            epoch = min(len(run.history) + 1, run.plan.epochs)
            raise Interrupted(what_interruption_leaves(run.folder, epoch, run.plan.epochs)) from None
        finally:
            release()
    run.peak = peak.bytes
    if process_state().is_main_process:
        run_folder.finish(run.folder, run.measured(), whole_checkpoints)


def _train_epochs(run: FineTuning, pad: int, train: Sequence[Feature], validation: Sequence[Feature]) -> None:
    """The epochs that are left, after each the validation loss and a checkpoint; at the end, the best weights."""
    plan, steps = run.plan, math.ceil(len(train) / run.plan.batch_size)
    weights = Weights(run.model)
    start = [weight.detach().clone() for weight in weights.trained] if plan.pull else []
    optimizer = torch.optim.AdamW(weights.trained, plan.learning_rate, weight_decay=0.0, fused=True)
    state: dict[str, Any] = {"history": [], "seconds": 0.0, "gradients": 0}
    if last := last_checkpoint(run.folder):
        state = load(last, run.model, optimizer)
    run.history, weights.gradients = state["history"], state["gradients"]
    weights.refresh()
    if plan.pull:
        pulled_back(optimizer, start, plan.pull)
    started, done = time.perf_counter() - state["seconds"], len(run.history)
    what = f"training on {run.examples} examples, {plan.epochs} epochs"
    shown = process_state().is_main_process
    with closing(progress.Watch(steps * plan.epochs, what, steps * done, shown)) as watch:
        for epoch in range(done, plan.epochs):
            with weights.in_use():
                train_loss = one_epoch(run, weights, optimizer, train, pad, epoch, watch.bar.update)
                validation_loss = mean_loss(run.model, validation, plan.batch_size, pad)
            release()
            row = {"epoch": epoch + 1, "train_loss": train_loss, "validation_loss": validation_loss}
            check_loss([*run.history, row], run.folder, last_checkpoint(run.folder))
            run.history.append(row)
            run.seconds = time.perf_counter() - started
            best = f"checkpoint-{steps * best_epoch(run.history)}"
            state = {"history": run.history, "seconds": run.seconds, "gradients": weights.gradients, "best": best}
            with process_state().main_process_first():
                if process_state().is_main_process:
                    save(run.folder / f"checkpoint-{steps * (epoch + 1)}", run.model, optimizer, state)
            watch.show({name: f"{row[name]:.3f}" for name in ("train_loss", "validation_loss")}, run.curves)
    run.seconds, run.best_epoch = state["seconds"], best_epoch(run.history)
    run.memory = memory.measured(run.model, optimizer, weights.gradients)
    load_weights(run.model, run.folder / state["best"])


def one_epoch(
    run: FineTuning,
    weights: Weights,
    optimizer: torch.optim.Optimizer,
    train: Sequence[Feature],
    pad: int,
    epoch: int,
    stepped: Callable[[], object],
) -> float:
    """A step on each batch; returns the mean loss of the steps. ``epoch`` is counted from 0.

    The order of the batches and the dropped activations depend on seed and epoch alone, so that a run that goes on
    after an interruption ends as an unbroken one.
    """
    plan, total = run.plan, 0.0
    run.model.train()
    order = batches.shuffled([len(row["input_ids"]) for row in train], plan.batch_size, f"{plan.seed}-{epoch}")
    with processes.random_numbers(plan.seed * 100_003 + epoch):
        for number, places in enumerate(order, epoch * len(order)):
            factor = rate_factor(number, len(order) * plan.epochs, plan.warmup)
            total += train_step(run.model, weights, optimizer, [train[place] for place in places], pad, factor)
            if not math.isfinite(total):
                break
            stepped()
    return total / len(order)


def pulled_back(optimizer: torch.optim.Optimizer, start: Sequence[torch.Tensor], pull: float) -> None:
    """From now on, after each step, weights go back towards ``start`` by ``pull`` times the learning rate."""

    @torch.no_grad()
    def go_back(moved: torch.optim.Optimizer, *_: Any) -> None:
        (group,) = moved.param_groups
        for weight, origin in zip(group["params"], start, strict=True):
            weight.lerp_(origin, min(1.0, group["lr"] * pull))

    optimizer.register_step_post_hook(go_back)


def best_epoch(history: Sequence[dict[str, float]]) -> int:
    """The one with the lowest validation loss, the first of equals."""
    return round(min(history, key=lambda row: row["validation_loss"])["epoch"])


def _set_to_rest(model: PreTrainedModel | PeftModel, base: PreTrainedModel, plan: Plan) -> None:
    """Undo what training leaves on a model: checkpointing, training mode, the encoder's attention."""
    if plan.checkpointing:
        model.activation_checkpointing_disable()
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
        if checkpoint is None or run_folder.damage(checkpoint):
            raise LabError(
                f"There is no checkpoint left in {self.folder.name}: it was deleted or damaged. Run the training again."
            )
        load_weights(model, checkpoint)
        return model

    def measured(self) -> dict[str, Any]:
        """What is noted beside the checkpoints, so that the run can be handed out again."""
        return {
            "history": self.history,
            "seconds": self.seconds,
            "peak": self.peak,
            "memory": asdict(self.memory) if self.memory else None,
            "best_epoch": self.best_epoch,
            "best": read_state(last_checkpoint(self.folder) or self.folder)["best"],
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


def check_processes(batch_size: int) -> None:
    """Raise LabError where a batch has fewer rows than there are processes."""
    count = process_state().num_processes
    if batch_size < count:
        raise LabError(
            f"A batch of {batch_size} rows cannot be shared among {count} processes: some would never have one. "
            f"Choose a batch size of at least {count}, or start fewer processes."
        )
