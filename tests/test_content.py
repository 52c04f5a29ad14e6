"""Content F1, grounded, and the baselines that a summary has to beat."""

import random
from collections import Counter
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from genai_labs.errors import LabError
from genai_labs.loading.data import Row
from genai_labs.scoring.baselines import FIXED_STRING, baselines, fixed_string, nearest_summaries
from genai_labs.scoring.content import content_f1, content_words, grounded
from genai_labs.scoring.metrics import rouge_scores

DIALOGUE = "#Person1#: Could I borrow your ladder till Friday?\n#Person2#: It's in the shed, help yourself."
SUMMARY = "#Person1# asks to borrow #Person2#'s ladder until Friday, and #Person2# agrees."


def test_tags_and_function_words_are_no_content() -> None:
    assert content_words(SUMMARY) == ("ask", "borrow", "ladder", "friday", "agre")
    assert content_words("#Person1# is to the of and #Person2#'s.") == ()


def test_content_f1_counts_stemmed_content_words_against_the_best_reference() -> None:
    scores = content_f1(
        [SUMMARY, SUMMARY, "It was them."], [[SUMMARY], ["A ladder was borrowed.", "No."], ["It was them."]]
    )
    assert scores[0] == 1.0
    assert scores[1] == pytest.approx(2 * 2 / (5 + 2))  # "ladder" and "borrow" of five words and of two
    assert scores[2] == 0.0  # nothing is said


def test_a_word_said_twice_counts_once_where_the_reference_has_it_once() -> None:
    assert content_f1(["ladder ladder"], ["ladder"])[0] == pytest.approx(2 / 3)


def test_grounded_is_the_share_of_content_words_that_stand_in_the_dialogue() -> None:
    assert grounded([SUMMARY], [DIALOGUE])[0] == pytest.approx(3 / 5)  # "asks" and "agrees" are the writer's
    assert grounded([DIALOGUE], [DIALOGUE])[0] == 1.0
    assert grounded([""], [DIALOGUE])[0] == 0.0


def test_numbers_have_to_match() -> None:
    with pytest.raises(LabError, match="references for 2"):
        content_f1([SUMMARY], [SUMMARY, SUMMARY])
    with pytest.raises(LabError, match="references for 2"):
        grounded([SUMMARY], [DIALOGUE, DIALOGUE])


ODD: Any = 5.5


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: content_f1([ODD], ["a"]), "^The summaries hold something of type float"),
        (lambda: grounded([ODD], ["a"]), "^The summaries hold"),
        (lambda: grounded(["a"], [ODD]), "^The dialogues hold"),
        (lambda: fixed_string(ODD), "was given as summaries,"),
        (lambda: nearest_summaries(ODD, []), "^A list of rows is needed"),
        (lambda: nearest_summaries([], ODD), "^A list of training rows is needed"),
        (lambda: baselines(ODD, []), "^A list of rows is needed"),
        (lambda: baselines([], ODD), "^A list of training rows is needed"),
    ],
)
def test_what_cannot_be_read_is_named(call: Callable[[], Any], words: str) -> None:
    with pytest.raises(LabError, match=words):
        call()


def _rows(count: int, start: int = 0) -> list[Row]:
    things = ["ladder", "kettle", "piano", "tent", "drill", "sofa", "violin", "lamp"]
    return [
        Row(
            f"r{i}",
            f"#Person1#: Where is my {things[i % 8]} number {i}?\n#Person2#: In the hall.\n#Person1#: Good.",
            (f"#Person1# looks for the {things[i % 8]} {i}, and #Person2# says that it is in the hall.",),
            "things",
        )
        for i in range(start, start + count)
    ]


