"""The command line."""

import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from genai_labs import __main__ as cli
from genai_labs.course import runner
from genai_labs.errors import Interrupted, LabError
from genai_labs.paths import BUILD


def test_run_takes_labs_profile_and_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    asked: list[Any] = []

    def run_labs(*args: Any) -> int:
        asked.append(args)
        return 1

    monkeypatch.setattr(runner, "run_labs", run_labs)
    assert cli.main(["run", "1", "3", "--profile", "small", "--out", str(tmp_path)]) == 1
    assert cli.main(["run"]) == 1
    assert asked == [([1, 3], "small", tmp_path), ([], "mini", BUILD)]


def test_a_problem_the_learner_can_act_on_is_told_without_a_traceback(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(*_: Any) -> int:
        raise LabError("The file is gone. Fetch it.")

    monkeypatch.setattr(runner, "run_labs", fail)
    assert cli.main(["run"]) == 2
    assert capsys.readouterr().err == "The file is gone. Fetch it.\n"


@pytest.mark.parametrize(
    ("stopped", "status", "words"),
    [(Interrupted("All is kept.", 143), 143, "All is kept.\n"), (KeyboardInterrupt(), 130, "Stopped by Ctrl-C.\n")],
)
def test_what_is_stopped_says_so_without_a_traceback(
    stopped: KeyboardInterrupt,
    status: int,
    words: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def stop(*_: Any) -> int:
        raise stopped

    monkeypatch.setattr(runner, "run_labs", stop)
    assert cli.main(["run"]) == status
    assert capsys.readouterr().err == words


@pytest.mark.parametrize("line", ["run 5", "run one", "lab 0", "run 1 --no-such-option", "check more", "nonsense"])
def test_what_is_not_understood_is_refused_with_the_usage(line: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        cli.main(line.split())
    assert stop.value.code == 2
    assert "usage:" in capsys.readouterr().err


def test_without_a_command_the_help_says_what_there_is(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main([]) == 0
    shown = capsys.readouterr().out
    assert all(re.search(rf"^    {command}\s+\w+ \w+", shown, re.MULTILINE) for command in ("run", "lab", *cli.MODULES))


def test_an_option_before_the_command_is_called_an_option(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        cli.main(["--profile", "nonsense", "run"])
    assert stop.value.code == 2
    assert "unknown option --profile: the command comes first" in capsys.readouterr().err


@pytest.mark.parametrize("command", sorted(cli.MODULES))
def test_help_is_free_of_markup(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        cli.main([command, "--help"])
    shown = capsys.readouterr().out
    assert not re.search(r"``|:\w+:`", shown)
    assert re.search(r"^[A-Z].*\w", shown, re.MULTILINE)


@pytest.mark.parametrize("command", sorted(cli.MODULES))
def test_usage_is_what_one_types_and_names_what_can_be_chosen(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        cli.main([command, "--help"])
    shown = capsys.readouterr().out
    assert shown.startswith(f"usage: python -m genai_labs {command}")
    assert "[]" not in shown
    assert "{," not in shown


@pytest.mark.parametrize("command", ["build-world", "build-reader", "growth"])
def test_a_step_that_is_none_is_answered_by_those_that_are(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        cli.main([command, "nonsense"])
    step = "train" if command == "growth" else "corpus"
    assert f"there is no nonsense (choose from {step}, " in capsys.readouterr().err


def test_run_takes_the_profile_that_the_variable_names(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def run_labs(labs: list[int], profile: str, out: Path) -> int:
        asked.append(profile)
        return 0

    monkeypatch.setattr(runner, "run_labs", run_labs)
    for name in ("flan-t5-small", ""):
        monkeypatch.setenv("GENAI_LABS_PROFILE", name)
        cli.main(["run"])
        cli.main(["run", "--profile", "flan-t5-xl"])
    assert asked == ["flan-t5-small", "flan-t5-xl", "mini", "flan-t5-xl"]


@pytest.mark.parametrize("command", ["arena", "bench", "build-world", "finetune", "seeds", "summarize", "sweep"])
def test_the_rest_of_the_line_goes_to_the_command_with_its_own_options(
    command: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines: list[list[str]] = []
    module = SimpleNamespace(main=lines.append)
    monkeypatch.setattr(cli.importlib, "import_module", {cli.MODULES[command]: module}.__getitem__)
    assert cli.main([command, "--hours", "2", "--help"]) == 0
    assert lines == [["--hours", "2", "--help"]]


def test_refresh_takes_labs(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[list[int]] = []
    monkeypatch.setattr(runner, "refresh_notebooks", asked.append)
    assert cli.main(["refresh", "1"]) == 0
    assert asked == [[1]]


def test_help_loads_nothing_heavy() -> None:
    program = (
        "import sys, genai_labs.__main__ as cli\n"
        "try: cli.main(['run', '--help'])\n"
        "except SystemExit: pass\n"
        "heavy = {'torch', 'transformers', 'pandas', 'numpy', 'matplotlib', 'nbclient', 'IPython'}\n"
        "sys.exit(str(sorted(heavy & set(sys.modules))) if heavy & set(sys.modules) else 0)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "--profile" in done.stdout
