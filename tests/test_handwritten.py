"""Dialogues written one by one in data/content/handwritten: well formed, unlike each other, summarized in tags."""

import json
import re
from collections import Counter
from typing import Any

import pytest

from genai_labs.paths import ROOT

FOLDER = ROOT / "data" / "content" / "handwritten"
PARTS = {"train": 2081, "dev": 104, "test": 200}
KINDS = {"name", "place", "day", "time", "date", "price", "number", "thing", "firm"}
TURN = re.compile(r"#Person[12]#: \S.*")


def rows() -> list[dict[str, Any]]:
    return [json.loads(line) for path in sorted(FOLDER.glob("*.jsonl")) for line in path.open(encoding="utf-8")]


def part(row: dict[str, Any]) -> str:
    """Train, dev or test."""
    return str(row["id"]).split("_")[1]


def faults(row: dict[str, Any]) -> list[str]:
    """What is wrong with a dialogue, in words."""
    spoken, told = "\n".join(row["turns"]), row["summaries"]
    checks = {
        "its turns begin with a tag": all(TURN.fullmatch(turn) for turn in row["turns"]),
        "the first speaker is #Person1#, and both speak": {t[7:8] for t in row["turns"]} == {"1", "2"}
        and spoken[7:8] == "1",
        "it has 2 to 20 turns and at most 260 words": 2 <= len(row["turns"]) <= 20 and len(spoken.split()) <= 260,
        "it has three summaries in test and one elsewhere": len(told) == (3 if part(row) == "test" else 1),
        "its summaries differ": len(set(told)) == len(told),
        "a summary is a whole sentence about a tag": all(
            re.fullmatch(r"[^a-z].*#Person[12]#.*\.|#Person.*\.", t) for t in told
        ),
        "a summary has 4 to 60 words": all(4 <= len(text.split()) <= 60 for text in told),
        "it is in plain ASCII": (spoken + "".join(told)).isascii(),
        "what may be exchanged is said, and of a known kind": all(
            word in spoken and kind in KINDS for word, kind in row["swap"].items()
        ),
    }
    return [f"{row['id']}: not so: {name}" for name, holds in checks.items() if not holds]


def test_every_dialogue_is_well_formed() -> None:
    assert [fault for row in rows() for fault in faults(row)] == []


def test_there_are_as_many_as_the_card_says_and_each_has_an_id_of_its_own() -> None:
    assert Counter(part(row) for row in rows()) == PARTS
    assert len({row["id"] for row in rows()}) == sum(PARTS.values())
    card = (FOLDER / "README.md").read_text(encoding="utf-8")
    assert all(f"| {name} | {count} |" in card for name, count in PARTS.items())


def test_turns_are_not_said_again() -> None:
    """Of the turns of four words and more, hardly one stands in two dialogues."""
    said = Counter(turn[11:].lower() for row in rows() for turn in set(row["turns"]) if len(turn.split()) > 4)
    again = sum(count for count in said.values() if count > 1)
    assert again <= 0.01 * sum(said.values())


def test_no_dialogue_of_test_is_one_of_train() -> None:
    """By five words in a row: no two dialogues share a tenth of them."""
    grams = [(row["id"], five_grams(" ".join(row["turns"]))) for row in rows()]
    alike = [(a, b) for i, (a, x) in enumerate(grams) for b, y in grams[:i] if len(x & y) > 0.1 * min(len(x), len(y))]
    assert alike == []


def five_grams(text: str) -> set[tuple[str, ...]]:
    words = re.sub(r"#Person\d#:", "", text).lower().split()
    return set(zip(*(words[i:] for i in range(5)), strict=False))


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        ({"turns": ["#Person1#: Hello?"]}, "both speak"),
        ({"turns": ["#Person2#: Yes?", "#Person1#: No."]}, "first speaker"),
        ({"turns": ["#Person1#: Well?", "No."]}, "begin with a tag"),
        ({"summaries": ["They talk about nothing."]}, "about a tag"),
        ({"summaries": []}, "three summaries"),
        ({"swap": {"Zanzibar": "place"}}, "is said"),
    ],
)
def test_a_fault_is_noticed(change: dict[str, Any], fault: str) -> None:
    assert any(fault in each for each in faults(rows()[0] | change))
