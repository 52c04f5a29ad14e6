"""Train the two classifiers of Lab 3: ``hate-mini``, which gives the reward, and ``judge-mini``, which judges.

They differ in architecture (RoBERTa, ELECTRA), size, tokenizer and training rows, so that what fools one need not fool
the other. Both are ordinary models of transformers: AutoModelForSequenceClassification loads them.
"""

from __future__ import annotations

import itertools
import json
import math
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
import transformers
from numpy.typing import NDArray
from tqdm.auto import tqdm
from transformers import PreTrainedModel, PreTrainedTokenizerFast

from embedded_world.corpus import hate_texts as texts
from embedded_world.pretraining import cards
from embedded_world.pretraining.classifier_models import ID2LABEL, MAKERS, SEED, WINDOW
from embedded_world.pretraining.classifier_scores import accuracy_interval, calibration_error, score_classifier
from embedded_world.pretraining.optimizers import muon_and_adamw
from genai_labs.finetuning import loop
from genai_labs.inputs import batches
from genai_labs.loading import checksums
from genai_labs.paths import MODELS
from genai_labs.scoring.labelled_texts import LabelledText
from genai_labs.scoring.toxicity import THRESHOLD, Classifier

COMMAND = "python -m genai_labs build-world classifiers"
# Above this, on texts made like those of the test set, the logits are rescaled.
MOST_CALIBRATION_ERROR = 0.05
CALIBRATION_ROWS = 1_000


@dataclass(frozen=True)
class ClassifierPlan:
    """How a classifier is trained."""

    name: str
    split: str
    vocabulary: int
    learning_rate: float = 4e-3  # of weight matrices (Muon)
    embedding_rate: float = 4e-3  # of everything else (AdamW)
    epochs: int = 3
    batch: int = 32  # texts a step, of similar length
    warmup: int = 100  # steps
    smoothing: float = 0.02  # of labels


REWARD = ClassifierPlan("hate-mini", "train_reward", vocabulary=2400)
JUDGE = ClassifierPlan("judge-mini", "train_judge", vocabulary=1800)
PLANS = (REWARD, JUDGE)


def cosine_factor(step: int, total: int, warmup: int) -> float:
    """Share of the learning rate at a step: linear warm-up, then a cosine down to 2 %."""
    if step < warmup:
        return (step + 1) / warmup
    return 0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(1, total - warmup)))


def train_classifier(
    model: PreTrainedModel,
    words: PreTrainedTokenizerFast,
    rows: Sequence[LabelledText],
    plan: ClassifierPlan,
    seed: int = SEED,
) -> list[float]:
    """Train in place; returns the mean loss of each epoch, in nats a text."""
    encoded = words([row.text for row in rows], truncation=True, max_length=WINDOW)["input_ids"]
    labels = torch.tensor([row.label for row in rows])
    torch.manual_seed(seed)
    lengths = [len(ids) for ids in encoded]
    epochs = [batches.shuffled(lengths, plan.batch, f"{plan.name}-{seed}-{epoch}") for epoch in range(plan.epochs)]
    total = sum(map(len, epochs))
    rates = {"embeddings.": plan.embedding_rate, "classifier": plan.embedding_rate, "": plan.embedding_rate}
    both = muon_and_adamw(model, plan.learning_rate, rates)

    def loss(chosen: list[int]) -> torch.Tensor:
        inputs = words.pad({"input_ids": [encoded[i] for i in chosen]}, return_tensors="pt")
        scores = model(input_ids=inputs["input_ids"], attention_mask=inputs["attention_mask"]).logits
        return torch.nn.functional.cross_entropy(scores, labels[chosen], label_smoothing=plan.smoothing)

    losses = []
    model.train()
    with tqdm(total=total, desc=plan.name, unit="step") as bar:
        for epoch in epochs:
            summed = 0.0
            for chosen in epoch:
                factor = cosine_factor(bar.n, total, plan.warmup)
                summed += loop.step([loss(chosen)], list(model.parameters()), both, factor) * len(chosen)
                model.zero_grad()
                bar.update()
            losses.append(round(summed / len(rows), 4))
            bar.set_postfix(loss=losses[-1])
    model.eval()
    return losses


