"""Load dialogues: the splits of a profile, rows checked, references of one dialogue brought together."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from genai_labs import sources
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


def load_split(dataset: str | Path, split: str) -> list[Row]:
    """The dialogues of a split, in the order of the file.

    ``dataset`` is a folder, or a name on the hub such as "knkarthick/dialogsum" (:mod:`genai_labs.sources`). It holds
    CSV files named after their splits, with the columns id, dialogue, summary, topic, or DialogSum's own JSON lines
    (``dialogsum.test.jsonl``, where a test dialogue has summary1 to summary3). Rows with the same dialogue become one
    :class:`Row` with several references. Raises LabError if the file or a column is missing, or a text is empty.
    """
    folder = sources.find(str(dataset), "dataset")
    path = _split_file(folder, split)
    if path.suffix == ".jsonl":
        return group(_read_json_lines(path, split), path.name)
    table = _read_csv(path)
    missing = [c for c in COLUMNS if c not in table.columns]
    if missing:
        raise LabError(
            f"{path.name} lacks the column{'s' * (len(missing) > 1)} {', '.join(missing)} "
            f"(it has: {', '.join(table.columns)}). "
            f"A data set needs {', '.join(COLUMNS)}, as DialogSum has them. Rename the columns or add them."
        )
    return group(table[list(COLUMNS)].to_dict("records"), path.name)


# DialogSum's own files call the validation split "dev".
SPLIT_NAMES = {"validation": ("validation", "dev")}


def _split_file(folder: Path, split: str) -> Path:
    names = SPLIT_NAMES.get(split, (split,))
    wanted = [f"{name}.csv" for name in names] + [
        f"{start}{name}.jsonl" for name in names for start in ("", "dialogsum.")
    ]
    for name in wanted:
        if (folder / name).exists():
            return folder / name
    there = sorted(path.name for path in folder.iterdir() if path.suffix in (".csv", ".jsonl"))
    raise LabError(
        f"There is no split {split!r} in {folder.name}: {wanted[0]} is missing "
        f"(found: {', '.join(there) or 'neither CSV nor JSON lines'}). In the embedded world, restore it with: "
        "git checkout -- data/dialogues"
    )


def _read_json_lines(path: Path, split: str) -> list[dict[str, str]]:
    """Records of DialogSum's own layout: one for each summary of a dialogue, with the ids that the CSV files have."""
    records = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
            summaries = [n for n in ("summary", "summary1", "summary2", "summary3") if n in row]
            if not summaries or "dialogue" not in row:
                raise KeyError("summary" if "dialogue" in row else "dialogue")
        except (ValueError, KeyError, TypeError) as error:
            raise LabError(
                f"Line {number} of {path.name} is not a row of DialogSum ({type(error).__name__}: {error}). Each line "
                "is to be a JSON object with dialogue and summary, or summary1 to summary3. Fetch the file again."
            ) from error
        for place, name in enumerate(summaries, start=1):
            end = f"_{place}" if len(summaries) > 1 else ""
            topic = row.get(name.replace("summary", "topic"), row.get("topic", ""))
            own = str(row.get("fname", row.get("id", f"{split}_{number - 1}")))
            records.append({"id": own + end, "dialogue": row["dialogue"], "summary": row[name], "topic": topic})
    return records


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
