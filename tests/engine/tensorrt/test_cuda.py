"""CUDA calls: what fails is named and typed, and what was allocated is freed, whichever call fails."""

from __future__ import annotations

import logging
import re
import sys
from contextlib import ExitStack
from typing import Any

import numpy as np
import pytest

from livestain.engine.tensorrt.cuda import CALLS, Cuda, find_gpu
from livestain.errors import BackendMissingError, EngineError, EngineLostError, EngineMemoryError
from tests.engine.tensorrt.fake_cuda import Code, FakeCuda, install


def test_the_first_card_is_found_with_what_engine_files_need_to_know() -> None:
    gpu, reason = find_gpu(FakeCuda())
    assert gpu is not None
    assert reason == ""
    assert (gpu.name, gpu.capability, gpu.driver) == ("NVIDIA Fake 4090", (8, 9), "CUDA 13.0")
    assert (gpu.target, gpu.current_target) == ("SM89", "current: NVIDIA Fake 4090, CUDA 13.0")
    assert str(gpu) == "NVIDIA Fake 4090 (24 GiB, compute capability 8.9, driver for CUDA 13.0)"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"driver": 0}, "no NVIDIA driver is installed"),
        (
            {"driver": 12040, "count_code": Code.cudaErrorInsufficientDriver},
            r"too old: it knows CUDA 12\.4, this program uses CUDA 13\.5; install a driver for CUDA 13\.0 or later",
        ),
        ({"count_code": Code.cudaErrorNoDevice}, "a driver but no NVIDIA card"),
        ({"count_code": Code.cudaErrorECCUncorrectable}, "cudaGetDeviceCount failed with cudaErrorECCUncorrectable"),
        ({"fail_at": 1}, "cudaDriverGetVersion failed with cudaErrorIllegalAddress"),
    ],
    ids=["no driver", "old driver", "no card", "broken card", "other failure"],
)
def test_without_a_card_the_reason_is_given(change: dict[str, Any], words: str) -> None:
    fake = FakeCuda()
    vars(fake).update(change)
    gpu, reason = find_gpu(fake)
    assert gpu is None
    assert re.search(words, reason)


def test_missing_bindings_are_named_with_their_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cuda.bindings.runtime", None)
    with pytest.raises(BackendMissingError, match=r"cuda-bindings cannot be loaded .*pip install .livestain\[nvidia\]"):
        Cuda()
    assert "cuda-bindings" in find_gpu()[1]


def test_the_bindings_are_loaded_when_none_are_given(monkeypatch: pytest.MonkeyPatch) -> None:
    fake = install(monkeypatch, FakeCuda())
    Cuda().require_free(1)
    assert fake.calls == ["cudaMemGetInfo"]


@pytest.mark.parametrize(
    ("code", "kind", "words"),
    [
        (Code.cudaErrorMemoryAllocation, EngineMemoryError, r"cudaMalloc .* cudaErrorMemoryAllocation \(2\).*close"),
        (Code.cudaErrorIllegalAddress, EngineLostError, r"cudaErrorIllegalAddress \(700\).*start the program again"),
        (Code.cudaErrorECCUncorrectable, EngineLostError, r"cudaErrorECCUncorrectable \(214\)"),
        (Code.cudaErrorLaunchFailure, EngineLostError, r"cudaErrorLaunchFailure \(719\)"),
        (Code.cudaErrorInvalidValue, EngineError, r"cudaErrorInvalidValue \(1\); please report"),
        (98765, EngineError, r"unknown to this version of cuda-bindings \(98765\)"),
    ],
)
def test_a_failed_call_is_named_with_its_code_and_a_remedy(code: Any, kind: type[EngineError], words: str) -> None:
    fake = FakeCuda(fail_at=1, code=code)
    with ExitStack() as held, pytest.raises(EngineError, match=words) as caught:
        Cuda(fake).device_memory(1, held)
    assert type(caught.value) is kind


def test_a_function_that_the_driver_lacks_means_that_the_card_cannot_be_used(monkeypatch: pytest.MonkeyPatch) -> None:
    fake = FakeCuda()

    def lacking(_size: int) -> tuple[Any, ...]:
        raise RuntimeError('Function "cudaMalloc" not found')

    monkeypatch.setattr(fake, "cudaMalloc", lacking)
    with ExitStack() as held, pytest.raises(EngineLostError, match=r"cudaMalloc cannot be called.*update"):
        Cuda(fake).device_memory(1, held)


