"""What several tests need to acquire with a session: cameras, sequences, and the check that a run is whole."""

from __future__ import annotations

import json
import threading
import time
from collections import abc
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import useq

from livestain.engine.opening import open_backend
from livestain.engine.protocol import Engine, Given
from livestain.frames import Key
from livestain.session.intake import Facts, Place, Sequence
from livestain.session.session import Session
from livestain.sources.camera import PythonCamera
from livestain.store.ledger import crc32
from livestain.store.planes import PlaneReader
from livestain.store.read import Run, open_run
from tests.models import camera_frame

SHAPE = (112, 128)
KINDS = ("live", "late", "skipped", "unstained", "behind")

PATIENCE_S = 150.0
"""How long to wait for a stainer process: at its low priority it starts in a minute where all cores are full."""

Counts = npt.NDArray[Any]


def frame(k: int, shape: tuple[int, int] = SHAPE) -> npt.NDArray[np.uint16]:
    """Cells on a lit field; every k is another one."""
    return camera_frame(shape, seed=k)


def camera(
    plane: Callable[[int], Counts] = frame,
    *,
    shape: tuple[int, int] = SHAPE,
    exposure_ms: float = 1.0,
    pixel_um: float = 0.65,
) -> PythonCamera:
    return PythonCamera(plane, shape, np.uint16, pixel_um, exposure_ms)


def timed(frames: int, interval_s: float = 0.005) -> useq.MDASequence:
    """A time lapse; an interval of 0 is a burst."""
    return useq.MDASequence(time_plan=useq.TIntervalLoops(interval=timedelta(seconds=interval_s), loops=frames))


def await_that(condition: Callable[[], object], limit_s: float = PATIENCE_S) -> None:
    """Wait for a condition, without an event of its own to wait for."""
    until = time.monotonic() + limit_s
    while not condition():
        assert time.monotonic() < until, f"waited {limit_s:g} s in vain"
        threading.Event().wait(0.005)


def raw_plane(run: Path, key: tuple[int, int, int], c: int = 0) -> Counts:
    p, t, z = key
    return PlaneReader(run / "raw" / f"p{p:03d}.ome.zarr").read(t, c, z)


def stain_planes(run: Path, key: tuple[int, int, int]) -> Counts:
    """(S, Y, X) of a plane, from disk."""
    p, t, z = key
    (model,) = open_run(run).stains
    reader = PlaneReader(run / "stains" / model / f"p{p:03d}.ome.zarr")
    return np.stack([reader.read(t, c, z) for c in range(2)])


def stain_rows(run: Path) -> dict[Key, dict[str, Any]]:
    """The last stain row of every plane."""
    opened = open_run(run)
    (model,) = opened.stains
    return {Key(row["p"], row["t"], row["z"]): row for row in opened.rows(model)}


def check_planes(run: Path) -> Run:
    """Check that every ``ok`` row, raw and stain, reads back with its CRC."""
    opened = open_run(run)
    for row in opened.rows():
        if row["state"] == "ok":
            assert crc32(raw_plane(run, (row["p"], row["t"], row["z"]), row["c"])) == row["crc32"]
    for model in opened.stains:
        for row in opened.rows(model):
            if row["state"] == "ok":
                reader = PlaneReader(run / "stains" / model / f"p{row['p']:03d}.ome.zarr")
                checks = [crc32(reader.read(row["t"], c, row["z"])) for c in range(len(row["crc32"]))]
                assert checks == row["crc32"]
    return opened


def check_closed(run: Path, **expected: int) -> dict[str, int]:
    """Check that a run is whole, closed, and that its counters close and are those of its ledgers; return them."""
    opened = check_planes(run)
    assert opened.closed
    assert opened.problems == []
    state = json.loads((run / "run.json").read_text(encoding="utf-8"))
    counters: dict[str, int] = state["counters"]
    assert state["closed"] is not None
    assert {name: counters[name] for name in opened.counters()} == opened.counters()
    assert counters["received"] == counters["saved"] + counters["failed"]
    assert counters["waiting"] == 0
    assert counters["labelfree"] == sum(counters[name] for name in KINDS)
    assert {name: counters[name] for name in expected} == expected
    return counters


class Feed:
    """A run of a source that delivers what it is told to, for frames that no camera here makes."""

    def __init__(self, session: Session, channel: str = "BF") -> None:
        self._channel = channel
        self._t = 0
        self.intake = session.begin_run(Sequence("BF", place=self._place, describe=lambda _: FACTS))

    def put(self, *images: Counts, burst: bool = False) -> None:
        """Deliver the images as the next time points."""
        for image in images:
            self.intake.put(image, self._t, time.monotonic_ns(), burst=burst)
            self._t += 1

    def end(self) -> None:
        self.intake.end()

    def _place(self, t: Any) -> Place:
        return Place(Key(0, int(t), 0), self._channel, "")


FACTS = Facts(time_s=0.0, exposure_ms=10.0, pixel_um=0.65, stage_um=(0.0, 0.0, 0.0))


class EngineForTests:
    """An engine whose `stain` a test may slow down, stop or break; as `openvino` does it otherwise."""

    def __init__(self, engine: Engine, before: Callable[[int], object], group: int = 1) -> None:
        self._engine, self._before = engine, before
        self._number = 0
        self.group = group
        self.info = engine.info
        self.warm_up, self.close = engine.warm_up, engine.close

    def stain(self, *passed: Any) -> npt.NDArray[np.uint16]:
        self._number += 1
        self._before(self._number)
        return self._engine.stain(*passed)

    def stain_many(self, frames: abc.Sequence[Given]) -> list[npt.NDArray[np.uint16]]:
        return [self.stain(frame.image, frame.shade, frame.black, frame.offset) for frame in frames]


def break_engine(monkeypatch: pytest.MonkeyPatch, before: Callable[[int], object], group: int = 1) -> None:
    """Call ``before(n)`` ahead of the n-th stain of each engine (n = 1, 2, ...); only with ``isolate=False``."""

    def opened(*passed: Any, **named: Any) -> EngineForTests:
        return EngineForTests(open_backend(*passed, **named), before, group)

    monkeypatch.setattr("livestain.stainer.loop.open_backend", opened)
