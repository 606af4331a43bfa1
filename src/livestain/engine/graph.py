"""The runtime graph: camera counts in, quantised stains out, with the generator in the middle.

::

    frame --> float --> x upsampled shade (after - black) --> - offset --> clip -1..1 --> reflect pad --> GENERATOR
    stains <-- cast <-- round <-- x 65535 <-- clip 0..1 <-- crop <-------------------------------------------'
                                                              '--> mean --> check

Everything but the generator is float32 whatever the precision of the engine. ``check`` is the mean of what the
generator returned: it is not finite as soon as one value is not, which the cast to integers would hide.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper

from livestain.contrast import SHADE_PX
from livestain.errors import ModelError
from livestain.frames import MIN_SIDE_PX

Wire = Literal["uint16", "bytes"]
Bit = Literal["uint8", "uint16"]

FULL_SCALE = 65535
"""The count that means 1.0 of the model's output range."""

SEAM = "padded contrast"
"""The tensor that enters the generator, float32 (1, 1, Y, X); everything before it must be computed in float32."""

WIDE_SHADE = "wide shade"
"""The tensor that the shade is after it was upsampled, float32 (1, 1, Y, X); see `_add_contrast` for how."""

_MIN_OPSET = 18
_INNER = "generator/"


def compose(generator: onnx.ModelProto, stride: int, wire: Wire = "uint16", bit: Bit = "uint16") -> onnx.ModelProto:
    """Return the runtime graph around a generator.

    Parameters
    ----------
    generator
        float32 (N, 1, Y, X) contrast -> float32 (N, S, Y, X) in [0, 1]; Y and X multiples of ``stride``.
    stride
        Frames are padded to multiples of this, right and bottom, by reflection.
    wire
        How 16-bit counts travel: ``"uint16"``, or ``"bytes"`` (little-endian pairs) for libraries without uint16.
    bit
        What the camera delivers.

    Returns
    -------
    Inputs ``frame`` (uint16 (1, 1, H, W); ``bytes``: uint8 (1, H, W, 2); 8-bit cameras: uint8 (1, 1, H, W) on either
    wire), ``shade`` float32 (1, 1, ceil(H / 8), ceil(W / 8)), ``black`` and ``offset`` float32 (1, 1, 1, 1).
    Outputs ``stains`` (uint16 (1, S, H, W); ``bytes``: uint8 (1, S, H, W, 2)) and ``check`` float32 ().

    Raises
    ------
    ModelError
        The generator's opset is too old, or its stride leaves nothing to reflect in the smallest frame.
    """
    opset = next((entry.version for entry in generator.opset_import if entry.domain in ("", "ai.onnx")), 0)
    if opset < _MIN_OPSET:
        raise ModelError(f"the generator uses ONNX opset {opset}; {_MIN_OPSET} or later is needed: export it again")
    if stride > MIN_SIDE_PX:
        raise ModelError(f"the generator's stride is {stride} px; at most {MIN_SIDE_PX} is allowed")
    inner = onnx.compose.add_prefix(generator, _INNER)
    nodes = _Nodes()
    sides = _add_sides(nodes, wire, bit)
    contrast = _add_contrast(nodes, sides, wire, bit)
    weights = {tensor.name for tensor in inner.graph.initializer}
    entry = next(value.name for value in inner.graph.input if value.name not in weights)
    _add_padding(nodes, contrast, sides, stride)
    nodes.add("Identity", [SEAM], entry)
    before = len(nodes.nodes)
    _add_stains(nodes, inner.graph.output[0].name, sides, wire)
    graph = helper.make_graph(
        [*nodes.nodes[:before], *inner.graph.node, *nodes.nodes[before:]],
        "livestain",
        _inputs(wire, bit),
        _outputs(wire, _channels(inner)),
        [*nodes.constants, *inner.graph.initializer],
    )
    composed = helper.make_model(
        graph,
        opset_imports=inner.opset_import,
        ir_version=inner.ir_version,
        functions=inner.functions,
        producer_name="livestain",
    )
    onnx.checker.check_model(composed)
    return composed


