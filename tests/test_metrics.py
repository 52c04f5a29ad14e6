"""ROUGE agrees with rouge_score, intervals cover what they promise."""

import itertools
import re
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
import pytest
from rouge_score.rouge_scorer import RougeScorer
from rouge_score.tokenizers import DefaultTokenizer

from genai_labs import paths
from genai_labs.errors import LabError
from genai_labs.scoring import metrics
from genai_labs.scoring.metrics import (
    ROUGE_TYPES,
    Interval,
    diversity,
    is_turn,
    paired_bootstrap,
    rouge_scores,
)
from tests.variants import Variant, assert_noticed

DIALOGSUM = paths.ROOT.parent / "shared" / "data" / "dialogsum" / "test.csv"
# Forms of one word for the stemmer, punctuation for the tokenizer, line ends for rougeLsum.
WORDS = [
    "the",
    "a",
    "Viola",
    "wanted",
    "wants",
    "booked",
    "tables",
    "table,",
    "7:15",
    "four!",
    "friends'",
    "\n",
]


@pytest.fixture(scope="module")
def scorer() -> RougeScorer:
    return RougeScorer(list(ROUGE_TYPES), use_stemmer=True)


def random_texts(number: int, seed: int) -> list[str]:
    rng = np.random.default_rng(seed)
    return [" ".join(rng.choice(WORDS, size=rng.integers(0, 25))) for _ in range(number)]


@pytest.mark.parametrize("kind", ROUGE_TYPES)
def test_rouge_of_random_pairs_equals_rouge_score(kind: str, scorer: RougeScorer) -> None:
    predictions, references = random_texts(200, seed=1), random_texts(200, seed=2)
    expected = [scorer.score(r, p)[kind].fmeasure for p, r in zip(predictions, references, strict=True)]
    assert 0 < np.mean(expected) < 1
    np.testing.assert_allclose(rouge_scores(predictions, references, kind), expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("kind", ROUGE_TYPES)
def test_rouge_of_several_references_equals_rouge_score(kind: str, scorer: RougeScorer) -> None:
    predictions = random_texts(50, seed=3)
    references = [random_texts(1 + number % 3, seed=10 + number) for number in range(50)]
    best = [scorer.score_multi(several, p)[kind].fmeasure for p, several in zip(predictions, references, strict=True)]
    mean = [
        np.mean([scorer.score(r, p)[kind].fmeasure for r in several])
        for p, several in zip(predictions, references, strict=True)
    ]
    np.testing.assert_allclose(rouge_scores(predictions, references, kind), best, rtol=0, atol=1e-12)
    np.testing.assert_allclose(rouge_scores(predictions, references, kind, "mean"), mean, rtol=0, atol=1e-12)


@pytest.mark.skipif(not DIALOGSUM.exists(), reason="real DialogSum is not shipped with the course (CC BY-NC-SA)")
def test_rouge_of_real_dialogues_equals_rouge_score(scorer: RougeScorer) -> None:
    rows = pd.read_csv(DIALOGSUM)
    summaries = rows["summary"].tolist()
    references = [[one, other] for one, other in zip(summaries, summaries[1:] + summaries[:1], strict=True)]
    predictions = [" ".join(dialogue.splitlines()[:3]) for dialogue in rows["dialogue"]]
    for kind in ROUGE_TYPES:
        each = [scorer.score_multi(r, p)[kind].fmeasure for p, r in zip(predictions, references, strict=True)]
        assert 0.05 < np.mean(each) < 0.6 or kind == "rouge2"
        np.testing.assert_allclose(rouge_scores(predictions, references, kind), each, rtol=0, atol=1e-12)


def test_stemming_makes_forms_of_a_word_equal() -> None:
    assert rouge_scores(["she booked tables"], ["she booking table"]).tolist() == [1.0]


@pytest.mark.parametrize(
    ("predictions", "references", "options", "word"),
    [
        (["a"], ["a", "b"], {}, "references for 2"),
        (["a"], "a", {}, "a single text"),
        (["a", "b"], [["a"], []], {}, "Summary 1"),
        (["a"], ["a"], {"kind": "rouge9"}, "rougeLsum"),
        (["a"], ["a"], {"combine": "worst"}, "best, mean"),
    ],
)
def test_rouge_answers_unfit_input_in_words(
    predictions: list[str], references: list[str], options: dict[str, str], word: str
) -> None:
    with pytest.raises(LabError, match=word):
        rouge_scores(predictions, references, **options)  # type: ignore[arg-type]


def test_diversity_is_0_for_equal_and_1_for_unrelated_samples() -> None:
    values = diversity([["a cat", "a cat", "a cat"], ["", ""], ["a cat", "the dog"], ["a cat", "a cat", "a dog"]])
    np.testing.assert_allclose(values, [0, 0, 1, 1 - (1 + 0.5 + 0.5) / 3], atol=1e-12)


@pytest.mark.parametrize("samples", [[["one"]], [[]], ["text"]])
def test_diversity_needs_two_samples_of_each_dialogue(samples: list[list[str]]) -> None:
    with pytest.raises(LabError, match="at least two"):
        diversity(samples)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("#Person1#: Hi.", True),
        (" #Person12#: Hi.", True),
        ("#Person1# asks for a table.", False),
        ("Viola said: #Person1#: Hi.", False),
        ("", False),
    ],
)
def test_a_turn_begins_with_its_speaker_and_a_colon(text: str, expected: bool) -> None:
    assert is_turn(text) is expected


