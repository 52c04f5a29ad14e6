"""Intervals cover what they promise, whatever the scores are like, and nothing is found where nothing is."""

from collections.abc import Callable
from functools import cache, partial
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.stats import bootstrap, norm, t

from genai_labs.errors import LabError
from genai_labs.loading import data
from genai_labs.paths import DIALOGUES
from genai_labs.scoring import intervals
from genai_labs.scoring.intervals import Estimate, Interval, holm, paired_bootstrap
from tests.variants import Variant, assert_noticed

Numbers = NDArray[np.float64]
COUNTS = (60, 200)
ALIKE = 0.3  # the correlation, before a score is made of it, of two dialogues of one situation


@cache
def situations(count: int) -> NDArray[np.intp]:
    """Of the first test dialogues, as numbers: 200 of them hold 105."""
    names = data.situations(data.load_split(DIALOGUES, "test")[:count])
    return np.unique(names, return_inverse=True)[1]


def ranks(rng: np.random.Generator, count: int, runs: int, shared: float = ALIKE) -> Numbers:
    """Numbers from 0 to 1, evenly spread, shape [runs, count]; those of one situation are alike."""
    of_situation = rng.normal(size=(runs, count))[:, situations(count)]
    return norm.cdf(np.sqrt(shared) * of_situation + np.sqrt(1 - shared) * rng.normal(size=(runs, count)))


def mostly_zero(u: Numbers, up: float, down: float) -> Numbers:
    """A share ``up`` of the scores is between 0 and 1, a share ``down`` between -1 and 0, all others are 0."""
    return np.where(u > 1 - up, (u - 1 + up) / up, np.where(u < down, -u / max(down, 1e-9), 0.0))


# what scores are like -> how they are made of ranks, and their true mean
MEANS: dict[str, tuple[Callable[[Numbers], Numbers], float]] = {
    "normal": (norm.ppf, 0.0),
    "skewed": (lambda u: -np.log(u), 1.0),
    "zero for 80 %": (lambda u: mostly_zero(u, 0.2, 0), 0.1),
    "zero for 90 %": (lambda u: mostly_zero(u, 0.1, 0), 0.05),
    "zero for 80 %, of either sign": (lambda u: mostly_zero(u, 0.13, 0.07), 0.03),
    "zero for 85 %, of either sign": (lambda u: mostly_zero(u, 0.1, 0.05), 0.025),
}
SHARES = (0.5, 0.8, 0.95, 0.98)
PAIRS = ((0.5, 0.5), (0.9, 0.8), (0.98, 0.8), (0.9, 0.1))


def covered(ends: tuple[Numbers, Numbers], truth: float) -> float:
    return float(((ends[0] <= truth + 1e-12) & (truth - 1e-12 <= ends[1])).mean())


def coverage_of_a_mean(kind: str, count: int, runs: int, resamples: int = 499) -> float:
    make, truth = MEANS[kind]
    scores = make(ranks(np.random.default_rng(1), count, runs))
    return covered(intervals.mean_interval(scores, situations(count), 0.95, resamples)[:2], truth)


def coverage_of_a_share(share: float, count: int, runs: int) -> float:
    scores = (ranks(np.random.default_rng(2), count, runs) < share).astype(float)
    return covered(intervals.share_interval(scores, situations(count), 0.95, False), share)


def coverage_of_paired_shares(a: float, b: float, count: int, runs: int) -> float:
    rng = np.random.default_rng(3)
    scores = (ranks(rng, count, runs) < a).astype(float) - (ranks(rng, count, runs) < b)
    return covered(intervals.share_interval(scores, situations(count), 0.95, True), a - b)


def measured(runs: int) -> dict[str, float]:
    """What the intervals of each kind cover."""
    found = {f"{kind}, n = {n}": coverage_of_a_mean(kind, n, runs) for kind in MEANS for n in COUNTS}
    found |= {f"share {share}, n = {n}": coverage_of_a_share(share, n, 20_000) for share in SHARES for n in COUNTS}
    return found | {f"{a} - {b}, n = {n}": coverage_of_paired_shares(a, b, n, 20_000) for a, b in PAIRS for n in COUNTS}


