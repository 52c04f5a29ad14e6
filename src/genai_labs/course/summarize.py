"""Summarize your own dialogues, with the profile's model or with one that you have trained."""

from __future__ import annotations

import argparse
import csv
import io
import json
import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

from genai_labs.errors import LabError
from genai_labs.finetuning import lora
from genai_labs.inputs import text
from genai_labs.inputs.options import whole_number
from genai_labs.inputs.tables import ENDINGS, MARK, Table, complain, read_table, read_text, text_problem
from genai_labs.loading import data, models
from genai_labs.loading.profiles import Profile, Weights, lab_seed, load_profile
from genai_labs.prompting import familiarity, generation, names, prompts
from genai_labs.prompting.speakers import NAMED, TaggedDialogue, with_tags
from genai_labs.system import files

TEXTS = (".txt", ".md", "")
COLUMN, OUTPUT, FAMILIARITY = "dialogue", "output", "familiarity"
MOST_SHOTS = 20
EPILOG = """\
FILE is a CSV file in UTF-8 with a column "dialogue", JSON lines (.jsonl) with a field "dialogue", or a text file (.txt)
with one dialogue; one turn a line, such as "Anna: Hello." Names are given to the model as #Person1#, #Person2#, ...,
which is what it has learned from, and put back into the summary. Characters that it does not know are replaced by some
that it does (curly quotes by straight ones, in the small model also accents and currency signs). The middle of a
dialogue that is too long is cut out, which is said. --out writes the format of FILE: other columns are kept, and
"output" is added, and for a model that knows its domain, without --adapter, "familiarity": the share, 0 to 1, of the
domain's dialogues that surprise it at least as much. A summary of an unfamiliar dialogue comes with a word of warning.
FILE itself is never changed.
"""
REMEDY = "Mend the file and run the same command."


def main(argv: Sequence[str] | None = None) -> int:
    """Read and check the file, load the model, print the summaries, and write them where that is asked for."""
    args = make_parser().parse_args(argv)
    profile = load_profile(args.profile)
    if args.weights:
        profile = replace(profile, weights=args.weights)
    if args.out:
        check_out(args.out, args.file)
    folder = find_trained(args.adapter) if args.adapter else None
    table = read_dialogues(args.file)
    tokenizer = models.load_tokenizer(profile)
    dialogues = understand(table, tokenizer)
    make = prompt_maker(profile, args.shots)
    asked = prompts.fit_all(make, [each.text for each in dialogues], tokenizer)
    model, tokenizer = model_of(profile, folder)
    config = generation.greedy(profile.max_new_tokens)
    made = generation.generate(model, tokenizer, asked, config, batch_size=profile.batch_size)
    outputs = [each.with_names(summary) for each, summary in zip(dialogues, made, strict=True)]
    show(table, outputs)
    added: dict[str, list[Any]] = {OUTPUT: outputs}
    try:
        # What surprises a model that was trained further cannot be held against what surprises the profile's own.
        shares = [] if folder else familiarities(profile, model, tokenizer, [each.text for each in dialogues])
        if shares:
            added[FAMILIARITY] = [round(share, 2) if share == share else "" for share in shares]
            warn(table, shares)
    finally:  # the summaries are there, whatever ends this
        if args.out:
            write_summaries(table, added, args.out)
    return 0


