"""The labs in the real world's shape: FLAN-T5's own tokenizer, real DialogSum rows, weights that nobody trained.

The real weights cannot be had where the tests run. Folders laid out as the hub's repositories stand in for them, so
that loading, prompts, training and measuring are the real code on the real layout; what cannot be measured on random
weights must be said, and nothing else may be claimed.
"""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import (
    AutoConfig,
    AutoModelForSeq2SeqLM,
    AutoTokenizer,
    RobertaConfig,
    RobertaForSequenceClassification,
)

from genai_labs.course import execution, runner
from genai_labs.errors import LabError
from genai_labs.loading import data, models
from genai_labs.loading.checksums import SUMS
from genai_labs.loading.profiles import SOURCES, load_profile
from genai_labs.paths import MODELS, ROOT
from genai_labs.scoring import toxicity
from genai_labs.scoring.metrics import rouge_scores

SHARED = ROOT.parent / "shared" / "data"
FLAN = SHARED / "flan-t5-small"
needs_shared = pytest.mark.skipif(
    not FLAN.exists(), reason="FLAN-T5's tokenizer and DialogSum lie outside the repository"
)


def flan_stand_in(folder: Path) -> Path:
    """FLAN-T5's tokenizer and configuration, but narrow, with random weights and an lm_head of its own."""
    shutil.copytree(FLAN, folder)
    config = AutoConfig.from_pretrained(folder)
    config.d_model, config.d_ff, config.d_kv, config.num_heads = 64, 128, 16, 4
    config.num_layers = config.num_decoder_layers = 2
    torch.manual_seed(0)
    model = AutoModelForSeq2SeqLM.from_config(config)
    model.lm_head.weight = torch.nn.Parameter(torch.randn_like(model.lm_head.weight) * 0.05)
    model.save_pretrained(folder)
    return folder


def classifier_stand_in(folder: Path, pickle: bool = False) -> Path:
    """A random RoBERTa with the labels of the hub's hate-speech model, the first seed that the probe lets pass."""
    shutil.copytree(MODELS / "hate-mini", folder, ignore=shutil.ignore_patterns(SUMS))  # it is changed on purpose
    shape = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    config = RobertaConfig(
        **{name: shape[name] for name in ("vocab_size", "pad_token_id", "bos_token_id", "eos_token_id")}
    )
    config.hidden_size, config.num_hidden_layers, config.num_attention_heads, config.intermediate_size = 32, 1, 2, 32
    config.max_position_embeddings = 386
    config.id2label, config.label2id = {0: "nothate", 1: "hate"}, {"nothate": 0, "hate": 1}
    for seed in range(100):
        torch.manual_seed(seed)
        model = RobertaForSequenceClassification(config)
        model.save_pretrained(folder)
        try:
            toxicity.check_reward(toxicity.load_classifier(folder))
        except LabError:
            continue
        if pickle:
            (folder / "model.safetensors").unlink()
            torch.save(model.state_dict(), folder / "pytorch_model.bin")
        return folder
    raise AssertionError("no seed of a hundred has the two probes in their order")


@pytest.fixture(scope="module")
def stand_ins(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("hub")
    return {
        "model": flan_stand_in(folder / "flan"),
        "reward_model": classifier_stand_in(folder / "hate"),
        "judge": classifier_stand_in(folder / "judge", pickle=True),
        "dataset": SHARED / "dialogsum",
    }


@needs_shared
def test_flan_t5s_tokenizer_and_its_own_lm_head_are_kept(stand_ins: dict[str, Path]) -> None:
    model, tokenizer = models.load_model(replace(load_profile("flan-t5-small"), model=str(stand_ins["model"])))
    assert tokenizer("What time is it, Tom?")["input_ids"] == [363, 97, 19, 34, 6, 3059, 58, 1]
    assert not torch.equal(model.lm_head.weight, model.shared.weight)
    assert AutoTokenizer.from_pretrained(FLAN)("Hello.")["input_ids"] == tokenizer("Hello.")["input_ids"]


@needs_shared
def test_a_pickle_is_read_as_weights_only(stand_ins: dict[str, Path]) -> None:
    judge = toxicity.load_classifier(stand_ins["judge"])
    assert (judge.hate, judge.nothate) == (1, 0)
    assert np.isfinite(judge.logits(["tea"])).all()


@needs_shared
def test_rouge_is_that_of_rouge_score_on_real_rows() -> None:
    from rouge_score.rouge_scorer import RougeScorer

    rows = [row for split in ("train", "validation", "test") for row in data.load_split(SHARED / "dialogsum", split)]
    pairs = [(row.dialogue.splitlines()[0], row.summary) for row in rows][:500]
    scorer = RougeScorer(["rouge1"], use_stemmer=True)
    theirs = [scorer.score(target=summary, prediction=text)["rouge1"].fmeasure for text, summary in pairs]
    ours = rouge_scores([text for text, _ in pairs], [[summary] for _, summary in pairs])
    np.testing.assert_allclose(ours, theirs, atol=1e-12)
    assert len(pairs) == 500


@needs_shared
@pytest.mark.slow
@pytest.mark.parametrize("lab", [1, 2, 3])
def test_a_lab_runs_unchanged_and_claims_nothing_that_random_weights_cannot_show(
    lab: int, stand_ins: dict[str, Path], tmp_path: Path
) -> None:
    environment = execution.kernel_environment("flan-t5-small", tmp_path)
    environment |= {SOURCES[part]: str(folder) for part, folder in stand_ins.items()}
    assert runner.run_lab(lab, runner.find_notebooks([lab])[lab], environment, tmp_path), "a cell failed"
    rows = {row["id"]: row for row in runner.read_lessons(tmp_path / runner.LESSONS)}
    assert len(rows) >= 10
    # What only a model that has learned something can show.
    learned = {1: ("1.2", "1.6"), 2: ("2.1", "2.8", "2.14"), 3: ("3.5", "3.9", "3.15", "3.16")}[lab]
    assert not [lesson for lesson in learned if rows[lesson]["holds"]]
