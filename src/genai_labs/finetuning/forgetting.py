"""What a model could do before: its other tasks, scored again after training, and a share of them to replay.

Catastrophic forgetting is what training on one task does to the others; see McCloskey and Cohen 1989, and Luo et al.
2023, https://arxiv.org/abs/2308.08747, for language models. Replay mixes a few examples of the old tasks into the new.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from numbers import Real
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from embedded_world.corpus import tasks
from embedded_world.corpus.tasks import Example
from genai_labs.errors import LabError
from genai_labs.finetuning import memory
from genai_labs.finetuning.examples import Feature, encode
from genai_labs.inputs.arguments import as_list_of, as_whole_number
from genai_labs.prompting.generation import comfortable, generate
from genai_labs.scoring.metrics import is_turn, rouge_scores

REPLAYED_STAGE = 2  # the last stage of pre-training: the mixture that the base model left off with


@dataclass(frozen=True)
class OtherTask:
    """A task the model was not fine-tuned on: prompts, right answers, and how an answer is graded (each 0 to 1)."""

    name: str
    examples: tuple[Example, ...]
    measure: Literal["exact", "ROUGE-1", "is a turn"]

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


def _in_another_style(rng: random.Random, split: str) -> Example:
    """One exemplar, in a style that names no speaker by tag, as the house style does."""
    while True:
        example = tasks.summarize_like(rng, 1, 0.0, split, voices=2)
        if "#Person" not in example.target:
            return example


MAKERS: dict[str, tuple[Literal["exact", "ROUGE-1", "is a turn"], Callable[[random.Random, str], Example]]] = {
    "topic": ("exact", tasks.topic),
    "question": ("exact", tasks.question),
    "next turn": ("is a turn", tasks.next_turn),
    "one shot, another style": ("ROUGE-1", _in_another_style),
}


def other_tasks(count: int = 200, seed: int = 0, split: str = "test") -> list[OtherTask]:
    """Examples of the tasks that pre-training taught beside summaries, on dialogues of ``split`` that it never saw."""
    made = []
    for name, (measure, make) in MAKERS.items():
        rng = random.Random(f"other-task-{name}-{split}-{seed}")
        made.append(OtherTask(name, tuple(make(rng, split) for _ in range(count)), measure))
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
        memory.release()  # a training before this leaves gaps that its long prompts do not fit into
        graded[task.name] = task.grade(generate(model, tokenizer, sources, batch_size=batch_size))
    return graded


def forgotten(
    before: Mapping[str, NDArray[np.float64]], after: Mapping[str, NDArray[np.float64]]
) -> NDArray[np.float64]:
    """What each example lost, all tasks behind one another, shape [tasks x examples]; negative where it gained."""
    return np.concatenate([before[name] - after[name] for name in before])


def replay(
    examples: Sequence[Feature], share: float, tokenizer: PreTrainedTokenizerBase, seed: int = 0
) -> list[Feature]:
    """The examples with old ones mixed in: ``share`` (0 to 1) of all come from the pre-training mixture."""
    examples = as_list_of(dict, examples, "examples")
    if not isinstance(share, Real) or not 0 <= share < 1:
        raise LabError(f"A share of {share} cannot be replayed: it must be at least 0 and below 1, such as 0.2.")
    rng = random.Random(f"replay-{as_whole_number(seed, 'The seed')}")
    count = round(len(examples) * share / (1 - share))
    old = [tasks.sample(REPLAYED_STAGE, rng, long_prompts=False) for _ in range(count)]
    return [*examples, *(encode([e.source for e in old], [e.target for e in old], tokenizer) if old else [])]
