"""Spindle cells: a body, two to five arms, and the concave webs between them."""

from __future__ import annotations

import cmath
import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from livestain.contrast import Field, enlarge
from livestain.specimen.grid import Box, Dots
from livestain.specimen.life import Cell, Population
from livestain.specimen.nucleus import chromatin, draw_nucleus, semi_axes
from livestain.specimen.scene import Scene
from livestain.specimen.texture import Textures, place
from livestain.specimen.traits import Arm

_SOFTNESS_UM = 3.0
_REACH_UM = 9.0
_EDGE_UM = 6.0
"""Beyond this distance from the cell nothing is drawn: the edge's texture moves it by less."""


@dataclass(frozen=True, slots=True)
class _Limb:
    """An arm as it is now; angles in rad in the frame of the specimen, lengths in um."""

    arm: Arm
    angle: float
    length_um: float


@dataclass(frozen=True, slots=True)
class _Form:
    """A cell as it is now; lengths in um."""

    cell: Cell
    spread: float
    radius: float
    body: tuple[float, float]
    nucleus: tuple[float, float]
    limbs: tuple[_Limb, ...]

    def reach(self) -> tuple[float, float, float, float]:
        """How far it may be drawn to the left, right, up and down of its centre, um."""
        round_um = max(self.body) + 5
        x = [limb.length_um * math.cos(limb.angle) for limb in self.limbs]
        y = [limb.length_um * math.sin(limb.angle) for limb in self.limbs]
        far = (-min(x), max(x), -min(y), max(y))
        left, right, up, down = (max(round_um, um + _REACH_UM) for um in far)
        return left, right, up, down


def draw_spindles(scene: Scene, life: Population, textures: Textures) -> None:
    """Draw all cells of ``life`` into ``scene``; those with a higher number lie on top."""
    for cell in sorted(life.cells, key=lambda cell: cell.number):
        form = _form(cell, life)
        reach = form.reach()
        for x, y in scene.grid.copies(cell.x, cell.y, life.size_um, max(reach)):
            box = scene.grid.box(x, y, *reach)
            if box is not None:
                _draw_cell(scene, form, life, box, x, y, textures)


def _form(cell: Cell, life: Population) -> _Form:
    spread = cell.spread(life.time_h)
    shrunken = 3.2 * (1 - spread) if cell.dead else 0.0
    radius = (9.5 - 1.9 * spread - shrunken) * cell.grown
    a, b = semi_axes(cell, life.look, spread)
    # The body must hold the nucleus.
    body = (
        max(radius * (1 + 0.1 * spread), spread * (1.07 * a + 1.2)),
        max(radius * (1 - 0.28 * spread), spread * (1.07 * b + 0.6)),
    )
    scale = spread * cell.grown * life.look.arm_length
    return _Form(cell, spread, radius, body, (a, b), tuple(_limb(arm, cell, scale, life) for arm in cell.traits.arms))


def _limb(arm: Arm, cell: Cell, scale: float, life: Population) -> _Limb:
    swell = 1 + 0.12 * math.sin(2 * math.pi * life.time_h / 1.3 + arm.length_phase)
    swing = 0.15 * math.sin(2 * math.pi * life.time_h / 3.1 + arm.angle_phase)
    return _Limb(arm, cell.heading + arm.angle + swing, arm.length_um * scale * swell)


def _draw_cell(scene: Scene, form: _Form, life: Population, box: Box, x: float, y: float, textures: Textures) -> None:
    cell, spread = form.cell, form.spread
    cosine, sine = math.cos(cell.heading), math.sin(cell.heading)
    depth = _depth(form, box)
    near = np.flatnonzero(depth > -_EDGE_UM)
    row, column = np.divmod(near, box.shape[1])
    near_x, near_y = box.x[0, column], box.y[row, 0]
    u, v = near_x * cosine + near_y * sine, near_y * cosine - near_x * sine
    skin = _Skin(form, depth.ravel()[near], u, v, life, textures)
    slope = _slope(skin.height, near, box.shape, scene.grid.pixel_um)
    flat = (row + box.rows.start) * scene.grid.padded[1] + column + box.columns.start
    scene.phase.reshape(-1)[flat] += skin.phase()
    scene.membrane.reshape(-1)[flat] += skin.membrane(slope)
    scene.cells.reshape(-1)[flat[skin.depth > 0]] = cell.number
    offset = complex(*cell.traits.nucleus_offset_um) * spread * cmath.rect(1, cell.heading)
    middle = (x + offset.real, y + offset.imag)
    draw_nucleus(scene, cell, life.look, chromatin(cell, life.look, spread), *middle, cell.heading, textures)
    covered = np.zeros(box.shape, bool)
    covered.reshape(-1)[near[skin.depth > 1]] = True
    scene.dots.append(_granules(scene, form, life, box, covered, middle))