def make_parser() -> argparse.ArgumentParser:
    """The options."""
    parser = argparse.ArgumentParser(
        prog="python -m genai_labs summarize",
        description=__doc__,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("file", type=Path, metavar="FILE", help="your dialogues: .csv, .jsonl or .txt")
    parser.add_argument(
        "--shots",
        type=whole_number(0, MOST_SHOTS),
        default=0,
        metavar="N",
        help="solved examples to show in the prompt, from the profile's training dialogues (default: 0)",
    )
    parser.add_argument("--profile", metavar="NAME", help="which model (default: mini, or GENAI_LABS_PROFILE)")
    parser.add_argument("--adapter", type=Path, metavar="DIR", help="what finetune has saved: an adapter or a model")
    parser.add_argument("--weights", choices=get_args(Weights), help="how to store the model, as finetune was told")
    parser.add_argument("--out", type=Path, metavar="FILE", help="a file to write to (default: print only)")
    return parser


def read_dialogues(path: Path) -> Table:
    """The file as a table with a row for each dialogue; LabError with all that is wrong with it."""
    ending = path.suffix.lower()
    if ending in TEXTS:
        whole = read_text(path)
        return Table(path, [COLUMN], [{COLUMN: whole.replace("\r\n", "\n").strip()}], [1])
    if ending not in ENDINGS:
        raise LabError(
            f"What is in {path.name} cannot be told by its ending {ending}. Save the dialogues as .csv, .jsonl or, if "
            "it is one, .txt."
        )
    table = read_table(path)
    for name, wanted in ((COLUMN, True), (OUTPUT, False), (FAMILIARITY, False)):
        if table.rows and (name in table.columns) is not wanted:
            there = f"lacks the column {name}" if wanted else f"has a column {name} already, which would be lost"
            table.problems.insert(0, f"{path.name} {there} (its columns: {', '.join(table.columns)})")
    if not table.rows and not table.problems:
        table.problems.append(f"{path.name} has no dialogues, only names of columns")
    if COLUMN in table.columns:
        for line, row in zip(table.lines, table.rows, strict=True):
            problem = text_problem(row[COLUMN], COLUMN) if COLUMN in row else f"has no {COLUMN}"
            if problem:
                table.problems.append(f"Line {line} of {path.name} {problem}")
    complain(path.name, table.problems, REMEDY)
    return table


def understand(table: Table, tokenizer: models.PreTrainedTokenizerBase) -> list[TaggedDialogue]:
    """The dialogues as the model can read them; a printed note says what it will not see, and LabError what is lost."""
    dialogues, lost, problems = [], "", []
    for line, row in zip(table.lines, table.rows, strict=True):
        dialogue = with_tags(row[COLUMN])
        made = text.readable(dialogue.text, tokenizer)
        if text.is_mostly_lost(dialogue.text, made.text):
            problems.append(
                f"The dialogue in line {line} of {table.path.name} is mostly in letters that the model does not know "
                f"({' '.join(made.lost[: text.MOST_NAMED])})"
            )
        dialogue.text = made.text
        lost += made.lost
        dialogues.append(dialogue)
    complain(table.path.name, problems, "The model can read English only. Translate these, or leave them out.")
    if lost:
        print(f"Note: {text.note(''.join(dict.fromkeys(lost)))}.")
    say_who_speaks(table, dialogues)
    return dialogues


def say_who_speaks(table: Table, dialogues: Sequence[TaggedDialogue]) -> None:
    """Print notes on dialogues whose speakers cannot be read, or can be read wrongly."""
    begun, plain, odd = list[int](), list[int](), list[str]()
    for line, row, dialogue in zip(table.lines, table.rows, dialogues, strict=True):
        if dialogue.is_plain:
            (begun if any(map(NAMED.match, row[COLUMN].splitlines())) else plain).append(line)
        odd += names.odd_speakers(dialogue, f"line {line}")
    begins = "a turn begins with a name and a colon, such as 'Anna: Hello.'"
    for lines, why in (
        (begun, f"{begins}, and what stands before the first one does not. Take it out."),
        (plain, f"{begins}. The model has learned from dialogues alone: expect little."),
    ):
        if lines:
            which = f"line {lines[0]}" if len(lines) == 1 else f"{len(lines)} dialogues, the first in line {lines[0]},"
            print(f"Note: no speakers were found in {which} of {table.path.name}: {why}")
    if odd:
        print(f"Note: {names.odd_note(table.path.name, odd)}")


def prompt_maker(profile: Profile, shots: int) -> Callable[[str], str]:
    """What makes a prompt of a dialogue: zero-shot, or with exemplars from the profile's training split."""
    if not shots:
        return prompts.zero_shot
    exemplars = prompts.choose_exemplars(data.load_split(profile.dataset, "train"), shots, lab_seed())
    return lambda dialogue: prompts.few_shot(dialogue, exemplars)


def find_trained(folder: Path) -> Path:
    """The folder that holds an adapter or a model: this one, or ``model`` in it, where finetune saves."""
    for each in (folder, folder / "model"):
        if any(os.path.isfile(each / name) for name in ("adapter_config.json", "config.json")):
            return each
    what = "holds neither an adapter nor a model" if os.path.isdir(folder) else "is no folder"
    raise LabError(
        f"{folder} {what}, so nothing can be loaded from it. Name the folder in which finetune said that it saved; "
        "it ends in model."
    )


def model_of(profile: Profile, folder: Path | None) -> tuple[Any, models.PreTrainedTokenizerBase]:
    """The profile's model, that model with the adapter in ``folder``, or the model that is in ``folder``."""
    if folder is None:
        return models.load_model(profile)
    if (folder / "adapter_config.json").exists():
        base, tokenizer = models.load_model(profile)
        return lora.load_adapter(base, folder), tokenizer
    return models.load_model(replace(profile, model=str(folder.resolve())))


def familiarities(profile: Profile, model: Any, tokenizer: Any, dialogues: Sequence[str]) -> list[float]:
    """How familiar each dialogue is to the profile's model, 0 to 1; empty where that was not measured for it."""
    known = familiarity.known_losses(Path(profile.model))
    if not known:
        return []
    return familiarity.familiarity(familiarity.dialogue_losses(model, tokenizer, dialogues), known).tolist()


def show(table: Table, outputs: Sequence[str]) -> None:
    """Print each summary, and where there are several, the line of the file on which its dialogue begins."""
    for line, output in zip(table.lines, outputs, strict=True):
        print(f"line {line}: {output}" if len(outputs) > 1 else output)


def warn(table: Table, shares: Sequence[float]) -> None:
    """Print a word of warning for each dialogue that is unfamiliar to the model."""
    for line, share in zip(table.lines, shares, strict=True):
        if share < familiarity.UNFAMILIAR:
            which = f"line {line}: u" if len(shares) > 1 else "U"
            print(f"{which}nfamiliar ({share:.2f}): this dialogue is {familiarity.WARNING}.")


def check_out(out: Path, file: Path) -> None:
    """Raise LabError where the result cannot be written, or would replace the dialogues."""
    try:
        if out.exists() and file.exists() and out.samefile(file):
            raise LabError(f"--out names the file of the dialogues, {file}, which would be lost. Name another file.")
        written = out if out.exists() and not out.is_file() else out.resolve().parent  # a file is written beside it
        if out.is_dir() or not out.parent.is_dir() or not os.access(written, os.W_OK):
            what = "is a folder" if out.is_dir() else "cannot be written: its folder is missing or closed to you"
            raise LabError(f"--out {out} {what}. Name a file in a folder that is there.")
    except OSError as error:
        raise LabError(f"--out {out} cannot be written ({error}). Name another file.") from error


def printed_to(out: Path) -> bool:
    """Whether a file is the one that printed words go to, as /dev/stdout is: what is written over it would be lost."""
    try:
        return os.path.samestat(os.fstat(1), out.stat())
    except OSError:  # there is no such file, or nothing to print to
        return False


def write_summaries(table: Table, added: dict[str, list[Any]], out: Path) -> None:
    """Write the rows with their summaries in the format of the file that they come from, whole or not at all.

    added: new columns, :data:`OUTPUT` among them; a text file gets that one alone.
    """
    rows = [row | {name: values[i] for name, values in added.items()} for i, row in enumerate(table.rows)]
    whole = io.StringIO(newline="")
    is_csv = table.path.suffix.lower() == ".csv"
    if is_csv:
        # A carriage return alone ends a line, too, for whoever reads the file, but csv would write it without quotes.
        returns = any("\r" in str(value) for row in rows for value in row.values())
        writer = csv.DictWriter(
            whole,
            [*table.columns, *added],
            lineterminator="\n",
            quoting=csv.QUOTE_ALL if returns else csv.QUOTE_MINIMAL,
        )
        writer.writeheader()
        writer.writerows(rows)
    elif table.path.suffix.lower() == ".jsonl":
        whole.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    else:
        whole.write(f"{added[OUTPUT][0]}\n")
    made = whole.getvalue().encode("utf-8", "backslashreplace").decode()
    try:
        if is_csv and table.has_mark:
            made = f"{MARK}{made}"
        printed, device = printed_to(out), out.absolute().parts[1:2] in (("dev",), ("proc",))
        replaced = out.is_file() and not (printed or device)
        if printed:
            print(made, end="")
        elif replaced or not out.exists():
            files.write_whole(out.resolve(), made)
        else:  # a pipe, or what else is no file; /dev/stderr may stand for a file with something in it
            with out.open("a" if out.is_file() else "w", encoding="utf-8", newline="\n") as file:
                file.write(made)
    except OSError as error:
        raise LabError(f"{out} cannot be written ({error}). The summaries are above.") from error
    print(f"Written to {out}{' (replaced)' * replaced}.")
