"""TensorRT plans: a runtime graph compiled for the card in this machine, or for named generations of cards without one.

TensorRT for RTX (``tensorrt_rtx``) builds without card and driver; it neither loads nor runs a plan there. Precision is
a property of the graph (strongly typed), so nothing here chooses one.
"""

from __future__ import annotations

import importlib
import re
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from threading import Event
from types import ModuleType
from typing import Any

import onnx

from livestain.contrast import shade_shape
from livestain.engine.cost import frame_cost
from livestain.engine.graph import Bit
from livestain.engine.operators import libraries_that_take
from livestain.engine.tensorrt.module import MODULES
from livestain.errors import BackendMissingError, EngineError, EngineMemoryError, ModelError, UserError
from livestain.frames import MIN_SIDE_PX
from livestain.settings import INSTALL

Size = tuple[int, int]
"""(Y, X), px."""

Progress = Callable[[str, float], None]
"""Called with the phase that the library is in and the seconds since the start, about ten times a second."""

GENERATIONS = ("sm75", "sm86", "sm89", "sm120")
"""The targets where there is no card: GeForce RTX 20, 30, 40 and 50, and the workstation cards of their time."""

LARGEST_CARD_BYTES = 288 << 30
"""No NVIDIA card has more memory (B300; of those that TensorRT for RTX knows the largest has 128 GiB)."""

_LOOK_S = 0.1
_NO_DRIVER = "CUDA driver version is insufficient"
_UNABLE = re.compile(r"Cannot compile for target\(s\) (.+?), because the model contains HW-specific datatypes")
_NO_MEMORY = ("OutOfMemory", "out of memory", "insufficient memory")


@dataclass(frozen=True, slots=True)
class Shapes:
    """The frame sizes (Y, X) that one engine takes, and the one for which it is made fastest."""

    smallest: Size = (MIN_SIDE_PX, MIN_SIDE_PX)
    usual: Size = (2048, 2048)
    largest: Size = (2304, 2304)

    def __post_init__(self) -> None:
        if min(self.smallest) < MIN_SIDE_PX:
            raise UserError(f"frames of {_px(self.smallest)} are not possible: at least {MIN_SIDE_PX} x {MIN_SIDE_PX}")
        pairs = (*zip(self.smallest, self.usual, strict=True), *zip(self.usual, self.largest, strict=True))
        if any(small > large for small, large in pairs):
            raise UserError(
                f"frames from {_px(self.smallest)} over {_px(self.usual)} to {_px(self.largest)} are not possible: "
                "neither height nor width may become smaller"
            )

    @classmethod
    def only(cls, size: Size) -> Shapes:
        """Return the shapes of an engine for one size."""
        return cls(size, size, size)

    def take(self, size: Size) -> bool:
        """Say whether an engine of these shapes takes frames of this size."""
        return all(a <= side <= b for a, side, b in zip(self.smallest, size, self.largest, strict=True))

    def as_lists(self) -> list[list[int]]:
        """Return what the facts of an engine say: smallest, usual and largest [Y, X]."""
        return [list(self.smallest), list(self.usual), list(self.largest)]


@dataclass(frozen=True, slots=True)
class BuiltPlan:
    """What the builder made.

    Attributes
    ----------
    data
        The plan: content of an engine file.
    seconds
        How long it took.
    log
        Warnings and errors of the library, in order.
    """

    data: bytes
    seconds: float
    log: tuple[str, ...]


def load_builder() -> ModuleType:
    """Return the first of NVIDIA's modules that is installed; it need not find a card.

    Raises
    ------
    BackendMissingError
        None is installed, or (mostly on Windows) a library inside does not load.
    """
    missing = []
    for name in MODULES:
        try:
            return importlib.import_module(name)
        except (ImportError, OSError) as error:
            missing.append(f"{name}: {error}")
    raise BackendMissingError(f"TensorRT cannot be loaded ({'; '.join(missing)}); {INSTALL['tensorrt']}")


