"""GRPO, RLOO, DPO, ORPO and supervised training: losses against formulas and trl, updates, and wrong variants."""

from __future__ import annotations

import inspect
import math
from collections import defaultdict
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from benchmarks import orpo, supervised
from genai_labs.errors import LabError
from genai_labs.finetuning import lora
from genai_labs.rlhf import dpo, group, ppo
from genai_labs.rlhf.policy import Policy
from tests.ppo_runs import SHORT, asked, loaded, shortness
from tests.variants import Variant, assert_noticed

CLOSE = 1e-8
GROUPS = group.GroupSettings(
    updates=2, batch_size=8, minibatch=4, epochs=2, rank=4, alpha=4, max_new_tokens=60, group=4, learning_rate=3e-3
)
RLOO = replace(GROUPS, method="rloo")
PAIRS = dpo.PairSettings(
    updates=2, batch_size=8, minibatch=8, epochs=3, rank=4, alpha=4, max_new_tokens=60, group=4, learning_rate=3e-3
)
# Two groups of three responses, of different lengths, with numbers of no meaning behind their ends.
MASK = torch.tensor([[1, 1, 1, 1], [1, 1, 0, 0], [1, 0, 0, 0], [1, 1, 1, 0], [1, 1, 1, 1], [1, 0, 0, 0]])
SCORES = torch.tensor([1.5, -0.5, 2.0, 0.3, 0.3, -4.0], dtype=torch.float64)


