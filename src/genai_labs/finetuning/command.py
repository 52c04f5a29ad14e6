"""Train a model on a profile's dialogues or your own, fully or with LoRA, and save what was trained."""

from __future__ import annotations

import argparse
import math
import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import numpy as np
from accelerate.utils import gather_object

from genai_labs.finetuning import lora, own
from genai_labs.finetuning.checkpoints import what_is_the_same
from genai_labs.finetuning.examples import FEWEST, check_size, features
from genai_labs.finetuning.training import FineTuning, Plan, finetune
from genai_labs.inputs.helptext import plain
from genai_labs.inputs.options import positive_number, whole_number
from genai_labs.loading import data, models
from genai_labs.loading.profiles import Profile, Weights, load_profile
from genai_labs.paths import BUILD
from genai_labs.prompting import generation, prompts
from genai_labs.prompting.speakers import TaggedDialogue
from genai_labs.scoring.metrics import Interval, paired_bootstrap
from genai_labs.scoring.rouge_metric import Rouge
from genai_labs.system import files, run_folder
from genai_labs.system.processes import process_state

SCORED = 100  # validation dialogues that ROUGE is taken of, at most
SHOWN = 2  # of these, shown before and after
EPOCHS_SHOWN = 20  # about, of which losses are printed
FEW = 20  # validation dialogues, of which one cannot conclude much
HIGHEST_RANK = 512  # of an adapter; the matrices of FLAN-T5-base are 768 wide
CHOSE = "also chose the best epoch, which flatters it a little: bring 40 or more to validate with, and half only score."
EPILOG = (
    "DATA is a CSV file in UTF-8 with the columns dialogue and summary, or JSON lines with these names, one dialogue a "
    "row, from 5 dialogues on; or a folder with train.csv and, if you like, validation.csv. Without a validation file "
    "a fifth of the dialogues is set aside. Without --epochs, few dialogues are read again until 150 steps are taken."
)


def main(argv: Sequence[str] | None = None) -> int:
    """Fine-tune, resuming an interrupted run of the same plan; save the model or adapter; print what was reached."""
    args = finetune_parser().parse_args(argv)
    profile = load_profile(args.profile)
    if args.weights:
        profile = replace(profile, weights=args.weights)
    tokenizer = models.load_tokenizer(profile)
    train, validation = rows_to_use(args, profile, tokenizer)
    plan = make_plan(args, profile, len(train))
    choosing, scored = divide(validation, args.held_out, profile.validation_dialogues)
    train_features, held_out = features(train, tokenizer), features(choosing, tokenizer)
    base, tokenizer = models.load_model(profile)  # last, because it takes longest
    out = args.out or BUILD / "finetune" / args.method
    if not (args.fresh or args.replace):
        run_folder.spare_finished(out, what_is_the_same(base, plan, train_features, held_out))
    fewest = 1 if args.data else FEWEST
    run = finetune(base, tokenizer, train_features, held_out, plan, out, resume=not args.fresh, fewest=fewest)
    if process_state().is_main_process:
        save_trained(run, tokenizer, out)
    outputs = [generated(model, tokenizer, scored) for model in (base, run.model)]
    if process_state().is_main_process:
        print_report(run, outputs, scored, scored[0] in choosing)
        print(f"To use it: {use_command(args, profile, out)}")
    return 0


def rows_to_use(
    args: argparse.Namespace, profile: Profile, tokenizer: models.PreTrainedTokenizerBase
) -> tuple[list[data.Row], list[data.Row]]:
    """Rows to train on, as many as were asked for, and all to validate with; LabError for what is wrong with them."""
    if not args.data:
        train, validation = (data.load_split(profile.dataset, split) for split in ("train", "validation"))
        return train[: args.rows or profile.train_dialogues], validation
    train, validation, notes = own.load_own(args.data, tokenizer)
    if process_state().is_main_process:
        print(*notes, sep="\n")
        if args.rows and args.rows < len(train):
            print(f"Of those to train on {args.rows} are used (--rows).")
    train = train[: args.rows]
    plan = make_plan(args, profile, len(train))
    check_size([{}] * len(train), plan.batch_size, fewest=1)
    if process_state().is_main_process:
        print(f"{plan.epochs} epochs in batches of {plan.batch_size}, learning rate {plan.learning_rate:g}")
    return train, validation


