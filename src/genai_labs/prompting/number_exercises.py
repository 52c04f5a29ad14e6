"""Checks of those exercises of Lab 1 whose answer is a number or a row of numbers; :mod:`.exercises` gives them all.

A mistake is named where it explains all that the learner's function gives: it is computed on the same inputs. Cases
come in parts, the plainest first, so that of two mistakes one is told after the other.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from rouge_score.rouge_scorer import RougeScorer
from torch import Tensor
from transformers import GenerationConfig

from genai_labs.prompting import decoding
from genai_labs.scoring import metrics
from genai_labs.show.checking import Empty, Unanswered, answered, numbers, tell, wrong

TOLERANCE = 1e-4  # absolute and relative: large logits in fp32 are no more exact
SIZES = (60, 75, 100, 130, 170, 220)  # pairs of scores in each data set, for intervals
WIDTHS = (0.9, 1.09)  # as a share of the package's; a percentile interval gets 0.96, one of 90 % gets 0.80


class Cases(NamedTuple):
    """Those that show mistakes of one kind: arguments, what each mistake gives for them, and where to look."""

    cases: Sequence[tuple[Any, ...]]
    mistakes: Mapping[str, Callable[..., Any]]
    look: str


def settle(answer: Any, parts: Iterable[Cases], right: Callable[..., Any], what: str) -> int:
    """The number of cases, where all are right.

    right: gives the numbers that are right for a case, equal within TOLERANCE; what: their name, as for ``numbers``.
    Raises Unanswered, which names the first mistake that gives in all cases of its part what the learner's function
    gives, or else says where to look.
    """
    parts = list(parts)
    for part in parts:
        _settle_part(answer, part, right, what)
    return sum(len(part.cases) for part in parts)


def _settle_part(answer: Any, part: Cases, right: Callable[..., Any], what: str) -> None:
    wanted = [_floats(right(*case)) for case in part.cases]
    try:
        got = [numbers(answered(answer, *c), want.shape, what) for c, want in zip(part.cases, wanted, strict=True)]
    except Empty:
        raise
    except Unanswered as why:
        wrong(f"{why} {part.look}")
    for case, one, want in zip(part.cases, got, wanted, strict=True):
        if not _alike(one, want):
            named = [sentence for sentence, mistake in part.mistakes.items() if _explains(mistake, part.cases, got)]
            said = (named or [part.look])[0]
            wrong(f"{said[0].lower()}{said[1:]} {_difference(case, one, want, what)}")


def _floats(value: Any) -> NDArray[np.float64]:
    return np.asarray(value, dtype=np.float64)


def _alike(one: NDArray[np.float64], other: NDArray[np.float64]) -> bool:
    return one.shape == other.shape and np.allclose(one, other, rtol=TOLERANCE, atol=TOLERANCE)


def _explains(mistake: Callable[..., Any], cases: Sequence[tuple[Any, ...]], got: Sequence[Any]) -> bool:
    return all(_alike(_floats(mistake(*case)), each) for case, each in zip(cases, got, strict=True))


def _difference(case: tuple[Any, ...], got: NDArray[np.float64], want: NDArray[np.float64], what: str) -> str:
    """What is off, in numbers: of one number, or of the place in a row that is off most."""
    if not want.shape:
        return f"For {' and '.join(map(repr, case))} your function gives {got:.6g}, and {want:.6g} is right."
    place = int(np.abs(got - want).argmax())
    return f"Place {place} of {what} is {got[place]:.3f}, and {want[place]:.3f} is right; yours sum to {got.sum():.3f}."


@tell("the bytes of a training", "Return the bytes of the weights alone, then add the others one by one.")
def check_training_bytes(answer: Any) -> str:
    """answer(parameters, trained): bytes to train ``trained`` of ``parameters`` numbers in fp32 with Adam."""
    mistakes: dict[str, Callable[..., Any]] = {
        "These are the weights alone, or all four things without the 4 bytes that each takes. What else does a number "
        "need while it is trained, and how long is it in fp32?": lambda n, t: 4 * n,
        "4 bytes a number are missing: its weight, its gradient, or one of Adam's two moments.": lambda n, t: 12 * n,
        "Of four things for each number (weight, gradient, two moments) you count two, or you count all of them with 2 "
        "bytes, as in fp16: in fp32 it is 4.": lambda n, t: 8 * n,
        "These are megabytes, and bytes are asked for.": lambda n, t: 16 * n / 1e6,
    }
    with_frozen: dict[str, Callable[..., Any]] = {
        "You count gradients and moments of frozen numbers, which have none.": lambda n, t: 16 * n,
        "You left the frozen numbers out: they are not trained, but they have to be there.": lambda n, t: 16 * t,
    }
    look = "Which of the four (weight, gradient, two moments) has every number, and which only a trained one?"
    parts = [
        Cases([(1000, 1000), (7_000_000, 7_000_000)], mistakes, look),
        Cases([(1000, 10), (250_000_000, 900_000), (500, 0)], with_frozen, look),
    ]
    count = settle(answer, parts, lambda n, t: 4 * n + 12 * t, "the number of bytes")
    return f"{count} models, with all, some and none of their numbers trained"


@tell("ROUGE-1", "Cut both texts into words first, and count how many they share.")
def check_rouge1(answer: Any) -> str:
    """answer(summary, reference): the F-measure of single words, without stemming, from 0 to 1."""
    scorer = RougeScorer(["rouge1"], use_stemmer=False)
    count = settle(answer, _rouge_parts(), lambda s, r: scorer.score(r, s)["rouge1"].fmeasure, "the score")
    return f"{count} pairs of texts, some with repeated words and some empty, score as in the library rouge_score"


def _rouge_parts() -> list[Cases]:
    rng = random.Random(0)
    bags = [
        tuple(" ".join(rng.choices(["the", "a", "to", "tea"], k=rng.randint(2, 9))) for _ in "sr") for _ in range(6)
    ]
    plain = [("ann asks ben for tea", "ben wants tea"), ("ann pays", "then ben asks who pays"), ("ann sat", "ann sat")]
    cased = {"Capital letters count as other letters. Lower both texts.": _overlap(_f_of_counts)}
    marked = {
        "Full stops and commas stick to the words, which are letters and digits.": _overlap(_f_of_counts, _lowered)
    }
    nothing = "Here nothing is shared, or a text is empty, and the score is 0: what does your formula divide by?"
    return [
        Cases(plain, ROUGE_FORMULAS, "Look at the formula: F is the harmonic mean of precision and recall."),
        Cases(
            [("the the the", "the cat and the dog"), *bags], ROUGE_COUNTS, "Here words repeat. How often may one count?"
        ),
        Cases([("Ann asks Ben", "ann asks ben"), ("The cup", "the Cup is hers")], cased, "Look at capital letters."),
        Cases([("ann pays.", "ann pays, then leaves"), ("#ann#'s a_b.", "ann s a b")], marked, "Look at marks."),
        Cases([("", "ann pays"), ("ann", ""), ("ann", "ben"), ("...", "ann")], {}, nothing),
        Cases([("ann asked", "ann asks"), ("room 12", "room 14")], {}, "Other forms or numbers are other words."),
    ]


def _lowered(text: str) -> list[str]:
    return text.lower().split()


def _f_of_counts(shared: float, summary: int, reference: int) -> float:
    return 2 * shared / (summary + reference)


def _overlap(formula: Callable[[int, int, int], float], words: Callable[[str], list[str]] = str.split) -> Any:
    """A score of two texts: the formula of shared words, words of the summary and words of the reference."""

    def score(summary: str, reference: str) -> float:
        one, other = words(summary), words(reference)
        return formula((Counter(one) & Counter(other)).total(), len(one), len(other))

    return score


def _accuracy(summary: str, reference: str) -> float:
    pairs = list(zip(summary.split(), reference.split(), strict=False))
    return sum(one == other for one, other in pairs) / max(len(summary.split()), len(reference.split()))


def _f1_unclipped(summary: str, reference: str) -> float:
    one, other = summary.split(), reference.split()
    return _f_of_counts(sum(word in other for word in one), len(one), len(other))


ROUGE_FORMULAS: dict[str, Callable[..., Any]] = {
    "This is recall: a longer summary would never lose. Count what the summary needs for it, too.": _overlap(
        lambda shared, summary, reference: shared / reference
    ),
    "This is precision: one right word would be perfect. Count how much of the reference is covered, too.": _overlap(
        lambda shared, summary, reference: shared / summary
    ),
    "This is the number of shared words. What are the lengths of the two texts for?": _overlap(
        lambda shared, *_: shared
    ),
    "This is shared words by all words of either text. How are precision and recall balanced in F?": _overlap(
        lambda shared, summary, reference: shared / (summary + reference - shared)
    ),
    "This is the plain mean of precision and recall, and F is their harmonic mean.": _overlap(
        lambda shared, summary, reference: (shared / summary + shared / reference) / 2
    ),
    "This is accuracy: it compares words place by place, and ROUGE-1 does not ask for places.": _accuracy,
    "This is in percent, and a share from 0 to 1 is asked for.": _overlap(lambda *counts: 100 * _f_of_counts(*counts)),
}
ROUGE_COUNTS: dict[str, Callable[..., Any]] = {
    "Each word counts once, however often it is said (sets). Count a word as often as both texts have it.": _overlap(
        _f_of_counts, lambda text: sorted(set(text.split()))
    ),
    "Shared words are a set, and lengths are not. Count a word as often as both texts have it.": lambda s, r: (
        _f_of_counts(len({*s.split()} & {*r.split()}), len(s.split()), len(r.split()))
    ),
    "A word counts each time the summary says it, even where the reference has it only once.": _f1_unclipped,
}


@tell("temperature", "Return the softmax of the logits first; then ask where the temperature belongs.")
def check_temperature(answer: Any) -> str:
    """answer(logits, temperature): probabilities [vocabulary] of logits [vocabulary]."""
    rows = torch.randn(3, 9, generator=torch.Generator().manual_seed(0)) * 2
    large = torch.tensor([100.0, 99.0, 0.0, -100.0])
    overflow = "exp(100) is infinite in fp32, and exp(1000) in float64. Does torch have a function for all of it?"
    parts = [
        Cases(
            [(x, t) for x in rows for t in (0.5, 2.0, 1.0, 1.3)],
            TEMPERATURE_MISTAKES,
            "Where does the temperature belong?",
        ),
        Cases([(large, 1.0), (large, 0.5), (10 * large, 1.0)], {}, overflow),
    ]
    count = settle(answer, parts, lambda x, t: torch.softmax(x.double() / t, -1), "the probabilities")
    return f"{count} distributions at temperatures from 0.5 to 2, large logits too, as torch's softmax gives them"


TEMPERATURE_MISTAKES: dict[str, Callable[..., Any]] = {
    "The temperature has no effect: these are the probabilities at 1. Is it undone, if it is used?": lambda x, t: (
        x.softmax(-1)
    ),
    "You multiply by the temperature, so that a high one sharpens the bars. It should flatten them.": (
        lambda x, t: (x * t).softmax(-1)
    ),
    "You divide after the softmax. What must probabilities sum to?": lambda x, t: x.softmax(-1) / t,
    "Nothing is renormalised: these are exponentials, and no probabilities yet.": lambda x, t: (x / t).exp(),
    "The powers of the probabilities are not renormalised.": lambda x, t: x.softmax(-1) ** (1 / t),
    "These are still logits: the softmax is missing.": lambda x, t: x / t,
    "These are logarithms of probabilities.": lambda x, t: (x / t).log_softmax(-1),
}


@tell("top-p", "Sort the probabilities from the largest on, and add them up.")
def check_top_p(answer: Any) -> str:
    """answer(probabilities, p): probabilities [vocabulary] of which the unlikely ones are 0."""
    count = settle(answer, top_p_parts(), nucleus, "the probabilities")
    return f"{count} distributions, peaked and flat, as the package cuts them"


def top_p_parts() -> list[Cases]:
    """The cases of :func:`check_top_p`."""
    peaked = torch.tensor([0.05, 0.6, 0.02, 0.2, 0.1, 0.03])
    flat = torch.tensor([0.16, 0.18, 0.17, 0.2, 0.15, 0.14])
    rows = torch.randn(4, 30, generator=torch.Generator().manual_seed(0)).softmax(-1)
    cases = [(peaked, 0.7), (flat, 0.7), (peaked, 0.88), *((row, p) for row in rows for p in (0.5, 0.9))]
    alone = "The likeliest token has 0.6 here, more than p = 0.5: the fewest tokens that reach p are one, and not none."
    whole = torch.tensor([0.25, 0.5, 0.125, 0.125])
    return [
        Cases(cases, _top_p_mistakes(), "Which are the fewest tokens that together reach p?"),
        Cases([(peaked, 0.5), (peaked, 0.01)], {}, alone),
        Cases([(whole, 1.0)], {}, "With p = 1 all tokens stay."),
        Cases([(whole, 0.5), (whole, 0.75)], {}, "Here the likeliest tokens have exactly p. Do they reach it?"),
    ]


def nucleus(probabilities: Tensor, p: float) -> Tensor:
    """What is right in :func:`check_top_p`, [vocabulary] to [vocabulary]; Holtzman et al. 2020."""
    config = GenerationConfig(do_sample=True, top_p=p, top_k=0)
    return decoding.cut(probabilities.log()[None], config).softmax(-1)[0]


def _top_p_mistakes() -> dict[str, Callable[..., Any]]:
    mistakes: dict[str, Callable[..., Any]] = {
        "Nothing is cut off.": lambda q, p: q,
        "The token that crosses p is left out, so that yours do not reach p together.": lambda q, p: _rest(
            q, _below(q, p)
        ),
        "What is kept is not renormalised. What must probabilities sum to?": lambda q, p: q * (nucleus(q, p) > 0),
        "The token that crosses p is left out, and nothing is renormalised.": lambda q, p: q * _below(q, p),
        "You keep the unlikely tokens: the sum has to begin with the likeliest.": lambda q, p: _rest(
            q, _from_below(q, p)
        ),
        "They are in sorted order. Each has to go back to its token's place.": lambda q, p: nucleus(q, p).sort(
            -1, True
        )[0],
        "You mark what stays in sorted order, and the probabilities are not sorted: `order` says whose mark it is.": (
            lambda q, p: _rest(q, nucleus(q, p).sort(-1, True)[0] > 0)
        ),
        "You read sorted values at the places in `order`, and these are the places that they are to be written to.": (
            lambda q, p: nucleus(q, p).sort(-1, True)[0][q.argsort(descending=True)]
        ),
    }
    for k in range(1, 11):
        sentence = (
            f"You keep {k} token{'s' * (k > 1)} each time, peaked or flat: that is top-k. How many are needed differs."
        )
        mistakes[sentence] = lambda q, p, k=k: _rest(q, q >= q.topk(min(k, len(q))).values[-1])
    return mistakes


def _rest(probabilities: Tensor, kept: Tensor) -> Tensor:
    """Of these the kept ones, which sum to 1."""
    return probabilities * kept / (probabilities * kept).sum()


def _below(probabilities: Tensor, p: float) -> Tensor:
    """Whether a token and all likelier ones stay within p."""
    falling, order = probabilities.sort(descending=True)
    return torch.zeros_like(probabilities, dtype=torch.bool).scatter(0, order, falling.cumsum(0) <= p)


def _from_below(probabilities: Tensor, p: float) -> Tensor:
    """Whether the less likely tokens do not reach p without this one."""
    rising, order = probabilities.sort()
    return torch.zeros_like(probabilities, dtype=torch.bool).scatter(0, order, rising.cumsum(0) - rising < p)


@tell("a paired bootstrap", "Take the differences a - b first: one number a dialogue.")
def check_interval(answer: Any) -> str:
    """answer(a, b): low and high end of the 95 % bootstrap interval of the mean of a - b over dialogues."""
    pairs = _paired_scores()
    ends = [numbers(answered(answer, a, b), (2,), "the two ends") for a, b in pairs]
    a, b = pairs[0]
    if any(low > high for low, high in ends):
        wrong(f"the lower end is above the upper one: {ends[0].round(3).tolist()}. In which order do you return them?")
    effects, middles = [float((a - b).mean()) for a, b in pairs], [float(each.mean()) for each in ends]
    offs = [_off(middle, effect, a - b) for middle, effect, (a, b) in zip(middles, effects, pairs, strict=True)]
    if np.abs(offs).mean() > 1:
        _say_middle(middles, effects, pairs)
    shares = np.array([np.ptp(each) / _width(a, b) for each, (a, b) in zip(ends, pairs, strict=True)])
    share = float(shares.mean())
    _check_drawn(shares)
    if not WIDTHS[0] < share < WIDTHS[1]:
        _say_width(share, float(np.mean(offs)), pairs)
    same = numbers(answered(answer, a, a - 0.25), (2,), "the two ends")
    if not _alike(same, _floats([0.25, 0.25])):
        wrong(f"where a is 0.25 above b on every dialogue there is no doubt left, and yours says {same.tolist()}.")
    return (
        f"{len(pairs)} pairs of {min(SIZES)} to {max(SIZES)} scores; your intervals are {share:.2f} times as wide as "
        "the package's (only their ends are looked at, and not how many resamples, if any, they are made of)"
    )


def _paired_scores() -> list[tuple[NDArray[np.float64], NDArray[np.float64]]]:
    """Scores of dialogues that differ much from one another, under two conditions that differ little."""
    rng = np.random.default_rng(0)
    hard = [rng.normal(0.5, 0.2, size) for size in SIZES]
    gains = np.linspace(0.03, 0.1, len(SIZES))
    return [(each + rng.normal(gain, 0.07, len(each)), each) for each, gain in zip(hard, gains, strict=True)]


def _off(middle: float, effect: float, differences: NDArray[np.float64]) -> float:
    """By how many standard errors of the mean the middle of an interval is too high."""
    return float((middle - effect) / differences.std() * len(differences) ** 0.5)


def _width(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
    interval = metrics.paired_bootstrap(a, b, resamples=2000)
    return interval.high - interval.low


def _say_middle(middles: Sequence[float], effects: Sequence[float], pairs: Sequence[Any]) -> None:
    said = f"the middle of your first interval is {middles[0]:.3f}, and the mean of a - b is {effects[0]:.3f}"
    if np.allclose(middles, np.negative(effects), atol=0.01):
        wrong(f"{said}: you take b - a. Which one is to be the better one where the interval is above 0?")
    if any(np.allclose(middles, [side.mean() for side in sides], atol=0.03) for sides in zip(*pairs, strict=True)):
        wrong(f"{said}: that is the interval of one side's scores alone. What is compared?")
    if all(middle < effect for middle, effect in zip(middles, effects, strict=True)):
        wrong(f"{said}, and all of yours are too low. Did you give np.percentile shares? It wants the ends in percent.")
    wrong(f"{said}. Of which number do you take the mean in each resample?")


def _check_drawn(shares: NDArray[np.float64]) -> None:
    """Widths as if each resample had the same number of dialogues grow with n, beside the package's, as its root."""
    drawn = np.median(np.array(SIZES) / np.maximum(shares, 1e-9) ** 2)
    if 2 < drawn < 1e9 and np.polyfit(np.log(SIZES), np.log(shares), 1)[0] > 0.25:
        said = f"your intervals are as wide as if each resample had about {drawn:.0f} dialogues, whatever n is"
        wrong(f"{said}, and n goes from {min(SIZES)} to {max(SIZES)} here. How many are to be drawn of n?")


