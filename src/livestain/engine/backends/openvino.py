"""OpenVINO on the CPU: one program for each frame size, in float32, bfloat16 or int8."""

from __future__ import annotations

import functools
import hashlib
import io
from collections.abc import Callable, Iterable, Iterator
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import onnx
import openvino
from openvino import opset13

from livestain.contrast import SHADE_PX, Field, shade_shape
from livestain.engine.backends.base import BaseEngine, Job, Program, Scalar
from livestain.engine.cache import EngineCache, Facts
from livestain.engine.generators import is_quantised
from livestain.engine.graph import SEAM, WIDE_SHADE, Wire
from livestain.engine.protocol import Precision
from livestain.errors import EngineFileError
from livestain.frames import Counts
from livestain.model import Model

_DEVICE = "CPU"

_METHOD = 2
"""Counts what we change in a graph before it is compiled: files of another method are not used."""
_FLOAT32 = {"INFERENCE_PRECISION_HINT": "f32"}


@functools.cache
def _core() -> openvino.Core:
    return openvino.Core()


def _abilities() -> list[str]:
    """Return what the CPU computes in, such as "BF16" and "INT8"."""
    return sorted(_core().get_property(_DEVICE, "OPTIMIZATION_CAPABILITIES"))


class OpenVinoEngine(BaseEngine):
    """A generator in OpenVINO.

    At bf16 the graph is compiled in two parts: OpenVINO would otherwise convert the camera's counts to bfloat16, whose
    8 significant bits round 2049 to 2048; contrast was off by up to 0.04 (2000 counts, c = 0.3). So contrast is
    computed in float32; so are the steps after the last convolution, by OpenVINO's own rule for the tail of a graph.
    At int8 what is not in int8 is computed in bf16 where the CPU has it, in the same two parts.
    """

    backend: ClassVar[str] = "openvino"
    wire: ClassVar[Wire] = "uint16"
    fixed_shape: ClassVar[bool] = True
    library_errors: ClassVar[tuple[type[Exception], ...]] = (RuntimeError,)

    def __init__(self, model: Model, precision: Precision = "f32", threads: int | None = None) -> None:
        super().__init__(model, precision, threads)
        self._precision: Precision = precision
        self._cache = EngineCache.of(model)

    @classmethod
    def precisions(cls, model: Model) -> tuple[Precision, ...]:
        """Return int8 where the model was quantised, bf16 only where the CPU itself computes in it, and f32."""
        able: tuple[Precision, ...] = ("bf16", "f32") if "BF16" in _abilities() else ("f32",)
        return ("int8", *able) if is_quantised(model) else able

    @classmethod
    def version(cls) -> str:
        """Return the release of OpenVINO."""
        return str(openvino.__version__).split("-")[0]

    @classmethod
    def device(cls) -> str:
        """Return the name of the CPU."""
        return str(_core().get_property(_DEVICE, "FULL_DEVICE_NAME")).strip()

    def _compile(self, job: Job) -> Program:
        graph: bytes = job.graph.SerializeToString(deterministic=True)
        split = self._precision != "f32"
        found = hashlib.sha256(graph).hexdigest()
        read = functools.cache(lambda: _read(graph, job, split))
        parts: list[tuple[int, Precision]] = [(0, "f32"), (1, self._precision)] if split else [(0, "f32")]
        requests = [
            self._compiled(
                read,
                part,
                precision,
                self._facts(precision)
                | {"graph": found, "part": part, "parts": len(parts), "shape": list(job.shape), "bit": job.bit},
            ).create_infer_request()
            for part, precision in parts
        ]
        if split:
            requests[1].set_input_tensor(requests[0].get_output_tensor(0))
        return _program(requests, (1, job.stains, *job.shape))

    def _facts(self, precision: Precision) -> dict[str, Any]:
        """Return what a compiled file depends on besides the graph."""
        return {
            "kind": "engine",
            "backend": self.backend,
            "version": openvino.__version__,
            "device": [self.device(), *_abilities()],
            "settings": self._settings(precision),
            "precision": precision,
            "wire": self.wire,
            "method": _METHOD,
            "model": self._model.identity,
        }

    def _settings(self, precision: Precision) -> dict[str, Any]:
        # int8 stands in the graph; the hint is for the rest of it.
        floats = precision if precision != "int8" else "bf16" if "BF16" in _abilities() else "f32"
        settings: dict[str, Any] = {
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_PRECISION_HINT": floats,
            # Threads tied to cores would wait there while the acquisition runs, however free the other cores are.
            "ENABLE_CPU_PINNING": False,
        }
        if self._threads is not None:
            settings["INFERENCE_NUM_THREADS"] = self._threads
        return settings

    # Any in what follows: openvino has no types.
    def _compiled(self, read: Callable[[], list[Any]], part: int, precision: Precision, facts: Facts) -> Any:
        settings = self._settings(precision)

        def load(data: bytes) -> Any:
            try:
                return _core().import_model(io.BytesIO(data), _DEVICE, settings)
            except RuntimeError as error:
                raise EngineFileError(f"OpenVINO refuses the compiled engine of {self}: {error}") from error

        def build() -> tuple[Any, bytes]:
            compiled = _core().compile_model(read()[part], _DEVICE, settings)
            return compiled, compiled.export_model().getvalue()

        return self._cache.fetch(facts, load, build)


