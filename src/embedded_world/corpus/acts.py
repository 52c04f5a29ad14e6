"""Read the speech acts: what people say to each other, and how it is reported.

The acts lie in ``data/content/acts`` as plain text (see the README there). An act is an opening in many phrasings
with the wordings of its report, and several answers, each with an outcome, phrasings and reports of its own. Phrasings
may have reports of their own. Pools hold clauses that are said in one way and reported in another.
"""

from __future__ import annotations

import argparse
import random
import re
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from genai_labs.errors import LabError
from genai_labs.inputs.arguments import counted
from genai_labs.paths import CONTENT

ACTS = CONTENT / "acts"
EQUALS = ("neighbours", "family", "friends", "flatmates", "colleagues", "classmates", "club")
SERVICE = (
    *("shop", "restaurant", "hotel", "clinic", "garage", "travel", "office", "phone", "school", "landlord", "boss"),
    *("salon", "library", "gym"),
)
OUTCOMES = ("yes", "no", "part", "later", "open", "told")
THINGS = (
    *("tool", "appliance", "furniture", "garment", "vessel", "toy", "instrument", "vehicle", "part", "gadget"),
    *("document", "jewel"),
)
WORD_TYPES = (
    *THINGS,
    *("thing", "fruit", "vegetable", "dish", "drink", "groceries", "animal", "plant", "material", "colour", "good"),
    *("bad", "body", "illness", "place", "shop", "building", "room", "town", "street", "country", "company", "job"),
    *("relative", "name", "surname", "event", "subject", "sport", "title", "day", "date", "clock", "month"),
    *("duration", "price", "number", "ago"),
)
CLAUSE_TYPES = (
    *("excuse", "trouble", "news", "wrong", "plan", "need", "errand", "chore", "outing", "fear", "opinion", "fact"),
)
SPEAKERS = {"A", "B", "A's", "B's"}
SLOT = re.compile(r"\{([^{}]+)\}")
FEWEST = {"opening": 12, "opening reports": 4, "answer": 7, "answer reports": 3, "answers": 3, "pool": 40}


@dataclass(frozen=True)
class Phrasing:
    """One way to say something: the turns, speakers alternating, and reports of its own, if any."""

    turns: tuple[str, ...]
    reports: tuple[str, ...] = ()

    @property
    def slots(self) -> set[str]:
        return {name for turn in self.turns for name in SLOT.findall(turn)}


@dataclass
class Part:
    """The opening or one answer of an act: phrasings and the wordings of their report.

    outcome: of an answer, one of OUTCOMES; "" for an opening.
    """

    outcome: str
    phrasings: list[Phrasing] = field(default_factory=list)
    reports: list[str] = field(default_factory=list)


@dataclass
class Act:
    """One speech act.

    where: settings in which it can happen. by: whether "client" or "staff" begins it. insults: the kinds of insult
    (of ``hostile.yaml``) that whoever begins it may be provoked to; none where nothing is reproached.
    """

    id: str
    title: str = ""
    where: tuple[str, ...] = ()
    by: str = "client"
    insults: tuple[str, ...] = ()
    opening: Part = field(default_factory=lambda: Part(""))
    answers: list[Part] = field(default_factory=list)


@dataclass
class Acts:
    """Everything that some files of acts hold.

    greetings, closings, asides: (settings, who begins, turns). pools: by type, (spoken, reported).
    """

    acts: list[Act] = field(default_factory=list)
    greetings: list[tuple[tuple[str, ...], str, tuple[str, ...]]] = field(default_factory=list)
    closings: list[tuple[tuple[str, ...], str, tuple[str, ...]]] = field(default_factory=list)
    asides: list[tuple[tuple[str, ...], str, tuple[str, ...]]] = field(default_factory=list)
    pools: dict[str, list[tuple[str, str]]] = field(default_factory=dict)

    def add(self, other: Acts) -> None:
        """Take in what another file holds."""
        self.acts += other.acts
        self.greetings += other.greetings
        self.closings += other.closings
        self.asides += other.asides
        for name, entries in other.pools.items():
            self.pools.setdefault(name, []).extend(entries)


def settings(text: str) -> tuple[str, ...]:
    """The settings that a line names; ``any`` stands for all between equals."""
    return tuple(s for word in text.split() for s in (EQUALS if word == "any" else (word,)))


def slot_type(name: str) -> str:
    """The type of a slot: ``day2`` is a second ``day``."""
    return name.rstrip("0123456789")