def divide(rows: list[data.Row], wanted: int | None, usual: int) -> tuple[list[data.Row], list[data.Row]]:
    """Rows whose loss chooses the best epoch, as many as wanted or usual, and rows for ROUGE, which choose nothing.

    Where fewer than FEW would be left to score, the rows that choose are scored, too: the report says so.
    """
    count = wanted or (min(usual, len(rows) // 2) if len(rows) >= 2 * FEW else usual)
    left = rows[count:]
    return rows[:count], (left if len(left) >= FEW else rows)[:SCORED]


def make_plan(args: argparse.Namespace, profile: Profile, rows: int = 0) -> Plan:
    """The profile's settings for the method, changed by what the command line asks for.

    rows: how many own dialogues there are to train on; few get small batches and more epochs.
    """
    named: dict[str, Any] = {"learning_rate": args.rate, "batch_size": args.batch_size, "rank": args.rank}
    named |= {"alpha": args.rank and 2 * args.rank, "checkpointing": args.checkpointing or None}
    settings = dict(profile.full if args.method == "full" else profile.lora)
    asked = {name: value for name, value in named.items() if value is not None}
    if args.data:
        settings = own.suited(settings, rows, args.batch_size)
    if args.epochs is not None:
        asked["epochs"] = args.epochs
    return Plan(**{**settings, **asked, "method": args.method, "seed": args.seed})


def finetune_parser() -> argparse.ArgumentParser:
    """The options; what is not said is as the profile has it."""
    parser = argparse.ArgumentParser(prog="python -m genai_labs finetune", description=plain(__doc__), epilog=EPILOG)
    count = whole_number(1)
    parser.add_argument("--profile", help="which model and data (default: mini, or GENAI_LABS_PROFILE)")
    parser.add_argument("--method", choices=("full", "lora"), default="full")
    parser.add_argument("--data", type=Path, help="your own dialogues, a file or a folder (default: the profile's)")
    parser.add_argument("--out", type=Path, help="folder for checkpoints and the result (default: in build/finetune)")
    parser.add_argument("--rows", type=count, help="training rows to use")
    parser.add_argument("--held-out", type=count, help="validation rows for the loss")
    parser.add_argument("--epochs", type=whole_number(1, 10_000))
    parser.add_argument("--rate", type=positive_number(1), help="learning rate")
    parser.add_argument("--batch-size", type=count)
    parser.add_argument("--rank", type=whole_number(1, HIGHEST_RANK), help="LoRA rank; alpha is twice as much")
    parser.add_argument(
        "--weights",
        choices=get_args(Weights),
        help="how to store the base; what is not fp32 is for adapters, and bits need bitsandbytes",
    )
    parser.add_argument("--checkpointing", action="store_true", help="gradient checkpointing: more time, less memory")
    parser.add_argument("--seed", type=whole_number(0, 2**32 - 1), default=0)
    parser.add_argument("--fresh", action="store_true", help="throw what was trained in the folder away")
    parser.add_argument("--replace", action="store_true", help=argparse.SUPPRESS)  # for the site: what is outdated
    return parser


def save_trained(run: FineTuning, tokenizer: models.PreTrainedTokenizerBase, out: Path) -> None:
    """Write the trained model, or the adapter, to ``out/model``, whole and in place of what an earlier run left there.

    Raises LabError where it cannot be written.
    """
    model, unfinished = out / "model", out / "model.new"
    with files.faults_in_words(out):
        shutil.rmtree(unfinished, ignore_errors=True)
        if run.plan.method == "lora":
            lora.save_adapter(run.model, unfinished)
        else:
            run.model.save_pretrained(str(unfinished))
        tokenizer.save_pretrained(unfinished)
        if model.exists():
            shutil.rmtree(model)
        unfinished.rename(model)


def generated(
    model: models.PreTrainedModel, tokenizer: models.PreTrainedTokenizerBase, rows: list[data.Row]
) -> list[str]:
    """Greedy zero-shot summaries in the order of the rows; each of several processes writes its share of them."""
    process, processes = process_state().process_index, process_state().num_processes
    asked = prompts.fit_all(prompts.zero_shot, [row.dialogue for row in rows], tokenizer)
    mine = range(process, len(asked), processes)
    texts = generation.generate(model, tokenizer, [asked[place] for place in mine], progress=False)
    return [text for _, text in sorted(gather_object(list(zip(mine, texts, strict=True))))]


def print_report(run: FineTuning, outputs: Sequence[list[str]], rows: Sequence[data.Row], chose: bool) -> None:
    """Print losses (of many epochs some), two samples, time, and ROUGE-1 before and after on validation dialogues.

    chose: they are among those by which the best epoch was chosen.
    """
    every, always = math.ceil(len(run.history) / EPOCHS_SHOWN), (1, run.best_epoch, len(run.history))
    for row in (row for row in run.history if row["epoch"] % every == 0 or row["epoch"] in always):
        print(f"epoch {row['epoch']:.0f}: training {row['train_loss']:.3f}, validation {row['validation_loss']:.3f}")
    for row, *texts in list(zip(rows, *outputs, strict=True))[:SHOWN]:
        named = map(TaggedDialogue(row.dialogue, list(row.names)).with_names, [*texts, row.summary])
        print("\ndialogue {}\n  before:    {}\n  after:     {}\n  reference: {}".format(row.id, *named))
    references = [list(row.references) for row in rows]
    before, after = (
        np.array(Rouge().compute(predictions=texts, references=references, use_aggregator=False)["rouge1"])
        for texts in outputs
    )
    difference = paired_bootstrap(after, before, clusters=data.situations(rows))
    print(f"\nROUGE-1 on {len(rows)} validation dialogues: {before.mean():.3f} before, {after.mean():.3f} after")
    print(f"These dialogues {CHOSE if chose else 'neither trained the model nor chose the epoch.'}")
    print(f"difference {difference}")
    print(learned_in_words(difference))
    print(
        f"{run.seconds:.0f} s, {run.throughput:.1f} examples/s; the weights after epoch {run.best_epoch}, where the "
        f"validation loss was lowest, are saved in {run.folder / 'model'}"
    )


def learned_in_words(difference: Interval) -> str:
    """In a plain sentence, whether something was learned; and that few dialogues show little."""
    if difference.low > 0:
        said = "Something was learned: the summaries are nearer to the references than before."
    elif difference.high < 0:
        said = "It got worse: the summaries are further from the references than before. A lower --rate may help."
    else:
        said = (
            "Nothing that can be shown was learned: the interval holds 0. More dialogues help most, for training and "
            "for validation; then a higher --rate or more --epochs."
        )
    few = f" With {difference.n} validation dialogues, do not rely on it." if difference.n < FEW else ""
    return said + few


def use_command(args: argparse.Namespace, profile: Profile, out: Path) -> str:
    """The command that summarizes a file with what was trained."""
    here = Path.cwd()
    python, model = (
        str(path.relative_to(here) if path.is_relative_to(here) else path)
        for path in (Path(sys.executable or "python"), out / "model")
    )
    line = [python, "-m", "genai_labs", "summarize", "FILE", "--adapter", model]
    line += ["--profile", profile.name] if profile.name != "mini" or os.environ.get("GENAI_LABS_PROFILE") else []
    line += ["--weights", args.weights] if args.weights else []
    # The command prompt of Windows takes single quotes, which shlex puts around a backslash, for letters of the name.
    return subprocess.list2cmdline(line) if sys.platform == "win32" else shlex.join(line)
