"""What every adapter shares: a checked frame in, a program compiled for it, a result that really is a stain."""

from __future__ import annotations

import logging
import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
import numpy.typing as npt
import onnx

from livestain.contrast import Field, require_stainable, shade_shape
from livestain.engine.generators import generator_for
from livestain.engine.graph import Bit, Wire, compose
from livestain.engine.protocol import EngineInfo, GateResult, Given, Precision
from livestain.engine.tiles import plan_tiles, stain_in_tiles, tile_step
from livestain.errors import EngineError, EngineMemoryError, FrameError
from livestain.frames import Counts
from livestain.model import Model

_log = logging.getLogger(__name__)

Scalar = npt.NDArray[np.float32]

Program = Callable[[Counts, Field, Scalar, Scalar], tuple[npt.NDArray[np.uint16], float]]
"""(H, W) counts, shade, black and offset (both (1, 1, 1, 1) float32) -> (S, H, W) uint16 of its own, and the check."""

_NO_MEMORY = ("bad_alloc", "bad allocation", "Failed to allocate memory")
"""How C++ (two compilers) and the arena of ONNX Runtime say that there is no memory."""

_LEAST_TILE_PX = 256
"""No tile has less than this between its two halos: below, most of the work would be done twice."""

_UNCHECKED = GateResult(math.nan, math.nan, math.nan, passed=False)


@dataclass(frozen=True, slots=True)
class Job:
    """What a program is compiled for: the runtime graph and the frames that it will get."""

    graph: onnx.ModelProto
    shape: tuple[int, int]
    bit: Bit
    stains: int


