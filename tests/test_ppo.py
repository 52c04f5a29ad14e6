"""PPO: its mathematics against reference numbers and definitions, its updates, and wrong variants of both."""

import copy
import csv
import inspect
import json
import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from genai_labs.errors import Interrupted, LabError
from genai_labs.finetuning import lora
from genai_labs.paths import ROOT
from genai_labs.rlhf import policy as parts
from genai_labs.rlhf import ppo
from genai_labs.rlhf.checks import ReferenceCheck
from genai_labs.rlhf.log import METRICS
from genai_labs.system import processes
from genai_labs.system.devices import has_bf16
from tests.ppo_runs import SHORT, asked, loaded, shortness, stirred, trained, without_seconds

SHARED = ROOT.parent / "shared" / "data" / "ppo" / "parity.json"
KL, GAMMA, LAM = 0.2, 1.0, 0.95
LOSS = ppo.Settings(clip=0.2, value_clip=0.2, value_coef=0.1)


def tensor(values: Any) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


def agrees(ours: Tensor | None, theirs: Tensor) -> None:
    torch.testing.assert_close(ours, theirs, atol=1e-6, rtol=1e-6)


def before(mask: Tensor, logprobs: Tensor, advantages: Tensor, values: Tensor, returns: Tensor) -> Any:
    """Of a rollout what the loss reads."""
    return SimpleNamespace(mask=mask, logprobs=logprobs, advantages=advantages, values=values, returns=returns)


def shared_cases() -> dict[str, Any]:
    return json.loads(SHARED.read_text(encoding="utf-8"))["cases"] if SHARED.exists() else {}


@pytest.mark.skipif(not SHARED.exists(), reason="the reference numbers are not on this machine")
@pytest.mark.parametrize("name", ["basic", "strong_clipping"])
def test_agrees_with_the_reference_numbers_gradients_included(name: str) -> None:
    case = shared_cases()[name]
    given, wanted = ({k: tensor(v) for k, v in case[part].items()} for part in ("inputs", "outputs"))
    mask = given["masks"]
    rewards = ppo.token_rewards(given["scores"], given["logprobs_old"], given["logprobs_ref"], mask, KL)
    agrees(rewards, wanted["rewards"] * mask)
    advantages, returns = ppo.gae(rewards, given["values_old"], mask, GAMMA, LAM)
    agrees(advantages, wanted["advantages_before_whitening"] * mask)
    agrees(returns, wanted["returns"] * mask)
    whitened = ppo.whiten(advantages, mask)
    agrees(whitened, wanted["advantages_whitened"] * mask)
    logprobs, values = (given[n].requires_grad_() for n in ("logprobs_new", "vpreds_new"))
    old = before(mask, given["logprobs_old"], whitened, given["values_old"], returns)
    loss, stats = ppo.ppo_loss(logprobs, values, old, LOSS)
    loss.backward()
    names = {
        "policy_loss": "policy_loss",
        "value_loss": "value_loss_unscaled",
        "policy_clipfrac": "policy_clipfrac",
        "value_clipfrac": "value_clipfrac",
        "approx_kl": "approxkl",
    }
    agrees(loss.detach(), wanted["total_loss"])
    for ours, theirs in names.items():
        agrees(stats[ours], wanted[theirs])
    agrees(logprobs.grad, wanted["grad_logprobs_new"])
    agrees(values.grad, wanted["grad_vpreds_new"])


# Two responses, of three tokens and of one, whose numbers can be followed with a pencil.
MASK = tensor([[1, 1, 1, 0], [1, 0, 0, 0]])
LOGPROBS = tensor([[-1.0, -2.0, -0.5, 9.0], [-1.5, 9.0, 9.0, 9.0]])
REFERENCE = tensor([[-1.5, -2.0, -1.0, -7.0], [-1.0, -7.0, -7.0, -7.0]])
VALUES = tensor([[0.5, 1.0, 0.0, 5.0], [2.0, 5.0, 5.0, 5.0]])
SCORES = tensor([2.0, -1.0])


def test_rewards_are_the_kl_penalty_and_the_score_at_the_last_token() -> None:
    rewards = ppo.token_rewards(SCORES, LOGPROBS, REFERENCE, MASK, 0.2)
    agrees(rewards, tensor([[-0.1, 0.0, 2.0 - 0.1, 0], [-1.0 + 0.1, 0, 0, 0]]))


def test_advantages_follow_the_definition() -> None:
    rewards = ppo.token_rewards(SCORES, LOGPROBS, REFERENCE, MASK, 0.2)
    advantages, returns = ppo.gae(rewards, VALUES, MASK, gamma=0.9, lam=0.5)
    third = 1.9 - 0.0
    second = (0.0 + 0.9 * 0.0 - 1.0) + 0.45 * third
    first = (-0.1 + 0.9 * 1.0 - 0.5) + 0.45 * second
    expected = tensor([[first, second, third, 0], [-0.9 - 2.0, 0, 0, 0]])
    agrees(advantages, expected)
    agrees(returns, (expected + VALUES) * MASK)


def test_behind_the_longest_length_nothing_is_expected() -> None:
    rewards, values, mask = (tensor([[1.0, 2.0]]), tensor([[0.5, 3.0]]), tensor([[1, 1]]))  # it never came to an end
    advantages, _ = ppo.gae(rewards, values, mask, gamma=0.9, lam=1.0)
    last = 2.0 - 3.0
    agrees(advantages, tensor([[1.0 + 0.9 * 3.0 - 0.5 + 0.9 * last, last]]))


def test_with_lambda_one_the_return_is_the_discounted_sum_of_rewards() -> None:
    rewards = ppo.token_rewards(SCORES, LOGPROBS, REFERENCE, MASK, 0.2)
    _, returns = ppo.gae(rewards, VALUES, MASK, gamma=1.0, lam=1.0)
    summed = rewards.flip(1).cumsum(1).flip(1) * MASK
    agrees(returns, summed)


