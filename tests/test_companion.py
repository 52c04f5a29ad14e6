"""What stands behind the companion notebook: data that keep apart what must be, tools and formulas that are right."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from genai_labs.errors import LabError
from genai_labs.loading import data, models
from genai_labs.loading.profiles import load_profile
from genai_labs.prompting import prompts
from genai_labs.reasoning import acting, calculator, deployment, problems, town, verifiable
from genai_labs.rlhf.group import group_advantages


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


# ------------------------------------------------------------------------------------------------------ smaller models


def test_int8_takes_less_and_pruning_does_not(loaded: tuple[Any, Any]) -> None:
    base = loaded[0]
    whole = deployment.bytes_of(base)
    assert whole == 4 * base.num_parameters()
    assert deployment.bytes_of(deployment.quantized(base)) < 0.6 * whole
    pruned = deployment.pruned(base, 0.4)
    assert deployment.bytes_of(pruned) == whole
    weight = pruned.encoder.block[0].layer[0].SelfAttention.q.weight
    assert float((weight == 0).float().mean()) == pytest.approx(0.4, abs=0.01)
    assert torch.equal(pruned.get_input_embeddings().weight, base.get_input_embeddings().weight)
    with pytest.raises(LabError, match="from 0 to below 1"):
        deployment.pruned(base, 1.0)


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
