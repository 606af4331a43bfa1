"""What a ring can be made of: the calls of livestain, those of torch, or none where there is no card."""

from __future__ import annotations

import contextlib
import ctypes
from contextlib import ExitStack
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

Bytes = npt.NDArray[np.uint8]


class Calls(Protocol):
    """What a ring needs of a device: the part of `livestain.engine.cuda.Cuda` that copies and waits."""

    def pinned(self, size: int, held: ExitStack) -> Bytes:
        """Return host memory that the device reads and writes by itself."""
        ...

    def stream(self, held: ExitStack) -> Any:
        """Return a new stream."""
        ...

    def event(self, held: ExitStack) -> Any:
        """Return a new event."""
        ...

    def copy(self, to: int, source: int, size: int, stream: Any) -> None:
        """Queue a copy between any two addresses."""
        ...

    def record(self, event: Any, stream: Any) -> None:
        """Queue an event."""
        ...

    def hold(self, stream: Any, event: Any) -> None:
        """Let a stream wait for an event."""
        ...

    def wait(self, event: Any) -> None:
        """Block until an event has come."""
        ...


class TorchCalls:
    """Pinned memory, streams and events of torch, where ``cuda.bindings`` or pydantic is not installed."""

    def __init__(self) -> None:
        self._memory: dict[int, Tensor] = {}

    def pinned(self, size: int, held: ExitStack) -> Bytes:
        """Return page-locked memory, kept as long as this object."""
        return np.asarray(self.keep(torch.empty(size, dtype=torch.uint8).pin_memory()).numpy())

    def keep(self, memory: Tensor) -> Tensor:
        """Remember a flat tensor of bytes: torch copies between tensors and not between addresses."""
        self._memory[memory.data_ptr()] = memory
        return memory

    def stream(self, held: ExitStack) -> Any:
        """Return a stream."""
        return torch.cuda.Stream()

    def event(self, held: ExitStack) -> Any:
        """Return an event; who waits for it sleeps, as in livestain."""
        return torch.cuda.Event(blocking=True)

    def copy(self, to: int, source: int, size: int, stream: Any) -> None:
        """Queue a copy between two whole pieces of memory."""
        with torch.cuda.stream(stream):
            self._memory[to].copy_(self._memory[source], non_blocking=True)

    def record(self, event: Any, stream: Any) -> None:
        """Queue an event."""
        event.record(stream)

    def hold(self, stream: Any, event: Any) -> None:
        """Let a stream wait for an event."""
        stream.wait_event(event)

    def wait(self, event: Any) -> None:
        """Block until an event has come."""
        event.synchronize()


class HostCalls:
    """No card: everything at once and in order, in host memory."""

    def pinned(self, size: int, held: ExitStack) -> Bytes:
        """Return plain memory."""
        return np.empty(size, np.uint8)

    def stream(self, held: ExitStack) -> Any:
        """Return nothing."""

    def event(self, held: ExitStack) -> Any:
        """Return nothing."""

    def copy(self, to: int, source: int, size: int, stream: Any) -> None:
        """Copy."""
        ctypes.memmove(to, source, size)

    def record(self, event: Any, stream: Any) -> None:
        """Do nothing."""

    def hold(self, stream: Any, event: Any) -> None:
        """Do nothing."""

    def wait(self, event: Any) -> None:
        """Do nothing."""


def find_calls(device: str) -> tuple[Calls, str]:
    """Return the best calls for this device, and in words which they are and why."""
    if device != "cuda":
        return HostCalls(), "host memory, no card"
    try:
        from livestain.engine.cuda import Cuda
        from livestain.errors import BackendMissingError

        try:
            return Cuda(), "livestain.engine.cuda over cuda.bindings"
        except BackendMissingError as error:
            return TorchCalls(), f"torch streams and pinned memory ({error})"
    except ImportError as error:  # pydantic
        return TorchCalls(), f"torch streams and pinned memory ({error})"


def torch_stream(stream: Any) -> Any:
    """Return a context in which torch works on a stream, whoever made it; one that does nothing without a card."""
    if stream is None:
        return contextlib.nullcontext()
    own = isinstance(stream, torch.cuda.Stream)
    return torch.cuda.stream(stream if own else torch.cuda.ExternalStream(int(stream)))
