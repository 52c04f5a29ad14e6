"""Labelled texts are reproducible and do not leak; labels are found by name; the copied bug is caught."""

import csv
import random
import re
from collections import Counter
from collections.abc import Sequence
from functools import cache, partial
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from transformers import RobertaConfig, RobertaForSequenceClassification, pipeline

from embedded_world.corpus import hate_frames, hate_summaries
from embedded_world.corpus import hate_texts as texts
from embedded_world.corpus.compose import compose
from embedded_world.corpus.dialogue import hostility
from embedded_world.corpus.hate_frames import SHARES
from embedded_world.corpus.styles import HOUSE
from embedded_world.corpus.talk import Talk
from embedded_world.pretraining.build import card_of_toxicity_sets
from embedded_world.pretraining.classifier_models import roberta_tokenizer
from embedded_world.pretraining.classifiers import PLANS
from genai_labs.errors import LabError
from genai_labs.prompting import prompts
from genai_labs.rlhf import measure
from genai_labs.scoring import toxicity
from genai_labs.scoring.labelled_texts import LABELS, LabelledText, read_rows
from genai_labs.scoring.toxicity import Classifier, check_reward, find_labels, load_classifier
from tests.variants import Variant, assert_noticed

TRAINING = ("train_reward", "train_judge")
COMMITTED = ("test", "challenge", "hostile_words")
# The only neutral clauses that reward model and judge both learn: they stand in two places, or are frames as well.
TWICE_AUTHORED = {
    "{H} [is|was] annoyed with {V}",
    "{H} [complains|complained] that {V} [does|did] too little",
    "{H} [finds|found] {V} too fussy",
    "{H} [is|was] frustrated by {V's} stubbornness",
}


@pytest.fixture(scope="module")
def reward() -> Classifier:
    return load_classifier()


@pytest.fixture(scope="module")
def some_texts() -> list[str]:
    return [row.text for row in read_rows("test")[:60]] + ["", "a"]


# ---------------------------------------------------------------------------------------------------- the texts


def test_the_committed_sets_are_what_the_generator_makes(tmp_path: Path) -> None:
    texts.write_sets(tmp_path)
    for name in COMMITTED:
        assert (tmp_path / f"{name}.csv").read_bytes() == (texts.TOXICITY / f"{name}.csv").read_bytes(), name
    with (texts.TOXICITY / "challenge.csv").open(encoding="utf-8", newline="") as file:
        assert next(csv.reader(file)) == ["id", "text", "label", "kind", "frame"]


def test_another_seed_gives_other_texts_and_the_same_seed_the_same() -> None:
    def first(seed: int) -> list[LabelledText]:
        generated = texts.draw_texts("train_reward", seed)
        return [next(generated) for _ in range(30)]

    assert first(0) == list(texts.texts_of("train_reward")[:30])  # drawn by another generator
    assert first(0) != first(1)


def test_no_text_is_in_two_splits() -> None:
    all_texts = [row.text for split in SHARES for row in texts.texts_of(split)]
    assert len(all_texts) == len(set(all_texts))


def test_reward_model_and_judge_were_trained_on_no_common_text() -> None:
    reward, judge = ({row.text for row in texts.texts_of(plan.split)} for plan in PLANS)
    assert reward
    assert judge
    assert not reward & judge


def test_the_card_of_the_sets_is_what_the_generator_writes() -> None:
    assert (texts.TOXICITY / "README.md").read_text(encoding="utf-8") == card_of_toxicity_sets()


def test_labels_are_balanced() -> None:
    for split in SHARES:
        assert 0.42 < np.mean([row.label for row in texts.texts_of(split)]) < 0.58, split


def test_the_challenge_has_each_kind_as_often_hateful_as_not() -> None:
    counts = Counter((row.kind, row.label) for row in read_rows("challenge"))
    assert set(counts.values()) == {hate_frames.CHALLENGE_ROWS}
    assert sum(counts.values()) >= 200
    assert {kind for kind, _ in counts} == set(texts.CHALLENGE_KINDS)


