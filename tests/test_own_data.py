"""finetune --data: files, folders, all that is wrong said at once, few dialogues, and the command to use the model."""

import json
import random
import re
import sys
from collections.abc import Sequence
from pathlib import Path, PureWindowsPath
from types import SimpleNamespace
from typing import Any, cast

import pytest
from peft import PeftModel

from genai_labs.course import summarize
from genai_labs.errors import Interrupted, LabError
from genai_labs.finetuning import command, lora, own, training
from genai_labs.finetuning.training import Plan
from genai_labs.loading import models
from genai_labs.loading.data import Row
from genai_labs.loading.profiles import load_profile
from genai_labs.paths import DIALOGUES
from genai_labs.prompting.names import tag_summary
from genai_labs.prompting.speakers import with_tags
from genai_labs.scoring.metrics import Interval

TOKENIZER = models.load_tokenizer(load_profile("mini"))


def table(count: int, start: int = 0) -> str:
    """A CSV file with so many dialogues."""
    rows = [
        f'"#Person1#: Hello, are you number {i}?\n#Person2#: Yes, I am number {i}.","#Person2# is number {i}."'
        for i in range(start, start + count)
    ]
    return "\n".join(["dialogue,summary", *rows, ""])


def file(folder: Path, text: str | bytes, name: str = "own.csv") -> Path:
    path = folder / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


@pytest.fixture
def no_model(monkeypatch: pytest.MonkeyPatch) -> None:
    def load(*_: Any) -> None:
        raise AssertionError("a model was loaded")

    monkeypatch.setattr(models, "load_model", load)


def run(path: Path, *line: object) -> int:
    return command.main(["--data", str(path), *map(str, line)])


@pytest.mark.parametrize("count", [5, 6, 16, 40, 700])
def test_of_one_file_a_part_is_set_aside_and_no_dialogue_is_in_both(count: int, tmp_path: Path) -> None:
    train, validation, notes = own.load_own(file(tmp_path, table(count)), TOKENIZER)
    assert len(train) + len(validation) == count
    assert len(validation) == min(100, max(2, round(count / 5)))
    assert not {row.dialogue for row in train} & {row.dialogue for row in validation}
    assert len({row.id for row in train + validation}) == count
    assert f"{len(validation)} were set aside" in notes[0]
    assert own.load_own(tmp_path / "own.csv", TOKENIZER) == own.Own(train, validation, notes)


def test_dialogues_that_differ_in_spaces_only_stay_together(tmp_path: Path) -> None:
    rows = [
        {"dialogue": f"#Person1#: {i}\n#Person2#: yes" + " " * twice, "summary": "S"}
        for i in range(10)
        for twice in range(3)
    ]
    random.Random(0).shuffle(rows)
    path = file(tmp_path, "\n".join(map(json.dumps, rows)), "own.jsonl")
    train, validation, _ = own.load_own(path, TOKENIZER)
    assert (len(train), len(validation)) == (24, 6)
    assert not {row.dialogue.strip() for row in train} & {row.dialogue.strip() for row in validation}


def test_a_folder_with_a_validation_file_is_taken_as_it_is(tmp_path: Path) -> None:
    file(tmp_path, table(8), "train.csv")
    file(tmp_path, table(4, start=6), "validation.csv")
    train, validation, notes = own.load_own(tmp_path, TOKENIZER)
    assert (len(train), len(validation)) == (6, 4)
    shared = "Left out of the training, as the validation file has the same: 2 dialogues."
    assert notes == [shared, "6 dialogues to train on, 4 to validate with."]


def test_a_folder_with_train_alone_is_divided(tmp_path: Path) -> None:
    file(tmp_path, table(10), "train.csv")
    train, validation, _ = own.load_own(tmp_path, TOKENIZER)
    assert (len(train), len(validation)) == (8, 2)


def test_own_texts_are_made_readable(tmp_path: Path) -> None:
    path = file(tmp_path, table(5).replace("Hello", "“Café” 你").replace("is number", "isn’t"))
    train, _, notes = own.load_own(path, TOKENIZER)
    assert train[0].dialogue.startswith("#Person1#: 'Cafe' ")
    assert "isn't" in train[0].summary
    assert "left out: 你" in notes[0]


