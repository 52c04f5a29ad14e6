"""The exercises of Lab 3 with checks: stubs are told what to do, usual mistakes by name, and right answers pass.

Stubs and solutions are read out of the notebook, so that what is tested is what is shown.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from contextlib import redirect_stdout
from functools import cache, partial
from inspect import signature
from io import StringIO
from typing import Any

import nbformat
import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits, logsigmoid, relu, softplus

from genai_labs.course.runner import LAB_NOTEBOOKS
from genai_labs.paths import NOTEBOOKS
from genai_labs.rlhf import exercises, mistakes, ppo

Answer = Callable[..., Any]

SOLUTION = re.compile(r"<summary>Solution</summary>\n\n```python\n(.*?)```", re.DOTALL)
# Exercise: its check, what gives the usual mistakes, and the name of the learner's function.
EXERCISES: dict[str, tuple[Answer, Answer, str]] = {
    "reward": (exercises.check_label_reward, mistakes.reward_mistakes, "my_reward"),
    "preference": (exercises.check_preference_loss, mistakes.preference_mistakes, "my_preference_loss"),
    "mask": (exercises.check_response_mask, mistakes.mask_mistakes, "my_response_mask"),
    "token-rewards": (exercises.check_token_rewards, mistakes.token_reward_mistakes, "my_token_rewards"),
    "gae": (exercises.check_gae, mistakes.gae_mistakes, "my_gae"),
    "policy-loss": (exercises.check_policy_loss, mistakes.policy_loss_mistakes, "my_policy_loss"),
    "value-loss": (exercises.check_value_loss, mistakes.value_loss_mistakes, "my_value_loss"),
    "kl": (exercises.check_kl_estimators, mistakes.k1_mistakes, "my_kl"),
    "dpo": (exercises.check_dpo_loss, mistakes.dpo_mistakes, "my_dpo_loss"),
}

LOSSES = ("preference", "policy-loss", "value-loss", "dpo")  # those that a gradient must lead through


@cache
def cells() -> dict[str, str]:
    """The sources of the lab's cells, by id."""
    notebook = nbformat.read(NOTEBOOKS / LAB_NOTEBOOKS[3], as_version=4)
    return {cell.id: cell.source for cell in notebook.cells}


def told(check: Answer, *answer: Any) -> str:
    """The one line that a check prints."""
    with redirect_stdout(StringIO()) as shown:
        assert check(*answer) is None
    (line,) = shown.getvalue().splitlines()
    assert line.startswith(("Right: ", "Not yet: "))
    return line


def solved(name: str) -> Answer:
    """The folded solution of an exercise."""
    (code,) = SOLUTION.findall(cells()[f"lab3-ex-{name}"])
    namespace: dict[str, Any] = {"torch": torch, "np": np}
    exec(code, namespace)
    return namespace[EXERCISES[name][2]]


def mean(x: Tensor, mask: Tensor) -> Tensor:
    return x[mask.bool()].mean()


# Right answers of another form than the solutions, and wrong ones as people write them.


def reward_by_label2id(logits: Any, id2label: dict[int, str]) -> Any:
    return [row[{name: i for i, name in id2label.items()}["nothate"]] for row in logits]


def mask_by_rows(tokens: Tensor, end: int) -> list[list[bool]]:
    rows = tokens.tolist()
    ends = [row.index(end) if end in row else len(row) for row in rows]
    return [[t <= stop for t in range(len(row))] for row, stop in zip(rows, ends, strict=True)]


def mask_by_argmax(tokens: Tensor, end: int) -> Tensor:
    return torch.arange(tokens.shape[1]) <= (tokens == end).int().argmax(1)[:, None]


def mask_without_end(tokens: Tensor, end: int) -> Tensor:
    return (tokens == end).cumsum(1) == 0


def token_rewards_in_place(s: Tensor, logprobs: Tensor, ref_logprobs: Tensor, mask: Tensor, kl_coef: float) -> Tensor:
    logprobs -= ref_logprobs
    logprobs *= -kl_coef
    logprobs.masked_fill_(mask == 0, 0)
    for row, length in enumerate(mask.sum(1)):
        logprobs[row, length - 1] += s[row]
    return logprobs


