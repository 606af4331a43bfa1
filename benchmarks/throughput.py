"""How many frames a second become stains on disk, how old a live stain is, and what the engine alone takes.

    python benchmarks/throughput.py [--quick] [--frames 300] [--rounds 30]                 (about 4 minutes)

Camera to durable stain at 512 x 512 px: frames drawn beforehand are offered as fast as the intake takes them
(software-timed, ``when_full="wait"``); the clock runs from the first frame to the ``close`` row of the stains, with the
engine warm. The engines stain one frame after the other in this process, in turns; each gets counts and gives uint16
stains, so that all do the same work. Torch runs the same weights in the network they were trained in, eager, with the
engine's steps before and after it.
"""

from __future__ import annotations

import argparse
import functools
import itertools
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from unittest.mock import patch

import numpy as np
import numpy.typing as npt
import torch
from common import Report, acquire, arguments, ready_camera, scratch, spread, wait_until_ready
from onnx import numpy_helper
from torch.nn import functional

import livestain
from livestain.contrast import Field, estimate_background
from livestain.engine.opening import open_backend
from livestain.engine.protocol import Engine, Precision
from livestain.frames import Counts, Stain
from livestain.model import Model, read_model
from livestain.session import recording
from livestain.sources.camera import PythonCamera, make_core
from livestain.stainer.job import Job
from livestain.store.ledger import read_rows
from livestain.train.networks import Generator

SIDE = 512
LIVE_RATE = 10.0
RATES = {"bf16": 35.0, "f32": 18.0}
LATENCY_MS = 40.0
SAME = 1e-3

Stains = npt.NDArray[np.uint16]
StainFrame = Callable[[Counts, Field, float, float], Stains]


def main(asked: argparse.Namespace) -> int:
    report = Report("throughput", asked)
    model = read_model(asked.model)
    camera = ready_camera(SIDE, exposure_ms=0.0)
    with scratch(asked.folder) as folder:
        for precision, rate in able(model):
            runs = [to_disk(camera, asked, precision, folder / f"{precision}-{k}") for k in range(asked.repeats)]
            found = statistics.median(runs)
            report.add(f"camera to durable stain, {precision}", {"frame/s": found, "min": min(runs), "max": max(runs)})
            report.check(f"camera to durable stain at {precision}, frame/s", found, at_least=rate)
        ages = live_ages_ms(camera, asked, folder / "live")
        report.add(f"frame to live result at {LIVE_RATE:g} frame/s", spread(ages, "ms"))
        report.check("frame to live result, p50, ms", statistics.median(ages), at_most=LATENCY_MS)
    compare_engines(report, model, camera, asked.rounds)
    return report.finish()


def able(model: Model) -> list[tuple[Precision, float]]:
    """Return the precisions that OpenVINO uses here, each with the promised rate."""
    names: tuple[Precision, ...] = ("bf16", "f32")
    fastest = open_backend(model, "openvino")
    fastest.close()
    return [(name, RATES[name]) for name in names[names.index("bf16" if fastest.info.precision == "bf16" else "f32") :]]


def to_disk(camera: PythonCamera, asked: argparse.Namespace, precision: Precision, run: Path) -> float:
    """Record and stain frames offered as fast as possible, and return how many a second."""
    fixed = functools.partial(Job, precision=precision)
    with make_core(camera) as core, patch.object(recording, "Job", fixed):
        with livestain.attach(core, asked.model, run, when_full="wait") as session:
            wait_until_ready(session)
            shift_s = time.time() - time.perf_counter()
            began_s = acquire(core, asked.frames)[0] + shift_s
        counters = session.status.counters
    if counters.live + counters.late != asked.frames:
        raise RuntimeError(f"this run counts for nothing: {counters}, {session.status.warnings}")
    rows, _ = read_rows(next((run / "stains").iterdir()) / "ledger.jsonl")
    ended_s: float = rows[-1]["close"]
    return float(asked.frames / (ended_s - began_s))


