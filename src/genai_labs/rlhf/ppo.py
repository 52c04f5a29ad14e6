"""Proximal policy optimization (PPO) for encoder-decoder models, to be read from top to bottom.

First the settings and the mathematics, as pure functions on tensors; then who takes part: the policy, its reference and
its value head; then one update: summaries are sampled, scored, and learned from; at last the loop. What is logged is
defined in :data:`genai_labs.rlhf.log.METRICS`, what must always hold in :mod:`genai_labs.rlhf.checks`.

In the mathematics every tensor is [batch, time]. ``mask`` is 1 at the tokens of a response that count, from the first
generated one to the end token, and 0 behind them; what stands at masked positions of an input never matters, and
outputs are 0 there.

Schulman et al. 2017, https://arxiv.org/abs/1707.06347 (the clipped loss); Schulman et al. 2015,
https://arxiv.org/abs/1506.02438 (advantages); Ziegler et al. 2019, https://arxiv.org/abs/1909.08593 (the KL penalty,
its controller, and PPO for language models); Huang et al. 2022, "The 37 implementation details of PPO",
https://iclr-blog-track.github.io/2022/03/25/ppo-implementation-details/.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from accelerate.utils import broadcast, reduce
from peft import LoraConfig, PeftModel, TaskType
from torch import Tensor
from transformers import GenerationConfig, PreTrainedModel, PreTrainedTokenizerBase
from transformers.modeling_outputs import BaseModelOutput

from genai_labs.errors import Interrupted, LabError
from genai_labs.finetuning import lora
from genai_labs.prompting.generation import complete
from genai_labs.rlhf.checkpoints import Checkpoints, Judge, digest, opened
from genai_labs.rlhf.checks import (
    Collapse,
    Reward,
    Witness,
    check_collapse,
    check_finite,
    check_mask,
    check_plan,
    check_ratio,
    check_settings,
    check_start,
    checked_scores,
)
from genai_labs.rlhf.log import METRICS, Log, draw_curves
from genai_labs.show import display
from genai_labs.system import processes, shortage
from genai_labs.system.devices import has_bf16
from genai_labs.system.processes import here


@dataclass(frozen=True)
class Settings:
    """How to train by PPO.

    updates: how often summaries are sampled, scored and learned from. batch_size: prompts an update, over all
    processes. minibatch: responses a step of the optimizer. epochs: how often an update goes through its responses.
    learning_rate: of the adapter, falling linearly to 0 if ``anneal``; the value head gets ``value_rate`` times that.
    max_grad_norm: gradients longer than this are scaled down to it.

    kl_coef: what a nat of KL against the reference costs, in units of the reward. target_kl: None keeps kl_coef as it
    is; a number (nats a sequence) lets it grow and shrink so that the KL stays near it, slower the larger
    ``kl_horizon`` (responses). gamma: discount of later rewards; lam: of later errors in the advantages. clip,
    value_clip: how far a ratio may move from 1 and a value from its old one. value_coef: weight of the value loss.
    score_clip: scores beyond plus or minus this are cut to it; None leaves them. center: subtract the batch's mean
    score; else, until the value head knows the mean, the late tokens of all responses look better than the early ones
    wherever scores are mostly positive.

    rank, alpha, targets: of the adapter, whose B A is scaled by alpha / rank, on the decoder's matrices of these names:
    by default its feed-forward layers. Its attention, which copies names and numbers out of the dialogue, then stays as
    it was, and summaries lose less than with an adapter on queries and values (``("q", "v")``).
    max_new_tokens: the longest response. seed: adapter, order of the prompts, and what is sampled.

    save_every, judge_every: updates between two checkpoints and two calls of the judge. most_kl: nats a sequence above
    which the policy is called collapsed and the run is stopped (math.inf: never).
    """

    updates: int = 20
    batch_size: int = 32
    minibatch: int = 16
    epochs: int = 4
    learning_rate: float = 1.5e-3
    anneal: bool = True
    value_rate: float = 5.0
    max_grad_norm: float = 1.0
    kl_coef: float = 0.3
    target_kl: float | None = None
    kl_horizon: int = 1000
    gamma: float = 1.0
    lam: float = 1.0
    clip: float = 0.2
    value_clip: float = 0.5
    value_coef: float = 0.1
    score_clip: float | None = None
    center: bool = True
    rank: int = 16
    alpha: int = 16
    targets: tuple[str, ...] = ("wi_0", "wi_1", "wo")
    max_new_tokens: int = 80
    seed: int = 0
    save_every: int = 5
    judge_every: int = 5
    most_kl: float = 60.0

    def __post_init__(self) -> None:
        check_settings(self)


EPSILON = 1e-8  # under the root of the variance when advantages are whitened


def masked_mean(x: Tensor, mask: Tensor) -> Tensor:
    """The mean over all tokens that count, a scalar: a long response weighs more than a short one."""
    return torch.where(mask.bool(), x, 0).sum() / mask.sum()


def token_rewards(scores: Tensor, logprobs: Tensor, ref_logprobs: Tensor, mask: Tensor, kl_coef: float) -> Tensor:
    """The reward of each token: minus ``kl_coef`` times its KL term, and the score of the whole text at its last token.

    scores: [batch], one number a response. logprobs, ref_logprobs: of the sampled tokens, under the policy that
    sampled them and under the reference model, nats.
    """
    rewards = torch.where(mask.bool(), -kl_coef * (logprobs - ref_logprobs), 0)
    places = torch.arange(mask.shape[1], device=mask.device)
    last = (mask * places).argmax(1)
    written = mask.sum(1) > 0
    return rewards.scatter_add(1, last[:, None], torch.where(written, scores, 0).to(rewards.dtype)[:, None])


def gae(rewards: Tensor, values: Tensor, mask: Tensor, gamma: float, lam: float) -> tuple[Tensor, Tensor]:
    """Generalized advantage estimation: (advantages, returns), before whitening.

    With V the value of the state before a token, 0 behind the end:
    delta_t = r_t + gamma V_{t+1} - V_t, A_t = delta_t + gamma lam A_{t+1}, return_t = A_t + V_t.
    """
    rewards, values = (torch.where(mask.bool(), x, 0) for x in (rewards, values))
    following = torch.cat([values[:, 1:], torch.zeros_like(values[:, :1])], dim=1)
    deltas = rewards + gamma * following - values
    advantages = torch.zeros_like(deltas)
    running = torch.zeros_like(deltas[:, 0])
    for t in reversed(range(deltas.shape[1])):
        running = deltas[:, t] + gamma * lam * running
        advantages[:, t] = running
    return advantages * mask, (advantages + values) * mask


def whiten(x: Tensor, mask: Tensor, total: Callable[[Tensor], Tensor] = torch.sum) -> Tensor:
    """Shifted and scaled over all tokens that count to mean 0 and (unbiased) variance 1.

    total: how to sum up a tensor, over several processes too.
    """
    count = total(mask)
    centred = x - total(torch.where(mask.bool(), x, 0)) / count
    variance = total(torch.where(mask.bool(), centred**2, 0)) / count * count / (count - 1)
    return torch.where(mask.bool(), centred * torch.rsqrt(variance + EPSILON), 0)


def ppo_loss(
    logprobs: Tensor,
    old_logprobs: Tensor,
    advantages: Tensor,
    values: Tensor,
    old_values: Tensor,
    returns: Tensor,
    mask: Tensor,
    clip: float,
    value_clip: float,
    value_coef: float,
) -> tuple[Tensor, dict[str, Tensor]]:
    """The clipped loss of policy and value head, a scalar to be minimized, and what it is made of.

    Policy: the ratio of new to old probability times the advantage, where a ratio outside [1 - clip, 1 + clip] gains
    nothing more. Value: half the squared error against the returns, where a value more than ``value_clip`` away from
    the old one gains nothing more either. ``value_coef`` weighs the second against the first.

    Stats, all scalars: policy_loss, value_loss (not weighed), policy_clipfrac and value_clipfrac (shares of tokens
    where clipping counts, 0 to 1), approx_kl (half the mean squared difference of log-probabilities, nats).
    """
    keep = mask.bool()
    # Log-probabilities behind the end may be anything, infinite too; 0 keeps their gradients 0 and not NaN.
    difference = torch.where(keep, logprobs - old_logprobs, 0)
    ratio = difference.exp()
    advantages = torch.where(keep, advantages, 0)
    unclipped, clipped = -advantages * ratio, -advantages * ratio.clamp(1 - clip, 1 + clip)
    policy_loss = masked_mean(torch.maximum(unclipped, clipped), mask)

    values, old_values, returns = (torch.where(keep, x, 0) for x in (values, old_values, returns))
    near = torch.clamp(values, old_values - value_clip, old_values + value_clip)
    error, near_error = (values - returns) ** 2, (near - returns) ** 2
    value_loss = 0.5 * masked_mean(torch.maximum(error, near_error), mask)

    stats = {
        "policy_loss": policy_loss,
        "value_loss": value_loss,
        "policy_clipfrac": masked_mean((clipped > unclipped).to(ratio.dtype), mask),
        "value_clipfrac": masked_mean((near_error > error).to(ratio.dtype), mask),
        "approx_kl": 0.5 * masked_mean(difference**2, mask),
    }
    return policy_loss + value_coef * value_loss, {name: x.detach() for name, x in stats.items()}


NARROW = 384  # a d_model below which products stay in fp32

# Who takes part: the policy, the same weights without its adapter as reference, and the value head.


class Policy(torch.nn.Module):
    """An encoder-decoder model that learns by PPO, with its reference and its value head in one.

    model: ``base`` with a fresh LoRA adapter on the decoder; ``base`` itself is left alone. Since the encoder has no
    adapter, what it reads is the same for policy, reference and every epoch, and is computed once a batch. Without the
    adapter the model is the reference: no second copy. value_head: from the decoder's last hidden state (behind the
    final norm) to one number, zero at the start. Everything stays in eval mode: there is no dropout anywhere.
    """

    def __init__(self, base: PreTrainedModel, settings: Settings) -> None:
        super().__init__()
        config = LoraConfig(
            task_type=TaskType.SEQ_2_SEQ_LM,
            r=settings.rank,
            lora_alpha=settings.alpha,
            lora_dropout=0.0,
            target_modules=rf".*decoder\..*\.({'|'.join(settings.targets)})",
        )
        self.model: PeftModel = lora.attach(base, config, seed=settings.seed)
        self.value_head = torch.nn.Linear(base.config.d_model, 1, device=base.device)
        torch.nn.init.zeros_(self.value_head.weight)
        torch.nn.init.zeros_(self.value_head.bias)
        self.eval()

    @property
    def device(self) -> torch.device:
        return self.value_head.weight.device

    def trained(self) -> dict[str, Tensor]:
        """What training moves, by name: adapter and value head."""
        return {name: p for name, p in self.named_parameters() if p.requires_grad}

    def fingerprint(self) -> str:
        """Hash of all that training must not move."""
        return lora.fingerprint(self.model)

    def autocast(self) -> torch.autocast:
        """Matrix products in bf16 where the hardware has it (never fp16: T5 overflows in it) and it is quicker.

        For a decoder as narrow as the embedded one's, turning weights into bf16 takes longer than it saves: an update
        took 1.8 s with it and 1.4 s without.
        """
        narrow = self.value_head.in_features < NARROW and self.model.dtype == torch.float32
        wanted = has_bf16() and not narrow
        return torch.autocast(self.device.type, torch.bfloat16, enabled=wanted)

    @torch.no_grad()
    def read(self, tokenizer: PreTrainedTokenizerBase, prompts: Sequence[str]) -> tuple[Tensor, Tensor]:
        """What the encoder makes of the prompts, [batch, source, d_model], and their attention mask [batch, source].

        A prompt longer than the window loses its end; :func:`prompts.fit_all` cuts dialogues instead.
        """
        window = tokenizer.model_max_length
        read = tokenizer(list(prompts), padding=True, truncation=True, max_length=window, return_tensors="pt")
        ids, mask = (read[name].to(self.device) for name in ("input_ids", "attention_mask"))
        model: Any = self.model.get_base_model()
        with self.autocast():
            states = model.get_encoder()(input_ids=ids, attention_mask=mask)
        return states.last_hidden_state.float(), mask

    @torch.no_grad()
    def sample(self, states: Tensor, source_mask: Tensor, max_new_tokens: int) -> Tensor:
        """Responses drawn from the policy's own distribution, token ids [batch, time].

        Temperature 1, nothing cut off: with any other setting the tokens would come from a distribution whose
        probabilities nobody computes, and KL and ratios would mean nothing.
        """
        config = GenerationConfig(
            do_sample=True, temperature=1.0, top_k=0, top_p=1.0, num_beams=1, max_new_tokens=max_new_tokens
        )
        with self.autocast():
            made = self.model.generate(
                encoder_outputs=BaseModelOutput(last_hidden_state=states),
                attention_mask=source_mask,
                generation_config=complete(config, self.model),
            )
        return made[:, 1:]  # without the token that the decoder starts from

    def forward(self, states: Tensor, source_mask: Tensor, tokens: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Log-probability of each token (nats), value before it, and entropy of its distribution, each [batch, time].

        The entropy carries no gradient. tokens: as :meth:`sample` gives them.
        """
        start = self.model.generation_config.decoder_start_token_id
        before = torch.cat([torch.full_like(tokens[:, :1], start), tokens[:, :-1]], dim=1)
        with self.autocast():
            out = self.model(
                encoder_outputs=BaseModelOutput(last_hidden_state=states),
                attention_mask=source_mask,
                decoder_input_ids=before,
                output_hidden_states=True,
                use_cache=False,
            )
        logits = out.logits.float()
        normalizer = logits.logsumexp(-1)
        logprobs = logits.gather(-1, tokens[..., None])[..., 0] - normalizer
        with torch.no_grad():
            entropy = normalizer - (logits.softmax(-1) * logits).sum(-1)
        values = self.value_head(out.decoder_hidden_states[-1].float())[..., 0]
        return logprobs, values, entropy

    def reference(self, states: Tensor, source_mask: Tensor, tokens: Tensor) -> Tensor:
        """Log-probability of each token under the model without the adapter, [batch, time]."""
        with torch.no_grad(), self.model.disable_adapter():
            return self(states, source_mask, tokens)[0]


