"""``python -m genai_labs arena``: PPO and its rivals at one budget, on the same prompts, adapters and reward.

Each method starts from Lab 3's summarizer that repeats insults. Settings are chosen on validation dialogues by the
reward model; the judge, which none of the methods has seen, reads only what is written about the test dialogues. Each
finished run is kept in build/arena and not done again; a command that was stopped goes on with the run it was in.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch

from benchmarks import orpo, supervised
from benchmarks.arena_page import write_arena
from benchmarks.contest import Contest, kept, sampled_summaries, scores_by_kind
from genai_labs.inputs.helptext import plain
from genai_labs.inputs.options import whole_number, writable_folder
from genai_labs.paths import BUILD, RESULTS
from genai_labs.rlhf import dialogues, dpo, group, ppo
from genai_labs.rlhf.summarizer import load_summarizer

SEEDS = 5
TUNING_SEED = 100  # none of those that are tested
UPDATES, BATCH, MINIBATCH = 10, 32, 16  # 320 responses, and 80 steps of 16 responses with their gradients
DRAWN = 4  # of which the reward model chooses one, where nothing is trained
LOST = 0.02  # of polite content F1, at most, for settings to be chosen
PPO, SUPERVISED, BEST = "PPO", "supervised", "best of 4"
BEFORE = "before"

Changes = dict[str, Any]


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


def pairs_of(contest: Contest, policy: ppo.Policy, settings: dpo.PairSettings) -> tuple[list[dpo.Pairs], float]:
    """The pairs of a seed and what they cost in seconds; the same for DPO and ORPO, so that they are made once."""
    key = f"{settings.seed} {settings.group}"
    if key not in contest.pairs:
        start = time.process_time()
        prompts = contest.prompts(settings.seed)
        made = dpo.make_pairs(policy, contest.tokenizer, prompts, contest.hate.rewards, settings)
        contest.pairs = {key: (made, time.process_time() - start)}
    return contest.pairs[key]


def by_pairs(contest: Contest, policy: ppo.Policy, settings: dpo.PairSettings, odds: bool = False) -> dict[str, float]:
    """DPO, or ORPO where the odds ratio is asked for."""
    pairs, seconds = pairs_of(contest, policy, settings)
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
    contest = Contest(BUILD / "arena", load_summarizer)
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
