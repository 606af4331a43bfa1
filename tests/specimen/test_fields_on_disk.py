"""The simulated image sets of the benchmarks: laid out as a training reads them, unpaired where they say so."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile

from livestain.evaluate.pairs import read_pairs
from livestain.train.sources import find_sources

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
SIDE_PX = 96
STAINS = ("nuclei", "membrane")


@pytest.fixture(scope="module")
def fields() -> Any:
    """The module, which is no part of the package."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(BENCHMARKS)
        yield importlib.import_module("specimen_fields")
    del sys.modules["specimen_fields"]


@pytest.fixture(scope="module")
def home(fields: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder: Path = fields.write_fields("spindle", tmp_path_factory.mktemp("fields"), SIDE_PX)
    return folder


@pytest.mark.parametrize("column", ["label-free", *STAINS])
def test_training_finds_twelve_planes_of_each_side_with_their_pixel_size(home: Path, column: str) -> None:
    sources = find_sources(home / "train" / column, column)
    assert [source.shape for source in sources] == [(SIDE_PX, SIDE_PX)] * 12
    assert {round(source.pixel_um or 0, 4) for source in sources} == {0.65}


@pytest.mark.parametrize(
    ("part", "count", "masked"),
    [("pairs", 12, False), ("validation", 4, True), ("test", 8, True), ("test-noiseless", 8, True)],
)
def test_pairs_are_read_with_both_stains(home: Path, part: str, count: int, masked: bool) -> None:
    pairs = read_pairs(home / part, STAINS)
    assert len(pairs) == count
    assert all(tuple(pair.truth) == STAINS and (pair.mask is not None) == masked for pair in pairs)


def test_no_two_parts_share_a_field(home: Path) -> None:
    parts = ("train/label-free", "pairs", "validation", "test")
    frames = [tifffile.imread(path) for part in parts for path in (home / part).glob("*_bf.tif")]
    stains = [tifffile.imread(path) for part in ("train/nuclei", "pairs", "validation", "test")
              for path in (home / part).glob("*_nuclei.tif")]  # fmt: skip
    assert len({frame.tobytes() for frame in frames}) == len(frames) == 36
    assert len({stain.tobytes() for stain in stains}) == len(stains) == 36


def test_label_free_and_stains_of_training_are_of_other_cells(fields: Any, home: Path) -> None:
    (of_stains,) = fields.specimen_fields("spindle", [fields.SEEDS["stains"]], SIDE_PX)
    assert np.array_equal(tifffile.imread(home / "train" / "nuclei" / "b00_nuclei.tif"), of_stains.measured["nuclei"])
    assert not np.array_equal(tifffile.imread(home / "train" / "label-free" / "a00_bf.tif"), of_stains.bright)


def test_noiseless_stains_are_what_the_camera_adds_its_noise_to(fields: Any) -> None:
    (one,) = fields.specimen_fields("sheet", [64_001], 256)
    for stain in STAINS:
        noise = one.measured[stain].astype(float) - one.noiseless[stain]
        assert abs(noise.mean()) < 1
        assert 3 < noise.std() < 30
    assert one.noiseless["nuclei"][one.nuclei > 0].mean() > 5 * one.noiseless["nuclei"][one.nuclei == 0].mean()


def test_what_is_there_is_not_made_again_and_what_is_missing_is(fields: Any, home: Path) -> None:
    kept, lost = home / "test" / "t00_bf.tif", home / "pairs" / "c03_membrane.tif"
    before, as_made = kept.stat().st_mtime_ns, lost.read_bytes()
    lost.unlink()
    fields.write_fields("spindle", home.parent, SIDE_PX)
    assert kept.stat().st_mtime_ns == before
    assert lost.read_bytes() == as_made
    assert not list(home.rglob("*.part"))
