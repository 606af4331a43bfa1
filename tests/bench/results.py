"""Results made by hand."""

from __future__ import annotations

from typing import Any

from livestain.bench.result import Journey, Result, Row, Spread, Table

SETTINGS: dict[str, Any] = {"sizes": [512], "backends": ["openvino"]}


def ms(p50: float, n: int = 10) -> Spread:
    return {"p50_ms": p50, "p95_ms": 2 * p50, "p99_ms": 3 * p50, "max_ms": 4 * p50, "n": n}


def engine(name: str, p50: float, share: float | None = None, **more: Any) -> Row:
    return Row(name, "engine", ms(p50), 2 * p50, 1000 / p50, "frame/s", of_matrix_rate=share, **more)


def limit(name: str, rate: float, unit: str) -> Row:
    return Row(name, "limit", ms(100), 200, rate, unit)


def table(*engines: Row, **more: Any) -> Table:
    """5 GFLOP a frame; 500 GFLOP/s and 10 GiB/s are what this machine can do."""
    limits = limit("matrix rate, openvino bf16", 500, "GFLOP/s"), limit("memory copy", 10, "GiB/s")
    facts: dict[str, Any] = {"side_px": 512, "beside": "", "gflop": 5.0, "traffic_gib": 0.2, "missing": {}}
    facts |= {"memory_mib": 400.0, "load": (0.5, 1.5)} | more
    return Table(rows=(*engines, *limits), **facts)


def journey(frames_per_s: float, engine_ms: float, **more: Any) -> Journey:
    facts: dict[str, Any] = {"side_px": 512, "beside": "", "engine": "openvino bf16", "paced_per_s": 5.0, "frames": 9}
    facts |= {"stages_ms": {"slot": ms(0.05), "engine": ms(engine_ms)}, "missing": {"screen": "no Qt is installed"}}
    facts |= {"disk_mib_s": 300.0, "frame_mib": 1.5, "memory_mib": 600.0} | more
    return Journey(frames_per_s=frames_per_s, engine_ms=engine_ms, **facts)


def result(*tables: Table, journeys: tuple[Journey, ...] = ()) -> Result:
    machine = {
        "processor": "a processor", "cores": 2, "memory GiB": 8, "system": "Linux", "python": "3.11.7",
        "versions": {"numpy": "2.0", "torch": "not installed"}, "commit": "abc", "load at the start": [0, 0, 0],
        "load at the end": [1, 1, 1],
    }  # fmt: skip
    model = {"id": "livestain/test-model", "weights sha256": "0123456789", "stains": ["nuclei"]}
    return Result("2026-11-22T12:00:00Z", 12.0, machine, model, SETTINGS, tables, journeys, ("said",))
