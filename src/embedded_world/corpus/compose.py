"""Compose a dialogue of speech acts, with summaries composed of the acts' reports.

A dialogue has a setting (a shop, neighbours, ...), one to four exchanges, and small talk around them. An exchange is an
act's opening and one of its answers. Every slot is filled with words of its type, so that no dialogue can be
recalled: whoever summarizes it has to read it.
"""

from __future__ import annotations

import random
import re
from collections.abc import Sequence
from dataclasses import replace
from functools import cache

from embedded_world.corpus import words
from embedded_world.corpus.acts import EQUALS, SLOT, Act, Part, Phrasing, all_acts
from embedded_world.corpus.dialogue import bucket, capitalized, hostility
from embedded_world.corpus.fillings import Slots, other, spoken_turns
from embedded_world.corpus.language import articles, conjugate, fill, sentence_case
from embedded_world.corpus.spoken import (
    SpokenTurn,
    fill_pauses,
    in_full,
    led_over,
    placed,
    spoken,
    tidy,
)
from embedded_world.corpus.talk import Insult, Talk, Told

# Roles of the two speakers by setting: of a client and of staff, or of two equals.
ROLES: dict[str, tuple[tuple[str, str], ...]] = {
    "neighbours": (("the visitor", "the neighbor"), ("the new tenant", "the old neighbor")),
    "family": (("the aunt", "the nephew"), ("the mother", "the son"), ("the brother", "the sister")),
    "friends": (("the host", "the guest"), ("the caller", "the friend")),
    "flatmates": (("the student", "the flatmate"), ("the first tenant", "the second tenant")),
    "colleagues": (("the engineer", "the designer"), ("the trainee", "the colleague")),
    "classmates": (("the singer", "the classmate"), ("the late student", "the other student")),
    "club": (("the coach", "the player"), ("the treasurer", "the member")),
    "shop": (("the customer", "the shop assistant"), ("the customer", "the seller")),
    "restaurant": (("the guest", "the waiter"), ("the diner", "the waitress")),
    "hotel": (("the guest", "the receptionist"), ("the traveler", "the hotel clerk")),
    "clinic": (("the patient", "the doctor"), ("the patient", "the nurse")),
    "garage": (("the owner", "the mechanic"), ("the customer", "the repairer")),
    "travel": (("the passenger", "the agent"), ("the traveler", "the guide")),
    "office": (("the applicant", "the clerk"), ("the client", "the official")),
    "phone": (("the caller", "the operator"), ("the caller", "the adviser")),
    "school": (("the pupil", "the teacher"), ("the parent", "the teacher")),
    "landlord": (("the tenant", "the landlord"), ("the tenant", "the landlady")),
    "boss": (("the employee", "the boss"), ("the worker", "the manager")),
    "salon": (("the client", "the stylist"),),
    "library": (("the reader", "the librarian"),),
    "gym": (("the member", "the trainer"),),
}
EXCHANGES = ((1, 0.34), (2, 0.40), (3, 0.18), (4, 0.08))
GREETED, CLOSED, ASIDE, BACKCHANNEL, UNANSWERED = 0.35, 0.3, 0.12, 0.3, 0.04
FRESH_SHARE = 0.15  # of phrasings and of wordings of reports: kept from training
FRESH_IN_TESTS = 0.3  # of phrasings in validation, test and unseen are drawn from those kept from training
TRAINED = ("pretraining", "train")


@cache
def is_kept_apart(act: str, text: str) -> bool:
    """Whether a phrasing or a wording of a report is kept from training."""
    return bucket(f"fresh|{act}|{text}") < FRESH_SHARE


def acts_at(setting: str) -> tuple[Act, ...]:
    """The acts that can happen in a setting."""
    return _by_setting()[setting]


@cache
def _by_setting() -> dict[str, tuple[Act, ...]]:
    return {s: tuple(a for a in all_acts().acts if s in a.where) for s in ROLES}


def forget_settings() -> None:
    """Look anew which acts can happen where, since some were left out."""
    _by_setting.cache_clear()


