"""What Labs 2 and 3 read about tasks and notes: other tasks, examples to replay, word problems, notes; rows by seed."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator

from embedded_world.corpus import reading, tasks
from embedded_world.corpus.compose import compose
from genai_labs.loading.lab_data import SEEDS, Example

SPLIT = "test"
OTHER_EXAMPLES = 300  # of each task and seed, in the test split
VALIDATION_EXAMPLES = 100  # of each task, for the sweep
REPLAYED = 200  # by seed; seed 0 has enough for the exercise that replays two of five
REPLAYED_BY_SEED_0 = 540
REPLAYED_MIXTURE = "instructions"  # what most of pre-training was made of
LONGEST_REPLAYED = 1_500  # characters of a prompt, so that a training step does not wait for a few long ones
PROBLEMS = NOTES = 200  # by seed


def in_another_style(rng: random.Random, split: str) -> Example:
    """One exemplar, in a style that names no speaker by tag, as the house style does."""
    while True:
        example = reading.summary_like(rng, 1, 0.0, split)
        if "#Person" not in example.target:
            return example


def coming_turn(rng: random.Random, split: str) -> Example:
    """A dialogue cut off after two turns or later; its next turn, tag and all."""
    while len(lines := compose(rng, split).text.split("\n")) < 3:
        pass
    cut = rng.randrange(2, len(lines))
    return Example("next turn", "\n".join(lines[:cut]), lines[cut])


OTHER_TASKS: dict[str, Callable[[random.Random, str], Example]] = {
    "topic": reading.topic_of,
    "question": reading.who,
    "next turn": coming_turn,
    "one shot, another style": in_another_style,
}


def other_task_rows() -> Iterator[tuple[object, ...]]:
    """Seed, split, task, source, target of examples on dialogues that pre-training never saw."""
    for seed, split, count in [(0, "validation", VALIDATION_EXAMPLES), *((s, SPLIT, OTHER_EXAMPLES) for s in SEEDS)]:
        for name, make in OTHER_TASKS.items():
            rng = random.Random(f"other-task-{name}-{split}-{seed}")
            for _ in range(count):
                example = make(rng, split)
                yield seed, split, name, example.source, example.target


def replayed() -> Iterator[tuple[object, ...]]:
    """Seed, task, source, target of examples of the pre-training mixture."""
    for seed in SEEDS:
        rng = random.Random(f"replay-{seed}")
        for _ in range(REPLAYED if seed else REPLAYED_BY_SEED_0):
            while len((example := reading.draw_example(REPLAYED_MIXTURE, rng)).source) > LONGEST_REPLAYED:
                pass
            yield seed, example.task, example.source, example.target


def word_problems() -> Iterator[tuple[object, ...]]:
    """Seed, problem, reasoning and answer; numbers that no training had together in these places of the story."""
    for seed in SEEDS:
        rng = random.Random(f"problems-{SPLIT}-{seed}")
        for _ in range(PROBLEMS):
            yield seed, *tasks.draw_problem(rng, SPLIT)


def notes() -> Iterator[tuple[object, ...]]:
    """Seed, note, question and answer; slot values that no training has seen, no title twice with one seed."""
    for seed in SEEDS:
        rng = random.Random(f"library-{SPLIT}-{seed}")
        templates = tasks.usable_notes(SPLIT)
        made: dict[str, tuple[str, list[tuple[str, str]]]] = {}
        while len(made) < NOTES:
            text, pairs = tasks.make_note(rng.choice(templates), rng, SPLIT)
            made.setdefault(text.split(":")[0], (text, pairs))
        for text, pairs in made.values():
            yield seed, text, *rng.choice(pairs)
