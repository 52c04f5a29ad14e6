"""Prompts: instructions around a dialogue, exemplars in front of it, and what fits into the model's window."""

from __future__ import annotations

import random
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from genai_labs.errors import LabError
from genai_labs.inputs.arguments import as_list_of, as_text, as_texts, as_whole_number, counted
from genai_labs.inputs.text import without_surrogates
from genai_labs.loading.data import Row

if TYPE_CHECKING:  # it takes seconds to import
    from transformers import PreTrainedTokenizerBase

# Wordings of the same instruction. The three "flan" ones are FLAN's own templates for dialogue summaries
# (google-research/FLAN, flan/templates.py, "samsum"); the model has been pre-trained on all of these but "gist".
INSTRUCTIONS: dict[str, str] = {
    "plain": "Summarize the following conversation.\n\n{dialogue}\n\nSummary:",
    "flan-brief": "{dialogue}\n\nBriefly summarize that dialogue.",
    "flan-short": "Here is a dialogue:\n{dialogue}\n\nWrite a short summary!",
    "flan-going-on": "Dialogue:\n{dialogue}\nWhat was going on in that conversation?",
    "task": "Summarize: {dialogue}\nSummary:",
    "gist": "{dialogue}\n\nPut the gist of this exchange in a few words.",
}
UNSEEN_INSTRUCTION = "gist"
# Twenty ways to ask for the same, written down before any of them was tried; the model was trained on none of them.
NEW_WORDINGS: tuple[str, ...] = (
    "Summarize this dialogue:\n\n{dialogue}",
    "Give me a summary of the dialogue below.\n\n{dialogue}",
    "{dialogue}\n\nSum up this talk.",
    "What follows is a conversation. Condense it.\n\n{dialogue}",
    "{dialogue}\n\nTL;DR:",
    "Read this and say what happened:\n\n{dialogue}",
    "{dialogue}\n\nIn short, what did they say to each other?",
    "Please write down the main points of this conversation.\n\n{dialogue}\n\nMain points:",
    "{dialogue}\n\nHow would you report this to somebody who was not there?",
    "Conversation:\n{dialogue}\n\nReport of the conversation:",
    "{dialogue}\n\nWhat is this about, in one or two sentences?",
    "You are a secretary. Take the minutes of this talk.\n\n{dialogue}\n\nMinutes:",
    "{dialogue}\n\nRetell this in your own words.",
    "Abstract the following dialogue.\n\n{dialogue}\n\nAbstract:",
    "{dialogue}\n\nWho wanted what, and how did it end?",
    "Write a note about this conversation for the file.\n\n{dialogue}\n\nNote:",
    "{dialogue}\n\nGive the key information of this exchange.",
    "Shorten the dialogue to its essentials:\n\n{dialogue}\n\nEssentials:",
    "{dialogue}\n\nTell me briefly what these two talked about.",
    "Dialogue: {dialogue}\n\nBrief account:",
)
DEFAULT_INSTRUCTION = "plain"

TOPIC_PROMPT = "{dialogue}\n\nWhat is the topic of this conversation?"
QUESTION_PROMPT = "{text}\n\nQuestion: {question}\nAnswer:"
PROBLEM_PROMPT = "{problem}\nAnswer:"
REASONING_PROMPT = "{problem}\nLet us think step by step."


@dataclass(frozen=True)
class Exemplar:
    """A solved example to show in a prompt: a dialogue and its summary, both from the training split."""

    dialogue: str
    summary: str
    id: str = ""


@dataclass(frozen=True)
class Fitted:
    """A prompt that fits the window: by how many tokens it was too long, and how many turns were cut."""

    prompt: str
    over: int
    turns_cut: int

    @property
    def note(self) -> str:
        """What was done, in words; empty if nothing had to be."""
        if not self.turns_cut:
            return ""
        over, cut = counted(self.over, "token"), counted(self.turns_cut, "turn")
        return f"{over} over the window: {cut} cut from the middle of the dialogue"


def no_instruction(dialogue: str) -> str:
    """The bare dialogue: the model is told nothing about what to do with it."""
    return dialogue


def zero_shot(dialogue: str, instruction: str = DEFAULT_INSTRUCTION) -> str:
    """The dialogue inside one instruction.

    ``instruction`` is a name in :data:`INSTRUCTIONS` or a template of your own that holds ``{dialogue}``.
    Raises LabError if it is neither.
    """
    return _template(instruction).replace("{dialogue}", _checked(dialogue))


def few_shot(dialogue: str, exemplars: Sequence[Exemplar], instruction: str = DEFAULT_INSTRUCTION) -> str:
    """The exemplars, each inside the instruction and followed by its summary, then the dialogue to be summarized."""
    if isinstance(exemplars, Exemplar):
        raise LabError("One exemplar was given where a list of them is wanted. Put it in brackets: [exemplar].")
    exemplars = as_list_of(Exemplar, exemplars, "exemplars")
    solved = [f"{zero_shot(e.dialogue, instruction)} {e.summary}" for e in exemplars]
    return "\n\n\n".join([*solved, zero_shot(dialogue, instruction)])


