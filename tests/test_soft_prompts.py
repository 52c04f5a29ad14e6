"""Soft prompts, the pull towards the base, the padding mistake, and a sweep that goes on where it was stopped."""

import copy
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from genai_labs.finetuning import examples, lora, soft_prompts, sweep_command, training
from genai_labs.finetuning.training import Plan, finetune
from genai_labs.loading import data, models
from genai_labs.loading.profiles import load_profile
from genai_labs.prompting import encoding, generation, prompts

Loaded = tuple[PreTrainedModel, PreTrainedTokenizerBase]
PLAN = Plan(epochs=1, batch_size=8, learning_rate=0.1, method="prompt", virtual_tokens=5)


@pytest.fixture(scope="module")
def loaded() -> Loaded:
    return models.load_model(load_profile("mini"))


@pytest.fixture(scope="module")
def made(loaded: Loaded) -> list[examples.Feature]:
    return examples.features(data.load_split(load_profile("mini").dataset, "train")[:40], loaded[1])


@pytest.fixture(scope="module")
def prompted(
    loaded: Loaded, made: list[examples.Feature], tmp_path_factory: pytest.TempPathFactory
) -> training.FineTuning:
    return finetune(*loaded, made[:32], made[32:], PLAN, tmp_path_factory.mktemp("prompt") / "run")


def asked() -> list[str]:
    rows = data.load_split(load_profile("mini").dataset, "validation")
    return [prompts.zero_shot(row.dialogue) for row in rows[:5]]


def test_a_soft_prompt_starts_as_words_and_only_it_is_trained(loaded: Loaded, prompted: training.FineTuning) -> None:
    base = loaded[0]
    fresh = soft_prompts.attach_prompt(base, PLAN.virtual_tokens, PLAN.seed)
    table = base.get_input_embeddings().weight
    start = encoding.soft_prompt(fresh)
    assert start.shape == (5, base.config.d_model)
    assert all((table == vector).all(1).any() for vector in start)
    moved = {name for name, weight in prompted.model.named_parameters() if weight.requires_grad}
    assert moved == {"prompt_encoder.default.embedding.weight"}
    assert not torch.equal(encoding.soft_prompt(prompted.model), start)
    assert lora.fingerprint(base) == lora.fingerprint(prompted.model) == lora.fingerprint(fresh)
    assert encoding.soft_prompt(base).shape == (0, base.config.d_model)


def test_what_is_written_behind_a_soft_prompt_is_what_peft_writes(
    loaded: Loaded, prompted: training.FineTuning
) -> None:
    tokenizer = loaded[1]
    ours = generation.generate(prompted.model, tokenizer, asked(), generation.greedy(30), progress=False)
    read = tokenizer(asked(), padding=True, return_tensors="pt")
    theirs = prompted.model.generate(**read, max_new_tokens=30, do_sample=False, num_beams=1)
    assert ours == [text.strip() for text in tokenizer.batch_decode(theirs, skip_special_tokens=True)]
    without = generation.generate(loaded[0], tokenizer, asked(), generation.greedy(30), progress=False)
    assert ours != without


def test_a_soft_prompt_is_handed_out_again_as_it_was_trained(
    loaded: Loaded, made: list[examples.Feature], prompted: training.FineTuning
) -> None:
    again = finetune(*loaded, made[:32], made[32:], PLAN, prompted.folder)
    assert torch.equal(encoding.soft_prompt(again.model), encoding.soft_prompt(prompted.model))


def test_how_far_weights_lie_from_the_base(loaded: Loaded, prompted: training.FineTuning) -> None:
    base = loaded[0]
    longer = copy.deepcopy(base)
    with torch.no_grad():
        for weight in longer.parameters():
            weight.mul_(1.25)
    assert lora.distance(longer, base) == pytest.approx(0.25)
    assert lora.distance(prompted.model, base) == 0
    adapted = lora.attach(base, lora.lora_config(2, 6, ("wo",), "decoder"))
    assert lora.distance(adapted, base) == 0
    added = 0.0
    for place, module in adapted.named_modules():
        if place.endswith(".wo") and "decoder" in place:
            torch.nn.init.ones_(module.lora_B["default"].weight)
            added += float(
                (3 * module.lora_B["default"].weight @ module.lora_A["default"].weight).detach().square().sum()
            )
    own = sum(float(weight.double().square().sum()) for weight in base.parameters())
    assert lora.distance(adapted, base) == pytest.approx((added / own) ** 0.5, rel=1e-4)


def test_weights_that_are_pulled_back_stay_nearer_to_the_base(
    loaded: Loaded, made: list[examples.Feature], tmp_path: Path
) -> None:
    plan = Plan(epochs=1, batch_size=8, learning_rate=1e-3)
    far = [
        lora.distance(
            finetune(*loaded, made[:32], made[32:], replace(plan, pull=pull), tmp_path / str(pull)).model, loaded[0]
        )
        for pull in (0.0, 100.0, 1000.0)
    ]
    assert far[0] > 1.1 * far[1] > 1.1 * far[2]
    assert far[2] > 0


def test_the_padding_mistake_grades_the_model_on_padding() -> None:
    wrong = sweep_command.with_padding_in_labels(
        {"input_ids": [5, 6, 1], "attention_mask": [1, 1, 1], "labels": [7, 8, 1]}, 0
    )
    assert wrong["input_ids"] == [5, 6, 1]
    assert wrong["labels"] == [7, 8, 1] + [0] * (examples.LONGEST_SUMMARY - 3)


def test_a_sweep_that_was_stopped_trains_only_what_is_missing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    trained: list[str] = []

    def train(base: Any, tokenizer: Any, rows: Any, held_out: Any, plan: Plan, folder: Path) -> training.FineTuning:
        trained.append(f"{plan.method} {plan.epochs} {len(rows[0]['labels']) == examples.LONGEST_SUMMARY}")
        return training.FineTuning(base, plan, folder, len(rows))

    monkeypatch.setattr(sweep_command, "finetune", train)
    monkeypatch.setattr(sweep_command.forgetting, "score", lambda *_: {"topic": torch.zeros(2).numpy()})
    monkeypatch.setattr(sweep_command.generation, "generate", lambda _, __, texts, *___, **____: list(texts))
    profile, kept = load_profile("mini"), tmp_path / "sweep.jsonl"
    named = {
        "one": sweep_command.Variant(Plan(epochs=1)),
        "two": sweep_command.Variant(Plan(epochs=2), padded=True),
        "three": sweep_command.Variant(Plan(epochs=3)),
    }
    some = {name: named[name] for name in ("one", "two")}
    first = sweep_command.run(profile, some, dialogues=3, seed=0, kept=kept)
    assert trained == ["full 1 False", "full 2 True"]
    both = sweep_command.run(profile, named, dialogues=3, seed=0, kept=kept)
    assert trained == ["full 1 False", "full 2 True", "full 3 False"]
    assert [row["name"] for row in both["results"]] == ["base", *named]
    assert both["results"][1]["rouge1"] == first["results"][1]["rouge1"]
    sweep_command.run(profile, named, dialogues=4, seed=0, kept=kept)  # scored on others: nothing stored fits
    assert len(trained) == 6
    older = [json.loads(line) for line in kept.read_text(encoding="utf-8").splitlines()]
    kept.write_text("".join(json.dumps({k: v for k, v in row.items() if k != "moved"}) + "\n" for row in older))
    assert all("moved" in row for row in sweep_command.run(profile, named, 3, 0, kept)["results"])
    assert len(trained) == 9
