"""What was measured, as JSON has it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

Spread = Mapping[str, float]
"""``p50_ms``, ``p95_ms``, ``p99_ms``, ``max_ms`` (absent where it is not known) and ``n``."""


@dataclass(frozen=True, slots=True)
class Row:
    """One case of a table.

    Attributes
    ----------
    name, kind
        What it is; ``"engine"`` (ours), ``"other"`` or ``"limit"``.
    ms
        How long a call took.
    cpu_ms
        Processor time of this process for a call, all threads together, median of the rounds.
    rate, unit
        Work by time at the median: frame/s, GFLOP/s, GiB/s.
    of_matrix_rate
        Share of the matrix rate of the same library and precision, 0..1; None where that was not measured.
    slowdown
        Last third of the rounds by the first; None for fewer than 6 rounds.
    parts_ms
        Upload, run and download where the backend tells them.
    rms
        Root mean square difference of its stains from those of the first float32 case, on the 0..1 scale.
    """

    name: str
    kind: Literal["engine", "other", "limit"]
    ms: Spread
    cpu_ms: float
    rate: float
    unit: str
    of_matrix_rate: float | None = None
    slowdown: float | None = None
    parts_ms: Mapping[str, Spread] = field(default_factory=dict)
    rms: float | None = None


@dataclass(frozen=True, slots=True)
class Table:
    """All cases at one frame size, measured in turns.

    Attributes
    ----------
    side_px
        Frames are (side, side) uint16.
    beside
        What else was at work meanwhile; empty: nothing of ours.
    gflop, traffic_gib
        Arithmetic of one frame, and what is read and written when each step of the graph goes to memory;
        None where the graph does not tell.
    rows
        In the order of their turns.
    missing
        Name -> why it was not measured.
    memory_mib
        Resident memory of this process afterwards, all cases together.
    load
        Load average over one minute before and after.
    """

    side_px: int
    beside: str
    gflop: float | None
    traffic_gib: float | None
    rows: tuple[Row, ...]
    missing: Mapping[str, str]
    memory_mib: float
    load: tuple[float, float]


@dataclass(frozen=True, slots=True)
class Journey:
    """From the camera to the disk and the screen, through a real session.

    Attributes
    ----------
    side_px, beside, engine
        Frame size; what else was at work; backend and precision of the session.
    frames
        How many each run had.
    frames_per_s
        Sustained: frames offered as fast as they are taken, from the first one until all stains are durable and closed.
    engine_ms
        What the engine took for a frame meanwhile, median.
    paced_per_s
        Frames a second while the stages were measured: half of what is sustained.
    stages_ms
        Name -> how long, at that pace.
    missing
        Name -> why it was not measured.
    disk_mib_s, frame_mib
        What the disk takes (16 MiB written and flushed), and one frame with its stains, not compressed.
    memory_mib
        Resident memory of this process and the stainer together, the most that was seen.
    """

    side_px: int
    beside: str
    engine: str
    frames: int
    frames_per_s: float
    engine_ms: float
    paced_per_s: float
    stages_ms: Mapping[str, Spread]
    missing: Mapping[str, str]
    disk_mib_s: float
    frame_mib: float
    memory_mib: float


@dataclass(frozen=True, slots=True)
class Result:
    """A whole bench."""

    when: str
    seconds: float
    machine: Mapping[str, object]
    model: Mapping[str, object]
    settings: Mapping[str, object]
    tables: tuple[Table, ...]
    journeys: tuple[Journey, ...]
    said: tuple[str, ...]
    version: int = 1


def read_result(document: Mapping[str, Any]) -> Result:
    """Return the result whose JSON this is (of `dataclasses.asdict`)."""
    tables = [
        Table(**{**table, "rows": tuple(Row(**row) for row in table["rows"]), "load": tuple(table["load"])})
        for table in document["tables"]
    ]
    journeys = tuple(Journey(**journey) for journey in document["journeys"])
    parts = {"tables": tuple(tables), "journeys": journeys, "said": tuple(document["said"])}
    return Result(**{**document, **parts})
