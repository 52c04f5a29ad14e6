"""``python -m genai_labs instructions``: the model that was only pre-trained, tuned on one, four and eight tasks.

As in FLAN (Wei et al. 2021, https://arxiv.org/abs/2109.01652), but in the small: each tuning takes the same number of
steps on the same number of examples, and all are tested on a task and on wordings that none of them has met. A finished
tuning is kept in build/instructions.jsonl and not done again.
"""

from __future__ import annotations

import argparse
import json
import random
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from tqdm.auto import tqdm

from genai_labs.finetuning.examples import encode_pairs
from genai_labs.finetuning.instructions import DRAWN, FILE, instructions_table
from genai_labs.finetuning.lora import fingerprint
from genai_labs.finetuning.training import Plan, finetune
from genai_labs.inputs.helptext import plain
from genai_labs.inputs.options import whole_number, writable_folder
from genai_labs.loading import data, lab_data, models
from genai_labs.loading.lab_data import Example
from genai_labs.loading.profiles import PROFILES, load_profile
from genai_labs.paths import BUILD, RESULTS
from genai_labs.prompting import generation, prompts
from genai_labs.scoring.content import content_f1
from genai_labs.scoring.metrics import paired_bootstrap, rouge_scores
from genai_labs.show.figures import Plot, line_with_band
from genai_labs.show.results import table, versions, write

SEEDS = 3
EXAMPLES = 3200  # read once each
HELD_BACK = 96  # examples of the same tasks, for the validation loss
LONGEST_ANSWER = 64  # tokens of a summary; 24 of any other answer
TESTED = 200  # of each test
PLAN = Plan(epochs=1, learning_rate=1e-3, batch_size=16)  # the rate of a Plan by default; no other was tried
# Other ways to ask for the topic, written down before any of them was tried.
TOPIC_WORDINGS = (
    "{dialogue}\n\nName the subject of this talk.",
    "What is this dialogue about? Answer in a few words.\n\n{dialogue}",
    "{dialogue}\n\nTopic:",
    "{dialogue}\n\nGive this conversation a title.",
    "Conversation:\n{dialogue}\n\nIts subject, in a few words:",
)
SPEAKERS = ("#Person1#", "#Person2#")
NEW_TASK = "new task: who did it"
TAUGHT = "all, for long"


def examples_to_tune_on(task: str, seed: int) -> list[Example]:
    """All examples of a task to be tuned on, shuffled by the seed; no dialogue of a test is among them."""
    rng = random.Random(f"{task}-{seed}")
    rows = data.load_split(PROFILES["mini"].dataset, "train")
    made = [Example(task, source, target) for source, target in MAKERS[task](rows, rng)]
    rng.shuffle(made)
    return made


def _summaries_to_write(rows: Sequence[data.Row], rng: random.Random) -> list[tuple[str, str]]:
    known = [name for name in prompts.INSTRUCTIONS if name != prompts.UNSEEN_INSTRUCTION]
    return [(prompts.zero_shot(row.dialogue, rng.choice(known)), row.summary) for row in rows]


def _topics_to_name(rows: Sequence[data.Row], _: random.Random) -> list[tuple[str, str]]:
    alone = [row for row in rows if "+" not in row.situation]  # of two in one dialogue, only one is named
    return [(prompts.TOPIC_PROMPT.format(dialogue=row.dialogue), row.topic) for row in alone]


def _copies(rows: Sequence[data.Row], rng: random.Random) -> list[tuple[str, str]]:
    said = [rng.choice(row.dialogue.split("\n")).split(": ", 1)[-1] for row in rows]
    return [(f"Repeat this: {text}", text) for text in said]


def _next_turns(rows: Sequence[data.Row], rng: random.Random) -> list[tuple[str, str]]:
    made = []
    for row in rows:
        turns = row.dialogue.split("\n")
        at = rng.randrange(1, max(2, len(turns)))
        made += [("\n".join(turns[:at]), turns[at])] if at < len(turns) else []
    return made


