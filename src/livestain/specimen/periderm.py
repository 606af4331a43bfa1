"""Periderm: the skin over a rosette, large flat cells that never move, seen out of focus by their borders."""

from __future__ import annotations

import math

import numpy as np
import scipy.fft
from scipy.spatial import cKDTree

from livestain.contrast import Field, enlarge
from livestain.specimen.grid import Grid
from livestain.specimen.optics import Optics, Spectrum, blur_fluorescence
from livestain.specimen.texture import Textures, place

SKIN_UM = -7.0
"""Its height: the light passes it before the cells."""

_PHASE_RAD = 0.16
"""Of a border; with 0.55 it looked like a honeycomb."""
_STAIN = 0.35
_CELL_UM2 = 700.0
_EDGE_UM = 0.5
_JITTER = 0.2
_WAVE_UM = 0.8
_STREAM = 7


class Skin:
    """The skin as the microscope sees it.

    Attributes
    ----------
    phase
        (Y, X) float32 rad on the padded grid.
    spectrum
        ``rfft2`` of it.
    stain
        (Y, X) float32 membrane stain, nothing of it in focus.
    """

    def __init__(self, grid: Grid, optics: Optics, textures: Textures, seed: int) -> None:
        borders = _draw_borders(grid, textures, seed)
        self.phase: Field = _PHASE_RAD * borders
        self.spectrum: Spectrum = scipy.fft.rfft2(self.phase)
        self.stain = blur_fluorescence(_STAIN * borders, optics.na, 1.0, grid.pixel_um)


def _draw_borders(grid: Grid, textures: Textures, seed: int) -> Field:
    """Return the borders of the skin's cells, (Y, X) float32 on the padded grid, 0..1: a Voronoi diagram."""
    x, y = _every_second(grid.x_um), _every_second(grid.y_um)
    bent = [_WAVE_UM * textures.sample(8.0, place(x[None, :] + shift, y[:, None])) for shift in (0.0, 24.0)]
    places = np.stack([x[None, :] + bent[0], y[:, None] + bent[1]], axis=-1)
    nearest = np.asarray(cKDTree(_middles(grid, seed)).query(places, k=2)[0])
    # Smooth but for a kink at the border, which is out of focus: every second pixel is enough.
    to_border = enlarge((0.5 * (nearest[..., 1] - nearest[..., 0])).astype(np.float32), 2, grid.padded)
    borders: Field = np.exp(-np.square(to_border * (1 / _EDGE_UM)))
    return borders


def _middles(grid: Grid, seed: int) -> Field:
    """(N, 2) x, y in um: places of a square grid, each a good deal off, some way beyond the picture."""
    rng = np.random.default_rng((seed, _STREAM))
    step = math.sqrt(_CELL_UM2)
    columns, rows = (np.arange(axis[0] - 2 * step, axis[-1] + 2 * step, step) for axis in (grid.x_um, grid.y_um))
    square = np.stack(np.meshgrid(columns, rows), axis=-1).reshape(-1, 2)
    middles: Field = (square + rng.normal(0, _JITTER * step, square.shape)).astype(np.float32)
    return middles


def _every_second(axis: Field) -> Field:
    """Return the middles of pairs of pixels, as `livestain.contrast.enlarge` wants them."""
    coarse: Field = axis[::2] + (axis[1] - axis[0]) / 2
    return coarse
