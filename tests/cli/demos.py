"""Demos as processes of their own, and what must hold when one was killed."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil

from livestain.stainer import slots
from livestain.store.ledger import read_rows
from livestain.store.planes import PlaneReader
from tests.conftest import stainer_pids
from tests.session.pieces import await_that, check_planes

LIVESTAIN = [sys.executable, "-P", "-c", "from livestain.cli import main; main()"]
DEMO_OPTIONS = ["--size", "96", "--fps", "40", "--frames", "100000", "--no-view"]
STAINER_END_S = 3.0


@contextmanager
def demo(model: Path, output: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A long demo in a process group of its own."""
    command = [*LIVESTAIN, "demo", "--model", str(model), "--output", str(output), *DEMO_OPTIONS]
    group = None if sys.platform == "win32" else 0
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, process_group=group) as process:
        try:
            yield process
        finally:
            with contextlib.suppress(ProcessLookupError):
                process.kill()


def kill_and_see(process: subprocess.Popen[bytes], run: Path) -> int:
    """Kill the demo and check what it leaves; returns the number of planes with a row."""
    stainers = [psutil.Process(pid) for pid in stainer_pids(process.pid)]
    process.kill()
    killed_s = time.monotonic()
    process.communicate()
    await_that(lambda: not any(map(alive, stainers)))
    assert time.monotonic() - killed_s < STAINER_END_S
    slots.sweep()
    assert not list(slots._folder().glob(f"livestain-{process.pid}-*"))
    if not (run / "raw" / "ledger.jsonl").exists():
        return 0
    check_planes(run)
    assert all_planes_are_whole(run)
    rows, problems = read_rows(run / "raw" / "ledger.jsonl")
    assert problems == []
    json.loads((run / "run.json").read_text(encoding="utf-8"))
    return len(rows)


def alive(process: psutil.Process) -> bool:
    return process.is_running() and process.status() != psutil.STATUS_ZOMBIE


def all_planes_are_whole(run: Path) -> bool:
    """Whether every file under a plane's own name is a plane, whether it has a row or not.

    A writer that was killed may leave files under tensorstore's temporary names, which no reader looks at.
    """
    for image in run.rglob("*.ome.zarr"):
        planes = list((image / "0" / "c").glob("*/*/*/0/0"))
        if not planes:  # killed before the image had its first plane, perhaps before it had its metadata
            continue
        reader = PlaneReader(image)
        for file in planes:
            t, c, z = (int(part) for part in file.parts[-5:-2])
            assert reader.read(t, c, z).shape == reader.plane_shape
    return True


def raw_rows(run: Path) -> list[dict[str, object]]:
    return read_rows(run / "raw" / "ledger.jsonl")[0]
