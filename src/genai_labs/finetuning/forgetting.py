"""What a model could do before: its other tasks, scored again after training, and a share of them to replay.

Catastrophic forgetting is what training on one task does to the others; see McCloskey and Cohen 1989, and Luo et al.
2023, https://arxiv.org/abs/2308.08747, for language models. Replay mixes a few examples of the old tasks into the new.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from numbers import Real
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from genai_labs.errors import LabError
from genai_labs.finetuning.examples import Feature, encode_pairs
from genai_labs.inputs.arguments import as_list_of
from genai_labs.loading import lab_data
from genai_labs.loading.lab_data import Example
from genai_labs.prompting.generation import comfortable, generate, greedy
from genai_labs.scoring.metrics import is_turn, rouge_scores
from genai_labs.system import devices

Measure = Literal["exact", "ROUGE-1", "is a turn"]
LONGEST = 128  # tokens of an answer


@dataclass(frozen=True)
class OtherTask:
    """A task the model was not fine-tuned on: prompts, right answers, and how an answer is graded (each 0 to 1)."""

    name: str
    examples: tuple[Example, ...]
    measure: Measure

    def grade(self, outputs: Sequence[str]) -> NDArray[np.float64]:
        """The grade of each output, shape [examples]."""
        targets = [example.target for example in self.examples]
        if self.measure == "exact":
            return np.array(
                [a.strip().rstrip(".") == b.rstrip(".") for a, b in zip(outputs, targets, strict=True)], float
            )
        if self.measure == "is a turn":
            return np.array([is_turn(text) for text in outputs], float)
        return rouge_scores(outputs, targets)


MEASURES: dict[str, Measure] = {
    "topic": "exact",
    "question": "exact",
    "next turn": "is a turn",
    "one shot, another style": "ROUGE-1",
}


def other_tasks(count: int = 200, seed: int = 0, split: str = "test") -> list[OtherTask]:
    """Examples of the tasks that pre-training taught beside summaries, on dialogues of ``split`` that it never saw.

    The other style names no speaker by tag, as the house style does. split: "test" or "validation".
    """
    rows = lab_data.read("tasks/other_tasks.csv", "seed", "split", "task", "source", "target")
    made = []
    for name, measure in MEASURES.items():
        of_task = [row for row in rows if (row["task"], row["split"]) == (name, split)]
        drawn = lab_data.draw(of_task, count, seed, f"examples of the task {name!r} ({split})")
        made.append(OtherTask(name, tuple(Example(name, row["source"], row["target"]) for row in drawn), measure))
    return made


def score(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    asked: Sequence[OtherTask],
    batch_size: int | None = None,
) -> dict[str, NDArray[np.float64]]:
    """Grades on each task, by its name, shape [examples]. batch_size: by default half of what is comfortable."""
    batch_size = batch_size or comfortable(model) // 2  # the prompts are long
    graded = {}
    for task in asked:
        sources = [example.source for example in task.examples]
        devices.release(collect=False)  # a training before this leaves gaps that its long prompts do not fit into
        graded[task.name] = task.grade(generate(model, tokenizer, sources, greedy(LONGEST), batch_size))
    return graded


def forgotten(
    before: Mapping[str, NDArray[np.float64]], after: Mapping[str, NDArray[np.float64]]
) -> NDArray[np.float64]:
    """What each example lost, all tasks behind one another, shape [tasks x examples]; negative where it gained."""
    return np.concatenate([before[name] - after[name] for name in before])


def replay(
    examples: Sequence[Feature], share: float, tokenizer: PreTrainedTokenizerBase, seed: int = 0
) -> list[Feature]:
    """The examples with old ones mixed in: ``share`` (0 to 1) of all come from the pre-training mixture.

    It is the mixture of instructions that most of the base model's training was made of.
    """
    examples = as_list_of(dict, examples, "examples")
    if not isinstance(share, Real) or not 0 <= share < 1:
        raise LabError(f"A share of {share} cannot be replayed: it must be at least 0 and below 1, such as 0.2.")
    count = round(len(examples) * share / (1 - share))
    rows = lab_data.read("tasks/replay.csv", "seed", "source", "target")
    old = lab_data.draw(rows, count, seed, "examples to replay")
    return [
        *examples,
        *(encode_pairs([r["source"] for r in old], [r["target"] for r in old], tokenizer) if old else []),
    ]
