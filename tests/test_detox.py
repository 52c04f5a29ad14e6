"""Lab 3's dialogues, the matcher of reported quarrels, what is measured, the command, and the benchmark of PPO."""

import json
import mmap
import os
import random
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import psutil
import pytest
import torch
from transformers import GenerationConfig

from benchmarks import alone as bench_alone
from benchmarks import ppo as bench_ppo
from embedded_world.corpus import quarrels
from embedded_world.corpus.acts import all_acts
from embedded_world.corpus.composed import composed_talks
from embedded_world.corpus.dialogue import hostility
from embedded_world.corpus.language import fill
from embedded_world.corpus.styles import HOUSE
from embedded_world.corpus.talk import Insult
from genai_labs import __main__ as command_line
from genai_labs.errors import LabError
from genai_labs.finetuning import lora
from genai_labs.loading import data, models
from genai_labs.loading.profiles import load_profile
from genai_labs.paths import READING
from genai_labs.prompting import generation, prompts
from genai_labs.rlhf import command as detox_cli
from genai_labs.rlhf import conflict, dialogues, measure, summarizer
from genai_labs.rlhf.conflict import Report
from genai_labs.rlhf.dialogues import Case
from genai_labs.scoring import facts
from genai_labs.scoring.metrics import Interval, paired_bootstrap
from genai_labs.system import run_folder
from tests.variants import Variant, assert_noticed


def by_length(texts: Sequence[str]) -> list[float]:
    return [min(len(text) / 400, 1.0) for text in texts]


# Dialogues.


def test_most_harsh_rows_repeat_the_insult_and_none_leaves_the_quarrel_out() -> None:
    rows = dialogues.harsh_rows(400)
    assert rows == dialogues.harsh_rows(400)
    assert [row.dialogue for row in rows] != [row.dialogue for row in dialogues.harsh_rows(400, seed=1)]
    composed = list(islice(quarrels.composed("train", "harsh-0", 0.6), 400))
    assert [talk.text for talk in composed] == [row.dialogue for row in rows]
    told = [(row.summary, talk) for row, talk in zip(rows, composed, strict=True) if talk.quarrel]
    assert 0.5 < len(told) / 400 < 0.7
    neutral = conflict.reported([summary for summary, _ in told])
    assert 0.75 < 1 - neutral.mean() < 0.95
    for (summary, talk), mild in zip(told, neutral, strict=True):
        assert talk.quarrel
        people = {speaker: talk.tag(speaker) for speaker in "AB"}
        clauses = talk.quarrel.neutral if mild else talk.quarrel.harsh
        assert any(talk._written(clause, HOUSE, people) in summary for clause in clauses), summary


def test_ppo_writes_about_the_dialogues_of_its_seed() -> None:
    composed = islice(quarrels.composed("train", "ppo-2", 0.75), 5)
    assert dialogues.ppo_dialogues(5, seed=2) == [talk.text for talk in composed]


def test_nothing_of_the_test_split_is_learned_from() -> None:
    learned = {
        talk.text for name in ("harsh-0", "ppo-0") for talk in islice(quarrels.composed("train", name, 0.6), 300)
    }
    assert len(learned) == 600
    assert not learned & quarrels.held_out_texts()
    tested = {case.dialogue for case in dialogues.evaluation_cases(200, 400)}
    assert len(tested) > 500
    splits = ("test", "validation", "unseen")
    committed = {row.dialogue for split in splits for row in data.load_split(str(READING), split)}
    assert tested | committed == quarrels.held_out_texts()
    assert not tested & {row.dialogue for row in dialogues.harsh_rows(300)}
    assert not tested & set(dialogues.ppo_dialogues(300))


def check_a_dialogue_of_a_test_and_one_that_was_drawn_before_are_left_out_of_training() -> None:
    polite = [talk for _, talk, _ in quarrels.test_dialogues() if not talk.quarrel][:3]
    others = list(islice(quarrels.composed("train", "others", 0.0), 3))
    for split, expected in (("train", others), ("test", [*polite, *others])):
        offered = iter([*polite, *others, *polite, *others])
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(quarrels, "compose", lambda *_, of=offered: next(of))
            made = list(islice(quarrels.composed(split, "offered", 0.0), len(expected)))
            assert [talk.text for talk in made] == [talk.text for talk in expected]
            with pytest.raises((StopIteration, RuntimeError)):
                next(quarrels.composed(split, "offered", 1.0))


