"""What the benches share: models and dialogues, options of the command line, and how results are written down."""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import AutoModelForSeq2SeqLM

from genai_labs.finetuning.examples import Feature
from genai_labs.inputs.options import whole_number
from genai_labs.loading import data, models, pretrained
from genai_labs.loading.profiles import load_profile
from genai_labs.paths import RESULTS, ROOT
from genai_labs.show.results import versions, write
from genai_labs.system.devices import has_bf16

SHARED = ROOT.parent / "shared" / "data"
MODELS = ("mini", "flan-small")
FLAN_FILES = ("flan-t5-small/config.json", "flan-t5-small/tokenizer.json", "dialogsum/train.csv")
SEED = 0
positive = whole_number(1)  # a type for argparse


def why_not(name: str, shared: Path) -> str | None:
    """Why a model cannot be measured, in words; None if it can."""
    missing = [file for file in FLAN_FILES if not (shared / file).is_file()]
    if name != "flan-small" or not missing:
        return None
    return (
        f"{name} is left out: the shared data folder has no {', no '.join(missing)}. Name the folder that has them "
        "with --shared DIR."
    )


def model_and_dialogues(name: str, shared: Path) -> tuple[Any, Any, list[data.Row]]:
    """Model, tokenizer and dialogues: the embedded ones, or FLAN-T5-small's configuration with DialogSum."""
    if name == "flan-small":
        model, tokenizer = flan_small(shared / "flan-t5-small")
        return model, tokenizer, data.load_split(str(shared / "dialogsum"), "train")
    profile = load_profile(name)
    return *models.load_model(profile), data.load_split(profile.dataset, "train")


def flan_small(folder: Path) -> tuple[Any, Any]:
    """A model of the configuration in ``folder`` with random weights, and the tokenizer.

    Its lm_head is its own, as in FLAN-T5's checkpoints; a model made from a configuration comes with a tied one.
    """
    config = pretrained.read_config(folder)
    model = AutoModelForSeq2SeqLM.from_config(config, trust_remote_code=False)
    model.lm_head.weight = torch.nn.Parameter(torch.randn_like(model.lm_head.weight) / config.d_model**0.5)
    return model, pretrained.read_tokenizer(folder)


def made_up_rows(count: int, length: int, words: int, target: int) -> list[Feature]:
    """Rows of random tokens out of so many ``words``, with prompts of ``length`` and summaries of ``target`` tokens."""
    rng = np.random.default_rng(SEED)

    def tokens(number: int) -> list[int]:
        return [*rng.integers(3, words, number - 1).tolist(), 1]

    return [
        {"input_ids": tokens(length), "attention_mask": [1] * length, "labels": tokens(target)} for _ in range(count)
    ]


def model_options(parser: argparse.ArgumentParser) -> None:
    """Options of a bench of several models."""
    parser.add_argument("--models", nargs="+", choices=MODELS, default=list(MODELS), help="default: all")
    parser.add_argument(
        "--shared",
        type=Path,
        default=SHARED,
        metavar="DIR",
        help="folder with flan-t5-small/ and dialogsum/ (default: ../shared/data beside the project)",
    )


def run_options(parser: argparse.ArgumentParser, what: str) -> None:
    """Options of every bench; ``what`` is its name."""
    parser.add_argument("what", nargs="?", choices=(what,), default=what, help=argparse.SUPPRESS)
    parser.add_argument("--rounds", type=positive, default=5, help="how often to measure (default: %(default)s)")
    parser.add_argument("--out", type=Path, default=RESULTS, metavar="DIR", help="where to write (default: results/)")


def write_results(
    args: argparse.Namespace,
    results: Sequence[dict[str, Any]],
    page: Callable[[dict[str, Any]], str],
    skipped: Sequence[str] = (),
    **facts: Any,
) -> int:
    """Write what a bench measured of several models, and what was left out; 1 if a bar is not met or nothing measured.

    Each of ``results`` is what :func:`benchmarks.verdict.judge` found, or has a list of such ``bars``.
    """
    left_out = [reason for name in args.models if (reason := why_not(name, args.shared))]
    write_record(args, page, **facts, models=results, skipped=[*left_out, *skipped])
    judged = [bar for result in results for bar in result.get("bars", [result])]
    return int(not judged or not all(bar["met"] for bar in judged))


def write_record(args: argparse.Namespace, page: Callable[[dict[str, Any]], str], **content: Any) -> None:
    """Write ``bench_WHAT.json`` and ``.md``, and print the page: what was measured, and how to measure it again."""
    record = {
        "command": command_line(args),
        "versions": versions(),
        "machine": machine(),
        "seed": SEED,
        "rounds": args.rounds,
        **content,
    }
    write(record, page(record), args.out, f"bench_{args.what}")


def command_line(args: argparse.Namespace) -> str:
    """The command that measures the same again; without folders, which differ from machine to machine."""
    words = ["python -m genai_labs bench", args.what]
    for name in ("models", "shapes", "rounds", "steps", "batch_size", "threads"):
        if value := getattr(args, name, None):
            words += [f"--{name.replace('_', '-')}", *map(str, value if isinstance(value, list) else [value])]
    return " ".join(words)


def provenance(record: dict[str, Any]) -> str:
    """Command, machine, versions and seed of a record, in a sentence without its end."""
    facts = ", ".join(f"{name} {value}" for name, value in (record["machine"] | record["versions"]).items())
    return f"Made by `{record['command']}`: {facts}, seed {record['seed']}"


def machine() -> dict[str, Any]:
    """What the numbers depend on."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return {
        "device": torch.cuda.get_device_name(0) if torch.cuda.is_available() else "cpu",
        "cores": cores,
        "threads": torch.get_num_threads(),
        "instructions": torch.backends.cpu.get_cpu_capability(),
        "bf16": "yes" if has_bf16() else "no",
    }
