"""The Hugging Face hub: whether it answers, what of a repository is needed, and bringing that to this machine."""

from __future__ import annotations

import errno
import os
import shutil
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path
from threading import Thread
from typing import Any
from urllib.parse import urlsplit

from genai_labs.errors import LabError
from genai_labs.loading.sources import (
    ENDINGS,
    Kind,
    cached,
    folder_of,
    is_folder,
    shown,
    split_revision,
    weight_files,
)

SECONDS = 3.0  # how long the hub may take to answer at all


@dataclass(frozen=True)
class File:
    """A file of a repository on the hub. size: bytes."""

    name: str
    size: int


def find(source: str, kind: Kind = "model") -> Path:
    """The folder that holds a model or a data set, fetched from the hub if it is not on this machine yet.

    Raises LabError, within seconds, where there is no such folder, and where the hub does not have it or does not
    answer.
    """
    if is_folder(source):
        folder = folder_of(source)
        if folder is None:
            raise LabError(
                f"There is no folder {shown(source)}, from which the {kind} is to be loaded. Check the name; a "
                'model or data set on the hub is named by its owner and its name, such as "google/flan-t5-base".'
            )
        return folder
    return cached(source, kind) or fetch(source, kind)


def fetch(source: str, kind: Kind = "model", to: Path | None = None, again: bool = False) -> Path:
    """Bring what is needed of a repository on the hub to this machine; an interrupted download goes on.

    to: a folder of its own, else the hub's cache. again: fetch even what is here already, which may be damaged.
    Raises LabError, within seconds, where the hub does not answer, does not have it, or wants a permission, and where
    the disk is too small.
    """
    name, revision = split_revision(source)
    check_reachable(name)
    with answers_in_words(name, revision):
        files = needed(name, kind, revision)
        lacking = [file for file in files if again or not _is_here(file, name, kind, revision, to)]
        _check_room(name, lacking, to)
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
    missing = f"There is no folder {shown(name)} here, and it cannot be fetched"
    remedy = (
        "Check the name, fetch it where there is a network, name a local folder instead, or take the embedded world, "
        "which needs none (GENAI_LABS_PROFILE=mini)."
    )
    if is_offline():
        raise LabError(f"{missing}: the hub is not asked, as HF_HUB_OFFLINE is set. {remedy}")
    named = host()
    if not answers(endpoint()):
        raise LabError(f"{missing}: the hub ({named}) does not answer. {remedy}")


def is_offline() -> bool:
    """Whether HF_HUB_OFFLINE says that the hub is not to be asked."""
    return os.environ.get("HF_HUB_OFFLINE", "").upper() in ("1", "ON", "YES", "TRUE")


def answers(address: str) -> bool:
    """Whether a web address answers in SECONDS, whatever it says; by way of a proxy where the system names one."""

    def ask() -> None:
        with suppress(urllib.error.HTTPError):  # a refusal is an answer
            urllib.request.urlopen(urllib.request.Request(address, method="HEAD"), timeout=SECONDS).close()

    return within(SECONDS, ask)


def endpoint() -> str:
    """The address of the hub: HF_ENDPOINT, or the usual one."""
    return os.environ.get("HF_ENDPOINT") or "https://huggingface.co"


@contextmanager
def answers_in_words(name: str, revision: str | None = None) -> Iterator[None]:
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


def _is_here(file: File, name: str, kind: Kind, revision: str | None, to: Path | None) -> bool:
    """Whether an earlier download has brought a file, of this size, to the folder or the cache."""
    from huggingface_hub import try_to_load_from_cache

    found = to / file.name if to else try_to_load_from_cache(name, file.name, revision=revision, repo_type=kind)
    return isinstance(found, str | Path) and Path(found).exists() and Path(found).stat().st_size == file.size


def _check_room(name: str, files: Sequence[File], to: Path | None) -> None:
    from huggingface_hub import constants

    size = sum(file.size for file in files)
    place = (to or Path(constants.HF_HUB_CACHE)).resolve()
    there = next((each for each in (place, *place.parents) if each.exists()), None)
    if there and (free := shutil.disk_usage(there).free) < size:
        raise LabError(
            f"{name} takes {size / 1e9:.2f} GB, and {free / 1e9:.2f} GB are free on the disk of {place}. Make "
            "room, set HF_HOME to a folder on another disk, or take a smaller profile."
        )


def _api() -> Any:
    from huggingface_hub import HfApi

    return HfApi(endpoint=endpoint())


def host() -> str:
    """The host of the hub, of HF_ENDPOINT or the usual one. Raises LabError if HF_ENDPOINT is no web address."""
    address = endpoint()
    try:
        parts = urlsplit(address)
        if parts.scheme in ("http", "https") and parts.hostname and parts.port != 0:
            return parts.hostname
    except ValueError:  # a port that is no number, brackets that are not closed
        pass
    raise LabError(
        f"HF_ENDPOINT is {address[:80]!r}, which is no web address, so the hub cannot be asked. Unset it, or set it to "
        "an address such as https://huggingface.co."
    )


def within(seconds: float, attempt: Callable[[], Any]) -> bool:
    """Whether an attempt to reach something ends in time and without an error.

    In a thread of its own, because looking up a name knows no time limit.
    """
    reached = []

    def run() -> None:
        try:
            attempt()
        except (OSError, RuntimeError, ValueError, HTTPException):  # ValueError: a name that no host can have
            return
        reached.append(True)

    thread = Thread(target=run, daemon=True)
    thread.start()
    thread.join(seconds)
    return bool(reached)
