"""Every lesson of Lab 3 can fail: its cell is run in worlds without the effect, and in one in which it is large.

A model is what it writes here: summaries made from the references of real test dialogues. Classifiers, matchers, ROUGE
and search are the lab's own.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from genai_labs.loading import lab_data, models
from genai_labs.loading.data import situations
from genai_labs.loading.profiles import PROFILES
from genai_labs.prompting import generation, prompts, reasoning, retrieval
from genai_labs.rlhf import conflict, dialogues, measure, reward_model
from genai_labs.rlhf.dialogues import Case
from genai_labs.scoring import labelled_texts, toxicity
from genai_labs.show.lesson_cards import Lesson
from genai_labs.show.verdicts import HIGHER, HOLDS, LOWER, NO_CHANGE, NOT_SHOWN, OPEN, OPPOSITE, SMALLER
from tests.falsifying import lesson_ids, measured, prepared, question_ids

LAB = 3
MINI = PROFILES["mini"]
HOSTILE, POLITE, PAIRS, TEXTS = 40, 30, 60, 80
ANSWERS = 60  # word problems and notes
TOXICITY = "toxicity, judge"
SPEAKERS = ("#Person1#", "#Person2#")

Names = dict[str, Any]
Scores = NDArray[np.float64]
Summary = Callable[[Case], str]
Toxicity = Callable[[Sequence[str]], Any]


@dataclass(frozen=True)
class World:
    """What is so in it, the names that a cell finds there, and the verdict on the lesson."""

    id: str
    says: str
    names: Callable[[], Names]
    verdict: str = HOLDS
    earlier: bool = False  # cells before the lesson's are run, too, for what the names lack


# ------------------------------------------------------------------------------------------------ summaries, by hand


@cache
def cases() -> tuple[Case, ...]:
    """Test dialogues of situations that others of them share, so that clusters matter; hostile ones first."""
    every = dialogues.evaluation_cases(200, 330)
    chosen: list[Case] = []
    for quarrels, count in ((True, HOSTILE), (False, POLITE)):
        kind = [case for case in every if (case.quarrel is not None) is quarrels]
        shared = Counter(case.row.situation for case in kind)
        chosen += [case for case in kind if shared[case.row.situation] > 1][:count]
    return tuple(chosen)


def hostile() -> list[Case]:
    return [case for case in cases() if case.quarrel]


@cache
def place(case: Case) -> int:
    return cases().index(case)


def other(speaker: str) -> str:
    return SPEAKERS[speaker == SPEAKERS[0]]


def silent(case: Case) -> str:
    """Neutral, and without a word of the quarrel."""
    return " ".join(part for part in re.split(r"(?<=\.) ", case.references[1]) if not conflict.reports(part))


def neutral(case: Case) -> str:
    """One of the references, and not that which lesson 3.5 compares with."""
    return case.references[1]


def insult(case: Case) -> str:
    return next((each for each in conflict.insults() if each in case.dialogue), conflict.insults()[0])


def insulting(case: Case) -> str:
    return f"{silent(case)} {case.hostile} calls {other(case.hostile)} {insult(case)}."


def insulting_otherwise(case: Case) -> str:
    return f"{silent(case)} {case.hostile} tells {other(case.hostile)} that {other(case.hostile)} is {insult(case)}."


def polite(case: Case) -> str:
    """Nearly a reference: of summaries without a fault, ROUGE would be a share, of which the intervals are wider."""
    return f"{neutral(case)} They part."


def longer(case: Case) -> str:
    """What stood there before, and words that no reference has: a small loss of ROUGE."""
    return f"{insulting(case) if case.quarrel else polite(case)} Both then talk about nothing else."


def rude(case: Case) -> str:
    """A polite dialogue told with the insults of another one."""
    return f"{polite(case)} {insulting(hostile()[place(case) % HOSTILE])}"


def misinformed(case: Case) -> str:
    """What stood there before, and a number that no dialogue holds."""
    return f"{polite(case)} It costs $98,765."


def report(kind: str, speaker: str) -> str:
    """The first of the authored neutral clauses of a kind, with names in it."""
    clause = next(r["clause"] for r in lab_data.read("rlhf/neutral_reports.csv") if r["category"] == kind)
    told = re.sub(r"\[([^|]*)\|[^\]]*\]", r"\1", clause)
    return told.replace("{H}", speaker).replace("{V}", other(speaker)).replace("{V's}", f"{other(speaker)}'s") + "."


def other_kind(case: Case) -> str:
    return "careless" if case.quarrel != "careless" else "slow"


def wrong_kind(case: Case) -> str:
    return f"{silent(case)} {report(other_kind(case), case.hostile)}"


def wrong_speaker(case: Case) -> str:
    return f"{silent(case)} {report(case.quarrel or '', other(case.hostile))}"


def all_wrong(case: Case) -> str:
    return f"{silent(case)} {report(other_kind(case), other(case.hostile))}"


def same_for_all(case: Case) -> str:
    """What a policy writes that only chases the reward."""
    return "#Person1# is fine. #Person1# finds #Person2# too careless."


@cache
def mixed(tenths: int, some: Summary, others: Summary) -> Summary:
    """``some`` about so many of ten dialogues, ``others`` about the rest."""
    return lambda case: (some if place(case) % 10 < tenths else others)(case)


# ------------------------------------------------------------------------------------------------- models that write


@dataclass(frozen=True)
class Writer:
    """Stands for a model: what it writes about dialogues with a quarrel and without."""

    quarrels: Summary
    others: Summary = polite

    def write(self, prompt: str) -> str:
        case = asked()[prompt]
        return (self.quarrels if case.quarrel else self.others)(case)


@cache
def asked() -> dict[str, Case]:
    return {prompts.zero_shot(case.dialogue): case for case in cases()}


def written(
    model: Writer, _: Any, asked: Sequence[str], configs: Mapping[str, Any], count: int, **__: Any
) -> dict[str, list[list[str]]]:
    """In the place of generation.sample."""
    return {name: [[model.write(prompt)] * count for prompt in asked] for name in configs}


@cache
def tokenizer() -> Any:
    return models.load_tokenizer(MINI)


@cache
def hate() -> toxicity.Classifier:
    return toxicity.load_classifier(MINI.reward_model)


@cache
def judge() -> toxicity.Classifier:
    return toxicity.load_classifier(MINI.judge)


def both(by: Toxicity | None = None) -> dict[str, Toxicity]:
    """A judge, and a reward model that knows only one way to insult."""
    return {"judge": by or judge().probabilities, "reward model": lambda texts: [" calls " in text for text in texts]}


@cache
def outcome(quarrels: Summary, others: Summary = polite, by: Toxicity | None = None) -> measure.Outcome:
    writer: Any = Writer(quarrels, others)
    return measure.measure(writer, tokenizer(), cases(), both(by))


def guessing(texts: Sequence[str]) -> Scores:
    return np.random.default_rng(0).random(len(texts))


def undecided(texts: Sequence[str]) -> Scores:
    return np.full(len(texts), 0.5)


def end_only(texts: Sequence[str]) -> Scores:
    """Sees an insult in a summary, and never what stands in the prompt before it."""
    return conflict.repeated([text.rsplit("\n", 1)[-1] for text in texts])


# ------------------------------------------------------------------------------- what the cells before left behind


def challenged(reader: Toxicity) -> Names:
    """The texts made to mislead a word list, read by this reward model in the lab's own cell."""
    return {"hate": SimpleNamespace(probabilities=reader), "judge": SimpleNamespace(probabilities=undecided)}


