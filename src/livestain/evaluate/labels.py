"""Masks on disk: objects numbered by hand or by another program."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import tifffile
from PIL import Image
from scipy import ndimage

from livestain.errors import ImageError
from livestain.images.facts import UNREADABLE, unreadable

Labels = npt.NDArray[np.int32]


def read_labels(path: Path, shape: tuple[int, int]) -> Labels:
    """Read a mask: (Y, X) int32, 0 is background; blocks.

    A mask of two values is split into its connected parts (touching diagonally counts); any other holds the number
    of its object in every pixel.

    Raises
    ------
    ImageError
        The file cannot be read, is no (Y, X) plane of whole numbers from 0, or has another size than ``shape``.
    """
    try:
        if path.suffix.lower() in (".tif", ".tiff"):
            mask = np.squeeze(tifffile.imread(path))
        else:
            with Image.open(path) as image:
                mask = np.asarray(image)
    except UNREADABLE as error:
        raise unreadable(path, error) from error
    if mask.dtype.kind not in "bui" or mask.shape != shape:
        raise ImageError(
            f"mask {path} has shape {mask.shape} and dtype {mask.dtype}: one plane of {shape[0]} x {shape[1]} whole "
            "numbers is needed, 0 for background; save the labels as 8- or 16-bit TIFF"
        )
    values = np.unique(mask)
    if values[0] < 0:
        raise ImageError(f"mask {path} holds {values[0]}: objects are numbered from 1, background is 0")
    return split_parts(mask > 0) if values.size <= 2 else mask.astype(np.int32)


def split_parts(foreground: npt.NDArray[np.bool_]) -> Labels:
    """Number the connected parts of a (Y, X) foreground, also diagonally connected ones, from 1."""
    labels, _ = ndimage.label(foreground, structure=np.ones((3, 3), np.int8))
    return np.asarray(labels, np.int32)
