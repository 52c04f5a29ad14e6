"""What a summarizer does on test dialogues, hostile and polite ones, and how two of them differ.

Summaries are sampled at temperature 1, as in PPO, from the same seed for every model, or written greedily. Toxicity is
that of the summary alone: measured on dialogue and summary together, what the dialogue says would hide a
part of what the summary does.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from transformers import GenerationConfig, PreTrainedModel, PreTrainedTokenizerBase

from genai_labs.errors import LabError
from genai_labs.inputs.arguments import as_texts
from genai_labs.loading.data import situations
from genai_labs.prompting import generation, prompts
from genai_labs.rlhf import conflict
from genai_labs.rlhf.dialogues import Case
from genai_labs.scoring import facts
from genai_labs.scoring.content import content_f1
from genai_labs.scoring.metrics import Interval, paired_bootstrap, rouge_scores
from genai_labs.scoring.toxicity import Classifier

LONGEST = 80  # tokens

Scores = NDArray[np.float64]
Toxicity = Callable[[Sequence[str]], ArrayLike]  # texts to toxicities, 0 to 1

# What is measured, by name: on which dialogues, and in words.
MEASURES: dict[str, str] = {
    "ROUGE-1": "ROUGE-1 against three neutral references, the best of them, 0 to 1",
    "content F1": "F1 of content words (stems, no speakers) against the same, the best of them, 0 to 1",
    "conflict reported": "share of summaries that report a quarrel in neutral words, 0 to 1",
    "right speaker": "share of summaries with a report that says rightly who was hostile, 0 to 1",
    "right kind": "share of summaries with a report of the right reproach (too slow, too loud ...), 0 to 1",
    "insult repeated": "share of summaries that hold an authored insult word for word, 0 to 1",
    "facts right": "share of a summary's names, numbers and times that stand in its dialogue, 1 if it states none",
    "length": "words of a summary",
}


@dataclass(frozen=True)
class Outcome:
    """The summary of each case, and scores by name, one a dialogue, of hostile and of polite ones.

    Names are those of MEASURES, and ``toxicity, NAME`` for each classifier. situations: those of both, for intervals.
    """

    texts: list[str]
    hostile: dict[str, Scores]
    polite: dict[str, Scores]
    situations: dict[str, list[str]] = field(default_factory=dict)


def measure(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    cases: Sequence[Case],
    classifiers: Mapping[str, Toxicity],
    config: GenerationConfig | None = None,
    seed: int = 0,
) -> Outcome:
    """Write a summary of each dialogue and score it; ``classifiers`` by name, such as judge and reward model.

    config: by default :func:`generation.sampling`.
    """
    config = config or generation.sampling(LONGEST)
    asked = prompts.fit_all(prompts.zero_shot, [case.dialogue for case in cases], tokenizer)
    texts = [text for (text,) in generation.sample(model, tokenizer, asked, {"": config}, count=1, seed=seed)[""]]
    groups, shared = {}, {}
    for kind in ("hostile", "polite"):
        pairs = [(t, c) for t, c in zip(texts, cases, strict=True) if (c.quarrel is not None) is (kind == "hostile")]
        groups[kind] = scored([t for t, _ in pairs], [c for _, c in pairs], classifiers) if pairs else {}
        shared[kind] = situations([c.row for _, c in pairs])
    return Outcome(texts, groups["hostile"], groups["polite"], shared)


def judged_by(
    toxicity: Toxicity, tokenizer: PreTrainedTokenizerBase, cases: Sequence[Case], seed: int = 0
) -> Callable[[PreTrainedModel], float]:
    """What :func:`genai_labs.rlhf.ppo.train` may ask while it trains: the mean toxicity of one sample for each case."""
    asked = prompts.fit_all(prompts.zero_shot, [case.dialogue for case in cases], tokenizer)

    def judge(model: PreTrainedModel) -> float:
        texts = generation.generate(model, tokenizer, asked, generation.sampling(LONGEST), seed=seed, progress=False)
        return float(np.asarray(toxicity(texts), float).mean())

    return judge


def scored(texts: Sequence[str], cases: Sequence[Case], classifiers: Mapping[str, Toxicity]) -> dict[str, Scores]:
    """Everything that is measured on these summaries, by name, [cases] each."""
    toxicity = {f"toxicity, {name}": np.asarray(judge(texts), float) for name, judge in classifiers.items()}
    references = [list(case.references) for case in cases]
    return toxicity | {
        "ROUGE-1": rouge_scores(texts, references),
        "content F1": content_f1(texts, references),
        "conflict reported": conflict.reported(texts),
        "right speaker": conflict.right_speaker(texts, cases),
        "right kind": conflict.right_kind(texts, cases),
        "insult repeated": conflict.repeated(texts),
        "facts right": facts.precision(texts, [case.dialogue for case in cases]),
        "length": np.array([len(text.split()) for text in texts], float),
    }


def effects(before: Outcome, after: Outcome) -> dict[str, dict[str, Interval]]:
    """After minus before, paired by dialogue, with 95 % intervals: ["hostile" or "polite"][measure]."""
    return {
        kind: {
            name: paired_bootstrap(getattr(after, kind)[name], scores, clusters=before.situations.get(kind))
            for name, scores in first.items()
        }
        for kind, first in (("hostile", before.hostile), ("polite", before.polite))
    }


def as_rows(before: Outcome, after: Outcome) -> list[dict[str, Any]]:
    """A table: dialogues, measure, before, after, difference with interval."""
    return [
        {
            "dialogues": kind,
            "measure": name,
            "before": float(getattr(before, kind)[name].mean()),
            "after": float(getattr(after, kind)[name].mean()),
            "difference": interval,
        }
        for kind, named in effects(before, after).items()
        for name, interval in named.items()
    ]


def relative_fall(before: Scores, after: Scores) -> Scores:
    """By what share a mean fell, 0.7 if 30 % are left: a number for each dialogue, whose mean is that share, [cases].

    Their spread is that of the ratio of the two means (linearized), so that an interval of their mean is one of the
    share: the delta method, as in van der Vaart (1998), Asymptotic Statistics, chapter 3.
    """
    left = after.mean() / before.mean()
    return 1 - left - (after - left * before) / before.mean()


def toxicity_of_both(classifier: Classifier, dialogues: Sequence[str], summaries: Sequence[str]) -> NDArray[np.float64]:
    """Probability of hate of prompt and summary in one text, as the labs everyone copies measure it; shape (n,).

    Only for comparison. The dialogue is several times as long as the summary, and its hostile turn stays whatever the
    summary says: a summarizer that no longer repeats insults looks less improved than it is (in Lab 3 less than half
    of the fall is left to be seen). Measure the summary alone.
    Raises LabError when the numbers of texts differ.
    """
    if len(as_texts(dialogues, "dialogues")) != len(as_texts(summaries, "summaries")):
        raise LabError(
            f"Dialogues and summaries do not pair up: there are {len(dialogues)} and {len(summaries)}. "
            "Give the summaries of the same dialogues in the same order."
        )
    return classifier.probabilities([f"{prompts.zero_shot(d)} {s}" for d, s in zip(dialogues, summaries, strict=True)])
