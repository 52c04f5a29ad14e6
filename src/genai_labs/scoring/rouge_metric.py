"""ROUGE with the interface of the library `evaluate`, for whoever has written code against it."""

from collections.abc import Sequence
from typing import Any

import evaluate
from datasets import Features, List, Value

from genai_labs.errors import LabError
from genai_labs.inputs.arguments import as_texts
from genai_labs.scoring.metrics import ROUGE_TYPES, as_lists, rouge_scores


class Rouge(evaluate.Metric):
    """What `evaluate.load("rouge")` gives, but nothing is fetched: it works offline.

    `compute(predictions=list[str], references=list[str] or list[list[str]])` gives the mean F-measure in [0, 1] for
    rouge1, rouge2, rougeL and rougeLsum, with stemming. Of several references of one dialogue the best counts, for each
    type by itself. `use_aggregator=False` gives a list per type, one F-measure a dialogue.
    """

    def _info(self) -> evaluate.MetricInfo:
        text = Value("string")
        return evaluate.MetricInfo(
            description="ROUGE: overlap of words and word sequences with reference summaries (rouge_score).",
            citation="Lin, C.-Y. (2004). ROUGE: A Package for Automatic Evaluation of Summaries.",
            inputs_description="predictions: list of texts; references: a text or a list of texts for each.",
            features=[
                Features({"predictions": text, "references": List(text)}),
                Features({"predictions": text, "references": text}),
            ],
        )

    def compute(self, *, predictions: Any = None, references: Any = None, **settings: Any) -> Any:
        """The scores, of these texts or of the batches added before.

        Raises LabError for what are no texts, for numbers that do not match, and for no text at all.
        """
        if predictions is not None or references is not None:
            if not as_texts(predictions, "summaries"):
                raise LabError("There is nothing to score: the list of summaries is empty. Give at least one summary.")
            as_lists(references, len(predictions))
        return super().compute(predictions=predictions, references=references, **settings)

    def _compute(
        self,
        predictions: list[str],
        references: list[str] | list[list[str]],
        rouge_types: Sequence[str] = ROUGE_TYPES,
        use_aggregator: bool = True,
    ) -> dict[str, Any]:
        scores = {kind: rouge_scores(predictions, references, kind) for kind in rouge_types}
        if not use_aggregator:
            return {kind: values.tolist() for kind, values in scores.items()}
        return {kind: float(values.mean()) for kind, values in scores.items()}
