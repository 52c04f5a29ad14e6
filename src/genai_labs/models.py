"""Load the model and tokenizer of a profile, with errors in words."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from transformers import (
    AutoModelForSeq2SeqLM,
    AutoTokenizer,
    BitsAndBytesConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from genai_labs import progress, shortage, sources
from genai_labs.devices import best_device
from genai_labs.errors import LabError
from genai_labs.paths import MODELS
from genai_labs.profiles import Profile, Weights

WHOLE: dict[Weights, torch.dtype] = {"fp32": torch.float32, "bf16": torch.bfloat16}


def load_model(profile: Profile) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """The model in eval mode on the best device of this machine, and its tokenizer.

    In fp32, if the profile does not say otherwise: greedy decoding then gives the same texts on every processor and
    with any number of threads.
    Raises LabError where the hub does not have the model or does not answer, where a file is missing, damaged or a
    pickle, where the tokenizer belongs to another model, and where memory runs out.
    """
    folder = sources.find(profile.model)
    check_folder(folder, "model")
    try:
        tokenizer = AutoTokenizer.from_pretrained(folder)
        # On a CPU, attention written out ("eager") is faster at writing token by token, and it can show its weights;
        # the fused kernels ("sdpa") are faster at reading.
        with shortage.in_words(f"loading {sources.name_of(folder)}"), progress.others_silent():
            model = AutoModelForSeq2SeqLM.from_pretrained(
                folder,
                use_safetensors=True,
                attn_implementation="eager",
                **_stored_as(profile.weights),
            )
            if profile.weights in WHOLE:
                model.to(best_device())
        model.get_encoder().set_attn_implementation("sdpa")
    except LabError:
        raise
    except Exception as error:  # whatever a damaged file makes the libraries raise
        raise LabError(
            f"The model {sources.name_of(folder)} could not be loaded: {type(error).__name__}: {error}. "
            "A file is probably damaged or cut off. "
            f"{remedy(folder)}"
        ) from error
    _check_tokenizer(tokenizer, model, folder)
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
    """The tokenizer of a profile's model."""
    return AutoTokenizer.from_pretrained(sources.find(profile.model))


def check_folder(folder: Path, what: str) -> None:
    """Raise LabError if a folder cannot hold a model: a file is missing, empty or damaged, or weights are a pickle.

    what: "model" or "classifier", for the message.
    """
    names = {path.name for path in folder.iterdir()}
    weights = sources.weight_files(names)
    needed = ["config.json", *(weights or ["model.safetensors"])]
    if not names & {"vocab.json", "vocab.txt", "spiece.model"}:
        needed.append("tokenizer.json")
    for name in needed:
        path = folder / name
        if not path.exists() or path.stat().st_size == 0:
            state = "is missing" if not path.exists() else "is empty"
            raise LabError(
                f"The file {name} of the {what} {sources.name_of(folder)} {state}, so it cannot be loaded. "
                f"{remedy(folder)}"
            )
    try:
        json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except ValueError as error:
        raise LabError(
            f"The file config.json of the {what} {sources.name_of(folder)} is damaged ({error}). {remedy(folder)}"
        ) from error
    for name in weights:
        _check_weights(folder / name, what)


def _check_weights(path: Path, what: str) -> None:
    """Whether a file is what it was (where its checksum is known), and whole: a header says how long it must be."""
    sources.check_sums(path.parent, [path])
    if path.suffix != ".safetensors":
        return
    try:
        with safe_open(path, framework="pt"):
            pass
    except Exception as error:  # safetensors has an error of its own for every kind of damage
        raise LabError(
            f"The file {path.name} of the {what} {sources.name_of(path.parent)} is damaged or cut off ({error}). "
            f"{remedy(path.parent)}"
        ) from error


def _check_tokenizer(tokenizer: PreTrainedTokenizerBase, model: PreTrainedModel, folder: Path) -> None:
    """Whether tokenizer and model belong together, as far as one can see from outside."""
    config = model.config
    ours, theirs = (tokenizer.pad_token_id, tokenizer.eos_token_id), (config.pad_token_id, config.eos_token_id)
    if len(tokenizer) > config.vocab_size or ours != theirs:
        raise LabError(
            f"The tokenizer in {sources.name_of(folder)} belongs to another model: it has {len(tokenizer):,} tokens "
            f"and marks padding and end by {ours}, and the model knows {config.vocab_size:,} and expects {theirs}. The "
            f"model would read noise. {remedy(folder)}"
        )


def remedy(folder: Path) -> str:
    """What to do about a model that cannot be loaded."""
    if folder.parent == MODELS:
        command = "build-world classifiers" if folder.name in ("hate-mini", "judge-mini") else "build-world"
        return (
            f"Get it back with: git checkout -- data/models/{folder.name} (or make it anew with: "
            f"python -m genai_labs {command})."
        )
    return "Fetch it again (python -m genai_labs fetch --again), or name another folder."


def training_record(profile: Profile) -> dict[str, Any] | None:
    """How the model was trained, as its build wrote it down (``training.json``); None for models made elsewhere."""
    path = sources.find(profile.model) / "training.json"
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else None


def count_parameters(model: PreTrainedModel) -> int:
    """Number of parameters, shared ones counted once."""
    return sum(p.numel() for p in model.parameters())
