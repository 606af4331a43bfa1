"""Images on disk: what is read is what was written, and what cannot be used is refused with a reason."""

from __future__ import annotations

import os
import subprocess
import sys
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import numpy as np
import psutil
import pytest
import tifffile

from livestain.errors import ChannelError, ImageError
from livestain.images import open_images
from tests.images.layouts import LAYOUTS, SIDE, Layout, stack, write_folder, write_png, write_tiff, write_zarr


@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS.keys())
def test_every_plane_comes_back_bit_for_bit_with_what_the_file_states(layout: Layout, tmp_path: Path) -> None:
    path = layout.write(tmp_path, layout.truth)
    with open_images(path) as images:
        assert images.axes == layout.truth.shape
        assert len(images) == layout.truth.shape[0]
        assert images.plane_shape == layout.truth.shape[3:]
        assert images.dtype == layout.truth.dtype
        assert images.channels == layout.channels
        assert images.kind == layout.kind
        assert images.pixel_um == pytest.approx(layout.pixel_um, rel=1e-5)
        for t, c, z in reversed(list(np.ndindex(layout.truth.shape[:3]))):
            plane = images.plane(t, c, z)
            assert plane.dtype == layout.truth.dtype
            assert plane.flags.c_contiguous
            np.testing.assert_array_equal(plane, layout.truth[t, c, z])


@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS.keys())
def test_a_plane_belongs_to_the_caller(layout: Layout, tmp_path: Path) -> None:
    with open_images(layout.write(tmp_path, layout.truth)) as images:
        first = images.plane(0)
        first[...] = 7
        np.testing.assert_array_equal(images.plane(0), layout.truth[0, 0, 0])


@pytest.mark.parametrize("name", ["tiff, pages without axes", "ome-tiff", "folder of stacks", "ome-zarr 0.5"])
def test_after_the_with_block_no_file_is_open(name: str, tmp_path: Path) -> None:
    layout = LAYOUTS[name]
    with open_images(layout.write(tmp_path, layout.truth)) as images:
        images.plane(0)
    images.close()
    assert not [file.path for file in psutil.Process().open_files() if file.path.startswith(str(tmp_path))]


def _planes(folder: Path, **options: object) -> Path:
    return write_tiff(folder / "a.tif", stack(t=200)[:, 0, 0], **options)


@pytest.mark.parametrize(
    "write",
    [
        lambda d: _planes(d),
        lambda d: _planes(d, compression="deflate"),
        lambda d: write_zarr(d / "a.zarr", stack(t=200)[:, 0, 0], "tyx", "0.5"),
    ],
    ids=["contiguous", "compressed", "zarr"],
)
def test_only_the_plane_asked_for_is_in_memory(write: Callable[[Path], Path], tmp_path: Path) -> None:
    path = write(tmp_path)
    plane_bytes = SIDE * (SIDE + 5) * 2
    with open_images(path) as images:
        images.plane(0)
    tracemalloc.start()
    with open_images(path) as images:
        images.plane(150)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 60 * plane_bytes


def _multi_file_set(folder: Path) -> Path:
    """Two OME-TIFF files that describe each other, as programs write one position or time point a file."""
    data = stack(t=2)[:, 0, 0]
    links = "".join(
        f'<TiffData IFD="0" FirstT="{t}" FirstC="0" FirstZ="0" PlaneCount="1">'
        f'<UUID FileName="a{t}.ome.tif">urn:uuid:{t}</UUID></TiffData>'
        for t in range(2)
    )
    for t, plane in enumerate(data):
        description = (
            f'<OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06" UUID="urn:uuid:{t}"><Image ID="Image:0">'
            f'<Pixels ID="Pixels:0" DimensionOrder="XYZCT" Type="uint16" SizeX="{plane.shape[1]}" SizeY="{SIDE}" '
            f'SizeZ="1" SizeC="1" SizeT="2"><Channel ID="Channel:0" Name="BF"/>{links}</Pixels></Image></OME>'
        )
        write_tiff(folder / f"a{t}.ome.tif", plane, description=description, metadata=None)
    return folder


