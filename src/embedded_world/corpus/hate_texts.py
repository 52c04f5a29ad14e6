"""Labelled texts for the toxicity classifiers: sentences, summaries and a few dialogues, hate or nothate.

A text is "hate" when it insults somebody or repeats an insult as a summary would ("#Person1# calls #Person2# a leaky
bucket"), and "nothate" when it tells a conflict in neutral words, denies or rejects an insult, means harsh words
kindly, or has nothing to do with any of it. The frames stand in ``data/content/toxicity.yaml``.

The splits differ in what they may draw on: places of frames in their lists, places of insults in theirs, and
combinations of slots, all of which belong to pre-training, so that no summary of a test dialogue is ever seen.
"""

from __future__ import annotations

import csv
import random
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from embedded_world.corpus.content import PLACEHOLDER, fields, pools, read_yaml, scenarios
from embedded_world.corpus.dialogue import Dialogue, Quarrel, bucket, capitalized, hostility, play, smalltalk
from embedded_world.corpus.language import Tense, articles, conjugate, fill, sentence_case
from embedded_world.corpus.styles import HOUSE, Style, exemplar_style, open_style
from genai_labs.paths import DATA
from genai_labs.scoring.labelled_texts import LABELS
from genai_labs.scoring.labelled_texts import LabelledText as Row

TOXICITY = DATA / "toxicity"
COLUMNS = ("id", "text", "label", "kind")
FRAME_PLACES = 8
INSULT_PLACES = 5
CHALLENGE_KINDS = ("negation", "quotation", "kind use", "plain")
CHALLENGE_ROWS = 30  # of each kind and label
CLAUSE_START, CLAUSE_END = "\x01", "\x02"
TEMPLATE_PEOPLE = {"H": "{A}", "V": "{B}", "H's": "{A's}", "V's": "{B's}"}
# Small words that a clause can lose without losing its meaning.
LOSABLE = {"a", "an", "the", "that", "is", "was"}
INSULT_TAIL = re.compile(
    r" (?:with|without|of|in|on|at|that|who|which|from|to|behind|under|before|left|made|run|by|going|between|for|"
    r"after|like|above|near|packed|cut|thrown|gone|leading|rolling|falling|baked|drawn|full|sewn|nailed|used|tuned|"
    r"sent|per|around|over|as|rusted|shut|wearing)\b.*"
)


@dataclass(frozen=True)
class Share:
    """What a split may draw on.

    frames: places modulo 8 in the lists of frames, none for the held-out lists ``challenge``. insults: places modulo 5
    in each list of insults. slots: range of the hash of a dialogue's combination of slots.
    """

    frames: frozenset[int]
    insults: frozenset[int]
    slots: tuple[float, float]
    rows: int


# Reward model and judge share five of eight places of frames and no insult; nobody trains on place 7 or on insult 4.
SHARES = {
    "train_reward": Share(frozenset((0, 1, 2, 4, 5, 6)), frozenset((0, 1)), (0.0, 0.30), 60_000),
    "train_judge": Share(frozenset((0, 1, 2, 3, 4, 5)), frozenset((2, 3)), (0.30, 0.55), 50_000),
    "validation": Share(frozenset((7,)), frozenset((4,)), (0.55, 0.60), 1_200),
    "test": Share(frozenset(range(7)), frozenset((4,)), (0.60, 0.70), 1_000),
    "challenge": Share(frozenset(), frozenset((4,)), (0.60, 0.70), 8 * CHALLENGE_ROWS),
}
# What a text is, and how often.
MIXTURE = {"sentence": 0.54, "sentences": 0.07, "summary": 0.38, "dialogue": 0.01}
BROKEN_SHARE = 0.3
SENTENCE_WEIGHTS = {"everyday": 2.0, "hostile line": 1.0, "plain": 1.5, "kind": 1.2}


@cache
def content() -> dict[str, Any]:
    """Frames, fillers, odd things and harsh words (``toxicity.yaml``)."""
    return dict(read_yaml("toxicity.yaml", dict))


# ---------------------------------------------------------------------------------------------------------- insults


@cache
def insults(share: Share) -> tuple[str, ...]:
    """The authored insults whose place in their list belongs to the share."""
    lists = [category["insults"] for category in hostility()["categories"]]
    return tuple(x for each in lists for i, x in enumerate(each) if i % INSULT_PLACES in share.insults)


@cache
def forbidden_insults(share: Share) -> tuple[str, ...]:
    """The authored insults that a text of the share must not hold."""
    lists = [category["insults"] for category in hostility()["categories"]]
    return tuple(sorted({x for each in lists for x in each} - set(insults(share))))


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
    return rng.choice(insults(share)) if kind < 0.4 else oddity(rng) if kind < 0.7 else gibberish(rng)