def test_too_little_free_memory_is_said_in_mib() -> None:
    fake = FakeCuda()
    fake.free_bytes = 100 << 20
    Cuda(fake).require_free(100 << 20)
    with pytest.raises(EngineMemoryError, match="101 MiB are needed on the card and 100 of its 24576 MiB are free"):
        Cuda(fake).require_free(101 << 20)


def test_bytes_go_up_and_come_down_again() -> None:
    cuda = Cuda(FakeCuda())
    with ExitStack() as held:
        here, there, back = cuda.pinned(1000, held), cuda.device_memory(1000, held), cuda.pinned(1000, held)
        stream, event = cuda.stream(held), cuda.event(held)
        here[:] = np.arange(1000) % 251
        cuda.copy(there, here.ctypes.data, 1000, stream)
        cuda.copy(back.ctypes.data, there, 1000, stream)
        cuda.record(event, stream)
        assert not np.array_equal(back, here)
        cuda.wait(event)
        np.testing.assert_array_equal(back, here)


def test_everything_is_freed_last_first() -> None:
    fake = FakeCuda()
    with ExitStack() as held:
        allocate_all(Cuda(fake), held)
        assert fake.held == 4
    assert fake.held == 0
    assert fake.calls[-4:] == ["cudaEventDestroy", "cudaStreamDestroy", "cudaFree", "cudaFreeHost"]


def allocate_all(cuda: Cuda, held: ExitStack) -> None:
    cuda.pinned(10, held)
    cuda.device_memory(10, held)
    cuda.stream(held)
    cuda.event(held)


@pytest.mark.parametrize("number", [1, 2, 3, 4])
def test_what_was_allocated_before_a_failure_is_freed(number: int) -> None:
    fake = FakeCuda(fail_at=number)
    with pytest.raises(EngineLostError), ExitStack() as held:
        allocate_all(Cuda(fake), held)
    assert fake.held == 0


def test_a_failure_to_free_is_logged_and_the_rest_is_freed(caplog: pytest.LogCaptureFixture) -> None:
    fake = FakeCuda(fail_at=5)
    with caplog.at_level(logging.WARNING), ExitStack() as held:
        allocate_all(Cuda(fake), held)
    assert "not freed: cudaEventDestroy failed" in caplog.text
    assert fake.held == 1


@pytest.mark.parametrize(
    ("call", "arguments"),
    [
        ("cudaDriverGetVersion", []),
        ("cudaRuntimeGetVersion", []),
        ("cudaGetDeviceCount", []),
        ("cudaGetDeviceProperties", ["device"]),
        ("cudaMemGetInfo", []),
        ("cudaHostAlloc", ["size", "flags"]),
        ("cudaFreeHost", ["ptr"]),
        ("cudaMalloc", ["size"]),
        ("cudaFree", ["devPtr"]),
        ("cudaStreamCreateWithFlags", ["flags"]),
        ("cudaStreamDestroy", ["stream"]),
        ("cudaStreamSynchronize", ["stream"]),
        ("cudaStreamWaitEvent", ["stream", "event", "flags"]),
        ("cudaEventCreateWithFlags", ["flags"]),
        ("cudaEventDestroy", ["event"]),
        ("cudaEventRecord", ["event", "stream"]),
        ("cudaEventSynchronize", ["event"]),
        ("cudaMemcpyAsync", ["dst", "src", "count", "kind", "stream"]),
    ],
)
def test_the_real_bindings_have_every_call_with_these_arguments(call: str, arguments: list[str]) -> None:
    assert call in CALLS
    first = (getattr(real_bindings(), call).__doc__ or "").strip().splitlines()[0]
    inside = first[first.index("(") + 1 : first.rindex(")")]
    names = [part.split(":")[0].split()[-1] for part in inside.split(",") if part.strip()]
    assert names == arguments


def test_the_real_bindings_have_the_constants_and_codes_that_are_used() -> None:
    real = real_bindings()
    assert (real.cudaStreamNonBlocking, real.cudaEventBlockingSync, real.cudaEventDisableTiming) == (1, 1, 2)
    assert real.cudaMemcpyKind.cudaMemcpyDefault == 4
    from livestain.engine.tensorrt import cuda

    assert {*cuda._LOST, *cuda._NO_MEMORY} <= {code.name for code in real.cudaError_t}
    assert all(getattr(real.cudaError_t, code.name) == code for code in Code)
    assert {"name", "major", "minor", "totalGlobalMem"} <= set(dir(real.cudaDeviceProp))


def test_the_table_names_every_call_once() -> None:
    assert len(CALLS) == len(set(CALLS)) == 18


def real_bindings() -> Any:
    return pytest.importorskip(
        "cuda.bindings.runtime", reason="cuda-bindings is not installed: would show that its calls are as used here"
    )
