"""PPO: interrupted, finished and damaged runs, and what cannot be trained."""

import ast
import inspect
import re
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import fields, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from genai_labs.errors import Interrupted, LabError
from genai_labs.rlhf import checkpoints, ppo
from genai_labs.scoring import toxicity
from tests.ppo_runs import SHORT, asked, loaded, shortness, trained, without_seconds

SCRIPT = """
import sys
from dataclasses import fields, replace
from itertools import pairwise
from pathlib import Path
sys.path.insert(0, sys.argv[2])
import ppo_runs
ppo_runs.trained(replace(ppo_runs.SHORT, updates=4), folder=Path(sys.argv[1]))
"""


def test_a_killed_run_goes_on_and_ends_as_an_unbroken_one(tmp_path: Path) -> None:
    settings = replace(SHORT, updates=4)
    unbroken = trained(settings, folder=tmp_path / "unbroken")
    broken = tmp_path / "broken"
    tests = str(Path(__file__).parent)
    process = subprocess.Popen([sys.executable, "-c", SCRIPT, str(broken), tests], stderr=subprocess.DEVNULL)
    end = time.monotonic() + 120
    while not checkpoints.whole_updates(broken) and process.poll() is None and time.monotonic() < end:
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert process.returncode == -signal.SIGKILL, "the run ended before it could be killed"
    (broken / "update-00099").mkdir()  # one that was being written
    resumed = trained(settings, folder=broken)
    assert without_seconds(resumed.history) == without_seconds(unbroken.history)
    for name, now in resumed.policy.trained().items():
        assert torch.equal(now, unbroken.policy.trained()[name]), name
    log = (broken / "log.csv").read_text(encoding="utf-8")
    assert len(log.splitlines()) == 1 + 4


class Breaks:
    """A reward that does something else when it is asked about a third batch."""

    def __init__(self, what: BaseException | float) -> None:
        self.what, self.calls = what, 0

    def __call__(self, texts: Sequence[str]) -> Tensor:
        self.calls += len(texts) == SHORT.batch_size  # by which it is known what kind of reward this is
        if self.calls < 3:
            return shortness(texts)
        if isinstance(self.what, BaseException):
            raise self.what
        return shortness(texts) * self.what


def test_an_interruption_stops_and_keeps_what_the_last_checkpoint_has(tmp_path: Path) -> None:
    settings = replace(SHORT, updates=4)
    with pytest.raises(Interrupted, match=r"in update 3 of 4\. What was trained up to update 2 is kept"):
        interrupted(settings, tmp_path)
    assert len(trained(settings, folder=tmp_path).history) == 4
    with pytest.raises(Interrupted, match="nothing else is kept, as no folder was named"):
        interrupted(settings, None)


def interrupted(settings: ppo.Settings, folder: Path | None) -> None:
    """A run that is interrupted in its third update."""
    trained(settings, Breaks(KeyboardInterrupt()), folder=folder)


