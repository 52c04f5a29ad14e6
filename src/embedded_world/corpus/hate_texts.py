"""Labelled texts for the toxicity classifiers: sentences, summaries and a few dialogues, hate or nothate.

A text is "hate" when it insults somebody or repeats an insult as a summary would ("#Person1# calls #Person2# a leaky
bucket"), and "nothate" when it tells a conflict in neutral words, denies or rejects an insult, means harsh words
kindly, or has nothing to do with any of it. The frames stand in ``data/content/toxicity.yaml``.

The splits differ in what they may draw on: places of frames, of insults and of clauses in their lists. No text is in
two of them.
"""

from __future__ import annotations

import csv
import random
from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from pathlib import Path

from embedded_world.corpus.dialogue import hostility, smalltalk
from embedded_world.corpus.hate_frames import (
    CHALLENGE_ROWS,
    SHARES,
    Share,
    as_sentence,
    content,
    draw_frame,
    draw_insult,
    fill_frame,
    forbidden_insults,
    frames,
    insult_heads,
    kinds,
    people,
)
from embedded_world.corpus.hate_summaries import draw_style, fresh, summary
from embedded_world.corpus.language import fill, sentence_case
from genai_labs.paths import DATA
from genai_labs.scoring.labelled_texts import LABELS, LabelledText

TOXICITY = DATA / "toxicity"
COLUMNS = {"test": ("id", "text", "label", "kind"), "challenge": ("id", "text", "label", "kind", "frame")}
CHALLENGE_KINDS = ("negation", "quotation", "kind use", "plain")
# What a text is, and how often.
MIXTURE = {"sentence": 0.50, "sentences": 0.06, "summary": 0.43, "dialogue": 0.01}
SENTENCE_WEIGHTS = {"everyday": 2.0, "hostile line": 1.0, "plain": 1.5, "kind": 1.2}
PREFIXES = ("Honestly, ", "Well, ", "You know, ", "Listen, ", "To be honest, ", "By the way, ", "So, ")


def hostile_words() -> list[str]:
    """A list of hostile words as filters use them, in order: heads of insults and harsh words."""
    return sorted(insult_heads() | set(content()["harsh_words"]))


def sentence(rng: random.Random, share: Share, kind: str = "", label: int = 0) -> LabelledText:
    """One sentence: of a kind and label, or of any."""
    if not kind:
        options = [*kinds(), ("everyday", 0), ("hostile line", 1)]
        kind, label = rng.choices(options, [SENTENCE_WEIGHTS.get(k, 1.0) for k, _ in options])[0]
    if kind == "everyday":
        return LabelledText(everyday(rng, share), 0, kind)
    if kind == "hostile line":
        return LabelledText(hostile_line(rng, share), 1, kind)
    frame = draw_frame(rng, kind, label, share)
    text = as_sentence(fill_frame(frame, rng, share, people(rng)), rng.choice(("present", "past")))
    if share.frames and rng.random() < 0.12 and text.startswith(("You ", "I ", "It ", "We ", "Nobody ")):
        kept = text if text.startswith("I ") else text[0].lower() + text[1:]
        text = rng.choice(PREFIXES) + kept
    return LabelledText(text, label, kind)


def everyday(rng: random.Random, share: Share) -> str:
    """A turn of a peaceful dialogue, a reaction to rudeness, or small talk."""
    if rng.random() < 0.12:
        return str(rng.choice(hostility()["reactions"]))
    if rng.random() < 0.1:
        return as_sentence(f"{rng.choice(smalltalk()['prefixes'])} {everyday(rng, share)}", "present")
    return rng.choice(fresh(rng, share).turns)[1]


def hostile_line(rng: random.Random, share: Share) -> str:
    """A hostile turn as the dialogues have them."""
    category = rng.choice(hostility()["categories"])
    if category.get("plain") and rng.random() < 0.3:
        return str(rng.choice(category["plain"])["line"])
    return sentence_case(fill(rng.choice(category["lines"]), {"insult": draw_insult(rng, share)}))


