"""Simulated pairs for the demo model: frames of the specimen, baselines and scores.

Seeds are apart by purpose (`SEEDS`), so that no field that is scored was trained on.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from livestain.contrast import Field, estimate_background, normalise
from livestain.specimen import FLUORESCENCE_ELECTRONS, SPINDLE, Camera, CameraSettings, Specimen, illumination

STAINS = ("nuclei", "membrane")
FULL_SCALE = 1.6
"""Simulated fluorescence that the model calls 1.0, for both stains (1 = a typical nucleus)."""

CONTRAST_CONSTANT = 0.18
PIXEL_UM = (0.55, 0.75)
FOCUS_UM = 2.0
"""How far training goes from the look's own focus, to either side, um."""
CAMERA = CameraSettings()
SEEDS = {"training": 10_000, "calibration": 20_000, "scores": 30_000, "choice": 40_000}
"""First seed of each purpose."""


@dataclass(frozen=True)
class Condition:
    """How one simulated frame is taken.

    Attributes
    ----------
    pixel_um, z_um
        Pixel size and focus, um.
    electrons
        Photo-electrons of the empty field.
    density
        Cells per mm2 relative to that of the look; 0: an empty field without cells and debris.
    side_px
        Height and width.
    """

    pixel_um: float = SPINDLE.pixel_um
    z_um: float = SPINDLE.z_um
    electrons: float = SPINDLE.electrons
    density: float = 1.0
    side_px: int = 512


@dataclass(frozen=True, eq=False)
class Pair:
    """A label-free frame and its measured stains.

    Attributes
    ----------
    frame
        (Y, X) uint16 counts.
    contrast
        (Y, X) float32 in [-1, 1], as `livestain.contrast.normalise` gives it.
    truth
        (2, Y, X) float32 >= 0, noiseless fluorescence over `FULL_SCALE`.
    camera
        (2, Y, X) float32, the same through a fluorescence camera.
    """

    frame: npt.NDArray[np.uint16]
    contrast: Field
    truth: Field
    camera: Field


def simulate(condition: Condition, seed: int) -> Pair:
    """Return one frame of spindle cells, its contrast and its stains; the same seed gives the same pair."""
    shape = (condition.side_px, condition.side_px)
    transmission, truth = _field(condition, seed)
    camera = Camera(CAMERA.model_copy(update={"electrons": condition.electrons}), seed)
    frame = camera.expose(transmission, 0, illumination(shape, seed))
    contrast = normalise(frame, estimate_background(frame, CAMERA.offset), CONTRAST_CONSTANT)
    fluorescence = Camera(CAMERA.model_copy(update={"electrons": FLUORESCENCE_ELECTRONS}), seed)
    counts = np.stack([fluorescence.expose(plane, number + 1) for number, plane in enumerate(truth)])
    measured = (counts - np.float32(CAMERA.offset)) * np.float32(CAMERA.gain / FLUORESCENCE_ELECTRONS)
    return Pair(frame, contrast, truth / np.float32(FULL_SCALE), measured / np.float32(FULL_SCALE))


def _specimen(condition: Condition, seed: int) -> Specimen:
    look = SPINDLE.replace(pixel_um=condition.pixel_um, density_mm2=SPINDLE.density_mm2 * condition.density)
    return Specimen(look, (condition.side_px, condition.side_px), seed)


def _field(condition: Condition, seed: int) -> tuple[Field, Field]:
    if condition.density == 0:
        shape = (condition.side_px, condition.side_px)
        return np.ones(shape, np.float32), np.zeros((len(STAINS), *shape), np.float32)
    specimen = _specimen(condition, seed)
    truth = np.stack([specimen.fluorescence("nuclei"), specimen.fluorescence("membrane")])
    return specimen.transmission(condition.z_um), truth


def draw_condition(rng: np.random.Generator, side_px: int) -> Condition:
    """Draw what training varies: pixel size, focus, light, density; one field in twenty is empty."""
    density = 0.0 if rng.random() < 0.05 else float(rng.uniform(0.3, 1.5))
    return Condition(
        pixel_um=float(rng.uniform(*PIXEL_UM)),
        z_um=SPINDLE.z_um + float(rng.uniform(-FOCUS_UM, FOCUS_UM)),
        electrons=float(np.exp(rng.uniform(np.log(3000), np.log(9000)))),
        density=density,
        side_px=side_px,
    )


def _local_sd(contrast: Field, sigma_px: float) -> Field:
    mean = ndimage.gaussian_filter(contrast, sigma_px)
    square = ndimage.gaussian_filter(contrast**2, sigma_px)
    deviation: Field = np.sqrt(np.maximum(square - mean**2, 0))
    return deviation


Predictor = Callable[[Field], Field]
"""(Y, X) float32 contrast -> (2, Y, X) float32 stains."""

BASELINES: dict[str, Predictor] = {
    "constant": lambda contrast: np.stack([np.zeros_like(contrast)] * 2),
    "raw label-free frame": lambda contrast: np.stack([contrast] * 2),
    "local deviation, 3 px": lambda contrast: np.stack([_local_sd(contrast, 3)] * 2),
    "local deviation, 2 px, blurred 3 px": lambda contrast: np.stack(
        [ndimage.gaussian_filter(_local_sd(contrast, 2), 3)] * 2
    ),
}
"""What any model has to beat."""


def pearson(a: Field, b: Field) -> float:
    """Return Pearson's r of two planes; 0 where one of them is constant."""
    if min(float(a.std()), float(b.std())) < 1e-9:
        return 0.0
    return float(np.corrcoef(a.ravel(), b.ravel())[0, 1])


@dataclass(frozen=True)
class Agreement:
    """How well a predictor did on some fields: r against the noiseless truth and against the camera's picture.

    Each is (fields, 2): one row a field, one column a stain.
    """

    truth: Field
    camera: Field


def judge(predict: Predictor, pairs: Sequence[Pair]) -> Agreement:
    """Score ``predict`` on every pair."""
    rows = []
    for pair in pairs:
        guess = predict(pair.contrast)
        rows.append([[pearson(guess[s], measured[s]) for s in range(2)] for measured in (pair.truth, pair.camera)])
    table = np.array(rows, np.float32)
    return Agreement(table[:, 0], table[:, 1])


def equal_nuclei(condition: Condition, seed: int) -> float:
    """Return what perfect shapes would score: r of the true nuclei, all made equally bright, to the true ones.

    How much stain one nucleus took up is hardly to be seen without the stain, so this is about what can be reached.
    """
    maps = _specimen(condition, seed).maps()
    ids = np.unique(maps.nuclear)[1:]
    factor = np.zeros(int(ids.max()) + 1, np.float32)
    factor[ids] = 1 / np.maximum(ndimage.mean(maps.nuclei, maps.nuclear, ids), 1e-3)
    return pearson(*(ndimage.gaussian_filter(stain, 1) for stain in (maps.nuclei * factor[maps.nuclear], maps.nuclei)))
