"""The mathematics of PPO against reference numbers, against definitions written out, and at its edges."""

import json
from typing import Any

import pytest
import torch
from torch import Tensor

from genai_labs import ppo
from genai_labs.paths import ROOT

SHARED = ROOT.parent / "shared" / "data" / "ppo" / "parity.json"
KL, GAMMA, LAM, CLIP, COEF = 0.2, 1.0, 0.95, 0.2, 0.1


def tensor(values: Any) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


def agrees(ours: Tensor | None, theirs: Tensor) -> None:
    torch.testing.assert_close(ours, theirs, atol=1e-6, rtol=1e-6)


def shared_cases() -> dict[str, Any]:
    return json.loads(SHARED.read_text(encoding="utf-8"))["cases"] if SHARED.exists() else {}


@pytest.mark.skipif(not SHARED.exists(), reason="the reference numbers are not on this machine")
@pytest.mark.parametrize("name", ["basic", "strong_clipping"])
def test_agrees_with_the_reference_numbers_gradients_included(name: str) -> None:
    case = shared_cases()[name]
    given, wanted = ({k: tensor(v) for k, v in case[part].items()} for part in ("inputs", "outputs"))
    mask = given["masks"]
    rewards = ppo.token_rewards(given["scores"], given["logprobs_old"], given["logprobs_ref"], mask, KL)
    agrees(rewards, wanted["rewards"] * mask)
    advantages, returns = ppo.gae(rewards, given["values_old"], mask, GAMMA, LAM)
    agrees(advantages, wanted["advantages_before_whitening"] * mask)
    agrees(returns, wanted["returns"] * mask)
    whitened = ppo.whiten(advantages, mask)
    agrees(whitened, wanted["advantages_whitened"] * mask)
    logprobs, values = (given[n].requires_grad_() for n in ("logprobs_new", "vpreds_new"))
    loss, stats = ppo.ppo_loss(
        logprobs, given["logprobs_old"], whitened, values, given["values_old"], returns, mask, CLIP, CLIP, COEF
    )
    loss.backward()
    names = {
        "policy_loss": "policy_loss",
        "value_loss": "value_loss_unscaled",
        "policy_clipfrac": "policy_clipfrac",
        "value_clipfrac": "value_clipfrac",
        "approx_kl": "approxkl",
    }
    agrees(loss.detach(), wanted["total_loss"])
    for ours, theirs in names.items():
        agrees(stats[ours], wanted[theirs])
    agrees(logprobs.grad, wanted["grad_logprobs_new"])
    agrees(values.grad, wanted["grad_vpreds_new"])


# Two responses, of three tokens and of one, whose numbers can be followed with a pencil.
MASK = tensor([[1, 1, 1, 0], [1, 0, 0, 0]])
LOGPROBS = tensor([[-1.0, -2.0, -0.5, 9.0], [-1.5, 9.0, 9.0, 9.0]])
REFERENCE = tensor([[-1.5, -2.0, -1.0, -7.0], [-1.0, -7.0, -7.0, -7.0]])
VALUES = tensor([[0.5, 1.0, 0.0, 5.0], [2.0, 5.0, 5.0, 5.0]])
SCORES = tensor([2.0, -1.0])


def test_rewards_are_the_kl_penalty_and_the_score_at_the_last_token() -> None:
    rewards = ppo.token_rewards(SCORES, LOGPROBS, REFERENCE, MASK, 0.2)
    agrees(rewards, tensor([[-0.1, 0.0, 2.0 - 0.1, 0], [-1.0 + 0.1, 0, 0, 0]]))


def test_advantages_follow_the_definition() -> None:
    rewards = ppo.token_rewards(SCORES, LOGPROBS, REFERENCE, MASK, 0.2)
    advantages, returns = ppo.gae(rewards, VALUES, MASK, gamma=0.9, lam=0.5)
    third = 1.9 - 0.0
    second = (0.0 + 0.9 * 0.0 - 1.0) + 0.45 * third
    first = (-0.1 + 0.9 * 1.0 - 0.5) + 0.45 * second
    expected = tensor([[first, second, third, 0], [-0.9 - 2.0, 0, 0, 0]])
    agrees(advantages, expected)
    agrees(returns, (expected + VALUES) * MASK)


def test_with_lambda_one_the_return_is_the_discounted_sum_of_rewards() -> None:
    rewards = ppo.token_rewards(SCORES, LOGPROBS, REFERENCE, MASK, 0.2)
    _, returns = ppo.gae(rewards, VALUES, MASK, gamma=1.0, lam=1.0)
    summed = rewards.flip(1).cumsum(1).flip(1) * MASK
    agrees(returns, summed)