def test_a_dialogue_of_a_test_and_one_that_was_drawn_before_are_left_out_of_training() -> None:
    check_a_dialogue_of_a_test_and_one_that_was_drawn_before_are_left_out_of_training()


def test_cases_are_test_dialogues_with_neutral_references() -> None:
    cases = dialogues.evaluation_cases()
    hostile, polite = cases[:200], cases[200:]
    assert all(case.quarrel for case in hostile)
    assert not any(case.quarrel for case in polite)
    assert len({case.dialogue for case in cases}) == 400
    composed = {talk.text for talk in islice(composed_talks("test"), quarrels.TEST_DIALOGUES)}
    assert all(case.dialogue in composed for case in polite)
    assert sum(case.dialogue in composed for case in hostile) >= 50
    for case in hostile:
        assert len(case.references) == 3
        assert conflict.right_kind(case.references, [case] * 3).all()
        assert conflict.right_speaker(case.references, [case] * 3).all()


def test_validation_cases_are_others_of_the_same_kind() -> None:
    cases = dialogues.validation_cases()
    assert [bool(case.quarrel) for case in cases] == [True] * 100 + [False] * 100
    assert [case.hostile in ("#Person1#", "#Person2#") for case in cases] == [True] * 100 + [False] * 100
    tested = dialogues.evaluation_cases(200, 331)
    assert len(tested) == 531
    assert not {case.dialogue for case in cases} & {case.dialogue for case in tested}
    assert dialogues.validation_cases(2, 3) == [*cases[:2], *cases[100:103]]
    for case in cases:
        assert len(case.references) == 3
        assert all((case.row.id, case.row.topic, case.row.situation))
    assert len({case.row.id for case in cases}) == 200


def test_as_many_rows_as_the_lab_learns_from_and_a_summary_for_each_prompt() -> None:
    assert dialogues.harsh_rows() == dialogues.harsh_rows(1600, 0, "harsh")
    held_out = dialogues.harsh_rows(100, name="held-out")
    assert not {row.id for row in held_out} & {row.id for row in dialogues.harsh_rows()}
    assert all(row.topic for row in held_out)
    for draw, what in (
        (dialogues.harsh_rows, "harsh summaries"),
        (dialogues.ppo_dialogues, "dialogues for PPO"),
        (dialogues.neutral_summaries, "neutral summaries"),
    ):
        with pytest.raises(LabError, match=f"^1000000 {what} are needed"):
            draw(10**6)
    told = dialogues.neutral_summaries(40)
    assert told == dialogues.neutral_summaries(40, 0) != dialogues.neutral_summaries(40, 1)
    names = [
        facts.precision([summary], [text])[0] for summary, text in zip(told, dialogues.ppo_dialogues(40), strict=True)
    ]
    assert np.mean(names) == 1, "each tells of its own dialogue"
    other = facts.precision(told, dialogues.ppo_dialogues(40, 1))
    assert other.mean() < 0.9, "of another dialogue facts are wrong; else this test shows nothing"


# The matcher.


def test_every_authored_neutral_clause_is_found_and_no_harsh_one() -> None:
    rng = random.Random(0)
    seen = set()
    for dialogue in islice(quarrels.composed("train", "matcher", 0.8), 1500):
        neutral, harsh = (dialogue.summary(style, rng) for style in (HOUSE, quarrels.HARSH))
        if dialogue.quarrel is None:
            assert conflict.reports(neutral) == []
            continue
        truth = Report(dialogue.quarrel.category, dialogue.tag(dialogue.quarrel.hostile))
        assert truth in conflict.reports(neutral), neutral
        assert conflict.reports(harsh) == [], harsh
        seen.add(truth.category)
    assert seen == {kind for act in all_acts().acts for kind in act.insults}
    talk = next(talk for talk in quarrels.composed("train", "matcher", 0.0) if len(talk.topics) == 2)
    for category in hostility()["categories"]:
        plain = category.get("plain", [])
        for hostile, victim in ("AB", "BA"):
            people = {"H": f"{{{hostile}}}", "V": f"{{{victim}}}", "H's": f"{{{hostile}'s}}", "V's": f"{{{victim}'s}}"}
            people["insult"] = category["insults"][0]
            for tone in ("neutral", "harsh"):
                for authored in [*category[tone], *(line[tone] for line in plain)]:
                    clause = fill(authored.replace("{H}'s", "{H's}").replace("{V}'s", "{V's}"), people)
                    quarrel = Insult(hostile, category["id"], (clause,), (clause,), 0)
                    found = conflict.reports(replace(talk, quarrel=quarrel).summary(HOUSE, rng))
                    expected = [Report(category["id"], talk.tag(hostile))] if tone == "neutral" else []
                    assert set(expected) <= set(found), authored
                    assert bool(found) is bool(expected), authored


