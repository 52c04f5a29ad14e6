"""What was forgotten is measured on tasks that really are others, on examples that nothing was trained on."""

import random
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from itertools import islice
from typing import Any

import numpy as np
import pytest

from embedded_world.corpus import lab_tasks, reading
from genai_labs.errors import LabError
from genai_labs.finetuning import forgetting
from genai_labs.finetuning.examples import MASKED, encode_pairs
from genai_labs.loading import models
from genai_labs.loading.profiles import load_profile
from genai_labs.scoring.metrics import rouge_scores
from tests.variants import Variant, assert_noticed


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
    assert scores["topic"].mean() > 0.3  # of hundreds of topics, named word for word
    assert scores["question"].mean() > 0.7
    assert scores["next turn"].mean() > 0.8
    assert scores["one shot, another style"].mean() > 0.5


def test_what_was_lost_is_before_minus_after_example_by_example() -> None:
    before = {"a": np.array([1.0, 0.5]), "b": np.array([1.0])}
    after = {"a": np.array([0.0, 0.5]), "b": np.array([0.25])}
    assert forgetting.forgotten(before, after).tolist() == [1.0, 0.0, 0.75]


def test_replay_mixes_in_the_share_asked_for_from_pre_training_alone() -> None:
    tokenizer = models.load_tokenizer(load_profile("mini"))
    new = encode_pairs(["Summarize."] * 40, ["A summary."] * 40, tokenizer)
    mixed = forgetting.replay(new, 0.2, tokenizer, seed=1)
    assert mixed[:40] == new
    assert len(mixed) == 50
    assert forgetting.replay(new, 0.2, tokenizer, seed=1) == mixed
    assert forgetting.replay(new, 0.2, tokenizer, seed=2) != mixed
    assert all(token != MASKED for row in mixed for token in row["labels"])
    rng = random.Random("replay-1")
    drawn = (reading.draw_example("instructions", rng) for _ in range(1000))
    old = list(islice((each for each in drawn if len(each.source) <= lab_tasks.LONGEST_REPLAYED), 10))
    assert mixed[40:] == encode_pairs([e.source for e in old], [e.target for e in old], tokenizer)
    assert forgetting.replay(new, 0.0, tokenizer) == new
    with pytest.raises(LabError, match="cannot be replayed"):
        forgetting.replay(new, 1.0, tokenizer)


def test_an_exact_answer_may_end_with_a_full_stop_and_nothing_else() -> None:
    examples = tuple(
        forgetting.Example("topic", "?", target) for target in ("a hotel", "a hotel.", "a hotel", ".a hotel")
    )
    task = forgetting.OtherTask("topic", examples, "exact")
    for outputs, grades in (
        ([" a hotel. ", "a hotel", "a hotelX", "a hotel"], [1, 1, 0, 0]),
        ([".a hotel", "a hotel ", "a hotel !", ".a hotel."], [0, 1, 0, 1]),
        (["a hotel .", "a hotel .", "a hotel .", "a hotel ."], [0, 0, 0, 0]),
    ):
        assert task.grade(outputs).tolist() == grades
    for measure in ("exact", "is a turn", "ROUGE-1"):
        assert replace(task, measure=measure).grade(["a hotel"] * 4).dtype == np.float64


def test_tasks_are_those_of_the_first_seed_and_the_test_split_unless_told_otherwise() -> None:
    made = forgetting.other_tasks()
    assert made == forgetting.other_tasks(200, 0, "test")
    assert {task.name: task.measure for task in made} == forgetting.MEASURES
    assert {(task.name, len(task.examples)) for task in made} == {(name, 200) for name in forgetting.MEASURES}
    assert all(example.task == task.name for task in made for example in task.examples)
    with pytest.raises(LabError, match=r"^1000000 examples of the task 'topic' \(test\) are needed"):
        forgetting.other_tasks(10**6)


def test_answers_are_greedy_and_fewer_prompts_are_read_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[Any] = []

    def generate(model: Any, tokenizer: Any, sources: list[str], config: Any, batch_size: int) -> list[str]:
        told.append((sources, config.do_sample, config.max_new_tokens, batch_size))
        return sources

    monkeypatch.setattr(forgetting, "generate", generate)
    monkeypatch.setattr(forgetting, "comfortable", lambda model: 60)
    nobody: Any = None
    (topic, *_) = forgetting.other_tasks(2)
    assert list(forgetting.score(nobody, nobody, [topic])) == ["topic"]
    forgetting.score(nobody, nobody, [topic], batch_size=7)
    sources = [example.source for example in topic.examples]
    assert told == [(sources, False, 128, 30), (sources, False, 128, 7)]


