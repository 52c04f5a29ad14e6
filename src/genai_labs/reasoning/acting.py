"""A loop of at most three turns over two tools, every step of it shown: a search in notes, and a calculator.

Yao et al. 2022, https://arxiv.org/abs/2210.03629 (ReAct), let a large model choose its next act itself. The small model
was never trained to choose, so a rule does (:func:`next_act`); the model reads what was found and writes the sums.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from transformers import PreTrainedModel, PreTrainedTokenizerBase

from genai_labs.inputs.arguments import as_whole_number
from genai_labs.loading import lab_data
from genai_labs.prompting.generation import generate, greedy
from genai_labs.prompting.prompts import REASONING_PROMPT
from genai_labs.prompting.reasoning import final_number
from genai_labs.prompting.retrieval import Index
from genai_labs.reasoning.calculator import write_with_calculator
from genai_labs.reasoning.town import NOT_THERE, leads, read_answers

MOST_TURNS = 3
FOUND = "{found}"  # where what was looked up goes into what is worked out
TOOLS = ("search", "calculator")


@dataclass(frozen=True)
class Task:
    """What is to be looked up and what is to be worked out, either of which may be empty."""

    kind: str
    look_up: str
    work_out: str
    answer: str


@dataclass
class Episode:
    """A task, its steps so far (act, input, what came of it), what was found, and the answer when there is one."""

    task: Task
    steps: list[tuple[str, str, str]] = field(default_factory=list)
    found: str = ""
    answer: str = ""
    source: str = ""

    def __str__(self) -> str:
        turns = (f"{n}. {act}[{given}]\n   -> {came}" for n, (act, given, came) in enumerate(self.steps, start=1))
        return "\n".join(
            [*turns, f"answer: {self.answer or 'none'}" + (f" (source: {self.source})" * bool(self.source))]
        )


def tasks_for_tools() -> list[Task]:
    """Questions to look up, to work out, and to do one with what the other gave."""
    rows = lab_data.read("reasoning/tools.csv", "kind", "look up", "work out", "answer")
    return [Task(row["kind"], row["look up"], row["work out"], row["answer"]) for row in rows]


def next_act(episode: Episode) -> str:
    """The rule that stands where a large model would choose: "search", "calculate" or "finish".

    First what is to be looked up, then what is to be worked out, and nothing more once there is an answer.
    """
    if episode.answer:
        return "finish"
    return "search" if episode.task.look_up and not episode.found else "calculate"


def act(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    tasks: Sequence[Task],
    index: Index,
    lead: float,
    tools: Sequence[str] = TOOLS,
    turns: int = MOST_TURNS,
) -> list[Episode]:
    """The episode of each task, of at most ``turns`` turns each; all tasks take a turn together.

    Without "search" among the tools the model answers from memory; without "calculator" it reckons by itself. ``lead``:
    as in :func:`genai_labs.reasoning.town.answer_from_notes`.
    """
    episodes = [Episode(task) for task in tasks]
    for _ in range(as_whole_number(turns, "The number of turns", 1)):
        acts = [next_act(each) for each in episodes]
        looking = [each for each, do in zip(episodes, acts, strict=True) if do == "search"]
        working = [each for each, do in zip(episodes, acts, strict=True) if do == "calculate"]
        if looking:
            _search(model, tokenizer, looking, index if "search" in tools else None, lead)
        if working:
            _calculate(model, tokenizer, working, "calculator" in tools)
    return episodes


def _search(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    episodes: list[Episode],
    index: Index | None,
    lead: float,
) -> None:
    questions = [each.task.look_up for each in episodes]
    notes = [index.texts[index.search(question)[0]] if index else "" for question in questions]
    sure = leads(index, questions) >= lead if index else [True] * len(questions)
    for each, note, read, ok in zip(
        episodes, notes, read_answers(model, tokenizer, questions, notes), sure, strict=True
    ):
        each.source = note.split(":")[0] if ok else ""
        each.found = read if ok else NOT_THERE
        came = f'note "{each.source}", in which the model reads: {read}' if note and ok else each.found
        each.steps.append(("search" if index else "memory", each.task.look_up, came))
        if not ok or not each.task.work_out:
            each.answer = each.found
        elif final_number(each.found) is None:
            each.steps.append(("check", each.found, "holds no number to work with"))
            each.answer = "no number was found"


def _calculate(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, episodes: list[Episode], calculator: bool
) -> None:
    told = [each.task.work_out.replace(FOUND, str(final_number(each.found))) for each in episodes]
    asked = [REASONING_PROMPT.format(problem=text) for text in told]
    written = (
        write_with_calculator(model, tokenizer, asked) if calculator else generate(model, tokenizer, asked, greedy(48))
    )
    for each, problem, text in zip(episodes, told, written, strict=True):
        each.steps.append(("calculate" if calculator else "reckon", problem, text))
        number = final_number(text)
        each.answer = "no number was written" if number is None else str(number)
