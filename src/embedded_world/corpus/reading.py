"""The mixture of a world that must be read: composed dialogues, hand-written ones, and the tasks of ``tasks.py``."""

from __future__ import annotations

import random
import re
from collections.abc import Callable
from functools import cache

from embedded_world.corpus import handwritten, tasks, words
from embedded_world.corpus.compose import compose, single
from embedded_world.corpus.dialogue import capitalized
from embedded_world.corpus.handwritten import HandWritten
from embedded_world.corpus.language import articles, conjugate, fill
from embedded_world.corpus.spoken import tidy
from embedded_world.corpus.styles import OPENINGS, Style, exemplar_style, open_style
from embedded_world.corpus.talk import Talk
from genai_labs.loading.lab_data import Example
from genai_labs.prompting import prompts

# How the last turn of a text is asked for.
REPORTS = (
    "{text}\n\nReport the last turn.",
    "{text}\n\nWhat is said at the end?",
    "What does the last speaker say or do?\n\n{text}\n\nReport:",
)
HOUSE_SHARE = 0.3  # of prompts with exemplars


def unlabelled(rng: random.Random) -> str:
    """A dialogue as bare text: composed, of a scenario, or written by hand."""
    chance = rng.random()
    if chance < 0.6:
        return compose(rng).text
    if chance < 0.8:
        return tasks.fresh_dialogue(rng).text
    dialogue = rng.choice(handwritten.written("train"))
    return handwritten.swapped(dialogue, rng)(dialogue.text)


def turn_to_come(rng: random.Random) -> Example:
    """A dialogue cut off; its next turn, tag and all."""
    lines = unlabelled(rng).split("\n")
    while len(lines) < 2:
        lines = unlabelled(rng).split("\n")
    cut = rng.randrange(1, len(lines))
    return Example("next turn", "\n".join(lines[:cut]), lines[cut])


def corrupted_text(rng: random.Random) -> Example:
    """T5's own objective on bare text."""
    return tasks.corrupted(unlabelled(rng).split(" "), rng)


def copied(rng: random.Random) -> Example:
    """Say a list of words or a line again."""
    if rng.random() < 0.5:
        kinds = ("thing", "name", "town", "dish", "animal", "price", "clock", "date", "company", "title", "plant")
        text = ", ".join(words.draw_word(rng.choice(kinds), rng) for _ in range(rng.randint(3, 10)))
    else:
        text = rng.choice(unlabelled(rng).split("\n")).split(": ", 1)[-1]
    return Example("copy", f"Repeat this: {text}", text)


def single_report(rng: random.Random) -> Example:
    """The report of the last turn of one or two."""
    text, told = single(rng)
    return Example("report", rng.choice(REPORTS).format(text=text), told)


def instruction(rng: random.Random) -> str:
    """The name of an instruction that the model is trained on."""
    return rng.choice(tasks.TRAINED_INSTRUCTIONS)


def zero_shot_summary(rng: random.Random) -> Example:
    """Zero-shot: one of several instructions, the style left open."""
    talk = compose(rng)
    return Example("summarize", prompts.zero_shot(talk.text, instruction(rng)), talk.summary(open_style(rng), rng, 3))


def summary_like(
    rng: random.Random, shots: int, house_share: float = HOUSE_SHARE, split: str = "pretraining"
) -> Example:
    """``shots`` exemplars of one style, then a dialogue to be summarized in it."""
    style = exemplar_style(rng, house_share)
    shown = [compose(rng, split, exchanges=rng.choice((1, 1, 2))) for _ in range(shots)]
    talk = compose(rng, split)
    if style.naming == "name" and not all(t.names for t in (*shown, talk)):
        style = Style("role", style.tense, style.opening, style.joiner, style.tone)
    exemplars = [prompts.Exemplar(t.text, t.summary(style, rng)) for t in shown]
    prompt = prompts.few_shot(talk.text, exemplars, instruction(rng))
    return Example(f"summarize, {shots} shown", prompt, talk.summary(style, rng, 3))


def topic_of(rng: random.Random, split: str = "pretraining") -> Example:
    """Name the topic of a dialogue with one exchange."""
    talk = compose(rng, split, exchanges=1)
    return Example("topic", prompts.TOPIC_PROMPT.format(dialogue=talk.text), talk.topic)


def who(rng: random.Random, split: str = "pretraining") -> Example:
    """Ask who did one of the things that a dialogue tells."""
    talk = compose(rng, split)
    told = rng.choice(talk.told)
    clause = rng.choice(told.reports)
    subject = re.match(r"\{([AB])\} ", clause)
    if not subject:
        return who(rng, split)
    people = {s: talk.tag(s) for s in "AB"}
    named = people | {f"{s}'s": f"{tag}'s" for s, tag in people.items()}
    rest = conjugate(clause[subject.end() :], "present")
    question = tidy(articles(fill(f"Who {rest}?", named)))
    return Example("question", prompts.QUESTION_PROMPT.format(text=talk.text, question=question), people[subject[1]])


# ---------------------------------------------------------------- dialogues written by hand


def free_summary(dialogue: HandWritten, style: Style, rng: random.Random) -> tuple[str, str]:
    """A hand-written dialogue with some words exchanged, and its summary in a style of tags or positions."""
    swap = handwritten.swapped(dialogue, rng)
    text = swap(rng.choice(dialogue.summaries))
    if style.naming == "position":
        text = text.replace("#Person1#", "the first speaker").replace("#Person2#", "the second speaker")
        text = re.sub(r"(^|[.?!] )(the \w+ speaker)", lambda m: m[1] + capitalized(m[2]), text)
    opening = style.opening.format(topic=dialogue.topic)
    if opening.endswith((", ", ": ")) and text.startswith("The "):
        text = "t" + text[1:]
    return swap(dialogue.text), opening + text


