"""Each lesson of Lab 2 can fail: it does not hold in a world without its effect, and holds where the effect is large.

A world is made as high up as is cheap. Models are rules that write texts for prompts, and the notebook's own statements
let them write and score what they wrote; where weights matter, it is the real model with weights that were changed.
"""

import ast
import copy
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Literal, NamedTuple

import pytest
import torch

from genai_labs.finetuning import checkpoints, examples, forgetting, lora
from genai_labs.finetuning.plan import Plan
from genai_labs.finetuning.training import FineTuning
from genai_labs.loading import data, models
from genai_labs.loading.profiles import load_profile
from genai_labs.paths import ROOT
from genai_labs.prompting import generation, prompts
from genai_labs.scoring import facts, metrics
from genai_labs.show.scoreboard import Scoreboard
from genai_labs.show.verdicts import HIGHER, LOWER, NO_CHANGE, NOT_SHOWN, OPEN, OPPOSITE, SMALLER
from tests.falsifying import lesson_ids, measured, question_ids, some_alike_first

Model = Callable[[str], str]  # what stands for a model: a text for a prompt
# "none": the claim is false. "little": there is something of it, and less than is claimed. "real": it is true.
Summary = Literal["poor", "better", "chatty", "good"]
Strength = Literal["none", "little", "real"]
World = Callable[[Strength, Path], Mapping[str, Any]]

LAB = 2
COUNT, OTHERS = 40, 80  # dialogues, and examples of each other task
SHORT = 80  # letters of a dialogue that the real model reads
ONE_SHOT, NEXT_TURN = "one shot, another style", "next turn"
FORGOTTEN = "#Person1# and #Person2# talk."  # neither a turn, nor right, nor in the other style
PROFILE = replace(load_profile("mini"), other_examples=OTHERS)


# Dialogues and models


def alike_first(rows: Sequence[data.Row]) -> list[data.Row]:
    """The rows that state a fact, in front some whose situation others share."""
    return some_alike_first([row for row in rows if facts.exchange_one(row.summary)], 20)


@cache
def split(name: str) -> list[data.Row]:
    return alike_first(data.load_split(PROFILE.dataset, name))


def dialogues() -> list[data.Row]:
    return split("test")[:COUNT]


@cache
def empty_board() -> Scoreboard:
    return Scoreboard(dialogues(), data.load_split(PROFILE.dataset, "train")[:40], fixed="a string")


@cache
def reader() -> tuple[Any, Any]:
    """The real model and its tokenizer."""
    return models.load_model(PROFILE)


@cache
def other_tasks() -> dict[str, tuple[str, int, str]]:
    """Task, number and right answer of each example of the other tasks, by its prompt."""
    return {
        example.source: (task.name, number, example.target)
        for task in forgetting.other_tasks(OTHERS)
        for number, example in enumerate(task.examples)
    }


def is_one_of(share: float, number: int) -> bool:
    """Whether a number is among the share (0 to 1) of all numbers, which are spread evenly."""
    return int((number + 1) * share + 1e-9) > int(number * share + 1e-9)


def summarizer(write: Callable[[int, data.Row, str], str]) -> Model:
    """A model that writes by a rule about a test dialogue: of its number, its row, and the prompt it stands in."""

    def model(prompt: str) -> str:
        number, row = next((n, row) for n, row in enumerate(dialogues()) if row.dialogue in prompt)
        return write(number, row, prompt)

    return model


def writes(kind: Summary) -> Model:
    """A model whose summaries of test dialogues are all of one kind.

    "poor" is the summary of another dialogue, "better" is that with the last words of the right one, "good" is nearly
    the right one, and "chatty" is that with a sentence too much. None is a copy: scores of 0 and 1 alone would be taken
    for shares, whose intervals are wider.
    """
    poor = data.other_summaries(dialogues())

    def write(number: int, row: data.Row, prompt: str) -> str:
        if kind == "poor":
            return poor[number]
        if kind == "better":
            return f"{poor[number]} {' '.join(row.summary.split()[-2:])}"
        return f"{row.summary} They part." + " So they do." * (kind == "chatty")

    return summarizer(write)


