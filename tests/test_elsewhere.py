"""What other systems lack: modules and functions of Unix that Windows has not, Colab's older IPython and no install."""

from __future__ import annotations

import argparse
import subprocess
import sys
import warnings
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest
from nbformat.v4 import new_code_cell, new_notebook

from benchmarks import alone
from genai_labs.course import execution
from genai_labs.finetuning.command import use_command
from genai_labs.loading.profiles import load_profile

# Libraries are loaded first, as they look for themselves; then our modules meet a system without these.
WITHOUT = """
import builtins, importlib, os, pkgutil, signal, sys
import matplotlib.pyplot, nbclient, nbconvert, peft, torch, transformers, trl  # noqa
MODULES = {"resource", "fcntl", "pwd", "grp", "termios", "tty", "pty", "readline", "syslog", "curses", "crypt"}
OURS = ("genai_labs", "embedded_world", "benchmarks", "course_site")
true_import = builtins.__import__

def windows_import(name, globals=None, locals=None, fromlist=(), level=0):
    if name.split(".")[0] in MODULES and str((globals or {}).get("__name__")).split(".")[0] in OURS:
        raise ModuleNotFoundError(f"No module named {name!r} on Windows", name=name)
    return true_import(name, globals, locals, fromlist, level)

builtins.__import__ = windows_import
for name in ("fork", "getuid", "geteuid", "getgid", "sched_getaffinity", "getloadavg", "uname", "sysconf", "killpg",
             "setsid", "mkfifo", "nice", "chown", "register_at_fork"):
    delattr(os, name)
for name in ("SIGKILL", "SIGHUP", "SIGALRM", "SIGUSR1", "SIGUSR2", "SIGQUIT", "SIGCHLD", "alarm", "setitimer"):
    delattr(signal, name)
count = 0
for package in OURS:
    for module in pkgutil.walk_packages(importlib.import_module(package).__path__, f"{package}."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)
            count += 1
from genai_labs import __main__ as cli
for command in cli.MODULES:
    try:
        cli.main([command, "--help"])
    except SystemExit as stop:
        assert stop.code == 0, command
from genai_labs.course.machine import check_machine
assert list(check_machine())
from benchmarks.common import machine
assert machine()["cores"]
print("imported", count)
"""


def test_every_module_and_command_is_there_without_what_windows_lacks() -> None:
    done = subprocess.run([sys.executable, "-c", WITHOUT], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    assert int(done.stdout.split()[-1]) > 150


def test_without_resource_the_peak_of_memory_is_asked_of_psutil(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "resource", None)
    monkeypatch.setattr(alone.Path, "exists", lambda path: False)
    told = SimpleNamespace(memory_info=lambda: SimpleNamespace(peak_wset=7_000))
    monkeypatch.setattr(psutil, "Process", lambda: told)
    assert alone.peak_so_far() == 7_000


def test_a_run_on_windows_says_nothing_of_event_loops(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """There zmq warns how it does with the usual one, which nobody can do anything about."""

    async def executed(*_: object) -> None:
        warnings.warn("Proactor event loop does not implement add_reader family of methods", RuntimeWarning, 1)

    monkeypatch.setattr(execution, "_executed", executed)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert execution.execute(new_notebook(cells=[new_code_cell("1")]), tmp_path, {}, "Lab 1") is None


def test_the_command_to_go_on_with_is_quoted_as_the_system_reads_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("GENAI_LABS_PROFILE", raising=False)
    args, profile = argparse.Namespace(weights=None), load_profile("mini")
    monkeypatch.setattr(sys, "platform", "win32")
    assert "'" not in use_command(args, profile, Path("a\\b"))
    assert '--adapter "my runs/model"' in use_command(args, profile, Path("my runs"))
    monkeypatch.setattr(sys, "platform", "linux")
    assert "--adapter 'my runs/model'" in use_command(args, profile, Path("my runs"))


# Colab's IPython is 7.34, and there the package is found by its path: pip knows nothing of it.
ON_COLAB = """
import sys
from importlib import metadata

class Older:
    def find_spec(self, name, path=None, target=None):
        if name == "IPython.core.display_functions":
            raise ModuleNotFoundError(f"No module named {name!r} in IPython 7", name=name)

def version(name, true_version=metadata.version):
    if name == "genai_labs":
        raise metadata.PackageNotFoundError(name)
    return true_version(name)

metadata.version = version
import IPython.display
from IPython.core.interactiveshell import InteractiveShell
InteractiveShell.instance()
IPython.display.display("loads what it needs")
sys.modules.pop("IPython.core.display_functions")
sys.meta_path.insert(0, Older())
from genai_labs.system import progress, run_folder
spot = progress.Spot()
spot.show({"text/plain": "half of it is done"})
assert spot.used
assert run_folder.library_versions()["torch"]
"""


def test_bars_and_trainings_do_with_colabs_ipython_and_without_an_install() -> None:
    done = subprocess.run([sys.executable, "-c", ON_COLAB], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    assert "half of it is done" in done.stdout
