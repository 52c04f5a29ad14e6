"""Pre-train the models that read: first on bare text, then on instructions; on a GPU where there is one, else on CPUs.

``python -m embedded_world.pretraining.reader --minutes 8 --work build/reader``. Progress is measured by the clock, so
that learning rates have fallen when the time is up, whatever the machine; an interrupted run goes on from its
checkpoint.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from tqdm.auto import tqdm
from transformers import T5ForConditionalGeneration

from embedded_world.pretraining import model as models
from embedded_world.pretraining.forward import Halves, target_losses
from embedded_world.pretraining.keeping import resume, save_checkpoint
from embedded_world.pretraining.optimizers import StackedMuon
from embedded_world.pretraining.streams import Packed, Stream
from embedded_world.pretraining.tokenizer import WINDOW, saved_tokenizer
from genai_labs.system.devices import cpu_has_bf16

SEED = 0
CHECKPOINT = 120.0  # seconds between checkpoints


@dataclass(frozen=True)
class Phase:
    """One mixture: its share of the time, and the learning rates' factor at its start and end.

    hold: share of the phase during which the rate stays, before it falls in a straight line. dropout: of what each
    layer adds. adamw: learning rate of AdamW, which then moves all weights; Muon and AdamW together where it is 0.
    """

    mixture: str
    share: float
    begin: float
    end: float
    hold: float
    dropout: float = 0.0
    adamw: float = 0.0


PHASES = (
    Phase("text", 0.12, 1.0, 0.5, 0.4),
    Phase("instructions", 0.8, 0.9, 0.01, 0.1),
    Phase("polish", 0.08, 1.0, 0.03, 0.0, dropout=0.12, adamw=3e-4),  # Muon learns these dialogues by heart
)
MUON_RATE, EMBEDDING_RATE, BIAS_RATE = 3e-3, 6e-3, 1e-2
DECAY = 0.1  # of matrices, without which attention scores grow until they are no longer numbers
WARMUP = 60  # steps
LOOK = 20  # steps between looks at the clock; ten times as many between lines of the log, whose last one is at the end


def optimizers(model: T5ForConditionalGeneration, adamw: float = 0.0) -> list[torch.optim.Optimizer]:
    """Muon for the layers' matrices, AdamW for embeddings, relative biases and norms; or AdamW for all at this rate."""
    if adamw:
        return [torch.optim.AdamW(model.parameters(), lr=adamw, betas=(0.9, 0.98), weight_decay=0.02)]
    named = list(model.named_parameters())
    embedding = [p for n, p in named if n.startswith("shared")]
    biases = [p for n, p in named if "relative_attention_bias" in n]
    norms = [p for n, p in named if p.ndim == 1]
    taken = {id(p) for p in (*embedding, *biases, *norms)}
    matrices = [p for _, p in named if id(p) not in taken]
    others = [
        {"params": embedding, "lr": EMBEDDING_RATE},
        {"params": biases, "lr": BIAS_RATE},
        {"params": norms, "lr": MUON_RATE},
    ]
    return [
        StackedMuon(matrices, MUON_RATE, weight_decay=DECAY),
        torch.optim.AdamW(others, betas=(0.9, 0.98), weight_decay=0.0, fused=embedding[0].is_cuda),
    ]


def rate(phase: Phase, done: float) -> float:
    """The factor of all learning rates when the share ``done`` of a phase is over."""
    fallen = max(0.0, done - phase.hold) / (1 - phase.hold)
    return phase.begin + (phase.end - phase.begin) * min(1.0, fallen)


class Losses:
    """Mean loss of each task since the last reading, kept on the device until it is read."""

    def __init__(self, device: torch.device) -> None:
        self.names: dict[str, int] = {}
        self.sums = torch.zeros(64, 2, device=device)

    def add(self, tasks: Sequence[str], losses: torch.Tensor, rows: torch.Tensor) -> None:
        """losses: [labels]. rows: [labels], the example of each."""
        numbers = [self.names.setdefault(task, len(self.names)) for task in tasks]
        of_row = torch.tensor(numbers).to(losses.device, non_blocking=True)
        both = torch.stack([losses.detach(), torch.ones_like(losses)], 1)
        self.sums.index_add_(0, of_row[rows], both)

    def read(self) -> dict[str, float]:
        """Mean loss of each task in nats a token; begins anew."""
        sums = self.sums.tolist()
        self.sums.zero_()
        return {name: round(sums[i][0] / sums[i][1], 4) for name, i in self.names.items() if sums[i][1]}


