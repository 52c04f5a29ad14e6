"""Models, adapters and classifiers whose files are damaged, and what a learner may ask a model for."""

from __future__ import annotations

import functools
import random
import shutil
import tempfile
import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from hypothesis import strategies as st
from transformers import GenerationConfig, T5Config, T5ForConditionalGeneration

from genai_labs.finetuning import lora
from genai_labs.loading import checksums, models
from genai_labs.loading.profiles import load_profile
from genai_labs.paths import MODELS
from genai_labs.prompting import generation
from genai_labs.rlhf import measure
from genai_labs.scoring import toxicity
from tests.fuzzing.files import TOKENIZER
from tests.fuzzing.inputs import REFUSED, SLOW, SLOWEST, answer, calls, damaged, is_whole, said, target, texts, wild
from tests.mutations import damaged_json

KEPT = tempfile.TemporaryDirectory(prefix="genai_labs_fuzz_")  # folders that are copied, for as long as Python runs


@functools.cache
def tiny() -> Any:
    """A T5 that takes no time, with random weights."""
    torch.manual_seed(0)
    shape = {"d_model": 8, "d_ff": 8, "d_kv": 4, "num_layers": 1, "num_heads": 2}
    named = {"pad_token_id": 0, "eos_token_id": 1, "decoder_start_token_id": 0}
    config = T5Config(vocab_size=len(TOKENIZER), feed_forward_proj="gated-gelu", n_positions=1024, **shape, **named)
    model = T5ForConditionalGeneration._from_config(config, attn_implementation="eager")
    return model.eval()


@functools.cache
def made(kind: str) -> Path:
    """A whole folder of a kind."""
    folder = Path(KEPT.name) / kind
    if kind == "model":
        tiny().save_pretrained(folder)
        TOKENIZER.save_pretrained(folder)
    elif kind == "adapter":
        adapter = lora.attach(tiny(), lora.lora_config(2, 4))
        lora.save_adapter(adapter, folder)
    else:
        shutil.copytree(MODELS / "hate-mini", folder)
        (folder / checksums.SUMS).unlink()
    return folder


def use(kind: str, folder: Path) -> bool:
    """Loads what is in a folder and lets it do something; whether that is what the thing is for."""
    if kind == "model":
        model, tokenizer = models.load_model(replace(load_profile("mini"), model=str(folder)))
        (text,) = generation.generate(
            model, tokenizer, ["Summarize: #Person1#: Hi."], generation.greedy(2), progress=False
        )
        return isinstance(text, str)
    if kind == "adapter":
        model = lora.load_adapter(tiny(), folder)
        return all(bool(torch.isfinite(p).all()) for p in model.parameters())
    scores = toxicity.load_classifier(folder).probabilities(["You are a rusty hourglass.", "Hi."])
    return bool(((scores >= 0) & (scores <= 1)).all())


@st.composite
def changes(draw: st.DrawFn) -> tuple[str, str, bytes, bool]:
    """A kind of folder, one of its files, what is in it then, and whether there are sums."""
    kind = draw(st.sampled_from(["model", "adapter", "classifier"]))
    path = draw(st.sampled_from(sorted(path for path in made(kind).iterdir() if path.suffix != ".md")))
    content = path.read_bytes()
    if path.suffix == ".json" and draw(st.booleans()):
        rng = random.Random(draw(st.integers(0, 2**32)))
        content = damaged_json(content.decode(), rng).encode()
    else:
        content = draw(damaged(st.just(content)))
    return kind, path.name, content, draw(st.booleans())


@target(changes(), SLOWEST)
def a_damaged_folder_is_refused_or_works(given: tuple[str, str, bytes, bool], folder: Path) -> None:
    kind, name, content, summed = given
    copy = folder / kind
    shutil.copytree(made(kind), copy)
    if summed:
        checksums.write_sums(copy)
    changed = content != (copy / name).read_bytes()
    (copy / name).write_bytes(content)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = answer(use, kind, copy)
    assert found is REFUSED if summed and changed else found is True or (changed and found is REFUSED)


# What is asked of a model.

configs = st.builds(
    GenerationConfig,
    max_new_tokens=st.integers(1, 3),
    do_sample=st.booleans(),
    temperature=st.sampled_from([1.0, 0.5, 2.0]),
    top_k=st.sampled_from([0, 5]),
    num_beams=st.sampled_from([1, 1, 2]),
)


@st.composite
def odd_configs(draw: st.DrawFn) -> Any:
    """Settings of which one makes no sense, as somebody might type it."""
    config = draw(configs)
    name = draw(st.sampled_from(["max_new_tokens", "temperature", "top_k", "top_p", "num_beams", "do_sample"]))
    setattr(config, name, draw(st.sampled_from([0, -1, 0.0, -0.5, 1.5, float("nan"), None, "2", [], True])))
    return config


lists = st.lists(said, max_size=3)


def without_beams() -> GenerationConfig:
    config = GenerationConfig(max_new_tokens=1)
    config.num_beams = 0
    return config


def without_end() -> GenerationConfig:
    config = GenerationConfig(max_new_tokens=1)
    config.max_new_tokens = float("nan")
    return config


def generating(**changed: Any) -> dict[str, Any]:
    given = {"model": tiny(), "tokenizer": TOKENIZER, "prompts": ["Hi."], "config": None, "batch_size": None, "seed": 0}
    return {**given, "max_length": None, "progress": False, **changed}


asked = {"model": st.builds(tiny), "tokenizer": st.just(TOKENIZER), "prompts": lists}


