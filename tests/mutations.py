"""Damage as it happens to files: cut, bits flipped, parts missing, or values of another kind; by seed."""

from __future__ import annotations

import json
import random
from typing import Any

ODD: list[Any] = [None, -1, 0, 10**30, 1e308, True, "", "x", "\x00", [], {}, [[]], {"a": 1}, "é" * 300, float("inf")]


def damaged_bytes(content: bytes, rng: random.Random) -> bytes:
    """A file cut short, with a piece missing, with bytes changed, or with bytes put in."""
    at, end = sorted(rng.randrange(len(content) + 1) for _ in range(2))
    noise = bytes(rng.randrange(256) for _ in range(5))
    return rng.choice([content[:at], content[:at] + content[end:], content[:at] + noise + content[at + 5 :], b""])


def damaged_tree(tree: Any, rng: random.Random, deepest: int = 3, odd: list[Any] = ODD) -> Any:
    """Parsed JSON or YAML in which one part is missing, has another name, or is something else; changed in place."""
    places = [place for place in _places(tree, deepest) if place]
    if not places:
        return rng.choice(odd)
    *way, last = rng.choice(places)
    node = tree
    for step in way:
        node = node[step]
    kind = rng.choice(["set", "set", "drop", "rename"])
    if kind == "drop":
        del node[last]
    elif kind == "rename" and isinstance(node, dict):
        node[f"{last}x"] = node.pop(last)
    else:
        node[last] = rng.choice(odd)
    return tree


def damaged_json(text: str, rng: random.Random) -> str:
    """JSON that still is JSON, with one part damaged."""
    return json.dumps(damaged_tree(json.loads(text), rng))


def _places(tree: Any, deepest: int, way: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    found = [way]
    if len(way) < deepest and isinstance(tree, (dict, list)):
        steps = list(tree)[:100] if isinstance(tree, dict) else range(min(len(tree), 20))
        for step in steps:
            found += _places(tree[step], deepest, (*way, step))
    return found
