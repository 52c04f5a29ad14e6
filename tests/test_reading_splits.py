"""The files of the world that must be read, and the figures that say how natural and how new they are."""

import csv
import json
from pathlib import Path

import pytest

from embedded_world.corpus import figures, reading_splits
from embedded_world.corpus.talk import Talk
from genai_labs.loading.data import Row

SMALL = {"train": 12, "validation": 5, "test": 6, "unseen": 5}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Small splits."""
    sizes, reading_splits.SIZES = reading_splits.SIZES, SMALL
    made = tmp_path_factory.mktemp("reading")
    try:
        reading_splits.write_reading(made)
    finally:
        reading_splits.SIZES = sizes
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
    monkeypatch.setattr(reading_splits, "SIZES", SMALL)
    reading_splits.write_reading(tmp_path)
    for path in sorted(folder.iterdir()):
        assert path.read_bytes() == (tmp_path / path.name).read_bytes()


def test_references_differ_and_no_dialogue_stands_twice() -> None:
    talks: list[Talk] = list(reading_splits.talks("test", 40))
    assert len({talk.text for talk in talks}) == 40


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
