"""The evaluation bench: both recipes write the same texts, are measured in turn, and are written down."""

import json
from pathlib import Path
from typing import Any

import pytest

from benchmarks import alone as bench_alone
from benchmarks import common
from benchmarks import evaluation as bench_eval
from genai_labs.loading import models
from genai_labs.loading.profiles import load_profile
from genai_labs.prompting import decoding, prompts


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench_eval, "TOKENS", 4)
    monkeypatch.setattr(bench_alone, "ask", lambda *_: {"peak_mb": 123, "gflop": 4.5})
    monkeypatch.setattr(bench_eval, "DIALOGUES", {bench_eval.PEERS: 2, bench_eval.OURS: 6})


@pytest.mark.usefixtures("small")
def test_both_recipes_are_measured_in_turn_and_written_down(tmp_path: Path) -> None:
    bench_eval.main(["eval", "--models", "mini", "--rounds", "2", "--out", str(tmp_path)])
    record = json.loads((tmp_path / "bench_eval.json").read_text(encoding="utf-8"))
    (mini,) = record["models"]
    assert {recipe: len(rates) for recipe, rates in mini["rates"].items()} == {"peers": 2, "ours": 2}
    assert all(0 < share < 1 for share in mini["reading"].values())
    assert (tmp_path / "bench_eval.md").read_text(encoding="utf-8") == bench_eval.evaluation_page(record)


@pytest.mark.usefixtures("small")
def test_every_summary_has_the_same_length_in_both(monkeypatch: pytest.MonkeyPatch) -> None:
    model, tokenizer = models.load_model(load_profile("mini"))
    rows = common.model_and_dialogues("mini", common.SHARED)[2][:3]
    lengths: list[int] = []
    generate, write = model.generate, decoding.write_tokens

    def by_transformers(**options: object) -> object:
        made = generate(**options)
        lengths.extend(len(row) - 1 for row in made)  # without the token that the decoder starts from
        return made

    def by_us(*given: Any, **options: Any) -> decoding.Written:
        made = write(*given, **options)
        lengths.extend((row != tokenizer.pad_token_id).sum() for row in made.tokens)
        return made

    monkeypatch.setattr(model, "generate", by_transformers)
    monkeypatch.setattr(decoding, "write_tokens", by_us)
    for run in bench_eval.RECIPES.values():
        run(model, tokenizer, [prompts.zero_shot(row.dialogue) for row in rows])
    assert lengths == [4] * 6
