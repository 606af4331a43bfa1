"""Images to train on, found on disk: planes of one domain with their groups and pixel sizes; nothing is read yet."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from livestain.errors import ImageError
from livestain.evaluate.pairs import ReadPlane, natural_order, read_table, require_measured
from livestain.frames import Counts
from livestain.images import open_images

_ENDINGS = {".png", ".tif", ".tiff"}
_WILDCARD = re.compile(r"[*?\[]")


@dataclass(frozen=True, slots=True)
class Source:
    """One plane of one field of view on disk.

    Attributes
    ----------
    name
        File name without its ending, with time point and section where the file has several.
    group
        The experiment or microscope; empty where there is one only.
    path
        The file.
    shape
        (Y, X) in px.
    dtype
        uint8 or uint16.
    pixel_um
        Pixel size; None where it is not stated.
    read
        Reads the (Y, X) counts.
    """

    name: str
    group: str
    path: Path
    shape: tuple[int, int]
    dtype: np.dtype[np.generic]
    pixel_um: float | None
    read: ReadPlane

    @property
    def trunk(self) -> str:
        """The name up to its last ``_``: what files of one field share."""
        return self.name.rpartition("_")[0] or self.name


def find_sources(path: Path | str, column: str) -> list[Source]:
    """Return every plane of one domain.

    Parameters
    ----------
    path
        A file, a folder (subfolders are groups), a quoted glob, or a CSV with the columns ``column`` and, where
        needed, ``group`` and ``pixel_um``; its paths are relative to its own folder.
    column
        ``label_free``, or the name of the stain; also the channel that is taken of files with several.

    Raises
    ------
    ImageError
        Nothing is there; a file cannot be read or is colour; it is a virtual stain; the CSV lacks the column.
    ChannelError
        A file has several channels and none has this name.
    """
    found = [source for file in _files(Path(path).expanduser(), str(path), column) for source in _open(*file, column)]
    if not found:
        raise ImageError(f"{path} holds no image: .tif, .tiff, .png files or .ome.zarr folders are read")
    return found


def _files(where: Path, text: str, column: str) -> Iterator[tuple[Path, str, float | None]]:
    """Yield file, group and stated pixel size."""
    if where.is_file() and where.suffix.lower() == ".csv":
        yield from _lines(where, column)
    elif where.is_dir() and where.suffix != ".zarr":
        files = [path for path in where.rglob("*") if _is_image(path, where)]
        for path in sorted(files, key=lambda path: natural_order(str(path))):
            group = path.parent.relative_to(where).as_posix()
            yield path, "" if group == "." else group, None
    elif not where.exists() and _WILDCARD.search(text):
        parts = where.parts
        first = next(k for k, part in enumerate(parts) if _WILDCARD.search(part))
        for path in sorted(Path(*parts[:first]).glob(str(Path(*parts[first:]))), key=lambda p: natural_order(str(p))):
            yield path, "", None
    elif where.exists():
        yield where, "", None
    else:
        raise ImageError(f"{where} does not exist: give a file, a folder, a quoted glob or a .csv table")


def _is_image(path: Path, top: Path) -> bool:
    inside_zarr = any(parent.suffix == ".zarr" for parent in path.relative_to(top).parents)
    if path.name.startswith(".") or inside_zarr:
        return False
    return path.suffix == ".zarr" if path.is_dir() else path.suffix.lower() in _ENDINGS


def _lines(path: Path, column: str) -> Iterator[tuple[Path, str, float | None]]:
    _, lines = read_table(path, column)
    for number, line in enumerate(lines, start=2):
        if not (line[column] or "").strip():
            continue
        text = (line.get("pixel_um") or "").strip()
        try:
            pixel_um = float(text) if text else None
        except ValueError:
            pixel_um = -1.0
        if pixel_um is not None and not 0 < pixel_um < float("inf"):
            raise ImageError(f"{path}, line {number}: pixel_um {text!r} is not possible: a number above 0, or nothing")
        yield path.parent / line[column].strip(), (line.get("group") or "").strip(), pixel_um


def _open(path: Path, group: str, pixel_um: float | None, column: str) -> Iterator[Source]:
    with open_images(path) as images:
        require_measured(path, images.kind)
        channel = 0 if len(images.channels) == 1 else images.select_channel(column)
        places = [(t, z) for t in range(images.axes.t) for z in range(images.axes.z)]
        stem = path.name.split(".")[0]
        for t, z in places:
            name = stem if len(places) == 1 else f"{stem} t{t} z{z}"
            read = functools.partial(_read, path, t, channel, z)
            yield Source(name, group, path, images.plane_shape, images.dtype, pixel_um or images.pixel_um or None, read)


def _read(path: Path, t: int, channel: int, z: int) -> Counts:
    with open_images(path) as images:
        return images.plane(t, channel, z)
