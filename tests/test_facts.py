"""Facts are found however they are spelt; true summaries state no other, and wrong ones are caught."""

import re
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pytest

from genai_labs import paths
from genai_labs.errors import LabError
from genai_labs.loading.data import Row, load_split
from genai_labs.scoring import facts
from genai_labs.scoring.facts import exchange_one, precision, recall, stated, unsupported
from genai_labs.scoring.metrics import rouge_scores
from tests.variants import Variant, assert_noticed

ODD: Any = 5.5
DIALOGUE = """#Person1#: Good morning, Doctor Adler. May I bring Otto on Tuesday?
#Person2#: Rosa is here on Tuesday. Come to 7 Cuckoo Lane at half past six, no, six o'clock.
#Person1#: And the price? Forty-five dollars, as on the 3rd of May?"""


@pytest.fixture(scope="module")
def rows() -> list[Row]:
    return load_split(str(paths.DIALOGUES), "test")[:100]


@pytest.mark.parametrize(
    ("text", "facts"),
    [
        ("They meet at 4:30, half past four or four thirty.", ["4:30"]),
        ("It opens at five o'clock, 5 p.m. to us.", ["5:00"]),
        ("A quarter to one or a quarter past one, ten past nine", ["12:45", "1:15", "9:10"]),
        ("between noon and midnight", ["12:00", "0:00"]),
        ("It costs $45 or forty-five dollars, and thirty euros there.", ["$45", "€30"]),
        ("Seven of them, 7 in all, and a hundred and ten more, or 1,200", ["7", "110", "1200"]),
        ("two thousand five hundred and six steps, six-minute breaks", ["2506", "6"]),
        ("a thousand steps", ["1000"]),
        ("One of them is the first speaker, one of two.", ["2"]),
        ("They lost five to one in a match from two to four.", ["5 to 1", "2", "4"]),
        ("on May 3, the 3rd of May, in June, on Sundays", ["May 3", "June", "Sunday"]),
        ("May I come in May?", ["May"]),
        (
            "#Person1# visits Mr. Abbott and Doctor Webb on Cuckoo Lane with Elsa's dog.",
            ["Abbott", "Webb", "Cuckoo Lane", "Elsa"],
        ),
        ("The shop is near. Bruno waits, and so I tell Bruno.", ["Bruno"]),
        ("#Person1#: Hello.\n#Person2#: Nobody is in.", []),
        ("", []),
    ],
)
def test_facts_are_found_and_spelt_alike(text: str, facts: list[str]) -> None:
    assert stated(text) == facts


@pytest.mark.parametrize(
    ("summary", "made_up"),
    [
        ("Adler sees Otto on Tuesday at 6:00 for $45.", []),
        ("Rosa works on Cuckoo Lane, and Otto comes at six in May.", []),  # less than was said is not made up
        ("Rosa works on Cuckoo Road in March.", ["Cuckoo Road", "March"]),
        (
            "Otto comes on Friday at 7:00 for 45 euros, with Vera and eight others.",
            ["Friday", "7:00", "€45", "Vera", "8"],
        ),
        ("Otto pays on May 4.", ["May 4"]),
        ("Cuckoo Road is near.", ["Cuckoo Road"]),  # "Cuckoo" is known to be a name from the dialogue
    ],
)
def test_what_the_dialogue_does_not_hold_is_unsupported(summary: str, made_up: list[str]) -> None:
    assert unsupported(summary, DIALOGUE) == made_up


def test_an_hour_taken_back_passes_precision_and_fails_recall() -> None:
    summary = ["#Person1# brings Otto at half past six."]
    assert precision(summary, [DIALOGUE]).tolist() == [1.0]
    assert recall(summary, ["#Person1# brings Otto at six o'clock."]).tolist() == [0.5]


