"""Can this machine run the labs? Answers in plain words, each with what to do if something is amiss."""

import os
import platform
import re
import shutil
import sys
import tomllib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

from genai_labs.errors import LabError
from genai_labs.loading import hub, sources
from genai_labs.paths import MODELS, READING, ROOT

TESTED_PYTHONS = ((3, 11), (3, 13))
MEMORY_GB = 3.0  # What a lab may use at most.
DISK_GB = 1.0
OLDEST_MACOS = 14  # that the tested torch has a build for
DATA_FILES = ("train.csv", "validation.csv", "test.csv", "unseen.csv", "handwritten_test.csv")
MODEL = "t5-reader"
MODEL_FILES = ("config.json", "model.safetensors", "tokenizer.json")
INSTALL = "python -m pip install -r requirements.txt"
REDISTRIBUTABLE = "https://aka.ms/vs/17/release/vc_redist.x64.exe"  # whose libraries torch asks for on Windows
COLAB = "COLAB_RELEASE_TAG"  # a variable that Google Colab sets
INSTALL_ON_COLAB = "%pip install -r /content/labs/configs/colab.txt, which leaves Colab's torch alone"
# Systems that the tested torch has no build for, and what to do there.
WITHOUT_TORCH = {
    (
        "darwin",
        "x86_64",
    ): "a Mac with an Apple chip takes a Python made for it (arm64), one with an Intel chip has none: "
    "take Colab, Codespaces (docs/installing.md) or another machine",
    ("win32", "ARM64"): "install the Python for AMD64 (64-bit), which Windows runs on ARM, too, and make .venv with it",
}
WITHOUT_ON_COLAB = {"jupyterlab", "jupyter-client", "nbclient", "nbconvert", "pyzmq"}  # Colab shows notebooks by itself


@dataclass(frozen=True)
class Finding:
    """One thing looked at. `level` is "ok", "note" (the labs run all the same) or "stop" (they do not)."""

    level: str
    name: str
    what: str
    remedy: str = ""


def check_machine(root: Path = ROOT, answers: Callable[[str], bool] = hub.answers) -> list[Finding]:
    """Look at Python, libraries, hardware, hub, data and model, without loading any model.

    answers: whether a web address answers. Takes at most a few seconds.
    """
    return [
        check_python(),
        check_environment(root),
        *check_system(sys.platform, platform.machine(), platform.mac_ver()[0]),
        *check_libraries(root / "requirements.txt"),
        check_cores(),
        check_memory(),
        check_disk(root),
        *check_torch(),
        check_hub(answers),
        check_files("data", READING, DATA_FILES, root),
        check_model(MODELS / MODEL, root),
        check_shipped(MODELS),
        check_profile(),
    ]


def print_findings(findings: list[Finding]) -> int:
    """Print a line for each finding, its remedy below. Returns the exit status: 0 if the labs can run."""
    width = max(len(finding.name) for finding in findings)
    for finding in findings:
        print(f"{finding.level:<5} {finding.name:<{width}}  {finding.what}")
        if finding.remedy:
            print(f"{'':<5} {'':<{width}}  -> {finding.remedy}")
    stops = [finding.name for finding in findings if finding.level == "stop"]
    if stops:
        print(f"\nThe labs cannot run yet. To be put right: {', '.join(stops)}.")
    else:
        print("\nThe labs can run on this machine.")
    return int(bool(stops))


def check_python(version: tuple[int, ...] = tuple(sys.version_info[:3])) -> Finding:
    """Whether this Python is one the labs were tested with."""
    oldest, newest = TESTED_PYTHONS
    words = ".".join(str(part) for part in version)
    if version[:2] < oldest:
        return Finding("stop", "Python", f"{words} is too old", "install Python 3.11, 3.12 or 3.13")
    if version[:2] > newest:
        remedy = "if something fails, make the environment with Python 3.11, 3.12 or 3.13"
        return Finding("note", "Python", f"{words} is newer than what was tested", remedy)
    return Finding("ok", "Python", words)


def check_environment(root: Path) -> Finding:
    """Whether this Python is the project's own environment."""
    if COLAB in os.environ:
        what = "Google Colab, whose torch and Jupyter stay as they are; nobody has run the labs there yet"
        return Finding("note", "environment", what, f"what it lacks: {how_to_install()}")
    if Path(sys.prefix).resolve() == (root / ".venv").resolve():
        return Finding("ok", "environment", "the project's own (.venv)")
    remedy = "fine if its libraries are (see below); how the project's own is made: docs/installing.md"
    return Finding("note", "environment", f"{sys.prefix}, which is not the project's .venv", remedy)


