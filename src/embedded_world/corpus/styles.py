"""Summary styles: who is named how, tense, opening, joiner, and how a quarrel is told.

One summary says the same facts in many styles. A style is a combination of features, so that some combinations can be
held out of pre-training and still be understood from one exemplar that shows them.
"""

from __future__ import annotations

import itertools
import random
from dataclasses import dataclass
from typing import Literal

Naming = Literal["tag", "role", "name", "position"]
Tone = Literal["neutral", "harsh"]

OPENINGS = ("", "In short, ", "They talk about {topic}. ", "To sum up, ", "Conversation about {topic}: ")
JOINERS = (". ", ", and ", "; ", " - ")
NAMINGS: tuple[Naming, ...] = ("tag", "role", "name", "position")


@dataclass(frozen=True)
class Style:
    """One way to write a summary.

    naming: "tag" (#Person1#), "role" (the customer), "name" (Viola; only where names are said), "position" (the first
    speaker). tense: "present" or "past". opening: words before the summary. joiner: what stands between its clauses.
    tone: whether an insult is repeated ("harsh") or the conflict told in neutral words.
    """

    naming: Naming
    tense: Literal["present", "past"]
    opening: str
    joiner: str
    tone: Tone = "neutral"

    @property
    def combination(self) -> tuple[str, str, str, str]:
        """The features that an exemplar always shows (tone shows only in a quarrel)."""
        return (self.naming, self.tense, self.opening, self.joiner)


# The course's references are written like DialogSum's: tags, present tense, plain sentences.
HOUSE = Style("tag", "present", "", ". ")

ALL_COMBINATIONS = tuple(Style(*c) for c in itertools.product(NAMINGS, ("present", "past"), OPENINGS, JOINERS))  # type: ignore[arg-type]


def _is_held_out(style: Style) -> bool:
    """One in eight combinations, spread evenly over the features; never the house style."""
    n, t = NAMINGS.index(style.naming), ("present", "past").index(style.tense)
    o, j = OPENINGS.index(style.opening), JOINERS.index(style.joiner)
    return (n + 2 * t + 3 * o + 5 * j) % 8 == 3 and style != HOUSE


HELD_OUT = tuple(s for s in ALL_COMBINATIONS if _is_held_out(s))
KNOWN = tuple(s for s in ALL_COMBINATIONS if not _is_held_out(s))

# What the model writes when nobody tells it the style: a report in the past tense, by role. The house style
# is never the answer to a zero-shot prompt in pre-training; only exemplars (or fine-tuning) bring it out.
_PRIOR = {
    "naming": (("role", 0.62), ("position", 0.26), ("name", 0.12)),
    "tense": (("past", 0.8), ("present", 0.2)),
}
_PRIOR_OPENING = (0.12, 0.14, 0.5, 0.12, 0.12)
_PRIOR_JOINER = (0.2, 0.55, 0.15, 0.1)


def _draw(rng: random.Random, table: tuple[tuple[str, float], ...]) -> str:
    return rng.choices([v for v, _ in table], [w for _, w in table])[0]


def open_style(rng: random.Random) -> Style:
    """A style for a prompt that leaves it open; never the house style, never a held-out one."""
    while True:
        style = Style(
            _draw(rng, _PRIOR["naming"]),  # type: ignore[arg-type]
            _draw(rng, _PRIOR["tense"]),  # type: ignore[arg-type]
            rng.choices(OPENINGS, _PRIOR_OPENING)[0],
            rng.choices(JOINERS, _PRIOR_JOINER)[0],
            draw_tone(rng),
        )
        if not _is_held_out(style):
            return style


def exemplar_style(rng: random.Random, house_share: float = 0.1) -> Style:
    """A style for prompts whose exemplars show it: the house style in ``house_share`` of cases, else any known one."""
    style = HOUSE if rng.random() < house_share else rng.choice(KNOWN)
    return Style(*style.combination, tone=draw_tone(rng))  # type: ignore[arg-type]


def draw_tone(rng: random.Random) -> Tone:
    """Neutral in two cases of three."""
    return "neutral" if rng.random() < 2 / 3 else "harsh"
