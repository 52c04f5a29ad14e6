"""Runs of fine-tuning and their folders: interrupted, finished before, damaged, used by two at once."""

import asyncio
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError
from nbformat.v4 import new_code_cell, new_notebook
from safetensors.torch import load_file, save_file
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from genai_labs.course.execution import own_kernel
from genai_labs.errors import Interrupted, LabError
from genai_labs.finetuning import command, examples, lora, training
from genai_labs.finetuning.examples import Feature
from genai_labs.finetuning.training import Plan, finetune
from genai_labs.loading import data, models
from genai_labs.loading.profiles import load_profile
from genai_labs.paths import NOTEBOOKS
from genai_labs.system import files, run_folder

PLAN = Plan(epochs=2, batch_size=16, learning_rate=1e-3)
ONE_EPOCH = training.one_epoch
Loaded = tuple[PreTrainedModel, PreTrainedTokenizerBase]


@pytest.fixture(scope="module")
def loaded() -> Loaded:
    return models.load_model(load_profile("mini"))


@pytest.fixture(scope="module")
def made(loaded: Loaded) -> list[Feature]:
    """Short ones, because what a folder of a run does is the same for long ones."""
    whole = examples.features(data.load_split(load_profile("mini").dataset, "train")[:40], loaded[1])
    return [{name: ids[:12] if name == "labels" else ids[:40] for name, ids in feature.items()} for feature in whole]


@pytest.fixture
def train(loaded: Loaded, made: list[Feature]) -> Callable[..., training.FineTuning]:
    """Fine-tune on sixteen rows, a step an epoch."""

    def run(folder: Path, plan: Plan = PLAN, **options: bool) -> training.FineTuning:
        return finetune(*loaded, made[:16], made[32:], plan, folder, **options)

    return run


