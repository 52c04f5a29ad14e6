"""The usual mistakes in the exercises of the companion notebook: the sentence that names each, and what it gives."""

from __future__ import annotations

from math import comb
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor


def group_mistakes(rewards: Tensor) -> dict[str, Any]:
    """rewards: [problems, group]."""
    mean, std = rewards.mean(1, keepdim=True), rewards.std(1, keepdim=True)
    return {
        "you compared with the mean of all problems. Whose attempts compete with each other?": (
            (rewards - rewards.mean()) / (rewards.std() + 1e-4)
        ),
        "you took the mean over the problems, not over the attempts. Which dimension is the group?": (
            (rewards - rewards.mean(0)) / (rewards.std(0) + 1e-4)
        ),
        "the standard deviation is missing. In which unit are the advantages?": rewards - mean,
        "the sign is turned: right attempts would become rarer. What is subtracted from what?": (mean - rewards)
        / (std + 1e-4),
        "the mean is not subtracted. Is a right attempt special where all are right?": rewards / (std + 1e-4),
        "you divided by the standard deviation with n in it, and n - 1 is meant, as torch.std has it by default. What "
        "does correction do?": (rewards - mean) / (rewards.std(1, keepdim=True, correction=0) + 1e-4),
        "you divided by the variance. What is its root called?": (rewards - mean) / (std**2 + 1e-4),
        "you added 0.0001 to the variance, and it belongs to the standard deviation. When do you take the root?": (
            (rewards - mean) / (std**2 + 1e-4).sqrt()
        ),
        "0.0001 is not added to the standard deviation, or a smaller number is. What is divided by where all rewards "
        "of a group are the same?": (rewards - mean) / std,
    }


def pass_mistakes(n: int, c: int, k: int) -> dict[str, Any]:
    """n attempts, c of them right, k drawn."""
    return {
        "you drew with replacement, 1 - (1 - c/n) ** k, which is too low on average. How many ways are there to draw "
        "k different ones?": 1 - (1 - c / n) ** k,
        "you gave the chance that all k are wrong. What is asked for?": comb(n - c, k) / comb(n, k),
        "you gave pass@1, c / n. Where does k come in?": c / n,
        "you multiplied pass@1 by k. Can it be more than 1?": min(1.0, k * c / n),
        "you gave the chance that all k are right. How many have to be?": comb(c, k) / comb(n, k),
    }


def recall_mistakes(found: list[list[int]], places: list[int], k: int) -> dict[str, Any]:
    """found: places found for each question, best first; places: the right ones."""
    hits = np.array([place in few[:k] for few, place in zip(found, places, strict=True)], float)
    all_hits = np.array([place in few for few, place in zip(found, places, strict=True)], float)
    at = np.array([len(few) > k and few[k] == place for few, place in zip(found, places, strict=True)], float)
    last = np.array([few[k - 1] == place for few, place in zip(found, places, strict=True)], float)
    return {
        "you divided by k, which is precision. How many right notes are there for a question?": hits.mean() / k,
        "you divided by k, and not by the number of questions. What can the share be at most?": hits.sum() / k,
        "you looked at all places and not at the first k. What does [:k] give?": all_hits.mean(),
        "you looked at one place, and not at all up to the k-th. Which of them count?": at.mean(),
        "you looked at the k-th place alone, and not at all up to it. Which of them count?": last.mean(),
        "you gave the number of questions and not their share. How many are there?": hits.sum(),
        "you gave the share of questions that fail. What is asked for?": 1 - hits.mean(),
    }


def calculator_mistakes() -> dict[str, list[float]]:
    """What wrong calculators give for the expressions of the check, by the sentence that names the mistake."""
    return {
        "products do not come before sums: 2 + 3 * 4 is 14. ast.parse knows the order; do you read from left to "
        "right?": [129, 50, 20, 20, 50, 12, -18],
        "100 - 30 - 20 is 50: differences are taken from left to right. Did you split at the first sign and work out "
        "the rest first?": [129, 50, 14, 20, 90, 12, -18],
        "left and right are swapped: 7 * 8 - 6 is 50. Which of them does op follow?": [129, -50, 14, 20, 90, 12, 18],
        "every sign is read as +. What is the type of node.op?": [129, 21, 9, 9, 150, 12, 42],
    }


def int8_mistakes(weights: Tensor) -> dict[str, tuple[NDArray[np.float64], float]]:
    """weights: any shape."""
    values = weights.double().numpy()
    top, most, least = float(np.abs(values).max()), float(values.max()), float(values.min())
    found = {
        "the numbers are cut off and not rounded, which makes every weight a little smaller. What does round do?": (
            np.trunc(values / (top / 127)),
            top / 127,
        ),
        "you divided by 255, so that half of the numbers is never used. How many are there on either side of 0?": (
            np.round(values / (top / 255)),
            top / 255,
        ),
        "you gave the weights as they are after rounding, and not the whole numbers that are stored. When is the scale "
        "multiplied with?": (np.round(values / (top / 127)) * (top / 127), top / 127),
        "the scale is turned over: it is what a step of 1 is worth. Is 127 over or under the bar?": (
            np.round(values / (top / 127)),
            127 / top,
        ),
        "you scaled by the range from smallest to largest, which is not symmetric. What becomes of 0?": (
            np.round(values / ((most - least) / 255)),
            (most - least) / 255,
        ),
    }
    if most > 0 and not np.isclose(most, top):
        found["you took the largest weight and not the largest absolute one. Which weights are cut off then?"] = (
            np.round(values / (most / 127)),
            most / 127,
        )
    return found