def free_style(rng: random.Random, house: bool) -> Style:
    """A style that a free summary can have: tags or positions, present tense, sentences."""
    if house:
        return Style("tag", "present", "", ". ")
    return Style("position", "present", rng.choice(OPENINGS), ". ")


def written_summary(rng: random.Random) -> Example:
    """Zero-shot, a hand-written dialogue."""
    dialogue = rng.choice(handwritten.written("train"))
    text, told = free_summary(dialogue, free_style(rng, house=False), rng)
    return Example("summarize, by hand", prompts.zero_shot(text, instruction(rng)), told)


def written_like(rng: random.Random) -> Example:
    """One exemplar, written by hand or composed, then a hand-written dialogue in the same style."""
    style = free_style(rng, house=rng.random() < 0.8)
    first, second = rng.sample(handwritten.written("train"), 2)
    if rng.random() < 0.5:
        talk: Talk = compose(rng, exchanges=rng.choice((1, 2)))
        exemplar = prompts.Exemplar(talk.text, talk.summary(style, rng))
    else:
        exemplar = prompts.Exemplar(*free_summary(first, style, rng))
    text, told = free_summary(second, style, rng)
    return Example("summarize, by hand, 1 shown", prompts.few_shot(text, [exemplar], instruction(rng)), told)


@cache
def with_reports(part: str) -> tuple[HandWritten, ...]:
    """The hand-written dialogues of a part that have reports of their turns."""
    return tuple(d for d in handwritten.written(part) if any(d.reports))


def written_part(rng: random.Random) -> Example:
    """Some turns in a row of a hand-written dialogue, and the reports of most of them as their summary."""
    dialogue = rng.choice(with_reports("train"))
    length = rng.randint(2, 5)
    start = rng.randrange(max(1, len(dialogue.turns) - length + 1))
    told = [r for r in dialogue.reports[start : start + length] if r]
    kept = [r for r in told if rng.random() < 0.8] or told
    if not kept:
        return written_part(rng)
    swap = handwritten.swapped(dialogue, rng)
    style = free_style(rng, house=True)
    talk = compose(rng, exchanges=1)
    exemplar = prompts.Exemplar(talk.text, talk.summary(style, rng))
    text = swap("\n".join(dialogue.turns[start : start + length]))
    prompt = prompts.few_shot(text, [exemplar], instruction(rng))
    return Example("summarize, part by hand, 1 shown", prompt, swap(" ".join(kept)))


def written_report(rng: random.Random) -> Example:
    """The report of one turn of a hand-written dialogue, behind all or some of the turns before it."""
    dialogue = rng.choice(with_reports("train"))
    at = rng.choice([i for i, r in enumerate(dialogue.reports) if r])
    start = rng.choice((0, max(0, at - 3)))
    swap = handwritten.swapped(dialogue, rng)
    told = dialogue.reports[at] or ""
    return Example(
        "report, by hand", rng.choice(REPORTS).format(text=swap("\n".join(dialogue.turns[start : at + 1]))), swap(told)
    )


def by_hand(rng: random.Random) -> Example:
    """Any task of hand-written dialogues, most with words that stand there by chance."""
    makers = (written_report, written_part, written_like, written_summary)
    example = rng.choices(makers, (0.5, 0.31, 0.16, 0.03))[0](rng)
    if rng.random() < 0.75:
        share = rng.choice((0.3, 0.6, 1.0))
        return Example(example.task, *handwritten.scrambled(example.source, example.target, rng, share))
    return example


# ---------------------------------------------------------------- arithmetic


def sums_in_a_row(rng: random.Random) -> Example:
    """Some sums, differences and products to be written out: "12 + 30 = 42. 40 - 3 = 37."

    One sum has two target tokens where a summary has sixty, and the loss counts tokens: alone it would not be learned.
    """
    drawn = [tasks.sums(rng) for _ in range(rng.randint(4, 12))]
    asked = [example.source.split(" =")[0] for example in drawn]
    worked = [f"{a} = {example.target}." for a, example in zip(asked, drawn, strict=True)]
    return Example("sums", prompts.REASONING_PROMPT.format(problem="; ".join(asked)), " ".join(worked))


def old_world(rng: random.Random) -> Example:
    """The tasks of the 120 scenarios."""
    return tasks.sample_example(2, rng)


TEXT: dict[Callable[[random.Random], Example], float] = {corrupted_text: 0.6, turn_to_come: 0.4}
INSTRUCTIONS: dict[Callable[[random.Random], Example], float] = {
    corrupted_text: 0.02,
    turn_to_come: 0.03,
    copied: 0.02,
    single_report: 0.12,
    zero_shot_summary: 0.14,
    lambda rng: summary_like(rng, 1): 0.25,
    lambda rng: summary_like(rng, 2): 0.02,
    lambda rng: summary_like(rng, 3): 0.01,
    topic_of: 0.02,
    who: 0.05,
    by_hand: 0.07,
    tasks.word_problem: 0.09,
    sums_in_a_row: 0.06,
    tasks.note_question: 0.05,
    old_world: 0.05,
}
# The last phase, with dropout: dialogues written by hand, and everything else, so that it is not forgotten.
POLISH: dict[Callable[[random.Random], Example], float] = {
    by_hand: 0.6,
    lambda rng: draw_example("instructions", rng): 0.4,
}
MIXTURES = {"text": TEXT, "instructions": INSTRUCTIONS, "polish": POLISH}


def draw_example(mixture: str, rng: random.Random) -> Example:
    """One example of the mixture "text" (unlabelled only), "instructions" or "polish"."""
    shares = MIXTURES[mixture]
    return rng.choices(list(shares), list(shares.values()))[0](rng)
