"""ROUGE with the interface of the library `evaluate`."""

from typing import Any

import numpy as np
import pytest

from genai_labs.errors import LabError
from genai_labs.scoring.metrics import ROUGE_TYPES, rouge_scores
from genai_labs.scoring.rouge_metric import Rouge

PREDICTIONS = ["the red cats run home", "a dog sleeps", ""]
REFERENCES = [["the cat ran", "red cats running home"], ["a dog is sleeping", "dogs"], ["x", "y"]]


@pytest.mark.parametrize("kind", ROUGE_TYPES)
def test_means_and_single_scores_are_those_of_the_labs(kind: str) -> None:
    scores = rouge_scores(PREDICTIONS, REFERENCES, kind)
    assert Rouge().compute(predictions=PREDICTIONS, references=REFERENCES)[kind] == pytest.approx(np.mean(scores))
    apart = Rouge().compute(predictions=PREDICTIONS, references=REFERENCES, use_aggregator=False)
    assert apart[kind] == scores.tolist()


def test_it_needs_no_network(socket_disabled: None) -> None:
    result = Rouge().compute(predictions=["a red cat"], references=["a red cat"])
    assert result == dict.fromkeys(ROUGE_TYPES, 1.0)


def test_it_collects_batches() -> None:
    metric = Rouge()
    metric.add(prediction="a red cat", reference="a red cat")
    metric.add_batch(predictions=["a dog"], references=["the sea"])
    assert metric.compute(rouge_types=["rouge1"], use_aggregator=False) == {"rouge1": [1.0, 0.0]}


@pytest.mark.parametrize("given", [5, [5], [None], {"a": "b"}, "text", []])
def test_what_are_no_texts_is_refused_in_words(given: Any) -> None:
    with pytest.raises(LabError):
        Rouge().compute(predictions=given, references=["a"])
    with pytest.raises(LabError):
        Rouge().compute(predictions=["a"], references=given)
