"""Read models, tokenizers and configurations from a folder: all of transformers' loading goes through here.

Nothing in the folder is executed, no weight that it lacks is drawn at random, and what is wrong is said in words.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from safetensors import safe_open
from transformers import AutoConfig, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase

from genai_labs.errors import LabError
from genai_labs.loading import checksums, shortage, sources
from genai_labs.loading.contents import check_weights_finite, damage_in_words, read_json, shortened
from genai_labs.system import progress

A_TEXT = "#Person1#: Is it 7 o'clock?"  # what a tokenizer must be able to read


def check_folder(folder: Path, what: str) -> None:
    """Raise LabError if a folder cannot hold a model: a file is missing, empty, damaged or not what it was.

    what: "model" or "classifier", for the message.
    """
    names = {path.name for path in folder.iterdir()}
    weights = sources.weight_files(names)
    needed = ["config.json", *(weights or ["model.safetensors"])]
    if not names & {"vocab.json", "vocab.txt", "spiece.model"}:
        needed.append("tokenizer.json")
    for name in needed:
        path = folder / name
        if not path.is_file() or path.stat().st_size == 0:
            state = "is empty" if path.is_file() else "is missing"
            raise LabError(
                f"The file {name} of the {what} {sources.name_of(folder)} {state}, so it cannot be loaded. "
                f"{sources.remedy(folder)}"
            )
    checksums.check_sums(folder)
    read_json(folder / "config.json", what)
    for name in weights:
        _check_whole(folder / name, what)


def read_config(folder: Path, what: str = "model") -> Any:
    """The configuration in a folder. Raises LabError if it is damaged."""
    with damage_in_words(folder, what):
        return AutoConfig.from_pretrained(folder, trust_remote_code=False)


def read_tokenizer(folder: Path, what: str = "model") -> PreTrainedTokenizerBase:
    """The tokenizer in a folder. Raises LabError if a file of it is damaged, or if it cannot read a sentence."""
    checksums.check_sums(folder, weights=False)
    with damage_in_words(folder, what):
        tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
        _try_out(tokenizer)
    return tokenizer


def read_model(kind: Any, folder: Path, what: str = "model", new_head: bool = False, **settings: Any) -> Any:
    """The model in a folder, all of whose weights come from there.

    kind: such as AutoModelForSeq2SeqLM. new_head: the model is to be trained, and what lies outside its body may be
    new. settings: further arguments of ``from_pretrained``. Raises LabError where memory runs out, where weights are
    missing, left over or not finite, and where a file is damaged.
    """
    name = sources.name_of(folder)
    with damage_in_words(folder, what), shortage.in_words(f"loading {name}"), progress.others_silent():
        model, found = kind.from_pretrained(
            folder,
            trust_remote_code=False,
            output_loading_info=True,
            ignore_mismatched_sizes=True,  # they are refused below, by name
            **settings,
        )
    _check_weights(model, found, folder, what, new_head)
    return model


def try_writing(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, folder: Path) -> None:
    """Let a model write one token. Raises LabError if it cannot, which is when its settings for writing are damaged."""
    with damage_in_words(folder, "model"), shortage.in_words(f"loading {sources.name_of(folder)}"):
        inputs = tokenizer(A_TEXT, return_tensors="pt").to(model.device)
        model.generate(inputs["input_ids"], max_new_tokens=1, do_sample=False)


def _check_weights(model: PreTrainedModel, found: dict[str, Any], folder: Path, what: str, new_head: bool) -> None:
    """Whether the weights in the file and those that the configuration asks for are the same, and numbers."""
    other_shape = {key[0] for key in found["mismatched_keys"]}
    body = f"{model.base_model_prefix}."
    drawn = sorted(key for key in {*found["missing_keys"], *other_shape} if not new_head or key.startswith(body))
    kinds = {_kind(name) for name in model.state_dict()}
    left_over = sorted(key for key in found["unexpected_keys"] if _kind(key) in kinds)
    for names, problem in (
        (drawn, "its configuration asks for {} weights that its file does not hold in this shape"),
        (left_over, "its file holds {} weights of layers that its configuration does not know"),
    ):
        if names:
            raise LabError(
                f"The {what} {sources.name_of(folder)} is not whole: {problem.format(len(names))}, such as {names[0]}. "
                f"It would compute something else than what was trained. {sources.remedy(folder)}"
            )
    check_weights_finite(dict(model.named_parameters()), folder, what)


def _kind(name: str) -> str:
    """What a weight is called in every layer: its name without numbers."""
    return re.sub(r"\.\d+(?=\.)", ".N", name)


def _check_whole(path: Path, what: str) -> None:
    """Whether a file of weights is whole: a header says how long it must be."""
    if path.suffix != ".safetensors":
        return
    try:
        with safe_open(path, framework="pt"):
            pass
    except Exception as error:  # safetensors has an error of its own for every kind of damage
        raise LabError(
            f"The file {path.name} of the {what} {sources.name_of(path.parent)} is damaged or cut off "
            f"({shortened(error)}). {sources.remedy(path.parent)}"
        ) from error


def _try_out(tokenizer: PreTrainedTokenizerBase) -> None:
    """Raise whatever a damaged tokenizer raises at its first sentence, or ValueError if what comes out is no text."""
    ids = tokenizer(A_TEXT)["input_ids"]
    if not ids or not isinstance(tokenizer.decode(ids), str):
        raise ValueError("the tokenizer makes nothing of a sentence")
    if not isinstance(tokenizer.pad_token_id, int):
        raise ValueError("the tokenizer knows no token for padding")
    if "attention_mask" not in tokenizer.pad({"input_ids": [ids, ids[:1]]}):
        raise ValueError("the tokenizer does not say what is padding")
    if type(tokenizer.model_max_length) is not int or tokenizer.model_max_length < 1:
        raise ValueError(f"the tokenizer's window (model_max_length) is {tokenizer.model_max_length!r:.40}")
