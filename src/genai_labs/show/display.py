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

from genai_labs.show.cards import ABOUT, IN_WORDS, NOTE, Card, unmarked
from genai_labs.show.figures import COLORS, GRID, INK, PAPER, STYLE, Plot, line_with_band, score_bars
from genai_labs.show.tables import show_table
from genai_labs.show.texts import show_dialogue, side_by_side

Shown = TypeVar("Shown", Card, Plot)


def about(shown: Shown) -> Shown:
    """The same card or plot as one whose decimal fractions rest on a training or on samples.

    Trained twice on one machine, a model is the same to the last bit, but another processor rounds differently, and a
    training adds such differences up. The comparison of saved outputs passes over these numbers, and over nothing else
    (tests/nbval_sanitize.cfg): in texts each has \N{ALMOST EQUAL TO}, "about", before it; a card has one note below.
    """
    if isinstance(shown, Plot):
        return replace(shown, text=_marked(shown.text))
    html = re.sub(r"(?<=>)[^<>]+(?=<)", lambda between: unmarked(_marked(between[0])), shown.html)
    note = f'<div style="{NOTE}">Decimal fractions {IN_WORDS[3:].replace("rests", "rest")}</div></div>'
    return replace(shown, html=html.removesuffix("</div>") + note, text=_marked(shown.text))


def _marked(text: str) -> str:
    return re.sub(rf"(?<![\w.,{ABOUT}+-])[-+]?\d[\d,]*\.\d+", lambda number: ABOUT + number[0], text)
