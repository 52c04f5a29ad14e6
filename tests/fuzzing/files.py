"""Files of one's own: whatever is in them, what is read is what stands there, or the file is refused in words."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any

from hypothesis import strategies as st

from genai_labs.course import summarize
from genai_labs.finetuning import own
from genai_labs.inputs import tables, text
from genai_labs.loading import data, models
from genai_labs.loading.profiles import load_profile
from genai_labs.prompting.speakers import with_tags
from tests.fuzzing.inputs import REFUSED, answer, damaged, said, target, texts, whole_texts

TOKENIZER = models.load_tokenizer(load_profile("mini"))
COLUMNS = ("dialogue", "summary", "id", "topic", "output", "summary1", "summary2", "fname", "note")


def as_csv(rows: list[list[str]], all_quoted: bool, mark: str = ",") -> str:
    """Rows as Python's own writer puts them."""
    whole = io.StringIO(newline="")
    csv.writer(
        whole, quoting=csv.QUOTE_ALL if all_quoted else csv.QUOTE_MINIMAL, lineterminator="\r\n", delimiter=mark
    ).writerows(rows)
    return whole.getvalue()


cells = st.one_of(whole_texts, st.sampled_from(["", " ", "a", "1,2", 'say "no"']))
names = st.text("abcdefgh _é", min_size=1, max_size=6)
ways = st.tuples(st.booleans(), st.sampled_from([b"", b"\xef\xbb\xbf"]))


@st.composite
def csv_tables(draw: st.DrawFn, columns: st.SearchStrategy[list[str]], inside: st.SearchStrategy[str]) -> list[Any]:
    """A header, and rows of as many fields."""
    head = draw(columns)
    body = st.lists(inside, min_size=len(head), max_size=len(head))
    return [head, *draw(st.lists(body, max_size=9))]


json_values: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**20), 10**20) | st.floats(allow_nan=False) | texts,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(texts, inner, max_size=2),
    max_leaves=4,
)
json_rows = st.lists(st.dictionaries(st.sampled_from(COLUMNS) | texts, said | json_values, max_size=5), max_size=8)
own_columns = st.permutations(COLUMNS).flatmap(lambda all: st.integers(1, 5).map(lambda n: list(all[:n]))) | (
    st.sampled_from([["dialogue", "summary"], ["id", "dialogue", "summary", "topic"], ["dialogue"]])
)


@st.composite
def own_files(draw: st.DrawFn, endings: tuple[str, ...] = (".csv", ".jsonl")) -> tuple[str, bytes]:
    """The ending of a file, and what is in it: near to what is wanted, damaged, or anything."""
    ending = draw(st.sampled_from(endings))
    if draw(st.integers(0, 5)) == 0:
        return ending, draw(st.binary(max_size=60) | texts.map(lambda whole: whole.encode("utf-8", "surrogatepass")))
    if ending == ".jsonl":
        rows = draw(json_rows | st.lists(st.fixed_dictionaries({"dialogue": said, "summary": said}), max_size=12))
        written = "\n".join(json.dumps(row, ensure_ascii=True) for row in rows)
    elif ending == ".csv":
        written = as_csv(
            draw(csv_tables(own_columns, said.map(whole))), draw(st.booleans()), draw(st.sampled_from(",,,;\t"))
        )
    else:
        written = whole(draw(said))
    coding = draw(st.sampled_from(["utf-8", "utf-8", "utf-8", "utf-8-sig", "utf-16", "latin-1", "cp1252"]))
    return ending, draw(damaged(st.just(written.encode(coding, "replace"))))


def whole(given: str) -> str:
    """Without halves of characters."""
    return given.encode("utf-8", "replace").decode()


def saved(folder: Path, name: str, content: bytes) -> Path:
    """The path of a file with this content."""
    (folder / name).write_bytes(content)
    return folder / name


@target(st.tuples(csv_tables(st.lists(names, min_size=1, max_size=4, unique=True), cells), ways))
def what_a_csv_writer_wrote_is_read(given: Any, folder: Path) -> None:
    rows, (all_quoted, mark) = given
    content = mark + as_csv(rows, all_quoted).encode()
    table = answer(tables.read_table, saved(folder, "a.csv", content))
    if not content.removeprefix(b"\xef\xbb\xbf").decode().strip():
        assert table is REFUSED
        return
    assert table.problems == []
    assert (table.columns, [list(row.values()) for row in table.rows]) == (rows[0], rows[1:])


@target(st.tuples(json_rows, st.booleans(), st.sampled_from(["\n", "\r\n", "\n\n"])))
def what_a_json_writer_wrote_is_read(given: Any, folder: Path) -> None:
    rows, ascii_only, end = given
    written = end.join(json.dumps(row, ensure_ascii=ascii_only) for row in rows)
    content = written.encode("utf-8", "surrogatepass")
    table = answer(tables.read_table, saved(folder, "a.jsonl", content))
    if table is REFUSED:
        assert not written.strip() or not is_utf8(content)
        return
    assert table.problems == []
    assert table.rows == [json.loads(json.dumps(row)) for row in rows]


def is_utf8(content: bytes) -> bool:
    try:
        return content.decode("utf-8") is not None
    except UnicodeDecodeError:
        return False


