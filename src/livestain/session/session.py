"""The public object: stains and records what a source delivers, one run after the other."""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn, Protocol

import numpy as np
from psygnal import Signal

from livestain.errors import EngineError, LivestainError, RunError
from livestain.frames import Frame, InputCheck, Key, Stain, Timing
from livestain.model.read import read_model
from livestain.session.intake import Intake, Sequence
from livestain.session.recording import Home, Recording
from livestain.session.results import Results
from livestain.session.status import Counters, Status
from livestain.settings import SessionSettings
from livestain.store.ledger import LedgerTail
from livestain.store.planes import PlaneReader
from livestain.store.run import next_free

log = logging.getLogger(__name__)

_POLL_S = 0.1
_ABANDON_S = 30.0


class Listener(Protocol):
    """A source's connection to the session, closed with it."""

    def close(self) -> None:
        """Disconnect."""
        ...


class Session:
    """Stains live and records, until closed; made by `livestain.attach`.

    Events (psygnal; emitted on a thread of ours, errors of listeners are caught, logged and counted):

    ``stained(Stain | LateStain)``
        A live result with its pixels (newest only), or the key and ledger row of a plane stained late.
    ``warning(str)``, ``status_changed(Status)`` (once a second), ``finished(str)`` (the run folder)

    All methods may be called from any thread but the acquisition's.
    """

    stained = Signal(object)
    warning = Signal(str)
    status_changed = Signal(object)
    finished = Signal(str)

    def __init__(
        self,
        model: Path | str,
        record: Path | str | None,
        settings: SessionSettings,
        planned: tuple[tuple[int, int], str] | None = None,
    ) -> None:
        """Make the first run folder and start the stainer; returns before the engine is ready.

        Raises
        ------
        UserError
            The model or the run folder cannot be used.
        """
        self.settings = settings
        self.model = read_model(model)
        self._record = Path(record).resolve() if record is not None else None
        self._planned = planned
        self._results = Results(self.stained.emit, self.warning.emit, lambda: self.status_changed.emit(self.status))
        self._recordings: list[Recording] = []
        self._followed = settings.follow
        self._staining_on = True
        self._viewers: set[object] = set()
        self._viewers_lock = threading.Lock()
        self._unrecorded = 0
        self._failures: list[str] = []
        self._listener: Listener | None = None
        self._closing, self._abandoned, self._closed = threading.Event(), threading.Event(), threading.Event()
        try:
            self._next_home: Home | None = self._make_home(first=True)
        except BaseException:
            self._results.close()
            raise
        self._to_open: queue.SimpleQueue[Recording | None] = queue.SimpleQueue()
        self._opener = threading.Thread(target=self._open_recordings, name="livestain-opener", daemon=True)
        self._opener.start()

    def __enter__(self) -> Session:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        # Ctrl-C: what was received is saved, the rest of the staining is left for later.
        self.close(drain=kind is None or not issubclass(kind, KeyboardInterrupt))

    # -- for users -------------------------------------------------------------------------------------------------

    @property
    def run(self) -> Path | None:
        """The folder of the newest run; None when nothing is recorded."""
        home = self._recordings[-1].home if self._recordings else self._next_home
        return home.folder.path if home is not None and home.folder is not None else None

    @property
    def status(self) -> Status:
        """A frozen snapshot of the newest run; cheap."""
        if self._recordings:
            return self._recordings[-1].status()
        home = self._next_home
        if home is None:
            return Status(staining=self._staining_on)
        return Status(
            run=str(self.run or ""), model=home.model.identity, caution=home.model.card.caution,
            engine=dict(home.staining.engine), warnings=home.warnings.all(),
            staining=self._staining_on and not home.staining.off,
        )  # fmt: skip

    def report(self) -> tuple[Status, ...]:
        """Return the status of every run of this session, in order."""
        return tuple(recording.status() for recording in self._recordings)

    @property
    def frames_at_risk(self) -> int | None:
        """How many frames can be in memory, without a row, at most: what a crash may cost; None before it is known."""
        if self._planned is None:
            return None
        (height, width), dtype = self._planned
        return max(1, self.settings.intake_max_bytes // (height * width * np.dtype(dtype).itemsize))

    def latest(self) -> Stain | None:
        """Return the newest live stain; None before the first."""
        return self._results.latest

    def wait(self, key: Key | tuple[int, int, int], timeout_s: float) -> Stain:
        """Wait until a plane of the newest run is stained, live or late, and return its stain.

        Raises
        ------
        TimeoutError
            It was not stained within ``timeout_s``.
        EngineError
            It cannot be stained; the text is the reason in its ledger row.
        """
        key = Key(*key)
        until = time.monotonic() + timeout_s
        seen: Home | None = None
        while True:
            home = self._recordings[-1].home if self._recordings else None
            if home is not seen:
                seen, tail = home, LedgerTail(home.stains / "ledger.jsonl") if home and home.stains else None
            if home is not None:
                latest = home.staining.latest
                if latest is not None and latest.key == key:
                    return latest
            if home is not None and home.stains is not None and tail is not None:
                for row in tail.new_rows():
                    if "state" in row and (row["p"], row["t"], row["z"]) == key:
                        return _read_stain(home.stains, row, self.model.stains)
            left = until - time.monotonic()
            if left <= 0:
                raise TimeoutError(f"plane {key} was not stained within {timeout_s:g} s: {self.status.counters}")
            self._results.wait_change(min(left, 0.25))

    def close(self, drain: bool = True, timeout_s: float | None = None) -> None:
        """End the session: what was received is saved, and stained too if ``drain``; the source is left as found.

        Blocks until done, or until ``timeout_s`` have passed; then, and without ``drain``, planes without a stain are
        left behind and named in the run. May be called twice, also from a second thread: ``drain=False`` then ends the
        draining of the first call.
        """
        if not drain:
            self._abandoned.set()
        if self._closing.is_set():
            if not self._results.is_telling:  # else the first call waits for this listener
                self._closed.wait(timeout_s)
            return
        self._closing.set()
        if self._listener is not None:
            self._listener.close()
        try:
            self._wait_finished(None if timeout_s is None else time.monotonic() + timeout_s)
        finally:  # also when Ctrl-C comes while we wait
            self._abandoned.set()
            for recording in self._recordings:
                if not recording.finished.is_set():
                    recording.abandon()
            for recording in self._recordings:
                recording.finished.wait(_ABANDON_S)
            self._to_open.put(None)
            self._opener.join()
            self._discard_next_home()
            self._results.close()
            self._closed.set()

    # -- for viewers -----------------------------------------------------------------------------------------------

    @property
    def sequence(self) -> Sequence | None:
        """What is known of the newest run before its first frame; None before the first run."""
        return self._recordings[-1].sequence if self._recordings else None

    @property
    def began_s(self) -> float | None:
        """Monotonic clock at the newest run's first frame, in seconds; None before it."""
        first_ns = self._recordings[-1].intake.first_ns if self._recordings else 0
        return first_ns / 1e9 if first_ns else None

    @property
    def extent(self) -> tuple[int, int, int]:
        """Numbers of positions, time points and z sections received so far in the newest run."""
        return self._recordings[-1].publisher.extent if self._recordings else (0, 0, 0)

    @property
    def counters(self) -> Counters:
        """Of the newest run, at this moment; cheaper than `status`."""
        return self._recordings[-1].counters() if self._recordings else Counters()

    @property
    def followed(self) -> tuple[int, int] | None:
        """The (position, z) that is stained live; None: every one, newest first."""
        return self._followed

    @property
    def staining(self) -> bool:
        """Whether staining is switched on; `Status.staining` says whether it is done."""
        return self._staining_on

    @property
    def why_unstained(self) -> str:
        """Why frames that come now are not stained at once, in a few words; empty when they are."""
        if not self._staining_on:
            return "staining is off"
        return self._recordings[-1].why_unstained if self._recordings else ""

    def follow(self, place: tuple[int, int] | None) -> None:
        """Stain the frames of this (position, z) live from now on, the others late; None: every one, newest first."""
        self._followed = place
        for recording in list(self._recordings):
            recording.publisher.follow(place)

    def set_staining(self, on: bool) -> None:
        """Switch staining off or on again, in this run and those after it.

        Planes received while it is off are recorded and get a stain row ``skipped``. What was recorded before and has
        no stain yet is stained when it is on again, or at the end.
        """
        self._staining_on = on
        for recording in list(self._recordings):
            recording.set_staining(on)

    def want_pictures(self, viewer: object, wanted: bool) -> None:
        """Say whether this viewer needs live stains with ``image`` and ``halves``; they are made while one does."""
        if wanted == (viewer in self._viewers):
            return
        with self._viewers_lock:
            (self._viewers.add if wanted else self._viewers.discard)(viewer)
            homes = [self._next_home, *(recording.home for recording in list(self._recordings))]
            for home in homes:
                if home is not None:
                    home.staining.want_pictures(bool(self._viewers))

    def latest_frames(self) -> dict[str, Frame]:
        """Return the newest frame of each channel at the followed place: channel -> frame; references, no copies.

        Empty before the first frame and after the end of a run.
        """
        return self._recordings[-1].latest_frames() if self._recordings else {}

    def note(self, text: str, key: Key | None = None) -> None:
        """Note something about a plane of the newest run, or about the run, in its raw ledger.

        Returns at once while the run is recorded (the row is written within a second), else after some ms.

        Raises
        ------
        UserError
            The text, made one line, is empty or longer than 2000 characters.
        RunError
            No run has begun, or nothing is recorded.
        StoreError
            The disk does not take it.
        """
        if self._record is None:
            raise RunError("nothing is recorded: a note has no place; give the session a run folder")
        if not self._recordings:
            raise RunError("no run has begun: a note is possible from its start on")
        self._recordings[-1].note(text, key)

    # -- for sources -----------------------------------------------------------------------------------------------

    def listen(self, listener: Listener) -> None:
        """Remember the source's connection, to be closed with the session."""
        self._listener = listener

    def begin_run(self, sequence: Sequence) -> Intake:
        """Begin the next run and return its intake at once; called on the acquisition thread."""
        recording = Recording(sequence, self.settings, self._followed, self._staining_on)
        self._recordings.append(recording)
        self._to_open.put(recording)
        return recording.intake

    def count_unrecorded(self) -> None:
        """Count a frame that came while no run was open (its beginning failed)."""
        self._unrecorded += 1
        self._results.warn(f"{self._unrecorded} frames came while no run was open: they are not recorded")

    def report_failure(self, what: str, error: Exception) -> None:
        """Note an error of ours that the acquisition must not feel."""
        log.exception("%s", what, exc_info=error)
        self._failures.append(f"{what}: {error!r}")
        self._results.warn(self._failures[-1])

    # -- on threads of ours ----------------------------------------------------------------------------------------

    def _open_recordings(self) -> None:
        """Open each run as it begins, and keep the PC awake until the session is closed (where the system lets us)."""
        import wakepy

        with wakepy.keep.running(on_fail="pass"):
            while (recording := self._to_open.get()) is not None:
                self._open_recording(recording)

    def _open_recording(self, recording: Recording) -> None:
        try:
            home, self._next_home = self._next_home or self._make_home(first=False), None
        except (LivestainError, OSError) as error:
            self._fail(recording, error)
        else:
            self._start(recording, home)

    def _start(self, recording: Recording, home: Home) -> None:
        try:
            home.staining.want_pictures(bool(self._viewers))
            recording.open(home, self._told_finished(home))
            # What was chosen while the run began.
            recording.publisher.follow(self._followed)
            recording.set_staining(self._staining_on)
        except (LivestainError, OSError) as error:  # such as: its folder was deleted since
            home.staining.kill()
            home.close()
            self._fail(recording, error)

    def _fail(self, recording: Recording, error: Exception) -> None:
        text = f"the run could not be opened, nothing of it is recorded: {error}"
        log.error("%s", text)
        self._results.warn(text)
        recording.fail(text)

    def _told_finished(self, home: Home) -> Callable[[], None]:
        path = str(home.folder.path) if home.folder else ""
        return lambda: self._results.call(lambda: self.finished.emit(path))

    def _make_home(self, *, first: bool) -> Home:
        record = self._record
        if record is not None and not first:
            record = next_free(record)
        return Home(self.model, record, self.settings, self._results, self._planned)

    def _discard_next_home(self) -> None:
        """A session that saw no sequence: its run closes with zeros."""
        home, self._next_home = self._next_home, None
        if home is None:
            return
        home.staining.kill()
        home.staining.ended.wait(10)
        recording = Recording(Sequence(None, _no_frame, _no_frame, why="no sequence was run"), self.settings)
        self._recordings.append(recording)
        self._start(recording, home)
        recording.intake.end()
        recording.finished.wait(10)

    def _wait_finished(self, until: float | None) -> None:
        """Wait for every run to be stained; ends early when the time is up or the rest is to be left."""
        for recording in self._recordings:
            while not recording.finished.wait(_POLL_S) and not self._abandoned.is_set():
                if until is not None and time.monotonic() > until:
                    return


def _no_frame(_: object) -> NoReturn:
    raise RunError("no frame can come")


def _read_stain(folder: Path, row: dict[str, Any], names: tuple[str, ...]) -> Stain:
    """Read a plane that has its row back from disk."""
    if row["state"] != "ok":
        raise EngineError(f"plane p{row['p']} t{row['t']} z{row['z']} is not stained: {row['reason']}")
    reader = PlaneReader(folder / f"p{row['p']:03d}.ome.zarr")
    key = Key(row["p"], row["t"], row["z"])
    stains = np.stack([reader.read(key.t, c, key.z) for c in range(len(names))])
    timing = Timing(row["queued_ms"], row["engine_ms"], row["queued_ms"] + row["engine_ms"])
    check = InputCheck(row["input"]["sd"], row["input"]["saturated"], row["gain"])
    return Stain(key, stains, names, str(row["engine"]), bool(row["live"]), timing, check)
