"""What the fuzz tests are made of: targets, odd inputs, and how an answer is taken."""

from __future__ import annotations

import copy
import operator
import random
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from hypothesis import strategies as st

from genai_labs.errors import LabError
from tests.mutations import ODD, damaged_bytes, damaged_tree

Check = Callable[[Any, Path], None]  # an input and an empty folder; raises where what comes of it is wrong
MANY, USUAL, SLOW, SLOWEST = 80, 12, 4, 2  # shares of the inputs


@dataclass(frozen=True)
class Target:
    """What is tried: its inputs, its share of them, what was once found, and what must be true of the answer."""

    inputs: st.SearchStrategy[Any]
    check: Check
    weight: int
    found: tuple[Any, ...]


TARGETS: dict[str, Target] = {}


def target(
    inputs: st.SearchStrategy[Any], weight: int = USUAL, found: tuple[Any, ...] = ()
) -> Callable[[Check], Check]:
    """Registers a check under its name. found: inputs that once failed, tried first every time."""

    def register(check: Check) -> Check:
        TARGETS[check.__name__] = Target(inputs, check, weight, found)
        return check

    return register


REFUSED = object()


def answer(call: Callable[..., Any], *args: Any, **named: Any) -> Any:
    """What a call gives; REFUSED where it is refused in words. Whatever else it raises fails the test."""
    try:
        return call(*args, **named)
    except LabError as error:
        said = str(error)
        assert len(said) > 20, said
        assert said == said.strip(), said
        assert "Traceback" not in said, said
        return REFUSED


# Texts. Pieces that mean something to some reader of them.
PIECES = [
    *("\x00", "\ufeff", "\u2028", "\x85", "\x0c", "\u202e", "\x1b[31m", "\r", "\r\n", "\n", "\n\n", "\t", " "),
    *('"', "'", ",", ";", "\\", "<", ">", "&", "&lt;", "</td>", "<script>alert(1)</script>", '" onload="x', "<!--"),
    *("{dialogue}", "{", "}", "{}", "%s", "$", "$5", "\\1", "#", "=1+1", "-", "*"),
    *("#Person1#:", "#Person2#: Yes.", "#Person0#", f"#Person{'9' * 30}#", "#Person²#", "#person1#"),
    *("<unk>", "</s>", "<pad>", "<extra_id_0>", "<extra_id_999>", "▁", "##"),
    *("Anna:", "Anna: Hi.", "Dr. Anna Lee:", "[10:42] Bob: No.", "http://x.y", "half past six", "three hundred"),
    *("3 + 4 = 7", "12 * 12 =", "9" * 20, "9" * 5000, "May 3", "Monday", "10:30", "€50", "١٢", "²", "½", "Ⅷ"),
    *("é", "e\u0301", "ß", "İ", "ﬁ", "“", "’", "…", "—", "你好", "😀", "👨\u200d👩", "a\u0300" * 20, "word " * 40),
]  # fmt: skip
HALVES = st.sampled_from(["\ud800", "\udfff", "\udc80"])
ENGLISH = st.sampled_from(
    [
        "#Person1#: Are you coming at 6:30?\n#Person2#: Yes, with Elena.\n#Person1#: Good.",
        "Anna: Is it $45?\nBob: No, it costs fifty.\nAnna: I will buy two then.",
        "#Person1# asks #Person2# to come on Monday. #Person2# will bring 3 books.",
        "Anna has 3 apples. She buys 4 more. 3 + 4 = 7. The answer is 7.",
    ]
)
whole_texts = st.one_of(  # of whole characters, as a file in UTF-8 holds them
    ENGLISH,
    st.text(st.characters(exclude_categories=["Cs"]), max_size=40),
    st.lists(st.sampled_from(PIECES) | st.text(st.characters(codec="ascii"), max_size=6), max_size=8).map("".join),
)
texts = whole_texts | st.lists(st.sampled_from(PIECES) | HALVES, min_size=1, max_size=6).map("".join)
said = st.one_of(ENGLISH, ENGLISH, texts)


class Odd:
    """A thing of a kind that nobody expects."""

    def __repr__(self) -> str:
        return "<b>Odd</b>"


numbers = st.one_of(
    st.integers(-3, 12),
    st.sampled_from([0, -1, 2**31, 2**63, 2**64, -(2**63), 10**30, 10**400, True, False]),
    st.sampled_from([0.0, -0.0, 0.5, 1.0, -1.5, 1e-300, 1e308, float("nan"), float("inf"), float("-inf")]),
)
wild = st.one_of(
    st.none(),
    numbers,
    texts,
    st.binary(max_size=5),
    st.lists(numbers | texts | st.none(), max_size=3),
    st.lists(st.lists(numbers, max_size=2), max_size=3),
    st.dictionaries(texts, numbers, max_size=2),
    st.builds(Odd),
    st.sampled_from([(), {}, set(), frozenset({1}), 1j, print, range(3), Path("x")]),
    st.sampled_from(
        [np.array(3), np.zeros((2, 0)), np.array([np.nan, 1]), np.int64(4), np.float32(0.5), np.array(["a"])]
    ),
)


@st.composite
def calls(draw: st.DrawFn, **valid: st.SearchStrategy[Any]) -> dict[str, Any]:
    """Arguments by name: all as they should be, or one of them anything at all."""
    given = {name: draw(inputs) for name, inputs in valid.items()}
    if draw(st.booleans()):
        given[draw(st.sampled_from(sorted(valid)))] = draw(wild)
    return given


@st.composite
def damaged(draw: st.DrawFn, content: st.SearchStrategy[bytes]) -> bytes:
    """A file, whole or damaged."""
    whole = draw(content)
    return damaged_bytes(whole, random.Random(draw(st.integers(0, 2**32)))) if draw(st.booleans()) else whole


@st.composite
def damaged_parts(draw: st.DrawFn, make: Callable[[], Any], odd: list[Any] = ODD) -> Any:
    """A tree of lists and names, with up to three parts damaged."""
    tree, rng = make(), random.Random(draw(st.integers(0, 2**32)))
    for _ in range(draw(st.integers(0, 3))):
        tree = damaged_tree(tree, rng, deepest=6, odd=copy.deepcopy(odd))
    return tree


def is_whole(number: Any, least: float, most: float = float("inf")) -> bool:
    """Whether something is a whole number in a range, said independently of the package."""
    try:
        return least <= operator.index(number) <= most
    except TypeError:
        return False
