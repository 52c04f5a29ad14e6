"""Proximal policy optimization (PPO) for encoder-decoder models, to be read from top to bottom.

First the formulas, as pure functions on tensors; then one update: responses are sampled, scored, and learned from; at
last the loop. The settings are in :mod:`genai_labs.rlhf.settings`, policy and reference in
:mod:`genai_labs.rlhf.policy`; what must always hold is checked by :mod:`genai_labs.rlhf.checks`, and what is logged is
defined in :mod:`genai_labs.rlhf.log`.

In the formulas every tensor is [batch, time], if nothing else is said. ``mask`` is 1 at the tokens of a response that
count, from the first generated one to the end token, and 0 behind them; what stands at masked positions of an input
never matters, and outputs are 0 there.

Schulman et al. 2017, https://arxiv.org/abs/1707.06347 (the clipped loss); Schulman et al. 2015,
https://arxiv.org/abs/1506.02438 (advantages); Ziegler et al. 2019, https://arxiv.org/abs/1909.08593 (the KL penalty,
its controller, and PPO for language models); Huang et al. 2022, "The 37 implementation details of PPO",
https://iclr-blog-track.github.io/2022/03/25/ppo-implementation-details/: the details that are numbered below.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from genai_labs.rlhf.checkpoints import Judge
from genai_labs.rlhf.checks import (
    ReferenceCheck,
    check_collapse,
    check_finite,
    check_mask,
    check_plan,
    check_ratio,
    check_start,
    checked_scores,
)
from genai_labs.rlhf.log import measure_update
from genai_labs.rlhf.policy import Policy, Reward, Rollout
from genai_labs.rlhf.record import PPORun, recorded
from genai_labs.rlhf.settings import Settings
from genai_labs.system import processes

EPSILON = 1e-8  # under the root of the variance when advantages are whitened

# The formulas.


def masked_mean(x: Tensor, mask: Tensor) -> Tensor:
    """The mean over all tokens that count, a scalar: a long response weighs more than a short one."""
    return torch.where(mask.bool(), x, 0).sum() / mask.sum()


def response_mask(tokens: Tensor, end: int) -> Tensor:
    """1 from the first token to the first end token, that one too, 0 behind it."""
    ended_before = (tokens == end).cumsum(1) - (tokens == end).int()
    return (ended_before == 0).int()


def cut_scores(scores: Tensor, limit: float | None) -> Tensor:
    """Scores beyond plus or minus ``limit`` are cut to it; None leaves them. [batch]"""
    return scores if limit is None else scores.clamp(-limit, limit)


def token_rewards(scores: Tensor, logprobs: Tensor, ref_logprobs: Tensor, mask: Tensor, kl_coef: float) -> Tensor:
    """The reward of each token: minus ``kl_coef`` times its KL term, and the score of the whole text at its last token.

    scores: [batch], one number a response. logprobs, ref_logprobs: of the sampled tokens, under the policy that
    sampled them and under the reference model, nats.
    """
    rewards = torch.where(mask.bool(), -kl_coef * (logprobs - ref_logprobs), 0)
    places = torch.arange(mask.shape[1], device=mask.device)  # [time]
    last = (mask * places).argmax(1)  # [batch], where the score stands
    written = mask.sum(1) > 0  # [batch]
    return rewards.scatter_add(1, last[:, None], torch.where(written, scores, 0).to(rewards.dtype)[:, None])


def gae(rewards: Tensor, values: Tensor, mask: Tensor, gamma: float, lam: float) -> tuple[Tensor, Tensor]:
    """Generalized advantage estimation (detail 5): (advantages, returns), before whitening.

    With V the value of the state before a token, 0 behind the end:
    delta_t = r_t + gamma V_{t+1} - V_t, A_t = delta_t + gamma lam A_{t+1}, return_t = A_t + V_t.
    """
    rewards, values = (torch.where(mask.bool(), x, 0) for x in (rewards, values))
    following = torch.cat([values[:, 1:], torch.zeros_like(values[:, :1])], dim=1)
    deltas = rewards + gamma * following - values
    advantages = torch.zeros_like(deltas)
    running = torch.zeros_like(deltas[:, 0])  # [batch]
    for t in reversed(range(deltas.shape[1])):
        running = deltas[:, t] + gamma * lam * running
        advantages[:, t] = running
    return advantages * mask, (advantages + values) * mask


def whiten(x: Tensor, mask: Tensor) -> Tensor:
    """Shifted and scaled over all tokens that count, of all processes, to mean 0 and (unbiased) variance 1."""
    count = processes.total(mask)
    centred = x - processes.total(torch.where(mask.bool(), x, 0)) / count
    biased = processes.total(torch.where(mask.bool(), centred**2, 0)) / count
    variance = biased * count / (count - 1)  # Bessel's correction
    return torch.where(mask.bool(), centred * torch.rsqrt(variance + EPSILON), 0)


def policy_loss(
    logprobs: Tensor, mask: Tensor, *, old_logprobs: Tensor, advantages: Tensor, clip: float
) -> tuple[Tensor, dict[str, Tensor]]:
    """The clipped loss of the policy (detail 8), a scalar to be minimized, and what is logged of it.

    The ratio of new to old probability times the advantage, where a ratio outside [1 - clip, 1 + clip] gains nothing
    more. Logged, all scalars: policy_loss, policy_clipfrac (share of tokens where clipping counts, 0 to 1), approx_kl
    (half the mean squared difference of log-probabilities, nats).
    """
    # Log-probabilities behind the end may be anything, infinite too; 0 keeps their gradients 0 and not NaN.
    difference = torch.where(mask.bool(), logprobs - old_logprobs, 0)
    ratio = difference.exp()
    advantages = torch.where(mask.bool(), advantages, 0)
    unclipped, clipped = -advantages * ratio, -advantages * ratio.clamp(1 - clip, 1 + clip)
    loss = masked_mean(torch.maximum(unclipped, clipped), mask)
    return loss, {
        "policy_loss": loss.detach(),
        "policy_clipfrac": masked_mean((clipped > unclipped).to(ratio.dtype), mask),
        "approx_kl": 0.5 * masked_mean(difference.detach() ** 2, mask),
    }


def value_loss(
    values: Tensor, mask: Tensor, *, old_values: Tensor, returns: Tensor, clip: float
) -> tuple[Tensor, dict[str, Tensor]]:
    """The clipped loss of the value head (detail 9), a scalar to be minimized, and what is logged of it.

    Half the squared error against the returns, where a value more than ``clip`` away from the old one gains nothing
    more. Logged, all scalars: value_loss, value_clipfrac (share of tokens where clipping counts, 0 to 1).
    """
    values, old_values, returns = (torch.where(mask.bool(), x, 0) for x in (values, old_values, returns))
    near = torch.clamp(values, old_values - clip, old_values + clip)
    error, near_error = (values - returns) ** 2, (near - returns) ** 2
    loss = 0.5 * masked_mean(torch.maximum(error, near_error), mask)
    return loss, {
        "value_loss": loss.detach(),
        "value_clipfrac": masked_mean((near_error > error).to(error.dtype), mask),
    }


def ppo_loss(logprobs: Tensor, values: Tensor, old: Rollout, settings: Settings) -> tuple[Tensor, dict[str, Tensor]]:
    """Both losses (detail 10; there is no bonus for entropy). old: the same responses before the policy moved."""
    of_policy, logged = policy_loss(
        logprobs, old.mask, old_logprobs=old.logprobs, advantages=old.advantages, clip=settings.clip
    )
    of_values, more = value_loss(values, old.mask, old_values=old.values, returns=old.returns, clip=settings.value_clip)
    return of_policy + settings.value_coef * of_values, logged | more


def next_kl_coef(kl_coef: float, kl: float, settings: Settings) -> float:
    """The KL coefficient for the next update: Ziegler et al. 2019, section 2.2, with their 0.2 as the largest error."""
    if settings.target_kl is None:
        return kl_coef
    error = min(max(kl / settings.target_kl - 1, -0.2), 0.2)
    return kl_coef * (1 + error * settings.batch_size / settings.kl_horizon)


# One update: responses are sampled and scored, then learned from.


def roll_out(
    policy: Policy,
    tokenizer: PreTrainedTokenizerBase,
    prompts: Sequence[str],
    reward: Reward,
    settings: Settings,
    kl_coef: float | None = None,
) -> Rollout:
    """Sample one response to each prompt, score it, and say what each of its tokens was good for."""
    kl_coef = settings.kl_coef if kl_coef is None else kl_coef
    start = time.perf_counter()
    states, source_mask = policy.read(tokenizer, prompts)  # [batch, source, d_model], [batch, source]
    tokens = policy.sample(states, source_mask, settings.max_new_tokens)  # [batch, time]
    mask = response_mask(tokens, tokenizer.eos_token_id)
    with torch.no_grad():
        logprobs, values, entropy = policy(states, source_mask, tokens, mask)  # [batch, time] each
    ref_logprobs = policy.reference(states, source_mask, tokens, mask)
    sampled = time.perf_counter()
    texts = [text.strip() for text in tokenizer.batch_decode(tokens * mask, skip_special_tokens=True)]
    scores = checked_scores(reward(texts), len(texts)).to(policy.device)  # [batch]
    scored = time.perf_counter()
    scores = cut_scores(scores, settings.score_clip)
    centred = scores - processes.mean(scores) if settings.center else scores
    rewards = token_rewards(centred, logprobs, ref_logprobs, mask, kl_coef)
    advantages, returns = gae(rewards, values, mask, settings.gamma, settings.lam)
    return Rollout(
        states=states,
        source_mask=source_mask,
        tokens=tokens,
        mask=mask,
        texts=texts,
        scores=scores,
        logprobs=logprobs,
        ref_logprobs=ref_logprobs,
        values=values,
        entropy=entropy,
        rewards=rewards,
        advantages=whiten(advantages, mask),  # detail 7, but over the batch, so that minibatches share one scale
        returns=returns,
        seconds=(sampled - start, scored - sampled),
    )


def learn(policy: Policy, optimizer: torch.optim.Optimizer, rollout: Rollout, settings: Settings) -> dict[str, float]:
    """Go through the responses ``epochs`` times in minibatches; the mean over all steps of what was measured."""
    start = time.perf_counter()
    parameters = list(policy.trained().values())
    steps: list[dict[str, Tensor]] = []
    for _ in range(settings.epochs):
        # Detail 6. The weight is 1, or this process's share of the minibatch where there are several.
        for rows, weight in processes.minibatches(rollout.mask, settings.minibatch):
            old = rollout.part(rows)
            logprobs, values, _ = policy(old.states, old.source_mask, old.tokens, old.mask)  # [minibatch, time] each
            if not steps:
                check_ratio(logprobs, old.logprobs, old.mask)
            loss, logged = ppo_loss(logprobs, values, old, settings)
            logged = {name: processes.total(x * weight) for name, x in logged.items()}
            steps.append(logged | {"gradient": take_step(optimizer, loss * weight, parameters, settings)})
    means = {name: float(torch.stack([step[name] for step in steps]).mean()) for name in steps[0]}
    return means | {"update_s": time.perf_counter() - start}


def take_step(
    optimizer: torch.optim.Optimizer, loss: Tensor, parameters: Sequence[Tensor], settings: Settings
) -> Tensor:
    """One step against the gradient of a loss; the length of the gradient before it is cut (detail 11), a scalar."""
    optimizer.zero_grad()
    loss.backward()
    processes.sum_gradients(parameters)
    length = torch.nn.utils.clip_grad_norm_(parameters, settings.max_grad_norm)
    check_finite(loss, length)
    optimizer.step()
    return length


# The loop.

Method = tuple[Callable[..., Rollout], Callable[..., dict[str, float]]]  # in place of roll_out and learn


def train(
    policy: Policy,
    tokenizer: PreTrainedTokenizerBase,
    prompts: Sequence[str],
    reward: Reward,
    settings: Settings,
    folder: Path | None = None,
    judge: Judge | None = None,
    probe: Callable[[Reward], object] | None = None,
    resume: bool = True,
    method: Method | None = None,
) -> PPORun:
    """Train the policy by PPO; it is changed in place.

    prompts: what it writes about; each is used once before one is used again. reward: texts to numbers. judge: asked
    before every ``judge_every``-th update; what it says is logged and never learned from. probe: called with the reward
    before anything else, to raise LabError if it rewards the wrong thing (:func:`toxicity.check_reward`).

    folder: where the log (``log.csv``) and the checkpoints go. A run of the same settings, prompts, start and reward
    that was interrupted there, at any moment, goes on from its last checkpoint and ends as an unbroken one would have;
    one that was finished is handed out again. resume: False trains anew. Raises LabError where an invariant is broken,
    and where the policy collapses, memory runs out, another process ends or another run uses the folder, naming the
    last good checkpoint; Interrupted, a KeyboardInterrupt that says what is kept, if somebody stops it.

    method: for those who learn from rollouts otherwise (:mod:`genai_labs.rlhf.group`).
    """
    sample, learn_from = method or (roll_out, learn)
    check_plan(prompts, settings)
    if probe is not None:
        probe(reward)
    optimizer = make_optimizer(policy, settings)
    reference: ReferenceCheck | None = None
    with recorded(policy, optimizer, prompts, reward, settings, folder, judge, resume) as record:
        for number in record.updates_left():
            judged = judge(policy.model) if judge and (number - 1) % settings.judge_every == 0 else None
            kl_coef = record.kl_coef
            # By seed and update alone, so that a run that goes on draws what an unbroken one would have drawn.
            with processes.random_numbers(settings.seed * 100_003 + number):
                batch = batch_of(prompts, number, settings)
                rollout = sample(policy, tokenizer, batch, reward, settings, kl_coef)
                check_mask(rollout, tokenizer.eos_token_id)
                if number == 1:
                    check_start(policy, rollout)
                reference = reference or ReferenceCheck(policy, rollout)
                set_rates(optimizer, settings, number)
                steps = learn_from(policy, optimizer, rollout, settings)
            reference.check(policy, weights_too=record.is_saved(number))
            row = measure_update(number, rollout, kl_coef, steps, judged, settings)
            check_collapse(row, settings)
            record.add(row, next_kl_coef(kl_coef, row["kl"], settings))
    return PPORun(policy, settings, folder, record.history)


def make_optimizer(policy: Policy, settings: Settings) -> torch.optim.Optimizer:
    """Adam; the value head, which starts from nothing, learns faster than the adapter."""
    adapter = [p for name, p in policy.trained().items() if "lora_" in name]
    groups: list[dict[str, Any]] = [{"params": adapter}, {"params": list(policy.value_head.parameters())}]
    optimizer = torch.optim.Adam(groups, betas=(0.9, 0.99))
    set_rates(optimizer, settings, number=1)
    return optimizer


def set_rates(optimizer: torch.optim.Optimizer, settings: Settings, number: float) -> None:
    """The learning rates of an update (detail 4), those of adapter and value head."""
    left = 1 - (number - 1) / settings.updates if settings.anneal else 1.0
    for group, times in zip(optimizer.param_groups, (1.0, settings.value_rate), strict=True):
        group["lr"] = times * settings.learning_rate * left


def batch_of(prompts: Sequence[str], number: int, settings: Settings) -> Sequence[str]:
    """The prompts of an update, or this process's share of them; by seed and number of the update alone."""
    places = range((number - 1) * settings.batch_size, number * settings.batch_size)
    orders = {
        epoch: random.Random(f"{settings.seed}-{epoch}").sample(range(len(prompts)), len(prompts))
        for epoch in {place // len(prompts) for place in places}
    }
    return processes.share([prompts[orders[place // len(prompts)][place % len(prompts)]] for place in places])
