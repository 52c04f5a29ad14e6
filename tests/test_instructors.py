"""docs/instructors.md: plans add up, quotations stand in the checks, bands are those of the results."""

from __future__ import annotations

import re

import nbformat
import pytest

from genai_labs.course.runner import COMPANIONS, EVERY_NOTEBOOK
from genai_labs.errors import LabError
from genai_labs.paths import NOTEBOOKS, PACKAGE
from genai_labs.teaching import bands

TEXT = bands.PAGE.read_text(encoding="utf-8")


def plan(lab: int) -> list[list[str]]:
    """The rows of a lab's plan: section, minutes of 60, minutes of 90, what to say."""
    title = "Companion" if lab in COMPANIONS else f"Lab {lab}"
    (part,) = re.findall(rf"^### {title},.*?(?=^##)", TEXT, re.MULTILINE | re.DOTALL)
    return [
        [cell.strip() for cell in line.strip("|").split("|")] for line in part.splitlines() if re.match(r"\| \d", line)
    ]


@pytest.mark.parametrize("lab", EVERY_NOTEBOOK)
def test_a_plan_has_a_row_for_each_section_of_the_lab(lab: int) -> None:
    cells = nbformat.read(NOTEBOOKS / EVERY_NOTEBOOK[lab], as_version=4).cells
    markdown = "\n".join(cell.source for cell in cells if cell.cell_type == "markdown")
    assert [row[0] for row in plan(lab)] == re.findall(r"^## (\d+\. .*)", markdown, re.MULTILINE)
    assert all(len(row) == 4 and row[3] for row in plan(lab))


@pytest.mark.parametrize("lab", EVERY_NOTEBOOK)
@pytest.mark.parametrize(("column", "minutes"), [(1, 60), (2, 90)])
def test_a_plan_fills_its_time(lab: int, column: int, minutes: int) -> None:
    spent = [row[column] for row in plan(lab)]
    assert sum(int(each) for each in spent if each != "-") == minutes


def test_what_a_check_is_said_to_say_stands_in_a_check() -> None:
    source = "\n".join(path.read_text(encoding="utf-8") for path in PACKAGE.rglob("*.py"))
    source = re.sub(r'"\s*\n\s*f?"', "", source)  # a sentence over two lines
    rows = re.findall(r'^\| [^|]+ \| "([^|]+)" \| [^|]+\? \|$', TEXT, re.MULTILINE)
    assert len(rows) > 15
    assert [row for row in rows if row not in source] == []


def test_the_bands_are_those_of_the_stored_results() -> None:
    assert bands.with_bands(TEXT) == TEXT, "python -m genai_labs handout --bands"


def test_bands_are_written_between_their_marks_and_nowhere_else() -> None:
    page = f"before\n{bands.BEGIN}\nold\n{bands.END}\nafter"
    written = bands.with_bands(page)
    assert written.startswith(f"before\n{bands.BEGIN}\n\n**Lab 1, profile mini")
    assert written.endswith(f"{bands.END}\nafter")
    assert "\nold\n" not in written
    assert bands.with_bands(written) == written
    with pytest.raises(LabError, match="git checkout -- docs/instructors.md"):
        bands.with_bands("no marks")


def test_a_row_of_the_bands_by_hand() -> None:
    seeds = {
        "0": {"effect": 0.5, "low": 0.4, "high": 0.6, "verdict": "holds"},
        "1": {"effect": 0.3, "low": 0.1, "high": 0.5, "verdict": "not shown"},
        "2": None,
    }
    row = bands._row({"id": "1.1", "claim": "So it is", "metric": "score", "seeds": seeds})
    assert row == ("1.1", "So it is (score)", "0.300 to 0.500", "within 0.100 and 0.600", "holds on 1, not shown on 1")
