"""Profiles: where their parts come from, and what is said when a machine is too small for one."""

import os
from pathlib import Path
from typing import Any, get_args

import pytest
import torch

from genai_labs.course import runner
from genai_labs.course.machine import check_hub
from genai_labs.errors import LabError
from genai_labs.finetuning.plan import Plan
from genai_labs.loading import hub, sources
from genai_labs.loading.profiles import (
    FOLDER_VARIABLE,
    PROFILES,
    SEED_VARIABLE,
    SOURCES,
    lab_seed,
    load_profile,
    note_if_too_small,
)
from genai_labs.paths import ROOT
from genai_labs.rlhf.settings import Settings


def test_the_environment_names_other_sources(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GENAI_LABS_FOLDER", "/stick")
    assert load_profile("flan-t5-base").judge == "/stick/judge"
    monkeypatch.setenv("GENAI_LABS_MODEL", "someone/else@v2")
    profile = load_profile("flan-t5-base")
    assert (profile.model, profile.dataset) == ("someone/else@v2", "/stick/dataset")
    assert "model else@v2, " in repr(profile)
    assert "(estimated)" in repr(profile)
    for variable in ("GENAI_LABS_FOLDER", "GENAI_LABS_MODEL"):
        monkeypatch.delenv(variable)
    assert load_profile("flan-t5-base") == PROFILES["flan-t5-base"]


@pytest.mark.parametrize("seed", ["²", "①", "٣", "-1", "1.5", " 1", "", "1_0", "9" * 5000, "99999999999"])
def test_a_seed_that_is_no_number_is_refused_in_words(seed: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(SEED_VARIABLE, seed)
    with pytest.raises(LabError, match=r"GENAI_LABS_SEED is .* Set it to 0, 1, 2"):
        lab_seed()
    monkeypatch.setenv(SEED_VARIABLE, "17")
    assert lab_seed() == 17


@pytest.mark.parametrize("name", [["mini"], 5, "MINI", "mini\n", "é" * 5000])
def test_an_odd_name_of_a_profile_is_refused_in_few_words(name: Any) -> None:
    with pytest.raises(LabError, match="There are: mini") as caught:
        load_profile(name)
    assert len(str(caught.value)) < 400


@pytest.mark.parametrize(
    "name", ["~nobodyhere", "~nobodyhere/x", "a" * 300, "/" + "a" * 300, "\udcff", "x/" + "a" * 300]
)
@pytest.mark.parametrize("variable", [FOLDER_VARIABLE, *SOURCES.values()])
def test_an_odd_name_in_the_environment_is_answered_in_words(
    name: str, variable: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setitem(os.environ, variable, name)
    profile = load_profile("mini")
    named = [getattr(profile, part) for part in SOURCES if getattr(profile, part) != getattr(PROFILES["mini"], part)]
    assert named
    for source in named:
        with pytest.raises(LabError, match="There is no folder|cannot be fetched") as caught:
            hub.find(source)
        assert len(str(caught.value)) < 700


@pytest.mark.parametrize("name", ["", "a\x00b", "/a\x00b", "a/b\x00", "@", "a/@x", "a/b@\n"])
def test_an_odd_name_of_a_source_is_answered_in_words(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    for kind in get_args(sources.Kind):
        with pytest.raises(LabError):
            hub.find(name, kind)


@pytest.mark.parametrize("address", ["http://[bad", "nonsense", "http://", "ftp://x", "http://x:abc", "file:///x", "é"])
def test_an_address_of_the_hub_that_is_none_is_said(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    monkeypatch.setenv("HF_ENDPOINT", address)
    with pytest.raises(LabError, match="no web address.*Unset it"):
        hub.check_reachable("someone/else")
    finding = check_hub(lambda _: True)
    assert (finding.level, "no web address" in finding.what) == ("note", True)


def test_the_judge_is_never_the_reward_model() -> None:
    for profile in PROFILES.values():
        assert profile.judge != profile.reward_model
        assert set(SOURCES) <= set(vars(profile))


def test_a_machine_that_is_too_small_is_told_what_fits(capsys: pytest.CaptureFixture[str]) -> None:
    note_if_too_small(PROFILES["flan-t5-large"], free=6.0)
    assert "take a smaller profile: flan-t5-small." in capsys.readouterr().out
    note_if_too_small(PROFILES["flan-t5-large"], free=64.0)
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("name", PROFILES)
def test_what_a_profile_sets_can_be_set(name: str) -> None:
    profile = PROFILES[name]
    Plan(**profile.full)
    Plan(method="lora", **profile.lora)
    Settings(**profile.ppo)
    Settings(**profile.ppo | profile.ppo_hacking)


def test_a_larger_model_is_never_called_the_smaller_profile(capsys: pytest.CaptureFixture[str]) -> None:
    """flan-t5-xl takes less memory than flan-t5-large, whose weights are all trained."""
    note_if_too_small(PROFILES["flan-t5-large"], free=19.8)
    assert "take a smaller profile: flan-t5-base." in capsys.readouterr().out


def test_the_largest_profile_is_for_adapters_and_leaves_lab_2_out(capsys: pytest.CaptureFixture[str]) -> None:
    profile = PROFILES["flan-t5-xl"]
    assert profile.weights == "bf16"
    assert profile.lora["checkpointing"]
    found = runner.can_run({lab: Path(f"lab{lab}") for lab in (1, 2)}, profile)
    assert list(found) == [1]
    assert "Lab 2 is left out: flan-t5-xl is too large" in capsys.readouterr().out
    with pytest.raises(LabError, match="Take a smaller profile"):
        runner.can_run({2: Path("lab2")}, profile)
    every = {lab: Path(f"lab{lab}") for lab in (1, 2, 3)}
    assert runner.can_run(every, PROFILES["flan-t5-large"]) == every


@pytest.mark.parametrize("name", PROFILES)
def test_a_profile_says_all_that_it_will_do(name: str) -> None:
    said = repr(PROFILES[name])
    for part in ("dialogues: ", "batches: ", "precision: weights in ", "on 2 CPU cores"):
        assert part in said
    assert ("on one GPU (estimated)" in said) is (name != "mini")


def test_on_a_gpu_more_is_written_at_a_time_and_its_own_memory_counts(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda: (7e9, 24e9))
    assert load_profile("flan-t5-base").batch_size == 64
    assert "labs take up to 8 GB of memory, and 7.0 GB are free" in capsys.readouterr().out
    assert sorted(PROFILES["flan-t5-xl"].costs_here) == [1, 3]


@pytest.mark.parametrize("name", PROFILES)
def test_the_page_on_real_models_says_what_a_profile_takes(name: str) -> None:
    profile = PROFILES[name]
    page = (ROOT / "docs" / "real-models.md").read_text(encoding="utf-8")
    row = next(line for line in page.splitlines() if f"| {name} (" in line)
    cells = [cell.strip() for cell in row.strip("|").split("|")]
    assert ("estimated" if profile.estimated else "measured") in cells[0]
    wanted = [f"{profile.disk:g}"]
    for costs in (profile.costs, profile.gpu_costs):
        for part in (0, 1):
            wanted.append(", ".join(f"{costs[lab][part]:g}" if lab in costs else "-" for lab in (1, 2, 3)))
    assert [cell.replace("not needed", "-, -, -") for cell in cells[1:]] == wanted