def test_equal_rouge_hides_an_unequal_truth() -> None:
    reference = ["#Person1# brings Otto to Cuckoo Lane on Tuesday."]
    wrong_day = ["#Person1# brings Otto to Cuckoo Lane on Friday."]
    wrong_word = ["#Person1# takes Otto to Cuckoo Lane on Tuesday."]
    assert rouge_scores(wrong_day, reference) == rouge_scores(wrong_word, reference)
    assert precision(wrong_day, [DIALOGUE]) == recall(wrong_day, reference) == pytest.approx(2 / 3)
    assert precision(wrong_word, [DIALOGUE]) == recall(wrong_word, reference) == 1.0


def test_only_what_all_references_state_is_asked_for() -> None:
    references = ["Otto comes on Tuesday for $45.", "On Tuesday #Person1# brings Otto.", "Tuesday is fine for Otto."]
    summaries = ["Otto comes on Tuesday.", "Otto comes.", "Somebody pays $45."]
    np.testing.assert_allclose(recall(summaries, [references] * 3), [1, 0.5, 0])
    otto = ["Otto comes on Tuesday.", "Otto comes.", "On Tuesday Otto comes."]
    rosa = ["Rosa comes.", "They wait for Rosa", "Rosa is here."]  # that it is a name, only the second shows
    assert recall(["Otto comes.", "They wait."], [otto, rosa]).tolist() == [1, 0]


def test_a_text_without_facts_states_none_wrongly_and_leaves_none_out() -> None:
    assert precision(["They agree."], [DIALOGUE]).tolist() == [1.0]
    assert recall(["Otto comes on Tuesday."], ["They agree."]).tolist() == [1.0]
    assert recall(["They agree."], ["Otto comes on Tuesday."]).tolist() == [0.0]


def test_true_summaries_state_no_fact_of_their_own(rows: list[Row]) -> None:
    for row in rows:
        several = list(row.references)
        assert precision(several, [row.dialogue] * len(several)).tolist() == [1.0] * len(several), row
        assert recall(several, [several] * len(several)).tolist() == [1.0] * len(several), row


def test_summaries_of_other_dialogues_are_found_out(rows: list[Row]) -> None:
    dialogues = [row.dialogue for row in rows]
    summaries = [row.summary for row in rows[1:] + rows[:1]]
    some = [bool(stated(summary)) for summary in summaries]
    assert np.mean(some) > 0.8
    assert precision(summaries, dialogues)[some].mean() < 0.1
    assert recall(summaries, [row.references for row in rows])[some].mean() < 0.2


@pytest.mark.parametrize("check", [precision, recall])
@pytest.mark.parametrize(
    ("summaries", "others", "words"),
    [(["a", "b"], ["a"], "found: 2 and 1"), (["a"], "a", "1 and a single text"), (["a", "b"], ["a", ""], "summary 1")],
)
def test_texts_that_do_not_pair_up_are_answered_in_words(
    check: Callable[..., object], summaries: list[str], others: list[str], words: str
) -> None:
    with pytest.raises(LabError, match=words):
        check(summaries, others)


def test_a_dialogue_without_references_is_answered_in_words() -> None:
    with pytest.raises(LabError, match="summary 0"):
        recall(["a"], [[]])


def test_one_fact_is_exchanged_for_a_wrong_one_and_nothing_else_changes(rows: list[Row]) -> None:
    wrong = [exchange_one(row.summary, seed) for seed, row in enumerate(rows)]
    changed = [(row, text) for row, text in zip(rows, wrong, strict=True) if text is not None]
    assert len(changed) > 70
    for row, text in changed:
        assert text != row.summary
        pairs = zip(text.split(), row.summary.split(), strict=True)
        assert sum(a != b for a, b in pairs) == 1
        assert text.count("#Person1#") == row.summary.count("#Person1#")
    assert np.mean([bool(unsupported(text, row.dialogue)) for row, text in changed]) > 0.9
    assert [exchange_one(row.summary, seed) for seed, row in enumerate(rows)] == wrong


