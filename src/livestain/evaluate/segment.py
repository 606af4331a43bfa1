"""Segmenters: from a plane to numbered objects, the same way for the measured stain and the virtual one."""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass
from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from pickle import UnpicklingError
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from livestain.errors import UserError
from livestain.evaluate.labels import Labels, split_parts
from livestain.evaluate.metrics import Plane

MIN_OBJECT_PX = 30
_REFUSED = (OSError, RuntimeError, ValueError, LookupError, AttributeError, EOFError, AssertionError, UnpicklingError)
"""What Cellpose raises on files that are no weights of it: an assertion where they are those of version 4."""
_SMOOTH_PX, _SMOOTH_DISTANCE_PX = 1.0, 2.0


class Segmenter(Protocol):
    """What finds objects in a plane; the same parameters for every plane of one field."""

    @property
    def words(self) -> str:
        """Name, version and weights, for tables and reports."""
        ...

    def segment(self, plane: Plane, radius_px: float) -> Labels:
        """Return the (Y, X) labels of a (Y, X) float64 plane in [0, 1]; blocks.

        ``radius_px`` is the expected radius of an object; objects below 30 px are left out.
        """
        ...


@dataclass(frozen=True)
class OtsuSegmenter:
    """Threshold by Otsu, holes filled, touching objects split by a watershed of the distance to the edge."""

    @property
    def words(self) -> str:
        """Name and version of what it is made of."""
        return f"otsu-ws (scikit-image {version('scikit-image')}, smallest object {MIN_OBJECT_PX} px)"

    def segment(self, plane: Plane, radius_px: float) -> Labels:
        """Return the labels; a plane of one value has no object."""
        from skimage.feature import peak_local_max
        from skimage.segmentation import watershed

        mask = foreground(plane)
        distance = ndimage.gaussian_filter(ndimage.distance_transform_edt(mask), _SMOOTH_DISTANCE_PX)
        apart = max(1, round(radius_px / 2))
        peaks = peak_local_max(distance, min_distance=apart, labels=split_parts(mask), exclude_border=False)
        seeds = np.zeros(plane.shape, np.int32)
        seeds[tuple(peaks.T)] = np.arange(1, len(peaks) + 1)
        return drop_small(np.asarray(watershed(-distance, seeds, mask=mask), np.int32))


class CellposeSegmenter:
    """Cellpose 3 with the user's own weights; the library is imported here and nowhere else.

    Parameters
    ----------
    weights
        File of a Cellpose 3 model.

    Raises
    ------
    UserError
        Cellpose 3 is not installed, or cannot read the weights.
    """

    def __init__(self, weights: Path) -> None:
        try:
            from cellpose import models
        except ImportError as error:
            raise UserError(
                f"Cellpose 3 cannot be used ({error}): pip install 'cellpose>=3,<4', or --segment otsu"
            ) from error
        if not weights.is_file():
            raise UserError(f"{weights} is no file: --cellpose-weights needs the weights of a Cellpose 3 model")
        self._weights = weights
        try:
            # The library has no types.
            self._model: Any = models.CellposeModel(gpu=False, pretrained_model=str(weights))
        except _REFUSED as error:
            raise UserError(f"{weights} cannot be read by Cellpose ({error}): give the weights of version 3") from error

    @cached_property
    def words(self) -> str:
        """Name and version of the library, name and hash of the weights."""
        digest = hashlib.sha256(self._weights.read_bytes()).hexdigest()[:8]
        return f"cellpose {version('cellpose')} ({self._weights.name}, sha256 {digest})"

    def segment(self, plane: Plane, radius_px: float) -> Labels:
        """Return the labels."""
        image = plane.astype(np.float32)
        labels = self._model.eval(image, channels=[0, 0], diameter=2 * radius_px, min_size=MIN_OBJECT_PX)[0]
        return np.asarray(labels, np.int32)


def foreground(plane: Plane) -> npt.NDArray[np.bool_]:
    """Return where a (Y, X) plane is bright: blurred by 1 px, above Otsu's threshold, filled, parts from 30 px."""
    from skimage.filters import threshold_otsu

    smooth = ndimage.gaussian_filter(plane, _SMOOTH_PX)
    if not np.ptp(smooth) > 0:
        return np.zeros(plane.shape, np.bool_)
    filled = ndimage.binary_fill_holes(smooth > threshold_otsu(smooth))
    kept: npt.NDArray[np.bool_] = drop_small(split_parts(np.asarray(filled, np.bool_))) > 0
    return kept


def typical_radius(labels: Labels) -> float:
    """Return the radius in px of a disc of the median area of the objects; 0 without any."""
    areas = np.bincount(labels.ravel())[1:]
    areas = areas[areas > 0]
    return math.sqrt(float(np.median(areas)) / math.pi) if areas.size else 0.0


def drop_small(labels: Labels) -> Labels:
    """Return the labels without objects below 30 px, numbered from 1 without gaps."""
    areas = np.bincount(labels.ravel())
    kept = areas >= MIN_OBJECT_PX
    kept[0] = False
    numbers = np.where(kept, np.cumsum(kept), 0).astype(np.int32)
    renumbered: Labels = numbers[labels]
    return renumbered


def require_scikit_image() -> None:
    """Raise `UserError` where scikit-image is not installed."""
    try:
        import skimage  # noqa: F401 - asked for before any work begins
    except ImportError as error:
        raise UserError("scikit-image is not installed: pip install 'livestain[evaluate]'") from error
