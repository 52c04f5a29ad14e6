"""How much of its content the generator draws from: all of it, or a part, to see what a model owes to the rest."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from embedded_world.corpus import compose, handwritten, reading
from embedded_world.corpus.acts import Part, Phrasing, all_acts
from embedded_world.corpus.dialogue import some_of


@dataclass(frozen=True)
class Shares:
    """Shares in (0, 1] of acts, of the phrasings of each part of an act, and of the dialogues by hand to train on."""

    acts: float = 1.0
    phrasings: float = 1.0
    by_hand: float = 1.0


ALL = Shares()


def draw_only(shares: Shares) -> None:
    """Let this process compose from no more than these shares, from now on: content that is left out is forgotten.

    Of phrasings only those are counted that training meets; those kept from training stay for the tests.
    """
    known = all_acts()
    known.acts = some_of(known.acts, [act.id for act in known.acts], _count(shares.acts, known.acts))
    for act in known.acts:
        for part in (act.opening, *act.answers):
            part.phrasings = _phrasings(act.id, part, shares.phrasings)
    compose.forget_settings()
    handwritten.keep_of_training(shares.by_hand)
    reading.with_reports.cache_clear()


def _count(share: float, found: Sequence[object]) -> int:
    return max(1, math.ceil(share * len(found)))


def _phrasings(act: str, part: Part, share: float) -> list[Phrasing]:
    said = [" ".join(phrasing.turns) for phrasing in part.phrasings]
    apart = [compose.is_kept_apart(act, text) for text in said]
    trained = [p for p, kept in zip(part.phrasings, apart, strict=True) if not kept]
    names = [f"{act}|{text}" for text, kept in zip(said, apart, strict=True) if not kept]
    some = some_of(trained, names, _count(share, trained))
    return [p for p, kept in zip(part.phrasings, apart, strict=True) if kept or p in some]
