"""Bodies in 16 bits: which tensors are, that the stain stays within the gate, and what cannot be converted."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime
import openvino
import pytest
from onnx import TensorProto, helper, numpy_helper

from livestain.engine.backends.onnxruntime import OnnxRuntimeEngine
from livestain.engine.gate import check_engine, compare
from livestain.engine.graph import FULL_SCALE, compose
from livestain.engine.halves import Half, to_half
from livestain.errors import ModelError
from livestain.model import Model, read_model, shipped_models
from tests.models import camera_frame, small_generator, write_test_model

HALVES: tuple[Half, ...] = ("f16", "bf16")
KINDS = {"f16": TensorProto.FLOAT16, "bf16": TensorProto.BFLOAT16}
FLOAT = TensorProto.FLOAT


def contrast(side: int = 96) -> npt.NDArray[np.float32]:
    frame = camera_frame((side, side)).astype(np.float32)
    planes: npt.NDArray[np.float32] = np.clip(frame / 600 - 3.3, -1, 1).astype(np.float32)[None, None]
    return planes


def run_onnxruntime(network: onnx.ModelProto, planes: npt.NDArray[np.float32]) -> Any:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(network.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return session.run(None, {network.graph.input[0].name: planes})[0]


def run_openvino(network: onnx.ModelProto, planes: npt.NDArray[np.float32]) -> Any:
    core = openvino.Core()
    hint = {"INFERENCE_PRECISION_HINT": "f32"}
    return core.compile_model(core.read_model(network.SerializeToString(), b""), "CPU", hint)(planes)[0]


def network_of(
    nodes: Sequence[onnx.NodeProto],
    weights: dict[str, npt.NDArray[np.generic]] | None = None,
    *,
    opset: int = 20,
    domain: str = "",
    width: int = 2,
) -> onnx.ModelProto:
    """``x`` (N, 1, Y, X) -> ``y`` (N, width, Y, X) by these nodes."""
    graph = helper.make_graph(
        nodes,
        "test",
        [helper.make_tensor_value_info("x", FLOAT, ["n", 1, "h", "w"])],
        [helper.make_tensor_value_info("y", FLOAT, ["n", width, "h", "w"])],
        [numpy_helper.from_array(array, name) for name, array in (weights or {}).items()],
    )
    opsets = [helper.make_opsetid("", opset)] + ([helper.make_opsetid(domain, 1)] if domain else [])
    return helper.make_model(graph, opset_imports=opsets, ir_version=9)


def residual_network() -> onnx.ModelProto:
    """What the paper's generator is made of: reflected borders, norm, transposed convolution, tanh moved to 0..1."""
    rng = np.random.default_rng(0)
    weights: dict[str, npt.NDArray[np.generic]] = {
        "pads": np.array([0, 0, 1, 1, 0, 0, 1, 1]),
        "down": rng.normal(0, 0.5, (4, 1, 3, 3)).astype(np.float32),
        "up": rng.normal(0, 0.5, (4, 2, 3, 3)).astype(np.float32),
        "scale": np.ones(4, np.float32),
        "shift": np.zeros(4, np.float32),
        "two": np.array(2, np.float32),
    }
    nodes = [
        helper.make_node("Pad", ["x", "pads"], ["padded"], mode="reflect"),
        helper.make_node("Conv", ["padded", "down"], ["small"], strides=[2, 2]),
        helper.make_node("InstanceNormalization", ["small", "scale", "shift"], ["normed"]),
        helper.make_node(
            "ConvTranspose", ["normed", "up"], ["large"], strides=[2, 2], pads=[1, 1, 1, 1], output_padding=[1, 1]
        ),
        helper.make_node("Tanh", ["large"], ["signed"]),
        helper.make_node("Constant", [], ["one"], value_float=1.0),
        helper.make_node("Add", ["signed", "one"], ["moved"]),
        helper.make_node("Div", ["moved", "two"], ["y"]),
    ]
    return network_of(nodes, weights)


