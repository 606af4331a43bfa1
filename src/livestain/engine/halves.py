"""A generator with a body in 16 bits: for libraries that compute in whatever the graph says."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Literal

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, defs, helper, numpy_helper, shape_inference

from livestain.errors import ModelError

Half = Literal["f16", "bf16"]

_KINDS = {"f16": TensorProto.FLOAT16, "bf16": TensorProto.BFLOAT16}
_TYPE_NAMES = {"f16": "tensor(float16)", "bf16": "tensor(bfloat16)"}
_MIN_OPSET = {"f16": 0, "bf16": 22}
"""ONNX has convolutions in bfloat16 since opset 22."""

_FULL: dict[Half, tuple[str, ...]] = {"f16": (), "bf16": ("ConvTranspose",)}
"""Operators left in float32: TensorRT for RTX 1.7.1 has no transposed convolution in bfloat16 ("Could not infer output
types for operation: deconv")."""

_MIN_IR = 10
"""The file format that opset 22 came with."""


def to_half(generator: onnx.ModelProto, precision: Half) -> onnx.ModelProto:
    """Return a float32 network with its body in 16 bits: input and output stay float32, a Cast at each end.

    Which inputs of an operator may be 16 bits, its own definition says; where one may not (the scales of a Resize), it
    stays float32, with a Cast before or behind where it is computed.

    Parameters
    ----------
    generator
        float32 network, its nodes in the order of computation; not changed.
    precision
        ``"f16"``, or ``"bf16"``: the graph is brought to opset 22 then.

    Returns
    -------
    A network that passes ONNX's full check; nodes in the order of computation.

    Raises
    ------
    ModelError
        An operator is not ONNX's own or holds graphs of its own; a weight is too large for 16 bits.
    """
    _require_known(generator, precision)
    model = _raise_opset(generator, precision)
    body = _Body(model, precision)
    for node in model.graph.node:
        body.add(node)
    graph = body.finish()
    half = helper.make_model(
        graph,
        opset_imports=model.opset_import,
        ir_version=max(model.ir_version, _MIN_IR),
        producer_name="livestain",
    )
    onnx.checker.check_model(half, full_check=True)
    return half


class _Body:
    """The graph under construction: each float tensor is in float32, in 16 bits or, where both are asked for, in both.

    A tensor is named as in the float32 graph; its other form has a name of its own.
    """

    def __init__(self, model: onnx.ModelProto, precision: Half) -> None:
        self._graph = model.graph
        self._precision: Half = precision
        self._opset = _opset(model)
        self._floats = _float_tensors(model)
        self._weights = {tensor.name: tensor for tensor in model.graph.initializer}
        self._weights |= {node.output[0]: _constant(node) for node in model.graph.node if _is_float_constant(node)}
        self._halves: dict[str, str] = {}
        self._fulls = {value.name: value.name for value in model.graph.input}
        self._results = {value.name for value in model.graph.output}
        self.nodes: list[onnx.NodeProto] = []
        self.constants: dict[str, onnx.TensorProto] = {}

    def add(self, node: onnx.NodeProto) -> None:
        """Add a node, in 16 bits as far as its operator can."""
        if _is_float_constant(node):
            return
        schema = defs.get_schema(node.op_type, self._opset, "")
        able = {one.type_param_str for one in schema.type_constraints if self._can(node, one.allowed_type_strs)}
        kinds = [parameter.type_str for parameter in _parameters(schema.inputs, len(node.input))]
        added = onnx.NodeProto()
        added.CopyFrom(node)
        added.input[:] = [self._as(name, kind in able) for name, kind in zip(node.input, kinds, strict=True)]
        # What is made of nothing, or by an attribute (Cast), stays as it was: no input says that it is 16 bits.
        bound = able.intersection(kind for name, kind in zip(node.input, kinds, strict=True) if name)
        results = _parameters(schema.outputs, len(node.output))
        added.output[:] = [
            self._make(name, one.type_str in bound) for name, one in zip(node.output, results, strict=True)
        ]
        self.nodes.append(added)

    def finish(self) -> onnx.GraphProto:
        """Return the graph, its results in float32."""
        for value in self._graph.output:
            self._as(value.name, half=False)
        inputs = [value for value in self._graph.input if value.name not in self._weights]
        return helper.make_graph(
            self.nodes, self._graph.name or "generator", inputs, self._graph.output, list(self.constants.values())
        )

    def _can(self, node: onnx.NodeProto, allowed: Sequence[str]) -> bool:
        both = "tensor(float)" in allowed and _TYPE_NAMES[self._precision] in allowed
        return both and node.op_type not in _FULL[self._precision]

    def _make(self, name: str, half: bool) -> str:
        """Return what a node shall call its output."""
        if not (half and name in self._floats):
            self._fulls[name] = name
            return name
        self._halves[name] = self._other(name) if name in self._results else name
        return self._halves[name]

    def _as(self, name: str, half: bool) -> str:
        """Return the name of a tensor in the form that is wanted; makes it where there is none yet."""
        if not name:
            return name
        half = half and name in self._floats
        found = self._halves if half else self._fulls
        if name not in found:
            found[name] = self._weight(name, half) if name in self._weights else self._cast(name, half)
        return found[name]

    def _weight(self, name: str, half: bool) -> str:
        stored = self._weights[name]
        made = self._other(name) if half else name
        self.constants[made] = _half_tensor(stored, made, self._precision) if half else stored
        return made

    def _cast(self, name: str, half: bool) -> str:
        source, kind = (self._fulls, _KINDS[self._precision]) if half else (self._halves, TensorProto.FLOAT)
        target = self._other(name) if half else name if name in self._results else f"{name} f32"
        self.nodes.append(helper.make_node("Cast", [source[name]], [target], name=f"cast {target}", to=kind))
        return target

    def _other(self, name: str) -> str:
        return f"{name} {self._precision}"


def _require_known(generator: onnx.ModelProto, precision: Half) -> None:
    opset = _opset(generator)
    for node in generator.graph.node:
        inner = any(attribute.HasField("g") or attribute.graphs for attribute in node.attribute)
        known = node.domain in ("", "ai.onnx") and defs.has(node.op_type, opset, "")
        if inner or not known:
            reason = "holds a graph of its own" if inner else f"is none of ONNX's own in opset {opset}"
            raise ModelError(
                f"operator {node.op_type} (node {node.name or node.output[0]!r}) cannot be written in {precision}: it "
                f"{reason}; use fp32 for this model, or export it without that operator"
            )


def _raise_opset(generator: onnx.ModelProto, precision: Half) -> onnx.ModelProto:
    if _opset(generator) >= _MIN_OPSET[precision]:
        return generator
    try:
        return onnx.version_converter.convert_version(generator, _MIN_OPSET[precision])
    except RuntimeError as error:
        raise ModelError(
            f"the generator cannot be brought from ONNX opset {_opset(generator)} to {_MIN_OPSET[precision]}, which "
            f"{precision} needs ({' '.join(str(error).split())[:200]}); export it at that opset, or use fp16"
        ) from error


def _opset(model: onnx.ModelProto) -> int:
    return next((entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx")), 0)


def _float_tensors(model: onnx.ModelProto) -> set[str]:
    try:
        graph = shape_inference.infer_shapes(model, strict_mode=True).graph
    except shape_inference.InferenceError as error:
        raise ModelError(
            f"the generator is no sound graph ({' '.join(str(error).split())[:300]}); export it again"
        ) from error
    values = [*graph.input, *graph.value_info, *graph.output]
    found = {value.name for value in values if value.type.tensor_type.elem_type == TensorProto.FLOAT}
    return found | {tensor.name for tensor in graph.initializer if tensor.data_type == TensorProto.FLOAT}


def _parameters(
    parameters: Sequence[defs.OpSchema.FormalParameter], count: int
) -> Iterator[defs.OpSchema.FormalParameter]:
    """The formal parameter of each of ``count`` tensors; the last one may stand for several."""
    return (parameters[min(i, len(parameters) - 1)] for i in range(count))


def _is_float_constant(node: onnx.NodeProto) -> bool:
    return node.op_type == "Constant" and any(
        attribute.name in ("value_float", "value_floats") or attribute.t.data_type == TensorProto.FLOAT
        for attribute in node.attribute
    )


def _constant(node: onnx.NodeProto) -> onnx.TensorProto:
    """Return what a Constant node of floats holds, under the name of its output."""
    attribute = node.attribute[0]
    stored = attribute.name == "value"
    values = numpy_helper.to_array(attribute.t) if stored else np.float32(helper.get_attribute_value(attribute))
    return numpy_helper.from_array(np.asarray(values), node.output[0])


def _half_tensor(tensor: onnx.TensorProto, name: str, precision: Half) -> onnx.TensorProto:
    """Return weights rounded to 16 bits, to the nearest, ties to even."""
    values = numpy_helper.to_array(tensor)
    bits = _half_bits(values, precision)
    largest = float(np.abs(values).max(initial=0.0))
    infinite = {"f16": np.uint16(0x7C00), "bf16": np.uint16(0x7F80)}[precision]
    if np.any(((bits & 0x7FFF) == infinite) & np.isfinite(values)):
        raise ModelError(
            f"the weights {tensor.name!r} reach {largest:g}, which {precision} cannot hold (f16: up to 65504); use "
            f"{'bf16 or ' if precision == 'f16' else ''}fp32 for this model"
        )
    return helper.make_tensor(name, _KINDS[precision], values.shape, bits.astype("<u2").tobytes(), raw=True)


def _half_bits(values: npt.NDArray[np.float32], precision: Half) -> npt.NDArray[np.uint16]:
    if precision == "f16":
        with np.errstate(over="ignore"):
            return values.astype(np.float16).view(np.uint16)
    bits = np.ascontiguousarray(values).view(np.uint32).astype(np.uint64)
    rounded = (bits + 0x7FFF + ((bits >> 16) & 1)) >> 16
    return np.where(np.isnan(values), 0x7FC0, rounded).astype(np.uint16)
