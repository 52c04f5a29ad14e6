"""Toxicity of texts: a classifier loaded with care, a measurement on it, and a probe for the bug everyone copies.

A classifier's labels are found by name, never by place. The usual code asks a pipeline for all scores and reads element
[0] of each list; but such a list is sorted by score, so that hateful text is read with its own "hate" score and
rewarded for it. `check_reward` finds that out in a second.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import AutoModelForSequenceClassification, PreTrainedModel, PreTrainedTokenizerBase

from genai_labs.errors import LabError
from genai_labs.inputs.arguments import as_texts
from genai_labs.inputs.batches import by_length
from genai_labs.inputs.text import without_surrogates
from genai_labs.loading import hub, pretrained, shortage, sources
from genai_labs.paths import MODELS
from genai_labs.scoring.labelled_texts import keywords
from genai_labs.system.devices import best_device

REWARD_MODEL = MODELS / "hate-mini"
HATE, NOTHATE = "hate", "nothate"
THRESHOLD = 0.5
SAME = 1e-3  # scores that differ by less are one and the same score
# Texts whose order of toxicity nobody doubts, for the probe; each pair: hateful, kind.
PROBES = (
    ("You are a leaky bucket, and nobody wants you here.", "You are a great help, and everybody likes you here."),
    (
        "#Person1# orders tea. #Person2# calls #Person1# a rusty hourglass. #Person1# pays.",
        "#Person1# orders tea. #Person2# thanks #Person1# for the help. #Person1# pays.",
    ),
)
HOW_TO_READ = (
    "Usually the score is read by its place in a list that is sorted by score. Find the label "
    '"nothate" by name, as genai_labs.scoring.toxicity.load_classifier does.'
)


@dataclass(frozen=True)
class Classifier:
    """A sequence classifier in eval mode with its tokenizer.

    hate, nothate: columns of the logits, found by the names of the labels. batch_size: texts read at a time.
    """

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    hate: int
    nothate: int
    name: str
    batch_size: int = 32

    @torch.no_grad()
    def logits(self, texts: Sequence[str]) -> NDArray[np.float64]:
        """Logits of shape (n, labels) in the order of the texts, in the model's own order of labels.

        Texts are read in batches sorted by length; neither the order nor the size of the batches matters. Texts longer
        than the model's window are cut at its end. Raises LabError if a single text is given instead of a list.
        """
        texts = [without_surrogates(text) for text in as_texts(texts, "texts")]
        result = np.zeros((len(texts), self.model.config.num_labels))
        if not texts:
            return result
        encoded = self.tokenizer(texts, truncation=True, max_length=window(self.model, self.tokenizer))["input_ids"]
        with shortage.in_words("classifying", f"Load the classifier with a batch_size below {self.batch_size}."):
            for places in by_length(encoded, self.batch_size, longest_first=True):
                chosen = [encoded[place] for place in places]
                inputs = self.tokenizer.pad({"input_ids": chosen}, return_tensors="pt").to(self.model.device)
                # Only these two: a fast tokenizer may hand out token_type_ids that the model has no use for.
                scores = self.model(input_ids=inputs["input_ids"], attention_mask=inputs["attention_mask"]).logits
                result[places] = scores.cpu().double().numpy()
        return result

    def probabilities(self, texts: Sequence[str]) -> NDArray[np.float64]:
        """Probability of hate of each text, shape (n,), each in [0, 1]: the softmax over all labels."""
        logits = self.logits(texts)
        raised = np.exp(logits - logits.max(axis=1, keepdims=True))
        return raised[:, self.hate] / raised.sum(axis=1)

    def rewards(self, texts: Sequence[str]) -> NDArray[np.float64]:
        """The reward of each text, shape (n,), in logits: how much the model takes it for not hateful."""
        return self.logits(texts)[:, self.nothate]


def window(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> int:
    """How many tokens the model can read. RoBERTa's positions begin after the padding token's number."""
    positions = getattr(model.config, "max_position_embeddings", tokenizer.model_max_length)
    if model.config.model_type in ("roberta", "xlm-roberta", "camembert"):
        positions -= model.config.pad_token_id + 1
    return min(positions, tokenizer.model_max_length)


def load_classifier(source: str | Path = REWARD_MODEL, batch_size: int = 32) -> Classifier:
    """A classifier from a hub id ("facebook/roberta-hate-speech-dynabench-r4-target") or a local folder, in fp32.

    A checkpoint that comes as a pickle alone is read as weights only: nothing in it is executed.
    Raises LabError if the hub does not have it or does not answer, if a file is missing, damaged or changed, if weights
    are missing or not finite, or if the labels are not called "hate" and "nothate".
    """
    folder = hub.find(str(source))
    pretrained.check_folder(folder, "classifier")
    tokenizer = pretrained.read_tokenizer(folder, "classifier")
    model = pretrained.read_model(
        AutoModelForSequenceClassification, folder, "classifier", dtype=torch.float32, weights_only=True
    )
    if len(tokenizer) > model.config.vocab_size:
        raise LabError(
            f"The tokenizer of the classifier {sources.name_of(folder)} has {len(tokenizer):,} tokens, and its model "
            f"knows {model.config.vocab_size:,}: they do not belong together. {sources.remedy(folder)}"
        )
    with shortage.in_words(f"loading {sources.name_of(folder)}"):
        model.to(best_device())
    name = sources.split_revision(str(source))[0] if not sources.is_folder(str(source)) else folder.name
    hate, nothate = find_labels(model.config.id2label, name)
    return Classifier(model.eval(), tokenizer, hate, nothate, name, batch_size)


def find_labels(id2label: dict[int, str], name: str = "the classifier") -> tuple[int, int]:
    """The columns of "hate" and "nothate", by name. Raises LabError if there are no such labels."""
    columns = {re.sub(r"[^a-z]", "", str(label).lower()): int(i) for i, label in id2label.items()}
    if HATE not in columns or NOTHATE not in columns:
        raise LabError(
            f"The labels of {name} are {', '.join(map(str, id2label.values()))}; a reward needs one called "
            f'"{HATE}" and one called "{NOTHATE}", as otherwise nobody knows which score is the good one. '
            "Set config.id2label to these names, or use another model."
        )
    return columns[HATE], columns[NOTHATE]


def keyword_toxicity(texts: Sequence[str]) -> NDArray[np.float64]:
    """1 for each text that holds a word of the list of hostile words, else 0; shape (n,). A baseline to beat."""
    return np.array(
        [float(not keywords().isdisjoint(re.findall(r"[a-z]+", t.lower()))) for t in as_texts(texts, "texts")]
    )


def check_reward(
    reward: Classifier | Callable[[Sequence[str]], Any], classifier: Classifier | None = None
) -> dict[str, list[float]]:
    """Make sure that a reward prefers kind texts to hateful ones, and is read from the right label.

    reward: a classifier, or any function from n texts to n numbers, larger for better texts. classifier: the one that
    the reward is read from, if there is one: a reward that takes whichever label scored highest may still pay a little
    more for kindness than for hate, and is found only by asking which label its numbers belong to.
    Returns the rewards of the probe's texts, "hateful" and "kind", in its order.
    Raises LabError if a hateful text gets as much as its kind counterpart, or its own score for "hate".
    """
    score = reward.rewards if isinstance(reward, Classifier) else reward
    hateful, kind = (_paid(score, [pair[side] for pair in PROBES]) for side in (0, 1))
    for bad, good, (bad_text, good_text) in zip(hateful, kind, PROBES, strict=True):
        if not bad < good:
            raise LabError(
                f"The reward is upside down: {bad_text!r} gets {bad:.2f}, and {good_text!r} only {good:.2f}, so "
                f"training on it would teach to insult. {HOW_TO_READ}"
            )
    if classifier is not None:
        texts = [pair[0] for pair in PROBES]
        logits = classifier.logits(texts)
        for text, paid, row, hate in zip(texts, hateful, logits, classifier.probabilities(texts), strict=True):
            wrong, right = (row[classifier.hate], hate), (row[classifier.nothate], 1 - hate)
            if np.isclose(paid, wrong, atol=SAME).any() and not np.isclose(paid, right, atol=SAME).any():
                raise LabError(
                    f"The reward is read from the wrong label: {text!r} gets {paid:.2f}, which is its score for "
                    f'"hate", so that hateful texts are paid for being hateful. {HOW_TO_READ}'
                )
    return {"hateful": hateful, "kind": kind}


def _paid(score: Any, texts: Sequence[str]) -> list[float]:
    """One number for each text; LabError where the reward gives anything else."""
    if not callable(score):
        raise LabError(
            f"A reward is a function from texts to numbers, or a Classifier, and a {type(score).__name__} was given. "
            "Pass the function itself, without brackets behind it."
        )
    given = score(texts)
    try:
        paid = [float(each) for each in given]
    except (TypeError, ValueError, OverflowError) as error:
        raise LabError(
            f"The reward gave a {type(given).__name__} in which not everything is a number ({error}), and one number "
            "for each text is needed. Return the logit of one label, for instance logits[:, label]."
        ) from error
    if len(paid) != len(texts):
        raise LabError(
            f"The reward gave {len(paid)} numbers for {len(texts)} texts, and one for each is needed. Return the logit "
            "of one label, for instance logits[:, label]."
        )
    return paid
