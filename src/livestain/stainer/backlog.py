"""Which planes of a run are recorded and which of them have a stain row: one byte a plane."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from livestain.frames import Key

_RAW, _DONE, _KIND = np.uint8(1), np.uint8(2), np.uint8(0b11100)

KINDS = ("live", "late", "skipped", "unstained")
"""How a plane came to its stain row; the counters of the same names."""

_STAINED = (KINDS.index("live") + 1, KINDS.index("late") + 1)


class Backlog:
    """The planes of one run by key; memory is one byte a plane, a key costs no object.

    A plane is done once it has a stain row, or while its stain waits for the disk. ``totals`` counts the rows by kind,
    ``behind`` the planes without one, both only for planes whose raw row is ``ok``. Not shared between threads.
    """

    def __init__(self) -> None:
        self._states: dict[int, npt.NDArray[np.uint8]] = {}
        self._low: dict[int, int] = {}
        self.behind = 0
        self.totals = dict.fromkeys(KINDS, 0)

    def add_raw(self, key: Key) -> None:
        """Note that the raw plane has its ``ok`` row."""
        state = self._at(key)
        self._change(key, state[key.t, key.z] | _RAW)
        self._low[key.p] = min(self._low[key.p], key.t)

    def mark_done(self, key: Key, kind: str = "") -> None:
        """Note that the plane needs no staining any more; ``kind`` (one of `KINDS`) once its row is written."""
        bits = self._at(key)[key.t, key.z] | _DONE
        if kind:
            bits = (bits & ~_KIND) | np.uint8((KINDS.index(kind) + 1) << 2)
        self._change(key, bits)

    def unmark(self, key: Key) -> None:
        """Put a plane back: its stain was not stored after all."""
        self._change(key, self._at(key)[key.t, key.z] & _RAW)
        self._low[key.p] = min(self._low[key.p], key.t)

    def is_done(self, key: Key) -> bool:
        """Say whether the plane was marked done."""
        return bool(self._at(key)[key.t, key.z] & _DONE)

    def is_behind(self, key: Key) -> bool:
        """Say whether the plane is recorded and not stained."""
        return bool(self._at(key)[key.t, key.z] == _RAW)

    def oldest(self) -> Key | None:
        """Return the recorded plane without a stain that is first in time; None when there is none."""
        return next(iter(self.oldest_few(1)), None)

    def oldest_few(self, count: int) -> list[Key]:
        """Return the first ``count`` of them in time, or as many as there are: by t, then z, then position."""
        found = [key for p in self._states for key in self._oldest_of(p, count)]
        return sorted(found, key=lambda key: (key.t, key.z, key.p))[:count]

    def waiting(self) -> Iterator[Key]:
        """Yield every recorded plane without a stain, position by position."""
        for p, state in sorted(self._states.items()):
            for t, z in np.argwhere(state == _RAW):
                yield Key(p, int(t), int(z))

    def without_stain(self) -> Iterator[Key]:
        """Yield every recorded plane that has no stain on disk, whether it waits for one, failed or was left out."""
        for p, state in sorted(self._states.items()):
            stained = np.isin((state & _KIND) >> 2, _STAINED)
            for t, z in np.argwhere((state & _RAW > 0) & ~stained):
                yield Key(p, int(t), int(z))

    def _oldest_of(self, p: int, count: int) -> list[Key]:
        state, low = self._states[p], self._low[p]
        step = max(1, 4096 // state.shape[1])
        found: list[Key] = []
        while low < len(state) and len(found) < count:
            rows = state[low : low + step]
            hits = np.flatnonzero(rows == _RAW)
            for hit in hits[: count - len(found)]:
                t, z = divmod(int(hit), state.shape[1])
                found.append(Key(p, low + t, z))
            # Only wholly finished rows move the mark: others may still be recorded.
            if np.all(rows & (_RAW | _DONE) == _RAW | _DONE) and self._low[p] == low and low + step <= len(state):
                self._low[p] = low + step
            low += step
        return found

    def _change(self, key: Key, after: np.uint8) -> None:
        state = self._at(key)
        for bits, sign in ((state[key.t, key.z], -1), (after, 1)):
            self.behind += sign * int(bits == _RAW)
            kind = int(bits & _KIND) >> 2
            if kind and bits & _RAW:
                self.totals[KINDS[kind - 1]] += sign
        state[key.t, key.z] = after

    def _at(self, key: Key) -> npt.NDArray[np.uint8]:
        state = self._states.get(key.p)
        if state is None:
            state = np.zeros((max(64, key.t + 1), key.z + 1), np.uint8)
            self._low[key.p] = 0
        elif key.t >= state.shape[0] or key.z >= state.shape[1]:
            times = state.shape[0] if key.t < state.shape[0] else max(2 * state.shape[0], key.t + 1)
            wider = np.zeros((times, max(state.shape[1], key.z + 1)), np.uint8)
            wider[: state.shape[0], : state.shape[1]] = state
            state = wider
        self._states[key.p] = state
        return state
