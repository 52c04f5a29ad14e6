"""Types of numbers on a command line: what is not allowed is answered by what is."""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

MOST = 1_000_000


def whole_number(least: int, most: int = MOST) -> Callable[[str], int]:
    """A type for argparse: a whole number from ``least`` to ``most``."""

    def read(text: str) -> int:
        try:
            number = int(text)
        except ValueError:
            number = least - 1
        if not least <= number <= most:
            raise argparse.ArgumentTypeError(f"{text} is not allowed: a whole number from {least} to {most:,} is")
        return number

    return read


def positive_number(most: float) -> Callable[[str], float]:
    """A type for argparse: a number above 0, at most ``most``."""

    def read(text: str) -> float:
        try:
            number = float(text)
        except ValueError:
            number = math.nan
        if not 0 < number <= most:
            raise argparse.ArgumentTypeError(f"{text} is not allowed: a number above 0 and up to {most:g} is")
        return number

    return read


def one_of(names: Iterable[str]) -> Callable[[str], str]:
    """A type for argparse: one of these names. (As its choices, with none given, argparse would offer [] too.)"""
    allowed = list(names)

    def read(text: str) -> str:
        if text not in allowed:
            raise argparse.ArgumentTypeError(f"there is no {text} (choose from {', '.join(allowed)})")
        return text

    return read


def words_of(parser: argparse.ArgumentParser, argv: Sequence[str] | None) -> list[str]:
    """The words of a command line, by default of this process; ends it where an option's value is two dashes.

    Before Python 3.13, argparse takes `--seed=--` for an empty list, and asks no type whether that is allowed.
    """
    words = list(sys.argv[1:] if argv is None else argv)
    if odd := [word for word in words if word.startswith("--") and word.endswith("=--")]:
        parser.error(f"{odd[0]} has no value behind the sign =")
    return words


def writable_folder(text: str) -> Path:
    """A type for argparse: a folder to write to, which is there or can be made."""
    path = Path(text)
    try:
        nearest = next(each for each in (path, *path.absolute().parents) if each.exists())
    except OSError as error:
        raise argparse.ArgumentTypeError(f"{text[:60]} cannot be a folder: {error.strerror}") from error
    if not nearest.is_dir():
        raise argparse.ArgumentTypeError(f"{text} cannot be a folder, as {nearest} is a file")
    return path