def test_whitened_advantages_have_mean_0_and_variance_1() -> None:
    x = tensor([[1.0, 5.0, -2.0, 100.0], [3.0, -100.0, 50.0, 7.0]])
    white = ppo.whiten(x, MASK)
    kept = white[MASK.bool()]
    assert kept.mean().item() == pytest.approx(0, abs=1e-9)
    assert kept.var().item() == pytest.approx(1, abs=1e-6)
    assert (white[~MASK.bool()] == 0).all()


def loss_of(logprobs: Tensor, values: Tensor | None = None) -> tuple[Tensor, dict[str, Tensor]]:
    advantages = tensor([[1.0, -1.0, 0.5, 77.0], [-0.5, 77.0, 77.0, 77.0]])
    returns = tensor([[1.0, 1.0, 1.0, 77.0], [1.0, 77.0, 77.0, 77.0]])
    new = VALUES if values is None else values
    return ppo.ppo_loss(logprobs, new, before(MASK, LOGPROBS, advantages, VALUES, returns), LOSS)


def test_an_unchanged_policy_has_ratio_1_and_no_kl() -> None:
    loss, stats = loss_of(LOGPROBS)
    assert stats["approx_kl"] == 0
    assert stats["policy_clipfrac"] == 0
    assert stats["policy_loss"].item() == pytest.approx(-(1.0 - 1.0 + 0.5 - 0.5) / 4)
    errors = [(0.5 - 1) ** 2, 0.0, 1.0, 1.0]
    assert stats["value_loss"].item() == pytest.approx(0.5 * sum(errors) / 4)
    assert loss.item() == pytest.approx((stats["policy_loss"] + 0.1 * stats["value_loss"]).item())


def test_a_ratio_beyond_the_clip_gains_nothing_more() -> None:
    # The first token has advantage 1 and gains by a higher ratio, the second -1 and gains by a lower one.
    for place, moved_by, clipped in ((0, 0.5, -1.2 + 1.0), (1, -0.5, -1.0 + 0.8)):
        moved = LOGPROBS.clone()
        moved[0, place] += moved_by
        moved.requires_grad_()
        loss, stats = loss_of(moved)
        loss.backward()
        assert moved.grad is not None
        assert moved.grad[0, place] == 0
        assert stats["policy_clipfrac"].item() == pytest.approx(1 / 4)
        assert stats["policy_loss"].item() == pytest.approx(clipped / 4)
        assert loss.item() == pytest.approx(clipped / 4 + 0.1 * stats["value_loss"].item())
        assert stats["approx_kl"].item() == pytest.approx(0.5 * 0.5**2 / 4)


def test_a_ratio_that_moved_the_wrong_way_is_pulled_back_from_any_distance() -> None:
    for place, moved_by in ((0, -2.0), (1, 2.0)):
        moved = LOGPROBS.clone()
        moved[0, place] += moved_by
        moved.requires_grad_()
        loss_of(moved)[0].backward()
        assert moved.grad is not None
        assert moved.grad[0, place] * moved_by > 0, "a step against the gradient would not bring it back"


def test_a_value_beyond_the_clip_gains_nothing_more() -> None:
    # The return is 1. The third value was 0 and comes nearer from below, that of the other response was 2.
    for place, value, clipped in (((0, 2), 0.9, 0.2), ((1, 0), 1.1, 1.8)):
        values = VALUES.clone()
        before = loss_of(LOGPROBS, values)[1]["value_loss"]
        values[place] = value
        values.requires_grad_()
        loss, stats = loss_of(LOGPROBS, values)
        loss.backward()
        assert values.grad is not None
        assert values.grad[place] == 0
        assert stats["value_clipfrac"].item() == pytest.approx(1 / 4)
        assert (before - stats["value_loss"]).item() == pytest.approx(0.5 * (1 - (clipped - 1) ** 2) / 4)


@pytest.mark.parametrize("junk", [0.0, 1e6, float("inf"), float("nan")])
def test_what_stands_behind_the_end_never_matters(junk: float) -> None:
    def spoiled(x: Tensor) -> Tensor:
        return torch.where(MASK.bool(), x, junk)

    logprobs, values = spoiled(LOGPROBS - 0.1).requires_grad_(), spoiled(VALUES + 0.1).requires_grad_()
    rewards = ppo.token_rewards(SCORES, spoiled(LOGPROBS), spoiled(REFERENCE), MASK, 0.2)
    advantages, returns = ppo.gae(spoiled(rewards), spoiled(VALUES), MASK, 1.0, 0.95)
    white = ppo.whiten(spoiled(advantages), MASK)
    old = before(MASK, *map(spoiled, (LOGPROBS, white, VALUES, returns)))
    loss, stats = ppo.ppo_loss(logprobs, values, old, LOSS)
    loss.backward()
    clean_rewards = ppo.token_rewards(SCORES, LOGPROBS, REFERENCE, MASK, 0.2)
    clean, _ = ppo.gae(clean_rewards, VALUES, MASK, 1.0, 0.95)
    agrees(advantages, clean)
    assert torch.isfinite(loss)
    for made in (rewards, advantages, returns, white, logprobs.grad, values.grad):
        assert made is not None
        assert (made[~MASK.bool()] == 0).all()
    assert all(torch.isfinite(value) for value in stats.values())


def test_gradients_are_right_to_double_precision() -> None:
    torch.manual_seed(0)
    mask = tensor([[1, 1, 1, 0], [1, 1, 0, 0]])
    old, advantages, old_values, returns = (torch.randn(2, 4, dtype=torch.float64) for _ in range(4))
    logprobs = (old + 0.05 * torch.randn(2, 4, dtype=torch.float64)).requires_grad_()
    values = (old_values + 0.05 * torch.randn(2, 4, dtype=torch.float64)).requires_grad_()

    def loss(x: Tensor, v: Tensor) -> Tensor:
        return ppo.ppo_loss(x, v, before(mask, old, advantages, old_values, returns), LOSS)[0]

    assert torch.autograd.gradcheck(loss, (logprobs, values))


# The whole of it, on the small model that the labs use.