@pytest.mark.parametrize(
    ("text", "kinds"),
    [
        ("They meet on Friday.", "Monday|Tuesday|Wednesday|Thursday|Saturday|Sunday"),
        ("It costs $45.", r"\$\d\d"),
        ("The train leaves at 4:20.", r"\d\d?:20"),
        ("She buys three lamps.", "two|four|five|six|seven|eight|nine|ten|eleven|twelve"),
    ],
)
def test_a_fact_is_exchanged_for_one_of_its_kind(text: str, kinds: str) -> None:
    before, after = re.split(r"Friday|\$45|4:20|three", text)
    for seed in range(8):
        made = exchange_one(text, seed)
        assert made is not None
        assert re.fullmatch(f"{re.escape(before)}({kinds}){re.escape(after)}", made)
        assert made != text


@pytest.mark.parametrize(
    ("fact", "others"),
    [
        ("5", [str(number) for number in range(1, 15) if number != 5]),
        ("20", [str(number) for number in range(11, 30) if number != 20]),
        ("three", ["two", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve"]),
        ("thirteen", ["fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen"]),
        (facts.LONGEST_NUMBER * "5", None),
    ],
)
def test_a_number_becomes_one_near_it_and_each_of_them_at_times(fact: str, others: list[str] | None) -> None:
    made = {exchange_one(f"They buy {fact} lamps.", seed) for seed in range(400)}
    if others is None:
        others = [str(int(fact) + step) for step in range(-9, 10) if step]
    assert made == {f"They buy {other} lamps." for other in others}
    assert exchange_one(f"They buy {fact} lamps.") == exchange_one(f"They buy {fact} lamps.", 0)


def test_a_number_with_commas_is_one_number() -> None:
    made = {exchange_one("They pay 1,000 dollars.", seed) for seed in range(400)}
    assert made == {f"They pay {1000 + step:,} dollars." for step in range(-9, 10) if step}


def test_a_text_without_such_a_fact_cannot_be_made_wrong() -> None:
    assert exchange_one("#Person1# thanks #Person2# for the one lamp.") is None


@pytest.mark.parametrize(
    "text", ["", "9" * 5000, "a quarter to " + "9" * 5000, "\ud800", "5 past " + "9" * 50, "$" * 500]
)
def test_odd_texts_have_facts_or_none(text: str) -> None:
    assert isinstance(stated(text), list)
    other = exchange_one(text)
    assert other is None or (other != text and abs(len(other) - len(text)) <= 1)
    assert len(unsupported("Then Tom pays $5.", text)) in (1, 2)


@pytest.mark.parametrize("given", [None, 5, [5], [None], [["a"]], "text", {"a": "b"}])
def test_what_are_no_lists_of_texts_is_refused_in_words(given: Any) -> None:
    for measure in (precision, recall):
        with pytest.raises(LabError):
            measure(given, ["a"])
    with pytest.raises(LabError):
        precision(["a"], given)
    if given != [["a"]]:  # several references of one summary
        with pytest.raises(LabError):
            recall(["a"], given)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: stated(ODD), "^The text is to be a text, and a float"),
        (lambda: unsupported("a", ODD), "^The source is to be"),
        (lambda: unsupported(ODD, "a"), "^The summary is to be"),
        (lambda: exchange_one(ODD), "^The text is to be"),
        (lambda: exchange_one("Friday", ODD), "^The seed is 5.5"),
        (lambda: precision(ODD, ["a"]), "type float was given as summaries,"),
        (lambda: precision(["a"], ODD), "type float was given as dialogues,"),
        (lambda: recall(["a"], ODD), "type float was given as references,"),
        (lambda: precision([ODD], ["a"]), "^The summaries hold something of type float"),
        (lambda: precision(["a"], [ODD]), "^The dialogues hold something of type float"),
        (lambda: recall(["a"], [[ODD]]), "^The references hold something of type float"),
    ],
)
def test_what_was_wrong_is_named(call: Callable[[], object], words: str) -> None:
    with pytest.raises(LabError, match=words):
        call()


