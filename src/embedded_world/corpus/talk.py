"""Compose a dialogue of speech acts, with summaries composed of the acts' reports and a record of what is true in it.

A dialogue has a setting (a shop, neighbours, ...), one to four exchanges, and small talk around them. An exchange is an
act's opening and one of its answers. Every slot is filled with words of its type, so that no dialogue can be
recalled: whoever summarizes it has to read it.
"""

from __future__ import annotations

import random
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cache
from typing import Any

from embedded_world.corpus import words
from embedded_world.corpus.acts import CLAUSE_TYPES, EQUALS, SLOT, Act, Part, Phrasing, all_acts, slot_type
from embedded_world.corpus.dialogue import bucket, capitalized, hostility
from embedded_world.corpus.language import articles, conjugate, fill, sentence_case
from embedded_world.corpus.styles import HOUSE, Style

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
GREETED, CLOSED, ASIDE, BACKCHANNEL, SLIP, PREFIX, UNANSWERED = 0.35, 0.3, 0.12, 0.3, 0.16, 0.14, 0.04
EXPANDED = 0.2  # of contractions are spoken in full
FRESH_SHARE = 0.15  # of phrasings and of wordings of reports: kept from training
FRESH_IN_TESTS = 0.3  # of phrasings in validation, test and unseen are drawn from those kept from training
TRAINED = ("pretraining", "train")
CORRECTABLE = frozenset({"day", "clock", "price", "number", "date", "name", "month", "duration"})
SLIPS = (
    "{old}, no, {new}", "{old}, sorry, {new}", "{old}, I mean {new}", "{old}, or rather {new}", "{old}, wait, {new}",
    "{old}, no, what am I saying, {new}",
)  # fmt: skip
CHANGES = (
    "Oh, and another thing.", "By the way,", "While I've got you,", "Before I forget,", "Something else.", "Oh,", "And",
    "Right, next.", "That reminds me.", "Anyway.", "On a different note.", "One more thing.", "Listen,", "Also,", "",
    "", "Since you're here,", "Now,", "Oh, I meant to say.",
)  # fmt: skip
FILLERS = (
    "Well,", "Look,", "Er,", "I mean,", "You see,", "Right.", "Okay, so,", "Hm.", "Oh.", "Ah.", "So,", "Honestly,",
    "Yeah,", "Now then.", "Erm.", "Well, well.", "The thing is,", "Actually,", "Mm.", "God,", "Okay.", "Let's see.",
)  # fmt: skip
BACKCHANNELS = (
    "Right.", "Okay.", "Mm.", "I see.", "Fine.", "Sure.", "Good.", "Ah.", "Uh-huh.", "Got it.", "Fair enough.", "Yeah.",
    "All right.", "Oh.", "Hm.", "Right you are.", "Noted.", "Yep.", "Well then.", "There we are.",
)  # fmt: skip
# Values of days and the like that bring a preposition along, or want none.
NO_ON = re.compile(r"(tomorrow|next |the day after|yesterday|last |this |the other day|over |at )")
OWN = re.compile(r"(on|at|over|in) ")
AGO = re.compile(r"(.*) ago$")
PLACED = re.compile(r"(?:\b([Oo]n|[Aa]t|[Ii]n|by|until|till|for|since|from) )?\{([^{}]+)\}( (?=[A-Za-z]))?")


@dataclass(frozen=True)
class Told:
    """One thing that a dialogue holds: who says it, and the clauses that report it, {A} and {B} still open.

    kind: "opening", or an answer's outcome. act: its id. slots: what was said in them. others: of an answer, the
    reports of the act's other answers, which would be false here.
    """

    act: str
    kind: str
    speaker: str
    reports: tuple[str, ...]
    slots: dict[str, str]
    others: tuple[str, ...] = ()


@dataclass
class Line:
    """A turn under construction. begins: whether it begins with a slot's words, whose first letter stays as it is."""

    speaker: str
    text: str
    begins: bool = False


