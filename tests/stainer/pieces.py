"""What the tests of the loop share: a raw folder that grows, and a loop on a thread of the test."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from livestain.errors import LivestainError
from livestain.frames import Key
from livestain.stainer.job import Geometry, Job, Message
from livestain.stainer.loop import StainLoop
from livestain.stainer.slots import Slot, Tag, frame_parts, result_parts
from livestain.store.ledger import Ledger, read_rows
from livestain.store.metadata import measured_channel
from livestain.store.planes import PlaneStore
from tests.session.pieces import PATIENCE_S, SHAPE, Counts, await_that, frame

Row = dict[str, Any]


class Recorded:
    """A raw folder that grows when it is told to, as the recorder of a session writes it."""

    def __init__(self, run: Path) -> None:
        self.raw, self.stains = run / "raw", run / "stains" / "model"
        self.raw.mkdir(parents=True)
        self.stains.mkdir(parents=True)
        self._ledger = Ledger(self.raw / "ledger.jsonl", fsync=False)
        self._stores: dict[int, PlaneStore] = {}

    def add(
        self,
        *keys: tuple[int, int, int],
        exposure_ms: float = 10.0,
        state: str = "ok",
        c: int = 0,
        image: Counts | None = None,
        written: bool = True,
    ) -> None:
        """Record planes (`frame` of their t, if nothing else is given); their running number is their t."""
        for p, t, z in keys:
            if p not in self._stores:
                self._stores[p] = PlaneStore.create(
                    self.raw / f"p{p:03d}.ome.zarr", name="raw", channels=[measured_channel("BF", 16)],
                    plane_shape=SHAPE, dtype=np.uint16, pixel_um=0.65, z_um=1, interval_s=1,
                    livestain={"kind": "measured"}, fsync=False,
                )  # fmt: skip
            if state == "ok" and c == 0 and written:
                self._stores[p].begin(t, 0, z, frame(t) if image is None else image).result()
            row = {"v": 1, "n": t, "p": p, "t": t, "z": z, "c": c, "state": state, "exposure_ms": exposure_ms}
            self._ledger.row(row)

    def rows(self) -> list[Row]:
        return read_rows(self.stains / "ledger.jsonl")[0]

    def plane_rows(self) -> list[Row]:
        return [row for row in self.rows() if "state" in row]

    def end(self) -> None:
        self._ledger.abandon()


class Running:
    """A stainer's loop on a thread of the test, and everything it has said."""

    def __init__(self, model: Path, recorded: Recorded | None, **options: Any) -> None:
        folders = {"raw": recorded.raw, "stains": recorded.stains} if recorded else {}
        self.said: list[Message] = []
        self.error: LivestainError | None = None
        self.slots = Slot(frame_parts(SHAPE, np.uint16)), Slot(result_parts(SHAPE, np.uint16, 2))
        self._inbox: queue.SimpleQueue[Message] = queue.SimpleQueue()
        self._wake = threading.Event()
        job = Job(model=model, fsync=False, **folders, **options)
        self._loop = StainLoop(job, self._inbox, self._wake, self.said.append)
        self._thread = threading.Thread(target=self._run, name="livestain-loop-test")
        self.tell(do="frames", geometry=Geometry(shape=SHAPE, dtype="uint16").model_dump(), slots=self.slots)
        self._thread.start()

    def tell(self, **message: Any) -> None:
        self._inbox.put(message)
        self._wake.set()

    def show(self, key: tuple[int, int, int], exposure_ms: float = 10.0) -> None:
        """Put the frame of this time point into the slot, as the publisher does."""
        self.slots[0].write([frame(key[1])], Tag(Key(*key), key[1], 0, exposure_us=round(1000 * exposure_ms)))
        self.tell(do="look")

    def heard(self, kind: str) -> list[Message]:
        return [message for message in self.said if message["is"] == kind]

    def await_rows(self, count: int) -> None:
        await_that(lambda: sum(message["row"] is not None for message in self.heard("rows")) >= count)

    def await_live(self, count: int) -> None:
        await_that(lambda: len(self.heard("live")) >= count)

    def has_answered(self, looks: int) -> bool:
        return len(self.heard("live")) + len(self.heard("idle")) >= looks

    def end(self, word: str = "close") -> None:
        if self._thread.is_alive():
            self.tell(do=word)
        self._thread.join(PATIENCE_S)
        assert not self._thread.is_alive()

    def _run(self) -> None:
        try:
            self._loop.run()
        except LivestainError as error:
            self.error = error


@contextmanager
def running(model: Path, recorded: Recorded | None, **options: Any) -> Iterator[Running]:
    loop = Running(model, recorded, **options)
    try:
        yield loop
    finally:
        loop.end("quit")


def places(rows: list[Row]) -> list[tuple[int, int, int]]:
    return [(row["p"], row["t"], row["z"]) for row in rows]