def test_interval_covers_the_true_mean_about_95_times_in_100() -> None:
    rng = np.random.default_rng(0)
    hits = 0
    for seed in range(400):
        topic = rng.gamma(2.0, 0.1, size=(80, 1))  # what the rows of one dialogue have in common; mean 0.2
        interval = paired_bootstrap(topic + rng.normal(0, 0.1, (80, 3)), resamples=999, seed=seed)
        hits += interval.low <= 0.2 <= interval.high
    assert 0.92 <= hits / 400 <= 0.975


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
def test_dialogues_that_all_agree_give_an_interval_of_one_number() -> None:
    assert paired_bootstrap([1.0] * 30) == Interval(1.0, 1.0, 1.0, 30)


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
    ],
)
def test_scores_without_an_interval_are_answered_in_words(a: object, b: object, words: str) -> None:
    with pytest.raises(LabError, match=words):
        paired_bootstrap(a, b)  # type: ignore[arg-type]


def test_interval_formats_its_three_numbers_alike() -> None:
    assert f"{Interval(0.1234, 0.1, 0.2, 20):.2f}" == "0.12 [0.10, 0.20]"


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
    with pytest.raises(LabError, match="has to be a whole number"):
        paired_bootstrap([1, 2, 3], **settings)


def test_more_resamples_than_fit_into_memory_are_refused_in_words() -> None:
    with pytest.raises(LabError, match="at most 1,000,000"):
        paired_bootstrap([1, 2, 3], resamples=2**31)


@pytest.mark.parametrize("given", [None, 5, [5], [None], {"a": "b"}, "text"])
def test_texts_that_are_none_are_refused_in_words(given: Any) -> None:
    with pytest.raises(LabError):
        rouge_scores(given, ["a"])
    with pytest.raises(LabError):
        rouge_scores(["a"], given)
    with pytest.raises(LabError):
        diversity(given)


def test_nothing_has_no_rouge_as_a_whole_and_columns_of_tables_are_lists() -> None:
    assert rouge_scores([], []).shape == (0,)
    column = np.array(["a tea", "b"])
    assert rouge_scores(column, column).tolist() == [1, 1]  # type: ignore[arg-type]


# Checks, and wrong variants that they must notice.


def check_the_interval_is_one_of_95_percent_from_many_resamples() -> None:
    scores = np.random.default_rng(0).normal(0.3, 0.1, 400)
    half = 1.96 * scores.std() / np.sqrt(400)
    for seed in range(3):
        interval = metrics.paired_bootstrap(scores, seed=seed)
        assert interval.high - scores.mean() == pytest.approx(half, rel=0.05)
        assert scores.mean() - interval.low == pytest.approx(half, rel=0.05)


