"""The exercises of Lab 3, checked: what a learner wrote is compared with the package's formulas and with PyTorch.

Each check takes the learner's function, calls it on small inputs of fixed seeds, prints one line ("Right: ..." or
"Not yet: ...") and gives back nothing; it raises nothing, whatever the function does. A usual mistake
(:mod:`genai_labs.rlhf.mistakes`) is named where it explains every number of every input, and only there. Inputs are
float32, as in the lab; "close" is to within 0.00001, as sums in another order differ by about a tenth of that. What
stands behind the end of a response is made up and finite: a right answer does not depend on it.

The formulas: :mod:`genai_labs.rlhf.ppo` and the papers named there; Bradley and Terry as in Ouyang et al. 2022,
https://arxiv.org/abs/2203.02155, equation 1; Rafailov et al. 2023, https://arxiv.org/abs/2305.18290, equation 7 (DPO);
Schulman 2020, "Approximating KL divergence", http://joschu.net/blog/kl-approx.html (k1 and k3).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import logsigmoid

from genai_labs.rlhf import mistakes
from genai_labs.rlhf.dpo import dpo_loss
from genai_labs.rlhf.ppo import gae, policy_loss, response_mask, token_rewards, value_loss
from genai_labs.scoring.toxicity import find_labels
from genai_labs.show.checking import answered, numbers, tell, what_it_changes, wrong

Numbers = NDArray[np.float64]
Inputs = Sequence[tuple[Any, ...]]  # the arguments of each call
Formula = Callable[..., Any]

TOLERANCE = 1e-5
CLOSE = f"to within {TOLERANCE:.5f}"
FAR = 200.0  # a difference whose sigmoid is 0 in float32


@tell("the reward", start="Find the key whose name is nothate, and take that column of the logits.")
def check_label_reward(answer: Any) -> str:
    """answer: (logits [texts, labels] array, id2label) to the reward of each text, [texts], a logit.

    Compared with the column that :func:`genai_labs.scoring.toxicity.find_labels` finds.
    """
    orders = ({0: "nothate", 1: "hate"}, {0: "hate", 1: "nothate"}, {1: "nothate", 0: "hate"})
    more = ({1: "unclear", 2: "nothate", 0: "hate"}, {1: "hate", 0: "nothate", 2: "unclear"})
    inputs = [(normal(i, 4, len(names)).double().numpy(), names) for i, names in enumerate((*orders, *more))]

    def right(logits: Numbers, id2label: dict[int, str]) -> Numbers:
        return logits[:, find_labels(id2label)[1]]

    compare(
        given(answer, inputs),
        inputs,
        right,
        mistakes.reward_mistakes,
        "Whose logit is paid, and in which column is it?",
    )
    return f"{4 * len(inputs)} texts are paid the logit of nothate, under {len(inputs)} orders of the labels"


@tell("the loss of preferences", start="Work out the difference of the two scores, and look at torch.sigmoid of it.")
def check_preference_loss(answer: Any) -> str:
    """answer: scores (chosen [pairs], rejected [pairs]) to the loss of Bradley and Terry, a scalar, mean over pairs.

    Compared with PyTorch's logsigmoid, for differences of up to 200 too; a gradient must lead to the scores.
    """
    scores = normal(1, 9, 2, scale=1.5)
    inputs = [scores[:8].unbind(1), scores[8:].unbind(1), (scores[:5, 0], scores[:5, 0])]
    look = "What is the chance, by its scores, that a pair comes out as people chose, and what becomes of many chances?"
    compare(given(answer, inputs), inputs, preference_loss, mistakes.preference_mistakes, look)
    stays_finite(answer, (torch.tensor([0.0, FAR]), torch.tensor([FAR, 0.0])), preference_loss)
    for place, what in enumerate(("chosen", "rejected")):
        learnable(answer, inputs[0], preference_loss, f"the scores of what was {what}", place)
    return f"the loss of 8 pairs, of one, of 5 ties and of a difference of {FAR:.0f} is PyTorch's {CLOSE}"


@tell("the mask", start="Look at (tokens == end).int() first: where is it 1, and what does cumsum make of it?")
def check_response_mask(answer: Any) -> str:
    """answer: (tokens [batch, time], number of the end token) to 1 for tokens up to the first end token, that one too.

    Compared with :func:`genai_labs.rlhf.ppo.response_mask`, where padding is 0, where it is the end token, and where
    something else was sampled behind the end.
    """
    usual = [[5, 8, 1, 0, 0, 0], [1, 0, 0, 0, 0, 0], [7, 5, 6, 9, 4, 8], [4, 6, 9, 8, 3, 1], [5, 1, 7, 8, 1, 0]]
    end_is_padding = [[4, 5, 2, 2, 2, 2], [2, 2, 2, 2, 2, 2], [9, 8, 4, 5, 6, 7]]
    other_padding = [[6, 1, 3, 9, 9, 9], [0, 0, 3, 9, 9, 9], [1, 4, 0, 3, 3, 9]]
    inputs = [(torch.tensor(usual), 1), (torch.tensor(end_is_padding), 2), (torch.tensor(other_padding), 3)]
    look = "Try it on one row: which tokens did the policy write, to stop included?"
    got = compare(given(answer, inputs), inputs, response_mask, mistakes.mask_mistakes, look)
    count, total = sum(each.sum() for each in got), sum(each.size for each in got)
    return f"{count:.0f} of {total} positions count, in 11 responses, 2 of them without an end"


@tell("the token rewards", start="Begin with the price alone: minus kl_coef times a difference, at each token.")
def check_token_rewards(answer: Any) -> str:
    """answer: (scores [batch], logprobs, ref_logprobs, mask [batch, time] each, kl_coef) to rewards [batch, time].

    Compared with :func:`genai_labs.rlhf.ppo.token_rewards`.
    """
    inputs = [
        (normal(i, len(lengths), scale=3), *log_chances(i, len(lengths), 7), first_places(lengths, 7), kl_coef)
        for i, (lengths, kl_coef) in enumerate((((4, 7, 1, 6), 0.2), ((2, 3), 1.5), ((7,), 0.5)))
    ]
    look = "Which reward does each token get for its KL, and which single one gets the score as well?"
    got = compare(given(answer, inputs), inputs, token_rewards, mistakes.token_reward_mistakes, look)
    return f"the {sum(each.size for each in got)} rewards of 7 responses are the package's {CLOSE}"


@tell("the advantages", start="Write delta of the last token first: behind it nothing is to come.")
def check_gae(answer: Any) -> str:
    """answer: (rewards, values, mask [batch, time] each, gamma, lam) to advantages [batch, time], 0 behind the end.

    Compared with :func:`genai_labs.rlhf.ppo.gae`. Rewards are 0 behind the end, and values are not.
    """
    inputs = []
    for i, (lengths, gamma, lam) in enumerate((((4, 6, 1, 5), 0.9, 0.7), ((3, 6), 1.0, 0.95), ((2,), 0.8, 0.0))):
        mask, values = first_places(lengths, 6), normal(10 + i, len(lengths), 6)
        inputs.append((normal(i, len(lengths), 6) * mask, values, mask, gamma, lam))

    def right(*case: Any) -> Tensor:
        return gae(*case)[0]

    look = "Work out the last token of a response by hand, then the one before it."
    got = compare(given(answer, inputs), inputs, right, mistakes.gae_mistakes, look)
    note = what_it_changes(answer, "rewards values mask", *inputs[0])
    return f"the {sum(each.size for each in got)} advantages of 7 responses are the package's {CLOSE}{note}"


@tell("the policy loss", start="Begin with the ratio: these are logarithms, so take the exponential of what?")
def check_policy_loss(answer: Any) -> str:
    """answer: (logprobs, old_logprobs, advantages, mask [batch, time] each, clip) to the clipped loss, a scalar.

    Compared with :func:`genai_labs.rlhf.ppo.policy_loss`; a gradient must lead to the log-probabilities.
    """
    inputs = [
        (*log_chances(i, 4, 6), normal(20 + i, 4, 6), first_places(lengths, 6), clip)
        for i, (lengths, clip) in enumerate((((4, 6, 1, 5), 0.2), ((2, 3, 3, 6), 0.1)))
    ]
    inputs.append((inputs[0][1], *inputs[0][1:]))  # nothing has moved

    def right(logprobs: Tensor, old_logprobs: Tensor, advantages: Tensor, mask: Tensor, clip: float) -> Tensor:
        return policy_loss(logprobs, mask, old_logprobs=old_logprobs, advantages=advantages, clip=clip)[0]

    look = "Follow one token: its ratio, both terms, and which of them is taken. Then the mean, and its sign."
    compare(given(answer, inputs), inputs, right, mistakes.policy_loss_mistakes, look)
    learnable(answer, inputs[0], right, "the log-probabilities")
    moved = (inputs[0][0] - inputs[0][1]).exp()[inputs[0][3].bool()]
    outside = int(((moved - 1).abs() > 0.2).sum())
    return (
        f"the loss is the package's {CLOSE}; {outside} of {len(moved)} ratios in the first batch are outside 0.8 to 1.2"
    )


@tell("the value loss", start="Begin with the squared error of each token that counts, and its mean.")
def check_value_loss(answer: Any) -> str:
    """answer: (values, old_values, returns, mask [batch, time] each, clip) to the clipped loss, a scalar.

    Compared with :func:`genai_labs.rlhf.ppo.value_loss`; a gradient must lead to the values.
    """
    inputs = [
        (*(normal(3 * i + k, 4, 6) for k in (30, 31, 32)), first_places(lengths, 6), clip)
        for i, (lengths, clip) in enumerate((((4, 6, 1, 5), 0.2), ((2, 3, 3, 6), 0.5)))
    ]
    inputs.append((inputs[0][1], *inputs[0][1:]))  # nothing has moved

    def right(values: Tensor, old_values: Tensor, returns: Tensor, mask: Tensor, clip: float) -> Tensor:
        return value_loss(values, mask, old_values=old_values, returns=returns, clip=clip)[0]

    look = "Follow one token: the value, the value kept near to the old one, and the error of each."
    compare(given(answer, inputs), inputs, right, mistakes.value_loss_mistakes, look)
    learnable(answer, inputs[0], right, "the values")
    return f"the loss of three batches is the package's {CLOSE}, also where no value has moved"


@tell("k1 and k3", start="Give back two tensors. k1 is a difference of what is given.")
def check_kl_estimators(answer: Any) -> str:
    """answer: (logprobs, ref_logprobs [batch, time] each, of sampled tokens) to (k1, k3), each [batch, time], nats.

    k1 is compared with log(policy / reference), k3 with PyTorch's expm1(-k1) + k1.
    """
    inputs = [log_chances(51, 3, 5), log_chances(40, 1, 1), (normal(42, 2, 3), normal(42, 2, 3))]

    def first(logprobs: Tensor, ref_logprobs: Tensor) -> Tensor:
        return logprobs - ref_logprobs

    def third(logprobs: Tensor, ref_logprobs: Tensor) -> Tensor:
        return torch.expm1(ref_logprobs - logprobs) + logprobs - ref_logprobs

    pairs = [two_of(each) for each in given(answer, inputs)]
    k1 = compare([one for one, _ in pairs], inputs, first, mistakes.k1_mistakes, "What is k1 the logarithm of?")
    k3 = compare([two for _, two in pairs], inputs, third, mistakes.k3_mistakes, "Which three terms does k3 have?")
    below = [int((each[0] < 0).sum()) for each in (k1, k3)]
    return f"of {k1[0].size} tokens {below[0]} have a k1 below 0, and {below[1]} a k3; both are right {CLOSE}"


@tell("the DPO loss", start="How much likelier than under the reference is the chosen text? That is one difference.")
def check_dpo_loss(answer: Any) -> str:
    """answer: (chosen, rejected, ref_chosen, ref_rejected [pairs] each, beta) to the loss of DPO, a scalar.

    Compared with PyTorch's logsigmoid, for differences of up to 200 too; a gradient must lead to the policy's numbers.
    """
    inputs: list[tuple[Any, ...]] = [
        (*(normal(10 * i + k, pairs, scale=2) - 3 for k in (50, 51, 52, 53)), beta)
        for i, (pairs, beta) in enumerate(((8, 0.1), (5, 0.5), (1, 2.0)))
    ]
    inputs.append((*inputs[0][2:4], *inputs[0][2:]))  # the policy is still the reference
    look = "Which four numbers make the difference in the sigmoid?"
    compare(given(answer, inputs), inputs, dpo_loss, mistakes.dpo_mistakes, look)
    far, near = torch.tensor([-FAR, FAR]), torch.zeros(2)
    stays_finite(answer, (far, near, near, near, 1.0), dpo_loss)
    for place, what in enumerate(("chosen", "rejected")):
        learnable(answer, inputs[0], dpo_loss, f"the policy's log-probabilities of what was {what}", place)
    return f"the loss of 14 pairs under 3 values of beta is PyTorch's {CLOSE}; where the models agree, it is log 2"


def given(answer: Any, inputs: Inputs) -> list[Any]:
    """What the learner's function gives for each input."""
    return [answered(answer, *case) for case in inputs]


