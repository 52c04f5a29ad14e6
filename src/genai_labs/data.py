"""Load dialogues: the splits of a profile, rows checked, references of one dialogue brought together."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from genai_labs.errors import LabError

COLUMNS = ("id", "dialogue", "summary", "topic")


@dataclass(frozen=True)
class Row:
    """One dialogue with all its reference summaries (three in the test split, one elsewhere)."""

    id: str
    dialogue: str
    references: tuple[str, ...]
    topic: str

    @property
    def summary(self) -> str:
        """The first reference."""
        return self.references[0]


def load_split(dataset: str, split: str) -> list[Row]:
    """The dialogues of a split, in the order of the file.

    ``dataset`` is a folder of CSV files named after their splits, with the columns id, dialogue, summary, topic.
    Rows with the same dialogue become one :class:`Row` with several references. Raises LabError if the file is
    missing, a column is missing, or a dialogue or summary is empty.
    """
    path = Path(dataset) / f"{split}.csv"
    if not path.exists():
        there = sorted(p.stem for p in Path(dataset).glob("*.csv"))
        raise LabError(
            f"There is no split {split!r} in {Path(dataset).name}: {path.name} is missing "
            f"(found: {', '.join(there) or 'no CSV'}). In the embedded world, restore it with: "
            "git checkout -- data/dialogues"
        )
    table = _read_csv(path)
    missing = [c for c in COLUMNS if c not in table.columns]
    if missing:
        raise LabError(
            f"{path.name} lacks the column{'s' * (len(missing) > 1)} {', '.join(missing)} "
            f"(it has: {', '.join(table.columns)}). "
            f"A data set needs {', '.join(COLUMNS)}, as DialogSum has them. Rename the columns or add them."
        )
    return group(table[list(COLUMNS)].to_dict("records"), path.name)


def _read_csv(path: Path) -> Any:
    import pandas as pd

    try:
        return pd.read_csv(path, dtype=str, keep_default_na=False)
    except (pd.errors.ParserError, pd.errors.EmptyDataError, UnicodeDecodeError) as error:
        raise LabError(
            f"{path.name} cannot be read as a CSV file in UTF-8: {error}. Save it again as CSV, or restore it with git."
        ) from error


def group(records: Sequence[dict[str, str]], source: str = "the data") -> list[Row]:
    """Rows with the same dialogue brought together, in order of first appearance."""
    grouped: dict[str, list[dict[str, str]]] = {}
    for number, record in enumerate(records, start=2):
        for column in ("dialogue", "summary"):
            if not record[column].strip():
                raise LabError(
                    f"Line {number} of {source} (id {record['id'] or '?'}) has an empty {column}. Nothing can "
                    "be learned or measured from it. Remove the row or fill it in."
                )
        grouped.setdefault(record["dialogue"], []).append(record)
    return [
        Row(
            first["id"].rsplit("_", 1)[0] if len(rows) > 1 else first["id"],
            text,
            tuple(r["summary"] for r in rows),
            first["topic"],
        )
        for text, rows in grouped.items()
        for first in rows[:1]
    ]


def other_summaries(rows: Sequence[Row], seed: int = 0) -> list[str]:
    """For each dialogue the summary of another one, drawn at random: what ROUGE gives for nothing."""
    order = list(range(len(rows)))
    random.Random(seed).shuffle(order)
    successor = dict(zip(order, order[1:] + order[:1], strict=True))
    return [rows[successor[i]].summary for i in range(len(rows))]


def first_turns(dialogue: str, count: int = 3) -> str:
    """The first ``count`` turns, without tags: the baseline that is hard to beat in news, and easy in dialogues."""
    return " ".join(line.split(": ", 1)[-1] for line in dialogue.splitlines()[:count])


def longest_turn(dialogue: str) -> str:
    """The longest turn, without its tag."""
    return max((line.split(": ", 1)[-1] for line in dialogue.splitlines()), key=len)
