"""Pictures and states for tests of what is drawn."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from livestain.frames import Counts, Key
from livestain.view.picture import LayerInfo, Picture
from livestain.view.state import Mode, ViewState

BRIGHT = LayerInfo("BF", "label-free", "FFFFFF", 4095, (0.0, 4095.0))
NUCLEI = LayerInfo("nuclei", "virtual", "00E676", limits=(0.0, 65535.0))
MEMBRANE = LayerInfo("membrane", "virtual", "FF00FF", limits=(0.0, 65535.0))
GFP = LayerInfo("GFP", "measured", "0096FF", 255, (0.0, 255.0))

AMBER = (0xFF, 0xC1, 0x07)


def constant(count: int, shape: tuple[int, int] = (96, 96)) -> Counts:
    """Return a plane of one value."""
    return np.full(shape, count, np.uint16)


def noise(shape: tuple[int, int] = (96, 96), top: int = 65535, seed: int = 0) -> Counts:
    """Return a plane of random counts."""
    return np.random.default_rng(seed).integers(0, top + 1, shape, np.uint8 if top < 256 else np.uint16)


def noise_picture(shape: tuple[int, int] = (96, 96), t: int = 0) -> Picture:
    """Return a picture of label-free, nuclei, membrane and GFP."""
    tops = (4095, 65535, 65535, 255)
    planes = tuple(noise(shape, top, seed) for seed, top in enumerate(tops, start=10 * t))
    return Picture(Key(0, t, 0), planes)


def shown(picture: Picture | None = None, mode: Mode = "composite") -> ViewState:
    """Return a state of label-free, nuclei, membrane and GFP."""
    state = ViewState((BRIGHT, NUCLEI, MEMBRANE, GFP))
    state.set_mode(mode)
    if picture is not None:
        state.set_picture(picture)
    return state


def pixels(image: Any) -> npt.NDArray[np.uint8]:  # Any: a QImage, which has no types here
    """Return (h, w, 3) uint8, red, green, blue, of an image of 32 bit."""
    bits = image.constBits()
    if hasattr(bits, "setsize"):  # PyQt
        bits.setsize(image.sizeInBytes())
    rows = np.frombuffer(bits, np.uint8).reshape(image.height(), image.bytesPerLine())
    return rows[:, : 4 * image.width()].reshape(image.height(), image.width(), 4)[..., 2::-1].copy()
