"""Cards: HTML for a notebook with the same in plain text, in the colours of JupyterLab's theme.

HTML takes background and text colour, both, from the theme, or brings its own where there is none, so that it reads
in light and dark themes, and where styles are stripped. It holds no random ids: tests compare it with the saved one.
"""

import html
import re
from dataclasses import dataclass

# Of HTML: JupyterLab's theme, and where there is none, dark on white.
TEXT = "var(--jp-content-font-color1,#1b1b1b)"
CARD = "var(--jp-layout-color1,#ffffff)"
LINE = "var(--jp-border-color2,#c4c9d0)"
FONT = "font-family:system-ui,-apple-system,'Segoe UI',sans-serif;font-size:14px;line-height:1.45;"
BOX = (
    f"background:{CARD};color:{TEXT};{FONT}border:1px solid {LINE};border-radius:6px;padding:10px 14px;"
    "margin:6px 0;max-width:960px;overflow-x:auto;"
)
FITTING = "width:fit-content;"  # for a box that should be no wider than what is in it
CELL = f"color:{TEXT};{FONT}border:1px solid {LINE};padding:5px 10px;vertical-align:top;overflow-wrap:break-word;"
HEAD = CELL + "background:var(--jp-layout-color2,#e9edf3);font-weight:bold;"
TABLE = f"background:{CARD};color:{TEXT};border-collapse:collapse;margin:0;"
NOTE = f"color:var(--jp-ui-font-color1,#444b55);{FONT}font-size:12.5px;margin-top:6px;"

ABOUT = "\N{ALMOST EQUAL TO}"  # stands before a number that may differ from machine to machine
IN_WORDS = (
    f"{ABOUT}: rests on a training, on samples or on rounded weights, so that the last digits depend on the machine."
)


@dataclass(frozen=True, repr=False)
class Card:
    """HTML for the notebook, and the same in plain text for terminals and tests."""

    html: str
    text: str

    def _repr_html_(self) -> str:
        return self.html

    def __repr__(self) -> str:
        return self.text


def escape(text: object) -> str:
    """Text as it must stand in HTML: `<script>` shows as text and does nothing."""
    return html.escape(str(text), quote=True)


def box(*parts: str, style: str = "") -> str:
    """Finished pieces of HTML in one box that reads in every theme."""
    return f'<div style="{BOX}{style}">{"".join(parts)}</div>'


def tinted(color: str, percent: int) -> str:
    """The ground of a card with some of a colour, in every theme."""
    return f"color-mix(in srgb,{color} {percent}%,{CARD})"


def html_table(heads: list[str], cells: list[list[str]], right: list[bool], style: str) -> str:
    """A table of heads that are text and cells that are HTML already."""
    sides = ["right" if end else "left" for end in right]
    top = "".join(
        f'<th style="{HEAD}text-align:{side};">{escape(head)}</th>' for head, side in zip(heads, sides, strict=True)
    )
    body = "".join(f"<tr>{''.join(row)}</tr>" for row in cells)
    return f'<table style="{TABLE}{style}"><thead><tr>{top}</tr></thead><tbody>{body}</tbody></table>'


def html_cell(content: str, right: bool = False, wrap: bool = True, background: str = CARD) -> str:
    side, space = "right" if right else "left", "pre-wrap" if wrap else "nowrap"
    return f'<td style="{CELL}background:{background};text-align:{side};white-space:{space};">{content}</td>'


def passed_over(html: str, varies: bool = True) -> str:
    """HTML that the comparison of saved outputs passes over, where its numbers depend on the machine."""
    return f"<!--{ABOUT}-->{html}<!--/{ABOUT}-->" if varies else html


def unmarked(html: str) -> str:
    """HTML without the sign at its numbers, where a note or another sign says it; they are passed over as before."""
    return re.sub(rf"{ABOUT}([-+]?[\d,.]*\d)", lambda number: passed_over(number[1]), html)
