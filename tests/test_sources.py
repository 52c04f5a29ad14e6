"""Where models come from: folders, the hub's cache, the hub, and what is said when the world fails.

A small server of our own stands in for the hub; the code that asks it is the real one.
"""

import errno
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from genai_labs.errors import LabError
from genai_labs.loading import checksums, data, fetching, hub, models, profiles, sources
from genai_labs.loading.profiles import load_profile
from genai_labs.paths import MODELS, ROOT
from genai_labs.scoring.toxicity import load_classifier
from tests.test_shortage import can_mount

COMMIT = "c0ffee" + "0" * 34
MODEL = MODELS / "hate-mini"

pytestmark = pytest.mark.enable_socket


class Hub(BaseHTTPRequestHandler):
    """What of the hub's interface a download needs; ``repositories``: name -> folder of its files."""

    repositories: dict[str, Path] = {}
    broken_after: int | None = None  # bytes of a file after which the connection breaks, once
    claimed: int | None = None  # what the hub says of every file's size, if that is not true
    asked: list[str] = []

    def do_GET(self) -> None:
        self.answer(body=True)

    def do_HEAD(self) -> None:
        self.answer(body=False)

    def answer(self, body: bool) -> None:
        path = self.path.split("?")[0].strip("/")
        type(self).asked.append(path)
        if "gated" in path:
            return self.fail(403, "GatedRepo")
        name = next((name for name in self.repositories if f"{name}/" in f"{path}/"), None)
        if name is None:
            return self.fail(404, "RepoNotFound")
        if "no-such-revision" in path:
            return self.fail(404, "RevisionNotFound")
        folder = self.repositories[name]
        files = sorted(each for each in folder.iterdir() if each.is_file())
        if path.startswith("api/"):
            if "/tree/" in path:
                sizes = [self.claimed or f.stat().st_size for f in files]
                listed: Any = [
                    {"type": "file", "path": f.name, "size": size, "oid": f.name}
                    for f, size in zip(files, sizes, strict=True)
                ]
            else:
                listed = {
                    "id": name,
                    "sha": COMMIT,
                    "siblings": [{"rfilename": f.name, "size": self.claimed or f.stat().st_size} for f in files],
                }
            return self.send(json.dumps(listed).encode(), body, {"Content-Type": "application/json"})
        file = folder / path.split("/resolve/")[1].split("/", 1)[1]
        content = file.read_bytes()
        # Like the hub: large files go by their checksum.
        tag = checksums.checksum(file) if file.suffix == ".safetensors" else file.name
        headers = {"X-Repo-Commit": COMMIT, "ETag": f'"{tag}"', "Content-Type": "application/octet-stream"}
        return self.send(content, body, headers)

    def send(self, content: bytes, body: bool, headers: dict[str, str]) -> None:
        start = 0
        if asked := self.headers.get("Range"):
            start = int(asked.split("=")[1].split("-")[0])
        self.send_response(206 if start else 200)
        for name, value in {**headers, "Content-Length": str(len(content) - start)}.items():
            self.send_header(name, value)
        self.end_headers()
        if not body:
            return
        part = content[start:]
        limit = type(self).broken_after
        if limit is not None and len(part) > limit and headers["Content-Type"] == "application/octet-stream":
            type(self).broken_after = None
            self.wfile.write(part[:limit])
            self.wfile.flush()
            self.connection.close()
            return
        self.wfile.write(part)

    def fail(self, status: int, code: str) -> None:
        self.send_response(status)
        for name, value in {"X-Error-Code": code, "X-Error-Message": code, "Content-Length": "0"}.items():
            self.send_header(name, value)
        self.end_headers()

    def log_message(self, format: str, *args: Any) -> None:
        pass


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[type[Hub]]:
    """The server, with the reward model and a data set in it, as the hub of this process; its cache is empty."""
    from huggingface_hub import constants

    dialogues = tmp_path / "dialogues"
    dialogues.mkdir()
    (dialogues / "test.csv").write_text("id,dialogue,summary,topic\nt_0,#Person1#: Hi.,They meet.,meeting\n")
    Hub.repositories = {"someone/hate": MODEL, "someone/dialogues": dialogues}
    Hub.broken_after, Hub.claimed, Hub.asked = None, None, []
    serving = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    threading.Thread(target=serving.serve_forever, daemon=True).start()
    monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{serving.server_port}")
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    yield Hub
    serving.shutdown()


def test_loading_the_embedded_models_writes_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    load_classifier()
    models.load_model(load_profile("mini"))
    said = capsys.readouterr()
    assert said.out == ""
    assert "checking" not in said.err


