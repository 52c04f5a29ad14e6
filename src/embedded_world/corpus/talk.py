"""A composed dialogue: its turns, the summaries that tell it in many styles, and the record of what is true in it."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from embedded_world.corpus.dialogue import Tagged, capitalized
from embedded_world.corpus.language import articles, conjugate, fill
from embedded_world.corpus.spoken import tidy
from embedded_world.corpus.styles import HOUSE, Style


@dataclass(frozen=True)
class Told:
    """One thing that a dialogue holds: who says it, and the clauses that report it, {A} and {B} still open.

    kind: "opening", or an answer's outcome. act: its id. slots: what was said in them. others: of an answer, the
    reports of the act's other answers, which would be false here.
    """

    act: str
    kind: str
    speaker: str
    reports: tuple[str, ...]
    slots: dict[str, str]
    others: tuple[str, ...] = ()


@dataclass(frozen=True)
class Insult:
    """Who insults whom in which turn, and the clauses that report it harshly or in neutral words."""

    hostile: str
    category: str
    harsh: tuple[str, ...]
    neutral: tuple[str, ...]
    exchange: int


@dataclass
class Talk(Tagged):
    """A composed dialogue: turns as (speaker, text) and what its summaries are made of.

    told: what happens, in order. roles, names: of the speakers A and B; names only where they are said.
    """

    setting: str
    roles: tuple[str, str]
    names: dict[str, str] | None
    turns: list[tuple[str, str]] = field(default_factory=list)
    told: list[Told] = field(default_factory=list)
    topics: list[str] = field(default_factory=list)
    quarrel: Insult | None = None

    @property
    def topic(self) -> str:
        """What the first exchange is about."""
        return self.topics[0]

    def record(self) -> list[dict[str, Any]]:
        """What is true in it: acts, who did them, what was said in their slots, how they ended."""
        rows = []
        for told in self.told:
            row = asdict(told)
            row["speaker"] = self.tag(told.speaker)
            people = {s: self.tag(s) for s in "AB"}
            row["reports"] = [self._written(r, HOUSE, people) for r in told.reports]
            row["others"] = [self._written(r, HOUSE, people) for r in told.others]
            rows.append(row)
        if self.quarrel:
            people = {s: self.tag(s) for s in "AB"}
            rows.append(
                {
                    "act": "insult",
                    "kind": self.quarrel.category,
                    "speaker": self.tag(self.quarrel.hostile),
                    "reports": [self._written(r, HOUSE, people) for r in self.quarrel.neutral],
                    "slots": {},
                    "others": [],
                }
            )
        return rows

    def summary(
        self, style: Style, rng: random.Random | None = None, voices: int | None = None, shorter: bool = False
    ) -> str:
        """A summary in a style; each clause in a wording drawn by ``rng`` (without one: the first).

        voices: only the first so many wordings of each clause. shorter: leave out what answers merely tell.
        """
        clauses: list[tuple[int, str]] = []
        refused: list[bool] = []
        exchange = -1
        for told in self.told:
            if told.kind == "opening":
                exchange += 1
            elif shorter and told.kind in ("told", "open"):
                continue
            clauses.append((exchange, self._pick(told.reports, rng, voices)))
            refused.append(told.kind == "no")
        if self.quarrel:
            options = self.quarrel.harsh if style.tone == "harsh" else self.quarrel.neutral
            last = max(i for i, (number, _) in enumerate(clauses) if number == self.quarrel.exchange)
            clauses.insert(last + 1, (-1, self._pick(options, rng, voices)))
            refused.insert(last + 1, False)
        people = {s: self.name_of(s, style.naming) for s in "AB"}
        text = ""
        for i, (number, clause) in enumerate(clauses):
            said = self._written(clause, style, people)
            if i == 0:
                text = said
                continue
            inner = number == clauses[i - 1][0]
            joiner = style.joiner
            if joiner == ". " and inner and rng is not None:
                joiner = rng.choice((". ", ", but " if refused[i] else ", and ", ", but " if refused[i] else ", and "))
            text += joiner + (capitalized(said) if joiner == ". " else said)
        opening = style.opening.format(topic=self.topic)
        if style.tense == "past":
            opening = opening.replace("They talk ", "They talked ")
        return opening + (text if opening.endswith((", ", ": ")) else capitalized(text)) + "."

    @staticmethod
    def _pick(options: Sequence[str], rng: random.Random | None, voices: int | None) -> str:
        options = options[:voices] if voices else options
        return rng.choice(options) if rng else options[0]

    def _written(self, clause: str, style: Style, people: dict[str, str]) -> str:
        named = {**people, **{f"{s}'s": _genitive(name) for s, name in people.items()}}
        return tidy(articles(fill(conjugate(clause, style.tense), named)))


def _genitive(name: str) -> str:
    return name + ("'" if name.endswith("s") and not name.endswith("#") else "'s")