# Checks, and wrong variants that they must notice.


def check_a_share_is_that_of_the_right_facts() -> None:
    assert facts.precision(["Otto comes on Tuesday."], [DIALOGUE]).tolist() == [1]
    assert facts.precision(["Otto comes on Friday at six."], [DIALOGUE]) == pytest.approx(2 / 3)
    assert facts.recall(["Otto comes on Tuesday."], ["On Tuesday at six Otto comes for $45."]).tolist() == [0.5]
    assert facts.recall(["Otto comes on Tuesday at six."], ["Otto comes."]).tolist() == [1]


def check_a_part_of_a_number_or_a_name_is_no_fact_of_the_dialogue() -> None:
    told = "#Person1#: Otto Rossi pays $45 at 6:30. The number is 310."
    assert facts.unsupported("Otto pays $45 at 6:30.", told) == []
    for wrong, found in (("It is 31.", "31"), ("He pays $4.", "$4"), ("At 16:30.", "16:30"), ("With Ott.", "Ott")):
        assert facts.unsupported(wrong, told) == [found]


def somewhere_in_the_letters(found: list[str], text: str) -> list[str]:
    return [fact for fact in found if fact not in facts._plain(text)]


MISSING, COMMON, PRECISION = facts._missing, facts._common_facts, facts.precision
SOME = load_split(str(paths.DIALOGUES), "test")[:100]
WRONG = {
    "a fact is right if its letters stand somewhere": Variant(
        facts,
        "_missing",
        somewhere_in_the_letters,
        check_a_part_of_a_number_or_a_name_is_no_fact_of_the_dialogue,
    ),
    "every fact is right": Variant(
        facts, "_missing", lambda found, text: [], partial(test_summaries_of_other_dialogues_are_found_out, SOME)
    ),
    "spellings are not made equal": Variant(
        facts, "_plain", str, partial(test_true_summaries_state_no_fact_of_their_own, SOME)
    ),
    "the first word of a sentence is a name": Variant(
        facts, "_sentence_starts", lambda plain: set(), partial(test_true_summaries_state_no_fact_of_their_own, SOME)
    ),
    "all facts of the first reference are asked for": Variant(
        facts,
        "_common_facts",
        lambda several: COMMON(several if isinstance(several, str) else several[0]),
        test_only_what_all_references_state_is_asked_for,
    ),
    "one wrong fact makes a summary wrong": Variant(
        facts,
        "_share",
        lambda found, text: float(not MISSING(found, text)),
        check_a_share_is_that_of_the_right_facts,
    ),
    "a summary without facts is wrong": Variant(
        facts,
        "_share",
        lambda found, text: 1 - len(MISSING(found, text)) / len(found) if found else 0.0,
        test_a_text_without_facts_states_none_wrongly_and_leaves_none_out,
    ),
    "the share of the dialogue's facts": Variant(
        facts,
        "precision",
        lambda summaries, told: facts.recall(summaries, told),
        check_a_share_is_that_of_the_right_facts,
    ),
    "the share of the summary's facts": Variant(
        facts,
        "recall",
        lambda summaries, references: PRECISION(summaries, references),
        check_a_share_is_that_of_the_right_facts,
    ),
    "a fact is exchanged for itself": Variant(
        facts,
        "_another",
        lambda match, rng: match[0],
        partial(test_one_fact_is_exchanged_for_a_wrong_one_and_nothing_else_changes, SOME),
    ),
    "a fact is taken away": Variant(
        facts,
        "_another",
        lambda match, rng: "some",
        partial(test_one_fact_is_exchanged_for_a_wrong_one_and_nothing_else_changes, SOME),
    ),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_variant_is_noticed(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert_noticed(WRONG[name], monkeypatch)
