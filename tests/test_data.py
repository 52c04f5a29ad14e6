"""Loading data: references of a dialogue together, baselines, and errors in words."""

from pathlib import Path

import pytest

from genai_labs import data
from genai_labs.errors import LabError
from genai_labs.profiles import load_profile

SHARED = Path(__file__).resolve().parents[2] / "shared" / "data" / "dialogsum"


def write(folder: Path, text: str) -> str:
    (folder / "test.csv").write_text(text, encoding="utf-8")
    return str(folder)


def test_references_of_a_dialogue_come_together() -> None:
    rows = data.load_split(load_profile("mini").dataset, "test")
    assert len(rows) == 500
    assert {len(row.references) for row in rows} == {3}
    assert all(row.id.count("_") == 1 for row in rows)
    assert {len(row.references) for row in data.load_split(load_profile("mini").dataset, "unseen")} == {1}


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
