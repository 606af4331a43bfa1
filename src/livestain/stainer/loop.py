"""What to stain next, and doing it: the newest frame first, else the oldest recorded plane without a stain row."""

from __future__ import annotations

import contextlib
import logging
import math
import queue
import threading
import time
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from livestain.contrast import check_input, require_stainable
from livestain.engine.opening import open_backend
from livestain.engine.protocol import Engine
from livestain.errors import EngineError, EngineLostError, EngineMemoryError, FrameError, StainerError, StoreError
from livestain.frames import MIN_SIDE_PX, Counts, InputCheck, Key
from livestain.model.read import Model, read_model
from livestain.stainer.backlog import Backlog
from livestain.stainer.half import half_size
from livestain.stainer.job import Geometry, Job, Message
from livestain.stainer.raw import RawPlanes
from livestain.stainer.ready import ReadyPlane, make_ready, stain_together
from livestain.stainer.shades import Shade, Shades
from livestain.stainer.slots import Array, Slot, Tag, frame_parts, result_parts
from livestain.stainer.switch import OFF, Switch
from livestain.stainer.writer import Row, StainWriter
from livestain.store.ledger import read_rows
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
        self._raw = RawPlanes(job.raw)
        self._geometry: Geometry | None = None
        self._image: Counts | None = None
        self._asked = self._draining = self._quitting = self._pictures = False
        self._switch = Switch()
        self._cautions: dict[str, str] = {}
        self._failures = self._lost_rows = self._alone = 0

    def run(self) -> None:
        """Stain until told to ``close`` or ``quit``.

        Raises
        ------
        LivestainError
            The model cannot be read, no engine can be opened, or three planes in a row failed in the engine.
        EngineLostError, EngineMemoryError
            The device went away or is full. The plane in hand has no row: the next engine stains it.
        """
        self._model: Model = read_model(self._job.model)
        with contextlib.ExitStack() as stack:
            if self._job.stains is not None:
                stack.callback(lock_folder(self._job.stains).release)
            stack.callback(self._raw.close)
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
        self._poll_raw()  # rows may have come between the last look and the word ``close``
        if self._gives_up():
            return True
        waiting = list(self._backlog.waiting())
        dark = [key for key in waiting if self._shades.needs_first(key.p)]
        for key in dark:
            self._fail(key, "no usable background: every frame of this position is dark or saturated", live=False)
        return len(dark) == len(waiting)

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
        rows = self._raw.new_rows()
        self._obey()  # a switch that was told before these planes were recorded counts for them
        for row in rows:
            if row.get("state") == "ok" and row["c"] == 0:
                key, exposure_us = Key(row["p"], row["t"], row["z"]), round(1000 * row["exposure_ms"])
                self._backlog.add_raw(key)
                self._raw.note_exposure(key, exposure_us)
                if self._shades.needs_first(key.p):
                    self._offer_first(key, exposure_us)
                if not self._switch.was_on(row.get("n", -1)) and self._backlog.is_behind(key):
                    self._leave_out(key, "skipped", OFF, live=False)

    def _offer_first(self, key: Key, exposure_us: int) -> None:
        try:
            image = self._raw.read(key)
            require_stainable(image)
            self._keep(self._shades.offer_first(key, image, exposure_us))
        except (FrameError, StoreError) as error:
            log.warning("%s cannot give a background: %s", key, error)

    def _keep(self, shade: Shade | None) -> None:
        if shade is not None and self._writer is not None:
            self._writer.note(shade.row())

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
        self._stain([(tag, self._image)], live=True)
        return True

    def _shade_ready(self, tag: Tag) -> bool:
        """See to it that the position has a background; only a session without a record takes it from the slot."""
        p = tag.key.p
        if not self._shades.needs_first(p):
            return True
        if not self._raw.is_recorded:
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
        """Stain the oldest recorded planes without a row, as many at a time as the engine likes to get.

        False when there is none that can be stained now.
        """
        if not self._switch.is_on and not self._draining:
            return False  # what was recorded before is stained when it is on again, or at the end
        group = 1 if self._alone or not self._room_for_group() else self._engine.group
        keys = self._backlog.oldest_few(2 * group)
        if not keys or self._gives_up() or (self._writer is not None and self._writer.full):
            return False
        self._alone = max(0, self._alone - 1)
        began, waiting = time.monotonic_ns(), list[tuple[Tag, Counts]]()
        for key in keys[:group]:
            try:
                image = self._raw.fetch(key)
                require_stainable(image)
            except (FrameError, StoreError) as error:
                if not waiting:
                    self._fail(key, str(error), live=False)
                    return True
                break  # fails when its turn comes
            if self._shades.needs_first(key.p):
                break
            waiting.append((Tag(key, -1, began, self._raw.exposure_at(key)), image))
        if not waiting:
            return False
        self._raw.read_ahead(keys[len(waiting) : len(waiting) + group])
        self._stain(waiting, live=False)
        return True

    def _room_for_group(self) -> bool:
        """Whether the queue takes a whole group: what it would not take is stained in vain."""
        if self._writer is None or self._geometry is None:
            return self._writer is None
        return self._writer.takes(self._engine.group, 2 * math.prod(self._geometry.shape) * len(self._model.stains))

    def _stain(self, waiting: list[tuple[Tag, Counts]], *, live: bool) -> None:
        """Stain planes together; what becomes of each is as if they were stained one after the other."""
        begun = time.monotonic_ns()
        planes = self._ready(waiting, live=live)
        if not planes:
            return
        try:
            many = stain_together(self._engine, planes)
        except (EngineError, FrameError) as error:
            self._fail_in_engine(planes, error, live=live)
            return
        self._failures = 0
        # Of a group nobody knows what each plane took: each is given its share.
        engine_us = (time.monotonic_ns() - begun) // 1000 // len(planes)
        for number, (plane, stains) in enumerate(zip(planes, many, strict=True)):
            # Those after one with which a new background begins, or that filled the queue, wait for another turn.
            full = self._writer is not None and self._writer.full
            if number > 0 and (full or self._shades.find(plane.tag.key) is not plane.shade):
                return
            queued_us = (begun - plane.tag.received_ns) // 1000
            self._deliver(replace(plane.tag, queued_us=queued_us, engine_us=engine_us), plane, stains, live=live)

    def _ready(self, waiting: list[tuple[Tag, Counts]], *, live: bool) -> list[ReadyPlane]:
        """The planes up to the first that cannot be stained; that one fails when it is the first of all."""
        planes: list[ReadyPlane] = []
        for tag, image in waiting:
            try:
                planes.append(make_ready(tag, image, self._shades, self._model.card.contrast.constant))
            except FrameError as error:
                if not planes:
                    self._fail(tag.key, str(error), live=live)
                break
        return planes

    def _fail_in_engine(self, planes: list[ReadyPlane], error: EngineError | FrameError, *, live: bool) -> None:
        if isinstance(error, EngineLostError):
            raise error
        if len(planes) > 1:
            log.warning("%d planes together could not be stained, so they are one by one: %s", len(planes), error)
            self._alone = len(planes)
            return
        if isinstance(error, EngineMemoryError):
            raise error
        self._fail(planes[0].tag.key, str(error), live=live)
        if isinstance(error, EngineError):
            self._failures += 1
            if self._failures >= _FAILURES_IN_A_ROW:
                raise StainerError(f"{self._failures} planes in a row failed in the engine: {error}") from error

    def _deliver(self, tag: Tag, plane: ReadyPlane, stains: npt.NDArray[np.uint16], *, live: bool) -> None:
        """Check, show and store a stain."""
        contrast, shade = self._model.card.contrast, plane.shade
        check = check_input(
            plane.image, shade.background, contrast.constant, plane.gain,
            contrast.sd, contrast.saturated_max, contrast.gain,
        )  # fmt: skip
        for text in check.warnings:
            self._caution(f"input: {text}")
            self._say({"is": "warning", "text": f"input: {text}"})
        if live:
            self._show(tag, plane.image, stains, check)
        self._store(tag, stains, shade, check, live=live)
        self._keep(self._shades.note_stained(tag.key, plane.image, tag.exposure_us))

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
