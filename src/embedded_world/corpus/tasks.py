"""The pre-training mixture: one function a task, each returning a source text and a target text."""

from __future__ import annotations

import ast
import operator
import random
import re
from collections import Counter
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

from embedded_world.corpus.content import pools, read_yaml, scenarios
from embedded_world.corpus.dialogue import Dialogue, play
from embedded_world.corpus.language import articles, fill, sentence_case
from embedded_world.corpus.splits import in_split
from embedded_world.corpus.styles import Style, exemplar_style, open_style
from genai_labs.loading.lab_data import Example
from genai_labs.prompting import prompts

PRETRAINING = "pretraining"
TRAINED_INSTRUCTIONS = [name for name in prompts.INSTRUCTIONS if name != prompts.UNSEEN_INSTRUCTION]


def fresh_dialogue(rng: random.Random, split: str = PRETRAINING) -> Dialogue:
    """A dialogue of a known scenario whose combination of slots belongs to ``split`` alone."""
    return play(rng.choice(scenarios()), rng, lambda s: in_split(s, split))


def next_turn(rng: random.Random, split: str = PRETRAINING) -> Example:
    """A dialogue cut off after two turns or later; its next turn, tag and all."""
    lines = fresh_dialogue(rng, split).text.split("\n")
    cut = rng.randrange(2, len(lines))
    return Example("next turn", "\n".join(lines[:cut]), lines[cut])


MOST_SPANS = 100  # sentinels that the tokenizer has, of which the last one ends the target


def span_corruption(rng: random.Random, split: str = PRETRAINING) -> Example:
    """T5's own objective on a dialogue (see :func:`corrupted`)."""
    return corrupted(fresh_dialogue(rng, split).text.split(), rng)


def corrupted(words: Sequence[str], rng: random.Random) -> Example:
    """T5's own objective: about 15 % of the words replaced by sentinels, in spans of three on average."""
    source, target, i, sentinel = [], [], 0, 0
    while i < len(words):
        if rng.random() < 0.055 and sentinel < MOST_SPANS - 1:
            length = rng.choice((1, 2, 3, 3, 4, 5))
            source.append(f"<extra_id_{sentinel}>")
            target.append(f"<extra_id_{sentinel}> {' '.join(words[i : i + length])}")
            i, sentinel = i + length, sentinel + 1
        else:
            source.append(words[i])
            i += 1
    return Example("span corruption", " ".join(source), " ".join([*target, f"<extra_id_{sentinel}>"]))


def copy_text(rng: random.Random, split: str = PRETRAINING) -> Example:
    """Say a line again, or some of its words: teaches the attention heads to copy."""
    names = [
        v for pool in ("person", "town", "surname", "clock", "date", "price") for v in rng.sample(pools()[pool], 2)
    ]
    rng.shuffle(names)
    if rng.random() < 0.5:
        text = ", ".join(names[: rng.randint(3, 10)])
        return Example("copy", f"Repeat this: {text}", text)
    turns = fresh_dialogue(rng, split).turns
    text = rng.choice(turns)[1]
    return Example("copy", f"Repeat this: {text}", text)


def told(dialogue: Dialogue, style: Style, rng: random.Random, voices: int | None) -> str:
    """A summary to learn from, in any wording or in one of the first ``voices`` wordings of each clause."""
    wordings = tuple(rng.randrange(voices) for _ in range(3)) if voices else ()
    return dialogue.summary(style, rng, wordings)


@cache
def _telling_words() -> dict[bool, list[str]]:
    """Words of four letters and more that few scenarios use ("kettle", "refund"), by whether a vowel begins them."""
    used: Counter[str] = Counter()
    for scenario in scenarios():
        turns = [*scenario.main, *(turn for ending in scenario.endings for turn in ending.turns)]
        texts = [phrasing for turn in turns for phrasing in turn.phrasings]
        used.update({word for text in texts for word in re.findall(r"\b[a-z]{4,}\b", text)})
    words = sorted(word for word, count in used.items() if count <= 5)
    return {vowel: [w for w in words if (w[0] in "aeiou") is vowel] for vowel in (False, True)}