def test_a_multi_file_ome_tiff_is_read_through_any_of_its_files(tmp_path: Path) -> None:
    _multi_file_set(tmp_path)
    with open_images(tmp_path / "a0.ome.tif") as images:
        assert len(images) == 2
        np.testing.assert_array_equal(images.plane(1), stack(t=2)[1, 0, 0])


def _mixed_sizes(folder: Path) -> Path:
    write_tiff(folder / "a1.tif", stack()[0, 0, 0])
    write_tiff(folder / "a2.tif", stack(width=120)[0, 0, 0])
    return folder


def _mixed_dtypes(folder: Path) -> str:
    write_png(folder / "a1.png", stack()[0, 0, 0])
    write_png(folder / "a2.png", stack(dtype="uint8")[0, 0, 0])
    return str(folder / "*.png")


def _mixed_types(folder: Path) -> Path:
    write_png(folder / "a1.png", stack()[0, 0, 0])
    write_tiff(folder / "a2.tif", stack()[0, 0, 0])
    return folder


def _two_sizes_in_a_file(folder: Path) -> Path:
    with tifffile.TiffWriter(folder / "a.tif") as tiff:
        tiff.write(stack()[0, 0, 0])
        tiff.write(stack(width=120)[0, 0, 0])
    return folder / "a.tif"


def _two_positions(folder: Path) -> Path:
    with tifffile.TiffWriter(folder / "a.ome.tif") as tiff:
        for _ in range(2):
            tiff.write(stack(t=2)[:, 0, 0], metadata={"axes": "TYX"}, photometric="minisblack")
    return folder / "a.ome.tif"


def _rare_compression(folder: Path) -> Path:
    path = write_tiff(folder / "a.tif", PLANE, compression="deflate")
    with tifffile.TiffFile(path, mode="r+b") as tiff:
        tiff.pages.first.tags["Compression"].overwrite(34676)
    return path


def _cut(path: Path, share: float) -> Path:
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])
    return path


def _text(path: Path) -> Path:
    path.write_text("not what its name says")
    return path


def _plain_zarr(folder: Path) -> Path:
    return write_zarr(folder / "a.zarr", stack()[0, 0, 0], "yx", "0.5") / "full"


def _plate(folder: Path) -> Path:
    write_zarr(folder / "plate.zarr" / "0", stack()[0, 0, 0], "yx", "0.5")
    (folder / "plate.zarr" / "zarr.json").write_text('{"zarr_format": 3, "node_type": "group", "attributes": {}}')
    return folder / "plate.zarr"


