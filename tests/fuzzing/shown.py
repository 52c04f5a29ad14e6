"""What is shown: whatever a text holds, it is text on the page, never a tag, and no figure stumbles over a number."""

from __future__ import annotations

import warnings
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pandas as pd
from hypothesis import strategies as st

from genai_labs.prompting import figures
from genai_labs.scoring.metrics import Interval
from genai_labs.show import display
from genai_labs.show.texts import mark_changes
from tests.fuzzing.inputs import REFUSED, SLOW, Odd, answer, calls, numbers, said, target, texts

OURS = {"div", "table", "thead", "tbody", "tr", "th", "td", "b", "u", "span"}


class Page(HTMLParser):
    """What a browser would make of a piece of HTML: its text; other tags than ours fail the test."""

    def __init__(self, html: str) -> None:
        super().__init__(convert_charrefs=True)
        self.text = ""
        self.open: list[str] = []
        self.feed(html)
        self.close()
        assert not self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert tag in OURS, tag
        assert [name for name, _ in attrs] in (["style"], []), attrs
        self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data

    def handle_comment(self, data: str) -> None:
        raise AssertionError(data)

    def handle_decl(self, decl: str) -> None:
        raise AssertionError(decl)

    def handle_pi(self, data: str) -> None:
        raise AssertionError(data)


def packed(text: str) -> str:
    return "".join(text.split())


def shows(card: display.Card, *wanted: str) -> None:
    """Whether all the texts are on the page, as text."""
    assert isinstance(repr(card), str)
    page = packed(Page(card.html).text)
    for text in wanted:
        assert packed(text) in page, text


def escaped(strategy: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    """Without what a browser, too, reads as another character."""
    return strategy.map(lambda text: "".join(c for c in text if c.isprintable() or c in "\n\t "))


shown = escaped(texts)
values = st.one_of(shown, numbers, st.none(), st.builds(Interval, *[st.floats(-1, 1)] * 3, st.integers(0, 9)))
tables = st.one_of(
    st.lists(st.dictionaries(shown, values, max_size=3), max_size=4),
    st.integers(0, 3).flatmap(lambda n: st.dictionaries(shown, st.lists(values, min_size=n, max_size=n), max_size=3)),
    st.dictionaries(shown, st.lists(numbers, max_size=2), max_size=2),
    st.lists(st.tuples(shown, numbers), max_size=3).map(pd.DataFrame),
)


@target(
    calls(rows=tables, caption=st.none() | shown, digits=st.integers(-1, 6)),
    found=(
        {"rows": None, "caption": None, "digits": 3},
        {"rows": [], "caption": Odd(), "digits": 3},
    ),
)
def a_table_shows_texts_as_texts(given: dict[str, Any], folder: Path) -> None:
    card = answer(display.show_table, given["rows"], given["caption"], digits=given["digits"])
    if card is not REFUSED:
        named = [row for row in given["rows"] if isinstance(row, dict)] if isinstance(given["rows"], list) else []
        inside = [name for row in named for name in row]
        shows(card, *[str(given["caption"])] * bool(given["caption"]), *inside)


@target(
    calls(dialogue=escaped(said), summary=st.none() | shown | st.lists(shown, max_size=3)),
    found=({"dialogue": None, "summary": None},),
)
def a_dialogue_is_shown_whole(given: dict[str, Any], folder: Path) -> None:
    card = answer(display.show_dialogue, **given)
    if card is not REFUSED:
        summaries = given["summary"] or []
        shows(card, *([summaries] if isinstance(summaries, str) else map(str, summaries)))
        assert all(c in Page(card.html).text for c in packed(given["dialogue"]).replace(":", ""))


@st.composite
def columns(draw: st.DrawFn) -> Any:
    size = draw(st.integers(0, 3))
    column = shown | st.lists(shown, min_size=size, max_size=size)
    return draw(st.dictionaries(st.sampled_from(["a", "b"]) | shown, column, max_size=3))


@target(
    calls(columns=columns(), reference=st.none() | st.sampled_from(["a", "b"]) | shown),
    found=({"columns": None, "reference": None},),
)
def texts_side_by_side_are_whole(given: dict[str, Any], folder: Path) -> None:
    card = answer(display.side_by_side, **given)
    if card is not REFUSED:
        columns = [[each] if isinstance(each, str) else each for each in given["columns"].values()]
        shows(card, *given["columns"], *(each for column in columns for each in column))


@target(calls(text=texts, reference=texts), found=({"text": None, "reference": ""},))
def marked_pieces_join_to_the_text(given: dict[str, Any], folder: Path) -> None:
    pieces = answer(mark_changes, **given)
    if pieces is not REFUSED:
        assert "".join(piece for piece, _ in pieces) == given["text"]
        assert not any(mark for _, mark in mark_changes(given["text"], given["text"]))


shares = st.floats(0, 1) | st.sampled_from([float("nan"), -1, 2, float("inf")])
estimates = st.tuples(st.floats(-1, 1), st.floats(0, 1), st.floats(0, 1)).map(
    lambda t: (t[0], t[0] - t[1], t[0] + t[2])
)
odd_estimates = estimates | estimates | st.tuples(numbers, numbers, numbers)


def draws(figure: Any) -> None:
    """Whether a figure can be drawn, and says its numbers in words."""
    if figure is not REFUSED:
        assert repr(figure).startswith("Figure: ")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # letters that the font lacks
            figure.figure.draw_without_rendering()


@target(
    calls(tokens=st.lists(texts, max_size=4), probabilities=st.lists(shares, max_size=4), title=st.none() | texts),
    SLOW,
    found=(
        {"tokens": ["\ud800"], "probabilities": [0.5], "title": "\ud800"},
        {"tokens": [], "probabilities": None, "title": None},
    ),
)
def bars_of_tokens_are_drawn(given: dict[str, Any], folder: Path) -> None:
    draws(answer(figures.token_bars, **given))


@target(
    calls(
        scores=st.dictionaries(texts, odd_estimates, max_size=3),
        xlabel=texts,
        baselines=st.none() | st.dictionaries(texts, numbers | estimates, max_size=2),
        title=st.none() | texts,
    ),
    SLOW,
)
def bars_of_scores_are_drawn(given: dict[str, Any], folder: Path) -> None:
    draws(answer(display.score_bars, **given))


@target(
    calls(
        x=st.lists(st.integers(0, 9), max_size=3),
        series=st.dictionaries(texts, st.lists(odd_estimates, max_size=3), max_size=3),
        xlabel=texts,
        ylabel=texts,
    ),
    SLOW,
    found=({"x": [1], "series": {}, "xlabel": "x", "ylabel": "\ud800"},),
)
def lines_with_bands_are_drawn(given: dict[str, Any], folder: Path) -> None:
    draws(answer(display.line_with_band, **given))


@target(
    calls(
        families=st.dictionaries(
            texts, st.dictionaries(texts, st.tuples(odd_estimates, odd_estimates), max_size=2), max_size=2
        ),
        xlabel=texts,
        ylabel=texts,
    ),
    SLOW,
)
def sweeps_are_drawn(given: dict[str, Any], folder: Path) -> None:
    draws(answer(figures.sweep_plot, **given))
