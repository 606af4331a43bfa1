"""A generator's graph in torch: the same numbers as in ONNX Runtime, or the name of what it does not know."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from livestain.errors import ModelError
from tests.models import run_generator, small_generator

torch = pytest.importorskip("torch", reason="torch is not installed: would show that its stains are ours")

from livestain.bench.torch_net import OnnxNet  # noqa: E402

Node = tuple[str, Sequence[str], dict[str, Any]]
RNG = np.random.default_rng(0)
WEIGHTS = {
    "w": RNG.normal(0, 0.3, (4, 1, 3, 3)),
    "b": RNG.normal(0, 0.3, 4),
    "up": RNG.normal(0, 0.3, (4, 2, 3, 3)),
    "deep": RNG.normal(0, 0.3, (4, 2, 3, 3)),
    "scale": RNG.normal(1, 0.1, 4),
    "half": np.float32(0.5),
    "minus": np.float32(-0.2),
    "twice": np.array([1, 1, 2, 2]),
    "odd": np.array([1, 1, 1.5, 1.5]),
    "thrice": np.array([1, 1, 3, 3]),
    "one": np.array([0, 0, 1, 1, 0, 0, 1, 1], np.int64),
}
STEM: Node = ("Conv", ["contrast", "w", "b"], {"strides": [2, 2], "pads": [1, 1, 1, 1]})
BACK: Node = ("DepthToSpace", ["before"], {"blocksize": 2, "mode": "CRD"})
KNOWN: dict[str, list[Node]] = {
    "as shipped: sigmoid": [STEM, ("Sigmoid", ["1"], {})],
    "leaky": [STEM, ("LeakyRelu", ["1"], {"alpha": 0.2})],
    "silu": [STEM, ("Sigmoid", ["1"], {}), ("Mul", ["1", "2"], {})],
    "tanh moved to 0..1": [STEM, ("Tanh", ["1"], {}), ("Add", ["2", "half"], {}), ("Div", ["3", "half"], {})],
    "instance norm": [STEM, ("InstanceNormalization", ["1", "scale", "b"], {"epsilon": 1e-3})],
    "clipped at both ends": [STEM, ("Clip", ["1", "minus", "half"], {})],
    "clipped above": [STEM, ("Clip", ["1", "", "half"], {})],
    "reflected": [STEM, ("Pad", ["1", "one"], {"mode": "reflect"}), ("Conv", ["2", "deep"], {"group": 2})],
    "padded with zeros": [STEM, ("Pad", ["1", "one"], {}), ("Conv", ["2", "deep"], {"group": 2})],
    "cast and back": [STEM, ("Cast", ["1"], {"to": TensorProto.DOUBLE}), ("Cast", ["2"], {"to": TensorProto.FLOAT})],
    "doubled": [
        STEM,
        ("Resize", ["1", "", "twice"], {"mode": "nearest", "coordinate_transformation_mode": "asymmetric",
                                        "nearest_mode": "floor"}),
        ("Conv", ["2", "deep"], {"group": 2, "strides": [2, 2], "pads": [1, 1, 1, 1]}),
    ],
    "transposed": [
        STEM,
        ("ConvTranspose", ["1", "up"], {"strides": [2, 2], "pads": [1, 1, 1, 1], "output_padding": [1, 1]}),
        ("Concat", ["2", "2"], {"axis": 1}),
        ("Conv", ["3", "deep"], {"group": 2, "strides": [2, 2], "pads": [1, 1, 1, 1]}),
    ],
}  # fmt: skip
UNKNOWN: dict[str, tuple[Node, str]] = {
    "an operator that is not known": (("Gelu", ["1"], {}), "operator Gelu has no torch form here: there are Add, "),
    "padded on one side only": (("Conv", ["1", "deep"], {"group": 2, "pads": [0, 0, 2, 2]}), "operator Conv with"),
    "padded by its library": (("Conv", ["1", "deep"], {"group": 2, "auto_pad": "SAME_UPPER"}), "operator Conv with"),
    "rows before columns": (("DepthToSpace", ["1"], {"blocksize": 2, "mode": "DCR"}), "operator DepthToSpace with"),
    "linear": (("Resize", ["1", "", "twice"], {"mode": "linear"}), "operator Resize with"),
    "one and a half": (
        ("Resize", ["1", "", "odd"], {"coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}),
        "operator Resize with",
    ),
    "thrice, rounded to the nearest": (
        ("Resize", ["1", "", "thrice"], {"coordinate_transformation_mode": "asymmetric"}),
        "operator Resize with",
    ),
    "pads that are computed": (("Pad", ["1", "2"], {}), "operator Pad with"),
}


def network(nodes: Sequence[Node], *, check: bool = True) -> onnx.ModelProto:
    """Steps named 1, 2, ... one after the other, then 4 maps of half size as one plane."""
    made = [helper.make_node(op, inputs, [str(n)], **more) for n, (op, inputs, more) in enumerate(nodes, 1)]
    op, _, more = BACK
    made.append(helper.make_node(op, [str(len(nodes))], ["stains"], **more))
    weights = [
        numpy_helper.from_array(np.asarray(w, np.int64 if name == "one" else np.float32), name)
        for name, w in WEIGHTS.items()
    ]
    ends = [helper.make_tensor_value_info(n, TensorProto.FLOAT, ["n", 1, "y", "x"]) for n in ("contrast", "stains")]
    graph = helper.make_graph(made, "test", ends[:1], ends[1:], weights)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=9)
    if check:
        onnx.checker.check_model(model)
    return model


def contrast() -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    return np.random.default_rng(1).uniform(-1, 1, (96, 112)).astype(np.float32)


@pytest.mark.parametrize("nodes", KNOWN.values(), ids=KNOWN.keys())
def test_operators_compute_what_they_do_in_onnx_runtime(nodes: list[Node]) -> None:
    model, plane = network(nodes), contrast()
    with torch.inference_mode():
        found = OnnxNet(model)(torch.from_numpy(plane[None, None])).numpy()
    expected = run_generator(model.SerializeToString(), plane)
    np.testing.assert_allclose(found, expected, atol=1e-5)
    assert expected.std() > 0.01


def test_a_whole_generator_gives_the_same_stains() -> None:
    model, plane = small_generator(), contrast()
    with torch.inference_mode():
        found = OnnxNet(model)(torch.from_numpy(plane[None, None])).numpy()
    np.testing.assert_allclose(found, run_generator(model.SerializeToString(), plane), atol=1e-5)


@pytest.mark.parametrize(("node", "words"), UNKNOWN.values(), ids=UNKNOWN.keys())
def test_what_torch_does_otherwise_is_refused_by_name(node: Node, words: str) -> None:
    with pytest.raises(ModelError, match=words):
        OnnxNet(network([STEM, node], check=False))
