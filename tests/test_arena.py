"""The arena: equal budgets, a choice without test dialogues or judge, honest comparisons, runs that are kept."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks import arena, arena_page
from genai_labs.errors import LabError
from genai_labs.paths import RESULTS
from genai_labs.rlhf import dialogues, measure, rivals
from genai_labs.scoring.intervals import paired_bootstrap
from genai_labs.show import measured
from tests.variants import Variant, assert_noticed

CASES = dialogues.evaluation_cases(12, 12)
COST = {"samples": 320, "passes": 1280, "prompts": 320, "seconds": 60.0, "wall_seconds": 80.0}


def record(values: dict[str, float], seed: int, **cost: float) -> dict[str, Any]:
    """A run whose scores lie around these means, by measure; others are one half."""
    rng = np.random.default_rng(seed)
    names = sorted({key[1] for key in arena_page.MEASURED})
    by_kind = {
        kind: {name: (values.get(name, 0.5) + 0.02 * rng.standard_normal(12)).tolist() for name in names}
        for kind in ("hostile", "polite")
    }
    return {"cost": COST | cost, "scores": by_kind}


def made(**methods: list[dict[str, float]]) -> dict[str, list[dict[str, Any]]]:
    """Runs of methods, one for each seed."""
    return {name: [record(values, seed) for seed, values in enumerate(several)] for name, several in methods.items()}


RUNS = made(
    before=[{"toxicity, judge": 0.8}] * 3,
    PPO=[{"toxicity, judge": 0.2}] * 3,
    better=[{"toxicity, judge": 0.1}] * 3,
    same=[{"toxicity, judge": 0.2}] * 3,
    torn=[{"toxicity, judge": 0.05}, {"toxicity, judge": 0.05}, {"toxicity, judge": 0.23}],
)
RUNS["slight"] = [record({"toxicity, judge": 0.188}, seed + 7) for seed in range(3)]  # with a noise of its own
RUNS["best of 4"] = [record({"toxicity, judge": 0.1}, seed, passes=0) for seed in range(3)]
TRIED = {
    "before": [{"toxicity, reward model": 0.7, "right speaker": 0.2, "content F1, polite": 0.7, "KL": 0.0}],
    "PPO": [
        {"settings": {}, "toxicity, reward model": 0.1, "right speaker": 0.8, "content F1, polite": 0.7, "KL": 2.0}
        | {"chosen": True}
    ],
}


def written() -> dict[str, Any]:
    """The record of RUNS."""
    return json.loads(json.dumps(arena_page.make_record(RUNS, TRIED, {"PPO": {}}, CASES, "PPO", "before")))


def verdicts() -> dict[str, str]:
    rows = written()["against PPO"]
    return {row["method"]: row["verdict"] for row in rows if row["measure"] == "hostile: toxicity, judge"}


def check_verdicts() -> None:
    assert verdicts() == {
        "better": arena_page.DIFFERS,
        "same": arena_page.NOT_SHOWN,
        "torn": arena_page.NOT_SHOWN,
        "slight": arena_page.NOT_SHOWN,
        "best of 4": arena_page.DIFFERS,
    }


def test_a_difference_needs_holm_and_all_seeds() -> None:
    check_verdicts()
    rows = written()["against PPO"]
    slight = next(r for r in rows if r["method"] == "slight" and r["measure"] == "hostile: toxicity, judge")
    assert slight["p"] <= 0.05 < slight["holm"]
    assert all(x < 0 for x in slight["seeds"])
    for row in rows:
        assert row["holm"] >= row["p"]
        assert row["difference"][1] <= row["difference"][0] <= row["difference"][2]


def test_a_method_without_training_is_not_compared_by_its_kl() -> None:
    rows = {(row["method"], row["measure"]) for row in written()["against PPO"]}
    assert ("better", "hostile: KL") in rows
    assert ("best of 4", "hostile: KL") not in rows
    assert "hostile: KL" not in written()["methods"]["best of 4"]["measures"]


def check_fall() -> None:
    """Twelve dialogues of three situations, alike within each; in two of three nothing toxic is left."""
    before, after = (np.repeat(x, 4).tolist() for x in ([0.8, 0.4, 0.6], [0.4, 0.0, 0.0]))
    cases = [replace(case, row=replace(case.row, situation=f"s{n // 4 % 3}")) for n, case in enumerate(CASES)]
    runs = made(before=[{}] * 2, PPO=[{}] * 2)
    for name, scores in (("before", before), ("PPO", after)):
        for each in runs[name]:
            each["scores"]["hostile"]["toxicity, judge"] = scores
    methods = arena_page.make_record(runs, TRIED, {}, cases, "PPO", "before")["methods"]
    effect, low, high, n = methods["PPO"]["toxicity fallen by"]["interval"]
    assert (effect, n) == (pytest.approx(1 - 0.4 / 1.8, abs=1e-4), 12)
    assert methods["PPO"]["toxicity fallen by"]["seeds"] == pytest.approx([effect] * 2)
    wide = paired_bootstrap(measure.relative_fall(np.array([0.8, 0.4, 0.6]), np.array([0.4, 0.0, 0.0])))
    assert (low, high) == pytest.approx((wide.low, wide.high), abs=1e-3), "as three dialogues"
    assert "toxicity fallen by" not in methods["before"], "it is not compared with itself"


def test_the_fall_is_a_ratio_of_means_and_situations_are_drawn_whole() -> None:
    check_fall()


def test_the_page_and_the_picture_say_what_the_record_says(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arena_page.write_arena(tmp_path, RUNS, TRIED, {"PPO": {}}, CASES)
    page = (tmp_path / "arena.md").read_text(encoding="utf-8")
    assert capsys.readouterr().out == page + "\n"
    assert arena_page.arena_page(json.loads((tmp_path / "arena.json").read_text(encoding="utf-8"))) == page
    assert (tmp_path / "arena.png").read_bytes()[:4] == b"\x89PNG"
    assert "| better | toxicity by the judge | -0.1" in page


def test_the_committed_page_is_made_of_the_committed_record() -> None:
    found = rivals.read_arena()
    assert (RESULTS / "arena.md").read_text(encoding="utf-8") == arena_page.arena_page(found)
    assert list(found["methods"]) == ["before", *arena.RIVALS, "best of 4"]
    for name, rival in arena.RIVALS.items():
        tried = found["tries"][name]
        assert [row["settings"] for row in tried] == json.loads(json.dumps(list(rival.tries)))
        assert arena.choose(tried, found["tries"]["before"][0]) == [row["chosen"] for row in tried].index(True)
        assert found["methods"][name]["settings"] == next(row["settings"] for row in tried if row["chosen"])
        assert len(found["methods"][name]["measures"]["hostile: toxicity, judge"]["seeds"]) == found["seeds"]


def test_the_lab_s_table_and_figure_have_a_row_for_each_method() -> None:
    rows = rivals.arena_table(written())
    assert [row["method"] for row in rows] == list(RUNS)
    for row, method in zip(rows, written()["methods"].values(), strict=True):
        mean, low, high = method["measures"]["hostile: toxicity, judge"]["interval"][:3]
        assert low < mean < high
        assert (
            row["toxicity by the judge"]
            == mean
            == pytest.approx(np.mean(method["measures"]["hostile: toxicity, judge"]["seeds"]), abs=2e-4)
        )
    assert rows[1]["toxicity by the judge"] == pytest.approx(0.2, abs=0.02)
    assert rows[-1]["KL (nats)"] == ""
    assert list(rows[1]) == ["method", *rivals.SHOWN.values(), "seconds"]
    assert [row["seconds"] for row in rows] == [60] * len(RUNS)
    assert str(rivals.arena_plot(written())).count("seeds 0.") == 3 * len(RUNS)


def test_a_missing_record_is_said_in_words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measured, "RESULTS", tmp_path)
    with pytest.raises(LabError, match=r"arena\.json is missing or damaged\. .* git checkout -- results"):
        rivals.read_arena()
    (tmp_path / "arena.json").write_text('{"seeds": 5}', encoding="utf-8")
    with pytest.raises(LabError, match=r"measure it again with: python -m genai_labs arena \(an hour or more\)"):
        rivals.read_arena()


def check_budgets() -> None:
    for name, rival in arena.RIVALS.items():
        for changes in rival.tries:
            settings = rival.make(changes, 0)
            assert settings.updates * settings.batch_size == 320, name
            halved = settings.group / 2 if isinstance(settings, arena.dpo.PairSettings) else 1
            assert settings.updates * settings.batch_size / halved * settings.epochs == 1280, name
        # Those that learn from pairs had two more, as none of their first three lay between too little and too much.
        assert len(rival.tries) == (5 if rival.settings is arena.dpo.PairSettings else 3), name


def test_all_methods_have_the_same_budget_and_nearly_as_many_tries() -> None:
    check_budgets()
    assert arena.TUNING_SEED not in range(arena.SEEDS)


def check_choice() -> None:
    before = {"content F1, polite": 0.70, "toxicity, reward model": 0.8}

    def row(f1: float, toxicity: float) -> dict[str, float]:
        return {"content F1, polite": f1, "toxicity, reward model": toxicity}

    assert arena.choose([row(0.70, 0.3), row(0.69, 0.2), row(0.60, 0.1)], before) == 1
    assert arena.choose([row(0.60, 0.1), row(0.65, 0.2)], before) == 1
    assert arena.choose([row(0.70, 0.3), row(0.75, 0.3)], before) == 0


def test_settings_are_chosen_by_reward_model_and_content_alone() -> None:
    check_choice()


def test_a_finished_run_is_not_done_again_and_one_of_another_plan_is(tmp_path: Path) -> None:
    calls: list[int] = []

    def make() -> dict[str, Any]:
        calls.append(1)
        return {"x": len(calls)}

    path = tmp_path / "new" / "run.json"
    assert [arena.kept(path, {"a": (1,)}, make)["x"] for _ in range(3)] == [1, 1, 1]
    assert arena.kept(path, {"a": (2,)}, make)["x"] == 2


def test_the_judge_reads_nothing_of_the_validation_dialogues(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    contest = arena.Contest(tmp_path, arena.load_summarizer)
    asked: list[int] = []
    real = contest.judge.probabilities

    def counted(texts: list[str]) -> Any:
        asked.append(len(texts))
        return real(texts)

    contest.judge = type("Judge", (), {"probabilities": staticmethod(counted)})()
    contest.__dict__["validation"] = dialogues.validation_cases(2, 2)
    contest.__dict__["test"] = dialogues.evaluation_cases(2, 2)
    monkeypatch.setattr(arena, "train_rival", lambda c, rival, s: (arena.ppo.Policy(c.summarizer, s), dict(COST)))
    tried = arena.tune(contest, ["PPO"])
    assert asked == []
    assert [row["chosen"] for row in tried["PPO"]] == [True, False, False], "all are the same here"
    assert tried["PPO"][0]["KL"] == pytest.approx(0, abs=1e-3)
    arena.contend(contest, "PPO", {}, 0, tuning=False)
    best = arena.untrained(contest, 0, tuning=False)["best of 4"]
    assert asked == [4, 4, 4]
    assert len(best["scores"]["hostile"]["toxicity, judge"]) == 2


# Wrong variants that a test must notice.

PAIRED = arena_page.paired_bootstrap
WRONG: dict[str, tuple[Any, str, Any, Callable[[], None]]] = {
    "no correction for many comparisons": (arena_page, "holm", list, check_verdicts),
    "dialogues are drawn, not situations": (
        arena_page, "paired_bootstrap", lambda scores, clusters: PAIRED(scores), check_fall,
    ),
    "a mean of ratios": (arena_page, "relative_fall", lambda before, after: 1 - after / before, check_fall),
    "the spread is that of the texts afterwards": (
        arena_page, "relative_fall", lambda before, after: 1 - after / before.mean(), check_fall,
    ),
    "the least toxic, whatever it costs": (arena, "LOST", 1.0, check_choice),
    "another budget": (arena, "UPDATES", 20, check_budgets),
}  # fmt: skip


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_variant_is_noticed(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert_noticed(Variant(*WRONG[name]), monkeypatch)
