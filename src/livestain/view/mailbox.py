"""One slot between a thread that makes pictures and the GUI: newest wins, one wake-up at a time."""

from __future__ import annotations

import threading
from collections.abc import Callable

from livestain.view.picture import Picture


class Mailbox:
    """Holds the newest picture until it is taken; ``not_shown`` counts those that were replaced.

    A signal per picture would queue without bound when the GUI is slower than the camera (measured: 244 pictures and
    4.8 s behind after 3 s); here there is at most one wake-up under way.
    """

    def __init__(self) -> None:
        self.not_shown = 0
        self._lock = threading.Lock()
        self._picture: Picture | None = None
        self._wake: Callable[[], None] = lambda: None

    def open(self, wake: Callable[[], None]) -> None:
        """Call ``wake`` on the putting thread, whenever the slot was empty before."""
        self._wake = wake

    def put(self, picture: Picture) -> None:
        """Offer a picture; any thread."""
        with self._lock:
            was_empty, self._picture = self._picture is None, picture
            self.not_shown += not was_empty
        if was_empty:
            self._wake()

    def take(self) -> Picture | None:
        """Return the newest picture and empty the slot; any thread."""
        with self._lock:
            picture, self._picture = self._picture, None
        return picture
