"""A small drawing of a mermaid graph, without a script: each node below all that build on it."""

from __future__ import annotations

import html
import re
import textwrap
from graphlib import TopologicalSorter

NODE = re.compile(r'(\w+)(?:\(?\["(.*)"\]\)?)?$')
WIDTH, GAP, BETWEEN = 205, 18, 44  # of a box, from box to box, from row to row
MOST_LETTERS = 28  # in a line of a node


def draw_graph(source: str) -> str:
    """A picture (SVG) of ``graph TD`` with arrows ``a --> b``, as inline markup.

    Raises ValueError where nothing is drawn.
    """
    words, below = read_graph(source)
    if not below:
        raise ValueError("there is no arrow in the graph")
    floors: dict[str, int] = {}
    above = {name: {upper for upper, lowers in below.items() if name in lowers} for name in words}
    order = list(TopologicalSorter(above).static_order())
    for name in order:
        floors[name] = 1 + max((floors[upper] for upper in above[name]), default=-1)
    for name in filter(lambda name: not above[name], order):  # as low as its arrows let it, so that no row is too wide
        floors[name] = min(floors[lower] for lower in below[name]) - 1
    rows = _in_rows(order, floors, above)
    whole = max(map(len, rows)) * (WIDTH + GAP) - GAP
    height = 24 + 15 * max(len(_lines(each)) for each in words.values())
    at = {
        name: ((whole - len(row) * (WIDTH + GAP) + GAP) / 2 + place * (WIDTH + GAP), floor * (height + BETWEEN))
        for floor, row in enumerate(rows)
        for place, name in enumerate(row)
    }
    arrows = [_line_to(at[upper], at[lower], height) for upper, lowers in below.items() for lower in lowers]
    boxes = [_box(*at[name], height, words[name]) for name in order]
    said = "; ".join(f"{upper} builds on {', '.join(lowers)}" for upper, lowers in below.items())
    high = len(rows) * (height + BETWEEN) - BETWEEN
    return (
        f'<svg class="drawing" viewBox="-2 -2 {whole + 4:g} {high + 4}" role="img" aria-label="{html.escape(said)}">'
        '<defs><marker id="tip" markerWidth="8" markerHeight="8" refX="7" refY="4" orient="auto">'
        f'<path d="M1 1 7 4 1 7"/></marker></defs>{"".join(arrows)}{"".join(boxes)}</svg>'
    )


def read_graph(source: str) -> tuple[dict[str, str], dict[str, list[str]]]:
    """What stands in each node, by name, and for each node those that its arrows lead to."""
    words: dict[str, str] = {}
    below: dict[str, list[str]] = {}
    for line in source.splitlines():
        upper, arrow, lower = line.strip().partition(" --> ")
        if not arrow:
            upper, lower = line.strip(), ""
        names = []
        for each in filter(None, (upper, lower)):
            if match := NODE.match(each):
                names.append(match[1])
                words[match[1]] = match[2] or words.get(match[1], match[1])
        if len(names) == 2:
            below.setdefault(names[0], []).append(names[1])
    used = {*below, *(name for lowers in below.values() for name in lowers)}
    return {name: words[name] for name in words if name in used}, below


def _in_rows(order: list[str], floors: dict[str, int], above: dict[str, set[str]]) -> list[list[str]]:
    """The nodes of each floor from left to right, each as far to the right as those that build on it."""
    rows: list[list[str]] = []
    right: dict[str, float] = {}
    for floor in range(max(floors.values()) + 1):
        row = [name for name in order if floors[name] == floor]
        row.sort(key=lambda name: sum(right[upper] for upper in above[name]) / len(above[name]) if above[name] else 0.5)
        right |= {name: (place + 0.5) / len(row) for place, name in enumerate(row)}
        rows.append(row)
    return rows


def _line_to(upper: tuple[float, float], lower: tuple[float, float], height: float) -> str:
    x, y = upper[0] + WIDTH / 2, upper[1] + height
    to_x, to_y = lower[0] + WIDTH / 2, lower[1] - 3
    return f'<path d="M{x:g} {y:g}C{x:g} {y + 30:g} {to_x:g} {to_y - 30:g} {to_x:g} {to_y:g}" marker-end="url(#tip)"/>'


def _lines(words: str) -> list[str]:
    """What stands below the name in a box."""
    return textwrap.wrap(words.partition(": ")[2], MOST_LETTERS)


def _box(x: float, y: float, height: float, words: str) -> str:
    name, lines = words.partition(": ")[0], _lines(words)
    first = y + height / 2 + 5 - 7.5 * len(lines)
    middle = x + WIDTH / 2
    text = f'<text x="{middle:g}" y="{first:g}" text-anchor="middle">{html.escape(name)}</text>'
    for number, each in enumerate(lines, start=1):
        at = f'x="{middle:g}" y="{first + 15 * number:g}"'
        text += f'<text class="small" {at} text-anchor="middle">{html.escape(each)}</text>'
    return f'<rect x="{x:g}" y="{y:g}" width="{WIDTH}" height="{height}" rx="7"/>{text}'