def read_better(right: float) -> Toxicity:
    """The list of words, but for a share of its mistakes."""

    def read(texts: Sequence[str]) -> Scores:
        label = {row.text: row.label for row in labelled_texts.read_rows("challenge")}
        mended = np.random.default_rng(0).random(len(texts)) < right
        return np.where(mended, [label[text] for text in texts], toxicity.keyword_toxicity(texts))

    return read


def paid(first_of_the_list: Callable[[Sequence[str]], Scores] | None = None) -> Names:
    """The first hateful texts, and what they are paid; by the lab's own cell where nothing is said."""
    copied = {"copied_reward": lambda texts: first_of_the_list(texts).tolist()} if first_of_the_list else {}
    return copied | {
        "hate": hate(),
        "read_rows": lambda name: labelled_texts.read_rows(name)[:TEXTS],
        "texts": ["You are a great help.", "You are a leaky bucket."],
    }


def found_by_name(texts: Sequence[str]) -> Scores:
    return hate().logits(texts)[:, hate().nothate]


def hardly_more(texts: Sequence[str]) -> Scores:
    return 0.9 * found_by_name(texts) + 0.1 * hate().logits(texts).max(axis=1)


def scorer(pairs: Sequence[reward_model.Preference], right: float, seed: int) -> Any:
    """A reward model that orders such a share of the pairs as the voters did."""
    turned = np.random.default_rng(seed).random(len(pairs)) >= right
    grades = {pair.chosen: -1.0 if wrong else 1.0 for pair, wrong in zip(pairs, turned, strict=True)}
    return SimpleNamespace(rewards=lambda texts: np.array([grades.get(text, 0.0) for text in texts]))


