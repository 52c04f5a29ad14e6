"""Tables of numbers, intervals and short texts."""

import numbers
import textwrap
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from genai_labs.inputs.arguments import explained
from genai_labs.scoring.intervals import Interval
from genai_labs.show.cards import FITTING, Card, box, escape, html_cell, html_table, unmarked

LONGEST_CELL = 140  # letters of a cell in plain text; claims are shorter, texts of models may be cut


@explained
def show_table(
    rows: pd.DataFrame | Iterable[Mapping[str, Any]] | Mapping[str, Sequence[Any]],
    caption: str | None = None,
    *,
    digits: int = 3,
) -> Card:
    """A table of a DataFrame, of rows as mappings, or of columns as lists.

    Floats and intervals are rounded to `digits`; a missing value shows as "-". An index with labels of its
    own becomes the first column.
    """
    if not isinstance(rows, pd.DataFrame):  # dtype=object keeps whole numbers whole in a column with gaps
        rows = pd.DataFrame(dict(rows) if isinstance(rows, Mapping) else list(rows), dtype=object)
    frame = rows
    if not isinstance(frame.index, pd.RangeIndex):
        frame = frame.reset_index(names=frame.index.name or "")
    heads = [str(column) for column in frame.columns]
    values = [list(row) for row in frame.itertuples(index=False, name=None)]
    right = [all(_is_numeric(row[place]) for row in values) and bool(values) for place in range(len(heads))]
    cells = [[_cell(value, digits) for value in row] for row in values]
    return Card(_html_table(heads, cells, right, caption), _text_table(heads, cells, right, caption))


def _is_numeric(value: object) -> bool:
    return _is_missing(value) or (isinstance(value, numbers.Real | Interval) and not isinstance(value, bool))


def _is_missing(value: object) -> bool:
    """None, NaN, and what pandas has for dates (NaT) and for all else (NA)."""
    return bool(pd.api.types.is_scalar(value) and pd.isna(value))


def _cell(value: object, digits: int) -> str:
    if isinstance(value, Interval):
        return f"{value:z.{digits}f}"
    if _is_missing(value):
        return "-"
    if isinstance(value, bool | np.bool):
        return "yes" if value else "no"
    if isinstance(value, numbers.Real) and not isinstance(value, numbers.Integral):
        return f"{float(value):z.{digits}f}"  # z: no minus sign before a zero
    return str(value)


def _html_table(heads: list[str], cells: list[list[str]], right: list[bool], caption: str | None) -> str:
    wrap = [any(len(row[place]) > 24 for row in cells) for place in range(len(heads))]
    looks = list(zip(right, wrap, strict=True))
    shown = [[unmarked(escape(cell)) if cell.startswith("[") else escape(cell) for cell in row] for row in cells]
    body = [[html_cell(cell, *look) for cell, look in zip(row, looks, strict=True)] for row in shown]
    above = f'<div style="font-weight:bold;margin-bottom:6px;">{escape(caption)}</div>' if caption else ""
    return box(above, html_table(heads, body, right, "table-layout:auto;"), style=FITTING)


def _text_table(heads: list[str], cells: list[list[str]], right: list[bool], caption: str | None) -> str:
    lines = [heads, *([textwrap.shorten(cell, LONGEST_CELL, placeholder=" ...") for cell in row] for row in cells)]
    widths = [max(len(line[place]) for line in lines) for place in range(len(heads))]
    pad: list[Callable[[str, int], str]] = [str.rjust if end else str.ljust for end in right]
    table = [
        "  ".join(put(cell, width) for put, cell, width in zip(pad, line, widths, strict=True)).rstrip()
        for line in lines
    ]
    return "\n".join([*([caption] if caption else []), *table])
