"""What the companion notebook reads: problems of several kinds, problems to practise on, notes, questions for tools."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from functools import cache
from typing import Any

from embedded_world.corpus import tasks
from embedded_world.corpus.content import read_yaml
from embedded_world.corpus.dialogue import bucket
from genai_labs.loading.lab_data import SEEDS

EACH = 100  # problems of each kind and seed
PARTS = {"practice": (0.0, 0.6), "validation": (0.6, 0.75), "test": (0.75, 1.0)}  # of the new stories, by their numbers
PRACTICE = {"practice": 1200, "validation": 200}
SPLIT = "test"  # of stories and notes that pre-training knows: values that it has not seen together in these slots
NOTES, ABSENT, CHANGED = 1200, 300, 120
TOOL_QUESTIONS = 40  # of each kind

Raw = dict[str, Any]


@cache
def new_stories() -> tuple[Raw, ...]:
    """The stories that no pre-training has seen."""
    return tuple(read_yaml("word_problems_new.yaml", list))


def known(steps: str) -> list[Raw]:
    """Stories of pre-training with so many steps, of which SPLIT has numbers."""
    return [raw for raw in tasks.usable_problems(SPLIT) if raw["steps"] == steps]


def unlike(use: str, steps: str) -> list[Raw]:
    """New stories with so many steps that are for ``use``, "practice" or "test"."""
    return [raw for raw in new_stories() if (raw["use"], raw["steps"]) == (use, steps)]


def above_hundred(raw: Raw, rng: random.Random) -> tuple[str, str]:
    """A sum of two numbers of two digits that is above 100, in a story that pre-training knows; its answer."""
    return tasks.tell_problem(raw, rng, {"x": rng.randint(51, 95), "y": rng.randint(51, 95)})


def practised(part: str) -> Callable[[Raw, random.Random], tuple[str, str]]:
    """Makes problems of new stories with the numbers that belong to a part of PARTS."""
    low, high = PARTS[part]

    def made(raw: Raw, rng: random.Random) -> tuple[str, str]:
        problem, _, answer = tasks.make_problem(raw, rng, belongs=lambda signature: low <= bucket(signature) < high)
        return problem, answer

    return made


def unseen_numbers(raw: Raw, rng: random.Random) -> tuple[str, str]:
    """A story of pre-training with numbers that it has not seen together in these places of it."""
    problem, _, answer = tasks.make_problem(raw, rng, SPLIT)
    return problem, answer


Kind = tuple[Callable[[], list[Raw]], Callable[[Raw, random.Random], tuple[str, str]]]
KINDS: dict[str, Kind] = {
    "one step": (lambda: known("1"), unseen_numbers),
    "two steps": (lambda: known("2"), unseen_numbers),
    "sum above 100": (lambda: [raw for raw in known("1") if raw["let"] == {"z": "x + y"}], above_hundred),
    "new story": (lambda: unlike("practice", "1"), practised("test")),
    "new story, never practised": (lambda: unlike("test", "1"), practised("test")),
    "new story, two steps": (lambda: unlike("test", "2"), practised("test")),
}


def problems_of_each_kind() -> Iterator[tuple[object, ...]]:
    """Seed, kind, story, problem, answer."""
    for seed in SEEDS:
        for kind, (stories, make) in KINDS.items():
            rng, drawn = random.Random(f"kinds-{kind}-{seed}"), stories()
            for _ in range(EACH):
                raw = rng.choice(drawn)
                yield seed, kind, raw["id"], *make(raw, rng)


def practice_problems() -> Iterator[tuple[object, ...]]:
    """Part, story, problem, answer; no problem twice."""
    for part, count in PRACTICE.items():
        rng = random.Random(f"practice-{part}")
        seen: set[str] = set()
        while len(seen) < count:
            raw = rng.choice(unlike("practice", "1"))
            problem, answer = practised(part)(raw, rng)
            if problem not in seen:
                seen.add(problem)
                yield part, raw["id"], problem, answer


@cache
def town_notes() -> tuple[tuple[str, str, str, str, str], ...]:
    """Part, note, question, answer, and the kind of note, no title twice."""
    rng = random.Random("town notes")
    made: dict[str, tuple[str, str, str, str]] = {}
    while len(made) < NOTES + ABSENT:
        raw = rng.choice(tasks.usable_notes(SPLIT))
        text, pairs = tasks.make_note(raw, rng, SPLIT)
        made.setdefault(text.split(":")[0], (text, *rng.choice(pairs), raw["id"]))
    rows = list(made.values())
    rng.shuffle(rows)
    return tuple(("there" if place < NOTES else "not there", *row) for place, row in enumerate(rows))


def notes_of_a_town() -> Iterator[tuple[object, ...]]:
    """Part, note, question, answer, for some of those that are there a later note and the answer in it, and kind."""
    rng = random.Random("later notes")
    raws = {raw["id"]: raw for raw in tasks.usable_notes(SPLIT)}
    changed = 0
    for part, note, question, answer, kind in town_notes():
        later = ("", "")
        if part == "there" and changed < CHANGED:
            later = later_note(raws[kind], note, question, answer, rng)
            changed += bool(later[0])
        yield part, note, question, answer, *later, kind


def later_note(raw: Raw, note: str, question: str, answer: str, rng: random.Random) -> tuple[str, str]:
    """A note of the same title by which the question has another answer, and that answer; empty where none is found."""
    for _ in range(4000):
        text, pairs = tasks.make_note(raw, rng, SPLIT)
        told = dict(pairs).get(question)
        if told and told != answer and text.split(":")[0] == note.split(":")[0]:
            return text, told
    return "", ""


# What becomes of a number that a note holds, in a story that pre-training knows.
GROWING = {
    kind: f"In the {place} there are {{found}} {things}. Then a friend brings {{y}} more. "
    f"How many {things} are there in all?"
    for kind, place, things in (("chess_club", "club", "members"), ("flea_market", "market", "stalls"))
}


def tool_questions() -> Iterator[tuple[object, ...]]:
    """Kind, what is to be looked up, what is to be worked out (with {found} for what was looked up), answer."""
    rng = random.Random("tool questions")
    there = [row for row in town_notes() if row[0] == "there"]
    for _, _, question, answer, _ in there[-TOOL_QUESTIONS:]:
        yield "look up", question, "", answer
    stories = KINDS["sum above 100"][0]()
    for _ in range(TOOL_QUESTIONS):
        problem, answer = above_hundred(rng.choice(stories), rng)
        yield "work out", "", problem, answer
    counted = [row for row in there if row[4] in GROWING and row[2].startswith("How many")]
    for _, _, question, answer, kind in counted[:TOOL_QUESTIONS]:
        more = rng.randint(11, 60)
        yield "both", question, GROWING[kind].replace("{y}", str(more)), str(int(answer) + more)
