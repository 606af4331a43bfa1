"""The pictures: brightness, contrast, focus, grain and difficulty of the simulated microscope."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pytest
from scipy.ndimage import gaussian_filter

from livestain.specimen import FLUORESCENCE_ELECTRONS, ROSETTE, SHEET, SPINDLE, Camera, CameraSettings, Look, Specimen

Image = npt.NDArray[np.floating]


def correlation(one: Image, other: Image) -> float:
    return float(np.corrcoef(one.ravel(), other.ravel())[0, 1])


@dataclass(frozen=True)
class Case:
    specimen: Specimen
    contrast: tuple[float, float]
    hand_made: float
    grain_at_2_px: float = 0.3
    alike: float = 0.15


@pytest.fixture(
    scope="module",
    # Rosettes have finer pixels, high contrast wherever there are cells, and one plan.
    params=[
        (SPINDLE, (0.03, 0.06), 0.65),
        (SHEET, (0.05, 0.10), 0.45),
        (ROSETTE, (0.08, 0.13), 0.75, 0.7, 0.5),
    ],
    ids=["spindle", "sheet", "rosette"],
)
def case(request: pytest.FixtureRequest) -> Case:
    look: Look = request.param[0]
    specimen = Specimen(look, (512, 512), seed=2)
    specimen.advance(6)
    return Case(specimen, *request.param[1:])


def test_the_specimen_adds_no_light(case: Case) -> None:
    assert 0.98 < case.specimen.transmission().mean() < 1.01


def test_contrast_is_that_of_real_cells_and_vanishes_in_focus(case: Case) -> None:
    contrast = case.specimen.transmission().std()
    assert case.contrast[0] < contrast < case.contrast[1]
    assert case.specimen.transmission(0.05).std() < contrast / 3


def test_contrast_flips_its_sign_through_focus(case: Case) -> None:
    z = case.specimen.look.z_um
    image = case.specimen.transmission()
    assert correlation(image, case.specimen.transmission(-z)) < -0.9
    assert correlation(image, case.specimen.transmission(2 * z)) > 0.8


def test_grain_is_fine_and_has_no_period(case: Case) -> None:
    frame = Camera().expose(case.specimen.transmission(), 0).astype(np.float64)
    frame -= gaussian_filter(frame, 24)
    power = np.abs(np.fft.fft2(frame - frame.mean())) ** 2
    lags = np.fft.ifft2(power).real
    lags = (lags[0] + lags[:, 0]) / (2 * lags[0, 0])
    assert 0.5 < lags[1] < 0.9
    assert lags[2] < case.grain_at_2_px
    assert lags[5:40].max() < 0.1


def test_a_filter_finds_less_than_a_model_must(case: Case) -> None:
    measured = Camera(CameraSettings(electrons=FLUORESCENCE_ELECTRONS)).expose(case.specimen.fluorescence("nuclei"), 1)
    nuclei = measured.astype(np.float64)
    frame = Camera(seed=1).expose(case.specimen.transmission(), 0).astype(np.float64)
    deviation = np.sqrt(np.maximum(gaussian_filter(frame**2, 2) - gaussian_filter(frame, 2) ** 2, 0))
    assert correlation(gaussian_filter(deviation, 3), nuclei) < case.hand_made
    assert correlation(gaussian_filter(nuclei, 1.5), nuclei) > 0.95


def test_another_seed_is_another_field(case: Case) -> None:
    other = Specimen(case.specimen.look, (512, 512), seed=3)
    other.advance(6)
    assert abs(correlation(case.specimen.maps().nuclei, other.maps().nuclei)) < case.alike
