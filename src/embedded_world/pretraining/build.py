"""``python -m genai_labs build-world``: corpus, tokenizer, pre-training, scores, cards, classifiers, all by seed."""

from __future__ import annotations

import argparse
import json
import random
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from transformers import GenerationConfig, PreTrainedTokenizerFast, T5ForConditionalGeneration

from embedded_world.corpus import hate_frames, hate_texts, lab_files, preferences, splits, tasks
from embedded_world.corpus.styles import KNOWN
from embedded_world.pretraining import cards, classifiers, heldout, model, tokenizer, training
from genai_labs.inputs.helptext import plain
from genai_labs.inputs.options import one_of, whole_number, writable_folder
from genai_labs.loading import checksums
from genai_labs.paths import BUILD, DIALOGUES, MODELS

SEED = 0
TOKENIZER_EXAMPLES = 16_000


def main(argv: Sequence[str] | None = None) -> int:
    """Run the steps asked for (all by default); a pre-training that was interrupted goes on from its last pool."""
    parser = argparse.ArgumentParser(prog="python -m genai_labs build-world", description=plain(__doc__))
    parser.add_argument(
        "steps", nargs="*", type=one_of(STEPS), metavar="STEP", help=f"{', '.join(STEPS)} (default: all)"
    )
    parser.add_argument("--work", type=writable_folder, default=BUILD / "world", help="folder for checkpoints and logs")
    parser.add_argument("--again", action="store_true", help="train the classifiers even if they are there")
    parser.add_argument("--threads", type=whole_number(1), default=torch.get_num_threads())
    args = parser.parse_args(argv)
    torch.set_num_threads(args.threads)
    args.work.mkdir(parents=True, exist_ok=True)
    for step in args.steps or STEPS:
        start = time.perf_counter()
        if step == "classifiers":
            write_toxicity_sets()
            classifiers.build(args.work, again=args.again)
        else:
            STEPS[step](args.work)
        print(f"{step}: done in {(time.perf_counter() - start) / 60:.1f} minutes", flush=True)
    return 0


def build_corpus(work: Path) -> None:
    """Write the committed splits and their data card."""
    splits.write_splits(DIALOGUES)
    (DIALOGUES / "README.md").write_text(cards.data_card(), encoding="utf-8")


def build_lab_files(work: Path) -> None:
    """Write what the labs read beside dialogues and models, with data cards."""
    lab_files.write_files()


def write_toxicity_sets() -> None:
    """Write the labelled texts of ``data/toxicity``, the preference pairs, and their card."""
    hate_texts.write_sets()
    preferences.write_preferences()
    (hate_texts.TOXICITY / "README.md").write_text(card_of_toxicity_sets(), encoding="utf-8")


def card_of_toxicity_sets() -> str:
    """The card of ``data/toxicity``."""
    made = {name: hate_texts.texts_of(name) for name in hate_frames.SHARES}
    rule = {
        "completeness": preferences.COMPLETENESS,
        "strictness": preferences.STRICTNESS,
        "noise": preferences.NOISE,
    }
    return cards.toxicity_card(made, hate_texts.CHALLENGE_KINDS, list(preferences.preferences()), rule)


def build_tokenizer(work: Path) -> None:
    """Train the tokenizer on a sample of the mixture."""
    rng = random.Random(f"tokenizer-{SEED}")
    examples = [tasks.sample_example(1, rng, long_prompts=False) for _ in range(TOKENIZER_EXAMPLES)]
    texts = [text for e in examples if e.task != "span corruption" for text in (e.source, e.target)]
    tokenizer.train_tokenizer(texts).save_pretrained(work / "tokenizer")


def build_model(work: Path) -> None:
    """Pre-train from scratch, or go on where an interrupted run stopped; fp32 weights stay in ``work``."""
    words = tokenizer.saved_tokenizer(work / "tokenizer")
    fresh = model.new_model(len(words), tokenizer.WINDOW, SEED)
    training.pretrain(fresh, words, work / "pretraining", seed=SEED)
    fresh.save_pretrained(work / "model")


def export(work: Path) -> None:
    """Write ``data/models/t5-mini``: fp16 weights, tokenizer, generation settings, held-out scores, model card."""
    folder = MODELS / "t5-mini"
    words = tokenizer.saved_tokenizer(work / "tokenizer")
    trained = T5ForConditionalGeneration.from_pretrained(work / "model")
    trained.half()
    trained.generation_config = GenerationConfig(
        decoder_start_token_id=0, eos_token_id=1, pad_token_id=0, max_new_tokens=80, do_sample=False
    )
    trained.save_pretrained(folder)
    words.save_pretrained(folder)
    in_fp32 = T5ForConditionalGeneration.from_pretrained(folder, dtype=torch.float32).eval()
    scores = heldout.score_held_out(in_fp32, words)
    path = work / "pretraining" / "log.jsonl"
    log = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    (folder / "training.json").write_text(json.dumps(pretraining_record(log, scores, trained, words), indent=1) + "\n")
    (folder / "README.md").write_text(cards.model_card(folder), encoding="utf-8")
    checksums.write_sums(folder)


def pretraining_record(
    log: list[dict[str, Any]],
    scores: dict[str, Any],
    trained: T5ForConditionalGeneration,
    words: PreTrainedTokenizerFast,
) -> dict[str, Any]:
    """What the model card is made from: recipe, duration, losses over time, held-out scores, versions."""
    import transformers

    return {
        "command": "python -m genai_labs build-world",
        "seed": SEED,
        "parameters": sum(p.numel() for p in trained.parameters()),
        "vocabulary": len(words),
        "examples": log[-1]["examples"],
        "minutes": round(sum_seconds(log) / 60, 1),
        "recipe": [vars(r) for r in training.RECIPE],
        "mixture": tasks.MIXTURE,
        "styles_known": len(KNOWN),
        "house_share": tasks.HOUSE_SHARE[training.RECIPE[-1].stage],
        "strange_share": tasks.STRANGE_SHARE[training.RECIPE[-1].stage],
        "losses": [{"examples": row["examples"], "stage": row["stage"], **row["loss"]} for row in log],
        "heldout": scores,
        "versions": {"torch": torch.__version__, "transformers": transformers.__version__},
    }


def sum_seconds(log: list[dict[str, Any]]) -> float:
    """Seconds of training, all resumed parts together."""
    return float(log[-1]["seconds"])


STEPS = {
    "corpus": build_corpus,
    "labs": build_lab_files,
    "tokenizer": build_tokenizer,
    "model": build_model,
    "export": export,
    "classifiers": classifiers.build,
}
