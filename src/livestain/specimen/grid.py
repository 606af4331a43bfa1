"""Grid: the pixels that are drawn, which reach beyond the frame so that no optics wraps round its edge."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt
import scipy.fft

from livestain.contrast import Field

MARGIN_PX = 24
_STAMP_UM = 1.3
"""Half width of the square into which a dot is drawn: 2.5 sigma of the largest."""


@dataclass(frozen=True, slots=True, eq=False)
class Box:
    """A rectangle of the grid, with the distance of its pixels from a point.

    Attributes
    ----------
    rows, columns
        Where it lies in the grid.
    x, y
        (1, w) and (h, 1) float32 um from the point.
    """

    rows: slice
    columns: slice
    x: Field
    y: Field

    @property
    def at(self) -> tuple[slice, slice]:
        """Index of this box in a map of the grid."""
        return self.rows, self.columns

    @property
    def shape(self) -> tuple[int, int]:
        """(h, w) in px."""
        return self.y.shape[0], self.x.shape[1]


@dataclass(frozen=True, slots=True, eq=False)
class Dots:
    """Small round inclusions.

    Attributes
    ----------
    x, y, sigma_um
        (N,) places and widths in um.
    phase
        (N,) rad in the middle of each; below 0 for a vacuole.
    """

    x: npt.NDArray[np.float64]
    y: npt.NDArray[np.float64]
    sigma_um: npt.NDArray[np.float64]
    phase: npt.NDArray[np.float64]

    def pick(self, where: npt.NDArray[np.bool_]) -> Dots:
        """Return the dots where the (N,) mask is True."""
        return Dots(self.x[where], self.y[where], self.sigma_um[where], self.phase[where])


@dataclass(frozen=True)
class Grid:
    """The pixels of a frame of ``shape`` (Y, X) px and a margin round it.

    Pixel (0, 0) of the frame is the origin of the specimen's um.
    """

    shape: tuple[int, int]
    pixel_um: float

    @cached_property
    def padded(self) -> tuple[int, int]:
        """(Y, X) px with the margin, sizes that the Fourier transform likes."""
        height, width = (scipy.fft.next_fast_len(n + 2 * MARGIN_PX, real=True) for n in self.shape)
        return height, width

    @property
    def frame(self) -> tuple[slice, slice]:
        """Index that crops a padded map to the frame."""
        return slice(MARGIN_PX, MARGIN_PX + self.shape[0]), slice(MARGIN_PX, MARGIN_PX + self.shape[1])

    @cached_property
    def x_um(self) -> Field:
        """(X,) float32 um of the padded columns."""
        return self._axis_um(self.padded[1])

    @cached_property
    def y_um(self) -> Field:
        """(Y,) float32 um of the padded rows."""
        return self._axis_um(self.padded[0])

    def box(self, x: float, y: float, left: float, right: float, up: float, down: float) -> Box | None:
        """Return the pixels from ``left`` to ``right`` and ``up`` to ``down`` um of a point; None if there are none."""
        columns = self._span(x - left, x + right, self.padded[1])
        rows = self._span(y - up, y + down, self.padded[0])
        if columns.start >= columns.stop or rows.start >= rows.stop:
            return None
        near_x = (self.x_um[columns] - np.float32(x))[None, :]
        near_y = (self.y_um[rows] - np.float32(y))[:, None]
        return Box(rows, columns, near_x, near_y)

    def square(self, x: float, y: float, reach_um: float) -> Box | None:
        """Return the pixels within ``reach_um`` of a point along both axes."""
        return self.box(x, y, reach_um, reach_um, reach_um, reach_um)

    def copies(
        self, x: float, y: float, size_um: tuple[float, float], reach_um: float
    ) -> Iterator[tuple[float, float]]:
        """Yield the places of a point of a torus of (Y, X) um that are within ``reach_um`` of the grid."""
        for copy_y in (y - size_um[0], y, y + size_um[0]):
            for copy_x in (x - size_um[1], x, x + size_um[1]):
                if self.near(copy_x, copy_y, reach_um):
                    yield copy_x, copy_y

    def near(self, x: float, y: float, reach_um: float) -> bool:
        """Say whether a point is less than ``reach_um`` outside the grid (below 0: that far inside)."""
        return bool(
            self.x_um[0] - reach_um < x < self.x_um[-1] + reach_um
            and self.y_um[0] - reach_um < y < self.y_um[-1] + reach_um
        )

    def nearest(
        self, x: npt.NDArray[np.float64], y: npt.NDArray[np.float64]
    ) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]:
        """Return row and column of the pixel nearest to each place; they may lie outside the grid."""
        row = np.rint(y / self.pixel_um).astype(np.intp) + MARGIN_PX
        column = np.rint(x / self.pixel_um).astype(np.intp) + MARGIN_PX
        return row, column

    def stamp(self, dots: Dots) -> Field:
        """Return the phase of all dots, (Y, X) float32 rad on the padded grid.

        Gaussians averaged over the pixel (wider by 0.4 px at equal volume), all of them in one ``bincount``.
        """
        reach = math.ceil(_STAMP_UM / self.pixel_um)
        row, column = self.nearest(dots.x, dots.y)
        height, width = self.padded
        inside = (row >= reach) & (row < height - reach) & (column >= reach) & (column < width - reach)
        row, column = row[inside], column[inside]
        off = np.arange(-reach, reach + 1)
        sigma_px = dots.sigma_um[inside] / self.pixel_um
        wide = sigma_px**2 + 0.16
        strength = (dots.phase[inside] * sigma_px**2 / wide).astype(np.float32)
        along_x = _gauss(column - MARGIN_PX - dots.x[inside] / self.pixel_um, off, wide)
        along_y = _gauss(row - MARGIN_PX - dots.y[inside] / self.pixel_um, off, wide)
        values = (strength[:, None] * along_y)[:, :, None] * along_x[:, None, :]
        places = ((row[:, None] + off) * width)[:, :, None] + (column[:, None] + off)[:, None, :]
        return np.bincount(places.ravel(), values.ravel(), height * width).astype(np.float32).reshape(height, width)

    def _axis_um(self, size: int) -> Field:
        axis: Field = ((np.arange(size) - MARGIN_PX) * self.pixel_um).astype(np.float32)
        return axis

    def _span(self, low_um: float, high_um: float, size: int) -> slice:
        start = math.floor(low_um / self.pixel_um) + MARGIN_PX
        stop = math.ceil(high_um / self.pixel_um) + MARGIN_PX + 1
        return slice(max(start, 0), min(stop, size))


def _gauss(shift: npt.NDArray[np.float64], off: npt.NDArray[np.intp], wide: npt.NDArray[np.float64]) -> Field:
    distance = (shift[:, None] + off).astype(np.float32)
    values: Field = np.exp(distance * distance * (-0.5 / wide).astype(np.float32)[:, None])
    return values


def gather(dots: list[Dots]) -> Dots:
    """Join several sets of dots into one."""
    return Dots(*(np.concatenate([getattr(d, name) for d in dots]) for name in ("x", "y", "sigma_um", "phase")))