def test_what_counts_ends_with_the_end_token() -> None:
    tokens = torch.tensor([[5, 1, 0, 0], [5, 7, 1, 1], [5, 6, 7, 8], [1, 5, 5, 1], [5, 0, 6, 1]])
    expected = [[1, 1, 0, 0], [1, 1, 1, 0], [1, 1, 1, 1], [1, 0, 0, 0], [1, 1, 1, 1]]
    assert ppo.response_mask(tokens, end=1).tolist() == expected


def test_log_probabilities_and_values_are_those_of_the_model() -> None:
    model, tokenizer = loaded()
    policy = ppo.Policy(model, SHORT)
    states, source_mask = policy.read(tokenizer, asked()[:3])
    tokens = policy.sample(states, source_mask, 12)
    with torch.no_grad(), torch.autocast("cpu", enabled=False):
        logprobs, at_start, entropy = policy(states, source_mask, tokens)
        torch.nn.init.normal_(policy.value_head.weight, std=0.1)
        values = policy(states, source_mask, tokens)[1]
        read = tokenizer(asked()[:3], padding=True, return_tensors="pt")
        begun = torch.cat([torch.zeros_like(tokens[:, :1]), tokens[:, :-1]], 1)
        out = model(**read, decoder_input_ids=begun, output_hidden_states=True)
    expected = torch.distributions.Categorical(logits=out.logits)
    rounding = 0.05 if has_bf16() else 1e-3
    torch.testing.assert_close(logprobs, expected.log_prob(tokens), atol=4 * rounding, rtol=rounding)
    torch.testing.assert_close(entropy, expected.entropy(), atol=4 * rounding, rtol=rounding)
    assert (at_start == 0).all(), "the value head starts at zero"
    foreseen = out.decoder_hidden_states[-1] @ policy.value_head.weight[0]
    torch.testing.assert_close(values, foreseen, atol=4 * rounding, rtol=rounding)


def test_what_does_not_count_changes_neither_the_rest_nor_its_gradient() -> None:
    model, tokenizer = loaded()
    policy = ppo.Policy(model, SHORT)
    torch.nn.init.normal_(policy.value_head.weight, std=0.1)
    for name, p in policy.trained().items():
        torch.nn.init.normal_(p, std=0.1 if "lora_" in name else 0.05)
    states, source_mask = policy.read(tokenizer, asked()[:3])
    tokens = policy.sample(states, source_mask, 12)
    mask = torch.ones_like(tokens)
    mask[0, 3:] = mask[1, 5:] = 0
    counted = mask.bool()
    with torch.no_grad(), torch.autocast("cpu", enabled=False):
        whole, masked = policy(states, source_mask, tokens), policy(states, source_mask, tokens, mask)
        reference = [policy.reference(states, source_mask, tokens, m) for m in (None, mask)]
    for all_of_them, some in zip((*whole, reference[0]), (*masked, reference[1]), strict=True):
        torch.testing.assert_close(some[counted], all_of_them[counted], atol=1e-4, rtol=1e-4)
    assert not masked[0][~counted].any()
    assert not masked[2][~counted].any()
    assert not reference[1][~counted].any()
    gradients = []
    for given_mask in (None, mask):
        with torch.autocast("cpu", enabled=False):
            logprobs, values, _ = policy(states, source_mask, tokens, given_mask)
        policy.zero_grad()
        ((logprobs + values) * mask).sum().backward()
        gradients.append({name: p.grad.clone() for name, p in policy.trained().items() if p.grad is not None})
    assert gradients[0].keys() == policy.trained().keys()
    for name, gradient in gradients[0].items():
        torch.testing.assert_close(gradients[1][name], gradient, atol=1e-3, rtol=1e-3, msg=name)


def test_what_is_sampled_follows_the_probabilities_that_are_computed() -> None:
    base = copy.deepcopy(loaded()[0])
    with torch.no_grad():
        base.lm_head.weight *= 0.25  # many tokens are about equally likely, so that one sees if some are left out
    policy, count = ppo.Policy(base, SHORT), 1500
    states, source_mask = policy.read(loaded()[1], ["Summarize: Ann and Bob talk."])
    many = states.expand(count, -1, -1), source_mask.expand(count, -1)
    torch.manual_seed(0)
    drawn = policy.sample(*many, 1)
    with torch.no_grad():
        everything = torch.arange(base.config.vocab_size)[:, None]
        count_all = len(everything)
        logprobs = policy(states.expand(count_all, -1, -1), source_mask.expand(count_all, -1), everything)[0]
    # Tokens in classes of a tenth of the probability each, from the likeliest to the rarest.
    chances, order = logprobs[:, 0].double().exp().sort(descending=True)
    assert chances.sum().item() == pytest.approx(1, abs=1e-4)
    classes = torch.empty(len(order), dtype=torch.long)
    classes[order] = (10 * (chances.cumsum(0) - chances)).long().clamp(max=9)
    expected = count * torch.zeros(10, dtype=torch.double).index_add(0, classes, logprobs[:, 0].double().exp())
    found = torch.bincount(classes[drawn[:, 0]], minlength=10)
    chi_square = ((found - expected) ** 2 / expected).sum().item()
    assert chi_square < 33.7, "so far off comes once in 10,000 times by chance, at 9 degrees of freedom"


def test_a_rollout_is_whitened_and_counts_nothing_behind_the_end() -> None:
    tokenizer = loaded()[1]
    torch.manual_seed(0)
    rollout = ppo.roll_out(ppo.Policy(loaded()[0], SHORT), tokenizer, asked()[:8], shortness, SHORT)
    mask = rollout.mask.bool()
    assert not mask.all(), "no response ended early, so this test shows nothing"
    kept = rollout.advantages[mask]
    assert kept.mean().item() == pytest.approx(0, abs=1e-5)
    assert kept.var().item() == pytest.approx(1, abs=1e-3)
    assert (rollout.advantages[~mask] == 0).all()
    assert (rollout.rewards[~mask] == 0).all()
    for tokens, row, text in zip(rollout.tokens, rollout.mask, rollout.texts, strict=True):
        assert tokenizer.decode(tokens[row.bool()], skip_special_tokens=True).strip() == text
    centred = rollout.scores - rollout.scores.mean()
    assert torch.allclose(rollout.rewards.sum(1), centred, atol=1e-4), "with no KL the rewards are the centred scores"


