"""NVIDIA's two modules behind one face: ``tensorrt_rtx`` (from PyPI) and ``tensorrt`` (from NVIDIA's own index).

All that differs between them is asked here, by what they have, not by their name or version. Neither raises when
something goes wrong: calls return None or False and say why in the log, so every failure here carries those lines.
"""

from __future__ import annotations

import importlib
import logging
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from livestain.engine.tensorrt.cuda import Cuda, Gpu
from livestain.errors import BackendMissingError, EngineError, EngineFileError, EngineLostError, EngineMemoryError
from livestain.settings import INSTALL

_log = logging.getLogger(__name__)

MODULES = ("tensorrt_rtx", "tensorrt")
"""In the order in which they are tried: the first comes from PyPI and builds for cards that are not here."""

_LINES = 20
"""Lines of the library kept for the next error."""

_NO_MEMORY = ("out of memory", "OutOfMemory", "cudaErrorMemoryAllocation")
_LOST = ("cudaErrorIllegalAddress", "illegal memory access", "unspecified launch failure", "no CUDA-capable device")
_NO_DRIVER = ("driver version is insufficient", "OLD_CUDA_DRIVER", "OLD_CUDA_RUNTIME")


@dataclass(frozen=True, slots=True)
class Here:
    """What this machine runs TensorRT with."""

    gpu: Gpu
    tensorrt: TensorRt


def find_here() -> Here:
    """Return the card and the first module that can use it; blocks for half a second where there is a card.

    Raises
    ------
    EngineLostError
        There is no card, no driver, one that is too old, or a card that no installed module knows.
    BackendMissingError
        A library is not installed or cannot be loaded.
    """
    gpu = Cuda().gpu()  # first: without a card the 200 MB of the library need not be loaded
    refusals = []
    missing = []
    for name in MODULES:
        try:
            found = TensorRt(importlib.import_module(name))
        except (ImportError, OSError) as error:  # OSError: on Windows, a library inside that does not load
            missing.append(f"{name}: {error}")
            continue
        refusal = found.refusal(gpu)
        if not refusal:
            return Here(gpu, found)
        refusals.append(refusal)
    if refusals:
        raise EngineLostError("; ".join(refusals))
    raise BackendMissingError(f"TensorRT cannot be loaded ({'; '.join(missing)}); {INSTALL['tensorrt']}")


class TensorRt:
    """One of the modules.

    Parameters
    ----------
    module
        ``tensorrt_rtx`` or ``tensorrt``.

    Attributes
    ----------
    name, version
        Of the module.
    """

    def __init__(self, module: Any) -> None:  # Any, here and below: NVIDIA's modules have no types
        self.module = module
        self.name = str(module.__name__)
        self.version = str(module.__version__)

    def __str__(self) -> str:
        return f"{self.name} {self.version}"

    @property
    def targets(self) -> tuple[str, ...]:
        """Compute capabilities that the module knows, such as ``"SM89"``; empty where it does not say."""
        known = getattr(self.module, "ComputeCapability", None)
        return () if known is None else tuple(name for name in known.__members__ if name.startswith("SM"))

    def refusal(self, gpu: Gpu) -> str:
        """Return why this module cannot use this card; empty when it can."""
        if not self.targets or gpu.target in self.targets:
            return ""
        known = ", ".join(f"{name[2:-1]}.{name[-1]}" for name in self.targets)
        major, minor = gpu.capability
        return f"{self} does not know the {gpu.name} (compute capability {major}.{minor}; it knows {known})"

    def load(self, plan: bytes) -> LoadedPlan:
        """Bring a plan onto the card.

        Raises
        ------
        EngineFileError
            It is damaged, or was made by another version or for another card.
        EngineMemoryError, EngineLostError, EngineError
            The card has no room for it, went away, or the library failed otherwise.
        """
        lines = Lines(self.module)
        runtime = self.module.Runtime(lines.logger)
        self._require_valid(runtime, plan, lines)
        engine = runtime.deserialize_cuda_engine(plan)
        if engine is None:
            raise lines.failure(f"{self} refuses the compiled engine", EngineFileError)
        return LoadedPlan(self, runtime, engine, lines)

    def _require_valid(self, runtime: Any, plan: bytes, lines: Lines) -> None:
        if not hasattr(runtime, "get_engine_validity"):
            return
        validity, found = runtime.get_engine_validity(plan[: runtime.engine_header_size])
        known = self.module.EngineInvalidityDiagnostics.__members__
        reasons = [name for name, bit in known.items() if int(found) & int(bit)]
        if validity == self.module.EngineValidity.SUBOPTIMAL:
            _log.warning("%s: the compiled engine may be slow on this card (%s)", self, ", ".join(reasons))
        if validity == self.module.EngineValidity.INVALID:
            if reasons:
                lines.add(", ".join(reasons))
            raise lines.failure(f"{self} calls the compiled engine invalid here", EngineFileError)


