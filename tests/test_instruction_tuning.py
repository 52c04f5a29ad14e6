"""Instruction tuning in the small: nothing tested is tuned on, nothing is done twice, the page says what was found."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from benchmarks import instruction_tuning as tuning
from genai_labs.errors import LabError
from genai_labs.finetuning import instructions
from genai_labs.paths import RESULTS
from genai_labs.prompting import prompts
from genai_labs.show import measured

MEASURES = instructions.DRAWN


@pytest.mark.parametrize("name", tuning.TUNINGS)
def test_as_many_examples_of_each_task_and_the_same_by_the_same_seed(name: str) -> None:
    tasks = tuning.TUNINGS[name]
    drawn = tuning.mixture(tasks, 100, 1)
    counts = Counter(each.task for each in drawn)
    assert set(counts) == set(tasks)
    assert max(counts.values()) - min(counts.values()) <= 1
    assert sum(counts.values()) == 100
    assert drawn == tuning.mixture(tasks, 100, 1)
    assert drawn != tuning.mixture(tasks, 100, 2)


def test_nothing_of_a_test_is_tuned_on() -> None:
    read = {each.source for task in tuning.MAKERS for each in tuning.examples_to_tune_on(task, 0)}
    asked = {source for test in tuning.instruction_tests().values() for source, _ in test}
    assert not read & asked
    new = [*prompts.NEW_WORDINGS, *tuning.TOPIC_WORDINGS]
    around = [part for wording in new for part in wording.split("{dialogue}") if len(part) > 10]
    assert len(around) >= len(new) - 5
    assert [part for part in around if any(part in source for source in read)] == []
    assert not any("Question: Who " in source and "#Person" in source for source in read), "the new task"


def test_tests_ask_for_what_they_say() -> None:
    found = tuning.instruction_tests()
    assert {len(asked) for asked in found.values()} == {tuning.TESTED}
    old, new = found["summary"], found["summary, new wordings"]
    assert [right for _, right in old] == [right for _, right in new]
    assert len({source.split("#Person1#")[0] for source, _ in new}) > 5
    assert [right for _, right in found["topic"]] == [right for _, right in found["topic, new wordings"]]
    assert {answer for _, right in found[tuning.NEW_TASK] for answer in right} == set(tuning.SPEAKERS)


@pytest.fixture
def record(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> dict[str, Any]:
    """A record of models that were not trained; how good they are follows from the number of tasks."""
    tuned: list[tuple[int, int]] = []

    def scores(level: float, seed: int) -> dict[str, list[float]]:
        return {each: (np.random.default_rng(seed).random(40) / 5 + level).tolist() for each in MEASURES}

    def tune(_: Any, __: Any, tasks: Any, count: int, seed: int) -> dict[str, Any]:
        tuned.append((len(tasks), seed))
        read = {"tokens of prompts": count, "tokens of answers": count, "validation loss": 1.0}
        return {"scores": scores(len(tasks) / 10, seed), "seconds": 1.0} | read

    monkeypatch.setattr(tuning.models, "load_model", lambda _: (SimpleNamespace(), None))
    monkeypatch.setattr(tuning, "fingerprint", lambda _: "f")
    monkeypatch.setattr(tuning, "tested", lambda *_: scores(0.0, 0))
    monkeypatch.setattr(tuning, "tuned", tune)
    made = tuning.tune_and_test(2, 64, tmp_path / "kept.jsonl")
    assert sorted(tuned) == [(tasks, seed) for tasks in (1, 4, 8) for seed in (0, 1)]
    with (tmp_path / "kept.jsonl").open("a", encoding="utf-8") as file:
        file.write('{"key": "half a line')  # of a command that was killed
    again = tuning.tune_and_test(2, 64, tmp_path / "kept.jsonl")
    assert len(tuned) == 6, "what is done is not done again"
    assert again == made
    return made


def test_the_record_holds_means_seeds_and_differences(record: dict[str, Any]) -> None:
    found = record["measures"]["8 tasks"]["topic"]
    assert found["interval"][0] == pytest.approx(np.mean(found["seeds"]), abs=1e-3)
    assert len(found["seeds"]) == 2
    assert record["differences"]["8 tasks minus 1 task"]["topic"] == pytest.approx([0.7] * 3, abs=1e-3)


def test_page_table_and_figure_say_the_same(record: dict[str, Any]) -> None:
    page, rows = tuning.instructions_page(record), instructions.instructions_table(record)
    assert [row["tuned on"] for row in rows] == ["not tuned", "1 task", "4 tasks", "8 tasks", tuning.TAUGHT]
    assert all(row["topic"] in page for row in rows)
    assert "+0.700 [+0.700, +0.700]" in page
    assert "topic" in repr(tuning.instructions_plot(record))
    assert tuning.instructions_plot(record).png()[:4] == b"\x89PNG"


def test_the_committed_record_is_read_and_a_damaged_one_is_said_in_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = instructions.read_instructions()
    rows = instructions.instructions_table(found)
    assert [row["tuned on"] for row in rows] == list(found["measures"])
    page = tuning.instructions_page(found)
    assert (RESULTS / f"{instructions.FILE}.md").read_text(encoding="utf-8") == page
    widths = [[line.count("|") for line in part.splitlines()] for part in page.split("\n\n") if part.startswith("|")]
    assert len(widths) == 3
    assert all(len(set(each)) == 1 for each in widths), "each row has as many cells as the head"
    for row, tests in zip(rows, found["measures"].values(), strict=True):
        for each in instructions.DRAWN:
            mean, low, high = tests[each]["interval"][:3]
            assert row[each] == f"{mean:z.2f} [{low:z.2f}, {high:z.2f}]"
    figure = repr(tuning.instructions_plot(found))
    for test in instructions.DRAWN:
        assert test in figure
    monkeypatch.setattr(measured, "RESULTS", tmp_path)
    for damage in (None, "{", '{"tunings": {}}'):
        if damage is not None:
            (tmp_path / f"{instructions.FILE}.json").write_text(damage, encoding="utf-8")
        with pytest.raises(
            LabError, match=r"lab2_instruction_tuning\.json is missing.*python -m genai_labs instructions"
        ):
            instructions.read_instructions()