def score_at_the_back(s: Tensor, logprobs: Tensor, ref_logprobs: Tensor, mask: Tensor, kl_coef: float) -> Tensor:
    rewards = -kl_coef * (logprobs - ref_logprobs) * mask
    rewards[:, -1] += s
    return rewards


def rewarded(sign: float, s: Tensor, logprobs: Tensor, ref_logprobs: Tensor, mask: Tensor, kl_coef: float) -> Tensor:
    return ppo.token_rewards(s, logprobs, ref_logprobs, mask, sign * kl_coef)


def score_everywhere(s: Tensor, logprobs: Tensor, ref_logprobs: Tensor, mask: Tensor, kl_coef: float) -> Tensor:
    return (s[:, None] - kl_coef * (logprobs - ref_logprobs)) * mask


def price_behind_the_end(s: Tensor, logprobs: Tensor, ref_logprobs: Tensor, mask: Tensor, kl_coef: float) -> Tensor:
    rewards = -kl_coef * (logprobs - ref_logprobs)
    rewards[range(len(s)), mask.sum(1) - 1] += s
    return rewards


def advantages_by_sums(rewards: Tensor, values: Tensor, mask: Tensor, gamma: float, lam: float) -> np.ndarray:
    """The sum over all later deltas, written out, in double precision."""
    r, v = (np.asarray(x * mask, dtype=float) for x in (rewards, values))
    deltas = r + gamma * np.pad(v, ((0, 0), (0, 1)))[:, 1:] - v
    time = r.shape[1]
    later = [[(gamma * lam) ** (k - t) if k >= t else 0.0 for k in range(time)] for t in range(time)]
    return deltas @ np.array(later).T


def looped(
    rewards: Tensor, values: Tensor, mask: Tensor, gamma: float, lam: float, shrink: float | None = None
) -> Tensor:
    """Right but for the mask, which is not used, and for ``shrink``, what stands before the next advantage."""
    out, running = torch.zeros_like(values), torch.zeros(len(values))
    for t in reversed(range(values.shape[1])):
        following = values[:, t + 1] if t + 1 < values.shape[1] else 0
        running = (
            rewards[:, t] + gamma * following - values[:, t] + (gamma * lam if shrink is None else shrink) * running
        )
        out[:, t] = running
    return out


def without_lambda(rewards: Tensor, values: Tensor, mask: Tensor, gamma: float, lam: float) -> Tensor:
    return looped(rewards, values * mask, mask, gamma, lam, shrink=gamma)


def exchanged(rewards: Tensor, values: Tensor, mask: Tensor, gamma: float, lam: float) -> Tensor:
    return ppo.gae(rewards, values, mask, lam, gamma)[0]


def whitened(rewards: Tensor, values: Tensor, mask: Tensor, gamma: float, lam: float) -> Tensor:
    return ppo.whiten(ppo.gae(rewards, values, mask, gamma, lam)[0], mask)


def forwards(rewards: Tensor, values: Tensor, mask: Tensor, gamma: float, lam: float) -> Tensor:
    values, running, out = values * mask, torch.zeros(len(values)), torch.zeros_like(values)
    for t in range(values.shape[1]):
        following = values[:, t + 1] if t + 1 < values.shape[1] else 0
        running = rewards[:, t] + gamma * following - values[:, t] + gamma * lam * running
        out[:, t] = running
    return out * mask


def terms(logprobs: Tensor, old: Tensor, advantages: Tensor, clip: float) -> Tensor:
    """Both terms of PPO, [2, batch, time]."""
    ratio = torch.exp(logprobs) / torch.exp(old)
    return torch.stack([ratio * advantages, torch.clip(ratio, 1 - clip, 1 + clip) * advantages])


def squares(values: Tensor, old: Tensor, returns: Tensor, clip: float) -> Tensor:
    """Both errors of the value head, [2, batch, time]."""
    near = old + (values - old).clamp(-clip, clip)
    return torch.stack([values - returns, near - returns]) ** 2


def kl_by_numpy(logprobs: Tensor, ref_logprobs: Tensor) -> list[np.ndarray]:
    k1 = np.asarray(logprobs) - np.asarray(ref_logprobs)
    return [k1, np.exp(-k1) + k1 - 1]


