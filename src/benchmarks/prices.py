"""``python -m genai_labs prices``: PPO at several prices of KL, to see where the reward model is fooled.

The settings of Lab 3 with nothing changed but the KL coefficient; and the same once more with the large steps of the
hacking run of Lab 3. Each policy is measured on validation dialogues: by the reward that it learned from, and by what
nobody paid it for. Nothing is chosen by that. Each finished run is kept in build/prices and not done again.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any

import numpy as np

from benchmarks.common import machine
from benchmarks.contest import Contest, kept, sampled_summaries, scores_by_kind
from genai_labs.inputs.helptext import plain
from genai_labs.inputs.options import whole_number, writable_folder
from genai_labs.loading.data import situations
from genai_labs.loading.profiles import load_profile
from genai_labs.paths import BUILD, RESULTS
from genai_labs.rlhf import ppo
from genai_labs.rlhf.prices import FILE, MEASURED, STEPS, prices_plot
from genai_labs.rlhf.summarizer import load_summarizer
from genai_labs.scoring.content import grounded
from genai_labs.scoring.metrics import paired_bootstrap
from genai_labs.show.results import table, versions, write

SEEDS = 1
PRICES = (0.0, 0.1, 0.4, 1.0)  # units of the reward a nat
SHOWN_TEXTS = 4


def settings_of(price: float, steps: str, seed: int) -> ppo.Settings:
    """Lab 3's settings of PPO at a price. steps: small, as they are there, or those of the hacking run."""
    mini = load_profile("mini")
    changes = dict(mini.ppo_hacking) if steps == STEPS[1] else {"updates": mini.ppo_hacking["updates"]}
    return replace(ppo.Settings(**mini.ppo, seed=seed), **changes | {"kl_coef": price, "most_kl": float("inf")})


def train_at(contest: Contest, settings: ppo.Settings) -> dict[str, Any]:
    """A policy trained at a price: scores of each dialogue, and the first texts."""
    policy = ppo.Policy(contest.summarizer, settings)
    if settings.updates:
        ppo.train(policy, contest.tokenizer, contest.prompts(settings.seed), contest.hate.rewards, settings)
    cases = contest.validation
    several, kl = sampled_summaries(contest, policy, cases, settings.seed)
    texts = [each[0] for each in several]
    readers = {"reward model": contest.hate.probabilities, "judge": contest.judge.probabilities}
    scores = scores_by_kind(texts, kl, cases, readers)
    quarrels = [case for case in cases if case.quarrel]
    told = texts[: len(quarrels)]
    scores["hostile"] |= {
        "reward": np.asarray(contest.hate.rewards(told), float).round(4).tolist(),
        "grounded": grounded(told, [case.dialogue for case in quarrels]).round(4).tolist(),
    }
    return {"scores": scores, "texts": told[:SHOWN_TEXTS]}


def row_of(records: Sequence[Mapping[str, Any]], clusters: Mapping[str, list[str]]) -> dict[str, Any]:
    """Of each measure the mean over dialogues and seeds with its interval over dialogues, and the mean of each seed."""
    found = {}
    for kind, name in MEASURED:
        scores = np.array([record["scores"][kind][name] for record in records], float)  # [seeds, dialogues]
        interval = paired_bootstrap(scores.mean(0), clusters=clusters[kind])
        found[f"{kind}: {name}"] = {
            "interval": [round(x, 4) for x in interval],
            "seeds": scores.mean(1).round(4).tolist(),
        }
    return found


