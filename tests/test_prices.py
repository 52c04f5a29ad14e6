"""The prices of KL: the lab's settings but for the price, a page made of the record, and a table and a figure."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks import prices as command
from genai_labs.errors import LabError
from genai_labs.loading.profiles import load_profile
from genai_labs.paths import RESULTS
from genai_labs.rlhf import ppo, prices
from genai_labs.show import measured


def record() -> dict[str, Any]:
    """A record of two seeds, whose numbers say where they belong."""
    rows = []
    for many, steps in enumerate(prices.STEPS):
        for price in command.PRICES:
            scores = [
                {kind: dict.fromkeys(dict(prices.MEASURED[::-1]), [0.0]) for kind in ("hostile", "polite")}
                for _ in range(2)
            ]
            for seed, each in enumerate(scores):
                for number, (kind, name) in enumerate(prices.MEASURED):
                    noise = np.random.default_rng(seed).normal(0, 0.01, 12)
                    each[kind][name] = (1 + number + 10 * many + price + noise).tolist()
            clusters = {kind: [str(n) for n in range(12)] for kind in ("hostile", "polite")}
            measured = command.row_of([{"scores": each} for each in scores], clusters)
            rows.append({"steps": steps, "price": price, "measures": measured, "texts": ["one", "two", "three"]})
    return {
        "command": "x",
        "versions": {"torch": "1"},
        "machine": {"cores": 2},
        "seeds": 2,
        "updates": 20,
        "rates": [1.0, 2.0],
        "epochs": [3, 4],
        "dialogues": {"hostile": 12, "polite": 12},
        "results": rows,
    }


def test_nothing_but_the_price_differs() -> None:
    for steps in prices.STEPS:
        for price in command.PRICES:
            own, first = (asdict(command.settings_of(each, steps, 4)) for each in (price, command.PRICES[0]))
            assert own == first | {"kl_coef": price}
    lab, hacking = ppo.Settings(**load_profile("mini").ppo, seed=4), load_profile("mini").ppo_hacking
    assert lab.kl_coef in command.PRICES
    small = asdict(command.settings_of(lab.kl_coef, prices.STEPS[0], 4))
    assert small == asdict(lab) | {"updates": small["updates"], "most_kl": float("inf")}
    assert command.settings_of(0.0, prices.STEPS[1], 4) == replace(lab, **hacking)
    assert hacking["learning_rate"] > small["learning_rate"]


def test_each_number_stands_in_its_row_and_column() -> None:
    found = prices.prices_table(record())
    assert [(row["steps"], row["price"]) for row in found] == [(s, p) for s in prices.STEPS for p in command.PRICES]
    for many, row in enumerate(found):
        for number, (kind, name) in enumerate(prices.MEASURED):
            wanted = 1 + number + 10 * (many // len(command.PRICES)) + row["price"]
            assert row[f"{name}, {kind}"] == pytest.approx(wanted, abs=0.05)
            seeds = record()["results"][many]["measures"][f"{kind}: {name}"]["seeds"]
            assert row[f"{name}, {kind}"] == pytest.approx(np.mean(seeds), abs=2e-4), "the mean, not an end"
    words = repr(prices.prices_plot(record()))
    assert "right kind of reproach, large steps, price 1, KL 13.0: 16.0" in words
    assert prices.prices_plot(record()).png().startswith(b"\x89PNG")


def test_the_committed_page_is_made_of_the_committed_record() -> None:
    found = prices.read_prices()
    assert (RESULTS / f"{prices.FILE}.md").read_text(encoding="utf-8") == command.prices_page(found)
    assert {(row["steps"], row["price"]) for row in found["results"]} == {
        (steps, price) for steps in prices.STEPS for price in command.PRICES
    }


def test_a_missing_record_is_said_in_words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measured, "RESULTS", tmp_path)
    with pytest.raises(
        LabError, match=r"lab3_prices\.json is missing or damaged\. .*with: python -m genai_labs prices"
    ):
        prices.read_prices()
    (tmp_path / "lab3_prices.json").write_text(json.dumps({"results": []})[:-3], encoding="utf-8")
    with pytest.raises(LabError, match="is missing or damaged"):
        prices.read_prices()
