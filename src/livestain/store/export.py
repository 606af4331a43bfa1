"""Runs as OME-TIFF, for programs that do not open OME-Zarr 0.5 (Fiji among them)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import tifffile

from livestain.errors import RunError, StoreCorruptError, StoreError
from livestain.store.failures import as_store_error
from livestain.store.ledger import Row, crc32
from livestain.store.metadata import AXES, Document, read_document
from livestain.store.planes import PlaneReader
from livestain.store.read import Run
from livestain.store.run import image_path
from livestain.store.tables import extent

VIRTUAL_NOTICE = "VIRTUAL STAIN - predicted, not measured"
_CLASSIC_TIFF_BYTES = 2**32 - 2**20
_PAGE_BYTES = 512
"""More than one page of a TIFF needs beside its pixels."""

Place = tuple[int, int, int]
"""(t, c, z) in the exported file."""


@dataclass(frozen=True, slots=True)
class Exported:
    """One file that was written.

    Attributes
    ----------
    path
        The file.
    empty
        The places (t, c, z) that are zeros because the run holds no plane for them.
    """

    path: Path
    empty: tuple[Place, ...]


def export_ome_tiff(run: Run, output: Path, channels: Sequence[str] | None = None) -> list[Exported]:
    """Write a run as OME-TIFF, one file for each position and kind; blocks, holds one plane in memory.

    ``p000_measured.ome.tif`` has the measured channels, ``p000_virtual_MODEL.ome.tif`` the stains of a model; axes
    T C Z Y X, counts bit for bit, BigTIFF where needed. Every plane is compared with its CRC. A plane without an
    ``ok`` row is written as zeros and named in the file's description.

    Parameters
    ----------
    run
        Any run; of a growing one, what is saved at this moment.
    output
        Folder for the files; made if need be.
    channels
        Labels out of ``run.channels``; None = all.

    Raises
    ------
    RunError
        An unknown channel, nothing to export, or a file is there already.
    StoreError
        (or `StoreFullError`, `StoreDeniedError`) A file cannot be written; `StoreCorruptError` when a plane is not what
        its row says. The file in work is removed, finished ones stay.
    """
    wanted = run.channels if channels is None else tuple(channels)
    unknown = [name for name in wanted if name not in run.channels]
    if unknown:
        raise RunError(f"{run.path} has no channel {unknown[0]!r}: choose from {', '.join(run.channels) or 'none'}")
    stacks = list(_stacks(run, wanted))
    if not stacks:
        raise RunError(f"{run.path} has no saved plane of the channels asked for: nothing to export")
    taken = [output / stack.name for stack in stacks if (output / stack.name).exists()]
    if taken:
        raise RunError(f"{taken[0]} exists already: choose another folder, or delete it")
    try:
        output.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise as_store_error(error, f"folder {output} could not be made") from error
    return [_write(stack, output / stack.name) for stack in stacks]


@dataclass(frozen=True)
class _Stack:
    """Channels of one image that become one file."""

    name: str
    title: str
    image: Path
    attributes: Document
    channels: tuple[int, ...]
    extent: tuple[int, int]
    checksums: dict[Place, str]
    elapsed_ms: dict[tuple[int, int], float]

    @property
    def places(self) -> Iterator[Place]:
        """The (t, c, z) of the image in the order of the file."""
        times, sections = self.extent
        return ((t, c, z) for t in range(times) for c in self.channels for z in range(sections))

    @property
    def empty(self) -> tuple[Place, ...]:
        """The places without an ``ok`` row, with c as in the file."""
        return tuple((t, self.channels.index(c), z) for t, c, z in self.places if (t, c, z) not in self.checksums)


def _stacks(run: Run, wanted: Sequence[str]) -> Iterator[_Stack]:
    raw = [row for row in run.rows() if row["state"] == "ok"]
    stains = {model: [row for row in run.rows(model) if row["state"] == "ok"] for model in run.stains}
    for p in run.positions:
        here = [row for row in raw if row["p"] == p]
        elapsed_ms = {(row["t"], row["z"]): row["elapsed_ms"] for row in here if row.get("elapsed_ms") is not None}
        images = [("measured", run.path / "raw", {(row["t"], row["c"], row["z"]): row["crc32"] for row in here})]
        images += [
            (f"virtual_{model}", run.path / "stains" / model, _of_stains(p, rows)) for model, rows in stains.items()
        ]
        for kind, folder, checksums in images:
            image = image_path(folder, p)
            attributes = read_document(image / "zarr.json")["attributes"] if (image / "zarr.json").is_file() else {}
            channels = tuple(c for c, label in enumerate(_labels(attributes)) if label in wanted)
            if channels and here:
                name = f"p{p:03d}_{kind}.ome.tif"
                title = f"{run.path.name} p{p:03d} {kind}"
                yield _Stack(name, title, image, attributes, channels, extent(here, p), checksums, elapsed_ms)


def _of_stains(p: int, rows: list[Row]) -> dict[Place, str]:
    """Return the CRC of every stain plane of a position (a row holds those of all its channels)."""
    return {(row["t"], c, row["z"]): crc for row in rows if row["p"] == p for c, crc in enumerate(row["crc32"])}


def _labels(attributes: Document) -> list[str]:
    return [f"{channel['kind']}: {channel['name']}" for channel in attributes.get("livestain", {}).get("channels", [])]


def _write(stack: _Stack, path: Path) -> Exported:
    reader = PlaneReader(stack.image)
    shape = (stack.extent[0], len(stack.channels), stack.extent[1], *reader.plane_shape)
    write_ome_tiff(path, _planes(stack, reader), shape, reader.dtype, _metadata(stack))
    return Exported(path, stack.empty)


def write_ome_tiff(
    path: Path, planes: Iterable[npt.NDArray[Any]], shape: tuple[int, ...], dtype: np.dtype[Any], metadata: Document
) -> None:
    """Write planes as one OME-TIFF, BigTIFF where needed; blocks; no half file is left.

    Parameters
    ----------
    planes, shape, dtype
        The (Y, X) planes in order of the (T, C, Z, Y, X) shape.
    metadata
        What tifffile writes as OME-XML.

    Raises
    ------
    StoreError
        (or `StoreFullError`, `StoreDeniedError`) The file cannot be written.
    """
    pages = shape[0] * shape[1] * shape[2]
    size = pages * (shape[3] * shape[4] * dtype.itemsize + _PAGE_BYTES)
    part = path.with_name(path.name + ".part")
    try:
        tifffile.imwrite(
            part,
            iter(planes),
            shape=shape,
            dtype=dtype,
            photometric="minisblack",
            ome=True,
            bigtiff=size > _CLASSIC_TIFF_BYTES,
            metadata={"axes": "TCZYX", **metadata},
        )
        part.replace(path)
    except OSError as error:
        part.unlink(missing_ok=True)
        raise (
            error if isinstance(error, StoreError) else as_store_error(error, f"{path} could not be written")
        ) from error


def _planes(stack: _Stack, reader: PlaneReader) -> Iterator[npt.NDArray[Any]]:
    nothing = np.zeros(reader.plane_shape, reader.dtype)
    for t, c, z in stack.places:
        expected = stack.checksums.get((t, c, z))
        if expected is None:
            yield nothing
            continue
        plane = reader.find(t, c, z)
        found = "nothing" if plane is None else crc32(plane)
        if plane is None or found != expected:
            raise StoreCorruptError(
                f"plane t{t} c{c} z{z} of {stack.image} is not what its row says (CRC {expected}, on disk {found}): "
                "it is damaged; export without this channel (--channels)"
            )
        yield plane


def _metadata(stack: _Stack) -> Document:
    """Return what tifffile writes as OME-XML."""
    omero = stack.attributes["ome"]["omero"]["channels"]
    labels = _labels(stack.attributes)
    return {
        "Name": stack.title,
        "Description": _description(stack),
        "Channel": {
            "Name": [labels[c] for c in stack.channels],
            "Color": [signed_rgba(omero[c]["color"]) for c in stack.channels],
        },
        **_steps(stack.attributes["ome"]["multiscales"][0]),
        "Plane": [_plane_element(stack.elapsed_ms.get((t, z))) for t, _, z in stack.places],
    }


def _description(stack: _Stack) -> str:
    facts = stack.attributes["livestain"]
    virtual = facts["channels"][0]["kind"] == "virtual"
    words = [VIRTUAL_NOTICE if virtual else "Measured", "recorded by livestain"]
    words += [f"{name}: {value}" for name, value in facts.items() if isinstance(value, str) and name != "kind"]
    words += [f"CAUTION: {text}" for text in facts.get("cautions", [])]
    if stack.empty:
        places = ", ".join(f"t{t} c{c} z{z}" for t, c, z in stack.empty)
        words.append(f"{len(stack.empty)} plane(s) without data, shown as zeros: {places}")
    return "; ".join(words)


def _steps(multiscale: Document) -> Document:
    """Return pixel size and time step, those that are known."""
    known = {axis["name"] for axis in multiscale["axes"] if "unit" in axis}
    scale = multiscale["datasets"][0]["coordinateTransformations"][0]["scale"]
    steps: Document = {}
    for axis, step in zip(AXES, scale, strict=True):
        if axis in known:
            name, unit = ("TimeIncrement", "s") if axis == "t" else (f"PhysicalSize{axis.upper()}", "µm")
            steps |= {name: step, f"{name}Unit": unit}
    return steps


def _plane_element(elapsed_ms: float | None) -> Document:
    return {} if elapsed_ms is None else {"DeltaT": elapsed_ms / 1000, "DeltaTUnit": "s"}


def signed_rgba(color: str) -> int:
    """Return a colour as OME stores it: RGBA in a signed 32-bit integer."""
    value = int(color + "FF", 16)
    return value - 2**32 if value >= 2**31 else value
