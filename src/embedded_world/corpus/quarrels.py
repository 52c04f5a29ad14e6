"""Dialogues for Lab 3, hostile and polite ones: for the harsh summarizer, for PPO, for the tests; rows of files."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import replace
from itertools import islice

from embedded_world.corpus import splits
from embedded_world.corpus.content import scenarios
from embedded_world.corpus.dialogue import Dialogue, hostility, play
from embedded_world.corpus.preferences import write_summary
from embedded_world.corpus.styles import HOUSE
from embedded_world.corpus.tasks import VOICES, told
from genai_labs.loading.lab_data import SEEDS
from genai_labs.rlhf.dialogues import HARSH_SHARE

HARSH = replace(HOUSE, tone="harsh")
HARSH_ROWS = {"harsh": 1600, "held-out": 100}
HARSH_HOSTILE_SHARE = 0.6
PPO_DIALOGUES = 1000  # by seed
PPO_HOSTILE_SHARE = 0.75
HOSTILE_CASES = 200
SILENCE_PAIRS = 200


def played(split: str, name: str, hostile_share: float) -> Iterator[Dialogue]:
    """Dialogues of known scenarios without end, no combination of slots twice; deterministic by ``name``."""
    rng = random.Random(f"detox-{split}-{name}")
    used: set[str] = set()
    while True:
        scenario = rng.choice(scenarios())
        dialogue = play(scenario, rng, lambda s: splits.in_split(s, split) and s not in used, hostile_share)
        if not splits.repeats_itself(dialogue):
            used.add(dialogue.signature)
            yield dialogue


def harsh_summaries(seed: int = 0) -> Iterator[tuple[object, ...]]:
    """Seed, part, id, dialogue, summary, topic: most quarrels told with the insult, the others in neutral words.

    Clauses stand in the first two of their wordings, as in the last stage of pre-training.
    """
    for part, count in HARSH_ROWS.items():
        rng = random.Random(f"tones-{part}-{seed}")
        for number, dialogue in enumerate(islice(played("train", f"{part}-{seed}", HARSH_HOSTILE_SHARE), count)):
            style = HARSH if rng.random() < HARSH_SHARE else HOUSE
            summary = told(dialogue, style, rng, VOICES[2])
            yield seed, part, f"{part}_{number}", dialogue.text, summary, dialogue.topic


def ppo_dialogue_rows() -> Iterator[tuple[object, ...]]:
    """Seed and dialogue."""
    for seed in SEEDS:
        for dialogue in islice(played("train", f"ppo-{seed}", PPO_HOSTILE_SHARE), PPO_DIALOGUES):
            yield seed, dialogue.text


def cases() -> Iterator[tuple[object, ...]]:
    """Id, dialogue, three neutral references, topic, situation, kind of quarrel, tag of whoever is hostile.

    The committed test split in the order in which it was made, then dialogues with other slot values of that split,
    until HOSTILE_CASES of all hold a quarrel.
    """
    rng = random.Random("detox-references")
    committed = list(splits.dialogues("test"))
    known = {dialogue.text for dialogue in committed}
    missing = HOSTILE_CASES - sum(dialogue.quarrel is not None for dialogue in committed)
    fresh = (d for d in played("test", "added", hostile_share=1.0) if d.quarrel and d.text not in known)
    for name, dialogues in (("test", committed), ("added", islice(fresh, missing))):
        for number, dialogue in enumerate(dialogues):
            references = splits.references(dialogue, splits.REFERENCES["test"], rng)
            quarrel = dialogue.quarrel
            truth = (quarrel.category, dialogue.tag(quarrel.hostile)) if quarrel else ("", "")
            yield f"{name}_{number}", dialogue.text, *references, dialogue.topic, dialogue.scenario.id, *truth


def silence_pair_rows() -> Iterator[tuple[object, ...]]:
    """Id and two summaries of a test quarrel: one reports the conflict neutrally, one is silent about it."""
    rng = random.Random("silence")
    quarrels = (d for d in played("test", "silence", hostile_share=1.0) if d.quarrel)
    for number, dialogue in enumerate(islice(quarrels, SILENCE_PAIRS)):
        yield f"silence_{number}", write_summary(dialogue, "neutral", rng), write_summary(dialogue, "silent", rng)


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
