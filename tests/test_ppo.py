"""PPO: its mathematics against reference numbers and definitions, whole runs, interruptions, and wrong variants."""

import copy
import csv
import functools
import json
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from genai_labs.errors import Interrupted, LabError
from genai_labs.finetuning import lora
from genai_labs.loading import data, models
from genai_labs.loading.profiles import load_profile
from genai_labs.paths import ROOT
from genai_labs.prompting import prompts
from genai_labs.rlhf import checkpoints, ppo
from genai_labs.rlhf.checks import Witness
from genai_labs.scoring import toxicity
from genai_labs.system.devices import has_bf16

SHARED = ROOT.parent / "shared" / "data" / "ppo" / "parity.json"
KL, GAMMA, LAM, CLIP, COEF = 0.2, 1.0, 0.95, 0.2, 0.1


def tensor(values: Any) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


def agrees(ours: Tensor | None, theirs: Tensor) -> None:
    torch.testing.assert_close(ours, theirs, atol=1e-6, rtol=1e-6)


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
    loss, stats = ppo.ppo_loss(
        logprobs, given["logprobs_old"], whitened, values, given["values_old"], returns, mask, CLIP, CLIP, COEF
    )
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
    return ppo.ppo_loss(logprobs, LOGPROBS, advantages, new, VALUES, returns, MASK, 0.2, 0.2, 0.1)


def test_an_unchanged_policy_has_ratio_1_and_no_kl() -> None:
    loss, stats = loss_of(LOGPROBS)
    assert stats["approx_kl"] == 0
    assert stats["policy_clipfrac"] == 0
    assert stats["policy_loss"].item() == pytest.approx(-(1.0 - 1.0 + 0.5 - 0.5) / 4)
    errors = [(0.5 - 1) ** 2, 0.0, 1.0, 1.0]
    assert stats["value_loss"].item() == pytest.approx(0.5 * sum(errors) / 4)
    assert loss.item() == pytest.approx((stats["policy_loss"] + 0.1 * stats["value_loss"]).item())


def test_a_ratio_beyond_the_clip_gains_nothing_more() -> None:
    moved = LOGPROBS.clone()
    moved[0, 0] += 0.5  # advantage 1: the loss would fall without the clip
    moved.requires_grad_()
    loss, stats = loss_of(moved)
    loss.backward()
    assert moved.grad is not None
    assert moved.grad[0, 0] == 0
    assert stats["policy_clipfrac"].item() == pytest.approx(1 / 4)
    assert stats["policy_loss"].item() == pytest.approx(-(1.2 - 1.0 + 0.5 - 0.5) / 4)


def test_a_value_beyond_the_clip_gains_nothing_more() -> None:
    values = VALUES.clone()
    values[0, 2] = 0.9  # the old one was 0, the return is 1
    values.requires_grad_()
    loss, stats = loss_of(LOGPROBS, values)
    loss.backward()
    assert values.grad is not None
    assert values.grad[0, 2] == 0
    assert stats["value_clipfrac"].item() == pytest.approx(1 / 4)


@pytest.mark.parametrize("junk", [0.0, 1e6, float("inf"), float("nan")])
def test_what_stands_behind_the_end_never_matters(junk: float) -> None:
    def spoiled(x: Tensor) -> Tensor:
        return torch.where(MASK.bool(), x, junk)

    logprobs, values = spoiled(LOGPROBS - 0.1).requires_grad_(), spoiled(VALUES + 0.1).requires_grad_()
    rewards = ppo.token_rewards(SCORES, spoiled(LOGPROBS), spoiled(REFERENCE), MASK, 0.2)
    advantages, returns = ppo.gae(spoiled(rewards), spoiled(VALUES), MASK, 1.0, 0.95)
    white = ppo.whiten(spoiled(advantages), MASK)
    loss, stats = ppo.ppo_loss(
        logprobs, spoiled(LOGPROBS), spoiled(white), values, spoiled(VALUES), spoiled(returns), MASK, 0.2, 0.2, 0.1
    )
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
        return ppo.ppo_loss(x, old, advantages, v, old_values, returns, mask, 0.2, 0.2, 0.1)[0]

    assert torch.autograd.gradcheck(loss, (logprobs, values))


# The whole of it, on the small model that the labs use.

