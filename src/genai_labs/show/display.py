"""What the labs show: tables, texts side by side, and figures.

Every function here returns an object that shows itself when it is the last value of a cell; inside a loop,
hand it to IPython's `display`. Text from data and models is escaped wherever HTML is made.

What nbval 0.11 compares in strict mode: every stream (stdout, stderr) and every MIME type of an output,
text/plain and text/html included. It leaves out image/png, image/jpeg, widget views, metadata and execution
counts. So the HTML holds no random ids, and each figure carries its numbers as text/plain: the picture is not
compared, the numbers in it are.
"""

import re
from dataclasses import replace
from typing import TypeVar

from genai_labs.show.cards import Card
from genai_labs.show.figures import COLORS, GRID, INK, PAPER, STYLE, Plot, line_with_band, score_bars
from genai_labs.show.tables import show_table
from genai_labs.show.texts import show_dialogue, side_by_side

__all__ = [
    "ABOUT",
    "COLORS",
    "GRID",
    "INK",
    "PAPER",
    "STYLE",
    "Card",
    "Plot",
    "about",
    "line_with_band",
    "score_bars",
    "show_dialogue",
    "show_table",
    "side_by_side",
]

Shown = TypeVar("Shown", Card, Plot)
ABOUT = "\N{ALMOST EQUAL TO}"  # stands before a number that may differ from machine to machine


def about(shown: Shown) -> Shown:
    """The same card or plot with every decimal fraction marked by \N{ALMOST EQUAL TO}, "about".

    For numbers that rest on a training: trained twice on one machine, a model is the same to the last bit, but another
    processor rounds differently, and a training adds such differences up. The comparison of saved outputs passes over
    numbers that are marked so (tests/nbval_sanitize.cfg), and over nothing else.
    """
    if isinstance(shown, Plot):
        return replace(shown, text=_marked(shown.text))
    html = re.sub(r"(?<=>)[^<>]+(?=<)", lambda between: _marked(between[0]), shown.html)
    return replace(shown, html=html, text=_marked(shown.text))


def _marked(text: str) -> str:
    return re.sub(rf"(?<![\w.,{ABOUT}+-])[-+]?\d[\d,]*\.\d+", lambda number: ABOUT + number[0], text)