def fit(
    make: Callable[[str], str], dialogue: str, tokenizer: PreTrainedTokenizerBase, window: int | None = None
) -> Fitted:
    """The prompt ``make(dialogue)``, with turns cut from the middle of the dialogue until it fits into the window.

    The instruction and the exemplars stay whole; a tokenizer would cut at the end, where the dialogue stands and, in
    some templates, the instruction. Raises LabError if the prompt is too long even with two turns left.
    """
    _check_makers(make, tokenizer)
    window = _window(tokenizer, window)
    turns = as_text(dialogue, "The dialogue").splitlines()
    over = _length(make(dialogue), tokenizer) - window

    def without(cut: int) -> str:
        kept = len(turns) - cut
        return make("\n".join(turns[: kept - kept // 2] + turns[len(turns) - kept // 2 :]))

    if _length(without(0), tokenizer) <= window:
        return Fitted(without(0), max(over, 0), 0)
    most = len(turns) - 2
    # The fewest turns that have to go: a prompt gets shorter with each.
    cut = 1 + bisect_left(range(1, most + 1), -window, key=lambda cut: -_length(without(cut), tokenizer))
    if cut > most:
        raise LabError(
            f"The prompt is {over} tokens longer than the model's window of {window}, and cutting the dialogue "
            "does not help: what stands around it is too long. Show fewer or shorter exemplars."
        )
    return Fitted(without(cut), max(over, 0), cut)


def fit_all(
    make: Callable[[str], str], dialogues: Sequence[str], tokenizer: PreTrainedTokenizerBase, window: int | None = None
) -> list[str]:
    """The prompts of all dialogues, each fitted by :func:`fit`; a printed note counts those that had to be cut.

    Where a dialogue's turns are so long that two of them do not fit, words are cut from its middle instead. Raises
    LabError if what stands around a dialogue is too long by itself.
    """
    dialogues = as_texts(dialogues, "dialogues")
    _check_makers(make, tokenizer)
    fitted = [_fit_turns_or_words(make, dialogue, tokenizer, window) for dialogue in dialogues]
    cut = [each for each in fitted if each.turns_cut]
    if cut:
        print(
            f"{len(cut)} of {len(fitted)} prompts were longer than the window, by up to {max(x.over for x in cut)} "
            "tokens: the middle of their dialogues was cut out."
        )
    return [each.prompt for each in fitted]


def _fit_turns_or_words(
    make: Callable[[str], str], dialogue: str, tokenizer: PreTrainedTokenizerBase, window: int | None
) -> Fitted:
    try:
        return fit(make, dialogue, tokenizer, window)
    except LabError:
        window = _window(tokenizer, window)
        words = dialogue.split(" ")

        def without_middle(kept: int) -> str:
            return make(" ".join([*words[:kept], *words[len(words) - kept :]]))

        # How many words of either end can be kept: the most that fit.
        fitting = bisect_right(
            range(1, len(words) // 2 + 1), window, key=lambda kept: _length(without_middle(kept), tokenizer)
        )
        if not fitting:
            raise
        return Fitted(without_middle(fitting), _length(make(dialogue), tokenizer) - window, len(dialogue.splitlines()))


def choose_exemplars(train: Sequence[Row], count: int, seed: int) -> list[Exemplar]:
    """``count`` random rows of the *training* split as exemplars.

    Random, so that nobody can pick the flattering ones; from the training split, so that no test dialogue leaks into a
    prompt; the same for every test dialogue, so that prompts differ in nothing else. They are drawn from the shortest
    fiftieth of the split, because an exemplar costs window and time.
    """
    rows = as_list_of(Row, train, "training rows")
    count, seed = as_whole_number(count, "The number of exemplars", 0), as_whole_number(seed, "The seed")
    if count > len(rows):
        raise LabError(f"{count} exemplars were asked for, but the training split has {len(rows)} rows. Ask for fewer.")
    by_length = sorted(rows, key=lambda row: (len(row.dialogue), row.id))
    drawn = random.Random(seed).sample(by_length[: max(count, len(rows) // 50)], count)
    return [Exemplar(row.dialogue, row.summary, row.id) for row in drawn]


def _check_makers(make: Any, tokenizer: Any) -> None:
    if not callable(make) or not (callable(tokenizer) and hasattr(tokenizer, "model_max_length")):
        raise LabError(
            "A prompt is fitted by a function that makes it and a tokenizer, and something else was given. Call it as "
            "fit(zero_shot, dialogue, tokenizer): the function itself, without brackets behind it."
        )


def _window(tokenizer: PreTrainedTokenizerBase, window: int | None) -> int:
    return tokenizer.model_max_length if window is None else as_whole_number(window, "The window", 1)


def _length(prompt: str, tokenizer: PreTrainedTokenizerBase) -> int:
    whole = without_surrogates(as_text(prompt, "What the function made of a dialogue"))
    return len(tokenizer(whole, verbose=False)["input_ids"])


def _template(instruction: str) -> str:
    instruction = as_text(instruction, "The instruction")
    template = INSTRUCTIONS.get(instruction, instruction)
    if "{dialogue}" not in template:
        raise LabError(
            f"The instruction {instruction!r} is neither one of {sorted(INSTRUCTIONS)} nor a template with "
            "{dialogue} in it, so the dialogue would never reach the model. Add {dialogue} where it should stand."
        )
    return template


def _checked(dialogue: str) -> str:
    if not isinstance(dialogue, str):
        raise LabError(
            f"A dialogue is a text, and this is a {type(dialogue).__name__}. Pass the text: of a row, row.dialogue."
        )
    if not dialogue.strip():
        raise LabError(
            "The dialogue is empty. A summary of nothing would be made up. Pass the text of a dialogue, one turn a "
            "line, such as '#Person1#: Hello.'"
        )
    return dialogue
