"""The page of all lessons: each claim with its intervals on five seeds, from the records in ``results``."""

from __future__ import annotations

import html
import json
from pathlib import Path
from typing import Any

from course_site.frame import Page
from genai_labs.errors import LabError
from genai_labs.paths import RESULTS

RECORDS = {"lab1": "Lab 1", "lab2": "Lab 2", "lab3": "Lab 3", "companion": "Companion"}
WIDTH, MARGIN, LINE = 400, 8, 9  # of a drawing; LINE: from one seed to the next
ABOUT = (
    "Every claim of the labs is a lesson: it is measured in front of whoever runs the notebook. Here each has its "
    "effect with a 95 % interval, on five seeds, one line each, seed 0 on top; the upright line is 0. Every lesson has "
    "a scale of its own, whose ends are written below. Other seeds train anew, draw other exemplars and samples, and "
    "measure on half of the test dialogues."
)


def lessons_page(folder: Path = RESULTS) -> Page:
    """The page. Raises LabError where a record is missing or damaged."""
    parts = [f'<h1>What was measured</h1>\n<p class="lead">{html.escape(ABOUT)}</p>']
    for name, title in RECORDS.items():
        record = read_record(folder / f"{name}_seeds.json")
        heading = f'<h2 id="{title.lower().replace(" ", "-")}">{title}</h2>'
        made = f"Made by <code>{html.escape(record['command'])}</code>, profile {html.escape(record['profile'])}."
        parts += [heading, f'<p class="hint">{made}</p>', *map(lesson_html, record["lessons"])]
    return Page("lessons.html", "Lessons and their intervals", "\n".join(parts))


def read_record(path: Path) -> dict[str, Any]:
    """A record of lessons on several seeds."""
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        if not record["lessons"]:
            raise ValueError("it holds no lesson")
    except (OSError, ValueError, KeyError) as error:
        raise LabError(
            f"The lessons cannot be shown: {path.name} is missing or damaged ({error}). Restore it with: "
            f"git checkout -- results/{path.name}"
        ) from error
    return dict(record)


def lesson_html(lesson: dict[str, Any]) -> str:
    """One lesson: its claim, what became of it, and a drawing of its intervals."""
    first = next(iter(lesson["seeds"].values()))
    what = f"{first['effect']:.3f} [{first['low']:.3f}, {first['high']:.3f}] on seed 0, n = {first['n']}"
    answers = [f"{answer} on {count}" for answer, count in lesson["answers"].items()]
    holds = lesson["holds_on"] == lesson["measured_on"]
    verdict = (
        f"<b>open question</b>: {html.escape(', '.join(answers))}"
        if answers
        else f'<b class="{"holds" if holds else "fails"}">holds on {lesson["holds_on"]} of {lesson["measured_on"]}</b>'
    )
    return (
        f'<section class="lesson" id="{lesson["id"]}"><p><b>{lesson["id"]}</b> {html.escape(lesson["claim"])}</p>'
        f'<p class="verdict">{verdict}; {html.escape(lesson["metric"])}: {what}</p>{draw_intervals(lesson)}</section>'
    )


def draw_intervals(lesson: dict[str, Any]) -> str:
    """A line for each seed from the lower to the upper end of its interval, and a mark at 0."""
    seeds = list(lesson["seeds"].values())
    low, high = min(0.0, *(s["low"] for s in seeds)), max(0.0, *(s["high"] for s in seeds))
    scale = (WIDTH - 2 * MARGIN) / ((high - low) or 1)

    def x(value: float) -> str:
        return f"{MARGIN + (value - low) * scale:.1f}"

    tall = LINE * len(seeds) + 10
    ends = {MARGIN: low, WIDTH - MARGIN: high} if low < high else {MARGIN: 0.0}
    scale_of = "".join(
        f'<text x="{at}" y="{tall + 12}" text-anchor="{"start" if at == MARGIN else "end"}">{value:.3g}</text>'
        for at, value in ends.items()
    )
    lines = [f'<path d="M{x(0)} 0V{tall}" stroke="currentColor" stroke-opacity=".5"/>']
    for place, seed in enumerate(seeds):
        y = 9 + LINE * place
        lines.append(f'<path d="M{x(seed["low"])} {y}H{x(seed["high"])}" stroke="currentColor" stroke-width="2"/>')
        lines.append(f'<circle cx="{x(seed["effect"])}" cy="{y}" r="3" fill="currentColor"/>')
    said = "; ".join(f"{s['effect']:.3f} from {s['low']:.3f} to {s['high']:.3f}" for s in seeds)
    return f'<svg viewBox="0 0 {WIDTH} {tall + 16}" role="img" aria-label="{said}">{"".join(lines)}{scale_of}</svg>'
