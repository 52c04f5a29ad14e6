"""Graphs for the browser: written by ``torch.onnx.export``, their weights taken out and packed together."""

from __future__ import annotations

import importlib.util
import logging
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
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
_RANKS = tuple({2 - i % 2: AUTO} for i in range(len(STACKS)))


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
    write_graph(graph, inputs, ["ids", *STACKS], ["source"], ({0: AUTO}, _RANKS), pack, path, stored)
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
    write_graph(graph, inputs, ["token", "source", "written", *STACKS], ["logits", "kept"], dynamic, pack, path, stored)
    return graph


def export_classifier(model: PreTrainedModel, pack: Pack, path: Path, stored: Stored) -> None:
    """Write the graph of a classifier."""
    write_graph(Logits(model), (torch.arange(20),), ["ids"], ["logits"], ({0: AUTO},), pack, path, stored)


def _some_stacks(graph: graphs.Adapted) -> graphs.Stacks:
    """Adapters of some rank on every matrix."""
    names = [name for names in graph.places.values() for name in names]
    shapes = {name: graph.model.get_submodule(name).weight.shape for name in names}
    return graphs.stack(graph, {n: (torch.randn(s[1], 5), torch.randn(5, s[0])) for n, s in shapes.items()})


def write_graph(
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
    turned = turned_beforehand(proto.graph)
    for tensor in proto.graph.initializer:
        numbers = numpy_helper.to_array(tensor)
        known = (stored or {}).get(tensor.name.removeprefix("model."))
        if tensor.name in turned:
            numbers, known = numbers.T, known and known._replace(numbers=known.numbers.T)
        if numbers.dtype == "float32" and numbers.size > SMALL:
            part = pack.add(numbers, known)
            outside = onnx.TensorProto(
                name=tensor.name,
                dims=numbers.shape,
                data_type=tensor.data_type,
                data_location=onnx.TensorProto.EXTERNAL,
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


def turned_beforehand(graph: Any) -> set[str]:
    """Take out of a graph the turning of its own large matrices, which a browser would do at each start.

    The names of those that must be stored turned instead.
    """
    large = {each.name for each in graph.initializer if len(each.dims) == 2 and min(each.dims) > 1}
    turns = {
        node.output[0]: node.input[0] for node in graph.node if node.op_type == "Transpose" and node.input[0] in large
    }
    used = [name for node in graph.node for name in node.input]
    often = list(turns.values())  # a matrix that is used as it is, too, stays as it is
    turns = {output: name for output, name in turns.items() if used.count(name) == often.count(name)}
    kept = [node for node in graph.node if not (node.output and node.output[0] in turns)]
    for node in kept:
        node.input[:] = [turns.get(name, name) for name in node.input]
    del graph.node[:]
    graph.node.extend(kept)
    del graph.value_info[:]  # shapes as they were before
    return set(turns.values())


@contextmanager
def _quiet() -> Iterator[None]:
    """Without what the exporter says about itself."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            yield
        finally:
            logger.setLevel(level)
