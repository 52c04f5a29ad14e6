"""The world that must be read, step by step (``build-reader`` runs all).

corpus: the files in ``data/reading``. tokenizer, model: into the working folder; an interrupted training goes on.
export: the two models into ``data/models``. scores: how well they read, into ``results/reader.json`` and ``.md``.
seeds, only when asked for: how well models of other seeds read (working folders in ``--work`` named ``seed-1`` and so
on, each made by ``python -m embedded_world.pretraining.reader --seed 1``), into ``results/reader_seeds.json`` and
``.md``.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from scipy.stats import bootstrap, spearmanr
from transformers import GenerationConfig, T5ForConditionalGeneration

from embedded_world.corpus import handwritten, reading, reading_splits
from embedded_world.pretraining import reader, reader_cards, tokenizer
from embedded_world.pretraining.reader_scores import (
    MOST_TOKENS,
    NAMES,
    POLISHED,
    RESULTS,
    measure_reading,
    measure_word_problems,
    sets,
    trained_model,
)
from genai_labs.finetuning import examples as example_losses
from genai_labs.inputs.helptext import plain
from genai_labs.inputs.options import one_of, whole_number, writable_folder
from genai_labs.loading import checksums
from genai_labs.loading.data import Row, load_split
from genai_labs.paths import BUILD, MODELS
from genai_labs.prompting import prompts
from genai_labs.prompting.familiarity import FILE, dialogue_losses, familiarity
from genai_labs.prompting.generation import generate, greedy
from genai_labs.scoring.content import content_f1

VOCABULARY = 6144
TOKENIZER_EXAMPLES = 24_000
QUICK = 20.0  # minutes


def write_corpus(args: argparse.Namespace) -> None:
    """Write the splits and their card."""
    reading_splits.write_reading(unread=args.unread)
    (reading_splits.READING / "README.md").write_text(reader_cards.corpus_card(args.unread), encoding="utf-8")


def make_tokenizer(args: argparse.Namespace) -> None:
    """Train the tokenizer on a sample of the mixture."""
    rng = random.Random("reader-tokenizer-0")
    texts = []
    for _ in range(TOKENIZER_EXAMPLES):
        example = reading.draw_example("instructions", rng)
        if example.task != "span corruption":
            texts += [example.source, example.target]
    made = tokenizer.train_tokenizer(texts, VOCABULARY, tokenizer.SPOKEN_PIECES)
    made.save_pretrained(args.work / "tokenizer")


def train_models(args: argparse.Namespace) -> None:
    """Train both models, or go on where an interrupted run stopped."""
    reader.pretrain_reader(args.work, args.minutes, tokens=args.tokens, processes=args.processes)


def export_models(args: argparse.Namespace) -> None:
    """Write both models in fp16 with their tokenizer, and what is known of their training."""
    words = tokenizer.saved_tokenizer(args.work / "tokenizer")
    log = [json.loads(line) for line in (args.work / "log.jsonl").read_text(encoding="utf-8").splitlines()]
    device = (
        (args.work / "device.txt").read_text(encoding="utf-8").strip() if (args.work / "device.txt").exists() else ""
    )
    for phase, name in NAMES.items():
        folder = MODELS / name
        folder.mkdir(parents=True, exist_ok=True)
        made = trained_model(args.work, phase, len(words)).half()
        made.generation_config = GenerationConfig(
            decoder_start_token_id=0, eos_token_id=1, pad_token_id=0, max_new_tokens=MOST_TOKENS, do_sample=False
        )
        made.save_pretrained(folder)
        words.save_pretrained(folder)
        rows = [row for row in log if phase != "text" or row["phase"] == "text"]
        record = {
            "command": "python -m genai_labs build-reader",
            "seed": reader.SEED,
            "parameters": sum(p.numel() for p in made.parameters()),
            "vocabulary": len(words),
            "examples": rows[-1]["examples"],
            "steps": rows[-1]["step"],
            "minutes": round(rows[-1]["seconds"] / 60, 1),
            "device": device,
            "between instructions and polish": POLISHED if phase == "polish" else None,
            "phases": [vars(p) for p in reader.PHASES][: 1 if phase == "text" else None],
            "losses": [row for i, row in enumerate(rows) if i % max(1, len(rows) // 12) == 0 or row is rows[-1]],
            "versions": {"torch": torch.__version__, "transformers": transformers.__version__},
        }
        (folder / "training.json").write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


def examples(made: T5ForConditionalGeneration, words: Any) -> list[tuple[str, str, str, float]]:
    """Two hand-written dialogues that are summarized best and two worst, of the first forty of test."""
    shown = prompts.choose_exemplars(load_split(reading_splits.READING, "train"), 1, seed=0)
    some = handwritten.written("test")[:40]
    outputs = generate(made, words, [prompts.few_shot(d.text, shown) for d in some], greedy(MOST_TOKENS))
    found = content_f1(outputs, [list(d.summaries) for d in some])
    order = np.argsort(found)
    return [(some[i].text, some[i].summaries[0], outputs[i], float(found[i])) for i in (*order[:-3:-1], *order[1::-1])]


def measure_familiarity(
    made: T5ForConditionalGeneration, words: Any, folder: Path, scored: dict[str, list[float]]
) -> dict[str, Any]:
    """The scale of familiarity into the model's folder, how familiar each set is, and what that says of quality.

    scored: content F1 of each dialogue of a set. Its rank correlation with familiarity is over all sets together, its
    interval from drawing dialogues again.
    """
    known = dialogue_losses(made, words, [r.dialogue for r in load_split(reading_splits.READING, "validation")])
    known = known[~np.isnan(known)]
    scale = {"losses": [round(float(x), 4) for x in np.sort(known)]}
    (folder / FILE).write_text(json.dumps(scale) + "\n", encoding="utf-8")
    found: dict[str, Any] = {}
    surprise, quality = [], []
    for name, (rows, _) in sets().items():
        losses = dialogue_losses(made, words, [row.dialogue for row in rows])
        shares = familiarity(losses, known)
        found[name] = {"loss": round(float(np.nanmean(losses)), 3), "median familiarity": float(np.nanmedian(shares))}
        surprise += losses.tolist()
        quality += scored[name]
    pairs = np.array([(a, b) for a, b in zip(surprise, quality, strict=True) if a == a]).T

    def correlation(a: Any, b: Any) -> float:
        return -float(spearmanr(a, b).statistic)  # of familiarity, which falls as the loss rises

    ends = bootstrap(
        tuple(pairs), correlation, paired=True, vectorized=False, n_resamples=999, method="percentile", rng=0
    ).confidence_interval
    found["rank correlation with content F1"] = [correlation(*pairs), float(ends.low), float(ends.high), pairs.shape[1]]
    return found


def measure_by_heart(made: T5ForConditionalGeneration, words: Any) -> dict[str, float]:
    """Loss on summaries of hand-written dialogues that were trained on and that were not, nats a token."""
    found = {}
    for name, part in (("read in training", "train"), ("not read", "dev")):
        rows = [Row(d.id, d.text, d.summaries[:1], d.topic) for d in handwritten.written(part)[:104]]
        losses = example_losses.losses(made, example_losses.features(rows, words), words.pad_token_id)
        found[name] = round(float(np.mean(losses)), 3)
    return found


def scores(args: argparse.Namespace) -> None:
    """Measure both models and write the results, the cards and the checksums."""
    everything: dict[str, Any] = {}
    for name in NAMES.values():
        folder = MODELS / name
        words = tokenizer.saved_tokenizer(folder)
        made = T5ForConditionalGeneration.from_pretrained(folder, dtype=torch.float32).eval()
        start = time.perf_counter()
        everything[name] = {"one shot": measure_reading(made, words)}
        if name == NAMES["polish"]:
            everything[name] |= {
                "word problems": measure_word_problems(made, words),
                "by heart": measure_by_heart(made, words),
                "familiarity": measure_familiarity(
                    made, words, folder, {k: v["content F1"]["each"] for k, v in everything[name]["one shot"].items()}
                ),
            }
        card = reader_cards.reader_card(folder, everything[name], examples(made, words))
        (folder / "README.md").write_text(card, encoding="utf-8")
        print(f"{name}: measured in {time.perf_counter() - start:.0f} s", flush=True)
        checksums.write_sums(folder)
    RESULTS.write_text(json.dumps(everything, indent=1, default=float) + "\n", encoding="utf-8")
    RESULTS.with_suffix(".md").write_text(reader_cards.results_page(everything), encoding="utf-8")


def other_seeds(args: argparse.Namespace) -> None:
    """Measure models of other seeds, each in a working folder of its own, and write how far they differ."""
    found: dict[str, Any] = {}
    for folder in sorted(args.work.glob("seed-*")):
        words = tokenizer.saved_tokenizer(folder / "tokenizer")
        made = trained_model(folder, "polish", len(words)).eval()
        last = json.loads((folder / "log.jsonl").read_text(encoding="utf-8").splitlines()[-1])
        table = measure_reading(made, words)
        kept = ("content F1", "ROUGE-1", "grounded", "who did what", "how it ended")
        found[folder.name] = {"examples": last["examples"], "minutes": round(last["seconds"] / 60, 1)} | {
            name: {key: column[key]["value"] for key in kept if key in column} for name, column in table.items()
        }
        found[folder.name]["averaged"] = (folder / "instructions.safetensors").exists()
        found[folder.name]["steps"] = measure_word_problems(made, words)["step by step"]
    if not found:
        raise SystemExit(f"{args.work} holds no folder seed-1 or the like; see --help")
    path = RESULTS.with_name("reader_seeds.json")
    path.write_text(json.dumps(found, indent=1, default=float) + "\n", encoding="utf-8")
    shipped = json.loads(RESULTS.read_text(encoding="utf-8"))[NAMES["polish"]]
    record = json.loads((MODELS / NAMES["polish"] / "training.json").read_text(encoding="utf-8"))
    path.with_suffix(".md").write_text(reader_cards.seeds_page(found, shipped, record), encoding="utf-8")


STEPS = {
    "corpus": write_corpus,
    "tokenizer": make_tokenizer,
    "model": train_models,
    "export": export_models,
    "scores": scores,
    "seeds": other_seeds,
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run the steps asked for, all by default."""
    parser = argparse.ArgumentParser(prog="python -m genai_labs build-reader", description=plain(__doc__))
    parser.add_argument(
        "steps",
        nargs="*",
        type=one_of(STEPS),
        metavar="STEP",
        help=f"{', '.join(STEPS)} (default: all but seeds)",
    )
    parser.add_argument(
        "--work", type=writable_folder, default=BUILD / "reader", help="folder for checkpoints and logs"
    )
    parser.add_argument("--minutes", type=float, default=360.0, help="of training, all together (default: 360)")
    parser.add_argument(
        "--quick",
        dest="minutes",
        action="store_const",
        const=QUICK,
        help="train for 20 minutes only: a weaker model, to see a change of the corpus",
    )
    parser.add_argument(
        "--processes", type=whole_number(1), default=max(1, (os.cpu_count() or 2) - 1), help="that make batches"
    )
    parser.add_argument(
        "--tokens", type=whole_number(1024), default=4096, help="source tokens in a batch (default: 4096)"
    )
    parser.add_argument(
        "--unread", action="store_true", help="of the corpus: take dialogues, too, that nobody has read"
    )
    args = parser.parse_args(argv)
    args.work.mkdir(parents=True, exist_ok=True)
    for step in args.steps or [name for name in STEPS if name != "seeds"]:
        STEPS[step](args)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
