"""What ``python -m genai_labs sweep`` measured (``results/lab2_sweep.json``): what it holds, pictures, the front."""

from __future__ import annotations

from typing import Any

import numpy as np

from genai_labs.finetuning import lora
from genai_labs.prompting.figures import sweep_plot
from genai_labs.show import display
from genai_labs.show.measured import read_measured

RANKS = (1, 4, 16)
PROMPT_RATE = 0.1  # 0.03 and 0.3 came out alike on 60 earlier dialogues (ROUGE-1 .75, .76, .75)
FEED_FORWARD_PLACE = "feed-forward layers of the decoder"
PLACES: dict[str, dict[str, Any]] = {
    FEED_FORWARD_PLACE: {"targets": lora.FEED_FORWARD, "within": "decoder"},
    "attention layers of the decoder": {"targets": lora.ATTENTION, "within": "decoder"},
    "all layers of encoder and decoder": {"targets": lora.ALL_LINEAR, "within": "model"},
}
# The rows that the lab shows in a table.
SHOWN = (
    "base",
    "full",
    "full, five times the learning rate",
    "full, padding counted",
    "full, replay",
    "full, pulled back to the base",
    "LoRA, rank 4, feed-forward layers of the decoder",
    "LoRA, rank 4, feed-forward layers of the decoder, 3 times the learning rate",
    *(f"LoRA, rank {RANKS[-1]}, {place}" for place in PLACES),
    "soft prompt, 20 tokens",
)
FILE = "lab2_sweep"
LOST = "lost on other tasks (mean of four grades, 0 to 1)"


def lora_name(rank: int, place: str) -> str:
    """What a LoRA training of the sweep is called."""
    return f"LoRA, rank {rank}, {place}"


def read_sweep() -> dict[str, Any]:
    """The record as it was written. Raises LabError where it is missing or damaged."""
    return read_measured(FILE, "results", "python -m genai_labs sweep (about half an hour)")


def plot(record: dict[str, Any]) -> display.Plot:
    """ROUGE-1 over rank, one line for each place of the adapters, full training as a level line."""
    found = {r["name"]: tuple(r["rouge1"]) for r in record["results"]}
    lines = {place: [found[lora_name(rank, place)] for rank in RANKS] for place in PLACES}
    lines["full fine-tuning"] = [found["full"]] * len(RANKS)
    return display.line_with_band(RANKS, lines, "rank", "ROUGE-1 F (validation dialogues)")


def lost_on_average(result: dict[str, Any]) -> float:
    """What a training of the record lost on other tasks, the mean of the tasks, in grades from 0 to 1."""
    return float(np.mean(list(result["lost"].values())))


def front(record: dict[str, Any]) -> list[str]:
    """The Pareto front: trainings than which no other has more ROUGE-1 and has lost less, by what was lost."""
    found = sorted((lost_on_average(r), -r["rouge1"][0], r["name"]) for r in record["results"])
    best = [max((-other for _, other, _ in found[:place]), default=-1.0) for place in range(len(found))]
    return [name for (_, score, name), before in zip(found, best, strict=True) if -score > before]


def plot_front(record: dict[str, Any]) -> display.Plot:
    """Each training in the plane of what it lost and its ROUGE-1, one mark for each kind."""
    points = {r["name"]: ((lost_on_average(r),) * 3, tuple(r["rouge1"])) for r in record["results"]}
    return sweep_plot(_families(points), LOST, "ROUGE-1 F (validation dialogues)")


def plot_moved(record: dict[str, Any]) -> display.Plot:
    """Each training in the plane of how far it moved the weights and what it lost; soft prompts move none."""
    moved = [r for r in record["results"] if r["moved"]]
    points = {r["name"]: ((100 * r["moved"],) * 3, (lost_on_average(r),) * 3) for r in moved}
    return sweep_plot(
        _families(points), "how far the weights moved (% of their length)", LOST, xticks=(0.05, 0.1, 0.2, 0.5)
    )


def _families(points: dict[str, tuple[Any, Any]]) -> dict[str, dict[str, Any]]:
    """Points of trainings by kind and label; those of a kind are joined from left to right."""
    families: dict[str, dict[str, Any]] = {}
    for name, point in sorted(points.items(), key=lambda each: each[1][0]):
        kind, label = "all weights", name.removeprefix("full, ").replace("learning rate", "rate")
        label = label.removesuffix(" to the base")
        if label.startswith("LoRA, "):
            _, rank, place, *more = label.split(", ")  # as lora_name makes it
            kind = "LoRA, " + place.removesuffix(" of the decoder").removesuffix(" of encoder and decoder")
            label = ", ".join([rank, *more])
        elif label.startswith("soft prompt, "):
            kind, label = "soft prompt", label.removeprefix("soft prompt, ")
        families.setdefault(kind, {})[label] = point
    return families
