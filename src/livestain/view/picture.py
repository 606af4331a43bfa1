"""What a window shows at one moment: the planes of one key, layer by layer; and who delivers it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np
import numpy.typing as npt

from livestain.frames import Counts, InputCheck, Key

Kind = Literal["label-free", "virtual", "measured"]

MARK = "VIRTUAL STAIN - predicted, not measured"
"""Stands on every pane and every export that shows a virtual layer; it cannot be switched off."""

NO_STAIN_YET = "no stain yet"


@dataclass(frozen=True, slots=True)
class LayerInfo:
    """A layer as its source describes it; the same for all pictures of a feed.

    Attributes
    ----------
    name
        Such as ``"nuclei"`` or the channel's name.
    kind
        ``"label-free"`` (the frame that is stained), ``"virtual"`` or ``"measured"`` (another channel of the camera).
    color
        Colour to begin with, hexadecimal RGB.
    top
        The largest value a pixel can have: 65535, or 2**bits - 1 of the camera.
    limits
        Values shown as black and full colour to begin with: the model's fixed range for virtual layers; None: to be
        set once from a picture.
    first
        Such values of the first frame of the run, where ``limits`` is None and they are known; None: they are taken
        from the first picture shown.
    """

    name: str
    kind: Kind
    color: str
    top: int = 65535
    limits: tuple[float, float] | None = None
    first: tuple[float, float] | None = None

    @property
    def label(self) -> str:
        """The name with its kind, such as ``"virtual: nuclei"``."""
        return f"{self.kind}: {self.name}"


@dataclass(frozen=True, slots=True, eq=False)
class Picture:
    """The planes of one key. All planes of a picture are of this key: a stain is never shown on another frame.

    Attributes
    ----------
    key
        Position, time point, z.
    planes
        One (Y, X) uint8 or uint16 plane for each layer of the feed, all of one shape; None: not there.
    halves
        The same at half size, (ceil(Y / 2), ceil(X / 2)): 2 x 2 means, for display below half size; None where there
        is none (`livestain.stainer.half.half_size` makes it).
    states
        For each layer ``""`` when it is there, else why not, in a few words: `NO_STAIN_YET`, ``"failed: ..."``.
    live
        Whether it shows what the microscope sees at this moment.
    received_s
        Monotonic clock at which the frame was received, in seconds; None for what comes from disk.
    time_s
        Time since the start of the run in seconds; NaN where not known.
    input
        How the frame compares with what the model knows; None where not known.
    """

    key: Key
    planes: tuple[Counts | None, ...]
    halves: tuple[Counts | None, ...] = ()
    states: tuple[str, ...] = ()
    live: bool = False
    received_s: float | None = None
    time_s: float = float("nan")
    input: InputCheck | None = None

    @property
    def shape(self) -> tuple[int, int]:
        """(Y, X) in px; (0, 0) when no layer is there."""
        return next(((p.shape[0], p.shape[1]) for p in self.planes if p is not None), (0, 0))


# What became of a plane, as bytes of an array over time: the marks on the time slider.
ABSENT, LIVE, LATE, UNSTAINED, FAILED, SKIPPED = range(6)
"""Nothing recorded; stained live; stained late; no stain (yet); failed (raw or stain); left out by choice."""

Marks = npt.NDArray[np.uint8]


class Feed(Protocol):
    """Delivers pictures to one window: a session (live) or a run on disk.

    Every method is called on the GUI thread, returns at once and never raises; work is done on a thread of the feed.
    """

    title: str
    layers: tuple[LayerInfo, ...]
    pixel_um: float
    """Pixel size in um; 0 where it is not known: then nothing in um is shown."""
    interval_s: float
    """Seconds between time points as planned; 0 where not known."""
    caution: str
    """One line of the model's card that is shown wherever it is used; empty when there is none."""
    is_live: bool
    problem: str
    """Why there is nothing more to show, such as a run folder that is gone; empty while all is well."""

    def start(self, wake: Callable[[], None]) -> None:
        """Begin; ``wake`` is called on a thread of the feed when `take` has something new, once until it is taken."""
        ...

    def take(self) -> Picture | None:
        """Return the newest picture not yet taken; None when there is none."""
        ...

    def show(self, key: Key) -> None:
        """Ask for the picture of a key (on disk), or for the place to follow (live: p and z count)."""
        ...

    def extent(self) -> tuple[int, int, int]:
        """Numbers of positions, time points and z sections so far."""
        ...

    def marks(self, position: int, z: int) -> Marks:
        """Return (T,) uint8: what became of each time point at this place."""
        ...

    def pause(self, paused: bool) -> None:
        """Deliver nothing while paused (a hidden or frozen window): no picture is made, nothing is copied."""
        ...

    def close(self) -> None:
        """End the thread of the feed; blocks a moment at most."""
        ...
