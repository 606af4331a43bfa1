"""One OME-Zarr image on disk: planes written in any order by one process, read meanwhile by others.

Planes go through an assumed, huge shape, so that no write ever waits for ``zarr.json``; what ``zarr.json`` says is
only for other programs, and follows: it covers every plane that is reported as saved.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import tensorstore as ts

from livestain.errors import FrameError, StoreCorruptError, StoreError
from livestain.frames import FRAME_DTYPES
from livestain.store.failures import TENSORSTORE_ERRORS, as_store_error
from livestain.store.ledger import crc32
from livestain.store.metadata import (
    ChannelInfo,
    Document,
    append_channel,
    array_document,
    group_document,
    read_document,
    write_document,
)

_ASSUMED = (1 << 31, 1 << 20, 1 << 20)
"""Assumed sizes of T, C and Z: larger than any run."""

_AHEAD_S = 1.0
_RETRY_S = 1.0
# Rows come in bursts; a rate over less than this would grow T by thousands.
_RATE_OVER_S = 0.1


def plane_context(*, fsync: bool) -> Any:
    """Return a tensorstore context to be shared by the images of one writer (tensorstore has no types: Any)."""
    return ts.Context(
        {
            "file_io_sync": fsync,
            # The default lock mode may leave the tail of a stale temporary file behind a shorter new chunk.
            "file_io_locking": {"mode": "none"},
            "file_io_concurrency": {"limit": 4},
            "data_copy_concurrency": {"limit": 2},
            "cache_pool": {"total_bytes_limit": 0},
        }
    )


class PendingPlane:
    """A plane on its way to the disk."""

    __slots__ = ("_checksum", "_future", "_what")

    def __init__(self, future: Any, checksum: str, what: str) -> None:
        self._future = future
        self._checksum = checksum
        self._what = what

    def done(self) -> bool:
        """Whether `result` would return or raise at once."""
        return bool(self._future.done())

    def result(self) -> str:
        """Wait until the plane is written (and durable, with fsync); return its CRC as `livestain.store.ledger.crc32`.

        Raises
        ------
        StoreError
            (or `StoreFullError`, `StoreDeniedError`) It is not on disk; earlier planes are, and the image stays usable.
        """
        try:
            self._future.result()
        except TENSORSTORE_ERRORS as error:
            raise as_store_error(error, f"{self._what} could not be written") from error
        return self._checksum


class PlaneStore:
    """One OME-Zarr 0.5 image, axes T C Z Y X, written by this process only and by one thread at a time.

    Made by `create` or `reopen`.

    Attributes
    ----------
    path
        The image's folder.
    plane_shape, dtype
        (Y, X) and uint8 or uint16 of every plane.
    warning
        Why ``zarr.json`` is out of date at the moment; empty when it is not. No plane is lost by it.
    """

    def __init__(self, path: Path, group: Document, array: Document, *, fsync: bool, context: Any) -> None:
        self.path = path
        self.warning = ""
        self.plane_shape: tuple[int, int] = (array["shape"][3], array["shape"][4])
        self.dtype: np.dtype[Any] = np.dtype(array["data_type"])
        self._group = group
        self._array = array
        self._fsync = fsync
        self._planes = _open_assumed(path, array, context or plane_context(fsync=fsync))
        self._written_t, self._written_z = 0, 0
        self._grown_t, self._grown_s = 0, time.monotonic()
        self._stale: set[str] = set()
        self._retry_s = 0.0

    @classmethod
    def create(
        cls,
        path: Path,
        *,
        name: str,
        channels: Sequence[ChannelInfo],
        plane_shape: tuple[int, int],
        dtype: npt.DTypeLike,
        pixel_um: float,
        z_um: float,
        interval_s: float,
        livestain: Mapping[str, object],
        fsync: bool,
        context: Any = None,
    ) -> PlaneStore:
        """Make a new image, seen by others as one black plane at first.

        Parameters
        ----------
        path
            Folder to make, ``.../p000.ome.zarr``; its parents are made too.
        name
            Name of the image.
        channels
            The channels known so far, in order of c.
        plane_shape, dtype
            (Y, X); uint8 or uint16.
        pixel_um, z_um, interval_s
            Steps between pixels and sections in um and between time points in s; 0 where not known.
        livestain
            JSON values for ``attributes.livestain``: kind, model id, weights hash, engine, precision.
        fsync
            Whether a written plane survives a power cut.
        context
            From `plane_context`, to share threads with other images; None = an own one.

        Raises
        ------
        FrameError
            The dtype cannot be recorded.
        StoreError
            (or `StoreFullError`, `StoreDeniedError`) The folder exists already or cannot be written.
        """
        dtype = np.dtype(dtype)
        if dtype not in FRAME_DTYPES:
            raise FrameError(f"planes of dtype {dtype} cannot be recorded: uint8 and uint16 can (native byte order)")
        scale = {"t": interval_s, "z": z_um, "y": pixel_um, "x": pixel_um}
        group = group_document(name, channels, dtype, scale, livestain)
        array = array_document((1, max(1, len(channels)), 1, *plane_shape), dtype)
        try:
            path.mkdir(parents=True)
            (path / "0").mkdir()
        except OSError as error:
            raise as_store_error(error, f"image {path} could not be made") from error
        write_document(path / "0" / "zarr.json", array, fsync=fsync)
        write_document(path / "zarr.json", group, fsync=fsync)
        return cls(path, group, array, fsync=fsync, context=context)

    @classmethod
    def reopen(cls, path: Path, *, fsync: bool, context: Any = None) -> PlaneStore:
        """Go on writing an image whose writer ended or died; raises `StoreError` where there is none."""
        group = read_document(path / "zarr.json")
        array = read_document(path / "0" / "zarr.json")
        store = cls(path, group, array, fsync=fsync, context=context)
        # T on disk may be ahead of the planes by a second's worth; Z and C never are.
        store._written_t = store._grown_t = _end_of_planes(path)
        store._written_z = array["shape"][2]
        return store

    @property
    def channel_count(self) -> int:
        """How many channels the image has."""
        return len(self._group["attributes"]["livestain"]["channels"])

    def begin(self, t: int, c: int, z: int, plane: npt.NDArray[Any]) -> PendingPlane:
        """Start to write one plane and return at once; its CRC is computed here while the write runs.

        Parameters
        ----------
        t, c, z
            Its place, from 0; ``c`` is a channel of this image.
        plane
            (Y, X) of the image's dtype. It is referred to, not copied: do not change it before `PendingPlane.result`.

        Raises
        ------
        FrameError
            Shape or dtype is not the image's.
        StoreError
            There is no such place, or the write could not be started.
        """
        if plane.shape != self.plane_shape or plane.dtype != self.dtype:
            raise FrameError(
                f"plane of {_words(plane.shape, plane.dtype)} does not fit the image of "
                f"{_words(self.plane_shape, self.dtype)}: the camera's settings changed, start a new run"
            )
        what = f"plane t{t} c{c} z{z} of {self.path}"
        if not 0 <= c < self.channel_count or t < 0 or z < 0:
            raise StoreError(f"{what}: no such place (channels 0..{self.channel_count - 1}, t and z from 0)")
        plane = np.ascontiguousarray(plane)
        try:
            # By reference: 12 planes of 8 MiB in flight took 41-52 MiB, copied ones 60-66 MiB.
            future = self._planes[t, c, z].write(plane, can_reference_source_data_indefinitely=True)
        except TENSORSTORE_ERRORS as error:
            raise as_store_error(error, f"{what} could not be written") from error
        return PendingPlane(future, crc32(plane), what)

    def ensure_visible(self, t: int, z: int) -> None:
        """Make other programs see time point ``t`` and section ``z``; call it before a plane's row is written.

        Costs nothing while ``zarr.json`` covers them. It grows T ahead by what one second may bring at the rate seen
        lately (at least to ``t``), Z exactly. A failure to replace ``zarr.json`` is kept as `warning` and tried again
        a second later.
        """
        self._written_t = max(self._written_t, t + 1)
        self._written_z = max(self._written_z, z + 1)
        shape = self._array["shape"]
        if self._written_t > shape[0] or self._written_z > shape[2]:
            shape[0] = max(shape[0], self._t_with_lead())
            shape[2] = max(shape[2], self._written_z)
            self._stale.add("0/zarr.json")
        if self._stale and time.monotonic() >= self._retry_s:
            self._refresh()

    def add_channel(self, channel: ChannelInfo) -> int:
        """Add a channel at the end and return its index c; the metadata on disk follows as in `ensure_visible`."""
        index = append_channel(self._group, channel, self.dtype)
        self._array["shape"][1] = index + 1
        self._stale |= {"0/zarr.json", "zarr.json"}
        self._refresh()
        return index

    def close(self, *, note: Mapping[str, object] | None = None) -> None:
        """Trim T and Z to what was written and write the last metadata; waits up to 2 s for readers to let go.

        Parameters
        ----------
        note
            JSON values merged into ``attributes.livestain``, such as the planes without a stain.

        Never raises for the metadata: see `warning`. Every `PendingPlane` must have its result first.
        """
        self._array["shape"][0] = max(1, self._written_t)
        self._array["shape"][2] = max(1, self._written_z)
        self._group["attributes"]["livestain"].update(note or {})
        self._stale = {"0/zarr.json", "zarr.json"}
        self._refresh(patience_s=2.0)

    def _t_with_lead(self) -> int:
        """Return the T to write: what is written, and what may come in the next second at the rate since last time."""
        now = time.monotonic()
        rate = (self._written_t - self._grown_t) / max(now - self._grown_s, _RATE_OVER_S)
        self._grown_t, self._grown_s = self._written_t, now
        return self._written_t - 1 + max(1, int(rate * _AHEAD_S))

    def _refresh(self, patience_s: float = 0.05) -> None:
        """Write the documents that are out of date, the array's first: a channel without planes misleads nobody."""
        documents = {"0/zarr.json": self._array, "zarr.json": self._group}
        try:
            for name in sorted(self._stale):
                write_document(self.path / name, documents[name], fsync=self._fsync, patience_s=patience_s)
                self._stale.discard(name)
        except StoreError as error:
            self.warning = str(error)
            self._retry_s = time.monotonic() + _RETRY_S
        else:
            self.warning = ""


