"""What must be true while PPO trains, whatever the settings; a failure is said in words, with the usual mistakes.

Whoever copies a PPO loop gets them all: a reward read from the wrong label, dropout in the scoring pass, padding that
is learned from, a reference that moves. Each makes the training fail without a word.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from genai_labs.errors import LabError
from genai_labs.inputs.allowed import above, between, check, or_none, whole
from genai_labs.system.devices import has_bf16
from genai_labs.system.processes import here

if TYPE_CHECKING:
    from genai_labs.rlhf.ppo import Policy, Rollout, Settings

Reward = Callable[[Sequence[str]], Any]  # texts to one number each, array or tensor [texts]; higher is better

# Nats a token, in the mean, by which the same question asked twice may be answered differently: in batches of the same
# shape, and of another shape with products in bf16, where single tokens are off by much more. Dropout moves the mean by
# more than a tenth.
ROUNDING, ROUNDING_BF16 = 1e-4, 2e-2
ALLOWED = {
    **dict.fromkeys(("updates", "minibatch", "epochs", "rank", "max_new_tokens", "kl_horizon"), whole(1)),
    **dict.fromkeys(("save_every", "judge_every"), whole(1)),
    "batch_size": whole(2),  # the mean and spread of one score say nothing
    "seed": whole(0, 2**32 - 1),
    **dict.fromkeys(("learning_rate", "alpha", "clip"), above(0)),
    **dict.fromkeys(("max_grad_norm", "value_clip", "most_kl"), above(0, infinite=True)),
    **dict.fromkeys(("value_rate", "kl_coef", "value_coef"), between(0)),
    **dict.fromkeys(("gamma", "lam"), between(0, 1)),
    **dict.fromkeys(("target_kl", "score_clip"), or_none(above(0))),
}


def difference(a: Tensor, b: Tensor, mask: Tensor) -> float:
    """Mean absolute difference of log-probabilities over the tokens that count, nats."""
    return float((torch.where(mask.bool(), a - b, 0).abs().sum() / mask.sum()).detach())


class Collapse(Exception):
    """The policy is lost; the message says by what one sees it."""


def check_settings(settings: Settings) -> None:
    """Raise LabError for a setting that makes no sense."""
    check(settings, ALLOWED)
    if settings.batch_size % settings.minibatch:
        raise LabError(
            f"A batch of {settings.batch_size} cannot be cut into minibatches of {settings.minibatch}, because one "
            "would be smaller and weigh too much. Choose a batch size that is a multiple of the minibatch."
        )


def check_plan(prompts: Sequence[str], settings: Settings) -> None:
    """Raise LabError for what cannot be trained with."""
    if len(prompts) < settings.batch_size:
        raise LabError(
            f"There are {len(prompts)} prompts, but an update needs {settings.batch_size}. Pass more prompts, at best "
            "several updates' worth, or choose a smaller batch."
        )
    if settings.batch_size % here().num_processes:
        raise LabError(
            f"A batch of {settings.batch_size} responses cannot be shared evenly by {here().num_processes} processes. "
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


class Witness:
    """Remembers what the reference said about the first responses, and what its weights were."""

    def __init__(self, policy: Policy, rollout: Rollout, count: int = 4) -> None:
        self.states, self.source_mask = rollout.states[:count], rollout.source_mask[:count]
        self.tokens, self.mask = rollout.tokens[:count], rollout.mask[:count]
        self.weights = policy.fingerprint()
        self.said = policy.reference(self.states, self.source_mask, self.tokens)

    def check(self, policy: Policy, weights_too: bool = False) -> None:
        """Raise LabError if the reference has changed; ``weights_too``: look at every weight as well."""
        now = policy.reference(self.states, self.source_mask, self.tokens)
        moved = difference(now, self.said, self.mask)
        if not moved <= ROUNDING or (weights_too and policy.fingerprint() != self.weights):
            raise LabError(
                f"The reference has moved: about the first responses it now says something else, by {moved:.3g} nats "
                "a token, or its weights have changed. Then the KL measures nothing. Only adapter and value head "
                "may be trained, and the reference must be asked with the adapter off."
            )