PLANE = stack()[0, 0, 0]
COLOUR = np.zeros((SIDE, SIDE, 3), np.uint8)
REFUSED: dict[str, tuple[Callable[[Path], Path | str], list[str]]] = {
    "missing path": (lambda d: d / "nowhere.tif", ["nowhere.tif does not exist", "quoted glob"]),
    "nothing matches": (lambda d: str(d / "*_bf.png"), ["*_bf.png holds no image", ".png"]),
    "glob in a missing folder": (lambda d: str(d / "x" / "*.png"), ["holds no image"]),
    "impossible glob": (lambda d: str(d / "**.png"), ["cannot be searched", "give another"]),
    "empty folder": (lambda d: d, ["holds no image", "give the path"]),
    "unknown type": (lambda d: _text(d / "a.lif"), ["a.lif is no image type", ".tif", "OME-TIFF"]),
    "rgb tiff": (
        lambda d: write_tiff(d / "a.tif", COLOUR, photometric="rgb"),
        ["a.tif is a colour image", "3 samples", "convert"],
    ),
    "three pages that tifffile took for colour": (
        lambda d: write_tiff(d / "a.tif", stack(t=3)[:, 0, 0], photometric="rgb"),
        ["3 samples", "photometric='minisblack'"],
    ),
    "rgb png": (lambda d: write_png(d / "a.png", COLOUR), ["colour image", "RGB", "convert"]),
    "rgba png": (lambda d: write_png(d / "a.png", np.zeros((SIDE, SIDE, 4), np.uint8)), ["RGBA"]),
    "1-bit png": (lambda d: write_png(d / "a.png", np.zeros((SIDE, SIDE), np.bool_)), ["1-bit", "leave masks out"]),
    "float tiff": (lambda d: write_tiff(d / "a.tif", PLANE.astype("f4")), ["float32", "uint8 or uint16", "convert"]),
    "uint32 tiff": (lambda d: write_tiff(d / "a.tif", PLANE.astype("u4")), ["uint32", "uint8 or uint16"]),
    "int16 zarr": (
        lambda d: write_zarr(d / "a.zarr", PLANE.astype("i2"), "yx", "0.5"),
        ["int16", "uint8 or uint16"],
    ),
    "small plane": (lambda d: write_tiff(d / "a.tif", PLANE[:95]), ["95 x 101 px", "96 x 96", "larger"]),
    "small png": (lambda d: write_png(d / "a.png", PLANE[:, :40]), ["96 x 40 px", "96 x 96"]),
    "no time point yet": (
        lambda d: write_zarr(d / "a.zarr", stack(t=2)[:0, 0, 0], "tyx", "0.5"),
        ["holds no plane", "T 0"],
    ),
    "sizes differ": (_mixed_sizes, ["a2.tif", "120 x", "first file", "a1.tif", "101 x", 'such as "']),
    "dtypes differ": (_mixed_dtypes, ["a2.png", "uint8", "a1.png", "uint16"]),
    "tiff and png together": (_mixed_types, ["TIFF and PNG", "'*.tif'"]),
    "two sizes in one file": (_two_sizes_in_a_file, ["a.tif holds 2 images", "(96, 101)", "(96, 120)", "own"]),
    "two positions in one file": (_two_positions, ["a.ome.tif holds 2 images", "each position"]),
    "folder with the files of one set": (_multi_file_set, ["one of 2 files", "open one of them"]),
    "pages that are not Y X": (
        lambda d: write_tiff(d / "a.tif", stack(t=98)[:, 0, 0], metadata={"axes": "YXT"}),
        ["axes YXT", "TCZYX"],
    ),
    "pages of an unknown axis beside time": (
        lambda d: write_tiff(d / "a.tif", stack(2, 3)[:, :, 0], metadata={"axes": "TQYX"}),
        ["axes TQYX", "plain pages"],
    ),
    "lifetime axis": (
        lambda d: write_tiff(d / "a.tif", stack(3)[:, 0, 0], metadata={"axes": "HYX"}),
        ["axes HYX"],
    ),
    "zarr with another axis": (
        lambda d: write_zarr(d / "a.zarr", stack(2)[:, 0, 0], "hyx", "0.5"),
        ["axes h y x", "T C Z Y X"],
    ),
    "zarr with x before y": (lambda d: write_zarr(d / "a.zarr", PLANE, "xy", "0.5"), ["axes x y"]),
    "unknown compression": (_rare_compression, ["compressed with SGILOG", "pip install imagecodecs"]),
    "text named tif": (lambda d: _text(d / "a.tif"), ["a.tif cannot be read", "is it complete"]),
    "text named png": (lambda d: _text(d / "a.png"), ["a.png cannot be read"]),
    "empty file": (lambda d: _cut(_text(d / "a.tif"), 0), ["a.tif cannot be read"]),
    "half a folder": (
        lambda d: _cut(write_folder(d / "s", stack(3)[:, 0, 0], [1, 2, 3], ".tif") / "bf_t2.tif", 0.001).parent,
        ["bf_t2.tif cannot be read"],
    ),
    "zarr array without an image": (_plain_zarr, ["full cannot be read"]),
    "zarr plate": (_plate, ["plate.zarr holds no OME-Zarr", "open the folder of one image"]),
}


@pytest.mark.parametrize(("write", "words"), REFUSED.values(), ids=REFUSED.keys())
def test_what_cannot_be_used_is_refused_with_file_value_and_what_to_do(
    write: Callable[[Path], Path | str], words: list[str], tmp_path: Path
) -> None:
    with pytest.raises(ImageError) as caught:
        open_images(write(tmp_path))
    assert [word for word in words if word not in str(caught.value)] == []
    assert "\n" not in str(caught.value)


