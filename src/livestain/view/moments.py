"""Time points in words and in pixels: the clock, what became of a plane, and the strip of marks; no Qt."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from livestain.frames import Key
from livestain.store.read import Note
from livestain.view.history import History
from livestain.view.picture import ABSENT, FAILED, LATE, LIVE, SKIPPED, UNSTAINED, Marks

MARK_WORDS = {
    ABSENT: "not recorded",
    LIVE: "stained live",
    LATE: "stained late",
    UNSTAINED: "no stain",
    FAILED: "failed",
    SKIPPED: "left out",
}

STRIP_COLORS = {
    LIVE: "5CCB8F",
    LATE: "0096FF",
    SKIPPED: "B0B0B0",
    UNSTAINED: "FFC107",
    FAILED: "FF5252",
}
"""Colours of the marks on `STRIP_GROUND`."""

STRIP_GROUND = "181818"

STRIP_SHARE = {ABSENT: 0.0, LIVE: 0.2, LATE: 0.4, SKIPPED: 0.6, UNSTAINED: 0.8, FAILED: 1.0}
"""Height of a mark as a share of the strip: colour is never the only cue; the worse, the higher."""

_RANK = np.array([{ABSENT: 0, LIVE: 1, LATE: 2, SKIPPED: 3, UNSTAINED: 4, FAILED: 5}[mark] for mark in range(6)])
_BY_RANK = np.argsort(_RANK).astype(np.uint8)
_GAP_FROM_PX = 4
_REASONS_TOLD = 3


def clock(seconds: float, interval_s: float = 0.0) -> str:
    """Return a time as h:mm:ss, with tenths where the interval is below a second; empty where not known."""
    if not math.isfinite(seconds):
        return ""
    tenths = 0 < interval_s < 1
    whole = round(seconds, 1) if tenths else round(seconds)
    minutes, rest = divmod(whole, 60)
    hours, minutes = divmod(int(minutes), 60)
    return f"{hours}:{minutes:02d}:{rest:04.1f}" if tenths else f"{hours}:{minutes:02d}:{int(rest):02d}"


def place_text(
    key: Key, extent: tuple[int, int, int], time_s: float, interval_s: float = 0.0, *, of: str = ""
) -> str:  # fmt: skip
    """Return where and when a picture is, such as ``"t 11 · frame 12 of 240, 0:02:24"``.

    Numbers as in the files count from 0, those with "of" from 1. Position and z are told if there are several; ``of``:
    what the time points are counted against, where that is not how many there are.
    """
    several = [(name, key[axis], extent[axis]) for axis, name in ((0, "position"), (2, "z")) if extent[axis] > 1]
    counted = "time point" if several else "frame"
    parts = [f"t {key.t} · {counted} {key.t + 1} of {of or extent[1]}", clock(time_s, interval_s)]
    parts += [f"{name} {place} · {place + 1} of {size}" for name, place, size in several]
    return ", ".join(filter(None, parts))


def notes_at(notes: Sequence[Note], key: Key, since: int = 0) -> str:
    """Return what was noted at a time point, such as ``"t 12: drug added; cells round up"``; empty when nothing was.

    ``since``: so many time points before it count too, so that a note can be read while they go by.
    """
    told: dict[int, list[str]] = {}
    for note in notes:
        if note.t is not None and key.t - since <= note.t <= key.t and note.p in (None, key.p):
            told.setdefault(note.t, []).append(note.text)
    return ", ".join(f"t {t}: {'; '.join(texts)}" for t, texts in sorted(told.items()))


def bars(marks: Marks, most: int) -> Marks:
    """Return the marks as at most ``most`` bars of equal length in time: the worst state of each bar wins.

    Parameters
    ----------
    marks
        (T,) uint8.

    Returns
    -------
    (min(T, most),) uint8; bar i stands for the time points `bar_range(i, ...)`.
    """
    count = min(marks.size, most)
    if count <= 0:
        return np.zeros(0, np.uint8)
    starts = np.arange(count) * marks.size // count
    worst: Marks = _BY_RANK[np.maximum.reduceat(_RANK[marks], starts)]
    return worst


def bar_range(bar: int, count: int, size: int) -> tuple[int, int]:
    """Return the first and the last of ``size`` time points that bar ``bar`` of ``count`` stands for."""
    return bar * size // count, (bar + 1) * size // count - 1


def strip(marks: Marks, width: int, height: int) -> npt.NDArray[np.uint32]:
    """Return the strip of marks as (height, width) uint32 pixels 0xffRRGGBB; its cost follows the width."""
    pixels = np.full((height, width), _pixel(STRIP_GROUND), np.uint32)
    shown = bars(marks, width)
    if not shown.size:
        return pixels
    bar_of_column = np.arange(width) * shown.size // width
    columns = shown[bar_of_column]
    if width >= _GAP_FROM_PX * shown.size:
        last = np.append(bar_of_column[1:] != bar_of_column[:-1], True)
        columns = np.where(last, ABSENT, columns)
    failed = columns == FAILED
    failed[1:] |= failed[:-1].copy()  # 2 px wide at least: one lost plane in a thousand must be seen
    columns = np.where(failed, FAILED, columns)
    for mark, color in STRIP_COLORS.items():
        top = height - max(1, round(STRIP_SHARE[mark] * height))
        pixels[top:, columns == mark] = _pixel(color)
    return pixels


def describe(history: History, position: int, z: int, first: int, last: int) -> str:
    """Return what became of the time points ``first`` to ``last`` of a place: counts, reasons, notes; a line each."""
    marks = history.marks(position, z)[first : last + 1]
    numbers = np.bincount(marks, minlength=len(MARK_WORDS))
    if last == first:
        title = f"t {first}: {MARK_WORDS[int(marks[0])] if marks.size else MARK_WORDS[ABSENT]}"
    else:
        counted = [f"{numbers[mark]} {MARK_WORDS[mark]}" for mark in _BY_RANK[::-1].tolist() if numbers[mark]]
        title = f"t {first} to {last}: {', '.join(counted)}"
    notable = [first + int(t) for t in np.flatnonzero((marks == FAILED) | (marks == SKIPPED))]
    reasons = [(t, history.reason(Key(position, t, z))) for t in notable[:_REASONS_TOLD]]
    lines = [title, *(f"t {t}: {reason}" for t, reason in reasons if reason)]
    if len(notable) > _REASONS_TOLD:
        lines.append(f"and {len(notable) - _REASONS_TOLD} more")
    notes = [note for note in history.notes() if note.t is not None and first <= note.t <= last]
    lines += [f"note at t {note.t}: {note.text}" for note in notes if note.p in (None, position)]
    return "\n".join(lines)


def _pixel(color: str) -> int:
    return int("FF" + color, 16)
