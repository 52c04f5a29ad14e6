"""Reinforcement learning on a reward that can be checked: is the answer right? With a group baseline, no value head.

Of each problem a group of solutions is sampled; a solution's advantage is how much better it did than its group. That
is the advantage of GRPO (Shao et al. 2024, https://arxiv.org/abs/2402.03300), with PPO's clipped loss, averaged over
the tokens of all solutions, and no price on KL. Lambert et al. 2024, https://arxiv.org/abs/2411.15124, call training on
such a reward RL with verifiable rewards.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from genai_labs.errors import LabError
from genai_labs.inputs.arguments import as_texts
from genai_labs.loading.lab_data import Example
from genai_labs.rlhf.group import group_advantages
from genai_labs.rlhf.policy import Policy
from genai_labs.rlhf.ppo import policy_loss, response_mask
from genai_labs.rlhf.settings import Settings
from genai_labs.system.progress import bar

Checked = Callable[[str, str], bool]  # a solution and what is right, to whether the solution's answer is


@dataclass(frozen=True)
class Practice:
    """How to practise. Probability ratios are clipped as in PPO; there is no price on KL.

    The settings were tried on the validation problems (:func:`genai_labs.reasoning.problems.to_practise`); those trials
    are not kept.
    """

    updates: int = 30
    problems: int = 16  # an update
    group: int = 8  # solutions of each problem
    minibatch: int = 32  # solutions whose gradients are worked out at a time
    epochs: int = 2  # times that an update goes through its solutions
    learning_rate: float = 3e-3  # falls linearly to 0
    clip: float = 0.2
    rank: int = 16
    targets: tuple[str, ...] = ("wi_0", "wi_1", "wo")
    max_new_tokens: int = 40
    seed: int = 0


def practise(
    base: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    problems: Sequence[Example],
    checked: Checked,
    practice: Practice = Practice(),
) -> tuple[Policy, list[dict[str, float]]]:
    """The policy after practice (``base`` stays as it is), and of each update what was measured.

    A row: the share of solutions that were right, the share of groups with right and wrong ones in them, seconds.
    Raises LabError where there are fewer problems than an update needs.
    """
    as_texts([each.source for each in problems], "problems")
    if len(problems) < practice.problems:
        raise LabError(
            f"An update needs {practice.problems} problems, and there are {len(problems)}. Give more, or practise with "
            f"Practice(problems={max(len(problems), 1)})."
        )
    torch.manual_seed(practice.seed)
    rng = random.Random(practice.seed)
    policy = Policy(
        base, Settings(rank=practice.rank, alpha=practice.rank, targets=practice.targets, seed=practice.seed)
    )
    weights = [p for name, p in policy.trained().items() if not name.startswith("value_head")]
    optimizer = torch.optim.AdamW(weights, practice.learning_rate, weight_decay=0.0)
    history: list[dict[str, float]] = []
    with bar(practice.updates, "practising") as moved:
        for update in range(practice.updates):
            start = time.perf_counter()
            optimizer.param_groups[0]["lr"] = practice.learning_rate * (1 - update / practice.updates)
            drawn = rng.sample(list(problems), practice.problems)
            history.append(_practise_once(policy, tokenizer, drawn, checked, practice, optimizer))
            history[-1]["seconds"] = time.perf_counter() - start
            moved.update(1)
    return policy, history


def _practise_once(
    policy: Policy,
    tokenizer: PreTrainedTokenizerBase,
    drawn: Sequence[Example],
    checked: Checked,
    practice: Practice,
    optimizer: torch.optim.Optimizer,
) -> dict[str, float]:
    states, source_mask = policy.read(tokenizer, [each.source for each in drawn])
    states, source_mask = (each.repeat_interleave(practice.group, 0) for each in (states, source_mask))
    tokens = policy.sample(states, source_mask, practice.max_new_tokens)  # [problems * group, time]
    texts = tokenizer.batch_decode(tokens, skip_special_tokens=True)
    wanted = [each.target for each in drawn for _ in range(practice.group)]
    rewards = torch.tensor([float(checked(text, right)) for text, right in zip(texts, wanted, strict=True)])
    advantages = group_advantages(rewards, practice.group).to(policy.device)
    tells = advantages.abs() > 1e-3  # a group that is right or wrong throughout moves nothing
    measured = {"right": float(rewards.mean()), "mixed": float(tells.float().mean())}
    if not tells.any():
        return measured
    mask = response_mask(tokens, policy.model.config.eos_token_id).float()
    rows = tells.nonzero()[:, 0]
    rows = rows[mask[rows].sum(1).argsort(stable=True)]  # solutions of similar length together: little padding
    old: dict[int, Tensor] = {}
    for _ in range(practice.epochs):
        optimizer.zero_grad()
        for number, part in enumerate(rows.split(practice.minibatch)):
            longest = int(mask[part].sum(1).max())
            counted = mask[part, :longest]
            logprobs = policy(states[part], source_mask[part], tokens[part, :longest], counted)[0]
            before = old.setdefault(number, logprobs.detach())
            each = advantages[part, None].expand_as(counted)  # one advantage for all tokens of a solution
            loss, _ = policy_loss(logprobs, counted, old_logprobs=before, advantages=each, clip=practice.clip)
            (loss * counted.sum() / mask[rows].sum()).backward()
        torch.nn.utils.clip_grad_norm_([p for g in optimizer.param_groups for p in g["params"]], 1.0)
        optimizer.step()
    return measured
