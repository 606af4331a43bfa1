"""Overlapping tiles: a frame that is too large for the device, stained piece by piece, and the same as whole.

No layer of a generator looks at the whole image, so a pixel depends on its neighbourhood (the model's halo) alone.
Tiles begin where the strides of the network and the grid of the shade begin; only at the right and lower border of the
frame does a tile end as the frame does, and is reflected there as the frame is. All tiles have one size: a library that
compiles for one frame size compiles once.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from livestain.contrast import SHADE_PX
from livestain.engine.protocol import Given
from livestain.frames import MIN_SIDE_PX

Slices = tuple[slice, slice]


@dataclass(frozen=True, slots=True)
class Tile:
    """One piece of a frame, as slices (Y, X).

    Attributes
    ----------
    read
        Of the frame: what the engine is given.
    shade
        Of the shade: what belongs to it.
    keep
        Of the frame: what is taken from the result; that of all tiles covers every pixel once.
    inside
        Of the result: where that lies.
    """

    read: Slices
    shade: Slices
    keep: Slices
    inside: Slices


def tile_step(stride: int) -> int:
    """Return what the origins of tiles are multiples of, px: the network's stride and the shade's grid."""
    return math.lcm(SHADE_PX, stride)


def smallest_tile(halo: int, step: int) -> int:
    """Return the least side of a tile, px: what both borders cost, two steps, and no less than a frame may have."""
    return max(2 * _margin(halo) + 2 * step, MIN_SIDE_PX + step)


def plan_tiles(shape: tuple[int, int], tile_px: int, halo: int, step: int) -> list[Tile]:
    """Return the tiles for frames of one shape: all of one size, as few as there can be, and no larger than need be.

    Parameters
    ----------
    shape
        (Y, X) of the frame, px.
    tile_px
        No side of a tile is longer than this; at least `smallest_tile`.
    halo
        How far the stain of a pixel depends on the frame, px.
    step
        From `tile_step`.
    """
    least = smallest_tile(halo, step)
    if tile_px < least:
        raise ValueError(f"tiles of {tile_px} px: a halo of {halo} px needs at least {least} px")
    rows, columns = (_spans(size, tile_px, _margin(halo), step) for size in shape)
    return [Tile(*zip(y, x, strict=True)) for y in rows for x in columns]


def stain_in_tiles(
    stain: Callable[[Given], npt.NDArray[np.uint16]], frame: Given, tiles: Sequence[Tile], stains: int
) -> npt.NDArray[np.uint16]:
    """Return the (S, Y, X) uint16 stains of a frame, from those that ``stain`` gives of its tiles one after the other.

    Equal to the stain of the whole frame where ``tiles`` were planned with the model's halo; at float32 within one
    count of 65535, since libraries sum in an order that depends on the size. Whatever ``stain`` raises is passed on.
    """
    whole = np.empty((stains, *frame.image.shape), np.uint16)
    for tile in tiles:
        part = stain(Given(frame.image[tile.read], frame.shade[tile.shade], frame.black, frame.offset))
        whole[:, *tile.keep] = part[:, *tile.inside]
    return whole


def _margin(halo: int) -> int:
    """How far from an inner border a stain is wrong: the shade there is held, not interpolated, for half its step."""
    return halo + SHADE_PX // 2


def _spans(size: int, tile_px: int, margin: int, step: int) -> list[tuple[slice, slice, slice, slice]]:
    """What a tile reads, its shade, what it keeps and where that lies in it, along one axis."""
    side, starts = _starts(size, tile_px, margin, step)
    # Cut in the middle of the overlap: as far as can be from both borders.
    cuts = [0, *((second + first + side) // 2 for first, second in itertools.pairwise(starts)), size]
    return [
        (
            slice(start, start + side),
            slice(start // SHADE_PX, -(-(start + side) // SHADE_PX)),
            slice(begin, end),
            slice(begin - start, end - start),
        )
        for start, (begin, end) in zip(starts, itertools.pairwise(cuts), strict=True)
    ]


def _starts(size: int, tile_px: int, margin: int, step: int) -> tuple[int, list[int]]:
    """The side of the tiles along one axis, and where each begins."""
    if size <= tile_px:
        return size, [0]
    # The last tile begins at a whole step, too, and ends with the frame: so much may the side differ from tile_px.
    side = tile_px - (tile_px - size) % step
    count = _further(size, side, margin, step)
    while side - step >= MIN_SIDE_PX and _further(size, side - step, margin, step) == count:
        side -= step
    steps = (size - side) // step
    return side, [step * (i * steps // count) for i in range(count + 1)]


def _further(size: int, side: int, margin: int, step: int) -> int:
    """How many tiles there are after the first, each as far from the one before as the margins allow; 0: no way."""
    apart = (side - 2 * margin) // step
    return -(-((size - side) // step) // apart) if apart > 0 else 0