def test_whitened_advantages_have_mean_0_and_variance_1() -> None:
    x = tensor([[1.0, 5.0, -2.0, 100.0], [3.0, -100.0, 50.0, 7.0]])
    white = ppo.whiten(x, MASK)
    kept = white[MASK.bool()]
    assert kept.mean().item() == pytest.approx(0, abs=1e-9)
    assert kept.var().item() == pytest.approx(1, abs=1e-6)
    assert (white[~MASK.bool()] == 0).all()


def loss_of(logprobs: Tensor, values: Tensor | None = None) -> tuple[Tensor, dict[str, Tensor]]:
    advantages = tensor([[1.0, -1.0, 0.5, 77.0], [-0.5, 77.0, 77.0, 77.0]])
    returns = tensor([[1.0, 1.0, 1.0, 77.0], [1.0, 77.0, 77.0, 77.0]])
    new = VALUES if values is None else values
    return ppo.ppo_loss(logprobs, LOGPROBS, advantages, new, VALUES, returns, MASK, 0.2, 0.2, 0.1)


def test_an_unchanged_policy_has_ratio_1_and_no_kl() -> None:
    loss, stats = loss_of(LOGPROBS)
    assert stats["approx_kl"] == 0
    assert stats["policy_clipfrac"] == 0
    assert stats["policy_loss"].item() == pytest.approx(-(1.0 - 1.0 + 0.5 - 0.5) / 4)
    errors = [(0.5 - 1) ** 2, 0.0, 1.0, 1.0]
    assert stats["value_loss"].item() == pytest.approx(0.5 * sum(errors) / 4)
    assert loss.item() == pytest.approx((stats["policy_loss"] + 0.1 * stats["value_loss"]).item())


def test_a_ratio_beyond_the_clip_gains_nothing_more() -> None:
    moved = LOGPROBS.clone()
    moved[0, 0] += 0.5  # advantage 1: the loss would fall without the clip
    moved.requires_grad_()
    loss, stats = loss_of(moved)
    loss.backward()
    assert moved.grad is not None
    assert moved.grad[0, 0] == 0
    assert stats["policy_clipfrac"].item() == pytest.approx(1 / 4)
    assert stats["policy_loss"].item() == pytest.approx(-(1.2 - 1.0 + 0.5 - 0.5) / 4)


def test_a_value_beyond_the_clip_gains_nothing_more() -> None:
    values = VALUES.clone()
    values[0, 2] = 0.9  # the old one was 0, the return is 1
    values.requires_grad_()
    loss, stats = loss_of(LOGPROBS, values)
    loss.backward()
    assert values.grad is not None
    assert values.grad[0, 2] == 0
    assert stats["value_clipfrac"].item() == pytest.approx(1 / 4)


@pytest.mark.parametrize("junk", [0.0, 1e6, float("inf"), float("nan")])
def test_what_stands_behind_the_end_never_matters(junk: float) -> None:
    def spoiled(x: Tensor) -> Tensor:
        return torch.where(MASK.bool(), x, junk)

    logprobs, values = spoiled(LOGPROBS - 0.1).requires_grad_(), spoiled(VALUES + 0.1).requires_grad_()
    rewards = ppo.token_rewards(SCORES, spoiled(LOGPROBS), spoiled(REFERENCE), MASK, 0.2)
    advantages, returns = ppo.gae(spoiled(rewards), spoiled(VALUES), MASK, 1.0, 0.95)
    white = ppo.whiten(spoiled(advantages), MASK)
    loss, stats = ppo.ppo_loss(
        logprobs, spoiled(LOGPROBS), spoiled(white), values, spoiled(VALUES), spoiled(returns), MASK, 0.2, 0.2, 0.1
    )
    loss.backward()
    clean_rewards = ppo.token_rewards(SCORES, LOGPROBS, REFERENCE, MASK, 0.2)
    clean, _ = ppo.gae(clean_rewards, VALUES, MASK, 1.0, 0.95)
    agrees(advantages, clean)
    assert torch.isfinite(loss)
    for made in (rewards, advantages, returns, white, logprobs.grad, values.grad):
        assert made is not None
        assert (made[~MASK.bool()] == 0).all()
    assert all(torch.isfinite(value) for value in stats.values())


def test_gradients_are_right_to_double_precision() -> None:
    torch.manual_seed(0)
    mask = tensor([[1, 1, 1, 0], [1, 1, 0, 0]])
    old, advantages, old_values, returns = (torch.randn(2, 4, dtype=torch.float64) for _ in range(4))
    logprobs = (old + 0.05 * torch.randn(2, 4, dtype=torch.float64)).requires_grad_()
    values = (old_values + 0.05 * torch.randn(2, 4, dtype=torch.float64)).requires_grad_()

    def loss(x: Tensor, v: Tensor) -> Tensor:
        return ppo.ppo_loss(x, old, advantages, v, old_values, returns, mask, 0.2, 0.2, 0.1)[0]

    assert torch.autograd.gradcheck(loss, (logprobs, values))
