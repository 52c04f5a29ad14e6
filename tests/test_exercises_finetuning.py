"""The exercises of Lab 2: an empty stub and each usual mistake are told, in words, and right answers of any form pass.

Stubs and folded solutions are read out of the notebook, so that what is tested is what is shown.
"""

from __future__ import annotations

import copy
import random
import re
from collections.abc import Callable
from functools import cache
from typing import Any

import nbformat
import numpy as np
import peft
import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy

from genai_labs.finetuning import examples, exercises, lora, lora_exercises
from genai_labs.loading.profiles import PROFILES
from genai_labs.paths import NOTEBOOKS

NOTEBOOK = NOTEBOOKS / "lab2_fine_tuning.ipynb"
CELL = "lab2-ex-"
# Each exercise: the name of its check, and of what the learner writes.
EXERCISES = {
    "labels": ("check_labels", "my_labels"),
    "decoder-input": ("check_decoder_input", "my_decoder_input"),
    "loss": ("check_cross_entropy", "my_loss"),
    "step": ("check_step", "my_step"),
    "lora-linear": ("check_lora_linear", "MyLoRALinear"),
    "lora-count": ("check_lora_count", "my_lora_count"),
    "adapter": ("check_adapter", "my_adapter"),
    "mixture": ("check_mixture", "my_mixture"),
    "merging": ("check_merging", "my_merged"),
}


@cache
def cell(name: str) -> str:
    (source,) = [c.source for c in nbformat.read(NOTEBOOK, 4).cells if c.id == CELL + name]
    return source


def solution(name: str) -> Any:
    (code,) = re.findall(r"<summary>Solution</summary>\n\n```python\n(.*?)```", cell(name), re.DOTALL)
    return run(code)[EXERCISES[name][1]]


def run(code: str) -> dict[str, Any]:
    names: dict[str, Any] = {"torch": torch, "nn": nn, "copy": copy, "peft": peft, "check": exercises}
    exec(code, names)
    return names


@pytest.fixture
def told(capsys: pytest.CaptureFixture[str]) -> Callable[[str, Any], str]:
    """The one line that a check prints about an answer."""

    def line(name: str, answer: Any) -> str:
        assert getattr(exercises, EXERCISES[name][0])(answer) is None
        out, err = capsys.readouterr()
        assert err == ""
        assert out.endswith("\n")
        assert out.count("\n") == 1
        return out

    return line


Told = Callable[[str, Any], str]


def labels_with(keep: Callable[[dict[str, Any], int], Any], value: int = -100) -> Any:
    return lambda batch, pad: torch.where(keep(batch, pad), batch["targets"], value)


def labels_in_lists(batch: dict[str, Any], pad: int) -> list[list[int]]:
    return [[-100 if token == pad else token for token in row] for row in batch["targets"].tolist()]


def labels_in_place(batch: dict[str, Any], pad: int) -> Any:
    batch["targets"][batch["targets"] == pad] = -100
    return batch["targets"]


def shifted_by_loop(labels: Any, start: int, pad: int) -> Any:
    rows = [[start, *(pad if label == -100 else label for label in row[:-1])] for row in labels.tolist()]
    return np.array(rows)


def shifted(labels: Any, start: int, pad: int) -> Any:
    return torch.cat([torch.full((len(labels), 1), start), labels], 1)


def own_labels(numbers: Any, labels: Any) -> Any:
    """Of each place that counts the number of its label."""
    counts = labels != -100
    return numbers[counts].gather(1, labels[counts][:, None])


def loss_by_softmax(logits: Any, labels: Any) -> Any:
    p = logits.softmax(-1)
    counts = labels != -100
    return -p[counts].gather(1, labels[counts][:, None]).log().mean()


def loss_in_numpy(logits: Any, labels: Any) -> float:
    z = logits.double().numpy()
    top = z.max(-1, keepdims=True)
    log_p = z - top - np.log(np.exp(z - top).sum(-1, keepdims=True))
    found = [log_p[r, c, y] for (r, c), y in np.ndenumerate(labels.numpy()) if y >= 0]
    return -sum(found) / len(found)


