"""Half-size copies of planes, for display: a window shows a 2048 px frame on some 800 px."""

from __future__ import annotations

from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

Plane = TypeVar("Plane", bound=npt.NDArray[np.unsignedinteger[Any]])

_ROWS = 64


def half_size(plane: Plane) -> Plane:
    """Return a plane at half size: each pixel the rounded mean of 2 x 2; blocks, releases the GIL.

    Parameters
    ----------
    plane
        (..., Y, X) uint8 or uint16. An odd last row or column counts twice.

    Returns
    -------
    (..., ceil(Y / 2), ceil(X / 2)), same dtype, own memory.
    """
    *stack, height, width = plane.shape
    even = _even(plane).reshape(-1, height + height % 2, width + width % 2)
    half = np.empty((len(even), even.shape[1] // 2, even.shape[2] // 2), plane.dtype)
    for source, target in zip(even, half, strict=True):
        _halve(source, target)
    return half.reshape(*stack, *half.shape[1:])  # type: ignore[return-value]  # the plane's own dtype


def _even(plane: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """The plane with even sides, contiguous; a copy only where it is not so already."""
    *stack, height, width = plane.shape
    if height % 2 or width % 2:
        return np.pad(plane, [(0, 0)] * len(stack) + [(0, height % 2), (0, width % 2)], mode="edge")
    return np.ascontiguousarray(plane)


def _halve(source: npt.NDArray[Any], target: npt.NDArray[Any]) -> None:
    # Two neighbours are read as one number of twice the bits and its halves added, whatever the byte order; strips of
    # rows stay in the cache.
    bits = 8 * source.dtype.itemsize
    wide = np.uint16 if bits == 8 else np.uint32
    low, two = wide((1 << bits) - 1), wide(2)
    pairs: npt.NDArray[Any] = source.view(wide)
    for top in range(0, len(pairs), 2 * _ROWS):
        strip = pairs[top : top + 2 * _ROWS]
        sums = strip & low
        sums += strip >> wide(bits)
        means = sums[0::2] + sums[1::2]
        means += two
        means >>= two
        target[top // 2 : top // 2 + len(means)] = means
