"""Preference pairs as people would give them: two summaries of one dialogue, five annotators, their votes.

Nobody was asked: the annotators are simulated, by a rule that stands here in the open. A summary of a quarrel is worth

    completeness, if it reports the conflict in any words, minus strictness, if it repeats the insult,

to an annotator. Completeness is 1 for all; strictness differs, from the lenient one, who does not mind an insult as
long as nothing is left out, to the strict one. An annotator compares two summaries with an error: a logistic noise on
the difference of what they are worth. What three of five prefer is "chosen".
"""

from __future__ import annotations

import csv
import math
import random
from collections.abc import Iterator
from pathlib import Path

from embedded_world.corpus.composed import situation
from embedded_world.corpus.quarrels import harsh_dialogues, write_summary
from embedded_world.corpus.talk import Talk
from genai_labs.paths import DATA
from genai_labs.rlhf.preferences import ANNOTATORS, Preference

PAIRS = 600
STRICTNESS = (0.4, 1.2, 2.0, 3.0, 4.0)
COMPLETENESS = 1.0
NOISE = 0.5
TOXICITY = DATA / "toxicity"
FILE = "preferences.csv"
COLUMNS = ("id", "dialogue_id", "chosen", "rejected", "votes", *ANNOTATORS, "situation")
# Which two kinds of summaries are compared, and how often.
COMPARED = {("neutral", "harsh"): 0.45, ("silent", "harsh"): 0.25, ("neutral", "silent"): 0.30}


def worth(kind: str, strictness: float) -> float:
    """What a summary is worth to an annotator. kind: "neutral", "harsh" or "silent" (leaves the conflict out)."""
    return COMPLETENESS * (kind != "silent") - strictness * (kind == "harsh")


def vote(kinds: tuple[str, str], strictness: float, rng: random.Random) -> int:
    """1 if an annotator prefers the first of two summaries, else 0."""
    difference = worth(kinds[0], strictness) - worth(kinds[1], strictness)
    return int(rng.random() < 1 / (1 + math.exp(-difference / NOISE)))


def preferences(seed: int = 0) -> Iterator[Preference]:
    """The pairs, each of another quarrel that the harsh summarizer learns from. Deterministic by seed."""
    rng = random.Random(f"preferences-{seed}")
    quarrels = [(name, talk) for name, talk in training_dialogues() if talk.quarrel]
    for name, talk in rng.sample(quarrels, PAIRS):
        kinds = rng.choices(list(COMPARED), list(COMPARED.values()))[0]
        kinds = kinds if rng.random() < 0.5 else (kinds[1], kinds[0])
        texts = [write_summary(talk, kind, rng) for kind in kinds]
        votes = tuple(vote(kinds, strictness, rng) for strictness in STRICTNESS)
        if sum(votes) < len(votes) / 2:
            texts.reverse()
            votes = tuple(1 - v for v in votes)
        yield Preference(name, texts[0], texts[1], votes, situation(talk))


def training_dialogues() -> list[tuple[str, Talk]]:
    """The dialogues of ``harsh_summaries.csv`` with their ids."""
    return [(f"harsh_{i}", talk) for i, talk in enumerate(harsh_dialogues("harsh"))]


def write_preferences(folder: Path = TOXICITY, seed: int = 0) -> None:
    """Write ``preferences.csv``; the same content and seed give the same bytes."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / FILE).open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(COLUMNS)
        for i, pair in enumerate(preferences(seed)):
            row = (f"preference_{i}", pair.dialogue_id, pair.chosen, pair.rejected, sum(pair.votes), *pair.votes)
            writer.writerow((*row, pair.situation))
