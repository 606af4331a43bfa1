"""The steps of `gpu_check.py`: what each measures, and its answer with the state of the card before and after."""

from __future__ import annotations

import importlib.metadata
import json
import os
import platform
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gpu_card import card_state, watched

if TYPE_CHECKING:
    from gpu_work import Precision

Row = dict[str, object]

MODELS = ("demo-nuclei-membrane", "brightfield-nuclei")
PACKAGES = (
    "numpy", "scipy", "torch", "triton", "cuda-bindings", "cupy-cuda13x", "onnx", "onnxruntime",
    "onnxruntime-gpu", "openvino", "pydantic", "tensorrt", "tensorrt-rtx", "tensorrt-rtx-cu13-libs", "livestain",
)  # fmt: skip
LEAST_FREE_MIB = 4096

_ENGINES = Path(__file__).parents[1] / "engines"


@dataclass(frozen=True)
class Setup:
    """Where a step runs, and how long it may look."""

    device: str
    quick: bool

    def side(self, px: int) -> int:
        """Return the side of frames, px."""
        return 128 if self.quick else px

    def seconds(self, wanted: float) -> float:
        """Return how long to measure, s."""
        return 0.2 if self.quick else wanted

    def count(self, wanted: int) -> int:
        """Return how many frames to send through."""
        return 12 if self.quick else wanted


@dataclass(frozen=True)
class Step:
    """One step: what it does, and the seconds that it usually takes."""

    take: Callable[[Setup], list[Row]]
    usual_s: float


def versions(setup: Setup) -> list[Row]:
    """Return what is installed, and what the card says of itself."""
    import torch

    rows: list[Row] = [
        {"what": "system", "python": platform.python_version(), "system": platform.platform(), "cores": os.cpu_count()},
        {"what": "packages", **{name: _version(name) for name in PACKAGES}},
        {"what": "torch", "cuda": torch.version.cuda, "cudnn": torch.backends.cudnn.version()},
    ]
    if setup.device == "cuda":
        card = torch.cuda.get_device_properties(0)
        free, whole = torch.cuda.mem_get_info()
        rows.append(
            {
                "what": "card", "name": card.name, "capability": f"{card.major}.{card.minor}",
                "multiprocessors": card.multi_processor_count, "free_mib": free >> 20, "memory_mib": whole >> 20,
            }
        )  # fmt: skip
    return rows


def tensorrt(setup: Setup) -> list[Row]:
    """Try TensorRT for RTX: by itself, and through livestain."""
    from gpu_tensorrt import try_tensorrt

    return try_tensorrt(_ENGINES / MODELS[0] / "generator.onnx")


def limits(setup: Setup) -> list[Row]:
    """Measure what the machine can do at most."""
    from gpu_limits import host_rates, measure_rates

    seconds = setup.seconds(8.0)
    rates = measure_rates(("bf16", "f16", "tf32", "f32"), setup.device, setup.quick, seconds)
    rows: list[Row] = [
        {"what": "matrix product", "precision": p, "tflop_per_s": r / 1e12, "n": rates.n}
        for p, r in rates.matrix.items()
    ]
    rows.append({"what": "copy within the card, read and written", "GB_per_s": rates.copy / 1e9, "n": rates.n})
    return rows + (host_rates(setup.quick, seconds) if setup.device == "cuda" else [])


def gate(setup: Setup) -> list[Row]:
    """Judge reduced precision with the shipped weights."""
    from gpu_gate import gate_rows

    precisions: tuple[Precision, ...] = (
        ("f32", "tf32", "f16", "bf16") if setup.device == "cuda" else ("f32", "f16", "bf16")
    )
    return [row for name in MODELS for row in gate_rows(_ENGINES / name, precisions, setup.device)]


