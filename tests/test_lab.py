"""`lab`: which lab, which options, and what JupyterLab is told."""

import json
import os
import re
from pathlib import Path
from typing import Any

import pytest
from jupyter_server.serverapp import ServerApp
from jupyterlab.labapp import LabApp

from genai_labs import __main__ as cli
from genai_labs.course import execution, lab, runner
from genai_labs.course.notebooks import WIDGET
from genai_labs.paths import JUPYTER_CONFIG, ROOT
from genai_labs.system.progress import MARK


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[list[str]]:
    """The lines that JupyterLab was started with; it is not really started, and copies go to a folder of the test."""
    lines: list[list[str]] = []
    monkeypatch.setattr(LabApp, "launch_instance", lines.append)
    copy = lab.update_copy
    monkeypatch.setattr(lab, "update_copy", lambda path: copy(path, tmp_path / "work"))
    monkeypatch.setattr(os, "environ", dict(os.environ))
    monkeypatch.setattr(os, "geteuid", lambda: 1000, raising=False)
    return lines


def test_lab_opens_a_copy_and_shows_the_repository(started: list[list[str]], tmp_path: Path) -> None:
    assert cli.main(["lab", "2"]) == 0
    (line,) = started
    assert line[:2] == [f"--ServerApp.root_dir={ROOT}", "--LabApp.default_url=/lab/tree/work/lab2_fine_tuning.ipynb"]
    assert sorted(path.name for path in (tmp_path / "work").glob("*.ipynb")) == sorted(runner.EVERY_NOTEBOOK.values())
    assert os.environ.items() >= execution.KEEP_MEMORY.items()
    assert os.environ["JUPYTER_CONFIG_PATH"].split(os.pathsep)[0] == str(JUPYTER_CONFIG)


@pytest.mark.parametrize(
    ("line", "number", "options"),
    [
        ("", 1, []),
        ("3", 3, []),
        ("2 -- --port 9999", 2, ["--port", "9999"]),
        ("-- --port 9999 --no-browser", 1, ["--port", "9999", "--no-browser"]),
        ("--port 9999", 1, ["--port", "9999"]),
        ("2 --port=9999", 2, ["--port=9999"]),
    ],
)
def test_what_is_not_a_lab_is_for_jupyterlab(line: str, number: int, options: list[str]) -> None:
    assert lab.read_line(line.split()) == (number, options)


@pytest.mark.parametrize("line", ["lab 5", "lab one", "lab 9999 -- --port 1"])
def test_a_lab_that_does_not_exist_is_refused(line: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        cli.main(line.split())
    assert stop.value.code == 2
    assert "usage: python -m genai_labs lab" in capsys.readouterr().err


def test_root_is_told_what_to_do_and_nothing_is_added_silently(
    started: list[list[str]], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    assert cli.main(["lab"]) == 2
    assert 'make lab ARGS="-- --allow-root"' in capsys.readouterr().err
    assert started == []
    assert cli.main(["lab", "--", "--allow-root"]) == 0
    assert started[0][-1] == "--allow-root"


def test_in_codespaces_the_forwarded_port_of_this_one_may_ask(
    started: list[list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert cli.main(["lab"]) == 0
    monkeypatch.setenv("CODESPACE_NAME", "fluffy-train-x5")
    monkeypatch.setenv("GITHUB_CODESPACES_PORT_FORWARDING_DOMAIN", "app.github.dev")
    assert cli.main(["lab"]) == 0
    name = "--ServerApp.allow_origin_pat="
    allowed = [[option.removeprefix(name) for option in line if option.startswith(name)] for line in started]
    assert allowed[0] == []
    (pattern,) = allowed[1]
    assert ServerApp(allow_origin_pat=pattern).allow_origin_pat == pattern
    assert re.match(pattern, "https://fluffy-train-x5-8888.app.github.dev")
    for other in ("fluffy-train-x6-8888.app.github.dev", "fluffy-train-x5-8888.app.github.dev.example.org"):
        assert not re.match(pattern, f"https://{other}")


def test_a_damaged_lab_does_not_keep_the_others_from_being_opened(
    started: list[list[str]], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(runner, "NOTEBOOKS", tmp_path)
    for name in runner.EVERY_NOTEBOOK.values():
        (tmp_path / name).write_text("{}" if "lab2" in name else '{"nbformat": 4, "nbformat_minor": 5, "cells": []}')
    assert cli.main(["lab", "3"]) == 0
    assert "lab2_fine_tuning.ipynb cannot be opened" in capsys.readouterr().out
    assert cli.main(["lab", "2"]) == 2
    assert len(started) == 1


def test_a_lab_that_is_gone_is_told_in_words(
    started: list[list[str]], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(runner, "NOTEBOOKS", tmp_path)
    assert cli.main(["lab"]) == 2
    assert "git checkout -- notebooks/lab1_prompting.ipynb" in capsys.readouterr().err, "only what is lost"
    assert started == []


def test_progress_and_widgets_are_not_saved() -> None:
    kept = {"output_type": "display_data", "data": {"text/plain": "a card"}, "metadata": {}}
    bar = {"output_type": "display_data", "data": {}, "metadata": {MARK: True}}
    widget = {"output_type": "display_data", "data": {WIDGET: {}, "text/plain": "0%"}, "metadata": {}}
    cells: list[dict[str, Any]] = [{"cell_type": "markdown"}, {"cell_type": "code", "outputs": [bar, kept, widget]}]
    content = {"cells": cells, "metadata": {"widgets": {}, "kernelspec": {}}}
    lab.before_save(model={"type": "notebook", "content": content}, path="work/x.ipynb", contents_manager=None)
    assert cells[1]["outputs"] == [kept]
    assert content["metadata"] == {"kernelspec": {}}
    lab.before_save(model={"type": "file", "content": "text"}, path="x.txt")
    lab.before_save(model={"type": "notebook", "content": None}, path="x.ipynb")


def test_the_configuration_names_things_that_exist() -> None:
    server = json.loads((JUPYTER_CONFIG / "jupyter_server_config.json").read_text(encoding="utf-8"))
    assert server == {"ContentsManager": {"pre_save_hook": "genai_labs.course.lab.before_save"}}
    settings = json.loads((JUPYTER_CONFIG / "jupyter_lab_config.json").read_text(encoding="utf-8"))["LabApp"]
    assert settings.keys() <= LabApp.class_traits(config=True).keys()
