"""Objects: matching by hand-computed overlaps, and segmenters on fields whose objects are known."""

from __future__ import annotations

import math
import sys
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image

from livestain.errors import ImageError, UserError
from livestain.evaluate.labels import Labels, read_labels
from livestain.evaluate.objects import object_r, overlap, score_objects
from livestain.evaluate.segment import CellposeSegmenter, OtsuSegmenter, drop_small, typical_radius
from tests.evaluate.pieces import discs

SHAPE = (64, 64)
TRUE = discs(SHAPE, [(12, 12, 6), (12, 44, 7), (44, 12, 8), (44, 44, 6)])
FOUND = discs(SHAPE, [(12, 13, 6), (14, 46, 7), (44, 12, 5), (30, 30, 5), (44, 44, 6)])
NOTHING = np.zeros(SHAPE, np.int32)


def test_matching_has_its_reference_values() -> None:
    score = score_objects(FOUND, TRUE)
    assert overlap(FOUND, TRUE).max(axis=1) == pytest.approx([0.7937, 0.5936, 0.4112, 0, 1], abs=5e-5)
    assert (score.matched, score.extra, score.missed) == (3, 2, 1)
    assert (score.ap50, score.f1, score.dice) == pytest.approx((0.5, 0.666667, 0.730388), abs=1e-6)
    assert score.iou == pytest.approx((0.7937 + 0.5936 + 1) / 3, abs=1e-4)
    assert score.count_error == pytest.approx(0.25)


def half(upper: bool) -> Labels:
    labels = NOTHING.copy()
    labels[(slice(0, 10) if upper else slice(10, 20)), :20] = 1
    return labels


CASES: dict[str, tuple[Labels, Labels, tuple[int, int, int], float]] = {
    "the same objects under other numbers": (np.where(TRUE > 0, 90 - TRUE, 0), TRUE, (4, 0, 0), 1.0),
    "nothing found": (NOTHING, TRUE, (0, 0, 4), 0.0),
    "nothing there": (FOUND, NOTHING, (0, 5, 0), 0.0),
    "nothing at all": (NOTHING, NOTHING, (0, 0, 0), math.nan),
    "two halves of one object match once": (half(True) + 2 * half(False), half(True) + half(False), (1, 1, 0), 0.5),
}


@pytest.mark.parametrize(("found", "true", "counts", "ap"), CASES.values(), ids=CASES.keys())
def test_cases_of_matching(found: Labels, true: Labels, counts: tuple[int, int, int], ap: float) -> None:
    score = score_objects(found, true)
    assert (score.matched, score.extra, score.missed) == counts
    assert score.ap50 == pytest.approx(ap, nan_ok=True)


def test_r_over_objects_sees_their_means_alone() -> None:
    labels = discs(SHAPE, [(10, 10, 5), (10, 30, 5), (10, 50, 5), (40, 10, 5), (40, 30, 5)])
    bright = np.array([0, 0.2, 0.5, 0.3, 0.9, 0.7])[labels]
    rough = bright * (1 + 0.5 * np.where(np.indices(SHAPE).sum(axis=0) % 2, 1, -1)) + 5.0 * (labels == 0)
    assert object_r(rough, bright, labels) > 0.99
    assert object_r(1 - bright, bright, labels) == pytest.approx(-1)
    assert math.isnan(object_r(bright, bright, np.where(labels == 5, 0, labels)))


def test_otsu_finds_discs_and_splits_touching_ones() -> None:
    places = [(30, 30, 9), (30, 46, 9), (80, 30, 8), (80, 90, 10), (30, 96, 7)]
    true = discs((112, 128), places)
    noise = np.random.default_rng(0).normal(0, 0.02, true.shape)
    found = OtsuSegmenter().segment(np.clip(0.8 * (true > 0) + 0.1 + noise, 0, 1), 9)
    score = score_objects(found, true)
    assert (score.matched, score.extra, score.missed) == (5, 0, 0)
    assert score.iou > 0.85


def test_otsu_fills_holes_and_leaves_specks_out() -> None:
    ring = discs(SHAPE, [(32, 32, 10)]) - discs(SHAPE, [(32, 32, 4)])
    speck = discs(SHAPE, [(8, 8, 2)])
    found = OtsuSegmenter().segment((ring + speck).astype(np.float64), 10)
    assert found.max() == 1
    assert found[32, 32] == 1


def test_a_flat_plane_has_no_object() -> None:
    assert not OtsuSegmenter().segment(np.full(SHAPE, 0.3), 5).any()


def test_small_objects_go_and_numbers_close_up() -> None:
    labels = discs(SHAPE, [(10, 10, 2), (30, 30, 4), (50, 50, 5)])
    kept = drop_small(labels)
    assert [int((kept == number).sum()) for number in (1, 2)] == [int((labels == number).sum()) for number in (2, 3)]
    assert kept.max() == 2


def test_the_typical_radius_is_that_of_the_median_object() -> None:
    assert typical_radius(discs(SHAPE, [(10, 10, 4), (30, 30, 6), (50, 50, 9)])) == pytest.approx(6, abs=0.1)
    assert typical_radius(NOTHING) == 0


MASKS = {
    "8-bit TIFF of numbers": ("m.tif", TRUE.astype(np.uint8), 4),
    "32-bit TIFF of numbers": ("m.tiff", TRUE.astype(np.int32), 4),
    "1-bit PNG, split into parts": ("m.png", TRUE > 0, 4),
    "PNG of 0 and 255, split into parts": ("m.png", np.where(TRUE > 0, 255, 0).astype(np.uint8), 4),
    "empty": ("m.png", NOTHING.astype(np.uint8), 0),
}


@pytest.mark.parametrize(("name", "mask", "count"), MASKS.values(), ids=MASKS.keys())
def test_masks_are_read(name: str, mask: np.ndarray, count: int, tmp_path: Path) -> None:
    write_mask(tmp_path / name, mask)
    labels = read_labels(tmp_path / name, SHAPE)
    assert labels.max() == count
    assert score_objects(labels, TRUE if count else NOTHING).missed == 0


def write_mask(path: Path, mask: np.ndarray) -> None:
    if path.suffix == ".png":
        Image.fromarray(mask).save(path)
    else:
        tifffile.imwrite(path, mask)


BAD_MASKS = {
    "fractions": (np.ones(SHAPE, np.float32), "dtype float32"),
    "another size": (np.ones((10, 64), np.uint8), r"shape \(10, 64\)"),
    "negative numbers": (np.where(TRUE > 0, -1, 0).astype(np.int16), "holds -1"),
}


@pytest.mark.parametrize(("mask", "words"), BAD_MASKS.values(), ids=BAD_MASKS.keys())
def test_bad_masks_are_refused(mask: np.ndarray, words: str, tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "m.tif", mask)
    with pytest.raises(ImageError, match=words):
        read_labels(tmp_path / "m.tif", SHAPE)


def test_a_file_that_is_no_mask_is_refused(tmp_path: Path) -> None:
    (tmp_path / "m.png").write_bytes(b"no image")
    with pytest.raises(ImageError, match="cannot be read"):
        read_labels(tmp_path / "m.png", SHAPE)


def test_without_cellpose_one_line_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cellpose", None)
    with pytest.raises(UserError, match=r"pip install 'cellpose>=3,<4', or --segment otsu"):
        CellposeSegmenter(Path("weights"))