def _word_problems(answer: str, _: Sequence[data.Row], __: random.Random) -> list[tuple[str, str]]:
    found = lab_data.read("reasoning/word_problems.csv", "problem", "reasoning", "answer")
    if answer == "at once":
        return [(prompts.PROBLEM_PROMPT.format(problem=row["problem"]), row["answer"]) for row in found]
    return [
        (prompts.REASONING_PROMPT.format(problem=row["problem"]), f"{row['reasoning']} The answer is {row['answer']}.")
        for row in found
    ]


def _note_questions(_: Sequence[data.Row], __: random.Random) -> list[tuple[str, str]]:
    found = lab_data.read("retrieval/notes.csv", "note", "question", "answer")
    return [
        (prompts.QUESTION_PROMPT.format(text=row["note"], question=row["question"]), row["answer"]) for row in found
    ]


def _last_turns(_: Sequence[data.Row], __: random.Random) -> list[tuple[str, str]]:
    found = lab_data.read("tasks/replay.csv", "task", "source", "target")
    return [(row["source"], row["target"]) for row in found if row["task"].startswith("report")]


MAKERS: dict[str, Callable[[Sequence[data.Row], random.Random], list[tuple[str, str]]]] = {
    "summary": _summaries_to_write,
    "topic": _topics_to_name,
    "copy": _copies,
    "word problem": partial(_word_problems, "at once"),
    "word problem, worked": partial(_word_problems, "step by step"),
    "question about a note": _note_questions,
    "report of the last turn": _last_turns,
    "next turn": _next_turns,
}


TUNINGS = {"1 task": ("summary",), "4 tasks": tuple(MAKERS)[:4], "8 tasks": tuple(MAKERS)}


