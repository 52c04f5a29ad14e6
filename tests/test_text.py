"""Own texts made readable for a tokenizer: no <unk>, and nothing changed that was read before."""

import unicodedata
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import AutoTokenizer, PreTrainedTokenizerBase

from genai_labs.errors import LabError
from genai_labs.finetuning import examples
from genai_labs.inputs import text
from genai_labs.loading import data, models
from genai_labs.loading.profiles import load_profile
from genai_labs.paths import ROOT
from genai_labs.prompting import prompts

FLAN = ROOT.parent / "shared" / "data" / "flan-t5-small"
TOKENIZER: PreTrainedTokenizerBase = models.load_tokenizer(load_profile("mini"))
# Of Unicode's blocks: Latin-1, Latin Extended-A, Latin Extended Additional, General Punctuation, Currency Symbols.
BLOCKS = ((0x20, 0x7F), (0xA0, 0x17F), (0x1E00, 0x1EFF), (0x2010, 0x2027), (0x2030, 0x205E), (0x20A0, 0x20BF))
COMMON = [chr(c) for first, last in BLOCKS for c in range(first, last) if unicodedata.category(chr(c)) != "Cn"]


def is_read(whole: str, tokenizer: PreTrainedTokenizerBase = TOKENIZER) -> bool:
    return tokenizer.unk_token_id not in tokenizer(whole)["input_ids"]


@given(st.text(st.sampled_from(COMMON), max_size=60))
@settings(max_examples=200, deadline=None)
def test_latin_letters_and_punctuation_are_all_read(whole: str) -> None:
    made = text.readable(whole, TOKENIZER)
    assert is_read(made.text)
    assert set(made.lost) <= {"µ", "μ"}, "a Greek letter among the signs of Latin-1"
    if is_read(whole):
        assert made.text == whole


@given(st.text(st.characters(), max_size=30))
@settings(max_examples=200, deadline=None)
def test_whatever_comes_there_is_no_unknown_token(whole: str) -> None:
    made = text.readable(whole, TOKENIZER)
    assert is_read(made.text)
    assert made == text.readable(whole, TOKENIZER)
    assert text.readable(made.text, TOKENIZER) == text.Readable(made.text, "")


def test_what_is_typed_on_a_phone_or_in_a_word_processor_keeps_its_meaning() -> None:
    said = "“Don’t” — Zoë paid €50.50 & £2 million… 5% of it: ½ café\u00a0au lait"
    kept = "'Don't' - Zoe paid 50.50 euros and 2 million pounds... 5 percent of it: 1-2 cafe au lait"
    assert text.readable(said, TOKENIZER) == text.Readable(kept, "")
    assert text.readable("Straße, Łódź, smørrebrød", TOKENIZER).text == "Strasse, Lodz, smorrebrod"


def test_sentinels_of_pre_training_stay_whole() -> None:
    assert text.readable("He <extra_id_0> a café", TOKENIZER).text == "He <extra_id_0> a cafe"


class Letters:
    """A tokenizer with a token for each of these letters, and none for any other."""

    unk_token, unk_token_id, all_special_tokens = "?", 0, ["?"]

    def __init__(self, letters: str) -> None:
        self.letters = letters

    def __call__(self, text: str, **_: object) -> dict[str, list[int]]:
        return {"input_ids": [1 + self.letters.find(letter) for letter in text]}


def test_a_tokenizer_may_lack_what_stands_for_all_of_a_kind() -> None:
    tokenizer: Any = Letters("abcdefghijklmnopqrstuvwxyz ")
    assert text.readable("An Élan – or_no", tokenizer) == text.Readable("an elan orno", "-")


def test_other_scripts_are_named_and_not_silently_dropped(capsys: pytest.CaptureFixture[str]) -> None:
    made = text.readable("Anna: 你好 😀", TOKENIZER)
    assert made.lost == "你好😀"
    assert text.is_mostly_lost("#Person1#: 你好", "#Person1#: ")
    assert text.is_mostly_lost("你好吗 ok", text.readable("你好吗 ok", TOKENIZER).text)
    text.encode(["Hello.", "Hello 你"], TOKENIZER)
    assert "left out: 你" in capsys.readouterr().out


def test_half_a_character_stops_no_tokenizer() -> None:
    assert text.encode(["a\ud800b"], TOKENIZER)["input_ids"] == text.encode(["ab"], TOKENIZER)["input_ids"]


def test_the_embedded_texts_are_read_as_they_are() -> None:
    rows = data.load_split(load_profile("mini").dataset, "train")[:300]
    asked = [prompts.zero_shot(row.dialogue, name) for row in rows for name in prompts.INSTRUCTIONS]
    assert text.encode(asked, TOKENIZER)["input_ids"] == TOKENIZER(asked)["input_ids"]
    assert all(text.readable(each, TOKENIZER).text is each for each in asked[:50])


def test_what_is_learned_from_is_made_readable_too() -> None:
    (made,) = examples.encode_pairs(["Summarize: a café"], ["“Tea”"], TOKENIZER)
    assert TOKENIZER.unk_token_id not in made["input_ids"] + made["labels"]


@pytest.mark.skipif(not FLAN.exists(), reason="FLAN-T5's tokenizer is not on this machine")
def test_flan_t5_keeps_what_it_knows() -> None:
    tokenizer = AutoTokenizer.from_pretrained(FLAN)
    known = "“André” pays €50 – s’il vous plaît…"
    assert text.readable(known, tokenizer) == text.Readable(known, "")
    assert text.readable("{André} pays ₹50", tokenizer).text == "André pays 50 rupees"


@pytest.mark.parametrize(
    ("given_", "words"),
    [("text", r"Put it into a list: \[text\]"), ([1], "type int at place 0"), (None, "Something of type NoneType")],
)
def test_what_is_no_list_of_texts_is_said_in_words(given_: object, words: str) -> None:
    with pytest.raises(LabError, match=words):
        text.encode(given_, TOKENIZER)  # type: ignore[arg-type]
    with pytest.raises(LabError, match=words):
        prompts.fit_all(prompts.zero_shot, given_, TOKENIZER)  # type: ignore[arg-type]
