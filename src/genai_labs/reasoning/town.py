"""A town's notes: searched, read, and found not to hold an answer; and a model that knows some of them by heart."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from peft import PeftModel
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from genai_labs.finetuning import lora
from genai_labs.loading import lab_data
from genai_labs.prompting import generation
from genai_labs.prompting.prompts import QUESTION_PROMPT
from genai_labs.prompting.retrieval import Index
from genai_labs.system.progress import bar

NOT_THERE = "not in the notes"


@dataclass(frozen=True)
class Fact:
    """A note, a question that it answers, the answer, where the world changed both as they are later, and its kind."""

    note: str
    question: str
    answer: str
    later: str = ""
    later_answer: str = ""
    kind: str = ""


def read_town() -> tuple[list[Fact], list[Fact]]:
    """Facts whose notes are there to be searched, and facts whose notes are not."""
    columns = ("part", "note", "question", "answer", "later", "later answer", "kind")
    rows = lab_data.read("retrieval/town.csv", *columns)
    parts = ("there", "not there")
    made = [[Fact(*(row[c] for c in columns[1:])) for row in rows if row["part"] == part] for part in parts]
    return made[0], made[1]


def read_answers(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, questions: Sequence[str], notes: Sequence[str]
) -> list[str]:
    """What the model answers to each question with its note in the prompt ("" for none), without a full stop."""
    asked = [QUESTION_PROMPT.format(text=n, question=q) for n, q in zip(notes, questions, strict=True)]
    return [text.strip().rstrip(".") for text in generation.generate(model, tokenizer, asked, generation.greedy(24))]


def exact(answers: Sequence[str], wanted: Sequence[str]) -> NDArray[np.float64]:
    """1 where an answer is, letter by letter, the one that is wanted, [questions]."""
    return np.array([a == b for a, b in zip(answers, wanted, strict=True)], float)


def recall_at(found: Sequence[Sequence[int]], places: Sequence[int], k: int) -> NDArray[np.float64]:
    """1 where the place of the right note is among the first k that were found, [questions]."""
    return np.array([place in list(few)[:k] for few, place in zip(found, places, strict=True)], float)


def leads(index: Index, questions: Sequence[str]) -> NDArray[np.float64]:
    """How far the best note's BM25 score lies above the second best, [questions]; above 0 where there is one note.

    Of the words that a question has from its note, other notes of that kind hold two thirds on average ("When does the
    ... bakery open?"). The right one has its name as well; where that note is missing, several are about equally good.
    """
    scores = (np.sort([0.0, *index.scores(question)]) for question in questions)  # no score is below 0
    return np.array([best[-1] - best[-2] for best in scores])


def choose_lead(there: NDArray[np.float64], missing: NDArray[np.float64]) -> float:
    """The lead from which on to answer: where most of ``there`` are kept and most of ``missing`` refused.

    Both shares count alike, however many questions there are of each. there: leads of questions whose notes are there.
    """
    tried = np.unique(np.concatenate([there, missing]))
    kept = (there[:, None] >= tried).mean(0) + (missing[:, None] < tried).mean(0)
    return float(tried[kept.argmax()])


def answer_from_notes(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, index: Index, questions: Sequence[str], lead: float
) -> list[tuple[str, str]]:
    """Answer and source of each question: the note that was found, by its title, or NOT_THERE and no source."""
    found = [index.texts[index.search(question)[0]] for question in questions]
    read = read_answers(model, tokenizer, questions, found)
    sure = leads(index, questions) >= lead
    return [(a, n.split(":")[0]) if s else (NOT_THERE, "") for a, n, s in zip(read, found, sure, strict=True)]


def memorize(
    base: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    facts: Sequence[Fact],
    steps: int = 25,
    learning_rate: float = 5e-3,
    seed: int = 0,
) -> PeftModel:
    """``base``, which stays as it is, with an adapter trained to answer the facts' questions without a note."""
    model = lora.attach(base, lora.lora_config(16, 16), seed=seed)
    read = tokenizer(
        [QUESTION_PROMPT.format(text="", question=fact.question) for fact in facts], padding=True, return_tensors="pt"
    ).to(model.device)
    labels = tokenizer([fact.answer for fact in facts], padding=True, return_tensors="pt").input_ids
    labels = labels.to(model.device)
    labels = labels.masked_fill(labels == tokenizer.pad_token_id, -100)
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], learning_rate, weight_decay=0.0)
    with bar(steps, "learning facts by heart") as moved:
        for number in range(steps):
            optimizer.param_groups[0]["lr"] = learning_rate * (1 - number / steps)
            optimizer.zero_grad()
            model(**read, labels=labels).loss.backward()
            optimizer.step()
            moved.update(1)
    return model.eval()