def check_dialogues_count_that_score_0_on_both_sides() -> None:
    a, b = [1.0] * 10 + [0.0] * 30, [0.0] * 40
    for interval in (metrics.paired_bootstrap(a), metrics.paired_bootstrap(a, b)):
        assert (interval.effect, interval.n) == (0.25, 40)
        assert interval.low < 0.25 < interval.high < 0.5


def check_each_dialogue_is_compared_with_itself() -> None:
    hard = np.random.default_rng(0).random(100)
    interval = metrics.paired_bootstrap(hard + np.linspace(0.01, 0.03, 100), hard)
    assert interval.effect == pytest.approx(0.02)
    assert 0.015 < interval.low < interval.high < 0.025


def of_other_pairs(a: Any, b: Any = None, **options: Any) -> Interval:
    return paired_bootstrap(a, b if b is None else np.sort(b), **options)


def without_zeros(a: Any, b: Any = None, **options: Any) -> Interval:
    several = np.array([a] if b is None else [a, b])
    return paired_bootstrap(*several[:, several.any(axis=0)], **options)


def recall_alone(prediction: str, references: list[str], kind: str) -> list[float]:
    return [metrics._scorer(kind).score(reference, prediction)[kind].recall for reference in references]


def of_neighbours(texts: list[str]) -> list[float]:
    return [each for pair in itertools.pairwise(texts) for each in PAIRWISE(list(pair))]


SCORER, BOOTSTRAP, MEASURES, PAIRWISE = (
    RougeScorer(list(ROUGE_TYPES), use_stemmer=True),
    metrics.bootstrap,
    metrics._f_measures,
    metrics._pairwise_rouge_l,
)
WRONG = {
    "a 93 % interval": Variant(
        metrics,
        "bootstrap",
        partial(BOOTSTRAP, confidence_level=0.93),
        check_the_interval_is_one_of_95_percent_from_many_resamples,
    ),
    "99 resamples": Variant(
        metrics,
        "bootstrap",
        lambda *scores, n_resamples, **options: BOOTSTRAP(*scores, n_resamples=99, **options),
        check_the_interval_is_one_of_95_percent_from_many_resamples,
    ),
    "without dialogues that score 0 on both sides": Variant(
        metrics, "paired_bootstrap", without_zeros, check_dialogues_count_that_score_0_on_both_sides
    ),
    "of other pairs": Variant(metrics, "paired_bootstrap", of_other_pairs, check_each_dialogue_is_compared_with_itself),
    "b minus a": Variant(
        metrics,
        "paired_bootstrap",
        lambda a, b, **options: paired_bootstrap(b, a, **options),
        check_each_dialogue_is_compared_with_itself,
    ),
    "rows in place of dialogues": Variant(
        metrics,
        "_per_dialogue",
        lambda scores, name: np.ravel(scores),
        test_rows_of_one_dialogue_are_not_independent_evidence,
    ),
    "words without stems": Variant(
        metrics,
        "_stemmed_words",
        DefaultTokenizer(use_stemmer=False).tokenize,
        test_stemming_makes_forms_of_a_word_equal,
    ),
    "the first reference only": Variant(
        metrics,
        "as_lists",
        lambda references, n: [several[:1] for several in references],
        partial(test_rouge_of_several_references_equals_rouge_score, "rouge1", SCORER),
    ),
    "recall in place of F": Variant(
        metrics, "_f_measures", recall_alone, partial(test_rouge_of_random_pairs_equals_rouge_score, "rouge1", SCORER)
    ),
    "ROUGE-1 whatever is asked for": Variant(
        metrics,
        "_f_measures",
        lambda text, references, kind: MEASURES(text, references, "rouge1"),
        partial(test_rouge_of_random_pairs_equals_rouge_score, "rougeL", SCORER),
    ),
    "diversity of neighbours only": Variant(
        metrics, "_pairwise_rouge_l", of_neighbours, test_diversity_is_0_for_equal_and_1_for_unrelated_samples
    ),
    "a turn anywhere in a text": Variant(
        metrics,
        "TURN",
        re.compile(r".*#Person\d+#:"),
        partial(test_a_turn_begins_with_its_speaker_and_a_colon, "Viola said: #Person1#: Hi.", False),
    ),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_variant_is_noticed(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert_noticed(WRONG[name], monkeypatch)
