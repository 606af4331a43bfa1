"""One OME-Zarr image (0.4 or 0.5), at its full resolution."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from pydantic import BaseModel, Field, ValidationError

from livestain.errors import ImageError
from livestain.frames import Counts
from livestain.images.facts import (
    UNREADABLE,
    Axes,
    Facts,
    Kind,
    check_facts,
    kind_of,
    length_um,
    name_channels,
    own_counts,
    unreadable,
)


class _Axis(BaseModel):
    name: str
    unit: str | None = None


class _Transform(BaseModel):
    scale: list[float] | None = None


class _Dataset(BaseModel):
    path: str
    transforms: list[_Transform] = Field([], alias="coordinateTransformations")


class _Multiscale(BaseModel):
    axes: list[_Axis]
    datasets: list[_Dataset] = Field(min_length=1)
    transforms: list[_Transform] = Field([], alias="coordinateTransformations")


class _Channel(BaseModel):
    label: str | None = None


class _Omero(BaseModel):
    channels: list[_Channel] = []


class _Image(BaseModel):
    """The part of OME-Zarr's image metadata that is used; all else in it is other programs' business."""

    multiscales: list[_Multiscale] = Field(min_length=1)
    omero: _Omero = _Omero()


class OmeZarrReader:
    """An OME-Zarr image; no file stays open between planes.

    A plane whose chunk is not on disk reads as the fill value, as Zarr defines it.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            group = zarr.open_group(path, mode="r", use_consolidated=False)
            attributes: dict[str, Any] = group.attrs.asdict()
            image = _Image.model_validate(attributes.get("ome", attributes))
            self._array = group[image.multiscales[0].datasets[0].path]
        except ValidationError as error:
            raise ImageError(
                f"{path} holds no OME-Zarr 0.4 or 0.5 image ({error.error_count()} faults in its metadata, first: "
                f"{error.errors()[0]['msg']}): in a plate or a set of positions open the folder of one image"
            ) from error
        except UNREADABLE as error:
            raise unreadable(path, error) from error
        self._names = [axis.name.lower() for axis in image.multiscales[0].axes]
        self.facts = check_facts(path, self._facts(image, attributes))

    def plane(self, t: int, c: int, z: int) -> Counts:
        """Read one (Y, X) plane."""
        at: dict[str, int | slice] = {"t": t, "c": c, "z": z, "y": slice(None), "x": slice(None)}
        try:
            plane = np.asarray(self._array[tuple(at[name] for name in self._names)])
        except UNREADABLE as error:
            raise unreadable(self._path, error) from error
        return own_counts(plane, self.facts.dtype)

    def close(self) -> None:
        """Do nothing: no file stays open."""

    def _facts(self, image: _Image, attributes: Mapping[str, Any]) -> Facts:
        sizes = self._sizes()
        axes = Axes(*(sizes.get(name, 1) for name in "tczyx"))
        labels = [channel.label for channel in image.omero.channels]
        channels = name_channels(labels, axes.c)
        kind = _stated_kind(attributes) or kind_of(channels)
        dtype = np.dtype(self._array.dtype).newbyteorder("=")
        return Facts(axes, dtype, channels, kind, _pixel_um(image.multiscales[0]))

    def _sizes(self) -> dict[str, int]:
        shape = tuple(self._array.shape)
        names = self._names
        if len(names) != len(shape) or names[-2:] != ["y", "x"] or len({*names, *"tczyx"}) > 5:
            raise ImageError(
                f"{self._path} has the axes {' '.join(names)} and shape {shape}: "
                "any of t c z, then y x, are allowed; export it as T C Z Y X"
            )
        return dict(zip(names, shape, strict=True))


def _stated_kind(attributes: Mapping[str, Any]) -> Kind | None:
    """Return the kind in our own attributes, of the image or of its channels; None where another program wrote it."""
    ours = attributes.get("livestain")
    if not isinstance(ours, Mapping):
        return None
    stated = [ours.get("kind"), *(channel.get("kind") for channel in ours.get("channels", ()))]
    if "virtual" in stated:
        return "virtual"
    return "measured" if "measured" in stated else None


def _pixel_um(multiscale: _Multiscale) -> float:
    """Return the width of a full-resolution pixel in um; 0 without a scale or without its unit."""
    scales = [step.scale[-1] for step in (*multiscale.datasets[0].transforms, *multiscale.transforms) if step.scale]
    return length_um(float(np.prod(scales)), multiscale.axes[-1].unit) if scales else 0.0
