"""What a frame costs: counted from the graph, equal to what a run really holds."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from livestain.contrast import shade_shape
from livestain.engine.cost import frame_cost
from livestain.engine.graph import Bit, Wire, compose
from livestain.model import read_model, shipped_models
from tests.models import STRIDE, small_generator

FLOAT = 4


def graph_of(*nodes: onnx.NodeProto, **weights: tuple[int, ...]) -> onnx.ModelProto:
    """A graph from "frame" (1, 1, h, w) to "stains", float32."""
    frame = helper.make_tensor_value_info("frame", TensorProto.FLOAT, [1, 1, "h", "w"])
    stains = helper.make_tensor_value_info("stains", TensorProto.FLOAT, None)
    tensors = [numpy_helper.from_array(np.zeros(shape, np.float32), name) for name, shape in weights.items()]
    graph = helper.make_graph(nodes, "test", [frame], [stains], tensors)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=9)


CONV = helper.make_node("Conv", ["frame", "kernel"], ["stains"], strides=[2, 2], pads=[1, 1, 1, 1])
GROUPS = [
    helper.make_node("Conv", ["frame", "kernel"], ["maps"]),
    helper.make_node("Conv", ["maps", "each"], ["stains"], group=4),
]
TURNED = helper.make_node("ConvTranspose", ["frame", "kernel"], ["stains"], strides=[2, 2])
MATRIX = helper.make_node("MatMul", ["frame", "kernel"], ["stains"])
GEMM = [
    helper.make_node("Flatten", ["frame"], ["flat"], axis=3),
    helper.make_node("Gemm", ["flat", "kernel"], ["stains"], transA=1),
]


@pytest.mark.parametrize(
    ("graph", "flops"),
    [
        (graph_of(CONV, kernel=(5, 1, 3, 3)), 2 * 5 * 48 * 64 * 9),
        (graph_of(*GROUPS, kernel=(4, 1, 1, 1), each=(8, 1, 3, 3)), 2 * 4 * 96 * 128 + 2 * 8 * 94 * 126 * 9),
        (graph_of(TURNED, kernel=(1, 3, 2, 2)), 2 * 96 * 128 * 3 * 4),
        (graph_of(MATRIX, kernel=(128, 10)), 2 * 96 * 10 * 128),
        (graph_of(*GEMM, kernel=(96, 7)), 2 * 128 * 7 * 96),
        (graph_of(helper.make_node("Relu", ["frame"], ["stains"])), 0),
    ],
    ids=["convolution", "grouped convolution", "transposed convolution", "matrix product", "turned product", "none"],
)
def test_the_arithmetic_of_a_step_is_counted(graph: onnx.ModelProto, flops: int) -> None:
    cost = frame_cost(graph, (96, 128))
    assert cost is not None
    assert cost.flops == flops


def test_memory_is_what_is_kept_at_the_same_time() -> None:
    chain = graph_of(
        helper.make_node("Relu", ["frame"], ["a"]),
        helper.make_node("Concat", ["a", "frame"], ["b"], axis=1),
        helper.make_node("Relu", ["b"], ["c"]),
        helper.make_node("ReduceMean", ["c"], ["stains"], keepdims=0),
    )
    plane = 100 * 100 * FLOAT
    cost = frame_cost(chain, (100, 100))
    assert cost is not None
    assert cost.activation_bytes == 4 * plane  # frame, a and their sum of two; later b and c
    assert cost.memory_bytes == (2 + 4 + 4 + 2) * plane + FLOAT
    assert cost.wire_bytes == plane + FLOAT


@pytest.mark.parametrize(("wire", "bit"), [("bytes", "uint16"), ("bytes", "uint8"), ("uint16", "uint16")])
@pytest.mark.parametrize("shape", [(96, 96), (101, 130)])
def test_the_bytes_are_those_of_a_run(wire: Wire, bit: Bit, shape: tuple[int, int]) -> None:
    graph = compose(small_generator(), STRIDE, wire, bit)
    cost = frame_cost(graph, shape)
    assert cost is not None
    held = bytes_of_a_run(graph, shape)
    sizes = {"stride", "stride - 1", "no padding", "sides"}
    moved = [name for node in graph.graph.node if not is_of_sizes(node, sizes) for name in (*node.input, *node.output)]
    assert cost.memory_bytes == sum(held[name] for name in moved if name)
    ends = [value.name for value in (*graph.graph.input, *graph.graph.output)]
    assert cost.wire_bytes == sum(held[name] for name in ends)
    assert max(held.values()) < cost.activation_bytes < sum(held.values())


def bytes_of_a_run(graph: onnx.ModelProto, shape: tuple[int, int]) -> dict[str, int]:
    """Bytes of each tensor when ONNX Runtime stains a frame."""
    open_graph = onnx.ModelProto()
    open_graph.CopyFrom(graph)
    made = [name for node in graph.graph.node for name in node.output]
    known = {value.name for value in graph.graph.output}
    open_graph.graph.output.extend(onnx.ValueInfoProto(name=name) for name in made if name not in known)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(open_graph.SerializeToString(), options, providers=["CPUExecutionProvider"])
    sides = {"h": shape[0], "w": shape[1], "h/8": shade_shape(shape)[0], "w/8": shade_shape(shape)[1]}
    dtypes = {"tensor(uint8)": np.uint8, "tensor(uint16)": np.uint16, "tensor(float)": np.float32}
    feed = {
        value.name: np.ones([sides.get(side, side) for side in value.shape], dtypes[value.type])
        for value in session.get_inputs()
    }
    outputs = [value.name for value in open_graph.graph.output]
    arrays = feed | dict(zip(outputs, session.run(outputs, feed), strict=True))
    weights = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.graph.initializer}
    return {name: np.asarray(array).nbytes for name, array in (arrays | weights).items()}


def is_of_sizes(node: onnx.NodeProto, sizes: set[str]) -> bool:
    """Whether a node computes sizes alone; its output is one then."""
    if node.op_type != "Shape" and not all(name in sizes for name in node.input):
        return False
    sizes.update(node.output)
    return True


@pytest.mark.parametrize("name", shipped_models())
def test_the_cost_of_a_shipped_model_grows_with_the_area(name: str) -> None:
    model = read_model(name)
    graph = compose(model.generator(), model.card.stride, "bytes", "uint16")
    small, large = frame_cost(graph, (512, 512)), frame_cost(graph, (1024, 2048))
    assert small is not None
    assert large is not None
    assert large.flops == 8 * small.flops
    assert 4e9 < small.flops < 6e9  # 5 GFLOP at 512 x 512, says DESIGN.md


def test_a_size_that_depends_on_pixels_is_unknown() -> None:
    assert frame_cost(graph_of(helper.make_node("NonZero", ["frame"], ["stains"])), (96, 96)) is None


def test_sizes_that_the_graph_computes_are_known() -> None:
    """As torch exports a pixel-unshuffle: halves of the frame's own height and width."""
    constants = {"two": [2], "ones": [1, 1], "halves": [2, 2]}
    graph = graph_of(
        helper.make_node("Shape", ["frame"], ["sides"], start=2),
        helper.make_node("Div", ["sides", "halves"], ["half sides"]),
        helper.make_node("Split", ["half sides"], ["y", "x"], num_outputs=2),
        helper.make_node("Concat", ["ones", "y", "two", "x", "two"], ["shape"], axis=0),
        helper.make_node("Reshape", ["frame", "shape"], ["parts"]),
        helper.make_node("Transpose", ["parts"], ["stains"], perm=[0, 1, 3, 5, 2, 4]),
    )
    graph.graph.initializer.extend(
        numpy_helper.from_array(np.array(value, np.int64), name) for name, value in constants.items()
    )
    cost = frame_cost(graph, (96, 128))
    assert cost is not None
    assert cost.wire_bytes == 2 * 96 * 128 * FLOAT


def test_the_graph_is_not_changed() -> None:
    graph = compose(small_generator(), STRIDE, "bytes", "uint16")
    before = graph.SerializeToString(deterministic=True)
    frame_cost(graph, (101, 130))
    assert graph.SerializeToString(deterministic=True) == before
