"""Python cameras in a real core: recorded images or the simulated specimen, shown as if a microscope delivered them."""

from __future__ import annotations

import atexit
import logging
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TypeVar
from weakref import WeakSet

import numpy as np
import numpy.typing as npt
import pymmcore_plus._pymmcore as pymmcore
from pymmcore_plus import CMMCorePlus
from pymmcore_plus.experimental.unicore import SimpleCameraDevice, UniMMCore

from livestain.contrast import Field
from livestain.errors import LivestainError
from livestain.frames import Counts
from livestain.images import ImageSet
from livestain.specimen import Camera, CameraSettings, Look, illumination, prerender
from livestain.specimen.looks import find_look

CAMERA = "BF"
"""Label of the camera in a core made by `make_core`."""

Core = TypeVar("Core", bound=CMMCorePlus)

_BUFFER_MIB = 512
_DRAWN_SIDE_PX = 1024
_DRAWN_PX = 3 << 20
_STOP_S = 5.0


class PythonCamera(SimpleCameraDevice):
    """A camera of pymmcore-plus' `UniMMCore` whose frame ``k`` is ``plane(k)``, k = 0, 1, 2, ... since it was made.

    An image takes the exposure time, or as long as ``plane`` needs if that is more. Snapping, live mode, software-timed
    runs and bursts deliver the same frames in the same order. It is called on the core's acquisition thread and keeps
    nothing of what it delivered.

    Parameters
    ----------
    plane
        Returns the (Y, X) counts of frame k; called with k rising by one.
    shape, dtype
        (Y, X) in px and uint8 or uint16, of every plane.
    pixel_um
        Pixel size in um; 0 = not known.
    exposure_ms
        Exposure at the start; the host may change it.

    Attributes
    ----------
    failure
        The first error of ``plane``, else None. pymmcore-plus only logs it: a run with a camera that failed ends as
        completed, with frames missing.
    """

    def __init__(
        self,
        plane: Callable[[int], Counts],
        shape: tuple[int, int],
        dtype: npt.DTypeLike,
        pixel_um: float = 0.0,
        exposure_ms: float = 10.0,
    ) -> None:
        super().__init__()
        self.pixel_um = pixel_um
        self.failure: LivestainError | None = None
        self._plane = plane
        self._shape = shape
        self._dtype = np.dtype(dtype)
        self._exposure_ms = exposure_ms
        self._number = 0

    def get_exposure(self) -> float:
        """Return the exposure in ms."""
        return self._exposure_ms

    def set_exposure(self, exposure: float) -> None:
        """Set the exposure in ms."""
        self._exposure_ms = float(exposure)

    def sensor_shape(self) -> tuple[int, int]:
        """Return (Y, X) in px."""
        return self._shape

    def dtype(self) -> np.dtype[np.generic]:
        """Return the dtype of every frame."""
        return self._dtype

    def snap(self, buffer: npt.NDArray[np.generic]) -> Mapping[str, int]:
        """Fill ``buffer`` (Y, X) with the next frame; blocks for the exposure time."""
        end_s = time.perf_counter() + self._exposure_ms / 1e3
        number = self._number
        self._number += 1
        try:
            buffer[...] = self._plane(number)
        except LivestainError as error:
            self.failure = self.failure or error
            raise
        time.sleep(max(0.0, end_s - time.perf_counter()))
        return {"SourceFrame": number}


