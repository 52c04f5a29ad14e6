"""LoRA: adapters that stand on a base model without touching it.

Hu et al. 2021, https://arxiv.org/abs/2106.09685: a weight matrix W is frozen, and a product B A of rank r is added to
it. B starts at zero, so a fresh adapter changes nothing.
"""

from __future__ import annotations

import copy
import hashlib
import json
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

import torch
from peft import LoraConfig, PeftModel, TaskType, get_peft_model, get_peft_model_state_dict
from safetensors.torch import load_file
from transformers import PreTrainedModel

from genai_labs.errors import LabError
from genai_labs.loading import checksums, contents, sources
from genai_labs.loading.contents import damage_in_words
from genai_labs.loading.shortage import in_words

# The matrices of a T5 v1.1 block.
ATTENTION = ("q", "k", "v", "o")
FEED_FORWARD = ("wi_0", "wi_1", "wo")
ALL_LINEAR = ATTENTION + FEED_FORWARD
ADDED = re.compile(r"lora_|prompt_encoder\.")  # in the names of parameters that an adapter or a soft prompt brought
BASE_FILE = "base.json"
WEIGHTS_FILE = "adapter_model.safetensors"
Part = Literal["model", "encoder", "decoder"]


def lora_config(rank: int, alpha: int, targets: tuple[str, ...] = ALL_LINEAR, within: Part = "model") -> LoraConfig:
    """Adapters of one rank on the matrices whose names end in ``targets``; B A is scaled by alpha / rank.

    ``within`` keeps them to the encoder or the decoder. With adapters in the decoder alone no gradient has to flow
    through the encoder, which reads the long prompt: less time and much less memory a step.
    """
    part = ".*" if within == "model" else rf".*\b{within}\..*"
    return LoraConfig(
        task_type=TaskType.SEQ_2_SEQ_LM,
        r=rank,
        lora_alpha=alpha,
        target_modules=rf"{part}\.({'|'.join(targets)})",
        lora_dropout=0.0,
        bias="none",
    )


def attach(base: PreTrainedModel, config: LoraConfig, seed: int = 0) -> PeftModel:
    """A model with a fresh adapter that stands on the very weights of ``base``; ``base`` itself stays without one.

    peft puts its layers *into* the model it is given, which from then on answers with the adapter. So it is given
    a second set of modules around the same tensors: no memory is spent twice, and ``base`` still answers as before.
    A is drawn by ``seed``. Raises LabError where no matrix has such a name, or the rank is higher than theirs.
    """
    _check_places(base, config)
    wrapped = shared_copy(base)
    torch.manual_seed(seed)
    with about_checkpointing_silent():
        return get_peft_model(wrapped, config)


def _check_places(base: PreTrainedModel, config: LoraConfig) -> None:
    """Raise LabError where an adapter has no place to be put, or would be larger than what it adapts."""
    pattern = re.compile(str(config.target_modules))
    found = [m for name, m in base.named_modules() if pattern.fullmatch(name) and hasattr(m, "in_features")]
    if not found:
        there = sorted({n.rsplit(".", 1)[-1] for n, m in base.named_modules() if hasattr(m, "in_features")})
        raise LabError(
            f"No adapter can be put into this model: none of its matrices has a name like {config.target_modules}. Its "
            f"matrices are called {', '.join(there)}. Choose targets among them."
        )
    highest = min(min(m.in_features, m.out_features) for m in found)
    if config.r > highest:
        raise LabError(
            f"Rank {config.r} was asked for, but the smallest of the matrices that get an adapter has rank {highest} "
            f"itself: a higher one adds numbers that can learn nothing more. Choose a rank of at most {highest}."
        )


def shared_copy(base: PreTrainedModel) -> PreTrainedModel:
    """New modules around new frozen parameters that share their memory with those of ``base``.

    Parameters of a type of their own, which 8- and 4-bit weights have, are the same objects in both.
    """
    memo: dict[int, object] = {
        id(p): torch.nn.Parameter(p.detach(), requires_grad=False) if type(p) is torch.nn.Parameter else p
        for p in base.parameters()
    }
    for module in base.modules():
        if hasattr(module, "init_8bit_state"):  # bitsandbytes moves 8-bit weights out of the parameter when first used
            if module.weight.CB is not None:
                module.init_8bit_state()
            memo |= {id(tensor): tensor for tensor in (module.state.CB, module.state.SCB)}
    return copy.deepcopy(base, memo)


def fingerprint(model: torch.nn.Module) -> str:
    """Hash of the base weights (64 hexadecimal digits): the same with and without adapters, on or off."""
    digest = hashlib.sha256()
    base = {re.sub(r"^base_model\.(model\.)?|\.base_layer", "", n): p for n, p in model.named_parameters()}
    for name, tensor in sorted((n, p) for n, p in base.items() if not ADDED.search(n)):
        digest.update(name.encode())
        digest.update(tensor.detach().float().cpu().numpy().tobytes())
    return digest.hexdigest()


def save_adapter(model: PeftModel, folder: str | Path) -> int:
    """Write the adapter (safetensors) and the hash of the base it belongs to; returns the bytes of its weights."""
    folder = Path(folder)
    model.save_pretrained(str(folder), safe_serialization=True)
    base = sources.name_of(Path(str(model.get_base_model().name_or_path)))
    record = json.dumps({"base": base, "fingerprint": fingerprint(model)})
    (folder / BASE_FILE).write_text(record + "\n", encoding="utf-8")
    return (folder / WEIGHTS_FILE).stat().st_size