def outside(found: dict[str, float], low: float = 0.93, high: float = 0.97) -> dict[str, float]:
    return {kind: share for kind, share in found.items() if not low <= share <= high}


@pytest.mark.parametrize("runs", [1000, pytest.param(10_000, marks=pytest.mark.slow)])
def test_intervals_cover_the_truth_93_to_97_times_in_100(runs: int) -> None:
    assert outside(measured(runs)) == {}


# (clusters, scores): as in a lab that tells few stories, each with other numbers.
FEW: tuple[tuple[int, int], ...] = ((5, 100), (6, 100), (12, 100), (18, 200), (30, 200))


def coverage_of_few_clusters(clusters: int, count: int, a: float, b: float | None, alike: float = ALIKE) -> float:
    """Of a share a, or of a difference of shares a - b, where the scores lie in few clusters of different sizes."""
    rng = np.random.default_rng(5)
    names = np.concatenate([np.arange(clusters), rng.integers(0, clusters, count - clusters)])

    def yes(share: float) -> Numbers:
        of_cluster = rng.normal(size=(4000, clusters))[:, names]
        own = rng.normal(size=(4000, count))
        return (norm.cdf(np.sqrt(alike) * of_cluster + np.sqrt(1 - alike) * own) < share).astype(float)

    scores, truth = (yes(a), a) if b is None else (yes(a) - yes(b), a - b)
    return covered(intervals.share_interval(scores, names, 0.95, b is not None), truth)


@pytest.mark.parametrize(("clusters", "count"), FEW)
def test_few_clusters_are_covered_as_often_as_many(clusters: int, count: int) -> None:
    """Exactly where their scores are alike, and more often, not less, where they are not or may all agree."""
    kinds = ((0.55, 0.25), (0.5, 0.5), (0.5, None))
    assert outside({f"{a}, {b}": coverage_of_few_clusters(clusters, count, a, b) for a, b in kinds}) == {}
    assert 0.93 <= coverage_of_few_clusters(clusters, count, 0.9, None) <= 0.975
    assert min(coverage_of_few_clusters(clusters, count, a, b, 0) for a, b in (*kinds, (0.9, None))) >= 0.95


def test_few_scores_that_stand_alone_are_no_few_clusters() -> None:
    """Twelve scores have the interval of the normal law, as Wilson's; their spread is that of a sample, n / (n - 1)."""
    z, n, share = norm.isf(0.025), 11, 10 / 12
    middle, half = share + z**2 / 2 / n, z * np.sqrt(share * (1 - share) / n + (z / 2 / n) ** 2)
    found = paired_bootstrap([1.0] * 10 + [0.0] * 2)
    assert found[1:3] == pytest.approx([(middle + side * half) / (1 + z**2 / n) for side in (-1, 1)])


@pytest.mark.parametrize("count", COUNTS)
def test_two_shares_near_0_and_1_are_covered_more_often_rather_than_less(count: int) -> None:
    for a, b in ((0.97, 0.02), (0.97, 0.97), (0.99, 0.01)):
        assert coverage_of_paired_shares(a, b, count, 10_000) >= 0.95


@pytest.mark.parametrize("runs", [1000, pytest.param(10_000, marks=pytest.mark.slow)])
def test_where_nothing_differs_a_difference_is_found_in_at_most_5_of_100(runs: int) -> None:
    """A is compared with A; of a single kind, three errors of so many runs are allowed on top."""
    rng, found = np.random.default_rng(4), {}
    for count in COUNTS:
        for kind, (make, _) in MEANS.items():
            scores = make(ranks(rng, count, runs)) - make(ranks(rng, count, runs))
            low, high, _ = intervals.mean_interval(scores, situations(count), 0.95, 499)
            found[f"{kind}, n = {count}"] = float(((low > 0) | (high < 0)).mean())
        for share in SHARES:
            found[f"{share}, n = {count}"] = 1 - coverage_of_paired_shares(share, share, count, runs)
    assert np.mean(list(found.values())) <= 0.05
    assert outside(found, 0, 0.05 + 3 * (0.05 * 0.95 / runs) ** 0.5) == {}


