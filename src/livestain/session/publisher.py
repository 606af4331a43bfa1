"""Hands the newest label-free frame to the stainer; on a thread of its own, since it copies."""

from __future__ import annotations

import queue
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Any

from livestain.frames import Key
from livestain.session.intake import Facts, Item
from livestain.stainer.slots import Slot, Tag


class Publisher:
    """Copies the newest frame of the followed place into the frame slot and wakes the stainer.

    `show` belongs to the intake's thread: it only keeps references, also to the newest frame of each channel there. At
    most one ``look`` is unanswered, so that a
    stainer that hangs never fills its pipe; the newest frame goes into the slot all the same.
    """

    def __init__(self, follow: tuple[int, int] | None, facts: Callable[[Any], Facts]) -> None:
        self._follow = follow
        self._facts = facts
        self._look: Callable[[], None] = lambda: None
        self._newest: deque[Item] = deque(maxlen=1)
        self._newest_of: dict[str, Item] = {}
        self._last = Key(-1, -1, -1)
        self.resting = False
        self._token: queue.SimpleQueue[bool] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._slot: Slot | None = None
        self._open = self._unseen = False
        self.asked_s = 0.0
        self._thread = threading.Thread(target=self._run, name="livestain-publisher", daemon=True)
        self._thread.start()

    def show(self, item: Item) -> None:
        """Take a frame of any channel; an older one that was not handed over yet is replaced."""
        p, t, z = self._last
        self._last = Key(max(p, item.key.p), max(t, item.key.t), max(z, item.key.z))
        if self._is_followed(item):
            self._newest_of[item.channel] = item
            if item.label_free and not self.resting:
                self._newest.append(item)
                self._token.put(True)

    def follow(self, place: tuple[int, int] | None) -> None:
        """Hand over frames of this (position, z) from now on; None: of every one. Any thread."""
        self._follow = place

    @property
    def newest(self) -> list[Item]:
        """The newest frame of each channel at the followed place, in the order in which channels were first seen."""
        return [item for item in list(self._newest_of.values()) if self._is_followed(item)]

    @property
    def extent(self) -> tuple[int, int, int]:
        """Numbers of positions, time points and z sections seen so far."""
        p, t, z = self._last
        return p + 1, t + 1, z + 1

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
        """End the thread and let go of the frames."""
        self._token.put(False)
        self._thread.join()
        self._newest_of.clear()

    def _is_followed(self, item: Item) -> bool:
        return self._follow is None or (item.key.p, item.key.z) == self._follow

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
        slot.write([item.image], Tag(item.key, item.number, item.received_ns, exposure_us))
        if self._open:
            self._unseen = True
        else:
            self._ask()

    def _ask(self) -> None:
        self._open = True
        self.asked_s = time.monotonic()
        self._look()