def flat_loss(logits: Any, labels: Any, **how: Any) -> Any:
    return cross_entropy(logits.flatten(0, 1), labels.flatten(), **how)


def row_means(logits: Any, labels: Any) -> Any:
    rows = [cross_entropy(a, b) for a, b in zip(logits, labels, strict=True) if (b != -100).any()]
    return torch.stack(rows).mean()


def step_by_torch(model: Any, batch: Any, learning_rate: float, max_norm: float) -> Any:
    optimizer = torch.optim.SGD(model.parameters(), lr=learning_rate)
    loss = model(**batch).loss
    loss.backward()
    nn.utils.clip_grad_norm_(model.parameters(), max_norm)
    optimizer.step()
    optimizer.zero_grad()
    return loss


def step_with(
    clear: bool = True,
    late: bool = False,
    clip: Any = None,
    rate: float | None = None,
    sign: int = -1,
    back: bool = True,
) -> Any:
    def step(model: Any, batch: Any, learning_rate: float, max_norm: float) -> Any:
        if clear and not late:
            model.zero_grad()
        loss = model(**batch).loss
        loss.backward()
        if late:
            model.zero_grad(set_to_none=False)
        (clip or nn.utils.clip_grad_norm_)(list(model.parameters()), max_norm)
        with torch.no_grad():
            for weight in model.parameters():
                weight += sign * (rate or learning_rate) * weight.grad
        return loss.item() if back else None

    return step


def clip_each(weights: list[Any], max_norm: float) -> None:
    for weight in weights:
        nn.utils.clip_grad_norm_(weight, max_norm)


def clip_always(weights: list[Any], max_norm: float) -> None:
    length = torch.sqrt(sum(weight.grad.pow(2).sum() for weight in weights))
    for weight in weights:
        weight.grad *= max_norm / length


def no_clip(weights: list[Any], max_norm: float) -> None:
    pass


def layer(
    a: Any = torch.randn,
    b: Any = torch.zeros,
    scale: Callable[[int, float], float] = lambda rank, alpha: alpha / rank,
    frozen: bool = True,
    base: float = 1,
    cut: bool = False,
    seen: Callable[[Any], Any] = lambda x: x,
    wrap: Any = nn.Parameter,
) -> Any:
    """A layer with LoRA that is right, but for what the arguments change."""

    class Layer(nn.Module):
        def __init__(self, linear: nn.Linear, rank: int, alpha: float) -> None:
            super().__init__()
            self.linear = linear.requires_grad_(not frozen)
            self.a, self.b = wrap(a(rank, linear.in_features)), wrap(b(linear.out_features, rank))
            self.scale = scale(rank, alpha)

        def forward(self, x: Any) -> Any:
            up = self.b.detach() if cut else self.b
            return base * self.linear(seen(x)) + self.scale * (x @ self.a.T @ up.T)

    return Layer


class Hidden(nn.Module):
    """Right, but for the layer that it was given: nobody freezes it, as torch does not find it in a list."""

    def __init__(self, linear: nn.Linear, rank: int, alpha: float) -> None:
        super().__init__()
        self.hidden, self.scale = [linear], alpha / rank
        self.a = nn.Parameter(torch.randn(rank, linear.in_features))
        self.b = nn.Parameter(torch.zeros(linear.out_features, rank))

    def forward(self, x: Any) -> Any:
        return self.hidden[0](x) + self.scale * (x @ self.a.T @ self.b.T)


class NotMerged(nn.Module):
    """It computes what the merged layer would, with W, A and B apart."""

    def __init__(self, linear: nn.Linear, A: Any, B: Any, alpha: float) -> None:
        super().__init__()
        self.linear, self.a, self.b = copy.deepcopy(linear), A, alpha / len(A) * B

    def forward(self, x: Any) -> Any:
        return self.linear(x) + x @ self.a.T @ self.b.T


