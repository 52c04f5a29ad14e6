"""Count what makes dialogues natural and hard to recall: ``python -m embedded_world.corpus.figures``.

Real DialogSum's figures are printed beside ours where ``--beside`` names a folder with its CSV files.
"""

from __future__ import annotations

import argparse
import random
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np

from embedded_world.corpus import handwritten, words
from embedded_world.corpus.acts import WORD_TYPES
from genai_labs.loading.data import Row, load_split
from genai_labs.paths import READING
from genai_labs.scoring.truth import clauses

TOKENS = 40_000  # in which distinct n-grams are counted
DIALOGUES = 500  # in which turns are counted that repeat
# "'s" is a contraction behind these words; behind others it is mostly a possessive.
_IS = (
    "it|that|what|where|who|how|there|here|he|she|let|when|why|this|everything|nothing|something|everyone|nobody|which"
)
CONTRACTION = re.compile(rf"\b(?:\w+(?:'(?:re|ve|ll|m|d)|n't)|(?:{_IS})'s)\b", re.IGNORECASE)
WORD = re.compile(r"#Person\d#|[A-Za-z]+|\d+")


@dataclass(frozen=True)
class Figures:
    """What is counted; shares from 0 to 1, nan where there is no training split to compare with."""

    dialogues: int
    contractions: float  # per 1,000 words
    turns_sd: float
    turn_words_sd: float
    repeated: float  # turns that stand more than once in 500 dialogues
    repeated_masked: float
    in_train: float  # turns that stand in the training split too
    distinct4: float
    clauses_in_train: float  # clauses of references whose masked form stands in the training split


@cache
def open_words() -> frozenset[str]:
    """Single words that slots are filled with, in lower case."""
    kinds = [k for k in WORD_TYPES if k not in ("clock", "date", "price", "number", "duration", "title", "day")]
    known = {w.lower() for kind in kinds for phrase in (*words.common(kind), *words.rare(kind)) for w in phrase.split()}
    small = {
        "the",
        "of",
        "a",
        "and",
        "pair",
        "in",
        "with",
        "to",
        "set",
        "at",
        "on",
        "night",
        "too",
        "as",
        "out",
        "apart",
    }
    numbers = {*words.HOURS, *words.NUMBERS, *words.TENS, *words.TEENS, "half", "quarter", "hundred", "o'clock"}
    return frozenset(known - small | {n for each in numbers for n in each.split("-")})


def masked(text: str) -> str:
    """The text with names, numbers and words that fill slots as "_", several in a row as one; in lower case."""
    kept: list[str] = []
    for match in WORD.finditer(text):
        word = match[0]
        inner = (
            match.start() > 0
            and word[:1].isupper()
            and text[match.start() - 2 : match.start()] not in (". ", "! ", "? ")
        )
        hidden = not word.startswith("#") and (
            word.lower() in open_words() or word.isdigit() or (inner and word != "I")
        )
        if hidden and kept and kept[-1] == "_":
            continue
        kept.append("_" if hidden else word if word.startswith("#") else word.lower())
    return " ".join(kept)


def said(dialogue: str) -> list[str]:
    """The turns of a dialogue without their tags."""
    return [line.split(": ", 1)[-1] for line in dialogue.split("\n")]


def contracted(text: str) -> float:
    """Contractions in a text, as a share of its words."""
    return len(CONTRACTION.findall(text)) / max(1, len(text.split()))


def four_grams(turns: Sequence[str]) -> list[tuple[str, ...]]:
    """Every four words in a row, in lower case, across turns."""
    tokens = [word.lower() for turn in turns for word in WORD.findall(turn)]
    return list(zip(*(tokens[i:] for i in range(4)), strict=False))


def count_figures(rows: Sequence[Row], train: Sequence[Row] = ()) -> Figures:
    """The figures of a corpus, compared with its training split where there is one."""
    rng = random.Random(0)
    turns = [said(row.dialogue) for row in rows]
    flat = [turn for each in turns for turn in each]
    everything = " ".join(flat)
    tokens = [w.lower() for each in rng.sample(turns, len(turns)) for turn in each for w in WORD.findall(turn)][:TOKENS]
    fours = list(zip(*(tokens[i:] for i in range(4)), strict=False))
    some = [turn for each in rng.sample(turns, min(DIALOGUES, len(turns))) for turn in each]
    known = {turn for row in train for turn in said(row.dialogue)}
    known_clauses = {masked(c) for row in train for summary in row.references for c in clauses(summary)}
    told = [masked(c) for row in rows for summary in row.references for c in clauses(summary)]
    return Figures(
        len(rows),
        1000 * contracted(everything),
        float(np.std([len(each) for each in turns])),
        float(np.std([len(turn.split()) for turn in flat])),
        _again(some),
        _again([masked(turn) for turn in some]),
        float(np.mean([turn in known for turn in flat])) if train else float("nan"),
        len(set(fours)) / max(1, len(fours)),
        float(np.mean([clause in known_clauses for clause in told])) if train else float("nan"),
    )


def _again(turns: Sequence[str]) -> float:
    """The share of turns that stand more than once."""
    counts: dict[str, int] = {}
    for turn in turns:
        counts[turn] = counts.get(turn, 0) + 1
    return sum(n for n in counts.values() if n > 1) / len(turns)


def figures_table(found: dict[str, Figures]) -> str:
    """A table with a column for each corpus."""
    names = {
        "dialogues": "dialogues",
        "contractions": "contractions in 1,000 words",
        "turns_sd": "turns a dialogue, standard deviation",
        "turn_words_sd": "words a turn, standard deviation",
        "repeated": "turns that repeat in 500 dialogues",
        "repeated_masked": "the same, words in slots masked",
        "in_train": "turns that stand in train",
        "distinct4": "distinct 4-grams in 40,000 words",
        "clauses_in_train": "reference clauses whose masked form is in train",
    }
    lines = [f"| | {' | '.join(found)} |", "| --- |" + " --- |" * len(found)]
    for field, name in names.items():
        values = [getattr(each, field) for each in found.values()]
        shown = [
            "-" if value != value else f"{value:.0f}" if field in ("dialogues",) else f"{value:.2f}" for value in values
        ]
        lines.append(f"| {name} | {' | '.join(shown)} |")
    return "\n".join(lines)


def main(argv: Sequence[str] | None = None) -> int:
    """Count and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--beside", type=Path, help="a folder with DialogSum's CSV files")
    args = parser.parse_args(argv)
    train = load_split(READING, "train")
    found = {split: count_figures(load_split(READING, split), train) for split in ("test", "unseen")}
    written = {
        part: [Row(d.id, d.text, d.summaries, d.topic) for d in handwritten.written(part)] for part in ("train", "test")
    }
    found["written by hand"] = count_figures(written["test"], written["train"])
    if args.beside:
        found["DialogSum"] = count_figures(load_split(args.beside, "test"), load_split(args.beside, "train"))
    print(figures_table(found))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
