"""Fine-tuning: what a step reads, what it moves, what it leaves alone, and a run that is killed and goes on."""

import gc
import json
import os
import shutil
import signal
import subprocess
import sys
import time
import weakref
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from transformers import AutoConfig, PreTrainedModel, PreTrainedTokenizerBase, T5ForConditionalGeneration

from genai_labs.errors import LabError
from genai_labs.finetuning import command, examples, forgetting, loop, lora, memory, sweep_command, training
from genai_labs.finetuning.examples import Feature
from genai_labs.finetuning.training import Plan, finetune
from genai_labs.inputs import batches
from genai_labs.loading import data, models
from genai_labs.loading.profiles import load_profile
from genai_labs.paths import ROOT
from genai_labs.prompting import generation, prompts
from genai_labs.system import run_folder

SHARED = ROOT.parent / "shared" / "data" / "flan-t5-small"
PLAN = Plan(epochs=2, batch_size=8, learning_rate=1e-3)
Loaded = tuple[PreTrainedModel, PreTrainedTokenizerBase]


@pytest.fixture(scope="module")
def loaded() -> Loaded:
    return models.load_model(load_profile("mini"))


@pytest.fixture(scope="module")
def rows() -> list[data.Row]:
    return data.load_split(load_profile("mini").dataset, "train")[:40]


@pytest.fixture(scope="module")
def made(loaded: Loaded, rows: list[data.Row]) -> list[Feature]:
    return examples.features(rows, loaded[1])


@pytest.fixture(scope="module")
def adapted(loaded: Loaded, made: list[Feature], tmp_path_factory: pytest.TempPathFactory) -> training.FineTuning:
    plan = replace(PLAN, method="lora", learning_rate=5e-3)
    return finetune(*loaded, made[:32], made[32:], plan, tmp_path_factory.mktemp("lora") / "run")


def asked(rows: list[data.Row]) -> list[str]:
    return [prompts.zero_shot(row.dialogue) for row in rows[:6]]


def test_a_feature_is_the_prompt_and_its_summary(loaded: Loaded, rows: list[data.Row], made: list[Feature]) -> None:
    tokenizer = loaded[1]
    for row, feature in zip(rows, made, strict=True):
        assert tokenizer.decode(feature["input_ids"], skip_special_tokens=True).endswith("Summary:")
        assert tokenizer.decode(feature["labels"], skip_special_tokens=True) == row.summary
        assert feature["labels"][-1] == tokenizer.eos_token_id
        assert set(feature["attention_mask"]) == {1}


def test_padded_labels_are_masked_and_left_out_of_the_loss(loaded: Loaded, made: list[Feature]) -> None:
    model, tokenizer = loaded
    batch = examples.collate(made[:4], tokenizer.pad_token_id)
    assert (
        (batch["labels"] == examples.MASKED).sum(1)
        == batch["labels"].shape[1] - torch.tensor([len(row["labels"]) for row in made[:4]])
    ).all()
    with torch.no_grad():
        together = model(**batch)
        longer = model(**examples.collate(made[:4], tokenizer.pad_token_id, length=400, labels_length=200))
        counted = model(**examples.collate(made[:4], tokenizer.pad_token_id, length=400, labels_length=200, mask=False))
    real = batch["labels"] != examples.MASKED
    by_hand = torch.nn.functional.cross_entropy(together.logits[real], batch["labels"][real])
    assert together.loss == pytest.approx(by_hand.item(), abs=1e-5)
    assert longer.loss == pytest.approx(by_hand.item(), abs=1e-4)
    assert abs(counted.loss.item() - by_hand.item()) > 0.5


def test_widths_are_rounded_up_and_the_loss_does_not_notice(loaded: Loaded, made: list[Feature]) -> None:
    model, tokenizer = loaded
    plain, rounded = (
        examples.collate(made[:4], tokenizer.pad_token_id, multiples=m) for m in ((1, 1), examples.MULTIPLES)
    )
    for name, multiple in zip(("input_ids", "labels"), examples.MULTIPLES, strict=True):
        width, wider = plain[name].shape[1], rounded[name].shape[1]
        assert wider % multiple == 0
        assert width <= wider < width + multiple
    with torch.no_grad():
        assert model(**rounded).loss.item() == pytest.approx(model(**plain).loss.item(), abs=1e-4)