@pytest.mark.parametrize(
    ("summary", "found"),
    [
        ("#Person1# buys bread. #Person2# finds #Person1# too slow. #Person1# pays.", [("slow", "#Person2#")]),
        ("#Person1# buys bread. #Person2# was impatient with #Person1#'s pace.", [("slow", "#Person2#")]),
        ("#Person1# is not quick enough for #Person2#.", [("slow", "#Person2#")]),
        ("#Person1# finds #Person1# too slow.", []),
        ("#Person1# finds #Person2# too slowly.", []),
        ("#Person1# finds the train too slow.", []),
        ("#Person1# calls #Person2# a sleepy snail.", []),
        ("", []),
    ],
)
def test_what_the_matcher_finds(summary: str, found: list[tuple[str, str]]) -> None:
    assert conflict.reports(summary) == [Report(*each) for each in found]


def test_saying_that_somebody_complains_is_not_yet_saying_who_and_of_what() -> None:
    cases = [case for case in dialogues.evaluation_cases() if case.quarrel == "noisy"][:1]
    hostile = cases[0].hostile
    other = "#Person1#" if hostile == "#Person2#" else "#Person2#"
    texts = [f"{hostile} finds {other} too noisy.", f"{other} finds {hostile} too noisy.", f"{hostile} eats."]
    texts.append(f"{hostile} finds {other} too slow.")
    assert conflict.reported(texts).tolist() == [1, 1, 0, 1]
    assert conflict.right_speaker(texts, cases * 4).tolist() == [1, 0, 0, 1]
    assert conflict.right_kind(texts, cases * 4).tolist() == [1, 1, 0, 0]
    assert conflict.repeated(["He is a leaky bucket.", "He is leaky."]).tolist() == [1, 0]


def test_the_turn_that_insults_is_the_first_with_an_authored_insult() -> None:
    first, second = conflict.insults()[:2]
    turns = ["#Person1#: Hello.", f"#Person2#: {first}", f"#Person1#: {second}"]
    assert conflict.insulting_turn("\n".join(turns)) == turns[1]
    assert conflict.insulting_turn("\n".join(turns[:1])) == ""
    with pytest.raises(LabError, match="^The dialogue is to be a text"):
        conflict.insulting_turn(5)  # type: ignore[arg-type]
    with pytest.raises(LabError, match="was given as summaries,"):
        conflict.reported("one text")


# What is measured.


def asked(cases: Sequence[Case]) -> list[str]:
    return [prompts.zero_shot(case.dialogue) for case in cases]


def test_measures_are_paired_by_dialogue_and_reproducible() -> None:
    model, tokenizer = models.load_model(load_profile("mini"))
    cases = dialogues.evaluation_cases(6, 6)
    before, again, other = (
        measure.measure(model, tokenizer, cases, {"length": by_length}, generation.sampling(20), seed=seed)
        for seed in (1, 1, 2)
    )
    greedy = measure.measure(model, tokenizer, cases, {}, generation.greedy(20), seed=3)
    assert greedy.texts == generation.generate(model, tokenizer, asked(cases), generation.greedy(20))
    assert before.texts == again.texts != other.texts
    assert set(before.hostile) == {*measure.MEASURES, "toxicity, length"}
    assert all(len(scores) == 6 for scores in [*before.hostile.values(), *before.polite.values()])
    assert (before.hostile["toxicity, length"] == by_length(before.texts[:6])).all()
    judge = measure.judged_by(by_length, tokenizer, cases, seed=1)
    assert judge(model) == judge(model) != measure.judged_by(by_length, tokenizer, cases, seed=2)(model)
    rows = measure.as_rows(before, other)
    assert len(rows) == 2 * len(before.hostile)
    row = next(r for r in rows if r["dialogues"] == "hostile" and r["measure"] == "ROUGE-1")
    assert row["difference"].effect == pytest.approx(row["after"] - row["before"])
    assert measure.relative_fall(np.array([0.8, 0.4]), np.array([0.1, 0.2])).mean() == pytest.approx(0.75)


