"""The shipped models that read: what they do on dialogues they never saw, and what the results file says of it."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from embedded_world.corpus import reading_splits
from embedded_world.pretraining import reader_build, reader_cards, reader_scores
from genai_labs.loading import models
from genai_labs.loading.data import load_split
from genai_labs.loading.profiles import load_profile
from genai_labs.paths import MODELS
from genai_labs.prompting import prompts
from genai_labs.prompting.familiarity import dialogue_losses, familiarity, known_losses
from genai_labs.prompting.generation import generate, greedy
from genai_labs.scoring.content import content_f1
from genai_labs.scoring.truth import who_did_what

Loaded = tuple[models.PreTrainedModel, models.PreTrainedTokenizerBase]


@pytest.fixture(scope="module")
def reads() -> Loaded:
    return models.load_model(replace(load_profile("mini"), model=str(MODELS / "t5-reader")))


def test_unseen_dialogues_are_read_and_not_recalled(reads: Loaded) -> None:
    """On 40 pairs of acts and words that training never met: above copying the whole dialogue, the right speakers."""
    rows, truth = reader_scores.sets()["unseen"]
    rows, truth = rows[:40], (truth or [])[:40]
    shown = prompts.choose_exemplars(load_split(reading_splits.READING, "train"), 1, seed=0)
    asked = [prompts.few_shot(row.dialogue, shown) for row in rows]
    written = generate(*reads, asked, greedy(reader_scores.MOST_TOKENS), progress=False)
    references = [list(row.references) for row in rows]
    read, copied = content_f1(written, references), content_f1([row.dialogue for row in rows], references)
    assert read.mean() > copied.mean() + 0.1
    assert who_did_what(written, truth).mean() > 0.6
    # With the words of another dialogue in their places, the same summaries would be wrong.
    assert content_f1(written[1:] + written[:1], references).mean() < 0.2


def test_dialogues_of_its_own_kind_are_more_familiar_than_free_english(reads: Loaded) -> None:
    known = known_losses(MODELS / "t5-reader")
    assert known is not None
    assert len(known) > 400
    sets = reader_scores.sets()
    shares = {
        name: familiarity(dialogue_losses(*reads, [r.dialogue for r in sets[name][0][:40]], progress=False), known)
        for name in ("known", "written by hand")
    }
    assert np.nanmedian(shares["known"]) > 0.3 > np.nanmedian(shares["written by hand"])


def test_the_results_and_the_cards_say_the_same() -> None:
    everything = json.loads(reader_scores.RESULTS.read_text(encoding="utf-8"))
    assert reader_scores.RESULTS.with_suffix(".md").read_text(encoding="utf-8") == reader_cards.results_page(everything)
    for name, found in everything.items():
        card = (MODELS / name / "README.md").read_text(encoding="utf-8")
        for column in found["one shot"].values():
            value = column["content F1"]["value"]
            assert f"{value[0]:.2f} [{value[1]:.2f}, {value[2]:.2f}]" in card


def test_word_problems_are_solved_step_by_step_and_not_at_once() -> None:
    problems = json.loads(reader_scores.RESULTS.read_text(encoding="utf-8"))["t5-reader"]["word problems"]
    assert problems["at once"][2] < 0.4  # ends of 95 % intervals
    assert problems["step by step"][1] > 0.65
    assert problems["difference"][1] > 0.2


def test_the_page_of_seeds_says_what_was_measured() -> None:
    path = reader_scores.RESULTS.with_name("reader_seeds.json")
    found = json.loads(path.read_text(encoding="utf-8"))
    shipped = json.loads(reader_scores.RESULTS.read_text(encoding="utf-8"))["t5-reader"]
    record = json.loads((MODELS / "t5-reader" / "training.json").read_text(encoding="utf-8"))
    assert path.with_suffix(".md").read_text(encoding="utf-8") == reader_cards.seeds_page(found, shipped, record)
    assert len(found) == 2


def test_shipped_weights_lie_between_those_before_and_after_the_polish(tmp_path: Path) -> None:
    for phase, value in (("instructions", 1.0), ("polish", 2.0)):
        save_file({"w": torch.full((2,), value).half()}, tmp_path / f"{phase}.safetensors")
    shipped = reader_scores.shipped_weights(tmp_path, "polish")["w"]
    assert shipped.tolist() == pytest.approx([1 + reader_build.POLISHED] * 2)
    (tmp_path / "instructions.safetensors").unlink()
    assert reader_scores.shipped_weights(tmp_path, "polish")["w"].tolist() == [2.0, 2.0]


def test_all_weights_together_stay_small() -> None:
    assert sum(path.stat().st_size for path in MODELS.glob("*/*.safetensors")) < 40e6


def test_quick_is_twenty_minutes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[float] = []
    monkeypatch.setitem(reader_build.STEPS, "model", lambda args: seen.append(args.minutes))
    for flags in (["--quick"], []):
        assert reader_build.main(["model", "--work", str(tmp_path), *flags]) == 0
    assert seen == [20.0, 360.0]
