"""Result files: JSON and Markdown of one record."""

import json
from pathlib import Path

import pytest

from genai_labs.show.results import table, versions, write


def test_a_record_is_written_as_json_and_as_a_page_that_is_printed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    page = f"# Results\n\n{table(('a', 'b'), [(1, 'x')])}\n"
    write({"a": 1}, page, tmp_path / "new", "bench")
    assert json.loads((tmp_path / "new" / "bench.json").read_text(encoding="utf-8")) == {"a": 1}
    assert (tmp_path / "new" / "bench.md").read_text(encoding="utf-8") == page
    assert capsys.readouterr().out == page + "\n"
    assert page.splitlines()[2:] == ["| a | b |", "| --- | --- |", "| 1 | x |"]


def test_versions_name_what_decides_what_a_model_says() -> None:
    assert set(versions()) == {"python", "torch", "transformers", "genai_labs"}
