"""How many small mistakes the tests notice in modules where one would make a false lesson: `make mutants`.

mutmut (https://mutmut.readthedocs.io) puts each mistake, such as `<` for `<=`, into the modules of a part of
mutants.toml, and runs those of the part's tests that reach it, the fastest first. Words of error messages are left as
they are, and so are functions with decorators, which mutmut passes over, but for those of WRAPPERS. What no test
notices belongs into survivors.toml, with the reason why it may stay.
"""

from __future__ import annotations

import ast
import json
import os
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

from genai_labs.paths import BUILD, ROOT

BAR = 0.9  # the least share of mistakes that the tests of a part have to notice
CAUGHT = {1, 3, 24, -24, 36, 152, 255, -9, -11}  # what mutmut notes: a test failed, ran out of time, or crashed
WRAPPERS = ("torch.no_grad", "functools.cache", "functools.lru_cache", "cache")  # they are put on at the module's end
MUTMUT = Path(sys.executable).with_name("mutmut")
SETTINGS = {
    "source_paths": ["src"],
    "also_copy": ["conftest.py"],
    "process_isolation": "forkserver",  # torch's threads do not survive a plain fork
    "use_git_change_detection": False,
    "do_not_mutate_patterns": [r"raise \w+", r'^\s+f?"[^"]*"\)?$'],  # messages, which go on in lines of their own
}


def table(name: str) -> dict[str, Any]:
    """A TOML file beside this one."""
    return tomllib.loads(Path(__file__).with_name(name).read_text(encoding="utf-8"))


def with_decorators_last(code: str) -> str:
    """A module whose functions and methods get the decorators of WRAPPERS at its end, so that mutmut sees into them."""
    lines, behind = code.splitlines(), []
    tree = ast.parse(code)
    scopes = [("", tree.body), *((f"{node.name}.", node.body) for node in tree.body if isinstance(node, ast.ClassDef))]
    for scope, body in scopes:
        for node in body:
            if isinstance(node, ast.FunctionDef) and len(node.decorator_list) == 1:
                (wrapper,) = node.decorator_list
                if ast.unparse(wrapper).split("(")[0] in WRAPPERS:
                    for number in range(wrapper.lineno, node.lineno):
                        lines[number - 1] = ""
                    behind.append(f"{scope}{node.name} = {ast.unparse(wrapper)}({scope}{node.name})")
    return "\n".join([*lines, *behind, ""])


def lay_out(name: str, part: dict[str, Any]) -> Path:
    """A folder in which mutmut finds the repository, and the part's settings behind the others in pyproject.toml."""
    folder = BUILD / "mutants" / name
    shutil.rmtree(folder, ignore_errors=True)
    (folder / "mutants").mkdir(parents=True)
    for each in ("tests", "conftest.py"):  # which mutmut copies
        (folder / each).symlink_to(ROOT / each)
    shutil.copytree(ROOT / "src", folder / "src", ignore=shutil.ignore_patterns("__pycache__"))
    for module in part["modules"]:
        path = folder / "src" / "genai_labs" / module
        path.write_text(with_decorators_last(path.read_text(encoding="utf-8")), encoding="utf-8")
    for each in ("data", "configs", "notebooks", "results"):
        (folder / "mutants" / each).symlink_to(ROOT / each)
    settings = SETTINGS | {
        "only_mutate": [f"src/genai_labs/{module}" for module in part["modules"]],
        "pytest_add_cli_args_test_selection": part["tests"],
        "pytest_add_cli_args": [f"--deselect={test}" for test in part.get("too_slow", [])],
    }
    lines = [f"{key} = {json.dumps(value)}" for key, value in settings.items()]
    project = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    (folder / "pyproject.toml").write_text("\n".join([project, "[tool.mutmut]", *lines]), encoding="utf-8")
    return folder


def outcomes(folder: Path, part: dict[str, Any]) -> dict[str, int | None]:
    """The name of each mutant, and the exit code of its tests."""
    found: dict[str, int | None] = {}
    for module in part["modules"]:
        path = folder / "mutants" / "src" / "genai_labs" / f"{module}.meta"
        found |= json.loads(path.read_text(encoding="utf-8"))["exit_code_by_key"]
    return found


def change(folder: Path, mutant: str) -> str:
    """What a mutant changes, such as "a < b -> a <= b"."""
    shown = subprocess.run([MUTMUT, "show", mutant], cwd=folder, capture_output=True, text=True, check=True).stdout
    lines = [line for line in shown.splitlines() if line[:1] in "+-" and line[:3] not in ("+++", "---")]
    old, new = (" ".join(line[1:].strip() for line in lines if line[0] == sign) for sign in "-+")
    return f"{old} -> {new}"


def share_caught(name: str, part: dict[str, Any], listed: set[str]) -> float:
    """Run a part, and print how many mistakes were caught, and the others as far as they are not listed."""
    folder = lay_out(name, part)
    subprocess.run([MUTMUT, "run"], cwd=folder, env=os.environ | {"OMP_NUM_THREADS": "1"}, check=True)
    codes = outcomes(folder, part)
    left = {change(folder, mutant) for mutant, code in codes.items() if code not in CAUGHT}
    missed = sum(code not in CAUGHT for code in codes.values())
    share = 1 - missed / len(codes)
    print(f"{name}: {len(codes) - missed} of {len(codes)} caught, {share:.1%}")
    print("".join(f"  not in survivors.toml: {each}\n" for each in sorted(left - listed)), end="", flush=True)
    return share


def main(names: list[str]) -> int:
    """Run the parts named, by default all; 1 if the tests of one catch too few."""
    parts, survivors = table("mutants.toml"), table("survivors.toml")
    shares = {
        name: share_caught(name, parts[name], {each for some in survivors.get(name, {}).values() for each in some})
        for name in names or parts
    }
    low = [name for name, share in shares.items() if share < BAR]
    print(f"Below {BAR:.0%}: {', '.join(low) or 'none'}")
    return int(bool(low))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