@pytest.mark.usefixtures("no_model")
@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("own.csv", table(4), "4 different dialogues .* at least 5"),
        ("own.csv", table(1) + table(1) * 9, "1 field|empty|different dialogues"),
        ("own.csv", "text,summary\na,b\n", "lacks the column dialogue"),
        ("own.csv", b"\xff\xfe", "in UTF-8"),
        ("own.csv", "", "is empty"),
        ("own.pdf", "x", "neither a CSV file nor JSON lines"),
        ("other.csv", table(9), r"There is no file .*own\.csv"),
        ("own.jsonl", "[]\n" * 7, "There are 8 problems"),
        ("own.csv", table(9).replace("Hello, are you", "你好吗" * 20), "mostly in letters"),
    ],
)
def test_what_is_wrong_is_said_before_a_model_is_loaded(
    name: str, text: str | bytes, words: str, tmp_path: Path
) -> None:
    path = file(tmp_path, text, name)
    with pytest.raises(LabError, match=words):
        run(path if name != "other.csv" else tmp_path / "own.csv")


def test_a_name_on_the_hub_keeps_its_slash_on_windows(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    monkeypatch.setattr(own.hub, "find", lambda source, kind: asked.append(source) or DIALOGUES)  # type: ignore[func-returns-value]
    assert own._files(cast(Path, PureWindowsPath("owner/name")))["train"] == DIALOGUES / "train.csv"
    assert asked == ["owner/name"]


@pytest.mark.usefixtures("no_model")
def test_all_that_is_wrong_with_both_files_is_said_at_once(tmp_path: Path) -> None:
    file(tmp_path, "dialogue,summary\nA: Hi,S,\nA: Hi,\n", "train.csv")
    file(tmp_path, b"\xff", "validation.csv")
    with pytest.raises(LabError, match="There are 4 problems") as caught:
        run(tmp_path)
    for words in (
        "Line 2 of train.csv has 3",
        "empty summary",
        "validation.csv cannot be read",
        "has 1 different dialogue to train on",
    ):
        assert words in str(caught.value)


@pytest.mark.usefixtures("no_model")
def test_a_folder_without_train_says_what_to_do(tmp_path: Path) -> None:
    file(tmp_path, table(9))
    with pytest.raises(LabError, match=r"has no train\.csv, .*found: own\.csv.*--data .*own\.csv"):
        run(tmp_path)
    with pytest.raises(LabError, match="There is no folder"):
        run(tmp_path / "none")
    file(tmp_path, table(9), "train.csv")
    file(tmp_path, table(6), "validation.csv")
    with pytest.raises(LabError, match="there would be 3 dialogues, without those that are in the validation file"):
        run(tmp_path)
    with pytest.raises(LabError, match="smaller batch size"):
        run(tmp_path / "own.csv", "--batch-size", 32)


@pytest.mark.parametrize(
    ("rows", "batch", "epochs"), [(3, 3, 150), (13, 4, 38), (100, 4, 6), (300, 16, 8), (5000, 16, 2)]
)
def test_few_dialogues_get_small_batches_and_more_epochs(rows: int, batch: int, epochs: int) -> None:
    profile, parse = load_profile("mini"), command.finetune_parser().parse_args
    plan = command.make_plan(parse(["--data", "own.csv"]), profile, rows)
    assert (plan.batch_size, plan.epochs, plan.learning_rate) == (batch, epochs, profile.full["learning_rate"])
    asked = command.make_plan(parse(["--data", "own.csv", "--epochs", "2", "--batch-size", "1"]), profile, rows)
    assert (asked.batch_size, asked.epochs) == (1, 2)
    assert command.make_plan(parse([]), profile) == Plan(**profile.full)


@pytest.mark.parametrize("option", ["rows", "held-out", "epochs", "rate", "batch-size", "rank", "seed"])
@pytest.mark.parametrize("value", ["0", "-1", "nan", "inf", "100000000000", "many", ""])
def test_impossible_numbers_are_refused_with_what_is_possible(
    option: str, value: str, capsys: pytest.CaptureFixture[str]
) -> None:
    if (option, value) == ("seed", "0"):
        return
    with pytest.raises(SystemExit) as stop:
        command.finetune_parser().parse_args([f"--{option}={value}"])
    assert stop.value.code == 2
    assert "is not allowed: a" in capsys.readouterr().err


def test_five_dialogues_are_trained_on_and_the_command_that_is_named_uses_them(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, out = file(tmp_path, table(5)), tmp_path / "out"
    assert run(path, "--method", "lora", "--epochs", 1, "--out", out) == 0
    said = capsys.readouterr().out
    assert "3 dialogues to train on; 2 were set aside" in said
    assert said.count("  before: ") == said.count("  after: ") == said.count("  reference: ") == 2
    assert "With 2 validation dialogues, do not rely on it." in said
    assert "These dialogues also chose the best epoch, which flatters it a little" in said
    python, line = said.split("To use it: ")[1].strip().split(" -m genai_labs summarize ")
    assert Path(python).absolute() == Path(sys.executable)
    words: Sequence[str] = line.replace("FILE", str(path)).split()
    assert summarize.main(words) == 0
    assert capsys.readouterr().out.count("line ") == 5


def test_what_is_thrown_away_is_not_served_while_another_run_trains(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: Any) -> None:
        raise KeyboardInterrupt

    (tmp_path / "model").mkdir()
    monkeypatch.setattr(training, "_train_epochs", interrupted)
    for option, left in (("--replace", True), ("--fresh", False)):
        with pytest.raises(Interrupted):
            run(file(tmp_path, table(7)), "--method", "lora", "--out", tmp_path, option)
        assert (tmp_path / "model").exists() is left


@pytest.mark.parametrize(("epochs", "best", "shown"), [(1, 1, 1), (20, 7, 20), (150, 17, 21), (150, 16, 20)])
def test_the_losses_of_many_epochs_fit_on_a_screen_and_hold_the_best_one(
    epochs: int, best: int, shown: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    history = [{"epoch": float(n), "train_loss": 0.0, "validation_loss": 0.0} for n in range(1, epochs + 1)]
    run = SimpleNamespace(history=history, best_epoch=best, seconds=1.0, throughput=1.0, folder=tmp_path)
    rows = [Row(str(n), "#Person1#: Hello.", ("#Person1# says hello.",), "") for n in range(2)]
    command.print_report(cast(Any, run), [["a"] * 2, ["b"] * 2], rows, chose=True)
    said = re.findall(r"^epoch (\d+): ", capsys.readouterr().out, flags=re.MULTILINE)
    assert len(said) == shown
    assert {"1", str(best), str(epochs)} <= set(said)


@pytest.mark.parametrize(
    ("rows", "wanted", "choose", "score"),
    [
        (500, None, range(100), range(100, 200)),
        (60, None, range(30), range(30, 60)),
        (40, None, range(20), range(20, 40)),
        (39, None, range(39), range(39)),
        (2, None, range(2), range(2)),
        (500, 300, range(300), range(300, 400)),
        (500, 490, range(490), range(100)),
    ],
)
def test_rows_that_choose_the_epoch_are_not_scored_where_enough_are_left(
    rows: int, wanted: int | None, choose: range, score: range
) -> None:
    made = [Row(str(number), "d", ("s",), "") for number in range(rows)]
    choosing, scored = command.divide(made, wanted, 100)
    assert [int(row.id) for row in choosing] == list(choose)
    assert [int(row.id) for row in scored] == list(score)


def test_a_plain_word_says_whether_something_was_learned() -> None:
    assert "Something was learned" in command.learned_in_words(Interval(0.2, 0.1, 0.3, 50))
    assert command.learned_in_words(Interval(0.2, 0.0, 0.3, 50)).startswith("Nothing that can be shown was learned")
    assert "It got worse" in command.learned_in_words(Interval(-0.2, -0.3, -0.1, 50))
    assert "do not rely on it" in command.learned_in_words(Interval(0.2, 0.1, 0.3, 5))


def test_the_command_names_this_python_as_it_is_called_from_here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    args, profile = command.finetune_parser().parse_args([]), load_profile("mini")
    monkeypatch.delenv("GENAI_LABS_PROFILE", raising=False)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "executable", str(tmp_path / "venv" / "python"))
    python, model = Path("venv", "python"), Path("out", "model")
    line = f"{python} -m genai_labs summarize FILE --adapter {model}"
    assert command.use_command(args, profile, tmp_path / "out") == line


def test_what_of_a_file_is_not_learned_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = table(9).replace("is number 3.", "is number 3, and more." * 40)
    text = text.replace("#Person1#: Hello, are you number 4", "4").replace("#Person2#: Yes, I am number 4", "Yes")
    line = ["--data", str(file(tmp_path, text)), "--rows", "2", "--batch-size", "1"]
    train, _ = command.rows_to_use(command.finetune_parser().parse_args(line), load_profile("mini"), TOKENIZER)
    said = capsys.readouterr().out
    assert len(train) == 2
    assert "own.csv: 1 summary has more than 128 tokens, and what is beyond them is not learned.\n" in said
    assert "own.csv: no speakers were found in 1 dialogue, whose first line has no name" in said
    assert "there is no validation file.\nOf those to train on 2 are used (--rows).\n" in said


@pytest.mark.usefixtures("no_model")
@pytest.mark.parametrize(("mark", "name"), [(";", "semicolons"), ("\t", "tabs")])
def test_of_a_file_with_other_separators_nothing_else_is_said(mark: str, name: str, tmp_path: Path) -> None:
    with pytest.raises(LabError, match=f"divided by {name}, and commas are wanted. Save it again") as caught:
        run(file(tmp_path, table(9).replace('","', f'"{mark}"').replace("dialogue,", f"dialogue{mark}")))
    assert "problems" not in str(caught.value)
    assert "lacks" not in str(caught.value)


TALK = "Anna Lee: Will you come?\nBen: Yes, Anna."


@pytest.mark.parametrize(
    ("names", "summary", "tagged"),
    [
        (["Sara", "Clara"], "Clara brings wine to Sara's party.", "#Person2# brings wine to #Person1#'s party."),
        (["Ann", "Anna"], "Anna and Ann ask Annabel, Anna-Lena.", "#Person2# and #Person1# ask Annabel, Anna-Lena."),
        (["Anna", "Ben"], "Anna tells Ben Anna Lee waits.", "#Person1# tells #Person2# Anna Lee waits."),
        (["Anna", "Ben"], "ANNA tells Anna Ben comes.", "#Person1# tells #Person1# #Person2# comes."),
        (["Dr. Lee", "Will"], "Dr. Lee will see Will.", "#Person1# will see #Person2#."),
        (["O’Neil", "anna"], "O'Neil's aunt, anna, left.", "#Person1#'s aunt, #Person2#, left."),
        (["Speaker 1", "Speaker 2"], "Speaker 2 thanks Speaker 1.", "#Person2# thanks #Person1#."),
        (["Anna Lee", "Bob Kim"], "Anna asks Bob and Anna Kim.", "#Person1# asks #Person2# and Anna Kim."),
        (["A", "B"], "A asks B for a pen. A man and A wait.", "#Person1# asks #Person2# for a pen. A man and A wait."),
        (["a", "b"], "a man greets İris.", "a man greets İris."),
        (["The Customer", "Clerk"], "The Customer and the clerk. The shop.", "#Person1# and the clerk. The shop."),
        (["Dr. Lee", "Mrs Brown"], "Mrs. Green and Mrs Brown wait.", "Mrs. Green and #Person2# wait."),
        (["Sales Rep", "Old Man"], "A Sales Rep: Sales are low. Old shoes.", "A #Person1#: Sales are low. Old shoes."),
        (["Customer Service", "Guest"], "Customer Service lost Customer data.", "#Person1# lost Customer data."),
        (["Rose Hill", "Bo"], "Rose asks Bo. Rose wine is sweet.", "#Person1# asks #Person2#. Rose wine is sweet."),
        (["Anna Lee", "Bo"], "Anna will go. Bo asked Anna to.", "#Person1# will go. #Person2# asked #Person1# to."),
        (["Anna", "Ben"], "Anna sees Ben Monday. Ben I like.", "#Person1# sees #Person2# Monday. #Person2# I like."),
        (["Anna", "Ben"], "Anna sees Ben May and Ben May 3.", "#Person1# sees Ben May and #Person2# May 3."),
        (["A", "B"], "A friend of B. A loan is needed. A bus.", "A friend of #Person2#. A loan is needed. A bus."),
        (["Will", "May"], "Will meets May in May. It is 3 May.", "#Person1# meets #Person2# in May. It is 3 May."),
        (["May", "patient"], "May 3: A patient man asks patient.", "May 3: A patient man asks #Person2#."),
        (["Weiß", "İlker"], "Weiß asks İlker.", "#Person1# asks #Person2#."),
    ],
)  # fmt: skip
def test_names_in_a_summary_become_the_tags_of_those_who_speak(names: list[str], summary: str, tagged: str) -> None:
    assert tag_summary(summary, names) == tagged


def test_a_dialogue_with_names_is_learned_as_summarize_reads_it_and_names_come_back(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    summaries = [f"Anna Lee asks Ben's friend {i}." for i in range(7)] + ["Somebody asks.", "#Person2# asks."]
    talks = [f"{TALK} {i}" for i in range(8)] + ["#Person1#: Ben?\n#Person2#: No, Anna."]
    rows = [{"dialogue": talk, "summary": summary} for talk, summary in zip(talks, summaries, strict=True)]
    train, validation, notes = own.load_own(file(tmp_path, "\n".join(map(json.dumps, rows)), "own.jsonl"), TOKENIZER)
    made = {row.id: row for row in [*train, *validation]}
    for number, (talk, summary) in enumerate(zip(talks, summaries, strict=True)):
        row, tagged = made[f"train_{number}"], with_tags(talk)
        assert (row.dialogue, list(row.names)) == (tagged.text, tagged.names)
        assert tagged.with_names(row.summary) == summary
    assert made["train_0"].summary == "#Person1# asks #Person2#'s friend 0."
    assert (made["train_8"].dialogue, made["train_8"].summary) == (talks[8], "#Person2# asks."), "as it was"
    assert "names became #Person1#, #Person2#, ... in 8 dialogues, and in 7 of their summaries; the other 1" in notes[0]
    run = SimpleNamespace(history=[], best_epoch=1, seconds=1.0, throughput=1.0, folder=tmp_path)
    two = [made["train_0"], made["train_1"]]
    command.print_report(cast(Any, run), [["#Person2# asks."] * 2, ["#Person1# goes."] * 2], two, chose=True)
    said = capsys.readouterr().out
    for words in ("before:    Ben asks.", "after:     Anna Lee goes.", "reference: Anna Lee asks Ben's friend 1."):
        assert words in said


def test_a_line_that_is_perhaps_no_turn_is_said_and_no_word_of_a_summary_is_taken_for_it(tmp_path: Path) -> None:
    talks = [f"{TALK} {i}\nMilk: 2 litres\nAnna Lee: Fine.\nBen: Bye." for i in range(7)]
    rows = [{"dialogue": talk, "summary": "Ben wants Milk."} for talk in talks]
    train, _, notes = own.load_own(file(tmp_path, "\n".join(map(json.dumps, rows)), "own.jsonl"), TOKENIZER)
    assert "\n#Person3#: 2 litres" in train[0].dialogue
    assert {row.summary for row in train} == {"#Person2# wants Milk."}
    assert notes[1].startswith("own.jsonl was read: train_0 as spoken by ")
    assert "Anna Lee, Ben, Milk (once only: Milk)" in notes[1]
    assert "; and 4 more. If one of these is nobody, write that turn on one line." in notes[1]


def test_dialogues_that_differ_in_names_only_are_counted_once_which_is_said(tmp_path: Path) -> None:
    talks = [
        f"{TALK} {i}".replace(", Anna", "").replace("Anna", name) for i in range(6) for name in ("Anna", "Eva", "Anna")
    ]
    rows = [{"dialogue": talk, "summary": "Somebody asks."} for talk in talks]
    path = file(tmp_path, "\n".join(map(json.dumps, rows)), "own.jsonl")
    train, validation, notes = own.load_own(path, TOKENIZER)
    assert len(train) + len(validation) == 6
    assert notes[1].startswith("own.jsonl: 6 dialogues are the same as another but for the names and not counted again")
    path.write_text("\n".join(map(json.dumps, rows[:12])), encoding="utf-8")
    with pytest.raises(LabError, match=r"has 4 different dialogues \(names aside\) to train on"):
        own.load_own(path, TOKENIZER)


def test_what_is_saved_replaces_what_another_method_left_and_a_failure_leaves_it_as_it_was(tmp_path: Path) -> None:
    profile = load_profile("mini")
    base, tokenizer = models.load_model(profile)
    adapter = lora.attach(base, lora.lora_config(rank=2, alpha=4))
    for method, model in (("lora", adapter), ("full", base), ("lora", adapter)):
        command.save_trained(
            cast(Any, SimpleNamespace(plan=Plan(method=cast(Any, method)), model=model)), tokenizer, tmp_path
        )
        names = {path.name for path in (tmp_path / "model").iterdir()}
        assert ("adapter_config.json" in names, "model.safetensors" in names) == (method == "lora", method == "full")
        assert isinstance(summarize.model_of(profile, summarize.find_trained(tmp_path))[0], PeftModel) is (
            method == "lora"
        )

    def fail(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    with pytest.raises(LabError, match="The disk is full"):
        command.save_trained(
            cast(Any, SimpleNamespace(plan=Plan(), model=SimpleNamespace(save_pretrained=fail))), tokenizer, tmp_path
        )
    assert {path.name for path in (tmp_path / "model").iterdir()} == names