def _depth(form: _Form, box: Box) -> Field:
    """Distance below the edge in um, above 0 inside, (h, w): a soft union of body and arms.

    ``3 ln(sum exp(d / 3)) - 0.8`` makes the webs. It is smooth, so every second pixel is enough (measured: the
    phase map changes by 1.6 % of its sd, 0.2 % of the labels).
    """
    x, y = _every_second(box.x[0])[None, :], _every_second(box.y[:, 0])[:, None]
    cosine, sine = math.cos(form.cell.heading), math.sin(form.cell.heading)
    a, b = form.body
    q = np.hypot((x * cosine + y * sine) / a, (y * cosine - x * sine) / b)
    total = np.exp((1 - q) * (math.sqrt(a * b) / _SOFTNESS_UM))
    if form.spread > 0.03:
        for limb in form.limbs:
            total += np.exp(_limb_depth(limb, form, x, y) * (1 / _SOFTNESS_UM))
    coarse = _SOFTNESS_UM * np.log(total) - 0.8
    return enlarge(coarse.astype(np.float32, copy=False), 2, box.shape)


def _limb_depth(limb: _Limb, form: _Form, x: Field, y: Field) -> Field:
    arm, spread, length = limb.arm, form.spread, limb.length_um + 1e-3
    along = x * math.cos(limb.angle) + y * math.sin(limb.angle)
    across = y * math.cos(limb.angle) - x * math.sin(limb.angle)
    share = np.clip(along * (1 / length), 0, 1)
    bent = share * share
    across -= (arm.bend * length) * bent
    radius = (0.85 * form.radius * spread) * (1 - share) ** arm.taper + 0.25
    radius += (arm.tip_um * spread) * (1 - 0.5 * bent * bent)
    if arm.fan_um:
        fan = 0.3 * (share > 0) + 0.7 * np.clip((share - 0.4) * (1 / 0.6), 0, 1)
        radius += (arm.fan_um * spread) * fan
    depth = radius - np.hypot(along - length * share, across)
    if arm.fan_um:
        depth = np.minimum(depth, length + 0.8 - along - 0.25 * np.abs(across))
    return depth.astype(np.float32, copy=False)


def _every_second(axis: Field) -> Field:
    """Coordinates of the middles of pairs of pixels, as `livestain.contrast.enlarge` wants them."""
    step = axis[1] - axis[0] if axis.size > 1 else np.float32(0)
    coarse: Field = axis[::2] + step / 2
    return coarse