def recorded_camera(images: ImageSet, channel: int = 0, exposure_ms: float = 10.0) -> PythonCamera:
    """Return a camera that shows one channel of recorded images, bit for bit, and starts again after the last.

    Time point by time point, the z sections of each from first to last. ``images`` stays open as long as the camera
    is used, and is closed by the caller. Planes are read when they are shown.
    """
    axes = images.axes

    def plane(k: int) -> Counts:
        return images.plane(k // axes.z % axes.t, channel, k % axes.z)

    return PythonCamera(plane, images.plane_shape, images.dtype, images.pixel_um, exposure_ms)


def specimen_camera(
    look: str | Look = "spindle", shape: tuple[int, int] = (512, 512), seed: int = 0, exposure_ms: float = 30.0
) -> PythonCamera:
    """Return a camera that looks at simulated living cells, (Y, X) uint16.

    A film of a few moments, 5 min of the cells' life apart, is drawn here and then shown forth and back, with fresh
    noise in every frame; however many frames are asked for, nothing more is drawn. Drawing blocks for about two
    seconds: 16 moments up to 440 x 440 px, 12 at 512 x 512, 4 from 900 x 900 on, the same on every machine. Above
    1024 px a field of 1024 px is drawn and mirrored at its edges.

    The same look, shape and seed give the same frames.

    Raises
    ------
    UserError
        Unknown look, or a shape below 96 x 96 px.
    """
    look = find_look(look)
    height, width = shape
    moments = int(np.clip(_DRAWN_PX // (height * width), 4, 16))
    drawn = prerender(look, (min(height, _DRAWN_SIDE_PX), min(width, _DRAWN_SIDE_PX)), moments, seed)
    rest = ((0, height - drawn.shape[1]), (0, width - drawn.shape[2]))
    film: Field = np.pad(drawn, ((0, 0), *rest), mode="symmetric")
    # The light is fixed to the camera, so it is laid over the film once.
    film *= illumination(shape, seed)
    sensor = Camera(CameraSettings(electrons=look.electrons), seed)

    def plane(k: int) -> Counts:
        return sensor.expose(film[_forth_and_back(k, moments)], k)

    return PythonCamera(plane, shape, np.uint16, look.pixel_um, exposure_ms)


@contextmanager
def make_core(camera: PythonCamera, label: str = CAMERA) -> Iterator[UniMMCore]:
    """Yield a core of our own with ``camera`` under that label; needs no device adapter of Micro-Manager.

    The label becomes the name of the channel.
    A software run of useq, a burst, live mode and snapping work on it. It is released at the end of the block.
    """
    with held_core(_quiet_core()) as core:
        # The engine closes the shutter after each frame of a core that has none, unless told otherwise.
        core.setAutoShutter(False)
        core.loadPyDevice(label, camera)
        core.initializeDevice(label)
        core.setCameraDevice(label)
        # Of a Python camera only once it is chosen. The default of 1 GiB would in time all be resident.
        core.setCircularBufferMemoryFootprint(_BUFFER_MIB)
        if camera.pixel_um > 0:
            core.definePixelSizeConfig(CAMERA)
            core.setPixelSizeUm(CAMERA, camera.pixel_um)
            core.setPixelSizeConfig(CAMERA)
        yield core


@contextmanager
def quiet_search() -> Iterator[None]:
    """Within, pymmcore-plus logs no error that it finds no Micro-Manager: a Python camera needs none."""
    logger = logging.getLogger("pymmcore-plus")
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        logger.setLevel(level)


def _quiet_core() -> UniMMCore:
    with quiet_search():
        return UniMMCore()


@contextmanager
def held_core(core: Core) -> Iterator[Core]:
    """Yield a core that livestain made, and release it at the end of the block, or else when Python ends."""
    _held.add(core)
    try:
        yield core
    finally:
        release_core(core)


def release_core(core: CMMCorePlus) -> None:
    """End a core that livestain made: stop its run, unload its devices, cut its notifications. May be called twice.

    Blocks until a run has stopped, at most 5 s. The core cannot be used afterwards.
    Without the last step one process in five died when it ended: the core's own thread called into Python.
    """
    _held.discard(core)
    core.mda.cancel()
    limit_s = time.monotonic() + _STOP_S
    while core.mda.is_running() and time.monotonic() < limit_s:
        time.sleep(0.005)
    core.unloadAllDevices()
    # Not core.registerCallback: pymmcore-plus refuses that.
    pymmcore.CMMCore.registerCallback(core, None)


_held: WeakSet[CMMCorePlus] = WeakSet()


@atexit.register
def _release_held() -> None:
    for core in list(_held):
        release_core(core)


def _forth_and_back(k: int, count: int) -> int:
    """Return 0, 1, ... count - 1, count - 2, ... 1, 0, 1, ... for k = 0, 1, 2, ..."""
    at = k % (2 * count - 2)
    return min(at, 2 * count - 2 - at)
