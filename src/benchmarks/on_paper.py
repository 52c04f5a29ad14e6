"""``python -m genai_labs scale``: on paper, what FLAN-T5 in all its sizes needs, and how cost grows with devices.

Nothing is loaded and nothing is measured here: parameters follow from the published shapes, memory from the formula
that Lab 2 checks (:mod:`genai_labs.finetuning.memory`), and operations from counting matrix products.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass

from genai_labs.finetuning.memory import BYTES, predicted
from genai_labs.inputs.helptext import plain
from genai_labs.inputs.options import writable_folder
from genai_labs.paths import RESULTS
from genai_labs.show.results import table
from genai_labs.system import files

VOCABULARY = 32_128
SOURCE_TOKENS, TARGET_TOKENS = 220, 40  # of a DialogSum dialogue in its instruction, and of its summary; rounded means
ROWS, EPOCHS = 12_460, 3  # DialogSum's training split
LORA_SHARE = 0.014  # of the published adapter, rank 32 on queries and values
OPERATIONS = 300e12  # a second; about a third of what one large GPU of 2024 promises in bf16
GPUS = (1, 2, 4, 8)
WEIGHTS = ("fp32", "bf16", "4 bits")


@dataclass(frozen=True)
class Shape:
    """The shape of a T5 v1.1: widths of the residual stream, the feed-forward layers and all heads together."""

    name: str
    d_model: int
    d_ff: int
    inner: int
    layers: int  # of the encoder, and as many of the decoder

    @property
    def encoder(self) -> int:
        """Parameters of the encoder's matrices: four of attention, three of a gated feed-forward layer."""
        return self.layers * (4 * self.d_model * self.inner + 3 * self.d_model * self.d_ff)

    @property
    def decoder(self) -> int:
        """Parameters of the decoder's matrices; it attends twice."""
        return self.layers * (8 * self.d_model * self.inner + 3 * self.d_model * self.d_ff)

    @property
    def parameters(self) -> int:
        """All parameters but norms and position biases, which are less than a thousandth."""
        return 2 * VOCABULARY * self.d_model + self.encoder + self.decoder

    @property
    def operations(self) -> float:
        """Floating-point operations to train on one dialogue: six a parameter and token that it works on."""
        head = VOCABULARY * self.d_model
        return 6.0 * (self.encoder * SOURCE_TOKENS + (self.decoder + head) * TARGET_TOKENS)


# https://huggingface.co/google/flan-t5-small and so on, config.json
SHAPES = (
    Shape("flan-t5-small", 512, 1024, 384, 8),
    Shape("flan-t5-base", 768, 2048, 768, 12),
    Shape("flan-t5-large", 1024, 2816, 1024, 24),
    Shape("flan-t5-xl", 2048, 5120, 2048, 24),
    Shape("flan-t5-xxl", 4096, 10240, 4096, 24),
)


def main(argv: Sequence[str] | None = None) -> int:
    """Write ``results/scale.md``."""
    parser = argparse.ArgumentParser(prog="python -m genai_labs scale", description=plain(__doc__))
    parser.add_argument("--out", type=writable_folder, default=RESULTS)
    args = parser.parse_args(argv)
    with files.faults_in_words(args.out):
        args.out.mkdir(parents=True, exist_ok=True)
        files.write_whole(args.out / "scale.md", page())
    print(page())
    return 0


def gigabytes(number: float) -> str:
    return f"{number / 1e9:,.1f}"


def page() -> str:
    """The page as Markdown."""
    memory = [
        (
            shape.name,
            f"{shape.parameters / 1e6:,.0f}",
            gigabytes(BYTES * shape.parameters),
            gigabytes(predicted(shape.parameters, shape.parameters).total),
            gigabytes(predicted(shape.parameters, round(LORA_SHARE * shape.parameters)).total),
            gigabytes(lora_on(shape, bits=16)),
            gigabytes(lora_on(shape, bits=4)),
        )
        for shape in SHAPES
    ]
    split = [
        (shape.name, *(gigabytes(predicted(shape.parameters, shape.parameters).total / gpus) for gpus in GPUS))
        for shape in SHAPES
    ]
    time = [
        (
            shape.name,
            f"{shape.operations / 1e12:,.2f}",
            *(f"{minutes(shape, gpus):,.1f}" for gpus in GPUS),
        )
        for shape in SHAPES
    ]
    return f"""# What larger models need, on paper

Made by `python -m genai_labs scale`; nothing here is measured. Gigabytes are 10^9 bytes.

## Memory to train, activations left out

Full training in fp32 with Adam takes 16 bytes a parameter: weight, gradient, two moments. With LoRA only the adapter,
here {100 * LORA_SHARE:.1f} % of the parameters, needs the last three. Frozen weights take half as much in bf16, and an
eighth in 4 bits (embedding and output layer stay in bf16).

{table(("model", "million parameters", "weights, GB", "full, GB", *(f"LoRA on {w}, GB" for w in WEIGHTS)), memory)}

A GPU of 24 GB can hold full training of flan-t5-large, with room for activations; flan-t5-xl only with LoRA; and
flan-t5-xxl only with LoRA on frozen weights of 4 bits.

## The same, split over devices

FSDP (`configs/accelerate/fsdp.yaml`) splits weights, gradients and moments evenly; activations are each device's own.
Data parallelism (`configs/accelerate/several_gpus.yaml`) splits the batch alone: each device needs the first column.

{table(("full training, GB a device", *(f"{gpus} GPU{'s' * (gpus > 1)}" for gpus in GPUS)), split)}

## Time

Training costs about six operations for each parameter and each token that it works on. On DialogSum, {ROWS:,} dialogues
of about {SOURCE_TOKENS} tokens with summaries of about {TARGET_TOKENS}, {EPOCHS} epochs,
{OPERATIONS / 1e12:,.0f} TFLOP/s a device, no loss between devices:

{table(("minutes", "TFLOP a dialogue", *(f"{gpus} GPU{'s' * (gpus > 1)}" for gpus in GPUS)), time)}

Twice the data or twice the epochs take twice as long; twice the length takes a little more than twice, as attention
grows with its square; twice the devices take half as long, and what they lose in waiting for one another on top.
"""


def lora_on(shape: Shape, bits: int) -> float:
    """Bytes to train an adapter in fp32 on matrices of so many bits; embedding and output layer stay in bf16."""
    matrices = shape.encoder + shape.decoder
    return bits / 8 * matrices + 2 * (shape.parameters - matrices) + 4 * BYTES * round(LORA_SHARE * shape.parameters)


def minutes(shape: Shape, gpus: int) -> float:
    """Minutes for all epochs on so many devices."""
    return shape.operations * ROWS * EPOCHS / (OPERATIONS * gpus) / 60