SHORT = ppo.Settings(
    updates=2,
    batch_size=8,
    minibatch=4,
    epochs=1,
    rank=4,
    alpha=4,
    learning_rate=1e-3,
    anneal=False,
    max_new_tokens=60,
    save_every=1,
)
Loaded = tuple[PreTrainedModel, PreTrainedTokenizerBase]


@functools.cache
def loaded() -> Loaded:
    """The small model, with the dropout that T5 is usually configured with: PPO must not let it loose."""
    model, tokenizer = models.load_model(load_profile("mini"))
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.1
    return model, tokenizer


@functools.cache
def asked() -> list[str]:
    rows = data.load_split(load_profile("mini").dataset, "train")[:20]
    return [prompts.zero_shot("\n".join(row.dialogue.splitlines()[:4])) for row in rows]


def shortness(texts: Sequence[str]) -> Tensor:
    """A reward that needs no classifier: fewer letters are better."""
    return torch.tensor([-len(text) / 50 for text in texts])


def trained(settings: ppo.Settings = SHORT, reward: Any = shortness, **options: Any) -> ppo.Run:
    """A run of the module under test from a fresh policy."""
    given = ppo.Settings(**asdict(settings))
    return ppo.train(ppo.Policy(loaded()[0], given), loaded()[1], asked(), reward, given, **options)


def without_seconds(history: list[dict[str, float]]) -> list[dict[str, float]]:
    return [{name: value for name, value in row.items() if not name.endswith("_s")} for row in history]


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
        logprobs, values, entropy = policy(states, source_mask, tokens)
        read = tokenizer(asked()[:3], padding=True, return_tensors="pt")
        begun = torch.cat([torch.zeros_like(tokens[:, :1]), tokens[:, :-1]], 1)
        logits = model(read["input_ids"], attention_mask=read["attention_mask"], decoder_input_ids=begun).logits
    expected = torch.distributions.Categorical(logits=logits)
    rounding = 0.05 if has_bf16() else 1e-3
    torch.testing.assert_close(logprobs, expected.log_prob(tokens), atol=4 * rounding, rtol=rounding)
    torch.testing.assert_close(entropy, expected.entropy(), atol=4 * rounding, rtol=rounding)
    assert (values == 0).all(), "the value head starts at zero"


def test_what_is_sampled_follows_the_probabilities_that_are_computed() -> None:
    tokenizer = loaded()[1]
    policy = ppo.Policy(loaded()[0], SHORT)
    states, source_mask = policy.read(tokenizer, asked()[:1])
    torch.manual_seed(0)
    many = policy.sample(states.expand(600, -1, -1), source_mask.expand(600, -1), 2)[:, 1]
    first = policy.sample(states.expand(600, -1, -1), source_mask.expand(600, -1), 1)
    assert many.unique().numel() > 1
    with torch.no_grad():
        logprobs, _, entropy = policy(states.expand(600, -1, -1), source_mask.expand(600, -1), first)
    # The mean surprise of what was drawn is the entropy; drawing from fewer tokens or colder would make it smaller.
    surprise = -logprobs[:, 0]
    assert abs(surprise.mean() - entropy[0, 0]) < 4 * surprise.std() / 600**0.5 + 1e-4


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
    witness = Witness(policy, rollout)
    witness.check(policy, weights_too=True)
    touched = next(p for name, p in policy.model.named_parameters() if "layer_norm" in name and "decoder" in name)
    with torch.no_grad():
        touched[0] += 1e-7 + 1e-7 * touched[0].abs()
    witness.check(policy)
    with pytest.raises(LabError, match="its weights have changed"):
        witness.check(policy, weights_too=True)
    with torch.no_grad():
        touched.mul_(2)
    with pytest.raises(LabError, match="The reference has moved"):
        witness.check(policy)


def test_every_quantity_is_logged_as_it_is_defined(tmp_path: Path) -> None:
    run = trained(folder=tmp_path, judge=lambda m: 0.25)
    assert set(run.history[0]) == set(ppo.METRICS)
    assert run.history[0]["kl"] == pytest.approx(0, abs=1e-4)
    assert run.history[0]["score"] == pytest.approx(run.history[0]["objective"], abs=1e-4)
    assert run.history[0]["judged"] == 0.25
    assert "judged" not in run.history[1], "the judge is asked before update 1 and 6 only"
    with (tmp_path / "log.csv").open(encoding="utf-8") as file:
        written = list(csv.DictReader(file))
    assert list(written[0]) == list(ppo.METRICS)
    assert [float(row["kl"]) for row in written] == [row["kl"] for row in run.history]
    assert all(name in str(run.curves()) for name in ("reward", "KL", "judge"))


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


