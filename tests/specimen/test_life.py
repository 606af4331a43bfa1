"""Life: cells grow, divide, round up, die and are never two of one number; nothing jumps."""

from __future__ import annotations

import math

import numpy as np
import pytest

from livestain.specimen import ROSETTE, SHEET, SPINDLE, Look, Specimen
from livestain.specimen.life import TICK_H, Cell, Population

SIZE_UM = (400.0, 400.0)
LOOKS = pytest.mark.parametrize("look", [SPINDLE, SHEET], ids=["spindle", "sheet"])


def apart(one: Cell, other: Cell) -> float:
    """Distance on the torus in um."""
    x, y = (abs(a - b) for a, b in ((one.x, other.x), (one.y, other.y)))
    return math.hypot(min(x, SIZE_UM[1] - x), min(y, SIZE_UM[0] - y))


@LOOKS
def test_a_day_doubles_the_cells_and_rounds_up_a_few(look: Look) -> None:
    life = Population(look, SIZE_UM, seed=1)
    before = len(life.cells)
    seen = {cell.number for cell in life.cells}
    rounded, moved, sisters = [], 0.0, []
    for _ in range(round(24 / TICK_H)):
        places = {cell.number: (cell.x, cell.y) for cell in life.cells}
        old = {cell.number: Cell(cell.number, cell.traits, cell.x, cell.y, 0, 0, 1, 1) for cell in life.cells}
        life.tick()
        living = [cell for cell in life.cells if not cell.dead]
        moved = max(moved, *(apart(old[cell.number], cell) for cell in living if cell.number in places))
        born = [cell for cell in life.cells if cell.number not in places]
        sisters += [apart(one, other) for one, other in zip(born[::2], born[1::2], strict=True)]
        assert not seen & {cell.number for cell in born}
        seen |= {cell.number for cell in born}
        rounded.append(np.mean([cell.spread(life.time_h) < 0.5 for cell in living]))
    assert 1.7 < len(life.cells) / before < 2.2
    assert 0.03 < np.mean(rounded) < 0.10
    assert moved < 6
    assert 5 < min(sisters) <= max(sisters) < 20


def test_cells_stop_while_they_divide_and_when_they_are_dead() -> None:
    life = Population(SPINDLE.replace(density_mm2=1, death_per_h=0), SIZE_UM, seed=2)
    (cell,) = life.cells
    cell.age = 1 - 0.5 / cell.cycle_h
    before = (cell.x, cell.y)
    life.tick()
    assert (cell.x, cell.y) == pytest.approx(before)
    cell.age, cell.died_h = 0.5, life.time_h
    life.tick()
    assert (cell.x, cell.y) == pytest.approx(before)
    assert cell.age == 0.5


def test_a_dead_cell_rounds_up_and_is_gone_after_ten_hours() -> None:
    life = Population(SPINDLE.replace(density_mm2=1, death_per_h=0), SIZE_UM, seed=2)
    (cell,) = life.cells
    cell.age, cell.died_h = 0.5, life.time_h
    assert cell.spread(life.time_h) == 1
    assert cell.spread(life.time_h + 0.6) == 0
    for _ in range(119):
        life.tick()
    assert life.cells == [cell]
    for _ in range(2):
        life.tick()
    assert life.cells == []
    life.tick()


@LOOKS
def test_a_division_keeps_the_signal_of_the_nucleus(look: Look) -> None:
    specimen = Specimen(look.replace(density_mm2=1, death_per_h=0), (200, 200), seed=3)
    (cell,) = specimen.life.cells
    cell.x = cell.y = 100 * look.pixel_um
    cell.age = 1 - 1.5 / cell.cycle_h
    specimen.advance()
    signals, pieces = [], []
    for _ in range(24):
        specimen.advance()
        maps = specimen.maps()
        signals.append(float(maps.nuclei.sum()))
        pieces.append(len(np.unique(maps.nuclear)) - 1)
    assert pieces[0] == 1
    assert pieces[-1] == 2
    assert max(signals) / min(signals) < 1.15


@pytest.mark.parametrize("look", [SPINDLE.replace(density_mm2=30), SHEET, ROSETTE], ids=["spindle", "sheet", "rosette"])
def test_the_same_seed_lives_the_same_life(look: Look) -> None:
    lives = [Population(look, (200.0, 250.0), seed) for seed in (5, 5, 6)]
    for life in lives:
        for _ in range(10):
            life.tick()
    first, again, other = ([(cell.number, cell.x, cell.y) for cell in life.cells] for life in lives)
    assert first == again
    assert first != other


def test_a_rosette_keeps_its_number_and_its_places() -> None:
    life = Population(ROSETTE, SIZE_UM, seed=1)
    assert life.plan is not None
    born = 0
    for _ in range(round(48 / TICK_H)):
        before = {cell.number: cell for cell in life.cells}
        places = {cell.number: (cell.x, cell.y) for cell in life.cells}
        life.tick()
        new = [cell for cell in life.cells if cell.number not in before]
        born += len(new)
        for cell in life.cells:
            assert cell.home is not None
            assert apart(cell, Cell(0, cell.traits, cell.home.x, cell.home.y, 0, 0, 1, 1)) < 25
            if cell.number in places:
                old = Cell(0, cell.traits, *places[cell.number], 0, 0, 1, 1)
                assert apart(old, cell) < 2
        assert all(5 < apart(one, other) < 20 for one, other in zip(new[::2], new[1::2], strict=True))
        living = [cell.home for cell in life.cells if not cell.dead]
        assert len(set(living)) == len(living)
        assert 0.85 < len(living) / len(life.plan.homes) <= 1
    assert born > 10


def test_daughters_of_neighbours_take_the_places_of_dead_cells() -> None:
    life = Population(ROSETTE.replace(death_per_h=0), SIZE_UM, seed=2)
    assert life.plan is not None
    life.look = ROSETTE.replace(death_per_h=1)
    life.tick()
    life.look = ROSETTE.replace(death_per_h=0)
    assert sum(cell.dead for cell in life.cells) > 3
    for _ in range(round(50 / TICK_H)):
        life.tick()
    assert {cell.home for cell in life.cells} == set(life.plan.homes)
    assert {cell.empty_home for cell in life.cells} == {None}
    number = len(life.cells)
    for _ in range(round(36 / TICK_H)):
        life.tick()
    assert len(life.cells) == number


def test_a_division_in_a_rosette_keeps_the_signal_of_the_nucleus() -> None:
    specimen = Specimen(ROSETTE.replace(death_per_h=0), (300, 300), seed=3)
    dividing = [cell for cell in specimen.life.cells if cell.empty_home and cell.home and cell.home.fenced]
    mother = max(dividing, key=lambda cell: cell.age)
    mother.age = 1 - 1.5 / mother.cycle_h
    family, signals = {mother.number}, []
    for _ in range(24):
        before = {cell.number for cell in specimen.life.cells}
        specimen.advance()
        living = {cell.number for cell in specimen.life.cells}
        if mother.number not in living and len(family) == 1:
            family |= living - before
        maps = specimen.maps()
        signals.append(float(maps.nuclei[np.isin(maps.nuclear, list(family))].sum()))
    assert len(family) == 3
    assert max(signals) / min(signals) < 1.15