def trained(kind: Summary, lost: Mapping[str, float] | None = None) -> Model:
    """A model that writes summaries of one kind and can do the other tasks, but for shares that it lost, by task."""
    summarize = writes(kind)

    def model(prompt: str) -> str:
        if prompt not in other_tasks():
            return summarize(prompt)
        task, number, target = other_tasks()[prompt]
        known = f"{target} They part." if task == ONE_SHOT else target
        return FORGOTTEN if is_one_of((lost or {}).get(task, 0), number) else known

    return model


@dataclass
class Adapted:
    """A base with adapters, of which one is on; a stuck one can be neither exchanged nor taken off."""

    base: Model
    adapters: Mapping[str, Model]
    active: str
    stuck: bool = False
    off: bool = field(default=False, init=False)

    def __call__(self, prompt: str) -> str:
        return (self.base if self.off else self.adapters[self.active])(prompt)

    def set_adapter(self, name: str) -> None:
        self.active = self.active if self.stuck else name

    @contextmanager
    def disable_adapter(self) -> Iterator[None]:
        self.off = not self.stuck
        yield
        self.off = False


def changed(module: Any, **names: Any) -> Any:
    """What stands for a module in which these names are others."""
    return SimpleNamespace(**vars(module) | names)


def run_of(method: Literal["full", "lora", "prompt"], model: Model) -> Any:
    """As much of a fine-tuning as the lessons read of one."""
    return SimpleNamespace(plan=Plan(method=method), model=model)


