"""How well a classifier reads: accuracy with its interval, confusion, and how far its probabilities can be trusted."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from genai_labs.scoring.labelled_texts import LABELS, LabelledText, read_rows
from genai_labs.scoring.metrics import paired_bootstrap
from genai_labs.scoring.toxicity import THRESHOLD, keyword_toxicity, load_classifier

BINS = 10


def reliability(probabilities: NDArray[np.float64], labels: NDArray[np.int64]) -> list[dict[str, float]]:
    """Per tenth of the predicted probability of hate: texts, mean probability, and the share that is hateful."""
    bins = np.minimum((probabilities * BINS).astype(int), BINS - 1)
    return [
        {
            "from": i / BINS,
            "n": int((bins == i).sum()),
            "predicted": round(float(probabilities[bins == i].mean()), 3),
            "hateful": round(float(labels[bins == i].mean()), 3),
        }
        for i in range(BINS)
        if (bins == i).any()
    ]


def calibration_error(probabilities: NDArray[np.float64], labels: NDArray[np.int64]) -> float:
    """Expected calibration error in [0, 1]: how far, on average, the predicted probability is from the share."""
    table = reliability(probabilities, labels)
    return sum(row["n"] * abs(row["predicted"] - row["hateful"]) for row in table) / len(labels)


def accuracy_and_calibration(probabilities: NDArray[np.float64], rows: Sequence[LabelledText]) -> dict[str, Any]:
    """Accuracy with its interval, by kind and label, confusion and calibration, of predictions for rows."""
    labels = np.array([row.label for row in rows])
    right = (probabilities > THRESHOLD).astype(int) == labels
    frames = [row.frame or i for i, row in enumerate(rows)]
    by_kind: dict[str, list[float]] = {}
    for kind, label in sorted({(row.kind, row.label) for row in rows}):
        chosen = [i for i, row in enumerate(rows) if (row.kind, row.label) == (kind, label)]
        by_kind[f"{kind}, {LABELS[label]}"] = accuracy_interval(right[chosen], [frames[i] for i in chosen])
    return {
        "accuracy": accuracy_interval(right, frames),
        "by_kind": by_kind,
        "confusion": {
            f"{LABELS[true]} read as {LABELS[read]}": int(
                ((labels == true) & ((probabilities > THRESHOLD) == read)).sum()
            )
            for true in (0, 1)
            for read in (0, 1)
        },
        "calibration_error": round(calibration_error(probabilities, labels), 4),
        "reliability": reliability(probabilities, labels),
    }


def accuracy_interval(right: NDArray[np.bool_], frames: Sequence[object] | None = None) -> list[float]:
    """Accuracy, the ends of its 95 % interval, and the number of texts; of one text alone the interval is 0 to 1.

    frames: of each text; texts of one frame are drawn together.
    """
    if len(right) == 1:
        return [float(right[0]), 0.0, 1.0, 1]
    found = paired_bootstrap(right.astype(float), clusters=frames)
    return [round(found.effect, 4), round(found.low, 4), round(found.high, 4), found.n]


def score_classifier(folder: Path) -> dict[str, Any]:
    """What the classifier in ``folder``, and the list of hostile words beside it, score on both committed sets."""
    classifier = load_classifier(folder)
    sets = {name: read_rows(name) for name in ("test", "challenge")}
    scores, keyword_list = {}, {}
    for name, rows in sets.items():
        lines = [row.text for row in rows]
        scores[name] = accuracy_and_calibration(classifier.probabilities(lines), rows)
        words = accuracy_and_calibration(keyword_toxicity(lines), rows)
        keyword_list[name] = {part: words[part] for part in ("accuracy", "by_kind")}
    return scores | {"keyword_list": keyword_list}
