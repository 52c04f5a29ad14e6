"""``python -m genai_labs finetune``: train on a profile's data or your own, and save what was trained."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import get_args

from accelerate.utils import gather_object

from genai_labs import data, generation, models, prompts
from genai_labs.finetuning import lora
from genai_labs.finetuning.examples import features
from genai_labs.finetuning.training import Plan, Run, finetune
from genai_labs.metrics import paired_bootstrap, rouge_scores
from genai_labs.paths import BUILD
from genai_labs.processes import here
from genai_labs.profiles import Profile, Weights, load_profile

SCORED = 100  # validation dialogues that ROUGE is taken of


def main(argv: Sequence[str] | None = None) -> int:
    """Fine-tune, resuming an interrupted run of the same plan; save the model or adapter; print what was reached."""
    args = make_parser().parse_args(argv)
    profile = load_profile(args.profile)
    if args.weights:
        profile = replace(profile, weights=args.weights)
    base, tokenizer = models.load_model(profile)
    folder = args.data or profile.dataset
    train, validation = (data.load_split(folder, split) for split in ("train", "validation"))
    out = args.out or BUILD / "finetune" / args.method
    plan = make_plan(args, profile)
    rows, held_out_rows = args.rows or profile.train_dialogues, args.held_out or profile.validation_dialogues
    train_features, held_out = features(train[:rows], tokenizer), features(validation[:held_out_rows], tokenizer)
    run = finetune(base, tokenizer, train_features, held_out, plan, out, resume=not args.fresh)
    if here().is_main_process:
        save(run, out)
        tokenizer.save_pretrained(out / "model")
    scored = validation[:SCORED]
    outputs = [generated(model, tokenizer, scored) for model in (base, run.model)]
    if here().is_main_process:
        report(run, outputs, scored)
    return 0


def make_plan(args: argparse.Namespace, profile: Profile) -> Plan:
    """The profile's settings for the method, changed by what the command line asks for."""
    named = {"epochs": args.epochs, "learning_rate": args.rate, "batch_size": args.batch_size}
    if args.checkpointing:
        named["checkpointing"] = True
    if args.rank:
        named |= {"rank": args.rank, "alpha": 2 * args.rank}
    settings = profile.full if args.method == "full" else profile.lora
    return Plan(**{**settings, **{k: v for k, v in named.items() if v}, "method": args.method, "seed": args.seed})


def make_parser() -> argparse.ArgumentParser:
    """The options; what is not said is as the profile has it."""
    parser = argparse.ArgumentParser(prog="python -m genai_labs finetune", description=__doc__)
    parser.add_argument("--profile", help="which model and data (default: mini, or GENAI_LABS_PROFILE)")
    parser.add_argument("--method", choices=("full", "lora"), default="full")
    parser.add_argument("--data", type=Path, help="folder with train.csv and validation.csv (default: the profile's)")
    parser.add_argument("--out", type=Path, help="folder for checkpoints and the result (default: in build/finetune)")
    parser.add_argument("--rows", type=int, help="training rows to use")
    parser.add_argument("--held-out", type=int, help="validation rows for the loss")
    parser.add_argument("--epochs", type=int)
    parser.add_argument("--rate", type=float, help="learning rate")
    parser.add_argument("--batch-size", type=int)
    parser.add_argument("--rank", type=int, help="LoRA rank; alpha is twice as much")
    parser.add_argument(
        "--weights",
        choices=get_args(Weights),
        help="how to store the base; what is not fp32 is for adapters, and bits need bitsandbytes",
    )
    parser.add_argument("--checkpointing", action="store_true", help="gradient checkpointing: more time, less memory")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--fresh", action="store_true", help="throw an interrupted run in the folder away")
    return parser


def save(run: Run, out: Path) -> None:
    """Write the trained model, or the adapter, to ``out/model``."""
    if run.plan.method == "lora":
        lora.save_adapter(run.model, out / "model")
    else:
        run.model.save_pretrained(str(out / "model"))


def generated(
    model: models.PreTrainedModel, tokenizer: models.PreTrainedTokenizerBase, rows: list[data.Row]
) -> list[str]:
    """Greedy zero-shot summaries in the order of the rows; each of several processes writes its share of them."""
    process, processes = here().process_index, here().num_processes
    asked = prompts.fit_all(prompts.zero_shot, [row.dialogue for row in rows], tokenizer)
    mine = range(process, len(asked), processes)
    texts = generation.generate(model, tokenizer, [asked[place] for place in mine], progress=False)
    return [text for _, text in sorted(gather_object(list(zip(mine, texts, strict=True))))]


def report(run: Run, outputs: Sequence[list[str]], rows: Sequence[data.Row]) -> None:
    """Print losses, time, and ROUGE-1 before and after on validation dialogues."""
    for row in run.history:
        print(f"epoch {row['epoch']:.0f}: training {row['train_loss']:.3f}, validation {row['validation_loss']:.3f}")
    scores = [rouge_scores(texts, [list(row.references) for row in rows]) for texts in outputs]
    print(f"ROUGE-1 on {len(rows)} validation dialogues: {scores[0].mean():.3f} before, {scores[1].mean():.3f} after")
    print(f"difference {paired_bootstrap(scores[1], scores[0])}")
    print(f"{run.seconds:.0f} s, {run.throughput:.1f} examples/s; saved in {run.folder / 'model'}")
