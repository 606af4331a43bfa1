"""What the recorder has written: its rows as they come, and planes, read ahead of their turn."""

from __future__ import annotations

from collections.abc import Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

from livestain.errors import StoreError
from livestain.frames import Counts, Key
from livestain.store.ledger import LedgerTail
from livestain.store.planes import PlaneReader


class RawPlanes:
    """The label-free planes of RUN/raw while it grows; for one thread, beside which another one reads ahead.

    ``folder`` is None for a session that records nothing: then there are no rows.
    """

    def __init__(self, folder: Path | None) -> None:
        self._folder = folder
        self._tail = LedgerTail(folder / "ledger.jsonl") if folder else None
        self._readers: dict[int, PlaneReader] = {}
        self._reading = ThreadPoolExecutor(1, thread_name_prefix="livestain-read-ahead")
        self._ahead: dict[Key, Future[Counts]] = {}
        self._exposures: dict[int, list[tuple[int, int]]] = {}

    @property
    def is_recorded(self) -> bool:
        """Whether there is such a folder."""
        return self._tail is not None

    def new_rows(self) -> list[dict[str, Any]]:
        """Return the rows written since the last call, of all channels and states.

        Raises
        ------
        StoreError
            The ledger cannot be read.
        """
        return self._tail.new_rows() if self._tail is not None else []

    def note_exposure(self, key: Key, exposure_us: int) -> None:
        """Note with which exposure a plane was taken; planes of a position come in order of time."""
        changes = self._exposures.setdefault(key.p, [])
        if not changes or changes[-1][1] != exposure_us:
            changes.append((key.t, exposure_us))

    def exposure_at(self, key: Key) -> int:
        """Return the exposure of a plane that was noted, us."""
        changes = self._exposures[key.p]
        return next((exposure_us for t, exposure_us in reversed(changes) if t <= key.t), changes[0][1])

    def read(self, key: Key) -> Counts:
        """Return a plane; blocks.

        Raises
        ------
        StoreError
            It cannot be read.
        """
        if self._folder is None:
            raise StoreError("nothing is recorded")
        if key.p not in self._readers:
            self._readers[key.p] = PlaneReader(self._folder / f"p{key.p:03d}.ome.zarr")
        return self._readers[key.p].read(key.t, 0, key.z)

    def fetch(self, key: Key) -> Counts:
        """As `read`, but takes the plane that was read ahead."""
        ahead = self._ahead.pop(key, None)
        return ahead.result() if ahead is not None else self.read(key)

    def read_ahead(self, keys: Iterable[Key]) -> None:
        """Read these planes while others are stained; what was read ahead before and is not among them is dropped."""
        before = self._ahead
        self._ahead = {key: before.get(key) or self._reading.submit(self.read, key) for key in keys}

    def close(self) -> None:
        """End the thread."""
        self._reading.shutdown(cancel_futures=True)
