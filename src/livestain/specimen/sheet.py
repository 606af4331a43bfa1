"""Sheets and rosettes: touching cells that share out the ground, each as far as its neighbours let it."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from livestain.contrast import Field
from livestain.specimen.bundle import draw_bundles
from livestain.specimen.grid import Dots, Grid
from livestain.specimen.life import Cell, Population
from livestain.specimen.looks import Look
from livestain.specimen.nucleus import chromatin, draw_nucleus, semi_axes
from livestain.specimen.plan import Plan
from livestain.specimen.scene import Scene
from livestain.specimen.texture import TEXEL_UM, TILE_PX, Textures, place


@dataclass(frozen=True, slots=True)
class Tissue:
    """What sheet and rosette differ in.

    Attributes
    ----------
    radius_um, height_um, junction_um
        Of a typical cell: half its width, its height, half the width of its stained border.
    nuclear_share, nuclear_offset
        A nucleus may take this share of its cell's ground, and is so far off its middle, in parts of its trait.
    wavy, uneven
        How far borders and free edges are from straight and round, 1 and 0.15 in a sheet.
    """

    radius_um: float
    height_um: float
    junction_um: float
    nuclear_share: float
    nuclear_offset: float
    wavy: float
    uneven: float


_SHEET = Tissue(
    radius_um=9.6, height_um=6.0, junction_um=0.42, nuclear_share=0.62, nuclear_offset=0.4, wavy=1.0, uneven=0.15
)
_ROSETTE = Tissue(
    radius_um=5.2, height_um=9.0, junction_um=0.34, nuclear_share=0.58, nuclear_offset=0.15, wavy=0.3, uneven=0.0
)


@dataclass(frozen=True, slots=True)
class _Tile:
    """One image of a cell (a torus has several), um; ``number`` counts images, from 1.

    It is ``stretch`` times longer than a disc of ``radius`` along ``angle`` (rad), and thinner by as much across.
    """

    number: int
    cell: Cell
    x: float
    y: float
    radius: float
    spread: float
    angle: float
    stretch: float

    @property
    def reach_um(self) -> float:
        """No pixel farther than this can be its own."""
        return max(1.75 * self.radius, 1.25 * self.radius * self.stretch) + 2

    def height_um(self, tissue: Tissue) -> float:
        """Height of the cell, lower in a narrow cell of a string."""
        home = self.cell.home
        narrow = 1.0 if home is None else (home.radius_um / tissue.radius_um) ** 2
        return tissue.height_um * self.cell.traits.height * narrow


@dataclass(frozen=True, slots=True, eq=False)
class _Ground:
    """Who owns which pixel.

    Attributes
    ----------
    owner
        (Y, X) int32 number of the tile, 0 = none.
    first, second
        (Y, X) float32 um: largest and second largest reach of all cells over this pixel, below 0 outside.
    depth
        (Y, X) float32 um: the largest reach, but in a rosette no more than the distance to the outline.
    """

    owner: npt.NDArray[np.int32]
    first: Field
    second: Field
    depth: Field


def draw_sheet(scene: Scene, life: Population, textures: Textures) -> None:
    """Draw all cells of ``life`` into ``scene``; a pixel belongs to the cell that reaches farthest over it.

    In a rosette no cell of the rings reaches beyond the outline of its plan.
    """
    tissue = _SHEET if life.plan is None else _ROSETTE
    tiles = _tiles(scene.grid, life, tissue)
    ground = _share_ground(scene.grid, tiles, life.plan, tissue, textures)
    _draw_bodies(scene, life.look, tiles, ground, tissue, textures)
    numbers = np.array([0] + [tile.cell.number for tile in tiles], np.int32)
    scene.cells[...] = numbers[ground.owner]
    for tile, (x, y, area_um2) in zip(tiles, _territories(scene.grid, tiles, ground.owner), strict=True):
        if area_um2 > 0:
            _draw_contents(scene, life, tile, (x, y), area_um2, tissue, textures)
    # All nuclei first: granules keep out of them.
    scene.dots.extend(_granules(scene, life, tile, ground.owner) for tile in tiles)
    draw_bundles(scene, life)


def _tiles(grid: Grid, life: Population, tissue: Tissue) -> list[_Tile]:
    tiles: list[_Tile] = []
    for cell in life.cells:
        spread, home, traits = cell.spread(life.time_h), cell.home, cell.traits
        radius = (tissue.radius_um if home is None else home.radius_um) * math.sqrt(cell.grown)
        if cell.dead:
            radius *= 0.72 + 0.28 * spread
        angle, stretch = (traits.heading, traits.stretch) if home is None else (home.angle, home.stretch)
        stretch = math.sqrt(1 + (stretch - 1) * spread)
        image = _Tile(0, cell, 0.0, 0.0, radius, spread, angle, stretch)
        for x, y in grid.copies(cell.x, cell.y, life.size_um, image.reach_um):
            tiles.append(replace(image, number=len(tiles) + 1, x=x, y=y))
    return tiles


def _share_ground(grid: Grid, tiles: list[_Tile], plan: Plan | None, tissue: Tissue, textures: Textures) -> _Ground:
    owner = np.zeros(grid.padded, np.int32)
    highest, next_highest = (np.full(grid.padded, -9, np.float32) for _ in range(2))
    warp_x, warp_y = (_warp(grid, textures, shift_um, tissue.wavy) for shift_um in (0.0, 24.0))
    # The outline waves with the borders.
    fence = None if plan is None else plan.depth(grid.x_um[None, :], grid.y_um[:, None]) + 1.5 * warp_x
    for tile in tiles:
        box = grid.square(tile.x, tile.y, tile.reach_um)
        if box is None:
            continue
        bend = 0.3 + 0.7 * tile.spread
        x, y = box.x + bend * warp_x[box.at], box.y + bend * warp_y[box.at]
        reach = _reach(tile, x, y, tissue, textures)
        if fence is not None and tile.cell.home is not None and tile.cell.home.fenced:
            reach[fence[box.at] <= 0] = -9
        first, second = highest[box.at], next_highest[box.at]
        wins = reach > first
        np.maximum(second, np.minimum(first, reach), out=second)
        first[wins] = reach[wins]
        owner[box.at][wins] = tile.number
    owner[highest <= 0] = 0
    # The string runs on outside the fence.
    depth = highest if fence is None else np.where(fence > 0, np.minimum(highest, fence), highest)
    return _Ground(owner, highest, next_highest, depth)


def _warp(grid: Grid, textures: Textures, shift_um: float, wavy: float) -> Field:
    """Displacement in um, the same for all cells, that makes junctions wavy."""
    at = place(grid.x_um[None, :] + shift_um, grid.y_um[:, None] + 2 * shift_um)
    warp: Field = 0.45 * textures.sample(2.5, at) + 1.7 * textures.sample(8.0, at)
    warp *= wavy
    return warp


def _reach(tile: _Tile, x: Field, y: Field, tissue: Tissue, textures: Textures) -> Field:
    """How far the cell reaches over places at (x, y) um from its middle, um."""
    traits, spread, stretch = tile.cell.traits, tile.spread, tile.stretch
    cosine, sine = math.cos(tile.angle), math.sin(tile.angle)
    distance: Field = np.hypot((x * cosine + y * sine) * (1 / stretch), (y * cosine - x * sine) * stretch)
    if tissue.uneven:
        at = place(x + traits.texture_um[0, 0], y + traits.texture_um[0, 1])
        # At least 0.75: what reaches farther would be cut off by the box.
        distance *= np.maximum(1 + (tissue.uneven * spread) * textures.sample(8.0, at), 0.75)
    reach: Field = tile.radius * (1.05 + 0.17 * spread) - distance
    return reach


def _draw_bodies(
    scene: Scene, look: Look, tiles: list[_Tile], ground: _Ground, tissue: Tissue, textures: Textures
) -> None:
    owner, inside = ground.owner, np.maximum(ground.depth, 0)
    cover = np.clip(0.5 + ground.depth * (1 / scene.grid.pixel_um), 0, 1)
    junction_um = np.minimum(0.5 * (ground.first - np.maximum(ground.second, 0)), inside)
    np.maximum(junction_um, 0, out=junction_um)
    at = _places(scene.grid, tiles, owner)
    grain = textures.sample(1.0, at)
    height = _by_owner(owner, [tile.height_um(tissue) for tile in tiles])
    height *= 1 - np.exp(junction_um * (-1 / 1.8))
    height *= 0.45 + 0.55 * np.clip(inside * (1 / (0.9 * tissue.radius_um)), 0, 1)
    height += 0.5 * np.minimum(inside, 1)
    scene.phase += (look.optics.phase_per_um * look.index_step) * cover * height * (1 + 0.06 * grain)
    membrane = cover * _by_owner(owner, [tile.cell.traits.membrane for tile in tiles]) * (0.16 + 0.05 * grain)
    junction = 0.9 * cover * np.exp(-np.square(junction_um * (1 / tissue.junction_um)))
    junction *= 1 + 0.30 * textures.sample(2.5, at)
    junction *= _by_owner(owner, [tile.cell.traits.junction for tile in tiles])
    junction *= np.where(ground.second < -1.2, np.float32(0.55), np.float32(1))
    scene.membrane += np.maximum(membrane + junction, 0)
    for tile in tiles:
        _raise_ball(scene, look, tile)


def _by_owner(owner: npt.NDArray[np.int32], values: list[float]) -> Field:
    return np.array([0.0, *values], np.float32)[owner]


def _places(grid: Grid, tiles: list[_Tile], owner: npt.NDArray[np.int32]) -> npt.NDArray[np.intp]:
    """Texture places in the frame of each pixel's cell, so that textures move with their cells."""
    offsets = np.array([(0.0, 0.0)] + [tile.cell.traits.texture_um[1] - (tile.x, tile.y) for tile in tiles])
    texels = np.floor(offsets / TEXEL_UM).astype(np.intp)
    column = (np.floor(grid.x_um / TEXEL_UM).astype(np.intp)[None, :] + texels[:, 0][owner]) & (TILE_PX - 1)
    row = (np.floor(grid.y_um / TEXEL_UM).astype(np.intp)[:, None] + texels[:, 1][owner]) & (TILE_PX - 1)
    at: npt.NDArray[np.intp] = row * TILE_PX + column
    return at


