"""Engines alone, without camera and disk: the same frame stained by all of them in turns."""

from __future__ import annotations

import contextlib
import math
import statistics
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
import psutil

from livestain.bench.acquisition import one_frame
from livestain.bench.case import Case
from livestain.bench.limits import Limit, card_copy_limits, copy_limit, matrix_limit, matrix_name
from livestain.bench.machine import load
from livestain.bench.others import torch_cases
from livestain.bench.result import Row, Table
from livestain.bench.turns import Turns, spread, take_turns
from livestain.contrast import estimate_background
from livestain.engine.cost import frame_cost
from livestain.engine.graph import FULL_SCALE, compose
from livestain.engine.opening import find_adapter, open_backend
from livestain.engine.protocol import Engine, Given, Precision
from livestain.engine.tensorrt.cuda import Cuda
from livestain.errors import EngineError
from livestain.model import Model
from livestain.settings import Backend

EACH = 5
"""Calls of one turn that count."""

SAME_RMS = 1e-3
"""Another library's float32 stains may differ by this much (0..1 scale): else it does not compute the same."""


@dataclass(frozen=True, slots=True)
class Opened:
    """Our engines, each at one precision, the limits of their libraries, and why others are not there."""

    engines: Mapping[str, Engine]
    limits: Sequence[Limit]
    missing: Mapping[str, str]


@contextlib.contextmanager
def open_engines(model: Model, backends: Sequence[Backend], threads: int | None = None) -> Iterator[Opened]:
    """Yield each backend at every precision that it has here and that passes the gate, closed at the end; blocks.

    ``"auto"`` is the backend that a run would take.

    Raises
    ------
    UserError
        A library that was named is not installed.
    EngineError
        One of the backends cannot be opened at all.
    """
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(ignore_cleanup_errors=True)))
        engines: dict[str, Engine] = {}
        missing: dict[str, str] = {}
        for asked in backends:
            for name, engine in _open(model, asked, threads, missing):
                stack.callback(engine.close)
                engines.setdefault(name, engine)
        limits = [copy_limit()]
        if any(engine.info.backend == "tensorrt" for engine in engines.values()):
            limits += card_copy_limits(Cuda(), stack)
        for name, engine in engines.items():
            try:
                limits.append(_matrix_limit(model, engine, threads, folder))
            except EngineError as error:
                missing[matrix_name(name)] = str(error)
            else:
                stack.callback(limits[-1].case.close)
        yield Opened(engines, limits, missing)


def _matrix_limit(model: Model, engine: Engine, threads: int | None, folder: Path) -> Limit:
    if engine.info.precision == "int8":
        raise EngineError("at int8 none is measured: what is dense would have to be calibrated")
    backend: Backend = engine.info.backend  # type: ignore[assignment]
    precision: Precision = engine.info.precision  # type: ignore[assignment]
    return matrix_limit(model, backend, precision, threads, folder)


def _open(model: Model, asked: Backend, threads: int | None, missing: dict[str, str]) -> Iterator[tuple[str, Engine]]:
    """Yield the engines of one backend, the one that a run would take first."""
    first = open_backend(model, asked, threads=threads)
    backend: Backend = first.info.backend  # type: ignore[assignment]
    yield f"{backend} {first.info.precision}", first
    for precision in find_adapter(backend).precisions(model):
        if precision != first.info.precision:
            name = f"{backend} {precision}"
            try:
                yield name, open_backend(model, backend, threads=threads, precision=precision)
            except EngineError as error:
                missing[name] = str(error)


