"""Where models and data come from: a folder on this machine, or a name on the Hugging Face hub.

Everything is brought into a folder first and read from there, so there is one way to load and one place for errors. A
name may carry a revision: "google/flan-t5-base@main". What is on this machine already is never asked for again.
"""

from __future__ import annotations

import errno
import os
import shutil
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from genai_labs.course.machine import hub_host, within
from genai_labs.errors import LabError
from genai_labs.paths import MODELS

Kind = Literal["model", "dataset"]

SECONDS = 3.0  # how long the hub may take to answer at all
# What is needed of a repository, by kind: files in its top folder whose names end so. Weights come on top.
ENDINGS: dict[Kind, tuple[str, ...]] = {
    "model": (".json", ".txt", ".model", ".md"),
    "dataset": (".csv", ".jsonl", ".md"),
}
PICKLE = "pytorch_model.bin"
# Commands that make the shipped models anew, where it is not all of `build-world`.
MADE_BY = {
    "hate-mini": "build-world classifiers --again",
    "judge-mini": "build-world classifiers --again",
    "harsh-lora": "detox --train-summarizer --ship",
}


@dataclass(frozen=True)
class File:
    """A file of a repository on the hub. size: bytes."""

    name: str
    size: int


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


def remedy(folder: Path) -> str:
    """What to do about a model or adapter that cannot be loaded."""
    if not is_shipped(folder):
        return "Fetch it again (python -m genai_labs fetch --again), or name another folder."
    command = MADE_BY.get(folder.name, "build-world")
    return (
        f"Get it back with: git checkout -- data/models/{folder.name} (or make it anew with: "
        f"python -m genai_labs {command})."
    )


def find(source: str, kind: Kind = "model") -> Path:
    """The folder that holds a model or a data set, fetched from the hub if it is not on this machine yet.

    Raises LabError, within seconds, where there is no such folder, and where the hub does not have it or does not
    answer.
    """
    if is_folder(source):
        folder = folder_of(source)
        if folder is None:
            raise LabError(
                f"There is no folder {_shown(source)}, from which the {kind} is to be loaded. Check the name; a "
                'model or data set on the hub is named by its owner and its name, such as "google/flan-t5-base".'
            )
        return folder
    return cached(source, kind) or fetch(source, kind)


def _shown(source: str) -> str:
    """A name as it can be printed: what steers a terminal is written out, and blanks at its ends can be seen."""
    plain = source.strip() == source != "" and source.isprintable()
    return source[:200] if plain else repr(source[:200])


def cached(source: str, kind: Kind = "model") -> Path | None:
    """The folder in the hub's cache on this machine, if all that is needed is in it."""
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    name, revision = split_revision(source)
    try:
        folder = Path(_api().snapshot_download(name, repo_type=kind, revision=revision, local_files_only=True))
    except (LocalEntryNotFoundError, HfHubHTTPError, HFValidationError, OSError, ValueError):
        return None
    return folder if is_whole(folder, kind) else None


def is_whole(folder: Path, kind: Kind) -> bool:
    """Whether a folder holds all that is needed: settings, tokenizer and weights, or tables."""
    names = {path.name for path in folder.iterdir() if path.exists()}
    if kind == "dataset":
        return any(name.endswith((".csv", ".jsonl")) for name in names)
    tokenizer = names & {"tokenizer.json", "vocab.json", "vocab.txt", "spiece.model"}
    return "config.json" in names and bool(tokenizer) and bool(weight_files(names))


def weight_files(names: set[str] | Sequence[str]) -> list[str]:
    """The files of weights to load: safetensors if there are any, else a pickle by its usual name."""
    safe = sorted(name for name in names if name.startswith("model") and name.endswith(".safetensors"))
    return safe or [name for name in names if name == PICKLE]


def fetch(source: str, kind: Kind = "model", to: Path | None = None, again: bool = False) -> Path:
    """Bring what is needed of a repository on the hub to this machine; an interrupted download goes on.

    to: a folder of its own, else the hub's cache. again: fetch even what is here already, which may be damaged.
    Raises LabError, within seconds, where the hub does not answer, does not have it, or wants a permission, and where
    the disk is too small.
    """
    name, revision = split_revision(source)
    check_reachable(name)
    with in_words(name, revision):
        files = needed(name, kind, revision)
        _check_room(name, files, to)
        return Path(
            _api().snapshot_download(
                name,
                repo_type=kind,
                revision=revision,
                local_dir=to,
                allow_patterns=[file.name for file in files],
                force_download=again,
            )
        )


