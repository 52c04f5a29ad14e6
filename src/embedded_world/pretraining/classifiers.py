"""Train the two classifiers of Lab 3: ``hate-mini``, which gives the reward, and ``judge-mini``, which judges.

They differ in architecture (RoBERTa, ELECTRA), size, tokenizer and training rows, so that what fools one need not fool
the other. Both are ordinary models of transformers: AutoModelForSequenceClassification loads them.
"""

from __future__ import annotations

import itertools
import json
import math
import random
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from numpy.typing import NDArray
from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from tqdm.auto import tqdm
from transformers import (
    ElectraConfig,
    ElectraForSequenceClassification,
    PreTrainedModel,
    PreTrainedTokenizerFast,
    RobertaConfig,
    RobertaForSequenceClassification,
)

from embedded_world.corpus import hate_texts as texts
from embedded_world.corpus.hate_texts import Row
from embedded_world.corpus.preferences import write_preferences
from embedded_world.pretraining import cards
from embedded_world.pretraining.tokenizer import PIECES
from genai_labs.loading import checksums
from genai_labs.paths import MODELS
from genai_labs.scoring.labelled_texts import LABELS, read_rows
from genai_labs.scoring.metrics import paired_bootstrap
from genai_labs.scoring.toxicity import THRESHOLD, Classifier, keyword_toxicity, load_classifier

SEED = 0
WINDOW = 384
COMMAND = "python -m genai_labs build-world classifiers"
ID2LABEL = dict(enumerate(LABELS))
BINS = 10
# Above this, on texts made like those of the test set, the logits are rescaled.
MOST_CALIBRATION_ERROR = 0.05
CALIBRATION_ROWS = 1_000


@dataclass(frozen=True)
class Plan:
    """How a classifier is trained.

    learning_rate: of weight matrices (Muon); embedding_rate: of everything
    else (AdamW). batch: texts a step, of similar length. smoothing: of labels.
    """

    name: str
    split: str
    vocabulary: int
    learning_rate: float = 4e-3
    embedding_rate: float = 4e-3
    epochs: int = 4
    batch: int = 32
    warmup: int = 100
    smoothing: float = 0.02


REWARD = Plan("hate-mini", "train_reward", vocabulary=2400)
JUDGE = Plan("judge-mini", "train_judge", vocabulary=1800)
PLANS = (REWARD, JUDGE)


# ------------------------------------------------------------------------------------------------------- tokenizers


def bpe_tokenizer(corpus: Iterable[str], vocabulary: int) -> PreTrainedTokenizerFast:
    """Byte-pair pieces with the special tokens of RoBERTa; words keep the space in front of them."""
    words = Tokenizer(models.BPE(unk_token="<unk>"))
    words.normalizer = normalizers.Sequence(
        [normalizers.NFKC(), normalizers.Replace(Regex(r"\s+"), " "), normalizers.Strip()]
    )
    words.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Metaspace(replacement="▁", prepend_scheme="first", split=False),
            pre_tokenizers.Split(PIECES, "isolated"),
        ]
    )
    words.decoder = decoders.Metaspace(replacement="▁", prepend_scheme="first")
    special = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
    words.train_from_iterator(
        corpus, trainers.BpeTrainer(vocab_size=vocabulary, special_tokens=special, show_progress=False)
    )
    return wrapped(words, special)


def wordpiece_tokenizer(corpus: Iterable[str], vocabulary: int) -> PreTrainedTokenizerFast:
    """Word pieces in lower case with the special tokens of BERT and ELECTRA; a speaker's tag is one piece."""
    words = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    words.normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.Lowercase()])
    words.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.WhitespaceSplit(),
            pre_tokenizers.Split(Regex(r"#person\d#:?|[a-z']+|\d|[^\sa-z\d']"), "isolated"),
        ]
    )
    words.decoder = decoders.WordPiece()
    special = ["[CLS]", "[PAD]", "[SEP]", "[UNK]", "[MASK]"]
    words.train_from_iterator(
        corpus, trainers.WordPieceTrainer(vocab_size=vocabulary, special_tokens=special, show_progress=False)
    )
    return wrapped(words, special)


