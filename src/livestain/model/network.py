"""The generator of a model as an ONNX graph: self-contained, one plane in, its stains out."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import onnx
from google.protobuf.message import DecodeError
from onnx.external_data_helper import uses_external_data

from livestain.errors import ModelError


def parse_generator(data: bytes, path: Path, stains: int) -> onnx.ModelProto:
    """Return the ONNX graph in ``data``: float32 (N, 1, Y, X) contrast -> float32 (N, ``stains``, Y, X).

    Parameters
    ----------
    data
        Content of the ``.onnx`` file.
    path
        Where it came from, for messages.
    stains
        Number of output channels that the description declares.

    Raises
    ------
    ModelError
        It is no ONNX file, keeps weights in other files, or has other inputs or outputs.
    """
    try:
        network = onnx.load_model_from_string(data)
    except DecodeError as error:
        raise ModelError(f"{path} is no ONNX file: {error}") from error
    _require_self_contained(network.graph, path)
    weights = {tensor.name for tensor in network.graph.initializer}
    inputs = [value for value in network.graph.input if value.name not in weights]
    del network.graph.input[:]  # some exporters list the weights there, too
    network.graph.input.extend(inputs)
    _require_plane(inputs, 1, f"{path}: input")
    _require_plane(list(network.graph.output), stains, f"{path}: output")
    return network


def _require_self_contained(graph: onnx.GraphProto, path: Path) -> None:
    for tensor in _tensors(graph):
        if uses_external_data(tensor):
            place = next((entry.value for entry in tensor.external_data if entry.key == "location"), "?")
            raise ModelError(
                f"{path} keeps the weights {tensor.name!r} in another file ({place}), which no hash protects; "
                "export it again as one file (save_as_external_data=False)"
            )


def _tensors(graph: onnx.GraphProto) -> Iterator[onnx.TensorProto]:
    """Every stored tensor of a graph, of its nodes' attributes and of the graphs inside them."""
    yield from graph.initializer
    for node in graph.node:
        for attribute in node.attribute:
            yield from [attribute.t] if attribute.HasField("t") else attribute.tensors
            for inner in [attribute.g] if attribute.HasField("g") else attribute.graphs:
                yield from _tensors(inner)


def _require_plane(values: list[onnx.ValueInfoProto], channels: int, what: str) -> None:
    wanted = f"one float32 (N, {channels}, Y, X) tensor is needed"
    if len(values) != 1:
        raise ModelError(f"{what}s are {[value.name for value in values]}; {wanted}")
    kind = values[0].type.tensor_type
    if kind.elem_type != onnx.TensorProto.FLOAT:
        raise ModelError(f"{what} {values[0].name!r} has element type {kind.elem_type} of ONNX; {wanted}")
    shape = [dim.dim_value or dim.dim_param for dim in kind.shape.dim]
    # A size which the file leaves open (0 or a name) is settled by the run; a stated one must fit.
    if len(shape) != 4 or (isinstance(shape[1], int) and shape[1] not in (0, channels)):
        raise ModelError(f"{what} {values[0].name!r} has shape {shape}; {wanted}")
    if any(isinstance(size, int) and size > 0 for size in shape[2:]):
        raise ModelError(f"{what} {values[0].name!r} has the fixed shape {shape}; export it with dynamic Y and X")
