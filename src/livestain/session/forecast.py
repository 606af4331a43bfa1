"""Will the disk keep up, and is there room: said at the start of a run, while something can still be done."""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from pathlib import Path

from livestain.session.intake import Sequence

_PROBE_BYTES = 16 << 20
_CHUNK_BYTES = 4 << 20
_MARGIN = 0.8


def disk_rate(folder: Path) -> float:
    """Return how fast ``folder`` takes data now, in bytes/s: 16 MiB written and flushed. Blocks for about 0.1 s.

    Raises
    ------
    OSError
        It cannot be written.
    """
    chunk = os.urandom(_CHUNK_BYTES)
    with tempfile.TemporaryFile(dir=folder) as file:
        began_s = time.perf_counter()
        for _ in range(_PROBE_BYTES // _CHUNK_BYTES):
            file.write(chunk)
        file.flush()
        os.fsync(file.fileno())
        return _PROBE_BYTES / (time.perf_counter() - began_s)


def doubts(sequence: Sequence, frame_bytes: int, rate: float, folder: Path) -> list[str]:
    """Return one sentence for each reason why the plan may not fit the disk (none where the plan is not known).

    Parameters
    ----------
    sequence
        The plan.
    frame_bytes
        Uncompressed size of one frame with its stains.
    rate
        From `disk_rate`, bytes/s.
    folder
        Where it is written.
    """
    found = []
    if sequence.interval_s and sequence.time_points and sequence.planes:
        planned = frame_bytes * sequence.planes / sequence.time_points / sequence.interval_s
        if planned > _MARGIN * rate:
            found.append(
                f"the plan brings {planned / 2**20:.0f} MiB/s and the disk takes {rate / 2**20:.0f} MiB/s: "
                "frames may fail; use a faster disk, a longer interval or --no-fsync"
            )
    total, free = frame_bytes * sequence.planes, shutil.disk_usage(folder).free
    if total > free:
        found.append(
            f"the plan needs up to {total / 2**30:.1f} GiB and {free / 2**30:.1f} GiB are free in {folder}: "
            "free some space or choose another disk"
        )
    return found
