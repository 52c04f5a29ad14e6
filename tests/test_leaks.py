"""No row that a lab tests on is ever learned from, shown or tuned on: by ids and texts, in every lab and both worlds.

The lines of the notebooks that choose rows are run as they stand there, on the files that the profile names.
"""

import ast
import random
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from functools import cache, partial
from itertools import islice, pairwise
from typing import Any

import nbformat
import pytest

from embedded_world.corpus import (
    assemble,
    composed,
    handwritten,
    hate_summaries,
    hate_texts,
    lab_tasks,
    preferences,
    quarrels,
    reading,
    reading_splits,
    splits,
    tasks,
)
from embedded_world.corpus import (
    compose as composing,
)
from embedded_world.corpus.acts import Part, Phrasing
from genai_labs.finetuning import command, forgetting, sweep_command
from genai_labs.loading import data, lab_data, models, profiles
from genai_labs.loading.profiles import Profile, load_profile
from genai_labs.paths import NOTEBOOKS, READING, ROOT
from genai_labs.prompting import prompts
from genai_labs.rlhf import dialogues, ppo, reward_model, summarizer
from genai_labs.rlhf.preferences import Preference
from tests.variants import Variant, assert_noticed

DIALOGSUM = ROOT.parent / "shared" / "data" / "dialogsum"
WORLDS = [
    "mini",
    pytest.param(
        "flan-t5-small",
        marks=pytest.mark.skipif(not DIALOGSUM.exists(), reason="the real DialogSum rows lie outside the repository"),
    ),
]
SEEDS = (0, 3)
# What the notebooks call the rows that they read.
NAMES = {
    "lab1_prompting": {"train", "test", "exemplars"},
    "lab2_fine_tuning": {"train", "validation", "test", "some", "other"},
    "lab3_ppo_detox": {"cases", "pairs", "to_learn", "held_out", "ballot", "my_votes", "silent", "settings", "asked"},
}
Texts = dict[str, str]  # dialogues by their ids


@pytest.fixture(autouse=True)
def _profile_of_this_test_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(profiles, "loaded", None)


class Endless:
    """A tokenizer to which nothing is too long."""

    model_max_length = 1

    def __call__(self, text: str, verbose: bool = True) -> dict[str, list[int]]:
        return {"input_ids": []}


def profile_of(world: str) -> Profile:
    profile = load_profile(world)
    return profile if world == "mini" else replace(profile, dataset=str(DIALOGSUM))


def rows_of_lab(notebook: str, world: str, seed: int) -> dict[str, Any]:
    """What the lines of a notebook that assign one of its NAMES make."""
    made: dict[str, Any] = {"profile": profile_of(world), "SEED": seed, "tokenizer": Endless()}
    made |= {"data": data, "prompts": prompts, "forgetting": forgetting, "validation_examples": []}
    made |= {"dialogues": dialogues, "reward_model": reward_model, "ppo": ppo}
    for line in lines_of(notebook):
        exec(line, made)
    return {name: made[name] for name in NAMES[notebook]}


@cache
def lines_of(notebook: str) -> list[str]:
    cells = nbformat.read(NOTEBOOKS / f"{notebook}.ipynb", as_version=4).cells
    lines = [line for cell in cells if cell.cell_type == "code" for line in ast.parse(cell.source).body]
    return [ast.unparse(line) for line in lines if isinstance(line, ast.Assign) and names_in(line) & NAMES[notebook]]


def names_in(line: ast.Assign) -> set[str]:
    return {part.id for target in line.targets for part in ast.walk(target) if isinstance(part, ast.Name)}


def by_id(rows: Iterable[Any]) -> Texts:
    """Dialogues of rows, exemplars, or anything that has them, with spaces made equal."""
    return {row.id: " ".join(row.dialogue.split()) for row in rows}


def split(world: str, name: str) -> Texts:
    return by_id(LOAD_SPLIT(profile_of(world).dataset, name))


def assert_apart(one: Texts, other: Texts) -> None:
    assert one, "nothing is compared"
    assert other, "nothing is compared"
    assert not one.keys() & other.keys()
    assert not set(one.values()) & set(other.values())


