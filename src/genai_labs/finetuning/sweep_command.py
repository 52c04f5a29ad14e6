"""``python -m genai_labs sweep``: LoRA over rank and place, soft prompts, full training over rates and with remedies.

Everything is scored on validation dialogues, because whoever reads a sweep will choose by it.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from tqdm.auto import tqdm

from genai_labs.finetuning import forgetting, lora
from genai_labs.finetuning.examples import LONGEST_SUMMARY, Feature, features
from genai_labs.finetuning.sweep import FEED_FORWARD_PLACE, FILE, PLACES, PROMPT_RATE, RANKS, lora_name
from genai_labs.finetuning.training import Plan, finetune
from genai_labs.inputs.helptext import plain
from genai_labs.inputs.options import whole_number, writable_folder
from genai_labs.loading import data, models
from genai_labs.loading.profiles import Profile, load_profile
from genai_labs.paths import RESULTS, output_folder
from genai_labs.prompting import generation, prompts
from genai_labs.scoring.content import content_f1
from genai_labs.scoring.metrics import paired_bootstrap, rouge_scores
from genai_labs.show.results import table, versions, write

DIALOGUES = 200  # of the validation split, to score on
SAMPLES = 3  # summaries that are kept of each training


def main(argv: Sequence[str] | None = None) -> int:
    """Run the sweep and write ``results/lab2_sweep.json`` and ``.md``."""
    parser = argparse.ArgumentParser(prog="python -m genai_labs sweep", description=plain(__doc__))
    parser.add_argument("--profile", help="which model and data (default: mini, or GENAI_LABS_PROFILE)")
    parser.add_argument("--out", type=writable_folder, default=RESULTS)
    parser.add_argument("--seed", type=whole_number(0, 2**32 - 1), default=0)
    parser.add_argument(
        "--dialogues",
        type=whole_number(2),
        default=DIALOGUES,
        help="validation dialogues (default: %(default)s)",
    )
    args = parser.parse_args(argv)
    write_sweep(load_profile(args.profile), args.out, args.dialogues, args.seed)
    return 0


def trainable_share(model: torch.nn.Module) -> float:
    """Share of the parameters that training moves, 0 to 1."""
    counts = [(p.numel(), p.requires_grad) for p in model.parameters()]
    return sum(n for n, moved in counts if moved) / sum(n for n, _ in counts)


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
                "trained": trainable_share(done.model),
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
    found = {}
    for line in kept.read_text(encoding="utf-8").splitlines():
        with suppress(ValueError):  # a sweep that was killed may have left half a line
            row = json.loads(line)
            if isinstance(row, dict) and {"key", "moved", "texts"} <= set(row):  # others are of an older sweep
                found[row.pop("key")] = row
    return found


def _keep(kept: Path, key: str, row: dict[str, Any]) -> None:
    kept.parent.mkdir(parents=True, exist_ok=True)
    half = kept.exists() and not kept.read_bytes().endswith(b"\n")
    with kept.open("a", encoding="utf-8") as file:
        file.write("\n" * half + json.dumps({"key": key} | row) + "\n")


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
