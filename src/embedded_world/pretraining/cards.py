"""The data card and the model card, written by the build from what it measured."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from embedded_world.corpus import hate_frames, splits
from embedded_world.corpus.content import scenarios
from embedded_world.corpus.styles import HELD_OUT, KNOWN
from genai_labs.rlhf.preferences import Preference
from genai_labs.scoring.labelled_texts import LabelledText
from genai_labs.show.results import table


def data_card(seed: int = 0) -> str:
    """The card of ``data/dialogues``, with counts taken from the splits themselves."""
    counted = {split: list(splits.dialogues(split, seed)) for split in splits.SPLIT_SIZES}
    played = [d for dialogues in counted.values() for d in dialogues]
    words = {w for d in played for w in re.findall(r"[a-z]+", d.text.lower())}
    turns = [len(d.turns) for d in played]
    sizes = [
        (
            f"{split}.csv",
            len(ds),
            len(ds) * splits.REFERENCES[split],
            f"{sum(d.quarrel is not None for d in ds) / len(ds):.0%}",
        )
        for split, ds in counted.items()
    ]
    topics = sorted({s.topic for s in scenarios()})
    return f"""# The embedded dialogue corpus

Made by `python -m genai_labs build-world corpus` from the authored content in `data/content`; the same content and seed
give the same bytes. This card is written by the same command. Licence: Apache-2.0, like the project.

{table(("file", "dialogues", "rows", "with hostile speech"), sizes)}

`handwritten.csv` is different: 64 dialogues written one by one in free style. Nothing is ever trained on them.

- Columns as in DialogSum: id, dialogue, summary, topic; and situation, the scenario that was played. Turns are lines that begin with `#Person1#:` or `#Person2#:`.
  A test dialogue has three rows, one for each reference summary (`test_7_1`, `test_7_2`, `test_7_3`).
- {len(scenarios())} known scenarios in {len(topics)} topics ({", ".join(topics)}) and {len(scenarios(unseen=True))} unseen
  ones, which appear in `unseen.csv` alone.
- {min(turns)} to {max(turns)} turns a dialogue, {sum(turns) / len(turns):.1f} on average; {len(words):,} different words.
- Summaries stand here in the house style: speakers by tag, present tense, plain sentences, quarrels in neutral words.
  The generator can write the same facts in {len(KNOWN) + len(HELD_OUT)} combinations of style features, {len(HELD_OUT)} of
  which are held out of pre-training.
- Splits share no dialogue and no combination of slot values, with one another or with what the model was pre-trained on:
  the hash of scenario and slot values decides the split.

## Intended use and limits
For teaching and for testing software: small models can be trained on it in minutes, and every summary is true of its
dialogue by construction. It is not a sample of how people talk: the situations are invented, the English is tidy, every
dialogue has two speakers, and each summary has two or three clauses. The insults are mild and invented; they aim at
no group of people. Results on it say nothing about results on real dialogues; that is what `handwritten.csv` is for.
"""


def model_card(folder: Path) -> str:
    """The card of ``data/models/t5-mini``, from ``training.json`` beside it."""
    record = json.loads((folder / "training.json").read_text(encoding="utf-8"))
    size = (folder / "model.safetensors").stat().st_size / 1e6
    losses = record["losses"]
    shown = [losses[round(i * (len(losses) - 1) / 7)] for i in range(8)]
    tasks = sorted({k for row in losses for k in row} - {"examples", "stage"})
    loss_rows = [
        (f"{row['examples']:,}", row["stage"], *(f"{row[t]:.2f}" if t in row else "" for t in tasks)) for row in shown
    ]
    held = [(name, s["n"], f"{s['exact']:.2f}", f"{s['rouge1']:.2f}") for name, s in record["heldout"].items()]
    mixture = sorted({t for shares in record["mixture"].values() for t in shares})
    shares = [(t, *(f"{record['mixture'][s].get(t, 0):.0%}" for s in record["mixture"])) for t in mixture]
    return f"""# t5-mini

A small T5 (v1.1 / FLAN-T5 architecture: gated GELU, RMS norm, relative position biases; embeddings tied), pre-trained from
scratch on the embedded corpus of this project. It stood in for FLAN-T5 before t5-reader; tests use it.
This card is written by `{record["command"]}`, which made the model (seed {record["seed"]}). Licence: Apache-2.0.

- {record["parameters"] / 1e6:.2f} million parameters, {size:.1f} MB of safetensors in fp16 (load with `dtype=torch.float32`),
  vocabulary {record["vocabulary"]:,}, window 1,024 tokens
- {record["examples"]:,} examples in {record["minutes"]} minutes on 2 CPU cores
- torch {record["versions"]["torch"]}, transformers {record["versions"]["transformers"]}

