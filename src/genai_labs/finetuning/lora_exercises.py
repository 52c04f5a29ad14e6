"""Checks of the LoRA exercises of Lab 2: a layer of one's own, its size, its place in a T5, and merging.

Each is compared with what peft does, which the labs train with.
"""

from __future__ import annotations

import copy
import re
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from torch import nn
from transformers import AutoConfig, AutoModelForSeq2SeqLM

from genai_labs.finetuning.lora import lora_config
from genai_labs.paths import MODELS
from genai_labs.show.checking import Unanswered, answered, numbers, tell, wrong

# The adapter of Lab 2 on the embedded model: its rank, what it is scaled by, and the matrices of the decoder.
RANK, ALPHA, MATRICES = 16, 32, ("wi_0", "wi_1", "wo")
CLOSE = 1e-6


class AdapterCase(NamedTuple):
    """A layer and an adapter for it."""

    inputs: int
    outputs: int
    rank: int
    alpha: int
    bias: bool


# Rank 1 on a square layer first: there B A and A B can both be added to W.
SQUARE = (AdapterCase(5, 5, 1, 1, True), AdapterCase(4, 4, 2, 6, True))
# Here the shapes tell W, A and B apart.
OBLONG = (AdapterCase(6, 4, 2, 8, True), AdapterCase(3, 7, 2, 3, False), AdapterCase(5, 8, 1, 4, True))
CASES = SQUARE + OBLONG


def recognise(got: Any, mistakes: Mapping[str, Any], tolerance: float = CLOSE) -> None:
    """Tell the first mistake that gives the same numbers as the learner's answer, if one does.

    mistakes: for each sentence what that mistake gives, an array of any shape.
    """
    for sentence, given in mistakes.items():
        expected = np.asarray(given, float)
        if np.shape(got) == expected.shape and np.allclose(got, expected, rtol=0, atol=tolerance):
            wrong(sentence)


@contextmanager
def fixed_draws(seed: int) -> Iterator[None]:
    """Inside, torch draws by the seed; afterwards it goes on as if nothing had been drawn."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        yield


@tell("LoRA layer", "Begin with forward: what does the layer give without an adapter?")
def check_lora_linear(answer: Any) -> str:
    """Whether answer(linear, rank, alpha) is a module that computes linear(x) + alpha / rank * B A x, as peft's does.

    A, [rank, inputs], starts random and B, [outputs, rank], at zero; their names, and whether they are stored turned
    over, do not matter. linear is frozen. Outputs are compared to 1e-6 of the largest, gradients by their length.
    """
    for number, case in enumerate(OBLONG):
        with fixed_draws(number):
            linear = nn.Linear(case.inputs, case.outputs, bias=case.bias)
            x = torch.randn(2, 3, case.inputs)
            given = copy.deepcopy(linear)
            layer = answered(answer, given, case.rank, case.alpha)
        if not isinstance(layer, nn.Module):
            wrong(f"a module is needed, and a {type(layer).__name__} came. Does the class inherit from nn.Module?")
        shape = (2, 3, case.outputs)
        fresh = numbers(answered(layer, x), shape, "the output")
        down, up = _two_matrices(layer, case, linear)
        _check_start(fresh - linear(x).detach().numpy(), down, up)
        _check_output(layer, x, linear, case, down, up)
        if any(weight.grad is not None for weight in given.parameters()):
            wrong("the layer that was given gets a gradient, too, and should be frozen. What freezes it?")
    return f"{len(OBLONG)} layers of rank 2, 2 and 1 do what peft's do, to 1e-6 of the output, and their gradients, too"


def _two_matrices(layer: nn.Module, case: AdapterCase, linear: nn.Linear) -> tuple[nn.Parameter, nn.Parameter]:
    """The trained matrices next to the input and to the output."""
    trained = {name: p for name, p in layer.named_parameters() if p.requires_grad}
    if not trained:
        wrong("nothing is trained: the module has no parameter that wants a gradient. What is an nn.Parameter?")
    base = [name for name, p in trained.items() if any(torch.equal(p, own) for own in linear.parameters())]
    if names := base or [name for name, p in trained.items() if p.ndim == 1]:
        look = "that should be frozen. What freezes a layer?" if base else "of a bias, which adapters do not have."
        count = sum(trained[name].numel() for name in names)
        wrong(f"{', '.join(names)} {'are' if len(names) > 1 else 'is'} trained, too: {count} numbers {look}")
    sizes = [tuple(p.shape) for p in trained.values()]
    both = {frozenset((case.rank, case.inputs)): None, frozenset((case.outputs, case.rank)): None}
    found = [next((p for p in trained.values() if frozenset(p.shape) == size), None) for size in both]
    if len(sizes) != 2 or found[0] is None or found[1] is None:
        wrong(
            f"parameters of the shapes {', '.join(map(str, sizes))} are trained. For a layer from {case.inputs} to "
            f"{case.outputs} and rank {case.rank} there are two thin matrices. Which shapes have they?"
        )
    return found[0], found[1]


def _check_start(change: Any, down: nn.Parameter, up: nn.Parameter) -> None:
    """Compare what a fresh adapter holds, and what it adds to the layer's output."""
    at_input, at_output = bool(down.detach().any()), bool(up.detach().any())
    if not at_input and not at_output:
        wrong("both matrices start at zero: then neither ever gets a gradient. Which one has to be random?")
    if at_input and at_output:
        wrong(f"B is not zero at the start: a fresh layer is off by up to {np.abs(change).max():.3f}. It should be 0.")
    if not at_input:
        wrong("A and B are exchanged: the matrix at the input is zero and the one at the output random. Which is B?")
    if int(torch.linalg.matrix_rank(down.detach())) < min(down.shape):
        wrong("the rows of A are multiples of one another, and would stay so: the rank is lost. How does A start?")
    if np.abs(change).max() > CLOSE:
        look = "Is the frozen layer's output in the sum, and unscaled?"
        wrong(f"a fresh layer is off by up to {np.abs(change).max():.3f}. {look}")


