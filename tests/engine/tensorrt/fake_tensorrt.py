"""A TensorRT made of ONNX Runtime: its plan is the runtime graph, its run reads and writes at the addresses given.

What differs from the library: a plan is ``HEAD`` + JSON + newline + the ONNX; the activations are 1 MiB, or what
``activations`` says.
"""

# ruff: noqa: N802 - the names are NVIDIA's.

from __future__ import annotations

import ctypes
import json
import sys
from collections.abc import Callable, Sequence
from enum import Enum, IntFlag
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime
import pytest

from livestain.contrast import shade_shape
from livestain.engine.tensorrt.build import BuiltPlan, Shapes
from tests.engine.tensorrt.fake_cuda import Stream

VERSION = "9.9.9"
HEAD = b"PLAN"

Severity = Enum("Severity", ["INTERNAL_ERROR", "ERROR", "WARNING", "INFO", "VERBOSE"])


class Logger:
    INTERNAL_ERROR, ERROR, WARNING = Severity.INTERNAL_ERROR, Severity.ERROR, Severity.WARNING

    def log(self, severity: Severity, message: str) -> None:
        raise NotImplementedError


class Validity(Enum):
    VALID = 0
    SUBOPTIMAL = 1
    INVALID = 2


class Diagnostics(IntFlag):
    VERSION_MISMATCH = 1
    UNSUPPORTED_CC = 2
    OLD_CUDA_DRIVER = 4
    INSUFFICIENT_GPU_MEMORY = 16
    MALFORMED_ENGINE = 32


class PlainTensorRt(ModuleType):
    """Stands for ``tensorrt``, which has less than `FakeTensorRt`; attributes say what goes wrong.

    Attributes
    ----------
    validity, diagnostics
        What every plan with a sound header is called.
    refuse
        The line logged when a plan is refused at loading; empty: it is not.
    fail_run
        The number of the run that fails (from 1), with the line ``run_line``.
    fail
        The call of a context or config that returns None or False.
    activations
        Bytes that a frame needs, or a function of its (Y, X).
    check
        What a run returns as the check; None: the mean that the graph computes.
    hollow
        Whether runs return rubbish, at once.
    """

    ILogger = Logger
    EngineValidity = Validity
    EngineInvalidityDiagnostics = Diagnostics
    ExecutionContextAllocationStrategy = Enum("ExecutionContextAllocationStrategy", ["STATIC", "USER_MANAGED"])
    name = "tensorrt"

    def __init__(self) -> None:
        super().__init__(self.name)
        self.__spec__ = ModuleSpec(self.name, None)
        self.__version__ = VERSION
        self.validity, self.diagnostics = Validity.VALID, Diagnostics(0)
        self.refuse = ""
        self.fail_run, self.run_line = 0, "unspecified reason"
        self.fail = ""
        self.activations: Any = 1 << 20
        self.check: float | None = None
        self.hollow = False
        self.kernels = b"kernels of this card"
        self.builds = 0
        self.runs = 0
        self.alive = 0
        self.configs: list[FakeConfig] = []

    def Runtime(self, logger: Logger) -> PlainRuntime:
        return PlainRuntime(self, logger)


class FakeTensorRt(PlainTensorRt):
    """Stands for ``tensorrt_rtx``."""

    name = "tensorrt_rtx"
    ComputeCapability = Enum("ComputeCapability", ["NONE", "CURRENT", "SM75", "SM86", "SM89", "SM120"])
    CudaGraphStrategy = Enum("CudaGraphStrategy", ["DISABLED", "WHOLE_GRAPH_CAPTURE"])
    DynamicShapesKernelSpecializationStrategy = Enum(
        "DynamicShapesKernelSpecializationStrategy", ["LAZY", "EAGER", "NONE"]
    )

    def Runtime(self, logger: Logger) -> FakeRuntime:
        return FakeRuntime(self, logger)


class PlainRuntime:
    def __init__(self, module: PlainTensorRt, logger: Logger) -> None:
        self.module, self.logger = module, logger

    def deserialize_cuda_engine(self, plan: bytes) -> PlainEngine | None:
        facts, graph = plan[len(HEAD) :].split(b"\n", 1)
        settings = json.loads(facts)
        if self.module.refuse or len(graph) != settings["size"]:
            self.logger.log(Severity.ERROR, self.module.refuse or "assertion plan.header.size == blobSize failed")
            return None
        kind = FakeEngine if isinstance(self, FakeRuntime) else PlainEngine
        return kind(self, settings["shapes"], settings["bit"], graph)


class FakeRuntime(PlainRuntime):
    engine_header_size = len(HEAD)

    def get_engine_validity(self, head: bytes) -> tuple[Validity, int]:
        if head != HEAD:
            return Validity.INVALID, int(Diagnostics.MALFORMED_ENGINE)
        return self.module.validity, int(self.module.diagnostics)


class PlainEngine:
    def __init__(self, runtime: PlainRuntime, shapes: list[list[int]], bit: str, graph: bytes) -> None:
        self.module, self.logger = runtime.module, runtime.logger
        self.shapes, self.bit = shapes, bit
        self.session: Any = None
        if not self.module.hollow:
            options = onnxruntime.SessionOptions()
            options.intra_op_num_threads = 1
            self.session = onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
        self.module.alive += 1

    def __del__(self) -> None:
        self.module.alive -= 1

    def get_tensor_shape(self, name: str) -> tuple[int, ...]:
        assert name == "frame"
        return (1, -1, -1, 2) if self.bit == "uint16" else (1, 1, -1, -1)

    def get_tensor_profile_shape(self, name: str, profile: int) -> list[tuple[int, ...]]:
        assert (name, profile) == ("frame", 0)
        return [(1, *shape, 2) if self.bit == "uint16" else (1, 1, *shape) for shape in self.shapes]

    def create_execution_context(self, settings: Any) -> FakeContext | None:
        strategy = settings.strategy if isinstance(settings, FakeConfig) else settings
        assert strategy is self.module.ExecutionContextAllocationStrategy.USER_MANAGED
        if self.module.fail == "create_execution_context":
            self.logger.log(Severity.ERROR, "Error Code 2: OutOfMemory (no room for the context)")
            return None
        return FakeContext(self)


