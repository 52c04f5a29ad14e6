"""The benches of growth and of a GPU: what they measure and write, on a little of everything and without a GPU."""

import json
from pathlib import Path

import pytest
import torch

from benchmarks import command, common
from benchmarks import gpu as bench_gpu
from benchmarks import growth as bench_grow
from benchmarks.on_paper import SHAPES
from genai_labs.errors import LabError
from genai_labs.paths import RESULTS


def test_growth_is_measured_for_each_quantity_and_drawn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    few = [bench_grow.Growth(g.name, g.unit, (16, 48), g.plan, g.rows, lambda v: 32) for g in bench_grow.GROWTHS]
    monkeypatch.setattr(bench_grow, "GROWTHS", few)
    monkeypatch.setattr(bench_grow, "STEPS", 1)
    assert command.main(["grow", "--rounds", "2", "--out", str(tmp_path)]) == 0
    record = json.loads((tmp_path / "bench_grow.json").read_text(encoding="utf-8"))
    assert [g["quantity"] for g in record["growths"]] == ["rows", "length", "rank", "batch"]
    assert all(len(rounds) == 2 for g in record["growths"] for rounds in g["seconds"].values())
    assert (tmp_path / "bench_grow.md").read_text(encoding="utf-8") == bench_grow.growth_page(record)
    assert (tmp_path / "bench_grow.png").stat().st_size > 10_000


def test_rows_are_as_long_as_asked() -> None:
    (row,) = common.made_up_rows(1, 50, 1000, target=7)
    assert (len(row["input_ids"]), len(row["attention_mask"]), len(row["labels"])) == (50, 50, 7)


@pytest.mark.skipif(torch.cuda.is_available(), reason="this is what is said without a GPU")
def test_the_gpu_bench_tries_itself_out_anywhere_and_says_that_it_needs_a_gpu(tmp_path: Path) -> None:
    with pytest.raises(LabError, match="There is no GPU here"):
        command.main(["gpu", "--out", str(tmp_path)])
    assert command.main(["gpu", "--shapes", "tiny", "--rounds", "1", "--batch-size", "2", "--out", str(tmp_path)]) == 0
    record = json.loads((tmp_path / "bench_gpu.json").read_text(encoding="utf-8"))
    works = record["shapes"][0]["works"]
    assert [work["work"] for work in works] == ["full training", "lora training", "evaluation", "PPO update"]
    assert all(work["tokens_per_second"] > 0 for work in works)
    assert all(0 < work["share_of_peak"] < 1 for work in works[:3])
    assert "35% is asked for" not in bench_gpu.gpu_page(record)


def test_a_random_t5_has_the_published_shape_and_the_bar_is_about_full_training_at_base() -> None:
    small = next(shape for shape in SHAPES if shape.name == "flan-t5-small")
    model = bench_gpu.random_t5(small)
    assert model.num_parameters() / 1e6 == pytest.approx(77, rel=0.01)
    assert not torch.equal(model.lm_head.weight, model.shared.weight)
    work = bench_gpu.record_of("full training", 1000, [2.0, 1.0, 3.0], 1.5, 4_000_000_000, 4.0)
    assert (work["seconds"], work["tokens_per_second"], work["share_of_peak"]) == (2.0, 500, 0.5)
    ((shape, bar),) = bench_gpu.full_training_bar({"shapes": [{"shape": "base", "works": [work]}]})
    assert (shape, bar["ratio"], bar["interval"], bar["met"]) == ("base", 0.5, [0.3333, 1.0], False)


def test_the_committed_page_on_growth_is_what_the_command_writes() -> None:
    record = json.loads((RESULTS / "bench_grow.json").read_text(encoding="utf-8"))
    assert (RESULTS / "bench_grow.md").read_text(encoding="utf-8") == bench_grow.growth_page(record)
