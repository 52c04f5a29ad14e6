"""Several processes (two here, which talk by gloo) train as one does, and say so when one of them is killed."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import load_file

from genai_labs.errors import LabError
from genai_labs.finetuning import examples, loop, training
from genai_labs.system import processes
from genai_labs.system.processes import endings_in_words

# On CPUs `accelerate launch --num_processes 2` starts one process; torch's own launcher starts two.
LAUNCH = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
# In fp32, because rounding to bf16 depends on the shapes of the shares.
ENVIRONMENT = {
    **os.environ,
    "ACCELERATE_USE_CPU": "true",
    **({"GLOO_SOCKET_IFNAME": "lo"} if sys.platform == "linux" else {}),  # whatever the machine's own name leads to
    "OMP_NUM_THREADS": "1",
    "ATEN_CPU_CAPABILITY": "avx2",
    "ONEDNN_MAX_CPU_ISA": "AVX2",
    "TQDM_DISABLE": "1",
}
SCRIPT = """
import json, sys
from pathlib import Path
from safetensors.torch import save_file
from genai_labs.loading import data, models
from genai_labs.loading.profiles import load_profile
from genai_labs.system import processes
from genai_labs.errors import LabError
from genai_labs.finetuning import examples, training

folder, method, epochs = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
state = processes.process_state()
profile = load_profile("mini")
base, tokenizer = models.load_model(profile)
whole = examples.features(data.load_split(profile.dataset, "train")[:60], tokenizer)
made = [{name: ids[:12] if name == "labels" else ids[:40] for name, ids in feature.items()} for feature in whole]
plan = training.Plan(method=method, epochs=epochs, batch_size=8, learning_rate=1e-3)
print("process", state.process_index, __import__("os").getpid(), flush=True)
try:  # 33 and 17 rows: the last batch has one, and one of two processes has none
    run = training.finetune(base, tokenizer, made[:33], made[33:50], plan, folder)
except LabError as error:
    sys.exit(f"said: {error}")
if state.is_main_process:
    (folder / "result.json").write_text(json.dumps([run.history, run.best_epoch]))
    trained = {n: p.detach().contiguous() for n, p in run.model.named_parameters() if p.requires_grad}
    save_file(trained, folder / "trained.safetensors")
"""


# Greedy instead of sampled, so that responses do not depend on who writes them; minibatches of 2 leave one of two
# processes without a row now and then.
PPO = """
import json, sys
from dataclasses import replace
from pathlib import Path
from safetensors.torch import save_file
sys.path.insert(0, sys.argv[2])
import ppo_runs
from genai_labs.prompting import generation
from genai_labs.rlhf import ppo
from genai_labs.system import processes
from transformers.modeling_outputs import BaseModelOutput

def write(policy, states, source_mask, max_new_tokens):
    config = generation.complete(generation.greedy(max_new_tokens), policy.model)
    given = BaseModelOutput(last_hidden_state=states)
    return policy.model.generate(encoder_outputs=given, attention_mask=source_mask, generation_config=config)[:, 1:]

ppo.Policy.sample = write
folder = Path(sys.argv[1])
run = ppo_runs.trained(replace(ppo_runs.SHORT, minibatch=2, epochs=2), folder=folder)
if processes.process_state().is_main_process:
    (folder / "result.json").write_text(json.dumps(run.history))
save_file({n: p.detach().contiguous() for n, p in run.policy.trained().items()},
          folder / f"trained-{processes.process_state().process_index}.safetensors")
