"""Hands the newest label-free frame to the stainer; on a thread of its own, since it copies."""

from __future__ import annotations

import queue
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Any

from livestain.session.intake import Facts, Item
from livestain.stainer.slots import Slot, Tag


class Publisher:
    """Copies the newest frame of the followed place into the frame slot and wakes the stainer.

    `show` belongs to the intake's thread: it only keeps a reference. At most one ``look`` is unanswered, so that a
    stainer that hangs never fills its pipe; the newest frame goes into the slot all the same.
    """

    def __init__(self, follow: tuple[int, int] | None, facts: Callable[[Any], Facts]) -> None:
        self._follow = follow
        self._facts = facts
        self._look: Callable[[], None] = lambda: None
        self._newest: deque[Item] = deque(maxlen=1)
        self._token: queue.SimpleQueue[bool] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._slot: Slot | None = None
        self._open = self._unseen = False
        self.asked_s = 0.0
        self._thread = threading.Thread(target=self._run, name="livestain-publisher", daemon=True)
        self._thread.start()

    def show(self, item: Item) -> None:
        """Take a frame; an older one that was not handed over yet is replaced."""
        if self._follow is None or (item.key.p, item.key.z) == self._follow:
            self._newest.append(item)
            self._token.put(True)

    def use(self, slot: Slot | None, look: Callable[[], None]) -> None:
        """Hand frames over through this slot from now on (None: keep them back); a new stainer starts unasked."""
        with self._lock:
            self._slot, self._look = slot, look
            self._open = self._unseen = False

    def answered(self) -> None:
        """The stainer has answered: ask again if something came meanwhile."""
        with self._lock:
            if self._unseen:
                self._unseen = False
                self._ask()
            else:
                self._open = False

    @property
    def is_open(self) -> bool:
        """Whether a ``look`` is unanswered; it was asked at ``asked_s`` (monotonic)."""
        return self._open

    def close(self) -> None:
        """End the thread."""
        self._token.put(False)
        self._thread.join()

    def _run(self) -> None:
        while self._token.get():
            try:
                item = self._newest.pop()
            except IndexError:
                continue  # its token belongs to a frame that was replaced
            with self._lock:
                self._hand_over(item)

    def _hand_over(self, item: Item) -> None:
        slot = self._slot
        if slot is None or not slot.fits(item.image):
            return
        exposure_us = round(1e3 * self._facts(item.facts).exposure_ms)
        slot.write(item.image, Tag(item.key, item.number, item.received_ns, exposure_us))
        if self._open:
            self._unseen = True
        else:
            self._ask()

    def _ask(self) -> None:
        self._open = True
        self.asked_s = time.monotonic()
        self._look()
