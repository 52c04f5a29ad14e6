"""Load dialogues: the splits of a profile, rows checked, references of one dialogue brought together."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from genai_labs.errors import LabError
from genai_labs.inputs.arguments import as_text, as_whole_number
from genai_labs.inputs.tables import Table, complain, read_table, text_problem
from genai_labs.inputs.text import without_surrogates
from genai_labs.loading import hub, sources

T = TypeVar("T")

COLUMNS = ("id", "dialogue", "summary", "topic")
REMEDY = (
    "A data set is a CSV file in UTF-8 with the columns id, dialogue, summary and topic, or JSON lines with dialogue "
    "and summary. Mend the file, or restore it with git."
)


@dataclass(frozen=True)
class Row:
    """One dialogue with all its reference summaries (three in the test split, one elsewhere).

    situation: what is played in it, as in other dialogues; empty where the data name none. names: whom #Person1# and so
    on stand for, where a file of one's own had names in their place.
    """

    id: str
    dialogue: str
    references: tuple[str, ...]
    topic: str
    situation: str = ""
    names: tuple[str, ...] = field(default=(), repr=False)

    @property
    def summary(self) -> str:
        """The first reference."""
        return self.references[0]


def load_split(dataset: str | Path, split: str) -> list[Row]:
    """The dialogues of a split, in the order of the file.

    ``dataset`` is a folder, or a name on the hub such as "knkarthick/dialogsum" (:mod:`.sources`). It holds
    CSV files named after their splits, with the columns id, dialogue, summary, topic, or DialogSum's own JSON lines
    (``dialogsum.test.jsonl``, where a test dialogue has summary1 to summary3). Rows with the same dialogue become one
    :class:`Row` with several references. Raises LabError if the file or a column is missing, and with all that is
    wrong with its rows: another number of fields than columns, an empty text.
    """
    folder = hub.find(str(dataset), "dataset")
    table = read_table(_split_file(folder, split))
    records = records_of(table, split)
    complain(table.path.name, table.problems, REMEDY)
    return group(records)


# DialogSum's own files call the validation split "dev".
SPLIT_NAMES = {"validation": ("validation", "dev")}


def find_split(folder: Path, split: str) -> Path | None:
    """The file of a split in a folder; None if there is none."""
    return next((folder / name for name in _names(split) if (folder / name).exists()), None)


def _names(split: str) -> list[str]:
    names = SPLIT_NAMES.get(split, (split,))
    return [f"{name}.csv" for name in names] + [
        f"{start}{name}.jsonl" for name in names for start in ("", "dialogsum.")
    ]


def _split_file(folder: Path, split: str) -> Path:
    if found := find_split(folder, split):
        return found
    there = sorted(path.name for path in folder.iterdir() if path.suffix in (".csv", ".jsonl"))
    name, embedded = sources.name_of(folder), "In the embedded world, restore it with: git checkout -- data"
    raise LabError(
        f"There is no split {split!r} in {name}: {_names(split)[0]} is missing "
        f"(found: {', '.join(there) or 'neither CSV nor JSON lines'}). "
        f"{embedded if name == folder.name else sources.remedy(folder)}"
    )


def records_of(table: Table, split: str, needed: Sequence[str] = COLUMNS) -> list[dict[str, Any]]:
    """A record with COLUMNS for each summary in the table; what is wrong with a row goes to ``table.problems``.

    needed: columns that a CSV file must have; an id that is not there is made up from ``split`` and the row's number.
    """
    if table.path.suffix.lower() == ".jsonl":
        each = enumerate(zip(table.lines, table.rows, strict=True))
        rows = [(line, made) for number, (line, row) in each for made in _summaries(row, f"{split}_{number}")]
    else:
        missing = [column for column in needed if column not in table.columns]
        if missing:
            table.problems.append(
                f"{table.path.name} lacks the column{'s' * (len(missing) > 1)} {', '.join(missing)} "
                f"(it has: {', '.join(table.columns)})"
            )
            return []
        rows = list(zip(table.lines, table.rows, strict=True))
    records: list[dict[str, str]] = []
    for number, (line, row) in enumerate(rows):
        own = _word(row.get("id"), f"{split}-{number}")
        for column in ("dialogue", "summary"):
            problem = f"has no {column}" if column not in row else text_problem(row[column], column)
            if problem:
                table.problems.append(f"Line {line} of {table.path.name} (id {own or '?'}) {problem}")
        texts: dict[str, Any] = {column: row.get(column) for column in ("dialogue", "summary")}
        records.append({"id": own, **texts} | {name: _word(row.get(name), "") for name in ("topic", "situation")})
    return records


def _summaries(row: dict[str, Any], own: str) -> list[dict[str, Any]]:
    """A row of JSON as one for each of its summaries, with the ids that the CSV files have.

    One without any comes back without one, which is then reported as missing.
    """
    own = _word(row.get("fname", row.get("id")), own)
    names = [name for name in ("summary", "summary1", "summary2", "summary3") if name in row]
    if not names:
        return [row | {"id": own}]
    made = []
    for place, name in enumerate(names, start=1):
        topic = row.get(name.replace("summary", "topic"), row.get("topic"))
        own_id = f"{own}_{place}" if len(names) > 1 else own
        made.append(row | {"id": own_id, "summary": row[name], "topic": topic})
    return made


def _word(value: Any, otherwise: str) -> str:
    """A short text or a number as it stands in a file; ``otherwise`` in place of all else."""
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return otherwise
    return without_surrogates(str(value))


def group(records: Sequence[dict[str, Any]]) -> list[Row]:
    """Rows with the same dialogue brought together, in order of first appearance.

    Of several, test_0_1 and test_0_2, the id is what stands before the last _, unless another dialogue has it, too.
    """
    grouped: dict[str, list[dict[str, Any]]] = {}
    named: dict[str, set[str]] = {}  # the dialogues that an id, or the front part of one, belongs to
    for record in records:
        grouped.setdefault(record["dialogue"], []).append(record)
        for name in (record["id"], _front(record["id"])):
            named.setdefault(name, set()).add(record["dialogue"])
    made = []
    for text, (first, *others) in grouped.items():
        name = _front(first["id"]) if others and len(named[_front(first["id"])]) == 1 else first["id"]
        summaries = tuple(record["summary"] for record in (first, *others))
        made.append(
            Row(name, text, summaries, first["topic"], first.get("situation", ""), tuple(first.get("names", ())))
        )
    return made


def _front(id: str) -> str:
    return id.rsplit("_", 1)[0]


def situations(rows: Sequence[Row]) -> list[str]:
    """For each row the situation that its dialogue shares with others; its own place where none is named."""
    return [row.situation or f"dialogue {place}" for place, row in enumerate(rows)]


def half_by_seed(rows: Sequence[T], seed: int) -> list[T]:
    """Half of the rows, drawn by the seed and in their order; all of them with seed 0."""
    chosen = random.Random(as_whole_number(seed, "The seed")).sample(range(len(rows)), len(rows) // 2)
    return [rows[place] for place in sorted(chosen)] if seed else list(rows)


def other_summaries(rows: Sequence[Row], seed: int = 0) -> list[str]:
    """For each dialogue the summary of another one, drawn at random: what ROUGE gives for nothing.

    Raises LabError for a single dialogue.
    """
    if len(rows) == 1:
        raise LabError(
            "There is only one dialogue, and so no summary of another one to compare with. Pass at least two rows."
        )
    order = list(range(len(rows)))
    random.Random(as_whole_number(seed, "The seed")).shuffle(order)
    successor = dict(zip(order, order[1:] + order[:1], strict=True))
    return [rows[successor[i]].summary for i in range(len(rows))]


def first_turns(dialogue: str, count: int = 3) -> str:
    """The first ``count`` turns, without tags: the baseline that is hard to beat in news, and easy in dialogues."""
    if as_whole_number(count, "The number of turns") < 0:
        raise LabError(f"The first {count} turns were asked for. There cannot be fewer than 0. Ask for 1 or more.")
    return " ".join(line.split(": ", 1)[-1] for line in as_text(dialogue, "The dialogue").splitlines()[:count])


def longest_turn(dialogue: str) -> str:
    """The longest turn, without its tag; empty if there is none."""
    return max(
        (line.split(": ", 1)[-1] for line in as_text(dialogue, "The dialogue").splitlines()), key=len, default=""
    )
