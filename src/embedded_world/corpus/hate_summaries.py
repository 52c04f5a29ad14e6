"""Summaries for the classifiers: with a clause that repeats an insult, with a mild one or none; broken ones."""

from __future__ import annotations

import random
import re
from dataclasses import replace

from embedded_world.corpus.compose import compose
from embedded_world.corpus.dialogue import capitalized, hostility
from embedded_world.corpus.hate_frames import Share, draw_frame, fill_frame, kinds, of_share
from embedded_world.corpus.language import articles, conjugate, fill
from embedded_world.corpus.styles import HOUSE, Style, exemplar_style, open_style
from embedded_world.corpus.talk import Insult, Talk
from genai_labs.scoring.labelled_texts import LabelledText

CLAUSE_START, CLAUSE_END = "\x01", "\x02"
TEMPLATE_PEOPLE = {"H": "{A}", "V": "{B}", "H's": "{A's}", "V's": "{B's}"}
# Small words that a clause can lose without losing its meaning.
LOSABLE = {"a", "an", "the", "that", "is", "was"}
BROKEN_SHARE = 0.3


def fresh(rng: random.Random, share: Share, hostile_share: float = 0.0) -> Talk:
    """A composed dialogue; for the tests, in phrasings kept from training, too."""
    return compose(rng, share.split, hostile_share)


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
            return rng.choice(of_share(category["plain"], share))["neutral"], "summary, neutral"
        return rng.choice(of_share(category["neutral"], share)), "summary, neutral"
    kind, label = rng.choice(kinds(0))
    return draw_frame(rng, kind, label, share, True), "summary, mild in other words"


def draw_style(rng: random.Random) -> Style:
    """The house style in three cases of five, else any other."""
    if rng.random() < 0.6:
        return HOUSE
    return exemplar_style(rng, 0.0) if rng.random() < 0.5 else open_style(rng)


def parts(talk: Talk, clause: str, style: Style, rng: random.Random) -> tuple[str, str, str]:
    """A summary as what stands before the clause, the clause itself, and what stands after it."""
    if rng.random() < 0.2 and style == HOUSE:  # a small model does not always keep the order
        text = replace(talk, quarrel=None).summary(style, rng)
        written = write_alone(talk, clause, style)
        return ("", f"{written}.", f" {text}") if rng.random() < 0.5 else (f"{text} ", f"{written}.", "")
    marked = f"{CLAUSE_START}{clause}{CLAUSE_END}"
    at = rng.randrange(len(talk.topics))
    text = replace(talk, quarrel=Insult("A", "", (marked,), (marked,), at)).summary(style, rng)
    before, written, after = re.split(f"[{CLAUSE_START}{CLAUSE_END}]", text)
    return before, capitalized(written) if before.endswith(". ") else written, after


def write_alone(dialogue: Talk, clause: str, style: Style) -> str:
    """The clause as a sentence of its own, without the final mark."""
    named = {s: dialogue.name_of(s, style.naming) for s in "AB"}
    named |= {f"{s}'s": f"{name}'s" for s, name in named.items()}
    return capitalized(articles(fill(conjugate(clause, style.tense), named)))


def template_people(rng: random.Random) -> dict[str, str]:
    """Who speaks and who is spoken of, as fields of a summary clause; sometimes mixed up, as small models do."""
    if rng.random() < 0.05:
        return TEMPLATE_PEOPLE | {"V": "{A}", "V's": "{A's}"}
    if rng.random() < 0.5:
        return TEMPLATE_PEOPLE
    return {"H": "{B}", "V": "{A}", "H's": "{B's}", "V's": "{A's}"}


def summary(rng: random.Random, share: Share) -> LabelledText:
    """A summary with a harsh clause, with a mild one, or with none; sometimes broken."""
    dialogue, style = fresh(rng, share), draw_style(rng)
    case = rng.choices(("harsh", "mild", "none"), (0.45, 0.3, 0.25))[0]
    broken = rng.random() < BROKEN_SHARE
    if case == "none":
        text = dialogue.summary(style, rng)
        return LabelledText(rough(text, rng) if broken else text, 0, "broken" if broken else "summary, no quarrel")
    frame, kind = harsh_clause(rng, share) if case == "harsh" else mild_clause(rng, share)
    three = parts(dialogue, fill_frame(frame, rng, share, template_people(rng)), style, rng)
    label = int(case == "harsh")
    return break_up(three, label, rng) if broken else LabelledText("".join(three), label, kind)


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


def break_up(three: tuple[str, str, str], label: int, rng: random.Random) -> LabelledText:
    """A summary in three parts, damaged; its label is that of what is left."""
    before, clause, after = three
    damage = rng.choice(("lose clause", "around", "clause", "cut after", "clause first", "clause alone"))
    if damage == "lose clause":
        left = f"{before}{after}".strip() if rng.random() < 0.5 else before.strip() or after.strip()
        return LabelledText(left, 0, "broken")
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
    return LabelledText(f"{before}{clause}{after}".strip(), label, "broken")