def _check_output(
    layer: nn.Module, x: torch.Tensor, linear: nn.Linear, case: AdapterCase, down: nn.Parameter, up: nn.Parameter
) -> None:
    """Give the learner's layer and peft's the same A and B, and compare outputs and gradients."""
    peft_layer, lora_a, lora_b = _in_peft(linear, case)
    with torch.no_grad():
        for mine, its in ((down, lora_a), (up, lora_b)):
            mine.copy_(its if mine.shape == its.shape else its.T)
    given = x.clone().requires_grad_()
    its_x: Any = x.clone().requires_grad_()
    output, right = answered(layer, given), peft_layer(its_x)
    got, base = numbers(output, tuple(right.shape), "the output"), linear(x).detach().numpy()
    scaled = right.detach().numpy() - base
    added = scaled * case.rank / case.alpha  # B A x
    if not np.allclose(got, right.detach(), rtol=0, atol=CLOSE * float(right.detach().abs().max())):
        recognise(got, _mistaken_layers(base, added, case), 1e-5)
        wrong(
            f"with A and B filled, the output is off from peft's by up to {np.abs(got - base - scaled).max():.3f} "
            f"(rank {case.rank}, alpha {case.alpha}). What is added to the frozen layer's output?"
        )
    if not getattr(output, "requires_grad", False):
        wrong("the output is right, but no gradient comes back from it. Where is it cut off (detach, no_grad)?")
    output.sum().backward()
    right.sum().backward()
    for name, mine, its in (("A", down, lora_a), ("B", up, lora_b)):
        if mine.grad is None or not np.allclose(mine.grad.norm(), its.grad.norm(), rtol=1e-4):
            wrong(f"the output is right, but the gradient of {name} is not. Where is it cut off (no_grad, .data)?")
    if given.grad is None or not torch.allclose(given.grad, its_x.grad, atol=1e-5):
        wrong("the output is right, but x gets another gradient, and layers below learn by it. Where is it cut off?")


