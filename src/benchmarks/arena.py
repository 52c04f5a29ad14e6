"""``python -m genai_labs arena``: PPO and its rivals at one budget, on the same prompts, adapters and reward.

Each method starts from Lab 3's summarizer that repeats insults. Settings are chosen on validation dialogues by the
reward model; the judge, which none of the methods has seen, reads only what is written about the test dialogues. Each
finished run is kept in build/arena and not done again; a command that was stopped goes on with the run it was in.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.arena_page import write_arena
from genai_labs.inputs.helptext import plain
from genai_labs.inputs.options import whole_number, writable_folder
from genai_labs.loading import models
from genai_labs.loading.profiles import load_profile
from genai_labs.paths import BUILD, RESULTS
from genai_labs.prompting import prompts
from genai_labs.rlhf import dialogues, dpo, group, measure, orpo, ppo, supervised
from genai_labs.rlhf.dialogues import Case
from genai_labs.rlhf.summarizer import load_summarizer
from genai_labs.scoring import toxicity
from genai_labs.system import files, processes, progress

SEEDS = 5
TUNING_SEED = 100  # none of those that are tested
UPDATES, BATCH, MINIBATCH = 10, 32, 16  # 320 responses, and 80 steps of 16 responses with their gradients
DRAWN = 4  # of which the reward model chooses one, where nothing is trained
WRITTEN = 48  # test summaries at a time
LOST = 0.02  # of polite content F1, at most, for settings to be chosen
PPO, SUPERVISED, BEST = "PPO", "supervised", "best of 4"
BEFORE = "before"

Scores = dict[str, dict[str, list[float]]]  # by kind of dialogue and measure, a number for each dialogue
Changes = dict[str, Any]


@dataclass
class Contest:
    """What all methods share: the summarizer that they start from, the reward, the judge, and where runs are kept."""

    folder: Path

    def __post_init__(self) -> None:
        profile = load_profile("mini")
        base, self.tokenizer = models.load_model(profile)
        self.summarizer = load_summarizer(base)
        self.hate, self.judge = (toxicity.load_classifier(each) for each in (profile.reward_model, profile.judge))
        self.count = profile.ppo_dialogues
        self.pairs: dict[str, tuple[list[dpo.Pairs], float]] = {}

    @cached_property
    def test(self) -> list[Case]:
        """The test dialogues of Lab 3, hostile ones first."""
        return dialogues.evaluation_cases(200, 330)

    @cached_property
    def validation(self) -> list[Case]:
        """100 hostile dialogues, and as many polite ones."""
        return dialogues.validation_cases()

    def prompts(self, seed: int) -> list[str]:
        """What a seed's training writes about."""
        return self.asked(dialogues.ppo_dialogues(self.count, seed))

    def asked(self, texts: Sequence[str]) -> list[str]:
        """Prompts for dialogues."""
        return prompts.fit_all(prompts.zero_shot, texts, self.tokenizer)

    def make_pairs(self, policy: ppo.Policy, settings: dpo.PairSettings) -> tuple[list[dpo.Pairs], float]:
        """The pairs of a seed and what they cost in seconds; the same for DPO and ORPO, so that they are made once."""
        key = f"{settings.seed} {settings.group}"
        if key not in self.pairs:
            start = time.process_time()
            made = dpo.make_pairs(policy, self.tokenizer, self.prompts(settings.seed), self.hate.rewards, settings)
            self.pairs = {key: (made, time.process_time() - start)}
        return self.pairs[key]


def by_rollouts(contest: Contest, policy: ppo.Policy, settings: Any) -> dict[str, float]:
    """PPO, GRPO or RLOO."""
    method = group.METHOD if isinstance(settings, group.GroupSettings) else None
    asked = contest.prompts(settings.seed)
    ppo.train(policy, contest.tokenizer, asked, contest.hate.rewards, settings, method=method)
    sampled = settings.updates * settings.batch_size
    return {
        "samples": sampled,
        "passes": sampled * settings.epochs,
        "prompts": sampled // getattr(settings, "group", 1),
    }