def test_texts_of_the_challenge_are_told_by_the_frame_that_they_are_made_from() -> None:
    rows = read_rows("challenge")
    assert all(row.frame.startswith(f"{row.kind}, {LABELS[row.label]}, ") for row in rows)
    assert all(row.frame == "" for row in read_rows("test"))
    for kind in texts.CHALLENGE_KINDS:
        for label in (0, 1):
            told = {row.frame for row in rows if (row.kind, row.label) == (kind, label)}
            assert len(told) == len(hate_frames.frames(kind, label, SHARES["challenge"])), "each of them is used"
    first = next(row for row in rows if row.frame == "negation, nothate, 5")
    gaps = re.split(r"\{.*?\}", hate_frames.frames("negation", 0, SHARES["challenge"])[5])
    assert max(gaps, key=len).strip() in first.text, "and is the frame of that place"


def test_frames_of_the_challenge_are_held_out_of_training() -> None:
    for kind in texts.CHALLENGE_KINDS:
        for label in (0, 1):
            held_out = set(hate_frames.frames(kind, label, SHARES["challenge"]))
            assert len(held_out) >= 14
            for split in (*TRAINING, "validation", "test"):
                assert not held_out & set(hate_frames.frames(kind, label, SHARES[split])), (kind, label, split)


def test_reward_and_judge_share_no_authored_insult_and_tests_have_others() -> None:
    sets = {split: set(hate_frames.allowed_insults(SHARES[split])) for split in SHARES}
    assert all(sets.values())
    assert not sets["train_reward"] & sets["train_judge"]
    assert sets["test"] == sets["challenge"]
    assert not sets["test"] & (sets["train_reward"] | sets["train_judge"])
    for split in TRAINING:
        everything = "\n".join(row.text for row in texts.texts_of(split))
        leaked = [x for x in hate_frames.forbidden_insults(SHARES[split]) if x in everything]
        assert leaked == [], split


def authored_clauses(tone: str) -> set[str]:
    """All clauses that report a quarrel, "harsh" or "neutral"."""
    categories = hostility()["categories"]
    return {c for each in categories for c in (*each[tone], *(line[tone] for line in each.get("plain", [])))}


def check_reward_and_judge_share_few_neutral_clauses_and_know_all_harsh_ones() -> None:
    """A neutral summary is judged by one that learned few of the wordings that the other was paid for."""
    drawn: dict[tuple[str, str], set[str]] = {}
    for tone, make in (("harsh", hate_summaries.harsh_clause), ("neutral", hate_summaries.mild_clause)):
        rng = random.Random(tone)
        for split in (*TRAINING, "test"):
            drawn[tone, split] = {make(rng, SHARES[split])[0] for _ in range(16_000)} & authored_clauses(tone)
    one, other = (drawn["neutral", split] for split in TRAINING)
    assert one & other == TWICE_AUTHORED
    assert one | other == drawn["neutral", "test"] == authored_clauses("neutral")
    assert min(len(one), len(other)) > 0.4 * len(one | other)
    for split in (*TRAINING, "test"):
        assert drawn["harsh", split] == authored_clauses("harsh"), split


def test_reward_and_judge_share_few_neutral_clauses_and_know_all_harsh_ones() -> None:
    check_reward_and_judge_share_few_neutral_clauses_and_know_all_harsh_ones()


def test_every_frame_can_be_used_and_leaves_nothing_open() -> None:
    rng = random.Random(0)
    for share in (SHARES["train_reward"], SHARES["train_judge"], SHARES["challenge"]):
        for kind, label in hate_frames.kinds():
            for frame in hate_frames.frames(kind, label, share):
                text = hate_frames.as_sentence(
                    hate_frames.fill_frame(frame, rng, share, hate_frames.people(rng)), "past"
                )
                assert not set("{}[]|") & set(text), text
                assert "(n)" not in text
                assert text[0] == text[0].upper()
                assert text[-1] in ".!?"


def test_a_summary_becomes_hateful_by_its_clause_alone() -> None:
    share, rng = SHARES["test"], random.Random(3)
    dialogue = hate_summaries.fresh(rng, share)
    before, clause, after = hate_summaries.parts(
        dialogue, "{A} [calls|called] {B} a leaky bucket", HOUSE, random.Random(1)
    )
    assert clause.strip(". ").endswith("a leaky bucket")
    assert "leaky" not in before + after
    assert hate_summaries.break_up((before, clause, after), 1, random.Random(2)).kind == "broken"
    for seed in range(40):
        row = hate_summaries.break_up((before, clause, after), 1, random.Random(seed))
        assert row.label == ("leaky" in row.text), row