def read_acts(path: Path) -> Acts:
    """One file of acts. Raises LabError where it, or a line of it (then with its number), cannot be read."""
    found = Acts()
    act: Act | None = None
    part: Part | None = None
    where: tuple[str, ...] = ()
    kind = pool = ""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        raise LabError(
            f"{path} cannot be read as a text in UTF-8 ({error}). Name a file as in data/content/acts."
        ) from error
    for number, raw in enumerate(text.splitlines(), 1):
        line = raw.strip()
        if not line or line.startswith("#"):
            continue
        head, _, rest = line.partition(" ")
        if head == "==":
            kind, _, tail = rest.partition(" ")
            act = part = None
            if kind in ("greet", "close", "aside"):
                where = settings(tail)
            elif kind == "pool":
                pool = tail.strip()
                found.pools.setdefault(pool, [])
            else:
                act = Act(rest.strip())
                part = act.opening
                kind = "act"
                found.acts.append(act)
        elif kind == "pool":
            spoken, _, reported = line.partition(" => ")
            found.pools[pool].append((spoken.strip(), (reported or spoken).strip()))
        elif kind in ("greet", "close", "aside") and head in ("1>", "2>", "A>"):
            turns = tuple(t.strip() for t in rest.split(" // "))
            target = {"greet": found.greetings, "close": found.closings, "aside": found.asides}[kind]
            target.append((where, head[0], turns))
        elif act and head == "title:":
            act.title = rest.strip()
        elif act and head == "where:":
            act.where = settings(rest)
        elif act and head == "by:":
            act.by = rest.strip()
        elif act and head == "insult:":
            act.insults = tuple(rest.split())
        elif act and head == "--":
            part = Part(rest.split()[0] if rest.split() else "")
            act.answers.append(part)
        elif act and part and head in ("A>", "B>"):
            if (head == "A>") != (part is act.opening):
                raise LabError(
                    f"{path.name}, line {number}: an opening is said by A, an answer begins with B. Mend it."
                )
            text, *own = [p.strip() for p in rest.split(" => ")]
            part.phrasings.append(Phrasing(tuple(t.strip() for t in text.split(" // ")), tuple(own)))
        elif act and part and head == "=":
            part.reports.append(rest.strip())
        else:
            raise LabError(f"{path.name}, line {number} cannot be understood: {line[:80]!r}. Mend it.")
    return found


@cache
def all_acts() -> Acts:
    """All acts, pools, greetings, closings and asides of ``data/content/acts``, in the order of the files' names."""
    found = Acts()
    for path in sorted(ACTS.glob("*.acts")):
        found.add(read_acts(path))
    return found


def faults_in(found: Acts) -> Iterator[str]:
    """What is wrong with the content of a file, in words; nothing where it is fit for the generator."""
    seen: set[str] = set()
    for act in found.acts:
        if act.id in seen:
            yield f"{act.id}: defined twice"
        seen.add(act.id)
        yield from (f"{act.id}: {problem}" for problem in _act_problems(act))
    for kind, entries in (("greet", found.greetings), ("close", found.closings), ("aside", found.asides)):
        for where, _, turns in entries:
            for turn in turns:
                yield from (f"{kind}: {p}" for p in _turn_text_problems(turn, {"1", "2"}))
            if unknown := set(where) - {*EQUALS, *SERVICE}:
                yield f"{kind}: unknown settings {sorted(unknown)}"
    for name, lines in found.pools.items():
        if name not in CLAUSE_TYPES:
            yield f"pool {name}: unknown, known are {', '.join(CLAUSE_TYPES)}"
        if len(lines) < FEWEST["pool"]:
            yield f"pool {name}: only {len(lines)} lines"
        for spoken, reported in lines:
            yield from (f"pool {name}: {p}" for p in _turn_text_problems(spoken, set(), ends=False))
            yield from (f"pool {name}: {p}" for p in _report_problems(reported, {"S", "H", "S's", "H's"}, begins=False))
            if missing := _slots_in(reported) - _slots_in(spoken) - {"S", "H", "S's", "H's"}:
                yield f"pool {name}: {sorted(missing)} reported but not said: {spoken}"


def _slots_in(text: str) -> set[str]:
    return set(SLOT.findall(text))


