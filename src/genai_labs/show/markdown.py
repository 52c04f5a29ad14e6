"""Tables in Markdown."""

from collections.abc import Iterable
from typing import Any


def table(header: Iterable[str], rows: Iterable[Iterable[Any]]) -> str:
    """A Markdown table: a line of names, a rule, and a line a row."""
    lines = [list(map(str, header)), *[list(map(str, row)) for row in rows]]
    lines.insert(1, ["---"] * len(lines[0]))
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)
