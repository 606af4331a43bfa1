"""What the window shows how fast, what it costs the staining, how soon it is there, whether its memory grows.

    python benchmarks/view.py [--quick] [--pairs 5] [--frames 200]                              (about 6 minutes)
    python benchmarks/view.py --only memory [--minutes 10]

One process, as `livestain demo` is: Qt on the main thread, the acquisition on another, the engine in its child. The
window is 1280 x 800 px on a virtual screen (Xvfb), where that is not installed on none.

Painting: pictures of 2048 x 2048 px (label-free and two stains, uint16), made beforehand; the next one is offered when
the last one is on the screen, without the limits of 15 and 30 a second, while a run at 30 frame/s keeps the engine at
work. Throughput: as in throughput.py, with a window and without in turns. Frame to screen: from the receipt of a frame
to the end of the paint event that shows it with its stains. Start: `livestain demo`, a new process each time, from its
start to the painted starting window, the first picture and the first one with stains.
"""

from __future__ import annotations

import argparse
import gc
import itertools
import json
import os
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import psutil
import useq
from common import Report, acquire, arguments, ready_camera, scratch, spread, wait_until_ready
from pymmcore_plus import configure_logging
from view_screen import screen

import livestain
from livestain.session.session import Session
from livestain.sources.camera import CAMERA, PythonCamera, make_core
from livestain.store.ledger import read_rows

SIDE, BIG_SIDE = 512, 2048
BUSY_RATE, LIVE_RATE, MEMORY_RATE = 30.0, 10.0, 5.0
PAINTS_PER_S, PAINT_P99_MS = 25.0, 60.0
KEPT_SHARE = 0.85
TO_SCREEN_MS = 100.0
GROWTH_MIB = 5.0
SETTLED_S = 120.0
SAMPLE_S = 10.0
HEAVY = {"pymmcore_plus", "tensorstore", "openvino", "torch"}


def main(asked: argparse.Namespace) -> int:
    configure_logging(stderr_level="ERROR")
    os.environ.setdefault("PYMM_SIGNALS_BACKEND", "psygnal")  # as the command's window does, see `livestain.view.shell`
    with screen(2560, 1440) as asked.screen, scratch(asked.folder) as folder:
        import view_qt

        app = view_qt.application()
        report = Report("view_memory" if asked.only == "memory" else "view", asked)
        camera = ready_camera(SIDE, exposure_ms=0.0)
        parts = {"paint": paint, "throughput": compare_throughput, "latency": frame_to_screen, "start": start}
        for name in [asked.only] if asked.only else parts:
            {**parts, "memory": memory}[name](report, camera, asked, folder)
        del app
    return report.finish()


# -- painting ----------------------------------------------------------------------------------------------------------


def paint(report: Report, camera: PythonCamera, asked: argparse.Namespace, folder: Path) -> None:
    from view_qt import ReadyFeed, beside, ready_pictures, time_paints, window_on

    layers, pictures = ready_pictures(asked.model, frames_of(camera, 6), BIG_SIDE)
    with (
        busy_engine(camera, asked, folder / "busy") as session,
        window_on(ReadyFeed(layers, pictures), folder) as window,
    ):
        beside(lambda: wait_until_ready(session))
        for view in (window.canvas.fit, window.canvas.one_to_one):
            view()
            before, began = session.status.counters, time.monotonic()
            ms = time_paints(window, window.feed, asked.seconds)
            after = session.status.counters
            stains = (after.live + after.late - before.live - before.late) / (time.monotonic() - began)
            found = {"paint/s": 1000 / statistics.mean(ms), **spread(ms, "ms"), "stain/s": stains}
            report.add(f"2048 x 2048, three layers, {view.__name__}", found)
            report.check(f"{view.__name__}: paints a second beside the engine", found["paint/s"], at_least=PAINTS_PER_S)
            report.check(f"{view.__name__}: p99 from picture to picture, ms", found["p99_ms"], at_most=PAINT_P99_MS)


@contextmanager
def busy_engine(camera: PythonCamera, asked: argparse.Namespace, run: Path) -> Iterator[Session]:
    """Yield a session whose engine has more to do than it can."""
    loops = useq.TIntervalLoops(interval=1 / BUSY_RATE, loops=1_000_000)
    with make_core(camera) as core, livestain.attach(core, asked.model, run) as session:
        running = core.run_mda(useq.MDASequence(time_plan=loops))
        try:
            yield session
        finally:
            core.mda.cancel()
            running.join()
            session.close(drain=False)