def by_pairs(contest: Contest, policy: ppo.Policy, settings: dpo.PairSettings, odds: bool = False) -> dict[str, float]:
    """DPO, or ORPO where the odds ratio is asked for."""
    pairs, seconds = contest.make_pairs(policy, settings)
    if odds:
        orpo.train_by_orpo(policy, contest.tokenizer, pairs, settings)
    else:
        dpo.learn_from_pairs(policy, pairs, settings)
    kept, sampled = sum(len(batch.prompts) for batch in pairs), settings.updates * settings.batch_size
    return {
        "samples": sampled,
        "passes": 2 * kept * settings.epochs,
        "prompts": sampled // settings.group,
        "pairs": kept,
        "seconds_of_pairs": seconds,
    }


def by_odds(contest: Contest, policy: ppo.Policy, settings: dpo.PairSettings) -> dict[str, float]:
    """ORPO."""
    return by_pairs(contest, policy, settings, odds=True)


def by_references(contest: Contest, policy: ppo.Policy, settings: ppo.Settings) -> dict[str, float]:
    """Supervised training on neutral summaries of the prompts that PPO would write about."""
    told = dialogues.neutral_summaries(contest.count, settings.seed)
    supervised.train_on_references(policy, contest.tokenizer, contest.prompts(settings.seed), told, settings)
    count = settings.updates * settings.batch_size
    return {"samples": 0, "references": count, "passes": count * settings.epochs, "prompts": count}


@dataclass(frozen=True)
class Rival:
    """A method: its settings, how it trains, and what was tried on validation dialogues."""

    settings: Callable[..., ppo.Settings]
    train: Callable[..., dict[str, float]]
    tries: tuple[Changes, ...]

    def make(self, changes: Changes, seed: int) -> ppo.Settings:
        """Its settings at the arena's budget."""
        return self.settings(updates=UPDATES, batch_size=BATCH, minibatch=MINIBATCH, seed=seed, **changes)


GRPO, RLOO = {"method": "grpo"}, {"method": "rloo"}
PAIRED: Changes = {"epochs": 8}  # a pair of each 4 responses: as many passes as 4 epochs over all of them
RIVALS = {
    PPO: Rival(ppo.Settings, by_rollouts, ({}, {"learning_rate": 3e-3}, {"kl_coef": 0.1})),
    "GRPO": Rival(
        group.GroupSettings,
        by_rollouts,
        (
            GRPO | {"kl_coef": 0.05},
            GRPO | {"kl_coef": 0.05, "learning_rate": 3e-3},
            GRPO | {"kl_coef": 0.05, "group": 8},
        ),
    ),
    "RLOO": Rival(
        group.GroupSettings, by_rollouts, (RLOO, RLOO | {"learning_rate": 3e-3}, RLOO | {"kl_coef": 0.1, "group": 8})
    ),
    "DPO": Rival(
        dpo.PairSettings,
        by_pairs,
        (
            PAIRED,
            PAIRED | {"learning_rate": 5e-4},
            PAIRED | {"beta": 0.3},
            PAIRED | {"beta": 0.3, "learning_rate": 1e-3},
            PAIRED | {"beta": 0.5, "learning_rate": 1e-3},
        ),
    ),
    "ORPO": Rival(
        dpo.PairSettings,
        by_odds,
        (
            PAIRED | {"beta": 0.25},
            PAIRED | {"beta": 1.0},
            PAIRED | {"beta": 1.0, "learning_rate": 3e-3},
            PAIRED | {"beta": 4.0, "learning_rate": 1e-3},
            PAIRED | {"beta": 4.0, "learning_rate": 5e-4},
        ),
    ),
    SUPERVISED: Rival(ppo.Settings, by_references, ({}, {"learning_rate": 3e-3}, {"learning_rate": 6e-4})),
}


def train_rival(contest: Contest, rival: Rival, settings: ppo.Settings) -> tuple[ppo.Policy, dict[str, float]]:
    """A policy trained by a method, and what it cost; seconds are those that one core worked."""
    policy = ppo.Policy(contest.summarizer, settings)
    start, wall = time.process_time(), time.perf_counter()
    made_before = set(contest.pairs)
    cost = rival.train(contest, policy, settings)
    seconds = time.process_time() - start
    if made_before == set(contest.pairs):  # pairs that had been made before were not paid for now
        seconds += cost.get("seconds_of_pairs", 0.0)
    return policy, cost | {"seconds": seconds, "wall_seconds": time.perf_counter() - wall}


