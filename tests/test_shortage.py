"""When memory or disk runs out: real limits where the system has them, and what is said, what is kept, what goes on."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from genai_labs.errors import LabError
from genai_labs.loading import models, profiles, shortage
from genai_labs.loading.profiles import load_profile
from genai_labs.paths import PACKAGE
from genai_labs.prompting.generation import generate
from genai_labs.rlhf import ppo
from genai_labs.rlhf.checkpoints import Checkpoints
from genai_labs.scoring import toxicity

BEFORE = """
import os, resource, sys
from pathlib import Path
from genai_labs.loading import data, models
from genai_labs.errors import LabError
from genai_labs.finetuning import examples, training
from genai_labs.loading.profiles import load_profile
folder = Path(sys.argv[1])
profile = load_profile("mini")
base, tokenizer = models.load_model(profile)
made = examples.features(data.load_split(profile.dataset, "train")[:100], tokenizer)
plan = training.Plan(epochs=2, batch_size=32, learning_rate=1e-3)
def train():
    return training.finetune(base, tokenizer, made[:64], made[64:], plan, folder)
one_epoch = training.one_epoch
def spoil(when):
    def second(run, *others):
        if run.history:
            when()
        return one_epoch(run, *others)
    training.one_epoch = second
"""
LITTLE_MEMORY = """
def limit():
    taken = next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmSize")) * 1024
    resource.setrlimit(resource.RLIMIT_AS, (taken + 30_000_000, resource.RLIM_INFINITY))
spoil(limit)
try:
    train()
except LabError as error:
    resource.setrlimit(resource.RLIMIT_AS, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    print("said:", error)
"""
AGAIN = """
print("epochs", len(train().history))
"""
LITTLE_DISK = """
try:
    train()
except LabError as error:
    print("said first:", error)
os.system("mount -o remount,size=500m " + str(folder.parent))
def fill():
    free = os.statvfs(folder)
    with open(folder.parent / "filler", "wb") as file:
        file.write(bytes(free.f_bavail * free.f_frsize - 5_000_000))
spoil(fill)
try:
    train()
except LabError as error:
    print("said then:", error)
(folder.parent / "filler").unlink()
spoil(lambda: None)
print("epochs", len(train().history))
"""


def run(script: str, folder: Path, *before: str) -> str:
    """What a script prints that trains in ``folder``."""
    environment = {"OMP_NUM_THREADS": "1", "TQDM_DISABLE": "1", "PATH": "/usr/bin:/bin:/usr/sbin:/sbin"}
    environment |= {"PYTHONPATH": str(PACKAGE.parent)}
    line = [*before, sys.executable, "-c", BEFORE + script, str(folder)]
    ran = subprocess.run(line, capture_output=True, text=True, env=environment, check=False, timeout=300)
    assert ran.returncode == 0, ran.stderr[-2000:]
    return ran.stdout


@pytest.mark.skipif(sys.platform != "linux", reason="other systems do not keep to a limit of address space")
def test_a_machine_without_memory_says_so_and_goes_on_from_the_checkpoint(tmp_path: Path) -> None:
    # Anew in another process: in this one, oneDNN now and then fails even when there is memory again.
    said = run(LITTLE_MEMORY, tmp_path / "run") + run(AGAIN, tmp_path / "run")
    assert "said: Memory ran out while training: " in said
    assert "checkpoint-2 in run is whole: the same call goes on from there. Take a smaller batch (batch_size=16" in said
    assert "epochs 2" in said


def can_mount() -> bool:
    """Whether this user may mount a file system of his own."""
    unshare = shutil.which("unshare")
    line = [unshare or "", "-rm", "mount", "-t", "tmpfs", "tmpfs", "/mnt"]
    return bool(unshare) and subprocess.run(line, capture_output=True, check=False).returncode == 0


@pytest.mark.skipif(not can_mount(), reason="no tiny file system can be mounted here")
def test_a_tiny_disk_is_noticed_before_and_a_full_one_while(tmp_path: Path) -> None:
    place = tmp_path / "tiny"
    place.mkdir()
    mounted = f'mount -t tmpfs -o size=40m tmpfs {place} && exec "$@"'
    said = run(LITTLE_DISK, place / "run", "unshare", "-rm", "sh", "-c", mounted, "sh")
    assert "said first: There is not enough room on the disk" in said
    assert "said then: The disk is full, so that training had to stop." in said
    assert "checkpoint-2 in run is whole: the same call goes on from there." in said
    assert "epochs 2" in said


def out_of_memory(*_: object, **__: object) -> None:
    raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB.\nMore lines.")


def test_a_gpu_without_memory_says_so_wherever_it_happens(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    model, tokenizer = models.load_model(load_profile("mini"))
    monkeypatch.setattr(profiles, "loaded", "flan-t5-base")
    judge = toxicity.load_classifier()
    monkeypatch.setattr(type(model.get_encoder()), "forward", out_of_memory)
    with pytest.raises(LabError) as caught:
        generate(model, tokenizer, ["Hello."], batch_size=64)
    assert str(caught.value).startswith(
        "Memory ran out while generating: CUDA out of memory. Tried to allocate 20.00 MiB."
    )
    assert "More lines" not in str(caught.value)
    assert "batch_size=32 (it is 64)" in str(caught.value)
    assert "the smaller profile flan-t5-small (GENAI_LABS_PROFILE=flan-t5-small)" in str(caught.value)
    monkeypatch.setattr(type(judge.model), "forward", out_of_memory)
    with pytest.raises(LabError, match="while classifying"):
        judge.logits(["tea"])
    with pytest.raises(LabError, match=r"while training by PPO.*no checkpoint.*smaller minibatch \(it is 16\)"):
        ppo.train(ppo.Policy(model, ppo.Settings()), tokenizer, ["Hello."] * 32, lambda _: 0, ppo.Settings(), tmp_path)
    monkeypatch.setattr(models.AutoModelForSeq2SeqLM, "from_pretrained", out_of_memory)
    with pytest.raises(LabError, match="while loading t5-reader"):
        models.load_model(load_profile("mini"))


def test_a_disk_that_fills_up_stops_ppo_in_words(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    model, tokenizer = models.load_model(load_profile("mini"))
    settings = ppo.Settings(updates=1, batch_size=4, minibatch=2, epochs=1, max_new_tokens=8)

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Checkpoints, "save", full)
    with pytest.raises(LabError, match="The disk is full, so that training by PPO had to stop"):
        ppo.train(
            ppo.Policy(model, settings), tokenizer, ["Hello."] * 4, lambda t: torch.zeros(len(t)), settings, tmp_path
        )


def test_other_errors_pass() -> None:
    with pytest.raises(RuntimeError, match="shapes"), shortage.in_words("training"):
        raise RuntimeError("shapes do not fit")
    assert "embedded world (GENAI_LABS_PROFILE=mini)" in _smaller_than("flan-t5-small")
    assert "Close other programs" in _smaller_than("mini")


def _smaller_than(name: str) -> str:
    load_profile(name)
    return shortage.smaller()