def stored(network: onnx.ModelProto) -> Counter[int]:
    return Counter(tensor.data_type for tensor in network.graph.initializer)


def require_same(one: Any, other: Any) -> None:
    counts = np.rint(np.clip(one[0], 0, 1) * FULL_SCALE).astype(np.uint16)
    assert compare(counts, other[0], full=False).passed


@pytest.mark.parametrize("precision", HALVES)
@pytest.mark.parametrize("make", [small_generator, residual_network], ids=["u-net", "residual"])
def test_the_body_is_in_16_bits_and_its_ends_in_float32(make: Any, precision: Half) -> None:
    half = to_half(make(), precision)
    assert [value.type.tensor_type.elem_type for value in (*half.graph.input, *half.graph.output)] == [FLOAT, FLOAT]
    assert half.graph.output[0].name == make().graph.output[0].name
    casts = [node for node in half.graph.node if node.op_type == "Cast"]
    transposed = sum(node.op_type == "ConvTranspose" for node in half.graph.node) if precision == "bf16" else 0
    # A transposed convolution in bfloat16 is none of TensorRT's: float32 with a Cast before and behind.
    assert len(casts) == 2 + 2 * transposed
    assert not half.graph.value_info
    assert stored(half)[KINDS[precision]] > stored(half)[FLOAT]


@pytest.mark.parametrize("name", sorted(shipped_models()))
def test_the_shipped_models_pass_the_gate_in_f16_as_onnxruntime_computes_it(name: str) -> None:
    model = read_model(name)
    require_same(run_onnxruntime(to_half(model.generator(), "f16"), model.test_input()), model.test_output())


@pytest.mark.parametrize("name", sorted(shipped_models()))
def test_the_shipped_models_pass_the_gate_with_weights_in_bf16(name: str) -> None:
    model = read_model(name)
    half = to_half(model.generator(), "bf16")
    assert [entry.version for entry in half.opset_import] == [22]
    require_same(run_openvino(half, model.test_input()), model.test_output())


@pytest.mark.parametrize("precision", HALVES)
def test_a_residual_network_gives_the_same_stain(precision: Half) -> None:
    network = residual_network()
    require_same(run_openvino(to_half(network, precision), contrast()), run_openvino(network, contrast()))


@pytest.mark.parametrize("precision", HALVES)
def test_the_runtime_graph_takes_it(precision: Half) -> None:
    onnx.checker.check_model(compose(to_half(small_generator(), precision), 16, "bytes"), full_check=True)


def test_the_network_is_left_as_it_was() -> None:
    network = small_generator()
    before = network.SerializeToString()
    to_half(network, "bf16")
    assert network.SerializeToString() == before


def test_scales_of_a_resize_and_shapes_stay_as_they_were() -> None:
    half = to_half(small_generator(), "f16")
    kinds = {tensor.name: tensor.data_type for tensor in half.graph.initializer}
    resizes = [node for node in half.graph.node if node.op_type == "Resize"]
    assert resizes
    assert {kinds[node.input[2]] for node in resizes} == {FLOAT}


def test_what_a_cast_makes_of_integers_is_float32_and_then_cast() -> None:
    nodes = [
        helper.make_node("Shape", ["x"], ["shape"], start=3, end=4),
        helper.make_node("Cast", ["shape"], ["side"], to=FLOAT),
        helper.make_node("Div", ["x", "side"], ["y"]),
    ]
    network = network_of(nodes, width=1)
    half = to_half(network, "f16")
    np.testing.assert_allclose(run_onnxruntime(half, contrast()), contrast() / 96, rtol=2e-3)
    assert [node.op_type for node in half.graph.node].count("Cast") == 4


def test_a_result_that_is_read_again_inside_keeps_its_name() -> None:
    nodes = [helper.make_node("Sigmoid", ["x"], ["y"]), helper.make_node("Relu", ["y"], ["z"])]
    network = network_of(nodes, width=1)
    network.graph.output.append(helper.make_tensor_value_info("z", FLOAT, ["n", 1, "h", "w"]))
    half = to_half(network, "f16")
    assert [value.name for value in half.graph.output] == ["y", "z"]
    np.testing.assert_allclose(run_onnxruntime(half, contrast()), 1 / (1 + np.exp(-contrast())), atol=1e-3)


