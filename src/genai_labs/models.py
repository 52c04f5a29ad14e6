"""Load the model and tokenizer of a profile, with errors in words."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForSeq2SeqLM, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase

from genai_labs.errors import LabError
from genai_labs.profiles import Profile


def load_model(profile: Profile) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """The model in fp32 and eval mode, and its tokenizer.

    fp32, because greedy decoding then gives the same texts on every processor and with any number of threads.
    Raises LabError naming the file if a local folder lacks one or holds a damaged one.
    """
    folder = Path(profile.model)
    if folder.is_absolute():
        _check_folder(folder)
    try:
        tokenizer = load_tokenizer(profile)
        # On a CPU, attention written out ("eager") is faster at writing token by token, and it can show its weights;
        # the fused kernels ("sdpa") are faster at reading.
        model = AutoModelForSeq2SeqLM.from_pretrained(
            profile.model, dtype=torch.float32, use_safetensors=True, attn_implementation="eager"
        )
        model.get_encoder().set_attn_implementation("sdpa")
    except Exception as error:  # whatever a damaged file makes the libraries raise
        raise LabError(
            f"The model {folder.name} could not be loaded: {type(error).__name__}: {error}. "
            "A file is probably damaged or cut off. "
            f"{_remedy(folder)}"
        ) from error
    model.eval()
    return model, tokenizer


def load_tokenizer(profile: Profile) -> PreTrainedTokenizerBase:
    """The tokenizer of a profile's model."""
    return AutoTokenizer.from_pretrained(profile.model)


def _check_folder(folder: Path) -> None:
    for name in ("config.json", "model.safetensors", "tokenizer.json"):
        path = folder / name
        if not path.exists() or path.stat().st_size == 0:
            state = "is missing" if not path.exists() else "is empty"
            raise LabError(
                f"The file {name} of the model {folder.name} {state}, so it cannot be loaded. {_remedy(folder)}"
            )


def _remedy(folder: Path) -> str:
    return (
        f"Get it back with: git checkout -- data/models/{folder.name} (or make it anew, in an hour and a half, with: "
        "python -m genai_labs build-world)."
    )


def training_record(profile: Profile) -> dict[str, Any] | None:
    """How the model was trained, as its build wrote it down (``training.json``); None for models made elsewhere."""
    path = Path(profile.model) / "training.json"
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else None


def count_parameters(model: PreTrainedModel) -> int:
    """Number of parameters, shared ones counted once."""
    return sum(p.numel() for p in model.parameters())
