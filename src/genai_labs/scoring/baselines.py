"""What a summary has to beat: texts that no model wrote.

A score says little by itself. Beside it stands the strongest of these: one string without content, fitted to the
metric; the first three turns; the longest turn; the whole dialogue; the summary of the most similar training
dialogue; and the summary of another dialogue.
"""

import logging
from collections import Counter
from collections.abc import Sequence

import bm25s
import numpy as np

from genai_labs.errors import LabError
from genai_labs.inputs.arguments import as_list_of, as_texts
from genai_labs.loading.data import Row, first_turns, longest_turn, other_summaries
from genai_labs.scoring.stems import plain_words, stemmed_words

logging.getLogger("bm25s").setLevel(logging.WARNING)  # which reports every index that it builds
FIXED_STRING = "fixed string"
LONGEST_FIXED = 40  # words of a fixed string
CANDIDATES = 60  # the most frequent words of the summaries, from which it is made


def fixed_string(summaries: Sequence[str]) -> str:
    """Words that, said of every dialogue alike, give a high mean ROUGE-1 on training summaries.

    Grown greedily from the most frequent ones for as long as the mean F1 rises (others may score higher yet). The
    order does not count in ROUGE-1; tags are written as DialogSum writes them. Raises LabError without summaries.
    """
    texts = as_texts(summaries, "summaries")
    counted = [Counter(stemmed_words(text)) for text in texts]
    total: Counter[str] = Counter()
    for each in counted:
        total.update(each)
    if not total:
        raise LabError("A fixed string is fitted to the words of training summaries, and none were given. Give some.")
    known = [word for word, _ in total.most_common(CANDIDATES)]
    table = np.array([[each[word] for word in known] for each in counted])  # [summaries, words]
    lengths = np.array([each.total() for each in counted])
    used, shared, best = np.zeros(len(known), int), np.zeros(len(texts), int), 0.0
    for size in range(1, LONGEST_FIXED + 1):
        gains = shared[:, None] + (table > used)  # [summaries, words]: shared words if that one were added
        means = (2 * gains / (size + lengths)[:, None]).mean(0)
        word = int(means.argmax())
        if means[word] <= best:
            break
        best, shared = float(means[word]), gains[:, word]
        used[word] += 1
    plain = Counter(word for text in texts for word in plain_words(text))
    forms = {stemmed_words(word)[0]: word for word, _ in reversed(plain.most_common())}  # the most frequent wins
    said = [forms[stem] for stem, count in zip(known, used, strict=True) for _ in range(count)]
    return " ".join(f"#{word.capitalize()}#" if word.startswith("person") else word for word in said)


def nearest_summaries(rows: Sequence[Row], train: Sequence[Row]) -> list[str]:
    """For each row, the summary of the training dialogue that is most similar by BM25 (Lucene's, bm25s)."""
    rows, train = as_list_of(Row, rows, "rows"), as_list_of(Row, train, "training rows")
    known = _tokens([row.dialogue for row in train])
    if not rows or not any(known):  # nothing is like anything
        return [train[0].summary if train else ""] * len(rows)
    index = bm25s.BM25(method="lucene")
    index.index(known, show_progress=False)
    found, _ = index.retrieve(_tokens([row.dialogue for row in rows]), k=1, show_progress=False)
    return [train[int(i)].summary for i in found[:, 0]]


def _tokens(texts: Sequence[str]) -> list[list[str]]:
    return [list(stemmed_words(text)) for text in texts]


def baselines(rows: Sequence[Row], train: Sequence[Row], fixed: str | None = None) -> dict[str, list[str]]:
    """What each baseline writes for each row, by the baseline's name.

    train: rows to fit the fixed string on and to search for similar dialogues. fixed: a string fitted before.
    """
    rows, train = as_list_of(Row, rows, "rows"), as_list_of(Row, train, "training rows")
    dialogues = [row.dialogue for row in rows]
    fixed = fixed_string([row.summary for row in train]) if fixed is None else fixed
    return {
        FIXED_STRING: [fixed] * len(dialogues),
        "first three turns": [first_turns(dialogue) for dialogue in dialogues],
        "longest turn": [longest_turn(dialogue) for dialogue in dialogues],
        "whole dialogue": dialogues,
        "nearest training summary": nearest_summaries(rows, train),
        "another summary": other_summaries(rows),
    }
