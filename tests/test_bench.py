"""The benchmark of training: what it counts, what it computes from that, and what it writes down."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import Any

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode
from transformers import T5Config, T5ForConditionalGeneration

from benchmarks import alone as bench_alone
from benchmarks import common, flops, time_shares
from benchmarks import evaluation as bench_eval
from benchmarks import ppo as bench_ppo
from benchmarks import training as bench
from benchmarks.verdict import bootstrap_interval, judge, verdict
from genai_labs import __main__ as cli
from genai_labs.errors import LabError
from genai_labs.finetuning.examples import Feature, collate
from genai_labs.finetuning.training import Plan, model_to_train
from genai_labs.inputs import batches
from genai_labs.paths import RESULTS
from genai_labs.system.devices import has_bf16

SIZE = {"d_model": 16, "d_kv": 8, "d_ff": 32, "num_layers": 2, "num_decoder_layers": 3, "num_heads": 2}


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Less of everything: rows, padding, and the matrices that show the peak."""
    monkeypatch.setattr(bench, "ROWS", 32)
    monkeypatch.setattr(flops, "MATRIX", 128)
    monkeypatch.setattr(flops, "SECONDS", 0.0)
    monkeypatch.setattr(bench_alone, "ask", lambda *_: {"peak_mb": 123, "gflop": 4.5})
    short = tuple(replace(recipe, length=recipe.length and 64) for recipe in bench.RECIPES)
    monkeypatch.setattr(bench, "RECIPES", short)


@pytest.fixture
def tiny() -> Any:
    """A T5 with less than 20,000 parameters, attention written out so that every product can be counted."""
    config = T5Config(
        **SIZE, vocab_size=50, decoder_start_token_id=0, feed_forward_proj="gated-gelu", attn_implementation="eager"
    )
    torch.manual_seed(0)
    return T5ForConditionalGeneration(config)


def rows(*lengths: tuple[int, int]) -> list[Feature]:
    return [
        {
            # Not all alike: attention would have nothing to learn.
            "input_ids": [3 + place % 40 for place in range(source)],
            "attention_mask": [1] * source,
            "labels": [7 + place for place in range(target)],
        }
        for source, target in lengths
    ]


def rounds(*rates: float) -> list[bench.Round]:
    return [bench.Round(16 / rate, flops.Count(examples=16, tokens=30, places=40, flops=4 * 10**9)) for rate in rates]


@pytest.mark.usefixtures("small")
def test_the_command_measures_the_recipes_in_turn_and_writes_what_it_found(tmp_path: Path) -> None:
    line = f"bench train --models mini --rounds 1 --steps 1 --out {tmp_path}"
    cli.main(line.split())
    text = (tmp_path / "bench_train.json").read_text(encoding="utf-8")
    record = json.loads(text)
    assert record["command"] == "python -m genai_labs bench train --models mini --rounds 1 --steps 1"
    assert str(tmp_path) not in text
    assert {"torch", "transformers"} <= set(record["versions"])
    assert {"cores", "threads", "instructions", "bf16"} <= set(record["machine"])
    (result,) = record["models"]
    by_name = {r["recipe"]: r for r in result["recipes"]}
    assert list(by_name) == [recipe.name for recipe in bench.runnable()]
    for recipe in by_name.values():
        assert recipe["examples"] == Plan().batch_size
        assert len(recipe["rounds"]) == 1
        assert recipe["examples_per_second"] == pytest.approx(median(recipe["rounds"]), rel=1e-3)
        pairs = zip(recipe["rounds"], by_name["peers"]["rounds"], strict=True)
        assert recipe["ratio_to_peers"] == pytest.approx(median(a / b for a, b in pairs), rel=1e-2)
        assert recipe["gflops"] == pytest.approx(
            recipe["share_of_peak"] * record["peaks"][recipe["precision"]], rel=0.1
        )
    assert sum(result["where_time_goes"].values()) == pytest.approx(1, abs=0.01)
    assert "| mini | ours (batch 16, " in (tmp_path / "bench_train.md").read_text(encoding="utf-8")


def test_memory_and_operations_are_asked_of_a_process_of_its_own() -> None:
    known = bench_alone.ask("train", "ours", "mini", common.SHARED)
    assert known["peak_mb"] > 200
    assert known["gflop"] > 1
    with pytest.raises(LabError, match="could not be measured on its own"):
        bench_alone.ask("train", "nobody's", "mini", common.SHARED)


@pytest.mark.usefixtures("small")
def test_a_missing_shared_folder_is_said_in_words(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["bench", "train", "--models", "flan-small", "--shared", "nowhere", "--out", str(tmp_path)]) == 1
    said = capsys.readouterr().out
    assert "flan-small is left out: the shared data folder has no flan-t5-small/config.json" in said
    assert "--shared DIR" in said
    assert json.loads((tmp_path / "bench_train.json").read_text(encoding="utf-8"))["models"] == []