def test_each_end_is_that_of_t_or_of_the_bootstrap_whichever_is_wider() -> None:
    for sign in (1, -1):
        scores = sign * np.random.default_rng(0).exponential(size=100)
        found = paired_bootstrap(scores)
        half = t.isf(0.025, 99) * scores.std(ddof=1) / 10
        drawn = bootstrap((scores,), np.mean, batch=500, rng=np.random.default_rng(5)).confidence_interval
        low, high = min(drawn.low, scores.mean() - half), max(drawn.high, scores.mean() + half)
        assert (found.low, found.high) == pytest.approx((low, high), abs=0.01)
        assert abs(drawn.low - scores.mean() + half) > 0.015 < abs(drawn.high - scores.mean() - half)


def test_few_clusters_get_the_t_that_belongs_to_their_number() -> None:
    """With as many of yes as of no in each cluster, dialogues count as unrelated: only the distribution changes."""
    for clusters in (2, 6, intervals.FEW - 1, intervals.FEW):
        scores, names = np.tile([0.0, 1.0] * 2, clusters), np.repeat(np.arange(clusters), 4).tolist()
        z = t.isf(0.025, clusters - 1 if clusters < intervals.FEW else np.inf)
        n = len(scores)
        half = z / (1 + z**2 / n) * np.sqrt(0.25 / n + (z / 2 / n) ** 2)  # Wilson's, of a share of one half
        assert paired_bootstrap(scores, clusters=names) == pytest.approx((0.5, 0.5 - half, 0.5 + half, n))


def test_few_scores_get_the_t_that_belongs_to_their_number() -> None:
    scores = np.array([0.1, 0.4, 0.2, 0.35])
    half = t.isf(0.025, 3) * scores.std(ddof=1) / 2
    assert paired_bootstrap(scores)[:3] == pytest.approx((scores.mean(), scores.mean() - half, scores.mean() + half))
    in_two = t.isf(0.025, 1) * np.sqrt(2 * (0.0125**2 + 0.0125**2) * 4) / 4  # each pair of scores as one cluster
    assert paired_bootstrap(scores, clusters=["a", "a", "b", "b"])[1] == pytest.approx(scores.mean() - in_two)


def test_a_difference_of_shares_counts_each_sign_once() -> None:
    a, b = [1.0] * 30 + [0.0] * 10 + [1.0] * 60, [0.0] * 30 + [1.0] * 10 + [1.0] * 60
    # Agresti and Min add half a dialogue to each; the spread of a sample counts 99 of 100 dialogues as unrelated.
    up, down = (0.3 * 99 + 0.5) / 101, (0.1 * 99 + 0.5) / 101
    half = norm.isf(0.025) * np.sqrt((up + down - (up - down) ** 2) / 101)
    assert paired_bootstrap(a, b) == pytest.approx((0.2, up - down - half, up - down + half, 100))


def test_an_interval_at_another_level_draws_nothing_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[int, bool]] = []

    def noted(*args: Any, n_resamples: int, bootstrap_result: Any, **named: Any) -> Any:
        asked.append((n_resamples, bootstrap_result is not None))
        return bootstrap(*args, n_resamples=n_resamples, bootstrap_result=bootstrap_result, **named)

    monkeypatch.setattr(intervals, "bootstrap", noted)
    estimate = Estimate(np.random.default_rng(0).random(30), resamples=99)
    wide, narrow = estimate.interval(0.99), estimate.interval(0.5)
    assert asked == [(99, False), (0, True)]
    assert wide.low < narrow.low < narrow.high < wide.high


def test_dialogues_of_one_situation_tell_less_than_unrelated_ones() -> None:
    rng = np.random.default_rng(0)
    names = np.repeat(np.arange(50), 4)
    for scores in (rng.normal(size=50)[names], (rng.random(50)[names] < 0.8).astype(float)):
        together, apart = paired_bootstrap(scores, clusters=names.tolist()), paired_bootstrap(scores)
        assert (together.effect, together.n) == (apart.effect, apart.n)
        assert together.high - together.low == pytest.approx(2 * (apart.high - apart.low), rel=0.1)


