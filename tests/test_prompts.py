"""Prompts: templates, exemplars from the training split, the window."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any, cast

import numpy as np
import pytest
from transformers import PreTrainedTokenizerBase

from genai_labs.errors import LabError
from genai_labs.inputs.arguments import counted
from genai_labs.loading import data, models
from genai_labs.loading.profiles import load_profile
from genai_labs.prompting import prompts
from tests.variants import Variant, assert_noticed

ODD: Any = 5.5
NO_TOKENIZER: Any = len
DIALOGUE = "\n".join(f"#Person{1 + i % 2}#: This is turn number {i} of a long talk about nothing." for i in range(12))


@pytest.fixture(scope="module")
def train() -> list[data.Row]:
    return data.load_split(load_profile("mini").dataset, "train")


@pytest.fixture(scope="module")
def tokenizer() -> PreTrainedTokenizerBase:
    return models.load_tokenizer(load_profile("mini"))


def test_every_instruction_holds_the_dialogue_whole() -> None:
    for name in prompts.INSTRUCTIONS:
        prompt = prompts.zero_shot(DIALOGUE, name)
        assert DIALOGUE in prompt
        assert len(prompt) > len(DIALOGUE)
    assert prompts.no_instruction(DIALOGUE) == DIALOGUE


def test_an_own_template_is_taken_and_a_wrong_one_refused() -> None:
    assert prompts.zero_shot("#Person1#: Hi.", "Read {dialogue} now") == "Read #Person1#: Hi. now"
    with pytest.raises(LabError, match="never reach the model"):
        prompts.zero_shot(DIALOGUE, "Summarize this")


def test_braces_in_a_dialogue_do_no_harm() -> None:
    assert "{dialogue} {x}" in prompts.zero_shot("#Person1#: I typed {dialogue} {x}.")


def test_an_empty_dialogue_is_refused_in_words() -> None:
    with pytest.raises(LabError, match="empty"):
        prompts.zero_shot("  \n ")


def test_few_shot_shows_exemplars_in_order_and_ends_with_the_question() -> None:
    shown = [prompts.Exemplar(f"#Person1#: Talk {i}.", f"Summary {i}.") for i in range(3)]
    prompt = prompts.few_shot(DIALOGUE, shown)
    places = [prompt.index(text) for e in shown for text in (e.dialogue, e.summary)]
    assert places == sorted(places)
    assert prompt.endswith(prompts.zero_shot(DIALOGUE))
    assert prompts.few_shot(DIALOGUE, []) == prompts.zero_shot(DIALOGUE)


def test_exemplars_come_from_the_training_split_and_by_seed(train: list[data.Row]) -> None:
    test = {row.dialogue for row in data.load_split(load_profile("mini").dataset, "test")}
    for seed in range(5):
        chosen = prompts.choose_exemplars(train, 8, seed)
        assert chosen == prompts.choose_exemplars(train, 8, seed)
        assert len({e.id for e in chosen}) == 8
        assert not {e.dialogue for e in chosen} & test
    assert prompts.choose_exemplars(train, 3, 0) != prompts.choose_exemplars(train, 3, 1)
    with pytest.raises(LabError, match="Ask for fewer"):
        prompts.choose_exemplars(train[:2], 3, 0)
    assert {e.id for e in prompts.choose_exemplars(train[:3], 3, 0)} == {row.id for row in train[:3]}


def test_fit_cuts_the_middle_of_the_dialogue_and_says_so(tokenizer: PreTrainedTokenizerBase) -> None:
    whole = len(tokenizer(prompts.zero_shot(DIALOGUE))["input_ids"])
    assert prompts.fit(prompts.zero_shot, DIALOGUE, tokenizer, whole).note == ""
    fitted = prompts.fit(prompts.zero_shot, DIALOGUE, tokenizer, whole - 30)
    assert len(tokenizer(fitted.prompt)["input_ids"]) <= whole - 30
    assert "turn number 0 " in fitted.prompt
    assert "turn number 11 " in fitted.prompt
    assert fitted.prompt.endswith("Summary:")
    assert fitted.over == 30
    assert f"{counted(fitted.turns_cut, 'turn')} cut" in fitted.note


def one_turn_at_a_time(dialogue: str, tokenizer: Any, window: int) -> tuple[str, int, int] | None:
    """What fit does, the slow way: prompt, tokens over, turns cut; None where two turns are too many."""
    turns, cut = dialogue.splitlines(), 0
    over = len(tokenizer(prompts.zero_shot(dialogue), verbose=False)["input_ids"]) - window
    while len(tokenizer(prompts.zero_shot("\n".join(turns)), verbose=False)["input_ids"]) > window:
        if len(turns) <= 2:
            return None
        del turns[len(turns) // 2]
        cut += 1
    return prompts.zero_shot("\n".join(turns)), max(over, 0), cut


@pytest.mark.parametrize("window", [45, 80, 120, 160, 240])
def test_fit_finds_what_cutting_one_turn_at_a_time_finds(window: int, tokenizer: PreTrainedTokenizerBase) -> None:
    dataset = load_profile("mini").dataset
    rows = [
        row for split in ("validation", "test", "unseen", "handwritten_test") for row in data.load_split(dataset, split)
    ]
    found = {True: 0, False: 0}
    for dialogue in [row.dialogue for row in rows[::7]] + [DIALOGUE, "one turn", "two\nturns", "\n\na\n\n", "a\n" * 60]:
        expected = one_turn_at_a_time(dialogue, tokenizer, window)
        found[expected is not None] += 1
        if expected is None:
            with pytest.raises(LabError, match="fewer or shorter exemplars"):
                prompts.fit(prompts.zero_shot, dialogue, tokenizer, window)
        else:
            fitted = prompts.fit(prompts.zero_shot, dialogue, tokenizer, window)
            assert (fitted.prompt, fitted.over, fitted.turns_cut) == expected
    assert found[True] + found[False] > 150
    assert found[True]


def test_fit_reads_a_dialogue_of_thousands_of_turns_a_few_times_only(tokenizer: PreTrainedTokenizerBase) -> None:
    dialogue = "\n".join(f"#Person{1 + i % 2}#: This is turn number {i}." for i in range(2000))
    made = 0

    def make(text: str) -> str:
        nonlocal made
        made += 1
        return prompts.zero_shot(text)

    fitted = prompts.fit(make, dialogue, tokenizer, 300)
    assert made < 20
    assert fitted.turns_cut > 1900
    assert 280 <= len(tokenizer(fitted.prompt)["input_ids"]) <= 300


def test_fit_refuses_what_cannot_fit(tokenizer: PreTrainedTokenizerBase) -> None:
    shown = [prompts.Exemplar(DIALOGUE, "Nothing.")] * 4
    with pytest.raises(LabError, match="fewer or shorter exemplars"):
        prompts.fit(lambda d: prompts.few_shot(d, shown), DIALOGUE, tokenizer, 200)


def test_all_prompts_are_fitted_and_a_note_counts_the_cut_ones(
    tokenizer: PreTrainedTokenizerBase, capsys: pytest.CaptureFixture[str]
) -> None:
    short = "#Person1#: Hi.\n#Person2#: Hello."
    window = len(tokenizer(prompts.zero_shot(DIALOGUE))["input_ids"]) - 30
    made = prompts.fit_all(prompts.zero_shot, [short, DIALOGUE], tokenizer, window)
    assert made[0] == prompts.zero_shot(short)
    assert made[1] == prompts.fit(prompts.zero_shot, DIALOGUE, tokenizer, window).prompt
    said = capsys.readouterr().out
    assert "1 of 2 prompts were longer than the window, by up to 30 tokens: the middle of their dialogues was" in said
    prompts.fit_all(prompts.zero_shot, [short], tokenizer, window)
    assert capsys.readouterr().out == ""


def test_two_endless_turns_lose_their_middle_words(tokenizer: PreTrainedTokenizerBase) -> None:
    endless = "#Person1#: " + "first " * 300 + "\n#Person2#: " + "last " * 300 + "end"
    (made,) = prompts.fit_all(prompts.zero_shot, [endless], tokenizer, 200)
    assert 190 <= len(tokenizer(made)["input_ids"]) <= 200
    assert "#Person1#: first" in made
    assert made.endswith("last end\n\nSummary:")
    with pytest.raises(LabError, match="fewer or shorter exemplars"):
        prompts.fit_all(prompts.zero_shot, [endless], tokenizer, 5)


def test_of_endless_turns_as_many_words_are_kept_as_fit(
    tokenizer: PreTrainedTokenizerBase, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ("#Person1#: Hi.\n#Person2#: " + "word " * 60 + "end").split(" ")
    made = [prompts.zero_shot(" ".join([*words[:kept], *words[len(words) - kept :]])) for kept in range(1, 32)]
    lengths = [len(tokenizer(prompt)["input_ids"]) for prompt in made]
    whole = len(tokenizer(prompts.zero_shot(" ".join(words)))["input_ids"])
    for window in {*lengths[:-1], whole - 1}:
        fitting = [prompt for prompt, length in zip(made, lengths, strict=True) if length <= window]
        assert prompts.fit_all(prompts.zero_shot, [" ".join(words)], tokenizer, window) == [fitting[-1]]
        assert f"by up to {whole - window} tokens" in capsys.readouterr().out


def test_the_window_is_the_tokenizers_where_none_is_given(tokenizer: PreTrainedTokenizerBase) -> None:
    assert prompts.fit(prompts.zero_shot, DIALOGUE, tokenizer).prompt == prompts.zero_shot(DIALOGUE)
    (made,) = prompts.fit_all(prompts.zero_shot, ["#Person1#: " + "first " * 2000 + "end"], tokenizer)
    assert tokenizer.model_max_length - 10 <= len(tokenizer(made)["input_ids"]) <= tokenizer.model_max_length
    assert prompts.fit(lambda dialogue: "", DIALOGUE, tokenizer, 1).prompt == ""  # the end of a text is one token


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda tokenizer: prompts.few_shot(DIALOGUE, ODD), "^A list of exemplars is needed"),
        (lambda tokenizer: prompts.zero_shot(DIALOGUE, ODD), "^The instruction is to be"),
        (lambda tokenizer: prompts.fit(prompts.no_instruction, ODD, tokenizer), "^The dialogue is to be"),
        (lambda tokenizer: prompts.fit(lambda d: ODD, DIALOGUE, tokenizer), "^What the function made of a dialogue is"),
        (lambda tokenizer: prompts.fit(prompts.zero_shot, DIALOGUE, tokenizer, 0), "^The window is 0, .* at least 1"),
        (lambda tokenizer: prompts.fit(ODD, DIALOGUE, tokenizer), "something else was given"),
        (lambda tokenizer: prompts.fit(prompts.zero_shot, DIALOGUE, NO_TOKENIZER), "something else was given"),
        (lambda tokenizer: prompts.fit_all(prompts.zero_shot, ODD, tokenizer), "was given as dialogues,"),
        (lambda tokenizer: prompts.choose_exemplars(ODD, 1, 0), "^A list of training rows is needed"),
    ],
)
def test_what_was_wrong_is_named(call: Callable[[Any], object], words: str, tokenizer: PreTrainedTokenizerBase) -> None:
    with pytest.raises(LabError, match=words):
        call(tokenizer)


def test_slips_are_met_in_words(train: list[data.Row]) -> None:
    for count in (-1, 1.5, "two"):
        with pytest.raises(LabError, match="The number of exemplars is .* at least 0"):
            prompts.choose_exemplars(train, count, 0)  # type: ignore[arg-type]
    assert prompts.choose_exemplars(train, 0, 0) == []
    two, zero = cast(list[int], np.arange(2, -1, -2))  # numpy's whole numbers are whole numbers
    assert prompts.choose_exemplars(train, two, zero) == prompts.choose_exemplars(train, 2, 0)
    with pytest.raises(LabError, match=r"of a row, row\.dialogue"):
        prompts.zero_shot(train[0])  # type: ignore[arg-type]
    with pytest.raises(LabError, match=r"\[exemplar\]"):
        prompts.few_shot(DIALOGUE, prompts.Exemplar(DIALOGUE, "Nothing."))  # type: ignore[arg-type]


# Checks, and wrong variants that they must notice.


def check_exemplars_are_solved_short_and_drawn_by_seed() -> None:
    rows = [data.Row(f"r{i}", f"#Person1#: {'a ' * (i % 50)}{i}", (f"S{i}.", "other"), "t") for i in range(500)]
    short = {row.id for row in sorted(rows, key=lambda row: len(row.dialogue))[:10]}
    drawn = [prompts.choose_exemplars(rows, 5, seed) for seed in range(5)]
    for chosen in drawn:
        for each in chosen:
            row = rows[int(each.id[1:])]
            assert (each.dialogue, each.summary) == (row.dialogue, row.summary)
            assert each.id in short
        assert len({each.id for each in chosen}) == 5
    assert len({tuple(each.id for each in chosen) for chosen in drawn}) == 5
    assert {each.id for seed in range(40) for each in prompts.choose_exemplars(rows, 5, seed)} == short


def check_few_shot_is_solved_examples_and_the_question() -> None:
    shown = [prompts.Exemplar("#Person1#: One.", "First."), prompts.Exemplar("#Person1#: Two.", "Second.")]
    asked = "Summarize the following conversation.\n\n#Person1#: {}.\n\nSummary:"
    expected = [f"{asked.format('One')} First.", f"{asked.format('Two')} Second.", asked.format("Three")]
    assert prompts.few_shot("#Person1#: Three.", shown) == "\n\n\n".join(expected)
    tasks = "Summarize: #Person1#: One.\nSummary: First.\n\n\nSummarize: #Person1#: Three.\nSummary:"
    assert prompts.few_shot("#Person1#: Three.", shown[:1], "task") == tasks


def check_what_is_cut_is_the_middle(tokenizer: PreTrainedTokenizerBase) -> None:
    window = len(tokenizer(prompts.zero_shot(DIALOGUE))["input_ids"]) - 60
    (made,) = prompts.fit_all(prompts.zero_shot, [DIALOGUE], tokenizer, window)
    turns = DIALOGUE.splitlines()
    kept = [place for place, turn in enumerate(turns) if turn in made]
    cut = len(turns) - len(kept)
    assert 0 < cut < 8
    assert kept == [*range((len(kept) + 1) // 2), *range(len(turns) - len(kept) // 2, len(turns))]
    assert made == prompts.zero_shot("\n".join(turns[place] for place in kept))


def cut_at_the_end(make: Any, dialogue: str, tokenizer: Any, window: int | None = None) -> prompts.Fitted:
    fitted = FIT(make, dialogue, tokenizer, window)
    turns = dialogue.splitlines()
    return replace(fitted, prompt=make("\n".join(turns[: len(turns) - fitted.turns_cut])))


def summaries_of_others(train: list[data.Row], count: int, seed: int) -> list[prompts.Exemplar]:
    chosen = CHOOSE(train, count, seed)
    return [replace(one, summary=other.summary) for one, other in zip(chosen, chosen[1:] + chosen[:1], strict=True)]


CHOOSE, FEW, FIT = prompts.choose_exemplars, prompts.few_shot, prompts.fit
TOKENIZER = models.load_tokenizer(load_profile("mini"))
WRONG = {
    "the same exemplars with every seed": Variant(
        prompts,
        "choose_exemplars",
        lambda train, count, seed: CHOOSE(train, count, 0),
        check_exemplars_are_solved_short_and_drawn_by_seed,
    ),
    "the longest exemplars": Variant(
        prompts,
        "choose_exemplars",
        lambda train, count, seed: CHOOSE(sorted(train, key=lambda row: -len(row.dialogue))[:50], count, seed),
        check_exemplars_are_solved_short_and_drawn_by_seed,
    ),
    "exemplars with the summaries of others": Variant(
        prompts, "choose_exemplars", summaries_of_others, check_exemplars_are_solved_short_and_drawn_by_seed
    ),
    "exemplars behind one another from last to first": Variant(
        prompts,
        "few_shot",
        lambda dialogue, exemplars, *more: FEW(dialogue, exemplars[::-1], *more),
        check_few_shot_is_solved_examples_and_the_question,
    ),
    "exemplars without summaries": Variant(
        prompts,
        "few_shot",
        lambda dialogue, exemplars, *more: FEW(dialogue, [replace(e, summary="") for e in exemplars], *more),
        check_few_shot_is_solved_examples_and_the_question,
    ),
    "no exemplars": Variant(
        prompts,
        "few_shot",
        lambda dialogue, exemplars, *more: FEW(dialogue, [], *more),
        check_few_shot_is_solved_examples_and_the_question,
    ),
    "always the same instruction": Variant(
        prompts,
        "_template",
        lambda instruction: prompts.INSTRUCTIONS[prompts.DEFAULT_INSTRUCTION],
        check_few_shot_is_solved_examples_and_the_question,
    ),
    "the end is cut": Variant(prompts, "fit", cut_at_the_end, partial(check_what_is_cut_is_the_middle, TOKENIZER)),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_variant_is_noticed(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert_noticed(WRONG[name], monkeypatch)
