"""Read and check the authored content: scenarios, slot pools, small talk, hostile speech, notes, word problems.

The content lives in ``data/content`` as YAML that people can read and extend. A scenario is a small play for two
speakers, A and B: turns in several phrasings, slots to be filled, endings that differ in outcome, and one summary
clause for the main part and one for each ending, in several wordings.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from itertools import accumulate
from pathlib import Path
from typing import Any

import yaml

from embedded_world.corpus.language import starts_with_vowel_sound
from embedded_world.corpus.shape import shape_problems
from genai_labs.errors import LabError
from genai_labs.paths import CONTENT

PLACEHOLDER = re.compile(r"\{([^{}]+)\}")
SPEAKER_FIELDS = {"A", "B", "A's", "B's"}
DEEPEST = 50  # lists in lists; a scenario has four
SHOWN = 5  # of the problems of one scenario, in an error's message


@dataclass(frozen=True)
class Turn:
    """One scripted turn: who speaks ("A" or "B") and the phrasings to choose from."""

    speaker: str
    phrasings: tuple[str, ...]


@dataclass(frozen=True)
class Ending:
    """One outcome of a scenario: its turns and the wordings of its summary clause."""

    name: str
    turns: tuple[Turn, ...]
    summary: tuple[str, ...]


@dataclass(frozen=True)
class Question:
    """A question about the dialogue and its answer template."""

    question: str
    answer: str


@dataclass(frozen=True)
class Scenario:
    """A situation with slots; ``pools`` names the shared pool of a slot, or None for a list of its own."""

    id: str
    topic: str
    register: str
    roles: tuple[str, str]
    slots: dict[str, tuple[str, ...]]
    pools: dict[str, str | None]
    main: tuple[Turn, ...]
    summary: tuple[str, ...]
    endings: tuple[Ending, ...]
    questions: tuple[Question, ...]
    unseen: bool

    def __hash__(self) -> int:
        return hash(self.id)


def read_yaml(name: str | Path, kind: type = object) -> Any:
    """The parsed YAML file ``name`` under ``data/content`` (or at an absolute path).

    kind: list or dict, where it has to be one. Raises LabError if the file cannot be read or holds something else.
    """
    path = CONTENT / name
    try:
        text = path.read_text(encoding="utf-8")
        if _is_deep(text):
            raise LabError(
                f"The content file {name} is nested too deeply. Lists in lists in lists have no meaning there."
            )
        # The base loader reads every scalar as text: a slot may be called "on", and an answer may be "no".
        found = yaml.load(text, Loader=getattr(yaml, "CBaseLoader", yaml.BaseLoader))
    except FileNotFoundError:
        raise LabError(
            f"The content file {name} is missing. The corpus is generated from it. "
            "Restore it with: git checkout -- data/content"
        ) from None
    except OSError as error:
        raise LabError(f"The content file {name} cannot be read: {error.strerror}. Name another file.") from error
    except UnicodeDecodeError as error:
        raise LabError(
            f"The content file {name} is not written in UTF-8 ({error}). Save it in UTF-8, or restore it with: "
            "git checkout -- data/content"
        ) from error
    except (yaml.YAMLError, RecursionError) as error:
        raise LabError(f"The content file {name} is not valid YAML: {error}. Mend the line it names.") from error
    if not isinstance(found, kind):
        wanted = "a list, each item of which begins with a dash" if kind is list else "names with values"
        raise LabError(f"The content file {name} has to hold {wanted}, and holds something else. Mend it.")
    return found


def _is_deep(text: str) -> bool:
    """Whether lists stand in lists more than DEEPEST times, at which the parser, written in C, may crash."""
    depth = accumulate(1 if mark in "[{" else -1 for mark in re.findall(r"[][{}]", text))
    return max(depth, default=0) > DEEPEST or re.search(rf"(?:[-?:] +){{{DEEPEST}}}", text) is not None


@cache
def pools() -> dict[str, tuple[str, ...]]:
    """Shared pools of interchangeable slot values, by name. Raises LabError where the file of them is damaged."""
    raw = read_yaml("pools.yaml", dict)
    for name, values in raw.items():
        if not isinstance(values, list) or not values or not all(isinstance(each, str) for each in values):
            raise LabError(
                f"The pool {name} in pools.yaml has to be a list of texts. Mend it, or restore the file with: "
                "git checkout -- data/content"
            )
    return {name: tuple(values) for name, values in raw.items()}


@cache
def scenarios(unseen: bool = False) -> tuple[Scenario, ...]:
    """All scenarios of the known world, or those of the unseen one, ordered by id."""
    files = sorted((CONTENT / "scenarios").glob("*.yaml"))
    chosen = [f for f in files if f.stem.startswith("unseen") == unseen]
    return tuple(sorted((s for f in chosen for s in read_scenarios(f)), key=lambda s: s.id))


def read_scenarios(path: Path) -> list[Scenario]:
    """The scenarios of one file, as they stand there (see :func:`problems` for checks).

    Raises LabError if the file, or a scenario in it, cannot be read.
    """
    return [parse_scenario(raw, unseen=path.stem.startswith("unseen")) for raw in read_yaml(path, list)]


def parse_scenario(raw: dict[str, Any], unseen: bool) -> Scenario:
    """One scenario from its YAML mapping; slots that name a shared pool get its values.

    Raises LabError if something is missing, is of the wrong kind, or names a pool that does not exist.
    """
    if wrong := shape_problems(raw):
        raise LabError(f"The scenario {scenario_id(raw)} cannot be read: {'; '.join(wrong[:SHOWN])}. Mend it.")
    own = {name: spec for name, spec in raw["slots"].items() if isinstance(spec, list)}
    shared = {name: spec for name, spec in raw["slots"].items() if isinstance(spec, str)}
    missing = sorted(set(shared.values()) - set(pools()))
    if missing:
        raise LabError(
            f"The scenario {raw['id']} names pools that do not exist: {', '.join(missing)}. Known are: "
            f"{', '.join(sorted(pools()))}. Name one of them, or give a list of values."
        )
    return Scenario(
        id=raw["id"],
        topic=raw["topic"],
        register=raw["register"],
        roles=(raw["roles"][0], raw["roles"][1]),
        slots={n: tuple(own[n]) if n in own else pools()[shared[n]] for n in raw["slots"]},
        pools={n: shared.get(n) for n in raw["slots"]},
        main=parse_turns(raw["main"]),
        summary=tuple(raw["summary"]),
        endings=tuple(Ending(e["name"], parse_turns(e["turns"]), tuple(e["summary"])) for e in raw["endings"]),
        questions=tuple(Question(q["q"], q["a"]) for q in raw["questions"]),
        unseen=unseen,
    )


def scenario_id(raw: Any) -> str:
    """What a scenario in YAML is called, as far as that can be told."""
    name = raw.get("id") if isinstance(raw, dict) else None
    return name[:60] if isinstance(name, str) and name else "without an id"


def parse_turns(raw: list[dict[str, list[str]]]) -> tuple[Turn, ...]:
    """Turns from a YAML list of one-key mappings, ``- A: [phrasing, ...]``."""
    return tuple(Turn(speaker, tuple(lines)) for turn in raw for speaker, lines in turn.items())


def fields(template: str) -> set[str]:
    """Names in curly braces in a template."""
    return set(PLACEHOLDER.findall(template))


def stated_slots(turns: tuple[Turn, ...]) -> set[str]:
    """Slots that are said whatever phrasing is chosen: in every phrasing of at least one turn."""
    return set().union(*(set.intersection(*(fields(p) for p in turn.phrasings)) for turn in turns))


def scenario_problems(scenario: Scenario) -> Iterator[str]:
    """What is wrong with a scenario, in words; nothing if it is fit for the generator."""
    yield from _shape_problems(scenario)
    yield from _turn_problems(scenario)
    yield from _summary_problems(scenario)


def wrong_article(scenario: Scenario, template: str) -> bool:
    """Whether "a" or "an" stands before a slot of which some value wants the other article."""
    for article, name in re.findall(r"\b(an?) \{(\w+)\}", template):
        if any(starts_with_vowel_sound(v) != (article == "an") for v in scenario.slots.get(name, ())):
            return True
    return False


def _shape_problems(s: Scenario) -> Iterator[str]:
    combinations = 1
    for values in s.slots.values():
        combinations *= len(values)
    if combinations < 5000:
        yield f"only {combinations} combinations of slots; 5,000 needed"
    if s.register not in ("service", "friends"):
        yield f"register {s.register!r} is neither service nor friends"
    if s.roles[0] == s.roles[1]:
        yield "both roles are the same"
    if len(s.endings) < 2:
        yield "fewer than two endings"
    for name, values in s.slots.items():
        if len(set(values)) != len(values) or (s.pools[name] is None and len(values) < 5):
            yield f"slot {name}: values repeat, or fewer than five"


def _turn_problems(s: Scenario) -> Iterator[str]:
    known = set(s.slots)
    for ending in s.endings:
        script = s.main + ending.turns
        order = "".join(t.speaker for t in script)
        if not ("AB" * 6).startswith(order) or not 6 <= len(script) <= 10:
            yield f"ending {ending.name}: speakers go {order}; they must alternate from A, 6 to 10 turns"
    for turn in s.main + tuple(t for e in s.endings for t in e.turns):
        if len(turn.phrasings) < 3:
            yield f"fewer than three phrasings: {turn.phrasings}"
        for line in turn.phrasings:
            for name in fields(line) - known:
                yield f"unknown slot {{{name}}} in: {line}"
            if re.search(r"[\[\]/\"]|[^\x20-\x7e]", line):
                yield f"forbidden character in: {line}"
            if not re.search(r"[.?!]$", line):
                yield f"no final mark in: {line}"
            if wrong_article(s, line):
                yield f"article before a slot (write a(n)): {line}"
            if any(line.count(f"{{{name}}}") > 1 for name in known):
                yield f"a slot twice in one turn: {line}"


def _summary_problems(s: Scenario) -> Iterator[str]:
    known = set(s.slots) | SPEAKER_FIELDS
    said_in_main = stated_slots(s.main)
    clauses = [(w, said_in_main) for w in s.summary]
    for e in s.endings:
        clauses += [(w, said_in_main | stated_slots(e.turns)) for w in e.summary]
    if min(len(s.summary), *(len(e.summary) for e in s.endings)) < 3:
        yield "fewer than three wordings of a summary clause"
    for wording, said in clauses:
        for name in fields(wording) - known:
            yield f"unknown field {{{name}}} in summary: {wording}"
        for name in fields(wording) - said - SPEAKER_FIELDS:
            yield f"slot {{{name}}} is not stated in every phrasing of any turn, but summarized: {wording}"
        if not re.match(r"(since )?\{[AB]('s)?\}|both ", wording):
            yield f"summary must begin with {{A}}, {{B}}, since or both: {wording}"
        if wording.endswith(".") or "[" not in wording or wrong_article(s, wording):
            yield f"summary has a period, no [present|past] verb, or an article before a slot: {wording}"
        if re.search(r"\b(he|she|him|his|I|my|you|your)\b", wording):
            yield f"summary has a pronoun (name the speaker again): {wording}"
    for q in s.questions:
        for name in fields(q.question) - known:
            yield f"unknown field {{{name}}} in the question: {q.question}"
        for name in fields(q.answer) - SPEAKER_FIELDS:
            if name not in known or name not in said_in_main | set().union(*(stated_slots(e.turns) for e in s.endings)):
                yield f"answer slot {{{name}}} is unknown or not always stated: {q.question}"
