"""Check a scenario file and print sample dialogues: ``python -m genai_labs.corpus.check FILE [--samples N]``."""

from __future__ import annotations

import argparse
import random
import sys
from pathlib import Path

from genai_labs.corpus.content import problems, read_scenarios
from genai_labs.corpus.dialogue import play
from genai_labs.corpus.styles import HOUSE, open_style
from genai_labs.helptext import plain
from genai_labs.paths import CONTENT

HS = 0.2 if (CONTENT / "hostile.yaml").exists() else 0.0


def main(argv: list[str] | None = None) -> int:
    """Print every problem of the scenarios in a file, then sample dialogues; exit status 1 if anything is wrong."""
    parser = argparse.ArgumentParser(description=plain(__doc__))
    parser.add_argument("file", type=Path)
    parser.add_argument("--samples", type=int, default=3)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", help="id of one scenario")
    args = parser.parse_args(argv)
    found = read_scenarios(args.file.resolve())
    wrong = [f"{s.id}: {p}" for s in found for p in problems(s)]
    print(f"{len(found)} scenarios, {len(wrong)} problems", *wrong, sep="\n")
    rng = random.Random(args.seed)
    fit = [s for s in found if not any(problems(s)) and args.only in (None, s.id)]
    for _ in range(args.samples if fit else 0):
        dialogue = play(rng.choice(fit), rng)
        print(f"\n=== {dialogue.scenario.id} / {dialogue.ending.name}\n{dialogue.text}\n")
        print("  house:", dialogue.summary(HOUSE, rng))
        print("  other:", dialogue.summary(open_style(rng), rng))
        print("  questions:", *(f"{q} -> {a}" for q, a in dialogue.answerable()), sep="\n    ")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