class OfLinears(nn.Module):
    """With two linear layers for A and B, and W held as a buffer."""

    def __init__(self, linear: nn.Linear, rank: int, alpha: float) -> None:
        super().__init__()
        self.register_buffer("w", linear.weight.detach().clone())
        self.register_buffer("c", None if linear.bias is None else linear.bias.detach().clone())
        self.first = nn.Linear(linear.in_features, rank, bias=False)
        self.second = nn.Linear(rank, linear.out_features, bias=False)
        nn.init.zeros_(self.second.weight)
        self.scale = alpha / rank

    def forward(self, x: Any) -> Any:
        return nn.functional.linear(x, self.w, self.c) + self.second(self.first(x)) * self.scale  # type: ignore[arg-type]


def with_biases(first: bool, second: bool) -> Any:
    """Right, but for linear layers with biases in the place of A and B."""

    class Layer(OfLinears):
        def __init__(self, linear: nn.Linear, rank: int, alpha: float) -> None:
            super().__init__(linear, rank, alpha)
            self.first = nn.Linear(linear.in_features, rank, bias=first)
            self.second = nn.Linear(rank, linear.out_features, bias=second)

    return Layer


class WideB(nn.Module):
    """With a B of the layer's own shape."""

    def __init__(self, linear: nn.Linear, rank: int, alpha: float) -> None:
        super().__init__()
        self.linear, self.scale = linear.requires_grad_(False), alpha / rank
        self.a = nn.Parameter(torch.randn(rank, linear.in_features))
        self.b = nn.Parameter(torch.zeros(linear.out_features, linear.in_features))

    def forward(self, x: Any) -> Any:
        return self.linear(x) + self.scale * x @ self.b.T


class TurnedOver(nn.Module):
    """With A and B stored the other way round, [inputs, rank] and [rank, outputs]."""

    def __init__(self, linear: nn.Linear, rank: int, alpha: float) -> None:
        super().__init__()
        self.linear, self.scale = linear, alpha / rank
        for p in linear.parameters():
            p.requires_grad = False
        self.left = nn.Parameter(torch.randn(linear.in_features, rank) / rank)
        self.right = nn.Parameter(torch.zeros(rank, linear.out_features))

    def forward(self, x: Any) -> Any:
        return self.linear(x) + self.scale * x @ self.left @ self.right


def adapted(**changes: Any) -> Any:
    settings: dict[str, Any] = {"r": 16, "lora_alpha": 32, "target_modules": r"decoder\..*\.(wi_0|wi_1|wo)"} | changes
    return lambda model: peft.get_peft_model(model, peft.LoraConfig(**settings))


def adapted_by_list(model: Any) -> Any:
    names = [name for name, part in model.named_modules() if name.startswith("decoder") and "DenseReluDense.w" in name]
    config = peft.LoraConfig(task_type="SEQ_2_SEQ_LM", r=16, lora_alpha=32, target_modules=names, lora_dropout=0.1)
    return peft.get_peft_model(model, config)


def merged_with(weight: Callable[[Any, Any, Any, float], Any]) -> Any:
    def merge(linear: nn.Linear, A: Any, B: Any, alpha: float) -> nn.Linear:
        new = copy.deepcopy(linear)
        new.weight.data = weight(linear.weight.detach(), A, B, alpha)
        return new

    return merge


def merged_anew(linear: nn.Linear, A: Any, B: Any, alpha: float) -> nn.Linear:
    outputs, inputs = linear.weight.shape
    new = nn.Linear(inputs, outputs, bias=linear.bias is not None)
    state = linear.state_dict()
    state["weight"] = state["weight"] + B.mul(alpha).div(A.shape[0]).matmul(A)
    new.load_state_dict(state)
    return new


