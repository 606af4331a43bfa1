"""A generator with its convolutions in int8: one graph for every library.

Weights are int8 with one scale for each output channel, what a convolution reads is int8 with one scale: x = q s, with
s = max|x| / 127 and no zero point, since TensorRT takes none. The first and the last convolution stay float32: they are
a twentieth of the work of the shipped networks, and half of the stain's error came through the last. Only what a
convolution reads is rounded, so that all between convolutions is float32 unless a library fuses it with one.

A convolution of joined maps (a skip connection) becomes the sum of one convolution for each, with a scale of its own:
OpenVINO 2026.4 computes quantised joins wrongly (the stain of the demo model was off by a fifth).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import onnx
from onnx import helper, numpy_helper, shape_inference

from livestain.errors import ModelError

_TOP = 127
_LEAST = 1e-3
"""The smallest range: a map that is 0 on every frame of the calibration must still have a scale, also in f16."""


def split_joined(generator: onnx.ModelProto) -> onnx.ModelProto:
    """Return a network whose convolutions of joined maps are sums of convolutions; the same stain, by rounding."""
    graph = generator.graph
    joins = {node.output[0]: node for node in graph.node if node.op_type == "Concat" and _axis(node) == 1}
    ends = {found[k].output[0] for found in [_convolutions(graph)] if found for k in (0, -1)}
    widths = _widths(generator)
    weights = {tensor.name: tensor for tensor in graph.initializer}
    nodes: list[onnx.NodeProto] = []
    for node in graph.node:
        join = joins.get(node.input[0]) if _is_plain(node, weights) and node.output[0] not in ends else None
        if join is None or len(join.input) == 1 or not all(widths.get(name) for name in join.input):
            nodes.append(node)
            continue
        kernels = _cut(weights[node.input[1]], [widths[name] for name in join.input], node.output[0])
        weights |= {kernel.name: kernel for kernel in kernels}
        nodes += _sum_of_parts(node, join.input, kernels)
    read = {name for node in nodes for name in node.input} | {value.name for value in graph.output}
    return _with_nodes(generator, [node for node in nodes if read.intersection(node.output)], weights.values())


def inner_convolutions(network: onnx.ModelProto) -> list[onnx.NodeProto]:
    """Return the convolutions between the first and the last one whose weights are stored: what int8 is for.

    Raises
    ------
    ModelError
        There is none.
    """
    weights = {tensor.name: tensor for tensor in network.graph.initializer}
    inner = _convolutions(network.graph)[1:-1]
    found = [node for node in inner if node.input[1] in weights]
    if not found:
        raise ModelError("the generator has no convolution between its first and its last: int8 would change nothing")
    return found


def _convolutions(graph: onnx.GraphProto) -> list[onnx.NodeProto]:
    return [node for node in graph.node if node.op_type == "Conv"]


def _axis(join: onnx.NodeProto) -> int:
    return int(next(attribute.i for attribute in join.attribute if attribute.name == "axis"))


def to_int8(network: onnx.ModelProto, largest: Mapping[str, float]) -> onnx.ModelProto:
    """Return a network with its inner convolutions in int8, float32 at its ends.

    Parameters
    ----------
    network
        From `split_joined`; not changed.
    largest
        The largest absolute value of each tensor that an inner convolution reads.

    Raises
    ------
    ModelError
        There is no inner convolution.
    """
    weights = {tensor.name: tensor for tensor in network.graph.initializer}
    inner = {node.output[0] for node in inner_convolutions(network)}
    body = _Body(dict(weights))
    for node in network.graph.node:
        if node.output[0] in inner:
            body.add_quantised(node, largest[node.input[0]])
        else:
            body.nodes.append(node)
    model = _with_nodes(network, body.nodes, body.weights.values())
    onnx.checker.check_model(model, full_check=True)
    return model


@dataclass
class _Body:
    """Nodes and weights under construction."""

    weights: dict[str, onnx.TensorProto]
    nodes: list[onnx.NodeProto] = field(default_factory=list)
    rounded: dict[str, str] = field(default_factory=dict)
    """Tensors that were rounded to int8 and back, by the name of the tensor before."""

    def add_quantised(self, node: onnx.NodeProto, largest: float) -> None:
        source, kernel = node.input[:2]
        if source not in self.rounded:
            self.rounded[source] = self._round(source, largest)
        if kernel not in self.rounded:
            self.rounded[kernel] = self._store_kernel(kernel)
        quantised = onnx.NodeProto()
        quantised.CopyFrom(node)
        quantised.input[:] = [self.rounded[source], self.rounded[kernel], *node.input[2:]]
        self.nodes.append(quantised)

    def _round(self, source: str, largest: float) -> str:
        scale = self._constant(f"{source} scale", np.float32(max(largest, _LEAST) / _TOP))
        zero = self._constant(f"{source} zero", np.int8(0))
        small, wide = f"{source} int8", f"{source} rounded"
        self.nodes.append(helper.make_node("QuantizeLinear", [source, scale, zero], [small], name=small))
        self.nodes.append(helper.make_node("DequantizeLinear", [small, scale, zero], [wide], name=wide))
        return wide

    def _store_kernel(self, kernel: str) -> str:
        values = numpy_helper.to_array(self.weights[kernel])
        ranges = np.abs(values).max(axis=(1, 2, 3))
        scales = (np.maximum(ranges, _LEAST) / _TOP).astype(np.float32)
        whole = np.clip(np.rint(values / scales[:, None, None, None]), -_TOP, _TOP).astype(np.int8)
        names = [
            self._constant(f"{kernel} int8", whole),
            self._constant(f"{kernel} scale", scales),
            self._constant(f"{kernel} zero", np.zeros(len(scales), np.int8)),
        ]
        wide = f"{kernel} rounded"
        self.nodes.append(helper.make_node("DequantizeLinear", names, [wide], name=wide, axis=0))
        return wide

    def _constant(self, name: str, value: npt.ArrayLike) -> str:
        self.weights[name] = numpy_helper.from_array(np.asarray(value), name)
        return name


def _is_plain(node: onnx.NodeProto, weights: Mapping[str, onnx.TensorProto]) -> bool:
    """Say whether this is a convolution over all its input channels at once, with stored weights."""
    groups = next((attribute.i for attribute in node.attribute if attribute.name == "group"), 1)
    return node.op_type == "Conv" and node.input[1] in weights and groups == 1


def _widths(generator: onnx.ModelProto) -> dict[str, int]:
    """Channels of each tensor, as far as they are known."""
    graph = shape_inference.infer_shapes(generator).graph
    shapes = {value.name: value.type.tensor_type.shape.dim for value in [*graph.input, *graph.value_info]}
    return {name: int(dims[1].dim_value) for name, dims in shapes.items() if len(dims) == 4}


def _cut(kernel: onnx.TensorProto, widths: Sequence[int], user: str) -> list[onnx.TensorProto]:
    pieces = np.split(numpy_helper.to_array(kernel), np.cumsum(widths)[:-1], axis=1)
    return [
        numpy_helper.from_array(np.ascontiguousarray(piece), f"{kernel.name} of {user} {i}")
        for i, piece in enumerate(pieces)
    ]


def _sum_of_parts(
    node: onnx.NodeProto, sources: Sequence[str], kernels: Sequence[onnx.TensorProto]
) -> list[onnx.NodeProto]:
    nodes = []
    total = ""
    for i, (source, kernel) in enumerate(zip(sources, kernels, strict=True)):
        part = onnx.NodeProto()
        part.CopyFrom(node)
        part.input[:] = [source, kernel.name, *(node.input[2:] if i == 0 else ())]
        part.name = part.output[0] = f"{node.output[0]} {i}"
        nodes.append(part)
        if total:
            name = node.output[0] if i == len(sources) - 1 else f"{node.output[0]} up to {i}"
            nodes.append(helper.make_node("Add", [total, part.output[0]], [name], name=name))
            total = name
        else:
            total = part.output[0]
    return nodes


def _with_nodes(
    model: onnx.ModelProto, nodes: Sequence[onnx.NodeProto], weights: Iterable[onnx.TensorProto]
) -> onnx.ModelProto:
    used = {name for node in nodes for name in node.input}
    kept = [tensor for tensor in weights if tensor.name in used]
    stored = {tensor.name for tensor in model.graph.initializer}
    inputs = [value for value in model.graph.input if value.name not in stored]
    graph = helper.make_graph(nodes, model.graph.name or "generator", inputs, model.graph.output, kept)
    return helper.make_model(
        graph, opset_imports=model.opset_import, ir_version=model.ir_version, producer_name="livestain"
    )
