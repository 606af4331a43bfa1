"""Planes that are ready to be stained, one or several at a time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from livestain.engine.protocol import Engine, Given
from livestain.errors import StainerError
from livestain.frames import Counts
from livestain.stainer.shades import Shade, Shades
from livestain.stainer.slots import Tag


@dataclass(frozen=True, slots=True)
class ReadyPlane:
    """A plane with its background, its gain, and what the engine gets."""

    tag: Tag
    image: Counts
    shade: Shade
    gain: float
    given: Given


def make_ready(tag: Tag, image: Counts, shades: Shades, constant: float) -> ReadyPlane:
    """Return a plane with what its stain needs; ``constant`` is the model's contrast constant.

    Raises
    ------
    FrameError
        It has not the shape of its background.
    StainerError
        Its position has no background.
    """
    shade = shades.find(tag.key)
    if shade is None:
        raise StainerError(f"{tag.key} has no background")
    background = shade.background
    gain = background.gain(image)
    return ReadyPlane(
        tag, image, shade, gain, Given(image, background.shade(constant, gain), background.black, 1 / constant)
    )


def stain_together(engine: Engine, planes: Sequence[ReadyPlane]) -> list[npt.NDArray[np.uint16]]:
    """Return the (S, Y, X) uint16 stain of each plane; blocks, raises what the engine raises."""
    if len(planes) > 1:
        return engine.stain_many([plane.given for plane in planes])
    given = planes[0].given
    return [engine.stain(given.image, given.shade, given.black, given.offset)]
