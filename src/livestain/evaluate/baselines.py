"""What a stain costs without a model: the figures that every model has to beat.

All but the shuffled truth have units of their own; one gain and offset, by least squares on the truth of the whole
data set, bring them to the truth's scale. That is a favour which no model gets.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable

import numpy as np
from scipy import ndimage

from livestain.evaluate.metrics import Plane
from livestain.frames import Counts

Filter = Callable[[Counts], Plane]
CONSTANT, INVERTED, ENERGY, SHUFFLED = "constant", "inverted", "local energy", "shuffled"
_SD_PX, _BLUR_PX = 2.0, 3.0
_LEAST_GAIN = 1e-6
_FLAT = 1e-12


def local_energy(image: Counts) -> Plane:
    """Return the local standard deviation (Gaussian window of 2 px) of a (Y, X) plane, blurred by 3 px; in counts."""
    x = image.astype(np.float64)
    mean = ndimage.gaussian_filter(x, _SD_PX)
    variance = ndimage.gaussian_filter(x * x, _SD_PX) - mean**2
    energy: Plane = ndimage.gaussian_filter(np.sqrt(np.maximum(variance, 0.0)), _BLUR_PX)
    return energy


def inverted(image: Counts) -> Plane:
    """Return the counts of a (Y, X) plane with their sign turned: dark is bright."""
    return -image.astype(np.float64)


FILTERS: dict[str, Filter] = {INVERTED: inverted, ENERGY: local_energy}
"""The baselines made from the label-free plane alone."""


def fit(pairs: Iterable[tuple[Plane, Plane]]) -> tuple[float, float]:
    """Return the gain and offset that bring filtered planes nearest to the truth, by least squares over all pixels.

    The gain is never below a millionth of the ratio of the spreads, so that a filter keeps its sign, and its r.
    """
    sums = np.zeros(6)
    for x, y in pairs:
        moments = (1.0, x.mean(), y.mean(), (x * x).mean(), (y * y).mean(), (x * y).mean())
        sums += x.size * np.array(moments)
    mean_x, mean_y, mean_xx, mean_yy, mean_xy = sums[1:] / sums[0]
    spread_x, spread_y = mean_xx - mean_x**2, mean_yy - mean_y**2
    if spread_x <= _FLAT * mean_xx:
        return 0.0, float(mean_y)
    gain = max((mean_xy - mean_x * mean_y) / spread_x, _LEAST_GAIN * math.sqrt(max(spread_y, 0.0) / spread_x))
    return float(gain), float(mean_y - gain * mean_x)