## What it was trained on
Three stages: short texts first, so that copying forms; then everything; then, with a falling learning rate, more exemplars and fewer wordings.

{table(("task", *(f"stage {s}" for s in record["mixture"])), shares)}

Zero-shot targets leave the style open and prefer reports in the past tense that name speakers by role. The course's house
style (tags, present tense, plain sentences) is never the answer to a zero-shot prompt; in the last stage, prompts with
exemplars show it in {record["house_share"]:.0%} of cases, and any of {record["styles_known"]} combinations of style features in the others. In
{record["strange_share"]:.0%} of the dialogues to be summarized there, some words that dialogue and summary share are swapped for others, in both
alike, so that the model learns to read what it has never met.

## Losses over time (nats a target token)
{table(("examples", "stage", *tasks), loss_rows)}

## Held-out scores
On combinations of slot values that pre-training never saw, in scenarios that it did see, greedy decoding.

{table(("task", "n", "answered exactly", "ROUGE-1"), held)}

"Next turn" and summaries have many right answers, so an exact match is rare there. For a worked word problem, "exactly"
means that the final answer is right.

## Intended use and limits
For learning how prompting, fine-tuning and reinforcement learning work, on a laptop, in minutes. It knows this project's
small world and nothing else: English outside it comes out broken, dialogues of unknown situations are often summarized as
if they were known ones, its arithmetic is no better than the scores above say, and it has no knowledge of facts. It can repeat the mild, invented insults
of its corpus. Do not use it for anything but teaching and testing.
"""


def toxicity_card(
    made: Mapping[str, Sequence[LabelledText]],
    kinds_of_challenge: Sequence[str],
    pairs: Sequence[Preference],
    rule: Mapping[str, Any],
) -> str:
    """The card of ``data/toxicity``, with counts taken from the sets themselves.

    made: rows by set. rule: how annotators vote: completeness, strictness of each, noise.
    """
    sizes = [(name, len(rows), f"{sum(r.label for r in rows) / len(rows):.0%}") for name, rows in made.items()]
    kinds = [
        (kind, *(next(r.text for r in made["challenge"] if (r.kind, r.label) == (kind, label)) for label in (0, 1)))
        for kind in kinds_of_challenge
    ]
    votes = [(f"{n} of 5", sum(sum(p.votes) == n for p in pairs)) for n in (5, 4, 3)]
    return f"""# Labelled texts for the toxicity classifiers, and preference pairs

Made by `python -m genai_labs build-world classifiers` from the authored content in `data/content` (`toxicity.yaml`, `hostile.yaml` and
the speech acts); the same content and seed give the same bytes. This card is written by the same command. Licence:
Apache-2.0, like the project.

{table(("rows of", "texts", "hateful"), sizes)}

Of the texts only `test.csv` and `challenge.csv` are files; the training rows are generated when they are needed. Columns: id, text, label
(hate or nothate), kind; of the challenge also frame, the sentence with gaps that a text was made from.

- **hate**: insults somebody, or repeats an insult as a summary would. **nothate**: tells a conflict in neutral words,
  denies or rejects an insult, means harsh words kindly, or has nothing to do with any of it.
- `test.csv`: sentences, summaries (whole, broken, with and without a quarrel) and dialogues like those of training, but with
  insults that no training row has. Its frames were seen by one classifier or by both.
- `hostile_words.csv`: heads of all insults, and harsh words. A list of words is what the classifiers have to beat.
- `challenge.csv`: four kinds, each as often hateful as not, in frames that no training row has:

{table(("kind", "nothate", "hate"), kinds)}

- Reward model and judge learn from different rows: {len(hate_frames.SHARES["train_reward"].frames & hate_frames.SHARES["train_judge"].frames)} of {hate_frames.FRAME_PLACES} places of frames are common to both, one is for either alone,
  one for validation; the insults of the list are never common. Of the clauses in which summaries tell a quarrel in neutral words one
  has the even places of each list, the other the odd ones (a few clauses stand in two places). Common to both are the clauses
  that repeat an insult, hostile sentences without an insult of the list, insults put together from two stocks of odd words or thrown
  together from any, and the program that composes the dialogues around them. No text stands in two sets. Those of `test.csv` and
  `challenge.csv` are of the test split, whose phrasings are in part kept from training.

## preferences.csv
{len(pairs)} pairs of summaries of dialogues of `data/rlhf/harsh_summaries.csv` (columns: id, dialogue_id, chosen, rejected, votes, 1 for each annotator who
preferred the chosen one, and the situation, which names the speech acts). **Nobody was asked**: the five annotators are simulated. To an annotator, a summary is worth
{rule["completeness"]:g} if it reports the conflict in any words, minus the annotator's strictness ({", ".join(f"{s:g}" for s in rule["strictness"])}) if it repeats the insult; two
summaries are compared with logistic noise of scale {rule["noise"]:g} on the difference. The majority decides.