RIGHT: dict[str, list[Answer]] = {
    "reward": [reward_by_label2id, lambda x, names: torch.tensor(x)[:, {v: k for k, v in names.items()}["nothate"]]],
    "preference": [
        lambda c, r: softplus(r - c).mean(),
        lambda c, r: binary_cross_entropy_with_logits(c - r, torch.ones_like(c)),
        lambda c, r: (torch.logaddexp(c, r) - c).sum().reshape(1) / len(c),
    ],
    "mask": [mask_by_rows, ppo.response_mask, lambda x, end: torch.cumprod((x != end).int(), 1).roll(1, 1) | first(x)],
    "token-rewards": [token_rewards_in_place, ppo.token_rewards],
    "gae": [advantages_by_sums, lambda *case: ppo.gae(*case)[0]],
    "policy-loss": [
        lambda new, old, a, mask, clip: -mean(terms(new, old, a, clip).amin(0), mask),
        lambda new, old, a, mask, clip: ppo.policy_loss(new, mask, old_logprobs=old, advantages=a, clip=clip)[0],
    ],
    "value-loss": [
        lambda new, old, r, mask, clip: mean(squares(new, old, r, clip).amax(0), mask) / 2,
        lambda new, old, r, mask, clip: ppo.value_loss(new, mask, old_values=old, returns=r, clip=clip)[0],
    ],
    "kl": [
        kl_by_numpy,
        lambda new, ref: torch.stack([new - ref, torch.expm1(ref - new) - (ref - new)]),
    ],
    "dpo": [
        lambda c, r, rc, rr, beta: softplus(beta * (r - c + rc - rr)).mean(),
        lambda c, r, rc, rr, beta: torch.logaddexp(0 * c, beta * ((r - rr) - (c - rc))).mean(),
    ],
}


def first(x: Tensor) -> Tensor:
    """1 at the first place of each row, where every response has a token."""
    return (torch.arange(x.shape[1]) == 0).int().expand_as(x)


def policy(loss: Answer) -> Answer:
    """An answer made of both terms, [2, batch, time], and the mask."""
    return lambda new, old, a, mask, clip: loss(terms(new, old, a, clip), mask)


def value(loss: Answer) -> Answer:
    return lambda new, old, r, mask, clip: loss(squares(new, old, r, clip), mask)


