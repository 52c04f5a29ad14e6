"""The folder of a training run: a finished run of the same plan is handed out again, an interrupted one goes on.

Anything else starts anew. What is written: ``plan.json``, what must be the same; checkpoints, each sealed by the sums
of its files; ``done.json``, when the run is finished, with what was measured.
"""

from __future__ import annotations

import hashlib
import json
import math
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from pkgutil import resolve_name
from typing import Any

from genai_labs.errors import LabError
from genai_labs.paths import PACKAGE
from genai_labs.system import files
from genai_labs.system.devices import best_device, has_bf16
from genai_labs.system.processes import process_state

PLAN_FILE, DONE_FILE, SUMS_FILE = files.PLAN_FILE, "done.json", "sums.json"
LIBRARIES = ("torch", "transformers", "peft", "genai_labs")

Whole = Callable[[Path], Sequence[Path]]


@contextmanager
def locked_run(folder: Path) -> Iterator[None]:
    """Make the folder and keep other runs out of it. Raises LabError if one is in it. One of several processes does."""
    if not process_state().is_main_process:
        yield
        return
    with files.faults_in_words(folder):
        folder.mkdir(parents=True, exist_ok=True)
        (folder / files.LOCK_FILE).touch()
    taken = (
        f"Another training is running in the folder {folder.name} right now, and two of them would spoil each other's "
        "checkpoints. Wait until it has ended or stop it (another notebook that is still running?), or name another "
        "folder."
    )
    with files.locked(folder / files.LOCK_FILE, taken):
        yield


def prepare(folder: Path, plan: dict[str, Any], checkpoints: str, whole: Whole, resume: bool) -> None:
    """Make the folder ready for a run of ``plan``, which says all that must be the same for a run to go on.

    Afterwards :func:`result` tells whether there is a finished run of this plan, made by this code and these libraries,
    whose checkpoints are as they were written. checkpoints: pattern of their names. whole: those of a folder that can
    be gone on from, oldest first; all others are thrown away, damaged ones with a word. resume: False throws everything
    away. Raises LabError where the folder holds an interrupted run of another plan, or checkpoints of something else.
    """
    foreign = sorted(path.name for path in folder.glob(checkpoints) if not (path / SUMS_FILE).exists())
    if foreign and not (folder / PLAN_FILE).exists():
        raise LabError(
            f"The folder {folder.name} holds {foreign[0]}, which no training of this package wrote. It would be "
            "removed, as checkpoints of this training have such names. Name another folder, or move it away."
        )
    plan = json.loads(json.dumps(plan)) | {"versions": library_versions()}
    noted = (read_note(folder / PLAN_FILE) or {}) if resume else {}
    if resume and not noted and (folder / PLAN_FILE).exists():
        print(f"The notes of an earlier training in {folder.name} are damaged, so it starts anew.")
    damaged = _drop_damaged(folder, checkpoints) if noted else []
    done, left = _done(folder), list(whole(folder)) if noted else []
    outdated = noted.get("versions") != plan["versions"]
    same = _same(noted | {"versions": {}}, plan | {"versions": {}})
    interrupted = bool(left) and not (folder / DONE_FILE).exists()
    if interrupted and not same and not outdated:
        raise LabError(
            f"The folder {folder.name} holds an interrupted run with another plan, on other examples or from another "
            "model, which this one cannot go on from. Name another folder, or pass resume=False (--fresh on the "
            "command line) to throw the old run away."
        )
    if not same or outdated or (done and done.get("made_by") != made_by()):
        left = []
    if left and done and {path.name for path in left} >= set(done["checkpoints"]):
        return
    _say(folder, damaged, interrupted and outdated, left)
    for checkpoint in set(folder.glob(checkpoints)) - set(left):
        shutil.rmtree(checkpoint)
    (folder / DONE_FILE).unlink(missing_ok=True)
    files.write_whole(folder / PLAN_FILE, json.dumps(plan) + "\n")


def spare_finished(folder: Path, plan: dict[str, Any]) -> None:
    """For commands: raise LabError where the folder holds a finished run that differs in what ``plan`` says.

    :func:`prepare` would replace it, as is right in a notebook, where a cell with other settings is run again.
    """
    noted = read_note(folder / PLAN_FILE)
    if noted and _done(folder) and not _same({name: noted.get(name) for name in plan}, json.loads(json.dumps(plan))):
        raise LabError(
            f"The folder {folder.name} holds a finished training with another plan, on other examples or from another "
            "model, which this one would replace. Name another folder with --out, or pass --fresh to replace it."
        )


