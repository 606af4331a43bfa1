"""Whether a plane costs late in a run what it costs early: camera, recorder, stainer and stains of 10 000 small planes.

    python benchmarks/per_plane.py [--quick] [--planes 10000]                                  (about 5 minutes)

96 x 96 px, all in one process (``isolate=False``), fsync on, as fast as it goes with at most 16 planes between the
camera and the row of their stain, so that all parts are at the same plane. The cost of a plane is taken over blocks of
25, by the wall clock and in CPU time of the process. Memory comes from a second run, since tracing slows all Python; it
is read when nothing is on its way.
"""

from __future__ import annotations

import argparse
import gc
import sys
import threading
import time
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import numpy.typing as npt
import psutil
from common import Report, acquire, arguments, ready_camera, scratch, spread, wait_until_ready

import livestain
from livestain.frames import Counts
from livestain.session.results import Results
from livestain.sources.camera import PythonCamera, make_core

SIDE = 96
UNDER_WAY = 16
BLOCK = 25
LIMIT_S = 60.0
RATIO = 1.1
GROWTH_BYTES = 16.0


def main(asked: argparse.Namespace) -> int:
    report = Report("per_plane", asked)
    count = asked.planes
    early, late = (count // 20, count // 10), (count - count // 20, count)
    with scratch(asked.folder) as folder:
        clocks: list[tuple[float, float]] = []
        record(asked, folder / "timed", lambda k, settle: clocks.append((time.perf_counter(), time.process_time())))
        for c, clock in enumerate(("wall", "CPU")):
            compare(report, clock, np.array(clocks)[:, c], early, late)
        growth = measure_growth(asked, folder / "traced", early[0], count - 1)
    report.add("memory a plane", growth)
    report.check("Python memory a plane (tracemalloc), bytes", growth["traced_bytes"], at_most=GROWTH_BYTES)
    return report.finish()


def compare(
    report: Report, clock: str, seconds: npt.NDArray[np.float64], early: tuple[int, int], late: tuple[int, int]
) -> None:
    """Note what a plane costs in both windows of planes, and the ratio of the medians."""
    medians = []
    for first, end in (early, late):
        costs_ms = 1000 * np.diff(seconds[first : end + 1 : BLOCK]) / BLOCK
        report.add(f"plane {first} to {end}, {clock}", spread(costs_ms, "ms"))
        medians.append(float(np.median(costs_ms)))
    report.check(f"late / early, median cost of a plane, {clock}", medians[1] / medians[0], at_most=RATIO)


def measure_growth(asked: argparse.Namespace, run: Path, first: int, last: int) -> dict[str, float]:
    """Return by how many bytes a plane Python's memory, and the whole process, grow between two planes."""
    seen: list[tuple[int, int]] = []

    def note(k: int, settle: Callable[[], None]) -> None:
        if k in (first, last):
            settle()
            gc.collect()
            seen.append((tracemalloc.get_traced_memory()[0], psutil.Process().memory_info().rss))

    tracemalloc.start()
    try:
        record(asked, run, note)
    finally:
        tracemalloc.stop()
    traced, resident = ((after - before) / (last - first) for before, after in zip(*seen, strict=True))
    return {"traced_bytes": traced, "resident_bytes": resident}


def record(asked: argparse.Namespace, run: Path, note: Callable[[int, Callable[[], None]], None]) -> None:
    """Record and stain ``asked.planes`` planes to ``run``.

    ``note(k, settle)`` is called before plane k is delivered; ``settle()`` returns once no plane is on its way.
    """
    source = ready_camera(SIDE, exposure_ms=0.0)
    free = threading.Semaphore(UNDER_WAY)

    def take(places: int) -> None:
        for _ in range(places):
            if not free.acquire(timeout=LIMIT_S):
                raise TimeoutError(f"no stain row came for {LIMIT_S:g} s")

    def settle() -> None:
        take(UNDER_WAY - 1)  # the plane about to be delivered has its own place already
        free.release(UNDER_WAY - 1)

    def plane(k: int) -> Counts:
        take(1)
        note(k, settle)
        source.snap(frame)
        return frame

    frame = np.empty((SIDE, SIDE), np.uint16)
    camera = PythonCamera(plane, (SIDE, SIDE), np.uint16, source.pixel_um, exposure_ms=0.0)
    with make_core(camera) as core, each_stain_row(free.release):
        with livestain.attach(core, asked.model, run, isolate=False) as session:
            wait_until_ready(session)
            acquire(core, asked.planes)
        counters = session.status.counters
    if counters.live + counters.late != asked.planes:
        raise RuntimeError(f"this run counts for nothing: {counters}, {session.status.warnings}")


@contextmanager
def each_stain_row(call: Callable[[], None]) -> Iterator[None]:
    """Call ``call`` whenever the session hears that a stain row was written."""
    note_row = Results.note_row

    def noted(self: Results, key: Any, row: dict[str, Any]) -> None:
        note_row(self, key, row)
        call()

    with patch.object(Results, "note_row", noted):
        yield


if __name__ == "__main__":
    parser = arguments(__doc__)
    parser.add_argument("--planes", type=int, default=None, help="10000, or 1000 with --quick")
    asked = parser.parse_args()
    asked.planes = asked.planes or (1000 if asked.quick else 10_000)
    sys.exit(main(asked))
