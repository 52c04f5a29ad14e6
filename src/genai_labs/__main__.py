"""The command line: `python -m genai_labs run`, `lab`, `check`, `refresh`, `finetune`, `bench` and more (`--help`)."""

import argparse
import importlib
import os
import sys
from collections.abc import Sequence
from io import TextIOWrapper
from pathlib import Path

from genai_labs.errors import Interrupted, LabError
from genai_labs.inputs.options import words_of
from genai_labs.paths import BUILD

# Commands whose own module reads the rest of the line.
MODULES = {
    "arena": "benchmarks.arena",
    "bench": "benchmarks.command",
    "build-reader": "embedded_world.pretraining.reader_build",
    "build-world": "embedded_world.pretraining.build",
    "calibration": "genai_labs.teaching.calibration",
    "detox": "genai_labs.rlhf.command",
    "fetch": "genai_labs.loading.fetching",
    "finetune": "genai_labs.finetuning.command",
    "handout": "genai_labs.teaching.handout",
    "instructions": "benchmarks.instruction_tuning",
    "lab": "genai_labs.course.lab",
    "prices": "benchmarks.prices",
    "growth": "embedded_world.pretraining.reading_growth",
    "scale": "benchmarks.on_paper",
    "seeds": "genai_labs.course.seeds",
    "site": "course_site.command",
    "summarize": "genai_labs.course.summarize",
    "sweep": "genai_labs.finetuning.sweep_command",
}
EPILOG = "Every command says what it takes: python -m genai_labs COMMAND --help"


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command. Returns the exit status: 0 done, 1 failed or does not hold, 2 asked wrongly, 130 stopped."""
    parser = make_parser()
    line = words_of(parser, argv)
    if not line:
        parser.print_help()
        return 0
    if line[0].startswith("-") and line[0] not in ("-h", "--help"):
        parser.error(f"unknown option {line[0]}: the command comes first, and then its options")
    args, rest = parser.parse_known_args(line)
    if rest and args.command not in MODULES:
        parser.error(f"unrecognized arguments: {' '.join(rest)}")
    try:
        return run_command(args, rest)
    except LabError as error:
        print(error, file=sys.stderr)
        return 2
    except KeyboardInterrupt as stopped:
        print(stopped if isinstance(stopped, Interrupted) else "Stopped by Ctrl-C.", file=sys.stderr)
        return getattr(stopped, "status", 130)


def make_parser() -> argparse.ArgumentParser:
    """The commands and their options."""
    parser = argparse.ArgumentParser(
        prog="python -m genai_labs", description="Three labs on language models.", epilog=EPILOG
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    run = commands.add_parser("run", help="run labs without a browser and show what was measured")
    run.add_argument(
        "labs", nargs="*", type=lab_number, metavar="LAB", help="1, 2, 3, or 4 for the companion (default: all)"
    )
    usual = os.environ.get("GENAI_LABS_PROFILE") or "mini"
    run.add_argument(
        "--profile", default=usual, metavar="NAME", help="what to load (default: mini, or GENAI_LABS_PROFILE)"
    )
    run.add_argument("--out", type=Path, default=BUILD, metavar="DIR", help="where to write (default: build/)")
    commands.add_parser("lab", add_help=False, help="open JupyterLab at your own copy of a lab")
    commands.add_parser("check", help="say whether this machine can run the labs")
    refresh = commands.add_parser("refresh", help="execute the notebooks and save them as they are committed")
    refresh.add_argument(
        "labs", nargs="*", type=lab_number, metavar="LAB", help="1, 2, 3, or 4 for the companion (default: all)"
    )
    commands.add_parser("handout", add_help=False, help="make versions of the labs for a class: students, slides ...")
    commands.add_parser("calibration", add_help=False, help="read the guesses of a class, and draw how good they were")
    commands.add_parser("build-world", add_help=False, help="write the corpus and train the small model")
    commands.add_parser("build-reader", add_help=False, help="train the model that reads new dialogues (6 hours)")
    commands.add_parser("fetch", add_help=False, help="bring a profile's models and data here, to work offline")
    commands.add_parser("summarize", add_help=False, help="summarize your own dialogues")
    commands.add_parser("finetune", add_help=False, help="train a model on dialogues, fully or with LoRA")
    commands.add_parser("detox", add_help=False, help="make a summarizer that repeats insults kind, by PPO")
    commands.add_parser("arena", add_help=False, help="compare PPO with GRPO, RLOO, DPO, ORPO and others (an hour)")
    commands.add_parser(
        "prices", add_help=False, help="see at which price of KL its reward is hacked (ten minutes or more)"
    )
    commands.add_parser("growth", add_help=False, help="see what the reading model grows with (on a GPU 10 minutes)")
    commands.add_parser("sweep", add_help=False, help="compare fine-tunings: rank, matrices, learning rate, replay")
    commands.add_parser("instructions", add_help=False, help="tune the pre-trained model on 1, 4 and 8 tasks (25 min)")
    commands.add_parser("scale", add_help=False, help="write what larger models need, on paper")
    commands.add_parser("seeds", add_help=False, help="measure the lessons again with several seeds")
    commands.add_parser("site", add_help=False, help="build the site: the labs to read, their models in a browser tab")
    commands.add_parser("bench", add_help=False, help="measure how fast train, eval and ppo are, and how that grows")
    return parser


def lab_number(text: str) -> int:
    """A lab's number from the command line."""
    if text not in ("1", "2", "3", "4"):
        raise argparse.ArgumentTypeError(f"{text} is not a lab: there are 1, 2 and 3, and 4, the companion")
    return int(text)


def run_command(args: argparse.Namespace, rest: list[str]) -> int:
    """Do what was asked for. What a command needs is imported here, so that `--help` answers at once."""
    if args.command in MODULES:
        return int(importlib.import_module(MODULES[args.command]).main(rest) or 0)
    if args.command == "check":
        from genai_labs.course.machine import check_machine, print_findings

        return print_findings(check_machine())
    from genai_labs.course import runner

    if args.command == "run":
        return runner.run_labs(args.labs, args.profile, args.out)
    runner.refresh_notebooks(args.labs)
    return 0


if __name__ == "__main__":
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):  # A console that lacks a letter shows ? instead of failing.
            stream.reconfigure(errors="replace")
    sys.exit(main())