class LoadedPlan:
    """A plan on the card, and the context that runs it: one thread at a time, one stream.

    Its activations live in memory that the caller gives (`place`), so that it takes what the frame at hand needs, and
    not what the largest frame would.
    """

    def __init__(self, tensorrt: TensorRt, runtime: Any, engine: Any, lines: Lines) -> None:
        self._tensorrt = tensorrt
        self._runtime = runtime
        self._engine = engine
        self._lines = lines
        self._context: Any = None
        self._cache: Any = None

    def frame_sizes(self) -> list[list[int]]:
        """Return the least, the usual and the largest [Y, X] that it takes, px."""
        first = 1 if tuple(self._engine.get_tensor_shape("frame"))[-1] == 2 else 2
        return [list(shape)[first : first + 2] for shape in self._engine.get_tensor_profile_shape("frame", 0)]

    def prepare(self, cache: bytes | None) -> bool:
        """Make the context; returns whether ``cache``, kernels that an earlier run compiled, was of use.

        Raises
        ------
        EngineMemoryError, EngineLostError, EngineError
            The card has no room for it, went away, or the library failed otherwise.
        """
        module, engine = self._tensorrt.module, self._engine
        strategy = module.ExecutionContextAllocationStrategy.USER_MANAGED
        used = False
        if hasattr(engine, "create_runtime_config"):
            config = engine.create_runtime_config()
            config.set_execution_context_allocation_strategy(strategy)
            if hasattr(module, "CudaGraphStrategy"):
                config.cuda_graph_strategy = module.CudaGraphStrategy.WHOLE_GRAPH_CAPTURE
                lazy = module.DynamicShapesKernelSpecializationStrategy.LAZY
                config.dynamic_shapes_kernel_specialization_strategy = lazy
            if hasattr(config, "create_runtime_cache"):
                self._cache = config.create_runtime_cache()
                used = cache is not None and bool(self._cache.deserialize(cache))
                config.set_runtime_cache(self._cache)
            self._context = engine.create_execution_context(config)
        else:
            self._context = engine.create_execution_context(strategy)
        if self._context is None:
            raise self._lines.failure(f"{self._tensorrt} could not prepare the engine")
        return used

    def compiled_kernels(self) -> bytes | None:
        """Return what `prepare` takes the next time; None where the library compiles nothing at run time."""
        blob = None if self._cache is None else self._cache.serialize()
        return None if blob is None else bytes(blob)

    def fit(self, shapes: dict[str, Sequence[int]]) -> int:
        """Set the shapes of the inputs; returns the bytes that the activations need on the card."""
        for name, shape in shapes.items():
            self._require(self._context.set_input_shape(name, tuple(shape)), f"set {name} to {tuple(shape)}")
        return int(self._context.update_device_memory_size_for_shapes())

    def place(self, tensors: dict[str, int], memory: int, size: int) -> None:
        """Say where on the card the tensors and the activations lie; they stay there."""
        for name, address in tensors.items():
            self._require(self._context.set_tensor_address(name, address), f"place {name}")
        self._context.set_device_memory(memory, size)

    def run(self, stream: int) -> None:
        """Queue one run; returns before it is done."""
        self._require(self._context.execute_async_v3(stream), "run the engine")

    def close(self) -> None:
        """Free the card; last made, first freed."""
        self._context = None
        self._cache = None
        self._engine = None
        self._runtime = None

    def _require(self, done: bool, what: str) -> None:
        if not done:
            raise self._lines.failure(f"{self._tensorrt} could not {what}")


class Lines:
    """What the library says: its last errors, for the next exception; all of it in the log at debug level."""

    def __init__(self, module: Any) -> None:
        self._errors: deque[str] = deque(maxlen=_LINES)
        self.logger = _logger(module, self)

    def add(self, line: str) -> None:
        """Keep an error."""
        self._errors.append(" ".join(line.split()))

    def failure(self, what: str, otherwise: type[EngineError] = EngineError) -> EngineError:
        """Return the error that the kept lines speak of, or ``otherwise``, and forget the lines."""
        text = " | ".join(self._errors) or "it gave no reason"
        self._errors.clear()
        if any(words in text for words in (*_NO_MEMORY, "INSUFFICIENT_GPU_MEMORY")):
            return EngineMemoryError(f"{what}, the card has too little memory: {text}")
        if any(words in text for words in _NO_DRIVER):
            return EngineLostError(f"{what}, the NVIDIA driver is missing or too old, install a newer one: {text}")
        if any(words in text for words in _LOST):
            return EngineLostError(f"{what}, the card is gone for this process, start the program again: {text}")
        return otherwise(f"{what}: {text}")


def _logger(module: Any, lines: Lines) -> Any:
    class Logger(module.ILogger):  # type: ignore[misc]
        def __init__(self) -> None:
            module.ILogger.__init__(self)

        def log(self, severity: Any, message: str) -> None:
            if severity in (module.ILogger.ERROR, module.ILogger.INTERNAL_ERROR):
                lines.add(message)
            _log.debug("%s: %s", severity.name, message)

    return Logger()
