"""Frames up, stains down and the generator between, overlapped: pinned host memory, three streams, a ring of places.

The stages go through `livestain.engine.cuda`, or through torch where ``cuda.bindings`` is not installed (`gpu_calls`);
without a card through host memory, which shows that frames come out in order and nothing else.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from typing import Any

import numpy as np
import torch
from gpu_calls import Bytes, Calls, TorchCalls
from gpu_clock import spread
from torch import Tensor

Row = dict[str, Any]
Launch = Callable[[Tensor, Tensor, Any], None]

PLACES = 3


class Ring:
    """`PLACES` frames on their way at once; one thread at a time.

    Parameters
    ----------
    calls
        The device.
    launch
        Stains what lies in its first tensor into the second, on the stream given.
    frame, stains
        What one frame and its stains look like on the device.
    held
        Frees everything when it closes.
    """

    def __init__(self, calls: Calls, launch: Launch, frame: Tensor, stains: Tensor, held: ExitStack) -> None:
        self._calls, self._launch = calls, launch
        self.given = [calls.pinned(frame.nbytes, held) for _ in range(PLACES)]
        self.taken = [calls.pinned(stains.nbytes, held) for _ in range(PLACES)]
        self._frames = [torch.empty_like(frame) for _ in range(PLACES)]
        self._stains = [torch.empty_like(stains) for _ in range(PLACES)]
        if isinstance(calls, TorchCalls):
            for memory in (*self._frames, *self._stains):
                calls.keep(memory.view(torch.uint8).reshape(-1))
        self._up, self._run, self._down = (calls.stream(held) for _ in range(3))
        self._events = [[calls.event(held) for _ in range(3)] for _ in range(PLACES)]

    def submit(self, place: int) -> None:
        """Queue what lies in ``given[place]``; what was there before must have been waited for."""
        calls, (uploaded, ran, done) = self._calls, self._events[place]
        frame, stains, given, taken = self._frames[place], self._stains[place], self.given[place], self.taken[place]
        calls.copy(frame.data_ptr(), given.ctypes.data, given.nbytes, self._up)
        calls.record(uploaded, self._up)
        calls.hold(self._run, uploaded)
        self._launch(frame, stains, self._run)
        calls.record(ran, self._run)
        calls.hold(self._down, ran)
        calls.copy(taken.ctypes.data, stains.data_ptr(), taken.nbytes, self._down)
        calls.record(done, self._down)

    def wait(self, place: int) -> None:
        """Block until the stains lie in ``taken[place]``."""
        self._calls.wait(self._events[place][2])


def sustained(ring: Ring, frames: Sequence[Bytes], count: int, *, host: bool) -> Row:
    """Stain as fast as possible and return frames a second and how long each was on its way.

    ``host``: every frame is copied into pinned memory and every stain into an array of its own, as an engine must.
    """
    latest_ms: list[float] = []
    began_s = [0.0] * PLACES
    start = time.perf_counter()
    for number in range(count + PLACES):
        place = number % PLACES
        if number >= PLACES:
            ring.wait(place)
            if host:
                ring.taken[place].copy()
            latest_ms.append(1e3 * (time.perf_counter() - began_s[place]))
        if number < count:
            began_s[place] = time.perf_counter()
            if host:
                np.copyto(ring.given[place], frames[number % len(frames)])
            ring.submit(place)
    return {"frame_per_s": count / (time.perf_counter() - start), **spread(latest_ms)}


def paced(ring: Ring, frames: Sequence[Bytes], count: int, per_s: float) -> Row:
    """Stain frames that come at a camera's pace, one at a time, and return how old each stain was, and how many late.

    Both copies in host memory are counted: from the camera's array to an array of the caller's.
    """
    ages_ms: list[float] = []
    start = time.perf_counter()
    for number, due in enumerate(_due(start, count, per_s)):
        np.copyto(ring.given[0], frames[number % len(frames)])
        ring.submit(0)
        ring.wait(0)
        ring.taken[0].copy()
        ages_ms.append(1e3 * (time.perf_counter() - due))
    late = sum(age > 1e3 / per_s for age in ages_ms)
    return {"asked_per_s": per_s, "frame_per_s": count / (time.perf_counter() - start), "late": late, **spread(ages_ms)}


def host_copies(ring: Ring, frames: Sequence[Bytes], count: int) -> Row:
    """Return how long the two copies in host memory take by themselves."""
    times_ms: list[list[float]] = [[], []]
    for number in range(count):
        before = time.perf_counter()
        np.copyto(ring.given[0], frames[number % len(frames)])
        between = time.perf_counter()
        ring.taken[0].copy()
        times_ms[0].append(1e3 * (between - before))
        times_ms[1].append(1e3 * (time.perf_counter() - between))
    into, out = (spread(each) for each in times_ms)
    return {"in_p50_ms": into["p50_ms"], "out_p50_ms": out["p50_ms"], "n": count}


def check_order(ring: Ring, frames: Sequence[Bytes], wanted: Sequence[Bytes]) -> float:
    """Return the largest relative RMS between what comes out of a full ring and what should.

    Every place is poisoned first; each is used more than once.
    """
    for taken in ring.taken:
        taken[:] = 0xAA
    worst = 0.0
    for number in range(len(frames) + PLACES):
        place = number % PLACES
        if number >= PLACES:
            ring.wait(place)
            ours, truth = (
                each.view(np.uint16).astype(np.float64) for each in (ring.taken[place], wanted[number - PLACES])
            )
            worst = max(worst, float(np.sqrt(np.mean((ours - truth) ** 2) / np.mean(truth**2))))
            ring.taken[place][:] = 0xAA
        if number < len(frames):
            np.copyto(ring.given[place], frames[number])
            ring.submit(place)
    return worst


def _relative_rms(ours: Bytes, truth: Bytes) -> float:
    found, wanted = (each.view(np.uint16).astype(np.float64) for each in (ours, truth))
    return float(np.sqrt(np.mean((found - wanted) ** 2) / np.mean(wanted**2)))


def _due(start: float, count: int, per_s: float) -> Iterator[float]:
    for number in range(count):
        due = start + number / per_s
        while (left := due - time.perf_counter()) > 0:
            if left > 2e-3:
                time.sleep(left - 1e-3)
        yield due