def test_a_refused_file_is_not_left_open(tmp_path: Path) -> None:
    path = write_tiff(tmp_path / "a.tif", PLANE.astype("f4"))
    with pytest.raises(ImageError):
        open_images(path)
    assert str(path) not in [file.path for file in psutil.Process().open_files()]


CUT: dict[str, Callable[[Path], Path]] = {
    "tiff": lambda d: write_tiff(d / "a.tif", stack(4)[:, 0, 0]),
    "deflated tiff": lambda d: write_tiff(d / "a.tif", PLANE, compression="deflate"),
    "png": lambda d: write_png(d / "a.png", PLANE),
}


@pytest.mark.parametrize("write", CUT.values(), ids=CUT.keys())
def test_a_cut_file_is_an_error_at_the_plane_that_is_not_whole(write: Callable[[Path], Path], tmp_path: Path) -> None:
    path = _cut(write(tmp_path), 0.9)
    with open_images(path) as images, pytest.raises(ImageError, match=r"a\.\w+ cannot be read"):
        images.plane(len(images) - 1)


def test_a_damaged_zarr_chunk_is_an_error(tmp_path: Path) -> None:
    path = LAYOUTS["measured image of a run"].write(tmp_path, stack(3, 2, 2))
    chunk = Path(path) / "0" / "c" / "1" / "0" / "0" / "0" / "0"
    data = bytearray(chunk.read_bytes())
    data[len(data) // 2] ^= 1
    chunk.write_bytes(data)
    with open_images(path) as images:
        images.plane(0)
        with pytest.raises(ImageError, match="cannot be read"):
            images.plane(1)


@pytest.mark.parametrize(
    "name", ["tiff, pages without any metadata", "imagej hyperstack", "ome-tiff, compressed", "png, uint16"]
)
def test_damaged_files_are_read_or_refused_and_nothing_else(name: str, tmp_path: Path) -> None:
    whole = Path(LAYOUTS[name].write(tmp_path, LAYOUTS[name].truth))
    data = whole.read_bytes()
    damaged = tmp_path / f"damaged{''.join(whole.suffixes)}"
    rng = np.random.default_rng(5)
    refused = 0
    for _ in range(80):
        bad = np.frombuffer(data, np.uint8).copy()
        # The structure lies in the first and last bytes of all four.
        places = rng.integers(-400, 600, rng.integers(1, 6))
        bad[places] = rng.integers(0, 256, places.size)
        damaged.write_bytes(bad[: rng.integers(0, 2 * bad.size)].tobytes())
        try:
            with open_images(damaged) as images:
                images.plane(len(images) - 1)
        except ImageError:
            refused += 1
    assert refused > 10


@pytest.mark.parametrize("place", [(2, 0, 0), (-1, 0, 0), (0, 2, 0), (0, 0, 3)], ids=str)
def test_a_place_outside_the_axes_is_refused(place: tuple[int, int, int], tmp_path: Path) -> None:
    layout = LAYOUTS["ome-tiff"]
    with open_images(layout.write(tmp_path, layout.truth)) as images, pytest.raises(ImageError, match="is allowed"):
        images.plane(*place)


def _ome_with_too_few_pages(folder: Path) -> Path:
    path = write_tiff(folder / "a.ome.tif", stack(4)[:, 0, 0], metadata={"axes": "TYX"}, compression="deflate")
    tifffile.tiffcomment(path, tifffile.tiffcomment(path).replace('PlaneCount="4"', 'PlaneCount="2"').encode())
    return path


def _page_without_bytes(folder: Path) -> Path:
    path = write_tiff(folder / "a.tif", stack(4)[:, 0, 0], compression="deflate")
    with tifffile.TiffFile(path, mode="r+b") as tiff:
        sizes = tiff.pages[3].aspage().tags["StripByteCounts"]
        sizes.overwrite(np.zeros(sizes.count, int).tolist())
    return path


@pytest.mark.parametrize("write", [_ome_with_too_few_pages, _page_without_bytes], ids=["ome", "plain"])
def test_a_page_that_was_planned_and_never_written_is_an_error_not_black(
    write: Callable[[Path], Path], tmp_path: Path
) -> None:
    with open_images(write(tmp_path)) as images:
        np.testing.assert_array_equal(images.plane(1), stack(4)[1, 0, 0])
        with pytest.raises(ImageError, match="no page for t 3"):
            images.plane(3)


SELECTED: dict[str, tuple[str, str | None, int | list[str]]] = {
    "the only one": ("tiff, one page", None, 0),
    "by generated name": ("tiff, one page", "channel 0", 0),
    "by name": ("ome-tiff", "DAPI", 1),
    "by the name in a run": ("measured image of a run", "measured: DAPI", 1),
    "by the name the camera gave": ("measured image of a run", "DAPI", 1),
    "several and no name": ("ome-tiff", None, ["2 channels", "'BF', 'DAPI'", "choose one with --channel"]),
    "unknown name": ("ome-tiff", "bf", ["no channel 'bf'", "'BF', 'DAPI'", "choose one with --channel"]),
    "a virtual channel is not found by its stain": ("virtual image of a run", "nuclei", ["'virtual: nuclei'"]),
}


@pytest.mark.parametrize(("layout", "name", "expected"), SELECTED.values(), ids=SELECTED.keys())
def test_the_channel_is_the_only_one_or_the_one_named(
    layout: str, name: str | None, expected: int | list[str], tmp_path: Path
) -> None:
    with open_images(LAYOUTS[layout].write(tmp_path, LAYOUTS[layout].truth)) as images:
        if isinstance(expected, int):
            assert images.select_channel(name) == expected
            return
        with pytest.raises(ChannelError) as caught:
            images.select_channel(name)
    assert [word for word in expected if word not in str(caught.value)] == []


def test_opening_a_png_loads_no_library_of_another_type(tmp_path: Path) -> None:
    path = write_png(tmp_path / "a.png", PLANE)
    code = (
        "import sys; from livestain.images import open_images; open_images(sys.argv[1]).plane(0); "
        "sys.exit(str([m for m in ('zarr', 'tifffile', 'tensorstore') if m in sys.modules] or ''))"
    )
    done = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=False)
    assert done.stderr.strip() == ""


