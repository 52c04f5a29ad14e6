"""What a class will measure: the effects of each lesson on five seeds, as stored, for docs/instructors.md."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

from genai_labs.course.runner import EVERY_NOTEBOOK, name_of_lab
from genai_labs.course.seeds import stem
from genai_labs.errors import LabError
from genai_labs.paths import RESULTS, ROOT
from genai_labs.show.results import table
from genai_labs.system import files

PAGE = ROOT / "docs" / "instructors.md"
BEGIN = "<!-- Written by `python -m genai_labs handout --bands`; do not edit by hand. -->"
END = "<!-- End of what is written by that command. -->"


def renew() -> str:
    """Write the tables into docs/instructors.md. Returns what was done. Raises LabError where that is not possible."""
    with files.faults_in_words(PAGE.parent):
        old = PAGE.read_text(encoding="utf-8")
        new = with_bands(old)
        if new != old:
            files.write_whole(PAGE, new)
    return f"{PAGE.relative_to(ROOT).as_posix()} {'is brought up to date' if new != old else 'was up to date'}."


def with_bands(page: str) -> str:
    """The page with the tables of now between its two marks. Raises LabError where these are missing."""
    before, mark, rest = page.partition(BEGIN)
    _, closing, after = rest.partition(END)
    if not (mark and closing):
        raise LabError(
            f"The bands cannot be written, because {PAGE.name} lacks one of the lines between which they belong. To "
            f"get the committed page back: git checkout -- docs/{PAGE.name}"
        )
    return f"{before}{BEGIN}\n\n{as_tables()}\n\n{END}{after}"


def as_tables() -> str:
    """A table a lab: lesson, claim, effects from the smallest to the largest of the seeds, and its verdicts."""
    return "\n\n".join(_of_lab(lab) for lab in EVERY_NOTEBOOK)


def _of_lab(lab: int) -> str:
    record = json.loads((RESULTS / f"{stem(lab)}_seeds.json").read_text(encoding="utf-8"))
    rows = [_row(lesson) for lesson in record["lessons"]]
    title = f"**{name_of_lab(lab)}, profile {record['profile']}, {len(record['seeds'])} seeds**"
    return f"{title}\n\n{table(('lesson', 'claim or question', 'effects', 'their 95 % intervals', 'verdicts'), rows)}"


def _row(lesson: dict[str, Any]) -> tuple[str, ...]:
    seeds = [row for row in lesson["seeds"].values() if row]
    effects = sorted(row["effect"] for row in seeds)
    low, high = min(row["low"] for row in seeds), max(row["high"] for row in seeds)
    verdicts = Counter(row["verdict"] for row in seeds)
    said = ", ".join(f"{verdict} on {count}" for verdict, count in verdicts.most_common())
    once = len({str(row) for row in seeds}) == 1
    return (
        lesson["id"],
        f"{lesson['claim']} ({lesson['metric']})",
        f"{effects[0]:z.3f}" if once else f"{effects[0]:z.3f} to {effects[-1]:z.3f}",
        f"within {low:z.3f} and {high:z.3f}",
        next(iter(verdicts)) if once else said,
    )
