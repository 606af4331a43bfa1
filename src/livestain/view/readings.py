"""What a session says, as short texts with a level: what the docks and the status bar show. No Qt."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from livestain.frames import InputCheck
from livestain.model.card import ContrastRange
from livestain.session.status import Counters, Status
from livestain.view.picture import LayerInfo

Level = Literal["plain", "good", "amber", "red"]

NOTHING = "–"
"""Stands where a value is not known."""


@dataclass(frozen=True, slots=True)
class Reading:
    """One named value; ``reason`` says in words what is wrong with it, empty when nothing is."""

    name: str
    value: str
    level: Level = "plain"
    reason: str = ""


def counter_readings(counters: Counters, *, closed: bool) -> tuple[Reading, ...]:
    """Return the ten counters in their order; loss is red: planes behind are lost only when the run is closed."""
    c = counters
    red = {"failed", "unstained"} | ({"behind"} if closed else set())
    names = ("received", "saved", "failed", "waiting", "labelfree", "live", "late", "skipped", "unstained", "behind")
    return tuple(
        Reading("label-free" if name == "labelfree" else name, f"{value}", "red" if value and name in red else "plain")
        for name, value in ((name, getattr(c, name)) for name in names)
    )


def loss_text(counters: Counters, *, closed: bool) -> str:
    """Return what is lost, in words; empty when nothing is."""
    unstained = counters.unstained + (counters.behind if closed else 0)
    parts = []
    if counters.failed:
        parts.append(f"{_many(counters.failed, 'frame')} not recorded")
    if unstained:
        parts.append(f"{_many(unstained, 'recorded frame')} without a stain")
    return "LOSS: " + ", ".join(parts) if parts else ""


def state_reading(status: Status) -> Reading:
    """Return the recording light: a word beside its shape and colour."""
    if not status.run:
        return Reading("state", {"recording": "live, not recorded"}.get(status.state, status.state), "plain")
    words: dict[str, tuple[str, Level]] = {
        "recording": ("recording", "red"), "finishing": ("staining the rest", "amber"), "waiting": ("waiting", "plain"),
    }  # fmt: skip
    word, level = words.get(status.state, (status.state, "plain"))
    return Reading("state", word, level)


def speed_readings(status: Status, age_ms: float | None) -> tuple[Reading, ...]:
    """Return frame rate, frame age, latency and what is left on the disk."""
    total = status.latency_ms.get("total")
    latency = f"p50 {total[0]:.0f}  p99 {total[2]:.0f} ms" if total else NOTHING
    hours = None if status.disk_left_s is None else status.disk_left_s / 3600
    disk_level: Level = "amber" if hours is not None and hours < 1 else "plain"
    return (
        Reading("Frames", f"{status.frames_per_s:.1f} frame/s"),
        Reading("Frame age", age_text(age_ms)),
        Reading("Latency", latency),
        Reading("Behind", _debt(status)),
        Reading("Disk left", _disk(status, hours), disk_level, "less than an hour" if disk_level == "amber" else ""),
    )


def engine_readings(status: Status) -> tuple[Reading, ...]:
    """Return whether staining is on, the model and what computes it."""
    engine = status.engine
    where = f"{engine['backend']} {engine['version']}" if engine else "warming up"
    on = Reading("Staining", "on") if status.staining else Reading("Staining", "off", "amber", "switched off")
    return (
        on,
        Reading("Model", status.model or NOTHING),
        Reading("Engine", where),
        Reading("Device", f"{engine['device']}, {engine['precision']}" if engine else NOTHING),
    )


def input_readings(check: InputCheck | None, known: ContrastRange | None) -> tuple[Reading, ...]:
    """Return contrast, clipped share and brightness of the newest frame, each against training."""
    names = ("Contrast", "Saturation", "Gain")
    if check is None or known is None:
        return tuple(Reading(name, NOTHING) for name in names)
    low, high = known.sd
    why = "blurred or out of focus?" if check.sd < low else "other sample or optics?" if check.sd > high else ""
    clipped = "too bright or too dense?" if check.saturated > known.saturated_max else ""
    lamp = "lamp or exposure changed?" if not known.gain[0] <= check.gain <= known.gain[1] else ""
    return (
        _checked(names[0], f"{check.sd:.3f}", why, f"training: {low:.3f} to {high:.3f}"),
        _checked(names[1], f"{check.saturated:.1%}", clipped, f"training: at most {known.saturated_max:.1%}"),
        _checked(names[2], f"{check.gain:.2f}", lamp, f"training: {known.gain[0]:.2f} to {known.gain[1]:.2f}"),
    )


def age_text(age_ms: float | None) -> str:
    """Return an age: ms below 10 s, then s, then minutes."""
    if age_ms is None or math.isnan(age_ms):
        return NOTHING
    if age_ms < 10_000:
        return f"{age_ms:.0f} ms"
    return f"{age_ms / 1000:.0f} s" if age_ms < 600_000 else f"{age_ms / 60_000:.0f} min"


def cursor_text(x: int, y: int, values: Sequence[int | None], layers: Sequence[LayerInfo], pixel_um: float) -> str:
    """Return place and value of every layer under the cursor, each named by its kind; um only where known."""
    place = f"x {x}  y {y} px"
    if pixel_um:
        place += f"  ({x * pixel_um:.1f}, {y * pixel_um:.1f} um)"
    said = [f"{info.label} {NOTHING if value is None else value}" for info, value in zip(layers, values, strict=False)]
    return "   ".join([place, *said])


def finished_text(reports: Sequence[Status], error: BaseException | None) -> tuple[str, Level]:
    """Return how a command ended, in one line, and how serious that is."""
    saved, stained, received = (
        sum(values) for values in zip(*((r.counters.saved, r.counters.live + r.counters.late, r.counters.received)
                                        for r in reports), strict=True)
    ) if reports else (0, 0, 0)  # fmt: skip
    lost = [text for text in (loss_text(report.counters, closed=True) for report in reports) if text]
    where = ", ".join(report.run for report in reports if report.run)
    text = (
        f"{saved} of {received} frames saved, {stained} stained; {'; '.join(lost) or 'nothing lost'}. {where}".strip()
    )
    if error is not None:
        return f"Ended by an error: {error}. {text}", "red"
    return f"Finished: {text}", "red" if lost else "good"


def _checked(name: str, value: str, reason: str, training: str) -> Reading:
    return Reading(name, value, "amber" if reason else "good", reason or training)


def _debt(status: Status) -> str:
    behind = status.counters.behind
    return f"{behind}, about {status.debt_s:.0f} s" if behind and status.debt_s else f"{behind}"


def _disk(status: Status, hours: float | None) -> str:
    if status.disk_free_gib is None:
        return NOTHING
    free = f"{status.disk_free_gib:.1f} GiB"
    if hours is None:
        return free
    return f"{free}, {hours:.1f} h" if hours < 100 else f"{free}, over 100 h"


def _many(count: int, noun: str) -> str:
    return f"{count} {noun}" + ("s" if count != 1 else "")