@dataclass(frozen=True)
class Insult:
    """Who insults whom in which turn, and the clauses that report it harshly or in neutral words."""

    hostile: str
    category: str
    harsh: tuple[str, ...]
    neutral: tuple[str, ...]
    exchange: int


@dataclass
class Talk:
    """A composed dialogue: turns as (speaker, text) and what its summaries are made of.

    told: what happens, in order. roles, names: of the speakers A and B; names only where they are said.
    """

    setting: str
    roles: tuple[str, str]
    names: dict[str, str] | None
    turns: list[tuple[str, str]] = field(default_factory=list)
    told: list[Told] = field(default_factory=list)
    topics: list[str] = field(default_factory=list)
    quarrel: Insult | None = None

    @property
    def text(self) -> str:
        """The dialogue as DialogSum writes it: one ``#Person1#: ...`` line a turn."""
        return "\n".join(f"{self.tag(speaker)}: {text}" for speaker, text in self.turns)

    @property
    def topic(self) -> str:
        """What the first exchange is about."""
        return self.topics[0]

    def tag(self, speaker: str) -> str:
        """``#Person1#`` for whoever speaks first, ``#Person2#`` for the other."""
        return "#Person1#" if speaker == self.turns[0][0] else "#Person2#"

    def name_of(self, speaker: str, naming: str) -> str:
        """How a style names a speaker; roles stand in where no names were said."""
        if naming == "tag":
            return self.tag(speaker)
        if naming == "name" and self.names:
            return self.names[speaker]
        if naming == "position":
            return "the first speaker" if self.tag(speaker) == "#Person1#" else "the second speaker"
        return self.roles["AB".index(speaker)]

    def record(self) -> list[dict[str, Any]]:
        """What is true in it: acts, who did them, what was said in their slots, how they ended."""
        rows = []
        for told in self.told:
            row = asdict(told)
            row["speaker"] = self.tag(told.speaker)
            people = {s: self.tag(s) for s in "AB"}
            row["reports"] = [self._written(r, HOUSE, people) for r in told.reports]
            row["others"] = [self._written(r, HOUSE, people) for r in told.others]
            rows.append(row)
        if self.quarrel:
            people = {s: self.tag(s) for s in "AB"}
            rows.append(
                {
                    "act": "insult",
                    "kind": self.quarrel.category,
                    "speaker": self.tag(self.quarrel.hostile),
                    "reports": [self._written(r, HOUSE, people) for r in self.quarrel.neutral],
                    "slots": {},
                    "others": [],
                }
            )
        return rows

    def summary(
        self, style: Style, rng: random.Random | None = None, voices: int | None = None, shorter: bool = False
    ) -> str:
        """A summary in a style; each clause in a wording drawn by ``rng`` (without one: the first).

        voices: only the first so many wordings of each clause. shorter: leave out what answers merely tell.
        """
        clauses: list[tuple[int, str]] = []
        refused: list[bool] = []
        exchange = -1
        for told in self.told:
            if told.kind == "opening":
                exchange += 1
            elif shorter and told.kind in ("told", "open"):
                continue
            clauses.append((exchange, self._pick(told.reports, rng, voices)))
            refused.append(told.kind == "no")
        if self.quarrel:
            options = self.quarrel.harsh if style.tone == "harsh" else self.quarrel.neutral
            last = max(i for i, (number, _) in enumerate(clauses) if number == self.quarrel.exchange)
            clauses.insert(last + 1, (-1, self._pick(options, rng, voices)))
            refused.insert(last + 1, False)
        people = {s: self.name_of(s, style.naming) for s in "AB"}
        text = ""
        for i, (number, clause) in enumerate(clauses):
            said = self._written(clause, style, people)
            if i == 0:
                text = said
                continue
            inner = number == clauses[i - 1][0]
            joiner = style.joiner
            if joiner == ". " and inner and rng is not None:
                joiner = rng.choice((". ", ", but " if refused[i] else ", and ", ", but " if refused[i] else ", and "))
            text += joiner + (capitalized(said) if joiner == ". " else said)
        opening = style.opening.format(topic=self.topic)
        if style.tense == "past":
            opening = opening.replace("They talk ", "They talked ")
        return opening + (text if opening.endswith((", ", ": ")) else capitalized(text)) + "."

    @staticmethod
    def _pick(options: Sequence[str], rng: random.Random | None, voices: int | None) -> str:
        options = options[:voices] if voices else options
        return rng.choice(options) if rng else options[0]

    def _written(self, clause: str, style: Style, people: dict[str, str]) -> str:
        named = {**people, **{f"{s}'s": _genitive(name) for s, name in people.items()}}
        return tidy(articles(fill(conjugate(clause, style.tense), named)))


