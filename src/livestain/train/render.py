"""Simulated pairs: plausible label-free crops rendered around measured nuclei, on measured ground without cells.

A crop of measured nuclei is taken as given; a cell body is drawn around each, with a defocus rim, granules, some
absorption and a relief in one direction. Dots, blurred blobs and smudges are added whose target is empty, since false
nuclei on such things are the main error of every unpaired method. All draws are wide on purpose. Drawn by eye for round
and adherent cells of low magnification, whose nuclei are 8 to 13 px wide; other stains need another renderer.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy import ndimage

from livestain.contrast import Field
from livestain.train.config import TrainConfig
from livestain.train.crops import Batch, Sampler, make_batch, quiet_crop, turn
from livestain.train.data import FULL_SCALE, Fields
from livestain.train.unit import UNIT

RENDERED = ("nuclei", "nucleus", "nuclear", "dapi", "hoechst", "dna", "nuc", "h2b")
"""Names of stains for which this renderer was drawn."""

_BALANCED = 0.6
_ADHERENT = 0.4
_CLIP = 1.0


def is_rendered(stains: Sequence[str]) -> bool:
    """Say whether simulated pairs can be made for these stains: nuclei alone."""
    return len(stains) == 1 and stains[0].lower() in RENDERED


def can_simulate(fields: Fields) -> bool:
    """Say whether these fields hold what simulated pairs are made of: measured nuclei, and nothing else."""
    return is_rendered(fields.stains) and fields.measured


class SimulatedPairs:
    """Batches whose ``a`` is rendered from ``b``: pairs by construction."""

    def __init__(self, fields: Fields, config: TrainConfig) -> None:
        self.config = config
        self._crops = Sampler(fields, config)

    def batch(self, epoch: int, step: int) -> Batch:
        """Return the batch of this step of this epoch; nothing but (seed, epoch, step) decides it."""
        return self.draw(np.random.default_rng((self.config.seed, epoch, step)), self.config.batch)

    def draw(self, rng: np.random.Generator, count: int) -> Batch:
        """Return ``count`` pairs."""
        names = self._crops.draw_groups(rng, count)
        b = [self._crops.stains(rng, name, bool(rng.random() < _BALANCED)) for name in names]
        a = [self._label_free(rng, name, stains[0]) for name, stains in zip(names, b, strict=True)]
        return make_batch(a, b, names)

    def _label_free(self, rng: np.random.Generator, group: str, nuclei: Field) -> Field:
        found = self._crops.fields.groups[group]
        ground = turn(rng, quiet_crop(rng, found, len(nuclei))[None])[0]
        drawn = render_relief(rng, nuclei * np.float32(FULL_SCALE)) * np.float32(UNIT * found.relief)
        crop: Field = np.clip(drawn + ground, -_CLIP, _CLIP).astype(np.float32)
        return crop[None]


def render_relief(rng: np.random.Generator, nuclei: Field) -> Field:
    """Return what cells with these nuclei add to the contrast, distractors among them.

    Parameters
    ----------
    nuclei
        (Y, X) float32, 0 = background, 1 = a typical nucleus.

    Returns
    -------
    (Y, X) float32 in units of 8 median absolute deviations of the label-free contrast, about -4 to 4.
    """
    solid = (ndimage.gaussian_filter(np.clip(nuclei, 0, 1.2), 0.7) > 0.35).astype(np.float32)
    strength = float(np.exp(rng.uniform(np.log(0.5), np.log(2.8))))
    cells = strength * _draw_cells(rng, solid)
    return cells + strength * _draw_dots(rng, len(nuclei)) + _draw_blobs(rng, len(nuclei))


def _draw_cells(rng: np.random.Generator, solid: Field) -> Field:
    body = _cell_body(rng, solid)
    nucleus = ndimage.gaussian_filter(solid, 1.0)
    edge = ndimage.gaussian_filter(nucleus, 0.7) - ndimage.gaussian_filter(nucleus, 1.8)
    granules = _random_field(rng, len(solid), rng.uniform(0.7, 1.4)) * body
    slope_y, slope_x = np.gradient(ndimage.gaussian_filter(body, 1.0))
    light = rng.uniform(0, 2 * np.pi)
    rim_sign = 1.0 if rng.random() < 0.75 else -1.0
    relief: Field = (
        rim_sign * rng.uniform(0.4, 1.4) * _defocus_rim(rng, body)
        + rng.uniform(0.05, 0.6) * granules
        + rng.uniform(-0.5, 0.7) * body * (0.5 + 0.5 * nucleus)
        + rng.uniform(-0.8, 0.8) * edge
        + rng.uniform(0, 1.2) * (np.cos(light) * slope_x + np.sin(light) * slope_y)
    )
    return relief


def _cell_body(rng: np.random.Generator, solid: Field) -> Field:
    """Return where cells are, 0..1: round ones close around their nucleus, adherent ones wide, stretched and ragged."""
    adherent = rng.random() < _ADHERENT
    spread, gain = (rng.uniform(2.5, 5), rng.uniform(4, 10)) if adherent else (rng.uniform(0.8, 2), rng.uniform(2, 4))
    body = gain * ndimage.gaussian_filter(solid, (spread, spread * rng.uniform(0.7, 1.6)))
    if adherent:
        body *= np.clip(1 + 0.7 * _random_field(rng, len(solid), 3.0), 0, 3)
    smooth: Field = ndimage.gaussian_filter(np.clip(body, 0, 1), 0.6)
    return smooth


def _defocus_rim(rng: np.random.Generator, body: Field) -> Field:
    """Return the bright and dark lines along the outline of a body slightly out of focus, at most 1 high."""
    width = rng.uniform(0.8, 1.8)
    rim = ndimage.gaussian_filter(body, width) - ndimage.gaussian_filter(body, 1.6 * width)
    if body.max() <= 0.2:
        return np.zeros_like(rim)
    scaled: Field = rim / (np.abs(rim).max() + 1e-3)
    return scaled


def _draw_dots(rng: np.random.Generator, side: int) -> Field:
    """Return debris in focus: in every other crop one to three dots, each with a weak ring."""
    drawn = np.zeros((side, side), np.float32)
    for _ in range(int(rng.integers(1, 4)) if rng.random() < 0.5 else 0):
        square = _distance(rng.integers(0, side, 2), side)
        radius = rng.uniform(0.6, 1.8)
        dot = np.exp(-square / (2 * radius**2)) - 0.45 * np.exp(-square / (2 * (1.7 * radius) ** 2))
        drawn += (rng.uniform(0.4, 1.6) * rng.choice([-1, 1]) * dot).astype(np.float32)
    return drawn


def _draw_blobs(rng: np.random.Generator, side: int) -> Field:
    """Return things far out of focus: in every other crop up to three blobs or rings, at times one wide smudge."""
    drawn = np.zeros((side, side), np.float32)
    for _ in range(int(rng.integers(0, 4)) if rng.random() < 0.5 else 0):
        square = _distance(rng.integers(-4, side + 4, 2), side, rng.uniform(0.7, 1.4))
        radius, hollow = rng.uniform(2, 8), rng.uniform(0, 1)
        blob = np.exp(-square / (2 * radius**2)) - hollow * np.exp(-square / (2 * (1.5 * radius) ** 2))
        drawn += (rng.uniform(-2.5, 1.2) * blob).astype(np.float32)
    if rng.random() < 0.15:
        square = _distance(rng.integers(0, side, 2), side)
        drawn += (rng.uniform(-1, 0.3) * np.exp(-square / (2 * rng.uniform(5, 12) ** 2))).astype(np.float32)
    return drawn


def _distance(centre: np.typing.NDArray[np.int64], side: int, stretch: float = 1.0) -> Field:
    """Return the squared distance in px to a point, stretched along one axis."""
    y, x = np.ogrid[:side, :side]
    square: Field = (((y - centre[0]) * stretch) ** 2 + ((x - centre[1]) / stretch) ** 2).astype(np.float32)
    return square


def _random_field(rng: np.random.Generator, side: int, grain_px: float) -> Field:
    """Return smooth noise of mean 0 and standard deviation 1."""
    noise = ndimage.gaussian_filter(rng.standard_normal((side, side)).astype(np.float32), grain_px, mode="wrap")
    scaled: Field = noise / (noise.std() + 1e-6)
    return scaled
