"""Noise tiles: periodic random textures of four grain sizes, shared by all cells of a specimen."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import scipy.fft

from livestain.contrast import Field

GRAINS_UM = (0.5, 1.0, 2.5, 8.0)
TILE_PX = 256
TEXEL_UM = 0.25

Index = npt.NDArray[np.intp]


class Textures:
    """Four tiles of 256 x 256 texels of 0.25 um, mean 0, sd 1, with grains of 0.5, 1, 2.5 and 8 um.

    Each is white noise times ``exp(-(pi f l)^2)`` in frequency ``f`` for the grain ``l``.
    """

    def __init__(self, seed: int) -> None:
        self._tiles = {
            grain: _tile(np.random.default_rng((seed, 9, number)), grain).ravel()
            for number, grain in enumerate(GRAINS_UM)
        }

    def sample(self, grain_um: float, at: Index) -> Field:
        """Return the texture of this grain at places from `place`, float32 in the shape of ``at``."""
        texture: Field = self._tiles[grain_um][at]
        return texture


def place(u_um: Field, v_um: Field) -> Index:
    """Return where positions (um, any broadcastable shapes) fall in a tile, which repeats every 64 um."""
    column = np.floor(u_um * (1 / TEXEL_UM)).astype(np.intp) & (TILE_PX - 1)
    row = np.floor(v_um * (1 / TEXEL_UM)).astype(np.intp) & (TILE_PX - 1)
    at: Index = row * TILE_PX + column
    return at


def _tile(rng: np.random.Generator, grain_um: float) -> Field:
    f = np.hypot(
        scipy.fft.fftfreq(TILE_PX, TEXEL_UM)[:, None],
        scipy.fft.rfftfreq(TILE_PX, TEXEL_UM)[None],
    )
    white = scipy.fft.rfft2(rng.standard_normal((TILE_PX, TILE_PX)))
    tile = scipy.fft.irfft2(white * np.exp(-((np.pi * f * grain_um) ** 2)), (TILE_PX, TILE_PX))
    texture: Field = ((tile - tile.mean()) / tile.std()).astype(np.float32)
    return texture
