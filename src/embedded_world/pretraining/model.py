"""The embedded T5, and the initialisation without which it would not learn to copy in the time there is.

A summary copies names, days and prices out of the dialogue. Attention has to find "the token that I would say next";
from a standard initialisation such heads form only after many more examples than a laptop can afford. So some
heads start out looking at neighbouring tokens, values pass through unchanged, and cross-attention queries start aligned
with the keys. Nothing is frozen: training is free to undo all of it.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from transformers import T5Config, T5ForConditionalGeneration
from transformers.models.t5.modeling_t5 import T5Attention

ENCODER_BIAS = {
    0: [(1, 5.0)],
    1: [(17, 5.0)],
    2: [(2, 5.0)],
    3: [(18, 4.0), (3, 4.0)],
}  # head: (bucket, bias)
DECODER_BIAS = {0: [(1, 4.0)], 1: [(0, 4.0)], 2: [(2, 4.0)]}


@dataclass(frozen=True)
class ModelShape:
    """Width, heads (of 32 each), inner width, and layers of encoder and decoder."""

    width: int = 192
    heads: int = 6
    inner: int = 512
    encoder: int = 3
    decoder: int = 3


RECALLS = ModelShape()  # 3.9 million parameters: knows its scenarios by heart
READS = ModelShape(256, 8, 512, 4, 3)  # 6.9 million


def config(vocabulary: int, window: int, shape: ModelShape = RECALLS) -> T5Config:
    """T5 v1.1 / FLAN-T5 architecture (gated GELU, RMS norm, relative position biases), small, without dropout."""
    return T5Config(
        vocab_size=vocabulary,
        d_model=shape.width,
        d_kv=32,
        num_heads=shape.heads,
        d_ff=shape.inner,
        num_layers=shape.encoder,
        num_decoder_layers=shape.decoder,
        feed_forward_proj="gated-gelu",
        dropout_rate=0.0,
        relative_attention_num_buckets=32,
        relative_attention_max_distance=128,
        n_positions=window,
        pad_token_id=0,
        eos_token_id=1,
        decoder_start_token_id=0,
    )


def new_model(vocabulary: int, window: int, seed: int, shape: ModelShape = RECALLS) -> T5ForConditionalGeneration:
    """A fresh model, fp32, deterministic by seed."""
    torch.manual_seed(seed)
    model = T5ForConditionalGeneration._from_config(config(vocabulary, window, shape), attn_implementation="eager")
    with torch.no_grad():
        for block in model.encoder.block:
            align(block.layer[0].SelfAttention, value_scale=0.9, query_from_key=0.05)
        for block in model.decoder.block:
            align(block.layer[0].SelfAttention, value_scale=0.7, query_from_key=None)
            align(block.layer[1].EncDecAttention, value_scale=1.0, query_from_key=0.3)
        look_at_neighbours(model.encoder.block[0].layer[0].SelfAttention, ENCODER_BIAS)
        look_at_neighbours(model.decoder.block[0].layer[0].SelfAttention, DECODER_BIAS)
    return model


def align(attention: T5Attention, value_scale: float, query_from_key: float | None) -> None:
    """Output = value transposed (what is read is passed on as it is); queries a multiple of keys (same finds same)."""
    random = torch.empty_like(attention.v.weight)
    torch.nn.init.orthogonal_(random)
    attention.v.weight.copy_(value_scale * random)
    attention.o.weight.copy_(value_scale * random.T)
    if query_from_key is not None:
        attention.q.weight.copy_(query_from_key * attention.k.weight)


def look_at_neighbours(attention: T5Attention, biases: dict[int, list[tuple[int, float]]]) -> None:
    """Add to the relative position bias, so that some heads start out on the previous, next or second-next token."""
    for head, pairs in biases.items():
        for bucket, bias in pairs:
            attention.relative_attention_bias.weight[bucket, head] += bias
