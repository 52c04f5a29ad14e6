"""Small English: filling templates, tense, articles, capitals."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Literal

Tense = Literal["present", "past"]

_TENSE = re.compile(r"\[([^\[\]|]*)\|([^\[\]|]*)\]")
_ARTICLE = re.compile(r"\b([Aa])\(n\) (?=(\S+))")
_SENTENCE_START = re.compile(r"(^|[.?!] )([a-z])")
# Said with a consonant although written with a vowel, and the other way round.
_CONSONANT_SOUND = ("uni", "use", "usu", "euro", "one", "once", "ukulele", "eu", "ut")
_VOWEL_SOUND = ("hour", "honest", "heir", "herb", "honor", "x-ray", "8", "11", "18")


def fill(template: str, values: Mapping[str, str]) -> str:
    """The template with every ``{name}`` replaced by its value; unknown names raise KeyError."""
    return re.sub(r"\{([^{}]+)\}", lambda m: values[m.group(1)], template)


def conjugate(template: str, tense: Tense) -> str:
    """The template with every ``[present|past]`` replaced by the form of ``tense``."""
    return _TENSE.sub(lambda m: m.group(1 if tense == "present" else 2), template)


def starts_with_vowel_sound(word: str) -> bool:
    """Whether "an" stands before the word."""
    word = word.lower().lstrip("\"'$")
    if word.startswith(_VOWEL_SOUND):
        return True
    return word[:1] in "aeiou" and not word.startswith(_CONSONANT_SOUND)


def articles(text: str) -> str:
    """The text with every ``a(n)`` replaced by "a" or "an", whichever the next word wants."""
    return _ARTICLE.sub(lambda m: m.group(1) + ("n " if starts_with_vowel_sound(m.group(2)) else " "), text)


def sentence_case(text: str) -> str:
    """The text with a capital at its start and after each full stop, question or exclamation mark."""
    return _SENTENCE_START.sub(lambda m: m.group(1) + m.group(2).upper(), text)