def frames_of(camera: PythonCamera, count: int) -> npt.NDArray[np.uint16]:
    frames = np.empty((count, SIDE, SIDE), np.uint16)
    for frame in frames:
        camera.snap(frame)
    return frames


# -- beside the staining -----------------------------------------------------------------------------------------------


def compare_throughput(report: Report, camera: PythonCamera, asked: argparse.Namespace, folder: Path) -> None:
    """Run pairs with a window and without, the first of a pair in turns."""
    found: dict[bool, list[float]] = {True: [], False: []}
    for k in range(asked.pairs):
        for shown in (True, False) if k % 2 else (False, True):
            found[shown].append(to_disk(camera, asked, folder / f"run-{k}-{shown}", folder if shown else None))
    for shown, name in ((False, "without a window"), (True, "with a window")):
        rates = found[shown]
        report.add(
            f"camera to durable stain at 512, {name}",
            {"frame/s": statistics.median(rates), "min": min(rates), "max": max(rates), "n": len(rates)},
        )
    ratios = [a / b for a, b in zip(found[True], found[False], strict=True)]
    share = statistics.median(ratios)
    report.add("with / without", {"median": share, "min": min(ratios), "max": max(ratios)})
    report.check("throughput with a window / without", share, at_least=KEPT_SHARE)


def to_disk(camera: PythonCamera, asked: argparse.Namespace, run: Path, kept: Path | None) -> float:
    """Record and stain frames offered as fast as possible; return how many a second. With a window if ``kept``."""
    with make_core(camera) as core, livestain.attach(core, asked.model, run, when_full="wait") as session:
        wait_until_ready(session)
        shift_s = time.time() - time.perf_counter()

        def record() -> float:
            began_s = acquire(core, asked.frames)[0] + shift_s
            session.close()
            return float(began_s)

        if kept is None:
            began_s = record()
        else:
            from view_qt import LiveFeed, beside, window_on

            with window_on(LiveFeed(session, [CAMERA]), kept, session):
                began_s = beside(record)
    counters = session.status.counters
    if counters.live + counters.late != asked.frames:
        raise RuntimeError(f"this run counts for nothing: {counters}, {session.status.warnings}")
    rows, _ = read_rows(next((run / "stains").iterdir()) / "ledger.jsonl")
    return asked.frames / (rows[-1]["close"] - began_s)


def frame_to_screen(report: Report, camera: PythonCamera, asked: argparse.Namespace, folder: Path) -> None:
    """Note how old a frame is when it is seen with its stains."""
    from qtpy.QtCore import Qt
    from view_qt import LiveFeed, beside, window_on

    from livestain.view.picture import Picture

    ages: list[float] = []

    def note(picture: Picture) -> None:
        if picture.received_s is not None and not any(picture.states):
            ages.append(1000 * (time.monotonic() - picture.received_s))

    with (
        make_core(camera) as core,
        livestain.attach(core, asked.model, folder / "live") as session,
        window_on(LiveFeed(session, [CAMERA]), folder, session) as window,
    ):
        beside(lambda: wait_until_ready(session))
        window.canvas.painted.connect(note, Qt.ConnectionType.QueuedConnection)
        beside(lambda: acquire(core, asked.frames, 1 / LIVE_RATE))
        latency = session.status.latency_ms["total"]
    found = {**spread(ages, "ms"), "p95_ms": float(np.percentile(ages, 95)), "frames": float(asked.frames)}
    report.add(f"frame to screen at {LIVE_RATE:g} frame/s, 512", {**found, "of_it_to_result_p50_ms": latency[0]})
    report.check("frame to screen, p50, ms", found["p50_ms"], at_most=TO_SCREEN_MS)


# -- start -------------------------------------------------------------------------------------------------------------