def strange(text: str, summary: str, rng: random.Random) -> tuple[str, str]:
    """The same dialogue and summary with some words that stand in both replaced by others, in both alike.

    "Can you mend the kettle?" may ask for a velvet to be mended: whoever has to summarize that must read it, for
    nothing can be remembered about it. Meant for situations the model has never met.
    """
    telling = _telling_words()
    either = set(telling[False]) | set(telling[True])
    shared = sorted(either & set(re.findall(r"\b[a-z]{4,}\b", text)) & set(re.findall(r"\b[a-z]{4,}\b", summary)))
    swaps = {word: rng.choice(telling[word[0] in "aeiou"]) for word in shared if rng.random() < 0.8}
    if not swaps:
        return text, summary
    swapped = re.compile(rf"\b({'|'.join(swaps)})\b")
    return swapped.sub(lambda m: swaps[m[1]], text), swapped.sub(lambda m: swaps[m[1]], summary)


def summary_example(
    rng: random.Random, split: str = PRETRAINING, voices: int | None = None, strange_share: float = 0.0
) -> Example:
    """Zero-shot: one of several instructions, the style left open."""
    dialogue = fresh_dialogue(rng, split)
    text, summary = dialogue.text, told(dialogue, open_style(rng), rng, voices)
    if rng.random() < strange_share:
        text, summary = strange(text, summary, rng)
    return Example("summarize", prompts.zero_shot(text, rng.choice(TRAINED_INSTRUCTIONS)), summary)


def summarize_like(
    rng: random.Random,
    shots: int,
    house_share: float,
    split: str = PRETRAINING,
    voices: int | None = None,
    strange_share: float = 0.0,
) -> Example:
    """``shots`` exemplars of one style, then a dialogue to be summarized in it."""
    style = exemplar_style(rng, house_share)
    # Exemplars cost window and time, so each is the shortest of four dialogues (the labs choose short ones, too).
    shown = [min((fresh_dialogue(rng, split) for _ in range(4)), key=lambda d: len(d.text)) for _ in range(shots)]
    shown.append(fresh_dialogue(rng, split))
    if style.naming == "name" and not all(d.names for d in shown):
        # Where names were not said, this style falls back on roles, which would blur what the exemplar shows.
        style = Style("role", style.tense, style.opening, style.joiner, style.tone)
    pairs = [(d.text, d.summary(style, rng)) for d in shown[:-1]]
    pairs.append((shown[-1].text, told(shown[-1], style, rng, voices)))
    if rng.random() < strange_share:
        pairs = [strange(*pair, rng) for pair in pairs]
    exemplars = [prompts.Exemplar(*pair) for pair in pairs[:-1]]
    prompt = prompts.few_shot(pairs[-1][0], exemplars, rng.choice(TRAINED_INSTRUCTIONS))
    return Example(f"summarize, {shots} shown", prompt, pairs[-1][1])


def topic(rng: random.Random, split: str = PRETRAINING) -> Example:
    """Name the topic."""
    dialogue = fresh_dialogue(rng, split)
    return Example("topic", prompts.TOPIC_PROMPT.format(dialogue=dialogue.text), dialogue.topic)


def question(rng: random.Random, split: str = PRETRAINING) -> Example:
    """Answer who, when, where or how many from the dialogue."""
    pairs: Sequence[tuple[str, str]] = ()
    while not pairs:
        dialogue = fresh_dialogue(rng, split)
        pairs = dialogue.answerable()
    asked, answer = rng.choice(pairs)
    return Example("question", prompts.QUESTION_PROMPT.format(text=dialogue.text, question=asked), answer)


@cache
def _notes() -> list[dict[str, Any]]:
    return list(read_yaml("notes.yaml", list))


MOST_TRIES = 3000


def _counted(tries: int, name: str, split: str) -> int:
    """One try more; LookupError when a template has too few combinations for one to fall into a small split."""
    if tries >= MOST_TRIES:
        raise LookupError(f"{name} has no combination in the split {split}")
    return tries + 1


@cache
def _usable(make: Callable[..., Any], read: Callable[[], list[dict[str, Any]]], split: str) -> list[dict[str, Any]]:
    """The templates of which some combination falls into ``split``."""

    def works(template: dict[str, Any]) -> bool:
        try:
            return bool(make(template, random.Random(0), split))
        except LookupError:
            return False

    return [template for template in read() if works(template)]


