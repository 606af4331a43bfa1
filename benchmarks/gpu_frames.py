"""Frames from host memory through the live generator and back: what the ring makes of them, beside the limits."""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from gpu_calls import Bytes, find_calls, torch_stream
from gpu_clock import interleave
from gpu_limits import HostCopies, measure_rates
from gpu_ring import PLACES, Launch, Ring, check_order, host_copies, paced, sustained
from gpu_work import Precision, StainFrame, build, call_of, capture, cost, frame_counts, live_generator, on_device
from torch import Tensor

if TYPE_CHECKING:
    from gpu_steps import Setup

Row = dict[str, Any]

GOAL_PER_S, GOAL_P99_MS = 100.0, 20.0
SAME = 0.03
"""Largest relative RMS between a stain of the ring and that of the network called directly.

Other kernels may have been chosen; a frame mixed up with another would differ by more.
"""


def frame_rows(setup: Setup, precision: Precision, side: int) -> list[Row]:
    """Return rows: that frames keep their order, what copies alone take, and how many frames a second get through.

    Raises
    ------
    RuntimeError
        The ring returns other stains than the network.
    """
    module = build(live_generator, precision, side, setup.device)
    call = call_of(module, precision)
    counts = [frame_counts(side, seed) for seed in range(2 * PLACES + 1)]
    wanted = [as_bytes(call(on_device(each, setup.device)).cpu().numpy()) for each in counts]
    frames = [as_bytes(each) for each in counts]
    calls, words = find_calls(setup.device)
    first = on_device(counts[0], setup.device)
    with ExitStack() as held:
        ring = Ring(calls, launch_of(module, precision, first), first, call(first), held)
        worst = check_order(ring, frames, wanted)
        if not worst < SAME:
            raise RuntimeError(f"the ring returned other stains than the network: relative RMS {worst:.3g}")
        found = measure(setup, ring, frames)
    found["order"] = {"relative_rms_to_network": worst}
    limits = limit_row(setup, precision, side, len(frames[0]), len(wanted[0]))
    for row in found.values():
        if "frame_per_s" in row and "asked_per_s" not in row:
            row["times_the_limit"] = 1e3 / row["frame_per_s"] / limits["limit_ms"]
    found["limits"] = limits
    return [
        {"what": what, "side": side, "precision": precision, "through": words, **row} for what, row in found.items()
    ]


def launch_of(module: StainFrame, precision: Precision, like: Tensor) -> Launch:
    """Return what a ring calls for each frame: on a card a CUDA graph of the compiled network."""
    if like.device.type != "cuda":
        call = call_of(module, precision)
        return lambda frame, stains, stream: stains.copy_(call(frame))
    fixed = like.clone()
    graph, answer = capture(call_of(torch.compile(module, dynamic=False), precision), fixed)

    def launch(frame: Tensor, stains: Tensor, stream: Any) -> None:
        with torch_stream(stream):
            fixed.copy_(frame)
            graph.replay()
            stains.copy_(answer)

    return launch


def measure(setup: Setup, ring: Ring, frames: list[Bytes]) -> dict[str, Row]:
    """Return what a warm ring does."""
    sustained(ring, frames, setup.count(50), host=True)
    live = paced(ring, frames, setup.count(1000), GOAL_PER_S)
    # A pace that is met exactly still ends with the last frame's own time.
    live["goal_met"] = bool(live["frame_per_s"] > 0.99 * GOAL_PER_S and live["p99_ms"] < GOAL_P99_MS)
    return {
        "copies in host memory": host_copies(ring, frames, setup.count(200)),
        "pinned memory to pinned memory, sustained": sustained(ring, frames, setup.count(1000), host=False),
        "array to array, sustained": sustained(ring, frames, setup.count(600), host=True),
        f"array to array, one at a time, {GOAL_PER_S:g} frame/s asked": live,
    }


def limit_row(setup: Setup, precision: Precision, side: int, up: int, down: int) -> Row:
    """Return how long a frame takes at least: arithmetic, memory of the card, link to the host; and the largest."""
    seconds = setup.seconds(3.0)
    rates = measure_rates((precision,), setup.device, setup.quick, seconds)
    row: Row = {**rates.least_ms(cost(live_generator, side), precision)}
    if setup.device == "cuda":
        both = interleave({"link": HostCopies(up, down).both}, "cuda", seconds)["link"]
        row["link_ms"] = float(np.median(both.row_ms))
        row["limit_ms"] = max(row["limit_ms"], row["link_ms"])
    return row


def as_bytes(plane: np.ndarray[Any, Any]) -> Bytes:
    """Return the bytes of an array, flat."""
    return np.ascontiguousarray(plane).view(np.uint8).reshape(-1)
