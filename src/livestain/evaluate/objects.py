"""Objects of the virtual stain against those of the measured one.

``truth`` and ``predicted`` are (Y, X) label images: 0 is background, every other number one object. Two objects match
when their intersection over union is at least 0.5 (average precision as Cellpose and StarDist define it).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import ndimage, optimize, sparse

from livestain.evaluate.labels import Labels
from livestain.evaluate.metrics import Plane, pearson_r

MATCH_IOU = 0.5
MIN_OBJECTS = 5
"""Below this number of objects a correlation over objects says nothing."""


@dataclass(frozen=True, slots=True)
class ObjectScore:
    """How the objects of one image agree; shares are NaN where they are not defined (no object in either).

    Attributes
    ----------
    matched, extra, missed
        Objects in both, in the virtual stain only, in the measured one only.
    dice
        Overlap of the two foregrounds, 2 |A and B| / (|A| + |B|).
    iou
        Mean intersection over union of the matched objects.
    """

    matched: int
    extra: int
    missed: int
    dice: float
    iou: float

    @property
    def ap50(self) -> float:
        """Average precision at an intersection over union of 0.5: matched / (matched + extra + missed)."""
        return _share(self.matched, self.matched + self.extra + self.missed)

    @property
    def f1(self) -> float:
        """2 matched / (2 matched + extra + missed)."""
        return _share(2 * self.matched, 2 * self.matched + self.extra + self.missed)

    @property
    def count_error(self) -> float:
        """|objects found - objects there| / objects there; NaN where there are none."""
        return _share(abs(self.extra - self.missed), self.matched + self.missed)


def score_objects(predicted: Labels, truth: Labels) -> ObjectScore:
    """Compare two label images of one size."""
    iou = overlap(predicted, truth)
    rows, columns = optimize.linear_sum_assignment(np.where(iou >= MATCH_IOU, iou, 0.0), maximize=True)
    found = iou[rows, columns]
    found = found[found >= MATCH_IOU]
    both = int(np.count_nonzero((predicted > 0) & (truth > 0)))
    either = int(np.count_nonzero(predicted)) + int(np.count_nonzero(truth))
    return ObjectScore(
        matched=found.size,
        extra=iou.shape[0] - found.size,
        missed=iou.shape[1] - found.size,
        dice=_share(2 * both, either),
        iou=float(found.mean()) if found.size else math.nan,
    )


def overlap(predicted: Labels, truth: Labels) -> Plane:
    """Return the intersection over union of each predicted object (rows) with each true one (columns)."""
    names_x, x = np.unique(predicted, return_inverse=True)
    names_y, y = np.unique(truth, return_inverse=True)
    ones = np.ones(x.size, np.int64)
    common = sparse.coo_array((ones, (x.ravel(), y.ravel())), shape=(names_x.size, names_y.size)).toarray()
    union = common.sum(axis=1, keepdims=True) + common.sum(axis=0, keepdims=True) - common
    iou: Plane = common / union
    return iou[np.ix_(names_x > 0, names_y > 0)]


def object_r(predicted: Plane, truth: Plane, objects: Labels) -> float:
    """Return the correlation, over the true objects, of their mean brightness; NaN below 5 objects."""
    numbers = np.unique(objects)
    numbers = numbers[numbers > 0]
    if numbers.size < MIN_OBJECTS:
        return math.nan
    means: list[npt.NDArray[np.float64]] = [
        np.asarray(ndimage.mean(plane, objects, numbers), np.float64) for plane in (predicted, truth)
    ]
    return pearson_r(means[0], means[1])


def _share(part: int, whole: int) -> float:
    return part / whole if whole else math.nan
