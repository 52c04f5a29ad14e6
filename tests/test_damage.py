"""Models, tokenizers and adapters that are damaged, or were changed, are refused in words."""

import argparse
import ast
import io
import json
import random
import shutil
import sys
import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from embedded_world.pretraining import build, classifiers
from genai_labs.course import machine
from genai_labs.errors import LabError
from genai_labs.finetuning import lora
from genai_labs.loading import checksums, contents, models, pretrained, sources
from genai_labs.loading.profiles import load_profile
from genai_labs.paths import MODELS, ROOT
from genai_labs.prompting import generation
from genai_labs.rlhf import command as detox_cli
from genai_labs.rlhf import reward_model
from genai_labs.rlhf.summarizer import SUMMARIZER
from genai_labs.scoring.labelled_texts import read_rows
from genai_labs.scoring.toxicity import load_classifier
from tests.mutations import damaged_bytes, damaged_json

SHIPPED = ("harsh-lora", "hate-mini", "judge-mini", "t5-mini", "t5-reader", "t5-reader-pretrained")
Base = tuple[PreTrainedModel, PreTrainedTokenizerBase]


@pytest.fixture(scope="module")
def base() -> Base:
    return models.load_model(load_profile("mini"))


@pytest.fixture
def shipped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of all shipped models, which takes their place."""
    shutil.copytree(MODELS, tmp_path / "models")
    monkeypatch.setattr(sources, "MODELS", tmp_path / "models")
    return tmp_path / "models"


def own(name: str, folder: Path) -> Path:
    """A copy of a shipped model as a folder of one's own, for which there are no checksums."""
    shutil.copytree(MODELS / name, folder / name, ignore=shutil.ignore_patterns(checksums.SUMS))
    return folder / name


def load(folder: Path, base: Base) -> None:
    """Load a folder as what it is, by the name of the shipped model that it comes from, and let it do something."""
    if folder.name.startswith("t5-"):
        profile = replace(load_profile("mini"), model=str(folder))
        models.load_tokenizer(profile)
        generation.generate(*models.load_model(profile), ["Summarize: #Person1#: Hello."], progress=False)
    elif folder.name == "harsh-lora":
        lora.load_adapter(base[0], folder)
    else:
        load_classifier(folder).probabilities(["You are a rusty hourglass.", "Hi."])


# Checksums.


@pytest.mark.parametrize("name", SHIPPED)
def test_the_committed_sums_are_those_of_the_committed_files(name: str) -> None:
    files = {path.name for path in (MODELS / name).iterdir()}
    sums = checksums.read_sums(MODELS / name)
    assert set(sums) == files - {"README.md", checksums.SUMS}
    assert {file: checksums.checksum(MODELS / name / file) for file in sums} == sums


def test_every_shipped_model_is_known_here() -> None:
    assert sorted(path.name for path in MODELS.iterdir()) == sorted(SHIPPED)


@pytest.mark.parametrize(
    ("name", "file"), [(name, file) for name in SHIPPED for file in sorted(checksums.read_sums(MODELS / name))]
)
def test_one_flipped_bit_in_a_shipped_file_is_noticed(name: str, file: str, shipped: Path, base: Base) -> None:
    path = shipped / name / file
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(LabError, match=rf"{file} in {name} is damaged or was changed.*git checkout -- data/models/"):
        load(shipped / name, base)
    finding = machine.check_shipped(shipped)
    assert finding.level == "stop"
    assert file in finding.what
    assert f"git checkout -- data/models/{name}" in finding.remedy


def test_a_tokenizer_with_its_words_exchanged_is_noticed_without_its_model(shipped: Path) -> None:
    path = shipped / "t5-reader" / "tokenizer.json"
    tokenizer = json.loads(path.read_text(encoding="utf-8"))
    words = tokenizer["model"]["vocab"]
    if isinstance(words, dict):
        words = tokenizer["model"]["vocab"] = dict(zip(words, [*list(words.values())[1:], 0], strict=True))
    else:
        words[300], words[301] = words[301], words[300]
    path.write_text(json.dumps(tokenizer), encoding="utf-8")
    with pytest.raises(LabError, match=r"tokenizer\.json in t5-reader is damaged or was changed"):
        models.load_tokenizer(replace(load_profile("mini"), model=str(shipped / "t5-reader")))