def test_full_fine_tuning_moves_the_copy_and_not_the_base(loaded: Loaded, made: list[Feature], tmp_path: Path) -> None:
    base, tokenizer = loaded
    before = lora.fingerprint(base)
    run = finetune(base, tokenizer, made[:32], made[32:], PLAN, tmp_path)
    assert lora.fingerprint(base) == before
    assert [row["epoch"] for row in run.history] == [1, 2]
    assert run.history[1]["train_loss"] < run.history[0]["train_loss"]
    moved = [n for n, p in run.model.named_parameters() if not torch.equal(p, base.get_parameter(n))]
    assert len(moved) == len(list(base.parameters()))
    assert not run.model.training
    assert run.model.config.use_cache
    assert {p.dtype for p in run.model.parameters()} == {torch.float32}


def test_a_fresh_adapter_changes_nothing_bit_for_bit(loaded: Loaded, rows: list[data.Row]) -> None:
    base, tokenizer = loaded
    fresh = lora.attach(base, lora.lora_config(rank=4, alpha=8))
    read = tokenizer(asked(rows), return_tensors="pt", padding=True)
    begun = torch.zeros(len(read["input_ids"]), 1, dtype=torch.long)
    given = {"input_ids": read["input_ids"], "attention_mask": read["attention_mask"], "decoder_input_ids": begun}
    with torch.no_grad():
        assert torch.equal(fresh(**given).logits, base(**given).logits)


def test_lora_moves_adapters_only_and_goes_away_without_a_trace(
    loaded: Loaded, rows: list[data.Row], adapted: training.FineTuning
) -> None:
    base, tokenizer = loaded
    trained = [name for name, p in adapted.model.named_parameters() if p.requires_grad]
    assert trained
    assert all("lora_" in name for name in trained)
    assert lora.fingerprint(adapted.model) == lora.fingerprint(base)
    assert not any("lora_" in name for name, _ in base.named_parameters())
    with_adapter = generation.generate(adapted.model, tokenizer, asked(rows))
    of_the_base = generation.generate(base, tokenizer, asked(rows))
    assert with_adapter != of_the_base
    with adapted.model.disable_adapter():
        assert generation.generate(adapted.model, tokenizer, asked(rows)) == of_the_base


def test_an_adapter_is_saved_loaded_switched_and_merged(
    loaded: Loaded, rows: list[data.Row], adapted: training.FineTuning, tmp_path: Path
) -> None:
    base, tokenizer = loaded
    size = lora.save_adapter(adapted.model, tmp_path / "adapter")
    assert size < 0.1 * memory.BYTES * models.count_parameters(base)
    texts = generation.generate(adapted.model, tokenizer, asked(rows))
    again = lora.load_adapter(base, tmp_path / "adapter")
    assert generation.generate(again, tokenizer, asked(rows)) == texts
    both = lora.attach(base, lora.lora_config(rank=4, alpha=8))
    lora.add_adapter(both, tmp_path / "adapter", "trained")
    assert generation.generate(both, tokenizer, asked(rows)) == generation.generate(base, tokenizer, asked(rows))
    both.set_adapter("trained")
    assert generation.generate(both, tokenizer, asked(rows)) == texts
    plain = lora.merged(adapted.model)
    assert generation.generate(plain, tokenizer, asked(rows)) == texts
    assert not any("lora_" in name for name, _ in plain.named_parameters())


def test_an_adapter_of_another_base_is_named(loaded: Loaded, adapted: training.FineTuning, tmp_path: Path) -> None:
    lora.save_adapter(adapted.model, tmp_path)
    torch.manual_seed(1)
    other = T5ForConditionalGeneration(loaded[0].config)
    with pytest.raises(LabError, match="belongs to another base model: it was trained on t5-reader"):
        lora.load_adapter(other, tmp_path)
    (tmp_path / "adapter_model.safetensors").unlink()
    with pytest.raises(LabError, match=r"adapter_model.safetensors missing"):
        lora.load_adapter(loaded[0], tmp_path)


def test_memory_is_as_the_formula_says(loaded: Loaded, made: list[Feature], adapted: training.FineTuning) -> None:
    base = loaded[0]
    assert adapted.memory == memory.predicted_for(adapted.model)
    full = memory.predicted_for(training.model_to_train(base, PLAN))
    assert full.total == 16 * models.count_parameters(base)


def test_adapters_in_the_decoder_leave_the_encoder_out_of_the_backward_pass(
    loaded: Loaded, made: list[Feature]
) -> None:
    base, tokenizer = loaded
    batch = examples.collate(made[:4], tokenizer.pad_token_id)
    kept = {}
    for name, plan in {
        "full": PLAN,
        "model": replace(PLAN, method="lora"),
        "decoder": replace(PLAN, method="lora", within="decoder"),
    }.items():
        model = training.model_to_train(base, plan).train()
        kept[name] = memory.activation_bytes(model, batch)
        trained = [n for n, p in model.named_parameters() if p.requires_grad]
        assert any("encoder" in n for n in trained) is (name != "decoder")
        assert any("decoder" in n for n in trained)
    assert kept["decoder"] < 0.5 * kept["model"]
    assert kept["decoder"] < 0.5 * kept["full"]


