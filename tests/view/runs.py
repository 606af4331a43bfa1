"""Run folders with planes of a test's choice."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from livestain.frames import Counts
from livestain.store.ledger import Ledger
from livestain.store.metadata import measured_channel, virtual_channel
from livestain.store.planes import PlaneStore
from livestain.store.run import RunFolder, image_path
from tests.store.pieces import image


class GrowingRun:
    """A run of one position that is being recorded, with the stains of one model, until `end`."""

    def __init__(self, path: Path, shape: tuple[int, int], stains: Sequence[str] = ("nuclei", "membrane")) -> None:
        self.folder = RunFolder.create(path, {})
        self._raw = image(image_path(self.folder.raw, 0), [measured_channel("BF", 12)], shape=shape)
        stained = self.folder.stains("unet", 64 * "u")
        self._stains = image(image_path(stained, 0), [virtual_channel(name) for name in stains], shape=shape)
        self._raw_ledger = Ledger(self.folder.raw / "ledger.jsonl", fsync=False)
        self._stain_ledger = Ledger(stained / "ledger.jsonl", fsync=False)
        self._count = 0

    def add(self, frame: Counts, *stains: Counts) -> None:
        """Record the next time point; without stains it stays unstained."""
        t, place = self._count, {"v": 1, "p": 0, "t": self._count, "z": 0}
        self._count += 1
        row = {**place, "n": t, "c": 0, "kind": "measured", "state": "ok", "elapsed_ms": 1000.0 * t, "reason": ""}
        self._raw_ledger.row({**row, "crc32": _save(self._raw, t, 0, frame)})
        if stains:
            checksums = [_save(self._stains, t, c, stain) for c, stain in enumerate(stains)]
            self._stain_ledger.row({**place, "kind": "virtual", "state": "ok", "live": True, "crc32": checksums})

    def end(self) -> Path:
        """Close it; returns the folder."""
        for ledger in (self._raw_ledger, self._stain_ledger):
            ledger.close({})
        self.folder.close()
        self.folder.write_state(force=True, closed=time.time())
        return self.folder.path


def stained_run(path: Path, times: int = 4, shape: tuple[int, int] = (240, 320)) -> Path:
    """A finished run: grey ramps with an even green stain, each time point a little brighter."""
    run = GrowingRun(path, shape)
    for t in range(times):
        ramp = np.linspace(500, 3000 + 100 * t, shape[1]).astype(np.uint16)
        run.add(np.broadcast_to(ramp, shape).copy(), np.full(shape, 20_000, np.uint16), np.zeros(shape, np.uint16))
    return run.end()


def _save(store: PlaneStore, t: int, c: int, plane: Counts) -> str:
    checksum = store.begin(t, c, 0, plane).result()
    store.ensure_visible(t, 0)
    return checksum
