"""lessons.json: a row for each lesson measured so far, in the order of their ids."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from genai_labs import paths
from genai_labs.errors import LabError
from genai_labs.show.verdicts import ANSWERS, HOLDS, LOOKS
from genai_labs.system import files

FILE = "lessons.json"
ID = r"\d{1,9}\.\d{1,9}[a-z]?"
TEXTS = ("id", "claim", "metric", "unit", "verdict")  # of a row of lessons.json
NUMBERS = ("effect", "low", "high", "n")
LATER = ("clusters", "smallest_effect", "p", "varies", "selected")  # numbers that older files lack


def lessons_path() -> Path:
    """lessons.json in the folder that labs write to."""
    return paths.output_folder() / FILE


def read_lessons(path: Path | None = None) -> list[dict[str, Any]]:
    """The rows of lessons.json, in the order of their ids; none when there is no such file.

    Raises LabError when the file is damaged.
    """
    path = path or lessons_path()
    try:
        return sorted(checked(json.loads(path.read_text(encoding="utf-8"))), key=order)
    except FileNotFoundError:
        return []
    except (OSError, ValueError, TypeError, OverflowError, RecursionError) as error:
        raise LabError(
            f"The lessons measured so far cannot be read: {path.name} is damaged ({error}). "
            f"Delete it ({path}) and run the lab again."
        ) from error


def checked(rows: Any) -> list[dict[str, Any]]:
    """The rows; ValueError or TypeError at the first that is no row of a lesson."""
    if not isinstance(rows, list):
        raise TypeError("a list is wanted")
    for row in rows:
        if not isinstance(row, dict) or not re.fullmatch(ID, str(row.get("id")), re.ASCII):
            raise ValueError(f"there is something that is no lesson: {row!r:.60}")
        texts, numbers = (row.get(name) for name in TEXTS), [row.get(name) for name in NUMBERS]
        numbers += [row.get(name, 0) for name in LATER]
        if not all(isinstance(each, str) for each in texts) or row["verdict"] not in LOOKS:
            raise ValueError(f"lesson {row['id']} lacks a text")
        if not all(isinstance(each, (int, float)) and math.isfinite(each) for each in numbers):
            raise ValueError(f"lesson {row['id']} lacks a number")
        if (row.get("lab"), row.get("holds")) != (int(row["id"].split(".")[0]), row["verdict"] == HOLDS):
            raise ValueError(f"lesson {row['id']} contradicts itself")
    return rows


def failed_claim(row: Mapping[str, Any]) -> bool:
    """Whether a row claims what does not hold; an open question claims nothing."""
    return not row["holds"] and row.get("verdict") not in ANSWERS


def order(row: Mapping[str, Any]) -> tuple[int, int, str]:
    lab, number = str(row["id"]).split(".")
    return int(lab), int(number.rstrip("abcdefghijklmnopqrstuvwxyz")), number


def write_row(row: dict[str, Any]) -> None:
    """The row takes its place in lessons.json, beside those that other labs write there at the same time."""
    path = lessons_path()
    with files.faults_in_words(path.parent):
        path.parent.mkdir(parents=True, exist_ok=True)
        with files.locked(path.with_name(files.LESSONS_LOCK)):
            _write_rows(path, [*(other for other in read_lessons(path) if other["id"] != row["id"]), row])


def forget_lessons(folder: Path, labs: Collection[int]) -> None:
    """Remove the rows of these labs from the lessons.json of a folder, and keep the others."""
    with files.locked(folder / files.LESSONS_LOCK):
        rows = read_lessons(folder / FILE)
        kept = [row for row in rows if row["lab"] not in labs]
        if kept != rows:
            _write_rows(folder / FILE, kept)


def _write_rows(path: Path, rows: list[dict[str, Any]]) -> None:
    text = json.dumps(sorted(rows, key=order), indent=1, ensure_ascii=False)
    files.write_whole(path, text + "\n")
