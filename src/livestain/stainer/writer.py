"""The stains' way to disk: bounded, several planes in flight, a row after each is durable."""

from __future__ import annotations

import logging
import queue
import shutil
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt

from livestain.errors import FrameError, StoreError
from livestain.frames import Key
from livestain.model.read import Model
from livestain.stainer.job import Geometry
from livestain.store.inflight import pump
from livestain.store.ledger import Ledger
from livestain.store.metadata import virtual_channel
from livestain.store.planes import PendingPlane, PlaneStore

log = logging.getLogger(__name__)

_DEPTH = 3
_END_S = 2.0

Row = dict[str, object]


@dataclass
class _Entry:
    row: Row
    key: Key | None = None
    stains: npt.NDArray[np.uint16] | None = None
    pending: Sequence[PendingPlane] = field(default_factory=list)
    failure: str = ""


@dataclass(frozen=True)
class Written:
    """One ledger row that was written, or could not be (``lost``: its text; the plane stays behind)."""

    key: Key
    row: Row
    lost: str = ""


class StainWriter:
    """Writes stains and their rows on a thread of its own; what was written comes back through ``written``.

    `put` and `close` are for the loop thread. Nobody else writes to this folder.
    """

    def __init__(self, folder: Path, model: Model, *, fsync: bool, limit_bytes: int, provenance: Mapping[str, object]):
        self.written: queue.SimpleQueue[Written] = queue.SimpleQueue()
        self._folder, self._model, self._fsync = folder, model, fsync
        self._provenance = dict(provenance)
        self._ledger = Ledger(folder / "ledger.jsonl", fsync=fsync)
        self._stores: dict[int, PlaneStore] = {}
        self._geometry: Geometry | None = None
        self._queue: queue.SimpleQueue[_Entry | None] = queue.SimpleQueue()
        self._limit = limit_bytes
        self._put_bytes = self._done_bytes = 0
        self._put_rows = self._done_rows = 0
        self._thread = threading.Thread(target=self._run, name="livestain-stain-writer", daemon=True)
        self._thread.start()

    @property
    def full(self) -> bool:
        """Whether as much waits for the disk as may."""
        return self._put_bytes - self._done_bytes >= self._limit

    def takes(self, stains: int, nbytes: int) -> bool:
        """Say whether so many more stains of ``nbytes`` each would still be stored."""
        return self._put_bytes - self._done_bytes + (stains - 1) * nbytes < self._limit

    @property
    def busy(self) -> bool:
        """Whether a row is still to be written."""
        return self._done_rows != self._put_rows and self._thread.is_alive()

    def set_geometry(self, geometry: Geometry) -> None:
        """Say of which shape the planes are; before the first `put`."""
        self._geometry = geometry

    def note(self, row: Row) -> None:
        """Write a row that belongs to no plane (engine, background) before all rows put later."""
        self._put_rows += 1
        self._queue.put(_Entry(row))

    def put(self, key: Key, row: Row, stains: npt.NDArray[np.uint16] | None) -> bool:
        """Hand over a stain (S, Y, X), or None for a row without pixels; keeps the array, does not block.

        False when more than the limit waits for the disk: then nothing was taken.
        """
        if stains is not None and self.full:
            return False
        size = 0 if stains is None else stains.nbytes
        self._put_bytes += size
        self._put_rows += 1
        self._queue.put(_Entry(row, key, stains))
        return True

    def end(self) -> None:
        """Write what waits, then end the thread; nothing may be put any more."""
        self._queue.put(None)

    def join(self, timeout_s: float) -> bool:
        """Wait for that; False if it takes longer than ``timeout_s``."""
        self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def close(self, counters: Mapping[str, int], cautions: Sequence[str], without_stain: Sequence[Key]) -> None:
        """After `join`: the last metadata (cautions, planes without a stain), trim, the ``close`` row."""
        for p, store in self._stores.items():
            missing = [[key.t, key.z] for key in without_stain if key.p == p]
            store.close(note={"cautions": list(cautions), "planes_without_stain": missing})
        self._ledger.close(counters)

    def abandon(self) -> None:
        """Write what waits for at most two seconds, close the ledger without a ``close`` row; nothing after `close`."""
        self.end()
        if self.join(_END_S):
            self._ledger.abandon()

    def _run(self) -> None:
        pump(self._queue, self._begin, self._complete, _DEPTH, idle=lambda: None)

    def _begin(self, entry: _Entry) -> _Entry:
        if entry.stains is None or entry.key is None:
            return entry
        try:
            store = self._store(entry.key.p)
            entry.pending = [store.begin(entry.key.t, c, entry.key.z, plane) for c, plane in enumerate(entry.stains)]
        except (FrameError, StoreError) as error:
            entry.failure = str(error)
        except Exception as error:
            log.exception("%s could not be written", entry.key)
            entry.failure = f"could not be written: {error!r}"
        return entry

    def _complete(self, entry: _Entry) -> None:
        row = entry.row
        if entry.key is not None and entry.stains is not None:
            row = self._settle(entry, entry.key)
        lost = ""
        try:
            self._ledger.row(row)
        except StoreError as error:
            lost = str(error)
        if entry.stains is not None:
            self._done_bytes += entry.stains.nbytes
        if entry.key is not None:
            self.written.put(Written(entry.key, row, lost))
        self._done_rows += 1

    def _settle(self, entry: _Entry, key: Key) -> Row:
        checks = []
        for plane in entry.pending:
            try:
                checks.append(plane.result())
            except StoreError as error:
                entry.failure = entry.failure or str(error)
        if entry.failure:
            return {**entry.row, "state": "failed", "crc32": [], "reason": entry.failure}
        self._stores[key.p].ensure_visible(key.t, key.z)
        return {**entry.row, "crc32": checks}

    def _store(self, p: int) -> PlaneStore:
        if p not in self._stores:
            if self._geometry is None:
                raise StoreError("stain image cannot be made: no frame has told its shape yet")
            path = self._folder / f"p{p:03d}.ome.zarr"
            if (path / "zarr.json").exists():
                self._stores[p] = PlaneStore.reopen(path, fsync=self._fsync)
            else:
                shutil.rmtree(path, ignore_errors=True)  # begun and never finished by a stainer that was killed
                self._stores[p] = self._create(path, self._geometry)
        return self._stores[p]

    def _create(self, path: Path, geometry: Geometry) -> PlaneStore:
        return PlaneStore.create(
            path,
            name=f"virtual: {', '.join(self._model.stains)}",
            channels=[virtual_channel(stain.name, stain.color) for stain in self._model.card.stains],
            plane_shape=geometry.shape,
            dtype=np.dtype(np.uint16),
            pixel_um=geometry.pixel_um,
            z_um=geometry.z_um,
            interval_s=geometry.interval_s,
            livestain=self._provenance,
            fsync=self._fsync,
        )
