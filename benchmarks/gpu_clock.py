"""How long calls take on a device: in turns, warmed up, synchronised."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np
import torch

Call = Callable[[], object]

IN_A_ROW = 10
"""Calls of a turn; the first is not counted: the turn before had other data in the caches."""

LEAST_TURNS = 3


@dataclass(frozen=True)
class Times:
    """What was measured of one call.

    Attributes
    ----------
    wall_ms
        From the call until the device has finished: what a single live frame waits.
    device_ms
        The same between two events of the device; empty on a CPU.
    row_ms
        Per call when `IN_A_ROW` of them are queued without waiting: what sustained work takes.
    """

    wall_ms: list[float] = field(default_factory=list)
    device_ms: list[float] = field(default_factory=list)
    row_ms: list[float] = field(default_factory=list)

    def numbers(self) -> dict[str, float]:
        """Return percentiles, count, and calls a second."""
        found = {**spread(self.wall_ms), "in_a_row_ms": float(np.median(self.row_ms))}
        if self.device_ms:
            found["device_p50_ms"] = float(np.median(self.device_ms))
        return found | {"per_s": 1e3 / found["in_a_row_ms"]}


def spread(values_ms: list[float]) -> dict[str, float]:
    """Return p50, p95, p99 and largest of some durations, and how many they are."""
    sample = np.asarray(values_ms)
    p50, p95, p99 = np.percentile(sample, (50, 95, 99))
    return {"p50_ms": p50, "p95_ms": p95, "p99_ms": p99, "max_ms": sample.max(), "n": len(sample)}


def synchronise(device: str) -> None:
    """Block until the device has done everything."""
    if device == "cuda":
        torch.cuda.synchronize()


def interleave(calls: Mapping[str, Call], device: str, seconds: float) -> dict[str, Times]:
    """Time calls in turns for about so many seconds, so that what slows the machine slows all of them.

    Each was called often enough before to be warm. At least `LEAST_TURNS` turns are taken.
    """
    times = {name: Times() for name in calls}
    until, turns = time.perf_counter() + seconds, 0
    while turns < LEAST_TURNS or time.perf_counter() < until:
        for name, call in calls.items():
            _take_turn(call, times[name], device)
        turns += 1
    return times


def _take_turn(call: Call, times: Times, device: str) -> None:
    for at in range(IN_A_ROW):
        wall_ms, device_ms = _time(call, device)
        if at:
            times.wall_ms.append(wall_ms)
            times.device_ms.extend(device_ms)
    began = time.perf_counter()
    for _ in range(IN_A_ROW):
        call()
    synchronise(device)
    times.row_ms.append(1e3 * (time.perf_counter() - began) / IN_A_ROW)


def _time(call: Call, device: str) -> tuple[float, list[float]]:
    if device != "cuda":
        began = time.perf_counter()
        call()
        return 1e3 * (time.perf_counter() - began), []
    first, last = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
    began = time.perf_counter()
    first.record()
    call()
    last.record()
    torch.cuda.synchronize()
    return 1e3 * (time.perf_counter() - began), [first.elapsed_time(last)]
