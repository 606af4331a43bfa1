"""Looks: frozen parameter sets of the simulated specimens and of the microscope that looks at them."""

from __future__ import annotations

from typing import Any, Literal, Self

from pydantic import Field, model_validator

from livestain.errors import UserError
from livestain.settings import Settings
from livestain.specimen.optics import Optics


class Look(Settings):
    """What grows in the dish, and how it is imaged; every number can be replaced."""

    name: Literal["spindle", "sheet", "rosette"] = Field(
        description="which bodies are drawn: separate spindles, a sheet or a rosette with its strings"
    )
    pixel_um: float = Field(gt=0.05, le=3, description="pixel size in um")
    z_um: float = Field(ge=-50, le=50, description="focal plane in um; above 0: downstream of the cells")
    optics: Optics = Field(description="objective and condenser")
    electrons: float = Field(default=9000, ge=10, description="photo-electrons of an empty bright-field pixel")
    density_mm2: float = Field(
        ge=0, le=20000, description="cells per mm2 at the start; 0: a rosette, which has its plan"
    )
    spacing_um: float = Field(ge=0, description="cells nearer than this push each other away, um; 0: none do")
    attraction: float = Field(
        default=0, ge=0, le=1, description="pull between neighbours beyond that, share of the push"
    )
    colonies_mm2: float = Field(default=0, ge=0, description="islands per mm2 at the start; 0: cells anywhere")
    nucleus_um: tuple[float, float] = Field(description="typical semi-axes of a nucleus, um")
    index_step: float = Field(gt=0, le=0.1, description="refractive index of cells above that of the medium")
    speed_um_h: float = Field(ge=0, le=60, description="speed of a cell, um per h")
    persistence_h: float = Field(gt=0, description="time in which a cell forgets its heading, h")
    cycle_h: float = Field(default=24, gt=3, description="time between divisions, h")
    death_per_h: float = Field(default=0.0035, ge=0, le=1, description="chance of a cell to die in an hour")
    granules: int = Field(ge=0, le=2000, description="granules and vacuoles of a cell")
    debris_mm2: float = Field(ge=0, description="lumps of debris per mm2")
    haze: tuple[float, float] = Field(
        default=(0.25, 0.40), description="share of the light out of focus: of nuclei, of membranes"
    )
    arm_length: float = Field(
        default=1, gt=0, le=2, description="length of the arms of spindle cells relative to usual"
    )

    @model_validator(mode="after")
    def _require_density(self) -> Self:
        if (self.density_mm2 > 0) == (self.name == "rosette"):
            raise ValueError(
                f"density_mm2 {self.density_mm2} of a {self.name}: a rosette has as many cells as its plan and needs 0,"
                " every other look a number above 0"
            )
        return self

    def replace(self, **changes: Any) -> Self:
        """Return this look with some numbers replaced and all of them checked again.

        Raises
        ------
        pydantic.ValidationError
            An unknown name, or a value out of range.
        """
        return type(self).model_validate(self.model_dump() | changes)


SPINDLE = Look(
    name="spindle",
    pixel_um=0.65,
    z_um=-6.0,
    optics=Optics(na=0.30, na_condenser=0.12),
    density_mm2=350,
    spacing_um=41.6,
    nucleus_um=(9.5, 6.5),
    index_step=0.024,
    speed_um_h=18,
    persistence_h=2.0,
    cycle_h=24,
    granules=260,
    debris_mm2=160,
)
"""Separate, thin, pointed cells like fibroblasts (BJ-5ta), 10x objective."""

SHEET = Look(
    name="sheet",
    pixel_um=0.5,
    z_um=-3.0,
    optics=Optics(na=0.45, na_condenser=0.20),
    density_mm2=2046,
    spacing_um=16.5,
    attraction=0.12,
    colonies_mm2=45,
    nucleus_um=(6.9, 5.6),
    index_step=0.028,
    speed_um_h=6,
    persistence_h=0.7,
    cycle_h=22,
    granules=90,
    debris_mm2=90,
)
"""Islands of touching cells like HEK293T, 20x objective."""

ROSETTE = Look(
    name="rosette",
    pixel_um=0.26,
    z_um=-3.0,
    optics=Optics(na=0.45, na_condenser=0.20),
    density_mm2=0,
    spacing_um=0,
    nucleus_um=(3.9, 2.5),
    index_step=0.024,
    speed_um_h=1,
    persistence_h=0.3,
    cycle_h=30,
    granules=14,
    debris_mm2=0,
    haze=(0.45, 0.50),
)
"""A neuromast of a zebrafish with its strings, under the skin, 25x objective: small nuclei, much light out of focus."""

_BY_NAME = {look.name: look for look in (SPINDLE, SHEET, ROSETTE)}


def find_look(look: str | Look) -> Look:
    """Return the look of this name, or the look itself.

    Raises
    ------
    UserError
        There is no look of this name.
    """
    if isinstance(look, Look):
        return look
    if look not in _BY_NAME:
        raise UserError(f"unknown specimen: {look!r} (there are: {', '.join(_BY_NAME)})")
    return _BY_NAME[look]
