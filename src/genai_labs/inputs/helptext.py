"""What `--help` says of a command: the docstring of its module, without the markup of docstrings."""

from __future__ import annotations

import re


def plain(docstring: str | None) -> str:
    """A module's docstring as plain text, without the command line that it may begin with."""
    text = re.sub(r":\w+:`~?([^`]+)`", r"\1", docstring or "").replace("``", "")
    text = re.sub(r"^python -m genai_labs[^:]*: ", "", text)
    return text[:1].upper() + text[1:]