WRONG: dict[str, list[tuple[Answer, str]]] = {
    "reward": [
        (lambda x, names: x[:, 0], "you took column 0"),
        (lambda x, names: [row[1] for row in x], "you took column 1"),
        (
            lambda x, names: torch.tensor(x).softmax(-1).numpy()[:, {v: k for k, v in names.items()}["nothate"]],
            "you gave the probability",
        ),
        (lambda x, names: x[:, {v: k for k, v in names.items()}["hate"]], "you took the logit of hate"),
        (lambda x, names: [max(row) for row in x], "you took the largest logit"),
        (lambda x, names: x[:, [*names.values()].index("nothate")], "the name's place in the dictionary"),
    ],
    "preference": [
        (lambda c, r: torch.log(torch.sigmoid(c - r)).mean(), "the sign is turned"),
        (lambda c, r: -logsigmoid(r - c).mean(), "the wrong way round"),
        (lambda c, r: -torch.sigmoid(c - r).mean(), "the logarithm is missing"),
        (lambda c, r: -logsigmoid(c - r).sum(), "you took the sum over the pairs"),
        (lambda c, r: -torch.log(torch.sigmoid(c - r)).mean(), "exp(200) is infinite and the sigmoid of -200 is 0"),
        (lambda c, r: -torch.log(torch.exp(c) / (torch.exp(c) + torch.exp(r))).mean(), "your loss is nan"),
        (lambda c, r: -torch.log(torch.sigmoid(c - r) + 1e-10).mean(), "your loss is 11.51 and not 100"),
        (lambda c, r: -logsigmoid(c - r), "yours has the shape (8,). Which mean is missing?"),
        (lambda c, r: -logsigmoid(c - r).mean().item(), "no gradient leads from it to the scores"),
        (
            lambda c, r: -logsigmoid(c - r.detach()).mean(),
            "no gradient leads from it to the scores of what was rejected",
        ),
        (
            lambda c, r: torch.tensor((-logsigmoid(c - r).mean()).item(), requires_grad=True),
            "no gradient leads from it",
        ),
        (
            lambda c, r: -logsigmoid(c - r).mean() + (c - c.detach()).sum(),
            "a wrong gradient leads from it to the scores",
        ),
        (lambda c, r: relu(1 - c + r).mean(), "that is a hinge"),
    ],
    "mask": [
        (mask_without_end, "you left the end token out: 14 of 30 positions count where 18 should"),
        (lambda x, end: torch.ones_like(x), "everything counts"),
        (lambda x, end: x != 0, "you asked for the padding"),
        (lambda x, end: x != end, "only the end token is left out"),
        (mask_by_argmax, "a response without an end token is cut short"),
        (lambda x, end: 1 - ppo.response_mask(x, end), "the mask is the wrong way round"),
    ],
    "token-rewards": [
        (partial(rewarded, -1.0), "the sign of the KL price is turned"),
        (partial(rewarded, 0.0), "there is no KL price in it"),
        (score_everywhere, "the score stands at every token"),
        (score_at_the_back, "the score stands at the last place of the tensor"),
        (price_behind_the_end, "the mask is ignored"),
    ],
    "gae": [
        (looped, "a value from behind the end counts"),
        (lambda *case: looped(*case) * case[2], "a value from behind the end counts"),
        (exchanged, "gamma and lambda are exchanged"),
        (without_lambda, "lambda is forgotten"),
        (whitened, "they are whitened already"),
        (forwards, "you went forwards"),
        (lambda *case: ppo.gae(*case)[1], "these are the returns"),
        (lambda *case: ppo.gae(*case), "the shape of the result is (2, 4, 6), and (4, 6) is needed"),
    ],
    "policy-loss": [
        (policy(lambda both, mask: -mean(both.amax(0), mask)), "the one that promises more"),
        (policy(lambda both, mask: mean(both.amin(0), mask)), "the sign is turned"),
        (policy(lambda both, mask: -(both.amin(0) * mask).mean()), "padding is averaged over"),
        (policy(lambda both, mask: -both.amin(0).mean()), "padding is averaged over"),
        (policy(lambda both, mask: -mean(both[0], mask)), "nothing is clipped"),
        (policy(lambda both, mask: -both.amin(0)[mask].mean()), "the mask holds whole numbers"),
        (policy(lambda both, mask: -torch.stack([mean(x, mask) for x in both]).min()), "or the smaller of two means"),
        (policy(lambda both, mask: -mean(both.amin(0), mask).detach()), "no gradient leads from it"),
        (
            lambda new, old, a, mask, clip: (
                -mean(torch.minimum((new - old) * a, (new - old).clamp(1 - clip, 1 + clip) * a), mask)
            ),
            "the exponential is missing",
        ),
    ],
    "value-loss": [
        (value(lambda both, mask: 0.5 * mean(both[0], mask)), "nothing is clipped"),
        (value(lambda both, mask: mean(both.amax(0), mask)), "the half is missing"),
        (value(lambda both, mask: 0.5 * both.amax(0)[mask].mean()), "the mask holds whole numbers"),
        (
            value(lambda both, mask: 0.5 * torch.stack([mean(x, mask) for x in both]).max()),
            "or the larger of two means",
        ),
        (value(lambda both, mask: 0.5 * both.amax(0).mean()), "padding is averaged over"),
        (value(lambda both, mask: 0.5 * mean(both.amin(0), mask)), "you take the smaller one"),
        (lambda new, old, r, mask, clip: 0.5 * mean(squares(new, r, r, clip)[1], mask), "clipped around the returns"),
        (
            lambda new, old, r, mask, clip: 0.5 * mean(squares(new, r, r, clip).amax(0), mask),
            "or only around the returns",
        ),
    ],
    "kl": [
        (lambda new, ref: (ref - new, (ref - new).exp() - 1 - (ref - new)), "the sign of k1 is turned"),
        (lambda new, ref: (new - ref, (new - ref) ** 2 / 2), "for k3 you gave k2"),
        (
            lambda new, ref: (new - ref, (new - ref).exp() - 1 - (new - ref)),
            "the exponential in k3 is of the wrong side",
        ),
        (lambda new, ref: ((ref - new).exp() - 1 + new - ref, new - ref), "k1 and k3 are exchanged"),
        (lambda new, ref: (new - ref,) * 3, "two results are needed, k1 and k3, and 3 came"),
        (lambda new, ref: new - ref, "two results are needed, k1 and k3"),
        (lambda new, ref: ((new - ref).mean(), (ref - new).mean()), "the shape of the result is ()"),
    ],
    "dpo": [
        (lambda c, r, rc, rr, beta: -logsigmoid(beta * (c - r)).mean(), "the reference is left out"),
        (lambda c, r, rc, rr, beta: logsigmoid(beta * (c - r - rc + rr)).mean(), "the sign is turned"),
        (lambda c, r, rc, rr, beta: -beta * logsigmoid(c - r - rc + rr).mean(), "beta stands outside of the sigmoid"),
        (lambda c, r, rc, rr, beta: -logsigmoid(beta * (r - c + rc - rr)).mean(), "the wrong way round"),
        (lambda c, r, rc, rr, beta: -logsigmoid(beta * (rc - c + r - rr)).mean(), "the wrong way round"),
        (lambda c, r, rc, rr, beta: -torch.sigmoid(beta * (c - r - rc + rr)).log().mean(), "the sigmoid of -200 is 0"),
    ],
}


