"""The usual mistakes in the exercises of Lab 3: what each of them gives, so that it can be told from the others.

One function an exercise. It takes the arguments of the learner's function and gives a dictionary: in front of the bar
the mistake by name, behind it where to look; as value what this mistake gives, or a tuple where it comes in several
forms. Shapes are those of the right answer (:mod:`genai_labs.rlhf.exercises`).
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import logsigmoid, one_hot, softplus

from genai_labs.rlhf.ppo import gae, masked_mean, whiten
from genai_labs.scoring.toxicity import find_labels

Mistakes = dict[str, Any]  # "what is wrong | where to look" -> what it gives


def reward_mistakes(logits: NDArray[np.float64], id2label: dict[int, str]) -> Mistakes:
    """logits: [texts, labels]."""
    hate, nothate = (logits[:, column] for column in find_labels(id2label))
    log_chance = torch.tensor(logits).log_softmax(1)[:, find_labels(id2label)[1]]
    by_place = "whatever it is called | What does id2label say about the columns?"
    flat = "goes flat where the model is sure | What did the model give before the softmax?"
    return {
        f"you took column 0, {by_place}": logits[:, 0],
        f"you took column 1, {by_place}": logits[:, 1],
        f"you took the last column, {by_place}": logits[:, -1],
        "you took the logit of hate, so that insults would be paid | Which label is the good one?": hate,
        "you took the largest logit, as in the list sorted by score | Which label is to be paid?": logits.max(1),
        "you took the name's place in the dictionary for the column | What are its keys?": logits[
            :, list(id2label.values()).index("nothate")
        ],
        f"you gave the probability, which {flat}": log_chance.exp(),
        f"you gave the logarithm of the probability, which {flat}": log_chance,
        "you subtracted the logit of hate | Which single logit is asked for?": nothate - hate,
    }


def preference_mistakes(chosen: Tensor, rejected: Tensor) -> Mistakes:
    """chosen, rejected: [pairs]."""
    margin = chosen - rejected
    chance = torch.sigmoid(margin)
    return {
        "the sign is turned | Training makes a loss smaller: is it smaller where more pairs are right?": (
            logsigmoid(margin).mean()
        ),
        "chosen and rejected stand the wrong way round | Whose score should be higher?": softplus(margin).mean(),
        "the logarithm is missing | What becomes of the chances of many pairs, multiplied?": (
            -chance.mean(),
            1 - chance.mean(),
        ),
        "you took the sum over the pairs | What makes it the same for any number of them?": softplus(-margin).sum(),
        "you took the logarithm of the mean | Which comes first, the logarithm or the mean?": -chance.mean().log(),
        "the sigmoid is missing, so that the loss has no end below | What makes a chance of it?": -margin.mean(),
        "the rejected scores have no part in it | What is compared with what?": softplus(-chosen).mean(),
        "that is a hinge, which stops at a margin of 1 | Which function makes a chance of a difference?": (
            (1 - margin).clamp(min=0).mean()
        ),
    }


def mask_mistakes(tokens: Tensor, end: int) -> Mistakes:
    """tokens: [batch, time]."""
    places = torch.arange(tokens.shape[1])
    is_end = tokens == end
    ends = torch.where(is_end, places, tokens.shape[1])
    first = ends.amin(1, keepdim=True)  # [batch, 1], the length where there is none
    last = torch.where(is_end.any(1), torch.where(is_end, places, -1).amax(1), tokens.shape[1])[:, None]
    right, ended = places <= first, is_end.any(1, keepdim=True)
    return {
        "you left the end token out | To stop is a choice of the policy, too: which token says so?": places < first,
        "everything counts, what stands behind the end as well | What did the policy write, and what is padding?": (
            torch.ones_like(tokens)
        ),
        "only the end token is left out, and what stands behind it counts | What do all places before the end have in "
        "common?": ~is_end,
        "you asked for the padding, token 0 | What if something else stands behind the end, or the end token is the "
        "padding?": (tokens != 0, (tokens != 0) | (is_end & right)),
        "you went to the last end token | Where does the text end for its reader?": places <= last,
        "you count up to the second end token | How many end tokens may stand before a place that counts?": (
            is_end.cumsum(1) <= 1
        ),
        "one position too many counts | Does a token behind the end token count?": places <= first + 1,
        "the mask is the wrong way round | Which positions are to be learned from?": ~right,
        "a response without an end token is cut short | What does your search for the end say if it finds none?": (
            right & (ended | (places == 0)),
            right & ended,
        ),
    }


def token_reward_mistakes(
    scores: Tensor, logprobs: Tensor, ref_logprobs: Tensor, mask: Tensor, kl_coef: float
) -> Mistakes:
    """scores: [batch]; the others, but for kl_coef, [batch, time]."""
    length, last = mask.shape[1], mask.sum(1) - 1
    difference = logprobs - ref_logprobs
    price, unmasked = -kl_coef * difference * mask, -kl_coef * difference
    paid = one_hot(last, length) * scores[:, None]
    at_the_back = one_hot(torch.full_like(last, length - 1), length) * scores[:, None]
    return {
        "the sign of the KL price is turned | Should it pay to move away from the reference?": (
            -price + paid,
            -unmasked + paid,
        ),
        "the score stands at every token | When is a text graded, and how often?": (
            price + scores[:, None] * mask,
            price + scores[:, None],
            unmasked + scores[:, None],
        ),
        "the score stands at the last place of the tensor | Where does a shorter response end?": (
            price + at_the_back,
            unmasked + at_the_back,
            (unmasked + at_the_back) * mask,
        ),
        "the mask is ignored: there is a price behind the end | What does the mask say there?": unmasked + paid,
        "the score stands at the first token | When is a text graded?": (
            price + one_hot(0 * last, length) * scores[:, None]
        ),
        "there is no score in it | What does the reward model say of the whole text?": price,
        "there is no KL price in it | What does it cost to differ from the reference?": paid,
        "the price is not multiplied by kl_coef | What does a nat cost?": -difference * mask + paid,
        "at the last token the score replaces the price | What does the last token cost?": torch.where(
            paid != 0, paid, price
        ),
        "the whole price is paid at the last token | Which token caused which part of it?": (
            one_hot(last, length) * price.sum(1, keepdim=True) + paid
        ),
        "you subtracted probabilities | The KL is a difference of logarithms; are these not logarithms already?": (
            -kl_coef * (logprobs.exp() - ref_logprobs.exp()) * mask + paid
        ),
        "you took the absolute difference | May a token be paid for being less likely now?": -price.abs() + paid,
    }


def backwards(deltas: Tensor, factor: float) -> Tensor:
    """The sum over k >= 0 of factor^k delta_{t+k}: [batch, time] to [batch, time]."""
    places = torch.arange(deltas.shape[1])
    ahead = places[:, None] - places[None, :]  # [from, to]
    return deltas @ torch.where(ahead >= 0, torch.tensor(factor) ** ahead.clamp(min=0), 0.0)


def gae_mistakes(rewards: Tensor, values: Tensor, mask: Tensor, gamma: float, lam: float) -> Mistakes:
    """rewards, values, mask: [batch, time]."""

    def deltas(values: Tensor, gamma: float) -> Tensor:
        following = torch.cat([values[:, 1:], torch.zeros_like(values[:, :1])], 1)
        return rewards + gamma * following - values

    inside, step = values * mask, deltas(values * mask, gamma)
    right = gae(rewards, values, mask, gamma, lam)[0]
    beyond, around = deltas(values, gamma), step + gamma * torch.roll(inside, -1, 1) * (one_hot_last(mask))
    return {
        "a value from behind the end counts as the future | What is still to come after the last token?": (
            backwards(beyond * mask, gamma * lam),
            backwards(beyond, gamma * lam),
            backwards(beyond, gamma * lam) * mask,
            backwards(around, gamma * lam) * mask,
        ),
        "gamma and lambda are exchanged | Which of the two stands inside of delta?": backwards(
            deltas(inside, lam), gamma * lam
        ),
        "lambda is forgotten | Which two numbers shrink what comes from later deltas?": backwards(step, gamma),
        "gamma is forgotten | Which number shrinks the next value, and later deltas?": (
            backwards(deltas(inside, 1.0), gamma * lam),
            backwards(deltas(inside, 1.0), lam),
            backwards(step, lam),
        ),
        "these are the deltas alone | What comes to each of them from the later ones?": step,
        "nothing shrinks the later deltas | Which two numbers stand before A of the next token?": backwards(step, 1.0),
        "they are whitened already | What does the formula say before any scaling?": whiten(right, mask),
        "you went forwards | Does a token answer for what came before it, or for what comes after?": (
            backwards(step.flip(1), gamma * lam).flip(1),
            backwards(step.flip(1), gamma * lam).flip(1) * mask,
        ),
        "these are the returns | What is left if the value of each token is taken off?": right + inside,
        "the value of the token itself is not subtracted | Better than what was foreseen is good: foreseen where?": (
            backwards(step + inside, gamma * lam)
        ),
    }


def one_hot_last(mask: Tensor) -> Tensor:
    """1 in the last column, 0 elsewhere."""
    return one_hot(torch.full((len(mask),), mask.shape[1] - 1), mask.shape[1])


def averages(tokens: Tensor, mask: Tensor) -> Mistakes:
    """The wrong ways from the losses of tokens, [batch, time], to one number."""
    kept = tokens * mask
    return {
        "padding is averaged over, too | By how many tokens is the sum to be divided?": (kept.mean(), tokens.mean()),
        "the mask holds whole numbers, so that [mask] took rows 0 and 1 | What does mask.bool() select?": (
            tokens[mask.long()].mean()
        ),
        "you took the sum over the tokens | What makes a loss the same for batches of any size?": kept.sum(),
        "you took the mean of each response first | Should each token weigh the same, or each response?": (
            (kept.sum(1) / mask.sum(1)).mean()
        ),
    }


def policy_loss_mistakes(
    logprobs: Tensor, old_logprobs: Tensor, advantages: Tensor, mask: Tensor, clip: float
) -> Mistakes:
    """All but clip: [batch, time]."""
    moved = logprobs - old_logprobs
    near = (1 - clip, 1 + clip)

    def of(ratio: Tensor, bound: Tensor) -> Tensor:
        return masked_mean(-torch.minimum(ratio * advantages, bound * advantages), mask)

    ratio, bound = moved.exp(), moved.exp().clamp(*near)
    gains, bounded = ratio * advantages, bound * advantages
    hopeful = masked_mean(torch.maximum(gains, bounded), mask)
    inverse, each = (-moved).exp(), -torch.minimum(gains, bounded)
    return {
        "of the two terms you take the one that promises more | Which of them is the careful one?": (-hopeful, hopeful),
        "the sign is turned | Training makes a loss smaller: is it smaller where good tokens are likelier?": (
            -of(ratio, bound)
        ),
        "the exponential is missing | These are logarithms: what is the ratio of the probabilities?": (
            of(moved, moved.clamp(*near)),
            of(moved, moved.clamp(-clip, clip)),
        ),
        "you divided log-probabilities | What is the ratio of two numbers whose logarithms are known?": of(
            logprobs / old_logprobs, (logprobs / old_logprobs).clamp(*near)
        ),
        "the ratio is old over new | Which probability does training change?": of(inverse, inverse.clamp(*near)),
        "nothing is clipped | What may a ratio beyond 1 + clip still gain?": masked_mean(-gains, mask),
        "only the clipped term is left, or the smaller of two means is taken and not of each token | What about a "
        "token that moved the wrong way?": masked_mean(-bounded, mask),
        "it is clipped between -clip and clip | Around which number does a ratio lie if nothing has changed?": of(
            ratio, ratio.clamp(-clip, clip)
        ),
        "you clipped the difference of the logarithms | Which number is to stay between 1 - clip and 1 + clip?": of(
            ratio, moved.clamp(-clip, clip).exp()
        ),
        "old log-probabilities have no part in it | Likelier than when?": masked_mean(-logprobs * advantages, mask),
    } | averages(each, mask)


def value_loss_mistakes(values: Tensor, old_values: Tensor, returns: Tensor, mask: Tensor, clip: float) -> Mistakes:
    """All but clip: [batch, time]."""
    error = (values - returns) ** 2
    near_error = (values.clamp(old_values - clip, old_values + clip) - returns) ** 2
    to_returns = (values.clamp(returns - clip, returns + clip) - returns) ** 2
    to_zero = (values.clamp(-clip, clip) - returns) ** 2
    larger = torch.maximum(error, near_error)
    return {
        # The error of a value that is clipped around the returns is never the larger one.
        "nothing is clipped, or only around the returns, which comes to the same | How far may a value move away from "
        "the old one in a single update?": 0.5 * masked_mean(error, mask),
        "you clipped around the returns | Away from what may a value not move too far?": (
            0.5 * masked_mean(to_returns, mask)
        ),
        "the half is missing | What is the derivative of a square, and what would make it simpler?": masked_mean(
            larger, mask
        ),
        "of the two errors you take the smaller one | Which of them is the careful one?": (
            0.5 * masked_mean(torch.minimum(error, near_error), mask)
        ),
        "only the clipped error is left, or the larger of two means is taken and not of each token | What if the "
        "value moved far, in the wrong direction?": 0.5 * masked_mean(near_error, mask),
        "it is clipped between -clip and clip | Around what should a new value stay?": (
            0.5 * masked_mean(torch.maximum(error, to_zero), mask),
            0.5 * masked_mean(to_zero, mask),
        ),
        "the errors are not squared | Which mean does a squared error lead to?": (
            0.5 * masked_mean(larger.sqrt(), mask),
            masked_mean(larger.sqrt(), mask),
        ),
        "the sign is turned | Can a squared error be negative?": -0.5 * masked_mean(larger, mask),
    } | averages(0.5 * larger, mask)


def k1_mistakes(logprobs: Tensor, ref_logprobs: Tensor) -> Mistakes:
    """[batch, time]. Schulman's r is the reference's probability over the policy's here, as the policy sampled."""
    log_ratio = ref_logprobs - logprobs
    return {
        "the sign of k1 is turned | Is the KL positive where the policy likes its own tokens more?": log_ratio,
        "k1 and k3 are exchanged | Which of the two can be negative?": log_ratio.exp() - 1 - log_ratio,
        "k1 is the ratio, and not its logarithm | What is the KL the mean of?": (log_ratio.exp(), (-log_ratio).exp()),
        "k1 is weighted by the policy's probability | The tokens are samples: how often does a likely one turn up?": (
            -log_ratio * logprobs.exp()
        ),
        "k1 is the absolute value | May a single token's k1 be negative?": log_ratio.abs(),
    }


