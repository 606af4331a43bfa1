"""A session as a feed of pictures: the newest stain beside the frame it was made from."""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace

import numpy as np

from livestain.errors import StoreError
from livestain.frames import Counts, Frame, Key, Stain
from livestain.session.results import LateStain
from livestain.session.session import Session
from livestain.stainer.half import half_size
from livestain.store.planes import PlaneReader
from livestain.store.run import LEDGER_FILE, image_path
from livestain.view.history import History
from livestain.view.mailbox import Mailbox
from livestain.view.picture import NO_STAIN_YET, LayerInfo, Marks, Picture
from livestain.view.recorded import MEASURED_COLORS

log = logging.getLogger(__name__)

NOT_THERE = "no frame of this time point yet"

_LOOK_S = 1 / 30
_SLOWLY_S = 1.0
_PATIENCE_S = 0.5
_END_S = 2.0


class LiveFeed:
    """The `livestain.view.picture.Feed` of a session; several may watch one.

    A picture shows the newest live stain with its own frame, and measured planes of the same key as they come. Where
    no stain comes (before the first, staining off, none within half a second and twice the last one's time) it shows
    the newest label-free frame, and the states of the stains say why.

    The layers are fixed when the feed is made: measured channels are among them where ``channels`` names them or a
    run has begun. One thread makes the pictures; while paused it sleeps, and the stainer makes nothing for us.
    """

    is_live = True

    def __init__(self, session: Session, channels: Sequence[str] = ()) -> None:
        """Read what is known now; ``channels`` are the names that the first run will record, where known."""
        self._session = session
        self.layers = _layers(session, channels)
        self.caution = session.model.card.caution
        self.title = self.problem = ""
        self.pixel_um = self.interval_s = 0.0
        self.time_points = 0
        """How many are planned; 0 where that is not known."""
        self._measured = [i for i, layer in enumerate(self.layers) if layer.kind == "measured"]
        self._passed_over: set[str] = set()
        self._mailbox = Mailbox()
        self._news = threading.Event()
        self._stains: deque[Stain] = deque(maxlen=1)
        self._paused = self._closed = self._marks_wanted = False
        self._history: History | None = None
        self._shown: Picture | None = None
        self._unshown_since_s: float | None = None
        self._patience_s = _PATIENCE_S
        self._read_run()
        self._thread = threading.Thread(target=self._run, name="livestain-live-feed", daemon=True)

    @property
    def not_shown(self) -> int:
        """How many pictures were replaced by a newer one before the window took them."""
        return self._mailbox.not_shown

    def start(self, wake: Callable[[], None]) -> None:
        """Begin; see `livestain.view.picture.Feed`."""
        self._mailbox.open(wake)
        self._session.stained.connect(self._on_stained)
        self._thread.start()

    def take(self) -> Picture | None:
        """Return the newest picture not yet taken."""
        return self._mailbox.take()

    def show(self, key: Key) -> None:
        """Follow the position and z of this key."""
        self._session.follow((key.p, key.z))

    def extent(self) -> tuple[int, int, int]:
        """Numbers of positions, time points and z sections received so far."""
        return self._session.extent

    def marks(self, position: int, z: int) -> Marks:
        """Return (T,) uint8: what became of each time point at this place, as its ledgers said within the last second.

        They are read from the first call on; before that, and without a record, there are no time points.
        """
        self._marks_wanted = True
        return self._history.marks(position, z) if self._history is not None else np.zeros(0, np.uint8)

    def pause(self, paused: bool) -> None:
        """Make no pictures while paused."""
        self._paused = paused
        self._news.set()

    def close(self) -> None:
        """End the thread; the stainer makes nothing for us any more."""
        self._session.stained.disconnect(self._on_stained, missing_ok=True)
        self._closed = True
        self._news.set()
        if self._thread.is_alive():
            self._thread.join(_END_S)

    def _on_stained(self, result: Stain | LateStain) -> None:
        """Take a live stain; on the session's thread, so nothing more happens here."""
        if isinstance(result, Stain):
            self._stains.append(result)
            self._news.set()

    # -- on the thread of the feed ---------------------------------------------------------------------------------

    def _run(self) -> None:
        read_s, missed = time.monotonic(), True
        while not self._closed:
            self._session.want_pictures(self, not self._paused)
            self._news.wait(None if self._paused else _LOOK_S)
            self._news.clear()
            if self._paused or self._closed:
                missed = True
                continue
            try:
                self._look(missed)
                missed = False
                if time.monotonic() - read_s > _SLOWLY_S:
                    read_s = time.monotonic()
                    self._read_run()
            except Exception as error:  # the window stays, and says that its picture stands still
                problem = f"no picture could be made: {error}"
                if problem != self.problem:  # else it would fill the log
                    log.exception("no picture could be made")
                self.problem = problem
        self._session.want_pictures(self, False)

    def _look(self, missed: bool) -> None:
        """Put the next picture into the mailbox if there is anything new, or was while we did not look."""
        frames, picture = self._session.latest_frames(), self._shown
        stain = self._stains.pop() if self._stains else None
        if missed and (stain is None or stain.image is None):
            stain = self._missed_stain()
        if stain is not None and self._is_wanted(stain):
            picture = self._of_stain(stain)
            self._unshown_since_s, self._patience_s = None, max(_PATIENCE_S, 2e-3 * stain.timing.total_ms)
        elif (base := _base(frames.values())) is not None and self._is_overdue(base):
            picture = self._of_frame(base)
        if picture is not None:
            picture = self._with_measured(picture, frames)
        if picture is not None and picture is not self._shown:
            self._shown = picture
            if self._is_of_newest_run(picture.received_s):
                self.pixel_um = self._pixel_um(frames)
            self._mailbox.put(picture)

    def _missed_stain(self) -> Stain | None:
        """The newest stain, for which no plane was asked, with its plane from disk."""
        stain, run = self._session.latest(), self._session.run
        if stain is None or run is None or not self._is_of_newest_run(stain.received_s):
            return None
        try:
            image = PlaneReader(image_path(run / "raw", stain.key.p)).read(stain.key.t, 0, stain.key.z)
        except StoreError as error:
            log.info("the newest stain is not shown: %s", error)
            return None
        return replace(stain, image=image, halves=(half_size(image), half_size(stain.stains)))

    def _is_wanted(self, stain: Stain) -> bool:
        """Not one that was made before we asked for its plane, nor of a place that was left."""
        place, followed = (stain.key.p, stain.key.z), self._session.followed
        return stain.image is not None and self._session.staining and followed in (None, place)

    def _is_overdue(self, newest: Frame) -> bool:
        """Whether frames have been waiting for a stain for so long that they are shown without."""
        if self._shown is not None and self._shown.received_s == newest.received_s:
            return False
        now_s = time.monotonic()
        if self._unshown_since_s is None:
            self._unshown_since_s = now_s
        return bool(self._session.why_unstained) or now_s - self._unshown_since_s >= self._patience_s

    def _of_stain(self, stain: Stain) -> Picture:
        halves = stain.halves or (None, None)
        return Picture(
            stain.key, self._planes(stain.image, stain.stains), self._planes(*halves),
            self._states(""), live=True, received_s=stain.received_s, time_s=self._time_s(stain.received_s),
            input=stain.input,
        )  # fmt: skip

    def _of_frame(self, frame: Frame) -> Picture:
        """A picture without stains; its measured planes come like those of any other."""
        image = frame.image if frame.label_free else None
        half = half_size(image) if image is not None else None
        return Picture(
            frame.key, self._planes(image, None), self._planes(half, None),
            self._states(self._session.why_unstained or NO_STAIN_YET), live=True,
            received_s=frame.received_s, time_s=self._time_s(frame.received_s),
        )  # fmt: skip

    def _planes(self, image: Counts | None, stains: Sequence[Counts] | Counts | None) -> tuple[Counts | None, ...]:
        measured = [None] * len(self._measured)
        virtual = list(stains) if stains is not None else [None] * (len(self.layers) - 1 - len(measured))
        return image, *measured, *virtual

    def _states(self, why_unstained: str) -> tuple[str, ...]:
        states = {"label-free": "", "measured": NOT_THERE, "virtual": why_unstained}
        return tuple(states[layer.kind] for layer in self.layers)

    def _with_measured(self, picture: Picture, frames: Mapping[str, Frame]) -> Picture:
        """The picture with the measured planes of its key that have come meanwhile; itself when there are none."""
        came = {i: frames[self.layers[i].name] for i in self._measured if self.layers[i].name in frames}
        came = {
            i: frame
            for i, frame in came.items()
            if picture.planes[i] is None and frame.key == picture.key and picture.shape in ((0, 0), frame.image.shape)
        }
        if not came or not self._is_of_newest_run(picture.received_s):
            return picture
        planes, halves, states = list(picture.planes), list(picture.halves), list(picture.states)
        for i, frame in came.items():
            planes[i], halves[i], states[i] = frame.image, half_size(frame.image), ""
        return replace(picture, planes=tuple(planes), halves=tuple(halves), states=tuple(states))

    def _is_of_newest_run(self, received_s: float | None) -> bool:
        """Keys begin anew with each run, so that a key alone does not say that two planes belong together."""
        began_s = self._session.began_s
        return received_s is not None and began_s is not None and received_s >= began_s

    def _time_s(self, received_s: float | None) -> float:
        began_s = self._session.began_s
        if received_s is None or began_s is None or received_s < began_s:
            return float("nan")
        return received_s - began_s

    def _pixel_um(self, frames: Mapping[str, Frame]) -> float:
        """The pixel size of the newest run: of its frames, or as planned; changed with its first picture only."""
        sequence = self._session.sequence
        planned = sequence.pixel_um if sequence is not None else 0.0
        return next((frame.pixel_um for frame in frames.values() if frame.pixel_um), planned)

    def _read_run(self) -> None:
        """What changes slowly: the newest run, its folder, its ledgers."""
        sequence, run = self._session.sequence, self._session.run
        if sequence is not None:
            frames = self._session.latest_frames()
            if self._shown is None:
                self.pixel_um = self._pixel_um(frames)
            self.interval_s, self.time_points = sequence.interval_s, sequence.time_points
            for name in frames.keys() - {layer.name for layer in self.layers} - self._passed_over:
                if not frames[name].label_free:
                    self._passed_over.add(name)
                    log.info("channel %r was not known when the window was opened: recorded, not shown", name)
        self.problem = "" if run is None or run.is_dir() else f"{run} is gone (deleted, renamed, or its disk removed)"
        if run is None:
            return
        if run.name != self.title:
            self.title, self._history = run.name, None
        if self._marks_wanted and not self.problem:
            if self._history is None:
                ledgers = sorted(run.glob(f"stains/*/{LEDGER_FILE}"))
                self._history = History(run / "raw" / LEDGER_FILE, ledgers)
            self._history.update(lambda: self._closed)


def _base(frames: Iterable[Frame]) -> Frame | None:
    """The label-free frame, else the newest of any channel."""
    return max(frames, key=lambda frame: (frame.label_free, frame.number), default=None)


def _layers(session: Session, channels: Sequence[str]) -> tuple[LayerInfo, ...]:
    """Label-free, measured channels, virtual stains; the name of the label-free one may not be known yet."""
    sequence = session.sequence
    if sequence is not None:
        channels = sequence.channels or channels
    label_free = (sequence.label_free if sequence is not None else None) or session.settings.channel
    if label_free is None and len(channels) == 1:
        label_free = channels[0]
    top = 2**sequence.bit_depth - 1 if sequence is not None and sequence.bit_depth else 65535
    measured = [name for name in channels if name != label_free]
    colors = MEASURED_COLORS * (1 + len(measured) // len(MEASURED_COLORS))
    return (
        LayerInfo(label_free or "frame", "label-free", "FFFFFF", top),
        *(LayerInfo(name, "measured", color, top) for name, color in zip(measured, colors, strict=False)),
        *(LayerInfo(s.name, "virtual", s.color, limits=(0.0, 65535.0)) for s in session.model.card.stains),
    )