class FakeEngine(PlainEngine):
    def create_runtime_config(self) -> FakeConfig:
        self.module.configs.append(FakeConfig(self.module))
        return self.module.configs[-1]


class FakeConfig:
    def __init__(self, module: PlainTensorRt) -> None:
        self.module = module
        self.cuda_graph_strategy: Any = None
        self.dynamic_shapes_kernel_specialization_strategy: Any = None
        self.strategy: Any = module.ExecutionContextAllocationStrategy.STATIC
        self.cache: FakeCache | None = None

    def set_execution_context_allocation_strategy(self, strategy: Any) -> None:
        self.strategy = strategy

    def create_runtime_cache(self) -> FakeCache:
        return FakeCache(self.module)

    def set_runtime_cache(self, cache: FakeCache) -> bool:
        self.cache = cache
        return True


class FakeCache:
    def __init__(self, module: PlainTensorRt) -> None:
        self.module = module
        self.taken = b""

    def deserialize(self, blob: bytes) -> bool:
        self.taken = blob
        return blob == self.module.kernels

    def serialize(self) -> bytes:
        return self.module.kernels


class FakeContext:
    def __init__(self, engine: PlainEngine) -> None:
        self.engine, self.module, self.logger = engine, engine.module, engine.logger
        self.shapes: dict[str, tuple[int, ...]] = {}
        self.places: dict[str, int] = {}
        self.memory = (0, 0)

    def set_input_shape(self, name: str, shape: tuple[int, ...]) -> bool:
        self.shapes[name] = shape
        return self._goes_well("set_input_shape")

    def update_device_memory_size_for_shapes(self) -> int:
        needed = self.module.activations
        return int(needed(self._sides()) if callable(needed) else needed)

    def set_tensor_address(self, name: str, address: int) -> bool:
        assert address % 256 == 0
        self.places[name] = address
        return self._goes_well("set_tensor_address")

    def set_device_memory(self, address: int, size: int) -> None:
        assert size >= self.update_device_memory_size_for_shapes()
        self.memory = (address, size)

    def execute_async_v3(self, stream: int) -> bool:
        self.module.runs += 1
        if self.module.runs == self.module.fail_run:
            self.logger.log(Severity.ERROR, self.module.run_line)
            return False
        Stream.known[stream].queue(self._run)
        return True

    def _run(self) -> None:
        ctypes.memset(self.memory[0], 0x5A, self.memory[1])
        sides = self._sides()
        assert self.shapes["shade"] == (1, 1, *shade_shape(sides))
        if self.engine.session is None:
            _at(self.places["check"], (), np.float32)[...] = 0.5
            return
        kinds = {"frame": np.uint8, "shade": np.float32, "black": np.float32, "offset": np.float32}
        feed = {name: _at(self.places[name], shape, kinds[name]).copy() for name, shape in self.shapes.items()}
        stains, check = self.engine.session.run(["stains", "check"], feed)
        _at(self.places["stains"], stains.shape, np.uint8)[...] = stains
        _at(self.places["check"], (), np.float32)[...] = check if self.module.check is None else self.module.check

    def _sides(self) -> tuple[int, int]:
        frame = self.shapes["frame"]
        return (frame[1], frame[2]) if self.engine.bit == "uint16" else (frame[2], frame[3])

    def _goes_well(self, call: str) -> bool:
        if self.module.fail == call:
            self.logger.log(Severity.ERROR, f"API usage error in {call}")
        return self.module.fail != call


def plan_bytes(graph: onnx.ModelProto, shapes: Shapes, bit: str) -> bytes:
    """A plan that `FakeRuntime` loads."""
    data: bytes = graph.SerializeToString(deterministic=True)
    facts = json.dumps({"shapes": shapes.as_lists(), "bit": bit, "size": len(data)})
    return HEAD + facts.encode() + b"\n" + data


def install(monkeypatch: pytest.MonkeyPatch, fake: FakeTensorRt) -> FakeTensorRt:
    """Let this module and its builder be the ones that are found; the other of NVIDIA's modules is not installed."""

    for name in ("tensorrt_rtx", "tensorrt"):
        monkeypatch.setitem(sys.modules, name, fake if name == fake.name else None)
    monkeypatch.setattr("livestain.engine.backends.tensorrt.build_plan", builder(fake))
    return fake


def builder(fake: PlainTensorRt) -> Callable[..., BuiltPlan]:
    """Stands for `livestain.engine.tensorrt.build.build_plan`."""

    def build(
        module: Any, graph: onnx.ModelProto, *, targets: Sequence[str] | None, shapes: Shapes, bit: str
    ) -> BuiltPlan:
        assert module is fake
        assert targets is None
        fake.builds += 1
        return BuiltPlan(plan_bytes(graph, shapes, bit), 0.0, ())

    return build


def _at(address: int, shape: Sequence[int], dtype: Any) -> npt.NDArray[Any]:
    size = int(np.prod(shape)) * np.dtype(dtype).itemsize
    memory: npt.NDArray[np.uint8] = np.ctypeslib.as_array((ctypes.c_uint8 * size).from_address(address))
    array: npt.NDArray[Any] = memory.view(dtype).reshape(shape)
    return array