def test_a_list_of_sums_that_is_missing_or_damaged_is_said(shipped: Path, base: Base) -> None:
    for name in SHIPPED:
        sums = shipped / name / checksums.SUMS
        for content in (b"", b"\xff\x00", b"0" * 64 + b"\n", sums.read_bytes().replace(b"  ", b"  ../", 1)):
            sums.write_bytes(content)
            with pytest.raises(LabError, match=rf"sha256.txt of {name} is damaged.*git checkout"):
                load(shipped / name, base)
        sums.unlink()
        with pytest.raises(LabError, match=rf"sha256.txt of {name} is missing.*git checkout"):
            load(shipped / name, base)
    assert machine.check_shipped(shipped).level == "stop"


def test_a_listed_file_that_is_gone_is_said(shipped: Path, base: Base) -> None:
    (shipped / "t5-mini" / "generation_config.json").unlink()
    with pytest.raises(LabError, match=r"generation_config\.json of t5-mini is missing"):
        load(shipped / "t5-mini", base)


def test_what_was_changed_on_purpose_can_be_loaded_and_how_is_said(tmp_path: Path, base: Base) -> None:
    folder = tmp_path / "t5-mini"
    shutil.copytree(MODELS / "t5-mini", folder)
    config = folder / "generation_config.json"
    config.write_text(config.read_text(encoding="utf-8").replace("80", "70"), encoding="utf-8")
    with pytest.raises(LabError, match=r"If you changed it on purpose, delete sha256\.txt"):
        load(folder, base)
    (folder / checksums.SUMS).unlink()
    load(folder, base)


# Whoever makes a shipped model writes its sums.


def test_an_exported_model_has_its_sums(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, base: Base) -> None:
    work = tmp_path / "work"
    base[0].save_pretrained(work / "model")
    base[1].save_pretrained(work / "tokenizer")
    (work / "pretraining").mkdir()
    row = {"examples": 1, "stage": 1, "loss": {}, "seconds": 1.0}
    (work / "pretraining" / "log.jsonl").write_text(json.dumps(row) + "\n", encoding="utf-8")
    monkeypatch.setattr(build, "MODELS", tmp_path)
    monkeypatch.setattr(build.heldout, "score_held_out", lambda *_: {})
    monkeypatch.setattr(build.cards, "model_card", lambda _: "")
    build.export(work)
    assert set(checksums.read_sums(tmp_path / "t5-mini")) == set(checksums.read_sums(MODELS / "t5-mini"))
    checksums.check_sums(tmp_path / "t5-mini")


def test_a_classifier_that_is_built_again_has_its_own_sums(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "hate-mini").mkdir()
    (tmp_path / "hate-mini" / checksums.SUMS).write_text(f"{'0' * 64}  config.json\n")  # of the one before
    monkeypatch.setattr(classifiers, "train_classifier", lambda *_: [0.5])
    monkeypatch.setattr(classifiers, "calibrate", lambda _: (1.0, 0.0))
    monkeypatch.setattr(classifiers.texts, "texts_of", lambda _: read_rows("challenge"))
    monkeypatch.setattr(classifiers, "score_classifier", lambda folder: {"loads": bool(load_classifier(folder))})
    monkeypatch.setattr(classifiers.cards, "classifier_card", lambda _: "")
    classifiers.build_one(replace(classifiers.REWARD, vocabulary=400), tmp_path / "hate-mini")
    assert set(checksums.read_sums(tmp_path / "hate-mini")) == set(checksums.read_sums(MODELS / "hate-mini"))
    checksums.check_sums(tmp_path / "hate-mini")


def test_a_summarizer_that_is_shipped_has_its_own_card_and_sums(
    tmp_path: Path, shipped: Path, monkeypatch: pytest.MonkeyPatch, base: Base
) -> None:
    def train(base: PreTrainedModel, _: object, folder: Path, *__: object) -> SimpleNamespace:
        lora.save_adapter(lora.attach(base, lora.lora_config(rank=2, alpha=2)), folder / "model")
        return SimpleNamespace(plan=detox_cli.PLAN, history=[{"validation_loss": 1.5}, {"validation_loss": 1.25}])

    monkeypatch.setattr(detox_cli, "train_summarizer", train)
    monkeypatch.setattr(detox_cli, "SUMMARIZER", shipped / "harsh-lora")
    before = checksums.read_sums(shipped / "harsh-lora")
    args = argparse.Namespace(summarizer=None, train_summarizer=True, ship=True, seed=0, fresh=True)
    detox_cli.starting_point(*base, args, tmp_path, 8)
    assert checksums.read_sums(shipped / "harsh-lora") != before
    lora.load_adapter(base[0], shipped / "harsh-lora")
    card = (shipped / "harsh-lora" / "README.md").read_text(encoding="utf-8")
    assert "8 composed dialogues" in card
    assert "1.500, 1.250 nats" in card
    config = json.loads((shipped / "harsh-lora" / "adapter_config.json").read_text(encoding="utf-8"))
    assert config["base_model_name_or_path"] == "t5-reader"


