"""Make the pictures of docs/viewer.md: the window as it is, on simulated cells and on real ones.

    python benchmarks/view_pictures.py docs/viewer DATA                                        (about 2 minutes)

DATA holds the image sets ``t98g_phase`` (github oist/Usiigaci, MIT, (c) 2018 OIST Graduate University) and
``movie_bf_p65_nuc`` (github bethcg/aiSEGcell, CC BY 4.0). The demo model has never seen real cells: what it predicts
for them is shown as it is.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import useq
from common import MODEL, wait_until_ready
from PIL import Image
from pymmcore_plus import configure_logging
from view_screen import screen

import livestain
from livestain.frames import Key
from livestain.images import open_images
from livestain.session.intake import UNKNOWN, Place, Sequence
from livestain.session.session import Session
from livestain.settings import parse_settings
from livestain.sources.camera import make_core, recorded_camera, specimen_camera

if TYPE_CHECKING:
    from livestain.view.window import Window

SMALL, LARGE = (1280, 800), (2560, 1440)
SHOWN = 20
LIVE_RATE = 5.0
LIMIT_S = 120.0
LIMIT_BYTES = 700_000
MOVIE_STEPS, MOVIE_STEP_S = (11, 16, 25, 33, 36, 44, 61, 68, 81, 91, 101), 424.1
"""The time points of the movie, and how far they are apart, as its README says."""
SETTLED_MS = 1200
"""Histograms are counted four times a second, numbers are read twice."""


@dataclass(frozen=True)
class View:
    """One picture of a finished run."""

    name: str
    run: str
    mode: str
    dark: bool = True
    size: tuple[int, int] = SMALL
    time: int = 5


VIEWS = (
    View("specimen-split-dark", "specimen", "split", time=12),
    View("specimen-curtain-light", "specimen", "curtain", dark=False, time=8),
    View("t98g-composite-dark", "t98g", "composite"),
    View("t98g-split-light", "t98g", "split", dark=False),
    View("t98g-composite-2560-light", "t98g", "composite", dark=False, size=LARGE),
    View("movie-composite-light", "movie", "composite", dark=False),
    View("movie-curtain-dark", "movie", "curtain"),
    View("movie-split-2560-dark", "movie", "split", size=LARGE),
)


def main(asked: argparse.Namespace) -> None:
    os.environ.setdefault("PYMM_SIGNALS_BACKEND", "psygnal")
    configure_logging(stderr_level="ERROR")
    asked.target.mkdir(parents=True, exist_ok=True)
    with screen(*LARGE), tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as name:
        from livestain.view.shell import application

        folder = Path(name)
        app = application()
        picture_live(asked.target / "live-dark.png", folder)
        record_phase(asked.data / "t98g_phase" / "t98g_xy01_t01-t12_tyx.tif", folder / "t98g")
        record_movie(asked.data / "movie_bf_p65_nuc" / "220524DS30_p0011_tcyx.ome.tif", folder / "movie")
        for view in VIEWS:
            picture_run(asked.target / f"{view.name}.png", folder, view)
        del app


def picture_live(path: Path, folder: Path) -> None:
    """The window in the middle of a run; the run is kept as ``specimen``."""
    from view_qt import LiveFeed, beside

    from livestain.view.picture import Picture

    camera = specimen_camera(exposure_ms=10.0)
    source = "simulated cells (spindle, seed 0), no microscope"
    with (
        make_core(camera, "simulated bright field") as core,
        livestain.attach(core, MODEL, folder / "specimen", source=source) as session,
    ):
        wait_until_ready(session)
        loops = useq.TIntervalLoops(interval=1 / LIVE_RATE, loops=10_000)
        running = core.run_mda(useq.MDASequence(time_plan=loops))
        while session.sequence is None:
            running.join(0.01)
        with window_of(LiveFeed(session), folder, True, SMALL, session=session) as window:
            shown: list[Picture] = []
            window.canvas.painted.connect(shown.append)
            turn_until(lambda: len(shown) > SHOWN)
            save(window, path)
            core.mda.cancel()
            beside(running.join)
            beside(session.close)


def record_phase(path: Path, run: Path) -> None:
    """Show recorded images to a core, as ``livestain demo --images`` does."""
    with (
        open_images(path) as images,
        make_core(recorded_camera(images, 0, 10.0)) as core,
        livestain.attach(core, MODEL, run, when_full="wait", source=f"replay of {path.name}") as session,
    ):
        wait_until_ready(session)
        loops = useq.TIntervalLoops(interval=1 / LIVE_RATE, loops=images.axes.t)
        core.mda.run(useq.MDASequence(time_plan=loops))


def record_movie(path: Path, run: Path) -> None:
    """Deliver bright field and measured nuclei of each time point, as a microscope with both channels does."""
    channels = {"bright field": 0, "nuclei": 2}
    described = Sequence(
        "bright field", place=lambda at: Place(*at, ""), channels=tuple(channels), bit_depth=8,
        describe=lambda at: UNKNOWN._replace(time_s=MOVIE_STEP_S * (MOVIE_STEPS[at[0].t] - MOVIE_STEPS[0])),
    )  # fmt: skip
    settings = parse_settings(source=f"replay of {path.name}")
    with open_images(path) as images, Session(MODEL, run, settings) as session:
        intake = session.begin_run(described)
        for t in range(images.axes.t):
            for name, channel in channels.items():
                plane = images.plane(t, channel, 0).copy()
                intake.put(plane, (Key(0, t, 0), name), time.monotonic_ns(), burst=False)
            session.wait(Key(0, t, 0), LIMIT_S)
        intake.end()


def picture_run(path: Path, folder: Path, view: View) -> None:
    from livestain.view.recorded import RunFeed

    feed = RunFeed(folder / view.run)
    feed.history.update()
    key = Key(0, view.time, 0)
    feed.show(key)
    with window_of(feed, folder, view.dark, view.size, run=feed.path) as window:
        window.state.set_mode(view.mode)
        turn_until(lambda: window.state.picture is not None and window.state.picture.key == key)
        save(window, path)


@contextmanager
def window_of(feed: object, folder: Path, dark: bool, size: tuple[int, int], **known: object) -> Iterator[Window]:
    from qtpy.QtCore import QSettings

    from livestain.view.memory import Memory
    from livestain.view.shell import application
    from livestain.view.window import Window

    ini = folder / "view.ini"
    ini.unlink(missing_ok=True)
    settings = QSettings(str(ini), QSettings.Format.IniFormat)
    Memory(settings).keep_dark(dark)
    window = Window(feed, settings=settings, **known)
    window.resize(*size)
    window.show()
    try:
        yield window
    finally:
        window.finish("", "plain")
        window.close()
        window.deleteLater()
        application().sendPostedEvents(None, 0)


def turn_until(holds: Callable[[], bool]) -> None:
    from qtpy.QtCore import QEventLoop, QTimer

    loop, timer = QEventLoop(), QTimer()
    timer.timeout.connect(lambda: holds() and loop.quit())
    timer.start(20)
    loop.exec()


def save(window: Window, path: Path) -> None:
    """Save the whole window when its numbers have settled."""
    from qtpy.QtCore import QEventLoop, QTimer

    loop = QEventLoop()
    QTimer.singleShot(SETTLED_MS, loop.quit)
    loop.exec()
    window.grab().save(str(path))
    with Image.open(path) as picture:
        exact = np.asarray(picture.convert("RGB"))
    Image.fromarray(exact).save(path, optimize=True)
    if path.stat().st_size > LIMIT_BYTES:  # the camera's noise: colours are then off by at most 4 of 255
        Image.fromarray(exact & 0xF8 | 0x04).save(path, optimize=True)
    print(f"{path} {path.stat().st_size / 1024:.0f} KB")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("target", type=Path, help="folder of the pictures")
    parser.add_argument("data", type=Path, help="folder of the image sets")
    sys.exit(main(parser.parse_args()))