def pair_split(first: str, second: str) -> float:
    """A number in [0, 1) by which a combination of two acts belongs to the unseen split or to the others."""
    return bucket("pair|" + "|".join(sorted((first, second))))


UNSEEN_PAIRS = 0.15
HELPING = re.compile(r"help|next|can I (do|get)|what can|who's|what'll|looking for|what brings", re.IGNORECASE)
ANNOUNCING = re.compile(
    r"minute|moment|second|disturb|bad time|just the|shout|busy|a word|got time|free\?", re.IGNORECASE
)


def compose(rng: random.Random, split: str = "pretraining", hostile_share: float = 0.15, exchanges: int = 0) -> Talk:
    """One dialogue of a split, deterministic by ``rng``.

    split: "pretraining", "train", "validation" and "test" share acts and words; "test" and "validation" also draw
    phrasings that are kept from training. "unseen" takes combinations of acts and words that no other split has.
    exchanges: how many (0: drawn).
    """
    unseen = split == "unseen"
    setting = rng.choices(list(ROLES), [len(acts_at(s)) ** 0.5 if acts_at(s) else 0 for s in ROLES])[0]
    count = exchanges or rng.choices([n for n, _ in EXCHANGES], [w for _, w in EXCHANGES])[0]
    if unseen and not exchanges:
        count = max(2, count)
    hostile = rng.random() < hostile_share
    chosen = _combination(setting, count, unseen, hostile, rng)
    names = {s: words.draw_word("name", rng, unseen) for s in "AB"}
    while names["A"] == names["B"]:
        names["B"] = words.draw_word("name", rng, unseen)
    talk = Talk(setting, rng.choice(ROLES[setting]), None)
    taken: set[str] = set(names.values())
    lines: list[SpokenTurn] = []
    greeter = ""
    if rng.random() < GREETED:
        known = all_acts().greetings
        if setting not in EQUALS and chosen[0].by == "staff":
            known = [entry for entry in known if not HELPING.search(" ".join(entry[2]))]
        greeter = add_small_talk(lines, known, setting, names, talk, rng)
    at = next((i for i, act in enumerate(chosen) if act.insults), -1) if hostile else -1
    for i, act in enumerate(chosen):
        a = draw_opener(act, setting, rng)
        if i == 0 and greeter and setting in EQUALS and ANNOUNCING.search(lines[0].text):
            a = greeter  # who has asked for a minute has something to say
        slots = add_opening(lines, act, a, talk, rng, split, taken, first=i == 0)
        if i == at:
            add_insult(lines, talk, a, act, i, rng)
        add_answer(lines, act, a, talk, rng, split, taken, slots)
        if rng.random() < ASIDE:
            add_aside(lines, setting, rng, taken)
    if rng.random() < CLOSED:
        add_small_talk(lines, all_acts().closings, setting, names, talk, rng)
    tidy_turns(talk, [replace(line, text=in_full(line.text, rng)) for line in lines])
    return talk


def tidy_turns(talk: Talk, lines: Sequence[SpokenTurn]) -> None:
    """Let a dialogue hold what is spoken, tidied; what one speaker says in a row is one turn."""
    for line in lines:
        text = sentence_case(tidy(articles(line.text)))
        if talk.turns and talk.turns[-1][0] == line.speaker:
            talk.turns[-1] = (line.speaker, f"{talk.turns[-1][1]} {text}")
        else:
            talk.turns.append((line.speaker, text))


def _combination(setting: str, count: int, unseen: bool, hostile: bool, rng: random.Random) -> list[Act]:
    """Acts of a setting, no two neighbours of which belong to another split.

    hostile: one of them may provoke an insult, where the setting has such an act.
    """
    known = acts_at(setting)
    provoking = [act for act in known if act.insults] if hostile else []
    for _ in range(200):
        chosen = rng.sample(known, min(count, len(known)))
        if provoking and not any(act.insults for act in chosen):
            chosen[rng.randrange(len(chosen))] = rng.choice(provoking)
        pairs = [pair_split(x.id, y.id) < UNSEEN_PAIRS for x, y in zip(chosen, chosen[1:], strict=False)]
        if all(pairs) if unseen else not any(pairs):
            return chosen
    return chosen[:1]


