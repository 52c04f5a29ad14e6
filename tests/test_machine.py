"""What `python -m genai_labs check` says, and the pins it compares with."""

import sys
import time
import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from genai_labs.course import machine
from genai_labs.course.machine import Finding, check_hub, check_libraries, check_model, judge_amount, read_pins
from genai_labs.loading import hub
from genai_labs.loading.profiles import PROFILES
from genai_labs.paths import MODELS, READING, ROOT
from genai_labs.system import devices


def answers(_: str) -> bool:
    return True


def is_silent(_: str) -> bool:
    return False


def test_the_pins_are_the_declared_needs_and_lie_in_their_ranges() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    lines = project["dependencies"] + project["optional-dependencies"]["dev"]
    declared = {str(canonicalize_name(need.name)): need for need in map(Requirement, lines)}
    pins = read_pins(ROOT / "requirements.txt")
    assert set(pins) == set(declared)
    assert [name for name, pin in pins.items() if pin not in declared[name].specifier] == []


COLAB_PINS = ROOT / "configs" / "colab.txt"


def test_what_is_installed_on_colab_has_the_tested_versions_and_leaves_torch_and_jupyter_alone() -> None:
    pins, tested = read_pins(COLAB_PINS), read_pins(ROOT / "requirements.txt")
    assert pins
    assert {name: pin for name, pin in pins.items() if tested.get(name) != pin} == {}
    assert not {"torch", "numpy", "pandas", "scipy", "ipykernel", "ipython", "jupyterlab", "pyzmq"} & set(pins)


def test_on_colab_no_remedy_replaces_torch(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv(machine.COLAB, "release")
    found = machine.check_environment(tmp_path)
    assert found.level == "note"
    assert "Google Colab" in found.what
    (tmp_path / "requirements.txt").write_text("torch==0.1\nnbclient-missing==1\n", encoding="utf-8")
    remedies = [finding.remedy for finding in check_libraries(tmp_path / "requirements.txt") if finding.remedy]
    assert len(remedies) == 2
    assert all("configs/colab.txt" in remedy and "requirements.txt" not in remedy for remedy in remedies)
    assert (ROOT / "configs" / "colab.txt").is_file()


def test_every_finding_that_is_not_well_has_a_remedy() -> None:
    findings = machine.check_machine(answers=is_silent)
    assert [finding for finding in findings if finding.level != "ok" and not finding.remedy] == []
    names = {finding.name for finding in findings}
    assert names >= {
        "Python",
        "cores",
        "memory",
        "disk",
        "GPU",
        "hub",
        "data",
        "model",
        "checksums",
        "profile",
        "libraries",
    }


def test_the_exit_status_is_0_only_if_nothing_stops_the_labs(capsys: pytest.CaptureFixture[str]) -> None:
    well, amiss = Finding("ok", "cores", "2"), Finding("note", "hub", "not reachable", "nothing to do")
    assert machine.print_findings([well, amiss]) == 0
    assert "-> nothing to do" in capsys.readouterr().out
    assert machine.print_findings([well, Finding("stop", "disk", "full", "delete something")]) == 1
    assert "cannot run yet. To be put right: disk." in capsys.readouterr().out


@pytest.mark.parametrize(("version", "level"), [((3, 10, 9), "stop"), ((3, 12, 1), "ok"), ((3, 14, 0), "note")])
def test_python_versions_are_judged(version: tuple[int, ...], level: str) -> None:
    assert machine.check_python(version).level == level


@pytest.mark.parametrize(("free", "level"), [(2.0, "ok"), (1.5, "note"), (0.5, "stop")])
def test_little_memory_is_noted_and_too_little_stops(free: float, level: str) -> None:
    assert judge_amount("memory", free, 2.0, "close programs").level == level


def test_another_environment_is_noted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "prefix", str(tmp_path / "elsewhere"))
    assert machine.check_environment(tmp_path).level == "note"
    monkeypatch.setattr(sys, "prefix", str(tmp_path / ".venv"))
    assert machine.check_environment(tmp_path).level == "ok"


def test_libraries_that_differ_are_named_and_missing_ones_stop_the_labs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pins = tmp_path / "requirements.txt"
    pins.write_text("# pins\ntorch==2.13.0\nPyYAML==6.0.3\nrouge_score==0.1.2\nruff==1.0\n")
    found = {"torch": "2.13.0+cpu", "pyyaml": "6.0.2"}

    def version(name: str) -> str:
        if name not in found:
            raise machine.metadata.PackageNotFoundError(name)
        return found[name]

    monkeypatch.setattr(machine.metadata, "version", version)
    needs = ["torch>=2", "PyYAML (>=6)", "rouge-score", 'ruff; extra == "dev"']
    monkeypatch.setattr(machine.metadata, "requires", lambda _: needs)
    levels = {finding.name: finding.level for finding in check_libraries(pins)}
    assert levels == {"pyyaml": "note", "rouge-score": "stop", "ruff": "note", "libraries": "ok"}


