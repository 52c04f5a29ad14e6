"""Play a scenario: turn its script, small talk and slips of the tongue into one dialogue with true summaries."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any, TypeVar

from embedded_world.corpus.content import Ending, Scenario, fields, pools, read_yaml
from embedded_world.corpus.language import articles, conjugate, fill, sentence_case
from embedded_world.corpus.styles import HOUSE, Style
from genai_labs.errors import LabError

Kept = TypeVar("Kept")
MAX_TURNS = 12
MOST_DRAWS = 10_000  # of values for all slots, until no two are the same
# Kinds of slots whose value a speaker can mistake and correct in any sentence.
CORRECTABLE = {
    "day",
    "clock",
    "date",
    "month",
    "count",
    "number",
    "price",
    "duration",
    "person",
    "surname",
    "town",
    "street",
}
CHANCES = {"slip": 0.45, "aside": 0.3, "interruption": 0.15}


@dataclass
class Line:
    """One turn under construction: speaker, text, and the slots it mentions with the values said."""

    speaker: str
    text: str
    slots: frozenset[str] = frozenset()
    scripted: bool = False  # a turn of the scenario itself, not small talk around it


@dataclass(frozen=True)
class Quarrel:
    """Who insults whom, and the clauses that report it harshly or in neutral words."""

    hostile: str
    category: str
    harsh: tuple[str, ...]
    neutral: tuple[str, ...]


class Tagged:
    """Turns of two speakers, A and B, and how they are called. roles: as a style names them, with "the"."""

    turns: list[tuple[str, str]]
    names: dict[str, str] | None
    roles: tuple[str, str]

    @property
    def text(self) -> str:
        """The dialogue as DialogSum writes it: one ``#Person1#: ...`` line a turn."""
        return "\n".join(f"{self.tag(speaker)}: {text}" for speaker, text in self.turns)

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


@dataclass
class Dialogue(Tagged):
    """A finished dialogue: turns as (speaker, text), and everything its summaries need."""

    scenario: Scenario
    ending: Ending
    values: dict[str, str]
    turns: list[tuple[str, str]]
    names: dict[str, str] | None
    quarrel: Quarrel | None
    corrected: dict[str, str] = field(default_factory=dict)

    @property
    def roles(self) -> tuple[str, str]:  # type: ignore[override]
        return "the " + self.scenario.roles[0], "the " + self.scenario.roles[1]

    @property
    def topic(self) -> str:
        return self.scenario.topic

    @property
    def signature(self) -> str:
        """Scenario and combination of slot values: what no two splits share."""
        return signature(self.scenario, self.values)

    def summary(self, style: Style = HOUSE, rng: random.Random | None = None, wordings: tuple[int, ...] = ()) -> str:
        """One true summary in the given style.

        ``wordings`` picks the wording of each clause (main, ending, quarrel; counted modulo their number); without
        it ``rng`` draws them.
        """
        rng = rng or random.Random(0)
        options = [self.scenario.summary, self.ending.summary]
        if self.quarrel:
            options.append(self.quarrel.harsh if style.tone == "harsh" else self.quarrel.neutral)
        picks = wordings or tuple(rng.randrange(len(o)) for o in options)
        clauses = [o[i % len(o)] for o, i in zip(options, picks, strict=False)]
        if self.quarrel:
            clauses = [clauses[0], clauses[2], clauses[1]]
        return self._write(clauses, style)

    def _write(self, clauses: list[str], style: Style) -> str:
        people = {s: self.name_of(s, style.naming) for s in "AB"}
        values = self.values | people | {f"{s}'s": f"{name}'s" for s, name in people.items()}
        written = [articles(fill(conjugate(c, style.tense), values)) for c in clauses]
        if style.joiner == ". ":
            written = [written[0], *map(capitalized, written[1:])]
        opening = style.opening.format(topic=self.topic)
        if style.tense == "past":
            opening = opening.replace("They talk ", "They talked ")
        body = style.joiner.join(written)
        return opening + (body if opening.endswith((", ", ": ")) else capitalized(body)) + "."

    def answerable(self) -> list[tuple[str, str]]:
        """Questions about this dialogue with their answers, those only whose answer was said."""
        said = " ".join(text for _, text in self.turns)
        values = self.values | {s: self.tag(s) for s in "AB"} | {f"{s}'s": f"{self.tag(s)}'s" for s in "AB"}
        pairs = []
        for q in self.scenario.questions:
            slots = fields(q.answer) - {"A", "B", "A's", "B's"}
            if all(self.values[s].lower() in said.lower() for s in slots):
                pairs.append((articles(fill(q.question, values)), articles(fill(q.answer, values))))
        return pairs