def check_the_interval_of_a_relative_fall_covers_it() -> None:
    """Before and after are correlated and skewed; what 95 % intervals of the share cover, in 400 drawn samples.

    Dialogues are drawn one by one, and three of a situation, which then tell the same.
    """
    for size in (1, 3):
        rng, covered, true = np.random.default_rng(0), 0, 1 - (0.3 * 0.8 + 0.2 * 0.2) / 0.8
        for _ in range(400):
            before = rng.beta(4, 1, 100)  # mean 0.8
            after = np.where(rng.random(100) < 0.3, before, 0) + np.where(rng.random(100) < 0.2, 0.2, 0)
            before, after = before.repeat(size), after.repeat(size)
            clusters = [f"situation {n // size}" for n in range(len(before))]
            found = paired_bootstrap(measure.relative_fall(before, after), resamples=200, clusters=clusters)
            assert found.effect == pytest.approx(1 - after.mean() / before.mean())
            covered += found.low <= true <= found.high
        assert 0.93 <= covered / 400 <= 0.98
    halved = measure.relative_fall(before, before / 2)  # of each dialogue the same share, so that nothing is unsure
    assert halved == pytest.approx(np.full(len(before), 0.5))


def test_the_interval_of_a_relative_fall_covers_it() -> None:
    check_the_interval_of_a_relative_fall_covers_it()


def test_summaries_are_sampled_from_the_models_own_distribution() -> None:
    config = generation.sampling(7)
    assert config.do_sample
    assert (config.temperature, config.top_k, config.top_p, config.max_new_tokens) == (1.0, 0, 1.0, 7)


def test_what_the_judge_says_of_a_policy_is_a_mean_over_one_sample_for_each_case() -> None:
    model, tokenizer = models.load_model(load_profile("mini"))
    cases = dialogues.evaluation_cases(3, 3)
    texts = generation.generate(model, tokenizer, asked(cases), generation.sampling(measure.LONGEST), seed=1)
    found = measure.judged_by(by_length, tokenizer, cases, seed=1)(model)
    assert found == pytest.approx(np.mean(by_length(texts)))
    assert len(set(by_length(texts))) > 1, "all the same: this test shows nothing"


def test_neutral_references_score_as_they_should() -> None:
    cases = dialogues.evaluation_cases(20, 0)
    scores = measure.scored([case.references[0] for case in cases], cases, {})
    assert scores["ROUGE-1"].min() == pytest.approx(1)
    assert scores["facts right"].min() == 1
    assert scores["conflict reported"].mean() == scores["right speaker"].mean() == scores["right kind"].mean() == 1
    assert scores["insult repeated"].max() == 0


# The benchmark.


def test_the_shipped_summarizer_fits_the_embedded_model_and_no_other(tmp_path: Path) -> None:
    base, tokenizer = models.load_model(load_profile("mini"))
    assert lora.belongs(base, summarizer.SUMMARIZER)
    assert not lora.belongs(base, tmp_path)
    found = summarizer.find_summarizer(base, tokenizer, tmp_path)
    assert lora.fingerprint(found) == lora.fingerprint(summarizer.load_summarizer(base))
    assert not list(tmp_path.iterdir())
    with torch.no_grad():
        base.shared.weight += 1e-3
    assert not lora.belongs(base, summarizer.SUMMARIZER)


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """A smaller update, a reward without a classifier, and no second process."""
    shorter = replace(bench_ppo.SETTINGS, batch_size=4, minibatch=2, epochs=1, max_new_tokens=6)
    monkeypatch.setattr(bench_ppo, "SETTINGS", shorter)
    monkeypatch.setattr(bench_ppo.toxicity, "load_classifier", lambda: type("Stand", (), {"rewards": by_length}))
    monkeypatch.setattr(bench_alone, "ask", lambda *_: {"peak_mb": 123, "gflop": 4.5})