def letters(texts: Sequence[str]) -> Tensor:
    """A reward with both signs."""
    return torch.tensor([(190 - len(text)) / 10 for text in texts])


def test_a_rollout_follows_the_definitions() -> None:
    for limit, center in ((None, False), (0.5, True)):
        check_rollout(limit, center)


def check_rollout(limit: float | None, center: bool) -> None:
    settings = replace(SHORT, gamma=0.9, lam=0.6, kl_coef=0.7, score_clip=limit, center=center, max_new_tokens=40)
    torch.manual_seed(0)
    rollout = ppo.roll_out(stirred(settings), loaded()[1], asked()[:8], letters, settings, kl_coef=0.3)
    lengths = rollout.mask.sum(1).tolist()
    assert min(lengths) < max(lengths) == 40, "some end, some do not, or this test shows less"
    scores = [(190 - len(text)) / 10 for text in rollout.texts]
    assert min(scores) < -0.5
    assert max(scores) > 0.5
    scores = [score if limit is None else min(max(score, -limit), limit) for score in scores]
    assert rollout.scores.tolist() == pytest.approx(scores)
    middle = sum(scores) / 8 if center else 0.0
    found = []
    for row, length in enumerate(lengths):
        v = [*rollout.values[row, :length].tolist(), 0.0]
        r = (-0.3 * (rollout.logprobs - rollout.ref_logprobs)[row, :length]).tolist()
        r[-1] += scores[row] - middle
        assert rollout.rewards[row, :length].tolist() == pytest.approx(r, abs=1e-4)
        advantage = 0.0
        for t in reversed(range(length)):
            advantage = r[t] + 0.9 * v[t + 1] - v[t] + 0.9 * 0.6 * advantage
            assert rollout.returns[row, t].item() == pytest.approx(advantage + v[t], abs=1e-3)
            found.append((row, t, advantage))
    mean = sum(each for *_, each in found) / len(found)
    spread = math.sqrt(sum((each - mean) ** 2 for *_, each in found) / (len(found) - 1))
    for row, t, advantage in found:
        assert rollout.advantages[row, t].item() == pytest.approx((advantage - mean) / spread, abs=1e-3)


# Small clips, a small largest gradient and large steps, so that all of them count.
STEPS = replace(SHORT, epochs=3, clip=0.015, value_clip=0.3, max_grad_norm=0.05, learning_rate=3e-3, value_coef=0.5)


def learn_by_definition(policy: ppo.Policy, rollout: ppo.Rollout, settings: ppo.Settings) -> list[Tensor]:
    """Every step written out, token by token; the gradients of the last one."""
    trained, optimizer = list(policy.trained().values()), ppo.make_optimizer(policy, settings)
    old = rollout
    for _ in range(settings.epochs):
        for rows in torch.randperm(len(old.mask)).split(settings.minibatch):
            logprobs, values, _ = policy(old.states[rows], old.source_mask[rows], old.tokens[rows])
            losses = []
            for place, row in enumerate(rows.tolist()):
                for t in range(int(old.mask[row].sum())):
                    ratio, advantage = (logprobs[place, t] - old.logprobs[row, t]).exp(), old.advantages[row, t]
                    allowed = ratio.clamp(1 - settings.clip, 1 + settings.clip)
                    gain = min(ratio * advantage, allowed * advantage)
                    value, before, wanted = values[place, t], old.values[row, t], old.returns[row, t]
                    near = before + (value - before).clamp(-settings.value_clip, settings.value_clip)
                    error = max((value - wanted) ** 2, (near - wanted) ** 2) / 2
                    losses.append(settings.value_coef * error - gain)
            gradients = torch.autograd.grad(torch.stack(losses).mean(), trained)
            norm = math.sqrt(sum(float((g**2).sum()) for g in gradients))
            for tensor, gradient in zip(trained, gradients, strict=True):
                tensor.grad = gradient * min(1.0, settings.max_grad_norm / norm)
            optimizer.step()
    return [tensor.grad for tensor in trained if tensor.grad is not None]


def test_learning_takes_the_steps_of_the_definition() -> None:
    policy, other = stirred(STEPS), stirred(STEPS)
    torch.manual_seed(0)
    rollout = ppo.roll_out(policy, loaded()[1], asked()[:8], letters, STEPS)
    torch.manual_seed(1)
    measured = ppo.learn(policy, ppo.make_optimizer(policy, STEPS), rollout, STEPS)
    torch.manual_seed(1)
    gradients = learn_by_definition(other, rollout, STEPS)
    left = [tensor.grad for tensor in policy.trained().values() if tensor.grad is not None]
    assert away(left, gradients) < 1e-3
    start = list(stirred(STEPS).trained().values())
    steps, expected = ([t - s for t, s in zip(p.trained().values(), start, strict=True)] for p in (policy, other))
    assert away(steps, expected) < 1e-3
    assert measured["gradient"] > 2 * STEPS.max_grad_norm, "nothing was cut, so this test shows less"
    assert min(measured["policy_clipfrac"], measured["value_clipfrac"]) > 0.05, "no clip counts: this test shows less"


def away(ours: Sequence[Tensor], theirs: Sequence[Tensor]) -> float:
    """How far our tensors are from theirs, all together, as a share of how large theirs are."""
    one, other = (torch.cat([tensor.detach().flatten() for tensor in each]) for each in (ours, theirs))
    return float((one - other).norm() / other.norm())