def _raise_ball(scene: Scene, look: Look, tile: _Tile) -> None:
    """Add the height of a rounded cell: a paraboloid (a hemisphere would look like a soap bubble)."""
    if tile.spread == 1:
        return
    box = scene.grid.square(tile.x, tile.y, tile.radius + 1)
    if box is None:
        return
    q2 = (box.x * box.x + box.y * box.y) * (1 / (0.95 * tile.radius) ** 2)
    height = 0.75 * tile.radius * (1 - tile.spread) * (1.5 if tile.cell.dead else 1)
    scene.phase[box.at] += (look.optics.phase_per_um * look.index_step * height) * np.maximum(1 - q2, 0)


def _territories(grid: Grid, tiles: list[_Tile], owner: npt.NDArray[np.int32]) -> list[tuple[float, float, float]]:
    """Return for each tile the middle of its ground (x, y in um) and its area in um2."""
    flat = owner.ravel()
    count = np.bincount(flat, minlength=len(tiles) + 1)
    whole = np.maximum(count, 1)
    x = np.bincount(flat, np.broadcast_to(grid.x_um[None, :], owner.shape).ravel(), len(tiles) + 1) / whole
    y = np.bincount(flat, np.broadcast_to(grid.y_um[:, None], owner.shape).ravel(), len(tiles) + 1) / whole
    area = count * grid.pixel_um**2
    return list(zip(x[1:].tolist(), y[1:].tolist(), area[1:].tolist(), strict=True))


