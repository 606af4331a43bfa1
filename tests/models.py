"""A whole model folder made for tests: a small generator with seeded random weights.

`write_test_model` shows, in the order in which a training script does it, what a model folder holds.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

from livestain.contrast import enlarge, estimate_background
from livestain.model.description import write_description

STRIDE = 16
CONSTANT = 0.3
BLACK = 100.0
COLORS = ("00E676", "FF00FF", "00B0FF", "FFC400")


def write_test_model(
    folder: Path,
    *,
    seed: int = 0,
    stains: Sequence[str] = ("nuclei", "membrane"),
    model_id: str = "livestain/test-model",
    shape: tuple[int, int] = (160, 144),
    generator: onnx.ModelProto | None = None,
    edit: Callable[[dict[str, Any]], None] | None = None,
) -> Path:
    """Write a model folder and return it; ``edit`` may change the description before it is written."""
    folder.mkdir(parents=True, exist_ok=True)
    weights = (generator or small_generator(seed, len(stains))).SerializeToString()
    (folder / "generator.onnx").write_bytes(weights)

    frame = camera_frame(shape, seed)
    background = estimate_background(frame, BLACK)
    shade = background.shade(CONSTANT, background.gain(frame))
    full = enlarge(shade, 8, shape)
    contrast = np.clip((frame.astype(np.float32) - np.float32(BLACK)) * full - np.float32(1 / CONSTANT), -1, 1)
    np.save(folder / "gate_frame.npy", frame)
    np.save(folder / "gate_shade.npy", shade)
    np.save(folder / "test_input.npy", contrast[None, None])
    np.save(folder / "test_output.npy", run_generator(weights, contrast))
    (folder / "README.md").write_text("# A generator with random weights\n\nFor tests only.\n", encoding="utf-8")

    description = describe(folder, model_id, stains)
    if edit is not None:
        edit(description)
    write_description(folder, description)
    return folder


def describe(folder: Path, model_id: str, stains: Sequence[str]) -> dict[str, Any]:
    """The BioImage.IO 0.5 description of the files in ``folder``."""

    def file(name: str) -> dict[str, str]:
        return {"source": name, "sha256": hashlib.sha256((folder / name).read_bytes()).hexdigest()}

    def space(axis: str, size: dict[str, Any]) -> dict[str, Any]:
        return {"type": "space", "id": axis, "unit": "nanometer", "scale": 650.0, "size": size}

    free = {"min": 96, "step": STRIDE}
    gate = [file("gate_frame.npy"), file("gate_shade.npy")]
    return {
        "type": "model",
        "format_version": "0.5.4",
        "name": "test model",
        "description": "Random weights; for tests only.",
        "id": model_id,
        "version": "0.1.0",
        "authors": [{"name": "livestain founders"}],
        "license": "BSD-3-Clause",
        "documentation": file("README.md"),
        "inputs": [
            {
                "id": "contrast",
                "axes": [
                    {"type": "batch", "size": 1},
                    {"type": "channel", "id": "channel", "channel_names": ["contrast"]},
                    space("y", free),
                    space("x", free),
                ],
                "data": {"type": "float32", "range": [-1.0, 1.0]},
                "test_tensor": file("test_input.npy"),
            }
        ],
        "outputs": [
            {
                "id": "stains",
                "axes": [
                    {"type": "batch", "size": 1},
                    {"type": "channel", "id": "channel", "channel_names": list(stains)},
                    space("y", {"tensor_id": "contrast", "axis_id": "y"}),
                    space("x", {"tensor_id": "contrast", "axis_id": "x"}),
                ],
                "data": {"type": "float32", "range": [0.0, 1.0]},
                "test_tensor": file("test_output.npy"),
            }
        ],
        "weights": {"onnx": {**file("generator.onnx"), "opset_version": 20}},
        "config": {
            "livestain": {
                "version": 1,
                "stains": [{"name": name, "color": color} for name, color in zip(stains, COLORS, strict=False)],
                "modality": "bright field",
                "pixel_um": 0.65,
                "pixel_um_tolerated": [0.55, 0.75],
                "contrast": {"constant": CONSTANT, "sd": [0.05, 0.6], "saturated_max": 0.05, "gain": [0.5, 2.0]},
                "stride": STRIDE,
                "halo": 64,
                "caution": "random weights, for tests only",
                "gate": {
                    "frame": "gate_frame.npy",
                    "shade": "gate_shade.npy",
                    "black": BLACK,
                    "sha256": {entry["source"]: entry["sha256"] for entry in gate},
                },
            }
        },
    }


def camera_frame(shape: tuple[int, int], seed: int = 0) -> npt.NDArray[np.uint16]:
    """(Y, X) uint16 counts: cell-like spots on a vignetted field of about 2000 counts."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[: shape[0], : shape[1]].astype(np.float32)
    field = np.ones(shape, np.float32)
    for cy, cx in rng.uniform((0, 0), shape, (max(4, shape[0] * shape[1] // 1500), 2)):
        r = np.hypot(y - cy, x - cx)
        field += 0.25 * np.exp(-((r / 4) ** 2)) - 0.2 * np.exp(-(((r - 9) / 3) ** 2))
    field *= 1 - 0.1 * np.hypot(y / shape[0] - 0.5, x / shape[1] - 0.5)
    return rng.poisson(field * 2000 + BLACK).astype(np.uint16)


def run_generator(weights: bytes, contrast: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """(1, S, Y, X) float32: the bare generator on (Y, X) contrast whose sides are multiples of its stride."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(weights, options, providers=["CPUExecutionProvider"])
    stains: npt.NDArray[np.float32] = session.run(None, {"contrast": contrast[None, None]})[0]
    return stains


def small_generator(seed: int = 0, stains: int = 2) -> onnx.ModelProto:
    """A half-resolution U-Net of stride 16, float32 (N, 1, Y, X) in [-1, 1] -> (N, S, Y, X) in [0, 1]."""
    net = _Net(np.random.default_rng(seed))
    half = net.conv("contrast", 1, 8, side=6, stride=2)
    levels = [(half, 8)]
    for width in (12, 16, 16):
        name, before = levels[-1]
        levels.append((net.conv(name, before, width, stride=2), width))
    name, width = levels.pop()
    while levels:
        skip, skip_width = levels.pop()
        joined = net.add("Concat", [net.enlarge(name), skip], axis=1)
        name, width = net.conv(joined, width + skip_width, skip_width), skip_width
    # Weights 3 times larger than usual and an offset: dark fields with bright spots, as stains have them.
    head = net.conv(name, width, 4 * stains, relu=False, scale=3.0, offset=-3.0)
    net.add("Sigmoid", [net.add("DepthToSpace", [head], blocksize=2, mode="CRD")], output="stains")
    plane = helper.make_tensor_value_info("contrast", TensorProto.FLOAT, ["n", 1, "y", "x"])
    result = helper.make_tensor_value_info("stains", TensorProto.FLOAT, ["n", stains, "y", "x"])
    graph = helper.make_graph(net.nodes, "test", [plane], [result], net.weights)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=9)
    onnx.checker.check_model(model, full_check=True)
    return model


class _Net:
    """Nodes and weights of a graph under construction."""

    def __init__(self, rng: np.random.Generator) -> None:
        self.rng = rng
        self.nodes: list[onnx.NodeProto] = []
        self.weights: list[onnx.TensorProto] = []

    def add(self, op: str, inputs: Sequence[str], output: str | None = None, **attributes: Any) -> str:
        output = output or f"{op.lower()}{len(self.nodes)}"
        self.nodes.append(helper.make_node(op, inputs, [output], **attributes))
        return output

    def weight(self, array: npt.NDArray[np.float32]) -> str:
        name = f"weight{len(self.weights)}"
        self.weights.append(numpy_helper.from_array(array, name))
        return name

    def conv(
        self,
        source: str,
        channels: int,
        width: int,
        *,
        side: int = 3,
        stride: int = 1,
        relu: bool = True,
        scale: float = 1.0,
        offset: float = 0.0,
    ) -> str:
        sd = scale * np.sqrt(2 / (channels * side * side))
        kernel = self.weight(self.rng.normal(0, sd, (width, channels, side, side)).astype(np.float32))
        bias = self.weight(np.full(width, offset, np.float32))
        pad = (side - 1) // 2
        result = self.add("Conv", [source, kernel, bias], strides=[stride, stride], pads=[pad] * 4)
        return self.add("Relu", [result]) if relu else result

    def enlarge(self, source: str) -> str:
        scales = self.weight(np.array([1, 1, 2, 2], np.float32))
        return self.add("Resize", [source, "", scales], mode="nearest", coordinate_transformation_mode="asymmetric")
