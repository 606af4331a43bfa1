"""What several tests of the judge need: the reference pair, fields of discs, files of pairs, a simple predictor."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from livestain.evaluate.metrics import Plane, Scale
from livestain.evaluate.pairs import Pair
from livestain.frames import Counts

SIDE = 128


def reference_pair() -> tuple[Plane, Plane]:
    """The pair on which the reference values were measured: (distorted, reference), made by formula."""
    y, x = np.mgrid[0:SIDE, 0:SIDE].astype(np.float64)
    bumps = np.zeros((SIDE, SIDE))
    for k in range(12):
        cy, cx, s = (37 * k + 19) % SIDE, (53 * k + 11) % SIDE, 5 + k % 4
        bumps += (0.5 + 0.04 * k) * np.exp(-((y - cy) ** 2 + (x - cx) ** 2) / (2 * s * s))
    reference = 0.05 + 0.9 * bumps / bumps.max()
    waves = 0.02 * np.sin(2 * np.pi * (3 * x + 5 * y) / SIDE)
    distorted = 0.9 * np.roll(reference, (2, -1), (0, 1)) + 0.03 + waves
    return np.clip(distorted, 0, 1), np.clip(reference, 0, 1)


def discs(shape: tuple[int, int], places: Sequence[tuple[int, int, int]]) -> npt.NDArray[np.int32]:
    """(Y, X) labels: one disc for each (y, x, r), numbered from 1; later ones lie above."""
    y, x = np.mgrid[: shape[0], : shape[1]]
    labels = np.zeros(shape, np.int32)
    for number, (cy, cx, r) in enumerate(places, start=1):
        labels[(y - cy) ** 2 + (x - cx) ** 2 <= r * r] = number
    return labels


def field(seed: int, shape: tuple[int, int] = (112, 128)) -> tuple[Counts, Counts, npt.NDArray[np.int32]]:
    """Label-free counts, measured counts and labels of eight cells of different brightness, made by formula."""
    rng = np.random.default_rng(seed)
    grid = [(y, x) for y in range(16, shape[0] - 12, 28) for x in range(16, shape[1] - 12, 32)]
    chosen = rng.permutation(len(grid))[:8]
    labels = discs(shape, [(*grid[i], int(rng.integers(5, 9))) for i in chosen])
    brightness = np.concatenate([[0.0], rng.uniform(400, 900, 8)])
    stain = 100 + brightness[labels] + rng.normal(0, 5, shape)
    texture = np.where(labels > 0, rng.normal(0, 120, shape), rng.normal(0, 10, shape))
    return (1000 + texture).astype(np.uint16), stain.astype(np.uint16), labels


def write_folder(folder: Path, seeds: Sequence[int] = (0, 1, 2), *, masks: bool = True) -> Path:
    """A folder of pairs: f0_bf.png, f0_nuc.png, f0_mask.png, ..."""
    folder.mkdir(parents=True, exist_ok=True)
    for seed in seeds:
        label_free, stain, labels = field(seed)
        Image.fromarray(label_free).save(folder / f"f{seed}_bf.png")
        Image.fromarray(stain).save(folder / f"f{seed}_nuc.png")
        if masks:
            Image.fromarray(labels > 0).save(folder / f"f{seed}_mask.png")
    return folder


def pair(seed: int, *, position: str = "", group: str = "") -> Pair:
    """A pair in memory."""
    label_free, stain, labels = field(seed)
    return Pair(
        name=f"f{seed}",
        position=position or f"f{seed}",
        group=group,
        shape=(label_free.shape[0], label_free.shape[1]),
        truth={"nuclei": lambda: stain},
        label_free=lambda: label_free,
        mask=lambda: labels,
    )


@dataclass(frozen=True)
class Formula:
    """A predictor made by a function of the true counts on their scale."""

    of: Callable[[Plane], Plane]
    name: str = "formula"
    notes: Sequence[str] = ()

    def predict(self, pair: Pair, stain: str, scale: Scale) -> Plane:
        return self.of(scale.apply(pair.truth[stain]()))


def values_of(results: Sequence[object], **wanted: str) -> list[Mapping[str, float]]:
    """The values of the results whose attributes are as asked for."""
    found = [r for r in results if all(getattr(r, key) == value for key, value in wanted.items())]
    return [r.values for r in found]  # type: ignore[attr-defined]
