"""Specimen: a dish of simulated living cells with its truth, seen by a bright-field and fluorescence microscope."""

from __future__ import annotations

from typing import Literal

import numpy as np
import numpy.typing as npt
import scipy.fft

from livestain.contrast import Field
from livestain.errors import UserError
from livestain.frames import MIN_SIDE_PX
from livestain.specimen.grid import Dots, Grid, gather
from livestain.specimen.life import WORLD_EXTRA_UM, Population
from livestain.specimen.looks import Look, find_look
from livestain.specimen.optics import Spectrum, blur_fluorescence, bright_field
from livestain.specimen.periderm import SKIN_UM, Skin
from livestain.specimen.scene import BODY_ABSORPTION, DOT_ABSORPTION, UPPER_UM, Maps, Scene
from livestain.specimen.sheet import draw_sheet
from livestain.specimen.spindle import draw_spindles
from livestain.specimen.texture import Textures

Target = Literal["nuclei", "membrane"]

_STREAM_DEBRIS = 8
_TARGETS = ("nuclei", "membrane")


class Specimen:
    """A field of living cells: the same look, shape and seed live the same life.

    Parameters
    ----------
    look
        ``"spindle"``, ``"sheet"`` or ``"rosette"``, or a `Look` with numbers of your own (`Look.replace`).
    shape
        (Y, X) of the frames in px, at least 96 x 96.
    seed
        Decides everything that is random.

    Drawing blocks (about 100 ms for 512 x 512 px) and is done once per tick, when a picture is first asked for.
    One thread at a time. Every returned array is fresh and belongs to the caller.

    Raises
    ------
    UserError
        Unknown look, or a shape that is too small.
    """

    def __init__(self, look: str | Look = "spindle", shape: tuple[int, int] = (512, 512), seed: int = 0) -> None:
        if min(shape) < MIN_SIDE_PX:
            raise UserError(f"specimen of {shape[0]} x {shape[1]} px: at least {MIN_SIDE_PX} x {MIN_SIDE_PX} is needed")
        self.look = find_look(look)
        self.grid = Grid((int(shape[0]), int(shape[1])), self.look.pixel_um)
        self.seed = seed
        self.life = Population(self.look, self._world_um(), seed)
        self._textures = Textures(seed)
        self._debris = _draw_debris(self.look, self.life.size_um, seed)
        self._skin = None if self.life.plan is None else Skin(self.grid, self.look.optics, self._textures, seed)
        self._drawn: _Drawn | None = None

    @property
    def time_h(self) -> float:
        """Time since the start in h, a twelfth per tick."""
        return self.life.time_h

    def advance(self, ticks: int = 1) -> None:
        """Let ``ticks`` times five minutes pass."""
        for _ in range(ticks):
            self.life.tick()
            self._drawn = None

    def maps(self) -> Maps:
        """Return the truth of this moment."""
        drawn = self._draw()
        frame = self.grid.frame
        scene = drawn.scene
        phase = scene.phase[frame] + drawn.lower[frame] + drawn.upper[frame]
        return Maps(
            phase=phase if self._skin is None else phase + self._skin.phase[frame],
            absorption=drawn.absorption[frame].copy(),
            nuclei=scene.nuclei[frame].copy(),
            membrane=scene.membrane[frame].copy(),
            cells=scene.cells[frame].copy(),
            nuclear=scene.nuclear[frame].copy(),
        )

    def transmission(self, z_um: float | None = None) -> Field:
        """Return the bright field without shade and noise: (Y, X) float32, 1 = empty field.

        ``z_um`` is the focal plane, None: the look's own.
        Another focus of the same moment costs half as much, after 40 ms for each focus that is new.
        """
        drawn = self._draw()
        look = self.look
        slabs = [(0.0, drawn.phase_spectrum), (UPPER_UM, drawn.upper_spectrum)]
        if self._skin is not None:
            slabs.append((SKIN_UM, self._skin.spectrum))
        z = look.z_um if z_um is None else z_um
        width = self.grid.padded[1]
        image = bright_field(slabs, drawn.absorption_spectrum, look.optics, z, look.pixel_um, width)
        return image[self.grid.frame].copy()

    def fluorescence(self, target: Target) -> Field:
        """Return a stain as the microscope sees it without noise: (Y, X) float32, 1 = a typical nucleus.

        Raises
        ------
        UserError
            ``target`` is neither ``"nuclei"`` nor ``"membrane"``.
        """
        if target not in _TARGETS:
            raise UserError(f"unknown stain of the specimen: {target!r} (there are: {', '.join(_TARGETS)})")
        scene = self._draw().scene
        fluorophore = scene.nuclei if target == "nuclei" else scene.membrane
        haze = self.look.haze[_TARGETS.index(target)]
        seen = blur_fluorescence(fluorophore, self.look.optics.na, haze, self.look.pixel_um)
        if target == "membrane" and self._skin is not None:
            seen += self._skin.stain
        return seen[self.grid.frame].copy()

    def _world_um(self) -> tuple[float, float]:
        height, width = (size * self.look.pixel_um + WORLD_EXTRA_UM for size in self.grid.shape)
        return height, width

    def _draw(self) -> _Drawn:
        if self._drawn is None:
            scene = Scene(self.grid)
            draw_cells = draw_spindles if self.look.name == "spindle" else draw_sheet
            draw_cells(scene, self.life, self._textures)
            scene.dots.append(self._debris)
            self._drawn = _Drawn(scene)
        return self._drawn