def draw_opener(act: Act, setting: str, rng: random.Random) -> str:
    """Who begins an act, "A" or "B": by lot among equals, otherwise as the act says."""
    if setting in EQUALS:
        return rng.choice("AB")
    return "A" if act.by == "client" else "B"


def _choose(phrasings: Sequence[Phrasing], act: str, split: str, rng: random.Random) -> Phrasing:
    kept = [p for p in phrasings if is_kept_apart(act, " ".join(p.turns))]
    if split in TRAINED:
        return rng.choice([p for p in phrasings if p not in kept] or phrasings)
    return rng.choice(kept if kept and rng.random() < FRESH_IN_TESTS else phrasings)


def _reports(part: Part, phrasing: Phrasing, act: str, split: str) -> tuple[str, ...]:
    options = phrasing.reports or tuple(part.reports)
    if split in TRAINED:
        return tuple(r for r in options if not is_kept_apart(act, r)) or options
    return options


def add_opening(
    lines: list[SpokenTurn], act: Act, a: str, talk: Talk, rng: random.Random, split: str, taken: set[str], first: bool
) -> Slots:
    """Add an act's opening, begun by speaker ``a``."""
    phrasing = _choose(act.opening.phrasings, act.id, split, rng)
    reports = _reports(act.opening, phrasing, act.id, split)
    if lines and lines[-1].speaker == a and rng.random() < BACKCHANNEL:
        lines.append(SpokenTurn(other(a), rng.choice(spoken("nods"))))
    slots = Slots()
    said = spoken_turns(phrasing, a, rng, split == "unseen", taken, slots)
    if not first:
        said[0].text = led_over(rng.choice(spoken("changes")), said[0])
    fill_pauses(said if first else said[1:], rng)
    lines += said
    talk.told.append(Told(act.id, "opening", a, _open_reports(reports, slots, a), dict(slots.told)))
    talk.topics.append(act.title)
    return slots


def add_answer(
    lines: list[SpokenTurn], act: Act, a: str, talk: Talk, rng: random.Random, split: str, taken: set[str], slots: Slots
) -> None:
    """Add one of the act's answers, by the other speaker."""
    if rng.random() < UNANSWERED:
        return
    part = rng.choice(act.answers)
    phrasing = _choose(part.phrasings, act.id, split, rng)
    reports = _reports(part, phrasing, act.id, split)
    said = spoken_turns(phrasing, other(a), rng, split == "unseen", taken, slots)
    fill_pauses(said, rng)
    lines += said
    told = _open_reports(reports, slots, a)
    talk.told.append(Told(act.id, part.outcome, other(a), told, dict(slots.told), _others(act, part, a, slots)))


def _others(act: Act, true: Part, a: str, slots: Slots) -> tuple[str, ...]:
    """What the act's other answers would be reported as; only wordings whose words were said."""
    known = set(slots.told) | {"A", "B", "A's", "B's"}
    reports = [r for part in act.answers if part is not true for r in part.reports]
    return _open_reports([r for r in reports if set(SLOT.findall(r)) <= known], slots, a)


def _open_reports(reports: Sequence[str], slots: Slots, a: str) -> tuple[str, ...]:
    """Reports with their slots filled; {A} and {B} of the act become those of the dialogue."""
    people = {"A": "{A}", "B": "{B}", "A's": "{A's}", "B's": "{B's}"}
    if a == "B":
        people = {"A": "{B}", "B": "{A}", "A's": "{B's}", "B's": "{A's}"}
    return tuple(placed(r, slots.told | people) for r in reports)


