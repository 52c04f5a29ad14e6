"""Soft prompts: a few vectors before every prompt, the only thing that is trained.

Lester et al. 2021, https://arxiv.org/abs/2104.08691: the vectors stand where token embeddings stand, but belong to no
word. They are read by the encoder, like an instruction that nobody could type.
"""

from __future__ import annotations

import torch
from peft import PeftModel, PromptTuningConfig, PromptTuningInit, TaskType, get_peft_model
from transformers import PreTrainedModel

from genai_labs.finetuning import lora


def attach_prompt(base: PreTrainedModel, virtual_tokens: int, seed: int = 0) -> PeftModel:
    """A model that reads ``virtual_tokens`` trained vectors before each prompt; it stands on the weights of ``base``.

    Each vector starts as the embedding of a token drawn by ``seed``. ``base`` itself stays as it is.
    """
    config = PromptTuningConfig(
        task_type=TaskType.SEQ_2_SEQ_LM,
        num_virtual_tokens=virtual_tokens,
        num_transformer_submodules=1,  # before the encoder's input only
        prompt_tuning_init=PromptTuningInit.RANDOM,
    )
    torch.manual_seed(seed)
    with lora.about_checkpointing_silent():
        model = get_peft_model(lora.shared_copy(base), config)
    table: torch.Tensor = base.get_input_embeddings().weight
    drawn = torch.randperm(len(table))[:virtual_tokens]
    (vectors,) = (weight for weight in model.parameters() if weight.requires_grad)  # [virtual tokens, d_model]
    with torch.no_grad():
        vectors.copy_(table[drawn])
    return model