class BaseEngine(ABC):
    """An engine around one library (see `livestain.engine.protocol.Engine`); subclasses compile.

    Parameters
    ----------
    model
        What to compile.
    precision
        Precision of the generator, one of `precisions`; all else is float32.
    threads
        Threads to compute with; None leaves it to the library: one for each (performance) core.
    """

    backend: ClassVar[str]
    wire: ClassVar[Wire]
    fixed_shape: ClassVar[bool]
    """Whether a program serves one frame size only."""
    halves_in_graph: ClassVar[bool] = False
    """Whether f16 and bf16 are a property of the graph; else the library is told to compute in them."""
    library_errors: ClassVar[tuple[type[Exception], ...]]
    group = 1

    def __init__(self, model: Model, precision: Precision = "f32", threads: int | None = None) -> None:
        self._model = model
        self._threads = threads
        self._generator: onnx.ModelProto | None = generator_for(model, precision, halves=self.halves_in_graph)
        self._program: Program | None = None
        self._made_for: tuple[object, ...] = ()
        self._tile_px: dict[tuple[int, int], int] = {}
        self._info = EngineInfo(
            backend=self.backend,
            version=self.version(),
            device=self.device(),
            precision=precision,
            wire=self.wire,
            model_id=model.id,
            weights_sha256=model.weights_sha256,
            stains=model.stains,
            gate=_UNCHECKED,
            reason="",
        )

    @property
    def info(self) -> EngineInfo:
        """What this engine is; its gate counts as failed until `accept`."""
        return self._info

    def accept(self, gate: GateResult, reason: str) -> None:
        """Note how the gate went and why this engine was chosen."""
        self._info = replace(self._info, gate=gate, reason=reason)

    def warm_up(self, shape: tuple[int, int], dtype: np.dtype[np.generic]) -> None:
        """Compile for frames of this (Y, X) and dtype and stain one grey frame; blocks."""
        grey = np.full(shape, 128, dtype)
        self.stain(grey, np.full(shade_shape(shape), 1 / 128, np.float32), 0.0, 1.0)

    def stain(self, image: Counts, shade: Field, black: float, offset: float) -> npt.NDArray[np.uint16]:
        """Stain one frame: see `livestain.engine.protocol.Engine.stain`.

        Where the device has too little memory for the whole frame, it is stained in overlapping tiles, to the same
        stain, and so are all frames of its shape from then on.
        """
        frame = Given(image, shade, black, offset)
        require_given(frame)
        shape = (image.shape[0], image.shape[1])
        side = known = self._tile_px.get(shape, 0)
        while True:
            try:
                stains = self._stain_in_tiles(frame, shape, side) if side else self._stain_whole(frame)
            except EngineMemoryError:
                side = (side or max(shape)) // 2
                if side < 2 * self._model.card.halo + _LEAST_TILE_PX:
                    raise
            else:
                break
        if side != known:
            self._tile_px[shape] = side
            _log.warning("%s has too little memory for %s px: stained in tiles of up to %d px", self, shape, side)
        return stains

    def _stain_in_tiles(self, frame: Given, shape: tuple[int, int], side: int) -> npt.NDArray[np.uint16]:
        card = self._model.card
        tiles = plan_tiles(shape, side, card.halo, tile_step(card.stride))
        return stain_in_tiles(self._stain_whole, frame, tiles, len(self._model.stains))

    def _stain_whole(self, frame: Given) -> npt.NDArray[np.uint16]:
        failures: tuple[type[Exception], ...] = (MemoryError, *self.library_errors)
        try:
            program = self._program_for(frame.image)
            stains, check = program(frame.image, frame.shade, scalar(frame.black), scalar(frame.offset))
        except failures as error:
            raise self._failure(frame.image, error) from error
        self._require_finite(check)
        return stains

    def stain_many(self, frames: Sequence[Given]) -> list[npt.NDArray[np.uint16]]:
        """Stain frames one after the other: see `livestain.engine.protocol.Engine.stain_many`."""
        return [self.stain(frame.image, frame.shade, frame.black, frame.offset) for frame in frames]

    def close(self) -> None:
        """Free the program and the weights; may be called twice."""
        self._program = None
        self._generator = None

    def __str__(self) -> str:
        return f"{self.backend} {self._info.version} ({self._info.precision}) for model {self._model.identity}"

    @classmethod
    def unusable(cls) -> str:
        """Return why this machine cannot use this library although it is installed; empty when it can.

        Raises
        ------
        BackendMissingError
            A part of it is not installed or cannot be loaded.
        """
        return ""

    @classmethod
    @abstractmethod
    def precisions(cls, model: Model) -> tuple[Precision, ...]:
        """Return what this machine can compute this model in with this library, fastest first; blocks briefly."""

    @classmethod
    @abstractmethod
    def version(cls) -> str:
        """Return the version of the library."""

    @classmethod
    @abstractmethod
    def device(cls) -> str:
        """Return the device in words."""

    @abstractmethod
    def _compile(self, job: Job) -> Program:
        """Return a program for this job; may raise `library_errors` and `MemoryError`."""

    def _require_finite(self, check: float) -> None:
        if not math.isfinite(check):
            raise EngineError(f"{self} returned no stain: its output has values that are not finite (mean {check})")

    def _failure(self, image: Counts, error: Exception) -> EngineError:
        text = " ".join(str(error).split())[:300]
        if isinstance(error, MemoryError) or any(words in text for words in _NO_MEMORY):
            return EngineMemoryError(f"{self} has too little memory for {image.shape} px: {text}")
        return EngineError(f"{self} failed at {image.shape} px: {text}")

    def _program_for(self, image: Counts) -> Program:
        if self._generator is None:
            raise EngineError(f"{self} was closed; open another one")
        shape = (image.shape[0], image.shape[1])
        wanted = (image.dtype, shape if self.fixed_shape else ())
        if self._program is None or self._made_for != wanted:
            # The old program goes first: two at a time may not fit the device.
            self._program = None
            bit: Bit = "uint8" if image.dtype == np.uint8 else "uint16"
            graph = compose(self._generator, self._model.card.stride, self.wire, bit)
            self._program = self._compile(Job(graph, shape, bit, len(self._model.stains)))
            self._made_for = wanted
        return self._program


def require_given(frame: Given) -> None:
    """Raise `FrameError` unless an engine can stain what it was given."""
    image, shade, black, offset = frame.image, frame.shade, frame.black, frame.offset
    require_stainable(image)
    wanted = shade_shape((image.shape[0], image.shape[1]))
    if shade.shape != wanted or shade.dtype != np.float32:
        raise FrameError(
            f"shade of shape {shade.shape} and dtype {shade.dtype}; frames of {image.shape} px need {wanted} float32"
        )
    # Not finite in, clipped to a number, would come out as a stain of nothing.
    if not (np.isfinite(shade).all() and math.isfinite(black) and math.isfinite(offset)):
        raise FrameError(f"shade, black ({black}) or offset ({offset}) is not finite: estimate the background again")


def scalar(value: float) -> Scalar:
    """Return what the runtime graph takes for one number: (1, 1, 1, 1) float32."""
    return np.full((1, 1, 1, 1), value, np.float32)
