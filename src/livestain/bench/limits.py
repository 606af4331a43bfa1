"""What this machine can do, measured in the same run: matrix rate of each engine library, and copying."""

from __future__ import annotations

import hashlib
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper

from livestain.bench.case import Case
from livestain.contrast import shade_shape
from livestain.engine.cost import frame_cost
from livestain.engine.graph import compose
from livestain.engine.opening import find_adapter
from livestain.engine.protocol import Precision
from livestain.engine.tensorrt.cuda import Cuda
from livestain.errors import EngineError
from livestain.model import Model
from livestain.model.files import ModelFile
from livestain.settings import Backend

COPIED_BYTES = 64 << 20
"""Size of the array whose copying is timed: far beyond the caches of a processor core."""

_SIDE = 512
_CELL = 8
_MAPS = 256
_LAYERS = 4


@dataclass(frozen=True, slots=True)
class Limit:
    """Something that takes its turn with the engines: what it is, how much work a call is, and the call."""

    name: str
    work: float
    unit: str
    case: Case


def matrix_limit(model: Model, backend: Backend, precision: Precision, threads: int | None, folder: Path) -> Limit:
    """Return dense 3 x 3 convolutions of 256 maps in the runtime graph, compiled by this library at this precision.

    They keep the arithmetic units as busy as this library can: their rate is what an engine is held against. All that
    lies beside them in the graph is below 1 % of the work. Blocks while it compiles and runs for the first time.

    Parameters
    ----------
    model
        Number of stains and stride are taken from it.
    backend, precision, threads
        As in `livestain.engine.opening.open_backend`.
    folder
        Where the stand-in and its compiled form are kept; must exist, and be left until the case is closed.

    Raises
    ------
    EngineError
        The library cannot compile or run it.
    """
    stand_in = _stand_in(model, folder)
    cost = frame_cost(compose(stand_in.generator(), stand_in.card.stride), (_SIDE, _SIDE))
    if cost is None:
        raise AssertionError("the sizes of the stand-in are all known")
    engine = find_adapter(backend)(stand_in, precision, threads)
    try:
        engine.warm_up((_SIDE, _SIDE), np.dtype(np.uint16))
    except EngineError:
        engine.close()
        raise
    grid = np.full(shade_shape((_SIDE, _SIDE)), 1e-3, np.float32)
    frame = np.random.default_rng(0).integers(1000, 3000, (_SIDE, _SIDE), np.uint16)
    name = matrix_name(f"{backend} {precision}")
    case = Case(name, lambda: engine.stain(frame, grid, 0.0, 1.0), engine.close)
    return Limit(name, cost.flops / 1e9, "GFLOP", case)


def matrix_name(engine: str) -> str:
    """Return what the matrix rate of an engine ("openvino f32") is called."""
    return f"matrix rate, {engine}"


def copy_limit() -> Limit:
    """Return the copying of 64 MiB by one thread; reading and writing count once each."""
    source = np.ones(COPIED_BYTES, np.uint8)
    target = np.empty_like(source)

    def copy() -> npt.NDArray[np.uint8]:
        np.copyto(target, source)
        return target

    return Limit("memory copy", 2 * COPIED_BYTES / 2**30, "GiB", Case("memory copy", copy, lambda: None))


def card_copy_limits(cuda: Cuda, held: ExitStack) -> list[Limit]:
    """Return the copying of 64 MiB from pinned memory to the card and back; ``held`` frees what it needs.

    Raises
    ------
    EngineError
        The card has no room, or is lost.
    """
    memory, stream = cuda.pinned(COPIED_BYTES, held), cuda.stream(held)
    here, there = int(memory.ctypes.data), cuda.device_memory(COPIED_BYTES, held)

    def limit(name: str, to: int, source: int) -> Limit:
        def copy() -> npt.NDArray[np.uint8]:
            cuda.copy(to, source, COPIED_BYTES, stream)
            cuda.finish(stream)
            return memory

        return Limit(name, COPIED_BYTES / 2**30, "GiB", Case(name, copy, lambda: None))

    return [limit("copy to the card", there, here), limit("copy from the card", here, there)]


def _stand_in(model: Model, folder: Path) -> Model:
    """Return the model with other weights: nothing else of it is used."""
    path = folder / "matrix.onnx"
    data = _dense_network(len(model.stains)).SerializeToString(deterministic=True)
    path.write_bytes(data)
    return replace(model, id="matrix", folder=folder, weights=ModelFile(path, hashlib.sha256(data).hexdigest()))


def _dense_network(stains: int) -> onnx.ModelProto:
    """1 / 8 of the side, 256 maps, four dense convolutions, and back: (N, 1, Y, X) -> (N, stains, Y, X)."""
    rng = np.random.default_rng(0)
    nodes: list[onnx.NodeProto] = []
    weights: list[onnx.TensorProto] = []

    def conv(source: str, inputs: int, outputs: int, side: int, stride: int) -> str:
        sd = np.sqrt(2 / (inputs * side * side))
        name = f"maps{len(weights)}"
        kernel = rng.normal(0, sd, (outputs, inputs, side, side)).astype(np.float32)
        weights.append(numpy_helper.from_array(kernel, f"{name} weight"))
        pad = 0 if stride == side else side // 2
        nodes.append(helper.make_node("Conv", [source, f"{name} weight"], [name], strides=[stride] * 2, pads=[pad] * 4))
        nodes.append(helper.make_node("Relu", [name], [f"{name} relu"]))
        return f"{name} relu"

    maps = conv("contrast", 1, _MAPS, _CELL, _CELL)
    for _ in range(_LAYERS):
        maps = conv(maps, _MAPS, _MAPS, 3, 1)
    cells = conv(maps, _MAPS, _CELL * _CELL * stains, 1, 1)
    nodes.append(helper.make_node("DepthToSpace", [cells], ["stains"], blocksize=_CELL, mode="CRD"))
    ends = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", count, "y", "x"])
        for name, count in (("contrast", 1), ("stains", stains))
    ]
    graph = helper.make_graph(nodes, "matrix", ends[:1], ends[1:], weights)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=9)
