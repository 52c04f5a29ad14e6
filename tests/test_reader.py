"""The long pre-training: its forward pass, its optimizer, its batches, and going on after an interruption."""

import json
import random
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from embedded_world.corpus import reading
from embedded_world.pretraining import model, reader, streams, tokenizer
from embedded_world.pretraining.forward import Halves, target_losses
from embedded_world.pretraining.optimizers import StackedMuon

TINY = model.ModelShape(32, 4, 48, 2, 2)


def test_the_forward_pass_is_that_of_transformers() -> None:
    t5 = model.new_model(200, 64, 0, TINY)
    generator = torch.Generator().manual_seed(1)
    ids = torch.randint(3, 200, (3, 16), generator=generator)
    targets = torch.randint(3, 200, (3, 8), generator=generator)
    ids[1, 9:], targets[2, 5:] = 0, 0
    labels = targets.masked_fill(targets == 0, -100)
    ours = target_losses(t5, ids, targets, targets.flatten().nonzero()[:, 0])
    ours.mean().backward()
    gradients = {name: p.grad.clone() for name, p in t5.named_parameters() if p.grad is not None}
    t5.zero_grad()
    logits = t5(input_ids=ids, attention_mask=(ids != 0).long(), labels=labels).logits
    theirs = torch.nn.functional.cross_entropy(logits.transpose(1, 2), labels, reduction="none")[labels >= 0]
    theirs.mean().backward()
    torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-5)
    for name, parameter in t5.named_parameters():
        torch.testing.assert_close(gradients[name], parameter.grad, atol=1e-5, rtol=1e-4)


def test_dropout_changes_the_loss_and_none_does_not() -> None:
    t5 = model.new_model(200, 64, 0, TINY)
    ids, targets, places = torch.randint(3, 200, (3, 16)), torch.randint(3, 200, (3, 8)), torch.arange(24)
    plain = target_losses(t5, ids, targets, places)
    assert torch.equal(plain, target_losses(t5, ids, targets, places))
    assert not torch.equal(plain, target_losses(t5, ids, targets, places, dropout=0.3))


def test_halves_compute_with_copies_and_move_the_weights() -> None:
    t5 = model.new_model(200, 64, 0, TINY)
    halves = Halves(t5, torch.bfloat16)
    ids, targets = torch.randint(3, 200, (3, 16)), torch.randint(3, 200, (3, 8))
    places = torch.arange(24)
    whole, half = target_losses(t5, ids, targets, places), target_losses(halves.model, ids, targets, places)
    torch.testing.assert_close(whole, half, atol=0.15, rtol=0.02)
    assert halves.model.shared.weight is t5.shared.weight
    whole.mean().backward()
    wanted = [p.grad.clone() for p in t5.parameters() if p.grad is not None]
    t5.zero_grad()
    half.mean().backward()
    halves.hand_over()
    for parameter, gradient in zip(t5.parameters(), wanted, strict=True):
        assert parameter.grad is not None
        assert (parameter.grad - gradient).norm() < 0.1 * gradient.norm() + 1e-6
    with torch.no_grad():
        for parameter in t5.parameters():
            parameter.mul_(0.5)
    halves.refresh()
    torch.testing.assert_close(
        target_losses(t5, ids, targets, places), target_losses(halves.model, ids, targets, places), atol=0.1, rtol=0.02
    )


