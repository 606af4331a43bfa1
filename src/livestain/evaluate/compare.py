"""The outcome of a comparison: every pair, every stain, every predictor, and what it comes to over positions."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from livestain.evaluate.interval import Estimate, estimate
from livestain.evaluate.metrics import Scale


@dataclass(frozen=True, slots=True)
class Result:
    """The figures of one predictor on one stain of one pair; NaN where a figure is not defined."""

    image: str
    position: str
    group: str
    stain: str
    predictor: str
    values: Mapping[str, float]


@dataclass(frozen=True)
class Comparison:
    """All results, and their means over positions (images of one position are averaged first).

    Attributes
    ----------
    results
        In the order of pairs, stains and predictors.
    predictor
        Name of the one that is judged; the others are baselines.
    scales
        Stain -> counts of the measured stain that became 0 and 1.
    notes
        Warnings, one line each.
    """

    results: tuple[Result, ...]
    predictor: str
    scales: Mapping[str, Scale]
    notes: tuple[str, ...]

    @property
    def stains(self) -> tuple[str, ...]:
        """Names of the stains."""
        return tuple(self.scales)

    @property
    def groups(self) -> tuple[str, ...]:
        """Names of the groups."""
        return tuple(dict.fromkeys(result.group for result in self.results))

    @property
    def predictors(self) -> tuple[str, ...]:
        """The judged one first, then the baselines."""
        return tuple(dict.fromkeys(result.predictor for result in self.results))

    @property
    def metrics(self) -> tuple[str, ...]:
        """Names of all figures that any result has."""
        return tuple(dict.fromkeys(name for result in self.results for name in result.values))

    def mean(self, stain: str, predictor: str, metric: str, group: str | None = None) -> Estimate:
        """Return a metric's mean over positions with its interval; of one group, or of all."""
        return estimate(list(self._by_position(stain, predictor, metric, group).values()))

    def difference(self, stain: str, baseline: str, metric: str) -> Estimate:
        """Return the mean over positions of (judged - baseline) with its interval."""
        ours = self._by_position(stain, self.predictor, metric, None)
        theirs = self._by_position(stain, baseline, metric, None)
        return estimate([ours[place] - theirs[place] for place in ours if place in theirs])

    def _by_position(
        self, stain: str, predictor: str, metric: str, group: str | None
    ) -> dict[tuple[str, str], float]:  # fmt: skip
        values: dict[tuple[str, str], list[float]] = {}
        for result in self._of.get((stain, predictor), ()):
            value = result.values.get(metric, math.nan)
            if math.isfinite(value) and group in (None, result.group):
                values.setdefault((result.group, result.position), []).append(value)
        return {place: float(np.mean(found)) for place, found in values.items()}

    @cached_property
    def _of(self) -> dict[tuple[str, str], list[Result]]:
        sorted_out: dict[tuple[str, str], list[Result]] = {}
        for result in self.results:
            sorted_out.setdefault((result.stain, result.predictor), []).append(result)
        return sorted_out
