"""A sweep of Lab 2: LoRA over rank and place, soft prompts, full training over rates and epochs, with remedies.

Everything is scored on validation dialogues, because whoever reads a sweep will choose by it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from tqdm.auto import tqdm

from genai_labs.finetuning import forgetting, lora
from genai_labs.finetuning.examples import LONGEST_SUMMARY, Feature, features
from genai_labs.finetuning.training import Plan, finetune
from genai_labs.loading import data, models
from genai_labs.loading.profiles import Profile
from genai_labs.paths import RESULTS, output_folder
from genai_labs.prompting import generation, prompts
from genai_labs.prompting.figures import sweep_plot
from genai_labs.scoring.content import content_f1
from genai_labs.scoring.metrics import paired_bootstrap, rouge_scores
from genai_labs.show import display
from genai_labs.show.results import table, versions, write

RANKS = (1, 4, 16)
PROMPT_RATE = 0.1  # with 0.03 and 0.3 sixty validation dialogues came out alike (ROUGE-1 .75, .76, .75)
FEED_FORWARD_PLACE = "feed-forward layers of the decoder"
PLACES: dict[str, dict[str, Any]] = {
    FEED_FORWARD_PLACE: {"targets": lora.FEED_FORWARD, "within": "decoder"},
    "attention layers of the decoder": {"targets": lora.ATTENTION, "within": "decoder"},
    "all layers of encoder and decoder": {"targets": lora.ALL_LINEAR, "within": "model"},
}
# The rows that the lab shows in a table.
SHOWN = (
    "base",
    "full",
    "full, five times the learning rate",
    "full, padding counted",
    "full, replay",
    "full, pulled back to the base",
    "LoRA, rank 4, feed-forward layers of the decoder",
    "LoRA, rank 4, feed-forward layers of the decoder, 3 times the learning rate",
    *(f"LoRA, rank {RANKS[-1]}, {place}" for place in PLACES),
    "soft prompt, 20 tokens",
)
FILE = "lab2_sweep"
DIALOGUES = 200  # of the validation split, to score on
SAMPLES = 3  # summaries that are kept of each training
LOST = "lost on other tasks (mean of four grades, 0 to 1)"


@dataclass(frozen=True)
class Variant:
    """A training of the sweep: its plan, the share of replayed examples, and whether padding is left in the labels."""

    plan: Plan
    replayed: float = 0.0
    padded: bool = False


def variants(profile: Profile, seed: int) -> dict[str, Variant]:
    """What is compared, by name."""
    full = Plan(**profile.full, seed=seed)
    adapter = Plan(method="lora", **profile.lora, seed=seed)
    prompt = replace(full, method="prompt", learning_rate=PROMPT_RATE)
    named = {
        "full": Variant(full),
        "full, one epoch": Variant(replace(full, epochs=1)),
        "full, four epochs": Variant(replace(full, epochs=4)),
        "full, five times the learning rate": Variant(replace(full, learning_rate=5 * full.learning_rate)),
        "full, padding counted": Variant(full, padded=True),
        "full, replay": Variant(full, profile.replayed),
        "full, pulled back to the base": Variant(replace(full, pull=200.0)),
    }
    for place, where in PLACES.items():
        for rank in RANKS:
            named[lora_name(rank, place)] = Variant(replace(adapter, rank=rank, alpha=2 * rank, **where))
    low = {"rank": 4, "alpha": 8} | PLACES[FEED_FORWARD_PLACE]
    for times in (3, 10):
        plan = replace(adapter, learning_rate=times * adapter.learning_rate, **low)
        named[f"{lora_name(4, FEED_FORWARD_PLACE)}, {times} times the learning rate"] = Variant(plan)
    named["soft prompt, 1 token"] = Variant(replace(prompt, virtual_tokens=1))
    named["soft prompt, 20 tokens"] = Variant(prompt)
    return named


def lora_name(rank: int, place: str) -> str:
    """What a LoRA training of the sweep is called."""
    return f"LoRA, rank {rank}, {place}"


def run(
    profile: Profile, named: Mapping[str, Variant], dialogues: int, seed: int, kept: Path | None = None
) -> dict[str, Any]:
    """Train and score each variant; a record with one row for each, the base model first.

    kept: a file that a row is added to when it is done, so that a sweep that was stopped goes on there.
    """
    base, tokenizer = models.load_model(profile)
    train = features(data.load_split(profile.dataset, "train")[: profile.train_dialogues], tokenizer)
    rows = data.load_split(profile.dataset, "validation")
    held_out = features(rows[: profile.validation_dialogues], tokenizer)
    scored, asked = rows[-dialogues:], forgetting.other_tasks(100, seed, "validation")
    before = forgetting.score(base, tokenizer, asked)
    results = [
        {"name": "base", "trained": 0.0, "seconds": 0.0, "moved": 0.0}
        | _scores(base, tokenizer, scored, before, before, profile)
    ]
    done_before = _rows_of(kept)
    for name, variant in tqdm(named.items(), desc="sweep", unit="training"):
        settings = {"name": name, "plan": asdict(variant.plan), "replayed": variant.replayed, "padded": variant.padded}
        row = done_before.get(json.dumps([settings, dialogues, seed, lora.fingerprint(base)]))
        if row is None:
            mixed = forgetting.replay(train, variant.replayed, tokenizer, seed)
            if variant.padded:
                mixed = [with_padding_in_labels(each, tokenizer.pad_token_id) for each in mixed]
            with TemporaryDirectory() as folder:
                done = finetune(base, tokenizer, mixed, held_out, variant.plan, Path(folder) / "run")
            after = forgetting.score(done.model, tokenizer, asked)
            measured = {
                "trained": lora.trainable_share(done.model),
                "seconds": round(done.seconds, 1),
                "best_epoch": done.best_epoch,
                "moved": round(lora.distance(done.model, base), 5),
            }
            row = settings | measured | _scores(done.model, tokenizer, scored, before, after, profile)
            if kept:
                _keep(kept, json.dumps([settings, dialogues, seed, lora.fingerprint(base)]), row)
        results.append(row)
    return {
        "command": "python -m genai_labs sweep",
        "profile": profile.name,
        "seed": seed,
        "split": "validation",
        "versions": versions(),
        "results": results,
    }


def with_padding_in_labels(example: Feature, pad: int) -> Feature:
    """The classic mistake: the summary filled up to a fixed length, and nobody tells the loss to leave that out."""
    labels = example["labels"]
    return example | {"labels": labels + [pad] * (LONGEST_SUMMARY - len(labels))}


def _rows_of(kept: Path | None) -> dict[str, Any]:
    if kept is None or not kept.exists():
        return {}
    lines = kept.read_text(encoding="utf-8").splitlines()
    return {row.pop("key"): row for row in map(json.loads, lines)}


def _keep(kept: Path, key: str, row: dict[str, Any]) -> None:
    kept.parent.mkdir(parents=True, exist_ok=True)
    with kept.open("a", encoding="utf-8") as file:
        file.write(json.dumps({"key": key} | row) + "\n")


def _scores(
    model: Any, tokenizer: Any, rows: Sequence[data.Row], before: Any, after: Any, profile: Profile
) -> dict[str, Any]:
    asked = prompts.fit_all(prompts.zero_shot, [row.dialogue for row in rows], tokenizer)
    config = generation.greedy(profile.max_new_tokens)
    texts = generation.generate(model, tokenizer, asked, config, profile.batch_size, progress=False)
    references, clusters = [list(row.references) for row in rows], data.situations(rows)
    rouge = paired_bootstrap(rouge_scores(texts, references), clusters=clusters)
    content = paired_bootstrap(content_f1(texts, references), clusters=clusters)
    lost = {name: round(float(np.mean(before[name] - after[name])), 4) for name in before}
    scores = {"rouge1": rouge, "content": content}
    intervals = {name: [round(x, 4) for x in found[:3]] for name, found in scores.items()}
    return intervals | {"n": rouge.n, "lost": lost, "texts": texts[:SAMPLES]}


def write_sweep(profile: Profile, folder: Path, dialogues: int = DIALOGUES, seed: int = 0) -> None:
    """Run the sweep, print its table, and write ``lab2_sweep.json`` and ``.md`` into the folder.

    What was trained before stands in ``build/sweep.jsonl`` and is not trained again with the same settings.
    """
    record = run(profile, variants(profile, seed), dialogues, seed, output_folder() / "sweep.jsonl")
    write(record, sweep_page(record), folder, FILE)


def read_sweep(folder: Path = RESULTS) -> dict[str, Any]:
    """The committed record."""
    return json.loads((folder / f"{FILE}.json").read_text(encoding="utf-8"))


def plot(record: dict[str, Any]) -> display.Plot:
    """ROUGE-1 over rank, one line for each place of the adapters, full training as a level line."""
    found = {r["name"]: tuple(r["rouge1"]) for r in record["results"]}
    lines = {place: [found[lora_name(rank, place)] for rank in RANKS] for place in PLACES}
    lines["full fine-tuning"] = [found["full"]] * len(RANKS)
    return display.line_with_band(RANKS, lines, "rank", "ROUGE-1 F (validation dialogues)")


def lost_on_average(result: dict[str, Any]) -> float:
    """What a training of the record lost on other tasks, the mean of the tasks, in grades from 0 to 1."""
    return float(np.mean(list(result["lost"].values())))


def front(record: dict[str, Any]) -> list[str]:
    """The Pareto front: trainings than which no other has more ROUGE-1 and has lost less, by what was lost."""
    found = sorted((lost_on_average(r), -r["rouge1"][0], r["name"]) for r in record["results"])
    best = [max((-other for _, other, _ in found[:place]), default=-1.0) for place in range(len(found))]
    return [name for (_, score, name), before in zip(found, best, strict=True) if -score > before]


def plot_front(record: dict[str, Any]) -> display.Plot:
    """Each training in the plane of what it lost and its ROUGE-1, one mark for each kind."""
    points = {r["name"]: ((lost_on_average(r),) * 3, tuple(r["rouge1"])) for r in record["results"]}
    return sweep_plot(_families(points), LOST, "ROUGE-1 F (validation dialogues)")


def plot_moved(record: dict[str, Any]) -> display.Plot:
    """Each training in the plane of how far it moved the weights and what it lost; soft prompts move none."""
    moved = [r for r in record["results"] if r["moved"]]
    points = {r["name"]: ((100 * r["moved"],) * 3, (lost_on_average(r),) * 3) for r in moved}
    return sweep_plot(_families(points), "how far the weights moved (% of their length)", LOST)


def _families(points: dict[str, tuple[Any, Any]]) -> dict[str, dict[str, Any]]:
    """Points of trainings by kind and label; those of a kind are joined from left to right."""
    families: dict[str, dict[str, Any]] = {}
    for name, point in sorted(points.items(), key=lambda each: each[1][0]):
        kind, label = "all weights", name.removeprefix("full, ").replace("learning rate", "rate")
        label = label.removesuffix(" to the base")
        if label.startswith("LoRA, "):
            _, rank, place, *more = label.split(", ")  # as lora_name makes it
            kind = "LoRA, " + place.removesuffix(" of the decoder").removesuffix(" of encoder and decoder")
            label = ", ".join([rank, *more])
        elif label.startswith("soft prompt, "):
            kind, label = "soft prompt", label.removeprefix("soft prompt, ")
        families.setdefault(kind, {})[label] = point
    return families


def sweep_page(record: dict[str, Any]) -> str:
    """The record as a table."""
    tasks = list(record["results"][0]["lost"])
    rows = [
        (
            r["name"],
            *("{:.3f} [{:.3f}, {:.3f}]".format(*r[kind]) for kind in ("rouge1", "content")),
            f"{r['trained']:.2%}",
            f"{r['moved']:.2%}",
            *(f"{r['lost'][t]:z.2f}" for t in tasks),
        )
        for r in record["results"]
    ]
    head = ("training", "ROUGE-1 [95 % interval]", "content F1", "trained", "moved", *(f"lost: {t}" for t in tasks))
    intro = (
        f"# Fine-tuning: a sweep\n\nMade by `{record['command']}` (profile {record['profile']}, seed "
        f"{record['seed']}), scored on {record['results'][0]['n']} {record['split']} dialogues; what was lost, on 100 "
        "examples of each other task. *moved* is how far the weights lie from the base's, as a share of their length."
    )
    return f"{intro}\n\n{table(head, rows)}\n"