def merged_in_place(linear: nn.Linear, A: Any, B: Any, alpha: float) -> nn.Linear:
    linear.weight.data += alpha / len(A) * B @ A
    return linear


def merged_without_bias(linear: nn.Linear, A: Any, B: Any, alpha: float) -> nn.Linear:
    new = nn.Linear(linear.in_features, linear.out_features, bias=False)
    new.weight.data = linear.weight.detach() + alpha / len(A) * B @ A
    return new


def mixed(
    count: Callable[[int, float], float] = lambda n, s: n * s / (1 - s), order: Any = None, draw: Any = None
) -> Any:
    def mixture(new: list[str], old: list[str], share: float, seed: int) -> list[str]:
        rng = random.Random(seed)
        some = (draw or (lambda rng, old, k: rng.sample(old, k)))(rng, old, round(count(len(new), share)))
        rows = [*new, *some]
        (order or (lambda rng, rows: rng.shuffle(rows)))(rng, rows)
        return rows

    return mixture


def mixed_in_place(new: list[str], old: list[str], share: float, seed: int) -> list[str]:
    rng = random.Random(seed)
    new += rng.sample(old, round(len(new) * share / (1 - share)))
    rng.shuffle(new)
    return new


def mixed_in_numpy(new: list[str], old: list[str], share: float, seed: int) -> Any:
    rng = np.random.default_rng(seed)
    total = int(np.ceil(len(new) / (1 - share)))
    return rng.permutation(new + list(rng.choice(old, total - len(new), replace=False)))


def mixed_by_insertion(new: list[str], old: list[str], share: float, seed: int) -> list[str]:
    rng, rows = random.Random(seed), list(new)
    for row in rng.sample(old, int(len(new) * share / (1 - share))):
        rows.insert(rng.randrange(len(rows) + 1), row)
    return rows


