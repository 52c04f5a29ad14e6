"""What stands behind the companion notebook: data that keep apart what must be, tools and formulas that are right."""

from __future__ import annotations

import itertools
import json
import random
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from genai_labs.course import seeds
from genai_labs.course.runner import COMPANIONS
from genai_labs.errors import LabError
from genai_labs.loading import data, models
from genai_labs.loading.profiles import load_profile
from genai_labs.paths import NOTEBOOKS, RESULTS
from genai_labs.prompting import prompts, retrieval
from genai_labs.reasoning import acting, calculator, deployment, problems, town, verifiable
from genai_labs.rlhf.group import group_advantages
from genai_labs.scoring.intervals import paired_bootstrap


def said() -> str:
    """The notebook's words and outputs."""
    return (NOTEBOOKS / COMPANIONS[4]).read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def loaded() -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    return models.load_model(load_profile("mini"))


# ------------------------------------------------------------------------------------------------------------ the data


def test_no_problem_of_a_test_is_practised() -> None:
    practised = {each.text for part in ("practice", "validation") for each in problems.to_practise(part)}
    assert len(practised) == 1400
    for kind in ("new story", "new story, never practised"):
        for seed in range(5):
            assert not practised & {each.text for each in problems.of_kind(kind, 100, seed)}


def test_stories_that_are_never_practised_are_no_others() -> None:
    practised = {each.story for each in problems.to_practise()}
    tested, kept = ({each.story for each in problems.of_kind(f"new story{more}")} for more in ("", ", never practised"))
    assert (len(practised), practised) == (12, tested)
    assert len(kept) == 6
    assert not kept & practised


def test_some_tests_turn_the_two_numbers_of_a_practised_problem_round() -> None:
    """As the notebook says; they are other problems, and too few to carry lesson 4.5."""

    def numbers(problem: problems.Problem) -> tuple[str, ...]:
        return (problem.story, *sorted(re.findall(r"\d+", problem.text)))

    practised = {numbers(each) for each in problems.to_practise()}
    turned = [sum(numbers(each) in practised for each in problems.of_kind("new story", 100, seed)) for seed in range(5)]
    assert (min(turned), max(turned)) == (16, 20), turned
    assert "in 16 to 20 of these 100 problems, by seed" in said()


def test_questions_for_two_tools_tell_two_stories() -> None:
    both = [task for task in acting.tasks_for_tools() if task.kind == "both"]
    assert (len(both), len({task.work_out.split(" there are ")[0] for task in both})) == (26, 2)
    work_out = [task for task in acting.tasks_for_tools() if task.kind == "work out"]
    assert all(int(task.answer) > 100 for task in work_out)


def test_sums_above_100_are_above_100() -> None:
    assert all(100 < int(each.answer) < 200 for each in problems.of_kind("sum above 100"))
    with pytest.raises(LabError, match="Name one of them"):
        problems.of_kind("four steps")


def test_notes_that_are_not_there_are_not_there() -> None:
    there, missing = town.read_town()
    titles = [[fact.note.split(":")[0] for fact in part] for part in (there, missing)]
    assert (len(set(titles[0])), len(set(titles[1]))) == (1200, 300)
    assert not set(titles[0]) & set(titles[1])
    assert all(fact.answer in fact.note for fact in there)
    changed = [fact for fact in there if fact.later]
    assert len(changed) >= 100
    assert all(f.later_answer in f.later and f.later_answer != f.answer for f in changed)


def test_other_notes_of_a_kind_hold_two_thirds_of_the_words_that_a_question_shares_with_its_note() -> None:
    there, _ = town.read_town()
    held = {fact.note: set(retrieval.words(fact.note)) for fact in there}
    shares = []
    for fact in there:
        shared = set(retrieval.words(fact.question)) & held[fact.note]
        shares.append([len(shared & held[o.note]) / len(shared) for o in there if o.kind == fact.kind and o != fact])
    assert np.mean([np.mean(each) for each in shares]) == pytest.approx(2 / 3, abs=0.01)
    assert "on average, two thirds of the words that a question shares with its note" in said()
    every = sum(max(each) == 1 for each in shares)
    assert f"for only {every} of the 1,200 questions does another one hold all" in said()


