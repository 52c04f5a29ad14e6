"""How good and how varied texts are; how sure we can be of a difference, :mod:`.intervals` says.

ROUGE (Lin 2004, https://aclanthology.org/W04-1013/) counts the words that a summary shares with its reference. Scores
come one per dialogue, because an interval needs to know how much dialogues differ from one another.
"""

import functools
import itertools
import re
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from rouge_score.rouge_scorer import RougeScorer

from genai_labs.errors import LabError
from genai_labs.inputs.arguments import as_text, as_texts, is_list
from genai_labs.scoring.intervals import Interval as Interval
from genai_labs.scoring.intervals import paired_bootstrap as paired_bootstrap
from genai_labs.scoring.stems import stemmed_words

ROUGE_TYPES = ("rouge1", "rouge2", "rougeL", "rougeLsum")

TURN = re.compile(r"\s*#Person\d+#:")


def rouge_scores(
    predictions: Sequence[str],
    references: Sequence[str] | Sequence[Sequence[str]],
    kind: str = "rouge1",
    combine: Literal["best", "mean"] = "best",
) -> NDArray[np.float64]:
    """ROUGE F-measure of each dialogue's summary, with stemming.

    predictions: n texts. references: n texts, or n lists of texts, one or more each.
    kind: one of rouge1, rouge2, rougeL, rougeLsum.
    combine: what counts when a dialogue has several references, the best or the mean.
    Returns an array of shape (n,), each value in [0, 1].
    Raises LabError when numbers of texts do not match, or for an unknown kind or way to combine.
    """
    as_texts(predictions, "summaries")
    _check_choice("kind", kind, ROUGE_TYPES)
    _check_choice("combine", combine, ("best", "mean"))
    pairs = list(zip(predictions, as_lists(references, len(predictions)), strict=True))
    combined = max if combine == "best" else np.mean
    return np.array([combined(_f_measures(text, several, kind)) for text, several in pairs], dtype=float)


def diversity(samples: Sequence[Sequence[str]]) -> NDArray[np.float64]:
    """How much the summaries sampled for one dialogue differ from each other.

    samples: for each of n dialogues, two or more texts. Returns an array of shape (n,): 1 minus the mean
    ROUGE-L F-measure over all pairs, 0 when all texts are the same (empty ones too) and 1 when no two share
    a word. Raises LabError when a dialogue has fewer than two texts.
    """
    if not is_list(samples):
        as_texts(samples, "samples")
    for number, texts in enumerate(samples):
        if isinstance(texts, str) or len(as_texts(texts, f"samples of dialogue {number}")) < 2:
            raise LabError(
                f"Diversity cannot be measured: dialogue {number} has fewer than two samples, and diversity "
                "compares samples with each other. Sample at least two summaries of each dialogue."
            )
    return np.array([1 - np.mean(_pairwise_rouge_l(texts)) for texts in samples], dtype=float)


def is_turn(text: str) -> bool:
    """Whether a text begins as a turn of a dialogue does, with "#Person1#:" or another number."""
    return TURN.match(as_text(text, "A turn")) is not None


def _check_choice(name: str, value: str, choices: Sequence[str]) -> None:
    if not isinstance(value, str) or value not in choices:
        raise LabError(f"{name}={value!r} is not known; what is known: {', '.join(choices)}. Choose one of them.")


def as_lists(references: Sequence[str] | Sequence[Sequence[str]], n: int) -> list[list[str]]:
    """References as one list a dialogue, checked against the number of predictions."""
    if not isinstance(references, str) and not is_list(references):
        as_texts(references, "references")
    if isinstance(references, str) or len(references) != n:
        found = "a single text" if isinstance(references, str) else len(references)
        raise LabError(
            f"Summaries cannot be scored: there are {n} of them, but references for {found}. "
            "Give one reference, or one list of references, for each summary."
        )
    lists = [as_texts([each] if isinstance(each, str) else each, "references") for each in references]
    if empty := [number for number, each in enumerate(lists) if not each]:
        raise LabError(
            f"Summary {empty[0]} cannot be scored: its list of references is empty. "
            "Leave the summary out, or add a reference."
        )
    return lists


@functools.cache
def _scorer(kind: str) -> RougeScorer:
    return RougeScorer([kind], tokenizer=SimpleNamespace(tokenize=lambda text: stemmed_words(text)))


def _f_measures(prediction: str, references: Sequence[str], kind: str) -> list[float]:
    return [_scorer(kind).score(reference, prediction)[kind].fmeasure for reference in references]


def _pairwise_rouge_l(texts: Sequence[str]) -> list[float]:
    # Equal texts score 1 without asking ROUGE: that is quick, and ROUGE gives 0 to two empty texts.
    return [
        1.0 if one == two else _f_measures(one, [two], "rougeL")[0] for one, two in itertools.combinations(texts, 2)
    ]