def _in_peft(linear: nn.Linear, case: AdapterCase) -> tuple[PeftModel, Any, Any]:
    """peft's model around a copy of the layer, and its A and B, both random."""
    with fixed_draws(7):
        model = get_peft_model(
            nn.Sequential(copy.deepcopy(linear)),
            LoraConfig(r=case.rank, lora_alpha=case.alpha, target_modules=["0"]),
        )
        layer: Any = next(iter(model.get_base_model().children()))
        nn.init.normal_(layer.lora_B["default"].weight)
    return model, layer.lora_A["default"].weight, layer.lora_B["default"].weight


def _mistaken_layers(base: Any, added: Any, case: AdapterCase) -> dict[str, Any]:
    given = f"(rank {case.rank}, alpha {case.alpha})"
    return {
        f"what is added is {case.rank} times too large {given}: it is scaled by alpha. By what is alpha divided?": base
        + case.alpha * added,
        f"what is added is not scaled {given}. Where does alpha come in?": base + added,
        f"what is added is scaled by rank / alpha {given}. Which way round is the fraction?": base
        + case.rank / case.alpha * added,
        f"what is added is scaled by 1 / rank {given}. Where does alpha come in?": base + added / case.rank,
        "the output is the adapter's alone: what the frozen layer gives is missing.": case.alpha / case.rank * added,
        "the output is the frozen layer's alone, whatever A and B are.": base,
        "what is added has the wrong sign.": base - case.alpha / case.rank * added,
    }


@tell("LoRA's size", "Begin with one matrix: which shapes do its A and B have, and how many numbers are in them?")
def check_lora_count(answer: Any) -> str:
    """Whether answer(shapes, rank) is how many numbers adapters of that rank train on matrices of these shapes.

    shapes: a list of (outputs, inputs). peft, put on matrices of these shapes, is the authority.
    """
    blocks = [(512, 256), (512, 256), (256, 512)] * 3  # the decoder's feed-forward layers in the embedded model
    for shapes, rank in (([(4, 6)], 1), ([(40, 40), (30, 50)], 3), (blocks, 1), (blocks, RANK)):
        right = _trained_by_peft(shapes, rank)
        got = float(numbers(answered(answer, shapes, rank), (), "the number"))
        if got != right:
            here = f"{got:,.0f} for {len(shapes)} {'matrices' if len(shapes) > 1 else 'matrix'} and rank {rank}"
            recognise(got, _mistaken_counts(shapes, rank, here))
            wrong(f"{here} is not what peft trains. Write down the shapes of A and B for the first, {shapes[0]}.")
    return f"4 times the number that peft trains, {right:,} for the lab's adapter"


def _trained_by_peft(shapes: Sequence[tuple[int, int]], rank: int) -> int:
    with torch.device("meta"):  # shapes without numbers
        layers = nn.Sequential(*(nn.Linear(inputs, outputs, bias=False) for outputs, inputs in shapes))
        config = LoraConfig(r=rank, target_modules=[str(number) for number in range(len(shapes))])
        model = get_peft_model(layers, config)
    return sum(p.numel() for p in model.parameters() if p.requires_grad)


def _mistaken_counts(shapes: Sequence[tuple[int, int]], rank: int, here: str) -> dict[str, Any]:
    whole, right = sum(a * b for a, b in shapes), rank * sum(a + b for a, b in shapes)
    return {
        f"{here} is the sum of the matrices' own sizes: full fine-tuning trains these.": whole,
        f"{here} is the rank times the matrices' own sizes: more than all of W. Which shapes have A and B?": rank
        * whole,
        f"{here} counts A alone. What is it multiplied with?": rank * sum(b for _, b in shapes),
        f"{here} counts B alone. What is it multiplied with?": rank * sum(a for a, _ in shapes),
        f"{here} counts the first matrix alone.": rank * sum(shapes[0]),
        f"{here} leaves out the rank: one row of A and one column of B.": right / rank,
        f"{here} counts the matrices, too, which are frozen.": right + whole,
        f"{here} counts each adapter twice.": 2 * right,
    }


