"""The dialogues that the page brings with it, and its solved example; drawn by chance, so that none flatters."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

from genai_labs.loading import data
from genai_labs.loading.data import Row
from genai_labs.loading.profiles import Profile
from genai_labs.prompting.prompts import Exemplar, choose_exemplars
from genai_labs.rlhf.dialogues import evaluation_cases

SEED = 0
EACH = 3  # dialogues of a shelf
TURNS = range(5, 13)  # of a dialogue that is shown
DRAWN = "Three are shown, drawn by chance from those of 5 to 12 turns."


def shelves(profile: Profile) -> list[dict[str, Any]]:
    """Shelves of test dialogues, which no model of the page was trained on: name, about, and dialogues of each.

    Quarrels stand first, since on what the page opens with all four models should have something to show: in other
    dialogues there is no insult to repeat, or to leave out.
    """
    splits = {split: data.load_split(profile.dataset, split) for split in ("test", "unseen", "handwritten_test")}
    quarrels = [case.row for case in evaluation_cases(200, 0)]
    return [
        shelf("A quarrel", "Composed for Lab 3: one of the two insults the other.", quarrels),
        shelf("Composed", "Composed of speech acts, in part in phrasings that the models never read.", splits["test"]),
        shelf("Unseen", "Composed of words and of pairs of acts that the models never read.", splits["unseen"]),
        shelf("Written by hand", "Written one by one, by a large language model.", splits["handwritten_test"]),
    ]


def shelf(name: str, about: str, rows: Sequence[Row]) -> dict[str, Any]:
    """Some of the rows, drawn by chance."""
    fitting = [row for row in rows if len(row.dialogue.splitlines()) in TURNS]
    drawn = random.Random(SEED).sample(fitting, min(EACH, len(fitting)))
    dialogues = [
        {"id": f"{name} {place}", "title": f"{name}: {row.topic}", "text": row.dialogue}
        for place, row in enumerate(drawn, 1)
    ]
    return {"name": name, "about": f"{about} {DRAWN}", "dialogues": dialogues}


def exemplar(profile: Profile) -> Exemplar:
    """The solved example of Lab 1's one shot, with seed 0."""
    return choose_exemplars(data.load_split(profile.dataset, "train"), 1, SEED)[0]
