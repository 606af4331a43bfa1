"""What stands in for `livestain.engine.tensorrt.cuda.Cuda` in a ring: torch, or host memory where there is no card."""

from __future__ import annotations

import ctypes
from contextlib import ExitStack
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from livestain.engine.tensorrt.cuda import Cuda
from livestain.errors import BackendMissingError

Bytes = npt.NDArray[np.uint8]


class TorchCalls:
    """Memory, streams and events of torch; kept as long as this object."""

    def __init__(self) -> None:
        self._memory: dict[int, Tensor] = {}
        self._streams: list[torch.cuda.Stream] = []

    def require_free(self, size: int) -> None:
        """Leave it to torch to fail."""

    def pinned(self, size: int, held: ExitStack) -> Bytes:
        """Return page-locked memory."""
        return np.asarray(self.keep(torch.empty(size, dtype=torch.uint8).pin_memory()).numpy())

    def device_memory(self, size: int, held: ExitStack) -> int:
        """Return the address of memory on the card."""
        return int(self.keep(torch.empty(size, dtype=torch.uint8, device="cuda")).data_ptr())

    def keep(self, memory: Tensor) -> Tensor:
        """Remember a tensor: torch copies between tensors and not between addresses."""
        self._memory[memory.data_ptr()] = memory.view(torch.uint8).reshape(-1)
        return memory

    def stream(self, held: ExitStack) -> int:
        """Return a stream."""
        self._streams.append(torch.cuda.Stream())
        return int(self._streams[-1].cuda_stream)

    def event(self, held: ExitStack) -> Any:
        """Return an event; who waits for it sleeps, as in livestain."""
        return torch.cuda.Event(blocking=True)

    def copy(self, to: int, source: int, size: int, stream: int) -> None:
        """Queue a copy."""
        with torch.cuda.stream(torch.cuda.ExternalStream(stream)):
            self._memory[to][:size].copy_(self._memory[source][:size], non_blocking=True)

    def record(self, event: Any, stream: int) -> None:
        """Queue an event."""
        event.record(torch.cuda.ExternalStream(stream))

    def hold(self, stream: int, event: Any) -> None:
        """Let a stream wait for an event."""
        torch.cuda.ExternalStream(stream).wait_event(event)

    def wait(self, event: Any) -> None:
        """Block until an event has come."""
        event.synchronize()

    def finish(self, stream: int) -> None:
        """Block until a stream has nothing more to do."""
        torch.cuda.ExternalStream(stream).synchronize()


class HostCalls:
    """No card: everything at once and in order, in host memory."""

    def __init__(self) -> None:
        self._memory: list[Bytes] = []

    def require_free(self, size: int) -> None:
        """Do nothing."""

    def pinned(self, size: int, held: ExitStack) -> Bytes:
        """Return plain memory."""
        return np.empty(size, np.uint8)

    def device_memory(self, size: int, held: ExitStack) -> int:
        """Return the address of plain memory."""
        self._memory.append(np.empty(size, np.uint8))
        return int(self._memory[-1].ctypes.data)

    def stream(self, held: ExitStack) -> int:
        """Return what stands for a stream."""
        return 0

    def event(self, held: ExitStack) -> None:
        """Return nothing."""

    def copy(self, to: int, source: int, size: int, stream: int) -> None:
        """Copy."""
        ctypes.memmove(to, source, size)

    def record(self, event: None, stream: int) -> None:
        """Do nothing."""

    def hold(self, stream: int, event: None) -> None:
        """Do nothing."""

    def wait(self, event: None) -> None:
        """Do nothing."""

    def finish(self, stream: int) -> None:
        """Do nothing."""


def find_calls(device: str) -> tuple[Any, str]:
    """Return the calls for a ring on this device, and in words which they are and why."""
    if device != "cuda":
        return HostCalls(), "host memory, no card"
    try:
        return Cuda(), "livestain.engine.tensorrt.cuda over cuda.bindings"
    except BackendMissingError as error:
        return TorchCalls(), f"streams and pinned memory of torch ({error})"