def measure(
    model: Model,
    opened: Opened,
    side: int,
    frames: int,
    against: Sequence[str] = (),
    *,
    beside: str = "",
    say: Callable[[str], None] = lambda text: None,
) -> Table:
    """Stain one (side, side) frame with all engines and rivals, in turns, beside this machine's limits; blocks.

    Parameters
    ----------
    model, opened
        The model, and what `open_engines` made of it.
    frames
        How many stains of each case count, rounded up to whole turns.
    against
        Of `livestain.bench.others.RIVALS`.
    beside
        What else is at work, in words.
    say
        Told the steps.
    """
    frame, constant = one_frame(side), model.card.contrast.constant
    given = Given(frame, estimate_background(frame).shade(constant), 0.0, 1 / constant)
    say(f"{side} x {side} px: getting ready")
    for engine in opened.engines.values():
        engine.warm_up((side, side), frame.dtype)
    bf16 = any(engine.info.precision == "bf16" for engine in opened.engines.values())
    others, missing = torch_cases(model, given, against, bf16=bf16)
    ours = [_engine_case(name, engine, given) for name, engine in opened.engines.items()]
    rms = _differences([*ours, *others])
    for case in [case for case in others if case.name.endswith("f32") and rms[case.name] > SAME_RMS]:
        missing[case.name] = f"it does not compute the same stains: rms {rms[case.name]:.1e}"
        others.remove(case)
    rounds = math.ceil(frames / EACH)
    say(f"{side} x {side} px: {rounds} rounds of {EACH} frames each of {', '.join(c.name for c in (*ours, *others))}")
    parts: dict[str, list[Mapping[str, float]]] = {name: [] for name in opened.engines}
    before = load()[0]
    found = _take_turns(opened, [*ours, *others], rounds, parts)
    gflop, traffic_gib = _cost(model, side)
    limits = [_row(limit.name, "limit", found[limit.name], limit.work, limit.unit) for limit in opened.limits]
    rates = {row.name: row.rate for row in limits}
    rows = []
    for case in (*ours, *others):
        row = _row(case.name, "engine" if case in ours else "other", found[case.name], 1.0, "frame")
        best = rates.get(matrix_name(case.name))
        share = None if best is None or gflop is None else round(gflop * row.rate / best, 4)
        rows.append(replace(row, of_matrix_rate=share, parts_ms=_spreads(parts.get(case.name, [])), rms=rms[case.name]))
    return Table(
        side, beside, gflop, traffic_gib, (*rows, *limits), {**opened.missing, **missing},
        round(psutil.Process().memory_info().rss / 2**20, 1), (before, load()[0]),
    )  # fmt: skip


def _engine_case(name: str, engine: Engine, given: Given) -> Case:
    return Case(name, lambda: engine.stain(given.image, given.shade, given.black, given.offset), engine.close)


def _differences(cases: Sequence[Case]) -> dict[str, float]:
    """Return the rms difference of each one's stains to those of the first float32 one; every case is called once."""
    stains = {case.name: case.call().astype(np.float32) / FULL_SCALE for case in cases}
    truth = next((stain for name, stain in stains.items() if name.endswith("f32")), stains[cases[0].name])
    return {name: float(np.sqrt(np.mean((stain - truth) ** 2))) for name, stain in stains.items()}


def _take_turns(
    opened: Opened, cases: Sequence[Case], rounds: int, parts: Mapping[str, list[Mapping[str, float]]]
) -> dict[str, Turns]:
    """Let all cases and limits take their turns; ``parts`` gets what engines tell of each stain."""

    def note_parts(name: str) -> None:
        told = getattr(opened.engines.get(name), "last_parts_ms", None)
        if told:
            parts[name].append(dict(told))

    each = {case.name: EACH for case in cases} | {limit.name: 1 for limit in opened.limits}
    calls = {case.name: case.call for case in (*cases, *(limit.case for limit in opened.limits))}
    return take_turns(calls, rounds, each, note_parts)


def _cost(model: Model, side: int) -> tuple[float | None, float | None]:
    """Return GFLOP and GiB of memory traffic of a frame; None where the graph does not tell."""
    cost = frame_cost(compose(model.generator(), model.card.stride), (side, side))
    return (None, None) if cost is None else (cost.flops / 1e9, cost.memory_bytes / 2**30)


def _row(name: str, kind: Literal["engine", "other", "limit"], turns: Turns, work: float, unit: str) -> Row:
    slowdown = turns.slowdown
    return Row(
        name=name,
        kind=kind,
        ms=spread(turns.all_ms),
        cpu_ms=round(statistics.median(turns.cpu_ms), 3),
        rate=round(1e3 * work / turns.median_ms, 4),
        unit=f"{unit}/s",
        slowdown=None if slowdown is None else round(slowdown, 3),
    )


def _spreads(told: Sequence[Mapping[str, float]]) -> dict[str, Mapping[str, float]]:
    return {part: spread([each[part] for each in told]) for part in told[0]} if told else {}
