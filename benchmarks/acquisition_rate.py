"""How much recording and staining slow the acquisition: its rate with us against its rate without, in turns.

    python benchmarks/acquisition_rate.py [--quick] [--pairs 20]                           (about 12 minutes)

Two cases, both software-timed: as fast as the camera allows at 20 ms of exposure (512 x 512 px), and a frame every
200 ms (2048 x 2048 px). Every run has the same camera in the same core; the order within a pair alternates. The engine
is warm before the first frame, as it is when somebody attaches to a microscope and then begins.
"""

from __future__ import annotations

import argparse
import statistics
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from common import Report, acquire, arguments, ready_camera, scratch, spread, wait_until_ready
from pymmcore_plus import CMMCorePlus

import livestain
from livestain.sources.camera import make_core

RATIO = 0.93


@dataclass(frozen=True)
class Case:
    """One way to acquire: ``interval_s`` 0 = as fast as the exposure allows."""

    side: int
    exposure_ms: float
    interval_s: float
    frames: int

    def __str__(self) -> str:
        pace = f"every {1000 * self.interval_s:g} ms" if self.interval_s else f"exposure {self.exposure_ms:g} ms"
        return f"{self.side} px, {pace}"


CASES = (Case(512, 20.0, 0.0, 200), Case(2048, 10.0, 0.2, 30))

Intervals = npt.NDArray[np.float64]


def main(asked: argparse.Namespace) -> int:
    report = Report("acquisition_rate", asked)
    for case in CASES:
        frames = max(10, case.frames // 4) if asked.quick else case.frames
        with scratch(asked.folder) as folder, make_core(ready_camera(case.side, case.exposure_ms)) as core:
            acquire(core, 5, case.interval_s)
            measure(report, case, frames, asked, core, folder)
    return report.finish()


def measure(
    report: Report, case: Case, frames: int, asked: argparse.Namespace, core: CMMCorePlus, folder: Path
) -> None:
    """Note the intervals without and with us, and the ratio of the rates."""
    found: dict[bool, list[Intervals]] = {False: [], True: []}
    for pair in range(asked.pairs):
        for recorded in (False, True) if pair % 2 else (True, False):
            run = folder / f"run-{pair}" if recorded else None
            found[recorded].append(intervals_ms(core, case, frames, asked.model, run))
    for recorded, name in ((False, "bare"), (True, "recorded and stained")):
        report.add(f"{case}, interval, {name}", spread(np.concatenate(found[recorded]), "ms"))
    ratios = [bare.mean() / ours.mean() for bare, ours in zip(found[False], found[True], strict=True)]
    median = statistics.median(ratios)
    report.add(f"{case}, rate with us / bare", {"median": median, "min": min(ratios), "max": max(ratios)})
    report.check(f"{case}, rate with us / bare, median of {asked.pairs} pairs", median, at_least=RATIO)


def intervals_ms(core: CMMCorePlus, case: Case, frames: int, model: str, run: Path | None) -> Intervals:
    """Acquire once, without us or recorded to ``run``, and return the times between frames."""
    if run is None:
        return 1000 * np.diff(acquire(core, frames, case.interval_s))
    session = livestain.attach(core, model, run)
    try:
        wait_until_ready(session)
        times = acquire(core, frames, case.interval_s)
    finally:
        session.close(drain=False)
    counters = session.status.counters
    if counters.saved != frames or not counters.live:
        raise RuntimeError(f"this run counts for nothing: {counters}")
    return 1000 * np.diff(times)


if __name__ == "__main__":
    parser = arguments(__doc__)
    parser.add_argument("--pairs", type=int, default=None, help="20, or 2 with --quick")
    asked = parser.parse_args()
    asked.pairs = asked.pairs or (2 if asked.quick else 20)
    sys.exit(main(asked))
