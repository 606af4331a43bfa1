"""Counts how often each brightness occurs in what is shown, on a thread of its own; no Qt."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from livestain.frames import Counts
from livestain.view.state import sample

BINS = 128
"""At most this many bars."""

PAUSE_S = 0.25
"""At least this long from one count to the next: four a second are enough for the eye."""

_SPARE = 0.05
_TOO_EMPTY = 0.4
_NARROWEST = 8.0

Span = tuple[float, float]
"""From and to, in counts, of what a histogram shows."""


@dataclass(frozen=True, slots=True, eq=False)
class Histogram:
    """How often each brightness occurs in one plane.

    Attributes
    ----------
    span
        What is to be shown; holds all values and both limits.
    edges
        (N + 1,) float64 counts, N <= 128: the bars' edges, whole numbers: every bar holds equally many values.
    heights
        (N,) float64, 0..1: log(1 + pixels) of each bar relative to the highest.
    """

    span: Span
    edges: npt.NDArray[np.float64]
    heights: npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class Wanted:
    """One histogram asked for: of the layer with this index, with these limits, ``span`` being shown so far."""

    index: int
    plane: Counts
    limits: tuple[float, float]
    top: int
    span: Span | None = None


def count(wanted: Wanted) -> Histogram:
    """Return the histogram of a plane, from at most 65536 of its pixels (about 1 ms)."""
    few = sample(wanted.plane)
    low, high = min(float(few.min()), wanted.limits[0]), max(float(few.max()), wanted.limits[1])
    span = calm_span(wanted.span, low, high, wanted.top)
    first = math.floor(span[0])
    width = math.ceil((span[1] - first + 1) / BINS)
    bars = math.ceil((span[1] - first + 1) / width)
    pixels = np.bincount((few.ravel() - np.int64(first)) // width, minlength=bars)[:bars]
    heights = np.log1p(pixels)
    return Histogram(span, first + width * np.arange(bars + 1.0), heights / max(float(heights.max()), 1.0))


def calm_span(now: Span | None, low: float, high: float, top: int) -> Span:
    """Return what to show so that ``low`` to ``high`` lie within: ``now`` unless too narrow or mostly empty.

    A new span has a little to spare on both sides, so that the next frame does not change it again.
    """
    if now is not None and now[0] <= low and high <= now[1] and high - low >= _TOO_EMPTY * (now[1] - now[0]):
        return now
    spare = max((high - low) * _SPARE, (_NARROWEST - (high - low)) / 2)
    return max(math.floor(low - spare), 0.0), max(min(math.ceil(high + spare), float(top)), high)


class Counter:
    """Counts on a thread of its own: what was asked last replaces what still waits, at most four counts a second.

    The thread lives while there is something to do and a quarter of a second longer. An error in it is told once, by
    `threading.excepthook`, and nothing more is counted.

    Parameters
    ----------
    deliver
        Called on that thread with layer index -> histogram; never after `close`. Must not block.
    prepare
        Called on that thread before each delivery: imports what a reader of histograms needs.
    """

    def __init__(
        self, deliver: Callable[[Mapping[int, Histogram]], None], prepare: Callable[[], object] = lambda: None
    ) -> None:
        self._deliver = deliver
        self._prepare = prepare
        self._lock = threading.Lock()
        self._waiting: Sequence[Wanted] = ()
        self._running = False
        self._closed = threading.Event()

    def ask(self, wanted: Sequence[Wanted]) -> None:
        """Ask for histograms; any thread, returns at once. The planes are referenced until they are counted."""
        with self._lock:
            self._waiting = () if self._closed.is_set() else tuple(wanted)
            if self._running or not self._waiting:
                return
            self._running = True
        threading.Thread(target=self._work, name="livestain-histograms", daemon=True).start()

    def close(self) -> None:
        """Deliver nothing more; waits for a delivery under way."""
        self._closed.set()
        with self._lock:
            self._waiting = ()

    def _work(self) -> None:
        while wanted := self._next():
            found = {one.index: count(one) for one in wanted}
            del wanted
            self._prepare()
            with self._lock:
                if not self._closed.is_set():
                    self._deliver(found)
            self._closed.wait(PAUSE_S)

    def _next(self) -> Sequence[Wanted]:
        with self._lock:
            waiting, self._waiting = self._waiting, ()
            self._running = bool(waiting)
            return waiting
