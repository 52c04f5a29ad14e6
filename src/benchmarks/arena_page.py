"""What the arena measured, with intervals and comparisons, as a record, a page and a picture."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.common import machine
from genai_labs.loading.data import situations
from genai_labs.rlhf.dialogues import Case
from genai_labs.rlhf.measure import relative_fall
from genai_labs.rlhf.rivals import FILE, SHOWN, arena_plot
from genai_labs.scoring.intervals import Estimate, holm, paired_bootstrap
from genai_labs.show.results import table, versions, write

TOXICITY = ("hostile", "toxicity, judge")
MEASURED = (*SHOWN, ("hostile", "toxicity, reward model"), ("hostile", "content F1"), ("hostile", "insult repeated"))
ALPHA = 0.05
FALLEN = "toxicity fallen by"
DIFFERS, NOT_SHOWN = "differs", "no difference shown"

Runs = Mapping[str, Sequence[Mapping[str, Any]]]  # by method, a record for each training seed
Numbers = NDArray[np.float64]


def matrix(records: Sequence[Mapping[str, Any]], key: tuple[str, str]) -> Numbers:
    """Scores of all seeds, [seeds, dialogues]."""
    return np.array([record["scores"][key[0]][key[1]] for record in records], float)


def measures_of(
    records: Sequence[Mapping[str, Any]], clusters: Mapping[str, list[str]], skip: set[str]
) -> dict[str, Any]:
    """Of each measure the mean over dialogues and seeds with its interval over dialogues, and the mean of each seed."""
    found = {}
    for key in MEASURED:
        if key[1] not in skip:
            scores = matrix(records, key)
            mean, low, high, n = paired_bootstrap(scores.mean(0), clusters=clusters[key[0]])
            interval = [round(x, 4) for x in (mean, max(low, 0.0), high, n)]  # no measure can be below 0
            found[": ".join(key)] = {"interval": interval, "seeds": scores.mean(1).round(4).tolist()}
    return found


def fall_of(
    before: Sequence[Mapping[str, Any]], after: Sequence[Mapping[str, Any]], clusters: Sequence[str]
) -> dict[str, Any]:
    """By what share the mean toxicity fell: of the means over seeds, with its interval over dialogues; of each seed."""
    a, b = matrix(before, TOXICITY), matrix(after, TOXICITY)
    fall = paired_bootstrap(relative_fall(a.mean(0), b.mean(0)), clusters=clusters)
    return {"interval": [round(x, 4) for x in fall], "seeds": (1 - b.mean(1) / a.mean(1)).round(4).tolist()}


def against(first: str, runs: Runs, others: Sequence[str], clusters: Mapping[str, list[str]]) -> list[dict[str, Any]]:
    """Every other method minus the first, measure by measure: intervals, Holm's p over all of them, and a verdict.

    A difference counts as one where Holm's p is at most ALPHA and all training seeds have it with the same sign.
    """
    rows: list[dict[str, Any]] = []
    for name in others:
        for key in SHOWN:
            if key[1] == "KL" and not has_trained(runs[name]):
                continue
            a, b = matrix(runs[name], key), matrix(runs[first], key)
            estimate = Estimate(a.mean(0), b.mean(0), clusters=clusters[key[0]])
            seeds = (a - b).mean(1)
            rows.append(
                {
                    "method": name,
                    "measure": ": ".join(key),
                    "difference": [round(x, 4) for x in estimate.interval()],
                    "seeds": seeds.round(4).tolist(),
                    "p": estimate.p_value(lambda i: i.low > 0 or i.high < 0),
                }
            )
    for row, p in zip(rows, holm([row["p"] for row in rows]), strict=True):
        same = all(x > 0 for x in row["seeds"]) or all(x < 0 for x in row["seeds"])
        row |= {"holm": p, "verdict": DIFFERS if p <= ALPHA and same else NOT_SHOWN}
    return rows


def has_trained(records: Sequence[Mapping[str, Any]]) -> bool:
    """Whether the method trains anything, so that it has a KL of its own."""
    return records[0]["cost"]["passes"] > 0


def make_record(
    runs: Runs, tried: Mapping[str, Any], taken: Mapping[str, Any], cases: Sequence[Case], first: str, before: str
) -> dict[str, Any]:
    """All that is written down."""
    kinds = {"hostile": [c for c in cases if c.quarrel], "polite": [c for c in cases if not c.quarrel]}
    clusters = {kind: situations([case.row for case in chosen]) for kind, chosen in kinds.items()}
    methods = {}
    for name, records in runs.items():
        costs = {k: round(float(np.mean([r["cost"][k] for r in records])), 1) for k in records[0]["cost"]}
        methods[name] = {
            "settings": taken.get(name, {}),
            "cost": costs,
            "measures": measures_of(records, clusters, set() if has_trained(records) else {"KL"}),
        }
        if name != before:
            methods[name][FALLEN] = fall_of(runs[before], records, clusters["hostile"])
    others = [name for name in runs if name not in (first, before)]
    return {
        "command": f"python -m genai_labs arena --seeds {len(runs[first])}",
        "versions": versions(),
        "machine": machine(),
        "seeds": len(runs[first]),
        "dialogues": {kind: len(chosen) for kind, chosen in kinds.items()},
        "methods": methods,
        f"against {first}": against(first, runs, others, clusters),
        "tries": tried,
    }


def write_arena(
    folder: Path,
    runs: Runs,
    tried: Mapping[str, Any],
    taken: Mapping[str, Any],
    cases: Sequence[Case],
    first: str = "PPO",
    before: str = "before",
) -> None:
    """Write ``arena.json``, ``arena.md`` and ``arena.png`` into the folder, and print the page."""
    record = make_record(runs, tried, taken, cases, first, before)
    write(record, arena_page(record, first), folder, FILE)
    (folder / f"{FILE}.png").write_bytes(arena_plot(record).png())


def arena_page(record: Mapping[str, Any], first: str = "PPO") -> str:
    """The record as a page: budget, results, comparisons, tries."""
    facts = ", ".join(f"{name} {value}" for name, value in (record["machine"] | record["versions"]).items())
    seeds, n = record["seeds"], record["dialogues"]
    comparisons = len(record[f"against {first}"])
    parts = [
        "# PPO and its rivals",
        f"Made by `{record['command']}` ({facts}). Every method starts from Lab 3's summarizer that repeats insults, "
        "has the same adapter in the same places, prompts from the same dialogues, and the same reward model. It is "
        f"measured by one sampled summary of each test dialogue ({n['hostile']} hostile, {n['polite']} polite), after "
        f"training with each of {seeds} seeds. The judge took no part in training or in the choice of settings.",
        "![Toxicity, right speaker and content F1 of each method](arena.png)",
        "## What it cost",
        "Of one training, the mean over seeds. Seconds are those that one core worked, of DPO and ORPO with the making "
        "of the pairs. A pass is one summary read by the decoder with gradients. `supervised` reads no reward, but a "
        "neutral reference for each prompt, which the others do not have. `best of 4` trains nothing and pays at every "
        "summary: four are written, and the reward model takes one. `before` is one of the four at random.",
        cost_table(record),
        "## What came of it",
        "Means over dialogues and seeds, with 95 % intervals over dialogues (situations are drawn again); in brackets "
        f"the lowest and the highest of the {seeds} seeds. Toxicity has fallen by 1 minus the ratio of two means, "
        "whose interval is that of the linearized ratio (delta method).",
        result_table(record),
        "KL is that of the policy against the summarizer, nats a summary of a hostile dialogue. That of best of 4 is "
        f"at most log 4 - 3/4 = {math.log(4) - 0.75:.2f}.",
        f"## Against {first}",
        f"The method minus {first}, paired by dialogue, of the means over seeds. `{DIFFERS}` where Holm's p, over all "
        f"{comparisons} comparisons of this table, is at most {ALPHA} and every seed has the same sign; else "
        f"`{NOT_SHOWN}`, which does not say that there is none.",
        against_table(record, first),
        "## How the settings were chosen",
        f"{tries_in_words(record)}, with a seed that is not tested, on 100 hostile and 100 polite validation "
        "dialogues. Of those that lose at most 0.02 of the polite content F1, the one with the least toxicity by the "
        "reward model was taken; where all lose more, the one that loses least. Numbers are those of the validation "
        "dialogues, from one training each: another seed might choose otherwise, and a method may do better with "
        f"settings that were not tried. {lost_more(record)} What is not named is as in genai_labs.rlhf.settings, "
        "but for the updates, which are 10 of 32 summaries each.",
        try_table(record),
    ]
    return "\n\n".join(parts) + "\n"


def cost_table(record: Mapping[str, Any]) -> str:
    """Seconds, samples, passes, prompts."""
    head = ("method", "seconds", "summaries sampled and graded", "passes", "prompts", "pairs", "settings")
    rows = []
    for name, method in record["methods"].items():
        cost, settings = method["cost"], ", ".join(f"{k} {v}" for k, v in method["settings"].items())
        counts = (f"{cost.get(k, 0):.0f}" for k in ("samples", "passes", "prompts", "pairs"))
        rows.append((name, f"{cost['seconds']:.0f}", *counts, settings))
    return table(head, rows)


def result_table(record: Mapping[str, Any]) -> str:
    """A row for each measure, a column for each method."""
    methods = record["methods"]
    rows = [(FALLEN, *(cell(m.get(FALLEN)) for m in methods.values()))]
    for key in MEASURED:
        name = SHOWN.get(key, f"{key[1]}, {key[0]}")
        rows.append((name, *(cell(m["measures"].get(": ".join(key))) for m in methods.values())))
    return table(("measure", *methods), rows)


def cell(found: Mapping[str, Any] | None) -> str:
    """Mean and interval, and the range over seeds."""
    if found is None:
        return ""
    mean, low, high = found["interval"][:3]
    return f"{mean:z.3f} [{low:z.3f}, {high:z.3f}]<br>({min(found['seeds']):z.3f} to {max(found['seeds']):z.3f})"


def against_table(record: Mapping[str, Any], first: str) -> str:
    """Differences, with Holm's p."""
    rows = []
    for row in record[f"against {first}"]:
        mean, low, high = row["difference"][:3]
        name = SHOWN[tuple(row["measure"].split(": "))]
        shown = f"{mean:+.3f} [{low:+.3f}, {high:+.3f}]"
        rows.append((row["method"], name, shown, f"{row['holm']:.2g}", row["verdict"]))
    return table(("method", "measure", "difference", "Holm's p", ""), rows)


