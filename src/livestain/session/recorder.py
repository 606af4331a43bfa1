"""Writes every received frame to ``RUN/raw`` and gives it a row; on a thread of its own."""

from __future__ import annotations

import logging
import math
import os
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from livestain.errors import FrameError, StoreError
from livestain.frames import FRAME_DTYPES, Frame
from livestain.session.intake import Intake, Item, Sequence
from livestain.session.notes import Notes
from livestain.session.raw_images import RawImages
from livestain.session.status import Latencies
from livestain.settings import SessionSettings
from livestain.store.inflight import pump
from livestain.store.ledger import Ledger, Row
from livestain.store.planes import PendingPlane
from livestain.store.run import RunFolder

log = logging.getLogger(__name__)

_ROWS_KEPT = 65536
GONE = "the run folder was deleted or replaced while recording"


@dataclass
class _Entry:
    item: Item
    frame: Frame | None = None
    pending: PendingPlane | None = None
    failure: str = ""


class Recorder:
    """Turns received frames into planes and rows, in order of arrival.

    The counters are written by this thread alone and may be read by any. A frame counts once its row is written; rows
    that cannot be written now (a full disk) are kept, at most 65 536 of them, and tried again every second.
    """

    def __init__(
        self,
        folder: RunFolder,
        intake: Intake,
        sequence: Sequence,
        settings: SessionSettings,
        latencies: Latencies,
        *,
        on_first: Callable[[Frame], None],
        on_end: Callable[[], None],
        warn: Callable[[str], None],
        notes: Notes,
    ) -> None:
        """Start the thread. ``on_first`` gets the first label-free frame, ``on_end`` comes last, on this thread.

        What is put into ``notes`` is written with the next rows, within a second.
        """
        self.saved = self.failed = self.labelfree = 0
        self._intake, self._sequence, self._settings = intake, sequence, settings
        self._latencies, self._on_first, self._on_end, self._warn = latencies, on_first, on_end, warn
        self._notes = notes
        self._images = RawImages(folder.raw, sequence, fsync=settings.fsync, source=settings.source)
        self._path = folder.raw / "ledger.jsonl"
        self._ledger = Ledger(self._path, fsync=settings.fsync)
        self._identity = self._path.stat()
        self._unwritten: deque[tuple[Row, Item | None]] = deque()
        self._gone = self._seen_first = False
        self._checked_s = time.monotonic()
        self._thread = threading.Thread(target=self._run, name="livestain-recorder", daemon=True)
        self._thread.start()

    def join(self, timeout_s: float | None = None) -> bool:
        """Wait until everything taken in is on disk; False if that took longer."""
        self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def _run(self) -> None:
        pump(self._intake.queue, self._begin, self._complete, self._settings.planes_in_flight, self._look_after)
        self._close()
        self._on_end()

    def _begin(self, item: Item) -> _Entry:
        self._look_after()
        entry = _Entry(item, failure=item.reason)
        if item.image is None:
            return entry
        try:
            if self._gone:
                raise StoreError(GONE)
            self._images.require_recordable(item.image)
            entry.frame = make_frame(item, self._sequence)
            entry.pending = self._images.begin(entry.frame)
            if item.label_free and not self._seen_first:
                self._seen_first = True
                self._on_first(entry.frame)
        except (FrameError, StoreError) as error:
            entry.failure = str(error)
        except Exception as error:
            log.exception("frame %d could not be recorded", item.number)
            entry.failure = f"could not be recorded: {error!r}"
        return entry

    def _complete(self, entry: _Entry) -> None:
        item, checksum = entry.item, ""
        if entry.pending is not None:
            try:
                checksum = entry.pending.result()
            except StoreError as error:
                entry.failure = str(error)
        if item.image is not None:
            self._intake.advance(item.image.nbytes)
        if entry.failure:
            self._warn(f"frames are lost: {entry.failure}")
        elif hidden := self._images.ensure_visible(*item.key):
            self._warn(f"other programs cannot see the newest planes: {hidden}")
        if len(self._unwritten) >= _ROWS_KEPT:
            _, left_out = self._unwritten.popleft()
            self.failed += left_out is not None
        self._unwritten.append((self._row(entry, checksum), item))
        self._write_rows(self._notes.take())

    def _row(self, entry: _Entry, checksum: str) -> Row:
        item, frame = entry.item, entry.frame
        return {
            "v": 1, "n": item.number, "p": item.key.p, "t": item.key.t, "z": item.key.z,
            "c": self._images.channel(item.channel) if item.channel else -1,
            "kind": "measured", "state": "failed" if entry.failure else "ok",
            "time": time.time() - (time.monotonic_ns() - item.received_ns) / 1e9,
            "elapsed_ms": 1e3 * frame.time_s if frame else None, "exposure_ms": frame.exposure_ms if frame else 0.0,
            "xyz": frame.stage_um if frame else (math.nan,) * 3, "crc32": checksum,
            "reason": entry.failure or item.note,
        }  # fmt: skip

    def _write_rows(self, notes: Iterable[Row]) -> None:
        """Write the rows that wait, in order, and the notes behind them, until one cannot be written."""
        self._unwritten.extend((note, None) for note in notes)
        while self._unwritten:
            row, item = self._unwritten[0]
            if not self._gone:
                try:
                    self._ledger.row(row)
                except StoreError as error:
                    self._warn(f"rows wait for the disk: {error}")
                    return
            self._unwritten.popleft()
            if item is None:
                continue
            if row["state"] != "ok" or self._gone:
                self.failed += 1
                continue
            self.labelfree += item.label_free
            self.saved += 1
            self._latencies.add("saved", (time.monotonic_ns() - item.received_ns) / 1e6)

    def _look_after(self) -> None:
        """Once a second: adapt the queue, try rows again, see whether the run folder is still ours."""
        now_s = time.monotonic()
        if now_s - self._checked_s < 1.0:
            return
        self._checked_s = now_s
        self._intake.adapt(now_s)
        self._check_folder()
        self._write_rows(self._notes.take())

    def _check_folder(self) -> None:
        """See whether the run folder is still there; if not, what was saved in it is lost, too."""
        try:
            gone = not os.path.samestat(self._path.stat(), self._identity)
        except OSError:
            gone = True
        if gone and not self._gone:
            self._gone = True
            self.failed, self.saved, self.labelfree = self.failed + self.saved, 0, 0

    def _close(self) -> None:
        """Settle every row; what the disk does not take now counts as failed."""
        self._check_folder()
        self._write_rows(self._notes.close())
        self.failed += sum(item is not None for _, item in self._unwritten)
        self._unwritten.clear()
        if self._gone:
            self._warn(GONE)
            self._ledger.abandon()
            return
        self._images.close()
        try:
            self._ledger.close({"received": self._intake.received, "saved": self.saved, "failed": self.failed})
        except StoreError as error:
            self._warn(f"the raw ledger was not closed: {error}")


