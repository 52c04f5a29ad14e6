"""Own texts made readable for a tokenizer: characters that it does not know are replaced by some that it does.

A tokenizer turns what is not in its vocabulary into `<unk>`, and the model reads nothing there: the small one knows no
curly quote, no é and no €, FLAN-T5 knows these and lacks others. A text that is read without `<unk>` is never changed.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from genai_labs.inputs.arguments import as_texts

if TYPE_CHECKING:  # it takes seconds to import
    from transformers import PreTrainedTokenizerBase

# What stands for a character that the tokenizer lacks, where Unicode's own tables do not say it. What is given may be
# unknown, too, and is then replaced in turn.
LIKE = {
    "‘": "'", "’": "'", "‚": "'", "‛": "'", "`": "'", "´": "'", "′": "'", '"': "'",
    "″": '"', "“": '"', "”": '"', "„": '"', "‟": '"', "«": '"', "»": '"', "‹": '"', "›": '"',
    "「": '"', "」": '"', "『": '"', "』": '"', "<": "", ">": "",
    "_": "-", "/": "-", "\\": "-", "|": "-", "~": "-", "−": "-", "⁒": "-", "•": "-", "·": "-", "⁄": "/", "∕": "/",
    "→": "-", "←": "-", "×": "x", "÷": " divided by ", "±": " plus or minus ", "≈": " about ", "≤": " at most ",
    "≥": " at least ", "≠": " is not ", "¬": " not ", "¦": "-",
    "&": " and ", "@": " at ", "%": " percent", "‰": " per mille", "°": " degrees", "№": "No.", "§": "section ",
    "¶": "", "©": "", "®": "", "™": "", "、": ",", "。": ".", "؟": "?", "،": ",", "؛": ";",
    "ß": "ss", "ẞ": "SS", "æ": "ae", "Æ": "AE", "œ": "oe", "Œ": "OE", "þ": "th", "Þ": "Th", "ð": "d", "Ð": "D",
    "ŋ": "ng", "Ŋ": "Ng", "ĸ": "k", "ı": "i", "ə": "e", "Ə": "E", "ſ": "s", "ẟ": "d", "ỻ": "ll", "Ỻ": "LL",
    "ỽ": "v", "Ỽ": "V", "ỿ": "y", "Ỿ": "Y", "ʼ": "'",
}  # fmt: skip
CURRENCIES = {
    "$": "dollars", "€": "euros", "£": "pounds", "¥": "yen", "₹": "rupees", "₨": "rupees", "₽": "rubles", "₩": "won",
    "₿": "bitcoin", "¢": "cents", "₺": "lira", "₤": "lira", "₴": "hryvnias", "₪": "shekels", "฿": "baht", "₫": "dong",
    "₦": "naira", "₱": "pesos", "₡": "colones", "₲": "guaranies", "₵": "cedis", "₸": "tenge", "₮": "tugriks",
    "₭": "kip", "₾": "lari", "₼": "manats", "֏": "drams",
}  # fmt: skip
AMOUNT = r"\s?(\d+(?:[.,]\d+)*(?:\s?(?:thousand|million|billion|k|m|bn)\b)?)"
# By Unicode's category: dashes, brackets, connectors, other punctuation, accents on their own, spaces, what is unseen.
LIKE_ITS_KIND = {
    "Pd": "-", "Pi": '"', "Pf": '"', "Ps": "", "Pe": "", "Pc": "-", "Po": "", "Sk": "", "Lm": "",
    "Mn": "", "Me": "", "Mc": "", "Zs": " ", "Zl": " ", "Zp": " ", "Cc": "", "Cf": "", "Sc": "",
}  # fmt: skip
LATIN = re.compile(r"LATIN (SMALL|CAPITAL) LETTER (?:[A-Z]+ )*?([A-Z]{1,2})(?: WITH .*)?$")
TAG = re.compile(r"#Person\d+#")
MOST_NAMED = 12


class Readable(NamedTuple):
    """A text without `<unk>`, and the characters for which there was no replacement, each once."""

    text: str
    lost: str


def readable(text: str, tokenizer: PreTrainedTokenizerBase) -> Readable:
    """The text with what the tokenizer does not know replaced: ’ by ', é by e, €50 by 50 euros.

    Only where the tokenizer would write `<unk>`; all other texts come back as they are. Letters of a script that it
    does not know, and emoji, are left out and named in ``lost``.
    """
    whole = without_surrogates(text)
    unknown = tokenizer.unk_token_id
    if unknown is None or unknown not in _ids(whole, tokenizer):
        return Readable(whole, "")
    known = _Known(tokenizer)
    whole = unicodedata.normalize("NFKC", whole.replace(tokenizer.unk_token, " "))
    for sign, name in CURRENCIES.items():
        if sign in whole and not known[sign]:
            whole = re.sub(re.escape(sign) + AMOUNT, rf"\1 {name}", whole).replace(sign, f" {name}")
    lost: list[str] = []
    made = "".join(
        part if part in known.special else "".join(_replaced(char, known, lost) for char in part)
        for part in known.pattern.split(whole)
    )
    made = re.sub(" {2,}", " ", made)
    if unknown in _ids(made, tokenizer):  # what is known alone may be unknown beside another
        made = "".join(char for char in made if char.isascii() and known[char])
    return Readable(made, "".join(dict.fromkeys(lost)))


def without_surrogates(text: str) -> str:
    """The text without halves of characters (lone surrogates), which cannot be written as UTF-8."""
    return text if text.isascii() else text.encode("utf-16", "surrogatepass").decode("utf-16", "ignore")


def encode(texts: Sequence[str], tokenizer: PreTrainedTokenizerBase, **options: Any) -> Any:
    """What ``tokenizer(texts, **options)`` gives, where need be of the texts made readable.

    A printed note names the characters that had to be left out. Raises LabError where ``texts`` is not a list of texts.
    """
    texts = [without_surrogates(text) for text in as_texts(texts, "prompts")]
    if not texts:
        return {"input_ids": [], "attention_mask": []}
    encoded = tokenizer(texts, **options)
    if not any(tokenizer.unk_token_id in row for row in encoded["input_ids"]):
        return encoded
    made = [readable(text, tokenizer) for text in texts]
    if lost := "".join(dict.fromkeys("".join(each.lost for each in made))):
        print(f"{note(lost)}.")
    return tokenizer([each.text for each in made], **options)


def is_mostly_lost(before: str, after: str) -> bool:
    """Whether making a text readable took away more than half of its letters and digits, tags of speakers left out."""
    had, has = (sum(map(str.isalnum, TAG.sub("", each))) for each in (before, after))
    return not after.strip() or 2 * has < had


def note(lost: str) -> str:
    """In words, which characters were left out."""
    more = f" and {len(lost) - MOST_NAMED} more" if len(lost) > MOST_NAMED else ""
    return f"the model does not know these characters, which were left out: {' '.join(lost[:MOST_NAMED])}{more}"


class _Known(dict[str, bool]):
    """Whether the tokenizer knows a character, asked once for each; and what it takes for a token of its own."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase) -> None:
        super().__init__()
        self.tokenizer = tokenizer
        self.special = set(tokenizer.all_special_tokens) - {tokenizer.unk_token}
        self.pattern = re.compile("(" + "|".join(map(re.escape, sorted(self.special))) + ")")

    def __missing__(self, char: str) -> bool:
        self[char] = self.tokenizer.unk_token_id not in _ids(char, self.tokenizer)
        return self[char]


def _ids(text: str, tokenizer: PreTrainedTokenizerBase) -> list[int]:
    return tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"]


def _replaced(char: str, known: _Known, lost: list[str]) -> str:
    """What stands for a character; nothing, and a note in ``lost``, if nothing does."""
    if known[char]:
        return char
    like = _like(char)
    if like is None or like == char:  # a tokenizer may lack what stands for all of its kind
        lost.append(char)
        return ""
    return "".join(_replaced(each, known, lost) for each in like)


def _like(char: str) -> str | None:
    if char in LIKE:
        return LIKE[char]
    parts = unicodedata.normalize("NFKD", char)
    if parts != char:
        return parts
    if match := LATIN.match(unicodedata.name(char, "")):
        case, letters = match.groups()
        return letters if case == "CAPITAL" and letters != char else letters.lower()
    if (digit := unicodedata.decimal(char, None)) is not None and not char.isascii():
        return str(digit)
    return LIKE_ITS_KIND.get(unicodedata.category(char))