def compare(values: Sequence[Any], inputs: Inputs, right: Formula, usual: Formula, look: str) -> list[Numbers]:
    """The numbers of what was given for each input, if all of it is right.

    If not, one sentence is raised: the mistake that explains all of it, or how many numbers are wrong, and ``look``.
    """
    want = [as_numbers(right(*case)) for case in inputs]
    got = [shaped(value, each.shape) for value, each in zip(values, want, strict=True)]
    if all(map(close, got, want)):
        return got
    fits = [named(each, usual(*case)) for each, case in zip(got, inputs, strict=True)]
    found = what_differs(*next((g, w) for g, w in zip(got, want, strict=True) if not close(g, w)))
    for mistake in fits[0]:
        if all(mistake in each for each in fits):
            name, question = mistake.split(" | ")
            wrong(f"{name}: {found}. {question}")
    wrong(f"{found}. {look}")


def named(got: Numbers, usual: dict[str, Any]) -> list[str]:
    """Those mistakes that give just these numbers."""
    forms = {name: value if isinstance(value, tuple) else (value,) for name, value in usual.items()}
    return [name for name, values in forms.items() if any(close(got, as_numbers(value)) for value in values)]


def what_differs(got: Numbers, want: Numbers) -> str:
    """How far this is from right, in numbers of the learner's own output."""
    if not got.shape:
        return f"your loss is {got:.4g} where {want:.4g} is right"
    if want.ndim == 2 and np.isin([*got.flat, *want.flat], (0, 1)).all():
        return f"{got.sum():.0f} of {got.size} positions count where {want.sum():.0f} should"
    places = np.argwhere(~np.isclose(got, want, rtol=TOLERANCE, atol=TOLERANCE))
    first = tuple(map(int, places[0]))
    return (
        f"{len(places)} of {got.size} numbers are wrong, the first at {list(first)} ({got[first] + 0.0:.4g} where "
        f"{want[first] + 0.0:.4g} is right)"  # + 0.0 turns -0.0 into 0.0
    )


