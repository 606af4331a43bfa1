"""What the machine can do at most, measured: matrix products, copies within the card, and between it and the host."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from gpu_clock import Call, Times, interleave, synchronise
from gpu_work import DTYPES, Cost, Precision, with_tf32
from torch import Tensor

MIB = 2**20


@dataclass(frozen=True)
class Rates:
    """Limits: matrix products in FLOP/s by precision, and bytes/s within the card, read and written ones counted.

    Each is the median of ``n`` turns of `gpu_clock.IN_A_ROW` calls.
    """

    matrix: Mapping[Precision, float]
    copy: float
    n: int

    def least_ms(self, cost: Cost, precision: Precision) -> dict[str, float]:
        """Return how long arithmetic and memory take at least, and the larger of the two, ms."""
        moved = cost.moved * torch.finfo(DTYPES[precision]).bits / 8
        arithmetic, memory = 1e3 * cost.flop / self.matrix[precision], 1e3 * moved / self.copy
        return {"arithmetic_ms": arithmetic, "memory_ms": memory, "limit_ms": max(arithmetic, memory)}


def matrix_calls(precisions: Sequence[Precision], device: str, side: int) -> dict[str, Call]:
    """Return square matrix products of random numbers: on zeros a card runs faster."""
    calls: dict[str, Call] = {}
    for precision in precisions:
        a, b = (torch.randn(side, side, device=device).to(DTYPES[precision]) for _ in range(2))
        product = torch.empty_like(a)
        calls[precision] = functools.partial(
            with_tf32(functools.partial(torch.matmul, out=product), precision == "tf32"), a, b
        )
    return calls


def copy_call(device: str, size: int) -> Call:
    """Return a copy of so many bytes within the device's memory."""
    source = torch.randint(0, 255, (size,), dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    return functools.partial(target.copy_, source)


def measure_rates(precisions: Sequence[Precision], device: str, quick: bool, seconds: float) -> Rates:
    """Measure the limits of a device in turns."""
    side, size = (128, MIB) if quick else (8192, 1024 * MIB)
    calls = {**matrix_calls(precisions, device, side), "copy": copy_call(device, size)}
    warm(calls, device)
    times = interleave(calls, device, seconds)
    return Rates(
        {precision: 2e3 * side**3 / _best(times[precision]) for precision in precisions},
        2e3 * size / _best(times["copy"]),
        len(times["copy"].row_ms),
    )


def host_rates(quick: bool, seconds: float) -> list[dict[str, Any]]:
    """Return rows of the rates between pinned host memory and the card: up, down, and both at once."""
    rows: list[dict[str, Any]] = []
    for up_mib, down_mib in ((1, 2),) if quick else ((8, 16), (64, 64)):
        copies = HostCopies(up_mib * MIB, down_mib * MIB)
        calls: dict[str, Call] = {"up": copies.up, "down": copies.down, "both at once": copies.both}
        warm(calls, "cuda")
        times = interleave(calls, "cuda", seconds)
        moved = {"up": up_mib, "down": down_mib, "both at once": up_mib + down_mib}
        for name, mib in moved.items():
            rate = mib * MIB / 1e6 / _best(times[name])
            rows.append({"what": f"pinned copy, {name}", "MiB": mib, "GB_per_s": rate, **times[name].numbers()})
    return rows


class HostCopies:
    """Copies between pinned host memory and the card, on a stream for each direction."""

    def __init__(self, up: int, down: int) -> None:
        self._host_in, self._host_out = (
            torch.randint(0, 255, (n,), dtype=torch.uint8).pin_memory() for n in (up, down)
        )
        self._in, self._out = (torch.randint(0, 255, (n,), dtype=torch.uint8, device="cuda") for n in (up, down))
        self._streams = torch.cuda.Stream(), torch.cuda.Stream()

    def up(self) -> None:
        """Copy to the card."""
        self._copy((0, self._in, self._host_in))

    def down(self) -> None:
        """Copy to the host."""
        self._copy((1, self._host_out, self._out))

    def both(self) -> None:
        """Copy both ways at once."""
        self._copy((0, self._in, self._host_in), (1, self._host_out, self._out))

    def _copy(self, *copies: tuple[int, Tensor, Tensor]) -> None:
        # Each begins after, and ends before, what the clock notes on torch's own stream.
        here = torch.cuda.current_stream()
        for stream, target, source in copies:
            self._streams[stream].wait_stream(here)
            with torch.cuda.stream(self._streams[stream]):
                target.copy_(source, non_blocking=True)
        for stream, *_ in copies:
            here.wait_stream(self._streams[stream])


def warm(calls: Mapping[str, Call], device: str, times: int = 3) -> None:
    """Call each so often before it is measured."""
    for call in calls.values():
        for _ in range(times):
            call()
    synchronise(device)


def _best(times: Times) -> float:
    """Return the time of a call in sustained work, ms: the median, not the fastest, as for all else."""
    return float(np.median(times.row_ms))
