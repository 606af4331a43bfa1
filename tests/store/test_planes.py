"""Planes: what was acknowledged reads back equal, by others too, while the image grows."""

from __future__ import annotations

import json
import subprocess
import tracemalloc
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import ome_zarr_models
import pytest
import yaozarrs
import zarr

from livestain.errors import FrameError, StoreCorruptError, StoreDeniedError, StoreError, StoreFullError
from livestain.store import metadata
from livestain.store.ledger import Ledger, crc32
from livestain.store.metadata import ChannelInfo, atomic_write, measured_channel, virtual_channel
from livestain.store.planes import PlaneReader, PlaneStore
from tests.store.pieces import SHAPE, image, plane, save, small_disk


def shape_on_disk(path: Path) -> list[int]:
    shape: list[int] = json.loads((path / "0" / "zarr.json").read_text())["shape"]
    return shape


def check_as_others_do(path: Path) -> None:
    with warnings.catch_warnings(action="error"):
        yaozarrs.validate_zarr_store(str(path))
        ome_zarr_models.open_ome_zarr(str(path), version="0.5")


@pytest.mark.parametrize("shape", [(64, 80), (97, 101), (1, 1)], ids=str)
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_a_plane_reads_back_equal_with_its_crc(tmp_path: Path, shape: tuple[int, int], dtype: type) -> None:
    store = image(tmp_path / "p000.ome.zarr", shape=shape, dtype=dtype)
    original = plane(1, shape, dtype)
    assert store.begin(3, 0, 2, original).result() == crc32(original)
    back = PlaneReader(store.path).read(3, 0, 2)
    np.testing.assert_array_equal(back, original)
    assert back.dtype == dtype
    assert back.flags.owndata or back.base is not None
    back[0, 0] = 7


def test_planes_come_in_any_order_and_several_at_a_time(tmp_path: Path) -> None:
    store = image(tmp_path / "p000.ome.zarr", [virtual_channel("nuclei"), virtual_channel("membrane")])
    places = [(t, c, z) for t in range(4) for c in range(2) for z in range(3)]
    np.random.default_rng(0).shuffle(places)
    planes = [plane(i) for i in range(len(places))]
    pending = [store.begin(*place, p) for place, p in zip(places, planes, strict=True)]
    assert [p.result() for p in pending] == [crc32(p) for p in planes]
    assert all(p.done() for p in pending)
    reader = PlaneReader(store.path)
    for place, p in zip(places, planes, strict=True):
        np.testing.assert_array_equal(reader.read(*place), p)


def test_a_strided_view_is_written_as_it_looks(tmp_path: Path) -> None:
    store = image(tmp_path / "p000.ome.zarr")
    view = plane(1, (2 * SHAPE[0], 2 * SHAPE[1]))[::2, ::-2]
    assert store.begin(0, 0, 0, view).result() == crc32(view)
    np.testing.assert_array_equal(PlaneReader(store.path).read(0, 0, 0), view)


def test_a_plane_of_zeros_is_on_disk(tmp_path: Path) -> None:
    store = image(tmp_path / "p000.ome.zarr")
    store.begin(0, 0, 0, np.zeros(SHAPE, np.uint16)).result()
    reader = PlaneReader(store.path)
    assert not reader.read(0, 0, 0).any()
    assert reader.find(1, 0, 0) is None
    with pytest.raises(StoreError, match=r"t1 c0 z0 .* not on disk"):
        reader.read(1, 0, 0)


@pytest.mark.parametrize("dtype", ["int16", "float32", "uint32", ">u2", "bool"])
def test_other_dtypes_are_refused(tmp_path: Path, dtype: str) -> None:
    with pytest.raises(FrameError, match="uint8 and uint16"):
        image(tmp_path / "new.ome.zarr", dtype=dtype)
    assert not (tmp_path / "new.ome.zarr").exists()
    store = image(tmp_path / "p000.ome.zarr")
    with pytest.raises(FrameError, match="start a new run"):
        store.begin(0, 0, 0, np.zeros(SHAPE, dtype))


@pytest.mark.parametrize(
    ("place", "shape", "dtype", "error"),
    [
        ((0, 0, 0), (64, 81), "uint16", FrameError),
        ((0, 0, 0), (64, 80, 3), "uint16", FrameError),
        ((0, 0, 0), SHAPE, "uint8", FrameError),
        ((0, 1, 0), SHAPE, "uint16", StoreError),
        ((-1, 0, 0), SHAPE, "uint16", StoreError),
        ((0, -1, 0), SHAPE, "uint16", StoreError),
        ((0, 0, -1), SHAPE, "uint16", StoreError),
    ],
    ids=str,
)
def test_planes_that_do_not_fit_are_refused(
    tmp_path: Path, place: tuple[int, int, int], shape: tuple[int, ...], dtype: str, error: type[Exception]
) -> None:
    store = image(tmp_path / "p000.ome.zarr")
    with pytest.raises(error):
        store.begin(*place, np.zeros(shape, dtype))
    assert not (store.path / "0" / "c").exists()


