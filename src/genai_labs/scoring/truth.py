"""Who did what, and how it ended: summaries of generated dialogues graded against the record of what is true in them.

A record is a list of what a dialogue holds: each act's opening and its answer, with the speaker's tag, all wordings
of its report, and, for an answer, the reports of other answers that would be false. The rules only compare words; how
often they agree with a reader is measured in the tests, on summaries that were judged by reading.
"""

import json
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from genai_labs.errors import LabError
from genai_labs.inputs.arguments import as_texts
from genai_labs.loading.data import Row
from genai_labs.scoring.content import content_words

FOUND = 0.65  # of a report's content words that a summary has to say
NEAR = 0.35  # how near a clause has to come to an answer's report
PLACED = 0.35  # how near to an opening's report, for the clauses behind it to be where its answer is looked for
CLAUSE = re.compile(r"(?<=[.;])\s+|,? (?:and|but) (?=#Person\d#)|;\s*| - ")
TAG = re.compile(r"#Person\d#")


def who_did_what(predictions: Sequence[str], records: Sequence[Sequence[Mapping[str, Any]]]) -> NDArray[np.float64]:
    """The share of a dialogue's openings that its summary tells, of the right speaker; shape (n,), each in [0, 1].

    records: one list a dialogue, of rows with "kind", "speaker", "reports" (tags in them); nan where it has no opening.
    Raises LabError where numbers do not match.
    """
    return _shares(predictions, records, lambda row: row["kind"] == "opening")


def how_it_ended(predictions: Sequence[str], records: Sequence[Sequence[Mapping[str, Any]]]) -> NDArray[np.float64]:
    """The share of a dialogue's answers that its summary tells rightly; shape (n,), nan where it has no answer.

    Raises LabError where numbers do not match.
    """
    return _shares(predictions, records, lambda row: bool(row.get("others")))


def verdicts(summary: str, record: Sequence[Mapping[str, Any]]) -> list[bool]:
    """Whether a summary tells each row of a record.

    An opening is told where some clause says most of the content words of one of its reports and begins with the same
    speaker. An answer is told where a clause is nearer to one of its reports than to those of the act's other answers,
    or of the same answer given by the other speaker; it is looked for behind the clause that tells its opening.
    """
    parts, found = clauses(summary), []
    behind = parts
    for row in record:
        if row.get("others"):
            found.append(_is_ended(behind, row))
        else:
            found.append(_is_told(parts, row))
            scores = [max((_near(part, report) for report in row["reports"]), default=0.0) for part in parts]
            at = int(np.argmax(scores)) if scores else 0
            behind = parts[at + 1 : at + 3] if scores and scores[at] >= PLACED else parts
    return found


def _shares(predictions: Sequence[str], records: Sequence[Sequence[Mapping[str, Any]]], wanted: Any) -> Any:
    texts = as_texts(predictions, "summaries")
    if len(texts) != len(records):
        raise LabError(f"There are {len(texts)} summaries, but {len(records)} records. Give one record for each.")
    shares = []
    for text, record in zip(texts, records, strict=True):
        told = [each for each, row in zip(verdicts(text, record), record, strict=True) if wanted(row)]
        shares.append(sum(told) / len(told) if told else np.nan)
    return np.array(shares, dtype=float)


def clauses(text: str) -> list[str]:
    """A summary's clauses, each about one speaker: cut at full stops, semicolons and before "and #Person1#"."""
    return [part.strip() for part in CLAUSE.split(text) if part.strip()]


def _is_told(parts: Sequence[str], row: Mapping[str, Any]) -> bool:
    for report in row["reports"]:
        tag = TAG.search(report)
        if any(_recall(part, report) >= FOUND and _first(part) == (tag and tag[0]) for part in parts):
            return True
    return False


def _is_ended(parts: Sequence[str], row: Mapping[str, Any]) -> bool:
    true = max((_near(part, report) for part in parts for report in row["reports"]), default=0.0)
    false = [*row["others"], *map(exchanged, row["reports"])]
    return true >= NEAR and true > max((_near(part, report) for part in parts for report in false), default=0.0)


def exchanged(text: str) -> str:
    """The text with the two speakers exchanged."""
    return TAG.sub(lambda m: "#Person2#" if m[0] == "#Person1#" else "#Person1#", text)


def _first(part: str) -> str | None:
    return next((tag[0] for tag in TAG.finditer(part)), None)


def _recall(part: str, report: str) -> float:
    wanted = Counter(content_words(report))
    return (Counter(content_words(part)) & wanted).total() / wanted.total() if wanted else 0.0


def _near(part: str, report: str) -> float:
    """F1 over words, function words and tags included, of pairs of words and single ones."""
    own, wanted = _grams(part), _grams(report)
    shared = (own & wanted).total()
    return 2 * shared / (own.total() + wanted.total()) if shared else 0.0


def _grams(text: str) -> Counter[str]:
    """Single words and pairs of neighbours; a word is tag, small letters or digits, so that capitals do not count."""
    words = re.findall(r"#Person\d#|[a-z0-9]+", text)
    return Counter([*words, *(f"{a} {b}" for a, b in zip(words, words[1:], strict=False))])


def truths(dataset: str | Path, rows: Sequence[Row]) -> list[list[dict[str, Any]]] | None:
    """The records of test dialogues, in the order of the rows; None for a data set that comes without any.

    Raises LabError where a dialogue has no record.
    """
    path = Path(dataset) / "truth_test.jsonl"
    if not path.exists():
        return None
    lines = map(json.loads, path.read_text(encoding="utf-8").splitlines())
    found = {line["id"]: line["told"] for line in lines}
    if missing := [row.id for row in rows if row.id not in found]:
        raise LabError(f"{path.name} has no record of {missing[0]}: fetch the data set anew.")
    return [found[row.id] for row in rows]
