"""What ``python -m genai_labs instructions`` measured (``results/lab2_instruction_tuning.json``), and a table of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from genai_labs.show.measured import read_measured

FILE = "lab2_instruction_tuning"
DRAWN = ("summary, ROUGE-1", "summary, new wordings, ROUGE-1", "topic", "new task: who did it")


def read_instructions() -> dict[str, Any]:
    """The record as it was written. Raises LabError where it is missing or damaged."""
    return read_measured(FILE, "measures", "python -m genai_labs instructions (about half an hour)")


def instructions_table(record: dict[str, Any], shown: Sequence[str] = DRAWN) -> list[dict[str, Any]]:
    """A row for each tuning: in the tests that are shown the mean over seeds, and its 95 % interval over examples."""
    return [
        {"tuned on": name} | {each: "{:z.2f} [{:z.2f}, {:z.2f}]".format(*tests[each]["interval"]) for each in shown}
        for name, tests in record["measures"].items()
    ]
