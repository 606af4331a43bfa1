"""Life: cells that crawl, push, grow, divide and die on a torus, in ticks of five minutes.

Cells of a rosette have a home instead: they are pulled back to it, rest early in their cycle, and only the neighbour of
a dead cell goes on and divides, into the empty place.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.spatial import cKDTree

from livestain.specimen.looks import Look
from livestain.specimen.plan import Home, Plan
from livestain.specimen.traits import Traits, draw_traits

TICK_H = 1 / 12
MITOSIS_H = 0.7
ANAPHASE_H = 0.25
_ROUNDING_H = 0.5
_SPREADING_H = 1.5
_DYING_H = 0.5
_GONE_H = 10.0
_WARM_TICKS = 12
_DAUGHTER_UM = 5.0
_DAUGHTER_AT_HOME_UM = 3.0
_PULL = 0.97
_REST_AGE = 0.4
_VACANT_EVERY = 15
"""One home in so many is empty at the start, as deaths keep it later: 0.35 % per h, 18 h from rest to division."""
WORLD_EXTRA_UM = 60.0
"""The torus is that much larger than the field, so that nothing is seen twice."""
_PUSH_LIMIT_UM = 3.5
_STREAM_START, _STREAM_TICK = 1, 3


@dataclass(slots=True, eq=False)
class Cell:
    """One cell.

    Attributes
    ----------
    number
        Its own for ever; daughters get new ones.
    x, y, heading
        Place on the torus in um, direction in rad.
    age
        Share of its cycle that is over, 0..1.
    brightness
        Factor of its DNA stain, partly inherited.
    born_h, died_h
        Times in h; ``born_h`` None: there from the start; ``died_h`` None: alive.
    home, empty_home
        In a rosette: where it is tethered, and the empty place beside it for which it will divide; else None.
    """

    number: int
    traits: Traits
    x: float
    y: float
    heading: float
    age: float
    cycle_h: float
    brightness: float
    born_h: float | None = None
    died_h: float | None = None
    home: Home | None = None
    empty_home: Home | None = None

    @property
    def dead(self) -> bool:
        """Whether it has died (it stays visible for ten hours)."""
        return self.died_h is not None

    @property
    def to_division_h(self) -> float:
        """Time left to its division in h; infinite for a dead cell."""
        return math.inf if self.dead else (1 - self.age) * self.cycle_h

    @property
    def mitotic(self) -> bool:
        """Whether its nucleus is condensed for division."""
        return self.to_division_h < MITOSIS_H

    @property
    def grown(self) -> float:
        """Linear size by traits and age, around 1."""
        return self.traits.size * math.sqrt(0.85 + 0.3 * self.age)

    def spread(self, time_h: float) -> float:
        """How flat it lies, 0 (a ball: in mitosis, just born, dead) to 1."""
        share = (self.to_division_h - MITOSIS_H) / _ROUNDING_H
        if self.born_h is not None:
            share = min(share, (time_h - self.born_h) / _SPREADING_H)
        if self.died_h is not None:
            share = min(share, 1 - (time_h - self.died_h) / _DYING_H)
        share = min(max(share, 0.0), 1.0)
        return share * share * (3 - 2 * share)


class Population:
    """All cells of a specimen on a torus of ``size_um`` = (Y, X) um; the same seed lives the same life.

    The field that is seen is 60 um smaller, from (0, 0) on. ``plan`` is that of a rosette, else None.
    """

    def __init__(self, look: Look, size_um: tuple[float, float], seed: int) -> None:
        self.look = look
        self.size_um = size_um
        self.seed = seed
        self.time_h = 0.0
        self.ticks = 0
        self.cells: list[Cell] = []
        self._count = 0
        self.plan = self._settle() if look.name == "rosette" else None
        if self.plan is None:
            for x, y in self._starting_places():
                self._add(x, y)
            for _ in range(80 if look.colonies_mm2 else 30):
                self._push()
        for _ in range(_WARM_TICKS):
            self.tick()

    def tick(self) -> None:
        """Let five minutes pass."""
        self.ticks += 1
        self.time_h = self.ticks * TICK_H
        rng = np.random.default_rng((self.seed, _STREAM_TICK, self.ticks))
        for cell, draw in zip(self.cells, rng.standard_normal((len(self.cells), 3)).tolist(), strict=True):
            self._move(cell, draw)
        for cell, chance in zip(self.cells, rng.random(len(self.cells)).tolist(), strict=True):
            self._age(cell, chance)
        self.cells = [cell for cell in self.cells if cell.died_h is None or self.time_h - cell.died_h < _GONE_H]
        for mother in [cell for cell in self.cells if cell.age >= 1 and not cell.dead]:
            self._divide(mother)
        self._push()

    def _starting_places(self) -> npt.NDArray[np.float64]:
        """(N, 2) x, y in um: anywhere, or scattered round the centres of colonies."""
        rng = np.random.default_rng((self.seed, _STREAM_START))
        area_mm2 = self.size_um[0] * self.size_um[1] * 1e-6
        count = max(1, round(self.look.density_mm2 * area_mm2))
        size: npt.NDArray[np.float64] = np.array(self.size_um[::-1])
        if not self.look.colonies_mm2:
            anywhere: npt.NDArray[np.float64] = rng.random((count, 2)) * size
            return anywhere
        centres = rng.random((max(1, int(self.look.colonies_mm2 * area_mm2)), 2)) * size
        places: npt.NDArray[np.float64] = centres[np.arange(count) % len(centres)] + rng.normal(0, 22, (count, 2))
        places %= size
        return places

    def _settle(self) -> Plan:
        """Fill the homes of a rosette, but for a few into which cells are about to divide."""
        rng = np.random.default_rng((self.seed, _STREAM_START))
        height, width = (side - WORLD_EXTRA_UM for side in self.size_um)
        plan = Plan((height, width), rng)
        empty = plan.homes[_VACANT_EVERY - 1 :: _VACANT_EVERY]
        for home in plan.homes:
            if home not in empty:
                self._add(home.x, home.y, home=home)
        for cell in self.cells:
            cell.age *= _REST_AGE
        for home in empty:
            caller = self._call_neighbour(home)
            if caller is not None:
                caller.age = caller.traits.age
        return plan

    def _call_neighbour(self, empty: Home) -> Cell | None:
        """Let the resting cell nearest to an empty home go on to divide into it, and return it."""
        homes = {cell: cell.home for cell in self.cells if cell.home and not cell.dead and not cell.empty_home}
        nearest = min(homes, key=lambda cell: homes[cell].distance(empty), default=None)
        if nearest is not None:
            nearest.empty_home = empty
        return nearest

    def _add(
        self, x: float, y: float, mother: Cell | None = None, heading: float | None = None, home: Home | None = None
    ) -> None:
        self._count += 1
        traits = draw_traits(self.seed, self._count, self.look.granules)
        self.cells.append(
            Cell(
                number=self._count,
                traits=traits,
                x=float(x) % self.size_um[1],
                y=float(y) % self.size_um[0],
                heading=traits.heading if heading is None else heading,
                age=traits.age if mother is None else 0.0,
                cycle_h=self.look.cycle_h * traits.cycle,
                # Sisters resemble their mother: without this a division would change the signal by half.
                brightness=traits.brightness if mother is None else mother.brightness**0.8 * traits.brightness**0.2,
                born_h=None if mother is None else self.time_h,
                home=home,
            )
        )

    def _move(self, cell: Cell, draw: list[float]) -> None:
        if cell.dead or cell.mitotic:
            return
        cell.heading += 0.5 * math.sqrt(2 * TICK_H / self.look.persistence_h) * draw[0]
        gait = 0.55 + 0.45 * math.sin(2 * math.pi * self.time_h / 1.7 + cell.traits.speed_phase)
        step = self.look.speed_um_h * cell.traits.size * gait * TICK_H
        jitter = 0.25 * math.sqrt(12 * TICK_H)
        x = cell.x + step * math.cos(cell.heading) + jitter * draw[1]
        y = cell.y + step * math.sin(cell.heading) + jitter * draw[2]
        if cell.home is not None:
            x = _pull(x, cell.home.x, self.size_um[1])
            y = _pull(y, cell.home.y, self.size_um[0])
        cell.x, cell.y = x % self.size_um[1], y % self.size_um[0]

    def _age(self, cell: Cell, chance: float) -> None:
        if cell.dead:
            return
        resting = cell.home is not None and cell.empty_home is None and cell.age >= _REST_AGE
        if not resting:
            cell.age += TICK_H / cell.cycle_h
        if chance < self.look.death_per_h * TICK_H and not cell.mitotic:
            cell.died_h = self.time_h
            for empty in (cell.home, cell.empty_home):
                if empty is not None:
                    self._call_neighbour(empty)

    def _divide(self, mother: Cell) -> None:
        self.cells.remove(mother)
        homes = (mother.home, mother.empty_home)
        if mother.home is not None and mother.empty_home is not None:
            # The daughter on the side of the empty home takes it.
            away = math.sin(mother.heading) * (mother.empty_home.x - mother.home.x)
            away -= math.cos(mother.heading) * (mother.empty_home.y - mother.home.y)
            homes = homes if away > 0 else homes[::-1]
        apart_um = _DAUGHTER_UM if mother.home is None else _DAUGHTER_AT_HOME_UM
        for heading, home in zip((mother.heading + math.pi / 2, mother.heading - math.pi / 2), homes, strict=True):
            x = mother.x + apart_um * math.cos(heading)
            y = mother.y + apart_um * math.sin(heading)
            self._add(x, y, mother, heading, home)

    def _push(self) -> None:
        """Move neighbours apart (and, in a sheet, together), at most 3.5 um."""
        if len(self.cells) < 2 or not self.look.spacing_um:
            return
        size = np.array(self.size_um[::-1])
        at = np.array([(cell.x, cell.y) for cell in self.cells]) % size
        reach = self.look.spacing_um
        # A radius of half the torus would meet the same neighbour twice.
        pairs = cKDTree(at, boxsize=size).query_pairs(min(1.25 * reach, 0.49 * size.min()), output_type="ndarray")
        first, second = pairs[:, 0], pairs[:, 1]
        apart = at[first] - at[second]
        apart -= size * np.round(apart / size)
        distance = np.hypot(apart[:, 0], apart[:, 1]) + 1e-6
        strength = 0.35 * (reach - distance) * np.where(distance < reach, 1.0, self.look.attraction)
        force = apart * (strength / distance)[:, None]
        move = np.zeros_like(at)
        np.add.at(move, first, force)
        np.add.at(move, second, -force)
        length = np.hypot(move[:, 0], move[:, 1])
        at = (at + move * np.minimum(1, _PUSH_LIMIT_UM / (length + 1e-6))[:, None]) % size
        for cell, (x, y) in zip(self.cells, at.tolist(), strict=True):
            cell.x, cell.y = x, y


def _pull(at: float, home: float, size: float) -> float:
    """Return a coordinate on a torus a little nearer to that of the home."""
    away = at - home
    return home + _PULL * (away - size * round(away / size))
