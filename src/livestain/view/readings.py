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

_FEW_STAINS = 20
_LETTERS = (24, 12, 6, 3)
"""Lengths of names under the cursor, from much room to little."""


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
    words: dict[str, tuple[str, Level]] = {
        "recording": ("recording", "red") if status.run else ("live, not recorded", "plain"),
        "finishing": ("staining the rest", "amber"),
        "closed": ("finished", "good"),
    }  # fmt: skip
    word, level = words.get(status.state, (status.state, "plain"))
    return Reading("state", word, level)


def disk_reading(status: Status) -> Reading:
    """Return what is left on the disk, as hours where a rate is known; amber below one hour."""
    if status.disk_free_gib is None:
        return Reading("disk", NOTHING)
    if status.disk_left_s is None or status.state == "closed":
        return Reading("disk", f"{status.disk_free_gib:.1f} GiB")
    hours = status.disk_left_s / 3600
    if hours < 1:
        return Reading("disk", f"{hours:.1f} h left", "amber", "less than an hour")
    return Reading("disk", f"{hours:.1f} h left" if hours < 100 else "over 100 h left")


def speed_readings(status: Status, age_ms: float | None) -> tuple[Reading, ...]:
    """Return frame rate, frame age, latency from receipt to result, and how long the planes behind will take."""
    p50, p99 = latency_texts(status)
    closed = status.state == "closed"
    behind = status.counters.behind
    return (
        Reading("mean frame/s" if closed else "frame/s", rate_text(status)),
        Reading("frame age", NOTHING if closed else age_text(age_ms)),
        Reading("catching up", f"{status.debt_s:.0f} s" if behind and status.debt_s else NOTHING),
        Reading("latency p50", p50),
        Reading("latency p99", p99),
        Reading("memory", f"{status.memory_mib:.0f} MiB" if status.memory_mib else NOTHING),
    )


def engine_readings(status: Status) -> tuple[Reading, ...]:
    """Return the model, what computes it, and whether staining is on."""
    engine = status.engine
    # No engine comes any more where none is asked to stain: no channel, given up, the end.
    waiting = "warming up" if status.staining and status.state != "closed" else NOTHING
    where = f"{engine['backend']} {engine['version']}, {engine['precision']}" if engine else waiting
    on = Reading("Staining", "on") if status.staining else Reading("Staining", "off", "amber", "switched off")
    return (
        # Without who published it: the whole identity needs two lines, and the card has it.
        Reading("Model", status.model.rpartition("/")[2] or NOTHING),
        Reading("Engine", where),
        Reading("Device", str(engine["device"]) if engine else NOTHING),
        on,
    )


def input_readings(check: InputCheck | None, known: ContrastRange | None) -> tuple[Reading, ...]:
    """Return contrast, clipped share and brightness of the newest frame, each against training."""
    names = ("contrast", "saturation", "gain")
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


def rate_text(status: Status) -> str:
    """Return the frames a second: over the last seconds, or of the whole run when it is closed."""
    rate = status.mean_frames_per_s if status.state == "closed" else status.frames_per_s
    return NOTHING if rate is None else f"{rate:.1f}"


def age_text(age_ms: float | None) -> str:
    """Return an age: ms below 10 s, then s, then minutes."""
    if age_ms is None or math.isnan(age_ms):
        return NOTHING
    if age_ms < 10_000:
        return f"{age_ms:.0f} ms"
    return f"{age_ms / 1000:.0f} s" if age_ms < 600_000 else f"{age_ms / 60_000:.0f} min"


def cursor_texts(
    x: int, y: int, values: Sequence[int | None], layers: Sequence[LayerInfo], pixel_um: float
) -> tuple[str, ...]:
    """Return place and value of every layer under the cursor, by their kinds; the longest text first, all say the same.

    To choose the first that has room: names become shorter, numbers never. um only where the pixel size is known; the
    one label-free layer needs no name.
    """
    place = f"x {x}  y {y} px"
    um = f"  ({x * pixel_um:.1f}, {y * pixel_um:.1f} um)" if pixel_um else ""
    short = [f"{place}   {_by_kind(values, layers, letters)}" for letters in _LETTERS]
    return (f"{place}{um}   {_by_kind(values, layers)}", *short)


def _by_kind(values: Sequence[int | None], layers: Sequence[LayerInfo], letters: int | None = None) -> str:
    """Such as ``"label-free 120   virtual: nuclei 30000, membrane 12"``."""
    groups: dict[str, list[str]] = {}
    for info, value in zip(layers, values, strict=False):
        name = "" if info.kind == "label-free" else f"{_shortened(info.name, letters)} "
        groups.setdefault(info.kind, []).append(f"{name}{NOTHING if value is None else value}")
    said = (f"{kind}{'' if kind == 'label-free' else ':'} {', '.join(texts)}" for kind, texts in groups.items())
    return "   ".join(said)


def _shortened(name: str, letters: int | None) -> str:
    return name if letters is None or len(name) <= letters else f"{name[: letters - 1].rstrip()}…"


def finished_text(
    reports: Sequence[Status], error: BaseException | None, *, stopped: bool = False
) -> tuple[str, Level]:  # fmt: skip
    """Return how a command ended, in one line, and how serious that is; ``stopped``: early, as the user wanted it."""
    counters = [report.counters for report in reports]
    saved, received = sum(c.saved for c in counters), sum(c.received for c in counters)
    planned = sum(report.planned for report in reports)
    early = stopped or received < planned
    of = f"{planned} planned" if received < planned else f"{received}"
    lost = [text for text in (loss_text(c, closed=True) for c in counters) if text]
    parts = [f"{saved} of {of} frames saved, {sum(c.live + c.late for c in counters)} stained"]
    parts += lost or ["nothing lost"]
    parts += [report.run for report in reports if report.run]
    if error is not None:
        return f"Ended by an error: {error}. {'; '.join(parts)}", "red"
    return f"{'Stopped' if early else 'Finished'}: {'; '.join(parts)}", "red" if lost else "amber" if early else "good"


def latency_text(status: Status) -> str:
    """Return the latency in one line, such as ``"latency p50 83  p99 120 ms"``; empty where there is none."""
    p50, p99 = latency_texts(status)
    if p50 == NOTHING:
        return ""
    return f"latency p50 {p50}" if p99 == NOTHING else f"latency p50 {p50.removesuffix(' ms')}  p99 {p99}"


def latency_texts(status: Status) -> tuple[str, str]:
    """Return p50 and p99 from receipt to result; of few stains p50 with their number alone, as p99 would mean nothing.

    `NOTHING` where there is none.
    """
    total, count = status.latency_ms.get("total"), status.counters.live
    if not total:
        return NOTHING, NOTHING
    if count < _FEW_STAINS:
        return f"{total[0]:.0f} ms of {count}", NOTHING
    return f"{total[0]:.0f} ms", f"{total[2]:.0f} ms"


def _checked(name: str, value: str, reason: str, training: str) -> Reading:
    return Reading(name, value, "amber" if reason else "good", reason or training)


def _many(count: int, noun: str) -> str:
    return f"{count} {noun}" + ("s" if count != 1 else "")
