"""What was forgotten is measured on tasks that really are others, on examples that nothing was trained on."""

import random

import numpy as np
import pytest

from embedded_world.corpus import lab_tasks, tasks
from genai_labs.errors import LabError
from genai_labs.finetuning import forgetting
from genai_labs.finetuning.examples import MASKED, encode
from genai_labs.loading import models
from genai_labs.loading.profiles import load_profile


@pytest.fixture(scope="module")
def asked() -> list[forgetting.OtherTask]:
    return forgetting.other_tasks(12, seed=3)


def test_other_tasks_are_the_same_for_a_seed_and_differ_between_seeds_and_splits(
    asked: list[forgetting.OtherTask],
) -> None:
    assert forgetting.other_tasks(12, seed=3) == asked
    assert forgetting.other_tasks(12, seed=4) != asked
    other_split = forgetting.other_tasks(12, seed=3, split="validation")
    sources = {example.source for task in asked for example in task.examples}
    assert not sources & {example.source for task in other_split for example in task.examples}


def test_a_right_answer_gets_full_marks_and_a_wrong_one_none(asked: list[forgetting.OtherTask]) -> None:
    for task in asked:
        targets = [example.target for example in task.examples]
        assert task.grade(targets).tolist() == [1.0] * len(targets), task.name
        assert task.grade(["xyzzy"] * len(targets)).tolist() == [0.0] * len(targets), task.name


def test_the_other_style_is_never_the_style_that_is_trained() -> None:
    styled = next(task for task in forgetting.other_tasks(60, seed=1) if task.name == "one shot, another style")
    assert not any("#Person" in example.target for example in styled.examples)


def test_the_base_model_can_do_the_other_tasks(asked: list[forgetting.OtherTask]) -> None:
    scores = forgetting.score(*models.load_model(load_profile("mini")), asked)
    assert {name: len(grades) for name, grades in scores.items()} == dict.fromkeys(forgetting.MEASURES, 12)
    assert scores["topic"].mean() > 0.8
    assert scores["next turn"].mean() > 0.8
    assert scores["one shot, another style"].mean() > 0.6


def test_what_was_lost_is_before_minus_after_example_by_example() -> None:
    before = {"a": np.array([1.0, 0.5]), "b": np.array([1.0])}
    after = {"a": np.array([0.0, 0.5]), "b": np.array([0.25])}
    assert forgetting.forgotten(before, after).tolist() == [1.0, 0.0, 0.75]


def test_replay_mixes_in_the_share_asked_for_from_pre_training_alone() -> None:
    tokenizer = models.load_tokenizer(load_profile("mini"))
    new = encode(["Summarize."] * 40, ["A summary."] * 40, tokenizer)
    mixed = forgetting.replay(new, 0.2, tokenizer, seed=1)
    assert mixed[:40] == new
    assert len(mixed) == 50
    assert forgetting.replay(new, 0.2, tokenizer, seed=1) == mixed
    assert forgetting.replay(new, 0.2, tokenizer, seed=2) != mixed
    assert all(token != MASKED for row in mixed for token in row["labels"])
    rng = random.Random("replay-1")
    old = [tasks.sample(lab_tasks.REPLAYED_STAGE, rng, long_prompts=False, split="pretraining") for _ in range(10)]
    assert mixed[40:] == encode([e.source for e in old], [e.target for e in old], tokenizer)
    assert forgetting.replay(new, 0.0, tokenizer) == new
    with pytest.raises(LabError, match="cannot be replayed"):
        forgetting.replay(new, 1.0, tokenizer)
