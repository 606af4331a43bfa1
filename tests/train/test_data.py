"""Images become fields on one scale, and what cannot be used is said before any training."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import tifffile
from scipy import ndimage

from livestain.errors import ImageError
from livestain.train.data import FULL_SCALE, contrast_constant, load_fields, otsu, scale_stain
from livestain.train.sources import Source, find_sources
from tests.train.pieces import cells, small_fields, write_cells


def write(path: Path, *images: npt.NDArray[np.generic]) -> Path:
    path.mkdir(parents=True, exist_ok=True)
    for number, image in enumerate(images):
        tifffile.imwrite(path / f"f{number}.tif", image)
    return path


def load(label_free: Path, nuclei: Path) -> None:
    load_fields(find_sources(label_free, "label_free"), {"nuclei": find_sources(nuclei, "nuclei")})


def test_both_sides_are_on_their_scales(tmp_path: Path) -> None:
    group = small_fields(tmp_path).groups[""]
    assert all(plane.min() >= -1 and plane.max() <= 1 and plane.dtype == np.float32 for plane in group.label_free)
    stains = np.stack(group.stains)
    assert stains.shape == (3, 1, 128, 128)
    assert abs(np.median(stains)) < 0.01
    assert np.percentile(stains[stains * FULL_SCALE > 0.5], 50) * FULL_SCALE == pytest.approx(1, abs=0.15)


def test_a_typical_nucleus_is_one_whatever_exposure_and_offset() -> None:
    planes = [cells(k)[1] for k in range(3)]
    usual = scale_stain(planes, "")
    brighter = scale_stain([(3 * plane + 500).astype(np.uint16) for plane in planes], "")
    np.testing.assert_allclose(usual, brighter, atol=0.01)


def test_the_contrast_constant_is_blind_to_lamp_and_slow_shade() -> None:
    frame = cells(1)[0]
    shaded = (frame * np.linspace(0.4, 0.6, 128)).astype(np.uint16)
    noise = np.random.default_rng(0).normal(8000, 80, (128, 128)).astype(np.uint16)
    assert contrast_constant([noise]) == pytest.approx(32 * 0.01, rel=0.05)
    assert contrast_constant([shaded]) == pytest.approx(contrast_constant([frame]), rel=0.25)


def test_otsu_splits_two_heaps() -> None:
    values = np.concatenate([np.full(900, 10.0), np.full(100, 50.0)]).astype(np.float32)
    assert 10 < otsu(values) < 50


def test_groups_are_subfolders_and_keep_their_own_constant(tmp_path: Path) -> None:
    for name, contrast in (("one", 1.0), ("two", 2.0)):
        frame, nuclei = cells(3)
        wide = 8000 + contrast * (frame.astype(np.float32) - 8000)
        write(tmp_path / "a" / name, wide.astype(np.uint16))
        write(tmp_path / "b" / name, nuclei)
    groups = load_fields(
        find_sources(tmp_path / "a", "label_free"), {"nuclei": find_sources(tmp_path / "b", "nuclei")}
    ).groups
    assert list(groups) == ["one", "two"]
    assert groups["two"].constant == pytest.approx(2 * groups["one"].constant, rel=0.02)
    np.testing.assert_allclose(groups["one"].label_free[0], groups["two"].label_free[0], atol=0.02)


def test_a_table_gives_groups_and_pixel_sizes_and_the_coarsest_is_the_models(tmp_path: Path) -> None:
    label_free, nuclei = write_cells(tmp_path, fields=2, side=256)
    table = tmp_path / "label_free.csv"
    table.write_text(f"label_free,group,pixel_um\n{label_free}/f0.tif,x,0.5\n{label_free}/f1.tif,y,1.0\n")
    fields = load_fields(find_sources(table, "label_free"), {"nuclei": find_sources(nuclei, "nuclei")})
    assert fields.pixel_um == 1.0
    assert [group.label_free[0].shape for group in fields.groups.values()] == [(128, 128), (256, 256)]


FRAME, NUCLEI = cells(7)
BAD: dict[str, tuple[list[npt.NDArray[np.generic]], list[npt.NDArray[np.generic]], str]] = {
    "an empty folder": ([], [NUCLEI], "holds no image"),
    "colour": ([np.dstack([FRAME] * 3).astype(np.uint8)], [NUCLEI], "colour|RGB|samples"),
    "a constant label-free image": ([np.full_like(FRAME, 9000)], [NUCLEI], "everywhere"),
    "a constant stain": ([FRAME], [np.full_like(NUCLEI, 9)], "everywhere"),
    "a dark label-free image": ([(FRAME > 9000).astype(np.uint16)], [NUCLEI], "too dark"),
    "a stain of noise alone": ([FRAME], [FRAME * 0 + NUCLEI[:1] // 1000], "stands out|everywhere"),
    "a tiny image": ([FRAME[:64, :64]], [NUCLEI], "96"),
}


@pytest.mark.parametrize(("label_free", "nuclei", "words"), BAD.values(), ids=BAD.keys())
def test_what_cannot_be_trained_on_is_refused(
    label_free: list[npt.NDArray[np.generic]], nuclei: list[npt.NDArray[np.generic]], words: str, tmp_path: Path
) -> None:
    with pytest.raises(ImageError, match=words):
        load(write(tmp_path / "a", *label_free), write(tmp_path / "b", *nuclei))


def test_a_truncated_file_is_named(tmp_path: Path) -> None:
    label_free, nuclei = write_cells(tmp_path)
    whole = (label_free / "f1.tif").read_bytes()
    (label_free / "f1.tif").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ImageError, match=r"f1\.tif"):
        load(label_free, nuclei)


def sources(folder: Path, column: str) -> list[Source]:
    return find_sources(folder, column)


def test_two_stains_of_other_counts_are_refused(tmp_path: Path) -> None:
    label_free, nuclei = write_cells(tmp_path)
    membrane = write(tmp_path / "membrane", NUCLEI)
    with pytest.raises(ImageError, match="3 images of 'nuclei' and 1 of 'membrane'"):
        load_fields(
            sources(label_free, "label_free"),
            {"nuclei": sources(nuclei, "nuclei"), "membrane": sources(membrane, "membrane")},
        )


def test_groups_without_stains_are_refused(tmp_path: Path) -> None:
    for name in ("one", "two"):
        write(tmp_path / "a" / name, FRAME)
    for name in ("one", "three"):
        write(tmp_path / "b" / name, NUCLEI)
    with pytest.raises(ImageError, match="'two' has no stains"):
        load(tmp_path / "a", tmp_path / "b")


def test_the_stain_of_a_closed_layer_has_its_background_in_the_darkest_pixels() -> None:
    rng = np.random.default_rng(7)
    layer = ndimage.gaussian_filter(rng.random((256, 256)), 8)
    membrane = np.where(layer > np.quantile(layer, 0.2), 1000 + 1500 * rng.random((256, 256)), 200)
    plane = (membrane + rng.normal(0, 10, membrane.shape)).astype(np.uint16)
    (scaled,) = scale_stain([plane], "membrane")
    assert np.median(scaled[plane < 250]) == pytest.approx(0, abs=0.02)
    assert np.median(scaled[plane > 900]) * FULL_SCALE == pytest.approx(1, abs=0.2)
