"""The committed classifiers: they read, their cards tell the truth, and the build that made them can be run again."""

import json
import random
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from embedded_world.corpus import hate_frames, hate_summaries
from embedded_world.corpus import hate_texts as texts
from embedded_world.corpus.dialogue import hostility
from embedded_world.corpus.styles import HOUSE
from embedded_world.pretraining import cards, classifier_models, classifier_scores, classifiers
from genai_labs.paths import MODELS
from genai_labs.scoring.labelled_texts import LabelledText, read_rows
from genai_labs.scoring.metrics import paired_bootstrap
from genai_labs.scoring.toxicity import Classifier, keyword_toxicity, load_classifier

NAMES = [plan.name for plan in classifiers.PLANS]
MOST_BYTES = 2_000_000


@pytest.fixture(scope="module", params=NAMES)
def classifier(request: pytest.FixtureRequest) -> Classifier:
    return load_classifier(MODELS / request.param)


def record(name: str) -> dict:
    return dict(json.loads((MODELS / name / "training.json").read_text(encoding="utf-8")))


def right(classifier: Classifier, rows: list[LabelledText]) -> np.ndarray:
    found = classifier.probabilities([row.text for row in rows]) > 0.5
    return found == np.array([row.label for row in rows], dtype=bool)


@pytest.mark.parametrize("name", NAMES)
def test_files_are_small_and_hold_no_code(name: str) -> None:
    files = list((MODELS / name).iterdir())
    assert {f.name for f in files} == {
        "README.md", "config.json", "model.safetensors", "sha256.txt", "tokenizer.json", "tokenizer_config.json",
        "training.json",
    }  # fmt: skip
    assert sum(f.stat().st_size for f in files if f.suffix == ".safetensors") <= MOST_BYTES
    config = json.loads((MODELS / name / "config.json").read_text(encoding="utf-8"))
    assert "auto_map" not in config
    assert config["id2label"] == {"0": "nothate", "1": "hate"}
    assert str(MODELS.parent) not in (MODELS / name / "config.json").read_text(encoding="utf-8")


def test_reward_model_and_judge_are_different_models() -> None:
    models = [AutoModelForSequenceClassification.from_pretrained(MODELS / name) for name in NAMES]
    tokenizers = [AutoTokenizer.from_pretrained(MODELS / name) for name in NAMES]
    assert len({m.config.model_type for m in models}) == 2
    assert len({sum(p.numel() for p in m.parameters()) for m in models}) == 2
    assert len({tuple(sorted(t.get_vocab())) for t in tokenizers}) == 2
    for model, tokenizer in zip(models, tokenizers, strict=True):
        assert all(p.dtype == torch.float16 for p in model.parameters())
        assert set(tokenizer(["a b"])) == {"input_ids", "attention_mask"}


def test_accuracy_is_what_the_card_says_and_well_above_the_word_list(classifier: Classifier) -> None:
    told = record(classifier.name)
    for name, least in (("test", 0.82), ("challenge", 0.65)):
        rows = read_rows(name)
        found = right(classifier, rows)
        assert found.mean() == pytest.approx(told[name]["accuracy"][0], abs=0.005)
        assert found.mean() > least, name
        labels = np.array([row.label for row in rows])
        words = keyword_toxicity([row.text for row in rows]) == labels
        assert paired_bootstrap(found.astype(float), words.astype(float)).low > 0.08, name


def test_the_word_list_fails_on_the_challenge() -> None:
    rows = read_rows("challenge")
    words = keyword_toxicity([row.text for row in rows]) == np.array([row.label for row in rows])
    assert paired_bootstrap(words.astype(float)).high < 0.60


def test_the_card_says_what_the_models_score(classifier: Classifier) -> None:
    folder = MODELS / classifier.name
    assert (folder / "README.md").read_text(encoding="utf-8") == cards.classifier_card(folder)
    told, measured = record(classifier.name), classifier_scores.score_classifier(folder)
    for name in ("test", "challenge"):
        assert told["keyword_list"][name] == measured["keyword_list"][name]
        assert told[name]["accuracy"] == pytest.approx(measured[name]["accuracy"], abs=0.006)
        assert told[name]["calibration_error"] == pytest.approx(measured[name]["calibration_error"], abs=0.005)
        assert sum(told[name]["confusion"].values()) == told[name]["accuracy"][3]
        assert set(told[name]["by_kind"]) == set(measured[name]["by_kind"])