def _act_problems(act: Act) -> Iterator[str]:
    if not act.title:
        yield "no title"
    if not act.where or set(act.where) - {*EQUALS, *SERVICE}:
        yield f"settings missing or unknown: {sorted(set(act.where) - {*EQUALS, *SERVICE})}"
    if act.by not in ("client", "staff"):
        yield "by: is client or staff"
    if len(act.answers) < FEWEST["answers"]:
        yield f"only {len(act.answers)} answers"
    said: set[str] = set()
    for part in (act.opening, *act.answers):
        name = f"answer {part.outcome}" if part.outcome or part is not act.opening else "opening"
        few = "answer" if part.outcome else "opening"
        if part is not act.opening and part.outcome not in OUTCOMES:
            yield f"{name}: outcome is one of {', '.join(OUTCOMES)}"
        if len(part.phrasings) < FEWEST[few]:
            yield f"{name}: only {len(part.phrasings)} phrasings"
        shared = [p for p in part.phrasings if not p.reports]
        if len(part.reports) < FEWEST[f"{few} reports"] and shared:
            yield f"{name}: only {len(part.reports)} reports"
        if len({p.turns for p in part.phrasings}) < len(part.phrasings):
            yield f"{name}: a phrasing stands twice"
        common = set.intersection(*(p.slots for p in shared)) if shared else set()
        for phrasing in part.phrasings:
            if part is act.opening and len(phrasing.turns) % 2 == 0:
                yield f"{name}: has to end with A speaking: {' // '.join(phrasing.turns)}"
            for turn in phrasing.turns:
                yield from (f"{name}: {p}" for p in _turn_text_problems(turn, set()))
                if any(turn.count("{" + slot + "}") > 1 for slot in _slots_in(turn)):
                    yield f"{name}: a slot twice in one turn: {turn}"
            for report in phrasing.reports:
                yield from (f"{name}: {p}" for p in _report_problems(report, SPEAKERS))
                if missing := _slots_in(report) - SPEAKERS - phrasing.slots - said:
                    yield f"{name}: {sorted(missing)} reported but not said by every phrasing: {report}"
        for report in part.reports:
            yield from (f"{name}: {p}" for p in _report_problems(report, SPEAKERS))
            if missing := _slots_in(report) - SPEAKERS - common - said:
                yield f"{name}: {sorted(missing)} reported but not said by every phrasing: {report}"
        if part is act.opening:
            said = set.intersection(*(p.slots for p in part.phrasings)) if part.phrasings else set()


def _known(name: str) -> bool:
    return slot_type(name) in (*WORD_TYPES, *CLAUSE_TYPES)


def _turn_text_problems(text: str, names: Iterable[str], ends: bool = True) -> Iterator[str]:
    for slot in _slots_in(text):
        if slot not in names and not _known(slot):
            yield f"unknown slot {{{slot}}}: {text}"
    if ends and not re.search(r"[.?!,]$|\.\.\.$", text):
        yield f"a turn ends without . ? or !: {text}"
    if re.search(r"[\[\]/\"]|[^\x20-\x7e]|=>|  ", text):
        yield f"forbidden character: {text}"


def _report_problems(text: str, names: Iterable[str], begins: bool = True) -> Iterator[str]:
    for slot in _slots_in(text):
        if slot not in names and not _known(slot):
            yield f"unknown slot {{{slot}}} in the report: {text}"
    if begins and not re.match(r"\{[AB]('s)?\}", text):
        yield f"a report begins with {{A}} or {{B}}: {text}"
    if begins and not re.search(r"\[[^\[\]|]+\|[^\[\]|]+\]", text):
        yield f"no [present|past] in the report: {text}"
    if text.endswith("."):
        yield f"a report ends without a full stop: {text}"
    if re.search(r"\b(he|she|him|his|her|hers|they|them|their|I|me|my|you|your|we|us|our)\b", SLOT.sub("", text)):
        yield f"a pronoun in the report: {text}"
    if re.search(r"[\"]|[^\x20-\x7e]|  ", text):
        yield f"forbidden character in the report: {text}"


def _sample(act: Act, rng: random.Random) -> str:
    opening, answer = rng.choice(act.opening.phrasings), rng.choice(act.answers)
    reply = rng.choice(answer.phrasings)
    turns = [*zip("ABABABAB", opening.turns, strict=False), *zip("BABABA", reply.turns, strict=False)]
    told = rng.choice(opening.reports or act.opening.reports or ("-",))
    ended = rng.choice(reply.reports or answer.reports or ("-",))
    return f"[{act.id}, {answer.outcome}]\n" + "\n".join(f"  {s}: {t}" for s, t in turns) + f"\n  = {told}. {ended}."


def main(arguments: list[str] | None = None) -> int:
    """Check one file of acts and print what is wrong, what it holds, and samples.

    Exit status 1 if anything is wrong with them, 2 if the file cannot be read.
    """
    parser = argparse.ArgumentParser(description="Check a file of speech acts.")
    parser.add_argument("file", type=Path)
    parser.add_argument("--samples", type=int, default=5, help="exchanges to print (default: 5)")
    options = parser.parse_args(arguments)
    try:
        found = read_acts(options.file)
    except LabError as error:
        print(error, file=sys.stderr)
        return 2
    wrong = list(faults_in(found))
    for problem in wrong[:60]:
        print("PROBLEM", problem)
    rng = random.Random()
    for act in rng.sample(found.acts, min(options.samples, len(found.acts))):
        print(_sample(act, rng))
    phrasings = sum(len(p.phrasings) for a in found.acts for p in (a.opening, *a.answers))
    print(
        f"{counted(len(wrong), 'problem')}; {len(found.acts)} acts, {phrasings} phrasings, "
        f"{len(found.greetings)} greetings, {len(found.closings)} closings, {len(found.asides)} asides, pools: "
        + ", ".join(f"{n} {len(e)}" for n, e in found.pools.items())
    )
    return 1 if wrong else 0


if __name__ == "__main__":
    raise SystemExit(main())
