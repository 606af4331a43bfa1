"""A plan on the card with the memory that its frames need: counts in, stains out."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from livestain.contrast import Field, shade_shape
from livestain.engine.graph import Bit
from livestain.engine.tensorrt.cuda import Cuda
from livestain.engine.tensorrt.module import LoadedPlan
from livestain.engine.tensorrt.ring import Block, Bytes, Ring
from livestain.frames import Counts

Scalar = npt.NDArray[np.float32]

Item = tuple[Counts, Field, Scalar, Scalar]
"""(H, W) counts, shade, black and offset (both (1, 1, 1, 1) float32)."""

Result = tuple[npt.NDArray[np.uint16], float]
"""(S, H, W) uint16 of its own, and the check."""

_TYPES: dict[Bit, str] = {"uint8": "|u1", "uint16": "<u2"}


class TensorRtProgram:
    """A `livestain.engine.backends.base.Program` on a card; one thread at a time.

    Memory is made for the first frame and kept; larger frames get larger memory, smaller ones use what is there.

    Parameters
    ----------
    cuda, plan
        The card and what it runs; the plan is closed with the program.
    bit, stains
        What the camera delivers, and how many stains come back.
    """

    def __init__(self, cuda: Cuda, plan: LoadedPlan, bit: Bit, stains: int) -> None:
        self.plan = plan
        self._cuda = cuda
        self._bit = bit
        self._stains = stains
        self._sizes = plan.frame_sizes()
        self._ring: Ring | None = None
        self._shape: tuple[int, ...] = ()
        self._up = self._down = Block.of({})

    def covers(self, shape: tuple[int, int]) -> bool:
        """Say whether the plan takes frames of this (Y, X)."""
        smallest, _, largest = self._sizes
        return all(least <= side <= most for least, side, most in zip(smallest, shape, largest, strict=True))

    def __call__(self, image: Counts, shade: Field, black: Scalar, offset: Scalar) -> Result:
        """Stain one frame; blocks."""
        return self.many([(image, shade, black, offset)])[0]

    def many(self, items: Sequence[Item]) -> list[Result]:
        """Stain frames of one shape, those on the way overlapping; blocks.

        Raises
        ------
        EngineMemoryError, EngineLostError, EngineError
            The card has too little memory for frames of this shape, went away, or failed otherwise.
        """
        height, width = items[0][0].shape
        ring = self._fit((height, width))
        return ring.pump(items, (self._up.size, self._down.size), self._write, self.plan.run, self._read)

    def close(self) -> None:
        """Free the memory, then the plan; may be called twice."""
        self._free()
        self.plan.close()

    def _fit(self, shape: tuple[int, int]) -> Ring:
        if self._ring is not None and shape == self._shape:
            return self._ring
        self._shape = ()
        shade = shade_shape(shape)
        scalar = ((1, 1, 1, 1), "<f4")
        self._up = Block.of(
            {"frame": (shape, _TYPES[self._bit]), "shade": (shade, "<f4"), "black": scalar, "offset": scalar}
        )
        self._down = Block.of({"stains": ((self._stains, *shape), "<u2"), "check": ((), "<f4")})
        frame = (1, 1, *shape) if self._bit == "uint8" else (1, *shape, 2)
        activations = self.plan.fit(
            {"frame": frame, "shade": (1, 1, *shade), "black": (1, 1, 1, 1), "offset": (1, 1, 1, 1)}
        )
        ring = self._ring_for(self._up.size, self._down.size, activations)
        tensors = {name: ring.inputs + start for name, start in self._up.starts.items()}
        tensors |= {name: ring.outputs + start for name, start in self._down.starts.items()}
        self.plan.place(tensors, ring.activations, activations)
        self._shape = shape
        return ring

    def _ring_for(self, up: int, down: int, activations: int) -> Ring:
        if self._ring is None or not self._ring.holds(up, down, activations):
            self._free()  # first: two at a time may not fit the card
            self._ring = Ring(self._cuda, up, down, activations)
        return self._ring

    def _free(self) -> None:
        ring, self._ring = self._ring, None
        if ring is not None:
            ring.close()

    def _write(self, memory: Bytes, item: Item) -> None:
        for name, array in zip(("frame", "shade", "black", "offset"), item, strict=True):
            np.copyto(self._up.view(memory, name), array)

    def _read(self, memory: Bytes) -> Result:
        return self._down.view(memory, "stains").astype(np.uint16), float(self._down.view(memory, "check"))