@tell("adapter", "Begin with LoraConfig(r=..., ...), and give it to get_peft_model together with the model.")
def check_adapter(answer: Any) -> str:
    """Whether answer(model) puts the lab's adapter into the embedded T5: rank 16, alpha 32, in the decoder's
    feed-forward layers, and nowhere else.

    The model given has the embedded one's shapes, and no numbers in them.
    """
    given = _embedded_shapes()
    pattern = str(lora_config(RANK, ALPHA, MATRICES, "decoder").target_modules)
    wanted: dict[str, Any] = {name: part for name, part in given.named_modules() if re.fullmatch(pattern, name)}
    with warnings.catch_warnings():  # peft asks for a property that transformers has renamed
        warnings.simplefilter("ignore")
        try:
            model = answered(answer, given)
        except Unanswered as why:
            if found := re.search(r"Target module (\w+)\(", str(why)):
                look = "is no linear layer but a block with some in it. Which names end in wi_0, wi_1 or wo?"
                wrong(f"what you give as target_modules fits a {found[1]}, too, which {look}")
            raise
    if isinstance(model, LoraConfig):
        wrong("this is the configuration. What puts it into the model?")
    if not isinstance(model, PeftModel):
        wrong(f"a peft model is needed, and a {type(model).__name__} came. What puts the configuration into the model?")
    parts = {name.removeprefix("base_model.model."): part for name, part in model.named_modules()}
    adapted = {name: part for name, part in parts.items() if hasattr(part, "lora_A") and len(part.lora_A)}
    _check_adapted(set(adapted), set(wanted))
    _check_scaling(adapted, model)
    count = sum(p.numel() for p in model.parameters() if p.requires_grad)
    right = sum(RANK * (part.in_features + part.out_features) for part in wanted.values())
    if count != right:
        wrong(
            f"{count:,} numbers are trained; the adapter has {right:,}. Which parameters want a gradient besides A, B?"
        )
    return f"{count:,} numbers in {len(adapted)} matrices of the decoder, no more and no less than the lab's adapter"


def _embedded_shapes() -> Any:
    """A model of the embedded one's shapes, on "meta": without numbers, so that it takes neither memory nor time."""
    with torch.device("meta"):
        shapes = AutoConfig.from_pretrained(MODELS / "t5-reader", trust_remote_code=False)
        return AutoModelForSeq2SeqLM.from_config(shapes, trust_remote_code=False)


def _check_adapted(adapted: set[str], wanted: set[str]) -> None:
    """Compare the matrices that have an adapter with those that should, and name the place of what is wrong."""
    extra, missing = adapted - wanted, wanted - adapted
    attention = sum(name.endswith((".q", ".k", ".v", ".o")) for name in extra)
    encoder = sum(name.startswith("encoder.") for name in extra)
    instead = f"instead of {len(wanted)}" if len(adapted) != len(wanted) else "and not all are the right ones"
    count = f"{len(adapted)} matrices have an adapter {instead}"
    if attention and encoder and not missing:
        wrong(f"{count}: all layers, {attention} matrices of attention and {encoder} of the encoder among them.")
    if attention:
        wrong(f"{count}, and {attention} of them belong to attention layers. What are the feed-forward ones called?")
    if encoder:
        wrong(f"{count}, and {encoder} of them are in the encoder. How does a name tell where its matrix is?")
    if extra:
        wrong(f"{count}, among them {min(extra)}. Print the names of model.named_modules().")
    if missing:
        left = sorted({name.rsplit(".", 1)[-1] for name in missing})
        wrong(
            f"{count}: {', '.join(left)} of the decoder are left out in {len(missing)} places. Print named_modules()."
        )


def _check_scaling(adapted: Mapping[str, Any], model: PeftModel) -> None:
    """Compare rank and scale of the adapters."""
    (name,) = model.active_adapters if len(model.active_adapters) == 1 else ("default",)
    ranks = sorted({part.r.get(name) for part in adapted.values()})
    if ranks != [RANK]:
        wrong(f"the rank is {', '.join(map(str, ranks))}, and {RANK} is asked for. Which setting says so?")
    scales = {float(part.scaling[name]) for part in adapted.values()}
    if scales != {ALPHA / RANK}:
        wrong(
            f"B A is scaled by {max(scales):g}; alpha = {ALPHA} and rank {RANK} make {ALPHA / RANK:g}. See lora_alpha."
        )