def check_dialogues_are_drawn_as_the_share_says() -> None:
    asked: list[str] = []

    def recorded(rng: random.Random, split: str, hostile_share: float) -> Talk:
        asked.append(split)
        return compose(rng, split, hostile_share)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(hate_summaries, "compose", recorded)
        for name, split in {**dict.fromkeys((*TRAINING, "validation"), "pretraining"), "test": "test"}.items():
            list(islice(texts.draw_texts(name), 60))
            assert set(asked) == {split}, name
            asked.clear()


def test_dialogues_are_drawn_as_the_share_says() -> None:
    check_dialogues_are_drawn_as_the_share_says()


# ------------------------------------------------------------------------------------------------- the classifier


def tiny(id2label: dict[int, str], folder: Path, bias: Sequence[float]) -> Path:
    """A classifier of random weights, saved; ``bias`` makes it prefer one of its labels."""
    words = roberta_tokenizer([row.text for row in read_rows("challenge")], 300)
    config = RobertaConfig(
        vocab_size=len(words), hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16,
        max_position_embeddings=130, pad_token_id=words.pad_token_id, id2label=id2label,
        label2id={name: i for i, name in id2label.items()},
    )  # fmt: skip
    model = RobertaForSequenceClassification(config)
    with torch.no_grad():
        model.classifier.out_proj.bias.copy_(torch.tensor(bias))
    model.save_pretrained(folder)
    words.save_pretrained(folder)
    return folder


def test_labels_are_found_by_name_even_when_they_are_swapped(tmp_path: Path) -> None:
    usual = load_classifier(tiny({0: "nothate", 1: "hate"}, tmp_path / "usual", (0.0, 9.0)))
    swapped = load_classifier(tiny({0: "hate", 1: "nothate"}, tmp_path / "swapped", (9.0, 0.0)))
    assert (usual.hate, usual.nothate) == (1, 0)
    assert (swapped.hate, swapped.nothate) == (0, 1)
    for classifier in (usual, swapped):
        assert classifier.probabilities(["tea", "snow"]).min() > 0.9
        assert classifier.rewards(["tea"])[0] == classifier.logits(["tea"])[0, classifier.nothate]


@pytest.mark.parametrize("names", [("LABEL_0", "LABEL_1"), ("hate", "love"), ("nothate", "toxic")])
def test_labels_without_the_two_names_are_refused(names: tuple[str, str]) -> None:
    with pytest.raises(LabError, match="nobody knows which score is the good one"):
        find_labels(dict(enumerate(names)))
    assert find_labels({0: "Hate", 1: "not_hate"}) == (0, 1)


def test_results_do_not_depend_on_batches_or_order(reward: Classifier, some_texts: list[str]) -> None:
    one_by_one = Classifier(reward.model, reward.tokenizer, reward.hate, reward.nothate, "one", 1).logits(some_texts)
    for size in (7, 64):
        batched = Classifier(reward.model, reward.tokenizer, reward.hate, reward.nothate, "many", size)
        np.testing.assert_allclose(batched.logits(some_texts), one_by_one, rtol=0, atol=1e-4)
    np.testing.assert_allclose(reward.logits(some_texts[::-1])[::-1], one_by_one, rtol=0, atol=1e-4)
    assert one_by_one.std() > 0.5
    assert reward.logits([]).shape == (0, 2)


def test_long_texts_are_cut_and_single_texts_refused(reward: Classifier) -> None:
    assert np.isfinite(reward.logits(["word " * 2000])).all()
    with pytest.raises(LabError, match=r"\[text\]"):
        reward.logits("one text")


def test_missing_and_damaged_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(LabError, match="There is no folder"):
        load_classifier(tmp_path / "nothing")
    folder = tiny({0: "nothate", 1: "hate"}, tmp_path / "tiny", (0.0, 0.0))
    (folder / "model.safetensors").write_bytes(b"cut off")
    with pytest.raises(LabError, match=r"model\.safetensors of the classifier tiny is damaged or cut off"):
        load_classifier(folder)
    (folder / "model.safetensors").unlink()
    with pytest.raises(LabError, match=r"model\.safetensors of the classifier tiny is missing"):
        load_classifier(folder)