def test_stacked_muon_moves_matrices_as_torch_does() -> None:
    generator = torch.Generator().manual_seed(0)
    shapes = [(8, 8), (8, 8), (12, 8), (8, 12)]
    ours = [torch.nn.Parameter(torch.randn(s, generator=generator)) for s in shapes]
    theirs = [torch.nn.Parameter(p.detach().clone()) for p in ours]
    stacked = StackedMuon(ours, 1e-2)
    single = torch.optim.Muon(theirs, lr=1e-2, weight_decay=0.01, ns_steps=4, adjust_lr_fn="match_rms_adamw")
    before = [p.detach().clone() for p in ours]
    for _ in range(3):
        for one, other in zip(ours, theirs, strict=True):
            one.grad = torch.randn(one.shape, generator=generator)
            other.grad = one.grad.clone()
        stacked.step()
        single.step()
    for start, one, other in zip(before, ours, theirs, strict=True):
        moved = (one - start).norm()
        assert (one - other).norm() < 0.05 * moved  # bf16 rounds otherwise in a stack


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a small tokenizer."""
    folder = tmp_path_factory.mktemp("reader")
    rng = random.Random(0)
    texts = [reading.draw_example("instructions", rng).source for _ in range(150)]
    tokenizer.train_tokenizer(texts, 600, tokenizer.SPOKEN_PIECES).save_pretrained(folder / "tokenizer")
    return folder


def test_batches_have_one_of_few_shapes_and_lose_no_token(work: Path) -> None:
    words = tokenizer.saved_tokenizer(work / "tokenizer")
    packer, rng = streams.Packer(words, 2048), random.Random(1)
    packed = [batch for _ in range(3) for batch in packer.draw("instructions", rng)]
    assert packed
    for batch in packed:
        assert batch.sources.shape[1] in streams.SOURCE_LENGTHS
        assert batch.targets.shape[1] in streams.TARGET_LENGTHS
        assert len(batch.tasks) == len(batch.sources) == len(batch.targets)
        for row in (*batch.sources, *batch.targets):
            assert row[np.count_nonzero(row) - 1] == words.eos_token_id  # nothing was cut off
            assert not row[np.count_nonzero(row) :].any()


def test_apostrophes_begin_a_piece_of_their_own(work: Path) -> None:
    words = tokenizer.saved_tokenizer(work / "tokenizer")
    assert words.decode(words("#Person1#'s, don't")["input_ids"], skip_special_tokens=True) == "#Person1#'s, don't"
    assert not any("'" in piece.strip("▁'") for piece in words.get_vocab() if "#" not in piece)


def test_rates_fall_within_a_phase() -> None:
    phase = reader.Phase("text", 0.5, 1.0, 0.1, 0.4)
    assert reader.rate(phase, 0.0) == reader.rate(phase, 0.4) == 1.0
    assert reader.rate(phase, 0.7) == pytest.approx(0.55)
    assert reader.rate(phase, 1.0) == pytest.approx(0.1)


def test_a_run_leaves_the_weights_of_each_phase_and_goes_on_where_it_stopped(
    work: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = iter(range(100_000))
    monkeypatch.setattr(reader, "time", SimpleNamespace(monotonic=lambda: float(next(clock))))  # a second a reading
    monkeypatch.setattr(reader, "LOOK", 1)
    phases = (reader.Phase("text", 0.5, 1.0, 0.5, 0.5), reader.Phase("instructions", 0.5, 1.0, 0.0, 0.5))
    settings: dict[str, Any] = {"shape": TINY, "tokens": 512, "batches": 1, "processes": 1}
    reader.pretrain_reader(work, 1.0, phases=phases[:1], **settings)
    assert (work / "text.safetensors").exists()
    first = [json.loads(line) for line in (work / "log.jsonl").read_text().splitlines()]
    assert {row["phase"] for row in first} == {"text"}
    # Half of the time is over, with the first phase: the same folder goes on with the second, from the last step.
    trained = reader.pretrain_reader(work, 1.0, phases=phases, **settings)
    rows = [json.loads(line) for line in (work / "log.jsonl").read_text().splitlines()]
    later = rows[len(first) :]
    assert {row["phase"] for row in later} == {"instructions"}
    assert later[0]["step"] > first[-1]["step"]
    assert later[0]["examples"] > first[-1]["examples"]
    assert later[0]["seconds"] > 30
    kept = load_file(work / "instructions.safetensors")
    assert all(torch.equal(kept[name], p.detach().half()) for name, p in trained.named_parameters())


def test_batches_made_ahead_wait_for_their_phase_and_old_ones_are_read_again(work: Path) -> None:
    stream = streams.Stream(["text", "instructions"], str(work / "tokenizer"), 512, 1, "0")
    try:
        stream.begin(0)
        first = [stream.next() for _ in range(30)]
        stream.prepare(1)
        for _ in range(200):
            assert set(stream.next().tasks) <= {"span corruption", "next turn"}  # also while the others are made
        assert stream.new + stream.again == 230
        stream.begin(1)
        later = [stream.next() for _ in range(5)]
        assert {task for batch in later for task in batch.tasks} - {"span corruption", "next turn"}
        assert len(first) == 30
    finally:
        stream.close()


def _stumble_often(guard: reader.Guard, moving: list[torch.optim.Optimizer]) -> None:
    for _ in range(guard.MOST_IN_A_ROW):
        guard.stumble(moving, step=30)


def test_gradients_that_are_no_numbers_lead_back_to_known_weights() -> None:
    t5 = model.new_model(60, 16, 0, TINY)
    guard, moving = reader.Guard(t5), reader.optimizers(t5)
    start = [p.detach().clone() for p in t5.parameters()]
    with torch.no_grad():
        for parameter in t5.parameters():
            parameter.fill_(float("nan"))
    guard.remember()  # which are not worth keeping
    for _ in range(guard.MOST_IN_A_ROW):
        guard.stumble(moving, step=7)
    assert guard.slower == 0.5
    assert all(torch.equal(p, kept) for p, kept in zip(t5.parameters(), start, strict=True))
    for step in range(20):  # one now and then is only left out
        guard.stumble(moving, step)
    assert guard.slower == 0.5
    returns = guard.MOST_RETURNS * guard.MOST_IN_A_ROW
    for _ in range(returns - guard.MOST_IN_A_ROW):
        guard.stumble(moving, step=30)
    with pytest.raises(FloatingPointError, match="at any learning rate"):
        _stumble_often(guard, moving)