def wrapped(words: Tokenizer, special: Sequence[str]) -> PreTrainedTokenizerFast:
    """The tokenizer for transformers: begin and end tokens around a text (``special``: cls, pad, sep, unk, mask)."""
    cls, pad, sep, unk, mask = special
    words.post_processor = processors.TemplateProcessing(
        single=f"{cls} $A {sep}",
        special_tokens=[(cls, words.token_to_id(cls)), (sep, words.token_to_id(sep))],
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=words,
        cls_token=cls,
        bos_token=cls,
        pad_token=pad,
        sep_token=sep,
        eos_token=sep,
        unk_token=unk,
        mask_token=mask,
        model_max_length=WINDOW,
        padding_side="right",
        model_input_names=["input_ids", "attention_mask"],
        clean_up_tokenization_spaces=False,
    )


# ----------------------------------------------------------------------------------------------------------- models


def new_reward_model(words: PreTrainedTokenizerFast, seed: int = SEED) -> RobertaForSequenceClassification:
    """A small RoBERTa with fresh weights: 2 layers of 128."""
    torch.manual_seed(seed)
    return RobertaForSequenceClassification(
        RobertaConfig(
            vocab_size=len(words),
            hidden_size=128,
            num_hidden_layers=2,
            num_attention_heads=4,
            intermediate_size=256,
            max_position_embeddings=WINDOW + 2,  # RoBERTa counts positions from the padding token's number on
            type_vocab_size=1,
            initializer_range=0.05,
            hidden_dropout_prob=0.0,
            attention_probs_dropout_prob=0.0,
            **tokens_and_labels(words),
        )
    )


def new_judge(words: PreTrainedTokenizerFast, seed: int = SEED) -> ElectraForSequenceClassification:
    """A small ELECTRA with fresh weights: 2 layers of 160 over embeddings of 96."""
    torch.manual_seed(seed + 1)
    return ElectraForSequenceClassification(
        ElectraConfig(
            vocab_size=len(words),
            embedding_size=96,
            hidden_size=160,
            num_hidden_layers=2,
            num_attention_heads=5,
            intermediate_size=320,
            max_position_embeddings=WINDOW,
            type_vocab_size=1,
            initializer_range=0.05,
            hidden_dropout_prob=0.0,
            attention_probs_dropout_prob=0.0,
            **tokens_and_labels(words),
        )
    )


def tokens_and_labels(words: PreTrainedTokenizerFast) -> dict[str, Any]:
    """What a configuration takes from the tokenizer, and the labels by name."""
    return {
        "pad_token_id": words.pad_token_id,
        "bos_token_id": words.bos_token_id,
        "eos_token_id": words.eos_token_id,
        "id2label": ID2LABEL,
        "label2id": {name: i for i, name in ID2LABEL.items()},
    }


MAKERS: dict[str, tuple[Callable[..., PreTrainedTokenizerFast], Callable[..., PreTrainedModel]]] = {
    "hate-mini": (bpe_tokenizer, new_reward_model),
    "judge-mini": (wordpiece_tokenizer, new_judge),
}


# --------------------------------------------------------------------------------------------------------- training


def batches(lengths: Sequence[int], size: int, rng: random.Random) -> list[list[int]]:
    """Numbers of rows in batches of similar length, in random order."""
    order = sorted(range(len(lengths)), key=lambda i: (lengths[i] + rng.random() * 4, i))
    cut = [order[i : i + size] for i in range(0, len(order), size)]
    rng.shuffle(cut)
    return cut