def test_clusters_have_to_be_named_for_each_dialogue_and_be_at_least_two() -> None:
    with pytest.raises(LabError, match="a covers 3 dialogues and clusters 2"):
        paired_bootstrap([1, 2, 3], clusters=["a", "b"])
    with pytest.raises(LabError, match=r"1 dialogue\(s\) or situation\(s\)"):
        paired_bootstrap([1, 2, 3], clusters=["a"] * 3)
    assert paired_bootstrap([1, 2, 3], clusters=["a", "b", "b"]).n == 3
    for odd in (5, "abc", {"a": 1}):
        with pytest.raises(LabError, match="^clusters|[^X]clusters"):
            paired_bootstrap([1, 2, 3], clusters=odd)


def test_a_p_value_is_the_error_at_which_the_interval_still_shows_a_claim() -> None:
    rng = np.random.default_rng(0)
    for kind in (rng.normal(0.1, 1, 300), (rng.random(300) < 0.54).astype(float)):
        middle = 0.5 if set(kind) == {0, 1} else 0.0
        estimate = Estimate(kind)
        p = estimate.p_value(lambda interval, middle=middle: interval.low > middle)  # type: ignore[misc]
        assert 0.001 < p < 0.99
        assert (p <= 0.05) == (estimate.interval().low > middle)
        assert estimate.interval(1 - 1.01 * p).low > middle >= estimate.interval(1 - 0.99 * p).low
    assert Estimate(rng.normal(size=50)).p_value(lambda _: False) == 1.0
    assert Estimate(rng.normal(9, 1, 50)).p_value(lambda interval: interval.low > 0) == pytest.approx(1e-4, rel=0.01)


def test_holm_makes_p_values_larger_as_in_its_definition() -> None:
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.6, 0.5]) == [1.0, 1.0]
    assert holm([0.9, 0.8, 0.7]) == [1.0, 1.0, 1.0]
    assert holm(["0.01", "0.03"]) == pytest.approx([0.02, 0.03])  # type: ignore[list-item]
    assert holm([0.05]) == [0.05]
    assert holm([]) == []


def test_rows_of_one_dialogue_are_not_independent_evidence() -> None:
    scores = np.random.default_rng(0).random(60)
    assert paired_bootstrap(np.repeat(scores[:, None], 5, axis=1)) == pytest.approx(paired_bootstrap(scores))


def test_pairing_sees_a_small_gain_behind_large_differences_between_dialogues() -> None:
    rng = np.random.default_rng(0)
    hard = rng.random(100)
    gain = hard + 0.02 + rng.normal(0, 0.01, 100)
    paired, mixed = paired_bootstrap(gain, hard), paired_bootstrap(gain, rng.permutation(hard))
    assert paired.low > 0
    assert mixed.low < 0 < mixed.high
    assert paired.effect == pytest.approx(mixed.effect)


def test_same_seed_same_interval_other_seed_other_interval() -> None:
    scores = np.random.default_rng(0).random(50)
    assert paired_bootstrap(scores, seed=1) == paired_bootstrap(scores, seed=1)
    assert paired_bootstrap(scores, seed=1) != paired_bootstrap(scores, seed=2)


def test_swapping_the_sides_mirrors_the_interval() -> None:
    a, b = np.random.default_rng(0).random((2, 50))
    there, back = paired_bootstrap(a, b), paired_bootstrap(b, a)
    assert (back.effect, back.low, back.high) == pytest.approx((-there.effect, -there.high, -there.low))


@pytest.mark.filterwarnings("error")
def test_scores_that_all_agree_give_an_interval_of_one_number_unless_they_are_yes_or_no() -> None:
    assert paired_bootstrap([0.75] * 30, [0.25] * 30) == Interval(0.5, 0.5, 0.5, 30)
    assert paired_bootstrap([1.0] * 100) == pytest.approx((1.0, 0.963, 1.0, 100), abs=5e-4)
    assert paired_bootstrap([0.0] * 100) == pytest.approx((0.0, 0.0, 0.037, 100), abs=5e-4)
    assert paired_bootstrap([1.0] * 100, [0.0] * 100) == pytest.approx((1.0, 0.947, 1.0, 100), abs=5e-4)


