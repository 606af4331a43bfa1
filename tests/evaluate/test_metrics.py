"""Metrics: the reference values, hand-computed ones, and what makes a figure undefined."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import ndimage

from livestain.errors import ImageError
from livestain.evaluate.fsim import fsim, phase_congruency
from livestain.evaluate.metrics import (
    METRICS,
    PSNR_CAP_DB,
    Metric,
    Plane,
    gain_match,
    gain_matched_psnr,
    mae,
    measure_scale,
    pearson_r,
    psnr,
    rmse,
    ssim,
    vifp,
)
from livestain.frames import Counts
from tests.evaluate.pieces import reference_pair

DISTORTED, REFERENCE = reference_pair()
RAMP = np.linspace(0, 1, 128 * 128).reshape(128, 128)
FLAT = np.full((128, 128), 0.1)


def test_the_reference_pair_is_the_one_of_the_reference_values() -> None:
    found = REFERENCE.mean(), DISTORTED.mean(), REFERENCE[64, 64], DISTORTED[10, 20]
    assert found == pytest.approx((0.1562351971, 0.1706116774, 0.2489246432, 0.3930305494), abs=1e-10)


REFERENCE_VALUES: dict[str, tuple[Metric, float, float]] = {
    "RMSE": (rmse, 0.062688, 1e-6),
    "PSNR": (psnr, 24.056311, 1e-5),
    "SSIM": (ssim, 0.893707, 1e-5),
    "FSIM": (fsim, 0.939135, 1e-3),
    "Pearson r": (pearson_r, 0.939703, 1e-6),
    "VIFp": (vifp, 0.489298, 1e-4),
    "VIFp swapped": (lambda x, y: vifp(y, x), 0.436577, 1e-4),
    "gain": (lambda x, y: gain_match(x, y)[0], 1.039527, 1e-5),
    "offset": (lambda x, y: gain_match(x, y)[1], -0.021120, 1e-5),
    "gain-matched PSNR": (gain_matched_psnr, 24.338100, 1e-5),
}


@pytest.mark.parametrize(("metric", "value", "tolerance"), REFERENCE_VALUES.values(), ids=REFERENCE_VALUES.keys())
def test_a_metric_has_its_reference_value(metric: Metric, value: float, tolerance: float) -> None:
    assert metric(DISTORTED, REFERENCE) == pytest.approx(value, abs=tolerance)


EXTREMES: dict[str, tuple[Plane, dict[str, float]]] = {
    "blurred by 3 px": (ndimage.gaussian_filter(REFERENCE, 3), {"ssim": 0.985, "fsim": 0.987, "vifp": 0.827}),
    "turned by 180 degrees": (REFERENCE[::-1, ::-1], {"ssim": 0.305, "fsim": 0.583, "vifp": 0.013}),
}


@pytest.mark.parametrize(("predicted", "expected"), EXTREMES.values(), ids=EXTREMES.keys())
def test_extremes_have_their_reference_values(predicted: Plane, expected: dict[str, float]) -> None:
    found = {name: METRICS[name](predicted, REFERENCE) for name in expected}
    assert found == pytest.approx(expected, abs=1e-3)


@pytest.mark.parametrize("name", METRICS)
def test_a_plane_agrees_with_itself(name: str) -> None:
    best = {"psnr": PSNR_CAP_DB, "psnr_gain": PSNR_CAP_DB, "rmse": 0.0, "mae": 0.0}.get(name, 1.0)
    assert METRICS[name](REFERENCE, REFERENCE) == pytest.approx(best, abs=1e-9)


def test_ssim_is_that_of_scikit_image() -> None:
    from skimage.metrics import structural_similarity

    theirs = structural_similarity(
        DISTORTED, REFERENCE, gaussian_weights=True, sigma=1.5, use_sample_covariance=False, data_range=1.0
    )
    assert ssim(DISTORTED, REFERENCE) == pytest.approx(theirs, abs=1e-12)


def test_gain_matched_psnr_is_given_by_r_alone() -> None:
    r = pearson_r(DISTORTED, REFERENCE)
    assert gain_matched_psnr(DISTORTED, REFERENCE) == pytest.approx(-10 * math.log10((1 - r**2) * REFERENCE.var()))


def test_r_does_not_see_gain_and_offset_and_the_others_do() -> None:
    weak = 0.5 * REFERENCE + 0.2
    assert pearson_r(weak, REFERENCE) == pytest.approx(1)
    assert gain_matched_psnr(weak, REFERENCE) == PSNR_CAP_DB
    assert psnr(weak, REFERENCE) < 20


def test_a_difference_of_a_tenth_everywhere_is_20_db() -> None:
    assert (rmse(FLAT, 0 * FLAT), mae(FLAT, 0 * FLAT), psnr(FLAT, 0 * FLAT)) == pytest.approx((0.1, 0.1, 20))


UNDEFINED: dict[str, tuple[Metric, Plane, Plane, float]] = {
    "r of a constant prediction is 0": (pearson_r, FLAT, RAMP, 0.0),
    "r with a constant truth is undefined": (pearson_r, RAMP, FLAT, math.nan),
    "VIFp with a constant truth is undefined": (vifp, RAMP, FLAT, math.nan),
    "VIFp of a constant prediction is 0": (vifp, FLAT, REFERENCE, 0.0),
    "FSIM of two constants is undefined": (fsim, np.zeros((96, 96)), np.zeros((96, 96)), math.nan),
    "gain match of a constant prediction is the mean": (lambda x, y: gain_match(x, y)[1], FLAT, RAMP, 0.5),
}


@pytest.mark.parametrize(("metric", "predicted", "truth", "value"), UNDEFINED.values(), ids=UNDEFINED.keys())
def test_flat_planes(metric: Metric, predicted: Plane, truth: Plane, value: float) -> None:
    assert metric(predicted, truth) == pytest.approx(value, abs=1e-9, nan_ok=True)


def test_fsim_pools_large_planes_and_takes_odd_sizes() -> None:
    wide, distorted = (plane.repeat(4, axis=0).repeat(4, axis=1) for plane in (REFERENCE, DISTORTED))
    assert wide.shape == (512, 512)
    assert fsim(distorted, wide) == pytest.approx(fsim(distorted[::2, ::2], wide[::2, ::2]), abs=1e-9)
    assert 0.5 < fsim(DISTORTED[:101, :97], REFERENCE[:101, :97]) < 1


def test_phase_congruency_marks_an_edge_whatever_its_height() -> None:
    def edge(height: float) -> Plane:
        step = np.where(np.arange(128) >= 64, height, 0.0)
        return phase_congruency(np.tile(step, (128, 1)) + 100)

    for height in (40.0, 160.0):
        congruency = edge(height)
        assert congruency[64, 62:66].max() > 0.8
        assert congruency[64, 30] < 0.2


def test_the_scale_is_the_percentiles_of_the_whole_set() -> None:
    rng = np.random.default_rng(3)
    planes: list[Counts] = [
        rng.integers(0, 5000, (50, 70)).astype(np.uint16),
        rng.integers(0, 200, (90, 40)).astype(np.uint8),
    ]
    scale = measure_scale(planes)
    everything = np.concatenate([plane.ravel() for plane in planes])
    assert (scale.low, scale.high) == pytest.approx(tuple(np.percentile(everything, (0.1, 99.9))), rel=1e-12)
    assert scale.apply(np.array([[scale.low, scale.high]])) == pytest.approx(np.array([[0, 1]]))


def test_an_empty_measured_stain_is_refused() -> None:
    with pytest.raises(ImageError, match="is 7 counts in nearly every pixel"):
        measure_scale([np.full((100, 100), 7, np.uint8)])
