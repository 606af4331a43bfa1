"""What became of every plane of a run, followed through its ledgers: some bytes for each plane, no objects."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from livestain.frames import InputCheck, Key
from livestain.session.status import Counters
from livestain.store.ledger import LedgerTail, Row
from livestain.store.read import Note
from livestain.view.picture import ABSENT, FAILED, LATE, LIVE, NO_STAIN_YET, SKIPPED, UNSTAINED, Marks

# What one ledger says of a plane.
_NOTHING, _OK, _LATE, _FAILED, _SKIPPED = range(5)

_MARKS = np.full((5, 5), ABSENT, np.uint8)
"""Mark by what the raw ledger (first axis) and the stains' ledger (second axis) say."""
_MARKS[_FAILED] = FAILED
_MARKS[_OK] = UNSTAINED, LIVE, LATE, FAILED, SKIPPED

_WITH_REASON = (_FAILED, _SKIPPED)
_BLOCK_BYTES = 1 << 18
_REASONS_KEPT = 10_000


class History:
    """Follows the ledgers of a run that may be growing; read-only.

    `update` is called by one thread; all else by any thread, and returns at once.

    Parameters
    ----------
    raw
        The ledger of the measured planes; rows of channel 0 decide what became of a plane.
    stains
        The ledgers of the models' stains, the one that `marks` shows first.
    """

    def __init__(self, raw: Path, stains: Sequence[Path]) -> None:
        self.version = 0
        """Grows with every change."""
        self._lock = threading.Lock()
        self._raw_tail, self._stain_tails = LedgerTail(raw), [LedgerTail(path) for path in stains]
        self._raw = _OverTime(np.uint8, _NOTHING)
        self._stains = [_OverTime(np.uint8, _NOTHING) for _ in stains]
        self._elapsed_s = _OverTime(np.float32, np.nan)
        self._input = tuple(_OverTime(np.float16, np.nan) for _ in range(3))
        """Contrast, clipped share and gain of a plane, as the first stains' ledger has them."""
        self._recorded = {"saved": 0, "failed": 0}
        self._counted = -1, Counters()
        self.closed = False
        """Whether the recording ended in order."""
        self._extent = (0, 0, 0)
        self._reasons: dict[tuple[int, Key], str] = {}
        self._notes: list[Note] = []

    def update(self, stop: Callable[[], bool] = lambda: False) -> None:
        """Read what the ledgers gained, until ``stop()``; blocks. Raises `StoreError` when one cannot be read."""
        tails = [self._raw_tail, *self._stain_tails]
        for ledger, tail in enumerate(tails):
            while not stop() and (rows := tail.new_rows(_BLOCK_BYTES)):
                with self._lock:
                    for row in rows:
                        self._take(ledger, row)
                    self.version += 1

    def extent(self) -> tuple[int, int, int]:
        """Numbers of positions, time points and z sections: one more than the largest of each in any row."""
        return self._extent

    def marks(self, position: int, z: int) -> Marks:
        """Return (T,) uint8 marks of a place, by the first stains' ledger."""
        with self._lock:
            size = self._extent[1]
            raw = self._raw.over_time(position, z, size)
            stained = self._stains[0].over_time(position, z, size) if self._stains else np.zeros(size, np.uint8)
        marks: Marks = _MARKS[raw, stained]
        return marks

    def newest(self, position: int, z: int) -> int | None:
        """Return the last time point with a recorded plane at a place; None when there is none."""
        with self._lock:
            found = np.flatnonzero(self._raw.over_time(position, z, self._extent[1]) == _OK)
        return int(found[-1]) if found.size else None

    def signature(self, key: Key) -> tuple[int, ...]:
        """Return what all ledgers say of a plane, to see later whether that has changed."""
        with self._lock:
            return tuple(int(found.get(key)) for found in (self._raw, *self._stains))

    def time_s(self, key: Key) -> float:
        """Return the time of a plane since the run's start in s; NaN where not known."""
        with self._lock:
            return float(self._elapsed_s.get(key))

    def input(self, key: Key) -> InputCheck | None:
        """Return how a plane looked to the model of the first stains; None where not known."""
        with self._lock:
            sd, saturated, gain = (float(found.get(key)) for found in self._input)
        return None if np.isnan(sd) else InputCheck(sd, saturated, gain)

    def counters(self) -> Counters:
        """Return the counters of the run by its ledgers: what has no row in those of the first stains is behind.

        Where there are no stains at all no plane waits for one.
        """
        with self._lock:
            if self._counted[0] != self.version:
                self._counted = self.version, self._count()
            return self._counted[1]

    def why_missing(self, key: Key, stains: int | None) -> str:
        """Return why there is nothing to show by the ledgers, in a few words; empty when there may be something.

        Parameters
        ----------
        stains
            Which stains' ledger; None = a measured plane.
        """
        with self._lock:
            if self._raw.get(key) == _FAILED:
                return self._words("not recorded", 0, key)
            state = self._stains[stains].get(key) if stains is not None else _OK
            if state in (_OK, _LATE):
                return ""
            words = {_NOTHING: NO_STAIN_YET, _FAILED: "failed", _SKIPPED: "left out"}[int(state)]
            return self._words(words, 1 + (stains or 0), key)

    def reason(self, key: Key) -> str:
        """Return the reason in the ledger why a plane failed or was left out; empty when there is none."""
        with self._lock:
            return self._reasons.get((0, key)) or self._reasons.get((1, key), "")

    @property
    def nbytes(self) -> int:
        """What the planes take in memory; reasons and notes beside it."""
        with self._lock:
            return sum(found.nbytes for found in (self._raw, *self._stains, self._elapsed_s, *self._input))

    def notes(self) -> tuple[Note, ...]:
        """Return the notes so far, in the order of the ledger."""
        with self._lock:
            return tuple(self._notes)

    def _count(self) -> Counters:
        size, states = self._extent[1], np.zeros(5, np.int64)
        for p, z in self._raw.places():
            saved = self._raw.over_time(p, z, size) == _OK
            stained = self._stains[0].over_time(p, z, size) if self._stains else np.zeros(size, np.uint8)
            states += np.bincount(stained[saved], minlength=5)
        behind, live, late, unstained, skipped = (int(number) for number in states)
        saved_frames, failed = self._recorded["saved"], self._recorded["failed"]
        return Counters(
            received=saved_frames + failed, saved=saved_frames, failed=failed, labelfree=int(states.sum()), live=live,
            late=late, skipped=skipped, unstained=unstained, behind=behind if self._stains else 0,
        )  # fmt: skip

    def _words(self, words: str, ledger: int, key: Key) -> str:
        reason = self._reasons.get((ledger, key), "")
        return f"{words}: {reason}" if reason else words

    def _take(self, ledger: int, row: Row) -> None:
        if "state" not in row:
            if ledger == 0 and "note" in row:
                self._notes.append(Note.of_row(row))
            elif ledger == 0 and "open" not in row:  # a note that was added later brings its own
                self.closed = "close" in row
            return
        p, t, z = row["p"], row["t"], row["z"]
        state = _state(row, is_raw=ledger == 0)
        if ledger == 0:
            positions, times, sections = self._extent
            if t >= times or p >= positions or z >= sections:
                self._extent = max(p + 1, positions), max(t + 1, times), max(z + 1, sections)
            self.closed = False
            self._recorded["saved" if state == _OK else "failed"] += 1
            if row.get("c", 0) != 0:
                return
            self._raw.set(p, t, z, state)
            elapsed_ms = row.get("elapsed_ms")
            if elapsed_ms is not None:
                self._elapsed_s.set(p, t, z, elapsed_ms / 1000)
        else:
            self._stains[ledger - 1].set(p, t, z, state)
            if ledger == 1 and row.get("input"):
                found = row["input"].get("sd"), row["input"].get("saturated"), row.get("gain")
                for kept, value in zip(self._input, found, strict=True):
                    if value is not None:
                        kept.set(p, t, z, value)
        if state in _WITH_REASON and row.get("reason") and len(self._reasons) < _REASONS_KEPT:
            self._reasons[ledger, Key(p, t, z)] = str(row["reason"])


