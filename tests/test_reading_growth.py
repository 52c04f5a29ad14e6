"""What reading grows with: drawing from a share of the content, training by steps, and the page of results."""

import json
from collections.abc import Iterator
from pathlib import Path
from random import Random

import pytest

from embedded_world.corpus import compose, handwritten, reading
from embedded_world.corpus.acts import all_acts
from embedded_world.corpus.dialogue import some_of
from embedded_world.corpus.shares import Shares, draw_only
from embedded_world.pretraining import model, reader_scores, reading_growth
from genai_labs.paths import RESULTS


@pytest.fixture(autouse=True)
def whole_content() -> Iterator[None]:
    """All content again after a test that left some out."""
    yield
    all_acts.cache_clear()
    compose.forget_settings()
    handwritten.keep_of_training(1.0)
    reading.with_reports.cache_clear()


def test_a_smaller_share_is_a_part_of_a_larger_one() -> None:
    names = [f"name {i}" for i in range(40)]
    quarter, half = some_of(names, names, 10), some_of(names, names, 20)
    assert (len(quarter), len(half)) == (10, 20)
    assert set(quarter) < set(half)
    assert half == sorted(half, key=names.index)
    assert some_of(names, names, 40) == names


def test_what_is_left_out_is_not_drawn() -> None:
    every = reading_growth.content_of(Shares())
    some = reading_growth.content_of(Shares(acts=0.25, phrasings=0.5, by_hand=0.1))
    assert some["acts"] == pytest.approx(0.25 * every["acts"], abs=1)
    assert 0.125 * every["phrasings"] < some["phrasings"] < 0.2 * every["phrasings"]  # a half of a quarter, rounded up
    assert some["dialogues by hand"] == pytest.approx(0.1 * every["dialogues by hand"], abs=1)
    known = {act.id for act in all_acts().acts}
    drawn = {told.act for seed in range(60) for told in compose.compose(Random(seed)).told}
    assert drawn <= known
    assert len(drawn) > 20
    ids = {dialogue.id for dialogue in handwritten.written("train")}
    assert {dialogue.id for dialogue in reading.with_reports("train")} <= ids
    assert len(handwritten.written("test")) == 200


def test_a_share_of_phrasings_leaves_each_part_one_and_keeps_those_of_the_tests() -> None:
    before = {
        (act.id, i): [p for p in part.phrasings if compose.is_kept_apart(act.id, " ".join(p.turns))]
        for act in all_acts().acts
        for i, part in enumerate((act.opening, *act.answers))
    }
    draw_only(Shares(phrasings=0.01))
    for act in all_acts().acts:
        for i, part in enumerate((act.opening, *act.answers)):
            apart = [p for p in part.phrasings if compose.is_kept_apart(act.id, " ".join(p.turns))]
            assert apart == before[act.id, i]
            assert len(part.phrasings) - len(apart) <= 1
            assert part.phrasings


def test_a_training_is_as_long_as_it_should_be_and_scored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    every = reader_scores.sets()
    some = {name: (rows[:4], truth and truth[:4]) for name, (rows, truth) in every.items()}
    monkeypatch.setattr(reader_scores, "sets", lambda: some)
    problems = reader_scores.measure_word_problems
    monkeypatch.setattr(reader_scores, "measure_word_problems", lambda made, words: problems(made, words, 4))
    tiny = reading_growth.Growing("tiny", Shares(acts=0.5), model.ModelShape(32, 4, 48, 2, 2), length=0.5, seed=3)
    reading_growth.train_one(tiny, tmp_path, steps=12, tokens=1024, processes=1)
    record = json.loads((tmp_path / "tiny" / "result.json").read_text(encoding="utf-8"))
    assert 6 <= record["steps"] <= 8  # each of the three phases has at least one step
    assert record["content"]["acts"] == len(all_acts().acts) == 226  # of 452
    assert set(record["scores"]) == set(reading_growth.SETS)
    assert record["scores"]["known"]["content F1"][3] == 4
    assert set(record["scores"]["unseen"]) == {"content F1", "ROUGE-1", "who did what", "how it ended"}


def test_each_factor_has_the_training_that_all_are_compared_with() -> None:
    known = {one.name for one in reading_growth.TRAININGS}
    assert len(known) == len(reading_growth.TRAININGS)
    for names in reading_growth.FACTORS.values():
        assert set(names) <= known
        assert "all" in names


def test_the_page_is_made_of_the_record() -> None:
    record = json.loads((RESULTS / f"{reading_growth.FILE}.json").read_text(encoding="utf-8"))
    page = reading_growth.reading_page(record)
    assert (RESULTS / f"{reading_growth.FILE}.md").read_text(encoding="utf-8") == page
    found = record["results"]
    for factor, names in reading_growth.FACTORS.items():
        amounts = [reading_growth.amount(factor, found[name]) for name in names if name in found]
        assert amounts == sorted(amounts)
        assert len(set(amounts)) == len(amounts) >= 2
    text = repr(reading_growth.reading_plot(record))
    assert all(factor in text for factor in reading_growth.FACTORS)


def test_what_was_not_trained_is_said() -> None:
    record = json.loads((RESULTS / f"{reading_growth.FILE}.json").read_text(encoding="utf-8"))
    fewer = {name: each for name, each in record["results"].items() if name != "acts-half"}
    assert "Not trained: acts-half" in reading_growth.reading_page(record | {"results": fewer})
