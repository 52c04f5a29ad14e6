"""Frames of hateful and harmless sentences, and the insults and people that fill them.

The frames stand in ``data/content/toxicity.yaml``. The splits differ in which of them they may draw on, by their places
in the lists of frames and of insults.
"""

from __future__ import annotations

import random
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, TypeVar

from embedded_world.corpus.content import PLACEHOLDER, fields, pools, read_yaml, scenarios
from embedded_world.corpus.dialogue import hostility
from embedded_world.corpus.language import Tense, articles, conjugate, fill, sentence_case
from genai_labs.scoring.labelled_texts import LABELS

T = TypeVar("T")

FRAME_PLACES = 8
INSULT_PLACES = 5
CHALLENGE_ROWS = 30  # of each kind and label
INSULT_TAIL = re.compile(
    r" (?:with|without|of|in|on|at|that|who|which|from|to|behind|under|before|left|made|run|by|going|between|for|"
    r"after|like|above|near|packed|cut|thrown|gone|leading|rolling|falling|baked|drawn|full|sewn|nailed|used|tuned|"
    r"sent|per|around|over|as|rusted|shut|wearing)\b.*"
)


@dataclass(frozen=True)
class Share:
    """What a split may draw on.

    frames: places modulo 8 in the lists of frames, none for the held-out lists ``challenge``. insults: places modulo 5
    in each list of insults. clauses: places modulo 2 in each list of clauses that tell a quarrel in neutral words.
    split: of the phrasings of composed dialogues.
    """

    frames: frozenset[int]
    insults: frozenset[int]
    clauses: frozenset[int]
    rows: int
    split: str = "pretraining"


# Reward model and judge share five of eight places of frames, no insult, and few of the neutral clauses; nobody trains
# on place 7 or on insult 4.
EVEN, ODD = frozenset((0,)), frozenset((1,))
SHARES = {
    "train_reward": Share(frozenset((0, 1, 2, 4, 5, 6)), frozenset((0, 1)), EVEN, 60_000),
    "train_judge": Share(frozenset((0, 1, 2, 3, 4, 5)), frozenset((2, 3)), ODD, 45_000),
    "validation": Share(frozenset((7,)), frozenset((4,)), EVEN | ODD, 1_200),
    "test": Share(frozenset(range(7)), frozenset((4,)), EVEN | ODD, 1_000, "test"),
    "challenge": Share(frozenset(), frozenset((4,)), EVEN | ODD, 8 * CHALLENGE_ROWS, "test"),
}


def of_share(clauses: Sequence[T], share: Share) -> list[T]:
    """Those of a list of authored clauses that the share may use."""
    return [clause for place, clause in enumerate(clauses) if place % 2 in share.clauses]


@cache
def content() -> dict[str, Any]:
    """Frames, fillers, odd things and harsh words (``toxicity.yaml``)."""
    return dict(read_yaml("toxicity.yaml", dict))


@cache
def allowed_insults(share: Share) -> tuple[str, ...]:
    """The authored insults whose place in their list belongs to the share."""
    lists = [category["insults"] for category in hostility()["categories"]]
    return tuple(x for each in lists for i, x in enumerate(each) if i % INSULT_PLACES in share.insults)


@cache
def forbidden_insults(share: Share) -> tuple[str, ...]:
    """The authored insults that a text of the share must not hold."""
    lists = [category["insults"] for category in hostility()["categories"]]
    return tuple(sorted({x for each in lists for x in each} - set(allowed_insults(share))))


def oddity(rng: random.Random) -> str:
    """An odd thing put together: "a dented cabbage", "a soggy mitten in a raincoat"."""
    parts = content()["oddities"]
    thing = f"a(n) {rng.choice(parts['adjectives'])} {rng.choice(parts['nouns'])}"
    return articles(f"{thing} {rng.choice(parts['tails'])}" if rng.random() < 0.5 else thing)


@cache
def common_words() -> tuple[str, ...]:
    """Words of four letters and more that the scenarios are written in."""
    turns = (t for s in scenarios() for t in (*s.main, *(t for e in s.endings for t in e.turns)))
    return tuple(sorted({w for t in turns for line in t.phrasings for w in re.findall(r"\b[a-z]{4,}\b", line)}))


