"""Calls measured in turns, so that what a busy machine takes is taken from all of them alike."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

SLOWER = 1.1
"""From here on the last third of the rounds counts as slower than the first: heat, or another program."""

_LEAST_ROUNDS = 6


@dataclass(slots=True)
class Turns:
    """What one call took, ms: a list for each round, and the processor time of the process beside it."""

    ms: list[list[float]] = field(default_factory=list)
    cpu_ms: list[float] = field(default_factory=list)

    @property
    def all_ms(self) -> list[float]:
        """Every duration, in order."""
        return [value for turn in self.ms for value in turn]

    @property
    def median_ms(self) -> float:
        """The median of all."""
        return statistics.median(self.all_ms)

    @property
    def slowdown(self) -> float | None:
        """Median of the last third of the rounds by that of the first; None for fewer than 6 rounds."""
        third = len(self.ms) // 3
        if len(self.ms) < _LEAST_ROUNDS:
            return None
        first, last = ([ms for turn in part for ms in turn] for part in (self.ms[:third], self.ms[-third:]))
        return statistics.median(last) / statistics.median(first)


def take_turns(
    calls: Mapping[str, Callable[[], object]],
    rounds: int,
    each: Mapping[str, int],
    after: Callable[[str], None] = lambda name: None,
) -> dict[str, Turns]:
    """Call all in turns, forth and back, and return what each took; blocks.

    Parameters
    ----------
    calls
        What is measured; a call is over when its result is there.
    rounds
        How often each has its turn.
    each
        How many calls of a turn count. One more is made before them: it has the caches of its predecessor.
    after
        Called with the name after every call that counts, outside the clock.
    """
    found = {name: Turns() for name in calls}
    for number in range(rounds):
        for name in list(calls) if number % 2 == 0 else reversed(list(calls)):
            calls[name]()
            turn, used_s = [], 0.0
            for _ in range(each[name]):
                cpu_s, began_s = time.process_time(), time.perf_counter()
                calls[name]()
                turn.append(1e3 * (time.perf_counter() - began_s))
                used_s += time.process_time() - cpu_s
                after(name)
            found[name].ms.append(turn)
            found[name].cpu_ms.append(1e3 * used_s / each[name])
    return found


def spread(ms: Sequence[float]) -> dict[str, float]:
    """Return p50, p95, p99, max and count of some durations in ms, by these names with their unit."""
    p50, p95, p99 = np.percentile(ms, (50, 95, 99))
    found = {"p50_ms": p50, "p95_ms": p95, "p99_ms": p99, "max_ms": max(ms)}
    return {name: round(float(value), 3) for name, value in found.items()} | {"n": len(ms)}
