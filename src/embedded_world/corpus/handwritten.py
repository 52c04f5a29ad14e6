"""Dialogues written one by one: reading them, and exchanging their names, places, days and numbers for others."""

from __future__ import annotations

import json
import random
import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

from embedded_world.corpus import words
from embedded_world.corpus.dialogue import some_of
from embedded_world.corpus.language import starts_with_vowel_sound
from genai_labs.paths import CONTENT
from genai_labs.scoring.content import FUNCTION_WORDS

FOLDER = CONTENT / "handwritten"
# What is exchanged by the kinds of a dialogue's ``swap``; things are not, since what fits is not known.
SWAPS = {"name": "name", "place": "town", "firm": "company"}
_EXCHANGED = """
tool appliance furniture garment vessel toy instrument vehicle gadget jewel fruit vegetable dish drink animal plant
material job shop building room subject sport thing relative colour
"""
EXCHANGED = tuple(_EXCHANGED.split())
DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")


@dataclass(frozen=True, eq=False)
class HandWritten:
    """One dialogue: its turns with tags, summaries, and the report of each turn (None: nothing to report)."""

    id: str
    topic: str
    turns: tuple[str, ...]
    summaries: tuple[str, ...]
    swap: dict[str, str]
    reports: tuple[str | None, ...] = ()

    @property
    def text(self) -> str:
        return "\n".join(self.turns)


_of_training = [1.0]  # the share of dialogues to train on that is used


def keep_of_training(share: float) -> None:
    """Use no more than this share in (0, 1] of the dialogues to train on, in this process and from now on."""
    _of_training[0] = share
    written.cache_clear()


@cache
def written(part: str) -> tuple[HandWritten, ...]:
    """The dialogues of a part: "train", "dev" or "test"."""
    reports: dict[str, Any] = {}
    for path in sorted((FOLDER / "turns").glob("*.jsonl")):
        rows = (json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line.strip())
        reports |= {row["id"]: tuple(row["reports"]) for row in rows}
    found = []
    for path in sorted(FOLDER.glob("*.jsonl")):
        for line in path.read_text(encoding="utf-8").splitlines():
            row = json.loads(line)
            if f"_{part}_" in row["id"]:
                found.append(
                    HandWritten(
                        row["id"],
                        row["topic"],
                        tuple(row["turns"]),
                        tuple(row["summaries"]),
                        row["swap"],
                        reports.get(row["id"], ()),
                    )
                )
    if part == "train" and _of_training[0] < 1:
        found = some_of(found, [dialogue.id for dialogue in found], max(2, round(_of_training[0] * len(found))))
    return tuple(found)


def swapped(dialogue: HandWritten, rng: random.Random, share: float = 0.7) -> Callable[[str], str]:
    """A function that exchanges words for others of their kind, the same throughout all texts of a dialogue.

    Names, places and days that the dialogue itself calls exchangeable, and everyday words for things, animals, food,
    jobs and the like: whoever summarizes it has to read them. share: of what may be exchanged.
    """
    pairs: dict[str, str] = {}
    for old, kind in dialogue.swap.items():
        if rng.random() > share:
            continue
        if kind in SWAPS:
            pairs[old] = words.draw_word(SWAPS[kind], rng)
        elif kind == "day" and old in DAYS:
            pairs[old] = rng.choice([d for d in DAYS if d not in dialogue.swap])
    for old, kind in _exchangeable(dialogue):
        if rng.random() < share / 2:
            pairs.setdefault(old, words.draw_word(kind, rng, taken=pairs.values()))
    if not pairs:
        return lambda text: text
    pattern = re.compile(r"\b(" + "|".join(map(re.escape, sorted(pairs, key=len, reverse=True))) + r")\b")
    return lambda text: mended_articles(pattern.sub(lambda m: pairs[m[1]], text))


@cache
def _kinds() -> dict[str, str]:
    """Everyday words of one kind only, by word."""
    kinds: dict[str, str] = {}
    twice = set()
    for kind in EXCHANGED:
        for word in words.common(kind):
            if word in kinds and kind != "thing":  # which all kinds of things are
                twice.add(word)
            kinds.setdefault(word, kind)
    return {word: kind for word, kind in kinds.items() if word not in twice and len(word) > 3}


@cache
def _exchangeable_pattern() -> re.Pattern[str]:
    return re.compile(r"\b(" + "|".join(map(re.escape, sorted(_kinds(), key=len, reverse=True))) + r")\b")


@cache
def _exchangeable(dialogue: HandWritten) -> tuple[tuple[str, str], ...]:
    """The words of a dialogue that stand in its summaries or reports too, with their kinds."""
    told = " ".join([*dialogue.summaries, *(r for r in dialogue.reports if r)])
    both = set(_exchangeable_pattern().findall(dialogue.text)) & set(_exchangeable_pattern().findall(told))
    return tuple((word, _kinds()[word]) for word in sorted(both) if word not in dialogue.swap)


def scrambled(text: str, told: str, rng: random.Random, share: float) -> tuple[str, str]:
    """Both texts with some content words that stand in both replaced by others, alike in both, fitting or not.

    A few thousand dialogues are soon known by heart; what is said about words that stand there by chance has to be
    read. share: of the words that both have. Endings in -s, -ed and -ing stay.
    """
    said = set(_LONG_WORD.findall(text))
    pairs: dict[str, str] = {}
    for word in sorted(said & set(_LONG_WORD.findall(told))):
        if word.lower() in FUNCTION_WORDS or word.startswith("Person") or rng.random() >= share:
            continue
        new = words.invented(rng) if rng.random() < 0.3 else rng.choice(words.common(rng.choice(ANY_WORD))).split()[-1]
        ending = next((e for e in ("ing", "ed", "s") if word.endswith(e) and len(word) > 5), "")
        pairs[word] = (new.capitalize() if word[0].isupper() else new) + ending
    if not pairs:
        return text, told
    pattern = re.compile(r"\b(" + "|".join(map(re.escape, pairs)) + r")\b")
    return (pattern.sub(lambda m: pairs[m[1]], text), pattern.sub(lambda m: pairs[m[1]], told))


_LONG_WORD = re.compile(r"\b[A-Za-z]{4,}\b")
ANY_WORD = ("thing", "job", "animal")


def mended_articles(text: str) -> str:
    """The text with "a" or "an" as the next word wants it."""
    return re.sub(r"\b([Aa])n? (?=([a-z]\w*))", lambda m: m[1] + ("n " if starts_with_vowel_sound(m[2]) else " "), text)
