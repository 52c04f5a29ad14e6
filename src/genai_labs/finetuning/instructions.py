"""What ``python -m genai_labs instructions`` measured (``results/lab2_instruction_tuning.json``): a table, a figure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from genai_labs.errors import LabError
from genai_labs.paths import RESULTS
from genai_labs.show.figures import Plot, line_with_band
from genai_labs.system.run_folder import read_note

FILE = "lab2_instruction_tuning"
DRAWN = ("summary, ROUGE-1", "summary, new wordings, ROUGE-1", "topic", "new task: who did it")


def read_instructions() -> dict[str, Any]:
    """The record as it was written. Raises LabError where it is missing or damaged."""
    found = read_note(RESULTS / f"{FILE}.json")
    if not found or "measures" not in found:
        raise LabError(
            f"{FILE}.json is missing or damaged. The lab reads it from results. Restore it with: git checkout -- "
            "results, or measure it again with: python -m genai_labs instructions (about half an hour)."
        )
    return found


def instructions_table(record: dict[str, Any], shown: Sequence[str] = DRAWN) -> list[dict[str, Any]]:
    """A row for each tuning: in the tests that are shown the mean over seeds, and its 95 % interval over examples."""
    return [
        {"tuned on": name} | {each: "{:z.2f} [{:z.2f}, {:z.2f}]".format(*tests[each]["interval"]) for each in shown}
        for name, tests in record["measures"].items()
    ]


def instructions_plot(record: dict[str, Any]) -> Plot:
    """The scores in the tests of DRAWN over the number of tasks that were tuned on."""
    tuned = {len(tasks): record["measures"][name] for name, tasks in record["tunings"].items()}
    lines = {test: [tuple(found[test]["interval"]) for found in tuned.values()] for test in DRAWN}
    return line_with_band(list(tuned), lines, "tasks tuned on", "score (0 to 1)")