class _Nodes:
    """Nodes and constants of a graph under construction; every tensor is named by the step that makes it."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []

    def add(self, op: str, inputs: Sequence[str], output: str | Sequence[str], **attributes: Any) -> str:
        names = [output] if isinstance(output, str) else list(output)
        self.nodes.append(helper.make_node(op, inputs, names, name=names[0], **attributes))
        return names[0]

    def constant(self, name: str, value: npt.ArrayLike, dtype: type[np.generic]) -> str:
        self.constants.append(numpy_helper.from_array(np.asarray(value, dtype), name))
        return name


def _pairs(wire: Wire, bit: Bit) -> bool:
    return wire == "bytes" and bit == "uint16"


def _add_sides(nodes: _Nodes, wire: Wire, bit: Bit) -> str:
    """Height and width of the frame, int64 (2,)."""
    first = 1 if _pairs(wire, bit) else 2
    return nodes.add("Shape", ["frame"], "sides", start=first, end=first + 2)


def _add_contrast(nodes: _Nodes, sides: str, wire: Wire, bit: Bit) -> str:
    """Clip((frame - black) x upsampled shade - offset, -1, 1), float32 (1, 1, H, W)."""
    counts = nodes.add("Cast", ["frame"], "counts", to=TensorProto.FLOAT)
    if _pairs(wire, bit):
        # Bytes become floats before they are parted: TensorRT for RTX takes uint8 only at the rim of a graph.
        nodes.add("Split", [counts], ["low", "high"], axis=3, num_outputs=2)
        high = nodes.add("Mul", ["high", nodes.constant("byte", 256, np.float32)], "high counts")
        both = nodes.add("Add", ["low", high], "pixel counts")
        counts = nodes.add("Transpose", [both], "plane counts", perm=[0, 3, 1, 2])
    scales = nodes.constant("shade px", [1, 1, SHADE_PX, SHADE_PX], np.float32)
    wide = nodes.add(
        "Resize", ["shade", "", scales], WIDE_SHADE, mode="linear", coordinate_transformation_mode="half_pixel"
    )
    shade = _add_crop(nodes, wide, sides, "full shade")
    lit = nodes.add("Mul", [nodes.add("Sub", [counts, "black"], "light"), shade], "relative light")
    limits = [nodes.constant("lowest", -1, np.float32), nodes.constant("highest", 1, np.float32)]
    return nodes.add("Clip", [nodes.add("Sub", [lit, "offset"], "raw contrast"), *limits], "contrast")


def _add_crop(nodes: _Nodes, source: str, sides: str, output: str) -> str:
    start, axes = (
        nodes.constant(f"{output} start", [0, 0], np.int64),
        nodes.constant(f"{output} axes", [2, 3], np.int64),
    )
    return nodes.add("Slice", [source, start, sides, axes], output)


def _add_padding(nodes: _Nodes, contrast: str, sides: str, stride: int) -> None:
    """Reflect right and bottom up to multiples of ``stride``.

    ``ceil(h / m) m - h`` and not ``-h mod m``: the latter does not build for dynamic shapes in TensorRT for RTX.
    """
    step = nodes.constant("stride", stride, np.int64)
    rounded = nodes.add("Add", [sides, nodes.constant("stride - 1", stride - 1, np.int64)], "sides rounded up")
    wide = nodes.add("Mul", [nodes.add("Div", [rounded, step], "strides"), step], "padded sides")
    after = nodes.add("Sub", [wide, sides], "padding")
    pads = nodes.add("Concat", [nodes.constant("no padding", [0] * 6, np.int64), after], "pads", axis=0)
    nodes.add("Pad", [contrast, pads], SEAM, mode="reflect")


def _add_stains(nodes: _Nodes, source: str, sides: str, wire: Wire) -> None:
    """Crop, check and quantise; the cast is the very last node."""
    crop = _add_crop(nodes, source, sides, "prediction")
    nodes.add("ReduceMean", [crop], "check", keepdims=0)
    limits = [nodes.constant("none", 0, np.float32), nodes.constant("all", 1, np.float32)]
    share = nodes.add("Clip", [crop, *limits], "share")
    scaled = nodes.add("Mul", [share, nodes.constant("full scale", FULL_SCALE, np.float32)], "scaled")
    counts = nodes.add("Round", [scaled], "stain counts")
    if wire == "uint16":
        nodes.add("Cast", [counts], "stains", to=TensorProto.UINT16)
        return
    byte = nodes.constant("stain byte", 256, np.float32)
    high = nodes.add("Floor", [nodes.add("Div", [counts, byte], "stain bytes")], "stain high")
    low = nodes.add("Sub", [counts, nodes.add("Mul", [high, byte], "stain high counts")], "stain low")
    last = nodes.constant("last", [4], np.int64)
    parts = [nodes.add("Unsqueeze", [part, last], f"{part} part") for part in (low, high)]
    nodes.add("Cast", [nodes.add("Concat", parts, "stain pairs", axis=4)], "stains", to=TensorProto.UINT8)


def _inputs(wire: Wire, bit: Bit) -> list[onnx.ValueInfoProto]:
    if _pairs(wire, bit):
        frame = helper.make_tensor_value_info("frame", TensorProto.UINT8, [1, "h", "w", 2])
    else:
        kind = TensorProto.UINT8 if bit == "uint8" else TensorProto.UINT16
        frame = helper.make_tensor_value_info("frame", kind, [1, 1, "h", "w"])
    return [
        frame,
        helper.make_tensor_value_info("shade", TensorProto.FLOAT, [1, 1, "h/8", "w/8"]),
        helper.make_tensor_value_info("black", TensorProto.FLOAT, [1, 1, 1, 1]),
        helper.make_tensor_value_info("offset", TensorProto.FLOAT, [1, 1, 1, 1]),
    ]


def _outputs(wire: Wire, stains: int | str) -> list[onnx.ValueInfoProto]:
    if wire == "bytes":
        result = helper.make_tensor_value_info("stains", TensorProto.UINT8, [1, stains, "h", "w", 2])
    else:
        result = helper.make_tensor_value_info("stains", TensorProto.UINT16, [1, stains, "h", "w"])
    return [result, helper.make_tensor_value_info("check", TensorProto.FLOAT, [])]


def _channels(generator: onnx.ModelProto) -> int | str:
    dim = generator.graph.output[0].type.tensor_type.shape.dim[1]
    return int(dim.dim_value) or "s"
