"""A result for people: tables of lines, and one sentence that says what limits."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from livestain.bench.limits import matrix_name
from livestain.bench.result import Journey, Result, Row, Spread, Table
from livestain.bench.turns import SLOWER

Line = tuple[str, ...]

_HALF = 0.5
_QUIET = 0.5
HEADINGS: Line = ("", "p50 ms", "p95", "p99", "max", "n", "rate", "of matrix rate", "CPU ms")
STAGE_HEADINGS: Line = ("", "p50 ms", "p95", "p99", "max", "n")


@dataclass(frozen=True, slots=True)
class Sheet:
    """A table in words: ``rows`` under ``headings``, and lines below it."""

    title: str
    headings: Line
    rows: Sequence[Line]
    notes: Sequence[str]


def machine_lines(result: Result) -> list[str]:
    """Return the machine, the model and the load, a line each."""
    facts = result.machine
    versions = facts["versions"]
    assert isinstance(versions, Mapping)
    packages = ", ".join(f"{name} {version}" for name, version in versions.items() if version != "not installed")
    return [
        f"{facts['processor']}, {facts['cores']} cores, {facts['memory GiB']} GiB, {facts['system']}",
        f"Python {facts['python']}, {packages}; {facts['commit']}",
        f"{result.model['id']}, weights {str(result.model['weights sha256'])[:8]}",
        f"load average {facts['load at the start']} at the start, {facts['load at the end']} at the end, "
        f"{result.seconds:g} s",
    ]


def sheets(result: Result) -> list[Sheet]:
    """Return all tables in the order in which they were measured."""
    return [_table_sheet(table) for table in result.tables] + [_journey_sheet(each) for each in result.journeys]


def _table_sheet(table: Table) -> Sheet:
    lines: list[Line] = []
    for row in table.rows:
        share = "" if row.of_matrix_rate is None else f"{row.of_matrix_rate:.0%}"
        lines.append((row.name, *_spread_words(row.ms), f"{row.rate:.4g} {row.unit}", share, f"{row.cpu_ms:.1f}"))
        lines += [(f"  {part}", *_spread_words(ms), "", "", "") for part, ms in row.parts_ms.items()]
    notes = [f"not measured: {name}: {why}" for name, why in table.missing.items()]
    notes.append(
        f"load {table.load[0]:g} before, {table.load[1]:g} after; memory of this process {table.memory_mib:g} MiB"
    )
    return Sheet(f"Engines alone, in turns: {_size(table)}", HEADINGS, lines, notes)


def _journey_sheet(journey: Journey) -> Sheet:
    lines: list[Line] = [(name, *_spread_words(ms)) for name, ms in journey.stages_ms.items()]
    notes = [f"not measured: {name}: {why}" for name, why in journey.missing.items()]
    notes.append(
        f"sustained {journey.frames_per_s:.1f} frame/s to durable stains with {journey.engine}, over "
        f"{journey.frames} frames and the close behind them; stages at "
        f"{journey.paced_per_s:.1f} frame/s; the disk takes {journey.disk_mib_s:.0f} MiB/s; memory of both processes "
        f"{journey.memory_mib:.0f} MiB"
    )
    return Sheet(f"From the camera to disk and screen: {_size(journey)}", STAGE_HEADINGS, lines, notes)


def sentences(tables: Sequence[Table], journeys: Sequence[Journey]) -> list[str]:
    """Return what limits at each size, and what makes the numbers doubtful."""
    said = [limiting_engine(table) for table in tables]
    said += [limiting_stage(journey, table) for journey, table in zip(journeys, tables, strict=False)]
    return said + [text for table in tables for text in doubts(table)]


def limiting_engine(table: Table) -> str:
    """Return how far the fastest engine is from what this machine can do, and what keeps it from there."""
    fastest = min((row for row in table.rows if row.kind == "engine"), key=lambda row: row.ms["p50_ms"])
    limits = {row.name: row.rate for row in table.rows if row.kind == "limit"}
    head = f"{_size(table)}: {fastest.name} takes {fastest.ms['p50_ms']:.3g} ms a frame ({fastest.rate:.3g} frame/s)"
    matrix, share = limits.get(matrix_name(fastest.name)), fastest.of_matrix_rate
    if matrix is None or share is None or table.gflop is None or table.traffic_gib is None:
        return f"{head}; its matrix rate was not measured here."
    rate = f"{table.gflop * fastest.rate:.3g} of {matrix:.3g} GFLOP/s"
    if share >= _HALF:
        return f"{head}: arithmetic limits, at {share:.0%} of the matrix rate measured here ({rate})."
    if fastest.name.startswith("tensorrt"):  # the card's own memory is not what was measured
        return f"{head}: not arithmetic limits, at {share:.0%} of the matrix rate measured here ({rate})."
    traffic_ms = 1e3 * table.traffic_gib / limits["memory copy"]
    return (
        f"{head}: not arithmetic limits, at {share:.0%} of the matrix rate measured here ({rate}), but what lies "
        f"between: memory traffic of the layers would take at most {traffic_ms:.3g} ms, if caches kept nothing."
    )


def limiting_stage(journey: Journey, table: Table) -> str:
    """Return what a frame waits for when frames come as fast as they are taken."""
    frame_ms = 1e3 / journey.frames_per_s
    engine_ms = journey.engine_ms
    disk_ms = 1e3 * journey.frame_mib / journey.disk_mib_s
    row = next((row for row in table.rows if row.name == journey.engine), None)
    share = row.of_matrix_rate if row is not None else None
    at = "" if share is None else f", alone at {share:.0%} of the matrix rate measured here"
    if engine_ms >= _HALF * frame_ms and engine_ms >= disk_ms:
        return f"{_size(journey)}, end to end: the engine limits: {engine_ms:.3g} of {frame_ms:.3g} ms a frame{at}."
    if disk_ms >= _HALF * frame_ms:
        return (
            f"{_size(journey)}, end to end: the disk limits: {disk_ms:.3g} of {frame_ms:.3g} ms a frame "
            f"({journey.frame_mib:.3g} MiB at {journey.disk_mib_s:.0f} MiB/s); the engine takes {engine_ms:.3g} ms{at}."
        )
    return (
        f"{_size(journey)}, end to end: no stage limits alone: of {frame_ms:.3g} ms a frame the engine takes "
        f"{engine_ms:.3g} ms{at}, the disk {disk_ms:.3g} ms; recorder and stainer share the cores."
    )


def crowd(load: float, cores: int) -> list[str]:
    """Return what a load average before the bench means; nothing for a quiet machine."""
    if load < _QUIET * cores:
        return []
    return [
        f"Other programs were at work (load {load:g} on {cores} cores before the start): times would be shorter, and "
        "libraries whose threads spin while they wait, torch first, lose far more than others. Measure again in peace."
    ]


def doubts(table: Table) -> list[str]:
    """Return why the numbers of a table may not hold."""
    slower = [row for row in table.rows if row.slowdown is not None and row.slowdown > SLOWER]
    found = []
    if slower:
        worst = max(slower, key=_slowdown)
        found.append(
            f"{_size(table)}: the last third of the rounds was slower than the first, {worst.name} by "
            f"{_slowdown(worst) - 1:.0%}: the processor was throttled, or another program began to work."
        )
    return found


def _slowdown(row: Row) -> float:
    return row.slowdown or 1.0


def _size(what: Table | Journey) -> str:
    beside = f", beside {what.beside}" if what.beside else ""
    return f"{what.side_px} x {what.side_px} px{beside}"


def _spread_words(ms: Spread) -> Iterable[str]:
    yield from ("-" if name not in ms else f"{ms[name]:.2f}" for name in ("p50_ms", "p95_ms", "p99_ms", "max_ms"))
    yield f"{ms['n']:g}"
