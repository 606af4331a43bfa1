"""Several processes that train the same networks together: which one this is, and what they must agree on.

Where a training is one process, as nearly every one is, each function answers at once and changes nothing.
"""

from __future__ import annotations

import multiprocessing
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from torch import distributed

T = TypeVar("T")
Say = Callable[[str], None]


def rank() -> int:
    """Return the number of this process, 0 being the one that writes."""
    return distributed.get_rank() if _together() else 0


def own_number(step: int, epoch_steps: int) -> int:
    """Return a number for this step of this process: ``step`` in the first, in others one that no other has."""
    return step + rank() * epoch_steps


def gather(value: T) -> list[T]:
    """Return the values of all processes, in their order; every process must call it, and waits for the others."""
    if not _together():
        return [value]
    values: list[T] = [value] * distributed.get_world_size()
    distributed.all_gather_object(values, value)
    return values


def mean(value: float) -> float:
    """Return the mean over all processes, the same in each; see `gather`."""
    values = gather(value)
    return sum(values) / len(values)


@contextmanager
def heard(say: Say, *, shared: bool) -> Iterator[Say]:
    """Yield a ``say`` that, where the training is ``shared``, one process that is started inside may call.

    The lines of that process come by a pipe, and ``say`` is called from a thread of its own.
    """
    if not shared:
        yield say
        return
    hear, tell = multiprocessing.get_context("spawn").Pipe(duplex=False)

    def repeat() -> None:
        while True:
            try:
                say(hear.recv())
            except EOFError:  # that process has ended, and so has the block
                return

    listener = threading.Thread(target=repeat, name="lines of the training", daemon=True)
    listener.start()
    try:
        yield tell.send
    finally:
        tell.close()
        listener.join()
        hear.close()


def _together() -> bool:
    return bool(distributed.is_available() and distributed.is_initialized())
