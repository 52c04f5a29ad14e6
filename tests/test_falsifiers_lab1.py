"""Each lesson of Lab 1 can fail: in a world in which its effect is missing, its own cells say so.

A stand-in that writes by rule takes the model's place. Its habits are the effects that the lab claims, and each can be
taken away. All between the model and the verdict is real: the notebook's cells, prompts, exemplars, window and scores.
"""

import copy
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from types import SimpleNamespace
from typing import Any
from unittest import mock

import pytest

from genai_labs import paths
from genai_labs.loading import data, models
from genai_labs.loading.data import Row
from genai_labs.loading.profiles import load_profile
from genai_labs.prompting import generation, prompts
from genai_labs.scoring import metrics
from genai_labs.show import lessons
from genai_labs.show.lesson_cards import Lesson
from genai_labs.show.scoreboard import Scoreboard
from genai_labs.show.verdicts import HIGHER, LOWER, OPEN
from tests.falsifying import lesson_ids, measured, prepared, question_ids, some_alike_first

ROWS = {"train": 200, "test": 40, "unseen": 20, "handwritten_test": 24}
TURN = "#Person2#: Right, then. I'll have to think about that."
SPLITS = {"test": "test", "unseen": "unseen", "hand": "handwritten_test"}
SHORTEST = 200  # letters: with shorter dialogues two exemplars and the question fit into the window, and nothing is cut
NEVER = 99  # exemplars


@dataclass(frozen=True)
class Reader:
    """Writes what a model with these habits would write. The defaults are what the lessons claim.

    knows: the instructions that it takes for instructions, knows_partly: those that it takes for some on this share of
    dialogues; to all else it answers with a turn. own_style: "roles" or "tags", how it writes unless exemplars show
    otherwise; follows_after: how many it takes; follows: on which share of dialogues it does as they show.
    tags_if_asked: an instruction after which it writes tags. test, unseen, hand: what it does with dialogues of these
    splits, "reads", "mumbles" (leaves out every second word), "confuses" (writes the summary of another) or "copies".
    """

    knows: tuple[str, ...] = ("plain", "flan-going-on")
    knows_partly: tuple[tuple[str, float], ...] = ()
    summarizes_unasked: bool = False
    any_wording: float = 0.0  # on which share of dialogues it takes whatever stands around them for an instruction
    knows_topics: float | None = 0.8  # how often it names the right one; None: the question is no task to it
    own_style: str = "roles"
    follows_after: int = 1
    follows: float = 1.0
    any_exemplar_means_tags: bool = False  # whatever its style
    tags_if_asked: str = ""
    believes_exemplars: bool = False  # a false summary makes it write false ones
    test: str = "reads"
    unseen: str = "reads"
    hand: str = "confuses"
    window_cuts: float = 1.0  # on which share of the dialogues
    heats: bool = True  # a higher temperature changes more of its words
    paraphrases: bool = False  # a higher temperature brings other words that are as right
    distracted_by: int = NEVER  # with so many exemplars it leaves out every second word
    loses: float = 0.1  # the share of a summary's words that it leaves out
    beams_lose: float = 0.1
    before: tuple[tuple[str, Any], ...] = (("knows", ()), ("follows_after", NEVER))  # its habits before instructions

    greedy = staticmethod(generation.greedy)

    def generate(
        self,
        model: Any,
        tokenizer: Any,
        texts: Sequence[str],
        config: Any = None,
        batch_size: int | None = None,
        max_length: int | None = None,
    ) -> list[str]:
        """As generation.generate."""
        if model is not None:  # the one that was only pre-trained
            return replace(self, **dict(self.before)).generate(None, tokenizer, texts, config, batch_size, max_length)
        if max_length:
            texts = [_cut(tokenizer, text, max_length) if _among(text, self.window_cuts) else text for text in texts]
        return [self._write(text) for text in texts]

    def sample(
        self,
        model: None,
        tokenizer: Any,
        texts: Sequence[str],
        configs: Mapping[str, Any],
        count: int,
        seed: int,
        batch_size: int | None = None,
    ) -> dict[str, list[list[str]]]:
        """As generation.sample."""
        return {
            name: [[self._sampled(text, config, f"{seed} {i}") for i in range(count)] for text in texts]
            for name, config in configs.items()
        }

    def _sampled(self, prompt: str, config: Any, salt: str) -> str:
        if not config.do_sample:
            return self._write(prompt, self.beams_lose if (config.num_beams or 1) > 1 else None)
        hot = config.temperature or 1.0
        place = int(salt[-1]) if self.paraphrases and hot > 1 else 0
        return self._write(prompt, 0.05 + 0.2 * hot if self.heats else 0.2, salt, place)

    def _write(self, prompt: str, lost: float | None = None, salt: str = "", place: int = 0) -> str:
        """The answer to a prompt; a share of a summary's words gets lost. place: of the reference that it resembles.

        Which words are lost depends on the dialogue and the salt alone: where a habit is missing, nothing changes.
        """
        *solved, task = prompt.split("\n\n\n")
        dialogue = _held(task, prompts.TOPIC_PROMPT)
        if dialogue and self.knows_topics is not None:
            return (_known()[dialogue] if _among(dialogue, self.knows_topics) else _next(dialogue)).topic
        dialogue, asked = self._asked(task)
        if not dialogue:
            return TURN
        false = any(_is_false(text) for text in solved) and self.believes_exemplars
        summary = self._summary(dialogue, false, place)
        if self._style(solved, asked, dialogue) == "roles":
            summary = _with_roles(summary)
        rng = random.Random(salt + dialogue)
        if len(solved) >= self.distracted_by:
            summary = " ".join(summary.split(" ")[::2])
        share = self.loses if lost is None else lost
        return " ".join(word for word in summary.split(" ") if rng.random() >= share)

    def _asked(self, task: str) -> tuple[str, str]:
        """The dialogue that is to be summarized, and by which instruction; empty texts where none is."""
        for name, share in (*((name, 1.0) for name in self.knows), *self.knows_partly):
            dialogue = _held(task, prompts.INSTRUCTIONS[name])
            if dialogue and _among(dialogue, share):
                return dialogue, name
        if self.summarizes_unasked and task in _known():
            return task, ""
        around = next((each for each in _known() if each in task and each != task), "")
        return (around, "") if _among(around, self.any_wording) else ("", "")

    def _summary(self, dialogue: str, false: bool, place: int) -> str:
        does = getattr(self, _split_of(dialogue))
        if does == "copies":
            return dialogue.replace("\n", " ")
        row = _next(dialogue) if false or does == "confuses" else _known()[dialogue]
        summary = row.references[place % len(row.references)]
        return " ".join(summary.split(" ")[::2]) if does == "mumbles" else summary

    def _style(self, solved: Sequence[str], asked: str, dialogue: str) -> str:
        if asked and asked == self.tags_if_asked:
            return "tags"
        if 0 < len(solved) >= self.follows_after and _among(dialogue, self.follows):
            shown = solved[-1].rsplit("Summary:", 1)[-1]
            return "tags" if "#Person" in shown or self.any_exemplar_means_tags else "roles"
        return self.own_style


