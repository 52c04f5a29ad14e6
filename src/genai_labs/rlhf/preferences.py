"""Preference pairs: two summaries of one dialogue, and which of them people chose."""

from __future__ import annotations

from dataclasses import dataclass

from genai_labs.loading import lab_data

ANNOTATORS = tuple(f"annotator_{i}" for i in range(1, 6))


@dataclass(frozen=True)
class Preference:
    """Two summaries of a dialogue; votes[i] is 1 if annotator i preferred ``chosen``, else 0."""

    dialogue_id: str
    chosen: str
    rejected: str
    votes: tuple[int, ...]


def read_preferences() -> list[Preference]:
    """The pairs on which five annotators voted (simulated ones: see the card of ``data/toxicity``)."""
    rows = lab_data.read("toxicity/preferences.csv", "dialogue_id", "chosen", "rejected", *ANNOTATORS)
    return [
        Preference(row["dialogue_id"], row["chosen"], row["rejected"], tuple(int(row[a]) for a in ANNOTATORS))
        for row in rows
    ]


def silence_pairs(count: int = 200) -> list[Preference]:
    """The first ``count`` of 200 pairs about test quarrels: one reports the conflict neutrally, one is silent.

    Nobody voted on them, so ``votes`` is empty; by the rule behind the other pairs every annotator prefers the report,
    which is ``chosen``.
    """
    rows = lab_data.read("rlhf/silence_pairs.csv", "id", "chosen", "rejected")
    return [Preference(row["id"], row["chosen"], row["rejected"], ()) for row in rows[:count]]
