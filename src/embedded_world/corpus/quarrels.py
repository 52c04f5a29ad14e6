"""Dialogues for Lab 3, hostile and polite ones: for the harsh summarizer, for PPO, for the tests; rows of files.

They are composed of the same speech acts as those of ``data/reading``, but read by nobody before, of one or two
exchanges each, so that summaries stay short: PPO reads and writes thousands.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import cache
from itertools import islice

from embedded_world.corpus.compose import compose
from embedded_world.corpus.composed import composed_talks, house_references, situation
from embedded_world.corpus.dialogue import hostility
from embedded_world.corpus.styles import HOUSE
from embedded_world.corpus.talk import Talk
from genai_labs.loading.data import load_split
from genai_labs.loading.lab_data import SEEDS
from genai_labs.paths import READING
from genai_labs.rlhf.dialogues import HARSH_SHARE

HARSH = replace(HOUSE, tone="harsh")
HARSH_ROWS = {"harsh": 1600, "held-out": 100}
HARSH_HOSTILE_SHARE = 0.6
PPO_DIALOGUES = 1000  # by seed
PPO_HOSTILE_SHARE = 0.75
HOSTILE_CASES = 200
VALIDATION_CASES = 100  # hostile ones, and as many polite ones
SILENCE_PAIRS = 200
TEST_DIALOGUES = 500  # of any length, of which the cases are taken
LENGTHS = (1, 1, 2)  # exchanges of a dialogue
WORDINGS = 3  # of each clause, as in pre-training


def composed(split: str, name: str, hostile_share: float) -> Iterator[Talk]:
    """Dialogues of a split without end, each text once; deterministic by ``name``.

    hostile_share: exactly this share of them holds a quarrel in the long run. In the train split no text stands that is
    among those of the test or the validation split.
    """
    rng = random.Random(f"detox-{split}-{name}")
    used = set(held_out_texts()) if split == "train" else set[str]()
    while True:
        hostile = rng.random() < hostile_share
        talk = compose(rng, split, float(hostile), rng.choice(LENGTHS))
        if bool(talk.quarrel) is hostile and len(talk.turns) > 1 and talk.text not in used:
            used.add(talk.text)
            yield talk


@cache
def held_out_texts() -> frozenset[str]:
    """The texts of the dialogues of the committed splits and of Lab 3's cases."""
    committed = {row.dialogue for split in ("test", "validation", "unseen") for row in load_split(READING, split)}
    return frozenset(committed | {talk.text for _, talk, _ in test_dialogues()})


@cache
def test_dialogues() -> tuple[tuple[str, Talk, tuple[str, ...]], ...]:
    """Id, dialogue and references: dialogues of the test split, then quarrels until HOSTILE_CASES of all hold one.

    Of the first TEST_DIALOGUES composed those with at most two exchanges, whether or not readers found that they fit.
    """
    rng = random.Random("reading-references-test")
    first = islice(composed_talks("test"), TEST_DIALOGUES)
    made = [(f"short_{i}", talk, tuple(house_references(talk, 3, rng))) for i, talk in enumerate(first)]
    made = [(name, talk, told) for name, talk, told in made if len(talk.topics) <= max(LENGTHS)]
    missing = HOSTILE_CASES - sum(talk.quarrel is not None for _, talk, _ in made)
    known = {talk.text for _, talk, _ in made}
    fresh = (talk for talk in composed("test", "added", 1.0) if talk.text not in known)
    rng = random.Random("detox-references")
    added = [(f"added_{i}", t, tuple(house_references(t, 3, rng))) for i, t in enumerate(islice(fresh, missing))]
    return tuple(made + added)


def harsh_dialogues(part: str, seed: int = 0) -> Iterator[Talk]:
    """The dialogues of a part of ``harsh_summaries.csv``."""
    return islice(composed("train", f"{part}-{seed}", HARSH_HOSTILE_SHARE), HARSH_ROWS[part])