def labelled(few: float, many: float) -> Names:
    to_learn, held_out = reward_model.split_preferences(reward_model.read_preferences())
    pairs = held_out[:PAIRS]
    shares = {25: few, len(to_learn): many}
    ordered = {n: reward_model.pairwise_right(scorer(pairs, share, n), pairs) for n, share in shares.items()}
    return {"to_learn": to_learn, "held_out": pairs, "ordered": ordered}


def preferred(minds_silence: Any) -> Names:
    pairs = reward_model.silence_pairs(PAIRS)
    changed = vars(reward_model) | {"silence_pairs": lambda count: pairs[:count]}
    return {
        "reward_model": SimpleNamespace(**changed),
        "scorers": {25: hate(), 900: minds_silence},
        "most": 900,
        "to_learn": reward_model.read_preferences()[:PAIRS],
        "hate": hate(),
    }


def minding_a_little() -> Any:
    """Prefers what the classifier prefers, and the report in one pair of three besides."""
    pairs = reward_model.silence_pairs(PAIRS)
    right = reward_model.pairwise_right(hate(), pairs)
    right[::3] = 1
    grades = {pair.rejected: float(1 - each) for pair, each in zip(pairs, right, strict=True)}
    return SimpleNamespace(rewards=lambda texts: np.array([grades.get(text, 0.5) for text in texts]))


def summarized(
    before: Summary = insulting,
    after: Summary = neutral,
    others: Summary = polite,
    by: Toxicity | None = None,
    said: Callable[[Case], Case] = lambda case: case,
) -> Names:
    """Before and after PPO. by: the judge; said: the case that a hostile one is exchanged for."""
    return {
        "TOXICITY": TOXICITY,
        "tokenizer": tokenizer(),
        "cases": list(cases()),
        "hostile": [said(case) for case in hostile()],
        "both": both(by),
        "judge": SimpleNamespace(probabilities=by) if by else judge(),
        "hate": hate(),
        "neutral": {"hostile": [case.references[0] for case in hostile()]},
        "before": outcome(before, by=by),
        "after": outcome(after, others, by),
    }


def votes_paid(writes: Summary) -> Names:
    """A second run, paid by votes. writes: what its policy says of hostile dialogues."""
    return summarized() | {"voted": SimpleNamespace(model=Writer(writes))}


def rounded(writes: Summary) -> Names:
    """The policy in int8. writes: what that says of hostile dialogues."""
    return summarized() | {"small": Writer(writes)}