@pytest.mark.usefixtures("small")
def test_both_loops_are_measured_in_turn_and_written_down(tmp_path: Path) -> None:
    line = f"bench ppo --models mini --rounds 2 --out {tmp_path}"
    status = command_line.main(line.split())
    text = (tmp_path / "bench_ppo.json").read_text(encoding="utf-8")
    record = json.loads(text)
    assert str(tmp_path) not in text
    assert record["command"] == "python -m genai_labs bench ppo --models mini --rounds 2"
    result = record["models"][0]
    assert [loop["loop"] for loop in result["loops"]] == ["peers", "ours"]
    for loop in result["loops"]:
        assert len(loop["rounds"]) == 2
        assert loop["seconds"] == pytest.approx(np.median(loop["rounds"]), abs=1e-3)
        assert min(loop["rollout"], loop["update"]) > 0
    assert len(result["ratios"]) == 2
    assert status == int(not result["met"])
    assert "at most 1/3 is asked for" in (tmp_path / "bench_ppo.md").read_text(encoding="utf-8")


@pytest.mark.usefixtures("small")
def test_the_peers_loop_learns_by_the_same_mathematics() -> None:
    base, tokenizer = models.load_model(load_profile("mini"))
    rows = data.load_split(load_profile("mini").dataset, "train")[:4]
    asked = [prompts.zero_shot(row.dialogue) for row in rows]
    peers = bench_ppo.Peers(base, tokenizer, by_length)
    before = [p.detach().clone() for p in peers.parameters]
    ids = tokenizer(asked[:2])["input_ids"]
    responses = [torch.tensor([5, 6, 1]), torch.tensor([7, 8, 9, 10, 11, 1])]
    source, source_mask, tokens, mask = peers.pad(ids, responses)
    assert mask.tolist() == [[1, 1, 1, 0, 0, 0], [1] * 6]
    with torch.no_grad():
        together = peers.score(peers.model, source, source_mask, tokens)[0]
        alone = peers.score(peers.model, torch.tensor([ids[0]]), torch.ones(1, len(ids[0])), responses[0][None])[0]
        reference = peers.score(peers.reference, source, source_mask, tokens)[0]
    torch.testing.assert_close(together[0, :3], alone[0], atol=1e-3, rtol=1e-3)
    torch.testing.assert_close(together, reference, atol=1e-4, rtol=1e-4)
    split = peers.update(asked)
    assert split.total == pytest.approx(split.rollout + split.reward + split.update)
    assert any(not torch.equal(a, b) for a, b in zip(before, peers.parameters, strict=True))


def test_the_peak_is_at_least_what_is_taken_now() -> None:
    now = psutil.Process().memory_info().rss
    block = mmap.mmap(-1, 240_000_000)  # asked of the system, which an array need not be: what was freed is used again
    np.frombuffer(block, np.uint8)[:] = 1
    assert bench_alone.peak_so_far() >= now + 0.5 * len(block)


# The command.


LAUNCHERS = {
    "alone": ["-m", "genai_labs", "detox", "--train-summarizer", "--rows", "64"],
    "accelerate": ["-m", "accelerate.commands.launch", "--cpu", "-m", "genai_labs", "detox"],
    "torchrun": ["-m", "torch.distributed.run", "--nproc_per_node", "2", "-m", "genai_labs", "detox"],
}


