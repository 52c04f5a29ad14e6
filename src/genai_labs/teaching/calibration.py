"""``python -m genai_labs calibration``: how good the guesses of a class were, as tables and pictures.

Files are finished notebooks, or lessons.json of a run. A learner is named after the file, or after its folder where the
file is called as in the course: anna.ipynb and anna/lab1_prompting.ipynb are both of "anna", and so are lab1_anna.ipynb
beside lab1_ben.ipynb, and copies of any of these. Each lesson of a learner counts once. Nothing is executed.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from dataclasses import asdict, replace
from glob import glob
from pathlib import Path
from statistics import median
from typing import Any

from genai_labs.errors import LabError
from genai_labs.inputs.helptext import plain
from genai_labs.inputs.options import writable_folder
from genai_labs.paths import BUILD
from genai_labs.show.predictions import MET, calibration, choices_met, place
from genai_labs.show.record import order
from genai_labs.system import files
from genai_labs.teaching.class_files import STORED, ClassGuess, read_class

PLACES = {"in the interval": ("#00805c", ""), "too low": ("#9cc7e4", "//"), "too high": ("#f0b48a", "\\\\")}


def main(argv: Sequence[str] | None = None) -> int:
    """Print two tables, and write them and two pictures. Raises LabError where no file holds a guess."""
    parser = argparse.ArgumentParser(prog="python -m genai_labs calibration", description=plain(__doc__))
    parser.add_argument("files", nargs="+", type=Path, metavar="FILE", help="notebooks, or lessons.json files")
    parser.add_argument(
        "--out", type=writable_folder, default=BUILD / "calibration", help="where to (default: build/calibration)"
    )
    parser.add_argument("--anonymous", action="store_true", help="number the learners instead of naming them")
    args = parser.parse_args(argv)
    guesses, problems = read_class(filled_in(args.files), args.anonymous)
    for problem in problems:
        print(problem)
    if not guesses:
        raise LabError(
            "Nothing was drawn, because none of the files holds a guess that somebody typed. A guess is a number in "
            'place of None in predict("1.1", None, naive=0.3), or one of its choices where it has some; save the '
            "notebook after running it to its end."
        )
    report_class(anonymous(guesses) if args.anonymous else guesses, args.out)
    return 0


def filled_in(paths: Sequence[Path]) -> list[Path]:
    """The paths, with all that a pattern such as class/*/*.ipynb stands for: shells of Windows hand it on as it is."""
    found = ([path] if os.path.exists(path) else [Path(name) for name in sorted(glob(str(path)))] for path in paths)
    return [each for path, some in zip(paths, found, strict=True) for each in some or [path]]


def report_class(guesses: list[ClassGuess], out: Path) -> None:
    """Print the tables, and write guesses.csv, learners.png and lessons.png. Raises LabError where that fails."""
    import pandas as pd

    from genai_labs.show.display import show_table

    print(show_table(by_learner(guesses), "Learners, the best calibrated first"), "\n")
    print(show_table(by_lesson(guesses), "Lessons, those that surprised most first"))
    if chosen := by_choice(guesses):
        print(f"\n{show_table(chosen, 'Lessons with choices, those that surprised most first')}")
    if any(guess.held_against == STORED for guess in guesses):
        print("\nSome notebooks were not run to their end; their guesses are held against the stored results.")
    with files.faults_in_words(out):
        out.mkdir(parents=True, exist_ok=True)
        pd.DataFrame([asdict(guess) for guess in guesses]).to_csv(out / "guesses.csv", index=False, lineterminator="\n")
        for name, plot in {"learners": draw_learners(guesses), "lessons": draw_lesson_guesses(guesses)}.items():
            (out / f"{name}.png").write_bytes(plot.png())
    print(f"\nThe guesses and two pictures are in {out}")


def anonymous(guesses: list[ClassGuess]) -> list[ClassGuess]:
    """The same guesses, with a number in place of each learner's name, in the order of the names."""
    names = {name: f"learner {number}" for number, name in enumerate(sorted({g.learner for g in guesses}), start=1)}
    return [replace(guess, learner=names[guess.learner]) for guess in guesses]


def by_learner(guesses: list[ClassGuess]) -> list[dict[str, Any]]:
    """A row a learner: guesses, and where they lay; whoever has the largest share in the intervals comes first."""
    rows: list[dict[str, Any]] = []
    any_choice, _ = choices_met(map(asdict, guesses))
    for learner in sorted({guess.learner for guess in guesses}):
        own = [asdict(guess) for guess in guesses if guess.learner == learner]
        found = calibration(own)
        rows.append({"learner": learner, **found, "share": found["in the interval"] / max(1, found["guesses"])})
        if any_choice:
            chosen, met = choices_met(own)
            rows[-1] |= {"choices": chosen, "of these as measured": met}
    rows.sort(key=lambda row: (-row["share"], row["off"]))
    names = {"off": "widths off, median outside", "share": "share in the interval"}
    return [{names.get(key, key): value for key, value in row.items()} for row in rows]


def by_lesson(guesses: list[ClassGuess]) -> list[dict[str, Any]]:
    """A row a lesson: how many guessed, where the guesses lay, their median, and the median interval of the runs."""
    rows = []
    for lesson, here in _of_lessons(_numbers(guesses)).items():
        places = [place(float(guess.guess), guess.low, guess.high) for guess in here]
        rows.append(
            {"lesson": lesson, "guesses": len(here)}
            | {name: places.count(name) for name in PLACES}
            | {"median guess": median(float(guess.guess) for guess in here)}
            | {"interval": f"[{median(g.low for g in here):z.3f}, {median(g.high for g in here):z.3f}]"}
        )
    return sorted(rows, key=lambda row: row["in the interval"] / row["guesses"])


def by_choice(guesses: list[ClassGuess]) -> list[dict[str, Any]]:
    """A row a lesson with choices: how many chose, and how many chose as measured."""
    rows = [
        {"lesson": lesson, "guesses": len(here), MET: sum(guess.guess_was == MET for guess in here)}
        for lesson, here in _of_lessons([guess for guess in guesses if isinstance(guess.guess, str)]).items()
    ]
    return sorted(rows, key=lambda row: float(row[MET]) / float(row["guesses"]))


def _numbers(guesses: list[ClassGuess]) -> list[ClassGuess]:
    return [guess for guess in guesses if not isinstance(guess.guess, str)]


def _of_lessons(guesses: list[ClassGuess]) -> dict[str, list[ClassGuess]]:
    """The guesses of each lesson, in the order of the lessons."""
    lessons = sorted({guess.lesson for guess in guesses}, key=lambda id: order({"id": id}))
    return {lesson: [guess for guess in guesses if guess.lesson == lesson] for lesson in lessons}


def draw_learners(guesses: list[ClassGuess]) -> Any:
    """A bar a learner: how many guesses lay in the interval, too low and too high."""
    from genai_labs.show.figures import INK, add_legend, finished, name_rows, new_axes

    rows = by_learner(guesses)
    axes = new_axes(1.3 + 0.34 * len(rows), "guesses", "", "Where each learner's guesses lay")
    left = [0] * len(rows)
    for name, (color, hatch) in PLACES.items():
        counts = [row[name] for row in rows]
        axes.barh(range(len(rows)), counts, left=left, color=color, hatch=hatch, edgecolor=INK, lw=0.6, label=name)
        left = [start + count for start, count in zip(left, counts, strict=True)]
    name_rows(axes, [row["learner"] for row in rows])
    add_legend(axes)
    lines = [f"{row['learner']}: " + ", ".join(f"{row[name]} {name}" for name in PLACES) for row in rows]
    return finished(axes, "Where each learner's guesses lay", lines)


def draw_lesson_guesses(guesses: list[ClassGuess]) -> Any:
    """A dot a guess in the row of its lesson: how many widths of the interval it lies below or above it."""
    from genai_labs.show.figures import COLORS, finished, name_rows, new_axes

    lessons = _of_lessons(_numbers(guesses))
    label = "widths of the interval below (left) or above (right) it; 0: inside"
    axes = new_axes(1.2 + 0.3 * len(lessons), label, "", "How far off the guesses were")
    axes.axvline(0, color="#00805c", lw=2.5, alpha=0.6)
    lines = []
    for row, (lesson, here) in enumerate(lessons.items()):
        off = sorted(map(widths_off, here))
        step = 0.7 / max(len(off), 8)
        axes.scatter(
            off, [row + step * (i - (len(off) - 1) / 2) for i in range(len(off))], s=16, color=COLORS[0], alpha=0.7
        )
        lines.append(f"{lesson}: " + ", ".join(f"{each:z.1f}" for each in off))
    axes.set_xscale("symlog", linthresh=1)
    axes.xaxis.set_major_formatter("{x:g}")
    name_rows(axes, list(lessons))
    return finished(axes, "How far off the guesses were, in widths of the interval", lines)


def widths_off(guess: ClassGuess) -> float:
    """How many widths of its interval a guessed number lies above (below: negative) the nearer end; 0 inside of it."""
    width, number = max(guess.high - guess.low, 1e-9), float(guess.guess)
    if guess.low <= number <= guess.high:
        return 0.0
    return (number - guess.high if number > guess.high else number - guess.low) / width
