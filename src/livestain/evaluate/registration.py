"""Whether label-free planes and measured stains lie over each other, from many pairs at once.

One image says little: a nucleus is not in the middle of its cell, which alone moves the peak by up to 9 px.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import numpy.typing as npt
from scipy import fft, ndimage

from livestain.evaluate.baselines import local_energy
from livestain.evaluate.metrics import Plane
from livestain.frames import Counts

MIN_IMAGES = 3
WARN_PX = 4
_REACH_PX = 24
_BLUR_PX = 3.0


def measure_shift(pairs: Iterable[tuple[Counts, Counts]]) -> tuple[int, int] | None:
    """Return how far the measured stain lies below and right of the label-free plane, in px; None below 3 pairs.

    The peak of the mean cross-correlation of local energy with the blurred stain, up to 24 px; blocks, about 0.1 s a
    megapixel.
    """
    total = np.zeros((2 * _REACH_PX + 1,) * 2)
    count = 0
    for label_free, truth in pairs:
        total += _correlate(local_energy(label_free), ndimage.gaussian_filter(truth.astype(np.float64), _BLUR_PX))
        count += 1
    if count < MIN_IMAGES:
        return None
    dy, dx = np.unravel_index(int(np.argmax(total)), total.shape)
    return int(dy) - _REACH_PX, int(dx) - _REACH_PX


def describe_shift(shift: tuple[int, int] | None, stain: str, group: str) -> str:
    """Return a sentence about a shift of `WARN_PX` or more; nothing for a smaller or unknown one."""
    if shift is None or max(map(abs, shift)) < WARN_PX:
        return ""
    where = f" of {group}" if group else ""
    return (
        f"measured {stain}{where} lies {shift[0]} px below and {shift[1]} px right of the label-free images: are they "
        "registered?"
    )


def _correlate(still: Plane, moved: Plane) -> Plane:
    """Return the circular correlation of two planes for shifts of ``moved`` up to 24 px; 0 for a constant plane."""
    x, y = (plane - plane.mean() for plane in (still, moved))
    norm = float(np.sqrt(np.vdot(x, x) * np.vdot(y, y)))
    spectrum = np.conj(fft.rfft2(x)) * fft.rfft2(y)
    whole: npt.NDArray[np.float64] = fft.fftshift(fft.irfft2(spectrum, s=x.shape))
    middle = [size // 2 for size in x.shape]
    window: Plane = whole[tuple(slice(at - _REACH_PX, at + _REACH_PX + 1) for at in middle)]
    return window / norm if norm > 0 else np.zeros_like(window)
