"""The real library, without a card: every name that we use is there, and it fails as its double does."""

from __future__ import annotations

import sys
from typing import Any

import pytest

from livestain.engine.backends.tensorrt import TensorRtEngine
from livestain.engine.cache import EngineCache
from livestain.engine.graph import compose
from livestain.engine.tensorrt.build import Shapes, build_plan
from livestain.engine.tensorrt.cuda import find_gpu
from livestain.engine.tensorrt.module import Lines, TensorRt
from livestain.engine.tensorrt.plans import Wish, plan_facts
from livestain.errors import (
    EngineFileError,
    EngineLostError,
)
from livestain.model import Model
from tests.engine.tensorrt.fake_cuda import FakeCuda
from tests.engine.tensorrt.fake_tensorrt import Diagnostics
from tests.engine.tensorrt.pieces import grey, stain


def real_tensorrt() -> Any:
    return pytest.importorskip(
        "tensorrt_rtx", reason="tensorrt-rtx is not installed: would show that its names are as used here"
    )


@pytest.mark.parametrize(
    ("owner", "names"),
    [
        ("Runtime", ["deserialize_cuda_engine", "engine_header_size", "get_engine_validity"]),
        (
            "ICudaEngine",
            ["create_execution_context", "create_runtime_config", "get_tensor_profile_shape", "get_tensor_shape"],
        ),
        (
            "IExecutionContext",
            [
                "execute_async_v3",
                "set_device_memory",
                "set_input_shape",
                "set_tensor_address",
                "update_device_memory_size_for_shapes",
            ],
        ),
        (
            "IRuntimeConfig",
            [
                "create_runtime_cache",
                "cuda_graph_strategy",
                "dynamic_shapes_kernel_specialization_strategy",
                "set_execution_context_allocation_strategy",
                "set_runtime_cache",
            ],
        ),
        ("IRuntimeCache", ["deserialize", "serialize"]),
        ("ILogger", ["ERROR", "INTERNAL_ERROR", "log"]),
        ("CudaGraphStrategy", ["WHOLE_GRAPH_CAPTURE"]),
        ("DynamicShapesKernelSpecializationStrategy", ["LAZY"]),
        ("ExecutionContextAllocationStrategy", ["USER_MANAGED"]),
        ("EngineValidity", ["INVALID", "SUBOPTIMAL"]),
        ("EngineInvalidityDiagnostics", list(Diagnostics.__members__)),
        ("ComputeCapability", ["SM75", "SM86", "SM89", "SM120"]),
    ],
)
def test_the_real_library_has_every_name_that_is_used(owner: str, names: list[str]) -> None:
    assert set(names) <= set(dir(getattr(real_tensorrt(), owner)))


@pytest.mark.parametrize(
    ("owner", "call", "arguments"),
    [
        ("Runtime", "deserialize_cuda_engine", "serialized_engine: typing_extensions.Buffer) ->"),
        ("Runtime", "get_engine_validity", "buffer: typing_extensions.Buffer) -> tuple"),
        ("ICudaEngine", "create_execution_context", "runtime_config: tensorrt_rtx_bindings"),
        ("ICudaEngine", "get_tensor_profile_shape", "name: str, profile_index: typing.SupportsInt) -> list"),
        ("IExecutionContext", "execute_async_v3", "stream_handle: typing.SupportsInt) -> bool"),
        ("IExecutionContext", "set_device_memory", "memory: typing.SupportsInt, size: typing.SupportsInt) -> None"),
        ("IExecutionContext", "set_input_shape", "name: str, shape: tuple) -> bool"),
        ("IExecutionContext", "set_tensor_address", "name: str, memory: typing.SupportsInt) -> bool"),
        ("IExecutionContext", "update_device_memory_size_for_shapes", ") -> int"),
        ("IRuntimeCache", "deserialize", "blob: typing_extensions.Buffer) -> bool"),
        ("IRuntimeCache", "serialize", "IHostMemory"),
        ("IRuntimeConfig", "set_runtime_cache", ") -> bool"),
    ],
)
def test_the_real_library_takes_these_arguments(owner: str, call: str, arguments: str) -> None:
    assert arguments in (getattr(getattr(real_tensorrt(), owner), call).__doc__ or "")


def test_the_real_diagnostics_have_the_bits_of_the_double() -> None:
    real = real_tensorrt().EngineInvalidityDiagnostics.__members__
    assert all(int(real[name]) == int(bit) for name, bit in Diagnostics.__members__.items())


def test_the_real_library_calls_rubbish_malformed() -> None:
    with pytest.raises(EngineFileError, match="MALFORMED_ENGINE"):
        TensorRt(real_tensorrt()).load(b"no plan at all" * 10)


def test_the_real_library_says_why_in_the_log_only() -> None:
    real = real_tensorrt()
    lines = Lines(real)
    assert real.Runtime(lines.logger).deserialize_cuda_engine(b"no plan at all" * 10) is None
    assert len(str(lines.failure("it failed"))) > len("it failed: it gave no reason")


@pytest.mark.skipif(find_gpu()[0] is not None, reason="a card is here: would show what the library says without one")
def test_the_real_library_without_a_driver_fails_as_an_engine_does(
    own_model: Model, cuda: FakeCuda, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = real_tensorrt()
    monkeypatch.setitem(sys.modules, "tensorrt", None)
    graph = compose(own_model.generator(), own_model.card.stride, "bytes", "uint16")
    wish = Wish("f32", Shapes(), "uint16", ("SM89",))
    facts = plan_facts(real, own_model, graph.SerializeToString(deterministic=True), wish)
    plan = build_plan(real, graph, targets=("SM89",), shapes=Shapes(), bit="uint16")
    EngineCache.of(own_model).store(facts, plan.data)
    engine = TensorRtEngine(own_model)
    with pytest.raises(EngineLostError, match=r"the NVIDIA driver is missing or too old.*cudaError 35[^|]*$"):
        stain(engine, grey())
    engine.close()
    assert cuda.held == 0