def assert_none_inside(held_out: Texts, texts: Iterable[str]) -> None:
    """None of the dialogues stands in one of the texts."""
    whole = "\n".join(" ".join(text.split()) for text in texts)
    assert whole, "nothing is compared"
    assert not [name for name, dialogue in held_out.items() if dialogue in whole]


def check_lab_1_shows_training_rows(world: str) -> None:
    for seed in SEEDS:
        lab = rows_of_lab("lab1_prompting", world, seed)
        shown = by_id(lab["exemplars"])
        assert len(shown) == 3
        assert shown.items() <= split(world, "train").items()
        for name in ("test", "validation"):
            assert_apart(shown, split(world, name))
        assert by_id(lab["test"]).items() <= split(world, "test").items()


def check_lab_2_trains_validates_and_tests_on_different_rows(world: str) -> None:
    for seed in SEEDS:
        lab = rows_of_lab("lab2_fine_tuning", world, seed)
        for name in ("train", "validation", "test"):
            assert by_id(lab[name]).items() <= split(world, name).items()
        trained, validated = [*lab["train"], *lab["some"][0]], [*lab["validation"], *lab["some"][1]]
        assert_apart(by_id(trained), by_id(lab["test"]))
        assert_apart(by_id(trained), by_id(validated))
        assert_apart(by_id(validated), by_id(lab["test"]))


def check_lab_2_replays_nothing_that_it_asks(world: str) -> None:
    for seed in SEEDS:
        lab = rows_of_lab("lab2_fine_tuning", world, seed)
        replayed = replayed_sources(len(lab["train"]), profile_of(world).replayed, seed)
        asked = [example.source for task in lab["other"] for example in task.examples]
        assert len(replayed) >= 100
        assert not set(replayed) & set(asked)
        assert_none_inside(by_id(lab["test"]) | by_id(lab["validation"]), replayed)
        assert_none_inside(by_id(lab["train"]) | by_id(lab["validation"]), asked)


def replayed_sources(count: int, share: float, seed: int) -> list[str]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(forgetting, "encode_pairs", lambda sources, targets, tokenizer: sources)
        mixed: list[Any] = forgetting.replay([{}] * count, share, None, seed)
    return mixed[count:]


def check_lab_3_learns_from_no_dialogue_that_it_tests_on(world: str) -> None:
    for seed in SEEDS:
        lab = rows_of_lab("lab3_ppo_detox", world, seed)
        tested = by_id(case.row for case in lab["cases"]) | split("mini", "test")
        before, after = prompts.INSTRUCTIONS[prompts.DEFAULT_INSTRUCTION].split("{dialogue}")
        written = [" ".join(prompt.removeprefix(before).removesuffix(after).split()) for prompt in lab["asked"]]
        assert_apart({f"prompt {number}": text for number, text in enumerate(written)}, tested)
        harsh = [dialogues.harsh_rows(100, seed, "held-out"), dialogues.harsh_rows(summarizer.ROWS, seed)]
        for rows in harsh:
            assert_apart(by_id(rows), tested)
        assert_apart(*map(by_id, harsh))


def check_lab_3_tests_on_dialogues_of_the_test_split(world: str) -> None:
    cases = rows_of_lab("lab3_ppo_detox", world, 0)["cases"]
    tested = by_id(case.row for case in cases)
    assert len(tested) == len(cases) == len(set(tested.values()))
    assert_apart(tested, split("mini", "train") | split("mini", "validation"))
    first = islice(composed.composed_talks("test"), quarrels.TEST_DIALOGUES)
    drawn = {" ".join(talk.text.split()) for talk in first}
    assert {name for name, text in tested.items() if text not in drawn} == {n for n in tested if "added" in n}