@pytest.mark.parametrize("name", EXERCISES)
def test_a_stub_says_how_to_begin_and_its_lab_goes_on(name: str) -> None:
    check, _, function = EXERCISES[name]
    code = cells()[f"lab3-ex-{name}-code"]
    namespace: dict[str, Any] = {"check": exercises}
    with redirect_stdout(StringIO()) as shown:
        exec(code, namespace)
    assert re.fullmatch(r"Not yet: the function gives back nothing so far\. .{20,}[.?]\n", shown.getvalue())
    assert namespace[function].__doc__
    assert code.endswith(f"check.{check.__name__}({function})")


def test_the_first_exercise_imports_the_checks() -> None:
    places = [list(cells()).index(f"lab3-ex-{name}-code") for name in EXERCISES]
    assert places == sorted(places)
    imports = [name for name in EXERCISES if "exercises as check" in cells()[f"lab3-ex-{name}-code"]]
    assert imports == ["reward"]


@pytest.mark.parametrize("name", EXERCISES)
def test_the_folded_solution_is_right(name: str) -> None:
    text, check = cells()[f"lab3-ex-{name}"], EXERCISES[name][0]
    assert re.match(r"\*\*Exercise: .+\*\* \(\d+ minutes, (easy|medium|harder)\)\. ", text)
    assert text.count("<summary>Hint</summary>") == 1
    assert told(check, solved(name)).startswith("Right: ")
    stub: dict[str, Any] = {"check": exercises}
    with redirect_stdout(StringIO()):
        exec(cells()[f"lab3-ex-{name}-code"], stub)
    assert signature(solved(name)) == signature(stub[EXERCISES[name][2]])


@pytest.mark.parametrize(("name", "answer"), [(name, answer) for name, answers in RIGHT.items() for answer in answers])
def test_a_right_answer_of_another_form_is_right(name: str, answer: Answer) -> None:
    assert told(EXERCISES[name][0], answer).startswith("Right: ")


@pytest.mark.parametrize(
    ("name", "answer", "words"), [(name, *each) for name, answers in WRONG.items() for each in answers]
)
def test_a_usual_mistake_is_named(name: str, answer: Answer, words: str) -> None:
    line = told(EXERCISES[name][0], answer)
    assert line.startswith("Not yet: ")
    assert words in line
    assert line.endswith(("?", "."))


def forms(usual: Answer, case: tuple[Any, ...]) -> list[tuple[str, int]]:
    """Each mistake of a table with the number of each of its forms."""
    return [
        (mistake, form)
        for mistake, value in usual(*case).items()
        for form in range(len(value) if isinstance(value, tuple) else 1)
    ]


def one_form(usual: Answer, mistake: str, form: int, *case: Any) -> Any:
    value = usual(*case)[mistake]
    return value[form] if isinstance(value, tuple) else value


