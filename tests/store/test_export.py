"""OME-TIFF: bit for bit what the run holds, under the names it has there, with the gaps named."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import ome_types
import pytest
import tifffile

from livestain.errors import RunError, StoreCorruptError, StoreFullError
from livestain.store.export import VIRTUAL_NOTICE, export_ome_tiff
from livestain.store.read import Run
from livestain.store.run import image_path
from tests.store.pieces import plane, small_disk
from tests.store.recording import Recording


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """Two positions, 3 time points, 2 sections, GFP at t0 only; raw (t1, z1) failed, stains of t2 missing."""
    recording = Recording(tmp_path / "run", dtype=np.uint8)
    for p in (0, 3):
        for t in range(3):
            for z in range(2):
                recording.raw(t, p=p, z=z, state="failed" if (t, z) == (1, 1) else "ok", elapsed_ms=5000.0 * t + z)
    recording.raw(0, c=1, z=1)
    for t in range(2):
        for z in range(2):
            recording.stain(t, z=z)
    recording.stain(2, z=0, state="failed")
    return recording.end()


def ome(path: Path) -> Any:
    with tifffile.TiffFile(path) as tiff:
        assert tiff.ome_metadata is not None
        return ome_types.from_xml(tiff.ome_metadata).images[0]


def pixels(path: Path) -> npt.NDArray[Any]:
    with tifffile.TiffFile(path) as tiff:
        assert tiff.series[0].get_axes(squeeze=False) == "TCZYXS"
        whole: npt.NDArray[Any] = tiff.series[0].asarray(squeeze=False)
        return whole[..., 0]


def test_every_position_and_kind_gets_its_file(run: Run, tmp_path: Path) -> None:
    written = export_ome_tiff(run, tmp_path / "out")
    names = ["p000_measured.ome.tif", "p000_virtual_unet.ome.tif", "p003_measured.ome.tif"]
    assert [one.path.name for one in written] == names
    assert sorted(entry.name for entry in (tmp_path / "out").iterdir()) == names


def test_planes_are_equal_bit_for_bit_and_gaps_are_zeros_by_name(run: Run, tmp_path: Path) -> None:
    measured, virtual, _ = export_ome_tiff(run, tmp_path / "out")
    raw, stains = pixels(measured.path), pixels(virtual.path)
    assert (raw.dtype.name, raw.shape[:3]) == ("uint8", (3, 2, 2))
    assert (stains.dtype.name, stains.shape[:3]) == ("uint16", (3, 2, 2))
    assert measured.empty == ((0, 1, 0), (1, 0, 1), (1, 1, 0), (1, 1, 1), (2, 1, 0), (2, 1, 1))
    assert virtual.empty == ((2, 0, 0), (2, 0, 1), (2, 1, 0), (2, 1, 1))
    for t, c, z in np.ndindex(3, 2, 2):
        expected = plane(100 * t + 10 * z + c, dtype=np.uint8)
        np.testing.assert_array_equal(raw[t, c, z], 0 * expected if (t, c, z) in measured.empty else expected)
        expected = plane(5000 + 10 * t + c)
        np.testing.assert_array_equal(stains[t, c, z], 0 * expected if (t, c, z) in virtual.empty else expected)
    assert "t1 c0 z1" in ome(measured.path).description
    assert "4 plane(s) without data" in ome(virtual.path).description


def test_virtual_is_said_in_names_and_description(run: Run, tmp_path: Path) -> None:
    measured, virtual, _ = export_ome_tiff(run, tmp_path / "out")
    assert [channel.name for channel in ome(virtual.path).pixels.channels] == ["virtual: nuclei", "virtual: membrane"]
    assert [channel.name for channel in ome(measured.path).pixels.channels] == ["measured: BF", "measured: GFP"]
    assert VIRTUAL_NOTICE in ome(virtual.path).description
    assert VIRTUAL_NOTICE not in ome(measured.path).description


def test_colours_steps_and_times_are_kept(run: Run, tmp_path: Path) -> None:
    measured, virtual, _ = export_ome_tiff(run, tmp_path / "out")
    colors = [channel.color.as_hex(format="long") for channel in ome(virtual.path).pixels.channels]
    assert colors == ["#00e676", "#ff00ff"]
    for image in (ome(measured.path), ome(virtual.path)):
        found = image.pixels
        assert (found.physical_size_x, found.physical_size_y, found.physical_size_z) == (0.325, 0.325, 2.0)
        assert found.physical_size_x_unit.value == "µm"
        assert (found.time_increment, found.time_increment_unit.value) == (5.0, "s")
        times = {(one.the_t, one.the_c, one.the_z): one.delta_t for one in found.planes}
        assert times[2, 1, 0] == 10.0
        assert times[2, 0, 1] == pytest.approx(10.001)
        assert times[1, 0, 1] is None


@pytest.mark.parametrize(
    ("channels", "files"),
    [
        (["measured: GFP"], {"p000_measured.ome.tif": 1, "p003_measured.ome.tif": 1}),
        (["virtual: membrane"], {"p000_virtual_unet.ome.tif": 1}),
        (
            ["measured: BF", "virtual: nuclei"],
            {"p000_measured.ome.tif": 1, "p000_virtual_unet.ome.tif": 1, "p003_measured.ome.tif": 1},
        ),
    ],
    ids=str,
)
def test_only_the_channels_asked_for(run: Run, tmp_path: Path, channels: list[str], files: dict[str, int]) -> None:
    written = export_ome_tiff(run, tmp_path / "out", channels)
    assert {one.path.name: pixels(one.path).shape[1] for one in written} == files
    first = pixels(written[0].path)[0, 0, 1]
    seeds = {"measured: GFP": 11, "virtual: membrane": 5001, "measured: BF": 10}
    np.testing.assert_array_equal(first, plane(seeds[channels[0]], dtype=first.dtype))


# bioio-ome-tiff 1.4.0 with ome-types 0.7
@pytest.mark.filterwarnings("ignore:As of version 0.4.0, the parser argument")
def test_bioio_reads_the_same(run: Run, tmp_path: Path) -> None:
    bioio = pytest.importorskip("bioio", reason="bioio is not installed: whether it opens our export cannot be seen")
    plugin = pytest.importorskip("bioio_ome_tiff", reason="bioio-ome-tiff is not installed")
    for one in export_ome_tiff(run, tmp_path / "out"):
        opened = bioio.BioImage(one.path, reader=plugin.Reader)
        np.testing.assert_array_equal(opened.data, pixels(one.path))
        assert opened.channel_names == [channel.name for channel in ome(one.path).pixels.channels]
        assert opened.physical_pixel_sizes.X == 0.325


def test_large_files_become_bigtiff(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    small = export_ome_tiff(run, tmp_path / "small")[0].path
    monkeypatch.setattr("livestain.store.export._CLASSIC_TIFF_BYTES", 10_000)
    large = export_ome_tiff(run, tmp_path / "large")[0].path
    for path, expected in ((small, False), (large, True)):
        with tifffile.TiffFile(path) as tiff:
            assert tiff.is_bigtiff is expected
    np.testing.assert_array_equal(pixels(small), pixels(large))


def test_what_cannot_be_exported_is_refused_before_anything_is_written(run: Run, tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"'virtual: actin'.*measured: BF"):
        export_ome_tiff(run, tmp_path / "out", ["virtual: actin"])
    with pytest.raises(RunError, match="nothing to export"):
        export_ome_tiff(run, tmp_path / "out", [])
    assert not (tmp_path / "out").exists()
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "p003_measured.ome.tif").write_text("mine")
    with pytest.raises(RunError, match=r"p003_measured.*exists already"):
        export_ome_tiff(run, tmp_path / "out")
    assert [entry.name for entry in (tmp_path / "out").iterdir()] == ["p003_measured.ome.tif"]


@pytest.mark.parametrize("damage", ["cut", "replaced", "gone"])
def test_a_damaged_plane_stops_the_export_and_leaves_no_half_file(run: Run, tmp_path: Path, damage: str) -> None:
    planes = image_path(run.path / "raw", 0) / "0" / "c"
    victim, other = (planes / str(t) / "0" / "0" / "0" / "0" for t in (2, 0))
    if damage == "gone":
        victim.unlink()
    else:
        victim.write_bytes(other.read_bytes() if damage == "replaced" else victim.read_bytes()[:-3])
    with pytest.raises(StoreCorruptError, match="t2 c0 z0"):
        export_ome_tiff(run, tmp_path / "out")
    assert list((tmp_path / "out").iterdir()) == []


def test_a_full_disk_is_said_and_leaves_no_half_file(run: Run, tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", "size=48k") as disk:
        with pytest.raises(StoreFullError, match="free space"):
            export_ome_tiff(run, disk)
        assert list(disk.iterdir()) == []