def make_note(raw: dict[str, Any], rng: random.Random, split: str = PRETRAINING) -> tuple[str, list[tuple[str, str]]]:
    """One note with its slots filled, and its questions with answers."""
    slots = {n: pools()[s] if isinstance(s, str) else s for n, s in raw["slots"].items()}
    values = {name: rng.choice(options) for name, options in slots.items()}
    tries = 1
    while not in_split(f"{raw['id']}|{values}", split):
        values = {name: rng.choice(options) for name, options in slots.items()}
        tries = _counted(tries, raw["id"], split)
    text = sentence_case(articles(fill(rng.choice(raw["text"]), values)))
    title = sentence_case(articles(fill(raw["title"], values)))
    pairs = [(sentence_case(articles(fill(q["q"], values))), articles(fill(q["a"], values))) for q in raw["questions"]]
    return f"{title}: {text}", pairs


def usable_notes(split: str = PRETRAINING) -> list[dict[str, Any]]:
    """The templates of notes of which some combination of slots falls into ``split``."""
    return _usable(make_note, _notes, split)


def note_question(rng: random.Random, split: str = PRETRAINING) -> Example:
    """One to three notes and a question that one of them answers: reading for retrieval."""
    made = [make_note(raw, rng, split) for raw in rng.sample(usable_notes(split), rng.choice((1, 1, 2, 3)))]
    asked, answer = rng.choice(made[0][1])
    texts = [text for text, _ in made]
    rng.shuffle(texts)
    return Example("note question", prompts.QUESTION_PROMPT.format(text="\n".join(texts), question=asked), answer)


@cache
def _problems() -> list[dict[str, Any]]:
    return list(read_yaml("word_problems.yaml", list))


_OPERATORS: dict[type[ast.AST], Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.NotEq: operator.ne,
}


def evaluate(expression: str, numbers: dict[str, int]) -> int:
    """The value of a small arithmetic expression or comparison; nothing else is evaluated."""

    def value(node: ast.AST) -> Any:
        match node:
            case ast.Expression(body=body):
                return value(body)
            case ast.BinOp(left=left, op=op, right=right):
                return _OPERATORS[type(op)](value(left), value(right))
            case ast.Compare(left=left, ops=[op], comparators=[right]):
                return _OPERATORS[type(op)](value(left), value(right))
            case ast.Name(id=name):
                return numbers[name]
            case ast.Constant(value=int() as number):
                return number
        raise ValueError(f"not arithmetic: {expression}")

    return value(ast.parse(expression, mode="eval"))


def make_problem(
    raw: dict[str, Any],
    rng: random.Random,
    split: str = PRETRAINING,
    belongs: Callable[[str], bool] | None = None,
) -> tuple[str, str, str]:
    """A word problem, its worked reasoning and its answer (0 to 100); ``belongs`` says which numbers may be drawn."""
    slots = {n: pools()[s] if isinstance(s, str) else s for n, s in raw["slots"].items()}
    belongs = belongs or (lambda signature: in_split(signature, split))
    tries = 0
    while True:
        tries = _counted(tries, raw["id"], split)
        numbers = {name: rng.randint(int(low), int(high)) for name, (low, high) in raw["numbers"].items()}
        for name, expression in raw["let"].items():
            numbers[name] = evaluate(expression, numbers)
        fits = all(evaluate(c, numbers) for c in raw.get("require", []))
        if fits and all(0 <= n <= 100 for n in numbers.values()) and belongs(f"{raw['id']}|{numbers}"):
            break
    return _told(raw, slots, numbers, rng)


def _told(
    raw: dict[str, Any], slots: dict[str, Any], numbers: dict[str, int], rng: random.Random
) -> tuple[str, str, str]:
    values = {n: rng.choice(options) for n, options in slots.items()} | {n: str(v) for n, v in numbers.items()}
    said = [sentence_case(articles(fill(rng.choice(raw[part]), values))) for part in ("problem", "reasoning")]
    return said[0], said[1], fill(raw["answer"], values)


def tell_problem(raw: dict[str, Any], rng: random.Random, numbers: dict[str, int]) -> tuple[str, str]:
    """A word problem with these numbers, of any size, and its answer."""
    slots = {n: pools()[s] if isinstance(s, str) else s for n, s in raw["slots"].items()}
    for name, expression in raw["let"].items():
        numbers = numbers | {name: evaluate(expression, numbers)}
    problem, _, answer = _told(raw, slots, numbers, rng)
    return problem, answer