# One update: responses are sampled and scored, then learned from.


@dataclass
class Rollout:
    """A batch of responses and all that is known of them before the policy moves.

    states, source_mask: what the encoder read. tokens: [batch, time]; mask: 1 where they count. texts: the responses.
    scores: [batch]. logprobs, ref_logprobs, values, entropy: [batch, time], as :meth:`Policy.forward` gives them.
    rewards, advantages (whitened), returns: [batch, time]. seconds: of reading, sampling and scoring; of the reward.
    """

    states: Tensor
    source_mask: Tensor
    tokens: Tensor
    mask: Tensor
    texts: list[str]
    scores: Tensor
    logprobs: Tensor
    ref_logprobs: Tensor
    values: Tensor
    entropy: Tensor
    rewards: Tensor
    advantages: Tensor
    returns: Tensor
    seconds: tuple[float, float]

    @property
    def kl(self) -> Tensor:
        """log(policy / reference) summed over each response, nats, [batch]."""
        return torch.where(self.mask.bool(), self.logprobs - self.ref_logprobs, 0).sum(1)


def response_mask(tokens: Tensor, end: int) -> Tensor:
    """1 from the first token to the first end token, that one too, 0 behind it, [batch, time]."""
    ended_before = (tokens == end).cumsum(1) - (tokens == end).int()
    return (ended_before == 0).int()


