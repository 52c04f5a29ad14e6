"""The splits of the world that must be read: dialogues joined from exchanges that readers found to fit, with their
records, and those written by hand.

``data/reading`` is laid out like DialogSum: CSV files with a row for each reference. Beside ``test.csv`` and
``unseen.csv`` stand their records (``truth_test.jsonl``), by which who did what and how it ended can be graded.
"""

from __future__ import annotations

import csv
import json
import random
from collections.abc import Collection, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from embedded_world.corpus import figures, handwritten
from embedded_world.corpus.assemble import assemble, draw_exchanges, text_id
from embedded_world.corpus.compose import EXCHANGES
from embedded_world.corpus.composed import house_references, situation
from embedded_world.corpus.splits import COLUMNS
from embedded_world.corpus.talk import Talk
from genai_labs.errors import LabError
from genai_labs.paths import CONTENT, DATA, READING

SIZES = {"train": 2500, "validation": 500, "test": 500, "unseen": 300}
REFERENCES = {"train": 1, "validation": 1, "test": 3, "unseen": 3}
RECORDED = ("test", "unseen")
UNSEEN_EXCHANGES = ((2, 0.605), (3, 0.265), (4, 0.13))  # two at least, for the pairs; more long ones
# Exchanges that are drawn, lot after lot. Those of a lot are joined with one another only, so that another lot, drawn
# where too few fit, leaves the dialogues of those before it as they are.
LOTS = {"train": (7350, 3150), "validation": (6000,), "test": (6000,), "unseen": (4500, 1400, 900)}
# Of what readers found to fit, a dialogue is taken if no more than these shares of it are contractions (of its words);
# turns that stand in train; long turns that a dialogue of the split before it has, too; and 4-grams of those before it.
# In the training split, contractions and long turns alone are counted.
MOST_CONTRACTED, KNOWN_TURNS, SAID_FOURS = 0.1, 0.36, 0.3
SAID_LONG = {"train": 0.34, "validation": 0.0, "test": 0.0, "unseen": 0.0}
LONG = 6  # words of a long turn
READ = CONTENT / "read"  # what readers said, of exchanges and of dialogues
# The worst grade that a dialogue may have for its turns and for its summaries: 0 nothing to object to, 1 something that
# a picky reader would object to, 2 a turn that clearly does not fit or a summary that says something false.
WORST = {"train": 1, "validation": 0, "test": 0, "unseen": 0}


def grades(kind: str, split: str) -> dict[str, int]:
    """The worst grade that readers gave, by the ids of the "exchanges" or "dialogues" of a split."""
    found: dict[str, int] = {}
    with (READ / f"{kind}.csv").open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            if row["split"] == split:
                found[row["id"]] = max(found.get(row["id"], 0), int(row["turns"]), int(row["summary"]))
    return found


def assembled(split: str, unread: bool = False) -> Iterator[Talk]:
    """Dialogues of the exchanges of a split to which readers had nothing to object; ``unread``: or that nobody read."""
    otherwise = 0 if unread else 2
    grade, drawn = grades("exchanges", split), draw_exchanges(split)
    for lot, size in enumerate(LOTS[split]):
        yield from assemble(split, lot, [e for e in islice(drawn, size) if not grade.get(e.id, otherwise)])


def lengths(split: str) -> dict[int, int]:
    """How many dialogues of a split have how many exchanges."""
    shares = UNSEEN_EXCHANGES if split == "unseen" else EXCHANGES
    counts = {exchanges: int(share * SIZES[split]) for exchanges, share in shares}
    counts[2] += SIZES[split] - sum(counts.values())
    return counts


def is_plain_and_new(talk: Talk, known: Collection[str]) -> bool:
    """Whether a dialogue has few enough contractions, and few enough turns that are in ``known``."""
    said = [text for _, text in talk.turns]
    return figures.contracted(" ".join(said)) <= MOST_CONTRACTED and _share_among(said, known) <= KNOWN_TURNS


def talks(split: str, known: Collection[str] = (), unread: bool = False) -> Iterator[Talk]:
    """The dialogues of a split: of those assembled, long ones first, those that were read and fit and are new.

    known: the turns of the training split. unread: take what nobody has read, too. Raises LabError where too few fit.
    """
    grade, missing = grades("dialogues", split), lengths(split)
    turns, fours = set[str](), set[tuple[str, ...]]()
    for talk in sorted(assembled(split, unread), key=lambda talk: -len(talk.topics)):  # long ones are hard to find
        fits = grade.get(text_id(talk.text), 0 if unread else 2) <= WORST[split] and is_plain_and_new(talk, known)
        said = [text for _, text in talk.turns]
        made = figures.four_grams(said)
        long = [text for text in said if len(text.split()) >= LONG]
        new = _share_among(long, turns) <= SAID_LONG[split] and (
            split == "train" or _share_among(made, fours) <= SAID_FOURS
        )
        if fits and new and missing.get(len(talk.topics)):
            missing[len(talk.topics)] -= 1
            turns.update(long)
            fours.update(made)
            yield talk
    if any(missing.values()):
        raise LabError(
            f"Too few dialogues of the split {split!r} were read by others and found to fit: there are "
            f"{SIZES[split] - sum(missing.values())} of {SIZES[split]}. Where the composing program or its content "
            f"changed, other exchanges are drawn, which nobody has read. Let readers judge them and add their grades "
            f"to {READ.relative_to(DATA.parent)} (its README says how), or take them unread: "
            "python -m genai_labs build-reader corpus --unread."
        )


def _share_among(some: Collection[Any], others: Collection[Any]) -> float:
    """The share of ``some`` that is among ``others``."""
    return sum(each in others for each in some) / max(1, len(some))


def write_reading(folder: Path = READING, unread: bool = False) -> None:
    """Write all splits to ``folder``; the same content gives the same bytes. unread: as for :func:`talks`."""
    known = set[str]()
    chosen: dict[str, list[Talk]] = {}  # all, before anything is written: too few of a split may fit
    for split in SIZES:
        chosen[split] = list(talks(split, known, unread))
        if split == "train":
            known = {text for talk in chosen[split] for _, text in talk.turns}
        random.Random(f"reading-order-{split}").shuffle(chosen[split])  # long ones are found first
    folder.mkdir(parents=True, exist_ok=True)
    for split, count in REFERENCES.items():
        table, truth = [], []
        for i, talk in enumerate(chosen[split]):
            row = (talk.text, talk.topic, situation(talk))
            rng = random.Random(f"reading-references-{text_id(talk.text)}")
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