def test_what_the_notebook_says_of_refusals_and_of_what_the_threshold_was_chosen_on() -> None:
    """4.14 with kinds of notes as groups, and the look-ups of section 5 that are among the questions chosen on."""
    there, missing = town.read_town()
    index = town.Index([fact.note for fact in there])
    leads = town.leads(index, [fact.question for fact in there])
    looked_up = [task.look_up for task in acting.tasks_for_tools() if task.look_up]
    wider, chosen_on = [], []
    for seed in range(5):
        asked = set(random.Random(seed).sample(range(len(there)), 200))
        others = [place for place in range(len(there)) if place not in asked]
        unknown = random.Random(seed).sample(missing, len(missing))
        halves = np.split(town.leads(index, [fact.question for fact in unknown]), 2)
        thresholds = [town.choose_lead(leads[others], half) for half in halves[::-1]]
        refused = np.concatenate([half < lead for half, lead in zip(halves, thresholds, strict=True)]).astype(float)
        alone, grouped = (
            paired_bootstrap(refused, clusters=groups) for groups in (None, [fact.kind for fact in unknown])
        )
        wider.append((grouped.high - grouped.low) / (alone.high - alone.low))
        chosen_on.append(len({there[place].question for place in others} & set(looked_up)))
    assert f"is {min(wider):.1f} to {max(wider):.1f} times as wide, by seed" in said()
    assert f"{min(chosen_on)} to {max(chosen_on)} of the {len(looked_up)} questions looked up here" in said()


# ---------------------------------------------------------------------------------------------------------- five seeds


def test_what_the_notebook_says_of_five_seeds_is_what_they_gave() -> None:
    record = json.loads((RESULTS / "companion_seeds.json").read_text(encoding="utf-8"))
    assert (RESULTS / "companion_seeds.md").read_text(encoding="utf-8") == seeds.as_markdown(record)
    assert len(record["seeds"]) == 5
    assert all(item["holds_on"] == item["measured_on"] for item in seeds.claims(record)), "the notebook says all hold"
    assert "every claim below holds" in said()
    answers = {item["id"]: item["answers"] for item in record["lessons"] if item["answers"]}
    assert answers["4.6"] == {"left open": 2, "higher": 3}
    assert answers["4.9"] == {"left open": 1, "higher": 4}
    assert answers["4.11"] == {"lower": 5}


# ------------------------------------------------------------------------------------------------------ the calculator


@pytest.mark.parametrize(("text", "value"), [("51 + 78", 129), ("2 + 3 * 4", 14), ("-(7 - 9) * 5", 10), (" 7 ", 7)])
def test_the_calculator_works_out_sums_differences_and_products(text: str, value: int) -> None:
    assert calculator.calculate(text) == value


@pytest.mark.parametrize(
    "text", ["__import__('os')", "2 ** 9", "1 / 2", "x", "True", "1.5", "", "3 +", "9" * 300, "9" * 20, "(" * 90]
)
def test_the_calculator_refuses_everything_else_in_words(text: str) -> None:
    with pytest.raises(LabError, match="The calculator cannot work out"):
        calculator.calculate(text)


def test_what_is_asked_stands_in_front_of_the_last_equals_sign() -> None:
    assert calculator.asked_for("First 7 * 3 = 21. Then 21 - 4 =") == 17
    assert [calculator.asked_for(text) for text in ("no sum", "7 * = ", "cost a =", "7 + 8 = 15")] == [None] * 4