def roll_out(
    policy: Policy,
    tokenizer: PreTrainedTokenizerBase,
    prompts: Sequence[str],
    reward: Reward,
    settings: Settings,
    kl_coef: float | None = None,
) -> Rollout:
    """Sample one response to each prompt, score it, and say what each of its tokens was good for."""
    kl_coef = settings.kl_coef if kl_coef is None else kl_coef
    start = time.perf_counter()
    states, source_mask = policy.read(tokenizer, prompts)
    tokens = policy.sample(states, source_mask, settings.max_new_tokens)
    mask = response_mask(tokens, tokenizer.eos_token_id)
    with torch.no_grad():
        logprobs, values, entropy = policy(states, source_mask, tokens)
    ref_logprobs = policy.reference(states, source_mask, tokens)
    asked = time.perf_counter()
    texts = [text.strip() for text in tokenizer.batch_decode(tokens * mask, skip_special_tokens=True)]
    scores = checked_scores(reward(texts), len(texts)).to(policy.device)
    rewarded = time.perf_counter()
    if settings.score_clip is not None:
        scores = scores.clamp(-settings.score_clip, settings.score_clip)
    centred = scores - mean(scores) if settings.center else scores
    rewards = token_rewards(centred, logprobs, ref_logprobs, mask, kl_coef)
    advantages, returns = gae(rewards, values, mask, settings.gamma, settings.lam)
    return Rollout(
        states=states,
        source_mask=source_mask,
        tokens=tokens,
        mask=mask,
        texts=texts,
        scores=scores,
        logprobs=logprobs,
        ref_logprobs=ref_logprobs,
        values=values,
        entropy=entropy,
        rewards=rewards,
        advantages=whiten(advantages, mask, total),
        returns=returns,
        seconds=(asked - start, rewarded - asked),
    )


