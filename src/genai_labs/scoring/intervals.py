"""How sure we can be of a mean, a share or a difference of two: 95 % intervals that respect what belongs together.

Dialogues of one situation resemble each other, so situations (clusters) are drawn again, each with its dialogues.
(Drawing dialogues within them, too, counts their spread twice.) tests/test_intervals.py measures what is covered.
"""

import warnings
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import bootstrap, t

from genai_labs.errors import LabError
from genai_labs.inputs.arguments import as_list_of, as_whole_number

RESAMPLES = 9_999
MOST_RESAMPLES = 1_000_000
FEW = 40  # clusters, below which the spread between them is not known well enough for the normal distribution
SEED = 0
Numbers = NDArray[np.float64]


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


def paired_bootstrap(a: ArrayLike, b: ArrayLike | None = None, **options: Any) -> Interval:
    """The mean of a - b over dialogues (of a alone without b) with its 95 % interval; options as for Estimate."""
    return Estimate(a, b, **options).interval()


class Estimate:
    """The mean of a - b over dialogues (of a alone without b), and how sure it is at any level.

    a, b: scores of the same n dialogues in the same order, of shape (n,) or (n, rows): the rows of one
    dialogue (references, samples) are averaged first, so that dialogues and not rows are drawn again.
    clusters: what each dialogue has in common with others; by default each stands for itself.
    The same seed gives the same interval. When all scores agree and are not only 0 and 1, it is that one number.
    Raises LabError for fewer than two dialogues or clusters, scores that do not pair up, and NaN or infinity.
    """

    def __init__(
        self,
        a: ArrayLike,
        b: ArrayLike | None = None,
        resamples: int = RESAMPLES,
        seed: int = SEED,
        clusters: Sequence[object] | None = None,
    ) -> None:
        self.resamples = as_whole_number(resamples, "The number of resamples", 1)
        if resamples > MOST_RESAMPLES:
            raise LabError(f"{resamples:,} resamples would fill the memory. Take at most {MOST_RESAMPLES:,}.")
        self.seed = as_whole_number(seed, "The seed", 0)
        sides = [_per_dialogue(a, "a"), *([] if b is None else [_per_dialogue(b, "b")])]
        n = len(sides[0])
        names = [str(name) for name in (range(n) if clusters is None else as_list_of(object, clusters, "clusters"))]
        for number, what in ((len(sides[-1]), "b"), (len(names), "clusters")):
            if number != n:
                raise LabError(
                    f"The scores cannot be paired: a covers {n} dialogues and {what} {number}, and each dialogue is "
                    "compared with itself. Score the same dialogues, in the same order, under both conditions."
                )
        if len(set(names)) < 2:
            raise LabError(
                f"There is no interval to compute: the scores cover {len(set(names))} dialogue(s) or situation(s), "
                "and an interval is made of the spread between them. Score at least two, better 200."
            )
        self.scores = sides[0] - sides[1] if b is not None else sides[0]
        self.clusters = np.unique(names, return_inverse=True)[1]
        self.binary, self.paired = all(np.isin(side, (0, 1)).all() for side in sides), b is not None
        self.drawn: Any = None

    def interval(self, level: float = 0.95) -> Interval:
        """The effect and its interval at a level between 0 and 1."""
        effect = low = high = self.scores.mean()
        if self.binary:
            low, high = share_interval(self.scores, self.clusters, level, self.paired)
        elif np.ptp(self.scores):
            low, high, self.drawn = mean_interval(
                self.scores, self.clusters, level, self.resamples, self.seed, self.drawn
            )
        return Interval(float(effect), float(min(low, effect)), float(max(high, effect)), len(self.scores))

    def p_value(self, shows: Callable[[Interval], bool]) -> float:
        """The smallest error, 1 minus level, with which the interval still shows a claim; from 1 / RESAMPLES to 1.

        At most 0.05 exactly if the 95 % interval shows it, since narrower intervals lie within wider ones.
        """
        low, high = (1 / RESAMPLES, 0.05) if shows(self.interval()) else (0.05, 1.0)
        for _ in range(12):
            middle = (low * high) ** 0.5
            low, high = (low, middle) if shows(self.interval(1 - middle)) else (middle, high)
        return high