# Interruptions.

SCRIPT = """
import sys
from dataclasses import replace
from pathlib import Path
sys.path.insert(0, sys.argv[2])
import test_ppo
test_ppo.trained(replace(test_ppo.SHORT, updates=4), folder=Path(sys.argv[1]))
"""


def test_a_killed_run_goes_on_and_ends_as_an_unbroken_one(tmp_path: Path) -> None:
    settings = replace(SHORT, updates=4)
    unbroken = trained(settings, folder=tmp_path / "unbroken")
    broken = tmp_path / "broken"
    tests = str(Path(__file__).parent)
    process = subprocess.Popen([sys.executable, "-c", SCRIPT, str(broken), tests], stderr=subprocess.DEVNULL)
    end = time.monotonic() + 120
    while not checkpoints.whole(broken) and process.poll() is None and time.monotonic() < end:
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert process.returncode == -signal.SIGKILL, "the run ended before it could be killed"
    (broken / "update-00099").mkdir()  # one that was being written
    resumed = trained(settings, folder=broken)
    assert without_seconds(resumed.history) == without_seconds(unbroken.history)
    for name, now in resumed.policy.trained().items():
        assert torch.equal(now, unbroken.policy.trained()[name]), name
    log = (broken / "log.csv").read_text(encoding="utf-8")
    assert len(log.splitlines()) == 1 + 4


class Breaks:
    """A reward that does something else when it is asked about a third batch."""

    def __init__(self, what: BaseException | float) -> None:
        self.what, self.calls = what, 0

    def __call__(self, texts: Sequence[str]) -> Tensor:
        self.calls += len(texts) == SHORT.batch_size  # by which it is known what kind of reward this is
        if self.calls < 3:
            return shortness(texts)
        if isinstance(self.what, BaseException):
            raise self.what
        return shortness(texts) * self.what


def test_an_interruption_stops_and_keeps_what_the_last_checkpoint_has(tmp_path: Path) -> None:
    settings = replace(SHORT, updates=4)
    with pytest.raises(Interrupted, match=r"in update 3 of 4\. What was trained up to update 2 is kept"):
        interrupted(settings, tmp_path)
    assert len(trained(settings, folder=tmp_path).history) == 4
    with pytest.raises(Interrupted, match="nothing else is kept, as no folder was named"):
        interrupted(settings, None)


def interrupted(settings: ppo.Settings, folder: Path | None) -> None:
    """A run that is interrupted in its third update."""
    trained(settings, Breaks(KeyboardInterrupt()), folder=folder)


