"""What the stainer does next, what it says, and what it leaves on disk."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from livestain.errors import EngineError, StainerError, StoreError
from livestain.frames import Key
from livestain.stainer.half import half_size
from livestain.stainer.loop import kind_of
from livestain.stainer.slots import result_parts
from livestain.store.ledger import Ledger
from livestain.store.planes import PlaneStore
from tests.session.pieces import SHAPE, await_that, break_engine, frame
from tests.stainer.pieces import Recorded, Row, places, running


def test_what_is_recorded_is_stained_first_in_time_first(model_folder: Path, recorded: Recorded) -> None:
    recorded.add((0, 3, 0), (1, 0, 0), (0, 0, 1), (0, 0, 0), (1, 3, 0))
    with running(model_folder, recorded) as loop:
        loop.end()
    assert places(recorded.plane_rows()) == [(0, 0, 0), (1, 0, 0), (0, 0, 1), (0, 3, 0), (1, 3, 0)]
    assert not any(row["live"] for row in recorded.plane_rows())


def test_what_is_new_goes_before_what_is_old(
    model_folder: Path, recorded: Recorded, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown = threading.Event()
    break_engine(monkeypatch, lambda number: shown.wait())
    recorded.add(*((0, t, 0) for t in range(6)))
    with running(model_folder, recorded) as loop:
        await_that(lambda: loop.heard("warm"))
        loop.show((0, 5, 0))
        shown.set()
        loop.end()
    rows = recorded.plane_rows()
    assert sorted(places(rows)) == [(0, t, 0) for t in range(6)]
    at = places(rows).index((0, 5, 0))
    assert at <= 1
    assert [row["live"] for row in rows] == [i == at for i in range(6)]


def test_a_live_result_lies_in_the_slot_and_is_told(model_folder: Path, recorded: Recorded) -> None:
    recorded.add((0, 0, 0))
    out = np.empty((2, *SHAPE), np.uint16)
    with running(model_folder, recorded) as loop:
        loop.await_rows(1)
        loop.show((0, 1, 0))
        loop.await_live(1)
        tag = loop.slots[1].read([out])
        assert tag is not None
        recorded.add((0, 1, 0))
        loop.end()
    assert tag.key == Key(0, 1, 0)
    assert tag.engine_us > 0
    (live,) = loop.heard("live")
    assert live["key"] == [0, 1, 0]
    assert live["input"]["gain"] == pytest.approx(1.0, abs=0.1)


def test_a_live_stain_counts_once_its_frame_is_saved(model_folder: Path, recorded: Recorded) -> None:
    recorded.add((0, 0, 0))
    with running(model_folder, recorded) as loop:
        loop.await_rows(1)
        loop.show((0, 1, 0))
        loop.await_rows(2)
        before = loop.heard("rows")[-1]
        recorded.add((0, 1, 0))
        loop.end()
    assert (before["live"], before["late"], before["behind"]) == (0, 1, 0)
    (closed,) = loop.heard("closed")
    assert (closed["live"], closed["late"], closed["behind"]) == (1, 1, 0)
    assert places(recorded.plane_rows()) == [(0, 0, 0), (0, 1, 0)]


def test_a_frame_that_has_its_stain_is_not_stained_again(model_folder: Path, recorded: Recorded) -> None:
    recorded.add((0, 0, 0))
    with running(model_folder, recorded) as loop:
        loop.await_rows(1)
        loop.show((0, 0, 0))
        await_that(lambda: loop.heard("idle"))
        loop.end()
    assert len(recorded.plane_rows()) == 1


def test_every_look_is_answered_once(model_folder: Path, recorded: Recorded) -> None:
    recorded.add((0, 0, 0))
    with running(model_folder, recorded) as loop:
        loop.await_rows(1)
        for t in range(1, 8):
            loop.show((0, t, 0))
            await_that(partial(loop.has_answered, t))
        loop.end()
    assert loop.has_answered(7)
    assert not loop.has_answered(8)


def test_only_saved_label_free_planes_are_stained(model_folder: Path, recorded: Recorded) -> None:
    recorded.add((0, 0, 0))
    recorded.add((0, 1, 0), state="failed")
    recorded.add((0, 2, 0), c=1)
    with running(model_folder, recorded) as loop:
        loop.end()
    assert places(recorded.plane_rows()) == [(0, 0, 0)]


def test_another_stainer_goes_on_where_the_first_was(model_folder: Path, recorded: Recorded) -> None:
    recorded.add((0, 0, 0), (0, 1, 0))
    with running(model_folder, recorded) as loop:
        loop.await_rows(2)
        loop.end("quit")
    assert not any("close" in row for row in recorded.rows())
    recorded.add((0, 2, 0), (0, 3, 0))
    with running(model_folder, recorded) as loop:
        loop.end()
    rows = recorded.rows()
    assert places(recorded.plane_rows()) == [(0, t, 0) for t in range(4)]
    assert [row["engine"] for row in recorded.plane_rows()] == ["e1", "e1", "e2", "e2"]
    assert sum("open" in row for row in rows) == 2
    assert sum("shade" in row and "state" not in row for row in rows) == 1
    assert rows[-1]["counters"] == {"live": 0, "late": 4, "skipped": 0, "unstained": 0, "behind": 0}


def test_planes_without_a_stain_are_named_in_the_image(
    model_folder: Path, recorded: Recorded, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse_second(number: int) -> None:
        if number == 2:
            raise EngineError("no luck")

    break_engine(monkeypatch, refuse_second)
    recorded.add(*((0, t, 0) for t in range(3)))
    with running(model_folder, recorded) as loop:
        loop.end()
    assert [row["state"] for row in recorded.plane_rows()] == ["ok", "failed", "ok"]
    document = json.loads((recorded.stains / "p000.ome.zarr" / "zarr.json").read_text(encoding="utf-8"))
    named = document["attributes"]["livestain"]
    assert named["planes_without_stain"] == [[1, 0]]
    assert named["kind"] == "virtual"


def test_three_failures_in_a_row_end_the_stainer(
    model_folder: Path, recorded: Recorded, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(number: int) -> None:
        raise EngineError("the device is gone")

    break_engine(monkeypatch, refuse)
    recorded.add(*((0, t, 0) for t in range(9)))
    with running(model_folder, recorded) as loop:
        await_that(lambda: loop.error)
    assert isinstance(loop.error, StainerError)
    assert "3 planes in a row failed in the engine: the device is gone" in str(loop.error)
    assert [row["state"] for row in recorded.plane_rows()] == ["failed"] * 3


EXPOSURES: dict[str, list[float]] = {
    "once": [10, 10, 10, 20, 20, 20],
    "forth and back": [10, 20, 20, 10, 10, 10],
    "never": [10] * 6,
}


@pytest.mark.parametrize("live", [(), (5,), (3, 5)], ids=["all late", "newest live", "two live"])
@pytest.mark.parametrize("exposures", EXPOSURES.values(), ids=EXPOSURES.keys())
def test_every_plane_takes_the_newest_background_of_its_time(
    exposures: list[float], live: tuple[int, ...], model_folder: Path, recorded: Recorded
) -> None:
    recorded.add((0, 0, 0), exposure_ms=exposures[0])
    with running(model_folder, recorded) as loop:
        loop.await_rows(1)
        for number, t in enumerate(live, 1):
            loop.show((0, t, 0), exposures[t])
            loop.await_live(number)
        for t in range(1, 6):
            recorded.add((0, t, 0), exposure_ms=exposures[t])
        loop.end()
    rows = recorded.rows()
    versions = [(row["from_t"], row["shade"]) for row in rows if "from_t" in row]
    if not live:
        assert (len(versions) > 1) == (len(set(exposures)) > 1)
    for row in recorded.plane_rows():
        assert row["shade"] == max(version for from_t, version in versions if from_t <= row["t"])


def test_what_the_disk_does_not_take_is_shown_and_stained_again_later(
    model_folder: Path, recorded: Recorded, monkeypatch: pytest.MonkeyPatch
) -> None:
    go_on = threading.Event()
    stop_stains(monkeypatch, recorded, go_on.wait)
    recorded.add((0, 0, 0))
    with running(model_folder, recorded, queue_bytes=1 << 16) as loop:
        for t in range(1, 6):
            loop.show((0, t, 0))
            loop.await_live(t)
            recorded.add((0, t, 0))
        assert recorded.plane_rows() == []
        go_on.set()
        loop.end()
    rows = recorded.plane_rows()
    assert sorted(places(rows)) == [(0, t, 0) for t in range(6)]
    assert 1 <= sum(row["live"] for row in rows) < 5
    (closed,) = loop.heard("closed")
    assert closed["live"] + closed["late"] == 6


def test_a_stain_that_cannot_be_written_is_a_failed_row(
    model_folder: Path, recorded: Recorded, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse() -> None:
        raise StoreError("a bad sector")

    stop_stains(monkeypatch, recorded, refuse)
    recorded.add((0, 0, 0), (0, 1, 0))
    with running(model_folder, recorded) as loop:
        loop.end()
    assert [(row["state"], row["reason"]) for row in recorded.plane_rows()] == [("failed", "a bad sector")] * 2
    (closed,) = loop.heard("closed")
    assert closed["unstained"] == 2


def test_a_plane_whose_row_is_lost_is_stained_again(
    model_folder: Path, recorded: Recorded, monkeypatch: pytest.MonkeyPatch
) -> None:
    write, lost = Ledger.row, [StoreError("the disk is full")]

    def lose_first(ledger: Ledger, row: Row) -> None:
        if row.get("kind") == "virtual" and lost:
            raise lost.pop()
        write(ledger, row)

    monkeypatch.setattr(Ledger, "row", lose_first)
    recorded.add((0, 0, 0), (0, 1, 0))
    with running(model_folder, recorded) as loop:
        loop.end()
    assert sorted(places(recorded.plane_rows())) == [(0, 0, 0), (0, 1, 0)]
    assert any("p0 t0 z0 not written: the disk is full" in message["text"] for message in loop.heard("warning"))


def test_a_disk_that_takes_no_row_any_more_is_not_waited_for(
    model_folder: Path, recorded: Recorded, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = Ledger.row

    def lose(ledger: Ledger, row: Row) -> None:
        if row.get("kind") == "virtual":
            raise StoreError("the disk is full")
        write(ledger, row)

    monkeypatch.setattr(Ledger, "row", lose)
    recorded.add(*((0, t, 0) for t in range(5)))
    with running(model_folder, recorded) as loop:
        loop.end()
    assert recorded.plane_rows() == []
    (closed,) = loop.heard("closed")
    assert closed["behind"] == 5


def test_without_a_record_the_first_frame_shown_is_the_background(model_folder: Path) -> None:
    with running(model_folder, None) as loop:
        await_that(lambda: loop.heard("warm"))
        for t in range(3):
            loop.show((0, t, 0))
            loop.await_live(t + 1)
        loop.end()
    assert loop.heard("closed")


# -- what a window asks for --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("wanted", [True, False], ids=["wanted", "not wanted"])
def test_a_live_result_brings_its_own_frame_and_half_sizes_when_wanted(
    wanted: bool, model_folder: Path, recorded: Recorded
) -> None:
    recorded.add((0, 0, 0))
    out = [np.zeros(shape, dtype) for shape, dtype in result_parts(SHAPE, np.uint16, 2)]
    with running(model_folder, recorded) as loop:
        loop.tell(do="pictures", wanted=True)
        loop.tell(do="pictures", wanted=wanted)
        loop.await_rows(1)
        loop.show((0, 3, 0))
        loop.await_live(1)
        tag = loop.slots[1].read(out)
        loop.end()
    assert tag is not None
    assert tag.parts == (4 if wanted else 1)
    stains, image, small_stains, small_image = out
    assert stains.any()
    if wanted:
        np.testing.assert_array_equal(image, frame(3))
        np.testing.assert_array_equal(small_image, half_size(frame(3)))
        np.testing.assert_array_equal(small_stains, half_size(stains))
    else:
        assert not any(array.any() for array in (image, small_stains, small_image))


SWITCHES: dict[str, tuple[list[tuple[int, bool]], list[str]]] = {
    "off": ([(0, False)], ["skipped"] * 4),
    "off from the third": ([(2, False)], ["late", "late", "skipped", "skipped"]),
    "off and on": ([(1, False), (3, True)], ["late", "skipped", "skipped", "late"]),
}


@pytest.mark.parametrize(("changes", "expected"), SWITCHES.values(), ids=SWITCHES.keys())
def test_what_was_received_while_staining_was_off_is_left_out(
    changes: list[tuple[int, bool]], expected: list[str], model_folder: Path, recorded: Recorded
) -> None:
    with running(model_folder, recorded) as loop:
        loop.tell(do="switch", changes=changes)
        recorded.add(*((0, t, 0) for t in range(4)))
        loop.end()
    rows = sorted(recorded.plane_rows(), key=lambda row: row["t"])
    assert [kind_of(row) for row in rows] == expected
    assert {row["reason"] for row in rows if row["state"] == "skipped"} == {"staining was switched off"}
    (closed,) = loop.heard("closed")
    assert (closed["late"], closed["skipped"], closed["behind"]) == (
        expected.count("late"),
        expected.count("skipped"),
        0,
    )


def test_while_staining_is_off_nothing_is_stained_and_what_was_behind_waits(
    model_folder: Path, recorded: Recorded
) -> None:
    with running(model_folder, recorded) as loop:
        loop.tell(do="switch", changes=[(3, False)])
        await_that(lambda: loop.heard("warm"))
        recorded.add(*((0, t, 0) for t in range(5)))
        loop.show((0, 4, 0))
        loop.await_rows(2)
        await_that(lambda: loop.heard("idle"))
        resting = places(recorded.plane_rows())
        loop.tell(do="switch", changes=[(3, False), (5, True)])
        loop.await_rows(5)
        loop.show((0, 5, 0))
        loop.await_live(1)
        recorded.add((0, 5, 0))
        loop.end()
    assert resting == [(0, 3, 0), (0, 4, 0)]
    kinds = {row["t"]: kind_of(row) for row in recorded.plane_rows()}
    assert kinds == {0: "late", 1: "late", 2: "late", 3: "skipped", 4: "skipped", 5: "live"}


def test_another_stainer_leaves_out_the_same_planes(model_folder: Path, recorded: Recorded) -> None:
    with running(model_folder, recorded) as loop:
        loop.tell(do="switch", changes=[(1, False)])
        recorded.add((0, 0, 0), (0, 1, 0))
        loop.await_rows(1)
        loop.end("quit")
    with running(model_folder, recorded) as loop:
        loop.tell(do="switch", changes=[(1, False), (3, True)])
        recorded.add((0, 2, 0), (0, 3, 0))
        loop.end()
    rows = sorted(recorded.plane_rows(), key=lambda row: row["t"])
    assert [kind_of(row) for row in rows] == ["late", "skipped", "skipped", "late"]


def stop_stains(monkeypatch: pytest.MonkeyPatch, recorded: Recorded, allow: Callable[[], object]) -> None:
    """Call ``allow`` before each plane of a stain."""
    begin = PlaneStore.begin

    def begin_later(store: PlaneStore, *passed: Any) -> Any:
        if recorded.stains in store.path.parents:
            allow()
        return begin(store, *passed)

    monkeypatch.setattr(PlaneStore, "begin", begin_later)
