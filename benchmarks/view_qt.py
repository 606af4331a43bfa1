"""The parts of ``view.py`` that need Qt: import it when the screen is there."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt
from qtpy.QtCore import QEventLoop, Qt, QTimer

import livestain
from livestain.bench.screen import beside, window_on
from livestain.frames import Key
from livestain.model.read import read_model
from livestain.stainer.half import half_size
from livestain.view.live import LiveFeed
from livestain.view.picture import LayerInfo, Marks, Picture
from livestain.view.shell import application
from livestain.view.window import Window

_WARM_UP = 20

__all__ = ["LiveFeed", "ReadyFeed", "application", "beside", "ready_pictures", "time_paints", "window_on"]


class ReadyFeed:
    """Pictures made beforehand, shown in turn: the next one each time `offer` is called."""

    title, caution, problem = "ready pictures", "", ""
    pixel_um, interval_s, is_live = 0.65, 0.0, True

    def __init__(self, layers: Sequence[LayerInfo], pictures: Sequence[Picture]) -> None:
        self.layers = tuple(layers)
        self._pictures = itertools.cycle(pictures)
        self._wake: Callable[[], None] = lambda: None

    def start(self, wake: Callable[[], None]) -> None:
        self._wake = wake
        wake()

    def offer(self) -> None:
        self._wake()

    def take(self) -> Picture:
        return next(self._pictures)

    def show(self, key: Key) -> None: ...

    def extent(self) -> tuple[int, int, int]:
        return 1, 1, 1

    def marks(self, position: int, z: int) -> Marks:
        return np.zeros(0, np.uint8)

    def pause(self, paused: bool) -> None: ...

    def close(self) -> None: ...


def ready_pictures(model: str, frames: npt.NDArray[np.uint16], side: int) -> tuple[list[LayerInfo], list[Picture]]:
    """Return layers and (side, side) px pictures: frames (K, Y, X) repeated over the field, with their real stains."""
    times = -(-side // frames.shape[1])
    pictures = []
    with livestain.open_engine(model) as engine:
        for k, frame in enumerate(frames):
            found = engine.stain(frame)
            planes = tuple(np.tile(plane, (times, times))[:side, :side].copy() for plane in (frame, *found.stains))
            halves = tuple(half_size(plane) for plane in planes)
            pictures.append(Picture(Key(0, k, 0), planes, halves, ("",) * len(planes), live=True))
    virtual = [LayerInfo(s.name, "virtual", s.color, limits=(0, 65535)) for s in read_model(model).card.stains]
    return [LayerInfo("bright field", "label-free", "FFFFFF"), *virtual], pictures


def time_paints(window: Window, feed: ReadyFeed, seconds: float) -> list[float]:
    """Return the ms from each picture's end of painting to the next one's, as fast as it goes."""
    ends: list[float] = []

    def next_picture(_: Picture) -> None:
        ends.append(time.perf_counter())
        feed.offer()

    # Queued: after the paint event, and after its pixels were handed to the screen.
    window.canvas.painted.connect(next_picture, Qt.ConnectionType.QueuedConnection)
    window.canvas.set_max_rate(None)
    feed.offer()
    loop = QEventLoop()
    QTimer.singleShot(round(seconds * 1000), loop.quit)
    loop.exec()
    window.canvas.painted.disconnect(next_picture)
    return [1000 * float(ms) for ms in np.diff(ends)[_WARM_UP:]]
