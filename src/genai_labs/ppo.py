"""Proximal policy optimization (PPO) for encoder-decoder models: the mathematics, as pure functions on tensors.

Every tensor is [batch, time]. ``mask`` is 1 at the tokens of a response that count, from the first generated one to
the end token, and 0 behind them; what stands at masked positions of an input never matters, and outputs are 0 there.

Schulman et al. 2017, https://arxiv.org/abs/1707.06347 (the clipped loss); Schulman et al. 2015,
https://arxiv.org/abs/1506.02438 (advantages); Ziegler et al. 2019, https://arxiv.org/abs/1909.08593 (the KL penalty).
"""

from __future__ import annotations

import torch
from torch import Tensor

EPSILON = 1e-8  # under the root of the variance when advantages are whitened


def masked_mean(x: Tensor, mask: Tensor) -> Tensor:
    """The mean over all tokens that count, a scalar: a long response weighs more than a short one."""
    return torch.where(mask.bool(), x, 0).sum() / mask.sum()


def token_rewards(scores: Tensor, logprobs: Tensor, ref_logprobs: Tensor, mask: Tensor, kl_coef: float) -> Tensor:
    """The reward of each token: minus ``kl_coef`` times its KL term, and the score of the whole text at its last token.

    scores: [batch], one number a response. logprobs, ref_logprobs: of the sampled tokens, under the policy that
    sampled them and under the reference model, nats.
    """
    rewards = torch.where(mask.bool(), -kl_coef * (logprobs - ref_logprobs), 0)
    places = torch.arange(mask.shape[1], device=mask.device)
    last = (mask * places).argmax(1)
    written = mask.sum(1) > 0
    return rewards.scatter_add(1, last[:, None], torch.where(written, scores, 0).to(rewards.dtype)[:, None])


def gae(rewards: Tensor, values: Tensor, mask: Tensor, gamma: float, lam: float) -> tuple[Tensor, Tensor]:
    """Generalized advantage estimation: (advantages, returns), before whitening.

    With V the value of the state before a token, 0 behind the end:
    delta_t = r_t + gamma V_{t+1} - V_t, A_t = delta_t + gamma lam A_{t+1}, return_t = A_t + V_t.
    """
    rewards, values = (torch.where(mask.bool(), x, 0) for x in (rewards, values))
    following = torch.cat([values[:, 1:], torch.zeros_like(values[:, :1])], dim=1)
    deltas = rewards + gamma * following - values
    advantages = torch.zeros_like(deltas)
    running = torch.zeros_like(deltas[:, 0])
    for t in reversed(range(deltas.shape[1])):
        running = deltas[:, t] + gamma * lam * running
        advantages[:, t] = running
    return advantages * mask, (advantages + values) * mask


def whiten(x: Tensor, mask: Tensor) -> Tensor:
    """Shifted and scaled over all tokens that count to mean 0 and (unbiased) variance 1."""
    count = mask.sum()
    centred = x - masked_mean(x, mask)
    variance = masked_mean(centred**2, mask) * count / (count - 1)
    return torch.where(mask.bool(), centred * torch.rsqrt(variance + EPSILON), 0)


def ppo_loss(
    logprobs: Tensor,
    old_logprobs: Tensor,
    advantages: Tensor,
    values: Tensor,
    old_values: Tensor,
    returns: Tensor,
    mask: Tensor,
    clip: float,
    value_clip: float,
    value_coef: float,
) -> tuple[Tensor, dict[str, Tensor]]:
    """The clipped loss of policy and value head, a scalar to be minimized, and what it is made of.

    Policy: the ratio of new to old probability times the advantage, where a ratio outside [1 - clip, 1 + clip] gains
    nothing more. Value: half the squared error against the returns, where a value more than ``value_clip`` away from
    the old one gains nothing more either. ``value_coef`` weighs the second against the first.

    Stats, all scalars: policy_loss, value_loss (not weighed), policy_clipfrac and value_clipfrac (shares of tokens
    where clipping counts, 0 to 1), approx_kl (half the mean squared difference of log-probabilities, nats).
    """
    keep = mask.bool()
    # Log-probabilities behind the end may be anything, infinite too; 0 keeps their gradients 0 and not NaN.
    difference = torch.where(keep, logprobs - old_logprobs, 0)
    ratio = difference.exp()
    advantages = torch.where(keep, advantages, 0)
    unclipped, clipped = -advantages * ratio, -advantages * ratio.clamp(1 - clip, 1 + clip)
    policy_loss = masked_mean(torch.maximum(unclipped, clipped), mask)

    values, old_values, returns = (torch.where(keep, x, 0) for x in (values, old_values, returns))
    near = torch.clamp(values, old_values - value_clip, old_values + value_clip)
    error, near_error = (values - returns) ** 2, (near - returns) ** 2
    value_loss = 0.5 * masked_mean(torch.maximum(error, near_error), mask)

    stats = {
        "policy_loss": policy_loss,
        "value_loss": value_loss,
        "policy_clipfrac": masked_mean((clipped > unclipped).to(ratio.dtype), mask),
        "value_clipfrac": masked_mean((near_error > error).to(ratio.dtype), mask),
        "approx_kl": 0.5 * masked_mean(difference**2, mask),
    }
    return policy_loss + value_coef * value_loss, {name: x.detach() for name, x in stats.items()}
