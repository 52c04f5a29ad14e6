"""The folder of a training run: an interrupted run of the same plan goes on there, anything else starts anew."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from genai_labs.errors import LabError

PLAN_FILE, DONE_FILE = "plan.json", "done.json"


def prepare(
    folder: Path, plan: dict[str, Any], checkpoints: str, whole: Callable[[Path], Sequence[Path]], resume: bool
) -> None:
    """Make the folder ready for a run of ``plan``, which says all that must be the same for a run to go on.

    checkpoints: pattern of their names. whole: those of a folder that can be gone on from, oldest first; all others are
    thrown away. Raises LabError where the folder holds an interrupted run of another plan, unless ``resume`` is False,
    which throws it away.
    """
    plan = json.loads(json.dumps(plan))
    path = folder / PLAN_FILE
    old = json.loads(path.read_text(encoding="utf-8")) if path.exists() else None
    unfinished = old is not None and not (folder / DONE_FILE).exists() and bool(whole(folder))
    if unfinished and resume and old != plan:
        raise LabError(
            f"The folder {folder.name} holds an interrupted run with another plan or on other examples, which this one "
            "cannot go on from. Name another folder, or pass resume=False to throw the old run away."
        )
    good = whole(folder) if unfinished and resume else []
    for checkpoint in set(folder.glob(checkpoints)) - set(good):
        shutil.rmtree(checkpoint)
    (folder / DONE_FILE).unlink(missing_ok=True)
    folder.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(plan) + "\n", encoding="utf-8")


def reads(path: Path) -> bool:
    """Whether a file is there and is whole JSON: what is written last tells whether a checkpoint is whole."""
    try:
        json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return True