REAL_DATA = Path(os.environ.get("LIVESTAIN_REAL_DATA", Path(__file__).parents[3] / "shared" / "data"))
REAL: dict[str, tuple[str, tuple[int, int, int, int, int], str, int]] = {
    "phase movie": ("t98g_phase/t98g_xy01_t01-t12_tyx.tif", (12, 1, 1, 512, 512), "uint16", 0),
    "phase frame": ("t98g_phase/t98g_xy01_t13_full.tif", (1, 1, 1, 1022, 1024), "uint16", 0),
    "movie, second channel": ("movie_bf_p65_nuc/220524DS30_p0011_tcyx.ome.tif", (11, 3, 1, 448, 448), "uint8", 1),
    "focus stack, pages without axes": ("bf_zstack/230418DS30_p0011_t00001_zyx.tif", (7, 1, 1, 448, 448), "uint8", 0),
    "strips": ("saureus_phase_membrane_dna/saureus_test_phase.tif", (1, 1, 1, 1008, 288), "uint16", 0),
}


@pytest.mark.real_data
@pytest.mark.skipif(not REAL_DATA.is_dir(), reason=f"no real images at {REAL_DATA}: they would be read and compared")
@pytest.mark.parametrize(("name", "axes", "dtype", "channel"), REAL.values(), ids=REAL.keys())
def test_real_files_read_as_their_library_reads_them_whole(
    name: str, axes: tuple[int, ...], dtype: str, channel: int
) -> None:
    whole = tifffile.imread(REAL_DATA / name).reshape(axes)
    with open_images(REAL_DATA / name) as images:
        assert images.axes == axes
        assert images.dtype == dtype
        for t in range(axes[0]):
            np.testing.assert_array_equal(images.plane(t, channel), whole[t, channel, 0])