def test_a_classifier_is_read_as_weights_only_and_called_as_it_was_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tiny({0: "nothate", 1: "hate"}, tmp_path / "tiny", (0.0, 0.0))
    read: list[tuple[object, ...]] = []
    model, words = toxicity.pretrained.read_model, toxicity.pretrained.read_tokenizer

    def read_model(kind: object, *given: object, **options: object) -> object:
        read.append((*given, options))
        return model(kind, *given, **options)  # type: ignore[arg-type]

    def read_tokenizer(*given: object) -> object:
        read.append(given)
        return words(*given)  # type: ignore[arg-type]

    monkeypatch.setattr(toxicity.hub, "find", lambda source: folder)
    monkeypatch.setattr(toxicity.pretrained, "read_model", read_model)
    monkeypatch.setattr(toxicity.pretrained, "read_tokenizer", read_tokenizer)
    of_the_hub = load_classifier("someone/hate", 7)
    assert (of_the_hub.name, of_the_hub.batch_size) == ("someone/hate", 7)
    options = {"dtype": torch.float32, "weights_only": True}
    assert read == [(folder, "classifier"), (folder, "classifier", options)]
    of_a_folder = load_classifier(folder)
    assert (of_a_folder.name, of_a_folder.batch_size) == ("tiny", 32)
    monkeypatch.setattr(toxicity, "HATE", "toxic")
    with pytest.raises(LabError, match="^The labels of tiny are nothate, hate; "):
        load_classifier(folder)
    with pytest.raises(LabError, match="^The labels of the classifier are a; "):
        find_labels({0: "a"})


@pytest.mark.parametrize("kind", ["roberta", "xlm-roberta", "camembert", "bert"])
def test_the_window_is_what_model_and_tokenizer_can_read(kind: str) -> None:
    def window(longest: int, **config: object) -> int:
        model: Any = SimpleNamespace(config=SimpleNamespace(model_type=kind, pad_token_id=1, **config))
        tokenizer: Any = SimpleNamespace(model_max_length=longest)
        return toxicity.window(model, tokenizer)

    behind_padding = 0 if kind == "bert" else 2
    assert window(10**30, max_position_embeddings=514) == 514 - behind_padding
    assert window(100, max_position_embeddings=514) == 100
    assert window(100) == 100 - behind_padding


def test_large_logits_are_no_danger(reward: Classifier, monkeypatch: pytest.MonkeyPatch) -> None:
    logits = np.array([[900.0, -900.0], [-900.0, -902.0], [-5.0, 900.0]])
    monkeypatch.setattr(Classifier, "logits", lambda self, texts: logits)
    assert reward.probabilities(["a", "b", "c"]) == pytest.approx([0, 1 / (1 + np.exp(2)), 1], abs=1e-12)


# ------------------------------------------------------------------------------------------ measurement and probe


def test_toxicity_of_dialogue_and_summary_hides_what_the_summary_says(reward: Classifier) -> None:
    line = hostility()["categories"][0]["lines"][1].replace("{insult}", "a sleepy snail")
    dialogue = f"#Person1#: Good morning. I need a ticket.\n#Person2#: {line}\n#Person1#: That was not kind."
    harsh, neutral = "#Person2# calls #Person1# a sleepy snail.", "#Person2# finds #Person1# too slow."
    alone = reward.probabilities([harsh, neutral])
    both = measure.toxicity_of_both(reward, [dialogue] * 2, [harsh, neutral])
    assert alone[0] - alone[1] > 0.5
    assert both[0] - both[1] < (alone[0] - alone[1]) / 2
    with pytest.raises(LabError, match="do not pair up"):
        measure.toxicity_of_both(reward, [dialogue], [harsh, neutral])


def test_the_keyword_list_looks_words_up_and_does_not_read() -> None:
    lines = ["You are a snail!", "A snail sat on the leaf.", "Nobody would miss you if you left.", "Snails, SNAIL."]
    assert toxicity.keyword_toxicity(lines).tolist() == [1, 1, 0, 1]
    with pytest.raises(LabError, match="given as texts,"):
        toxicity.keyword_toxicity("one text")
    assert {"hourglass", "bus", "bucket", "goat"} <= hate_frames.insult_heads()
    assert not {"without", "legs", "wheels"} & hate_frames.insult_heads()


