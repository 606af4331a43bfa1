"""Half-size copies: means of 2 x 2, whatever the size and the numbers."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest

from livestain.stainer.half import half_size

SHAPES = [(2, 2), (1, 1), (96, 96), (97, 96), (96, 97), (131, 301), (3, 97, 99), (2, 1, 4, 6)]


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_each_pixel_is_the_rounded_mean_of_four(shape: tuple[int, ...], dtype: type[np.unsignedinteger]) -> None:
    plane = np.random.default_rng(0).integers(0, np.iinfo(dtype).max + 1, shape).astype(dtype)
    half = half_size(plane)
    np.testing.assert_array_equal(half, slow_half(plane))
    assert half.dtype == dtype
    assert half.shape == (*shape[:-2], -(-shape[-2] // 2), -(-shape[-1] // 2))


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("shape", [(64, 66), (65, 67)], ids=str)
def test_full_white_stays_full_white(shape: tuple[int, int], dtype: type[np.unsignedinteger]) -> None:
    top = np.iinfo(dtype).max
    assert (half_size(np.full(shape, top, dtype)) == top).all()


@pytest.mark.parametrize("view", [np.s_[::2, :], np.s_[:, ::3], np.s_[5:70, 3:], np.s_[::-1, :]], ids=str)
def test_a_view_of_a_larger_plane_is_read_right_and_left_alone(view: tuple[slice, ...]) -> None:
    whole = np.random.default_rng(1).integers(0, 65536, (100, 120)).astype(np.uint16)
    before = whole.copy()
    np.testing.assert_array_equal(half_size(whole[view]), slow_half(whole[view]))
    np.testing.assert_array_equal(whole, before)


def slow_half(plane: npt.NDArray[np.unsignedinteger]) -> npt.NDArray[np.uint32]:
    height, width = plane.shape[-2:]
    y = np.minimum(np.arange(height + height % 2), height - 1)
    x = np.minimum(np.arange(width + width % 2), width - 1)
    even = plane[..., y[:, None], x].astype(np.uint32)
    corners = even[..., 0::2, 0::2] + even[..., 0::2, 1::2] + even[..., 1::2, 0::2] + even[..., 1::2, 1::2]
    return (corners + 2) // 4
