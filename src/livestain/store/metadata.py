"""The OME-Zarr 0.5 metadata of one image, and the replacement of small files in one step."""

from __future__ import annotations

import contextlib
import json
import math
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np

from livestain.errors import StoreCorruptError
from livestain.store.failures import as_store_error

Kind = Literal["measured", "virtual"]
Document = dict[str, Any]
"""A JSON object, so the values are of any type."""

AXES = ("t", "c", "z", "y", "x")
LABEL_FREE_COLOR = "FFFFFF"
STAIN_COLORS = {"nuclei": "00E676", "membrane": "FF00FF"}
_OTHER_STAIN_COLOR = "FFB300"
_UNITS = {"t": "second", "z": "micrometer", "y": "micrometer", "x": "micrometer"}


@dataclass(frozen=True, slots=True)
class ChannelInfo:
    """One channel of an image.

    Attributes
    ----------
    label
        The name every viewer shows: ``"measured: BF"``, ``"virtual: nuclei"``; it begins with the kind.
    color
        Display colour, hexadecimal RGB without ``#``.
    kind
        Measured (recorded) or virtual (predicted); our own readers trust this and not the label.
    window
        Counts shown as black and as full colour at first.
    extra
        More for ``attributes.livestain.channels``, JSON values only. ``{"label_free": False}`` on channel 0 of the
        measured image says that no channel of this run is to be stained.
    """

    label: str
    color: str
    kind: Kind
    window: tuple[float, float]
    extra: Mapping[str, object] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.label.startswith(f"{self.kind}: "):
            raise ValueError(f"channel label {self.label!r} does not begin with '{self.kind}: '")

    @property
    def name(self) -> str:
        """The label without its kind."""
        return self.label.removeprefix(f"{self.kind}: ")


def measured_channel(name: str, bit_depth: int = 16, extra: Mapping[str, object] | None = None) -> ChannelInfo:
    """Return the channel of a camera: white, shown over its bit depth (0 = not known, taken as 16)."""
    window = (0.0, float((1 << (bit_depth or 16)) - 1))
    return ChannelInfo(f"measured: {name}", LABEL_FREE_COLOR, "measured", window, extra or {})


def virtual_channel(name: str, color: str | None = None, extra: Mapping[str, object] | None = None) -> ChannelInfo:
    """Return the channel of a stain: in its colour, never white, shown over the whole range."""
    color = color or STAIN_COLORS.get(name, _OTHER_STAIN_COLOR)
    return ChannelInfo(f"virtual: {name}", color, "virtual", (0.0, 65535.0), extra or {})


def group_document(
    name: str,
    channels: Sequence[ChannelInfo],
    dtype: np.dtype[Any],
    scale: Mapping[str, float],
    livestain: Mapping[str, object],
) -> Document:
    """Return the group's ``zarr.json``: one image of one resolution level at path ``0``.

    Parameters
    ----------
    name
        Name of the image.
    channels
        In order of c.
    dtype
        Of the planes; bounds the display range.
    scale
        Steps ``t`` (s), ``z``, ``y``, ``x`` (um); a step that is not known (0 or not finite) becomes 1 without a unit.
    livestain
        JSON values for ``attributes.livestain``, beside ``v`` and ``channels``.
    """
    known = {axis: step for axis, step in scale.items() if math.isfinite(step) and step > 0}
    document: Document = {
        "zarr_format": 3,
        "node_type": "group",
        "attributes": {
            "ome": {
                "version": "0.5",
                "multiscales": [
                    {
                        "name": name,
                        "axes": [_axis(axis, axis in known) for axis in AXES],
                        "datasets": [
                            {
                                "path": "0",
                                "coordinateTransformations": [
                                    {"type": "scale", "scale": [float(known.get(axis, 1.0)) for axis in AXES]}
                                ],
                            }
                        ],
                    }
                ],
                "omero": {"channels": []},
            },
            "livestain": {"v": 1, **livestain, "channels": []},
        },
    }
    for channel in channels:
        append_channel(document, channel, dtype)
    return document


