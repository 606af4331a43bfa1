"""The TensorRT engine of livestain on this card, in turns with torch: what a user gets, and how many times as fast."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import numpy as np
from gpu_clock import Call, interleave
from gpu_gate import shipped_generator
from gpu_limits import warm
from gpu_work import CONSTANT, DTYPES, MEAN_COUNTS, SHADE_PX, StainFrame, call_of, frame_counts, on_device

from livestain.engine.opening import open_backend
from livestain.engine.protocol import Engine, Given, Precision
from livestain.errors import LivestainError
from livestain.model import Model, read_model

Row = dict[str, Any]

PRECISIONS: tuple[Precision, ...] = ("f32", "f16", "bf16")


def engine_rows(folder: Path, side: int, device: str, seconds: float) -> list[Row]:
    """Return rows for each precision: single frames, groups of late ones, torch; or who refused, and why."""
    model = read_model(folder)
    rows: list[Row] = []
    for precision in PRECISIONS:
        try:
            rows += _rows(model, folder, precision, side, device, seconds)
        except LivestainError as error:
            rows.append({"what": "refused", "precision": precision, "side": side, "reason": str(error)})
    return rows


def _rows(model: Model, folder: Path, precision: Precision, side: int, device: str, seconds: float) -> list[Row]:
    engine: Engine = open_backend(model, "tensorrt", shape=(side, side), precision=precision)
    words = f"{engine.info.version} on {engine.info.device}: {engine.info.reason}"
    counts = frame_counts(side)
    shade = np.full((-(-side // SHADE_PX),) * 2, 1 / (CONSTANT * MEAN_COUNTS), np.float32)
    frame = Given(counts, shade, 0.0, 1 / CONSTANT)
    group = [frame] * engine.group
    net = shipped_generator(folder).to(device, DTYPES["f16"])
    eager = call_of(StainFrame(net, side).to(device), "f16")
    calls: dict[str, Call] = {
        "one frame": functools.partial(engine.stain, counts, shade, 0.0, 1 / CONSTANT),
        "a group": functools.partial(engine.stain_many, group),
        "torch eager f16, array to array": lambda: eager(on_device(counts, device)).cpu(),
    }
    warm(calls, device)
    times = interleave(calls, device, seconds)
    engine.close()
    torch_ms = times["torch eager f16, array to array"].numbers()["p50_ms"]
    rows: list[Row] = []
    for name, each in times.items():
        found = each.numbers()
        frames = len(group) if name == "a group" else 1
        times_torch = torch_ms * frames / found["p50_ms"]
        row = {"what": name, "precision": precision, "side": side, "frames": frames, **found}
        rows.append({**row, "times_as_fast_as_torch": times_torch, "engine": words})
    return rows
