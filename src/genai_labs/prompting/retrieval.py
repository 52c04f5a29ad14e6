"""Retrieval: what a model cannot know is looked up, and put into the prompt.

Of many texts the one that shares the rarest words with a question is found by BM25; the model then only has to read.
Lewis et al. 2020, https://arxiv.org/abs/2005.11401.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from genai_labs.errors import LabError
from genai_labs.inputs.arguments import as_texts, as_whole_number
from genai_labs.loading import lab_data

K1, B = 1.5, 0.75  # the usual constants: how fast repeated words saturate, how much long texts are held back


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
        self.counts = [Counter(words(text)) for text in texts]
        self.lengths = [sum(counts.values()) for counts in self.counts]
        if not any(self.lengths):
            raise LabError("There is nothing to search: none of the texts holds a word. Give at least one that does.")
        self.mean_length = sum(self.lengths) / len(texts)
        holding = Counter(word for counts in self.counts for word in counts)
        self.weight = {w: math.log(1 + (len(texts) - n + 0.5) / (n + 0.5)) for w, n in holding.items()}

    def search(self, question: str, count: int = 1) -> list[int]:
        """The places of the ``count`` texts that fit best, best first; the earlier one where two are equal.

        Raises LabError if not even one text is asked for, or the question is no text.
        """
        count = as_whole_number(count, "The number of texts to find", 1)
        asked = words(*as_texts([question], "questions"))
        scores = [self._score(asked, place) for place in range(len(self.texts))]
        return sorted(range(len(scores)), key=lambda place: (-scores[place], place))[:count]

    def _score(self, asked: Sequence[str], place: int) -> float:
        counts = self.counts[place]
        held_back = K1 * (1 - B + B * self.lengths[place] / self.mean_length)
        return sum(
            self.weight[word] * counts[word] * (K1 + 1) / (counts[word] + held_back) for word in asked if word in counts
        )


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