def test_training_moves_adapter_and_value_head_and_nothing_else() -> None:
    model, _ = loaded()
    before = lora.fingerprint(model)
    run = trained(judge=lambda m: 0.25)
    assert lora.fingerprint(model) == before
    assert run.policy.fingerprint() == before
    names = set(run.policy.trained())
    assert all("lora_" in name or name.startswith("value_head.") for name in names)
    assert not any(".encoder." in name for name in names)
    fresh = ppo.Policy(model, SHORT).trained()
    assert all(not torch.equal(now, fresh[name]) for name, now in run.policy.trained().items())
    assert not any(module.training for module in run.policy.modules())


def test_a_touched_reference_is_noticed_by_what_it_says_or_by_its_weights() -> None:
    policy = ppo.Policy(copy.deepcopy(loaded()[0]), SHORT)
    rollout = ppo.roll_out(policy, loaded()[1], asked()[:4], shortness, SHORT)
    reference = ReferenceCheck(policy, rollout)
    reference.check(policy, weights_too=True)
    touched = next(p for name, p in policy.model.named_parameters() if "layer_norm" in name and "decoder" in name)
    with torch.no_grad():
        touched[0] += 1e-7 + 1e-7 * touched[0].abs()
    reference.check(policy)
    with pytest.raises(LabError, match="its weights have changed"):
        reference.check(policy, weights_too=True)
    with torch.no_grad():
        touched.mul_(2)
    with pytest.raises(LabError, match="The reference has moved"):
        reference.check(policy)


def test_every_quantity_is_logged_as_it_is_defined(tmp_path: Path) -> None:
    run = trained(folder=tmp_path, judge=lambda m: 0.25)
    assert set(run.history[0]) == set(METRICS)
    assert run.history[0]["kl"] == pytest.approx(0, abs=1e-4)
    assert run.history[0]["score"] == pytest.approx(run.history[0]["objective"], abs=1e-4)
    assert run.history[0]["judged"] == 0.25
    assert "judged" not in run.history[1], "the judge is asked before update 1 and 6 only"
    with (tmp_path / "log.csv").open(encoding="utf-8") as file:
        written = list(csv.DictReader(file))
    assert list(written[0]) == list(METRICS)
    assert [float(row["kl"]) for row in written] == [row["kl"] for row in run.history]
    assert all(name in str(run.curves()) for name in ("reward", "KL", "judge"))


def made_up(mask: Tensor) -> ppo.Rollout:
    """A rollout in which every quantity has a value of its own, also where nothing counts."""
    torch.manual_seed(0)
    several = {name: torch.randn(mask.shape) for name in parts.PER_TOKEN}
    return ppo.Rollout(
        **several | {"mask": mask, "entropy": several["entropy"].abs()},
        states=torch.zeros(3, 1, 1),
        source_mask=torch.ones(3, 1),
        texts=["a", "b", "c"],
        scores=torch.tensor([1.0, -2.0, 4.0]),
        seconds=(1.0, 2.0),
    )


def test_every_quantity_of_a_rollout_is_computed_as_it_is_defined() -> None:
    rollout = made_up(torch.tensor([[1, 1, 0, 0], [1, 1, 1, 1], [1, 0, 0, 0]]))
    row = ppo.measure_update(3, rollout, 0.5, {}, None, replace(SHORT, max_new_tokens=4))
    places = [(0, 0), (0, 1), (1, 0), (1, 1), (1, 2), (1, 3), (2, 0)]  # where something counts
    kl = [sum(float(rollout.logprobs[p] - rollout.ref_logprobs[p]) for p in places if p[0] == i) for i in range(3)]
    returns = [float(rollout.returns[p]) for p in places]
    mean = sum(returns) / 7
    missed = sum(float(rollout.returns[p] - rollout.values[p]) ** 2 for p in places)
    assert row == pytest.approx(
        {
            "update": 3,
            "score": 1.0,
            "score_std": 3.0,
            "kl": sum(kl) / 3,
            "kl_coef": 0.5,
            "objective": sum(s - 0.5 * k for s, k in zip((1.0, -2.0, 4.0), kl, strict=True)) / 3,
            "entropy": sum(float(rollout.entropy[p]) for p in places) / 7,
            "length": 7 / 3,
            "ended": 2 / 3,
            "explained": 1 - missed / sum((each - mean) ** 2 for each in returns),
            "rollout_s": 1.0,
            "reward_s": 2.0,
        },
        rel=1e-4,
    )


def opens_with_they(texts: Sequence[str]) -> list[float]:
    """Rewards an opening that the model uses about every second time."""
    return [float(text.startswith("They")) for text in texts]


def test_a_rewarded_habit_becomes_likelier_and_a_price_on_kl_holds_it_back() -> None:
    settings = replace(SHORT, updates=8, batch_size=16, minibatch=8, epochs=4, max_new_tokens=4, learning_rate=3e-3)
    free, held = (trained(replace(settings, kl_coef=coef), opens_with_they) for coef in (0.0, 5.0))
    assert free.history[0]["score"] < 0.7
    assert free.history[-1]["score"] > 0.9
    assert held.history[-1]["score"] < free.history[-1]["score"]
    # The KL of a batch is an estimate from its samples, which may lie a little below 0.
    assert abs(held.history[-1]["kl"]) < free.history[-1]["kl"] / 2


def test_the_kl_coefficient_of_the_log_is_the_one_that_is_paid_and_follows_the_kl() -> None:
    settings = replace(SHORT, updates=3, target_kl=0.01, kl_horizon=20, max_new_tokens=20, epochs=4, minibatch=2)
    paid, right = [], ppo.token_rewards

    def spied(*args: Any) -> Tensor:
        paid.append(args[-1])
        return right(*args)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ppo, "token_rewards", spied)
        history = trained(settings).history
    assert paid == [row["kl_coef"] for row in history]
    for row, following in zip(history, paid[1:], strict=False):
        error = min(max(row["kl"] / 0.01 - 1, -0.2), 0.2)
        assert following == pytest.approx(row["kl_coef"] * (1 + error * 8 / 20))
        assert following != row["kl_coef"]


