"""What listeners get: the newest live stain, notes of late ones, warnings; on a thread of our own."""

from __future__ import annotations

import functools
import logging
import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from livestain.frames import Key, Stain

log = logging.getLogger(__name__)

_KEPT = 256


@dataclass(frozen=True)
class LateStain:
    """A plane that was stained from disk: its key and its ledger row; read the pixels with ``session.wait(key)``."""

    key: Key
    row: dict[str, Any]


class Results:
    """Hands results to listeners, newest first where that is what they want, and survives their errors.

    Live stains: one slot, replaced (``replaced`` counts). Everything else: a queue of 256, beyond which the oldest go
    and ``dropped`` counts. ``errors`` counts what listeners raised.
    """

    def __init__(
        self,
        emit_stain: Callable[[Stain | LateStain], None],
        emit_warning: Callable[[str], None],
        emit_status: Callable[[], None],
    ) -> None:
        self.replaced = self.dropped = self.errors = 0
        self._emit_stain, self._emit_warning, self._emit_status = emit_stain, emit_warning, emit_status
        self._newest: Stain | None = None
        self._latest: Stain | None = None
        self._calls: deque[Callable[[], None]] = deque(maxlen=_KEPT)
        self._change = threading.Condition()
        self._closed = False
        self._thread = threading.Thread(target=self._run, name="livestain-events", daemon=True)
        self._thread.start()

    @property
    def latest(self) -> Stain | None:
        """The newest live stain; None before the first."""
        return self._latest

    @property
    def is_telling(self) -> bool:
        """Whether the caller is a listener."""
        return threading.current_thread() is self._thread

    def show(self, stain: Stain) -> None:
        """Offer a live stain."""
        with self._change:
            self.replaced += self._newest is not None
            self._newest = self._latest = stain
            self._change.notify_all()

    def note_row(self, key: Key, row: dict[str, Any]) -> None:
        """Note a stain row that is on disk; late ones are told to listeners."""
        if row["state"] == "ok" and not row["live"]:
            self.call(lambda: self._emit_stain(LateStain(key, row)))
        with self._change:
            self._change.notify_all()

    def warn(self, text: str) -> None:
        """Tell listeners a warning."""
        self.call(lambda: self._emit_warning(text))

    def status_changed(self) -> None:
        """Tell listeners that the status has changed."""
        self.call(self._emit_status)

    def call(self, function: Callable[[], None]) -> None:
        """Run ``function`` on the events thread, after those before it."""
        with self._change:
            self.dropped += len(self._calls) == _KEPT
            self._calls.append(function)
            self._change.notify_all()

    def wait_change(self, timeout_s: float) -> None:
        """Block until something came, at most ``timeout_s``."""
        with self._change:
            self._change.wait(timeout_s)

    def close(self) -> None:
        """Tell what is left to listeners and end the thread; not from a listener."""
        with self._change:
            self._closed = True
            self._change.notify_all()
        if not self.is_telling:
            self._thread.join()

    def _run(self) -> None:
        while True:
            with self._change:
                while not (self._calls or self._newest or self._closed):
                    self._change.wait()
                stain, self._newest = self._newest, None
                calls = list(self._calls)
                self._calls.clear()
                if self._closed and not calls and stain is None:
                    return
            for call in calls:
                self._guarded(call)
            if stain is not None:
                self._guarded(functools.partial(self._emit_stain, stain))

    def _guarded(self, call: Callable[[], None]) -> None:
        try:
            call()
        except Exception:  # a listener's error: counted, logged with its traceback, and the next one still runs
            self.errors += 1
            log.exception("a listener failed")
