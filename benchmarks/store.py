"""What recording costs: planes with CRC, rows and metadata against bare tensorstore; planes early and late in a run.

    python benchmarks/store.py FOLDER [--rounds 15] [--frames 8] [--planes 10000]

FOLDER lies on the disk to be measured. Rounds alternate between the two writers, since disks change their mind.
"""

from __future__ import annotations

import argparse
import shutil
import statistics
import tempfile
import time
import tracemalloc
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import tensorstore as ts

from livestain.store.ledger import Ledger
from livestain.store.metadata import array_document, measured_channel, virtual_channel
from livestain.store.planes import PlaneStore, plane_context

SIDE = 2048
IN_FLIGHT = 4
SMALL = 64
PLACES = ((0, 0), (1, 0), (1, 1))
"""(image, c) of the three planes of a frame."""

Planes = list[npt.NDArray[np.uint16]]
Writer = Callable[[Path, Planes, int], None]


def noise(count: int, side: int) -> Planes:
    """Return planes as a 12-bit camera gives them."""
    rng = np.random.default_rng(0)
    return [rng.normal(2000, 20, (side, side)).astype(np.uint16) for _ in range(count)]


def write_bare(folder: Path, planes: Planes, frames: int) -> None:
    """One raw plane and two stains a frame by tensorstore alone: same codecs, fsync, as many in flight."""
    context = plane_context(fsync=True)
    images = [bare_image(folder / name, (frames, count), context) for name, count in (("raw", 1), ("stains", 2))]
    flight: deque[list[Any]] = deque()
    for t in range(frames):
        flight.append(
            [images[image][t, c, 0].write(planes[(t + i) % len(planes)]) for i, (image, c) in enumerate(PLACES)]
        )
        if len(flight) == IN_FLIGHT:
            for future in flight.popleft():
                future.result()
    for future in (one for group in flight for one in group):
        future.result()


def bare_image(path: Path, size: tuple[int, int], context: Any) -> Any:
    document = array_document((*size, 1, SIDE, SIDE), np.dtype(np.uint16))
    spec = {"driver": "zarr3", "kvstore": {"driver": "file", "path": path.absolute().as_posix()}, "metadata": document}
    return ts.open(spec, create=True, context=context).result()


def small_image(path: Path, side: int, channels: list[Any], context: Any) -> PlaneStore:
    return PlaneStore.create(
        path,
        name="p000",
        channels=channels,
        plane_shape=(side, side),
        dtype=np.uint16,
        pixel_um=0.325,
        z_um=1.0,
        interval_s=1.0,
        livestain={},
        fsync=True,
        context=context,
    )


def write_ours(folder: Path, planes: Planes, frames: int) -> None:
    """The same planes as a run records them: with CRC, durable rows and growing metadata."""
    context = plane_context(fsync=True)
    raw = small_image(folder / "raw", SIDE, [measured_channel("BF", 12)], context)
    stains = small_image(folder / "stains", SIDE, [virtual_channel("nuclei"), virtual_channel("membrane")], context)
    images = (raw, stains)
    ledgers = [Ledger(folder / name, fsync=True) for name in ("raw.jsonl", "stains.jsonl")]
    flight: deque[tuple[int, list[Any]]] = deque()

    def complete() -> None:
        t, pending = flight.popleft()
        checksums = [one.result() for one in pending]
        for image in images:
            image.ensure_visible(t, 0)
        ledgers[0].row({"v": 1, "n": t, "p": 0, "t": t, "z": 0, "c": 0, "state": "ok", "crc32": checksums[0]})
        ledgers[1].row({"v": 1, "p": 0, "t": t, "z": 0, "state": "ok", "crc32": checksums[1:]})

    for t in range(frames):
        begun = [images[image].begin(t, c, 0, planes[(t + i) % len(planes)]) for i, (image, c) in enumerate(PLACES)]
        flight.append((t, begun))
        if len(flight) == IN_FLIGHT:
            complete()
    while flight:
        complete()
    for image, ledger in zip(images, ledgers, strict=True):
        image.close()
        ledger.close({})


def compare(folder: Path, rounds: int, frames: int) -> None:
    """Print the throughput of both writers."""
    planes = noise(4, SIDE)
    rates: dict[str, list[float]] = {"bare": [], "livestain": []}
    writers: dict[str, Writer] = {"bare": write_bare, "livestain": write_ours}
    for _ in range(rounds):
        for name, write in writers.items():
            place = Path(tempfile.mkdtemp(dir=folder))
            started = time.perf_counter()
            write(place, planes, frames)
            rates[name].append(frames * 3 * planes[0].nbytes / 2**20 / (time.perf_counter() - started))
            shutil.rmtree(place)
    for name, values in rates.items():
        print(f"{name:10} median {statistics.median(values):6.0f}, best {max(values):6.0f} MiB/s")
    ratios = [ours / bare for ours, bare in zip(rates["livestain"], rates["bare"], strict=True)]
    print(
        f"ratio of medians {statistics.median(rates['livestain']) / statistics.median(rates['bare']):.2f}, "
        f"of bests {max(rates['livestain']) / max(rates['bare']):.2f}, median of pairs {statistics.median(ratios):.2f} "
        f"({rounds} rounds of {frames} frames, 3 planes of {SIDE}^2 uint16 each, {IN_FLIGHT} frames in flight, fsync)"
    )


def cost_per_plane(folder: Path, count: int) -> None:
    """Print what a small plane costs early and late in a run, and how much memory grows."""
    place = Path(tempfile.mkdtemp(dir=folder))
    store = small_image(place / "raw", SMALL, [measured_channel("BF", 12)], None)
    ledger = Ledger(place / "raw.jsonl", fsync=True)
    plane = noise(1, SMALL)[0]
    times_ms = np.empty(count)
    windows = {"early": slice(count // 20, count // 10), "late": slice(count - count // 20, count)}
    grown = 0
    tracemalloc.start()
    for t in range(count):
        started = time.perf_counter()
        checksum = store.begin(t, 0, 0, plane).result()
        store.ensure_visible(t, 0)
        ledger.row({"v": 1, "n": t, "p": 0, "t": t, "z": 0, "c": 0, "state": "ok", "crc32": checksum})
        times_ms[t] = 1e3 * (time.perf_counter() - started)
        if t == windows["early"].start:
            grown = -tracemalloc.get_traced_memory()[0]
    grown += tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    store.close()
    ledger.close({})
    shutil.rmtree(place)
    for name, window in windows.items():
        part = times_ms[window]
        p50, p99 = np.percentile(part, (50, 99))
        print(f"planes {window.start}-{window.stop}: median {p50:.2f}, p99 {p99:.2f} ms ({name})")
    print(f"memory: {grown / (count - windows['early'].start):.2f} bytes a plane")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--frames", type=int, default=8)
    parser.add_argument("--planes", type=int, default=10_000)
    asked = parser.parse_args()
    compare(asked.folder, asked.rounds, asked.frames)
    cost_per_plane(asked.folder, asked.planes)