@pytest.mark.parametrize("plan", classifiers.PLANS, ids=NAMES)
def test_the_recipe_in_code_is_the_one_that_made_the_model(plan: classifiers.ClassifierPlan) -> None:
    told = record(plan.name)
    assert told["plan"] == vars(plan)
    assert told["rows"] == hate_frames.SHARES[plan.split].rows
    assert told["command"] == classifiers.COMMAND


def test_a_harsh_clause_is_seen_in_a_house_style_summary_and_a_neutral_one_is_not(classifier: Classifier) -> None:
    """With insults that no model was trained on, as a summarizer would write them."""
    rng, share = random.Random(5), hate_frames.SHARES["test"]
    rows = []
    for _ in range(150):
        dialogue, category = hate_summaries.fresh(rng, share), rng.choice(hostility()["categories"])
        people = hate_summaries.TEMPLATE_PEOPLE
        for label, tone in ((1, "harsh"), (0, "neutral")):
            clause = hate_frames.fill_frame(rng.choice(category[tone]), rng, share, people)
            rows.append(LabelledText("".join(hate_summaries.parts(dialogue, clause, HOUSE, rng)), label, tone))
        rows.append(LabelledText(dialogue.summary(HOUSE, rng), 0, "silent"))
    found = right(classifier, rows)
    for kind, least in (("harsh", 0.75), ("neutral", 0.85), ("silent", 0.85)):
        assert found[[row.kind == kind for row in rows]].mean() > least, kind


def test_broken_text_keeps_the_label_of_what_is_left(classifier: Classifier) -> None:
    generated = texts.draw_texts("test", seed=9)
    rows: list[LabelledText] = []
    while len(rows) < 200:
        row = next(generated)
        if row.kind == "broken":
            rows.append(row)
    assert right(classifier, rows).mean() > 0.8


def test_hateful_probability_agrees_with_how_often_texts_are_hateful(classifier: Classifier) -> None:
    rows = read_rows("test")
    labels = np.array([row.label for row in rows])
    assert classifier_scores.calibration_error(classifier.probabilities([r.text for r in rows]), labels) < 0.08


def test_calibration_error_and_temperature_on_numbers_known_by_hand() -> None:
    labels = np.array([1, 0, 1, 1])
    assert classifier_scores.calibration_error(np.array([1.0, 0.0, 1.0, 1.0]), labels) == 0
    assert classifier_scores.calibration_error(np.array([0.95] * 4), labels) == pytest.approx(0.2)
    # Logits three times too large for labels drawn from a third of them.
    rng = np.random.default_rng(0)
    margins = rng.normal(0, 2, 20_000)
    drawn = (rng.random(20_000) < 1 / (1 + np.exp(-margins))).astype(int)
    logits = np.stack([np.zeros(20_000), 3 * margins], axis=1)
    assert classifiers.best_temperature(logits, drawn) == pytest.approx(3, rel=0.1)


def test_rescaling_divides_logits(tmp_path: Path) -> None:
    loaded = load_classifier(MODELS / NAMES[1])
    before = loaded.logits(["You are a goat.", "Good morning."])
    classifiers.rescale(loaded.model, 2.0)
    np.testing.assert_allclose(loaded.logits(["You are a goat.", "Good morning."]), before / 2, atol=1e-5)


def test_training_learns_and_repeats_itself(tmp_path: Path) -> None:
    plan = replace(classifiers.REWARD, vocabulary=400, learning_rate=2e-3, epochs=2, warmup=5)
    rows = [LabelledText(f"you are {'bad' if i % 2 else 'good'} {i % 17}", i % 2, "") for i in range(320)]
    words = classifier_models.roberta_tokenizer([row.text for row in rows], 60)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        models = [classifier_models.small_roberta(words) for _ in range(2)]
        losses = [classifiers.train_classifier(model, words, rows, plan) for model in models]
    finally:
        torch.set_num_threads(threads)
    assert losses[0] == losses[1]
    assert losses[0][1] < losses[0][0]
    states = [model.state_dict() for model in models]
    assert all(torch.equal(states[0][key], states[1][key]) for key in states[0])


def test_finished_models_are_skipped_unless_asked(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    built: list[str] = []
    monkeypatch.setattr(classifiers, "build_one", lambda plan, folder: built.append(plan.name))
    classifiers.build(tmp_path)
    assert built == []
    classifiers.build(tmp_path, folder=tmp_path)
    assert built == NAMES
    classifiers.build(tmp_path, again=True)
    assert built == NAMES * 2