class _OverTime:
    """One number for each plane: an array over t for each (p, z), grown by doubling."""

    def __init__(self, dtype: npt.DTypeLike, fill: float) -> None:
        self._dtype, self._fill = dtype, fill
        self._arrays: dict[tuple[int, int], npt.NDArray[Any]] = {}

    @property
    def nbytes(self) -> int:
        """What it takes in memory."""
        return sum(array.nbytes for array in self._arrays.values())

    def set(self, p: int, t: int, z: int, value: float) -> None:
        array = self._arrays.get((p, z))
        if array is None or t >= array.size:
            grown = np.full(max(16, 2 * t), self._fill, self._dtype)
            if array is not None:
                grown[: array.size] = array
            array = self._arrays[p, z] = grown
        array[t] = value

    def places(self) -> list[tuple[int, int]]:
        """Return the (p, z) that have any number."""
        return list(self._arrays)

    def get(self, key: Key) -> float:
        array = self._arrays.get((key.p, key.z))
        found: float = array[key.t] if array is not None and key.t < array.size else self._fill
        return found

    def over_time(self, p: int, z: int, size: int) -> npt.NDArray[Any]:
        """Return the first ``size`` numbers of a place, a copy."""
        out = np.full(size, self._fill, self._dtype)
        array = self._arrays.get((p, z), out)
        known = min(size, array.size)
        out[:known] = array[:known]
        return out


def _state(row: Row, *, is_raw: bool) -> int:
    if row["state"] == "ok":
        return _OK if is_raw or row.get("live") else _LATE
    return _SKIPPED if row["state"] == "skipped" else _FAILED
