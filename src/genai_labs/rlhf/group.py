"""GRPO and RLOO: what PPO becomes without its value head. To be read after :mod:`genai_labs.rlhf.ppo`.

To each prompt several responses are sampled, a *group*, and each is compared with the others of its group, where PPO
compares it with what the value head foresaw. The loop, the rollout, its checks and the record are PPO's.

Shao et al. 2024, https://arxiv.org/abs/2402.03300, equations 3 and 4 (GRPO); Ahmadian et al. 2024,
https://arxiv.org/abs/2402.14740, section 3 (RLOO). On its first step on a batch RLOO follows an unbiased estimate of
the gradient; later ones, on responses that an older policy wrote, are clipped as in trl.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from genai_labs.inputs.allowed import Allowed, setting
from genai_labs.rlhf import ppo
from genai_labs.rlhf.checks import check_ratio
from genai_labs.rlhf.policy import Policy, Reward, Rollout
from genai_labs.rlhf.settings import GroupedSettings
from genai_labs.system import processes

EPSILON = 1e-4  # added to the standard deviation of a group, whose scores may all be the same


@dataclass(frozen=True)
class GroupSettings(GroupedSettings):
    """Those of PPO, of which the value head's do nothing here, the size of a group, and the method."""

    method: str = setting("grpo", Allowed("grpo or rloo", lambda x: x in ("grpo", "rloo")))
    """grpo: advantages in standard deviations, KL in the loss; rloo: leave-one-out baseline, KL in the reward."""

    @property
    def name(self) -> str:
        """What the training is called in its bar."""
        return self.method.upper()


def group_advantages(scores: Tensor, group: int) -> Tensor:
    """GRPO: how far each score lies above the mean of its group, in standard deviations of the group. [batch] each."""
    grouped = scores.view(-1, group)  # [prompts, group]
    centred = grouped - grouped.mean(1, keepdim=True)  # [prompts, group]
    return (centred / (grouped.std(1, keepdim=True) + EPSILON)).flatten()  # [batch]


def leave_one_out(scores: Tensor, group: int) -> Tensor:
    """RLOO: how far each score lies above the mean of the *others* of its group. [batch] each."""
    grouped = scores.view(-1, group)  # [prompts, group]
    others = (grouped.sum(1, keepdim=True) - grouped) / (group - 1)  # [prompts, group], without the score itself
    return (grouped - others).flatten()  # [batch]


def grpo_loss(
    logprobs: Tensor, mask: Tensor, *, old_logprobs: Tensor, ref_logprobs: Tensor, advantages: Tensor, clip: float,
    kl_coef: float,
) -> Tensor:  # fmt: skip
    """Minus the clipped gain of each token, plus ``kl_coef`` times its k3; the mean of the responses' means, a scalar.

    advantages: [batch], one for all tokens of a response; all others: [batch, time].
    """
    ratio = torch.where(mask.bool(), logprobs - old_logprobs, 0).exp()  # [batch, time]
    each = advantages[:, None]  # [batch, 1]
    gain = torch.minimum(ratio * each, ratio.clamp(1 - clip, 1 + clip) * each)  # [batch, time]
    away = torch.where(mask.bool(), ref_logprobs - logprobs, 0)  # [batch, time], log(reference / policy)
    k3 = torch.expm1(away) - away  # [batch, time], never below 0
    return -((gain - kl_coef * k3) * mask).sum(1).div(mask.sum(1)).mean()


def rloo_loss(logprobs: Tensor, mask: Tensor, *, old_logprobs: Tensor, advantages: Tensor, clip: float) -> Tensor:
    """Minus the clipped gain of each whole response, whose ratio is that of its probabilities; the mean, a scalar.

    advantages: [batch], with the price of KL in them; all others: [batch, time].
    """
    ratio = torch.where(mask.bool(), logprobs - old_logprobs, 0).sum(1).exp()  # [batch]
    return -torch.minimum(ratio * advantages, ratio.clamp(1 - clip, 1 + clip) * advantages).mean()


def roll_out_groups(
    policy: Policy, tokenizer: PreTrainedTokenizerBase, prompts: Sequence[str], reward: Reward,
    settings: GroupSettings, kl_coef: float | None = None,
) -> Rollout:  # fmt: skip
    """PPO's rollout of the first prompts, ``group`` responses to each side by side; as many responses as prompts."""
    asked = [prompt for prompt in prompts[: len(prompts) // settings.group] for _ in range(settings.group)]
    rollout = ppo.roll_out(policy, tokenizer, asked, reward, settings, kl_coef)
    if settings.method == "grpo":
        advantages = group_advantages(rollout.scores, settings.group)  # [batch]
    else:  # the price of KL, summed over the response, is a part of its reward
        advantages = leave_one_out(rollout.scores - settings.kl_coef * rollout.kl, settings.group)  # [batch]
    return replace(rollout, advantages=advantages[:, None] * rollout.mask)  # [batch, time]


def learn_from_groups(
    policy: Policy, optimizer: torch.optim.Optimizer, rollout: Rollout, settings: GroupSettings
) -> dict[str, float]:
    """As :func:`genai_labs.rlhf.ppo.learn`, with the loss of the method."""
    start, steps = time.perf_counter(), list[tuple[float, float]]()
    for _ in range(settings.epochs):
        for rows, _ in processes.minibatches(rollout.mask, settings.minibatch):
            old = rollout.part(rows)
            logprobs, _, _ = policy(old.states, old.source_mask, old.tokens, old.mask)  # [minibatch, time]
            if not steps:
                check_ratio(logprobs, old.logprobs, old.mask)
            known: dict[str, Any] = {"old_logprobs": old.logprobs, "advantages": old.advantages[:, 0]}
            if settings.method == "grpo":
                known |= {"ref_logprobs": old.ref_logprobs, "kl_coef": settings.kl_coef}
            formula: Any = {"grpo": grpo_loss, "rloo": rloo_loss}[settings.method]
            loss = formula(logprobs, old.mask, clip=settings.clip, **known)
            length = ppo.take_step(optimizer, loss, list(policy.trained().values()), settings)
            steps.append((float(loss.detach()), float(length)))
    mean, gradient = torch.tensor(steps).mean(0).tolist()
    return {"policy_loss": mean, "gradient": gradient, "update_s": time.perf_counter() - start}


METHOD: ppo.Method = (roll_out_groups, learn_from_groups)  # for ppo.train
