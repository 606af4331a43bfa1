"""What the benchmarks share: the machine in words, results as a table and as JSON, cameras with ready frames, runs."""

from __future__ import annotations

import argparse
import importlib.metadata
import itertools
import json
import os
import platform
import subprocess
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import numpy.typing as npt
import openvino
import psutil
import useq
from pymmcore_plus import CMMCorePlus

from livestain.session.session import Session
from livestain.sources.camera import PythonCamera, specimen_camera

MODEL = "demo-nuclei-membrane"

_RESULTS = Path(__file__).with_name("results")
_PACKAGES = (
    "numpy",
    "tensorstore",
    "openvino",
    "onnxruntime",
    "torch",
    "pymmcore-plus",
    "useq-schema",
    "PySide6_Essentials",
)
_READY_S = 120.0

Numbers = Mapping[str, float]


def arguments(description: str | None) -> argparse.ArgumentParser:
    """Return a parser with the options that every benchmark has."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a short try: nothing is written to results/")
    parser.add_argument("--model", default=MODEL, help="model folder, or the name of a shipped model")
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()), help="on the disk to be measured")
    return parser


class Report:
    """The numbers of one benchmark: printed as they come, and written to ``results/NAME.json`` at the end."""

    def __init__(self, name: str, asked: argparse.Namespace) -> None:
        self._name, self._quick = name, asked.quick
        self._rows: dict[str, dict[str, float]] = {}
        self._checks: list[dict[str, object]] = []
        self._facts = machine()
        asked_for = {key: value for key, value in vars(asked).items() if key not in ("folder", "quick")}
        self._settings = {**asked_for, "model": Path(asked.model).name}
        self._began = time.time()
        print(f"{name}{' --quick' if asked.quick else ''}")
        for key, value in self._facts.items():
            print(f"  {key}: {_words(value)}")

    def add(self, what: str, numbers: Numbers) -> None:
        """Note and print one row of numbers; the unit is part of each name."""
        self._rows[what] = {name: round(float(value), 4) for name, value in numbers.items()}
        print(f"{what:<44} " + "  ".join(f"{name} {value:g}" for name, value in self._rows[what].items()), flush=True)

    def check(self, what: str, value: float, *, at_least: float | None = None, at_most: float | None = None) -> None:
        """Compare a number with what was promised."""
        met = (at_least is None or value >= at_least) and (at_most is None or value <= at_most)
        allowed = f">= {at_least:g}" if at_least is not None else f"<= {at_most:g}"
        self._checks.append({"what": what, "value": round(float(value), 4), "allowed": allowed, "met": bool(met)})

    def finish(self) -> int:
        """Print the comparisons, write the file (not with ``--quick``), and return how many promises were not met."""
        load = _load()
        print(f"load at the end: {load}")
        for check in self._checks:
            print(
                f"  {'met    ' if check['met'] else 'NOT MET'} {check['what']}: {check['value']} ({check['allowed']})"
            )
        if not self._quick:
            self._write(load)
        return sum(not check["met"] for check in self._checks)

    def _write(self, load: list[float]) -> None:
        found = {
            "benchmark": self._name,
            "when": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(self._began)),
            "seconds": round(time.time() - self._began, 1),
            "machine": {**self._facts, "load at the end": load},
            "settings": self._settings,
            "numbers": self._rows,
            "checks": self._checks,
        }
        _RESULTS.mkdir(exist_ok=True)
        path = _RESULTS / f"{self._name}.json"
        path.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
        print(f"wrote benchmarks/results/{path.name}")


def machine() -> dict[str, object]:
    """Return what the numbers depend on: processor, load, versions, and the commit that was measured."""
    core = openvino.Core()
    return {
        "processor": str(core.get_property("CPU", "FULL_DEVICE_NAME")).strip(),
        "computes in": sorted(core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")),
        "cores": os.cpu_count() or 0,
        "memory GiB": round(psutil.virtual_memory().total / 2**30, 1),
        "load at the start": _load(),
        "system": f"{platform.system()} {platform.release().split('-')[0]} {platform.machine()}",
        "python": platform.python_version(),
        "versions": {name: _version(name) for name in _PACKAGES},
        "commit": _commit(),
    }


def spread(values: Iterable[float], unit: str) -> dict[str, float]:
    """Return p50, p99, largest and count of some durations, named with their unit."""
    sample = np.fromiter(values, np.float64)
    p50, p99 = np.percentile(sample, (50, 99))
    return {f"p50_{unit}": p50, f"p99_{unit}": p99, f"max_{unit}": sample.max(), "n": len(sample)}


def ready_camera(side: int, exposure_ms: float, count: int = 16) -> PythonCamera:
    """Return a camera that shows ``count`` frames of the specimen, drawn with their noise beforehand, again and again.

    Frames are (side, side) uint16. Delivering one costs one copy, so that the camera takes no time from what is
    measured.
    """
    source = specimen_camera("spindle", (side, side), seed=1, exposure_ms=0.0)
    frames = np.empty((count, side, side), np.uint16)
    for frame in frames:
        source.snap(frame)
    return PythonCamera(lambda k: frames[k % count], (side, side), np.uint16, source.pixel_um, exposure_ms)


def acquire(core: CMMCorePlus, frames: int, interval_s: float = 0.0) -> npt.NDArray[np.float64]:
    """Run a software-timed acquisition on this thread; return when each frame was delivered (s of `perf_counter`)."""
    # Bursts are the camera's pace; what could slow an acquisition is what happens between software-timed frames.
    if core.mda.engine is not None:
        core.mda.engine.use_hardware_sequencing = False
    times = np.zeros(frames)  # made beforehand: nothing of the benchmark grows while it runs
    numbers = itertools.count()

    def note() -> None:
        times[next(numbers)] = time.perf_counter()

    core.mda.events.frameReady.connect(note)
    try:
        core.mda.run(useq.MDASequence(time_plan=useq.TIntervalLoops(interval=interval_s, loops=frames)))
    finally:
        core.mda.events.frameReady.disconnect(note)
    return times[: next(numbers)]


def wait_until_ready(session: Session) -> None:
    """Block until the engine of the next run is warm."""
    until = time.monotonic() + _READY_S
    while not session.status.engine:
        if time.monotonic() > until:
            raise TimeoutError(f"the engine was not ready after {_READY_S:g} s: {session.status.warnings}")
        time.sleep(0.02)


@contextmanager
def scratch(folder: Path) -> Iterator[Path]:
    """Yield a folder for runs on the disk to be measured, deleted at the end of the block."""
    with tempfile.TemporaryDirectory(prefix="livestain-benchmark-", dir=folder, ignore_cleanup_errors=True) as name:
        yield Path(name)


def _load() -> list[float]:
    return [round(value, 2) for value in psutil.getloadavg()]


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"


def _commit() -> str:
    asked = ["git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty", "--tags"]
    try:
        return subprocess.run(asked, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def _words(value: object) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {each}" for name, each in value.items())
    return " ".join(map(str, value)) if isinstance(value, list) else str(value)
