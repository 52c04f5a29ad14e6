"""Who did what and how it ended: the rules on small records, and how often they agree with a reader."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from genai_labs.errors import LabError
from genai_labs.loading import data
from genai_labs.paths import READING, ROOT
from genai_labs.scoring.truth import clauses, exchanged, how_it_ended, truths, verdicts, who_did_what

RECORD: list[dict[str, Any]] = [
    {
        "act": "borrow",
        "kind": "opening",
        "speaker": "#Person1#",
        "reports": [
            "#Person1# asks to borrow #Person2#'s ladder until Friday",
            "#Person1# wants the loan of the ladder",
        ],
        "others": [],
    },
    {
        "act": "borrow",
        "kind": "no",
        "speaker": "#Person2#",
        "reports": ["#Person2# refuses", "#Person2# says no to it"],
        "others": ["#Person2# agrees", "#Person2# lends it to #Person1#"],
    },
]


@pytest.mark.parametrize(
    ("summary", "done", "ended"),
    [
        ("#Person1# asks to borrow #Person2#'s ladder until Friday, but #Person2# refuses.", 1, 1),
        ("#Person1# wants to borrow the ladder. #Person2# says no to it.", 1, 1),
        ("#Person1# asks to borrow the ladder until Friday, and #Person2# agrees.", 1, 0),
        ("#Person2# asks to borrow #Person1#'s ladder until Friday, but #Person1# refuses.", 0, 0),
        ("#Person1# asks about the piano, but #Person2# refuses.", 0, 1),
        ("They talk.", 0, 0),
        ("", 0, 0),
    ],
)
def test_speakers_deeds_and_endings_are_told_apart(summary: str, done: int, ended: int) -> None:
    assert who_did_what([summary], [RECORD])[0] == done
    assert how_it_ended([summary], [RECORD])[0] == ended


def test_a_dialogue_without_an_answer_has_no_ending() -> None:
    assert np.isnan(how_it_ended(["#Person1# asks."], [RECORD[:1]])[0])
    assert np.isnan(who_did_what(["#Person1# asks."], [[]])[0])


def test_numbers_have_to_match() -> None:
    with pytest.raises(LabError, match="1 summaries, but 2 records"):
        who_did_what(["#Person1# asks."], [RECORD, RECORD])


def test_shares_are_of_the_openings_and_of_the_answers_apart() -> None:
    more = {"act": "sell", "kind": "opening", "speaker": "#Person2#", "reports": ["#Person2# sells a piano"]}
    summary = "#Person1# wants to borrow the ladder until Friday. #Person2# says no to it."
    assert who_did_what([summary, ""], [[*RECORD, more], RECORD]).tolist() == [0.5, 0.0]
    assert how_it_ended([summary, ""], [[*RECORD, more], RECORD]).tolist() == [1.0, 0.0]


ASKED = "#Person1# asks to borrow #Person2#'s ladder until Friday"


@pytest.mark.parametrize(
    ("summary", "ended"),
    [
        (f"{ASKED}. #Person2# refuses.", True),
        (f"{ASKED}. #Person2# is in the garden. #Person2# refuses.", True),
        (f"{ASKED}. #Person2# is in the garden. #Person1# waits there. #Person2# refuses.", False),
        (f"#Person2# refuses. {ASKED}.", False),
        ("They meet. #Person2# refuses.", True),  # the opening is not told, so the answer may stand anywhere
        (f"{ASKED}. #Person1# refuses.", False),
    ],
)
def test_an_answer_is_looked_for_in_the_two_clauses_behind_its_opening(summary: str, ended: bool) -> None:
    assert verdicts(summary, RECORD)[1] is ended


def test_an_answer_without_an_opening_may_stand_anywhere() -> None:
    assert verdicts("#Person2# refuses.", RECORD[1:]) == [True]
    assert verdicts("#Person2# refuses.", [{"kind": "opening", "reports": []}, RECORD[1]]) == [False, True]


def test_an_answer_that_is_as_near_to_a_false_report_is_not_told() -> None:
    both = [{"kind": "no", "reports": ["#Person2# refuses"], "others": ["#Person2# refuses"]}]
    assert verdicts("#Person2# refuses.", both) == [False]
    nobody = [{"kind": "no", "reports": ["it is refused"], "others": ["it is granted"]}]
    assert verdicts("It is refused.", nobody) == [False], "it is as near to what the other speaker would have said"


def words(first: int, count: int) -> str:
    """Content words that have nothing in common."""
    return " ".join(f"w{n}x" for n in range(first, first + count))


@pytest.mark.parametrize(("said", "told"), [(13, True), (12, False)])
def test_an_opening_is_told_by_65_of_100_of_its_content_words(said: int, told: bool) -> None:
    row = {"kind": "opening", "reports": [f"#Person1# {words(0, 20)}"]}
    assert verdicts(f"#Person1# {words(0, said)}", [row]) == [told]
    assert verdicts(f"#Person2# {words(0, said)}", [row]) == [False]
    assert verdicts(words(0, said), [row]) == [False], "nobody is said to do it"


@pytest.mark.parametrize(("said", "told"), [(3, True), (2, False)])
def test_an_answer_is_told_from_a_nearness_of_35_of_100_on(said: int, told: bool) -> None:
    """Of a report of 19 words and pairs and a clause of 21, seven are shared where the tag and three words are."""
    row = {"kind": "yes", "reports": [f"#Person2# {words(0, 9)}"], "others": ["nothing"]}
    assert verdicts(f"#Person2# {words(0, said)} {words(50, 10 - said)}", [row]) == [told]


def test_texts_without_words_tell_nothing() -> None:
    assert verdicts("!", [{"kind": "opening", "reports": ["..."]}]) == [False]
    assert verdicts("#Person1# is there.", [{"kind": "opening", "reports": ["#Person1# is there"]}]) == [False]


def test_what_is_no_list_of_texts_is_named() -> None:
    with pytest.raises(LabError, match="One text was given as summaries,"):
        who_did_what("#Person1# asks.", [RECORD])


def test_clauses_are_cut_where_another_speaker_begins() -> None:
    assert clauses("#Person1# asks for milk and bread, and #Person2# agrees; #Person1# pays. Both leave.") == [
        "#Person1# asks for milk and bread",
        "#Person2# agrees",
        "#Person1# pays.",
        "Both leave.",
    ]


def test_exchanging_twice_changes_nothing() -> None:
    text = "#Person1# asks #Person2#."
    assert exchanged(text) == "#Person2# asks #Person1#."
    assert exchanged(exchanged(text)) == text


def test_the_rules_agree_with_a_reader() -> None:
    """200 summaries of t5-reader, 833 things that are true in their dialogues: was each told? Judged by reading.

    They are of dialogues as they were before readers chose among them. Two readers (language models), half each. The
    aim is .90: openings reach it, answers (.84) do not yet.
    """
    lines = (ROOT / "tests" / "judged_summaries.jsonl").read_text(encoding="utf-8").splitlines()
    judged = [json.loads(line) for line in lines]
    agreed: dict[bool, list[bool]] = {True: [], False: []}
    for each in judged:
        record = each["record"]
        for row, rule, reader in zip(record, verdicts(each["summary"], record), each["told"], strict=True):
            agreed[row["kind"] == "opening"].append(rule == bool(reader))
    assert len(judged) == 200
    assert np.mean(agreed[True]) >= 0.89
    assert np.mean(agreed[False]) >= 0.83


def test_records_come_in_the_order_of_the_rows_and_a_missing_one_is_named(tmp_path: Path) -> None:
    rows = data.load_split(READING, "test")[:3]
    found = truths(READING, rows[::-1])
    assert found is not None
    lines = (READING / "truth_test.jsonl").read_text(encoding="utf-8").splitlines()[:3]
    assert found == [json.loads(line)["told"] for line in lines][::-1]
    assert truths(tmp_path, rows) is None
    (tmp_path / "truth_test.jsonl").write_text(lines[0] + "\n", encoding="utf-8")
    with pytest.raises(LabError, match=f"no record of {rows[1].id}"):
        truths(tmp_path, rows)
