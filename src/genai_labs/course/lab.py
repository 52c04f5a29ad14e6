"""`python -m genai_labs lab`: JupyterLab at a learner's copy of a lab."""

import argparse
import os
import re
from collections.abc import Mapping, Sequence
from typing import Any

from genai_labs.course.execution import KEEP_MEMORY, encryption
from genai_labs.course.runner import EVERY_NOTEBOOK, find_notebooks
from genai_labs.course.working_copy import WORK, update_copy
from genai_labs.errors import LabError
from genai_labs.paths import JUPYTER_CONFIG, ROOT


def main(argv: Sequence[str]) -> int:
    """Update the copies of all labs in work/, and open JupyterLab at one of them. Returns when it is closed.

    argv: the number of a lab (default: 1), then options of JupyterLab, with or without `--` in front. Raises LabError
    where the lab cannot be copied, and for root without --allow-root.
    """
    number, options = read_line(argv)
    refuse_root(options)
    find_notebooks([number])
    for lab, path in find_notebooks([]).items():
        try:
            _, said = update_copy(path)
        except LabError as error:
            if lab == number:
                raise
            said = str(error)
        if said:
            print(said)
    os.environ.update(server_environment())
    from jupyterlab.labapp import LabApp

    LabApp.launch_instance([*server_options(number), *options])
    return 0


def read_line(argv: Sequence[str]) -> tuple[int, list[str]]:
    """The lab's number, and what is for JupyterLab."""
    parser = argparse.ArgumentParser(
        prog="python -m genai_labs lab",
        usage="%(prog)s [LAB] [-- OPTIONS OF JUPYTERLAB]",
        description="Opens JupyterLab at your own copy of a lab, in work/. Updates of the course keep what you wrote.",
        epilog="For example: lab 2 -- --port 9999 --no-browser. JupyterLab's options: python -m jupyterlab --help",
    )
    parser.add_argument("lab", nargs="?", type=int, choices=sorted(EVERY_NOTEBOOK), default=1, metavar="LAB")
    line = list(argv)
    ours = 1 if line and (not line[0].startswith("-") or line[0] in ("-h", "--help")) else 0
    options = line[ours:]
    return parser.parse_args(line[:ours]).lab, options[1:] if options[:1] == ["--"] else options


def refuse_root(options: Sequence[str]) -> None:
    """Raise LabError where JupyterLab would not start because one is root."""
    allowed = any(option.startswith(("--allow-root", "--ServerApp.allow_root")) for option in options)
    if hasattr(os, "geteuid") and os.geteuid() == 0 and not allowed:
        raise LabError(
            "JupyterLab is not started, because you are root (the administrator): whoever reached it in the browser "
            "could change everything on this machine. Work as another user, or, where that does no harm (in a "
            'container, say), allow it: make lab ARGS="-- --allow-root", '
            "which is python -m genai_labs lab -- --allow-root"
        )


def server_options(number: int) -> list[str]:
    """Options for JupyterLab: the repository is what it shows, so that a lab's links open; the lab is opened in it."""
    return [
        f"--ServerApp.root_dir={ROOT}",
        f"--LabApp.default_url=/lab/tree/{WORK.name}/{EVERY_NOTEBOOK[number]}",
        f"--KernelManager.transport_encryption={encryption()}",
        *forwarded(os.environ),
    ]


def forwarded(environment: Mapping[str, str]) -> list[str]:
    """An option for GitHub Codespaces, whose browser asks by another name than the one that the server hears.

    JupyterLab refuses what comes from another origin; this lets in the ports of this codespace, and nothing else.
    """
    name, domain = environment.get("CODESPACE_NAME"), environment.get("GITHUB_CODESPACES_PORT_FORWARDING_DOMAIN")
    if not name or not domain:
        return []
    return [rf"--ServerApp.allow_origin_pat=https://{re.escape(name)}-\d+\.{re.escape(domain)}$"]


def server_environment() -> dict[str, str]:
    """Variables for JupyterLab and the kernels it starts."""
    folders = [str(JUPYTER_CONFIG), *filter(None, [os.environ.get("JUPYTER_CONFIG_PATH")])]
    return {
        **KEEP_MEMORY,
        "JUPYTER_CONFIG_PATH": os.pathsep.join(folders),
        # A kernel named "python3" in the user's own folder would lack our packages.
        "JUPYTER_PREFER_ENV_PATH": "1",
    }


def before_save(model: dict[str, Any], **_: Any) -> None:
    """What JupyterLab calls before it saves a file (configs/jupyter): progress does not belong into a notebook."""
    if model["type"] == "notebook" and model["content"]:
        from genai_labs.course.notebooks import strip_progress

        strip_progress(model["content"])