def check_lab_3_s_reward_model_is_measured_on_pairs_that_it_never_saw(world: str) -> None:
    lab = rows_of_lab("lab3_ppo_detox", world, 0)
    learned, held_out = lab["to_learn"], lab["held_out"]
    told = {pair.dialogue_id for pair in lab["pairs"]}
    harsh = by_id(dialogues.harsh_rows(summarizer.ROWS))
    assert told <= harsh.keys()
    tested = by_id(case.row for case in lab["cases"]) | split(world, "test")
    assert_apart({name: harsh[name] for name in told}, tested)
    assert len(held_out) == reward_model.HELD_OUT
    assert len(learned) >= 300
    for measured in (held_out, lab["silent"]):
        assert not {pair.dialogue_id for pair in learned} & {pair.dialogue_id for pair in measured}
        assert not texts_of(learned) & texts_of(measured)


def texts_of(pairs: Iterable[Preference]) -> set[tuple[str, str]]:
    return {(pair.chosen, pair.rejected) for pair in pairs}


def check_the_sweep_reads_no_test_row(world: str) -> None:
    read: list[Any] = []

    def scores(model: object, tokenizer: object, rows: list[data.Row], *_: object) -> dict[str, Any]:
        read.extend(rows)
        return {}

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(models, "load_model", lambda profile: (None, None))
        patch.setattr(sweep_command, "features", lambda rows, tokenizer: read.extend(rows))
        patch.setattr(sweep_command.forgetting, "score", lambda *_: {})
        patch.setattr(sweep_command, "_scores", scores)
        sweep_command.run(profile_of(world), {}, sweep_command.DIALOGUES, seed=0)
    assert_apart(by_id(read), split(world, "test"))


def check_the_command_to_fine_tune_reads_no_test_row(world: str) -> None:
    args = command.finetune_parser().parse_args([])
    train, validation = map(by_id, command.rows_to_use(args, profile_of(world), Endless()))
    assert_apart(train, validation)
    assert_apart(train | validation, split(world, "test"))


def check_no_row_is_in_two_splits(world: str) -> None:
    more = ("unseen", *(f"handwritten_{part}" for part in ("train", "dev", "test"))) if world == "mini" else ()
    several = [by_id(data.load_split(profile_of(world).dataset, n)) for n in ("train", "validation", "test", *more)]
    for place, one in enumerate(several):
        for other in several[:place]:
            assert_apart(one, other)


CHECKS = [
    check_no_row_is_in_two_splits,
    check_lab_1_shows_training_rows,
    check_lab_2_trains_validates_and_tests_on_different_rows,
    check_lab_2_replays_nothing_that_it_asks,
    check_the_sweep_reads_no_test_row,
    check_the_command_to_fine_tune_reads_no_test_row,
    check_lab_3_learns_from_no_dialogue_that_it_tests_on,
    check_lab_3_tests_on_dialogues_of_the_test_split,
    check_lab_3_s_reward_model_is_measured_on_pairs_that_it_never_saw,
]


@pytest.mark.parametrize("world", WORLDS)
@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_nothing_leaks(check: Callable[[str], None], world: str) -> None:
    check(world)


# What the generator of the embedded world makes for a split is drawn from what belongs to that split: phrasings of
# composed dialogues, slot values of scenarios, notes and word problems, and dialogues written by hand.


