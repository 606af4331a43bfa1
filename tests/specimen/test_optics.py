"""The bright field against the full sum over source points, and against what theory says of its limits."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
import pytest
import scipy.fft
from pydantic import ValidationError
from scipy.ndimage import gaussian_filter

from livestain.specimen.optics import Optics, blur_fluorescence, bright_field, transfer

LOW = Optics(na=0.30, na_condenser=0.12)
HIGH = Optics(na=0.45, na_condenser=0.20)
PIXEL_UM = 0.25
SIDE = 192

Image = npt.NDArray[np.float64]


def phantom(phase_rad: float) -> npt.NDArray[np.float32]:
    """A cell of 12 um with a nucleus and granules, ``phase_rad`` at most."""
    rng = np.random.default_rng(5)
    y, x = (np.mgrid[:SIDE, :SIDE] - SIDE / 2) * PIXEL_UM
    cell = np.sqrt(np.maximum(1 - (x / 12) ** 2 - (y / 8) ** 2, 0)) + 0.3 * np.exp(-((x - 2) ** 2 + y**2) / 8)
    for cx, cy in rng.uniform(-6, 6, (30, 2)):
        cell += 0.15 * np.exp(-((x - cx) ** 2 + (y - cy) ** 2) / 0.18)
    cell = gaussian_filter(cell, 1.5)
    scaled: npt.NDArray[np.float32] = (phase_rad * cell / cell.max()).astype(np.float32)
    return scaled


def sum_over_source(phase: npt.NDArray[np.float32], optics: Optics, z_um: float, points: int = 200) -> Image:
    """Bright field by Abbe: one coherent image for each point of the condenser, intensities added."""
    wave = scipy.fft.fft2(np.exp(1j * phase.astype(np.float64)))
    fy, fx = np.meshgrid(*[scipy.fft.fftfreq(SIDE, PIXEL_UM)] * 2, indexing="ij")
    axial = optics.index / optics.wavelength_um
    k = np.arange(points)
    radius = optics.na_condenser / optics.wavelength_um * np.sqrt((k + 0.5) / points)
    angle = k * math.pi * (3 - math.sqrt(5))
    image = np.zeros((SIDE, SIDE))
    for sx, sy in zip(radius * np.cos(angle), radius * np.sin(angle), strict=True):
        s2 = (fx + sx) ** 2 + (fy + sy) ** 2
        pupil = np.exp(2j * np.pi * z_um * (np.sqrt(np.maximum(axial**2 - s2, 0)) - axial))
        pupil *= s2 <= (optics.na / optics.wavelength_um) ** 2
        image += np.abs(scipy.fft.ifft2(wave * pupil)) ** 2
    return image / points


@pytest.mark.parametrize(("optics", "z_um"), [(LOW, 5.0), (LOW, -6.0), (HIGH, -3.0)])
@pytest.mark.parametrize(("phase_rad", "error_limit", "r_limit"), [(0.05, 0.03, 0.999), (1.0, 0.10, 0.99)])
def test_transfer_function_agrees_with_the_sum_over_the_source(
    optics: Optics, z_um: float, phase_rad: float, error_limit: float, r_limit: float
) -> None:
    phase = phantom(phase_rad)
    dark = scipy.fft.rfft2(np.zeros_like(phase))
    image = bright_field([(0.0, scipy.fft.rfft2(phase))], dark, optics, z_um, PIXEL_UM, SIDE)
    truth = sum_over_source(phase, optics, z_um)
    assert np.std(image - truth) / truth.std() < error_limit
    assert np.corrcoef(image.ravel(), truth.ravel())[0, 1] > r_limit


@pytest.mark.parametrize("optics", [LOW, HIGH])
@pytest.mark.parametrize("z_um", [1.0, 6.0])
def test_limits_of_the_transfer_functions(optics: Optics, z_um: float) -> None:
    phase, absorption = transfer(optics, z_um, (200, 200), 0.5)
    mirrored = transfer(optics, -z_um, (200, 200), 0.5)[0]
    assert absorption[0, 0] == pytest.approx(2, abs=1e-4)
    assert phase[0, 0] == pytest.approx(0, abs=1e-6)
    assert np.abs(phase + mirrored).max() < 1e-4
    # Row 0, column 5 is 0.05 cycles/um; the transport of intensity equation gives the slope.
    slope = phase[0, 5] / (z_um * 0.05**2)
    assert slope == pytest.approx(2 * math.pi * optics.wavelength_um / optics.index, rel=0.03)


def test_nothing_passes_beyond_the_sum_of_the_apertures() -> None:
    phase, absorption = transfer(LOW, 5.0, (200, 200), 0.5)
    rho = np.hypot(scipy.fft.fftfreq(200, 0.5)[:, None], scipy.fft.rfftfreq(200, 0.5)[None])
    beyond = rho > (0.30 + 0.12) / 0.55
    assert beyond.any()
    assert not phase[beyond].any()
    assert not absorption[beyond].any()


def test_an_absorber_is_dark_and_never_negative() -> None:
    thick = np.zeros((SIDE, SIDE), np.float32)
    thick[80:110, 80:110] = 5.0
    nothing = scipy.fft.rfft2(np.zeros_like(thick))
    image = bright_field([], scipy.fft.rfft2(thick), LOW, 0.0, PIXEL_UM, SIDE)
    faint = bright_field([], scipy.fft.rfft2(thick * np.float32(0.01)), LOW, 0.0, PIXEL_UM, SIDE)
    assert image.min() >= 0
    assert faint[90:100, 90:100].mean() == pytest.approx(1 - 2 * 0.05, abs=0.01)
    assert np.array_equal(bright_field([], nothing, LOW, 3.0, PIXEL_UM, SIDE), np.ones((SIDE, SIDE)))


def test_fluorescence_keeps_the_light_and_spreads_the_haze() -> None:
    source = np.zeros((200, 240), np.float32)
    source[100, 120] = 1000
    seen = blur_fluorescence(source, 0.3, 0.4, 0.5)
    assert seen.sum() == pytest.approx(1000, rel=1e-3)
    assert seen[95:106, 115:126].sum() == pytest.approx(600 + 0.35 * 400 * 0.6, rel=0.1)
    assert seen.min() >= 0


@pytest.mark.parametrize("wrong", [{"na": 0.3, "na_condenser": 0.5}, {"na": 1.3, "na_condenser": 0.2, "index": 1.0}])
def test_optics_without_bright_field_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValidationError, match="condenser <= objective < index"):
        Optics(**wrong)
