"""The label-free normalisation: one bright object must not move the rest of the picture."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest

from livestain.contrast import (
    Background,
    check_input,
    enlarge,
    estimate_background,
    is_usable,
    normalise,
    shade_shape,
)
from livestain.errors import FrameError

SIZE = 512
BLACK = 100.0


def cells(seed: int = 3) -> npt.NDArray[np.float64]:
    """Transmission of 60 small phase-like cells (dark rim, bright centre) on an empty field of 1."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:SIZE, :SIZE]
    field = np.ones((SIZE, SIZE))
    for cy, cx in rng.uniform(20, SIZE - 20, (60, 2)):
        r = np.hypot(y - cy, x - cx)
        field += 0.12 * np.exp(-((r / 4) ** 2)) - 0.10 * np.exp(-(((r - 9) / 3) ** 2))
    return field


def vignette(depth: float) -> npt.NDArray[np.float64]:
    y, x = np.mgrid[:SIZE, :SIZE]
    field: npt.NDArray[np.float64] = 1 - depth * ((y - SIZE / 2) ** 2 + (x - SIZE / 2) ** 2) / (2 * (SIZE / 2) ** 2)
    return field


def camera(field: npt.NDArray[np.float64], lamp: float = 20000.0) -> npt.NDArray[np.uint16]:
    rng = np.random.default_rng(11)
    electrons = field * lamp
    return np.clip(electrons + rng.normal(0, 1, field.shape) * np.sqrt(electrons) + BLACK, 0, 65535).astype(np.uint16)


def disc(field: npt.NDArray[np.float64]) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.bool_]]:
    """A bright disc of 60 px radius in a corner, and the pixels far from it."""
    y, x = np.mgrid[:SIZE, :SIZE]
    r = np.hypot(y - 110, x - 110)
    changed = field.copy()
    changed[r < 60] = 1.8
    return changed, r > 200


@pytest.mark.parametrize("depth", [0.0, 0.12], ids=["flat", "vignette"])
def test_bright_disc_does_not_move_distant_cells(depth: float) -> None:
    field = cells()
    background = estimate_background(camera(field * vignette(depth)), BLACK)
    changed, far = disc(field)
    before = normalise(camera(field * vignette(depth)), background, 0.3)
    after = normalise(camera(changed * vignette(depth)), background, 0.3)
    assert np.abs(after[far] - before[far]).mean() <= 0.05 * before.std()
    assert after[far].std() / before[far].std() == pytest.approx(1, abs=0.01)


def test_disc_in_the_background_frame_does_not_move_distant_cells_either() -> None:
    changed, far = disc(cells())
    clean, dirty = estimate_background(camera(cells()), BLACK), estimate_background(camera(changed), BLACK)
    frame = camera(cells())
    with_clean, with_dirty = normalise(frame, clean, 0.3), normalise(frame, dirty, 0.3)
    assert np.abs(with_clean[far] - with_dirty[far]).mean() <= 0.05 * with_clean.std()


@pytest.mark.parametrize("depth", [0.0, 0.12], ids=["flat", "vignette"])
def test_lamp_drift_is_removed(depth: float) -> None:
    field = cells() * vignette(depth)
    background = estimate_background(camera(field), BLACK)
    before = normalise(camera(field, 20000), background, 0.3)
    after = normalise(camera(field, 24000), background, 0.3)
    # Fresh shot noise differs between lamps, so the shift of the smooth picture is what counts.
    difference = (after - before).reshape(64, 8, 64, 8).mean((1, 3))
    assert np.abs(difference).mean() <= 0.02 * before.std()
    ratio = background.gain(camera(field, 24000)) / background.gain(camera(field, 20000))
    assert ratio == pytest.approx(1.2, rel=0.002)