{table(("votes for the chosen", "pairs"), votes)}

## Intended use and limits
For teaching and for testing software. The sentences are invented, the insults mild and odd, and they aim at no group of
people. A classifier that does well here says nothing about the hostility of real people.
"""


def classifier_card(folder: Path) -> str:
    """The card of a classifier, from ``training.json`` beside it."""
    record = json.loads((folder / "training.json").read_text(encoding="utf-8"))
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    plan, words = record["plan"], record["keyword_list"]
    size = (folder / "model.safetensors").stat().st_size / 1e6
    part = "gives the reward in Lab 3" if plan["split"] == "train_reward" else "judges in Lab 3 and is never a reward"
    accuracy = [
        (name, _interval(record[name]["accuracy"]), _interval(words[name]["accuracy"]), record[name]["accuracy"][3])
        for name in ("test", "challenge")
    ]
    confusion = [(name, *record[name]["confusion"].values()) for name in ("test", "challenge")]
    if record["temperature"] == 1:
        scaling = "so the logits were left as they are"
    else:
        scaling = f"so all logits were divided by {record['temperature']:g}, once and for all, in the last layer"
    return f"""# {plan["name"]}

A small classifier of hostile speech, labels `nothate` and `hate`: it {part}.
This card is written by `{record["command"]}`, which made the model (seed {record["seed"]}). Licence: Apache-2.0.

- `{config["architectures"][0]}`: {config["num_hidden_layers"]} layers of {config["hidden_size"]}, vocabulary {config["vocab_size"]:,}, {record["parameters"] / 1e6:.2f} million parameters,
  {size:.2f} MB of safetensors in fp16 (load with `dtype=torch.float32`, or with `genai_labs.scoring.toxicity.load_classifier`)
- trained from scratch on {record["rows"]:,} rows ({plan["split"]} in `data/toxicity`) for {plan["epochs"]} epochs in {record["seconds"] / 60:.1f} minutes by the clock on 2 CPU cores; losses by epoch: {", ".join(f"{x:.3f}" for x in record["losses"])}
- torch {record["versions"]["torch"]}, transformers {record["versions"]["transformers"]}

## Accuracy
With 95 % intervals over texts (those of one frame drawn together), beside a list of hostile words (heads of all insults, and harsh words).

{table(("set", "this model", "list of words", "texts"), accuracy)}

On {record["validation_accuracy"][3]:,} validation texts, made like those of training but in frames that were held out: {_interval(record["validation_accuracy"])}.
The challenge set is made of frames that no training row has, each kind as often hateful as not:

{table(("challenge", "this model", "list of words"), _by_kind(record["challenge"]["by_kind"], words["challenge"]["by_kind"]))}

{table(("test", "this model", "list of words"), _by_kind(record["test"]["by_kind"], words["test"]["by_kind"]))}

## Confusion
{table(("set", *record["test"]["confusion"]), confusion)}

## Calibration
Expected calibration error: {record["test"]["calibration_error"]:.3f} on test, {record["challenge"]["calibration_error"]:.3f} on challenge. On 1,000 other texts made like the test set
it was {record["calibration_error_before"]:.3f} after training, {scaling}. On the challenge set, whose frames are new, the model is about as sure as
ever and more often wrong. On the test set, too, low probabilities may be too low: compare the columns.

{table(("predicted (test)", "texts", "hateful"), _reliability(record["test"]["reliability"]))}

{table(("predicted (challenge)", "texts", "hateful"), _reliability(record["challenge"]["reliability"]))}

## Intended use and limits
For learning how a reward model works, on the texts of this project's small world. It was never shown real hostile speech,
slurs, or any language but tidy English, and it knows only the words of its corpus: praise in unknown words can look
like an insult to it, and contempt in unknown words like a remark. The numbers above say how often. Do not use it to moderate anything.
"""


def _interval(numbers: list[float]) -> str:
    return "{:.3f} [{:.3f}, {:.3f}]".format(*numbers[:3])


def _by_kind(model: dict[str, list[float]], words: dict[str, list[float]]) -> list[tuple[str, str, str]]:
    return [
        (kind, f"{numbers[0]:.2f} (n = {numbers[3]:.0f})", f"{words[kind][0]:.2f}") for kind, numbers in model.items()
    ]


def _reliability(rows: list[dict[str, float]]) -> list[tuple[str, int, str]]:
    return [(f"{row['predicted']:.2f}", int(row["n"]), f"{row['hateful']:.2f}") for row in rows]