"""


def train(folder: Path, method: str, launch: list[str], epochs: int = 2) -> subprocess.CompletedProcess[str]:
    """Fine-tune by a launcher."""
    return run_script(folder, SCRIPT, launch, [method, str(epochs)])


def run_script(folder: Path, text: str, launch: list[str], rest: list[str]) -> subprocess.CompletedProcess[str]:
    """Run a script by a launcher."""
    script = folder.parent / "script.py"
    script.write_text(text, encoding="utf-8")
    line = [*launch, str(script), str(folder), *rest]
    return subprocess.run(line, capture_output=True, text=True, env=ENVIRONMENT, check=False, timeout=300)


@pytest.mark.parametrize("count", [1, 2, 3])
@pytest.mark.parametrize("rows", [1, 2, 8])
def test_shares_hold_every_row_of_a_batch_once(rows: int, count: int, monkeypatch: pytest.MonkeyPatch) -> None:
    batch = [{"input_ids": [5, 1], "attention_mask": [1, 1], "labels": [6 + row, 1]} for row in range(rows)]
    read = []
    for index in range(count):
        state = SimpleNamespace(process_index=index, num_processes=count)
        monkeypatch.setattr(processes, "process_state", lambda state=state: state)
        share = list(loop.pieces(batch, pad=0))
        assert share, "a process has nothing to read, and the others wait for it"
        read += [int(row[0]) for piece in share for row in piece["labels"]]
    assert sorted(label for label in read if label >= 0) == [row["labels"][0] for row in batch]
    assert read.count(examples.MASKED) == max(0, count - rows)


@pytest.mark.parametrize("method", ["full", "lora"])
def test_two_processes_take_the_steps_of_one(method: str, tmp_path: Path) -> None:
    alone, both = tmp_path / "alone", tmp_path / "both"
    for folder, launch in ((alone, [sys.executable]), (both, LAUNCH)):
        ran = train(folder, method, launch)
        assert ran.returncode == 0, ran.stderr[-2000:]
    results = [json.loads((folder / "result.json").read_text(encoding="utf-8")) for folder in (alone, both)]
    for one, two in zip(results[0][0], results[1][0], strict=True):
        assert two == pytest.approx(one, rel=1e-4)
    assert results[0][1] == results[1][1]
    # Adam divides a gradient by its own size, so that a tiny one with another rounding may step the other way.
    weights = [load_file(folder / "trained.safetensors") for folder in (alone, both)]
    assert weights[0].keys() == weights[1].keys()
    off = torch.cat([(weights[0][name] - weights[1][name]).abs().flatten() for name in weights[0]])
    moved = 1e-3 * 10  # learning rate times steps: as far as a weight can have moved, roughly
    assert off.mean() < 0.01 * moved
    assert len(list(both.glob("checkpoint-*"))) == len(list(alone.glob("checkpoint-*")))


def test_two_processes_learn_by_ppo_as_one_does(tmp_path: Path) -> None:
    alone, both = tmp_path / "alone", tmp_path / "both"
    for folder, launch in ((alone, [sys.executable]), (both, LAUNCH)):
        ran = run_script(folder, PPO, launch, [str(Path(__file__).parent)])
        assert ran.returncode == 0, ran.stderr[-2000:]
    one, two = (json.loads((folder / "result.json").read_text(encoding="utf-8")) for folder in (alone, both))
    assert len(one) == len(two) == 2
    for row, other in zip(one, two, strict=True):
        assert row.keys() == other.keys()
        names = [name for name in row if not name.endswith("_s")]
        assert [other[name] for name in names] == pytest.approx([row[name] for name in names], rel=1e-3, abs=1e-4)
    assert one[0]["gradient"] > 0
    first, second, single = (
        load_file(folder / f"trained-{process}.safetensors") for folder, process in ((both, 0), (both, 1), (alone, 0))
    )
    for name in single:
        assert torch.equal(first[name], second[name]), f"{name} differs between processes"
        torch.testing.assert_close(first[name], single[name], rtol=1e-2, atol=1e-4)
    assert len((both / "log.csv").read_text(encoding="utf-8").splitlines()) == 3, "more than one process wrote"


def test_a_killed_process_ends_the_run_in_words_and_it_goes_on_alone(tmp_path: Path) -> None:
    folder, whole = tmp_path / "run", tmp_path / "whole"
    script = tmp_path / "script.py"
    script.write_text(SCRIPT, encoding="utf-8")
    line = [*LAUNCH, str(script), str(folder), "full", "4"]
    started = subprocess.Popen(line, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=ENVIRONMENT)
    assert started.stdout is not None
    pids: dict[int, int] = {}
    while len(pids) < 2:
        if found := re.match(r"process (\d) (\d+)", started.stdout.readline()):
            pids[int(found[1])] = int(found[2])
    end = time.monotonic() + 120
    while training.last_checkpoint(folder) is None and started.poll() is None and time.monotonic() < end:
        time.sleep(0.01)
    os.kill(pids[1], signal.SIGKILL)
    _, errors = started.communicate(timeout=60)
    assert started.returncode != 0
    assert re.search(r"said: The training was stopped because another of its processes has ended", errors), errors
    assert re.search(r"The checkpoint checkpoint-\d+ in run is whole: the same call goes on from there", errors)
    assert train(folder, "full", [sys.executable], 4).returncode == 0
    assert train(whole, "full", [sys.executable], 4).returncode == 0
    resumed, unbroken = (json.loads((each / "result.json").read_text(encoding="utf-8"))[0] for each in (folder, whole))
    assert len(resumed) == 4
    for one, two in zip(resumed, unbroken, strict=True):
        assert two == pytest.approx(one, rel=1e-3)


def test_being_told_to_end_is_said_in_words() -> None:
    before = signal.getsignal(signal.SIGTERM)
    with (
        pytest.raises(LabError, match=r"told to end \(SIGTERM\)\. All is kept"),
        endings_in_words(lambda: "All is kept."),
    ):
        signal.raise_signal(signal.SIGTERM)
    assert signal.getsignal(signal.SIGTERM) == before
