"""The README and docs/: short enough to be read, links that lead somewhere, commands that exist."""

import argparse
import importlib
import re
import shlex
from pathlib import Path
from typing import Any

import pytest

from genai_labs.__main__ import MODULES, make_parser
from genai_labs.paths import ROOT

PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
OURS = r"-m ((?:genai_labs|embedded_world|benchmarks|course_site)[\w.]*) ([^\n`#;|()\"<\\]*)"  # a module and its words

ON_HOST = "../../"  # of the README: what a code host keeps beside the code, whoever owns it


def targets(page: Path) -> list[str]:
    return re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8"))


def links(page: Path) -> list[str]:
    return [target for target in targets(page) if "://" not in target and not on_host(page, target)]


def on_host(page: Path, target: str) -> bool:
    return page.parent == ROOT and target.startswith(ON_HOST)


def commands(page: Path) -> set[str]:
    """The subcommands of our command line that a page names."""
    return set(re.findall(r"-m genai_labs ([a-z][a-z-]*)", page.read_text(encoding="utf-8")))


def test_the_readme_has_at_most_900_words() -> None:
    assert len((ROOT / "README.md").read_text(encoding="utf-8").split()) <= 900


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_to_files(page: Path) -> None:
    assert [target for target in links(page) if not (page.parent / target).exists()] == []
    assert links(page) or page.name != "README.md"


def test_badges_are_those_of_workflows_and_the_site_is_two_clicks_away() -> None:
    """By addresses without an owner, who is not known here; the host's page of what was published links to the site."""
    workflows = {path.name for path in (ROOT / ".github" / "workflows").glob("*.yml")}
    named = [
        target.removeprefix(ON_HOST) for target in targets(ROOT / "README.md") if on_host(ROOT / "README.md", target)
    ]
    runs = [target for target in named if target != "deployments/github-pages"]
    assert {re.sub(r"^actions/workflows/|/badge\.svg$", "", target) for target in runs} == workflows
    assert len(named) - len(runs) == 1
    assert "github-pages" in (ROOT / ".github" / "workflows" / "pages.yml").read_text(encoding="utf-8")
    first = (ROOT / "README.md").read_text(encoding="utf-8").split("\n## ")[0]
    assert first.index("in the browser tab") < first.index("docs/at_a_glance.png")
    assert "docs/instructors.md" in first


def test_every_page_is_reached_from_the_readme() -> None:
    reached = {(ROOT / target).resolve() for target in links(ROOT / "README.md")}
    assert [page.name for page in PAGES[1:] if page not in reached] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_commands_exist(page: Path) -> None:
    known = make_parser().format_help()
    assert [name for name in commands(page) if not re.search(rf"^ +{name}\b", known, re.MULTILINE)] == []


def test_make_targets_exist() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for page in PAGES:
        for block in re.findall(r"```\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL):
            for words in (shlex.split(line, comments=True) for line in block.splitlines()):
                if "make" in words:
                    assert f"\n{words[words.index('make') + 1]}:" in makefile


def test_the_lines_for_windows_work_in_both_of_its_shells() -> None:
    """No remark behind #, which the command prompt passes on, nothing of a POSIX shell, and no name of Unix."""
    page = (ROOT / "docs" / "installing.md").read_text(encoding="utf-8")
    (block,) = re.findall(r"## On Windows\n[^#]*?```\n(.*?)```", page, re.DOTALL)
    lines = block.splitlines()
    assert lines[0] == "py -m venv .venv"
    assert all(line.startswith(r".venv\Scripts\python -m ") for line in lines[1:])
    assert not re.search(r"[#/&|;$'\"=]|python3|make", block)


def quoted_lines() -> dict[tuple[str, str], list[str]]:
    """Every call of a module of ours in a page or a notebook: the module and its words, and where it stands."""
    pages = [*PAGES, *(ROOT / "results").glob("*.md"), *(ROOT / "data").rglob("*.md"), *ROOT.glob("notebooks/*.ipynb")]
    found: dict[tuple[str, str], list[str]] = {}
    for page in pages:
        text = re.sub(r"(?<=[^\n`])\n(?=[^\n`]*`)", " ", page.read_text(encoding="utf-8"))  # quoted over two lines
        for module, words in re.findall(OURS, text):
            found.setdefault((module, words.rstrip(" .,:")), []).append(page.name)
    return {line: where for line, where in found.items() if line[1] not in ("", "COMMAND", "COMMAND --help")}


class UnderstoodError(Exception):
    """A parser has taken a whole line."""


@pytest.fixture
def only_parsed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Commands end as soon as their own parser has understood the line, or refused it."""
    parse = argparse.ArgumentParser.parse_args

    def parse_and_end(parser: argparse.ArgumentParser, *line: Any) -> argparse.Namespace:
        made = parse(parser, *line)
        if parser.prog.endswith(" bench"):  # which hands the line on
            return made
        raise UnderstoodError

    monkeypatch.setattr(argparse.ArgumentParser, "parse_args", parse_and_end)


def parse_line(module: str, words: str) -> None:
    """Raise UnderstoodError where the line is a call that its command takes, SystemExit where it is not."""
    line = shlex.split(words)
    if module != "genai_labs":
        importlib.import_module(module).main(line)
    elif line[0] in MODULES:
        importlib.import_module(MODULES[line[0]]).main(line[1:])
    else:
        make_parser().parse_args(line)
    raise AssertionError(f"no parser was asked about {words}")


@pytest.mark.usefixtures("only_parsed")
def test_every_quoted_line_is_one_that_its_command_takes() -> None:
    lines = quoted_lines()
    refused = []
    for (module, words), where in lines.items():
        try:
            parse_line(module, words)
        except UnderstoodError:
            continue
        except SystemExit:
            if " " not in words and words in MODULES:  # the name of a command, and no call
                continue
            refused.append(f"python -m {module} {words}: {', '.join(where)}")
    assert refused == []
    assert len(lines) > 40


@pytest.mark.usefixtures("only_parsed")
@pytest.mark.parametrize("line", ["summarize --shot one", "finetune --methods lora", "handout 9", "bench x", "run 7"])
def test_a_line_with_a_mistake_is_found(line: str) -> None:
    with pytest.raises(SystemExit):
        parse_line("genai_labs", line)
