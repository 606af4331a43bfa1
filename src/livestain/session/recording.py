"""One run from its first frame to its last stain: the threads and files that belong to it."""

from __future__ import annotations

import logging
import logging.handlers
import shutil
import threading
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

from livestain.errors import LivestainError, RunError, StoreError
from livestain.frames import Frame, Key
from livestain.model.read import Model
from livestain.session.forecast import disk_rate, doubts
from livestain.session.intake import Intake, Sequence
from livestain.session.notes import Notes
from livestain.session.publisher import Publisher
from livestain.session.recorder import Passer, Recorder, is_recordable, make_frame
from livestain.session.results import Results
from livestain.session.staining import Staining
from livestain.session.status import Counters, Latencies, Rate, Status, Warnings, debt
from livestain.settings import SessionSettings
from livestain.stainer.backlog import KINDS
from livestain.stainer.job import Job
from livestain.stainer.slots import sweep
from livestain.stainer.switch import Switch
from livestain.store.run import RunFolder, add_note, note_row

log = logging.getLogger(__name__)

_TICK_S = 1.0
_LOG_BYTES = 1 << 20


class Home:
    """What a run needs before its first frame comes: its folder (or none), its log, its stainer warming up."""

    def __init__(
        self,
        model: Model,
        record: Path | None,
        settings: SessionSettings,
        results: Results,
        planned: tuple[tuple[int, int], str] | None,
    ) -> None:
        """Make the folder and start the stainer; `RunError` when the folder cannot be made."""
        self.model, self.settings, self.results = model, settings, results
        self.warnings = Warnings()
        if settings.isolate:
            sweep()
        self.folder: RunFolder | None = None
        self.disk_rate = 0.0
        self._handler: logging.Handler | None = None
        try:
            self._make_folder(record)
            self.stains = self._stain_folder(model)
            self.staining = self._start_stainer(planned)
        except BaseException:
            self.close()
            raise

    def warn(self, text: str) -> None:
        """Note a warning: logged and told to listeners when it is new."""
        if self.warnings.add(text):
            log.warning("%s", text)
            self.results.warn(text)

    def close(self) -> None:
        """Release the folder and the log."""
        if self.folder is not None:
            self.folder.close()
        if self._handler is not None:
            logging.getLogger("livestain").removeHandler(self._handler)
            self._handler.close()

    def _make_folder(self, record: Path | None) -> None:
        if record is None:
            return
        self.folder = RunFolder.create(record, self.settings.model_dump(mode="json"))
        self._handler = _log_to(self.folder.log_path)
        try:
            self.disk_rate = disk_rate(self.folder.path)
        except OSError as error:
            raise RunError(f"{record} takes no data ({error.strerror or error}): choose a disk with room") from error
        log.info("the disk takes %.0f MiB/s", self.disk_rate / 2**20)

    def _start_stainer(self, planned: tuple[tuple[int, int], str] | None) -> Staining:
        shape, dtype = planned or (None, "uint16")
        job = Job(
            model=self.model.folder, raw=self.folder.raw if self.folder else None,
            stains=self.stains, backend=self.settings.backend, fsync=self.settings.fsync,
            queue_bytes=self.settings.stain_queue_bytes, planned_shape=shape, planned_dtype=dtype,
        )  # fmt: skip
        if job.black == 0:
            log.info("camera offset (black) is not known and taken as 0 counts")
        errors = self.folder.path / "stainer-errors.txt" if self.folder else None
        return Staining(self.model, job, self.settings, self.results, self.warn, errors)

    def _stain_folder(self, model: Model) -> Path | None:
        if self.folder is None:
            return None
        stains = self.folder.stains(model.id, model.weights_sha256)
        for name in ("rdf.yaml", "README.md"):
            if (model.folder / name).is_file():
                shutil.copyfile(model.folder / name, stains / "model" / name)
        return stains