def learn(policy: Policy, optimizer: torch.optim.Optimizer, rollout: Rollout, settings: Settings) -> dict[str, float]:
    """Go through the responses ``epochs`` times in minibatches; the mean over all steps of what was measured."""
    parameters = list(policy.trained().values())
    steps: list[dict[str, Tensor]] = []
    old = rollout
    for _ in range(settings.epochs):
        for rows, weight in minibatches(old.mask, settings.minibatch):
            longest = int(old.mask[rows].sum(1).max())
            known = (old.tokens, old.mask, old.logprobs, old.advantages, old.values, old.returns)
            tokens, mask, old_logprobs, advantages, old_values, returns = (x[rows, :longest] for x in known)
            logprobs, values, _ = policy(old.states[rows], old.source_mask[rows], tokens)
            if not steps:
                check_ratio(logprobs, old_logprobs, mask)
            loss, stats = ppo_loss(
                logprobs,
                old_logprobs,
                advantages,
                values,
                old_values,
                returns,
                mask,
                settings.clip,
                settings.value_clip,
                settings.value_coef,
            )
            optimizer.zero_grad()
            (loss * weight).backward()
            add_up_gradients(parameters)
            stats = {name: total(x * weight) for name, x in stats.items()}
            stats["gradient"] = torch.nn.utils.clip_grad_norm_(parameters, settings.max_grad_norm)
            check_finite(loss, stats["gradient"])
            optimizer.step()
            steps.append(stats)
    return {name: float(torch.stack([step[name] for step in steps]).mean()) for name in steps[0]}


