"""What must be true while PPO trains, whatever the settings; a failure is said in words, with the usual mistakes.

Whoever copies a PPO loop gets them all: a reward read from the wrong label, dropout in the scoring pass, padding that
is learned from, a reference that moves. Each makes the training fail without a word.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from genai_labs.errors import LabError
from genai_labs.rlhf.policy import Policy, Rollout
from genai_labs.rlhf.settings import Settings
from genai_labs.system.devices import has_bf16
from genai_labs.system.processes import process_count

# Nats a token, in the mean, by which the same question asked twice may be answered differently: in batches of the same
# shape, and of another shape with products in bf16, where single tokens are off by much more. Dropout moves the mean by
# more than a tenth.
ROUNDING, ROUNDING_BF16 = 1e-4, 2e-2
REMEMBERED = 4  # responses by which one sees that the reference has moved


def difference(a: Tensor, b: Tensor, mask: Tensor) -> float:
    """Mean absolute difference of log-probabilities over the tokens that count, nats."""
    return float((torch.where(mask.bool(), a - b, 0).abs().sum() / mask.sum()).detach())


class Collapse(Exception):
    """The policy is lost; the message says by what one sees it."""


@contextmanager
def collapse_in_words(remedy: str) -> Iterator[None]:
    """Inside, raises LabError in place of Collapse, where no :class:`.RunRecord` does; remedy: what to do next."""
    try:
        yield
    except Collapse as sign:
        raise LabError(f"Nothing can be learned, because {sign}. {remedy}") from None


def check_plan(prompts: Sequence[str], settings: Settings) -> None:
    """Raise LabError for what cannot be trained with."""
    if len(prompts) < settings.batch_size:
        raise LabError(
            f"There are {len(prompts)} prompts, but an update needs {settings.batch_size}. Pass more prompts, at best "
            "several updates' worth, or choose a smaller batch."
        )
    if settings.batch_size % process_count():
        raise LabError(
            f"A batch of {settings.batch_size} responses cannot be shared evenly by {process_count()} processes. "
            "Choose a multiple of their number."
        )


def checked_scores(given: Any, count: int) -> Tensor:
    """The scores that a reward gave, [count]; raises LabError where one is missing, Collapse if one is no number."""
    scores = torch.as_tensor(given).detach().float()
    if scores.shape != (count,):
        raise LabError(
            f"The reward gave a tensor of shape {list(scores.shape)} for {count} texts, but PPO needs one number for "
            f"each: [{count}]. Return the logit of one label, for instance logits[:, label]."
        )
    if not torch.isfinite(scores).all():
        raise Collapse(f"the reward of response {int((~torch.isfinite(scores)).nonzero()[0])} is not a number")
    return scores


def check_start(policy: Policy, rollout: Rollout) -> None:
    """Before the first update: no dropout, and policy and reference are the same model."""
    if any(module.training for module in policy.modules()):
        raise LabError(
            "The policy is in training mode, so dropout would change its probabilities from one pass to the next: the "
            "KL would count noise. Call policy.eval(); PPO trains in eval mode."
        )
    off = difference(rollout.logprobs, rollout.ref_logprobs, rollout.mask)
    if not off <= ROUNDING:
        raise LabError(
            f"Before the first update the KL between policy and reference must be 0, but they differ by {off:.3g} nats "
            f"a token. So they are not the same model, or not asked the same way: an adapter that is already "
            "trained, dropout, another reference, tokens out of place. Start from a fresh Policy of the summarizer."
        )


def check_ratio(logprobs: Tensor, old_logprobs: Tensor, mask: Tensor) -> None:
    """Before the first step on a batch every ratio is 1: the same weights are asked for the same tokens again."""
    off = difference(logprobs, old_logprobs, mask)
    if not off <= (ROUNDING_BF16 if has_bf16() else ROUNDING):
        raise LabError(
            f"Before the first step on a batch every probability ratio must be 1, but log-probabilities have moved by "
            f"{off:.3g} nats a token. So the two passes did not ask the same model the same way: dropout is on, or "
            "tokens, prompts or masks of the two do not match. Call policy.eval(), and score the tensors that were "
            "sampled."
        )


def check_mask(rollout: Rollout, end: int) -> None:
    """Nothing counts behind the end token, and everything up to it does."""
    for tokens, mask, rewards, advantages in zip(
        rollout.tokens.tolist(), rollout.mask.tolist(), rollout.rewards, rollout.advantages, strict=True
    ):
        length = tokens.index(end) + 1 if end in tokens else len(tokens)
        if sum(mask) != length or not all(mask[:length]) or rewards[length:].any() or advantages[length:].any():
            raise LabError(
                f"A response of {length} tokens, end token included, is counted as if it had {sum(mask)}: what stands "
                "behind the end is padding, which nobody wrote, and would be learned from. Use response_mask."
            )


def check_finite(loss: Tensor, gradient: Tensor) -> None:
    """Stop before a step that would destroy the policy."""
    if not (torch.isfinite(loss) and torch.isfinite(gradient)):
        raise Collapse("the loss or its gradient is not a number")


def check_collapse(row: dict[str, float], settings: Settings) -> None:
    """Stop when the policy has left language behind."""
    if row["kl"] > settings.most_kl:
        raise Collapse(f"the KL reached {row['kl']:.0f} nats a sequence, more than {settings.most_kl:g}")
    if row["length"] < 2:
        raise Collapse(f"responses have {row['length']:.1f} tokens left, end token included")


class ReferenceCheck:
    """Remembers the reference's weights, and its log-probabilities of a few responses."""

    def __init__(self, policy: Policy, rollout: Rollout) -> None:
        self.states, self.source_mask = rollout.states[:REMEMBERED], rollout.source_mask[:REMEMBERED]
        self.tokens, self.mask = rollout.tokens[:REMEMBERED], rollout.mask[:REMEMBERED]
        self.weights = policy.fingerprint()
        self.logprobs = policy.reference(self.states, self.source_mask, self.tokens, self.mask)

    def check(self, policy: Policy, weights_too: bool = False) -> None:
        """Raise LabError if the reference has changed; ``weights_too``: look at every weight as well."""
        now = policy.reference(self.states, self.source_mask, self.tokens, self.mask)
        moved = difference(now, self.logprobs, self.mask)
        if not moved <= ROUNDING or (weights_too and policy.fingerprint() != self.weights):
            raise LabError(
                f"The reference has moved: about the first responses it now says something else, by {moved:.3g} nats "
                "a token, or its weights have changed. Then the KL measures nothing. Only adapter and value head "
                "may be trained, and the reference must be asked with the adapter off."
            )
