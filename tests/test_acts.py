"""The speech acts, the dialogues composed of them, and what is kept from training."""

import random
import re
from pathlib import Path

import numpy as np
import pytest

from embedded_world.corpus import acts, handwritten, reading, words
from embedded_world.corpus.compose import ROLES, compose, is_kept_apart, pair_split, single
from embedded_world.corpus.spoken import placed
from embedded_world.corpus.styles import HOUSE, KNOWN
from embedded_world.corpus.talk import Talk
from genai_labs.errors import LabError
from genai_labs.scoring.truth import exchanged, how_it_ended, who_did_what

FILES = sorted(acts.ACTS.glob("*.acts"))


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_file_of_acts_has_no_problems(path: Path) -> None:
    assert list(acts.faults_in(acts.read_acts(path))) == []


def test_there_are_many_acts_each_in_many_phrasings() -> None:
    found = acts.all_acts()
    assert len({act.id for act in found.acts}) == len(found.acts) >= 120
    assert min(len(act.opening.phrasings) for act in found.acts) >= 10
    assert set(found.pools) == set(acts.CLAUSE_TYPES)
    assert {setting for act in found.acts for setting in act.where} == set(ROLES)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("== x\nB> Hello.", "line 2: an opening is said by A"),
        ("== x\ntitle: t\nhm", "line 3 cannot be understood"),
        ("A> Hello.", "line 1 cannot be understood"),
    ],
)
def test_a_line_that_cannot_be_read_is_named(tmp_path: Path, text: str, problem: str) -> None:
    (tmp_path / "x.acts").write_text(text, encoding="utf-8")
    with pytest.raises(LabError, match=re.escape(problem)):
        acts.read_acts(tmp_path / "x.acts")


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("A> Lend me your {hammer}.", "unknown slot {hammer}"),
        ("A> Lend me your {tool}", "ends without"),
        ("A> A {tool} is a {tool}.", "a slot twice"),
        ("A> Hm. // Yes.", "has to end with A"),
        ("= {A} [asks|asked] for the {toy}", "not said by every phrasing"),
        ("= {A} asks for the {tool}", "no [present|past]"),
        ("= {A} [asks|asked] for his {tool}", "a pronoun"),
        ("= asks for it", "begins with {A}"),
        ("= {A} [asks|asked] for it.", "without a full stop"),
    ],
)
def test_what_is_wrong_with_an_act_is_said(tmp_path: Path, line: str, problem: str) -> None:
    (tmp_path / "x.acts").write_text(f"== x\nA> Give me the {{tool}}.\n{line}\n", encoding="utf-8")
    assert any(problem in each for each in acts.faults_in(acts.read_acts(tmp_path / "x.acts")))


@pytest.mark.parametrize(
    ("template", "value", "text"),
    [
        ("Come on {day}.", "Friday", "Come on Friday."),
        ("Come on {day}.", "tomorrow", "Come tomorrow."),
        ("Till {day}?", "next Monday", "Till next Monday?"),
        ("It has been here since {ago}.", "two days ago", "It has been here for two days."),
        ("It has been here since {ago}.", "at Easter", "It has been here since Easter."),
        ("I saw it {ago}.", "at Easter", "I saw it at Easter."),
        ("Go on at him {day}.", "Friday", "Go on at him Friday."),
    ],
)
def test_prepositions_fit_the_words_in_the_slots(template: str, value: str, text: str) -> None:
    assert placed(template, {"day": value, "ago": value}) == text


def _talks(split: str, count: int) -> list[Talk]:
    rng = random.Random(f"test-{split}")
    return [compose(rng, split) for _ in range(count)]


def test_a_dialogue_alternates_and_has_no_slot_left() -> None:
    for talk in _talks("pretraining", 300):
        assert all(a[0] != b[0] for a, b in zip(talk.turns, talk.turns[1:], strict=False))
        assert not re.search(r"[{}|\[\]]|\(n\)|  ", talk.text)
        for style in (HOUSE, random.Random(0).choice(KNOWN)):
            assert not re.search(r"[{}|\[\]]|\(n\)|  |\.\.", talk.summary(style, random.Random(1)))


def test_the_same_seed_composes_the_same_dialogues() -> None:
    assert [t.text for t in _talks("test", 20)] == [t.text for t in _talks("test", 20)]


def test_the_record_tells_a_true_summary_from_one_with_the_speakers_exchanged() -> None:
    talks = _talks("test", 200)
    summaries, records = [t.summary(HOUSE, random.Random(1)) for t in talks], [t.record() for t in talks]
    wrong = [exchanged(summary) for summary in summaries]
    assert who_did_what(summaries, records).mean() > 0.98
    assert np.nanmean(how_it_ended(summaries, records)) > 0.98
    assert who_did_what(wrong, records).mean() < 0.05
    assert np.nanmean(how_it_ended(wrong, records)) < 0.05


def test_a_wrong_ending_is_told_from_the_right_one() -> None:
    graded = [
        (t, row) for t in _talks("test", 200) for row in t.record() if row["others"] and row["kind"] in ("yes", "no")
    ]
    right = how_it_ended([row["reports"][0] + "." for _, row in graded], [[row] for _, row in graded])
    wrong = how_it_ended([row["others"][0] + "." for _, row in graded], [[row] for _, row in graded])
    assert right.mean() > 0.97
    assert wrong.mean() < 0.03


def test_training_meets_no_word_phrasing_or_pair_that_is_kept_from_it() -> None:
    for talk in _talks("pretraining", 400):
        openings = [told.act for told in talk.told if told.kind == "opening"]
        assert all(pair >= 0.15 for pair in _pairs(openings))
        for told in talk.told:
            kinds = {name: acts.slot_type(name) for name in told.slots}
            for name, word in told.slots.items():
                if kinds[name] in ("tool", "animal", "dish", "job", "town", "surname"):
                    known = word in words.common(kinds[name])
                    assert not (known and words.held_out(word)), word


