"""One TIFF file: single page, multi-page, ImageJ, OME-TIFF, or with tifffile's own shape."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import numpy.typing as npt
import tifffile

from livestain.errors import ImageError
from livestain.frames import Counts
from livestain.images.facts import (
    UNREADABLE,
    Axes,
    Facts,
    check_facts,
    colour_error,
    kind_of,
    length_um,
    name_channels,
    own_counts,
    unreadable,
)

_UNNAMED = "IQ"
"""tifffile's letters for a sequence of pages and for an axis without a meaning: both are time here."""

_LINKING = ("ome", "mmstack")
"""tifffile's names of the layouts that may tell of several images, and of planes in other files."""


class TiffReader:
    """A TIFF file, open until it is closed; pages are read one at a time.

    Axes stated by OME, ImageJ or tifffile are kept; pages without axes are time points.

    Parameters
    ----------
    path
        The file. An OME-TIFF set of several files is read through any one of them.
    alone
        Refuse a file that is part of a larger set, since a folder of such files would give each plane many times.
    """

    def __init__(self, path: Path, *, alone: bool = False) -> None:
        self._path = path
        try:
            self._file = tifffile.TiffFile(path)
        except UNREADABLE as error:
            raise unreadable(path, error) from error
        try:
            self._series = self._all_series(alone)
            self._pages = self._page_of_place()
            self.facts = check_facts(path, self._facts())
        except BaseException:
            self.close()
            raise

    def plane(self, t: int, c: int, z: int) -> Counts:
        """Read one (Y, X) plane."""
        part, k = divmod(int(self._pages[t, c, z]), self._planes_per_series)
        try:
            plane = self._read(self._series[part], k)
        except UNREADABLE as error:
            raise unreadable(self._path, error) from error
        if plane is None:
            raise ImageError(f"{self._path} has no page for t {t}, channel {c}, z {z}: the file is not complete")
        return own_counts(plane, self.facts.dtype)

    def close(self) -> None:
        """Close the file and those of the same set."""
        self._file.close()

    def _read(self, series: tifffile.TiffPageSeries, k: int) -> npt.NDArray[np.generic] | None:
        shape = self.facts.axes.y, self.facts.axes.x
        plane: npt.NDArray[np.generic]
        if self._contiguous is not None:
            # ImageJ and tifffile write long series behind a single page header: only the offset finds the others.
            dtype = series.dtype.newbyteorder(self._file.byteorder)
            count = math.prod(shape)
            plane = self._file.filehandle.read_array(dtype, count, self._contiguous + k * count * dtype.itemsize)
        else:
            page = series.pages[k]
            # A page that was planned and never written is None, or has no bytes (Micro-Manager's cut stacks).
            if page is None or not any(page.databytecounts):
                return None
            plane = page.asarray() if page.parent is self._file else _read_closed(page)
        return plane.reshape(shape)

    @cached_property
    def _contiguous(self) -> int | None:
        """Byte offset of plane 0 where all planes of the file follow each other as they are, else None."""
        offset: int | None = self._series[0].dataoffset if len(self._series) == 1 else None
        return offset

    @property
    def _planes_per_series(self) -> int:
        return self._pages.size // len(self._series)

    def _all_series(self, alone: bool) -> list[tifffile.TiffPageSeries]:
        """Return the file's series: one, or equal ones that a program appended page by page."""
        try:
            series = list(self._file.series)
            linked = alone and series and series[0].kind in _LINKING
            files = {page.parent.filehandle.path for one in series for page in one.pages if page} if linked else set()
        except UNREADABLE as error:
            raise unreadable(self._path, error) from error
        if not series:
            raise ImageError(f"{self._path} holds no page: at least one is needed")
        if len(files) > 1:
            raise ImageError(
                f"{self._path} is one of {len(files)} files of an OME-TIFF set: "
                "open one of them instead of the folder, and it finds the others"
            )
        self._require_one_layout(series)
        self._require_decoder(series[0].keyframe.compression)
        return series

    def _require_one_layout(self, series: Sequence[tifffile.TiffPageSeries]) -> None:
        layouts = {(one.axes, one.shape, one.dtype) for one in series}
        if len(series) > 1 and (series[0].kind in _LINKING or len(layouts) > 1):
            sizes = ", ".join(f"{one.axes} {one.shape}" for one in series[:4])
            raise ImageError(
                f"{self._path} holds {len(series)} images ({sizes}{', ...' if len(series) > 4 else ''}): one image, "
                "or pages of one size, is needed; save each position or size as a file of its own"
            )

    def _require_decoder(self, compression: int) -> None:
        if compression not in tifffile.TIFF.DECOMPRESSORS:
            name = next((known.name for known in tifffile.COMPRESSION if known == compression), compression)
            raise ImageError(
                f"{self._path} is compressed with {name}: save it without or with deflate, "
                "or install what reads it: pip install imagecodecs"
            )

    def _page_of_place(self) -> npt.NDArray[np.intp]:
        """(T, C, Z) page numbers: where in the file the plane of each place lies."""
        first = self._series[0]
        axes, shape = first.axes, first.shape
        if "S" in axes:
            samples = f"TIFF with {shape[axes.index('S')]} samples a pixel"
            # tifffile takes 3 or 4 pages for colour planes unless told otherwise.
            hint = "; for a stack of pages write it with photometric='minisblack'" if axes.endswith("SYX") else ""
            raise colour_error(self._path, samples + hint)
        if len(self._series) > 1:
            axes, shape = "I" + axes, (len(self._series), *shape)
        lead = axes[:-2]
        named = all(lead.count(name) <= 1 for name in "TCZ") and set(lead) <= set("TCZ" + _UNNAMED)
        if not axes.endswith("YX") or not named or ("T" in lead and set(lead) & set(_UNNAMED)):
            raise ImageError(
                f"{self._path} has the axes {axes} {shape}: time, channel and z before Y X are allowed; "
                "save it with axes TCZYX, or as plain pages (one page = one time point)"
            )
        numbers = np.arange(math.prod(shape[:-2]), dtype=np.intp).reshape(shape[:-2])
        time = [i for i, name in enumerate(lead) if name not in "CZ"]
        rest = [lead.index(name) for name in "CZ" if name in lead]
        sizes = dict(zip(lead, shape, strict=False))
        return numbers.transpose(time + rest).reshape(-1, sizes.get("C", 1), sizes.get("Z", 1))

    def _facts(self) -> Facts:
        first = self._series[0]
        t, c, z = self._pages.shape
        names, pixel_um = self._stated()
        channels = name_channels(names, c)
        axes = Axes(t, c, z, *first.shape[-2:])
        return Facts(axes, np.dtype(first.dtype).newbyteorder("="), channels, kind_of(channels), pixel_um)

    def _stated(self) -> tuple[list[str | None], float]:
        """Return the channel names and the pixel size in um that OME or ImageJ state ([] and 0 for none)."""
        try:
            if self._file.ome_metadata:
                return _read_ome(self._file.ome_metadata)
            resolution = self._file.pages[0].tags.get("XResolution")
            if not self._file.imagej_metadata or resolution is None or not resolution.value[0]:
                return [], 0.0
            pixels, units = resolution.value
            return [], length_um(units / pixels, self._file.imagej_metadata.get("unit"))
        except UNREADABLE as error:
            raise unreadable(self._path, error) from error


def _read_closed(page: tifffile.TiffPage | tifffile.TiffFrame) -> npt.NDArray[np.generic]:
    """Read a page that lies in another file of the same set: tifffile keeps those closed."""
    page.parent.filehandle.open()
    try:
        plane: npt.NDArray[np.generic] = page.asarray()
    finally:
        page.parent.filehandle.close()
    return plane


def _read_ome(text: str) -> tuple[list[str | None], float]:
    """Return channel names and pixel size in um from the first image of an OME-XML text."""
    pixels = ElementTree.fromstring(text).find(".//{*}Pixels")
    if pixels is None:
        return [], 0.0
    names = [channel.get("Name") for channel in pixels.findall("{*}Channel")]
    return names, length_um(float(pixels.get("PhysicalSizeX", "0")), pixels.get("PhysicalSizeXUnit", "um"))