def rate(step: int, total: int, warmup: int) -> float:
    """Share of the learning rate at a step: linear warm-up, then a cosine down to 2 %."""
    if step < warmup:
        return (step + 1) / warmup
    return 0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(1, total - warmup)))


def optimizers(model: PreTrainedModel, plan: Plan) -> list[torch.optim.Optimizer]:
    """Muon for the weight matrices of the layers, AdamW for embeddings, norms, biases and the head."""
    named = dict(model.named_parameters())
    matrices = {n for n, p in named.items() if p.ndim == 2 and "embeddings." not in n and "classifier" not in n}
    muon = torch.optim.Muon(
        [named[n] for n in named if n in matrices],
        lr=plan.learning_rate,
        weight_decay=0.01,
        ns_steps=4,
        adjust_lr_fn="match_rms_adamw",
    )
    rest = [named[n] for n in named if n not in matrices]
    return [muon, torch.optim.AdamW(rest, lr=plan.embedding_rate, betas=(0.9, 0.98), weight_decay=0.0)]


def train(
    model: PreTrainedModel, words: PreTrainedTokenizerFast, rows: Sequence[Row], plan: Plan, seed: int = SEED
) -> list[float]:
    """Train in place; returns the mean loss of each epoch, in nats a text."""
    encoded = words([row.text for row in rows], truncation=True, max_length=WINDOW)["input_ids"]
    labels = torch.tensor([row.label for row in rows])
    rng = random.Random(f"batches-{plan.name}-{seed}")
    torch.manual_seed(seed)
    epochs = [batches([len(ids) for ids in encoded], plan.batch, rng) for _ in range(plan.epochs)]
    total = sum(map(len, epochs))
    both = optimizers(model, plan)
    schedules = [torch.optim.lr_scheduler.LambdaLR(o, lambda step: rate(step, total, plan.warmup)) for o in both]
    losses = []
    model.train()
    with tqdm(total=total, desc=plan.name, unit="step") as bar:
        for steps in epochs:
            summed = 0.0
            for chosen in steps:
                inputs = words.pad({"input_ids": [encoded[i] for i in chosen]}, return_tensors="pt")
                scores = model(input_ids=inputs["input_ids"], attention_mask=inputs["attention_mask"]).logits
                loss = torch.nn.functional.cross_entropy(scores, labels[chosen], label_smoothing=plan.smoothing)
                loss.backward()
                torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
                for optimizer, schedule in zip(both, schedules, strict=True):
                    optimizer.step()
                    schedule.step()
                model.zero_grad(set_to_none=True)
                summed += loss.item() * len(chosen)
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
    rows = list(itertools.islice(texts.generate("test", SEED + 1), CALIBRATION_ROWS))
    lines, labels = [row.text for row in rows], np.array([row.label for row in rows])
    error = calibration_error(classifier.probabilities(lines), labels)
    if error <= MOST_CALIBRATION_ERROR:
        return 1.0, error
    temperature = best_temperature(classifier.logits(lines), labels)
    rescale(classifier.model, temperature)
    return temperature, error


# ------------------------------------------------------------------------------------------------------ measurement


def reliability(probabilities: NDArray[np.float64], labels: NDArray[np.int64]) -> list[dict[str, float]]:
    """Per tenth of the predicted probability of hate: texts, mean probability, and the share that is hateful."""
    bins = np.minimum((probabilities * BINS).astype(int), BINS - 1)
    return [
        {
            "from": i / BINS,
            "n": int((bins == i).sum()),
            "predicted": round(float(probabilities[bins == i].mean()), 3),
            "hateful": round(float(labels[bins == i].mean()), 3),
        }
        for i in range(BINS)
        if (bins == i).any()
    ]


def calibration_error(probabilities: NDArray[np.float64], labels: NDArray[np.int64]) -> float:
    """Expected calibration error in [0, 1]: how far, on average, the predicted probability is from the share."""
    table = reliability(probabilities, labels)
    return sum(row["n"] * abs(row["predicted"] - row["hateful"]) for row in table) / len(labels)


