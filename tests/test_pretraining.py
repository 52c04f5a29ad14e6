"""Pre-training: masked labels, the aligned start, resuming as if nothing had happened, cards made from measurements."""

import json
import random
from pathlib import Path

import pytest
import torch
from transformers import PreTrainedTokenizerFast, T5ForConditionalGeneration

from embedded_world.corpus import splits, tasks
from embedded_world.pretraining import batches, build, cards, heldout, model, tokenizer, training
from genai_labs.finetuning.examples import MASKED
from genai_labs.paths import DIALOGUES, MODELS

RECIPE = (
    training.Stage(0, pools=1, scale=1.0, tokens=800, warmup=2),
    training.Stage(2, pools=2, scale=0.5, tokens=1600),
)


@pytest.fixture(scope="module")
def words() -> PreTrainedTokenizerFast:
    return tokenizer.saved_tokenizer(MODELS / "t5-mini")


@pytest.fixture
def small_pools(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batches, "POOL", 12)
    monkeypatch.setattr(training, "POOL", 12)


def weights(trained: T5ForConditionalGeneration) -> dict[str, torch.Tensor]:
    return {name: p.detach().clone() for name, p in trained.named_parameters()}


def test_padding_is_masked_in_source_and_labels(words: PreTrainedTokenizerFast) -> None:
    for step in batches.pool_of_steps(1, 0, 0, words, 6400, True)[:6]:
        for batch in step:
            assert torch.equal(batch.attention_mask == 0, batch.input_ids == words.pad_token_id)
            for row in batch.labels:
                end = int((row == words.eos_token_id).nonzero()[0])
                assert (row[: end + 1] >= 0).all()
                assert (row[end + 1 :] == MASKED).all()


def test_every_example_of_a_pool_is_used_once_and_steps_mix_tasks(words: PreTrainedTokenizerFast) -> None:
    steps = batches.pool_of_steps(1, 3, 0, words, 6400, True)
    assert sum(len(batch.tasks) for step in steps for batch in step) == batches.POOL
    assert all(len({task for batch in step for task in batch.tasks}) > 1 for step in steps[:-1])
    again = batches.pool_of_steps(1, 3, 0, words, 6400, True)
    assert all(
        torch.equal(a.input_ids, b.input_ids)
        for s, t in zip(steps, again, strict=True)
        for a, b in zip(s, t, strict=True)
    )


def test_the_start_is_aligned_for_copying() -> None:
    fresh = model.new_model(500, 128, seed=0)
    cross = fresh.decoder.block[0].layer[1].EncDecAttention
    assert torch.equal(cross.o.weight, cross.v.weight.T)
    assert torch.allclose(cross.q.weight, 0.3 * cross.k.weight)
    bias = fresh.encoder.block[0].layer[0].SelfAttention.relative_attention_bias.weight
    assert bias[1, 0] > 4
    assert bias[1, 1] < 1
    assert all(p.requires_grad for p in fresh.parameters())
    same = model.new_model(500, 128, seed=0)
    assert all(torch.equal(a, b) for a, b in zip(fresh.parameters(), same.parameters(), strict=True))


def test_every_parameter_has_exactly_one_optimizer() -> None:
    fresh = model.new_model(500, 128, seed=0)
    owned = [id(p) for o in training.make_optimizers(fresh) for group in o.param_groups for p in group["params"]]
    assert sorted(owned) == sorted(id(p) for p in fresh.parameters())


def test_the_learning_rate_warms_up_and_decays() -> None:
    plan = training.Stage(1, pools=10, scale=0.5, warmup=10)
    assert training.stage_rate(plan, 0, 0.0) == pytest.approx(0.05)
    assert training.stage_rate(plan, 50, 0.3) == pytest.approx(0.5)
    assert training.stage_rate(plan, 99, 1.0) == pytest.approx(0.5 * plan.floor)


@pytest.mark.usefixtures("small_pools")
def test_an_interrupted_run_goes_on_as_if_nothing_had_happened(words: PreTrainedTokenizerFast, tmp_path: Path) -> None:
    whole = model.new_model(len(words), 1024, seed=1)
    log = training.pretrain(whole, words, tmp_path / "whole", RECIPE, seed=5)

    def interrupt(progress: training.Progress) -> None:
        if progress.examples == 24:
            raise KeyboardInterrupt

    broken = model.new_model(len(words), 1024, seed=1)
    with pytest.raises(KeyboardInterrupt):
        training.pretrain(broken, words, tmp_path / "broken", RECIPE, seed=5, after_pool=interrupt)
    resumed = model.new_model(len(words), 1024, seed=99)
    log_again = training.pretrain(resumed, words, tmp_path / "broken", RECIPE, seed=5)
    assert [row["loss"] for row in log] == [row["loss"] for row in log_again]
    assert len(log) == 3
    for name, value in weights(whole).items():
        assert torch.equal(value, weights(resumed)[name]), name
    assert not torch.equal(
        weights(whole)["shared.weight"], weights(model.new_model(len(words), 1024, 1))["shared.weight"]
    )


@pytest.mark.usefixtures("small_pools")
def test_a_loss_that_is_no_number_stops_training(words: PreTrainedTokenizerFast, tmp_path: Path) -> None:
    sick = model.new_model(len(words), 1024, seed=1)
    with torch.no_grad():
        sick.shared.weight[5:] = float("nan")
    with pytest.raises(FloatingPointError, match="no longer a number"):
        training.pretrain(sick, words, tmp_path, RECIPE[:1], seed=5)


def test_the_tokenizer_is_what_the_build_makes(words: PreTrainedTokenizerFast, tmp_path: Path) -> None:
    build.build_tokenizer(tmp_path)
    assert tokenizer.saved_tokenizer(tmp_path / "tokenizer").get_vocab() == words.get_vocab()


def test_held_out_tasks_come_from_combinations_that_pretraining_never_saw() -> None:
    assert splits.SPLIT_RANGES[heldout.SPLIT][0] >= splits.SPLIT_RANGES[tasks.PRETRAINING][1]
    for make in heldout.TASKS.values():
        assert make(random.Random(0)) == make(random.Random(0))
    assert heldout.final_answer("He has 3 + 4 = 7. The answer is 7.") == "7"


def test_the_cards_say_what_the_build_measured() -> None:
    assert (DIALOGUES / "README.md").read_text(encoding="utf-8") == cards.data_card()
    folder = MODELS / "t5-mini"
    assert (folder / "README.md").read_text(encoding="utf-8") == cards.model_card(folder)
    record = json.loads((folder / "training.json").read_text(encoding="utf-8"))
    assert record["mixture"] == {str(stage): shares for stage, shares in tasks.MIXTURE.items()}
    assert [vars(r) for r in training.RECIPE] == record["recipe"]
    assert record["examples"] == sum(r.pools for r in training.RECIPE) * batches.POOL
    assert set(record["heldout"]) == set(heldout.TASKS)