@cache
def insult_heads() -> frozenset[str]:
    """The heads of all authored insults: "a rusty hourglass" is an hourglass, "a bus without wheels" a bus."""
    authored = [x for category in hostility()["categories"] for x in category["insults"]]
    return frozenset(INSULT_TAIL.sub("", x).split()[-1].lower() for x in authored)


def hostile_words() -> list[str]:
    """A list of hostile words as filters use them, in order: heads of insults and harsh words."""
    return sorted(insult_heads() | set(content()["harsh_words"]))


# ----------------------------------------------------------------------------------------------------------- frames


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


def finished(text: str, tense: Tense) -> str:
    """A sentence with its verbs in a tense, a capital and a final mark."""
    text = sentence_case(conjugate(text, tense))
    return text if text[-1] in ".!?" else f"{text}."


# -------------------------------------------------------------------------------------------------------- sentences

PREFIXES = ("Honestly, ", "Well, ", "You know, ", "Listen, ", "To be honest, ", "By the way, ", "So, ")


def sentence(rng: random.Random, share: Share, kind: str = "", label: int = 0) -> Row:
    """One sentence: of a kind and label, or of any."""
    if not kind:
        options = [*kinds(), ("everyday", 0), ("hostile line", 1)]
        kind, label = rng.choices(options, [SENTENCE_WEIGHTS.get(k, 1.0) for k, _ in options])[0]
    if kind == "everyday":
        return Row(everyday(rng, share), 0, kind)
    if kind == "hostile line":
        return Row(hostile_line(rng, share), 1, kind)
    frame = draw_frame(rng, kind, label, share)
    text = finished(fill_frame(frame, rng, share, people(rng)), rng.choice(("present", "past")))
    if share.frames and rng.random() < 0.12 and text.startswith(("You ", "I ", "It ", "We ", "Nobody ")):
        kept = text if text.startswith("I ") else text[0].lower() + text[1:]
        text = rng.choice(PREFIXES) + kept
    return Row(text, label, kind)


def everyday(rng: random.Random, share: Share) -> str:
    """A turn of a peaceful dialogue, a reaction to rudeness, or small talk."""
    if rng.random() < 0.12:
        return str(rng.choice(hostility()["reactions"]))
    if rng.random() < 0.1:
        return finished(f"{rng.choice(smalltalk()['prefixes'])} {everyday(rng, share)}", "present")
    return rng.choice(fresh(rng, share).turns)[1]


def hostile_line(rng: random.Random, share: Share) -> str:
    """A hostile turn as the dialogues have them."""
    category = rng.choice(hostility()["categories"])
    if category.get("plain") and rng.random() < 0.3:
        return str(rng.choice(category["plain"])["line"])
    return sentence_case(fill(rng.choice(category["lines"]), {"insult": draw_insult(rng, share)}))


def sentences(rng: random.Random, share: Share) -> Row:
    """Two or three sentences in a row, hateful if one of them is."""
    told = sentence(rng, share)
    harmless = rng.choices([("everyday", 0), ("plain", 0), ("kind", 0)], (2, 1, 1), k=rng.randint(1, 2))
    rows = [sentence(rng, share, *kind) for kind in harmless]
    rows.insert(rng.randint(0, len(rows)), told)
    return Row(" ".join(row.text for row in rows), told.label, told.kind)


# -------------------------------------------------------------------------------------------------------- summaries


def fresh(rng: random.Random, share: Share, hostile_share: float = 0.0) -> Dialogue:
    """A dialogue of a known scenario with a combination of slots of the share."""
    low, high = share.slots
    return play(rng.choice(scenarios()), rng, lambda s: low <= bucket(s) < high, hostile_share)


def harsh_clause(rng: random.Random, share: Share) -> tuple[str, str]:
    """A clause that reports an insult, with {H} and {V} open, and its kind."""
    if rng.random() < 0.7:
        category = rng.choice(hostility()["categories"])
        if category.get("plain") and rng.random() < 0.3:
            return rng.choice(category["plain"])["harsh"], "summary, harsh"
        return rng.choice(category["harsh"]), "summary, harsh"
    kind, label = rng.choice([k for k in kinds(1) if k[0] != "insult"])
    return draw_frame(rng, kind, label, share, True), "summary, harsh in other words"


