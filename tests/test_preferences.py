"""Preference pairs follow their stated rule, and a reward model learns from them."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from embedded_world.corpus import preferences as pairs
from genai_labs.errors import LabError
from genai_labs.paths import DIALOGUES
from genai_labs.rlhf import conflict, reward_model
from genai_labs.rlhf.preferences import Preference
from genai_labs.scoring.toxicity import load_classifier


@pytest.fixture(scope="module")
def rows() -> list[Preference]:
    return reward_model.read_preferences()


def test_the_committed_pairs_are_what_the_generator_makes(tmp_path: Path, rows: list[Preference]) -> None:
    pairs.write_preferences(tmp_path)
    assert (tmp_path / pairs.FILE).read_bytes() == (pairs.TOXICITY / pairs.FILE).read_bytes()
    assert list(pairs.preferences()) == rows
    assert list(pairs.preferences(seed=1)) != rows


def test_pairs_are_about_training_dialogues_with_a_quarrel(rows: list[Preference]) -> None:
    table = pd.read_csv(DIALOGUES / "train.csv", index_col="id")
    assert 400 <= len(rows) <= 600
    assert len({row.dialogue_id for row in rows}) == len(rows)
    by_id = dict(pairs.training_dialogues())
    for row in rows:
        assert by_id[row.dialogue_id].text == table.loc[row.dialogue_id, "dialogue"]
        assert by_id[row.dialogue_id].quarrel
        assert row.chosen != row.rejected


def test_the_majority_chose_and_annotators_disagree_sometimes(rows: list[Preference]) -> None:
    votes = np.array([row.votes for row in rows])
    assert votes.shape == (len(rows), 5)
    assert (votes.sum(axis=1) >= 3).all()
    assert 0.3 < (votes.sum(axis=1) < 5).mean() < 0.8


def test_strict_annotators_mind_insults_and_lenient_ones_mind_silence() -> None:
    lenient, strict = pairs.STRICTNESS[0], pairs.STRICTNESS[-1]
    assert pairs.worth("harsh", lenient) > pairs.worth("silent", lenient)
    assert pairs.worth("harsh", strict) < pairs.worth("silent", strict)
    for strictness in pairs.STRICTNESS:
        assert pairs.worth("neutral", strictness) > max(pairs.worth(k, strictness) for k in ("harsh", "silent"))


def test_a_few_labels_teach_what_people_prefer(rows: list[Preference]) -> None:
    """On one small run: better than chance by a margin, and the same again with the same seed."""
    run = reward_model.train_reward_model(rows, 64, seed=0, fresh=False, steps=40)
    assert run.accuracy.low > 0.6
    assert run.model.config.num_labels == 1
    again = reward_model.train_reward_model(rows, 64, seed=0, fresh=False, steps=40)
    np.testing.assert_allclose(run.rewards(["a", "b c"]), again.rewards(["a", "b c"]), atol=1e-4)


def test_held_out_pairs_are_not_learned_from(rows: list[Preference]) -> None:
    kept, held_out = reward_model.split_preferences(rows)
    assert len(held_out) == reward_model.HELD_OUT
    assert not {row.dialogue_id for row in kept} & {row.dialogue_id for row in held_out}
    with pytest.raises(LabError, match="none is left"):
        reward_model.split_preferences(rows[:150])
    with pytest.raises(LabError, match="Ask for 1 to"):
        reward_model.train_reward_model(rows, 10_000)


def test_accuracy_counts_ties_half(rows: list[Preference]) -> None:
    same = [Preference("a", "tea", "tea", (1,) * 5), Preference("b", "snow", "snow", (1,) * 5)]
    assert reward_model.pairwise_accuracy(load_classifier(), same).effect == 0.5


def test_agreement_is_the_share_of_votes_for_the_chosen(rows: list[Preference]) -> None:
    assert reward_model.agreement(rows).effect == pytest.approx(np.mean([sum(r.votes) / 5 for r in rows]))


def test_silence_pairs_differ_in_whether_the_conflict_is_reported() -> None:
    made = reward_model.silence_pairs(40)
    assert len(made) == 40
    assert conflict.reported([pair.chosen for pair in made]).mean() > 0.9
    assert not conflict.reported([pair.rejected for pair in made]).any()
    assert not conflict.repeated([text for pair in made for text in (pair.chosen, pair.rejected)]).any()
    assert reward_model.silence_pairs()[:40] == made
