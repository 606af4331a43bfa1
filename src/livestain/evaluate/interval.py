"""Intervals over positions: a field of view is the unit, not its crops, frames or pixels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

DRAWS = 10_000
MIN_POSITIONS = 5
"""Below this number of positions values are printed without an interval."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """A mean over positions with its 95 % interval (None below 5 positions).

    Attributes
    ----------
    mean
        Mean over positions; NaN without any.
    low, high
        2.5 and 97.5 percentiles of the cluster bootstrap.
    positions
        How many positions have a value.
    """

    mean: float
    low: float | None
    high: float | None
    positions: int


def estimate(values: Sequence[float], seed: int = 0) -> Estimate:
    """Return the mean of one value per position and its interval: positions drawn anew 10,000 times (percentiles).

    For a comparison give the paired differences: one a position. NaN values are left out.
    """
    known = np.array([value for value in values if np.isfinite(value)], np.float64)
    if known.size < MIN_POSITIONS:
        return Estimate(float(known.mean()) if known.size else float("nan"), None, None, known.size)
    drawn = np.random.default_rng(seed).integers(0, known.size, (DRAWS, known.size))
    low, high = np.percentile(known[drawn].mean(axis=1), (2.5, 97.5))
    return Estimate(float(known.mean()), float(low), float(high), known.size)
