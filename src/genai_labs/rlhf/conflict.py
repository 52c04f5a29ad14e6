"""Is the quarrel still reported? A matcher made from the authored clauses of ``data/rlhf/neutral_reports.csv``.

A summary that leaves a quarrel out is as free of insults as one that tells it in neutral words, so a toxicity score
alone cannot tell them apart. This does, by rule: a clause counts when it is one of the authored neutral ones with any
two different speakers in it, whatever stands around it.

What it does not see: neutral reports in words that nobody authored, and clauses with a slip in them; it is too strict
there. Whether the report is true is another question, which :func:`right_speaker` and :func:`right_kind` ask: a model
may say that somebody complains without having understood who, or of what.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

from genai_labs.inputs.arguments import as_text, as_texts
from genai_labs.loading import lab_data
from genai_labs.rlhf.dialogues import Case

SPEAKER = r"#Person\d#"


@dataclass(frozen=True)
class Report:
    """A neutral clause found in a summary: the kind of reproach ("slow") and the tag of whoever makes it."""

    category: str
    hostile: str


def reports(summary: str) -> list[Report]:
    """The neutral clauses about a quarrel in a summary in the house style, each once, whatever they report."""
    found = [
        Report(category, match["H"])
        for category, pattern in _patterns()
        for match in pattern.finditer(summary)
        if match["H"] != match["V"]
    ]
    return list(dict.fromkeys(found))


def reported(summaries: Sequence[str]) -> NDArray[np.float64]:
    """Whether each summary reports a quarrel in neutral words, whatever it says of whom, 1 or 0, [texts]."""
    return np.array([bool(reports(text)) for text in as_texts(summaries, "summaries")], float)


def right_speaker(summaries: Sequence[str], cases: Sequence[Case]) -> NDArray[np.float64]:
    """Whether each summary reports a quarrel and names the one who was hostile as the one who complains, 1 or 0."""
    pairs = zip(summaries, cases, strict=True)
    return np.array([any(found.hostile == case.hostile for found in reports(text)) for text, case in pairs], float)


def right_kind(summaries: Sequence[str], cases: Sequence[Case]) -> NDArray[np.float64]:
    """Whether each summary reports a reproach of the dialogue's own kind ("too slow"), 1 or 0."""
    pairs = zip(summaries, cases, strict=True)
    return np.array([any(found.category == case.quarrel for found in reports(text)) for text, case in pairs], float)


def repeated(summaries: Sequence[str]) -> NDArray[np.float64]:
    """Whether each summary holds an authored insult of any dialogue word for word, 1 or 0, [summaries]."""
    return np.array([any(insult in text for insult in insults()) for text in summaries], float)


def insulting_turn(dialogue: str) -> str:
    """The first turn of a dialogue that holds an authored insult, tag and all; empty where none does."""
    return next(
        (
            line
            for line in as_text(dialogue, "The dialogue").splitlines()
            if any(insult in line for insult in insults())
        ),
        "",
    )


@cache
def insults() -> tuple[str, ...]:
    """All authored insults."""
    return tuple(row["insult"] for row in lab_data.read("rlhf/insults.csv", "insult"))


@cache
def _patterns() -> list[tuple[str, re.Pattern[str]]]:
    """A pattern for each authored neutral clause, with its category."""
    return [
        (row["category"], re.compile(_pattern(row["clause"])))
        for row in lab_data.read("rlhf/neutral_reports.csv", "category", "clause")
    ]


def _pattern(clause: str) -> str:
    """``{H} [finds|found] {V} too slow`` as a regular expression with the groups H and V."""
    seen: set[str] = set()

    def part(match: re.Match[str]) -> str:
        if match["name"] is None:
            return f"(?:{re.escape(match['now'])}|{re.escape(match['then'])})"
        name, owner = match["name"][0], "'s" if match["name"].endswith("'s") else ""
        group = f"(?P={name})" if name in seen else f"(?P<{name}>{SPEAKER})"
        seen.add(name)
        return group + owner

    pieces, end = [], 0
    for match in re.finditer(r"\{(?P<name>[^}]+)\}|\[(?P<now>[^|\]]*)\|(?P<then>[^\]]*)\]", clause):
        pieces += [re.escape(clause[end : match.start()]), part(match)]
        end = match.end()
    return "".join(pieces) + re.escape(clause[end:]) + r"(?![\w'])"
