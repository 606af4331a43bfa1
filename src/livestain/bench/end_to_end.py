"""From the camera to durable stains and the screen: a real core, a real session, its stainer in its own process."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import psygnal

from livestain.bench.acquisition import acquire, ready_camera, wait_until_ready
from livestain.bench.result import Journey, Spread
from livestain.bench.screen import screen_or_why, to_screen_ms
from livestain.bench.turns import spread
from livestain.errors import EngineError
from livestain.frames import Key, Stain
from livestain.model import Model
from livestain.session.forecast import disk_rate
from livestain.sources.camera import PythonCamera, make_core
from livestain.sources.mda import attach
from livestain.stainer.slots import Slot, Tag, frame_parts, make_file, remove_file
from livestain.store.ledger import Row, read_rows

if TYPE_CHECKING:
    from pymmcore_plus import CMMCorePlus

    from livestain.session.session import Session
    from livestain.settings import Backend

_MAX_PER_S = 100.0
_PUBLISHED = 40
_BEFORE_ALL = (1 << 30) + 1


def travel(
    model: Model,
    backend: Backend,
    side: int,
    frames: int,
    folder: Path,
    *,
    beside: str = "",
    say: Callable[[str], None] = lambda text: None,
) -> Journey:
    """Record and stain (side, side) frames twice: as fast as they are taken, and at half that rate; blocks.

    Main thread only: it may open a window.

    Parameters
    ----------
    model, backend
        What stains.
    frames
        How many frames each run has.
    folder
        On the disk to be measured.
    beside
        What else is at work, in words.
    say
        Told the steps.

    Raises
    ------
    EngineError
        A frame was not stained: such a run measures nothing.
    """
    say(f"{side} x {side} px, end to end: drawing frames")
    camera = ready_camera(side, exposure_ms=0.0)
    with tempfile.TemporaryDirectory(prefix="livestain-bench-", dir=folder, ignore_cleanup_errors=True) as name:
        place = Path(name)
        rate = disk_rate(place)
        say(f"{side} x {side} px, end to end: {frames} frames as fast as they are taken")
        flood = _flood(camera, model, backend, frames, place / "flood")
        pace = min(_MAX_PER_S, flood.frames_per_s / 2)
        say(f"{side} x {side} px, end to end: {frames} frames at {pace:.1f} frame/s")
        paced = _paced(camera, model, backend, frames, pace, place / "paced")
        stages = paced.stages_ms | {"publish": spread(_publishing_ms(side))}
        missing = {}
        with screen_or_why() as why:
            if why:
                missing["screen"] = why
            else:
                say(f"{side} x {side} px, end to end: {frames} frames at {pace:.1f} frame/s, to the screen")
                shown_ms = to_screen_ms(camera, model, backend, frames, pace, place / "screen")
                if len(shown_ms):
                    stages["screen"] = spread(shown_ms)
                else:
                    missing["screen"] = "no stained frame was painted in this time: give more --frames"
    order = ("slot", "slot, CPU", "publish", "queue", "engine", "result", "durable store", "screen")
    return Journey(
        side_px=side,
        beside=beside,
        engine=flood.engine,
        frames=frames,
        frames_per_s=round(flood.frames_per_s, 3),
        engine_ms=flood.stages_ms["engine"]["p50_ms"],
        paced_per_s=round(pace, 3),
        stages_ms={name: stages[name] for name in order if name in stages},
        missing=missing,
        disk_mib_s=round(rate / 2**20, 1),
        frame_mib=round(side * side * 2 * (1 + len(model.stains)) / 2**20, 3),
        memory_mib=round(max(flood.memory_mib, paced.memory_mib), 1),
    )


@dataclass(frozen=True, slots=True)
class _Run:
    """What one run told: backend and precision, frames a second, stages in ms, memory in MiB."""

    engine: str
    frames_per_s: float
    stages_ms: dict[str, Spread]
    memory_mib: float


def _flood(camera: PythonCamera, model: Model, backend: Backend, frames: int, run: Path) -> _Run:
    """Offer frames as fast as the intake takes them; the rate is from the first frame to the last durable stain."""
    with make_core(camera) as core, attach(core, model.folder, run, when_full="wait", backend=backend) as session:
        wait_until_ready(session)
        shift_s = time.time() - time.perf_counter()
        began_s = acquire(core, frames)[0] + shift_s
        memory_mib = session.status.memory_mib
    rows = _stain_rows(session, run, frames)
    engine: dict[str, Spread] = {"engine": spread([row["engine_ms"] for row in rows if "engine_ms" in row])}
    return _Run(_engine_of(session), frames / (rows[-1]["close"] - began_s), engine, memory_mib)


def _paced(camera: PythonCamera, model: Model, backend: Backend, frames: int, pace: float, run: Path) -> _Run:
    """Offer frames one by one at a pace that the engine keeps, and take the time of each stage."""
    results_ms: list[float] = []

    def note(stain: object) -> None:
        if isinstance(stain, Stain):
            results_ms.append(stain.timing.total_ms)

    with make_core(camera) as core:
        slot = _SlotClock(core)
        with attach(core, model.folder, run, backend=backend) as session:
            slot.listen_behind()
            session.stained.connect(note)
            wait_until_ready(session)
            acquire(core, frames, 1 / pace)
            memory_mib = session.status.memory_mib
        slot.close()
    rows = [row for row in _stain_rows(session, run, frames) if row.get("state") == "ok"]
    live = [row for row in rows if row["live"]] or rows
    stages_ms = {
        "slot": slot.wall_ms,
        "slot, CPU": slot.cpu_ms,
        "queue": [row["queued_ms"] for row in live],
        "engine": [row["engine_ms"] for row in live],
    }
    if results_ms:
        stages_ms["result"] = results_ms
    spreads = {name: spread(ms) for name, ms in stages_ms.items()} | _saved(session)
    return _Run(_engine_of(session), pace, spreads, memory_mib)


class _SlotClock:
    """The time between two listeners, one before ours and one behind it; used on the acquisition thread."""

    def __init__(self, core: CMMCorePlus) -> None:
        self.wall_ms: list[float] = []
        self.cpu_ms: list[float] = []
        self._began = 0, 0
        self._signal = core.mda.events.frameReady
        if not isinstance(self._signal, psygnal.SignalInstance):
            raise AssertionError("the core's signals are not psygnal's: set PYMM_SIGNALS_BACKEND=psygnal")
        self._signal.connect(self._begin, priority=_BEFORE_ALL)

    def listen_behind(self) -> None:
        """Connect the second listener; the session must be attached."""
        self._signal.connect(self._end)

    def close(self) -> None:
        """Disconnect both."""
        self._signal.disconnect(self._begin)
        self._signal.disconnect(self._end)

    def _begin(self) -> None:
        self._began = time.perf_counter_ns(), time.thread_time_ns()

    def _end(self) -> None:
        cpu, wall = time.thread_time_ns(), time.perf_counter_ns()
        self.wall_ms.append((wall - self._began[0]) / 1e6)
        self.cpu_ms.append((cpu - self._began[1]) / 1e6)


def _saved(session: Session) -> dict[str, Spread]:
    """Return receipt to durable row of the raw planes, as the session keeps it: without the largest."""
    p50, p95, p99 = session.status.latency_ms["saved"]
    return {"durable store": {"p50_ms": p50, "p95_ms": p95, "p99_ms": p99, "n": session.status.counters.saved}}


def _publishing_ms(side: int) -> list[float]:
    """Time the copy of a frame into a slot in shared memory, as the publisher makes it."""
    frame = np.ones((side, side), np.uint16)
    path = make_file(frame_parts((side, side), np.uint16), "bench")
    times = []
    try:
        slot = Slot(frame_parts((side, side), np.uint16), path)
        for number in range(_PUBLISHED + 1):
            began_s = time.perf_counter()
            slot.write([frame], Tag(Key(0, number, 0), number, 0))
            times.append(1e3 * (time.perf_counter() - began_s))
        slot.close()
    finally:
        remove_file(path)
    return times[1:]  # the first one gets its memory from the system


def _stain_rows(session: Session, run: Path, frames: int) -> list[Row]:
    """Return the rows of the stains of a closed run.

    Raises
    ------
    EngineError
        Not all frames were stained.
    """
    counters = session.status.counters
    if counters.live + counters.late != frames:
        raise EngineError(f"this run measures nothing: {counters}; {'; '.join(session.status.warnings)}")
    return read_rows(next((run / "stains").iterdir()) / "ledger.jsonl")[0]


def _engine_of(session: Session) -> str:
    engine = session.status.engine
    return f"{engine['backend']} {engine['precision']}"
