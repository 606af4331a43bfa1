"""What is said at the end of a run."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path

from livestain.session.status import Counters, Status

_ENOUGH = 20
"""Planes below which a p95 says nothing."""


def summary_lines(status: Status) -> list[str]:
    """Return the closing summary of one run, line by line; loss of any kind stands in the last line."""
    c = status.counters
    plan = f" ({status.planned} were planned)" if status.planned not in (0, c.received) else ""
    lines = ["", f"Recorded  {c.saved} of {c.received} frames{plan} in {status.run}"]
    if status.source:
        lines.append(f"Source    {status.source}")
    engine = status.engine
    if engine:
        stains = engine["stains"]
        names = ", ".join(f"virtual: {name}" for name in stains) if isinstance(stains, list | tuple) else ""
        lines.append(f"Stained   {_shares(c)}, of {c.labelfree} label-free: {names}")
        lines.append(f"Model     {status.model}" + (f": {status.caution}" if status.caution else ""))
        where = f"{engine['backend']} {engine['version']}, {engine['precision']}, {engine['device']}"
        lines.append(f"Engine    {where}: {engine['reason']}")
    lines += _speed(status)
    lines += [f"Note      {text}" for text in status.warnings]
    lines.append(f"Open      livestain view {_quoted(status.run)}")
    lines.append(f"          livestain export {_quoted(status.run)} --to ome-tiff   (OME-TIFF for Fiji)")
    lines.append(f'          python -c "import livestain; print(livestain.open_run({_portable(status.run)}).channels)"')
    if c.failed:
        lines.append(
            f"LOSS      {c.failed} frames are not recorded; {c.unstained + c.behind} recorded ones have no stain"
        )
    elif c.lost:
        lines.append(
            f"UNSTAINED {c.unstained + c.behind} recorded frames have no stain ({c.unstained} failed); raw is whole"
        )
    return lines


def _shares(counters: Counters) -> str:
    """Every counter of label-free planes that is not 0, so that the sum closes; the first two always."""
    names = ("live", "late", "skipped", "unstained", "behind")
    found = {name: getattr(counters, name) for name in names}
    return ", ".join(f"{count} {name}" for name, count in found.items() if count or name in names[:2])


def _speed(status: Status) -> list[str]:
    lines = []
    if status.mean_frames_per_s:
        lines.append(f"Rate      {status.mean_frames_per_s:g} frame/s from the first frame to the last")
    c = status.counters
    of = {"saved": f"{c.saved} frames", "total": f"the {c.live} stained live"}
    for stage, words in (("saved", "to disk"), ("total", "to result")):
        if stage in status.latency_ms:
            p50, p95, p99 = status.latency_ms[stage]
            few = c.live < _ENOUGH and stage == "total"
            figures = f"p50 {p50:.0f} ms" if few else f"p50 {p50:.0f}, p95 {p95:.0f}, p99 {p99:.0f} ms"
            lines.append(f"Speed     from receipt {words} {figures} ({of[stage]})")
    return lines


def _quoted(path: str) -> str:
    return f'"{path}"' if sys.platform == "win32" and " " in path else shlex.quote(path)


def _portable(path: str) -> str:
    return repr(Path(path).as_posix())