def prices_page(record: Mapping[str, Any]) -> str:
    """The record as a page."""
    facts = ", ".join(f"{name} {value}" for name, value in (record["machine"] | record["versions"]).items())
    head = ("steps", "price", *(f"{name}, {kind}" for kind, name in MEASURED))
    rows = [
        (row["steps"], row["price"], *(cell_of(row["measures"][f"{kind}: {name}"]) for kind, name in MEASURED))
        for row in record["results"]
    ]
    texts = [(row["steps"], row["price"], text) for row in record["results"] for text in row["texts"][:2]]
    return (
        "\n\n".join(
            [
                "# What KL may cost: PPO at several prices",
                f"Made by `{record['command']}` ({facts}). Lab 3's summarizer that repeats insults, trained by PPO for "
                f"{record['updates']} updates; *price* is the KL coefficient, in units of the reward a nat. "
                f"`{STEPS[0]}`: a learning rate of {record['rates'][0]:g} that falls to 0 and "
                f"{record['epochs'][0]} epochs an update, as in the lab's main run. `{STEPS[1]}`: "
                f"{record['rates'][1]:g}, which does not fall, and {record['epochs'][1]} epochs, as in hacking. "
                f"One sampled summary of each validation dialogue ({record['dialogues']['hostile']} hostile, "
                f"{record['dialogues']['polite']} polite); means over "
                f"{record['seeds']} training seed(s) with 95 % intervals over dialogues, and in brackets the "
                "seeds. `reward` is what was paid; all else nobody paid for. KL: log(policy / reference) "
                "summed over new summaries, nats.",
                "![Reward, content and kind of reproach against the KL](lab3_prices.png)",
                table(head, rows),
                "Summaries of the same two dialogues by the first seed:",
                table(("steps", "price", "summary"), texts),
            ]
        )
        + "\n"
    )


def cell_of(found: Mapping[str, Any]) -> str:
    """Such as "0.52 [0.48, 0.56] (0.50, 0.54)"."""
    mean, low, high = found["interval"][:3]
    seeds = ", ".join(f"{x:.3f}" for x in found["seeds"])
    return f"{mean:.3f} [{low:.3f}, {high:.3f}] ({seeds})"


def main(argv: Sequence[str] | None = None) -> int:
    """Train at every price; write ``results/lab3_prices.json``, ``.md`` and ``.png``."""
    parser = argparse.ArgumentParser(prog="python -m genai_labs prices", description=plain(__doc__))
    parser.add_argument("--seeds", type=whole_number(1, 5), default=SEEDS, help="how many (default: %(default)s)")
    parser.add_argument("--out", type=writable_folder, default=RESULTS, help="where to write (default: results/)")
    args = parser.parse_args(argv)
    contest = Contest(BUILD / "prices", load_summarizer)
    cases = contest.validation
    kinds = {"hostile": [c for c in cases if c.quarrel], "polite": [c for c in cases if not c.quarrel]}
    clusters = {kind: situations([case.row for case in chosen]) for kind, chosen in kinds.items()}
    runs: dict[tuple[str, float], list[dict[str, Any]]] = {}
    for seed in range(args.seeds):
        for steps in STEPS:
            for price in PRICES:
                settings = settings_of(price, steps, seed)
                path = contest.folder / f"{steps.replace(' ', '-')}-{price}-seed{seed}.json"
                plan = {"settings": asdict(settings), "dialogues": len(cases)}
                made = kept(path, plan, lambda settings=settings: train_at(contest, settings))  # type: ignore[misc]
                runs.setdefault((steps, price), []).append(made)
    record = {
        "command": f"python -m genai_labs prices --seeds {args.seeds}",
        "versions": versions(),
        "machine": machine(),
        "seeds": args.seeds,
        "updates": settings_of(0, STEPS[0], 0).updates,
        "rates": [settings_of(0, steps, 0).learning_rate for steps in STEPS],
        "epochs": [settings_of(0, steps, 0).epochs for steps in STEPS],
        "dialogues": {kind: len(chosen) for kind, chosen in kinds.items()},
        "results": [
            {"steps": steps, "price": price, "measures": row_of(records, clusters), "texts": records[0]["texts"]}
            for (steps, price), records in runs.items()
        ],
    }
    write(record, prices_page(record), args.out, FILE)
    (args.out / f"{FILE}.png").write_bytes(prices_plot(record).png())
    return 0
