"""How good and how varied texts are, and how sure we can be of a difference.

ROUGE (Lin 2004, https://aclanthology.org/W04-1013/) counts the words that a summary shares with its reference. Scores
come one per dialogue, because an interval needs to know how much dialogues differ from one another.
"""

import functools
import itertools
import re
from collections.abc import Sequence
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from rouge_score.rouge_scorer import RougeScorer
from rouge_score.tokenizers import DefaultTokenizer, Tokenizer
from scipy.stats import bootstrap

from genai_labs.errors import LabError
from genai_labs.inputs.arguments import as_text, as_texts, as_whole_number, is_list

ROUGE_TYPES = ("rouge1", "rouge2", "rougeL", "rougeLsum")
RESAMPLES = 9_999
MOST_RESAMPLES = 1_000_000
SEED = 0

TURN = re.compile(r"\s*#Person\d+#:")


_STEMMED = DefaultTokenizer(use_stemmer=True)


class _RememberingTokenizer(Tokenizer):
    """rouge_score's own tokenizer, but the same text is stemmed only once.

    A reference is compared with the output of every prompt, and stemming takes most of ROUGE's time.
    """

    def tokenize(self, text: str) -> list[str]:
        return _stemmed_words(text)


@functools.lru_cache(maxsize=50_000)
def _stemmed_words(text: str) -> list[str]:
    return _STEMMED.tokenize(text)


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


class Interval(NamedTuple):
    """An effect, its 95 % interval and the number of dialogues it was measured on.

    `f"{interval:.2f}"` formats its three numbers alike: "0.13 [0.11, 0.15]".
    """

    effect: float
    low: float
    high: float
    n: int

    def __format__(self, spec: str) -> str:
        effect, low, high = (format(number, spec or "z.3f") for number in self[:3])
        return f"{effect} [{low}, {high}]"

    def __str__(self) -> str:
        return f"{self:z.3f}, n = {self.n}"


def paired_bootstrap(
    a: ArrayLike, b: ArrayLike | None = None, resamples: int = RESAMPLES, seed: int = SEED
) -> Interval:
    """The mean of a - b over dialogues (of a alone without b) with its 95 % percentile bootstrap interval.

    a, b: scores of the same n dialogues in the same order, of shape (n,) or (n, rows): the rows of one
    dialogue (references, samples) are averaged first, so that dialogues and not rows are drawn again.
    The same seed gives the same interval. When all dialogues agree, the interval is that one number.
    Raises LabError for fewer than two dialogues, for scores that do not pair up, and for NaN or infinity.
    Efron and Tibshirani (1993), An Introduction to the Bootstrap, chapter 13.
    """
    resamples = as_whole_number(resamples, "The number of resamples", 1)
    if resamples > MOST_RESAMPLES:
        raise LabError(f"{resamples:,} resamples would fill the memory. Take at most {MOST_RESAMPLES:,}.")
    seed = as_whole_number(seed, "The seed", 0)
    scores = _per_dialogue(a, "a")
    if b is not None:
        scores = scores - _same_length(_per_dialogue(b, "b"), len(scores))
    if len(scores) < 2:
        raise LabError(
            f"There is no interval to compute: the scores cover {len(scores)} dialogue(s), and an interval "
            "is made of the spread between dialogues. Score at least two dialogues, better 200."
        )
    drawn = bootstrap(
        (scores,),
        np.mean,
        n_resamples=resamples,
        batch=1_000,  # bounds the memory: 1,000 resamples of n scores at a time
        method="percentile",
        rng=np.random.default_rng(seed),
    ).confidence_interval
    return Interval(float(scores.mean()), float(drawn.low), float(drawn.high), len(scores))


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
    return RougeScorer([kind], tokenizer=_RememberingTokenizer())


def _f_measures(prediction: str, references: Sequence[str], kind: str) -> list[float]:
    return [_scorer(kind).score(reference, prediction)[kind].fmeasure for reference in references]


def _pairwise_rouge_l(texts: Sequence[str]) -> list[float]:
    # Equal texts score 1 without asking ROUGE: that is quick, and ROUGE gives 0 to two empty texts.
    return [
        1.0 if one == two else _f_measures(one, [two], "rougeL")[0] for one, two in itertools.combinations(texts, 2)
    ]


def _per_dialogue(scores: ArrayLike, name: str) -> NDArray[np.float64]:
    """Scores of shape (n,) or (n, rows) as one number a dialogue, shape (n,)."""
    try:
        values = np.asarray(scores, dtype=float)
    except (ValueError, TypeError, OverflowError) as error:
        raise LabError(
            f"The scores {name} cannot be read: every dialogue must have the same number of scores, and each "
            f"must be a number ({error}). Average the scores of each dialogue first."
        ) from error
    if values.ndim == 2 and not values.shape[1]:
        raise LabError(f"The scores {name} cannot be averaged: the dialogues have no scores. Score them first.")
    if values.ndim not in (1, 2):
        raise LabError(
            f"The scores {name} cannot be read: they have {values.ndim} dimensions, and scores have one "
            "(dialogue) or two (dialogue, row). Give one row of scores for each dialogue."
        )
    return _finite(values if values.ndim == 1 else values.mean(axis=1), name)


def _finite(scores: NDArray[np.float64], name: str) -> NDArray[np.float64]:
    if not np.isfinite(scores).all():
        bad = int(np.flatnonzero(~np.isfinite(scores))[0])
        raise LabError(
            f"The scores {name} cannot be averaged: dialogue {bad} has a score that is not a number. "
            "Look at what was scored there, or leave the dialogue out of both sides."
        )
    return scores


def _same_length(scores: NDArray[np.float64], n: int) -> NDArray[np.float64]:
    if len(scores) != n:
        raise LabError(
            f"The scores cannot be paired: a covers {n} dialogues and b {len(scores)}, and each dialogue is "
            "compared with itself. Score the same dialogues, in the same order, under both conditions."
        )
    return scores