def capitalized(text: str) -> str:
    """The text with its first letter in upper case."""
    return text[:1].upper() + text[1:]


def signature(scenario: Scenario, values: dict[str, str]) -> str:
    """Scenario and combination of slot values as one line of text."""
    return scenario.id + "|" + "|".join(f"{k}={values[k]}" for k in sorted(values))


def bucket(signature_text: str) -> float:
    """A number in [0, 1) that depends on nothing but the signature: decides its split."""
    return int.from_bytes(hashlib.sha256(signature_text.encode()).digest()[:6], "big") / 2**48


def some_of(found: Sequence[Kept], names: Sequence[str], count: int) -> list[Kept]:
    """``count`` of ``found``, in their order, which their names alone choose: a smaller count is a part of a larger."""
    order = sorted(range(len(found)), key=lambda i: bucket(f"share|{names[i]}"))
    kept = set(order[:count])
    return [each for i, each in enumerate(found) if i in kept]


@cache
def smalltalk() -> dict[str, Any]:
    """Greetings, closings, interruptions, asides, corrections, confirmations (``smalltalk.yaml``)."""
    return dict(read_yaml("smalltalk.yaml", dict))


@cache
def hostility() -> dict[str, Any]:
    """Hostile lines and the clauses that report them (``hostile.yaml``)."""
    return dict(read_yaml("hostile.yaml", dict))


def play(
    scenario: Scenario,
    rng: random.Random,
    accept: Callable[[str], bool] = lambda _: True,
    hostile_share: float = 0.2,
) -> Dialogue:
    """One dialogue of a scenario.

    Slot values are drawn until ``accept`` takes their signature; everything else (phrasings, greeting, side remarks,
    corrections, a quarrel in ``hostile_share`` of cases) is drawn once. Deterministic by ``rng``.
    """
    values = draw_values(scenario, rng)
    while not accept(signature(scenario, values)):
        values = draw_values(scenario, rng)
    ending = rng.choice(scenario.endings)
    names = dict(zip("AB", rng.sample([p for p in pools()["person"] if p not in values.values()], 2), strict=True))
    lines = script(scenario, ending, rng)
    named = greet(lines, scenario.register, names, rng)
    say_goodbye(lines, names if named else None, rng)
    quarrel = insult(lines, rng) if rng.random() < hostile_share else None
    spoken, corrected = speak(lines, scenario, values, rng)
    return Dialogue(scenario, ending, values, spoken, names if named else None, quarrel, corrected)


def draw_values(scenario: Scenario, rng: random.Random) -> dict[str, str]:
    """One value for each slot; two slots never get the same one.

    Raises LabError if the slots have too few values in common lists for that.
    """
    for _ in range(MOST_DRAWS):
        values = {name: rng.choice(options) for name, options in scenario.slots.items()}
        if len(set(values.values())) == len(values):
            return values
    raise LabError(
        f"The slots of the scenario {scenario.id} can hardly be filled with values that differ: too many of them draw "
        "from the same few. Give them lists of their own."
    )


def script(scenario: Scenario, ending: Ending, rng: random.Random) -> list[Line]:
    """The scenario's own turns in one phrasing each, slots still open."""
    turns = scenario.main + ending.turns
    chosen = [(t.speaker, rng.choice(t.phrasings)) for t in turns]
    return [Line(speaker, text, frozenset(fields(text)), scripted=True) for speaker, text in chosen]