def test_the_unseen_split_has_words_and_pairs_that_training_never_meets() -> None:
    talks = _talks("unseen", 100)
    openings = [[told.act for told in talk.told if told.kind == "opening"] for talk in talks]
    assert all(pair < 0.15 for each in openings for pair in _pairs(each))
    assert np.mean([len(each) > 1 for each in openings]) > 0.8
    found = [
        words.held_out(word)
        for talk in talks
        for told in talk.told
        for name, word in told.slots.items()
        if acts.slot_type(name) in ("tool", "animal", "dish", "job") and word in words.common(acts.slot_type(name))
    ]
    assert found
    assert all(found)


def _pairs(openings: list[str]) -> list[float]:
    return [pair_split(a, b) for a, b in zip(openings, openings[1:], strict=False)]


def test_phrasings_kept_from_training_are_few_and_met_in_test() -> None:
    kept = [
        " ".join(p.turns)
        for act in acts.all_acts().acts
        for p in act.opening.phrasings
        if is_kept_apart(act.id, " ".join(p.turns))
    ]
    everything = sum(len(act.opening.phrasings) for act in acts.all_acts().acts)
    assert 0.1 < len(kept) / everything < 0.2


def test_an_insult_has_a_cause_and_a_kind_that_fits() -> None:
    by_id = {act.id: act for act in acts.all_acts().acts}
    found = [talk for talk in _talks("pretraining", 600) if talk.quarrel]
    assert 20 < len(found) < 150
    for talk in found:
        assert talk.quarrel
        openings = [told.act for told in talk.told if told.kind == "opening"]
        assert talk.quarrel.category in by_id[openings[talk.quarrel.exchange]].insults


def test_a_second_price_is_lower_and_in_the_same_money() -> None:
    rng = random.Random(0)
    for _ in range(200):
        _, first, unit = words.price(rng)
        text, second, again = words.price(rng, first, unit)
        assert unit == again
        assert second < first or first <= 4
        assert ("$" in text or "dollars" in text) == (unit == "dollars")


@pytest.mark.parametrize(
    ("value", "text"), [(2, "two"), (15, "fifteen"), (42, "forty-two"), (150, "a hundred and fifty")]
)
def test_numbers_are_written_in_words(value: int, text: str) -> None:
    assert words.spell_number(value) == text


def test_a_single_report_speaks_of_who_speaks() -> None:
    rng = random.Random(3)
    for _ in range(200):
        text, told = single(rng)
        assert text.startswith("#Person1#: ")
        assert re.match(r"#Person[12]#", told)
        assert not re.search(r"[{}|\[\]]|\(n\)", text + told)


def test_words_of_a_handwritten_dialogue_are_exchanged_alike_everywhere() -> None:
    dialogue = handwritten.HandWritten(
        "x_train_1",
        "a ladder",
        ("#Person1#: Have you seen Nora? She has my ladder.", "#Person2#: Nora left on Friday, with the ladder."),
        ("#Person1# looks for Nora, who has the ladder and left on Friday.",),
        {"Nora": "name", "Friday": "day"},
    )
    swap = handwritten.swapped(dialogue, random.Random(1), share=2.0)
    text, told = swap(dialogue.text), swap(dialogue.summaries[0])
    assert not re.search(r"Nora|Friday|ladder", text + told)
    name = re.search(r"looks for (.*?), who has the (.*?) and left", told)
    assert name
    assert text.count(name[1]) == 2
    assert text.count(name[2]) == 2


def test_scrambling_exchanges_content_words_alike_and_leaves_the_rest() -> None:
    text, told = "#Person1#: Would Nora mend the kettle?", "#Person1# asks whether Nora would mend the kettle."
    new, summary = handwritten.scrambled(text, told, random.Random(3), share=1.0)
    found = re.fullmatch(r"#Person1#: Would (\w+) (\w+) the (\w+)\?", new)
    assert found
    name, verb, thing = found.groups()
    assert summary == f"#Person1# asks whether {name} would {verb} the {thing}."
    assert not {"Nora", "mend", "kettle"} & set(found.groups())
    assert name[0].isupper()
    assert handwritten.scrambled(text, told, random.Random(3), share=0.0) == (text, told)


def test_nothing_of_development_or_test_is_in_the_mixture() -> None:
    others = {turn for part in ("dev", "test") for d in handwritten.written(part) for turn in d.turns if len(turn) > 60}
    rng = random.Random(5)
    for make in (reading.written_summary, reading.written_like, reading.written_report, reading.turn_to_come):
        for _ in range(60):
            assert not others & set(make(rng).source.split("\n"))


def test_every_task_of_the_mixtures_makes_examples() -> None:
    rng = random.Random(2)
    for mixture in reading.MIXTURES.values():
        assert sum(mixture.values()) == pytest.approx(1, abs=0.01)
        for make in mixture:
            example = make(rng)
            assert example.source.strip()
            assert example.target.strip()


@pytest.mark.parametrize("content", [None, b"\xff\xfe[", b"no act"])
def test_a_file_that_cannot_be_read_is_told_in_words(
    tmp_path: Path, content: bytes | None, capsys: pytest.CaptureFixture[str]
) -> None:
    if content is not None:
        (tmp_path / "x.acts").write_bytes(content)
    assert acts.main([str(tmp_path / "x.acts")]) == 2
    assert "x.acts" in capsys.readouterr().err
