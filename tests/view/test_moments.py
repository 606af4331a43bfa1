"""Time points in words and in pixels."""

from __future__ import annotations

import math
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from livestain.frames import Key
from livestain.store.ledger import Ledger
from livestain.store.read import Note
from livestain.store.run import note_row
from livestain.view.history import History
from livestain.view.moments import (
    MARK_WORDS,
    STRIP_COLORS,
    STRIP_GROUND,
    STRIP_SHARE,
    bar_range,
    bars,
    clock,
    describe,
    notes_at,
    place_text,
    strip,
)
from livestain.view.picture import ABSENT, FAILED, LATE, LIVE, SKIPPED, UNSTAINED

WORSE = (ABSENT, LIVE, LATE, SKIPPED, UNSTAINED, FAILED)


@pytest.mark.parametrize(
    ("seconds", "interval_s", "text"),
    [
        (0.0, 0.0, "0:00:00"),
        (144.0, 12.0, "0:02:24"),
        (59.6, 1.0, "0:01:00"),
        (1.44, 0.2, "0:00:01.4"),
        (59.97, 0.2, "0:01:00.0"),
        (360_000.0, 600.0, "100:00:00"),
        (math.nan, 1.0, ""),
    ],
)
def test_the_clock(seconds: float, interval_s: float, text: str) -> None:
    assert clock(seconds, interval_s) == text


@pytest.mark.parametrize(
    ("extent", "time_s", "text"),
    [
        ((1, 240, 1), 144.0, "t 12 · frame 13 of 240, 0:02:24"),
        ((1, 240, 1), math.nan, "t 12 · frame 13 of 240"),
        ((5, 240, 3), 144.0, "t 12 · time point 13 of 240, 0:02:24, position 4 · 5 of 5, z 1 · 2 of 3"),
    ],
)
def test_the_place(extent: tuple[int, int, int], time_s: float, text: str) -> None:
    assert place_text(Key(4, 12, 1), extent, time_s) == text


@pytest.mark.parametrize(("size", "most"), [(1, 10), (7, 7), (10, 3), (100_000, 866), (3, 0), (0, 10)])
def test_the_ranges_of_the_bars_tile_the_time(size: int, most: int) -> None:
    count = bars(np.zeros(size, np.uint8), most).size
    assert count == min(size, most)
    ranges = [bar_range(bar, count, size) for bar in range(count)]
    if count:
        assert (ranges[0][0], ranges[-1][1]) == (0, size - 1)
    assert all(first <= last for first, last in ranges)
    assert all(last + 1 == first for (_, last), (first, _) in pairwise(ranges))


@pytest.mark.parametrize("better", range(len(WORSE)), ids=lambda place: MARK_WORDS[WORSE[place]])
def test_the_worst_state_of_a_bar_wins(better: int) -> None:
    for worse in range(better, len(WORSE)):
        marks = np.full(1000, WORSE[better], np.uint8)
        marks[777] = WORSE[worse]
        assert bars(marks, 10).tolist() == [WORSE[worse] if bar == 7 else WORSE[better] for bar in range(10)]


def test_one_failed_plane_in_a_hundred_thousand_is_seen() -> None:
    marks = np.full(100_000, LIVE, np.uint8)
    marks[54_321] = FAILED
    pixels = strip(marks, 866, 16)
    assert pixels.shape == (16, 866)
    assert (pixels == 0xFF000000 | int(STRIP_COLORS[FAILED], 16)).sum() == 2 * 16


def test_states_differ_in_colour_and_in_height() -> None:
    shares = [STRIP_SHARE[mark] for mark in WORSE]
    assert shares == sorted(set(shares))
    assert len({*STRIP_COLORS.values(), STRIP_GROUND}) == len(WORSE)
    heights = []
    for mark in WORSE:
        pixels = strip(np.array([mark], np.uint8), 12, 20)
        drawn = pixels[:, 3] != 0xFF000000 | int(STRIP_GROUND, 16)
        assert (np.diff(drawn.astype(int)) >= 0).all()  # from the bottom up, without holes
        heights.append(int(drawn.sum()))
    assert heights == [0, 4, 8, 12, 16, 20]


def test_few_time_points_stand_apart() -> None:
    pixels = strip(np.full(10, LATE, np.uint8), 100, 16)
    ground = pixels[-1] == 0xFF000000 | int(STRIP_GROUND, 16)
    assert np.flatnonzero(ground).tolist() == list(range(9, 100, 10))


def test_what_became_of_time_points_is_told_with_reasons_and_notes(tmp_path: Path) -> None:
    raw, stains = (Ledger(tmp_path / name, fsync=False) for name in ("raw.jsonl", "stains.jsonl"))
    for t in range(6):
        failed = {"state": "failed", "reason": "disk too slow"} if t == 2 else {"state": "ok"}
        raw.row({"v": 1, "p": 0, "t": t, "z": 0, "c": 0, **failed})
    raw.row(note_row("drug added", Key(0, 1, 0)))
    raw.row(note_row("elsewhere", Key(1, 1, 0)))
    stains.row({"v": 1, "p": 0, "t": 0, "z": 0, "state": "ok", "live": True})
    stains.row({"v": 1, "p": 0, "t": 3, "z": 0, "state": "skipped", "reason": "staining was off"})
    for ledger in (raw, stains):
        ledger.close({})
    history = History(tmp_path / "raw.jsonl", [tmp_path / "stains.jsonl"])
    history.update()
    assert describe(history, 0, 0, 0, 0) == "t 0: stained live"
    assert describe(history, 0, 0, 1, 1) == "t 1: no stain\nnote at t 1: drug added"
    assert describe(history, 0, 0, 0, 5).splitlines() == [
        "t 0 to 5: 1 failed, 3 no stain, 1 left out, 1 stained live",
        "t 2: disk too slow",
        "t 3: staining was off",
        "note at t 1: drug added",
    ]


NOTES = (
    Note("drug", 0, 3, 0),
    Note("lost focus", 1, 3, 0),
    Note("run begins"),
    Note("wash", 0, 5, 2),
    Note("all", t=5),
)


@pytest.mark.parametrize(
    ("key", "since", "told"),
    [
        (Key(0, 3, 0), 0, "t 3: drug"),
        (Key(1, 3, 0), 0, "t 3: lost focus"),
        (Key(0, 4, 0), 0, ""),
        (Key(0, 4, 0), 1, "t 3: drug"),
        (Key(0, 5, 0), 0, "t 5: wash; all"),
        (Key(0, 5, 0), 2, "t 3: drug, t 5: wash; all"),
    ],
)
def test_the_notes_of_a_time_point_and_those_shortly_before_it(key: Key, since: int, told: str) -> None:
    assert notes_at(NOTES, key, since) == told
