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

_STRIP_ROWS = 32


@dataclass(frozen=True, slots=True)
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
            rows, columns = viewport.sampled()
            if half is not None:
                rows, columns = rows // 2, columns // 2
            made = self._made[layer] = _Made(plane, viewport, table, sample(plane, rows, columns, table))
            self.samples_made += 1
        return made.levels

    def _table(self, layer: int, view: LayerView, dtype: np.dtype[np.generic]) -> Levels:
        key = (view.limits, view.gamma, dtype)
        known = self._tables.get(layer)
        if known is None or known[0] != key:
            known = self._tables[layer] = key, make_table(view.limits, view.gamma, dtype)
            self.tables_made += 1
        return known[1]


def sample(plane: Counts, rows: Indices, columns: Indices, table: Levels) -> Levels:
    """Return the levels of a (Y, X) plane at ``rows`` x ``columns``, both ascending.

    Each row is looked up once however often it is shown, and in strips that stay in the cache: 1.6 and 2.4 ms for
    800 x 800 and 1280 x 800 px, where flat indices kept for the whole view take 1.8 and 3.7 ms and 8 bytes a px.
    """
    distinct, place = np.unique(rows, return_inverse=True)
    levels = np.empty((len(distinct), len(columns)), np.uint8)
    for start in range(0, len(distinct), _STRIP_ROWS):
        strip = slice(start, start + _STRIP_ROWS)
        # "clip" spares numpy the search for a place outside, and a copy.
        counts = plane.take(distinct[strip], axis=0, mode="clip").take(columns, axis=1, mode="clip")
        table.take(counts, out=levels[strip], mode="clip")
    return levels if len(distinct) == len(rows) else levels.take(place, axis=0)


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
