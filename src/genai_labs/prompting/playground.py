"""The playground: one dialogue, one prompt and every knob, with what of the summary does not stand in the dialogue.

It is a function and its card, not a panel of widgets: the knobs stay in the cell, where they can be read and compared,
and the card is the same in every front end and in a saved notebook.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from numbers import Real
from typing import Any

import torch
from transformers import GenerationConfig, PreTrainedModel, PreTrainedTokenizerBase

from genai_labs.errors import LabError
from genai_labs.inputs.allowed import between
from genai_labs.inputs.arguments import as_list_of, as_text, as_whole_number, explained
from genai_labs.loading.data import Row
from genai_labs.prompting import decoding, generation, prompts
from genai_labs.prompting.speakers import with_tags
from genai_labs.scoring.content import content_f1, content_words, grounded
from genai_labs.scoring.metrics import rouge_scores
from genai_labs.show.cards import NOTE, TEXT, Card, box, escape, tinted
from genai_labs.show.texts import Pieces, html_pieces, join_pieces, show_dialogue, text_pieces

BARS = 5  # candidates for the next token that are shown


@explained
def try_out(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    rows: Sequence[Row],
    *,
    dialogue: int | str = 0,
    template: str = prompts.DEFAULT_INSTRUCTION,
    exemplars: Sequence[prompts.Exemplar] = (),
    temperature: float = 0.0,
    top_k: int = 0,
    top_p: float = 1.0,
    seed: int = 0,
    begun: str = "",
    tokens: int = 128,
) -> Card:
    """Writes one summary with these settings and shows everything about it.

    dialogue: the place of one in ``rows``, or a text of your own, one turn a line. template: a name in
    :data:`prompts.INSTRUCTIONS` or a text with ``{dialogue}`` in it. exemplars: to show before it.
    temperature: 0 is greedy decoding, which the next three leave alone. top_k: how many candidates are kept, 0 for all.
    top_p: how much probability is kept, above 0 and at most 1. seed: of what is sampled. begun: how a summary begins
    whose next token is looked at. tokens: the most to write.
    Words of the summary that carry content and do not stand in the dialogue are marked: they may be reported speech,
    and they may be made up. Raises LabError where a setting makes no sense.
    """
    _check_knobs(temperature, top_k, top_p)
    as_whole_number(tokens, "tokens", 1)
    source, references = _dialogue_of(as_list_of(Row, rows, "rows of a data set"), dialogue)
    tagged = with_tags(source)  # names in a dialogue of your own become #Person1#, ..., which the model knows
    text = tagged.text
    fitted = prompts.fit(lambda d: prompts.few_shot(d, exemplars, template), text, tokenizer)
    config = generation.greedy(tokens)
    if temperature:
        config = GenerationConfig(
            max_new_tokens=tokens, do_sample=True, temperature=float(temperature), top_k=top_k, top_p=float(top_p)
        )
    summary = generation.generate(model, tokenizer, [fitted.prompt], config, seed=seed, progress=False)[0]
    candidates = generation.next_token_probabilities(model, tokenizer, fitted.prompt, begun, temperature or 1.0)
    kept = kept_candidates(candidates, config) if temperature else candidates
    length = len(tokenizer(fitted.prompt)["input_ids"])
    notes = [f"Prompt: {length:,} of {tokenizer.model_max_length:,} tokens", *([fitted.note] if fitted.note else [])]
    how = f"temperature {temperature:g}, top-k {top_k or 'off'}, top-p {top_p:g}, seed {seed}"
    notes.append(how if temperature else "greedy decoding")
    return _card(
        show_dialogue(source, references),
        mark_ungrounded(tagged.with_names(summary), source),
        _scores_in_words(summary, text, references),
        notes,
        length / tokenizer.model_max_length,
        f"next token after {begun!r}" if begun else "first token",
        kept[:BARS],
    )


def kept_candidates(candidates: Sequence[tuple[str, float]], config: GenerationConfig) -> list[tuple[str, float]]:
    """The candidates that top-k and top-p leave, their probabilities divided by the sum of what is left.

    candidates: tokens with probabilities, at the temperature of ``config`` already.
    """
    tokens, probabilities = zip(*candidates, strict=True)
    left = decoding.cut(torch.tensor([probabilities]).log(), config)[0].softmax(-1).tolist()
    return [(token, share) for token, share in zip(tokens, left, strict=True) if share]


def mark_ungrounded(summary: str, dialogue: str) -> Pieces:
    """The summary in pieces, each with whether its content words are missing from the dialogue (stems are compared)."""
    said = set(content_words(dialogue))
    words = [content_words(word) for word in summary.split()]
    missing = {place for place, stems in enumerate(words) if stems and not said.issuperset(stems)}
    return join_pieces(re.findall(r"\s+|\S+", summary), missing)


def _check_knobs(temperature: float, top_k: int, top_p: float) -> None:
    as_whole_number(top_k, "top_k", 0)
    for name, number, high in (("temperature", temperature, math.inf), ("top_p", top_p, 1)):
        if isinstance(number, bool) or not isinstance(number, Real) or not 0 <= float(number) <= high:
            raise LabError(f"{name} is {str(number)[:40]}, and has to be {between(0, high).words}. Change it.")
        if math.isinf(float(number)) or (name == "top_p" and not number):
            raise LabError(f"{name}={number:g} leaves nothing to choose by. Change it, to 1 for example.")


def _dialogue_of(rows: Sequence[Row], dialogue: Any) -> tuple[str, list[str]]:
    """The text to summarize, and its references, if there are any."""
    if isinstance(dialogue, str):
        return as_text(dialogue, "The dialogue"), []
    place = as_whole_number(dialogue, "The place of a dialogue", 0)
    if place >= len(rows):
        raise LabError(f"There is no dialogue {place}: there are {len(rows)}, from 0 on. Choose another, or type one.")
    return rows[place].dialogue, list(rows[place].references)


def _scores_in_words(summary: str, dialogue: str, references: list[str]) -> str:
    share = f"{grounded([summary], [dialogue])[0]:.2f} of its content words stand in the dialogue"
    if not references:
        return f"{share}. There is no reference to compare it with."
    rouge, content = rouge_scores([summary], [references])[0], content_f1([summary], [references])[0]
    return f"ROUGE-1 {rouge:.2f}, content F1 {content:.2f}; {share} (of the reference's: " + (
        f"{grounded(references[:1], [dialogue])[0]:.2f})."
    )


def _card(
    source: Card, summary: Pieces, scores: str, notes: list[str], full: float, of: str, bars: list[tuple[str, float]]
) -> Card:
    note = "Marked: a content word that does not stand in the dialogue."
    lines = [f"{share:.2f}  {token}" for token, share in bars]
    text = [source.text, f"Written: {text_pieces(summary)}", scores, f"({note})", "; ".join(notes), f"{of}:", *lines]
    drawn = "".join(
        f'<div style="display:flex;gap:8px;"><code style="width:9em;">{escape(token)}</code>{_bar(share)}'
        f"<span>{share:.2f}</span></div>"
        for token, share in bars
    )
    html = [
        source.html,
        f'<div style="font-size:16px;margin:8px 0;"><b>Written:</b> {html_pieces(summary)}</div>',
        f"<div>{escape(scores)}</div>",
        f'<div style="{NOTE}">{escape(note)} {escape("; ".join(notes))}</div>',
        _bar(full),
        f'<div style="margin-top:8px;"><b>{escape(of)}</b></div>{drawn}',
    ]
    return Card(box(*html), "\n".join(text))


def _bar(share: float) -> str:
    """A share, 0 to 1, as a bar."""
    inner = f'<div style="width:{round(100 * min(share, 1))}%;height:10px;background:#1a5fa0;"></div>'
    return f'<div style="width:240px;height:10px;margin-top:5px;background:{tinted(TEXT, 12)};">{inner}</div>'