def test_names_and_folders_are_told_apart(tmp_path: Path) -> None:
    assert sources.split_revision("google/flan-t5-base@abc") == ("google/flan-t5-base", "abc")
    assert sources.split_revision("google/flan-t5-base") == ("google/flan-t5-base", None)
    assert not sources.is_folder("google/flan-t5-base")
    assert all(sources.is_folder(each) for each in (str(tmp_path), "./a/b", "~/models", "/a/b", "folder", "a/b/c"))
    with pytest.raises(LabError, match="There is no folder"):
        hub.find("./nowhere")


def test_a_model_is_fetched_once_and_then_found_offline(server: type[Hub], monkeypatch: pytest.MonkeyPatch) -> None:
    folder = hub.find("someone/hate")
    assert (folder / "model.safetensors").read_bytes() == (MODEL / "model.safetensors").read_bytes()
    server.asked.clear()
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert hub.find("someone/hate") == folder
    assert server.asked == []


def test_what_was_damaged_on_this_machine_is_fetched_again(server: type[Hub], monkeypatch: pytest.MonkeyPatch) -> None:
    (hub.fetch("someone/hate") / "model.safetensors").write_bytes(b"damaged")
    with pytest.raises(LabError, match=r"in someone/hate is damaged or was changed: .*fetch --again"):
        load_classifier("someone/hate")
    fetching.fetch_part("judge", "someone/hate", None, again=True)
    assert load_classifier("someone/hate").name == "someone/hate"


def test_weights_altered_in_the_cache_are_noticed_before_they_are_used(server: type[Hub]) -> None:
    folder = hub.find("someone/hate")
    load_classifier("someone/hate")
    weights = (folder / "model.safetensors").resolve()
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1  # one bit; the file is as long as before and still reads well
    weights.write_bytes(content)
    with pytest.raises(LabError, match=r"model\.safetensors in someone/hate is damaged or was changed"):
        load_classifier("someone/hate")


def test_a_data_set_is_read_from_the_hub(server: type[Hub]) -> None:
    (row,) = data.load_split("someone/dialogues", "test")
    assert row.references == ("They meet.",)


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("someone/nothing", "nothing called someone/nothing"),
        ("someone/gated", "agreed to its terms"),
        ("someone/hate@no-such-revision", "no revision no-such-revision"),
    ],
)
def test_what_the_hub_refuses_is_said_in_words(server: type[Hub], source: str, words: str) -> None:
    with pytest.raises(LabError, match=words):
        hub.fetch(source)


def test_a_broken_download_goes_on(server: type[Hub]) -> None:
    server.broken_after = 100_000
    with suppress(LabError):  # the library may try again by itself
        hub.fetch("someone/hate")
    assert server.broken_after is None
    folder = hub.find("someone/hate")
    assert (folder / "model.safetensors").read_bytes() == (MODEL / "model.safetensors").read_bytes()


def test_a_data_set_of_which_splits_are_missing_is_fetched_to_its_end(
    server: type[Hub], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for split in ("train", "validation"):
        shutil.copy(tmp_path / "dialogues" / "test.csv", tmp_path / "dialogues" / f"{split}.csv")
    interrupted = tmp_path / "cache" / "datasets--someone--dialogues" / "snapshots" / COMMIT
    shutil.copytree(tmp_path / "dialogues", interrupted, ignore=shutil.ignore_patterns("train.csv"))
    (interrupted.parents[1] / "refs").mkdir()
    (interrupted.parents[1] / "refs" / "main").write_text(COMMIT, encoding="utf-8")
    with pytest.raises(LabError, match=r"'train' in someone/dialogues: .*\(found: test.csv, val.*\).*fetch --again"):
        data.load_split("someone/dialogues", "train")
    for words in ("MB", "here already"):
        fetching.fetch_part("dataset", "someone/dialogues", None, again=False)
        assert words in capsys.readouterr().out
    assert data.load_split("someone/dialogues", "train")


@pytest.mark.parametrize(
    ("files", "whole"),
    [
        ({"model.safetensors"}, True),
        ({"model-00001-of-00002.safetensors"}, False),
        ({sources.INDEX}, False),
        ({sources.INDEX, "model-00001-of-00002.safetensors"}, False),
        ({sources.INDEX, "model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"}, True),
    ],
)
def test_weights_in_several_files_are_whole_with_the_last_of_them(files: set[str], whole: bool, tmp_path: Path) -> None:
    for name in files | {"config.json", "tokenizer.json"}:
        (tmp_path / name).touch()
    if sources.INDEX in files:
        named = {f"layer {part}": f"model-0000{part}-of-00002.safetensors" for part in (1, 2)}
        (tmp_path / sources.INDEX).write_text(json.dumps({"weight_map": named}), encoding="utf-8")
    assert sources.is_whole(tmp_path, "model") is whole


def test_a_download_that_cannot_go_on_says_what_is_kept() -> None:
    with (
        pytest.raises(LabError, match="interrupted: ConnectionError: gone. What has arrived is kept"),
        hub.answers_in_words("a/b"),
    ):
        raise ConnectionError("gone")


def test_a_full_disk_is_noticed_before_and_while(
    server: type[Hub], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    usage = shutil.disk_usage("/")
    with monkeypatch.context() as small:
        small.setattr(shutil, "disk_usage", lambda _: usage._replace(free=1000))
        with pytest.raises(LabError, match=r"takes 0\.00 GB, and 0\.00 GB are free on the disk of .*cache"):
            hub.fetch("someone/hate")
        monkeypatch.chdir(tmp_path)
        with pytest.raises(LabError, match=f"free on the disk of {re.escape(str(tmp_path / 'stick'))}"):
            hub.fetch("someone/hate", to=Path("stick"))
        small.setattr(Path, "exists", lambda path: False)
        hub._check_room("someone/hate", [hub.File("weights", 2000)], None)  # a drive that is not there has no room
    folder = hub.fetch("someone/hate")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=1000))
    assert hub.fetch("someone/hate") == folder  # what is here already needs no room
    with pytest.raises(LabError, match="GB are free"):
        hub.fetch("someone/hate", again=True)
    with pytest.raises(LabError, match="The disk is full"), hub.answers_in_words("someone/hate"):
        raise OSError(errno.ENOSPC, "No space left on device")


