"""Lab 1's exercises: a stub is told a first step, each usual mistake its name, and right answers of any form pass.

Stubs and solutions are read out of the notebook, so that what is tested is what is shown.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable
from functools import cache, partial
from typing import Any

import nbformat
import numpy as np
import pytest
import torch
from rouge_score.rouge_scorer import RougeScorer
from transformers import TopPLogitsWarper

from genai_labs.course.runner import LAB_NOTEBOOKS
from genai_labs.loading import models
from genai_labs.loading.profiles import load_profile
from genai_labs.paths import NOTEBOOKS
from genai_labs.prompting import exercises as check
from genai_labs.prompting import generation, number_exercises, prompts
from genai_labs.scoring import baselines, metrics

NOTEBOOK = NOTEBOOKS / LAB_NOTEBOOKS[1]
SOLUTION = re.compile(r"<summary>Solution</summary>\n\n```python\n(.*?)```", re.DOTALL)
NAMES = ("bytes", "rouge", "fixed", "zero-shot", "interval", "few-shot", "greedy", "temperature", "top-p")
WORDS = re.compile(r"[a-z0-9]+")
Answer = Callable[..., Any]


@cache
def cells() -> dict[str, str]:
    """The sources of the notebook's cells by their ids."""
    return {cell.id: cell.source for cell in nbformat.read(NOTEBOOK, as_version=4).cells}


@cache
def lab() -> dict[str, Any]:
    """What the notebook's earlier cells have made by the time an exercise is met."""
    profile = load_profile("mini")
    model, tokenizer = models.load_model(profile)
    return {"profile": profile, "model": model, "tokenizer": tokenizer, "check": check}


def stub(name: str) -> str:
    return cells()[f"lab1-ex-{name}-code"]


def solution(name: str) -> Answer:
    """The learner's function, as the folded solution has it."""
    (code,) = SOLUTION.findall(cells()[f"lab1-ex-{name}"])
    namespace = dict(lab())
    exec(code, namespace)
    (function,) = [value for key, value in namespace.items() if key.startswith("my_")]
    return function


def told(name: str, answer: Any, capsys: pytest.CaptureFixture[str]) -> str:
    """The line that the exercise's own cell prints where the function is this one."""
    (call,) = [line for line in stub(name).splitlines() if line.startswith("check.")]
    (own,) = re.findall(r"\bmy_\w+", call)
    exec(call, dict(lab()) | {own: answer})
    shown = capsys.readouterr().out
    assert shown.count("\n") == 1
    return shown.strip()


