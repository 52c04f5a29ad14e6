"""Where models and data are on this machine: in a folder, or in the cache of the Hugging Face hub.

Everything is read from a folder, so there is one way to load and one place for errors. A name on the hub may carry a
revision: "google/flan-t5-base@main". What is not on this machine yet is brought to it by :mod:`.hub`.
"""

from __future__ import annotations

import json
from collections.abc import Collection
from pathlib import Path
from typing import Literal

from genai_labs.paths import MODELS

Kind = Literal["model", "dataset"]

# What is needed of a repository, by kind: files in its top folder whose names end so. Weights come on top.
ENDINGS: dict[Kind, tuple[str, ...]] = {
    "model": (".json", ".txt", ".model", ".md"),
    "dataset": (".csv", ".jsonl", ".md"),
}
PICKLE = "pytorch_model.bin"
INDEX = "model.safetensors.index.json"  # of weights in several files
# Commands that make the shipped models anew, where it is not all of `build-world`.
MADE_BY = {
    **dict.fromkeys(("hate-mini", "judge-mini"), "build-world classifiers --again"),
    **dict.fromkeys(("t5-reader", "t5-reader-pretrained"), "build-reader"),
    "harsh-lora": "detox --train-summarizer --ship",
}


def split_revision(source: str) -> tuple[str, str | None]:
    """("google/flan-t5-base", "main") for "google/flan-t5-base@main"; None where no revision is named."""
    name, _, revision = source.partition("@")
    return name, revision or None


def is_folder(source: str) -> bool:
    """Whether a source means a folder on this machine, be it there or not: all but names such as "owner/name"."""
    return (
        folder_of(source) is not None
        or Path(source).is_absolute()
        or source.startswith((".", "~"))
        or source.count("/") != 1
    )


def folder_of(source: str) -> Path | None:
    """The folder on this machine that a source names, None if there is none."""
    try:
        folder = Path(source).expanduser()
        return folder if source and folder.is_dir() else None
    except (OSError, RuntimeError, ValueError):  # a name that is too long, ~ of an unknown user, a zero byte
        return None


def name_of(folder: Path) -> str:
    """What a folder is called: by its own name, or in the hub's cache, where that is a commit, by the repository's."""
    if folder.parent.name != "snapshots":
        return folder.name
    return folder.parent.parent.name.split("--", 1)[-1].replace("--", "/")


def is_shipped(folder: Path) -> bool:
    """Whether a folder is one of the models that come with this repository."""
    return folder.parent == MODELS


def remedy(folder: Path, what: str = "model") -> str:
    """What to do about a model, an adapter or a classifier (``what``) that cannot be loaded."""
    if not is_shipped(folder) and what == "adapter":
        return "Train it again, or name the folder of another adapter."
    if not is_shipped(folder):
        return "Fetch it again (python -m genai_labs fetch --again), or name another folder."
    command = MADE_BY.get(folder.name, "build-world")
    return (
        f"Get it back with: git checkout -- data/models/{folder.name} (or make it anew with: "
        f"python -m genai_labs {command})."
    )


def shown(source: str) -> str:
    """A name as it can be printed: what steers a terminal is written out, and blanks at its ends can be seen."""
    plain = source.strip() == source != "" and source.isprintable()
    return source[:200] if plain else repr(source[:200])


def cached(source: str, kind: Kind = "model") -> Path | None:
    """The folder in the hub's cache on this machine, if all that is needed is in it."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    name, revision = split_revision(source)
    try:
        folder = Path(snapshot_download(name, repo_type=kind, revision=revision, local_files_only=True))
    except (LocalEntryNotFoundError, HfHubHTTPError, HFValidationError, OSError, ValueError):
        return None
    return folder if is_whole(folder, kind) else None


def is_whole(folder: Path, kind: Kind) -> bool:
    """Whether a folder holds all that is needed: settings, tokenizer and weights, or tables (of some splits)."""
    names = {path.name for path in folder.iterdir() if path.exists()}
    if kind == "dataset":
        return any(name.endswith((".csv", ".jsonl")) for name in names)
    tokenizer = names & {"tokenizer.json", "vocab.json", "vocab.txt", "spiece.model"}
    weights = {"model.safetensors", PICKLE}.intersection(weight_files(names)) or _has_all_parts(folder, names)
    return "config.json" in names and bool(tokenizer) and bool(weights)


def _has_all_parts(folder: Path, names: set[str]) -> bool:
    """Whether all files are there that a model's index names; False without an index that can be read."""
    try:
        return names >= set(json.loads((folder / INDEX).read_text(encoding="utf-8"))["weight_map"].values())
    except (OSError, ValueError, LookupError, TypeError, AttributeError):
        return False


def weight_files(names: Collection[str]) -> list[str]:
    """The files of weights to load: safetensors if there are any, else a pickle by its usual name."""
    safe = sorted(name for name in names if name.startswith("model") and name.endswith(".safetensors"))
    return safe or [name for name in names if name == PICKLE]