@pytest.fixture
def stop_in(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Interrupt the next trainings at the beginning of an epoch, counted from 1; 0: no longer."""

    def set_up(epoch: int) -> None:
        def begin(*given: Any) -> float:
            if given[-2] == epoch - 1:
                raise KeyboardInterrupt
            return ONE_EPOCH(*given)

        monkeypatch.setattr(training, "one_epoch", begin)

    return set_up


def same_weights(one: training.FineTuning, two: training.FineTuning) -> bool:
    a, b = (dict(run.model.named_parameters()) for run in (one, two))
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


# Interrupted.


def test_an_interruption_stops_and_keeps_the_epochs_so_far(
    train: Callable[..., training.FineTuning], stop_in: Callable[[int], None], tmp_path: Path
) -> None:
    stop_in(1)
    with pytest.raises(Interrupted, match=r"in epoch 1 of 3\..*nothing is kept: the same cell starts anew"):
        train(tmp_path / "run", replace(PLAN, epochs=3))
    stop_in(3)
    with pytest.raises(Interrupted, match=r"in epoch 3 of 3\..*end of epoch 2 is kept in the folder run: run the same"):
        train(tmp_path / "run", replace(PLAN, epochs=3))
    stop_in(0)
    resumed = train(tmp_path / "run", replace(PLAN, epochs=3))
    whole = train(tmp_path / "whole", replace(PLAN, epochs=3))
    assert resumed.history == whole.history
    assert same_weights(resumed, whole)
    assert resumed.memory == whole.memory


TRAIN = """
from pathlib import Path
from genai_labs.loading import data, models
from genai_labs.finetuning import examples, training
from genai_labs.loading.profiles import load_profile
base, tokenizer = models.load_model(load_profile("mini"))
made = examples.features(data.load_split(load_profile("mini").dataset, "train")[:40], tokenizer)
training.finetune(base, tokenizer, made[:32], made[32:], training.Plan(epochs=500, batch_size=8), Path({folder!r}))
"""


def test_the_stop_button_stops_run_all_and_shows_words_and_no_traceback(tmp_path: Path) -> None:
    cells = [new_code_cell(TRAIN.format(folder=str(tmp_path / "run"))), new_code_cell("print('went on')")]
    notebook = new_notebook(cells=cells)
    manager = own_kernel()

    async def press_stop(**_: object) -> None:
        asyncio.ensure_future(when_trained())

    async def when_trained() -> None:
        while training.last_checkpoint(tmp_path / "run") is None:
            await asyncio.sleep(0.05)
        await manager.interrupt_kernel()

    client = NotebookClient(
        notebook,
        km=manager,
        resources={"metadata": {"path": str(NOTEBOOKS)}},
        timeout=120,
        on_notebook_start=press_stop,
    )
    with pytest.raises(CellExecutionError, match=r"Interrupted in epoch \d+ of 500"):
        client.execute()
    (shown,) = (output for output in cells[0].outputs if output.output_type == "error")
    assert shown.ename == "Interrupted"
    assert shown.traceback == [shown.evalue]
    assert "is kept in the folder run: run the same cell" in shown.evalue
    assert cells[1].outputs == []


# Finished before.


@pytest.mark.parametrize("method", ["full", "lora"])
def test_a_finished_run_is_handed_out_again_and_nothing_is_trained(
    method: str,
    loaded: Loaded,
    train: Callable[..., training.FineTuning],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    # So fast that the best weights are not the last ones.
    plan = replace(PLAN, epochs=8, batch_size=8, learning_rate=1e-3)
    if method == "lora":
        plan = replace(plan, method="lora", learning_rate=2e-2)
    first = train(tmp_path / "run", plan)
    assert "finished before" not in capsys.readouterr().out
    shutil.move(tmp_path / "run", tmp_path / "moved")
    monkeypatch.setattr(training, "one_epoch", None)
    again = train(tmp_path / "moved", plan)
    said = capsys.readouterr().out
    assert said == (
        "This training was finished before, in the folder moved: here is its result, nothing is trained again. To "
        "train anew: resume=False (--fresh on the command line).\n"
    )
    assert first.best_epoch < plan.epochs, "the last weights are the best ones, so that nothing is shown"
    names = ("plan", "examples", "history", "seconds", "peak", "memory", "best_epoch", "throughput")
    assert [getattr(again, name) for name in names] == [getattr(first, name) for name in names]
    assert str(again.curves()) == str(first.curves())
    assert same_weights(again, first)
    ends = [dict(run.last().named_parameters()) for run in (again, replace(first, folder=tmp_path / "moved"))]
    assert all(torch.equal(ends[0][name], ends[1][name]) for name in ends[0])
    assert not same_weights(again, replace(again, model=again.last()))
    attention = loaded[0].get_encoder().config._attn_implementation
    for run in (first, again):
        assert not run.model.training
        assert run.model.config.use_cache
        assert run.model.get_encoder().config._attn_implementation == attention
    wants = [[p.requires_grad for p in run.model.parameters()] for run in (first, again)]
    assert wants[0] == wants[1]


def test_a_finished_run_of_something_else_is_trained_anew(
    loaded: Loaded,
    made: list[Feature],
    train: Callable[..., training.FineTuning],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    plan, (base, tokenizer) = replace(PLAN, epochs=1), loaded
    others: dict[str, Callable[[], training.FineTuning]] = {
        "the first": lambda: train(tmp_path, plan),
        "plan": lambda: train(tmp_path, replace(plan, learning_rate=1e-4)),
        "examples": lambda: finetune(base, tokenizer, made[1:17], made[32:], plan, tmp_path),
        "weights": lambda: finetune(moved(base), tokenizer, made[1:17], made[32:], plan, tmp_path),
        "versions": lambda: train(tmp_path, plan),
        "code": lambda: train(tmp_path, plan),
        "on demand": lambda: train(tmp_path, plan, resume=False),
    }
    for what, run in others.items():
        if what == "versions":
            train(tmp_path, plan)
            monkeypatch.setattr(run_folder, "library_versions", lambda: {"torch": "0"})
        if what == "code":
            monkeypatch.setattr(run_folder, "CODE", "another")
        capsys.readouterr()
        run()
        anew = "finished before" not in capsys.readouterr().out
        assert anew, what


def moved(base: PreTrainedModel) -> PreTrainedModel:
    """A model whose weights are a little different."""
    other = lora.shared_copy(base)
    with torch.no_grad():
        other.lm_head.weight = torch.nn.Parameter(base.lm_head.weight + 1e-3)
    return other


def test_a_kill_or_a_full_disk_while_the_model_is_saved_does_not_cost_the_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    line = ["--method", "lora", "--rows", "16", "--held-out", "4", "--epochs", "1", "--out", str(tmp_path)]
    monkeypatch.setattr(command, "print_report", lambda *_: None)
    monkeypatch.setattr(command, "generated", lambda *_: [])

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(lora, "save_adapter", full)
        with pytest.raises(LabError, match="The disk is full"):
            command.main(line)
    monkeypatch.setattr(training, "one_epoch", None)
    assert command.main(line) == 0
    assert "nothing is trained again" in capsys.readouterr().out
    assert (tmp_path / "model" / "adapter_model.safetensors").exists()
    other = [*line, "--seed", "1"]
    with pytest.raises(LabError, match="holds a finished training with another plan.* --out, or pass --fresh"):
        command.main(other)
    assert command.main(line) == 0, "what was trained is still there"
    for option in ("--fresh", "--replace"):
        folder = shutil.copytree(tmp_path, tmp_path.with_name(f"copy{option}"))
        with pytest.raises(TypeError, match="NoneType"):  # it would train, which is taken away here
            command.main([*other, "--out", str(folder), option])


def test_a_finished_training_is_spared_where_what_is_asked_for_differs(tmp_path: Path) -> None:
    plan: dict[str, Any] = {"plan": {"seed": 0, "rate": 0.1}, "base": "a"}
    run_folder.spare_finished(tmp_path / "none", plan)
    run_folder.prepare(tmp_path, plan, "checkpoint-*", lambda folder: [], True)
    other = {**plan, "base": "b"}
    run_folder.spare_finished(tmp_path, other)  # not finished
    run_folder.finish(tmp_path, {}, lambda folder: [])
    for same in (plan, {"base": "a"}, {"plan": {"seed": 0, "rate": 0.1 + 1e-9}}):
        run_folder.spare_finished(tmp_path, same)
    for differs in (other, {"plan": {"seed": 1, "rate": 0.1}}, {"digest": "c"}):
        with pytest.raises(LabError, match="holds a finished training"):
            run_folder.spare_finished(tmp_path, differs)
    (tmp_path / run_folder.DONE_FILE).write_text("{}", encoding="utf-8")
    run_folder.spare_finished(tmp_path, other)  # damaged


# Damaged.


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def empty_object(path: Path) -> None:
    path.write_text("{}")


def not_a_number(path: Path) -> None:
    weights = load_file(path)
    save_file({name: tensor * float("nan") for name, tensor in weights.items()}, path, {"format": "pt"})


@pytest.mark.parametrize(
    ("name", "spoil"),
    [
        ("adapter_model.safetensors", cut),
        ("adapter_model.safetensors", not_a_number),
        ("optimizer.pt", cut),
        ("state.json", empty_object),
        ("optimizer.pt", Path.unlink),
    ],
    ids=["weights cut", "weights not numbers", "optimizer cut", "state empty", "file gone"],
)
def test_a_damaged_checkpoint_is_said_and_the_one_before_is_gone_on_from(
    name: str,
    spoil: Callable[[Path], None],
    train: Callable[..., training.FineTuning],
    stop_in: Callable[[int], None],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    plan = replace(PLAN, method="lora", epochs=3)
    whole = train(tmp_path / "whole", plan)
    stop_in(3)
    with pytest.raises(Interrupted):
        train(tmp_path / "run", plan)
    stop_in(0)
    spoil(tmp_path / "run" / "checkpoint-2" / name)
    resumed = train(tmp_path / "run", plan)
    said = f"In run a checkpoint is damaged: checkpoint-2 ({name}). So the training goes on from checkpoint-1."
    assert said in capsys.readouterr().out
    assert resumed.history == whole.history
    assert same_weights(resumed, whole)


def test_a_finished_run_with_a_damaged_checkpoint_is_finished_again(
    train: Callable[..., training.FineTuning], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first = train(tmp_path / "run")
    cut(tmp_path / "run" / "checkpoint-2" / "model.safetensors")
    again = train(tmp_path / "run")
    assert "So the training goes on from checkpoint-1." in capsys.readouterr().out
    assert same_weights(first, again)
    for number in (1, 2):
        cut(tmp_path / "run" / f"checkpoint-{number}" / "model.safetensors")
    again = train(tmp_path / "run")
    assert "So the training starts anew." in capsys.readouterr().out
    assert same_weights(first, again)


def test_a_checkpoint_without_the_best_one_is_not_gone_on_from(
    train: Callable[..., training.FineTuning], stop_in: Callable[[int], None], tmp_path: Path
) -> None:
    plan = replace(PLAN, learning_rate=1e-3, epochs=8, batch_size=8)
    whole = train(tmp_path / "whole", plan)
    stop_in(8)
    with pytest.raises(Interrupted):
        train(tmp_path / "run", plan)
    stop_in(0)
    best = tmp_path / "run" / f"checkpoint-{2 * whole.best_epoch}"
    assert best != training.last_checkpoint(tmp_path / "run")
    cut(best / "model.safetensors")
    assert same_weights(train(tmp_path / "run", plan), whole)


@pytest.mark.parametrize("name", [run_folder.PLAN_FILE, run_folder.DONE_FILE, run_folder.SUMS_FILE])
@pytest.mark.parametrize("text", ["", '{"plan": 1}'])
def test_damaged_notes_never_stop_a_training(
    name: str, text: str, train: Callable[..., training.FineTuning], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plan = replace(PLAN, epochs=1)
    first = train(tmp_path, plan)
    (path,) = tmp_path.rglob(name)
    path.write_text(text)
    assert same_weights(train(tmp_path, plan), first)
    path.write_text(text)
    assert same_weights(train(tmp_path, plan, resume=False), first)
    if name == run_folder.PLAN_FILE and text == "":
        assert "The notes of an earlier training" in capsys.readouterr().out


@pytest.mark.parametrize("resume", [True, False])
def test_checkpoints_of_another_trainer_are_not_removed(resume: bool, tmp_path: Path) -> None:
    theirs = tmp_path / "checkpoint-500" / "pytorch_model.bin"
    theirs.parent.mkdir()
    theirs.touch()
    with pytest.raises(LabError, match=r"holds checkpoint-500, which no training of this package wrote.*Name another"):
        run_folder.prepare(tmp_path, {"plan": {}}, "checkpoint-*", lambda folder: [], resume)
    assert theirs.exists()
    (tmp_path / run_folder.PLAN_FILE).touch()  # damaged, but of a run of ours, which was killed as it wrote a first one
    run_folder.prepare(tmp_path, {"plan": {}}, "checkpoint-*", lambda folder: [], resume)
    assert not theirs.exists()


# Two at once, and kills.

HOLD = """
import sys, time
from pathlib import Path
from genai_labs.system import run_folder
with run_folder.locked_run(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(600)
"""


def test_a_second_run_in_a_folder_is_refused_until_the_first_has_ended_however_it_ends(
    train: Callable[..., training.FineTuning], tmp_path: Path
) -> None:
    line = [sys.executable, "-c", HOLD, str(tmp_path / "run")]
    holder = subprocess.Popen(line, stdout=subprocess.PIPE, text=True)
    assert holder.stdout is not None
    assert holder.stdout.readline() == "held\n"
    for options in ({}, {"resume": False}):
        with pytest.raises(LabError, match=r"Another training is running in the folder run right now.*another folder"):
            train(tmp_path / "run", **options)
    holder.send_signal(signal.SIGKILL)
    holder.wait()
    assert len(train(tmp_path / "run").history) == 2


WRITE = """
import sys
from pathlib import Path
from genai_labs.system import files
path = Path(sys.argv[1])
number = 0
while True:
    number += 1
    files.write_whole(path, f"{number}\\n" * 20000)
    if number == 3:
        print("begun", flush=True)
"""


def test_a_small_file_is_whole_whenever_its_writer_is_killed(tmp_path: Path) -> None:
    path = tmp_path / "done.json"
    for wait in (0.0, 0.003, 0.011):
        writer = subprocess.Popen([sys.executable, "-c", WRITE, str(path)], stdout=subprocess.PIPE)
        assert writer.stdout is not None
        writer.stdout.readline()
        time.sleep(wait)
        writer.kill()
        writer.wait()
        lines = path.read_text().splitlines()
        assert len(lines) == 20000
        assert len(set(lines)) == 1


def test_a_failed_write_leaves_the_old_text_and_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files.write_whole(tmp_path / "a.json", "old")

    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match="No space"):
        files.write_whole(tmp_path / "a.json", "new")
    assert [path.read_text() for path in tmp_path.iterdir()] == ["old"]


def test_a_run_in_a_place_that_cannot_be_written_is_refused_in_words(
    train: Callable[..., training.FineTuning], tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    for folder in (tmp_path / "file", tmp_path / "file" / "run"):
        with pytest.raises(LabError, match="is a file and not a folder. Name another folder"):
            train(folder)


def test_what_is_noted_of_a_plan_says_what_it_stands_on(
    train: Callable[..., training.FineTuning], tmp_path: Path
) -> None:
    train(tmp_path)
    noted = json.loads((tmp_path / run_folder.PLAN_FILE).read_text(encoding="utf-8"))
    assert noted["plan"] == json.loads(json.dumps(asdict(PLAN)))
    assert set(noted) == {"plan", "examples", "digest", "base", "versions"}