@pytest.fixture(autouse=True)
def _rules_write(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rules write where models are asked to, and the real model does as before."""
    real = generation.generate

    def generate(model: Any, tokenizer: Any, asked: Sequence[str], *settings: Any, **more: Any) -> list[str]:
        if isinstance(model, torch.nn.Module):
            return real(model, tokenizer, asked, *settings, **more)
        return [model(prompt) for prompt in asked]

    monkeypatch.setattr(generation, "generate", generate)
    monkeypatch.setattr(forgetting, "generate", generate)
    monkeypatch.setattr(forgetting, "comfortable", lambda model: 2)


# The notebook's own statements


@cache
def statements() -> list[str]:
    """The statements of all code cells, in order."""
    (path,) = (ROOT / "notebooks").glob(f"lab{LAB}_*.ipynb")
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    sources = ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]
    found = [ast.get_source_segment(source, node) for source in sources for node in ast.parse(source).body]
    return [statement for statement in found if statement]


def having_run(names: dict[str, Any], *starts: str) -> dict[str, Any]:
    """The names, and those that the statements of the notebook leave behind which begin so."""
    for start in starts:
        (found,) = (statement for statement in statements() if statement.startswith(start))
        exec(found, names)
    return names


def first_cells(rows: Sequence[data.Row] | None = None, **names: Any) -> dict[str, Any]:
    """What the lab's first cells leave behind, with these test dialogues and no summaries yet."""
    rows = dialogues() if rows is None else list(rows)
    modules = (data, examples, facts, forgetting, generation, lora, metrics, prompts)
    return having_run(
        {module.__name__.rsplit(".", 1)[1]: module for module in modules}
        | {"profile": PROFILE, "SEED": 0, "tokenizer": reader()[1], "test": rows}
        | {"situations": data.situations(rows), "board": copy.deepcopy(empty_board())}
        | {"replace": replace}
        | names,
        "def summarize(",
    )


ADD_BASE, ADD_FULL, ADD_LORA = (f'board.add("{name}", ' for name in ("base", "full", "LoRA"))
ADD_ONE_SHOT = ("exemplar = ", 'board.add("base, one shot"')
SCORE_OTHERS = ("other = ", "before = ", "after = ", "ONE_SHOT = ")


# Worlds: what the cells before a lesson leave behind


def helped_by_an_exemplar(kind: Summary) -> Model:
    """Writes poor summaries without an exemplar, and summaries of this kind with one."""
    with_one, without = writes(kind), writes("poor")
    return summarizer(
        lambda n, row, prompt: (without if prompt == prompts.zero_shot(row.dialogue) else with_one)(prompt)
    )


def with_an_exemplar(strength: Strength, folder: Path) -> dict[str, Any]:
    """2.1. None: exemplars are drawn, and there are none of them. Little: they help a little."""
    names = first_cells(base=helped_by_an_exemplar("better" if strength == "little" else "good"))
    if strength == "none":
        names["prompts"] = changed(prompts, choose_exemplars=lambda *rows, **drawn: [])
    return having_run(names, ADD_BASE, *ADD_ONE_SHOT)


def like_one_shot(strength: Strength, folder: Path) -> dict[str, Any]:
    """2.16. None: training helps, and an exemplar does not. Little: the trained model says too much."""
    base = helped_by_an_exemplar("poor" if strength == "none" else "good")
    full = run_of("full", writes("chatty" if strength == "little" else "good"))
    return having_run(first_cells(base=base, full=full), ADD_BASE, *ADD_ONE_SHOT, ADD_FULL)


def as_sure(factor: float) -> Any:
    """The real model with all its logits multiplied by a factor: 0 knows nothing, above 1 is too sure."""
    model = copy.deepcopy(reader()[0])
    model.decoder.final_layer_norm.weight.data *= factor
    return model


def with_validation(count: int) -> dict[str, Any]:
    """Validation dialogues, shortened to be read quickly, as rows and as features."""
    rows = [replace(row, dialogue=row.dialogue[:SHORT]) for row in split("validation")[:count]]
    tokenizer = reader()[1]
    names = {"data": data, "examples": examples, "tokenizer": tokenizer, "pad": tokenizer.pad_token_id}
    return having_run(names | {"validation": rows}, "validation_examples = ")


def padding(strength: Strength, folder: Path) -> dict[str, Any]:
    """2.2. None: a model to which padding is as likely as all else. Little: one that hardly tells them apart."""
    narrow = changed(examples, LONGEST_SUMMARY=64)  # half the padding, in less time
    return with_validation(20) | {
        "examples": narrow,
        "base": as_sure({"none": 0.0, "little": 0.1, "real": 1.0}[strength]),
    }


def overfitted(strength: Strength, folder: Path) -> dict[str, Any]:
    """2.3. None: the last epoch was the best one. Real: a model that grew too sure after it."""
    kept = {"best": "checkpoint-1", "history": []}
    run = FineTuning(as_sure(1.0), Plan(), folder, examples=32)
    for name, model in (("checkpoint-1", run.model), ("checkpoint-2", as_sure(2.0 if strength == "real" else 1.0))):
        checkpoints.save(folder / name, model, torch.optim.SGD(model.parameters()), kept)
    names = with_validation(20)
    unread = changed(data, load_split=lambda source, part: names["validation"])
    return names | {"overfitted": run, "profile": PROFILE, "data": unread}


def training(strength: Strength, folder: Path) -> dict[str, Any]:
    """2.4. None: the model was not trained. Little: it learned next to nothing."""
    base = writes("poor")
    full = base if strength == "none" else writes("better" if strength == "little" else "good")
    return having_run(first_cells(base=base, full=run_of("full", full)), ADD_BASE, ADD_FULL)


def wrong_facts(strength: Strength, folder: Path) -> dict[str, Any]:
    """2.5. None: telegrams, of which a day is a third. Little: as long as others, where only telegrams stand beside."""
    telegram, rows = "Come on {}.", dialogues()
    longer = "The guest asks them all to come here on {} and to bring something to eat."
    if strength != "real":
        texts = (telegram if strength == "none" else longer, telegram, telegram)
        days = [facts.DAYS[number % 7] for number in range(len(rows))]
        said = [tuple(text.format(day) for text in texts) for day in days]
        rows = [replace(row, references=three) for row, three in zip(rows, said, strict=True)]
    names = {"facts": facts, "metrics": metrics, "test": rows, "situations": data.situations(rows)}
    return having_run(names, "right = ", "wrong = ", "able = ")


def stated_facts(answer: str) -> dict[str, Any]:
    """2.6. Higher: training taught the facts. Lower: its sentences have one wrong. Open: only the form is new."""
    share, nothing = float(answer == HIGHER), "They talk."

    def wrong(number: int, row: data.Row, prompt: str) -> str:
        return facts.exchange_one(row.summary, seed=number) or row.summary

    base = summarizer(lambda n, row, prompt: nothing if is_one_of(share, n) else " ".join(facts.stated(row.summary)))
    full = summarizer(wrong if answer == LOWER else lambda number, row, prompt: f"{row.summary} They part.")
    names = having_run(first_cells(base=base, full=run_of("full", full)), ADD_BASE, ADD_FULL)
    return having_run(names, "references = ", "dialogues = ", "checked = ")


KINDS: dict[Strength, Summary] = {"none": "poor", "little": "chatty", "real": "good"}


def lora_beside_full(strength: Strength, folder: Path) -> dict[str, Any]:
    """2.7. None: the adapter changes nothing. Little: its summaries say too much."""
    runs = {"full": run_of("full", writes("good")), "low": run_of("lora", writes(KINDS[strength]))}
    return having_run(first_cells(base=writes("poor"), **runs), ADD_BASE, ADD_FULL, ADD_LORA)


def soft_prompt(strength: Strength, folder: Path) -> dict[str, Any]:
    """2.19. None: the vectors say nothing. Little: with them summaries say too much."""
    runs = {"full": run_of("full", writes("good")), "soft": run_of("prompt", writes(KINDS[strength]))}
    return having_run(first_cells(base=writes("poor"), **runs), ADD_BASE, ADD_FULL, 'board.add("soft prompt", ')


def forgetting_by(
    full: Mapping[str, float], lora_on: Mapping[str, float], stuck: bool = False, **names: Any
) -> dict[str, Any]:
    """A base that can do all other tasks, and two trained models that lost shares of them."""
    base = trained("poor")
    low = Adapted(base, {"default": trained("good", lora_on)}, "default", stuck)
    runs = {"full": run_of("full", trained("good", full)), "low": run_of("lora", low)}
    return having_run(first_cells(base=base, **runs, **names), *SCORE_OTHERS)


LOST = {"none": 0.0, "little": 1 / 13, "real": 1.0}  # shares


def full_forgets(strength: Strength, folder: Path) -> dict[str, Any]:
    """2.8. None: training on summaries took nothing of the skill (and half of another). Little: a thirteenth."""
    return forgetting_by({ONE_SHOT: LOST[strength], NEXT_TURN: 0.5}, {ONE_SHOT: 0.5})


def lora_forgets(strength: Strength, folder: Path) -> dict[str, Any]:
    """2.9. None: the adapter takes nothing of the skill. Little: a thirteenth."""
    return forgetting_by({NEXT_TURN: 0.5}, {NEXT_TURN: LOST[strength], ONE_SHOT: 0.5})


def lora_forgets_less(strength: Strength, folder: Path) -> dict[str, Any]:
    """2.10. None: both lost all of the skill, and LoRA kept more of another."""
    return forgetting_by({ONE_SHOT: 1, NEXT_TURN: 1}, {ONE_SHOT: 0.3 if strength == "real" else 1})


def replay(strength: Strength, folder: Path) -> dict[str, Any]:
    """2.12. None: nothing came back. Little: a third."""
    lost = {"none": 1.0, "little": 2 / 3, "real": 0.0}[strength]
    replayed = SimpleNamespace(model=trained(KINDS[strength], {ONE_SHOT: lost}))
    names = forgetting_by({ONE_SHOT: 1.0}, {}, replayed=replayed)
    return having_run(names, ADD_BASE, ADD_FULL, 'board.add("full, replay"', 'after["replay"] = ')


def two_adapters(strength: Strength, folder: Path) -> dict[str, Any]:
    """2.14. None: the switch does nothing. Little: on two of five dialogues only the topic in front is new."""
    names = having_run(first_cells(), "import re", "def report(")

    def report(number: int, row: data.Row, prompt: str) -> str:
        whole = strength != "little" or is_one_of(0.6, number)
        return names["report"](row) if whole else f"Conversation about {row.topic}: {row.summary}"

    adapters = {"summary": writes("good"), "report": summarizer(report)}
    names["product"] = Adapted(writes("poor"), adapters, "summary", stuck=strength == "none")
    return having_run(names, "switched = ", 'for name in ("summary", "report")')


# The table


class Case(NamedTuple):
    """A lesson, its worlds, and the verdicts where its effect is absent and where there is too little of it."""

    id: str
    world: World
    none: str
    little: str | None = None


CASES = [
    Case("2.1", with_an_exemplar, NO_CHANGE, SMALLER),
    Case("2.2", padding, NO_CHANGE, SMALLER),
    Case("2.3", overfitted, NO_CHANGE),
    Case("2.4", training, NO_CHANGE, SMALLER),
    Case("2.5", wrong_facts, OPPOSITE, OPPOSITE),
    Case("2.7", lora_beside_full, OPPOSITE, OPPOSITE),
    Case("2.8", full_forgets, NO_CHANGE, NOT_SHOWN),
    Case("2.9", lora_forgets, NO_CHANGE, NOT_SHOWN),
    Case("2.10", lora_forgets_less, NO_CHANGE),
    Case("2.12", replay, OPPOSITE, OPPOSITE),
    Case("2.14", two_adapters, NO_CHANGE, SMALLER),
    Case("2.16", like_one_shot, OPPOSITE, OPPOSITE),
    Case("2.19", soft_prompt, OPPOSITE, OPPOSITE),
]
FALSIFIERS = [pytest.param(case, id=case.id, marks=pytest.mark.falsifies(case.id)) for case in CASES]


@pytest.mark.parametrize("case", FALSIFIERS)
def test_a_lesson_does_not_hold_without_its_effect(case: Case, tmp_path: Path) -> None:
    assert measured(LAB, case.id, case.world("none", tmp_path), tmp_path).verdict == case.none


@pytest.mark.parametrize("case", [case for case in FALSIFIERS if case.values[0].little])  # type: ignore[union-attr]
def test_a_lesson_does_not_hold_on_less_than_it_claims(case: Case, tmp_path: Path) -> None:
    assert measured(LAB, case.id, case.world("little", tmp_path), tmp_path).verdict == case.little


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_a_lesson_holds_where_its_effect_is_real(case: Case, tmp_path: Path) -> None:
    found = measured(LAB, case.id, case.world("real", tmp_path), tmp_path)
    assert found.holds, found.reason
    assert (found.clusters < found.interval.n) == (found.of == "dialogues"), "dialogues of a situation go together"


ANSWERS: dict[str, tuple[Summary, Summary]] = {
    HIGHER: ("good", "poor"),
    LOWER: ("poor", "good"),
    OPEN: ("good", "good"),
}


@pytest.mark.parametrize("answer", ANSWERS)
def test_an_open_question_gets_the_answer_of_its_world(answer: str, tmp_path: Path) -> None:
    one, other = (writes(kind) for kind in ANSWERS[answer])
    runs = {"full": run_of("full", other), "low": run_of("lora", one), "replayed": SimpleNamespace(model=one)}
    names = having_run(
        first_cells(base=writes("poor"), **runs), ADD_BASE, ADD_FULL, ADD_LORA, 'board.add("full, replay"'
    )
    worlds = {"2.6": stated_facts(answer), "2.13": names, "2.17": names, "2.18": names}
    assert set(worlds) == set(question_ids(LAB))
    assert {id: measured(LAB, id, worlds[id], tmp_path).verdict for id in worlds} == dict.fromkeys(worlds, answer)


def test_no_lesson_lacks_a_falsifier() -> None:
    assert [id for id in lesson_ids(LAB) if id not in [case.id for case in CASES]] == []