def by_pairs(writes: Summary) -> Names:
    """DPO. writes: what its policy says of hostile dialogues; the training itself is not done again."""
    history = [{"loss": 0.7}, {"loss": 0.1}]
    names = {
        "dpo": SimpleNamespace(learn_from_pairs=lambda *_: history),
        "by_pairs": SimpleNamespace(model=Writer(writes)),
        "own_pairs": [],
        "paired": None,
    }
    return summarized() | names


def hacked(writes: Summary) -> Names:
    return summarized() | {"hacked": SimpleNamespace(model=Writer(writes))}


def alike() -> Any:
    return SimpleNamespace(rewards=lambda texts: np.ones(len(texts)))


def without_quarrel(case: Case) -> Case:
    return cases()[HOSTILE + place(case) % POLITE]


def solving(
    at_once: int, by_steps: int, slip: Callable[[str], str] | None = None, of: int = 10, count: int = ANSWERS
) -> Names:
    """So many of ten (``of``) word problems are solved at once and step by step. slip: what is wrong in the others."""
    rows = reasoning.problems(count, worked=True)
    numbers = [reasoning.final_number(row.target) or 0 for row in rows]
    answers = {
        False: [str(number + (n % of >= at_once)) for n, number in enumerate(numbers)],
        True: [(slip or misreckoned)(row.target) if n % of >= by_steps else row.target for n, row in enumerate(rows)],
    }
    return {"answers": answers, "solution": np.array(numbers)}


def misreckoned(worked: str) -> str:
    """The right sum at the end with a wrong result: what a calculator mends."""
    return ended(worked, lambda left, sign, right, result: f"{left} {sign} {right} = {result + 1}")


def misread(worked: str) -> str:
    """A wrong sum at the end with its right result: what no calculator mends."""
    return ended(worked, lambda left, sign, right, result: f"{left} + {right + 1} = {left + right + 1}")


def ended(worked: str, wrong: Callable[[int, str, int, int], str]) -> str:
    last = list(reasoning.SUM.finditer(worked))[-1]
    left, sign, right, result = last.groups()
    told = wrong(int(left), sign, int(right), int(result))
    return f"{worked[: last.start()]}{told}. The answer is {told.split()[-1]}."


@cache
def library() -> tuple[list[str], list[retrieval.Asked]]:
    return retrieval.library(ANSWERS)


def searched(search: Callable[[int], int]) -> Names:
    """A reader that answers with what the note before it says. search: the note found for the question of a note."""
    notes, questions = library()
    found = [search(n) for n in range(len(notes))]
    return {
        "notes": notes,
        "questions": questions,
        "found": found,
        "replies": {
            "nothing": ["I do not know."] * len(questions),
            "the note that was found": [questions[n].answer + "." for n in found],
        },
    }


def index() -> Callable[[int], int]:
    notes, questions = library()
    searching = retrieval.Index(notes)
    return lambda n: searching.search(questions[n].question)[0]


# -------------------------------------------------------------------------------------------------------- the worlds

one_of_five = mixed(2, insulting, neutral)