def _among(text: str, share: float) -> bool:
    """Whether a text is one of a share of all texts, drawn at random and always the same."""
    return random.Random(text).random() < share


def _with_roles(summary: str) -> str:
    renamed = summary.replace("#Person1#", "the visitor").replace("#Person2#", "the clerk")
    return f"I understood from the conversation that {renamed}"


def _held(task: str, template: str) -> str:
    """What stands in the place of {dialogue}; empty if the task is not made from this template."""
    before, after = template.split("{dialogue}")
    held = task.removeprefix(before).removesuffix(after)
    return held if template.replace("{dialogue}", held) == task and held in _known() else ""


def _is_false(solved: str) -> bool:
    """Whether an exemplar shows a summary in the right style that is none of its dialogue."""
    task, summary = solved.rsplit("Summary:", 1)
    dialogue = _held(f"{task}Summary:", prompts.INSTRUCTIONS["plain"])
    return "#Person" in summary and summary.strip() not in _known()[dialogue].references


def _cut(tokenizer: Any, text: str, most: int) -> str:
    places = tokenizer(text, truncation=True, max_length=most, return_offsets_mapping=True)["offset_mapping"]
    return text[: max(end for _, end in places)]


@cache
def load_split(dataset: object, split: str) -> list[Row]:
    """A few short rows of a split; of a test split some in front that share their situation with others."""
    rows = [row for row in data.load_split(paths.READING, split) if len(row.dialogue) >= SHORTEST]
    rows.sort(key=lambda row: len(row.dialogue))
    return (rows if split == "train" else some_alike_first(rows, 16))[: ROWS[split]]