def test_another_seed_starts_elsewhere_and_draws_other_responses() -> None:
    def first(seed: int, updates: int = 1) -> list[list[str]]:
        """The responses of each update, all to the same prompt."""
        texts: list[list[str]] = []

        def reward(given: Sequence[str]) -> Tensor:
            texts.append(list(given))
            return shortness(given)

        settings = replace(SHORT, seed=seed, updates=updates, max_new_tokens=12, learning_rate=1e-9)
        trained(settings, reward, prompts=asked()[:1] * 8)
        return texts

    assert first(0) == first(0) != first(1)
    one, two = first(0, updates=2)
    assert one != two
    start = [ppo.Policy(loaded()[0], replace(SHORT, seed=seed)).trained() for seed in (0, 0, 1)]
    name = next(name for name in start[0] if "lora_A" in name)
    assert torch.equal(start[0][name], start[1][name])
    assert not torch.equal(start[0][name], start[2][name])


def test_the_judge_is_asked_about_the_policy() -> None:
    said: list[float] = []
    read = loaded()[1](asked()[:1], return_tensors="pt")

    def judge(model: Any) -> float:
        with torch.no_grad():
            said.append(float(model(**read, decoder_input_ids=torch.tensor([[0, 5]])).logits.std()))
        return said[-1]

    history = trained(replace(SHORT, updates=2, judge_every=1, max_new_tokens=12), judge=judge).history
    assert [row["judged"] for row in history] == said
    assert said[0] != said[1]


def test_a_prompt_is_read_without_what_the_tokenizer_does_not_know() -> None:
    policy, tokenizer = ppo.Policy(loaded()[0], SHORT), loaded()[1]
    typed, read = (policy.read(tokenizer, [f"#Person1#: {name}?"])[0] for name in ("Zoë", "Zoe"))
    assert torch.equal(typed, read)


def test_prompts_are_used_once_before_one_is_used_again() -> None:
    names = [str(i) for i in range(20)]
    batches = [ppo.batch_of(names, number, SHORT) for number in range(1, 6)]
    assert sorted([name for batch in batches for name in batch]) == sorted(names * 2)
    assert sorted([*batches[0], *batches[1], *batches[2][:4]]) == sorted(names)
    assert ppo.batch_of(names, 3, SHORT) == batches[2]
    assert ppo.batch_of(names, 3, replace(SHORT, seed=1)) != batches[2]


def test_learning_rates_fall_and_the_value_head_has_its_own() -> None:
    settings = replace(SHORT, updates=4, value_rate=3.0, anneal=True)
    optimizer = ppo.make_optimizer(ppo.Policy(loaded()[0], settings), settings)
    assert [group["lr"] for group in optimizer.param_groups] == pytest.approx([1e-3, 3e-3])
    ppo.set_rates(optimizer, settings, number=4)
    assert [group["lr"] for group in optimizer.param_groups] == pytest.approx([2.5e-4, 7.5e-4])
    ppo.set_rates(optimizer, replace(settings, anneal=False), number=4)
    assert [group["lr"] for group in optimizer.param_groups] == pytest.approx([1e-3, 3e-3])


def test_the_kl_coefficient_follows_the_kl_where_a_target_is_set() -> None:
    settings = replace(SHORT, target_kl=4.0, kl_horizon=80)
    assert ppo.next_kl_coef(0.5, 9.0, SHORT) == 0.5
    assert ppo.next_kl_coef(0.5, 4.0, settings) == 0.5
    assert ppo.next_kl_coef(0.5, 4.4, settings) == pytest.approx(0.5 * (1 + 0.1 * 8 / 80))
    assert ppo.next_kl_coef(0.5, 99.0, settings) == pytest.approx(0.5 * (1 + 0.2 * 8 / 80))
    assert ppo.next_kl_coef(0.5, 0.0, settings) == pytest.approx(0.5 * (1 - 0.2 * 8 / 80))


def test_a_resumed_run_ends_as_one_that_was_never_stopped() -> None:
    calls: list[int] = []

    def stops_in_the_third_update(texts: Sequence[str]) -> Tensor:
        calls.append(len(texts))
        if calls.count(SHORT.batch_size) == 3 and len(texts) == SHORT.batch_size:
            raise KeyboardInterrupt
        return shortness(texts)

    settings = replace(SHORT, updates=4, max_new_tokens=12)
    with TemporaryDirectory() as folder:
        with pytest.raises(Interrupted):
            trained(settings, stops_in_the_third_update, folder=Path(folder))
        resumed = trained(settings, stops_in_the_third_update, folder=Path(folder))
    whole = trained(settings)
    assert without_seconds(resumed.history) == without_seconds(whole.history)
    for name, tensor in whole.policy.trained().items():
        assert torch.equal(resumed.policy.trained()[name], tensor), name


def test_no_invariant_is_broken_in_a_training() -> None:
    trained(SHORT)


# Each of them is a test of its own, above.
GUARDS: dict[str, Callable[[], None]] = {
    "rewards": test_rewards_are_the_kl_penalty_and_the_score_at_the_last_token,
    "advantages": test_advantages_follow_the_definition,
    "horizon": test_behind_the_longest_length_nothing_is_expected,
    "clip": test_a_ratio_beyond_the_clip_gains_nothing_more,
    "value clip": test_a_value_beyond_the_clip_gains_nothing_more,
    "log-probabilities": test_log_probabilities_and_values_are_those_of_the_model,
    "sampling": test_what_is_sampled_follows_the_probabilities_that_are_computed,
    "whitening": test_a_rollout_is_whitened_and_counts_nothing_behind_the_end,
    "rollout": test_a_rollout_follows_the_definitions,
    "learning": test_learning_takes_the_steps_of_the_definition,
    "log": test_every_quantity_of_a_rollout_is_computed_as_it_is_defined,
    "KL coefficient": test_the_kl_coefficient_of_the_log_is_the_one_that_is_paid_and_follows_the_kl,
    "seed": test_another_seed_starts_elsewhere_and_draws_other_responses,
    "judge": test_the_judge_is_asked_about_the_policy,
    "resumed": test_a_resumed_run_ends_as_one_that_was_never_stopped,
    "invariants": test_no_invariant_is_broken_in_a_training,
}