def test_what_cannot_be_replayed_is_named() -> None:
    tokenizer = models.load_tokenizer(load_profile("mini"))
    new: list[Any] = [{"input_ids": [1], "labels": [1]}] * 40
    assert forgetting.replay(new, 0.2, tokenizer) == forgetting.replay(new, 0.2, tokenizer, 0)
    with pytest.raises(LabError, match="^A list of examples is needed"):
        forgetting.replay(5, 0.2, tokenizer)  # type: ignore[arg-type]
    with pytest.raises(LabError, match=r"^\d+ examples to replay are needed"):
        forgetting.replay(new, 0.9999, tokenizer)


# Checks, and wrong variants that they must notice.


@cache
def some() -> list[forgetting.OtherTask]:
    return forgetting.other_tasks(12, seed=3)


def check_tasks_are_drawn_by_seed_and_split() -> None:
    test_other_tasks_are_the_same_for_a_seed_and_differ_between_seeds_and_splits(some())


def check_each_task_is_graded_by_its_own_measure() -> None:
    topic, question, turn, style = some()
    for task in (topic, question):
        targets = [example.target for example in task.examples]
        assert not task.grade([f"not {target}" for target in targets]).any()
        assert not task.grade([target[1:] for target in targets]).any()
    texts = ["#Person1#: Something else.", *(["#Person1# says something."] * 11)]
    assert turn.grade(texts).tolist() == [1, *[0] * 11]
    half = [example.target[: len(example.target) // 2] for example in style.examples]
    assert ((style.grade(half) > 0.3) & (style.grade(half) < 0.9)).all()


def check_of_all_that_is_trained_a_share_is_replayed() -> None:
    new: list[Any] = [{"input_ids": [1]}] * 80
    replayed = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            forgetting, "encode_pairs", lambda sources, targets, tokenizer: list(zip(sources, targets, strict=True))
        )
        for seed in (0, 1):
            mixed: list[Any] = forgetting.replay(new, 0.2, None, seed)
            assert mixed[:80] == new
            replayed[seed] = mixed[80:]
            assert len(replayed[seed]) / len(mixed) == pytest.approx(0.2)
            assert len({source for source, _ in replayed[seed]}) == 20
    assert replayed[0] != replayed[1]


def check_what_was_lost_counts_losses_and_gains() -> None:
    before, after = {"a": np.array([0.5, 0.25]), "b": np.array([1.0])}, {"a": np.array([0.25, 1.0]), "b": np.zeros(1)}
    assert forgetting.forgotten(before, after).tolist() == [0.25, -0.75, 1.0]


def by_words(task: forgetting.OtherTask, outputs: list[str]) -> Any:
    return rouge_scores(outputs, [example.target for example in task.examples])


def as_if_exact(task: forgetting.OtherTask, outputs: list[str]) -> Any:
    return GRADE(replace(task, measure="exact"), outputs)


TASKS, GRADE, REPLAY = forgetting.other_tasks, forgetting.OtherTask.grade, forgetting.replay
LOST: Callable[..., Any] = forgetting.forgotten
WRONG = {
    "the same tasks with every seed": Variant(
        forgetting,
        "other_tasks",
        lambda count, seed=0, split="test": TASKS(count, 3, split),
        check_tasks_are_drawn_by_seed_and_split,
    ),
    "tasks of the test split, whatever is asked for": Variant(
        forgetting,
        "other_tasks",
        lambda count, seed=0, split="test": TASKS(count, seed),
        check_tasks_are_drawn_by_seed_and_split,
    ),
    "graded by words in common": Variant(
        forgetting.OtherTask, "grade", by_words, check_each_task_is_graded_by_its_own_measure
    ),
    "graded as exact answers": Variant(
        forgetting.OtherTask, "grade", as_if_exact, check_each_task_is_graded_by_its_own_measure
    ),
    "a share of what is new": Variant(
        forgetting,
        "replay",
        lambda new, share, *more: REPLAY(new, share / (1 + share), *more),
        check_of_all_that_is_trained_a_share_is_replayed,
    ),
    "replay in place of what is new": Variant(
        forgetting,
        "replay",
        lambda new, *more: REPLAY(new, *more)[len(new) // 5 :],
        check_of_all_that_is_trained_a_share_is_replayed,
    ),
    "the same replay with every seed": Variant(
        forgetting,
        "replay",
        lambda new, share, tokenizer, seed: REPLAY(new, share, tokenizer, 0),
        check_of_all_that_is_trained_a_share_is_replayed,
    ),
    "nothing is replayed": Variant(
        forgetting, "replay", lambda new, *more: list(new), check_of_all_that_is_trained_a_share_is_replayed
    ),
    "gains count as 0": Variant(
        forgetting,
        "forgotten",
        lambda before, after: np.maximum(LOST(before, after), 0),
        check_what_was_lost_counts_losses_and_gains,
    ),
    "after minus before": Variant(
        forgetting, "forgotten", lambda before, after: LOST(after, before), check_what_was_lost_counts_losses_and_gains
    ),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_variant_is_noticed(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert_noticed(WRONG[name], monkeypatch)
