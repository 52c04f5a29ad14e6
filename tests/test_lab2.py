"""Lab 2 keeps its promises: on five seeds of training, in its stored sweep, and in its profile."""

import json
from pathlib import Path
from typing import Any

import pytest

from genai_labs.course import seeds
from genai_labs.errors import LabError
from genai_labs.finetuning import sweep, sweep_command
from genai_labs.finetuning.training import Plan, model_to_train
from genai_labs.loading import models
from genai_labs.loading.profiles import load_profile
from genai_labs.paths import RESULTS
from genai_labs.show import measured


@pytest.fixture(scope="module")
def record() -> dict[str, Any]:
    return json.loads((RESULTS / "lab2_seeds.json").read_text(encoding="utf-8"))


def effects(record: dict[str, Any], lesson: str) -> list[float]:
    (item,) = [item for item in record["lessons"] if item["id"] == lesson]
    return [seed["effect"] for seed in item["seeds"].values()]


def test_every_lesson_holds_on_five_seeds_of_training(record: dict[str, Any]) -> None:
    assert len(record["seeds"]) == 5
    assert len(record["lessons"]) >= 10
    assert [item["id"] for item in seeds.claims(record) if item["holds_on"] < item.get("measured_on", 5)] == []
    assert {item.get("measured_on", 5) for item in record["lessons"]} <= {1, 5}
    assert (RESULTS / "lab2_seeds.md").read_text(encoding="utf-8") == seeds.as_markdown(record)


def test_lora_keeps_95_percent_of_a_gain_of_at_least_0_15(record: dict[str, Any]) -> None:
    gains, losses = effects(record, "2.4"), effects(record, "2.7")
    assert min(gains) >= 0.15
    assert min((gain + loss) / gain for gain, loss in zip(gains, losses, strict=True)) >= 0.95


def test_trainings_with_different_seeds_differ(record: dict[str, Any]) -> None:
    assert len(set(effects(record, "2.4"))) == 5


def test_the_adapter_of_the_profile_is_small() -> None:
    profile = load_profile("mini")
    base, _ = models.load_model(profile)
    model = model_to_train(base, Plan(method="lora", **profile.lora))
    assert sweep_command.trainable_share(model) <= 0.04
    numbers = sum(p.numel() for p in model.parameters() if p.requires_grad)
    assert numbers <= 0.05 * models.count_parameters(base)


def test_the_stored_sweep_is_what_the_command_would_compare_now() -> None:
    stored = sweep.read_sweep()
    profile = load_profile("mini")
    plans = sweep_command.variants(profile, stored["seed"])
    assert [r["name"] for r in stored["results"]] == ["base", *plans]
    for r in stored["results"][1:]:
        variant = plans[r["name"]]
        made = Plan(**r["plan"])  # a setting that came later has its default in the record, as it was then
        assert json.dumps(vars(made)) == json.dumps(vars(variant.plan))
        assert (r["replayed"], r["padded"]) == (variant.replayed, variant.padded)
    assert (RESULTS / "lab2_sweep.md").read_text(encoding="utf-8") == sweep_command.sweep_page(stored)
    assert set(sweep.SHOWN) <= {r["name"] for r in stored["results"]}
    assert "LoRA" in repr(sweep.plot(stored)) or "decoder" in repr(sweep.plot(stored))


def test_the_front_holds_what_no_other_training_beats_in_both() -> None:
    def made(name: str, rouge1: float, lost: float) -> dict[str, Any]:
        return {"name": name, "rouge1": [rouge1, rouge1 - 0.01, rouge1 + 0.01], "lost": {"a": lost, "b": lost}}

    results = [
        made("base", 0.4, 0.0),
        made("beaten by base", 0.3, 0.0),
        made("best", 0.8, 0.3),
        made("as good, more lost", 0.8, 0.4),
        made("middle", 0.7, 0.1),
        made("beaten by middle", 0.6, 0.2),
    ]
    assert sweep.front({"results": results}) == ["base", "middle", "best"]
    stored = sweep.read_sweep()
    drawn = repr(sweep.plot_front(stored))
    assert all(f" {r['rouge1'][0]:.2f} [" in drawn for r in stored["results"])
    assert "LoRA, attention layers, rank 16: " in drawn
    moved = repr(sweep.plot_moved(stored))
    far = [r for r in stored["results"] if r["name"] != "base" and not r["name"].startswith("soft prompt")]
    assert all(f"their length) {100 * r['moved']:.2f}; lost" in moved for r in far)
    assert moved.count("their length) ") == len(far)
    assert all(r["moved"] == 0 for r in stored["results"] if r not in far)
    assert all(len(r["texts"]) == sweep_command.SAMPLES for r in stored["results"])
    on = sweep.front(stored)
    assert on[0] == "base"
    assert max(stored["results"], key=lambda r: r["rouge1"][0])["name"] == on[-1]


def test_a_missing_sweep_is_said_in_words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measured, "RESULTS", tmp_path)
    with pytest.raises(LabError, match=r"lab2_sweep\.json is missing or damaged\. .*with: python -m genai_labs sweep"):
        sweep.read_sweep()