def needed(name: str, kind: Kind, revision: str | None = None) -> list[File]:
    """The files of a repository that are needed, with their sizes."""
    info: Any = _api().repo_info(name, repo_type=kind, revision=revision, files_metadata=True, timeout=10)
    sizes = {each.rfilename: each.size or 0 for each in info.siblings if "/" not in each.rfilename}
    chosen = [each for each in sizes if each.endswith(ENDINGS[kind])]
    chosen += weight_files(set(sizes)) if kind == "model" else []
    return [File(each, sizes[each]) for each in sorted(set(chosen))]


def check_reachable(name: str) -> None:
    """Raise LabError, within seconds, if the hub may not be asked or does not answer."""
    remedy = (
        "Bring it here with `python -m genai_labs fetch` where there is a network, name a local folder instead, or "
        "take the embedded world, which needs none (GENAI_LABS_PROFILE=mini)."
    )
    if os.environ.get("HF_HUB_OFFLINE", "").upper() in ("1", "ON", "YES", "TRUE"):
        raise LabError(
            f"{_shown(name)} is not on this machine, and the hub is not asked, as HF_HUB_OFFLINE is set. {remedy}"
        )
    host = hub_host()
    if not answers(endpoint()):
        raise LabError(f"{_shown(name)} is not on this machine, and the hub ({host}) does not answer. {remedy}")


def answers(address: str, seconds: float = SECONDS) -> bool:
    """Whether a web address answers in time, whatever it says; by way of a proxy where the system names one."""

    def ask() -> None:
        with suppress(urllib.error.HTTPError):  # a refusal is an answer
            urllib.request.urlopen(urllib.request.Request(address, method="HEAD"), timeout=seconds).close()

    return within(seconds, ask)


def endpoint() -> str:
    """The address of the hub: HF_ENDPOINT, or the usual one."""
    return os.environ.get("HF_ENDPOINT") or "https://huggingface.co"


@contextmanager
def in_words(name: str, revision: str | None = None) -> Iterator[None]:
    """Errors of the hub as errors that say what happened, why, and what to do next."""
    from huggingface_hub.errors import (
        GatedRepoError,
        HFValidationError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    try:
        yield
    except GatedRepoError as error:
        raise LabError(
            f"{name} is only for people who have agreed to its terms. Agree to them at {endpoint()}/{name}, log in "
            "with `hf auth login`, and try again."
        ) from error
    except RevisionNotFoundError as error:
        raise LabError(
            f"{name} has no revision {revision or 'main'}. Leave the revision out, or look for its name at "
            f"{endpoint()}/{name}."
        ) from error
    except (RepositoryNotFoundError, HFValidationError) as error:
        raise LabError(
            f"The hub has nothing called {name}, or not for everybody. Check the spelling, and owner/name; if it is "
            "private, log in with `hf auth login`."
        ) from error
    except OSError as error:  # what goes wrong with a disk, and, as a kind of it, with a network
        if error.errno == errno.ENOSPC:
            raise LabError(
                f"The disk is full: {name} could not be stored whole. Make room, or set HF_HOME to a folder on another "
                "disk. What has arrived is kept, and the same command goes on with it."
            ) from error
        raise _interrupted(name, error) from error
    except LabError:
        raise
    except Exception as error:  # the libraries below have errors of their own for broken connections
        raise _interrupted(name, error) from error


def _interrupted(name: str, error: Exception) -> LabError:
    return LabError(
        f"Fetching {name} was interrupted: {type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}. "
        "What has arrived is kept; the same command goes on with it."
    )


def _check_room(name: str, files: Sequence[File], to: Path | None) -> None:
    from huggingface_hub import constants

    size = sum(file.size for file in files)
    place = to or Path(constants.HF_HUB_CACHE)
    while not place.exists():
        place = place.parent
    free = shutil.disk_usage(place).free
    if free < size:
        raise LabError(
            f"{name} takes {size / 1e9:.2f} GB, and {free / 1e9:.2f} GB are free on the disk of {place.name}. Make "
            "room, set HF_HOME to a folder on another disk, or take a smaller profile."
        )


def _api() -> Any:
    from huggingface_hub import HfApi

    return HfApi(endpoint=endpoint())
