"""Batched generation: sorted by length, in order, the same greedy text whatever the batch size."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import torch
from tqdm.auto import tqdm
from transformers import GenerationConfig, PreTrainedModel, PreTrainedTokenizerBase
from transformers.modeling_outputs import BaseModelOutput

GREEDY = GenerationConfig(max_new_tokens=64, do_sample=False)
ENCODED_AT_ONCE = 8  # the encoder is fastest while its activations fit into the processor's cache


def generate(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    prompts: Sequence[str],
    config: GenerationConfig | None = None,
    batch_size: int = 100,
    seed: int | None = None,
    progress: bool = True,
    max_length: int | None = None,
) -> list[str]:
    """One text for each prompt, in the order of the prompts.

    Prompts are sorted by length before they are cut into batches: little padding, little waste. Prompts longer than
    the window lose their end, which a printed note says (:func:`genai_labs.prompts.fit` cuts the dialogue instead).
    ``config`` defaults to greedy decoding of at most 64 tokens. Sampling is reproducible by ``seed``: it is set once,
    before the first batch, so it depends on ``batch_size`` too.
    """
    return [texts[0] for texts in _generate(model, tokenizer, prompts, config, batch_size, seed, progress, max_length)]


def _generate(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    prompts: Sequence[str],
    config: GenerationConfig | None,
    batch_size: int,
    seed: int | None,
    progress: bool,
    max_length: int | None = None,
) -> list[list[str]]:
    config = complete(config or GREEDY, model)
    ids = _encode_texts(tokenizer, prompts, max_length or tokenizer.model_max_length)
    order = sorted(range(len(ids)), key=lambda i: len(ids[i]))
    texts: list[list[str]] = [[] for _ in ids]
    if seed is not None:
        torch.manual_seed(seed)
    was_training = model.training
    model.eval()
    quiet = not progress or "TQDM_DISABLE" in os.environ
    with (
        torch.inference_mode(),
        tqdm(total=len(ids), desc="generating", unit="text", disable=quiet, leave=False) as bar,
    ):
        for start in range(0, len(order), batch_size):
            rows = order[start : start + batch_size]
            for row, made in zip(rows, _generate_batch(model, tokenizer, [ids[i] for i in rows], config), strict=True):
                texts[row] = made
            bar.update(len(rows))
    model.train(was_training)
    return texts


def sample(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    prompts: Sequence[str],
    config: GenerationConfig,
    count: int,
    seed: int,
    batch_size: int = 100,
) -> list[list[str]]:
    """``count`` texts for each prompt, drawn independently by ``seed``; shape [prompts][count].

    Each prompt is read once and written about ``count`` times, so that only the decoder works more.
    """
    several = GenerationConfig(**(config.to_dict() | {"num_return_sequences": count}))
    return _generate(model, tokenizer, prompts, several, max(1, batch_size // count), seed, progress=True)


def _encode_texts(tokenizer: PreTrainedTokenizerBase, prompts: Sequence[str], window: int) -> list[list[int]]:
    whole = tokenizer(list(prompts), truncation=False, verbose=False)["input_ids"]
    _note_cuts([len(row) for row in whole], window)
    return tokenizer(list(prompts), truncation=True, max_length=window)["input_ids"]


def _note_cuts(lengths: Sequence[int], window: int) -> None:
    over = [length - window for length in lengths if length > window]
    if over:
        print(
            f"{len(over)} of {len(lengths)} prompts are longer than the window of {window} tokens, "
            f"by up to {max(over)}: their ends are cut off."
        )


def complete(config: GenerationConfig, model: PreTrainedModel) -> GenerationConfig:
    """A copy of ``config`` with the model's special tokens filled in."""
    full: dict[str, Any] = config.to_dict() | {
        name: getattr(model.generation_config, name)
        for name in ("decoder_start_token_id", "eos_token_id", "pad_token_id")
    }
    return GenerationConfig(**full)


def _generate_batch(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, ids: Sequence[Sequence[int]], config: GenerationConfig
) -> list[list[str]]:
    """Texts of one batch, ``num_return_sequences`` for each row, which must be sorted by length."""
    longest = max(map(len, ids))
    states = torch.zeros(len(ids), longest, model.config.d_model, dtype=model.dtype, device=model.device)
    attention_mask = torch.zeros(len(ids), longest, dtype=torch.long, device=model.device)
    for start in range(0, len(ids), ENCODED_AT_ONCE):
        part = ids[start : start + ENCODED_AT_ONCE]
        width, place = max(map(len, part)), slice(start, start + len(part))
        padded = [[*row, *[tokenizer.pad_token_id] * (width - len(row))] for row in part]
        mask = torch.tensor([[1] * len(row) + [0] * (width - len(row)) for row in part], device=model.device)
        read = model.get_encoder()(input_ids=torch.tensor(padded, device=model.device), attention_mask=mask)
        states[place, :width], attention_mask[place, :width] = read.last_hidden_state, mask
    out = model.generate(
        encoder_outputs=BaseModelOutput(last_hidden_state=states),
        attention_mask=attention_mask,
        generation_config=config,
    )
    texts = [text.strip() for text in tokenizer.batch_decode(out, skip_special_tokens=True)]
    each = len(texts) // len(ids)
    return [texts[i : i + each] for i in range(0, len(texts), each)]


def next_token_probabilities(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    prompt: str,
    so_far: str = "",
    temperature: float = 1.0,
) -> list[tuple[str, float]]:
    """The likeliest next tokens after ``so_far``, with their probabilities (all of them, falling, summing to 1)."""
    encoded = tokenizer(prompt, return_tensors="pt", truncation=True, max_length=tokenizer.model_max_length)
    start = [model.generation_config.decoder_start_token_id]
    begun = start + (tokenizer(so_far, add_special_tokens=False)["input_ids"] if so_far else [])
    with torch.inference_mode():
        logits = model(
            input_ids=encoded["input_ids"].to(model.device),
            attention_mask=encoded["attention_mask"].to(model.device),
            decoder_input_ids=torch.tensor([begun], device=model.device),
        ).logits[0, -1]
    probabilities = torch.softmax(logits.float() / temperature, dim=-1)
    values, indices = probabilities.sort(descending=True)
    tokens = tokenizer.convert_ids_to_tokens(indices.tolist())
    return list(zip(tokens, values.tolist(), strict=True))