def gibberish(rng: random.Random) -> str:
    """One to four words of the scenarios after an article: what an insult looks like in a weak model's words."""
    return articles(f"a(n) {' '.join(rng.choice(common_words()) for _ in range(rng.choice((1, 2, 2, 3, 4))))}")


def draw_insult(rng: random.Random, share: Share) -> str:
    """An insult of the share; in training often one put together or thrown together, so that frames must be read."""
    kind = rng.random() if len(share.insults) > 1 else 0.0
    return rng.choice(allowed_insults(share)) if kind < 0.4 else oddity(rng) if kind < 0.7 else gibberish(rng)


@cache
def insult_heads() -> frozenset[str]:
    """The heads of all authored insults: "a rusty hourglass" is an hourglass, "a bus without wheels" a bus."""
    authored = [x for category in hostility()["categories"] for x in category["insults"]]
    return frozenset(INSULT_TAIL.sub("", x).split()[-1].lower() for x in authored)


@cache
def frames(kind: str, label: int, share: Share, reports: bool | None = None) -> tuple[str, ...]:
    """The frames of a kind and label that the share may use; only those of reports, only others, or both (None)."""
    found: list[str] = []
    for entry in content()["kinds"]:
        if (entry["id"], entry["label"]) == (kind, LABELS[label]):
            kept = [f for i, f in enumerate(entry["frames"]) if i % FRAME_PLACES in share.frames]
            found += kept if share.frames else entry.get("challenge", [])
    return tuple(f for f in found if reports is None or ("{H}" in f or "{H's}" in f) is reports)


@cache
def weights(options: tuple[str, ...]) -> tuple[int, ...]:
    """How likely each frame is: the more it leaves open, and so the more sentences it stands for, the likelier."""
    return tuple(1 + 2 * len(fields(frame) & set(content()["fillers"])) for frame in options)


def draw_frame(rng: random.Random, kind: str, label: int, share: Share, reports: bool | None = None) -> str:
    """One of the frames of a kind and label, by their weights."""
    options = frames(kind, label, share, reports)
    return rng.choices(options, weights(options))[0]


@cache
def kinds(label: int | None = None) -> tuple[tuple[str, int], ...]:
    """The authored kinds as pairs of name and label."""
    pairs = [(entry["id"], LABELS.index(entry["label"])) for entry in content()["kinds"]]
    return tuple(p for p in pairs if label in (None, p[1]))


def people(rng: random.Random) -> dict[str, str]:
    """Two people, named in one of the ways that summaries use: {H} and {V} with their possessives."""
    naming = rng.choices(("tag", "role", "name", "position"), (0.55, 0.2, 0.15, 0.1))[0]
    if naming == "tag":
        pair = ["#Person1#", "#Person2#"]
    elif naming == "role":
        pair = [f"the {role}" for role in rng.choice(scenarios()).roles]
    elif naming == "name":
        pair = rng.sample(pools()["person"], 2)
    else:
        pair = ["the first speaker", "the second speaker"]
    rng.shuffle(pair)
    return {"H": pair[0], "V": pair[1], "H's": f"{pair[0]}'s", "V's": f"{pair[1]}'s"}


def fill_frame(frame: str, rng: random.Random, share: Share, named: dict[str, str]) -> str:
    """The frame with its fillers drawn and its people named as given; verbs still stand as [present|past]."""
    insult = draw_insult(rng, share)
    lists = content()["fillers"]
    values = {name: rng.choice(lists[name]) for name in dict.fromkeys(PLACEHOLDER.findall(frame)) if name in lists}
    values |= {"insult": insult, "bare": insult.split(" ", 1)[1], "P": rng.choice(pools()["person"])}
    opened = fill(frame, values | {name: f"{{{name}}}" for name in named})  # fillers such as {labels} name people, too
    return articles(fill(opened.replace("{V}'s", "{V's}").replace("{H}'s", "{H's}"), values | named))


def as_sentence(text: str, tense: Tense) -> str:
    """A sentence with its verbs in a tense, a capital and a final mark."""
    text = sentence_case(conjugate(text, tense))
    return text if text[-1] in ".!?" else f"{text}."