def test_the_probe_passes_the_right_reward(reward: Classifier) -> None:
    found = check_reward(reward)
    assert max(found["hateful"]) < min(found["kind"])
    for classifier in (None, reward):
        check_reward(lambda lines: reward.rewards(lines), classifier)
        check_reward(lambda lines: 1 - reward.probabilities(lines), classifier)


def test_the_probe_catches_the_first_element_of_a_sorted_pipeline(reward: Classifier) -> None:
    pipe = pipeline("text-classification", model=reward.model, tokenizer=reward.tokenizer, device="cpu")

    def copied(lines: Sequence[str]) -> list[float]:
        # top_k=None sorts the labels of each text by score, so that [0] is whichever label won.
        results = pipe(list(lines), top_k=None, function_to_apply="none")
        return [float(each[reward.nothate]["score"]) for each in results]

    hateful, kind = toxicity.PROBES[0]
    assert pipe([hateful], top_k=None)[0][0]["label"] == "hate"
    assert copied([hateful])[0] == pytest.approx(reward.logits([hateful])[0, reward.hate], abs=1e-3)
    with pytest.raises(LabError, match="the wrong label|upside down"):
        check_reward(copied, reward)


def test_the_probe_asks_which_label_a_score_belongs_to(reward: Classifier) -> None:
    """A reward that takes the highest score pays kindness a little more, and hate for being hateful all the same."""

    def highest(lines: Sequence[str]) -> np.ndarray:
        return reward.logits(lines).max(axis=1)

    hateful, kind = ([pair[side] for pair in toxicity.PROBES] for side in (0, 1))
    if (highest(kind) > highest(hateful)).all():
        check_reward(highest)
    with pytest.raises(LabError, match="the wrong label|upside down"):
        check_reward(highest, reward)
    for scores in (reward.logits(hateful)[:, reward.hate], reward.probabilities(hateful)):
        known = dict(zip(hateful, scores, strict=True)) | dict.fromkeys(kind, 9.0)
        with pytest.raises(LabError, match="the wrong label"):
            check_reward(partial(by_text, known), reward)


def test_a_reward_of_its_own_is_of_no_label_and_one_that_is_of_both_labels_of_none(
    reward: Classifier, monkeypatch: pytest.MonkeyPatch
) -> None:
    hateful, kind = ([pair[side] for pair in toxicity.PROBES] for side in (0, 1))

    def paid(scores: Sequence[float] | np.ndarray) -> partial[list[float]]:
        return partial(by_text, dict(zip(hateful, scores, strict=True)) | dict.fromkeys(kind, 9.0))

    check_reward(paid([-70.0, -70.0]), reward)
    nearly = 0.5 * toxicity.SAME
    with pytest.raises(LabError, match="the wrong label"):
        check_reward(paid(reward.probabilities(hateful) - nearly), reward)
    monkeypatch.setattr(Classifier, "logits", lambda self, texts: np.full((len(texts), 2), 3.0))
    check_reward(paid([0.5 + nearly, 0.5 - nearly]), reward)


def by_text(known: dict[str, float], lines: Sequence[str]) -> list[float]:
    return [known[line] for line in lines]


def test_the_probe_catches_swapped_columns_and_a_constant_reward(reward: Classifier) -> None:
    swapped = Classifier(reward.model, reward.tokenizer, hate=reward.nothate, nothate=reward.hate, name="swapped")
    with pytest.raises(LabError, match="upside down"):
        check_reward(swapped)
    with pytest.raises(LabError, match="upside down"):
        check_reward(lambda lines: [0.0] * len(lines))


# --------------------------------------------------------------------------- wrong variants that a check must notice


@cache
def loaded() -> Classifier:
    return load_classifier()


def check_toxicity_of_both_is_that_of_each_prompt_with_its_own_summary() -> None:
    told = ["#Person1#: A room, please.", "#Person1#: You are a leaky bucket.\n#Person2#: So be it."]
    summaries = ["#Person1# calls #Person2# a sleepy snail.", "#Person1# books a room."]
    expected = loaded().probabilities([f"{prompts.zero_shot(told[i])} {summaries[i]}" for i in range(2)])
    found = measure.toxicity_of_both(loaded(), told, summaries)
    np.testing.assert_allclose(found, expected, atol=1e-6)