def targets_of(module: ModuleType, names: Sequence[str]) -> tuple[str, ...]:
    """Return generations of cards as the library writes them: ``"sm86"`` -> ``"SM86"``; each once, oldest first.

    Raises
    ------
    UserError
        It knows no such generation, or builds for the card in the machine only.
    """
    known = getattr(module, "ComputeCapability", None)
    if known is None:
        raise UserError(
            f"{module.__name__} builds for the card in this machine only: give --targets current, or install "
            f"TensorRT for RTX ({INSTALL['tensorrt']}) for {', '.join(GENERATIONS)}"
        )
    possible = [name for name in known.__members__ if name.startswith("SM")]
    chosen = {name.strip().upper() for name in names}
    unknown = sorted(chosen - set(possible))
    if unknown or not chosen:
        raise UserError(
            f"no target {', '.join(unknown).lower() or 'given'}; {module.__name__} {module.__version__} builds for "
            f"{', '.join(possible).lower()}, or current: the card in this machine"
        )
    return tuple(name for name in possible if name in chosen)


def build_plan(
    module: ModuleType,
    graph: onnx.ModelProto,
    *,
    targets: Sequence[str] | None,
    shapes: Shapes,
    bit: Bit,
    progress: Progress | None = None,
) -> BuiltPlan:
    """Compile a runtime graph; blocks for about a second, and lets other threads run.

    Parameters
    ----------
    module
        ``tensorrt_rtx`` or ``tensorrt``.
    graph
        From `livestain.engine.graph.compose` with the wire ``"bytes"``.
    targets
        Generations of cards, such as ``["sm86", "sm120"]``; None: the card in this machine.
    shapes
        Frame sizes; each side at least 96 px.
    bit
        What ``graph`` was composed for.
    progress
        Called in the caller's thread. Ctrl-C there, or an exception of its own, ends the build.

    Raises
    ------
    UserError
        Unknown target; a frame that no card has the memory for; no driver for the card in this machine.
    ModelError
        The library does not know an operator of the graph, which is named, with the libraries that do.
    EngineMemoryError, EngineError
        The library failed; the message has its own lines.
    """
    if targets is not None:
        targets = targets_of(module, targets)
    _require_memory(graph, shapes)
    job = _Job(module, graph, targets, shapes, bit)
    # In a thread: Ctrl-C inside one of the library's own calls would have to cross its C++.
    with ThreadPoolExecutor(1, "livestain-build") as pool:
        try:
            future = pool.submit(job.run)  # within: Ctrl-C may come before it returns
            _watch(future, job.phases, progress)
            return future.result()
        except BaseException:
            job.cancelled.set()
            raise


def _watch(future: Future[BuiltPlan], phases: SimpleQueue[str], progress: Progress | None) -> None:
    started_s = time.perf_counter()
    phase = "Starting"
    while not future.done():
        wait([future], timeout=_LOOK_S)
        try:
            while True:
                phase = phases.get_nowait()
        except Empty:
            pass
        if progress is not None:
            progress(phase, time.perf_counter() - started_s)


class _Job:
    """One build; `run` belongs to the building thread, ``phases`` and ``cancelled`` join it with the caller's."""

    def __init__(
        self, module: ModuleType, graph: onnx.ModelProto, targets: Sequence[str] | None, shapes: Shapes, bit: Bit
    ) -> None:
        self.module = module
        self.graph = graph
        self.targets = targets
        self.shapes = shapes
        self.bit = bit
        self.phases: SimpleQueue[str] = SimpleQueue()
        self.cancelled = Event()
        self.log: list[tuple[str, str]] = []

    def run(self) -> BuiltPlan:
        started_s = time.perf_counter()
        logger = _logger(self.module, self.log)
        builder = self.module.Builder(logger)
        network = builder.create_network(_network_flags(self.module))
        parser = self.module.OnnxParser(network, logger)
        if not parser.parse(self.graph.SerializeToString(deterministic=True)):
            raise _refusal(self.module, parser, self.graph)
        config = self._config(builder)
        plan = builder.build_serialized_network(network, config)
        if plan is None:
            raise self._failure()
        lines = tuple(f"{level}: {text}" for level, text in self.log)
        return BuiltPlan(bytes(plan), time.perf_counter() - started_s, lines)

    # Any in what follows: the library's objects have no types.
    def _config(self, builder: Any) -> Any:
        config = builder.create_builder_config()
        config.clear_flag(self.module.BuilderFlag.TF32)  # 10 bits of mantissa are not float32
        if hasattr(self.module, "ComputeCapability"):
            names = self.targets or ["CURRENT"]
            config.num_compute_capabilities = len(names)
            for number, name in enumerate(names):
                config.set_compute_capability(getattr(self.module.ComputeCapability, name), number)
        config.add_optimization_profile(self._profile(builder))
        config.progress_monitor = _monitor(self.module, self.phases, self.cancelled)
        return config

    def _profile(self, builder: Any) -> Any:
        profile = builder.create_optimization_profile()
        sizes = (self.shapes.smallest, self.shapes.usual, self.shapes.largest)
        frames = [(1, *size, 2) if self.bit == "uint16" else (1, 1, *size) for size in sizes]
        profile.set_shape("frame", *frames)
        profile.set_shape("shade", *[(1, 1, *shade_shape(size)) for size in sizes])
        for name in ("black", "offset"):
            profile.set_shape(name, *[(1, 1, 1, 1)] * 3)
        return profile

    def _failure(self) -> Exception:
        lines = [text for level, text in self.log if "ERROR" in level]
        text = " | ".join(" ".join(line.split()) for line in lines) or "it gave no reason"
        name = f"{self.module.__name__} {self.module.__version__}"
        if self.targets is None and _NO_DRIVER in text:
            return UserError(
                f"{name} finds no NVIDIA driver that it can use, so it cannot build for the card in this machine: "
                f"install a newer driver, or name the cards, such as --targets {','.join(GENERATIONS)}"
            )
        if unable := _UNABLE.search(text):
            return UserError(f"{name} cannot build for {unable[1]}, which does not compute in this precision: {text}")
        if any(words in text for words in _NO_MEMORY):
            return EngineMemoryError(f"{name} has too little memory to build for {_px(self.shapes.largest)}: {text}")
        return EngineError(f"{name} could not build the engine: {text}")