def mild_clause(rng: random.Random, share: Share) -> tuple[str, str]:
    """A clause that tells the conflict neutrally or denies an insult, with {H} and {V} open, and its kind."""
    if rng.random() < 0.6:
        category = rng.choice(hostility()["categories"])
        if category.get("plain") and rng.random() < 0.3:
            return rng.choice(category["plain"])["neutral"], "summary, neutral"
        return rng.choice(category["neutral"]), "summary, neutral"
    kind, label = rng.choice(kinds(0))
    return draw_frame(rng, kind, label, share, True), "summary, mild in other words"


def draw_style(rng: random.Random) -> Style:
    """The house style in three cases of five, else any other."""
    if rng.random() < 0.6:
        return HOUSE
    return exemplar_style(rng, 0.0) if rng.random() < 0.5 else open_style(rng)


def parts(dialogue: Dialogue, clause: str, style: Style, rng: random.Random) -> tuple[str, str, str]:
    """A summary as what stands before the clause, the clause itself, and what stands after it."""
    if rng.random() < 0.2 and style == HOUSE:  # a small model does not always keep the order
        told = dialogue.summary(style, rng)
        written = write_alone(dialogue, clause, style)
        return ("", f"{written}.", f" {told}") if rng.random() < 0.5 else (f"{told} ", f"{written}.", "")
    marked = f"{CLAUSE_START}{clause}{CLAUSE_END}"
    told = Dialogue(
        dialogue.scenario,
        dialogue.ending,
        dialogue.values,
        dialogue.turns,
        dialogue.names,
        Quarrel("A", "", (marked,), (marked,)),
    ).summary(style, rng)
    before, written, after = re.split(f"[{CLAUSE_START}{CLAUSE_END}]", told)
    return before, capitalized(written) if before.endswith(". ") else written, after


def write_alone(dialogue: Dialogue, clause: str, style: Style) -> str:
    """The clause as a sentence of its own, without the final mark."""
    named = {s: dialogue.name_of(s, style.naming) for s in "AB"}
    named |= {f"{s}'s": f"{name}'s" for s, name in named.items()}
    return capitalized(articles(fill(conjugate(clause, style.tense), named)))


def who(rng: random.Random) -> dict[str, str]:
    """Who speaks and who is spoken of, as fields of a summary clause; sometimes mixed up, as small models do."""
    if rng.random() < 0.05:
        return TEMPLATE_PEOPLE | {"V": "{A}", "V's": "{A's}"}
    if rng.random() < 0.5:
        return TEMPLATE_PEOPLE
    return {"H": "{B}", "V": "{A}", "H's": "{B's}", "V's": "{A's}"}


def summary(rng: random.Random, share: Share) -> Row:
    """A summary with a harsh clause, with a mild one, or with none; sometimes broken."""
    dialogue, style = fresh(rng, share), draw_style(rng)
    case = rng.choices(("harsh", "mild", "none"), (0.45, 0.3, 0.25))[0]
    broken = rng.random() < BROKEN_SHARE
    if case == "none":
        text = dialogue.summary(style, rng)
        return Row(rough(text, rng) if broken else text, 0, "broken" if broken else "summary, no quarrel")
    frame, kind = harsh_clause(rng, share) if case == "harsh" else mild_clause(rng, share)
    three = parts(dialogue, fill_frame(frame, rng, share, who(rng)), style, rng)
    label = int(case == "harsh")
    return break_up(three, label, rng) if broken else Row("".join(three), label, kind)


# ------------------------------------------------------------------------------------------------------ broken text


def rough(text: str, rng: random.Random) -> str:
    """Text as a badly trained model writes it: words lost, doubled, swapped or thrown together, or the end missing."""
    words = text.split()
    damage = rng.choice(("drop", "repeat", "swap", "shuffle", "cut", "loop"))
    if damage == "drop":
        words = [w for w in words if rng.random() > 0.2] or words[:1]
    elif damage == "repeat":
        words = [w for w in words for _ in range(rng.choice((1, 1, 1, 1, 2, 3)))]
    elif damage == "swap":
        for i in range(len(words) - 1):
            if rng.random() < 0.2:
                words[i], words[i + 1] = words[i + 1], words[i]
    elif damage == "shuffle":
        words = rng.sample(words, rng.randint(min(2, len(words)), len(words)))
    elif damage == "cut":
        words = words[: rng.randint(1, len(words))]
    else:
        start = rng.randrange(len(words))
        words = words[: start + 1] + words[start : start + rng.randint(1, 4)] * rng.randint(2, 5)
    return " ".join(words)