@target(own_files(), found=((".jsonl", b"[" * 100_000), (".csv", b"id,dialogue,summary,topic\n1,D,S,T,")))
def no_field_of_a_table_is_moved_or_lost(given: Any, folder: Path) -> None:
    ending, content = given
    table = answer(tables.read_table, saved(folder, f"a{ending}", content))
    if table is REFUSED or table.problems:
        return
    decoded = content.decode("utf-8-sig")
    if ending == ".csv":
        again = [fields for fields in csv.reader(io.StringIO(decoded, newline="")) if fields]
        assert [table.columns, *(list(row.values()) for row in table.rows)] == again
    else:
        assert table.rows == [json.loads(line) for line in decoded.split("\n") if line.strip()]
    assert len(table.lines) == len(table.rows)


@target(own_files())
def a_split_has_every_dialogue_with_all_its_summaries(given: Any, folder: Path) -> None:
    ending, content = given
    for each in folder.iterdir():
        each.unlink()
    rows = answer(data.load_split, folder.absolute(), "train") if saved(folder, f"train{ending}", content) else None
    if rows is REFUSED:
        return
    assert rows is not None
    assert all(row.dialogue.strip() and all(each.strip() for each in row.references) for row in rows)
    pairs = [(row.dialogue, each) for row in rows for each in row.references]
    decoded = content.decode("utf-8-sig")
    if ending == ".csv":
        again = [(row["dialogue"], row["summary"]) for row in csv.DictReader(io.StringIO(decoded, newline=""))]
    else:
        objects = [json.loads(line) for line in decoded.split("\n") if line.strip()]
        wanted = ("summary", "summary1", "summary2", "summary3")
        again = [(row["dialogue"], row[name]) for row in objects for name in wanted if name in row]
    assert sorted(pairs) == sorted(again)
    assert len({row.dialogue for row in rows}) == len(rows)


@target(own_files())
def own_data_is_divided_and_nothing_is_lost(given: Any, folder: Path) -> None:
    ending, content = given
    found = answer(own.load_own, saved(folder, f"own{ending}", content), TOKENIZER)
    if found is REFUSED:
        return
    parts = [{" ".join(row.dialogue.split()) for row in rows} for rows in (found.train, found.validation)]
    assert not parts[0] & parts[1]
    table = tables.read_table(folder / f"own{ending}")
    readable = {
        " ".join(text.readable(with_tags(str(row["dialogue"])).text, TOKENIZER).text.split()) for row in table.rows
    }
    assert parts[0] | parts[1] == readable
    for row in (*found.train, *found.validation):
        for part in (row.dialogue, *row.references):
            assert part.strip()
            assert TOKENIZER.unk_token_id not in TOKENIZER(part)["input_ids"]


@target(own_files((".csv", ".jsonl", ".txt", ".md", "", ".CSV", ".xlsx")))
def summaries_are_written_beside_what_was_read(given: Any, folder: Path) -> None:
    ending, content = given
    table = answer(summarize.read_dialogues, saved(folder, f"mine{ending}", content))
    if table is REFUSED:
        return
    dialogues = answer(summarize.understand, table, TOKENIZER)
    if dialogues is REFUSED:
        return
    assert len(dialogues) == len(table.rows)
    for each in dialogues:
        assert TOKENIZER.unk_token_id not in TOKENIZER(each.text)["input_ids"]
    outputs = [each.with_names('#Person1# says "no", #Person2# 1,5.\n') for each in dialogues]
    out = folder / "out"
    summarize.write_summaries(table, {summarize.OUTPUT: outputs}, out)
    written = out.read_bytes().decode()
    if ending.lower() == ".csv":
        again = list(csv.DictReader(io.StringIO(written, newline="")))
    elif ending == ".jsonl":
        again = [json.loads(line) for line in written.split("\n") if line]
    else:
        assert written == outputs[0] + "\n"
        return
    assert again == [row | {"output": each} for row, each in zip(table.rows, outputs, strict=True)]


@target(texts)
def a_readable_text_has_nothing_unknown(given: str, folder: Path) -> None:
    made = text.readable(given, TOKENIZER)
    assert TOKENIZER.unk_token_id not in TOKENIZER(made.text)["input_ids"]
    assert text.readable(made.text, TOKENIZER) == text.Readable(made.text, "")
    if given.isascii() and TOKENIZER.unk_token_id not in TOKENIZER(given)["input_ids"]:
        assert made == text.Readable(given, "")


SPEAKERS = ("Anna", "Bob", "Dr. Anna Lee", "Zoë", "Speaker 2", "O'Neil")
turns = st.lists(st.tuples(st.sampled_from(SPEAKERS), st.text("abc défg.,!?'1", max_size=20)), min_size=1, max_size=9)


@target(turns)
def names_come_back_where_they_stood(given: list[tuple[str, str]], folder: Path) -> None:
    lines = [f"{name}: {what}".strip() for name, what in given]
    dialogue = with_tags("\n".join(lines))
    assert not dialogue.is_plain
    assert dialogue.text.count("#:") == len(lines)
    assert not any(f"{name}:" in dialogue.text for name in SPEAKERS)
    back = dialogue.with_names(dialogue.text)
    assert [" ".join(line.split()) for line in back.splitlines()] == [" ".join(line.split()) for line in lines]


@target(st.tuples(texts, texts), found=(("Anna: Hi.", f"#Person{'9' * 5000}# left."),))
def no_word_of_a_typed_dialogue_is_lost(given: tuple[str, str], folder: Path) -> None:
    typed, summary = given
    dialogue = with_tags(typed)
    dialogue.with_names(summary)
    if dialogue.names:
        kept = "".join(dialogue.with_names(dialogue.text).split()).casefold()
        left_out = "".join(typed.split()).casefold()
        for char in kept:  # what is kept stands in the typed text in this order
            place = left_out.find(char)
            assert place >= 0, char
            left_out = left_out[place + 1 :]
    else:
        assert dialogue.text == typed
