"""Where the decoder looks while it writes: a heat map over the lines of a prompt, beside a diagram of the model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from genai_labs.errors import LabError
from genai_labs.inputs.arguments import as_texts
from genai_labs.inputs.text import readable
from genai_labs.prompting.generation import cross_attention
from genai_labs.show.figures import COLORS, INK, PAPER, STYLE, Plot

END = "</s>"
LONGEST = 52  # letters of a line that are shown
TOLD = 10  # tokens that the text names


def attention_by_line(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, prompt: str, written: str, layer: int = -1
) -> tuple[list[str], list[str], NDArray[np.float64]]:
    """How much the decoder looks at each line of the prompt just before it writes each token of ``written``.

    Cross-attention of one layer, the mean over its heads. Returns the tokens, the lines that hold something and the end
    mark, and the weights, [tokens, lines], of which those of a token sum to 1. The model needs to be loaded as
    :func:`models.load_model` does. Raises LabError where prompt or text is empty, or longer than the window,
    and where there is no such layer.
    """
    prompt, written = (readable(each, tokenizer).text for each in as_texts([prompt, written], "texts"))
    read = tokenizer(prompt, return_tensors="pt", return_offsets_mapping=True)
    offsets = read.pop("offset_mapping")[0].tolist()
    ids = tokenizer(written, add_special_tokens=False)["input_ids"]
    if len(offsets) < 2 or not ids or max(len(offsets), len(ids)) > tokenizer.model_max_length:
        raise LabError(
            f"There is no attention to show: the prompt has {len(offsets)} tokens with its end mark and the text "
            f"{len(ids)}, and each needs one at least and at most {tokenizer.model_max_length}. Give others."
        )
    heads = cross_attention(model, read, ids[:-1], layer)  # [heads, tokens, tokens of the prompt]
    weights = heads.mean(0).cpu().double().numpy()  # [tokens, tokens of the prompt]
    lines = [*prompt.split("\n"), END]
    of_token = [prompt.count("\n", 0, end) for _, end in offsets[:-1]] + [len(lines) - 1]
    held = [place for place, line in enumerate(lines) if line.strip()]
    by_line = [weights[:, [token for token, line in enumerate(of_token) if line == place]].sum(1) for place in held]
    return tokenizer.convert_ids_to_tokens(ids), [lines[place] for place in held], np.stack(by_line, axis=1)


@matplotlib.rc_context(STYLE)
def attention_map(tokens: Sequence[str], lines: Sequence[str], weights: NDArray[np.float64], model: Any) -> Plot:
    """Weights of :func:`attention_by_line` as a heat map; beside it the parts of the model that looked."""
    figure = Figure(figsize=(13, 1.6 + 0.3 * len(lines)), facecolor=PAPER, layout="constrained")
    diagram, axes = figure.subplots(1, 2, width_ratios=(1.2, 2))
    _draw_model(diagram, model.config.num_layers, model.config.num_decoder_layers)
    image = axes.imshow(weights.T, aspect="auto", cmap="Blues", vmin=0, vmax=1)
    axes.set_xticks(range(len(tokens)), [token.replace("\N{LOWER ONE EIGHTH BLOCK}", " ") for token in tokens])
    axes.tick_params(axis="x", rotation=90, labelsize=8)
    axes.set_yticks(range(len(lines)), [line if len(line) <= LONGEST else line[:LONGEST] + " ..." for line in lines])
    axes.tick_params(axis="y", labelsize=8)
    axes.set_xlabel("token that is written")
    figure.colorbar(image, ax=axes, label="cross-attention (sums to 1 in a column)")
    most = weights.max(axis=1)
    said = [
        f"  {tokens[place]!r}: {most[place]:.2f} on {lines[int(weights[place].argmax())]!r}"
        for place in sorted(np.argsort(-most, kind="stable")[:TOLD].tolist())
    ]
    title = (
        f"Figure: the line that the decoder looks at; those {len(said)} of {len(tokens)} tokens that look at one most"
    )
    return Plot(figure, "\n".join([title, *said]))


def _draw_model(axes: Axes, encoder: int, decoder: int) -> None:
    """Boxes and arrows: the prompt through the encoder, the vectors to the decoder, what is written back into it."""
    look = {"ha": "center", "va": "center", "size": 9, "color": INK}
    boxes = {
        (0.2, 0.06): ("prompt", COLORS[4]),
        (0.2, 0.5): (f"encoder\n\n{encoder} layers of\nself-attention,\nfeed-forward", COLORS[0]),
        (0.8, 0.06): ("written so far", COLORS[4]),
        (0.8, 0.5): (f"decoder\n\n{decoder} layers of\nself-attention,\ncross-attention,\nfeed-forward", COLORS[1]),
        (0.8, 0.94): ("next token", COLORS[4]),
    }
    for (x, y), (text, color) in boxes.items():
        frame = {"boxstyle": "round,pad=0.5", "facecolor": PAPER, "edgecolor": color, "linewidth": 1.5}
        axes.text(x, y, text, bbox=frame, zorder=2, **look)  # type: ignore[arg-type]
    arrows = (((0.2, 0.11), (0.2, 0.35)), ((0.38, 0.5), (0.6, 0.5)), ((0.8, 0.11), (0.8, 0.33)))
    for begin, end in (*arrows, ((0.8, 0.67), (0.8, 0.89))):
        axes.annotate("", end, begin, arrowprops={"arrowstyle": "-|>", "color": INK, "lw": 1.3})
    axes.text(0.49, 0.54, "vectors", **look)  # type: ignore[arg-type]
    axes.set(xlim=(0, 1), ylim=(0, 1))
    axes.axis("off")