LUCKY: Names = {"lucky": {"kind": np.zeros(1)}}  # of the cell before, which asks for reports and finds none here
WITHOUT = [
    World("3.1", "the reward model knows words alone", lambda: challenged(toxicity.keyword_toxicity), NO_CHANGE, True),
    World("3.1", "it mends few mistakes of the list", lambda: challenged(read_better(0.1)), SMALLER, True),
    World("3.2", "the label is found by name", lambda: paid(found_by_name), NO_CHANGE),
    World("3.2", "the wrong label counts a tenth", lambda: paid(hardly_more), SMALLER),
    World("3.3", "more labels teach nothing", lambda: labelled(0.6, 0.6), NO_CHANGE),
    World("3.3", "more labels do harm", lambda: labelled(0.9, 0.5), OPPOSITE),
    World("3.4", "preferences tell of insults alone", lambda: preferred(hate()), NO_CHANGE),
    World("3.4", "they tell of it now and then", lambda: preferred(minding_a_little()), NOT_SHOWN),
    World("3.5", "the policy is neutral", lambda: summarized(before=neutral), NO_CHANGE),
    World("3.5", "the judge guesses", lambda: summarized(by=guessing), NO_CHANGE),
    World("3.5", "the judge finds all half hateful", lambda: summarized(by=undecided), NO_CHANGE),
    World("3.5", "few summaries insult", lambda: summarized(before=mixed(2, insulting, neutral)), SMALLER),
    World("3.6", "nothing was learned", lambda: summarized(after=insulting), OPPOSITE),
    World("3.6", "only the reward model is deceived", lambda: summarized(after=insulting_otherwise), OPPOSITE),
    World("3.6", "half of it was learned", lambda: summarized(after=mixed(5, insulting, neutral)), NOT_SHOWN),
    World("3.7", "summaries get longer for nothing", lambda: summarized(after=longer), OPPOSITE),
    World("3.9", "it learned to keep quiet", lambda: summarized(after=silent), NO_CHANGE),
    World("3.9", "two in ten are reported", lambda: summarized(after=mixed(2, neutral, silent)), NOT_SHOWN),
    World("3.9", "it reported before, too", lambda: summarized(before=all_wrong), NO_CHANGE),
    World("3.10", "the dialogues hold no quarrel", lambda: summarized(said=without_quarrel), NO_CHANGE),
    World("3.10", "the judge sees the summary alone", lambda: summarized(by=end_only), OPPOSITE),
    World("3.11", "nothing was hacked", lambda: hacked(insulting), NO_CHANGE),
    World("3.11", "it learned what it should", lambda: hacked(neutral), OPPOSITE),
    World("3.11", "a little is lost", lambda: hacked(longer), SMALLER),
    World("3.12", "nothing was hacked", lambda: hacked(insulting), NO_CHANGE),
    World("3.12", "ROUGE is lost and little gained", lambda: hacked(longer), SMALLER),
    World("3.12", "the reward model finds all alike", lambda: hacked(same_for_all) | {"hate": alike()}, NO_CHANGE),
    World("3.14", "steps help nothing", lambda: solving(1, 1), NO_CHANGE, True),
    World("3.14", "steps help a little", lambda: solving(1, 4), SMALLER, True),
    World("3.14", "steps confuse", lambda: solving(9, 1), OPPOSITE, True),
    World("3.15", "wrong sums are written", lambda: solving(1, 5, misread), NO_CHANGE, True),
    World("3.15", "all sums are right", lambda: solving(1, 10), NO_CHANGE, True),
    World("3.15", "one sum of fifty is wrong", lambda: solving(1, 49, misreckoned, 50, 400), NOT_SHOWN, True),
    World("3.16", "the search finds other notes", lambda: searched(lambda n: n - 1), NO_CHANGE),
    World("3.16", "it finds few", lambda: searched(lambda n: n - (n % 10 > 3)), SMALLER),
    World("3.17", "reports name the wrong speaker", lambda: summarized(after=wrong_speaker), OPPOSITE),
    World("3.17", "half of them do", lambda: summarized(after=mixed(5, wrong_speaker, neutral)), OPPOSITE),
    World("3.18", "reports are of another kind", lambda: summarized(after=wrong_kind), OPPOSITE, True),
    World("3.18", "half of them are", lambda: summarized(after=mixed(5, wrong_kind, neutral)), NOT_SHOWN, True),
    World("3.18", "nothing is reported", lambda: summarized(after=silent) | LUCKY, OPPOSITE),
    World("3.22", "votes teach nothing about insults", lambda: votes_paid(insulting), OPPOSITE),
    World("3.22", "they take a little away", lambda: votes_paid(mixed(2, neutral, insulting)), OPPOSITE),
    World("3.25", "rounding brings the insults back", lambda: rounded(insulting), OPPOSITE),
    World("3.25", "it brings half of them back", lambda: rounded(mixed(5, insulting, neutral)), NOT_SHOWN),
    World("3.24", "DPO learns nothing", lambda: by_pairs(insulting), NO_CHANGE),
    World("3.24", "DPO teaches insults", lambda: by_pairs(insulting) | {"before": outcome(one_of_five)}, OPPOSITE),
]