@pytest.mark.parametrize("name", NAMES)
def test_a_stub_as_it_stands_is_told_a_first_step(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    exec(stub(name), dict(lab()))
    shown = capsys.readouterr().out
    assert re.fullmatch(r"Not yet: the function gives back nothing so far\. \S.*[.?]\n", shown)


@pytest.mark.parametrize("name", NAMES)
def test_the_folded_solution_is_right(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert told(name, solution(name), capsys).startswith("Right: ")


def test_greedy_texts_are_those_of_the_package_too(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "and 3 of 3 texts the package's" in told("greedy", solution("greedy"), capsys)
    monkeypatch.setattr(generation, "generate", lambda *_, **__: ["another text"])
    assert "and 0 of 3 texts the package's" in told("greedy", solution("greedy"), capsys)


def test_what_a_right_answer_leaves_open_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    assert "only their ends are looked at" in told("interval", lambda a, b: metrics.paired_bootstrap(a, b)[1:3], capsys)
    assert "but your function calls generate" in told("greedy", by_transformers, capsys)
    assert "but your function" not in told("greedy", cached_loop, capsys)


@pytest.mark.parametrize("name", NAMES)
def test_what_is_absurd_is_told_and_not_raised(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    class Odd:
        def __eq__(self, other: object) -> bool:
            raise ValueError("incomparable")

    def fails(*_: Any) -> Any:
        raise KeyError("lost")

    values: tuple[Any, ...] = (
        object(),
        Odd(),
        {},
        [],
        "",
        -1,
        float("nan"),
        [[1], [2, 3]],
        torch.ones(3, 3),
        np.nan * np.ones(2),
        int,
    )
    for value in values:
        assert told(name, lambda *_, value=value: value, capsys).startswith("Not yet: "), value
    assert "KeyError: 'lost'" in told(name, fails, capsys)
    assert "TypeError" in told(name, lambda: 1, capsys)
    assert "a function is needed" in told(name, 3, capsys)


# Right, in another form than the solution.


def rouge_by_hand(summary: str, reference: str) -> float:
    one, other = WORDS.findall(summary.lower()), WORDS.findall(reference.lower())
    shared = 0
    for word in one:
        if word in other:
            other.remove(word)
            shared += 1
    whole = len(WORDS.findall(reference.lower()))
    precision, recall = shared / max(len(one), 1), shared / max(whole, 1)
    return 0 if not shared else 2 * precision * recall / (precision + recall)


def cached_loop(model: Any, ids: torch.Tensor, most: int) -> Any:
    """Reads the prompt once, returns a tensor with the start token and without the end."""
    read = model.get_encoder()(ids)
    written = torch.full((1, 1), model.generation_config.decoder_start_token_id)
    for _ in range(most):
        token = model(encoder_outputs=read, decoder_input_ids=written).logits[:, -1].softmax(-1).argmax(-1)
        if token == model.generation_config.eos_token_id:
            break
        written = torch.cat([written, token[:, None]], 1)
    return written


def by_transformers(model: Any, ids: torch.Tensor, most: int) -> Any:
    config = generation.complete(generation.greedy(most), model)
    return model.generate(ids, attention_mask=torch.ones_like(ids), generation_config=config)


def nucleus_one_by_one(probabilities: torch.Tensor, p: float) -> list[float]:
    kept, total = {}, 0.0
    for place in sorted(range(len(probabilities)), key=lambda i: -probabilities[i]):
        kept[place] = float(probabilities[place])
        total += kept[place]
        if total >= p:
            break
    return [kept.get(place, 0) / total for place in range(len(probabilities))]


def warped(probabilities: torch.Tensor, p: float) -> torch.Tensor:
    return TopPLogitsWarper(p)(torch.tensor([[0]]), probabilities.log()[None]).softmax(-1)[0]


def all_at_once(a: Any, b: Any) -> tuple[float, float]:
    places = np.random.default_rng(3).integers(len(a), size=(2000, len(a)))
    means = np.sort((a - b)[places].mean(1))
    return means[50], means[-51]


def one_loop(dialogue: str, exemplars: Any, template: str) -> str:
    before, behind = template.split("{dialogue}")
    prompt = ""
    for each in exemplars:
        prompt += f"{before}{each.dialogue}{behind} {each.summary}\n\n\n"
    return prompt + before + dialogue + behind


def exponentials(logits: torch.Tensor, temperature: float) -> Any:
    shares = np.exp((logits.double().numpy() - float(logits.max())) / temperature)
    return shares / shares.sum()


RIGHT: dict[str, list[Answer]] = {
    "bytes": [lambda n, t: 16 * t + 4 * (n - t), lambda n, t: torch.tensor(4.0 * n + 12.0 * t, dtype=torch.float64)],
    "rouge": [
        rouge_by_hand,
        lambda s, r: RougeScorer(["rouge1"]).score(r, s)["rouge1"].fmeasure,
    ],
    "fixed": [
        baselines.fixed_string,
        lambda texts: " ".join(word for word, _ in Counter(" ".join(texts).split()).most_common(30)),
    ],
    "zero-shot": [lambda d, t: d.join(t.split("{dialogue}")), lambda d, t: prompts.zero_shot(d, t)],
    "interval": [
        all_at_once,
        lambda a, b: list(metrics.paired_bootstrap(a, b)[1:3]),
        lambda a, b: (a - b).mean() + np.array([-1.96, 1.96]) * (a - b).std(ddof=1) / len(a) ** 0.5,
    ],
    "few-shot": [one_loop, lambda d, e, t: prompts.few_shot(d, e, t)],
    "greedy": [cached_loop, by_transformers],
    "temperature": [exponentials, lambda z, t: (z / t - (z / t).logsumexp(0)).exp()],
    "top-p": [nucleus_one_by_one, warped],
}


@pytest.mark.parametrize("name", NAMES)
def test_right_answers_of_other_forms_pass(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    for answer in RIGHT[name]:
        assert told(name, answer, capsys).startswith("Right: ")


# Wrong, and the words that name the mistake.


def rouge(formula: Answer, words: Answer = lambda text: WORDS.findall(text.lower()), counted: Any = Counter) -> Answer:
    """A score by a formula of shared words and of the two lengths."""

    def score(summary: str, reference: str) -> Any:
        one, other = words(summary), words(reference)
        shared = counted(one) & counted(other)
        count = shared.total() if isinstance(shared, Counter) else len(shared)
        return formula(count, len(one), len(other)) if count else 0.0

    return score


def f1(shared: int, one: int, other: int) -> float:
    return 2 * shared / (one + other)


def unclipped(summary: str, reference: str) -> float:
    one, other = WORDS.findall(summary.lower()), WORDS.findall(reference.lower())
    return f1(sum(word in other for word in one), len(one), len(other)) if one and other else 0.0


def places(summary: str, reference: str) -> float:
    one, other = WORDS.findall(summary.lower()), WORDS.findall(reference.lower())
    return sum(a == b for a, b in zip(one, other, strict=False)) / max(len(one), len(other))


def frequent(count: int) -> Answer:
    return lambda texts: " ".join(word for word, _ in Counter(" ".join(texts).split()).most_common(count))


def loop(
    model: Any,
    ids: torch.Tensor,
    most: int,
    position: int = -1,
    begin: Any = (0,),
    ends: bool = True,
    window: int = 0,
    sampled: bool = False,
) -> list[int]:
    """Greedy decoding with one thing wrong."""
    begin = ids[0].tolist() if begin == "prompt" else begin
    made: list[int] = []
    read = model.get_encoder()(ids)
    while len(made) < most and not (ends and made[-1:] == [1]):
        seen = torch.tensor([[*begin, *made][-window:]])
        logits = model(encoder_outputs=read, decoder_input_ids=seen).logits[0]
        last = logits[position] if len(logits) >= abs(position) else logits[-1]
        made.append(int(torch.multinomial((last / 2).softmax(-1), 1) if sampled else last.argmax()))
    return made


def any_place(model: Any, ids: torch.Tensor, most: int) -> list[int]:
    """Takes the largest of all logits, of whatever place."""
    made = [0]
    while len(made) <= most:
        made.append(int(model(input_ids=ids, decoder_input_ids=torch.tensor([made])).logits.argmax()))
    return made[1:]


def cut_off(kept: Answer, renormalised: bool = True) -> Answer:
    """Top-p with another rule of what is kept: of sorted values and what they sum to."""

    def answer(q: torch.Tensor, p: float) -> torch.Tensor:
        values, order = q.sort(descending=True)
        stay = kept(values, values.cumsum(0), p)
        out = torch.zeros_like(q)
        out[order[stay]] = values[stay]
        return out / out.sum() if renormalised else out

    return answer


def unsorted(q: torch.Tensor, values: torch.Tensor, p: float) -> torch.Tensor:
    """Marks what stays among sorted values, and takes it from the others."""
    kept = q * (values.cumsum(0) - values < p)
    return kept / kept.sum()


def percentiles(of: Answer, low: float = 2.5, high: float | None = None) -> Answer:
    """An interval from what `of` draws 2,000 times."""

    def answer(a: Any, b: Any) -> Any:
        rng = np.random.default_rng(0)
        return np.percentile([of(a, b, rng) for _ in range(2000)], [low, 100 - low if high is None else high])

    return answer


def drawn(scores: Any, rng: Any, replace: bool = True) -> Any:
    return rng.choice(scores, len(scores), replace)


def mean_difference(a: Any, b: Any, rng: Any) -> float:
    return drawn(a - b, rng).mean()


few, zero = prompts.few_shot, prompts.zero_shot
Exemplar = prompts.Exemplar
WRONG: dict[str, list[tuple[Answer, str]]] = {
    "bytes": [
        (lambda n, t: 4 * n, "weights alone"),
        (lambda n, t: 4 * n + 8 * t, "one of Adam's two moments"),
        (lambda n, t: 4 * n + 4 * t, "you count two"),
        (lambda n, t: 16 * n, "gradients and moments of frozen numbers"),
        (lambda n, t: 16 * t, "left the frozen numbers out"),
        (lambda n, t: 4 * (n - t) + 12 * t, "one of Adam's"),
        (lambda n, t: (4 * n + 12 * t) / 1e6, "megabytes"),
        (lambda n, t: n + 3 * t, "without the 4 bytes that each takes"),
        (lambda n, t: 2 * n + 6 * t, "all of them with 2 bytes, as in fp16"),
        (lambda n, t: 17 * n, "Which of the four".lower()),
    ],
    "rouge": [
        (rouge(lambda shared, one, other: shared / other), "this is recall"),
        (rouge(lambda shared, one, other: shared / one), "this is precision"),
        (rouge(lambda shared, one, other: shared), "number of shared words"),
        (rouge(lambda shared, one, other: shared / (one + other - shared)), "all words of either text"),
        (rouge(lambda shared, one, other: (shared / one + shared / other) / 2), "plain mean"),
        (rouge(lambda *counts: 100 * f1(*counts)), "in percent"),
        (rouge(lambda *counts: f1(*counts) + 0.1), "harmonic mean"),
        (places, "accuracy"),
        (rouge(f1, lambda text: sorted(set(WORDS.findall(text.lower())))), "counts once, however often"),
        (rouge(f1, counted=set), "shared words are a set"),
        (unclipped, "each time the summary says it"),
        (rouge(f1, str.split), "capital letters"),
        (rouge(f1, lambda text: text.lower().split()), "commas stick"),
        (
            lambda s, r: 2 / (1 / (rouge(lambda n, a, b: n / a)(s, r)) + 1 / rouge(lambda n, a, b: n / b)(s, r)),
            "is empty",
        ),
    ],
    "fixed": [
        (lambda texts: "", "is empty"),
        (lambda texts: "#Person1# asks #Person2# to come, and #Person2# agrees.", "words that are not in them"),
        (frequent(2000), "too long"),
        (frequent(5), "too short"),
        (lambda texts: min(texts, key=lambda t: abs(len(t.split()) - 48)), "not made of the right words"),
        (lambda texts: Counter(texts).most_common(1)[0][0].split(), "one text is needed, and a list came"),
    ],
    "zero-shot": [
        (lambda d, t: t, "would not see the dialogue"),
        (lambda d, t: t + d, "stands elsewhere"),
        (lambda d, t: d, "instruction is missing"),
        (lambda d, t: zero(d), "the wording is fixed"),
        (lambda d, t: t.replace("{dialogue}", " ".join(d.split())), "not on lines of their own"),
        (lambda d, t: zero(d, t) + "\n", "blanks are not"),
        (lambda d, t: zero(d, t.split("{dialogue}")[0] + "{dialogue}"), "cue to write"),
        (lambda d, t: "Please. " + zero(d, t), "is not the template"),
        (lambda d, t: t.format(dialogue=d), "str.format reads all braces"),
        (lambda d, t: re.sub(r"\{.*?\}", lambda _: d, t), "only {dialogue} is to be replaced"),
        (lambda d, t: re.sub(r"\{dialogue\}", d, t), r"C:\\new.\n\nSummary:' is right"),
        (lambda d, t: zero(d.strip(), t), "those at the ends stay"),
        (lambda d, t: zero(d, t).strip(), "those at the ends stay"),
    ],
    "few-shot": [
        (
            lambda d, e, t: "\n\n\n".join([zero(d, t), *(f"{zero(x.dialogue, t)} {x.summary}" for x in e)]),
            "before an exemplar",
        ),
        (lambda d, e, t: "\n\n\n".join([*(zero(x.dialogue, t) for x in e), zero(d, t)]), "summaries of 3 of 3"),
        (lambda d, e, t: few(d, [Exemplar(d, x.summary) for x in e], t), "stands in it 4 times"),
        (lambda d, e, t: few(d, e[::-1], t), "another order"),
        (lambda d, e, t: few(d, e, t).removesuffix("Summary:"), "is not the end"),
        (lambda d, e, t: few(d, e, t).removesuffix("\n\nSummary:"), "is not the end"),
        (lambda d, e, t: few(d, e, t) + " " + (e[0].summary if e else ""), "is not the end"),
        (lambda d, e, t: few(d, e, t).removesuffix(zero(d, t)), "nothing is asked"),
        (lambda d, e, t: t, "still stands in the prompt"),
        (lambda d, e, t: few(d, [Exemplar("nothing", x.summary) for x in e], t), "dialogues of 3 of 3"),
        (
            lambda d, e, t: "\n\n\n".join([*(f"{x.summary} {zero(x.dialogue, t)}" for x in e), zero(d, t)]),
            "before its dialogue",
        ),
        (
            lambda d, e, t: "\n".join([*(f"{x.dialogue}\n\nSummary: {x.summary}" for x in e), zero(d, t)]),
            "it 1 time(s)",
        ),
        (lambda d, e, t: few(d, e, t).replace("\n\n\n", "\n\n"), "blanks are not"),
        (lambda d, e, t: "Examples: " + few(d, e, t), "others too"),
        (
            lambda d, e, t: "\n\n\n".join(
                [*(f"{t.format(dialogue=x.dialogue)} {x.summary}" for x in e), t.format(dialogue=d)]
            ),
            "str.format reads all braces",
        ),
        (lambda d, e, t: few(d, e, t).replace('{"summary": "..."}', ""), "only {dialogue} is to be replaced"),
    ],
    "greedy": [
        (partial(loop, position=-2), "last position but one"),
        (partial(loop, position=0), "first position every time"),
        (partial(loop, window=1), "last token alone"),
        (partial(loop, begin=[1]), "start token is missing"),
        (partial(loop, begin="prompt"), "start token is missing"),
        (partial(loop, ends=False), "goes on after </s>"),
        (partial(loop, sampled=True), "that is sampling"),
        (any_place, "a number was no token's".capitalize()),
        (lambda model, ids, most: loop(model, ids, 20), "at most 5 were asked for"),
        (lambda model, ids, most: loop(model, ids, most - 1), "4 tokens are right, and 5 are needed"),
        (lambda model, ids, most: [7], "the first 0 tokens are right"),
        (lambda model, ids, most: "Hello", "the token ids came as a str"),
    ],
    "temperature": [
        (lambda z, t: (z * t).softmax(0), "you multiply"),
        (lambda z, t: z.softmax(0) / t, "after the softmax"),
        (lambda z, t: (z.softmax(0) / t) / (z.softmax(0) / t).sum(), "no effect"),
        (lambda z, t: (z / t).exp(), "nothing is renormalised"),
        (lambda z, t: z.softmax(0) ** (1 / t), "powers of the probabilities"),
        (lambda z, t: z / t, "still logits"),
        (lambda z, t: (z / t).log_softmax(0), "logarithms"),
        (lambda z, t: (z / t).exp() / (z / t).exp().sum(), "infinite in fp32"),
        (lambda z, t: (z.double() / t).exp() / (z.double() / t).exp().sum(), "exp(1000) in float64"),
        (lambda z, t: (z - t).softmax(0) + 0.1, "where does the temperature belong"),
    ],
    "top-p": [
        (cut_off(lambda v, total, p: total <= p), "crosses p is left out, so"),
        (cut_off(lambda v, total, p: total <= p, False), "crosses p is left out, and"),
        (cut_off(lambda v, total, p: total - v < p, False), "not renormalised"),
        (cut_off(lambda v, total, p: total - v <= p), "exactly p. Do they reach it?"),
        (cut_off(lambda v, total, p: torch.arange(len(v)) < 3), "you keep 3 tokens each time"),
        (lambda q, p: cut_off(lambda v, total, p: v.flip(0).cumsum(0).flip(0) - v < p)(q, p), "keep the unlikely"),
        (lambda q, p: warped(q, p).sort(descending=True)[0], "sorted order"),
        (lambda q, p: unsorted(q, q.sort(descending=True)[0], p), "you mark what stays in sorted order"),
        (lambda q, p: warped(q, p).sort(descending=True)[0][q.argsort(descending=True)], "that they are to be written"),
        (lambda q, p: q, "nothing is cut off"),
        (cut_off(lambda v, total, p: total.flip(0) <= 1 - p), "fewest tokens"),
        (lambda q, p: warped(q, p)[warped(q, p) > 0], "the shape of the probabilities"),
    ],
    "interval": [
        (percentiles(lambda a, b, rng: drawn(a, rng).mean() - drawn(b, rng).mean()), "draw a and b apart"),
        (percentiles(lambda a, b, rng: drawn(a - b, rng, False).mean()), "no dialogue is drawn twice"),
        (percentiles(mean_difference, 5), "a 90 % interval"),
        (percentiles(mean_difference, 0.5), "a 99 % interval"),
        (percentiles(mean_difference, 16), "one standard error"),
        (percentiles(mean_difference, 0, 95), "and their middles too low"),
        (percentiles(mean_difference, 5, 100), "and their middles too high"),
        (percentiles(lambda a, b, rng: rng.choice(a - b, 100).mean()), "dialogues, whatever n is"),
        (lambda a, b: np.percentile(a - b, [2.5, 97.5]), "where single dialogues lie"),
        (lambda a, b: percentiles(mean_difference)(b, a), "you take b - a"),
        (lambda a, b: percentiles(mean_difference)(a, b)[::-1], "lower end is above"),
        (percentiles(lambda a, b, rng: drawn(a, rng).mean()), "one side's scores alone"),
        (lambda a, b: percentiles(mean_difference)(a, b) + 1, "of which number do you take the mean".capitalize()),
        (lambda a, b: metrics.paired_bootstrap(a, b)[:3], "the shape of the two ends is (3,)"),
    ],
}


@pytest.mark.parametrize(("name", "place"), [(name, place) for name in NAMES for place in range(len(WRONG[name]))])
def test_a_usual_mistake_is_named(name: str, place: int, capsys: pytest.CaptureFixture[str]) -> None:
    answer, words = WRONG[name][place]
    torch.manual_seed(0)
    shown = told(name, answer, capsys)
    assert shown.startswith("Not yet: ")
    assert words in shown
    assert "cannot be read" not in shown


def test_the_cut_that_top_p_is_compared_with_is_that_of_transformers() -> None:
    for part in number_exercises.top_p_parts():
        for probabilities, p in part.cases:
            assert torch.allclose(number_exercises.nucleus(probabilities, p), warped(probabilities, p))


def test_the_bar_of_a_fixed_string_is_below_what_the_frequent_words_reach() -> None:
    bar, packaged, usual = check.fixed_scores(lab()["profile"].dataset)
    assert 0.2 < bar < packaged < 0.6
    assert 20 < usual < 60
