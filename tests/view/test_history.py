"""What became of every plane, from the ledgers alone, and how much it takes to know it."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from livestain.frames import InputCheck, Key
from livestain.session.status import Counters
from livestain.store.ledger import Ledger
from livestain.store.run import note_row
from livestain.view.history import History
from livestain.view.picture import ABSENT, FAILED, LATE, LIVE, NO_STAIN_YET, SKIPPED, UNSTAINED


class Ledgers:
    """A raw ledger and one of stains, and what follows them."""

    def __init__(self, folder: Path) -> None:
        self.paths = folder / "raw.jsonl", folder / "stains.jsonl"
        self._ledgers = [Ledger(path, fsync=False) for path in self.paths]
        self.history = History(self.paths[0], [self.paths[1]])

    def raw(self, t: int, state: str = "ok", *, p: int = 0, z: int = 0, c: int = 0, **more: object) -> None:
        self._ledgers[0].row({"v": 1, "p": p, "t": t, "z": z, "c": c, "state": state, **more})

    def stain(self, t: int, state: str = "ok", *, live: bool = True, **more: object) -> None:
        self._ledgers[1].row({"v": 1, "p": 0, "t": t, "z": 0, "state": state, "live": live, **more})

    def note(self, text: str, key: Key | None = None) -> None:
        self._ledgers[0].row(note_row(text, key))

    def close(self) -> None:
        for ledger in self._ledgers:
            ledger.abandon()


@pytest.fixture
def ledgers(tmp_path: Path) -> Iterator[Ledgers]:
    made = Ledgers(tmp_path)
    yield made
    made.close()


@pytest.mark.parametrize(
    ("raw", "stain", "mark", "why"),
    [
        (None, None, ABSENT, NO_STAIN_YET),
        (None, {"state": "ok"}, ABSENT, ""),
        ({}, None, UNSTAINED, NO_STAIN_YET),
        ({}, {"live": True}, LIVE, ""),
        ({}, {"live": False}, LATE, ""),
        ({}, {"state": "failed", "reason": "engine lost"}, FAILED, "failed: engine lost"),
        ({}, {"state": "skipped", "reason": "staining was off"}, SKIPPED, "left out: staining was off"),
        ({"state": "failed", "reason": "disk too slow"}, None, FAILED, "not recorded: disk too slow"),
        ({"state": "failed"}, {"live": True}, FAILED, "not recorded"),
    ],
    ids=str,
)
def test_a_plane_is_marked_by_both_ledgers(
    ledgers: Ledgers, raw: dict[str, Any] | None, stain: dict[str, Any] | None, mark: int, why: str
) -> None:
    ledgers.raw(2)  # so that there is a t 1 in any case
    if raw is not None:
        ledgers.raw(1, **raw)
    if stain is not None:
        ledgers.stain(1, **stain)
    ledgers.history.update()
    assert ledgers.history.marks(0, 0).tolist() == [ABSENT, mark, UNSTAINED]
    assert ledgers.history.why_missing(Key(0, 1, 0), 0) == why


def test_the_last_row_of_a_plane_counts_and_growth_is_seen(ledgers: Ledgers) -> None:
    history = ledgers.history
    ledgers.raw(0)
    ledgers.stain(0, "failed", reason="device lost")
    history.update()
    before, seen = history.version, history.signature(Key(0, 0, 0))
    assert history.marks(0, 0).tolist() == [FAILED]
    history.update()
    assert history.version == before
    ledgers.stain(0, live=False)
    ledgers.raw(1)
    history.update()
    assert history.marks(0, 0).tolist() == [LATE, UNSTAINED]
    assert history.version > before
    assert history.signature(Key(0, 0, 0)) != seen


def test_extent_counts_all_rows_and_marks_only_the_channel_that_is_stained(ledgers: Ledgers) -> None:
    ledgers.raw(0)
    ledgers.raw(4, c=1)
    ledgers.raw(2, "failed", p=3, z=1)
    ledgers.history.update()
    assert ledgers.history.extent() == (4, 5, 2)
    assert ledgers.history.marks(0, 0).tolist() == [UNSTAINED, ABSENT, ABSENT, ABSENT, ABSENT]
    assert ledgers.history.marks(3, 1).tolist() == [ABSENT, ABSENT, FAILED, ABSENT, ABSENT]
    assert ledgers.history.marks(99, 99).tolist() == [ABSENT] * 5
    assert ledgers.history.newest(0, 0) == 0
    assert ledgers.history.newest(3, 1) is None


def test_times_and_notes_are_kept(ledgers: Ledgers) -> None:
    ledgers.raw(0, elapsed_ms=0.0)
    ledgers.raw(1, elapsed_ms=12_345.0)
    ledgers.raw(2)
    ledgers.note("drug added", Key(0, 1, 0))
    ledgers.history.update()
    times = [ledgers.history.time_s(Key(0, t, 0)) for t in range(4)]
    assert times[:2] == [0.0, pytest.approx(12.345)]
    assert np.isnan(times[2:]).all()
    assert [(note.text, note.t) for note in ledgers.history.notes()] == [("drug added", 1)]


def test_counters_are_those_of_the_last_rows_and_sum_up(ledgers: Ledgers) -> None:
    for t in range(6):
        ledgers.raw(t, "failed" if t == 5 else "ok")
    ledgers.raw(0, c=1)
    ledgers.stain(0)
    ledgers.stain(1, "failed")
    ledgers.stain(1, live=False)
    ledgers.stain(2, "failed")
    ledgers.stain(3, "skipped")
    history = ledgers.history
    history.update()
    assert history.counters() == Counters(
        received=7, saved=6, failed=1, labelfree=5, live=1, late=1, skipped=1, unstained=1, behind=1
    )
    ledgers.stain(4)
    history.update()
    assert (history.counters().live, history.counters().behind) == (2, 0)


def test_the_input_of_a_plane_is_that_of_its_row(ledgers: Ledgers) -> None:
    ledgers.raw(0)
    ledgers.stain(0, gain=1.5, input={"sd": 0.25, "saturated": 0.125})
    ledgers.stain(1, gain=None, input=None)
    ledgers.history.update()
    assert ledgers.history.input(Key(0, 0, 0)) == InputCheck(0.25, 0.125, 1.5)
    assert ledgers.history.input(Key(0, 1, 0)) is None


def test_a_run_is_closed_until_a_recorder_goes_on_not_by_a_later_note(ledgers: Ledgers) -> None:
    raw, history = ledgers._ledgers[0], ledgers.history
    for row, closed in (({"close": 1.0}, True), ({"open": 2.0}, True), (note_row("x", None), True)):
        raw.row({"v": 1, **row})
        history.update()
        assert history.closed == closed
    ledgers.raw(0)
    history.update()
    assert not history.closed


def test_a_run_without_stains_has_only_what_was_recorded(tmp_path: Path) -> None:
    raw = Ledger(tmp_path / "raw.jsonl", fsync=False)
    raw.row({"v": 1, "p": 0, "t": 0, "z": 0, "c": 0, "state": "ok"})
    raw.close({})
    history = History(tmp_path / "raw.jsonl", [])
    history.update()
    assert history.marks(0, 0).tolist() == [UNSTAINED]
    assert history.counters() == Counters(received=1, saved=1, labelfree=1), "nothing waits for a stain"
    assert history.why_missing(Key(0, 0, 0), None) == ""


def test_a_hundred_thousand_time_points_take_few_bytes_and_little_time(tmp_path: Path) -> None:
    count = 100_000
    row = {"v": 1, "p": 0, "z": 0, "c": 0, "kind": "measured", "state": "ok", "elapsed_ms": 1.5, "crc32": "1badcafe"}
    paths = tmp_path / "raw.jsonl", tmp_path / "stains.jsonl"
    for path, more in zip(paths, ({}, {"live": True}), strict=True):
        path.write_text("".join(json.dumps({**row, **more, "t": t}) + "\n" for t in range(count)))
    history = History(paths[0], [paths[1]])
    begun_s = time.thread_time()
    history.update()
    assert time.thread_time() - begun_s < 5.0  # 0.9 s on the machine of the founders
    assert np.bincount(history.marks(0, 0)).tolist() == [0, count]
    assert history.nbytes <= 2 * 6 * count