def _draw_contents(
    scene: Scene,
    life: Population,
    tile: _Tile,
    middle: tuple[float, float],
    area_um2: float,
    tissue: Tissue,
    textures: Textures,
) -> None:
    """Draw the nucleus in the middle of the cell's ground, and no larger than fits there."""
    look, cell = life.look, tile.cell
    fit, at = 1.0, (tile.x, tile.y)
    if scene.grid.near(tile.x, tile.y, -1.5 * tile.radius):
        a, b = semi_axes(cell, look, tile.spread)
        fit = min(1.0, math.sqrt(tissue.nuclear_share * area_um2 / (math.pi * a * b)))
        off_x, off_y = (tissue.nuclear_offset * tile.spread * um for um in cell.traits.nucleus_offset_um)
        at = (middle[0] + off_x, middle[1] + off_y)
    pieces = chromatin(cell, look, tile.spread, fit)
    # A dividing nucleus turns to the axis along which the daughters part.
    angle = cell.heading if cell.mitotic else tile.angle
    draw_nucleus(scene, cell, look, pieces, *at, angle, textures)


def _granules(scene: Scene, life: Population, tile: _Tile, owner: npt.NDArray[np.int32]) -> Dots:
    """Granules in the outer part of the cell, outside all nuclei."""
    uniform = tile.cell.traits.granules.astype(np.float64)
    swing = 0.25 * math.sin(2 * math.pi * life.time_h / 2.1 + tile.cell.traits.swing_phase)
    angle = 2 * math.pi * uniform[:, 1] + swing
    away = tile.radius * (0.45 + 0.55 * uniform[:, 0] ** 0.7) * (0.85 + 0.10 * tile.spread)
    x, y = tile.x + away * np.cos(angle), tile.y + away * np.sin(angle)
    row, column = scene.grid.nearest(x, y)
    kept = (row >= 0) & (row < owner.shape[0]) & (column >= 0) & (column < owner.shape[1])
    row, column = row[kept], column[kept]
    kept[kept] = (owner[row, column] == tile.number) & (scene.nuclear[row, column] == 0)
    sigma = 0.16 + 0.26 * uniform[:, 2] ** 3
    strength = np.where(uniform[:, 3] < 0.12, -1, 1) * (0.012 + 0.04 * uniform[:, 3] ** 4) * 2 * sigma
    return Dots(x[kept], y[kept], sigma[kept], life.look.optics.phase_per_um * strength[kept])
