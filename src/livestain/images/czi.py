"""One CZI file of Zeiss's ZEN, through Zeiss's own library ``pylibCZIrw`` (extra ``formats``)."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from xml.etree import ElementTree

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

_DTYPES: dict[str, np.dtype[np.generic]] = {
    "Gray8": np.dtype(np.uint8),
    "Gray16": np.dtype(np.uint16),
    "Gray32Float": np.dtype(np.float32),
}
_READ = set("TCZXYM")


class CziReader:
    """A CZI file, open until it is closed; planes are read one at a time, a mosaic's tiles joined.

    Scenes of one size follow each other in time.
    """

    def __init__(self, path: Path) -> None:
        try:
            from pylibCZIrw.czi import CziReader as Document
        except ImportError as error:
            raise missing_library(path, "pylibCZIrw") from error
        self._path = path
        try:
            self._file = Document(str(path))
        except UNREADABLE as error:
            raise unreadable(path, error) from error
        try:
            self.facts = check_facts(path, self._facts())
        except ImageError:
            self.close()
            raise
        except (*UNREADABLE, ElementTree.ParseError) as error:
            self.close()
            raise unreadable(path, error) from error

    def plane(self, t: int, c: int, z: int) -> Counts:
        """Read one (Y, X) plane."""
        scene, time = divmod(t, self._times)
        place = {"T": time, "C": c, "Z": z}
        at = {name: index + self._first[name] for name, index in place.items() if name in self._first}
        number, roi = self._scenes[scene]
        options = {} if number is None else {"scene": number}
        try:
            plane: Any = self._file.read(roi=roi, plane=at, **options)
        except UNREADABLE as error:
            raise unreadable(self._path, error) from error
        return own_counts(plane[..., 0], self.facts.dtype)

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def _facts(self) -> Facts:
        box = self._file.total_bounding_box_no_pyramid
        more = [name for name, (first, end) in box.items() if name not in _READ and end - first > 1]
        if more:
            raise ImageError(
                f"{self._path} has the axes {', '.join(box)}: scene, time, z and channel before Y X are allowed; "
                "export it as OME-TIFF from ZEN"
            )
        self._first = {name: box[name][0] for name in "TCZ" if name in box}
        sizes = {name: box[name][1] - box[name][0] for name in self._first}
        self._times = sizes.get("T", 1)
        self._scenes = self._find_scenes()
        _, (_, _, width, height) = self._scenes[0]
        axes = Axes(len(self._scenes) * self._times, sizes.get("C", 1), sizes.get("Z", 1), height, width)
        names, pixel_um = _read_metadata(self._file.raw_metadata)
        return Facts(axes, self._dtype(), name_channels(names, axes.c), pixel_um=pixel_um)

    def _find_scenes(self) -> list[tuple[int | None, tuple[int, int, int, int]]]:
        """Return number and (x, y, width, height) of every scene; None and the whole where the file has none."""
        found: dict[int | None, Any] = dict(self._file.scenes_bounding_rectangle_no_pyramid)
        found = found or {None: self._file.total_bounding_rectangle_no_pyramid}
        scenes = [(number, (at.x, at.y, at.w, at.h)) for number, at in found.items()]
        if len({rectangle[2:] for _, rectangle in scenes}) > 1:
            sizes = ", ".join(f"{width} x {height}" for _, (_, _, width, height) in scenes[:4])
            raise ImageError(
                f"{self._path} holds scenes of several sizes ({sizes}): one size is needed; save each scene as a file "
                "of its own"
            )
        return scenes

    def _dtype(self) -> np.dtype[np.generic]:
        kinds = set(self._file.pixel_types.values())
        colours = [kind for kind in kinds if kind not in _DTYPES]
        if colours:
            raise colour_error(self._path, f"CZI of {colours[0]} pixels")
        if len(kinds) > 1:
            raise ImageError(f"{self._path} has channels of {' and '.join(sorted(kinds))}: save each as its own file")
        return _DTYPES[kinds.pop()]


def _read_metadata(text: str) -> tuple[list[str | None], float]:
    """Return the channel names and the width of a pixel in um (0 where it is not stated; the file has metres)."""
    root = ElementTree.fromstring(text)
    channels = root.findall("./Metadata/Information/Image/Dimensions/Channels/Channel")
    width = root.find("./Metadata/Scaling/Items/Distance[@Id='X']/Value")
    pixel_um = float(width.text) * 1e6 if width is not None and width.text else 0.0
    return [channel.get("Name") for channel in channels], pixel_um