def check_system(system: str, processor: str, macos: str) -> Iterator[Finding]:
    """A finding where the tested torch has no build for this system; whoever has another one may try."""
    words = f"there is no build of PyTorch for {platform.system()} on {processor}"
    if remedy := WITHOUT_TORCH.get((system, processor)):
        yield Finding("note", "system", f"{words} in the tested version", remedy)
    elif system == "darwin" and int(macos.split(".")[0] or OLDEST_MACOS) < OLDEST_MACOS:
        yield Finding("note", "system", f"macOS {macos} is too old for PyTorch", f"update to macOS {OLDEST_MACOS}")


def how_to_install() -> str:
    """What brings missing libraries, on this machine."""
    return INSTALL_ON_COLAB if COLAB in os.environ else INSTALL


def check_libraries(requirements: Path) -> Iterator[Finding]:
    """Installed libraries against the tested versions, one finding for each that differs."""
    needed = {_normalized(re.split(r"[\s<>=!~;\[]", line)[0]) for line in _needed_lines()}
    pins = read_pins(requirements)
    needed -= WITHOUT_ON_COLAB if COLAB in os.environ else set()
    odd = [finding for name, pin in pins.items() if (finding := _check_library(name, pin, name in needed))]
    yield from odd
    same = len(pins) - len(odd)
    yield Finding("ok" if pins else "note", "libraries", f"{same} of {len(pins)} have the tested version")


def _needed_lines() -> list[str]:
    """What the package declares that it needs to run the labs (tools for tests are not among it)."""
    try:
        declared = metadata.requires("genai_labs") or []
    except metadata.PackageNotFoundError:  # Run from the sources without an install.
        project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
        declared = project["dependencies"]
    return [line for line in declared if "extra ==" not in line]


def read_pins(requirements: Path) -> dict[str, str]:
    """Name and tested version of each line `name==version`; empty if the file is not there."""
    lines = requirements.read_text(encoding="utf-8").splitlines() if requirements.is_file() else []
    pairs = (line.split("#")[0].strip().split("==") for line in lines if "==" in line.split("#")[0])
    return {_normalized(name): version for name, version in pairs}


