"""A T5 as two graphs that a browser can run: one reads a prompt, the other writes one token; adapters are inputs.

An adapter stays the two thin matrices that it is (B A, see :mod:`genai_labs.finetuning.lora`), so that one set of
weights serves every model of the page. Where a model has no adapter the matrices are zeros.

The graphs know one prompt at a time and no padding. Shapes below: source and past are numbers of tokens, inner is
heads times d_kv.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedModel

Adapter = Mapping[str, tuple[Tensor, Tensor]]  # name of a matrix: A^T [in, rank] and B^T [rank, out], B scaled already
SQUARE, UP, DOWN = ("q", "k", "v", "o"), ("wi_0", "wi_1"), ("wo",)  # matrices of one shape are handed in together
KINDS = {"square": SQUARE, "up": UP, "down": DOWN}
Stacks = tuple[Tensor, ...]  # A^T, [matrices, in, rank], and B^T, [matrices, rank, out], of each kind


class Adapted(torch.nn.Module):
    """What both graphs share: products with a matrix of the model and what an adapter adds to it."""

    places: dict[str, list[str]]  # of each kind, the matrices in the order of the stacks
    bias: Tensor  # what a place counts by its distance alone

    def __init__(self, model: PreTrainedModel) -> None:
        super().__init__()
        self.model = model
        self.heads, self.d_kv = model.config.num_heads, model.config.d_kv
        self.names = {module: name for name, module in model.named_modules()}

    def times(self, matrix: Any, x: Tensor, stacks: Stacks) -> Tensor:
        """x, [tokens, in], by W + B A; [tokens, out]."""
        name = self.names[matrix]
        kind = kind_of(name)
        place, first = self.places[kind].index(name), 2 * list(KINDS).index(kind)
        a, b = stacks[first][place], stacks[first + 1][place]
        return x @ matrix.weight.T + (x @ a) @ b

    def embed(self, ids: Tensor) -> Tensor:
        """[tokens] to [tokens, d_model], out of the turned table that the logits come from as well: it is kept once."""
        return self.model.shared.weight.T.index_select(1, ids).T

    def by_head(self, x: Tensor) -> Tensor:
        """[tokens, inner] to [heads, tokens, d_kv]."""
        return x.unflatten(-1, (self.heads, self.d_kv)).transpose(0, 1)

    def attend(self, attention: Any, x: Tensor, keys: Tensor, values: Tensor, bias: Any, stacks: Stacks) -> Tensor:
        """What each of ``x``, [tokens, d_model], takes from keys and values, [heads, places, d_kv]."""
        scores = self.by_head(self.times(attention.q, x, stacks)) @ keys.transpose(1, 2) + bias
        mixed = scores.softmax(-1) @ values  # [heads, tokens, d_kv]
        return self.times(attention.o, mixed.transpose(0, 1).flatten(1), stacks)

    def feed_forward(self, layer: Any, hidden: Tensor, stacks: Stacks) -> Tensor:
        """The gated feed-forward layer with its residual, [tokens, d_model]."""
        dense, normed = layer.DenseReluDense, layer.layer_norm(hidden)
        gate = dense.act(self.times(dense.wi_0, normed, stacks))
        return hidden + self.times(dense.wo, gate * self.times(dense.wi_1, normed, stacks), stacks)


class Reader(Adapted):
    """Reads a prompt: ids [source] to what the decoder looks at, keys and values [layers, 2, heads, source, d_kv]."""

    def __init__(self, model: PreTrainedModel, window: int) -> None:
        super().__init__(model)
        self.window = window
        bias = model.encoder.block[0].layer[0].SelfAttention.compute_bias(window, window)[0]  # [heads, window, window]
        # By how far a place lies behind, from -(window - 1) to window - 1, [heads, 2 window - 1].
        self.register_buffer("bias", torch.cat([bias[:, 1:, 0].flip(1), bias[:, 0]], 1).detach().clone())
        own = [name for name in self.names.values() if name.startswith("encoder.")]
        cross = [name for name in self.names.values() if name.endswith(("EncDecAttention.k", "EncDecAttention.v"))]
        self.places = sort_by_kind([*own, *cross])

    def forward(self, ids: Tensor, *stacks: Tensor) -> Tensor:
        """ids: of the prompt, its end token included, at most ``window``."""
        places = torch.arange(ids.shape[0])
        bias = self.bias[:, places[None] - places[:, None] + self.window - 1]  # [heads, source, source]
        hidden = self.embed(ids)
        for block in self.model.encoder.block:
            attention, normed = block.layer[0].SelfAttention, block.layer[0].layer_norm(hidden)
            keys, values = (self.by_head(self.times(each, normed, stacks)) for each in (attention.k, attention.v))
            hidden = hidden + self.attend(attention, normed, keys, values, bias, stacks)
            hidden = self.feed_forward(block.layer[1], hidden, stacks)
        states = self.model.encoder.final_layer_norm(hidden)
        crosses = (block.layer[1].EncDecAttention for block in self.model.decoder.block)
        pairs = [[self.by_head(self.times(each, states, stacks)) for each in (x.k, x.v)] for x in crosses]
        return torch.stack([torch.stack(pair) for pair in pairs])


class Writer(Adapted):
    """Reads one token of a text and says what may follow.

    token [1], source as :class:`Reader` gives it, written [layers, 2, heads, past, d_kv] (past 0 at the beginning) to
    logits [vocabulary] and written with one token more.
    """

    def __init__(self, model: PreTrainedModel, most: int) -> None:
        super().__init__(model)
        bias = model.decoder.block[0].layer[0].SelfAttention.compute_bias(most, most)[0]
        self.register_buffer("bias", bias[:, -1].flip(1).detach().clone())  # by distance, [heads, most]
        self.scale = model.config.d_model**-0.5 if model.config.scale_decoder_outputs else 1.0
        own = [name for name in self.names.values() if name.startswith("decoder.")]
        read = ("EncDecAttention.k", "EncDecAttention.v")  # they belong to the reader
        self.places = sort_by_kind([name for name in own if not name.endswith(read)])

    def forward(self, token: Tensor, source: Tensor, written: Tensor, *stacks: Tensor) -> tuple[Tensor, Tensor]:
        """written: at most ``most`` - 1 tokens."""
        past = written.shape[3]
        bias = self.bias[:, past - torch.arange(past + 1)][:, None]  # [heads, 1, past + 1]
        hidden = self.embed(token)
        kept = []
        for layer, block in enumerate(self.model.decoder.block):
            attention, normed = block.layer[0].SelfAttention, block.layer[0].layer_norm(hidden)
            new = [self.by_head(self.times(each, normed, stacks)) for each in (attention.k, attention.v)]
            pair = torch.cat([written[layer], torch.stack(new)], 2)  # [2, heads, past + 1, d_kv]
            kept.append(pair)
            hidden = hidden + self.attend(attention, normed, pair[0], pair[1], bias, stacks)
            normed = block.layer[1].layer_norm(hidden)
            cross, seen = block.layer[1].EncDecAttention, source[layer]
            hidden = hidden + self.attend(cross, normed, seen[0], seen[1], 0.0, stacks)
            hidden = self.feed_forward(block.layer[2], hidden, stacks)
        last = self.model.decoder.final_layer_norm(hidden) * self.scale
        return (last @ self.model.lm_head.weight.T)[0], torch.stack(kept)


def kind_of(name: str) -> str:
    """Which stack a matrix belongs to, by the end of its name."""
    return next((kind for kind, ends in KINDS.items() if name.rsplit(".", 1)[-1] in ends), "")


def sort_by_kind(names: list[str]) -> dict[str, list[str]]:
    """The names of matrices by kind, in their order; other modules are left out."""
    return {kind: [name for name in names if kind_of(name) == kind] for kind in KINDS}


def stack(graph: Adapted, adapter: Adapter) -> Stacks:
    """An adapter as a graph takes it in; zeros for matrices that it leaves alone, and of rank 1 if it has none."""
    stacks: list[Tensor] = []
    for names in graph.places.values():
        shape = graph.model.get_submodule(names[0]).weight.shape
        rank = max((adapter[name][0].shape[1] for name in names if name in adapter), default=1)
        a, b = torch.zeros(len(names), shape[1], rank), torch.zeros(len(names), rank, shape[0])
        for place, name in enumerate(names):
            if name in adapter:
                own = adapter[name][0].shape[1]
                a[place, :, :own], b[place, :own] = adapter[name]
        stacks += [a, b]
    return tuple(stacks)


def add(first: Adapter, second: Adapter) -> Adapter:
    """One adapter that does what both do: their matrices side by side."""
    both = dict(first)
    for name, (a, b) in second.items():
        both[name] = (torch.cat([first[name][0], a], 1), torch.cat([first[name][1], b])) if name in first else (a, b)
    return both
