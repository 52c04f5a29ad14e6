"""How prompts are read: once each, a few of similar length at a time, behind a soft prompt where a model has one."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import torch
from peft import PeftModel
from torch import Tensor
from transformers import PreTrainedModel

# Tokens, padding counted. On a processor the encoder is fastest while its activations fit into the cache; a GPU wants
# many at a time.
ENCODED_AT_ONCE = {"cpu": 2560, "mps": 16_384, "cuda": 65_536}


def read_prompts(
    model: PreTrainedModel | PeftModel, pad: int, ids: Sequence[Sequence[int]], moved: Callable[[float], object]
) -> tuple[Tensor, Tensor]:
    """What the encoder makes of the prompts, [prompts, longest, d_model], and their attention mask [prompts, longest].

    Prompts next to each other should be of similar length: a few at a time, fewer the longer they are, are padded and
    read together. A soft prompt stands in front of each, and counts in ``longest``. ``moved`` is told how many were
    read.
    """
    front = soft_prompt(model)
    ahead, longest = len(front), max(map(len, ids))
    states = torch.zeros(len(ids), ahead + longest, model.config.d_model, dtype=model.dtype, device=model.device)
    mask = torch.zeros(len(ids), ahead + longest, dtype=torch.long, device=model.device)
    for rows in _groups([len(row) for row in ids], ENCODED_AT_ONCE[model.device.type]):
        part = ids[rows]
        width = max(map(len, part))
        padded = torch.tensor([[*row, *[pad] * (width - len(row))] for row in part], device=model.device)
        for row, kept in zip(mask[rows], part, strict=True):
            row[: ahead + len(kept)] = 1
        given = {"input_ids": padded}
        if ahead:
            words = model.get_input_embeddings()(padded)
            given = {"inputs_embeds": torch.cat([front.expand(len(part), -1, -1), words], dim=1)}
        read = model.get_encoder()(**given, attention_mask=mask[rows, : ahead + width])
        states[rows, : ahead + width] = read.last_hidden_state
        moved(len(part))
    return states, mask


def soft_prompt(model: PreTrainedModel | PeftModel) -> Tensor:
    """The vectors that a model has learned to read before every prompt, [virtual tokens, d_model]; mostly none."""
    if isinstance(model, PeftModel) and model.active_peft_config.is_prompt_learning:
        return model.get_prompt(batch_size=1)[0]
    return torch.zeros(0, model.config.d_model, dtype=model.dtype, device=model.device)


def _groups(lengths: Sequence[int], tokens: int) -> Iterator[slice]:
    """Neighbours that together have at most ``tokens`` tokens when padded to the longest, or one alone."""
    start, widest = 0, 0
    for place, length in enumerate(lengths):
        if place > start and max(widest, length) * (place + 1 - start) > tokens:
            yield slice(start, place)
            start, widest = place, 0
        widest = max(widest, length)
    yield slice(start, len(lengths))
