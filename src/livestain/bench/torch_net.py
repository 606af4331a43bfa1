"""A generator's ONNX graph as a torch module: what torch itself needs for the very same network."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import onnx
import torch
from onnx import helper, numpy_helper
from torch import Tensor, nn
from torch.nn import functional

from livestain.errors import ModelError

Values = dict[str, Any]
"""Tensors by name; "" stands for an input that is left out."""

Attributes = Mapping[str, Any]


class OnnxNet(nn.Module):  # type: ignore[misc]  # torch is not looked into
    """Computes what a generator's graph computes, operator by operator: (N, 1, Y, X) -> (N, S, Y, X) float32.

    Raises
    ------
    ModelError
        An operator, or a form of it, is not known here; the message names it.
    """

    def __init__(self, model: onnx.ModelProto) -> None:
        super().__init__()
        graph = model.graph
        known = {tensor.name: torch.from_numpy(numpy_helper.to_array(tensor).copy()) for tensor in graph.initializer}
        self._input = next(value.name for value in graph.input if value.name not in known)
        self._output = graph.output[0].name
        self._kept: dict[str, str] = {}
        self._steps: list[tuple[Callable[[list[Any]], Any], list[str], str]] = []
        for node in graph.node:
            attributes = {each.name: helper.get_attribute_value(each) for each in node.attribute}
            if node.op_type == "Constant":
                known[node.output[0]] = torch.from_numpy(numpy_helper.to_array(attributes["value"]).copy())
                continue
            inputs = list(node.input)
            constants = [known.get(name) for name in inputs]
            self._steps.append((_step(node, attributes, constants), inputs, node.output[0]))
        # Buffers, so that .to() moves them; their ONNX names hold dots, which torch does not allow.
        used = {name for _, inputs, _ in self._steps for name in inputs}
        for number, (name, tensor) in enumerate(known.items()):
            if name in used:
                self._kept[name] = f"constant_{number}"
                self.register_buffer(self._kept[name], tensor)

    def forward(self, contrast: Tensor) -> Tensor:
        """Return the stains."""
        values: Values = {"": None, self._input: contrast}
        values |= {name: getattr(self, kept) for name, kept in self._kept.items()}
        for step, inputs, output in self._steps:
            values[output] = step([values[name] for name in inputs])
        stains: Tensor = values[self._output]
        return stains


def _step(node: onnx.NodeProto, attributes: Attributes, constants: list[Tensor | None]) -> Callable[[list[Any]], Any]:
    """Return what one operator does with its inputs."""
    make = _MAKERS.get(node.op_type)
    if make is None:
        raise ModelError(f"operator {node.op_type} has no torch form here: there are {', '.join(sorted(_MAKERS))}")
    step = make(attributes, constants)
    if step is None:
        raise ModelError(f"operator {node.op_type} with {dict(attributes)} has no torch form here")
    return step


def _conv(attributes: Attributes, constants: list[Tensor | None]) -> Callable[[list[Any]], Any] | None:
    before, after = _pads(attributes)
    if before != after or attributes.get("auto_pad", b"NOTSET") != b"NOTSET":
        return None
    stride, dilation = tuple(attributes.get("strides", (1, 1))), tuple(attributes.get("dilations", (1, 1)))
    group = attributes.get("group", 1)

    def step(values: list[Any]) -> Any:
        bias = values[2] if len(values) > 2 else None
        return functional.conv2d(values[0], values[1], bias, stride, before, dilation, group)

    return step


def _conv_transpose(attributes: Attributes, constants: list[Tensor | None]) -> Callable[[list[Any]], Any] | None:
    before, after = _pads(attributes)
    if before != after or attributes.get("auto_pad", b"NOTSET") != b"NOTSET" or "output_shape" in attributes:
        return None
    stride, dilation = tuple(attributes.get("strides", (1, 1))), tuple(attributes.get("dilations", (1, 1)))
    wider, group = tuple(attributes.get("output_padding", (0, 0))), attributes.get("group", 1)

    def step(values: list[Any]) -> Any:
        bias = values[2] if len(values) > 2 else None
        return functional.conv_transpose2d(values[0], values[1], bias, stride, before, wider, group, dilation)

    return step


def _pads(attributes: Attributes) -> tuple[tuple[int, ...], tuple[int, ...]]:
    pads = tuple(attributes.get("pads", (0, 0, 0, 0)))
    return pads[:2], pads[2:]


def _resize(attributes: Attributes, constants: list[Tensor | None]) -> Callable[[list[Any]], Any] | None:
    """Nearest, asymmetric, rounded down, as torch has it; halves rounded down are the same for doubling."""
    scales = constants[2].tolist() if len(constants) == 3 and constants[2] is not None else []
    rounding = attributes.get("nearest_mode", b"round_prefer_floor")
    down = rounding == b"floor" or (rounding == b"round_prefer_floor" and set(scales) <= {1, 2})
    asymmetric = attributes.get("coordinate_transformation_mode") == b"asymmetric"
    whole = len(scales) == 4 and scales[:2] == [1, 1] and all(scale == round(scale) for scale in scales)
    if attributes.get("mode", b"nearest") != b"nearest" or not (asymmetric and down and whole):
        return None
    factors = scales[2], scales[3]
    return lambda values: functional.interpolate(values[0], scale_factor=factors, mode="nearest")


def _depth_to_space(attributes: Attributes, constants: list[Tensor | None]) -> Callable[[list[Any]], Any] | None:
    if attributes.get("mode", b"DCR") != b"CRD":
        return None
    return lambda values: functional.pixel_shuffle(values[0], attributes["blocksize"])


def _pad(attributes: Attributes, constants: list[Tensor | None]) -> Callable[[list[Any]], Any] | None:
    pads = constants[1] if len(constants) > 1 else None
    mode = {b"constant": "constant", b"reflect": "reflect", b"edge": "replicate"}.get(
        attributes.get("mode", b"constant")
    )
    if pads is None or len(pads) != 8 or mode is None or len(constants) > 2:
        return None
    top, left, bottom, right = (int(pads[at]) for at in (2, 3, 6, 7))
    return lambda values: functional.pad(values[0], (left, right, top, bottom), mode=mode)


def _clip(attributes: Attributes, constants: list[Tensor | None]) -> Callable[[list[Any]], Any]:
    def step(values: list[Any]) -> Any:
        low, high = ([*values[1:], None, None])[:2]
        return torch.clamp(values[0], low, high)

    return step


def _cast(attributes: Attributes, constants: list[Tensor | None]) -> Callable[[list[Any]], Any]:
    dtype = torch.from_numpy(np.zeros(0, helper.tensor_dtype_to_np_dtype(attributes["to"]))).dtype
    return lambda values: values[0].to(dtype)


_Maker = Callable[[Attributes, list[Tensor | None]], Callable[[list[Any]], Any] | None]


def _plain(function: Callable[..., Any]) -> _Maker:
    """An operator without attributes."""
    return lambda attributes, constants: lambda values: function(*values)


_MAKERS: dict[str, _Maker] = {
    "Add": _plain(torch.add),
    "Cast": _cast,
    "Clip": _clip,
    "Concat": lambda attributes, constants: lambda values: torch.cat(values, attributes["axis"]),
    "Conv": _conv,
    "ConvTranspose": _conv_transpose,
    "DepthToSpace": _depth_to_space,
    "Div": _plain(torch.div),
    "Identity": _plain(lambda value: value),
    "InstanceNormalization": lambda attributes, constants: (
        lambda values: functional.instance_norm(
            values[0], weight=values[1], bias=values[2], eps=attributes.get("epsilon", 1e-5)
        )
    ),
    "LeakyRelu": lambda attributes, constants: (
        lambda values: functional.leaky_relu(values[0], attributes.get("alpha", 0.01))
    ),
    "Mul": _plain(torch.mul),
    "Pad": _pad,
    "Relu": _plain(functional.relu),
    "Resize": _resize,
    "Sigmoid": _plain(torch.sigmoid),
    "Sub": _plain(torch.sub),
    "Tanh": _plain(torch.tanh),
}
