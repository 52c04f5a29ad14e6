"""Command lines: nonsense ends with exit status 2 and a message before anything is loaded; all else gets through."""

from __future__ import annotations

import contextlib
import io
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import torch
from hypothesis import strategies as st

from benchmarks import arena, common, on_paper
from benchmarks import evaluation as bench_eval
from benchmarks import ppo as bench_ppo
from benchmarks import training as bench
from embedded_world.corpus import check
from embedded_world.pretraining import build
from genai_labs import __main__ as cli
from genai_labs.course import lab, machine, runner, seeds
from genai_labs.finetuning import command as finetune
from genai_labs.finetuning import sweep_command
from genai_labs.loading import fetching, models
from genai_labs.rlhf import command as detox
from genai_labs.teaching import bands, calibration, handout
from tests.fuzzing.files import TOKENIZER
from tests.fuzzing.inputs import MANY, target, texts

NONSENSE = ("nan", "-1", "inf", "-inf", "1e400", "", " ", "x", "²", "0x1", "1,5", "1e-400", "--", "None", "1 2")
NO_WHOLE = (*NONSENSE, "1.5", "0.5", "1e3", "9" * 30, "9" * 5000)
FILES = (
    "mine.csv",
    "folder",
    "missing",
    "no/such/folder",
    "a" * 300,
    "~nobodyhere/x",
    "ü b.jsonl",
    "mine.txt",
    "\udcff",
)
# For each command its options: what makes sense, and what does not.
WHOLE, RATE, ANY = (("1", "2", "16"), NO_WHOLE), (("1e-3", "0.5"), NONSENSE), (FILES, ())
SWITCH: tuple[tuple[str, ...], tuple[str, ...]] = ((), ())
PROFILE = (("mini",), ("Mini", "x", "mini ", "²"))
SEED = (("0", "3"), NO_WHOLE)
OPTIONS: dict[str, dict[str, Any]] = {
    "run": {"": (("1", "2", "3"), ("0", "4", "one", "-1", "²", "")), "--out": ANY},
    "lab": {"": (("1", "3"), ("0", "x", "1.0"))},
    "check": {},
    "refresh": {"": (("1", "3"), ("0", "x"))},
    "summarize": {"": ANY, "--shots": (("0", "1"), (*NO_WHOLE, "21")), "--profile": PROFILE, "--adapter": ANY,
                  "--out": ANY, "--weights": (("fp32",), ("fp64", "4"))},
    "finetune": {"--method": (("full", "lora"), ("", "x")), "--data": ANY, "--out": ANY, "--rows": WHOLE,
                 "--held-out": WHOLE, "--epochs": WHOLE, "--rate": RATE, "--batch-size": WHOLE, "--rank": WHOLE,
                 "--seed": SEED, "--fresh": SWITCH, "--checkpointing": SWITCH, "--profile": PROFILE},
    "detox": {"--rows": WHOLE, "--prompts": WHOLE, "--cases": WHOLE, "--updates": WHOLE, "--batch-size": WHOLE,
              "--minibatch": WHOLE, "--epochs": WHOLE, "--learning-rate": RATE, "--kl-coef": RATE, "--target-kl": RATE,
              "--seed": SEED, "--summarizer": ANY, "--profile": PROFILE, "--fresh": SWITCH},
    "arena": {"--seeds": (("2", "5"), ("0", "1", "6", "x", ""))},
    "sweep": {"--seed": SEED, "--dialogues": WHOLE, "--profile": PROFILE},
    "scale": {"--out": ANY},
    "seeds": {"": (("1", "3"), ("0", "x", "9")), "--seeds": SEED},
    "handout": {"": (("1", "3"), ("0", "x", "9")), "--out": ANY, "--otter": SWITCH, "--bands": SWITCH,
                "--no-pdf": SWITCH},
    "calibration": {"": ANY, "--out": ANY, "--anonymous": SWITCH},
    "fetch": {"--profile": PROFILE, "--to": ANY, "--again": SWITCH},
    "build-world": {"": (("corpus", "tokenizer"), ("x", "", "[]")), "--threads": WHOLE, "--again": SWITCH},
    "bench train": {"--rounds": WHOLE, "--steps": WHOLE, "--threads": WHOLE, "--models": (("mini",), ("x", ""))},
    "bench eval": {"--rounds": WHOLE, "--models": (("mini",), ("x", ""))},
    "bench ppo": {"--rounds": WHOLE, "--threads": WHOLE},
    "bench grow": {"--rounds": WHOLE, "--threads": WHOLE},
    "bench gpu": {"--rounds": WHOLE, "--batch-size": WHOLE, "--shapes": (("base",), ("x",))},
    "corpus.check": {"": (("missing",), ("no/such", "")), "--samples": WHOLE, "--seed": SEED},
}  # fmt: skip


class Reached(BaseException):
    """The line was taken, and the work would begin."""