@torch.no_grad()
def sampled_summaries(
    contest: Contest, policy: ppo.Policy, cases: Sequence[Case], seed: int, count: int = 1
) -> tuple[list[list[str]], list[float]]:
    """``count`` sampled summaries of each dialogue, and the KL of the first against the reference, nats."""
    asked = contest.asked([case.dialogue for case in cases])
    order = sorted(range(len(asked)), key=lambda place: len(asked[place]))
    texts: list[list[str]] = [[] for _ in asked]
    kl = [0.0] * len(asked)
    with processes.random_numbers(seed):
        for begin in progress.over(range(0, len(order), WRITTEN), f"{len(order)} dialogues"):
            rows = order[begin : begin + WRITTEN]
            states, source_mask = policy.read(contest.tokenizer, [asked[row] for row in rows])
            for number in range(count):
                tokens = policy.sample(states, source_mask, measure.LONGEST)  # [rows, time]
                mask = ppo.response_mask(tokens, contest.tokenizer.eos_token_id)
                said = contest.tokenizer.batch_decode(tokens * mask, skip_special_tokens=True)
                for row, text in zip(rows, said, strict=True):
                    texts[row].append(text.strip())
                if number == 0:
                    logprobs, _, _ = policy(states, source_mask, tokens)
                    apart = dpo.whole_logprobs(logprobs - policy.reference(states, source_mask, tokens), mask)
                    for row, nats in zip(rows, apart.tolist(), strict=True):
                        kl[row] = nats
    return texts, kl


def scores_by_kind(
    texts: Sequence[str], kl: Sequence[float], cases: Sequence[Case], readers: Mapping[str, Any]
) -> Scores:
    """All that is measured of one summary a dialogue; "hostile" and "polite" are apart."""
    named = measure.scored(texts, cases, readers) | {"KL": np.asarray(kl, float)}
    is_hostile = np.array([case.quarrel is not None for case in cases])
    return {
        kind: {name: values[chosen].round(6).tolist() for name, values in named.items()}
        for kind, chosen in (("hostile", is_hostile), ("polite", ~is_hostile))
    }


