"""Rows of a CSV or JSON-lines file, with everything that is wrong with it gathered before anything is said."""

from __future__ import annotations

import csv
import io
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from genai_labs.errors import LabError

MOST_NAMED = 20  # problems that are listed; the others are counted
ENDINGS, MARK = (".csv", ".jsonl"), "\ufeff"
LONGEST_FIELD = 2**30  # characters; csv's own limit of 131,072 would stop at a book


@dataclass
class Table:
    """What was read: rows with the line on which each begins, and problems, each a sentence without its end."""

    path: Path
    columns: list[str] = field(default_factory=list)
    rows: list[dict[str, Any]] = field(default_factory=list)
    lines: list[int] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    has_mark: bool = False  # at the beginning of the file, by which spreadsheets know UTF-8


def read_table(path: Path) -> Table:
    """The rows of a CSV file (``.csv``, with a header) or of JSON lines (``.jsonl``, one object a line), in UTF-8.

    Values of a CSV file are texts. What is wrong with single rows stands in ``problems``. Raises LabError where the
    file as a whole cannot be read.
    """
    whole = read_text(path, "utf-8")
    text, read = whole.removeprefix(MARK), _read_json_lines if path.suffix.lower() == ".jsonl" else _read_csv
    table = read(path, text)
    table.has_mark = whole != text
    return table


def read_text(path: Path, encoding: str = "utf-8-sig") -> str:
    """The text of a file in UTF-8; LabError where there is no such file, or it is not one, or empty, or not UTF-8."""
    if os.path.isdir(path):  # which, unlike Path's, minds no name that is too long
        raise LabError(f"{path} is a folder, and a file is wanted. Name a file in it.")
    try:
        data = path.read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        raise LabError(f"There is no file {path}. Check the name, and the folder you are in.") from None
    except (OSError, ValueError) as error:
        raise LabError(f"{path} cannot be read ({error}). Check the name and its permissions.") from error
    try:
        text = data.decode(encoding)
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        raise LabError(
            f"{path.name} cannot be read as a CSV, JSON or text file in UTF-8: line {line} holds bytes that mean "
            'nothing there. Save it again in UTF-8 (in a spreadsheet: "CSV UTF-8").'
        ) from error
    if not text.removeprefix(MARK).strip():
        raise LabError(f"{path.name} is empty. Name a file with dialogues.")
    return text


def complain(name: str, problems: Sequence[str], remedy: str) -> None:
    """Raise LabError with all problems, if there are any; ``remedy`` says what to do."""
    if not problems:
        return
    if len(problems) == 1:
        raise LabError(f"{problems[0]}. {remedy}")
    listed = "".join(f"\n- {problem}" for problem in problems[:MOST_NAMED])
    more = f"\n- and {len(problems) - MOST_NAMED} more" if len(problems) > MOST_NAMED else ""
    raise LabError(f"There are {len(problems)} problems with {name}:{listed}{more}\n{remedy}")


def text_problem(value: Any, column: str) -> str | None:
    """What is wrong with a value that is to be a text with something in it; None if nothing is."""
    if not isinstance(value, str):
        return f"has a {column} that is no text but {KINDS.get(type(value), 'a number')}"
    if not value.strip():
        return f"has an empty {column}"
    try:
        value.encode("utf-8")
    except UnicodeEncodeError:
        return f"has a {column} with half a character in it (a lone surrogate)"
    return None


KINDS: dict[type, str] = {type(None): "null", list: "a list", dict: "an object", bool: "true or false"}


def _read_csv(path: Path, text: str) -> Table:
    csv.field_size_limit(LONGEST_FIELD)
    table = Table(path)
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    line = 1
    try:
        for fields in reader:
            if not table.columns:
                table.columns = fields
                table.problems += _header_problems(path.name, fields)
            elif len(fields) == len(table.columns):
                table.rows.append(dict(zip(table.columns, fields, strict=True)))
                table.lines.append(line)
            elif fields:
                hint = " (a text with commas in it wants quotes around it)" * (len(fields) > len(table.columns))
                table.problems.append(
                    f"Line {line} of {path.name} has {len(fields)} field{'s' * (len(fields) > 1)}, and the first line "
                    f"names {len(table.columns)}{hint}"
                )
            line = reader.line_num + 1
    except csv.Error as error:
        table.problems.append(
            f"{path.name} cannot be read as a CSV file from line {line} on: {error} (a quote inside a text is written "
            "twice, and every opened quote is to be closed)"
        )
    return table


def _header_problems(name: str, columns: Sequence[str]) -> list[str]:
    twice = sorted({column for column in columns if columns.count(column) > 1})
    if len(columns) == 1 and any(mark in columns[0] for mark in ";\t"):
        mark = "semicolons" if ";" in columns[0] else "tabs"
        raise LabError(
            f"The columns of {name} are divided by {mark}, and commas are wanted. Save it again with commas."
        )  # nothing else can be said of it before that
    return [f"The first line of {name} names {', '.join(map(repr, twice))} more than once"] if twice else []


def _read_json_lines(path: Path, text: str) -> Table:
    table = Table(path)
    for number, line in enumerate(text.split("\n"), start=1):  # not splitlines: a text may hold U+2028 and others
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:
            why = str(error) if isinstance(error, ValueError) else "nested too deeply"
            table.problems.append(f"Line {number} of {path.name} is not JSON ({why})")
            continue
        if not isinstance(row, dict):
            kind = KINDS.get(type(row), "a single value")
            table.problems.append(f"Line {number} of {path.name} is {kind}, and an object is wanted: {{...}}")
            continue
        table.rows.append(row)
        table.lines.append(number)
        table.columns += [name for name in row if name not in table.columns]
    return table
