"""What the labs need beside models and dialogues: other tasks, word problems, notes, quarrels, words of hate.

It stands in CSV files, each folder of them with a card, in the folder that the profile names as its ``lab_data``.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from genai_labs.errors import LabError
from genai_labs.inputs.arguments import as_whole_number
from genai_labs.inputs.tables import complain, read_table
from genai_labs.loading.profiles import PROFILES, loaded_profile

SEEDS = range(5)  # those that have rows of their own, as ``python -m genai_labs seeds`` runs them
REMEDY = "Restore it with: git checkout -- data"

Record = dict[str, str]


@dataclass(frozen=True)
class Example:
    """One example of a task: the task's name, what the encoder reads, what the decoder must write."""

    task: str
    source: str
    target: str


def read(name: str, *columns: str) -> tuple[Record, ...]:
    """The rows of a file of the profile that was loaded last, such as ``tasks/replay.csv``, in its order.

    Raises LabError if the file is missing or damaged, or lacks one of the columns.
    """
    profile = PROFILES.get(loaded_profile(), PROFILES["mini"])
    return _rows(Path(profile.lab_data) / name, columns)


@cache
def _rows(path: Path, columns: tuple[str, ...]) -> tuple[Record, ...]:
    if not path.exists():
        raise LabError(f"{path.name} is missing. The labs read it from {path.parent.name}. {REMEDY}")
    table = read_table(path)
    if missing := [column for column in columns if column not in table.columns]:
        table.problems.append(f"{path.name} lacks the column{'s' * (len(missing) > 1)} {', '.join(missing)}")
    complain(path.name, table.problems, REMEDY)
    return tuple(table.rows)


def draw(rows: Sequence[Record], count: int, seed: int, what: str) -> list[Record]:
    """``count`` of the rows by seed, those of another seed only where it has too few of its own.

    Rows whose column ``seed`` names the seed come first, in their order; behind them all others, shuffled by the seed.
    what: names the rows in the LabError that is raised if fewer than ``count`` are there.
    """
    seed = as_whole_number(seed, "The seed")
    if as_whole_number(count, f"The number of {what}", 0) > len(rows):
        raise LabError(f"{count} {what} are needed, and there are {len(rows)}. Ask for at most as many as there are.")
    own = [row for row in rows if row["seed"] == str(seed)]
    others = [row for row in rows if row["seed"] != str(seed)]
    random.Random(seed).shuffle(others)
    return (own + others)[:count]