def append_channel(group: Document, channel: ChannelInfo, dtype: np.dtype[Any]) -> int:
    """Add a channel at the end of a group's document; return its index c."""
    attributes = group["attributes"]
    listed = attributes["livestain"]["channels"]
    index = len(listed)
    listed.append({"index": index, "name": channel.name, "kind": channel.kind, **channel.extra})
    start, end = channel.window
    top = float(np.iinfo(dtype).max)
    attributes["ome"]["omero"]["channels"].append(
        {
            "label": channel.label,
            "color": channel.color.upper(),
            "active": True,
            "window": {"min": 0.0, "max": top, "start": float(start), "end": min(float(end), top)},
        }
    )
    return index


def array_document(shape: tuple[int, int, int, int, int], dtype: np.dtype[Any]) -> Document:
    """Return the array's ``zarr.json``: (T, C, Z, Y, X), one chunk a plane, blosc lz4 with bit shuffle, crc32c."""
    blosc = {"cname": "lz4", "clevel": 5, "shuffle": "bitshuffle", "typesize": dtype.itemsize, "blocksize": 0}
    return {
        "zarr_format": 3,
        "node_type": "array",
        "shape": list(shape),
        "data_type": dtype.name,
        "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": [1, 1, 1, *shape[3:]]}},
        "chunk_key_encoding": {"name": "default", "configuration": {"separator": "/"}},
        "fill_value": 0,
        "codecs": [
            {"name": "bytes", "configuration": {"endian": "little"}},
            {"name": "blosc", "configuration": blosc},
            # Without it a flipped bit gives silently wrong pixels.
            {"name": "crc32c"},
        ],
        "dimension_names": list(AXES),
        "attributes": {},
    }


def atomic_write(path: Path, text: str, *, fsync: bool = True, patience_s: float = 0.1) -> None:
    """Replace a small file in one step: readers see the old text or the new one, never a part.

    Blocks for up to ``patience_s`` while a reader holds the file (Windows refuses the replacement meanwhile).

    Raises
    ------
    StoreError
        (or `StoreFullError`, `StoreDeniedError`) The old file stands as it was.
    """
    temporary = path.with_name(path.name + ".tmp")
    try:
        with temporary.open("w", encoding="utf-8", newline="\n") as file:
            file.write(text)
            if fsync:
                file.flush()
                os.fsync(file.fileno())
        _replace(temporary, path, patience_s)
    except OSError as error:
        _discard(temporary)
        raise as_store_error(error, f"{path} could not be replaced") from error


def write_document(path: Path, document: Document, *, fsync: bool = True, patience_s: float = 0.1) -> None:
    """Write a JSON document by `atomic_write`."""
    atomic_write(path, json.dumps(document, indent=1), fsync=fsync, patience_s=patience_s)


def read_document(path: Path, patience_s: float = 0.1) -> Document:
    """Return a JSON document that another process may be replacing at this moment.

    Raises
    ------
    StoreError
        It does not exist or cannot be read; `StoreCorruptError` when it is no JSON object.
    """
    end = time.monotonic() + patience_s
    while True:
        try:
            document = json.loads(path.read_bytes())
            break
        except PermissionError as error:
            # Windows, for the moment of the replacement.
            if time.monotonic() > end:
                raise as_store_error(error, f"{path} could not be read") from error
            time.sleep(0.005)
        except OSError as error:
            raise as_store_error(error, f"{path} could not be read") from error
        except ValueError as error:
            raise StoreCorruptError(f"{path} is no JSON ({error}): the planes beside it may be whole") from error
    if not isinstance(document, dict):
        raise StoreCorruptError(f"{path} holds a {type(document).__name__}, not a JSON object")
    return document


def _axis(name: str, known: bool) -> Document:
    axis = {"name": name, "type": {"t": "time", "c": "channel"}.get(name, "space")}
    return {**axis, "unit": _UNITS[name]} if known else axis


def _replace(source: Path, target: Path, patience_s: float) -> None:
    end = time.monotonic() + patience_s
    while True:
        try:
            source.replace(target)
            return
        except PermissionError:
            if time.monotonic() > end:
                raise
            time.sleep(0.005)


def _discard(path: Path) -> None:
    with contextlib.suppress(OSError):
        path.unlink()