def numbers(seed: int, scale: float = 1.0) -> Tensor:
    """[batch, time], in double precision."""
    return scale * torch.randn(MASK.shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


OLD = -numbers(0).abs() - 0.3
NEW, REF = OLD + numbers(1, 0.3), OLD + numbers(2, 0.3)


def kept(x: Tensor) -> list[list[float]]:
    """The numbers of each response, without what stands behind its end."""
    return [row[: int(mask.sum())].tolist() for row, mask in zip(x, MASK, strict=True)]


def agrees(ours: Tensor, theirs: float) -> None:
    assert float(ours) == pytest.approx(theirs, abs=CLOSE)


# ------------------------------------------------------------------------------------------------------- the formulas


def test_advantages_of_grpo_are_standard_scores_within_the_group() -> None:
    wanted = []
    for scores in (SCORES[:3].tolist(), SCORES[3:].tolist()):
        mean = sum(scores) / 3
        spread = math.sqrt(sum((x - mean) ** 2 for x in scores) / 2)
        wanted += [(x - mean) / (spread + 1e-4) for x in scores]
    assert group.group_advantages(SCORES, 3).tolist() == pytest.approx(wanted, abs=CLOSE)
    assert group.group_advantages(torch.ones(4), 2).tolist() == [0, 0, 0, 0]


def test_the_baseline_of_rloo_is_the_mean_of_the_others() -> None:
    a, b, c, d, e, f = SCORES.tolist()
    wanted = [a - (b + c) / 2, b - (a + c) / 2, c - (a + b) / 2, d - (e + f) / 2, e - (d + f) / 2, f - (d + e) / 2]
    assert group.leave_one_out(SCORES, 3).tolist() == pytest.approx(wanted, abs=CLOSE)


def test_a_baseline_without_the_sample_leaves_the_gradient_unbiased() -> None:
    """All pairs of two samples of a coin that is heads with chance p: the mean estimate is the gradient itself."""
    p, reward = 0.3, {1: 2.0, 0: -1.0}
    estimate = 0.0
    for first in (1, 0):
        for second in (1, 0):
            chance = (p if first else 1 - p) * (p if second else 1 - p)
            scores = torch.tensor([reward[first], reward[second]], dtype=torch.float64)
            slopes = [1 / p if each else -1 / (1 - p) for each in (first, second)]
            advantages = group.leave_one_out(scores, 2).tolist()
            estimate += chance * sum(a * s for a, s in zip(advantages, slopes, strict=True)) / 2
    assert estimate == pytest.approx(reward[1] - reward[0], abs=CLOSE)  # d/dp of p r(1) + (1 - p) r(0)


def grpo_by_hand(advantages: list[float], clip: float, price: float) -> float:
    losses = []
    for new, old, ref, a in zip(kept(NEW), kept(OLD), kept(REF), advantages, strict=True):
        each = []
        for x, y, z in zip(new, old, ref, strict=True):
            ratio = math.exp(x - y)
            gain = min(ratio * a, min(max(ratio, 1 - clip), 1 + clip) * a)
            each.append(gain - price * (math.exp(z - x) - (z - x) - 1))
        losses.append(-sum(each) / len(each))
    return sum(losses) / len(losses)


def grpo(new: Tensor = NEW, old: Tensor = OLD, ref: Tensor = REF, **changed: Any) -> Tensor:
    known: dict[str, Any] = {
        "old_logprobs": old,
        "ref_logprobs": ref,
        "advantages": SCORES,
        "clip": 0.2,
        "kl_coef": 0.3,
    }
    return group.grpo_loss(new, MASK, **known | changed)


def test_grpo_s_loss_is_the_formula() -> None:
    agrees(grpo(), grpo_by_hand(SCORES.tolist(), 0.2, 0.3))
    agrees(grpo(clip=0.05, kl_coef=0.0), grpo_by_hand(SCORES.tolist(), 0.05, 0.0))


def rloo_by_hand(advantages: list[float], clip: float) -> float:
    gains = []
    for new, old, a in zip(kept(NEW), kept(OLD), advantages, strict=True):
        ratio = math.exp(sum(new) - sum(old))
        gains.append(min(ratio * a, min(max(ratio, 1 - clip), 1 + clip) * a))
    return -sum(gains) / len(gains)


def rloo(new: Tensor = NEW, old: Tensor = OLD, **changed: Any) -> Tensor:
    known: dict[str, Any] = {"old_logprobs": old, "advantages": SCORES, "clip": 0.2}
    return group.rloo_loss(new, MASK, **known | changed)


def test_rloo_s_loss_is_the_formula() -> None:
    agrees(rloo(), rloo_by_hand(SCORES.tolist(), 0.2))
    agrees(rloo(clip=0.6), rloo_by_hand(SCORES.tolist(), 0.6))


def test_rloo_s_first_step_is_reinforce() -> None:
    """At ratio 1 the gradient is that of minus the mean of advantage times log-probability of the whole response."""
    new = OLD.clone().requires_grad_()
    rloo(new).backward()
    torch.testing.assert_close(new.grad, -(SCORES[:, None] * MASK) / len(SCORES), atol=CLOSE, rtol=0)


@pytest.mark.parametrize("junk", [float("inf"), float("-inf"), float("nan"), 1e9])
def test_what_stands_behind_an_end_does_not_matter(junk: float) -> None:
    def spoiled(x: Tensor) -> Tensor:
        return torch.where(MASK.bool(), x, junk)

    for loss, wanted in (
        (grpo(spoiled(NEW), spoiled(OLD), spoiled(REF)), grpo()),
        (rloo(spoiled(NEW), spoiled(OLD)), rloo()),
    ):
        agrees(loss, float(wanted))
    assert torch.equal(dpo.whole_logprobs(spoiled(NEW), MASK), dpo.whole_logprobs(NEW, MASK))


CHOSEN, REJECTED, REF_CHOSEN, REF_REJECTED = (numbers(seed)[:, 0] * 3 - 9 for seed in (5, 6, 7, 8))


def dpo_by_hand(beta: float) -> float:
    rows = zip(*(x.tolist() for x in (CHOSEN, REJECTED, REF_CHOSEN, REF_REJECTED)), strict=True)
    return sum(-math.log(1 / (1 + math.exp(-beta * ((c - rc) - (r - rr))))) for c, r, rc, rr in rows) / len(CHOSEN)


def test_dpo_s_loss_is_the_formula() -> None:
    for beta in (0.1, 0.7):
        agrees(dpo.dpo_loss(CHOSEN, REJECTED, REF_CHOSEN, REF_REJECTED, beta), dpo_by_hand(beta))


def test_dpo_s_loss_is_trl_s_on_the_same_log_probabilities() -> None:
    """Its trainer's own method, with log-probabilities in place of a model: those of whole texts, as tokens of them."""
    from trl import DPOTrainer

    def model(**_: Any) -> SimpleNamespace:
        both = torch.cat([NEW * MASK, OLD * MASK])
        some = torch.zeros_like(both)
        return SimpleNamespace(log_probs=both, entropy=some, mean_logits=some, is_top1=some.bool(), loss=None)

    mask = torch.cat([MASK, MASK])
    given = torch.cat([torch.zeros(len(mask), 1, dtype=torch.long), mask], dim=1)  # one token of a prompt in front
    reference = {"ref_chosen_logps": REF_CHOSEN, "ref_rejected_logps": REF_REJECTED}
    same = SimpleNamespace(gather=lambda x: x, gather_for_metrics=lambda x: x, device="cpu")
    for beta in (0.1, 0.7):
        trainer: Any = SimpleNamespace(
            model=SimpleNamespace(training=True),
            accelerator=same,
            beta=beta,
            aux_loss_enabled=False,
            ld_alpha=None,
            precompute_ref_logps=True,
            f_divergence_type="reverse_kl",
            loss_types=["sigmoid"],
            loss_weights=[1.0],
            use_weighting=False,
            label_smoothing=0.0,
            _total_train_tokens=0,
            _tp_size=1,
            _metrics={"train": defaultdict(list)},
        )
        inputs = {"input_ids": given, "attention_mask": given, "completion_mask": given, **reference}
        theirs = DPOTrainer._compute_loss(trainer, model, inputs, False)
        chosen, rejected = dpo.whole_logprobs(NEW, MASK), dpo.whole_logprobs(OLD, MASK)
        agrees(dpo.dpo_loss(chosen, rejected, REF_CHOSEN, REF_REJECTED, beta), float(theirs))


def test_pairs_are_the_best_and_the_worst_of_their_groups() -> None:
    best, worst = dpo.best_and_worst(SCORES, 3)
    assert (best.tolist(), worst.tolist()) == ([2, 3], [1, 5])
    best, worst = dpo.best_and_worst(torch.tensor([1.0, 1.0, 2.0, 3.0]), 2)
    assert (best.tolist(), worst.tolist()) == ([3], [2]), "where all are alike there is nothing to learn"


# ---------------------------------------------------------------------------------------------------------- trainings


def lively(texts: Any) -> Tensor:
    """A reward by which samples of a group differ: fewer letters are better."""
    return shortness(texts)


def by_groups(settings: group.GroupSettings) -> tuple[Policy, list[dict[str, float]]]:
    policy = Policy(loaded()[0], settings)
    run = ppo.train(policy, loaded()[1], asked(), lively, settings, method=group.METHOD)
    return policy, run.history


@cache
def some_pairs() -> list[dpo.Pairs]:
    return dpo.make_pairs(Policy(loaded()[0], PAIRS), loaded()[1], asked(), lively, PAIRS)


def by_dpo(settings: dpo.PairSettings = PAIRS) -> tuple[Policy, list[dict[str, float]]]:
    policy = Policy(loaded()[0], settings)
    return policy, dpo.learn_from_pairs(policy, some_pairs(), settings)


def by_orpo(settings: dpo.PairSettings = PAIRS) -> tuple[Policy, list[dict[str, float]]]:
    policy = Policy(loaded()[0], settings)
    orpo.train_by_orpo(policy, loaded()[1], some_pairs(), settings)
    return policy, []


LONGER = replace(SHORT, epochs=3)


def by_references(settings: ppo.Settings = LONGER) -> tuple[Policy, list[dict[str, float]]]:
    policy = Policy(loaded()[0], settings)
    told = ["#Person1# and #Person2# talk."] * len(asked())
    return policy, supervised.train_on_references(policy, loaded()[1], asked(), told, settings)


TRAININGS: dict[str, Callable[[], tuple[Policy, list[dict[str, float]]]]] = {
    "grpo": lambda: by_groups(GROUPS),
    "rloo": lambda: by_groups(RLOO),
    "dpo": by_dpo,
    "orpo": by_orpo,
    "supervised": by_references,
}


@pytest.mark.parametrize("name", TRAININGS)
def test_only_the_adapter_moves_and_the_base_stays_bit_for_bit(name: str) -> None:
    before = lora.fingerprint(loaded()[0])
    policy, history = TRAININGS[name]()
    assert lora.fingerprint(loaded()[0]) == policy.fingerprint() == before
    moved = {n for n, p in policy.trained().items() if "lora_B" in n and p.any()}
    assert moved == {n for n in policy.trained() if "lora_B" in n}
    assert not policy.value_head.weight.any(), "none of them has a use for it"
    assert not any(module.training for module in policy.modules())
    if name in ("grpo", "rloo"):
        assert history[0]["kl"] == pytest.approx(0, abs=1e-3)
        assert "value_loss" not in history[0]
    if name in ("dpo", "supervised"):
        assert history[-1]["loss"] < history[0]["loss"]


def test_dpo_begins_at_log_2_and_makes_the_chosen_text_likelier_than_the_rejected() -> None:
    settings = replace(PAIRS, epochs=1, learning_rate=1e-9)
    assert by_dpo(settings)[1][0]["loss"] == pytest.approx(math.log(2), abs=1e-3)
    for policy in (by_dpo()[0], by_orpo()[0]):
        gains = []
        for batch in some_pairs():
            for side in (batch.chosen, batch.rejected):
                with torch.no_grad():
                    new = policy(side.states, side.source_mask, side.tokens)[0]
                gains.append(dpo.whole_logprobs(new - side.ref_logprobs, side.mask).mean())
        assert sum(gains[0::2]) > sum(gains[1::2])


@pytest.mark.parametrize("settings", [GROUPS, RLOO], ids=["grpo", "rloo"])
def test_groups_are_responses_to_one_prompt_and_advantages_have_mean_0(settings: group.GroupSettings) -> None:
    policy = Policy(loaded()[0], settings)
    torch.manual_seed(0)
    rollout = group.roll_out_groups(policy, loaded()[1], asked()[:8], lively, settings)
    assert len(rollout.texts) == 8
    assert torch.equal(rollout.states[0], rollout.states[3])
    assert not torch.equal(rollout.states[3], rollout.states[4])
    advantages = rollout.advantages[:, 0].view(-1, settings.group)
    assert advantages.mean(1).tolist() == pytest.approx([0, 0], abs=1e-5)
    assert torch.equal(rollout.advantages, rollout.advantages[:, :1] * rollout.mask)
    assert advantages.abs().sum() > 0


def test_pairs_come_from_the_policy_before_it_learns() -> None:
    (first, second) = some_pairs()
    for batch in (first, second):
        assert len(batch.prompts) == len(batch.chosen.texts) == len(batch.rejected.texts) <= 2
        assert (batch.chosen.scores > batch.rejected.scores).all()
        assert torch.equal(batch.chosen.states, batch.rejected.states)
    policy, _ = by_dpo()
    with pytest.raises(LabError, match="the KL between policy and reference must be 0"):
        dpo.make_pairs(policy, loaded()[1], asked(), lively, PAIRS)


def test_what_does_not_fit_together_is_said_in_words() -> None:
    with pytest.raises(LabError, match="method must be grpo or rloo"):
        replace(GROUPS, method="dpo")
    for settings in (GROUPS, PAIRS):
        with pytest.raises(LabError, match=r"group of 3 for each prompt\. .* multiple of the group"):
            replace(settings, group=3)
        with pytest.raises(LabError, match=r"Only PPO follows a target_kl.* Leave it at None"):
            replace(settings, target_kl=6.0)
    with pytest.raises(LabError, match="20 prompts, but 1 references"):
        supervised.train_on_references(Policy(loaded()[0], SHORT), loaded()[1], asked(), ["They talk."], SHORT)


@pytest.mark.parametrize(
    ("reward", "words"),
    [(0.0, "gave all responses the same"), (math.nan, "response 0 is not a number. Mend the reward")],
)
def test_a_reward_that_makes_no_pairs_is_said_in_words(reward: float, words: str) -> None:
    once = replace(PAIRS, updates=1, max_new_tokens=8)
    with pytest.raises(LabError, match=words):
        dpo.make_pairs(Policy(loaded()[0], once), loaded()[1], asked(), lambda texts: [reward] * len(texts), once)


def test_a_batch_without_a_pair_is_left_out() -> None:
    given = iter([[0.0] * 8, [0.0, 0.0, 0.0, 1.0] * 2])
    twice = replace(PAIRS, max_new_tokens=8)
    (batch,) = dpo.make_pairs(Policy(loaded()[0], twice), loaded()[1], asked(), lambda _: next(given), twice)
    assert len(batch.prompts) == 2


@pytest.mark.filterwarnings("ignore")  # that what is experimental may change
def test_orpo_takes_a_pair_at_a_time_at_least(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = []

    def trainer(args: Any, **_: object) -> Any:
        sizes.append(args.per_device_train_batch_size)
        return SimpleNamespace(train=lambda: None)

    monkeypatch.setattr("trl.experimental.orpo.ORPOTrainer", trainer)
    orpo.train_by_orpo(Policy(loaded()[0], PAIRS), loaded()[1], [], replace(PAIRS, minibatch=1))
    assert sizes == [1]


@pytest.mark.parametrize("module", [group, dpo, orpo, supervised])
def test_each_rival_is_short_to_read(module: Any) -> None:
    assert len(inspect.getsource(module).splitlines()) <= 120


# ----------------------------------------------------------------------------------------------------- wrong variants


def mean_of_all(scores: Tensor, size: int) -> Tensor:
    grouped = scores.view(-1, size)
    return (grouped - grouped.mean(1, keepdim=True)).flatten()


LOSS, GRPO_LOSS, RLOO_LOSS = dpo.dpo_loss, group.grpo_loss, group.rloo_loss
BEST_AND_WORST = dpo.best_and_worst


def k1_in_the_loss(logprobs: Tensor, mask: Tensor, *, kl_coef: float, ref_logprobs: Tensor, **known: Any) -> Tensor:
    without = GRPO_LOSS(logprobs, mask, kl_coef=0.0, ref_logprobs=ref_logprobs, **known)
    return without + kl_coef * ((logprobs - ref_logprobs) * mask).sum(1).div(mask.sum(1)).mean()


def turned_price(*given: Any, kl_coef: float, **known: Any) -> Tensor:
    return GRPO_LOSS(*given, kl_coef=-kl_coef, **known)


def swapped_references(*given: Any, old_logprobs: Tensor, ref_logprobs: Tensor, **known: Any) -> Tensor:
    return GRPO_LOSS(*given, old_logprobs=ref_logprobs, ref_logprobs=old_logprobs, **known)


def unmasked(loss: Callable[..., Tensor]) -> Callable[..., Tensor]:
    return lambda logprobs, mask, **known: loss(logprobs, torch.ones_like(mask), **known)


def turned(loss: Callable[..., Tensor]) -> Callable[..., Tensor]:
    return lambda *given, **known: -loss(*given, **known)


def by_tokens(logprobs: Tensor, mask: Tensor, *, old_logprobs: Tensor, advantages: Tensor, clip: float) -> Tensor:
    ratio = torch.where(mask.bool(), logprobs - old_logprobs, 0).exp()
    each = advantages[:, None]
    return -ppo.masked_mean(torch.minimum(ratio * each, ratio.clamp(1 - clip, 1 + clip) * each), mask)


def mean_logprobs(logprobs: Tensor, mask: Tensor) -> Tensor:
    return torch.where(mask.bool(), logprobs, 0).sum(1) / mask.sum(1)


def biased_spread(scores: Tensor, size: int) -> Tensor:
    grouped = scores.view(-1, size)
    return ((grouped - grouped.mean(1, keepdim=True)) / (grouped.std(1, keepdim=True, correction=0) + 1e-4)).flatten()


def over_the_batch(scores: Tensor, size: int) -> Tensor:
    return (scores - scores.mean()) / (scores.std() + 1e-4)


junk_matters = lambda: test_what_stands_behind_an_end_does_not_matter(1e9)  # noqa: E731
grpo_learns = lambda: test_only_the_adapter_moves_and_the_base_stays_bit_for_bit("grpo")  # noqa: E731
dpo_learns = lambda: test_only_the_adapter_moves_and_the_base_stays_bit_for_bit("dpo")  # noqa: E731

WRONG: dict[str, tuple[Any, str, Any, Callable[[], None]]] = {
    "grpo: the sign is turned": (group, "grpo_loss", turned(GRPO_LOSS), test_grpo_s_loss_is_the_formula),
    "grpo: KL is paid for": (group, "grpo_loss", turned_price, test_grpo_s_loss_is_the_formula),
    "grpo: k1 in place of k3": (group, "grpo_loss", k1_in_the_loss, test_grpo_s_loss_is_the_formula),
    "grpo: reference and old policy swapped": (
        group, "grpo_loss", swapped_references, test_grpo_s_loss_is_the_formula,
    ),
    "grpo: no mask": (group, "grpo_loss", unmasked(GRPO_LOSS), junk_matters),
    "grpo: one mean over the batch": (
        group, "group_advantages", over_the_batch, test_advantages_of_grpo_are_standard_scores_within_the_group,
    ),
    "grpo: another standard deviation": (
        group, "group_advantages", biased_spread, test_advantages_of_grpo_are_standard_scores_within_the_group,
    ),
    "rloo: the baseline counts its own sample": (
        group, "leave_one_out", mean_of_all, test_the_baseline_of_rloo_is_the_mean_of_the_others,
    ),
    "rloo: the baseline counts its own sample, by the gradient": (
        group, "leave_one_out", mean_of_all, test_a_baseline_without_the_sample_leaves_the_gradient_unbiased,
    ),
    "rloo: the sign is turned": (group, "rloo_loss", turned(RLOO_LOSS), test_rloo_s_loss_is_the_formula),
    "rloo: no mask": (group, "rloo_loss", unmasked(RLOO_LOSS), junk_matters),
    "rloo: a ratio for each token": (group, "rloo_loss", by_tokens, test_rloo_s_first_step_is_reinforce),
    "dpo: the sign is turned": (dpo, "dpo_loss", turned(LOSS), test_dpo_s_loss_is_the_formula),
    "dpo: the reference is left out": (
        dpo, "dpo_loss", lambda c, r, rc, rr, beta: LOSS(c, r, 0 * rc, 0 * rr, beta), test_dpo_s_loss_is_the_formula,
    ),
    "dpo: policy and reference swapped": (
        dpo, "dpo_loss", lambda c, r, rc, rr, beta: LOSS(rc, rr, c, r, beta), test_dpo_s_loss_is_the_formula,
    ),
    "dpo: a mean over tokens": (
        dpo, "whole_logprobs", mean_logprobs, test_dpo_s_loss_is_trl_s_on_the_same_log_probabilities,
    ),
    "dpo: policy and reference swapped, in training": (
        dpo, "dpo_loss", lambda c, r, rc, rr, beta: LOSS(rc, rr, c, r, beta),
        test_dpo_begins_at_log_2_and_makes_the_chosen_text_likelier_than_the_rejected,
    ),
    "dpo: worst and best exchanged": (
        dpo, "best_and_worst", lambda scores, size: BEST_AND_WORST(-scores, size),
        test_pairs_are_the_best_and_the_worst_of_their_groups,
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", WRONG)
def test_a_usual_mistake_is_noticed(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert_noticed(Variant(*WRONG[name]), monkeypatch)


@pytest.mark.parametrize("name", ["grpo", "dpo"])
def test_a_reference_that_moves_and_dropout_are_noticed(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(Policy, "reference", lambda self, *given: self(*given)[0].detach())
        with pytest.raises(LabError, match="The reference has moved"):
            TRAININGS[name]()
    if name == "grpo":
        policy = Policy(loaded()[0], GROUPS).train()
        with pytest.raises(LabError, match="training mode"):
            ppo.train(policy, loaded()[1], asked(), lively, GROUPS, method=group.METHOD)
    else:
        policy = Policy(loaded()[0], PAIRS).train()
        with pytest.raises(LabError, match="training mode"):
            dpo.make_pairs(policy, loaded()[1], asked(), lively, PAIRS)
