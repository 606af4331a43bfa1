"""Frames drawn beforehand, and acquisitions that show them: nothing of the bench takes time while it is measured."""

from __future__ import annotations

import itertools
import time

import numpy as np
import numpy.typing as npt
import useq
from pymmcore_plus import CMMCorePlus

from livestain.session.session import Session
from livestain.sources.camera import PythonCamera, specimen_camera
from livestain.specimen import Camera, CameraSettings, illumination, prerender
from livestain.specimen.looks import find_look

_LOOK, _SEED = "spindle", 1
_DRAWN_PX = 1024
_READY_S = 120.0


def one_frame(side: int) -> npt.NDArray[np.uint16]:
    """Return one (side, side) uint16 frame of the simulated specimen; above 1024 px a field mirrored at its edges."""
    look = find_look(_LOOK)
    drawn = prerender(look, (min(side, _DRAWN_PX),) * 2, 1, _SEED)[0]
    film = np.pad(drawn, ((0, side - len(drawn)),) * 2, mode="symmetric") * illumination((side, side), _SEED)
    return Camera(CameraSettings(electrons=look.electrons), _SEED).expose(film, 0)


def ready_camera(side: int, exposure_ms: float, count: int = 16) -> PythonCamera:
    """Return a camera that shows ``count`` frames of the specimen, drawn with their noise beforehand, again and again.

    Frames are (side, side) uint16. Delivering one costs one copy, so that the camera takes no time from what is
    measured.
    """
    source = specimen_camera(_LOOK, (side, side), seed=_SEED, exposure_ms=0.0)
    frames = np.empty((count, side, side), np.uint16)
    for frame in frames:
        source.snap(frame)
    return PythonCamera(lambda k: frames[k % count], (side, side), np.uint16, source.pixel_um, exposure_ms)


def acquire(core: CMMCorePlus, frames: int, interval_s: float = 0.0) -> npt.NDArray[np.float64]:
    """Run a software-timed acquisition on this thread; return when each frame was delivered (s of `perf_counter`)."""
    # Bursts are the camera's pace; what could slow an acquisition is what happens between software-timed frames.
    if core.mda.engine is not None:
        core.mda.engine.use_hardware_sequencing = False
    times = np.zeros(frames)  # made beforehand: nothing of the bench grows while it runs
    numbers = itertools.count()

    def note() -> None:
        times[next(numbers)] = time.perf_counter()

    core.mda.events.frameReady.connect(note)
    try:
        core.mda.run(useq.MDASequence(time_plan=useq.TIntervalLoops(interval=interval_s, loops=frames)))
    finally:
        core.mda.events.frameReady.disconnect(note)
    return times[: next(numbers)]


def wait_until_ready(session: Session) -> None:
    """Block until the engine of the next run is warm.

    Raises
    ------
    TimeoutError
        It was not within 2 min.
    """
    until = time.monotonic() + _READY_S
    while not session.status.engine:
        if time.monotonic() > until:
            raise TimeoutError(f"the engine was not ready after {_READY_S:g} s: {session.status.warnings}")
        time.sleep(0.02)