def run_network(network: onnx.ModelProto, contrasts: Iterable[Field]) -> Iterator[list[float]]:
    """Yield, for each (Y, X) float32 contrast, the scalar outputs of a bare network in float32; blocks."""
    compiled = _core().compile_model(_core().read_model(network.SerializeToString(), b""), _DEVICE, _FLOAT32)
    request = compiled.create_infer_request()
    for contrast in contrasts:
        request.infer(np.array(contrast[None, None]))
        yield [float(output.data) for output in request.output_tensors]


def _read(graph: bytes, job: Job, split: bool) -> list[Any]:
    """Return the graph as OpenVINO models for one frame size: whole, or contrast and stains apart."""
    model = _core().read_model(graph, b"")
    scalar = [1, 1, 1, 1]
    sizes = {"frame": [1, 1, *job.shape], "shade": [1, 1, *shade_shape(job.shape)], "black": scalar, "offset": scalar}
    model.reshape(sizes)
    _upsample_in_two_steps(model)
    return _cut(model) if split else [model]


def _upsample_in_two_steps(model: Any) -> None:
    """Upsample the shade by a small product along x and by whole rows along y.

    The same linear interpolation. OpenVINO's own works pixel by pixel and takes 4 ms at 512 x 512 px and 70 ms at 2048,
    this 0.4 and 11 (processor time; `benchmarks/cpu_path.py`).
    """
    node = next(node for node in model.get_ordered_ops() if WIDE_SHADE in _names(node))
    shade = node.input_value(0)
    height, width = shade.get_shape()[2:]
    before, after, share = _neighbours(width)
    columns = np.zeros((width, len(share)), np.float32)
    np.add.at(columns, (before, np.arange(len(share))), 1 - share)
    np.add.at(columns, (after, np.arange(len(share))), share)
    wide = opset13.matmul(shade, opset13.constant(columns[None, None]), False, False)
    before, after, share = _neighbours(height)
    axis = opset13.constant(np.int64(2))
    above, below = (opset13.gather(wide, opset13.constant(rows), axis) for rows in (before, after))
    part = opset13.constant(share[None, None, :, None])
    rest = opset13.constant((1 - share)[None, None, :, None])
    node.output(0).replace(opset13.add(opset13.multiply(above, rest), opset13.multiply(below, part)).output(0))
    model.validate_nodes_and_infer_types()


def _neighbours(count: int) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], npt.NDArray[np.float32]]:
    """Return, for each px, the grid points before and after its centre and the share of the second (half_pixel)."""
    places = (np.arange(SHADE_PX * count) + 0.5) / SHADE_PX - 0.5
    before = np.floor(places).astype(np.int64)
    limits = 0, count - 1
    return np.clip(before, *limits), np.clip(before + 1, *limits), (places - before).astype(np.float32)


def _cut(model: Any) -> list[Any]:
    # The crop asks for the frame's size, which would tie the second part to the frame itself. Only that is folded:
    # OpenVINO's own folding makes floats of int8 weights, and nothing would be computed in int8 any more.
    for node in model.get_ordered_ops():
        if node.get_type_name() == "ShapeOf":
            shape = np.array(node.input_value(0).get_shape(), np.int64)
            node.output(0).replace(opset13.constant(shape, node.get_element_type()).output(0))
    model.validate_nodes_and_infer_types()
    seam = next(node.output(0) for node in model.get_ordered_ops() if SEAM in _names(node))
    entry = opset13.parameter(seam.get_shape(), np.float32)
    for target in seam.get_target_inputs():
        target.replace_source_output(entry.output(0))
    return [openvino.Model([seam], model.get_parameters()), openvino.Model(model.get_results(), [entry])]


def _names(node: Any) -> set[str]:
    names: set[str] = node.output(0).get_names() if node.get_output_size() else set()
    return names


def _program(requests: list[Any], result: tuple[int, ...]) -> Program:
    first, last = requests[0], requests[-1]

    def run(image: Counts, shade: Field, black: Scalar, offset: Scalar) -> tuple[npt.NDArray[np.uint16], float]:
        feed = {"frame": image[None, None], "shade": shade[None, None], "black": black, "offset": offset}
        for name, array in feed.items():
            # Copied, not shared: OpenVINO refuses read-only arrays and would keep hold of the frame.
            first.get_tensor(name).data[...] = array
        stains = np.empty(result, np.uint16)
        last.set_tensor("stains", openvino.Tensor(stains, shared_memory=True))
        for request in requests:
            request.infer()
        return stains[0], float(last.get_tensor("check").data.flat[0])

    return run
