"""From a frame's receipt to its stains on the screen: a real window, beside a real session."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from livestain.bench.acquisition import acquire, wait_until_ready
from livestain.errors import UserError
from livestain.model import Model
from livestain.settings import Backend
from livestain.sources.camera import CAMERA, PythonCamera, make_core
from livestain.sources.mda import attach
from livestain.view.app import headless_application, hearing_the_end, probe

if TYPE_CHECKING:
    from livestain.session.session import Session
    from livestain.view.picture import Feed, Picture
    from livestain.view.window import Window

Answer = TypeVar("Answer")

_SIZE = 1280, 800
_LOOK_MS = 20


@contextlib.contextmanager
def screen_or_why() -> Iterator[str]:
    """Yield why no window can be made here, empty when one can; an application lives as long as the block.

    Where there is no display, Qt draws into memory: all is done but the last copy.
    """
    app = None
    try:
        if probe():
            app = headless_application()
        else:
            from livestain.view.shell import application

            app = application()
    except UserError as error:
        yield str(error)
    else:
        yield ""
    del app  # Qt keeps no reference of its own


def to_screen_ms(
    camera: PythonCamera, model: Model, backend: Backend, frames: int, per_s: float, run: Path
) -> list[float]:
    """Return how old each frame was when a window had painted it with its stains, ms; blocks, main thread only.

    Parameters
    ----------
    camera
        From `livestain.bench.acquisition.ready_camera`.
    model, backend
        What stains.
    frames, per_s
        How many frames are offered, and how many a second; the window paints the newest.
    run
        Run folder to make.
    """
    from qtpy.QtCore import Qt

    from livestain.view.live import LiveFeed

    ages: list[float] = []

    def note(picture: Picture) -> None:
        if picture.received_s is not None and not any(picture.states):
            ages.append(1e3 * (time.monotonic() - picture.received_s))

    with (
        make_core(camera) as core,
        attach(core, model.folder, run, backend=backend) as session,
        window_on(LiveFeed(session, [CAMERA]), run.parent, session) as window,
    ):
        beside(lambda: wait_until_ready(session), lambda: None)
        # Queued: after the paint event, and after its pixels were handed to the screen.
        window.canvas.painted.connect(note, Qt.ConnectionType.QueuedConnection)
        beside(lambda: acquire(core, frames, 1 / per_s), core.mda.cancel)
    return ages


@contextlib.contextmanager
def window_on(
    feed: Feed, folder: Path, session: Session | None = None, size: tuple[int, int] = _SIZE
) -> Iterator[Window]:
    """Yield a window that is shown, with settings of its own kept in ``folder``."""
    from qtpy.QtCore import QSettings

    from livestain.view.shell import application
    from livestain.view.window import Window

    window = Window(feed, session=session, settings=QSettings(str(folder / "view.ini"), QSettings.Format.IniFormat))
    window.resize(*size)
    window.show()
    try:
        yield window
    finally:
        window.finish("measured", "plain")
        window.close()
        window.deleteLater()
        application().sendPostedEvents(None, 0)


def beside(work: Callable[[], Answer], end: Callable[[], object] = lambda: None) -> Answer:
    """Run ``work`` on a thread of its own while Qt turns here, and return what it returned.

    Ctrl-C calls ``end`` and is raised when ``work`` has returned: within Qt's own calls it would be swallowed.
    """
    from qtpy.QtCore import QEventLoop, QTimer

    loop, pressed = QEventLoop(), threading.Event()

    def interrupt() -> None:
        pressed.set()
        end()

    with ThreadPoolExecutor(1) as pool, hearing_the_end(interrupt):
        future = pool.submit(work)
        timer = QTimer()
        timer.timeout.connect(lambda: loop.quit() if future.done() else None)
        timer.start(_LOOK_MS)
        loop.exec()
        timer.stop()
        answer = future.result()
    if pressed.is_set():
        raise KeyboardInterrupt
    return answer
