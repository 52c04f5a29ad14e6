"""What stands in the files of a model or an adapter: a JSON object, and numbers that are finite; what damage says."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from genai_labs.errors import LabError
from genai_labs.loading import sources

LONGEST_REASON = 300  # letters of a library's message that are shown


def read_json(path: Path, what: str) -> dict[str, Any]:
    """The object in a JSON file of a model or adapter (``what``). Raises LabError if it holds anything else."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(found, dict):
            raise ValueError("it holds no names with values")
    except (OSError, ValueError, RecursionError) as error:
        raise LabError(
            f"The file {path.name} of the {what} {sources.name_of(path.parent)} is damaged ({error}). "
            f"{sources.remedy(path.parent, what)}"
        ) from error
    return found


def check_weights_finite(weights: dict[str, torch.Tensor], folder: Path, what: str) -> None:
    """Raise LabError if a weight is NaN or infinite: a model with one writes nothing, or noise."""
    for name, tensor in weights.items():
        # NaN and infinity come through both ends, and no second tensor of this size is made.
        ends = torch.aminmax(tensor.detach()) if tensor.is_floating_point() and tensor.numel() else ()
        if not all(map(torch.isfinite, ends)):
            raise LabError(
                f"The weights of the {what} {sources.name_of(folder)} are damaged: {name} holds numbers that are not "
                f"finite. {sources.remedy(folder, what)}"
            )


def shortened(error: BaseException) -> str:
    """A library's error on one line that is not too long."""
    message = " ".join(str(error).split())
    return f"{type(error).__name__}: {message[:LONGEST_REASON]}{'...' if len(message) > LONGEST_REASON else ''}"


@contextmanager
def damage_in_words(folder: Path, what: str) -> Iterator[None]:
    """Whatever a damaged file of a model, an adapter or a classifier (``what``) makes libraries raise, as LabError."""
    try:
        yield
    except LabError:
        raise
    except BaseException as error:
        # A panic of the tokenizers library is no Exception.
        if not isinstance(error, Exception) and type(error).__name__ != "PanicException":
            raise
        if "trust_remote_code" in str(error):
            raise LabError(
                f"The {what} {sources.name_of(folder)} can only be loaded by running Python code that comes with it, "
                "and that is never done here: such code could do anything. Take a model that transformers knows by "
                "itself, such as google/flan-t5-base."
            ) from error
        raise LabError(
            f"The {what} {sources.name_of(folder)} could not be loaded: {shortened(error)}. A file is probably damaged "
            f"or cut off. {sources.remedy(folder, what)}"
        ) from error