# Mistakes that are easily made. Each is put into the place of a function, and one of the guards must notice.


def given(function: Callable[..., Any], **changes: Callable[[dict[str, Any]], Any]) -> Callable[..., Any]:
    """The function with other arguments, each made by ``changes`` of the right ones."""

    def wrong(*args: Any, **named: Any) -> Any:
        right = arguments(function, *args, **named)
        return function(**right | {name: change(right) for name, change in changes.items()})

    return wrong


def then(function: Callable[..., Any], change: Callable[[Any, dict[str, Any]], Any]) -> Callable[..., Any]:
    """The function with another result, made by ``change`` of the right one and the arguments."""

    def wrong(*args: Any, **named: Any) -> Any:
        return change(function(*args, **named), arguments(function, *args, **named))

    return wrong


def arguments(function: Callable[..., Any], *args: Any, **named: Any) -> dict[str, Any]:
    """What a function is called with, by name."""
    bound = inspect.signature(function).bind(*args, **named)
    bound.apply_defaults()
    return bound.arguments


def without_first(mask: Tensor) -> Tensor:
    return torch.cat([torch.zeros_like(mask[:, :1]), mask[:, 1:]], dim=1)


def without_last(mask: Tensor) -> Tensor:
    return torch.cat([mask[:, 1:], torch.zeros_like(mask[:, :1])], dim=1)


def clipped_to(low: Callable[[float], float], high: Callable[[float], float]) -> Callable[..., Any]:
    """The policy's loss with the ratio clipped to other bounds."""

    def change(right: tuple[Tensor, dict[str, Tensor]], called: dict[str, Any]) -> tuple[Tensor, dict[str, Tensor]]:
        ratio = (called["logprobs"] - called["old_logprobs"]).exp()
        clipped = ratio.clamp(low(called["clip"]), high(called["clip"]))
        loss = torch.maximum(-called["advantages"] * ratio, -called["advantages"] * clipped)
        return ppo.masked_mean(loss, called["mask"]), right[1]

    return then(ppo.policy_loss, change)


def same_state(right: tuple[Tensor, Tensor], called: dict[str, Any]) -> tuple[Tensor, Tensor]:
    """Advantages with delta_t = r_t + gamma V_t - V_t."""
    rewards, values = called["rewards"], called["values"]
    called |= {"rewards": rewards + (called["gamma"] - 1) * values, "values": torch.zeros_like(values)}
    return GAE(**called)[0], right[1]


GAE = ppo.gae


def bootstrapped(called: dict[str, Any]) -> Tensor:
    """Rewards in which the value of the last state stands for what a longer response might have earned."""
    rewards = called["rewards"].clone()
    rewards[:, -1] += called["gamma"] * called["values"][:, -1] * called["mask"][:, -1]
    return rewards


def reference_with_adapter(policy: ppo.Policy, *read: Tensor) -> Tensor:
    with torch.no_grad():
        return policy(*read)[0]


def of_first_layer(out: Any, called: dict[str, Any]) -> Any:
    policy = called["self"]
    read = parts.shifted_right(called["tokens"], policy.model.config.decoder_start_token_id)
    values = policy.value_head(policy.model.get_decoder().embed_tokens(read))[..., 0]
    return out[0], values, out[2]


def asked_about_reference(called: dict[str, Any]) -> Callable[[Any], float]:
    def judge(model: Any) -> float:
        with model.disable_adapter():
            return called["judge"](model)

    return judge


def exchanged_clips(called: dict[str, Any]) -> ppo.Settings:
    settings = called["settings"]
    return replace(settings, clip=settings.value_clip, value_clip=settings.clip)


def sampled(**other: Any) -> tuple[Any, str, Any, str]:
    """Another way of sampling."""
    return (
        parts,
        "sampling",
        then(parts.sampling, lambda config, _: config.update(**other) or config),
        "sampling",
    )


def logged(**wrong: Callable[[dict[str, float], dict[str, Any]], Any]) -> tuple[Any, str, Any, str]:
    """One quantity of the log computed in another way."""
    ((name, value),) = wrong.items()
    return (
        ppo,
        "measure_update",
        then(ppo.measure_update, lambda row, called: row | {name: float(value(row, called))}),
        "log",
    )


def in_loss(**wrong: Callable[[dict[str, Any]], Any]) -> tuple[Any, str, Any, str]:
    """Something else of the rollout handed to the loss."""

    def changed(called: dict[str, Any]) -> parts.Rollout:
        return replace(called["old"], **{name: value(called) for name, value in wrong.items()})

    return ppo, "ppo_loss", given(ppo.ppo_loss, old=changed), "learning"


