"""The card: what CUDA calls for memory, streams and copies, each checked, each undone on the way out.

::

    with ExitStack() as held:
        memory = cuda.device_memory(size, held)      # freed, in reverse order, when ``held`` closes
        host = cuda.pinned(size, held)
        stream = cuda.stream(held)

Nothing here computes: kernels are TensorRT's business. The calls are those of ``cuda.bindings.runtime``; every one
returns a tuple, its error first.
"""

from __future__ import annotations

import ctypes
import importlib
import logging
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from livestain.errors import BackendMissingError, EngineError, EngineLostError, EngineMemoryError
from livestain.settings import INSTALL

_log = logging.getLogger(__name__)

CALLS = (
    "cudaDriverGetVersion",
    "cudaRuntimeGetVersion",
    "cudaGetDeviceCount",
    "cudaGetDeviceProperties",
    "cudaMemGetInfo",
    "cudaHostAlloc",
    "cudaFreeHost",
    "cudaMalloc",
    "cudaFree",
    "cudaStreamCreateWithFlags",
    "cudaStreamDestroy",
    "cudaStreamSynchronize",
    "cudaStreamWaitEvent",
    "cudaEventCreateWithFlags",
    "cudaEventDestroy",
    "cudaEventRecord",
    "cudaEventSynchronize",
    "cudaMemcpyAsync",
)
"""Every call made here; beside them ``cudaError_t`` and ``cudaMemcpyKind.cudaMemcpyDefault`` are used."""

_NO_FLAGS = 0
_NON_BLOCKING = 1  # cudaStreamNonBlocking: does not wait for work of others on the default stream
_SLEEPING_UNTIMED = 1 | 2  # cudaEventBlockingSync | cudaEventDisableTiming: the acquisition needs the cores

_NO_MEMORY = frozenset({"cudaErrorMemoryAllocation", "cudaErrorMemoryValueTooLarge"})

_LOST = frozenset(
    {
        "cudaErrorInitializationError",
        "cudaErrorCudartUnloading",
        "cudaErrorInsufficientDriver",
        "cudaErrorStubLibrary",
        "cudaErrorDevicesUnavailable",
        "cudaErrorNoDevice",
        "cudaErrorInvalidDevice",
        "cudaErrorDeviceUninitialized",
        "cudaErrorECCUncorrectable",
        "cudaErrorNvlinkUncorrectable",
        "cudaErrorContained",
        "cudaErrorIllegalAddress",
        "cudaErrorLaunchTimeout",
        "cudaErrorContextIsDestroyed",
        "cudaErrorAssert",
        "cudaErrorHardwareStackError",
        "cudaErrorIllegalInstruction",
        "cudaErrorMisalignedAddress",
        "cudaErrorInvalidAddressSpace",
        "cudaErrorInvalidPc",
        "cudaErrorLaunchFailure",
        "cudaErrorTensorMemoryLeak",
        "cudaErrorSystemNotReady",
        "cudaErrorSystemDriverMismatch",
        "cudaErrorCompatNotSupportedOnDevice",
        "cudaErrorMpsConnectionFailed",
        "cudaErrorMpsRpcFailure",
        "cudaErrorMpsServerNotReady",
        "cudaErrorMpsClientTerminated",
        "cudaErrorExternalDevice",
        "cudaErrorUnknown",
    }
)
"""After these every further call of this process fails, too: the device or its driver is gone."""


@dataclass(frozen=True, slots=True)
class Gpu:
    """An NVIDIA card.

    Attributes
    ----------
    name
        As the driver has it, such as ``"NVIDIA GeForce RTX 4090"``.
    capability
        Compute capability, such as (8, 9).
    driver
        The newest CUDA that its driver knows, such as ``"CUDA 13.0"``.
    memory_bytes
        All of its memory, free or not.
    """

    name: str
    capability: tuple[int, int]
    driver: str
    memory_bytes: int

    @property
    def target(self) -> str:
        """Compute capability as engine files name it: ``"SM89"``."""
        return f"SM{self.capability[0]}{self.capability[1]}"

    @property
    def current_target(self) -> str:
        """The target of an engine file that was built for this very card and driver."""
        return f"current: {self.name}, {self.driver}"

    def __str__(self) -> str:
        major, minor = self.capability
        memory = f"{self.memory_bytes / 2**30:.0f} GiB"
        return f"{self.name} ({memory}, compute capability {major}.{minor}, driver for {self.driver})"


def load_calls() -> Any:  # Any: NVIDIA's modules have no types
    """Return ``cuda.bindings.runtime``.

    Raises
    ------
    BackendMissingError
        It is not installed, or (mostly on Windows) one of its libraries cannot be loaded.
    """
    try:
        return importlib.import_module("cuda.bindings.runtime")
    except (ImportError, OSError) as error:
        raise BackendMissingError(f"cuda-bindings cannot be loaded ({error}); {INSTALL['tensorrt']}") from error


def find_gpu(calls: Any = None) -> tuple[Gpu | None, str]:
    """Return the first card and an empty text, or None and the reason; the first call may take half a second.

    Which card is first, if there are several, ``CUDA_VISIBLE_DEVICES`` decides.
    """
    try:
        cuda = Cuda(calls)
        return cuda.gpu(), ""
    except (BackendMissingError, EngineError) as error:
        return None, str(error)


