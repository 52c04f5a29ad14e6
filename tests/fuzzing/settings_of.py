"""What a training is made of: a plan or settings that are taken make sense, all others are refused in words."""

from __future__ import annotations

import math
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from hypothesis import strategies as st

from genai_labs.finetuning import examples, forgetting
from genai_labs.finetuning.training import Plan
from genai_labs.loading.data import Row
from genai_labs.loading.profiles import PROFILES, load_profile
from genai_labs.rlhf.conflict import insulting_turn, reported
from genai_labs.rlhf.ppo import Settings
from tests.fuzzing.cells import rows
from tests.fuzzing.files import TOKENIZER
from tests.fuzzing.inputs import REFUSED, SLOW, answer, calls, is_whole, said, target, texts

ROWS = [Row("1", "#Person1#: Hello.", ("They greet.",), "")]
rates = st.sampled_from([1e-4, 1e-3, 0.1])
counts = st.integers(1, 8)
plans = calls(
    method=st.sampled_from(["full", "lora"]),
    epochs=counts,
    learning_rate=rates,
    batch_size=counts,
    rank=counts,
    alpha=counts,
    warmup=st.sampled_from([0.0, 0.1]),
    dropout=st.sampled_from([0.0, 0.1]),
    seed=st.integers(0, 5),
)


def is_number(value: Any, low: float, high: float = math.inf) -> bool:
    return isinstance(value, (int, float)) and low <= value <= high


@target(plans, found=({"alpha": 10**400},))
def a_plan_that_is_taken_makes_sense(given: dict[str, Any], folder: Path) -> None:
    plan = answer(Plan, **given)
    if plan is not REFUSED:
        for name in ("epochs", "batch_size", "rank", "alpha"):
            assert is_whole(getattr(plan, name), 1), name
        assert is_number(plan.learning_rate, 0)
        assert 0 < plan.learning_rate < math.inf
        assert is_number(plan.warmup, 0, 1)
        assert is_number(plan.dropout, 0, 1)
        assert is_whole(plan.seed, 0, 2**32 - 1)


WHOLE = ("updates", "batch_size", "minibatch", "epochs", "kl_horizon", "rank", "max_new_tokens", "save_every")
ABOVE_0 = ("learning_rate", "max_grad_norm", "clip", "value_clip")


@target(calls(**dict.fromkeys(WHOLE, counts), **dict.fromkeys(ABOVE_0, rates), seed=st.integers(0, 5)))
def settings_that_are_taken_make_sense(given: dict[str, Any], folder: Path) -> None:
    settings = answer(Settings, **given)
    if settings is not REFUSED:
        taken = asdict(settings)
        assert all(is_whole(taken[name], 1) for name in WHOLE)
        assert all(is_number(taken[name], 0) and taken[name] > 0 for name in ABOVE_0)
        assert taken["batch_size"] % taken["minibatch"] == 0
        assert is_whole(taken["seed"], 0, 2**32 - 1)


@target(
    calls(name=st.sampled_from([*PROFILES, "tiny"]) | st.none() | texts),
    found=(
        {"name": np.zeros((2, 0))},
        {"name": ""},
    ),
)
def a_profile_is_one_of_those_there_are(given: dict[str, Any], folder: Path) -> None:
    profile = answer(load_profile, **given)
    assert profile is REFUSED or profile.name == ("mini" if given["name"] is None else given["name"])
    load_profile("mini")  # the last one loaded is what other messages speak of


@target(
    calls(rows=st.lists(rows, max_size=4), longest_summary=st.integers(1, 9)),
    found=(
        {"rows": np.zeros((2, 0)), "longest_summary": 1},
        {"rows": ROWS, "longest_summary": -1},
        {"rows": ROWS, "longest_summary": 10**30},
    ),
)
def features_end_with_what_is_to_be_learned(given: dict[str, Any], folder: Path) -> None:
    made = answer(examples.features, **given, tokenizer=TOKENIZER)
    if made is REFUSED:
        return
    assert len(made) == len(given["rows"])
    for each in made:
        assert len(each["input_ids"]) == len(each["attention_mask"]) <= TOKENIZER.model_max_length
        assert 1 < len(each["labels"]) <= given["longest_summary"]
    batch = answer(examples.collate, made, TOKENIZER.pad_token_id)
    assert (batch["labels"] != examples.MASKED).sum() == sum(len(each["labels"]) for each in made)


@target(
    calls(examples=st.just([]), share=st.sampled_from([0, 0.2, 0.5, 1]), seed=counts),
    SLOW,
    found=(
        {"examples": [], "share": None, "seed": 0},
        {"examples": None, "share": 0, "seed": 0},
        {"examples": [], "share": 0, "seed": "\ud800"},
    ),
)
def a_share_of_old_tasks_is_replayed(given: dict[str, Any], folder: Path) -> None:
    made = answer(forgetting.replay, **given, tokenizer=TOKENIZER)
    assert made is REFUSED or (0 <= given["share"] < 1 and isinstance(made, list))


@target(calls(dialogue=said), found=({"dialogue": None},))
def a_quarrel_is_looked_for_in_any_text(given: dict[str, Any], folder: Path) -> None:
    if not isinstance(given["dialogue"], str):
        assert answer(insulting_turn, **given) is REFUSED
        return
    found = answer(insulting_turn, **given)
    assert found is REFUSED or found in given["dialogue"].splitlines() or not found
    answer(reported, [given["dialogue"]])
