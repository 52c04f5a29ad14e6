"""Retrieval finds the note that a question is about, by its rare words."""

import math
from dataclasses import replace
from typing import Any

import bm25s
import pytest

from genai_labs.errors import LabError
from genai_labs.prompting import retrieval
from tests.variants import Variant, assert_noticed

TEXTS = ["The night train leaves at ten.", "The bakery opens at ten.", "The chess club meets at ten on Monday."]


def test_the_text_that_shares_the_rarest_words_comes_first() -> None:
    index = retrieval.Index(TEXTS)
    assert index.search("When does the chess club meet?") == [2]
    assert index.search("when does the BAKERY open at ten", count=2)[0] == 1
    assert index.search("zebra", count=3) == [0, 1, 2]


def test_a_word_that_every_text_holds_counts_less_than_a_rare_one() -> None:
    index = retrieval.Index(["tea tea tea", "tea and a scone", "tea alone"])
    assert index.search("tea scone") == [1]


def test_bm25_is_as_its_formula_says() -> None:
    """Worked by hand: texts of two and of four words; "a" stands once in the first alone."""
    index = retrieval.Index(["a b", "b c d e"])
    # idf = ln(1 + (2 - 1 + .5) / (1 + .5)) = ln 2; held back: 1.5 * (1 - .75 + .75 * 2 / 3) = 1.125
    assert index.bm25.get_scores(["a"]) == pytest.approx([math.log(2) / (1 + 1.125), 0])


def test_nothing_to_search_is_said() -> None:
    with pytest.raises(LabError, match="list of texts is empty"):
        retrieval.Index([])
    with pytest.raises(LabError, match="none of the texts holds a word"):
        retrieval.Index(["", "..."])
    assert retrieval.Index(["", "tea"]).search("tea") == [1]
    assert retrieval.Index(["", "tea"]).search("") == [0]


@pytest.mark.parametrize("texts", ["one text", None, 5, [None], [["a"]], {"a": 1}])
def test_what_is_no_list_of_texts_is_refused_in_words(texts: Any) -> None:
    with pytest.raises(LabError, match="list of texts|only texts can be read"):
        retrieval.Index(texts)


def test_of_many_that_fit_alike_the_earlier_ones_come_first() -> None:
    index = retrieval.Index(["tea", "scone"] * 40)
    assert index.search("a scone", count=80) == [*range(1, 80, 2), *range(0, 80, 2)]


def test_what_was_wrong_is_named() -> None:
    for call, words in (
        (lambda: retrieval.Index(5), "was given as texts to search,"),  # type: ignore[arg-type]
        (lambda: retrieval.Index(["tea"]).search(5), "^The questions hold"),  # type: ignore[arg-type]
        (lambda: retrieval.Index(["tea"]).search("tea", 0), "^The number of texts to find is 0"),
    ):
        with pytest.raises(LabError, match=words):
            call()


@pytest.mark.parametrize(
    ("question", "count"), [(None, 1), (5, 1), ("tea", 0), ("tea", -1), ("tea", 1.5), ("tea", "x")]
)
def test_a_search_that_cannot_be_is_refused_in_words(question: Any, count: Any) -> None:
    with pytest.raises(LabError):
        retrieval.Index(TEXTS).search(question, count)


def test_the_library_holds_each_answer_once_and_no_title_twice() -> None:
    notes, asked = retrieval.library(60)
    assert len(notes) == len(asked) == len({note.split(":")[0] for note in notes}) == 60
    assert all(each.answer.lower() in notes[each.place].lower() for each in asked)
    assert retrieval.library(60) == (notes, asked)
    assert retrieval.library(60, seed=1) != (notes, asked)
    assert retrieval.library() == retrieval.library(200, 0)
    every, _ = retrieval.library(10**6)
    assert len(every) == len({note.split(":")[0] for note in every}) > 200
    assert every[:60] == notes


def test_most_questions_find_their_note() -> None:
    notes, asked = retrieval.library(60)
    index = retrieval.Index(notes)
    found = [index.search(each.question)[0] == each.place for each in asked]
    assert sum(found) >= 0.9 * len(found)


# Checks, and wrong variants that they must notice.


def words_in_common(index: retrieval.Index, question: str, count: int = 1) -> list[int]:
    asked = retrieval.words(question)
    shared = [sum(retrieval.words(text).count(word) for word in asked) for text in index.texts]
    return sorted(range(len(shared)), key=lambda place: (-shared[place], place))[:count]


def of_the_next_note(count: int = 200, seed: int = 0) -> tuple[list[str], list[retrieval.Asked]]:
    notes, asked = LIBRARY(count, seed)
    return notes, [replace(each, place=(each.place + 1) % len(notes)) for each in asked]


BM25, LIBRARY, SEARCH = bm25s.BM25, retrieval.library, retrieval.Index.search
WRONG = {
    "words that all texts hold count as much": Variant(
        retrieval.Index, "search", words_in_common, test_a_word_that_every_text_holds_counts_less_than_a_rare_one
    ),
    "long texts are not held back": Variant(
        bm25s, "BM25", lambda **options: BM25(**options | {"b": 0.0}), test_bm25_is_as_its_formula_says
    ),
    "the worst first": Variant(
        retrieval.Index,
        "search",
        lambda index, question, count=1: SEARCH(index, question, len(index.texts))[::-1][:count],
        test_the_text_that_shares_the_rarest_words_comes_first,
    ),
    "wrong notes": Variant(
        retrieval.Index,
        "search",
        lambda index, question, count=1: [(place + 1) % len(index.texts) for place in SEARCH(index, question, count)],
        test_most_questions_find_their_note,
    ),
    "upper and lower case differ": Variant(
        retrieval, "words", str.split, test_the_text_that_shares_the_rarest_words_comes_first
    ),
    "questions about another note": Variant(
        retrieval, "library", of_the_next_note, test_the_library_holds_each_answer_once_and_no_title_twice
    ),
    "the same notes with every seed": Variant(
        retrieval,
        "library",
        lambda count=200, seed=0: LIBRARY(count),
        test_the_library_holds_each_answer_once_and_no_title_twice,
    ),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_variant_is_noticed(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert_noticed(WRONG[name], monkeypatch)
