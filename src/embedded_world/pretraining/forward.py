"""The forward pass of a T5, written for long runs: few kernels, fused attention, logits for real targets only.

Reads the parameters of transformers' T5ForConditionalGeneration, so that what is trained here is saved, loaded and
run as any T5; a test compares both. Shapes: B examples, S source tokens, T target tokens, D model width, H heads.
"""

from __future__ import annotations

import copy

import torch
from torch.nn import functional as F
from transformers import T5ForConditionalGeneration
from transformers.models.t5.modeling_t5 import T5Attention, T5Block, T5Stack


def target_losses(
    model: T5ForConditionalGeneration,
    input_ids: torch.Tensor,
    targets: torch.Tensor,
    places: torch.Tensor,
    dropout: float = 0.0,
) -> torch.Tensor:
    """Cross-entropy in nats of every target token that counts, [number of places].

    input_ids: [B, S], targets: [B, T], both padded with 0. places: the positions of ``targets``, flattened, that count,
    given so that the GPU need not be asked. dropout: of what each layer adds.
    """
    embedding = model.shared.weight
    kind = model.encoder.block[0].layer[0].SelfAttention.q.weight.dtype  # of all matrices; sums are kept in fp32
    visible = (input_ids != 0)[:, None, None, :]  # [B, 1, 1, S]
    encoded = F.embedding(input_ids, embedding)  # [B, S, D]
    bias = _bias(model.encoder, input_ids.shape[1]).to(kind).masked_fill(~visible, -1e9)  # [B, H, S, S]
    for block in model.encoder.block:
        encoded = _block(block, encoded, bias, None, None, dropout)
    encoded = _norm(encoded, model.encoder.final_layer_norm, kind)
    start = targets.new_full((targets.shape[0], 1), model.config.decoder_start_token_id)
    written = torch.cat([start, targets[:, :-1]], 1)  # [B, T]
    length = written.shape[1]
    ahead = torch.ones(length, length, dtype=torch.bool, device=targets.device).triu(1)
    own = _bias(model.decoder, length).to(kind).masked_fill(ahead, -1e9)  # [1, H, T, T]
    across = torch.zeros(visible.shape, dtype=kind, device=targets.device).masked_fill(~visible, -1e9)
    decoded = F.embedding(written, embedding)
    for block in model.decoder.block:
        decoded = _block(block, decoded, own, encoded, across, dropout)
    decoded = _norm(decoded, model.decoder.final_layer_norm, kind)
    counting = decoded.flatten(0, 1)[places]
    logits = F.linear(counting * model.config.d_model**-0.5, model.lm_head.weight.to(kind))
    return F.cross_entropy(logits.float(), targets.flatten()[places], reduction="none")


def _bias(stack: T5Stack, length: int) -> torch.Tensor:
    """The relative position bias of a stack, [1, H, length, length]."""
    attention = stack.block[0].layer[0].SelfAttention
    return attention.compute_bias(length, length, device=stack.embed_tokens.weight.device)


def _block(
    block: T5Block,
    hidden: torch.Tensor,
    own: torch.Tensor,
    encoded: torch.Tensor | None,
    across: torch.Tensor | None,
    dropout: float,
) -> torch.Tensor:
    first, kind = block.layer[0], own.dtype
    normed = _norm(hidden, first.layer_norm, kind)
    hidden = hidden + F.dropout(_attend(first.SelfAttention, normed, normed, own), dropout)
    if encoded is not None and across is not None:
        second = block.layer[1]
        found = _attend(second.EncDecAttention, _norm(hidden, second.layer_norm, kind), encoded, across)
        hidden = hidden + F.dropout(found, dropout)
    last = block.layer[-1]
    dense = last.DenseReluDense
    normed = _norm(hidden, last.layer_norm, kind)
    gate, value = F.linear(normed, torch.cat([dense.wi_0.weight, dense.wi_1.weight])).chunk(2, -1)
    return hidden + F.dropout(F.linear(F.gelu(gate, approximate="tanh") * value, dense.wo.weight), dropout)


def _norm(hidden: torch.Tensor, norm: torch.nn.Module, kind: torch.dtype) -> torch.Tensor:
    normed = F.rms_norm(hidden, (hidden.shape[-1],), norm.weight, norm.variance_epsilon)  # type: ignore[arg-type]
    return normed.to(kind)


def _attend(attention: T5Attention, asking: torch.Tensor, read: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
    """Attention without scaling, as T5 has it. asking: [B, Q, D]. read: [B, R, D]. bias: [B, H or 1, Q or 1, R]."""
    heads, width = attention.n_heads, attention.key_value_proj_dim

    def split(x: torch.Tensor) -> torch.Tensor:
        return x.view(x.shape[0], x.shape[1], heads, width).transpose(1, 2)

    if asking is read:
        q, k, v = F.linear(read, torch.cat([attention.q.weight, attention.k.weight, attention.v.weight])).chunk(3, -1)
    else:
        q = F.linear(asking, attention.q.weight)
        k, v = F.linear(read, torch.cat([attention.k.weight, attention.v.weight])).chunk(2, -1)
    bias = bias.expand(len(q), heads, asking.shape[1], read.shape[1])
    mixed = F.scaled_dot_product_attention(split(q), split(k), split(v), attn_mask=bias, scale=1.0)
    return F.linear(mixed.transpose(1, 2).flatten(2), attention.o.weight)


class Halves:
    """A model that computes with bf16 copies of another one's matrices, and shares its other weights.

    Casting at every use, as autocast does, takes a quarter of all kernels.
    """

    def __init__(self, model: T5ForConditionalGeneration, dtype: torch.dtype) -> None:
        self.model = copy.deepcopy(model)
        self._pairs: list[tuple[torch.nn.Parameter, torch.nn.Parameter]] = []
        for module, own in zip(model.modules(), self.model.modules(), strict=True):
            for name, weight in module.named_parameters(recurse=False):
                halved = isinstance(module, torch.nn.Linear) and module is not model.lm_head
                used = torch.nn.Parameter(weight.detach().to(dtype)) if halved else weight
                if halved:
                    self._pairs.append((weight, used))
                setattr(own, name, used)

    @torch.no_grad()
    def hand_over(self) -> None:
        """Give the gradients of the copies to the weights, in fp32, and forget them here."""
        wanted, found = [], []
        for weight, used in self._pairs:
            assert used.grad is not None
            if weight.grad is None:
                weight.grad = torch.empty_like(weight)
            wanted.append(weight.grad)
            found.append(used.grad)
            used.grad = None
        torch._foreach_copy_(wanted, found)

    @torch.no_grad()
    def refresh(self) -> None:
        """Make the copies anew of weights that were moved."""
        torch._foreach_copy_([u for _, u in self._pairs], [w for w, _ in self._pairs])
