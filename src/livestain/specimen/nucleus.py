"""Nuclei: their size through the cycle, their plates in mitosis, their phase and their DNA stain."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from livestain.contrast import Field
from livestain.specimen.life import ANAPHASE_H, MITOSIS_H, Cell
from livestain.specimen.looks import Look
from livestain.specimen.scene import Scene
from livestain.specimen.texture import Textures, place

_PLATE_UM = (6.0, 2.2)
_TYPICAL = 0.62


@dataclass(frozen=True, slots=True)
class Piece:
    """An ellipse of chromatin: offset across the cell's heading and semi-axes in um, peak of the stain."""

    across_um: float
    a_um: float
    b_um: float
    brightness: float


def semi_axes(cell: Cell, look: Look, spread: float) -> tuple[float, float]:
    """Return the semi-axes of an interphase nucleus in um; smaller and rounder in a rounded cell, or dead."""
    grown = math.sqrt(0.86 + 0.28 * cell.age)
    typical = _typical_axes(cell, look)
    a, b = (axis * factor * grown for axis, factor in zip(typical, cell.traits.nucleus_axes, strict=True))
    ball = math.sqrt(a * b) * (0.55 if cell.dead else 0.82)
    return a * spread + ball * (1 - spread), b * spread + ball * (1 - spread)


def _typical_axes(cell: Cell, look: Look) -> tuple[float, float]:
    own = None if cell.home is None else cell.home.nucleus_um
    return own or look.nucleus_um


def chromatin(cell: Cell, look: Look, spread: float, fit: float = 1.0) -> list[Piece]:
    """Return the nucleus as one ellipse, or two in anaphase; ``fit`` scales the axes to the room there is.

    The integrated stain follows the DNA, 1 -> 2 in the middle of the cycle, however small the area.
    """
    a, b = semi_axes(cell, look, spread)
    nominal = math.prod(_typical_axes(cell, look))
    dna = 1 + min(max((cell.age - 0.4) / 0.35, 0.0), 1.0)
    signal = _TYPICAL * cell.brightness * dna * nominal
    if cell.dead:
        return [Piece(0.0, a, b, signal * (0.75 + 0.25 * spread) / (a * b))]
    if not cell.mitotic:
        a, b = a * fit, b * fit
        return [Piece(0.0, a, b, signal / (a * b))]
    condensed = min((MITOSIS_H - cell.to_division_h) / (MITOSIS_H - ANAPHASE_H), 1.0)
    scale = math.sqrt(nominal) / 8
    a += condensed * (_PLATE_UM[0] * scale - a)
    b += condensed * (_PLATE_UM[1] * scale - b)
    if cell.to_division_h > ANAPHASE_H:
        return [Piece(0.0, a, b, signal / (a * b))]
    a, b = 0.95 * a, 0.8 * b
    # The plates lie side by side at first: overlapping stain is not added up.
    share = 1 - max(cell.to_division_h, 0.0) / ANAPHASE_H
    apart = b + share * (0.75 * math.sqrt(nominal) - b)
    return [Piece(side * apart, a, b, signal / 2 / (a * b)) for side in (-1.0, 1.0)]


def draw_nucleus(
    scene: Scene, cell: Cell, look: Look, pieces: list[Piece], x: float, y: float, angle: float, textures: Textures
) -> None:
    """Draw a nucleus centred at (x, y) um with its long axis at ``angle``: phase, stain and label."""
    for piece in pieces:
        at_x = x - piece.across_um * math.sin(angle)
        at_y = y + piece.across_um * math.cos(angle)
        _draw_piece(scene, cell, look, piece, at_x, at_y, angle, textures)


def _draw_piece(
    scene: Scene, cell: Cell, look: Look, piece: Piece, x: float, y: float, angle: float, textures: Textures
) -> None:
    box = scene.grid.square(x, y, 1.12 * max(piece.a_um, piece.b_um) + 1)
    if box is None:
        return
    u = box.x * math.cos(angle) + box.y * math.sin(angle)
    v = box.y * math.cos(angle) - box.x * math.sin(angle)
    q = _elliptic_radius(u * np.float32(1 / piece.a_um), v * np.float32(1 / piece.b_um), cell.traits.lobes)
    dome = np.sqrt(np.maximum(1 - q * q, 0))
    offset = cell.traits.texture_um[2]
    spot = place(u + offset[0], v + offset[1])
    fine = textures.sample(0.5, spot)
    k0 = look.optics.phase_per_um
    stain = 1 + 0.16 * fine + 0.12 * textures.sample(1.0, spot)
    if cell.mitotic or cell.dead:
        scene.phase[box.at] += k0 * 0.06 * dome
    else:
        nucleoli = _nucleoli(cell, piece, u, v)
        # The nucleus is seen by its thin rim and its nucleoli; its index is near that of the cytoplasm.
        rim = np.exp(-np.square((1 - q) * (math.sqrt(piece.a_um * piece.b_um) / 0.45)))
        scene.phase[box.at] += k0 * (0.0072 * dome + 0.016 * rim + 0.048 * nucleoli + 0.0035 * fine * dome)
        stain -= 0.45 * nucleoli
    stain = np.maximum(stain, 0.05) * (piece.brightness * dome**0.75)
    nuclei, nuclear = scene.nuclei[box.at], scene.nuclear[box.at]
    nuclear[stain > nuclei] = cell.number
    np.maximum(nuclei, stain, out=nuclei)


def _elliptic_radius(u: Field, v: Field, lobes: tuple[float, float, float, float]) -> Field:
    """Radius relative to an outline whose second and third harmonic are a little off an ellipse."""
    q = np.hypot(u, v) + np.float32(1e-6)
    cosine, sine = u / q, v / q
    cosine2, sine2 = cosine * cosine - sine * sine, 2 * cosine * sine
    cosine3, sine3 = cosine2 * cosine - sine2 * sine, sine2 * cosine + cosine2 * sine
    second = math.cos(lobes[2]) * cosine2 - math.sin(lobes[2]) * sine2
    third = math.cos(lobes[3]) * cosine3 - math.sin(lobes[3]) * sine3
    radius: Field = q / (1 + lobes[0] * second + lobes[1] * third)
    return radius


def _nucleoli(cell: Cell, piece: Piece, u: Field, v: Field) -> Field:
    total = np.zeros(np.broadcast_shapes(u.shape, v.shape), np.float32)
    for one in cell.traits.nucleoli:
        sigma = one.width * math.sqrt(piece.a_um * piece.b_um)
        du = u - one.radius * piece.a_um * math.cos(one.angle)
        dv = v - one.radius * piece.b_um * math.sin(one.angle)
        np.maximum(total, np.exp(-np.square((du * du + dv * dv) * (0.5 / sigma**2))), out=total)
    return total