def rescale(model: PreTrainedModel, temperature: float) -> None:
    """Divide all logits by ``temperature``, for good: the last layer takes it in."""
    with torch.no_grad():
        model.classifier.out_proj.weight.div_(temperature)
        model.classifier.out_proj.bias.div_(temperature)


def best_temperature(logits: NDArray[np.float64], labels: NDArray[np.int64]) -> float:
    """The temperature at which the logits, shape (n, 2), explain the labels best (least mean negative log-likelihood).

    Guo et al. 2017, https://arxiv.org/abs/1706.04599.
    """

    def loss(temperature: float) -> float:
        margins = (logits[:, 1] - logits[:, 0]) / temperature * np.where(labels == 1, 1.0, -1.0)
        return float(np.logaddexp(0, -margins).mean())

    return float(min(np.round(np.geomspace(0.5, 8, 200), 3), key=loss))


def calibrate(classifier: Classifier) -> tuple[float, float]:
    """Rescale the classifier if its probabilities are badly off. Returns the temperature and the error before it.

    Measured on texts made like those of the test set, by another seed.
    """
    rows = list(itertools.islice(texts.draw_texts("test", SEED + 1), CALIBRATION_ROWS))
    lines, labels = [row.text for row in rows], np.array([row.label for row in rows])
    error = calibration_error(classifier.probabilities(lines), labels)
    if error <= MOST_CALIBRATION_ERROR:
        return 1.0, error
    temperature = best_temperature(classifier.logits(lines), labels)
    rescale(classifier.model, temperature)
    return temperature, error


def build(work: Path, again: bool = False, plans: Sequence[ClassifierPlan] = PLANS, folder: Path = MODELS) -> None:
    """Train each classifier that is not there yet (``again``: all)."""
    for plan in plans:
        if again or not (folder / plan.name / "training.json").exists():
            build_one(plan, folder / plan.name)
        else:
            print(f"{plan.name} is there already; --again trains it anew")


def build_one(plan: ClassifierPlan, folder: Path) -> None:
    """Train one classifier and write it to ``folder``: fp16 weights, tokenizer, training record, model card."""
    rows = texts.texts_of(plan.split)
    make_tokenizer, make_model = MAKERS[plan.name]
    words = make_tokenizer((row.text for row in rows), plan.vocabulary)
    model = make_model(words)
    start = time.perf_counter()
    losses = train_classifier(model, words, rows, plan)
    seconds = time.perf_counter() - start
    name = {name: i for i, name in ID2LABEL.items()}
    classifier = Classifier(model, words, name["hate"], name["nothate"], plan.name)
    temperature, error = calibrate(classifier)
    validation = texts.texts_of("validation")
    read = classifier.probabilities([row.text for row in validation]) > THRESHOLD
    record = {
        "command": COMMAND,
        "seed": SEED,
        "plan": asdict(plan),
        "rows": len(rows),
        "parameters": sum(p.numel() for p in model.parameters()),
        "seconds": round(seconds, 1),
        "losses": losses,
        "temperature": temperature,
        "calibration_error_before": round(error, 4),
        "validation_accuracy": accuracy_interval(read == np.array([row.label for row in validation])),
        "versions": {"torch": torch.__version__, "transformers": transformers.__version__},
    }
    model.half().save_pretrained(folder)
    words.save_pretrained(folder)
    checksums.write_sums(folder)  # what is measured next is loaded like any model
    (folder / "training.json").write_text(
        json.dumps(record | score_classifier(folder), indent=1) + "\n", encoding="utf-8"
    )
    (folder / "README.md").write_text(cards.classifier_card(folder), encoding="utf-8")
    checksums.write_sums(folder)