# Several processes (``accelerate launch``, ``torchrun``): each samples and scores its share of the prompts, and all
# take the steps that one process with all responses would take. With one process nothing below changes anything.


def minibatches(mask: Tensor, size: int) -> Iterator[tuple[Tensor, float]]:
    """The responses in random order, ``size`` of all processes at a time: this process's rows of them, [rows], and
    the share of the tokens that count which these rows hold.

    Process p of n holds the responses p, p + n, p + 2 n ... of the batch. One that has none of a minibatch takes its
    first row with share 0, because all have to take part in every step.
    """
    state = here()
    order = torch.randperm(len(mask) * state.num_processes).to(mask.device)
    if state.num_processes > 1:
        order = broadcast(order)
    for chosen in order.split(size):
        mine = chosen[chosen % state.num_processes == state.process_index] // state.num_processes
        tokens = mask[mine].sum()
        share = 1.0 if state.num_processes == 1 else float(tokens / total(tokens))
        yield (mine if len(mine) else mine.new_zeros(1)), share


def total(x: Tensor) -> Tensor:
    """The sum over all elements, of all processes."""
    return reduce(x.sum(), "sum") if here().num_processes > 1 else x.sum()


def mean(x: Tensor) -> Tensor:
    """The mean over all elements, of all processes."""
    return total(x) / total(torch.ones_like(x)) if here().num_processes > 1 else x.mean()


def add_up_gradients(parameters: Sequence[Tensor]) -> None:
    """The sum of all processes' gradients, so that all take the same step."""
    if here().num_processes > 1:
        for parameter in parameters:
            parameter.grad = reduce(parameter.grad, "sum")


# The loop.


