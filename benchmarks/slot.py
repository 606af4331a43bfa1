"""What our slot costs on the acquisition thread at 2048 x 2048 uint16, while the recorder and the stainer work.

    python benchmarks/slot.py [--quick] [--frames 3000] [--rate 10]          (about 6 minutes, 10 GB of free disk)

CPU time of the thread is promised; the wall time stands beside it, and on full cores belongs to the scheduler. The
raw image keeps the last 200 planes, since 3000 of them would fill a disk.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

from common import Report, acquire, arguments, ready_camera, scratch, spread, wait_until_ready

import livestain
from livestain.session.session import Session
from livestain.sources.camera import make_core
from livestain.sources.mda import MdaListener
from livestain.store.planes import PendingPlane, PlaneStore

SIDE = 2048
KEPT = 200
P50_US, P99_US = 30.0, 100.0

Times = list[tuple[int, int]]


def main(asked: argparse.Namespace) -> int:
    report = Report("slot", asked)
    report.add("two reads of the clocks, nothing between", _summary([_clocked_nothing() for _ in range(1000)]))
    camera = ready_camera(SIDE, exposure_ms=10, count=8)
    with scratch(asked.folder) as folder, make_core(camera) as core, timed_slot() as times, last_planes_only():
        session = livestain.attach(core, asked.model, folder / "run")
        wait_until_ready(session)
        acquire(core, asked.frames, 1 / asked.rate)
        session.close(drain=False)
    settled(report, session, times)
    return report.finish()


def settled(report: Report, session: Session, times: Times) -> None:
    """Note the numbers, and that the recorder and the stainer did work meanwhile."""
    counters = session.status.counters
    found = _summary(times)
    report.add("slot", found)
    report.add("slot, first 10 frames", _summary(times[:10]))
    report.add("run", {name: getattr(counters, name) for name in ("received", "saved", "failed", "live")})
    report.check("slot, thread CPU time p50, us", found["cpu_p50_us"], at_most=P50_US)
    report.check("slot, thread CPU time p99, us", found["cpu_p99_us"], at_most=P99_US)
    report.check("frames received and not saved", counters.received - counters.saved, at_most=0)
    report.check("frames stained live", counters.live, at_least=1)


@contextmanager
def timed_slot() -> Iterator[Times]:
    """Measure every call of the slot: CPU time of its thread and wall time, ns."""
    times: Times = []
    slot = MdaListener._frame_ready

    def timed(self: MdaListener, image: Any, event: Any, meta: Any) -> None:
        wall, cpu = time.perf_counter_ns(), time.thread_time_ns()
        slot(self, image, event, meta)
        times.append((time.thread_time_ns() - cpu, time.perf_counter_ns() - wall))

    with patch.object(MdaListener, "_frame_ready", timed):
        yield times


@contextmanager
def last_planes_only() -> Iterator[None]:
    """Let the raw image of this process be a ring of `KEPT` planes."""
    begin = PlaneStore.begin

    def in_ring(self: PlaneStore, t: int, c: int, z: int, plane: Any) -> PendingPlane:
        return begin(self, t % KEPT, c, z, plane)

    with patch.object(PlaneStore, "begin", in_ring):
        yield


def _clocked_nothing() -> tuple[int, int]:
    wall, cpu = time.perf_counter_ns(), time.thread_time_ns()
    return time.thread_time_ns() - cpu, time.perf_counter_ns() - wall


def _summary(times: Times) -> dict[str, float]:
    cpu, wall = (spread((value / 1000 for value in column), "us") for column in zip(*times, strict=True))
    count = cpu.pop("n")
    wall.pop("n")
    return {f"cpu_{name}": value for name, value in cpu.items()} | {
        f"wall_{name}": value for name, value in wall.items()
    } | {"n": count}  # fmt: skip


if __name__ == "__main__":
    parser = arguments(__doc__)
    parser.add_argument("--frames", type=int, default=None, help="3000, or 60 with --quick")
    parser.add_argument("--rate", type=float, default=10.0, help="frames a second")
    asked = parser.parse_args()
    asked.frames = asked.frames or (60 if asked.quick else 3000)
    sys.exit(main(asked))
