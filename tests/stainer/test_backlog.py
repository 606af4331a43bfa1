"""The backlog: what is recorded and not yet stained, oldest first."""

from __future__ import annotations

import tracemalloc

import numpy as np

from livestain.frames import Key
from livestain.stainer.backlog import Backlog


def test_life_of_a_plane() -> None:
    backlog = Backlog()
    key = Key(0, 3, 0)
    assert backlog.oldest() is None
    backlog.add_raw(key)
    assert (backlog.oldest(), backlog.behind) == (key, 1)
    backlog.mark_done(key)
    assert (backlog.oldest(), backlog.behind, backlog.is_done(key)) == (None, 0, True)
    assert sum(backlog.totals.values()) == 0, "queued for the disk, no row yet"
    backlog.mark_done(key, "live")
    assert backlog.totals == {"live": 1, "late": 0, "skipped": 0, "unstained": 0}
    backlog.unmark(key)
    assert (backlog.oldest(), backlog.behind) == (key, 1)


def test_stain_before_its_raw_row_is_not_behind() -> None:
    backlog = Backlog()
    backlog.mark_done(Key(0, 0, 0), "late")
    assert (backlog.behind, backlog.totals["late"]) == (0, 0), "not counted without its raw row"
    backlog.add_raw(Key(0, 0, 0))
    assert (backlog.behind, backlog.totals["late"], backlog.oldest()) == (0, 1, None)


def test_the_last_row_of_a_plane_wins() -> None:
    backlog = Backlog()
    backlog.add_raw(Key(0, 0, 0))
    backlog.mark_done(Key(0, 0, 0), "unstained")
    backlog.mark_done(Key(0, 0, 0), "late")
    assert backlog.totals == {"live": 0, "late": 1, "skipped": 0, "unstained": 0}


def test_oldest_goes_by_time_then_z_over_positions() -> None:
    backlog = Backlog()
    for key in (Key(1, 2, 0), Key(0, 5, 0), Key(1, 2, 3), Key(0, 2, 1)):
        backlog.add_raw(key)
    order = []
    while (key_now := backlog.oldest()) is not None:
        order.append(key_now)
        backlog.mark_done(key_now)
    assert order == [Key(1, 2, 0), Key(0, 2, 1), Key(1, 2, 3), Key(0, 5, 0)]


def test_random_orders_agree_with_a_plain_set() -> None:
    rng = np.random.default_rng(4)
    backlog, raw, done = Backlog(), set[Key](), set[Key]()
    for _ in range(3000):
        key = Key(int(rng.integers(2)), int(rng.integers(200)), int(rng.integers(3)))
        action = rng.integers(3)
        if action == 0:
            backlog.add_raw(key)
            raw.add(key)
        elif action == 1:
            backlog.mark_done(key)
            done.add(key)
        elif key in done:
            backlog.unmark(key)
            done.discard(key)
        left = raw - done
        assert backlog.behind == len(left)
        in_time = sorted(left, key=lambda k: (k.t, k.z, k.p))
        assert backlog.oldest() == next(iter(in_time), None)
        assert backlog.oldest_few(5) == in_time[:5]
    assert set(backlog.waiting()) == raw - done


def test_a_plane_costs_a_few_bytes() -> None:
    backlog = Backlog()
    tracemalloc.start()
    for t in range(20_000):
        backlog.add_raw(Key(0, t, 0))
        backlog.mark_done(Key(0, t, 0))
    size, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert size / 20_000 <= 4


def test_behind_is_recorded_and_not_stained() -> None:
    backlog = Backlog()
    assert not backlog.is_behind(Key(0, 1, 0))
    backlog.add_raw(Key(0, 1, 0))
    assert backlog.is_behind(Key(0, 1, 0))
    backlog.mark_done(Key(0, 1, 0), "late")
    assert not backlog.is_behind(Key(0, 1, 0))
