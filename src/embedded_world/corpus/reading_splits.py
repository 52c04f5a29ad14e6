"""The splits of the world that must be read: composed dialogues with their records, and those written by hand.

``data/reading`` is laid out like DialogSum: CSV files with a row for each reference. Beside ``test.csv`` and
``unseen.csv`` stand their records (``truth_test.jsonl``), by which who did what and how it ended can be graded.
"""

from __future__ import annotations

import csv
import json
import random
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from embedded_world.corpus import handwritten
from embedded_world.corpus.compose import compose
from embedded_world.corpus.splits import COLUMNS
from embedded_world.corpus.styles import HOUSE
from embedded_world.corpus.talk import Talk
from genai_labs.paths import READING

SIZES = {"train": 2500, "validation": 500, "test": 500, "unseen": 300}
REFERENCES = {"train": 1, "validation": 1, "test": 3, "unseen": 3}
RECORDED = ("test", "unseen")
HOSTILE_SHARE = 0.15


def talks(split: str, count: int = 0, seed: int = 0) -> Iterator[Talk]:
    """The dialogues of a split, no two with the same text. Deterministic by seed."""
    rng = random.Random(f"reading-{split}-{seed}")
    seen: set[str] = set()
    while len(seen) < (count or SIZES[split]):
        talk = compose(rng, split, HOSTILE_SHARE)
        if talk.text not in seen and len(talk.turns) >= 2:
            seen.add(talk.text)
            yield talk


def situation(talk: Talk) -> str:
    """The acts that a dialogue is composed of, in order."""
    return " + ".join(told.act for told in talk.told if told.kind == "opening")


def house_references(talk: Talk, count: int, rng: random.Random) -> list[str]:
    """``count`` summaries in the house style, no two the same as far as wordings allow; the last one the shortest."""
    found: list[str] = []
    for i in range(count):
        for _ in range(10):
            text = talk.summary(HOUSE, rng, shorter=count > 1 and i == count - 1)
            if text not in found:
                break
        found.append(text)
    return found


def write_reading(folder: Path = READING) -> None:
    """Write all splits to ``folder``; the same content gives the same bytes."""
    folder.mkdir(parents=True, exist_ok=True)
    for split, count in REFERENCES.items():
        rng = random.Random(f"reading-references-{split}")
        table, truth = [], []
        for i, talk in enumerate(talks(split)):
            row = (talk.text, talk.topic, situation(talk))
            table += _csv_rows(f"{split}_{i}", row, house_references(talk, count, rng))
            truth.append({"id": f"{split}_{i}", "setting": talk.setting, "told": talk.record()})
        _write_table(folder / f"{split}.csv", table)
        if split in RECORDED:
            lines = [json.dumps(each, separators=(",", ":")) for each in truth]
            (folder / f"truth_{split}.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    for part in ("train", "dev", "test"):
        table = []
        for dialogue in handwritten.written(part):
            table += _csv_rows(dialogue.id, (dialogue.text, dialogue.topic, dialogue.topic), dialogue.summaries)
        _write_table(folder / f"handwritten_{part}.csv", table)


def _csv_rows(name: str, row: tuple[str, str, str], summaries: Sequence[str]) -> list[dict[str, Any]]:
    text, topic, situation = row
    names = [name] if len(summaries) == 1 else [f"{name}_{k}" for k in range(1, len(summaries) + 1)]
    return [
        dict(zip(COLUMNS, (n, text, summary, topic, situation), strict=True))
        for n, summary in zip(names, summaries, strict=True)
    ]


def _write_table(path: Path, table: Sequence[dict[str, Any]]) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(table)