def test_the_fixed_string_beats_another_summary_on_rouge_and_says_nothing() -> None:
    wishes = ["mend the kettle", "sell the piano", "paint the fence", "find the cat", "move the sofa"]
    train = [Row("t", "d", (f"#Person1# wants to {wish}, and #Person2# agrees to it.",), "") for wish in wishes]
    text = fixed_string([row.summary for row in train])
    assert "#Person1#" in text
    assert "kettle" not in text.split()[:6]
    new = ["#Person1# wants to lend the saw, and #Person2# agrees to it."]
    assert rouge_scores([text], new)[0] > rouge_scores(["kettle piano fence"], new)[0]
    # Whatever word is added or taken away, the mean falls or stays.
    summaries = [row.summary for row in train]
    best = rouge_scores([text] * 5, summaries).mean()
    for word in ("the", "kettle", "agrees", "#Person1#", "to"):
        assert rouge_scores([f"{text} {word}"] * 5, summaries).mean() <= best + 1e-9
    assert rouge_scores([" ".join(text.split()[:-1])] * 5, summaries).mean() <= best + 1e-9


def test_a_fixed_string_needs_summaries() -> None:
    with pytest.raises(LabError, match="none were given"):
        fixed_string([])


def grown_by_rouge(summaries: list[str]) -> Counter[str]:
    """Words, the frequent ones first, each time the one by which mean ROUGE-1 rises most, until it does not rise."""
    known = [word for word, _ in Counter(" ".join(summaries).split()).most_common()]
    grown: list[str] = []
    best = 0.0
    while True:
        means = [rouge_scores([" ".join([*grown, word])] * len(summaries), summaries).mean() for word in known]
        if max(means) <= best + 1e-9:
            return Counter(grown)
        best = max(means)
        grown.append(known[means.index(best)])


@pytest.mark.parametrize("seed", range(8))
def test_the_fixed_string_grows_as_long_as_mean_rouge_rises(seed: int) -> None:
    rng = random.Random(seed)
    summaries = [" ".join(rng.choices(["kettle", "piano", "tent", "drill", "sofa"], k=1 + n)) for n in range(4)]
    assert Counter(fixed_string(summaries).split()) == grown_by_rouge(summaries)


@pytest.mark.parametrize(
    ("summaries", "text"),
    [
        (["#Person1# asks"], "#Person1# asks"),
        (["lamp", "lamp", "sofa"], "lamp"),  # the words of all summaries are counted
        (["kettle tent piano", "drill kettle drill", "piano tent piano"], "piano kettle tent"),  # more would not gain
        ([" ".join(f"w{n}" for n in range(60))] * 2 + ["zebra"], " ".join(f"w{n}" for n in range(40))),  # at most 40
    ],
)
def test_a_fixed_string_by_hand(summaries: list[str], text: str) -> None:
    assert sorted(fixed_string(summaries).split()) == sorted(text.split())


def test_the_nearest_training_dialogue_is_found_by_its_words() -> None:
    train = _rows(8)
    assert nearest_summaries(_rows(2, start=9), train) == [
        train[1].summary,
        train[2].summary,
    ]  # the other kettle, piano


def test_where_nothing_is_like_anything_the_first_summary_is_taken() -> None:
    silent = [Row("s", "...", ("They are silent.",), ""), Row("t", "!", ("They shout.",), "")]
    assert nearest_summaries(_rows(2), silent) == ["They are silent."] * 2
    assert nearest_summaries(_rows(2), []) == ["", ""]
    assert nearest_summaries([], _rows(2)) == []


def test_every_baseline_writes_something_for_every_row() -> None:
    rows, train = _rows(4), _rows(8, start=16)
    found = baselines(rows, train)
    assert {name: len(texts) for name, texts in found.items()} == dict.fromkeys(
        (
            "fixed string",
            "first three turns",
            "longest turn",
            "whole dialogue",
            "nearest training summary",
            "another summary",
        ),
        4,
    )
    assert found["nearest training summary"] == nearest_summaries(rows, train)
    assert found["whole dialogue"] == [row.dialogue for row in rows]
    assert found["first three turns"][0].endswith("Good.")
    assert found[FIXED_STRING] == [fixed_string([row.summary for row in train])] * 4
    assert baselines(rows, train, fixed="They talk.")[FIXED_STRING] == ["They talk."] * 4
    assert all(a != row.summary for a, row in zip(found["another summary"], rows, strict=True))
    assert np.all(grounded(found["longest turn"], [row.dialogue for row in rows]) == 1.0)
