"""The composed graph: both wires and both bit depths compute the same, with the cast as the very last node."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime
import openvino
import pytest

from livestain.contrast import enlarge, estimate_background, shade_shape
from livestain.engine.graph import SEAM, Bit, Wire, compose
from livestain.errors import ModelError
from livestain.frames import Counts
from tests.models import BLACK, CONSTANT, STRIDE, camera_frame, small_generator

Inputs = dict[str, npt.NDArray[Any]]
SHAPES = [(96, 96), (97, 111), (130, 127)]


def feed(frame: Counts, wire: Wire) -> Inputs:
    background = estimate_background(frame, 0.0)
    pairs = wire == "bytes" and frame.dtype == np.uint16
    return {
        "frame": frame.view(np.uint8).reshape(1, *frame.shape, 2) if pairs else frame[None, None],
        "shade": background.shade(CONSTANT)[None, None],
        "black": np.full((1, 1, 1, 1), 1.0, np.float32),
        "offset": np.full((1, 1, 1, 1), 1 / CONSTANT, np.float32),
    }


def as_counts(stains: npt.NDArray[Any]) -> npt.NDArray[np.uint16]:
    """Pairs of bytes as the counts that they are."""
    return np.ascontiguousarray(stains).view("<u2")[..., 0] if stains.dtype == np.uint8 else stains


def run_onnxruntime(
    graph: onnx.ModelProto, inputs: dict[str, npt.NDArray[Any]]
) -> tuple[npt.NDArray[np.uint16], float]:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(graph.SerializeToString(), options, providers=["CPUExecutionProvider"])
    stains, check = session.run(["stains", "check"], inputs)
    return as_counts(stains), float(check)


def run_openvino(graph: onnx.ModelProto, inputs: Inputs) -> tuple[npt.NDArray[np.uint16], float]:
    core = openvino.Core()
    settings = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": 1}
    result = core.compile_model(core.read_model(graph.SerializeToString(), b""), "CPU", settings)(inputs)
    return as_counts(result["stains"]), float(np.ravel(result["check"])[0])


def plane_info(name: str) -> onnx.ValueInfoProto:
    return onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [1, 1, f"y of {name}", f"x of {name}"])


@pytest.fixture(scope="module")
def graphs() -> dict[tuple[Wire, Bit], onnx.ModelProto]:
    wires: tuple[Wire, ...] = ("uint16", "bytes")
    bits: tuple[Bit, ...] = ("uint8", "uint16")
    return {(wire, bit): compose(small_generator(), STRIDE, wire, bit) for wire in wires for bit in bits}


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("bit", ["uint8", "uint16"])
@pytest.mark.parametrize("run", [run_onnxruntime, run_openvino])
def test_both_wires_carry_exactly_the_same(graphs: Any, run: Any, bit: Bit, shape: tuple[int, int]) -> None:
    frame: Counts = camera_frame(shape) if bit == "uint16" else (camera_frame(shape) // 12).astype(np.uint8)
    stains, check = run(graphs["uint16", bit], feed(frame, "uint16"))
    by_bytes, same_check = run(graphs["bytes", bit], feed(frame, "bytes"))
    np.testing.assert_array_equal(stains, by_bytes)
    assert check == same_check == pytest.approx(stains.mean() / 65535, abs=1e-4)
    assert np.ptp(stains) > 30000


@pytest.mark.parametrize("wire", ["uint16", "bytes"])
def test_the_cast_is_the_very_last_node(graphs: Any, wire: Wire) -> None:
    last = graphs[wire, "uint16"].graph.node[-1]
    assert (last.op_type, list(last.output)) == ("Cast", ["stains"])


def test_one_graph_serves_every_size(graphs: Any) -> None:
    inputs = graphs["uint16", "uint16"].graph.input
    shapes = [[dim.dim_param or dim.dim_value for dim in value.type.tensor_type.shape.dim] for value in inputs]
    assert shapes == [[1, 1, "h", "w"], [1, 1, "h/8", "w/8"], [1, 1, 1, 1], [1, 1, 1, 1]]


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_the_shade_is_enlarged_as_numpy_does_it(graphs: Any, shape: tuple[int, int]) -> None:
    inner = onnx.ModelProto()
    inner.CopyFrom(graphs["uint16", "uint16"])
    inner.graph.output.append(
        onnx.helper.make_tensor_value_info("full shade", onnx.TensorProto.FLOAT, [1, 1, "y", "x"])
    )
    session = onnxruntime.InferenceSession(inner.SerializeToString(), providers=["CPUExecutionProvider"])
    frame = camera_frame(shape)
    shade = np.random.default_rng(1).uniform(0.5, 2, shade_shape(shape)).astype(np.float32)
    (full,) = session.run(["full shade"], {**feed(frame, "uint16"), "shade": shade[None, None]})
    np.testing.assert_allclose(full[0, 0], enlarge(shade, 8, shape), rtol=2e-6)


@pytest.mark.parametrize("stride", [1, 16, 96])
def test_frames_are_padded_by_reflection_to_the_next_multiple(stride: int) -> None:
    graph = compose(small_generator(), stride)
    graph.graph.output.extend([plane_info(SEAM), plane_info("contrast")])
    pre = onnx.utils.Extractor(graph).extract_model([value.name for value in graph.graph.input], [SEAM, "contrast"])
    session = onnxruntime.InferenceSession(pre.SerializeToString(), providers=["CPUExecutionProvider"])
    frame = camera_frame((97, 130))
    padded, contrast = session.run([SEAM, "contrast"], feed(frame, "uint16"))
    wanted = np.pad(contrast[0, 0], ((0, -97 % stride), (0, -130 % stride)), mode="reflect")
    np.testing.assert_array_equal(padded[0, 0], wanted)


def test_an_old_opset_is_refused() -> None:
    network = small_generator()
    network.opset_import[0].version = 17
    with pytest.raises(ModelError, match="opset 17; 18 or later"):
        compose(network, STRIDE)


def test_a_stride_wider_than_the_smallest_frame_is_refused() -> None:
    with pytest.raises(ModelError, match="stride is 97 px; at most 96"):
        compose(small_generator(), 97)


def test_names_of_the_generator_do_not_clash_with_those_of_the_graph() -> None:
    network = small_generator()
    for node in network.graph.node:
        node.input[:] = ["frame" if name == "contrast" else name for name in node.input]
    network.graph.input[0].name = "frame"
    stains, _ = run_onnxruntime(compose(network, STRIDE), feed(camera_frame((96, 96)), "uint16"))
    usual, _ = run_onnxruntime(compose(small_generator(), STRIDE), feed(camera_frame((96, 96)), "uint16"))
    np.testing.assert_array_equal(stains, usual)


def test_black_is_taken_off() -> None:
    frame = camera_frame((96, 96))
    inputs = feed(frame, "uint16")
    inputs["black"] = np.full((1, 1, 1, 1), BLACK, np.float32)
    lifted = {**inputs, "frame": inputs["frame"] + np.uint16(50), "black": inputs["black"] + np.float32(50)}
    graph = compose(small_generator(), STRIDE)
    np.testing.assert_allclose(run_onnxruntime(graph, lifted)[0], run_onnxruntime(graph, inputs)[0].astype(int), atol=1)
