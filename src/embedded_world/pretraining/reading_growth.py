"""What reading grows with: acts, phrasings, dialogues written by hand, parameters, and examples.

Each model is trained for a short time like the shipped one, with one thing changed, and scored on the same test sets.
``growth train`` on a GPU (13 trainings, 10 minutes on one that is fast), ``growth page`` anywhere. Each finished
training is kept in the working folder and not done again.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from matplotlib.figure import Figure
from tqdm.auto import tqdm

from embedded_world.corpus import handwritten
from embedded_world.corpus.acts import all_acts
from embedded_world.corpus.compose import is_kept_apart
from embedded_world.corpus.shares import ALL, Shares, draw_only
from embedded_world.pretraining import model as models
from embedded_world.pretraining import reader, reader_scores, tokenizer
from genai_labs.inputs.helptext import plain
from genai_labs.inputs.options import one_of, whole_number, writable_folder
from genai_labs.paths import BUILD, MODELS, RESULTS
from genai_labs.scoring.content import content_f1
from genai_labs.scoring.intervals import paired_bootstrap
from genai_labs.scoring.metrics import rouge_scores
from genai_labs.scoring.truth import how_it_ended, who_did_what
from genai_labs.show import display
from genai_labs.show.results import table, versions, write

FILE = "reader_growth"
STEPS = 4000  # of a training of length 1
TOKENS = 16_384  # of sources in a step
SHIPPED_TOKENS = 131_072  # the same of the shipped model
SETS = ("known", "unseen", "written by hand")
SMALL, LARGE = models.ModelShape(128, 4, 256, 3, 2), models.ModelShape(384, 12, 1024, 6, 4)


@dataclass(frozen=True)
class Growing:
    """One training: a name, and what differs from the others.

    length: in shares of the steps. seed: of the first weights and the examples.
    """

    name: str
    shares: Shares = ALL
    shape: models.ModelShape = models.READS
    length: float = 1.0
    seed: int = 0


TRAININGS = (
    Growing("examples-2", length=2.0),
    Growing("parameters-large", shape=LARGE),
    Growing("all"),
    Growing("acts-quarter", Shares(acts=0.25)),
    Growing("phrasings-quarter", Shares(phrasings=0.25)),
    Growing("by-hand-sixteenth", Shares(by_hand=1 / 16)),
    Growing("acts-half", Shares(acts=0.5)),
    Growing("phrasings-half", Shares(phrasings=0.5)),
    Growing("by-hand-quarter", Shares(by_hand=0.25)),
    Growing("all-seed-1", seed=1),
    Growing("parameters-small", shape=SMALL),
    Growing("examples-half", length=0.5),
    Growing("examples-quarter", length=0.25),
)
# What stands on each plot, from little to much; "all" is on each.
FACTORS = {
    "acts": ("acts-quarter", "acts-half", "all"),
    "phrasings": ("phrasings-quarter", "phrasings-half", "all"),
    "dialogues by hand": ("by-hand-sixteenth", "by-hand-quarter", "all"),
    "million parameters": ("parameters-small", "all", "parameters-large"),
    "thousand examples": ("examples-quarter", "examples-half", "all", "examples-2"),
}


def content_of(shares: Shares) -> dict[str, int]:
    """How many acts, phrasings that training meets, and dialogues by hand are left; in this process for good."""
    draw_only(shares)
    acts = all_acts().acts
    phrasings = [
        (act.id, " ".join(p.turns)) for act in acts for part in (act.opening, *act.answers) for p in part.phrasings
    ]
    trained = sum(not is_kept_apart(act, text) for act, text in phrasings)
    return {"acts": len(acts), "phrasings": trained, "dialogues by hand": len(handwritten.written("train"))}


def train_one(one: Growing, work: Path, steps: int, tokens: int, processes: int) -> None:
    """Train and score one model; its record into ``work / name / result.json``."""
    folder = work / one.name
    folder.mkdir(parents=True, exist_ok=True)
    words = tokenizer.saved_tokenizer(MODELS / reader_scores.NAMES["polish"])
    words.save_pretrained(folder / "tokenizer")
    count = round(steps * one.length)
    reader.pretrain_reader(
        folder,
        0.0,
        one.shape,
        tokens,
        batches=1,
        processes=processes,
        seed=one.seed,
        steps=count,
        prepare=partial(draw_only, one.shares),
    )
    made = reader_scores.trained_model(folder, "polish", len(words), one.shape)
    made.to("cuda" if torch.cuda.is_available() else "cpu").eval()
    last = json.loads((folder / "log.jsonl").read_text(encoding="utf-8").splitlines()[-1])
    record = {
        **asdict(one),
        "steps": last["step"],
        "tokens": tokens,
        "examples": last["examples"],
        "batches read again": last["again"] / (last["new"] + last["again"]),
        "seconds": round(last["seconds"]),
        "parameters": sum(p.numel() for p in made.parameters()),
        "device": torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu",
        "scores": scores_of(made, words),
        "word problems": reader_scores.measure_word_problems(made, words)["step by step"],
        "content": content_of(one.shares),
        "versions": versions(),
    }
    (folder / "result.tmp").write_text(json.dumps(record, indent=1, default=float) + "\n", encoding="utf-8")
    (folder / "result.tmp").replace(folder / "result.json")


def scores_of(made: Any, words: Any) -> dict[str, dict[str, Any]]:
    """Content F1, ROUGE-1, who did what and how it ended on each set, one shot, with 95 % intervals."""
    found: dict[str, dict[str, Any]] = {}
    for name, (rows, truth) in reader_scores.sets().items():
        written = reader_scores.summaries(made, words, rows)
        references = [list(row.references) for row in rows]
        found[name] = {
            "content F1": paired_bootstrap(content_f1(written, references)),
            "ROUGE-1": paired_bootstrap(rouge_scores(written, references)),
        }
        if truth is not None:
            ends = how_it_ended(written, truth)
            found[name] |= {
                "who did what": paired_bootstrap(who_did_what(written, truth)),
                "how it ended": paired_bootstrap(ends[ends == ends]),
            }
    return found


def train_all(args: argparse.Namespace) -> None:
    """Every training that has no record yet, ``--at-once`` at a time, each in a process of its own."""
    waiting = [one for one in TRAININGS if not (args.work / one.name / "result.json").exists()]
    running: list[tuple[Growing, subprocess.Popen[bytes]]] = []
    common = [*("--work", args.work), *("--steps", args.steps), *("--tokens", args.tokens)]
    failed = []
    with tqdm(total=len(waiting), desc="trainings", unit="model") as moved:
        while waiting or running:
            while waiting and len(running) < args.at_once:
                one = waiting.pop(0)
                (args.work / one.name).mkdir(parents=True, exist_ok=True)
                command = [sys.executable, "-m", __spec__.name, "train", "--one", one.name, *map(str, common)]
                command += ["--memory", str(0.92 / args.at_once)]
                with (args.work / one.name / "output.txt").open("wb") as output:
                    made = subprocess.Popen(
                        [*command, "--processes", str(args.processes)], stdout=output, stderr=subprocess.STDOUT
                    )
                running.append((one, made))
            time.sleep(0.5)
            for one, process in [each for each in running if each[1].poll() is not None]:
                running.remove((one, process))
                failed += [one.name] if process.returncode else []
                moved.update()
    if failed:
        raise SystemExit(
            f"{', '.join(failed)}: no result; output.txt in {args.work / failed[0]} says why. Those that "
            "are done are kept: mend it and give the command again."
        )


def step_train(args: argparse.Namespace) -> None:
    """All trainings, or the one that is named."""
    args.work.mkdir(parents=True, exist_ok=True)
    if args.memory and torch.cuda.is_available():
        torch.cuda.set_per_process_memory_fraction(args.memory)
    if args.one is None:
        train_all(args)
    else:
        one = next(each for each in TRAININGS if each.name == args.one)
        train_one(one, args.work, args.steps, args.tokens, args.processes)


def amount(factor: str, record: Mapping[str, Any]) -> float:
    """How much of a factor a training had."""
    if factor == "million parameters":
        return float(record["parameters"]) / 1e6
    if factor == "thousand examples":
        return float(record["examples"]) / 1e3
    return float(record["content"][factor])


def reading_plot(record: Mapping[str, Any]) -> display.Plot:
    """Content F1 on each set against the amount of each factor, with 95 % intervals; dotted: the strongest baseline.

    The shipped model stands beside the examples, in hollow marks.
    """
    records, shipped = record["results"], record["shipped"]
    figure = Figure(figsize=(13, 3.4), facecolor=display.PAPER, layout="constrained")
    lines = []
    for axes, (factor, names) in zip(figure.subplots(1, len(FACTORS), sharey=True), FACTORS.items(), strict=True):
        found = [records[name] for name in names if name in records]
        x = [amount(factor, record) for record in found]
        for number, name in enumerate(SETS):
            values = [record["scores"][name]["content F1"][:3] for record in found]
            ends = [[mean - low for mean, low, _ in values], [high - mean for mean, _, high in values]]
            look = {"color": display.COLORS[number], "marker": "os^"[number], "ls": ("-", "--", "-.")[number]}
            axes.errorbar(x, [mean for mean, *_ in values], yerr=ends, capsize=3, lw=1.2, ms=5, label=name, **look)
            if factor == "thousand examples":
                end = shipped["scores"][name]["content F1"][0]
                axes.plot(shipped["examples"] / 1e3, end, color=look["color"], marker=look["marker"], mfc="none", ms=6)
            axes.axhline(record["baselines"][name], color=display.COLORS[number], lw=0.8, ls=":")
            parts = (f"{each:g}: {mean:.2f}" for each, (mean, *_) in zip(x, values, strict=True))
            lines.append(f"  {factor}, {name}: {'; '.join(parts)}")
        axes.set(xscale="log", xlabel=factor, ylim=(0, 0.8))
        ticks = [*x, shipped["examples"] / 1e3] if factor == "thousand examples" else x
        axes.set_xticks(ticks, [rounded_amount(each) for each in ticks])
        axes.set_xticks([], minor=True)
        axes.grid(color=display.GRID)
        axes.spines[["top", "right"]].set_visible(False)
    figure.axes[0].set_ylabel("content F1")
    figure.axes[0].legend(frameon=False, fontsize=8)
    return display.Plot(figure, "\n".join(["Figure: what reading grows with", *lines]))


def rounded_amount(number: float) -> str:
    """Such as "1.74" or "5,923"."""
    return f"{number:,.3g}" if number < 100 else f"{number:,.0f}"


def changes(found: Mapping[str, Any]) -> str:
    """What changes in content F1 from the least of each factor to the most, beside what another seed changes."""

    def cells(less: str, more: str) -> list[str]:
        of = [[found[each]["scores"][name]["content F1"][0] for name in SETS] for each in (less, more)]
        return [f"{after - before:+.2f}" for before, after in zip(*of, strict=True)]

    rows = []
    for factor, names in FACTORS.items():
        known = [name for name in names if name in found]
        ends = (rounded_amount(amount(factor, found[known[i]])) for i in (0, -1))
        rows.append((factor, " to ".join(ends), *cells(known[0], known[-1])))
    if "all-seed-1" in found:
        rows.append(("seed", "0 to 1", *cells("all", "all-seed-1")))
    return table(("changed", "from, to", *SETS), rows)


def reading_page(record: Mapping[str, Any]) -> str:
    """The record as a page."""
    found, shipped = record["results"], record["shipped"]
    one = found["all"]
    facts = ", ".join(f"{name} {value}" for name, value in one["versions"].items())
    measures = [(name, measure) for name in SETS for measure in one["scores"][name] if measure != "ROUGE-1"]
    head = ("changed", "amount", *(f"{measure}, {name}" for name, measure in measures), "word problems")
    rows = []
    for factor, names in FACTORS.items():
        for each in (found[name] for name in names if name in found):
            scores = (each["scores"][name][measure] for name, measure in measures)
            cells = [interval_cell(score) for score in (*scores, each["word problems"])]
            rows.append((factor, rounded_amount(amount(factor, each)), *cells))
    if "all-seed-1" in found:
        other = found["all-seed-1"]
        scores = (other["scores"][name][measure] for name, measure in measures)
        rows.append(("seed", "1", *(interval_cell(score) for score in (*scores, other["word problems"]))))
    scores = (shipped["scores"][name][measure] for name, measure in measures)
    cells = [interval_cell(score) for score in (*scores, shipped["word problems"])]
    rows.append(("the shipped model", f"{shipped['examples'] / 1e3:,.0f} thousand examples", *cells))
    left = [one.name for one in TRAININGS if one.name not in found]
    missing = f" Not trained: {', '.join(left)}." if left else ""
    return (
        "\n\n".join(
            [
                "# What reading grows with",
                f"Made by `{record['command']}` on {one['device']} ({facts}). Each model was trained like the shipped "
                f"one, but for {one['steps']:,} steps of {one['tokens']:,} source tokens ({one['examples']:,} "
                f"examples; the shipped one read {shipped['examples']:,}, in steps of {shipped['tokens']:,}), with "
                "one thing changed: the acts that dialogues are composed of, the phrasings of each, the dialogues "
                "written by hand, the size of the model, the examples read. One shot, tags style, greedy; means with "
                "95 % intervals over dialogues. One training each: what another seed changes stands beside them, and "
                f"a difference no larger than that is not shown.{missing}",
                *([f"All models here were measured {record['on']}."] if "on" in record else []),
                f"![Content F1 against each factor]({FILE}.png)",
                "Dotted: the strongest baseline of each set. Hollow: the shipped model.",
                "## From the least to the most",
                "Change in content F1:",
                changes(found),
                "Trainings as short as these read a small part of what the shipped one read: they show what helps a "
                "model that has read little. Learning rates are the shipped model's, whatever the size; the largest "
                "model may need others, or more steps.",
                "## All scores",
                table(head, rows),
                "Examples are drawn anew until the processes that make them fall behind; then batches are read again: "
                + ", ".join(f"{name} {each['batches read again']:.0%}" for name, each in found.items())
                + ".",
            ]
        )
        + "\n"
    )


def interval_cell(score: Sequence[float]) -> str:
    """Such as "0.52 [0.50, 0.54]"."""
    return "{:.2f} [{:.2f}, {:.2f}]".format(*score[:3])


def step_page(args: argparse.Namespace) -> None:
    """``results/reader_growth.json``, ``.md`` and ``.png`` of the trainings that are done."""
    paths = {one.name: args.work / one.name / "result.json" for one in TRAININGS}
    found = {name: json.loads(path.read_text(encoding="utf-8")) for name, path in paths.items() if path.exists()}
    if "all" not in found:
        raise SystemExit(f"{args.work} holds no result of the training that all others are compared with: growth train")
    measured = json.loads(reader_scores.RESULTS.read_text(encoding="utf-8"))[reader_scores.NAMES["polish"]]
    shipped = measured["one shot"]
    baselines = {name: (m := shipped[name]["content F1"])["baselines"][m["strongest"]] for name in SETS}
    kinds = ("content F1", "ROUGE-1", "who did what", "how it ended")
    scores = {name: {kind: shipped[name][kind]["value"] for kind in kinds if kind in shipped[name]} for name in SETS}
    training = json.loads((MODELS / reader_scores.NAMES["polish"] / "training.json").read_text(encoding="utf-8"))
    record = {
        "command": "python -m genai_labs growth",
        "shipped": {
            "examples": training["examples"],
            "tokens": SHIPPED_TOKENS,
            "scores": scores,
            "word problems": measured["word problems"]["step by step"],
        },
        "baselines": baselines,
        "results": found,
    }
    write(record, reading_page(record), RESULTS, FILE)
    (RESULTS / f"{FILE}.png").write_bytes(reading_plot(record).png())


def main(argv: Sequence[str] | None = None) -> int:
    """Train, and write the page."""
    parser = argparse.ArgumentParser(prog="python -m genai_labs growth", description=plain(__doc__))
    steps = ("train", "page")
    parser.add_argument("what", nargs="*", type=one_of(steps), metavar="STEP", help="train, page (default: both)")
    parser.add_argument("--work", type=writable_folder, default=BUILD / "growth", help="folder for what is trained")
    parser.add_argument("--steps", type=whole_number(1), default=STEPS, help="of a training (default: %(default)s)")
    parser.add_argument(
        "--tokens", type=whole_number(1024), default=TOKENS, help="of sources in a step (default: %(default)s)"
    )
    parser.add_argument("--at-once", type=whole_number(1), default=1, help="trainings side by side (default: 1)")
    parser.add_argument("--processes", type=whole_number(1), default=1, help="that make batches, each (default: 1)")
    parser.add_argument("--memory", type=float, default=0.0, help="share of the GPU's memory to take at most (0: any)")
    names = [one.name for one in TRAININGS]
    parser.add_argument("--one", choices=names, metavar="NAME", help=f"train this one only, of {', '.join(names)}")
    args = parser.parse_args(argv)
    for what in args.what or steps:
        {"train": step_train, "page": step_page}[what](args)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
