"""What one frame costs in a graph, before it is compiled: arithmetic, bytes moved, memory for what lies between."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import onnx
from onnx import helper, inliner, numpy_helper, shape_inference
from onnx.reference import ReferenceEvaluator

from livestain.contrast import shade_shape

_FOLDED = 64
"""Integer tensors up to this many elements are sizes, pads and indices, and are computed; larger ones are data."""

_Types = dict[str, tuple[int, tuple[int | None, ...]]]
"""Bytes per element and shape of the tensors with a known number of axes; None: an unknown size."""


@dataclass(frozen=True, slots=True)
class FrameCost:
    """The expected cost of one frame; an upper bound for memory, since libraries fuse steps.

    Attributes
    ----------
    flops
        Floating-point operations of convolutions and matrix products, 2 for each multiplication with its addition.
    wire_bytes
        Inputs and outputs of the graph: what travels to the device and back.
    memory_bytes
        What the device reads and writes when each step reads its inputs and weights and writes its outputs.
    activation_bytes
        The most that is kept at any step, inputs and outputs of the graph included, weights not.
    """

    flops: int
    wire_bytes: int
    memory_bytes: int
    activation_bytes: int


def frame_cost(graph: onnx.ModelProto, shape: tuple[int, int]) -> FrameCost | None:
    """Return what one (Y, X) px frame costs in a runtime graph of `livestain.engine.graph.compose`.

    None when a size inside the graph depends on pixels, so that nobody can tell.
    """
    sizes = _sizes(_fixed(graph, shape))
    return None if sizes is None else sizes.cost()


@dataclass(frozen=True, slots=True)
class _Sizes:
    """A graph whose tensors all have known shapes and bytes."""

    graph: onnx.GraphProto
    shapes: dict[str, tuple[int, ...]]
    bytes_of: dict[str, int]

    def cost(self) -> FrameCost:
        weights = {tensor.name for tensor in self.graph.initializer}
        ends = [value.name for value in (*self.graph.input, *self.graph.output) if value.name not in weights]
        return FrameCost(
            flops=sum(_flops(node, self.shapes) for node in self.graph.node),
            wire_bytes=self._total(ends),
            memory_bytes=sum(self._total([*node.input, *node.output]) for node in self.graph.node),
            activation_bytes=self._peak(weights),
        )

    def _total(self, names: Iterable[str]) -> int:
        return sum(self.bytes_of[name] for name in names if name)

    def _peak(self, weights: set[str]) -> int:
        """Walk through the steps; a tensor is kept from the step that makes it to the last one that reads it."""
        steps = list(self.graph.node)
        last = {name: number for number, node in enumerate(steps) for name in node.input}
        last |= {value.name: len(steps) for value in self.graph.output}
        kept = {value.name for value in self.graph.input} - weights
        peak = self._total(kept)
        for number, node in enumerate(steps):
            kept |= {name for name in node.output if name}
            peak = max(peak, self._total(kept))
            kept = {name for name in kept if last.get(name, -1) > number}
        return peak


def _fixed(graph: onnx.ModelProto, shape: tuple[int, int]) -> onnx.ModelProto:
    """Return a copy for one frame size; functions are written out."""
    fixed = onnx.ModelProto()
    fixed.CopyFrom(inliner.inline_local_functions(graph) if graph.functions else graph)
    grid = shade_shape(shape)
    known = {"h": shape[0], "w": shape[1], "h/8": grid[0], "w/8": grid[1]}
    for value in (*fixed.graph.input, *fixed.graph.output):
        for dim in value.type.tensor_type.shape.dim:
            if dim.dim_param in known:
                dim.dim_value = known[dim.dim_param]
    return fixed


def _sizes(model: onnx.ModelProto) -> _Sizes | None:
    """Infer all shapes; sizes that the graph computes for itself are computed, which shows the next shapes."""
    constants = {t.name: numpy_helper.to_array(t) for t in model.graph.initializer if math.prod(t.dims) <= _FOLDED}
    while True:
        inferred = shape_inference.infer_shapes(model, data_prop=True).graph
        types = _types(inferred)
        found = _fold(inferred.node, types, constants)
        if not found:
            break
        constants |= found
        model.graph.initializer.extend(numpy_helper.from_array(array, name) for name, array in found.items())
        computed = [node for node in model.graph.node if not set(node.output) <= found.keys()]
        del model.graph.node[:]
        model.graph.node.extend(computed)
    used = {name for node in inferred.node for name in (*node.input, *node.output) if name}
    shapes = {name: shape for name in used if (shape := _whole(types, name)) is not None}
    if len(shapes) < len(used):
        return None
    return _Sizes(inferred, shapes, {name: math.prod(shape) * types[name][0] for name, shape in shapes.items()})


def _types(graph: onnx.GraphProto) -> _Types:
    types: _Types = {}
    for value in (*graph.input, *graph.value_info, *graph.output):
        kind = value.type.tensor_type
        if kind.HasField("shape"):
            sizes = tuple(dim.dim_value if dim.HasField("dim_value") else None for dim in kind.shape.dim)
            types[value.name] = (_item_bytes(kind.elem_type), sizes)
    for tensor in graph.initializer:
        types[tensor.name] = (_item_bytes(tensor.data_type), tuple(tensor.dims))
    return types


def _item_bytes(element: int) -> int:
    return int(helper.tensor_dtype_to_np_dtype(element).itemsize)


def _fold(
    nodes: Sequence[onnx.NodeProto],
    types: _Types,
    constants: dict[str, npt.NDArray[np.generic]],
) -> dict[str, npt.NDArray[np.generic]]:
    """Return the values of the tensors that are sizes, or are computed from sizes."""
    found: dict[str, npt.NDArray[np.generic]] = {}
    known = dict(constants)
    for node in nodes:
        needed = [name for name in node.input if name]
        if node.op_type == "Shape" and (shape := _whole(types, node.input[0])) is not None:
            feed: dict[str, npt.NDArray[np.generic]] = {node.input[0]: np.broadcast_to(np.uint8(0), shape)}
        elif needed and all(name in known for name in needed):
            feed = {name: known[name] for name in needed}
        else:
            continue
        values = ReferenceEvaluator(node).run(None, feed)
        if all(value.size <= _FOLDED for value in values):
            found |= dict(zip(node.output, values, strict=True))
            known |= found
    return found


def _whole(types: _Types, name: str) -> tuple[int, ...] | None:
    """Return the shape of a tensor all of whose sizes are known."""
    sizes = types[name][1] if name in types else (None,)
    whole = tuple(size for size in sizes if size is not None)
    return whole if len(whole) == len(sizes) else None


def _flops(node: onnx.NodeProto, shapes: dict[str, tuple[int, ...]]) -> int:
    if node.op_type == "Conv":
        return 2 * math.prod(shapes[node.output[0]]) * math.prod(shapes[node.input[1]][1:])
    if node.op_type == "ConvTranspose":
        return 2 * math.prod(shapes[node.input[0]]) * math.prod(shapes[node.input[1]][1:])
    if node.op_type == "MatMul":
        return 2 * math.prod(shapes[node.output[0]]) * shapes[node.input[0]][-1]
    if node.op_type == "Gemm":
        turned = any(attribute.name == "transA" and attribute.i for attribute in node.attribute)
        return 2 * math.prod(shapes[node.output[0]]) * shapes[node.input[0]][0 if turned else -1]
    return 0