@dataclass
class Run:
    """A training by PPO that has ended.

    history: one row an update, the quantities of METRICS (``judged`` only where the judge was asked).
    folder: log and checkpoints (None: nothing was written).
    """

    policy: Policy
    settings: Settings
    folder: Path | None = None
    history: list[dict[str, float]] = field(default_factory=list)

    @property
    def model(self) -> PeftModel:
        """The policy without its value head: a summarizer with an adapter."""
        return self.policy.model

    @property
    def seconds(self) -> float:
        """All updates together, without what the judge took."""
        return sum(row["rollout_s"] + row["reward_s"] + row["update_s"] for row in self.history)

    def curves(self) -> display.Plot:
        """What was logged, drawn over the updates."""
        return draw_curves(self.history)


def train(
    policy: Policy,
    tokenizer: PreTrainedTokenizerBase,
    prompts: Sequence[str],
    reward: Reward,
    settings: Settings,
    folder: Path | None = None,
    judge: Judge | None = None,
    probe: Callable[[Reward], object] | None = None,
    resume: bool = True,
) -> Run:
    """Train the policy by PPO; it is changed in place.

    prompts: what it writes about; each is used once before one is used again. reward: texts to numbers. judge: asked
    before every ``judge_every``-th update; what it says is logged and never learned from. probe: called with the reward
    before anything else, to raise LabError if it rewards the wrong thing (:func:`toxicity.check_reward`).

    folder: where the log (``log.csv``) and the checkpoints go. A run of the same settings, prompts, start and reward
    that was interrupted there, at any moment, goes on from its last checkpoint and ends as an unbroken one would have;
    one that was finished is handed out again. resume: False trains anew. Raises LabError where an invariant is broken,
    and where the policy collapses, memory runs out, another process ends or another run uses the folder, naming the
    last good checkpoint; Interrupted, a KeyboardInterrupt that says what is kept, if somebody stops it.
    """
    check_plan(prompts, settings)
    if probe is not None:
        probe(reward)
    plan = {"settings": asdict(settings), "prompts": digest(prompts)}
    with opened(folder, plan, policy, reward, judge, resume) as saved:
        history = saved.finished(policy)
        if history is None:
            history = update_all(policy, tokenizer, prompts, reward, settings, judge, saved)
    return Run(policy, settings, folder, history)


def update_all(
    policy: Policy,
    tokenizer: PreTrainedTokenizerBase,
    prompts: Sequence[str],
    reward: Reward,
    settings: Settings,
    judge: Judge | None,
    saved: Checkpoints,
) -> list[dict[str, float]]:
    """All updates behind the last checkpoint, one after the other; the rows of METRICS of all updates."""
    optimizer = make_optimizer(policy, settings)
    kl_coef, history = saved.load(policy, optimizer) or (settings.kl_coef, [])
    log = Log(saved.folder, settings.updates, history)
    witness: Witness | None = None
    less = f"Take a smaller minibatch (it is {settings.minibatch}) or batch_size (it is {settings.batch_size})."
    try:
        with processes.together(saved.last_good), shortage.in_words("training by PPO", less, saved.last_good):
            for number in range(len(history) + 1, settings.updates + 1):
                judged = judge(policy.model) if judge and (number - 1) % settings.judge_every == 0 else None
                with random_numbers(settings, number):
                    batch = batch_of(prompts, number, settings)
                    rollout = roll_out(policy, tokenizer, batch, reward, settings, kl_coef)
                    check_mask(rollout, tokenizer.eos_token_id)
                    if number == 1:
                        check_start(policy, rollout)
                    witness = witness or Witness(policy, rollout)
                    start = time.perf_counter()
                    set_rates(optimizer, settings, number)
                    stats = learn(policy, optimizer, rollout, settings)
                stats["update_s"] = time.perf_counter() - start
                save = number % settings.save_every == 0 or number == settings.updates
                witness.check(policy, weights_too=save)
                row = measured(number, rollout, kl_coef, stats, judged, settings)
                check_collapse(row, settings)
                kl_coef = next_kl_coef(kl_coef, row["kl"], settings)
                history.append(row)
                log.write(row)
                if save:
                    saved.save(policy, optimizer, kl_coef, history)
            saved.finish()
    except KeyboardInterrupt:
        at = f"update {min(len(history) + 1, settings.updates)} of {settings.updates}"
        raise Interrupted(f"Interrupted in {at}. {saved.how_to_go_on()}") from None
    except Collapse as sign:
        raise LabError(
            f"The training was stopped in update {len(history) + 1} because {sign}: the policy has collapsed. "
            f"{saved.last_good()} Train again with a lower learning rate or a higher KL coefficient."
        ) from None
    finally:
        log.close()
    return history


