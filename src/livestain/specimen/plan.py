"""Plan of a neuromast: rings of cells round a middle, a mantle, and a string of cells on both sides of it."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from livestain.contrast import Field

_RINGS = ((3.0, 5), (8.3, 12), (14.4, 19), (20.6, 25))
"""Radius in um and number of cells of each ring."""
_MANTLE = (26.3, 17)
_HAIR_UM = 10.0
"""Cells of the rings within this radius are hair cells."""
_OUTLINE_UM = 29.5
_RADIUS_UM, _STRING_RADIUS_UM = 5.2, 4.2
_STRING_START_UM, _STRING_STEP_UM, _STRING_STRETCH = 36.0, 10.5, 6.0
_STRING_NUCLEUS_UM = (4.6, 1.8)
_BEYOND_UM = 25.0
"""So far outside the field the strings go on: less than half of what the world is larger than the field."""


@dataclass(frozen=True, slots=True)
class Home:
    """The place to which a cell is tethered, and the form it takes there.

    Attributes
    ----------
    x, y
        Um from the corner of the field; may lie outside it.
    angle, stretch
        Direction of the long axis in rad, ratio of the axes.
    radius_um, nucleus_um
        Radius of the unstretched cell; typical semi-axes of its nucleus, None: those of the look.
    fenced
        Whether the outline of the rosette bounds it.
    hair
        Direction of the hair bundle in rad; None: no hair cell.
    """

    x: float
    y: float
    angle: float
    stretch: float
    radius_um: float
    nucleus_um: tuple[float, float] | None
    fenced: bool
    hair: float | None = None

    def distance(self, other: Home) -> float:
        """Um to another home."""
        return math.hypot(self.x - other.x, self.y - other.y)


class Plan:
    """Where the cells of a rosette live; ``homes`` go ring by ring from the middle, then along the strings.

    Parameters
    ----------
    field_um
        (Y, X) um of the field, in whose middle it lies.
    rng
        Decides on its tilt, its irregularity and the course of the strings.
    """

    def __init__(self, field_um: tuple[float, float], rng: np.random.Generator) -> None:
        self._x, self._y = (side / 2 + float(rng.normal(0, 3)) for side in field_um[::-1])
        self._ratio = float(rng.uniform(1.05, 1.2))
        self._turn = float(rng.uniform(0, math.pi))
        self._phases: tuple[float, ...] = tuple(rng.uniform(0, 2 * math.pi, 3).tolist())
        homes = [home for radius, count in (*_RINGS, _MANTLE) for home in self._ring(radius, count, rng)]
        along = float(rng.uniform(0, 2 * math.pi))
        for course in (along, along + math.pi):
            homes += self._string(course, field_um, rng)
        self.homes = tuple(homes)

    def depth(self, x: Field, y: Field) -> Field:
        """Return how far inside the outline places lie, um, below 0 outside; ``x``, ``y`` um, (1, w) and (h, 1)."""
        dx, dy = x - np.float32(self._x), y - np.float32(self._y)
        cosine, sine = math.cos(self._turn), math.sin(self._turn)
        u, v = (dx * cosine + dy * sine) * (1 / self._ratio), dy * cosine - dx * sine
        angle = np.arctan2(v, u)
        second, third, seventh = self._phases
        lobes = 0.03 * np.cos(2 * angle + second) + 0.025 * np.cos(3 * angle + third)
        lobes += 0.012 * np.cos(7 * angle + seventh)
        return (_OUTLINE_UM * (1 + lobes) - np.hypot(u, v)).astype(np.float32, copy=False)

    def _ring(self, radius_um: float, count: int, rng: np.random.Generator) -> list[Home]:
        start = rng.uniform(0, 2 * math.pi)
        angles = start + 2 * math.pi * np.arange(count) / count + rng.normal(0, 0.07, count)
        aways = radius_um + rng.normal(0, 0.55, count)
        hairs = self._turn + rng.normal(0, 0.15, count) + math.pi * rng.integers(0, 2, count)
        places = zip(angles.tolist(), aways.tolist(), hairs.tolist(), strict=True)
        return [self._ring_home(angle, away, radius_um, hair) for angle, away, hair in places]

    def _ring_home(self, angle: float, away_um: float, ring_um: float, hair: float) -> Home:
        u, v = self._ratio * away_um * math.cos(angle), away_um * math.sin(angle)
        cosine, sine = math.cos(self._turn), math.sin(self._turn)
        dx, dy = u * cosine - v * sine, u * sine + v * cosine
        outward = math.atan2(dy, dx)
        # Cells of the rings point to the middle, those of the mantle lie round it.
        mantle = ring_um == _MANTLE[0]
        return Home(
            x=self._x + dx,
            y=self._y + dy,
            angle=outward + math.pi / 2 if mantle else outward,
            stretch=2.0 if mantle else 1 + 0.5 * min(ring_um / 15, 1),
            radius_um=_RADIUS_UM,
            nucleus_um=None,
            fenced=True,
            hair=hair if ring_um < _HAIR_UM else None,
        )

    def _string(self, course: float, field_um: tuple[float, float], rng: np.random.Generator) -> list[Home]:
        """Cells one behind the other until the string has left the field; it winds a little."""
        x = self._x + _STRING_START_UM * math.cos(course)
        y = self._y + _STRING_START_UM * math.sin(course)
        homes = []
        while -_BEYOND_UM < x < field_um[1] + _BEYOND_UM and -_BEYOND_UM < y < field_um[0] + _BEYOND_UM:
            homes.append(Home(x, y, course, _STRING_STRETCH, _STRING_RADIUS_UM, _STRING_NUCLEUS_UM, False))
            course += float(rng.normal(0, 0.06))
            x += _STRING_STEP_UM * math.cos(course)
            y += _STRING_STEP_UM * math.sin(course)
        return homes
