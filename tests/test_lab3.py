"""Lab 3 keeps its promises: on five seeds of PPO, and in what it draws."""

import json
from typing import Any

import pytest
import torch

from genai_labs.course import seeds
from genai_labs.loading import models
from genai_labs.loading.profiles import load_profile
from genai_labs.paths import RESULTS
from genai_labs.prompting import prompts
from genai_labs.rlhf import conflict, dialogues, figures, ppo
from genai_labs.rlhf.summarizer import load_summarizer
from genai_labs.scoring import toxicity


@pytest.fixture(scope="module")
def record() -> dict[str, Any]:
    return json.loads((RESULTS / "lab3_seeds.json").read_text(encoding="utf-8"))


def measured(record: dict[str, Any], lesson: str) -> list[dict[str, Any]]:
    (item,) = [item for item in record["lessons"] if item["id"] == lesson]
    return list(item["seeds"].values())


def test_every_lesson_holds_on_five_seeds_of_training(record: dict[str, Any]) -> None:
    assert len(record["seeds"]) == 5
    assert len(record["lessons"]) >= 10
    assert [item["id"] for item in seeds.claims(record) if item["holds_on"] < item.get("measured_on", 5)] == []
    assert {item.get("measured_on", 5) for item in record["lessons"]} <= {1, 5}
    assert (RESULTS / "lab3_seeds.md").read_text(encoding="utf-8") == seeds.as_markdown(record)


def test_toxicity_falls_by_60_percent_and_rouge_stays(record: dict[str, Any]) -> None:
    # Lesson 3.6 measures the share that is gone; 3.7 and 3.8 ROUGE-1 after minus before.
    assert all(seed["low"] >= 0.6 and seed["effect"] >= 0.7 and seed["n"] >= 90 for seed in measured(record, "3.6"))
    assert all(seed["low"] > -0.02 for seed in measured(record, "3.7"))
    assert all(seed["low"] > -0.035 and abs(seed["effect"]) < 0.02 for seed in measured(record, "3.8"))
    assert all(seed["low"] > 0 for seed in measured(record, "3.9"))
    assert all(seed["high"] < 0 for seed in measured(record, "3.11"))


def test_trainings_with_different_seeds_differ(record: dict[str, Any]) -> None:
    assert len({seed["effect"] for seed in measured(record, "3.6")}) == 5


def test_the_pictures_carry_their_numbers_as_text() -> None:
    drawn = figures.rlhf()
    assert drawn.png().startswith(b"\x89PNG")
    for name in ("policy", "reference", "reward model", "value head"):
        assert name in repr(drawn)
    assert "above 1.3" in repr(figures.clipping(0.3))
    assert "below 0.7" in repr(figures.clipping(0.3))


def test_the_picture_of_a_response_shows_that_kl_starts_at_zero() -> None:
    base, tokenizer = models.load_model(load_profile("mini"))
    settings = ppo.Settings(max_new_tokens=12)
    policy = ppo.Policy(load_summarizer(base), settings)
    asked = [prompts.zero_shot(text) for text in dialogues.ppo_dialogues(2)]
    torch.manual_seed(0)
    rollout = ppo.roll_out(policy, tokenizer, asked, toxicity.load_classifier().rewards, settings)
    drawn = figures.tokens(rollout, tokenizer, row=1)
    assert drawn.png().startswith(b"\x89PNG")
    lines = {line.split(":")[0].strip(): line.split(":")[1] for line in repr(drawn).splitlines()[1:]}
    assert lines["policy"] == lines["reference"]


def test_the_insulting_turn_of_a_dialogue_is_found() -> None:
    cases = dialogues.evaluation_cases(20, 5)
    for case in cases:
        turn = conflict.insulting_turn(case.dialogue)
        assert turn in case.dialogue.splitlines() or turn == ""
        assert not turn or (case.quarrel and turn.startswith(case.hostile))
    assert sum(bool(conflict.insulting_turn(case.dialogue)) for case in cases[:20]) >= 10
