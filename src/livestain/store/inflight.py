"""Several planes being written at a time, their rows in the order of arrival."""

from __future__ import annotations

import queue
from collections import deque
from collections.abc import Callable
from typing import TypeVar

Item = TypeVar("Item")
Begun = TypeVar("Begun")


def pump(
    source: queue.SimpleQueue[Item | None],
    begin: Callable[[Item], Begun],
    complete: Callable[[Begun], None],
    depth: int,
    idle: Callable[[], None],
    idle_s: float = 1.0,
) -> None:
    """Take items from ``source`` until a None comes, and return when all of them are complete.

    Up to ``depth`` items are begun at a time; they are completed first in, first out, as soon as nothing new waits or
    the depth is reached. ``idle`` is called when nothing came for ``idle_s`` seconds. Blocks; the callables run on the
    caller's thread and must not raise.
    """
    flight: deque[Begun] = deque()
    ended = False
    while not ended or flight:
        if not ended:
            try:
                item = source.get(block=not flight, timeout=idle_s)
            except queue.Empty:
                if not flight:
                    idle()
                    continue
            else:
                if item is None:
                    ended = True
                else:
                    flight.append(begin(item))
                    if len(flight) < depth:
                        continue
        if flight:
            complete(flight.popleft())