def test_an_image_is_never_made_twice(tmp_path: Path) -> None:
    image(tmp_path / "p000.ome.zarr")
    with pytest.raises(StoreError, match="exists"):
        image(tmp_path / "p000.ome.zarr")


# ---- zarr.json


def test_every_saved_plane_lies_inside_the_shape_on_disk(tmp_path: Path) -> None:
    store = image(tmp_path / "p000.ome.zarr")
    for t, z in [(0, 0), (0, 1), (1, 0), (5, 4), (2, 0)]:
        save(store, t, 0, z)
        shape = shape_on_disk(store.path)
        assert shape[0] > t
        assert shape[2] > z


def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Replace the store's clock by the number in the list."""
    now = [100.0]
    monkeypatch.setattr("livestain.store.planes.time.monotonic", lambda: now[0])
    return now


@pytest.mark.parametrize(("rate", "lead"), [(0.1, 1), (1, 1), (3, 3), (40, 40), (500, 500)], ids=lambda v: str(v))
def test_t_grows_ahead_by_one_second_at_the_rate_seen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rate: float, lead: int
) -> None:
    now = clock(monkeypatch)
    store = image(tmp_path / "p000.ome.zarr")
    replaced = 0
    for t in range(int(max(20, 8 * rate))):
        before = shape_on_disk(store.path)[0] if t % 7 == 0 or rate < 50 else None
        store.ensure_visible(t, 0)
        after = shape_on_disk(store.path)[0] if before is not None else 0
        replaced += before is not None and after != before
        assert before is None or after > t
        now[0] += 1 / rate
    assert shape_on_disk(store.path)[0] <= t + 1.3 * lead + 1
    if rate <= 3:
        assert shape_on_disk(store.path)[0] - t <= lead
    store.close()
    assert shape_on_disk(store.path)[0] == t + 1