def add_small_talk(
    lines: list[SpokenTurn],
    known: Sequence[tuple[tuple[str, ...], str, tuple[str, ...]]],
    setting: str,
    names: dict[str, str],
    talk: Talk,
    rng: random.Random,
) -> str:
    """Add a greeting or a closing that fits the setting; who begins it ("" where there is none)."""
    fitting = [entry for entry in known if setting in entry[0]]
    if not fitting:
        return ""
    _, head, turns = rng.choice(fitting)
    # In the file, 1 is the client and 2 the staff; between equals either may be A.
    people = {"1": "A", "2": "B"}
    if setting in EQUALS and rng.random() < 0.5:
        people = {"1": "B", "2": "A"}
    called = {number: names[person] for number, person in people.items()}
    begins = speaker = people[head[0]] if head[0] in people else rng.choice("AB")
    if {"1", "2"} <= {slot for turn in turns for slot in SLOT.findall(turn)}:
        talk.names = names
    for turn in turns:
        lines.append(SpokenTurn(speaker, fill(turn, called)))
        speaker = other(speaker)
    return begins


def add_aside(lines: list[SpokenTurn], setting: str, rng: random.Random, taken: set[str]) -> None:
    """Add a small thing of the moment, which no one would report."""
    fitting = [entry for entry in all_acts().asides if setting in entry[0]]
    if not fitting:
        return
    _, _, turns = rng.choice(fitting)
    begins = rng.choice("AB") if setting in EQUALS else "A"
    lines += spoken_turns(Phrasing(turns), begins, rng, False, taken, Slots())


def add_insult(lines: list[SpokenTurn], talk: Talk, hostile: str, act: Act, exchange: int, rng: random.Random) -> None:
    """Let who opened the exchange insult the other in the same breath, and know how it can be reported."""
    category = rng.choice([c for c in hostility()["categories"] if c["id"] in act.insults])
    plain = category.get("plain", [])
    filled: dict[str, str] = {}
    if plain and rng.random() < 0.3:
        choice = rng.choice(plain)
        text, harsh, neutral = choice["line"], [choice["harsh"]], [choice["neutral"]]
    else:
        text, harsh, neutral = rng.choice(category["lines"]), category["harsh"], category["neutral"]
        filled = {"insult": rng.choice(category["insults"])}
    victim = other(hostile)
    people = {"H": f"{{{hostile}}}", "V": f"{{{victim}}}", "H's": f"{{{hostile}'s}}", "V's": f"{{{victim}'s}}"} | filled
    lines[-1].text = f"{lines[-1].text} {capitalized(fill(text, filled))}"
    fix = [[fill(c.replace("{H}'s", "{H's}").replace("{V}'s", "{V's}"), people) for c in g] for g in (harsh, neutral)]
    talk.quarrel = Insult(hostile, category["id"], tuple(fix[0]), tuple(fix[1]), exchange)


def single(rng: random.Random, split: str = "pretraining") -> tuple[str, str]:
    """One opening, or an opening and its answer, as tagged turns; and the report of what is said last.

    The skill that summaries are made of: telling in reported speech what one turn says.
    """
    act = rng.choice(all_acts().acts)
    a = rng.choice("AB")
    people = {"A": "#Person1#", "B": "#Person2#", "A's": "#Person1#'s", "B's": "#Person2#'s"}
    slots, taken, unseen = Slots(), set[str](), split == "unseen"
    phrasing = _choose(act.opening.phrasings, act.id, split, rng)
    lines = spoken_turns(phrasing, a, rng, unseen, taken, slots)
    reports = _reports(act.opening, phrasing, act.id, split)
    if rng.random() < 0.5:
        part = rng.choice(act.answers)
        phrasing = _choose(part.phrasings, act.id, split, rng)
        reports = _reports(part, phrasing, act.id, split)
        lines += spoken_turns(phrasing, other(a), rng, unseen, taken, slots)
    report = conjugate(rng.choice(_open_reports(reports, slots, a)), "present")
    if lines[0].speaker == "B":
        people = {"A": "#Person2#", "B": "#Person1#", "A's": "#Person2#'s", "B's": "#Person1#'s"}
    text = "\n".join(f"{people[line.speaker]}: {sentence_case(tidy(articles(line.text)))}" for line in lines)
    return text, capitalized(tidy(articles(fill(report, people)))) + "."
