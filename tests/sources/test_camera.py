"""Python cameras in a real core: every frame arrives once, in order, bit for bit, and the process ends cleanly."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import tifffile
import useq

from livestain.errors import ImageError, UserError
from livestain.images import open_images
from livestain.sources import camera as camera_module
from livestain.sources.camera import PythonCamera, make_core, recorded_camera, release_core, specimen_camera
from livestain.specimen import illumination

SIDE = 96
Planes = npt.NDArray[np.uint16]

PLANS = {"software-timed": 0.002, "burst": 0.0}


@pytest.fixture(autouse=True)
def no_device_adapters(monkeypatch: pytest.MonkeyPatch) -> None:
    """Demo and tests must run where no Micro-Manager is installed."""
    monkeypatch.setattr("pymmcore_plus.core._mmcore_plus.find_micromanager", lambda: None)


@pytest.fixture
def planes() -> Planes:
    return np.random.default_rng(2).integers(0, 65536, (4, SIDE, SIDE + 9), np.uint16)


def numbered(exposure_ms: float = 0.0, plane: Callable[[int], Planes] | None = None) -> PythonCamera:
    """A camera whose frame k is filled with k."""
    fill = plane or (lambda k: np.full((SIDE, SIDE), k, np.uint16))
    return PythonCamera(fill, (SIDE, SIDE), np.uint16, exposure_ms=exposure_ms)


def timed(interval_s: float, frames: int) -> useq.MDASequence:
    return useq.MDASequence(time_plan=useq.TIntervalLoops(interval=timedelta(seconds=interval_s), loops=frames))


def run(camera: PythonCamera, interval_s: float, frames: int) -> list[tuple[Planes, dict[str, Any]]]:
    """Every frame of one real acquisition, with its metadata."""
    received: list[tuple[Planes, dict[str, Any]]] = []
    with make_core(camera) as core:
        core.mda.events.frameReady.connect(lambda image, event, meta: received.append((image, dict(meta))))
        core.mda.run(timed(interval_s, frames))
    return received


@pytest.mark.parametrize("interval_s", PLANS.values(), ids=PLANS.keys())
def test_recorded_frames_arrive_in_order_bit_for_bit_and_start_again(
    interval_s: float, planes: Planes, tmp_path: Path
) -> None:
    tifffile.imwrite(tmp_path / "a.tif", planes, metadata={"axes": "TYX"}, photometric="minisblack")
    with open_images(tmp_path / "a.tif") as images:
        received = run(recorded_camera(images, exposure_ms=0.1), interval_s, 11)
    assert len(received) == 11
    for k, (image, _) in enumerate(received):
        np.testing.assert_array_equal(image, planes[k % 4])


def test_recorded_sections_follow_each_other_within_a_time_point(planes: Planes, tmp_path: Path) -> None:
    data = planes.reshape(2, 1, 2, *planes.shape[1:])
    tifffile.imwrite(tmp_path / "a.tif", data, metadata={"axes": "TCZYX"}, photometric="minisblack")
    with open_images(tmp_path / "a.tif") as images:
        received = run(recorded_camera(images, exposure_ms=0.0), 0.0, 5)
    for (image, _), expected in zip(received, planes[[0, 1, 2, 3, 0]], strict=True):
        np.testing.assert_array_equal(image, expected)


def test_the_chosen_channel_is_shown_in_its_own_dtype(tmp_path: Path) -> None:
    data = np.random.default_rng(3).integers(0, 256, (2, 2, SIDE, SIDE), np.uint8)
    tifffile.imwrite(tmp_path / "a.tif", data, metadata={"axes": "TCYX"}, photometric="minisblack")
    with open_images(tmp_path / "a.tif") as images:
        received = run(recorded_camera(images, channel=1, exposure_ms=0.0), 0.0, 2)
    assert received[0][0].dtype == np.uint8
    np.testing.assert_array_equal(np.stack([image for image, _ in received]), data[:, 1])


@pytest.mark.parametrize("interval_s", PLANS.values(), ids=PLANS.keys())
def test_specimen_frames_arrive_in_order_and_the_same_seed_gives_the_same(interval_s: float) -> None:
    received = run(specimen_camera(shape=(SIDE, SIDE), seed=4, exposure_ms=0.1), interval_s, 30)
    again = specimen_camera(shape=(SIDE, SIDE), seed=4, exposure_ms=0.0)
    assert len(received) == 30
    for image, _ in received:
        expected = np.empty((SIDE, SIDE), np.uint16)
        again.snap(expected)
        np.testing.assert_array_equal(image, expected)


def test_the_specimen_is_shown_forth_and_back_with_fresh_noise() -> None:
    camera = specimen_camera(shape=(128, 128), seed=1, exposure_ms=0.0)
    frames = np.empty((32, 128, 128), np.uint16)
    for frame in frames:
        camera.snap(frame)
    signal = frames.astype(np.float64)
    # 16 moments: frame 15 is the turn, frames 14 and 16 show the same moment, frame 30 the first again.
    noise_sd = np.std(signal[14] - signal[16]) / np.sqrt(2)
    assert noise_sd == pytest.approx(np.sqrt(9000) / 0.46, rel=0.15)
    assert np.std(signal[30] - signal[0]) / np.sqrt(2) == pytest.approx(noise_sd, rel=0.1)
    assert np.std(signal[15] - signal[0]) / np.sqrt(2) > 1.5 * noise_sd


DRAWN: dict[tuple[int, int], tuple[int, tuple[int, int]]] = {
    (96, 96): (16, (96, 96)),
    (512, 512): (12, (512, 512)),
    (1024, 1024): (4, (1024, 1024)),
    (1200, 1024): (4, (1024, 1024)),
    (96, 1500): (16, (96, 1024)),
}


@pytest.mark.parametrize(("shape", "expected"), DRAWN.items(), ids=str)
def test_the_drawing_is_bounded_by_the_size_alone(
    shape: tuple[int, int], expected: tuple[int, tuple[int, int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[int, tuple[int, int]]] = []

    def draw(look: object, field: tuple[int, int], frames: int, seed: int) -> npt.NDArray[np.float32]:
        asked.append((frames, field))
        return np.ones((frames, *field), np.float32)

    monkeypatch.setattr(camera_module, "prerender", draw)
    camera = specimen_camera(shape=shape, exposure_ms=0.0)
    frame = np.zeros(shape, np.uint16)
    for _ in range(3):
        camera.snap(frame)
    assert asked == [expected]
    assert camera.sensor_shape() == shape
    assert frame.min() > 100


def test_beyond_1024_px_the_field_is_mirrored(monkeypatch: pytest.MonkeyPatch) -> None:
    field = np.random.default_rng(0).uniform(0.2, 1.8, (SIDE, 1024)).astype(np.float32)
    monkeypatch.setattr(camera_module, "prerender", lambda look, shape, frames, seed: np.stack([field] * frames))
    frame = np.zeros((SIDE, 1100), np.uint16)
    specimen_camera(shape=(SIDE, 1100), exposure_ms=0.0).snap(frame)
    seam, mirrored = frame[:, 1024 - 76 : 1024], frame[:, 1024:][:, ::-1]
    assert np.corrcoef(seam.ravel(), mirrored.ravel())[0, 1] > 0.99


def test_an_empty_field_shows_the_light_of_its_seed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(camera_module, "prerender", lambda look, shape, frames, seed: np.ones((frames, *shape), "f4"))
    frame = np.zeros((256, 256), np.uint16)
    specimen_camera(shape=(256, 256), seed=6, exposure_ms=0.0).snap(frame)
    light = illumination((256, 256), 6).reshape(16, 16, 16, 16).mean(axis=(1, 3))
    assert np.corrcoef(frame.reshape(16, 16, 16, 16).mean(axis=(1, 3)).ravel(), light.ravel())[0, 1] > 0.9


def test_a_specimen_that_is_too_small_is_refused() -> None:
    with pytest.raises(UserError, match="at least 96 x 96"):
        specimen_camera(shape=(95, 512))


@pytest.mark.parametrize("interval_s", PLANS.values(), ids=PLANS.keys())
def test_every_frame_takes_the_exposure_time(interval_s: float) -> None:
    with make_core(numbered(exposure_ms=5.0)) as core:
        core.setExposure(60.0)
        assert core.getExposure() == 60.0
        start_s = time.perf_counter()
        core.mda.run(timed(interval_s, 4))
    assert time.perf_counter() - start_s >= 4 * 0.060


def test_the_core_bounds_the_frames_that_wait_in_it() -> None:
    with make_core(numbered()) as core:
        assert core.getCircularBufferMemoryFootprint() == 512


def test_the_host_learns_pixel_size_and_camera() -> None:
    received = run(specimen_camera(shape=(SIDE, SIDE), exposure_ms=1.0), 0.001, 1)
    meta = received[0][1]
    assert meta["pixel_size_um"] == 0.65
    assert meta["camera_device"] == "BF"
    assert run(numbered(), 0.001, 1)[0][1]["pixel_size_um"] == 0.0


def test_snapping_and_live_mode_go_on_where_the_last_frame_was() -> None:
    with make_core(numbered(exposure_ms=1.0)) as core:
        assert core.snap()[0, 0] == 0
        core.startSequenceAcquisition(3, 0, True)
        while core.isSequenceRunning():
            threading.Event().wait(0.001)
        assert [int(core.popNextImage()[0, 0]) for _ in range(3)] == [1, 2, 3]
        assert core.snap()[0, 0] == 4


def test_a_plane_that_cannot_be_read_is_known_after_the_run() -> None:
    def plane(k: int) -> Planes:
        if k in (1, 3):
            raise ImageError(f"frame {k} is gone")
        return np.full((SIDE, SIDE), k, np.uint16)

    camera = numbered(plane=plane)
    received = run(camera, 0.001, 5)
    assert [int(image[0, 0]) for image, _ in received] == [0, 2, 4]
    assert str(camera.failure) == "frame 1 is gone"


def test_leaving_the_block_stops_a_run_and_may_be_repeated() -> None:
    seen = threading.Event()
    with make_core(numbered(exposure_ms=1.0)) as core:
        core.mda.events.frameReady.connect(lambda image: seen.set())
        thread = core.run_mda(timed(0.001, 100_000))
        assert seen.wait(10)
    assert not core.mda.is_running()
    thread.join(10)
    assert not thread.is_alive()
    release_core(core)
    assert "BF" not in core.getLoadedDevices()


EXIT_SCRIPT = """
import sys
import numpy as np, useq
from livestain.sources.camera import PythonCamera, make_core
camera = PythonCamera(lambda k: np.full((96, 96), k, np.uint16), (96, 96), np.uint16, exposure_ms=1)
plan = useq.MDASequence(time_plan={"interval": 0.001 if "run" in sys.argv else 0, "loops": 5})
block = make_core(camera)
core = block.__enter__()
core.mda.run(plan)
core.setExposure(2)
if "leave" in sys.argv:
    block.__exit__(None, None, None)
if "error" in sys.argv:
    raise SystemExit(3)
"""


@pytest.mark.parametrize(
    ("words", "code"), [("burst leave", 0), ("run", 0), ("run error", 3)], ids=["released", "left to exit", "exit code"]
)
def test_the_process_ends_cleanly(words: str, code: int) -> None:
    done = subprocess.run(
        [sys.executable, "-c", EXIT_SCRIPT, *words.split()], capture_output=True, text=True, check=False, timeout=60
    )
    assert (done.returncode, done.stderr) == (code, "")