@cache
def _known() -> dict[str, Row]:
    return {row.dialogue: row for split in (*SPLITS.values(), "train") for row in load_split(None, split)}


@cache
def _split_of(dialogue: str) -> str:
    return next(name for name, split in SPLITS.items() if _known()[dialogue] in load_split(None, split))


def _next(dialogue: str) -> Row:
    """A row of the same split that is about something else."""
    rows = load_split(None, SPLITS[_split_of(dialogue)])
    return rows[(rows.index(_known()[dialogue]) + len(rows) // 2) % len(rows)]


@cache
def _empty_board() -> Scoreboard:
    return Scoreboard(load_split(None, "test"), load_split(None, "train"))


def world(reader: Reader) -> dict[str, Any]:
    """What the first cells of the lab leave behind, with a stand-in in the model's place and fewer rows."""
    board = copy.copy(_empty_board())
    board.scores, board.outputs = dict(board.scores), dict(board.outputs)
    profile, test = load_profile("mini"), load_split(None, "test")
    return {
        "profile": profile,
        "SEED": 0,
        "model": None,
        "tokenizer": models.load_tokenizer(profile),
        "generation": reader,
        "data": SimpleNamespace(load_split=load_split, situations=data.situations),
        "train": load_split(None, "train"),
        "test": test,
        "situations": data.situations(test),
        "board": board,
    }


OPPOSITE, NO_CHANGE = "the opposite holds", "no detectable change"
SMALLER, NOT_SHOWN = "smaller than claimed", "not shown"
ALL_THREE = ("plain", "flan-going-on", "gist")
# Of each lesson: habits without its effect, or with too little of it, and the verdict that it then gets.
WITHOUT: list[tuple[str, dict[str, Any], str]] = [
    ("1.1", {"summarizes_unasked": True}, OPPOSITE),
    ("1.2", {"knows": ()}, NO_CHANGE),
    ("1.2", {"summarizes_unasked": True, "own_style": "tags"}, NO_CHANGE),
    ("1.2", {"knows": (), "knows_partly": (("plain", 0.3),)}, NOT_SHOWN),
    ("1.3", {"knows": ("plain",)}, OPPOSITE),
    ("1.3", {"tags_if_asked": "flan-going-on"}, OPPOSITE),
    ("1.4", {"knows": ALL_THREE, "tags_if_asked": "flan-going-on"}, NO_CHANGE),
    ("1.4", {"knows_partly": (("gist", 0.85),)}, NOT_SHOWN),
    ("1.5", {"knows_topics": None}, OPPOSITE),
    ("1.5", {"knows_topics": 0.1}, OPPOSITE),
    ("1.6", {"follows_after": NEVER}, NO_CHANGE),
    ("1.6", {"own_style": "tags"}, NO_CHANGE),
    ("1.6", {"follows": 0.5}, NOT_SHOWN),
    ("1.7", {"follows_after": NEVER}, NO_CHANGE),
    ("1.7", {"own_style": "tags"}, NO_CHANGE),
    ("1.7", {"follows": 0.2}, SMALLER),
    ("1.8", {"follows_after": NEVER}, NO_CHANGE),
    ("1.8", {"follows_after": 2}, OPPOSITE),
    ("1.8", {"follows_after": 3}, OPPOSITE),
    ("1.9", {"any_exemplar_means_tags": True}, NO_CHANGE),
    ("1.9", {"any_exemplar_means_tags": True, "believes_exemplars": True}, NO_CHANGE),
    ("1.10", {"believes_exemplars": True}, OPPOSITE),
    ("1.11", {"unseen": "copies", "hand": "copies", "loses": 0.0}, NO_CHANGE),  # word for word, as the baseline
    ("1.11", {"unseen": "confuses", "hand": "reads"}, OPPOSITE),
    ("1.11", {"unseen": "mumbles"}, NOT_SHOWN),
    ("1.12", {"unseen": "copies", "hand": "copies"}, NO_CHANGE),
    ("1.12", {"unseen": "confuses", "hand": "reads"}, OPPOSITE),
    ("1.13", {"window_cuts": 0.0, "follows_after": 2}, NO_CHANGE),
    ("1.13", {"window_cuts": 0.0, "follows_after": 3}, NO_CHANGE),
    ("1.13", {"window_cuts": 0.25}, NOT_SHOWN),
    ("1.14", {"heats": False}, NO_CHANGE),
    ("1.15", {"heats": False}, NO_CHANGE),
    ("1.15", {"heats": False, "paraphrases": True}, NO_CHANGE),
    ("1.16", {"before": ()}, NO_CHANGE),
    ("1.16", {"knows": ()}, NO_CHANGE),
    ("1.16", {"before": (("knows", ()), ("knows_partly", (("plain", 0.7),)))}, NOT_SHOWN),
    ("1.20", {"any_wording": 1.0}, NO_CHANGE),
    ("1.20", {"any_wording": 0.85, "loses": 0.75}, SMALLER),
    ("1.21", {"follows_after": NEVER}, NO_CHANGE),
    ("1.21", {"own_style": "tags"}, NO_CHANGE),
    ("1.17", {"before": ()}, OPPOSITE),
    ("1.17", {"before": (("follows", 0.3),)}, NOT_SHOWN),
]
# Of each open question: habits, and the answer that they give.
ANSWERS: list[tuple[str, dict[str, Any], str]] = [
    ("1.18", {}, OPEN),
    ("1.18", {"follows_after": 2}, HIGHER),
    ("1.18", {"distracted_by": 3}, LOWER),
    ("1.19", {}, OPEN),
    ("1.19", {"loses": 0.4}, HIGHER),
    ("1.19", {"beams_lose": 0.4}, LOWER),
]


Measure = Callable[[str, Reader], Lesson]


@pytest.fixture(scope="module")
def measure(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Measure]:
    """Measures a lesson in the world of a reader; what earlier lessons of the same world have made is used again."""
    worlds: dict[Reader, dict[str, Any]] = {}
    folder = tmp_path_factory.mktemp("out")

    def run(id: str, reader: Reader) -> Lesson:
        worlds[reader] = prepared(1, id, worlds.get(reader) or world(reader), folder)
        return measured(1, id, worlds[reader], folder)

    with mock.patch.object(metrics, "_f_measures", _remembering(metrics._f_measures)):
        yield run


def _remembering(score: Callable[[str, Sequence[str], str], list[float]]) -> Callable[..., list[float]]:
    """Scores as `score` does, each text once: worlds have most of their texts in common."""
    known = cache(lambda text, references, kind: score(text, references, kind))
    return lambda text, references, kind: known(text, tuple(references), kind)


@pytest.mark.parametrize(
    ("id", "habits", "verdict"),
    [pytest.param(*each, marks=pytest.mark.falsifies(each[0]), id="-".join([each[0], *each[1]])) for each in WITHOUT],
)
def test_without_its_effect_a_lesson_does_not_hold(
    id: str, habits: dict[str, Any], verdict: str, measure: Measure
) -> None:
    result = measure(id, replace(Reader(), **habits))
    assert (result.verdict, result.holds) == (verdict, False), result


@pytest.mark.parametrize("id", lesson_ids(1))
def test_with_its_effect_a_lesson_holds(id: str, measure: Measure) -> None:
    result = measure(id, Reader())
    assert result.holds, result
    together = result.clusters < result.interval.n
    assert together == (result.of == "dialogues"), "dialogues of one situation are counted as if they were independent"


@pytest.mark.parametrize(
    ("id", "habits", "answer"), [pytest.param(*each, id="-".join([each[0], *each[1]])) for each in ANSWERS]
)
def test_an_open_question_gets_the_answer_of_its_world(
    id: str, habits: dict[str, Any], answer: str, measure: Measure
) -> None:
    # A fifth of these few dialogues, which is what some settings write about, is fewer than a question asks for.
    with mock.patch.dict(lessons.open_question.__kwdefaults__, {"fewest": 8}):
        result = measure(id, replace(Reader(), **habits))
    assert (result.verdict, result.holds) == (answer, False), result


def test_every_open_question_is_asked_where_each_answer_is_right() -> None:
    for id in question_ids(1):
        assert {answer for each, _, answer in ANSWERS if each == id} == {HIGHER, LOWER, OPEN}


def test_every_lesson_of_the_lab_has_a_falsifier() -> None:
    falsified = {id for id, *_ in WITHOUT}
    assert [id for id in lesson_ids(1) if id not in falsified] == []
    assert falsified <= set(lesson_ids(1))
