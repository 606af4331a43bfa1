"""How many frames a second become stains on disk, how old a live stain is, and what the engine alone takes.

    python benchmarks/throughput.py [--quick] [--frames 300] [--rounds 60]                 (about 4 minutes)

Camera to durable stain at 512 x 512 px: frames drawn beforehand are offered as fast as the intake takes them
(software-timed, ``when_full="wait"``); the clock runs from the first frame to the ``close`` row of the stains, with the
engine warm. The engines alone are measured as `livestain bench` measures them: in turns, torch with the same graph.
"""

from __future__ import annotations

import argparse
import functools
import statistics
import sys
import time
from pathlib import Path
from unittest.mock import patch

from common import Report, acquire, arguments, ready_camera, scratch, spread, wait_until_ready

import livestain
from livestain.bench.engines import EACH, measure, open_engines
from livestain.engine.opening import open_backend
from livestain.engine.protocol import Precision
from livestain.frames import Stain
from livestain.model import Model, read_model
from livestain.session import recording
from livestain.sources.camera import PythonCamera, make_core
from livestain.stainer.job import Job
from livestain.store.ledger import read_rows

SIDE = 512
LIVE_RATE = 10.0
RATES = {"bf16": 35.0, "f32": 18.0}
LATENCY_MS = 40.0


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
    compare_engines(report, model, asked.rounds)
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


def compare_engines(report: Report, model: Model, rounds: int) -> None:
    """Note what each engine takes for a frame, as `livestain bench` does."""
    with open_engines(model, ("openvino", "onnxruntime")) as opened:
        table = measure(model, opened, SIDE, rounds * EACH, ("torch",))
    if table.missing:
        raise RuntimeError(f"not measured: {table.missing}")
    rows = {row.name: row for row in table.rows}
    for name, row in rows.items():
        if row.kind != "limit":
            report.add(f"engine alone, {name}", {**row.ms, "rms_to_f32": row.rms or 0.0})
    ours = min(row.ms["p50_ms"] for row in rows.values() if row.kind == "engine")
    for name in ("torch eager f32", "onnxruntime f32"):
        report.add(f"{name} / fastest of ours", {"times": rows[name].ms["p50_ms"] / ours})


if __name__ == "__main__":
    parser = arguments(__doc__)
    parser.add_argument("--frames", type=int, default=None, help="frames of a run: 300, or 60 with --quick")
    parser.add_argument("--repeats", type=int, default=None, help="runs at each precision: 3, or 1 with --quick")
    parser.add_argument("--rounds", type=int, default=None, help="turns of five frames: 60, or 6 with --quick")
    asked = parser.parse_args()
    asked.frames = asked.frames or (60 if asked.quick else 300)
    asked.repeats = asked.repeats or (1 if asked.quick else 3)
    asked.rounds = asked.rounds or (6 if asked.quick else 60)
    sys.exit(main(asked))
