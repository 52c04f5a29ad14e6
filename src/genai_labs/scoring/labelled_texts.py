"""Texts that people would call hateful or not, with their labels, and a list of hostile words."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

from genai_labs.loading import lab_data

LABELS = ("nothate", "hate")


@dataclass(frozen=True)
class LabelledText:
    """A text, whether it is hateful (1) or not (0), and the kind of text it is.

    frame: the sentence with gaps that it was made from, in common with others; of texts of ``challenge`` alone.
    """

    text: str
    label: int
    kind: str
    frame: str = ""


def read_rows(name: str) -> list[LabelledText]:
    """The texts of ``challenge`` or ``test``."""
    rows = lab_data.read(f"toxicity/{name}.csv", "text", "label", "kind")
    return [
        LabelledText(row["text"], LABELS.index(row["label"]), row["kind"], str(row.get("frame", ""))) for row in rows
    ]


@cache
def keywords() -> frozenset[str]:
    """A list of hostile words as filters use them."""
    return frozenset(row["word"] for row in lab_data.read("toxicity/hostile_words.csv", "word"))
