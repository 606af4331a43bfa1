"""What is shown and warned of before a training."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from livestain.errors import ImageError
from livestain.evaluate.pairs import Pair
from livestain.frames import Counts
from livestain.train.data import load_fields
from livestain.train.inventory import pair_warnings, require_unswapped, saturated, table_of, warnings_of
from livestain.train.sources import Source
from tests.train.pieces import cells


def of(planes: Sequence[Counts], group: str = "", pixel_um: float | None = None) -> list[Source]:
    return [
        Source(f"f{k}", group, Path(f"f{k}.tif"), (len(p), p.shape[1]), p.dtype, pixel_um, lambda p=p: p)  # type: ignore[misc]
        for k, p in enumerate(planes)
    ]


BRIGHT, NUCLEI = zip(*(cells(seed) for seed in range(4)), strict=True)


def pair(seed: int, shift: int = 0, group: str = "") -> Pair:
    label_free, nuclei = cells(seed, 256, 40)
    moved = np.roll(nuclei, shift, 0)
    return Pair(f"f{seed}", f"f{seed}", group, (256, 256), {"nuclei": lambda: moved}, lambda: label_free)


def test_the_table_has_a_row_for_each_side_and_group() -> None:
    small = [plane[:96] for plane in BRIGHT[:1]]
    label_free = [*of(BRIGHT, "day 1", 0.5), *of(small, "day 2"), *of([BRIGHT[0] // 256], "day 2", 0.25)]
    label_free[-1] = replace(label_free[-1], dtype=np.dtype(np.uint8))
    assert table_of(label_free, {"nuclei": of(NUCLEI)}, [pair(0)]) == [
        ("label-free", "day 1", "4", "128 x 128", "uint16", "0.5"),
        ("label-free", "day 2", "2", "96 x 128 and 128 x 128", "uint16 and uint8", "0.25 and not stated"),
        ("nuclei", "", "4", "128 x 128", "uint16", "not stated"),
        ("pairs: nuclei", "", "1", "256 x 256", "", "not stated"),
    ]


def said(label_free: Sequence[Source], nuclei: Sequence[Source]) -> list[str]:
    return list(warnings_of(label_free, {"nuclei": nuclei}, load_fields(label_free, {"nuclei": nuclei})))


def test_images_as_they_should_be_are_not_warned_of() -> None:
    assert said(of(BRIGHT), of(NUCLEI)) == []


def overexposed(plane: Counts) -> Counts:
    return np.where(plane > np.percentile(plane, 98), np.uint16(16383), plane)


DARK = (np.random.default_rng(0).normal(300, 10, (128, 128))).astype(np.uint16)
SUSPICIOUS: dict[str, tuple[list[Source], list[Source], str]] = {
    "few fields": (of(BRIGHT[:2]), of(NUCLEI), "2 label-free planes are few: 10 or more fields"),
    "mixed dtypes": (
        of([*BRIGHT, (BRIGHT[0] // 64).astype(np.uint8)]),
        of(NUCLEI),
        "label-free images are of mixed dtypes: were some of them rescaled",
    ),
    "mixed sizes": (
        of([*BRIGHT, BRIGHT[0][:100]]),
        of(NUCLEI),
        "label-free images have the sizes 100 x 128 and 128 x 128 px: were some of them binned?",
    ),
    "saturated on a camera of 14 bits": (
        of([*BRIGHT[:3], overexposed(BRIGHT[3])]),
        of(NUCLEI),
        "a label-free image is saturated in more than 1 % of its pixels: expose shorter",
    ),
    "another pixel size": (of(BRIGHT, pixel_um=0.5), of(NUCLEI, pixel_um=0.4), "nuclei images have a pixel of 0.4 um"),
    "pixel sizes of one side only": (of(BRIGHT, pixel_um=0.5), of(NUCLEI), "nuclei images do not state their pixel"),
    "a stain that is bright field": (of(BRIGHT), of(BRIGHT), "nuclei images are as dark as they are bright"),
    "label-free images that are stained": (of(NUCLEI), of(NUCLEI), "look like stained ones, bright spots on dark"),
    "a field of the stain without any": (of(BRIGHT), of([*NUCLEI, DARK]), "1 of 5 nuclei images show nothing bright"),
}


@pytest.mark.parametrize(("label_free", "nuclei", "words"), SUSPICIOUS.values(), ids=SUSPICIOUS.keys())
def test_what_is_suspicious_is_said_once(label_free: list[Source], nuclei: list[Source], words: str) -> None:
    assert sum(words in sentence for sentence in said(label_free, nuclei)) == 1


@pytest.mark.parametrize(("bits", "share"), [(8, 0.5), (12, 0.5), (13, 0.0), (16, 0.5)])
def test_saturation_is_the_end_of_a_cameras_scale(bits: int, share: float) -> None:
    plane = np.zeros((4, 4), np.uint16)
    plane[:2] = (1 << bits) - 1
    assert saturated(plane) == share


def test_swapped_folders_are_refused_by_their_statistics() -> None:
    require_unswapped(of(BRIGHT), {"nuclei": of(NUCLEI)})
    require_unswapped(of(NUCLEI), {"nuclei": of(NUCLEI)})
    with pytest.raises(ImageError, match=r"look swapped: the images given as label-free, such as f0\.tif.*exchange"):
        require_unswapped(of(NUCLEI), {"nuclei": of(BRIGHT)})


def test_pairs_that_do_not_lie_over_each_other_are_measured_group_by_group() -> None:
    pairs = [pair(seed, 7, "day 1") for seed in range(3)] + [pair(seed, group="day 2") for seed in range(3)]
    (sentence,) = pair_warnings(pairs)
    assert "measured nuclei of day 1 lies 7 px below and 0 px right of the label-free images" in sentence
