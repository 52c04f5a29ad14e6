"""Graphs for the browser: written by ``torch.onnx.export``, their weights taken out and packed together."""

from __future__ import annotations

import importlib.util
import logging
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedModel

from course_site import graphs
from course_site.packing import Pack, Rounded
from genai_labs.errors import LabError

WEIGHTS = "weights"  # what the graphs call the memory that holds their weights
NEEDED = ("onnx", "onnxscript")
OPSET = 18
SMALL = 64  # tensors of at most so many numbers stay in the graph
Stored = Mapping[str, Rounded]  # matrices of a T5 by their names
STACKS = [f"{kind}_{side}" for kind in graphs.KINDS for side in "ab"]
AUTO = torch.export.Dim.DYNAMIC
_RANKS = tuple({1 + i % 2: AUTO} for i in range(len(STACKS)))


class Logits(torch.nn.Module):
    """A classifier of one text: ids [tokens] to logits [labels]."""

    def __init__(self, model: PreTrainedModel) -> None:
        super().__init__()
        self.model = model

    def forward(self, ids: Tensor) -> Tensor:
        """ids: of one text, without padding."""
        return self.model(input_ids=ids[None], attention_mask=torch.ones_like(ids)[None]).logits[0]


def check_exporter() -> None:
    """Raise LabError where the packages that write graphs are missing."""
    if missing := [name for name in NEEDED if importlib.util.find_spec(name) is None]:
        raise LabError(
            f"The site needs {' and '.join(missing)}, which the labs do not, and which is not installed. Install what "
            "it needs: python -m pip install -r site/requirements.txt (`make site` does it)."
        )


def export_reader(model: PreTrainedModel, window: int, pack: Pack, path: Path, stored: Stored) -> graphs.Reader:
    """Write the graph that reads a prompt of at most ``window`` tokens."""
    graph = graphs.Reader(model, window)
    inputs = (torch.arange(20), *_some_stacks(graph))
    export(graph, inputs, ["ids", *STACKS], ["source"], ({0: AUTO}, _RANKS), pack, path, stored)
    return graph


def export_writer(model: PreTrainedModel, most: int, pack: Pack, path: Path, stored: Stored) -> graphs.Writer:
    """Write the graph that reads one of at most ``most`` tokens of a text."""
    graph = graphs.Writer(model, most)
    shape = (model.config.num_decoder_layers, 2, graph.heads)
    inputs = (
        torch.tensor([3]),
        torch.randn(*shape, 20, graph.d_kv),
        torch.randn(*shape, 7, graph.d_kv),
        *_some_stacks(graph),
    )
    dynamic = (None, {3: AUTO}, {3: AUTO}, _RANKS)
    export(graph, inputs, ["token", "source", "written", *STACKS], ["logits", "kept"], dynamic, pack, path, stored)
    return graph


def export_classifier(model: PreTrainedModel, pack: Pack, path: Path, stored: Stored) -> None:
    """Write the graph of a classifier."""
    export(Logits(model), (torch.arange(20),), ["ids"], ["logits"], ({0: AUTO},), pack, path, stored)


def _some_stacks(graph: graphs.Adapted) -> graphs.Stacks:
    """Adapters of some rank on every matrix."""
    names = [name for names in graph.places.values() for name in names]
    shapes = {name: graph.model.get_submodule(name).weight.shape for name in names}
    return graphs.stack(graph, {n: (torch.randn(5, s[1]), torch.randn(s[0], 5)) for n, s in shapes.items()})


def export(
    graph: torch.nn.Module,
    inputs: tuple[Tensor, ...],
    names: Sequence[str],
    outputs: Sequence[str],
    dynamic: tuple[Any, ...],
    pack: Pack,
    path: Path,
    stored: Stored | None = None,
) -> None:
    """Write a graph to ``path``, its weights in ``pack``: those that are ``stored`` in steps so, others in 16 bits.

    inputs: examples, whose sizes may change where ``dynamic`` says so. Raises LabError where a package is missing.
    """
    check_exporter()
    import onnx
    from onnx import numpy_helper

    with _quiet(), torch.no_grad():
        program = torch.onnx.export(
            graph.eval(),
            inputs,
            input_names=list(names),
            output_names=list(outputs),
            dynamic_shapes=dynamic,
            opset_version=OPSET,
            optimize=False,  # which would write transposed copies of matrices
            dynamo=True,
            verbose=False,
        )
    assert program is not None
    proto = program.model_proto
    for tensor in proto.graph.initializer:
        numbers = numpy_helper.to_array(tensor)
        if numbers.dtype == "float32" and numbers.size > SMALL:
            part = pack.add(numbers, (stored or {}).get(tensor.name.removeprefix("model.")))
            outside = onnx.TensorProto(
                name=tensor.name, dims=tensor.dims, data_type=tensor.data_type, data_location=onnx.TensorProto.EXTERNAL
            )
            place = {"location": WEIGHTS, "offset": part["memory"], "length": 4 * part["count"]}
            outside.external_data.extend(
                onnx.StringStringEntryProto(key=key, value=str(value)) for key, value in place.items()
            )
            tensor.CopyFrom(outside)
    for node in proto.graph.node:  # where it was exported from: paths of this machine
        del node.metadata_props[:]
        node.doc_string = ""
    path.write_bytes(proto.SerializeToString(deterministic=True))


class _quiet(warnings.catch_warnings):
    """Without what the exporter says about itself."""

    def __enter__(self) -> Any:
        entered = super().__enter__()
        warnings.simplefilter("ignore")
        self.logger = logging.getLogger("torch.onnx")
        self.level = self.logger.level
        self.logger.setLevel(logging.ERROR)
        return entered

    def __exit__(self, *details: object) -> None:
        self.logger.setLevel(self.level)
        super().__exit__(*details)
