"""One grey PNG file as one plane."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from livestain.errors import ImageError
from livestain.frames import Counts
from livestain.images.facts import (
    UNREADABLE,
    Axes,
    Facts,
    check_facts,
    colour_error,
    name_channels,
    own_counts,
    unreadable,
)

# Pillow's names of grey pixels; a 16-bit grey PNG is "I" (int32) before Pillow 11 and "I;16" since.
_DTYPES: dict[str, np.dtype[np.generic]] = {
    "L": np.dtype(np.uint8),
    "I;16": np.dtype(np.uint16),
    "I": np.dtype(np.uint16),
}


class PngReader:
    """A PNG file: one time point, one channel, one section. The file is open only while it is read."""

    def __init__(self, path: Path) -> None:
        self._path = path
        with self._open() as image:
            mode, (width, height) = image.mode, image.size
        if mode == "1":
            raise ImageError(f"{path} holds 1-bit pixels, as masks do: 8- or 16-bit grey is needed; leave masks out")
        if mode not in _DTYPES:
            raise colour_error(path, f"PNG mode {mode}")
        self.facts = check_facts(path, Facts(Axes(1, 1, 1, height, width), _DTYPES[mode], name_channels((), 1)))

    def plane(self, t: int, c: int, z: int) -> Counts:
        """Read the (Y, X) plane."""
        with self._open() as image:
            try:
                plane = np.asarray(image)
            except UNREADABLE as error:
                raise unreadable(self._path, error) from error
        return own_counts(plane, self.facts.dtype)

    def close(self) -> None:
        """Do nothing: no file stays open."""

    def _open(self) -> Image.Image:
        try:
            return Image.open(self._path, formats=("PNG",))
        except (*UNREADABLE, Image.DecompressionBombError) as error:
            raise unreadable(self._path, error) from error
