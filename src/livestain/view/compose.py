"""From camera counts to what the screen needs: sampled at the screen's pixels, 8 bit a layer; numpy alone.

A layer is sampled at the nearest image px of each device px, then limits and gamma are one look-up. Cost follows the
screen, not the camera, and nothing is done again that has not changed. Colour comes last, in a table of 256 entries:
changing it costs nothing. The layers are added up, and saturate.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from livestain.frames import Counts
from livestain.view.picture import Picture
from livestain.view.state import LayerView
from livestain.view.viewport import Indices, Viewport

Levels = npt.NDArray[np.uint8]
"""(h, w) uint8: a layer at the device px that show the image, 0 = black .. 255 = full colour."""

Colors = npt.NDArray[np.uint8]
"""(256, 3) uint8: the red, green and blue of each level."""

HALF_BELOW = 0.5
"""Up to this scale the half-size planes are sampled: at 0.39 the nearest px of the whole plane frays thin membranes."""


@dataclass(slots=True)
class _Made:
    """The levels of a layer, with all they were made from."""

    plane: Counts
    viewport: Viewport
    table: Levels
    levels: Levels


class Composer:
    """Makes the levels of layers, and keeps what can be used again. Belongs to one thread.

    Attributes
    ----------
    tables_made, samples_made
        How often a look-up table, and the levels of a layer, had to be made.
    """

    def __init__(self) -> None:
        self.tables_made = 0
        self.samples_made = 0
        self._tables: dict[int, tuple[object, Levels]] = {}
        self._made: dict[int, _Made] = {}
        self._indices: dict[bool, tuple[Viewport, Indices]] = {}

    def levels(self, layer: int, view: LayerView, picture: Picture, viewport: Viewport) -> Levels | None:
        """Return the levels of a layer of ``picture``; None where its plane is not there or is of another size.

        They are of the size of ``viewport.rows`` x ``viewport.columns``, and valid until the next call for this layer.
        """
        whole = picture.planes[layer]
        if whole is None or whole.shape != viewport.shape:
            return None
        half = picture.halves[layer] if viewport.scale <= HALF_BELOW and layer < len(picture.halves) else None
        plane = whole if half is None else half
        table = self._table(layer, view, plane.dtype)
        made = self._made.get(layer)
        if made is None or made.plane is not plane or made.viewport != viewport or made.table is not table:
            index = self._index(viewport, half is not None)
            made = self._made[layer] = _Made(plane, viewport, table, look_up(plane, index, table))
            self.samples_made += 1
        return made.levels

    def _table(self, layer: int, view: LayerView, dtype: np.dtype[np.generic]) -> Levels:
        key = (view.limits, view.gamma, dtype)
        known = self._tables.get(layer)
        if known is None or known[0] != key:
            known = self._tables[layer] = key, make_table(view.limits, view.gamma, dtype)
            self.tables_made += 1
        return known[1]

    def _index(self, viewport: Viewport, half: bool) -> Indices:
        known = self._indices.get(half)
        if known is None or known[0] != viewport:
            known = self._indices[half] = viewport, flat_index(viewport, half)
        return known[1]


def flat_index(viewport: Viewport, half: bool = False) -> Indices:
    """Return (h, w): the place of each shown px in the flattened plane, or in the flattened half-size plane."""
    rows, columns = viewport.sampled()
    width = viewport.shape[1]
    if half:
        rows, columns, width = rows // 2, columns // 2, (width + 1) // 2
    return rows[:, None] * width + columns


def look_up(plane: Counts, index: Indices, table: Levels) -> Levels:
    """Return the levels (h, w) of a (Y, X) plane at flat places ``index`` (h, w)."""
    # "clip" spares numpy the search for a place outside, and a copy.
    levels: Levels = table.take(plane.take(index, mode="clip"), mode="clip")
    return levels


def make_table(limits: tuple[float, float], gamma: float, dtype: np.dtype[np.generic]) -> Levels:
    """Return the level of each count: ``((v - low) / (high - low)) ** gamma`` of 255; (256,) or (65536,)."""
    low, high = limits
    counts = np.arange(1 << 8 * dtype.itemsize, dtype=np.float32)
    share: npt.NDArray[np.float32] = np.clip((counts - np.float32(low)) / np.float32(high - low), 0, 1)
    if gamma != 1.0:
        share **= np.float32(gamma)
    levels: Levels = np.rint(share * 255).astype(np.uint8)
    return levels


def make_colors(color: str, opacity: float) -> Colors:
    """Return the colour of each level; ``color`` is hexadecimal RGB, and black is level 0."""
    full = np.array([int(color[at : at + 2], 16) for at in (0, 2, 4)], np.float64)
    return np.rint(np.arange(256)[:, None] / 255 * full * opacity).astype(np.uint8)


def add_up(layers: Sequence[tuple[Levels, Colors]]) -> npt.NDArray[np.uint8]:
    """Return (h, w, 3) uint8: the sum of one or more layers, saturated at 255. The reference of what Qt draws."""
    total = np.zeros((*layers[0][0].shape, 3), np.uint32)
    for levels, colors in layers:
        total += colors[levels]
    return np.minimum(total, 255).astype(np.uint8)
