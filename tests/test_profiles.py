"""Profiles: where their parts come from, and what is said when a machine is too small for one."""

import pytest

from genai_labs.profiles import PROFILES, SOURCES, load_profile, note_if_too_small


def test_the_environment_names_other_sources(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GENAI_LABS_FOLDER", "/stick")
    assert load_profile("flan-t5-base").judge == "/stick/judge"
    monkeypatch.setenv("GENAI_LABS_MODEL", "someone/else@v2")
    profile = load_profile("flan-t5-base")
    assert (profile.model, profile.dataset) == ("someone/else@v2", "/stick/dataset")
    assert "model: else@v2" in repr(profile)
    assert "(estimated)" in repr(profile)
    for variable in ("GENAI_LABS_FOLDER", "GENAI_LABS_MODEL"):
        monkeypatch.delenv(variable)
    assert load_profile("flan-t5-base") == PROFILES["flan-t5-base"]


def test_the_judge_is_never_the_reward_model() -> None:
    for profile in PROFILES.values():
        assert profile.judge != profile.reward_model
        assert set(SOURCES) <= set(vars(profile))


def test_a_machine_that_is_too_small_is_told_what_fits(capsys: pytest.CaptureFixture[str]) -> None:
    note_if_too_small(PROFILES["flan-t5-large"], free=6.0)
    assert "take a smaller profile: flan-t5-small." in capsys.readouterr().out
    note_if_too_small(PROFILES["flan-t5-large"], free=64.0)
    assert capsys.readouterr().out == ""