def _genitive(name: str) -> str:
    return name + ("'" if name.endswith("s") and not name.endswith("#") else "'s")


FULL = {"'m": " am", "'re": " are", "'ve": " have", "'ll": " will", "n't": " not"}
_SUBJECTS = "I|[Yy]ou|[Ww]e|[Tt]hey|do|does|did|is|are|was|were|have|has|had|would|could|should"
CONTRACTED = re.compile(rf"\b(?:{_SUBJECTS})('m|'re|'ve|'ll|n't)\b(?! (?:I|you|we|they|he|she|it)\b)")


def _in_full(text: str, rng: random.Random) -> str:
    """The text with some contractions spoken in full: "I am" for "I'm"."""
    return CONTRACTED.sub(lambda m: m[0][: -len(m[1])] + FULL[m[1]] if rng.random() < EXPANDED else m[0], text)


def tidy(text: str) -> str:
    """The text with single spaces, and without a doubled article."""
    return re.sub(r"\b([Tt]he) the\b", r"\1", re.sub(r"  +", " ", text))


def placed(template: str, values: Mapping[str, str], slips: Collection[str] = ()) -> str:
    """The template with its slots filled, prepositions as the values want them: no "on tomorrow", "since at Easter".

    slips: slots that hold a slip of the tongue, after which there is a comma.
    """

    def put(match: re.Match[str]) -> str:
        before, name, after = match[1] or "", match[2], match[3] or ""
        value = values[name]
        if slot_type(name) in ("day", "ago"):
            lower = before.lower()
            if lower == "on" and NO_ON.match(value):
                before = ""
            elif lower == "since" and (ago := AGO.match(value)):
                before, value = "for", ago[1]
            elif lower in ("since", "until", "till", "by", "for", "from") and OWN.match(value):
                value = value.split(" ", 1)[1]
            elif lower in ("on", "at", "in") and OWN.match(value):
                before = ""
        return (before + " " if before else "") + value + ("," if name in slips and after else "") + after

    return PLACED.sub(put, template)


def fresh(act: str, text: str) -> bool:
    """Whether a phrasing or a wording of a report is kept from training."""
    return bucket(f"fresh|{act}|{text}") < FRESH_SHARE


def acts_at(setting: str) -> tuple[Act, ...]:
    """The acts that can happen in a setting."""
    return _by_setting()[setting]


