"""The bounded queue from the acquisition thread to ours: its entrance is all of our code on that foreign thread."""

from __future__ import annotations

import logging
import math
import queue
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

from livestain.frames import Key
from livestain.settings import SessionSettings

log = logging.getLogger(__name__)

FULL = "disk too slow: the intake queue was full"

_RATE_S = 2.0
_WAIT_S = 1.0
_PATIENCE_S = 0.25


class Facts(NamedTuple):
    """What a source knows of a frame beside its pixels; read on the recorder's thread, not in the slot."""

    time_s: float
    exposure_ms: float
    pixel_um: float
    stage_um: tuple[float, float, float]


UNKNOWN = Facts(0.0, 0.0, 0.0, (math.nan, math.nan, math.nan))


class Place(NamedTuple):
    """Where a frame belongs: its key, its channel's name, and why it did not get the key it asked for."""

    key: Key
    channel: str
    note: str


@dataclass(frozen=True)
class Sequence:
    """What is known of a run before its first frame.

    Attributes
    ----------
    label_free
        Name of the channel to stain; None: nothing is stained, and ``why`` says why.
    channels
        Names of the channels that will come, as far as known.
    pixel_um, z_um, interval_s, bit_depth
        0 where not known.
    planes, time_points
        Numbers of planes and of time points planned; 0 where not known.
    place
        Says where a frame belongs, from what the slot passed on; asked once for each frame, in order of arrival.
    describe
        Gives the facts of a frame from what the slot passed on.
    """

    label_free: str | None
    place: Callable[[Any], Place]
    describe: Callable[[Any], Facts]
    why: str = ""
    channels: tuple[str, ...] = ()
    pixel_um: float = 0.0
    z_um: float = 0.0
    interval_s: float = 0.0
    bit_depth: int = 0
    planes: int = 0
    time_points: int = 0

    def facts(self, passed: Any) -> Facts:
        """Return the facts of a frame; unknown ones where its metadata cannot be read: no frame is lost for it."""
        try:
            return self.describe(passed)
        except Exception:
            log.warning("metadata of a frame could not be read", exc_info=True)
            return UNKNOWN


_Arrival = tuple[int, Any, Any, int, str]
"""What the slot says of a frame: number, image (None: it cannot be recorded), what was passed, received_ns, reason.

A plain tuple: a named one takes a call, and a call in the slot takes microseconds.
"""


class Item(NamedTuple):
    """One received frame on its way; ``image`` is None and ``reason`` says why when it cannot be recorded."""

    number: int
    image: Any
    key: Key
    channel: str
    label_free: bool
    note: str
    reason: str
    received_ns: int
    facts: Any


class Intake:
    """Takes frames from the acquisition thread, never blocks it (but see ``when_full``), and loses none uncounted.

    The acquisition thread puts one tuple into one queue (one thread to wake); a thread of the intake finds the frame's
    place and hands it on to the recorder and the publisher. Done on the acquisition thread that was two thirds of what
    the slot cost, since the core's sleep before each frame leaves the caches cold.

    `put`, `refuse` and `end` belong to the acquisition thread, `advance` and `adapt` to the recorder.
    """

    def __init__(self, settings: SessionSettings, sequence: Sequence, show: Callable[[Item], None]) -> None:
        """Start the thread. Placed frames are also handed to ``show``, which keeps a reference at most."""
        self.queue: queue.SimpleQueue[Item | None] = queue.SimpleQueue()
        self.received = self.first_ns = self.last_ns = 0
        self.limit_bytes = settings.intake_min_bytes
        self._settings = settings
        self._may_wait = settings.when_full == "wait"
        self._sequence, self._show = sequence, show
        self._arrivals: queue.SimpleQueue[_Arrival | None] = queue.SimpleQueue()
        self._put_bytes = self._done_bytes = 0
        self._advanced = threading.Condition()
        self._window = (time.monotonic(), 0)
        threading.Thread(target=self._hand_on, name="livestain-intake", daemon=True).start()

    @property
    def waiting_bytes(self) -> int:
        """Bytes of pixels in the queue or being written."""
        return self._put_bytes - self._done_bytes

    def put(self, image: Any, passed: Any, received_ns: int, *, burst: bool) -> None:
        """Take one frame: a reference, no copy. With ``when_full="wait"`` it may wait up to 1 s, never in a burst."""
        size = image.nbytes
        waiting = self._put_bytes - self._done_bytes  # `_has_room`, without the call
        full = waiting and waiting + size > self.limit_bytes
        if full and (burst or not self._may_wait or not self._room_after_wait(size)):
            self.refuse(passed, received_ns, FULL)
            return
        self._put_bytes += size
        self._arrivals.put((self.received, image, passed, received_ns, ""))
        self.received += 1

    def refuse(self, passed: Any, received_ns: int, reason: str) -> None:
        """Count a frame that cannot be recorded: it gets its row, with the reason."""
        self._arrivals.put((self.received, None, passed, received_ns, reason))
        self.received += 1

    def end(self) -> None:
        """No frame comes any more."""
        self._arrivals.put(None)

    def advance(self, size: int) -> None:
        """Say that a frame of this many bytes has left the queue for good."""
        with self._advanced:
            self._done_bytes += size
            self._advanced.notify_all()

    def adapt(self, now_s: float) -> None:
        """Make the queue hold two seconds of the rate seen, within its bounds; call it about once a second."""
        began_s, bytes_then = self._window
        if now_s - began_s < 1.0:
            return
        rate = (self._put_bytes - bytes_then) / (now_s - began_s)
        self._window = (now_s, self._put_bytes)
        low, high = self._settings.intake_min_bytes, self._settings.intake_max_bytes
        self.limit_bytes = int(min(max(self.limit_bytes, low, _RATE_S * rate), max(low, high)))

    def _hand_on(self) -> None:
        """Place what arrives, in order, until the end (on the intake's thread)."""
        while (arrival := self._arrivals.get()) is not None:
            item = self._placed(arrival)
            self.queue.put(item)
            self.first_ns, self.last_ns = self.first_ns or item.received_ns, item.received_ns
            if item.image is not None:
                self._show(item)
        self.queue.put(None)

    def _placed(self, arrival: _Arrival) -> Item:
        number, image, passed, received_ns, reason = arrival
        try:
            key, channel, note = self._sequence.place(passed)
        except Exception as error:  # noqa: BLE001 - whatever a host's event holds: a failed row, and the next frame
            if image is not None:
                self.advance(image.nbytes)
            why = reason or f"could not be placed: {error!r}"
            return Item(number, None, Key(0, 0, 0), "", False, "", why, received_ns, passed)
        label_free = channel == self._sequence.label_free
        return Item(number, image, key, channel, label_free, note, reason, received_ns, passed)

    def _has_room(self, size: int) -> bool:
        """Whether the frame fits; one frame always does."""
        return self._put_bytes == self._done_bytes or self._put_bytes - self._done_bytes + size <= self.limit_bytes

    def _room_after_wait(self, size: int) -> bool:
        """Wait for room: at most a second, and only while the recorder advances."""
        until = time.monotonic() + _WAIT_S
        with self._advanced:
            while not self._has_room(size):
                left = until - time.monotonic()
                if left <= 0 or not self._advanced.wait(min(left, _PATIENCE_S)):
                    return False
        return True
