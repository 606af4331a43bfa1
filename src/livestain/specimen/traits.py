"""Traits: what a cell has for life, drawn once from its own stream of random numbers."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from livestain.contrast import Field

_ARM_COUNTS = ((2, 0.22), (3, 0.33), (4, 0.28), (5, 0.17))
_NUCLEOLUS_COUNTS = ((1, 0.2), (2, 0.4), (3, 0.3), (4, 0.1))
_STREAM = 2


@dataclass(frozen=True, slots=True)
class Arm:
    """One arm of a spindle cell; lengths in um, angles in rad from the heading, phases in rad."""

    angle: float
    length_um: float
    bend: float
    taper: float
    tip_um: float
    fan_um: float
    length_phase: float
    angle_phase: float


@dataclass(frozen=True, slots=True)
class Nucleolus:
    """Place inside the nucleus (radius 0..1, angle in rad) and width relative to the mean semi-axis."""

    radius: float
    angle: float
    width: float


@dataclass(frozen=True, slots=True, eq=False)
class Traits:
    """What a cell has for life.

    Attributes
    ----------
    size, height, brightness, membrane, junction
        Factors around 1 (brightness is that of the DNA stain, membrane and junction those of the membrane stain).
    cycle
        Length of its cycle relative to the look's.
    nucleus_axes, nucleus_offset_um
        Factors of the nuclear semi-axes; offset of the centre in the cell's frame.
    lobes
        Two amplitudes and two phases of the nuclear outline's second and third harmonic.
    heading, stretch, speed_phase, swing_phase, age
        Angle at birth, axis ratio in a sheet, phases of the changing speed and of the swinging granules, and the
        share of its cycle that is over if it is there from the start.
    texture_um, drift_um_h
        (3, 2) offsets of its textures (edge, body, nucleus); how fast the edge's drifts.
    arms, nucleoli
        See there.
    granules
        (N, 4) uniform random numbers, float32: radius, angle, width, strength.
    """

    size: float
    height: float
    brightness: float
    membrane: float
    junction: float
    cycle: float
    nucleus_axes: tuple[float, float]
    nucleus_offset_um: tuple[float, float]
    lobes: tuple[float, float, float, float]
    heading: float
    stretch: float
    speed_phase: float
    swing_phase: float
    age: float
    texture_um: Field
    drift_um_h: tuple[float, float]
    arms: tuple[Arm, ...]
    nucleoli: tuple[Nucleolus, ...]
    granules: npt.NDArray[np.float32]


def draw_traits(seed: int, number: int, granules: int) -> Traits:
    """Return the traits of the cell of this number: the same whatever else was drawn before."""
    rng = np.random.default_rng((seed, _STREAM, number))
    axes = (_log_normal(rng, 0.10), _log_normal(rng, 0.10))
    drift, direction = rng.uniform(3, 9), rng.uniform(0, 2 * math.pi)
    return Traits(
        size=_log_normal(rng, 0.14),
        height=_log_normal(rng, 0.2),
        brightness=_log_normal(rng, 0.28),
        membrane=_log_normal(rng, 0.3),
        junction=0.6 + 0.4 * _log_normal(rng, 0.3),
        cycle=_log_normal(rng, 0.12),
        nucleus_axes=axes,
        nucleus_offset_um=(float(rng.normal(0, 0.8)), float(rng.normal(0, 0.8))),
        lobes=(float(rng.normal(0, 0.035)), float(rng.normal(0, 0.035)), _angle(rng), _angle(rng)),
        heading=_angle(rng),
        stretch=float(rng.uniform(1, 1.45)),
        speed_phase=_angle(rng),
        swing_phase=_angle(rng),
        age=float(rng.uniform(0, 0.93)),
        texture_um=rng.uniform(0, 64, (3, 2)).astype(np.float32),
        drift_um_h=(float(drift * math.cos(direction)), float(drift * math.sin(direction))),
        arms=_draw_arms(rng),
        nucleoli=_draw_nucleoli(rng),
        granules=rng.random((granules, 4), np.float32),
    )


def _draw_arms(rng: np.random.Generator) -> tuple[Arm, ...]:
    """Two long arms, fore and aft; the others short and anywhere."""
    return tuple(
        Arm(
            angle=float(i * math.pi + rng.normal(0, 0.25)) if i < 2 else _angle(rng),
            length_um=float(rng.uniform(26, 60) if i < 2 else rng.uniform(14, 36)),
            bend=float(rng.normal(0, 0.10)),
            taper=float(rng.uniform(1.2, 2)),
            tip_um=float(rng.uniform(1.0, 1.8)),
            fan_um=float(rng.uniform(1.5, 4)) if rng.random() < 0.1 else 0.0,
            length_phase=_angle(rng),
            angle_phase=_angle(rng),
        )
        for i in range(_choose(rng, _ARM_COUNTS))
    )


def _draw_nucleoli(rng: np.random.Generator) -> tuple[Nucleolus, ...]:
    count = _choose(rng, _NUCLEOLUS_COUNTS)
    return tuple(
        Nucleolus(0.58 * math.sqrt(rng.random()), _angle(rng), float(0.75 + 0.5 * rng.random()) / 7)
        for _ in range(count)
    )


def _choose(rng: np.random.Generator, chances: tuple[tuple[int, float], ...]) -> int:
    return int(rng.choice([count for count, _ in chances], p=[p for _, p in chances]))


def _log_normal(rng: np.random.Generator, sd: float) -> float:
    return math.exp(rng.normal(0, sd))


def _angle(rng: np.random.Generator) -> float:
    return float(rng.uniform(0, 2 * math.pi))
