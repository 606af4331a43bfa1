"""Pictures of a report: what went in, what was measured, what was predicted, and where they differ."""

from __future__ import annotations

import io
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from PIL import Image
from scipy import ndimage

from livestain.evaluate.judge import Look
from livestain.evaluate.labels import Labels
from livestain.evaluate.metrics import Plane
from livestain.frames import Counts

SIDE_PX = 320
_MEASURED_LINE = (255, 255, 255)
_FOUND_LINE = (255, 0, 255)
_TOO_BRIGHT, _TOO_DARK = (178, 24, 43), (33, 102, 172)

Picture = npt.NDArray[np.uint8]


class Panel(NamedTuple):
    """One picture with the line below it; ``png`` is a whole file."""

    caption: str
    png: bytes


def draw_panels(look: Look, color: str) -> list[Panel]:
    """Return the panels of one field: grey is measured, ``color`` (hexadecimal RGB) is virtual."""
    panels = []
    if look.label_free is not None:
        panels.append(_panel("label-free", _tint(_stretch(look.label_free), (255, 255, 255))))
    stain = look.result.stain
    panels.append(_panel(f"measured: {stain}", _tint(look.truth, (255, 255, 255))))
    panels.append(_panel(f"virtual: {stain}", _tint(look.predicted, _rgb(color))))
    panels.append(_panel("virtual minus measured: red too bright, blue too dark", _diverge(look)))
    if look.objects is not None and look.objects_found is not None:
        outlines = _outline(look.truth, look.objects, look.objects_found)
        panels.append(_panel("objects: white measured, magenta found", outlines))
    return panels


def _panel(caption: str, picture: Picture) -> Panel:
    image = Image.fromarray(picture)
    image.thumbnail((SIDE_PX, SIDE_PX), Image.Resampling.BOX)
    stream = io.BytesIO()
    image.save(stream, "PNG", optimize=True)
    return Panel(caption, stream.getvalue())


def _tint(plane: Plane, color: tuple[int, int, int]) -> Picture:
    return _bytes(plane[..., None] * np.array(color, np.float64))


def _diverge(look: Look) -> Picture:
    """White where equal; the full colour at a difference of half the range."""
    away = np.clip(2 * (look.predicted - look.truth), -1, 1)[..., None]
    end = np.where(away > 0, np.array(_TOO_BRIGHT, np.float64), np.array(_TOO_DARK, np.float64))
    return _bytes(255 + np.abs(away) * (end - 255))


def _outline(plane: Plane, objects: Labels, found: Labels) -> Picture:
    picture = _tint(0.6 * plane, (255, 255, 255))
    picture[_edges(objects)] = _MEASURED_LINE
    picture[_edges(found)] = _FOUND_LINE
    return picture


def _edges(labels: Labels) -> npt.NDArray[np.bool_]:
    inner = ndimage.minimum_filter(labels, size=3) == ndimage.maximum_filter(labels, size=3)
    edges: npt.NDArray[np.bool_] = (labels > 0) & ~inner
    return edges


def _stretch(image: Counts) -> Plane:
    low, high = np.percentile(image, (0.5, 99.5))
    stretched: Plane = np.clip((image.astype(np.float64) - low) / max(high - low, 1.0), 0, 1)
    return stretched


def _rgb(color: str) -> tuple[int, int, int]:
    return int(color[:2], 16), int(color[2:4], 16), int(color[4:], 16)


def _bytes(values: npt.NDArray[np.float64]) -> Picture:
    return np.asarray(np.rint(values), np.uint8)
