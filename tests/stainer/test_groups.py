"""Late planes that the engine gets several at a time: rows and stains are those of one after the other."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from livestain.engine.opening import open_backend
from livestain.engine.protocol import Engine, Given
from livestain.errors import EngineError, EngineLostError, EngineMemoryError, FrameError, LivestainError, StainerError
from livestain.frames import Counts
from livestain.store.planes import PlaneReader
from tests.session.pieces import SHAPE, EngineForTests, await_that, break_engine, frame
from tests.stainer.pieces import Recorded, Row, places, running

TIMINGS = ("queued_ms", "engine_ms")


class Card(EngineForTests):
    """An engine that gets ``group`` planes at a time, and cannot stain the frames that it is told."""

    def __init__(self, engine: Engine, group: int, refuse: Callable[[int, int], None]) -> None:
        super().__init__(engine, lambda number: None, group)
        self._refuse = refuse
        self.sizes: list[int] = []

    def stain(self, *passed: Any) -> npt.NDArray[np.uint16]:
        self.sizes.append(1)
        return self._one(passed[0], 1, passed)

    def stain_many(self, frames: Sequence[Given]) -> list[npt.NDArray[np.uint16]]:
        self.sizes.append(len(frames))
        return [self._one(f.image, len(frames), (f.image, f.shade, f.black, f.offset)) for f in frames]

    def _one(self, image: Counts, size: int, passed: tuple[Any, ...]) -> npt.NDArray[np.uint16]:
        found = [t for t in range(12) if np.array_equal(image, frame(t))]
        self._refuse(found[0] if found else -1, size)
        return self._engine.stain(*passed)


def nothing(t: int, size: int) -> None:
    """Every frame can be stained."""


def refuse(error: LivestainError, *times: int, only_groups: bool = False) -> Callable[[int, int], None]:
    def raise_it(t: int, size: int) -> None:
        if t in times and (size > 1 or not only_groups):
            raise error

    return raise_it


def use_card(monkeypatch: pytest.MonkeyPatch, group: int, refusing: Callable[[int, int], None] = nothing) -> list[Card]:
    made: list[Card] = []

    def opened(*passed: Any, **named: Any) -> Card:
        made.append(Card(open_backend(*passed, **named), group, refusing))
        return made[-1]

    monkeypatch.setattr("livestain.stainer.loop.open_backend", opened)
    return made


def brighter(t: int) -> Counts:
    """A frame whose field is another one: its upper half has twice the light."""
    image = frame(t).copy()
    image[: SHAPE[0] // 2] *= 2
    return image


def plain(recorded: Recorded) -> None:
    recorded.add(*((0, t, 0) for t in range(11)))


def places_and_planes(recorded: Recorded) -> None:
    recorded.add(*((p, t, z) for t in range(4) for p in (0, 1, 2) for z in (0, 1)))


def exposures(recorded: Recorded) -> None:
    for t, exposure_ms in enumerate([10, 10, 20, 20, 20, 20, 10, 20, 10, 10]):
        recorded.add((0, t, 0), (1, t, 0), exposure_ms=exposure_ms)


def moved(recorded: Recorded) -> None:
    for t in range(12):
        recorded.add((0, t, 0), image=frame(t) if t < 5 else brighter(t))


def dark_first(recorded: Recorded) -> None:
    recorded.add(*((0, t, 0) for t in range(3)))
    recorded.add(*((1, t, 0) for t in (0, 1)), image=np.zeros(SHAPE, np.uint16))
    recorded.add(*((1, t, 0) for t in (2, 3)))


def never_lit(recorded: Recorded) -> None:
    recorded.add(*((0, t, 0) for t in range(5)))
    recorded.add(*((1, t, 0) for t in (2, 3)), image=np.zeros(SHAPE, np.uint16))


def missing(recorded: Recorded) -> None:
    recorded.add(*((0, t, 0) for t in (0, 1)))
    recorded.add((0, 2, 0), written=False)
    recorded.add(*((0, t, 0) for t in (3, 4, 5)))
    recorded.add((0, 6, 0), written=False)


RUNS = {
    "plain": (plain, nothing),
    "positions and z": (places_and_planes, nothing),
    "exposures": (exposures, nothing),
    "a field that moves": (moved, nothing),
    "dark first": (dark_first, nothing),
    "never lit": (never_lit, nothing),
    "planes that cannot be read": (missing, nothing),
    "a plane that fails": (plain, refuse(EngineError("no luck"), 1)),
    "planes that fail": (plain, refuse(EngineError("no luck"), 0, 3, 5, 6, 10)),
    "a frame that is none": (plain, refuse(FrameError("no frame"), 4)),
    "groups never work": (plain, refuse(EngineError("no luck"), *range(12), only_groups=True)),
    "groups are too large": (plain, refuse(EngineMemoryError("no room"), *range(12), only_groups=True)),
}


def stained(model: Path, recorded: Recorded) -> tuple[list[Row], list[Any]]:
    """All rows without what differs from run to run, and the stains of the planes that have one."""
    with running(model, recorded) as loop:
        loop.end()
    assert loop.error is None
    rows = [{k: v for k, v in row.items() if k not in TIMINGS} for row in recorded.rows() if "open" not in row]
    rows = [row for row in rows if "engine" not in row or "state" in row]
    rows[-1].pop("close")
    rows = [
        {k: str(v).replace(str(recorded.raw), "raw") if k == "reason" else v for k, v in row.items()} for row in rows
    ]
    kept = []
    for p, t, z in places([row for row in rows if row.get("state") == "ok"]):
        reader = PlaneReader(recorded.stains / f"p{p:03d}.ome.zarr")
        kept += [reader.read(t, c, z) for c in range(2)]
    return rows, kept


@pytest.mark.parametrize(("record", "refusing"), RUNS.values(), ids=RUNS.keys())
def test_groups_leave_the_rows_and_stains_of_one_by_one(
    record: Callable[[Recorded], None],
    refusing: Callable[[int, int], None],
    model_folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("livestain.stainer.shades._CHECK_EVERY", 4)
    found = []
    for size in (1, 3):
        cards = use_card(monkeypatch, size, refusing)
        recorded = Recorded(tmp_path / f"in {size}")
        record(recorded)
        found.append(stained(model_folder, recorded))
        recorded.end()
        assert (max(cards[0].sizes) > 1) == (size > 1)
    (rows, stains), (rows_of_groups, stains_of_groups) = found
    assert rows_of_groups == rows
    assert stains
    np.testing.assert_array_equal(stains_of_groups, stains)


def test_what_the_runs_above_have_in_them(model_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("livestain.stainer.shades._CHECK_EVERY", 4)
    versions = {}
    for record in (plain, exposures, moved):
        recorded = Recorded(tmp_path / record.__name__)
        record(recorded)
        rows, _ = stained(model_folder, recorded)
        recorded.end()
        versions[record] = sum("from_t" in row for row in rows)
    assert versions[plain] == 1
    assert versions[exposures] > 4
    assert versions[moved] == 2


def test_the_engines_time_is_shared_by_the_planes_of_a_group(
    model_folder: Path, recorded: Recorded, monkeypatch: pytest.MonkeyPatch
) -> None:
    break_engine(monkeypatch, lambda number: threading.Event().wait(0.05), group=4)
    plain(recorded)
    with running(model_folder, recorded) as loop:
        loop.end()
    times = [row["engine_ms"] for row in recorded.plane_rows()]
    assert len(set(times[:4])) == 1
    assert 50 <= times[0] < 200


def test_a_new_frame_waits_for_one_group_at_most(
    model_folder: Path, recorded: Recorded, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown = threading.Event()
    break_engine(monkeypatch, lambda number: shown.wait(), group=3)
    recorded.add(*((0, t, 0) for t in range(9)))
    with running(model_folder, recorded) as loop:
        await_that(lambda: loop.heard("warm"))
        loop.show((0, 8, 0))
        shown.set()
        loop.end()
    rows = recorded.plane_rows()
    assert sorted(places(rows)) == [(0, t, 0) for t in range(9)]
    assert places(rows).index((0, 8, 0)) in (0, 3)
    assert [row["live"] for row in rows] == [row["t"] == 8 for row in rows]


@pytest.mark.parametrize("group", [1, 4])
def test_three_failures_in_a_row_end_the_stainer_whatever_the_group(
    group: int, model_folder: Path, recorded: Recorded, monkeypatch: pytest.MonkeyPatch
) -> None:
    use_card(monkeypatch, group, refuse(EngineError("no luck"), *range(2, 12)))
    plain(recorded)
    with running(model_folder, recorded) as loop:
        await_that(lambda: loop.error)
    assert isinstance(loop.error, StainerError)
    assert [row["state"] for row in recorded.plane_rows()] == ["ok", "ok", "failed", "failed", "failed"]


@pytest.mark.parametrize("group", [1, 4])
@pytest.mark.parametrize("error", [EngineLostError("unplugged"), EngineMemoryError("no room")], ids=["lost", "full"])
def test_a_device_that_is_lost_or_full_ends_the_stainer_at_once_and_costs_no_row(
    error: LivestainError, group: int, model_folder: Path, recorded: Recorded, monkeypatch: pytest.MonkeyPatch
) -> None:
    use_card(monkeypatch, group, refuse(error, 5))
    plain(recorded)
    with running(model_folder, recorded) as loop:
        await_that(lambda: loop.error)
    assert loop.error is error
    rows = recorded.plane_rows()
    assert {row["state"] for row in rows} == {"ok"}
    # The others of its group are left to the next engine, too; where only the memory is short, each gets its turn.
    left_at = 4 if group == 4 and isinstance(error, EngineLostError) else 5
    assert places(rows) == [(0, t, 0) for t in range(left_at)]


@pytest.mark.parametrize("error", [EngineLostError("unplugged"), EngineMemoryError("no room")], ids=["lost", "full"])
def test_a_live_frame_costs_no_row_either(
    error: LivestainError, model_folder: Path, recorded: Recorded, monkeypatch: pytest.MonkeyPatch
) -> None:
    use_card(monkeypatch, 1, refuse(error, 1))
    recorded.add((0, 0, 0))
    with running(model_folder, recorded) as loop:
        loop.await_rows(1)
        loop.show((0, 1, 0))
        await_that(lambda: loop.error)
    assert places(recorded.plane_rows()) == [(0, 0, 0)]
    assert loop.error is error


def test_planes_of_a_group_that_the_disk_does_not_take_are_stained_again(
    model_folder: Path, recorded: Recorded, monkeypatch: pytest.MonkeyPatch
) -> None:
    use_card(monkeypatch, 4)
    plain(recorded)
    with running(model_folder, recorded, queue_bytes=1 << 16) as loop:
        loop.end()
    assert places(recorded.plane_rows()) == [(0, t, 0) for t in range(11)]
    assert {row["state"] for row in recorded.plane_rows()} == {"ok"}
