"""LPIPS: how different two planes look to AlexNet (Zhang et al., CVPR 2018; linear heads of version 0.1).

Five convolutions are little enough for numpy: the same figures as torch's within 1e-6, and no torch to install.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from livestain.errors import plain
from livestain.evaluate.weights import Tensors, lpips_file

Maps = npt.NDArray[np.float32]
Plane = npt.NDArray[np.float64]

_SHIFT = np.array([-0.030, -0.088, -0.188], np.float32)
_SCALE = np.array([0.458, 0.448, 0.450], np.float32)
_STRIDE_PAD = ((4, 2), (1, 2), (1, 1), (1, 1), (1, 1))
_POOLED_BEFORE = (1, 2)
_TINY = 1e-10

WITHOUT_WEIGHTS = "the weights are not here: livestain fetch-weights lpips"
WITHOUT_LIBRARY = "safetensors is not installed: pip install 'livestain[evaluate]'"


@dataclass(frozen=True, eq=False)
class Lpips:
    """The network with its weights (see `livestain.evaluate.weights`); any thread."""

    tensors: Tensors

    def features(self, plane: Plane) -> list[Maps]:
        """Return the five maps of a (Y, X) plane in [0, 1]: (C, Y, X) float32, of length 1 over C; about 0.3 s/Mpx."""
        grey = 2 * plane.astype(np.float32) - 1
        maps: Maps = (grey[None] - _SHIFT[:, None, None]) / _SCALE[:, None, None]
        found = []
        for layer, (stride, pad) in enumerate(_STRIDE_PAD):
            if layer in _POOLED_BEFORE:
                maps = _max_pool(maps)
            kernel, bias = self.tensors[f"conv{layer}.kernel"], self.tensors[f"conv{layer}.bias"]
            maps = np.maximum(_convolve(maps, kernel, bias, stride, pad), 0)
            found.append(maps / (np.sqrt((maps**2).sum(axis=0)) + np.float32(_TINY)))
        return found

    def distance(self, predicted: list[Maps], truth: list[Maps]) -> float:
        """Return the distance of two planes from their `features`: 0 for equal ones, unrelated ones about 0.5."""
        parts = [
            np.tensordot(self.tensors[f"head{layer}"], (x - y) ** 2, 1).mean(dtype=np.float64)
            for layer, (x, y) in enumerate(zip(predicted, truth, strict=True))
        ]
        return float(sum(parts))


def load_lpips() -> Lpips | str:
    """Return the network, or one line that says why it is not here; there is no substitute for it."""
    try:
        from safetensors import SafetensorError
        from safetensors.numpy import load_file
    except ImportError:
        return WITHOUT_LIBRARY
    path = lpips_file()
    if not path.is_file():
        return WITHOUT_WEIGHTS
    try:
        return Lpips(load_file(path))
    except (OSError, SafetensorError) as error:
        return f"{path} cannot be read ({plain(error)}): livestain fetch-weights lpips"


def _convolve(maps: Maps, kernel: Maps, bias: Maps, stride: int, pad: int) -> Maps:
    """Convolve (C, Y, X) with (Y, X, C, O), one row of the kernel at a time: little memory, and BLAS does the work."""
    padded = np.pad(maps, ((0, 0), (pad, pad), (pad, pad)))
    side = kernel.shape[0]
    rows = (padded.shape[1] - side) // stride + 1
    result: Maps = np.zeros((kernel.shape[3], rows, (padded.shape[2] - side) // stride + 1), np.float32)
    for dy in range(side):
        lines = padded[:, dy : dy + stride * rows : stride]
        windows = np.lib.stride_tricks.sliding_window_view(lines, side, axis=2)[:, :, ::stride]
        # (O, C * side) x (C * side, Y * X)
        weights = kernel[dy].transpose(2, 1, 0).reshape(kernel.shape[3], -1)
        columns = windows.transpose(0, 3, 1, 2).reshape(weights.shape[1], -1)
        result += (weights @ columns).reshape(result.shape)
    return result + bias[:, None, None]


def _max_pool(maps: Maps) -> Maps:
    """Return the largest of 3 x 3, every second row and column; windows that reach over the edge are left out."""
    rows, columns = (maps.shape[1] - 1) // 2, (maps.shape[2] - 1) // 2
    windows = [maps[:, dy : dy + 2 * rows - 1 : 2, dx : dx + 2 * columns - 1 : 2] for dy in range(3) for dx in range(3)]
    pooled: Maps = np.maximum.reduce(windows)
    return pooled
