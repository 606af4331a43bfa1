"""What a session says about itself: one frozen record, made anew each time it is asked for."""

from __future__ import annotations

import re
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from livestain.frames import InputCheck

STAGES = ("saved", "queued", "engine", "total")
"""Where time goes: receipt to durable raw row; receipt to engine start; in the engine; receipt to result (live)."""

_KEPT = 1024
_VARYING = re.compile(r"\S*[/\\]\S*|\d+([.]\d+)?")


@dataclass(frozen=True)
class Counters:
    """The counters of one run: ``received = saved + failed + waiting``.

    Of the saved label-free planes: ``labelfree = live + late + skipped + unstained + behind``.
    """

    received: int = 0
    saved: int = 0
    failed: int = 0
    waiting: int = 0
    labelfree: int = 0
    live: int = 0
    late: int = 0
    skipped: int = 0
    unstained: int = 0
    behind: int = 0

    @property
    def lost(self) -> int:
        """Frames that are not on disk and will not be, and planes that have no stain at this moment."""
        return self.failed + self.unstained + self.behind


@dataclass(frozen=True)
class Status:
    """A snapshot of a session.

    Attributes
    ----------
    state
        ``"waiting"`` (no sequence yet), ``"recording"``, ``"finishing"`` or ``"closed"``.
    run
        The run folder as text; empty when nothing is recorded.
    source, planned
        What the frames are, where not of a microscope; how many the plan has, 0 where it does not say.
    counters
        Of the present run.
    frames_per_s, stains_per_s
        Over the last seconds; None before they were measured.
    mean_frames_per_s
        From the first frame received to the last; None before there are two.
    latency_ms
        Stage -> (p50, p95, p99) of the last 1024 planes; only stages that were measured.
    engine
        Backend, version, device, precision and reason, once the engine is ready.
    debt_s
        Seconds that the planes behind will take at the rate of the last 5 to 10 seconds; None where no rate is known,
        and for 1 s or less.
    memory_mib, disk_free_gib, disk_left_s
        Of this process and the stainer; of the run's disk; how long recording can go on at the present rate.
    warnings
        What the user should know, oldest first, without repetition.
    staining
        Whether frames that come now are stained: False while switched off, where the run has no label-free channel,
        and once the stainer was given up.
    input
        How the newest live stain's frame compares with the model's training range; None before the first.
    """

    state: str = "waiting"
    run: str = ""
    source: str = ""
    planned: int = 0
    model: str = ""
    caution: str = ""
    counters: Counters = field(default_factory=Counters)
    frames_per_s: float | None = None
    stains_per_s: float | None = None
    mean_frames_per_s: float | None = None
    latency_ms: Mapping[str, tuple[float, float, float]] = field(default_factory=dict)
    engine: Mapping[str, object] = field(default_factory=dict)
    debt_s: float | None = None
    memory_mib: float = 0.0
    disk_free_gib: float | None = None
    disk_left_s: float | None = None
    warnings: tuple[str, ...] = ()
    staining: bool = True
    input: InputCheck | None = None


class Latencies:
    """The last 1024 durations of each stage; any thread may add."""

    def __init__(self) -> None:
        self._values = {stage: np.zeros(_KEPT, np.float32) for stage in STAGES}
        self._count = dict.fromkeys(STAGES, 0)
        self._lock = threading.Lock()

    def add(self, stage: str, ms: float) -> None:
        """Note one duration in ms."""
        with self._lock:
            self._values[stage][self._count[stage] % _KEPT] = ms
            self._count[stage] += 1

    def percentiles(self) -> dict[str, tuple[float, float, float]]:
        """Return p50, p95 and p99 in ms of each stage that has values."""
        with self._lock:
            kept = {stage: self._values[stage][: min(n, _KEPT)].copy() for stage, n in self._count.items() if n}
        found = {}
        for stage, values in kept.items():
            p50, p95, p99 = (round(float(value), 2) for value in np.percentile(values, (50, 95, 99)))
            found[stage] = (p50, p95, p99)
        return found


class Rate:
    """Events a second over about the last ``span_s`` seconds; used by one thread."""

    def __init__(self, span_s: float = 2.5, least_s: float = 0.0) -> None:
        self._span_s, self._least_s = span_s, least_s
        self._seen: list[tuple[float, int]] = []

    def update(self, now_s: float, total: int) -> float | None:
        """Note the running total and return the rate; None at the first time, and before ``least_s`` are seen."""
        self._seen = [entry for entry in self._seen if now_s - entry[0] <= self._span_s] + [(now_s, total)]
        first_s, first = self._seen[0]
        seen_s = now_s - first_s
        return round((total - first) / seen_s, 2) if seen_s > 0 and seen_s >= self._least_s else None


def debt(behind: int, per_s: float | None) -> float | None:
    """Return the seconds that planes behind will take; None where no rate is known, and for 1 s or less."""
    left_s = round(behind / per_s, 1) if per_s else 0.0
    return left_s if left_s > 1 else None


class Warnings:
    """What the user should know: each matter once with how often it came, at most 100 of them; any thread may add.

    Texts that differ only in numbers and paths are one matter; the first text stands for it.
    """

    _LIMIT = 100

    def __init__(self) -> None:
        self._matters: dict[str, tuple[str, int]] = {}
        self._beyond = 0
        self._lock = threading.Lock()

    def add(self, text: str) -> bool:
        """Note a warning; True when the matter is new."""
        matter = _VARYING.sub("#", text)
        with self._lock:
            if matter in self._matters:
                first, count = self._matters[matter]
                self._matters[matter] = first, count + 1
                return False
            if len(self._matters) >= self._LIMIT:
                self._beyond += 1
                return False
            self._matters[matter] = text, 1
            return True

    def all(self) -> tuple[str, ...]:
        """Return the texts, oldest first."""
        with self._lock:
            texts = [text if count == 1 else f"{text} ({count} times)" for text, count in self._matters.values()]
            return (*texts, *([f"{self._beyond} further warnings: see the log"] if self._beyond else ()))
