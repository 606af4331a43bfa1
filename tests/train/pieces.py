"""Small made-up images for the trainer's tests: round cells with a rim, and their nuclei."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import tifffile
import torch
from scipy import ndimage

from livestain.frames import Counts
from livestain.train.config import TrainConfig
from livestain.train.crops import Batch
from livestain.train.data import Fields, load_fields
from livestain.train.sources import find_sources

QUICK = TrainConfig(width=2, batch=2, crop_px=32, steps=12, epoch_steps=6, learning_rate=0.03, networks=2, device="cpu")
"""A training of a second that does not collapse."""


def cells(seed: int, side: int = 128, count: int = 12) -> tuple[Counts, Counts]:
    """Label-free and nuclei counts (Y, X) uint16 of one field."""
    rng = np.random.default_rng(seed)
    solid = np.zeros((side, side), np.float32)
    for y, x in rng.integers(8, side - 8, (count, 2)):
        grid_y, grid_x = np.ogrid[:side, :side]
        solid[(grid_y - y) ** 2 + (grid_x - x) ** 2 <= 20] = 1
    rim = ndimage.gaussian_filter(solid, 1.5) - ndimage.gaussian_filter(solid, 3)
    bright = 8000 * (1 + 0.5 * rim + rng.normal(0, 0.01, solid.shape))
    nuclei = 300 + 2000 * ndimage.gaussian_filter(solid, 0.8) + rng.normal(0, 10, solid.shape)
    return bright.astype(np.uint16), nuclei.clip(0).astype(np.uint16)


def write_cells(folder: Path, fields: int = 3, side: int = 128, seed: int = 0) -> tuple[Path, Path]:
    """Two folders of TIFFs, label-free and nuclei, of other fields."""
    places = folder / "label-free", folder / "nuclei"
    for which, place in enumerate(places):
        place.mkdir(parents=True)
        for number in range(fields):
            image = cells(seed + 100 * which + number, side)[which]
            tifffile.imwrite(place / f"f{number}.tif", image)
    return places


def small_fields(folder: Path, fields: int = 3, side: int = 128) -> Fields:
    """One unnamed group of three fields a side, unpaired."""
    label_free, nuclei = write_cells(folder, fields, side)
    return load_fields(find_sources(label_free, "label_free"), {"nuclei": find_sources(nuclei, "nuclei")})


def noise_batch(seed: int, stains: int = 1) -> Batch:
    """Two crops of 32 px a side: contrast like a camera's, one bright nucleus."""
    rng = torch.Generator().manual_seed(seed)
    a = (0.1 * torch.randn(2, 1, 32, 32, generator=rng)).clamp(-1, 1)
    b = 0.02 * torch.rand(2, stains, 32, 32, generator=rng)
    b[:, :, 8:14, 10:16] = 0.5
    return Batch(a, b, ("", ""))
