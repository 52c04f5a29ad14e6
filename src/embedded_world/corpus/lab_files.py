"""The files under ``data`` that the labs read beside dialogues and models, each folder with its card."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from embedded_world.corpus import companion_data, lab_tasks, quarrels
from genai_labs.paths import DATA
from genai_labs.rlhf.dialogues import HARSH_SHARE
from genai_labs.show.results import table

Rows = Iterable[tuple[object, ...]]


@dataclass(frozen=True)
class LabFile:
    """A CSV file: its columns, what makes its rows, and what it holds, in a sentence of its folder's card."""

    columns: tuple[str, ...]
    rows: Callable[[], Rows]
    about: str


FILES: dict[str, dict[str, LabFile]] = {
    "tasks": {
        "other_tasks.csv": LabFile(
            ("seed", "split", "task", "source", "target"),
            lab_tasks.other_task_rows,
            "Prompts and answers of four tasks that pre-training taught (topic, question, next turn, a summary in "
            "another style), on dialogues of the test and the validation split. Lab 2 asks what a training forgot of "
            "them; the sweep asks the same on validation.",
        ),
        "replay.csv": LabFile(
            ("seed", "task", "source", "target"),
            lab_tasks.replayed,
            "Examples of the mixture of instructions that pre-training was made of. Lab 2 mixes some of them into what "
            "is trained, so that less is forgotten.",
        ),
    },
    "reasoning": {
        "word_problems.csv": LabFile(
            ("seed", "problem", "reasoning", "answer"),
            lab_tasks.word_problems,
            "Word problems with a worked solution and the answer, a whole number from 0 to 100, with numbers that did "
            "not stand together in these places of the story in any training. In Lab 3 they are answered at once and "
            "step by step.",
        ),
        "kinds.csv": LabFile(
            ("seed", "kind", "story", "problem", "answer"),
            companion_data.problems_of_each_kind,
            "Word problems of several kinds, for the companion notebook: stories that pre-training knows, with numbers "
            "it has not seen in these places of them, sums above 100, and stories that it does not know; some of these "
            "are practised there, with other numbers.",
        ),
        "practice.csv": LabFile(
            ("part", "story", "problem", "answer"),
            companion_data.practice_problems,
            "Word problems of new stories to practise on (part `practice`) and to choose settings by (`validation`), "
            "with other numbers than those in `kinds.csv`.",
        ),
        "tools.csv": LabFile(
            ("kind", "look up", "work out", "answer"),
            companion_data.tool_questions,
            "Questions for a model with tools: what is to be looked up in `data/retrieval/town.csv`, what is to be "
            "worked out, or both, one after the other.",
        ),
    },
    "retrieval": {
        "notes.csv": LabFile(
            ("seed", "note", "question", "answer"),
            lab_tasks.notes,
            "Notes with facts that no training has seen, each with a question that it answers. No title occurs twice "
            "with one seed. In Lab 3 the note is looked up before the model answers.",
        ),
        "town.csv": LabFile(
            ("part", "note", "question", "answer", "later", "later answer", "kind"),
            companion_data.notes_of_a_town,
            f"{companion_data.NOTES:,} notes to search in, no title twice, each with a question (part `there`), and "
            f"{companion_data.ABSENT} that are kept out (`not there`), so that their questions have no answer "
            f"(but for one). {companion_data.CHANGED} notes have a later one, by which the answer is another. Notes "
            "of one `kind` are worded alike.",
        ),
    },
    "rlhf": {
        "harsh_summaries.csv": LabFile(
            ("seed", "part", "id", "dialogue", "summary", "topic"),
            quarrels.harsh_summaries,
            "What the summarizer learns from that Lab 3 starts with (part `harsh`), and rows for its validation loss "
            f"(`held-out`). {quarrels.HARSH_HOSTILE_SHARE:.0%} of the dialogues hold a quarrel, and {HARSH_SHARE:.0%} "
            "of their summaries repeat the insult.",
        ),
        "ppo_dialogues.csv": LabFile(
            ("seed", "dialogue"),
            quarrels.ppo_dialogue_rows,
            f"Dialogues that PPO writes about, {quarrels.PPO_HOSTILE_SHARE:.0%} of them with a quarrel.",
        ),
        "cases.csv": LabFile(
            ("id", "dialogue", "reference_1", "reference_2", "reference_3", "topic", "situation", "quarrel", "hostile"),
            quarrels.cases,
            "Test dialogues with three neutral references, the kind of their quarrel and the tag of whoever is hostile "
            "(both empty in a polite dialogue), composed for the test split, of one or two exchanges each, unread; "
            "`situation` names the speech acts.",
        ),
        "validation_cases.csv": LabFile(
            ("id", "dialogue", "reference_1", "reference_2", "reference_3", "topic", "situation", "quarrel", "hostile"),
            quarrels.validation_case_rows,
            "Dialogues as in `cases.csv`, composed for the validation split. The settings of `python -m genai_labs "
            "arena` are chosen on them.",
        ),
        "neutral_summaries.csv": LabFile(
            ("seed", "summary"),
            quarrels.neutral_summary_rows,
            "A neutral summary of each dialogue in `ppo_dialogues.csv`, row by row. PPO does not read them; the "
            "supervised training that the arena compares with does.",
        ),
        "silence_pairs.csv": LabFile(
            ("id", "chosen", "rejected", "situation"),
            quarrels.silence_pair_rows,
            "Pairs of summaries of test quarrels: one reports the conflict in neutral words, one leaves it out; "
            "`situation` names the speech acts.",
        ),
        "insults.csv": LabFile(("category", "insult"), quarrels.insult_rows, "All insults of the corpus, by reproach."),
        "neutral_reports.csv": LabFile(
            ("category", "clause"),
            quarrels.neutral_reports,
            "The clauses that report a quarrel in neutral words: {H} is hostile to {V}, verbs are [present|past].",
        ),
    },
}

