"""Texts: a dialogue turn by turn, and texts side by side with what differs marked."""

import difflib
import re
import string
from collections.abc import Mapping, Sequence

from genai_labs.errors import LabError
from genai_labs.inputs.arguments import explained
from genai_labs.show.cards import CARD, FITTING, NOTE, TABLE, Card, box, escape, html_cell, html_table, tinted

Pieces = list[tuple[str, bool]]  # (text, is it marked), in order; the texts joined are the whole text


@explained
def show_dialogue(dialogue: str, summary: str | Sequence[str] | None = None) -> Card:
    """A dialogue turn by turn, with its summary or summaries below."""
    summaries = [summary] if isinstance(summary, str) else list(summary or [])
    turns = [_split_turn(line) for line in dialogue.splitlines() if line.strip()]
    shades = {speaker: shade for shade, speaker in enumerate(dict.fromkeys(speaker for speaker, _ in turns))}
    rows = [_labelled(speaker, said, (CARD, tinted("#0072b2", 8))[shades[speaker] % 2]) for speaker, said in turns]
    rows += [_labelled("Summary", text, tinted("#e0a100", 14)) for text in summaries]
    plain = [dialogue.strip(), *(f"Summary: {text}" for text in summaries)]
    table = f'<table style="{TABLE}table-layout:auto;">{"".join(rows)}</table>'
    return Card(box(table, style=FITTING), "\n".join(plain))


def _split_turn(line: str) -> tuple[str, str]:
    match = re.match(r"\s*(#Person\d+#|\w[\w .'-]{0,24}):\s+(.*)", line)
    return (match[1], match[2]) if match else ("", line.strip())


def _labelled(label: str, text: str, background: str) -> str:
    cells = (f"<b>{escape(label)}</b>", escape(text))
    return f"<tr>{''.join(html_cell(cell, background=background) for cell in cells)}</tr>"


@explained
def side_by_side(columns: Mapping[str, str | Sequence[str]], reference: str | None = None) -> Card:
    """Texts next to each other; the words that differ from the reference's are bold and underlined.

    columns: title -> text, or title -> one text for each row (all of the same number).
    reference: the title of the column that the others are compared with; None marks nothing.
    Case and punctuation are not compared. In plain text the marked words stand between asterisks.
    Raises LabError for an unknown reference and for columns of different lengths.
    """
    texts = {title: [text] if isinstance(text, str) else list(text) for title, text in columns.items()}
    _check_columns(texts, reference)
    rows = [dict(zip(texts, row, strict=True)) for row in zip(*texts.values(), strict=True)]
    marked = [
        {title: mark_changes(text, row[reference] if reference else text) for title, text in row.items()}
        for row in rows
    ]
    note = f"Bold and underlined: differs from {reference!r}." if reference else ""
    return Card(_html_columns(list(texts), marked, note), _text_columns(marked, reference))


@explained
def mark_changes(text: str, reference: str) -> Pieces:
    """The text in pieces, each with whether it differs from the reference: new, or in another place."""
    words = re.findall(r"\S+", text)
    ours, theirs = ([_bare(word) for word in words], [_bare(word) for word in reference.split()])
    changed: set[int] = set()
    for kind, _, _, start, end in difflib.SequenceMatcher(None, theirs, ours, autojunk=False).get_opcodes():
        if kind in ("insert", "replace"):
            changed.update(place for place in range(start, end) if ours[place])
    return join_pieces(re.findall(r"\s+|\S+", text), changed)


def _bare(word: str) -> str:
    return word.strip(string.punctuation).casefold()


def join_pieces(parts: list[str], changed: set[int]) -> Pieces:
    """Neighbouring words of the same kind as one piece; the space between two marked words is marked too."""
    pieces: Pieces = []
    place = -1
    for part in parts:
        space = part.isspace()
        place += not space
        mark = (place in changed and place + 1 in changed) if space else place in changed
        if pieces and pieces[-1][1] == mark:
            pieces[-1] = (pieces[-1][0] + part, mark)
        else:
            pieces.append((part, mark))
    return pieces


def _check_columns(texts: Mapping[str, list[str]], reference: str | None) -> None:
    if reference is not None and reference not in texts:
        raise LabError(
            f"There is no column {reference!r} to compare with, because the columns are "
            f"{', '.join(map(repr, texts))}. Name one of them, or leave the reference out."
        )
    if len({len(column) for column in texts.values()}) > 1:
        sizes = ", ".join(f"{title!r} has {len(column)}" for title, column in texts.items())
        raise LabError(
            f"The texts cannot stand side by side: {sizes}, and a row needs one of each. Give columns of one length."
        )


def _html_columns(titles: list[str], rows: list[dict[str, Pieces]], note: str) -> str:
    cells = [[html_cell(html_pieces(pieces)) for pieces in row.values()] for row in rows]
    table = html_table(titles, cells, [False] * len(titles), "table-layout:fixed;width:100%;")
    return box(table, f'<div style="{NOTE}">{escape(note)}</div>' if note else "")


def html_pieces(pieces: Pieces) -> str:
    return "".join(f"<b><u>{escape(text)}</u></b>" if mark else escape(text) for text, mark in pieces)


def _text_columns(rows: list[dict[str, Pieces]], reference: str | None) -> str:
    blocks = ["\n".join(f"{title}: {text_pieces(cell)}" for title, cell in row.items()) for row in rows]
    note = [f"(*...*: differs from {reference!r})"] if reference else []
    return "\n\n".join([*blocks, *note])


def text_pieces(pieces: Pieces) -> str:
    return "".join(f"*{text}*" if mark else text for text, mark in pieces)
