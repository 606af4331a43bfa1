"""A stand-in for NVIDIA's module as far as it builds: notes what it was asked for, and fails as it is told to."""

from __future__ import annotations

import enum
import sys
import threading
import time
from collections.abc import Callable
from types import ModuleType, SimpleNamespace
from typing import Any

PLAN = b"a plan"


class Severity(enum.Enum):
    INTERNAL_ERROR = 0
    ERROR = 1
    WARNING = 2
    INFO = 3


class Logger:
    def log(self, severity: Severity, message: str) -> None:
        raise NotImplementedError


class Monitor:
    def phase_start(self, name: str, parent: str | None, steps: int) -> None:
        raise NotImplementedError

    def step_complete(self, name: str, step: int) -> bool:
        raise NotImplementedError

    def phase_finish(self, name: str) -> None:
        raise NotImplementedError


class Capability(enum.Enum):
    NONE = 0
    CURRENT = 1
    SM75 = 75
    SM86 = 86
    SM89 = 89
    SM120 = 120


class FakeTensorRt(ModuleType):
    """``tensorrt_rtx``; ``build`` is called instead of the builder and gets this object."""

    __version__ = "9.9"
    BuilderFlag = SimpleNamespace(TF32="TF32")
    NetworkDefinitionCreationFlag = SimpleNamespace(STRONGLY_TYPED=1)
    ComputeCapability = Capability
    ILogger = Logger
    IProgressMonitor = Monitor

    def __init__(self, build: Callable[[FakeTensorRt], bytes | None] = lambda self: PLAN) -> None:
        super().__init__("tensorrt_rtx")
        self.build = build
        self.builds = 0
        self.cancelled = False
        self.ended = threading.Event()
        self.asked: dict[str, Any] = {"cleared": [], "targets": [], "profile": {}}
        self.logger: Any = None
        self.monitor: Any = None

    def Builder(self, logger: Any) -> Any:  # noqa: N802
        self.logger = logger
        return self

    def create_network(self, flags: int) -> Any:
        self.asked["flags"] = flags
        return self

    def OnnxParser(self, network: Any, logger: Any) -> Any:  # noqa: N802
        return SimpleNamespace(parse=lambda data: True)

    def create_builder_config(self) -> Any:
        return Config(self.asked)

    def create_optimization_profile(self) -> Any:
        return SimpleNamespace(set_shape=lambda name, *shapes: self.asked["profile"].update({name: shapes}))

    def build_serialized_network(self, network: Any, config: Any) -> bytes | None:
        self.builds += 1
        self.monitor = config.progress_monitor
        return self.build(self)

    def until_cancelled(self) -> bytes | None:
        """Work on until the monitor says stop, and note that it did."""
        self.monitor.phase_start("Working", None, 1)
        until_s = time.monotonic() + 20
        while not self.cancelled and time.monotonic() < until_s:
            self.cancelled = not self.monitor.step_complete("Working", 0)
        self.ended.set()
        return None


class Config:
    progress_monitor: Any = None
    num_compute_capabilities = 0

    def __init__(self, asked: dict[str, Any]) -> None:
        self._asked = asked

    def clear_flag(self, flag: str) -> None:
        self._asked["cleared"].append(flag)

    def set_compute_capability(self, capability: Capability, number: int) -> None:
        assert number < self.num_compute_capabilities
        self._asked["targets"].append(capability.name)

    def add_optimization_profile(self, profile: Any) -> int:
        return 0


def install(monkeypatch: Any, module: ModuleType | None) -> None:
    """Make ``import tensorrt_rtx`` give this module (None: nothing), and ``import tensorrt`` nothing."""
    monkeypatch.setitem(sys.modules, "tensorrt_rtx", module)
    monkeypatch.setitem(sys.modules, "tensorrt", None)