def harsh_summaries(seed: int = 0) -> Iterator[tuple[object, ...]]:
    """Seed, part, id, dialogue, summary, topic: most quarrels told with the insult, the others in neutral words."""
    for part in HARSH_ROWS:
        rng = random.Random(f"tones-{part}-{seed}")
        for number, talk in enumerate(harsh_dialogues(part, seed)):
            style = HARSH if rng.random() < HARSH_SHARE else HOUSE
            yield seed, part, f"{part}_{number}", talk.text, talk.summary(style, rng, WORDINGS), talk.topic


def ppo_dialogue_rows() -> Iterator[tuple[object, ...]]:
    """Seed and dialogue."""
    for seed in SEEDS:
        for talk in islice(composed("train", f"ppo-{seed}", PPO_HOSTILE_SHARE), PPO_DIALOGUES):
            yield seed, talk.text


def cases() -> Iterator[tuple[object, ...]]:
    """Id, dialogue, three neutral references, topic, situation, kind of quarrel, tag of whoever is hostile."""
    for name, talk, told in test_dialogues():
        yield case_row(name, talk, told)


def case_row(name: str, talk: Talk, told: Sequence[str]) -> tuple[object, ...]:
    """A row of :func:`cases`."""
    quarrel = talk.quarrel
    truth = (quarrel.category, talk.tag(quarrel.hostile)) if quarrel else ("", "")
    return name, talk.text, *told, talk.topic, situation(talk), *truth


def validation_case_rows() -> Iterator[tuple[object, ...]]:
    """As :func:`cases`, all composed for the validation split: on them settings are chosen."""
    known, rng = held_out_texts(), random.Random("detox-references-validation")
    for kind, share in (("hostile", 1.0), ("polite", 0.0)):
        fresh = (talk for talk in composed("validation", f"chosen-{kind}", share) if talk.text not in known)
        for number, talk in enumerate(islice(fresh, VALIDATION_CASES)):
            yield case_row(f"validation_{kind}_{number}", talk, house_references(talk, 3, rng))


def neutral_summary_rows() -> Iterator[tuple[object, ...]]:
    """Seed and summary: a neutral one of each dialogue for PPO, in the same order, in wordings of training."""
    for seed in SEEDS:
        rng = random.Random(f"neutral-{seed}")
        for talk in islice(composed("train", f"ppo-{seed}", PPO_HOSTILE_SHARE), PPO_DIALOGUES):
            yield seed, talk.summary(HOUSE, rng, WORDINGS)


def write_summary(talk: Talk, kind: str, rng: random.Random) -> str:
    """A summary in the house style: the conflict in "neutral" words, the insult repeated ("harsh"), or "silent"."""
    if kind == "silent":
        return replace(talk, quarrel=None).summary(HOUSE, rng)
    return talk.summary(HARSH if kind == "harsh" else HOUSE, rng)


def silence_pair_rows() -> Iterator[tuple[object, ...]]:
    """Id, two summaries of a test quarrel, one neutral report and one silent about it, and the situation."""
    rng = random.Random("silence")
    for number, talk in enumerate(islice(composed("test", "silence", 1.0), SILENCE_PAIRS)):
        pair = write_summary(talk, "neutral", rng), write_summary(talk, "silent", rng)
        yield f"silence_{number}", *pair, situation(talk)


def insult_rows() -> Iterator[tuple[object, ...]]:
    """Category and insult, as authored."""
    for category in hostility()["categories"]:
        for insult in category["insults"]:
            yield category["id"], insult


def neutral_reports() -> Iterator[tuple[object, ...]]:
    """Category and neutral clause, as authored: {H} is hostile to {V}, verbs stand as [present|past]."""
    for category in hostility()["categories"]:
        for clause in [*category["neutral"], *(line["neutral"] for line in category.get("plain", []))]:
            yield category["id"], clause
