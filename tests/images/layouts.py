"""Writers of small image sets in every layout that is read, each with the planes that must come back."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import tifffile
import zarr
from PIL import Image
from pylibCZIrw import czi

from livestain.images import Kind
from livestain.store.metadata import ChannelInfo, measured_channel, virtual_channel
from livestain.store.planes import PlaneStore

SIDE = 96
Stack = npt.NDArray[Any]


def stack(t: int = 1, c: int = 1, z: int = 1, dtype: str = "uint16", width: int = SIDE + 5) -> Stack:
    """(T, C, Z, Y, X) counts over the whole range of the dtype, every plane different."""
    top = int(np.iinfo(dtype).max)
    return np.random.default_rng(t * 100 + c * 10 + z).integers(0, top, (t, c, z, SIDE, width), dtype, endpoint=True)


def write_tiff(path: Path, data: Stack, **options: Any) -> Path:
    """Write with tifffile; grey unless told otherwise."""
    tifffile.imwrite(path, data, **{"photometric": "minisblack", **options})
    return path


def write_png(path: Path, plane: Stack) -> Path:
    Image.fromarray(plane).save(path)
    return path


def write_appended(path: Path, planes: Stack) -> Path:
    """One write for each plane: tifffile lists such a file as many images."""
    with tifffile.TiffWriter(path) as tiff:
        for plane in planes:
            tiff.write(plane, contiguous=False)
    return path


def write_folder(folder: Path, planes: Stack, numbers: list[int], suffix: str) -> Path:
    folder.mkdir()
    for number, plane in zip(numbers, planes, strict=True):
        name = folder / f"bf_t{number}{suffix}"
        write_png(name, plane) if suffix == ".png" else write_tiff(name, plane)
    (folder / "notes.txt").write_text("not an image")
    (folder / f"._bf_t1{suffix}").write_bytes(b"what macOS leaves on foreign disks")
    return folder


def write_zarr(folder: Path, data: Stack, axes: str, version: str, **metadata: Any) -> Path:
    """One image of one level in OME-Zarr 0.4 or 0.5; ``metadata``: labels, unit, scale, twice, attributes."""
    group = zarr.open_group(folder, mode="w", zarr_format=2 if version == "0.4" else 3)
    array = group.create_array("full", shape=data.shape, chunks=(*(1,) * (data.ndim - 2), SIDE, SIDE), dtype=data.dtype)
    array[...] = data
    unit = metadata.get("unit")
    spaces = [{"name": name, "type": "space", **({"unit": unit} if unit else {})} for name in axes]
    scale = {"type": "scale", "scale": [metadata.get("scale", 1.0)] * len(axes)}
    image: dict[str, Any] = {
        "multiscales": [
            {"axes": spaces, "datasets": [{"path": "full", "coordinateTransformations": [scale]}], "version": version}
        ]
    }
    if "twice" in metadata:
        image["multiscales"][0]["coordinateTransformations"] = [scale]
    if "labels" in metadata:
        image["omero"] = {"channels": [{"label": label} for label in metadata["labels"]]}
    group.attrs.update({**(image if version == "0.4" else {"ome": image}), **metadata.get("attributes", {})})
    return folder


def write_czi(path: Path, data: Stack, *, scenes: int = 1, names: tuple[str, ...] = ()) -> Path:
    """A CZI of Zeiss's own library: uint8 or uint16, the scenes beside each other, equally many time points in each."""
    times = len(data) // scenes
    with czi.create_czi(str(path)) as document:
        for t, c, z in np.ndindex(data.shape[:3]):
            scene, time = divmod(t, times)
            options = {"scene": scene, "location": (500 * scene, 0)} if scenes > 1 else {}
            document.write(data[t, c, z][..., None], plane={"T": time, "C": c, "Z": z}, **options)
        document.write_metadata("test", channel_names=dict(enumerate(names)), scale_x=3.25e-7, scale_y=3.25e-7)
    return path


def write_own(folder: Path, data: Stack, channels: list[ChannelInfo]) -> Path:
    """An image as livestain records it."""
    store = PlaneStore.create(
        folder,
        name="p000",
        channels=channels,
        plane_shape=data.shape[3:],
        dtype=data.dtype,
        pixel_um=0.65,
        z_um=0.0,
        interval_s=0.0,
        livestain={"kind": channels[0].kind},
        fsync=False,
    )
    for t, c, z in np.ndindex(data.shape[:3]):
        store.begin(t, c, z, data[t, c, z]).result()
        store.ensure_visible(t, z)
    store.close()
    return folder