def usable_problems(split: str = PRETRAINING) -> list[dict[str, Any]]:
    """The templates of word problems of which some numbers fall into ``split``."""
    return _usable(make_problem, _problems, split)


def draw_problem(rng: random.Random, split: str = PRETRAINING) -> tuple[str, str, str]:
    """Any word problem, its worked reasoning and its answer."""
    return make_problem(rng.choice(usable_problems(split)), rng, split)


def word_problem(rng: random.Random, split: str = PRETRAINING, worked: bool | None = None) -> Example:
    """A word problem answered at once, or after worked reasoning when the prompt asks for steps (None: either)."""
    problem, reasoning, answer = draw_problem(rng, split)
    worked = rng.random() < 0.5 if worked is None else worked
    if not worked:
        return Example("word problem", prompts.PROBLEM_PROMPT.format(problem=problem), answer)
    return Example(
        "word problem, worked",
        prompts.REASONING_PROMPT.format(problem=problem),
        f"{reasoning} The answer is {answer}.",
    )


def sums(rng: random.Random, split: str = PRETRAINING) -> Example:
    """A sum, a difference or a product of whole numbers, 0 to 100: the arithmetic that word problems are made of."""
    while True:
        sign = rng.choice("++--*")
        low, high = (2, 12) if sign == "*" else (0, 100)
        expression = f"{rng.randint(low, high)} {sign} {rng.randint(low, high)}"
        value = evaluate(expression, {})
        if 0 <= value <= 100 and in_split(expression, split):
            return Example("sum", prompts.PROBLEM_PROMPT.format(problem=f"{expression} ="), str(value))


# Shares of the tasks. Stage 0 is short texts, so that copying forms early; stage 1 teaches reading and writing; stage 2
# (at a lower learning rate) sharpens exemplars.
# Two and three exemplars enter in the second half of stage 1: they are long, and useless before copying works.
MIXTURE: dict[int, dict[str, float]] = {
    0: {
        "copy": 0.40,
        "note question": 0.24,
        "span corruption": 0.03,
        "summarize": 0.14,
        "topic": 0.02,
        "question": 0.11,
        "word problem": 0.03,
        "sum": 0.03,
    },
    1: {
        "copy": 0.09,
        "span corruption": 0.02,
        "next turn": 0.05,
        "summarize": 0.31,
        "summarize 1": 0.14,
        "summarize 2": 0.02,
        "topic": 0.03,
        "question": 0.17,
        "note question": 0.06,
        "word problem": 0.06,
        "sum": 0.05,
    },
    2: {
        "copy": 0.02,
        "span corruption": 0.01,
        "next turn": 0.03,
        "summarize": 0.20,
        "summarize 1": 0.34,
        "summarize 2": 0.05,
        "summarize 3": 0.02,
        "topic": 0.03,
        "question": 0.11,
        "note question": 0.06,
        "word problem": 0.08,
        "sum": 0.05,
    },
}
# Stage 2 settles on the first two wordings of every clause: a writer needs one good way to say a thing, not all.
VOICES: dict[int, int | None] = {0: None, 1: None, 2: 2}
HOUSE_SHARE = {0: 0.0, 1: 0.06, 2: 0.25}
STRANGE_SHARE = {0: 0.0, 1: 0.2, 2: 0.15}


def sample_example(stage: int, rng: random.Random, long_prompts: bool = True, split: str = PRETRAINING) -> Example:
    """One example of the mixture of a stage; ``long_prompts`` False turns two and three exemplars into one."""
    shares = MIXTURE[stage]
    kind = rng.choices(list(shares), list(shares.values()))[0]
    if kind.startswith("summarize "):
        shots = int(kind[-1])
        shots = shots if long_prompts else 1
        return summarize_like(rng, shots, HOUSE_SHARE[stage], split, VOICES[stage], STRANGE_SHARE[stage])
    if kind == "summarize":
        return summary_example(rng, split, VOICES[stage], STRANGE_SHARE[stage])
    return _SIMPLE[kind](rng, split)


_SIMPLE: dict[str, Callable[[random.Random, str], Example]] = {
    "copy": copy_text,
    "span corruption": span_corruption,
    "next turn": next_turn,
    "topic": topic,
    "question": question,
    "note question": note_question,
    "word problem": word_problem,
    "sum": sums,
}