def greet(lines: list[Line], register: str, names: dict[str, str], rng: random.Random) -> bool:
    """Put a greeting in front in two dialogues of three; whether names were said."""
    if rng.random() > 0.67:
        return False
    first = rng.choice("AB")
    named = rng.random() < 0.6
    entry = rng.choice(smalltalk()["greetings"][f"{register}_{first.lower()}_first"]["named" if named else "unnamed"])
    greeting = []
    for i, text in enumerate(entry):
        me = first if i % 2 == 0 else ("B" if first == "A" else "A")
        you = "B" if me == "A" else "A"
        greeting.append(Line(me, fill(text, {"me": names[me], "you": names[you]})))
    lines[:0] = greeting
    return named


def say_goodbye(lines: list[Line], names: dict[str, str] | None, rng: random.Random) -> None:
    """Add thanks or a farewell in two dialogues of five, as far as there is room."""
    if rng.random() > 0.4:
        return
    entry = rng.choice(smalltalk()["closings_named" if names and rng.random() < 0.4 else "closings"])
    speaker = lines[-1].speaker
    for text in entry[: MAX_TURNS - len(lines)]:
        speaker, you = ("B", "A") if speaker == "A" else ("A", "B")
        lines.append(Line(speaker, fill(text, {"you": names[you]} if names else {})))


def gaps(lines: list[Line]) -> list[int]:
    """Where something can come between: before each turn of the scenario that follows another one."""
    return [i for i in range(1, len(lines)) if lines[i].scripted and lines[i - 1].scripted]


def insult(lines: list[Line], rng: random.Random) -> Quarrel | None:
    """Let one speaker insult the other before one of the turns; how it can be reported."""
    at = rng.choice(gaps(lines))
    hostile, victim = lines[at].speaker, lines[at - 1].speaker
    category = rng.choice(hostility()["categories"])
    plain = category.get("plain", [])
    if plain and rng.random() < 0.3:
        choice = rng.choice(plain)
        line, harsh, neutral = choice["line"], [choice["harsh"]], [choice["neutral"]]
        filled = {}
    else:
        line, harsh, neutral = rng.choice(category["lines"]), category["harsh"], category["neutral"]
        filled = {"insult": rng.choice(category["insults"])}
    people = {
        "H": f"{{{hostile}}}",
        "V": f"{{{victim}}}",
        "H's": f"{{{hostile}'s}}",
        "V's": f"{{{victim}'s}}",
    } | filled
    people["V}'s"] = people["V's"]
    text = capitalized(fill(line, filled))
    if len(lines) + 2 <= MAX_TURNS and rng.random() < 0.75:
        lines[at:at] = [Line(hostile, text), Line(victim, rng.choice(hostility()["reactions"]))]
    else:
        lines[at].text = f"{text} {lines[at].text}"
    return Quarrel(
        hostile,
        category["id"],
        tuple(fill(h.replace("{H}'s", "{H's}").replace("{V}'s", "{V's}"), people) for h in harsh),
        tuple(fill(n.replace("{H}'s", "{H's}").replace("{V}'s", "{V's}"), people) for n in neutral),
    )


@dataclass
class Detours:
    """What is said beside the script."""

    room: int
    """Turns that may still be added."""
    exchanges: dict[int, list[Line]] = field(default_factory=dict)
    """Two turns in front of a line, by the line's number."""
    slips: dict[int, dict[str, str]] = field(default_factory=dict)
    """What is said in place of a slot, by the line's number."""
    corrected: dict[str, str] = field(default_factory=dict)
    """Slots that were corrected, with the value first said."""

    def fits(self, at: int) -> bool:
        """Whether an exchange can come in front of a line."""
        return self.room >= 2 and at not in self.exchanges

    def add(self, at: int, exchange: list[Line]) -> None:
        """Put an exchange in front of a line."""
        self.exchanges[at] = exchange
        self.room -= len(exchange)