@dataclass(frozen=True)
class Layout:
    """How a set is written into a folder, and what must be read from it; ``truth`` is (T, C, Z, Y, X)."""

    write: Callable[[Path, Stack], Path | str]
    truth: Stack
    channels: tuple[str, ...] = ("channel 0",)
    kind: Kind = "unknown"
    pixel_um: float = 0.0


def _two(names: str = "channel 0,channel 1") -> tuple[str, ...]:
    return tuple(names.split(","))


_OME = {
    "axes": "TCZYX",
    "Channel": {"Name": ["BF", "DAPI"]},
    "PhysicalSizeX": 325.0,
    "PhysicalSizeXUnit": "nm",
}
_VIRTUAL = {"axes": "TCYX", "Channel": {"Name": ["virtual: nuclei", "virtual: membrane"]}}

LAYOUTS: dict[str, Layout] = {
    "tiff, one page": Layout(lambda d, s: write_tiff(d / "a.tif", s[0, 0, 0]), stack()),
    "tiff, uint8": Layout(lambda d, s: write_tiff(d / "a.TIFF", s[0, 0, 0]), stack(dtype="uint8")),
    "tiff, tiles": Layout(lambda d, s: write_tiff(d / "a.tif", s[0, 0, 0], tile=(32, 32)), stack()),
    "tiff, big-endian": Layout(lambda d, s: write_tiff(d / "a.tif", s[:, 0, 0], byteorder=">"), stack(t=4)),
    "tiff, pages without any metadata": Layout(
        lambda d, s: write_tiff(d / "a.tif", s[:, 0, 0], metadata=None), stack(t=5)
    ),
    "tiff, pages without axes": Layout(lambda d, s: write_tiff(d / "a.tif", s[:, 0, 0]), stack(t=3)),
    "tiff, two axes without names are one time": Layout(
        lambda d, s: write_tiff(d / "a.tif", s.reshape(2, 3, *s.shape[3:])), stack(t=6)
    ),
    "tiff, compressed pages": Layout(
        lambda d, s: write_tiff(d / "a.tif", s[:, 0, 0], compression="deflate", predictor=True), stack(t=4)
    ),
    "tiff, shaped TCZYX": Layout(
        lambda d, s: write_tiff(d / "a.tif", s, metadata={"axes": "TCZYX"}), stack(2, 2, 3), _two()
    ),
    "tiff, shaped CTYX": Layout(
        lambda d, s: write_tiff(d / "a.tif", s[:, :, 0].swapaxes(0, 1), metadata={"axes": "CTYX"}),
        stack(3, 2),
        _two(),
    ),
    "tiff, shaped ZYX is no time": Layout(
        lambda d, s: write_tiff(d / "a.tif", s[0, 0], metadata={"axes": "ZYX"}), stack(z=4)
    ),
    "tiff, pages appended one by one": Layout(lambda d, s: write_appended(d / "a.tif", s[:, 0, 0]), stack(t=5)),
    "imagej hyperstack": Layout(
        lambda d, s: write_tiff(
            d / "a.tif",
            s.swapaxes(1, 2),
            imagej=True,
            resolution=(1 / 0.65, 1 / 0.65),
            metadata={"axes": "TZCYX", "unit": "um"},
        ),
        stack(2, 2, 3),
        _two(),
        pixel_um=0.65,
    ),
    "imagej stack without a unit: slices are z": Layout(
        lambda d, s: write_tiff(d / "a.tif", s[0, 0], imagej=True, metadata={"axes": "ZYX"}), stack(z=4)
    ),
    "ome-tiff": Layout(
        lambda d, s: write_tiff(d / "a.ome.tif", s, metadata=_OME), stack(2, 2, 3), _two("BF,DAPI"), pixel_um=0.325
    ),
    "ome-tiff, compressed": Layout(
        lambda d, s: write_tiff(d / "a.ome.tif", s, metadata=_OME, compression="deflate", byteorder=">"),
        stack(2, 2, 3),
        _two("BF,DAPI"),
        pixel_um=0.325,
    ),
    "ome-tiff of virtual stains": Layout(
        lambda d, s: write_tiff(d / "a.ome.tif", s[:, :, 0], metadata=_VIRTUAL),
        stack(2, 2),
        _two("virtual: nuclei,virtual: membrane"),
        "virtual",
    ),
    "png, uint16": Layout(lambda d, s: write_png(d / "a.png", s[0, 0, 0]), stack()),
    "png, uint8": Layout(lambda d, s: write_png(d / "a.PNG", s[0, 0, 0]), stack(dtype="uint8")),
    "folder of tiff, t2 before t10": Layout(
        lambda d, s: write_folder(d / "series", s[:, 0, 0], [1, 2, 10, 11], ".tif"), stack(t=4)
    ),
    "folder of png": Layout(lambda d, s: write_folder(d / "series", s[:, 0, 0], [9, 10, 100], ".png"), stack(t=3)),
    "folder of stacks": Layout(lambda d, s: _write_stacks(d / "series", s), stack(5, 2), _two()),
    "glob": Layout(lambda d, s: str(write_folder(d / "a", s[:, 0, 0], [1, 5, 30], ".png") / "*_t*.png"), stack(t=3)),
    "glob over folders": Layout(lambda d, s: _write_days(d, s), stack(t=3)),
    "folder whose name looks like a glob": Layout(
        lambda d, s: write_folder(d / "run [1]", s[:, 0, 0], [1, 2], ".tif"), stack(t=2)
    ),
    "ome-zarr 0.4": Layout(
        lambda d, s: write_zarr(d / "a.zarr", s, "tczyx", "0.4", labels=["BF", "DAPI"], unit="micrometer", scale=0.65),
        stack(2, 2, 3),
        _two("BF,DAPI"),
        pixel_um=0.65,
    ),
    "ome-zarr 0.4, big-endian": Layout(
        lambda d, s: write_zarr(d / "a.zarr", s[:, 0, 0].astype(">u2"), "tyx", "0.4"), stack(t=2)
    ),
    "ome-zarr 0.5": Layout(
        lambda d, s: write_zarr(d / "a.ome.zarr", s[:, :, 0], "tcyx", "0.5", unit="nanometer", scale=650.0),
        stack(3, 2),
        _two(),
        pixel_um=0.65,
    ),
    "ome-zarr 0.5, a scale of the image beside that of its level": Layout(
        lambda d, s: write_zarr(d / "a.zarr", s[0, 0, 0], "yx", "0.5", unit="micrometer", scale=0.5, twice=True),
        stack(),
        pixel_um=0.25,
    ),
    "ome-zarr 0.5, one plane, scale without unit": Layout(
        lambda d, s: write_zarr(d / "a", s[0, 0, 0], "yx", "0.5", scale=0.65), stack(dtype="uint8")
    ),
    "czi": Layout(
        lambda d, s: write_czi(d / "a.czi", s, names=("BF", "DAPI")), stack(2, 2, 3), _two("BF,DAPI"), pixel_um=0.325
    ),
    "czi, uint8, channels without names": Layout(
        lambda d, s: write_czi(d / "a.CZI", s), stack(dtype="uint8"), pixel_um=0.325
    ),
    "czi, scenes follow each other in time": Layout(
        lambda d, s: write_czi(d / "a.czi", s, scenes=3), stack(6), pixel_um=0.325
    ),
    "measured image of a run": Layout(
        lambda d, s: write_own(d / "p000.ome.zarr", s, [measured_channel("BF"), measured_channel("DAPI")]),
        stack(3, 2, 2),
        _two("measured: BF,measured: DAPI"),
        "measured",
        0.65,
    ),
    "virtual image of a run": Layout(
        lambda d, s: write_own(d / "p000.ome.zarr", s, [virtual_channel("nuclei")]),
        stack(2),
        ("virtual: nuclei",),
        "virtual",
        0.65,
    ),
    "virtual by its attributes, whatever its channels are called": Layout(
        lambda d, s: write_zarr(
            d / "a.zarr", s[0, 0, 0], "yx", "0.5", labels=["DAPI"], attributes={"livestain": {"kind": "virtual"}}
        ),
        stack(),
        ("DAPI",),
        "virtual",
    ),
}


def _write_stacks(folder: Path, data: Stack) -> Path:
    """Two files of three and two time points with two channels each."""
    folder.mkdir()
    for name, part in (("s1.tif", data[:3]), ("s2.tif", data[3:])):
        write_tiff(folder / name, part[:, :, 0], metadata={"axes": "TCYX"})
    return folder


def _write_days(folder: Path, data: Stack) -> str:
    for day, plane in zip((1, 2, 10), data[:, 0, 0], strict=True):
        (folder / f"day{day}").mkdir()
        write_tiff(folder / f"day{day}" / "bf.tif", plane)
    return str(folder / "day*" / "bf.tif")