def shaped(value: Any, shape: tuple[int, ...]) -> Numbers:
    """The numbers of an answer; what is to be one number may come in brackets."""
    if shape:
        return numbers(value, shape)
    array = numbers(value, what="the loss")
    if array.size != 1:
        wrong(f"a loss is one number, and yours has the shape {array.shape}. Which mean is missing?")
    return array.reshape(())


def stays_finite(answer: Any, case: tuple[Any, ...], right: Formula) -> None:
    """Raises a sentence where a loss is not right for a difference so large that its sigmoid is 0."""
    got, want = np.asarray(torch.as_tensor(answered(answer, *case)).detach()).item(), float(right(*case))
    if not np.isclose(got, want, rtol=1e-4, atol=TOLERANCE):
        wrong(
            f"where a difference is {FAR:.0f} the wrong way your loss is {got:.4g} and not {want:.4g}: in float32 "
            f"exp({FAR:.0f}) is infinite and the sigmoid of -{FAR:.0f} is 0. Which function of torch.nn.functional "
            "takes sigmoid and logarithm in one step?"
        )


def learnable(answer: Any, case: tuple[Any, ...], right: Formula, what: str, place: int = 0) -> None:
    """Raises a sentence where no gradient, or another one than that of ``right``, leads to the argument at a place."""
    mine, theirs = case[place].clone().requires_grad_(), case[place].clone().requires_grad_()
    loss = answered(answer, *case[:place], mine, *case[place + 1 :])
    leads = isinstance(loss, Tensor) and loss.requires_grad
    (got,) = torch.autograd.grad(loss.sum(), mine, allow_unused=True) if leads else (None,)
    (want,) = torch.autograd.grad(right(*case[:place], theirs, *case[place + 1 :]), theirs)
    if got is None or not close(as_numbers(got), as_numbers(want)):
        wrong(
            f"the number is right, but {'no' if got is None else 'a wrong'} gradient leads from it to {what}, so that "
            "nothing useful would be learned. Is there an item(), float(), detach() or numpy in it?"
        )


