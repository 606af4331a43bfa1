"""Scene: the maps of one moment, on the padded grid."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from livestain.contrast import Field
from livestain.specimen.grid import Dots, Grid

Labels = npt.NDArray[np.int32]

DOT_ABSORPTION = 0.05
BODY_ABSORPTION = 0.006
UPPER_UM = 3.0
"""Height of the upper two fifths of the granules: one slab would vanish whole at focus, which no cell does."""


@dataclass(frozen=True, slots=True, eq=False)
class Maps:
    """The truth of one moment; every map is (Y, X) of the frame.

    Attributes
    ----------
    phase, absorption
        float32; phase in rad, absorption is mu of ``exp(i phase - mu)``.
    nuclei, membrane
        float32 fluorophore, no optics; 1 = a typical nucleus, membrane of the same order.
    cells, nuclear
        int32 number of the cell on top, and of the cell whose nucleus is there; 0 = none.
    """

    phase: Field
    absorption: Field
    nuclei: Field
    membrane: Field
    cells: Labels
    nuclear: Labels


@dataclass(slots=True, eq=False)
class Scene:
    """What the drawing functions add to; maps as in `Maps`, but padded, and the dots still apart."""

    grid: Grid
    phase: Field = field(init=False)
    nuclei: Field = field(init=False)
    membrane: Field = field(init=False)
    cells: Labels = field(init=False)
    nuclear: Labels = field(init=False)
    dots: list[Dots] = field(default_factory=list)

    def __post_init__(self) -> None:
        for name in ("phase", "nuclei", "membrane"):
            setattr(self, name, np.zeros(self.grid.padded, np.float32))
        for name in ("cells", "nuclear"):
            setattr(self, name, np.zeros(self.grid.padded, np.int32))