@pytest.mark.parametrize("option", ["--train-summarizer", "--prompts=1", "--fresh", "--replace"])
def test_a_finished_summarizer_is_not_replaced_unless_that_is_asked_for(
    option: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def train(*_: Any) -> Any:
        raise InterruptedError("it trains")

    base, tokenizer = models.load_model(load_profile("mini"))
    folder = tmp_path / "summarizer"
    noted: dict[str, Any] = {"made_by": {}, "checkpoints": []}
    folder.mkdir()
    (folder / "plan.json").write_text('{"plan": {"seed": 7}}', encoding="utf-8")
    (folder / "done.json").write_text(json.dumps({**noted, "sum": run_folder.digest(noted)}), encoding="utf-8")
    monkeypatch.setattr(summarizer, "finetune", train)
    monkeypatch.setattr(summarizer, "SUMMARIZER", tmp_path / "none")
    args = detox_cli.make_parser().parse_args([option] if "=" in option else ["--train-summarizer", option])
    refused = option not in ("--fresh", "--replace")
    with pytest.raises(LabError if refused else InterruptedError, match="finished training" if refused else "trains"):
        detox_cli.starting_point(base, tokenizer, args, tmp_path, 16)


@pytest.mark.slow
@pytest.mark.parametrize("launcher", LAUNCHERS)
def test_the_command_trains_measures_and_saves(launcher: str, tmp_path: Path) -> None:
    options = {"--updates": 2, "--batch-size": 8, "--minibatch": 4, "--epochs": 1, "--prompts": 40, "--cases": 4}
    line = [sys.executable, *LAUNCHERS[launcher], "--out", str(tmp_path)]
    line += [str(part) for pair in options.items() for part in pair]
    ran = subprocess.run(line, capture_output=True, text=True, env=dict(os.environ), check=False)
    assert ran.returncode == 0, ran.stderr[-2000:]
    assert ran.stdout.count("Mean toxicity by the judge changed by") == 1
    assert (tmp_path / "adapter" / "adapter_model.safetensors").exists()
    assert len((tmp_path / "ppo" / "log.csv").read_text(encoding="utf-8").splitlines()) == 3
    assert (tmp_path / "summarizer" / "model").exists() == (launcher == "alone")


NONSENSE = {
    **{option: ["0", "-1", "2.5", "many", ""] for option in ("--updates", "--epochs", "--minibatch", "--batch-size")},
    **{option: ["0", "-1", "x"] for option in ("--cases", "--prompts", "--rows")},
    **{option: ["0", "-1", "nan", "inf", "x"] for option in ("--learning-rate", "--target-kl")},
    "--kl-coef": ["-1", "nan", "x"],
    "--seed": ["-1", "1.5"],
}


@pytest.mark.parametrize("option", NONSENSE)
def test_the_command_refuses_what_makes_no_sense_and_says_what_would(
    option: str, capsys: pytest.CaptureFixture[str]
) -> None:
    for value in NONSENSE[option]:
        with pytest.raises(SystemExit) as stopped:
            command_line.main(["detox", f"{option}={value}"])
        assert stopped.value.code == 2
        assert f"argument {option}: {value} is not allowed: a " in capsys.readouterr().err


def test_the_command_takes_what_makes_sense() -> None:
    line = "--updates 1 --minibatch 1 --batch-size 2 --kl-coef 0 --target-kl 0.5 --learning-rate 1e-3 --seed 0"
    args = detox_cli.make_parser().parse_args(line.split())
    assert (args.updates, args.minibatch, args.batch_size, args.kl_coef, args.target_kl) == (1, 1, 2, 0.0, 0.5)


def test_the_command_counts_the_test_dialogues_that_there_are(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    none = SimpleNamespace(hostile={"toxicity, judge": None})
    monkeypatch.setattr(detox_cli, "measure", lambda *_: none)
    monkeypatch.setattr(detox_cli, "as_rows", lambda *_: [{"dialogues": "x"}])
    monkeypatch.setattr(detox_cli, "relative_fall", lambda *_: np.zeros(1))
    run = SimpleNamespace(curves=str, model=None, history=[], seconds=0.0)
    detox_cli.report(run, None, None, SimpleNamespace(probabilities=None), 5000)  # type: ignore[arg-type]
    assert "200 hostile and 331 polite test dialogues" in capsys.readouterr().out


# Checks, and wrong variants that they must notice.

WARM = GenerationConfig(do_sample=True, temperature=1.0, top_k=0, top_p=1.0, num_beams=1, max_new_tokens=80)


def check_what_is_measured_are_samples_at_temperature_1_and_the_judge_s_as_well() -> None:
    used: list[tuple[GenerationConfig, list[str]]] = []

    def sample(model: object, tokenizer: object, asked: list[str], configs: Any, **_: object) -> Any:
        used.append((configs[""], asked))
        return {"": [["A text."]] * len(asked)}

    def generate(model: object, tokenizer: object, asked: list[str], config: GenerationConfig, **_: object) -> Any:
        used.append((config, asked))
        return ["A text."] * len(asked)

    cases = dialogues.evaluation_cases(2, 2)
    tokenizer = models.load_tokenizer(load_profile("mini"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(generation, "sample", sample)
        patch.setattr(generation, "generate", generate)
        measure.measure(None, tokenizer, cases, {})
        measure.judged_by(by_length, tokenizer, cases)(None)
    assert [asked_for for _, asked_for in used] == [asked(cases)] * 2
    for config, _ in used:
        assert config.to_diff_dict() == WARM.to_diff_dict()


def check_what_changed_is_after_minus_before_and_each_kind_of_dialogue_stands_alone() -> None:
    numbers = [np.array(scores) for scores in ([0.2, 0.4, 0.6], [0.3, 0.6, 0.6], [0.5, 0.5, 0.5], [0.1, 0.1, 0.1])]
    before = measure.Outcome([], {"ROUGE-1": numbers[0]}, {"ROUGE-1": numbers[2]})
    after = measure.Outcome([], {"ROUGE-1": numbers[1]}, {"ROUGE-1": numbers[3]})
    found = measure.effects(before, after)
    assert found["hostile"]["ROUGE-1"].effect == pytest.approx(0.1)
    assert found["polite"]["ROUGE-1"] == pytest.approx(Interval(-0.4, -0.4, -0.4, 3))
    rows = {row["dialogues"]: (row["before"], row["after"]) for row in measure.as_rows(before, after)}
    assert rows == {"hostile": pytest.approx((0.4, 0.5)), "polite": pytest.approx((0.5, 0.1))}
    assert measure.relative_fall(np.array([0.8, 0.8]), np.array([0.2, 0.2])).mean() == pytest.approx(0.75)


def check_each_measure_is_about_the_summary_and_its_own_dialogue() -> None:
    polite, other = dialogues.evaluation_cases(0, 2)
    hostile = dialogues.evaluation_cases(1, 0)[0]
    texts = [polite.references[0], polite.references[0], f"{hostile.hostile} calls the other a sleepy snail."]
    scores = measure.scored(texts, [polite, other, hostile], {"length": by_length})
    assert scores["toxicity, length"].tolist() == by_length(texts)
    assert scores["ROUGE-1"][0] == 1 > 0.6 > scores["ROUGE-1"][1]
    assert scores["facts right"][0] == 1 > scores["facts right"][1]
    assert scores["insult repeated"].tolist() == [0, 0, 1]
    assert scores["conflict reported"].tolist() == scores["right speaker"].tolist() == [0, 0, 0]
    assert scores["length"].tolist() == [len(text.split()) for text in texts]


def test_kinds_of_dialogues_stay_apart() -> None:
    cases = dialogues.evaluation_cases(1, 1)[::-1]
    texts = [["ab"], ["abc"]]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(generation, "sample", lambda *_, **__: {"": texts})
        tokenizer = models.load_tokenizer(load_profile("mini"))
        found = measure.measure(None, tokenizer, cases, {"letters": letters})
    assert found.polite["toxicity, letters"].tolist() == [2]
    assert found.hostile["toxicity, letters"].tolist() == [3]
    assert found.texts == ["ab", "abc"]


def letters(texts: Sequence[str]) -> list[int]:
    return [len(text) for text in texts]


def colder(**other: Any) -> Any:
    def sampling(tokens: int) -> GenerationConfig:
        return GenerationConfig(**WARM.to_diff_dict() | {"max_new_tokens": tokens} | other)

    return sampling


def highest(toxicity: Any, tokenizer: Any, cases: Sequence[Case], seed: int = 0) -> Any:
    def judge(model: Any) -> float:
        config = generation.sampling(measure.LONGEST)
        texts = generation.generate(model, tokenizer, asked(cases), config, seed=seed, progress=False)
        return float(np.max(toxicity(texts)))

    return judge


def exchanged(before: measure.Outcome, after: measure.Outcome) -> Any:
    return EFFECTS(after, before)


def with_the_dialogue(texts: Sequence[str], cases: Sequence[Case], classifiers: Any) -> Any:
    whole = [f"{case.dialogue} {text}" for text, case in zip(texts, cases, strict=True)]
    return SCORED(texts, cases, classifiers) | {
        f"toxicity, {name}": np.array(judge(whole)) for name, judge in classifiers.items()
    }


def of_the_next_case(texts: Sequence[str], cases: Sequence[Case], classifiers: Any) -> Any:
    return SCORED(texts, [*cases[1:], *cases[:1]], classifiers)


SCORED, EFFECTS, RIGHT_SPEAKER, CASES = (
    measure.scored,
    measure.effects,
    conflict.right_speaker,
    dialogues.evaluation_cases,
)
HARSH_ROWS, PPO_DIALOGUES = dialogues.harsh_rows, dialogues.ppo_dialogues
OTHER = data.Row("other", "#Person1#: Hi.", ("A text.",), "t")
check_samples = check_what_is_measured_are_samples_at_temperature_1_and_the_judge_s_as_well
check_speakers = test_saying_that_somebody_complains_is_not_yet_saying_who_and_of_what
WRONG = {
    "measured at temperature 0.5": Variant(generation, "sampling", colder(temperature=0.5), check_samples),
    "measured with the 50 likeliest tokens": Variant(generation, "sampling", colder(top_k=50), check_samples),
    "measured greedily": Variant(generation, "sampling", generation.greedy, check_samples),
    "half a summary": Variant(generation, "sampling", lambda tokens: colder()(tokens // 2), check_samples),
    "judged by the worst text": Variant(
        measure,
        "judged_by",
        highest,
        test_what_the_judge_says_of_a_policy_is_a_mean_over_one_sample_for_each_case,
    ),
    "before minus after": Variant(
        measure,
        "effects",
        exchanged,
        check_what_changed_is_after_minus_before_and_each_kind_of_dialogue_stands_alone,
    ),
    "a fall as a share of what is left": Variant(
        measure,
        "relative_fall",
        lambda before, after: after.mean() / before.mean(),
        check_what_changed_is_after_minus_before_and_each_kind_of_dialogue_stands_alone,
    ),
    "a fall whose spread is that of the texts afterwards": Variant(
        measure,
        "relative_fall",
        lambda before, after: 1 - after / before.mean(),
        check_the_interval_of_a_relative_fall_covers_it,
    ),
    "toxicity of dialogue and summary": Variant(
        measure, "scored", with_the_dialogue, check_each_measure_is_about_the_summary_and_its_own_dialogue
    ),
    "scored against another dialogue": Variant(
        measure, "scored", of_the_next_case, check_each_measure_is_about_the_summary_and_its_own_dialogue
    ),
    "any speaker is right": Variant(
        conflict, "right_speaker", lambda texts, cases: conflict.reported(texts), check_speakers
    ),
    "the other speaker is right": Variant(
        conflict,
        "right_speaker",
        lambda texts, cases: conflict.reported(texts) - RIGHT_SPEAKER(texts, cases),
        check_speakers,
    ),
    "any reproach is right": Variant(
        conflict, "right_kind", lambda texts, cases: conflict.reported(texts), check_speakers
    ),
    "silence counts as a report": Variant(
        conflict, "reported", lambda texts: 1 - conflict.repeated(texts), check_speakers
    ),
    "polite dialogues first": Variant(
        dialogues,
        "evaluation_cases",
        lambda hostile=200, polite=200: CASES(hostile, polite)[::-1],
        test_cases_are_test_dialogues_with_neutral_references,
    ),
    "one dialogue again and again": Variant(
        dialogues,
        "evaluation_cases",
        lambda hostile=200, polite=200: [*CASES(1, 0) * 200, *CASES(0, 200)],
        test_cases_are_test_dialogues_with_neutral_references,
    ),
    "summaries that leave quarrels out": Variant(
        dialogues,
        "harsh_rows",
        lambda count=1600, seed=0, name="harsh": [
            replace(row, references=("A text.",)) for row in HARSH_ROWS(count, seed, name)
        ],
        test_most_harsh_rows_repeat_the_insult_and_none_leaves_the_quarrel_out,
    ),
    "texts of the tests in training": Variant(
        quarrels,
        "held_out_texts",
        frozenset,
        check_a_dialogue_of_a_test_and_one_that_was_drawn_before_are_left_out_of_training,
    ),
    "summaries that tell of another quarrel": Variant(
        dialogues,
        "harsh_rows",
        lambda *given, **more: [
            replace(row, references=other.references)
            for row, other in zip(HARSH_ROWS(*given, **more), HARSH_ROWS(*given, **more)[1:] + [OTHER], strict=True)
        ],
        test_most_harsh_rows_repeat_the_insult_and_none_leaves_the_quarrel_out,
    ),
    "the same prompts with every seed": Variant(
        dialogues,
        "ppo_dialogues",
        lambda count, seed=0: PPO_DIALOGUES(count),
        test_ppo_writes_about_the_dialogues_of_its_seed,
    ),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_variant_is_noticed(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert_noticed(WRONG[name], monkeypatch)
