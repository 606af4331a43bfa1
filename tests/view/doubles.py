"""A feed, a session and their pictures as a window sees them, told by the test what to say."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import numpy as np
from psygnal import Signal

from livestain.frames import InputCheck, Key
from livestain.model.read import Model, read_model
from livestain.session.session import Session
from livestain.session.status import Counters, Status
from livestain.view.picture import LayerInfo, Marks, Picture

LAYERS: tuple[LayerInfo, ...] = (
    LayerInfo("BF", "label-free", "FFFFFF", top=4095),
    LayerInfo("nuclei", "virtual", "00E676", limits=(0, 65535)),
    LayerInfo("membrane", "virtual", "FF00FF", limits=(0, 65535)),
)
CAUTION = "for tests only"


def picture(t: int = 0, shape: tuple[int, int] = (96, 120), *, age_s: float = 0.0) -> Picture:
    """Planes of one key; the count at (y, x) of layer i is 100 t + 10 i + x."""
    planes = tuple(np.broadcast_to(100 * t + 10 * i + np.arange(shape[1]), shape).astype(np.uint16) for i in range(3))
    return Picture(
        Key(0, t, 0), planes, states=("", "", ""), live=True, received_s=time.monotonic() - age_s, time_s=float(t)
    )


class FeedDouble:
    """Delivers what `put` is given."""

    title = "test run"
    layers = LAYERS
    pixel_um = 0.5
    interval_s = 0.2
    caution = CAUTION
    is_live = True

    def __init__(self) -> None:
        self.problem = ""
        self.paused: list[bool] = []
        self.shown: list[Key] = []
        self.closed = False
        self.size = (1, 1, 1)
        self._wake: Callable[[], None] = lambda: None
        self._picture: Picture | None = None

    def put(self, picture: Picture) -> None:
        self._picture = picture
        self._wake()

    def start(self, wake: Callable[[], None]) -> None:
        self._wake = wake

    def take(self) -> Picture | None:
        picture, self._picture = self._picture, None
        return picture

    def show(self, key: Key) -> None:
        self.shown.append(key)

    def extent(self) -> tuple[int, int, int]:
        return self.size

    def marks(self, position: int, z: int) -> Marks:
        return np.zeros(self.size[1], np.uint8)

    def pause(self, paused: bool) -> None:
        self.paused.append(paused)

    def close(self) -> None:
        self.closed = True


RECORDING = Status(
    state="recording", run="run", planned=20, model="test@12345678", caution=CAUTION,
    counters=Counters(received=12, saved=11, waiting=1, labelfree=11, live=8, late=2, behind=1),
    frames_per_s=5.0, latency_ms={"total": (80.0, 100.0, 120.0)},
    engine={"backend": "openvino", "version": "1", "device": "CPU", "precision": "f32", "stains": [], "reason": ""},
    disk_free_gib=100.0, disk_left_s=7200.0, input=InputCheck(0.2, 0.001, 1.0),
)  # fmt: skip


class SessionDouble:
    """Says what `say` was told."""

    status_changed = Signal(object)
    warning = Signal(str)
    finished = Signal(str)

    def __init__(self, model: Path, run: Path | None = None) -> None:
        self.model: Model = read_model(model)
        self.run = run
        self.status = RECORDING
        self.switched: list[bool] = []
        self.followed: list[tuple[int, int] | None] = []
        self.notes: list[tuple[str, Key | None]] = []

    @property
    def counters(self) -> Counters:
        return self.status.counters

    def say(self, **changes: Any) -> None:
        """Change the status and tell it, as the session does once a second."""
        self.status = replace(self.status, **changes)
        self.status_changed.emit(self.status)

    def report(self) -> tuple[Status, ...]:
        return (self.status,)

    def set_staining(self, on: bool) -> None:
        self.switched.append(on)

    def follow(self, place: tuple[int, int] | None) -> None:
        self.followed.append(place)

    def note(self, text: str, key: Key | None = None) -> None:
        self.notes.append((text, key))

    def as_session(self) -> Session:
        return cast("Session", self)