def test_the_calculator_changes_the_answer(loaded: tuple[Any, Any]) -> None:
    those = problems.of_kind("sum above 100", 8)
    sources = [each.source for each in problems.worded(those)]
    alone = problems.solved(problems.write_solutions(*loaded, those), those)
    aided = problems.solved(calculator.write_with_calculator(*loaded, sources), those)
    assert (alone.sum(), aided.sum() >= 6) == (0, True)


def test_without_a_sum_the_calculator_changes_nothing(loaded: tuple[Any, Any]) -> None:
    from genai_labs.prompting.generation import generate, greedy

    asked = ["Repeat this: Anna, Oldham, seven", "Repeat this: a lamp"]
    assert calculator.write_with_calculator(*loaded, asked) == generate(*loaded, asked, greedy(48))
    typed, read = (
        calculator.write_with_calculator(*loaded, [f"Repeat this: {name}, seven"]) for name in ("Zoë", "Zoe")
    )
    assert typed == read


# ------------------------------------------------------------------------------------------------------------ practice


def test_pass_at_k_is_the_mean_over_all_draws() -> None:
    for right, k in itertools.product(range(6), range(1, 6)):
        drawn = list(itertools.combinations([1] * right + [0] * (5 - right), k))
        assert problems.pass_at_k([right], 5, k)[0] == pytest.approx(np.mean([any(each) for each in drawn]))
    with pytest.raises(LabError, match="Make at least 8"):
        problems.pass_at_k([1], 4, 8)


def test_a_group_that_agrees_teaches_nothing() -> None:
    advantages = group_advantages(torch.tensor([1.0, 1, 1, 1, 1, 0, 0, 0]), 4).view(2, 4)
    assert advantages[0].tolist() == [0] * 4
    assert advantages[1].tolist() == pytest.approx([1.5, -0.5, -0.5, -0.5], abs=1e-3)


def test_practice_moves_the_adapter_and_nothing_else(loaded: tuple[Any, Any]) -> None:
    base, tokenizer = loaded
    before = {name: weight.clone() for name, weight in base.named_parameters()}
    own = verifiable.Practice(updates=1, problems=8, group=4, max_new_tokens=30)
    asked = problems.worded(problems.to_practise()[:8])
    policy, history = verifiable.practise(base, tokenizer, asked, problems.is_right, own)
    assert all(torch.equal(before[name], weight) for name, weight in base.named_parameters())
    moved = [float(p.detach().abs().sum()) for name, p in policy.trained().items() if "lora_B" in name]
    assert any(moved) == (history[0]["mixed"] > 0)
    with pytest.raises(LabError, match="Give more"):
        verifiable.practise(base, tokenizer, asked[:3], problems.is_right, own)


# ------------------------------------------------------------------------------------------------- notes and the loop


def test_the_lead_that_is_chosen_parts_best() -> None:
    assert town.choose_lead(np.array([3.0, 4.0, 5.0]), np.array([0.5, 1.0, 2.0])) == 3.0


def test_an_episode_shows_a_step_that_fails(loaded: tuple[Any, Any]) -> None:
    there = town.read_town()[0][:60]
    index = town.Index([fact.note for fact in there])
    of_words = next(fact for fact in there if not any(letter.isdigit() for letter in fact.answer))
    looked_up = acting.Task("both", of_words.question, "There are {found} lamps. How many?", "7")
    (missed,) = acting.act(*loaded, [looked_up], index, lead=1e6)
    assert (missed.answer, missed.source) == (town.NOT_THERE, "")
    (numberless,) = acting.act(*loaded, [looked_up], index, lead=-1.0)
    assert "holds no number to work with" in str(numberless)
    (short,) = acting.act(*loaded, [looked_up], index, lead=-1.0, turns=1)
    assert len(short.steps) <= 2


def test_the_rule_looks_up_first_and_stops_at_an_answer() -> None:
    both = acting.Episode(acting.Task("both", "How many?", "{found} + 1", "8"))
    assert acting.next_act(both) == "search"
    both.found = "7"
    assert acting.next_act(both) == "calculate"
    both.answer = "8"
    assert acting.next_act(both) == "finish"