def test_activations_are_counted_once_and_parameters_are_not() -> None:
    layer = torch.nn.Linear(8, 8)
    seen = torch.randn(4, 8)

    class Squared(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = layer

        def forward(self, x: torch.Tensor) -> SimpleNamespace:
            return SimpleNamespace(loss=(self.layer(x) ** 2).sum())

    # The input of the layer and the input of the square, 32 numbers of 4 bytes each.
    assert memory.activation_bytes(Squared(), {"x": seen}) == 2 * 4 * 32


def test_activations_are_let_go_when_they_are_counted() -> None:
    made = []

    class Exponential(torch.nn.Module):  # its backward pass needs what it gave out
        def __init__(self) -> None:
            super().__init__()
            self.weight = torch.nn.Parameter(torch.ones(8))

        def forward(self, x: torch.Tensor) -> SimpleNamespace:
            out = (self.weight * x).exp()
            made.append(weakref.ref(out))
            return SimpleNamespace(loss=out.sum())

    assert memory.activation_bytes(Exponential(), {"x": torch.ones(8)}) == 2 * 4 * 8
    gc.collect()
    assert made[0]() is None


@pytest.mark.parametrize("method", ["full", "lora"])
def test_the_weights_after_the_last_epoch_can_be_had_beside_the_best(
    loaded: Loaded, made: list[Feature], tmp_path: Path, method: str
) -> None:
    # So fast that the validation loss is at its lowest before the end.
    epochs, rate = (12, 1e-3) if method == "full" else (6, 2e-2)
    plan = Plan(method=method, epochs=epochs, batch_size=8, learning_rate=rate)  # type: ignore[arg-type]
    run = finetune(*loaded, made[:16], made[32:], plan, tmp_path)
    pad = loaded[1].pad_token_id
    assert run.best_epoch < plan.epochs, "the last epoch is the best one, so nothing is tested"
    at_best, at_end = (examples.losses(model, made[32:], pad).mean() for model in (run.model, run.last()))
    assert at_best < at_end
    shutil.rmtree(training.last_checkpoint(tmp_path) or "")
    shutil.rmtree(training.last_checkpoint(tmp_path) or "")
    with pytest.raises(LabError, match="There is no checkpoint"):
        run.last()


@pytest.mark.parametrize("method", ["full", "lora"])
def test_losses_and_gradients_are_those_of_the_model_itself(
    loaded: Loaded, made: list[Feature], method: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In fp32 nearly to the last digit, in one piece and in several; in bf16 nearly."""
    pad = loaded[1].pad_token_id
    plan = replace(PLAN, method=method)  # type: ignore[arg-type]
    plain, ours = (training.model_to_train(loaded[0], plan) for _ in range(2))
    expected = plain(**examples.collate(made[:8], pad)).loss
    expected.backward()
    for dtype, most, close in ((torch.float32, 4096, 1e-4), (torch.float32, 600, 1e-4), (torch.bfloat16, 4096, 0.05)):
        monkeypatch.setattr(loop, "MOST_TOKENS", most)
        weights = loop.Weights(ours, dtype)
        with weights.in_use():
            parts = [loop.token_losses(ours, batch).sum() for batch in loop.pieces(made[:8], pad)]
            assert (len(parts) > 1) is (most == 600)
            loss = torch.stack(parts).sum() / loop.count_tokens(made[:8])
            loss.backward()
        assert loss.item() == pytest.approx(expected.item(), rel=close)
        trained = [[p for p in model.parameters() if p.requires_grad] for model in (plain, ours)]
        gradients = [torch.cat([p.grad.flatten() for p in each if p.grad is not None]) for each in trained]
        assert (gradients[0] - gradients[1]).norm() < 3 * close * gradients[0].norm()
        weights.refresh()


def test_small_steps_are_not_rounded_away(loaded: Loaded) -> None:
    model = training.model_to_train(loaded[0], PLAN)
    weights = loop.Weights(model, torch.bfloat16)
    layer: Any = model.encoder.block[0].layer[0].SelfAttention
    before = layer.q.weight.detach().clone()
    with weights.in_use():
        assert layer.q.weight.dtype == torch.bfloat16
        for weight in weights.trained:
            weight.data += 2e-6 * weight.abs()
        weights.refresh()
        moved = next(weight for module, _, weight, _ in weights.places if module is layer.q)
        assert torch.equal(layer.q.weight, moved.bfloat16())
    assert layer.q.weight.dtype == torch.float32
    assert (layer.q.weight - before).abs().sum() > 0


@pytest.mark.parametrize("method", ["full", "lora"])
def test_dropout_is_what_the_plan_says(loaded: Loaded, made: list[Feature], method: str) -> None:
    batch = examples.collate(made[:2], loaded[1].pad_token_id)
    for dropout, equal in ((0.0, True), (0.3, False)):
        model = training.model_to_train(loaded[0], replace(PLAN, method=method, dropout=dropout)).train()  # type: ignore[arg-type]
        with torch.no_grad():
            assert (model(**batch).loss == model(**batch).loss).item() is equal


SCRIPT = """
import sys
from pathlib import Path
from genai_labs.loading import data, models
from genai_labs.finetuning import examples, training
from genai_labs.loading.profiles import load_profile
profile = load_profile("mini")
base, tokenizer = models.load_model(profile)
made = examples.features(data.load_split(profile.dataset, "train")[:40], tokenizer)
print("ready", flush=True)
plan = training.Plan(epochs=4, batch_size=8, learning_rate=1e-3)
training.finetune(base, tokenizer, made[:32], made[32:], plan, Path(sys.argv[1]))
"""


def test_a_killed_run_goes_on_and_ends_as_an_unbroken_one(loaded: Loaded, made: list[Feature], tmp_path: Path) -> None:
    plan = Plan(epochs=4, batch_size=8, learning_rate=1e-3)
    whole = finetune(*loaded, made[:32], made[32:], plan, tmp_path / "whole")
    broken = tmp_path / "broken"
    process = subprocess.Popen([sys.executable, "-c", SCRIPT, str(broken)], stdout=subprocess.PIPE)
    end = time.monotonic() + 120
    while training.last_checkpoint(broken) is None and process.poll() is None and time.monotonic() < end:
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert process.returncode == -signal.SIGKILL, "the run ended before it could be killed"
    assert not (broken / run_folder.DONE_FILE).exists()
    (broken / "checkpoint-999").mkdir()  # one that was being written
    resumed = finetune(*loaded, made[:32], made[32:], plan, broken)
    assert resumed.history == whole.history
    assert resumed.best_epoch == whole.best_epoch
    for (name, a), (_, b) in zip(whole.model.named_parameters(), resumed.model.named_parameters(), strict=True):
        assert torch.equal(a, b), name


NONSENSE: list[tuple[str, Any]] = [
    *((name, value) for name in ("epochs", "batch_size", "rank") for value in (0, -1, 2.5, "3", True)),
    *(("learning_rate", value) for value in (0, -1e-3, float("nan"), float("inf"), "1e-3")),
    ("alpha", 0),
    ("dropout", 2),
    ("warmup", -0.1),
    ("seed", -1),
]


def test_a_plan_that_makes_no_sense_is_answered_in_words(loaded: Loaded) -> None:
    for name, value in NONSENSE:
        with pytest.raises(LabError, match=rf"Nothing can be trained with {name}=.*: {name} must be "):
            replace(PLAN, **{name: value})
    with pytest.raises(LabError, match="Choose a rank of at most 256"):
        training.model_to_train(loaded[0], replace(PLAN, method="lora", rank=100_000))
    with pytest.raises(LabError, match="matrices are called k, lm_head, o, q, v, wi_0, wi_1, wo"):
        training.model_to_train(loaded[0], replace(PLAN, method="lora", targets=("query",)))


def test_numpys_numbers_are_numbers_of_a_plan() -> None:
    plan = replace(PLAN, rank=np.arange(5)[4], learning_rate=np.array([0.5], np.float32)[0])
    assert (plan.rank, plan.learning_rate) == (4, 0.5)
    assert json.loads(json.dumps([plan.rank, plan.learning_rate])) == [4, 0.5]


def test_too_few_examples_are_called_what_they_are() -> None:
    few: list[Feature] = [{}] * 10
    with pytest.raises(LabError, match="10 examples, fewer than 16: a model would learn these few by heart"):
        examples.check_size(few, 4, fewest=16)
    with pytest.raises(LabError, match="10 examples, fewer than 32: not one full batch"):
        examples.check_size(few, 32, fewest=16)


def test_what_cannot_be_trained_is_said_in_words(
    loaded: Loaded, rows: list[data.Row], made: list[Feature], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tokenizer = loaded[1]
    with pytest.raises(LabError, match="data set is empty"):
        examples.features([], tokenizer)
    with pytest.raises(LabError, match="not one full batch"):
        finetune(*loaded, made[:5], made[32:], PLAN, tmp_path)
    with pytest.raises(LabError, match="no validation examples"):
        finetune(*loaded, made[:32], [], PLAN, tmp_path)
    with pytest.raises(LabError, match="all of its labels are masked or empty"):
        examples.encode_pairs(["Summarize."], [""], tokenizer)
    with pytest.raises(LabError, match="no method 'half'"):
        Plan(method="half")  # type: ignore[arg-type]
    with monkeypatch.context() as patch:
        patch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=1000))
        with pytest.raises(LabError, match="not enough room on the disk"):
            finetune(*loaded, made[:32], made[32:], PLAN, tmp_path)


def test_room_on_the_disk_is_wanted_for_what_is_trained_and_only_where_something_is(
    loaded: Loaded, made: list[Feature], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = SimpleNamespace(free=3_000_000)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)
    small = replace(PLAN, method="lora", rank=1, epochs=1)
    first = finetune(*loaded, made[:32], made[32:], small, tmp_path)
    trained = sweep_command.trainable_share(first.model) * sum(p.numel() for p in first.model.parameters())
    assert trained * 36 < usage.free
    usage.free = 0
    assert finetune(*loaded, made[:32], made[32:], small, tmp_path).history == first.history


def test_half_a_line_of_a_sweep_that_was_killed_is_passed_over(tmp_path: Path) -> None:
    kept = tmp_path / "sweep.jsonl"
    sweep_command._keep(kept, "a", {"moved": 1, "texts": []})
    kept.write_text(kept.read_text(encoding="utf-8") + '{"key": "b", "mov', encoding="utf-8")
    sweep_command._keep(kept, "c", {"moved": 3, "texts": []})
    assert {key: row["moved"] for key, row in sweep_command._rows_of(kept).items()} == {"a": 1, "c": 3}


def test_a_disk_that_fills_up_is_said_in_words(
    loaded: Loaded, made: list[Feature], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*args: object, **kwargs: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(torch, "save", full)
        with pytest.raises(LabError, match="The disk is full"):
            finetune(*loaded, made[:32], made[32:], PLAN, tmp_path)
    assert len(finetune(*loaded, made[:32], made[32:], PLAN, tmp_path).history) == 2


def test_a_diverging_loss_stops_and_names_the_last_good_checkpoint(
    loaded: Loaded, made: list[Feature], tmp_path: Path
) -> None:
    wild = replace(PLAN, learning_rate=30.0, epochs=4)
    with pytest.raises(LabError, match=r"its loss diverged.*last good checkpoint|its loss diverged.*no checkpoint"):
        finetune(*loaded, made[:32], made[32:], wild, tmp_path)


def test_a_folder_with_another_unfinished_run_is_not_overwritten(
    loaded: Loaded, made: list[Feature], tmp_path: Path
) -> None:
    finetune(*loaded, made[:32], made[32:], PLAN, tmp_path)
    (tmp_path / run_folder.DONE_FILE).unlink()
    with pytest.raises(LabError, match="interrupted run with another plan"):
        finetune(*loaded, made[:32], made[32:], replace(PLAN, seed=1), tmp_path)
    assert json.loads((tmp_path / run_folder.PLAN_FILE).read_text())["plan"]["seed"] == 0


@pytest.mark.skipif(not SHARED.exists(), reason="FLAN-T5's configuration is not on this machine")
@pytest.mark.parametrize("method", ["full", "lora"])
def test_an_untied_output_head_survives_everything(method: str, made: list[Feature], tmp_path: Path) -> None:
    config = AutoConfig.from_pretrained(SHARED)
    config.num_layers = config.num_decoder_layers = 1
    torch.manual_seed(0)
    model = T5ForConditionalGeneration(config).eval()
    with torch.no_grad():
        head = torch.nn.Parameter(torch.randn_like(model.shared.weight))
        model.lm_head.weight = head
    model.config.tie_word_embeddings = False
    model.save_pretrained(str(tmp_path / "base"))
    base = T5ForConditionalGeneration.from_pretrained(tmp_path / "base", dtype=torch.float32)
    assert torch.equal(base.lm_head.weight, head)
    assert not torch.equal(base.lm_head.weight, base.shared.weight)
    tokenizer = models.load_tokenizer(load_profile("mini"))
    plan = replace(PLAN, method=method, epochs=2, learning_rate=1e-3)  # type: ignore[arg-type]
    run = finetune(base, tokenizer, made[:16], made[32:36], plan, tmp_path / "run")
    assert torch.equal(base.lm_head.weight, head)
    if method == "lora":
        inside = run.model.get_base_model()
        assert torch.equal(inside.get_parameter("lm_head.weight"), head)
        lora.save_adapter(run.model, tmp_path / "adapter")
        again = lora.merged(lora.load_adapter(base, tmp_path / "adapter"))
        assert torch.equal(again.lm_head.weight, head)
    else:
        trained = run.model.lm_head.weight.detach().clone()
        assert not torch.equal(trained, head)
        assert not torch.equal(trained, run.model.shared.weight)
        (tmp_path / "run" / run_folder.DONE_FILE).unlink()
        shutil.rmtree(training.last_checkpoint(tmp_path / "run") or "")
        resumed = finetune(base, tokenizer, made[:16], made[32:36], plan, tmp_path / "run")
        assert torch.equal(resumed.model.lm_head.weight, trained)
        run.model.save_pretrained(str(tmp_path / "full"))
        again = T5ForConditionalGeneration.from_pretrained(tmp_path / "full", dtype=torch.float32)
        assert torch.equal(again.lm_head.weight, trained)
    read = tokenizer(["#Person1#: Hello."], return_tensors="pt")
    made_twice = [m.generate(input_ids=read["input_ids"], max_new_tokens=5) for m in (run.model, again)]
    assert torch.equal(*made_twice)


def test_the_command_plans_as_the_profile_says_unless_told_otherwise() -> None:
    profile = load_profile("mini")
    parser = command.finetune_parser()
    assert command.make_plan(parser.parse_args([]), profile) == Plan(**profile.full)
    assert command.make_plan(parser.parse_args(["--method", "lora"]), profile) == Plan(method="lora", **profile.lora)
    asked = parser.parse_args(["--method", "lora", "--rank", "2", "--rate", "0.01", "--epochs", "9", "--seed", "5"])
    plan = command.make_plan(asked, profile)
    assert (plan.rank, plan.alpha, plan.learning_rate, plan.epochs, plan.seed) == (2, 4, 0.01, 9, 5)
    assert plan.targets == profile.lora["targets"]


LAUNCHERS = {
    "accelerate": ["accelerate.commands.launch", "--cpu", "--num_processes", "2"],  # which starts one on CPUs
    "torchrun": ["torch.distributed.run", "--standalone", "--nproc_per_node", "2"],
}


@pytest.mark.slow
@pytest.mark.parametrize("launcher", LAUNCHERS)
def test_the_command_trains_and_one_process_reports(launcher: str, tmp_path: Path) -> None:
    options = {"--method": "lora", "--rows": 32, "--held-out": 16, "--epochs": 1, "--out": tmp_path}
    line = [sys.executable, "-m", *LAUNCHERS[launcher], "-m", "genai_labs", "finetune"]
    line += [str(part) for pair in options.items() for part in pair]
    environment = {**os.environ, "ACCELERATE_USE_CPU": "true"}
    ran = subprocess.run(line, capture_output=True, text=True, env=environment, check=False)
    assert ran.returncode == 0, ran.stderr[-2000:]
    assert (tmp_path / "model" / "adapter_model.safetensors").exists()
    assert ran.stdout.count("ROUGE-1 on 100 validation dialogues") == 1


def test_a_folder_may_be_named_by_a_text_and_slips_are_met_in_words(
    loaded: Loaded, adapted: training.FineTuning, tmp_path: Path
) -> None:
    folder = str(tmp_path / "adapter")
    lora.save_adapter(adapted.model, folder)
    assert lora.belongs(loaded[0], folder)
    model = lora.load_adapter(loaded[0], folder)
    lora.add_adapter(model, folder, "again")
    with pytest.raises(LabError, match=r"load_adapter\(model, folder\)"):
        lora.load_adapter(folder, loaded[0])
    with pytest.raises(LabError, match="There is no adapter in none"):
        lora.load_adapter(loaded[0], "none")


def test_as_many_as_were_asked_for_are_few_enough(loaded: Loaded, made: list[Feature], tmp_path: Path) -> None:
    plan = replace(PLAN, epochs=1, batch_size=2)
    assert finetune(*loaded, made[:3], made[32:34], plan, tmp_path, fewest=3).history
    with pytest.raises(LabError, match="fewer than 16"):
        finetune(*loaded, made[:3], made[32:34], plan, tmp_path)


def test_a_method_that_is_no_text_is_refused_in_words() -> None:
    with pytest.raises(LabError, match="The methods are full, lora and prompt"):
        Plan(method=torch.zeros(2, 0).numpy())  # type: ignore[arg-type]


# Checks that hold, and that fail as soon as one function does the wrong thing.


def check_the_rate_rises_to_what_was_asked_for_and_falls_to_0(
    loaded: Loaded, rows: list[data.Row], folder: Path
) -> None:
    weight = torch.nn.Parameter(torch.ones(2))
    optimizer = torch.optim.AdamW([weight], lr=0.02)
    rates = []
    for number in range(8):
        loop.step([weight.sum()], [weight], [optimizer], loop.rate_factor(number, 8, warmup=0.25))
        rates += [optimizer.param_groups[0]["lr"]]
    assert rates == pytest.approx([0.0, 0.01, *(0.02 * left / 6 for left in (6, 5, 4, 3, 2, 1))])
    assert (loop.rate_factor(0, 1, warmup=0.05), loop.rate_factor(2, 3, warmup=1.0)) == (1.0, 1.0)  # one step learns


def check_a_seed_decides_on_the_order_and_on_the_adapter_s_start(
    loaded: Loaded, rows: list[data.Row], folder: Path
) -> None:
    made = examples.features(rows, loaded[1])[:16]
    begun: list[tuple[list[Any], torch.Tensor]] = []

    def read(model: Any, weights: loop.Weights, optimizer: object, rows: list[Feature], *_: object) -> float:
        order.append(rows)
        return 1.0

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(training, "train_step", read)
        for seed in (0, 1, 0):
            order: list[list[Feature]] = []
            plan = replace(PLAN, method="lora", batch_size=4, seed=seed, epochs=1)
            run = finetune(*loaded, made, made[:2], plan, folder / str(len(begun)))
            starts = [p.flatten() for name, p in run.model.named_parameters() if "lora_A" in name]
            begun.append((order, torch.cat(starts)))
    (order, start), (other_order, other_start), (same_order, same_start) = begun
    assert order == same_order
    assert torch.equal(start, same_start)
    assert order != other_order
    assert not torch.equal(start, other_start)


def check_what_an_adapter_adds_is_scaled_by_alpha_over_rank(loaded: Loaded, rows: list[data.Row], folder: Path) -> None:
    place = "decoder.block.0.layer.0.SelfAttention.q"
    for alpha in (2, 12):
        model = training.model_to_train(loaded[0], replace(PLAN, method="lora", rank=4, alpha=alpha))
        layer: Any = model.get_base_model().get_submodule(place)
        down, up = layer.lora_A["default"].weight, layer.lora_B["default"].weight
        with torch.no_grad():
            up.copy_(torch.arange(up.numel()).reshape(up.shape) % 7 / 7)
        added = lora.merged(model).get_submodule(place).weight - loaded[0].get_submodule(place).weight
        torch.testing.assert_close(added, alpha / 4 * up @ down, rtol=0, atol=1e-5)


def check_the_validation_loss_is_the_mean_over_tokens(loaded: Loaded, rows: list[data.Row], folder: Path) -> None:
    made = examples.features(rows, loaded[1])
    odd = made[-1] | {"labels": [*range(2000, 2040), loaded[1].eos_token_id]}  # alone in the last batch, and unlikely
    validation = [*made[16:32], odd]
    each = examples.losses(loaded[0], validation, loaded[1].pad_token_id)
    tokens = [len(row["labels"]) for row in validation]
    expected = sum(loss * n for loss, n in zip(each, tokens, strict=True)) / sum(tokens)
    assert loop.mean_loss(loaded[0], validation, 8, loaded[1].pad_token_id) == pytest.approx(expected, rel=0.02)


def check_what_is_read_in_training_is_the_instruction_around_the_dialogue(
    loaded: Loaded, rows: list[data.Row], folder: Path
) -> None:
    tokenizer = loaded[1]
    for name in (prompts.DEFAULT_INSTRUCTION, "task"):
        template = prompts.INSTRUCTIONS[name]
        for row, feature in zip(rows[:5], examples.features(rows[:5], tokenizer, name), strict=True):
            assert feature["input_ids"] == tokenizer(template.replace("{dialogue}", row.dialogue))["input_ids"]


VALIDATION = data.load_split(load_profile("mini").dataset, "validation")


def check_a_sweep_is_scored_on_validation_dialogues(loaded: Loaded, rows: list[data.Row], folder: Path) -> None:
    asked_for: list[Any] = []

    def write(_: object, __: object, asked: list[str], *___: object, **____: object) -> list[str]:
        asked_for.append(asked)
        return asked

    def other_tasks(*given: object) -> list[forgetting.OtherTask]:
        asked_for.append(given)
        return []

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sweep_command.generation, "generate", write)
        patch.setattr(sweep_command.forgetting, "other_tasks", other_tasks)
        record = sweep_command.run(load_profile("mini"), {}, dialogues=3, seed=5)
    assert asked_for == [(100, 5, "validation"), [prompts.zero_shot(row.dialogue) for row in VALIDATION[-3:]]]
    assert (record["split"], record["results"][0]["n"]) == ("validation", 3)


def check_an_answer_that_only_holds_the_right_one_is_wrong(loaded: Loaded, rows: list[data.Row], folder: Path) -> None:
    examples: Any = (SimpleNamespace(target="a hotel"),) * 4
    task = forgetting.OtherTask("topic", examples, "exact")
    assert task.grade(["a hotel", "a hotel.", "not a hotel", "hotel"]).tolist() == [1, 1, 0, 0]


def check_a_gain_is_a_negative_loss(loaded: Loaded, rows: list[data.Row], folder: Path) -> None:
    before, after = np.array([0.5, 0.25]), np.array([0.25, 1.0])
    assert forgetting.forgotten({"topic": before}, {"topic": after}).tolist() == [0.25, -0.75]


def holds(task: forgetting.OtherTask, outputs: list[str]) -> Any:
    return np.array([example.target in text for example, text in zip(task.examples, outputs, strict=True)], float)


def of_the_test_split(name: str, split: str) -> list[data.Row]:
    return LOAD_SPLIT(name, "test" if split == "validation" else split)


def mean_over_batches(model: Any, rows: list[Feature], size: int, pad: int) -> float:
    seen = [loop.token_losses(model, examples.collate(rows[i : i + size], pad)) for i in range(0, len(rows), size)]
    return float(torch.stack([losses.mean() for losses in seen]).mean())


LOAD_SPLIT, SHUFFLED, ATTACH, CONFIG = data.load_split, batches.shuffled, lora.attach, lora.lora_config
CHECKS: dict[Callable[[Loaded, list[data.Row], Path], None], list[tuple[Any, str, Any]]] = {
    check_the_rate_rises_to_what_was_asked_for_and_falls_to_0: [(loop, "rate_factor", lambda *_, **__: 1.0)],
    check_a_seed_decides_on_the_order_and_on_the_adapter_s_start: [
        (batches, "shuffled", lambda lengths, size, seed: SHUFFLED(lengths, size, "0")),
        (lora, "attach", lambda base, config, seed: ATTACH(base, config, seed=0)),
    ],
    check_what_an_adapter_adds_is_scaled_by_alpha_over_rank: [
        (lora, "lora_config", lambda rank, alpha, *rest: CONFIG(rank, rank, *rest)),
        (lora, "lora_config", lambda rank, alpha, *rest: CONFIG(rank, 2 * rank, *rest)),
    ],
    check_the_validation_loss_is_the_mean_over_tokens: [(loop, "mean_loss", mean_over_batches)],
    check_what_is_read_in_training_is_the_instruction_around_the_dialogue: [
        (prompts, "zero_shot", lambda dialogue, *_: f"{dialogue}\nSummary:"),
        (prompts, "_template", lambda _: prompts.INSTRUCTIONS[prompts.DEFAULT_INSTRUCTION]),
    ],
    check_a_sweep_is_scored_on_validation_dialogues: [(data, "load_split", of_the_test_split)],
    check_an_answer_that_only_holds_the_right_one_is_wrong: [(forgetting.OtherTask, "grade", holds)],
    check_a_gain_is_a_negative_loss: [
        (forgetting, "forgotten", lambda a, b: np.concatenate([np.maximum(a[name] - b[name], 0) for name in a]))
    ],
}


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_what_training_and_sweep_do(
    check: Callable[[Loaded, list[data.Row], Path], None], loaded: Loaded, rows: list[data.Row], tmp_path: Path
) -> None:
    check(loaded, rows, tmp_path)


@pytest.mark.parametrize(
    ("check", "wrong"),
    [(check, wrong) for check, variants in CHECKS.items() for wrong in variants],
    ids=lambda value: value[1] if isinstance(value, tuple) else value.__name__,
)
def test_a_wrong_variant_is_noticed(
    check: Callable[[Loaded, list[data.Row], Path], None],
    wrong: tuple[Any, str, Any],
    loaded: Loaded,
    rows: list[data.Row],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(*wrong)
    with pytest.raises(AssertionError):
        check(loaded, rows, tmp_path)