def live_ages_ms(camera: PythonCamera, asked: argparse.Namespace, run: Path) -> list[float]:
    """Return how old each live stain was when it reached the listener, the frames coming at 10 a second."""
    ages: list[float] = []

    def note(stain: object) -> None:
        if isinstance(stain, Stain):
            ages.append(stain.timing.total_ms)

    with make_core(camera) as core, livestain.attach(core, asked.model, run) as session:
        session.stained.connect(note)
        wait_until_ready(session)
        acquire(core, asked.frames // 2, 1 / LIVE_RATE)
    return ages


def compare_engines(report: Report, model: Model, camera: PythonCamera, rounds: int) -> None:
    """Note what each engine takes for a frame: in turns, ten frames at a time, the first of them not counted."""
    frame = np.empty((SIDE, SIDE), np.uint16)
    camera.snap(frame)
    background = estimate_background(frame)
    given = (frame, background.shade(model.card.contrast.constant), 0.0, 1 / model.card.contrast.constant)
    opened = open_engines(model)
    engines: dict[str, StainFrame] = {name: engine.stain for name, engine in opened.items()}
    network = rebuild(model)
    engines["torch eager f32"] = functools.partial(stain_by_torch, network, False)
    if "openvino bf16" in engines:
        engines["torch eager bf16"] = functools.partial(stain_by_torch, network, True)
    truth = engines["onnxruntime f32"](*given).astype(np.float64) / 65535
    times: dict[str, list[float]] = {name: [] for name in engines}
    for _, (name, stain) in itertools.product(range(rounds), engines.items()):
        times[name] += [time_ms(functools.partial(stain, *given)) for _ in range(10)][1:]
    for name, stain in engines.items():
        rms = float(np.sqrt(np.mean((stain(*given) / 65535 - truth) ** 2)))
        report.add(f"engine alone, {name}", {**spread(times[name], "ms"), "rms_to_onnxruntime": rms})
        if name == "torch eager f32" and rms > SAME:
            raise RuntimeError(f"torch does not compute the same stains: rms {rms:.1e}")
    for engine in opened.values():
        engine.close()
    ours = min(statistics.median(times[name]) for name in opened)
    for name in ("torch eager f32", "onnxruntime f32"):
        ratio = statistics.median(times[name]) / ours
        report.add(f"{name} / fastest of ours", {"times": ratio})


def open_engines(model: Model) -> dict[str, Engine]:
    engines: dict[str, Engine] = {}
    for precision, _ in able(model):
        engines[f"openvino {precision}"] = open_backend(model, "openvino", precision=precision)
    engines["onnxruntime f32"] = open_backend(model, "onnxruntime")
    return engines


def rebuild(model: Model) -> Generator:
    """Return the network of the demo model in torch, with the weights of its ONNX file."""
    network = Generator(len(model.stains))
    network.eval()
    network.fold()
    tensors = {each.name: each for each in model.generator().graph.initializer}
    network.load_state_dict(
        {name: torch.from_numpy(numpy_helper.to_array(tensors[name]).copy()) for name in network.state_dict()}
    )
    network.requires_grad_(False)
    return network


def stain_by_torch(network: Generator, bf16: bool, image: Counts, shade: Field, black: float, offset: float) -> Stains:
    """Stain (Y, X) counts, sides multiples of 16, as an engine does; ``bf16``: the network under autocast."""
    with torch.inference_mode():
        grid = torch.from_numpy(shade)[None, None]
        scale = functional.interpolate(grid, scale_factor=8, mode="bilinear", align_corners=False)
        counts = torch.from_numpy(image.astype(np.float32))[None, None]
        contrast = ((counts - black) * scale - offset).clamp(-1, 1)
        with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            stains = network(contrast).float()
        counts_out: Stains = (stains[0].clamp(0, 1) * 65535).round().numpy().astype(np.uint16)
        return counts_out


def time_ms(call: Callable[[], object]) -> float:
    began = time.perf_counter()
    call()
    return 1000 * (time.perf_counter() - began)


if __name__ == "__main__":
    parser = arguments(__doc__)
    parser.add_argument("--frames", type=int, default=None, help="frames of a run: 300, or 60 with --quick")
    parser.add_argument("--repeats", type=int, default=None, help="runs at each precision: 3, or 1 with --quick")
    parser.add_argument("--rounds", type=int, default=None, help="turns of ten frames: 30, or 3 with --quick")
    asked = parser.parse_args()
    asked.frames = asked.frames or (60 if asked.quick else 300)
    asked.repeats = asked.repeats or (1 if asked.quick else 3)
    asked.rounds = asked.rounds or (3 if asked.quick else 30)
    sys.exit(main(asked))
