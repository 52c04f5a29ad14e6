"""What stands in the slots of an exchange: words and clauses, as they are spoken and as they are reported."""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from functools import cache

from embedded_world.corpus import words
from embedded_world.corpus.acts import CLAUSE_TYPES, SLOT, Phrasing, all_acts, slot_type
from embedded_world.corpus.spoken import OWN, SpokenTurn, placed, spoken

SLIP = 0.16  # of the words that can be mistaken are, at first
CORRECTABLE = frozenset({"day", "clock", "date", "name", "month"})


@dataclass
class Slots:
    """What stands in the slots of an exchange, as it is spoken and as it is reported.

    price, unit: the last amount that was named, and its money.
    """

    spoken: dict[str, str] = field(default_factory=dict)
    told: dict[str, str] = field(default_factory=dict)
    price: int = 0
    unit: str = ""


def other(speaker: str) -> str:
    """The other one of A and B."""
    return "B" if speaker == "A" else "A"


def spoken_turns(
    phrasing: Phrasing, speaker: str, rng: random.Random, unseen: bool, taken: set[str], slots: Slots
) -> list[SpokenTurn]:
    """The turns of a phrasing with their slots filled; what is new is added to ``slots``."""
    lines = []
    timed = any(slot_type(name) == "clock" for name in phrasing.slots)
    for turn in phrasing.turns:
        values: dict[str, str] = {}
        slips = set()
        for name in SLOT.findall(turn):
            if name not in slots.spoken:
                kind = slot_type(name)
                slots.spoken[name], slots.told[name] = _drawn(kind, speaker, rng, unseen, taken, slots, timed)
                values[name] = _with_slip(kind, slots.spoken[name], rng, taken)
                if values[name] != slots.spoken[name]:
                    slips.add(name)
            else:
                values[name] = slots.spoken[name]
        lines.append(SpokenTurn(speaker, placed(turn, values, slips), turn.startswith("{")))
        speaker = other(speaker)
    return lines


def _with_slip(kind: str, value: str, rng: random.Random, taken: set[str]) -> str:
    """The value as it is first said: now and then another one that is put right at once."""
    if kind not in CORRECTABLE or rng.random() > SLIP or OWN.match(value):
        return value
    old = words.draw_word(kind, rng, taken=taken)
    return rng.choice(spoken("slips")).format(old=old, new=value)


def _drawn(
    kind: str, speaker: str, rng: random.Random, unseen: bool, taken: set[str], slots: Slots, timed: bool
) -> tuple[str, str]:
    """A word or a clause for a slot, as it is said by ``speaker`` and as it is reported."""
    if kind == "price":
        # A second price of an exchange is an offer, a part, a discount: lower, in the same money.
        word, slots.price, slots.unit = words.price(rng, slots.price, slots.unit)
        return word, word
    if kind == "day":
        word = words.another_day(rng, taken, bare=timed)
        taken.add(word)
        return word, word
    if kind not in CLAUSE_TYPES:
        word = words.draw_word(kind, rng, unseen, taken)
        taken.add(word)
        return word, word
    spoken, reported = rng.choice(_clauses(kind, unseen))
    values = {
        name: words.another_day(rng, taken)
        if slot_type(name) == "day"
        else words.draw_word(slot_type(name), rng, unseen, taken)
        for name in sorted(set(SLOT.findall(spoken)))
    }
    me, you = speaker, other(speaker)
    people = {"S": f"{{{me}}}", "S's": f"{{{me}'s}}", "H": f"{{{you}}}", "H's": f"{{{you}'s}}"}
    taken |= set(values.values())
    return placed(spoken, values), placed(reported, values | people)


@cache
def _clauses(kind: str, unseen: bool) -> tuple[tuple[str, str], ...]:
    """The clauses of a pool: those kept from training, or the others."""
    pool = tuple(all_acts().pools.get(kind, ()))
    fitting = tuple(c for c in pool if words.held_out(f"{kind}|{c[0]}") == unseen)
    return fitting or pool