# Weights, of any model from anywhere.


def edit_weights(change: Callable[[dict[str, torch.Tensor]], object]) -> Callable[[Path], None]:
    def damage(folder: Path) -> None:
        (path,) = folder.glob("*.safetensors")
        weights = load_file(path)
        change(weights)
        save_file(weights, path, metadata={"format": "pt"})

    return damage


def edit_json(name: str, **changes: object) -> Callable[[Path], None]:
    def damage(folder: Path) -> None:
        path = folder / name
        path.write_text(json.dumps(json.loads(path.read_text(encoding="utf-8")) | changes), encoding="utf-8")

    return damage


def some(weights: dict[str, torch.Tensor]) -> str:
    return sorted(name for name, tensor in weights.items() if tensor.ndim == 2)[-1]


def spoil(value: float) -> Callable[[Path], None]:
    return edit_weights(lambda weights: weights[some(weights)].view(-1)[7:8].fill_(value))


def rename(weights: dict[str, torch.Tensor]) -> None:
    name = some(weights)
    weights[f"{name}_"] = weights.pop(name)


@pytest.mark.parametrize(
    ("name", "damage", "words"),
    [
        ("t5-reader", spoil(float("nan")), "numbers that are not finite"),
        ("t5-reader", spoil(float("inf")), "numbers that are not finite"),
        ("t5-reader", edit_weights(rename), "weights that its file does not hold"),
        ("t5-reader", edit_json("config.json", num_layers=9), "weights that its file does not hold"),
        ("t5-reader", edit_json("config.json", num_layers=1), "weights of layers that its configuration does not know"),
        ("t5-reader", edit_json("config.json", d_ff=64), "does not hold in this shape"),
        ("hate-mini", spoil(float("nan")), "numbers that are not finite"),
        ("hate-mini", edit_weights(rename), "weights that its file does not hold"),
        ("judge-mini", edit_json("config.json", num_hidden_layers=3), "weights that its file does not hold"),
        ("judge-mini", edit_json("config.json", num_hidden_layers=1), "weights of layers"),
        ("hate-mini", edit_json("config.json", id2label={"0": "hate", "1": "nothate", "2": "x"}), "not hold in this"),
        ("harsh-lora", spoil(float("nan")), "numbers that are not finite"),
        ("harsh-lora", edit_weights(rename), "do not match what adapter_config.json asks for"),
        ("harsh-lora", edit_json("adapter_config.json", r=9), "could not be loaded"),
        ("harsh-lora", edit_json("adapter_config.json", target_modules=["q"]), "do not match|could not be loaded"),
        ("harsh-lora", edit_json("adapter_config.json", peft_type="PROMPT_TUNING"), "only LoRA adapters"),
        ("harsh-lora", edit_json("base.json", fingerprint=5), "does not name the base model"),
    ],
)
def test_weights_that_are_missing_left_over_or_no_numbers_are_refused(
    name: str, damage: Callable[[Path], None], words: str, tmp_path: Path, base: Base
) -> None:
    folder = own(name, tmp_path)
    load(folder, base)
    damage(folder)
    with pytest.raises(LabError, match=words):
        load(folder, base)


def test_only_the_head_of_a_reward_model_may_be_new(tmp_path: Path) -> None:
    folder = own("hate-mini", tmp_path)
    reward_model.new_reward_model(folder, fresh=False, seed=0)
    edit_json("config.json", num_hidden_layers=3)(folder)
    with pytest.raises(LabError, match="weights that its file does not hold"):
        reward_model.new_reward_model(folder, fresh=False, seed=0)


# Whatever happens to a file.

TEXT_FILES = {
    "t5-reader": ("tokenizer.json", "tokenizer_config.json", "config.json", "generation_config.json"),
    "hate-mini": ("tokenizer.json", "tokenizer_config.json", "config.json"),
    "judge-mini": ("tokenizer.json", "tokenizer_config.json", "config.json"),
    "harsh-lora": ("adapter_config.json", "base.json", "adapter_model.safetensors"),
}


