"""Pictures in files: never over another file, never without the mark, values bit for bit."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import ome_types
import pytest

pytest.importorskip("qtpy")
import tifffile
from PIL import Image
from pytestqt.qtbot import QtBot

from livestain.errors import StoreError, UserError
from livestain.store.export import VIRTUAL_NOTICE
from livestain.view.picture import MARK, Picture
from livestain.view.snapshot import free_name, natural_size, save_png, save_tiff
from livestain.view.state import Mode, ViewState
from tests.store.pieces import small_disk
from tests.view.doubles import LAYERS, picture
from tests.view.pictures import AMBER, noise_picture, shown


@pytest.fixture
def state(qtbot: QtBot) -> ViewState:
    """Three layers of 96 x 120 px."""
    made = ViewState(LAYERS)
    made.set_picture(picture(7))
    return made


@pytest.mark.parametrize(
    ("there", "name", "free"),
    [
        ([], "a.png", "a.png"),
        (["a.png"], "a.png", "a_002.png"),
        (["a.png", "a_002.png"], "a.png", "a_003.png"),
        (["a.ome.tif"], "a.ome.tif", "a_002.ome.tif"),
        (["exp 1.5um.png"], "exp 1.5um.png", "exp 1.5um_002.png"),
        (["a"], "a", "a_002"),
    ],
    ids=str,
)
def test_a_free_name_keeps_the_ending(tmp_path: Path, there: list[str], name: str, free: str) -> None:
    for each in there:
        (tmp_path / each).touch()
    assert free_name(tmp_path / name) == tmp_path / free


@pytest.mark.parametrize(
    ("shape", "mode", "longest", "size"),
    [
        ((2048, 2048), "composite", 4096, (2048, 2048)),
        ((2048, 2048), "split", 4096, (4096, 2046)),
        ((512, 512), "composite", 4096, (1024, 1024)),
        ((512, 512), "split", 4096, (2052, 1024)),
        ((128, 100), "curtain", 4096, (800, 1024)),
        ((512, 512), "composite", 640, (512, 512)),
        ((1000, 2000), "composite", 640, (640, 320)),
        ((4096, 4096), "composite", 1920, (1920, 1920)),
    ],
    ids=str,
)
def test_the_natural_size_has_no_border_and_whole_factors(
    state: ViewState, shape: tuple[int, int], mode: Mode, longest: int, size: tuple[int, int]
) -> None:
    state.set_picture(picture(0, shape))
    state.set_mode(mode)
    assert natural_size(state, longest) == size


@pytest.mark.parametrize("mode", ["composite", "split", "curtain"])
@pytest.mark.parametrize("size", [None, (400, 300), (1280, 800)], ids=str)
def test_a_png_carries_the_mark_in_its_pixels_and_its_text(
    state: ViewState, tmp_path: Path, mode: Mode, size: tuple[int, int] | None
) -> None:
    state.set_mode(mode)
    facts = {"Run": "my run", "Model": "häufig/模型"}
    path = save_png(tmp_path / "a.png", state, pixel_um=0.5, caption="t 7 of 9", size=size, facts=facts)
    with Image.open(path) as image:
        assert image.size == (size or natural_size(state))
        pixels = np.asarray(image.convert("RGB"))
        assert ((pixels == AMBER).all(axis=2)).sum() > 500
        texts = image.text  # type: ignore[attr-defined]
    assert texts["Comment"] == MARK
    assert texts["Layers"] == "measured: BF, virtual: nuclei, virtual: membrane"
    assert (texts["Place"], texts["Pixel size"], texts["Mode"]) == ("p0 t7 z0", "0.5 um", mode)
    assert {name: texts[name] for name in facts} == facts


def test_without_a_virtual_layer_a_png_is_not_marked(state: ViewState, tmp_path: Path) -> None:
    for layer in (1, 2):
        state.set_layer(layer, visible=False)
    path = save_png(tmp_path / "a.png", state, pixel_um=0, caption="")
    with Image.open(path) as image:
        assert not (np.asarray(image.convert("RGB")) == AMBER).all(axis=2).any()
        assert "Comment" not in image.text  # type: ignore[attr-defined]
        assert image.text["Layers"] == "measured: BF"  # type: ignore[attr-defined]


def test_neither_file_is_ever_overwritten(state: ViewState, tmp_path: Path) -> None:
    assert state.picture is not None
    for name in ("a.png", "a.tif"):
        (tmp_path / name).write_text("mine")
    assert save_png(tmp_path / "a.png", state, pixel_um=0, caption="").name == "a_002.png"
    assert save_tiff(tmp_path / "a.tif", state.picture, LAYERS, 0).name == "a_002.tif"
    assert [(tmp_path / name).read_text() for name in ("a.png", "a.tif")] == ["mine", "mine"]


@pytest.mark.parametrize("depth", [np.uint8, np.uint16])
def test_a_tiff_has_every_value_under_its_name(tmp_path: Path, depth: type[np.uint8]) -> None:
    at = picture(7)
    assert at.planes[0] is not None
    at = replace(at, planes=((at.planes[0] % 251).astype(depth), *at.planes[1:]))
    path = save_tiff(tmp_path / "a.tif", at, LAYERS, 0.5, {"Run": "my run"})
    with tifffile.TiffFile(path) as tiff:
        assert tiff.ome_metadata is not None
        image = ome_types.from_xml(tiff.ome_metadata).images[0]
        values = tiff.asarray()
    for found, wanted in zip(values, at.planes, strict=True):
        assert wanted is not None
        np.testing.assert_array_equal(found, wanted)
    assert [channel.name for channel in image.pixels.channels] == [
        "measured: BF", "virtual: nuclei", "virtual: membrane",
    ]  # fmt: skip
    assert (image.pixels.physical_size_x, image.pixels.physical_size_x_unit.value) == (0.5, "µm")
    assert image.description is not None
    assert image.description.startswith(f"{VIRTUAL_NOTICE}; ")
    assert "Run: my run" in image.description


def test_what_is_not_there_is_zeros_by_name(tmp_path: Path) -> None:
    at = picture(3)
    at = replace(at, planes=(at.planes[0], None, None), states=("", "no stain yet", ""))
    path = save_tiff(tmp_path / "a.tif", at, LAYERS, 0)
    with tifffile.TiffFile(path) as tiff:
        assert "virtual: nuclei (no stain yet), virtual: membrane (not there)" in str(tiff.ome_metadata)
        assert "PhysicalSize" not in str(tiff.ome_metadata)
        assert not tiff.asarray()[1:].any()


def test_without_a_picture_nothing_is_written(qtbot: QtBot, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no picture to save"):
        save_png(tmp_path / "a.png", ViewState(LAYERS), pixel_um=0, caption="")
    with pytest.raises(UserError, match="no picture to save"):
        save_tiff(tmp_path / "a.tif", Picture(picture().key, (None, None, None)), LAYERS, 0)
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_is_said_and_leaves_no_half_file(qtbot: QtBot, tmp_path: Path) -> None:
    state = shown(noise_picture())
    with small_disk(tmp_path / "disk", "size=16k") as disk:
        with pytest.raises(StoreError, match="free space"):
            save_png(disk / "a.png", state, pixel_um=0, caption="")
        assert list(disk.iterdir()) == []


def test_a_folder_that_is_not_there_is_said(state: ViewState, tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="could not be written"):
        save_png(tmp_path / "nowhere" / "a.png", state, pixel_um=0, caption="")


def test_a_note_stands_in_the_pixels_and_whole_in_the_text_and_the_description(
    state: ViewState, tmp_path: Path
) -> None:
    note = "t 7: " + "drug added; " * 40
    plain = save_png(tmp_path / "a.png", state, pixel_um=0.5, caption="t 7")
    noted = save_png(tmp_path / "b.png", state, pixel_um=0.5, caption="t 7", note=note)
    with Image.open(plain) as before, Image.open(noted) as after:
        changed = np.any(np.asarray(before) != np.asarray(after), axis=2)
        assert after.text["Note"] == note  # type: ignore[attr-defined]
    assert changed[changed.shape[0] // 2 :, : changed.shape[1] // 2].any()
    assert state.picture is not None
    tiff = save_tiff(tmp_path / "a.ome.tif", state.picture, LAYERS, 0.5, None, note)
    assert note in str(ome_types.from_tiff(tiff).images[0].description)