def gentle(clause: str, rng: random.Random) -> str:
    """The clause with a word doubled or small words lost: what it says is still there."""
    words = clause.split()
    if rng.random() < 0.5:
        at = rng.randrange(len(words))
        words.insert(at, words[at])
    else:
        words = [w for w in words if w not in LOSABLE or rng.random() > 0.5]
    return " ".join(words)


def break_up(three: tuple[str, str, str], label: int, rng: random.Random) -> Row:
    """A summary in three parts, damaged; its label is that of what is left."""
    before, clause, after = three
    damage = rng.choice(("lose clause", "around", "clause", "cut after", "clause first", "clause alone"))
    if damage == "lose clause":
        left = f"{before}{after}".strip() if rng.random() < 0.5 else before.strip() or after.strip()
        return Row(left, 0, "broken")
    if damage in ("around", "clause"):
        before = rough(before, rng) + " " if before.strip() and rng.random() < 0.6 else before
        after = " " + rough(after, rng) if len(after.split()) > 1 and rng.random() < 0.6 else after
    if damage == "clause":
        clause = gentle(clause, rng)
    if damage == "cut after":
        after = " ".join(after.split(" ")[: rng.randint(0, 3)])
    if damage == "clause first":
        before = ""
    if damage == "clause alone":
        before = after = ""
    return Row(f"{before}{clause}{after}".strip(), label, "broken")


# -------------------------------------------------------------------------------------------------- dialogues, splits


def dialogue_row(rng: random.Random, share: Share) -> Row:
    """A whole dialogue, half of the time with a summary below it; hateful if anything in it is."""
    forbidden = forbidden_insults(share)
    while True:
        dialogue = fresh(rng, share, hostile_share=0.7)
        text = dialogue.text
        if not any(each in text for each in forbidden):
            break
    told = dialogue.summary(draw_style(rng), rng) if rng.random() < 0.5 else ""
    return Row(f"{text}\n{told}".strip(), int(dialogue.quarrel is not None), "dialogue")


MAKERS = {"sentence": sentence, "sentences": sentences, "summary": summary, "dialogue": dialogue_row}
EARLIER = ("train_reward", "train_judge", "validation", "test")


def generate(split: str, seed: int = 0) -> Iterator[Row]:
    """Rows of a split without end, by seed; texts may repeat."""
    rng, share = random.Random(f"toxicity-{split}-{seed}"), SHARES[split]
    while True:
        yield MAKERS[rng.choices(list(MIXTURE), list(MIXTURE.values()))[0]](rng, share)


@cache
def rows(split: str, seed: int = 0) -> tuple[Row, ...]:
    """The rows of ``train_reward``, ``train_judge``, ``validation``, ``test`` or ``challenge``; no text twice.

    No split holds a text of another one that comes before it in this order.
    """
    if split == "challenge":
        return tuple(challenge(seed))
    used = {row.text for other in EARLIER[: EARLIER.index(split)] for row in rows(other, seed)}
    kept: list[Row] = []
    for row in generate(split, seed):
        if row.text not in used:
            used.add(row.text)
            kept.append(row)
        if len(kept) == SHARES[split].rows:
            return tuple(kept)
    raise AssertionError("generate never ends")


def challenge(seed: int = 0) -> list[Row]:
    """Kinds that a list of words gets wrong, each as often hateful as not, in frames that no training row has.

    A frame with people is told of them by tag, name, role or position; frames come in turn, fillers by chance.
    """
    rng, share = random.Random(f"toxicity-challenge-{seed}"), SHARES["challenge"]
    made: list[Row] = []
    for kind in CHALLENGE_KINDS:
        for label in (0, 1):
            texts: dict[str, None] = {}
            held_out = frames(kind, label, share)
            turn = 0
            while len(texts) < CHALLENGE_ROWS:
                text = fill_frame(held_out[turn % len(held_out)], rng, share, people(rng))
                texts.setdefault(finished(text, rng.choice(("present", "past"))))
                turn += 1
            made += [Row(text, label, kind) for text in texts]
    rng.shuffle(made)
    return made


def write_sets(folder: Path = TOXICITY, seed: int = 0) -> None:
    """Write ``challenge.csv``, ``test.csv`` and the list of words; the same content and seed give the same bytes."""
    folder.mkdir(parents=True, exist_ok=True)
    lines = "\n".join(["word", *hostile_words()])
    (folder / "hostile_words.csv").write_text(f"{lines}\n", encoding="utf-8", newline="\n")
    for name in ("challenge", "test"):
        with (folder / f"{name}.csv").open("w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(COLUMNS)
            writer.writerows(
                (f"{name}_{i}", row.text, LABELS[row.label], row.kind) for i, row in enumerate(rows(name, seed))
            )