class _Skin:
    """Surface of a cell at (N,) pixels near it, ``depth`` um below its edge, at (u, v) um in its own frame.

    Holds the depth with a ragged edge, the cover of the pixel (0..1), the height in um, and ruffles along the edge.
    """

    def __init__(self, form: _Form, depth: Field, u: Field, v: Field, life: Population, textures: Textures) -> None:
        self._form = form
        self._look = life.look
        self._u, self._v = u, v
        spread, traits = form.spread, form.cell.traits
        edge, body = traits.texture_um[:2] + np.float32(life.time_h) * np.array([traits.drift_um_h, (0, 0)], np.float32)
        at_edge, at_body = place(u + edge[0], v + edge[1]), place(u + body[0], v + body[1])
        self._mottle, self._grain = textures.sample(2.5, at_body), textures.sample(1.0, at_body)
        rough = spread * (0.7 * textures.sample(8.0, at_edge) + 0.3 * textures.sample(2.5, at_edge))
        self.depth = depth + rough * np.clip((depth + 9) * (1 / 9), 0, 1) - 0.3 * spread
        self.cover = np.clip(0.5 + self.depth * (1 / life.look.pixel_um), 0, 1)
        self.mound = self._mound()
        self.height = (spread * traits.height) * self.cover * self._flat()
        if spread < 1:
            self.height += (1 - spread) * self._ball()
        rim = np.exp(-np.square((self.depth - 0.5) * (1 / 0.55)))
        self.ruffle = spread * rim * np.clip(textures.sample(8.0, at_body) + 0.5, 0, 2)

    def phase(self) -> Field:
        """Return what the cell adds to the phase, rad."""
        form, look = self._form, self._look
        step = look.index_step * (1 + 0.5 * (1 - form.spread) if form.cell.dead else 1)
        # A ball is smooth: the same share of its height would be many waves.
        mottle = form.spread * (0.10 * self._mottle + 0.05 * self._grain)
        thick = self.height * (1 + mottle) + 0.55 * self.ruffle
        phase: Field = (look.optics.phase_per_um * step) * thick
        return phase

    def membrane(self, slope: Field) -> Field:
        """Return what the cell adds to the membrane stain: two sheets seen from above, edge and ruffles."""
        sheets = 0.30 * np.minimum(slope, 4) + (0.25 * self._form.spread) * self.mound + 0.06 * self._grain
        edge = 0.45 * np.exp(-np.square((self.depth - 0.25) * 2))
        membrane: Field = self._form.cell.traits.membrane * (self.cover * sheets + edge + 0.6 * self.ruffle)
        return np.maximum(membrane, 0)

    def _mound(self) -> Field:
        """Bulge of the cell over its nucleus, 0..1."""
        a, b = self._form.nucleus
        mound: Field = np.exp(-0.5 * (np.square(self._u * (0.8 / a)) + np.square(self._v * (0.8 / b))))
        return mound

    def _flat(self) -> Field:
        """Height of the cell spread out: a steep edge, a low dome and the bulge."""
        inside = np.maximum(self.depth, 0)
        edge, dome = 1 - np.exp(inside * (-1 / 1.2)), 1 - np.exp(inside * (-1 / 4.5))
        flat: Field = 0.5 * edge + 2.6 * dome + 3.6 * self.mound * (1 - np.exp(inside * -0.5))
        return flat

    def _ball(self) -> Field:
        """Height of the rounded cell, lumpy when it is dead."""
        a, b = self._form.body
        q2 = np.square(self._u * (1 / a)) + np.square(self._v * (1 / b))
        ball: Field = 1.35 * self._form.radius * np.sqrt(np.maximum(1 - q2, 0))
        if self._form.cell.dead:
            ball *= 1 + 0.12 * (1 - self._form.spread) * self._mottle
        return ball


def _slope(height: Field, near: npt.NDArray[np.intp], shape: tuple[int, int], px: float) -> Field:
    """Length of the surface over that of its plan at the pixels ``near`` (flat indices): sqrt(1 + |grad h|^2)."""
    width = shape[1] + 2
    wide = np.zeros((shape[0] + 2) * width, np.float32)
    at = near + 2 * (near // shape[1]) + width + 1
    wide[at] = height
    across = (wide[at + 1] - wide[at - 1]) * (0.5 / px)
    down = (wide[at + width] - wide[at - width]) * (0.5 / px)
    slope: Field = np.sqrt(1 + across * across + down * down)
    return slope


def _granules(
    scene: Scene,
    form: _Form,
    life: Population,
    box: Box,
    covered: npt.NDArray[np.bool_],
    middle: tuple[float, float],
) -> Dots:
    """Granules in a ring round the nucleus (all over a rounded cell), where the cell is deeper than 1 um."""
    uniform = form.cell.traits.granules.astype(np.float64)
    swing = 0.25 * math.sin(2 * math.pi * life.time_h / 2.1 + form.cell.traits.swing_phase)
    angle = 2 * math.pi * uniform[:, 1] + swing
    if form.spread > 0.6:
        away = 1.05 + 0.5 * (-np.log(np.maximum(uniform[:, 0], 1e-6))) ** 0.9
        u, v = away * form.nucleus[0] * np.cos(angle), away * form.nucleus[1] * np.sin(angle)
    else:
        away = 0.85 * form.radius * np.sqrt(uniform[:, 0])
        u, v = away * np.cos(angle), away * np.sin(angle)
    cosine, sine = math.cos(form.cell.heading), math.sin(form.cell.heading)
    at_x, at_y = middle[0] + u * cosine - v * sine, middle[1] + u * sine + v * cosine
    row, column = scene.grid.nearest(at_x, at_y)
    row, column = row - box.rows.start, column - box.columns.start
    kept = (row >= 0) & (row < box.shape[0]) & (column >= 0) & (column < box.shape[1])
    kept[kept] = covered[row[kept], column[kept]]
    sigma = 0.18 + 0.34 * uniform[:, 2] ** 3
    # In a ball most of them are far out of focus.
    seen = life.look.optics.phase_per_um * (0.3 + 0.7 * form.spread)
    strength = np.where(uniform[:, 3] < 0.12, -0.6, 1) * (0.006 + 0.028 * uniform[:, 3] ** 4) * 2 * sigma
    return Dots(at_x[kept], at_y[kept], sigma[kept], seen * strength[kept])
