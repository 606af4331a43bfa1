"""Frames on their way through the card: while one is computed, the next goes up and the one before comes down.

::

    pinned  --uploads-->  card  --runs-->  inputs | RUN | outputs  --runs-->  card  --downloads-->  pinned

Each stage has its own stream, so one never waits for another's frame; events tie the stages of one frame together.
The run reads and writes at fixed addresses, whichever place a frame lies in: the runtime can replay the CUDA graph that
it captured there. The price is one copy within the card each way, 24 MiB for 2048 x 2048 px and two stains, which a
card of 500 GB/s does in 0.1 ms.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from livestain.engine.tensorrt.cuda import Cuda
from livestain.errors import EngineError

_log = logging.getLogger(__name__)

Bytes = npt.NDArray[np.uint8]

T = TypeVar("T")
R = TypeVar("R")

PLACES = 3
"""One frame goes up, one is computed, one comes down."""

_ALIGNED = 256
"""TensorRT wants its tensors at multiples of this many bytes."""


@dataclass(frozen=True, slots=True)
class Block:
    """Arrays one after another in one piece of memory, so that one copy moves them all.

    Attributes
    ----------
    starts
        Where each array begins, in bytes from the first; multiples of 256.
    size
        All together, in bytes.
    """

    starts: dict[str, int]
    size: int
    _kinds: dict[str, tuple[tuple[int, ...], np.dtype[Any]]]

    @classmethod
    def of(cls, arrays: Mapping[str, tuple[tuple[int, ...], npt.DTypeLike]]) -> Block:
        """Lay out arrays of these shapes and dtypes."""
        kinds = {name: (shape, np.dtype(dtype)) for name, (shape, dtype) in arrays.items()}
        starts, size = {}, 0
        for name, (shape, dtype) in kinds.items():
            starts[name] = size
            size += -(-int(np.prod(shape)) * dtype.itemsize // _ALIGNED) * _ALIGNED
        return cls(starts, size, kinds)

    def view(self, memory: Bytes, name: str) -> npt.NDArray[Any]:
        """Return one of the arrays as it lies in ``memory``."""
        shape, dtype = self._kinds[name]
        start = self.starts[name]
        return memory[start : start + int(np.prod(shape)) * dtype.itemsize].view(dtype).reshape(shape)


class _Place:
    """Memory of one frame on its way: pinned and on the card, up and down."""

    def __init__(self, cuda: Cuda, up: int, down: int, held: ExitStack) -> None:
        self.given = cuda.pinned(up, held)
        self.result = cuda.pinned(down, held)
        self.up = cuda.device_memory(up, held)
        self.down = cuda.device_memory(down, held)
        self.uploaded, self.ran, self.downloaded = (cuda.event(held) for _ in range(3))


class Ring:
    """All memory of one program: three places, the run's own, and the streams; one thread at a time.

    Parameters
    ----------
    cuda
        The card.
    up, down, activations
        Bytes that a frame takes on its way up and down, and that the run needs beside them.

    Attributes
    ----------
    inputs, outputs, activations
        Addresses on the card: where the run finds its inputs, leaves its outputs, and has its own memory.

    Raises
    ------
    EngineMemoryError
        There is too little memory; nothing is held then.
    """

    def __init__(self, cuda: Cuda, up: int, down: int, activations: int) -> None:
        cuda.require_free((PLACES + 1) * (up + down) + activations)
        self._cuda = cuda
        self._sizes = (up, down, activations)
        with ExitStack() as held:
            self._uploads, self._runs, self._downloads = (cuda.stream(held) for _ in range(3))
            self.inputs = cuda.device_memory(up, held)
            self.outputs = cuda.device_memory(down, held)
            self.activations = cuda.device_memory(max(activations, 1), held)
            self._places = [_Place(cuda, up, down, held) for _ in range(PLACES)]
            self._held = held.pop_all()

    def holds(self, up: int, down: int, activations: int) -> bool:
        """Say whether frames of these bytes fit."""
        return all(have >= need for have, need in zip(self._sizes, (up, down, activations), strict=True))

    def pump(
        self,
        items: Iterable[T],
        sizes: tuple[int, int],
        fill: Callable[[Bytes, T], None],
        run: Callable[[int], None],
        take: Callable[[Bytes], R],
    ) -> list[R]:
        """Send items through the card and return what comes back, in order; blocks.

        Parameters
        ----------
        items
            What is to be computed.
        sizes
            Bytes that go up and come down for each.
        fill
            Writes an item into pinned memory.
        run
            Queues the computation on the stream given.
        take
            Reads a result from pinned memory; must copy what it keeps.
        """
        moving: deque[_Place] = deque()
        results: list[R] = []
        try:
            for number, item in enumerate(items):
                if len(moving) == PLACES:
                    results.append(self._collect(moving.popleft(), take))
                place = self._places[number % PLACES]
                fill(place.given, item)
                self._submit(place, sizes, run)
                moving.append(place)
            results.extend(self._collect(place, take) for place in moving)
        except BaseException:
            self._drain()  # the card may still read and write what the next frame, or nobody, will own
            raise
        return results

    def close(self) -> None:
        """Free everything, once the card is done with it; may be called twice."""
        self._drain()
        self._held.close()
        self._places = []

    def _submit(self, place: _Place, sizes: tuple[int, int], run: Callable[[int], None]) -> None:
        cuda, (up, down) = self._cuda, sizes
        cuda.copy(place.up, place.given.ctypes.data, up, self._uploads)
        cuda.record(place.uploaded, self._uploads)
        cuda.hold(self._runs, place.uploaded)
        cuda.copy(self.inputs, place.up, up, self._runs)
        run(int(self._runs))
        cuda.copy(place.down, self.outputs, down, self._runs)
        cuda.record(place.ran, self._runs)
        cuda.hold(self._downloads, place.ran)
        cuda.copy(place.result.ctypes.data, place.down, down, self._downloads)
        cuda.record(place.downloaded, self._downloads)

    def _collect(self, place: _Place, take: Callable[[Bytes], R]) -> R:
        self._cuda.wait(place.downloaded)
        return take(place.result)

    def _drain(self) -> None:
        for stream in (self._uploads, self._runs, self._downloads):
            try:
                self._cuda.finish(stream)
            except EngineError as error:
                _log.warning("not finished: %s", error)
