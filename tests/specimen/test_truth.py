"""The truth: labels, nuclei and stains of one moment agree with each other."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from livestain.specimen import ROSETTE, SHEET, SPINDLE, Look, Specimen


@pytest.fixture(scope="module", params=[SPINDLE, SHEET, ROSETTE], ids=["spindle", "sheet", "rosette"])
def specimen(request: pytest.FixtureRequest) -> Specimen:
    look: Look = request.param
    grown = Specimen(look, (512, 512), seed=12)
    grown.advance(24)
    return grown


def test_nuclei_lie_in_their_own_cells(specimen: Specimen) -> None:
    maps = specimen.maps()
    inside = maps.nuclear > 0
    assert np.mean(maps.cells[inside] == maps.nuclear[inside]) > 0.97


def test_nuclear_label_and_nuclear_stain_cover_the_same_pixels(specimen: Specimen) -> None:
    maps = specimen.maps()
    assert np.array_equal(maps.nuclear > 0, maps.nuclei > 0)


def test_every_cell_inside_the_frame_has_its_nucleus(specimen: Specimen) -> None:
    nuclear = specimen.maps().nuclear
    size_um = [size * specimen.look.pixel_um for size in nuclear.shape]
    inside = [c for c in specimen.life.cells if 12 < c.y < size_um[0] - 12 and 12 < c.x < size_um[1] - 12]
    assert len(inside) > 20
    sliver_px = 1.25 / specimen.look.pixel_um**2
    for cell in inside:
        # Another nucleus may lie across it and leave a sliver: pieces below 1.25 um2 do not count.
        pieces, count = ndimage.label(nuclear == cell.number, np.ones((3, 3)))
        large = np.sum(np.bincount(pieces.ravel(), minlength=count + 1)[1:] >= sliver_px)
        assert large in ((1, 2) if cell.mitotic else (1,)), cell


def test_stains_are_where_the_cells_are(specimen: Specimen) -> None:
    maps = specimen.maps()
    outside = ~ndimage.binary_dilation(maps.cells > 0, iterations=4)
    assert maps.membrane[outside].mean() < 0.01
    assert maps.membrane[maps.cells > 0].mean() > 0.1
    assert maps.phase[maps.cells > 0].mean() > 10 * abs(maps.phase[outside].mean())


@pytest.mark.parametrize(
    ("look", "lowest", "highest", "nuclear"),
    [(SPINDLE, 0.2, 0.35, 0.5), (SHEET, 0.35, 0.75, 0.5), (ROSETTE, 0.22, 0.35, 0.6)],
    ids=["spindle", "sheet", "rosette"],
)
def test_covers_are_those_of_living_cells(look: Look, lowest: float, highest: float, nuclear: float) -> None:
    covers = []
    for seed in range(3):
        maps = Specimen(look, (400, 400), seed).maps()
        covers.append((np.mean(maps.cells > 0), np.mean(maps.nuclear > 0)))
    cells, nuclei = np.mean(covers, axis=0)
    assert lowest < cells < highest
    assert 0.2 < nuclei / cells < nuclear
