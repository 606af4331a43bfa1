"""How alike virtual and measured stains look in their bright places: sliced Wasserstein distance of random features.

Features are those of two convolutions with fixed random weights (7 x 7 to 32 maps, 5 x 5 to 64, stride 2, ReLU); the
distance is the mean over 64 random directions of the one-dimensional Wasserstein distance, taken over places where the
blurred stain is brighter than 0.12 of a typical nucleus: over all places the dark ones, which every network gets right,
hide the rest. It says nothing about whether a stain is in the right place.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch
from scipy import ndimage
from torch.nn import functional

from livestain.contrast import Field
from livestain.train.data import FULL_SCALE

_SEED = 0x5117
_MAPS, _SIDES = (32, 64), (7, 5)
_STRIDE_PX = 4
_DIRECTIONS = 64
_PLACES = 2048
_BRIGHT, _BLUR_PX = 0.12, 2.0

Slices = npt.NDArray[np.float32]


class Likeness:
    """The measured stains of a group, (S, Y, X) float32 in 0..1 each, to compare virtual ones with."""

    def __init__(self, stains: Sequence[Field]) -> None:
        rng = np.random.default_rng(_SEED)
        inputs = (len(stains[0]), *_MAPS[:-1])
        self._weights = [
            torch.from_numpy(rng.normal(0, 1 / (side * np.sqrt(before)), (after, before, side, side))).float()
            for before, after, side in zip(inputs, _MAPS, _SIDES, strict=True)
        ]
        directions = rng.normal(size=(_MAPS[-1], _DIRECTIONS))
        self._directions = (directions / np.linalg.norm(directions, axis=0)).astype(np.float32)
        self._measured = self._slices(stains)

    def distance(self, stains: Sequence[Field]) -> float:
        """Return the distance of virtual ``stains``, (S, Y, X) float32 in 0..1 each; 0 for the measured ones."""
        return float(np.abs(self._slices(stains) - self._measured).mean())

    def _slices(self, stains: Sequence[Field]) -> Slices:
        """Return (places, directions): features at bright places, along each direction, sorted."""
        features = np.concatenate([self._features(planes) for planes in stains])
        bright = np.concatenate([_is_bright(planes) for planes in stains])
        # A stain that is bright nowhere is compared as it is: dark.
        found = features[bright] if bright.any() else features
        sliced = np.sort(found @ self._directions, axis=0)
        places = np.linspace(0, len(sliced) - 1, _PLACES).round().astype(np.intp)
        return sliced[places]

    def _features(self, planes: Field) -> Slices:
        """Return (places, maps) at every fourth pixel."""
        maps = torch.from_numpy(planes * np.float32(FULL_SCALE))[None]
        for weight in self._weights:
            maps = functional.relu(functional.conv2d(maps, weight, stride=2, padding=weight.shape[-1] // 2))
        features: Slices = maps[0].flatten(1).T.numpy()
        return features


def _is_bright(planes: Field) -> npt.NDArray[np.bool_]:
    blurred = ndimage.gaussian_filter(planes.max(axis=0) * FULL_SCALE, _BLUR_PX)
    bright: npt.NDArray[np.bool_] = (blurred[::_STRIDE_PX, ::_STRIDE_PX] > _BRIGHT).ravel()
    return bright
