"""Cards of the world that must be read: of its dialogues and of the models that read them, with measured numbers only."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from embedded_world.corpus import acts, figures, handwritten, reading_splits
from genai_labs.loading.data import Row, load_split
from genai_labs.show.results import table

TASKS = ("span corruption", "next turn", "copy", "report", "summarize", "summarize, 1 shown", "summarize, by hand")

READS = (
    "Its domain is errands,\nplans, appointments, orders, repairs, travel and small conflicts in plain spoken English; there, "
    "too, it gets a part wrong (see\nabove). Free English it summarizes less well: what it writes then is fluent and often "
    "wrong in who did what."
)
NO_INSTRUCTIONS = (
    "It goes on with a dialogue, and\nsummarizes nothing, since it was never shown an instruction. It is there to be compared "
    "with t5-reader."
)
READ_NOTHING = "These dialogues were taken as they were composed (`--unread`): nobody has read them.\n"
# Counted by reading, once the splits were complete.
FRESH_EYES = """Two more fresh readers then judged 100 dialogues of `test` each: 0 and 5 had a turn that clearly does not fit, 13 and 32 more
one that a strict reader would object to and a lenient one would pass; no summary says something clearly false, 4 and 9 have a
nuance that is not said; 2 and 1 a sentence in clumsy English. As drawn, before anybody chose and before the last mends of the
composing program, two other readers had found 22 and 29 clearly, 15 and 19 more strictly, 2 and 4 false summaries. The worst
that are left: a question or an offer that nobody takes up before the next subject ("It's gone septic." "Well, the lawn won't
mow itself."), insults stronger than their cause, a detail in a summary that was not said (a train, a factory); in `train`, two
dialogues in which one speaker is called by two names, and one in which somebody else has a speaker's name. About one exchange
in a hundred of `test` stands in two dialogues or more. Readers refuse more dialogues with an insult than others: 14 % of what
is composed for `test` holds one, and 6 % of what is left.
"""
POLISH_NOTE = """
The polish reads mostly dialogues written by hand, with dropout, which makes its losses higher. The weights that are shipped lie
{share:.0%} of the way from those before the polish to those after it.
"""


def with_interval(value: Sequence[float]) -> str:
    """A mean with its interval."""
    return f"{value[0]:.2f} [{value[1]:.2f}, {value[2]:.2f}]"


def by_heart(losses: dict[str, float]) -> str:
    """Losses on dialogues that were trained on and that were not, in words."""
    return ", ".join(f"{name} {loss:.2f}" for name, loss in losses.items())


def graded() -> list[tuple[str, ...]]:
    """How many exchanges and dialogues of each split were read, and how many got which grade, the worse of two."""
    rows: list[tuple[str, ...]] = []
    for kind in ("exchanges", "dialogues"):
        for split in reading_splits.SIZES:
            found = list(reading_splits.grades(kind, split).values())
            shares = (f"{found.count(grade) / len(found):.0%}" for grade in (0, 1, 2))
            rows.append((kind, split, f"{len(found):,}", *shares))
    return rows


def corpus_card(unread: bool = False) -> str:
    """The card of ``data/reading``, with counts taken from the files themselves. unread: of dialogues nobody has read."""
    found = acts.all_acts()
    phrasings = sum(len(part.phrasings) for act in found.acts for part in (act.opening, *act.answers))
    splits = {split: load_split(reading_splits.READING, split) for split in reading_splits.SIZES}
    alone = {split: sum("\n" not in row.dialogue for row in rows) for split, rows in splits.items()}
    alone_in = ", ".join(f"{count} in `{split}`" for split, count in alone.items())
    met = {act for row in splits["train"] for act in row.situation.split(" + ")}
    hand = {p: [Row(d.id, d.text, d.summaries, d.topic) for d in handwritten.written(p)] for p in ("train", "test")}
    counted = {split: figures.count_figures(splits[split], splits["train"]) for split in ("test", "unseen")}
    counted["written by hand (test)"] = figures.count_figures(hand["test"], hand["train"])
    sizes = [(name, size, reading_splits.REFERENCES[name]) for name, size in reading_splits.SIZES.items()]
    sizes += [
        (f"handwritten_{p}", len(handwritten.written(p)), 3 if p == "test" else 1) for p in ("train", "dev", "test")
    ]
    return f"""# Dialogues that must be read

Composed by `python -m genai_labs build-reader` from {len(found.acts)} speech acts in {phrasings:,} phrasings
(`data/content/acts`), each with the report that a listener would give, in {len({s for a in found.acts for s in a.where})} settings; words come from
`data/content/words` and may be rare or invented. A summary is composed of the reports of the acts, so that it is true as far as
each report is true of each phrasing. The same content gives the same bytes. Beside them stand the dialogues written one by one
(`data/content/handwritten`). Licence: Apache-2.0, like the project; rarer words are from WordNet 3.0 (Princeton University).

{table(("file", "dialogues", "references of each"), sizes)}

`unseen` holds pairs of acts in a row, and words in their slots, that no training dialogue is composed of; `validation`, `test` and `unseen` also draw
phrasings that are kept from training, and wordings of reports that were set aside, three in five of which are in no training
dialogue (a phrasing all of whose own wordings were set aside lends them to training). A few dialogues have a single turn, which
nobody answers: {alone_in}. Of the {len(found.acts)} acts {len(met)} stand in `train`. `unseen` has more dialogues of three and four
exchanges than the others. `truth_test.jsonl` and `truth_unseen.jsonl` hold, for each dialogue, who does what in it and how it ends.

## How natural, and how new
{figures.figures_table(counted)}

Real DialogSum, counted on 500 test dialogues for this project by rules a little different: 41 contractions in 1,000 words, a standard deviation of 4.0 turns
and of 10.8 words a turn, 5 % of turns that repeat in 500 dialogues (6 % masked).

## Read by others
{READ_NOTHING if unread else read_by_others()}"""


def read_by_others() -> str:
    """Who read the dialogues, and what they found."""
    return f"""A program that draws acts, words and answers by chance says much that makes no sense. So what stands here was read first, by
fresh readers (language models that knew nothing of the writing), in two steps: single exchanges, then dialogues that are joined
from exchanges to which nobody objected. Each got two grades, for its turns and for its summaries: 0 (nothing to object), 1 (a picky
reader would object to something), 2 (a turn that clearly does not fit: it ignores what was just said, words do not fit their
frame, an amount out of proportion, the wrong person says it; or a summary that says something false). In `validation`, `test` and
`unseen` stand only dialogues with two zeros, in `train` none with a two. The grades are in `data/content/read`. What was read:

{table(("what", "split", "read", "nothing to object", "something picky", "clearly at fault"), graded())}

A reader's threshold is their own: of batches drawn alike one found three in ten without fault, another six.
{FRESH_EYES}"""


def reader_card(folder: Path, found: dict[str, Any], examples: list[tuple[str, str, str, float]]) -> str:
    """The card of one of the models.

    found: its part of ``results/reader.json``. examples: dialogue, reference, output and content F1 of some outputs.
    """
    record = json.loads((folder / "training.json").read_text(encoding="utf-8"))
    rows = [
        (row["phase"], f"{row['examples']:,}", *(f"{row['loss'][t]:.2f}" if t in row["loss"] else "" for t in TASKS))
        for row in record["losses"]
        if row["loss"]
    ]
    shares = ", ".join(f"{p['mixture']} {p['share']:.0%} of the time" for p in record["phases"])
    sets = found["one shot"]

    scores = [
        (name, *(with_interval(s[name]["value"]) if name in s else "-" for s in sets.values()))
        for name in ("content F1", "ROUGE-1", "grounded", "who did what", "how it ended")
    ]
    best = [
        (
            f"strongest baseline, {name}",
            *(f"{s[name]['baselines'][s[name]['strongest']]:.2f} ({s[name]['strongest']})" for s in sets.values()),
        )
        for name in ("content F1", "ROUGE-1")
    ]
    told = "\n\n".join(
        f"Content F1 {score:.2f}:\n```\n{dialogue}\n```\nReference: {reference}\n\nModel: {output}"
        for dialogue, reference, output, score in examples
    )
    only = len(record["phases"]) == 1
    polish = "" if only else POLISH_NOTE.format(share=record["between instructions and polish"])
    if heart := found.get("by heart"):
        polish += f"\nLoss on summaries of dialogues written by hand (nats a token): {by_heart(heart)}.\n"
    limits = NO_INSTRUCTIONS if only else READS
    given = (
        ", whose trainer, `python -m embedded_world.pretraining.reader`, was given " + record["given"]
        if "given" in record
        else ""
    )
    return f"""# {folder.name}

A small T5 (v1.1 / FLAN-T5 architecture, embeddings tied), trained from scratch on dialogues composed of speech acts, on those written by
hand, and on the 120 scenarios of the world before{", on bare text only (span corruption and next turn): it has never been given an instruction" if only else ", first on bare text, then on instructions, as FLAN-T5 was"}.
Made by `{record["command"]}` (seed {record["seed"]}){given}. Licence: Apache-2.0.

- {record["parameters"] / 1e6:.2f} million parameters in fp16 (load with `dtype=torch.float32`), vocabulary {record["vocabulary"]:,}, window 1,024 tokens
- {record["examples"]:,} examples in {record["steps"]:,} steps, {record["minutes"]} minutes on {record["device"] or f"2 CPU cores ({shares})"}
- the tasks and their shares: `src/embedded_world/corpus/reading.py`

## Losses over time (nats a target token)
{table(("phase", "examples", *TASKS), rows)}
{polish}
## How well it reads
One shot, tags style, greedy; means with 95 % intervals. `known`: acts that training met, about two in five in phrasings that
it did not; `unseen`: pairs of acts in a row, and words in their slots, that no training dialogue was composed of (the words may stand in a
phrasing or in a dialogue written by hand); `written by hand`: free English, by a large language model, each dialogue on its own.

{table(("", *sets), [*scores, *best])}

## Examples
Of dialogues written by hand, the best and the worst of the first forty.

{told}

## Intended use and limits
For learning how prompting, fine-tuning and reinforcement learning work, on a laptop, in minutes. {limits} It has no knowledge of facts. It can repeat mild, invented insults.
"""


def results_page(everything: dict[str, Any]) -> str:
    """The results as tables."""

    lines = ["# How well the models read", "", "One shot, tags style, greedy; means with 95 % intervals.", ""]
    for name, found in everything.items():
        lines += [f"## {name}", "", "| | " + " | ".join(found["one shot"]) + " |"]
        lines.append("| --- |" + " --- |" * len(found["one shot"]))
        columns = found["one shot"].values()
        lines.append("| dialogues | " + " | ".join(str(c["n"]) for c in columns) + " |")
        for measure_name in ("content F1", "ROUGE-1"):
            found_here = [c[measure_name] for c in columns]
            best = (f"{m['strongest']}, {m['baselines'][m['strongest']]:.2f}" for m in found_here)
            lines += [
                f"| {measure_name} | " + " | ".join(with_interval(m["value"]) for m in found_here) + " |",
                "| its strongest baseline | " + " | ".join(best) + " |",
                "| above it by | " + " | ".join(with_interval(m["above the strongest"]) for m in found_here) + " |",
                "| above the fixed string by | "
                + " | ".join(with_interval(m["above the fixed string"]) for m in found_here)
                + " |",
            ]
        cells = (f"{with_interval(c['grounded']['value'])} ({c['grounded']['references']:.2f})" for c in columns)
        lines.append("| grounded (references) | " + " | ".join(cells) + " |")
        for measure_name in ("who did what", "how it ended"):
            cells = (with_interval(c[measure_name]["value"]) if measure_name in c else "-" for c in columns)
            lines.append(f"| {measure_name} | " + " | ".join(cells) + " |")
        lines.append("")
        if problems := found.get("word problems"):
            parts = [f"{key} {with_interval(problems[key])}" for key in ("at once", "step by step", "difference")]
            lines += [f"Two-step word problems ({problems['n']}): {', '.join(parts)}.", ""]
        if known := found.get("familiarity"):
            rank = known["rank correlation with content F1"]
            parts = [
                f"{key} {v['median familiarity']:.2f} (loss {v['loss']:.2f})"
                for key, v in known.items()
                if v is not rank
            ]
            lines += [f"Median familiarity: {', '.join(parts)}.", ""]
            lines += [
                f"Rank correlation of familiarity and content F1 over the {rank[3]:,} of more than one turn: {with_interval(rank)}.",
                "",
            ]
        if heart := found.get("by heart"):
            lines += [f"Loss on summaries of dialogues written by hand, nats a token: {by_heart(heart)}.", ""]
    return "\n".join(lines)


def seeds_page(found: dict[str, Any], shipped: dict[str, Any], record: dict[str, Any]) -> str:
    """Models of other seeds beside the shipped one, as a table. record: of the shipped one's training.

    Where an entry of ``found`` says what else than today's dialogues it was measured ``on``, the page says so.
    """
    sets_of = list(shipped["one shot"])
    lines = [
        "# The model that reads, from other seeds",
        "",
        "Content F1, one shot, tags style, greedy, and word problems of two steps that are solved step by step; means with 95 %",
        "intervals. Other seeds have other first weights and other examples, and less time (minutes of training); they",
        "show how much is chance, and, beside the shipped model, what time buys. The shipped weights lie between those before",
        "and after the polish; of a seed whose weights before it were not kept, those after it are measured (`after it`).",
        "",
        "| | examples | minutes | " + " | ".join(sets_of) + " | word problems |",
        "| --- |" + " ---: |" * 2 + " --- |" * (len(sets_of) + 1),
    ]
    for name, one in found.items():
        cells = [with_interval(one[each]["content F1"]) for each in sets_of] + [with_interval(one["steps"])]
        of_it = name if one["averaged"] else f"{name}, after it"
        lines.append(f"| {of_it} | {one['examples']:,} | {one['minutes']} | " + " | ".join(cells) + " |")
    cells = [with_interval(shipped["one shot"][each]["content F1"]["value"]) for each in sets_of]
    cells.append(with_interval(shipped["word problems"]["step by step"]))
    lines.append(
        f"| shipped (seed {record['seed']}) | {record['examples']:,} | {record['minutes']} | "
        + " | ".join(cells)
        + " |"
    )
    lines += ["", *(f"{name}: measured {one['on']}." for name, one in found.items() if "on" in one)]
    return "\n".join([*lines, ""])