class Guard:
    """Goes on where gradients are no longer numbers: the step is left out; after some in a row, back to known weights.

    slower: factor of all learning rates, halved at each return.
    """

    MOST_IN_A_ROW, MOST_RETURNS = 5, 6

    def __init__(self, model: T5ForConditionalGeneration) -> None:
        self._weights = list(model.parameters())
        self._known = [weight.detach().clone() for weight in self._weights]
        self.stumbles = self._in_a_row = self._returns = 0
        self._last = -1
        self.slower = 1.0

    def remember(self) -> None:
        """Keep the weights as they are, if they are numbers."""
        if all(bool(torch.isfinite(weight).all()) for weight in self._weights):
            torch._foreach_copy_(self._known, [weight.detach() for weight in self._weights])

    def stumble(self, moving: Sequence[torch.optim.Optimizer], step: int) -> None:
        """Forget the gradients; return to the weights kept last where this happens again and again."""
        self._in_a_row = self._in_a_row + 1 if step == self._last else 1
        self._last, self.stumbles = step, self.stumbles + 1
        for weight in self._weights:
            weight.grad = None
        if self._in_a_row < self.MOST_IN_A_ROW:
            return
        self._in_a_row, self._returns, self.slower = 0, self._returns + 1, self.slower / 2
        if self._returns > self.MOST_RETURNS:
            raise FloatingPointError(f"the gradients are no longer numbers at step {step}, at any learning rate tried")
        with torch.no_grad():
            torch._foreach_copy_(self._weights, self._known)
        for optimizer in moving:
            optimizer.state.clear()