def kept(path: Path, plan: Mapping[str, Any], make: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """The record in a file if it was made by this plan; else one that is made now and written there."""
    plan = json.loads(json.dumps(plan))
    if path.exists() and (found := json.loads(path.read_text(encoding="utf-8")))["plan"] == plan:
        return found
    record = {"plan": plan, **make()}
    path.parent.mkdir(parents=True, exist_ok=True)
    files.write_whole(path, json.dumps(record) + "\n")
    return record


def contend(contest: Contest, name: str, changes: Changes, seed: int, tuning: bool) -> dict[str, Any]:
    """One training and what came of it: on test dialogues, or on validation dialogues, which the judge does not see."""
    rival = RIVALS[name]
    settings = rival.make(changes, seed)
    cases = contest.validation if tuning else contest.test
    readers = {"reward model": contest.hate.probabilities}
    readers |= {} if tuning else {"judge": contest.judge.probabilities}

    def make() -> dict[str, Any]:
        policy, cost = train_rival(contest, rival, settings)
        texts, kl = sampled_summaries(contest, policy, cases, seed)
        return {"cost": cost, "scores": scores_by_kind([each[0] for each in texts], kl, cases, readers)}

    part = f"try{rival.tries.index(changes)}" if tuning else "test"
    path = contest.folder / f"{name}-{part}-seed{seed}.json"
    return kept(path, {"settings": asdict(settings), "dialogues": len(cases)}, make)


def untrained(contest: Contest, seed: int, tuning: bool) -> dict[str, dict[str, Any]]:
    """The summarizer itself, a summary drawn at random, and the best of DRAWN by the reward model."""
    cases = contest.validation if tuning else contest.test
    readers = {"reward model": contest.hate.probabilities}
    readers |= {} if tuning else {"judge": contest.judge.probabilities}
    count = 1 if tuning else DRAWN

    def make() -> dict[str, Any]:
        start = time.process_time()
        policy = ppo.Policy(contest.summarizer, ppo.Settings(seed=seed))
        texts, kl = sampled_summaries(contest, policy, cases, seed, count)
        rewards = contest.hate.rewards([text for several in texts for text in several]).reshape(len(cases), count)
        best = [several[place] for several, place in zip(texts, rewards.argmax(1), strict=True)]
        none = {"samples": 0, "passes": 0, "prompts": 0, "seconds": 0.0, "wall_seconds": 0.0}
        drawn = {"drawn_for_each_summary": count, "writing_seconds": time.process_time() - start}
        return {
            BEFORE: {"cost": none, "scores": scores_by_kind([each[0] for each in texts], kl, cases, readers)},
            BEST: {"cost": none | drawn, "scores": scores_by_kind(best, kl, cases, readers)},
        }

    path = contest.folder / f"untrained-{'validation' if tuning else 'test'}-seed{seed}.json"
    return kept(path, {"seed": seed, "drawn": count, "dialogues": len(cases)}, make)


def tune(contest: Contest, names: Sequence[str]) -> dict[str, list[dict[str, Any]]]:
    """All tries on validation dialogues, by method; of each, ``chosen`` says whether its settings are tested."""
    before = summary_of(untrained(contest, TUNING_SEED, tuning=True)[BEFORE])
    tried = {}
    for name in names:
        rows: list[dict[str, Any]] = []
        for changes in RIVALS[name].tries:
            rows.append({"settings": changes} | summary_of(contend(contest, name, changes, TUNING_SEED, tuning=True)))
        tried[name] = [{**row, "chosen": place == choose(rows, before)} for place, row in enumerate(rows)]
    return {BEFORE: [before], **tried}


def choose(rows: Sequence[Mapping[str, Any]], before: Mapping[str, float]) -> int:
    """The try that is taken: of those that lose at most LOST polite content F1, the least toxic by the reward model.

    Where all lose more, the one that loses least.
    """
    able = [i for i, row in enumerate(rows) if row["content F1, polite"] >= before["content F1, polite"] - LOST]
    if not able:
        return max(range(len(rows)), key=lambda i: rows[i]["content F1, polite"])
    return min(able, key=lambda i: rows[i]["toxicity, reward model"])


def summary_of(record: Mapping[str, Any]) -> dict[str, float]:
    """The means of a run that a choice looks at."""
    wanted = {
        "toxicity, reward model": ("hostile", "toxicity, reward model"),
        "right speaker": ("hostile", "right speaker"),
        "content F1, polite": ("polite", "content F1"),
        "KL": ("hostile", "KL"),
    }
    return {name: round(float(np.mean(record["scores"][a][b])), 4) for name, (a, b) in wanted.items()}


def main(argv: Sequence[str] | None = None) -> int:
    """Tune, train, test; write ``results/arena.json``, ``.md`` and ``.png``."""
    parser = argparse.ArgumentParser(prog="python -m genai_labs arena", description=plain(__doc__))
    parser.add_argument("--seeds", type=whole_number(2, 5), default=SEEDS, help="how many (default: %(default)s)")
    parser.add_argument("--out", type=writable_folder, default=RESULTS, help="where to write (default: results/)")
    args = parser.parse_args(argv)
    torch.set_num_threads(1)  # so that seconds are those of one core
    contest = Contest(BUILD / "arena")
    tried = tune(contest, list(RIVALS))
    taken = {
        name: next(row["settings"] for row in rows if row["chosen"]) for name, rows in tried.items() if name in RIVALS
    }
    runs: dict[str, list[dict[str, Any]]] = {name: [] for name in (BEFORE, *RIVALS, BEST)}
    for seed in range(args.seeds):
        for name in RIVALS:
            runs[name].append(contend(contest, name, taken[name], seed, tuning=False))
        for name, record in untrained(contest, seed, tuning=False).items():
            if name in runs:
                runs[name].append(record)
    write_arena(args.out, runs, tried, taken, contest.test)
    return 0
