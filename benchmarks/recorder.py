"""What the recorder and the writer of stains reach of bare tensorstore: raw and 2 stains at 2048 x 2048 px, fsync on.

    python benchmarks/recorder.py [--quick] [--rounds 15] [--frames 16]                        (about 2 minutes)

Both write the same planes with the same codecs, several in flight; ours beside that with CRC, durable rows and metadata
that grows, by the two threads that do it in a run. In turns, the order alternating, since disks change their mind.
``store.py`` measures the layer below alone.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from common import Report, arguments, scratch

from livestain.frames import Key
from livestain.model import Model, read_model
from livestain.session.intake import Facts, Intake, Place, Sequence
from livestain.session.notes import Notes
from livestain.session.recorder import Recorder
from livestain.session.status import Latencies
from livestain.settings import SessionSettings
from livestain.stainer.job import Geometry
from livestain.stainer.writer import StainWriter
from livestain.store.run import RunFolder
from store import IN_FLIGHT, SIDE, Planes, noise, write_bare

RATIO = 0.85
MIB = 2**20
LIMIT_S = 600.0

Stains = list[np.ndarray[tuple[int, ...], np.dtype[np.uint16]]]


def main(asked: argparse.Namespace) -> int:
    report = Report("recorder", asked)
    model, planes = read_model(asked.model), noise(4, SIDE)
    stains = [np.stack([planes[(t + c) % len(planes)] for c in (1, 2)]) for t in range(len(planes))]

    def bare(folder: Path) -> float:
        began = time.perf_counter()
        write_bare(folder, planes, asked.frames)
        return time.perf_counter() - began

    def ours(folder: Path) -> float:
        return record(folder, model, planes, stains, asked.frames)

    seconds: dict[Callable[[Path], float], list[float]] = {bare: [], ours: []}
    for turn in range(asked.rounds):
        for write in (bare, ours) if turn % 2 else (ours, bare):
            with scratch(asked.folder) as folder:
                seconds[write].append(write(folder))
    amount = asked.frames * 3 * planes[0].nbytes / MIB
    for name, write in (("bare tensorstore", bare), ("recorder and writer of stains", ours)):
        rates = [amount / each for each in seconds[write]]
        report.add(name, {"MiB/s": statistics.median(rates), "min": min(rates), "max": max(rates), "n": len(rates)})
    ratios = [without / with_us for without, with_us in zip(seconds[bare], seconds[ours], strict=True)]
    report.add("ours / bare, by pairs", {"median": statistics.median(ratios), "min": min(ratios), "max": max(ratios)})
    report.check("rate of ours / bare, median of pairs", statistics.median(ratios), at_least=RATIO)
    return report.finish()


def record(folder: Path, model: Model, planes: Planes, stains: Stains, frames: int) -> float:
    """Write ``frames`` frames with their stains as a run does, and return the seconds until all of it is closed."""
    settings = SessionSettings(intake_min_bytes=frames * planes[0].nbytes, planes_in_flight=IN_FLIGHT)
    sequence = Sequence(
        "BF", place=lambda t: Place(Key(0, t, 0), "BF", ""), describe=lambda t: Facts(t, 10.0, 0.65, (0.0, 0.0, 0.0))
    )
    run = RunFolder.create(folder / "run", {})
    intake = Intake(settings, sequence, show=lambda item: None)
    recorder = Recorder(
        run, intake, sequence, settings, Latencies(),
        notes=Notes(), on_first=lambda frame: None, on_end=lambda: None, warn=stop,
    )  # fmt: skip
    place = run.stains(model.id, model.weights_sha256)
    writer = StainWriter(place, model, fsync=True, limit_bytes=frames * stains[0].nbytes, provenance={})
    writer.set_geometry(Geometry(shape=(SIDE, SIDE), dtype="uint16"))
    began = time.perf_counter()
    for t in range(frames):
        intake.put(planes[t % len(planes)], t, time.monotonic_ns(), burst=True)
        key = Key(0, t, 0)
        row: dict[str, object] = {"v": 1, **key._asdict(), "kind": "virtual", "state": "ok", "live": True}
        writer.put(key, row, stains[t % len(stains)])
    intake.end()
    writer.end()
    recorder.join(LIMIT_S)
    writer.join(LIMIT_S)
    writer.close({}, (), [])
    took = time.perf_counter() - began
    run.close()
    if recorder.saved != frames or writer.written.qsize() != frames:
        raise RuntimeError(f"this round counts for nothing: {recorder.saved} of {frames} frames saved")
    return took


def stop(text: str) -> None:
    """Refuse a round in which something went wrong."""
    raise RuntimeError(text)


if __name__ == "__main__":
    parser = arguments(__doc__)
    parser.add_argument("--rounds", type=int, default=None, help="15, or 3 with --quick")
    parser.add_argument("--frames", type=int, default=None, help="frames of a round: 16, or 8 with --quick")
    asked = parser.parse_args()
    asked.rounds = asked.rounds or (3 if asked.quick else 15)
    asked.frames = asked.frames or (8 if asked.quick else 16)
    sys.exit(main(asked))