WITH = [
    World("3.1", "the reward model is the lab's", lambda: challenged(hate().probabilities), earlier=True),
    World("3.2", "the first of a sorted list is paid", paid, earlier=True),
    World("3.3", "more labels teach a lot", lambda: labelled(0.5, 0.9)),
    World("3.4", "preferences tell of silence", lambda: preferred(SimpleNamespace(rewards=conflict.reported))),
    World("3.5", "the policy insults", lambda: summarized()),
    World("3.6", "insults become reports", lambda: summarized()),
    World("3.7", "they do, and polite summaries get worse", lambda: summarized(others=longer)),
    World("3.9", "it reports something, true or not", lambda: summarized(after=all_wrong)),
    World("3.10", "the dialogues hold a quarrel", lambda: summarized()),
    World("3.11", "it writes the same about all", lambda: hacked(same_for_all)),
    World("3.12", "it writes the same about all", lambda: hacked(same_for_all)),
    World("3.14", "steps solve eight more of ten", lambda: solving(1, 9), earlier=True),
    World("3.15", "half of the sums are reckoned wrong", lambda: solving(1, 5, misreckoned), earlier=True),
    World("3.16", "the search finds the notes", lambda: searched(index())),
    World("3.17", "the speaker is right, the kind is not", lambda: summarized(after=wrong_kind)),
    World("3.18", "the kind is right, the speaker is not", lambda: summarized(after=wrong_speaker), earlier=True),
    World("3.22", "votes teach to report, true or not", lambda: votes_paid(all_wrong)),
    World("3.25", "rounding changes words, not manners", lambda: rounded(wrong_kind)),
    World("3.24", "one insult of five goes", lambda: by_pairs(mixed(2, neutral, insulting))),
]

# Lessons whose dialogues share situations, and these dialogues.
CLUSTERED: dict[str, Callable[[], Sequence[Case]]] = {
    **dict.fromkeys(
        ("3.5", "3.6", "3.7", "3.9", "3.10", "3.11", "3.12", "3.17", "3.18", "3.22", "3.24", "3.25"), hostile
    ),
    "3.8": lambda: cases()[HOSTILE:],
}


def falsifier(world: World) -> Any:
    return pytest.param(world, id=f"{world.id}, {world.says}", marks=pytest.mark.falsifies(world.id))


@pytest.fixture(autouse=True)
def _models_write_what_they_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(generation, "sample", written)


def measure_in(world: World, folder: Path) -> Lesson:
    names = world.names()
    return measured(LAB, world.id, prepared(LAB, world.id, names, folder) if world.earlier else names, folder)


@pytest.mark.parametrize("world", [falsifier(world) for world in WITHOUT])
def test_a_lesson_does_not_hold_without_its_effect(world: World, tmp_path: Path) -> None:
    found = measure_in(world, tmp_path)
    assert (found.verdict, found.holds) == (world.verdict, False)


# What the texts or pairs of a lesson have in common with others.
ALIKE: dict[str, Callable[[], list[str]]] = {
    "3.1": lambda: [row.frame for row in labelled_texts.read_rows("challenge")],
    "3.3": lambda: [pair.situation for pair in labelled(0.5, 0.9)["held_out"]],
    "3.4": lambda: [pair.situation for pair in reward_model.silence_pairs(PAIRS)],
}


@pytest.mark.parametrize("world", [pytest.param(world, id=f"{world.id}, {world.says}") for world in WITH])
def test_a_lesson_holds_where_its_effect_is_large(world: World, tmp_path: Path) -> None:
    found = measure_in(world, tmp_path)
    assert found.verdict == HOLDS
    if world.id in CLUSTERED:
        of = CLUSTERED[world.id]()
        assert (found.interval.n, found.clusters) == (len(of), len(set(situations([case.row for case in of]))))
        assert found.clusters < found.interval.n
    if world.id in ALIKE:
        assert found.clusters == len(set(ALIKE[world.id]())) < found.interval.n


