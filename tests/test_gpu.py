"""What the labs compute goes on where their models lie: on a GPU that is only pretended (see pretended_gpu.py)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch

from genai_labs.finetuning import lora
from genai_labs.loading import models
from genai_labs.loading.profiles import load_profile
from genai_labs.prompting import attention, decoding, generation
from genai_labs.reasoning import deployment, problems, town, verifiable
from genai_labs.rlhf import figures, kl, ppo
from genai_labs.rlhf.policy import Policy
from tests.ppo_runs import SHORT, asked
from tests.pretended_gpu import GPU, moved, pretended


@pytest.fixture(scope="module")
def loaded() -> tuple[Any, Any]:
    model, tokenizer = models.load_model(load_profile("mini"))
    return moved(model), tokenizer


@pytest.fixture(autouse=True)
def gpu() -> Iterator[None]:
    with pretended():
        yield


def test_the_pretended_gpu_refuses_what_an_apple_gpu_refuses(loaded: tuple[Any, Any]) -> None:
    x = torch.ones(2, 3, device=GPU)
    assert (x.device, (2 * x).device, x.cpu().device, x.sum().item()) == (GPU, GPU, torch.device("cpu"), 6.0)
    assert (x[torch.tensor([1])].device, x.to(torch.bfloat16).device, loaded[0].device) == (GPU, GPU, GPU)
    with pytest.raises(TypeError, match="float64"):
        x.double()
    with pytest.raises(TypeError, match="numpy"):
        x.numpy()
    with pytest.raises(RuntimeError, match="same device"):
        x + torch.ones(2, 3)
    with pytest.raises(RuntimeError, match="indices"):
        torch.ones(3)[torch.tensor([1], device=GPU)]


def test_texts_are_written_there(loaded: tuple[Any, Any]) -> None:
    (text,) = generation.generate(*loaded, asked()[:1], generation.greedy(6), progress=False)
    assert text
    assert decoding.fits(loaded[0], generation.complete(generation.greedy(6), loaded[0]))


def test_the_heat_map_of_attention_comes_from_there(loaded: tuple[Any, Any]) -> None:
    _, _, weights = attention.attention_by_line(*loaded, "A: Hello.\nB: Good day.", "They talk.")
    assert weights.sum(axis=1) == pytest.approx(1, abs=1e-5)


def test_the_kl_of_a_policy_is_measured_there(loaded: tuple[Any, Any]) -> None:
    model, tokenizer = loaded
    found = kl.kl_of_new_texts(Policy(model, SHORT), tokenizer, asked()[:2], 4)
    assert found["true KL"] == pytest.approx(0, abs=1e-5)


def test_how_far_weights_have_moved_is_measured_there() -> None:
    layers: list[Any] = [moved(torch.nn.Linear(2, 2, bias=False)) for _ in range(2)]
    with torch.no_grad():
        for layer, size in zip(layers, (3.0, 2.0), strict=True):
            layer.weight.fill_(size)
    assert lora.distance(*layers) == pytest.approx(0.5)


def test_problems_are_practised_there(loaded: tuple[Any, Any]) -> None:
    told: list[str] = []

    def every_other(text: str, answer: str) -> bool:
        told.append(text)
        return len(told) % 2 == 0

    asked_for = problems.worded(problems.to_practise()[:2])
    practice = verifiable.Practice(updates=1, problems=2, group=2, minibatch=2, epochs=1, max_new_tokens=4)
    policy, history = verifiable.practise(*loaded, asked_for, every_other, practice)
    assert history[0]["mixed"] == 1
    assert any(weight.any() for name, weight in policy.trained().items() if "lora_B" in name)


def test_facts_are_learned_by_heart_there(loaded: tuple[Any, Any]) -> None:
    learned = town.memorize(
        *loaded, [town.Fact("Library: open on Monday.", "When is the library open?", "on Monday")], steps=2
    )
    assert any(weight.any() for name, weight in learned.named_parameters() if "lora_B" in name)


def test_the_fate_of_tokens_is_drawn_from_there(loaded: tuple[Any, Any]) -> None:
    policy = Policy(loaded[0], SHORT)
    rollout = ppo.roll_out(policy, loaded[1], asked()[:2], lambda texts: [0.0] * len(texts), SHORT)
    shifts = {"before": torch.zeros_like(rollout.logprobs)}
    assert "sum 0.00" in str(figures.token_shifts(rollout, loaded[1], 0, shifts))


def test_a_student_is_taught_there(loaded: tuple[Any, Any]) -> None:
    model, tokenizer = loaded
    student = deployment.student_of(model, range(model.config.num_layers), [0])
    student.requires_grad_(True)  # a policy above has frozen the weights that both stand on
    (loss,) = deployment.distill(student, model, tokenizer, [("A: Hello.", "They talk."), ("B: Bye.", "No.")], 1, 2)
    assert loss > 0