FETCH = """
import sys
from genai_labs.loading import hub
from genai_labs.errors import LabError
try:
    hub.fetch("someone/hate")
except LabError as error:
    print("said:", error)
"""


@pytest.mark.skipif(not can_mount(), reason="no tiny file system can be mounted here")
@pytest.mark.parametrize(
    ("claimed", "words"), [(None, r"takes 0\.00 GB, and 0\.00 GB are free"), (100, "The disk is full")]
)
def test_a_tiny_disk_is_noticed_before_a_download_and_half_way(
    claimed: int | None, words: str, server: type[Hub], tmp_path: Path
) -> None:
    server.claimed = claimed  # with sizes that are not true, nothing can be noticed before
    place = tmp_path / "tiny"
    place.mkdir()
    mounted = f'mount -t tmpfs -o size=1m tmpfs {place} && exec "$@"'
    environment = {name: os.environ[name] for name in ("HF_ENDPOINT", "PATH")}
    environment |= {"HF_HOME": str(place), "PYTHONPATH": str(ROOT / "src")}
    line = ["unshare", "-rm", "sh", "-c", mounted, "sh", sys.executable, "-c", FETCH]
    ran = subprocess.run(line, capture_output=True, text=True, env=environment, check=False, timeout=120)
    assert re.search(f"said: .*{words}", ran.stdout), ran.stdout + ran.stderr[-2000:]


def test_an_unreachable_hub_is_said_within_5_seconds(server: type[Hub], monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:  # takes connections and never says a word
        monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{silent.getsockname()[1]}")
        start = time.monotonic()
        with pytest.raises(
            LabError, match="no folder someone/hate here.*does not answer.*Check the name.*embedded world"
        ):
            hub.fetch("someone/hate")
    assert time.monotonic() - start < 5
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")  # nobody listens there
    with pytest.raises(LabError, match="does not answer"):
        hub.fetch("someone/hate")


def test_offline_nothing_is_asked(server: type[Hub], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(LabError, match="HF_HUB_OFFLINE is set"):
        hub.fetch("someone/hate")
    assert server.asked == []


def test_fetch_makes_a_folder_that_a_profile_can_be_pointed_at(
    server: type[Hub], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for variable in profiles.SOURCES.values():
        monkeypatch.setenv(variable, "someone/dialogues" if variable.endswith("DATASET") else "someone/hate")
    stick = tmp_path / "stick"
    monkeypatch.chdir(tmp_path)
    assert fetching.main(["--profile", "flan-t5-small", "--to", "stick"]) == 0
    said = capsys.readouterr().out.splitlines()[-1]
    assert f"GENAI_LABS_FOLDER to {stick}" in said
    assert "=" not in said, "NAME=value in front of a command means nothing on Windows"
    for variable in profiles.SOURCES.values():
        monkeypatch.delenv(variable)
    monkeypatch.setenv("GENAI_LABS_FOLDER", str(stick))
    profile = load_profile("flan-t5-small")
    assert hub.find(profile.reward_model) == stick / "reward_model"
    assert data.load_split(profile.dataset, "test")
    (stick / "model" / "model.safetensors").write_bytes(b"altered")
    with pytest.raises(LabError, match=r"model\.safetensors in model is damaged"):
        checksums.check_sums(stick / "model")


def test_a_tokenizer_of_another_model_is_noticed(tmp_path: Path) -> None:
    folder = tmp_path / "mixed"
    shutil.copytree(MODELS / "t5-mini", folder, ignore=shutil.ignore_patterns(checksums.SUMS))
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(MODEL / name, folder / name)
    with pytest.raises(LabError, match="belongs to another model"):
        models.load_model(replace(load_profile("mini"), model=str(folder)))
