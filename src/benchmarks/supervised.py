"""Supervised training on references, by the policy's own adapter: what the rivals of PPO are measured against.

The loss is the mean negative log-probability of the references' tokens, as in Lab 2. It needs what none of the others
has: a text for each prompt that says what should have been written.
"""

from __future__ import annotations

import random
import time
from collections.abc import Sequence

from torch import Tensor
from transformers import PreTrainedTokenizerBase

from genai_labs.errors import LabError
from genai_labs.rlhf import ppo
from genai_labs.rlhf.checks import check_plan, collapse_in_words
from genai_labs.rlhf.policy import Policy
from genai_labs.rlhf.settings import Settings
from genai_labs.system import progress


def reference_loss(logprobs: Tensor, mask: Tensor) -> Tensor:
    """The mean negative log-probability of the tokens that count, nats, a scalar. [batch, time] each."""
    return -ppo.masked_mean(logprobs, mask)


def target_tokens(tokenizer: PreTrainedTokenizerBase, texts: Sequence[str], longest: int) -> Tensor:
    """Token ids of texts with their end tokens, cut to ``longest`` and padded, [texts, time]."""
    read = tokenizer(list(texts), padding=True, truncation=True, max_length=longest, return_tensors="pt")
    return read["input_ids"]


def train_on_references(
    policy: Policy,
    tokenizer: PreTrainedTokenizerBase,
    prompts: Sequence[str],
    references: Sequence[str],
    settings: Settings,
) -> list[dict[str, float]]:
    """Train the policy on one reference for each prompt, in place; a row of numbers for each epoch.

    Settings are PPO's: the prompts of its ``updates`` batches are gone through ``epochs`` times in minibatches. Raises
    LabError where prompts and references do not pair up.
    """
    check_plan(prompts, settings)
    if len(references) != len(prompts):
        raise LabError(
            f"There are {len(prompts)} prompts, but {len(references)} references, and each prompt is learned with its "
            "own. Give as many, in the same order."
        )
    told = dict(zip(prompts, references, strict=True))
    asked = [p for number in range(1, settings.updates + 1) for p in ppo.batch_of(prompts, number, settings)]
    optimizer, rows, steps = ppo.make_optimizer(policy, settings), [], 0
    before, total = policy.fingerprint(), settings.epochs * len(asked) // settings.minibatch
    for epoch in progress.over(range(settings.epochs), f"references, {settings.epochs} epochs"):
        start, losses = time.perf_counter(), []
        order = random.Random(f"{settings.seed}-{epoch}").sample(asked, len(asked))
        for begin in range(0, len(order), settings.minibatch):
            ppo.set_rates(optimizer, settings, 1 + steps * settings.updates / total)
            batch = order[begin : begin + settings.minibatch]
            states, source_mask = policy.read(tokenizer, batch)  # [minibatch, source, d_model], [minibatch, source]
            tokens = target_tokens(tokenizer, [told[p] for p in batch], settings.max_new_tokens).to(policy.device)
            mask = ppo.response_mask(tokens, tokenizer.eos_token_id)  # [minibatch, time]
            logprobs, _, _ = policy(states, source_mask, tokens, mask)  # [minibatch, time]
            loss = reference_loss(logprobs, mask)
            with collapse_in_words("Train again with a lower learning rate."):
                ppo.take_step(optimizer, loss, list(policy.trained().values()), settings)
            losses.append(float(loss.detach()))
            steps += 1
        rows.append({"epoch": epoch + 1, "loss": sum(losses) / len(losses), "update_s": time.perf_counter() - start})
    if policy.fingerprint() != before:
        raise LabError("The weights below the adapter have changed, and only the adapter may be trained.")
    return rows
