"""Files that a training left, scenarios, and what the environment says: damaged, changed by hand, or nonsense."""

from __future__ import annotations

import contextlib
import io
import json
import os
from functools import partial
from pathlib import Path
from typing import Any
from unittest import mock

import yaml
from hypothesis import strategies as st

from embedded_world.corpus import check
from genai_labs.loading import data, hub, profiles
from genai_labs.paths import CONTENT
from genai_labs.system import run_folder
from tests.fuzzing.files import saved
from tests.fuzzing.inputs import REFUSED, SLOW, answer, damaged, damaged_parts, target, texts

SCENARIOS = (CONTENT / "scenarios" / "work_and_money.yaml").read_text(encoding="utf-8")
WORDS: list[Any] = [
    "{A}",
    "{x}",
    "{a slot}",
    "{",
    "[says|said]",
    "[a",
    "\n",
    "{A's}",
    "{price}",
    "on",
    "- x",
    [],
    {},
    None,
    "",
    7,
]


@st.composite
def scenario_files(draw: st.DrawFn) -> bytes:
    """A file of scenarios: two of ours with damaged parts, a damaged file, or anything."""
    some = draw(damaged_parts(lambda: yaml.load(SCENARIOS, Loader=yaml.CBaseLoader)[:2], odd=WORDS))
    whole = yaml.safe_dump(some, allow_unicode=True).encode()
    odd = texts.map(lambda text: text.encode("utf-8", "surrogatepass"))
    return draw(damaged(st.just(whole)) | st.just(whole) | odd | st.sampled_from([b"- " * 9000, b"&a [*a]", b"[]"]))


@target(scenario_files(), SLOW, found=(b"- id: a",))
def scenarios_are_checked(given: bytes, folder: Path) -> None:
    path = saved(folder, "mine.yaml", given)
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        status = check.main([str(path), "--samples", "2"])
    said = out.getvalue()
    assert status in (0, 1, 2)
    if status == 2:
        assert err.getvalue().strip()
        return
    assert "scenarios that can be read, " in said
    assert (", 0 problems" in said.splitlines()[0]) == (status == 0)
    if status == 0:
        assert said.count("\n=== ") == 2
        assert "{" not in said


@st.composite
def noted(draw: st.DrawFn) -> tuple[dict[str, bytes], bool]:
    """The files of a run's folder, perhaps damaged, and whether to go on."""
    parts = {
        "plan.json": {"plan": PLAN, "versions": run_folder.library_versions()},
        "done.json": DONE | {"sum": run_folder.digest(DONE)},
        "step-1/state.json": {"step": 1},
    }
    kept = {name: content for name, content in parts.items() if draw(st.integers(0, 3))}
    trees = {name: draw(damaged_parts(partial(json.loads, json.dumps(content)))) for name, content in kept.items()}
    files = {name: draw(damaged(st.just(json.dumps(tree).encode()))) for name, tree in trees.items()}
    return files, draw(st.booleans())


DONE: dict[str, Any] = {"history": [], "checkpoints": ["step-1"], "made_by": run_folder.made_by()}
PLAN = {"rate": 0.1, "rows": 5, "names": ["a"]}


def whole(folder: Path) -> list[Path]:
    """Checkpoints that can be read."""
    found = []
    for path in sorted(folder.glob("step-*")):
        with contextlib.suppress(OSError, ValueError):
            found += [path] if isinstance(json.loads((path / "state.json").read_text()), dict) else []
    return found


WITHOUT_CHECKPOINTS = {
    "plan.json": json.dumps({"plan": PLAN, "versions": run_folder.library_versions()}).encode(),
    "done.json": json.dumps({"made_by": run_folder.made_by()}).encode(),
    "step-1/state.json": b"{}",
}


@target(
    noted(),
    found=(
        ({"plan.json": b""}, False),
        ({"plan.json": b"", "step-1/state.json": b"{}"}, True),
        (WITHOUT_CHECKPOINTS, True),
    ),
)
def a_folder_of_a_run_is_made_ready(given: tuple[dict[str, bytes], bool], folder: Path) -> None:
    files, resume = given
    for name, content in files.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(content)
    found = answer(run_folder.prepare, folder, {"plan": PLAN}, "step-*", whole, resume)
    if found is REFUSED:
        assert resume or "plan.json" not in files, "what is to be thrown away is not looked at"
        return
    assert json.loads((folder / "plan.json").read_text())["plan"] == PLAN
    assert resume or not list(folder.glob("step-*"))
    done = run_folder.result(folder)
    assert done is None or (resume and done == DONE)


VARIABLES = ("PROFILE", "SEED", "MODEL", "REWARD_MODEL", "JUDGE", "DATASET", "FOLDER")
words = st.one_of(
    st.sampled_from(
        ["mini", "flan-t5-small", "0", "²", "-1", "1e3", "~nobodyhere", "~", ".", "..", "a/b", "a/b@c", "@"]
    ),
    st.sampled_from(["a" * 300, "a/" + "b" * 300, "/", "//", "/nonexistent", "owner/na me", "a/b/c", "\udc80\udcff"]),
    texts.map(lambda text: text.encode("utf-8", "ignore").decode().replace("\x00", "")),
)


@target(
    st.dictionaries(st.sampled_from(VARIABLES), words, max_size=3),
    found=(
        {"FOLDER": "@"},
        {"DATASET": "\r/x"},
        {"FOLDER": " "},
    ),
)
def the_environment_is_read(given: dict[str, str], folder: Path) -> None:
    with mock.patch.dict(os.environ, {f"GENAI_LABS_{name}": value for name, value in given.items()}):
        seed = answer(profiles.lab_seed)
        assert seed is REFUSED or str(seed) == (given.get("SEED", "0").lstrip("0") or "0")
        profile = answer(profiles.load_profile)
        if profile is REFUSED:
            assert given["PROFILE"] not in profiles.PROFILES
            return
        assert profile.name == (given.get("PROFILE") or "mini")
        assert repr(profile)
        for part in profiles.SOURCES:
            place = answer(hub.find, getattr(profile, part), "dataset" if part == "dataset" else "model")
            assert place is REFUSED or place.is_dir()
        answer(data.load_split, profile.dataset, "validation")
