"""What to stain next, and doing it: the newest frame first, else the oldest recorded plane without a stain row."""

from __future__ import annotations

import contextlib
import logging
import queue
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path

import numpy as np
import numpy.typing as npt

from livestain.contrast import check_input, require_stainable
from livestain.engine.opening import open_backend
from livestain.engine.protocol import Engine
from livestain.errors import EngineError, FrameError, StainerError, StoreError
from livestain.frames import MIN_SIDE_PX, Counts, InputCheck, Key
from livestain.model.read import Model, read_model
from livestain.stainer.backlog import Backlog
from livestain.stainer.half import half_size
from livestain.stainer.job import Geometry, Job, Message
from livestain.stainer.shades import Shade, Shades
from livestain.stainer.slots import Array, Slot, Tag, frame_parts, result_parts
from livestain.stainer.switch import OFF, Switch
from livestain.stainer.writer import Row, StainWriter
from livestain.store.ledger import LedgerTail, read_rows
from livestain.store.planes import PlaneReader
from livestain.store.run import lock_folder

log = logging.getLogger(__name__)

_POLL_S = 0.05
_DRAIN_POLL_S = 0.002
_FIRST_PLANE_S = 0.2
_ALIVE_S = 1.0
_FAILURES_IN_A_ROW = 3


