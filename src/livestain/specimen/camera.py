"""Camera: uneven light and dust, and a noise model that costs a millisecond a frame."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
from pydantic import Field as Described

from livestain.contrast import Field
from livestain.errors import UserError
from livestain.settings import Settings

_BANK_EXTRA_PX = 256
_STREAM_FRAME, _STREAM_LIGHT, _STREAM_BANK = 4, 5, 6
FLUORESCENCE_ELECTRONS = 450.0
"""Photo-electrons that a fluorescence of 1 (a typical nucleus) gives in one exposure."""


class CameraSettings(Settings):
    """What a camera makes of light."""

    electrons: float = Described(default=9000, gt=0, description="photo-electrons of an intensity of 1")
    gain: float = Described(default=0.46, gt=0, description="electrons per count")
    offset: float = Described(default=100, ge=0, description="counts in the dark")
    read_noise: float = Described(default=1.6, ge=0, description="electrons, standard deviation")
    bits: int = Described(default=16, ge=8, le=16, description="depth of the converter")


class Camera:
    """A camera with shot noise and read noise; the same seed and frame number give the same counts.

    ``counts = (e + sqrt(e + read^2) N(0, 1)) / gain + offset``, rounded and clipped, where ``e`` is the mean number of
    electrons. The normals come from one field per frame size, read at a place that is random for each frame: about
    1 ms at 512 x 512, against 7 ms for fresh ones. Right above some 20 electrons. One thread at a time.
    """

    def __init__(self, settings: CameraSettings | None = None, seed: int = 0) -> None:
        self.settings = settings or CameraSettings()
        self._seed = seed
        self._bank = np.zeros((0, 0), np.float32)

    def expose(self, intensity: Field, number: int, shade: Field | None = None) -> npt.NDArray[np.uint16]:
        """Return frame ``number`` of an intensity: (Y, X) uint16 counts, a fresh array.

        Parameters
        ----------
        intensity
            (Y, X) float32, 1 = an empty bright field (or a typical nucleus); not altered.
        number
            Number of the frame from 0; decides the noise.
        shade
            (Y, X) float32 from `illumination`; None: even light.

        Raises
        ------
        UserError
            ``intensity`` is not 2-D, or ``shade`` has another shape.
        """
        if intensity.ndim != 2 or (shade is not None and shade.shape != intensity.shape):
            raise UserError(
                f"intensity {intensity.shape} and shade {None if shade is None else shade.shape}:"
                " two (Y, X) planes of one shape are needed"
            )
        s = self.settings
        signal = intensity * np.float32(s.electrons / s.gain)
        if shade is not None:
            signal *= shade
        # In counts: variance = signal / gain + (read / gain)^2.
        noise = signal * np.float32(1 / s.gain)
        noise += np.float32((s.read_noise / s.gain) ** 2)
        np.sqrt(noise, out=noise)
        noise *= self._normals((int(intensity.shape[0]), int(intensity.shape[1])), number)
        signal += noise
        signal += np.float32(s.offset)
        np.rint(signal, out=signal)
        np.clip(signal, 0, 2**s.bits - 1, out=signal)
        return signal.astype(np.uint16)

    def _normals(self, shape: tuple[int, int], number: int) -> Field:
        wanted = (shape[0] + _BANK_EXTRA_PX, shape[1] + _BANK_EXTRA_PX)
        if self._bank.shape != wanted:
            self._bank = np.random.default_rng((self._seed, _STREAM_BANK)).standard_normal(wanted, np.float32)
        row, column = np.random.default_rng((self._seed, _STREAM_FRAME, number)).integers(0, _BANK_EXTRA_PX, 2)
        return self._bank[row : row + shape[0], column : column + shape[1]]


def illumination(shape: tuple[int, int], seed: int = 0) -> Field:
    """Return the light of an empty field: (Y, X) float32 around 1, with vignetting, a slope and dust.

    Fixed to the camera: it stays when cells move. Discs of dust out of focus have a soft edge and a bright ring.
    """
    rng = np.random.default_rng((seed, _STREAM_LIGHT))
    y, x = np.ogrid[: shape[0], : shape[1]]
    centre_y, centre_x = (size * (0.5 + rng.normal(0, 0.12)) for size in shape)
    half_diagonal = math.hypot(*shape) / 2
    light = 1 - 0.12 * ((y - centre_y) ** 2 + (x - centre_x) ** 2) / half_diagonal**2
    slope = rng.uniform(0, 2 * math.pi)
    light += 0.04 * (math.cos(slope) * (x / shape[1] - 0.5) + math.sin(slope) * (y / shape[0] - 0.5))
    scale = math.sqrt(shape[0] * shape[1]) / 512
    for _ in range(rng.poisson(5)):
        distance = np.hypot(y - rng.uniform(0, shape[0]), x - rng.uniform(0, shape[1]))
        radius, depth = scale * rng.uniform(6, 22), rng.uniform(0.01, 0.06)
        disc = 0.5 - 0.5 * np.tanh((distance - radius) / (0.36 * radius))
        ring = np.exp(-np.square((distance - 1.35 * radius) / (0.25 * radius)))
        light *= 1 - depth * disc + 0.35 * depth * ring
    return light.astype(np.float32)
