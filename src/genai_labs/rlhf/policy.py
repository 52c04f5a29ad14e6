"""Who takes part in PPO: the policy with its reference and its value head in one, and a rollout of what it wrote."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from peft import PeftModel
from torch import Tensor
from torch.nn.functional import cross_entropy
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from genai_labs.finetuning import lora
from genai_labs.inputs.text import readable
from genai_labs.prompting import decoding
from genai_labs.prompting.generation import complete, sampling
from genai_labs.rlhf.settings import Settings
from genai_labs.system.devices import has_bf16

Reward = Callable[[Sequence[str]], Any]  # texts to one number each, array or tensor [texts]; higher is better
NARROW = 384  # a d_model below which products stay in fp32


class Policy(torch.nn.Module):
    """An encoder-decoder model that learns by PPO, with its reference and its value head in one.

    model: ``base`` with a fresh LoRA adapter on the decoder; ``base`` itself is left alone. Since the encoder has no
    adapter, what it reads is the same for policy, reference and every epoch, and is computed once a batch. Without the
    adapter the model is the reference: no second copy. value_head: from the decoder's last hidden state (behind the
    final norm) to one number, zero at the start. Everything stays in eval mode: there is no dropout anywhere.
    """

    def __init__(self, base: PreTrainedModel, settings: Settings) -> None:
        super().__init__()
        config = lora.lora_config(settings.rank, settings.alpha, settings.targets, within="decoder")
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
        """Matrix products in bf16 where weights are stored in it, or the hardware has it and it is quicker.

        (Never fp16: T5 overflows in it.) For a decoder as narrow as the embedded one's, turning weights into bf16 takes
        longer than it saves: an update took 1.8 s with it and 1.4 s without.
        """
        stored = self.model.dtype == torch.bfloat16
        wanted = stored or (has_bf16() and self.value_head.in_features >= NARROW)
        return torch.autocast(self.device.type, torch.bfloat16, enabled=wanted)

    @torch.no_grad()
    def read(self, tokenizer: PreTrainedTokenizerBase, prompts: Sequence[str]) -> tuple[Tensor, Tensor]:
        """What the encoder makes of the prompts, [batch, source, d_model], and their attention mask [batch, source].

        A prompt longer than the window loses its end; :func:`prompts.fit_all` cuts dialogues instead.
        """
        window = tokenizer.model_max_length
        texts = [readable(prompt, tokenizer).text for prompt in prompts]
        read = tokenizer(texts, padding=True, truncation=True, max_length=window, return_tensors="pt")
        ids, mask = (read[name].to(self.device) for name in ("input_ids", "attention_mask"))  # [batch, source]
        model: Any = self.model.get_base_model()
        with self.autocast():
            states = model.get_encoder()(input_ids=ids, attention_mask=mask)
        return states.last_hidden_state.float(), mask

    @torch.no_grad()
    def sample(self, states: Tensor, source_mask: Tensor, max_new_tokens: int) -> Tensor:
        """Responses drawn from the policy's own distribution, token ids [batch, time]."""
        model: Any = self.model.get_base_model()
        config = complete(sampling(max_new_tokens), model)
        with self.autocast():
            return decoding.write_tokens(model, states, source_mask, config).tokens

    def forward(
        self, states: Tensor, source_mask: Tensor, tokens: Tensor, mask: Tensor | None = None, entropies: bool = True
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Log-probability of each token (nats), value before it, and entropy of its distribution, each [batch, time].

        Entropies, which nothing learns from, are 0 if not wanted or gradients are kept. tokens: as from :meth:`sample`.
        mask: [batch, time], 0 at tokens that do not count (None: all count). Their log-probability and entropy are 0,
        and the product with the vocabulary, which takes longest, is left out.
        """
        hidden = self._decoded(states, source_mask, tokens)
        counted = torch.ones_like(tokens, dtype=torch.bool) if mask is None else mask.bool()
        logits = self._logits(hidden[counted])  # [tokens that count, vocabulary]
        logprobs = -cross_entropy(logits, tokens[counted], reduction="none")  # [tokens that count]
        entropy = torch.zeros_like(logprobs)
        if entropies and not torch.is_grad_enabled():
            entropy = -(logits.softmax(-1) * logits.log_softmax(-1)).sum(-1)
        placed = [x.new_zeros(tokens.shape).masked_scatter(counted, x) for x in (logprobs, entropy)]
        return placed[0], self.value_head(hidden.float())[..., 0], placed[1]

    @torch.no_grad()
    def true_kl(self, states: Tensor, source_mask: Tensor, tokens: Tensor) -> Tensor:
        """KL of policy from reference for the token that comes next, over the whole vocabulary, nats, [batch, time].

        Of what may follow at each place of a text, whatever was sampled there: sum of p log(p / q).
        """
        own = self._logits(self._decoded(states, source_mask, tokens)).log_softmax(-1)  # [batch, time, vocabulary]
        with self.model.disable_adapter():
            other = self._logits(self._decoded(states, source_mask, tokens)).log_softmax(-1)
        return (own.exp() * (own - other)).sum(-1)

    def _decoded(self, states: Tensor, source_mask: Tensor, tokens: Tensor) -> Tensor:
        """What the decoder makes of each place, behind the final norm, [batch, time, d_model]."""
        model: Any = self.model.get_base_model()
        with self.autocast():
            return model.get_decoder()(
                input_ids=shifted_right(tokens, model.generation_config.decoder_start_token_id),
                encoder_hidden_states=states,
                encoder_attention_mask=source_mask,
                use_cache=False,
            ).last_hidden_state

    def _logits(self, hidden: Tensor) -> Tensor:
        """[..., d_model] to [..., vocabulary], fp32."""
        with self.autocast():
            return decoding.logits_of(self.model.get_base_model(), hidden).float()

    def reference(self, states: Tensor, source_mask: Tensor, tokens: Tensor, mask: Tensor | None = None) -> Tensor:
        """Log-probability of each token under the model without the adapter, [batch, time]; mask: as above."""
        with torch.no_grad(), self.model.disable_adapter():
            return self(states, source_mask, tokens, mask, entropies=False)[0]


def shifted_right(tokens: Tensor, start: int) -> Tensor:
    """What the decoder has read before each token, [batch, time]: the start token, then the token before."""
    return torch.cat([torch.full_like(tokens[:, :1], start), tokens[:, :-1]], dim=1)


PER_TOKEN = ("tokens", "mask", "logprobs", "ref_logprobs", "values", "entropy", "rewards", "advantages", "returns")


@dataclass
class Rollout:
    """A batch of responses and all that is known of them before the policy moves."""

    states: Tensor  # [batch, source, d_model], what the encoder read
    source_mask: Tensor  # [batch, source]
    tokens: Tensor  # [batch, time], the responses
    mask: Tensor  # [batch, time], 1 where they count
    texts: list[str]
    scores: Tensor  # [batch]
    logprobs: Tensor  # [batch, time], this and the next three as Policy.forward gives them
    ref_logprobs: Tensor
    values: Tensor
    entropy: Tensor
    rewards: Tensor  # [batch, time]
    advantages: Tensor  # [batch, time], whitened
    returns: Tensor  # [batch, time]
    seconds: tuple[float, float]  # of reading, sampling and scoring; of the reward

    @property
    def kl(self) -> Tensor:
        """log(policy / reference) summed over each response, nats, [batch]."""
        return torch.where(self.mask.bool(), self.logprobs - self.ref_logprobs, 0).sum(1)

    def part(self, rows: Tensor) -> Rollout:
        """Some of the responses, cut to the length of the longest of them, and what was read to that of its longest."""
        longest, widest = (int(mask[rows].sum(1).max()) for mask in (self.mask, self.source_mask))
        return replace(
            self,
            states=self.states[rows, :widest],
            source_mask=self.source_mask[rows, :widest],
            texts=[self.texts[row] for row in rows.tolist()],
            scores=self.scores[rows],
            **{name: getattr(self, name)[rows, :longest] for name in PER_TOKEN},
        )


@dataclass(frozen=True)
class Pairs:
    """A batch of prompts, with a better and a worse response to each."""

    chosen: Rollout  # of [pairs] responses
    rejected: Rollout  # likewise, to the same prompts in the same order
    prompts: list[str]
