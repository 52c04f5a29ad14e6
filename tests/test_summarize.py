"""Own dialogues: files of every kind, names and tags, what is wrong said at once, and models trained by finetune."""

import csv
import json
import os
import re
import sys
from pathlib import Path
from typing import Any

import pytest

from genai_labs.__main__ import main
from genai_labs.course import summarize
from genai_labs.errors import LabError
from genai_labs.finetuning import lora
from genai_labs.loading import models
from genai_labs.loading.profiles import load_profile
from genai_labs.paths import ROOT
from genai_labs.prompting import familiarity, generation, prompts
from genai_labs.prompting.speakers import TaggedDialogue, with_tags

TALK = "Anna: Hello Bob, would you help me on Friday?\nBob: At six, gladly.\nAnna: Thank you."
TAGGED = TALK.replace("Anna:", "#Person1#:").replace("Bob:", "#Person2#:")


def run(*line: object) -> int:
    return summarize.main([str(part) for part in line])


@pytest.fixture
def said(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Prompts that the model was asked, which is not loaded, always answers the same, and is surprised by nothing."""
    asked: list[str] = []

    def answer(model: Any, tokenizer: Any, prompts: list[str], *args: Any, **kwargs: Any) -> list[str]:
        asked.extend(prompts)
        return ["#Person1# asks #Person2# and #Person9#."] * len(prompts)

    monkeypatch.setattr(generation, "generate", answer)
    monkeypatch.setattr(summarize, "model_of", lambda profile, folder: (None, models.load_tokenizer(profile)))
    monkeypatch.setattr(familiarity, "known_losses", lambda folder: None)
    return asked


@pytest.fixture
def no_model(monkeypatch: pytest.MonkeyPatch) -> None:
    def load(*_: Any) -> None:
        raise AssertionError("a model was loaded")

    monkeypatch.setattr(models, "load_model", load)


def test_a_text_file_with_names_is_summarized_with_these_names(
    said: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "talk.txt"
    file.write_text(TALK, encoding="utf-8")
    assert run(file) == 0
    assert said == [prompts.zero_shot(TAGGED)]
    assert capsys.readouterr().out == "Anna asks Bob and #Person9#.\n"


def test_a_csv_file_keeps_its_columns_and_gets_one_more(said: list[str], tmp_path: Path) -> None:
    file, out = tmp_path / "talks.csv", tmp_path / "out.csv"
    file.write_text(f'day,dialogue,who\n1,"{TALK}",me\n2,"#Person1#: Hi, there.",\n', encoding="utf-8")
    before = file.read_bytes()
    assert run(file, "--out", out) == 0
    expected = (
        f'day,dialogue,who,output\n1,"{TALK}",me,Anna asks Bob and #Person9#.\n'
        '2,"#Person1#: Hi, there.",,#Person1# asks #Person2# and #Person9#.\n'
    )
    assert out.read_text(encoding="utf-8") == expected
    assert file.read_bytes() == before


@pytest.fixture
def knows_its_domain(monkeypatch: pytest.MonkeyPatch) -> None:
    """A model that was measured on its domain, and is surprised by whoever speaks of Friday."""
    monkeypatch.setattr(familiarity, "known_losses", lambda folder: [1.0, 2.0, 3.0, 4.0])
    monkeypatch.setattr(
        familiarity, "dialogue_losses", lambda model, tokenizer, texts: [9.0 if "Friday" in t else 1.5 for t in texts]
    )


def test_an_unfamiliar_dialogue_comes_with_a_warning_and_a_column(
    said: list[str], knows_its_domain: None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file, out = tmp_path / "talks.csv", tmp_path / "out.csv"
    file.write_text(f'dialogue\n"{TALK}"\n"#Person1#: Hi, there."\n', encoding="utf-8")
    assert run(file, "--out", out) == 0
    printed = capsys.readouterr().out.splitlines()
    assert [line.split(":")[0] for line in printed[:2]] == ["line 2", "line 5"]
    assert printed[2].startswith("line 2: unfamiliar (0.00): this dialogue is more surprising")
    assert printed[3:] == [f"Written to {out}."]
    with out.open(encoding="utf-8", newline="") as table:
        assert [row["familiarity"] for row in csv.DictReader(table)] == ["0.0", "0.75"]


def test_summaries_are_shown_and_written_before_their_familiarity_is_known(
    said: list[str], knows_its_domain: None, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: Any
) -> None:
    def fail(*_: Any) -> None:
        raise RuntimeError("no memory")

    monkeypatch.setattr(familiarity, "dialogue_losses", fail)
    file, out = tmp_path / "talk.txt", tmp_path / "out.txt"
    file.write_text(TALK, encoding="utf-8")
    with pytest.raises(RuntimeError, match="no memory"):
        run(file, "--out", out)
    assert capsys.readouterr().out.startswith("Anna asks Bob and #Person9#.\n")
    assert out.read_text(encoding="utf-8") == "Anna asks Bob and #Person9#.\n"


def test_the_familiarity_of_another_model_is_not_held_against_what_the_base_knows(
    said: list[str], knows_its_domain: None, tmp_path: Path
) -> None:
    file, out = tmp_path / "talks.csv", tmp_path / "out.csv"
    file.write_text(f'dialogue\n"{TALK}"\n', encoding="utf-8")
    (tmp_path / "adapter_config.json").touch()
    assert run(file, "--out", out, "--adapter", tmp_path) == 0
    assert out.read_text(encoding="utf-8").splitlines()[0] == "dialogue,output"


def test_a_familiarity_that_stands_there_already_is_not_lost(said: list[str], tmp_path: Path) -> None:
    file = tmp_path / "talks.csv"
    file.write_text("dialogue,familiarity\na: hello,b\n", encoding="utf-8")
    with pytest.raises(LabError, match="has a column familiarity already"):
        run(file)


def test_json_lines_keep_their_fields(said: list[str], tmp_path: Path) -> None:
    file, out = tmp_path / "talks.jsonl", tmp_path / "out.jsonl"
    rows = [{"n": 1, "dialogue": TALK + "\u2028\u0085 Bye."}, {"dialogue": TAGGED, "tags": ["a"]}]
    file.write_text("\n".join(json.dumps(row, ensure_ascii=False) for row in rows), encoding="utf-8")
    assert run(file, "--out", out) == 0
    made = [json.loads(line) for line in out.read_text(encoding="utf-8").split("\n")[:-1]]
    assert [{k: v for k, v in row.items() if k != "output"} for row in made] == rows
    assert [row["output"].split()[0] for row in made] == ["Anna", "#Person1#"]


def test_shots_are_exemplars_of_the_training_split(said: list[str], tmp_path: Path) -> None:
    file = tmp_path / "talk.txt"
    file.write_text(TAGGED, encoding="utf-8")
    assert run(file, "--shots", 2) == 0
    (asked,) = said
    assert asked.count("Summary:") == 3
    assert asked.endswith(prompts.zero_shot(TAGGED))


def test_dialogues_that_are_too_long_are_cut_with_a_note(
    said: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "talk.txt"
    file.write_text("\n".join(f"#Person{1 + i % 2}#: This is turn {i}, and it is long." for i in range(120)))
    assert run(file) == 0
    assert "the middle of their dialogues was cut out" in capsys.readouterr().out
    assert len(models.load_tokenizer(load_profile("mini"))(said[0])["input_ids"]) <= 1024


@pytest.mark.parametrize(
    ("whole", "made", "names"),
    [
        (TALK, TAGGED, ["Anna", "Bob"]),
        (TAGGED, TAGGED, []),
        ("Anna: Hi.\nBob:\nanna: Bye.", "#Person1#: Hi.\n#Person2#:\n#Person1#: Bye.", ["Anna", "Bob"]),
        (
            "Dr. Lee: One\nand two.\n\nSpeaker 2: Yes",
            "#Person1#: One and two.\n#Person2#: Yes",
            ["Dr. Lee", "Speaker 2"],
        ),
        ("[10:42] Zoë: Hi", "#Person1#: Hi", ["Zoë"]),
        ("12/03/2026, 10:42 AM - O’Neil: Hi", "#Person1#: Hi", ["O’Neil"]),
        ("Anna: I told her this: go\nsee http://x.de", "#Person1#: I told her this: go see http://x.de", ["Anna"]),
    ],
)
def test_names_become_tags(whole: str, made: str, names: list[str]) -> None:
    dialogue = with_tags(whole)
    assert (dialogue.text, dialogue.names, dialogue.is_plain) == (made, names, False)


@pytest.mark.parametrize("whole", ["just some text", "x", "I said to her this: no.\nAnna: Hi", "http://example.org"])
def test_text_without_speakers_is_passed_with_a_word_of_warning(
    whole: str, said: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "talk.txt"
    file.write_text(whole, encoding="utf-8")
    assert run(file) == 0
    assert "no speakers were found in line 1 of talk.txt: a turn begins with a name" in capsys.readouterr().out
    assert with_tags(whole).text == whole
    assert with_tags(" ") == TaggedDialogue(" ", is_plain=True)


@pytest.mark.parametrize(
    ("whole", "words"),
    [
        (f"Chat of 12 May\n{TALK}", "'Anna: Hello.', and what stands before the first one does not. Take"),
        (TALK.replace("Anna", "- Anna").replace("Bob:", "**Bob:**"), "The model has learned from dialogues alone"),
        (f"{TALK}\nBob: I need\nMilk: 2 litres", "line 1 as spoken by Anna, Bob, Milk (once only: Milk). If one"),
        (TALK, ""),
        (f"{TALK}\nCem: Hi.\nBob: Hi.\nCem: Bye.", ""),
    ],
)  # fmt: skip
def test_it_is_said_who_was_taken_for_a_speaker_where_that_may_be_wrong(
    whole: str, words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "talk.txt").write_text(whole, encoding="utf-8")
    summarize.understand(summarize.read_dialogues(tmp_path / "talk.txt"), models.load_tokenizer(load_profile("mini")))
    said = capsys.readouterr().out
    assert words in said
    assert said.count("Note") == bool(words)


def test_the_dialogues_are_read_once_as_a_pipe_can_be(
    said: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for mark in ("\ufeff", ""):
        file, out = tmp_path / "talks.csv", tmp_path / "out.csv"
        file.write_text(f'{mark}dialogue\n"{TALK}"\n', encoding="utf-8")
        monkeypatch.setattr(summarize, "show", lambda *_: file.unlink())  # noqa: B023
        assert run(file, "--out", out) == 0
        assert out.read_text(encoding="utf-8").startswith(f"{mark}dialogue,output\n")
    file.write_text("\ufeff\n", encoding="utf-8")
    with pytest.raises(LabError, match=r"talks\.csv is empty"):
        run(file)


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such rights")
def test_who_may_not_read_the_old_file_may_not_read_the_new_one_and_long_names_are_fine(
    said: list[str], tmp_path: Path
) -> None:
    (tmp_path / "talk.txt").write_text(TALK, encoding="utf-8")
    out = tmp_path / f"{'x' * 248}.txt"
    assert run(tmp_path / "talk.txt", "--out", out) == 0
    for mode in (0o600, 0o664):
        out.chmod(mode)
        assert run(tmp_path / "talk.txt", "--out", out) == 0
        assert out.stat().st_mode & 0o777 == mode


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such files")
def test_what_was_printed_to_a_file_is_not_lost_where_out_is_that_file(
    said: list[str], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "talk.txt").write_text(TALK, encoding="utf-8")
    assert run(tmp_path / "talk.txt", "--out", "/dev/stdout") == 0
    shown = capfd.readouterr().out.splitlines()
    assert [line for line in shown if "amiliar" not in line] == [shown[0], shown[0], "Written to /dev/stdout."]
    with (tmp_path / "log").open("a+", encoding="utf-8") as log:
        log.write("a line\n")
        log.flush()
        assert run(tmp_path / "talk.txt", "--out", f"/dev/fd/{log.fileno()}") == 0
    assert (tmp_path / "log").read_text(encoding="utf-8") == f"a line\n{shown[0]}\n"


def test_what_is_replaced_is_said_and_a_failure_leaves_it(
    said: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    file, out, link = tmp_path / "talks.csv", tmp_path / "out.csv", tmp_path / "link.csv"
    file.write_text(f'\ufeffdialogue\n"{TALK}"\n', encoding="utf-8")
    assert run(file, "--out", out) == 0
    assert f"Written to {out}.\n" in capsys.readouterr().out
    made = out.read_bytes()
    assert made.startswith("\ufeffdialogue,output\n".encode()), "as the file began"
    link.symlink_to(out)
    assert run(file, "--out", link) == 0
    assert f"Written to {link} (replaced).\n" in capsys.readouterr().out
    assert link.is_symlink()
    assert out.read_bytes() == made
    assert run(file, "--out", os.devnull) == 0, "what is no file is written to, and not replaced"

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(LabError, match="No space left .* The summaries are above"):
        run(file, "--out", out)
    assert out.read_bytes() == made
    assert sorted(path.name for path in tmp_path.iterdir()) == ["link.csv", "out.csv", "talks.csv"]


@pytest.mark.usefixtures("no_model")
@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("gone.csv", None, "There is no file"),
        ("x" * 300 + ".csv", None, "cannot be read .*too long"),
        ("talk.csv", b"\xff\xfe\x00\x81", r"cannot be read .* UTF-8: line 1"),
        ("talk.txt", b" \n ", "is empty"),
        ("talk.csv", b"", "is empty"),
        ("talk.csv", b"dialogue\n", "no dialogues, only names of columns"),
        ("talk.csv", b"text\nhello\n", "lacks the column dialogue"),
        ("talk.csv", b"text;dialogue\nhello;a\n", "divided by semicolons"),
        ("talk.csv", b"dialogue,output\na,b\n", "has a column output already"),
        ("talk.csv", b"dialogue,dialogue\na,b\n", "names 'dialogue' more than once"),
        ("talk.csv", b'dialogue\n"A: Hi', "from line 2 on"),
        ("talk.pdf", b"x", "cannot be told by its ending"),
        ("talk.jsonl", b"[1]", "is a list, and an object"),
        ("talk.jsonl", b"[" * 100_000, "nested too deeply|not JSON"),
        ("talk.jsonl", b'{"dialogue": null}', "is no text but null"),
        ("talk.jsonl", b'{"dialogue": 3}', "is no text but a number"),
        ("talk.jsonl", b'{"dialogue": "a\\ud800"}', "a lone surrogate"),
        ("talk.jsonl", b'{"dialogue": "a"}\n{"text": "b"}', "Line 2 of talk.jsonl has no dialogue"),
        ("talk.txt", "你好，你今天怎么样？".encode(), "mostly in letters that the model does not know"),
    ],
)
def test_what_is_wrong_with_a_file_is_said_before_a_model_is_loaded(
    name: str, content: bytes | None, words: str, tmp_path: Path
) -> None:
    file = tmp_path / name
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(LabError, match=words):
        run(file)


@pytest.mark.usefixtures("no_model")
def test_everything_wrong_is_said_at_once(tmp_path: Path) -> None:
    file = tmp_path / "talk.csv"
    file.write_text('id,dialogue\n1,"A: Hi.\nB: Ho."\n2,\n3,A: Hi, you.\n4\n5, \n', encoding="utf-8")
    with pytest.raises(LabError, match="There are 4 problems with talk.csv") as caught:
        run(file)
    said = str(caught.value)
    for words in (
        "Line 4 of talk.csv has an empty",
        "Line 5 of talk.csv has 3 fields,",
        "Line 6 of talk.csv has 1 field,",
    ):
        assert words in said
    assert "Line 7 of talk.csv has an empty dialogue" in said


@pytest.mark.usefixtures("no_model")
def test_a_carriage_return_in_a_cell_stays_in_its_cell(said: list[str], tmp_path: Path) -> None:
    file, out = tmp_path / "talks.csv", tmp_path / "out.csv"
    file.write_bytes(f'dialogue,note\n"{TALK}","\r"\n'.encode())
    assert run(file, "--out", out) == 0
    with out.open(encoding="utf-8", newline="") as written:
        (row,) = csv.DictReader(written)
    assert row == {"dialogue": TALK, "note": "\r", "output": "Anna asks Bob and #Person9#."}


def test_a_folder_is_no_file_and_the_dialogues_are_never_overwritten(tmp_path: Path) -> None:
    with pytest.raises(LabError, match="is a folder, and a file is wanted"):
        run(tmp_path)
    file, link = tmp_path / "talk.txt", tmp_path / "link.txt"
    file.write_text(TALK, encoding="utf-8")
    os.link(file, link)
    for out in (file, link):
        with pytest.raises(LabError, match="which would be lost"):
            run(file, "--out", out)
    with pytest.raises(LabError, match="is a folder"):
        run(file, "--out", tmp_path)
    with pytest.raises(LabError, match="its folder is missing"):
        run(file, "--out", tmp_path / "none" / "out.txt")
    assert file.read_text(encoding="utf-8") == TALK


@pytest.mark.usefixtures("no_model")
@pytest.mark.parametrize("shots", ["-1", "1.5", "many", "21"])
def test_impossible_shots_are_refused_with_what_is_possible(shots: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        run("talk.txt", "--shots", shots)
    assert "a whole number from 0 to 20 is" in capsys.readouterr().err


@pytest.mark.usefixtures("no_model")
def test_a_folder_without_a_model_is_refused_in_words(tmp_path: Path) -> None:
    (tmp_path / "talk.txt").write_text(TALK, encoding="utf-8")
    with pytest.raises(LabError, match="holds neither an adapter nor a model"):
        run(tmp_path / "talk.txt", "--adapter", tmp_path)
    with pytest.raises(LabError, match="is no folder"):
        run(tmp_path / "talk.txt", "--adapter", tmp_path / "none")


def test_adapters_and_whole_models_are_loaded(tmp_path: Path) -> None:
    profile = load_profile("mini")
    base, tokenizer = models.load_model(profile)
    adapted = lora.attach(base, lora.lora_config(rank=2, alpha=4))
    for name, parameter in adapted.named_parameters():
        if "lora_B" in name:
            parameter.data.fill_(0.5)
    adapter, full = tmp_path / "a" / "model", tmp_path / "b" / "model"
    lora.save_adapter(adapted, adapter)
    lora.merged(adapted).save_pretrained(str(full))
    tokenizer.save_pretrained(full)
    asked = [prompts.zero_shot(TAGGED)]
    expected = generation.generate(adapted, tokenizer, asked)
    assert expected != generation.generate(base, tokenizer, asked)
    for folder in (adapter, adapter.parent, full, full.parent):
        loaded = summarize.model_of(profile, summarize.find_trained(folder))
        assert generation.generate(*loaded, asked) == expected


def test_the_whole_command_writes_a_summary(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file, out = tmp_path / "talk.txt", tmp_path / "summary.txt"
    file.write_text(TALK, encoding="utf-8")
    assert main(["summarize", str(file), "--shots", "1", "--out", str(out)]) == 0
    summary = out.read_text(encoding="utf-8").strip()
    assert summary
    assert summary in capsys.readouterr().out
    assert main(["summarize", str(tmp_path / "gone.txt")]) == 2
    assert "There is no file" in capsys.readouterr().err


def test_the_page_on_own_dialogues_shows_what_the_model_writes(tmp_path: Path) -> None:
    out, page = tmp_path / "out.csv", (ROOT / "docs" / "own-dialogues.md").read_text(encoding="utf-8")
    assert summarize.main([str(ROOT / "docs" / "everyday.csv"), "--shots", "1", "--out", str(out)]) == 0
    with out.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    shown = re.findall(r"^\| (\w+) \| (.+?) \| .+? \| (\d\.\d+) \|$", page, flags=re.MULTILINE)
    assert shown == [(row["id"], row["output"], row["familiarity"]) for row in rows]
