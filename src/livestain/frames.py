"""What travels through the program: a frame from the camera, its place, and its stain."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

MIN_SIDE_PX = 96
"""The smallest height or width, in px, that can be stained (smaller frames are recorded, not stained)."""

FRAME_DTYPES = (np.dtype(np.uint8), np.dtype(np.uint16))
"""The camera dtypes that can be recorded."""

Counts = npt.NDArray[np.uint8] | npt.NDArray[np.uint16]
"""A plane of camera counts, (Y, X)."""


class Key(NamedTuple):
    """The place of a plane in a run: position, time point and z section, all counted from 0."""

    p: int
    t: int
    z: int

    def __str__(self) -> str:
        return f"p{self.p} t{self.t} z{self.z}"


@dataclass(frozen=True, slots=True, eq=False)
class Frame:
    """One image as the camera delivered it.

    Attributes
    ----------
    image
        (Y, X) uint8 or uint16 counts, own memory, read-only by agreement: nobody writes into it.
    key
        Its place in the run.
    channel
        Name of the channel, with the camera's name where several cameras record.
    label_free
        Whether this is the channel that is stained.
    number
        Running number of the received frame in this run, from 0.
    time_s
        Camera time since the start of the sequence in seconds (host time where the camera gives none).
    received_s
        Monotonic clock of this process at the moment it was received, in seconds.
    pixel_um
        Pixel size in um; 0 where it is not known.
    bit_depth
        Significant bits of the counts (8..16); 0 where the host does not say.
    exposure_ms
        Exposure in ms; 0 where it is not known.
    stage_um
        Stage position (x, y, z) in um; NaN where it is not known.
    note
        Why the frame did not get the place it asked for; empty otherwise.
    """

    image: Counts
    key: Key
    channel: str
    label_free: bool
    number: int
    time_s: float
    received_s: float
    pixel_um: float = 0.0
    bit_depth: int = 0
    exposure_ms: float = 0.0
    stage_um: tuple[float, float, float] = (float("nan"), float("nan"), float("nan"))
    note: str = ""


@dataclass(frozen=True, slots=True)
class Timing:
    """How long a stain took, in ms: from receipt to the engine's start, in the engine, and from receipt to result."""

    queued_ms: float
    engine_ms: float
    total_ms: float


@dataclass(frozen=True, slots=True)
class InputCheck:
    """How the input of one frame compares with what the model was trained on.

    Attributes
    ----------
    sd
        Standard deviation of the normalised contrast of this frame (dimensionless).
    saturated
        Share of pixels clipped at the ends of the contrast range, 0..1.
    gain
        Brightness of the frame relative to its background frame (1 = the same).
    warnings
        One short sentence for each of the three that lies outside the model's range; empty when all is well.
    """

    sd: float
    saturated: float
    gain: float
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, eq=False)
class Stain:
    """The virtual stains of one label-free plane.

    Attributes
    ----------
    key
        Place of the plane in the run.
    stains
        (S, Y, X) uint16; 0..65535 means 0..1 of the model's output range.
    names
        The S stain names, such as ``("nuclei", "membrane")``.
    engine
        Engine id as in the ledger (``"e1"``), or a description for a stand-alone engine.
    live
        True when stained in turn, False when stained later from disk.
    timing, input
        How long it took; how the input compares with the training range.
    received_s
        Monotonic clock of this process at which the frame was received, in seconds; None for what was read from disk.
    image
        (Y, X) the label-free plane these stains were made from; it comes with live stains while a viewer wants
        pictures (`livestain.Session.want_pictures`), else None.
    halves
        ``image`` and ``stains`` at half size, (ceil(Y / 2), ceil(X / 2)) and (S, ceil(Y / 2), ceil(X / 2)), same
        dtypes; comes with ``image``.
    """

    key: Key
    stains: npt.NDArray[np.uint16]
    names: tuple[str, ...]
    engine: str
    live: bool
    timing: Timing
    input: InputCheck
    received_s: float | None = None
    image: Counts | None = None
    halves: tuple[Counts, npt.NDArray[np.uint16]] | None = None