def load_adapter(base: PreTrainedModel, folder: str | Path, name: str = "default") -> PeftModel:
    """A model with the adapter saved in ``folder``, standing on the weights of ``base``.

    Raises LabError where a file is missing, damaged or changed, and where the adapter was trained on another base
    model, which is named.
    """
    folder = _check_base(base, folder)
    with damage_in_words(folder, "adapter"), in_words(f"loading {folder.name}"), about_checkpointing_silent():
        model = PeftModel.from_pretrained(shared_copy(base), folder, adapter_name=name)
    _check_adapter_weights(model, folder, name)
    return model


def add_adapter(model: PeftModel, folder: str | Path, name: str) -> None:
    """Load one more adapter beside those that ``model`` has; ``model.set_adapter(name)`` switches to it.

    Raises LabError as :func:`load_adapter` does.
    """
    folder = _check_base(model, folder)
    with damage_in_words(folder, "adapter"), in_words(f"loading {folder.name}"):
        model.load_adapter(folder, adapter_name=name)
    _check_adapter_weights(model, folder, name)


def belongs(base: PreTrainedModel, folder: str | Path) -> bool:
    """Whether the adapter saved in ``folder``, if there is one, was trained on these base weights.

    Raises LabError where the record of that is damaged.
    """
    folder = Path(folder)
    return (folder / BASE_FILE).exists() and _record(folder)["fingerprint"] == fingerprint(base)


def merged(model: PeftModel) -> PreTrainedModel:
    """A plain model in which B A has been added to every W; ``model`` and its base stay as they are."""
    return copy.deepcopy(model).merge_and_unload()


def distance(model: torch.nn.Module, base: torch.nn.Module) -> float:
    """How far the weights lie from those of ``base``: the length of the difference, as a share of the base's length.

    What an adapter adds to its matrices counts; a soft prompt, which changes no weight, does not.
    """
    if isinstance(model, PeftModel):
        model = merged(model) if model.peft_type == "LORA" else model.get_base_model()
    with torch.no_grad():
        pairs = [[w.cpu().double() for w in both] for both in zip(model.parameters(), base.parameters(), strict=True)]
        return float(sum((p - q).square().sum() for p, q in pairs) / sum(q.square().sum() for _, q in pairs)) ** 0.5


@contextmanager
def about_checkpointing_silent() -> Iterator[None]:
    """peft asks for a property of the model that transformers has renamed, which a learner can do nothing about."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "`is_gradient_checkpointing` is deprecated", FutureWarning)
        yield


def _check_base(base: torch.nn.Module, folder: str | Path) -> Path:
    """The folder, if there is an adapter in it that was trained on these weights; LabError if not."""
    if not isinstance(base, torch.nn.Module):
        raise LabError(
            f"An adapter stands on a model, and a {type(base).__name__} was given first. Pass the model, then the "
            "folder: load_adapter(model, folder)."
        )
    folder = Path(folder)
    missing = [n for n in ("adapter_config.json", WEIGHTS_FILE) if not (folder / n).exists()]
    if missing:
        raise LabError(
            f"There is no adapter in {folder.name}: {' and '.join(missing)} missing. Train it again, or name the "
            "folder that it was saved in."
        )
    checksums.check_sums(folder)
    kind = contents.read_json(folder / "adapter_config.json", "adapter").get("peft_type")
    if kind != "LORA":
        raise LabError(
            f"The adapter in {folder.name} is of the kind {kind!r:.40}, and only LoRA adapters are read here. "
            f"{sources.remedy(folder, 'adapter')}"
        )
    record = _record(folder) if (folder / BASE_FILE).exists() else None
    if record and record["fingerprint"] != fingerprint(base):
        raise LabError(
            f"The adapter in {folder.name} belongs to another base model: it was trained on {record['base']} with "
            f"weights {record['fingerprint'][:12]}, and this model's weights are {fingerprint(base)[:12]}. On other "
            "weights it would add noise. Load the base model it was trained on, or train it again on this one."
        )
    return folder


def _record(folder: Path) -> dict[str, str]:
    """Which base model an adapter belongs to: its name, "base", and "fingerprint" of its weights."""
    record = contents.read_json(folder / BASE_FILE, "adapter")
    if not all(isinstance(record.get(key), str) for key in ("base", "fingerprint")):
        raise LabError(
            f"The file {BASE_FILE} of the adapter {folder.name} is damaged: it does not name the base model and its "
            f"weights. {sources.remedy(folder, 'adapter')}"
        )
    return record


def _check_adapter_weights(model: PeftModel, folder: Path, name: str) -> None:
    """Whether the model's adapter holds what stands in the file and nothing else, all of it numbers."""
    stored = load_file(folder / WEIGHTS_FILE)
    loaded = get_peft_model_state_dict(model, adapter_name=name, save_embedding_layers=False)
    if differing := sorted(stored.keys() ^ loaded.keys()):
        raise LabError(
            f"The adapter in {folder.name} is not whole: {len(differing)} of its weights do not match what "
            f"adapter_config.json asks for, such as {differing[0]}. {sources.remedy(folder, 'adapter')}"
        )
    contents.check_weights_finite(stored, folder, "adapter")
