"""Preference pairs follow their stated rule, and a reward model learns from them."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import trl

from embedded_world.corpus import preferences as pairs
from genai_labs.errors import LabError
from genai_labs.paths import DATA
from genai_labs.rlhf import conflict, preferences, reward_model
from genai_labs.rlhf.preferences import Preference
from genai_labs.scoring.toxicity import load_classifier
from tests.variants import Variant, assert_noticed


@pytest.fixture(scope="module")
def rows() -> list[Preference]:
    return reward_model.read_preferences()


def test_the_committed_pairs_are_what_the_generator_makes(tmp_path: Path, rows: list[Preference]) -> None:
    pairs.write_preferences(tmp_path)
    assert (tmp_path / pairs.FILE).read_bytes() == (pairs.TOXICITY / pairs.FILE).read_bytes()
    assert list(pairs.preferences()) == rows
    assert list(pairs.preferences(seed=1)) != rows


def test_pairs_are_about_training_dialogues_with_a_quarrel(rows: list[Preference]) -> None:
    table = pd.read_csv(DATA / "rlhf" / "harsh_summaries.csv")
    learned = table[(table["seed"] == 0) & (table["part"] == "harsh")].set_index("id")["dialogue"]
    assert 400 <= len(rows) <= 600
    assert len({row.dialogue_id for row in rows}) == len(rows)
    by_id = dict(pairs.training_dialogues())
    for row in rows:
        assert by_id[row.dialogue_id].text == learned[row.dialogue_id]
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
    assert run.scorer.model.config.num_labels == 1
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


def check_agreement_leaves_the_annotator_out() -> None:
    rows = [Preference("a", "x", "y", (1, 1, 1, 1, 0)), Preference("b", "x", "y", (1, 1, 1, 0, 0))]
    # In the second, whoever chose as most did faces two against two.
    assert preferences.each_against_the_others(rows).tolist() == [[1, 1, 1, 1, 0], [0.5, 0.5, 0.5, 0, 0]]
    assert reward_model.agreement(rows).effect == pytest.approx((4 + 1.5) / 10)


def test_agreement_leaves_the_annotator_out() -> None:
    check_agreement_leaves_the_annotator_out()


def check_a_vote_decides_its_pair(rows: list[Preference]) -> None:
    ballot = reward_model.make_ballot(rows, 6, seed=1)
    assert len(set(ballot.turned)) == 2, "all the same way round: this test shows nothing"
    for (row, turned), shown in zip(ballot.pairs(), ballot.table(), strict=True):
        assert (shown["a"], shown["b"]) == ((row.rejected, row.chosen) if turned else (row.chosen, row.rejected))
    of_most = ["b" if turned else "a" for turned in ballot.turned]
    counted, table = reward_model.count_votes(ballot, of_most, rows)
    assert (counted, table[0]["pairs"], table[0]["agrees"]) == (rows, 6, 1)
    others = ["a" if vote == "b" else "b" for vote in of_most]
    votes = [*others[:3], None, *others[4:]]
    counted, table = reward_model.count_votes(ballot, votes, rows)
    assert (table[0]["pairs"], table[0]["agrees"]) == (5, 0)
    for number, (found, row) in enumerate(zip(counted, rows, strict=True)):
        voted = number < 6 and votes[number] is not None
        assert (found.chosen, found.rejected) == ((row.rejected, row.chosen) if voted else (row.chosen, row.rejected))
        assert sum(found.votes) == (5 - sum(row.votes) if voted else sum(row.votes)), "votes are for what is chosen now"
    assert reward_model.count_votes(ballot, of_most, counted)[0] == rows, "a vote that was changed counts as it is now"


def test_a_vote_decides_its_pair(rows: list[Preference]) -> None:
    check_a_vote_decides_its_pair(rows)


@pytest.mark.parametrize("votes", [["a"] * 5, ["a"] * 5 + ["c"], ["a"] * 5 + ["ab"], ["a"] * 5 + [""]])
def test_votes_that_cannot_be_counted_are_said_in_words(rows: list[Preference], votes: list[str]) -> None:
    with pytest.raises(LabError, match=r'6 are needed, each "a", "b" or None, and there are \d.*Write for example'):
        reward_model.count_votes(reward_model.make_ballot(rows, 6), votes, rows)


def test_votes_are_read_in_capitals_and_with_spaces_and_annotators_are_compared_on_the_ballot(
    rows: list[Preference],
) -> None:
    ballot = reward_model.make_ballot(rows, 6, seed=1)
    votes = ["a", "b", "a", "b", "a", "b"]
    assert reward_model.count_votes(ballot, [f" {vote.upper()} " for vote in votes], rows) == reward_model.count_votes(
        ballot, votes, rows
    )
    _, table = reward_model.count_votes(ballot, votes, rows)
    shares = preferences.each_against_the_others(rows[:6]).mean(0)
    assert [row["agrees"] for row in table[1:]] == pytest.approx(shares.tolist())
    assert [row["pairs"] for row in table] == [6] * 6
    assert len(set(shares.tolist())) > 1, "all the same: this test shows nothing"


def test_a_ballot_has_ten_pairs_in_the_order_of_the_first_seed_unless_told_otherwise(rows: list[Preference]) -> None:
    assert reward_model.make_ballot(rows) == reward_model.make_ballot(rows, 10, 0)
    assert reward_model.make_ballot(rows).turned != reward_model.make_ballot(rows, 10, 1).turned
    assert [shown["pair"] for shown in reward_model.make_ballot(rows).table()] == list(range(1, 11))


def test_a_ballot_of_fewer_pairs_than_asked_for_holds_these(rows: list[Preference]) -> None:
    ballot = reward_model.make_ballot(rows[:5])
    assert len(ballot.table()) == 5
    assert ballot.turned == reward_model.make_ballot(rows).turned[:5]


def test_without_a_vote_the_five_decide(rows: list[Preference]) -> None:
    ballot = reward_model.make_ballot(rows)
    counted, table = reward_model.count_votes(ballot, [None] * 10, rows)
    assert counted == rows
    assert table[0] == {"voter": "you", "pairs": 0, "agrees": "-"}
    assert [row["voter"] for row in table[1:]] == [f"annotator {n}" for n in range(1, 6)]


def test_silence_pairs_differ_in_whether_the_conflict_is_reported() -> None:
    made = reward_model.silence_pairs(40)
    assert len(made) == 40
    assert conflict.reported([pair.chosen for pair in made]).mean() > 0.9
    assert not conflict.reported([pair.rejected for pair in made]).any()
    assert not conflict.repeated([text for pair in made for text in (pair.chosen, pair.rejected)]).any()
    assert reward_model.silence_pairs()[:40] == made
    assert len(reward_model.silence_pairs()) == 200
    assert {pair.votes for pair in made} == {()}
    assert [pair.dialogue_id for pair in made] == [f"silence_{number}" for number in range(40)]


# Checks, and wrong variants that they must notice.


def learned_and_measured(count: int, seed: int) -> tuple[list[Preference], list[Preference]]:
    """The pairs that a training reads, and those that it is measured on; nothing is trained."""
    read: dict[str, Any] = {}

    def fit(pairs: Sequence[Preference], *_: object) -> None:
        read["learned"] = list(pairs)

    def accuracy(scorer: object, rows: Sequence[Preference]) -> None:
        read["measured"] = list(rows)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(reward_model, "fit_reward_model", fit)
        patch.setattr(reward_model, "pairwise_accuracy", accuracy)
        reward_model.train_reward_model(ROWS, count, seed)
    return read["learned"], read["measured"]


def check_a_training_reads_as_many_pairs_as_were_asked_for_and_none_that_is_held_out() -> None:
    drawn = {}
    for count, seed in ((40, 0), (40, 1), (350, 0)):
        learned, measured = learned_and_measured(count, seed)
        drawn[count, seed] = learned
        assert len(learned) == len({pair.dialogue_id for pair in learned}) == count
        assert measured == ROWS[-reward_model.HELD_OUT :]
        assert not {pair.dialogue_id for pair in learned} & {pair.dialogue_id for pair in measured}
    assert drawn[40, 0] == drawn[350, 0][:40], "more labels, the same ones first"
    assert drawn[40, 0] != drawn[40, 1]


def check_the_trainer_is_given_chosen_and_rejected_as_they_are() -> None:
    given: dict[str, Any] = {}

    class Recorder:
        def __init__(self, **arguments: Any) -> None:
            given.update(arguments)

        def train(self) -> None:
            pass

    scorer = load_classifier()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(trl, "RewardTrainer", Recorder)
        reward_model.fit_reward_model(ROWS[:3], scorer.model, scorer.tokenizer, seed=7, steps=5)
    read = given["train_dataset"]
    for side in ("chosen", "rejected"):
        assert read[f"{side}_ids"] == [scorer.tokenizer(getattr(pair, side))["input_ids"] for pair in ROWS[:3]]
    assert (given["args"].seed, given["args"].max_steps) == (7, 5)


def check_a_pair_is_right_where_the_chosen_one_gets_more() -> None:
    class Length:
        def rewards(self, texts: Sequence[str]) -> np.ndarray:
            return np.array([len(text) for text in texts])

    made = [Preference("a", one, other, ()) for one, other in (("long", "ab"), ("ab", "long"), ("same", "even"))]
    assert reward_model.pairwise_right(Length(), made).tolist() == [1, 0, 0.5]  # type: ignore[arg-type]


def check_a_dialogue_of_two_pairs_is_on_one_side() -> None:
    twice = [*ROWS[-3:-1], *ROWS]
    kept, held_out = reward_model.split_preferences(twice)
    assert len(kept) == len(ROWS) - len(held_out)
    assert not {pair.dialogue_id for pair in kept} & {pair.dialogue_id for pair in held_out}


def check_people_chose_what_is_called_chosen() -> None:
    read = reward_model.read_preferences()
    assert np.mean([pair.votes for pair in read]) > 0.7
    harsh = [conflict.repeated([getattr(pair, side) for pair in read]).mean() for side in ("chosen", "rejected")]
    assert harsh[0] < 0.2 < 0.4 < harsh[1]


def exchanged(pairs: Sequence[Preference]) -> list[Preference]:
    return [Preference(p.dialogue_id, p.rejected, p.chosen, p.votes) for p in pairs]


def by_place(rows: Sequence[Preference]) -> tuple[list[Preference], list[Preference]]:
    return list(rows[: -reward_model.HELD_OUT]), list(rows[-reward_model.HELD_OUT :])


ROWS, FIT = reward_model.read_preferences(), reward_model.fit_reward_model
TRAIN, READ, RIGHT = reward_model.train_reward_model, reward_model.read_preferences, reward_model.pairwise_right
check_what_is_read: Callable[[], None] = (
    check_a_training_reads_as_many_pairs_as_were_asked_for_and_none_that_is_held_out
)
WRONG = {
    "trained on held-out pairs": Variant(
        reward_model, "split_preferences", lambda rows: (list(rows), by_place(rows)[1]), check_what_is_read
    ),
    "trained on the held-out pairs alone": Variant(
        reward_model, "split_preferences", lambda rows: by_place(rows)[::-1], check_what_is_read
    ),
    "trained on all pairs whatever the count": Variant(
        reward_model,
        "train_reward_model",
        lambda rows, count, *more: TRAIN(rows, len(ROWS) - reward_model.HELD_OUT, *more),
        check_what_is_read,
    ),
    "the same pairs with every seed": Variant(
        reward_model, "train_reward_model", lambda rows, count, seed: TRAIN(rows, count, 0), check_what_is_read
    ),
    "held out by place alone": Variant(
        reward_model, "split_preferences", by_place, check_a_dialogue_of_two_pairs_is_on_one_side
    ),
    "right where the rejected one gets more": Variant(
        reward_model,
        "pairwise_right",
        lambda scorer, rows: RIGHT(scorer, exchanged(rows)),
        check_a_pair_is_right_where_the_chosen_one_gets_more,
    ),
    "a tie is right": Variant(
        reward_model,
        "pairwise_right",
        lambda scorer, rows: np.ceil(RIGHT(scorer, rows)),
        check_a_pair_is_right_where_the_chosen_one_gets_more,
    ),
    "what was rejected is learned": Variant(
        reward_model,
        "fit_reward_model",
        lambda pairs, *more, **options: FIT(exchanged(pairs), *more, **options),
        check_the_trainer_is_given_chosen_and_rejected_as_they_are,
    ),
    "the same order of pairs with every seed": Variant(
        reward_model,
        "fit_reward_model",
        lambda pairs, model, tokenizer, seed, steps: FIT(pairs, model, tokenizer, 0, steps),
        check_the_trainer_is_given_chosen_and_rejected_as_they_are,
    ),
    "chosen and rejected exchanged": Variant(
        reward_model, "read_preferences", lambda: exchanged(READ()), check_people_chose_what_is_called_chosen
    ),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_variant_is_noticed(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert_noticed(WRONG[name], monkeypatch)
