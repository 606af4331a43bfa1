"""A card made of host memory: every copy really happens, but only when somebody waits for it, and in a wild order.

Streams are queues. Waiting for an event or a stream runs the queues until it has happened, taking at each step any
stream that may go on, by a seeded draw: a program that forgets to order two stages gets wrong pixels.
"""

# ruff: noqa: N802, N815 - the names are NVIDIA's.

from __future__ import annotations

import ctypes
import random
import sys
from collections import deque
from collections.abc import Callable
from enum import IntEnum
from importlib.machinery import ModuleSpec
from types import ModuleType, SimpleNamespace
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import pytest


class Code(IntEnum):
    cudaSuccess = 0
    cudaErrorInvalidValue = 1
    cudaErrorMemoryAllocation = 2
    cudaErrorInsufficientDriver = 35
    cudaErrorNoDevice = 100
    cudaErrorECCUncorrectable = 214
    cudaErrorIllegalAddress = 700
    cudaErrorLaunchFailure = 719


class Stream:
    """A queue of work; ``int()`` of it is what TensorRT is given."""

    known: ClassVar[dict[int, Stream]] = {}

    def __init__(self) -> None:
        self.work: deque[Callable[[], bool]] = deque()
        Stream.known[id(self)] = self

    def __int__(self) -> int:
        return id(self)

    def queue(self, work: Callable[[], Any]) -> None:
        """Add work that can be done as soon as its turn comes."""
        self.work.append(lambda: (work(), True)[1])


class Event:
    def __init__(self) -> None:
        self.asked = 0
        self.happened = 0


