"""Whether a bar is met: judged by the 95 % interval of what was measured, never by its median alone."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median
from typing import Any

import numpy as np
from scipy.stats import bootstrap

RESAMPLES = 9_999
SEED = 0


def judge(rounds: Sequence[float], bar: float, digits: int = 4) -> dict[str, Any]:
    """The median of what the rounds gave, such as ratios of speeds; its 95 % interval; whether that clears the bar.

    The interval is made of bootstrap resamples of the rounds (percentiles of their medians); of five rounds it reaches
    from the lowest to the highest. A single round has none, and meets no bar.
    """
    middle, ends = median(rounds), bootstrap_interval(rounds)
    return {
        "ratio": round(middle, digits),
        "interval": ends and [round(end, digits) for end in ends],
        "at_least": bar,
        "met": ends is not None and ends[0] >= bar,
    }


def bootstrap_interval(rounds: Sequence[float]) -> tuple[float, float] | None:
    """Both ends of the 95 % bootstrap interval of the median; None for fewer than two rounds."""
    if len(rounds) < 2:
        return None
    found = bootstrap(
        (rounds,), np.median, n_resamples=RESAMPLES, method="percentile", rng=np.random.default_rng(SEED)
    ).confidence_interval
    return float(found.low), float(found.high)


def interval_in_words(judged: dict[str, Any], form: str = ".1f") -> str:
    """Such as "bootstrap interval 3.3 to 3.6"; of 5 to 7 rounds it covers the median 88 to 94 times in 100."""
    if judged["interval"] is None:
        return "one round, so no interval"
    low, high = judged["interval"]
    return f"bootstrap interval {low:{form}} to {high:{form}}"


def verdict(judged: dict[str, Any]) -> str:
    """ "met" where the whole interval clears the bar, "not met" where none of it does, else "not shown"."""
    if judged["met"]:
        return "met"
    below = judged["interval"] is not None and judged["interval"][1] < judged["at_least"]
    return "not met" if below else "not shown"