def start(report: Report, camera: PythonCamera, asked: argparse.Namespace, folder: Path) -> None:
    """Start `livestain demo` some times and note when there is something to see."""
    starts = [start_once(asked, folder / f"demo-{k}") for k in range(asked.starts)]
    names = {"window_s": "starting window", "picture_s": "first picture", "stained_s": "first picture with stains"}
    for key, name in names.items():
        seconds = [found[key] for found in starts]
        report.add(
            f"process start to {name}", {"s": statistics.median(seconds), "min": min(seconds), "max": max(seconds)}
        )
    heavy = sorted({name for found in starts for name in found["heavy"]})
    print(f"imported when the starting window was painted: {', '.join(heavy) or 'nothing heavy'}")
    report.check("heavy modules imported before the window", len(HEAVY & set(heavy)), at_most=0)


def start_once(asked: argparse.Namespace, run: Path) -> dict[str, Any]:
    script = Path(__file__).with_name("view_start.py")
    demo = ["demo", "--view", "--frames", "600", "--fps", "5", "--model", asked.model, "--output", str(run)]
    kept = {"XDG_CONFIG_HOME": str(run.parent / "config")}
    done = subprocess.run(
        [sys.executable, str(script), str(time.time()), *demo],
        capture_output=True, text=True, check=False, env=os.environ | kept, timeout=120,
    )  # fmt: skip
    found: dict[str, Any] = json.loads(done.stderr.splitlines()[-1])
    if "stained_s" not in found:
        raise RuntimeError(f"the demo showed no stained picture: {done.stderr}")
    return found


# -- memory ------------------------------------------------------------------------------------------------------------


def memory(report: Report, camera: PythonCamera, asked: argparse.Namespace, folder: Path) -> None:
    """Note the memory of the process with the window while a run goes on; the engine's process is another one."""
    from view_qt import LiveFeed, beside, window_on

    samples: list[tuple[float, float]] = []
    shown = itertools.count()
    with (
        make_core(camera) as core,
        livestain.attach(core, asked.model, folder / "long") as session,
        window_on(LiveFeed(session, [CAMERA]), folder, session) as window,
    ):
        beside(lambda: wait_until_ready(session))
        window.canvas.painted.connect(lambda _: next(shown))
        loops = useq.TIntervalLoops(interval=1 / MEMORY_RATE, loops=round(60 * asked.minutes * MEMORY_RATE))
        running = core.run_mda(useq.MDASequence(time_plan=loops))
        beside(lambda: samples.extend(sample_memory(running)))
    times, mib = np.array(samples).T
    settled = times >= min(SETTLED_S, times[-1] / 5)
    slope = 60 * np.polyfit(times[settled], mib[settled], 1)[0]
    growth = float(np.median(mib[-3:]) - np.median(mib[settled][:3]))
    found = {"start_MiB": mib[0], "settled_MiB": mib[settled][0], "end_MiB": mib[-1], "MiB_a_minute": slope}
    found |= {"growth_MiB": growth, "shown": next(shown)}
    report.add(f"memory of the window's process, {asked.minutes:g} min", found)
    report.check("growth after the first fifth of the time, MiB", growth, at_most=GROWTH_MIB)


def sample_memory(running: threading.Thread) -> Iterator[tuple[float, float]]:
    """Yield (seconds, MiB) every ten seconds until the run has ended."""
    process, began = psutil.Process(), time.monotonic()
    while running.is_alive():
        running.join(SAMPLE_S)
        gc.collect()
        yield time.monotonic() - began, process.memory_info().rss / 2**20


if __name__ == "__main__":
    parser = arguments(__doc__)
    parser.add_argument("--pairs", type=int, default=None, help="runs with and without a window: 5, or 1 with --quick")
    parser.add_argument("--frames", type=int, default=None, help="frames of a run: 200, or 40 with --quick")
    parser.add_argument("--seconds", type=float, default=None, help="painting: 20, or 3 with --quick")
    parser.add_argument("--starts", type=int, default=None, help="starts of the demo: 5, or 1 with --quick")
    parser.add_argument("--minutes", type=float, default=10.0, help="how long the memory is watched")
    parser.add_argument("--only", choices=["paint", "throughput", "latency", "start", "memory"], help="one part alone")
    asked = parser.parse_args()
    asked.pairs = asked.pairs or (1 if asked.quick else 5)
    asked.frames = asked.frames or (40 if asked.quick else 200)
    asked.seconds = asked.seconds or (3.0 if asked.quick else 20.0)
    asked.starts = asked.starts or (1 if asked.quick else 5)
    sys.exit(main(asked))