def test_shade_reaches_the_graph_as_documented() -> None:
    field = cells() * vignette(0.12)
    frame = camera(field)
    background = estimate_background(frame, BLACK)
    gain, c = background.gain(frame), 0.25
    full = enlarge(background.shade(c, gain), 8, (SIZE, SIZE))
    direct = np.clip((frame.astype(np.float32) - BLACK) * full - 1 / c, -1, 1)
    np.testing.assert_allclose(normalise(frame, background, c), direct, atol=1e-5)
    assert background.shade(c).shape == shade_shape((SIZE, SIZE)) == (64, 64)


@pytest.mark.parametrize("shape", [(96, 96), (97, 101), (111, 240), (130, 127)], ids=str)
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_any_size_and_both_dtypes(shape: tuple[int, int], dtype: type) -> None:
    frame: npt.NDArray[np.uint16] = np.random.default_rng(0).integers(90, 110, shape).astype(dtype)
    background = estimate_background(frame)
    x = normalise(frame, background, 0.3)
    assert x.shape == shape
    assert x.dtype == np.float32
    assert abs(float(x.mean())) < 0.02
    assert background.shade(0.3).shape == shade_shape(shape)


def test_enlarge_is_linear_with_half_pixel_centres() -> None:
    grid = np.array([[0.0, 8.0]], np.float32)
    line = enlarge(grid, 8, (1, 16))[0]
    np.testing.assert_allclose(line, np.clip(np.arange(16) - 3.5, 0, 8), atol=1e-6)


def test_dark_pixels_of_the_field_are_floored() -> None:
    frame = np.full((256, 256), 1600, np.uint16)
    frame[:, 128:] = 0
    assert float(estimate_background(frame).blocks.min()) >= 1600 / 2 / 16


@pytest.mark.parametrize(
    ("level", "usable"),
    [(0, False), (3, False), (2000, True), (65535, False)],
    ids=["black", "dark", "lit", "saturated"],
)
def test_a_background_is_taken_from_lit_frames_only(level: int, usable: bool) -> None:
    assert is_usable(np.full((128, 128), level, np.uint16)) is usable


def test_saturation_follows_the_bit_depth() -> None:
    frame = np.full((128, 128), 4095, np.uint16)
    assert is_usable(frame)
    assert not is_usable(frame, bit_depth=12)


def test_moved_field_is_seen_and_a_lamp_drift_is_none() -> None:
    field = cells()
    background = estimate_background(camera(field), BLACK)
    assert background.moved(camera(field, 26000)) < 0.02
    assert background.moved(camera(field * vignette(0.3))) > 0.05


@pytest.mark.parametrize(
    ("image", "words"),
    [
        (np.zeros((128, 128, 3), np.uint8), "colour"),
        (np.zeros((128, 128), np.float32), "float32"),
        (np.zeros((128, 128), np.uint32), "uint32"),
        (np.zeros((95, 128), np.uint16), "96 x 96"),
    ],
    ids=["rgb", "float", "uint32", "small"],
)
def test_unusable_frames_are_named(image: npt.NDArray[np.uint16], words: str) -> None:
    with pytest.raises(FrameError, match=words):
        estimate_background(image)


def test_a_frame_of_another_shape_is_refused() -> None:
    background = Background(np.ones((8, 8), np.float32), 0.0, (128, 128))
    with pytest.raises(FrameError, match="new run"):
        background.gain(np.ones((128, 160), np.uint16))


def test_input_check_agrees_with_the_full_frame_and_names_what_is_wrong() -> None:
    frame = camera(cells())
    background = estimate_background(frame, BLACK)
    gain = background.gain(frame)
    x = normalise(frame, background, 0.3, gain)
    ok = check_input(frame, background, 0.3, gain, (0.01, 0.5), 0.02, (0.5, 2))
    assert ok.warnings == ()
    assert ok.sd == pytest.approx(float(x.std()), rel=0.05)
    bad = check_input(frame, background, 0.3, 3.0, (0.9, 0.95), 0.0, (0.5, 2))
    assert [w.split()[0] for w in bad.warnings] == ["contrast", "100.0%", "brightness"]
