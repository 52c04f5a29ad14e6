"""Whatever a file, a cell or a command line holds: a result, or an error in words; never another exception.

What is tried stands in tests/fuzzing: inputs that are right, nearly right and wild, each with what must be true of the
answer. `make test` tries QUICK inputs, the same every time; `make test-all` LONG others, drawn anew.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.fuzzing import cells, damage, files, folders, lines, settings_of, shown  # noqa: F401 (they fill TARGETS)
from tests.fuzzing.inputs import TARGETS, Target

QUICK, LONG = 500, 10_000  # inputs in all


def share(target: Target, total: int) -> int:
    """How many of the inputs a target gets, by its weight, rounded up."""
    return -(-total * target.weight // sum(each.weight for each in TARGETS.values()))


def attack(target: Target, folder: Path, count: int, **how: Any) -> int:
    """Try what once failed, and ``count`` drawn inputs; returns how many were drawn."""
    drawn: list[None] = []

    def attempt(one: Any) -> None:
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        target.check(one, folder)

    for one in target.found:
        attempt(one)

    @settings(max_examples=count, deadline=None, database=None, suppress_health_check=list(HealthCheck), **how)
    @given(st.data())
    def attack_once(data: st.DataObject) -> None:
        one = data.draw(target.inputs)
        drawn.append(None)
        attempt(one)

    attack_once()
    return len(drawn)


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder to be in, in which labs write, too."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GENAI_LABS_OUT", str(tmp_path / "out"))
    for name in [name for name in os.environ if name.startswith("GENAI_LABS_") and name != "GENAI_LABS_OUT"]:
        monkeypatch.delenv(name)
    return tmp_path / "inputs"


@pytest.mark.parametrize("name", TARGETS)
def test_whatever_comes_is_answered(name: str, place: Path) -> None:
    count = share(TARGETS[name], QUICK)
    assert attack(TARGETS[name], place, count, derandomize=True) >= count


@pytest.mark.slow
@pytest.mark.parametrize("name", TARGETS)
def test_whatever_else_comes_is_answered(name: str, place: Path) -> None:
    count = share(TARGETS[name], LONG)
    assert attack(TARGETS[name], place, count, print_blob=True) >= count
