"""How a text is written: token by token, each from the prompt and from all tokens before it.

For T5 of every size, with and without adapters; the same greedy texts as ``model.generate``. Keys and values of the
prompt (cross-attention) are computed once, those of the tokens written so far (self-attention) are kept in place, and a
text that has ended costs nothing more.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor
from transformers import GenerationConfig, PreTrainedModel


class Decoder:
    """The decoder of a T5, which reads a token of each text and says what may follow.

    states, source_mask: what the encoder read, [prompts, source, d_model], and [prompts, source], 1 where it counts.
    Each prompt has ``copies`` rows; no more than ``most`` tokens are read.
    """

    def __init__(self, model: PreTrainedModel, states: Tensor, source_mask: Tensor, most: int, copies: int = 1) -> None:
        self.model, self.stack = model, model.get_decoder()
        # How much each earlier token counts by its distance alone, [1, heads, most, most]; the first layer keeps it.
        self.distance = self.stack.block[0].layer[0].SelfAttention.compute_bias(most, most)
        hidden = (1 - source_mask[:, None, None]).to(states.dtype)  # [prompts, 1, 1, source]
        self.padding = (hidden * torch.finfo(states.dtype).min).repeat_interleave(copies, 0)
        self.source: list[tuple[Tensor, Tensor]] = []  # of each layer keys and values, [rows, heads, source, d_kv]
        self.written: list[tuple[Tensor, Tensor]] = []  # the same of what is written, [rows, heads, most, d_kv]
        for block in self.stack.block:
            of_source = block.layer[1].EncDecAttention
            keys, values = (
                by_head(project(states), of_source).repeat_interleave(copies, 0)
                for project in (of_source.k, of_source.v)
            )
            self.source.append((keys, values))
            empty = (len(keys), keys.shape[1], most, keys.shape[3])
            self.written.append((keys.new_empty(empty), keys.new_empty(empty)))
        self.rows, self.place = len(self.padding), 0

    def read(self, tokens: Tensor) -> Tensor:
        """Logits of what follows ``tokens``, the next one of each row; [rows] to [rows, vocabulary]."""
        now, rows = self.place, self.rows
        distance = self.distance[:, :, now : now + 1, : now + 1]
        hidden = self.stack.embed_tokens(tokens[:, None])  # [rows, 1, d_model]
        for block, source, written in zip(self.stack.block, self.source, self.written, strict=True):
            to_written, to_source, feed_forward = block.layer
            attention, normed = to_written.SelfAttention, to_written.layer_norm(hidden)
            for kept, project in zip(written, (attention.k, attention.v), strict=True):
                kept[:rows, :, now : now + 1] = by_head(project(normed), attention)
            keys, values = (kept[:rows, :, : now + 1] for kept in written)
            hidden = hidden + attend(attention, normed, keys, values, distance)
            normed = to_source.layer_norm(hidden)
            keys, values = (kept[:rows] for kept in source)
            hidden = hidden + attend(to_source.EncDecAttention, normed, keys, values, self.padding[:rows])
            hidden = feed_forward(hidden)
        self.place += 1
        return logits_of(self.model, self.stack.final_layer_norm(hidden)[:, 0])

    def drop(self, ended: Tensor) -> Tensor:
        """Forget the rows that have ended, [rows] of bool, and put the last ones into their places.

        The rows that are left, in their new order, [rows left].
        """
        order = torch.arange(self.rows, device=ended.device)
        left = int((~ended).sum())
        gaps, last = order[:left][ended[:left]], order[left:][~ended[left:]]
        for kept in (self.padding, *(each for layer in (*self.source, *self.written) for each in layer)):
            kept[gaps] = kept[last]
        order[gaps] = last
        self.rows = left
        return order[:left]


def logits_of(model: PreTrainedModel, hidden: Tensor) -> Tensor:
    """Of what the decoder made of a place, behind its final norm: [..., d_model] to [..., vocabulary]."""
    scale = model.config.d_model**-0.5 if model.config.scale_decoder_outputs else 1.0
    return model.get_output_embeddings()(hidden * scale)


def by_head(x: Tensor, attention: Any) -> Tensor:
    """[rows, time, inner] to [rows, heads, time, d_kv]."""
    return x.unflatten(-1, (-1, attention.key_value_proj_dim)).transpose(1, 2)


def attend(attention: Any, x: Tensor, keys: Tensor, values: Tensor, bias: Tensor) -> Tensor:
    """What one position of each row, [rows, 1, d_model], takes from places with these keys and values."""
    scores = by_head(attention.q(x), attention) @ keys.transpose(2, 3) + bias  # [rows, heads, 1, places]
    mixed = scores.softmax(-1) @ values  # [rows, heads, 1, d_kv]
    return attention.o(mixed.transpose(1, 2).flatten(2))


@torch.no_grad()
def write_tokens(
    model: PreTrainedModel,
    states: Tensor,
    source_mask: Tensor,
    config: GenerationConfig,
    evenly: Tensor | None = None,
    told: Callable[[float, int], object] = lambda ended, tokens: None,
) -> Written:
    """Texts for each prompt, ``num_return_sequences`` of them next to each other; ``config`` as :func:`fits` wants it.

    states, source_mask: as for :class:`Decoder`. evenly: numbers drawn evenly from 0 to below 1 to sample by,
    [rows, max_new_tokens]; None draws them now. told: hears after every token the share of the texts that have ended,
    and the number of tokens.
    """
    most, copies = config.max_new_tokens, config.num_return_sequences or 1
    decoder = Decoder(model, states, source_mask, most, copies)
    rows = torch.arange(decoder.rows, device=states.device)  # those that are still written
    if config.do_sample:  # drawn on the processor: the same numbers on every device
        evenly = (torch.rand(len(rows), most) if evenly is None else evenly).to(states.device)
    ends = torch.tensor(config.eos_token_id, device=states.device).reshape(-1)
    tokens = torch.full((len(rows), most), config.pad_token_id, device=states.device)
    kind = torch.promote_types(states.dtype, torch.float32)  # of logits: fp32, or float64 where the model is
    logprobs = torch.zeros(tokens.shape, dtype=kind, device=states.device)
    last = torch.full_like(rows, config.decoder_start_token_id)
    place = 0
    while place < most and len(rows):
        logits = decoder.read(last).to(kind)  # [rows still written, vocabulary]
        if place < (config.min_new_tokens or 0):
            logits[:, ends] = -torch.inf
        if not config.do_sample or evenly is None:
            last = logits.argmax(-1)
        else:
            probabilities = cut(logits, config).softmax(-1)
            last = draw_tokens(probabilities, evenly[rows, place])
            logprobs[rows, place] = probabilities.gather(1, last[:, None])[:, 0].log()
        tokens[rows, place] = last
        ended = torch.isin(last, ends)
        if ended.any():
            left = decoder.drop(ended)
            rows, last = rows[left], last[left]
        place += 1
        told(1 - len(rows) / len(tokens), place)
    return Written(tokens[:, :place], logprobs[:, :place] if config.do_sample else None)


class Written(NamedTuple):
    """Token ids of each text, [rows, time], pad tokens behind its end; of samples the log-probabilities they had.

    Those are nats, [rows, time], 0 behind the end, in the distribution that was sampled from.
    """

    tokens: Tensor
    logprobs: Tensor | None


def cut(logits: Tensor, config: GenerationConfig) -> Tensor:
    """Logits at the temperature, minus infinity where top-k and top-p cut a token off; [rows, vocabulary] both."""
    if config.temperature not in (None, 1.0):
        logits = logits / config.temperature
    top_k = TOP_K if config.top_k is None else config.top_k
    if top_k:
        least = logits.topk(min(top_k, logits.shape[-1])).values[:, -1:]
        logits = logits.masked_fill(logits < least, -torch.inf)
    if config.top_p is not None and config.top_p < 1:
        rising, order = logits.sort(-1)
        tail = rising.softmax(-1).cumsum(-1) <= 1 - config.top_p
        tail[:, -1] = False  # the likeliest stays
        logits = logits.masked_fill(tail.scatter(1, order, tail), -torch.inf)
    return logits


def draw_tokens(probabilities: Tensor, evenly: Tensor) -> Tensor:
    """The token into whose share of the line from 0 to 1 a number falls; [rows, vocabulary] and [rows] to [rows].

    evenly: 0 to below 1. A token of probability 0 is never drawn.
    """
    line = probabilities.cumsum(-1)
    return torch.searchsorted(line, (1 - evenly)[:, None] * line[:, -1:])[:, 0]


TOP_K = 50  # where neither settings nor model name one, as in transformers
# Settings that change nothing, beside None.
NEUTRAL = {
    "num_beams": 1,
    "use_cache": True,
    "min_length": 0,
    "output_attentions": False,
    "output_hidden_states": False,
}
OURS = {
    *("max_new_tokens", "min_new_tokens", "num_return_sequences", "do_sample", "temperature", "top_k", "top_p"),
    *("decoder_start_token_id", "eos_token_id", "pad_token_id", "bos_token_id"),
    *("max_length", "transformers_version", "_from_model_config"),  # of no effect beside max_new_tokens
}


def fits(model: PreTrainedModel, config: GenerationConfig) -> bool:
    """Whether :func:`write_tokens` does all that these settings ask for; everything else is for ``model.generate``.

    ``config`` is complete (:func:`genai_labs.prompting.generation.complete`), with what the model itself is set to.
    """
    wants = {name: value for name, value in config.to_dict().items() if value is not None}
    known = all(name in OURS or (name in NEUTRAL and value == NEUTRAL[name]) for name, value in wants.items())
    named = {"max_new_tokens", "decoder_start_token_id", "eos_token_id", "pad_token_id"} <= wants.keys()
    if model.config.model_type != "t5" or not known or not named or not isinstance(config.do_sample, bool | None):
        return False
    if not 0 <= wants.get("min_new_tokens", 0) <= config.max_new_tokens:
        return False
    if not config.do_sample:
        return wants.get("num_return_sequences", 1) == 1
    top_k, top_p, temperature = (wants.get(name, 1) for name in ("top_k", "top_p", "temperature"))
    return isinstance(top_k, int) and top_k >= 0 and 0 <= top_p <= 1 and 0 < temperature < math.inf