@cache
def _by_setting() -> dict[str, tuple[Act, ...]]:
    return {s: tuple(a for a in all_acts().acts if s in a.where) for s in ROLES}


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
    names = {s: words.draw("name", rng, unseen) for s in "AB"}
    while names["A"] == names["B"]:
        names["B"] = words.draw("name", rng, unseen)
    talk = Talk(setting, rng.choice(ROLES[setting]), None)
    taken: set[str] = set(names.values())
    lines: list[Line] = []
    greeter = ""
    if rng.random() < GREETED:
        known = all_acts().greetings
        if setting not in EQUALS and chosen[0].by == "staff":
            known = [entry for entry in known if not HELPING.search(" ".join(entry[2]))]
        greeter = _small_talk(lines, known, setting, names, talk, rng)
    at = next((i for i, act in enumerate(chosen) if act.insults), -1) if hostile else -1
    for i, act in enumerate(chosen):
        a = _opener(act, setting, rng)
        if i == 0 and greeter and setting in EQUALS and ANNOUNCING.search(lines[0].text):
            a = greeter  # who has asked for a minute has something to say
        slots = _exchange(lines, act, a, talk, rng, split, taken, first=i == 0)
        if i == at:
            _insult(lines, talk, a, act, i, rng)
        _answer(lines, act, a, talk, rng, split, taken, slots)
        if rng.random() < ASIDE:
            _aside(lines, setting, rng, taken)
    if rng.random() < CLOSED:
        _small_talk(lines, all_acts().closings, setting, names, talk, rng)
    for line in lines:
        text = sentence_case(tidy(articles(_in_full(line.text, rng))))
        if talk.turns and talk.turns[-1][0] == line.speaker:
            talk.turns[-1] = (line.speaker, f"{talk.turns[-1][1]} {text}")
        else:
            talk.turns.append((line.speaker, text))
    return talk


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


def _opener(act: Act, setting: str, rng: random.Random) -> str:
    if setting in EQUALS:
        return rng.choice("AB")
    return "A" if act.by == "client" else "B"


def _choose(phrasings: Sequence[Phrasing], act: str, split: str, rng: random.Random) -> Phrasing:
    kept = [p for p in phrasings if fresh(act, " ".join(p.turns))]
    if split in TRAINED:
        return rng.choice([p for p in phrasings if p not in kept] or phrasings)
    return rng.choice(kept if kept and rng.random() < FRESH_IN_TESTS else phrasings)


def _reports(part: Part, phrasing: Phrasing, act: str, split: str) -> tuple[str, ...]:
    options = phrasing.reports or tuple(part.reports)
    if split in TRAINED:
        return tuple(r for r in options if not fresh(act, r)) or options
    return options


def other(speaker: str) -> str:
    """The other one of A and B."""
    return "B" if speaker == "A" else "A"


@dataclass
class Slots:
    """What stands in the slots of an exchange, as it is spoken and as it is reported.

    price, unit: the last amount that was named, and its money.
    """

    spoken: dict[str, str] = field(default_factory=dict)
    told: dict[str, str] = field(default_factory=dict)
    price: int = 0
    unit: str = ""


def _exchange(
    lines: list[Line], act: Act, a: str, talk: Talk, rng: random.Random, split: str, taken: set[str], first: bool
) -> Slots:
    """Add an act's opening, begun by speaker ``a``."""
    phrasing = _choose(act.opening.phrasings, act.id, split, rng)
    reports = _reports(act.opening, phrasing, act.id, split)
    if lines and lines[-1].speaker == a and rng.random() < BACKCHANNEL:
        lines.append(Line(other(a), rng.choice(BACKCHANNELS)))
    slots = Slots()
    said = _spoken(phrasing, a, rng, split == "unseen", taken, slots)
    if not first:
        said[0].text = _after(rng.choice(CHANGES), said[0])
    _fill_pauses(said if first else said[1:], rng)
    lines += said
    talk.told.append(Told(act.id, "opening", a, _open_reports(reports, slots, a), dict(slots.told)))
    talk.topics.append(act.title)
    return slots


def _answer(
    lines: list[Line], act: Act, a: str, talk: Talk, rng: random.Random, split: str, taken: set[str], slots: Slots
) -> None:
    """Add one of the act's answers, by the other speaker."""
    if rng.random() < UNANSWERED:
        return
    part = rng.choice(act.answers)
    phrasing = _choose(part.phrasings, act.id, split, rng)
    reports = _reports(part, phrasing, act.id, split)
    said = _spoken(phrasing, other(a), rng, split == "unseen", taken, slots)
    _fill_pauses(said, rng)
    lines += said
    told = _open_reports(reports, slots, a)
    talk.told.append(Told(act.id, part.outcome, other(a), told, dict(slots.told), _others(act, part, a, slots)))


