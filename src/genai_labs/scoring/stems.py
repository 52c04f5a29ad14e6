"""Words as ROUGE counts them: rouge_score's, with nltk's Porter stemmer, but every word and text is cut only once.

Stemming takes most of ROUGE's time, and a reference is compared with the output of every prompt.
"""

from __future__ import annotations

import functools
from types import SimpleNamespace

from nltk.stem.porter import PorterStemmer
from rouge_score.tokenize import tokenize

# The stemmer that rouge_score uses, with what it made of each word.
_STEMMER = SimpleNamespace(stem=functools.lru_cache(maxsize=100_000)(PorterStemmer().stem))


@functools.lru_cache(maxsize=50_000)
def stemmed_words(text: str) -> tuple[str, ...]:
    """The words of a text in lower case, those of more than three letters cut to their stems."""
    return tuple(tokenize(text, _STEMMER))


@functools.lru_cache(maxsize=50_000)
def plain_words(text: str) -> tuple[str, ...]:
    """The words of a text in lower case, whole."""
    return tuple(tokenize(text, None))