def mixture(tasks: Sequence[str], count: int, seed: int) -> list[Example]:
    """``count`` examples, as many of each task; where a task has fewer, some of its examples come twice or more."""
    made = []
    for place, task in enumerate(tasks):
        share = count // len(tasks) + (place < count % len(tasks))
        found = examples_to_tune_on(task, seed)
        made += (found * (share // len(found) + 1))[:share]
    random.Random(seed).shuffle(made)
    return made


def instruction_tests() -> dict[str, list[tuple[str, list[str]]]]:
    """What is asked in each test: prompts and right answers."""
    rows = data.load_split(PROFILES["mini"].dataset, "test")[:TESTED]
    others = lab_data.read("tasks/other_tasks.csv", "seed", "split", "task", "source", "target")
    drawn = {
        task: lab_data.draw([r for r in others if (r["task"], r["split"]) == (task, "test")], TESTED, 0, task)
        for task in ("topic", "question")
    }
    known = prompts.TOPIC_PROMPT.removeprefix("{dialogue}")
    talks = [row["source"].removesuffix(known) for row in drawn["topic"]]
    new, named = prompts.NEW_WORDINGS, TOPIC_WORDINGS
    return {
        "summary": [(prompts.zero_shot(r.dialogue), list(r.references)) for r in rows],
        "summary, new wordings": [
            (prompts.zero_shot(r.dialogue, new[n % len(new)]), list(r.references)) for n, r in enumerate(rows)
        ],
        "topic": [(row["source"], [row["target"]]) for row in drawn["topic"]],
        "topic, new wordings": [
            (named[n % len(named)].replace("{dialogue}", talk), [row["target"]])
            for n, (talk, row) in enumerate(zip(talks, drawn["topic"], strict=True))
        ],
        NEW_TASK: [(row["source"], [row["target"]]) for row in drawn["question"]],
    }


def tested(model: Any, tokenizer: Any) -> dict[str, list[float]]:
    """The grades of a model in each test, a number from 0 to 1 for each example."""
    found: dict[str, list[float]] = {}
    for name, asked in instruction_tests().items():
        summary = name.startswith("summary")
        sources = prompts.fit_all(lambda source: source, [source for source, _ in asked], tokenizer)
        config = generation.greedy(LONGEST_ANSWER if summary else 24)
        texts = [text.strip() for text in generation.generate(model, tokenizer, sources, config, 50, progress=False)]
        answers = [right for _, right in asked]
        if summary:
            found[f"{name}, ROUGE-1"] = rouge_scores(texts, answers).tolist()
            found[f"{name}, content F1"] = content_f1(texts, answers).tolist()
        else:
            found[name] = [float(text.rstrip(".") in right) for text, right in zip(texts, answers, strict=True)]
        if name == NEW_TASK:
            found[f"{name}, names a speaker"] = [float(text.rstrip(".") in SPEAKERS) for text in texts]
    return found


def tune_and_test(seeds: int, count: int, kept: Path) -> dict[str, Any]:
    """Tune and test; a record with the means over seeds and examples, their 95 % intervals, and each seed's mean.

    kept: a file that a row is added to when a tuning was tested, so that a command that was stopped goes on there.
    """
    profile = load_profile("mini")
    base, tokenizer = models.load_model(replace(profile, model=profile.pretrained))
    taught, _ = models.load_model(profile)
    print("Testing the model before any tuning, which takes a minute or two", flush=True)
    done = {"not tuned": [_done_before(kept, ["not tuned", fingerprint(base)], partial(tested, base, tokenizer))]}
    for name, tasks in tqdm(TUNINGS.items(), desc="instructions", unit="tuning"):
        done[name] = [
            _done_before(
                kept,
                [name, tasks, seed, count, asdict(PLAN), fingerprint(base)],
                partial(tuned, base, tokenizer, tasks, count, seed),
            )
            for seed in range(seeds)
        ]
    done[TAUGHT] = [_done_before(kept, [TAUGHT, fingerprint(taught)], partial(tested, taught, tokenizer))]
    measures = list(done["not tuned"][0]["scores"])
    first, *_, last = TUNINGS
    return {
        "command": f"python -m genai_labs instructions --seeds {seeds}",
        "seeds": seeds,
        "examples": count,
        "steps": -(-count // PLAN.batch_size),
        "plan": asdict(PLAN),
        "n": TESTED,
        "tunings": {name: list(tasks) for name, tasks in TUNINGS.items()},
        "read": {name: {k: v for k, v in runs[0].items() if k != "scores"} for name, runs in done.items()},
        "measures": {name: {each: _summed_up(runs, each) for each in measures} for name, runs in done.items()},
        "differences": {
            f"{name} minus {other}": {each: _difference_of_tunings(done[name], done[other], each) for each in measures}
            for name, other in ((last, first), (last, "4 tasks"), ("4 tasks", first))
        },
        "versions": versions(),
    }


def tuned(base: Any, tokenizer: Any, tasks: Sequence[str], count: int, seed: int) -> dict[str, Any]:
    """Tune a copy of the base on tasks, and test it; with the tokens that it read."""
    drawn = mixture(tasks, count + HELD_BACK, seed)
    features = encode_pairs([each.source for each in drawn], [each.target for each in drawn], tokenizer)
    with TemporaryDirectory() as folder:
        done = finetune(
            base, tokenizer, features[:count], features[count:], replace(PLAN, seed=seed), Path(folder) / "run"
        )
    return {
        "scores": tested(done.model, tokenizer),
        "tokens of prompts": sum(len(row["input_ids"]) for row in features[:count]),
        "tokens of answers": sum(len(row["labels"]) for row in features[:count]),
        "seconds": round(done.seconds, 1),
        "validation loss": round(done.history[-1]["validation_loss"], 3),
    }


def _done_before(kept: Path, settings: list[Any], make: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """What was made with these settings before, or what is made now, and then kept."""
    key = json.dumps(settings)
    lines = kept.read_text(encoding="utf-8").splitlines() if kept.exists() else []
    found = {}
    for line in lines:
        with suppress(ValueError):  # a command that was killed may have left half a line
            row = json.loads(line)
            found[row["key"]] = row["made"]
    if key not in found:
        made = make()
        found[key] = made if "scores" in made else {"scores": made}
        kept.parent.mkdir(parents=True, exist_ok=True)
        half = kept.exists() and not kept.read_bytes().endswith(b"\n")
        with kept.open("a", encoding="utf-8") as file:
            file.write("\n" * half + json.dumps({"key": key, "made": found[key]}) + "\n")
    return found[key]


def _by_example(runs: Sequence[dict[str, Any]], measure: str) -> Any:
    return np.mean([each["scores"][measure] for each in runs], axis=0)


def _summed_up(runs: Sequence[dict[str, Any]], measure: str) -> dict[str, list[float]]:
    interval = paired_bootstrap(_by_example(runs, measure))
    seeds = [float(np.mean(each["scores"][measure])) for each in runs]
    return {"interval": [round(x, 4) for x in interval[:3]], "seeds": [round(x, 4) for x in seeds]}


def _difference_of_tunings(
    runs: Sequence[dict[str, Any]], others: Sequence[dict[str, Any]], measure: str
) -> list[float]:
    return [round(x, 4) for x in paired_bootstrap(_by_example(runs, measure), _by_example(others, measure))[:3]]


def instructions_page(record: dict[str, Any]) -> str:
    """The record as a page: what was tuned on what, the tests, and the differences."""
    measures = list(record["measures"]["not tuned"])
    rows = [[row.pop("tuned on"), *row.values()] for row in instructions_table(record, measures)]
    differences = [
        [each, *("{:+.3f} [{:+.3f}, {:+.3f}]".format(*found[each]) for found in record["differences"].values())]
        for each in measures
    ]
    told = "\n".join(f"- **{name}**: {', '.join(tasks)}" for name, tasks in record["tunings"].items())
    read = [
        [name, *(f"{row[key]:,}" for key in ("tokens of prompts", "tokens of answers")), row["validation loss"]]
        for name, row in record["read"].items()
        if "tokens of prompts" in row
    ]
    return (
        f"# Instruction tuning in the small\n\nMade by `{record['command']}`: the model that was only pre-trained (7 "
        f"million parameters), tuned in {record['steps']} steps on {record['examples']:,} examples, as many of each "
        f"task, {record['seeds']} training(s) each. After Wei et al. 2021 (https://arxiv.org/abs/2109.01652).\n\n{told}\n\n"
        f"Tested on {record['n']} examples each{record.get('on', '')}. "
        f"*New wordings*: {len(prompts.NEW_WORDINGS)} ways to ask for a summary "
        f"and {len(TOPIC_WORDINGS)} to ask for a topic, none of which a tuning met. *New task*: who did it, of the two "
        "speakers of a dialogue (exact answer; whoever always names the same one has about half of them right); no "
        "tuning met it. The eight tasks hold one with the same words around the question, about notes and not about "
        f"speakers. *{TAUGHT}* is the shipped model, which learned all of this, the new task too, from millions of "
        "examples.\n\n"
        f"Mean over seeds [95 % interval over the examples]:\n\n{table(['tuned on', *measures], rows)}\n\n"
        f"Differences, with their intervals:\n\n{table(['test', *record['differences']], differences)}\n\n"
        "What the first seed read:\n\n"
        f"{table(['tuned on', 'tokens of prompts', 'tokens of answers', 'validation loss of its own tasks'], read)}\n"
    )


def instructions_plot(record: dict[str, Any]) -> Plot:
    """The scores in the tests of DRAWN over the number of tasks that were tuned on."""
    tuned = {len(tasks): record["measures"][name] for name, tasks in record["tunings"].items()}
    lines = {test: [tuple(found[test]["interval"]) for found in tuned.values()] for test in DRAWN}
    return line_with_band(list(tuned), lines, "tasks tuned on", "score (0 to 1)")


def main(argv: Sequence[str] | None = None) -> int:
    """Tune and test, and write ``results/lab2_instruction_tuning`` as ``.json``, ``.md`` and ``.png``."""
    parser = argparse.ArgumentParser(prog="python -m genai_labs instructions", description=plain(__doc__))
    parser.add_argument("--out", type=writable_folder, default=RESULTS)
    parser.add_argument("--seeds", type=whole_number(1, 20), default=SEEDS, help="(default: %(default)s)")
    parser.add_argument(
        "--examples", type=whole_number(64), default=EXAMPLES, help="of each tuning (default: %(default)s)"
    )
    args = parser.parse_args(argv)
    record = tune_and_test(args.seeds, args.examples, BUILD / "instructions.jsonl")
    write(record, instructions_page(record), args.out, FILE)
    (args.out / f"{FILE}.png").write_bytes(instructions_plot(record).png())
    return 0
