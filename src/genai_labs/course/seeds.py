"""``python -m genai_labs seeds``: run a lab with several seeds and keep every lesson's verdict.

A seed draws exemplars, samples and what a training starts with; every seed but 0 also draws half of the test dialogues,
and in the companion each seed has problems, questions and dialogues of its own. If it is interrupted, the same command
goes on with the seed that it was at.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import platform
import shutil
import textwrap
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from genai_labs.course.execution import kernel_environment
from genai_labs.course.runner import COMPANIONS, find_notebooks, name_of_lab, run_lab
from genai_labs.errors import Interrupted, LabError
from genai_labs.inputs.arguments import counted
from genai_labs.inputs.helptext import plain
from genai_labs.inputs.options import whole_number, writable_folder
from genai_labs.loading.profiles import SEED_VARIABLE
from genai_labs.paths import DATA, PACKAGE, RESULTS, output_folder
from genai_labs.show.record import FILE, failed_claim, order, read_lessons
from genai_labs.show.results import table, versions, write
from genai_labs.show.verdicts import ANSWERS
from genai_labs.system import files

TEST_ROWS = (
    "Seed 0 has the test dialogues of the notebook; each other seed draws others, from half of all that there are."
)
TEST_ROWS_OF_LAB_1 = (
    f"{TEST_ROWS} The unseen dialogues and those written one by one (1.11, 1.12) are the same on all seeds, and seeds "
    "3 and 4 draw the same first exemplar."
)
TEST_ROWS_OF_COMPANIONS = (
    "Each seed has 100 problems of its own of each kind, 200 of the 1,200 questions of 4.12 and 4.13, 60 of the "
    "120 facts that change (4.10, 4.11) and 240 of 480 dialogues. The 300 questions of 4.14 are the same each time, "
    "halved in another way; the 106 of 4.15, of which 4.16 counts 26, are the same."
)
NOTE = "finished.json"  # of a run with one seed: what it was made by
THE_SAME_ON_EVERY_SEED = ("4.15", "4.16")  # lessons of the companion, all others of which the seed draws something for


def main(argv: Sequence[str] | None = None) -> int:
    """Run a lab once for each seed; write ``results/labN_seeds.json`` and ``.md``; 1 if a lesson fails on any.

    The companion, 4, is written to ``companion_seeds.json`` and ``.md``. What runs leave lies in ``build/seeds`` until
    all are done. Raises LabError where no run recorded a lesson, or where the lab is being run with seeds already.
    """
    parser = argparse.ArgumentParser(prog="python -m genai_labs seeds", description=plain(__doc__))
    parser.add_argument("lab", nargs="?", type=int, choices=(1, 2, 3, 4), default=1)
    parser.add_argument("--seeds", type=whole_number(0, 999_999_999), nargs="+", default=[0, 1, 2, 3, 4])
    parser.add_argument("--out", type=writable_folder, default=RESULTS)
    args = parser.parse_args(argv)
    kept = folder_of_runs(args.lab)
    with files.faults_in_words(kept):
        kept.mkdir(parents=True, exist_ok=True)
    busy = f"{name_of_lab(args.lab)} is being run with seeds in {kept} right now. Wait until that has ended."
    with files.locked(kept / files.LOCK_FILE, busy):
        runs = {seed: run_with_seed(args.lab, seed) for seed in args.seeds}
        record = summarize(args.lab, runs)
        write(record, as_markdown(record), args.out, f"{stem(args.lab)}_seeds")
        draw_lessons(record, args.out / f"{stem(args.lab)}_lessons.png")
        for note in kept.glob(f"*/{NOTE}"):  # the next time all is measured anew; what failed stays to be looked at
            shutil.rmtree(note.parent)
    return int(any(lesson["holds_on"] < lesson["measured_on"] for lesson in claims(record)))


def stem(lab: int) -> str:
    """How the names of a lab's results begin."""
    return "companion" if lab in COMPANIONS else f"lab{lab}"