class Recording:
    """A run that has begun. The intake takes frames at once; everything else starts when `open` is called."""

    def __init__(
        self,
        sequence: Sequence,
        settings: SessionSettings,
        follow: tuple[int, int] | None = None,
        staining: bool = True,
    ) -> None:
        """Cheap: called on the acquisition thread."""
        self.sequence, self.settings = sequence, settings
        self.publisher = Publisher(follow, sequence.facts)
        self.notes = Notes()
        self.intake = Intake(settings, sequence, self.publisher.show)
        self.finished = threading.Event()
        self.home: Home | None = None
        self.failure = ""
        self._recorder: Recorder | Passer | None = None
        self._latencies = Latencies()
        self._frames, self._stains = Rate(), Rate()
        self._rates: tuple[float | None, float | None] = None, None
        # A second's rate jumps, and what is said to be left with it.
        self._steady = Rate(span_s=10, least_s=5)
        self._steady_rate: float | None = None
        self._recorded = threading.Event()
        self._abandoned = self._closed = False
        self._bytes_per_frame = 0
        self._switch = Switch()
        self.set_staining(staining)

    def open(self, home: Home, on_finished: Callable[[], None]) -> None:
        """Start to record and stain; ``on_finished`` is called when all is done, on a thread of ours."""
        self.home = home
        self._on_finished = on_finished
        if self.sequence.label_free is None:
            home.warn(f"nothing is stained: {self.sequence.why}")
            home.staining.kill()
        else:
            home.staining.set_switch(self._switch)
            home.staining.publish_from(self.publisher)
            if not self.sequence.pixel_um:
                trained_um = home.model.card.trained_pixel_um
                at = f"at {trained_um:g} um" if trained_um else "on images that did not state theirs"
                home.warn(f"the pixel size is not known: the model was trained {at}")
        if home.folder is None:
            self._recorder = Passer(self.intake, self.sequence, on_first=self._prepare, on_end=self._finish)
        else:
            self._recorder = Recorder(
                home.folder, self.intake, self.sequence, self.settings, self._latencies,
                on_first=self._prepare, on_end=self._finish, warn=home.warn, notes=self.notes,
            )  # fmt: skip
        threading.Thread(target=self._watch, name="livestain-watchdog", daemon=True).start()
        if self._abandoned:
            home.staining.abandon()

    def fail(self, why: str) -> None:
        """The run could not be opened: every frame counts as failed."""
        self.home, self.failure = None, why
        self.notes.close()
        self._recorder = Passer(self.intake, self.sequence, on_first=lambda _: None, on_end=self._finish_failed)

    def set_staining(self, on: bool) -> None:
        """Stain the frames that come from now on, or leave them out; nothing changes where it is so already."""
        if on == self._switch.is_on:
            return
        self._switch = Switch([*self._switch.changes, (self.intake.received, on)])
        self.publisher.resting = not on
        if self.home is not None:
            self.home.staining.set_switch(self._switch)

    @property
    def why_unstained(self) -> str:
        """Why frames that come now are not stained at once, in a few words; empty when they are."""
        if self.sequence.label_free is None:
            return "this run has no label-free channel"
        if self.home is not None and self.home.staining.off:
            return "staining has ended: see the warnings"
        return "" if self.home is not None and self.home.staining.engine else "the engine is warming up"

    def note(self, text: str, key: Key | None) -> None:
        """Write a note into the raw ledger: by the recorder, or, when that has ended, at once."""
        if self.notes.put(note_row(text, key)):
            return
        folder = self.home.folder if self.home is not None else None
        if folder is None:
            raise RunError(f"a note has no place: {self.failure or 'nothing is recorded'}")
        self._recorded.wait(_TICK_S)  # from the recorder's last row to the release of its lock: some ms
        add_note(folder.path, text, key)

    def latest_frames(self) -> dict[str, Frame]:
        """Return the newest frame of each channel at the followed place; references, no copies."""
        items = [item for item in self.publisher.newest if is_recordable(item.image)]
        return {item.channel: make_frame(item, self.sequence) for item in items}

    def counters(self) -> Counters:
        """Return the counters as they stand."""
        recorder, received = self._recorder, self.intake.received
        saved, failed, labelfree = (recorder.saved, recorder.failed, recorder.labelfree) if recorder else (0, 0, 0)
        if self.failure:
            saved, failed, labelfree = 0, saved + failed, 0
        totals = dict.fromkeys(KINDS, 0)
        if self.home is not None and labelfree:
            totals = {name: self.home.staining.totals[name] for name in KINDS}
            if self.home.folder is None:
                totals["live"] = min(self.home.staining.shown, labelfree)
                totals["skipped"] = labelfree - totals["live"]
        behind = max(0, labelfree - sum(totals.values()))
        waiting = max(0, received - saved - failed)
        return Counters(received, saved, failed, waiting, labelfree, **totals, behind=behind)

    def status(self) -> Status:
        """Return a snapshot; cheap, any thread."""
        home = self.home
        counters = self.counters()
        state = "closed" if self._closed else "finishing" if self._recorded.is_set() else "recording"
        if home is None:
            warnings = (self.failure,) if self.failure else ()
            return Status(state=state, counters=counters, warnings=warnings, staining=self._is_staining)
        folder = home.folder
        disk_free, disk_left = self._disk()
        return Status(
            state=state,
            run=str(folder.path) if folder else "",
            source=self.settings.source,
            planned=self.sequence.planes,
            model=home.model.identity,
            caution=home.model.card.caution,
            counters=counters,
            frames_per_s=self._rates[0],
            stains_per_s=self._rates[1],
            mean_frames_per_s=self._mean_rate(),
            latency_ms={**self._latencies.percentiles(), **home.staining.latencies.percentiles()},
            engine=dict(home.staining.engine),
            debt_s=debt(counters.behind, self._steady_rate),
            memory_mib=_memory_mib(home.staining.memory_bytes()),
            disk_free_gib=disk_free,
            disk_left_s=disk_left,
            warnings=home.warnings.all(),
            staining=self._is_staining,
            input=home.staining.latest.input if home.staining.latest else None,
        )

    def abandon(self) -> None:
        """Stop staining; what is received is still recorded."""
        self._abandoned = True
        if self.home is not None:
            self.home.staining.abandon()

    @property
    def _is_staining(self) -> bool:
        ended = bool(self.failure) or (self.home is not None and bool(self.home.staining.off))
        return self._switch.is_on and self.sequence.label_free is not None and not ended

    # -- on threads of ours ---------------------------------------------------------------------------------------

    def _prepare(self, frame: Frame) -> None:
        home = self.home
        if home is None:
            return
        self._bytes_per_frame = frame.image.nbytes + 2 * frame.image.size * len(home.model.stains)
        (low, high), trained_um = home.model.card.pixel_um_tolerated, home.model.card.trained_pixel_um
        if frame.pixel_um and trained_um is None:
            home.warn(
                f"pixel size {frame.pixel_um:g} um: the model was trained on images that did not state theirs, so "
                "whether its stain is to be trusted here is not known"
            )
        elif frame.pixel_um and not low <= frame.pixel_um <= high:
            home.warn(
                f"pixel size {frame.pixel_um:g} um: the model was trained at {trained_um:g} um "
                f"(tolerates {low:g} to {high:g}); its stain is not to be trusted here"
            )
        if home.folder is not None:
            for doubt in doubts(self.sequence, self._bytes_per_frame, home.disk_rate, home.folder.path):
                home.warn(doubt)
        home.staining.prepare(frame, self.sequence.z_um, self.sequence.interval_s)

    def _finish(self) -> None:
        """Everything received is on disk (the recorder's last act): release raw, let the stainer finish."""
        home = self.home
        if home is None:
            return
        if home.folder is not None:
            home.folder.close()
        home.staining.finish(home.warnings.all())
        self._recorded.set()

    def _finish_failed(self) -> None:
        self.publisher.close()
        self._closed = True
        self.finished.set()

    def _watch(self) -> None:
        """The watchdog: once a second rates, silence, ``run.json``; at the end the last ``run.json``."""
        home = self.home
        if home is None:
            return
        while not (self._recorded.is_set() and home.staining.ended.is_set()):
            (home.staining.ended if self._recorded.is_set() else self._recorded).wait(_TICK_S)
            try:
                self._look_after(home)
            except Exception as error:
                log.exception("the watchdog failed")
                home.warn(f"the watchdog failed: {error!r}")
        self.publisher.close()
        if not home.staining.closed_properly:
            self._settle(home)
        self._closed = True
        self._write_state(home, force=True)
        home.close()
        self._on_finished()
        self.finished.set()  # last: the program may end at once now

    def _look_after(self, home: Home) -> None:
        counters, now_s = self.counters(), time.monotonic()
        stained = counters.live + counters.late
        self._rates = self._frames.update(now_s, counters.received), self._stains.update(now_s, stained)
        self._steady_rate = self._steady.update(now_s, stained)
        home.staining.watch()
        self._write_state(home, force=False)
        home.results.status_changed()

    def _settle(self, home: Home) -> None:
        """The stainer did not close: the ledgers say how far it came."""
        if home.folder is None or self.sequence.label_free is None:
            return
        from livestain.store.read import open_run

        try:
            found = open_run(home.folder.path).counters()
        except LivestainError as error:
            home.warn(f"the run cannot be read back: {error}")
            return
        home.staining.totals = {name: int(found[name]) for name in KINDS}

    def _write_state(self, home: Home, *, force: bool) -> None:
        if home.folder is None or not home.folder.path.exists():
            return
        fields: dict[str, object] = {
            "label_free": self.sequence.label_free,
            "model": {
                "id": home.model.id, "weights_sha256": home.model.weights_sha256, "caution": home.model.card.caution,
            },
            "engine": home.staining.engine,
            "counters": asdict(self.counters()),
            "warnings": home.warnings.all(),
        }  # fmt: skip
        if force:
            fields["closed"] = time.time()
            fields["latency_ms"] = self.status().latency_ms
        try:
            home.folder.write_state(force=force, **fields)
        except StoreError as error:
            home.warn(f"run.json could not be written: {error}")

    def _mean_rate(self) -> float | None:
        seconds = (self.intake.last_ns - self.intake.first_ns) / 1e9
        return round((self.intake.received - 1) / seconds, 2) if seconds > 0 else None

    def _disk(self) -> tuple[float | None, float | None]:
        """Free space in GiB, and for how many seconds it lasts at the rate of frames seen."""
        folder = self.home.folder if self.home else None
        if folder is None:
            return None, None
        try:
            free = shutil.disk_usage(folder.path).free
        except OSError:
            return None, None
        need = (self._rates[0] or 0.0) * self._bytes_per_frame
        return round(free / 2**30, 1), round(free / need, 1) if need else None


def _memory_mib(child_bytes: int) -> float:
    import psutil

    return round((psutil.Process().memory_info().rss + child_bytes) / 2**20, 1)


def _log_to(path: Path) -> logging.Handler:
    """Let the package's log records of this process go to the run's rotating log file."""
    handler = logging.handlers.RotatingFileHandler(path, maxBytes=_LOG_BYTES, backupCount=3, encoding="utf-8")
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    logger = logging.getLogger("livestain")
    logger.addHandler(handler)
    logger.setLevel(min(logger.level or logging.INFO, logging.INFO))
    return handler