@pytest.mark.parametrize("seed", range(24))
def test_a_damaged_folder_is_read_or_refused_in_words(seed: int, tmp_path: Path, base: Base) -> None:
    rng = random.Random(f"damaged-{seed}")
    folder = own(sorted(TEXT_FILES)[seed % 4], tmp_path)
    path = folder / rng.choice(TEXT_FILES[folder.name])
    if path.suffix == ".json" and rng.random() < 0.6:
        path.write_text(damaged_json(path.read_text(encoding="utf-8"), rng), encoding="utf-8")
    else:
        path.write_bytes(damaged_bytes(path.read_bytes(), rng))
    said = ""
    try:
        load(folder, base)
    except LabError as error:
        said = str(error)
    assert len(said) < 1000
    assert "\n" not in said


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\xff", b"[" * 100_000, b"null"])
def test_a_damaged_training_record_or_base_file_is_said(content: bytes, tmp_path: Path, base: Base) -> None:
    folder = own("t5-reader", tmp_path)
    (folder / "training.json").write_bytes(content)
    with pytest.raises(LabError, match=r"training\.json of the model t5-reader is damaged"):
        models.training_record(replace(load_profile("mini"), model=str(folder)))
    adapter = own("harsh-lora", tmp_path)
    (adapter / lora.BASE_FILE).write_bytes(content)
    for read in (lora.belongs, lora.load_adapter):
        with pytest.raises(LabError, match=r"base\.json of the adapter harsh-lora is damaged"):
            read(base[0], adapter)


# Code that comes with a model.

CODE = """
from pathlib import Path
Path({mark!r}).touch()
from transformers import AutoConfig, AutoModel, PretrainedConfig, PreTrainedModel, PreTrainedTokenizerFast
class Config(PretrainedConfig): model_type = {kind!r}
class Model(PreTrainedModel): config_class = Config
class Tokenizer(PreTrainedTokenizerFast): pass
"""


@pytest.mark.parametrize("kind", ["strange", "t5"])
def test_code_that_comes_with_a_model_is_never_run_whatever_is_typed(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = own("t5-reader", tmp_path)
    mark = tmp_path / "it ran"
    (folder / "code.py").write_text(CODE.format(mark=str(mark), kind=kind), encoding="utf-8")
    classes = {"AutoConfig": "code.Config", "AutoTokenizer": ["code.Tokenizer", "code.Tokenizer"]}
    classes |= {f"AutoModel{which}": "code.Model" for which in ("", "ForSeq2SeqLM", "ForSequenceClassification")}
    edit_json("config.json", model_type=kind, auto_map=classes)(folder)
    edit_json("tokenizer_config.json", tokenizer_class="Tokenizer", auto_map=classes)(folder)
    profile = replace(load_profile("mini"), model=str(folder))
    refused: list[str] = []
    for load_one in (
        lambda: models.load_tokenizer(profile),
        lambda: models.load_model(profile),
        lambda: load_classifier(folder),
        lambda: pretrained.read_config(folder),
        lambda: reward_model.new_reward_model(folder, fresh=True, seed=0),
        lambda: reward_model.new_reward_model(folder, fresh=False, seed=0),
    ):
        monkeypatch.setattr(sys, "stdin", io.StringIO("y\n" * 20))
        try:
            load_one()
        except LabError as error:
            refused.append(str(error))
    assert not mark.exists()
    assert "[y/N]" not in "".join(capsys.readouterr())
    if kind == "strange":
        assert len(refused) == 6
        assert sum("never done here" in words for words in refused) == 6


def test_transformers_is_told_everywhere_to_run_no_foreign_code() -> None:
    """Every from_pretrained of an Auto class, or of a class that is passed on, says so; nothing ever says yes."""
    found = 0
    for path in sorted((ROOT / "src").rglob("*.py")):
        text = path.read_text(encoding="utf-8")
        assert "trust_remote_code=True" not in text, path
        for call in ast.walk(ast.parse(text)):
            if not isinstance(call, ast.Call) or not isinstance(call.func, ast.Attribute):
                continue
            owner = ast.unparse(call.func.value)
            if call.func.attr in ("from_pretrained", "from_config") and owner.startswith(("Auto", "kind")):
                found += 1
                told = {each.arg: ast.unparse(each.value) for each in call.keywords}
                assert told.get("trust_remote_code") == "False", f"{path.name}:{call.lineno}"
    assert found >= 5
    for notebook in (ROOT / "notebooks").glob("*.ipynb"):
        cells = json.loads(notebook.read_text(encoding="utf-8"))["cells"]
        code = "\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "code")
        assert ".from_pretrained(" not in code, notebook.name


def test_the_shipped_summarizer_is_the_one_that_is_checked() -> None:
    assert sources.is_shipped(SUMMARIZER)
    assert contents.read_json(SUMMARIZER / lora.BASE_FILE, "adapter")["base"] == Path(load_profile("mini").model).name


def test_a_whole_adapter_is_loaded_without_a_warning() -> None:
    base, _ = models.load_model(load_profile("mini"))
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # it would stand in a committed notebook
        lora.load_adapter(base, SUMMARIZER)
