"""The settings of a fine-tuning."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from genai_labs.errors import LabError
from genai_labs.finetuning import lora
from genai_labs.inputs.allowed import above, between, check, setting, whole


@dataclass(frozen=True)
class Plan:
    """How to fine-tune. Raises LabError for a setting that makes no sense."""

    method: Literal["full", "lora", "prompt"] = "full"
    """"full" trains every weight, "lora" an adapter beside frozen weights, "prompt" a soft prompt in front of them."""
    epochs: int = setting(3, whole(1))
    """How often all examples are read."""
    learning_rate: float = setting(1e-3, above(0))
    """The highest one, after the warm-up; from there it falls linearly to 0."""
    batch_size: int = setting(16, whole(1))
    """Examples a step, over all processes."""
    rank: int = setting(4, whole(1))
    """Of the adapter's matrices."""
    alpha: int = setting(8, above(0))
    """What the adapter adds is scaled by ``alpha`` / ``rank``."""
    targets: tuple[str, ...] = lora.ALL_LINEAR
    """Names of the matrices that get an adapter."""
    within: lora.Part = "model"
    """Where they get one: in the whole model, in its encoder or in its decoder."""
    virtual_tokens: int = setting(20, whole(1, 500))
    """Of a soft prompt: vectors that stand before every prompt and are the only thing that is trained."""
    pull: float = setting(0.0, between(0, 1000))
    """After each step every weight goes back towards the base's by this times the learning rate, as a share of the way
    (L2-SP; Li et al. 2018, https://arxiv.org/abs/1802.01483). 0: it does not."""
    warmup: float = setting(0.05, between(0, 1))
    """Share of all steps in which the learning rate rises."""
    dropout: float = setting(0.0, between(0, 1))
    """Share of activations dropped in training. T5's own default is 0.1; drawing the masks takes a tenth to a quarter
    of the time, and short trainings do not miss it."""
    seed: int = setting(0, whole(0, 2**32 - 1))
    """Order of the rows, and the adapter's start."""
    checkpointing: bool = False
    """Whether a layer's activations are computed again in the backward pass instead of kept (gradient checkpointing):
    more time, much less memory."""

    def __post_init__(self) -> None:
        if not isinstance(self.method, str) or self.method not in ("full", "lora", "prompt"):
            raise LabError(
                f"There is no method {self.method!r}. The methods are full, lora and prompt. Choose one of them."
            )
        check(self)