@pytest.mark.parametrize("b", [None, 0.0])
def test_where_all_scores_are_the_same_each_cluster_counts_once(b: float | None) -> None:
    """Whether those of a cluster are alike cannot be seen there; 50 clusters, so that both take the normal law."""
    several, single = ([1.0] * 200, None if b is None else [b] * 200), ([1.0] * 50, None if b is None else [b] * 50)
    clustered = paired_bootstrap(*several, clusters=[str(place // 4) for place in range(200)])
    assert clustered[:3] == pytest.approx(paired_bootstrap(*single)[:3])
    few = paired_bootstrap(*several, clusters=[str(place // 40) for place in range(200)])
    assert few.low < clustered.low < paired_bootstrap(*several).low


def test_shares_of_clusters_that_agree_within_are_covered() -> None:
    """Ten clusters of twenty that all say the same: 64 times in 100 as long as agreement counted as no likeness."""
    rng, names = np.random.default_rng(0), np.repeat(np.arange(10), 20)
    drawn = np.repeat(rng.random((4000, 10)) < 0.9, 20, axis=1).astype(float)
    low, high = intervals.share_interval(drawn, names, 0.95, False)
    assert ((low <= 0.9) & (high >= 0.9)).mean() >= 0.93


@pytest.mark.parametrize(
    ("a", "b", "words"),
    [
        ([], None, "0 dialogue"),
        ([0.5], None, "1 dialogue"),
        ([0.5, float("nan"), 1], None, "dialogue 1"),
        ([0.5, 1], [float("inf"), 0], "scores b.*dialogue 0"),
        ([1, 2, 3], [1, 2], "a covers 3 dialogues and b 2"),
        ([[1, 2], [3]], None, "same number of scores"),
        (np.zeros((2, 2, 2)), None, "3 dimensions"),
        (np.zeros((2, 0)), None, "scores a cannot be averaged: the dialogues have no scores"),
        ([1, 2], np.zeros((2, 0)), "scores b cannot be averaged"),
    ],
)
def test_scores_without_an_interval_are_answered_in_words(a: object, b: object, words: str) -> None:
    with pytest.raises(LabError, match=words):
        paired_bootstrap(a, b)  # type: ignore[arg-type]


def test_interval_formats_its_three_numbers_alike() -> None:
    assert f"{Interval(0.1234, 0.1, 0.2, 20):.2f}" == "0.12 [0.10, 0.20]"
    assert f"{Interval(-0.0001, -0.1, 0.2, 20)}" == "0.000 [-0.100, 0.200]"
    assert str(Interval(-0.0001, -0.1, 0.2, 20)) == "0.000 [-0.100, 0.200], n = 20"


@pytest.mark.parametrize(
    "scores", [[{}, {}], [1 + 2j, 3], [10**400, 1], {1: 2}, {"a"}, iter([1, 2]), [None, 1], 5, [[], []]]
)
def test_scores_that_are_no_numbers_are_refused_in_words(scores: Any) -> None:
    for a, b in ((scores, None), ([1, 2], scores)):
        with pytest.raises(LabError):
            paired_bootstrap(a, b)


@pytest.mark.parametrize(
    "settings", [{"resamples": 0}, {"resamples": -1}, {"resamples": 1.5}, {"seed": -1}, {"seed": "x"}]
)
def test_settings_of_an_interval_that_cannot_be_are_refused_in_words(settings: Any) -> None:
    what = {"resamples": "^The number of resamples is", "seed": "^The seed is"}
    with pytest.raises(LabError, match="has to be a whole number") as error:
        paired_bootstrap([1, 2, 3], **settings)
    assert error.match(what[next(iter(settings))])


def test_more_resamples_than_fit_into_memory_are_refused_in_words() -> None:
    with pytest.raises(LabError, match="at most 1,000,000"):
        paired_bootstrap([1, 2, 3], resamples=2**31)


# Checks, and wrong variants that they must notice.


def check_dialogues_count_that_score_0_on_both_sides() -> None:
    a, b = [0.9] * 10 + [0.0] * 30, [0.0] * 40
    for interval in (intervals.paired_bootstrap(a), intervals.paired_bootstrap(a, b)):
        assert (interval.effect, interval.n) == (pytest.approx(0.225), 40)
        assert interval.low < 0.225 < interval.high < 0.5


def check_each_dialogue_is_compared_with_itself() -> None:
    hard = np.random.default_rng(0).random(100)
    interval = intervals.paired_bootstrap(hard + np.linspace(0.01, 0.03, 100), hard)
    assert interval.effect == pytest.approx(0.02)
    assert 0.015 < interval.low < interval.high < 0.025


def check_coverage() -> None:
    assert (
        outside({kind: coverage_of_a_mean(kind, 200, 400) for kind in ("normal", "zero for 90 %")}, 0.935, 0.975) == {}
    )
    assert outside({str(share): coverage_of_a_share(share, 200, 4000) for share in (0.5, 0.98)}) == {}


def without_zeros(a: Any, b: Any = None, **options: Any) -> Interval:
    several = np.array([a] if b is None else [a, b])
    return paired_bootstrap(*several[:, several.any(axis=0)], **options)


def alone(function: Any) -> Any:
    """Each dialogue for itself, whatever situation it is of."""
    return lambda scores, clusters, *others: function(scores, np.arange(len(clusters)), *others)


def by_t_alone(scores: Numbers, clusters: Any, level: float, *_: Any) -> Any:
    half = t.isf((1 - level) / 2, clusters.max()) * intervals._standard_error(scores, clusters)
    return scores.mean(-1) - half, scores.mean(-1) + half, None


def of_wald(scores: Numbers, clusters: Any, level: float, _: bool) -> Any:
    return by_t_alone(scores, clusters, level)[:2]


def check_few_clusters() -> None:
    assert outside({"of 6": coverage_of_few_clusters(6, 100, 0.5, 0.3)}) == {}


BOOTSTRAP, MEAN, SHARE = intervals.bootstrap, intervals.mean_interval, intervals.share_interval
EACH_END = test_each_end_is_that_of_t_or_of_the_bootstrap_whichever_is_wider
WRONG = {
    "a 93 % bootstrap": Variant(
        intervals, "bootstrap", lambda *a, **o: BOOTSTRAP(*a, **o | {"confidence_level": 0.93}), EACH_END
    ),
    "9 resamples": Variant(intervals, "bootstrap", lambda *a, **o: BOOTSTRAP(*a, **o | {"n_resamples": 9}), EACH_END),
    "percentiles": Variant(intervals, "bootstrap", partial(BOOTSTRAP, method="percentile"), EACH_END),
    "t alone": Variant(intervals, "mean_interval", by_t_alone, EACH_END),
    "means of dialogues that stand alone": Variant(intervals, "mean_interval", alone(MEAN), check_coverage),
    "shares of dialogues that stand alone": Variant(intervals, "share_interval", alone(SHARE), check_coverage),
    "few clusters as if they were many": Variant(intervals, "FEW", 0, check_few_clusters),
    "a share as any mean": Variant(intervals, "share_interval", of_wald, check_coverage),
    "without dialogues that score 0 on both sides": Variant(
        intervals, "paired_bootstrap", without_zeros, check_dialogues_count_that_score_0_on_both_sides
    ),
    "of other pairs": Variant(
        intervals,
        "paired_bootstrap",
        lambda a, b, **options: paired_bootstrap(a, np.sort(b), **options),
        check_each_dialogue_is_compared_with_itself,
    ),
    "b minus a": Variant(
        intervals,
        "paired_bootstrap",
        lambda a, b, **options: paired_bootstrap(b, a, **options),
        check_each_dialogue_is_compared_with_itself,
    ),
    "rows in place of dialogues": Variant(
        intervals,
        "_per_dialogue",
        lambda scores, name: np.ravel(scores),
        test_rows_of_one_dialogue_are_not_independent_evidence,
    ),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_variant_is_noticed(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert_noticed(WRONG[name], monkeypatch)
