"""Pre-train the embedded T5: Muon for matrices, AdamW for the rest, bf16 autocast where the CPU has it, resumable."""

from __future__ import annotations

import json
import math
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from tqdm.auto import tqdm
from transformers import PreTrainedTokenizerFast, T5ForConditionalGeneration

from embedded_world.pretraining.batches import POOL, Batch, pool_of_steps
from embedded_world.pretraining.keeping import Progress, resume, save_checkpoint
from embedded_world.pretraining.optimizers import muon_and_adamw
from genai_labs.finetuning import loop
from genai_labs.system.devices import cpu_has_bf16


@dataclass(frozen=True)
class Stage:
    """One stage of pre-training."""

    stage: int
    pools: int
    scale: float  # of all learning rates
    tokens: int = 6400  # of sources, a step
    warmup: int = 40  # steps
    decay_from: float = 0.5  # share of the pools after which the learning rates fall
    floor: float = 0.02  # share of the learning rates that is left at the end


RECIPE = (
    Stage(0, pools=6, scale=1.0, tokens=3200, decay_from=1.0),
    Stage(1, pools=56, scale=1.0, warmup=1, decay_from=1.0),
    Stage(2, pools=80, scale=0.9, warmup=1, decay_from=0.1),
)
MUON_RATE, EMBEDDING_RATE, BIAS_RATE = 4e-3, 1.2e-2, 2e-2


def make_optimizers(model: T5ForConditionalGeneration) -> list[torch.optim.Optimizer]:
    """Muon for weight matrices; AdamW for embeddings, relative biases and norms, each at its own rate."""
    rates = {"relative_attention_bias": BIAS_RATE, "shared": EMBEDDING_RATE, "": MUON_RATE}
    return muon_and_adamw(model, MUON_RATE, rates)


def stage_rate(stage: Stage, step: int, done: float) -> float:
    """Learning-rate factor: linear warm-up, flat, then linear decay from ``decay_from`` to ``floor``."""
    warm = min(1.0, (step + 1) / stage.warmup)
    decay = (
        1.0 if done < stage.decay_from else 1 - (1 - stage.floor) * (done - stage.decay_from) / (1 - stage.decay_from)
    )
    return stage.scale * warm * decay


def row_losses(model: T5ForConditionalGeneration, batch: Batch, bf16: bool) -> torch.Tensor:
    """Cross-entropy of every target token, [examples, target length]; 0 where the label is masked."""
    with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
        logits = model(
            input_ids=batch.input_ids,
            attention_mask=batch.attention_mask,
            labels=batch.labels,
            use_cache=False,
        ).logits
    return torch.nn.functional.cross_entropy(logits.float().transpose(1, 2), batch.labels, reduction="none")


def pretrain(
    model: T5ForConditionalGeneration,
    tokenizer: PreTrainedTokenizerFast,
    folder: Path,
    recipe: tuple[Stage, ...] = RECIPE,
    seed: int = 0,
    after_pool: Callable[[Progress], None] | None = None,
) -> list[dict[str, Any]]:
    """Train ``model`` in place by ``recipe``; returns the log, one row a pool: loss of each task in nats a token.

    ``folder`` keeps the newest checkpoint and the log; if it holds a checkpoint, training goes on from there.
    """
    folder.mkdir(parents=True, exist_ok=True)
    optimizer_list = make_optimizers(model)
    progress = resume(folder, model, optimizer_list)
    log = _read_log(folder, progress)
    bf16 = cpu_has_bf16()
    total = sum(r.pools for r in recipe)
    done_pools = sum(r.pools for r in recipe[: progress.stage]) + progress.pool
    model.train()
    with tqdm(total=total, initial=done_pools, desc="pre-training", unit="pool") as bar:
        while progress.stage < len(recipe):
            stage = recipe[progress.stage]
            if progress.pool == stage.pools:
                progress.stage, progress.pool, progress.step = progress.stage + 1, 0, 0
                continue
            start = time.perf_counter()
            losses = _train_pool(model, tokenizer, optimizer_list, stage, progress, seed, bf16)
            progress.pool += 1
            progress.examples += POOL
            progress.seconds += time.perf_counter() - start
            log.append({"stage": stage.stage, **asdict(progress), "loss": losses})
            (folder / "log.jsonl").open("a", encoding="utf-8").write(json.dumps(log[-1]) + "\n")
            save_checkpoint(folder, model, optimizer_list, progress)
            bar.update()
            bar.set_postfix(
                {k: f"{v:.2f}" for k, v in losses.items() if k in ("summarize", "summarize, 1 shown", "question")}
            )
            if after_pool:
                after_pool(progress)
    return log


def _train_pool(
    model: T5ForConditionalGeneration,
    tokenizer: PreTrainedTokenizerFast,
    optimizer_list: list[torch.optim.Optimizer],
    stage: Stage,
    progress: Progress,
    seed: int,
    bf16: bool,
) -> dict[str, float]:
    long_prompts = stage.stage > 1 or progress.pool >= stage.pools / 2
    steps = pool_of_steps(stage.stage, progress.pool, seed, tokenizer, stage.tokens, long_prompts)
    sums: dict[str, float] = defaultdict(float)
    counts: dict[str, int] = defaultdict(int)

    def losses(batches: Sequence[Batch]) -> Iterator[torch.Tensor]:
        total = sum(int((batch.labels >= 0).sum()) for batch in batches)
        for batch in batches:
            each = row_losses(model, batch, bf16)
            per_example = each.detach().sum(1).tolist()
            for task, loss, tokens in zip(batch.tasks, per_example, (batch.labels >= 0).sum(1).tolist(), strict=True):
                sums[task] += loss
                counts[task] += tokens
            yield each.sum() / total

    for i, batches in enumerate(steps):
        factor = stage_rate(stage, progress.step, (progress.pool + i / len(steps)) / stage.pools)
        if not math.isfinite(loop.step(losses(batches), list(model.parameters()), optimizer_list, factor)):
            raise FloatingPointError(f"the loss is no longer a number at step {progress.step}")
        model.zero_grad()
        progress.step += 1
    return {task: round(sums[task] / counts[task], 4) for task in sorted(sums)}


def _read_log(folder: Path, progress: Progress) -> list[dict[str, Any]]:
    path = folder / "log.jsonl"
    lines = [json.loads(x) for x in path.read_text(encoding="utf-8").splitlines()] if path.exists() else []
    kept = [row for row in lines if row["examples"] <= progress.examples]
    path.write_text("".join(json.dumps(row) + "\n" for row in kept))
    return kept
