"""Dialogues of a split as the program composes them, what they are about, and their references in the house style."""

from __future__ import annotations

import random
from collections.abc import Iterator

from embedded_world.corpus.compose import compose
from embedded_world.corpus.styles import HOUSE
from embedded_world.corpus.talk import Talk

HOSTILE_SHARE = 0.15


def composed_talks(split: str) -> Iterator[Talk]:
    """Dialogues of a split without end, no two with the same text. Deterministic."""
    rng = random.Random(f"reading-{split}-0")
    seen: set[str] = set()
    while True:
        talk = compose(rng, split, HOSTILE_SHARE)
        if talk.text not in seen and len(talk.turns) >= 2:
            seen.add(talk.text)
            yield talk


def situation(talk: Talk) -> str:
    """The acts that a dialogue is composed of, in order."""
    return " + ".join(told.act for told in talk.told if told.kind == "opening")


def house_references(talk: Talk, count: int, rng: random.Random) -> list[str]:
    """``count`` summaries in the house style, no two the same as far as wordings allow; the last one the shortest."""
    found: list[str] = []
    for i in range(count):
        for _ in range(10):
            text = talk.summary(HOUSE, rng, shorter=count > 1 and i == count - 1)
            if text not in found:
                break
        found.append(text)
    return found