def live_paths(px: int) -> Callable[[Setup], list[Row]]:
    """Return the step that measures the live generator by every road."""

    def take(setup: Setup) -> list[Row]:
        from gpu_paths import path_rows
        from gpu_work import live_generator

        return path_rows(
            "live generator", live_generator, setup.side(px), ("f32", "tf32", "f16", "bf16"), ("f32", "f16", "bf16"),
            setup.device, setup.quick, setup.seconds(25.0),
        )  # fmt: skip

    return take


def papers_paths(px: int) -> Callable[[Setup], list[Row]]:
    """Return the step that measures the paper's generator, not compiled where one frame takes long."""

    def take(setup: Setup) -> list[Row]:
        from functools import partial

        from gpu_paths import path_rows
        from gpu_work import papers_generator

        return path_rows(
            "ResNet-9 ngf 64", partial(papers_generator, 8 if setup.quick else 64), setup.side(px),
            ("f32", "tf32", "f16", "bf16"), () if setup.quick else ("bf16",),
            setup.device, setup.quick, setup.seconds(20.0),
        )  # fmt: skip

    return take


def ring(px: int) -> Callable[[Setup], list[Row]]:
    """Return the step that sends frames through pinned memory, the live generator, and back."""

    def take(setup: Setup) -> list[Row]:
        from gpu_frames import frame_rows

        precisions: tuple[Precision, ...] = ("f16", "bf16", "f32")
        return [row for each in precisions for row in frame_rows(setup, each, setup.side(px))]

    return take


def engine(px: int) -> Callable[[Setup], list[Row]]:
    """Return the step that measures livestain's own engine."""

    def take(setup: Setup) -> list[Row]:
        from gpu_engine import engine_rows

        return engine_rows(_ENGINES / MODELS[0], setup.side(px), setup.device, setup.seconds(8.0))

    return take


STEPS: dict[str, Step] = {
    "versions": Step(versions, 15),
    "limits": Step(limits, 45),
    "gate": Step(gate, 30),
    "tensorrt": Step(tensorrt, 30),
    "engine-2048": Step(engine(2048), 60),
    "engine-512": Step(engine(512), 45),
    "ring-2048": Step(ring(2048), 110),
    "paths-2048": Step(live_paths(2048), 120),
    "paths-512": Step(live_paths(512), 100),
    "ring-512": Step(ring(512), 90),
    "paper-512": Step(papers_paths(512), 70),
    "paper-2048": Step(papers_paths(2048), 100),
}


def answer(name: str, device: str, quick: bool, path: Path) -> None:
    """Take a step in this process and write what it found, or why it could not be taken.

    Where the card cannot be used at all, the answer is nothing but ``stop`` with the reason.
    """
    found: dict[str, Any] = {"when": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()), "before": card_state()}
    try:
        found["device"] = _prepare(device)
    except (ImportError, RuntimeError) as error:
        path.write_text(json.dumps({"stop": _words(error)}), encoding="utf-8")
        return
    with watched(path.parent, found["before"]) as found["during"]:
        try:
            found["rows"] = STEPS[name].take(Setup(device, quick))
        except Exception as error:  # noqa: BLE001 - the edge of the process: the reason stands in the results
            found["reason"] = _words(error)
    path.write_text(json.dumps(found, default=float), encoding="utf-8")


def _prepare(device: str) -> str:
    """Return the name of the device, ready for work."""
    import torch

    if device == "cpu":
        torch.set_num_threads(1)
        return "cpu"
    if not torch.cuda.is_available():
        raise RuntimeError(f"torch {torch.__version__} finds no NVIDIA card")
    torch.backends.cudnn.benchmark = True
    free, whole = torch.cuda.mem_get_info()
    if free >> 20 < LEAST_FREE_MIB:
        raise RuntimeError(
            f"{free >> 20} of {whole >> 20} MiB are free on the card, {LEAST_FREE_MIB} are needed: "
            "another program holds it"
        )
    return str(torch.cuda.get_device_name(0))


def _words(error: Exception) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())[:1000]}"


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"
