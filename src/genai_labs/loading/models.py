"""Load the model and tokenizer of a profile, with errors in words."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import torch
from transformers import (
    AutoModelForSeq2SeqLM,
    BitsAndBytesConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from genai_labs.errors import LabError
from genai_labs.loading import contents, hub, pretrained, shortage, sources
from genai_labs.loading.profiles import Profile, Weights
from genai_labs.system.devices import best_device

WHOLE: dict[Weights, torch.dtype] = {"fp32": torch.float32, "bf16": torch.bfloat16}


def load_model(profile: Profile) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """The model in eval mode on the best device of this machine, and its tokenizer.

    In fp32, if the profile does not say otherwise: greedy decoding then gives the same texts on every processor and
    with any number of threads.
    Raises LabError where the hub does not have the model or does not answer, where a file is missing, damaged, changed
    or a pickle, where weights are missing or not finite, where the tokenizer belongs to another model, and where memory
    runs out.
    """
    folder = hub.find(profile.model)
    pretrained.check_folder(folder, "model")
    tokenizer = pretrained.read_tokenizer(folder)
    # On a CPU, attention written out ("eager") is faster at writing token by token, and it can show its weights; the
    # fused kernels ("sdpa") are faster at reading.
    model = pretrained.read_model(
        AutoModelForSeq2SeqLM,
        folder,
        use_safetensors=True,
        attn_implementation="eager",
        **_stored_as(profile.weights),
    )
    if profile.weights in WHOLE:
        with shortage.in_words(f"loading {sources.name_of(folder)}"):
            model.to(best_device())
    model.get_encoder().set_attn_implementation("sdpa")
    _check_tokenizer(tokenizer, model, folder)
    pretrained.try_writing(model, tokenizer, folder)
    return model.eval(), tokenizer


def _stored_as(weights: Weights) -> dict[str, Any]:
    """What to load a model with so that its weights are stored like this; LabError where that needs a package more."""
    if weights in WHOLE:
        return {"dtype": WHOLE[weights]}
    if importlib.util.find_spec("bitsandbytes") is None:
        raise LabError(
            f"Weights of {weights[0]} bits were asked for, which the package bitsandbytes computes with, and it is not "
            "installed. Install it (python -m pip install bitsandbytes), or ask for bf16."
        )
    # Dettmers et al. 2022, https://arxiv.org/abs/2208.07339 (8 bits); 2023, https://arxiv.org/abs/2305.14314 (4 bits).
    bits = (
        BitsAndBytesConfig(load_in_8bit=True)
        if weights == "8bit"
        else BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_compute_dtype=torch.bfloat16)
    )
    return {"dtype": torch.bfloat16, "quantization_config": bits, "device_map": {"": best_device()}}


def load_tokenizer(profile: Profile) -> PreTrainedTokenizerBase:
    """The tokenizer of a profile's model. Raises LabError as :func:`load_model` does."""
    return pretrained.read_tokenizer(hub.find(profile.model))


def _check_tokenizer(tokenizer: PreTrainedTokenizerBase, model: PreTrainedModel, folder: Path) -> None:
    """Whether tokenizer and model belong together, as far as one can see from outside."""
    config = model.config
    ours, theirs = (tokenizer.pad_token_id, tokenizer.eos_token_id), (config.pad_token_id, config.eos_token_id)
    if len(tokenizer) > config.vocab_size or ours != theirs:
        raise LabError(
            f"The tokenizer in {sources.name_of(folder)} belongs to another model: it has {len(tokenizer):,} tokens "
            f"and marks padding and end by {ours}, and the model knows {config.vocab_size:,} and expects {theirs}. The "
            f"model would read noise. {sources.remedy(folder)}"
        )


def training_record(profile: Profile) -> dict[str, Any] | None:
    """How the model was trained, as its build wrote it down (``training.json``); None for models made elsewhere.

    Raises LabError if that file is damaged.
    """
    path = hub.find(profile.model) / "training.json"
    return contents.read_json(path, "model") if path.exists() else None


def count_parameters(model: PreTrainedModel) -> int:
    """Number of parameters, shared ones counted once."""
    return sum(p.numel() for p in model.parameters())