def check_splits(rows: Callable[[], Iterable[Any]], wanted: str | None) -> None:
    """wanted: the split; None where the second value of a row names it."""
    quarrels.held_out_texts()  # else training dialogues draw those of the tests first, to leave them out
    choose, worded, belongs, written = composing._choose, composing._reports, splits.in_split, handwritten.written
    asked: list[str] = []

    def chosen(phrasings: Sequence[Phrasing], act: str, split: str, rng: random.Random) -> Phrasing:
        phrasing = choose(phrasings, act, split, rng)
        asked.append(split)
        kept_apart = composing.is_kept_apart(act, " ".join(phrasing.turns))
        assert not (split in TRAINED and kept_apart), phrasing
        return phrasing

    def reports(part: Part, phrasing: Phrasing, act: str, split: str) -> tuple[str, ...]:
        """Where all wordings of a phrasing are kept apart, there are no others."""
        told = worded(part, phrasing, act, split)
        kept_apart = [composing.is_kept_apart(act, report) for report in told]
        assert not (split in TRAINED and any(kept_apart)) or all(kept_apart) and set(told) == set(phrasing.reports), (
            told
        )
        return told

    def in_split(signature: str, split: str) -> bool:
        asked.append(split)
        return belongs(signature, split)

    def by_hand(part: str) -> Any:
        asked.append("pretraining" if part == "train" else part)
        return written(part)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(composing, "_choose", chosen)
        patch.setattr(composing, "_reports", reports)
        patch.setattr(handwritten, "written", by_hand)
        for module in (splits, tasks):
            patch.setattr(module, "in_split", in_split)
        patch.setattr(quarrels, "test_dialogues", quarrels.test_dialogues.__wrapped__)  # made anew, not remembered
        patch.setattr(quarrels, "HARSH_ROWS", {"harsh": 100, "held-out": 20})
        for module, name in ((lab_tasks, "OTHER_EXAMPLES"), (lab_tasks, "VALIDATION_EXAMPLES")):
            patch.setattr(module, name, 10)
        patch.setattr(quarrels, "PPO_DIALOGUES", 50)
        drawn = 0
        for row in islice(rows(), 600):
            assert set(asked) <= {wanted or row[1]}
            drawn += len(asked)
            asked.clear()
    assert drawn, "nothing was drawn"


GENERATED: dict[str, tuple[Callable[[], Any], str | None]] = {
    "splits": (lambda: joined_dialogues(), None),
    "cases": (quarrels.cases, "test"),
    "validation cases": (quarrels.validation_case_rows, "validation"),
    "prompts of PPO": (quarrels.ppo_dialogue_rows, "train"),
    "neutral summaries": (quarrels.neutral_summary_rows, "train"),
    "harsh summaries": (quarrels.harsh_summaries, "train"),
    "preferences": (lambda: iter(preferences.training_dialogues()), "train"),
    "silence pairs": (quarrels.silence_pair_rows, "test"),
    "other tasks": (lambda: lab_tasks.other_task_rows(), None),
    "replay": (lambda: lab_tasks.replayed(), "pretraining"),
    "pre-training": (lambda: pretrained_on(), "pretraining"),
    "texts of the reward model": (lambda: hate_texts.draw_texts("train_reward"), "pretraining"),
    "texts of the judge": (lambda: hate_texts.draw_texts("train_judge"), "pretraining"),
    "word problems": (lambda: lab_tasks.word_problems(), "test"),
    "notes": (lambda: lab_tasks.notes(), "test"),
}


def joined_dialogues() -> Iterator[tuple[Any, ...]]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(reading_splits, "LOTS", dict.fromkeys(reading_splits.SIZES, (300,)))
        for split in reading_splits.SIZES:
            for talk in islice(reading_splits.assembled(split, unread=True), 100):
                acts = composed.situation(talk).split(" + ")
                pairs = {composing.pair_split(*pair) < composing.UNSEEN_PAIRS for pair in pairwise(acts)}
                assert pairs <= {split == "unseen"}
                yield talk, split


def pretrained_on() -> Iterator[tuple[Any, ...]]:
    for mixture in reading.MIXTURES:
        rng = random.Random(mixture)
        for _ in range(200):
            yield mixture, reading.draw_example(mixture, rng)


@pytest.mark.parametrize("name", GENERATED)
def test_rows_are_drawn_from_their_split(name: str) -> None:
    check_splits(*GENERATED[name])


# Leaks, each of which one of the checks must notice.


def from_the_test_split(dataset: Any, name: str) -> list[data.Row]:
    return LOAD_SPLIT(dataset, "test" if name in ("train", "validation") else name)


def exemplars_of_the_test_split(train: Any, count: int, seed: int) -> list[prompts.Exemplar]:
    return CHOOSE(LOAD_SPLIT(READING, "test"), count, seed)


def replayed_for_other_tasks(count: int, seed: int, split: str = "test") -> list[forgetting.OtherTask]:
    sources = replayed_sources(count, 0.2, seed)
    return [
        replace(task, examples=tuple(replace(task.examples[0], source=source) for source in sources))
        for task in OTHER_TASKS(1, seed, split)
    ]


