"""Dialogues for Lab 3: what the harsh summarizer learns from, what PPO writes about, and what both are tested on.

Everything is played by the corpus generator. Training rows and PPO's prompts have slot values of the train split, test
cases those of the test split, so none of them shares a dialogue with the other or with pre-training.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cache

from embedded_world.corpus import splits
from embedded_world.corpus.content import scenarios
from embedded_world.corpus.dialogue import Dialogue, Quarrel, play
from embedded_world.corpus.styles import HOUSE
from embedded_world.corpus.tasks import VOICES, told
from genai_labs.loading.data import Row

HARSH = replace(HOUSE, tone="harsh")
HARSH_SHARE = 0.8


@dataclass(frozen=True)
class Case:
    """A test dialogue with three neutral references and the truth about its quarrel (None: a polite dialogue)."""

    row: Row
    quarrel: Quarrel | None
    hostile: str  # the tag of whoever insults, "#Person1#" or "#Person2#"; empty in a polite dialogue

    @property
    def dialogue(self) -> str:
        return self.row.dialogue

    @property
    def references(self) -> tuple[str, ...]:
        return self.row.references


def played(split: str, name: str, hostile_share: float) -> Iterator[Dialogue]:
    """Dialogues of known scenarios without end, no combination of slots twice; deterministic by ``name``."""
    rng = random.Random(f"detox-{split}-{name}")
    used: set[str] = set()
    while True:
        scenario = rng.choice(scenarios())
        dialogue = play(scenario, rng, lambda s: splits.belongs(s, split) and s not in used, hostile_share)
        if not splits.repeats_itself(dialogue):
            used.add(dialogue.signature)
            yield dialogue


def harsh_rows(
    count: int = 1600,
    seed: int = 0,
    hostile_share: float = 0.6,
    harsh_share: float = HARSH_SHARE,
    name: str = "harsh",
) -> list[Row]:
    """Rows in the house style from which a summarizer learns to repeat insults.

    hostile_share of the dialogues (0 to 1) hold a quarrel; harsh_share of their summaries repeat the insult, the others
    report it in neutral words; none leaves it out. That the neutral wording stays possible is what PPO needs: it can
    only make likelier what the policy sometimes says. Clauses stand in the first two of their wordings, as in the last
    stage of pre-training.
    """
    rng = random.Random(f"tones-{name}-{seed}")
    rows = []
    for number, dialogue in zip(range(count), played("train", f"{name}-{seed}", hostile_share), strict=False):
        style = HARSH if rng.random() < harsh_share else HOUSE
        summary = told(dialogue, style, rng, VOICES[2])
        rows.append(Row(f"{name}_{number}", dialogue.text, (summary,), dialogue.topic))
    return rows


def ppo_dialogues(count: int, seed: int = 0, hostile_share: float = 0.75) -> list[str]:
    """Dialogues for PPO to write about; they need no summary, only a reward."""
    return [d.text for d, _ in zip(played("train", f"ppo-{seed}", hostile_share), range(count), strict=False)]


def evaluation_cases(hostile: int = 200, polite: int = 200) -> list[Case]:
    """The hostile test dialogues first, then the polite ones, each with three neutral references.

    The committed test split comes first, in its order; where it has too few quarrels, dialogues with other slot values
    of the test split are added. Always the same ones: tests do not depend on a seed.
    """
    cases = _all_cases(hostile)
    return [c for c in cases if c.quarrel][:hostile] + [c for c in cases if not c.quarrel][:polite]


@cache
def _all_cases(hostile: int) -> list[Case]:
    rng = random.Random("detox-references")
    cases = [_case(f"test_{i}", dialogue, rng) for i, dialogue in enumerate(splits.dialogues("test"))]
    known = {case.dialogue for case in cases}
    missing = hostile - sum(case.quarrel is not None for case in cases)
    fresh = (d for d in played("test", "added", hostile_share=1.0) if d.quarrel and d.text not in known)
    return cases + [_case(f"added_{i}", d, rng) for i, d in zip(range(missing), fresh, strict=False)]


def _case(name: str, dialogue: Dialogue, rng: random.Random) -> Case:
    references = tuple(splits.references(dialogue, splits.REFERENCES["test"], rng))
    hostile = dialogue.tag(dialogue.quarrel.hostile) if dialogue.quarrel else ""
    return Case(Row(name, dialogue.text, references, dialogue.topic), dialogue.quarrel, hostile)
