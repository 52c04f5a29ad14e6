"""Files that are there whole or not at all, their sums, locks between processes, and what is said of a failed write."""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from genai_labs.errors import LabError

LOCK_FILE = ".lock"  # of a folder that one process at a time may work in
PLAN_FILE = "plan.json"  # of a training: what must be the same for it to go on
LESSONS_LOCK = ".lessons.lock"  # beside lessons.json: held by whoever changes it
FULL = {errno.ENOSPC, errno.EDQUOT}
FORBIDDEN = {errno.EACCES, errno.EPERM, errno.EROFS}
NO_FOLDER = {errno.EEXIST, errno.ENOTDIR}


def write_whole(path: Path, text: str) -> None:
    """Write a text file (UTF-8) so that its old text or all of the new one is there, whenever the writer is killed.

    Who may read the old file may read the new one. Raises OSError, and leaves the old file as it was, where there is no
    room or no right to write.
    """
    unfinished = path.with_name(f".{path.name[:40]}.{os.getpid()}")  # no longer than a name may be
    try:
        with unfinished.open("w", encoding="utf-8", newline="\n") as file:
            with suppress(OSError):  # where there is no old file, or no rights
                shutil.copymode(path, unfinished)
            file.write(text)
            file.flush()
            os.fsync(file.fileno())  # else a loss of power could leave an empty file under the new name
        os.replace(unfinished, path)
    except BaseException:
        unfinished.unlink(missing_ok=True)
        raise


def checksum(path: Path) -> str:
    """SHA-256 of a file, 64 hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextmanager
def locked(path: Path, in_use: str | None = None) -> Iterator[None]:
    """Hold the lock that the file ``path`` stands for; the system frees it when its holder ends, however it ends.

    in_use: what to say, as a LabError, if another process (or another run in this one) holds it; None: wait for it.
    """
    lock = FileLock(path, timeout=-1 if in_use is None else 0)
    try:
        lock.acquire()
    except Timeout:
        raise LabError(in_use or "") from None
    try:
        yield
    finally:
        lock.release()


@contextmanager
def faults_in_words(folder: Path) -> Iterator[None]:
    """Say in words that ``folder`` cannot be written to: raises LabError instead of OSError."""
    try:
        yield
    except OSError as error:
        raise LabError(_fault(folder, error)) from error


def _fault(folder: Path, error: OSError) -> str:
    if error.errno in FULL:
        return f"The disk is full, so that nothing more can be written to {folder}. Make room and run it again."
    if error.errno in FORBIDDEN:
        why = "this user, or this file system, may only read there"
    elif error.errno in NO_FOLDER:
        why = "it, or what it lies in, is a file and not a folder"
    else:
        why = str(error.strerror or error)
    return f"Nothing can be written to {folder}: {why}. Name another folder to write to (--out DIR, or GENAI_LABS_OUT)."