# What is broken, the name of the function, what stands in its place, and the guard that must notice.
MISTAKES: dict[str, tuple[Any, str, Any, str]] = {
    # Masks and rewards.
    "no mask behind the end": (ppo, "response_mask", lambda tokens, end: torch.ones_like(tokens), "invariants"),
    "the first token does not count": (
        ppo,
        "response_mask",
        then(ppo.response_mask, lambda mask, _: without_first(mask)),
        "invariants",
    ),
    "the sign of the KL": (
        ppo,
        "token_rewards",
        given(ppo.token_rewards, kl_coef=lambda called: -called["kl_coef"]),
        "rewards",
    ),
    "the score is spread over all tokens": (
        ppo,
        "token_rewards",
        then(ppo.token_rewards, lambda x, c: x.sum(1, keepdim=True) / c["mask"].sum(1, keepdim=True) * c["mask"]),
        "rewards",
    ),
    "scores are always centred": (
        ppo,
        "token_rewards",
        given(ppo.token_rewards, scores=lambda called: called["scores"] - called["scores"].mean()),
        "rollout",
    ),
    "only high scores are cut": (
        ppo,
        "cut_scores",
        lambda scores, limit: scores if limit is None else scores.clamp(max=limit),
        "rollout",
    ),
    "the KL coefficient stays": (ppo, "next_kl_coef", lambda kl_coef, kl, settings: kl_coef, "KL coefficient"),
    "the KL coefficient is not paid": (
        ppo,
        "roll_out",
        given(ppo.roll_out, kl_coef=lambda called: None),
        "KL coefficient",
    ),
    # Advantages and returns.
    "advantages one step off": (
        ppo,
        "gae",
        then(ppo.gae, lambda right, called: (right[0].roll(1, dims=1) * called["mask"], right[1])),
        "advantages",
    ),
    "the value of the same state": (ppo, "gae", then(ppo.gae, same_state), "advantages"),
    "the last value behind the longest length": (ppo, "gae", given(ppo.gae, rewards=bootstrapped), "horizon"),
    "gamma for lambda": (ppo, "gae", given(ppo.gae, gamma=lambda c: c["lam"], lam=lambda c: c["gamma"]), "rollout"),
    "returns from whitened advantages": (
        ppo,
        "gae",
        then(ppo.gae, lambda right, c: (right[0], (ppo.whiten(right[0], c["mask"]) + c["values"]) * c["mask"])),
        "rollout",
    ),
    "advantages are not whitened": (ppo, "whiten", lambda x, mask: x, "whitening"),
    # Losses.
    "the ratio is not clipped": (ppo, "policy_loss", clipped_to(lambda c: 0, lambda c: math.inf), "clip"),
    "the ratio is clipped above only": (ppo, "policy_loss", clipped_to(lambda c: 0, lambda c: 1 + c), "clip"),
    "the ratio is clipped below only": (ppo, "policy_loss", clipped_to(lambda c: 1 - c, lambda c: math.inf), "clip"),
    "the lower clip is 1 / (1 + clip)": (
        ppo,
        "policy_loss",
        clipped_to(lambda c: 1 / (1 + c), lambda c: 1 + c),
        "clip",
    ),
    "the value is clipped above only": (
        ppo,
        "value_loss",
        given(ppo.value_loss, old_values=lambda called: torch.minimum(called["old_values"], called["values"])),
        "value clip",
    ),
    "approx_kl is always 0": (
        ppo,
        "policy_loss",
        then(ppo.policy_loss, lambda right, _: (right[0], right[1] | {"approx_kl": torch.zeros(())})),
        "clip",
    ),
    "the end token is never trained": in_loss(mask=lambda called: without_last(called["old"].mask)),
    "old log-probabilities are renewed": in_loss(logprobs=lambda called: called["logprobs"].detach()),
    "old values are renewed": in_loss(values=lambda called: called["values"].detach()),
    "advantages are whitened again": in_loss(advantages=lambda c: ppo.whiten(c["old"].advantages, c["old"].mask)),
    "clip for value_clip": (ppo, "ppo_loss", given(ppo.ppo_loss, settings=exchanged_clips), "learning"),
    # The policy.
    "dropout on from the start": (ppo.Policy, "eval", ppo.Policy.train, "invariants"),
    "dropout on while learning": (
        ppo,
        "learn",
        given(ppo.learn, policy=lambda called: called["policy"].train()),
        "invariants",
    ),
    "dropout on from the second update": (
        ppo,
        "learn",
        then(ppo.learn, lambda right, called: right if called["policy"].train() else right),
        "invariants",
    ),
    "the reference moves": (ppo.Policy, "reference", reference_with_adapter, "invariants"),
    "tokens scored one place off": (parts, "shifted_right", lambda tokens, start: tokens, "log-probabilities"),
    "the value head reads the first layer": (
        ppo.Policy,
        "forward",
        then(ppo.Policy.forward, of_first_layer),
        "log-probabilities",
    ),
    "sampled colder than scored": sampled(temperature=0.5),
    "sampled from the 50 likeliest tokens": sampled(top_k=50),
    "sampled without the rarest tokens": sampled(top_p=0.95),
    "the adapter's start ignores the seed": (lora, "attach", given(lora.attach, seed=lambda called: 0), "seed"),
    "samples ignore the seed": (
        processes,
        "random_numbers",
        given(processes.random_numbers, seed=lambda called: 0),
        "seed",
    ),
    # The steps of an update.
    "the returns of another response": (
        ppo.Rollout,
        "part",
        then(ppo.Rollout.part, lambda part, _: replace(part, returns=part.returns.roll(1, dims=0))),
        "learning",
    ),
    "gradients are never cleared": (torch.optim.Adam, "zero_grad", lambda self: None, "learning"),
    "gradients are not cut": (
        torch.nn.utils,
        "clip_grad_norm_",
        given(torch.nn.utils.clip_grad_norm_, max_norm=lambda called: math.inf),
        "learning",
    ),
    "only the first minibatch": (
        processes,
        "minibatches",
        then(processes.minibatches, lambda several, _: islice(several, 1)),
        "learning",
    ),
    "only one epoch": (
        ppo,
        "learn",
        given(ppo.learn, settings=lambda called: replace(called["settings"], epochs=1)),
        "learning",
    ),
    "Adam's moments are not restored": (torch.optim.Adam, "load_state_dict", lambda self, state: None, "resumed"),
    # What is logged.
    "the objective plus KL": logged(objective=lambda row, called: row["score"] + called["kl_coef"] * row["kl"]),
    "all responses have ended": logged(ended=lambda row, called: 1),
    "what the value head did not foresee": logged(explained=lambda row, called: 1 - row["explained"]),
    "entropy of padding, too": logged(entropy=lambda row, called: called["rollout"].entropy.mean()),
    "the judge is asked about the reference": (
        ppo,
        "train",
        given(ppo.train, judge=asked_about_reference),
        "judge",
    ),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_a_wrong_variant_is_noticed(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    place, function, wrong, guard = MISTAKES[name]
    monkeypatch.setattr(place, function, wrong)
    # An invariant says it in words, a test finds it in numbers; any other error would mean a broken mistake.
    with pytest.raises((LabError, AssertionError)):
        GUARDS[guard]()
