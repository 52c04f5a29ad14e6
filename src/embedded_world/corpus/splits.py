"""The committed splits: train, validation, test, and the unseen scenarios, as CSV files laid out like DialogSum's."""

from __future__ import annotations

import csv
import random
from collections.abc import Iterator
from pathlib import Path

from embedded_world.corpus.content import scenarios
from embedded_world.corpus.dialogue import Dialogue, bucket, play
from embedded_world.corpus.styles import HOUSE
from genai_labs.paths import DIALOGUES

# A combination of slots belongs to the split in whose range its hash falls, so no two splits can share one.
SPLIT_RANGES = {
    "pretraining": (0.0, 0.70),
    "train": (0.70, 0.88),
    "validation": (0.88, 0.92),
    "test": (0.92, 1.0),
    "unseen": (0.0, 1.0),
}
SPLIT_SIZES = {"train": 8000, "validation": 500, "test": 500, "unseen": 200}
REFERENCES = {"train": 1, "validation": 1, "test": 3, "unseen": 1}
COLUMNS = ("id", "dialogue", "summary", "topic", "situation")


def in_split(signature: str, split: str) -> bool:
    """Whether a combination of slots belongs to ``split``."""
    low, high = SPLIT_RANGES[split]
    return low <= bucket(signature) < high


def dialogues(split: str, seed: int = 0, count: int | None = None) -> Iterator[Dialogue]:
    """The dialogues of a split: scenarios in turn, no combination of slots twice. Deterministic by seed."""
    known = scenarios(unseen=split == "unseen")
    rng = random.Random(f"{split}-{seed}")
    used: set[str] = set()
    for i in range(SPLIT_SIZES[split] if count is None else count):
        dialogue = play(known[i % len(known)], rng, lambda s: in_split(s, split) and s not in used)
        while repeats_itself(dialogue):
            dialogue = play(known[i % len(known)], rng, lambda s: in_split(s, split) and s not in used)
        used.add(dialogue.signature)
        yield dialogue


def repeats_itself(dialogue: Dialogue) -> bool:
    """Whether two turns are the same, as when a greeting and a farewell happen to be the same thanks."""
    return len({text for _, text in dialogue.turns}) < len(dialogue.turns)


def references(dialogue: Dialogue, count: int, rng: random.Random) -> list[str]:
    """``count`` summaries in the house style, each clause in another wording each time, quarrels told neutrally."""
    orders = [rng.sample(range(12), 12) for _ in range(3)]
    sizes = (
        len(dialogue.scenario.summary),
        len(dialogue.ending.summary),
        len(dialogue.quarrel.neutral) if dialogue.quarrel else 1,
    )
    picks = [[i for i in order if i < size] for order, size in zip(orders, sizes, strict=True)]
    return [dialogue.summary(HOUSE, wordings=tuple(p[k % len(p)] for p in picks)) for k in range(count)]


def rows(split: str, seed: int = 0) -> list[dict[str, str]]:
    """CSV rows of a split in shuffled order; a test dialogue has three rows, ``test_7_1`` to ``test_7_3``."""
    rng = random.Random(f"rows-{split}-{seed}")
    played = list(dialogues(split, seed))
    rng.shuffle(played)
    table = []
    for i, dialogue in enumerate(played):
        for k, summary in enumerate(references(dialogue, REFERENCES[split], rng)):
            suffix = f"_{k + 1}" if REFERENCES[split] > 1 else ""
            row = (f"{split}_{i}{suffix}", dialogue.text, summary, dialogue.topic, dialogue.scenario.id)
            table.append(dict(zip(COLUMNS, row, strict=True)))
    return table


def write_splits(folder: Path = DIALOGUES, seed: int = 0) -> None:
    """Write every split to ``folder``; the same seed and content give the same bytes."""
    folder.mkdir(parents=True, exist_ok=True)
    for split in SPLIT_SIZES:
        with (folder / f"{split}.csv").open("w", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
            writer.writeheader()
            writer.writerows(rows(split, seed))
