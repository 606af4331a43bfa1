"""ND2 files: no library writes them, so a double of ``nd2.ND2File`` stands for what that library says of a file."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest

from livestain.errors import ImageError
from livestain.images import open_images
from tests.images.layouts import SIDE, Stack, stack

PlaceFile = Callable[..., Path]


class File:
    """What `Nd2Reader` uses of ``nd2.ND2File``: frames in the order of ``axes``, each with every channel."""

    def __init__(self, data: Stack, axes: str, *, rgb: bool = False, calibrated: bool = True) -> None:
        self._data = data
        sizes = dict(zip(axes, data.shape, strict=True))
        self.sizes = {axis: size for axis, size in sizes.items() if size != 1}
        self.dtype = data.dtype
        self.is_rgb = rgb
        self.closed = False
        volume = SimpleNamespace(axesCalibrated=(calibrated,) * 3, axesCalibration=(0.325, 0.325, 1.0))
        names = ["BF", "DAPI"][: sizes.get("C", 1)]
        self.metadata = SimpleNamespace(
            channels=[SimpleNamespace(channel=SimpleNamespace(name=name), volume=volume) for name in names]
        )

    def read_frame(self, number: int) -> Stack:
        frames = self._data.reshape(-1, *self._data.shape[-3:])
        frame: Stack = frames[number].squeeze()
        return frame

    def close(self) -> None:
        self.closed = True


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> PlaceFile:
    """Put a file on disk that ``nd2`` opens as the double."""

    def put(file: File) -> Path:
        module = ModuleType("nd2")
        module.ND2File = lambda path: file  # type: ignore[attr-defined]
        monkeypatch.setitem(sys.modules, "nd2", module)
        path = tmp_path / "a.nd2"
        path.write_bytes(b"")
        return path

    return put


DATA = stack(6, 2, 3)
ORDERS: dict[str, tuple[Stack, str]] = {
    "time, z, channel": (DATA.swapaxes(1, 2), "TZCYX"),
    "z before time": (DATA.transpose(2, 0, 1, 3, 4), "ZTCYX"),
    "positions follow each other in time": (
        DATA.swapaxes(1, 2).reshape(2, 3, 3, 2, *DATA.shape[3:]),
        "PTZCYX",
    ),
    "time before positions": (
        DATA.swapaxes(1, 2).reshape(2, 3, 3, 2, *DATA.shape[3:]).swapaxes(0, 1),
        "TPZCYX",
    ),
}


@pytest.mark.parametrize(("data", "axes"), ORDERS.values(), ids=ORDERS.keys())
def test_frames_in_any_order_become_planes(data: Stack, axes: str, place: PlaceFile) -> None:
    file = File(data, axes)
    with open_images(place(file)) as images:
        assert images.axes == DATA.shape
        assert images.channels == ("BF", "DAPI")
        assert (images.pixel_um, images.dtype.name, images.kind) == (0.325, "uint16", "unknown")
        for t, c, z in np.ndindex(DATA.shape[:3]):
            np.testing.assert_array_equal(images.plane(t, c, z), DATA[t, c, z])
    assert file.closed


def test_a_single_frame_belongs_to_the_caller_and_may_have_no_scale(place: PlaceFile) -> None:
    single = stack()[0, 0]
    with open_images(place(File(single, "CYX", calibrated=False))) as images:
        assert images.axes == (1, 1, 1, SIDE, SIDE + 5)
        assert images.pixel_um == 0
        images.plane(0)[...] = 7
        np.testing.assert_array_equal(images.plane(0), single[0])


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "colour": ({"data": DATA[0], "axes": "CZYX", "rgb": True}, "colour image"),
    "an axis of its own": ({"data": DATA[0], "axes": "CLYX"}, "positions, time, z and channel"),
    "float": ({"data": DATA[0].astype(np.float32), "axes": "ZCYX"}, "float32 pixels"),
}


@pytest.mark.parametrize(("about", "words"), REFUSED.values(), ids=REFUSED.keys())
def test_what_cannot_be_stained_is_refused_and_closed(about: dict[str, Any], words: str, place: PlaceFile) -> None:
    file = File(**about)
    with pytest.raises(ImageError, match=words):
        open_images(place(file))
    assert file.closed


@pytest.mark.parametrize("name", ["a.nd2", "a.czi"])
def test_the_true_library_names_a_file_that_is_none(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(b"no image at all" * 100)
    with pytest.raises(ImageError, match=f"{name} cannot be read"):
        open_images(tmp_path / name)


@pytest.mark.parametrize(("name", "module"), [("a.nd2", "nd2"), ("a.czi", "pylibCZIrw.czi")])
def test_a_missing_library_is_one_line_with_the_command(
    name: str, module: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    (tmp_path / name).write_bytes(b"")
    with pytest.raises(ImageError, match=r'pip install "livestain\[formats\]"'):
        open_images(tmp_path / name)