class StainLoop:
    """Stains one run with one model until it is told to end; everything happens on the thread that calls `run`.

    ``inbox`` receives the messages of `livestain.stainer.job`, and ``wake`` is set after each; ``say`` sends ours.
    """

    def __init__(
        self,
        job: Job,
        inbox: queue.SimpleQueue[Message],
        wake: threading.Event,
        say: Callable[[Message], None],
    ) -> None:
        self._job, self._inbox, self._wake, self._send = job, inbox, wake, say
        self._said_s = time.monotonic()
        self._slots: tuple[Slot, Slot] | None = None
        self._backlog = Backlog()
        self._shades = Shades(job.stains / "shade" if job.stains else None, job.black)
        self._tail = LedgerTail(job.raw / "ledger.jsonl") if job.raw else None
        self._reading = ThreadPoolExecutor(1, thread_name_prefix="livestain-read-ahead")
        self._ahead: tuple[Key, Future[Counts]] | None = None
        self._readers: dict[int, PlaneReader] = {}
        self._exposures: dict[int, list[tuple[int, int]]] = {}
        self._geometry: Geometry | None = None
        self._image: Counts | None = None
        self._asked = self._draining = self._quitting = self._pictures = False
        self._switch = Switch()
        self._cautions: dict[str, str] = {}
        self._failures = self._lost_rows = 0

    def run(self) -> None:
        """Stain until told to ``close`` or ``quit``.

        Raises
        ------
        LivestainError
            The model cannot be read, no engine can be opened, or three planes in a row failed in the engine.
        """
        self._model: Model = read_model(self._job.model)
        with contextlib.ExitStack() as stack:
            if self._job.stains is not None:
                stack.callback(lock_folder(self._job.stains).release)
            stack.callback(self._reading.shutdown)
            self._go_on_after_another()
            self._open_engine(stack)
            while not self._quitting:
                self._obey()
                self._note_written()
                self._poll_raw()
                if time.monotonic() - self._said_s > _ALIVE_S:
                    self._say({"is": "alive"})
                if self._stain_newest() or self._stain_oldest():
                    continue
                self._answer("idle")
                if self._finished():
                    break
                self._wake.wait(_DRAIN_POLL_S if self._draining else _POLL_S)
                self._wake.clear()
            if not self._quitting:
                self._end()

    # -- beginning and end ---------------------------------------------------------------------------------------

    def _go_on_after_another(self) -> None:
        """Read what an earlier stainer of this run has left."""
        self._engine_number = 1
        if self._job.stains is None or not (self._job.stains / "ledger.jsonl").exists():
            return
        rows, problems = read_rows(self._job.stains / "ledger.jsonl")
        for row in rows:
            if "state" in row:
                self._backlog.mark_done(Key(row["p"], row["t"], row["z"]), kind_of(row))
            elif "shade" in row:
                self._shades.load(row)
            elif "engine" in row:
                self._engine_number += 1
        for problem in problems:
            self._say({"is": "warning", "text": f"stain ledger: {problem}"})

    def _open_engine(self, stack: contextlib.ExitStack) -> None:
        job = self._job
        began = time.monotonic()
        shape = job.planned_shape if job.planned_shape and min(job.planned_shape) >= MIN_SIDE_PX else None
        self._engine: Engine = open_backend(
            self._model, job.backend, shape=shape, dtype=np.dtype(job.planned_dtype), precision=job.precision
        )
        stack.callback(self._engine.close)
        info = asdict(self._engine.info)
        self._engine_id = f"e{self._engine_number}"
        self._writer = self._open_writer(info)
        if self._writer is not None:
            stack.callback(self._writer.abandon)
            self._writer.note({"v": 1, "engine": self._engine_id, **info})
        self._say({"is": "ready", "id": self._engine_id, "engine": info, "ms": 1e3 * (time.monotonic() - began)})
        self._report()

    def _open_writer(self, info: dict[str, object]) -> StainWriter | None:
        if self._job.stains is None:
            return None
        model = self._model
        provenance = {
            "kind": "virtual",
            "model": model.id,
            "weights_sha256": model.weights_sha256,
            "engine": {name: info[name] for name in ("backend", "version", "device", "precision")},
            "caution": model.card.caution,
            "quantity": "predicted intensity, 0..65535 = 0..1 of the model's range; not measured",
        }
        return StainWriter(
            self._job.stains, model, fsync=self._job.fsync, limit_bytes=self._job.queue_bytes, provenance=provenance
        )

    def _finished(self) -> bool:
        """All that was recorded has a row; nothing is recorded any more once the session has said ``close``."""
        if not self._draining or (self._writer is not None and self._writer.busy):
            return False
        self._note_written()
        if self._gives_up():
            return True
        for key in list(self._backlog.waiting()):
            if self._shades.needs_first(key.p):
                self._fail(key, "no usable background: every frame of this position is dark or saturated", live=False)
            else:
                return False
        return True

    def _gives_up(self) -> bool:
        """Whether the disk takes no row any more: at the end of a run this is not waited for, planes stay behind."""
        return self._draining and self._lost_rows >= _FAILURES_IN_A_ROW

    def _end(self) -> None:
        """Write out and close; after ``quit`` or an error only what waits is written, without the ``close`` row."""
        if self._writer is not None:
            self._writer.end()
            while not self._writer.join(_ALIVE_S / 2):
                self._note_written()
                self._say({"is": "alive"})
            self._note_written()
            self._writer.close(self._counters(), list(self._cautions.values()), list(self._backlog.without_stain()))
        self._say({"is": "closed", **self._counters()})

    # -- messages --------------------------------------------------------------------------------------------------

    def _obey(self) -> None:
        while True:
            try:
                message = self._inbox.get_nowait()
            except queue.Empty:
                return
            match message["do"]:
                case "look":
                    self._asked = True
                case "frames":
                    self._prepare(message)
                case "pictures":
                    self._pictures = message["wanted"]
                case "switch":
                    self._switch = Switch(message["changes"])
                case "close":
                    self._draining = True
                    for text in message.get("cautions", ()):
                        self._caution(text)
                case "quit":
                    self._quitting = True

    def _prepare(self, message: Message) -> None:
        """Get ready for frames of one shape: slots, buffers, engine."""
        self._geometry = Geometry.model_validate(message["geometry"])
        shape, dtype = self._geometry.shape, np.dtype(self._geometry.dtype)
        if self._writer is not None:
            self._writer.set_geometry(self._geometry)
        frame, stains = message["slots"]
        self._slots = (
            frame if isinstance(frame, Slot) else Slot(frame_parts(shape, dtype), Path(frame)),
            stains
            if isinstance(stains, Slot)
            else Slot(result_parts(shape, dtype, len(self._model.stains)), Path(stains)),
        )
        self._say({"is": "mapped"})
        self._image = np.empty(shape, dtype)
        began = time.monotonic()
        if min(shape) >= MIN_SIDE_PX:  # else each plane gets a failed row that says so
            self._engine.warm_up(shape, dtype)
        self._say({"is": "warm", "ms": 1e3 * (time.monotonic() - began)})

    def _say(self, message: Message) -> None:
        self._said_s = time.monotonic()
        self._send(message)

    def _answer(self, word: str) -> None:
        """Answer the open ``look``, if there is one."""
        if self._asked:
            self._asked = False
            self._say({"is": word})

    def _report(self, row: Row | None = None) -> None:
        self._say({"is": "rows", **self._counters(), "row": row})

    def _counters(self) -> dict[str, int]:
        return {**self._backlog.totals, "behind": self._backlog.behind}

    # -- what is recorded ------------------------------------------------------------------------------------------

    def _poll_raw(self) -> None:
        """Read new rows of the raw ledger: planes to stain, and the first usable frame of each position."""
        if self._tail is None:
            return
        rows = self._tail.new_rows()
        self._obey()  # a switch that was told before these planes were recorded counts for them
        for row in rows:
            if row.get("state") == "ok" and row["c"] == 0:
                key, exposure_us = Key(row["p"], row["t"], row["z"]), round(1000 * row["exposure_ms"])
                self._backlog.add_raw(key)
                changes = self._exposures.setdefault(key.p, [])
                if not changes or changes[-1][1] != exposure_us:
                    changes.append((key.t, exposure_us))
                if self._shades.needs_first(key.p):
                    self._offer_first(key, exposure_us)
                if not self._switch.was_on(row.get("n", -1)) and self._backlog.is_behind(key):
                    self._leave_out(key, "skipped", OFF, live=False)

    def _exposure_at(self, key: Key) -> int:
        changes = self._exposures[key.p]
        return next((exposure_us for t, exposure_us in reversed(changes) if t <= key.t), changes[0][1])

    def _offer_first(self, key: Key, exposure_us: int) -> None:
        try:
            image = self._read(key)
            require_stainable(image)
            self._keep(self._shades.offer_first(key, image, exposure_us))
        except (FrameError, StoreError) as error:
            log.warning("%s cannot give a background: %s", key, error)

    def _keep(self, shade: Shade | None) -> None:
        if shade is not None and self._writer is not None:
            self._writer.note(shade.row())

    def _read(self, key: Key) -> Counts:
        if self._job.raw is None:
            raise StoreError("nothing is recorded")
        if key.p not in self._readers:
            self._readers[key.p] = PlaneReader(self._job.raw / f"p{key.p:03d}.ome.zarr")
        return self._readers[key.p].read(key.t, 0, key.z)

    def _fetch(self, key: Key) -> Counts:
        """Read a plane, or take the one read ahead; then read the next in time while this one is stained."""
        ahead, self._ahead = self._ahead, None
        image = ahead[1].result() if ahead is not None and ahead[0] == key else self._read(key)
        after = Key(key.p, key.t + 1, key.z)
        if self._backlog.is_behind(after):
            self._ahead = after, self._reading.submit(self._read, after)
        return image

    # -- staining --------------------------------------------------------------------------------------------------

    def _stain_newest(self) -> bool:
        """Stain what is new in the frame slot; False when there is nothing."""
        if self._slots is None or self._image is None:
            return False
        tag = self._slots[0].read([self._image])
        if tag is None:
            return False
        self._obey()  # as above: the switch may have been told before this frame was put
        to_stain = self._switch.was_on(tag.number) and not self._backlog.is_done(tag.key)
        if not to_stain or min(self._image.shape) < MIN_SIDE_PX or not self._shade_ready(tag):
            self._answer("idle")
            return True
        self._stain(tag, self._image, live=True)
        return True

    def _shade_ready(self, tag: Tag) -> bool:
        """See to it that the position has a background; only a session without a record takes it from the slot."""
        p = tag.key.p
        if not self._shades.needs_first(p):
            return True
        if self._tail is None:
            if self._image is not None:
                self._shades.offer_first(tag.key, self._image, tag.exposure_us)
            return not self._shades.needs_first(p)
        until = time.monotonic() + _FIRST_PLANE_S
        while self._shades.needs_first(p) and time.monotonic() < until and not self._quitting:
            self._poll_raw()
            self._wake.wait(_DRAIN_POLL_S)
            self._wake.clear()
        return not self._shades.needs_first(p)

    def _stain_oldest(self) -> bool:
        """Stain the oldest recorded plane without a row; False when there is none that can be stained now."""
        if not self._switch.is_on and not self._draining:
            return False  # what was recorded before is stained when it is on again, or at the end
        key = self._backlog.oldest()
        if key is None or self._gives_up() or (self._writer is not None and self._writer.full):
            return False
        began = time.monotonic_ns()
        try:
            image = self._fetch(key)
            require_stainable(image)
        except (FrameError, StoreError) as error:
            self._fail(key, str(error), live=False)
            return True
        if self._shades.needs_first(key.p):
            return False
        self._stain(Tag(key, -1, began, self._exposure_at(key)), image, live=False)
        return True

    def _stain(self, tag: Tag, image: Counts, *, live: bool) -> None:
        shade = self._shades.find(tag.key)
        if shade is None:
            raise StainerError(f"{tag.key} has no background")
        contrast = self._model.card.contrast
        begun = time.monotonic_ns()
        try:
            gain = shade.background.gain(image)
            field = shade.background.shade(contrast.constant, gain)
            stains = self._engine.stain(image, field, shade.background.black, 1 / contrast.constant)
        except FrameError as error:
            self._fail(tag.key, str(error), live=live)
            return
        except EngineError as error:
            self._fail(tag.key, str(error), live=live)
            self._failures += 1
            if self._failures >= _FAILURES_IN_A_ROW:
                raise StainerError(f"{self._failures} planes in a row failed in the engine: {error}") from error
            return
        self._failures = 0
        done = time.monotonic_ns()
        check = check_input(
            image, shade.background, contrast.constant, gain, contrast.sd, contrast.saturated_max, contrast.gain
        )
        timed = Tag(
            tag.key, tag.number, tag.received_ns, tag.exposure_us,
            queued_us=(begun - tag.received_ns) // 1000, engine_us=(done - begun) // 1000,
        )  # fmt: skip
        for text in check.warnings:
            self._caution(f"input: {text}")
            self._say({"is": "warning", "text": f"input: {text}"})
        if live:
            self._show(timed, image, stains, check)
        self._store(timed, stains, shade, check, live=live)
        self._keep(self._shades.note_stained(tag.key, image, tag.exposure_us))

    def _caution(self, text: str) -> None:
        """Remember what the metadata of the stains shall say, once for texts that differ only in their numbers."""
        self._cautions.setdefault("".join(letter for letter in text if letter.isalpha()), text)

    def _show(self, tag: Tag, image: Counts, stains: npt.NDArray[np.uint16], check: InputCheck) -> None:
        if self._slots is None:
            return
        arrays: list[Array] = [stains]
        if self._pictures:  # plane and stains go under one sequence number: never a stain beside another frame
            arrays += [image, half_size(stains), half_size(image)]
        self._slots[1].write(arrays, tag)
        self._asked = False
        self._say({"is": "live", "key": list(tag.key), "engine": self._engine_id, "input": asdict(check)})

    def _store(
        self,
        tag: Tag,
        stains: npt.NDArray[np.uint16],
        shade: Shade,
        check: InputCheck,
        *,
        live: bool,
    ) -> None:
        if self._writer is None:
            return
        row: Row = {
            "v": 1, "p": tag.key.p, "t": tag.key.t, "z": tag.key.z, "kind": "virtual", "state": "ok", "live": live,
            "crc32": [], "engine": self._engine_id, "shade": shade.version, "gain": round(check.gain, 5),
            "queued_ms": tag.queued_us / 1000, "engine_ms": tag.engine_us / 1000,
            "input": {"sd": round(check.sd, 5), "saturated": round(check.saturated, 5)}, "reason": "",
        }  # fmt: skip
        if self._writer.put(tag.key, row, stains):
            self._backlog.mark_done(tag.key)  # else the disk is behind: shown, and stained again later

    def _fail(self, key: Key, reason: str, *, live: bool) -> None:
        """Give the plane a ``failed`` row."""
        log.warning("%s not stained: %s", key, reason)
        self._answer("idle")
        if self._writer is None:
            self._say({"is": "warning", "text": f"{key} not stained: {reason}"})
        self._leave_out(key, "failed", reason, live=live)

    def _leave_out(self, key: Key, state: str, reason: str, *, live: bool) -> None:
        """Give the plane a row without a stain."""
        self._backlog.mark_done(key)
        if self._writer is None:
            return
        row: Row = {
            "v": 1, "p": key.p, "t": key.t, "z": key.z, "kind": "virtual", "state": state, "live": live,
            "crc32": [], "engine": self._engine_id, "reason": reason,
        }  # fmt: skip
        self._writer.put(key, row, None)

    def _note_written(self) -> None:
        """Take back what the writer has done, and tell the session."""
        if self._writer is None:
            return
        while True:
            try:
                written = self._writer.written.get_nowait()
            except queue.Empty:
                return
            self._lost_rows = self._lost_rows + 1 if written.lost else 0
            if written.lost:
                self._backlog.unmark(written.key)
                self._say({"is": "warning", "text": f"stain row of {written.key} not written: {written.lost}"})
            else:
                self._backlog.mark_done(written.key, kind_of(written.row))
            self._report(written.row)


def kind_of(row: Row) -> str:
    """Return which counter a stain row belongs to."""
    if row["state"] == "ok":
        return "live" if row["live"] else "late"
    return "unstained" if row["state"] == "failed" else "skipped"
