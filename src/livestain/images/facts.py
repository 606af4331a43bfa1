"""What every reader of images on disk tells about them, and the checks that all of them pass."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from livestain.errors import ImageError
from livestain.frames import FRAME_DTYPES, MIN_SIDE_PX, Counts
from livestain.settings import pip_install

Kind = Literal["measured", "virtual", "unknown"]

UNREADABLE = (
    OSError,
    ValueError,
    LookupError,
    TypeError,
    AttributeError,
    ArithmeticError,
    RuntimeError,
    MemoryError,
    SyntaxError,
    AssertionError,
    struct.error,
    zlib.error,
)
"""What the decoders raise on damaged files (found by flipping and cutting bytes); each becomes an `ImageError`."""

_UM_PER_UNIT = {
    **dict.fromkeys(("um", "\u00b5m", "\u03bcm", "\\u00b5m", "micron", "microns", "micrometer"), 1.0),
    **dict.fromkeys(("nm", "nanometer"), 1e-3),
    **dict.fromkeys(("mm", "millimeter"), 1e3),
    **dict.fromkeys(("cm", "centimeter"), 1e4),
    **dict.fromkeys(("m", "meter"), 1e6),
}


class Axes(NamedTuple):
    """Sizes of an image set: time points, channels, z sections, and height and width in px; absent axes count 1."""

    t: int
    c: int
    z: int
    y: int
    x: int

    def __str__(self) -> str:
        return " ".join(f"{name.upper()} {size}" for name, size in self._asdict().items())


@dataclass(frozen=True)
class Facts:
    """What is known of an image set before any plane is read; ``pixel_um`` is 0 where the files do not say."""

    axes: Axes
    dtype: np.dtype[np.generic]
    channels: tuple[str, ...]
    kind: Kind = "unknown"
    pixel_um: float = 0.0


class Reader(Protocol):
    """One file, series or store of planes; one thread at a time."""

    @property
    def facts(self) -> Facts:
        """Sizes, dtype, channels, kind and pixel size."""
        ...

    def plane(self, t: int, c: int, z: int) -> Counts:
        """Read one (Y, X) plane, own memory, dtype and values as stored; the place is inside `facts.axes`."""
        ...

    def close(self) -> None:
        """Close every file; may be called twice."""
        ...


def check_facts(path: Path, facts: Facts) -> Facts:
    """Return ``facts`` if these are planes that can be stained.

    Raises
    ------
    ImageError
        The dtype is not uint8 or uint16, there is no plane, or planes are smaller than 96 x 96 px.
    """
    if facts.dtype not in FRAME_DTYPES:
        raise ImageError(
            f"{path} holds {facts.dtype} pixels: uint8 or uint16 counts are needed; "
            "use the camera's own files, or convert them without stretching the values"
        )
    if min(facts.axes) < 1:
        raise ImageError(f"{path} holds no plane ({facts.axes}): at least one is needed")
    if min(facts.axes.y, facts.axes.x) < MIN_SIDE_PX:
        raise ImageError(
            f"{path} holds planes of {facts.axes.y} x {facts.axes.x} px: "
            f"at least {MIN_SIDE_PX} x {MIN_SIDE_PX} is needed; use larger fields"
        )
    return facts


def unreadable(path: Path, error: BaseException) -> ImageError:
    """Return the error for a file that a decoder could not read."""
    reason = " ".join(str(error).split()) or type(error).__name__
    return ImageError(f"{path} cannot be read ({reason}): is it complete, and really an image of this type?")


def missing_library(path: Path, library: str) -> ImageError:
    """Return the error for a file type whose library is not installed."""
    command = pip_install("livestain[formats]")
    return ImageError(f"{path}: {library} is not installed, which reads {path.suffix} files: {command}")


def colour_error(path: Path, what: str) -> ImageError:
    """Return the error for a colour image; ``what`` says how the file stores it."""
    return ImageError(
        f"{path} is a colour image ({what}): grey planes are needed; "
        "split its channels or convert it to 8- or 16-bit grey (ImageJ: Image > Type) and open that file"
    )


def name_channels(names: Sequence[str | None], count: int) -> tuple[str, ...]:
    """Return ``count`` channel names: those of the file, or "channel 0", "channel 1", ... where it has none."""
    known = names if len(names) == count else [None] * count
    return tuple(name or f"channel {c}" for c, name in enumerate(known))


def kind_of(channels: Sequence[str]) -> Kind:
    """Return the kind that our own channel names tell; one virtual channel makes the whole set virtual."""
    if any(name.startswith("virtual: ") for name in channels):
        return "virtual"
    return "measured" if all(name.startswith("measured: ") for name in channels) else "unknown"


def length_um(value: float, unit: str | None) -> float:
    """Return a length in um; 0 when its unit is missing or no unit of length."""
    return value * _UM_PER_UNIT.get((unit or "").lower(), 0.0)


def own_counts(plane: npt.NDArray[np.generic], dtype: np.dtype[np.generic]) -> Counts:
    """Return the plane contiguous, writeable and in this machine's byte order; copied only where it must be."""
    counts: Counts = np.ascontiguousarray(plane, dtype=dtype.newbyteorder("="))
    return counts if counts.flags.writeable else counts.copy()