RIGHT: dict[str, list[Any]] = {
    "labels": [labels_in_lists, labels_in_place, labels_with(lambda b, pad: b["targets"] != pad)],
    "decoder-input": [shifted_by_loop],
    "loss": [loss_in_numpy, flat_loss, lambda logits, labels: cross_entropy(logits.transpose(1, 2), labels)],
    "step": [step_by_torch, step_with()],
    "lora-linear": [OfLinears, TurnedOver, layer()],
    "lora-count": [lambda shapes, rank: np.array(shapes).sum() * rank],
    "adapter": [adapted_by_list, adapted(bias="none", target_modules=r".*decoder.*DenseReluDense\.w.*")],
    "mixture": [mixed_in_numpy, mixed()],
    "merging": [merged_anew],
}
WRONG: dict[str, list[tuple[Any, str]]] = {
    "labels": [
        (lambda batch, pad: batch["targets"], r"left the padding in .* 60 positions count, and only 34"),
        (labels_with(lambda b, pad: b["targets"] == pad), "mask is on the wrong side"),
        (labels_with(lambda b, pad: (b["targets"] != pad) & (b["targets"] != 1)), "left out </s>, too: 29 positions"),
        (labels_with(lambda b, pad: b["attention_mask"] == 1), "attention mask of the prompts"),
        (labels_with(lambda b, pad: b["targets"] != 0), "left the padding in the labels .here the token 9"),
        (labels_with(lambda b, pad: b["targets"] != pad, 0), "the padding"),
        (lambda batch, pad: batch["targets"] != pad, "this is a mask"),
        (
            lambda batch, pad: batch["input_ids"].masked_fill(batch["attention_mask"] == 0, -100),
            "tokens of the prompts",
        ),
        (lambda batch, pad: batch["targets"] * 0 - 100, "nothing is learned"),
        (lambda batch, pad: labels_in_place(batch, pad) + 1, r"labels are not right; the first is .* in row 1"),
        (lambda batch, pad: batch["targets"][:, 1:], r"shape of the labels is \(5, 11\)"),
    ],
    "decoder-input": [
        (lambda labels, start, pad: labels, "nothing is shifted, and .* times -100"),
        (lambda labels, start, pad: labels.masked_fill(labels == -100, pad), "nothing is shifted: at each place"),
        (lambda labels, start, pad: shifted(labels, start, pad)[:, 2:], "shape of the decoder's input"),
        (lambda labels, start, pad: nn.functional.pad(labels, (0, 1), value=-100)[:, 1:], "shifted left"),
        (lambda labels, start, pad: shifted(labels, start, pad)[:, :-1], r"-100 is left in at \d+ places"),
        (
            lambda labels, start, pad: shifted(labels.masked_fill(labels == -100, pad), start, pad),
            r"\(5, 13\), one token a row too many",
        ),
        (lambda labels, start, pad: labels.masked_fill(labels == -100, pad).roll(1, 1), "came back at its front"),
        (
            lambda labels, start, pad: shifted_by_loop(labels, pad, pad),
            r"padding \(3\), not with the start token \(7\)",
        ),
        (lambda labels, start, pad: shifted_by_loop(labels, start, start), "stands for the padding, too"),
        (lambda labels, start, pad: shifted_by_loop(labels, start, pad) + 1, "tokens are not right"),
    ],
    "loss": [
        (lambda a, b: flat_loss(a, b) * (b != -100).sum() / b.numel(), "mean over all 24 places; only 13"),
        (lambda a, b: flat_loss(a, b, reduction="sum"), "the sum over the 13 labels"),
        (lambda a, b: flat_loss(a, b) / np.log(2), "in bits"),
        (lambda a, b: flat_loss(a.softmax(-1), b), "softmax of a softmax"),
        (row_means, "the mean of the rows' means"),
        (lambda a, b: -flat_loss(a, b), "but for its sign"),
        (lambda a, b: flat_loss(a, b).exp(), "perplexity"),
        (lambda a, b: flat_loss(a, b.clamp(min=0)), "11 masked places, too, as if token 0"),
        (lambda a, b: flat_loss(a, b % 130), "an index from the end"),
        (lambda a, b: flat_loss(a, b, reduction="none"), "24 losses, one a place"),
        (loss_by_softmax, "rounds to 0"),
        (lambda a, b: flat_loss(a, b) + 1, "torch says"),
        (lambda a, b: -own_labels(a.log_softmax(1), b).mean(), "a softmax over the places"),
        (lambda a, b: -a.log_softmax(-1)[b != -100][:, b[b != -100]].mean(), "the mean over 13 times 13 pairs"),
        (lambda a, b: -(own_labels(a.softmax(-1), b) + 1e-9).log().mean(), "what 1e-09, added to each probability"),
    ],
    "step": [
        (step_with(sign=1), "up the gradient"),
        (step_with(clear=False), "first batch are still in it"),
        (step_with(clip=clip_each), "clipped apart"),
        (step_with(rate=1.0), "learning rate is missing: .* 4 times as far"),
        (step_with(clip=no_clip), "were not clipped"),
        (step_with(clip=nn.utils.clip_grad_value_), "each single number"),
        (step_with(clip=clip_always), "Clipping only shortens"),
        (step_with(late=True), "no weight has moved"),
        (step_with(back=False), "Return the loss"),
        (step_with(rate=0.4), r"moved by .* instead of"),
        (lambda model, batch, *how: step_by_torch(model, batch, *how) * 0, "the weights are right, but the loss"),
        (step_with(clear=False, clip=no_clip), "not cleared, and they are not clipped"),
    ],
    "lora-linear": [
        (layer(b=torch.randn), "B is not zero at the start"),
        (layer(a=torch.ones), "the rows of A are multiples of one another"),
        (layer(a=lambda r, i: torch.arange(float(i)).repeat(r, 1)), "the rows of A are multiples of one another"),
        (Hidden, "the layer that was given gets a gradient, too"),
        (layer(scale=lambda rank, alpha: alpha), "2 times too large .rank 2, alpha 8"),
        (layer(frozen=False), r"are trained, too: 28 numbers that should be frozen"),
        (with_biases(False, True), r"second\.bias is trained, too: 4 numbers of a bias"),
        (with_biases(True, True), r"first\.bias, second\.bias are trained, too: 6 numbers of a bias"),
        (WideB, r"of the shapes \(2, 6\), \(4, 6\) are trained"),
        (layer(base=7), "in the sum, and unscaled"),
        (layer(a=torch.zeros, b=torch.randn), "A and B are exchanged"),
        (layer(a=torch.zeros), "both matrices start at zero"),
        (layer(scale=lambda rank, alpha: 1), "not scaled"),
        (layer(scale=lambda rank, alpha: rank / alpha), "rank / alpha"),
        (layer(scale=lambda rank, alpha: 1 / rank), "1 / rank"),
        (layer(scale=lambda rank, alpha: 0), "frozen layer's alone"),
        (layer(scale=lambda rank, alpha: -alpha / rank), "wrong sign"),
        (layer(scale=lambda rank, alpha: 7), "off from peft's by up to"),
        (layer(base=False), "Is the frozen layer.s output in the sum"),
        (layer(cut=True), "the gradient of B is not"),
        (layer(seen=lambda x: x.detach()), "x gets another gradient"),
        (layer(wrap=lambda tensor: tensor), "nothing is trained"),
        (layer(a=lambda r, i: torch.randn(r + 1, i), b=lambda o, r: torch.zeros(o, r + 1)), "two thin matrices"),
        (lambda linear, rank, alpha: 3, "a module is needed, and a int"),
    ],
    "lora-count": [
        (lambda shapes, rank: sum(a * b for a, b in shapes), "matrices' own sizes: full"),
        (lambda shapes, rank: rank * sum(a * b for a, b in shapes) + (rank == 1), "is not what peft trains"),
        (lambda shapes, rank: rank * sum(b for a, b in shapes), "counts A alone"),
        (lambda shapes, rank: rank * sum(a for a, b in shapes), "counts B alone"),
        (lambda shapes, rank: rank * sum(shapes[0]), "first matrix alone"),
        (lambda shapes, rank: sum(map(sum, shapes)), "leaves out the rank"),
        (lambda shapes, rank: sum(rank * (a + b) + a * b for a, b in shapes), "counts the matrices, too"),
    ],
    "adapter": [
        (adapted(target_modules=r"decoder\..*\.(q|v)"), "belong to attention layers"),
        (
            adapted(target_modules=["wi_0", "wi_1", "wo"]),
            "21 matrices have an adapter instead of 9, and 12 .*in the encoder",
        ),
        (adapted(target_modules="all-linear"), "all layers, "),
        (adapted(target_modules=r"decoder\..*\.wo"), "6 places"),
        (adapted(target_modules=r"decoder\..*\.(wi_0|wi_1|wo|o)"), "6 of them belong to attention"),
        (adapted(r=8), "the rank is 8, and 16"),
        (adapted(lora_alpha=16), "scaled by 1; alpha = 32"),
        (adapted(modules_to_save=["final_layer_norm"]), "numbers are trained; the adapter has 110,592"),
        (lambda model: peft.LoraConfig(r=16), "this is the configuration"),
        (lambda model: model, "a peft model is needed"),
        (adapted(target_modules=r"decoder.*DenseReluDense.*"), "fits a T5DenseGatedActDense, too"),
        (adapted(target_modules=["wi"]), "stopped.*NoMatching.*Target modules"),
    ],
    "mixture": [
        (mixed(count=lambda n, s: n * s), "16 old ones .* share of the new examples"),
        (mixed(order=lambda rng, rows: None), "20 old examples stand in one piece, last"),
        (mixed(draw=lambda rng, old, k: [old[0]] * k), "20 old examples, and only 1 different"),
        (mixed(draw=lambda rng, old, k: rng.choices(old, k=k)), "Draw without putting back"),
        (mixed(order=lambda rng, rows: rows.__delitem__(slice(0, 20))), "20 of 80 new examples are gone"),
        (mixed(draw=lambda rng, old, k: old[:k]), "all 20 old ones are of the first half"),
        (mixed(draw=lambda rng, old, k: rng.sample(old[: 2 * k], k)), "all 20 old ones are of the first half"),
        (mixed(draw=lambda rng, old, k: old[-k:]), "all 20 old ones are of the last half"),
        (mixed(order=lambda rng, rows: random.SystemRandom().shuffle(rows)), "it gives two mixtures"),
        (mixed(order=lambda rng, rows: random.Random(0).shuffle(rows)), "the old ones stand in the same places"),
        (mixed(draw=lambda rng, old, k: random.Random(42).sample(old, k)), "the same old ones come in"),
        (mixed(draw=lambda rng, old, k: old[:: len(old) // k][:k] if k else []), "the same old ones come in"),
        (mixed_in_place, "the mixture is right; but your function changes new in place"),
        (mixed(count=lambda n, s: 0), "0 old ones on 80 new ones are 0.000"),
        (mixed(draw=lambda rng, old, k: [old[:k]]), "holds a list"),
        (mixed(order=lambda rng, rows: rows.append(rows[0])), "holds 81 new examples"),
        (mixed_by_insertion, "the new examples stand in the order in which they were given"),
        (lambda new, old, share, seed: 7, "a list of examples"),
    ],
    "merging": [
        (NotMerged, "a layer is needed, an nn.Linear, and a NotMerged"),
        (merged_with(lambda w, a, b, alpha: w + alpha / len(a) * a @ b), "added A B"),
        (merged_with(lambda w, a, b, alpha: w + b @ a), "without its scale"),
        (merged_in_place, r"has changed, by up to \d\.\d+"),
        (merged_with(lambda w, a, b, alpha: w + alpha * b @ a), "scaled by alpha"),
        (merged_with(lambda w, a, b, alpha: w + len(a) / alpha * b @ a), "rank / alpha"),
        (merged_with(lambda w, a, b, alpha: w - alpha / len(a) * b @ a), "taken away"),
        (merged_with(lambda w, a, b, alpha: alpha / len(a) * b @ a), "W is missing"),
        (merged_with(lambda w, a, b, alpha: w), "nothing is added"),
        (merged_with(lambda w, a, b, alpha: w + alpha / len(a) * (b @ a) + 1), "the weight is off by up to 1.000"),
        (lambda linear, A, B, alpha: linear.weight + alpha / len(A) * B @ A, "this is a weight"),
        (merged_without_bias, "the bias is off"),
        (lambda linear, A, B, alpha: linear, "the layer that was given"),
        (lambda linear, A, B, alpha: "merged", "a layer is needed, an nn.Linear, and a str"),
    ],
}
SQUARE_TURNED = merged_with(
    lambda w, a, b, alpha: w + alpha / len(a) * ((b @ a).T if w.shape[0] == w.shape[1] else b @ a)
)


def stops(*arguments: Any) -> None:
    raise ValueError("no\nway")


@pytest.mark.parametrize("name", EXERCISES)
def test_a_stub_is_told_what_to_begin_with(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    run(cell("labels-code").replace("check.check_labels(my_labels)", "") + "\n" + cell(f"{name}-code"))
    out, err = capsys.readouterr()
    assert out.startswith("Not yet: the function gives back nothing so far. Begin with ")
    assert (out.count("\n"), err) == (1, "")


@pytest.mark.parametrize("name", EXERCISES)
def test_the_folded_solution_is_right(name: str, told: Told) -> None:
    said = told(name, solution(name))
    assert said.startswith("Right: ")
    assert said == told(name, solution(name)), "the same words each time"


@pytest.mark.parametrize(
    ("name", "number"), [(name, n) for name, answers in RIGHT.items() for n in range(len(answers))]
)
def test_right_answers_of_another_form_pass(name: str, number: int, told: Told) -> None:
    assert told(name, RIGHT[name][number]).startswith("Right: ")


@pytest.mark.parametrize(
    ("name", "number"), [(name, n) for name, answers in WRONG.items() for n in range(len(answers))]
)
def test_a_usual_mistake_is_named(name: str, number: int, told: Told) -> None:
    answer, words = WRONG[name][number]
    said = told(name, answer)
    assert said.startswith("Not yet: ")
    assert re.search(words, said), said


def test_a_right_answer_that_changes_what_it_is_given_is_told_so(told: Told) -> None:
    assert "but your function changes batch in place" in told("labels", labels_in_place)
    assert "but your function" not in told("labels", labels_in_lists)


@pytest.mark.filterwarnings("error::RuntimeWarning")
def test_a_loss_of_many_nats_is_compared_without_a_warning(told: Told) -> None:
    said = told("loss", lambda logits, labels: flat_loss(logits, labels) + (logits.abs().max() > 300))
    assert "torch says" in said


def test_a_product_turned_over_is_named_where_the_shapes_do_not_tell(told: Told) -> None:
    assert "turned over" in told("merging", SQUARE_TURNED)


@pytest.mark.parametrize("name", EXERCISES)
@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (stops, "ValueError: no way"),
        (3, "a function is needed, and a int"),
        (None, "nothing so far"),
        (lambda: 1, "TypeError"),
        (lambda *arguments: "words", "."),
        (lambda *arguments: [float("nan")], "."),
        (lambda *arguments: torch.ones(2, 2, 2, 2), "."),
        (lambda *arguments: {"a": object()}, "."),
    ],
)
def test_absurd_answers_are_told_and_not_raised(name: str, answer: Any, words: str, told: Told) -> None:
    said = told(name, answer)
    assert said.startswith("Not yet: ")
    assert words in said
    assert "cannot be read" not in said or "as numbers" in said, "each is met by a sentence of its own"


def test_checks_leave_the_random_numbers_of_the_lab_alone(told: Told) -> None:
    torch.manual_seed(5)
    expected = torch.rand(1)
    for name in EXERCISES:
        torch.manual_seed(5)
        told(name, lambda *arguments: None)
        assert torch.rand(1) == expected


def test_the_decoders_input_is_that_of_the_embedded_model() -> None:
    labels = torch.tensor([[5, 6, 1], [7, 1, examples.MASKED]])
    model = lora_exercises._embedded_shapes()
    made = model.prepare_decoder_input_ids_from_labels(labels)
    assert torch.equal(solution("decoder-input")(labels, 0, 0), made)


@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning")
def test_the_adapter_asked_for_is_the_one_of_the_lab() -> None:
    settings = PROFILES["mini"].lora
    wanted = (settings["rank"], settings["alpha"], settings["targets"], settings["within"])
    assert wanted == (lora_exercises.RANK, lora_exercises.ALPHA, lora_exercises.MATRICES, "decoder")
    model = lora.attach(lora_exercises._embedded_shapes(), lora.lora_config(*wanted))
    mine = solution("adapter")(lora_exercises._embedded_shapes())
    assert [n for n, p in mine.named_parameters() if p.requires_grad] == [
        n for n, p in model.named_parameters() if p.requires_grad
    ]


def test_every_exercise_has_its_time_a_hint_and_a_stub() -> None:
    for name in EXERCISES:
        text = cell(name)
        assert re.match(r"\*\*Exercise: .+\*\* \(\d+ minutes, (easy|medium|harder)\)\. ", text)
        assert text.count("<summary>Hint</summary>") == text.count("<summary>Solution</summary>") == 1
        assert cell(f"{name}-code").rstrip().endswith(f"check.{EXERCISES[name][0]}({EXERCISES[name][1]})")
