"""How much of its content the generator draws from: all of it, or a part, to see what a model owes to the rest."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

from embedded_world.corpus import compose, handwritten, reading
from embedded_world.corpus.acts import Part, Phrasing, all_acts
from embedded_world.corpus.dialogue import bucket

Kept = TypeVar("Kept")


@dataclass(frozen=True)
class Shares:
    """Shares in (0, 1] of acts, of the phrasings of each part of an act, and of the dialogues by hand to train on."""

    acts: float = 1.0
    phrasings: float = 1.0
    by_hand: float = 1.0


ALL = Shares()


def a_share(found: Sequence[Kept], names: Sequence[str], share: float) -> list[Kept]:
    """The first of ``found`` by an order of their names, at least one: a smaller share is a part of a larger."""
    order = sorted(range(len(found)), key=lambda i: bucket(f"share|{names[i]}"))
    kept = set(order[: max(1, math.ceil(share * len(found)))])
    return [each for i, each in enumerate(found) if i in kept]


def draw_only(shares: Shares) -> None:
    """Let this process compose from no more than these shares, from now on: content that is left out is forgotten.

    Of phrasings only those are counted that training meets; those kept from training stay for the tests.
    """
    known = all_acts()
    known.acts = a_share(known.acts, [act.id for act in known.acts], shares.acts)
    for act in known.acts:
        for part in (act.opening, *act.answers):
            part.phrasings = _phrasings(act.id, part, shares.phrasings)
    compose.forget_settings()
    handwritten.keep_of_training(shares.by_hand)
    reading.with_reports.cache_clear()


def _phrasings(act: str, part: Part, share: float) -> list[Phrasing]:
    said = [" ".join(phrasing.turns) for phrasing in part.phrasings]
    apart = [compose.is_kept_apart(act, text) for text in said]
    trained = [p for p, kept in zip(part.phrasings, apart, strict=True) if not kept]
    names = [f"{act}|{text}" for text, kept in zip(said, apart, strict=True) if not kept]
    some = a_share(trained, names, share) if trained else []
    return [p for p, kept in zip(part.phrasings, apart, strict=True) if kept or p in some]