class FakeCuda(ModuleType):
    """Stands for ``cuda.bindings.runtime``.

    Parameters
    ----------
    fail_at
        The number of the call that fails (from 1); None: none does.
    code
        With what it fails.
    forever
        Whether all later ones fail, too.

    Attributes
    ----------
    calls
        The names of all calls, in order.
    refused
        How many calls to free something failed.
    """

    cudaError_t = Code
    cudaMemcpyKind = SimpleNamespace(cudaMemcpyDefault=4)

    def __init__(
        self, fail_at: int | None = None, code: Code = Code.cudaErrorIllegalAddress, *, forever: bool = False
    ) -> None:
        super().__init__("cuda.bindings.runtime")
        self.__spec__ = ModuleSpec(self.__name__, None)
        self.fail_at, self.code, self.forever = fail_at, code, forever
        self.driver, self.runtime, self.count_code = 13000, 13050, Code.cudaSuccess
        self.properties = SimpleNamespace(name=b"NVIDIA Fake 4090", major=8, minor=9, totalGlobalMem=24 << 30)
        self.free_bytes = 20 << 30
        self.calls: list[str] = []
        self.refused = 0
        self.host: dict[int, npt.NDArray[np.uint8]] = {}
        self.device: dict[int, npt.NDArray[np.uint8]] = {}
        self.streams: list[Stream] = []
        self.events: list[Event] = []
        self._draw = random.Random(0)

    @property
    def held(self) -> int:
        """How many things were allocated and not freed."""
        return len(self.host) + len(self.device) + len(self.streams) + len(self.events)

    def _code(self, name: str) -> Code:
        self.calls.append(name)
        if self.fail_at is None:
            return Code.cudaSuccess
        now = len(self.calls)
        failed = now == self.fail_at or (self.forever and now > self.fail_at)
        if failed and self.forever:
            for stream in self.streams:  # a lost card does nothing any more
                stream.work.clear()
        self.refused += failed and ("Free" in name or "Destroy" in name)
        return self.code if failed else Code.cudaSuccess

    def _do(self, name: str, action: Callable[[], Any] = lambda: None, *, results: int = 0) -> tuple[Any, ...]:
        code = self._code(name)
        if code:
            return (code, *[None] * results)
        result = action()
        return (code, *([] if results == 0 else [result] if results == 1 else result))

    def cudaDriverGetVersion(self) -> tuple[Any, ...]:
        return self._do("cudaDriverGetVersion", lambda: self.driver, results=1)

    def cudaRuntimeGetVersion(self) -> tuple[Any, ...]:
        return self._do("cudaRuntimeGetVersion", lambda: self.runtime, results=1)

    def cudaGetDeviceCount(self) -> tuple[Any, ...]:
        if self.count_code:
            return self.count_code, None
        return self._do("cudaGetDeviceCount", lambda: 1, results=1)

    def cudaGetDeviceProperties(self, _device: int) -> tuple[Any, ...]:
        return self._do("cudaGetDeviceProperties", lambda: self.properties, results=1)

    def cudaMemGetInfo(self) -> tuple[Any, ...]:
        return self._do("cudaMemGetInfo", lambda: (self.free_bytes, self.properties.totalGlobalMem), results=2)

    def cudaHostAlloc(self, size: int, _flags: int) -> tuple[Any, ...]:
        return self._do("cudaHostAlloc", lambda: _allocate(self.host, size), results=1)

    def cudaFreeHost(self, pointer: int) -> tuple[Any, ...]:
        return self._do("cudaFreeHost", lambda: self.host.pop(pointer))

    def cudaMalloc(self, size: int) -> tuple[Any, ...]:
        return self._do("cudaMalloc", lambda: _allocate(self.device, size), results=1)

    def cudaFree(self, pointer: int) -> tuple[Any, ...]:
        return self._do("cudaFree", lambda: self.device.pop(pointer))

    def cudaStreamCreateWithFlags(self, flags: int) -> tuple[Any, ...]:
        assert flags == 1
        return self._do("cudaStreamCreateWithFlags", lambda: _new(self.streams, Stream()), results=1)

    def cudaStreamDestroy(self, stream: Stream) -> tuple[Any, ...]:
        return self._do("cudaStreamDestroy", lambda: self.streams.remove(stream))

    def cudaEventCreateWithFlags(self, flags: int) -> tuple[Any, ...]:
        assert flags == 3
        return self._do("cudaEventCreateWithFlags", lambda: _new(self.events, Event()), results=1)

    def cudaEventDestroy(self, event: Event) -> tuple[Any, ...]:
        return self._do("cudaEventDestroy", lambda: self.events.remove(event))

    def cudaEventRecord(self, event: Event, stream: Stream) -> tuple[Any, ...]:
        def record() -> None:
            event.asked += 1
            number = event.asked
            stream.queue(lambda: setattr(event, "happened", number))

        return self._do("cudaEventRecord", record)

    def cudaStreamWaitEvent(self, stream: Stream, event: Event, _flags: int) -> tuple[Any, ...]:
        asked = event.asked
        return self._do("cudaStreamWaitEvent", lambda: stream.work.append(lambda: event.happened >= asked))

    def cudaMemcpyAsync(self, to: int, source: int, size: int, _kind: int, stream: Stream) -> tuple[Any, ...]:
        for address in (to, source):
            assert self._inside(address, size), "a copy outside what was allocated"
        return self._do("cudaMemcpyAsync", lambda: stream.queue(lambda: ctypes.memmove(to, source, size)))

    def cudaEventSynchronize(self, event: Event) -> tuple[Any, ...]:
        asked = event.asked
        return self._do("cudaEventSynchronize", lambda: self._work_until(lambda: event.happened >= asked))

    def cudaStreamSynchronize(self, stream: Stream) -> tuple[Any, ...]:
        return self._do("cudaStreamSynchronize", lambda: self._work_until(lambda: not stream.work))

    def _inside(self, address: int, size: int) -> bool:
        return any(
            start <= address and address + size <= start + block.size
            for blocks in (self.host, self.device)
            for start, block in blocks.items()
        )

    def _work_until(self, done: Callable[[], bool]) -> None:
        while not done():
            ready = [stream for stream in self.streams if stream.work]
            self._draw.shuffle(ready)
            assert any(self._step(stream) for stream in ready), "every stream waits for another"

    def _step(self, stream: Stream) -> bool:
        if not stream.work[0]():
            return False
        stream.work.popleft()
        return True


def install(monkeypatch: pytest.MonkeyPatch, fake: FakeCuda) -> FakeCuda:
    """Let ``cuda.bindings.runtime`` be this one."""
    monkeypatch.setitem(sys.modules, fake.__name__, fake)
    return fake


def _allocate(blocks: dict[int, npt.NDArray[np.uint8]], size: int) -> int:
    # Rubbish inside, as on a card, and at an address that TensorRT takes.
    whole = np.full(size + 256, 0xA5, np.uint8)
    skip = -whole.ctypes.data % 256
    block = whole[skip : skip + size]
    blocks[block.ctypes.data] = block
    return int(block.ctypes.data)


def _new(things: list[Any], thing: Any) -> Any:
    things.append(thing)
    return thing