def test_ratios_and_bars_come_from_rounds_on_the_same_rows() -> None:
    measured = {"peers": rounds(1, 2, 4), "peers, bf16 weights": rounds(4, 8, 16), "ours": rounds(12, 20, 48)}
    assert bench.ratios(measured, "ours", "peers") == pytest.approx([12, 10, 12])
    bars = bench.bars_against_peers("mini", measured)
    assert [(bar["ratio"], bar["met"]) for bar in bars] == [(12, True), (3, False)]
    assert [bar["interval"] for bar in bars] == [[10, 12], [2.5, 3]]
    slower = bench.bars_against_peers("mini", measured | {"ours": rounds(9, 20, 36)})
    assert [(bar["ratio"], bar["met"]) for bar in slower] == [(9, False), (2.25, False)]


def test_a_bar_is_met_only_if_the_whole_interval_clears_it() -> None:
    spread = [3.6, 0.7, 8.2, 3.8, 3.9]  # as measured once: the median alone said that 3 was met
    found = {bar: judge(spread, bar) for bar in (0.5, 3.0, 9.0)}
    assert {bar: verdict(each) for bar, each in found.items()} == {0.5: "met", 3.0: "not shown", 9.0: "not met"}
    assert [each["met"] for each in found.values()] == [True, False, False]
    assert found[3.0]["ratio"] == 3.8
    assert found[3.0]["interval"] == [0.7, 8.2]
    assert verdict(judge([3.3, 3.6, 3.4], 3.3)) == "met"
    alone = judge([30.0], 3.0)
    assert (alone["interval"], alone["met"], verdict(alone)) == (None, False, "not shown")


def test_more_rounds_make_the_interval_narrower_and_it_holds_the_median() -> None:
    few, many = bootstrap_interval([1, 2, 3, 4, 5]), bootstrap_interval([1, 2, 3, 4, 5] * 20)
    assert few == (1, 5)
    assert many is not None
    assert 2 <= many[0] <= 3 <= many[1] <= 4
    assert bootstrap_interval([1, 2, 3, 4, 5] * 20) == many, "it depends on chance"


@pytest.mark.parametrize(
    ("name", "page"),
    [("train", bench.training_page), ("eval", bench_eval.evaluation_page), ("ppo", bench_ppo.ppo_page)],
)
def test_the_committed_verdicts_are_those_of_the_committed_rounds(
    name: str, page: Callable[[dict[str, Any]], str]
) -> None:
    record = json.loads((RESULTS / f"bench_{name}.json").read_text(encoding="utf-8"))
    assert (RESULTS / f"bench_{name}.md").read_text(encoding="utf-8") == page(record)
    for judged in [bar for model in record["models"] for bar in model.get("bars", [model])]:
        digits = 3 if name == "eval" else 4
        rounds = judged["ratios"] if "ratios" in judged else judged["rounds"]
        assert judged | judge(rounds, judged["at_least"], digits) == judged


def test_a_recipe_s_row_is_the_median_round_and_the_share_of_its_own_peak() -> None:
    measured = {"peers": rounds(2, 4, 16), "ours": rounds(8, 16, 16)}
    row = bench.recipe_row(bench.RECIPES[0], measured, {"fp32": 2.0, "bf16": 5.0})
    assert row["precision"] == "fp32"
    assert row["examples_per_second"] == 4
    assert row["padding"] == 0.25
    assert (row["gflops"], row["share_of_peak"]) == (1.0, 0.5)
    ours = bench.recipe_row(bench.RECIPES[2], measured, {"fp32": 1.0, "bf16": 5.0})
    assert ours["ratio_to_peers"] == 4
    assert ours["precision"] == ("bf16" if has_bf16() else "fp32")


def test_padding_is_the_share_of_places_without_a_real_token(tiny: Any) -> None:
    toy = rows((6, 2), (2, 1))
    dynamic = flops.count(tiny, collate(toy, pad=0), pad=0)
    assert (dynamic.examples, dynamic.tokens, dynamic.places) == (2, 11, 16)
    peers = flops.count(tiny, collate(toy, pad=0, length=32, labels_length=32, mask=False), pad=0)
    assert (peers.tokens, peers.places) == (11, 128)
    assert (dynamic + peers).padding == pytest.approx(1 - 22 / 144)


