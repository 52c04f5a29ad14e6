"""The files of the world that must be read, and the figures that say how natural and how new they are."""

import collections
import csv
import json
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import pytest

from embedded_world.corpus import assemble, compose, figures, reading_splits
from embedded_world.corpus.talk import Talk
from embedded_world.pretraining import reader_cards
from genai_labs.errors import LabError
from genai_labs.loading.data import Row, load_split
from genai_labs.paths import READING

SMALL = {"train": 12, "validation": 5, "test": 6, "unseen": 5}


def make_small(patch: pytest.MonkeyPatch) -> None:
    """Let splits be small, and be chosen from few exchanges."""
    patch.setattr(reading_splits, "SIZES", SMALL)
    patch.setattr(reading_splits, "LOTS", dict.fromkeys(SMALL, (500, 100)))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Small splits."""
    made = tmp_path_factory.mktemp("reading")
    with pytest.MonkeyPatch.context() as patch:
        make_small(patch)
        reading_splits.write_reading(made, unread=True)
    return made


def _rows(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_splits_have_their_sizes_and_test_three_references(folder: Path) -> None:
    assert len(_rows(folder / "train.csv")) == 12
    assert len(_rows(folder / "test.csv")) == 18
    assert len(_rows(folder / "unseen.csv")) == 15
    assert len(_rows(folder / "handwritten_test.csv")) == 600


def test_a_record_stands_beside_every_test_dialogue(folder: Path) -> None:
    for split in ("test", "unseen"):
        records = [json.loads(line) for line in (folder / f"truth_{split}.jsonl").read_text().splitlines()]
        assert [r["id"] for r in records] == list(
            dict.fromkeys(r["id"].rsplit("_", 1)[0] for r in _rows(folder / f"{split}.csv"))
        )
        for record in records:
            assert record["told"][0]["kind"] == "opening"
            assert all(row["speaker"] in ("#Person1#", "#Person2#") and row["reports"] for row in record["told"])


def test_the_same_content_gives_the_same_bytes(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_small(monkeypatch)
    reading_splits.write_reading(tmp_path, unread=True)
    for path in sorted(folder.iterdir()):
        assert path.read_bytes() == (tmp_path / path.name).read_bytes()


@pytest.mark.parametrize("split", ["train", "validation", "test", "unseen"])
def test_committed_dialogues_were_read_and_say_something_new(split: str) -> None:
    rows = load_split(READING, split)
    assert len({row.dialogue for row in rows}) == len(rows) == reading_splits.SIZES[split]
    ids = {assemble.text_id(row.dialogue) for row in rows}
    found = reading_splits.grades("dialogues", split)
    assert not {each for each in ids if found.get(each, 2) > reading_splits.WORST[split]}, "not read, or at fault"
    known = {turn for row in load_split(READING, "train") for turn in figures.said(row.dialogue)}
    long = [
        turn for row in rows for turn in set(figures.said(row.dialogue)) if len(turn.split()) >= reading_splits.LONG
    ]
    assert split == "train" or len(long) == len(set(long))
    for row in rows:
        said = figures.said(row.dialogue)
        assert figures.contracted(" ".join(said)) <= reading_splits.MOST_CONTRACTED
        assert split == "train" or sum(turn in known for turn in said) <= reading_splits.KNOWN_TURNS * len(said)


def test_dialogues_have_the_lengths_that_are_set() -> None:
    for split, size in reading_splits.SIZES.items():
        counts = collections.Counter(row.situation.count(" + ") + 1 for row in load_split(READING, split))
        assert dict(counts) == reading_splits.lengths(split)
        assert counts.total() == size
    assert reading_splits.lengths("test") == {1: 170, 2: 200, 3: 90, 4: 40}  # as composed


def _talk(*turns: str) -> Talk:
    return Talk("home", ("guest", "host"), None, turns=[("A", turn) for turn in turns], topics=["a"])


def test_what_repeats_an_earlier_dialogue_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    first = _talk("one two three four five six", "seven eight nine ten eleven twelve thirteen")
    same_turn = _talk("one two three four five six", "and nothing else that is alike in the least, really not")
    same_fours = _talk("yes seven eight nine ten eleven twelve thirteen")
    other = _talk("what was never said before in any of them")
    monkeypatch.setattr(reading_splits, "assembled", lambda *_: iter([first, same_turn, same_fours, other]))
    monkeypatch.setattr(reading_splits, "lengths", lambda _: {1: 2})
    assert list(reading_splits.talks("test", unread=True)) == [first, other]


def test_what_readers_refused_is_not_taken_unread_either(monkeypatch: pytest.MonkeyPatch) -> None:
    make_small(monkeypatch)
    talks = list(reading_splits.talks("test", unread=True))
    refused = {"exchanges": {}, "dialogues": {assemble.text_id(talks[0].text): 2}}
    monkeypatch.setattr(reading_splits, "grades", lambda kind, _: refused[kind])
    assert talks[0].text not in {talk.text for talk in reading_splits.talks("test", unread=True)}


def test_where_too_few_fit_nothing_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_small(monkeypatch)
    talks = reading_splits.talks

    def few(split: str, *more: Any) -> Iterator[Talk]:
        if split == "unseen":
            raise LabError("too few")
        return talks(split, *more)

    monkeypatch.setattr(reading_splits, "talks", few)
    with pytest.raises(LabError, match="too few"):
        reading_splits.write_reading(tmp_path / "made", unread=True)
    assert not (tmp_path / "made").exists()


def test_the_card_says_where_nobody_has_read() -> None:
    assert (READING / "README.md").read_text(encoding="utf-8") == (read := reader_cards.corpus_card())
    unread = reader_cards.corpus_card(unread=True)
    assert "nobody has read" in unread
    assert reader_cards.FRESH_EYES in read
    assert reader_cards.FRESH_EYES not in unread


def test_only_what_was_found_to_fit_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    make_small(monkeypatch)
    exchanges = reading_splits.grades("exchanges", "test")
    dialogues = {assemble.text_id(talk.text): 0 for talk in reading_splits.assembled("test")}
    grades = {"exchanges": exchanges, "dialogues": dialogues}
    monkeypatch.setattr(reading_splits, "grades", lambda kind, _: grades[kind])
    taken = [assemble.text_id(talk.text) for talk in reading_splits.talks("test")]
    assert len(taken) == 6
    dialogues[taken[0]] = 1
    others = [assemble.text_id(talk.text) for talk in reading_splits.talks("test")]
    assert len(others) == 6
    assert taken[0] not in others
    dialogues.clear()
    with pytest.raises(LabError, match="there are 0 of 6.*--unread"):
        list(reading_splits.talks("test"))
    assert len(list(reading_splits.talks("test", unread=True))) == 6


def test_only_exchanges_that_fit_are_joined() -> None:
    fit = reading_splits.grades("exchanges", "test")
    assert set(fit.values()) == {0, 1, 2}
    drawn = list(islice(assemble.draw_exchanges("test"), reading_splits.LOTS["test"][0]))
    fitting = {line.text for exchange in drawn if fit.get(exchange.id) == 0 for line in exchange.lines}
    others = {line.text for exchange in drawn if fit.get(exchange.id) for line in exchange.lines} - fitting
    turns = {turn for row in load_split(READING, "test") for turn in figures.said(row.dialogue)}
    assert len(turns & fitting) > 1000
    assert not turns & {text for text in others if len(text.split()) > 4}


@pytest.mark.slow
def test_the_committed_files_are_what_the_generator_makes(tmp_path: Path) -> None:
    reading_splits.write_reading(tmp_path)
    for path in tmp_path.iterdir():
        assert path.read_bytes() == (READING / path.name).read_bytes(), path.name


def test_unseen_dialogues_join_acts_that_no_other_split_joins() -> None:
    for split in ("train", "validation", "test", "unseen"):
        for row in load_split(READING, split):
            acts = row.situation.split(" + ")
            for pair in zip(acts, acts[1:], strict=False):
                assert (compose.pair_split(*pair) < compose.UNSEEN_PAIRS) is (split == "unseen")


@pytest.mark.parametrize(
    ("text", "form"),
    [
        ("#Person1# asks for the ladder on Friday", "#Person1# asks for the _ on _"),
        ("#Person2# pays 45 dollars to Nora", "#Person2# pays _ dollars to _"),
        ("I am Nora Abbott.", "i am _"),
    ],
)
def test_words_that_fill_slots_are_masked(text: str, form: str) -> None:
    assert figures.masked(text) == form


def test_figures_count_what_they_say() -> None:
    rows = [
        Row("a", "#Person1#: I'm here.\n#Person2#: Where's Nora's hat?", ("#Person1# waits.",), ""),
        Row("b", "#Person1#: I'm here.\n#Person2#: Good.\n#Person1#: Yes.\n#Person2#: No.", ("#Person1# goes.",), ""),
    ]
    found = figures.count_figures(rows, [Row("t", "#Person1#: I'm here.\n#Person2#: Fine.", ("#Person1# waits.",), "")])
    assert found.contractions == pytest.approx(1000 * 3 / 10)  # twice I'm and Where's, not Nora's
    assert found.turns_sd == 1.0
    assert found.repeated == pytest.approx(2 / 6)
    assert found.in_train == pytest.approx(2 / 6)
    assert found.clauses_in_train == 0.5
    assert "| turns that repeat" in figures.figures_table({"x": found})