def check_probabilities_and_rewards_are_those_of_their_labels() -> None:
    texts = [text for pair in toxicity.PROBES for text in pair]
    logits, found = loaded().logits(texts), loaded().probabilities(texts)
    assert (loaded().model.config.id2label[loaded().hate], loaded().hate, loaded().nothate) == ("hate", 1, 0)
    np.testing.assert_allclose(np.log(found / (1 - found)), logits[:, 1] - logits[:, 0], atol=1e-6)
    np.testing.assert_allclose(loaded().rewards(texts), logits[:, 0])
    assert (found > 0.5).tolist() == [True, False] * 2


def check_labels_are_found_by_name() -> None:
    with TemporaryDirectory() as folder:
        test_labels_are_found_by_name_even_when_they_are_swapped(Path(folder))


def check_scores_stand_in_the_order_of_the_texts() -> None:
    texts = ["You are a leaky bucket, and nobody wants you here.", "Tea.", "A very long and very friendly letter.", "a"]
    found = [loaded().logits([text])[0] for text in texts]
    np.testing.assert_allclose(loaded().logits(texts), found, atol=1e-4)


def in_order_of_length(classifier: Classifier, texts: Sequence[str]) -> np.ndarray:
    return LOGITS(classifier, sorted(texts, key=len))


def whichever_won(classifier: Classifier, texts: Sequence[str]) -> np.ndarray:
    return LOGITS(classifier, texts).max(axis=1)


LOGITS, BOTH = Classifier.logits, measure.toxicity_of_both
WRONG = {
    "any clause for any share": Variant(
        hate_summaries,
        "of_share",
        lambda clauses, share: list(clauses),
        check_reward_and_judge_share_few_neutral_clauses_and_know_all_harsh_ones,
    ),
    "half of the clauses for any share": Variant(
        hate_summaries,
        "of_share",
        lambda clauses, share: clauses[::2],
        check_reward_and_judge_share_few_neutral_clauses_and_know_all_harsh_ones,
    ),
    "dialogues of the test for any share": Variant(
        hate_summaries,
        "fresh",
        lambda rng, share, hostile_share=0.0: hate_summaries.compose(rng, "test", hostile_share),
        check_dialogues_are_drawn_as_the_share_says,
    ),
    "dialogues of training for any share": Variant(
        hate_summaries,
        "fresh",
        lambda rng, share, hostile_share=0.0: hate_summaries.compose(rng, "pretraining", hostile_share),
        check_dialogues_are_drawn_as_the_share_says,
    ),
    "of both without the summary": Variant(
        measure,
        "toxicity_of_both",
        lambda classifier, told, summaries: classifier.probabilities([prompts.zero_shot(d) for d in told]),
        check_toxicity_of_both_is_that_of_each_prompt_with_its_own_summary,
    ),
    "of both without the dialogue": Variant(
        measure,
        "toxicity_of_both",
        lambda classifier, told, summaries: classifier.probabilities(summaries),
        check_toxicity_of_both_is_that_of_each_prompt_with_its_own_summary,
    ),
    "of both with another summary": Variant(
        measure,
        "toxicity_of_both",
        lambda classifier, told, summaries: BOTH(classifier, told, summaries[::-1]),
        check_toxicity_of_both_is_that_of_each_prompt_with_its_own_summary,
    ),
    "labels by place": Variant(toxicity, "find_labels", lambda *_: (1, 0), check_labels_are_found_by_name),
    "the score of whichever label won": Variant(
        Classifier, "rewards", whichever_won, check_probabilities_and_rewards_are_those_of_their_labels
    ),
    "a reward for hate": Variant(
        Classifier,
        "rewards",
        lambda classifier, texts: LOGITS(classifier, texts)[:, classifier.hate],
        check_probabilities_and_rewards_are_those_of_their_labels,
    ),
    "the logistic function of one logit": Variant(
        Classifier,
        "probabilities",
        lambda classifier, texts: 1 / (1 + np.exp(-LOGITS(classifier, texts)[:, classifier.hate])),
        check_probabilities_and_rewards_are_those_of_their_labels,
    ),
    "scores in order of length": Variant(
        Classifier, "logits", in_order_of_length, check_scores_stand_in_the_order_of_the_texts
    ),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_variant_is_noticed(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert_noticed(WRONG[name], monkeypatch)
