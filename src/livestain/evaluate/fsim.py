"""FSIM of grey planes: phase congruency and gradient compared, weighted by where phase congruency is high.

Zhang, Zhang, Mou and Zhang, IEEE Trans. Image Processing 20 (2011) 2378; phase congruency of Kovesi, with 4 scales and
4 orientations of log-Gabor filters.
"""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np
import numpy.typing as npt
from scipy import fft, ndimage

Plane = npt.NDArray[np.float64]

_SCALES, _ORIENTATIONS = 4, 4
_SHORTEST_PX, _MULTIPLE = 6.0, 2.0
_SIGMA_F = 0.55
_SIGMA_THETA = math.pi / (_ORIENTATIONS * 1.2)
_NOISE_SD = 2.0
_NOISE_SHRINK = 1.7
_CUTOFF, _SHARPNESS = 0.45, 15
_T_CONGRUENCY, _T_GRADIENT = 0.85, 160.0
_TINY = 1e-4
_POOL_FROM_PX = 256


def fsim(predicted: Plane, truth: Plane) -> float:
    """Return the feature similarity of two (Y, X) float64 planes in [0, 1]; NaN where both have no feature at all."""
    side = max(1, round(min(truth.shape) / _POOL_FROM_PX))
    x, y = (_pool(255.0 * plane, side) for plane in (predicted, truth))
    congruency = phase_congruency(x), phase_congruency(y)
    weight = np.maximum(*congruency)
    alike = _similarity(*congruency, _T_CONGRUENCY) * _similarity(_gradient(x), _gradient(y), _T_GRADIENT)
    total = float(weight.sum())
    return float((alike * weight).sum()) / total if total > 0 else math.nan


def phase_congruency(plane: Plane) -> Plane:
    """Return the (Y, X) phase congruency of a plane on a range of 255: 0 (no feature) to 1 (all waves in phase)."""
    spectrum = fft.fft2(plane)
    energy, amplitude = np.zeros(plane.shape), np.zeros(plane.shape)
    for filters in _filters((plane.shape[0], plane.shape[1])):
        waves = fft.ifft2(spectrum * filters)
        total = waves.sum(axis=0)
        turned = waves * np.conj(total / (np.abs(total) + _TINY))
        in_phase = (turned.real - np.abs(turned.imag)).sum(axis=0)
        energy += np.maximum(in_phase - _noise_threshold(waves[0], filters), 0.0)
        amplitude += np.abs(waves).sum(axis=0)
    congruency: Plane = energy / (amplitude + _TINY)
    return congruency


def _noise_threshold(finest: npt.NDArray[np.complex128], filters: Plane) -> float:
    """Return the energy that noise alone would give, from the median response at the finest scale (Rayleigh law)."""
    power = np.median(np.abs(finest) ** 2) / math.log(2) / np.sum(filters[0] ** 2)
    kernel = fft.ifft2(filters.sum(axis=0)).real * math.sqrt(finest.size)
    tau = math.sqrt(float(power * np.sum(kernel**2)))
    return tau * (math.sqrt(math.pi / 2) + _NOISE_SD * math.sqrt(2 - math.pi / 2)) / _NOISE_SHRINK


@lru_cache(maxsize=2)
def _filters(shape: tuple[int, int]) -> tuple[Plane, ...]:
    """One (scales, Y, X) float64 stack of log-Gabor filters for each orientation, zero frequency first."""
    rows, columns = np.meshgrid(*(_frequencies(size) for size in shape), indexing="ij")
    radius = np.hypot(rows, columns)
    low_pass = 1.0 / (1.0 + (radius / _CUTOFF) ** (2 * _SHARPNESS))
    radius[0, 0] = 1.0
    waves = 1.0 / (_SHORTEST_PX * _MULTIPLE ** np.arange(_SCALES))
    radial = np.stack([np.exp(-(np.log(radius / wave) ** 2) / (2 * math.log(_SIGMA_F) ** 2)) for wave in waves])
    radial *= low_pass
    radial[:, 0, 0] = 0.0
    angle = np.arctan2(-columns, rows)
    return tuple(radial * _lobe(angle, number * math.pi / _ORIENTATIONS) for number in range(_ORIENTATIONS))


def _lobe(angle: Plane, centre: float) -> Plane:
    away = np.abs(np.angle(np.exp(1j * (angle - centre))))
    lobe: Plane = np.exp(-(away**2) / (2 * _SIGMA_THETA**2))
    return lobe


def _frequencies(size: int) -> Plane:
    """Return frequencies in cycles a px, zero first; of an odd size up to exactly one half, as Kovesi has them."""
    at = np.arange(size) - size // 2
    return fft.ifftshift(at / (size - size % 2))


def _gradient(plane: Plane) -> Plane:
    across = np.array([3.0, 10.0, 3.0]) / 16
    along = np.array([1.0, 0.0, -1.0])
    parts = []
    for axis in (0, 1):
        smooth = ndimage.correlate1d(plane, across, 1 - axis, mode="constant")
        parts.append(ndimage.correlate1d(smooth, along, axis, mode="constant"))
    return np.hypot(*parts)


def _similarity(x: Plane, y: Plane, constant: float) -> Plane:
    return (2 * x * y + constant) / (x**2 + y**2 + constant)


def _pool(plane: Plane, side: int) -> Plane:
    """Return means of blocks of ``side`` px; a rest at the right and bottom edge is left out."""
    rows, columns = plane.shape[0] // side, plane.shape[1] // side
    blocks = plane[: rows * side, : columns * side].reshape(rows, side, columns, side)
    means: Plane = blocks.mean(axis=(1, 3))
    return means
