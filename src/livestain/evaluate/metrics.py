"""How far a virtual stain is from the measured one, image by image.

Every function takes ``predicted`` and ``truth``, (Y, X) float64 planes of one size, in this order, and computes in
float64. The scale is one for a whole data set: the truth's 0.1 and 99.9 percentiles become 0 and 1 (`Scale`), and the
prediction goes through the same map, never through its own minimum and maximum. A metric that is not defined for a
pair (an empty truth, say) is NaN and is left out of means.

Sources: SSIM of Wang et al. 2004 (Gaussian window); VIFp of Sheikh and Bovik 2006; FSIM in `livestain.evaluate.fsim`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from livestain.errors import ImageError
from livestain.evaluate.fsim import fsim
from livestain.frames import Counts

Plane = npt.NDArray[np.float64]
Values = npt.NDArray[np.float32 | np.float64 | np.uint8 | np.uint16]
Metric = Callable[[Plane, Plane], float]

PSNR_CAP_DB = 100.0
_LOW_SHARE, _HIGH_SHARE = 0.001, 0.999
_COUNTS = 1 << 16
_VIF_NOISE = 2.0
_VIF_SIDES = (17, 9, 5, 3)
_TINY = 1e-10
_SSIM_HALF = 5
_SSIM_C1, _SSIM_C2 = 0.01**2, 0.03**2


@dataclass(frozen=True, slots=True)
class Scale:
    """The affine map of one data set: counts of the measured stain that become 0 and 1."""

    low: float
    high: float

    def apply(self, image: Values) -> Plane:
        """Return ``image`` on this scale as float64, not clipped."""
        scaled: Plane = (np.asarray(image, np.float64) - self.low) / (self.high - self.low)
        return scaled


def measure_scale(truths: Iterable[Counts]) -> Scale:
    """Return the scale of a data set from the 0.1 and 99.9 percentiles of all its measured planes (uint8, uint16).

    Raises
    ------
    ImageError
        The two percentiles are one: the measured stain is empty.
    """
    histogram = np.zeros(_COUNTS, np.int64)
    for truth in truths:
        histogram += np.bincount(truth.ravel(), minlength=_COUNTS)
    low, high = (_quantile(histogram, share) for share in (_LOW_SHARE, _HIGH_SHARE))
    if not high > low:
        raise ImageError(
            f"the measured stain is {low:g} counts in nearly every pixel of the set: nothing can be compared with it; "
            "are these the right files?"
        )
    return Scale(low, high)


def rmse(predicted: Plane, truth: Plane) -> float:
    """Return the root of the mean squared difference."""
    return float(np.sqrt(np.mean((predicted - truth) ** 2)))


def mae(predicted: Plane, truth: Plane) -> float:
    """Return the mean absolute difference."""
    return float(np.mean(np.abs(predicted - truth)))


def psnr(predicted: Plane, truth: Plane) -> float:
    """Return the peak signal-to-noise ratio in dB for a range of 1; at most 100."""
    return _decibel(rmse(predicted, truth) ** 2)


def ssim(predicted: Plane, truth: Plane) -> float:
    """Return the structural similarity: Gaussian window of 11 px, sigma 1.5, K 0.01 and 0.03, range 1."""
    mean_x, mean_y = _ssim_blur(predicted), _ssim_blur(truth)
    var_x = _ssim_blur(predicted**2) - mean_x**2
    var_y = _ssim_blur(truth**2) - mean_y**2
    covariance = _ssim_blur(predicted * truth) - mean_x * mean_y
    level = (2 * mean_x * mean_y + _SSIM_C1) / (mean_x**2 + mean_y**2 + _SSIM_C1)
    shape = (2 * covariance + _SSIM_C2) / (var_x + var_y + _SSIM_C2)
    inside = (slice(_SSIM_HALF, -_SSIM_HALF),) * 2
    return float(np.mean((level * shape)[inside]))


def pearson_r(predicted: Values, truth: Values) -> float:
    """Return the correlation over all values, any shape; 0 for a constant prediction, NaN for a constant truth."""
    x, y = (np.asarray(values, np.float64) - float(np.mean(values, dtype=np.float64)) for values in (predicted, truth))
    spread_x, spread_y = float(np.vdot(x, x)), float(np.vdot(y, y))
    # What is left of a constant after its mean was taken away is rounding.
    if spread_y <= _rounding(truth):
        return math.nan
    if spread_x <= _rounding(predicted):
        return 0.0
    return float(np.vdot(x, y)) / math.sqrt(spread_x * spread_y)


def gain_match(predicted: Plane, truth: Plane) -> tuple[float, float]:
    """Return the gain and offset that bring ``predicted`` nearest to ``truth`` by least squares."""
    x = predicted - predicted.mean()
    spread = float(np.vdot(x, x))
    gain = float(np.vdot(x, truth - truth.mean())) / spread if spread > _rounding(predicted) else 0.0
    return gain, float(truth.mean() - gain * predicted.mean())


def gain_matched_psnr(predicted: Plane, truth: Plane) -> float:
    """Return the PSNR in dB after `gain_match`: -10 log10((1 - r^2) var(truth)); at most 100."""
    gain, offset = gain_match(predicted, truth)
    return psnr(gain * predicted + offset, truth)


def vifp(predicted: Plane, truth: Plane) -> float:
    """Return the visual information fidelity in the pixel domain: 4 scales, noise variance 2 on a range of 255.

    Not symmetric. NaN where the truth has no structure at all.
    """
    x, y = 255.0 * predicted, 255.0 * truth
    kept = present = 0.0
    for number, side in enumerate(_VIF_SIDES):
        window = _window(side)
        if number:
            x, y = (_blur_valid(plane, window)[::2, ::2] for plane in (x, y))
        of_scale = _information(x, y, window)
        kept, present = kept + of_scale[0], present + of_scale[1]
    return kept / present if present > _TINY else math.nan


METRICS: dict[str, Metric] = {
    "psnr": psnr,
    "rmse": rmse,
    "mae": mae,
    "ssim": ssim,
    "fsim": fsim,
    "vifp": vifp,
    "psnr_gain": gain_matched_psnr,
}
"""The metrics of clipped planes in [0, 1], by the name under which tables have them; r is taken before clipping."""


def _information(x: Plane, y: Plane, window: Plane) -> tuple[float, float]:
    """Return how much of the truth ``y`` is found in ``x``, and how much there is, at one scale (in decades)."""
    mean_x, mean_y = _blur_valid(x, window), _blur_valid(y, window)
    var_x = np.maximum(_blur_valid(x * x, window) - mean_x**2, 0.0)
    var_y = np.maximum(_blur_valid(y * y, window) - mean_y**2, 0.0)
    covariance = _blur_valid(x * y, window) - mean_x * mean_y
    var_y[var_y < _TINY] = 0.0
    gain = np.maximum(covariance / (var_y + _TINY), 0.0)
    gain[(var_y == 0.0) | (var_x < _TINY)] = 0.0
    rest = np.maximum(var_x - gain * covariance, _TINY)
    kept = np.log10(1.0 + gain**2 * var_y / (rest + _VIF_NOISE))
    return float(kept.sum()), float(np.log10(1.0 + var_y / _VIF_NOISE).sum())


def _ssim_blur(plane: Plane) -> Plane:
    blurred: Plane = ndimage.gaussian_filter(plane, 1.5, radius=_SSIM_HALF)
    return blurred


def _window(side: int) -> Plane:
    at = np.arange(side) - side // 2
    window = np.exp(-(at**2) / (2 * (side / 5) ** 2))
    normed: Plane = window / window.sum()
    return normed


def _blur_valid(plane: Plane, window: Plane) -> Plane:
    """Weight ``plane`` with ``window`` along both axes; only where the window lies inside."""
    half = window.size // 2
    for axis in (0, 1):
        plane = ndimage.correlate1d(plane, window, axis, mode="constant")
    return plane[half:-half, half:-half]


def _decibel(mean_square: float) -> float:
    return PSNR_CAP_DB if mean_square <= 10 ** (-PSNR_CAP_DB / 10) else -10 * math.log10(mean_square)


def _rounding(values: Values) -> float:
    """Return the sum of squares below which values about their mean are rounding alone."""
    largest = float(np.max(np.abs(np.asarray(values, np.float64)), initial=0.0))
    return values.size * (largest * 1e-12) ** 2


def _quantile(histogram: npt.NDArray[np.int64], share: float) -> float:
    """Return a quantile of counted integers, linear between ranks (as `numpy.quantile` of all the values)."""
    ends = np.cumsum(histogram)
    rank = share * (int(ends[-1]) - 1)
    low, high = (int(np.searchsorted(ends, whole, side="right")) for whole in (math.floor(rank), math.ceil(rank)))
    return low + (rank - math.floor(rank)) * (high - low)
