"""Retrieval: what a model cannot know is looked up, and put into the prompt.

BM25 finds the text that shares most words with a question, where rare words count more; the model then only reads.
Lewis et al. 2020, https://arxiv.org/abs/2005.11401.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import bm25s
import numpy as np
from numpy.typing import NDArray

from genai_labs.errors import LabError
from genai_labs.inputs.arguments import as_texts, as_whole_number
from genai_labs.loading import lab_data


@dataclass(frozen=True)
class Asked:
    """A question, its answer, and the place of the note that holds it."""

    question: str
    answer: str
    place: int


class Index:
    """Texts to be searched by BM25 (Robertson and Zaragoza 2009, https://doi.org/10.1561/1500000019)."""

    def __init__(self, texts: Sequence[str]) -> None:
        self.texts = as_texts(texts, "texts to search")
        if not self.texts:
            raise LabError("There is nothing to search: the list of texts is empty. Give at least one text.")
        held = [words(text) for text in texts]
        if not any(held):
            raise LabError("There is nothing to search: none of the texts holds a word. Give at least one that does.")
        # The usual constants: how fast repeated words saturate, how much long texts are held back.
        self.bm25 = bm25s.BM25(method="lucene", k1=1.5, b=0.75, dtype="float64")
        self.bm25.index(held, show_progress=False)

    def search(self, question: str, count: int = 1) -> list[int]:
        """The places of the ``count`` texts that fit best, best first; the earlier one where two are equal.

        Raises LabError if not even one text is asked for, or the question is no text.
        """
        count = as_whole_number(count, "The number of texts to find", 1)
        return np.argsort(-self.scores(question), kind="stable")[:count].tolist()

    def scores(self, question: str) -> NDArray[np.float64]:
        """How well each text fits, [texts], all 0 where the question holds no word. Raises LabError for no text."""
        asked = words(*as_texts([question], "questions"))
        return self.bm25.get_scores(asked) if asked else np.zeros(len(self.texts))


def words(text: str) -> list[str]:
    """The words of a text in lower case, numbers too."""
    return re.findall(r"[a-z]+|\d+", text.lower())


def library(count: int = 200, seed: int = 0) -> tuple[list[str], list[Asked]]:
    """Notes with slot values that no training has seen, no title twice, and one question about each of them."""
    rows = lab_data.read("retrieval/notes.csv", "seed", "note", "question", "answer")
    by_title: dict[str, lab_data.Record] = {}
    for row in lab_data.draw(rows, len(rows), seed, "notes"):
        by_title.setdefault(row["note"].split(":")[0], row)
    chosen = list(by_title.values())[:count]
    asked = [Asked(row["question"], row["answer"], place) for place, row in enumerate(chosen)]
    return [row["note"] for row in chosen], asked
