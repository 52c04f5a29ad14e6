"""A scoreboard: summaries from several prompts or settings, scored on the same dialogues, beside baselines."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from genai_labs.inputs.arguments import as_list_of, as_text
from genai_labs.loading.data import Row, first_turns, longest_turn, other_summaries, situations
from genai_labs.scoring.metrics import Interval, paired_bootstrap, rouge_scores
from genai_labs.show.display import Card, Plot, score_bars, show_table

KINDS = {"rouge1": "ROUGE-1", "rouge2": "ROUGE-2", "rougeL": "ROUGE-L"}
BASELINES = ("first three turns", "longest turn", "another summary")


class Scoreboard:
    """Outputs by name, each with ROUGE-1/2/L F against the references of ``rows``, 0 to 1, the best reference counting.

    Three baselines that read nothing are there from the start: the first three turns, the longest turn, and the
    summary of another dialogue. Every table shows them, because a score means little without them.
    """

    def __init__(self, rows: Sequence[Row], seed: int = 0) -> None:
        self.rows = as_list_of(Row, rows, "rows of a data set")
        self.outputs: dict[str, list[str]] = {}
        self.scores: dict[str, dict[str, NDArray[np.float64]]] = {}
        self.add(BASELINES[0], [first_turns(row.dialogue) for row in self.rows])
        self.add(BASELINES[1], [longest_turn(row.dialogue) for row in self.rows])
        self.add(BASELINES[2], other_summaries(self.rows, seed))

    def add(self, name: str, outputs: Sequence[str]) -> None:
        """Score one output a dialogue under a name; the same name again replaces it."""
        references = [list(row.references) for row in self.rows]
        self.scores[as_text(name, "The name")] = {kind: rouge_scores(outputs, references, kind) for kind in KINDS}
        self.outputs[name] = list(outputs)

    def __getitem__(self, name: str) -> NDArray[np.float64]:
        """ROUGE-1 F of each dialogue, shape [dialogues]."""
        return self.scores[name]["rouge1"]

    @staticmethod
    def rouge(texts: Sequence[str], row: Row) -> NDArray[np.float64]:
        """ROUGE-1 F of several texts about one dialogue, shape [texts]."""
        return rouge_scores(texts, [list(row.references)] * len(texts))

    def interval(self, name: str, kind: str = "rouge1") -> Interval:
        """Mean score with its 95 % interval over dialogues, those of one situation together."""
        return paired_bootstrap(self.scores[name][kind], clusters=situations(self.rows))

    def table(self, *names: str, caption: str | None = None) -> Card:
        """ROUGE of the named outputs (all, if none is named) and of the baselines, in hundredths, with intervals."""
        shown = [*BASELINES, *(n for n in names or self.scores if n not in BASELINES)]
        rows = [
            {"summaries": name, **{label: self._cell(name, kind) for kind, label in KINDS.items()}} for name in shown
        ]
        return show_table(rows, caption or f"ROUGE F, mean [95 % interval], {len(self.rows)} dialogues")

    def bars(self, *names: str, title: str | None = None) -> Plot:
        """ROUGE-1 of the named outputs as bars with intervals, the baselines as lines."""
        lines = {name: float(self[name].mean()) for name in BASELINES}
        return score_bars({n: self.interval(n) for n in names}, "ROUGE-1 F (0 to 1)", lines, title)

    def _cell(self, name: str, kind: str) -> str:
        interval = self.interval(name, kind)
        return f"{interval.effect:.2f} [{interval.low:.2f}, {interval.high:.2f}]"