@pytest.mark.parametrize(
    ("value", "bits"),
    [
        (1.0, 0x3F80),
        (1.00390625, 0x3F80),
        (1.01171875, 0x3F82),
        (-1.005, 0xBF81),
        (np.inf, 0x7F80),
        (np.nan, 0x7FC0),
        (0.0, 0),
    ],
    ids=["one", "tie to even below", "tie to even above", "nearest", "infinite", "nan", "none"],
)
def test_bfloat16_is_rounded_to_nearest_and_ties_to_even(value: float, bits: int) -> None:
    network = network_of([helper.make_node("Mul", ["x", "w"], ["y"])], {"w": np.array(value, np.float32)}, width=1)
    weight = to_half(network, "bf16").graph.initializer[0]
    assert np.frombuffer(weight.raw_data, "<u2")[0] == bits


@pytest.mark.parametrize(
    ("precision", "value", "words"),
    [
        ("f16", 7e4, r"'w' reach 70000, which f16 cannot hold .f16: up to 65504.; use bf16 or fp32"),
        ("bf16", 3.4e38, r"'w' reach 3.4e\+38, which bf16 cannot hold .*use fp32"),
    ],
)
def test_a_weight_that_16_bits_cannot_hold_is_named(precision: Half, value: float, words: str) -> None:
    network = network_of([helper.make_node("Mul", ["x", "w"], ["y"])], {"w": np.array(value, np.float32)}, width=1)
    with pytest.raises(ModelError, match=words):
        to_half(network, precision)


def conditional() -> onnx.NodeProto:
    result = [helper.make_tensor_value_info("r", FLOAT, None)]
    branch = helper.make_graph([helper.make_node("Constant", [], ["r"], value_float=1.0)], "branch", [], result)
    return helper.make_node("If", ["sure"], ["y"], name="choice", then_branch=branch, else_branch=branch)


@pytest.mark.parametrize(
    ("node", "words"),
    [
        (helper.make_node("Swish", ["x"], ["y"], domain="com.lab"), r"operator Swish .node 'y'. .*none of ONNX's own"),
        (helper.make_node("Gelu3", ["x"], ["y"]), r"operator Gelu3 .* in opset 20"),
        (conditional(), r"operator If .node 'choice'. .*holds a graph of its own; use fp32"),
    ],
    ids=["other domain", "unknown", "graph inside"],
)
@pytest.mark.parametrize("precision", HALVES)
def test_an_operator_that_cannot_be_converted_is_named(node: onnx.NodeProto, words: str, precision: Half) -> None:
    with pytest.raises(ModelError, match=words):
        to_half(network_of([node], {"sure": np.array(True)}, domain="com.lab"), precision)


def test_an_engine_of_graphs_in_f16_passes_the_gate(model: Model) -> None:
    class Typed(OnnxRuntimeEngine):
        halves_in_graph = True

    engine = Typed(model, "f16", threads=1)
    assert check_engine(engine, model).passed
    engine.close()


def test_a_graph_that_does_not_fit_together_is_reported() -> None:
    network = network_of([helper.make_node("Concat", ["x", "x"], ["y"], axis=9)])
    with pytest.raises(ModelError, match="no sound graph"):
        to_half(network, "f16")


def test_a_generator_whose_weights_are_inputs_too_is_converted(tmp_path: Path) -> None:
    network = small_generator()
    first = network.graph.initializer[0]
    network.graph.input.append(helper.make_tensor_value_info(first.name, FLOAT, list(first.dims)))
    model = read_model(write_test_model(tmp_path / "model", generator=network))
    assert [value.name for value in to_half(model.generator(), "f16").graph.input] == ["contrast"]