def test_operations_of_a_step_are_what_the_profiler_of_torch_counts(tiny: Any) -> None:
    batch = collate(rows((6, 3), (5, 4)), pad=0)
    with FlopCounterMode(display=False) as counter:
        tiny(**batch).loss.backward()
    assert flops.step_flops(tiny, 2, 6, 4) == counter.get_total_flops()


def test_operations_of_a_step_by_hand(tiny: Any) -> None:
    source, target, square, feed = 6, 4, 16 * 16, 3 * 16 * 32
    encoder = 2 * (4 * square + feed) * source
    decoder = 3 * ((6 * square + feed) * target + 2 * square * source) + 16 * 50 * target
    attention = 12 * 16 * (2 * source**2 + 3 * target * (target + source))
    assert flops.step_flops(tiny, 1, source, target) == 6 * (encoder + decoder) + attention
    adapters = model_to_train(tiny, Plan(method="lora", rank=1))
    assert 4 * (encoder + decoder) < flops.step_flops(adapters, 1, source, target) - attention < 6 * (encoder + decoder)


def test_rows_of_a_round_are_batches_of_our_own_order_and_each_comes_once() -> None:
    lengths = [(10 + 7 * i % 90, 3) for i in range(160)]
    all_rows = rows(*lengths)
    drawn = bench.draw_rounds(all_rows, rounds=5, steps=2)
    assert [len(some) for some in drawn] == [32] * 5
    assert sorted(map(id, sum(drawn, []))) == sorted(map(id, all_rows))
    order = batches.shuffled([source for source, _ in lengths], 16, f"{common.SEED}-0")
    ours = [[id(all_rows[i]) for i in batch] for batch in order]
    assert all([id(row) for row in some[half : half + 16]] in ours for some in drawn for half in (0, 16))


def test_the_recipes_differ_in_padding_and_precision_as_they_say(tiny: Any) -> None:
    seen: dict[str, tuple[torch.Size, torch.dtype]] = {}
    words = type("Words", (), {"pad_token_id": 0})
    for recipe in bench.RECIPES:
        contender = bench.Contender(recipe, tiny, words)
        lm_head = next(module for name, module in contender.model.named_modules() if name.endswith("lm_head"))
        lm_head.register_forward_hook(
            lambda _, __, logits, name=recipe.name: seen.update({name: (logits.shape[:-1], logits.dtype)})
        )
        contender.step(rows((9, 3), (5, 2)))
    mixed = torch.bfloat16 if has_bf16() else torch.float32
    assert seen == {
        "peers": ((2, 512), torch.float32),
        "peers, bf16 weights": ((2, 512), torch.bfloat16),
        "ours": ((5,), mixed),  # as many as there are labels
        "ours, LoRA": ((5,), mixed),
    }


def test_a_step_trains(tiny: Any) -> None:
    contender = bench.Contender(bench.RECIPES[2], tiny, type("Words", (), {"pad_token_id": 0}))
    before = {name: p.detach().clone() for name, p in contender.model.named_parameters()}
    contender.step(rows((9, 3), (5, 2)))
    assert all(not torch.equal(before[name], p) for name, p in contender.model.named_parameters() if "norm" not in name)
    assert all(p.grad is None for p in contender.model.parameters())


def test_time_is_shared_out_by_kind_of_operator() -> None:
    names = ["aten::mm", "aten::_softmax", "aten::_log_softmax", "aten::copy_", "aten::gelu", "aten::_fused_adamw_"]
    found = time_shares.shares([(name, 1e5) for name in [*names, "aten::bernoulli_", "aten::unheard_of"]], seconds=1.0)
    assert found == pytest.approx({**dict.fromkeys(time_shares.GROUPS, 0.1), time_shares.BETWEEN: 0.2})


@pytest.mark.skipif(not (common.SHARED / common.FLAN_FILES[0]).exists(), reason="the shared data folder is not here")
def test_flan_t5_has_its_own_lm_head_and_keeps_it_with_an_adapter(tmp_path: Path) -> None:
    original = common.SHARED / "flan-t5-small"
    for file in original.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    config = json.loads((original / "config.json").read_text(encoding="utf-8"))
    (tmp_path / "config.json").write_text(json.dumps(config | SIZE), encoding="utf-8")
    model, tokenizer = common.flan_small(tmp_path)
    assert tokenizer("What time is it, Tom?")["input_ids"] == [363, 97, 19, 34, 6, 3059, 58, 1]
    assert not torch.equal(model.lm_head.weight, model.shared.weight)
    head = model.lm_head.weight.detach().clone()
    for plan in (Plan(), Plan(method="lora")):
        copied = model_to_train(model, plan)
        weights = {name: p for name, p in copied.named_parameters() if name.endswith("lm_head.weight")}
        assert [torch.equal(p, head) for p in weights.values()] == [True]