def make_optimizer(policy: Policy, settings: Settings) -> torch.optim.Optimizer:
    """Adam; the value head, which starts from nothing, learns faster than the adapter."""
    adapter = [p for name, p in policy.trained().items() if "lora_" in name]
    groups: list[dict[str, Any]] = [{"params": adapter}, {"params": list(policy.value_head.parameters())}]
    optimizer = torch.optim.Adam(groups, betas=(0.9, 0.99))
    set_rates(optimizer, settings, number=1)
    return optimizer


def set_rates(optimizer: torch.optim.Optimizer, settings: Settings, number: int) -> None:
    """The learning rates of an update, those of adapter and value head."""
    left = 1 - (number - 1) / settings.updates if settings.anneal else 1.0
    for group, times in zip(optimizer.param_groups, (1.0, settings.value_rate), strict=True):
        group["lr"] = times * settings.learning_rate * left


def batch_of(prompts: Sequence[str], number: int, settings: Settings) -> list[str]:
    """The prompts of an update, or this process's share of them; by seed and number of the update alone."""
    places = range((number - 1) * settings.batch_size, number * settings.batch_size)
    orders = {
        epoch: random.Random(f"{settings.seed}-{epoch}").sample(range(len(prompts)), len(prompts))
        for epoch in {place // len(prompts) for place in places}
    }
    chosen = [prompts[orders[place // len(prompts)][place % len(prompts)]] for place in places]
    return chosen[here().process_index :: here().num_processes]


@contextmanager
def random_numbers(settings: Settings, number: int) -> Iterator[None]:
    """Random numbers that depend on seed, update and process alone, so that a resumed run draws the same.

    Outside, torch's random state is as if nothing had been drawn.
    """
    with torch.random.fork_rng():
        torch.manual_seed(settings.seed * 100_003 + number + 2**32 * here().process_index)
        yield


def measured(
    number: int,
    rollout: Rollout,
    kl_coef: float,
    stats: dict[str, float],
    judged: float | None,
    settings: Settings,
) -> dict[str, float]:
    """The row of METRICS of one update, over the responses of all processes."""
    mask, kl, returns = rollout.mask, rollout.kl, rollout.returns
    score, responses, tokens = mean(rollout.scores), total(torch.ones_like(kl)), total(mask)

    def token_mean(x: Tensor) -> Tensor:
        return total(torch.where(mask.bool(), x, 0)) / tokens

    missed, spread = token_mean((returns - rollout.values) ** 2), token_mean((returns - token_mean(returns)) ** 2)
    row: dict[str, Any] = {
        "update": number,
        "score": score,
        "score_std": torch.sqrt(total((rollout.scores - score) ** 2) / (responses - 1)),
        "kl": mean(kl),
        "kl_coef": kl_coef,
        "objective": mean(rollout.scores - kl_coef * kl),
        "entropy": token_mean(rollout.entropy),
        "length": mean(mask.sum(1).float()),
        "ended": mean((mask.sum(1) < settings.max_new_tokens).float()),
        "explained": 1 - missed / spread.clamp_min(EPSILON),
        "rollout_s": rollout.seconds[0],
        "reward_s": rollout.seconds[1],
        **stats,
    }
    known = {name: float(row[name]) for name in METRICS if name in row} | {"update": number}
    return known if judged is None else known | {"judged": float(judged)}


def next_kl_coef(kl_coef: float, kl: float, settings: Settings) -> float:
    """The KL coefficient for the next update: Ziegler et al. 2019, section 2.2, with their 0.2 as the largest error."""
    if settings.target_kl is None:
        return kl_coef
    error = min(max(kl / settings.target_kl - 1, -0.2), 0.2)
    return kl_coef * (1 + error * settings.batch_size / settings.kl_horizon)