@tell("merging", "Begin with a copy of the layer: copy.deepcopy(linear).")
def check_merging(answer: Any) -> str:
    """Whether answer(linear, A, B, alpha) is a new layer with the weight W + alpha / r B A, as peft's merged one.

    A: [rank, inputs]; B: [outputs, rank]. The layer given must stay as it is. Weights are compared, to 1e-5.
    """
    for number, case in enumerate(CASES):
        with fixed_draws(number):
            linear = nn.Linear(case.inputs, case.outputs, bias=case.bias)
        model, lora_a, lora_b = _in_peft(linear, case)
        before = copy.deepcopy(linear)
        a, b = lora_a.detach().clone(), lora_b.detach().clone()
        merged = answered(answer, linear, a, b, case.alpha)
        right: nn.Linear = model.merge_and_unload()[0]
        _check_untouched(linear, before, merged)
        _check_merged(merged, before, right, case, (a, b))
    return f"{len(CASES)} layers of rank 1 and 2 as peft merges them, to 1e-5, and the layers given are as they were"


def _check_untouched(linear: nn.Linear, before: nn.Linear, merged: Any) -> None:
    changed = (linear.weight - before.weight).abs().max().item()
    if changed:
        wrong(f"the layer that was given has changed, by up to {changed:.3f}: the base is lost. Where is a copy made?")
    if merged is linear:
        wrong("this is the layer that was given. A new one is needed.")
    if isinstance(merged, torch.Tensor) and merged.shape == linear.weight.shape:
        wrong("this is a weight, and a layer is needed. What holds weight and bias?")
    if not isinstance(merged, nn.Linear):
        wrong(f"a layer is needed, an nn.Linear, and a {type(merged).__name__} came. What holds weight and bias?")


def _check_merged(
    merged: nn.Module, before: nn.Linear, right: nn.Linear, case: AdapterCase, pair: tuple[torch.Tensor, torch.Tensor]
) -> None:
    """Compare what the layer computes: its bias at 0, and its weight, turned over, at the unit vectors."""
    nothing, units = torch.zeros(1, case.inputs), torch.eye(case.inputs)
    bias = numbers(answered(merged, nothing), (1, case.outputs), "the output")
    if not np.allclose(bias, right(nothing).detach(), rtol=0, atol=CLOSE):
        wrong(f"the bias is off by up to {np.abs(bias - right(nothing).detach().numpy()).max():.3f}. Is it copied?")
    got = (numbers(answered(merged, units), (case.inputs, case.outputs), "the output") - bias).T
    if np.allclose(got, right.weight.detach(), rtol=0, atol=10 * CLOSE):
        return
    recognise(got, _mistaken_weights(before.weight.detach(), *pair, case), 10 * CLOSE)
    off = np.abs(got - right.weight.detach().numpy()).max()
    wrong(f"the weight is off by up to {off:.3f} (rank {case.rank}, alpha {case.alpha}). What is added to W?")


def _mistaken_weights(w: torch.Tensor, a: torch.Tensor, b: torch.Tensor, case: AdapterCase) -> dict[str, Any]:
    product, scale = b @ a, case.alpha / case.rank
    given = f"(rank {case.rank}, alpha {case.alpha})"
    mistakes = {
        f"W is as it was {given}: nothing is added.": w,
        f"B A is added without its scale {given}.": w + product,
        f"B A is scaled by alpha {given}. By what is alpha divided?": w + case.alpha * product,
        f"B A is scaled by rank / alpha {given}. Which way round is the fraction?": w + product / scale,
        f"B A is taken away {given}. Look at the sign.": w - scale * product,
        f"this is alpha / r B A alone {given}: W is missing.": scale * product,
    }
    if case.inputs == case.outputs:  # elsewhere the shapes do not fit, and torch says so
        mistakes |= {f"the product is turned over {given}: B A is wanted, not its transpose.": w + scale * product.T}
    if case.rank == 1 and case.inputs == case.outputs:
        mistakes |= {
            f"you added A B {given}, of the shape (1, 1), and not B A, of the shape of W.": w + scale * (a @ b)
        }
    return mistakes