NOBODY: tuple[Any, Any] = ("model", "tokenizer")  # whoever is handed on
NOTES = ["Tea shop: It opens at 9.", "Book club: It has 12 members.", "Swimming pool: It closes at noon."]


@pytest.fixture
def reading(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What would be asked of the model, which answers with the last word of a note, and adds wrongly by itself."""
    asked: list[str] = []

    def generate(model: Any, tokenizer: Any, prompts: list[str], config: Any) -> list[str]:
        assert (model, tokenizer, config.do_sample) == (*NOBODY, False)
        assert config.max_new_tokens == (24 if "Question:" in prompts[0] else 48)
        asked.extend(prompts)
        return [
            each.split(".")[0].split()[-1] + ". " if "It " in each else "12 + 1 = 99. I say 99." for each in prompts
        ]

    def write(model: Any, tokenizer: Any, prompts: list[str]) -> list[str]:
        assert (model, tokenizer) == NOBODY
        asked.extend(prompts)
        return ["12 + 1 = 13. The answer is 13." if "12" in each else "I do not know." for each in prompts]

    monkeypatch.setattr(town.generation, "generate", generate)
    monkeypatch.setattr(acting, "generate", generate)
    monkeypatch.setattr(acting, "write_with_calculator", write)
    return asked


LOOK = acting.Task("look up", "When does the swimming pool close?", "", "noon")
BOTH = acting.Task("both", "How many are in the book club?", "There are {found} and one more. How many?", "13")
WORK = acting.Task("work out", "", "There are 12 and one more. How many?", "13")


def test_an_episode_holds_every_act_with_what_came_of_it(reading: list[str]) -> None:
    index: Any = town.Index(NOTES)
    look, both, work = acting.act(*NOBODY, [LOOK, BOTH, WORK], index, lead=0.1)
    found = 'note "{}", in which the model reads: {}'.format
    assert look.steps == [("search", LOOK.look_up, found("Swimming pool", "noon"))]
    assert (look.answer, look.source, look.found) == ("noon", "Swimming pool", "noon")
    told = "There are 12 and one more. How many?"
    assert both.steps == [
        ("search", BOTH.look_up, found("Book club", "members")),
        ("check", "members", "holds no number to work with"),
    ]
    assert both.answer == "no number was found"
    assert work.steps == [("calculate", told, "12 + 1 = 13. The answer is 13.")]
    assert (work.answer, work.source) == ("13", "")
    assert str(work) == f"1. calculate[{told}]\n   -> 12 + 1 = 13. The answer is 13.\nanswer: 13"
    assert str(look).endswith("answer: noon (source: Swimming pool)")
    assert str(acting.Episode(LOOK)) == "answer: none"
    assert reading[0] == prompts.QUESTION_PROMPT.format(text=NOTES[2], question=LOOK.look_up)
    assert prompts.REASONING_PROMPT.format(problem=told) in reading


def test_what_was_found_is_put_into_what_is_worked_out(reading: list[str]) -> None:
    index: Any = town.Index(["Book club: It has 12.", "Tea shop: It opens at 9."])
    (both,) = acting.act(*NOBODY, [BOTH], index, lead=0.1)
    told = "There are 12 and one more. How many?"
    assert [each[:2] for each in both.steps] == [("search", BOTH.look_up), ("calculate", told)]
    assert (both.found, both.answer, both.source) == ("12", "13", "Book club")
    (once,) = acting.act(*NOBODY, [BOTH], index, lead=0.1, turns=1)
    assert (once.steps, once.answer) == (both.steps[:1], ""), "one tool a turn"


def test_without_tools_the_model_remembers_and_reckons_by_itself(reading: list[str]) -> None:
    index: Any = town.Index(NOTES)
    look, work = acting.act(*NOBODY, [LOOK, WORK], index, lead=1e6, tools=())
    assert [each[0] for each in (*look.steps, *work.steps)] == ["memory", "reckon"]
    assert reading[0] == prompts.QUESTION_PROMPT.format(text="", question=LOOK.look_up)
    assert (look.answer, look.source) == (look.steps[0][2], "")
    assert work.answer == "99"
    (both,) = acting.act(*NOBODY, [replace(BOTH, look_up="How many are twelve? It is 12.")], index, 0.1, tools=())
    assert (both.found, [each[0] for each in both.steps]) == ("12", ["memory", "reckon"])


def test_where_the_notes_do_not_tell_nothing_is_worked_out(reading: list[str]) -> None:
    index: Any = town.Index(NOTES)
    (both,) = acting.act(*NOBODY, [BOTH], index, lead=1e6)
    assert both.steps == [("search", BOTH.look_up, town.NOT_THERE)]
    assert (both.answer, both.source) == (town.NOT_THERE, "")
    silent = acting.Task("work out", "", "Nobody knows how many.", "7")
    (none,) = acting.act(*NOBODY, [silent], index, lead=0.1)
    assert none.answer == "no number was written"
    with pytest.raises(LabError, match="^The number of turns is 0"):
        acting.act(*NOBODY, [silent], index, 0.1, turns=0)


def test_tasks_for_tools_say_what_is_to_be_done() -> None:
    for task in acting.tasks_for_tools():
        assert (bool(task.look_up), bool(task.work_out)) == (task.kind != "work out", task.kind != "look up")
        assert ("{found}" in task.work_out) == (task.kind == "both")
        assert task.answer


def test_an_answer_comes_with_its_note_or_says_that_it_is_not_there(reading: list[str]) -> None:
    index = town.Index(NOTES)
    questions = ["When does the swimming pool close, and who runs it?", "When does the zoo open?"]
    leads = town.leads(index, questions)
    assert min(sorted(index.bm25.get_scores(retrieval.words(questions[0])))[-2], leads[0]) > 0, (
        "else this test shows nothing"
    )
    every = [sorted(index.bm25.get_scores(retrieval.words(question))) for question in questions]
    assert leads.tolist() == pytest.approx([scores[-1] - scores[-2] for scores in every])
    assert leads[0] > leads[1]
    assert town.leads(index, ["???"]).tolist() == [0]
    alone = town.Index(NOTES[:1])
    assert town.leads(alone, [NOTES[0], "???"]).tolist() == [alone.scores(NOTES[0])[0], 0]
    at = float(leads[0])
    answered = [("noon", "Swimming pool"), (town.NOT_THERE, "")]
    assert town.answer_from_notes(*NOBODY, index, questions, at) == answered
    assert town.answer_from_notes(*NOBODY, index, questions, at + 1e-6)[0] == (
        town.NOT_THERE,
        "",
    )


def test_right_answers_and_notes_that_were_found_are_counted() -> None:
    assert town.exact(["noon", "Noon", "at noon", ""], ["noon", "noon", "noon", ""]).tolist() == [1, 0, 0, 1]
    found, places = [[3, 1, 2], [0, 2, 1]], [1, 1]
    assert [town.recall_at(found, places, k).tolist() for k in (1, 2, 3)] == [[0, 0], [1, 0], [1, 1]]
    those = [problems.Problem("a", "A?", "5")]
    for counted in (town.exact(["a"], ["a"]), town.recall_at(found, places, 1), problems.solved(["5"], those)):
        assert counted.dtype == np.float64


def test_a_lead_weighs_both_kinds_of_questions_alike() -> None:
    there, missing = np.array([1.0, 5.0]), np.array([2.0] * 9 + [6.0])
    # At 2 half are kept and none refused; at 5 half are kept and 9 of 10 refused; at 6 none is kept, 9 of 10 refused.
    assert town.choose_lead(there, missing) == 5.0
    assert town.choose_lead(np.array([1.0] * 10), np.array([0.5, 2.0])) == 1.0
    assert town.choose_lead(np.array([1.0] * 10), np.array([0.5, 1.5, 3.0])) == 1.0


def test_facts_learned_by_heart_are_answered_without_notes_and_the_base_stays(loaded: tuple[Any, Any]) -> None:
    base, tokenizer = loaded
    facts = town.read_town()[0][:4]
    before = {name: weight.clone() for name, weight in base.named_parameters()}
    questions, wanted = [fact.question for fact in facts], [fact.answer for fact in facts]
    assert town.exact(town.read_answers(base, tokenizer, questions, [""] * 4), wanted).sum() <= 1
    model = town.memorize(base, tokenizer, facts)
    assert town.exact(town.read_answers(model, tokenizer, questions, [""] * 4), wanted).sum() >= 3
    assert all(torch.equal(before[name], weight) for name, weight in base.named_parameters())
    assert not model.training


def test_facts_are_learned_in_25_steps_that_get_smaller(
    loaded: tuple[Any, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    steps: list[tuple[float, float]] = []
    bars: list[tuple[float, str]] = []
    moves: list[float] = []

    class Recorder(torch.optim.AdamW):
        def step(self, closure: Any = None) -> Any:
            steps.append((self.param_groups[0]["lr"], self.param_groups[0]["weight_decay"]))
            return super().step(closure)

    @contextmanager
    def bar(total: float, what: str) -> Iterator[Any]:
        bars.append((total, what))
        yield SimpleNamespace(update=moves.append)

    monkeypatch.setattr(torch.optim, "AdamW", Recorder)
    monkeypatch.setattr(town, "bar", bar)
    town.memorize(*loaded, town.read_town()[0][:2])
    assert [rate for rate, _ in steps] == pytest.approx([5e-3 * left / 25 for left in range(25, 0, -1)])
    assert {decay for _, decay in steps} == {0.0}
    assert (bars, moves) == ([(25, "learning facts by heart")], [1] * 25)


# -------------------------------------------------------------------------------------------------------- the problems


def test_problems_are_drawn_by_seed_and_named_where_there_are_too_few() -> None:
    assert problems.of_kind("new story") == problems.of_kind("new story", 100, 0)
    assert problems.of_kind("new story", 5, 0) != problems.of_kind("new story", 5, 1)
    with pytest.raises(LabError, match="^1000000 problems of the kind new story are needed"):
        problems.of_kind("new story", 10**6)
    with pytest.raises(LabError, match=r"kind 'four steps'\. There are: .*sum above 100.*Name one of them"):
        problems.of_kind("four steps")
    assert problems.to_practise() == problems.to_practise("practice") != problems.to_practise("validation")
    assert (len(problems.to_practise()), len(problems.to_practise("validation"))) == (1200, 200)
    with pytest.raises(LabError, match="sum above 100, new story, new story, never practised"):
        problems.of_kind("four steps")


def test_what_is_asked_is_the_problem_at_once_or_step_by_step() -> None:
    (problem,) = those = [problems.Problem("lamps", "Two lamps and three. How many?", "5")]
    for worked, prompt in ((True, prompts.REASONING_PROMPT), (False, prompts.PROBLEM_PROMPT)):
        (asked,) = problems.worded(those, worked)
        assert (asked.task, asked.source, asked.target) == (
            "word problem",
            prompt.format(problem=problem.text),
            "5",
        )
    assert problems.worded(those) == problems.worded(those, True)
    assert problems.solved(["2 + 3 = 5", "5 or 6", "none"], those * 3).tolist() == [1, 0, 0]


def test_solutions_are_greedy_and_attempts_are_sampled(monkeypatch: pytest.MonkeyPatch) -> None:
    those = [problems.Problem("a", "A?", "5"), problems.Problem("b", "B?", "6")]
    told: list[Any] = []

    def generate(model: Any, tokenizer: Any, asked: list[str], config: Any) -> list[str]:
        told.append((asked, config.do_sample, config.max_new_tokens))
        return asked

    def sample(model: Any, tokenizer: Any, asked: list[str], configs: Any, attempts: int, seed: int) -> Any:
        told.append((asked, attempts, seed, configs[""].do_sample, configs[""].temperature))
        assert (model, tokenizer) == NOBODY
        return {"": [["it is 5", "it is 6", "5 it is"], ["6", "6", "5"]]}

    monkeypatch.setattr(problems.generation, "generate", generate)
    monkeypatch.setattr(problems.generation, "sample", sample)
    asked = {worked: [each.source for each in problems.worded(those, worked)] for worked in (True, False)}
    assert problems.write_solutions(*NOBODY, those) == asked[True]
    assert problems.write_solutions(*NOBODY, those, worked=False) == asked[False]
    assert problems.attempts_right(*NOBODY, those, 3).tolist() == [2, 2]
    problems.attempts_right(*NOBODY, those, 3, seed=4)
    assert told[:2] == [(asked[True], False, 48), (asked[False], False, 48)]
    assert told[2:] == [(asked[True], 3, 0, True, 1.0), (asked[True], 3, 4, True, 1.0)]


def test_k_attempts_are_a_whole_number_of_them() -> None:
    with pytest.raises(LabError, match="^k is 0"):
        problems.pass_at_k([1], 4, 0)
    assert problems.pass_at_k([0, 4, 1], 4, 4).tolist() == [0, 1, 1]


def test_the_calculator_says_what_it_takes() -> None:
    assert calculator.calculate("1" + " + 1" * 49) == 50
    assert calculator.calculate(" " * 195 + "7 + 8") == 15
    assert calculator.calculate("999999999999998 + 1") == 10**15 - 1
    refused: list[tuple[Any, str]] = [
        (" " * 196 + "7 + 8", "it takes a text of at most 200 characters"),
        (5, "it takes a text"),
        ("999999999999999 + 1", "the numbers get too large"),
        ("0 - 999999999999999 - 1", "the numbers get too large"),
        ("7 8", "that is no expression"),
        ("7 / 8", "and nothing else"),
        ("True + 1", "and nothing else"),
        ("+7", "and nothing else"),
        ("-(7 / 8)", "and nothing else"),
        ("1 + 7 / 8", "and nothing else"),
        ("7 / 8 + 1", "and nothing else"),
    ]
    for odd, words in refused:
        with pytest.raises(LabError) as refusal:
            calculator.calculate(odd)
        assert str(refusal.value).startswith(f"The calculator cannot work out {str(odd)[:60]!r}: ")
        assert words in str(refusal.value)
    assert calculator.asked_for("7 + 8 = ") == 15
    assert calculator.asked_for("7 +* 8 =") is None


def test_a_model_is_interrupted_at_each_equals_sign_and_goes_on_with_the_result(loaded: tuple[Any, Any]) -> None:
    those = problems.of_kind("sum above 100", 4)
    sources = [each.source for each in problems.worded(those)]
    texts = calculator.write_with_calculator(*loaded, sources)
    for text in texts:
        sums = re.findall(r"(\d+) ([-+*]) (\d+) = (\d+)", text)
        assert sums, text
        for left, sign, right, result in sums:
            assert calculator.calculate(f"{left} {sign} {right}") == int(result)
        assert text.endswith(f"The answer is {sums[-1][-1]}."), text
        assert text == text.strip()
    alone = calculator.write_with_calculator(*loaded, sources[:1])
    assert alone == texts[:1], "what stands beside a text does not change it"
    assert calculator.write_with_calculator(*loaded, sources) == calculator.write_with_calculator(
        *loaded, sources, finish=True, most=48
    )
    by_itself = calculator.write_with_calculator(*loaded, sources, finish=False)
    assert [text.split("The answer")[0] for text in by_itself] == [text.split("The answer")[0] for text in texts]
    short = calculator.write_with_calculator(*loaded, sources, most=3)
    assert all(0 < len(text) < len(whole) for text, whole in zip(short, texts, strict=True))
    was = loaded[0].training
    assert not was, "and the model is left as it was"


# ------------------------------------------------------------------------------------------------------ smaller models


def test_int8_takes_less_and_pruning_does_not(loaded: tuple[Any, Any]) -> None:
    base = loaded[0]
    whole = deployment.bytes_of(base)
    assert whole == 4 * base.num_parameters()
    assert deployment.bytes_of(deployment.quantized(base)) < 0.6 * whole
    pruned = deployment.pruned(base, 0.4)
    assert deployment.bytes_of(pruned) == whole
    zeros = sum(int((weight == 0).sum()) for weight in pruned.parameters())
    assert zeros / pruned.num_parameters() == pytest.approx(0.31, abs=0.005), "three of ten of the whole model"
    weight = pruned.encoder.block[0].layer[0].SelfAttention.q.weight
    assert float((weight == 0).float().mean()) == pytest.approx(0.4, abs=0.01)
    assert torch.equal(pruned.get_input_embeddings().weight, base.get_input_embeddings().weight)
    with pytest.raises(LabError, match="from 0 to below 1"):
        deployment.pruned(base, 1.0)


def test_int8_has_127_and_a_half_steps_and_uses_minus_128(loaded: tuple[Any, Any]) -> None:
    whole = dict(loaded[0].named_modules())
    lowest = []
    for name, module in deployment.quantized(loaded[0]).named_modules():
        if isinstance(module, torch.ao.nn.quantized.dynamic.Linear):
            weight = module._weight_bias()[0]
            lowest.append(int(weight.int_repr().min()))
            steps = float(whole[name].weight.detach().abs().max()) / weight.q_scale()
            assert steps == pytest.approx(127.5, rel=1e-5)
    assert min(lowest) == -128


def test_int8_is_computed_on_apples_chips_too(loaded: tuple[Any, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """There PyTorch has one engine for it and chooses none."""
    backend = SimpleNamespace(engine="none")
    monkeypatch.setattr(torch.backends, "quantized", backend)
    deployment.quantized(loaded[0])
    assert backend.engine == "qnnpack"


def test_the_soft_loss_is_the_divergence_of_pytorch() -> None:
    draw = torch.Generator().manual_seed(0)
    student, teacher = (torch.randn(2, 3, 7, generator=draw) for _ in range(2))
    counted = torch.tensor([[True, True, False], [True, False, False]])
    known = torch.nn.functional.kl_div(
        student[counted].log_softmax(-1), teacher[counted].log_softmax(-1), reduction="batchmean", log_target=True
    )
    torch.testing.assert_close(deployment.soft_loss(student, teacher, counted), known)
    assert float(deployment.soft_loss(teacher, teacher, counted)) == pytest.approx(0, abs=1e-6)


def test_a_student_learns_from_its_teacher(loaded: tuple[Any, Any]) -> None:
    base, tokenizer = loaded
    student = deployment.student_of(base, (0, 1, 2, 3), (0, 2))
    assert (len(student.decoder.block), len(base.decoder.block)) == (2, 3)
    rows = data.load_split(load_profile("mini").dataset, "validation")[:2]
    pairs = [(prompts.zero_shot(row.dialogue), row.summary) for row in rows]
    losses = deployment.distill(student, base, tokenizer, pairs, steps=8, batch_size=2)
    assert losses[-1] < 0.7 * losses[0]
    with pytest.raises(LabError, match="cannot be kept"):
        deployment.student_of(base, (0, 1, 2, 3), (1, 2))
    with pytest.raises(LabError, match="reads for both"):
        deployment.distill(deployment.student_of(base, (0, 1), (0, 2)), base, tokenizer, pairs)