@st.composite
def command_lines(draw: st.DrawFn) -> tuple[str, list[str], bool]:
    """A command, its arguments, and whether one of them makes no sense."""
    command = draw(st.sampled_from(sorted(OPTIONS)))
    line, wrong = [], False
    options = OPTIONS[command]
    chosen = draw(st.lists(st.sampled_from(sorted(options)), max_size=4, unique=True)) if options else []
    if "" in options and "" not in chosen and draw(st.integers(0, 3)):
        chosen.insert(0, "")
    for name in chosen:
        right, odd = options[name]
        if not right:
            line += [name]
            continue
        is_odd = bool(odd) and draw(st.integers(0, 3)) == 0
        value = draw(st.sampled_from(odd if is_odd else right))
        line += [f"{name}={value}" if name else value]
        wrong = wrong or is_odd
    return command, line, wrong


@st.composite
def any_lines(draw: st.DrawFn) -> tuple[str, list[str], bool]:
    """A line in which words stand where they should not."""
    command, line, _ = draw(command_lines())
    words = (
        st.sampled_from(["--", "-", "-h", "--help", "--no-such", "--out", "--seed", "--p", "-x", "@file", "run"])
        | texts
    )
    for word in draw(st.lists(words, max_size=3)):
        line.insert(draw(st.integers(0, len(line))), word.replace("\x00", "").lstrip("/"))
    return command, line, False


def reached(*_: object, **__: object) -> None:
    raise Reached


@contextlib.contextmanager
def harmless(folder: Path) -> Iterator[None]:
    """Whatever would load, train, open or write into the repository is put out of reach."""
    work = (
        *((runner, "run_labs"), (runner, "refresh_notebooks"), (machine, "check_machine"), (lab, "find_notebooks")),
        *(
            (fetching, "fetch_part"),
            (models, "load_model"),
            (finetune, "features"),
            (sweep_command, "run"),
            (on_paper, "page"),
            (torch, "set_num_threads"),
        ),
        *((handout, "find_notebooks"), (bands, "renew"), (calibration, "report_class")),
        *(
            (seeds, "run_with_seed"),
            (bench, "measure_training"),
            (bench_eval, "measure_evaluation"),
            (bench_ppo, "measure_loops"),
        ),
        *(
            (common, "versions"),
            (build, "build_corpus"),
            (subprocess, "call"),
            (subprocess, "run"),
            (subprocess, "Popen"),
        ),
    )
    with contextlib.ExitStack() as stack:
        for owner, name in work:
            stack.enter_context(mock.patch.object(owner, name, reached))
        stack.enter_context(mock.patch.object(models, "load_tokenizer", return_value=TOKENIZER))
        stack.enter_context(mock.patch.dict(build.STEPS, dict.fromkeys(build.STEPS, reached)))
        owners = (arena, on_paper, sweep_command, seeds, common, finetune, detox, cli, build, handout, calibration)
        for owner in owners:
            for name in {"RESULTS", "BUILD"} & set(vars(owner)):
                stack.enter_context(mock.patch.object(owner, name, folder / "results"))
        stack.enter_context(mock.patch.object(lab, "refuse_root"))
        stack.enter_context(contextlib.chdir(folder))
        yield


def status_of(command: str, line: list[str]) -> tuple[int | None, str]:
    """The exit status of a command, None where its work would begin, and what it says on standard error."""
    said = io.StringIO()
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(said):
        try:
            status = check.main(line) if command == "corpus.check" else cli.main([*command.split(), *line])
            return status, said.getvalue()
        except Reached:
            return None, ""
        except SystemExit as end:
            return int(end.code or 0), said.getvalue()


FOUND = (
    *(("sweep", ["--dialogues=0"], True), ("sweep", ["--seed=-1"], True), ("seeds", ["9"], True)),
    *(("seeds", ["--seeds=-1"], True), ("build-world", ["--threads=0"], True), ("bench eval", ["--rounds=-1"], True)),
    *(("bench train", ["--rounds=--"], True), ("corpus.check", ["missing", "--seed=--"], True)),
    ("scale", ["--out=mine.csv"], True),
    ("bench grow", [f"--rounds={10**30}"], True),
)


@target(command_lines() | any_lines(), MANY, found=FOUND)
def a_command_line_is_taken_or_refused(given: tuple[str, list[str], bool], folder: Path) -> None:
    command, line, wrong = given
    (folder / "mine.csv").write_text("dialogue,summary\nAnna: Hi.,Anna greets.\n", encoding="utf-8")
    (folder / "mine.txt").write_text("Anna: Hi.\nBob: Hello.\n", encoding="utf-8")
    (folder / "folder").mkdir()
    with harmless(folder):
        status, said = status_of(command, line)
    assert status in (None, 0, 2)
    if status == 0:
        assert any(word.startswith(("-h", "--h")) for word in line), "nothing was done, and that is called success"
    if status == 2:
        assert len(said) > 20
        assert "Traceback" not in said
    assert not wrong or status == 2
