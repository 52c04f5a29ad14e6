"""The corpus: counts, disjoint splits, natural English as far as it can be checked, and summaries that are true."""

import csv
import re
from collections import Counter
from pathlib import Path

import pytest

from embedded_world.corpus import content, splits, tasks
from embedded_world.corpus.dialogue import Dialogue, bucket
from embedded_world.corpus.language import articles, conjugate, sentence_case, starts_with_vowel_sound
from embedded_world.corpus.styles import HELD_OUT, HOUSE, KNOWN, NAMINGS, Style, open_style
from genai_labs.paths import DIALOGUES

GENERATED = ("validation", "test", "unseen")


def read(split: str) -> list[dict[str, str]]:
    with (DIALOGUES / f"{split}.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def played() -> dict[str, list[Dialogue]]:
    return {split: list(splits.dialogues(split)) for split in ("train", *GENERATED)}


@pytest.fixture(scope="module")
def everything(played: dict[str, list[Dialogue]]) -> list[Dialogue]:
    return [d for dialogues in played.values() for d in dialogues]


def test_every_scenario_is_fit_for_the_generator() -> None:
    known, unseen = content.scenarios(), content.scenarios(unseen=True)
    assert len(known) >= 80
    assert len(unseen) >= 15
    assert len({s.topic for s in known}) >= 12
    assert [f"{s.id}: {p}" for s in known + unseen for p in content.scenario_problems(s)] == []
    assert len({s.id for s in known + unseen}) == len(known + unseen)


def test_a_broken_scenario_is_reported_in_words() -> None:
    raw = content.read_yaml("scenarios/unseen_1.yaml")[0]
    raw["main"][0]["A"][0] = "I want an {nothing}"
    found = list(content.scenario_problems(content.parse_scenario(raw, unseen=True)))
    assert any("unknown slot {nothing}" in p for p in found)
    assert any("no final mark" in p for p in found)


@pytest.mark.parametrize(
    ("split", "dialogues", "rows"),
    [("train", 8000, 8000), ("validation", 500, 500), ("test", 500, 1500), ("unseen", 200, 200)],
)
def test_splits_have_the_promised_sizes(split: str, dialogues: int, rows: int) -> None:
    table = read(split)
    assert list(table[0]) == ["id", "dialogue", "summary", "topic", "situation"]
    assert len(table) == rows
    assert len({row["dialogue"] for row in table}) == dialogues
    assert len({row["id"] for row in table}) == rows
    if split == "test":
        assert set(Counter(row["dialogue"] for row in table).values()) == {3}
        assert all(
            len({r["summary"] for r in table if r["dialogue"] == d}) == 3 for d in {r["dialogue"] for r in table[:90]}
        )


def test_rebuilding_gives_the_same_bytes(tmp_path: Path) -> None:
    splits.write_splits(tmp_path)
    for split in splits.SPLIT_SIZES:
        assert (tmp_path / f"{split}.csv").read_bytes() == (DIALOGUES / f"{split}.csv").read_bytes(), split


def test_splits_share_no_dialogue_and_no_combination_of_slots(played: dict[str, list[Dialogue]]) -> None:
    signatures = {split: {d.signature for d in dialogues} for split, dialogues in played.items()}
    assert sum(map(len, signatures.values())) == len(set().union(*signatures.values()))
    texts = [d.text for dialogues in played.values() for d in dialogues]
    assert len(texts) == len(set(texts))
    low, high = splits.SPLIT_RANGES[tasks.PRETRAINING]
    for split in ("train", "validation", "test"):
        assert not any(low <= bucket(s) < high for s in signatures[split])
    assert {d.scenario.id for d in played["unseen"]} == {s.id for s in content.scenarios(unseen=True)}
    assert not {d.scenario.id for d in played["unseen"]} & {d.scenario.id for d in played["train"]}


def test_dialogues_are_well_formed(everything: list[Dialogue]) -> None:
    for d in everything:
        lines = [text for _, text in d.turns]
        assert 6 <= len(lines) <= 12
        assert all(a[0] != b[0] for a, b in zip(d.turns, d.turns[1:], strict=False))
        assert len(set(lines)) == len(lines), d.text
        assert not any(re.search(r"[{}\[\]\"]|  |\.\.| [.,!?]|\(n\)", line) or not line.strip() for line in lines), (
            d.text
        )
        assert d.text.startswith("#Person1#: ")


def test_articles_fit_the_next_word(everything: list[Dialogue]) -> None:
    for d in everything:
        for article, word in re.findall(r"\b([Aa]n?) (\S+)", f"{d.text} {d.summary()}"):
            assert (article.lower() == "an") == starts_with_vowel_sound(word), (article, word, d.text)


def test_everything_in_a_summary_was_said(everything: list[Dialogue]) -> None:
    for d in everything:
        said = d.text.lower()
        for wording in range(4):
            summary = d.summary(HOUSE, wordings=(wording, wording, wording))
            for name in re.findall(r"(?<!\. )(?<!^)\b[A-Z][a-z]+|\d+", summary):
                assert name == "Person" or name.lower() in said, (name, summary, d.text)
            for value in d.values.values():
                stated = re.search(rf"\b{re.escape(value)}(?!\w)", summary)
                assert value.lower() in said or not stated, (value, summary, d.text)


def test_the_value_that_counts_is_the_corrected_one(everything: list[Dialogue]) -> None:
    corrected = [d for d in everything if d.corrected]
    assert len(corrected) > len(everything) / 10
    for d in corrected:
        for slot, old in d.corrected.items():
            said = d.text.lower()
            assert old.lower() in said
            assert d.values[slot].lower() in said
            assert old != d.values[slot]


def test_speakers_are_never_mixed_up(everything: list[Dialogue]) -> None:
    for d in everything[:2000]:
        roles = {d.tag(s): d.name_of(s, "role") for s in "AB"}
        tagged = d.summary(HOUSE, wordings=(0, 0, 0))
        by_role = d.summary(Style("role", "present", "", ". "), wordings=(0, 0, 0))
        for tag, role in roles.items():
            tagged = tagged.replace(tag, role)
        assert tagged.lower() == by_role.lower()
        if d.names:
            assert all(name in d.text for name in d.names.values())


def test_a_fifth_is_hostile_and_told_neutrally_in_the_house_style(everything: list[Dialogue]) -> None:
    quarrels = [d for d in everything if d.quarrel]
    assert 0.17 < len(quarrels) / len(everything) < 0.23
    for d in quarrels[:500]:
        assert d.quarrel
        harsh = Style(*HOUSE.combination, tone="harsh")  # type: ignore[arg-type]
        assert d.summary(HOUSE, wordings=(0, 0, 0)) != d.summary(harsh, wordings=(0, 0, 0))


def test_the_vocabulary_is_rich(played: dict[str, list[Dialogue]]) -> None:
    words = {w for d in played["train"] for w in re.findall(r"[a-z]+", d.text.lower())}
    assert len(words) >= 3000


def test_answers_were_said(everything: list[Dialogue]) -> None:
    for d in everything[:3000]:
        for asked, answer in d.answerable():
            assert "{" not in asked + answer
            stated = re.sub(r"#Person\d#('s)?", "", answer)
            assert all(v.lower() in d.text.lower() for v in d.values.values() if v in stated), (asked, answer, d.text)


def test_held_out_styles_are_never_drawn_and_every_feature_is_known() -> None:
    import random

    rng = random.Random(0)
    drawn = {open_style(rng).combination for _ in range(5000)}
    assert not drawn & {s.combination for s in HELD_OUT}
    assert HOUSE.combination not in drawn
    assert HOUSE in KNOWN
    for held in HELD_OUT:
        for feature in range(4):
            assert any(k.combination[feature] == held.combination[feature] for k in KNOWN)
    assert {k.naming for k in KNOWN} == set(NAMINGS)


def test_the_handwritten_set_is_well_formed_and_its_own() -> None:
    rows = read("handwritten")
    assert len(rows) >= 60
    assert len({row["dialogue"] for row in rows}) == len(rows)
    generated = {row["dialogue"] for split in ("train", *GENERATED) for row in read(split)}
    for row in rows:
        turns = row["dialogue"].splitlines()
        assert 6 <= len(turns) <= 12
        assert all(re.match(r"#Person[12]#: \S", turn) for turn in turns)
        assert row["dialogue"] not in generated
        assert "#Person" in row["summary"]
        for number in re.findall(r"\d+", re.sub(r"#Person\d#", "", row["summary"])):
            assert number in row["dialogue"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a(n) apple and a(n) pear", "an apple and a pear"),
        ("A(n) hour", "An hour"),
        ("a(n) euro, a(n) uniform", "a euro, a uniform"),
        ("a(n) 80, a(n) 18", "an 80, an 18"),
    ],
)
def test_articles(text: str, expected: str) -> None:
    assert articles(text) == expected


def test_tense_and_capitals() -> None:
    assert conjugate("{A} [is|was] here", "past") == "{A} was here"
    assert conjugate("{A} [is|was] here", "present") == "{A} is here"
    assert sentence_case("half past six. no? yes! well") == "Half past six. No? Yes! Well"
