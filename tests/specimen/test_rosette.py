"""The rosette: its plan, its outline, its strings and the skin over it."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from livestain.specimen import ROSETTE, Specimen
from livestain.specimen.bundle import draw_bundles
from livestain.specimen.plan import Plan
from livestain.specimen.scene import Scene


@pytest.fixture(scope="module")
def specimen() -> Specimen:
    return Specimen(ROSETTE, (512, 512), seed=4)


@pytest.mark.parametrize("field_um", [(60.0, 60.0), (130.0, 130.0), (130.0, 400.0)])
def test_strings_go_on_until_they_have_left_the_field(field_um: tuple[float, float]) -> None:
    for seed in range(8):
        homes = Plan(field_um, np.random.default_rng(seed)).homes
        string = [home for home in homes if not home.fenced]
        assert len(homes) - len(string) == 78
        steps = [one.distance(other) for one, other in pairwise(string)]
        # One longer step, from the end of one string to the start of the other.
        assert sum(step > 11 for step in steps) <= 1
        out = [not (0 < home.x < field_um[1] and 0 < home.y < field_um[0]) for home in string]
        assert sum(out) >= 2
        assert all(-25 < home.x < field_um[1] + 25 and -25 < home.y < field_um[0] + 25 for home in string)


def test_cells_of_the_rings_live_inside_the_outline_and_strings_outside() -> None:
    for seed in range(8):
        plan = Plan((130.0, 130.0), np.random.default_rng(seed))
        at = np.array([(home.x, home.y) for home in plan.homes], np.float32)
        depth = np.diag(plan.depth(at[None, :, 0], at[:, None, 1]))
        fenced = np.array([home.fenced for home in plan.homes])
        assert depth[fenced].min() > 0.5
        assert depth[~fenced].max() < 0


def test_no_cell_of_the_rings_crosses_the_outline(specimen: Specimen) -> None:
    plan, grid = specimen.life.plan, specimen.grid
    assert plan is not None
    rows, columns = grid.frame
    depth = plan.depth(grid.x_um[columns][None, :], grid.y_um[rows][:, None])
    numbers = [cell.number for cell in specimen.life.cells if cell.home and cell.home.fenced]
    fenced = np.isin(specimen.maps().cells, numbers)
    # The outline waves by 1.5 times 0.3 of a texture of 1.8 um.
    assert depth[fenced].min() > -3
    assert fenced[depth > 4].mean() > 0.98


def test_nuclei_of_strings_are_longer_and_thinner(specimen: Specimen) -> None:
    maps = specimen.maps()
    ratios: dict[bool, list[float]] = {True: [], False: []}
    for cell in specimen.life.cells:
        row, column = np.nonzero(maps.nuclear == cell.number)
        edge = not row.size or min(row.min(), column.min()) == 0 or max(row.max(), column.max()) == 511
        if not edge and not cell.mitotic and not cell.dead and cell.home is not None:
            widths = np.linalg.eigvalsh(np.cov(row, column))
            ratios[cell.home.fenced].append(float(np.sqrt(widths[1] / widths[0])))
    assert np.median(ratios[False]) > 2.2
    assert 1.3 < np.median(ratios[True]) < 1.9


def test_the_skin_stands_still_and_lies_at_a_focus_of_its_own(specimen: Specimen) -> None:
    plan, grid = specimen.life.plan, specimen.grid
    assert plan is not None
    rows, columns = grid.frame
    later = Specimen(ROSETTE, (512, 512), seed=4)
    later.advance(2)
    near = np.array([(cell.x, cell.y) for cell in (*specimen.life.cells, *later.life.cells)])
    away = np.hypot(grid.x_um[columns][None, :, None] - near[:, 0], grid.y_um[rows][:, None, None] - near[:, 1])
    bare = away.min(axis=2) > 25
    assert bare.mean() > 0.05
    assert np.array_equal(specimen.maps().phase[bare], later.maps().phase[bare])
    at_cells, at_skin = specimen.transmission(0.05)[bare], specimen.transmission(-7.0)[bare]
    assert at_skin.std() < at_cells.std() / 3
    assert not specimen.maps().membrane[bare].any()
    assert 0 < specimen.fluorescence("membrane")[bare].mean() < 0.1


def test_hair_cells_in_the_middle_carry_bundles_that_point_two_ways(specimen: Specimen) -> None:
    plan = specimen.life.plan
    assert plan is not None
    hairs = [home for home in plan.homes if home.hair is not None]
    assert hairs == list(plan.homes[:17])
    bundle = Scene(specimen.grid)
    draw_bundles(bundle, specimen.life)
    (dots,) = bundle.dots
    bearing = [cell for cell in specimen.life.cells if cell.home in hairs and cell.spread(specimen.time_h) == 1]
    assert 10 < len(bearing) < 18
    assert dots.phase.size == 4 * len(bearing)
    assert np.all(dots.phase > 0)
    tips = np.stack([dots.x, dots.y], axis=1).reshape(-1, 4, 2)
    course = np.exp(2j * np.arctan2(*(tips[:, 3] - tips[:, 0]).T[::-1]))
    assert abs(course.mean()) > 0.8
    ways = np.sign((tips[:, 3] - tips[:, 0]) @ (tips[0, 3] - tips[0, 0]))
    assert -0.9 < ways.mean() < 0.9
    spot = np.unravel_index(np.argmax(bundle.membrane), bundle.membrane.shape)
    assert np.hypot(specimen.grid.x_um[spot[1]] - dots.x, specimen.grid.y_um[spot[0]] - dots.y).min() < 0.5