def cases_from_training_dialogues(*counts: int) -> list[dialogues.Case]:
    rows = HARSH_ROWS(len(CASES(*counts)))
    return [replace(case, row=row) for case, row in zip(CASES(*counts), rows, strict=True)]


def pairs_about_other_dialogues() -> list[Preference]:
    return [replace(pair, dialogue_id=case.row.id) for pair, case in zip(PAIRS(), CASES(200, 400), strict=False)]


def from_the_other_split(split: str, name: str, hostile_share: float) -> Any:
    return COMPOSED("train" if split == "test" else "test", name, hostile_share)


def of_split(make: Callable[..., Any], split: str) -> Callable[..., Any]:
    """``make`` drawing from another split, whichever is asked for."""
    return lambda rng, *_, **options: make(rng, split, **options)


def whatever_there_is(phrasings: Sequence[Phrasing], act: str, split: str, rng: random.Random) -> Phrasing:
    return rng.choice(phrasings)


def in_any_wording(part: Part, phrasing: Phrasing, act: str, split: str) -> tuple[str, ...]:
    return phrasing.reports or tuple(part.reports)


def of_a_test_dialogue(rng: random.Random) -> lab_data.Example:
    return lab_data.Example("", rng.choice(handwritten.written("test")).text, "")


TRAINED = ("pretraining", "train")
LOAD_SPLIT, CHOOSE, OTHER_TASKS = data.load_split, prompts.choose_exemplars, forgetting.other_tasks
CASES, HARSH_ROWS, COMPOSED = dialogues.evaluation_cases, dialogues.harsh_rows, quarrels.composed
PAIRS, COMPOSE, SINGLE, REPORT = reward_model.read_preferences, composing.compose, composing.single, reading.topic_of
DRAW_EXCHANGE = assemble.draw_exchange
DRAW_PROBLEM, MAKE_NOTE, FRESH = tasks.draw_problem, tasks.make_note, tasks.fresh_dialogue
LEAKS = {
    "a split is another one": (data, "load_split", from_the_test_split, check_no_row_is_in_two_splits),
    "exemplars from the test split": (
        prompts,
        "choose_exemplars",
        exemplars_of_the_test_split,
        check_lab_1_shows_training_rows,
    ),
    "trained on the test split": (
        data,
        "load_split",
        from_the_test_split,
        check_lab_2_trains_validates_and_tests_on_different_rows,
    ),
    "asked what was replayed": (
        forgetting,
        "other_tasks",
        replayed_for_other_tasks,
        check_lab_2_replays_nothing_that_it_asks,
    ),
    "tuned on the test split": (data, "load_split", from_the_test_split, check_the_sweep_reads_no_test_row),
    "fine-tuned on the test split": (
        data,
        "load_split",
        from_the_test_split,
        check_the_command_to_fine_tune_reads_no_test_row,
    ),
    "PPO writes about test dialogues": (
        dialogues,
        "ppo_dialogues",
        lambda count, seed: [case.dialogue for case in CASES()],
        check_lab_3_learns_from_no_dialogue_that_it_tests_on,
    ),
    "insults are learned from test dialogues": (
        dialogues,
        "harsh_rows",
        lambda *_: [case.row for case in CASES()],
        check_lab_3_learns_from_no_dialogue_that_it_tests_on,
    ),
    "tested on what insults were learned from": (
        dialogues,
        "evaluation_cases",
        cases_from_training_dialogues,
        check_lab_3_learns_from_no_dialogue_that_it_tests_on,
    ),
    "pairs about test dialogues": (
        reward_model,
        "read_preferences",
        pairs_about_other_dialogues,
        check_lab_3_s_reward_model_is_measured_on_pairs_that_it_never_saw,
    ),
    "pairs are held out and learned from": (
        reward_model,
        "split_preferences",
        lambda rows: (rows, rows[-reward_model.HELD_OUT :]),
        check_lab_3_s_reward_model_is_measured_on_pairs_that_it_never_saw,
    ),
}
# What is drawn from another split, and how.
WRONG_SPLITS: dict[str, tuple[str, Any, str, Any]] = {
    "test rows in the train split's phrasings": (
        "splits",
        assemble,
        "draw_exchange",
        lambda rng, split: DRAW_EXCHANGE(rng, "train" if split == "test" else split),
    ),
    "the unseen split from words of the others": (
        "splits",
        assemble,
        "draw_exchange",
        lambda rng, split: DRAW_EXCHANGE(rng, "test" if split == "unseen" else split),
    ),
    "pairs of the unseen split in the others": ("splits", assemble, "pair_split", lambda *_: 1.0),
    "pairs of the others in the unseen split": ("splits", assemble, "pair_split", lambda *_: 0.0),
    "cases": ("cases", quarrels, "composed", from_the_other_split),
    "cases composed without end": ("cases", composed, "compose", of_split(COMPOSE, "train")),
    "validation cases": ("validation cases", quarrels, "composed", from_the_other_split),
    "prompts of PPO": ("prompts of PPO", quarrels, "composed", from_the_other_split),
    "neutral summaries": ("neutral summaries", quarrels, "composed", from_the_other_split),
    "harsh summaries": ("harsh summaries", quarrels, "composed", from_the_other_split),
    "preferences": ("preferences", quarrels, "composed", from_the_other_split),
    "silence pairs": ("silence pairs", quarrels, "composed", from_the_other_split),
    "quarrels, whatever is asked for": ("prompts of PPO", quarrels, "compose", of_split(COMPOSE, "test")),
    "topics": ("other tasks", lab_tasks, "OTHER_TASKS", {"topic": lambda rng, split: reading.topic_of(rng)}),
    "questions": ("other tasks", lab_tasks, "OTHER_TASKS", {"question": lambda rng, split: reading.who(rng)}),
    "next turns": ("other tasks", lab_tasks, "compose", of_split(COMPOSE, "pretraining")),
    "another style": ("other tasks", reading, "compose", of_split(COMPOSE, "pretraining")),
    "pre-training on test dialogues": ("pre-training", reading, "compose", of_split(COMPOSE, "test")),
    "pre-training on test reports": ("pre-training", reading, "single", of_split(SINGLE, "test")),
    "pre-training on test scenarios": ("pre-training", tasks, "fresh_dialogue", of_split(FRESH, "test")),
    "pre-training on test dialogues written by hand": (
        "pre-training",
        reading,
        "MIXTURES",
        {"polish": {of_a_test_dialogue: 1.0}},
    ),
    "replay of the train split": (
        "replay",
        reading,
        "draw_example",
        lambda mixture, rng: REPORT(rng, "train"),
    ),
    "replay of scenarios of the train split": ("replay", tasks, "fresh_dialogue", of_split(FRESH, "train")),
    "phrasings kept apart in pre-training": ("pre-training", composing, "_choose", whatever_there_is),
    "phrasings kept apart in training": ("harsh summaries", composing, "_choose", whatever_there_is),
    "wordings kept apart in training": ("harsh summaries", composing, "_reports", in_any_wording),
    "texts of the reward model": (
        "texts of the reward model",
        hate_summaries,
        "compose",
        lambda rng, split, share: COMPOSE(rng, "test", share),
    ),
    "texts of the judge": (
        "texts of the judge",
        hate_summaries,
        "compose",
        lambda rng, split, share: COMPOSE(rng, "test", share),
    ),
    "word problems": ("word problems", tasks, "draw_problem", lambda rng, split: DRAW_PROBLEM(rng)),
    "notes": ("notes", tasks, "make_note", lambda raw, rng, split: MAKE_NOTE(raw, rng)),
}


@pytest.mark.parametrize("name", LEAKS)
def test_a_leak_is_noticed(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    place, function, wrong, check = LEAKS[name]
    assert_noticed(Variant(place, function, wrong, partial(check, "mini")), monkeypatch)


@pytest.mark.parametrize("name", WRONG_SPLITS)
def test_rows_of_another_split_are_noticed(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    rows, place, function, wrong = WRONG_SPLITS[name]
    assert_noticed(Variant(place, function, wrong, partial(check_splits, *GENERATED[rows])), monkeypatch)
