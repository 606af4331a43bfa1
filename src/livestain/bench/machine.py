"""What numbers depend on: processor, load, versions, and the commit that was measured."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import subprocess
from pathlib import Path

import openvino
import psutil

_CHECKOUT = Path(__file__).parents[3]
_PACKAGES = (
    "numpy",
    "tensorstore",
    "openvino",
    "onnxruntime",
    "tensorrt-rtx",
    "torch",
    "pymmcore-plus",
    "useq-schema",
    "PySide6_Essentials",
)


def machine() -> dict[str, object]:
    """Return processor, cores, memory, load, system and versions, as JSON has it; blocks for some ms."""
    core = openvino.Core()
    return {
        "processor": str(core.get_property("CPU", "FULL_DEVICE_NAME")).strip(),
        "computes in": sorted(core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")),
        "cores": os.cpu_count() or 0,
        "memory GiB": round(psutil.virtual_memory().total / 2**30, 1),
        "load at the start": load(),
        "system": f"{platform.system()} {platform.release().split('-')[0]} {platform.machine()}",
        "python": platform.python_version(),
        "versions": {name: _version(name) for name in _PACKAGES},
        "commit": _commit(),
    }


def load() -> list[float]:
    """Return the load average over 1, 5 and 15 min: processes that want to run, on all cores together."""
    return [round(value, 2) for value in psutil.getloadavg()]


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"


def _commit() -> str:
    """Return the commit of a checkout, the version of an installed package."""
    if not (_CHECKOUT / ".git").exists():
        return f"livestain {_version('livestain')}"
    asked = ["git", "-C", str(_CHECKOUT), "describe", "--always", "--dirty", "--tags"]
    try:
        return subprocess.run(asked, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
