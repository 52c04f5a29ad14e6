"""The checker of scenario files: whatever a file holds, findings or an error in words."""

import copy
import random
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from embedded_world.corpus import check, content
from embedded_world.corpus.dialogue import draw_values
from embedded_world.corpus.shape import shape_problems
from genai_labs.errors import LabError
from genai_labs.paths import CONTENT
from tests.mutations import damaged_bytes, damaged_tree

FILE = CONTENT / "scenarios" / "unseen_1.yaml"
SCENARIO: dict[str, Any] = content.read_yaml(FILE)[0]
ODD: list[Any] = ["", "x", [], {}, [[]], {"a": "b"}, ["a", ["b"]], "{nobody}", "{", "[a|b]", "a" * 3000, [""]]


def run(text: str | bytes, folder: Path, *options: str) -> int:
    path = folder / "some.yaml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return check.main([str(path), *options])


def test_a_file_without_problems_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    assert check.main([str(FILE), "--samples", "2"]) == 0
    shown = capsys.readouterr().out
    assert "4 scenarios that can be read, 0 problems" in shown
    assert shown.count("#Person1#: ") >= 2


@pytest.mark.parametrize("part", SCENARIO)
def test_a_part_that_is_missing_is_named(part: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    raw = {name: value for name, value in SCENARIO.items() if name != part}
    assert run(yaml.safe_dump([raw]), tmp_path) == 1
    assert f"{part} is missing" in capsys.readouterr().out
    with pytest.raises(LabError, match=f"{part} is missing"):
        content.parse_scenario(raw, unseen=True)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("- id: a", "topic is missing"),
        ("- 5", "has to have the parts"),
        ("", "has to hold a list"),
        ("a: b", "has to hold a list"),
        ("[]", "its list is empty"),
        ("- [", "not valid YAML"),
        (b"- \xff", "not written in UTF-8"),
        ("- \x07", "not valid YAML"),
        ("[" * 200_000, "nested too deeply"),
        ("- " * 200_000, "nested too deeply"),
        ("? " * 200_000, "nested too deeply"),
        ("- {a: " + "{a: " * 200_000, "nested too deeply"),
        ("- &a [*a]", "not valid YAML"),
    ],
)
def test_what_is_wrong_is_said(
    text: str | bytes, words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(text, tmp_path) in (1, 2)
    said = capsys.readouterr()
    assert words in said.out + said.err
    assert len(said.out + said.err) < 2000


def test_a_few_lines_that_stand_for_gigabytes_are_not_written_out(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = ["- id: &l0 [x, x]", *(f"  k{n}: &l{n} [{', '.join([f'*l{n - 1}'] * 9)}]" for n in range(1, 30))]
    assert run("\n".join([*lines, "  main: *l29", "  summary: *l29"]), tmp_path) == 1
    assert len(capsys.readouterr().out) < 5000


def test_files_that_cannot_be_opened_and_scenarios_that_are_not_there_are_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for path in (tmp_path, tmp_path / "nothing.yaml", tmp_path / ("a" * 300)):
        assert check.main([str(path)]) == 2
        assert path.name in capsys.readouterr().err
    assert check.main([str(FILE), "--only", "nobody"]) == 0
    assert "No scenario without problems is called nobody" in capsys.readouterr().out


@pytest.mark.parametrize("seed", range(150))
def test_a_damaged_file_gives_findings_or_an_error_in_words(
    seed: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rng = random.Random(f"scenario-{seed}")
    text = yaml.safe_dump([SCENARIO])
    if seed % 3:
        tree = copy.deepcopy([SCENARIO])
        for _ in range(rng.choice([1, 1, 2, 4])):
            tree = damaged_tree(tree, rng, rng.choice([2, 3, 6]), ODD)
        text = yaml.safe_dump(tree)
    status = run(damaged_bytes(text.encode(), rng) if not seed % 3 else text, tmp_path)
    said = capsys.readouterr()
    assert bool(said.err) == (status == 2)
    assert status == 0 or re.search(r"\b[1-9]\d* problems?$", said.out, re.MULTILINE) or said.err


def test_slots_that_cannot_differ_are_said_and_not_tried_for_ever() -> None:
    raw = SCENARIO | {"slots": {name: ["a", "b", "c", "d", "e"] for name in "uvwxyz"}}
    assert shape_problems(raw) == []
    scenario = content.parse_scenario(raw, unseen=True)
    with pytest.raises(LabError, match="Give them lists of their own"):
        draw_values(scenario, random.Random(0))


def test_a_slot_that_only_a_question_names_is_a_problem() -> None:
    raw = copy.deepcopy(SCENARIO)
    raw["questions"][0]["q"] = "Who is {nobody}?"
    found = list(content.scenario_problems(content.parse_scenario(raw, unseen=True)))
    assert any("unknown field {nobody} in the question" in problem for problem in found)


@pytest.mark.parametrize("text", ["", "[]", "person: x", "person: []", "person: [[a]]", "person:"])
def test_a_damaged_file_of_pools_is_said(text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "pools.yaml").write_text(text, encoding="utf-8")
    monkeypatch.setattr(content, "CONTENT", tmp_path)
    with pytest.raises(LabError, match=r"pools\.yaml"):
        content.pools.__wrapped__()