def beside_nothing(k1: Answer, *case: Any) -> tuple[Any, float]:
    return k1(*case), 0.0


def beside_k1(mistake: str, form: int, new: Tensor, ref: Tensor) -> tuple[Any, Any]:
    return new - ref, one_form(mistakes.k3_mistakes, mistake, form, new, ref)


def inputs_of(check: Answer) -> list[tuple[Any, ...]]:
    """What a check calls the learner's function with."""
    seen: list[tuple[Any, ...]] = []

    def answer(*case: Any) -> Any:
        seen.append(case)
        return 0

    told(check, answer)
    return seen


@pytest.mark.parametrize("name", EXERCISES)
def test_every_mistake_of_the_table_is_told_from_all_others(name: str) -> None:
    check, usual, _ = EXERCISES[name]
    case = inputs_of(check)[0]
    for mistake, form in forms(usual, case):
        wrong: Answer = partial(one_form, usual, mistake, form)
        answer = partial(beside_nothing, wrong) if name == "kl" else wrong
        assert mistake.split(" | ")[0] + ": " in told(check, answer), form


def test_every_mistake_of_k3_is_told_from_all_others() -> None:
    case = inputs_of(exercises.check_kl_estimators)[0]
    for mistake, form in forms(mistakes.k3_mistakes, case):
        answer = partial(beside_k1, mistake, form)
        assert mistake.split(" | ")[0] + ": " in told(exercises.check_kl_estimators, answer)


def fail(*case: Any) -> Any:
    raise RuntimeError("no such thing")


def leave(*case: Any) -> Any:
    raise SystemExit


ABSURD: dict[str, Any] = {
    "raises": fail,
    "leaves": leave,
    "takes nothing": lambda: 0,
    "text": lambda *case: "text",
    "dictionary": lambda *case: {"a": 1},
    "object": lambda *case: object(),
    "None in a list": lambda *case: [None, None],
    "ragged": lambda *case: [[1.0], [1.0, 2.0]],
    "NaN": lambda *case: (torch.full((2, 3), torch.nan), torch.full((2, 3), torch.nan)),
    "complex": lambda *case: torch.zeros(3, dtype=torch.complex64),
    "empty": lambda *case: torch.zeros(0),
    "infinite": lambda *case: torch.full((4,), torch.inf),
    "itself": lambda *case: case,
    "a class": Exception,
    "no function": 5,
    "no answer": None,
}


@pytest.mark.parametrize("absurd", ABSURD)
@pytest.mark.parametrize("name", EXERCISES)
def test_an_absurd_answer_is_told_and_not_raised(name: str, absurd: str) -> None:
    line = told(EXERCISES[name][0], ABSURD[absurd])
    assert line.startswith("Not yet: ")
    if absurd == "raises":
        assert "RuntimeError: no such thing" in line


@pytest.mark.parametrize("name", EXERCISES)
def test_noise_is_wrong_without_a_mistake_by_name(name: str) -> None:
    """What is nearly right is no mistake by name: it says how many numbers are off."""
    answer = solved(name)

    def noisy(*case: Any) -> Any:
        result = answer(*case)
        return tuple(each + 0.01 for each in result) if name == "kl" else result + 0.01

    line = told(EXERCISES[name][0], noisy)
    assert re.match(r"Not yet: (your loss is|\d+ of \d+ numbers are wrong)", line)


@pytest.mark.parametrize("name", EXERCISES)
def test_a_check_leaves_random_numbers_and_its_inputs_alone(name: str) -> None:
    check, answer = EXERCISES[name][0], solved(name)

    def destructive(*case: Any) -> Any:
        result = answer(*case)
        for each in case:
            if isinstance(each, Tensor) and not each.requires_grad:
                each.fill_(0)
        return result

    before = torch.get_rng_state()
    said, note = told(check, answer), "; but your function changes rewards and values and mask in place"
    again = told(check, destructive if name not in LOSSES else answer)
    assert again.split(note)[0] == (said.removesuffix(".") if name == "gae" else said)
    assert (note in again) == (name == "gae")
    assert torch.equal(torch.get_rng_state(), before)
