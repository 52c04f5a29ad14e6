"""DPO: learning from pairs of texts, without a reward in the loop. To be read after :mod:`genai_labs.rlhf.ppo`.

The pairs come from the policy itself, before it learns: to each prompt several responses are sampled, and of those the
reward model's best and worst are kept. Then nothing more is sampled. The reference is the policy with its adapter off.

Rafailov et al. 2023, https://arxiv.org/abs/2305.18290, equation 7 (the loss). Pairs of one's own samples, ranked by a
reward model: as Liu et al. 2023, https://arxiv.org/abs/2309.06657, and many after them.
"""

from __future__ import annotations

import random
import time
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid
from transformers import PreTrainedTokenizerBase

from genai_labs.errors import LabError
from genai_labs.rlhf import ppo
from genai_labs.rlhf.checks import (
    ReferenceCheck,
    check_mask,
    check_plan,
    check_ratio,
    check_start,
    collapse_in_words,
)
from genai_labs.rlhf.policy import Pairs, Policy, Reward
from genai_labs.rlhf.settings import PairSettings
from genai_labs.system import processes, progress

MEND_REWARD = "Mend the reward: it has to give each text a number."


def whole_logprobs(logprobs: Tensor, mask: Tensor) -> Tensor:
    """The log-probability of each response: the sum over its tokens, nats. [batch, time] each to [batch]."""
    return torch.where(mask.bool(), logprobs, 0).sum(1)


def dpo_loss(chosen: Tensor, rejected: Tensor, ref_chosen: Tensor, ref_rejected: Tensor, beta: float) -> Tensor:
    """-log sigmoid(beta ((chosen - ref_chosen) - (rejected - ref_rejected))), mean over pairs: a scalar.

    Log-probabilities of whole responses, [pairs] each, by the policy and by the reference.
    """
    return -logsigmoid(beta * ((chosen - ref_chosen) - (rejected - ref_rejected))).mean()


def best_and_worst(scores: Tensor, group: int) -> tuple[Tensor, Tensor]:
    """The rows of the highest and of the lowest score of each group, whose scores differ; [pairs] each, at most
    [prompts]. scores: [prompts * group], groups side by side."""
    grouped = scores.view(-1, group)  # [prompts, group]
    first = torch.arange(len(grouped), device=scores.device) * group  # [prompts], the row where each group begins
    differ = grouped.amax(1) > grouped.amin(1)  # [prompts]
    return (first + grouped.argmax(1))[differ], (first + grouped.argmin(1))[differ]


def make_pairs(
    policy: Policy, tokenizer: PreTrainedTokenizerBase, prompts: Sequence[str], reward: Reward, settings: PairSettings
) -> list[Pairs]:
    """Sample, score and pair: ``updates`` batches of ``batch_size`` responses each, to the first prompts of PPO's.

    Raises LabError where a reward is not a number, and where the rewards of no prompt differ.
    """
    check_plan(prompts, settings)
    made = []
    for number in progress.over(range(1, settings.updates + 1), f"{settings.name}, {settings.updates} batches"):
        with processes.random_numbers(settings.seed * 100_003 + number), collapse_in_words(MEND_REWARD):
            batch = ppo.batch_of(prompts, number, settings)
            asked = [p for p in batch[: len(batch) // settings.group] for _ in range(settings.group)]
            rollout = ppo.roll_out(policy, tokenizer, asked, reward, settings)
        check_mask(rollout, tokenizer.eos_token_id)
        check_start(policy, rollout)  # every batch, as the policy is to be the reference in all of them
        best, worst = best_and_worst(rollout.scores, settings.group)
        if len(best):  # else the reward gave all responses of each group the same
            made.append(Pairs(rollout.part(best), rollout.part(worst), [asked[row] for row in best.tolist()]))
    if not made:
        raise LabError(
            "There are no pairs to learn from: to each prompt the reward gave all responses the same. Take a reward "
            "that tells responses apart, or sample more of them (group, updates)."
        )
    return made


def learn_from_pairs(policy: Policy, pairs: Sequence[Pairs], settings: PairSettings) -> list[dict[str, float]]:
    """Go through the pairs ``epochs`` times, a batch of them a step. A row of numbers for each epoch."""
    optimizer, reference = ppo.make_optimizer(policy, settings), ReferenceCheck(policy, pairs[0].chosen)
    steps, rows, total = 0, [], settings.epochs * len(pairs)
    for epoch in progress.over(range(settings.epochs), f"{settings.name}, {settings.epochs} epochs"):
        start, losses = time.perf_counter(), []
        for batch in random.Random(f"{settings.seed}-{epoch}").sample(list(pairs), len(pairs)):
            ppo.set_rates(optimizer, settings, 1 + steps * settings.updates / total)
            new: list[Tensor] = []  # chosen, rejected
            ref: list[Tensor] = []
            for side in (batch.chosen, batch.rejected):
                logprobs, _, _ = policy(side.states, side.source_mask, side.tokens, side.mask)  # [pairs, time]
                if not steps:
                    check_ratio(logprobs, side.ref_logprobs, side.mask)
                new.append(whole_logprobs(logprobs, side.mask))  # [pairs]
                ref.append(whole_logprobs(side.ref_logprobs, side.mask))  # [pairs]
            loss = dpo_loss(new[0], new[1], ref[0], ref[1], settings.beta)
            with collapse_in_words("Train again with a lower learning rate."):
                ppo.take_step(optimizer, loss, list(policy.trained().values()), settings)
            losses.append(float(loss.detach()))
            steps += 1
        reference.check(policy, weights_too=epoch == settings.epochs - 1)
        rows.append({"epoch": epoch + 1, "loss": sum(losses) / len(losses), "update_s": time.perf_counter() - start})
    return rows
