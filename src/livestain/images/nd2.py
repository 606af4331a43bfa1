"""One ND2 file of Nikon's NIS-Elements, through the library ``nd2`` (extra ``formats``)."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from livestain.errors import ImageError
from livestain.frames import Counts
from livestain.images.facts import (
    UNREADABLE,
    Axes,
    Facts,
    check_facts,
    colour_error,
    missing_library,
    name_channels,
    own_counts,
    unreadable,
)

_AXES = "PTZCYX"
"""The letters of ``nd2`` that are read; P, the stage positions, follow each other in time here."""


class Nd2Reader:
    """An ND2 file, open until it is closed; frames are read one at a time."""

    def __init__(self, path: Path) -> None:
        try:
            import nd2
        except ImportError as error:
            raise missing_library(path, "nd2") from error
        self._path = path
        try:
            self._file = nd2.ND2File(path)
        except UNREADABLE as error:
            raise unreadable(path, error) from error
        try:
            self._sizes: Mapping[str, int] = self._file.sizes
            self.facts = check_facts(path, self._facts())
        except ImageError:
            self.close()
            raise
        except UNREADABLE as error:
            self.close()
            raise unreadable(path, error) from error

    def plane(self, t: int, c: int, z: int) -> Counts:
        """Read one (Y, X) plane."""
        try:
            frame = np.asarray(self._file.read_frame(int(self._numbers[t, z])))
        except UNREADABLE as error:
            raise unreadable(self._path, error) from error
        # A frame holds every channel of its moment.
        return own_counts(frame[c] if frame.ndim == 3 else frame, self.facts.dtype)

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def _facts(self) -> Facts:
        if self._file.is_rgb:
            raise colour_error(self._path, "ND2 with 3 or more samples a pixel")
        if not set(self._sizes) <= set(_AXES):
            raise ImageError(
                f"{self._path} has the axes {dict(self._sizes)}: positions, time, z and channel before Y X are "
                "allowed; export it as OME-TIFF from NIS-Elements"
            )
        lead = [axis for axis in self._sizes if axis in "PTZ"]
        numbers = np.arange(np.prod([self._sizes[axis] for axis in lead], dtype=int))
        numbers = numbers.reshape([self._sizes[axis] for axis in lead])
        order = [lead.index(axis) for axis in "PTZ" if axis in lead]
        self._numbers = numbers.transpose(order).reshape(-1, self._sizes.get("Z", 1))
        channels = self._sizes.get("C", 1)
        axes = Axes(len(self._numbers), channels, self._sizes.get("Z", 1), self._sizes["Y"], self._sizes["X"])
        known: list[Any] = list(self._file.metadata.channels or ())
        names = name_channels([channel.channel.name for channel in known], channels)
        return Facts(axes, np.dtype(self._file.dtype), names, pixel_um=_pixel_um(known))


def _pixel_um(channels: list[Any]) -> float:
    """Return the width of a pixel in um; 0 for a microscope that was not calibrated."""
    volume = channels[0].volume if channels else None
    return float(volume.axesCalibration[0]) if volume is not None and volume.axesCalibrated[0] else 0.0
