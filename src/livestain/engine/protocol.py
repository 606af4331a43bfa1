"""What every engine promises, whichever library computes behind it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np
import numpy.typing as npt

from livestain.contrast import Field
from livestain.frames import Counts

Precision = Literal["f32", "f16", "bf16", "int8"]
"""What the generator is computed in; all before and after it is float32."""


@dataclass(frozen=True, slots=True)
class GateResult:
    """How far an engine's stain of the model's test frame is from the expected one (both on the 0..1 scale).

    Attributes
    ----------
    bright_rms
        Root mean square difference, relative to that of the truth, where the truth is above 0.1 (allowed: 0.02).
    dark_rms
        Root mean square difference elsewhere (allowed: 0.005).
    max_abs
        Largest difference (allowed at float32: 1e-4).
    passed
        Whether all that applies was met.
    """

    bright_rms: float
    dark_rms: float
    max_abs: float
    passed: bool


@dataclass(frozen=True, slots=True)
class EngineInfo:
    """Which engine this is, and why this one.

    Attributes
    ----------
    backend, version
        Library (``"tensorrt"``, ``"openvino"``, ``"onnxruntime"``) and its version.
    device
        The device in words, such as the CPU's name.
    precision
        ``"f32"``, ``"f16"``, ``"bf16"`` or ``"int8"``.
    wire
        ``"uint16"`` (counts in, counts out) or ``"bytes"``.
    model_id, weights_sha256, stains
        The model, its weights, and the S names of its outputs.
    gate
        The check on the model's test frame.
    reason
        One sentence: why this backend and this precision.
    """

    backend: str
    version: str
    device: str
    precision: str
    wire: str
    model_id: str
    weights_sha256: str
    stains: tuple[str, ...]
    gate: GateResult
    reason: str


@dataclass(frozen=True, slots=True)
class Given:
    """What an engine gets for one frame: the arguments of `Engine.stain`."""

    image: Counts
    shade: Field
    black: float
    offset: float


class Engine(Protocol):
    """A generator compiled for a device."""

    @property
    def group(self) -> int:
        """How many late frames it likes to get at a time: above 1 where upload, run and download overlap."""
        ...

    @property
    def info(self) -> EngineInfo:
        """What this engine is."""
        ...

    def stain(self, image: Counts, shade: Field, black: float, offset: float) -> npt.NDArray[np.uint16]:
        """Stain one frame; blocks, releases the GIL, may be called by one thread at a time.

        Parameters
        ----------
        image
            (Y, X) uint8 or uint16 counts, at least 96 x 96 px, need not be contiguous; not written to, not kept.
        shade
            (ceil(Y / 8), ceil(X / 8)) float32 as `livestain.contrast.Background.shade` gives it.
        black
            Camera offset in counts.
        offset
            1 / c.

        Returns
        -------
        (S, Y, X) uint16, 0..65535 = 0..1; a fresh array that belongs to the caller.

        Raises
        ------
        FrameError
            The frame or the shade has a wrong shape or dtype.
        EngineError
            The device was lost, has too little memory, or returned something that is no stain.
        """
        ...

    def stain_many(self, frames: Sequence[Given]) -> list[npt.NDArray[np.uint16]]:
        """Stain frames of one shape and dtype; each stain equals that of `stain`. Blocks; errors as there.

        Where one of them fails, all of them do: the caller tries them one by one.
        """
        ...

    def warm_up(self, shape: tuple[int, int], dtype: np.dtype[np.generic]) -> None:
        """Make ready for frames of this (Y, X) and dtype, so that the first one is not slow; blocks."""
        ...

    def close(self) -> None:
        """Free the device; the engine cannot be used afterwards. May be called twice."""
        ...