class Passer:
    """Stands in for the recorder where nothing is stored: counts frames as passed on, and lets them go."""

    def __init__(
        self, intake: Intake, sequence: Sequence, *, on_first: Callable[[Frame], None], on_end: Callable[[], None]
    ) -> None:
        """Start the thread; the callbacks are the recorder's."""
        self.saved = self.failed = self.labelfree = 0
        self._intake, self._sequence = intake, sequence
        self._on_first, self._on_end = on_first, on_end
        self._thread = threading.Thread(target=self._run, name="livestain-passer", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        pump(self._intake.queue, self._pass, lambda _: None, 1, lambda: None)
        self._on_end()

    def _pass(self, item: Item) -> None:
        if item.image is None:
            self.failed += 1
            return
        self._intake.advance(item.image.nbytes)
        if item.label_free and not self.labelfree and is_recordable(item.image):
            self._on_first(make_frame(item, self._sequence))
        self.labelfree += item.label_free
        self.saved += 1


def is_recordable(image: Any) -> bool:
    """Say whether an image is one grey plane of a dtype that can be recorded."""
    return image.ndim == 2 and image.dtype in FRAME_DTYPES


def make_frame(item: Item, sequence: Sequence) -> Frame:
    """Return a received item as a frame, with the facts that the slot did not look at."""
    facts = sequence.facts(item.facts)
    return Frame(
        image=item.image, key=item.key, channel=item.channel, label_free=item.label_free, number=item.number,
        time_s=facts.time_s, received_s=item.received_ns / 1e9, pixel_um=facts.pixel_um or sequence.pixel_um,
        bit_depth=sequence.bit_depth, exposure_ms=facts.exposure_ms, stage_um=facts.stage_um, note=item.note,
    )  # fmt: skip
