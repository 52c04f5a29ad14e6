"""Result files: a record as JSON, the same as a page of Markdown, and the versions that made it."""

from __future__ import annotations

import json
import platform
from collections.abc import Iterable, Mapping
from importlib import metadata
from pathlib import Path
from typing import Any


def versions() -> dict[str, str]:
    """Versions of Python and of the packages that decide what a model says."""
    return {"python": platform.python_version()} | {
        name: _version(name) for name in ("torch", "transformers", "genai_labs")
    }


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "not installed"


def table(header: Iterable[str], rows: Iterable[Iterable[Any]]) -> str:
    """A Markdown table: a line of names, a rule, and a line a row."""
    lines = [list(map(str, header)), *[list(map(str, row)) for row in rows]]
    lines.insert(1, ["---"] * len(lines[0]))
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def write(record: Mapping[str, Any], page: str, folder: Path, name: str) -> None:
    """Write ``name.json`` and ``name.md`` into the folder, which is made if it is not there, and print the page."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{name}.json").write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    (folder / f"{name}.md").write_text(page, encoding="utf-8")
    print(page)