def _say_width(share: float, off: float, pairs: Sequence[Any]) -> None:
    sides = float(np.mean([(a.var() + b.var()) ** 0.5 / (a - b).std() for a, b in pairs]))
    single = float(np.mean(np.sqrt(SIZES)))
    named = {
        0.80: "that is a 90 % interval. Which shares are cut off below and above for 95 %?",
        0.50: "that is one standard error on either side, and about two make 95 %.",
        1.27: "that is a 99 % interval. Which shares are cut off below and above for 95 %?",
        sides: "you draw a and b apart, so that easy dialogues meet hard ones. Draw dialogues, each with both scores.",
        single: "that is where single dialogues lie, and not where their mean may lie. What is drawn again?",
    }
    said = f"your intervals are {share:.2f} times as wide as they should be"
    if share < 0.02:
        wrong(f"{said}: no dialogue is drawn twice, so every resample has the same mean. Draw with replacement.")
    if abs(off) > 0.25:
        wrong(f"{said}, and their middles too {'high' if off > 0 else 'low'}: what is cut off at either end for 95 %?")
    for width, sentence in named.items():
        if abs(share / width - 1) < 0.07:
            wrong(f"{said}: {sentence}")
    wrong(f"{said}. How many dialogues does a resample have, and which shares of the means do you cut off?")
