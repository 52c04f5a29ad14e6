"""One's own dialogues for fine-tuning: a file or a folder, checked as a whole, with a part set aside to validate."""

from __future__ import annotations

import math
import os
import random
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from transformers import PreTrainedTokenizerBase

from genai_labs.errors import LabError
from genai_labs.finetuning.examples import LONGEST_SUMMARY
from genai_labs.inputs import text
from genai_labs.inputs.arguments import counted
from genai_labs.inputs.tables import ENDINGS, Table, complain, read_table
from genai_labs.loading import data, hub
from genai_labs.loading.data import Row
from genai_labs.prompting.names import odd_note, odd_speakers, spoken_once, tag_summary
from genai_labs.prompting.speakers import TaggedDialogue, with_tags

FEWEST = 5  # dialogues in a file, those that are set aside among them
FEWEST_TO_VALIDATE = 2  # an interval is made of the spread between dialogues
SET_ASIDE = 0.2  # share of the dialogues
MOST_SET_ASIDE = 100
FEW = 200  # training dialogues, below which batches are small
BATCH = 4  # of these
STEPS = 150  # the embedded profile's own fine-tuning takes as many
NEEDED = ("dialogue", "summary")
REMEDY = (
    "Wanted is a CSV file in UTF-8 with the columns dialogue and summary (id and topic may be there), or JSON lines "
    "with these names: one dialogue a row, its turns on lines of their own. Mend this and run the same command."
)


class Own(NamedTuple):
    """What was read, and what there is to say about it. No dialogue is in both parts."""

    train: list[Row]
    validation: list[Row]
    notes: list[str]


def load_own(path: Path, tokenizer: PreTrainedTokenizerBase) -> Own:
    """Rows to train on and to validate with, made readable for the tokenizer, with tags in place of names.

    ``path`` is a file (CSV, JSON lines), or a folder or hub id with ``train.csv`` and perhaps ``validation.csv``. Where
    there is no validation file, a fifth of the dialogues is set aside, the same ones every time. Raises LabError with
    all that is wrong.
    """
    problems: list[str] = []
    records, notes = {}, []
    for split, file in _files(path).items():
        try:
            table = read_table(file)
        except LabError as error:
            problems.append(str(error).rstrip("."))
            continue
        records[split] = data.records_of(table, split, NEEDED)
        problems += table.problems
        notes += _make_readable(records[split], table, tokenizer, problems)
    count = len(_keys(records.get("train", [])))
    if "train" in records and count < FEWEST:
        aside = " (names aside)" * (len(records["train"]) > count and any("names" in each for each in records["train"]))
        found = counted(count, "different dialogue") + aside
        problems.append(f"{path.name} has {found} to train on, and at least {FEWEST} are needed")
    complain(path.name, problems, REMEDY)
    train = data.group(records["train"])
    if "validation" in records:
        return _without_shared(train, data.group(records["validation"]), notes)
    return _set_aside(train, notes)


def suited(settings: Mapping[str, Any], rows: int, batch_size: int | None = None) -> dict[str, Any]:
    """Settings of a plan for so many rows: where they are few, small batches, and epochs that make STEPS steps.

    batch_size: one that was asked for.
    """
    batch = batch_size or min(settings["batch_size"], rows, BATCH if rows < FEW else rows)
    steps_an_epoch = math.ceil(rows / batch)
    return {**settings, "batch_size": batch, "epochs": max(settings["epochs"], math.ceil(STEPS / steps_an_epoch))}


def _files(path: Path) -> dict[str, Path]:
    """The file of each split; of a file alone there is "train" only."""
    if os.path.isfile(path) or path.suffix.lower() in ENDINGS:
        if path.suffix.lower() not in ENDINGS:
            raise LabError(f"{path.name} is neither a CSV file nor JSON lines, by its ending. {REMEDY}")
        return {"train": path}
    folder = hub.find(path.as_posix(), "dataset")  # owner/name stays so on Windows, too
    found = {split: data.find_split(folder, split) for split in ("train", "validation")}
    if found["train"] is None:
        there = sorted(each.name for each in folder.iterdir() if each.suffix.lower() in ENDINGS)
        raise LabError(
            f"The folder {folder.name} has no train.csv, to train on (found: {', '.join(there) or 'no CSV file'}). "
            f"Call the file train.csv, or name the file itself: --data {path / (there[0] if there else 'FILE.csv')}"
        )
    return {split: file for split, file in found.items() if file is not None}


