"""What livestain itself adds to a BioImage.IO model description, under ``config.livestain``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import Field

from livestain.settings import Settings


class StainChannel(Settings):
    """One output channel of the generator."""

    name: str = Field(description="what is stained, such as 'nuclei'; shown as 'virtual: nuclei'")
    color: str = Field(pattern=r"^[0-9A-Fa-f]{6}$", description="display colour, hexadecimal RGB")


class ContrastRange(Settings):
    """The label-free normalisation of this model and the ranges seen in training (see `livestain.contrast`)."""

    constant: float = Field(gt=0, description="contrast constant c")
    sd: tuple[float, float] = Field(description="standard deviation of the contrast of a frame, from and to")
    saturated_max: float = Field(ge=0, le=1, description="largest share of clipped pixels of a frame")
    gain: tuple[float, float] = Field((0.5, 2.0), description="brightness against the background frame, from and to")


class GateFrame(Settings):
    """A camera frame on which every engine is checked before use; files lie in the model folder.

    ``frame`` is (Y, X) uint16 counts (.npy), ``shade`` float32 on the 1/8 grid (.npy); the expected stains are the
    test tensor of the model's output, and the contrast of this frame is the test tensor of its input.
    """

    frame: str
    shade: str
    black: float
    sha256: dict[str, str] = Field(description="file name -> sha256, for both files")


class Score(Settings):
    """One measured figure: how well a predictor did on held-out images."""

    predictor: str = Field(description="'this model', or the name of a baseline")
    data: str
    stain: str
    metric: str
    value: float


class LivestainCard(Settings):
    """The block ``config.livestain``; unknown keys are refused, so that nothing in it is silently ignored."""

    version: Literal[1] = 1
    stains: tuple[StainChannel, ...] = Field(min_length=1)
    modality: str = Field(description="'bright field', 'phase contrast', 'DIC', ...")
    pixel_um: float = Field(gt=0, description="pixel size in training, um")
    pixel_um_tolerated: tuple[float, float] = Field(description="from and to, um")
    defocus_um: tuple[float, float] | None = Field(None, description="defocus seen in training, from and to, um")
    contrast: ContrastRange
    stride: int = Field(ge=1, description="height and width of the network's input are multiples of this")
    halo: int = Field(ge=0, description="how far the output of a pixel depends on the input, px")
    caution: str = Field("", description="one line shown wherever the model is used; empty when there is none")
    training: dict[str, Any] = Field(default_factory=dict, description="recipe, data fingerprint, schedule, seeds")
    scores: tuple[Score, ...] = ()
    limits: tuple[str, ...] = Field((), description="sentences: where the model is known to fail or was never tested")
    gate: GateFrame
    inverse: str | None = Field(None, description="file of the inverse generator, if there is one")

    @property
    def trained_pixel_um(self) -> float | None:
        """The pixel size in training, um; None where the images did not state theirs (`pixel_um` is 1 then)."""
        stated = self.training.get("pixel_um")
        return None if isinstance(stated, Mapping) and not any(stated.values()) else self.pixel_um