def test_a_finished_run_is_handed_out_again_and_nothing_is_trained(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    first = trained(folder=tmp_path, judge=lambda m: 0.25)
    log = (tmp_path / "log.csv").read_bytes()
    assert "finished before" not in capsys.readouterr().out
    with monkeypatch.context() as patch:
        patch.setattr(ppo, "learn", None)
        again = trained(folder=tmp_path, judge=lambda m: 0.25)
        twice = ppo.train(again.policy, loaded()[1], asked(), shortness, SHORT, tmp_path, judge=lambda m: 0.5)
    assert capsys.readouterr().out.count("nothing is trained again. To train anew: resume=False") == 2
    for run in (again, twice):
        assert run.history == first.history
        assert run.seconds == first.seconds
        assert str(run.curves()) == str(first.curves())
        assert all(torch.equal(now, first.policy.trained()[name]) for name, now in run.policy.trained().items())
    assert (tmp_path / "log.csv").read_bytes() == log


@pytest.mark.parametrize(
    "other",
    [
        {"reward": lambda texts: shortness(texts) / 2},
        {"judge": lambda m: 0.5},
        {"judge": None},
        {"resume": False},
        {"settings": replace(SHORT, seed=1)},
    ],
    ids=["reward", "judge", "no judge", "on demand", "settings"],
)
def test_a_finished_run_of_something_else_is_trained_anew(
    other: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given: dict[str, Any] = {"judge": lambda m: 0.25, "folder": tmp_path}
    short = replace(SHORT, updates=1)
    first = trained(short, **given)
    changed = other | ({"settings": replace(short, seed=1)} if "settings" in other else {"settings": short})
    second = trained(**given | changed)
    assert second.history[0]["rollout_s"] != first.history[0]["rollout_s"]
    assert "finished before" not in capsys.readouterr().out


def test_an_interrupted_run_does_not_go_on_with_another_reward(tmp_path: Path) -> None:
    settings = replace(SHORT, updates=4)
    with pytest.raises(Interrupted):
        interrupted(settings, tmp_path)
    with pytest.raises(LabError, match="interrupted run with another plan"):
        trained(settings, lambda texts: shortness(texts) / 2, folder=tmp_path)


def test_a_damaged_checkpoint_is_said_and_the_one_before_is_gone_on_from(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = replace(SHORT, updates=4)
    unbroken = trained(settings)
    for name, damage in (("trained.safetensors", 40), ("optimizer.pt", 100), ("state.json", 0)):
        folder = tmp_path / name
        with pytest.raises(Interrupted):
            interrupted(settings, folder)
        (folder / "update-00002" / name).write_bytes((folder / "update-00002" / name).read_bytes()[:damage])
        resumed = trained(settings, folder=folder)
        assert f"update-00002 ({name}). So the training goes on from update-00001" in capsys.readouterr().out
        assert without_seconds(resumed.history) == without_seconds(unbroken.history)


def test_a_reward_that_is_not_a_number_stops_and_names_the_last_good_checkpoint(tmp_path: Path) -> None:
    with pytest.raises(LabError, match=r"update 3 because the reward.*not a number.*checkpoint is update-00002"):
        trained(replace(SHORT, updates=4), Breaks(float("nan")), folder=tmp_path)
    restored = ppo.Policy(loaded()[0], SHORT)
    checkpoints.Checkpoints(tmp_path).load(restored, ppo.make_optimizer(restored, SHORT))
    two = trained(SHORT)
    assert all(torch.equal(now, two.policy.trained()[name]) for name, now in restored.trained().items())


def test_a_collapsed_policy_stops_the_run() -> None:
    wild = replace(SHORT, learning_rate=0.3, updates=6, kl_coef=0.0, most_kl=20.0, epochs=4)
    with pytest.raises(LabError, match=r"the policy has collapsed\. There is no checkpoint"):
        trained(wild)


def test_a_folder_with_another_unfinished_run_is_not_overwritten(tmp_path: Path) -> None:
    with pytest.raises(Interrupted):
        interrupted(replace(SHORT, updates=4), tmp_path)
    with pytest.raises(LabError, match="interrupted run with another plan"):
        trained(replace(SHORT, updates=4, seed=1), folder=tmp_path)
    assert len(trained(replace(SHORT, updates=1, seed=1), folder=tmp_path, resume=False).history) == 1


NONSENSE: list[tuple[str, Any]] = [
    *((name, value) for name in ("updates", "epochs", "minibatch", "batch_size") for value in (0, -1, 2.5, "8", True)),
    *(("learning_rate", value) for value in (0, -1e-3, float("nan"), float("inf"), None)),
    *(("target_kl", value) for value in (0, -1.0, float("nan"))),
    *(("kl_coef", value) for value in (-0.1, float("nan"))),
    ("rank", 0),
    ("seed", -1),
    ("gamma", 1.5),
]


def test_every_setting_is_documented_under_its_field() -> None:
    (made,) = [n for n in ast.parse(inspect.getsource(ppo.Settings)).body if isinstance(n, ast.ClassDef)]
    pairs = [(a, b) for a, b in pairwise(made.body) if isinstance(a, ast.AnnAssign)]
    assert len(pairs) == len(fields(ppo.Settings))
    for setting, below in pairs:
        assert isinstance(below, ast.Expr), ast.unparse(setting)
        assert isinstance(below.value, ast.Constant), ast.unparse(setting)


def test_what_cannot_be_trained_is_said_in_words() -> None:
    with pytest.raises(LabError, match="multiple of the minibatch"):
        replace(SHORT, minibatch=3)
    for name, value in NONSENSE:
        with pytest.raises(LabError, match=rf"Nothing can be trained with {name}=.*: {name} must be "):
            replace(SHORT, **{name: value})
    with pytest.raises(LabError, match="A higher one|a higher one adds numbers that can learn nothing more"):
        ppo.Policy(loaded()[0], replace(SHORT, rank=100_000))
    with pytest.raises(LabError, match=r"none of its matrices has a name like .*called k, lm_head, o, q, v"):
        ppo.Policy(loaded()[0], replace(SHORT, targets=("query",)))
    with pytest.raises(LabError, match="There are 20 prompts, but an update needs 32"):
        trained(replace(SHORT, batch_size=32))
    with pytest.raises(LabError, match=r"a tensor of shape \[8, 2\] for 8 texts"):
        trained(SHORT, lambda texts: torch.zeros(len(texts), 2))
    policy = trained().policy
    with pytest.raises(LabError, match="the KL between policy and reference must be 0"):
        ppo.train(policy, loaded()[1], asked(), shortness, SHORT)


def test_a_reward_read_from_the_wrong_label_is_noticed_before_anything_is_trained() -> None:
    with pytest.raises(LabError, match="upside down"):
        trained(reward=sorted_like_a_pipeline, probe=toxicity.check_reward)
    assert trained(
        replace(SHORT, updates=1), lambda texts: logits(texts)["nothate"], probe=toxicity.check_reward
    ).history


def logits(texts: Sequence[str]) -> dict[str, Tensor]:
    """What a classifier says that knows four words."""
    hate = torch.tensor([3.0 if re.search("nobody|hourglass", text) else -2.0 for text in texts])
    return {"nothate": -hate, "hate": hate}


def sorted_like_a_pipeline(texts: Sequence[str]) -> Tensor:
    """What a fixed place in a list sorted by score gives: a hateful text is rewarded for being hateful."""
    return torch.stack(list(logits(texts).values())).max(0).values
