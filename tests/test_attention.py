"""The heat map of Lab 1: where the decoder looks, line by line of the prompt."""

from __future__ import annotations

import pytest
import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from genai_labs.errors import LabError
from genai_labs.loading import models
from genai_labs.loading.profiles import load_profile
from genai_labs.prompting import attention, generation
from genai_labs.prompting.attention import attention_by_line, attention_map

Loaded = tuple[PreTrainedModel, PreTrainedTokenizerBase]
PROMPT = "Summarize the following conversation.\n\n#Person1#: Sunday?\n#Person2#: On Monday, please.\n\nSummary:"
WRITTEN = "#Person2# wants to meet on Monday."


@pytest.fixture(scope="module")
def loaded() -> Loaded:
    return models.load_model(load_profile("mini"))


def test_every_token_looks_at_the_lines_with_all_its_attention(loaded: Loaded) -> None:
    tokens, lines, weights = attention_by_line(*loaded, PROMPT, WRITTEN)
    assert tokens == loaded[1].tokenize(WRITTEN)
    assert lines == [line for line in PROMPT.splitlines() if line] + [attention.END]
    assert weights.shape == (len(tokens), len(lines))
    assert weights.sum(axis=1) == pytest.approx([1.0] * len(tokens), abs=1e-5)
    assert lines[weights[tokens.index("▁Monday")].argmax()] == "#Person2#: On Monday, please."


def test_a_row_is_what_the_decoder_looks_at_before_it_writes_the_token(loaded: Loaded) -> None:
    """As one step of :func:`attention_to_prompt`, which gives the tokens of the prompt and not its lines."""
    tokens, _, weights = attention_by_line(*loaded, PROMPT, WRITTEN, layer=1)
    place = tokens.index("▁Monday")
    so_far = loaded[1].decode(loaded[1](WRITTEN, add_special_tokens=False)["input_ids"][:place])
    looked = dict(generation.attention_to_prompt(*loaded, PROMPT, so_far, layer=1, most=999))
    assert sum(looked.values()) == pytest.approx(1, abs=1e-5)
    end = next(share for token, share in looked.items() if token.endswith("[</s>]") or "[</s>]" in token)
    assert weights[place, -1] == pytest.approx(end, abs=1e-5)


def test_the_picture_names_the_lines_and_tells_the_strongest_looks(loaded: Loaded) -> None:
    found = attention_by_line(*loaded, PROMPT + " x" * 100, WRITTEN)
    plot = attention_map(*found, loaded[0])
    assert len(repr(plot).splitlines()) == 1 + min(attention.TOLD, len(found[0]))
    labels = [label.get_text() for label in plot.figure.axes[1].get_yticklabels()]
    assert labels[-2].endswith(" ...")
    assert labels[1] == "#Person1#: Sunday?"
    shown = " ".join(text.get_text() for text in plot.figure.axes[0].texts)
    assert "4 layers" in shown
    assert "3 layers" in shown
    assert plot.png().startswith(b"\x89PNG")


@pytest.mark.parametrize(("prompt", "written"), [(PROMPT, ""), ("", WRITTEN), (PROMPT, "word " * 2000)])
def test_what_has_no_attention_is_answered_in_words(loaded: Loaded, prompt: str, written: str) -> None:
    with pytest.raises(LabError, match="no attention to show"):
        attention_by_line(*loaded, prompt, written)
    assert not torch.is_inference_mode_enabled()


def test_characters_that_the_model_does_not_know_are_replaced_as_where_it_writes(loaded: Loaded) -> None:
    found = [attention_by_line(*loaded, PROMPT.replace("Sunday", day), WRITTEN) for day in ("Sundäy", "Sunday")]
    assert found[0][1] == found[1][1]
    assert (found[0][2] == found[1][2]).all()


@pytest.mark.parametrize("inside", ["\f", "\u2028", "\x85", "\r"])
def test_only_a_line_feed_ends_a_line(loaded: Loaded, inside: str) -> None:
    prompt = PROMPT.replace("On Monday", f"On{inside}Monday")
    tokens, lines, weights = attention_by_line(*loaded, prompt, WRITTEN)
    assert lines[-1] == attention.END
    assert len(lines) == weights.shape[1] == 5
    assert lines[weights[tokens.index("▁Monday")].argmax()].endswith("Monday, please.")
    assert weights.sum(axis=1) == pytest.approx([1.0] * len(tokens), abs=1e-5)


def test_a_prompt_may_end_with_empty_lines(loaded: Loaded) -> None:
    tokens, lines, weights = attention_by_line(*loaded, PROMPT + "\n\n", WRITTEN)
    assert (lines[-2:], len(lines)) == (["Summary:", attention.END], weights.shape[1])
    assert weights.sum(axis=1) == pytest.approx([1.0] * len(tokens), abs=1e-5)


def test_the_picture_of_a_short_text_tells_of_all_its_tokens(loaded: Loaded) -> None:
    found = attention_by_line(*loaded, PROMPT, "On Monday.")
    assert len(found[0]) < attention.TOLD
    assert f"those {len(found[0])} of {len(found[0])} tokens" in repr(attention_map(*found, loaded[0]))


def test_a_layer_that_is_not_there_is_said_in_words(loaded: Loaded) -> None:
    with pytest.raises(LabError, match="The decoder has 3 layers, 0 to 2, and 99 is none"):
        attention_by_line(*loaded, PROMPT, WRITTEN, layer=99)
