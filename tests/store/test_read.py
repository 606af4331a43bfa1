"""Runs as their readers see them: sums that close, missing planes by name, arrays that load what is asked for."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from livestain.errors import RunError, StoreCorruptError
from livestain.frames import Key
from livestain.store.export import export_ome_tiff
from livestain.store.ledger import Ledger
from livestain.store.metadata import measured_channel
from livestain.store.read import open_run
from livestain.store.run import RunFolder, image_path
from tests.store.pieces import SHAPE, image, plane, save
from tests.store.recording import Recording


@pytest.fixture
def recording(tmp_path: Path) -> Iterator[Recording]:
    recording = Recording(tmp_path / "run")
    yield recording
    recording.end(close=False)


def counters(**numbers: int) -> dict[str, int]:
    names = ("received", "saved", "failed", "waiting", "live", "late", "skipped", "unstained", "behind")
    return {name: numbers.get(name, 0) for name in names}


def test_counters_follow_the_last_row_of_each_plane_and_close(recording: Recording) -> None:
    for t in range(6):
        recording.raw(t)
    recording.raw(0, c=1)
    recording.raw(6, state="failed")
    recording.raw(7, state="failed")
    recording.raw(7, n=8)
    recording.stain(0)
    recording.stain(1, live=False)
    recording.stain(2, state="skipped")
    recording.stain(3, state="failed")
    recording.stain(4, state="failed")
    recording.stain(4, live=False)
    recording.stain(6)
    run = recording.end()
    expected = counters(received=9, saved=8, failed=1, live=1, late=2, skipped=1, unstained=1, behind=2)
    found = run.counters()
    assert found == expected
    assert found["received"] == found["saved"] + found["failed"] + found["waiting"]
    assert sum(found[name] for name in ("live", "late", "skipped", "unstained", "behind")) == 7
    assert run.missing() == [Key(0, 2, 0), Key(0, 3, 0), Key(0, 5, 0), Key(0, 7, 0)]
    assert run.problems == ["unet: 1 stained plane(s) without a saved raw plane; not counted"]


def test_a_run_without_stains_is_all_behind(recording: Recording) -> None:
    for t in range(3):
        recording.raw(t, z=t % 2)
    run = recording.end()
    assert run.counters() == counters(received=3, saved=3, behind=3)
    assert run.missing() == [Key(0, 0, 0), Key(0, 1, 1), Key(0, 2, 0)]
    assert run.stains == ()


def test_a_run_of_which_nothing_is_to_be_stained_is_not_behind(tmp_path: Path) -> None:
    folder = RunFolder.create(tmp_path / "run", {})
    store = image(image_path(folder.raw, 0), [measured_channel("GFP", extra={"label_free": False})])
    save(store, 0)
    with_row = Ledger(folder.raw / "ledger.jsonl", fsync=False)
    with_row.row({"v": 1, "n": 0, "p": 0, "t": 0, "z": 0, "c": 0, "state": "ok"})
    with_row.close({})
    folder.close()
    run = open_run(folder.path)
    assert run.counters() == counters(received=1, saved=1)
    assert run.missing() == []


def test_the_model_begun_last_is_meant_unless_named(recording: Recording) -> None:
    for t in range(3):
        recording.raw(t)
    recording.stain(0, "zebra")
    recording.stain(1, "zebra")
    recording.stain(2, "ant", live=False)
    run = recording.end()
    assert run.stains == ("ant", "zebra")
    assert run.missing() == [Key(0, 0, 0), Key(0, 1, 0)]
    assert run.missing(model="zebra") == [Key(0, 2, 0)]
    assert run.counters(model="zebra")["live"] == 2
    assert run.array("virtual: nuclei", model="zebra")[1].any()
    assert not run.array("virtual: nuclei")[1].any()
    with pytest.raises(RunError, match="ant, zebra"):
        run.missing(model="bee")


def test_channels_and_positions_are_named_by_kind(recording: Recording) -> None:
    recording.raw(0)
    recording.raw(0, p=2)
    recording.stain(0)
    run = recording.end()
    assert run.positions == (0, 2)
    assert run.channels == ("measured: BF", "measured: GFP", "virtual: nuclei", "virtual: membrane")
    for name, position in [("nuclei", 0), ("measured: BF", 1), ("virtual: nuclei", 2), ("virtual: actin", 0)]:
        with pytest.raises(RunError, match=r"no channel.*measured: BF.*positions 0, 2"):
            run.array(name, position)


@pytest.mark.parametrize(
    "index",
    [
        0,
        -1,
        np.s_[:],
        np.s_[1],
        np.s_[1, 0],
        np.s_[1:4, 1],
        np.s_[::-2, ::-1],
        np.s_[..., 3, 4],
        np.s_[2, ...],
        np.s_[2, 1, ..., 5:9],
        np.s_[:, :, 10:20, ::3],
        np.s_[4, 1, 7, 8],
        np.s_[5:2],
        np.s_[np.int64(2), 0, [1, 5, 9], :],
    ],
    ids=str,
)
def test_arrays_index_as_numpy_does(recording: Recording, index: Any) -> None:
    for t in range(5):
        for z in range(2):
            recording.raw(t, z=z)
    array = recording.end().array("measured: BF")
    whole = np.stack([[plane(100 * t + 10 * z) for z in range(2)] for t in range(5)])
    assert (array.shape, array.ndim, array.dtype, len(array)) == (whole.shape, 4, whole.dtype, 5)
    picked = array[index]
    np.testing.assert_array_equal(picked, whole[index])
    assert picked.dtype == whole.dtype
    np.testing.assert_array_equal(np.asarray(array), whole)


def test_arrays_refuse_what_they_do_not_know(recording: Recording) -> None:
    recording.raw(0)
    array = recording.end().array("measured: BF")
    for index in (1, -2, np.s_[0, 1]):
        with pytest.raises(IndexError):
            array[index]
    with pytest.raises(TypeError):
        array[[0, 0]]


def test_an_array_is_as_long_as_the_ledger_and_gaps_are_zero(recording: Recording) -> None:
    recording.raw(3)
    run = open_run(recording.folder.path)
    array = run.array("measured: BF")
    assert array.shape == (4, 1, *SHAPE)
    assert not array[:3].any()
    np.testing.assert_array_equal(array[3, 0], plane(300))
    recording.raw(6)
    assert run.array("measured: BF").shape[0] == 7


def test_damage_is_raised_not_shown(recording: Recording) -> None:
    recording.raw(0)
    run = recording.end()
    chunk = image_path(run.path / "raw", 0) / "0" / "c" / "0" / "0" / "0" / "0" / "0"
    chunk.write_bytes(chunk.read_bytes()[:-9])
    with pytest.raises(StoreCorruptError):
        run.array("measured: BF")[0]


def test_the_ledger_is_a_table_for_pandas(recording: Recording) -> None:
    pandas = pytest.importorskip("pandas", reason="pandas is not installed: its tables cannot be tried")
    recording.raw(0)
    recording.raw(1, state="failed")
    recording.raw(1, n=1)
    recording.stain(0)
    recording.stain(1, state="failed")
    run = recording.end()
    raw = run.ledger()
    assert raw["t"].dtype == np.int64
    frame = pandas.DataFrame(raw)
    assert list(frame["state"]) == ["ok", "ok"]
    assert list(frame["n"]) == [0, 1]
    stains = pandas.DataFrame(run.ledger("unet"))
    assert list(stains["live"]) == [True, True]
    assert [len(checksums) for checksums in stains["crc32"]] == [2, 0]
    with pytest.raises(RunError, match="raw, unet"):
        run.ledger("other")


def test_columns_of_mixed_rows_keep_their_meaning(recording: Recording) -> None:
    row = {"v": 1, "p": 0, "z": 0, "c": 0, "state": "ok"}
    recording.ledgers["raw"].row({**row, "t": 0, "elapsed_ms": 1.5, "xyz": [1, 2, 3], "gain": None})
    recording.ledgers["raw"].row({**row, "t": 1, "elapsed_ms": None, "note": "moved", "gain": 2})
    table = recording.end().ledger()
    np.testing.assert_array_equal(table["elapsed_ms"], [1.5, np.nan])
    np.testing.assert_array_equal(table["gain"], [np.nan, 2.0])
    assert list(table["xyz"]) == [[1, 2, 3], None]
    assert list(table["note"]) == [None, "moved"]


def test_a_crashed_run_says_so_and_a_growing_one_does_not(recording: Recording) -> None:
    recording.raw(0)
    run = open_run(recording.folder.path)
    assert run.problems == []
    assert not run.closed
    recording.folder.write_state(force=True, pid=2**22 + 1)
    assert ["was not closed" in problem for problem in run.problems] == [True]
    assert run.counters() == counters(received=1, saved=1, behind=1)
    recording.end()
    assert run.problems == []
    assert run.closed


def test_an_image_that_a_killed_writer_left_unfinished_is_no_position(recording: Recording, tmp_path: Path) -> None:
    recording.raw(0)
    recording.stain(0)
    run = recording.end()
    for unfinished in (image_path(run.path / "raw", 1), image_path(run.path / "stains" / "unet", 1)):
        (unfinished / "0").mkdir(parents=True)
    assert run.positions == (0,)
    assert len(run.channels) == 4
    with pytest.raises(RunError, match="position 1"):
        run.array("virtual: nuclei", 1)
    assert len(export_ome_tiff(run, tmp_path / "out")) == 2


def test_problems_name_damaged_lines_and_a_damaged_state(recording: Recording) -> None:
    recording.raw(0)
    run = recording.end()
    ledger = run.path / "raw" / "ledger.jsonl"
    lines = ledger.read_bytes().splitlines(keepends=True)
    ledger.write_bytes(lines[0] + b"junk\n" + b"".join(lines[1:]))
    (run.path / "run.json").write_text("{")
    assert len(run.problems) == 2
    assert "line 2" in run.problems[0]
    assert "run.json" in run.problems[1]
    assert run.counters()["saved"] == 1


@pytest.mark.parametrize("place", ["absent", "."], ids=["no folder", "no run"])
def test_what_is_no_run_is_refused(tmp_path: Path, place: str) -> None:
    with pytest.raises(RunError, match=r"is no run.*run\.json"):
        open_run(tmp_path / place)