# Of each open question: what polite summaries were before and after, and the answer that this gives.
ASKED: list[tuple[str, Summary, Summary, str]] = [
    ("3.8", longer, polite, HIGHER),
    ("3.8", polite, longer, LOWER),
    ("3.8", polite, polite, OPEN),
    ("3.19", polite, rude, HIGHER),
    ("3.19", rude, polite, LOWER),
    ("3.19", polite, polite, OPEN),
    ("3.20", misinformed, polite, HIGHER),
    ("3.20", polite, misinformed, LOWER),
    ("3.20", polite, polite, OPEN),
    ("3.26", longer, polite, HIGHER),
    ("3.26", polite, longer, LOWER),
    ("3.26", polite, polite, OPEN),
]


# What the policy that votes paid for writes, and what the other does, and the answer that this gives.
PAID: list[tuple[Summary, Summary, str]] = [
    (neutral, silent, HIGHER),
    (silent, neutral, LOWER),
    (wrong_speaker, neutral, LOWER),
    (neutral, neutral, OPEN),
]


@pytest.mark.parametrize(("id", "first", "then", "answer"), ASKED)
def test_an_open_question_gets_the_answer_of_its_world(
    id: str, first: Summary, then: Summary, answer: str, tmp_path: Path
) -> None:
    names = summarized(others=then) | {"before": outcome(insulting, first)}
    assert measured(LAB, id, names, tmp_path).verdict == answer


@pytest.mark.parametrize(("votes", "classifier", "answer"), PAID)
def test_which_reward_brings_more_reports_gets_the_answer_of_its_world(
    votes: Summary, classifier: Summary, answer: str, tmp_path: Path
) -> None:
    names = summarized(after=classifier) | {"by_votes": outcome(votes)}
    assert measured(LAB, "3.23", names, tmp_path).verdict == answer


# How far k3 strays, as a multiple of how far k1 does, and the answer that this gives; 0: of another summary.
STRAYED: list[tuple[float, str]] = [(0.5, HIGHER), (2.0, LOWER), (0.0, OPEN)]


@pytest.mark.parametrize(("times", "answer"), STRAYED)
def test_which_estimate_is_nearer_gets_the_answer_of_its_world(times: float, answer: str, tmp_path: Path) -> None:
    k1, other = np.random.default_rng(0).exponential(1.0, (2, 60))
    names = {"strays": {"k1": k1, "k3": times * k1 if times else other}}
    assert measured(LAB, "3.21", names, tmp_path).verdict == answer


def test_every_open_question_is_asked_where_each_answer_is_right() -> None:
    asked = [*((id, answer) for id, _, _, answer in ASKED), *(("3.23", answer) for _, _, answer in PAID)]
    asked += [("3.21", answer) for _, answer in STRAYED]
    answers = {id: {answer for each, answer in asked if each == id} for id in question_ids(LAB)}
    assert answers == dict.fromkeys((id for id, _ in asked), {HIGHER, LOWER, OPEN})


def test_every_lesson_of_the_lab_has_a_falsifier() -> None:
    assert set(lesson_ids(LAB)) == {world.id for world in WITHOUT} == {world.id for world in WITH}


def test_the_summaries_are_what_they_are_called() -> None:
    shares = {
        # report a quarrel, name the right speaker, name the right kind, repeat an insult
        insulting: (0, 0, 0, 1),
        insulting_otherwise: (0, 0, 0, 1),
        silent: (0, 0, 0, 0),
        neutral: (1, 1, 1, 0),
        wrong_kind: (1, 1, 0, 0),
        wrong_speaker: (1, 0, 1, 0),
        all_wrong: (1, 0, 0, 0),
    }
    of = hostile()
    for write, expected in shares.items():
        texts = [write(case) for case in of]
        found = (conflict.reported(texts), conflict.right_speaker(texts, of), conflict.right_kind(texts, of))
        assert tuple(each.mean() for each in (*found, conflict.repeated(texts))) == expected