def _normalized(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def _check_library(name: str, pin: str, needed: bool) -> Finding | None:
    try:
        found = metadata.version(name)
    except metadata.PackageNotFoundError:
        what = "is not installed" if needed else "is not installed (the labs do without it)"
        return Finding("stop" if needed else "note", name, what, how_to_install())
    if found.split("+")[0] == pin:  # "2.13.0+cpu" is a build of 2.13.0.
        return None
    return Finding("note", name, f"is {found}; tested was {pin}", f"if something fails: {how_to_install()}")


def check_cores() -> Finding:
    """How many processor cores this process may use."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    if cores < 2:
        return Finding("note", "cores", "1", "the labs will take about twice the minutes they state")
    return Finding("ok", "cores", f"{cores} ({platform.machine()})")


def check_memory() -> Finding:
    """Free memory against what a lab uses."""
    try:
        import psutil
    except ImportError:
        return Finding("note", "memory", "not known, because psutil is not installed", how_to_install())
    return judge_amount("memory", psutil.virtual_memory().available / 1e9, MEMORY_GB, "close other programs")


def check_disk(folder: Path) -> Finding:
    """Free space on the disk that holds the repository."""
    return judge_amount("disk", shutil.disk_usage(folder).free / 1e9, DISK_GB, "delete what you can spare")


def judge_amount(name: str, free: float, wanted: float, remedy: str) -> Finding:
    """Compare what is free with what is wanted, both in GB. Below half of it the labs will hardly run."""
    what = f"{free:.1f} GB free; the labs want {wanted:.0f} GB"
    if free >= wanted:
        return Finding("ok", name, what)
    return Finding("note" if free >= wanted / 2 else "stop", name, what, remedy)


def check_torch() -> Iterator[Finding]:
    """The GPU, and whether the processor computes in bfloat16."""
    try:
        import torch

        from genai_labs.system.devices import cpu_has_bf16
    except (ImportError, OSError) as error:
        redistributable = f", and Microsoft's Visual C++ Redistributable: {REDISTRIBUTABLE}"
        remedy = how_to_install() + redistributable * (sys.platform == "win32" and not isinstance(error, ImportError))
        yield Finding("stop", "PyTorch", f"cannot be imported: {error}", remedy)
        return
    yield Finding("ok", "GPU", find_gpu(torch))
    words = "computes in bfloat16" if cpu_has_bf16() else "does not compute in bfloat16; float32 is used"
    yield Finding("ok", "processor", f"{words} ({torch.get_num_threads()} threads)")


def find_gpu(torch: Any) -> str:
    """The accelerator in words. None is needed for the embedded world."""
    if torch.cuda.is_available():
        return f"{torch.cuda.get_device_name(0)} (CUDA)"
    if torch.backends.mps.is_available():
        if os.environ.get("GENAI_LABS_MPS") == "0":
            return "an Apple GPU, not used because GENAI_LABS_MPS is 0"
        return "Apple GPU (MPS), which nobody has tried; should a cell fail, GENAI_LABS_MPS=0 takes the processor"
    return "none; the embedded world needs none"


def check_hub(answers: Callable[[str], bool] = hub.answers) -> Finding:
    """Whether the Hugging Face hub answers. The embedded world does without it."""
    if hub.is_offline():
        return Finding("ok", "hub", "not asked, because HF_HUB_OFFLINE is set; the embedded world needs none")
    try:
        host = hub.host()
    except LabError as error:
        return Finding("note", "hub", str(error), "nothing to do for the embedded world; else unset HF_ENDPOINT")
    if answers(hub.endpoint()):
        return Finding("ok", "hub", f"{host} is reachable")
    remedy = "nothing to do for the embedded world; other profiles need a network or local folders"
    return Finding("note", "hub", f"{host} is not reachable", remedy)


def check_files(name: str, folder: Path, files: tuple[str, ...], root: Path) -> Finding:
    """Whether files that come with the repository are there and not empty."""
    missing = [file for file in files if not (folder / file).is_file() or not (folder / file).stat().st_size]
    where = folder.relative_to(root) if folder.is_relative_to(root) else folder
    if missing:
        made_by = sources.MADE_BY | {READING.name: "build-reader corpus"}
        make = f"python -m genai_labs {made_by.get(folder.name, 'build-world')}"
        remedy = f"get them back with `git checkout -- {where.as_posix()}`, or make them with `{make}`"
        return Finding("stop", name, f"missing or empty in {where.as_posix()}: {', '.join(missing)}", remedy)
    return Finding("ok", name, f"{len(files)} files in {where.as_posix()}")


def check_model(folder: Path, root: Path) -> Finding:
    """Whether the embedded model's files are there, and its weights are whole."""
    finding = check_files("model", folder, MODEL_FILES, root)
    if finding.level != "ok":
        return finding
    try:
        from safetensors import safe_open

        with safe_open(folder / "model.safetensors", framework="np") as weights:
            return Finding("ok", "model", f"{MODEL}, {len(weights.keys())} tensors")
    except ImportError:
        return finding
    except Exception as error:  # safetensors raises a type of its own that it does not export everywhere
        remedy = f"get it back with `git checkout -- {folder.relative_to(root).as_posix()}`"
        return Finding("stop", "model", f"model.safetensors is damaged: {error}", remedy)


def check_shipped(models: Path) -> Finding:
    """Whether every file of the shipped models and adapters is what its checksum says."""
    try:
        from genai_labs.loading import checksums

        folders = sorted(path for path in models.iterdir() if path.is_dir())
        files = [name for folder in folders for name in checksums.read_sums(folder)]
        for folder in folders:
            checksums.check_sums(folder)
    except ImportError as error:
        return Finding("stop", "checksums", f"cannot be compared: {error}", how_to_install())
    except OSError as error:
        return Finding("stop", "checksums", f"cannot be compared: {error}", "git checkout -- data/models")
    except LabError as error:
        what, _, remedy = str(error).partition(". ")
        return Finding("stop", "checksums", what, remedy)
    return Finding("ok", "checksums", f"{len(files)} files of {len(folders)} models are what they were when shipped")


def check_profile() -> Finding:
    """The profile that would be used, from GENAI_LABS_PROFILE or the embedded one."""
    name = os.environ.get("GENAI_LABS_PROFILE") or "mini"
    try:
        from genai_labs.loading.profiles import load_profile

        load_profile(name)
    except LabError as error:
        return Finding("stop", "profile", str(error), "unset GENAI_LABS_PROFILE, or name another")
    except ImportError as error:
        return Finding("stop", "profile", f"{name} cannot be loaded: {error}", how_to_install())
    return Finding("ok", "profile", name)
