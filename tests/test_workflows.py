"""The workflow files are what the code host expects, and run what the project promises."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from genai_labs.paths import ROOT

WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.y*ml"))


def check(path: Path, schema: str = "vendor.github-workflows") -> subprocess.CompletedProcess[str]:
    """Validate with the schema that comes with check-jsonschema: no network."""
    command = [
        sys.executable,
        "-m",
        "check_jsonschema",
        "--builtin-schema",
        schema,
        str(path),
    ]
    return subprocess.run(command, capture_output=True, text=True)


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_workflows_follow_their_schema(path: Path) -> None:
    done = check(path)
    assert done.returncode == 0, done.stdout


def test_a_workflow_with_a_misspelt_key_is_refused(tmp_path: Path) -> None:
    text = (ROOT / ".github" / "workflows" / "tests.yml").read_text(encoding="utf-8")
    broken = tmp_path / "tests.yml"
    broken.write_text(text.replace("runs-on:", "run-on:"), encoding="utf-8")
    assert check(broken).returncode != 0


def test_the_tests_run_on_every_supported_python_and_all_labs_on_every_system() -> None:
    text = (ROOT / ".github" / "workflows" / "tests.yml").read_text(encoding="utf-8")
    jobs = yaml.safe_load(text)["jobs"]
    linux, others = jobs["linux"], jobs["macos-and-windows"]
    assert linux["strategy"]["matrix"]["python"] == ["3.11", "3.12", "3.13"]
    assert "make test" in [step.get("run") for step in linux["steps"]]
    assert others["strategy"]["matrix"]["os"] == ["macos-latest", "windows-latest"]
    assert "python -m genai_labs run" in [step.get("run") for step in others["steps"]]
    assert not any("make" in step.get("run", "") for step in others["steps"]), "Windows has no make"
    assert others["env"]["GENAI_LABS_MPS"] == "0", "the virtual Macs' GPU fails"
    slow = [step.get("run", "") for step in jobs["handouts"]["steps"]]
    assert any("test_handout.py -m slow" in step for step in slow)


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_no_step_pastes_an_expression_into_its_shell_and_none_keeps_the_token(path: Path) -> None:
    """What stands in an expression would be read as commands; what is installed could take a token along."""
    jobs = yaml.safe_load(path.read_text(encoding="utf-8"))["jobs"].values()
    steps = [step for job in jobs for step in job["steps"]]
    assert not any("${{" in step.get("run", "") for step in steps)
    checkouts = [step for step in steps if step.get("uses", "").startswith("actions/checkout@")]
    assert all(step["with"]["persist-credentials"] is False for step in checkouts)
    assert checkouts


def test_the_pins_of_actions_are_kept_up_to_date() -> None:
    done = check(ROOT / ".github" / "dependabot.yml", "vendor.dependabot")
    assert done.returncode == 0, done.stdout


def test_a_container_makes_the_environment_as_the_readme_does() -> None:
    container = json.loads((ROOT / ".devcontainer" / "devcontainer.json").read_text(encoding="utf-8"))
    recipe = (ROOT / ".devcontainer" / container["build"]["dockerfile"]).read_text(encoding="utf-8")
    (version,) = re.findall(r"^FROM python:(\d+\.\d+)-slim", recipe, re.MULTILINE)
    (tests,) = (path for path in WORKFLOWS if path.name == "tests.yml")
    jobs = yaml.safe_load(tests.read_text(encoding="utf-8"))["jobs"]
    assert version in jobs["linux"]["strategy"]["matrix"]["python"]
    (index,) = re.findall(r"PIP_EXTRA_INDEX_URL=(\S+)", recipe)
    assert f"PIP_EXTRA_INDEX_URL={index}" in (ROOT / "README.md").read_text(encoding="utf-8")
    user = re.findall(r"^USER (\w+)$", recipe, re.MULTILINE)
    assert user == [container["remoteUser"]] != ["root"], "JupyterLab is not started for root"
    assert container["postCreateCommand"].startswith("make env && .venv/bin/python -m genai_labs check")
    assert {"git", "make"} <= set(recipe.split())


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_actions_are_named_by_commit(path: Path) -> None:
    """A tag can be moved to other code; a commit cannot."""
    used = re.findall(r"uses: *(.*)", path.read_text(encoding="utf-8"))
    assert used
    assert all(re.fullmatch(r"[\w-]+/[\w-]+@[0-9a-f]{40}  # v\d+\.\d+\.\d+", action) for action in used)
