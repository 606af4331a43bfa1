"""Where images to train on are found: folders, tables, files of several channels, and runs that livestain recorded."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tifffile

from livestain.errors import ChannelError, ImageError
from livestain.store.ledger import Ledger
from livestain.store.metadata import ChannelInfo, measured_channel, virtual_channel
from livestain.store.planes import PlaneStore
from livestain.store.run import RunFolder, image_path
from livestain.train.sources import find_sources
from tests.images.layouts import write_czi
from tests.train.pieces import cells, write_cells


def record(path: Path, states: str = "ok,ok,failed", *, label_free: bool = True, stained: bool = False) -> Path:
    """A run of one position with BF and DAPI, one time point for each state of DAPI; every plane lies on disk."""
    folder = RunFolder.create(path, {})
    ledger = Ledger(folder.raw / "ledger.jsonl", fsync=False)
    bright_field = measured_channel("BF", extra={} if label_free else {"label_free": False})
    image = new_image(image_path(folder.raw, 0), [bright_field, measured_channel("DAPI")], "measured")
    for t, state in enumerate(states.split(",")):
        for c, plane in enumerate(cells(t)):
            image.begin(t, c, 0, plane).result()
            image.ensure_visible(t, 0)
            row = {"v": 1, "n": 2 * t + c, "p": 0, "t": t, "z": 0, "c": c, "kind": "measured"}
            ledger.row({**row, "state": state if c else "ok", "crc32": ""})
    image.close()
    if stained:
        stains = folder.stains("unet", "u" * 64)
        virtual = new_image(image_path(stains, 0), [virtual_channel("nuclei")], "virtual")
        virtual.begin(0, 0, 0, cells(0)[1]).result()
        virtual.ensure_visible(0, 0)
        virtual.close()
    ledger.close({})
    folder.close()
    return path


def new_image(path: Path, channels: list[ChannelInfo], kind: str) -> PlaneStore:
    return PlaneStore.create(
        path,
        name="p000",
        channels=channels,
        plane_shape=(128, 128),
        dtype=np.dtype(np.uint16),
        pixel_um=0.65,
        z_um=0.0,
        interval_s=0.0,
        livestain={"kind": kind},
        fsync=False,
    )


def test_a_run_gives_its_label_free_channel_and_a_measured_one_by_name(tmp_path: Path) -> None:
    run = record(tmp_path / "run")
    label_free, stain = find_sources(run, "label_free"), find_sources(f"{run}::DAPI", "nuclei")
    assert [source.name for source in label_free] == ["p000 t0 z0", "p000 t1 z0", "p000 t2 z0"]
    assert (label_free[0].pixel_um, label_free[0].shape, label_free[0].group) == (0.65, (128, 128), "")
    for which, sources in enumerate((label_free, stain)):
        for t, source in enumerate(sources):
            np.testing.assert_array_equal(source.read(), cells(t)[which])


def test_planes_without_an_ok_row_are_not_learned_from_though_they_lie_on_disk(tmp_path: Path) -> None:
    run = record(tmp_path / "run", "failed,ok,failed")
    wanted = ["p000 t1 z0"]
    assert [source.name for source in find_sources(f"{run}::DAPI", "nuclei")] == wanted
    image = run / "raw" / "p000.ome.zarr"
    assert [source.name for source in find_sources(f"{image}::measured: DAPI", "nuclei")] == wanted


def test_runs_in_a_folder_are_groups_and_their_stains_are_no_images(tmp_path: Path) -> None:
    for name in ("day 1", "day 2"):
        record(tmp_path / name, "ok", stained=True)
    assert [source.group for source in find_sources(tmp_path, "label_free")] == ["day 1", "day 2"]


REFUSED_OF_A_RUN: dict[str, tuple[str, str, type[Exception], str]] = {
    "a virtual stain by its own name": ("", "nuclei", ImageError, "'nuclei' is a virtual stain: only a measured"),
    "a virtual stain behind the path": ("::virtual: nuclei", "x", ImageError, "is a virtual stain"),
    "no such channel": ("::GFP", "x", ChannelError, "no channel 'GFP': it has 'measured: BF', 'measured: DAPI'"),
    "a stain that is not said": ("", "actin", ChannelError, "which one is actin behind the path, such as PATH::BF"),
    "the folder of stains": ("/stains", "nuclei", ImageError, "is a virtual stain"),
}


@pytest.mark.parametrize(("more", "column", "error", "words"), REFUSED_OF_A_RUN.values(), ids=REFUSED_OF_A_RUN.keys())
def test_what_is_no_measured_channel_of_a_run_is_refused(
    more: str, column: str, error: type[Exception], words: str, tmp_path: Path
) -> None:
    run = record(tmp_path / "run", "ok", stained=True)
    with pytest.raises(error, match=words):
        find_sources(f"{run}{more}", column)


def test_a_run_whose_label_free_channel_is_not_known_asks_for_it(tmp_path: Path) -> None:
    run = record(tmp_path / "run", "ok", label_free=False)
    with pytest.raises(ChannelError, match="say which one is label_free behind the path, such as PATH::BF"):
        find_sources(run, "label_free")
    np.testing.assert_array_equal(find_sources(f"{run}::BF", "label_free")[0].read(), cells(0)[0])


def test_a_run_that_recorded_nothing_holds_no_image(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match="holds no image to learn from"):
        find_sources(f"{record(tmp_path / 'run', 'failed')}::DAPI", "nuclei")


def test_of_a_file_of_several_channels_one_is_named(tmp_path: Path) -> None:
    data = np.stack([np.stack(cells(t)) for t in range(2)])[:, :, None]
    (tmp_path / "images").mkdir()
    write_czi(tmp_path / "images" / "a.czi", data, names=("BF", "DAPI"))
    found = find_sources(f"{tmp_path / 'images'}::DAPI", "nuclei")
    assert [(source.name, source.pixel_um) for source in found] == [("a t0 z0", 0.325), ("a t1 z0", 0.325)]
    np.testing.assert_array_equal(found[1].read(), cells(1)[1])
    with pytest.raises(ChannelError, match="has no channel 'label_free': it has 'BF', 'DAPI'; say which one"):
        find_sources(tmp_path / "images", "label_free")


def test_other_columns_of_a_table_do_not_matter(tmp_path: Path) -> None:
    _, nuclei = write_cells(tmp_path)
    table = tmp_path / "table.csv"
    lines = ["label_free,nuclei,mask,position,group,pixel_um", f"a.tif,{nuclei}/f0.tif,no_mask.png,p1,day 1,0.5"]
    table.write_text("\n".join([*lines, "b.tif,,,,,"]), encoding="utf-8")
    (source,) = find_sources(table, "nuclei")
    assert (source.name, source.group, source.pixel_um) == ("f0", "day 1", 0.5)


def test_a_glob_and_a_single_file_are_taken_as_they_are(tmp_path: Path) -> None:
    label_free, _ = write_cells(tmp_path)
    assert [source.name for source in find_sources(str(label_free / "f[01].tif"), "label_free")] == ["f0", "f1"]
    assert [source.name for source in find_sources(label_free / "f2.tif", "label_free")] == ["f2"]


def test_a_stack_gives_a_field_for_each_plane(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "a.tif", np.stack([cells(k)[0] for k in range(3)]), photometric="minisblack")
    assert [source.name for source in find_sources(tmp_path, "label_free")] == ["a t0 z0", "a t1 z0", "a t2 z0"]
