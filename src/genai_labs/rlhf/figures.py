"""Pictures of Lab 3: who plays which part in RLHF, what each token was good for, and what clipping does."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import matplotlib
import torch
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from genai_labs.rlhf.policy import Rollout
from genai_labs.rlhf.ppo import policy_loss
from genai_labs.show.display import COLORS, INK, PAPER, STYLE, Plot

Point = tuple[float, float]

# Name -> centre, what it is here, colour.
PARTS: dict[str, tuple[Point, str, str]] = {
    "prompt": ((0.11, 0.8), "a dialogue", "#ffffff"),
    "policy": ((0.37, 0.8), "summarizer + adapter,\nwhich learns", "#d6e9f8"),
    "response": ((0.63, 0.8), "a sampled summary", "#ffffff"),
    "reward model": ((0.89, 0.8), "a classifier of hate:\nits logit of nothate", "#fbe3d3"),
    "value head": ((0.11, 0.33), "learns to foresee\nthe reward", "#ecdff0"),
    "PPO update": ((0.37, 0.33), "makes likelier\nwhat paid", "#d6e9f8"),
    "reference": ((0.63, 0.33), "the same summarizer,\nadapter switched off", "#d8efe6"),
}
WIDTH, HEIGHT = 0.18, 0.24
# From, to, what goes along.
ARROWS = (
    ("prompt", "policy", "read"),
    ("policy", "response", "writes"),
    ("response", "reward model", "graded"),
    ("response", "reference", "how likely?"),
    ("value head", "PPO update", "baseline"),
    ("reference", "PPO update", "\N{MINUS SIGN} KL"),
    ("PPO update", "policy", "changes"),
)


@matplotlib.rc_context(STYLE)
def rlhf() -> Plot:
    """The loop of RLHF by PPO, with the part that each model plays in this lab."""
    figure = Figure(figsize=(9, 3.6), facecolor=PAPER)
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set(xlim=(0, 1), ylim=(0, 1))
    axes.axis("off")
    for name, ((x, y), what, color) in PARTS.items():
        shape = "round,pad=0,rounding_size=0.015"
        corner = (x - WIDTH / 2, y - HEIGHT / 2)
        axes.add_patch(FancyBboxPatch(corner, WIDTH, HEIGHT, boxstyle=shape, fc=color, ec="#5a616b"))
        axes.text(x, y + 0.065, name, ha="center", va="center", size=11, weight="bold")
        axes.text(x, y - 0.035, what, ha="center", va="center", size=8.5)
    for start, end, word in ARROWS:
        _arrow(axes, PARTS[start][0], PARTS[end][0], word)
    (x, y), (goal, low) = PARTS["reward model"][0], PARTS["PPO update"][0]
    axes.plot([x, x, goal], [y - HEIGHT / 2, 0.07, 0.07], color=INK, lw=1.3)
    axes.annotate("", (goal, low - HEIGHT / 2), (goal, 0.065), arrowprops={"arrowstyle": "->", "color": INK, "lw": 1.3})
    axes.text((x + goal) / 2, 0.1, "+ reward", ha="center", size=9)
    lines = [f"  {name}: {what}".replace("\n", " ") for name, (_, what, _) in PARTS.items()]
    lines += [
        f"  {start} -> {end}: {word}" for start, end, word in (*ARROWS, ("reward model", "PPO update", "+ reward"))
    ]
    return Plot(figure, "\n".join(["Figure: RLHF by PPO, and who plays which part here", *lines]))


def _arrow(axes: Any, start: Point, end: Point, word: str) -> None:
    """An arrow between the borders of two boxes in one row or one column, with a word beside it."""
    (x0, y0), (x1, y1) = start, end
    right, up = (x1 > x0) - (x1 < x0), (y1 > y0) - (y1 < y0)
    begin = (x0 + right * WIDTH / 2, y0 + up * HEIGHT / 2)
    finish = (x1 - right * WIDTH / 2, y1 - up * HEIGHT / 2)
    axes.annotate("", finish, begin, arrowprops={"arrowstyle": "->", "color": INK, "lw": 1.3})
    middle = ((begin[0] + finish[0]) / 2, (begin[1] + finish[1]) / 2)
    if up:
        axes.text(middle[0] + 0.012, middle[1], word, ha="left", va="center", size=9)
    else:
        axes.text(middle[0], middle[1] + 0.025, word, ha="center", va="bottom", size=9)


@matplotlib.rc_context(STYLE)
def tokens(rollout: Rollout, tokenizer: PreTrainedTokenizerBase, row: int = 0) -> Plot:
    """What is known of each token of one response: log-probabilities, reward, advantage."""
    words = _pieces(rollout, tokenizer, row)
    count = len(words)
    panels: list[tuple[str, dict[str, torch.Tensor]]] = [
        ("log-probability\n(nats)", {"policy": rollout.logprobs[row], "reference": rollout.ref_logprobs[row]}),
        ("reward\n(logits)", {"reward": rollout.rewards[row]}),
        ("advantage,\nwhitened", {"advantage": rollout.advantages[row]}),
    ]
    figure = Figure(figsize=(10, 5.6), facecolor=PAPER, layout="constrained")
    for axes, (label, drawn) in zip(figure.subplots(3, 1, sharex=True), panels, strict=True):
        for number, (name, values) in enumerate(drawn.items()):
            heights = values[:count].tolist()
            axes.bar(
                [place + 0.4 * (number - (len(drawn) - 1) / 2) for place in range(count)],
                heights,
                width=0.8 / len(drawn),
                color=COLORS[number],
                hatch=("", "///")[number],
                edgecolor=PAPER,
                label=name,
            )
        axes.axhline(0, color="#5a616b", lw=0.8)
        axes.set_ylabel(label)
        axes.spines[["top", "right"]].set_visible(False)
        if len(drawn) > 1:
            axes.legend(frameon=False, ncols=2, loc="lower right")
    axes.set_xticks(range(count), words, rotation=90, fontsize=8)
    axes.set_xlabel("token of the response")
    lines = [
        f"  {name}: mean {float(values[:count].mean()):.2f}, at the last token {float(values[count - 1]):.2f}"
        for _, drawn in panels
        for name, values in drawn.items()
    ]
    return Plot(figure, "\n".join([f"Figure: the {count} tokens of one response", *lines]))


@matplotlib.rc_context(STYLE)
def token_shifts(rollout: Rollout, tokenizer: PreTrainedTokenizerBase, row: int, shifts: Mapping[str, Tensor]) -> Plot:
    """How much likelier each token of one response has become: a line of colours for each moment.

    shifts: log(policy / reference) of the rollout's tokens by name of the moment, nats, [batch, time] each.
    """
    pieces = _pieces(rollout, tokenizer, row)
    count = len(pieces)
    nats = torch.stack([each[row, :count] for each in shifts.values()]).cpu()  # [moments, tokens]
    figure = Figure(figsize=(10, 1.9 + 0.3 * len(shifts)), facecolor=PAPER, layout="constrained")
    axes = figure.subplots()
    most = max(1.0, float(nats.abs().max()))
    image = axes.imshow(nats.numpy(), aspect="auto", cmap="RdBu", vmin=-most, vmax=most)
    axes.set_yticks(range(len(shifts)), list(shifts))
    axes.set_xticks(range(count), pieces, rotation=90, fontsize=8)
    axes.set_xlabel("token of the response")
    figure.colorbar(image, ax=axes, label="log(policy / reference), nats")
    lines = []
    for name, each in zip(shifts, nats, strict=True):
        least = int(each.argmin())
        lines.append(
            f"  {name}: sum {float(each.sum()):.2f}, least likely by now: {pieces[least].strip()!r} {each[least]:.2f}"
        )
    return Plot(figure, "\n".join([f"Figure: how the {count} tokens of one response fared", *lines]))


def _pieces(rollout: Rollout, tokenizer: PreTrainedTokenizerBase, row: int) -> list[str]:
    """The tokens that count in one response, as they are shown."""
    ids = rollout.tokens[row, : int(rollout.mask[row].sum())].tolist()
    return [token.replace("▁", " ") or " " for token in tokenizer.convert_ids_to_tokens(ids)]


@matplotlib.rc_context(STYLE)
def clipping(clip: float) -> Plot:
    """The policy's part of PPO's loss for one token, against its probability ratio, for a good and a bad token."""
    figure = Figure(figsize=(8, 3), facecolor=PAPER, layout="constrained")
    ratios = torch.linspace(0.4, 1.6, 121)
    for axes, advantage in zip(figure.subplots(1, 2), (1.0, -1.0), strict=True):
        gains = [-_policy_loss(float(ratio), advantage, clip) for ratio in ratios]
        axes.plot(ratios, advantage * ratios, color=COLORS[4], ls="--", lw=1.2, label="not clipped")
        axes.plot(ratios, gains, color=COLORS[0], lw=2, label="clipped")
        axes.axvline(1, color="#5a616b", lw=0.8)
        axes.set(xlabel="new probability / old probability", ylabel="what is made larger")
        axes.set_title(f"advantage {advantage:+g}", loc="left", size=10, weight="bold")
        axes.spines[["top", "right"]].set_visible(False)
        axes.legend(frameon=False)
    lines = [
        f"  advantage +1: no more gain once the ratio is above {1 + clip:g}",
        f"  advantage -1: no more gain once the ratio is below {1 - clip:g}",
    ]
    return Plot(figure, "\n".join(["Figure: clipping", *lines]))


def _policy_loss(ratio: float, advantage: float, clip: float) -> float:
    """The package's own loss of a single token."""
    logprobs, old, mask = torch.tensor([[ratio]]).log(), torch.zeros(1, 1), torch.ones(1, 1)
    return float(policy_loss(logprobs, mask, old_logprobs=old, advantages=advantage * mask, clip=clip)[0])
