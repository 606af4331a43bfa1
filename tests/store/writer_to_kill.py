"""A writer that is killed by a test: raw planes and stains with rows, as fast as it can."""

from __future__ import annotations

import sys
from collections import deque
from pathlib import Path

from livestain.store.ledger import Ledger
from livestain.store.metadata import virtual_channel
from livestain.store.planes import PendingPlane, PlaneStore
from tests.store.pieces import image, plane

DEPTH = 4
SIDE = (256, 256)


def write_for_ever(folder: Path, *, again: bool) -> None:
    raw_path, stain_path = folder / "raw.ome.zarr", folder / "stain.ome.zarr"
    if again:
        raw, stain = PlaneStore.reopen(raw_path, fsync=True), PlaneStore.reopen(stain_path, fsync=True)
    else:
        raw = image(raw_path, shape=SIDE, fsync=True)
        stain = image(stain_path, [virtual_channel("nuclei"), virtual_channel("membrane")], shape=SIDE, fsync=True)
    ledger = Ledger(folder / "ledger.jsonl", fsync=True)
    flight: deque[tuple[int, list[PendingPlane]]] = deque()
    t = 100_000 if again else 0
    print("writing", flush=True)
    while True:
        planes = [plane(t + i, SIDE) for i in range(3)]
        begun = [raw.begin(t, 0, t % 2, planes[0]), *(stain.begin(t, c, t % 2, planes[1 + c]) for c in range(2))]
        flight.append((t, begun))
        t += 1
        if len(flight) == DEPTH:
            done, pending = flight.popleft()
            checksums = [one.result() for one in pending]
            raw.ensure_visible(done, done % 2)
            stain.ensure_visible(done, done % 2)
            ledger.row({"v": 1, "p": 0, "t": done, "z": done % 2, "state": "ok", "crc32": checksums})


if __name__ == "__main__":
    write_for_ever(Path(sys.argv[1]), again=sys.argv[2] == "again")