def measure(probabilities: NDArray[np.float64], rows: Sequence[Row]) -> dict[str, Any]:
    """Accuracy with its interval, by kind and label, confusion and calibration, of predictions for rows."""
    labels = np.array([row.label for row in rows])
    right = (probabilities > THRESHOLD).astype(int) == labels
    by_kind = sorted({(row.kind, LABELS[row.label]) for row in rows})
    chosen = {key: [i for i, row in enumerate(rows) if (row.kind, LABELS[row.label]) == key] for key in by_kind}
    return {
        "accuracy": interval(right),
        "by_kind": {f"{kind}, {label}": interval(right[chosen[kind, label]]) for kind, label in by_kind},
        "confusion": {
            f"{LABELS[true]} read as {LABELS[read]}": int(
                ((labels == true) & ((probabilities > THRESHOLD) == read)).sum()
            )
            for true in (0, 1)
            for read in (0, 1)
        },
        "calibration_error": round(calibration_error(probabilities, labels), 4),
        "reliability": reliability(probabilities, labels),
    }


def interval(right: NDArray[np.bool_]) -> list[float]:
    """Accuracy, the ends of its 95 % bootstrap interval, and the number of texts."""
    found = paired_bootstrap(right.astype(float))
    return [round(found.effect, 4), round(found.low, 4), round(found.high, 4), found.n]


def evaluate(folder: Path) -> dict[str, Any]:
    """What the classifier in ``folder``, and the list of hostile words beside it, score on both committed sets."""
    classifier = load_classifier(folder)
    sets = {name: read_rows(name) for name in ("test", "challenge")}
    scores = {name: measure(classifier.probabilities([r.text for r in rows]), rows) for name, rows in sets.items()}
    words = {name: measure(keyword_toxicity([r.text for r in rows]), rows) for name, rows in sets.items()}
    return scores | {"keyword_list": {name: {k: w[k] for k in ("accuracy", "by_kind")} for name, w in words.items()}}


# ------------------------------------------------------------------------------------------------------------ build


def build(work: Path, again: bool = False, plans: Sequence[Plan] = PLANS, folder: Path = MODELS) -> None:
    """Write the committed sets and their card, and train each classifier that is not there yet (``again``: all)."""
    texts.write_sets()
    write_preferences()
    (texts.TOXICITY / "README.md").write_text(cards.toxicity_card(), encoding="utf-8")
    for plan in plans:
        if again or not (folder / plan.name / "training.json").exists():
            build_one(plan, folder / plan.name)
        else:
            print(f"{plan.name} is there already; --again trains it anew")


def build_one(plan: Plan, folder: Path) -> None:
    """Train one classifier and write it to ``folder``: fp16 weights, tokenizer, training record, model card."""
    rows = texts.rows(plan.split)
    make_tokenizer, make_model = MAKERS[plan.name]
    words = make_tokenizer((row.text for row in rows), plan.vocabulary)
    model = make_model(words)
    start = time.perf_counter()
    losses = train(model, words, rows, plan)
    seconds = time.perf_counter() - start
    name = {name: i for i, name in ID2LABEL.items()}
    classifier = Classifier(model, words, name["hate"], name["nothate"], plan.name)
    temperature, error = calibrate(classifier)
    validation = texts.rows("validation")
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
        "validation_accuracy": interval(read == np.array([row.label for row in validation])),
        "versions": {"torch": torch.__version__, "transformers": transformers.__version__},
    }
    model.half().save_pretrained(folder)
    words.save_pretrained(folder)
    checksums.write_sums(folder)  # what is measured next is loaded like any model
    (folder / "training.json").write_text(json.dumps(record | evaluate(folder), indent=1) + "\n", encoding="utf-8")
    (folder / "README.md").write_text(cards.classifier_card(folder), encoding="utf-8")
    checksums.write_sums(folder)
