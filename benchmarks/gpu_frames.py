"""Frames from host memory through the live generator and back, in livestain's own ring, beside the machine's limits.

The ring is `livestain.engine.tensorrt.ring`, as it works for TensorRT; here it runs a CUDA graph of the network.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from gpu_calls import Bytes, TorchCalls, find_calls
from gpu_clock import interleave, spread
from gpu_limits import HostCopies, measure_rates
from gpu_work import Precision, StainFrame, build, call_of, capture, cost, frame_counts, live_generator, on_device
from torch import Tensor

from livestain.engine.tensorrt.ring import PLACES, Ring

if TYPE_CHECKING:
    from gpu_steps import Setup

Row = dict[str, Any]
Run = Callable[[int], None]
"""Queues the network on the stream given."""

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
    up, down = len(frames[0]), len(wanted[0])
    ring = Ring(calls, up, down, 0)
    road = Road(ring, (up, down), run_of(module, precision, on_device(counts[0], setup.device), calls, ring))
    worst = road.check(frames, wanted)
    if not worst < SAME:
        raise RuntimeError(f"the ring returned other stains than the network: relative RMS {worst:.3g}")
    found = measure(setup, road, frames)
    ring.close()
    found["order"] = {"relative_rms_to_network": worst}
    found["limits"] = limits = limit_row(setup, precision, side, up, down)
    for row in found.values():
        if "frame_per_s" in row and "asked_per_s" not in row:
            row["times_the_limit"] = 1e3 / row["frame_per_s"] / limits["limit_ms"]
    common = {"side": side, "precision": precision, "through": words}
    return [{"what": what, **common, **row} for what, row in found.items()]


def run_of(module: StainFrame, precision: Precision, like: Tensor, calls: Any, ring: Ring) -> Run:
    """Return what a ring runs: on a card a CUDA graph of the compiled network, between two copies within the card."""
    fixed = like.clone()
    if like.device.type == "cuda":
        graph, answer = capture(call_of(torch.compile(module, dynamic=False), precision), fixed)
    else:
        call = call_of(module, precision)
        answer = call(fixed).clone()
    if isinstance(calls, TorchCalls):
        calls.keep(fixed)
        calls.keep(answer)

    def run(stream: int) -> None:
        calls.copy(fixed.data_ptr(), ring.inputs, fixed.nbytes, stream)
        if like.device.type == "cuda":
            with torch.cuda.stream(torch.cuda.ExternalStream(stream)):
                graph.replay()
        else:
            answer.copy_(call(fixed))
        calls.copy(ring.outputs, answer.data_ptr(), answer.nbytes, stream)

    return run


class Road:
    """A ring with what it runs: counts of a camera in, stains of the caller's own out."""

    def __init__(self, ring: Ring, sizes: tuple[int, int], run: Run) -> None:
        self._ring, self._sizes, self._run = ring, sizes, run

    def check(self, frames: Sequence[Bytes], wanted: Sequence[Bytes]) -> float:
        """Return the largest relative RMS between what comes out and what should."""
        found = self._ring.pump(frames, self._sizes, np.copyto, self._run, np.copy)
        return max(relative_rms(ours, truth) for ours, truth in zip(found, wanted, strict=True))

    def sustained(self, frames: Sequence[Bytes], count: int, *, host: bool) -> Row:
        """Stain as fast as possible and return frames a second and how long each was on its way.

        ``host``: every frame is copied into pinned memory and every stain into an array of its own, as an engine must.
        """
        began: deque[float] = deque()
        ages_ms: list[float] = []

        def fill(memory: Bytes, frame: Bytes) -> None:
            began.append(time.perf_counter())
            if host:
                np.copyto(memory, frame)

        def take(memory: Bytes) -> None:
            if host:
                memory.copy()
            ages_ms.append(1e3 * (time.perf_counter() - began.popleft()))

        start = time.perf_counter()
        given = (frames[number % len(frames)] for number in range(count))
        self._ring.pump(given, self._sizes, fill, self._run, take)
        return {"frame_per_s": count / (time.perf_counter() - start), **spread(ages_ms)}

    def paced(self, frames: Sequence[Bytes], count: int, per_s: float) -> Row:
        """Stain frames that come at a camera's pace, one at a time; return how old each stain was, how many late."""
        ages_ms: list[float] = []
        start = time.perf_counter()
        for number, due in enumerate(_due(start, count, per_s)):
            self._ring.pump([frames[number % len(frames)]], self._sizes, np.copyto, self._run, np.copy)
            ages_ms.append(1e3 * (time.perf_counter() - due))
        late = sum(age > 1e3 / per_s for age in ages_ms)
        rate = count / (time.perf_counter() - start)
        return {"asked_per_s": per_s, "frame_per_s": rate, "late": late, **spread(ages_ms)}


def measure(setup: Setup, road: Road, frames: Sequence[Bytes]) -> dict[str, Row]:
    """Return what a warm ring does."""
    road.sustained(frames, setup.count(50), host=True)
    live = road.paced(frames, setup.count(1000), GOAL_PER_S)
    # A pace that is met exactly still ends with the last frame's own time.
    live["goal_met"] = bool(live["frame_per_s"] > 0.99 * GOAL_PER_S and live["p99_ms"] < GOAL_P99_MS)
    return {
        "pinned memory to pinned memory, sustained": road.sustained(frames, setup.count(1000), host=False),
        "array to array, sustained": road.sustained(frames, setup.count(600), host=True),
        f"array to array, one at a time, {GOAL_PER_S:g} frame/s asked": live,
    }


def limit_row(setup: Setup, precision: Precision, side: int, up: int, down: int) -> Row:
    """Return how long a frame takes at least: arithmetic, memory of the card, link to the host; and the largest.

    Beside them what the two copies in host memory take, which an engine cannot leave out either.
    """
    seconds = setup.seconds(3.0)
    rates = measure_rates((precision,), setup.device, setup.quick, seconds)
    row: Row = {**rates.least_ms(cost(live_generator, side), precision)}
    if setup.device == "cuda":
        both = interleave({"link": HostCopies(up, down).both}, "cuda", seconds)["link"]
        row["link_ms"] = float(np.median(both.row_ms))
        row["limit_ms"] = max(row["limit_ms"], row["link_ms"])
    frame, stains = (np.ones(size, np.uint8) for size in (up, down))
    kept = np.empty_like(frame)
    copies = interleave({"in": lambda: np.copyto(kept, frame), "out": stains.copy}, "cpu", seconds / 3)
    return row | {f"host_copy_{name}_ms": float(np.median(each.wall_ms)) for name, each in copies.items()}


def relative_rms(ours: Bytes, truth: Bytes) -> float:
    """Return the RMS of the difference of two planes of counts, relative to that of the second."""
    found, wanted = (each.view(np.uint16).astype(np.float64) for each in (ours, truth))
    return float(np.sqrt(np.mean((found - wanted) ** 2) / np.mean(wanted**2)))


def as_bytes(plane: np.ndarray[Any, Any]) -> Bytes:
    """Return the bytes of an array, flat."""
    return np.ascontiguousarray(plane).view(np.uint8).reshape(-1)


def _due(start: float, count: int, per_s: float) -> Iterator[float]:
    for number in range(count):
        due = start + number / per_s
        while (left := due - time.perf_counter()) > 0:
            if left > 2e-3:
                time.sleep(left - 1e-3)
        yield due