@target(
    calls(
        **asked,
        config=configs | odd_configs() | st.none(),
        batch_size=st.none() | st.integers(0, 3),
        seed=st.none() | st.integers(-1, 5),
        max_length=st.none() | st.integers(0, 40),
        progress=st.just(False),
    ),
    SLOW,
    found=(
        generating(config={"max_new_tokens": 2}),
        generating(seed="one"),
        generating(config=without_beams()),
        generating(config=without_end()),
        generating(config=GenerationConfig(max_new_tokens=2, do_sample=True, temperature=-1.0)),
    ),
)
def each_prompt_gets_one_text(given: dict[str, Any], folder: Path) -> None:
    config = given["config"]
    if config is None:  # the default writes 60 tokens
        given["config"] = generation.greedy(2)
    written = answer(generation.generate, **given)
    if written is not REFUSED:
        assert len(written) == len(given["prompts"])
        assert all(isinstance(text, str) for text in written)
        for name in ("batch_size", "max_length"):
            assert given[name] is None or is_whole(given[name], 1), name
        assert is_whole(given["config"].max_new_tokens, 1) or not written


@target(
    calls(
        **asked,
        configs=st.dictionaries(st.sampled_from("abc"), configs | odd_configs(), max_size=2),
        count=st.integers(0, 3),
        seed=st.integers(-1, 5),
        batch_size=st.none() | st.integers(0, 3),
        progress=st.just(False),
    ),
    SLOW,
    found=(
        {
            "model": tiny(),
            "tokenizer": TOKENIZER,
            "prompts": ["Hi."],
            "configs": None,
            "count": 1,
            "seed": 0,
            "batch_size": None,
            "progress": False,
        },
    ),
)
def each_prompt_gets_its_samples(given: dict[str, Any], folder: Path) -> None:
    written = answer(generation.sample, **given)
    if written is not REFUSED:
        assert is_whole(given["count"], 1)
        assert set(written) == set(given["configs"])
        for name, config in given["configs"].items():
            assert [len(each) for each in written[name]] == [given["count"] if config.do_sample else 1] * len(
                given["prompts"]
            )


@target(
    calls(
        model=asked["model"],
        tokenizer=asked["tokenizer"],
        prompt=said,
        so_far=st.just("") | said,
        temperature=st.sampled_from([1.0, 0.5, 2, 0, -1]),
    ),
    SLOW,
    found=({"model": tiny(), "tokenizer": TOKENIZER, "prompt": "\ud800", "so_far": "", "temperature": 0},),
)
def next_tokens_have_probabilities(given: dict[str, Any], folder: Path) -> None:
    found = answer(generation.next_token_probabilities, **given)
    if found is not REFUSED:
        values = [probability for _, probability in found]
        assert values == sorted(values, reverse=True)
        assert abs(sum(values) - 1) < 1e-3
        assert given["temperature"] > 0


@target(
    calls(
        model=asked["model"],
        tokenizer=asked["tokenizer"],
        prompt=said,
        so_far=st.just("") | said,
        layer=st.integers(-3, 2),
        most=st.integers(-1, 9),
    ),
    SLOW,
    found=({"model": tiny(), "tokenizer": TOKENIZER, "prompt": "Hi.", "so_far": "", "layer": 7, "most": 3},),
)
def attention_is_shared_out(given: dict[str, Any], folder: Path) -> None:
    found = answer(generation.attention_to_prompt, **given)
    if found is not REFUSED:
        assert given["most"] is None or len(found) <= given["most"]
        assert sum(share for _, share in found) < 1.001
        assert all(isinstance(token, str) for token, _ in found)


# Toxicity.


@functools.cache
def classifier() -> toxicity.Classifier:
    return toxicity.load_classifier()


@target(
    calls(texts=lists),
    found=(
        {"texts": None},
        {"texts": ["\ud800"]},
    ),
)
def toxicity_is_a_probability(given: dict[str, Any], folder: Path) -> None:
    scores = answer(classifier().probabilities, **given)
    if scores is not REFUSED:
        assert scores.shape == (len(given["texts"]),)
        assert ((scores >= 0) & (scores <= 1)).all()
    counted = answer(toxicity.keyword_toxicity, **given)
    assert counted is REFUSED or set(counted) <= {0.0, 1.0}
    if scores is not REFUSED:
        both = answer(measure.toxicity_of_both, classifier(), given["texts"], given["texts"])
        assert both is REFUSED or both.shape == scores.shape


LABELS = ["hate", "nothate", "NOT-HATE", "not hate", "LABEL_0", "Hate", "", "hate"]


@target(st.dictionaries(st.integers(0, 3), st.sampled_from(LABELS) | texts | wild, max_size=3))
def labels_are_found_by_name(given: dict[int, Any], folder: Path) -> None:
    found = answer(toxicity.find_labels, given)
    if found is not REFUSED:
        hate, kind = (str(given[column]).lower() for column in found)
        assert "hate" in hate
        assert "not" in kind
        assert "not" not in hate


rewards = st.one_of(
    wild.filter(lambda given: not callable(given)),  # what a learner's own function raises is the learner's
    wild.map(lambda given: lambda texts: given),
    st.lists(st.floats(), min_size=2, max_size=2).map(lambda numbers: lambda texts: np.array(numbers)),
    st.sampled_from([len, lambda texts: [len(t) for t in texts], lambda texts: texts]),
)


@target(
    rewards,
    found=(
        None,
        lambda texts: 1,
        lambda texts: [1],
    ),
)
def a_reward_is_probed(given: Any, folder: Path) -> None:
    found = answer(toxicity.check_reward, given, classifier())
    if found is not REFUSED:
        assert all(bad < good for bad, good in zip(found["hateful"], found["kind"], strict=True))
