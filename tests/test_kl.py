"""The KL of a policy from its reference: the sum over the vocabulary, and what k1 and k3 make of the same texts."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from transformers.modeling_outputs import BaseModelOutput

from genai_labs.rlhf import figures, kl, ppo
from genai_labs.rlhf.policy import Policy
from genai_labs.system import processes
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
    base, tokenizer = loaded()
    policy = moved()
    states, mask = policy.read(tokenizer, asked()[:1])
    tokens = policy.sample(states, mask, 8)
    found = policy.true_kl(states, mask, tokens)
    place = int(found[0].argmax())  # where the two differ most
    read = [[base.generation_config.decoder_start_token_id, *tokens[0, :place].tolist()]]
    given = {
        "encoder_outputs": BaseModelOutput(states),
        "attention_mask": mask,
        "decoder_input_ids": torch.tensor(read),
    }
    p, q = (model(**given).logits[0, place].double().log_softmax(0) for model in (policy.model, base.eval()))
    wanted = sum(float(one.exp() * (one - other)) for one, other in zip(p, q, strict=True))
    assert float(found[0, place]) == pytest.approx(wanted, abs=1e-4)
    assert float(found[0, place]) > 1e-3
    assert (found > -1e-6).all()
    own = policy(states, mask, tokens)[0][0, place]
    assert float(own) == pytest.approx(float(p[tokens[0, place]]), abs=1e-4)


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


@torch.no_grad()
def test_each_sum_is_over_the_tokens_of_one_text_as_the_seed_draws_it() -> None:
    _, tokenizer = loaded()
    policy, prompts = moved(), [*asked()[:4], asked()[0].replace("#Person1#: ", "#Person1#: Well, ")]
    found = kl.kl_of_new_texts(policy, tokenizer, prompts, 60)
    with processes.random_numbers(0):
        states, mask = policy.read(tokenizer, prompts)
        tokens = policy.sample(states, mask, 60)
    assert tokens.shape[1] <= 60
    own, other = policy(states, mask, tokens)[0], policy.reference(states, mask, tokens)
    whole = policy.true_kl(states, mask, tokens)
    ended = 0
    for row, text in enumerate(tokens.tolist()):
        length = text.index(tokenizer.eos_token_id) + 1 if tokenizer.eos_token_id in text else len(text)
        ended += length < len(text)
        apart = (own[row, :length] - other[row, :length]).double()
        assert found["k1"][row] == pytest.approx(float(apart.sum()), abs=1e-4)
        assert found["k3"][row] == pytest.approx(float(((-apart).exp() - 1 + apart).sum()), abs=1e-4)
        assert found["true KL"][row] == pytest.approx(float(whole[row, :length].sum()), abs=1e-4)
    assert ended, "no text ends before the others: this test shows nothing of padding"
    assert len({int(each.sum()) for each in mask}) > 1


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