def two_of(value: Any) -> tuple[Any, Any]:
    """k1 and k3 of an answer."""
    if not isinstance(value, (tuple, list, Tensor, np.ndarray)) or len(value) != 2:
        came = f"{len(value)} came" if isinstance(value, (tuple, list)) else f"a {type(value).__name__} came back"
        wrong(f"two results are needed, k1 and k3, and {came}. Write: return k1, k3.")
    return value[0], value[1]


def preference_loss(chosen: Tensor, rejected: Tensor) -> Tensor:
    """-log sigmoid(chosen - rejected), mean over pairs: two tensors [pairs] to a scalar."""
    return -logsigmoid(chosen - rejected).mean()


def close(got: Numbers, want: Numbers) -> bool:
    """Whether all numbers agree to within the tolerance."""
    return bool(np.allclose(got, want, rtol=TOLERANCE, atol=TOLERANCE))


def as_numbers(value: Any) -> Numbers:
    """A tensor or an array in double precision."""
    return np.asarray(value.detach() if isinstance(value, Tensor) else value, dtype=np.float64)


def normal(seed: int, *shape: int, scale: float = 1.0) -> Tensor:
    """Numbers of mean 0 by seed alone; PyTorch's own random numbers are left as they are."""
    return scale * torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def log_chances(seed: int, batch: int, time: int) -> tuple[Tensor, Tensor]:
    """Log-probabilities under two models that differ by about half a nat, [batch, time] each."""
    one = -normal(100 + seed, batch, time).abs() - 0.5
    return one, one + normal(200 + seed, batch, time, scale=0.5)


def first_places(lengths: Sequence[int], time: int) -> Tensor:
    """A mask [batch, time]: 1 at the first ``lengths`` places of each row."""
    return (torch.arange(time) < torch.tensor(lengths)[:, None]).int()
