"""How fast a generator runs on the card by each road of torch: eager, compiled, and as a CUDA graph of either."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

import torch
from gpu_clock import Call, interleave
from gpu_limits import MIB, Rates, measure_rates, warm
from gpu_work import WARM, Precision, build, call_of, capture, cost, frame_counts, on_device
from torch import Tensor, nn

Row = dict[str, Any]
Paths = dict[tuple[str, Precision], Call]


def path_rows(
    name: str,
    make: Callable[[], nn.Module],
    side: int,
    precisions: Sequence[Precision],
    compiled: Sequence[Precision],
    device: str,
    quick: bool,
    seconds: float,
) -> list[Row]:
    """Return one row for each road and precision, measured in turns, beside the limits of this machine."""
    frame = on_device(frame_counts(side), device)
    rows: list[Row] = []
    roads: Paths = {}
    answers: dict[Precision, Tensor] = {}
    for precision in precisions:
        module = build(make, precision, side, device)
        call = call_of(module, precision)
        answers[precision] = call(frame)
        add_road(rows, roads, ("eager", precision), call, frame, device)
        if precision in compiled:
            faster = call_of(torch.compile(module, dynamic=False), precision)
            add_road(rows, roads, ("compiled", precision), faster, frame, device)
    rates = measure_rates(precisions, device, quick, seconds / 5)
    times = interleave({f"{road} {precision}": call for (road, precision), call in roads.items()}, device, seconds)
    work = cost(make, side)
    for row in rows:
        if "reason" in row:
            continue
        found = times[f"{row['road']} {row['precision']}"].numbers()
        row.update(found)
        limits = rates.least_ms(work, row["precision"])
        row.update(**limits, times_the_limit=found["in_a_row_ms"] / limits["limit_ms"])
    rows += [{"precision": key, **difference(answers[key], answers["f32"])} for key in precisions if key != "f32"]
    rows.append({"what": "work of a frame", "gflop": work.flop / 1e9, "values_moved": work.moved, **_words(rates)})
    return [{"what": name, "side": side, **row} for row in rows]


def add_road(
    rows: list[Row],
    roads: Paths,
    key: tuple[str, Precision],
    call: Callable[[Tensor], Tensor],
    frame: Tensor,
    device: str,
) -> None:
    """Warm a road up, and on a card its CUDA graph; a row each, with the memory it took or why it cannot be gone."""
    road, precision = key
    try:
        with_peak(rows, key, device, functools.partial(_warm_up, call, frame, device))
        roads[key] = functools.partial(call, frame)
        if device == "cuda":
            as_graph = (f"{road}, CUDA graph", precision)
            graph = with_peak(rows, as_graph, device, functools.partial(capture, call, frame))[0]
            roads[as_graph] = graph.replay
    except RuntimeError as error:
        rows.append({"road": road, "precision": precision, "reason": " ".join(str(error).split())[:400]})


def with_peak(rows: list[Row], key: tuple[str, Precision], device: str, make: Callable[[], Any]) -> Any:
    """Call and add the row of this road with the memory that the call took beyond what was there before, MiB."""
    row: Row = {"road": key[0], "precision": key[1]}
    if device == "cuda":
        torch.cuda.synchronize()
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
    made = make()
    if device == "cuda":
        row["peak_mib"] = (torch.cuda.max_memory_allocated() - before) / MIB
    rows.append(row)
    return made


def difference(answer: Tensor, truth: Tensor) -> Row:
    """Return how far a stain is from that at f32, the network's weights being random ones."""
    ours, wanted = ((each.to(torch.int32) & 0xFFFF).double() for each in (answer, truth))
    relative = float((ours - wanted).square().mean().sqrt() / wanted.square().mean().sqrt())
    return {"road": "difference to f32, random weights", "relative_rms": relative}


def _warm_up(call: Callable[[Tensor], Tensor], frame: Tensor, device: str) -> None:
    warm({"": functools.partial(call, frame)}, device, WARM)


def _words(rates: Rates) -> Row:
    return {
        **{f"matrix_{precision}_tflop_per_s": rate / 1e12 for precision, rate in rates.matrix.items()},
        "copy_gb_per_s": rates.copy / 1e9,
    }
