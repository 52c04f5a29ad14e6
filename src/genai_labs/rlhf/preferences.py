"""Preference pairs: two summaries of one dialogue, and which of them people chose; a ballot to vote on some oneself."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from genai_labs.errors import LabError
from genai_labs.loading import lab_data
from genai_labs.scoring.metrics import Interval, paired_bootstrap

ANNOTATORS = tuple(f"annotator_{i}" for i in range(1, 6))
SIDES = ("a", "b")


@dataclass(frozen=True)
class Preference:
    """Two summaries of a dialogue; votes[i] is 1 if annotator i preferred ``chosen``, else 0.

    situation: what the dialogue has in common with others, whose pairs an interval draws together.
    """

    dialogue_id: str
    chosen: str
    rejected: str
    votes: tuple[int, ...]
    situation: str = ""


def read_preferences() -> list[Preference]:
    """The pairs on which five annotators voted (simulated ones: see the card of ``data/toxicity``)."""
    rows = lab_data.read("toxicity/preferences.csv", "dialogue_id", "chosen", "rejected", *ANNOTATORS, "situation")
    return [
        Preference(
            row["dialogue_id"], row["chosen"], row["rejected"], tuple(int(row[a]) for a in ANNOTATORS), row["situation"]
        )
        for row in rows
    ]


def silence_pairs(count: int = 200) -> list[Preference]:
    """The first ``count`` of 200 pairs about test quarrels: one reports the conflict neutrally, one is silent.

    Nobody voted on them, so ``votes`` is empty; by the rule behind the other pairs every annotator prefers the report,
    which is ``chosen``.
    """
    rows = lab_data.read("rlhf/silence_pairs.csv", "id", "chosen", "rejected", "situation")
    return [Preference(row["id"], row["chosen"], row["rejected"], (), row["situation"]) for row in rows[:count]]


def each_against_the_others(rows: Sequence[Preference]) -> NDArray[np.float64]:
    """Whether each annotator says what most of the other four say, 1 or 0, and 0.5 where these are two to two.

    [pairs, annotators]. The annotator is left out of the majority, which would else be right by the annotator's own.
    """
    votes = np.array([row.votes for row in rows], float)  # [pairs, annotators]
    others = (votes.sum(1, keepdims=True) - votes) / (votes.shape[1] - 1)  # share of the others for ``chosen``
    return np.where(others == 0.5, 0.5, (others > 0.5) == (votes > 0.5))


def agreement(rows: Sequence[Preference]) -> Interval:
    """How often one annotator agrees with the majority of the others, with its interval over pairs."""
    alike = [row.situation or place for place, row in enumerate(rows)]
    return paired_bootstrap(each_against_the_others(rows), clusters=alike)


@dataclass(frozen=True)
class Ballot:
    """Pairs to vote on; of those with ``turned``, "a" is the summary that most annotators rejected."""

    rows: tuple[Preference, ...]
    turned: tuple[bool, ...]

    def table(self) -> list[dict[str, Any]]:
        """A row for each pair, from 1; nothing in it says how others voted."""
        texts = [(row.rejected, row.chosen) if t else (row.chosen, row.rejected) for row, t in self.pairs()]
        return [{"pair": n, "a": a, "b": b} for n, (a, b) in enumerate(texts, start=1)]

    def pairs(self) -> list[tuple[Preference, bool]]:
        return list(zip(self.rows, self.turned, strict=True))


def make_ballot(rows: Sequence[Preference], count: int = 10, seed: int = 0) -> Ballot:
    """The first pairs of these, at most ``count``, each with its two summaries in an order drawn by the seed."""
    first = tuple(rows[:count])
    return Ballot(first, tuple((np.random.default_rng(seed).random(len(first)) < 0.5).tolist()))


def _turned(row: Preference) -> Preference:
    """The pair the other way round, its votes, too."""
    return replace(row, chosen=row.rejected, rejected=row.chosen, votes=tuple(1 - vote for vote in row.votes))


def count_votes(
    ballot: Ballot, votes: Sequence[str | None], rows: Sequence[Preference]
) -> tuple[list[Preference], list[dict[str, Any]]]:
    """The rows with the voted pairs as they were voted, and who agreed how often with the majority of the others.

    votes: "a", "b" or None for each pair of the ballot; None leaves the pair as the five decided. Of each pair that was
    voted on, what was picked is ``chosen`` from now on. Raises LabError for anything else.
    """
    said = [None if vote is None else str(vote).strip().lower() for vote in votes]
    if len(said) != len(ballot.rows) or not all(vote is None or vote in SIDES for vote in said):
        raise LabError(
            f'The votes cannot be counted: {len(ballot.rows)} are needed, each "a", "b" or None, and there are '
            f'{len(said)}: {list(votes)!r:.120}. Write for example ["a", None, "b", ...].'
        )
    picked = [
        None if vote is None else (vote == SIDES[0]) != turned for vote, turned in zip(said, ballot.turned, strict=True)
    ]
    as_voted = {  # every pair of the ballot, so that a vote can be changed and counted again
        row.dialogue_id: _turned(row) if for_chosen is False else row
        for row, for_chosen in zip(ballot.rows, picked, strict=True)
    }
    mine = [float(for_chosen) for for_chosen in picked if for_chosen is not None]
    on_ballot = each_against_the_others(ballot.rows).mean(0)
    table: list[dict[str, Any]] = [{"voter": "you", "pairs": len(mine), "agrees": np.mean(mine) if mine else "-"}]
    table += [
        {"voter": name.replace("_", " "), "pairs": len(ballot.rows), "agrees": float(share)}
        for name, share in zip(ANNOTATORS, on_ballot, strict=True)
    ]
    return [as_voted.get(row.dialogue_id, row) for row in rows], table
