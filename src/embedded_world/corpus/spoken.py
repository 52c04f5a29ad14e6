"""How turns are said: slots filled as English wants it, slips of the tongue, pauses, and words that lead over."""

from __future__ import annotations

import random
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cache

from embedded_world.corpus.acts import slot_type
from embedded_world.corpus.content import read_yaml

PREFIX = 0.14  # of turns begin with "Well," and the like
EXPANDED = 0.3  # of contractions are spoken in full
# Values of days and the like that bring a preposition along, or want none.
NO_ON = re.compile(r"(tomorrow|next |the day after|yesterday|last |this |the other day|over |at )")
OWN = re.compile(r"(on|at|over|in) ")
AGO = re.compile(r"(.*) ago$")
PLACED = re.compile(r"(?:\b([Oo]n|[Aa]t|[Ii]n|by|until|till|for|since|from) )?\{([^{}]+)\}( (?=[A-Za-z]))?")


@cache
def spoken(name: str) -> tuple[str, ...]:
    """A list of ``spoken.yaml``: slips, changes, pauses, statements (of the pauses that only they can follow), nods."""
    return tuple(read_yaml("spoken.yaml", dict)[name])


@dataclass
class SpokenTurn:
    """A turn under construction. begins: whether it begins with a slot's words, whose first letter stays as it is."""

    speaker: str
    text: str
    begins: bool = False


def placed(template: str, values: Mapping[str, str], slips: Collection[str] = ()) -> str:
    """The template with its slots filled, prepositions as the values want them: no "on tomorrow", "since at Easter".

    slips: slots that hold a slip of the tongue, after which there is a comma.
    """

    def put(match: re.Match[str]) -> str:
        before, name, after = match[1] or "", match[2], match[3] or ""
        value = values[name]
        if slot_type(name) in ("day", "ago"):
            lower = before.lower()
            if lower == "on" and NO_ON.match(value):
                before = ""
            elif lower == "since" and (ago := AGO.match(value)):
                before, value = "for", ago[1]
            elif lower in ("since", "until", "till", "by", "for", "from") and OWN.match(value):
                value = value.split(" ", 1)[1]
            elif lower in ("on", "at", "in") and OWN.match(value):
                before = ""
        return (before + " " if before else "") + value + ("," if name in slips and after else "") + after

    return PLACED.sub(put, template)


def tidy(text: str) -> str:
    """The text with single spaces, and without a doubled article."""
    return re.sub(r"\b([Tt]he) the\b", r"\1", re.sub(r"  +", " ", text))


FULL = {"'m": " am", "'re": " are", "'ve": " have", "'ll": " will", "n't": " not"}
_SUBJECTS = "I|[Yy]ou|[Ww]e|[Tt]hey|do|does|did|is|are|was|were|have|has|had|would|could|should"
CONTRACTED = re.compile(rf"\b(?:{_SUBJECTS})('m|'re|'ve|'ll|n't)\b(?! (?:I|you|we|they|he|she|it)\b)")


def in_full(text: str, rng: random.Random) -> str:
    """The text with some contractions spoken in full: "I am" for "I'm"."""
    return CONTRACTED.sub(lambda m: m[0][: -len(m[1])] + FULL[m[1]] if rng.random() < EXPANDED else m[0], text)


def fill_pauses(said: Sequence[SpokenTurn], rng: random.Random) -> None:
    """Put "Well," and the like in front of some turns."""
    for line in said:
        if rng.random() < PREFIX:
            line.text = led_over(rng.choice(spoken("pauses")), line)


def led_over(opener: str, line: SpokenTurn) -> str:
    """A turn behind an opener, where it fits: its first letter small behind a comma."""
    text = line.text
    if not opener or opener.rstrip(".,") in text:
        return text
    short, asks = len(text.split(" ")) < 4, "?" in re.split(r"(?<=[.?!]) ", text)[0]
    if opener in spoken("statements") and (short or asks):
        return text
    if opener[-1] in ".?!":
        return f"{opener} {text}"
    first = re.split(r"[^A-Za-z']", text)[0]
    proper = line.begins or first.split("'")[0] in PROPER or first != first.capitalize()
    return f"{opener} {text if proper else text[0].lower() + text[1:]}"


_PROPER = """
I Mr Mrs Ms Miss Dr Doctor Professor English French German Spanish Italian Monday Tuesday Wednesday Thursday Friday
Saturday Sunday January February March April May June July August September October November December Christmas Easter
God Lord Grandma Grandad Mum Dad
"""
PROPER = frozenset(_PROPER.split())  # words that keep their capital letter behind a comma
