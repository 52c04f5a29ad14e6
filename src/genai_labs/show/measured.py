"""What commands have measured and the labs show (``results``), read as it was written."""

from __future__ import annotations

from typing import Any

from genai_labs.errors import LabError
from genai_labs.paths import RESULTS
from genai_labs.system.run_folder import read_note


def read_measured(name: str, key: str, command: str) -> dict[str, Any]:
    """A record of ``results`` that must have a key. Raises LabError, which names the command that makes it anew."""
    found = read_note(RESULTS / f"{name}.json")
    if not found or key not in found:
        raise LabError(
            f"{name}.json is missing or damaged. The lab reads it from results. Restore it with: git checkout -- "
            f"results, or measure it again with: {command}."
        )
    return found