class PlaneReader:
    """Reads planes of an image, also one that another process is writing.

    Parameters
    ----------
    path
        The image's folder, ``.../p000.ome.zarr``.

    Attributes
    ----------
    plane_shape, dtype
        (Y, X) and dtype of every plane.

    Raises
    ------
    StoreError
        There is no such image, or its metadata cannot be read.
    """

    def __init__(self, path: Path) -> None:
        array = read_document(path / "0" / "zarr.json")
        self.path = path
        self.plane_shape: tuple[int, int] = (array["shape"][3], array["shape"][4])
        self.dtype: np.dtype[Any] = np.dtype(array["data_type"])
        self._planes = _open_assumed(path, array, plane_context(fsync=False))

    def read(self, t: int, c: int, z: int) -> npt.NDArray[Any]:
        """Return one plane, (Y, X) in memory of its own; blocks, may be called by several threads.

        What ``zarr.json`` says of T, C and Z does not matter.

        Raises
        ------
        StoreError
            It is not on disk; `StoreCorruptError` when it is and does not decode.
        """
        plane = self.find(t, c, z)
        if plane is None:
            raise StoreError(f"plane t{t} c{c} z{z} of {self.path} is not on disk")
        return plane

    def find(self, t: int, c: int, z: int) -> npt.NDArray[Any] | None:
        """Return one plane as `read` does, or None when it is not on disk."""
        try:
            plane: npt.NDArray[Any] = self._planes[t, c, z].read().result()
        except TENSORSTORE_ERRORS as error:
            if str(error).startswith("NOT_FOUND"):
                return None
            raise as_store_error(error, f"plane t{t} c{c} z{z} of {self.path} could not be read") from error
        return plane


def _open_assumed(path: Path, array: Document, context: Any) -> Any:
    metadata = {**array, "shape": [*_ASSUMED, *array["shape"][3:]]}
    spec = {
        "driver": "zarr3",
        "kvstore": {"driver": "file", "path": (path.resolve() / "0").as_posix()},
        "metadata": metadata,
        # A plane of zeros is a plane: its file says that it was recorded.
        "store_data_equal_to_fill_value": True,
        "fill_missing_data_reads": False,
    }
    try:
        return ts.open(spec, open=True, assume_metadata=True, context=context).result()
    except TENSORSTORE_ERRORS as error:
        raise StoreCorruptError(f"the metadata of image {path} cannot be used ({error}): it is not ours") from error


def _end_of_planes(path: Path) -> int:
    """Return 1 + the largest t that has a folder (each plane is the file ``0/c/t/c/z/0/0``)."""
    times = path / "0" / "c"
    if not times.is_dir():
        return 0
    return 1 + max((int(entry.name) for entry in times.iterdir() if entry.name.isdigit()), default=-1)


def _words(shape: Sequence[int], dtype: np.dtype[Any]) -> str:
    return f"{' x '.join(map(str, shape))} {dtype}"