def _make_readable(
    records: Sequence[dict[str, Any]], table: Table, tokenizer: PreTrainedTokenizerBase, problems: list[str]
) -> list[str]:
    """Replace in place names by tags, and what the tokenizer does not know; returns notes on both.

    A dialogue is read as `summarize` reads it, else what was learned from the one would be of no use to the other.
    """
    lost, tagged, found, plain, long, odd = "", 0, 0, 0, 0, list[str]()
    different = len(_keys(records))
    for record in records:
        if dialogue := _tag_names(record):
            odd += odd_speakers(dialogue, record["id"])
            tagged, found = tagged + 1, found + bool(text.TAG.search(record["summary"]))
        for column in NEEDED:
            if not isinstance(record[column], str) or not record[column].strip():
                continue  # said already
            made = text.readable(record[column], tokenizer)
            if text.is_mostly_lost(record[column], made.text):
                problems.append(
                    f"The {column} of {record['id']} in {table.path.name} is mostly in letters that the model does "
                    f"not know ({' '.join(made.lost[: text.MOST_NAMED])})"
                )
            record[column] = made.text
            lost += made.lost
            if column == "dialogue":
                plain += with_tags(made.text).is_plain
            else:
                long += len(tokenizer(made.text, verbose=False)["input_ids"]) > LONGEST_SUMMARY
    notes = [f"{table.path.name}: {text.note(''.join(dict.fromkeys(lost)))}."] if lost else []
    if plain:
        notes.append(
            f"{table.path.name}: no speakers were found in {counted(plain, 'dialogue')}, whose first line has no name "
            "before a colon, such as 'Anna: Hello.'."
        )
    if long:
        notes.append(
            f"{table.path.name}: {counted(long, 'summary has', 'summaries have')} more than {LONGEST_SUMMARY} tokens, "
            "and what is beyond them is not learned."
        )
    if tagged:
        others = f"; the other {tagged - found} name nobody who speaks" * (found < tagged)
        notes.append(
            f"{table.path.name}: names became #Person1#, #Person2#, ... in {counted(tagged, 'dialogue')}, and in "
            f"{found} of their summaries{others}."
        )
    if tagged and (same := different - len(_keys(records))):
        notes.append(
            f"{table.path.name}: {counted(same, 'dialogue is', 'dialogues are')} the same as another but for the names "
            "and not counted again: of such dialogues, the first summary is learned."
        )
    return notes + ([odd_note(table.path.name, odd)] if odd else [])


def _tag_names(record: dict[str, Any]) -> TaggedDialogue | None:
    """Replace names by tags in a dialogue that has names, and in its summary; None where it has none."""
    if not all(isinstance(record[column], str) for column in NEEDED):
        return None  # said already
    dialogue = with_tags(record["dialogue"])
    if dialogue.names:
        record["dialogue"], record["names"] = dialogue.text, dialogue.names
        record["summary"] = tag_summary(record["summary"], dialogue.names, spoken_once(dialogue))
    return dialogue if dialogue.names else None


def _key(row: Mapping[str, Any] | Row) -> str:
    """By what dialogues are told apart: their words, whatever the spaces between them."""
    return " ".join((row.dialogue if isinstance(row, Row) else row["dialogue"]).split())


def _keys(records: Iterable[Mapping[str, Any]]) -> set[str]:
    return {_key(record) for record in records if isinstance(record["dialogue"], str)}


def _without_shared(train: list[Row], validation: list[Row], notes: list[str]) -> Own:
    held_out = {_key(row) for row in validation}
    kept = [row for row in train if _key(row) not in held_out]
    if shared := len(train) - len(kept):
        notes.append(f"Left out of the training, as the validation file has the same: {counted(shared, 'dialogue')}.")
    if len(kept) < FEWEST or len(validation) < FEWEST_TO_VALIDATE:
        raise LabError(
            f"To train on there would be {counted(len(kept), 'dialogue')}, without those that are in the validation "
            f"file, too, and {len(validation)} to validate with. At least {FEWEST} and {FEWEST_TO_VALIDATE} are "
            "needed. Add some, or leave the validation file away: a part of train is then set aside."
        )
    notes.append(f"{len(kept)} dialogues to train on, {len(validation)} to validate with.")
    return Own(kept, validation, notes)


def _set_aside(rows: list[Row], notes: list[str]) -> Own:
    keys = list(dict.fromkeys(map(_key, rows)))
    count = min(MOST_SET_ASIDE, max(FEWEST_TO_VALIDATE, round(SET_ASIDE * len(keys))))
    chosen = set(random.Random("set aside").sample(keys, count))
    train = [row for row in rows if _key(row) not in chosen]
    validation = [row for row in rows if _key(row) in chosen]
    notes.append(
        f"{len(train)} dialogues to train on; {len(validation)} were set aside to validate with, as there is no "
        "validation file."
    )
    return Own(train, validation, notes)