def folder_of_runs(lab: int) -> Path:
    """Where the runs of a lab are kept until all of them are done, each in a folder named after its seed."""
    return output_folder().resolve() / "seeds" / stem(lab)


def run_with_seed(lab: int, seed: int) -> list[dict[str, Any]]:
    """The lessons of one run of a lab, whose notebook reads the seed from the environment.

    A run that came to its end before the command was interrupted is not done again, if all is as it was then.
    """
    notebook, folder = find_notebooks([lab])[lab], folder_of_runs(lab) / str(seed)
    environment = kernel_environment("mini", folder) | {SEED_VARIABLE: str(seed)}
    made_by = json.dumps(what_decides(notebook, environment)) + "\n"
    if (folder / NOTE).is_file() and (folder / NOTE).read_text(encoding="utf-8") == made_by:
        print(f"{name_of_lab(lab)} was run with seed {seed} before this command was interrupted: not done again.")
        return read_lessons(folder / FILE)
    if folder.exists():
        shutil.rmtree(folder)
    folder.mkdir(parents=True)
    try:
        whole = run_lab(lab, notebook, environment, folder)
    except Interrupted as stopped:
        raise Interrupted(f"{stopped} The same command goes on with seed {seed}.", stopped.status) from None
    if whole:
        shutil.rmtree(folder / f"lab{lab}", ignore_errors=True)  # what was trained, which nobody reads again
        files.write_whole(folder / NOTE, made_by)
    return read_lessons(folder / FILE)


def what_decides(notebook: Path, environment: Mapping[str, str]) -> dict[str, Any]:
    """What must be the same for a run to come to the same: code, notebook, data, libraries, machine and settings."""
    digest = hashlib.sha256()
    data = (path for path in DATA.rglob("*") if path.is_file())
    for path in (notebook, *sorted(PACKAGE.rglob("*.py")), *sorted(data)):
        digest.update(f"{path.name} {path.stat().st_size} ".encode() + path.read_bytes())
    names = sorted(name for name in environment if name.startswith(("GENAI_LABS_", "CUDA_")))
    settings = {name: environment[name] for name in names}
    return {"files": digest.hexdigest(), "versions": versions(), "machine": platform.node(), "settings": settings}


def summarize(lab: int, runs: dict[int, list[dict[str, Any]]]) -> dict[str, Any]:
    """For each lesson: its effect and interval on every seed, on how many it was measured anew, and holds on.

    Where the seed changes nothing, neither training nor samples nor test rows, it was measured once: in a lab, where
    all results are the same; in the companion, where all questions are (two sets of problems may give one result). Of
    an open question the answers are counted. Raises LabError where there is no lesson at all.
    """
    ids = sorted({r["id"] for rows in runs.values() for r in rows}, key=lambda each: order({"id": each}))
    if not ids:
        raise LabError(
            f"{name_of_lab(lab)} recorded no lesson with any of {counted(len(runs), 'seed')}, so there is nothing to "
            "write, and earlier results stay as they are. What stopped it stands above; mend that and run it again."
        )
    lessons = []
    for lesson_id in ids:
        found = {seed: next((r for r in rows if r["id"] == lesson_id), None) for seed, rows in runs.items()}
        some = next(r for r in found.values() if r)
        by_seed = {
            str(seed): {key: r[key] for key in ("effect", "low", "high", "n", "verdict", "holds")} if r else None
            for seed, r in found.items()
        }
        holds = [bool(r and r["holds"]) for r in found.values()]
        answered = [str(r["verdict"]) for r in found.values() if r and r["verdict"] in ANSWERS]
        own_rows = lab in COMPANIONS and lesson_id not in THE_SAME_ON_EVERY_SEED
        changed = some.get("varies", False) or own_rows or len({str(r) for r in by_seed.values()}) > 1
        lessons.append(
            {
                "id": lesson_id,
                "claim": some["claim"],
                "metric": some["metric"],
                "holds_on": sum(holds) if changed else int(all(holds)),
                "measured_on": len(runs) if changed else 1,
                "answers": dict(Counter(answered)),
                "seeds": by_seed,
            }
        )
    return {
        "command": f"python -m genai_labs seeds {lab}",
        "profile": "mini",
        "seeds": list(runs),
        "versions": versions(),
        "test_rows": TEST_ROWS_OF_COMPANIONS if lab in COMPANIONS else TEST_ROWS_OF_LAB_1 if lab == 1 else TEST_ROWS,
        "lessons": lessons,
    }


