"""The staining of one run: starts the stainer, follows what it says, restarts it, and in the end goes without it."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args

import numpy as np

from livestain.frames import Frame, InputCheck, Key, Stain, Timing
from livestain.model.read import Model
from livestain.session.publisher import Publisher
from livestain.session.results import Results
from livestain.session.stainers import Stainer, StainerProcess, StainerThread
from livestain.session.status import Latencies
from livestain.settings import Backend, SessionSettings, is_installed
from livestain.stainer.backlog import KINDS
from livestain.stainer.job import Geometry, Job, Message
from livestain.stainer.slots import Slot, result_parts
from livestain.stainer.switch import Switch

log = logging.getLogger(__name__)

_START_S = 300.0
_GOES_WELL = 100
_SILENT_S = 2.0
_SILENT_TIMES = 10
_STARVED_TIMES = 10

_CHAIN: tuple[Backend, ...] = get_args(Backend)[1:]
"""The libraries in the order in which ``auto`` takes them, in a run as at its beginning."""


class Staining:
    """Keeps one stainer at work for one run.

    A stainer that ends without having closed, or falls silent, is started again once, then (backend ``auto``) with the
    next backend, and the next; when its device is lost or full, with the next at once. All of them compute in the
    precision that the run began with: where none is left that can, staining is off for the run; recording never
    notices. Messages arrive on the stainer's own thread; `prepare`, `finish` and `watch` come from the recorder and
    the watchdog.
    """

    def __init__(
        self,
        model: Model,
        job: Job,
        settings: SessionSettings,
        results: Results,
        warn: Callable[[str], None],
        errors: Path | None,
    ) -> None:
        self.totals = dict.fromkeys(KINDS, 0)
        self.shown = 0
        self.latest: Stain | None = None
        self.engine: dict[str, object] = {}
        self.latencies = Latencies()
        self.off = ""
        self.ended = threading.Event()
        self.closed_properly = False
        self._model, self._job, self._settings = model, job, settings
        self._results, self._warn, self._errors = results, warn, errors
        self._lock = threading.RLock()
        self._publisher: Publisher | None = None
        self._geometry: Geometry | None = None
        self._slots: tuple[Slot, Slot] | None = None
        self._pictures = False
        self.switch = Switch()
        self._finishing = False
        self._close_message: Message = {"do": "close", "cautions": []}
        self._warm_ms: float | None = None
        self._plans: list[Job] = [job]
        self._failed: Message = {}
        self._ends: list[str] = []
        self._is_ready = self._began_again = False
        self._stained_then = 0
        self._heard_s = time.monotonic()
        self._cpu_s: float | None = None
        self._stainer: Stainer | None = None
        self._start(job)

    # -- the session's side ----------------------------------------------------------------------------------------

    def publish_from(self, publisher: Publisher) -> None:
        """Take live frames from this publisher."""
        with self._lock:
            self._publisher = publisher
            self._connect()

    def prepare(self, frame: Frame, z_um: float, interval_s: float) -> None:
        """Say what the frames are like, at the first one."""
        with self._lock:
            self._geometry = Geometry(
                shape=(frame.image.shape[0], frame.image.shape[1]), dtype=str(frame.image.dtype),
                pixel_um=frame.pixel_um, z_um=z_um, interval_s=interval_s,
            )  # fmt: skip
            self._connect()

    def finish(self, cautions: tuple[str, ...]) -> None:
        """Everything is recorded: stain what is left, then end; ``ended`` is set when done.

        ``cautions`` (what was warned of) go into the metadata of the stains.
        """
        with self._lock:
            self._finishing = True
            self._close_message = {"do": "close", "cautions": list(cautions)}
            self._send(self._close_message)
            if self._stainer is None:
                self.ended.set()

    def want_pictures(self, wanted: bool) -> None:
        """Let live stains bring their plane and half-size copies, or not; a stainer started later is told, too."""
        with self._lock:
            if wanted != self._pictures:
                self._pictures = wanted
                self._send({"do": "pictures", "wanted": wanted})

    def set_switch(self, switch: Switch) -> None:
        """Leave out the frames for which staining is switched off; a stainer started later is told, too."""
        with self._lock:
            self.switch = switch
            self._send({"do": "switch", "changes": switch.changes})

    def abandon(self) -> None:
        """End now; what is not stained stays behind."""
        with self._lock:
            self._plans = []
            self._finishing = True
            if self._stainer is not None:
                self._send({"do": "quit"})

    def kill(self) -> None:
        """End at once."""
        with self._lock:
            self._plans = []
            if self._stainer is not None:
                self._stainer.kill()

    def watch(self) -> None:
        """Once a second: a stainer that owes an answer for too long is killed (and so started again).

        On a machine whose cores are full a process of low priority may wait long for its turn: one that wants to run
        and hardly could is given ten times as long.
        """
        with self._lock:
            stainer = self._stainer
            if stainer is None:
                return
            waited_s, limit_s = time.monotonic() - self._heard_s, self._patience_s()
            used_s = stainer.cpu_s()
            if waited_s <= limit_s:
                self._cpu_s = used_s
                return
            starved = used_s is not None and self._cpu_s is not None and used_s - self._cpu_s < limit_s / 2
            if waited_s > (_STARVED_TIMES if starved else 1) * limit_s:
                self._warn("the stainer has fallen silent and is ended")
                stainer.kill()
                self._heard_s = time.monotonic()

    def memory_bytes(self) -> int:
        """Resident memory of the stainer process."""
        stainer = self._stainer
        return stainer.memory_bytes() if stainer is not None else 0

    def _patience_s(self) -> float:
        """How long it may say nothing: 2 s and 10 times its usual time; it speaks once a second when it is warm."""
        if self._warm_ms is None:
            return _START_S
        usual_ms = self.latencies.percentiles().get("engine", (self._warm_ms,))[0]
        return max(_SILENT_S, _SILENT_TIMES * usual_ms / 1e3)

    # -- the stainer's side ----------------------------------------------------------------------------------------

    def _start(self, job: Job) -> None:
        with self._lock:
            self._warm_ms = None
            self._failed, self._is_ready = {}, False
            self._heard_s = time.monotonic()
            if self._settings.isolate:
                self._stainer = StainerProcess(job, self._errors, self._on_message, self._on_exit)
            else:
                self._stainer = StainerThread(job, self._on_message, self._on_exit)
            self._slots = None
            self._send({"do": "pictures", "wanted": self._pictures})
            self._send({"do": "switch", "changes": self.switch.changes})
            self._connect()
            if self._finishing:
                self._send(self._close_message)

    def _connect(self) -> None:
        """Give the stainer its slots once frames are known, and the publisher the frame slot."""
        if self._stainer is None or self._geometry is None:
            return
        if self._slots is None:
            self._slots = self._stainer.prepare(self._geometry, len(self._model.stains))
        if self._publisher is not None:
            self._publisher.use(self._slots[0], lambda: self._send({"do": "look"}))

    def _send(self, message: Message) -> None:
        stainer = self._stainer
        if stainer is not None:
            stainer.send(message)

    def _on_message(self, message: Message) -> None:
        self._heard_s = time.monotonic()
        match message["is"]:
            case "ready":
                self._is_ready = True
                if self.engine and self.engine["backend"] != message["engine"]["backend"]:
                    self.latencies = Latencies()  # of another device: nothing to be patient by
                self.engine = {"id": message["id"], **message["engine"]}
                log.info("engine ready after %.0f ms: %s", message["ms"], self.engine["reason"])
            case "warm":
                self._warm_ms = message["ms"]
            case "live":
                self._take_live(message)
                self._answered()
            case "idle":
                self._answered()
            case "rows":
                self._take_rows(message)
            case "warning":
                self._warn(message["text"])
            case "failed":
                self._failed = message
            case "log":
                log.log(message["level"], "stainer: %s", message["text"])
            case "closed":
                self.closed_properly = True
                self.totals = {name: message[name] for name in self.totals}

    def _answered(self) -> None:
        if self._publisher is not None:
            self._publisher.answered()

    def _take_live(self, message: Message) -> None:
        slots, geometry = self._slots, self._geometry
        if slots is None or geometry is None:
            return
        # Read into memory that the stain then owns: one copy; parts that nobody wants are not made.
        parts = result_parts(geometry.shape, geometry.dtype, len(self._model.stains))
        arrays: list[Any] = [np.empty(*part) for part in (parts if self._pictures else parts[:1])]
        tag = slots[1].read(arrays)
        if tag is None:
            return
        total_ms = (time.monotonic_ns() - tag.received_ns) / 1e6
        timing = Timing(tag.queued_us / 1e3, tag.engine_us / 1e3, total_ms)
        self.latencies.add("queued", timing.queued_ms)
        self.latencies.add("engine", timing.engine_ms)
        self.latencies.add("total", timing.total_ms)
        check = InputCheck(**{**message["input"], "warnings": tuple(message["input"]["warnings"])})
        self.shown += 1
        whole = tag.parts == len(parts)
        self.latest = Stain(
            tag.key, arrays[0], self._model.stains, message["engine"], True, timing, check, tag.received_ns / 1e9,
            image=arrays[1] if whole else None, halves=(arrays[3], arrays[2]) if whole else None,
        )  # fmt: skip
        self._results.show(self.latest)

    def _take_rows(self, message: Message) -> None:
        self.totals = {name: message[name] for name in self.totals}
        row = message["row"]
        if row is None:
            return
        key = Key(row["p"], row["t"], row["z"])
        if row["state"] == "failed":
            self._warn(f"planes are not stained: {row['reason']}")
        elif row["state"] == "ok" and not row["live"]:
            self.latencies.add("engine", row["engine_ms"])
        self._results.note_row(key, row)

    def _on_exit(self, how: str) -> None:
        with self._lock:
            self._stainer, self._slots = None, None
            if self._publisher is not None:
                self._publisher.use(None, lambda: None)
            if self.closed_properly or not self._plans:
                self.ended.set()
                return
            why = str(self._failed.get("text", how))
            self._ends.append(f"{self._used}: {why}")
            follow = self._next_plan()
            if follow is None:
                self.off = self._why_off()
                self._warn(self.off)
                self.ended.set()
                return
            self._warn(f"the stainer ended ({why}) and is started again with backend {follow.backend!r}")
            self._plans.append(follow)
            self._start(follow)

    @property
    def _used(self) -> str:
        """The backend of the stainer that ended; "auto" when it had not come so far as to choose."""
        backend = self._plans[-1].backend
        return str(self.engine["backend"]) if backend == "auto" and self._is_ready else backend

    def _next_plan(self) -> Job | None:
        """What to try now: the same once more, unless it cannot help, then each backend after it, then nothing."""
        fixed = {"precision": self.engine["precision"]} if self.engine else {}
        used = self._used
        helps = self._is_ready or len(self._plans) == 1
        if self._stained() - self._stained_then >= _GOES_WELL:
            self._began_again = False  # a crash a day is not a broken engine
        if helps and not self._began_again and not (self._failed.get("lost") and self._job.backend == "auto"):
            self._began_again = True
            self._stained_then = self._stained()
            return self._job.model_copy(update={"backend": used, **fixed})
        if self._job.backend != "auto":
            return None
        after = _CHAIN[_CHAIN.index(used) + 1 :] if used in _CHAIN else _CHAIN[1:]
        following = next((name for name in after if is_installed(name)), None)
        return None if following is None else self._job.model_copy(update={"backend": following, **fixed})

    def _stained(self) -> int:
        return self.totals["live"] + self.totals["late"]

    def _why_off(self) -> str:
        left = "no engine is left"
        if self._job.backend != "auto":
            left = f"{self._job.backend}, which was asked for, does not go on"
        elif self.engine:
            left = f"no engine is left that computes in {self.engine['precision']}, as this run does"
        return (
            f"staining is off for this run: {left} ({'; '.join(self._ends)}). "
            "Recording goes on; these planes have no stain"
        )