def _network_flags(module: ModuleType) -> int:
    """Return the flags of a strongly typed network; a library for which that is the only kind may have no flag."""
    flag = getattr(module.NetworkDefinitionCreationFlag, "STRONGLY_TYPED", None)
    return 0 if flag is None else 1 << int(flag)


def _logger(module: ModuleType, log: list[tuple[str, str]]) -> Any:
    class Logger(module.ILogger):  # type: ignore[name-defined, misc]
        def __init__(self) -> None:
            module.ILogger.__init__(self)

        def log(self, severity: Any, message: str) -> None:
            if severity.name in ("WARNING", "ERROR", "INTERNAL_ERROR"):
                log.append((severity.name, message))

    return Logger()


def _monitor(module: ModuleType, phases: SimpleQueue[str], cancelled: Event) -> Any:
    class Monitor(module.IProgressMonitor):  # type: ignore[name-defined, misc]
        def __init__(self) -> None:
            module.IProgressMonitor.__init__(self)
            self.within: list[str] = []

        def phase_start(self, name: str, _parent: str | None, _steps: int) -> None:
            self.within.append(name)
            phases.put(name)

        def step_complete(self, _name: str, _step: int) -> bool:
            return not cancelled.is_set()

        def phase_finish(self, name: str) -> None:
            self.within.remove(name)
            phases.put(self.within[-1] if self.within else "Writing engine")

    return Monitor()


def _require_memory(graph: onnx.ModelProto, shapes: Shapes) -> None:
    cost = frame_cost(graph, shapes.largest)
    if cost is not None and cost.activation_bytes > LARGEST_CARD_BYTES:
        raise UserError(
            f"frames of {_px(shapes.largest)} need {cost.activation_bytes / 2**30:.0f} GiB on the card; the largest "
            f"card has {LARGEST_CARD_BYTES >> 30} GiB: give a smaller --shape"
        )


def _refusal(module: ModuleType, parser: Any, graph: onnx.ModelProto) -> Exception:
    errors = [parser.get_error(number) for number in range(parser.num_errors)]
    named = [f"{error.node_operator()} (node {error.node_name()!r})" for error in errors if error.node_operator()]
    why = "; ".join(" ".join(error.desc().split()) for error in errors)
    name = f"{module.__name__} {module.__version__}"
    if not named:
        return ModelError(f"{name} cannot read the graph of this model: {why}")
    able = libraries_that_take(graph)
    other = f"use --backend {' or '.join(able)}" if able else "nor does another engine library here: export it again"
    return ModelError(f"{name} cannot compile the operator {', '.join(named)} of this model: {why}; {other}")


def _px(size: Size) -> str:
    return f"{size[0]} x {size[1]} px"