@pytest.mark.parametrize(("asked", "level"), [(answers, "ok"), (is_silent, "note")])
def test_the_hub_is_asked_and_not_needed(
    asked: Callable[[str], bool], level: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("HF_HUB_OFFLINE")
    assert check_hub(asked).level == level


def test_the_hub_is_not_asked_when_told_to_stay_offline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert "not asked" in check_hub(answers).what


def test_a_hub_that_never_answers_is_given_up() -> None:
    assert hub.within(0.05, lambda: time.sleep(5)) is False


def test_missing_and_empty_files_are_named_with_the_way_to_get_them_back(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "train.csv").write_text("id\n")
    (tmp_path / "data" / "test.csv").touch()
    files = ("train.csv", "test.csv", "unseen.csv")
    finding = machine.check_files("data", tmp_path / "data", files, tmp_path)
    assert finding.level == "stop"
    assert "test.csv, unseen.csv" in finding.what
    assert "train.csv" not in finding.what
    assert "git checkout -- data" in finding.remedy
    for folder, command in ((READING, "build-reader corpus"), (MODELS / machine.MODEL, "build-reader")):
        assert f"`python -m genai_labs {command}`" in machine.check_files("x", folder, ("unseen",), ROOT).remedy


def test_what_is_checked_is_what_the_labs_read() -> None:
    mini = PROFILES["mini"]
    assert (str(READING), str(MODELS / machine.MODEL)) == (mini.dataset, mini.model)
    assert machine.check_files("data", READING, machine.DATA_FILES, ROOT).level == "ok"
    assert check_model(MODELS / machine.MODEL, ROOT).level == "ok"


def test_damaged_weights_are_recognised(tmp_path: Path) -> None:
    import numpy as np
    from safetensors.numpy import save_file

    for name in machine.MODEL_FILES:
        (tmp_path / name).write_text("{}")
    weights = tmp_path / "model.safetensors"
    save_file({"shared": np.zeros((4, 4), dtype=np.float16)}, weights)
    assert check_model(tmp_path, tmp_path).level == "ok"
    weights.write_bytes(weights.read_bytes()[:-7])
    finding = check_model(tmp_path, tmp_path)
    assert (finding.level, "damaged" in finding.what) == ("stop", True)


def test_an_unknown_profile_stops_the_labs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GENAI_LABS_PROFILE", "no-such-profile")
    assert machine.check_profile().level == "stop"
    monkeypatch.delenv("GENAI_LABS_PROFILE")
    assert machine.check_profile() == Finding("ok", "profile", "mini")


def test_an_apple_gpu_is_used_unless_it_is_asked_not_to_be(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    monkeypatch.delenv("GENAI_LABS_MPS", raising=False)
    assert devices.best_device() == torch.device("mps")
    assert "GENAI_LABS_MPS=0" in machine.find_gpu(torch)
    monkeypatch.setenv("GENAI_LABS_MPS", "0")
    assert devices.best_device() == torch.device("cpu")
    assert "not used" in machine.find_gpu(torch)


def test_without_an_install_as_on_colab_all_that_the_labs_need_is_asked_for(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def lacks(name: str) -> str:
        raise machine.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(machine.metadata, "requires", lacks)
    monkeypatch.setattr(machine.metadata, "version", lacks)
    (tmp_path / "pins.txt").write_text("peft==0.21.2\ntorch==2.13.0\nruff==0.17.6\n", encoding="utf-8")
    levels = {finding.name: finding.level for finding in check_libraries(tmp_path / "pins.txt")}
    assert levels == {"peft": "stop", "torch": "stop", "ruff": "note", "libraries": "ok"}


@pytest.mark.parametrize(
    ("system", "processor", "macos", "words"),
    [
        ("darwin", "x86_64", "15.1", "Intel chip has none"),
        ("darwin", "arm64", "13.6.1", "update to macOS 14"),
        ("win32", "ARM64", "", "for AMD64"),
        ("darwin", "arm64", "14.0", ""),
        ("win32", "AMD64", "", ""),
        ("linux", "x86_64", "", ""),
    ],
)
def test_a_system_that_torch_is_not_built_for_is_told_what_to_do(
    system: str, processor: str, macos: str, words: str
) -> None:
    found = list(machine.check_system(system, processor, macos))
    assert [finding.level for finding in found] == ["note"] * bool(words)
    assert not found or words in found[0].remedy


def test_torch_whose_libraries_windows_lacks_is_told_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    class Unloadable:
        def find_spec(self, name: str, *_: object) -> None:
            if name == "torch":
                raise OSError(126, "The specified module could not be found. Error loading c10.dll")

    monkeypatch.delitem(sys.modules, "torch")
    monkeypatch.setattr(sys, "meta_path", [Unloadable(), *sys.meta_path])
    for system, told in (("win32", True), ("linux", False)):
        monkeypatch.setattr(sys, "platform", system)
        (finding,) = machine.check_torch()
        assert finding.level == "stop"
        assert (machine.REDISTRIBUTABLE in finding.remedy) is told
