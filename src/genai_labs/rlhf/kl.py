"""How far a trained policy is from its reference: the KL itself, on new samples, beside two estimates of it.

The log of PPO sums log(policy / reference) over the tokens that were sampled *before* an update (k1). Here the policy
as it is now writes anew, and at each place of its texts the two distributions are compared over the whole vocabulary.
Schulman, Approximating KL divergence, http://joschu.net/blog/kl-approx.html (k1, k3).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import PreTrainedTokenizerBase

from genai_labs.rlhf.policy import Policy
from genai_labs.rlhf.ppo import response_mask
from genai_labs.system import processes, progress

BATCH = 16
ESTIMATORS = ("true KL", "k1", "k3")


@torch.no_grad()
def kl_of_new_texts(
    policy: Policy, tokenizer: PreTrainedTokenizerBase, prompts: Sequence[str], tokens: int, seed: int = 0
) -> dict[str, NDArray[np.float64]]:
    """KL of the policy from its reference, summed over the tokens of one new text for each prompt, nats, [prompts].

    By name: ``true KL`` over the whole vocabulary at each place, ``k1`` and ``k3`` from the sampled tokens alone.
    tokens: the longest text. The same seed samples the same texts.
    """
    parts: dict[str, list[torch.Tensor]] = {name: [] for name in ESTIMATORS}
    with processes.random_numbers(seed):
        for begin in progress.over(range(0, len(prompts), BATCH), f"KL of {len(prompts)} texts"):
            states, source_mask = policy.read(tokenizer, prompts[begin : begin + BATCH])
            written = policy.sample(states, source_mask, tokens)  # [batch, time]
            counted = response_mask(written, tokenizer.eos_token_id).bool()
            log_ratio = policy.reference(states, source_mask, written) - policy(states, source_mask, written)[0]
            found = (policy.true_kl(states, source_mask, written), -log_ratio, log_ratio.exp() - 1 - log_ratio)
            for name, each in zip(ESTIMATORS, found, strict=True):
                parts[name].append(torch.where(counted, each, 0).sum(1))
    return {name: torch.cat(each).cpu().double().numpy() for name, each in parts.items()}
