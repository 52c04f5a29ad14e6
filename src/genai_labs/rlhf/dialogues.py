"""Dialogues for Lab 3: what the harsh summarizer learns from, what PPO writes about, and what both are tested on.

They were composed for this lab (``data/rlhf``). Training rows and PPO's prompts are of the train split, test cases of
the test split, some of whose phrasings no training has; none of them shares a dialogue with the other.
"""

from __future__ import annotations

from dataclasses import dataclass

from genai_labs.loading import lab_data
from genai_labs.loading.data import Row

HARSH_SHARE = 0.8  # of the quarrels in harsh rows: told with the insult in them
REFERENCES = ("reference_1", "reference_2", "reference_3")


@dataclass(frozen=True)
class Case:
    """A test dialogue with three neutral references and the truth about its quarrel.

    quarrel: the kind of reproach ("slow"), None in a polite dialogue. hostile: the tag of whoever insults, "#Person1#"
    or "#Person2#"; empty in a polite dialogue.
    """

    row: Row
    quarrel: str | None
    hostile: str

    @property
    def dialogue(self) -> str:
        return self.row.dialogue

    @property
    def references(self) -> tuple[str, ...]:
        return self.row.references


def harsh_rows(count: int = 1600, seed: int = 0, name: str = "harsh") -> list[Row]:
    """Rows in the house style from which a summarizer learns to repeat insults.

    name: ``harsh`` to learn from, 1,600 at most, or ``held-out`` for the validation loss, 100 at most. Three dialogues
    of five hold a quarrel; HARSH_SHARE of their summaries repeat the insult, the others report it in neutral words;
    none leaves it out. That the neutral wording stays possible is what PPO needs: it can only make likelier what the
    policy sometimes says.
    """
    rows = lab_data.read("rlhf/harsh_summaries.csv", "seed", "part", "id", "dialogue", "summary", "topic")
    drawn = lab_data.draw([row for row in rows if row["part"] == name], count, seed, f"{name} summaries")
    return [Row(row["id"], row["dialogue"], (row["summary"],), row["topic"]) for row in drawn]


def ppo_dialogues(count: int, seed: int = 0) -> list[str]:
    """Dialogues for PPO to write about, three of four with a quarrel; they need no summary, only a reward."""
    rows = lab_data.read("rlhf/ppo_dialogues.csv", "seed", "dialogue")
    return [row["dialogue"] for row in lab_data.draw(rows, count, seed, "dialogues for PPO")]


def neutral_summaries(count: int, seed: int = 0) -> list[str]:
    """A neutral summary of each of the :func:`ppo_dialogues` of this count and seed, in their order."""
    rows = lab_data.read("rlhf/neutral_summaries.csv", "seed", "summary")
    return [row["summary"] for row in lab_data.draw(rows, count, seed, "neutral summaries")]


def evaluation_cases(hostile: int = 200, polite: int = 200) -> list[Case]:
    """The hostile test dialogues first, at most 200, then the polite ones, at most 331.

    Of the first 500 dialogues composed for the test split those that are short come first, in the order in which they
    were made, then quarrels composed for it. Always the same ones: tests do not depend on a seed.
    """
    return _first_cases("rlhf/cases.csv", hostile, polite)


def validation_cases(hostile: int = 100, polite: int = 100) -> list[Case]:
    """As :func:`evaluation_cases`, of the validation split, at most 100 of each: for settings to be chosen on."""
    return _first_cases("rlhf/validation_cases.csv", hostile, polite)


def _first_cases(name: str, hostile: int, polite: int) -> list[Case]:
    rows = lab_data.read(name, "id", "dialogue", *REFERENCES, "topic", "situation", "quarrel", "hostile")
    cases = [
        Case(
            Row(row["id"], row["dialogue"], tuple(row[name] for name in REFERENCES), row["topic"], row["situation"]),
            row["quarrel"] or None,
            row["hostile"],
        )
        for row in rows
    ]
    return [c for c in cases if c.quarrel][:hostile] + [c for c in cases if not c.quarrel][:polite]
