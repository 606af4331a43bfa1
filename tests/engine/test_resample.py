"""Resampling keeps the field of view, the level and what the coarser grid can hold."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from scipy import ndimage

from livestain.engine.resample import resample, resampled_shape


def spot(shape: tuple[int, int]) -> npt.NDArray[np.uint16]:
    """A spot of the same place and size relative to the field, on 100 counts."""
    y, x = np.mgrid[: shape[0], : shape[1]] + 0.5
    r2 = ((y / shape[0] - 0.3) ** 2 + (x / shape[1] - 0.6) ** 2) / 0.1**2
    counts: npt.NDArray[np.uint16] = np.rint(100 + 5000 * np.exp(-r2)).astype(np.uint16)
    return counts


@pytest.mark.parametrize("new", [(120, 120), (301, 257), (480, 480), (97, 400)], ids=str)
def test_a_spot_stays_where_and_what_it_is(new: tuple[int, int]) -> None:
    result = resample(spot((240, 240)), new)
    assert result.shape == new
    assert result.dtype == np.uint16
    assert np.abs(result.astype(float) - spot(new)).max() < 0.02 * 5000


def test_there_and_back_is_the_same_picture() -> None:
    plane = ndimage.gaussian_filter(np.random.default_rng(0).uniform(0, 60000, (200, 210)), 6).astype(np.uint16)
    back = resample(resample(plane, (140, 147)), plane.shape)
    assert np.corrcoef(back.ravel(), plane.ravel())[0, 1] > 0.99


def test_what_the_coarser_grid_cannot_hold_is_averaged_not_sampled() -> None:
    stripes = np.zeros((200, 200), np.uint8)
    stripes[:, ::2] = 200
    result = resample(stripes, (50, 50))
    assert result.dtype == np.uint8
    assert np.abs(result.astype(int) - 100).max() < 25


def test_a_plane_of_the_right_size_is_returned_itself() -> None:
    plane = spot((100, 100))
    assert resample(plane, (100, 100)) is plane


def test_the_new_size_is_that_of_the_same_field() -> None:
    assert resampled_shape((512, 600), 0.325, 0.65) == (256, 300)
    assert resampled_shape((512, 600), 0.65, 0.65) == (512, 600)
