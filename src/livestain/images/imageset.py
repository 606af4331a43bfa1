"""`ImageSet`: whatever lies on disk as images, seen as planes of T C Z Y X."""

from __future__ import annotations

from pathlib import Path
from types import TracebackType

import numpy as np

from livestain.errors import ChannelError, ImageError
from livestain.frames import Counts
from livestain.images.facts import Axes, Kind, Reader


class ImageSet:
    """Planes on disk, read one at a time when asked for; made by `open_images`.

    Nothing but the plane asked for is in memory. One thread at a time. Files that stay open between planes (one at
    most, or those of one OME-TIFF set) are closed by `close`, or at the end of a ``with`` block.
    """

    def __init__(self, path: Path, reader: Reader) -> None:
        self.path = path
        self._reader = reader

    @property
    def axes(self) -> Axes:
        """Sizes (t, c, z, y, x); an axis that the files do not have counts 1."""
        return self._reader.facts.axes

    @property
    def channels(self) -> tuple[str, ...]:
        """Names of the C channels; "channel 0", "channel 1", ... where the files have none."""
        return self._reader.facts.channels

    @property
    def kind(self) -> Kind:
        """Return "measured" or "virtual" for images that livestain wrote, "unknown" for all others."""
        return self._reader.facts.kind

    @property
    def pixel_um(self) -> float:
        """Width of a pixel in um; 0 where the files do not state it with a unit of length."""
        return self._reader.facts.pixel_um

    @property
    def dtype(self) -> np.dtype[np.generic]:
        """The dtype of every plane: uint8 or uint16, in this machine's byte order."""
        return self._reader.facts.dtype

    @property
    def plane_shape(self) -> tuple[int, int]:
        """(Y, X) in px."""
        return self.axes.y, self.axes.x

    def __len__(self) -> int:
        """Return the number of time points."""
        return self.axes.t

    def __repr__(self) -> str:
        return f"<ImageSet {self.path}: {self.axes}, {self.dtype}, {self.kind}>"

    def plane(self, t: int, c: int = 0, z: int = 0) -> Counts:
        """Read one plane from disk; blocks.

        Returns
        -------
        (Y, X) uint8 or uint16, the stored values bit for bit, in memory that belongs to the caller.

        Raises
        ------
        ImageError
            There is no such plane, or it cannot be read.
        """
        place = {"t": t, "c": c, "z": z}
        for name, index in place.items():
            size = getattr(self.axes, name)
            if not 0 <= index < size:
                raise ImageError(f"{self.path} has no plane {place}: {name} from 0 to {size - 1} is allowed")
        return self._reader.plane(t, c, z)

    def select_channel(self, name: str | None) -> int:
        """Return the number of the channel of this name; of the only one for None.

        The name is as in `channels`, with or without the ``measured: `` that livestain writes before it.

        Raises
        ------
        ChannelError
            No name was given and there are several channels, or none has this name.
        """
        listed = ", ".join(repr(channel) for channel in self.channels)
        if name is None:
            if len(self.channels) == 1:
                return 0
            raise ChannelError(
                f"{self.path} has {len(self.channels)} channels ({listed}), one is stained: choose one with --channel"
            )
        for wanted in (name, f"measured: {name}"):
            if wanted in self.channels:
                return self.channels.index(wanted)
        raise ChannelError(f"{self.path} has no channel {name!r}: it has {listed}; choose one with --channel")

    def close(self) -> None:
        """Close every file; may be called twice. Read no plane afterwards."""
        self._reader.close()

    def __enter__(self) -> ImageSet:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
