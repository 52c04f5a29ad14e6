"""What a learner types in a cell: arguments that are right, nearly right, or of another kind altogether."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
from hypothesis import strategies as st

from genai_labs.inputs import text
from genai_labs.loading import data
from genai_labs.prompting import prompts, reasoning, retrieval
from genai_labs.rlhf import reward_model
from genai_labs.scoring import facts, metrics
from genai_labs.show import lessons, record
from genai_labs.show.scoreboard import Scoreboard
from genai_labs.show.verdicts import HOLDS
from tests.fuzzing.files import TOKENIZER, saved
from tests.fuzzing.inputs import (
    PIECES,
    REFUSED,
    SLOW,
    answer,
    calls,
    damaged,
    is_whole,
    numbers,
    said,
    target,
    texts,
    wild,
)

rows = st.builds(data.Row, texts, said, st.lists(said, min_size=1, max_size=3).map(tuple), texts)
HELLO = "#Person1#: Hello."
EXEMPLAR = prompts.Exemplar("#Person1#: Hello.\n#Person2#: Hi.", "They greet.")
exemplars = st.builds(prompts.Exemplar, said, said)
instructions = (
    st.sampled_from([*prompts.INSTRUCTIONS, "{dialogue}", "{dialogue} or {dialogue}", "Say: {topic}"]) | texts
)
makers = st.sampled_from([prompts.zero_shot, prompts.no_instruction, lambda d: prompts.few_shot(d, [EXEMPLAR])])
lists = st.lists(said, max_size=4)


@target(calls(dialogue=said, instruction=instructions), found=({"dialogue": HELLO, "instruction": []},))
def a_prompt_holds_its_dialogue(given: dict[str, Any], folder: Path) -> None:
    made = answer(prompts.zero_shot, **given)
    if made is not REFUSED:
        assert given["dialogue"].strip()
        assert made == prompts.INSTRUCTIONS.get(given["instruction"], given["instruction"]).replace(
            "{dialogue}", given["dialogue"]
        )


@target(
    calls(dialogue=said, exemplars=st.lists(exemplars, max_size=3), instruction=instructions),
    found=({"dialogue": HELLO, "exemplars": None, "instruction": "plain"},),
)
def exemplars_stand_before_the_dialogue(given: dict[str, Any], folder: Path) -> None:
    made = answer(prompts.few_shot, **given)
    if made is not REFUSED:
        parts = [prompts.zero_shot(e.dialogue, given["instruction"]) + f" {e.summary}" for e in given["exemplars"]]
        assert made == "\n\n\n".join([*parts, prompts.zero_shot(given["dialogue"], given["instruction"])])


def tokens(prompt: str) -> int:
    return len(TOKENIZER(text.without_surrogates(prompt), verbose=False)["input_ids"])


def fitting(
    make: Any = prompts.zero_shot, dialogue: Any = HELLO, tokenizer: Any = TOKENIZER, window: Any = None
) -> Any:
    return {"make": make, "dialogue": dialogue, "tokenizer": tokenizer, "window": window}


@target(
    calls(make=makers, dialogue=said, tokenizer=st.just(TOKENIZER), window=st.integers(1, 80) | st.none()),
    found=(
        fitting(window=0),
        fitting(dialogue="\ud800"),
        fitting(make="plain"),
        fitting(tokenizer=None),
        fitting(tokenizer=print),
    ),
)
def a_fitted_prompt_fits(given: dict[str, Any], folder: Path) -> None:
    made = answer(prompts.fit, **given)
    if made is not REFUSED:
        window = TOKENIZER.model_max_length if given["window"] is None else given["window"]
        assert tokens(made.prompt) <= window
        if not made.turns_cut:
            assert made.prompt == given["make"]("\n".join(given["dialogue"].splitlines()))


@target(calls(make=makers, dialogues=lists, tokenizer=st.just(TOKENIZER), window=st.integers(1, 80) | st.none()))
def all_fitted_prompts_fit(given: dict[str, Any], folder: Path) -> None:
    made = answer(prompts.fit_all, **given)
    if made is not REFUSED:
        assert len(made) == len(given["dialogues"])
        window = TOKENIZER.model_max_length if given["window"] is None else given["window"]
        assert all(tokens(prompt) <= window for prompt in made)


@target(
    calls(train=st.lists(rows, max_size=6), count=st.integers(-1, 7), seed=st.integers(-3, 3)),
    found=({"train": None, "count": 0, "seed": 0}, {"train": [], "count": 0, "seed": []}),
)
def exemplars_are_rows_of_the_training_split(given: dict[str, Any], folder: Path) -> None:
    made = answer(prompts.choose_exemplars, **given)
    if made is not REFUSED:
        assert len(made) == given["count"] <= len(given["train"])
        pairs = [(row.dialogue, row.summary) for row in given["train"]]
        assert all((each.dialogue, each.summary) in pairs for each in made)


@target(calls(dialogue=said, count=st.integers(-2, 5)), found=({"dialogue": HELLO, "count": None},))
def first_and_longest_turns_are_of_the_dialogue(given: dict[str, Any], folder: Path) -> None:
    first, longest = answer(data.first_turns, **given), answer(data.longest_turn, given["dialogue"])
    if first is not REFUSED:
        assert is_whole(given["count"], 0)
        assert len(first) <= len(given["dialogue"])
    if longest is not REFUSED:
        assert longest in given["dialogue"]


@target(calls(texts=lists))
def encoded_texts_have_nothing_unknown(given: dict[str, Any], folder: Path) -> None:
    made = answer(text.encode, given["texts"], TOKENIZER)
    if made is not REFUSED:
        assert len(made["input_ids"]) == len(given["texts"])
        assert not any(TOKENIZER.unk_token_id in ids for ids in made["input_ids"])


# Scores.

kinds = st.sampled_from([*metrics.ROUGE_TYPES, "rouge3"])


@target(
    calls(
        predictions=lists,
        references=lists | st.lists(lists, max_size=4),
        kind=kinds,
        combine=st.sampled_from(["best", "mean"]),
    ),
    found=({"predictions": [], "references": [], "kind": "rouge1", "combine": np.array([1, 2])},),
)
def rouge_is_a_share(given: dict[str, Any], folder: Path) -> None:
    scores = answer(metrics.rouge_scores, **given)
    if scores is not REFUSED:
        assert scores.shape == (len(given["predictions"]),)
        assert ((scores >= 0) & (scores <= 1)).all()
        own = metrics.rouge_scores(given["predictions"], given["predictions"])
        words = [any(c.isascii() and c.isalnum() for c in each.lower()) for each in given["predictions"]]
        assert all(score in (0, 1) for score in own)
        assert all(score == 1 for score, has in zip(own, words, strict=True) if has)


scores = st.lists(st.floats(-5, 5) | st.integers(0, 1), max_size=6)
some_scores = scores | st.lists(st.lists(st.floats(0, 1), min_size=2, max_size=2), max_size=5) | scores.map(np.array)


@target(calls(a=some_scores, b=some_scores | st.none(), resamples=st.integers(0, 99), seed=st.integers(-1, 5)))
def an_interval_holds_what_was_measured(given: dict[str, Any], folder: Path) -> None:
    found = answer(metrics.paired_bootstrap, **given)
    if found is not REFUSED:
        assert all(map(math.isfinite, found))
        assert found.low <= found.high
        a, b = (
            np.zeros(found.n) if x is None else np.asarray(x, float).reshape(found.n, -1).mean(1)
            for x in (given["a"], given["b"])
        )
        assert math.isclose(found.effect, (a - b).mean(), abs_tol=1e-9)
        assert (a - b).min() - 1e-9 <= found.low
        assert found.high <= (a - b).max() + 1e-9


@target(calls(samples=st.lists(lists, max_size=3)), weight=6, found=({"samples": np.array(3)},))
def diversity_is_a_share(given: dict[str, Any], folder: Path) -> None:
    found = answer(metrics.diversity, **given)
    if found is not REFUSED:
        assert len(found) == len(given["samples"])
        assert ((found >= -1e-9) & (found <= 1 + 1e-9)).all()
        alike = [len(set(each)) == 1 for each in given["samples"]]
        assert all(abs(score) < 1e-9 for score, same in zip(found, alike, strict=True) if same)


@target(
    calls(rows=st.lists(rows, max_size=4), train=st.lists(rows, max_size=4), name=texts, outputs=lists),
    weight=6,
    found=({"rows": [], "train": np.int64(4), "name": [], "outputs": []},),
)
def a_scoreboard_scores_each_dialogue(given: dict[str, Any], folder: Path) -> None:
    board = answer(Scoreboard, given["rows"], given["train"])
    if board is REFUSED or answer(board.add, given["name"], given["outputs"]) is REFUSED:
        return
    assert len(board[given["name"]]) == len(given["rows"])
    answer(board.interval, given["name"])
    answer(board.table)


@target(calls(text=texts | said), found=({"text": None},))
def small_questions_about_a_text_are_answered(given: dict[str, Any], folder: Path) -> None:
    assert answer(metrics.is_turn, **given) in (True, False, REFUSED)
    number = answer(reasoning.final_number, **given)
    assert number is None or number is REFUSED or 0 <= number < 10**reasoning.MOST_DIGITS
    stated = answer(facts.stated, **given)
    assert stated is REFUSED or len(set(stated)) == len(stated)


# Facts, reckoning, retrieval.


@target(calls(summaries=lists, others=lists | st.lists(lists, max_size=4)))
def facts_are_shares(given: dict[str, Any], folder: Path) -> None:
    for grade in (facts.precision, facts.recall):
        found = answer(grade, given["summaries"], given["others"])
        if found is not REFUSED:
            assert found.shape == (len(given["summaries"]),)
            assert ((found >= 0) & (found <= 1)).all()
    itself = answer(facts.precision, given["summaries"], given["summaries"])
    assert itself is REFUSED or (itself == 1).all()


@target(calls(summary=said, source=said), found=({"summary": HELLO, "source": None},))
def what_is_said_in_the_source_is_supported(given: dict[str, Any], folder: Path) -> None:
    found = answer(facts.unsupported, **given)
    if found is not REFUSED:
        assert facts.unsupported(given["summary"], f"{given['source']}\n{given['summary']}") == []
        assert set(found) <= set(facts.stated(given["summary"], given["source"]))


@target(calls(text=said, seed=st.integers(-2, 5)), found=({"text": "At 6:30.", "seed": None},))
def an_exchanged_fact_is_another(given: dict[str, Any], folder: Path) -> None:
    found = answer(facts.exchange_one, **given)
    if found is not REFUSED and found is not None:
        assert found != given["text"]
        assert found == facts.exchange_one(**given)


sums = st.tuples(st.integers(0, 10**20), st.sampled_from("+-*"), st.integers(0, 999), st.integers(0, 99))


@target(st.lists(sums, max_size=4) | calls(text=texts), found=({"text": None},))
def a_calculator_reckons_right(given: Any, folder: Path) -> None:
    if isinstance(given, dict):
        found = answer(reasoning.with_calculator, **given)
        assert found is REFUSED or found is None or abs(found) < 10**reasoning.MOST_DIGITS
        return
    found = reasoning.with_calculator("\n".join(f"{a} {sign} {b} = {c}" for a, sign, b, c in given))
    if len(given) == 1 and given[0][0] < 10**14:
        a, sign, b, wrote = given[0]
        reckoned = {"+": a + b, "-": a - b, "*": a * b}[sign]
        assert found == (reckoned if abs(reckoned) < 10**reasoning.MOST_DIGITS else wrote)


@target(calls(texts=lists, question=said, count=st.integers(-1, 5)))
def what_shares_a_rare_word_is_found(given: dict[str, Any], folder: Path) -> None:
    index = answer(retrieval.Index, given["texts"])
    if index is REFUSED:
        return
    found = answer(index.search, given["question"], given["count"])
    if found is not REFUSED:
        assert len(found) == len(set(found)) == min(given["count"], len(given["texts"]))
        asked = set(retrieval.words(given["question"]))
        sharing = [bool(asked & set(retrieval.words(given["texts"][place]))) for place in found]
        assert sharing == sorted(sharing, reverse=True)


pairs = st.builds(reward_model.Preference, st.sampled_from("abcdef"), said, said, st.just((1, 0, 1)))


@target(
    calls(
        rows=st.integers(0, 260).flatmap(lambda n: st.lists(pairs, min_size=1, max_size=3).map(lambda some: some * n))
    ),
    found=({"rows": None},),
)
def no_dialogue_is_learned_from_and_measured_on(given: dict[str, Any], folder: Path) -> None:
    found = answer(reward_model.split_preferences, **given)
    if found is not REFUSED:
        learned, measured = found
        assert not {each.dialogue_id for each in learned} & {each.dialogue_id for each in measured}
        assert len(measured) == reward_model.HELD_OUT


# Lessons.

odd_numbers = st.sampled_from([0.0, 0.1, 1, -0.1, None, math.inf])
lesson_calls = calls(
    id=st.sampled_from(["1.1", "9.9z", "1.", "x", "1.1\n"]) | texts,
    claim=texts,
    a=st.lists(st.floats(-2, 2), min_size=18, max_size=24) | scores,
    b=st.none() | st.lists(st.floats(-2, 2), min_size=20, max_size=22),
    metric=texts,
    unit=texts,
    expect=st.sampled_from(["higher", "higher", "lower", "between", "more"]),
    at_least=st.sampled_from([0.0, 0.0, 0.2, -1.0]),
    bounds=st.none() | st.tuples(odd_numbers, odd_numbers),
    seed=st.integers(-1, 3),
    of=texts,
    fewest=st.integers(0, 25),
    digits=st.integers(-1, 5),
)


@target(lesson_calls, weight=SLOW)
def a_lesson_is_measured_and_written(given: dict[str, Any], folder: Path) -> None:
    record.lessons_path().unlink(missing_ok=True)
    lessons._measured.clear()
    found = answer(lessons.lesson, **given, show=False)
    if found is REFUSED:
        assert record.read_lessons() == []
        return
    assert found.verdict in lessons.LOOKS
    (row,) = json.loads(record.lessons_path().read_text(encoding="utf-8"), parse_constant=no_number)
    assert row["holds"] == (row["verdict"] == HOLDS)
    least, bounds = given["at_least"], given["bounds"]
    if row["holds"] and bounds is None:
        assert row["low"] >= least if given["expect"] == "higher" else row["high"] <= -least
    assert record.read_lessons() == [row]
    assert repr(lessons.lessons_table())
    assert "<script" not in found.card.html


def no_number(name: str) -> None:
    raise AssertionError(f"{name} stands in a file of JSON")


LESSON = {
    "lab": 1, "id": "1.2", "claim": "It is so.", "metric": "ROUGE", "unit": "", "effect": 0.1, "low": 0.0, "high": 0.2,
    "n": 20, "verdict": "holds", "holds": True, "seed": 0, "profile": "mini", "versions": {"python": "3"},
}  # fmt: skip


@st.composite
def lesson_files(draw: st.DrawFn) -> bytes:
    """A file of lessons with a value of another kind, or damaged."""
    changed = {**LESSON, draw(st.sampled_from(sorted(LESSON))): draw(numbers | texts | st.none() | st.just([]))}
    whole = json.dumps([LESSON, *draw(st.lists(st.sampled_from([LESSON, changed]), max_size=2))])
    return draw(damaged(st.just(whole.encode())) | st.sampled_from(PIECES).map(lambda piece: piece.encode()))


@target(
    lesson_files(),
    found=(
        b'[{"id": "1.1"}]',
        b'[{"id": "1.1", "lab": Infinity}]',
    ),
)
def damaged_lessons_are_refused(given: bytes, folder: Path) -> None:
    found = answer(record.read_lessons, saved(folder, "lessons.json", given))
    if found is not REFUSED:
        assert repr(lessons.lessons_table(found))


@target(
    calls(rows=st.lists(st.just(LESSON) | st.dictionaries(st.sampled_from(sorted(LESSON)), wild), max_size=2)),
    found=(
        {"rows": [{"id": "."}]},
        {"rows": np.zeros((2, 0))},
    ),
)
def a_table_of_lessons_is_shown(given: dict[str, Any], folder: Path) -> None:
    found = answer(lessons.lessons_table, **given)
    assert found is REFUSED or repr(found)
