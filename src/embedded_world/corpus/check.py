"""``python -m embedded_world.corpus.check FILE``: check a file of scenarios and print sample dialogues."""

from __future__ import annotations

import argparse
import random
import sys
from pathlib import Path

from embedded_world.corpus.content import Scenario, parse_scenario, read_yaml, scenario_id, scenario_problems
from embedded_world.corpus.dialogue import Dialogue, play
from embedded_world.corpus.shape import shape_problems
from embedded_world.corpus.styles import HOUSE, open_style
from genai_labs.errors import LabError
from genai_labs.inputs.arguments import counted
from genai_labs.inputs.helptext import plain
from genai_labs.inputs.options import whole_number, words_of


def main(argv: list[str] | None = None) -> int:
    """Print every problem of the scenarios in a file, then sample dialogues.

    Exit status 1 if anything is wrong with them, 2 if the file cannot be read.
    """
    parser = argparse.ArgumentParser(prog="python -m embedded_world.corpus.check", description=plain(__doc__))
    parser.add_argument("file", type=Path)
    parser.add_argument("--samples", type=whole_number(0), default=3, help="dialogues to print (default: %(default)s)")
    parser.add_argument(
        "--seed", type=whole_number(0, 2**32 - 1), default=0, help="other samples (default: %(default)s)"
    )
    parser.add_argument("--only", metavar="ID", help="samples of this scenario alone")
    args = parser.parse_args(words_of(parser, argv))
    try:
        found, wrong = check_file(args.file.absolute())
        print(f"{counted(len(found), 'scenario')} that can be read, {counted(len(wrong), 'problem')}", *wrong, sep="\n")
        fit = [each for each in found if not any(scenario_problems(each))]
        chosen = [each for each in fit if args.only in (None, each.id)]
        if args.only and not chosen:
            print(f"No scenario without problems is called {args.only}. There are: {', '.join(s.id for s in fit)}")
        rng = random.Random(args.seed)
        for _ in range(args.samples if chosen else 0):
            print_samples(play(rng.choice(chosen), rng), rng)
    except LabError as error:
        print(error, file=sys.stderr)
        return 2
    return 1 if wrong else 0


def check_file(path: Path) -> tuple[list[Scenario], list[str]]:
    """The scenarios of a file that can be read, and what is wrong with all of them, in words.

    Raises LabError if the file is no list in YAML, or an empty one.
    """
    raw = read_yaml(path, list)
    if not raw:
        raise LabError(f"There is no scenario in {path.name}: its list is empty. Name another file.")
    found, wrong = [], []
    for place, each in enumerate(raw, start=1):
        if shapes := shape_problems(each):
            wrong += [f"{place}, {scenario_id(each)}: {problem}" for problem in shapes]
            continue
        try:
            found.append(parse_scenario(each, unseen=path.stem.startswith("unseen")))
            wrong += [f"{place}, {found[-1].id}: {problem}" for problem in scenario_problems(found[-1])]
        except LabError as error:
            wrong.append(f"{place}, {scenario_id(each)}: {error}")
    return found, wrong


def print_samples(dialogue: Dialogue, rng: random.Random) -> None:
    """Print a dialogue, its summaries, and questions about it."""
    print(f"\n=== {dialogue.scenario.id} / {dialogue.ending.name}\n{dialogue.text}\n")
    print("  house:", dialogue.summary(HOUSE, rng))
    print("  other:", dialogue.summary(open_style(rng), rng))
    print("  questions:", *(f"{q} -> {a}" for q, a in dialogue.answerable()), sep="\n    ")


if __name__ == "__main__":
    sys.exit(main())