def speak(
    lines: list[Line], scenario: Scenario, values: dict[str, str], rng: random.Random
) -> tuple[list[tuple[str, str]], dict[str, str]]:
    """Fill the slots, with side remarks, interruptions, confirmations, mishearings and corrections in between.

    Returns the turns and the corrected slots with the value first said.
    """
    detours = Detours(MAX_TURNS - len(lines))
    for event in rng.sample(list(CHANCES), 3):
        if rng.random() > CHANCES[event]:
            continue
        if event == "slip":
            _slip(lines, scenario, values, detours, rng)
        elif detours.room >= 2:
            _digress(event, lines, values, detours, rng)
    turns: list[tuple[str, str]] = []
    for i, line in enumerate(lines):
        turns += [(x.speaker, sentence_case(articles(x.text))) for x in detours.exchanges.get(i, [])]
        said = values | detours.slips.get(i, {})
        text = articles(fill(line.text, said)) if line.slots else articles(line.text)
        if rng.random() < 0.08 and line.scripted and i > 0 and i not in detours.slips:
            text = f"{rng.choice(smalltalk()['prefixes'])} {capitalized(text)}"
        turns.append((line.speaker, sentence_case(text)))
    return turns, detours.corrected


def _digress(event: str, lines: list[Line], values: dict[str, str], detours: Detours, rng: random.Random) -> None:
    """Add a side remark or an interruption, if its place is free."""
    # A side remark in answer to a question would be rude; an interruption may come at any time.
    places = [g for g in gaps(lines) if event == "interruption" or not lines[g - 1].text.endswith("?")]
    at = rng.choice(places) if places else 0
    if at and detours.fits(at):
        detours.add(at, _remark(event, lines[at].speaker, lines[at - 1].speaker, values, rng))


def _remark(kind: str, speaker: str, other: str, values: dict[str, str], rng: random.Random) -> list[Line]:
    """A side remark or an interruption by ``speaker``, and the other's reaction; never with the dialogue's values."""
    first, second = rng.choice(smalltalk()["asides" if kind == "aside" else "interruptions"])
    taken = set(values.values())
    drawn = {
        name: rng.choice([v for v in pools()[name] if v not in taken])
        for name in sorted(fields(first) | fields(second))
    }
    return [Line(speaker, fill(first, drawn)), Line(other, fill(second, drawn))]


def _slip(lines: list[Line], scenario: Scenario, values: dict[str, str], detours: Detours, rng: random.Random) -> None:
    """Add a slip of the tongue put right, a mishearing, or a mere confirmation of one slot."""
    first_mention: dict[str, int] = {}
    for i, line in enumerate(lines):
        for name in sorted(line.slots):
            first_mention.setdefault(name, i)
    able = [(n, i) for n, i in first_mention.items() if scenario.pools[n] in CORRECTABLE and i + 1 < len(lines)]
    if not able:
        return
    name, at = rng.choice(able)
    value = values[name]
    old = rng.choice([v for v in scenario.slots[name] if v not in values.values()])
    talk = smalltalk()
    kind = rng.choices(["in_turn", "after", "confirmation", "mishearing"], [0.35, 0.3, 0.2, 0.15])[0]
    if kind == "in_turn" or not detours.fits(at + 1):
        detours.slips[at] = {name: fill(rng.choice(talk["corrections_in_turn"]), {"old": old, "new": value})}
        detours.corrected[name] = old
        return
    if kind == "after":
        pair = rng.choice(talk["corrections_after"])
        detours.slips[at] = {name: old}
        detours.corrected[name] = old
    else:
        pair = rng.choice(talk["confirmations" if kind == "confirmation" else "mishearings"])
    named = {"old": old, "new": value, "value": value}
    answer, reply = (fill(text, named) for text in pair)
    detours.add(at + 1, [Line(lines[at + 1].speaker, answer), Line(lines[at].speaker, reply)])
