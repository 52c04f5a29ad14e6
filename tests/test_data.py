"""Loading data: references of a dialogue together, baselines, and errors in words."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from genai_labs.errors import LabError
from genai_labs.loading import data
from genai_labs.loading.profiles import load_profile
from genai_labs.paths import DIALOGUES, READING
from genai_labs.scoring import baselines
from genai_labs.scoring.content import content_f1
from genai_labs.scoring.intervals import paired_bootstrap
from genai_labs.scoring.metrics import rouge_scores
from genai_labs.show import scoreboard
from genai_labs.show.scoreboard import Scoreboard
from tests.variants import Variant, assert_noticed

SHARED = Path(__file__).resolve().parents[2] / "shared" / "data" / "dialogsum"


def write(folder: Path, text: str) -> str:
    (folder / "test.csv").write_text(text, encoding="utf-8")
    return str(folder)


def test_references_of_a_dialogue_come_together() -> None:
    rows = data.load_split(load_profile("mini").dataset, "test")
    assert len(rows) == 500
    assert {len(row.references) for row in rows} == {3}
    assert all(row.id.count("_") == 1 for row in rows)
    assert {len(row.references) for row in data.load_split(load_profile("mini").dataset, "unseen")} == {3}
    assert {len(row.references) for row in data.load_split(load_profile("mini").dataset, "validation")} == {1}


@pytest.mark.skipif(not SHARED.exists(), reason="the real DialogSum rows lie outside the repository")
def test_the_real_data_set_is_read_the_same_way() -> None:
    rows = data.load_split(str(SHARED), "test")
    assert len(rows) == 50
    assert all(row.dialogue.startswith("#Person") and row.summary and row.topic for row in rows)


def test_a_missing_split_is_named_with_the_ones_there_are(tmp_path: Path) -> None:
    with pytest.raises(LabError, match=r"dev\.csv is missing \(found: test\.csv\)"):
        data.load_split(write(tmp_path, "id,dialogue,summary,topic\n"), "dev")


def test_missing_columns_are_named(tmp_path: Path) -> None:
    with pytest.raises(LabError, match="lacks the columns dialogue, summary"):
        data.load_split(write(tmp_path, "id,text,topic\n1,a,b\n"), "test")


def test_an_empty_dialogue_is_refused_with_its_line(tmp_path: Path) -> None:
    with pytest.raises(LabError, match=r"Line 3 of test\.csv \(id t2\) has an empty dialogue"):
        data.load_split(write(tmp_path, "id,dialogue,summary,topic\nt1,#Person1#: Hi,x,y\nt2, ,x,y\n"), "test")


def test_something_that_is_no_csv_is_refused(tmp_path: Path) -> None:
    (tmp_path / "test.csv").write_bytes(b"\xff\xfe\x00\x81")
    with pytest.raises(LabError, match="cannot be read as a CSV"):
        data.load_split(str(tmp_path), "test")


def test_the_baselines_read_nothing_but_the_dialogue() -> None:
    dialogue = "#Person1#: One.\n#Person2#: Two is longer.\n#Person1#: Three.\n#Person2#: Four."
    assert data.first_turns(dialogue) == "One. Two is longer. Three."
    assert data.longest_turn(dialogue) == "Two is longer."


def test_another_summary_is_never_the_own_one() -> None:
    rows = [data.Row(str(i), f"#Person1#: {i}", (f"summary {i}",), "t") for i in range(30)]
    others = data.other_summaries(rows, seed=3)
    assert sorted(others) == sorted(row.summary for row in rows)
    assert all(other != row.summary for other, row in zip(others, rows, strict=True))
    assert others == data.other_summaries(rows, seed=3)
    with pytest.raises(LabError, match="only one dialogue, and so no summary of another"):
        data.other_summaries(rows[:1])
    assert data.other_summaries([]) == []


def test_two_dialogues_never_get_one_id() -> None:
    def ids(*pairs: tuple[str, str]) -> list[str]:
        return [row.id for row in data.group([{"id": i, "dialogue": d, "summary": "s", "topic": ""} for i, d in pairs])]

    assert ids(("train_5", "A"), ("train_6", "A"), ("train_9", "B"), ("train_10", "B")) == ["train_5", "train_9"]
    assert ids(("a", "A"), ("a_1", "B"), ("a_2", "B")) == ["a", "a_1"]
    assert ids(("test_0_1", "A"), ("test_0_2", "A"), ("test_1_1", "B"), ("test_1_2", "B")) == ["test_0", "test_1"]


TRAILING = "id,dialogue,summary,topic\n1,D,S,T,\n2,D2,S2,T2,\n"


def test_a_comma_too_many_moves_no_column(tmp_path: Path) -> None:
    with pytest.raises(LabError, match="Line 2 of test.csv has 5 fields, and the first line names 4") as caught:
        data.load_split(write(tmp_path, TRAILING), "test")
    assert "Line 3 of test.csv has 5 fields" in str(caught.value)
    with pytest.raises(LabError, match="has 3 fields"):
        data.load_split(write(tmp_path, "id,dialogue,summary,topic\n1,D,S\n"), "test")


def test_all_that_is_wrong_is_said_at_once_with_lines_of_the_file(tmp_path: Path) -> None:
    with pytest.raises(LabError, match="There are 3 problems with test.csv") as caught:
        data.load_split(write(tmp_path, 'id,dialogue,summary,topic\na,"x\ny",s,t\nb, ,s,t\nc,x, ,t\nd,x\n'), "test")
    said = str(caught.value)
    for words in ("Line 4 of test.csv (id b) has an empty dialogue", "(id c) has an empty summary", "Line 6 of"):
        assert words in said


def test_a_thousand_problems_are_counted_and_twenty_listed(tmp_path: Path) -> None:
    with pytest.raises(LabError, match="(?s)There are 1000 problems .*- and 980 more") as caught:
        data.load_split(write(tmp_path, "id,dialogue,summary,topic\n" + "a\n" * 1000), "test")
    assert str(caught.value).count("\n- Line") == 20


def lines(folder: Path, text: str | bytes) -> str:
    path = folder / "dialogsum.test.jsonl"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return str(folder)


def test_json_lines_may_hold_unicode_line_ends_and_several_summaries(tmp_path: Path) -> None:
    text = '{"fname": "t_1", "dialogue": "a\u2028b\x85c", "summary1": "S", "summary2": "Z", "topic1": "x"}\r\n\n'
    (row,) = data.load_split(lines(tmp_path, text), "test")
    assert row == data.Row("t_1", "a\u2028b\x85c", ("S", "Z"), "x")
    (row,) = data.load_split(lines(tmp_path, '{"dialogue": "d", "summary": "s", "situation": "lost keys"}'), "test")
    assert row.situation == "lost keys"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('{"dialogue": null, "summary": "s"}', "has a dialogue that is no text but null"),
        ('{"dialogue": "d", "summary": ["s"]}', "has a summary that is no text but a list"),
        ('{"dialogue": "d"}', "has no summary"),
        ('{"summary": "s"}', "has no dialogue"),
        ('{"dialogue": "d", "summary": "\\ud800"}', "lone surrogate"),
        ('["d", "s"]', "is a list, and an object is wanted"),
        ("7", "is a single value"),
        ("{" * 9, "is not JSON"),
        ('{"a":' * 100_000, "not JSON"),
        (b'{"dialogue": "\xff"}', "in UTF-8: line 1"),
        ("", "is empty"),
    ],
)
def test_json_lines_that_are_no_rows_are_refused_in_words(text: str | bytes, words: str, tmp_path: Path) -> None:
    with pytest.raises(LabError, match=words):
        data.load_split(lines(tmp_path, text), "test")


def test_ids_and_topics_that_are_no_words_are_left_out(tmp_path: Path) -> None:
    text = '{"id": [[]], "dialogue": "d", "summary": "s", "topic": {}}\n{"id": 7, "dialogue": "e", "summary": "s"}'
    assert [(row.id, row.topic) for row in data.load_split(lines(tmp_path, text), "test")] == [
        ("test_0", ""),
        ("7", ""),
    ]


def test_baselines_of_nothing_are_empty_and_fewer_than_no_turns_are_refused() -> None:
    assert data.longest_turn("") == data.first_turns("") == data.first_turns("#Person1#: Hi.", 0) == ""
    with pytest.raises(LabError, match="cannot be fewer than 0"):
        data.first_turns("#Person1#: Hi.", -1)


# Wrong variants that a test must notice.

GROUP = data.group
WRONG = {
    "the first reference alone": Variant(
        data,
        "group",
        lambda records: [replace(row, references=row.references[:1]) for row in GROUP(records)],
        test_references_of_a_dialogue_come_together,
    ),
    "each reference a dialogue of its own": Variant(
        data,
        "group",
        lambda records: [row for each in records for row in GROUP([each])],
        test_references_of_a_dialogue_come_together,
    ),
    "other summaries are the own ones": Variant(
        data,
        "other_summaries",
        lambda rows, seed=0: [row.summary for row in rows],
        test_another_summary_is_never_the_own_one,
    ),
    "the last turns for the first": Variant(
        data,
        "first_turns",
        lambda dialogue: " ".join(line.split(": ", 1)[-1] for line in dialogue.splitlines()[-3:]),
        test_the_baselines_read_nothing_but_the_dialogue,
    ),
    "the longest turn with its tag": Variant(
        data,
        "longest_turn",
        lambda dialogue: max(dialogue.splitlines(), key=len),
        test_the_baselines_read_nothing_but_the_dialogue,
    ),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_variant_is_noticed(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert_noticed(WRONG[name], monkeypatch)


def test_dialogues_name_their_situation_or_stand_alone(tmp_path: Path) -> None:
    names = data.situations(data.load_split(DIALOGUES, "test")[:200])
    assert (len(names), len(set(names))) == (200, 105)
    composed = data.situations(data.load_split(READING, "test"))
    assert len(composed) == 500
    assert 250 < len(set(composed)) < 500
    written = data.load_split(DIALOGUES, "handwritten")
    assert len(set(data.situations(written))) == len(written)
    (tmp_path / "test.csv").write_text("id,dialogue,summary,topic\n,A: Hi,S,x\n,A: Hello,S,x\n", encoding="utf-8")
    assert len(set(data.situations(data.load_split(tmp_path, "test")))) == 2


def test_a_scoreboard_takes_dialogues_of_one_situation_together() -> None:
    rows = data.load_split(DIALOGUES, "test")[:60]
    board = Scoreboard(rows, data.load_split(DIALOGUES, "train")[:200])
    names = data.situations(rows)
    for kind, scores in (("rouge1", board["longest turn"]), ("content", board.content("longest turn"))):
        assert board.interval("longest turn", kind) == paired_bootstrap(scores, clusters=names)
        assert board.interval("longest turn", kind) != paired_bootstrap(scores)


# What a scoreboard shows, and wrong variants that a test must notice.

DULL = "#Person1# and #Person2# were here with them"  # not a word of content
SAID = ("a copper kettle", "two ladders", "his violin", "the blue boat")
FEW = [
    data.Row(
        str(i),
        f"#Person1#: Could you mend {thing} for me?\n#Person2#: Sorry, no.\n#Person1#: Oh.",
        (f"{DULL} and {thing}.", f"Now {thing} will be mended."),
        "t",
    )
    for i, thing in enumerate(SAID)
]
LEARNED = [data.Row("l", "#Person1#: Mend the violin, please.\n#Person2#: Yes.", ("A violin is mended.",), "t")]
LEARNED += [data.Row("m", "#Person1#: Where is the boat?\n#Person2#: Gone.", ("#Person1# misses a boat.",), "t")]


def check_a_board_has_the_baselines_of_its_rows() -> None:
    board = scoreboard.Scoreboard(FEW, LEARNED)
    expected = baselines.baselines(FEW, LEARNED)
    assert board.baselines == tuple(expected)
    assert len(set(board.baselines)) == 6
    assert board.outputs == expected
    given = scoreboard.Scoreboard(FEW, LEARNED, "xyzzy")
    assert set(given.outputs[baselines.FIXED_STRING]) == {"xyzzy"}
    assert not given[baselines.FIXED_STRING].any()


def check_content_and_rouge_of_the_best_reference_are_scored() -> None:
    board = scoreboard.Scoreboard(FEW, LEARNED)
    board.add("second reference", [row.references[1] for row in FEW])
    board.add("dull", [DULL] * len(FEW))
    references = [list(row.references) for row in FEW]
    assert board["second reference"].tolist() == board.content("second reference").tolist() == [1.0] * 4
    assert not board.content("dull").any()
    assert board["dull"].tolist() == rouge_scores([DULL] * 4, references).tolist()
    assert board["dull"].all()
    assert board.content("longest turn").tolist() == content_f1(board.outputs["longest turn"], references).tolist()


def check_the_strongest_baseline_is_that_of_each_measure() -> None:
    board = scoreboard.Scoreboard(FEW, LEARNED, DULL)
    board.add("perfect", [row.summary for row in FEW])
    for kind in scoreboard.KINDS:
        means = {name: board.scores[name][kind].mean() for name in board.baselines}
        assert board.strongest(kind) in means, kind
        assert means[board.strongest(kind)] == max(means.values()), kind
    assert board.strongest() == baselines.FIXED_STRING != board.strongest("content")


def check_tables_show_the_strongest_baseline_or_all() -> None:
    board = scoreboard.Scoreboard(FEW, LEARNED, DULL)
    board.add("perfect", [row.summary for row in FEW])
    everything, named = (" ".join(str(table).split()) for table in (board.table(), board.table("perfect")))
    assert all(name in everything for name in board.baselines)
    assert "perfect" not in everything
    assert scoreboard.BEST_BASELINE not in everything
    assert scoreboard.BEST_BASELINE in named
    assert named.index(scoreboard.BEST_BASELINE) < named.index("perfect")
    for kind, label in scoreboard.KINDS.items():
        best = board.strongest(kind)
        assert f"{board.scores[best][kind].mean():.2f} ({best})" in named, kind
        assert label in everything
        assert label in named


def without_the_given_string(rows: list[data.Row], train: list[data.Row], fixed: str | None) -> dict[str, list[str]]:
    return BASELINES(rows, train)


def of_the_first_reference(texts: list[str], references: list[list[str]], *kind: Any) -> Any:
    return ROUGE(texts, [several[:1] for several in references], *kind)


def all_words(texts: list[str], references: list[list[str]]) -> Any:
    return ROUGE(texts, references)


BASELINES, ROUGE, TABLE = baselines.baselines, rouge_scores, Scoreboard.table
SHOWN = {
    "a string fitted anew": Variant(
        scoreboard, "baselines", without_the_given_string, check_a_board_has_the_baselines_of_its_rows
    ),
    "a baseline left out": Variant(
        scoreboard,
        "baselines",
        lambda *given: dict(list(BASELINES(*given).items())[1:]),
        check_a_board_has_the_baselines_of_its_rows,
    ),
    "ROUGE of the first reference": Variant(
        scoreboard, "rouge_scores", of_the_first_reference, check_content_and_rouge_of_the_best_reference_are_scored
    ),
    "content F1 of all words": Variant(
        scoreboard, "content_f1", all_words, check_content_and_rouge_of_the_best_reference_are_scored
    ),
    "ROUGE in place of content F1": Variant(
        Scoreboard, "content", Scoreboard.__getitem__, check_content_and_rouge_of_the_best_reference_are_scored
    ),
    "the strongest by ROUGE-1 for every measure": Variant(
        Scoreboard,
        "strongest",
        lambda board, kind="rouge1": max(board.baselines, key=lambda name: board[name].mean()),
        check_the_strongest_baseline_is_that_of_each_measure,
    ),
    "the strongest of all that was added": Variant(
        Scoreboard,
        "strongest",
        lambda board, kind="rouge1": max(board.scores, key=lambda name: board.scores[name][kind].mean()),
        check_the_strongest_baseline_is_that_of_each_measure,
    ),
    "all that was added where none is named": Variant(
        Scoreboard,
        "table",
        lambda board, *names: TABLE(board, *(names or board.scores)),
        check_tables_show_the_strongest_baseline_or_all,
    ),
}


@pytest.mark.parametrize("name", SHOWN)
def test_a_wrong_scoreboard_is_noticed(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert_noticed(SHOWN[name], monkeypatch)
