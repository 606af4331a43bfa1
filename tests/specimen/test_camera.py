"""The camera: photon transfer, dark frames, clipping, and noise that is new in each frame and the same in each run."""

from __future__ import annotations

import numpy as np
import pytest

from livestain.errors import UserError
from livestain.specimen import Camera, CameraSettings, illumination

SHAPE = (400, 512)


def flat(intensity: float) -> np.ndarray[tuple[int, int], np.dtype[np.float32]]:
    return np.full(SHAPE, intensity, np.float32)


def test_variance_grows_with_the_mean_by_one_over_gain() -> None:
    camera = Camera()
    frames = [camera.expose(flat(0.1 * step), step).astype(np.float64) for step in range(1, 11)]
    slope = np.polyfit([frame.mean() for frame in frames], [frame.var() for frame in frames], 1)[0]
    assert slope == pytest.approx(1 / camera.settings.gain, rel=0.01)


def test_a_dark_frame_shows_offset_and_read_noise() -> None:
    camera = Camera()
    dark = camera.expose(flat(0), 0)
    assert dark.mean() == pytest.approx(100, abs=0.1)
    assert dark.std() == pytest.approx(1.6 / 0.46, rel=0.01)


@pytest.mark.parametrize(("bits", "top"), [(8, 255), (12, 4095), (16, 65535)])
def test_no_count_is_above_the_converters_range(bits: int, top: int) -> None:
    frame = Camera(CameraSettings(bits=bits)).expose(flat(5), 0)
    assert frame.dtype == np.uint16
    assert frame.max() == top


def test_noise_of_neighbouring_frames_is_unrelated() -> None:
    camera = Camera(seed=3)
    frames = [camera.expose(flat(1), number).ravel().astype(np.float64) for number in range(8)]
    between = np.asarray(np.corrcoef(frames)) - np.eye(8)
    assert np.abs(between).max() < 0.02


def test_noise_depends_on_seed_and_frame_number_alone() -> None:
    other, again = Camera(seed=3), Camera(seed=3)
    other.expose(flat(1), 5)
    other.expose(np.ones((100, 100), np.float32), 5)
    assert np.array_equal(other.expose(flat(1), 9), again.expose(flat(1), 9))
    assert not np.array_equal(Camera(seed=4).expose(flat(1), 9), again.expose(flat(1), 9))


def test_shade_dims_and_the_intensity_is_not_altered() -> None:
    intensity, shade = flat(1), flat(0.5)
    frame = Camera().expose(intensity, 0, shade)
    assert frame.mean() == pytest.approx(100 + 4500 / 0.46, rel=0.001)
    assert np.all(intensity == 1)


@pytest.mark.parametrize(
    ("intensity", "shade"),
    [(np.ones((4, 4, 3), np.float32), None), (np.ones((4, 4), np.float32), np.ones((4, 5), np.float32))],
)
def test_planes_that_do_not_fit_are_refused(
    intensity: np.ndarray[tuple[int, ...], np.dtype[np.float32]],
    shade: np.ndarray[tuple[int, ...], np.dtype[np.float32]] | None,
) -> None:
    with pytest.raises(UserError, match=r"\(4, 4"):
        Camera().expose(intensity, 0, shade)


def test_light_is_uneven_and_belongs_to_its_seed() -> None:
    light = illumination(SHAPE, 1)
    assert light.shape == SHAPE
    assert light.dtype == np.float32
    assert 0.6 < light.min() < 0.95
    assert 0.97 < light.max() < 1.1
    assert np.array_equal(light, illumination(SHAPE, 1))
    assert not np.array_equal(light, illumination(SHAPE, 2))
