"""What other systems lack: modules and functions of Unix that Windows has not, letters that a console cannot show."""

from __future__ import annotations

import subprocess
import sys
from types import SimpleNamespace

import psutil
import pytest

from benchmarks import alone

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