def test_a_finished_run_is_handed_out_again_and_nothing_is_trained(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    first = trained(folder=tmp_path, judge=lambda m: 0.25)
    log = (tmp_path / "log.csv").read_bytes()
    assert "finished before" not in capsys.readouterr().out
    with monkeypatch.context() as patch:
        patch.setattr(ppo, "learn", None)
        again = trained(folder=tmp_path, judge=lambda m: 0.25)
        twice = ppo.train(again.policy, loaded()[1], asked(), shortness, SHORT, tmp_path, judge=lambda m: 0.5)
    assert capsys.readouterr().out.count("nothing is trained again. To train anew: resume=False") == 2
    for run in (again, twice):
        assert run.history == first.history
        assert run.seconds == first.seconds
        assert str(run.curves()) == str(first.curves())
        assert all(torch.equal(now, first.policy.trained()[name]) for name, now in run.policy.trained().items())
    assert (tmp_path / "log.csv").read_bytes() == log


@pytest.mark.parametrize(
    "other",
    [
        {"reward": lambda texts: shortness(texts) / 2},
        {"judge": lambda m: 0.5},
        {"judge": None},
        {"resume": False},
        {"settings": replace(SHORT, seed=1)},
    ],
    ids=["reward", "judge", "no judge", "on demand", "settings"],
)
def test_a_finished_run_of_something_else_is_trained_anew(
    other: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given: dict[str, Any] = {"judge": lambda m: 0.25, "folder": tmp_path}
    short = replace(SHORT, updates=1)
    first = trained(short, **given)
    changed = other | ({"settings": replace(short, seed=1)} if "settings" in other else {"settings": short})
    second = trained(**given | changed)
    assert second.history[0]["rollout_s"] != first.history[0]["rollout_s"]
    assert "finished before" not in capsys.readouterr().out


def test_an_interrupted_run_does_not_go_on_with_another_reward(tmp_path: Path) -> None:
    settings = replace(SHORT, updates=4)
    with pytest.raises(Interrupted):
        interrupted(settings, tmp_path)
    with pytest.raises(LabError, match="interrupted run with another plan"):
        trained(settings, lambda texts: shortness(texts) / 2, folder=tmp_path)


def test_a_damaged_checkpoint_is_said_and_the_one_before_is_gone_on_from(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = replace(SHORT, updates=4)
    unbroken = trained(settings)
    for name, damage in (("trained.safetensors", 40), ("optimizer.pt", 100), ("state.json", 0)):
        folder = tmp_path / name
        with pytest.raises(Interrupted):
            interrupted(settings, folder)
        (folder / "update-00002" / name).write_bytes((folder / "update-00002" / name).read_bytes()[:damage])
        resumed = trained(settings, folder=folder)
        assert f"update-00002 ({name}). So the training goes on from update-00001" in capsys.readouterr().out
        assert without_seconds(resumed.history) == without_seconds(unbroken.history)


def test_a_reward_that_is_not_a_number_stops_and_names_the_last_good_checkpoint(tmp_path: Path) -> None:
    with pytest.raises(LabError, match=r"update 3 because the reward.*not a number.*checkpoint is update-00002"):
        trained(replace(SHORT, updates=4), Breaks(float("nan")), folder=tmp_path)
    restored = ppo.Policy(loaded()[0], SHORT)
    checkpoints.restore(restored, tmp_path / "update-00002")
    two = trained(SHORT)
    assert all(torch.equal(now, two.policy.trained()[name]) for name, now in restored.trained().items())


def test_a_collapsed_policy_stops_the_run() -> None:
    wild = replace(SHORT, learning_rate=0.3, updates=6, kl_coef=0.0, most_kl=20.0, epochs=4)
    with pytest.raises(LabError, match=r"the policy has collapsed\. There is no checkpoint"):
        trained(wild)


def test_a_folder_with_another_unfinished_run_is_not_overwritten(tmp_path: Path) -> None:
    with pytest.raises(Interrupted):
        interrupted(replace(SHORT, updates=4), tmp_path)
    with pytest.raises(LabError, match="interrupted run with another plan"):
        trained(replace(SHORT, updates=4, seed=1), folder=tmp_path)
    assert len(trained(replace(SHORT, updates=1, seed=1), folder=tmp_path, resume=False).history) == 1


NONSENSE: list[tuple[str, Any]] = [
    *((name, value) for name in ("updates", "epochs", "minibatch", "batch_size") for value in (0, -1, 2.5, "8", True)),
    *(("learning_rate", value) for value in (0, -1e-3, float("nan"), float("inf"), None)),
    *(("target_kl", value) for value in (0, -1.0, float("nan"))),
    *(("kl_coef", value) for value in (-0.1, float("nan"))),
    ("rank", 0),
    ("seed", -1),
    ("gamma", 1.5),
]


def test_what_cannot_be_trained_is_said_in_words() -> None:
    with pytest.raises(LabError, match="multiple of the minibatch"):
        replace(SHORT, minibatch=3)
    for name, value in NONSENSE:
        with pytest.raises(LabError, match=rf"Nothing can be trained with {name}=.*: {name} must be "):
            replace(SHORT, **{name: value})
    with pytest.raises(LabError, match="A higher one|a higher one adds numbers that can learn nothing more"):
        ppo.Policy(loaded()[0], replace(SHORT, rank=100_000))
    with pytest.raises(LabError, match=r"none of its matrices has a name like .*called k, lm_head, o, q, v"):
        ppo.Policy(loaded()[0], replace(SHORT, targets=("query",)))
    with pytest.raises(LabError, match="There are 20 prompts, but an update needs 32"):
        trained(replace(SHORT, batch_size=32))
    with pytest.raises(LabError, match=r"a tensor of shape \[8, 2\] for 8 texts"):
        trained(SHORT, lambda texts: torch.zeros(len(texts), 2))
    policy = trained().policy
    with pytest.raises(LabError, match="the KL between policy and reference must be 0"):
        ppo.train(policy, loaded()[1], asked(), shortness, SHORT)


# Mistakes that everyone makes once. Each is put into a copy of the module, and something must notice.

SHIFTED = "deltas = (rewards + gamma * following - values).roll(1, dims=1)"
NO_FIRST = "mask = (ended_before == 0).int()\n    mask[:, 0] = 0\n    return mask"
# What is changed in the module, from one text to another, and the guard that must notice.
MISTAKES: dict[str, tuple[str, str, str]] = {
    "the sign of the KL": ("-kl_coef * (logprobs", "kl_coef * (logprobs", "rewards"),
    "no mask behind the end": (
        "return (ended_before == 0).int()",
        "return torch.ones_like(tokens, dtype=torch.int)",
        "invariants",
    ),
    "the first token does not count": ("return (ended_before == 0).int()", NO_FIRST, "invariants"),
    "dropout on from the start": ("        self.eval()", "        self.train()", "invariants"),
    "dropout on from the second update": ("    steps: list", "    policy.train()\n    steps: list", "invariants"),
    "the ratio is not clipped": ("ratio.clamp(1 - clip, 1 + clip)", "ratio", "clip"),
    "advantages are not whitened": ("advantages=whiten(advantages, mask, total)", "advantages=advantages", "rollout"),
    "the reference moves": ("torch.no_grad(), self.model.disable_adapter():", "torch.no_grad():", "invariants"),
    "advantages one step off": ("deltas = rewards + gamma * following - values", SHIFTED, "advantages"),
    "the value of the same state": (
        "torch.cat([values[:, 1:], torch.zeros_like(values[:, :1])], dim=1)",
        "values",
        "advantages",
    ),
    "tokens scored one place off": (
        "torch.full_like(tokens[:, :1], start), tokens[:, :-1]]",
        "tokens]",
        "log-probabilities",
    ),
    "sampled colder than scored": ("temperature=1.0", "temperature=0.5", "sampling"),
    "the score is spread over all tokens": ("rewards.scatter_add(1, last[:, None],", "rewards.add(", "rewards"),
}


def two_updates() -> None:
    """The invariants at run time."""
    trained(SHORT)


GUARDS: dict[str, Callable[[], None]] = {
    "rewards": test_rewards_are_the_kl_penalty_and_the_score_at_the_last_token,
    "advantages": test_advantages_follow_the_definition,
    "clip": test_a_ratio_beyond_the_clip_gains_nothing_more,
    "invariants": two_updates,
    "log-probabilities": test_log_probabilities_and_values_are_those_of_the_model,
    "sampling": test_what_is_sampled_follows_the_probabilities_that_are_computed,
    "rollout": test_a_rollout_is_whitened_and_counts_nothing_behind_the_end,
}


@pytest.mark.parametrize("name", MISTAKES)
def test_a_wrong_variant_is_noticed(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    right, wrong, guard = MISTAKES[name]
    source = Path(ppo.__file__).read_text(encoding="utf-8")
    assert source.count(right) == 1, "the mistake cannot be put into the module: its text has changed"
    mutant = ModuleType("mutant")
    monkeypatch.setitem(sys.modules, "mutant", mutant)
    exec(compile(source.replace(right, wrong), "mutant.py", "exec"), vars(mutant))
    monkeypatch.setitem(globals(), "ppo", mutant)
    # An invariant says it in words, a test finds it in numbers; any other error would mean a broken mutant.
    with pytest.raises((LabError, AssertionError)):
        GUARDS[guard]()


@pytest.mark.parametrize("guard", GUARDS)
def test_the_guards_are_content_with_the_module_as_it_is(guard: str) -> None:
    GUARDS[guard]()


def test_a_reward_read_from_the_wrong_label_is_noticed_before_anything_is_trained() -> None:
    with pytest.raises(LabError, match="upside down"):
        trained(reward=sorted_like_a_pipeline, probe=toxicity.check_reward)
    assert trained(
        replace(SHORT, updates=1), lambda texts: logits(texts)["nothate"], probe=toxicity.check_reward
    ).history


def logits(texts: Sequence[str]) -> dict[str, Tensor]:
    """What a classifier says that knows four words."""
    hate = torch.tensor([3.0 if re.search("nobody|hourglass", text) else -2.0 for text in texts])
    return {"nothate": -hate, "hate": hate}


def sorted_like_a_pipeline(texts: Sequence[str]) -> Tensor:
    """What a fixed place in a list sorted by score gives: a hateful text is rewarded for being hateful."""
    return torch.stack(list(logits(texts).values())).max(0).values
