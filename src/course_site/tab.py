"""All that the models in the tab are made of: graphs, weights, tokenizers, and two files that say what is what."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from course_site import adapters, exporting, graphs, rounding
from course_site.known import known_characters
from course_site.packing import Numbers, Pack, Rounded, in_bytes, rounded
from course_site.shelves import exemplar, shelves
from genai_labs.loading import hub, models
from genai_labs.loading.profiles import Profile, load_profile
from genai_labs.prompting import prompts
from genai_labs.scoring import toxicity
from genai_labs.scoring.content import FUNCTION_WORDS

FOLDER = "model"
WEIGHTS_FILE = f"{FOLDER}/weights.bin.gz"
CLASSIFIER_STEPS = 63  # from 0 to the largest weight of a matrix
ADAPTER_STEPS = 1023  # the same of an adapter's; 127 changed 69 of 1,000 texts of the detoxified model
CLASSIFIERS = {"reward": "reward_model", "judge": "judge"}  # the page's name and the profile's


def write_tab(out: Path, trained: Mapping[str, Path]) -> None:
    """Write the folder ``model`` of the site. trained: the folder of each adapter by name.

    Raises LabError where models are missing or damaged, or the packages that write graphs are.
    """
    exporting.check_exporter()
    profile = load_profile("mini")
    folder = out / FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    model, tokenizer = models.load_model(profile)
    pack = Pack()
    stored = rounding.round_matrices(model, tokenizer, profile)
    window = tokenizer.model_max_length
    reader = exporting.export_reader(model, window, pack, folder / "reader.onnx", stored)
    writer = exporting.export_writer(model, profile.max_new_tokens, pack, folder / "writer.onnx", stored)
    plan = plan_of(profile, model, tokenizer)
    for name, part in CLASSIFIERS.items():
        classifier = toxicity.load_classifier(getattr(profile, part))
        matrices = {n: p.numpy() for n, p in classifier.model.state_dict().items() if p.ndim == 2 and p.shape[0] > 2}
        in_steps = {n: in_bytes(x, CLASSIFIER_STEPS) for n, x in matrices.items()}
        exporting.export_classifier(classifier.model, pack, folder / f"{name}.onnx", in_steps)
        plan["classifiers"][name] = {
            "hate": classifier.hate,
            "nothate": classifier.nothate,
            "window": toxicity.window(classifier.model, classifier.tokenizer),
        }
    plan["kinds"] = {"reader": kinds_of(reader), "writer": kinds_of(writer)}
    for name, path in trained.items():
        adapter = adapters.read_adapter(path)
        plan["adapters"][name] = {
            g: packed(pack, graph, adapter) for g, graph in (("reader", reader), ("writer", writer))
        }
    plan["parts"] = pack.parts
    (out / WEIGHTS_FILE).write_bytes(pack.compressed())
    for name, part in {"t5": "model", **CLASSIFIERS}.items():
        write_json(folder / f"{name}.json", tokenizer_files(hub.find(getattr(profile, part))))
    write_json(folder / "plan.json", plan)
    write_json(folder / "page.json", page_of(profile))


def plan_of(profile: Profile, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> dict[str, Any]:
    """What the page must know to run the models; the places of weights are added when these are packed."""
    shown = exemplar(profile)
    return {
        "memory": exporting.WEIGHTS,
        "graphs": {name: f"{FOLDER}/{name}.onnx" for name in ("reader", "writer", *CLASSIFIERS)},
        "tokenizers": {name: f"{FOLDER}/{name}.json" for name in ("t5", *CLASSIFIERS)},
        "models": [{"id": each.id, "adapters": each.adapters} for each in adapters.MODELS],
        "classifiers": {},
        "adapters": {},
        "window": tokenizer.model_max_length,
        "most_tokens": profile.max_new_tokens,
        "start_token": model.config.decoder_start_token_id,
        "end_token": tokenizer.eos_token_id,
        "template": prompts.INSTRUCTIONS[prompts.DEFAULT_INSTRUCTION],
        "exemplars": [{"dialogue": shown.dialogue, "summary": shown.summary}],
        "function_words": sorted(FUNCTION_WORDS),
        "known": known_characters(tokenizer),
    }


def page_of(profile: Profile) -> dict[str, Any]:
    """What the page shows before the models are there."""
    shown = exemplar(profile)
    return {
        "models": [{"id": each.id, "name": each.name, "about": each.about} for each in adapters.MODELS],
        "shelves": shelves(profile),
        "exemplar": {"dialogue": shown.dialogue, "summary": shown.summary},
    }


def kinds_of(graph: graphs.Adapted) -> list[dict[str, Any]]:
    """For each kind of matrix of a graph how many there are, and their shape."""
    made = []
    for kind, names in graph.places.items():
        rows, columns = graph.model.get_submodule(names[0]).weight.shape
        made.append({"kind": kind, "matrices": len(names), "in": columns, "out": rows})
    return made


def packed(pack: Pack, graph: graphs.Adapted, adapter: graphs.Adapter) -> dict[str, Any]:
    """Where the stacks of an adapter are, of the kinds of matrices that it has to do with."""
    stacks = graphs.stack(graph, adapter)
    made = {}
    for place, (kind, names) in enumerate(graph.places.items()):
        if any(name in adapter for name in names):
            a, b = (stacks[2 * place + side].numpy() for side in (0, 1))
            sides = {"a": a, "b": b}
            made[kind] = {"rank": b.shape[1], **{side: pack.store(x, _finely(x)) for side, x in sides.items()}}
    return made


def _finely(numbers: Numbers) -> Rounded:
    """The numbers of an adapter, ADAPTER_STEPS from 0 to the largest."""
    return rounded(numbers, max(float(np.abs(numbers).max()) / ADAPTER_STEPS, 1e-12))


def tokenizer_files(folder: Path) -> dict[str, Any]:
    """A tokenizer and its settings, in one."""
    names = {"model": "tokenizer.json", "config": "tokenizer_config.json"}
    return {key: json.loads((folder / name).read_text(encoding="utf-8")) for key, name in names.items()}


def write_json(path: Path, content: Any) -> None:
    """Write compact JSON."""
    path.write_text(json.dumps(content, ensure_ascii=False, separators=(",", ":")), encoding="utf-8")