def sentences(rng: random.Random, share: Share) -> LabelledText:
    """Two or three sentences in a row, hateful if one of them is."""
    first = sentence(rng, share)
    harmless = rng.choices([("everyday", 0), ("plain", 0), ("kind", 0)], (2, 1, 1), k=rng.randint(1, 2))
    rows = [sentence(rng, share, *kind) for kind in harmless]
    rows.insert(rng.randint(0, len(rows)), first)
    return LabelledText(" ".join(row.text for row in rows), first.label, first.kind)


def dialogue_row(rng: random.Random, share: Share) -> LabelledText:
    """A whole dialogue, half of the time with a summary below it; hateful if anything in it is."""
    forbidden = forbidden_insults(share)
    while True:
        dialogue = fresh(rng, share, hostile_share=0.7)
        text = dialogue.text
        if not any(each in text for each in forbidden):
            break
    below = replace(dialogue, quarrel=None).summary(draw_style(rng), rng) if rng.random() < 0.5 else ""
    return LabelledText(f"{text}\n{below}".strip(), int(dialogue.quarrel is not None), "dialogue")


MAKERS = {"sentence": sentence, "sentences": sentences, "summary": summary, "dialogue": dialogue_row}
EARLIER = ("train_reward", "train_judge", "validation", "test")


def draw_texts(split: str, seed: int = 0) -> Iterator[LabelledText]:
    """Rows of a split without end, by seed; texts may repeat."""
    rng, share = random.Random(f"toxicity-{split}-{seed}"), SHARES[split]
    while True:
        yield MAKERS[rng.choices(list(MIXTURE), list(MIXTURE.values()))[0]](rng, share)


@cache
def texts_of(split: str, seed: int = 0) -> tuple[LabelledText, ...]:
    """The rows of ``train_reward``, ``train_judge``, ``validation``, ``test`` or ``challenge``; no text twice.

    No split holds a text of another one that comes before it in this order.
    """
    if split == "challenge":
        return tuple(challenge(seed))
    used = {row.text for other in EARLIER[: EARLIER.index(split)] for row in texts_of(other, seed)}
    kept: list[LabelledText] = []
    for row in draw_texts(split, seed):
        if row.text not in used:
            used.add(row.text)
            kept.append(row)
        if len(kept) == SHARES[split].rows:
            return tuple(kept)
    raise AssertionError("draw_texts never ends")


def challenge(seed: int = 0) -> list[LabelledText]:
    """Kinds that a list of words gets wrong, each as often hateful as not, in frames that no training row has.

    A frame with people is told of them by tag, name, role or position; frames come in turn, fillers by chance.
    """
    rng, share = random.Random(f"toxicity-challenge-{seed}"), SHARES["challenge"]
    made: list[LabelledText] = []
    for kind in CHALLENGE_KINDS:
        for label in (0, 1):
            texts: dict[str, str] = {}
            held_out = frames(kind, label, share)
            turn = 0
            while len(texts) < CHALLENGE_ROWS:
                place = turn % len(held_out)
                text = fill_frame(held_out[place], rng, share, people(rng))
                frame = f"{kind}, {LABELS[label]}, {place}"
                texts.setdefault(as_sentence(text, rng.choice(("present", "past"))), frame)
                turn += 1
            made += [LabelledText(text, label, kind, frame) for text, frame in texts.items()]
    rng.shuffle(made)
    return made


def write_sets(folder: Path = TOXICITY, seed: int = 0) -> None:
    """Write ``challenge.csv``, ``test.csv`` and the list of words; the same content and seed give the same bytes."""
    folder.mkdir(parents=True, exist_ok=True)
    lines = "\n".join(["word", *hostile_words()])
    (folder / "hostile_words.csv").write_text(f"{lines}\n", encoding="utf-8", newline="\n")
    for name, columns in COLUMNS.items():
        with (folder / f"{name}.csv").open("w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(columns)
            for i, row in enumerate(texts_of(name, seed)):
                cells = (f"{name}_{i}", row.text, LABELS[row.label], row.kind, row.frame)
                writer.writerow(cells[: len(columns)])