def claims(record: dict[str, Any]) -> list[dict[str, Any]]:
    """The lessons of a record that claim something: all but the open questions."""
    return [lesson for lesson in record["lessons"] if not lesson.get("answers")]


def as_markdown(record: dict[str, Any]) -> str:
    """The record as a table, one row a lesson, one column a seed."""

    def cell(r: dict[str, Any] | None) -> str:
        return (
            f"{r['effect']:.3f} [{r['low']:.3f}, {r['high']:.3f}]{'' if r['holds'] else ' ' + r['verdict']}"
            if r
            else "-"
        )

    def count(r: dict[str, Any]) -> str:
        same = r["id"] in THE_SAME_ON_EVERY_SEED
        once = "the same questions: counted once" if same else "no training, no sampling: measured once"
        once += "" if r["holds_on"] else ", does not hold"
        measured = r.get("measured_on", len(seeds))  # older records lack it
        if r.get("answers"):
            return "open question: " + ", ".join(f"{answer} on {times}" for answer, times in r["answers"].items())
        return once if measured == 1 < len(seeds) else f"{r['holds_on']} of {measured}"

    seeds = record["seeds"]
    rows = [(r["id"], r["claim"], *(cell(r["seeds"][str(s)]) for s in seeds), count(r)) for r in record["lessons"]]
    head = ("lesson", "claim", *(f"seed {s}" for s in seeds), "holds on")
    lab = name_of_lab(int(record["lessons"][0]["id"].partition(".")[0]))
    title = f"{lab}: lessons on {counted(len(seeds), 'seed')}"
    intro = f"# {title}\n\nMade by `{record['command']}`. Effects with 95 % intervals."
    intro += "".join(f" {record[each]}" for each in ("test_rows", "world") if each in record)
    return f"{intro}\n\n{table(head, rows)}\n"


def draw_lessons(record: dict[str, Any], path: Path) -> None:
    """The lessons as a picture: effect and 95 % interval of each, one mark a seed."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    lessons, seeds = record["lessons"], record["seeds"]
    figure, axes = plt.subplots(figsize=(11, 0.62 * len(lessons) + 1), facecolor="white", layout="constrained")
    for row, item in enumerate(lessons):
        for place, seed in enumerate(seeds):
            r = item["seeds"][str(seed)]
            if r is None:
                continue
            y = row + 0.6 * (place / max(len(seeds) - 1, 1) - 0.5)
            failed = failed_claim(r)
            style: dict[str, Any] = {"color": "#b42318" if failed else "#1a5fa0", "marker": "x" if failed else "o"}
            axes.plot([r["low"], r["high"]], [y, y], color=style["color"], lw=1.6)
            axes.plot(r["effect"], y, ms=4, **style)
    labels = [textwrap.fill(f"{item['id']}  {item['claim']}", 68) for item in lessons]
    axes.set_yticks(range(len(lessons)), labels, fontsize=9)
    axes.invert_yaxis()
    axes.axvline(0, color="#5a616b", lw=1)
    axes.grid(axis="x", alpha=0.3)
    axes.set_xlabel(
        f"effect with 95 % interval, a line a seed, {len(seeds)} in all (cross: a claim that does not hold)"
    )
    figure.savefig(path, dpi=110, metadata={"Software": None})
    plt.close(figure)
