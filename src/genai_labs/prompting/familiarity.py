"""How familiar a dialogue is to a model: its own loss on the dialogue, on a scale made of dialogues of its domain.

A model of a few million parameters reads the domain that it was trained on. Outside it still writes fluent sentences,
and nothing in them says that they are made up. Its surprise at the dialogue does: each turn is predicted from the turns
before it, and the mean loss is compared with the losses of validation dialogues.
"""

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from genai_labs.errors import LabError
from genai_labs.inputs.arguments import as_texts
from genai_labs.prompting.generation import evaluating
from genai_labs.system.progress import bar

FILE = "familiarity.json"  # beside a model's weights: the losses that it is compared with
UNFAMILIAR = 0.05  # below this share of the domain's dialogues a summary comes with a word of warning
ONE_BATCH, SLICE = 24, 8  # turns: a dialogue with so many is read at once, a longer one so many at a time
WARNING = "more surprising to the model than 95 in 100 of the kind it was made for: do not trust its summary"


def dialogue_losses(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, dialogues: Sequence[str], progress: bool = True
) -> NDArray[np.float64]:
    """The model's mean loss on each dialogue, in nats a token, shape (n,): every turn from those before it.

    Of what does not fit into the window, the end is read. nan for a dialogue with a single turn, which follows nothing.
    """
    losses = []
    texts = as_texts(dialogues, "dialogues")
    with evaluating(model), torch.no_grad(), bar(len(texts), "Reading dialogues", shown=progress) as moved:
        for dialogue in texts:
            turns = [line for line in dialogue.splitlines() if line.strip()]
            before = ["\n".join(turns[:i]) for i in range(1, len(turns))]
            step = SLICE if len(turns) > ONE_BATCH else ONE_BATCH
            found = [
                _mean_loss(model, tokenizer, before[i : i + step], turns[1:][i : i + step])
                for i in range(0, len(before), step)
            ]
            tokens = sum(count for _, count in found)
            losses.append(sum(mean * count / tokens for mean, count in found) if found else np.nan)
            moved.update(1)
    return np.array(losses)


def _mean_loss(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, before: Sequence[str], turns: Sequence[str]
) -> tuple[float, int]:
    """Mean cross-entropy of the tokens of all turns, each after the end of what stands before it, and their number."""
    window, options = tokenizer.model_max_length, {"return_tensors": "pt", "padding": True, "verbose": False}
    ids = [row[-window:] for row in tokenizer(list(before), verbose=False)["input_ids"]]
    read = tokenizer.pad({"input_ids": ids}, **options).to(model.device)
    written = tokenizer(list(turns), truncation=True, **options)["input_ids"].to(model.device)
    logits = model(
        input_ids=read["input_ids"], attention_mask=read["attention_mask"], labels=written, use_cache=False
    ).logits
    counts = written != tokenizer.pad_token_id
    return float(torch.nn.functional.cross_entropy(logits[counts].float(), written[counts])), int(counts.sum())


def familiarity(losses: ArrayLike, known: ArrayLike) -> NDArray[np.float64]:
    """The share of the domain's dialogues that surprise the model at least as much; shape (n,), from 0 to 1.

    losses: of :func:`dialogue_losses`. known: losses of dialogues of the domain that the model was not trained on. nan
    stays nan. Raises LabError where nothing is known.
    """
    scale, found = np.sort(np.asarray(known, float)), np.asarray(losses, float)
    if not len(scale):
        raise LabError("Familiarity compares with dialogues of the model's domain, and none were given. Give some.")
    shares = 1 - np.searchsorted(scale, found) / len(scale)
    return np.where(np.isnan(found), np.nan, shares)


def known_losses(folder: Path) -> list[float] | None:
    """What the model of ``folder`` is compared with; None where nothing was measured for it.

    Raises LabError where the file is damaged.
    """
    path = folder / FILE
    if not path.exists():
        return None
    try:
        return [float(each) for each in json.loads(path.read_text(encoding="utf-8"))["losses"]]
    except (ValueError, KeyError, TypeError, OSError) as error:
        raise LabError(
            f"The file {FILE} beside the model cannot be read ({error}). Restore it with: git checkout -- data/models"
        ) from error