def result(folder: Path) -> dict[str, Any] | None:
    """What :func:`finish` noted of the finished run in the folder; None if there is none, so that it is to be trained.

    Prints a line that says that nothing is trained again.
    """
    done = _done(folder)
    if done is not None and process_state().is_main_process:
        print(
            f"This training was finished before, in the folder {folder.name}: here is its result, nothing is trained "
            "again. To train anew: resume=False (--fresh on the command line)."
        )
    return done


def finish(folder: Path, measured: dict[str, Any], whole: Whole) -> None:
    """Note that the run is finished, and what was measured; ``measured`` must be what JSON can hold."""
    noted = {**measured, "checkpoints": [path.name for path in whole(folder)], "made_by": made_by()}
    files.write_whole(folder / DONE_FILE, json.dumps({**noted, "sum": digest(noted)}) + "\n")


def _done(folder: Path) -> dict[str, Any] | None:
    """What was noted when the run was finished; None where nothing was, or the note is no longer what was written."""
    noted = read_note(folder / DONE_FILE)
    return noted if noted and noted.pop("sum", None) == digest(noted) else None


def digest(things: Any) -> str:
    """A hash of what JSON can hold, 64 hexadecimal digits."""
    return hashlib.sha256(json.dumps(things).encode()).hexdigest()


def seal(checkpoint: Path) -> None:
    """Note the sums of a checkpoint's files, last of all: they tell that it is whole, and later that it still is."""
    files.write_whole(checkpoint / SUMS_FILE, json.dumps(_sums(checkpoint), indent=1) + "\n")


def sealed(checkpoint: Path) -> bool:
    """Whether a checkpoint was written to its end."""
    return read_note(checkpoint / SUMS_FILE) is not None


def damage(checkpoint: Path) -> str | None:
    """The first file of a sealed checkpoint that is gone or no longer what was written; None if all are."""
    noted, now = read_note(checkpoint / SUMS_FILE) or {}, _sums(checkpoint)
    return next((name for name, value in noted.items() if now.get(name) != value), None)


def library_versions() -> dict[str, str]:
    """Versions of what a training is made with; this package's own is known where it is not installed, too (Colab)."""
    return {name: str(resolve_name(f"{name}:__version__")) for name in LIBRARIES}


def made_by() -> dict[str, Any]:
    """What decides, beside plan and versions, what comes out: this package's code, the device, how many processes."""
    return {"code": CODE, "device": best_device().type, "bf16": has_bf16(), "processes": process_state().num_processes}


def _code() -> str:
    code = hashlib.sha256()
    for path in sorted(PACKAGE.rglob("*.py")):
        code.update(path.read_bytes())
    return code.hexdigest()


CODE = _code()  # at once, because somebody may change a file while this process runs what it read before


def _sums(checkpoint: Path) -> dict[str, str]:
    found = (path for path in sorted(checkpoint.iterdir()) if path.is_file() and not path.name.startswith("."))
    return {path.name: files.checksum(path) for path in found if path.name != SUMS_FILE}


def _drop_damaged(folder: Path, checkpoints: str) -> list[str]:
    """Remove checkpoints that are no longer what was written; says which, and by which file one saw it."""
    written = [path for path in sorted(folder.glob(checkpoints)) if sealed(path)]
    found = {path: name for path in written if (name := damage(path))}
    for path in found:
        shutil.rmtree(path)
    return [f"{path.name} ({name})" for path, name in found.items()]


def _say(folder: Path, damaged: list[str], outdated: bool, left: Sequence[Path]) -> None:
    """Why a training starts anew or earlier than one would think, if there is a reason."""
    where = f"goes on from {left[-1].name}" if left else "starts anew"
    if damaged:
        print(f"In {folder.name} a checkpoint is damaged: {', '.join(damaged)}. So the training {where}.")
    elif outdated:
        print(f"The training in {folder.name} was interrupted under other versions of the libraries, so it {where}.")


def _same(old: Any, new: Any) -> bool:
    """Whether two plans are equal; numbers that were computed may differ in the last digits, from thread to thread."""
    if isinstance(old, dict) and isinstance(new, dict):
        return old.keys() == new.keys() and all(_same(old[name], new[name]) for name in old)
    if isinstance(old, list) and isinstance(new, list):
        return len(old) == len(new) and all(map(_same, old, new))
    if isinstance(old, float) and isinstance(new, float):
        return math.isclose(old, new, rel_tol=1e-4) or (math.isnan(old) and math.isnan(new))
    return bool(old == new)


def read_note(path: Path) -> dict[str, Any] | None:
    """A file's JSON object; None where the file is not there or damaged."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None
