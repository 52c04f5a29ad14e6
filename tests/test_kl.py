"""The KL of a policy from its reference: the sum over the vocabulary, and what k1 and k3 make of the same texts."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from genai_labs.rlhf import figures, kl, ppo
from genai_labs.rlhf.policy import Policy
from tests.ppo_runs import SHORT, asked, loaded

COUNT = 40


def moved() -> Policy:
    """A policy whose adapter does something."""
    base, _ = loaded()
    policy = Policy(base, SHORT)
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for name, parameter in policy.trained().items():
            if "lora_B" in name:
                parameter.copy_(0.05 * torch.randn(parameter.shape, generator=generator))
    return policy


def test_a_fresh_policy_is_its_reference() -> None:
    base, tokenizer = loaded()
    found = kl.kl_of_new_texts(Policy(base, SHORT), tokenizer, asked()[:4], 20)
    assert all(np.abs(each).max() < 1e-5 for each in found.values())


@torch.no_grad()
def test_the_true_kl_is_the_sum_over_the_vocabulary() -> None:
    _, tokenizer = loaded()
    policy, place = moved(), 3
    states, mask = policy.read(tokenizer, asked()[:1])
    tokens = policy.sample(states, mask, 8)
    every = torch.arange(len(tokenizer))  # each token of the vocabulary in turn at one place of the text
    others = tokens[:, : place + 1].repeat(len(every), 1)
    others[:, place] = every
    own, ref = [], []
    for part in others.split(500):
        read = (states.expand(len(part), -1, -1), mask.expand(len(part), -1), part)
        own.append(policy(*read)[0][:, place])
        ref.append(policy.reference(*read)[:, place])
    p, q = torch.cat(own).double(), torch.cat(ref).double()
    assert float(p.exp().sum()) == pytest.approx(1, abs=1e-3)
    found = policy.true_kl(states, mask, tokens)
    assert float(found[0, place]) == pytest.approx(float((p.exp() * (p - q)).sum()), abs=1e-4)
    assert float(found[0, place]) > 1e-3
    assert (found > -1e-6).all()


def test_estimates_agree_on_average_and_are_summed_over_what_counts() -> None:
    _, tokenizer = loaded()
    policy = moved()
    prompts = [asked()[n % 8] for n in range(COUNT)]
    found = kl.kl_of_new_texts(policy, tokenizer, prompts, 20, seed=1)
    assert {name: each.shape for name, each in found.items()} == dict.fromkeys(kl.ESTIMATORS, (COUNT,))
    assert (found["k3"] >= 0).all()
    assert (found["k1"] < 0).any(), "k1 of a text may be negative; this test shows nothing if none is"
    for name in ("k1", "k3"):
        apart = found[name] - found["true KL"]
        assert abs(apart.mean()) < 4 * apart.std() / COUNT**0.5
    again = kl.kl_of_new_texts(policy, tokenizer, prompts, 20, seed=1)
    assert all((again[name] == each).all() for name, each in found.items())


def test_k1_is_that_of_a_rollout() -> None:
    _, tokenizer = loaded()
    policy = moved()
    torch.manual_seed(0)
    rollout = ppo.roll_out(policy, tokenizer, asked()[:4], lambda texts: [0.0] * len(texts), SHORT)
    k1 = torch.where(rollout.mask.bool(), rollout.logprobs - rollout.ref_logprobs, 0).sum(1)
    assert rollout.kl.tolist() == k1.tolist()


def test_the_picture_of_shifts_names_the_token_that_fell_most() -> None:
    _, tokenizer = loaded()
    policy = moved()
    torch.manual_seed(0)
    rollout = ppo.roll_out(policy, tokenizer, asked()[:2], lambda texts: [0.0] * len(texts), SHORT)
    shift = torch.zeros_like(rollout.logprobs)
    shift[1, 2] = -3.0
    drawn = figures.token_shifts(rollout, tokenizer, 1, {"at first": 0 * shift, "at the end": shift})
    piece = tokenizer.convert_ids_to_tokens(int(rollout.tokens[1, 2])).replace("▁", " ").strip()
    assert f"at the end: sum -3.00, least likely by now: {piece!r} -3.00" in repr(drawn)
    assert drawn.png().startswith(b"\x89PNG")
