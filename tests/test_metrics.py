"""ROUGE agrees with rouge_score; diversity and turns are what their names say."""

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
    diversity,
    is_turn,
    rouge_scores,
)
from genai_labs.scoring.stems import plain_words, stemmed_words
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


def recall_alone(prediction: str, references: list[str], kind: str) -> list[float]:
    return [metrics._scorer(kind).score(reference, prediction)[kind].recall for reference in references]


def of_neighbours(texts: list[str]) -> list[float]:
    return [each for pair in itertools.pairwise(texts) for each in PAIRWISE(list(pair))]


SCORER, MEASURES, PAIRWISE = (
    RougeScorer(list(ROUGE_TYPES), use_stemmer=True),
    metrics._f_measures,
    metrics._pairwise_rouge_l,
)
WRONG = {
    "words without stems": Variant(
        metrics,
        "stemmed_words",
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


def test_words_are_cut_to_stems_as_rouge_score_cuts_them() -> None:
    for text in ("She's been MEETING two friends, twice!", "", "#Person1# agrees: 12 o'clock", "a b skies dying"):
        assert list(stemmed_words(text)) == DefaultTokenizer(use_stemmer=True).tokenize(text)
        assert list(plain_words(text)) == DefaultTokenizer(use_stemmer=False).tokenize(text)
    assert stemmed_words("meeting meetings meets") == ("meet", "meet", "meet")
