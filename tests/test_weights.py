"""Base weights in fewer bits: what an adapter on them learns, what is left alone, and what is refused."""

import importlib.util
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from transformers import AutoConfig, AutoModelForSeq2SeqLM

from genai_labs.errors import LabError
from genai_labs.finetuning import examples, lora, training
from genai_labs.finetuning.examples import Feature
from genai_labs.finetuning.training import Plan, finetune
from genai_labs.loading import data, models
from genai_labs.loading.profiles import Profile, Weights, load_profile
from genai_labs.paths import MODELS
from genai_labs.prompting import generation, prompts
from genai_labs.rlhf import ppo

PLAN = Plan(method="lora", epochs=2, batch_size=8, learning_rate=5e-3)


def profile(weights: Weights, folder: Path) -> Profile:
    """A random T5 whose widths bitsandbytes can cut into blocks of 64, beside the embedded model's tokenizer."""
    config = AutoConfig.from_pretrained(MODELS / "t5-mini")
    config.d_model, config.d_ff, config.d_kv, config.num_heads = 64, 128, 32, 2
    config.num_layers = config.num_decoder_layers = 2
    torch.manual_seed(0)
    AutoModelForSeq2SeqLM.from_config(config).save_pretrained(folder)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (folder / name).write_bytes((MODELS / "t5-mini" / name).read_bytes())
    return replace(load_profile("mini"), model=str(folder), weights=weights)


def rows() -> list[data.Row]:
    return data.load_split(load_profile("mini").dataset, "train")[:40]


def learns(
    loaded: models.PreTrainedModel, tokenizer: models.PreTrainedTokenizerBase, folder: Path
) -> training.FineTuning:
    """An adapter on the model lowers the loss, and the base stays as it was."""
    before = lora.fingerprint(loaded)
    made: list[Feature] = examples.features(rows(), tokenizer)
    run = finetune(loaded, tokenizer, made[:32], made[32:], PLAN, folder)
    assert run.history[1]["validation_loss"] < run.history[0]["validation_loss"]
    assert lora.fingerprint(loaded) == lora.fingerprint(run.model) == before
    trained = {p.dtype for p in run.model.parameters() if p.requires_grad}
    assert trained == {torch.float32}
    lora.save_adapter(run.model, folder / "adapter")
    again = lora.load_adapter(loaded, folder / "adapter")
    asked = prompts.fit_all(prompts.zero_shot, [row.dialogue for row in rows()[:2]], tokenizer)
    written = [generation.generate(m, tokenizer, asked, generation.greedy(8)) for m in (run.model, again)]
    assert written[0] == written[1]
    return run


def test_an_adapter_learns_on_weights_in_bf16(tmp_path: Path) -> None:
    model, tokenizer = models.load_model(profile("bf16", tmp_path / "base"))
    assert {p.dtype for p in model.parameters()} == {torch.bfloat16}
    learns(model, tokenizer, tmp_path / "run")
    settings = ppo.Settings(updates=1, batch_size=4, minibatch=2, epochs=1, max_new_tokens=8)
    policy = ppo.Policy(model, settings)
    asked = [prompts.zero_shot(row.dialogue) for row in rows()[:4]]
    run = ppo.train(policy, tokenizer, asked, lambda texts: torch.tensor([-1.0 * len(x) for x in texts]), settings)
    assert run.history[0]["kl"] == 0


@pytest.mark.parametrize("weights", ["8bit", "4bit"])
def test_an_adapter_learns_on_weights_of_few_bits(weights: Weights, tmp_path: Path) -> None:
    pytest.importorskip("bitsandbytes", reason="bitsandbytes, which is optional, is not installed")
    model, tokenizer = models.load_model(profile(weights, tmp_path / "base"))
    whole, _ = models.load_model(profile("fp32", tmp_path / "base"))
    assert model.get_memory_footprint() < 0.6 * whole.get_memory_footprint()
    learns(model, tokenizer, tmp_path / "run")


def test_few_bits_need_a_package_and_full_training_needs_fp32(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    model, tokenizer = models.load_model(replace(load_profile("mini"), weights="bf16"))
    made = examples.features(rows(), tokenizer)
    with pytest.raises(LabError, match=r"stored in bfloat16.*adapters only.*method='lora'.*0\.1 GB"):
        finetune(model, tokenizer, made[:32], made[32:], replace(PLAN, method="full"), tmp_path)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(LabError, match=r"4 bits.*pip install bitsandbytes"):
        models.load_model(replace(load_profile("mini"), weights="4bit"))


def test_checkpointing_keeps_fewer_activations_and_changes_no_step(tmp_path: Path) -> None:
    model, tokenizer = models.load_model(load_profile("mini"))
    made = examples.features(rows(), tokenizer)
    runs = [
        finetune(model, tokenizer, made[:32], made[32:], replace(PLAN, checkpointing=on), tmp_path / str(on))
        for on in (False, True)
    ]
    assert runs[1].history[1]["validation_loss"] == pytest.approx(runs[0].history[1]["validation_loss"], rel=1e-3)
    kept = [
        training.memory.activation_bytes(
            training.model_to_train(model, replace(PLAN, checkpointing=on)).train(),
            examples.collate(made[:4], tokenizer.pad_token_id),
        )
        for on in (False, True)
    ]
    assert kept[1] < 0.5 * kept[0]
    left_on = any(getattr(module, "gradient_checkpointing", False) for module in runs[1].model.modules())
    assert not left_on
