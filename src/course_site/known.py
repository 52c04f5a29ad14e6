"""What the page needs to know to make a text readable for the model, as :mod:`genai_labs.inputs.text` does it."""

from __future__ import annotations

import unicodedata
from typing import Any

from transformers import PreTrainedTokenizerBase

from genai_labs.inputs.text import AMOUNT, CURRENCIES, readable

PLANE = 0x10000  # characters beyond the first plane are emoji and rare scripts: nothing stands for them
NOTHING = {"Lo", "Cn", "Co", "Cs"}  # categories of which nothing stands for a character

NAMED = {"So", "Sm", "Ll", "Lu", "No", "Nl"}  # categories whose characters the page names when it leaves them out


def known_characters(tokenizer: PreTrainedTokenizerBase) -> dict[str, Any]:
    """known: the characters that the tokenizer reads; like: what stands for others; and names of currencies."""
    known, like = [], {}
    for char in map(chr, range(PLANE)):
        if unicodedata.category(char) in NOTHING or unicodedata.normalize("NFKC", char) != char:
            continue
        made = readable(char, tokenizer)
        if made.text == char:
            known.append(char)
        elif char not in CURRENCIES and (made.text or (not made.lost and unicodedata.category(char) in NAMED)):
            like[char] = made.text
    unread = {sign: name for sign, name in CURRENCIES.items() if sign not in known}
    return {
        "known": "".join(known),
        "like": like,
        "currencies": unread,
        "amount": AMOUNT,
        "unknown": tokenizer.unk_token_id,
        "unknownToken": tokenizer.unk_token,
    }
