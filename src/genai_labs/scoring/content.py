"""Whether a summary says what the dialogue is about: content words shared with the references, and with the dialogue.

ROUGE-1 counts "the", "to" and the speakers' tags like any other word, so that one fixed string without content scores
higher than many a model (:mod:`.baselines`). Here only content words count, stemmed.
"""

import functools
import re
from collections import Counter
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from genai_labs.inputs.arguments import as_texts
from genai_labs.scoring.metrics import as_lists
from genai_labs.scoring.stems import plain_words, stemmed_words

# Words that say little by themselves: articles, pronouns, prepositions, conjunctions, auxiliary verbs, and the like.
_FUNCTION_WORDS = """
a an the this that these those some any no each every either neither both all another other such
i me my mine myself you your yours yourself he him his himself she her hers herself it its itself we us our ours
ourselves they them their theirs themselves who whom whose which what where when why how there here
one ones someone somebody something anyone anybody anything everyone everybody everything nobody nothing none
of in on at to from for with without by about into onto over under up down out off as than through during before
after between among against until till since around across behind beyond near per via upon
and or but nor so yet if because while although though unless whether then else
am is are was were be been being do does did done doing have has had having will would shall should can could may
might must ought get gets got let lets go goes going gone went
not only just also too very quite rather really even still already again ever never always now
s t d ll m o re ve don doesn didn isn aren wasn weren haven hasn hadn won wouldn shan shouldn couldn mustn ain
"""
FUNCTION_WORDS = frozenset(_FUNCTION_WORDS.split())
SPEAKER = re.compile(r"#?\bperson\s?\d+#?", re.IGNORECASE)


@functools.lru_cache(maxsize=50_000)
def content_words(text: str) -> tuple[str, ...]:
    """The stemmed content words of a text, in order; speakers' tags and function words are left out."""
    kept = [word for word in plain_words(SPEAKER.sub(" ", text)) if word not in FUNCTION_WORDS]
    return stemmed_words(" ".join(kept))


def content_f1(predictions: Sequence[str], references: Sequence[str] | Sequence[Sequence[str]]) -> NDArray[np.float64]:
    """F1 over content words of each summary, against the best of its references; shape (n,), each in [0, 1].

    predictions: n texts. references: n texts, or n lists of texts. Raises LabError when their numbers do not match.
    """
    as_texts(predictions, "summaries")
    pairs = zip(predictions, as_lists(references, len(predictions)), strict=True)
    return np.array([max(_f1(text, each) for each in several) for text, several in pairs], dtype=float)


def grounded(predictions: Sequence[str], dialogues: Sequence[str]) -> NDArray[np.float64]:
    """The share of a summary's content words that stand in its dialogue; shape (n,), 0 where it has none.

    Reported speech needs words of its own ("asks", "refuses"), so that references do not reach 1 either: compare with
    them.
    Raises LabError when the numbers do not match.
    """
    as_texts(predictions, "summaries")
    sources = [each[0] for each in as_lists(as_texts(dialogues, "dialogues"), len(predictions))]
    shares = []
    for text, dialogue in zip(predictions, sources, strict=True):
        said, own = set(content_words(dialogue)), content_words(text)
        shares.append(sum(word in said for word in own) / len(own) if own else 0.0)
    return np.array(shares, dtype=float)


def _f1(text: str, reference: str) -> float:
    own, wanted = Counter(content_words(text)), Counter(content_words(reference))
    shared = sum((own & wanted).values())
    return 2 * shared / (own.total() + wanted.total()) if shared else 0.0