def k3_mistakes(logprobs: Tensor, ref_logprobs: Tensor) -> Mistakes:
    """[batch, time], as in :func:`k1_mistakes`."""
    log_ratio = ref_logprobs - logprobs
    ratio, inverse = log_ratio.exp(), (-log_ratio).exp()
    return {
        "for k3 you gave k2, half the squared logarithm | Which estimator is never negative and has no bias?": (
            0.5 * log_ratio**2
        ),
        "the exponential in k3 is of the wrong side | The samples are the policy's: which probability is below?": (
            inverse - 1 + log_ratio,
            inverse - 1 - log_ratio,
        ),
        "the sign of the logarithm in k3 is turned | What must k3 be at a ratio of 1, and what is its slope there?": (
            ratio - 1 + log_ratio
        ),
        "the sign of k3 is turned | Can a KL be negative?": 1 + log_ratio - ratio,
        "the 1 is missing in k3 | What must k3 be where both models agree?": ratio - log_ratio,
        "the logarithm is missing in k3 | What is left of k1 in it?": ratio - 1,
        "for k3 you gave k1 again | What is added to k1 to make it vary less?": -log_ratio,
    }


def dpo_mistakes(chosen: Tensor, rejected: Tensor, ref_chosen: Tensor, ref_rejected: Tensor, beta: float) -> Mistakes:
    """All but beta: [pairs]."""
    margin = (chosen - ref_chosen) - (rejected - ref_rejected)
    plain, added = chosen - rejected, (chosen + ref_chosen) - (rejected + ref_rejected)
    return {
        "the reference is left out | Likelier than under which model?": softplus(-beta * plain).mean(),
        "the reference is added | Likelier than under which model?": softplus(-beta * added).mean(),
        "the sign is turned | Training makes a loss smaller: is it smaller where the chosen texts are likelier?": (
            logsigmoid(beta * margin).mean()
        ),
        "beta stands outside of the sigmoid | What is beta times: the loss, or the difference?": (
            beta * softplus(-margin).mean()
        ),
        "beta is forgotten | How much does a nat away from the reference count?": softplus(-margin).mean(),
        "you divided by beta | How much does a nat away from the reference count?": softplus(-margin / beta).mean(),
        "two of the four stand the wrong way round | Whose probability is to grow, and compared with which model?": (
            softplus(beta * margin).mean()
        ),
        "the logarithm is missing | What becomes of the chances of many pairs, multiplied?": (
            -torch.sigmoid(beta * margin).mean(),
            torch.sigmoid(-beta * margin).mean(),
        ),
        "the sigmoid is missing, so that the loss has no end below | What makes a chance of a difference?": (
            -beta * margin.mean()
        ),
        "you took the sum over the pairs | What makes a loss the same for batches of any size?": (
            softplus(-beta * margin).sum()
        ),
        "you subtracted probabilities | These are log-probabilities: what is the logarithm of a ratio?": softplus(
            -beta * ((chosen.exp() - ref_chosen.exp()) - (rejected.exp() - ref_rejected.exp()))
        ).mean(),
        "the rejected texts have no part in it | What is to become less likely?": softplus(
            -beta * (chosen - ref_chosen)
        ).mean(),
    }
