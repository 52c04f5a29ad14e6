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
from peft import LoraConfig, PeftModel, TaskType, get_peft_model
from transformers import PreTrainedModel

from genai_labs import sources
from genai_labs.errors import LabError

# The matrices of a T5 v1.1 block.
ATTENTION = ("q", "k", "v", "o")
FEED_FORWARD = ("wi_0", "wi_1", "wo")
ALL_LINEAR = ATTENTION + FEED_FORWARD
BASE_FILE = "base.json"
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


def attach(base: PreTrainedModel, config: LoraConfig, name: str = "default", seed: int = 0) -> PeftModel:
    """A model with a fresh adapter that stands on the very weights of ``base``; ``base`` itself stays without one.

    peft puts its layers *into* the model it is given, which from then on answers with the adapter. So it is given
    a second set of modules around the same tensors: no memory is spent twice, and ``base`` still answers as before.
    A is drawn by ``seed``. Raises LabError where no matrix has such a name, or the rank is higher than theirs.
    """
    _check_places(base, config)
    wrapped = shared_copy(base)
    torch.manual_seed(seed)
    with _about_checkpointing_silent():
        return get_peft_model(wrapped, config, adapter_name=name)


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
    for name, tensor in sorted((_base_name(n), p) for n, p in model.named_parameters() if "lora_" not in n):
        digest.update(name.encode())
        digest.update(tensor.detach().float().cpu().numpy().tobytes())
    return digest.hexdigest()


def _base_name(name: str) -> str:
    return name.removeprefix("base_model.model.").replace(".base_layer", "")


def trainable_share(model: torch.nn.Module) -> float:
    """Share of the parameters that training moves, 0 to 1."""
    counts = [(p.numel(), p.requires_grad) for p in model.parameters()]
    return sum(n for n, moved in counts if moved) / sum(n for n, _ in counts)


def save_adapter(model: PeftModel, folder: Path) -> int:
    """Write the adapter (safetensors) and the hash of the base it belongs to; returns the bytes of its weights."""
    model.save_pretrained(str(folder), safe_serialization=True)
    base = sources.name_of(Path(str(model.get_base_model().name_or_path)))
    record = json.dumps({"base": base, "fingerprint": fingerprint(model)})
    (folder / BASE_FILE).write_text(record + "\n", encoding="utf-8")
    return (folder / "adapter_model.safetensors").stat().st_size


def load_adapter(base: PreTrainedModel, folder: Path, name: str = "default") -> PeftModel:
    """A model with the adapter saved in ``folder``, standing on the weights of ``base``.

    Raises LabError where a file is missing, and where the adapter was trained on another base model, which is named.
    """
    _check_base(base, folder)
    with _about_checkpointing_silent():
        return PeftModel.from_pretrained(shared_copy(base), folder, adapter_name=name)


def add_adapter(model: PeftModel, folder: Path, name: str) -> None:
    """Load one more adapter beside those that ``model`` has; ``model.set_adapter(name)`` switches to it."""
    _check_base(model, folder)
    model.load_adapter(folder, adapter_name=name)


def belongs(base: PreTrainedModel, folder: Path) -> bool:
    """Whether the adapter saved in ``folder``, if there is one, was trained on these base weights."""
    path = folder / BASE_FILE
    return path.exists() and json.loads(path.read_text(encoding="utf-8"))["fingerprint"] == fingerprint(base)


def merged(model: PeftModel) -> PreTrainedModel:
    """A plain model in which B A has been added to every W; ``model`` and its base stay as they are."""
    return copy.deepcopy(model).merge_and_unload()


@contextmanager
def _about_checkpointing_silent() -> Iterator[None]:
    """peft asks for a property of the model that transformers has renamed, which a learner can do nothing about."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "`is_gradient_checkpointing` is deprecated", FutureWarning)
        yield


def _check_base(base: torch.nn.Module, folder: Path) -> None:
    missing = [n for n in ("adapter_config.json", "adapter_model.safetensors") if not (folder / n).exists()]
    if missing:
        raise LabError(
            f"There is no adapter in {folder.name}: {' and '.join(missing)} missing. Train it again, or name the "
            "folder that it was saved in."
        )
    path = folder / BASE_FILE
    record = json.loads(path.read_text(encoding="utf-8")) if path.exists() else None
    if record and record["fingerprint"] != fingerprint(base):
        raise LabError(
            f"The adapter in {folder.name} belongs to another base model: it was trained on {record['base']} with "
            f"weights {record['fingerprint'][:12]}, and this model's weights are {fingerprint(base)[:12]}. On other "
            "weights it would add noise. Load the base model it was trained on, or train it again on this one."
        )
