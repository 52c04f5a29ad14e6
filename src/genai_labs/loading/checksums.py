"""Checksums: a file of a model is what it was when the model was made, or it is not loaded.

One flipped bit in a file of weights is a number like any other, and a tokenizer with its words exchanged reads and
writes without an error. So every shipped model, and every folder made by ``fetch --to``, has a list of SHA-256 sums.
"""

from __future__ import annotations

import re
from pathlib import Path

from genai_labs.errors import LabError
from genai_labs.loading import sources
from genai_labs.system import progress
from genai_labs.system.files import checksum

SUMS = "sha256.txt"  # one line a file, as `sha256sum` writes it
SHOWN_FROM = 500_000_000  # bytes; reading as much takes about a second
_LINE = re.compile(r"([0-9a-f]{64})  ([^/\\]+)")


def write_sums(folder: Path) -> None:
    """List what every file of a finished folder is. Cards (``.md``) are left out: they are only for people."""
    files = sorted(path for path in folder.iterdir() if path.is_file() and path.suffix != ".md" and path.name != SUMS)
    lines = [f"{checksum(path)}  {path.name}\n" for path in files]
    (folder / SUMS).write_text("".join(lines), encoding="utf-8", newline="\n")


def check_sums(folder: Path, weights: bool = True) -> None:
    """Compare the files of a folder with what they must be, as far as that is known.

    Known are the files listed in SUMS, and large files of the hub's cache, which are stored under their checksums.
    weights: whether to read the files of weights too. Raises LabError for a file that is missing or another one, for a
    list that cannot be read, and for a shipped model without one.
    """
    known = {
        p: found for p, found in _known_sums(folder).items() if weights or p.suffix not in (".safetensors", ".bin")
    }
    size = sum(path.stat().st_size for path in known if path.is_file())
    for path in progress.over(known, "checking files", shown=size > SHOWN_FROM):
        if not path.is_file():
            raise LabError(
                f"The file {path.name} of {sources.name_of(folder)} is missing. {sources.remedy(folder)}",
            )
        if checksum(path) != known[path]:
            raise LabError(
                f"The file {path.name} in {sources.name_of(folder)} is damaged or was changed: it is not what its "
                f"checksum says. {sources.remedy(folder)}{_on_purpose(folder)}"
            )


def read_sums(folder: Path) -> dict[str, str]:
    """The list of a folder: checksum by name of file; empty where a folder of your own has no list.

    Raises LabError where the list is damaged, or missing in a shipped model.
    """
    path = folder / SUMS
    if not path.exists():
        if not sources.is_shipped(folder):
            return {}
        raise LabError(
            f"The file {SUMS} of {folder.name} is missing, so nobody can tell whether its files are whole. "
            f"{sources.remedy(folder)}"
        )
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    matches = [_LINE.fullmatch(line) for line in lines]
    if not lines or None in matches:
        raise LabError(
            f"The file {SUMS} of {sources.name_of(folder)} is damaged: it is not a list of checksums and names. "
            f"{sources.remedy(folder)}"
        )
    return {match[2]: match[1] for match in matches if match}


def _known_sums(folder: Path) -> dict[Path, str]:
    cached = {path: path.resolve().name for path in _needed_files(folder)}
    stored = {path: name for path, name in cached.items() if re.fullmatch("[0-9a-f]{64}", name)}
    return stored | {folder / name: expected for name, expected in read_sums(folder).items()}


def _needed_files(folder: Path) -> list[Path]:
    """Those files of a folder that something reads: a clone of a repository may hold gigabytes of others."""
    endings = tuple(ending for kind in sources.ENDINGS.values() for ending in kind)
    weights = sources.weight_files({path.name for path in folder.iterdir()})
    return sorted(path for path in folder.iterdir() if path.name.endswith(endings) or path.name in weights)


def _on_purpose(folder: Path) -> str:
    own_list = (folder / SUMS).exists() and not sources.is_shipped(folder)
    return "" if not own_list else f" If you changed it on purpose, delete {SUMS} in that folder."
