"""From a path or a glob to an `ImageSet`."""

from __future__ import annotations

import os
import re
from pathlib import Path

from livestain.errors import ImageError, plain
from livestain.images.facts import Reader
from livestain.images.imageset import ImageSet
from livestain.images.series import SeriesReader

_TYPES = {".tif": "TIFF", ".tiff": "TIFF", ".png": "PNG", ".nd2": "ND2", ".czi": "CZI"}
IMAGE_ENDINGS = frozenset(_TYPES)
"""Endings of the files that are read, in lower case."""

_WILDCARD = re.compile(r"[*?\[]")
_ZARR_FILES = ("zarr.json", ".zgroup", ".zarray", ".zattrs")


def open_images(path: str | os.PathLike[str]) -> ImageSet:
    """Open images on disk without reading more than their headers.

    Parameters
    ----------
    path
        A TIFF, OME-TIFF, PNG, ND2 or CZI file; an OME-Zarr 0.4 or 0.5 image; a folder of files of one type, or a
        glob (quoted, so that the shell leaves it alone): then the files follow each other in time, in natural order
        (t2 before t10). Pages without axes, positions of an ND2 and scenes of a CZI are time points, too.

    Raises
    ------
    ImageError
        Nothing is there; a file cannot be read; it is colour, not uint8 or uint16, or below 96 x 96 px; the files of
        a series are not alike; ND2 or CZI without the extra ``formats``.
    """
    where = Path(path).expanduser()
    if where.is_dir():
        return ImageSet(where, _open_folder(where))
    if where.is_file():
        return ImageSet(where, _open_file(where))
    if _WILDCARD.search(str(path)):
        return ImageSet(where, _open_glob(str(path)))
    raise ImageError(f"{where} does not exist: give a file or folder of images, or a quoted glob")


def _open_folder(folder: Path) -> Reader:
    if any((folder / name).is_file() for name in _ZARR_FILES):
        # Each library is loaded with the first file of its type: zarr alone takes more than a second.
        from livestain.images.ome_zarr import OmeZarrReader

        return OmeZarrReader(folder)
    return SeriesReader(_files(folder, "*", str(folder)), _open_part)


def _open_glob(pattern: str) -> Reader:
    parts = Path(pattern).expanduser().parts
    first = next(i for i, part in enumerate(parts) if _WILDCARD.search(part))
    return SeriesReader(_files(Path(*parts[:first]), str(Path(*parts[first:])), pattern), _open_part)


def _open_part(path: Path) -> Reader:
    return _open_file(path, alone=True)


def _open_file(path: Path, *, alone: bool = False) -> Reader:
    kind = _TYPES.get(path.suffix.lower())
    if kind == "PNG":
        from livestain.images.png import PngReader

        return PngReader(path)
    if kind == "TIFF":
        from livestain.images.tiff import TiffReader

        return TiffReader(path, alone=alone)
    if kind == "ND2":
        from livestain.images.nd2 import Nd2Reader

        return Nd2Reader(path)
    if kind == "CZI":
        from livestain.images.czi import CziReader

        return CziReader(path)
    raise ImageError(
        f"{path} is no image type that is read here: .tif, .tiff, .png, .nd2 and .czi files and .ome.zarr folders are; "
        "export it as OME-TIFF from the program that made it"
    )


def _files(folder: Path, pattern: str, where: str) -> list[Path]:
    """Return the image files that match in a folder, in natural order; all of one type."""
    try:
        found = [path for path in folder.glob(pattern) if path.suffix.lower() in _TYPES and path.is_file()]
    except (OSError, ValueError) as error:
        raise ImageError(f"{where} cannot be searched ({plain(error)}): give another folder or pattern") from error
    # macOS leaves a "._NAME.tif" beside each file on foreign disks; those are no images.
    files = sorted((path for path in found if not path.name.startswith(".")), key=_natural_order)
    if not files:
        raise ImageError(
            f"{where} holds no image: .tif, .tiff, .png, .nd2 or .czi files, or an .ome.zarr folder, are read; "
            "give the path of one, of a folder of them, or a quoted glob"
        )
    types = sorted({_TYPES[path.suffix.lower()] for path in files}, reverse=True)
    if len(types) > 1:
        raise ImageError(
            f"{where} holds {' and '.join(types)} files: one type is needed; choose it with a glob such as '*.tif'"
        )
    return files


def _natural_order(path: Path) -> tuple[list[str | int], str]:
    """Return a sort key that puts t2 before t10."""
    pieces = re.split(r"([0-9]+)", str(path).casefold())
    return [int(piece) if i % 2 else piece for i, piece in enumerate(pieces)], str(path)