class Cuda:
    """The calls of ``cuda.bindings.runtime``, checked; any thread, on the process's first card.

    Whatever is allocated goes into an `ExitStack` that undoes it in reverse order; a failure to free is logged, since
    after a lost device nothing can be freed any more.

    Parameters
    ----------
    calls
        Has what `CALLS` names; None: ``cuda.bindings.runtime``.
    """

    def __init__(self, calls: Any = None) -> None:
        self._calls = load_calls() if calls is None else calls

    def gpu(self) -> Gpu:
        """Return the first card.

        Raises
        ------
        EngineLostError
            There is none, no driver, or a driver that is too old for this CUDA.
        """
        (driver,) = self._call("cudaDriverGetVersion")
        if not driver:
            raise EngineLostError(
                "no NVIDIA driver is installed; with an NVIDIA card, install its driver from nvidia.com"
            )
        (runtime,) = self._call("cudaRuntimeGetVersion")
        code, count = self._ask("cudaGetDeviceCount")
        if self._name(code) == "cudaErrorInsufficientDriver":
            raise EngineLostError(
                f"the NVIDIA driver is too old: it knows {_version(driver)}, this program uses {_version(runtime)}; "
                f"install a driver for CUDA {runtime // 1000}.0 or later"
            )
        if self._name(code) == "cudaErrorNoDevice" or count == 0:
            raise EngineLostError("there is a driver but no NVIDIA card (CUDA_VISIBLE_DEVICES may hide it)")
        self._check("cudaGetDeviceCount", code)
        (found,) = self._call("cudaGetDeviceProperties", 0)
        name = found.name.decode(errors="replace").rstrip("\0").strip()
        return Gpu(name, (int(found.major), int(found.minor)), _version(driver), int(found.totalGlobalMem))

    def require_free(self, size: int) -> None:
        """Make sure that ``size`` bytes are free on the card.

        Asked before allocating: Windows would not refuse but move other programs' memory over the bus, or ours.

        Raises
        ------
        EngineMemoryError
            They are not.
        """
        free, whole = self._call("cudaMemGetInfo")
        if size > free:
            raise EngineMemoryError(
                f"{size / 2**20:.0f} MiB are needed on the card and {free / 2**20:.0f} of its {whole / 2**20:.0f} MiB "
                "are free; close other programs that use the card"
            )

    def pinned(self, size: int, held: ExitStack) -> npt.NDArray[np.uint8]:
        """Return ``size`` bytes of host memory that the card reads and writes by itself; not to be used once freed."""
        (pointer,) = self._call("cudaHostAlloc", size, _NO_FLAGS)
        held.callback(self._free, "cudaFreeHost", pointer)
        return np.ctypeslib.as_array((ctypes.c_uint8 * size).from_address(int(pointer)))

    def device_memory(self, size: int, held: ExitStack) -> int:
        """Return the address of ``size`` bytes on the card, aligned to at least 256."""
        (pointer,) = self._call("cudaMalloc", size)
        held.callback(self._free, "cudaFree", pointer)
        return int(pointer)

    def stream(self, held: ExitStack) -> Any:
        """Return a new stream; ``int()`` of it is what TensorRT takes."""
        (stream,) = self._call("cudaStreamCreateWithFlags", _NON_BLOCKING)
        held.callback(self._free, "cudaStreamDestroy", stream)
        return stream

    def event(self, held: ExitStack) -> Any:
        """Return a new event; who waits for it sleeps."""
        (event,) = self._call("cudaEventCreateWithFlags", _SLEEPING_UNTIMED)
        held.callback(self._free, "cudaEventDestroy", event)
        return event

    def copy(self, to: int, source: int, size: int, stream: Any) -> None:
        """Queue a copy between any two addresses, pinned or on the card."""
        self._call("cudaMemcpyAsync", to, source, size, self._calls.cudaMemcpyKind.cudaMemcpyDefault, stream)

    def record(self, event: Any, stream: Any) -> None:
        """Let ``event`` happen when all that is queued on ``stream`` is done."""
        self._call("cudaEventRecord", event, stream)

    def hold(self, stream: Any, event: Any) -> None:
        """Let what comes next on ``stream`` wait until ``event`` has happened; returns at once."""
        self._call("cudaStreamWaitEvent", stream, event, _NO_FLAGS)

    def wait(self, event: Any) -> None:
        """Block until ``event`` has happened; releases the GIL. Errors of the queued work come out here."""
        self._call("cudaEventSynchronize", event)

    def finish(self, stream: Any) -> None:
        """Block until all that is queued on ``stream`` is done; releases the GIL. Errors come out here, too."""
        self._call("cudaStreamSynchronize", stream)

    def _call(self, name: str, *arguments: Any) -> tuple[Any, ...]:
        code, *results = self._ask(name, *arguments)
        self._check(name, code)
        return tuple(results)

    def _ask(self, name: str, *arguments: Any) -> tuple[Any, ...]:
        try:
            answer: tuple[Any, ...] = getattr(self._calls, name)(*arguments)
        except RuntimeError as error:  # how the bindings say that the driver lacks a function or cannot be found
            raise EngineLostError(f"{name} cannot be called: {error}; update the NVIDIA driver") from error
        return answer

    def _check(self, call: str, code: Any) -> None:
        name = self._name(code)
        if name == "cudaSuccess":
            return
        text = f"{call} failed with {name} ({int(code)})"
        if name in _NO_MEMORY:
            raise EngineMemoryError(f"{text}: the card has too little memory; close other programs that use it")
        if name in _LOST:
            raise EngineLostError(f"{text}: the card or its driver is gone for this process; start the program again")
        raise EngineError(f"{text}; please report it with the log")

    def _name(self, code: Any) -> str:
        try:
            return str(self._calls.cudaError_t(code).name)
        except ValueError:  # an error of a driver that is newer than the bindings
            return "an error unknown to this version of cuda-bindings"

    def _free(self, call: str, what: Any) -> None:
        try:
            self._call(call, what)
        except EngineError as error:
            _log.warning("not freed: %s", error)


def _version(number: int) -> str:
    """13050 -> "CUDA 13.5"."""
    return f"CUDA {number // 1000}.{number % 1000 // 10}"
