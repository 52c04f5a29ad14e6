"""Dialogues joined from exchanges that readers found to fit.

``compose`` draws acts, words and answers by chance, and what comes out does not always make sense: a haircut of nine
months, an answer to another question. Here single exchanges are drawn first. Readers judge them, and those that fit are
joined to dialogues, which readers judge once more (``reading_splits``).
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace

from embedded_world.corpus import compose as composing
from embedded_world.corpus import words
from embedded_world.corpus.acts import EQUALS, Act, all_acts
from embedded_world.corpus.compose import EXCHANGES, ROLES, UNSEEN_PAIRS, acts_at, pair_split
from embedded_world.corpus.fillings import other
from embedded_world.corpus.spoken import SpokenTurn, in_full, led_over, spoken
from embedded_world.corpus.talk import Insult, Talk, Told

HOSTILE = 0.1  # of exchanges, where one can, hold an insult; readers refuse more of these than of others
ROUNDS = 10  # dialogues in which an exchange is tried


def text_id(text: str) -> str:
    """Ten hexadecimal digits that stand for a text."""
    return hashlib.sha256(text.encode()).hexdigest()[:10]


@dataclass(frozen=True)
class Exchange:
    """An act's opening and one of its answers, in a setting. words: what stands in its slots."""

    setting: str
    act: Act
    opener: str
    lines: tuple[SpokenTurn, ...]
    told: tuple[Told, ...]
    quarrel: Insult | None
    words: frozenset[str]

    @property
    def id(self) -> str:
        """Ten hexadecimal digits that stand for its setting and its turns."""
        return text_id("\n".join([self.setting, *(f"{line.speaker}: {line.text}" for line in self.lines)]))


def draw_exchanges(split: str) -> Iterator[Exchange]:
    """Exchanges of a split without end, no two alike. Deterministic."""
    rng = random.Random(f"exchanges-{split}")
    seen: set[str] = set()
    while True:
        exchange = draw_exchange(rng, split)
        if exchange.id not in seen:
            seen.add(exchange.id)
            yield exchange


def draw_exchange(rng: random.Random, split: str) -> Exchange:
    """One exchange, words and wordings as ``compose`` draws them for the split."""
    setting = rng.choices(list(ROLES), [len(acts_at(s)) ** 0.5 for s in ROLES])[0]
    provoking = [act for act in acts_at(setting) if act.insults]
    hostile = bool(provoking) and rng.random() < HOSTILE
    act = rng.choice(provoking if hostile else acts_at(setting))
    opener = composing.draw_opener(act, setting, rng)
    talk = Talk(setting, ROLES[setting][0], None)
    lines: list[SpokenTurn] = []
    taken = set[str]()
    slots = composing.add_opening(lines, act, opener, talk, rng, split, taken, first=True)
    if hostile:
        composing.add_insult(lines, talk, opener, act, 0, rng)
    composing.add_answer(lines, act, opener, talk, rng, split, taken, slots)
    said = tuple(replace(line, text=in_full(line.text, rng)) for line in lines)
    return Exchange(setting, act, opener, said, tuple(talk.told), talk.quarrel, frozenset(taken))


def assemble(split: str, lot: int, fitting: Sequence[Exchange]) -> Iterator[Talk]:
    """Dialogues of the exchanges, each exchange in at most ROUNDS of them. Deterministic by split, lot and exchanges.

    As in ``compose``: acts next to each other belong to the split, no act and no word comes twice, one insult at most.
    """
    unseen = split == "unseen"
    for turn in range(ROUNDS):
        rng = random.Random(f"assemble-{split}-{turn}" + f"-{lot}" * bool(lot))
        left: dict[str, list[Exchange]] = {setting: [] for setting in ROLES}
        for exchange in rng.sample(fitting, len(fitting)):
            left[exchange.setting].append(exchange)
        while any(left.values()):
            setting = rng.choices(list(left), [len(some) for some in left.values()])[0]
            count = rng.choices([n for n, _ in EXCHANGES], [w for _, w in EXCHANGES])[0]
            chosen = [left[setting].pop()]
            while len(chosen) < (max(2, count) if unseen else count):
                found = next((e for e in left[setting] if _goes_on(chosen, e, unseen)), None)
                if not found:
                    break
                left[setting].remove(found)
                chosen.append(found)
            if len(chosen) > 1 or not unseen:
                yield join(chosen, rng, unseen)


def _goes_on(chosen: Sequence[Exchange], following: Exchange, unseen: bool) -> bool:
    """Whether an exchange can follow others."""
    return (
        (pair_split(chosen[-1].act.id, following.act.id) < UNSEEN_PAIRS) is unseen
        and all(each.act is not following.act and not each.words & following.words for each in chosen)
        and not (following.quarrel and any(each.quarrel for each in chosen))
    )


def join(exchanges: Sequence[Exchange], rng: random.Random, unseen: bool) -> Talk:
    """A dialogue of exchanges, with small talk and asides around them."""
    setting, first = exchanges[0].setting, exchanges[0]
    names = {s: words.draw_word("name", rng, unseen) for s in "AB"}
    while names["A"] == names["B"]:
        names["B"] = words.draw_word("name", rng, unseen)
    talk = Talk(setting, rng.choice(ROLES[setting]), None)
    taken = set(names.values()).union(*(each.words for each in exchanges))
    lines: list[SpokenTurn] = []
    if rng.random() < composing.GREETED:
        _greet(lines, first, names, talk, rng)
    for i, exchange in enumerate(exchanges):
        said = [replace(line) for line in exchange.lines]
        if i:
            if lines[-1].speaker == exchange.opener and rng.random() < composing.BACKCHANNEL:
                lines.append(SpokenTurn(other(exchange.opener), rng.choice(spoken("nods"))))
            if not _begins_with(said[0].text, spoken("pauses")):
                said[0].text = led_over(rng.choice(spoken("changes")), said[0])
        lines += said
        talk.told += exchange.told
        talk.topics.append(exchange.act.title)
        if exchange.quarrel:
            talk.quarrel = replace(exchange.quarrel, exchange=i)
        if rng.random() < composing.ASIDE:
            composing.add_aside(lines, setting, rng, taken)
    if rng.random() < composing.CLOSED:
        composing.add_small_talk(lines, all_acts().closings, setting, names, talk, rng)
    composing.tidy_turns(talk, lines)
    return talk


def _greet(lines: list[SpokenTurn], first: Exchange, names: dict[str, str], talk: Talk, rng: random.Random) -> None:
    """Add a greeting; who asks for a minute is who has something to say."""
    known = all_acts().greetings
    if first.setting not in EQUALS and first.opener == "B":
        known = [entry for entry in known if not composing.HELPING.search(" ".join(entry[2]))]
    greeter = composing.add_small_talk(lines, known, first.setting, names, talk, rng)
    asked = greeter and first.setting in EQUALS and composing.ANNOUNCING.search(lines[0].text)
    if asked and greeter != first.opener:
        for line in lines:
            line.speaker = other(line.speaker)
        if talk.names:
            talk.names = {speaker: talk.names[other(speaker)] for speaker in "AB"}


def _begins_with(text: str, openers: Collection[str]) -> bool:
    return any(opener and text.startswith(opener) for opener in openers)