class _Drawn:
    """A drawn scene, with what the optics needs of it."""

    def __init__(self, scene: Scene) -> None:
        self.scene = scene
        dots = gather(scene.dots)
        high = np.arange(dots.x.size) % 5 < 2
        self.lower, self.upper = (scene.grid.stamp(dots.pick(where)) for where in (~high, high))
        body = scene.phase + self.lower
        absorption = BODY_ABSORPTION * body + DOT_ABSORPTION * (np.abs(self.lower) + np.abs(self.upper))
        self.absorption = absorption.astype(np.float32, copy=False)
        self.phase_spectrum: Spectrum = scipy.fft.rfft2(body)
        self.upper_spectrum: Spectrum = scipy.fft.rfft2(self.upper)
        self.absorption_spectrum: Spectrum = scipy.fft.rfft2(self.absorption)


def prerender(
    look: str | Look = "spindle",
    shape: tuple[int, int] = (512, 512),
    frames: int = 8,
    seed: int = 0,
    ticks_apart: int = 1,
) -> npt.NDArray[np.float32]:
    """Return transmissions of one specimen through time, (frames, Y, X) float32, ``ticks_apart`` times 5 min apart.

    For a camera that shows them forth and back with fresh noise and shade; blocks for about 0.15 s a frame at 512.
    """
    specimen = Specimen(look, shape, seed)
    film = np.empty((frames, *shape), np.float32)
    for number in range(frames):
        if number:
            specimen.advance(ticks_apart)
        film[number] = specimen.transmission()
    return film


def _draw_debris(look: Look, size_um: tuple[float, float], seed: int) -> Dots:
    """Lumps of one to six dots that never move."""
    rng = np.random.default_rng((seed, _STREAM_DEBRIS))
    lumps = rng.poisson(look.debris_mm2 * size_um[0] * size_um[1] * 1e-6)
    sizes = rng.integers(1, 7, lumps)
    total = int(sizes.sum())
    x = np.repeat(rng.uniform(0, size_um[1], lumps), sizes) + rng.normal(0, 0.9, total)
    y = np.repeat(rng.uniform(0, size_um[0], lumps), sizes) + rng.normal(0, 0.9, total)
    return Dots(x, y, rng.uniform(0.3, 0.55, total), look.optics.phase_per_um * rng.uniform(0.02, 0.06, total))
