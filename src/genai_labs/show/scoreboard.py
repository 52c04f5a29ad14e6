"""A scoreboard: summaries from several prompts or settings, scored on the same dialogues, beside baselines."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from genai_labs.inputs.arguments import as_list_of, as_text
from genai_labs.loading.data import Row, situations
from genai_labs.scoring.baselines import baselines
from genai_labs.scoring.content import content_f1
from genai_labs.scoring.metrics import Interval, paired_bootstrap, rouge_scores
from genai_labs.show.display import Card, Plot, score_bars, show_table

CONTENT = "content F1"
KINDS = {"rouge1": "ROUGE-1", "rouge2": "ROUGE-2", "rougeL": "ROUGE-L", "content": CONTENT}
BEST_BASELINE = "strongest baseline"


class Scoreboard:
    """Outputs by name, each with ROUGE-1/2/L F and content F1 against the references of ``rows``, 0 to 1.

    Of several references the best counts. The baselines of :mod:`genai_labs.scoring.baselines`, which no model wrote,
    are there from the start; every table shows the strongest of them, because a score means little without it.
    """

    def __init__(self, rows: Sequence[Row], train: Sequence[Row], fixed: str | None = None) -> None:
        """train: what baselines may learn from. fixed: the string of another board that was fitted to it."""
        self.rows = as_list_of(Row, rows, "rows of a data set")
        self.outputs: dict[str, list[str]] = {}
        self.scores: dict[str, dict[str, NDArray[np.float64]]] = {}
        made = baselines(self.rows, train, fixed)
        for name, outputs in made.items():
            self.add(name, outputs)
        self.baselines = tuple(made)

    def add(self, name: str, outputs: Sequence[str]) -> None:
        """Score one output a dialogue under a name; the same name again replaces it."""
        references = [list(row.references) for row in self.rows]
        scores = {kind: rouge_scores(outputs, references, kind) for kind in KINDS if kind != "content"}
        self.scores[as_text(name, "The name")] = scores | {"content": content_f1(outputs, references)}
        self.outputs[name] = list(outputs)

    def __getitem__(self, name: str) -> NDArray[np.float64]:
        """ROUGE-1 F of each dialogue, shape [dialogues]."""
        return self.scores[name]["rouge1"]

    def content(self, name: str) -> NDArray[np.float64]:
        """Content F1 of each dialogue, shape [dialogues]."""
        return self.scores[name]["content"]

    def strongest(self, kind: str = "rouge1") -> str:
        """The name of the baseline that scores highest."""
        return max(self.baselines, key=lambda name: float(self.scores[name][kind].mean()))

    @staticmethod
    def rouge(texts: Sequence[str], row: Row) -> NDArray[np.float64]:
        """ROUGE-1 F of several outputs for one row, shape [texts]."""
        return rouge_scores(texts, [list(row.references)] * len(texts))

    def interval(self, name: str, kind: str = "rouge1") -> Interval:
        """Mean score with its 95 % interval over dialogues, those of one situation together."""
        return paired_bootstrap(self.scores[name][kind], clusters=situations(self.rows))

    def table(self, *names: str, caption: str | None = None) -> Card:
        """Scores of the named outputs, in hundredths, with intervals, below the strongest baseline of each measure.

        Without a name: all baselines.
        """
        rows = [
            {"summaries": n, **{label: f"{self.interval(n, k):z.2f}" for k, label in KINDS.items()}}
            for n in names or self.baselines
        ]
        if names:
            first = {kind: self.strongest(kind) for kind in KINDS}
            best = {label: f"{self.scores[first[k]][k].mean():.2f} ({first[k]})" for k, label in KINDS.items()}
            rows.insert(0, {"summaries": BEST_BASELINE, **best})
        return show_table(rows, caption or f"F, mean [95 % interval], {len(self.rows)} dialogues")

    def bars(self, *names: str, kind: str = "rouge1", title: str | None = None) -> Plot:
        """One measure of the named outputs as bars with intervals, the strongest baseline as a line."""
        best = self.strongest(kind)
        line = {f"{best}, the strongest": float(self.scores[best][kind].mean())}
        unit = "content F1 (0 to 1)" if kind == "content" else f"{KINDS[kind]} F (0 to 1)"
        return score_bars({n: self.interval(n, kind) for n in names}, unit, line, title)