def lost_more(record: Mapping[str, Any]) -> str:
    """A sentence that names the methods of which no try kept the content."""
    (before, *_), *tried = record["tries"].values()
    names = [
        name
        for name, rows in zip(list(record["tries"])[1:], tried, strict=True)
        if all(row["content F1, polite"] < before["content F1, polite"] - 0.02 for row in rows)
    ]
    return f"All tries lost more than 0.02: {', '.join(names)}." if names else "Of each one try or more did not."


def tries_in_words(record: Mapping[str, Any]) -> str:
    """How many settings were tried of each method, such as "3 tries of each method, 5 of DPO and ORPO"."""
    counts = {name: len(rows) for name, rows in list(record["tries"].items())[1:]}
    usual = min(counts.values())
    more = [f"{count} of {name}" for name, count in counts.items() if count > usual]
    return f"{usual} tries of each method" + (f" ({', '.join(more)})" if more else "")


def try_table(record: Mapping[str, Any]) -> str:
    """What was tried, and what was taken."""
    rows = []
    for name, tried in record["tries"].items():
        for row in tried:
            settings = ", ".join(f"{k} {v}" for k, v in row.get("settings", {}).items()) or "standard"
            numbers = (f"{v:z.3f}" for k, v in row.items() if k not in ("settings", "chosen"))
            rows.append((name, settings if "settings" in row else "", *numbers, "taken" if row.get("chosen") else ""))
    head = ("method", "settings", "toxicity, reward model", "by the right speaker", "content F1, polite", "KL", "")
    return table(head, rows)