def mean_interval(
    scores: Numbers, clusters: NDArray[np.intp], level: float, resamples: int, seed: int = SEED, drawn: Any = None
) -> tuple[Numbers, Numbers, Any]:
    """Ends of the interval of a mean: whichever is wider at either end, Student's t or the bootstrap.

    t with a standard error from clusters covers too little of skewed scores, the bootstrap (BCa) of scores of which
    few differ from 0; each is right where the other is not. scores: [..., n]; clusters: [n], numbers from 0.
    drawn: the resamples of an earlier call. Returns both ends, [...], and the resamples.
    Efron and Tibshirani (1993), An Introduction to the Bootstrap, chapters 8.3 and 14.3.
    """
    sums, sizes = _totals(scores, clusters), np.bincount(clusters)
    with warnings.catch_warnings(action="ignore"):  # of degenerate data, where the ends are NaN and t stands alone
        drawn = bootstrap(
            (sums, np.broadcast_to(sizes, sums.shape)),
            lambda sums, sizes, axis=-1: sums.sum(axis) / sizes.sum(axis),
            n_resamples=0 if drawn else resamples,
            bootstrap_result=drawn,
            batch=max(1, 200_000 // sums.size),  # bounds the memory
            paired=True,
            axis=-1,
            confidence_level=level,
            rng=np.random.default_rng(seed),
        )
    ends = drawn.confidence_interval
    half = t.isf((1 - level) / 2, len(sizes) - 1) * _standard_error(scores, clusters)
    mean = scores.mean(-1)
    return np.fmin(ends.low, mean - half), np.fmax(ends.high, mean + half), drawn


def share_interval(scores: Numbers, clusters: NDArray[np.intp], level: float, paired: bool) -> tuple[Numbers, Numbers]:
    """Ends of the interval of a share (scores of 0 and 1) or, paired, of a difference of shares (-1, 0 and 1).

    Wilson (1927), https://doi.org/10.1080/01621459.1927.10502953; Agresti and Min (2005) for differences, who add two
    made-up dialogues, https://doi.org/10.1002/sim.1781. Too narrow for few clusters where one score differs.
    As n counts the number of unrelated dialogues that would tell as much. Where all scores are the same nothing shows
    how alike those of a cluster are, and each cluster counts once. scores: [..., n]; clusters: [n].
    Where dialogues lie in few clusters, Student's t with clusters - 1 degrees of freedom takes the place of the normal
    distribution, which covers 86 to 90 times in 100 where there are five or six whose dialogues are alike.
    """
    spread, clustered = scores.std(-1), clusters.max() + 1
    z = t.isf((1 - level) / 2, clustered - 1 if clustered < min(FEW, len(clusters)) else np.inf)
    ratio = _standard_error(scores, clusters) / np.where(spread > 0, spread, 1) * scores.shape[-1] ** 0.5
    n = np.where(spread > 0, scores.shape[-1] / np.fmax(ratio**2, 1), clustered)  # divided by the design effect
    if paired:
        up, down = (((scores * sign > 0).mean(-1) * n + 0.5) / (n + 2) for sign in (1, -1))
        middle, half = up - down, z * np.sqrt((up + down - (up - down) ** 2) / (n + 2))
    else:
        share = scores.mean(-1)
        middle = (share + z**2 / 2 / n) / (1 + z**2 / n)
        half = z / (1 + z**2 / n) * np.sqrt(share * (1 - share) / n + (z / 2 / n) ** 2)
    return np.fmax(middle - half, -1 if paired else 0), np.fmin(middle + half, 1)


def holm(p_values: Sequence[float]) -> list[float]:
    """The p-values of several claims, each made larger for the others: Holm (1979), Scand. J. Statistics 6, 65-70.

    The chance that one or more claims pass by luck stays at 5 % when those at most 0.05 pass.
    """
    p, count = np.asarray(p_values, float), len(p_values)
    adjusted, order = np.empty(count), np.argsort(p)
    adjusted[order] = np.fmin(1, np.maximum.accumulate(p[order] * np.arange(count, 0, -1)))
    return adjusted.tolist()


def _totals(scores: Numbers, clusters: NDArray[np.intp]) -> Numbers:
    """The sum of the scores of each cluster, [..., clusters]."""
    starts = np.cumsum(np.bincount(clusters)) - np.bincount(clusters)
    return np.add.reduceat(scores[..., np.argsort(clusters, kind="stable")], starts, axis=-1)


def _standard_error(scores: Numbers, clusters: NDArray[np.intp]) -> Numbers:
    """Of the mean, from the spread between clusters, [...]."""
    off = _totals(scores - scores.mean(-1, keepdims=True), clusters)
    count = off.shape[-1]
    return np.sqrt(count / (count - 1) * (off**2).sum(-1)) / scores.shape[-1]


def _per_dialogue(scores: ArrayLike, name: str) -> Numbers:
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
    means = values if values.ndim == 1 else values.mean(axis=1)
    if len(odd := np.flatnonzero(~np.isfinite(means))):
        raise LabError(
            f"The scores {name} cannot be averaged: dialogue {odd[0]} has a score that is not a number. "
            "Look at what was scored there, or leave the dialogue out of both sides."
        )
    return means