def _others(act: Act, true: Part, a: str, slots: Slots) -> tuple[str, ...]:
    """What the act's other answers would be reported as; only wordings whose words were said."""
    known = set(slots.told) | {"A", "B", "A's", "B's"}
    reports = [r for part in act.answers if part is not true for r in part.reports]
    return _open_reports([r for r in reports if set(SLOT.findall(r)) <= known], slots, a)


def _fill_pauses(said: Sequence[Line], rng: random.Random) -> None:
    """Put "Well," and the like in front of some turns."""
    for line in said:
        if rng.random() < PREFIX:
            line.text = _after(rng.choice(FILLERS), line)


def _open_reports(reports: Sequence[str], slots: Slots, a: str) -> tuple[str, ...]:
    """Reports with their slots filled; {A} and {B} of the act become those of the dialogue."""
    people = {"A": "{A}", "B": "{B}", "A's": "{A's}", "B's": "{B's}"}
    if a == "B":
        people = {"A": "{B}", "B": "{A}", "A's": "{B's}", "B's": "{A's}"}
    return tuple(placed(r, slots.told | people) for r in reports)


def _spoken(
    phrasing: Phrasing, speaker: str, rng: random.Random, unseen: bool, taken: set[str], slots: Slots
) -> list[Line]:
    """The turns of a phrasing with their slots filled; what is new is added to ``slots``."""
    lines = []
    timed = any(slot_type(name) == "clock" for name in phrasing.slots)
    for turn in phrasing.turns:
        values: dict[str, str] = {}
        slips = set()
        for name in SLOT.findall(turn):
            if name not in slots.spoken:
                kind = slot_type(name)
                slots.spoken[name], slots.told[name] = _drawn(kind, speaker, rng, unseen, taken, slots, timed)
                values[name] = _slip(kind, slots.spoken[name], rng, taken)
                if values[name] != slots.spoken[name]:
                    slips.add(name)
            else:
                values[name] = slots.spoken[name]
        lines.append(Line(speaker, placed(turn, values, slips), turn.startswith("{")))
        speaker = other(speaker)
    return lines


def _slip(kind: str, value: str, rng: random.Random, taken: set[str]) -> str:
    """The value as it is first said: now and then another one that is put right at once."""
    if kind not in CORRECTABLE or rng.random() > SLIP or OWN.match(value):
        return value
    old = words.price(rng)[0] if kind == "price" else words.draw(kind, rng, taken=taken)
    return rng.choice(SLIPS).format(old=old, new=value)


def _drawn(
    kind: str, speaker: str, rng: random.Random, unseen: bool, taken: set[str], slots: Slots, timed: bool
) -> tuple[str, str]:
    """A word or a clause for a slot, as it is said by ``speaker`` and as it is reported."""
    if kind == "price":
        # A second price of an exchange is an offer, a part, a discount: lower, in the same money.
        word, slots.price, slots.unit = words.price(rng, slots.price, slots.unit)
        return word, word
    if kind == "day":
        word = words.another_day(rng, taken, bare=timed)
        taken.add(word)
        return word, word
    if kind not in CLAUSE_TYPES:
        word = words.draw(kind, rng, unseen, taken)
        taken.add(word)
        return word, word
    spoken, reported = rng.choice(_clauses(kind, unseen))
    values = {
        name: words.another_day(rng, taken)
        if slot_type(name) == "day"
        else words.draw(slot_type(name), rng, unseen, taken)
        for name in sorted(set(SLOT.findall(spoken)))
    }
    me, you = speaker, other(speaker)
    people = {"S": f"{{{me}}}", "S's": f"{{{me}'s}}", "H": f"{{{you}}}", "H's": f"{{{you}'s}}"}
    taken |= set(values.values())
    return placed(spoken, values), placed(reported, values | people)