TITLES = {
    "tasks": "Tasks beside summaries",
    "reasoning": "Word problems",
    "retrieval": "Notes and questions",
    "rlhf": "Quarrels: dialogues, summaries and words for Lab 3",
}


def write_files(data: Path = DATA) -> None:
    """Write every file and card below ``data``; the same content gives the same bytes."""
    for name, files in FILES.items():
        (data / name).mkdir(parents=True, exist_ok=True)
        counts = {file: write_csv(data / name / file, made) for file, made in files.items()}
        (data / name / "README.md").write_text(lab_file_card(name, counts), encoding="utf-8", newline="\n")


def write_csv(path: Path, made: LabFile) -> int:
    """Write one file; the number of its rows."""
    rows = list(made.rows())
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(made.columns)
        writer.writerows(rows)
    return len(rows)


def lab_file_card(name: str, counts: dict[str, int]) -> str:
    """The card of a folder; ``counts``: rows by file."""
    files = FILES[name]
    shown = [(file, f"{count:,}", ", ".join(files[file].columns)) for file, count in counts.items()]
    about = "\n".join(f"- `{file}`: {made.about}" for file, made in files.items())
    by_seed = (
        "\nRows with a seed are those that a lab with this seed reads, in their order. With a seed that no row has, or "
        "where\nmore rows are wanted than a seed has, the others follow, shuffled by the seed "
        "(`genai_labs.loading.lab_data.draw`).\n"
        if any("seed" in made.columns for made in files.values())
        else ""
    )
    return f"""# {TITLES[name]}

Made by `python -m genai_labs build-world labs` from the authored content in `data/content`; the same content gives the
same bytes. This card is written by the same command. Licence: Apache-2.0, like the project.

{table(("file", "rows", "columns"), shown)}

{about}
{by_seed}
## Intended use and limits
For the labs of this course. Everything is invented and composed by a program from written phrasings and clauses;
the insults are mild and aim at no group of people. Results on it hold for this small world alone.
"""