def on_device(packed: Packed, device: torch.device) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Sources [B, S] and targets [B, T], padded with 0, and the flat places of the targets that count."""
    places = torch.from_numpy(np.flatnonzero(packed.targets))
    ids, targets = (torch.from_numpy(x).to(device, non_blocking=True).long() for x in (packed.sources, packed.targets))
    return ids, targets, places.to(device, non_blocking=True)


def stage_of(work: Path) -> int:
    """The phase in which the checkpoint of ``work`` stands; 0 without one."""
    path = work / "checkpoint.safetensors"
    if not path.exists():
        return 0
    with safe_open(path, "pt") as file:
        return int(json.loads(file.metadata()["progress"])["stage"])


def save_halved(model: T5ForConditionalGeneration, path: Path) -> None:
    """Write the weights in fp16, in one move."""
    halved = {n: p.detach().half().cpu().contiguous() for n, p in model.named_parameters()}
    save_file(halved, path.with_suffix(".tmp"))
    path.with_suffix(".tmp").replace(path)


def pretrain_reader(
    work: Path,
    minutes: float,
    shape: models.ModelShape = models.READS,
    tokens: int = 16_384,
    batches: int = 3,
    processes: int = 1,
    phases: Sequence[Phase] = PHASES,
    seed: int = SEED,
    start: Path | None = None,
    steps: int = 0,
    prepare: Callable[[], None] | None = None,
) -> T5ForConditionalGeneration:
    """Train for ``minutes`` in all; ``work`` holds the tokenizer and keeps checkpoint, log and each phase's weights.

    tokens: of sources in a batch. batches: in an optimizer step. start: weights in fp16 to begin with. steps: so many
    optimizer steps instead of minutes, where it is not 0. prepare: called first in each process that makes batches.
    """
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    tokenizer = saved_tokenizer(work / "tokenizer")
    stream = Stream([p.mixture for p in phases], str(work / "tokenizer"), tokens, processes, str(seed), prepare)
    model = models.new_model(len(tokenizer), WINDOW, seed, shape)
    if start is not None:
        weights = load_file(start)
        with torch.no_grad():
            for name, parameter in model.named_parameters():
                parameter.copy_(weights[name])
    model.to(device)
    model.train()
    of_phase = [optimizers(model, phase.adamw) for phase in phases]
    halves = Halves(model, torch.bfloat16 if device.type == "cuda" or cpu_has_bf16() else torch.float32)
    rates_of = [[[group["lr"] for group in o.param_groups] for o in moving] for moving in of_phase]
    progress = resume(work, model, of_phase[min(stage_of(work), len(phases) - 1)])
    halves.refresh()
    losses, guard = Losses(device), Guard(model)
    log = (work / "log.jsonl").open("a", encoding="utf-8")
    limit, saved = (steps or minutes * 60), time.monotonic()

    def spent() -> float:
        """Of ``limit``: steps or seconds."""
        return progress.step if steps else progress.seconds

    starts = [limit * sum(p.share for p in phases[:i]) for i in range(len(phases) + 1)]
    unit = "step" if steps else "s"
    with tqdm(total=round(limit), initial=round(spent()), unit=unit, desc="pre-training") as bar:
        stream.begin(progress.stage)
        last = time.monotonic() if progress.seconds else 0.0
        while progress.stage < len(phases):
            phase, moving, rates = phases[progress.stage], of_phase[progress.stage], rates_of[progress.stage]
            done = (spent() - starts[progress.stage]) / (limit * phase.share)
            factor = rate(phase, min(1.0, done)) * min(1.0, (progress.step + 1) / WARMUP)
            packs = [stream.next() for _ in range(batches)]
            total = sum(int((p.targets != 0).sum()) for p in packs)
            for packed in packs:
                ids, targets, places = on_device(packed, device)
                each = target_losses(halves.model, ids, targets, places, phase.dropout)
                (each.sum() / total).backward()
                losses.add(packed.tasks, each, places // targets.shape[1])
                progress.examples += len(packed.tasks)
            halves.hand_over()
            norm = torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            if not math.isfinite(norm):
                guard.stumble(moving, progress.step)
                halves.refresh()
                continue
            for optimizer, own in zip(moving, rates, strict=True):
                for group, each_rate in zip(optimizer.param_groups, own, strict=True):
                    group["lr"] = each_rate * factor * guard.slower
                optimizer.step()
                optimizer.zero_grad(set_to_none=False)
            halves.refresh()
            progress.step += 1
            if progress.step % LOOK == 0:
                if device.type == "cuda":
                    torch.cuda.synchronize()
                now = time.monotonic()
                progress.seconds += now - last if last else 0.0  # the clock starts with the first batches
                bar.update(round(spent()) - bar.n)
                last = now
                if done > 0.9 and progress.stage + 1 < len(phases):
                    stream.prepare(progress.stage + 1)
            ended = spent() >= starts[progress.stage + 1]
            if progress.step % (10 * LOOK) == 0 or (ended and progress.stage + 1 == len(phases)):
                row = {"phase": phase.mixture, **asdict(progress), "rate": factor, "loss": losses.read()}
                row |= {"new": stream.new, "again": stream.again, "stumbles": guard.stumbles, "slower": guard.slower}
                guard.remember()
                log.write(json.dumps(row) + "\n")
                log.flush()
            if ended:
                save_halved(model, work / f"{phase.mixture}.safetensors")
                progress.stage += 1
                if progress.stage < len(phases):
                    stream.begin(progress.stage)
            if time.monotonic() - saved > CHECKPOINT:
                save_checkpoint(work, model, of_phase[min(progress.stage, len(phases) - 1)], progress)
                save_halved(model, work / "latest.safetensors")
                saved = time.monotonic()
    stream.close()
    save_checkpoint(work, model, of_phase[-1], progress)
    return model


def main(argv: Sequence[str] | None = None) -> int:
    """Train by the command line."""
    parser = argparse.ArgumentParser(description="Pre-train the models that read.")
    parser.add_argument(
        "--work", type=Path, required=True, help="folder with the tokenizer, for checkpoints and weights"
    )
    parser.add_argument("--minutes", type=float, default=360.0, help="of training, all together (default: 360)")
    parser.add_argument("--processes", type=int, default=max(1, (os.cpu_count() or 2) - 1), help="that make batches")
    parser.add_argument("--tokens", type=int, default=4096, help="source tokens in a batch (default: 4096)")
    parser.add_argument("--batches", type=int, default=3, help="batches in an optimizer step (default: 3)")
    parser.add_argument("--shape", default="256,8,512,4,3", help="width, heads, inner width, encoder, decoder layers")
    parser.add_argument("--seed", type=int, default=SEED, help="of the first weights and the examples (default: 0)")
    args = parser.parse_args(argv)
    shape = models.ModelShape(*map(int, args.shape.split(",")))
    pretrain_reader(args.work, args.minutes, shape, args.tokens, args.batches, args.processes, seed=args.seed)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