def test_covered_planes_cost_no_metadata(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = clock(monkeypatch)
    store = image(tmp_path / "p000.ome.zarr")
    replaced: list[str] = []

    def write(path: Path, *args: Any, **settings: Any) -> None:
        replaced.append(path.name)
        atomic_write(path, *args, **settings)

    monkeypatch.setattr(metadata, "atomic_write", write)
    for t in range(2000):
        store.ensure_visible(t, 0)
        now[0] += 0.002
    assert len(replaced) <= 10


def test_z_and_c_grow_exactly_and_close_trims(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = clock(monkeypatch)
    store = image(tmp_path / "p000.ome.zarr")
    for t in range(30):
        save(store, t, 0, t % 3)
        now[0] += 0.01
    assert store.add_channel(measured_channel("GFP")) == 1
    assert store.add_channel(measured_channel("RFP")) == 2
    save(store, 3, 2, 1)
    grown = shape_on_disk(store.path)
    assert grown[0] > 30
    assert grown[1:3] == [3, 3]
    store.close(note={"planes_without_stain": [[4, 0]]})
    assert shape_on_disk(store.path) == [30, 3, 3, *SHAPE]
    attributes = json.loads((store.path / "zarr.json").read_text())["attributes"]
    assert [c["label"] for c in attributes["ome"]["omero"]["channels"]] == [
        "measured: BF",
        "measured: GFP",
        "measured: RFP",
    ]
    assert attributes["livestain"]["planes_without_stain"] == [[4, 0]]
    assert attributes["livestain"]["kind"] == "measured"


def test_growth_is_visible_to_a_reader_that_opens_again(tmp_path: Path) -> None:
    store = image(tmp_path / "p000.ome.zarr")
    reader = PlaneReader(store.path)
    for t in range(4):
        save(store, t, seed=t)
        np.testing.assert_array_equal(reader.read(t, 0, 0), plane(t))
        np.testing.assert_array_equal(zarr.open_array(store.path / "0", mode="r")[t, 0, 0], plane(t))


def test_a_replacement_that_fails_is_a_warning_and_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = clock(monkeypatch)
    store = image(tmp_path / "p000.ome.zarr")
    save(store, 0)
    held = [True]
    tries = [0]
    real = Path.replace

    def replace(self: Path, target: Path) -> Path:
        tries[0] += 1
        now[0] += 0.02
        if held[0]:
            raise PermissionError(13, "a reader holds it")
        return real(self, target)

    monkeypatch.setattr(Path, "replace", replace)
    monkeypatch.setattr("livestain.store.metadata.time.sleep", lambda s: None)
    for t in range(1, 5):
        save(store, t)
    assert "a reader holds it" in store.warning
    assert tries[0] < 10
    assert shape_on_disk(store.path)[0] == 1
    assert not list(store.path.rglob("*.tmp"))
    held[0] = False
    now[0] += 1.1
    save(store, 5)
    assert store.warning == ""
    assert shape_on_disk(store.path)[0] > 5
    np.testing.assert_array_equal(PlaneReader(store.path).read(3, 0, 0), plane(300))


@pytest.mark.parametrize("channels", [1, 2, 6])
@pytest.mark.parametrize("sections", [1, 3])
@pytest.mark.parametrize("kind", ["measured", "virtual"])
def test_other_programs_find_valid_metadata_at_every_moment(
    tmp_path: Path, channels: int, sections: int, kind: str
) -> None:
    make = measured_channel if kind == "measured" else virtual_channel
    store = image(tmp_path / "p000.ome.zarr", [make("first")])
    check_as_others_do(store.path)
    for t in range(2):
        for z in range(sections):
            save(store, t, 0, z)
    check_as_others_do(store.path)
    for c in range(1, channels):
        save(store, 1, store.add_channel(make(f"more {c}")), 0)
    check_as_others_do(store.path)
    store.close(note={"engine": {"backend": "openvino"}})
    check_as_others_do(store.path)
    assert shape_on_disk(store.path) == [2, channels, sections, *SHAPE]


def test_unknown_steps_have_no_unit(tmp_path: Path) -> None:
    store = PlaneStore.create(
        tmp_path / "p000.ome.zarr",
        name="p000",
        channels=[measured_channel("BF", 0)],
        plane_shape=SHAPE,
        dtype=np.uint8,
        pixel_um=0.0,
        z_um=float("nan"),
        interval_s=2.0,
        livestain={},
        fsync=False,
    )
    check_as_others_do(store.path)
    scales = json.loads((store.path / "zarr.json").read_text())["attributes"]["ome"]["multiscales"][0]
    assert scales["datasets"][0]["coordinateTransformations"] == [{"type": "scale", "scale": [2.0, 1.0, 1.0, 1.0, 1.0]}]
    assert [axis.get("unit") for axis in scales["axes"]] == ["second", None, None, None, None]


@pytest.mark.parametrize(
    ("channel", "label", "color", "window"),
    [
        (measured_channel("BF", 12), "measured: BF", "FFFFFF", (0, 4095)),
        (measured_channel("BF", 0), "measured: BF", "FFFFFF", (0, 65535)),
        (virtual_channel("nuclei"), "virtual: nuclei", "00E676", (0, 65535)),
        (virtual_channel("membrane"), "virtual: membrane", "FF00FF", (0, 65535)),
        (virtual_channel("actin", "112233"), "virtual: actin", "112233", (0, 65535)),
    ],
    ids=lambda v: str(v),
)
def test_names_and_colours_say_what_is_measured_and_what_is_virtual(
    channel: ChannelInfo, label: str, color: str, window: tuple[float, float]
) -> None:
    assert (channel.label, channel.color, channel.window) == (label, color, window)


def test_a_label_that_hides_its_kind_is_refused() -> None:
    with pytest.raises(ValueError, match="virtual: "):
        ChannelInfo("measured: nuclei", "00E676", "virtual", (0, 65535))


# ---- going on, damage, limits


def test_a_restarted_writer_goes_on_with_the_shape_on_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = clock(monkeypatch)
    store = image(tmp_path / "p000.ome.zarr", [virtual_channel("nuclei"), virtual_channel("membrane")])
    for t in range(40):
        save(store, t, 0, t % 2)
        now[0] += 0.005
    assert shape_on_disk(store.path)[0] > 40
    again = PlaneStore.reopen(store.path, fsync=False)
    assert (again.plane_shape, again.dtype) == (SHAPE, np.dtype(np.uint16))
    save(again, 40, 1, 0)
    again.close()
    assert shape_on_disk(store.path) == [41, 2, 2, *SHAPE]
    np.testing.assert_array_equal(PlaneReader(store.path).read(7, 0, 1), plane(710))


@pytest.mark.parametrize("content", [None, b"", b"{", b"[]"], ids=["absent", "empty", "torn", "no object"])
def test_an_image_without_metadata_is_named(tmp_path: Path, content: bytes | None) -> None:
    store = image(tmp_path / "p000.ome.zarr")
    document = store.path / "0" / "zarr.json"
    document.unlink() if content is None else document.write_bytes(content)
    expected = StoreError if content is None else StoreCorruptError
    for opener in (PlaneReader, lambda path: PlaneStore.reopen(path, fsync=False)):
        with pytest.raises(expected, match=r"zarr\.json"):
            opener(store.path)


def flip(data: bytearray) -> None:
    data[len(data) // 2] ^= 16


def cut(data: bytearray) -> None:
    del data[len(data) // 2 :]


def empty(data: bytearray) -> None:
    data.clear()


@pytest.mark.parametrize("damage", [flip, cut, empty])
def test_damage_on_disk_is_found(tmp_path: Path, damage: Any) -> None:
    store = image(tmp_path / "p000.ome.zarr")
    save(store, 0)
    chunk = store.path / "0" / "c" / "0" / "0" / "0" / "0" / "0"
    data = bytearray(chunk.read_bytes())
    damage(data)
    chunk.write_bytes(data)
    with pytest.raises(StoreCorruptError, match="t0 c0 z0"):
        PlaneReader(store.path).read(0, 0, 0)


def test_a_temporary_file_of_a_killed_writer_does_not_spoil_the_next_write(tmp_path: Path) -> None:
    store = image(tmp_path / "p000.ome.zarr")
    chunk = store.path / "0" / "c" / "0" / "0" / "0" / "0" / "0"
    chunk.parent.mkdir(parents=True)
    chunk.with_name("0.__lock").write_bytes(b"x" * 100_000)
    save(store, 0)
    np.testing.assert_array_equal(PlaneReader(store.path).read(0, 0, 0), plane(0))


def test_every_flipped_bit_is_found(tmp_path: Path) -> None:
    store = image(tmp_path / "p000.ome.zarr")
    save(store, 0)
    chunk = store.path / "0" / "c" / "0" / "0" / "0" / "0" / "0"
    whole = chunk.read_bytes()
    reader = PlaneReader(store.path)
    for bit in np.random.default_rng(2).integers(0, 8 * len(whole), 60):
        data = bytearray(whole)
        data[bit // 8] ^= 1 << (bit % 8)
        chunk.write_bytes(data)
        with pytest.raises(StoreCorruptError):
            reader.read(0, 0, 0)


def test_full_disk_keeps_earlier_planes_and_goes_on_when_space_returns(tmp_path: Path) -> None:
    noise: npt.NDArray[np.uint16] = np.random.default_rng(0).integers(0, 65535, (512, 512)).astype(np.uint16)
    with small_disk(tmp_path / "disk", "size=4m") as disk:
        (disk / "other.bin").write_bytes(b"x" * 1_500_000)
        store = image(disk / "p000.ome.zarr", shape=(512, 512), fsync=True)
        saved: list[int] = []
        with pytest.raises(StoreFullError, match="free space"):
            for t in range(20):
                store.begin(t, 0, 0, noise).result()
                saved.append(t)
        assert len(saved) >= 2
        t = saved[-1] + 1
        store.ensure_visible(saved[-1], 0)
        reader = PlaneReader(store.path)
        for earlier in saved:
            np.testing.assert_array_equal(reader.read(earlier, 0, 0), noise)
        assert reader.find(t, 0, 0) is None
        (disk / "other.bin").unlink()
        store.begin(t, 0, 0, noise).result()
        np.testing.assert_array_equal(reader.read(t, 0, 0), noise)
        assert not list(store.path.rglob("*lock*"))


def test_a_disk_that_turns_read_only_is_said(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", "size=4m") as disk:
        store = image(disk / "p000.ome.zarr")
        save(store, 0)
        subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
        with pytest.raises(StoreDeniedError, match="read-only"):
            store.begin(1, 0, 0, plane(1)).result()
        with pytest.raises(StoreDeniedError, match="read-only"):
            Ledger(disk / "ledger.jsonl", fsync=False)
        with pytest.raises(StoreDeniedError, match="read-only"):
            image(disk / "p001.ome.zarr")
        store.ensure_visible(5, 0)
        assert "read-only" in store.warning
        np.testing.assert_array_equal(PlaneReader(store.path).read(0, 0, 0), plane(0))


def test_nothing_grows_per_plane(tmp_path: Path) -> None:
    store = image(tmp_path / "p000.ome.zarr", shape=(16, 16))
    small = plane(0, (16, 16))
    count = 400
    for t in range(50):
        store.begin(t, 0, 0, small).result()
        store.ensure_visible(t, 0)
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        for t in range(50, 50 + count):
            store.begin(t, 0, 0, small).result()
            store.ensure_visible(t, 0)
        assert tracemalloc.get_traced_memory()[0] - before <= 16 * count
    finally:
        tracemalloc.stop()


def test_paths_stay_short_enough_for_windows(tmp_path: Path) -> None:
    store = image(tmp_path / "p000.ome.zarr")
    store.begin(123_456, 0, 250, plane(0)).result()
    deepest = max(len(str(path.relative_to(store.path))) for path in store.path.rglob("*"))
    # D:\ + 100 characters + \stains\ + model + \p000.ome.zarr\ + the ending of a temporary file
    assert 3 + 100 + 8 + 48 + 15 + deepest + len("_b44d35a8df276032.__lock") < 240