@cache
def _clauses(kind: str, unseen: bool) -> tuple[tuple[str, str], ...]:
    """The clauses of a pool: those kept from training, or the others."""
    pool = tuple(all_acts().pools.get(kind, ()))
    fitting = tuple(c for c in pool if words.held_out(f"{kind}|{c[0]}") == unseen)
    return fitting or pool


def _small_talk(
    lines: list[Line],
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
        lines.append(Line(speaker, fill(turn, called)))
        speaker = other(speaker)
    return begins


def _aside(lines: list[Line], setting: str, rng: random.Random, taken: set[str]) -> None:
    """Add a small thing of the moment, which no one would report."""
    fitting = [entry for entry in all_acts().asides if setting in entry[0]]
    if not fitting:
        return
    _, _, turns = rng.choice(fitting)
    begins = rng.choice("AB") if setting in EQUALS else "A"
    lines += _spoken(Phrasing(turns), begins, rng, False, taken, Slots())


def _insult(lines: list[Line], talk: Talk, hostile: str, act: Act, exchange: int, rng: random.Random) -> None:
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


def _after(opener: str, line: Line) -> str:
    """A turn behind an opener, where it fits: its first letter small behind a comma."""
    text = line.text
    if not opener or opener.rstrip(".,") in text:
        return text
    short, asks = len(text.split(" ")) < 4, "?" in re.split(r"(?<=[.?!]) ", text)[0]
    if opener in BEFORE_STATEMENTS and (short or asks):
        return text
    if opener[-1] in ".?!":
        return f"{opener} {text}"
    first = re.split(r"[^A-Za-z']", text)[0]
    proper = line.begins or first.split("'")[0] in PROPER or first != first.capitalize()
    return f"{opener} {text if proper else text[0].lower() + text[1:]}"


BEFORE_STATEMENTS = frozenset(
    {"The thing is,", "You see,", "I mean,", "Honestly,", "Before I forget,", "Listen,", "Look,"}
)
_PROPER = """
I Mr Mrs Ms Miss Dr Doctor Professor English French German Spanish Italian Monday Tuesday Wednesday Thursday Friday
Saturday Sunday January February March April May June July August September October November December Christmas Easter
God Lord Grandma Grandad Mum Dad
"""
PROPER = frozenset(_PROPER.split())  # words that keep their capital letter behind a comma


def single(rng: random.Random, split: str = "pretraining") -> tuple[str, str]:
    """One opening, or an opening and its answer, as tagged turns; and the report of what is said last.

    The skill that summaries are made of: telling in reported speech what one turn says.
    """
    act = rng.choice(all_acts().acts)
    a = rng.choice("AB")
    people = {"A": "#Person1#", "B": "#Person2#", "A's": "#Person1#'s", "B's": "#Person2#'s"}
    slots, taken, unseen = Slots(), set[str](), split == "unseen"
    phrasing = _choose(act.opening.phrasings, act.id, split, rng)
    lines = _spoken(phrasing, a, rng, unseen, taken, slots)
    reports = _reports(act.opening, phrasing, act.id, split)
    if rng.random() < 0.5:
        part = rng.choice(act.answers)
        phrasing = _choose(part.phrasings, act.id, split, rng)
        reports = _reports(part, phrasing, act.id, split)
        lines += _spoken(phrasing, other(a), rng, unseen, taken, slots)
    report = conjugate(rng.choice(_open_reports(reports, slots, a)), "present")
    if lines[0].speaker == "B":
        people = {"A": "#Person2#", "B": "#Person1#", "A's": "#Person2#'s", "B's": "#Person1#'s"}
    text = "\n".join(f"{people[line.speaker]}: {sentence_case(tidy(articles(line.text)))}" for line in lines)
    return text, capitalized(tidy(articles(fill(report, people)))) + "."
